//! Looks at single items of a source folder: what `lstat` says, what they are, and the digest of a file that holds still.
//!
//! Does not know what was there before or which items belong to the source.

use crate::error::{Result, at};
use crate::files::open_plain;
use crate::objects::symlink_target;
use crate::walk::refuse_special;
use crate::{Digest, Error, Node};
use rustix::fs::{AtFlags, FileType, Mode, OFlags};
use serde::{Deserialize, Serialize};
use std::fs::File;
use std::io;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

/// The coarsest time stamps of file systems in use, in nanoseconds: 2 s on FAT.
const COARSEST: i128 = 2_000_000_000;
/// How often a file is read before it counts as one that keeps changing.
const TRIES: u32 = 4;

/// An open source folder: items are looked at from it, which needs no memory and no walk from `/` for each.
pub(super) struct Root {
    /// Absolute.
    pub(super) path: PathBuf,
    folder: OwnedFd,
}

impl Root {
    pub(super) fn open(path: PathBuf) -> Result<Self> {
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let folder = rustix::fs::open(&path, flags, Mode::empty()).map_err(at("read the folder", &path))?;
        Ok(Self { path, folder })
    }

    /// What `lstat` says of a path from the root.
    pub(super) fn lstat(&self, path: impl rustix::path::Arg) -> io::Result<Stat> {
        Ok(Stat::of(&rustix::fs::statat(&self.folder, path, AtFlags::SYMLINK_NOFOLLOW)?))
    }

    /// For looking at many items that lie side by side.
    pub(super) fn folders(&self) -> Folders<'_> {
        Folders { root: self, last: None }
    }

    /// What `stat` says, which follows symlinks; `None` when nothing can be said.
    pub(super) fn stat(&self, path: impl rustix::path::Arg) -> Option<Stat> {
        rustix::fs::statat(&self.folder, path, AtFlags::empty()).ok().map(|stat| Stat::of(&stat))
    }
}

/// Remembers the folder of the item that was looked at last: from there the way to its neighbours is shorter.
pub(super) struct Folders<'a> {
    root: &'a Root,
    last: Option<(String, OwnedFd)>,
}

impl Folders<'_> {
    /// What `lstat` says of a path from the root.
    pub(super) fn lstat(&mut self, path: &str) -> io::Result<Stat> {
        let Some((folder, name)) = path.rsplit_once('/') else { return self.root.lstat(path) };
        if self.last.as_ref().is_none_or(|(last, _)| last != folder) {
            let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
            let open = rustix::fs::openat(&self.root.folder, folder, flags, Mode::empty())?;
            self.last = Some((folder.to_owned(), open));
        }
        match &self.last {
            Some((_, open)) => Ok(Stat::of(&rustix::fs::statat(open, name, AtFlags::SYMLINK_NOFOLLOW)?)),
            None => self.root.lstat(path),
        }
    }
}

/// What `lstat` must say for what was seen to hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Stat {
    dev: u64,
    ino: u64,
    pub(super) size: u64,
    mtime: (i64, u64),
    ctime: (i64, u64),
    mode: u32,
}

impl Stat {
    /// What `lstat` says of a path; `None` when nothing can be said.
    pub(super) fn at(path: &Path) -> Option<Self> {
        rustix::fs::lstat(path).ok().map(|stat| Self::of(&stat))
    }

    fn of(stat: &rustix::fs::Stat) -> Self {
        Self {
            dev: stat.st_dev,
            ino: stat.st_ino,
            size: stat.st_size.cast_unsigned(),
            mtime: (stat.st_mtime, stat.st_mtime_nsec),
            ctime: (stat.st_ctime, stat.st_ctime_nsec),
            mode: stat.st_mode,
        }
    }

    /// Adds it to a digest of many.
    pub(super) fn hash(&self, hasher: &mut blake3::Hasher) {
        let Self { dev, ino, size, mtime, ctime, mode } = self;
        let mut bytes = [0; 60];
        let numbers = [*dev, *ino, *size, mtime.0.cast_unsigned(), mtime.1, ctime.0.cast_unsigned(), ctime.1];
        for (place, number) in bytes.chunks_exact_mut(8).zip(numbers) {
            place.copy_from_slice(&number.to_le_bytes());
        }
        bytes[56..].copy_from_slice(&mode.to_le_bytes());
        hasher.update(&bytes);
    }

    pub(super) fn is_folder(&self) -> bool {
        self.kind() == FileType::Directory
    }

    fn kind(&self) -> FileType {
        FileType::from_raw_mode(self.mode)
    }

    fn is_executable(&self) -> bool {
        self.mode & 0o100 != 0
    }

    /// Whether a change after `now` could leave the same times. `now` is in nanoseconds since 1970.
    pub(super) fn is_racy(&self, now: i128) -> bool {
        let nanoseconds = |(s, ns): (i64, u64)| i128::from(s) * 1_000_000_000 + i128::from(ns);
        nanoseconds(self.mtime).max(nanoseconds(self.ctime)) + COARSEST > now
    }
}

/// Whether an error says that nothing is there.
pub(super) fn is_gone(e: &io::Error) -> bool {
    matches!(e.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory)
}

/// What is at a path below the root now, and the `lstat` with which that holds; `None` when it is gone.
pub(super) fn see(root: &Root, path: &str) -> Result<Option<(Node, Stat)>> {
    let full = root.path.join(path);
    let stat = match root.lstat(path) {
        Err(e) if is_gone(&e) => return Ok(None),
        other => other.map_err(at("look at", &full))?,
    };
    refuse_special(&full, stat.mode)?;
    match stat.kind() {
        FileType::Directory => Ok(Some((Node::Folder, stat))),
        FileType::Symlink => Ok(Some((Node::Symlink { target: symlink_target(&full)? }, stat))),
        _ => {
            let read = digest_stable(root, path, |file, executable| Digest::of_reader(file, executable))?;
            Ok(read
                .map(|(digest, stat)| (Node::File { digest, size: stat.size, executable: stat.is_executable() }, stat)))
        }
    }
}

/// The digest of a file that did not change while it was read, and what `lstat` says of it. `None` when it is gone.
pub(super) fn digest_stable(
    root: &Root,
    path: &str,
    mut read: impl FnMut(&File, bool) -> io::Result<(Digest, u64)>,
) -> Result<Option<(Digest, Stat)>> {
    let full: &Path = &root.path.join(path);
    for _ in 0..TRIES {
        let file = match open_plain(full) {
            Err(e) if is_gone(&e) => return Ok(None),
            other => other.map_err(at("read", full))?,
        };
        let before = Stat::of(&rustix::fs::fstat(&file).map_err(at("look at", full))?);
        if before.kind() != FileType::RegularFile {
            return Err(Error::new(format!("{} changed into something else while it was read", full.display())));
        }
        let (digest, size) = read(&file, before.is_executable()).map_err(at("read", full))?;
        match root.lstat(path) {
            Ok(after) if after == before && size == after.size => return Ok(Some((digest, after))),
            Err(e) if !is_gone(&e) => return Err(at("look at", full)(e)),
            _ => {}
        }
    }
    Err(Error::new(format!(
        "{} changed while it was read, {TRIES} times in a row: something writes to it",
        full.display()
    )))
}
