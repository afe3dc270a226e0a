//! The sync: compares what is wanted with what was brought in, and touches only what differs.

use super::{Item, Scratch, Source, Stat, Synced, UNFINISHED};
use crate::error::{Result, at};
use crate::files::{copy_plain, is_executable, look, open_plain, remove_tree};
use crate::{Digest, Error, Node};
use rayon::prelude::*;
use std::collections::{BTreeMap, HashMap, HashSet};
use std::fs::{self, FileTimes, Permissions};
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::SystemTime;

/// What is to lie at a path, and which source has it.
pub(super) type Wanted<'a> = BTreeMap<String, (&'a Node, PathBuf)>;

impl Scratch {
    /// Makes the files of the sources lie in the folder exactly; where two have the same path, the later one's. A file whose
    /// content is there already keeps its time, or its place in the order of times; all others get one time, that of this sync, and
    /// all else is older. What was brought in before and is wanted no more is removed, what a build left stays, unless it lies where
    /// a file is wanted.
    ///
    /// A new folder starts from the nearest one of the same family. `waiting` is called with the pid of the process that has the
    /// only such one, while it is waited for.
    ///
    /// # Errors
    /// A source file that is not what its tree says ([`crate::Error::is_changed`]); when the folder cannot be written. The next sync
    /// goes on from there.
    pub fn sync(&mut self, sources: &[Source<'_>], waiting: &dyn Fn(u32)) -> Result<Synced> {
        let wanted = merge(sources);
        let seeded_from = if self.items.is_none() { self.seed(&wanted, waiting)? } else { None };
        let now = self.settle()?;
        let fresh = self.items.is_none();
        let seeded_from = seeded_from.filter(|_| !fresh);
        let old = self.items.clone().unwrap_or_default();
        let known: HashMap<&str, &Item> = old.iter().map(|(path, item)| (path.as_str(), item)).collect();
        let is_file = |path: &str| wanted.get(path).is_some_and(|(node, _)| **node != Node::Folder);
        let news =
            wanted.iter().filter(|(path, (node, _))| **node != Node::Folder && !known.contains_key(path.as_str()));
        let news: Vec<(String, Item)> = news.map(|(path, _)| (path.clone(), Item::Unknown)).collect();
        if !news.is_empty() {
            // Should this sync not come to its end, the next one knows what was its.
            let mut all = [old.clone(), news].concat();
            all.sort_by(|(a, _), (b, _)| a.cmp(b));
            self.save(all)?;
        }
        let gone: Vec<&str> = old.iter().map(|(path, _)| path.as_str()).filter(|path| !is_file(path)).collect();
        let removed = self.remove(&gone, &wanted)?;
        self.make_folders(&wanted)?;
        let written = AtomicUsize::new(0);
        let files: Vec<(&String, &(&Node, PathBuf))> =
            wanted.iter().filter(|(_, (node, _))| **node != Node::Folder).collect();
        let work = self.path();
        let items: Vec<(String, Item)> = files
            .into_par_iter()
            .with_min_len(256)
            .map(|(path, (node, from))| {
                let to = work.join(path);
                let (item, new) = bring(node, from, &to, known.get(path.as_str()).copied(), now)?;
                written.fetch_add(usize::from(new), Ordering::Relaxed);
                Ok((path.clone(), item))
            })
            .collect::<Result<_>>()?;
        if fresh || self.items.as_ref() != Some(&items) {
            self.save(items)?;
        }
        Ok(Synced { written: written.into_inner(), removed, fresh, seeded_from })
    }

    fn remove(&self, gone: &[&str], wanted: &Wanted<'_>) -> Result<usize> {
        let mut removed = 0;
        let mut above = HashSet::new();
        for path in gone {
            let full = self.path().join(path);
            if !self.is_below_folders(path)? {
                continue;
            }
            match fs::remove_file(&full) {
                Ok(()) => removed += 1,
                // It never came, or a build has put a folder there.
                Err(e) if matches!(e.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => {}
                Err(_) if full.is_dir() => {}
                Err(e) => return Err(at("remove", &full)(e)),
            }
            above.extend(path.match_indices('/').map(|(i, _)| &path[..i]));
        }
        // Deepest first, so that a folder is empty when its turn comes. In one that is not there is something the build made.
        let mut above: Vec<&str> = above.into_iter().filter(|folder| !wanted.contains_key(*folder)).collect();
        above.sort_by_key(|folder| std::cmp::Reverse(folder.len()));
        for folder in above {
            let _ = fs::remove_dir(self.path().join(folder));
        }
        Ok(removed)
    }

    /// Whether all above a path are folders. A build may have put a symlink there, and what it leads to is not ours.
    fn is_below_folders(&self, path: &str) -> Result<bool> {
        for (i, _) in path.match_indices('/') {
            if !look(&self.path().join(&path[..i]))?.is_some_and(|meta| meta.is_dir()) {
                return Ok(false);
            }
        }
        Ok(true)
    }

    fn make_folders(&self, wanted: &Wanted<'_>) -> Result<()> {
        for (path, _) in wanted.iter().filter(|(_, (node, _))| **node == Node::Folder) {
            let full = self.path().join(path);
            match look(&full)? {
                Some(meta) if meta.is_dir() => continue,
                Some(_) => fs::remove_file(&full).map_err(at("remove", &full))?,
                None => {}
            }
            fs::create_dir_all(&full).map_err(at("create the folder", &full))?;
        }
        Ok(())
    }
}

/// All that is wanted, by path below the scratch folder.
fn merge<'a>(sources: &[Source<'a>]) -> Wanted<'a> {
    let mut wanted = Wanted::new();
    let mut hides = false;
    for Source { tree, root, into } in sources {
        // The folder itself may be that of a tree without any item.
        for (at, _) in into.match_indices('/').chain([(into.len(), "")]) {
            wanted.entry(into[..at].to_owned()).or_insert((&Node::Folder, PathBuf::new()));
        }
        for (path, node) in tree.items() {
            let before = wanted.insert(format!("{into}/{path}"), (node, root.join(path)));
            hides |= *node != Node::Folder && before.is_some_and(|(before, _)| *before == Node::Folder);
        }
    }
    if hides {
        // Where an earlier source has a folder and a later one a file, the file hides what was in the folder.
        let files: HashSet<String> =
            wanted.iter().filter(|(_, (node, _))| **node != Node::Folder).map(|(path, _)| path.clone()).collect();
        wanted.retain(|path, _| !path.match_indices('/').any(|(i, _)| files.contains(&path[..i])));
    }
    wanted
}

/// Makes sure that one file or symlink is there. Says whether it had to be written.
fn bring(node: &Node, from: &Path, to: &Path, known: Option<&Item>, now: SystemTime) -> Result<(Item, bool)> {
    let there = look(to)?;
    match node {
        Node::Folder => Ok((Item::Unknown, false)),
        Node::Symlink { target } => {
            let item = Item::Symlink { target: target.clone() };
            if there.as_ref().is_some_and(fs::Metadata::is_symlink)
                && fs::read_link(to).is_ok_and(|t| t.as_os_str() == target.as_str())
            {
                return Ok((item, false));
            }
            let new = beside(to);
            std::os::unix::fs::symlink(target, &new).map_err(at("create", &new))?;
            put(&new, to, there.as_ref())?;
            Ok((item, true))
        }
        Node::File { digest, size, executable } => {
            if let Some(meta) = there.as_ref().filter(|meta| meta.is_file()) {
                let stat = Stat::of(meta);
                let remembered = Item::File { digest: *digest, stat };
                if known == Some(&remembered) {
                    return Ok((remembered, false));
                }
                if stat.size == *size && is_executable(meta) == *executable && digest_of(to, *executable)? == *digest {
                    return Ok((remembered, false));
                }
            }
            let new = beside(to);
            let written = write(from, &new, digest, *executable, now).and_then(|()| put(&new, to, there.as_ref()));
            if let Err(error) = written {
                // If this fails as well, the first error is the one that matters.
                let _ = fs::remove_file(&new);
                return Err(error);
            }
            let meta = fs::symlink_metadata(to).map_err(at("look at", to))?;
            Ok((Item::File { digest: *digest, stat: Stat::of(&meta) }, true))
        }
    }
}

fn write(from: &Path, new: &Path, digest: &Digest, executable: bool, now: SystemTime) -> Result<()> {
    if !copy_plain(from, new)? {
        return Err(Error::changed(from));
    }
    let mode = if executable { 0o755 } else { 0o644 };
    fs::set_permissions(new, Permissions::from_mode(mode)).map_err(at("set the mode of", new))?;
    if digest_of(new, executable)? != *digest {
        return Err(Error::changed(from));
    }
    let file = fs::File::options().append(true).open(new).map_err(at("open", new))?;
    file.set_times(FileTimes::new().set_modified(now)).map_err(at("set the time of", new))
}

fn put(new: &Path, to: &Path, there: Option<&fs::Metadata>) -> Result<()> {
    if there.is_some_and(fs::Metadata::is_dir) {
        remove_tree(to).map_err(at("remove", to))?;
    }
    fs::rename(new, to).map_err(at("replace", to))
}

/// A name for what is not finished: one that no build has.
fn beside(to: &Path) -> PathBuf {
    let mut name = std::ffi::OsString::from(UNFINISHED);
    name.push(to.file_name().unwrap_or_default());
    let path = to.with_file_name(name);
    // A sync that died may have left half a file of this name.
    let _ = fs::remove_file(&path);
    path
}

fn digest_of(path: &Path, executable: bool) -> Result<Digest> {
    let file = open_plain(path).map_err(at("read", path))?;
    Digest::of_reader(&file, executable).map(|(digest, _)| digest).map_err(at("read", path))
}
