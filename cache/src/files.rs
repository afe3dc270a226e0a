//! What is done to single files: the seal, links and copies, atomic writes, removal.
//!
//! A sealed file is read-only and has one fixed modification time, so one `lstat` tells of any later write through the file
//! system. Does not know the layout of the cache.

use crate::access::{Access, is_anothers, is_sealed_mode};
use crate::error::{Result, at};
use crate::{Digest, Error};
use rayon::prelude::*;
use rustix::fs::{AtFlags, CWD, Timespec, Timestamps, UTIME_OMIT};
use std::collections::HashSet;
use std::fs::{self, File, Metadata, Permissions};
use std::io;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant, SystemTime};

/// The modification time of everything that is sealed, in seconds: 2001-09-09, also the SOURCE_DATE_EPOCH of builds.
const SEALED_AT: i64 = 1_000_000_000;

/// Whether a file counts as executable: the owner's bit decides, as in git.
pub(crate) fn is_executable(meta: &Metadata) -> bool {
    meta.mode() & 0o100 != 0
}

/// Whether this is a sealed regular file of that size.
pub(crate) fn file_is_sealed(meta: &Metadata, size: u64, executable: bool) -> bool {
    meta.is_file() && meta.len() == size && is_sealed_mode(meta.mode(), executable) && time_is_sealed(meta)
}

/// Whether the modification time is the sealed one. Of a folder: nothing was added or removed.
pub(crate) fn time_is_sealed(meta: &Metadata) -> bool {
    meta.mtime() == SEALED_AT && meta.mtime_nsec() == 0
}

/// Makes a file ours, seals it, and gives its digest and size. `spare` is a name for a copy, in the same file system.
pub(crate) fn adopt(path: &Path, meta: &Metadata, spare: &Path) -> Result<(Digest, u64)> {
    if meta.uid() != rustix::process::geteuid().as_raw() {
        take_over(path, spare)?;
    }
    seal_and_digest(path, is_executable(meta))
}

/// Sealed before it is read, and looked at again after, so a writer that is still there is an error and never a wrong digest.
pub(crate) fn seal_and_digest(path: &Path, executable: bool) -> Result<(Digest, u64)> {
    seal(path, executable)?;
    let file = open_plain(path).map_err(at("read", path))?;
    let (digest, size) = Digest::of_reader(&file, executable).map_err(at("read", path))?;
    let after = file.metadata().map_err(at("look at", path))?;
    if !file_is_sealed(&after, size, executable) {
        return Err(Error::new(format!(
            "{} changed while it was stored: something still writes to it",
            path.display()
        )));
    }
    Ok((digest, size))
}

/// Another owner could change the file behind the seal: root takes it, anyone else copies it.
fn take_over(path: &Path, spare: &Path) -> Result<()> {
    let me = (rustix::process::geteuid(), rustix::process::getegid());
    if rustix::fs::chownat(CWD, path, Some(me.0), Some(me.1), AtFlags::SYMLINK_NOFOLLOW).is_ok() {
        return Ok(());
    }
    copy(path, spare)?;
    fs::rename(spare, path).map_err(at("replace", path))
}

/// Makes a regular file read-only and sets its sealed time.
pub(crate) fn seal(path: &Path, executable: bool) -> Result<()> {
    fs::set_permissions(path, Permissions::from_mode(Access::Own.sealed_mode(executable)))
        .map_err(at("set the mode of", path))?;
    seal_time(path)
}

/// Sets the sealed time of a file, a folder or a symlink itself.
pub(crate) fn seal_time(path: &Path) -> Result<()> {
    let times = Timestamps {
        last_access: Timespec { tv_sec: 0, tv_nsec: UTIME_OMIT },
        last_modification: Timespec { tv_sec: SEALED_AT, tv_nsec: 0 },
    };
    rustix::fs::utimensat(CWD, path, &times, AtFlags::SYMLINK_NOFOLLOW).map_err(at("set the time of", path))
}

/// Opens for reading; refuses to follow a symlink and never waits for a fifo.
pub(crate) fn open_plain(path: &Path) -> io::Result<File> {
    let flags = rustix::fs::OFlags::NOFOLLOW | rustix::fs::OFlags::NONBLOCK;
    fs::OpenOptions::new().read(true).custom_flags(flags.bits().cast_signed()).open(path)
}

/// Writes a new file of its own, sealed.
pub(crate) fn write_sealed(path: &Path, content: &[u8], executable: bool) -> Result<()> {
    write_new(path, content)?;
    seal(path, executable)
}

/// Writes a file that does not exist yet; what was written of it is removed on an error.
pub(crate) fn write_new(path: &Path, content: &[u8]) -> Result<()> {
    let mut file = File::create_new(path).map_err(at("create", path))?;
    io::Write::write_all(&mut file, content).map_err(|e| {
        let _ = fs::remove_file(path);
        at("write", path)(e)
    })
}

/// Copies content and permissions; what was written is removed on an error.
pub(crate) fn copy(from: &Path, to: &Path) -> Result<()> {
    fs::copy(from, to).map(drop).map_err(|e| {
        let _ = fs::remove_file(to);
        at(&format!("copy {} to", from.display()), to)(e)
    })
}

/// Copies the content of a regular file to a new one; `false` when it is none (any more).
pub(crate) fn copy_plain(from: &Path, to: &Path) -> Result<bool> {
    let mut file = match open_plain(from) {
        Ok(file) if file.metadata().is_ok_and(|meta| meta.is_file()) => file,
        Ok(_) => return Ok(false),
        Err(_) if !look(from)?.is_some_and(|meta| meta.is_file()) => return Ok(false),
        Err(e) => return Err(at("read", from)(e)),
    };
    let mut new = File::create_new(to).map_err(at("create", to))?;
    io::copy(&mut file, &mut new).map_err(at(&format!("copy {} to", from.display()), to))?;
    Ok(true)
}

/// A new sealed inode with the content of a sealed file.
pub(crate) fn copy_sealed(from: &Path, to: &Path, executable: bool) -> Result<()> {
    copy(from, to)?;
    seal(to, executable)
}

/// A hard link, or a sealed copy where there can be none.
pub(crate) fn link_or_copy(from: &Path, to: &Path, executable: bool) -> Result<()> {
    match fs::hard_link(from, to) {
        Err(e) if no_link(&e, from) => copy_sealed(from, to, executable),
        other => other.map_err(at("link", to)),
    }
}

/// Whether an error means that `from` can have no further link: it has as many as the file system allows (65,000 on ext4), or is another user's.
pub(crate) fn no_link(error: &io::Error, from: &Path) -> bool {
    match error.kind() {
        io::ErrorKind::TooManyLinks => true,
        io::ErrorKind::PermissionDenied => is_anothers(from),
        _ => false,
    }
}

/// Metadata of the path itself, or `None` when there is nothing.
pub(crate) fn look(path: &Path) -> Result<Option<Metadata>> {
    match fs::symlink_metadata(path) {
        Ok(meta) => Ok(Some(meta)),
        Err(e) if matches!(e.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => Ok(None),
        Err(e) => Err(at("look at", path)(e)),
    }
}

/// A tick of the slowest clock that files get their times from is two seconds long (FAT); Linux's own moves 100 to 1000 times a second.
const TICK: Duration = Duration::from_secs(2);

/// Waits until the clock of the file system is later than the last change of these files: what is done to one of them from now on leaves another time.
/// `probe` is a file there that is touched.
pub(crate) fn outlast(probe: &Path, files: &[Metadata]) -> Result<()> {
    let Some(last) = files.iter().map(|meta| (meta.ctime(), meta.ctime_nsec())).max() else { return Ok(()) };
    let file = File::options().write(true).open(probe).map_err(at("open", probe))?;
    let begun = Instant::now();
    loop {
        file.set_modified(SystemTime::now()).map_err(at("set the time of", probe))?;
        let meta = file.metadata().map_err(at("look at", probe))?;
        if (meta.ctime(), meta.ctime_nsec()) > last || begun.elapsed() > TICK {
            return Ok(());
        }
        std::thread::sleep(Duration::from_millis(1));
    }
}

/// Bytes on the disk of a folder and all below it, of each file once; of a file its own. What is gone by now, or cannot be read, has none.
pub(crate) fn blocks_below(path: &Path) -> u64 {
    blocks(path, &Mutex::default())
}

fn blocks(path: &Path, seen: &Mutex<HashSet<(u64, u64)>>) -> u64 {
    let Ok(meta) = fs::symlink_metadata(path) else { return 0 };
    let is_first = |meta: &Metadata| {
        let mut seen = seen.lock().unwrap_or_else(PoisonError::into_inner);
        seen.insert((meta.dev(), meta.ino()))
    };
    if meta.is_file() && meta.nlink() > 1 && !is_first(&meta) {
        return 0;
    }
    let mut bytes = meta.blocks() * 512;
    if meta.is_dir() {
        let entries: Vec<PathBuf> = fs::read_dir(path).into_iter().flatten().flatten().map(|e| e.path()).collect();
        bytes += entries.par_iter().map(|entry| blocks(entry, seen)).sum::<u64>();
    }
    bytes
}

/// Content up to this size is cheap enough to be read at each use.
pub(crate) const SMALL: u64 = 4 << 20;

/// The names and paths of the files of a folder that may have no others than plain ones.
pub(crate) fn plain_files(folder: &Path) -> Result<Vec<(String, PathBuf)>> {
    let mut files = Vec::new();
    for entry in fs::read_dir(folder).map_err(at("read the folder", folder))? {
        let path = entry.map_err(at("read the folder", folder))?.path();
        if !look(&path)?.is_some_and(|meta| meta.is_file()) {
            return Err(Error::new(format!("{} is not a plain file", path.display())));
        }
        files.push((path.file_name().unwrap_or_default().to_string_lossy().into_owned(), path));
    }
    Ok(files)
}

/// The plain digest of a file's content, if that is small.
pub(crate) fn small_digest(path: &Path, size: u64) -> Result<Option<Digest>> {
    let read = || fs::read(path).map(|content| Digest::of(&content));
    (size <= SMALL).then(read).transpose().map_err(at("read", path))
}

/// Whether the content still has that digest, where it has one.
pub(crate) fn has_content(path: &Path, digest: Option<&Digest>) -> bool {
    digest.is_none_or(|digest| fs::read(path).is_ok_and(|content| Digest::of(&content) == *digest))
}

/// Removes a folder and all in it, also folders that a build made unreadable or read-only.
pub(crate) fn remove_tree(path: &Path) -> io::Result<()> {
    match fs::remove_dir_all(path) {
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(e) if e.kind() == io::ErrorKind::PermissionDenied => {
            open_folders(path)?;
            fs::remove_dir_all(path)
        }
        other => other,
    }
}

/// As [`remove_tree`], but what is still in use is left there without an error: on NFS a file that somebody has open.
pub(crate) fn remove_closed(path: &Path) -> Result<()> {
    match remove_tree(path) {
        Err(e) if !in_use(&e) => Err(at("remove", path)(e)),
        _ => Ok(()),
    }
}

/// Whether something could not be removed since somebody has a file of it open on NFS, writes into it, or has mounted something there.
fn in_use(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::DirectoryNotEmpty | io::ErrorKind::ResourceBusy)
}

fn open_folders(path: &Path) -> io::Result<()> {
    fs::set_permissions(path, Permissions::from_mode(0o700))?;
    for entry in fs::read_dir(path)? {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            open_folders(&entry.path())?;
        }
    }
    Ok(())
}

/// The digest that is the name of the file.
pub(crate) fn digest_of(path: &Path) -> Option<Digest> {
    path.file_name()?.to_str()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn any_write_breaks_the_seal() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("file");
        let sealed = || file_is_sealed(&fs::symlink_metadata(&path).unwrap(), 3, true);
        write_sealed(&path, b"abc", true).unwrap();
        assert!(sealed());
        // Same length, and root may write to a read-only file: the time tells.
        fs::set_permissions(&path, Permissions::from_mode(0o755)).unwrap();
        fs::write(&path, b"abd").unwrap();
        fs::set_permissions(&path, Permissions::from_mode(0o555)).unwrap();
        assert!(!sealed());
        seal(&path, true).unwrap();
        assert!(sealed());
        fs::set_permissions(&path, Permissions::from_mode(0o755)).unwrap();
        assert!(!sealed());
    }

    #[test]
    fn a_copy_is_another_sealed_inode() {
        let folder = tempfile::tempdir().unwrap();
        let (from, to) = (folder.path().join("from"), folder.path().join("to"));
        write_sealed(&from, b"abc", false).unwrap();
        copy_sealed(&from, &to, false).unwrap();
        let (a, b) = (fs::metadata(&from).unwrap(), fs::metadata(&to).unwrap());
        assert_ne!(a.ino(), b.ino());
        assert!(file_is_sealed(&b, 3, false));
    }

    #[test]
    fn locked_folders_are_removed() {
        let folder = tempfile::tempdir().unwrap();
        let top = folder.path().join("top");
        fs::create_dir_all(top.join("a/b")).unwrap();
        fs::write(top.join("a/b/file"), "x").unwrap();
        for locked in ["a/b", "a"] {
            fs::set_permissions(top.join(locked), Permissions::from_mode(0o000)).unwrap();
        }
        remove_tree(&top).unwrap();
        assert!(!top.exists());
        remove_tree(&top).unwrap();
    }
}
