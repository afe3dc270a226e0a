//! Locks on files that remove themselves: the lock of a key, and the lock that says a temporary folder is in use.
//!
//! The lock is the kernel's (`flock`), so a process that dies, however it dies, holds nothing. The file holds the pid of the
//! holder, for people only. It is unlinked by its holder; whoever then gets a lock on an unlinked file tries again.
//!
//! Does not know what is locked.

use crate::Cache;
use crate::access::Access;
use crate::error::{Result, at};
use fs4::{FileExt, TryLockError};
use rustix::fs::OFlags;
use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// A lock that takes less than this to get is not worth a word to the user.
const PATIENCE: Duration = Duration::from_millis(50);

/// A held lock; free again when dropped.
#[derive(Debug)]
pub(crate) struct Lock {
    path: PathBuf,
    _file: File,
}

impl Lock {
    /// Waits for the lock. Calls `waiting` once, with the pid of the holder, when that takes long.
    pub(crate) fn wait(path: &Path, access: Access, waiting: &dyn Fn(u32)) -> Result<Self> {
        let start = Instant::now();
        let mut told = false;
        loop {
            let mut file = open(path, access)?;
            match FileExt::try_lock(&file) {
                Ok(()) => {}
                Err(TryLockError::WouldBlock) if start.elapsed() < PATIENCE => {
                    std::thread::sleep(PATIENCE / 10);
                    continue;
                }
                Err(TryLockError::WouldBlock) => {
                    if !told && let Some(pid) = holder(&mut file) {
                        told = true;
                        waiting(pid);
                    }
                    FileExt::lock(&file).map_err(at("lock", path))?;
                }
                Err(TryLockError::Error(e)) => return Err(at("lock", path)(e)),
            }
            if let Some(lock) = Self::held(path, file)? {
                return Ok(lock);
            }
        }
    }

    /// The lock if nobody holds it.
    pub(crate) fn at_once(path: &Path, access: Access) -> Result<Option<Self>> {
        let file = open(path, access)?;
        match FileExt::try_lock(&file) {
            Ok(()) => Self::held(path, file),
            Err(TryLockError::WouldBlock) => Ok(None),
            Err(TryLockError::Error(e)) => Err(at("lock", path)(e)),
        }
    }

    /// The lock if nobody holds it. Does not make the file.
    pub(crate) fn if_free(path: &Path) -> Option<Self> {
        let file = options().open(path).ok()?;
        FileExt::try_lock(&file).ok()?;
        Self::held(path, file).ok()?
    }

    /// Turns a locked file into a lock, unless its name now belongs to another file or to none.
    fn held(path: &Path, mut file: File) -> Result<Option<Self>> {
        let ours = file.metadata().map_err(at("look at", path))?;
        match fs::symlink_metadata(path) {
            Ok(there) if (there.dev(), there.ino()) == (ours.dev(), ours.ino()) => {}
            Ok(_) => return Ok(None),
            Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(e) => return Err(at("look at", path)(e)),
        }
        // From here on, dropping the lock removes the file.
        let write = file.set_len(0).and_then(|()| write!(file, "{}", std::process::id()));
        let lock = Self { path: path.to_owned(), _file: file };
        write.map_err(at("write", path))?;
        Ok(Some(lock))
    }
}

impl Drop for Lock {
    fn drop(&mut self) {
        // Still locked here: nobody else takes this file for the lock between this and the close.
        let _ = fs::remove_file(&self.path);
    }
}

impl Cache {
    /// Waits for a lock. Calls `waiting` once, with the pid of the holder, when that takes long.
    pub(crate) fn wait_for(&self, lock: &Path, waiting: &dyn Fn(u32)) -> Result<Lock> {
        Lock::wait(lock, self.access_at(lock), waiting)
    }

    /// The lock if nobody holds it.
    pub(crate) fn lock_at_once(&self, lock: &Path) -> Result<Option<Lock>> {
        Lock::at_once(lock, self.access_at(lock))
    }
}

/// A lock is written to: in a group's cache a member's link would lead to a file of somebody else's.
fn options() -> fs::OpenOptions {
    let mut options = fs::OpenOptions::new();
    options.read(true).write(true).custom_flags(OFlags::NOFOLLOW.bits().cast_signed());
    options
}

/// Opens a file that is there for a lock that one alone has. On NFS such a lock is one of byte ranges, which takes a file that is open for writing
/// (flock(2), "NFS details"). Who may not write to it has it for reading, which does on all others.
pub(crate) fn open_alone(path: &Path) -> io::Result<File> {
    match options().open(path) {
        Err(e) if matches!(e.kind(), io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem) => {
            File::open(path)
        }
        other => other,
    }
}

fn open(path: &Path, access: Access) -> Result<File> {
    let mut options = options();
    options.create(true).truncate(false);
    let file = match options.open(path) {
        Err(e) if e.kind() == io::ErrorKind::NotFound => {
            let folder = path.parent().unwrap_or(path);
            access.create_folder(folder).map_err(at("create the folder", folder))?;
            options.open(path)
        }
        // Another member has just made it, or died when he had; he locks it only when all may open it, and asks then whether it is still this one.
        Err(e) if e.kind() == io::ErrorKind::PermissionDenied && access != Access::Own => {
            let _ = fs::remove_file(path);
            options.open(path)
        }
        other => other,
    };
    let file = file.map_err(at("open", path))?;
    access.give_open(&file).map_err(at("set the group of", path))?;
    Ok(file)
}

fn holder(file: &mut File) -> Option<u32> {
    let mut pid = String::new();
    file.read_to_string(&mut pid).ok()?;
    pid.trim().parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::{AtomicU32, Ordering::SeqCst};

    #[test]
    fn second_waits_is_told_the_pid_and_the_file_goes_away() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("locks/key");
        let first = Lock::wait(&path, Access::Own, &|_| panic!("nobody holds it")).unwrap();
        assert_eq!(fs::read_to_string(&path).unwrap(), std::process::id().to_string());
        assert!(Lock::if_free(&path).is_none());
        let told = AtomicU32::new(0);
        std::thread::scope(|scope| {
            let second = scope.spawn(|| Lock::wait(&path, Access::Own, &|pid| told.store(pid, SeqCst)));
            while told.load(SeqCst) == 0 && !second.is_finished() {
                std::thread::sleep(Duration::from_millis(1));
            }
            drop(first);
            drop(second.join().unwrap().unwrap());
        });
        assert_eq!(told.load(SeqCst), std::process::id());
        assert!(!path.exists());
    }

    #[test]
    fn what_one_alone_locks_is_open_for_writing_as_nfs_wants_it() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("version");
        assert!(open_alone(&path).is_err(), "it is not made");
        fs::write(&path, "x").unwrap();
        let mode = rustix::fs::fcntl_getfl(open_alone(&path).unwrap()).unwrap() & OFlags::RWMODE;
        assert_eq!((mode, fs::read(&path).unwrap()), (OFlags::RDWR, b"x".to_vec()));
    }

    #[test]
    fn many_threads_one_at_a_time() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("key");
        let inside = AtomicU32::new(0);
        std::thread::scope(|scope| {
            for _ in 0..8 {
                scope.spawn(|| {
                    for _ in 0..20 {
                        let _lock = Lock::wait(&path, Access::Own, &|_| {}).unwrap();
                        assert_eq!(inside.fetch_add(1, SeqCst), 0);
                        inside.fetch_sub(1, SeqCst);
                    }
                });
            }
        });
        assert!(!path.exists());
    }

    #[test]
    fn a_file_that_nobody_locks_is_free() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("key");
        fs::write(&path, "1").unwrap();
        drop(Lock::wait(&path, Access::Own, &|_| panic!("pid 1 does not hold it")).unwrap());
        assert!(!path.exists());
        assert!(Lock::if_free(&path).is_none(), "the file is not made");
    }
}
