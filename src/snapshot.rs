//! Runs a machine from a snapshot of an equal one, or boots it and saves one for the next run.
//!
//! Decides by key and cache which of the two. Never an error: what cannot be saved or restored boots. Knows neither recipes nor
//! what is in an image.

use crate::boot::qemu::{Fds, command};
use crate::boot::wire::PROTOCOL;
use crate::boot::{self, Bus, Level, Machine, Net, Outcome, Ran, Run, Saved, Start};
use crate::error::{Error, Result};
use crate::event::Event;
use quiz_cache::{Cache, Key, KeyEncoder, Passing, PassingSlot};
use rustix::process::setpriority_process;
use std::cell::Cell;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;

/// The name under which it is remembered that a guest is in no state to be restored, and why.
const NEVER: &str = "no snapshot";

/// Runs the program in a machine that boots, and saves nothing.
///
/// # Errors
/// As [`boot::run`].
pub fn boot(machine: &Machine, run: &Run<'_>) -> Result<Outcome> {
    outcome(boot::run(machine, run, &|_, _| {})?)
}

/// Of a machine that boots: there is nothing that it could fail to be restored from.
fn outcome(ran: Ran) -> Result<Outcome> {
    match ran {
        Ran::Ended(outcome) => Ok(outcome),
        Ran::NotRestored(why) => Err(Error::boot(why)),
    }
}

/// The same, but the machine need not boot when an equal one did.
///
/// # Errors
/// As [`boot::run`].
pub fn run(cache: &Cache, machine: &Machine, run: &Run<'_>) -> Result<Outcome> {
    if let Some(why) = why_not(machine) {
        run.note(format!("no snapshot: {why}"));
        return boot(machine, run);
    }
    let key = key(machine, Level::Full);
    if let Ok(Some(why)) = cache.memo(NEVER, &key) {
        run.note(format!("no snapshot: {}", String::from_utf8_lossy(&why)));
        return run.make(cache, machine, &key, None);
    }
    // The second time after one that was there turned out to be of no use.
    for _ in 0..2 {
        match cache.passing(&key, &|pid| run.waiting(pid)) {
            Ok(Passing::Hit(place)) => {
                let restored = Machine { start: Start::Restore(place), ..machine.clone() };
                match boot::run(&restored, run, &|_, _| {})? {
                    Ran::Ended(outcome) => return Ok(outcome),
                    Ran::NotRestored(why) => run.drop(cache, &key, &why),
                }
            }
            Ok(Passing::Miss(slot)) => return run.make(cache, machine, &key, Some(slot)),
            Err(error) => {
                run.note(format!("no snapshot: {error}"));
                break;
            }
        }
    }
    boot(machine, run)
}

impl Run<'_> {
    fn note(&self, message: String) {
        (self.events)(Event::Note { message });
    }

    fn waiting(&self, pid: u32) {
        (self.events)(Event::Waiting { stage: "a snapshot".to_owned(), pid });
    }

    /// Nobody shall try that snapshot again.
    fn drop(&self, cache: &Cache, key: &Key, why: &str) {
        self.note(format!("the snapshot {} cannot be used: {why}", key.short()));
        if let Err(error) = cache.drop_passing(key) {
            self.note(format!("it cannot be dropped: {error}"));
        }
    }

    /// Gets the machine ready, from a base if there is one, and saves it on the way: the base if there is none, and into `slot`.
    fn make(&self, cache: &Cache, machine: &Machine, key: &Key, slot: Option<PassingSlot>) -> Result<Outcome> {
        let base_key = self::key(machine, Level::Base);
        let full = slot.as_ref().map(|slot| slot.path().to_owned());
        let with = |start: Start| Machine { start, ..machine.clone() };
        let slots = [Cell::new(None), Cell::new(slot)];
        let saved = |level, saved| self.settle(cache, key, level, slots[level as usize].take(), saved);
        let mut useless = None;
        let base = match cache.passing(&base_key, &|pid| self.waiting(pid)) {
            Ok(Passing::Hit(base)) => {
                match boot::run(&with(Start::Grow { base, full: full.clone() }), self, &saved)? {
                    Ran::Ended(outcome) => return Ok(outcome),
                    Ran::NotRestored(why) => useless = Some(why),
                }
                None
            }
            Ok(Passing::Miss(slot)) => {
                let base = slot.path().to_owned();
                slots[Level::Base as usize].set(Some(slot));
                Some(base)
            }
            Err(error) => {
                self.note(format!("no snapshot: {error}"));
                None
            }
        };
        let ran = boot::run(&with(Start::Save { base, full }), self, &saved);
        // A hook that fails says nothing against the base: it fails in a machine that boots, too.
        if let (Some(why), Ok(_)) = (useless, &ran) {
            self.drop(cache, &base_key, &why);
        }
        outcome(ran?)
    }

    /// Keeps what was saved, or gives up the slot, so that whoever waits goes on.
    fn settle(&self, cache: &Cache, key: &Key, level: Level, slot: Option<PassingSlot>, saved: Saved) {
        let what = if level == Level::Base { "the kernel for other images" } else { "the machine for the next run" };
        let committed = match saved {
            Saved::Done => slot.map_or(Ok(()), |slot| {
                let committed = slot.commit().map(drop).map_err(|error| error.to_string());
                // The machine does not wait for that, and if quiz ends first, the next one goes on with it.
                let cache = cache.clone();
                std::thread::spawn(move || {
                    // Behind the machine's own threads; this thread alone has that priority.
                    let _ = setpriority_process(None, 19);
                    cache.prune_passing();
                });
                committed
            }),
            Saved::Failed(why) => Err(why),
            Saved::Never(why) => {
                // Nobody shall wait for it again. If that cannot be written, they do.
                let _ = cache.set_memo(NEVER, key, why.as_bytes());
                Err(why)
            }
        };
        self.note(match committed {
            Ok(()) => format!("saved a snapshot of {what}"),
            Err(why) => format!("no snapshot of {what}: {why}"),
        });
    }
}

/// Why a machine cannot be restored into another run, if so.
pub fn why_not(machine: &Machine) -> Option<String> {
    if !machine.extra.is_empty() {
        return Some("what --qemu-arg adds may not be saved".to_owned());
    }
    let disk = machine.disks.iter().find(|disk| disk.persistent || disk.bus == Bus::Nvme)?;
    Some(match disk.bus {
        // Linux keeps what it has read of a disk.
        _ if disk.persistent => format!("the disk {} may change between two runs", disk.serial),
        _ => format!("the disk {} is NVMe, whose state qemu cannot save", disk.serial),
    })
}

/// Everything that can change what is saved. The image is in the names of kernel and layers, which are digests.
///
/// | ingredient | why |
/// |---|---|
/// | command | the machine, without the paths and ports of one run; of a base without the layers but the agent's |
/// | qemu, and its file's inode, size and time | the state is written in the words of one qemu |
/// | processor | under KVM the guest has seen it |
/// | protocol | what the agent waits for when it is restored |
pub fn key(machine: &Machine, level: Level) -> Key {
    let mut equal = machine.clone();
    equal.shares.iter_mut().for_each(|share| share.path = PathBuf::new());
    equal.disks.iter_mut().for_each(|disk| disk.path = PathBuf::new());
    equal.net = equal.net.map(|_| Net { forward: Vec::new() });
    if level == Level::Base {
        // The first one holds the agent. The others are mounted later.
        equal.layers.iter_mut().skip(1).for_each(|layer| *layer = PathBuf::new());
    }
    let words = command(&equal, &Fds::shown(&equal));
    let qemu = fs::metadata(&machine.qemu).map(|meta| [meta.ino(), meta.size(), meta.mtime().cast_unsigned()]);
    let mut encoder = KeyEncoder::new("quiz 1 snapshot");
    encoder.flag("base", level == Level::Base);
    encoder.list("command", words.iter().map(|word| word.to_string_lossy()));
    encoder.list("sizes", machine.disks.iter().map(|disk| disk.size.to_string()));
    encoder.list("qemu", qemu.iter().flatten().map(u64::to_string));
    encoder.text("processor", &processor(&fs::read_to_string("/proc/cpuinfo").unwrap_or_default()));
    encoder.number("protocol", PROTOCOL.into());
    encoder.finish().0
}

/// What a host says of its first processor, without what is different each time.
fn processor(cpuinfo: &str) -> String {
    let first = cpuinfo.lines().take_while(|line| !line.is_empty());
    first
        .filter(|line| !line.starts_with("cpu MHz") && !line.starts_with("bogomips"))
        .fold(String::new(), |all, line| all + line + "\n")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::boot::{Accel, Arch, Disk, DiskFormat, Share};
    use std::ffi::OsString;

    fn machine(qemu: PathBuf) -> Machine {
        Machine {
            arch: Arch::X86_64,
            accel: Accel::Tcg,
            start: Start::Cold,
            qemu,
            memory: 1024,
            cpus: 2,
            kernel: "/objects/kernel".into(),
            hz: Some(250),
            layers: vec!["/objects/agent".into(), "/objects/work".into(), "/objects/root".into()],
            append: vec!["a=1".into()],
            disks: vec![disk("/runs/1/disk", 1 << 30)],
            net: Some(Net { forward: vec![(2222, 22)] }),
            channels: vec!["ssh.0".into()],
            shares: vec![Share { tag: "out".into(), path: "/runs/1/out".into(), read_only: false }],
            pvpanic: true,
            rng: true,
            extra: vec![],
        }
    }

    fn disk(path: &str, size: u64) -> Disk {
        let (serial, path) = ("q0".into(), path.into());
        Disk { serial, bus: Bus::Virtio, path, format: DiskFormat::Raw, size, persistent: false }
    }

    fn qemu(text: &str) -> tempfile::NamedTempFile {
        let file = tempfile::NamedTempFile::new().unwrap();
        fs::write(file.path(), text).unwrap();
        file
    }

    #[test]
    fn what_belongs_to_one_run_is_in_no_key() {
        let qemu = qemu("one");
        let machine = machine(qemu.path().into());
        let share = Share { path: "/runs/2/out".into(), ..machine.shares[0].clone() };
        let other = Machine {
            disks: vec![disk("/runs/2/disk", 1 << 30)],
            net: Some(Net { forward: vec![(2223, 22)] }),
            shares: vec![share],
            ..machine.clone()
        };
        for level in [Level::Base, Level::Full] {
            assert_eq!(key(&machine, level), key(&other, level));
        }
        assert_ne!(key(&machine, Level::Base), key(&machine, Level::Full));
    }

    #[test]
    fn another_machine_has_another_key() {
        let file = qemu("one");
        let machine = machine(file.path().into());
        let keys = |machine: &Machine| [key(machine, Level::Base), key(machine, Level::Full)];
        let same = keys(&machine);
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
            assert!(keys(&other).iter().zip(&same).all(|(other, same)| other != same), "{other:?}");
        }
    }

    #[test]
    fn another_image_with_the_same_kernel_has_the_same_base() {
        let qemu = qemu("one");
        let machine = machine(qemu.path().into());
        let mut other = machine.clone();
        other.layers[1] = "/objects/new-work".into();
        assert_eq!(key(&machine, Level::Base), key(&other, Level::Base));
        assert_ne!(key(&machine, Level::Full), key(&other, Level::Full));
    }

    #[test]
    fn another_qemu_has_another_key() {
        let file = qemu("one");
        let machine = machine(file.path().into());
        let [before, base] = [key(&machine, Level::Full), key(&machine, Level::Base)];
        // As a package manager does it: another file under the same name.
        let new = qemu("two");
        fs::rename(new.path(), file.path()).unwrap();
        assert!(before != key(&machine, Level::Full) && base != key(&machine, Level::Base));
    }

    #[test]
    fn a_processors_clock_is_not_what_it_is() {
        let info = |mhz: &str, model: &str| format!("model name\t: {model}\ncpu MHz\t\t: {mhz}\n\nmodel name\t: B\n");
        assert_eq!(processor(&info("1", "A")), processor(&info("2", "A")));
        assert_ne!(processor(&info("1", "A")), processor(&info("1", "C")));
    }
}
