//! Machines that are saved, restored, and cannot be, with the qemu that plays one (`src/boot/fake-qemu.sh`). No guest.

use super::*;
use crate::boot::{Options, Request, Retention, RunFolder, Streams};
use std::sync::Mutex;

/// A cache, and a machine that does what a file says.
struct Rig {
    folder: tempfile::TempDir,
    cache: Cache,
}

/// What a run gave: how each of its machines started, and what was said of snapshots.
struct Played {
    outcome: Outcome,
    starts: Vec<(String, bool)>,
    notes: Vec<String>,
}

impl Played {
    /// It ended as the fake's program does, in a machine that started so.
    #[track_caller]
    fn is(&self, starts: &[(&str, bool)]) {
        let started: Vec<_> = self.starts.iter().map(|(accel, restored)| (accel.as_str(), *restored)).collect();
        assert_eq!((&self.outcome, &started[..]), (&Outcome::Exited(7), starts), "{:?}", self.notes);
    }

    fn says(&self, words: &str) -> bool {
        self.notes.iter().any(|note| note.contains(words))
    }
}

impl Rig {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let cache = Cache::open(&folder.path().join("cache")).unwrap();
        Self { folder, cache }
    }

    /// A machine of an image with that layer is run under `accel` by a qemu that does `what`.
    fn run(&self, accel: Accel, layer: &str, what: &str) -> Played {
        let does = self.folder.path().join("does");
        fs::write(&does, format!("{what}\n")).unwrap();
        let folder = RunFolder::create(self.folder.path(), Retention::ALL).unwrap();
        let fake = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/boot/fake-qemu.sh");
        let disks = vec![disk(folder.path().join("disk").to_str().unwrap(), 1 << 20)];
        let machine = Machine {
            accel,
            append: vec![format!("fake=at:{}", does.display())],
            layers: vec!["/objects/agent".into(), layer.into()],
            disks,
            net: None,
            channels: vec![],
            hz: None,
            ..machine(fake)
        };
        let _disks = disk::take(&machine.disks, "1").unwrap();
        let request = Request::of("true");
        let file = || tempfile::tempfile().unwrap().into();
        let streams = Streams { stdin: fs::File::open("/dev/null").unwrap().into(), stdout: file(), stderr: file() };
        let options = Options { verdicts: Some(self.folder.path().join("kvm")), ..Options::default() };
        let told = Mutex::new((Vec::new(), Vec::new()));
        let events = |event: Event| match event {
            Event::Booting { accelerator, restored, .. } => told.lock().unwrap().0.push((accelerator, restored)),
            Event::Note { message } => told.lock().unwrap().1.push(message),
            _ => {}
        };
        let run = Run { request: &request, folder: &folder, options: &options, streams: &streams, events: &events };
        let outcome = super::super::run(&self.cache, &machine, &run).unwrap();
        let (starts, notes) = told.into_inner().unwrap();
        Played { outcome, starts, notes }
    }
}

#[test]
fn a_machine_boots_once_and_is_restored_from_then_on() {
    let rig = Rig::new();
    let first = rig.run(Accel::Tcg, "/objects/work", "program");
    first.is(&[("tcg", false)]);
    assert!(first.says("saved a snapshot of the machine") && first.says("saved a snapshot of the kernel"));
    rig.run(Accel::Tcg, "/objects/work", "program").is(&[("tcg", true)]);
    // Of another image it is the kernel alone, and then all of it.
    let other = rig.run(Accel::Tcg, "/objects/other", "program");
    other.is(&[("tcg", true)]);
    assert!(other.says("saved a snapshot of the machine") && !other.says("of the kernel"), "{:?}", other.notes);
}

#[test]
fn a_snapshot_outlives_a_host_that_is_busy_and_not_its_own_fault() {
    let rig = Rig::new();
    let run = |what: &str| rig.run(Accel::Kvm, "/objects/work", what);
    run("kvm-works").is(&[("kvm", false)]);
    let busy = run("kvm-interrupted");
    busy.is(&[("kvm", true), ("kvm", true), ("kvm", false), ("kvm", false), ("tcg", false)]);
    assert!(busy.says(" stays: ioctl(KVM_CREATE_VM) failed: 4 Interrupted system call"), "{:?}", busy.notes);
    run("kvm-works").is(&[("kvm", true)]);
}

#[test]
fn a_snapshot_that_cannot_be_restored_is_made_again() {
    let rig = Rig::new();
    let run = |what: &str| rig.run(Accel::Tcg, "/objects/work", what);
    run("program").is(&[("tcg", false)]);
    let broken = run("restore-breaks");
    // The full one, then the base.
    broken.is(&[("tcg", true), ("tcg", true), ("tcg", false)]);
    assert!(broken.says("cannot be used: error while loading state"), "{:?}", broken.notes);
    run("program").is(&[("tcg", true)]);
}

#[test]
fn hooks_that_run_once_more_find_their_disks_as_they_were() {
    let rig = Rig::new();
    rig.run(Accel::Tcg, "/objects/work", "program").is(&[("tcg", false)]);
    rig.run(Accel::Tcg, "/objects/other", "hooks-break").is(&[("tcg", true), ("tcg", false)]);
}
