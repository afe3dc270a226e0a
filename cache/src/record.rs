//! What is remembered of a result: the outputs of a key, and all that `why` and `status` want to tell about them.
//!
//! Does not know whether the objects are still there: a record stays true without them.

use crate::{Digest, Key, Manifest};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::time::Duration;

/// What an output is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Kind {
    /// One regular file.
    File,
    /// A folder with all that is in it.
    Tree,
}

/// How a result was made.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Built {
    /// In an empty place.
    FromNothing,
    /// On top of what an earlier build left. Never handed to others.
    Incremental,
}

/// One output of a result: an immutable file or tree, named by its digest.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Output {
    /// File or tree.
    pub kind: Kind,
    /// Of a file: content and executable bit. Of a tree: all that [`crate::Tree`] has.
    pub digest: Digest,
    /// Bytes of content; of a tree, of all its files, each name counted.
    pub size: u64,
    /// Number of regular files; 1 for a file.
    pub files: u64,
}

/// What a key led to.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Record {
    /// The key it was made under.
    pub key: Key,
    /// The name of the stage that made it.
    pub stage: String,
    /// The outputs by name.
    pub outputs: BTreeMap<String, Output>,
    /// What entered the key.
    pub manifest: Manifest,
    /// How long the making took.
    pub took: Duration,
    /// When it was made, in seconds since 1970.
    pub made_at: u64,
    /// From nothing or incrementally.
    pub built: Built,
}

impl Record {
    /// Whether it may be handed to other machines: only what was made from nothing is surely what its key says. Whoever exports
    /// results asks this first.
    pub fn may_leave(&self) -> bool {
        self.built == Built::FromNothing
    }

    /// Bytes of all outputs, as far as the record is right.
    #[must_use]
    pub fn size(&self) -> u64 {
        self.outputs.values().map(|output| output.size).fold(0, u64::saturating_add)
    }
}
