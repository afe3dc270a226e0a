//! What a build that dies has to leave as it was: before it begins, what lies in the folder is noted, and of what cannot be made
//! again without losing something a copy is kept; when it died, all is put back.
//!
//! To remove what it wrote is not enough. A compiler writes the list of headers that an object depends on before the object: with
//! the list removed and the old object still there, `make` would know of no header, and an edit of one would stay uncompiled. So
//! the list is put back. Objects and libraries are no such lists, and large: those that changed are only removed, to be made again.
//!
//! Whether a file changed is told by all that `lstat` says being the same, and by no comparison of times: the clock may have been
//! set. Does not know what was brought in; the next sync looks at that.

use super::order::{set_time, time};
use super::{Scratch, Stat};
use crate::codec::What;
use crate::error::{Result, at};
use crate::files::{look, open_plain, remove_tree, write_new};
use crate::{Digest, Key, lock};
use fs4::{FileExt, TryLockError};
use rayon::prelude::*;
use serde::{Deserialize, Serialize};
use std::collections::{HashMap, HashSet};
use std::ffi::OsStr;
use std::fs::{self, File, Metadata, Permissions};
use std::io::{self, Read};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// The file that is there while a build writes to the folder; locked by all its processes.
pub(super) const RUNNING: &str = "running";
/// The list, and the folder of the copies by their digest.
const WHOLE: &str = "whole";
const COPIES: &str = "copies";
/// So long the kernel may take to end the processes of one that was killed.
const DYING: Duration = if cfg!(test) { Duration::from_millis(300) } else { Duration::from_secs(10) };
/// Files larger than this, in bytes, are not copied.
const LARGEST: u64 = 64 << 20;
/// The first bytes of what compilers and archivers make: ELF, libraries, thin libraries.
const OBJECTS: [&[u8]; 3] = [b"\x7fELF", b"!<arch>\n", b"!<thin>\n"];

#[derive(Serialize, Deserialize)]
struct Whole {
    family: Key,
    owner: Vec<u8>,
    /// By path below `work`, a folder before what is in it.
    left: Vec<(Vec<u8>, Stat, PutBack)>,
}

/// How a path is put back.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
enum PutBack {
    Folder,
    Symlink(Vec<u8>),
    /// The copy has this digest.
    Copy(Digest),
    /// Made again when it is missing.
    Object,
    /// Neither: when it changed, nothing in the folder can be trusted.
    Not,
}

impl Scratch {
    /// Notes what is in the folder.
    pub(super) fn note_whole(&self) -> Result<()> {
        let copies = self.folder.join(COPIES);
        fs::create_dir_all(&copies).map_err(at("create the folder", &copies))?;
        let there = names(&copies)?;
        let before = self.whole()?.map(|whole| whole.left).unwrap_or_default();
        let before: HashMap<&[u8], (&Stat, &PutBack)> =
            before.iter().map(|(path, stat, kept)| (path.as_slice(), (stat, kept))).collect();
        let note = |(path, meta): (PathBuf, Metadata)| {
            let (bytes, stat) = (path.as_os_str().as_bytes(), Stat::of(&meta));
            let known = before.get(bytes).filter(|(then, kept)| match kept {
                PutBack::Copy(digest) => **then == stat && there.contains(digest.to_string().as_str()),
                _ => **then == stat,
            });
            let kept = match known {
                Some((_, kept)) => (*kept).clone(),
                None => self.keep(&path, &meta)?,
            };
            Ok((bytes.to_owned(), stat, kept))
        };
        let left: Vec<(Vec<u8>, Stat, PutBack)> =
            self.left()?.into_par_iter().with_min_len(64).map(note).collect::<Result<_>>()?;
        let wanted: HashSet<String> = left
            .iter()
            .filter_map(|(_, _, kept)| if let PutBack::Copy(digest) = kept { Some(digest.to_string()) } else { None })
            .collect();
        let newest = left.iter().map(|(_, stat, _)| stat.ctime).max();
        let whole = Whole { family: self.family, owner: self.owner.clone(), left };
        self.cache.store(What::Whole, &self.folder.join(WHOLE), &whole)?;
        for name in there.iter().filter(|name| !wanted.contains(*name)) {
            let copy = copies.join(name);
            fs::remove_file(&copy).map_err(at("remove", &copy))?;
        }
        self.wait_for_a_tick(newest)
    }

    /// What is written after this has another time of change than what was noted.
    fn wait_for_a_tick(&self, newest: Option<(i64, i64)>) -> Result<()> {
        while Some(super::order::clock(&self.folder).map(super::order::time_of)?) == newest {
            std::thread::sleep(Duration::from_millis(1));
        }
        Ok(())
    }

    fn keep(&self, path: &Path, meta: &Metadata) -> Result<PutBack> {
        let full = self.path().join(path);
        if meta.is_dir() {
            return Ok(PutBack::Folder);
        }
        if meta.is_symlink() {
            let target = fs::read_link(&full).map_err(at("read", &full))?;
            return Ok(PutBack::Symlink(target.into_os_string().into_vec()));
        }
        if !meta.is_file() {
            return Ok(PutBack::Object);
        }
        let mut file = match open_plain(&full) {
            Err(e) if e.kind() == io::ErrorKind::PermissionDenied => return Ok(PutBack::Not),
            other => other.map_err(at("read", &full))?,
        };
        let mut content = Vec::new();
        let longest = OBJECTS.iter().map(|magic| magic.len() as u64).max().unwrap_or_default();
        Read::by_ref(&mut file).take(longest).read_to_end(&mut content).map_err(at("read", &full))?;
        if OBJECTS.iter().any(|magic| content.starts_with(magic)) {
            return Ok(PutBack::Object);
        }
        if meta.len() > LARGEST {
            return Ok(PutBack::Not);
        }
        file.read_to_end(&mut content).map_err(at("read", &full))?;
        let digest = Digest::of(&content);
        let copy = self.copy(&digest);
        if look(&copy)?.is_none() {
            let new = self.cache.workspace()?.fresh();
            write_new(&new, &content)?;
            self.cache.rename_into(&new, &copy).map_err(at("store", &copy))?;
        }
        Ok(PutBack::Copy(digest))
    }

    /// Puts back what a build changed that died. `false`: that cannot be done.
    pub(super) fn undo(&mut self) -> Result<bool> {
        let mark = self.folder.join(RUNNING);
        if look(&mark)?.is_none() {
            return Ok(true);
        }
        if !is_over(&mark)? {
            return Ok(false);
        }
        let Some(whole) = self.whole()? else { return Ok(false) };
        match self.put_back(&whole) {
            Ok(true) => {}
            Err(e) if e.io_kind() == Some(io::ErrorKind::StorageFull) => return Err(e),
            // A folder that a build has locked, for example: then everything goes.
            Ok(false) | Err(_) => return Ok(false),
        }
        self.cache.sync()?;
        fs::remove_file(&mark).map_err(at("remove", &mark))?;
        Ok(true)
    }

    fn put_back(&self, whole: &Whole) -> Result<bool> {
        let work = self.path();
        let was: HashMap<&[u8], (&Stat, &PutBack)> =
            whole.left.iter().map(|(path, stat, kept)| (path.as_slice(), (stat, kept))).collect();
        let mut same = HashSet::new();
        // What is in a folder comes before the folder.
        for (path, meta) in self.left()?.into_iter().rev() {
            let full = work.join(&path);
            match was.get(path.as_os_str().as_bytes()) {
                Some((_, PutBack::Folder)) if meta.is_dir() => {}
                Some((stat, _)) if **stat == Stat::of(&meta) => drop(same.insert(path.into_os_string().into_vec())),
                // Fails, and the folder stays, if something in it was brought in.
                _ if meta.is_dir() => drop(fs::remove_dir(&full)),
                _ => fs::remove_file(&full).map_err(at("remove", &full))?,
            }
        }
        for (path, stat, kept) in whole.left.iter().filter(|(path, ..)| !same.contains(path)) {
            let full = work.join(OsStr::from_bytes(path));
            if *kept == PutBack::Folder {
                fs::create_dir_all(&full).map_err(at("create the folder", &full))?;
                continue;
            }
            if look(&full)?.is_some_and(|meta| meta.is_dir()) {
                remove_tree(&full).map_err(at("remove", &full))?;
            }
            match kept {
                PutBack::Symlink(target) => {
                    std::os::unix::fs::symlink(OsStr::from_bytes(target), &full).map_err(at("create", &full))?;
                }
                PutBack::Copy(digest) => {
                    let Some(content) =
                        fs::read(self.copy(digest)).ok().filter(|content| Digest::of(content) == *digest)
                    else {
                        return Ok(false);
                    };
                    write_new(&full, &content)?;
                    fs::set_permissions(&full, Permissions::from_mode(stat.mode & 0o7777))
                        .map_err(at("set the mode of", &full))?;
                }
                PutBack::Object | PutBack::Folder => continue,
                PutBack::Not => return Ok(false),
            }
            set_time(&full, stat.mtime)?;
        }
        // Folders at last: what comes and goes in one changes its time, and a folder may be a target.
        for (path, stat, _) in whole.left.iter().filter(|(_, _, kept)| *kept == PutBack::Folder) {
            let full = work.join(OsStr::from_bytes(path));
            if look(&full)?.is_some_and(|meta| time(&meta) != stat.mtime) {
                set_time(&full, stat.mtime)?;
            }
        }
        Ok(true)
    }

    fn whole(&self) -> Result<Option<Whole>> {
        let whole = self.cache.load::<Whole>(What::Whole, &self.folder.join(WHOLE))?;
        Ok(whole.filter(|whole| whole.family == self.family && whole.owner == self.owner))
    }

    fn copy(&self, digest: &Digest) -> PathBuf {
        self.folder.join(COPIES).join(digest.to_string())
    }
}

/// Makes the mark, locked. Whoever inherits the file holds the lock, too.
pub(super) fn mark(folder: &Path) -> Result<File> {
    let path = folder.join(RUNNING);
    match fs::remove_file(&path) {
        Err(e) if e.kind() != io::ErrorKind::NotFound => return Err(at("remove", &path)(e)),
        _ => {}
    }
    let file = File::create_new(&path).map_err(at("create", &path))?;
    match FileExt::try_lock(&file) {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => Err(at("lock", &path)(io::Error::from(io::ErrorKind::WouldBlock))),
        Err(TryLockError::Error(e)) => Err(at("lock", &path)(e)),
    }
}

/// Whether the mark is still this one.
pub(super) fn is_marked(folder: &Path, mark: &File) -> Result<bool> {
    let path = folder.join(RUNNING);
    let ours = mark.metadata().map_err(at("look at", &path))?;
    Ok(look(&path)?.is_some_and(|there| (there.dev(), there.ino()) == (ours.dev(), ours.ino())))
}

/// Waits until the last process of a build that died is gone: the lock of the folder is free a moment before. `false`: it stays.
fn is_over(mark: &Path) -> Result<bool> {
    let file = lock::open_alone(mark).map_err(at("open", mark))?;
    let start = Instant::now();
    loop {
        match FileExt::try_lock(&file) {
            Ok(()) => return Ok(true),
            Err(TryLockError::WouldBlock) if start.elapsed() < DYING => std::thread::sleep(Duration::from_millis(5)),
            Err(TryLockError::WouldBlock) => return Ok(false),
            Err(TryLockError::Error(e)) => return Err(at("lock", mark)(e)),
        }
    }
}

fn names(folder: &Path) -> Result<HashSet<String>> {
    let entries = fs::read_dir(folder).map_err(at("read the folder", folder))?;
    Ok(entries.flatten().filter_map(|entry| entry.file_name().into_string().ok()).collect())
}
