//! Fingerprints: the tree of a source folder that people edit, read again only where `lstat` shows a change.
//!
//! What was seen is remembered with device, inode, size, mode, and modification and change time in nanoseconds: of files (with
//! the digest) and symlinks (with the target), and of what the list of files depends on. As in git, what was changed so shortly
//! before it was looked at that a later change could carry the same time ("racy") is not trusted next time. A file is looked
//! at before and after it is read; one that keeps changing is an error.
//!
//! Does not know git: the caller lists the files of a worktree.

mod glance;
mod holds;
mod look;
#[cfg(test)]
mod tests;
mod watch;

use crate::codec::What;
use crate::error::{Result, at};
use crate::{Cache, Digest, Error, Looked, Node, Output, Tree};
use glance::Glance;
use look::{Root, Stat, see};
use rayon::prelude::*;
use serde::{Deserialize, Serialize};
use std::fs;
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
pub enum Selection<'a> {
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
    items: Items,
    tree: OnceLock<Tree>,
}

/// The items of a source folder.
#[derive(Debug, Clone)]
enum Items {
    Here(Vec<Item>),
    /// Nothing changed, and they are where they were remembered.
    Remembered(Cache),
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
    /// When what was remembered is no more, because another process scanned the folder meanwhile, or is damaged: see
    /// [`crate::Error::is_changed`].
    pub fn tree(&self) -> Result<&Tree> {
        if let Some(tree) = self.tree.get() {
            return Ok(tree);
        }
        let tree = match &self.items {
            Items::Here(items) => tree_of(items)?,
            Items::Remembered(cache) => {
                let (place, glance) = cache.scan_places(&self.root);
                let stats = cache.load::<Stats>(What::Stats, &place)?;
                let Some(stats) = stats.filter(|stats| stats.output.as_ref() == Some(&self.output)) else {
                    // The quick answer is no longer true. Without it the next scan looks at every file.
                    let _ = fs::remove_file(glance);
                    return Err(Error::changed(&self.root));
                };
                tree_of(&stats.items)?
            }
        };
        Ok(self.tree.get_or_init(|| tree))
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

/// What a look at a folder found against the one before.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Since {
    Same,
    Changed,
}

impl Since {
    fn of(is_same: bool) -> Self {
        if is_same { Self::Same } else { Self::Changed }
    }

    /// Of two looks at parts of it.
    fn and(self, other: Self) -> Self {
        Self::of((self, other) == (Self::Same, Self::Same))
    }
}

/// What is remembered of a source folder.
#[derive(Default, Serialize, Deserialize)]
struct Stats {
    root: Vec<u8>,
    /// Sorted by path.
    #[serde(with = "crate::codec::pieces")]
    items: Vec<Item>,
    /// Of the tree of all items, when every one of them has its `stat`.
    output: Option<Output>,
    /// What the list of the items depends on; `None` when it must be asked for again.
    watched: Option<Watched>,
}

impl Stats {
    /// Takes these paths for the items; what is known of them stays.
    fn list(&mut self, mut paths: Vec<String>) -> Since {
        paths.sort_unstable();
        paths.dedup();
        if paths.iter().eq(self.items.iter().map(|item| &item.path)) {
            return Since::Same;
        }
        let mut known = std::mem::take(&mut self.items).into_iter().peekable();
        let find = |path: String| {
            while known.next_if(|item| item.path < path).is_some() {}
            known.next_if(|item| item.path == path).unwrap_or(Item { path, node: Node::Folder, stat: None })
        };
        self.items = paths.into_iter().map(find).collect();
        self.output = None;
        Since::Changed
    }

    /// Looks again at what `lstat` shows as changed. `now` as in [`Cache::scan_at`].
    fn refresh(&mut self, root: &Root, now: i128, looked: &Looked) -> Result<Since> {
        looked.begin(self.items.len());
        let known = self.items.par_chunks(AT_A_TIME).enumerate();
        let changed: Vec<usize> = known
            .flat_map_iter(|(n, items)| {
                let mut at = root.folders();
                looked.more(items.len());
                let items = items.iter().enumerate();
                items
                    .filter(move |(_, item)| item.stat.is_none() || at.lstat(&item.path).ok() != item.stat)
                    .map(move |(i, _)| n * AT_A_TIME + i)
            })
            .collect();
        looked.begin(changed.len());
        let see = |i: &usize| see(root, &self.items[*i].path).inspect(|_| looked.more(1));
        let seen: Vec<_> = changed.par_iter().map(see).collect::<Result<_>>()?;
        let mut since = Since::Same;
        for (i, seen) in changed.into_iter().zip(seen) {
            let item = &mut self.items[i];
            let path = std::mem::take(&mut item.path);
            // What is gone is left without a path, by which it is removed below.
            let Some((node, stat)) = seen else { continue };
            let new = Item { path, node, stat: (!stat.is_racy(now)).then_some(stat) };
            since = since.and(Since::of((&item.node, &item.stat) == (&new.node, &new.stat)));
            *item = new;
        }
        let before = self.items.len();
        self.items.retain(|item| !item.path.is_empty());
        since = since.and(Since::of(self.items.len() == before));
        if since == Since::Changed {
            self.output = None;
        }
        Ok(since)
    }
}

impl Cache {
    /// Digests a source folder. Reads only what is new or whose `lstat` changed since the last time; does not store it. `looked` counts first the files
    /// whose `lstat` is compared, then those that are read.
    ///
    /// # Errors
    /// What cannot be read, a name that is not UTF-8, a device, fifo or socket, a file that keeps changing: each by name. The
    /// error of [`Selection::Asked`]'s `list`: as the inner error ([`std::io::Error::get_ref`]) of the source.
    pub fn scan(&self, root: &Path, selection: Selection, looked: &Looked) -> Result<Fingerprint> {
        // Taken before anything is looked at: the longer ago, the more counts as racy.
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).map_or(0, |d| d.as_nanos());
        self.scan_at(root, selection, i128::try_from(now).unwrap_or(0), looked)
    }

    /// `now` is in nanoseconds since 1970.
    fn scan_at(&self, root: &Path, selection: Selection, now: i128, looked: &Looked) -> Result<Fingerprint> {
        let root = Root::open(std::path::absolute(root).map_err(at("find", root))?)?;
        let name = root.path.as_os_str().as_bytes();
        let (place, glance_place) = self.scan_places(&root.path);
        if let Selection::Asked { rule, also, .. } = selection
            && let Some(glance) = self.load::<Glance>(What::Glance, &glance_place)?
            && glance.holds(&root, rule, also)
        {
            let items = Items::Remembered(self.clone());
            return Ok(Fingerprint { root: root.path, output: glance.output, items, tree: OnceLock::new() });
        }
        let known = self.load::<Stats>(What::Stats, &place)?.filter(|stats| stats.root == name);
        let mut stats = known.unwrap_or_else(|| Stats { root: name.to_owned(), ..Stats::default() });

        let mut since = Since::Same;
        if let Some((paths, watched)) = watch::list(&root, selection, stats.watched.as_ref())? {
            let watched = watched.filter(|watched| !watched.is_racy(now));
            since = Since::of(watched == stats.watched).and(stats.list(paths));
            stats.watched = watched;
        }
        since = since.and(stats.refresh(&root, now, looked)?);
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
        if since == Since::Changed {
            self.store(What::Stats, &place, &stats)?;
        }
        if let Some(glance) = Glance::new(&stats) {
            self.store(What::Glance, &glance_place, &glance)?;
        }
        Ok(Fingerprint { root: root.path, output, items: Items::Here(stats.items), tree })
    }

    /// Where it is remembered what is in a source folder, and what the quick look compares.
    fn scan_places(&self, root: &Path) -> (PathBuf, PathBuf) {
        let name = Digest::of(root.as_os_str().as_bytes());
        (self.place("stats", &name), self.place("glances", &name))
    }
}

/// What is remembered of a folder, for [`crate::fuzz`].
#[cfg(any(test, feature = "fuzz"))]
pub(crate) fn fuzz(bytes: &[u8]) {
    if let Some(stats) = crate::codec::fuzz::<Stats>(What::Stats, bytes) {
        Glance::new(&stats);
        let _ = tree_of(&stats.items).map(|tree| tree.output());
    }
    crate::codec::fuzz::<Glance>(What::Glance, bytes);
}
