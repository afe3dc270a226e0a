//! Which crashes there are, and the memory of a machine that runs, which becomes one.

use super::running;
use crate::boot::crash::{Crash, FOLDER, MEMORY, REFUSED, WISH, being_written, cut_short, memory_of};
use crate::boot::folder::{all, is_live, parts, run_of};
use crate::boot::running::{holder, machines, others};
use crate::engine::Engine;
use crate::error::{Error, Result, cannot};
use crate::host;
use crate::report::Crashed;
use rustix::process::{Signal, pidfd_send_signal};
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// Between two looks whether the memory is written.
const LOOK_AGAIN: Duration = Duration::from_millis(20);
/// How long no part of the memory may be written. The process of the run gives up a little earlier.
const WRITTEN: Duration = Duration::from_secs(150);

/// The crashes of this project, the newest run first.
pub(super) fn every(engine: &Engine<'_>) -> Result<Vec<Crashed>> {
    let mut found = Vec::new();
    for run in running::every(engine, all)? {
        let places = [vec![run.clone()], parts(&run)].concat();
        found.extend(places.into_iter().filter_map(|place| {
            let (crash, memory) = (Crash::read(&place)?, memory_of(&place));
            // A copy of it, or a file system that was checked, may have lost the rest.
            let plain = memory.as_ref().filter(|(path, _)| path.ends_with(MEMORY));
            let cut = crash.cut.or_else(|| cut_short(&plain?.0));
            Some(Crashed { run: running::name(&place), memory, crash: Crash { cut, ..crash }, place })
        }));
    }
    Ok(found)
}

/// The crash of a run, or the newest one.
pub(super) fn find<'a>(engine: &Engine<'_>, all: &'a [Crashed], id: Option<&str>) -> Result<&'a Crashed> {
    let found = match id {
        Some(id) => all.iter().find(|crashed| crashed.run == id),
        None => all.first(),
    };
    found.ok_or_else(|| match id {
        Some(id) if let Some(error) = running::place(engine, id).and_then(|place| others(&place)) => error,
        Some(id) => Error::input(format!("run {id} has left no crash")).hint("`quiz crash ls` shows those that have"),
        None => Error::input("no run of this project has left a crash"),
    })
}

/// A copy of the crash of a run, or of the newest one.
pub(super) fn take(engine: &Engine<'_>, id: Option<&str>) -> Result<Crashed> {
    let all = every(engine)?;
    find(engine, &all, id).cloned()
}

/// Has the memory of a machine that runs written; the machine goes on. Gives the file.
pub(super) fn dump(engine: &Engine<'_>, id: Option<&str>) -> Result<PathBuf> {
    let place = running::living(engine, "dump", id)?;
    let run = run_of(&place);
    let folder = place.join(FOLDER);
    let before = identity(&folder);
    let machine = machines(run).into_iter().find(|(other, _)| *other == place);
    let process = machine.and_then(|(_, machine)| holder(run, machine.quiz));
    let name = running::name(&place);
    let process = process.ok_or_else(|| {
        Error::boot(format!("the process of run {name} was not found: it is only just starting, or another user's"))
            .hint("try again in a moment")
    })?;
    let (wish, refused) = (place.join(WISH), place.join(REFUSED));
    let _ = fs::remove_file(&refused);
    host::write_private(&wish, "").map_err(|e| cannot("write", &wish, e))?;
    pidfd_send_signal(&process, Signal::URG)
        .map_err(|e| Error::boot("cannot send a signal to the process of the run").because(e))?;
    let (mut since, mut written) = (Instant::now(), None);
    loop {
        let now = being_written(&place);
        if now != written {
            (since, written) = (Instant::now(), now);
        }
        let is_over = !is_live(run);
        if identity(&folder) != before && memory_of(&place).is_some() {
            break;
        }
        let why = host::read_plain(&refused).ok().filter(|why| !why.is_empty());
        let why = why.map(|why| String::from_utf8_lossy(&why).into_owned());
        let why = why.or_else(|| is_over.then(|| "the machine ended meanwhile".to_owned()));
        let why = why.or_else(|| (since.elapsed() > WRITTEN).then(|| "the machine does not answer".to_owned()));
        if let Some(why) = why {
            let _ = fs::remove_file(&wish);
            return Err(Error::boot(format!("the memory of run {name} was not written: {why}"))
                .hint(format!("quiz logs {name} shows what its kernel says, quiz monitor {name} what qemu does")));
        }
        std::thread::sleep(LOOK_AGAIN);
    }
    Ok(folder.join(MEMORY))
}

/// Which folder lies there: each dump makes one anew.
pub(super) fn identity(folder: &Path) -> Option<u64> {
    fs::symlink_metadata(folder).ok().map(|meta| meta.ino())
}
