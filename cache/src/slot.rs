//! Slots: a locked place in which one result is made, and the commit that makes a result of it.
//!
//! The order of a commit: outputs are sealed and digested in the slot; listings and the record are written in the slot; the
//! file system is synced; objects, listings and trees get their names; last of all the record gets its. A process that dies
//! anywhere before that leaves whole objects that no record names, and a temporary folder that the next slot sweeps.
//!
//! Does not know how results are made.

use crate::codec::What;
use crate::error::{Result, at};
use crate::files::{adopt, is_executable, look, write_new};
use crate::lock::Lock;
use crate::objects::{FileNode, LISTINGS, add_links, digest_folder, files, folder_is_sealed};
use crate::workspace::WorkFolder;
use crate::{Built, Cache, Error, Key, Kind, Manifest, Output, Record, Tree, walk};
use rayon::prelude::*;
use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

/// What asking for a key gives.
#[derive(Debug)]
pub enum Entry {
    /// It was made before.
    Hit(Record),
    /// It is to be made here. Whoever else wants it waits until the slot is committed or dropped.
    Miss(Slot),
}

/// What was made in a slot.
#[derive(Debug, Clone)]
pub struct Made {
    /// The name of the stage.
    pub stage: String,
    /// Names and kinds of the outputs: what lies at `out()/<name>`.
    pub outputs: Vec<(String, Kind)>,
    /// Further outputs that are what an earlier result has. They must be present.
    pub kept: BTreeMap<String, Output>,
    /// Of the outputs those of which only what is new lies there: all else is that earlier tree's, which must be present.
    pub over: BTreeMap<String, Output>,
    /// What entered the key.
    pub manifest: Manifest,
    /// How long it took.
    pub took: Duration,
    /// From nothing or incrementally.
    pub from: Built,
}

/// A place in which the result of one key is made. Holds the lock of the key. Dropped without [`Slot::commit`], nothing of it
/// is left but the log.
#[derive(Debug)]
pub struct Slot {
    cache: Cache,
    key: Key,
    out: PathBuf,
    scratch: PathBuf,
    log: PathBuf,
    // Fields are dropped in this order: the folder has to be gone before the lock lets the next process in.
    folder: WorkFolder,
    lock: Lock,
}

impl Cache {
    /// The record of a key, or a slot to make it in. The objects of a record need not be there: see [`Cache::remake`].
    /// Waits while another slot of the same key is open, in this process or another, and calls `waiting` once with the pid of
    /// its process. A thread that holds a slot and asks for the same key waits forever.
    ///
    /// # Errors
    /// When the cache cannot be read or written.
    pub fn slot(&self, key: &Key, waiting: &dyn Fn(u32)) -> Result<Entry> {
        self.enter(key, waiting, &|_| Ok(true))
    }

    /// Like [`Cache::slot`], but a record counts only when all its outputs are present and undamaged.
    ///
    /// # Errors
    /// When the cache cannot be read or written.
    pub fn remake(&self, key: &Key, waiting: &dyn Fn(u32)) -> Result<Entry> {
        self.enter(key, waiting, &|record| {
            for output in record.outputs.values() {
                if !self.is_present(output)? {
                    return Ok(false);
                }
            }
            Ok(true)
        })
    }

    fn enter(&self, key: &Key, waiting: &dyn Fn(u32), counts: &dyn Fn(&Record) -> Result<bool>) -> Result<Entry> {
        let hit = || -> Result<Option<Record>> {
            match self.record(key)? {
                Some(record) if counts(&record)? => Ok(Some(record)),
                _ => Ok(None),
            }
        };
        if let Some(record) = hit()? {
            return Ok(Entry::Hit(record));
        }
        let slot = self.wait_for_slot(key, waiting)?;
        // Somebody may have made it while he was waited for.
        if let Some(record) = hit()? {
            return Ok(Entry::Hit(record));
        }
        self.new_log(&slot.log).map_err(at("create", &slot.log))?;
        Ok(Entry::Miss(slot))
    }

    /// A slot to make the result of a key in, also when there is one. Its commit takes the place of that. Waits as [`Cache::slot`].
    ///
    /// # Errors
    /// When the cache cannot be read or written.
    pub fn anew(&self, key: &Key, waiting: &dyn Fn(u32)) -> Result<Slot> {
        let slot = self.wait_for_slot(key, waiting)?;
        self.new_log(&slot.log).map_err(at("create", &slot.log))?;
        Ok(slot)
    }

    fn wait_for_slot(&self, key: &Key, waiting: &dyn Fn(u32)) -> Result<Slot> {
        // First, because making it sweeps the lock files that dead processes left.
        let folder = self.workspace()?.folder()?;
        let lock = self.wait_for(&self.root().join("locks").join(key.to_string()), waiting)?;
        let (out, scratch) = (folder.path().join("out"), folder.path().join("scratch"));
        let log = self.log_path(key);
        for wanted in [&out, &scratch] {
            fs::create_dir_all(wanted).map_err(at("create the folder", wanted))?;
        }
        self.create_for(&log).map_err(at("create", &log))?;
        Ok(Slot { cache: self.clone(), key: *key, out, scratch, log, folder, lock })
    }

    /// In a group's cache the last log may be another member's. One that all read is put in its place.
    fn new_log(&self, log: &Path) -> io::Result<()> {
        if self.group().is_none() {
            return Ok(());
        }
        match fs::remove_file(log) {
            Err(e) if e.kind() != io::ErrorKind::NotFound => Err(e),
            _ => self.access().give_open(&fs::File::create_new(log)?),
        }
    }

    /// A place for two results of a key that are to be compared, and are no results of the cache. What was there is removed. It
    /// goes when it was not used for a while.
    ///
    /// # Errors
    /// When the cache cannot be written.
    pub fn aside(&self, key: &Key) -> Result<PathBuf> {
        let place = self.place("aside", key.digest());
        self.take_away(&place)?;
        Ok(place)
    }
}

/// Checks that it can be the name of an output.
pub(crate) fn check_name(name: &str) -> Result<()> {
    if name.contains('/') || matches!(name, "" | "." | "..") {
        return Err(Error::new(format!("`{}` is not a name for an output", name.escape_debug())));
    }
    Ok(())
}

/// An output that is sealed and digested but has no name in the cache yet.
struct Pending {
    path: PathBuf,
    output: Output,
    content: Content,
}

enum Content {
    File(FileNode),
    /// The tree, and where its encoded listing lies.
    Tree(Tree, PathBuf),
}

impl Slot {
    /// The key that is made here.
    pub fn key(&self) -> &Key {
        &self.key
    }

    /// An empty folder: outputs go to `out()/<name>`.
    pub fn out(&self) -> &Path {
        &self.out
    }

    /// An empty folder for whatever the making needs, in the same file system.
    pub fn scratch(&self) -> &Path {
        &self.scratch
    }

    /// Where the log goes: [`Cache::log_path`] of the key. Its folder is there.
    pub fn log(&self) -> &Path {
        &self.log
    }

    /// Makes a result of what lies in [`Slot::out`]. Everything in it becomes read-only and moves into the cache; what was not
    /// declared is removed.
    ///
    /// # Errors
    /// An output that is missing, of another kind, or holds what a tree cannot hold; one that is laid over a tree that is gone, or puts
    /// a file where that has a folder; a full disk. Nothing half is left then.
    pub fn commit(self, made: Made) -> Result<Record> {
        let prepare = |(name, kind): &(String, Kind)| {
            let mut pending = self.prepare(name, *kind)?;
            if let Some(under) = made.over.get(name) {
                pending = self.complete(name, pending, under)?;
            }
            Ok((name.clone(), pending))
        };
        let pending = made.outputs.iter().map(prepare).collect::<Result<BTreeMap<_, _>>>()?;
        let record = Record {
            key: self.key,
            stage: made.stage,
            outputs: pending.iter().map(|(name, p)| (name.clone(), p.output.clone())).chain(made.kept).collect(),
            manifest: made.manifest,
            took: made.took,
            made_at: SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).map_or(0, |d| d.as_secs()),
            built: made.from,
        };
        self.store(pending, record)
    }

    /// As [`Slot::commit`], of a result that is known from elsewhere.
    ///
    /// # Errors
    /// As [`Slot::commit`]; an output is not what the record says.
    pub(crate) fn commit_as(self, record: Record) -> Result<Record> {
        let pending = self.prepare_all(record.outputs.iter().map(|(name, output)| (name, output.kind)))?;
        let other = record.outputs.iter().find(|(name, output)| pending[*name].output != **output);
        if let Some((name, _)) = other {
            return Err(Error::new(format!("{}/{name} is not what its record says", record.stage)));
        }
        self.store(pending, record)
    }

    /// Remembers what the key led to elsewhere, without its objects.
    pub(crate) fn note(self, record: &Record) -> Result<()> {
        self.cache.store(What::Record, &self.cache.place("records", self.key.digest()), record)
    }

    fn prepare_all<'n>(&self, outputs: impl Iterator<Item = (&'n String, Kind)>) -> Result<BTreeMap<String, Pending>> {
        outputs.map(|(name, kind)| Ok((name.clone(), self.prepare(name, kind)?))).collect()
    }

    fn store(self, pending: BTreeMap<String, Pending>, record: Record) -> Result<Record> {
        let written = self.folder.spare();
        let path = self.cache.place("records", self.key.digest());
        write_new(&written, &self.cache.encoded(What::Record, &record, &path)?)?;
        self.cache.sync()?;
        for output in pending.into_values() {
            self.publish(output)?;
        }
        self.cache.put_file(&written, &path).map_err(at("store", &path))?;
        let Self { folder, lock, .. } = self;
        // Whoever waits need not wait for the removal of the scratch folder.
        drop(lock);
        drop(folder);
        Ok(record)
    }

    /// Seals and digests what lies in [`Slot::out`] as [`Slot::commit`] does, and moves it to `to`, a path in the same file system at
    /// which nothing is. Gives the outputs, and the items of those that are trees.
    ///
    /// # Errors
    /// As [`Slot::commit`].
    pub fn set_aside(self, outputs: &[(String, Kind)], to: &Path) -> Result<BTreeMap<String, (Output, Tree)>> {
        let mut found = BTreeMap::new();
        for (name, kind) in outputs {
            let pending = self.prepare(name, *kind)?;
            let tree = match pending.content {
                Content::File(_) => Tree::default(),
                Content::Tree(tree, _) => tree,
            };
            found.insert(name.clone(), (pending.output, tree));
        }
        self.cache.rename_into(&self.out, to).map_err(at("store", to))?;
        Ok(found)
    }

    fn prepare(&self, name: &str, kind: Kind) -> Result<Pending> {
        check_name(name)?;
        let path = self.out.join(name);
        let meta = look(&path)?.ok_or_else(|| Error::new(format!("the output `{name}` was not made")))?;
        walk::refuse_special(&path, meta.mode())?;
        match kind {
            Kind::File if meta.is_file() => {
                let executable = is_executable(&meta);
                let (digest, size) = adopt(&path, &meta, &self.folder.spare())?;
                let content = Content::File(FileNode { digest, size, executable });
                Ok(Pending { path, output: Output { kind, digest, size, files: 1 }, content })
            }
            Kind::Tree if meta.is_dir() => {
                let tree = digest_folder(&path, &self.folder)?;
                self.pending_tree(path, tree)
            }
            Kind::File => Err(Error::new(format!("the output `{name}` is not a plain file"))),
            Kind::Tree => Err(Error::new(format!("the output `{name}` is not a folder"))),
        }
    }

    fn pending_tree(&self, path: PathBuf, tree: Tree) -> Result<Pending> {
        let output = tree.output();
        let listing = self.folder.spare();
        let place = self.cache.place(LISTINGS, &output.digest);
        write_new(&listing, &self.cache.encoded(What::Tree, &tree, &place)?)?;
        Ok(Pending { path, output, content: Content::Tree(tree, listing) })
    }

    /// A tree with all of another one that it does not have itself. What is added are links, and is not read.
    fn complete(&self, name: &str, pending: Pending, under: &Output) -> Result<Pending> {
        let Content::Tree(new, _) = pending.content else {
            return Err(Error::new(format!("the output `{name}` is a file, and cannot be laid over an earlier one")));
        };
        let tree = new.laid_over(&self.cache.tree(under)?)?;
        add_links(&pending.path, &new, &tree, &self.cache.path(under))?;
        self.pending_tree(pending.path, tree)
    }

    fn publish(&self, pending: Pending) -> Result<()> {
        match pending.content {
            Content::File(node) => self.cache.publish(&pending.path, &node, &self.folder),
            Content::Tree(tree, listing) => {
                // The same tree under another key: only its objects that are missing or damaged are wanted.
                let known = folder_is_sealed(&self.cache.path(&pending.output), &tree)?;
                files(&tree).try_for_each(|(path, node)| match known && self.cache.has_object(&node)? {
                    true => Ok(()),
                    false => self.cache.publish(&pending.path.join(path), &node, &self.folder),
                })?;
                let place = self.cache.place(LISTINGS, &pending.output.digest);
                self.cache.put_file(&listing, &place).map_err(at("store", &place))?;
                self.cache.install_tree(&pending.path, &tree, &pending.output, &self.folder)
            }
        }
    }
}
