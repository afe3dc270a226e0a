//! What decides whether a machine is one that was saved.

mod played;

use super::*;
use crate::machine::{Accel, Arch, Disk, DiskFormat, Share};
use std::ffi::OsString;
use std::os::unix::fs::PermissionsExt;

fn machine(qemu: PathBuf) -> Machine {
    Machine {
        arch: Arch::X86_64,
        accel: Accel::Tcg,
        start: Start::Cold,
        qemu: qemu.into(),
        memory: 1024,
        cpus: 2,
        nodes: 1,
        kernel: "/objects/kernel".into(),
        initrd: None,
        hz: Some(250),
        layers: vec!["/objects/agent".into(), "/objects/work".into(), "/objects/root".into()],
        append: vec!["a=1".into()],
        disks: vec![disk("/runs/1/disk", 1 << 30)],
        net: Some(Net { forward: vec![(2222, 22)] }),
        channels: vec!["ssh.0".into()],
        shares: vec![Share { tag: "out".into(), path: "/runs/1/out".into(), read_only: false, spare: false }],
        pvpanic: true,
        rng: true,
        extra: vec![],
    }
}

fn disk(path: &str, size: u64) -> Disk {
    let (serial, path) = ("q0".into(), path.into());
    Disk { serial, bus: Bus::Virtio, path, format: DiskFormat::Raw, size, persistent: false, over: None }
}

/// A cache, and a qemu of this version.
struct Host {
    folder: tempfile::TempDir,
    cache: Cache,
}

impl Host {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let cache = Cache::open(&folder.path().join("cache")).unwrap();
        let host = Self { folder, cache };
        host.install("QEMU emulator version 7.2.22");
        host
    }

    fn qemu(&self) -> PathBuf {
        self.folder.path().join("qemu")
    }

    /// As a package manager does it: another file under the same name.
    fn install(&self, version: &str) {
        let new = self.folder.path().join("new");
        fs::write(&new, format!("#!/bin/sh\necho '{version}'\n")).unwrap();
        fs::set_permissions(&new, fs::Permissions::from_mode(0o755)).unwrap();
        fs::rename(&new, self.qemu()).unwrap();
    }

    fn key(&self, machine: &Machine, level: Level) -> Key {
        super::key(&self.cache, machine, level).unwrap().0
    }

    fn keys(&self, machine: &Machine) -> [Key; 2] {
        [Level::Base, Level::Full].map(|level| self.key(machine, level))
    }
}

#[test]
fn what_belongs_to_one_run_is_in_no_key() {
    let host = Host::new();
    let machine = machine(host.qemu());
    let share = Share { path: "/runs/2/out".into(), ..machine.shares[0].clone() };
    let other = Machine {
        disks: vec![disk("/runs/2/disk", 1 << 30)],
        net: Some(Net { forward: vec![(2223, 22)] }),
        shares: vec![share],
        ..machine.clone()
    };
    let [base, full] = host.keys(&machine);
    assert_eq!([base, full], host.keys(&other));
    assert_ne!(base, full);
}

#[test]
fn another_machine_has_another_key() {
    let host = Host::new();
    let machine = machine(host.qemu());
    let same = host.keys(&machine);
    let others = [
        Machine { memory: 2048, ..machine.clone() },
        Machine { cpus: 1, ..machine.clone() },
        Machine { accel: Accel::Kvm, ..machine.clone() },
        Machine { kernel: "/objects/other".into(), ..machine.clone() },
        Machine { append: vec!["a=2".into()], ..machine.clone() },
        Machine { disks: vec![disk("/runs/1/disk", 2 << 30)], ..machine.clone() },
        Machine { net: None, ..machine.clone() },
        Machine { channels: vec![], ..machine.clone() },
        Machine { layers: vec!["/objects/new-agent".into(), "/w".into(), "/r".into()], ..machine.clone() },
        Machine { extra: vec![OsString::from("-s")], ..machine.clone() },
    ];
    for other in others {
        assert!(host.keys(&other).iter().zip(&same).all(|(other, same)| other != same), "{other:?}");
    }
}

#[test]
fn another_image_with_the_same_kernel_has_the_same_base() {
    let host = Host::new();
    let machine = machine(host.qemu());
    let mut other = machine.clone();
    other.layers[1] = "/objects/new-work".into();
    assert_eq!(host.key(&machine, Level::Base), host.key(&other, Level::Base));
    assert_ne!(host.key(&machine, Level::Full), host.key(&other, Level::Full));
}

#[test]
fn another_qemu_has_another_key() {
    let host = Host::new();
    let machine = machine(host.qemu());
    let before = host.keys(&machine);
    // The same version built once more is another one, too.
    for version in ["QEMU emulator version 7.2.22", "QEMU emulator version 9.1.0"] {
        host.install(version);
        assert!(host.keys(&machine).iter().zip(&before).all(|(now, before)| now != before), "{version}");
        let known = look(&host.cache, &machine, Level::Full).unwrap();
        assert!(known.manifest.entries.contains(&("qemu".to_owned(), version.to_owned())), "{:?}", known.manifest);
    }
}

#[test]
fn what_can_never_be_saved_is_said_before_anybody_tries() {
    let host = Host::new();
    let machine = machine(host.qemu());
    let why_not = |machine: &Machine, level| look(&host.cache, machine, level).unwrap().why_not;
    assert_eq!([why_not(&machine, Level::Base), why_not(&machine, Level::Full)], [None, None]);
    let kept = Machine { disks: vec![Disk { persistent: true, ..disk("/d", 1 << 30) }], ..machine.clone() };
    assert!(why_not(&kept, Level::Base).unwrap().contains("may change"));
    // What its last run found out holds for the machine with its hooks, not for the kernel.
    host.cache.set_memo(NEVER, &host.key(&machine, Level::Full), b"a hook wrote to a disk").unwrap();
    assert_eq!(why_not(&machine, Level::Full).unwrap(), "a hook wrote to a disk");
    assert_eq!(why_not(&machine, Level::Base), None);
}

#[test]
fn a_processor_is_what_the_guest_sees_of_it() {
    let info = |model: &str, flags: &str, update: &str| {
        format!(
            "vendor_id\t: AuthenticAMD\nmodel name\t: {model}\nmicrocode\t: {update}\ncpu MHz\t\t: {update}\nflags\t\t: {flags}\n\
             bugs\t\t: {update}\n\nmodel name\t: B\n"
        )
    };
    let seen = |model: &str, flags: &str, update: &str, kernel: &str| {
        [Accel::Tcg, Accel::Kvm].map(|accel| processor(&info(model, flags, update), accel, kernel))
    };
    let same = seen("A", "fpu avx", "1", "7.2");
    assert_eq!(seen("A", "fpu avx", "2", "7.2"), same);
    let changes = |now: [String; 2]| now.iter().zip(&same).map(|(now, was)| now != was).collect::<Vec<_>>();
    assert_eq!(changes(seen("C", "fpu avx", "1", "7.2")), [true, true]);
    assert_eq!(changes(seen("A", "fpu", "1", "7.2")), [false, true]);
    assert_eq!(changes(seen("A", "fpu avx", "1", "7.3")), [false, true]);
}
