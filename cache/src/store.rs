//! The open cache: its root, its format version, and how structured files are read and written.
//!
//! Does not know what is in the structured files; the other modules add the methods that do.

use crate::access::{Access, FOLDER};
use crate::codec::{self, What};
use crate::collect::note_use;
use crate::error::{Result, at};
use crate::files::{remove_closed, write_new};
use crate::workspace::Workspace;
use crate::{Digest, Error, Key, Record};
use serde::{Serialize, de::DeserializeOwned};
use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// <https://bford.info/cachedir/>: backup programs skip the folder.
const CACHEDIR_TAG: &str = "Signature: 8a477f597d28d172789f06886806bc55\n# A cache of build results. Delete the folder at any time: it only costs time.\n";

/// An open cache. Clones are handles of the same cache; all methods may be called from any thread.
#[derive(Debug, Clone)]
pub struct Cache(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    root: PathBuf,
    access: Access,
    /// What this user has alone lies in it.
    own: PathBuf,
    /// Made when it is first needed: a run with nothing to do writes nothing.
    workspace: Mutex<Option<Arc<Workspace>>>,
    damaged: Mutex<Vec<PathBuf>>,
}

impl Cache {
    /// Opens the cache in this folder; makes it when the folder is missing or empty. It stays what it was made as, its user's alone or a group's
    /// ([`Cache::group`]): a group's where the empty folder is writable for its group, has the setgid bit, and is closed for all others.
    ///
    /// # Errors
    /// A folder that holds something else, a cache of another format version, or of a group of others: the message says which and what to do.
    pub fn open(root: &Path) -> Result<Self> {
        Self::open_as(root, false)
    }

    /// The same, and it has to be a group's: one that is made here is that of the folder's group.
    ///
    /// # Errors
    /// As [`Cache::open`]; a cache that is there and is one user's.
    pub fn open_shared(root: &Path) -> Result<Self> {
        Self::open_as(root, true)
    }

    fn open_as(root: &Path, wants_group: bool) -> Result<Self> {
        let root = std::path::absolute(root).map_err(at("find", root))?;
        let version = root.join("version");
        let (private, shared) =
            (format!("quiz-cache {}\n", codec::FORMAT), format!("quiz-cache {} group\n", codec::FORMAT));
        let look = || fs::metadata(&root).map_err(at("look at", &root));
        let of = || Access::of(&root, &look()?, wants_group);
        let is = match fs::read_to_string(&version) {
            // Whatever its folder says: it was made so before anybody thought of groups, or by who has no such thing in mind.
            Ok(found) if found == private && !wants_group => Access::Own,
            Ok(found) if found == private => return Err(Access::not_shared(&root)),
            Ok(found) if found == shared => match of()? {
                Access::Own => return Err(Access::lost(&root)),
                group => group,
            },
            Ok(found) => {
                return Err(Error::new(format!(
                    "{} says `{}`, but this program reads and writes `{}`: delete the cache (it only costs time) or use another folder",
                    version.display(),
                    found.trim().escape_debug(),
                    private.trim()
                )));
            }
            Err(e) if e.kind() == io::ErrorKind::NotFound => {
                let is_groups = wants_group || look().is_ok_and(|meta| Access::is_meant(&meta));
                create(&root, &version, if is_groups { &shared } else { &private }, is_groups)?
            }
            // Of a group that this user is not in nothing can be read.
            Err(e) => return Err(of().map_or_else(|error| error, |_| at("read", &version)(e))),
        };
        let own = is.own_folder(&root)?;
        Ok(Self(Arc::new(Inner { root, access: is, own, workspace: Mutex::default(), damaged: Mutex::default() })))
    }

    /// The folder of the cache, absolute.
    pub fn root(&self) -> &Path {
        &self.0.root
    }

    /// The folder of what this user has alone: that of the cache, or in a group's one in it that others cannot enter.
    pub fn own(&self) -> &Path {
        &self.0.own
    }

    pub(crate) fn access(&self) -> Access {
        self.0.access
    }

    /// What the key led to; `None` also when the record is damaged (see [`Cache::damaged`]). Its objects need not be there.
    ///
    /// # Errors
    /// When the cache cannot be read.
    pub fn record(&self, key: &Key) -> Result<Option<Record>> {
        let path = self.place("records", key.digest());
        let record = self.load::<Record>(What::Record, &path)?;
        if record.as_ref().is_some_and(|r| r.key != *key) {
            self.note_damage(path);
            return Ok(None);
        }
        Ok(record)
    }

    /// Where the last log of a key lies, if it was ever made here: written while it is made, kept whether it succeeds or fails.
    pub fn log_path(&self, key: &Key) -> PathBuf {
        self.place("logs", key.digest())
    }

    /// The files that were found damaged since the last call. They count as missing and are written again when made again.
    pub fn damaged(&self) -> Vec<PathBuf> {
        std::mem::take(&mut *locked(&self.0.damaged))
    }

    pub(crate) fn note_damage(&self, path: PathBuf) {
        locked(&self.0.damaged).push(path);
    }

    /// `<folder>/<first two digits>/<all digits>`.
    pub(crate) fn place(&self, folder: &str, digest: &Digest) -> PathBuf {
        let hex = digest.to_string();
        let mut path = self.folder(folder);
        path.push(&hex[..2]);
        path.push(hex);
        path
    }

    /// What lies in a folder of the cache, each by its digest, sorted.
    pub(crate) fn entries(&self, folder: &str) -> Vec<PathBuf> {
        let list = |path: &Path| fs::read_dir(path).into_iter().flatten().flatten().map(|entry| entry.path());
        let mut all: Vec<PathBuf> = list(&self.folder(folder)).flat_map(|dd| list(&dd).collect::<Vec<_>>()).collect();
        all.sort();
        all
    }

    /// The temporary place of this handle.
    pub(crate) fn workspace(&self) -> Result<Arc<Workspace>> {
        let mut workspace = locked(&self.0.workspace);
        if let Some(workspace) = &*workspace {
            return Ok(Arc::clone(workspace));
        }
        let new = Arc::new(Workspace::new(self)?);
        *workspace = Some(Arc::clone(&new));
        Ok(new)
    }

    /// Takes a folder away as a whole, and removes it: half of one could be taken for one that is good. What cannot be removed yet, as on NFS a
    /// folder of which somebody has a file open, goes with the temporary place, or when a later one is made.
    pub(crate) fn take_away(&self, folder: &Path) -> Result<()> {
        let gone = self.workspace()?.fresh();
        match fs::rename(folder, &gone) {
            // The folder is missing, and not the temporary place.
            Err(e) if e.kind() == io::ErrorKind::NotFound && folder.symlink_metadata().is_err() => Ok(()),
            Err(e) => Err(at("remove", folder)(e)),
            Ok(()) => remove_closed(&gone),
        }
    }

    /// Reads a structured file; `None` when it is missing or damaged. That counts as a use.
    pub(crate) fn load<T: DeserializeOwned>(&self, what: What, path: &Path) -> Result<Option<T>> {
        self.read(what, path, note_use)
    }

    /// The same, but it does not count.
    pub(crate) fn peek<T: DeserializeOwned>(&self, what: What, path: &Path) -> Result<Option<T>> {
        self.read(what, path, |_| {})
    }

    fn read<T: DeserializeOwned>(&self, what: What, path: &Path, used: fn(&File)) -> Result<Option<T>> {
        let mut content = Vec::new();
        let file = match File::open(path) {
            Ok(file) => file,
            Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(e) => return Err(at("read", path)(e)),
        };
        used(&file);
        // What is longer is not ours, and may be longer than any memory.
        let is_ours = file.metadata().map_err(at("read", path))?.len() <= codec::LONGEST;
        if is_ours {
            (&file).take(codec::LONGEST).read_to_end(&mut content).map_err(at("read", path))?;
        }
        let value = if is_ours { codec::decode(what, &content) } else { None };
        if value.is_none() {
            self.note_damage(path.to_owned());
        }
        Ok(value)
    }

    /// Writes a structured file: whole or not at all.
    pub(crate) fn store<T: Serialize>(&self, what: What, path: &Path, value: &T) -> Result<()> {
        let written = self.workspace()?.fresh();
        write_new(&written, &self.encoded(what, value, path)?)?;
        self.put_file(&written, path).map_err(|e| {
            let _ = fs::remove_file(&written);
            at("store", path)(e)
        })
    }

    /// The bytes of a structured file that is to lie at `path`.
    pub(crate) fn encoded<T: Serialize>(&self, what: What, value: &T, path: &Path) -> Result<Vec<u8>> {
        codec::encode(what, value).map_err(|why| Error::new(format!("cannot write {}: {why}", path.display())))
    }
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // Nothing panics while it is held, and what it holds is whole after every line.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn create(root: &Path, version: &Path, content: &str, is_groups: bool) -> Result<Access> {
    // Who could write to it would decide what is built and run.
    let mode = if is_groups { 0o755 } else { 0o700 };
    let parent = root.parent().unwrap_or(root);
    fs::DirBuilder::new().recursive(true).mode(mode).create(parent).map_err(at("create the folder", parent))?;
    fs::DirBuilder::new().recursive(true).mode(0o700).create(root).map_err(at("create the folder", root))?;
    for entry in fs::read_dir(root).map_err(at("read the folder", root))? {
        let name = entry.map_err(at("read the folder", root))?.file_name();
        // Another process may be creating the same cache.
        let ours = name == "version"
            || name == "CACHEDIR.TAG"
            || name == FOLDER
            || [".version", ".new-"].iter().any(|start| name.to_string_lossy().starts_with(start));
        if !ours && !version.exists() {
            return Err(Error::new(format!(
                "{} is not a cache and not empty (it has `{}` in it): use another folder",
                root.display(),
                name.display()
            )));
        }
    }
    let access = if is_groups { Access::make_groups(root)? } else { Access::Own };
    access.own_folder(root)?;
    let write = |path: &Path, content: &str| -> Result<()> {
        let mut file =
            tempfile::Builder::new().prefix(".version").tempfile_in(root).map_err(at("create a file in", root))?;
        file.write_all(content.as_bytes()).map_err(at("write", path))?;
        access.give_file(file.path()).map_err(at("set the group of", path))?;
        file.persist(path).map(drop).map_err(|e| at("write", path)(e.error))
    };
    write(&root.join("CACHEDIR.TAG"), CACHEDIR_TAG)?;
    write(version, content)?;
    Ok(access)
}
