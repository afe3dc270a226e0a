//! Named results: folders of files to which somebody gave a name, and which stay until they are removed by it.
//!
//! For what cannot be made again by a key: it depends on when it was made. A name belongs to an owner, the path of a folder. What is named is
//! synced, so that it is there when the machine has been started anew; it counts as undamaged while its files are as long and as old as at the
//! commit, and those that are small have the same content. It names objects and trees that stay as long as it does.
//!
//! Does not know what is in the files.

use crate::codec::What;
use crate::error::{Result, at};
use crate::files::{has_content, look, outlast, plain_files, remove_closed, remove_tree, small_digest};
use crate::lock::Lock;
use crate::workspace::WorkFolder;
use crate::{Cache, Digest, Error};
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;
use std::ffi::OsString;
use std::fs::{self, File, Metadata};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

/// What has a name says where its files lie. So a name passes from one to the next at once, and who has read the one never finds files of the other.
pub(crate) const FOLDER: &str = "named";
pub(crate) const FILES: &str = "named-files";

/// A place in which a named result is made. Dropped without [`NamedSlot::commit`], nothing is left.
#[derive(Debug)]
pub struct NamedSlot {
    cache: Cache,
    folder: WorkFolder,
}

/// A named result.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Named {
    /// Whose it is.
    pub owner: PathBuf,
    /// Its name, of those of its owner.
    pub name: String,
    /// What whoever made it says of it.
    pub about: Vec<u8>,
    /// The folder with its files.
    pub path: PathBuf,
    /// Its bytes on the disk.
    pub size: u64,
    /// When it was made.
    pub made: SystemTime,
    /// Which of its files is not what it was.
    pub damaged: Option<String>,
}

#[derive(Serialize, Deserialize)]
struct Index {
    owner: Vec<u8>,
    name: String,
    about: Vec<u8>,
    needs: Vec<Digest>,
    place: Digest,
    files: Vec<(String, Look, Option<Digest>)>,
}

/// What a collection has to know of one.
pub(crate) struct Known {
    pub(crate) needs: Vec<Digest>,
    pub(crate) files: PathBuf,
}

/// Length, and time of the last write in seconds and nanoseconds. An inode may be another one when the host has been started anew.
#[derive(Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
struct Look(u64, i64, i64);

impl Look {
    fn of(meta: &Metadata) -> Self {
        Self(meta.len(), meta.mtime(), meta.mtime_nsec())
    }
}

impl Cache {
    /// An empty place for a named result.
    ///
    /// # Errors
    /// When the cache cannot be written.
    pub fn named_slot(&self) -> Result<NamedSlot> {
        Ok(NamedSlot { cache: self.clone(), folder: self.workspace()?.folder()? })
    }

    /// What the owner gave that name.
    ///
    /// # Errors
    /// When the cache cannot be read.
    pub fn named(&self, owner: &Path, name: &str) -> Result<Option<Named>> {
        self.named_at(&self.place(FOLDER, &identity(owner, name)))
    }

    /// All that have a name, by their owners and names.
    ///
    /// # Errors
    /// When the cache cannot be read.
    pub fn all_named(&self) -> Result<Vec<Named>> {
        let list = |path: &Path| fs::read_dir(path).into_iter().flatten().flatten().map(|entry| entry.path());
        let mut all = Vec::new();
        for place in list(&self.folder(FOLDER)).flat_map(|dd| list(&dd).collect::<Vec<_>>()) {
            all.extend(self.named_at(&place)?);
        }
        all.sort_by(|a, b| (&a.owner, &a.name).cmp(&(&b.owner, &b.name)));
        Ok(all)
    }

    /// Removes what the owner gave that name. Who has its files open keeps them. Whether there was one.
    ///
    /// # Errors
    /// When it cannot be removed.
    pub fn remove_named(&self, owner: &Path, name: &str) -> Result<bool> {
        let place = self.place(FOLDER, &identity(owner, name));
        let known = self.named_known(&place)?;
        match fs::remove_file(&place) {
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(false),
            other => other.map_err(at("remove", &place))?,
        }
        // Nothing names these files any more, so half of them does no harm: they need no temporary place, which a full disk does not give. Those that
        // somebody still has open on NFS go with a collection.
        known.map_or(Ok(()), |known| remove_closed(&known.files))?;
        Ok(true)
    }

    pub(crate) fn named_known(&self, place: &Path) -> Result<Option<Known>> {
        Ok(self
            .peek::<Index>(What::Named, place)?
            .map(|index| Known { needs: index.needs, files: self.place(FILES, &index.place) }))
    }

    /// The objects and trees that stay because of it.
    ///
    /// # Errors
    /// When the cache cannot be read.
    pub fn named_needs(&self, named: &Named) -> Result<Vec<Digest>> {
        let known = self.named_known(&self.place(FOLDER, &identity(&named.owner, &named.name)))?;
        Ok(known.map(|known| known.needs).unwrap_or_default())
    }

    fn named_at(&self, place: &Path) -> Result<Option<Named>> {
        let Some(index) = self.peek::<Index>(What::Named, place)? else { return Ok(None) };
        let Some(made) = look(place)?.and_then(|meta| meta.modified().ok()) else { return Ok(None) };
        let folder = self.place(FILES, &index.place);
        let (mut size, mut damaged) = (0, None);
        for (name, was, digest) in &index.files {
            let path = folder.join(name);
            let meta = look(&path)?;
            size += meta.as_ref().map_or(0, |meta| meta.blocks() * 512);
            let is = meta.as_ref().map(Look::of);
            if is != Some(*was) || !has_content(&path, digest.as_ref()) {
                damaged.get_or_insert_with(|| name.clone());
            }
        }
        let owner = PathBuf::from(OsString::from_vec(index.owner));
        Ok(Some(Named { owner, name: index.name, about: index.about, path: folder, size, made, damaged }))
    }
}

/// What a name needs, for those members of a group who cannot see the name.
struct ToldNeeds {
    cache: Cache,
    place: PathBuf,
    needed: BTreeSet<Digest>,
    /// Held meanwhile: without it, another process that gives the same name at that time could lose what it needs.
    _turn: Lock,
}

impl Cache {
    /// Says what the name is about to need, beside what it needs until then. Nobody but its user sees a cache that has no group.
    fn tell_needs(&self, place: &Path, needed: BTreeSet<Digest>) -> Result<Option<ToldNeeds>> {
        if self.group().is_none() {
            return Ok(None);
        }
        let name = place.file_name().unwrap_or_default().to_string_lossy();
        let turn = self.wait_for(&self.own().join("locks").join(format!("named-{name}")), &|_| {})?;
        let until = self.named_known(place)?.map(|known| known.needs).unwrap_or_default();
        self.keep_for(place, self.own(), needed.iter().copied().chain(until).collect())?;
        Ok(Some(ToldNeeds { cache: self.clone(), place: place.to_owned(), needed, _turn: turn }))
    }
}

impl ToldNeeds {
    /// Says that the name needs no more than that now.
    fn are_all(self) -> Result<()> {
        self.cache.keep_for(&self.place, self.cache.own(), self.needed)
    }
}

/// The digest by which a name is found. The zero byte keeps owner and name apart, as no path has one.
fn identity(owner: &Path, name: &str) -> Digest {
    Digest::of(&[owner.as_os_str().as_bytes(), &[0], name.as_bytes()].concat())
}

impl NamedSlot {
    /// An empty folder: the files go here. It may not have others than plain files.
    pub fn path(&self) -> &Path {
        self.folder.path()
    }

    /// Gives it that name of the owner's; with `replace`, whoever had it is gone then, and not before. It `needs` these objects and trees. Gives the
    /// folder of its files.
    ///
    /// # Errors
    /// When it cannot be read, synced or moved, or the name is taken. Nothing is left then, and what had the name keeps it.
    pub fn commit(
        self,
        owner: &Path,
        name: &str,
        about: Vec<u8>,
        needs: Vec<Digest>,
        replace: bool,
    ) -> Result<PathBuf> {
        let (mut files, mut metas) = (Vec::new(), Vec::new());
        let from = self.folder.path();
        for (file_name, path) in plain_files(from)? {
            // Synced first: until then the file may still get another time.
            let file = File::open(&path).map_err(at("open", &path))?;
            file.sync_all().map_err(at("sync", &path))?;
            let meta = file.metadata().map_err(at("look at", &path))?;
            files.push((file_name, Look::of(&meta), small_digest(&path, meta.len())?));
            metas.push(meta);
        }
        let to = self.cache.place(FOLDER, &identity(owner, name));
        // Another place each time: no folder of this process has that name, and no other process was there at that time.
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_nanos();
        let place = Digest::of(&[from.as_os_str().as_bytes(), &now.to_le_bytes()].concat());
        let files_go = self.cache.place(FILES, &place);
        let owner = owner.as_os_str().as_bytes().to_vec();
        let needed = needs.iter().copied().collect();
        let index = Index { owner, name: name.to_owned(), about, needs, place, files };
        let index = self.cache.encoded(What::Named, &index, &to)?;
        let new = self.cache.workspace()?.fresh();
        fs::write(&new, index).and_then(|()| File::open(&new)?.sync_all()).map_err(at("write", &new))?;
        outlast(&new, &metas)?;
        let sync = |path: &Path| {
            let parent = path.parent().unwrap_or(path);
            File::open(parent).and_then(|folder| folder.sync_all()).map_err(at("sync", parent))
        };
        self.cache.rename_into(from, &files_go).map_err(at("store", &files_go))?;
        let told = self.cache.tell_needs(&to, needed)?;
        let put = || {
            sync(&files_go.join("all"))?;
            sync(&files_go)?;
            fs::create_dir_all(to.parent().unwrap_or(&to)).map_err(at("create the folder", &to))?;
            let old = self.cache.named_known(&to)?;
            match replace {
                true => fs::rename(&new, &to),
                // Unlike a rename it takes no name that somebody has.
                false => fs::hard_link(&new, &to),
            }
            .map_err(at("store", &to))?;
            sync(&to)?;
            Ok(old)
        };
        let old = put().inspect_err(|_: &Error| drop(remove_tree(&files_go)))?;
        // A hard link leaves the name from which it was made.
        let _ = fs::remove_file(&new);
        told.map_or(Ok(()), ToldNeeds::are_all)?;
        // What is left of it, a collection removes.
        old.into_iter().for_each(|old| drop(remove_tree(&old.files)));
        Ok(files_go)
    }
}

/// What is remembered here, for [`crate::fuzz`].
#[cfg(any(test, feature = "fuzz"))]
pub(crate) fn fuzz(bytes: &[u8]) {
    crate::codec::fuzz::<Index>(What::Named, bytes);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Roots;
    use crate::files::SMALL;
    use std::time::Duration;

    fn cache() -> (tempfile::TempDir, Cache) {
        let folder = tempfile::tempdir().unwrap();
        let cache = Cache::open(&folder.path().join("cache")).unwrap();
        (folder, cache)
    }

    fn slot(cache: &Cache, text: &str) -> NamedSlot {
        let slot = cache.named_slot().unwrap();
        File::create(slot.path().join("large")).unwrap().set_len(SMALL + 1).unwrap();
        fs::write(slot.path().join("small"), text).unwrap();
        slot
    }

    fn give(cache: &Cache, owner: &str, name: &str, text: &str) -> PathBuf {
        slot(cache, text).commit(Path::new(owner), name, b"about".to_vec(), Vec::new(), false).unwrap()
    }

    #[test]
    fn a_name_is_its_owners_and_stays_until_it_is_removed() {
        let (_folder, cache) = cache();
        let place = give(&cache, "/a", "x", "one");
        give(&cache, "/b", "x", "two");
        give(&cache, "/a", "w", "three");
        cache.prune_passing();
        cache.collect(Duration::ZERO, &Roots::default(), false, &|_| {}).unwrap();
        let found = cache.named(Path::new("/a"), "x").unwrap().unwrap();
        assert_eq!((&found.path, &found.about[..], found.damaged), (&place, &b"about"[..], None));
        assert_eq!(fs::read(place.join("small")).unwrap(), b"one");
        let names = |owner: &str| -> Vec<String> {
            let all = cache.all_named().unwrap().into_iter();
            all.filter(|named| named.owner == Path::new(owner)).map(|named| named.name).collect()
        };
        assert_eq!((names("/a"), names("/b"), names("/c")), (vec!["w".into(), "x".into()], vec!["x".into()], vec![]));
        assert!(cache.remove_named(Path::new("/a"), "x").unwrap());
        assert!(!cache.remove_named(Path::new("/a"), "x").unwrap());
        assert_eq!((names("/a"), names("/b")), (vec!["w".to_owned()], vec!["x".to_owned()]));
        assert!(!place.exists());
    }

    #[test]
    fn a_name_that_is_taken_is_only_replaced_when_that_is_wanted() {
        let (_folder, cache) = cache();
        let place = give(&cache, "/a", "x", "one");
        slot(&cache, "two").commit(Path::new("/a"), "x", Vec::new(), Vec::new(), false).unwrap_err();
        assert_eq!(fs::read(place.join("small")).unwrap(), b"one");
        let second = slot(&cache, "two").commit(Path::new("/a"), "x", Vec::new(), Vec::new(), true).unwrap();
        assert_eq!(fs::read(second.join("small")).unwrap(), b"two");
        assert!(
            !place.exists() && second != place,
            "who has read where the first lies finds nothing of the second there"
        );
        let left = fs::read_dir(cache.root().join("tmp")).unwrap().flatten().map(|entry| entry.path());
        let left: Vec<_> = left.filter(|path| path.is_dir()).flat_map(|path| fs::read_dir(path).unwrap()).collect();
        // That of the name that was refused goes with the handle.
        assert!(left.len() <= 1, "{left:?}");
    }

    #[test]
    fn to_remove_one_takes_no_room() {
        let (_folder, cache) = cache();
        let place = give(&cache, "/a", "x", "one");
        let later = Cache::open(cache.root()).unwrap();
        drop(cache);
        // As on a full disk: nothing can be made there.
        let tmp = later.root().join("tmp");
        fs::remove_dir_all(&tmp).unwrap();
        fs::write(&tmp, "").unwrap();
        later.workspace().unwrap_err();
        assert!(later.remove_named(Path::new("/a"), "x").unwrap());
        assert!(!place.exists());
    }

    #[test]
    fn what_was_done_to_a_file_is_noticed() {
        let (_folder, cache) = cache();
        let damages: [&dyn Fn(&Path); 3] = [
            &|path| fs::write(path.join("small"), "smell").unwrap(),
            &|path| fs::remove_file(path.join("large")).unwrap(),
            &|path| fs::write(path.join("large"), vec![0; 4 << 20 | 1]).unwrap(),
        ];
        for (n, (damage, file)) in damages.iter().zip(["small", "large", "large"]).enumerate() {
            let name = n.to_string();
            damage(&give(&cache, "/a", &name, "small"));
            let found = cache.named(Path::new("/a"), &name).unwrap().unwrap();
            assert_eq!(found.damaged.as_deref(), Some(file), "damage {n}");
        }
    }
}
