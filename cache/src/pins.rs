//! Pins: results that no collection takes until somebody takes the pin away; and what results are made of, as far as their manifests say it.
//!
//! A pin keeps the result with its outputs, files and trees that it `needs` besides with the results that led to them, and of what is `known` the
//! records alone, by which its key is found again.
//!
//! Does not know what the results are for.

use crate::codec::What;
use crate::error::{Result, at};
use crate::files::look;
use crate::memo::Subtree;
use crate::{Cache, Digest, Key, Record};
use rayon::prelude::*;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io;
use std::path::PathBuf;
use std::time::SystemTime;

const FOLDER: &str = "pins";

/// A result that stays.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pin {
    /// Its key.
    pub key: Key,
    /// The name of the stage that made it.
    pub stage: String,
    /// Files and trees that it cannot be used without.
    pub needs: Vec<Digest>,
    /// The results that its key is made of.
    pub known: Vec<Key>,
}

impl Cache {
    /// Pins a result. One that is pinned gets the new pin.
    ///
    /// # Errors
    /// When the cache cannot be written.
    pub fn pin(&self, pin: &Pin) -> Result<()> {
        self.store(What::Pin, &self.place(FOLDER, pin.key.digest()), pin)
    }

    /// Takes the pin of a result away. Whether there was one.
    ///
    /// # Errors
    /// When it cannot be removed.
    pub fn unpin(&self, key: &Key) -> Result<bool> {
        let place = self.place(FOLDER, key.digest());
        match fs::remove_file(&place) {
            Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(false),
            other => other.map(|()| true).map_err(at("remove", &place)),
        }
    }

    /// All pins, by their keys. One that is damaged is none: see [`Cache::damaged`].
    ///
    /// # Errors
    /// When the cache cannot be read.
    pub fn pins(&self) -> Result<Vec<Pin>> {
        let all = self.entries(FOLDER).into_iter();
        all.filter_map(|path| self.peek::<Pin>(What::Pin, &path).transpose()).collect()
    }

    /// All results whose records are here, each with its last use, which is exact to the day. That does not count as one.
    ///
    /// # Errors
    /// When the cache cannot be read.
    pub fn results(&self) -> Result<Vec<(Record, SystemTime)>> {
        let read = |path: PathBuf| -> Result<Option<(Record, SystemTime)>> {
            let Some(record) = self.peek::<Record>(What::Record, &path)? else { return Ok(None) };
            Ok(look(&path)?.and_then(|meta| meta.modified().ok()).map(|used| (record, used)))
        };
        self.entries("records").into_par_iter().filter_map(|path| read(path).transpose()).collect()
    }

    /// Of these results those that the first is made of, directly or through others.
    ///
    /// # Errors
    /// When the cache cannot be read.
    pub fn made_of(&self, record: &Record, all: &[(Record, SystemTime)]) -> Result<BTreeSet<Key>> {
        let mut makers: BTreeMap<Digest, Vec<&Record>> = BTreeMap::new();
        for (record, _) in all {
            record.outputs.values().for_each(|output| makers.entry(output.digest).or_default().push(record));
        }
        // What enters a key may be a part of a tree.
        let parts = self.entries("subtrees").into_iter().map(|path| self.peek::<Subtree>(What::Subtree, &path));
        let parts: Vec<Subtree> = parts.filter_map(Result::transpose).collect::<Result<_>>()?;
        let whole: BTreeMap<Digest, Digest> = parts.into_iter().map(|part| (part.output.digest, part.of)).collect();
        let (mut known, mut next) = (BTreeSet::new(), vec![record]);
        while let Some(record) = next.pop() {
            let digests = record.manifest.entries.iter().filter_map(|(_, value)| value.parse::<Digest>().ok());
            for digest in digests.flat_map(|digest| [Some(digest), whole.get(&digest).copied()]).flatten() {
                for maker in makers.get(&digest).into_iter().flatten() {
                    if known.insert(maker.key) {
                        next.push(maker);
                    }
                }
            }
        }
        known.remove(&record.key);
        Ok(known)
    }
}

/// What is remembered here, for [`crate::fuzz`].
#[cfg(any(test, feature = "fuzz"))]
pub(crate) fn fuzz(bytes: &[u8]) {
    crate::codec::fuzz::<Pin>(What::Pin, bytes);
}
