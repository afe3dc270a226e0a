//! `quiz up`: builds the image, makes a machine of it, runs the program in that, and gives the exit status.

use super::args::{Cli, Up};
use super::machine;
use super::session::Session;
use super::snapshot::{self, Run};
use crate::boot::{self, Machine, Options, Outcome, Request, RunFolder, Streams};
use crate::error::{Error, Result};
use crate::event::{Event, Events};
use crate::load::PROJECT_FOLDER;
use crate::report;
use std::ffi::OsString;
use std::time::Duration;

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
        machine::equip(&mut machine, &session.project, &own.join("runs/N"))?;
        let command = boot::qemu::command(&machine, &boot::qemu::Fds::shown(&machine));
        report::result(&format!("{}\n", boot::qemu::shell_line(&command)))?;
        return Ok(None);
    }
    let folder = RunFolder::create(&own)?;
    machine::equip(&mut machine, &session.project, folder.path())?;
    let _disks = boot::disk::take(&machine.disks, &folder)?;
    let request = request(session, up);
    let options = Options {
        timeout: up.timeout.map(Duration::from_secs),
        ready_within: Duration::from_secs(session.project.settings.number("machine.boot-timeout")),
        // On a terminal the kernel's words come among the program's: print debugging is why people use this.
        kmsg: up.kmsg || request.tty.is_some(),
        verdicts: Some(session.kvm_verdicts()),
        why_not_kvm,
        saved: None,
    };
    (session.events)(Event::Step { name: "quiz", took: session.begun.elapsed() });
    let run = Run { request: &request, folder: &folder, options, streams: &Streams::inherit()? };
    let outcome =
        if up.no_snapshot { snapshot::cold(session, &machine, &run)? } else { snapshot::run(session, machine, run)? };
    if let Outcome::TimeLimit { excerpt, .. } = &outcome {
        excerpt.iter().for_each(|line| (session.events)(Event::Kernel { line: line.clone() }));
    }
    Ok(Some(outcome))
}

fn request(session: &Session<'_>, up: &Up) -> Request {
    let passed = ["TERM", "COLORTERM", "LANG"].into_iter().filter_map(|name| {
        let value = std::env::var_os(name)?;
        let mut pair = OsString::from(format!("{name}="));
        pair.push(value);
        Some(pair)
    });
    let tty = boot::terminal_size();
    // What a later profile brings stands around what an earlier one brought.
    let wraps = session.project.profiles.iter().rev().filter_map(|profile| profile.wrap.as_ref());
    let wraps = wraps.filter(|_| tty.is_some());
    Request {
        program: wraps.chain(&up.program).map(OsString::from).collect(),
        // Only a terminal's own words: what else is set on the host means nothing in the guest.
        env: if tty.is_some() { passed.collect() } else { Vec::new() },
        dir: OsString::from("/root"),
        tty,
        shell_after: up.shell,
        shares: vec![machine::SHARED.to_owned(), machine::OUT.to_owned()],
    }
}
