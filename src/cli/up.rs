//! `quiz up`: builds the image, makes a machine of it, runs the program in that, and gives the exit status.

use super::args::{Cli, Up};
use super::machine;
use super::session::Session;
use crate::boot::{self, Machine, Options, Outcome, Request, RunFolder, Share, Streams};
use crate::error::{Error, Result};
use crate::event::{Event, Events};
use crate::load::PROJECT_FOLDER;
use crate::report;
use std::ffi::OsString;
use std::path::Path;
use std::time::Duration;

/// Folders that host and guest share, by tag: the guest mounts each at `/<tag>`.
const SHARED: &str = "shared";
const OUT: &str = "out";

pub(super) fn run(session: &Session<'_>, up: &Up) -> Result<u8> {
    let (machine, why_not_kvm) = machine::build(session, up.install)?;
    let outcome = boot(session, up, machine, why_not_kvm)?;
    Ok(outcome.map_or(0, |outcome| outcome.status()))
}

/// The same on each of several kernels: first all images, then one run after the other, in the end how each went. The status
/// is the first that is not 0.
pub(super) fn run_each(kernels: &[(String, Cli)], up: &Up, events: Events<'_>, error: &dyn Fn(&Error)) -> Result<u8> {
    let sessions: Vec<Session<'_>> =
        kernels.iter().map(|(_, cli)| Session::open(cli, events)).collect::<Result<_>>()?;
    let built: Vec<Result<_>> = sessions.iter().map(|session| machine::build(session, up.install)).collect();
    let mut rows = Vec::new();
    for (((kernel, _), session), built) in kernels.iter().zip(&sessions).zip(built) {
        events(Event::Turn { kernel: kernel.clone() });
        let ran = built.and_then(|(machine, why_not_kvm)| boot(session, up, machine, why_not_kvm));
        rows.push(match ran {
            Ok(Some(outcome)) => (kernel.clone(), outcome.status(), outcome.to_string()),
            Ok(None) => (kernel.clone(), 0, "the command was printed".to_owned()),
            Err(why) => {
                error(&why);
                (kernel.clone(), super::COULD_NOT, why.to_string())
            }
        });
    }
    let status = rows.iter().map(|(_, status, _)| *status).find(|status| *status != 0);
    events(Event::Compared { rows });
    Ok(status.unwrap_or(0))
}

/// Runs the program, or prints the command instead.
fn boot(session: &Session<'_>, up: &Up, mut machine: Machine, why_not_kvm: Option<String>) -> Result<Option<Outcome>> {
    let own = session.project.dir.join(PROJECT_FOLDER);
    if up.dry_run {
        machine.shares = vec![share(SHARED, &own.join("shared")), share(OUT, &own.join("runs/N/out"))];
        machine.disks = machine::disks(&session.project, &own.join("runs/N"))?;
        let command = boot::qemu::command(&machine, &boot::qemu::Fds::shown(&machine));
        report::result(&format!("{}\n", boot::qemu::shell_line(&command)))?;
        return Ok(None);
    }
    boot::net::check(machine.net.as_ref())?;
    let folder = RunFolder::create(&own)?;
    machine.shares = vec![share(SHARED, folder.shared()), share(OUT, &folder.out())];
    machine.disks = machine::disks(&session.project, folder.path())?;
    let _disks = boot::disk::take(&machine.disks, &folder)?;
    let request = request(session, up);
    let options = Options {
        timeout: up.timeout.map(Duration::from_secs),
        ready_within: Duration::from_secs(session.project.settings.number("machine.boot-timeout")),
        // On a terminal the kernel's words come among the program's: print debugging is why people use this. What stands
        // around the program may have the whole screen to itself.
        kmsg: up.kmsg || (request.tty.is_some() && wraps(session).next().is_none()),
        verdicts: Some(session.kvm_verdicts()),
        why_not_kvm,
    };
    let outcome = boot::run(&machine, &request, &folder, &options, &Streams::inherit()?, session.events)?;
    if let Outcome::TimeLimit { excerpt, .. } = &outcome {
        excerpt.iter().for_each(|line| (session.events)(Event::Kernel { line: line.clone() }));
    }
    Ok(Some(outcome))
}

fn share(tag: &str, path: &Path) -> Share {
    Share { tag: tag.to_owned(), path: path.to_owned(), read_only: false }
}

/// The programs of the guest that start its program on a terminal: what a later profile brings stands around what an earlier
/// one brought.
fn wraps<'a>(session: &'a Session<'_>) -> impl Iterator<Item = &'a String> {
    session.project.profiles.iter().rev().filter_map(|profile| profile.wrap.as_ref())
}

fn request(session: &Session<'_>, up: &Up) -> Request {
    let passed = ["TERM", "COLORTERM", "LANG"].into_iter().filter_map(|name| {
        let value = std::env::var_os(name)?;
        let mut pair = OsString::from(format!("{name}="));
        pair.push(value);
        Some(pair)
    });
    let tty = boot::terminal_size();
    let wraps = wraps(session).filter(|_| tty.is_some());
    Request {
        program: wraps.chain(&up.program).map(OsString::from).collect(),
        // Only a terminal's own words: what else is set on the host means nothing in the guest.
        env: if tty.is_some() { passed.collect() } else { Vec::new() },
        dir: OsString::from("/root"),
        tty,
        shell_after: up.shell,
        shares: vec![SHARED.to_owned(), OUT.to_owned()],
    }
}
