//! What takes room in the cache, what a look at all of it came to, and what was removed of a project's `.quiz`, as JSON.

use super::cache::{key, name, stages};
use super::shapes::{self, CacheContents, CacheItem, Checked, HeldBy, LeftThere, RemovedPath, Wrong};
use crate::boot::clean::Cleaned;
use crate::engine::holders::{Holder, Holders};
use quiz_cache::{Inventory, Item, Key, Sizes, Sort, Verified};
use serde_json::{Value as Json, json};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

/// All of it as JSON: each thing alone, what frees most first.
#[must_use]
pub fn cache_json(root: &Path, group: Option<String>, inventory: &Inventory, holders: &Holders) -> Json {
    let each: Vec<usize> = (0..inventory.items.len()).collect();
    let stages = stages(inventory);
    let mut all: Vec<(&Item, Sizes)> =
        inventory.items.iter().zip(inventory.sizes(&each, each.len())).filter(|(_, sizes)| sizes.all > 0).collect();
    all.sort_by_key(|(_, sizes)| std::cmp::Reverse((sizes.alone, sizes.all)));
    let items = all.into_iter().map(|(item, sizes)| kept(item, sizes, &stages, holders)).collect();
    json!(CacheContents { cache: root.to_string_lossy(), group, bytes: inventory.total, items })
}

fn kept<'a>(item: &'a Item, sizes: Sizes, stages: &BTreeMap<Key, &str>, holders: &Holders) -> CacheItem<'a> {
    let seconds = |time: SystemTime| time.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
    CacheItem {
        what: kind(item),
        name: name(item, stages),
        bytes: sizes.all,
        frees: sizes.alone,
        held_by: holders.of(item).into_iter().map(held_by).collect(),
        last_use: item.used.map(seconds),
        key: key(item).map(|key| key.to_string()),
        project: match &item.sort {
            Sort::Scratch { owner, .. } => Some(owner.to_string_lossy()),
            Sort::Named(named) => Some(named.owner.to_string_lossy()),
            _ => None,
        },
    }
}

fn kind(item: &Item) -> &'static str {
    match &item.sort {
        Sort::Result(_) => "result",
        Sort::Named(_) => "own-snapshot",
        Sort::Passing(_) => "snapshot",
        Sort::Scratch { .. } => "build-folder",
        Sort::Other(_) => "other",
    }
}

fn held_by(holder: Holder) -> HeldBy {
    let path = |path: PathBuf| path.to_string_lossy().into_owned();
    match holder {
        Holder::Pin => HeldBy::Pin,
        Holder::Run(run) => HeldBy::Run { run: path(run) },
        Holder::Crash(run) => HeldBy::Crash { run: path(run) },
        Holder::Snapshot(project, name) => HeldBy::OwnSnapshot { project: path(project), name },
        Holder::Link(link) => HeldBy::Link { link: path(link) },
        Holder::Last(project) => HeldBy::Project { project: path(project) },
    }
}

/// What a look at every byte came to.
#[must_use]
pub fn checked_json(verified: &Verified) -> Json {
    let wrong = verified.wrong.iter().map(|wrong| Wrong { path: wrong.path.to_string_lossy(), what: &wrong.what });
    json!(Checked {
        files: verified.files,
        bytes: verified.bytes,
        seconds: verified.took.as_secs_f64(),
        wrong: wrong.collect(),
        made_again: verified.dropped.iter().map(String::as_str).collect(),
        aside: verified.aside.as_deref().map(Path::to_string_lossy),
        not_set_aside: verified.refused.as_deref(),
    })
}

/// What was removed of a project's `.quiz`, or would be.
#[must_use]
pub fn cleaned_json(cleaned: &Cleaned) -> Json {
    let removed = cleaned.removed.iter();
    let removed = removed.map(|(path, bytes)| RemovedPath { path: path.to_string_lossy(), bytes: *bytes });
    let left = cleaned.left.iter().map(|(path, why)| LeftThere { path: path.to_string_lossy(), why });
    json!(shapes::Cleaned { removed: removed.collect(), left: left.collect() })
}
