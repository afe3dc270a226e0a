//! `quiz trust`: which projects of other users count. Reads nothing of them.

use super::args::Cli;
use crate::error::{Error, Result};
use crate::{load, report};
use std::path::{Path, PathBuf};

/// Trusts these folders, then shows all that are.
///
/// # Errors
/// One is no folder; the user's list cannot be read or written.
pub(super) fn run(cli: &Cli, folders: &[PathBuf]) -> Result<()> {
    let config_dir = load::config_dir()?;
    let start = cli.global.directory.as_deref().unwrap_or(Path::new("."));
    for folder in folders {
        if folder.as_os_str().is_empty() {
            return Err(Error::input("an empty name is no folder").hint("the current one: quiz trust ."));
        }
        load::trust(&start.join(folder), &config_dir)?;
    }
    let trusted = load::trusted(&config_dir)?;
    report::result(&if cli.global.json {
        format!("{}\n", report::trusted_json(&trusted))
    } else {
        trusted.iter().map(|folder| format!("{}\n", folder.display())).collect()
    })
}
