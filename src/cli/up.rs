//! `quiz up`: runs a program in the project's machine and gives its exit status.

use super::args::{Cli, Gdb, Up};
use super::terminal;
use crate::boot::crash::{Crash, Guest, Imported};
use crate::boot::{self, Options, Outcome, Request, Run, Saved, Stop, Streams, detach};
use crate::engine::machine::{self, Prepared};
use crate::engine::named::{self, OwnSnapshot};
use crate::engine::running;
use crate::engine::shares::{self, Folder};
use crate::engine::tidy;
use crate::engine::{BuiltOf, Engine};
use crate::error::{Error, Result};
use crate::event::{Event, Events};
use crate::machine::{Accel, Machine, disk, qemu};
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

/// The same as [`run`]; the machine is saved under that name when its program has ended with 0.
pub(super) fn keep(engine: &Engine<'_>, up: &Up, name: &str, replace: bool) -> Result<Option<Outcome>> {
    let built = build(engine, up)?;
    boot(engine, up, Built { way: Way::Keep { name: name.to_owned(), replace }, ..built }, None)
}

/// The same as [`run`], in the machine that crashed: its kernel, layers, memory and command line.
pub(super) fn again(engine: &Engine<'_>, up: &Up, (prepared, guest): (Prepared, Guest), crash: &Crash) -> Result<u8> {
    let folders = shares::wanted(engine, &up.around.share, true)?;
    let dir = shares::dir(&up.around.cwd, Some(&folders))?;
    let Prepared { machine, why_not_kvm, built_of } = prepared;
    let way = Way::Again {
        guest: Box::new(guest),
        flags: crash.flags.clone(),
        variables: crash.variables.clone(),
        imported: crash.imported.clone(),
    };
    let outcome = boot(engine, up, Built { machine, why_not_kvm, built_of, way, folders, dir }, None)?;
    Ok(outcome.map_or(status::FINE, |outcome| outcome.status_as(up.lost_as)))
}

/// The same as [`run`] on each of several kernels: builds all images, then does one run after the other, and shows in the end how each went.
/// Gives the first status that is not 0. A signal ends the machine at once, and the runs that are left are not begun.
pub(super) fn run_each(kernels: &[(String, Cli)], up: &Up, events: Events<'_>, error: &dyn Fn(&Error)) -> Result<u8> {
    let engines: Vec<Engine<'_>> =
        kernels.iter().map(|(_, cli)| Engine::open(&cli.invocation(), events)).collect::<Result<_>>()?;
    engines.iter().try_for_each(|engine| tidy::most(engine).map(drop))?;
    let built: Vec<Result<_>> = engines.iter().map(|engine| build(engine, up)).collect();
    let stop = Stop::on_signals()?;
    let mut rows: Vec<(String, u8, String)> = Vec::new();
    for (((kernel, _), engine), built) in kernels.iter().zip(&engines).zip(built) {
        // As in a shell's loop: Ctrl-C on a terminal is for the program, and if the program dies of it, so does the loop.
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
    engines.iter().take(1).for_each(tidy::start);
    Ok(status.unwrap_or(0))
}

impl Way {
    /// Sets what `quiz ps` and debuggers are told of the machine, where it is not the one that this project describes now.
    fn tell(&self, options: &mut Options) {
        match self {
            Self::From(own) => {
                (options.profiles, options.flags) = (own.saved.profiles.clone(), own.saved.flags.clone());
                options.variables.clone_from(&own.saved.variables);
            }
            Self::Again { flags, variables, imported, .. } => {
                options.variables.clone_from(variables);
                (options.profiles, options.flags, options.imported) = (Vec::new(), flags.clone(), imported.clone());
            }
            _ => {}
        }
    }
}

/// A machine that can be booted, and what it gets of the host.
struct Built {
    machine: Machine,
    why_not_kvm: Option<String>,
    /// What it was made of.
    built_of: BuiltOf,
    way: Way,
    folders: Vec<Folder>,
    /// The folder of the guest in which the program starts.
    dir: PathBuf,
}

/// How the machine starts, and whether it is saved.
enum Way {
    /// From a snapshot of an equal one, if there is one.
    Usual,
    /// It boots, and nothing is saved.
    Cold,
    /// It goes on from a snapshot of `quiz snap`.
    From(Box<OwnSnapshot>),
    /// It is a machine that crashed, and boots once more.
    Again { guest: Box<Guest>, flags: Vec<String>, variables: Option<Vec<String>>, imported: Option<Imported> },
    /// It is saved under that name when its program has ended.
    Keep { name: String, replace: bool },
}

fn build(engine: &Engine<'_>, up: &Up) -> Result<Built> {
    // Checked first, so that a mistake is told before a build of minutes.
    let folders = shares::wanted(engine, &up.around.share, true)?;
    let dir = shares::dir(&up.around.cwd, Some(&folders))?;
    if let Some(name) = &up.from {
        if up.gdb == Some(Gdb::Start) {
            return Err(Error::input(
                "--gdb cannot stop a machine that goes on from a snapshot before its first instruction",
            )
            .hint("use --gdb=panic, or quiz gdb while it runs"));
        }
        let own = saved(engine, name)?;
        let machine = own.machine(engine)?;
        return Ok(Built {
            machine,
            why_not_kvm: None,
            built_of: BuiltOf::default(),
            way: Way::From(Box::new(own)),
            folders,
            dir,
        });
    }
    let Prepared { machine, why_not_kvm, built_of } = super::machine(engine, up.guest.install, terminal(up).is_some())?;
    let way = if up.guest.no_snapshot { Way::Cold } else { Way::Usual };
    Ok(Built { machine, why_not_kvm, built_of, way, folders, dir })
}

/// The snapshot of that name. Nothing that was typed beside it can change what is in it.
fn saved(engine: &Engine<'_>, name: &str) -> Result<OwnSnapshot> {
    let own = named::find(engine, name)?;
    if let Some(flag) = engine.project.settings.shaping_flags().next() {
        return Err(Error::input(format!(
            "--from {name} goes on with the machine as it was saved: {flag} would change nothing"
        ))
        .hint("leave the flag out, or save the snapshot again with it: quiz snap NAME --replace"));
    }
    Ok(own)
}

/// Runs the program, or prints the command instead.
fn boot(engine: &Engine<'_>, up: &Up, built: Built, stop: Option<Stop>) -> Result<Option<Outcome>> {
    let Built { mut machine, why_not_kvm, built_of, way, folders, dir } = built;
    let own = engine.project.state_dir.clone();
    if up.dry_run {
        let places = ["shared", "runs/N/out", "runs/N/nothing"].map(|name| own.join(name));
        machine.shares = shares::at(places.each_ref().map(PathBuf::as_path), &folders, true);
        machine.disks = machine::disks(&engine.project, &own.join("runs/N"))?;
        report::result(&format!("{}\n", qemu::shown(&machine, &qemu::Fds::shown(&machine))))?;
        return Ok(None);
    }
    let announced = running::announce(engine, built_of)?;
    let folder = &announced.folder;
    machine.disks = match &way {
        Way::From(own) => own.disks(folder.path()),
        Way::Again { guest, .. } => guest.disks(folder.path()),
        _ => machine::disks(&engine.project, folder.path())?,
    };
    machine.shares = shares::devices(folder, &folders, true);
    let wraps = match &way {
        Way::From(own) => own.saved.wraps.clone(),
        Way::Again { .. } => Vec::new(),
        _ => named::wraps(engine).cloned().collect(),
    };
    let request = request(up, &wraps, &folders, dir);
    if up.gdb == Some(Gdb::Start) {
        machine.extra.push("-S".into());
    }
    let mut options = Options {
        // On a terminal kernel messages are shown among the program's output, for print debugging; but not where a profile
        // starts the program by another one (`wrap`, such as tmux), which may have the whole screen to itself.
        kmsg: up.around.kmsg || (request.tty.is_some() && wraps.is_empty()),
        stop,
        fail_on_warning: up.fail_on_warning,
        again: super::typed(matches!(way, Way::Keep { .. }).then_some("--replace")),
        shows: up.gdb.is_some(),
        lost_as: up.lost_as,
        ..machine::options(engine, up.guest.timeout, why_not_kvm)?
    };
    way.tell(&mut options);
    (engine.events)(Event::Step { name: "quiz", took: engine.begun.elapsed() });
    let streams = if up.detach { detach::streams(folder)? } else { Streams::inherit(up.around.no_input)? };
    let stays = AtomicBool::new(up.detach);
    let events = &|event: Event| {
        if let Event::Ready { .. } | Event::Stands { .. } = &event
            && stays.swap(false, Ordering::Relaxed)
            && let Err(error) = detach::leave(folder)
        {
            (engine.events)(Event::Warning { message: error.to_string() });
        }
        announced.heard(&event);
        (engine.events)(event);
    };
    let run = Run { request: &request, folder, options: &options, streams: &streams, events };
    let outcome = play(engine, &mut machine, &run, &way)?;
    if let Outcome::TimeLimit { excerpt, .. } = &outcome {
        excerpt.iter().for_each(|line| (engine.events)(Event::Kernel { line: line.clone() }));
    }
    (engine.events)(Event::Outcome {
        status: outcome.status_as(up.lost_as),
        ending: outcome.ending(),
        program: outcome.program(),
        how: outcome.to_string(),
    });
    Ok(Some(outcome))
}

/// Runs the machine on its way.
fn play(engine: &Engine<'_>, machine: &mut Machine, run: &Run<'_>, way: &Way) -> Result<Outcome> {
    let take = |machine: &Machine| disk::take(&machine.disks, &run.folder.id());
    match way {
        Way::Keep { name, replace } => play_and_keep(engine, machine, run, name, *replace),
        Way::Usual => take(machine).and_then(|_disks| snapshot::run(&engine.cache, machine, run)),
        Way::Cold | Way::Again { .. } => take(machine).and_then(|_disks| snapshot::boot(machine, run)),
        Way::From(own) => {
            take(machine).and_then(|_disks| snapshot::boot(machine, run)).map_err(|error| error.hint(own.again()))
        }
    }
}

/// Runs the machine and saves it. Its disks are made where the snapshot will be, so that they need not be moved.
fn play_and_keep(
    engine: &Engine<'_>,
    machine: &mut Machine,
    run: &Run<'_>,
    name: &str,
    replace: bool,
) -> Result<Outcome> {
    let failed = |e| Error::boot("cannot make a folder for the snapshot in the cache").because(e);
    let slot = engine.cache.named_slot().map_err(failed)?;
    for disk in &mut machine.disks {
        let file = disk.path.file_name().unwrap_or_default().to_owned();
        disk.path = slot.path().join(file);
    }
    let disks = disk::take(&machine.disks, &run.folder.id())?;
    // KVM may turn out not to work, and the machine be started again under TCG: the snapshot keeps which one it was.
    let emulated = AtomicBool::new(machine.accel == Accel::Tcg);
    let events = &|event: Event| {
        if let Event::Booting { accelerator, .. } = &event {
            emulated.store(accelerator == Accel::Tcg.name(), Ordering::Relaxed);
        }
        (run.events)(event);
    };
    let (outcome, saved) = snapshot::keep(&engine.cache, machine, &Run { events, ..*run }, slot.path())?;
    if emulated.into_inner() {
        machine.accel = Accel::Tcg;
    }
    match (&outcome, saved) {
        (Outcome::Exited(0), Saved::Done) => {
            disks.keep();
            let own = named::store(engine, slot, name, replace, machine, (&run.request.program, run.options))?;
            (engine.events)(Event::Kept { name: own.named.name, bytes: own.named.size });
        }
        (Outcome::Exited(0), Saved::Failed(why) | Saved::Never(why)) => {
            return Err(Error::boot(format!("the program ended with 0, but the machine was not saved: {why}")));
        }
        _ => {
            let message = format!("the snapshot {name} was not saved: only a machine whose program ends with 0 is");
            (engine.events)(Event::Warning { message });
        }
    }
    Ok(outcome)
}

/// The size of the terminal that the program gets, if it gets one.
fn terminal(up: &Up) -> Option<boot::Size> {
    boot::terminal_size().filter(|_| !up.around.no_input && !up.detach)
}

fn request(up: &Up, wraps: &[String], folders: &[Folder], dir: PathBuf) -> Request {
    let tty = terminal(up);
    let wraps = wraps.iter().filter(|_| tty.is_some());
    // Without a program it would be a shell, which ends at once where nobody types.
    let stay = ["sleep", "infinity"].into_iter().filter(|_| up.detach && up.program.is_empty());
    Request {
        program: wraps.map(OsString::from).chain(up.program.iter().cloned()).chain(stay.map(OsString::from)).collect(),
        // Only variables that describe the terminal: others of the host mean nothing in the guest.
        env: if tty.is_some() { terminal::passed_on() } else { Vec::new() },
        dir: dir.into(),
        tty,
        shell_after: up.shell,
        shares: shares::mounts(folders),
    }
}
