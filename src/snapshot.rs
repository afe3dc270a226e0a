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
                let start = Start::Restore(place);
                if let Some(outcome) = run.restore(cache, &key, Machine { start, ..machine.clone() }, &|_, _| {})? {
                    return Ok(outcome);
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

    /// `None` when the snapshot under `key` is of no use; it is dropped then.
    fn restore(
        &self,
        cache: &Cache,
        key: &Key,
        machine: Machine,
        saved: &dyn Fn(Level, Saved),
    ) -> Result<Option<Outcome>> {
        let why = match boot::run(&machine, self, saved)? {
            Ran::Ended(outcome) => return Ok(Some(outcome)),
            Ran::NotRestored(why) => why,
        };
        self.note(format!("the snapshot {} cannot be used: {why}", key.short()));
        if let Err(error) = cache.drop_passing(key) {
            self.note(format!("it cannot be dropped: {error}"));
        }
        Ok(None)
    }

    /// Gets the machine ready, from a base if there is one, and saves it on the way: the base if there is none, and into `slot`.
    fn make(&self, cache: &Cache, machine: &Machine, key: &Key, slot: Option<PassingSlot>) -> Result<Outcome> {
        let base_key = self::key(machine, Level::Base);
        let full = slot.as_ref().map(|slot| slot.path().to_owned());
        let with = |start: Start| Machine { start, ..machine.clone() };
        let slots = [Cell::new(None), Cell::new(slot)];
        let saved = |level, saved| self.settle(cache, key, level, slots[level as usize].take(), saved);
        let base = match cache.passing(&base_key, &|pid| self.waiting(pid)) {
            Ok(Passing::Hit(base)) => {
                let grown = with(Start::Grow { base, full: full.clone() });
                if let Some(outcome) = self.restore(cache, &base_key, grown, &saved)? {
                    return Ok(outcome);
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
        outcome(boot::run(&with(Start::Save { base, full }), self, &saved)?)
    }

    /// Keeps what was saved, or gives up the slot, so that whoever waits goes on.
    fn settle(&self, cache: &Cache, key: &Key, level: Level, slot: Option<PassingSlot>, saved: Saved) {
        let what = if level == Level::Base { "the kernel for other images" } else { "the machine for the next run" };
        let committed = match saved {
            Saved::Done => slot.map_or(Ok(()), |slot| {
                let committed = slot.commit().map(drop).map_err(|error| error.to_string());
                // The machine does not wait for that, and if quiz ends first, the next one goes on with it.
                let cache = cache.clone();
                std::thread::spawn(move || cache.prune_passing());
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
