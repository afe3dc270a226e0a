//! `quiz crash` and `quiz dump`: what is left of guests that crashed, and of one that runs.

use super::args::CrashCommand;
use super::crashed::{dump, every, find, take};
use super::{debugger, symbols, up};
use crate::boot::crash::FOLDER;
use crate::boot::folder::run_of;
use crate::engine::{Engine, capsules, crashes, sources};
use crate::error::{Result, cannot};
use crate::report::{self, Crashed, Decoded, Style};
use crate::status;
use std::fs;

pub(super) fn run(engine: &Engine<'_>, command: &CrashCommand, json: bool, style: &Style) -> Result<u8> {
    match command {
        // Done before, in `debugger`.
        CrashCommand::Drgn(_) | CrashCommand::Gdb(_) => {}
        CrashCommand::Again(asked) => {
            let Crashed { run, crash, .. } = take(engine, asked.id.as_deref())?;
            return up::again(engine, &asked.up(&crash.program), crashes::again(engine, &crash, &run)?, &crash);
        }
        CrashCommand::Export { file, id } => {
            let crashed = take(engine, id.as_deref())?;
            let symbols = symbols::there(engine, &crashed);
            let Crashed { run, place, crash, .. } = &crashed;
            let exported = capsules::export(engine, (place, crash, run), symbols.as_ref(), file)?;
            report::result(&report::crash_exported(file, run, &exported, json))?;
        }
        CrashCommand::Import { file } => report::result(&report::crash_imported(&engine.import_crash(file)?, json))?,
        CrashCommand::Ls => {
            let all = every(engine)?;
            report::result(&if json {
                format!("{}\n", report::crashes_json(&all))
            } else {
                report::crashes(&all, style)
            })?;
        }
        CrashCommand::Show { id, lines, tasks, all: whole } => {
            let all = every(engine)?;
            let crashed = find(engine, &all, id.as_deref())?;
            let equal = |other: &&Crashed| other.crash.signature == crashed.crash.signature && other.run != crashed.run;
            let others: Vec<String> = all.iter().filter(equal).map(|other| other.run.clone()).collect();
            // First: it makes debug information, which then has the lines, too.
            let tasks = tasks.then(|| debugger::tasks(engine, crashed)).transpose()?;
            let looked = symbols::look(engine, crashed, *lines)?;
            let looked = Decoded { tasks: tasks.or(looked.tasks), ..looked };
            let most = if *whole { usize::MAX } else { report::LOG };
            report::result(&if json {
                format!("{}\n", report::crash_json(crashed, &looked, most))
            } else {
                report::crash(crashed, &looked, most, &others, style)
            })?;
        }
        CrashCommand::Rm { id, all: everything } => {
            let all = every(engine)?;
            let chosen = if *everything { all.iter().collect() } else { vec![find(engine, &all, id.as_deref())?] };
            chosen.into_iter().try_for_each(|crashed| {
                let folder = crashed.place.join(FOLDER);
                fs::remove_dir_all(&folder).map_err(|e| cannot("remove", &folder, e))?;
                sources::forget(run_of(&crashed.place))
            })?;
        }
    }
    Ok(status::FINE)
}

/// Has the memory of a machine written, and prints where it lies.
pub(super) fn print_dump(engine: &Engine<'_>, id: Option<&str>) -> Result<()> {
    report::result(&format!("{}\n", dump(engine, id)?.display()))
}
