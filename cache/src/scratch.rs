//! Scratch folders: where a build that goes on from an earlier one has its files, and the exact sync of its sources.
//!
//! A folder belongs to an owner, say a worktree, and to a family: the key of all that its builds have in common. What a build
//! leaves in it stays. [`Scratch::sync`] makes the source files lie in it exactly and touches only those whose content changed,
//! so that `make` sees what changed and nothing else, whatever the host's clock does ([`order`]). Between [`Scratch::begin`] and
//! [`Scratch::finish`] something writes to it; if that dies with its process, what it did is undone when the folder is opened
//! again, because it may be half ([`whole`]). A folder in which that cannot be done is emptied.
//!
//! Does not know what is built.

mod order;
mod seed;
mod sync;
#[cfg(test)]
mod tests;
mod whole;

pub(crate) use seed::{OWNER, folders, has_owner};

use crate::codec::What;
use crate::error::{Result, at};
use crate::files::look;
use crate::lock::Lock;
use crate::memo::Latest;
use crate::{Cache, Digest, Error, Key, Record, Tree};
use serde::{Deserialize, Serialize};
use std::fs::{self, File, Metadata};
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

/// The name in the file `made`.
pub(crate) const MADE: &str = "made";
/// How the name of a file begins that a sync has not finished; no build has such names.
const UNFINISHED: &str = ".quiz-new-";

/// A folder that stays between builds; locked while this lives.
#[derive(Debug)]
pub struct Scratch {
    cache: Cache,
    folder: PathBuf,
    family: Key,
    owner: Vec<u8>,
    /// What was brought in, sorted by path below `work`; `None` before the first sync.
    items: Option<Vec<(String, Item)>>,
    /// The mark that something writes to it, and since when.
    running: Option<(File, order::Began)>,
    _lock: Lock,
}

/// A tree that is brought into a scratch folder.
#[derive(Debug, Clone, Copy)]
pub struct Source<'a> {
    /// What is wanted.
    pub tree: &'a Tree,
    /// Where its files lie.
    pub root: &'a Path,
    /// The folder below [`Scratch::path`] that it is brought into, without `.` and `..`.
    pub into: &'a str,
}

/// What a sync did.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Synced {
    /// Files and symlinks that were written.
    pub written: usize,
    /// Files and symlinks that were removed.
    pub removed: usize,
    /// The owner whose folder this one was started from.
    pub seeded_from: Option<PathBuf>,
    /// The folder was empty: what is built in it now is built from nothing.
    pub fresh: bool,
}

/// What is remembered of one path that was brought in.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
enum Item {
    /// A sync was working on it: all that is known is that it was brought in.
    Unknown,
    File {
        digest: Digest,
        stat: Stat,
    },
    Symlink {
        target: String,
    },
}

/// What `lstat` says of a copy as long as nobody wrote to it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Stat {
    dev: u64,
    ino: u64,
    size: u64,
    mtime: (i64, i64),
    ctime: (i64, i64),
    mode: u32,
}

#[derive(Serialize, Deserialize)]
struct ScratchState {
    family: Key,
    owner: Vec<u8>,
    /// What was written before the machine went down may be less than `lstat` says: another boot looks at every file again.
    boot: Vec<u8>,
    items: Vec<(String, Item)>,
}

impl Stat {
    pub(crate) fn of(meta: &Metadata) -> Self {
        Self {
            dev: meta.dev(),
            ino: meta.ino(),
            size: meta.size(),
            mtime: (meta.mtime(), meta.mtime_nsec()),
            ctime: (meta.ctime(), meta.ctime_nsec()),
            mode: meta.mode(),
        }
    }
}

impl Cache {
    /// Opens the scratch folder of an owner (an absolute path) in a family. Waits while somebody else has it, and calls `waiting`
    /// once with the pid of his process.
    ///
    /// # Errors
    /// When the cache cannot be read or written.
    pub fn scratch(&self, family: &Key, owner: &Path, waiting: &dyn Fn(u32)) -> Result<Scratch> {
        // First, because making it sweeps the lock files that dead processes left.
        self.workspace()?;
        let owner = owner.as_os_str().as_bytes();
        let folder = self.place("scratch", family.digest()).join(Digest::of(owner).to_string());
        let lock = self.wait_for(&self.scratch_lock(&folder), waiting)?;
        let (cache, owner) = (self.clone(), owner.to_owned());
        let mut scratch = Scratch { cache, folder, family: *family, owner, items: None, running: None, _lock: lock };
        let state = self.scratch_state(&scratch.folder, family)?.filter(|state| state.owner == scratch.owner);
        scratch.items = state.map(|state| state.items);
        // Without items the first sync did not come to its end.
        let is_half = scratch.items.is_none() || look(&scratch.folder.join(order::MOVING))?.is_some();
        if is_half || !scratch.undo()? {
            scratch.start_empty()?;
        }
        Ok(scratch)
    }

    /// By the names of family and owner, and not by the path: that has several spellings.
    fn scratch_lock(&self, folder: &Path) -> PathBuf {
        let name = |path: Option<&Path>| path.and_then(Path::file_name).unwrap_or_default().display().to_string();
        self.own().join("locks").join(format!("scratch-{}-{}", name(folder.parent()), name(Some(folder))))
    }

    fn scratch_state(&self, folder: &Path, family: &Key) -> Result<Option<ScratchState>> {
        let mut state =
            self.load::<ScratchState>(What::Scratch, &folder.join("state"))?.filter(|s| s.family == *family);
        if let Some(state) = state.as_mut().filter(|state| state.boot != boot()) {
            state.items.iter_mut().for_each(|(_, item)| *item = Item::Unknown);
        }
        Ok(state)
    }
}

impl Scratch {
    /// What a build may use; everything in it stays.
    pub fn path(&self) -> PathBuf {
        self.folder.join("work")
    }

    /// The result of the last build here, if it was committed and told by [`Scratch::set_made`]: what the folder has of it is what
    /// that result was made of.
    ///
    /// # Errors
    /// When the cache cannot be read.
    pub fn made(&self) -> Result<Option<Record>> {
        let made = self.cache.load::<Latest>(What::Latest, &self.folder.join("made"))?;
        match made.filter(|made| made.name == MADE) {
            Some(made) => self.cache.record(&made.key),
            None => Ok(None),
        }
    }

    /// Remembers the result of the build that has ended here, for [`Scratch::made`], until the next one begins.
    ///
    /// # Errors
    /// When the folder cannot be written.
    pub fn set_made(&mut self, key: &Key) -> Result<()> {
        let made = Latest { name: MADE.to_owned(), key: *key };
        self.cache.store(What::Latest, &self.folder.join("made"), &made)
    }

    /// From here on something else writes to the folder, until [`Scratch::finish`]. Whoever does has to hold the given file open
    /// as long as he can write: it is locked, and so others see that it is not over.
    ///
    /// # Errors
    /// When the folder cannot be read or written.
    pub fn begin(&mut self) -> Result<&File> {
        let made = self.folder.join("made");
        match fs::remove_file(&made) {
            Err(e) if e.kind() != io::ErrorKind::NotFound => return Err(at("remove", &made)(e)),
            _ => {}
        }
        self.note_whole()?;
        let mark = whole::mark(&self.folder)?;
        Ok(&self.running.insert((mark, order::Began::now())).0)
    }

    /// What was begun, and all that it started, has ended by itself, well or not. What it wrote is on the disk before that is noted: a machine that goes
    /// down shall not leave a file that looks finished.
    ///
    /// # Errors
    /// [`Error::is_changed`] when what it made cannot be trusted and has to be made again: the clock was set back meanwhile, or
    /// somebody else took the folder. Then, as when the folder cannot be written, what it did is undone the next time.
    pub fn finish(&mut self) -> Result<()> {
        let Some((mark, began)) = self.running.take() else { return Ok(()) };
        if !whole::is_marked(&self.folder, &mark)? {
            return Err(Error::void(format!("another process took {} meanwhile", self.folder.display())));
        }
        if began.was_set_back() {
            return Err(Error::void("the clock was set back while it was built"));
        }
        self.cache.sync()?;
        let path = self.folder.join(whole::RUNNING);
        fs::remove_file(&path).map_err(at("remove", &path))
    }

    /// Empties the folder: nothing of what lies there is taken over.
    fn start_empty(&mut self) -> Result<()> {
        self.items = None;
        self.cache.take_away(&self.folder)?;
        fs::create_dir_all(self.path()).map_err(at("create the folder", &self.path()))?;
        let name = self.folder.join(OWNER);
        fs::write(&name, &self.owner).map_err(at("write", &name))
    }

    /// Remembers what is in the folder now.
    fn save(&mut self, items: Vec<(String, Item)>) -> Result<()> {
        let state = ScratchState { family: self.family, owner: self.owner.clone(), boot: boot(), items };
        self.cache.store(What::Scratch, &self.folder.join("state"), &state)?;
        self.items = Some(state.items);
        Ok(())
    }
}

/// Calls `see` for everything below a folder, a folder before what is in it.
fn visit(folder: &Path, see: &mut dyn FnMut(&Path, &Metadata) -> io::Result<()>) -> io::Result<()> {
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        let meta = fs::symlink_metadata(&path)?;
        see(&path, &meta)?;
        if meta.is_dir() {
            visit(&path, see)?;
        }
    }
    Ok(())
}

/// Tells this boot of the machine from others.
pub(crate) fn boot() -> Vec<u8> {
    // Without /proc every boot is the same one.
    fs::read("/proc/sys/kernel/random/boot_id").unwrap_or_default()
}

/// What is remembered here, for [`crate::fuzz`].
#[cfg(any(test, feature = "fuzz"))]
pub(crate) fn fuzz(bytes: &[u8]) {
    crate::codec::fuzz::<ScratchState>(What::Scratch, bytes);
}
