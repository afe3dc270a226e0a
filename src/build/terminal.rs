//! The script that runs on the user's terminal: what it is told of that, and where its words go.
//!
//! Does not know which stage it is of.

use super::Context;
use crate::error::{Error, Result};
use crate::graph::NodeIndex;
use crate::host;
use std::ffi::OsString;
use std::path::Path;
use std::process::{Command, ExitStatus};

/// Whether the script of this stage runs on the terminal.
pub(super) fn has(ctx: &Context<'_>, id: NodeIndex) -> bool {
    ctx.terminal.as_ref().is_some_and(|(on_it, _)| *on_it == id)
}

/// Variables that describe the terminal, if the script of this stage runs on it.
pub(super) fn told(ctx: &Context<'_>, id: NodeIndex) -> impl Iterator<Item = (String, OsString)> {
    ctx.terminal.iter().filter(move |(on_it, _)| *on_it == id).flat_map(|(_, told)| told.clone())
}

/// Runs the command on the user's terminal; what it writes there is in the log, too.
pub(super) fn run(command: &mut Command, log: &Path) -> Result<ExitStatus> {
    let mut file = std::fs::File::create(log)
        .map_err(|e| Error::build(format!("cannot write the log {}", log.display())).because(e))?;
    host::terminal::run(command, &mut file)
        .map_err(|e| Error::build("cannot run the script on the terminal").because(e))
}
