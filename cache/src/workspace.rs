//! The temporary place of one open cache: `tmp/<pid>-<random>/`, beside a locked `tmp/<pid>-<random>.lock`.
//!
//! What dead processes left, their temporary places and the lock files of keys, is removed when the next place is made. Only
//! the lock says whether an owner lives: pids are used again. Does not know what is put in.

use crate::Cache;
use crate::access::Access;
use crate::error::{Result, at};
use crate::files::remove_tree;
use crate::lock::Lock;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// A temporary place that is gone when dropped.
#[derive(Debug)]
pub(crate) struct Workspace {
    folder: PathBuf,
    next: AtomicU64,
    _lock: Lock,
}

impl Workspace {
    /// A new place in `tmp`; sweeps first.
    pub(crate) fn new(cache: &Cache) -> Result<Self> {
        let tmp = cache.folder("tmp");
        fs::create_dir_all(&tmp).map_err(at("create the folder", &tmp))?;
        let locks = [cache.root().join("locks"), cache.own().join("locks")];
        sweep(&tmp, if locks[0] == locks[1] { &locks[..1] } else { &locks });
        let name = tempfile::Builder::new()
            .prefix(&format!("{}-", std::process::id()))
            .suffix(".lock")
            .tempfile_in(&tmp)
            .and_then(|file| file.keep().map_err(|e| e.error))
            .map_err(at("create a file in", &tmp))?
            .1;
        // Should a sweeper have taken the new file for a dead one, this makes it again.
        let lock = Lock::wait(&name, Access::Own, &|_| {})?;
        let folder = name.with_extension("");
        fs::create_dir(&folder).map_err(at("create the folder", &folder))?;
        Ok(Self { folder, next: AtomicU64::new(0), _lock: lock })
    }

    /// A name in this place that nothing has.
    pub(crate) fn fresh(&self) -> PathBuf {
        self.folder.join(self.number())
    }

    fn number(&self) -> String {
        self.next.fetch_add(1, Ordering::Relaxed).to_string()
    }

    /// An empty folder in this place.
    pub(crate) fn folder(self: &Arc<Self>) -> Result<WorkFolder> {
        let path = self.fresh();
        fs::create_dir(&path).map_err(at("create the folder", &path))?;
        Ok(WorkFolder { path, place: Arc::clone(self) })
    }
}

impl Drop for Workspace {
    fn drop(&mut self) {
        // What cannot be removed now is tried again by every sweep.
        let _ = remove_tree(&self.folder);
    }
}

/// A folder in a [`Workspace`], removed when dropped.
#[derive(Debug)]
pub(crate) struct WorkFolder {
    path: PathBuf,
    place: Arc<Workspace>,
}

impl WorkFolder {
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// A name in this folder that nothing has: a number.
    pub(crate) fn spare(&self) -> PathBuf {
        self.path.join(self.place.number())
    }
}

impl Drop for WorkFolder {
    fn drop(&mut self) {
        // What cannot be removed now goes with the workspace.
        let _ = remove_tree(&self.path);
    }
}

/// Removes what dead processes left. An error only means that it is left for the next time.
fn sweep(tmp: &Path, locks: &[PathBuf]) {
    let names = |folder: &Path| fs::read_dir(folder).into_iter().flatten().flatten().map(|e| e.path());
    for path in names(tmp) {
        if path.extension().is_some_and(|e| e == "lock") {
            if let Some(_dead) = Lock::if_free(&path) {
                let _ = remove_tree(&path.with_extension(""));
            }
        } else if !path.with_extension("lock").exists() && path.is_dir() {
            // Its lock file is made first and removed last, so this folder lost it.
            let _ = remove_tree(&path);
        }
    }
    for path in locks.iter().flat_map(|folder| names(folder)) {
        drop(Lock::if_free(&path));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(root: &Path, folder: &str) -> usize {
        fs::read_dir(root.join(folder)).map_or(0, Iterator::count)
    }

    #[test]
    fn what_the_dead_left_is_swept_and_the_living_are_left_alone() {
        let root = tempfile::tempdir().unwrap();
        let cache = Cache::open(root.path()).unwrap();
        let living = Arc::new(Workspace::new(&cache).unwrap());
        let folder = living.folder().unwrap();
        fs::write(folder.path().join("file"), "x").unwrap();
        // The pid of a living process: only the lock counts.
        let dead = root.path().join(format!("tmp/{}-dead", std::process::id()));
        fs::create_dir_all(dead.join("0/sub")).unwrap();
        fs::write(dead.with_extension("lock"), "1").unwrap();
        fs::create_dir_all(root.path().join("tmp/1-lost")).unwrap();
        fs::create_dir(root.path().join("locks")).unwrap();
        fs::write(root.path().join("locks/abc"), "1").unwrap();

        let other = Workspace::new(&cache).unwrap();
        assert!(!dead.exists() && !dead.with_extension("lock").exists());
        assert_eq!((names(root.path(), "tmp"), names(root.path(), "locks")), (4, 0));
        assert!(folder.path().join("file").exists());
        drop((other, folder, living));
        assert_eq!(names(root.path(), "tmp"), 0);
    }
}
