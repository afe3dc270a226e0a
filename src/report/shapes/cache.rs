//! What `quiz cache` and `quiz clean` print.

use schemars::JsonSchema;
use serde::Serialize;
use std::borrow::Cow;

/// `quiz cache`.
#[derive(Debug, Serialize, JsonSchema)]
pub(in crate::report) struct CacheContents<'a> {
    /// The folder of the cache.
    pub cache: Cow<'a, str>,
    /// The group that shares it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub group: Option<String>,
    /// How much all takes on the disk that this user can look into.
    pub bytes: u64,
    /// Each thing alone, what frees most first.
    pub items: Vec<CacheItem<'a>>,
}

/// Something in the cache.
#[derive(Debug, Serialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub(in crate::report) struct CacheItem<'a> {
    /// `result`, `own-snapshot`, `snapshot`, `build-folder` or `other`.
    #[schemars(extend("enum" = ["result", "own-snapshot", "snapshot", "build-folder", "other"]))]
    pub what: &'static str,
    /// The name of its stage, or another name if it is no result.
    pub name: String,
    /// How much it takes on the disk, with what it shares with others.
    pub bytes: u64,
    /// How much a removal would free: what it shares with nothing else.
    pub frees: u64,
    /// What keeps it.
    pub held_by: Vec<HeldBy>,
    /// When it was last used, in seconds since 1970.
    pub last_use: Option<u64>,
    /// What names a result.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub key: Option<String>,
    /// Whose build folder or snapshot it is.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub project: Option<Cow<'a, str>>,
}

/// What keeps something in the cache.
#[derive(Debug, Serialize, JsonSchema)]
#[serde(tag = "by", rename_all = "kebab-case")]
pub(in crate::report) enum HeldBy {
    /// `quiz cache pin`.
    Pin,
    /// A machine that runs.
    Run {
        /// The folder of the run.
        run: String,
    },
    /// A guest that crashed.
    Crash {
        /// The folder of the run.
        run: String,
    },
    /// `quiz snap`.
    OwnSnapshot {
        /// Its folder.
        project: String,
        /// What it is called.
        name: String,
    },
    /// A link that editors follow.
    Link {
        /// The link.
        link: String,
    },
    /// It is what a stage of a worktree is now.
    Project {
        /// Its folder.
        project: String,
    },
}

/// `quiz cache verify`.
#[derive(Debug, Serialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub(in crate::report) struct Checked<'a> {
    /// How many files were read.
    pub files: u64,
    /// How much was read.
    pub bytes: u64,
    /// How long it took.
    pub seconds: f64,
    /// The files that are damaged.
    pub wrong: Vec<Wrong<'a>>,
    /// Results that are made again when they are wanted.
    pub made_again: Vec<&'a str>,
    /// The folder in which the wrong files lie now.
    pub aside: Option<Cow<'a, str>>,
    /// Why not all could be set aside, in words.
    pub not_set_aside: Option<&'a str>,
}

/// A file that is damaged.
#[derive(Debug, Serialize, JsonSchema)]
pub(in crate::report) struct Wrong<'a> {
    /// Where it was.
    pub path: Cow<'a, str>,
    /// What is wrong with it, in words.
    pub what: &'a str,
}

/// `quiz cache pin`.
#[derive(Debug, Serialize, JsonSchema)]
pub(in crate::report) struct Pinned<'a> {
    /// The stage.
    pub stage: &'a str,
    /// What names its result.
    pub key: String,
    /// Whether it is pinned now.
    pub pinned: bool,
}

/// `quiz clean`.
#[derive(Debug, Serialize, JsonSchema)]
pub(in crate::report) struct Cleaned<'a> {
    /// What was removed, or would be.
    pub removed: Vec<Removed<'a>>,
    /// What stayed.
    pub left: Vec<Left<'a>>,
}

/// A file or folder that was removed.
#[derive(Debug, Serialize, JsonSchema)]
pub(in crate::report) struct Removed<'a> {
    /// Where it was.
    pub path: Cow<'a, str>,
    /// How much it took on the disk.
    pub bytes: u64,
}

/// A file or folder that stayed.
#[derive(Debug, Serialize, JsonSchema)]
pub(in crate::report) struct Left<'a> {
    /// Where it is.
    pub path: Cow<'a, str>,
    /// Why it stayed, in words.
    pub why: &'a str,
}
