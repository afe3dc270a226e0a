//! The tree of a source stage, for who only wants to look into it: a folder that people edit, or what the cache has of it.
//!
//! Makes, fetches and starts nothing; where there is no cache, there is none afterwards.

use super::{Engine, Stages, pinned::pinned_before, sharing, source_context, wishes};
use crate::build::{self, StageState};
use crate::error::Result;
use crate::graph::Graph;
use crate::load::Project;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Instant;

/// Where the tree of this source stage lies, of the project that `start` is in; `None` where it is not there yet.
///
/// # Errors
/// The project's files are wrong, or another user's; the cache cannot be read.
pub fn find(start: &Path, stage: &str) -> Result<Option<PathBuf>> {
    let begun = Instant::now();
    let project = Project::load(start, &[])?;
    let graph = Graph::bind(&project, [stage])?;
    let id = graph.find(stage)?;
    let source = source_context(&project, &project.cache_dir, start.to_owned(), true);
    let wishes = wishes::of(&project, &graph, &source)?;
    let stages = Stages { graph, wishes };
    let folder = stages.folder(id);
    if folder.is_some() || !project.cache_dir.is_dir() {
        return Ok(folder);
    }
    let cache = sharing::open(&project)?;
    let engine = Engine { project, cache, events: &|_| {}, begun, source };
    // The key of a source has no tool in it, so none is looked for.
    let states = build::plan(&engine.context(&stages, &[], pinned_before(&stages)?, BTreeMap::new())?)?;
    let known = states.into_iter().find_map(|(of, state)| match state {
        StageState::Known(record) if of == id => record.outputs.into_values().next(),
        _ => None,
    });
    Ok(known.map(|tree| engine.cache.path(&tree)).filter(|tree| tree.is_dir()))
}
