//! `quiz man`: the help of all commands as manual pages.

use super::args::Cli;
use crate::error::{Error, Result};
use crate::report;
use std::path::Path;

/// Writes a page for quiz and one for each command; those of an earlier quiz are replaced.
///
/// # Errors
/// The folder cannot be made or written.
pub(super) fn run(cli: &Cli, folder: &Path) -> Result<()> {
    let to = cli.global.directory.as_deref().unwrap_or(Path::new("")).join(folder);
    let failed = |e| Error::input(format!("cannot write manual pages into {}", to.display())).because(e);
    // A page is about a version, whichever commit it was built from.
    let definition = Cli::definition().version(env!("CARGO_PKG_VERSION"));
    std::fs::create_dir_all(&to).and_then(|()| clap_mangen::generate_to(definition, &to)).map_err(failed)?;
    report::result(&report::written(&to, "manual pages: man -l quiz.1, man -l quiz-up.1, …", cli.global.json))
}
