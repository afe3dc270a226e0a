//! The open cache: its root, its format version, and how structured files are read and written.
//!
//! Does not know what is in the structured files; the other modules add the methods that do.

use crate::codec::{self, What};
use crate::collect::note_use;
use crate::error::{Result, at};
use crate::files::{rename_into, write_new};
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
    /// Made when it is first needed: a run with nothing to do writes nothing.
    workspace: Mutex<Option<Arc<Workspace>>>,
    damaged: Mutex<Vec<PathBuf>>,
}

impl Cache {
    /// Opens the cache in this folder; makes it when the folder is missing or empty.
    ///
    /// # Errors
    /// A folder that holds something else, or a cache of another format version: the message says which and what to do.
    pub fn open(root: &Path) -> Result<Self> {
        let root = std::path::absolute(root).map_err(at("find", root))?;
        let version = root.join("version");
        let wanted = format!("quiz-cache {}\n", codec::FORMAT);
        match fs::read_to_string(&version) {
            Ok(found) if found == wanted => {}
            Ok(found) => {
                return Err(Error::new(format!(
                    "{} says `{}`, but this program reads and writes `{}`: delete the cache (it only costs time) or use another folder",
                    version.display(),
                    found.trim().escape_debug(),
                    wanted.trim()
                )));
            }
            Err(e) if e.kind() == io::ErrorKind::NotFound => create(&root, &version, &wanted)?,
            Err(e) => return Err(at("read", &version)(e)),
        }
        Ok(Self(Arc::new(Inner { root, workspace: Mutex::default(), damaged: Mutex::default() })))
    }

    /// The folder of the cache, absolute.
    pub fn root(&self) -> &Path {
        &self.0.root
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

    /// `<root>/<folder>/<first two digits>/<all digits>`.
    pub(crate) fn place(&self, folder: &str, digest: &Digest) -> PathBuf {
        let hex = digest.to_string();
        let mut path = self.0.root.join(folder);
        path.push(&hex[..2]);
        path.push(hex);
        path
    }

    /// What lies in a folder of the cache, each by its digest, sorted.
    pub(crate) fn entries(&self, folder: &str) -> Vec<PathBuf> {
        let list = |path: &Path| fs::read_dir(path).into_iter().flatten().flatten().map(|entry| entry.path());
        let mut all: Vec<PathBuf> =
            list(&self.0.root.join(folder)).flat_map(|dd| list(&dd).collect::<Vec<_>>()).collect();
        all.sort();
        all
    }

    /// The temporary place of this handle.
    pub(crate) fn workspace(&self) -> Result<Arc<Workspace>> {
        let mut workspace = locked(&self.0.workspace);
        if let Some(workspace) = &*workspace {
            return Ok(Arc::clone(workspace));
        }
        let new = Arc::new(Workspace::new(&self.0.root)?);
        *workspace = Some(Arc::clone(&new));
        Ok(new)
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
        rename_into(&written, path).map_err(|e| {
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

fn create(root: &Path, version: &Path, content: &str) -> Result<()> {
    // Who could write to it would decide what is built and run.
    fs::DirBuilder::new().recursive(true).mode(0o700).create(root).map_err(at("create the folder", root))?;
    for entry in fs::read_dir(root).map_err(at("read the folder", root))? {
        let name = entry.map_err(at("read the folder", root))?.file_name();
        // Another process may be creating the same cache.
        let ours = name == "version" || name == "CACHEDIR.TAG" || name.to_string_lossy().starts_with(".version");
        if !ours && !version.exists() {
            return Err(Error::new(format!(
                "{} is not a cache and not empty (it has `{}` in it): use another folder",
                root.display(),
                name.display()
            )));
        }
    }
    let tag = root.join("CACHEDIR.TAG");
    fs::write(&tag, CACHEDIR_TAG).map_err(at("write", &tag))?;
    let mut file =
        tempfile::Builder::new().prefix(".version").tempfile_in(root).map_err(at("create a file in", root))?;
    file.write_all(content.as_bytes()).map_err(at("write", version))?;
    file.persist(version).map_err(|e| at("write", version)(e.error))?;
    Ok(())
}
