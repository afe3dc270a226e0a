//! Which debug information a crash was looked at with, kept beside its memory: it stays right when the sources are edited, since the crash itself does not
//! change. The cache keeps what is named here as long as the crash is there.
//!
//! The file may be of a project's making, so it only says which trees of the cache to take.

use super::{Booted, Symbols};
use crate::boot::crash::{FOLDER, put};
use crate::boot::folder::run_of;
use crate::engine::{Engine, crashes, named};
use crate::error::Result;
use crate::host;
use quiz_cache::{Digest, Kind};
use serde::{Deserialize, Serialize};
use std::io::Read;
use std::path::{Path, PathBuf};

/// The file, in the folder of a crash.
const FILE: &str = "symbols.json";
/// The most bytes that are read of it: paths and digests of some folders.
const MOST: u64 = 1 << 20;

#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Kept {
    /// The digests of trees of debug information, that of the kernel first.
    trees: Vec<String>,
    /// Folders as the debug information names them, and where they lay.
    sources: Vec<(String, PathBuf)>,
}

fn read(place: &Path) -> Option<Kept> {
    let mut text = String::new();
    host::open_plain(&place.join(FOLDER).join(FILE)).ok()?.take(MOST).read_to_string(&mut text).ok()?;
    serde_json::from_str(&text).ok()
}

/// The trees of the cache that the crash in the folder of a machine needs for its debug information.
pub(in crate::engine) fn needs(place: &Path) -> Vec<Digest> {
    read(place).into_iter().flat_map(|kept| kept.trees).filter_map(|hex| hex.parse().ok()).collect()
}

/// The debug information that was kept for a crash, if all of it is in the cache.
pub(super) fn find(engine: &Engine<'_>, booted: &Booted<'_>) -> Option<Symbols> {
    let kept = read(booted.crash?)?;
    let tree = |hex: &String| engine.cache.stored(Kind::Tree, &hex.parse().ok()?).ok()?;
    let trees = kept.trees.iter().map(tree).collect::<Option<Vec<_>>>()?;
    let mut folders = trees.iter().map(|output| engine.cache.path(output));
    Some(Symbols { kernel: folders.next()?, modules: folders.collect(), sources: kept.sources })
}

/// Keeps it for a crash.
///
/// # Errors
/// The file cannot be written, or the cache cannot be told.
pub(super) fn keep(engine: &Engine<'_>, booted: &Booted<'_>, symbols: &Symbols) -> Result<()> {
    let Some(place) = booted.crash else { return Ok(()) };
    let trees = std::iter::once(&symbols.kernel).chain(&symbols.modules).filter_map(|folder| named::digest(folder));
    let kept = Kept { trees: trees.map(|digest| digest.to_string()).collect(), sources: symbols.sources.clone() };
    put(&place.join(FOLDER), FILE, serde_json::json!(kept).to_string().as_bytes())?;
    let absolute = |path: &Path| path.canonicalize().ok();
    match (absolute(&engine.project.dir), absolute(run_of(place))) {
        (Some(project), Some(run)) => crashes::keep(&engine.cache, &project, &run),
        // One of the two went away meanwhile, and with it what would be kept.
        _ => Ok(()),
    }
}
