//! `quiz up`: runs a program in the project's machine and gives its exit status.

use super::args::{Cli, Gdb, Up};
use super::terminal;
use crate::boot::{self, Options, Outcome, Request, Run, Stop, Streams, detach};
use crate::engine::Engine;
use crate::engine::machine::{self, Prepared};
use crate::engine::running;
use crate::engine::shares::{self, Folder};
use crate::error::{Error, Result};
use crate::event::{Event, Events};
use crate::load::PROJECT_FOLDER;
use crate::machine::{disk, qemu};
use crate::report;
use crate::snapshot;
use crate::status;
use signal_hook::consts::SIGINT;
use std::ffi::OsString;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};

pub(super) fn run(engine: &Engine<'_>, up: &Up) -> Result<u8> {
    let outcome = boot(engine, up, build(engine, up)?, None)?;
    Ok(outcome.map_or(status::FINE, |outcome| outcome.status_as(up.lost_as)))
}

/// The same on each of several kernels: first all images, then one run after the other, in the end how each went. The status
/// is the first that is not 0. A signal ends the machine at once, and those to come.
pub(super) fn run_each(kernels: &[(String, Cli)], up: &Up, events: Events<'_>, error: &dyn Fn(&Error)) -> Result<u8> {
    let engines: Vec<Engine<'_>> =
        kernels.iter().map(|(_, cli)| Engine::open(&cli.invocation(), events)).collect::<Result<_>>()?;
    let built: Vec<Result<_>> = engines.iter().map(|engine| build(engine, up)).collect();
    let stop = Stop::on_signals()?;
    let mut rows: Vec<(String, u8, String)> = Vec::new();
    for (((kernel, _), engine), built) in kernels.iter().zip(&engines).zip(built) {
        // As a shell has it: Ctrl-C on a terminal is the program's, and when it ends by that, so does the loop around it.
        let by_key = terminal(up).is_some() && rows.last().is_some_and(|row| row.1 == status::signal(SIGINT));
        if let Some(signal) = stop.signal().or(by_key.then_some(SIGINT)) {
            rows.push((kernel.clone(), status::signal(signal), "not run: a signal ended the one before".to_owned()));
            continue;
        }
        events(Event::Turn { kernel: kernel.clone() });
        let ran = built.and_then(|built| boot(engine, up, built, Some(stop.clone())));
        rows.push(match ran {
            Ok(Some(outcome)) => (kernel.clone(), outcome.status_as(up.lost_as), outcome.to_string()),
            Ok(None) => (kernel.clone(), status::FINE, "the command was printed".to_owned()),
            Err(why) => {
                error(&why);
                (kernel.clone(), status::HOST, why.to_string())
            }
        });
    }
    let status = rows.iter().map(|(_, status, _)| *status).find(|status| *status != 0);
    events(Event::Compared { rows });
    Ok(status.unwrap_or(0))
}

/// A machine that can be booted, and what it gets of the host.
struct Built {
    prepared: Prepared,
    folders: Vec<Folder>,
    /// In which the program starts.
    dir: PathBuf,
}

fn build(engine: &Engine<'_>, up: &Up) -> Result<Built> {
    // Before anything that takes long.
    let folders = shares::wanted(engine, &up.share)?;
    let dir = shares::dir(&up.cwd, Some(&folders))?;
    Ok(Built { prepared: super::machine(engine, up.guest.install, terminal(up).is_some())?, folders, dir })
}

/// Runs the program, or prints the command instead.
fn boot(engine: &Engine<'_>, up: &Up, built: Built, stop: Option<Stop>) -> Result<Option<Outcome>> {
    let Built { prepared: Prepared { mut machine, why_not_kvm }, folders, dir } = built;
    let own = engine.project.dir.join(PROJECT_FOLDER);
    if up.dry_run {
        let places = ["shared", "runs/N/out", "runs/N/nothing"].map(|name| own.join(name));
        machine.shares = shares::at(places.each_ref().map(PathBuf::as_path), &folders, true);
        machine.disks = machine::disks(&engine.project, &own.join("runs/N"))?;
        report::result(&format!("{}\n", qemu::shown(&machine, &qemu::Fds::shown(&machine))))?;
        return Ok(None);
    }
    let announced = running::announce(engine)?;
    let folder = &announced.folder;
    machine.shares = shares::devices(folder, &folders, true);
    machine.disks = machine::disks(&engine.project, folder.path())?;
    let _disks = disk::take(&machine.disks, &folder.id())?;
    let request = request(engine, up, &folders, dir);
    if up.gdb == Some(Gdb::Start) {
        machine.extra.push("-S".into());
    }
    let options = Options {
        // On a terminal the kernel's words come among the program's: print debugging is why people use this. What stands
        // around the program may have the whole screen to itself.
        kmsg: up.kmsg || (request.tty.is_some() && wraps(engine).next().is_none()),
        stop,
        fail_on_warning: up.fail_on_warning,
        again: super::typed(),
        shows: up.gdb.is_some(),
        lost_as: up.lost_as,
        ..machine::options(engine, up.guest.timeout, why_not_kvm)?
    };
    (engine.events)(Event::Step { name: "quiz", took: engine.begun.elapsed() });
    let streams = if up.detach { detach::streams(folder)? } else { Streams::inherit(up.no_input)? };
    let stays = AtomicBool::new(up.detach);
    let events = &|event: Event| {
        if let Event::Ready { .. } | Event::Stands { .. } = &event
            && stays.swap(false, Ordering::Relaxed)
            && let Err(error) = detach::leave(folder)
        {
            (engine.events)(Event::Warning { message: error.to_string() });
        }
        (engine.events)(event);
    };
    let run = Run { request: &request, folder, options: &options, streams: &streams, events };
    let outcome = if up.guest.no_snapshot {
        snapshot::boot(&machine, &run)?
    } else {
        snapshot::run(&engine.cache, &machine, &run)?
    };
    if let Outcome::TimeLimit { excerpt, .. } = &outcome {
        excerpt.iter().for_each(|line| (engine.events)(Event::Kernel { line: line.clone() }));
    }
    Ok(Some(outcome))
}

/// The programs of the guest that start its program on a terminal: what a later profile brings stands around what an earlier
/// one brought.
fn wraps<'a>(engine: &'a Engine<'_>) -> impl Iterator<Item = &'a String> {
    engine.project.profiles.iter().rev().filter_map(|profile| profile.wrap.as_ref())
}

/// That which the program gets as its own.
fn terminal(up: &Up) -> Option<boot::Size> {
    boot::terminal_size().filter(|_| !up.no_input && !up.detach)
}

fn request(engine: &Engine<'_>, up: &Up, folders: &[Folder], dir: PathBuf) -> Request {
    let tty = terminal(up);
    let wraps = wraps(engine).filter(|_| tty.is_some());
    // A shell that nobody types to would end at once.
    let stay = ["sleep", "infinity"].into_iter().filter(|_| up.detach && up.program.is_empty());
    Request {
        program: wraps.map(OsString::from).chain(up.program.iter().cloned()).chain(stay.map(OsString::from)).collect(),
        // Only a terminal's own words: what else is set on the host means nothing in the guest.
        env: if tty.is_some() { terminal::passed_on() } else { Vec::new() },
        dir: dir.into(),
        tty,
        shell_after: up.shell,
        shares: shares::mounts(folders, true),
    }
}
