//! A program in the machine of a project, for programs that use quiz as a library: all that a run takes besides the machine.
//!
//! `quiz up` has more ways, such as terminals, snapshots with names, and debuggers.

use super::machine::{self, Prepared};
use super::{Engine, running, shares};
use crate::boot::{HOME, Outcome, Request, Run, Streams};
use crate::error::Result;
use crate::event::Event;
use crate::machine::disk;
use crate::snapshot;
use std::ffi::OsString;

/// Runs it in a fresh machine, which starts from a snapshot of an equal one if there is one, with the shares and disks of the profiles that are on;
/// without a program a shell. Its files lie in a new folder `.quiz/runs/N` of the project.
///
/// # Errors
/// What the machine needs of the host is not there, or it does not start. A machine that ends before its program is no error: see [`Outcome`].
pub fn run(engine: &Engine<'_>, prepared: Prepared, program: Vec<OsString>, streams: &Streams) -> Result<Outcome> {
    let Prepared { mut machine, why_not_kvm, built_of } = prepared;
    let folders = shares::wanted(engine, &[], true)?;
    let announced = running::announce(engine, built_of)?;
    let folder = &announced.folder;
    machine.disks = machine::disks(&engine.project, folder.path())?;
    machine.shares = shares::devices(folder, &folders, true);
    let request = Request {
        program,
        env: Vec::new(),
        dir: HOME.into(),
        tty: None,
        shell_after: false,
        shares: shares::mounts(&folders),
    };
    let options = machine::options(engine, None, why_not_kvm)?;
    let _disks = disk::take(&machine.disks, &folder.id())?;
    let events = &|event: Event| {
        announced.heard(&event);
        (engine.events)(event);
    };
    let run = Run { request: &request, folder, options: &options, streams, events };
    snapshot::run(&engine.cache, &machine, &run)
}
