//! `quiz kernel config`: the kernel's own menu over its config, what changed, and which lines of quiz.toml say so; two configs side by side.
//!
//! Resolves nothing itself.

use super::args::{Cli, KernelCommand};
use super::terminal;
use crate::boot::terminal_size;
use crate::document::add_to_list;
use crate::engine::Engine;
use crate::engine::kernel_config::{self, KernelConfig, is_same_symbol};
use crate::error::{Error, Result};
use crate::event::Event;
use crate::load::{FlagValue, Origin, Value};
use crate::report::{self, Style};
use std::ffi::OsString;
use std::path::Path;

/// The setting that has the lines, and where it is in the file.
const SETTING: &str = "kernel.config";
const KEY: [&str; 2] = ["kernel", "config"];

/// Does what was asked for.
///
/// # Errors
/// The errors of an edit, or of a comparison.
pub(super) fn run(engine: &Engine<'_>, cli: &Cli, asked: &KernelCommand, style: &Style) -> Result<()> {
    match asked {
        KernelCommand::Config { diff: Some(two), .. } => diff(engine, cli, two, style),
        KernelCommand::Config { set, dry_run, .. } => config(engine, cli, set, *dry_run, style),
    }
}

/// Edits the config, by these lines or in the menu, and saves what has to be asked for.
///
/// # Errors
/// There is no terminal for the menu, what is asked for cannot be had, or quiz.toml cannot be changed.
fn config(engine: &Engine<'_>, cli: &Cli, set: &[String], dry_run: bool, style: &Style) -> Result<()> {
    if set.is_empty() && terminal_size().is_none() {
        return Err(Error::input("the kernel's menu needs a terminal, for what is typed and what is shown")
            .hint("without one: quiz kernel config --set KASAN=y"));
    }
    let file = engine.project.dir.join("quiz.toml");
    let first = if dry_run { Vec::new() } else { first(engine)? };
    let variables = terminal::passed_on().into_iter().filter_map(variable).collect::<Vec<_>>();
    let flags = cli.invocation().flags;
    let edited = kernel_config::edit(engine, &flags, set, &variables)?;
    let mut after = edited.after;
    let saves = !dry_run && !edited.lines.is_empty() && edited.before != after;
    if saves {
        engine.project.check_written(&file)?;
        add_to_list(&file, KEY, &edited.lines, &first, &is_same_symbol)?;
        // Resolved once more: in a Kconfig choice the last line counts, and a line that took the place of another is not the last.
        after = kernel_config::resolved(&engine.with_flags(flags)?)?;
    }
    for lost in edited.edited.changed(&after) {
        let shown = |value: &Option<String>| value.clone().unwrap_or_else(|| "not there".to_owned());
        let message = format!("CONFIG_{} came out as {}, not as {}", lost.symbol, shown(&lost.new), shown(&lost.old));
        (engine.events)(Event::Warning { message });
    }
    let (changed, saved) = (edited.before.changed(&after), saves.then_some(file.as_path()));
    report::result(&if cli.global.json {
        report::kernel_edited_json(&changed, &edited.lines, saved)
    } else {
        report::kernel_edited(&changed, &edited.lines, saved, style)
    })
}

/// The lines with which the list begins in a project's quiz.toml that has none. A new list replaces the one that counts now, so that one is copied.
///
/// # Errors
/// What counts now was set for this command alone, and would not be there for the next one.
fn first(engine: &Engine<'_>) -> Result<Vec<String>> {
    let settings = &engine.project.settings;
    match settings.get(SETTING).map(|setting| &setting.origin) {
        Some(origin @ (Origin::Variable(_) | Origin::Flag(_))) => {
            Err(Error::input(format!("{SETTING} is set by {origin}: a change to that cannot be saved in quiz.toml"))
                .hint("leave that out, and give its lines by --set; or only look, by --dry-run"))
        }
        _ => Ok(settings.list(SETTING).to_vec()),
    }
}

/// "NAME=value".
fn variable(text: OsString) -> Option<(String, OsString)> {
    let text = text.into_string().ok()?;
    text.split_once('=').map(|(name, value)| (name.to_owned(), value.into()))
}

/// Shows where two configs differ.
///
/// # Errors
/// One is neither a file nor a kernel whose config can be resolved.
fn diff(engine: &Engine<'_>, cli: &Cli, two: &[String], style: &Style) -> Result<()> {
    let of = |word: &String| -> Result<KernelConfig> {
        let path = cli.global.directory.as_deref().unwrap_or(Path::new("")).join(word);
        if path.is_file() || word.contains('/') && !word.contains("://") {
            return kernel_config::read(&path);
        }
        let mut flags = cli.invocation().flags;
        flags.retain(|flag| flag.key != "kernel.version");
        flags.push(FlagValue { key: "kernel.version", value: Value::Text(word.clone()), flag: "--kernel" });
        kernel_config::resolved(&engine.with_flags(flags)?)
    };
    let changed = of(&two[0])?.changed(&of(&two[1])?);
    report::result(&if cli.global.json {
        report::kernel_changed_json(&changed)
    } else {
        report::kernel_changed(&changed, style)
    })
}
