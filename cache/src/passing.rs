//! Passing results: folders of files that hold until the machine starts anew, and cost nothing to check.
//!
//! For what is large, sparse and cheap to make again. It is not digested, not synced and not shared by content: a file counts as
//! undamaged while `lstat` says of it what it said at the commit, its time of change included, which nobody can set back; only
//! small files are read and compared with their digest. After the machine was started anew nothing of it counts, because
//! what was written last may not have come to the disk.
//!
//! Does not know what is in the files.

use crate::codec::What;
use crate::error::{Result, at};
use crate::files::{has_content, look, outlast, plain_files, remove_tree, small_digest};
use crate::lock::Lock;
use crate::scratch::{Stat, boot};
use crate::workspace::WorkFolder;
use crate::{Cache, Digest, Key};
use serde::{Deserialize, Serialize};
use std::fs::{self, File};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

/// How many results are kept: those that were used last.
const KEPT: usize = 16;

const INDEX: &str = "index";

/// What asking for a passing result gives.
#[derive(Debug)]
pub enum Passing {
    /// It was made since the machine was started: the folder. Another process may remove its name at any time, so open what is needed.
    Hit(PathBuf),
    /// It is to be made here. Whoever else wants it waits until the slot is committed or dropped.
    Miss(PassingSlot),
}

/// A place in which a passing result is made. Holds the lock of the key. Dropped without [`PassingSlot::commit`], nothing is left.
#[derive(Debug)]
pub struct PassingSlot {
    cache: Cache,
    key: Key,
    // Fields are dropped in this order: the folder has to be gone before the lock lets the next process in.
    folder: WorkFolder,
    lock: Lock,
}

#[derive(Serialize, Deserialize)]
struct Index {
    key: Key,
    boot: Vec<u8>,
    files: Vec<(String, Stat, Option<Digest>)>,
}

impl Cache {
    /// The folder of a passing result, or a slot to make it in. One that is damaged counts as missing. Waits while another slot of
    /// the same key is open, and calls `waiting` once with the pid of its process.
    ///
    /// # Errors
    /// When the cache cannot be read or written.
    pub fn passing(&self, key: &Key, waiting: &dyn Fn(u32)) -> Result<Passing> {
        if let Some(path) = self.passing_hit(key)? {
            return Ok(Passing::Hit(path));
        }
        let folder = self.workspace()?.folder()?;
        let lock = self.wait_for(&self.own().join("locks").join(format!("passing-{key}")), waiting)?;
        Ok(match self.passing_hit(key)? {
            Some(path) => Passing::Hit(path),
            None => Passing::Miss(PassingSlot { cache: self.clone(), key: *key, folder, lock }),
        })
    }

    /// The bytes on the disk of a passing result that is there and undamaged. Does not count as a use.
    ///
    /// # Errors
    /// When the cache cannot be read.
    pub fn passing_size(&self, key: &Key) -> Result<Option<u64>> {
        let Some(folder) = self.passing_index(key)? else { return Ok(None) };
        let blocks = |entry: fs::DirEntry| entry.metadata().map_or(0, |meta| meta.blocks());
        let entries = fs::read_dir(&folder).map_err(at("read the folder", &folder))?;
        Ok(Some(entries.flatten().map(blocks).sum::<u64>() * 512))
    }

    /// Removes a passing result that turned out to be of no use. Who has its files open keeps them.
    ///
    /// # Errors
    /// When its index cannot be removed: it would be taken again.
    pub fn drop_passing(&self, key: &Key) -> Result<()> {
        let folder = self.place("passing", key.digest());
        let index = folder.join(INDEX);
        match fs::remove_file(&index) {
            Err(e) if e.kind() != std::io::ErrorKind::NotFound => Err(at("remove", &index)(e)),
            // What is left only takes room until the next one is made.
            _ => {
                let _ = remove_tree(&folder);
                Ok(())
            }
        }
    }

    fn passing_hit(&self, key: &Key) -> Result<Option<PathBuf>> {
        let Some(folder) = self.passing_index(key)? else { return Ok(None) };
        // Its time says when it was used last. It may be gone by now, and then its user finds out.
        let _ = File::open(folder.join(INDEX)).and_then(|file| file.set_modified(SystemTime::now()));
        Ok(Some(folder))
    }

    fn passing_index(&self, key: &Key) -> Result<Option<PathBuf>> {
        let folder = self.place("passing", key.digest());
        let path = folder.join(INDEX);
        let Some(index) = self.peek::<Index>(What::Passing, &path)? else { return Ok(None) };
        if index.boot != boot() {
            return Ok(None);
        }
        if index.key != *key || !index.holds(&folder)? {
            self.note_damage(folder);
            return Ok(None);
        }
        Ok(Some(folder))
    }

    /// Whether the passing result in this folder can be used, and was since then.
    pub(crate) fn passing_used_since(&self, folder: &Path, time: SystemTime) -> bool {
        let holds = |index: Index| index.boot == boot() && index.holds(folder).unwrap_or(false);
        let index = || self.peek(What::Passing, &folder.join(INDEX)).ok().flatten();
        used_at(folder).is_some_and(|used| used >= time) && index().is_some_and(holds)
    }

    /// Whether the passing result in this folder would be used, and is not what it was.
    pub(crate) fn passing_is_damaged(&self, folder: &Path) -> Result<bool> {
        let path = folder.join(INDEX);
        match self.peek::<Index>(What::Passing, &path)? {
            Some(index) => Ok(index.boot == boot() && !index.holds(folder)? && look(&path)?.is_some()),
            None => Ok(look(&path)?.is_some()),
        }
    }

    /// Removes all passing results but the 16 that were used last, and what an earlier boot of the machine left. May take a while: a large
    /// file is not removed in no time. What cannot be removed only takes room.
    pub fn prune_passing(&self) {
        let list = |path: &Path| fs::read_dir(path).into_iter().flatten().flatten().map(|e| e.path());
        let mut found = Vec::new();
        for folder in list(&self.folder("passing")).flat_map(|path| list(&path).collect::<Vec<_>>()) {
            let used = used_at(&folder);
            let index = self.peek::<Index>(What::Passing, &folder.join(INDEX)).ok().flatten();
            let valid = index.is_some_and(|index| index.boot == boot());
            found.push((valid, used, folder));
        }
        found.sort();
        let surplus = found.len().saturating_sub(KEPT);
        for (n, (valid, was, folder)) in found.into_iter().enumerate() {
            // Someone may have come to use it since, or made it again.
            if (n < surplus || !valid) && used_at(&folder) == was {
                // The index first: should this process die in between, what has no index counts as missing.
                let _ = fs::remove_file(folder.join(INDEX));
                let _ = remove_tree(&folder);
            }
        }
    }
}

fn used_at(folder: &Path) -> Option<SystemTime> {
    fs::metadata(folder.join(INDEX)).and_then(|meta| meta.modified()).ok()
}

impl Index {
    fn holds(&self, folder: &Path) -> Result<bool> {
        for (name, stat, digest) in &self.files {
            let path = folder.join(name);
            let Some(meta) = look(&path)? else { return Ok(false) };
            if Stat::of(&meta) != *stat || !has_content(&path, digest.as_ref()) {
                return Ok(false);
            }
        }
        Ok(true)
    }
}

impl PassingSlot {
    /// An empty folder: the files go here. It may not have others than plain files.
    pub fn path(&self) -> &Path {
        self.folder.path()
    }

    /// Makes a result of the folder. Nothing may write to its files any more. Gives its place.
    ///
    /// # Errors
    /// When it cannot be read or moved. Nothing is left then.
    pub fn commit(self) -> Result<PathBuf> {
        let (mut files, mut metas) = (Vec::new(), Vec::new());
        let from = self.folder.path();
        for (name, path) in plain_files(from)? {
            let meta = fs::symlink_metadata(&path).map_err(at("look at", &path))?;
            files.push((name, Stat::of(&meta), small_digest(&path, meta.len())?));
            metas.push(meta);
        }
        let to = self.cache.place("passing", self.key.digest());
        let index = self.cache.encoded(What::Passing, &Index { key: self.key, boot: boot(), files }, &to)?;
        fs::write(from.join(INDEX), index).map_err(at("write", from))?;
        outlast(&from.join(INDEX), &metas)?;
        self.cache.take_away(&to)?;
        fs::create_dir_all(to.parent().unwrap_or(&to)).map_err(at("create the folder", &to))?;
        fs::rename(from, &to).map_err(at("store", &to))?;
        drop(self.lock);
        Ok(to)
    }
}

/// What is remembered here, for [`crate::fuzz`].
#[cfg(any(test, feature = "fuzz"))]
pub(crate) fn fuzz(bytes: &[u8]) {
    crate::codec::fuzz::<Index>(What::Passing, bytes);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::KeyEncoder;
    use crate::files::SMALL;

    fn cache() -> (tempfile::TempDir, Cache) {
        let folder = tempfile::tempdir().unwrap();
        let cache = Cache::open(&folder.path().join("cache")).unwrap();
        (folder, cache)
    }

    fn key(name: &str) -> Key {
        KeyEncoder::new("quiz-cache test").text("name", name).finish().0
    }

    fn ask(cache: &Cache, name: &str) -> Passing {
        cache.passing(&key(name), &|pid| panic!("waits for {pid}")).unwrap()
    }

    fn make(cache: &Cache, name: &str) -> PathBuf {
        let Passing::Miss(slot) = ask(cache, name) else { panic!("it is there") };
        let large = File::create(slot.path().join("large")).unwrap();
        large.set_len(SMALL + 1).unwrap();
        fs::write(slot.path().join("small"), "small").unwrap();
        slot.commit().unwrap()
    }

    #[test]
    fn it_is_made_once_and_a_slot_that_is_dropped_leaves_nothing() {
        let (_folder, cache) = cache();
        let Passing::Miss(slot) = ask(&cache, "a") else { panic!("nobody made it") };
        fs::write(slot.path().join("small"), "half").unwrap();
        let half = slot.path().to_owned();
        drop(slot);
        assert!(!half.exists() && cache.passing_size(&key("a")).unwrap().is_none());
        let made = make(&cache, "a");
        let Passing::Hit(found) = ask(&cache, "a") else { panic!("it was made") };
        assert_eq!((found, fs::read(made.join("small")).unwrap()), (made, b"small".to_vec()));
        cache.drop_passing(&key("a")).unwrap();
        assert!(matches!(ask(&cache, "a"), Passing::Miss(_)));
    }

    #[test]
    fn whatever_is_done_to_a_file_is_noticed() {
        let (_folder, cache) = cache();
        let damages: [&dyn Fn(&Path); 5] = [
            &|path| fs::write(path.join("small"), "smell").unwrap(),
            &|path| File::options().write(true).open(path.join("large")).unwrap().set_len(SMALL).unwrap(),
            &|path| fs::remove_file(path.join("large")).unwrap(),
            // One byte, and the time set back.
            &|path| {
                let before = fs::metadata(path.join("large")).unwrap().modified().unwrap();
                let file = File::options().write(true).open(path.join("large")).unwrap();
                std::os::unix::fs::FileExt::write_all_at(&file, b"x", 99).unwrap();
                file.set_modified(before).unwrap();
            },
            &|path| {
                let mut index = fs::read(path.join(INDEX)).unwrap();
                *index.last_mut().unwrap() ^= 1;
                fs::write(path.join(INDEX), index).unwrap();
            },
        ];
        for (n, damage) in damages.iter().enumerate() {
            damage(&make(&cache, "a"));
            assert!(cache.passing_size(&key("a")).unwrap().is_none(), "damage {n}");
            assert!(!cache.damaged().is_empty(), "damage {n}");
        }
    }

    /// Files get their times from a clock that moves some hundred times a second.
    #[test]
    fn what_is_done_right_after_it_was_made_is_noticed() {
        let (_folder, cache) = cache();
        for turn in 0..50 {
            let large = make(&cache, "a").join("large");
            let before = fs::metadata(&large).unwrap().modified().unwrap();
            let file = File::options().write(true).open(large).unwrap();
            std::os::unix::fs::FileExt::write_all_at(&file, b"x", 99).unwrap();
            file.set_modified(before).unwrap();
            assert!(cache.passing_size(&key("a")).unwrap().is_none(), "turn {turn}");
        }
    }

    #[test]
    fn what_another_boot_left_is_no_result_and_goes() {
        let (_folder, cache) = cache();
        let made = make(&cache, "old");
        let old = Index { key: key("old"), boot: b"another".to_vec(), files: Vec::new() };
        fs::write(made.join(INDEX), cache.encoded(What::Passing, &old, &made).unwrap()).unwrap();
        assert!(cache.passing_size(&key("old")).unwrap().is_none());
        make(&cache, "new");
        cache.prune_passing();
        assert!(!made.exists() && cache.passing_size(&key("new")).unwrap().is_some());
    }

    #[test]
    fn those_that_were_used_last_are_kept() {
        let (_folder, cache) = cache();
        let first = make(&cache, "0");
        let second = make(&cache, "1");
        (2..KEPT).for_each(|n| drop(make(&cache, &n.to_string())));
        assert!(matches!(ask(&cache, "0"), Passing::Hit(_)));
        make(&cache, "one too many");
        cache.prune_passing();
        assert!(first.exists() && !second.exists());
    }
}
