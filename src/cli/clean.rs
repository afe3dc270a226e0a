//! `quiz clean`: removes of a project's `.quiz` what quiz itself made there.

use crate::boot::clean::{Scope, clean};
use crate::engine::Engine;
use crate::error::Result;
use crate::report;

pub(super) fn run(engine: &Engine<'_>, all: bool, dry_run: bool, json: bool) -> Result<()> {
    let scope = if all { Scope::All } else { Scope::Runs };
    let cleaned = clean(&engine.project.state_dir, scope, dry_run)?;
    report::result(&if json {
        format!("{}\n", report::cleaned_json(&cleaned))
    } else {
        report::cleaned(&cleaned, dry_run)
    })
}
