//! Runs a machine from a snapshot of an equal one, or boots it and saves one for the next run.
//!
//! Decides by key and cache which of the two. Never an error: what cannot be saved or restored boots.

use super::session::Session;
use super::{IMAGE, machine};
use crate::boot::qemu::{Fds, command};
use crate::boot::wire::PROTOCOL;
use crate::boot::{self, Bus, Machine, Net, Options, Outcome, Request, Restored, RunFolder, Start, Streams};
use crate::build::{Known, State};
use crate::error::{Error, Result};
use crate::event::Event;
use crate::graph::{Graph, NodeIndex};
use crate::report;
use quiz_cache::{Key, KeyEncoder, Passing, PassingSlot};
use std::cell::Cell;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

/// Of a run: everything but the machine.
pub(super) struct Run<'a> {
    pub request: &'a Request,
    pub folder: &'a RunFolder,
    pub options: Options<'a>,
    pub streams: &'a Streams,
}

/// Runs the program in `machine`, which need not boot when an equal one did.
pub(super) fn run(session: &Session<'_>, machine: Machine, run: Run<'_>) -> Result<Outcome> {
    let note = |message: String| (session.events)(Event::Note { message });
    if let Some(why) = why_not(&machine) {
        note(format!("no snapshot: {why}"));
        return cold(session, &machine, &run);
    }
    let key = key(&machine);
    let waiting = |pid| (session.events)(Event::Waiting { stage: "a snapshot".to_owned(), pid });
    // The second time after one that was there turned out to be of no use.
    for _ in 0..2 {
        match session.cache.passing(&key, &waiting) {
            Ok(Passing::Hit(place)) => {
                let machine = Machine { start: Start::Restore(place), ..machine.clone() };
                let Run { request, folder, options, streams } = &run;
                match boot::restore(&machine, request, folder, options, streams, session.events)? {
                    Restored::Ran(outcome) => return Ok(outcome),
                    Restored::Failed(why) => note(format!("the snapshot {} cannot be used: {why}", key.short())),
                }
                if let Err(error) = session.cache.drop_passing(&key) {
                    note(format!("the snapshot cannot be dropped: {error}"));
                    break;
                }
            }
            Ok(Passing::Miss(slot)) => return save(session, machine, run, slot),
            Err(error) => {
                note(format!("no snapshot: {error}"));
                break;
            }
        }
    }
    cold(session, &machine, &run)
}

/// Runs the program in `machine`, which boots.
pub(super) fn cold(session: &Session<'_>, machine: &Machine, run: &Run<'_>) -> Result<Outcome> {
    boot::run(machine, run.request, run.folder, &run.options, run.streams, session.events)
}

/// Boots the machine and saves it on the way.
fn save(session: &Session<'_>, machine: Machine, run: Run<'_>, slot: PassingSlot) -> Result<Outcome> {
    let machine = Machine { start: Start::Save(slot.path().to_owned()), ..machine };
    let slot = Cell::new(Some(slot));
    let saved = |saved: std::result::Result<(), String>| {
        let Some(slot) = slot.take() else { return };
        let committed = saved.and_then(|()| slot.commit().map(drop).map_err(|error| error.to_string()));
        let message = match committed {
            Ok(()) => "saved a snapshot for the next run".to_owned(),
            Err(why) => format!("no snapshot: {why}"),
        };
        (session.events)(Event::Note { message });
    };
    let run = Run { options: Options { saved: Some(&saved), ..run.options }, ..run };
    cold(session, &machine, &run)
}

/// What is known of the snapshot of the machine that `quiz up` would run here.
///
/// # Errors
/// The cache cannot be read.
pub(super) fn state(
    session: &Session<'_>,
    graph: &Graph,
    states: &[(NodeIndex, State)],
) -> Result<Option<report::Snapshot>> {
    let Ok(of) = graph.find(IMAGE) else { return Ok(None) };
    let known = states.iter().filter_map(|(id, state)| match state {
        State::Known(record) => Some((*id, record.clone())),
        _ => None,
    });
    let known: Known = known.collect();
    let unknown = report::Snapshot { of, key: None, size: None, why_not: None };
    let failed = |e| Error::build("the cache cannot be read").because(e);
    // Of an image whose objects are gone nothing can be said without making them.
    let Some(image) = known.get(&of) else { return Ok(Some(unknown)) };
    let objects = image.outputs.values().map(|output| session.cache.is_present(output));
    if !objects.collect::<std::result::Result<Vec<_>, _>>().map_err(failed)?.iter().all(|there| *there) {
        return Ok(Some(unknown));
    }
    // Without qemu, or with a wrong setting, there is no machine, but the graph is as true.
    let machine = machine::of(session, &known, image).and_then(|(mut machine, _)| {
        machine::equip(&mut machine, &session.project, Path::new(""))?;
        Ok(machine)
    });
    let Ok(machine) = machine else { return Ok(Some(unknown)) };
    let key = key(&machine);
    let size = session.cache.passing_size(&key).map_err(failed)?;
    Ok(Some(report::Snapshot { of, key: Some(key.short()), size, why_not: why_not(&machine) }))
}

/// Why a machine cannot be restored into another run, if so.
fn why_not(machine: &Machine) -> Option<String> {
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
fn key(machine: &Machine) -> Key {
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
