//! `quiz ps`, `quiz stop` and `quiz logs`: the machines that run, whoever started them, and what their kernels say.

pub(super) use crate::boot::folder::name;
use crate::boot::folder::{PARTS, all, is_live, live, number, parts, run_of};
use crate::boot::running::{is_up, machines, not_live, others, process};
use crate::engine::{Engine, running};
use crate::error::{Error, Result, cannot};
use crate::event::Event;
use crate::host;
use crate::load::{project_of, state_dirs};
use crate::report::{self, Shown, Style};
use rustix::process::{Signal, pidfd_send_signal};
use std::fs::File;
use std::io::{ErrorKind, Read, Write};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// Between two looks whether a machine is gone, or its kernel has said more.
const LOOK_AGAIN: Duration = Duration::from_millis(50);
/// How long a run that was asked to end has, until it is asked again: then quiz ends the machine, whatever its program does.
const ASKED: Duration = Duration::from_secs(10);
/// How long until quiz is killed, and its qemu with it.
const KILLED: Duration = Duration::from_secs(20);
/// The most bytes that are read of a run's result.
const RESULT: u64 = 1 << 20;
/// The most bytes of a kernel's log in which its release is looked for.
const HEAD: u64 = 64 << 10;

/// The table of all machines of this user.
pub(super) fn ps(engine: &Engine<'_>, json: bool, style: &Style) -> Result<()> {
    let mut shown = Vec::new();
    for run in running::all(engine)? {
        for (place, running) in machines(&run) {
            let project = project_of(&run).unwrap_or_else(|| run.clone());
            shown.push(Shown {
                run: name(&place),
                project,
                kernel: release(&place),
                memory: running.memory(),
                running,
            });
        }
    }
    report::result(&if json { format!("{}\n", report::running_json(&shown)) } else { report::running(&shown, style) })
}

/// What the guest's kernel calls itself in its first line.
fn release(place: &Path) -> Option<String> {
    let mut head = Vec::new();
    host::open_plain(&place.join("console.log")).ok()?.take(HEAD).read_to_end(&mut head).ok()?;
    let text = String::from_utf8_lossy(&head);
    let (_, rest) = text.split_once("Linux version ")?;
    let release: String = rest.chars().take_while(|c| c.is_ascii_alphanumeric() || "+-._~".contains(*c)).collect();
    Some(release).filter(|release| !release.is_empty())
}

/// Ends a run of this project, the newest one that lives if none is named, or all of the user's.
pub(super) fn stop(engine: &Engine<'_>, id: Option<&str>, everything: bool) -> Result<()> {
    let runs = match (everything, id) {
        (true, _) => running::all(engine)?,
        // A run of several machines is ended as a whole.
        (false, Some(id)) => vec![run_of(&named(engine, id)?).to_owned()],
        (false, None) => vec![newest(engine)?],
    };
    if let (false, [run]) = (everything, &runs[..])
        && !is_live(run)
    {
        return Err(not_live(run));
    }
    // All are asked before any is waited for.
    let asked: Vec<_> = runs.iter().map(|run| (run, ask(run))).collect();
    let mut failed = Ok(());
    for (run, process) in asked {
        let ended = match process {
            Some(process) => end(engine, run, &process),
            None if is_live(run) => Err(Error::boot(format!(
                "the process of run {} was not found: it is only just starting, or another user's",
                number(run)
            ))
            .hint("try again in a moment")),
            None => Ok(()),
        };
        match ended {
            Ok(()) => (engine.events)(Event::Stopped { run: run.display().to_string() }),
            // The others are ended all the same.
            Err(error) => failed = failed.and(Err(error)),
        }
    }
    failed
}

/// Asks the process of a run to end.
fn ask(run: &Path) -> Option<rustix::fd::OwnedFd> {
    let process = process(run)?;
    pidfd_send_signal(&process, Signal::TERM).ok()?;
    Some(process)
}

/// Waits until the run is over; it is asked again, and then killed.
fn end(engine: &Engine<'_>, run: &Path, process: &rustix::fd::OwnedFd) -> Result<()> {
    let begun = Instant::now();
    let mut steps = [(ASKED, Signal::TERM), (KILLED, Signal::KILL)].into_iter().peekable();
    while is_live(run) {
        if let Some((_, signal)) = steps.next_if(|(after, _)| begun.elapsed() >= *after) {
            if signal == Signal::KILL {
                (engine.events)(Event::Warning { message: format!("run {} did not end, and was killed", number(run)) });
            }
            // The run may have ended just now.
            let _ = pidfd_send_signal(process, signal);
        }
        if begun.elapsed() > KILLED * 2 {
            return Err(Error::boot(format!("run {} does not end", number(run))));
        }
        std::thread::sleep(LOOK_AGAIN);
    }
    Ok(())
}

/// Waits until a run is over, the newest if none is named. Its exit status.
pub(super) fn wait(engine: &Engine<'_>, id: Option<&str>) -> Result<u8> {
    let place = match id {
        Some(id) => named(engine, id)?,
        None => any(engine)?,
    };
    while goes_on(&place) {
        std::thread::sleep(LOOK_AGAIN);
    }
    let path = place.join("result.json");
    let mut text = String::new();
    let read = host::open_plain(&path).and_then(|file| file.take(RESULT).read_to_string(&mut text));
    let result: serde_json::Value = read.ok().and_then(|_| serde_json::from_str(&text).ok()).unwrap_or_default();
    match result["status"].as_u64().and_then(|status| u8::try_from(status).ok()) {
        Some(status) => Ok(status),
        None if !parts(&place).is_empty() => Err(several(&place, "wait", &parts(&place))),
        None => Err(Error::boot(format!(
            "run {} has left no exit status: quiz was killed, or could not write it",
            name(&place)
        ))
        .hint(format!("what the run has left is in {}", place.display()))),
    }
}

/// Prints what the kernel of a run's machine said, the newest run's if none is named; with `follow` until the run is over.
pub(super) fn logs(engine: &Engine<'_>, id: Option<&str>, follow: bool) -> Result<()> {
    let place = match id {
        Some(id) => named(engine, id)?,
        None => any(engine)?,
    };
    let run = run_of(&place);
    let path = place.join("console.log");
    let mut log = loop {
        match host::open_plain(&path) {
            Ok(log) => break log,
            Err(_) if follow && is_live(run) && parts(run).is_empty() => std::thread::sleep(LOOK_AGAIN),
            Err(e) => return Err(no_log(&place, &path, e)),
        }
    };
    loop {
        // Asked before the log is read: once the run is over, one more reading finds all.
        let goes_on = follow && goes_on(&place);
        pass_on(&mut log, &path)?;
        if !goes_on {
            return Ok(());
        }
        std::thread::sleep(LOOK_AGAIN);
    }
}

/// Whether there is more to come: of a run until it is over, of one of its machines until that is.
fn goes_on(place: &Path) -> bool {
    let run = run_of(place);
    if run == place { is_live(run) } else { is_up(place) }
}

fn pass_on(log: &mut File, path: &Path) -> Result<()> {
    let mut stdout = std::io::stdout().lock();
    let copied = std::io::copy(log, &mut stdout).and_then(|_| stdout.flush());
    copied.map_err(|e| cannot("show", path, e))
}

/// A run of several machines has a log for each.
fn no_log(place: &Path, path: &Path, error: std::io::Error) -> Error {
    match &parts(place)[..] {
        [] if error.kind() == ErrorKind::PermissionDenied => not_live(place),
        [] => cannot("open", path, error),
        parts => several(place, "logs", parts),
    }
}

fn several(run: &Path, command: &str, parts: &[PathBuf]) -> Error {
    let names: Vec<String> = parts.iter().map(|part| name(part)).collect();
    Error::input(format!("run {} has a machine for each of its groups", number(run)))
        .hint(format!("quiz {command} {}", names[0]))
        .hint(format!("its machines are: {}", names.join(", ")))
}

/// The folder of the run of that number, or of one of its machines: `7`, `7/functional.atime`; nothing if there is none. Of a run of another user that
/// of the run, since nothing is seen in it.
pub(super) fn place(engine: &Engine<'_>, id: &str) -> Option<PathBuf> {
    let (run, group) = id.split_once('/').map_or((id, None), |(run, group)| (run, Some(group)));
    let below = match group {
        Some(group) if group.contains('/') || [".", ".."].contains(&group) => None,
        Some(group) => Some(Path::new("runs").join(run).join(PARTS).join(group)),
        None => Some(Path::new("runs").join(run)),
    };
    run.parse::<u64>().ok()?;
    let dirs = state_dirs(&engine.project.dir);
    let there = |below: &Path| dirs.iter().map(|dir| dir.join(below)).find(|place| place.is_dir());
    let whole = there(&Path::new("runs").join(run)).filter(|run| others(run).is_some());
    whole.or_else(|| there(&below?))
}

/// As [`place`].
///
/// # Errors
/// There is none, or it is another user's.
fn named(engine: &Engine<'_>, id: &str) -> Result<PathBuf> {
    if let Some(place) = place(engine, id) {
        return others(&place).map_or(Ok(place), Err);
    }
    let live = every(engine, live)?;
    let live: Vec<_> = live.iter().map(|run| number(run)).collect();
    Err(Error::input(format!("there is no run {id}")).hint(match live.len() {
        0 => "no machine runs here; `quiz ps` shows those of other projects".to_owned(),
        _ => format!("these run: {}", live.join(", ")),
    }))
}

/// The runs of this project that `which` lists, in the order of [`running::of`]. A folder that cannot be listed is an error.
pub(super) fn every(engine: &Engine<'_>, which: fn(&Path) -> Result<Vec<PathBuf>>) -> Result<Vec<PathBuf>> {
    let all = state_dirs(&engine.project.dir).iter().map(|dir| which(dir)).collect::<Result<Vec<_>>>()?;
    Ok(all.concat())
}

/// The newest run of this project that lives.
fn newest(engine: &Engine<'_>) -> Result<PathBuf> {
    every(engine, live)?.into_iter().next().ok_or_else(|| {
        Error::input("no machine of this project runs").hint("`quiz ps` shows those of other projects: quiz -C DIR …")
    })
}

/// Whether the machine of that number is there, or comes, or any of this project without a number; an error if there is no such run.
pub(super) fn has_machine(engine: &Engine<'_>, id: Option<&str>) -> Result<bool> {
    match id {
        Some(id) => Ok(is_up(&named(engine, id)?)),
        None => Ok(every(engine, live)?.iter().any(|run| is_up(run))),
    }
}

/// The folder of a machine that runs: of that run, or the newest of this project.
pub(super) fn living(engine: &Engine<'_>, command: &str, id: Option<&str>) -> Result<PathBuf> {
    let place = match id {
        Some(id) => named(engine, id)?,
        // Before one that only keeps what is left of its machine.
        None => every(engine, live)?.into_iter().find(|run| is_up(run)).map_or_else(|| newest(engine), Ok)?,
    };
    if !is_up(&place) {
        return Err(not_live(&place));
    }
    match &parts(&place)[..] {
        [] => Ok(place),
        parts => Err(several(&place, command, parts)),
    }
}

/// The newest run of this project, if there is one of this user's.
fn any(engine: &Engine<'_>) -> Result<PathBuf> {
    let mut all = every(engine, all)?.into_iter();
    let newest = all.next().ok_or_else(|| Error::input("this project has no run yet").hint("quiz up"))?;
    match others(&newest) {
        Some(error) => all.find(|run| others(run).is_none()).ok_or(error),
        None => Ok(newest),
    }
}
