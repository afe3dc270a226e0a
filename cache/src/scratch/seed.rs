//! How a new scratch folder starts from the one of another owner that is nearest, and which old ones are removed.

use super::sync::Wanted;
use super::{Item, Scratch, ScratchState, Stat, order, visit, whole};
use crate::error::{Result, at};
use crate::files::remove_tree;
use crate::lock::Lock;
use crate::{Cache, Node};
use rayon::prelude::*;
use std::ffi::OsStr;
use std::fs::{self, FileTimes, Metadata};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

/// The file that says to whom a scratch folder belongs: his path, and nothing else.
pub(crate) const OWNER: &str = "owner";
/// So many scratch folders of one owner are kept, over all families: those used last.
const KEPT: usize = 6;

impl Scratch {
    /// Copies what the nearest folder of the same family has, times included. Gives its owner.
    pub(super) fn seed(&mut self, wanted: &Wanted<'_>, waiting: &dyn Fn(u32)) -> Result<Option<PathBuf>> {
        let from = self.nearest(wanted, waiting)?;
        let owner = match from {
            Some((folder, lock)) => {
                let seeded = self.copy_from(&folder);
                drop(lock);
                if seeded.is_err() {
                    // Half a copy is of no use, and the disk may be full.
                    let _ = remove_tree(&self.folder);
                }
                seeded?
            }
            None => None,
        };
        self.cache.sweep_scratch(&self.folder);
        Ok(owner)
    }

    /// The sibling that has most of what is wanted, locked. One that somebody works in is waited for only if there is no other.
    fn nearest(&self, wanted: &Wanted<'_>, waiting: &dyn Fn(u32)) -> Result<Option<(PathBuf, Lock)>> {
        let mut siblings: Vec<(usize, PathBuf)> = Vec::new();
        for folder in folders(self.folder.parent().unwrap_or(&self.folder)) {
            if folder == self.folder || is_half(&folder) && is_free(&self.cache, &folder) {
                continue;
            }
            if let Some(state) = self.cache.scratch_state(&folder, &self.family)? {
                let same = |(path, item): &&(String, Item)| match (wanted.get(path), item) {
                    (Some((Node::File { digest, .. }, _)), Item::File { digest: theirs, .. }) => digest == theirs,
                    _ => false,
                };
                siblings.push((state.items.iter().filter(same).count(), folder));
            }
        }
        siblings.sort_by_key(|(same, _)| std::cmp::Reverse(*same));
        let free = siblings
            .iter()
            .find_map(|(_, folder)| Some((folder.clone(), self.cache.lock_scratch(folder).ok().flatten()?)));
        match (free, siblings.into_iter().next()) {
            (None, Some((_, folder))) => {
                let lock = self.cache.wait_for(&self.cache.scratch_lock(&folder), waiting)?;
                Ok(Some((folder, lock)))
            }
            (free, _) => Ok(free),
        }
    }

    fn copy_from(&mut self, sibling: &Path) -> Result<Option<PathBuf>> {
        // Looked at again: it may have changed while it was waited for.
        let Some(ScratchState { items, owner, .. }) = self.cache.scratch_state(sibling, &self.family)? else {
            return Ok(None);
        };
        if is_half(sibling) {
            return Ok(None);
        }
        let (from, to) = (sibling.join("work"), self.path());
        let mut files: Vec<(PathBuf, Metadata)> = Vec::new();
        visit(&from, &mut |path, meta| {
            if let (true, Ok(below)) = (meta.is_dir(), path.strip_prefix(&from)) {
                fs::create_dir(to.join(below))?;
            } else if meta.is_file() || meta.is_symlink() {
                files.push((path.to_owned(), meta.clone()));
            }
            Ok(())
        })
        .map_err(at("copy", &from))?;
        files.par_iter().try_for_each(|(path, meta)| {
            let Ok(below) = path.strip_prefix(&from) else { return Ok(()) };
            let new = to.join(below);
            copy(path, &new, meta).map_err(at(&format!("copy {} to", path.display()), &new))
        })?;
        let take = |(path, item): (String, Item)| {
            let stat = |folder: &Path| fs::symlink_metadata(folder.join(&path)).ok().map(|meta| Stat::of(&meta));
            let item = match item {
                // The copy is as good as what it is a copy of.
                Item::File { digest, stat: theirs } if stat(&from) == Some(theirs) => {
                    stat(&to).map_or(Item::Unknown, |stat| Item::File { digest, stat })
                }
                Item::File { .. } => Item::Unknown,
                other => other,
            };
            (path, item)
        };
        // Only sources are looked at again after the machine went down; what was built has to be on the disk by now.
        self.cache.sync()?;
        self.save(items.into_par_iter().map(take).collect())?;
        Ok(Some(PathBuf::from(OsStr::from_bytes(&owner))))
    }
}

fn copy(from: &Path, to: &Path, meta: &Metadata) -> std::io::Result<()> {
    if meta.is_symlink() {
        return std::os::unix::fs::symlink(fs::read_link(from)?, to);
    }
    // Shares the blocks where the file system can; keeps the mode.
    fs::copy(from, to)?;
    let modified = FileTimes::new().set_modified(meta.modified()?);
    // Opened for reading, as the copy may be read-only; where the file system wants it open for writing, once more.
    match fs::File::open(to)?.set_times(modified) {
        Err(e) if e.kind() == std::io::ErrorKind::PermissionDenied => {
            fs::File::options().append(true).open(to)?.set_times(modified)
        }
        other => other,
    }
}

impl Cache {
    /// Removes scratch folders whose owner is gone, and those of one owner that were not used for longest. An error only means
    /// that a folder is left for the next time.
    fn sweep_scratch(&self, except: &Path) {
        let mut of_owner: std::collections::HashMap<Vec<u8>, Vec<(SystemTime, PathBuf)>> =
            std::collections::HashMap::new();
        let all = folders(&self.folder("scratch")).into_iter().flat_map(|dd| folders(&dd));
        for folder in all.flat_map(|family| folders(&family)).filter(|folder| folder != except) {
            let (Ok(owner), Ok(used)) =
                (fs::read(folder.join(OWNER)), fs::metadata(&folder).and_then(|m| m.modified()))
            else {
                continue;
            };
            of_owner.entry(owner).or_default().push((used, folder));
        }
        for mut folders in of_owner.into_values() {
            let is_gone = folders.first().is_some_and(|(_, folder)| !has_owner(folder));
            folders.sort_by_key(|(used, _)| std::cmp::Reverse(*used));
            for (_, folder) in folders.into_iter().skip(if is_gone { 0 } else { KEPT - 1 }) {
                if let Ok(Some(_lock)) = self.lock_scratch(&folder) {
                    let _ = self.take_away(&folder);
                    let _ = folder.parent().map(fs::remove_dir);
                }
            }
        }
    }
}

impl Cache {
    /// What was brought into the scratch folders of this owner, of every family ([`super::Scratch::path`]), to be read only: nobody is waited for, so it may
    /// be half, or gone.
    pub fn scratch_folders(&self, owner: &Path) -> Vec<PathBuf> {
        let owner = crate::Digest::of(owner.as_os_str().as_bytes()).to_string();
        let families = folders(&self.folder("scratch")).into_iter().flat_map(|dd| folders(&dd));
        families.map(|family| family.join(&owner).join("work")).filter(|work| work.is_dir()).collect()
    }

    /// The lock of a scratch folder if nobody holds it.
    pub(crate) fn lock_scratch(&self, folder: &Path) -> Result<Option<Lock>> {
        self.lock_at_once(&self.scratch_lock(folder))
    }
}

/// Whether a sync or a build is working on the folder, or died while it was.
fn is_half(folder: &Path) -> bool {
    [whole::RUNNING, order::MOVING].iter().any(|mark| folder.join(mark).exists())
}

fn is_free(cache: &Cache, folder: &Path) -> bool {
    matches!(cache.lock_scratch(folder), Ok(Some(_)))
}

/// Whether the owner of a scratch folder is there.
pub(crate) fn has_owner(folder: &Path) -> bool {
    fs::read(folder.join(OWNER)).is_ok_and(|owner| Path::new(OsStr::from_bytes(&owner)).exists())
}

/// The folders in a folder; none if it cannot be read.
pub(crate) fn folders(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    entries.filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir())).map(|entry| entry.path()).collect()
}
