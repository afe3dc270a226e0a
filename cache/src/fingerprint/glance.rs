//! The quick look at a source folder in which nothing changed: what `lstat` says of all items, compared piece by piece without
//! unpacking what is remembered of each.
//!
//! Does not know what the items are.

use super::look::Root;
use super::watch::Watched;
use super::{Item, Stats};
use crate::Output;
use rayon::prelude::*;
use serde::{Deserialize, Serialize};
use serde_bytes::ByteBuf;
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;

/// Items of a piece.
const PIECE: usize = 1024;

/// What has to be found for nothing to have changed. There is one only if none of it was racy.
#[derive(Serialize, Deserialize)]
pub(super) struct Glance {
    root: Vec<u8>,
    pub(super) output: Output,
    watched: Watched,
    pieces: Vec<Piece>,
}

#[derive(Serialize, Deserialize)]
struct Piece {
    /// Paths, each with a zero byte behind it.
    paths: ByteBuf,
    /// Of what `lstat` says of them, one after the other.
    stats: [u8; 32],
}

impl Glance {
    /// `None` when something of it must be looked at again.
    pub(super) fn new(stats: &Stats) -> Option<Self> {
        let piece = |items: &[Item]| {
            let mut hasher = blake3::Hasher::new();
            let mut paths = Vec::new();
            for item in items {
                item.stat?.hash(&mut hasher);
                paths.extend(item.path.as_bytes());
                paths.push(0);
            }
            Some(Piece { paths: ByteBuf::from(paths), stats: *hasher.finalize().as_bytes() })
        };
        let (output, watched) = (stats.output.clone()?, stats.watched.clone()?);
        let pieces = stats.items.par_chunks(PIECE).map(piece).collect::<Option<_>>()?;
        Some(Self { root: stats.root.clone(), output, watched, pieces })
    }

    /// Whether everything in the folder is as it was, and the list is made by the same rule.
    pub(super) fn holds(&self, root: &Root, rule: &str, also: &[PathBuf]) -> bool {
        let same = |piece: &Piece| {
            let mut hasher = blake3::Hasher::new();
            let mut at = root.folders();
            for path in piece.paths.split(|b| *b == 0).filter(|path| !path.is_empty()) {
                match std::str::from_utf8(path).ok().and_then(|path| at.lstat(path).ok()) {
                    Some(stat) => stat.hash(&mut hasher),
                    None => return false,
                }
            }
            *hasher.finalize().as_bytes() == piece.stats
        };
        self.root == root.path.as_os_str().as_bytes()
            && self.watched.holds(root, rule, also)
            && self.pieces.par_iter().all(same)
    }
}
