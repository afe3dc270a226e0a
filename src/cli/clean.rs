//! `quiz clean`: removes of a project's `.quiz` what quiz itself made there.

use crate::boot::clean::{Cleaned, Scope, clean};
use crate::engine::Engine;
use crate::error::{Error, Result};
use crate::event::Unit;
use crate::event::told::slowly;
use crate::load::state_dirs;
use crate::report;

pub(super) fn run(engine: &Engine<'_>, all: bool, dry_run: bool, json: bool) -> Result<()> {
    let scope = if all { Scope::All } else { Scope::Runs };
    let mut cleaned = Cleaned::default();
    for dir in state_dirs(&engine.project.dir) {
        let Cleaned { removed, left, failed } =
            slowly("removing", Unit::Files, engine.events, |_| clean(&dir, scope, dry_run))?;
        cleaned.removed.extend(removed);
        cleaned.left.extend(left);
        cleaned.failed = cleaned.failed.or(failed);
    }
    report::result(&if json {
        format!("{}\n", report::cleaned_json(&cleaned))
    } else {
        report::cleaned(&cleaned, dry_run)
    })?;
    match cleaned.failed {
        Some(why) => Err(Error::build(format!("not all can be removed: {why}"))),
        None => Ok(()),
    }
}
