//! The debug information of a run, with the project opened as it was for that run.

use super::args::Cli;
use super::crashed::identity;
use crate::boot::crash::{FOLDER, frames};
use crate::engine::Engine;
use crate::engine::debug::{dbgmsg, lines, tasks};
use crate::engine::memory;
use crate::engine::symbols::{Booted, Symbols};
use crate::error::{Error, Result};
use crate::event::told::slowly;
use crate::event::{Event, Unit};
use crate::report::{Crashed, Decoded};
use std::path::Path;

/// What is shown while it is read: for a large kernel that takes seconds.
const INFORMATION: &str = "debug information";

/// What a crashed machine was booted from.
pub(super) fn booted(crashed: &Crashed) -> Booted<'_> {
    let crash = &crashed.crash;
    Booted {
        kernel: Path::new(&crash.kernel),
        layers: &crash.layers,
        run: &crashed.run,
        again: &crash.again,
        imported: crash.imported.as_ref(),
        crash: Some(&crashed.place),
    }
}

/// The flags and the variables that a run was started with; of old runs the latter are not known.
pub(super) type Given<'a> = (&'a [String], Option<&'a [String]>);

pub(super) fn given(crashed: &Crashed) -> Given<'_> {
    (&crashed.crash.flags, crashed.crash.variables.as_deref())
}

/// Calls `take` with the project opened as for that run, which was started with these flags and variables, and gives what it finds; where it cannot be opened
/// so any more, what was noted beside the crash.
pub(super) fn open<T: From<Symbols>>(
    engine: &Engine<'_>,
    booted: &Booted<'_>,
    (flags, variables): Given<'_>,
    take: impl Fn(&Engine<'_>, &Booted<'_>) -> Result<T>,
) -> Result<T> {
    // Flags typed now that say what is built win over the run's.
    let typed = engine.project.settings.shaping_flags().next().is_some();
    let are_here = variables.is_none_or(|variables| engine.project.settings.shaping_variables().eq(variables));
    if (flags.is_empty() && are_here) || typed {
        let hint = |error: Error| {
            if typed {
                error.hint(
                    "the flags of this command line were used in place of the run's own: without them those are used",
                )
            } else {
                error
            }
        };
        // Nor is it what the crash was looked at with before that they ask for.
        let crash = booted.crash.filter(|_| !typed);
        return take(engine, &Booted { crash, ..*booted }).map_err(hint);
    }
    let words = ["quiz", "up"].into_iter().chain(flags.iter().map(String::as_str));
    let asked = Cli::read(words).map_err(|e| Error::input(format!("cannot read the flags of run {}: {e}", booted.run)));
    match asked.and_then(|asked| engine.asked(asked.invocation().flags, variables)) {
        Ok(engine) => take(&engine, booted),
        Err(error) => Symbols::noted(engine, booted).map(T::from).ok_or(error),
    }
}

/// The debug information of a crash, if it is in the cache; no error says why it is not.
pub(super) fn there(engine: &Engine<'_>, crashed: &Crashed) -> Option<Symbols> {
    open(engine, &booted(crashed), given(crashed), Symbols::cached).ok().flatten()
}

/// What debug information says of a crash. What is missing of it is made if `make` says so; else it is said why nothing is known.
///
/// # Errors
/// If it shall be made: there is none, or it cannot be made or read.
pub(super) fn look(engine: &Engine<'_>, crashed: &Crashed, make: bool) -> Result<Decoded> {
    let mut looked = Decoded { frames: frames(&crashed.crash.lines), ..Decoded::default() };
    let folder = crashed.place.join(FOLDER);
    // A dump in the meantime puts another folder there, which is not to get what was found in the memory of this one.
    let before = identity(&folder);
    looked.log = dbgmsg::kept(&folder);
    looked.tasks = tasks::kept(&folder);
    let is_all_known = looked.frames.is_empty() && (looked.log.is_some() || crashed.memory.is_none());
    if is_all_known && !make {
        return Ok(looked);
    }
    let (booted, given) = (booted(crashed), given(crashed));
    let found = if make {
        open(engine, &booted, given, Symbols::of).map(Some)?
    } else {
        open(engine, &booted, given, Symbols::cached).unwrap_or_else(|error| {
            looked.missing = Some(format!("none: {error}"));
            None
        })
    };
    let Some(symbols) = found else {
        let again = format!("`quiz crash show --lines {}` makes the debug information first", crashed.run);
        looked.missing.get_or_insert_with(|| format!("{again}, which takes minutes"));
        return Ok(looked);
    };
    let slow = slowly(INFORMATION, Unit::Files, engine.events, |_| lines::of(&symbols, &looked.frames));
    match slow {
        Ok(lines) => looked.lines = Some(lines),
        Err(error) if make => return Err(error),
        Err(error) => looked.missing = Some(format!("none: {error}")),
    }
    let warn = |error: Error| (engine.events)(Event::Warning { message: error.to_string() });
    let memory = || {
        memory::plain(&crashed.place, engine.events).unwrap_or_else(|error| {
            warn(error);
            None
        })
    };
    if looked.log.is_none()
        && let Some(memory) = memory()
    {
        let read = slowly(INFORMATION, Unit::Files, engine.events, |_| dbgmsg::read(&symbols, &memory));
        looked.log = read.unwrap_or_else(|error| {
            warn(error);
            None
        });
        if let Some(log) = &looked.log
            && identity(&folder) == before
        {
            dbgmsg::keep(&folder, log).unwrap_or_else(warn);
        }
    }
    Ok(looked)
}
