//! What a stage was when it was last made: the cache remembers that by name, for each project and for all together.
//!
//! Does not know how stages are made.

use super::{Context, Tools, cache_error, tools};
use crate::error::Result;
use crate::graph::{Graph, NodeIndex};
use quiz_cache::{Cache, Key, Manifest, Record};
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::time::Duration;

/// What a stage of this project was last, so that `why` can compare.
pub(super) fn of(ctx: &Context<'_>, id: NodeIndex) -> Result<Option<Record>> {
    ctx.cache.latest(&in_project(&ctx.project.dir, &ctx.graph.stage(id).name)).map_err(cache_error)
}

/// The key under which a stage of this project was last made, also when nothing else is known of that any more.
pub(super) fn key(ctx: &Context<'_>, id: NodeIndex) -> Result<Option<Key>> {
    let name = in_project(&ctx.project.dir, &ctx.graph.stage(id).name);
    ctx.cache.latest_key(&name).map_err(cache_error)
}

/// The keys under which the stages of every worktree were last made or found, by the worktree's folder and the stage's name.
///
/// # Errors
/// The cache cannot be read.
pub fn worktrees(cache: &Cache) -> Result<BTreeMap<String, BTreeMap<String, Key>>> {
    let mut all: BTreeMap<String, BTreeMap<String, Key>> = BTreeMap::new();
    for Last { project, stage, key } in everywhere(cache)? {
        all.entry(project.to_string_lossy().into_owned()).or_default().insert(stage, key);
    }
    Ok(all)
}

/// Remembers the record as the latest of the stage in this project.
pub(super) fn note(ctx: &Context<'_>, id: NodeIndex, record: &Record) -> Result<()> {
    let name = in_project(&ctx.project.dir, &ctx.graph.stage(id).name);
    ctx.cache.note_latest(&name, &record.key).map_err(cache_error)
}

/// Remembers the record as the latest of the stage in any project.
pub(super) fn note_made(ctx: &Context<'_>, record: &Record) -> Result<()> {
    ctx.cache.note_latest(&in_any(&record.stage), &record.key).map_err(cache_error)
}

/// How long a stage took when it was last made: in this project, else for any.
///
/// # Errors
/// The cache cannot be read.
pub fn last_took(cache: &Cache, project: &Path, stage: &str) -> Result<Option<Duration>> {
    let here = cache.latest(&in_project(project, stage)).map_err(cache_error)?;
    let last = match here {
        Some(record) => Some(record),
        None => cache.latest(&in_any(stage)).map_err(cache_error)?,
    };
    Ok(last.map(|record| record.took))
}

/// What a stage of a project was when it was last made or taken there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Last {
    /// The project's folder, which need not be there any more.
    pub project: PathBuf,
    /// The stage.
    pub stage: String,
    /// Its key.
    pub key: Key,
}

/// All that is remembered of all projects.
///
/// # Errors
/// The cache cannot be read.
pub fn everywhere(cache: &Cache) -> Result<Vec<Last>> {
    let all = cache.all_latest().map_err(cache_error)?.into_iter();
    let of_project = |(name, key): (String, Key)| {
        let (project, stage) = name.split_once('\0').filter(|(project, _)| !project.is_empty())?;
        Some(Last { project: project.into(), stage: stage.to_owned(), key })
    };
    Ok(all.filter_map(of_project).collect())
}

/// What is different about the host's tools since the stages of this project were last made, in words.
///
/// # Errors
/// The cache cannot be read.
pub fn changed_tools(cache: &Cache, project: &Path, graph: &Graph, tools: &Tools) -> Result<BTreeSet<String>> {
    let last = |id| cache.latest(&in_project(project, &graph.stage(id).name)).map_err(cache_error);
    let records: Vec<Option<Record>> = graph.order().into_iter().map(last).collect::<Result<_>>()?;
    let manifests: Vec<Manifest> = records.into_iter().flatten().map(|record| record.manifest).collect();
    Ok(tools::changed(cache, tools, &manifests))
}

fn in_project(project: &Path, stage: &str) -> String {
    format!("{}\0{stage}", project.display())
}

/// No project's folder is the empty path.
fn in_any(stage: &str) -> String {
    format!("\0{stage}")
}
