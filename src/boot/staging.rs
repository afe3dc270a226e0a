//! A place beside the runs of a project, in which what becomes a part of one is put together: there whole, or not at all. What a process that was
//! killed left of one is removed when the next run is made.
//!
//! Knows nothing of what is in it.

use std::fs::{self, File};
use std::os::unix::fs::{DirBuilderExt, MetadataExt};
use std::path::{Path, PathBuf};

use crate::error::{Result, cannot};
use crate::host;

const PREFIX: &str = ".import-";
/// The file in it that is locked as long as its process lives.
const LOCK: &str = "lock";
/// A link in the folder of a crash that came from elsewhere, to its kernel in the cache.
pub const BROUGHT: &str = "brought";

/// Such a place, gone when this is dropped.
#[derive(Debug)]
pub struct Staging {
    folder: tempfile::TempDir,
    _lock: File,
}

impl Staging {
    /// A new one in `base`, a work tree's `.quiz`.
    ///
    /// # Errors
    /// When it cannot be made.
    pub fn new(base: &Path) -> Result<Self> {
        let runs = &base.join("runs");
        let failed = |e| cannot("make a folder in", runs, e);
        // Held until the new folder has its own lock: another process would take it for one that was left behind, and remove it.
        let _all = lock_runs(runs)?;
        sweep(runs);
        // tempfile makes folders that only this user can enter.
        let folder = tempfile::Builder::new().prefix(PREFIX).tempdir_in(runs).map_err(failed)?;
        let lock = locked(&folder.path().join(LOCK))?;
        Ok(Self { folder, _lock: lock })
    }

    /// A new empty folder of that name in it.
    ///
    /// # Errors
    /// When it cannot be made.
    pub fn folder(&self, name: &str) -> Result<PathBuf> {
        let path = self.folder.path().join(name);
        fs::DirBuilder::new().mode(0o700).create(&path).map_err(|e| cannot("make the folder", &path, e))?;
        Ok(path)
    }
}

/// A crash in that folder came from elsewhere: it stays until somebody removes it.
pub fn is_brought(crash: &Path) -> bool {
    crash.join(BROUGHT).is_symlink()
}

/// Only one process at a time makes or removes runs. The lock may have been removed, with all runs, while it was waited for.
pub(super) fn lock_runs(runs: &Path) -> Result<File> {
    loop {
        host::folder(runs).map_err(|e| cannot("make the folder", runs, e))?;
        let lock = locked(&runs.join("lock"))?;
        if lock.metadata().is_ok_and(|meta| meta.nlink() > 0) {
            return Ok(lock);
        }
    }
}

/// The file, made if it is missing, and locked.
pub(super) fn locked(path: &Path) -> Result<File> {
    let file = host::private_file().append(true).open(path).map_err(|e| cannot("open", path, e))?;
    file.lock().map_err(|e| cannot("lock", path, e))?;
    Ok(file)
}

/// Removes what processes that are gone left in the folder of all runs, which the caller has locked.
pub(super) fn sweep(runs: &Path) {
    for entry in fs::read_dir(runs).into_iter().flatten().flatten() {
        let is_ours = entry.file_name().to_string_lossy().starts_with(PREFIX);
        if is_ours && entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            // A shared lock, since the file is open for reading alone, and NFS gives no other lock then.
            let lives = host::open_plain(&entry.path().join(LOCK)).is_ok_and(|lock| lock.try_lock_shared().is_err());
            if !lives {
                // What cannot be removed only takes room.
                let _ = fs::remove_dir_all(entry.path());
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_put_together_stays_as_long_as_its_process_and_no_longer() {
        let base = tempfile::tempdir().unwrap();
        let runs = base.path().join("runs");
        let staging = Staging::new(base.path()).unwrap();
        let folder = staging.folder("crash").unwrap();
        let dead = runs.join(format!("{PREFIX}dead"));
        fs::create_dir_all(dead.join("crash")).unwrap();
        fs::write(dead.join("lock"), "").unwrap();
        fs::create_dir(runs.join("7")).unwrap();
        std::os::unix::fs::symlink(base.path(), runs.join(format!("{PREFIX}link"))).unwrap();
        sweep(&runs);
        assert!(folder.is_dir() && !dead.exists() && runs.join("7").exists());
        drop(staging);
        assert!(!folder.exists() && base.path().exists());
    }
}
