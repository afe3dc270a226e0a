//! Removes what was not used for a while: results with their objects, scratch folders, passing results, what was remembered.
//!
//! A use is a read of the record, which sets its time once a day ([`note_use`]). Objects, trees and listings live as long as a
//! record or a filtered tree that was used names them. Nothing is lost but time: what is gone is made again when it is wanted.
//! While a [`Held`] lives, in any process, nothing is collected; what takes files out of the cache's folders holds one.
//!
//! Does not know what results are.

mod empty;
mod fit;
mod links;
mod named;
mod needs;
mod outside;

pub use empty::Step;
pub use fit::Fitted;

use crate::codec::What;
use crate::error::{Result, at};
use crate::files::{digest_of, look};
use crate::lock;
use crate::memo::{Latest, Subtree};
use crate::needs::There;
use crate::objects::LISTINGS;
use crate::scratch::{folders, has_owner};
use crate::workspace::WorkFolder;
use crate::{Cache, Digest, Key, Kind, Node, Output, Record, Tree};
use empty::empty;
use fs4::{FileExt, TryLockError};
use outside::Seen;
use rustix::fs::{Timespec, Timestamps, UTIME_NOW};
use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::fs::{self, File, Metadata};
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

/// How exact times of use are.
const DAY: Duration = Duration::from_secs(24 * 60 * 60);

/// For how much longer than a result it is remembered that there was one.
const TOLD: Duration = Duration::from_secs(30 * 24 * 60 * 60);

/// While it lives, nothing is collected.
#[derive(Debug)]
pub struct Held {
    _locked: File,
}

/// What a collection removed, or would remove.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Count {
    /// Files or folders with a name of their own in the cache.
    pub number: usize,
    /// Bytes on the disk that are free again.
    pub bytes: u64,
}

/// What counts as used, however long ago that was. What is pinned or has a name counts as that anyway.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Roots {
    /// Results, with their outputs.
    pub results: BTreeSet<Key>,
    /// Files and trees, and the results that led to them.
    pub contents: BTreeSet<Digest>,
    /// Passing results, by the digests of their keys, as far as they hold.
    pub passing: BTreeSet<Digest>,
}

/// What a collection removed, by the folder of the cache in which it lay.
pub type Collected = BTreeMap<&'static str, Count>;

impl Cache {
    /// Waits until no collection runs, and keeps the next one waiting. Calls `waiting` once if it has to wait.
    ///
    /// # Errors
    /// When the cache cannot be locked.
    pub fn hold(&self, waiting: &dyn Fn()) -> Result<Held> {
        self.lock(false, waiting)
    }

    /// Removes what was not used for `unused` and a day, and is none of `roots`. With `only_look` that stays, and is only counted. Waits until
    /// nobody holds the cache ([`Cache::hold`]), and says so once if it has to.
    ///
    /// # Errors
    /// When the cache cannot be read or locked, or something cannot be removed. What is left is removed by the next collection.
    pub fn collect(&self, unused: Duration, roots: &Roots, only_look: bool, told: &dyn Fn(Step)) -> Result<Collected> {
        // What was used after it was last noted was used less than a day later; and what begins while others are waited for is used now.
        let before = SystemTime::now().checked_sub(unused.saturating_add(DAY)).unwrap_or(SystemTime::UNIX_EPOCH);
        let seen = Seen::look(self)?;
        let alone = self.lock(true, &|| told(Step::Waiting))?;
        let (collected, bin) = self.sweep(before, roots, only_look, &seen)?;
        empty(bin, alone, told)?;
        Ok(collected)
    }

    /// Moves everything that is older than `before` into a folder, from where it is removed when nobody has to wait for that any more; with
    /// `only_look` it stays.
    fn sweep(
        &self,
        before: SystemTime,
        roots: &Roots,
        only_look: bool,
        seen: &Seen,
    ) -> Result<(Collected, WorkFolder)> {
        // Making it removes what dead processes left.
        let gone = self.workspace()?.folder()?;
        let bin = (!only_look).then_some(&gone);
        let (shared, counts) = (HashMap::new(), BTreeMap::new());
        let mut sweep = Sweep { cache: self, before, roots, bin, seen, results: HashSet::new(), shared, counts };
        let live = sweep.results()?;
        sweep.objects(&live)?;
        sweep.remembered()?;
        sweep.scratch()?;
        sweep.passing()?;
        sweep.counts.retain(|_, count| count.number > 0);
        let counts = sweep.counts;
        Ok((counts, gone))
    }

    /// The lock for a collection, if nobody holds the cache.
    fn try_alone(&self) -> Result<Option<Held>> {
        let path = self.root().join("version");
        let file = lock::open_alone(&path).map_err(at("open", &path))?;
        match FileExt::try_lock(&file) {
            Ok(()) => Ok(Some(Held { _locked: file })),
            Err(TryLockError::WouldBlock) => Ok(None),
            Err(TryLockError::Error(e)) => Err(at("lock", &path)(e)),
        }
    }

    /// Locks the one file that is there as long as the cache is.
    fn lock(&self, alone: bool, waiting: &dyn Fn()) -> Result<Held> {
        let path = self.root().join("version");
        let file = if alone { lock::open_alone(&path) } else { File::open(&path) }.map_err(at("open", &path))?;
        match if alone { FileExt::try_lock(&file) } else { FileExt::try_lock_shared(&file) } {
            Ok(()) => return Ok(Held { _locked: file }),
            Err(TryLockError::WouldBlock) => waiting(),
            Err(TryLockError::Error(e)) => return Err(at("lock", &path)(e)),
        }
        let locked = if alone { FileExt::lock(&file) } else { FileExt::lock_shared(&file) };
        locked.map_err(at("lock", &path))?;
        Ok(Held { _locked: file })
    }
}

/// Notes that a structured file was read, unless that was noted in the last day. Where it cannot be noted, what it is about is removed earlier.
pub(crate) fn note_use(file: &File) {
    let age = file.metadata().and_then(|meta| meta.modified()).map(|time| time.elapsed().unwrap_or_default());
    if age.is_ok_and(|age| age > DAY) {
        // Set to the current time, and not to a given one: whoever may write to a file may do that, and not its owner alone.
        let now = Timespec { tv_sec: 0, tv_nsec: UTIME_NOW };
        let _ = rustix::fs::futimens(file, &Timestamps { last_access: now, last_modification: now });
    }
}

/// The files of trees, as far as they were read.
type Listed = RefCell<HashMap<Digest, Vec<Digest>>>;

/// What is named by something that was used.
#[derive(Default)]
struct Live {
    trees: HashSet<Digest>,
    objects: HashSet<Digest>,
    /// Trees of which the list of their files is enough: what keys are made of.
    lists: HashSet<Digest>,
}

pub(crate) struct Sweep<'a> {
    pub(crate) cache: &'a Cache,
    before: SystemTime,
    roots: &'a Roots,
    /// Where things go before they are removed, so that none is seen half removed; without it nothing goes.
    bin: Option<&'a WorkFolder>,
    seen: &'a Seen,
    /// The keys of results that stay however old they are.
    results: HashSet<Digest>,
    /// Files with several names, by inode: how many of them went, and how many there were.
    shared: HashMap<u64, (u64, u64)>,
    counts: Collected,
}

impl Sweep<'_> {
    /// The records that stay, and what they need; the others go.
    fn results(&mut self) -> Result<Live> {
        let mut live = Live::default();
        let mut kept = self.behind_links()?;
        let pins = self.cache.pins()?;
        let known: HashSet<Digest> = pins.iter().flat_map(|pin| &pin.known).map(|key| *key.digest()).collect();
        let whole = self.roots.results.iter().chain(pins.iter().map(|pin| &pin.key));
        let whole: HashSet<Digest> = whole.map(|key| *key.digest()).collect();
        self.results = known.union(&whole).copied().collect();
        let needed = pins.iter().flat_map(|pin| &pin.needs).chain(&self.roots.contents).copied();
        let needed: Vec<Digest> = needed.chain(self.needed_outside()?).collect();
        for digest in self.named()?.into_iter().chain(needed) {
            kept.insert(digest);
            // These stay also where no record names them: what was made again under the same key may be something else.
            live.objects.insert(digest);
            live.add(self, &Output { kind: Kind::Tree, digest, size: 0, files: 0 })?;
        }
        let is_kept = |record: &Record| record.outputs.values().any(|output| kept.contains(&output.digest));
        for path in self.entries("records") {
            match self.cache.peek::<Record>(What::Record, &path)? {
                Some(record) if is_kept(&record) || whole.contains(record.key.digest()) || !self.is_old(&path)? => {
                    record.outputs.values().try_for_each(|output| live.add(self, output))?;
                }
                Some(record) if known.contains(record.key.digest()) => {
                    live.lists.extend(record.outputs.values().map(|output| output.digest));
                }
                _ => self.remove("records", &path)?,
            }
        }
        for path in self.entries("subtrees") {
            match self.cache.peek::<Subtree>(What::Subtree, &path)? {
                Some(part) if !self.is_old(&path)? => live.add(self, &part.output)?,
                Some(part) if live.lists.contains(&part.of) => drop(live.lists.insert(part.output.digest)),
                _ => self.remove("subtrees", &path)?,
            }
        }
        // What was stored directly has nothing else that names it.
        for path in self.entries(LISTINGS) {
            if let (false, Some(digest)) = (self.is_old(&path)?, digest_of(&path)) {
                live.add(self, &Output { kind: Kind::Tree, digest, size: 0, files: 0 })?;
            }
        }
        Ok(live)
    }

    fn objects(&mut self, live: &Live) -> Result<()> {
        let lists: HashSet<Digest> = live.trees.union(&live.lists).copied().collect();
        for (folder, living) in [("objects", &live.objects), (LISTINGS, &lists), ("trees", &live.trees)] {
            for path in self.entries(folder) {
                if digest_of(&path).is_none_or(|digest| !living.contains(&digest)) {
                    self.remove(folder, &path)?;
                }
            }
        }
        Ok(())
    }

    /// What only saves time and names no objects.
    fn remembered(&mut self) -> Result<()> {
        for folder in ["memos", "glances", "stats", "aside"] {
            for path in self.entries(folder) {
                if self.is_old(&path)? {
                    self.remove(folder, &path)?;
                }
            }
        }
        // What was found to be wrong lies there in folders, by the time at which it was found.
        for path in folders(&self.cache.folder(crate::verify::FOLDER)) {
            if self.is_old(&path)? {
                self.remove(crate::verify::FOLDER, &path)?;
            }
        }
        for path in self.entries("logs") {
            // A build that failed has a log, and no record.
            let of_result = digest_of(&path).map_or(Ok(false), |key| self.has_used_record(&key))?;
            if self.is_old(&path)? && !of_result {
                self.remove("logs", &path)?;
            }
        }
        for path in self.entries("latest") {
            let latest = self.cache.peek::<Latest>(What::Latest, &path)?;
            let is_told = latest.is_some() && modified(&path)?.is_some_and(|used| used >= self.before - TOLD);
            if !is_told && !latest.map_or(Ok(false), |latest| self.has_used_record(latest.key.digest()))? {
                self.remove("latest", &path)?;
            }
        }
        Ok(())
    }

    fn scratch(&mut self) -> Result<()> {
        for folder in self.entries("scratch").iter().flat_map(|family| folders(family)) {
            if !self.is_old(&folder)? && (self.seen.has_owner(&folder) || has_owner(&folder)) {
                continue;
            }
            // Whose lock is held is in use, whatever its time says.
            if let Some(_lock) = self.cache.lock_scratch(&folder)? {
                self.remove("scratch", &folder)?;
            }
        }
        Ok(())
    }

    fn passing(&mut self) -> Result<()> {
        for folder in self.entries("passing") {
            let is_root = digest_of(&folder).is_some_and(|key| self.roots.passing.contains(&key));
            if !is_root && !self.cache.passing_used_since(&folder, self.before) {
                self.remove("passing", &folder)?;
            }
        }
        Ok(())
    }

    /// What was seen outside of the cache at the place of which the file speaks.
    pub(crate) fn there(&self, path: &Path) -> There {
        self.seen.need(path)
    }

    /// Whether more is done than to look.
    pub(crate) fn removes(&self) -> bool {
        self.bin.is_some()
    }

    pub(crate) fn entries(&self, folder: &str) -> Vec<PathBuf> {
        self.cache.entries(folder)
    }

    /// Whether the last use that was noted is older than `before`. What is gone by now is not old.
    fn is_old(&self, path: &Path) -> Result<bool> {
        Ok(modified(path)?.is_some_and(|modified| modified < self.before))
    }

    fn has_used_record(&self, key: &Digest) -> Result<bool> {
        let record = self.cache.place("records", key);
        Ok(look(&record)?.is_some() && (self.results.contains(key) || !self.is_old(&record)?))
    }

    pub(crate) fn remove(&mut self, folder: &'static str, path: &Path) -> Result<()> {
        let bytes = self.bytes(path)?;
        if let Some(bin) = self.bin {
            match fs::rename(path, bin.spare()) {
                // Another process has removed it meanwhile: nothing is left to do.
                Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(()),
                other => other.map_err(at("remove", path))?,
            }
        }
        let count = self.counts.entry(folder).or_default();
        count.number += 1;
        count.bytes += bytes;
        Ok(())
    }

    /// The bytes on the disk that become free when this is removed, too.
    fn bytes(&mut self, path: &Path) -> Result<u64> {
        let Some(meta) = look(path)? else { return Ok(0) };
        let mut bytes = self.bytes_of(&meta);
        if meta.is_dir() {
            // What a build made unreadable is removed all the same.
            for entry in fs::read_dir(path).into_iter().flatten().flatten() {
                bytes += self.bytes(&entry.path())?;
            }
        }
        Ok(bytes)
    }

    fn bytes_of(&mut self, meta: &Metadata) -> u64 {
        if meta.is_file() && meta.nlink() > 1 || self.shared.contains_key(&meta.ino()) {
            let (gone, all) = self.shared.entry(meta.ino()).or_insert((0, meta.nlink()));
            *gone += 1;
            if gone < all {
                return 0;
            }
        }
        meta.blocks() * 512
    }
}

impl Live {
    fn add(&mut self, sweep: &Sweep<'_>, output: &Output) -> Result<()> {
        if output.kind == Kind::File {
            self.objects.insert(output.digest);
        } else if self.trees.insert(output.digest) {
            let mut listed = sweep.seen.listed.borrow_mut();
            if let Some(files) = listed.get(&output.digest) {
                self.objects.extend(files);
            } else {
                let tree = sweep.cache.peek::<Tree>(What::Tree, &sweep.cache.place(LISTINGS, &output.digest))?;
                let file = |(_, node): &(String, Node)| match node {
                    Node::File { digest, .. } => Some(*digest),
                    _ => None,
                };
                let files: Vec<Digest> = tree.iter().flat_map(Tree::items).filter_map(file).collect();
                self.objects.extend(&files);
                listed.insert(output.digest, files);
            }
        }
        Ok(())
    }
}

fn modified(path: &Path) -> Result<Option<SystemTime>> {
    Ok(look(path)?.and_then(|meta| meta.modified().ok()))
}

#[cfg(test)]
mod tests;
