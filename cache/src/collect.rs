//! Removes what was not used for a while: results with their objects, scratch folders, passing results, what was remembered.
//!
//! A use is a read of the record, which sets its time once a day ([`note_use`]). Objects, trees and listings live as long as a
//! record or a filtered tree that was used names them. Nothing is lost but time: what is gone is made again when it is wanted.
//! While a [`Held`] lives, in any process, nothing is collected; what takes files out of the cache's folders holds one.
//!
//! Does not know what results are.

mod named;

use crate::codec::What;
use crate::error::{Result, at};
use crate::files::{look, remove_tree, rename_into};
use crate::memo::{Latest, Subtree};
use crate::objects::LISTINGS;
use crate::scratch::{folders, has_owner};
use crate::{Cache, Digest, Kind, Node, Output, Record, Tree};
use fs4::{FileExt, TryLockError};
use std::collections::{BTreeMap, HashMap, HashSet};
use std::fs::{self, File, Metadata};
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

/// Times of use are as exact as that.
const DAY: Duration = Duration::from_secs(24 * 60 * 60);

/// Days: what was not used for longer is all the same old.
const OLDEST: u64 = 128;

/// So much longer than a result it is known that there was one.
const TOLD: Duration = Duration::from_secs(30 * 24 * 60 * 60);

/// Links to the links that keep a tree.
const LINKS: &str = "links";

/// As long as it lives nothing is collected.
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

/// What a collection to a size came to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fitted {
    /// What it removed, or would.
    pub collected: Collected,
    /// Bytes on the disk that the cache has then.
    pub left: u64,
}

/// By the folder of the cache in which it lay.
pub type Collected = BTreeMap<&'static str, Count>;

impl Cache {
    /// Waits until no collection runs, and keeps the next one waiting. Calls `waiting` once if it has to wait.
    ///
    /// # Errors
    /// When the cache cannot be locked.
    pub fn hold(&self, waiting: &dyn Fn()) -> Result<Held> {
        self.lock(false, waiting)
    }

    /// Removes what was not used for so long and a day. With `only_look` it stays, and what would go is counted. Waits until
    /// nobody holds the cache ([`Cache::hold`]), and calls `waiting` once if it has to.
    ///
    /// # Errors
    /// When the cache cannot be read or locked, or something cannot be removed. What is left is removed by the next collection.
    pub fn collect(&self, unused: Duration, only_look: bool, waiting: &dyn Fn()) -> Result<Collected> {
        let _alone = self.lock(true, waiting)?;
        self.sweep(unused, only_look)
    }

    /// Removes what was used longest ago, by days, until nine tenths of `most` bytes are left, if there are more than `most`. What was used in the
    /// last day stays whatever it takes. Else as [`Cache::collect`].
    ///
    /// # Errors
    /// As [`Cache::collect`].
    pub fn collect_to(&self, most: u64, only_look: bool, waiting: &dyn Fn()) -> Result<Fitted> {
        let _alone = self.lock(true, waiting)?;
        let all = bytes_below(self.root(), &mut HashSet::new())?;
        let mut fitted = Fitted { collected: Collected::new(), left: all };
        if all <= most {
            return Ok(fitted);
        }
        let too_many = all - most / 10 * 9;
        let freed = |collected: &Collected| collected.values().map(|count| count.bytes).sum::<u64>();
        let unused = |days: u64| DAY * u32::try_from(days).unwrap_or(u32::MAX);
        // So many days without a use free enough, so many do not.
        let (mut enough, mut little) = (0, OLDEST);
        while little - enough > 1 {
            let days = enough.midpoint(little);
            match freed(&self.sweep(unused(days), true)?) >= too_many {
                true => enough = days,
                false => little = days,
            }
        }
        fitted.collected = self.sweep(unused(enough), only_look)?;
        fitted.left = all.saturating_sub(freed(&fitted.collected));
        Ok(fitted)
    }

    fn sweep(&self, unused: Duration, only_look: bool) -> Result<Collected> {
        // Making it removes what dead processes left.
        let gone = self.workspace()?.folder()?;
        let bin = (!only_look).then(|| gone.path().to_owned());
        // What was used after it was last noted was used less than a day later.
        let before = SystemTime::now().checked_sub(unused.saturating_add(DAY)).unwrap_or(SystemTime::UNIX_EPOCH);
        let mut sweep = Sweep { cache: self, before, bin, shared: HashMap::new(), counts: BTreeMap::new() };
        let live = sweep.results()?;
        sweep.objects(&live)?;
        sweep.remembered()?;
        sweep.scratch()?;
        sweep.passing()?;
        sweep.counts.retain(|_, count| count.number > 0);
        Ok(sweep.counts)
    }

    /// Keeps the tree to which `link`, an absolute path outside of the cache, leads, as long as that is a link to a tree of this cache, however
    /// long nobody uses it.
    ///
    /// # Errors
    /// When the cache cannot be written.
    pub fn keep_behind(&self, link: &Path) -> Result<()> {
        let place = self.place(LINKS, &Digest::of(link.as_os_str().as_encoded_bytes()));
        if look(&place)?.is_some() {
            return Ok(());
        }
        let new = self.workspace()?.fresh();
        std::os::unix::fs::symlink(link, &new).map_err(at("create", &new))?;
        rename_into(&new, &place).map_err(at("store", &place))
    }

    /// Locks the one file that is there as long as the cache is.
    fn lock(&self, alone: bool, waiting: &dyn Fn()) -> Result<Held> {
        let path = self.root().join("version");
        let file = File::open(&path).map_err(at("open", &path))?;
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

/// Bytes on the disk, of each file once.
fn bytes_below(folder: &Path, seen: &mut HashSet<u64>) -> Result<u64> {
    let mut bytes = 0;
    // What another process removes meanwhile is no more.
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        let path = entry.path();
        let Some(meta) = look(&path)? else { continue };
        if meta.nlink() > 1 && meta.is_file() && !seen.insert(meta.ino()) {
            continue;
        }
        bytes += meta.blocks() * 512;
        if meta.is_dir() {
            bytes += bytes_below(&path, seen)?;
        }
    }
    Ok(bytes)
}

/// Notes that a structured file was read, unless that was noted in the last day. Where it cannot be noted, it only goes earlier.
pub(crate) fn note_use(file: &File) {
    let age = file.metadata().and_then(|meta| meta.modified()).map(|time| time.elapsed().unwrap_or_default());
    if age.is_ok_and(|age| age > DAY) {
        let _ = file.set_modified(SystemTime::now());
    }
}

/// What is named by something that was used.
#[derive(Default)]
struct Live {
    trees: HashSet<Digest>,
    objects: HashSet<Digest>,
}

struct Sweep<'a> {
    cache: &'a Cache,
    before: SystemTime,
    /// Where things go before they are removed, so that none is seen half removed; without it nothing goes.
    bin: Option<PathBuf>,
    /// Files with several names, by inode: how many of them went, and how many there were.
    shared: HashMap<u64, (u64, u64)>,
    counts: Collected,
}

impl Sweep<'_> {
    /// The records that stay, and what they need; the others go.
    fn results(&mut self) -> Result<Live> {
        let mut live = Live::default();
        let mut kept = self.behind_links()?;
        for digest in self.named()? {
            kept.insert(digest);
            // Also without a record: what was made again under its key may be another one.
            live.objects.insert(digest);
            live.add(self.cache, &Output { kind: Kind::Tree, digest, size: 0, files: 0 })?;
        }
        let is_kept = |record: &Record| record.outputs.values().any(|output| kept.contains(&output.digest));
        for path in self.entries("records") {
            match self.cache.peek::<Record>(What::Record, &path)? {
                Some(record) if is_kept(&record) || !self.is_old(&path)? => {
                    record.outputs.values().try_for_each(|output| live.add(self.cache, output))?;
                }
                _ => self.remove("records", &path)?,
            }
        }
        for path in self.entries("subtrees") {
            match self.cache.peek::<Subtree>(What::Subtree, &path)? {
                Some(part) if !self.is_old(&path)? => live.add(self.cache, &part.output)?,
                _ => self.remove("subtrees", &path)?,
            }
        }
        // What was stored directly has nothing else that names it.
        for path in self.entries(LISTINGS) {
            if let (false, Some(digest)) = (self.is_old(&path)?, digest_of(&path)) {
                live.add(self.cache, &Output { kind: Kind::Tree, digest, size: 0, files: 0 })?;
            }
        }
        Ok(live)
    }

    /// The trees that links outside of the cache lead to; what is no such link any more is forgotten.
    fn behind_links(&mut self) -> Result<HashSet<Digest>> {
        let mut kept = HashSet::new();
        for path in self.entries(LINKS) {
            // Not by its text: there may be several ways to the cache.
            let trees = fs::canonicalize(self.cache.root().join("trees")).unwrap_or_default();
            let target = fs::read_link(&path).and_then(fs::read_link).and_then(fs::canonicalize).ok();
            match target.filter(|target| target.starts_with(&trees)).and_then(|t| digest_of(&t)) {
                Some(digest) => drop(kept.insert(digest)),
                None => self.remove(LINKS, &path)?,
            }
        }
        Ok(kept)
    }

    fn objects(&mut self, live: &Live) -> Result<()> {
        for (folder, living) in [("objects", &live.objects), (LISTINGS, &live.trees), ("trees", &live.trees)] {
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
        for path in self.entries("logs") {
            // The log of what failed has no record.
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
            if !self.is_old(&folder)? && has_owner(&folder) {
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
            if !self.cache.passing_used_since(&folder, self.before) {
                self.remove("passing", &folder)?;
            }
        }
        Ok(())
    }

    /// What lies in a folder of the cache, by its digest.
    fn entries(&self, folder: &str) -> Vec<PathBuf> {
        let list = |path: &Path| fs::read_dir(path).into_iter().flatten().flatten().map(|entry| entry.path());
        let mut all: Vec<PathBuf> =
            folders(&self.cache.root().join(folder)).iter().flat_map(|dd| list(dd).collect::<Vec<_>>()).collect();
        all.sort();
        all
    }

    /// Nothing is noted as used later. What is gone by now is not.
    fn is_old(&self, path: &Path) -> Result<bool> {
        Ok(modified(path)?.is_some_and(|modified| modified < self.before))
    }

    fn has_used_record(&self, key: &Digest) -> Result<bool> {
        Ok(modified(&self.cache.place("records", key))?.is_some_and(|used| used >= self.before))
    }

    fn remove(&mut self, folder: &'static str, path: &Path) -> Result<()> {
        let bytes = self.bytes(path)?;
        if let Some(bin) = &self.bin {
            let gone = bin.join("gone");
            match fs::rename(path, &gone) {
                // Another process has removed it meanwhile: nothing is left to do.
                Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(()),
                other => other.map_err(at("remove", path))?,
            }
            let is_folder = look(&gone)?.is_some_and(|meta| meta.is_dir());
            let removed = if is_folder { remove_tree(&gone) } else { fs::remove_file(&gone) };
            removed.map_err(at("remove", &gone))?;
        }
        let count = self.counts.entry(folder).or_default();
        count.number += 1;
        count.bytes += bytes;
        Ok(())
    }

    /// The bytes on the disk that are free when this is gone, too.
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
    fn add(&mut self, cache: &Cache, output: &Output) -> Result<()> {
        if output.kind == Kind::File {
            self.objects.insert(output.digest);
        } else if self.trees.insert(output.digest)
            && let Some(tree) = cache.peek::<Tree>(What::Tree, &cache.place(LISTINGS, &output.digest))?
        {
            self.objects.extend(tree.items().iter().filter_map(|(_, node)| match node {
                Node::File { digest, .. } => Some(*digest),
                _ => None,
            }));
        }
        Ok(())
    }
}

fn modified(path: &Path) -> Result<Option<SystemTime>> {
    Ok(look(path)?.and_then(|meta| meta.modified().ok()))
}

/// The digest that is the name of the file.
fn digest_of(path: &Path) -> Option<Digest> {
    path.file_name()?.to_str()?.parse().ok()
}

#[cfg(test)]
mod tests;
