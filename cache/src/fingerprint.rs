//! Fingerprints: the tree of a source folder that people edit, read again only where `lstat` shows a change.
//!
//! What was seen is remembered with device, inode, size, mode, and modification and change time in nanoseconds: of files (with
//! the digest) and symlinks (with the target), and of what the list of files depends on. As in git, what was changed so shortly
//! before it was looked at that a later change could carry the same time ("racy") is not trusted next time. A file is looked
//! at before and after it is read; one that keeps changing is an error.
//!
//! Does not know git: the caller lists the files of a worktree.

mod look;
#[cfg(test)]
mod tests;
mod watch;

use crate::codec::What;
use crate::error::{Result, at};
use crate::{Cache, Digest, Node, Output, Tree};
use look::{Root, Stat, see};
use rayon::prelude::*;
use serde::{Deserialize, Serialize};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;
use std::time::SystemTime;
use watch::Watched;

/// How many items a thread takes at a time: an `lstat` is about as long as handing it to a thread.
const AT_A_TIME: usize = 256;

/// What a caller's function that lists files may fail with.
type ListError = Box<dyn std::error::Error + Send + Sync>;

/// Which files of a folder are its source.
#[derive(Clone, Copy)]
pub enum Listing<'a> {
    /// All, but not what `skip` says yes to.
    All {
        /// Whether to leave out a path below the root and, for a folder, all in it. Asked before a folder is read.
        skip: &'a (dyn Fn(&str) -> bool + Sync),
    },
    /// The list comes from `list`, which is asked only when it could have changed: when a folder under the root, a file that
    /// `decides`, or one of `also` changed since. Then nothing is read but what changed, and otherwise no folder is.
    Asked {
        /// Names what `list`, `decides` and `skip` do. A list that was remembered under another name is not used.
        rule: &'a str,
        /// The paths below the root, in any order. Left out are those that end with `/`, that are gone, and that lie below
        /// what is no folder or is skipped; a folder counts as an empty one.
        list: &'a (dyn Fn() -> std::result::Result<Vec<String>, ListError> + Sync),
        /// Whether a file of this name, in whatever folder under the root, can change the list (an ignore file).
        decides: &'a (dyn Fn(&str) -> bool + Sync),
        /// Files elsewhere that can change the list (an index), absolute or from the root. One that is missing counts as
        /// missing, a symlink as what it leads to.
        also: &'a [PathBuf],
        /// Folders, by path below the root, that are never looked into.
        skip: &'a (dyn Fn(&str) -> bool + Sync),
    },
}

/// A source folder as it was when it was looked at.
#[derive(Debug, Clone)]
pub struct Fingerprint {
    root: PathBuf,
    output: Output,
    items: Vec<Item>,
    tree: OnceLock<Tree>,
}

impl Fingerprint {
    /// The folder, absolute.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// Digest, size and number of files of the whole tree. It is not in the cache: see [`Cache::put_tree_from_scan`].
    pub fn output(&self) -> &Output {
        &self.output
    }

    /// Every item of the tree, made when it is first asked for.
    ///
    /// # Errors
    /// None but for a memory that another program wrote: what was looked at in this scan is a tree.
    pub fn tree(&self) -> Result<&Tree> {
        match self.tree.get() {
            Some(tree) => Ok(tree),
            None => tree_of(&self.items).map(|tree| self.tree.get_or_init(|| tree)),
        }
    }
}

fn tree_of(items: &[Item]) -> Result<Tree> {
    Tree::new(items.iter().map(|item| (item.path.clone(), item.node.clone())))
}

/// What was found at a path.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct Item {
    path: String,
    node: Node,
    /// With what `lstat` the node holds; `None` when it was racy: then it is looked at again whatever `lstat` says.
    stat: Option<Stat>,
}

/// What is remembered of a source folder.
#[derive(Default, Serialize, Deserialize)]
struct Stats {
    root: Vec<u8>,
    /// Sorted by path.
    items: Vec<Item>,
    /// Of the tree of all items, when every one of them has its `stat`.
    output: Option<Output>,
    /// What the list of the items depends on; `None` when it must be asked for again.
    watched: Option<Watched>,
}

impl Stats {
    /// Takes these paths for the items; what is known of them stays. Whether they are the same as before.
    fn list(&mut self, mut paths: Vec<String>) -> bool {
        paths.sort_unstable();
        paths.dedup();
        if paths.iter().eq(self.items.iter().map(|item| &item.path)) {
            return true;
        }
        let mut known = std::mem::take(&mut self.items).into_iter().peekable();
        let find = |path: String| {
            while known.next_if(|item| item.path < path).is_some() {}
            known.next_if(|item| item.path == path).unwrap_or(Item { path, node: Node::Folder, stat: None })
        };
        self.items = paths.into_iter().map(find).collect();
        self.output = None;
        false
    }

    /// Looks again at what `lstat` shows as changed. `now` as in [`Cache::scan_at`]. Whether nothing was changed.
    fn refresh(&mut self, root: &Root, now: i128) -> Result<bool> {
        let known = self.items.par_iter().enumerate().with_min_len(AT_A_TIME);
        let changed: Vec<usize> = known
            .filter(|(_, item)| item.stat.is_none() || root.lstat(&item.path).ok() != item.stat)
            .map(|(i, _)| i)
            .collect();
        let seen: Vec<_> = changed.par_iter().map(|i| see(root, &self.items[*i].path)).collect::<Result<_>>()?;
        let mut same = true;
        for (i, seen) in changed.into_iter().zip(seen) {
            let item = &mut self.items[i];
            let path = std::mem::take(&mut item.path);
            // What is gone stays without a path.
            let Some((node, stat)) = seen else { continue };
            let new = Item { path, node, stat: (!stat.is_racy(now)).then_some(stat) };
            same &= (&item.node, &item.stat) == (&new.node, &new.stat);
            *item = new;
        }
        let before = self.items.len();
        self.items.retain(|item| !item.path.is_empty());
        same &= self.items.len() == before;
        if !same {
            self.output = None;
        }
        Ok(same)
    }
}

impl Cache {
    /// Digests a source folder. Reads only what is new or whose `lstat` changed since the last time; does not store it.
    ///
    /// # Errors
    /// What cannot be read, a name that is not UTF-8, a device, fifo or socket, a file that keeps changing: each by name. The
    /// error of [`Listing::Asked`]'s `list`: as the inner error ([`std::io::Error::get_ref`]) of the source.
    pub fn scan(&self, root: &Path, listing: Listing) -> Result<Fingerprint> {
        // Taken before anything is looked at: the longer ago, the more counts as racy.
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).map_or(0, |d| d.as_nanos());
        self.scan_at(root, listing, i128::try_from(now).unwrap_or(0))
    }

    /// `now` is in nanoseconds since 1970.
    fn scan_at(&self, root: &Path, listing: Listing, now: i128) -> Result<Fingerprint> {
        let root = Root::open(std::path::absolute(root).map_err(at("find", root))?)?;
        let name = root.path.as_os_str().as_bytes();
        let place = self.place("stats", &Digest::of(name));
        let known = self.load::<Stats>(What::Stats, &place)?.filter(|stats| stats.root == name);
        let mut stats = known.unwrap_or_else(|| Stats { root: name.to_owned(), ..Stats::default() });

        let mut same = true;
        if let Some((paths, watched)) = watch::list(&root, listing, stats.watched.as_ref())? {
            let watched = watched.filter(|watched| !watched.is_racy(now));
            same = watched == stats.watched;
            stats.watched = watched;
            same &= stats.list(paths);
        }
        same &= stats.refresh(&root, now)?;
        let tree = OnceLock::new();
        let output = match &stats.output {
            Some(output) => output.clone(),
            None => {
                let made = tree_of(&stats.items)?;
                let output = tree.get_or_init(|| made).output();
                stats.output = stats.items.iter().all(|item| item.stat.is_some()).then(|| output.clone());
                output
            }
        };
        if !same {
            self.store(What::Stats, &place, &stats)?;
        }
        Ok(Fingerprint { root: root.path, output, items: stats.items, tree })
    }
}
