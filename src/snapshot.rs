//! Runs a machine from a snapshot of an equal one, or boots it and saves one for the next run.
//!
//! Decides by key and cache which of the two. Never an error: what cannot be saved or restored boots. Knows neither recipes nor
//! what is in an image.

use crate::boot::wire::PROTOCOL;
use crate::boot::{self, Outcome, Ran, Run, Saved};
use crate::build;
use crate::error::{Error, Result};
use crate::event::{Event, waiting};
use crate::machine::qemu::{Fds, command};
use crate::machine::{Accel, Bus, Level, Machine, Net, Start, disk};
use quiz_cache::{Cache, Key, KeyEncoder, Manifest, Passing, PassingSlot};
use rustix::process::setpriority_process;
use std::cell::{Cell, RefCell};
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

/// The name under which it is remembered that a guest is in no state to be restored, and why.
const NEVER: &str = "no snapshot";

/// What is known of a snapshot.
#[derive(Debug)]
pub struct KnownSnapshot {
    /// Its key.
    pub key: Key,
    /// What entered the key.
    pub manifest: Manifest,
    /// Its bytes on the disk, when it is there.
    pub size: Option<u64>,
    /// Why there can be no such snapshot.
    pub why_not: Option<String>,
}

/// Runs the program in the machine as it is given, which boots or goes on from where it was kept, and saves nothing.
///
/// # Errors
/// As [`boot::run`].
pub fn boot(machine: &Machine, run: &Run<'_>) -> Result<Outcome> {
    outcome(boot::run(machine, run, &|_, _| {})?)
}

/// The outcome of a machine that is not tried in another way: that it was not restored is an error.
fn outcome(ran: Ran) -> Result<Outcome> {
    match ran {
        Ran::Ended(outcome) => Ok(outcome),
        Ran::NotRestored { why, .. } => Err(Error::boot(why)),
    }
}

/// Runs the program in the machine, which is restored from a snapshot of an equal one if there is one, and else boots and is saved.
///
/// # Errors
/// As [`boot::run`].
pub fn run(cache: &Cache, machine: &Machine, run: &Run<'_>) -> Result<Outcome> {
    if let Some(why) = why_not(machine) {
        run.note(format!("no snapshot: {why}"));
        return boot(machine, run);
    }
    let Some(key) = run.key(cache, machine, Level::Full) else { return boot(machine, run) };
    if let Some(why) = never(cache, &key) {
        run.note(format!("no snapshot: {why}"));
        return run.make(cache, machine, &key, None);
    }
    // Twice, since a snapshot that is there may turn out to be of no use.
    for _ in 0..2 {
        match cache.passing(&key, &|pid| run.waiting(pid)) {
            Ok(Passing::Hit(place)) => {
                let restored = Machine { start: Start::Restore(place), ..machine.clone() };
                match boot::run(&restored, run, &|_, _| {})? {
                    Ran::Ended(outcome) => return Ok(outcome),
                    Ran::NotRestored { why, no_kvm: true } => {
                        run.note(format!("the snapshot {} was not used, and stays: {why}", key.short()));
                        break;
                    }
                    Ran::NotRestored { why, .. } => run.drop(cache, &key, &why),
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

/// Runs the program in a machine that is saved in `to`, an empty folder, when it has ended with 0, and says what came of that. It need not boot when
/// an equal one did.
///
/// # Errors
/// As [`boot::run`]; and such a machine cannot be saved.
pub fn keep(cache: &Cache, machine: &Machine, run: &Run<'_>, to: &Path) -> Result<(Outcome, Saved)> {
    if let Some(why) = why_not(machine) {
        return Err(Error::input(format!("the machine cannot be saved: {why}")));
    }
    let kept = RefCell::new(Saved::Failed("it was gone before it could be saved".to_owned()));
    let saved = |_, what| drop(kept.replace(what));
    let start = |from| Machine { start: Start::Keep { from, to: to.to_owned() }, ..machine.clone() };
    if let Some(key) = run.key(cache, machine, Level::Full)
        && let Ok(Passing::Hit(place)) = cache.passing(&key, &|pid| run.waiting(pid))
    {
        match boot::run(&start(Some(place)), run, &saved)? {
            Ran::Ended(outcome) => return Ok((outcome, kept.into_inner())),
            Ran::NotRestored { why, no_kvm: true } => {
                run.note(format!("the snapshot {} was not used, and stays: {why}", key.short()));
            }
            Ran::NotRestored { why, .. } => run.drop(cache, &key, &why),
        }
    }
    let outcome = outcome(boot::run(&start(None), run, &saved)?)?;
    Ok((outcome, kept.into_inner()))
}

impl Run<'_> {
    fn note(&self, message: String) {
        (self.events)(Event::Note { message });
    }

    fn waiting(&self, pid: u32) {
        waiting(self.events, "a snapshot")(pid);
    }

    fn key(&self, cache: &Cache, machine: &Machine, level: Level) -> Option<Key> {
        let key = key(cache, machine, level);
        key.inspect_err(|error| self.note(format!("no snapshot: {error}"))).ok().map(|(key, _)| key)
    }

    /// Removes a snapshot that cannot be used, so that nobody tries it again.
    fn drop(&self, cache: &Cache, key: &Key, why: &str) {
        self.note(format!("the snapshot {} cannot be used: {why}", key.short()));
        if let Err(error) = cache.drop_passing(key) {
            self.note(format!("the snapshot {} cannot be removed: {error}", key.short()));
        }
    }

    /// Gets the machine ready, from a base if there is one, and saves it on the way: the base if there is none, and into `slot`.
    fn make(&self, cache: &Cache, machine: &Machine, key: &Key, slot: Option<PassingSlot>) -> Result<Outcome> {
        let Some(base_key) = self.key(cache, machine, Level::Base) else {
            // So that no process waits for a snapshot that will not come.
            drop(slot);
            return boot(machine, self);
        };
        let full = slot.as_ref().map(|slot| slot.path().to_owned());
        let with = |start: Start| Machine { start, ..machine.clone() };
        let slots = [Cell::new(None), Cell::new(slot)];
        let saved = |level, saved| self.settle(cache, key, level, slots[level as usize].take(), saved);
        let mut useless = None;
        let base = cache.passing(&base_key, &|pid| self.waiting(pid));
        if full.is_some() || matches!(base, Ok(Passing::Miss(_))) {
            make_room(cache);
        }
        let base = match base {
            Ok(Passing::Hit(base)) => {
                match boot::run(&with(Start::Grow { base, full: full.clone() }), self, &saved)? {
                    Ran::Ended(outcome) => return Ok(outcome),
                    Ran::NotRestored { why, no_kvm } => useless = Some(why).filter(|_| !no_kvm),
                }
                // The machine's hooks may have written to its disks, and will run once more.
                disk::renew(&machine.disks)?;
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
            Saved::Done => slot.map_or(Ok(()), |slot| slot.commit().map(drop).map_err(|error| error.to_string())),
            Saved::Failed(why) => Err(why),
            Saved::Never(why) => {
                // Remembered, so that no process waits for such a snapshot again. If that cannot be written, they wait in vain.
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

/// Removes what was not used for long, while the machine starts: later, both of its processors have work. If quiz ends first, the
/// next one goes on with it.
fn make_room(cache: &Cache) {
    let cache = cache.clone();
    std::thread::spawn(move || {
        // Behind the machine's own threads; this thread alone has that priority.
        let _ = setpriority_process(None, 19);
        cache.prune_passing();
    });
}

/// Why a machine cannot be restored into another run, if so.
pub fn why_not(machine: &Machine) -> Option<String> {
    if !machine.extra.is_empty() {
        return Some("qemu may not be able to save what --qemu-arg, or a profile's qemu-args, adds".to_owned());
    }
    let disk = machine.disks.iter().find(|disk| disk.persistent || disk.bus == Bus::Nvme)?;
    Some(match disk.bus {
        // A restored Linux takes what it read of a disk before for what is on it.
        _ if disk.persistent => format!("the disk {} may change between two runs", disk.serial),
        _ => format!("the disk {} is NVMe, whose state qemu cannot save", disk.serial),
    })
}

/// What the machine's last run found out, if that was that it can never be saved as it is when the program starts.
fn never(cache: &Cache, key: &Key) -> Option<String> {
    let why = cache.memo(NEVER, key).ok()??;
    Some(String::from_utf8_lossy(&why).into_owned())
}

/// What is known of the snapshot of this machine. Makes and boots nothing.
///
/// # Errors
/// The cache or the qemu cannot be read.
pub fn look(cache: &Cache, machine: &Machine, level: Level) -> Result<KnownSnapshot> {
    let (key, manifest) = key(cache, machine, level)?;
    let size = cache.passing_size(&key).map_err(|e| Error::build("the cache cannot be read").because(e))?;
    let never = || if level == Level::Full { never(cache, &key) } else { None };
    Ok(KnownSnapshot { key, manifest, size, why_not: why_not(machine).or_else(never) })
}

/// Everything that can change what is saved. The image is in the names of kernel and layers, which are digests.
///
/// | ingredient | why |
/// |---|---|
/// | command | the machine, without the paths and ports of one run; of a base without the layers but the agent's |
/// | qemu: its version, and its file's inode, size and time | the state is written in the words of one qemu |
/// | processor | under KVM the guest has seen it, under TCG it counts as fast |
/// | protocol | what the agent waits for when it is restored |
///
/// # Errors
/// The qemu cannot be read.
pub fn key(cache: &Cache, machine: &Machine, level: Level) -> Result<(Key, Manifest)> {
    let unreadable = |e| Error::boot(format!("cannot read {}", machine.qemu.path().display())).because(e);
    let meta = fs::metadata(machine.qemu.path()).map_err(unreadable)?;
    let mut equal = machine.clone();
    // What a guest may do with a folder it learns when it mounts it, which is later.
    equal.shares.iter_mut().for_each(|share| (share.path, share.read_only) = (PathBuf::new(), false));
    equal.disks.iter_mut().for_each(|disk| disk.path = PathBuf::new());
    equal.net = equal.net.map(|_| Net { forward: Vec::new() });
    if level == Level::Base {
        // The first one holds the agent. The others are mounted later.
        equal.layers.iter_mut().skip(1).for_each(|layer| *layer = PathBuf::new());
    }
    let words = command(&equal, &Fds::shown(&equal));
    let mut encoder = KeyEncoder::new("quiz 2 snapshot");
    encoder.flag("base", level == Level::Base);
    encoder.list("command", words.iter().map(|word| word.to_string_lossy()));
    encoder.list("sizes", machine.disks.iter().map(|disk| disk.size.to_string()));
    // A qemu of the toolchain lies in a root whose path, which is in the command, has the digest of all in it: its version need not be known, and the
    // host's loader could not start it.
    let version = if machine.qemu.is_of_root() { String::new() } else { build::identify(machine.qemu.path(), cache)? };
    encoder.text("qemu", &version);
    encoder.list("qemu file", [meta.ino(), meta.size(), meta.mtime().cast_unsigned()].map(|n| n.to_string()));
    let [cpuinfo, kernel] =
        ["/proc/cpuinfo", "/proc/sys/kernel/osrelease"].map(|file| fs::read_to_string(file).unwrap_or_default());
    encoder.text("processor", &processor(&cpuinfo, machine.accel, kernel.trim_end()));
    encoder.number("protocol", PROTOCOL.into());
    Ok(encoder.finish())
}

/// What a guest sees of the host's first processor: under TCG how fast it counts, under KVM what it can do, which the host's kernel has a say in.
/// Not the microcode, which is another one after each update, and not what Linux knows of the processor's faults.
fn processor(cpuinfo: &str, accel: Accel, kernel: &str) -> String {
    let which = ["vendor_id", "cpu family", "model", "model name", "stepping"];
    let able: &[&str] = if accel == Accel::Kvm { &["flags", "vmx flags", "address sizes"] } else { &[] };
    let first = cpuinfo.lines().take_while(|line| !line.is_empty());
    let is_seen = |name: &str| which.contains(&name) || able.contains(&name);
    let seen = first.filter(|line| line.split_once(':').is_some_and(|(name, _)| is_seen(name.trim_end())));
    let kernel = if accel == Accel::Kvm { kernel } else { "" };
    seen.chain((!kernel.is_empty()).then_some(kernel)).map(|line| format!("{line}\n")).collect()
}

#[cfg(test)]
mod tests;
