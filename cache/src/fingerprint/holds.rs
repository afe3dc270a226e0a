//! Values that hold while places of the file system are as they were: what `lstat` says of them is compared, and nothing is read.
//!
//! Does not know what the values were made from.

use super::AT_A_TIME;
use super::look::Stat;
use crate::error::Result;
use crate::{Cache, Key};
use rayon::prelude::*;
use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

/// Bytes of the digest that stands first in what is stored.
const DIGEST: usize = 32;

impl Cache {
    /// A value that [`Cache::set_memo_while`] stored, if all its places are as they were.
    ///
    /// # Errors
    /// When the cache cannot be read.
    pub fn memo_while(&self, name: &str, key: &Key) -> Result<Option<Vec<u8>>> {
        let Some(stored) = self.memo(name, key)? else { return Ok(None) };
        let Some((value, digest, places)) = parts(&stored) else { return Ok(None) };
        let places = places.split(|byte| *byte == 0).filter(|place| !place.is_empty());
        let places: Vec<&Path> = places.map(|place| Path::new(OsStr::from_bytes(place))).collect();
        let seen = seen(&places, i128::MAX);
        Ok((seen.as_ref().map(|seen| &seen[..]) == Some(digest)).then(|| value.to_vec()))
    }

    /// Stores a small value that holds as long as `lstat` says of these places (absolute) what it says now, that nothing is there
    /// included. What a symlink leads to is a place of its own. `since` is when the caller began to look at them. What was changed
    /// so shortly before that a later change could carry the same time ("racy"), or after, cannot be remembered: then nothing is
    /// stored, and the answer is `false`.
    ///
    /// # Errors
    /// When the cache cannot be written.
    pub fn set_memo_while(
        &self,
        name: &str,
        key: &Key,
        places: &BTreeSet<PathBuf>,
        since: SystemTime,
        value: &[u8],
    ) -> Result<bool> {
        let since = since.duration_since(SystemTime::UNIX_EPOCH).map_or(0, |since| since.as_nanos());
        let since = i128::try_from(since).unwrap_or(0);
        let looked_at: Vec<&Path> = places.iter().map(PathBuf::as_path).collect();
        let Some(digest) = seen(&looked_at, since) else { return Ok(false) };
        let mut stored = u64::try_from(value.len()).unwrap_or(u64::MAX).to_le_bytes().to_vec();
        stored.extend(value);
        stored.extend(digest);
        for place in places {
            stored.extend(place.as_os_str().as_bytes());
            stored.push(0);
        }
        self.set_memo(name, key, &stored)?;
        Ok(true)
    }
}

/// Value, digest and places of what was stored.
fn parts(stored: &[u8]) -> Option<(&[u8], &[u8], &[u8])> {
    let (length, rest) = stored.split_first_chunk()?;
    let (value, rest) = rest.split_at_checked(usize::try_from(u64::from_le_bytes(*length)).ok()?)?;
    let (digest, places) = rest.split_at_checked(DIGEST)?;
    Some((value, digest, places))
}

/// The digest of what `lstat` says of all places, of some hundred at a time; `None` when one is racy at `since`.
fn seen(places: &[&Path], since: i128) -> Option<[u8; DIGEST]> {
    let some = |places: &[&Path]| {
        let mut hasher = blake3::Hasher::new();
        for place in places {
            // What cannot be looked at is as good as gone: whoever can see it gets another digest.
            match Stat::at(place) {
                Some(stat) if stat.is_racy(since) => return None,
                Some(stat) => {
                    hasher.update(&[1]);
                    stat.hash(&mut hasher);
                }
                None => {
                    hasher.update(&[0]);
                }
            }
        }
        Some(*hasher.finalize().as_bytes())
    };
    let digests: Vec<[u8; DIGEST]> = places.par_chunks(AT_A_TIME).map(some).collect::<Option<_>>()?;
    Some(*blake3::hash(digests.as_flattened()).as_bytes())
}
