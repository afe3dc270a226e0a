//! `quiz cache`: results as a file, out of this cache and into it.

use crate::engine::Engine;
use crate::error::Result;
use crate::report;
use std::path::Path;

/// Writes what these stages made to a file.
pub(super) fn export(engine: &Engine<'_>, file: &Path, names: &[String], json: bool) -> Result<()> {
    let stages = engine.stages(names.iter().map(String::as_str))?;
    let wanted = names.iter().map(|name| stages.graph.find(name)).collect::<Result<Vec<_>>>()?;
    let bytes = engine.export(&stages, &wanted, file)?;
    report::result(&report::exported(file, bytes, json))
}

/// Takes in what a file has.
pub(super) fn import(engine: &Engine<'_>, file: &Path, json: bool) -> Result<()> {
    report::result(&report::imported(&engine.import(file)?, json))
}
