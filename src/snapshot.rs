//! Runs a machine from a snapshot of an equal one, or boots it and saves one for the next run.
//!
//! Decides by key and cache which of the two. Never an error: what cannot be saved or restored boots. Knows neither recipes nor
//! what is in an image.

use crate::boot::qemu::{Fds, command};
use crate::boot::wire::PROTOCOL;
use crate::boot::{self, Bus, Machine, Net, Options, Outcome, Request, Restored, RunFolder, Start, Streams};
use crate::error::Result;
use crate::event::{Event, Events};
use quiz_cache::{Cache, Key, KeyEncoder, Passing, PassingSlot};
use std::cell::Cell;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;

/// Runs `request` in `machine` as [`boot::run`] does, but the machine need not boot when an equal one did.
///
/// # Errors
/// As [`boot::run`].
pub fn run(
    cache: &Cache,
    machine: &Machine,
    request: &Request,
    folder: &RunFolder,
    options: &Options,
    streams: &Streams,
    events: Events,
) -> Result<Outcome> {
    let note = |message: String| events(Event::Note { message });
    let cold = || boot::run(machine, request, folder, options, streams, events);
    if let Some(why) = why_not(machine) {
        note(format!("no snapshot: {why}"));
        return cold();
    }
    let key = key(machine);
    let waiting = |pid| events(Event::Waiting { stage: "a snapshot".to_owned(), pid });
    // The second time after one that was there turned out to be of no use.
    for _ in 0..2 {
        match cache.passing(&key, &waiting) {
            Ok(Passing::Hit(place)) => {
                let machine = Machine { start: Start::Restore(place), ..machine.clone() };
                match boot::restore(&machine, request, folder, options, streams, events)? {
                    Restored::Ran(outcome) => return Ok(outcome),
                    Restored::Failed(why) => note(format!("the snapshot {} cannot be used: {why}", key.short())),
                }
                if let Err(error) = cache.drop_passing(&key) {
                    note(format!("the snapshot cannot be dropped: {error}"));
                    break;
                }
            }
            Ok(Passing::Miss(slot)) => {
                let machine = Machine { start: Start::Save(slot.path().to_owned()), ..machine.clone() };
                let slot = Cell::new(Some(slot));
                let saved = |saved| note(settle(slot.take(), saved));
                return boot::save(&machine, request, folder, options, streams, events, &saved);
            }
            Err(error) => {
                note(format!("no snapshot: {error}"));
                break;
            }
        }
    }
    cold()
}

/// Keeps what was saved, or gives up the slot, so that whoever waits goes on; in words.
fn settle(slot: Option<PassingSlot>, saved: std::result::Result<(), String>) -> String {
    let commit = |slot: PassingSlot| slot.commit().map(drop).map_err(|error| error.to_string());
    match saved.and_then(|()| slot.map_or(Ok(()), commit)) {
        Ok(()) => "saved a snapshot for the next run".to_owned(),
        Err(why) => format!("no snapshot: {why}"),
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
/// | command | the machine, without the paths and ports of one run |
/// | qemu, and its file's inode, size and time | the state is written in the words of one qemu |
/// | processor | under KVM the guest has seen it |
/// | protocol | what the agent waits for when it is restored |
pub fn key(machine: &Machine) -> Key {
    let mut equal = machine.clone();
    equal.shares.iter_mut().for_each(|share| share.path = PathBuf::new());
    equal.disks.iter_mut().for_each(|disk| disk.path = PathBuf::new());
    equal.net = equal.net.map(|_| Net { forward: Vec::new() });
    let words = command(&equal, &Fds::shown(&equal));
    let qemu = fs::metadata(&machine.qemu).map(|meta| [meta.ino(), meta.size(), meta.mtime().cast_unsigned()]);
    let mut encoder = KeyEncoder::new("quiz 1 snapshot");
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
