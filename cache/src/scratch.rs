//! Scratch folders: where a build that goes on from an earlier one has its files, and the exact sync of its sources.
//!
//! A folder belongs to an owner, say a worktree, and to a family: the key of all that its builds have in common. What a build
//! leaves in it stays. [`Scratch::sync`] makes the source files lie in it exactly and touches only those whose content changed,
//! so that `make` sees what changed and nothing else. Between [`Scratch::begin`] and [`Scratch::finish`] something writes to
//! it; if that dies with its process, what it wrote is removed when the folder is opened again, because it may be half.
//!
//! Does not know what is built.

mod seed;
mod sync;
#[cfg(test)]
mod tests;

pub(crate) use seed::{folders, has_owner};

use crate::codec::What;
use crate::error::{Result, at};
use crate::files::{look, remove_tree};
use crate::lock::Lock;
use crate::memo::Latest;
use crate::{Cache, Digest, Key, Record, Tree};
use serde::{Deserialize, Serialize};
use std::collections::HashSet;
use std::fs::{self, File, Metadata};
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// So long the kernel may take to end the processes of one that was killed.
const DYING: Duration = Duration::from_millis(200);

/// The name in the file `made`.
const MADE: &str = "made";

/// A folder that stays between builds; locked while this lives.
#[derive(Debug)]
pub struct Scratch {
    cache: Cache,
    folder: PathBuf,
    family: Key,
    owner: Vec<u8>,
    /// What was brought in, sorted by path below `work`; `None` before the first sync.
    items: Option<Vec<(String, Item)>>,
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
    /// It is ours, and that is all that is known: a sync was at it.
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
struct State {
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
        let lock = Lock::wait(&self.scratch_lock(&folder), waiting)?;
        let mut scratch =
            Scratch { cache: self.clone(), folder, family: *family, owner: owner.to_owned(), items: None, _lock: lock };
        scratch.items =
            self.scratch_state(&scratch.folder, family)?.filter(|s| s.owner == owner).map(|state| state.items);
        if scratch.items.is_some() {
            scratch.remove_half_done()?;
        } else {
            // The first sync did not come to its end.
            remove_tree(&scratch.folder).map_err(at("remove", &scratch.folder))?;
            fs::create_dir_all(scratch.path()).map_err(at("create the folder", &scratch.path()))?;
            let name = scratch.folder.join(seed::OWNER);
            fs::write(&name, owner).map_err(at("write", &name))?;
        }
        Ok(scratch)
    }

    fn scratch_lock(&self, folder: &Path) -> PathBuf {
        self.root().join("locks").join(format!("scratch-{}", Digest::of(folder.as_os_str().as_bytes())))
    }

    fn scratch_state(&self, folder: &Path, family: &Key) -> Result<Option<State>> {
        let mut state = self.load::<State>(What::Scratch, &folder.join("state"))?.filter(|s| s.family == *family);
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

    /// From here on something else writes to the folder, until [`Scratch::finish`].
    ///
    /// # Errors
    /// When the folder cannot be written.
    pub fn begin(&mut self) -> Result<()> {
        let made = self.folder.join("made");
        match fs::remove_file(&made) {
            Err(e) if e.kind() != io::ErrorKind::NotFound => return Err(at("remove", &made)(e)),
            _ => {}
        }
        let mark = self.folder.join("running");
        // Its time of change, by the clock of this file system, is when it began.
        File::create(&mark).map(drop).map_err(at("create", &mark))
    }

    /// It has ended by itself, well or not. What it wrote is on the disk before that is noted: a machine that goes down shall not
    /// leave a file that looks finished.
    ///
    /// # Errors
    /// When the folder cannot be written.
    pub fn finish(&mut self) -> Result<()> {
        self.cache.sync()?;
        let mark = self.folder.join("running");
        fs::remove_file(&mark).map_err(at("remove", &mark))
    }

    /// Removes what a build wrote that died. What was brought in is looked at by the next sync anyway.
    fn remove_half_done(&mut self) -> Result<()> {
        let mark = self.folder.join("running");
        let Some(began) = look(&mark)?.map(|meta| (meta.ctime(), meta.ctime_nsec())) else { return Ok(()) };
        // The lock is free a moment before all that died with its holder is gone.
        std::thread::sleep(DYING);
        let work = self.path();
        let ours: HashSet<&str> = self.items.iter().flatten().map(|(path, _)| path.as_str()).collect();
        visit(&work, &mut |path, meta| {
            let is_ours = path.strip_prefix(&work).ok().and_then(Path::to_str).is_some_and(|path| ours.contains(path));
            if !meta.is_dir() && !is_ours && (meta.ctime(), meta.ctime_nsec()) >= began {
                fs::remove_file(path)?;
            }
            Ok(())
        })
        .map_err(at("clean up in", &work))?;
        self.finish()
    }

    /// Remembers what is in the folder now.
    fn save(&mut self, items: Vec<(String, Item)>) -> Result<()> {
        let state = State { family: self.family, owner: self.owner.clone(), boot: boot(), items };
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
    crate::codec::fuzz::<State>(What::Scratch, bytes);
}
