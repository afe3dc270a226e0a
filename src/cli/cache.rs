//! `quiz cache`: results as a file, out of this cache and into it.

use super::args::CacheCommand;
use crate::engine::Engine;
use crate::error::Result;
use crate::report;
use std::path::Path;

pub(super) fn run(engine: &Engine<'_>, command: &CacheCommand, json: bool) -> Result<()> {
    match command {
        CacheCommand::Export { file, stages } => export(engine, file, stages, json),
        CacheCommand::Import { file } => import(engine, file, json),
    }
}

/// Writes what these stages made to a file.
fn export(engine: &Engine<'_>, file: &Path, names: &[String], json: bool) -> Result<()> {
    let stages = engine.stages(names.iter().map(String::as_str))?;
    let wanted = names.iter().map(|name| stages.graph.find(name)).collect::<Result<Vec<_>>>()?;
    let bytes = engine.export(&stages, &wanted, file)?;
    report::result(&report::exported(file, bytes, json))
}

/// Takes in what a file has.
fn import(engine: &Engine<'_>, file: &Path, json: bool) -> Result<()> {
    report::result(&report::imported(&engine.import(file)?, json))
}
