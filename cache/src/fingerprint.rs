//! Fingerprints: the tree of a source folder that people edit, read again only where `lstat` shows a change.
//!
//! What was digested is remembered with device, inode, size, mode, and modification and change time in nanoseconds. As in git,
//! a file that was changed so shortly before it was digested that a later change could carry the same time ("racy") is not
//! remembered. A file is looked at before and after it is read; one that keeps changing is an error.
//!
//! Does not know git: the caller lists the files of a worktree.

use crate::codec::What;
use crate::error::{Result, at};
use crate::files::{is_executable, open_plain};
use crate::objects::symlink_target;
use crate::walk::{Found, refuse_special, walk};
use crate::{Cache, Digest, Error, Node, Tree};
use rayon::prelude::*;
use serde::{Deserialize, Serialize};
use std::fs::{self, File, Metadata};
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

/// The coarsest time stamps of file systems in use, in nanoseconds: 2 s on FAT.
const COARSEST: i128 = 2_000_000_000;
/// How often a file is read before it counts as one that keeps changing.
const TRIES: u32 = 4;

/// Which files of a folder are its source.
#[derive(Clone, Copy)]
pub enum Listing<'a> {
    /// All, but not what `skip` says yes to. It is given paths below the root, and a folder before it is read.
    All {
        /// Whether to leave out a path and, for a folder, all in it.
        skip: &'a (dyn Fn(&str) -> bool + Sync),
    },
    /// These paths below the root, say from `git ls-files`. What is listed but not there is left out; a folder that is listed
    /// counts as an empty one.
    These(&'a [String]),
}

/// A source folder as it was when it was looked at.
#[derive(Debug, Clone)]
pub struct Fingerprint {
    root: PathBuf,
    tree: Tree,
}

impl Fingerprint {
    /// The folder, absolute.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// Every file with its digest; [`Tree::output`] has the digest of all, [`Tree::filter`] selects.
    pub fn tree(&self) -> &Tree {
        &self.tree
    }
}

/// What `lstat` must say for a remembered digest to hold.
#[derive(Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
struct Stat {
    dev: u64,
    ino: u64,
    size: u64,
    mtime: (i64, i64),
    ctime: (i64, i64),
    mode: u32,
}

impl Stat {
    fn of(meta: &Metadata) -> Self {
        Self {
            dev: meta.dev(),
            ino: meta.ino(),
            size: meta.size(),
            mtime: (meta.mtime(), meta.mtime_nsec()),
            ctime: (meta.ctime(), meta.ctime_nsec()),
            mode: meta.mode(),
        }
    }

    /// Whether a change after `now` could leave the same times. `now` is in nanoseconds since 1970.
    fn is_racy(&self, now: i128) -> bool {
        let nanoseconds = |(s, ns): (i64, i64)| i128::from(s) * 1_000_000_000 + i128::from(ns);
        nanoseconds(self.mtime).max(nanoseconds(self.ctime)) + COARSEST > now
    }
}

#[derive(Serialize, Deserialize, PartialEq)]
struct Stats {
    root: Vec<u8>,
    /// Sorted by path.
    files: Vec<(String, Stat, Digest)>,
}

impl Cache {
    /// Digests a source folder. Reads only files that are new or whose `lstat` changed since the last time; does not store them.
    ///
    /// # Errors
    /// What cannot be read, a name that is not UTF-8, a device, fifo or socket, a file that keeps changing: each by name.
    pub fn scan(&self, root: &Path, listing: Listing) -> Result<Fingerprint> {
        let root = std::path::absolute(root).map_err(at("find", root))?;
        // Taken before anything is looked at: the longer ago, the more counts as racy.
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).map_or(0, |d| d.as_nanos());
        self.scan_at(root, listing, i128::try_from(now).unwrap_or(0))
    }

    fn scan_at(&self, root: PathBuf, listing: Listing, now: i128) -> Result<Fingerprint> {
        let found = match listing {
            Listing::All { skip } => walk(&root, &|path, _, _| Ok(!skip(path)))?,
            Listing::These(paths) => look_at(&root, paths)?,
        };
        let name = root.as_os_str().as_bytes();
        let place = self.place("stats", &Digest::of(name));
        let known = self.load::<Stats>(What::Stats, &place)?.filter(|stats| stats.root == name);
        let known_files = known.as_ref().map_or(&[][..], |stats| &stats.files);

        let seen = found.par_iter().map(|found| see(&root, found, known_files));
        let seen: Vec<Seen> = seen.filter_map(Result::transpose).collect::<Result<_>>()?;
        let mut files: Vec<(String, Stat, Digest)> = Vec::with_capacity(known_files.len());
        let mut items = Vec::with_capacity(seen.len());
        for (path, node, stat) in seen {
            if let (Node::File { digest, .. }, Some(stat)) = (&node, stat)
                && !stat.is_racy(now)
            {
                files.push((path.to_owned(), stat, *digest));
            }
            items.push((path.to_owned(), node));
        }
        files.sort_by(|(a, ..), (b, ..)| a.cmp(b));
        let stats = Stats { root: name.to_owned(), files };
        if known.as_ref() != Some(&stats) {
            self.store(What::Stats, &place, &stats)?;
        }
        Ok(Fingerprint { tree: Tree::new(items)?, root })
    }
}

/// An item, and for a file what `lstat` said when it was digested.
type Seen<'a> = (&'a str, Node, Option<Stat>);

/// `None` when it is gone by now.
fn see<'a>(root: &Path, found: &'a Found, known: &[(String, Stat, Digest)]) -> Result<Option<Seen<'a>>> {
    let path = root.join(&found.path);
    if found.meta.is_dir() {
        return Ok(Some((&found.path, Node::Folder, None)));
    }
    if found.meta.is_symlink() {
        return Ok(Some((&found.path, Node::Symlink { target: symlink_target(&path)? }, None)));
    }
    let stat = Stat::of(&found.meta);
    let file = |meta: &Metadata, digest| Node::File { digest, size: meta.len(), executable: is_executable(meta) };
    if let Ok(i) = known.binary_search_by(|(other, ..)| other.as_str().cmp(&found.path))
        && known[i].1 == stat
    {
        return Ok(Some((&found.path, file(&found.meta, known[i].2), Some(stat))));
    }
    let read = digest_stable(&path, |file, executable| Digest::of_reader(file, executable))?;
    Ok(read.map(|(digest, meta)| (found.path.as_str(), file(&meta, digest), Some(Stat::of(&meta)))))
}

/// The digest of a file that did not change while it was read, and what `lstat` says of it. `None` when it is gone.
fn digest_stable(
    path: &Path,
    mut read: impl FnMut(&File, bool) -> io::Result<(Digest, u64)>,
) -> Result<Option<(Digest, Metadata)>> {
    for _ in 0..TRIES {
        let file = match open_plain(path) {
            Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(None),
            other => other.map_err(at("read", path))?,
        };
        let before = file.metadata().map_err(at("look at", path))?;
        if !before.is_file() {
            return Err(Error::new(format!("{} changed into something else while it was read", path.display())));
        }
        let (digest, size) = read(&file, is_executable(&before)).map_err(at("read", path))?;
        match fs::symlink_metadata(path) {
            Ok(after) if Stat::of(&after) == Stat::of(&before) && size == after.len() => {
                return Ok(Some((digest, after)));
            }
            Err(e) if e.kind() != io::ErrorKind::NotFound => return Err(at("look at", path)(e)),
            _ => {}
        }
    }
    Err(Error::new(format!(
        "{} changed while it was read, {TRIES} times in a row: something writes to it",
        path.display()
    )))
}

fn look_at(root: &Path, paths: &[String]) -> Result<Vec<Found>> {
    let look = |path: &String| {
        let full = root.join(path);
        match fs::symlink_metadata(&full) {
            Ok(meta) => refuse_special(&full, &meta).map(|()| Some(Found { path: path.clone(), meta })),
            Err(e) if matches!(e.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => Ok(None),
            Err(e) => Err(at("look at", &full)(e)),
        }
    };
    paths.par_iter().map(look).filter_map(Result::transpose).collect()
}

#[cfg(test)]
mod tests;
