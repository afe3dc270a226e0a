//! Who may use the files of a cache: one user, or a group whose members trust each other. The cache's file `version` says which since it was made,
//! whatever umask or setting anybody has; which group that is, its folder says, which has the setgid bit and is writable for that group.
//! In a group's cache folders are 2770, files 0660, and what is sealed 0464 and 0575 (folders of trees 0775): not for its owner to write, but for
//! the other members, since Linux links a file of another owner only for who may read and write it (`fs.protected_hardlinks`, proc(5)), and removes what is in
//! a folder only for who may write that. Nobody else comes past the first folder. What is of one user alone lies in `own/<uid>` (0700), see [`OWN`].
//!
//! Does not know what is in the files.

use crate::error::{Result, at};
use crate::{Cache, Error};
use rustix::fs::OFlags;
use rustix::process::{getegid, geteuid, getgroups};
use std::fs::{self, File, Metadata, Permissions};
use std::io;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt, PermissionsExt, fchown};
use std::path::{Path, PathBuf};

/// The folder of members' own folders.
pub(crate) const FOLDER: &str = "own";

/// What each member has alone: places where something is being made, with its scripts' own modes; memories of machines; and what goes on from
/// what its owner made before.
const OWN: &[&str] = &["aside", "named", "named-files", "passing", "scratch", "tmp", "wrong"];

/// Setgid, and writable for the group.
const GROUPS: u32 = 0o2020;
const OTHERS_WRITE: u32 = 0o002;
/// Keeps members from removing each other's folders.
const STICKY: u32 = 0o1000;
const SHARED_FOLDER: u32 = 0o2770;
const SHARED_FILE: u32 = 0o660;

/// Who may use a cache.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Access {
    /// Its user.
    Own,
    /// The members of the group of this number.
    Group(u32),
}

/// The name of a group of this machine, or its number where /etc/group has none.
#[must_use]
pub fn group_name(gid: u32) -> String {
    let text = fs::read_to_string("/etc/group").unwrap_or_default();
    let name = text.lines().find_map(|line| {
        let mut fields = line.split(':');
        let name = fields.next()?;
        (fields.nth(1)?.parse() == Ok(gid)).then_some(name)
    });
    name.map_or_else(|| format!("{gid}"), str::to_owned)
}

/// Whether a file with these permissions is the group's to write, and its owner's not.
pub(crate) fn is_sealed_mode(mode: u32, executable: bool) -> bool {
    [Access::Own, Access::Group(0)].iter().any(|access| mode & 0o7777 == access.sealed_mode(executable))
}

/// As [`is_sealed_mode`], of a folder in a tree.
pub(crate) fn is_tree_mode(mode: u32) -> bool {
    [Access::Own, Access::Group(0)].iter().any(|access| mode & 0o7777 == access.tree_mode())
}

fn is_mine(meta: &Metadata) -> bool {
    meta.uid() == geteuid().as_raw()
}

fn is_in(gid: u32) -> bool {
    getgroups().unwrap_or_default().iter().chain([&getegid()]).any(|group| group.as_raw() == gid)
}

fn set(file: &File, meta: &Metadata, gid: u32, mode: u32) -> io::Result<()> {
    if meta.gid() != gid {
        fchown(file, None, Some(gid))?;
    }
    if meta.mode() & 0o7777 != mode {
        file.set_permissions(Permissions::from_mode(mode))?;
    }
    Ok(())
}

/// Whether a link to this file may be refused to this user.
pub(crate) fn is_anothers(path: &Path) -> bool {
    fs::symlink_metadata(path).is_ok_and(|meta| !is_mine(&meta))
}

impl Access {
    /// Whose a group's cache is, as its folder says. Root takes part only if asked to, or in a folder of its own: what members made runs as root.
    pub(crate) fn of(root: &Path, meta: &Metadata, wants_group: bool) -> Result<Self> {
        if meta.mode() & GROUPS != GROUPS {
            return Ok(Self::Own);
        }
        let (gid, dir) = (meta.gid(), root.display());
        if meta.mode() & OTHERS_WRITE != 0 {
            return Err(Error::new(format!(
                "everybody may write to {dir}, and would decide what its group {} builds and runs: chmod o-rwx {dir}",
                group_name(gid)
            )));
        }
        let is_root = geteuid().is_root() && (wants_group || is_mine(meta));
        if is_root || is_in(gid) {
            return Ok(Self::Group(gid));
        }
        if geteuid().is_root() {
            return Err(Error::new(format!(
                "{dir} is the cache of the group {}, whose members would decide what runs as root: set QUIZ_CACHE_SHARED=group if that is meant, or use another folder",
                group_name(gid)
            )));
        }
        Err(Error::new(format!(
            "{dir} is the cache of the group {name}, and this process is not in it: have somebody type `usermod -aG {name} USER` and log in again, or use another folder",
            name = group_name(gid)
        )))
    }

    /// The permissions of a sealed file.
    pub(crate) fn sealed_mode(self, executable: bool) -> u32 {
        match (self, executable) {
            (Self::Own, false) => 0o444,
            (Self::Own, true) => 0o555,
            (Self::Group(_), false) => 0o464,
            (Self::Group(_), true) => 0o575,
        }
    }

    fn tree_mode(self) -> u32 {
        if self == Self::Own { 0o755 } else { 0o775 }
    }

    /// Gives a sealed file the mode and the group that the cache wants. Another member's file was given them before.
    pub(crate) fn give_sealed(self, path: &Path, executable: bool) -> Result<()> {
        self.give(path, self.sealed_mode(executable)).map_err(at("set the group of", path))
    }

    /// As [`Self::give_sealed`], for a folder of a tree.
    pub(crate) fn give_tree_folder(self, path: &Path) -> Result<()> {
        self.give(path, self.tree_mode()).map_err(at("set the group of", path))
    }

    /// As [`Self::give_sealed`], for any other file.
    pub(crate) fn give_file(self, path: &Path) -> io::Result<()> {
        self.give(path, SHARED_FILE)
    }

    /// Works on the opened file, and not on its name, which another member may give to something else meanwhile.
    fn give(self, path: &Path, mode: u32) -> io::Result<()> {
        let Self::Group(gid) = self else { return Ok(()) };
        let flags = OFlags::NOFOLLOW | OFlags::NONBLOCK;
        let file = match File::options().read(true).custom_flags(flags.bits().cast_signed()).open(path) {
            Ok(file) => file,
            // It is another user's, whose matter this is.
            Err(e) if e.kind() == io::ErrorKind::PermissionDenied => return Ok(()),
            Err(_) if fs::symlink_metadata(path).is_ok_and(|meta| meta.is_symlink()) => return Ok(()),
            Err(e) => return Err(e),
        };
        let meta = file.metadata()?;
        // What a script made as root may be any user's.
        if is_mine(&meta) || geteuid().is_root() { set(&file, &meta, gid, mode) } else { Ok(()) }
    }

    /// As [`Self::give_file`], for a file that was just made, before others can find it locked.
    pub(crate) fn give_open(self, file: &File) -> io::Result<()> {
        let Self::Group(gid) = self else { return Ok(()) };
        let meta = file.metadata()?;
        if is_mine(&meta) { set(file, &meta, gid, SHARED_FILE) } else { Ok(()) }
    }

    /// Makes a folder in which all who use the cache may make and remove things, and those above it that are missing.
    pub(crate) fn create_folder(self, path: &Path) -> io::Result<()> {
        match self {
            Self::Own => fs::create_dir_all(path),
            Self::Group(_) => self.create_shared(path, SHARED_FOLDER),
        }
    }

    fn create_shared(self, path: &Path, mode: u32) -> io::Result<()> {
        if path.is_dir() {
            return Ok(());
        }
        let parent = path.parent().unwrap_or(path);
        self.create_folder(parent)?;
        // With its mode before it has its name: nobody ever meets one that the umask has closed.
        let new = tempfile::Builder::new().prefix(".new-").tempdir_in(parent)?;
        self.give(new.path(), mode)?;
        match fs::rename(new.path(), path) {
            Ok(()) => drop(new.keep()),
            // Somebody else has made it meanwhile.
            Err(_) if path.is_dir() => {}
            Err(e) => return Err(e),
        }
        Ok(())
    }

    /// The folder of what is this user's alone. Makes it.
    pub(crate) fn own_folder(self, root: &Path) -> Result<PathBuf> {
        if self == Self::Own {
            return Ok(root.to_owned());
        }
        let (all, me) = (root.join(FOLDER), geteuid().as_raw());
        let own = all.join(me.to_string());
        let make = || {
            self.create_shared(&all, SHARED_FOLDER | STICKY)?;
            match fs::DirBuilder::new().mode(0o700).create(&own) {
                Err(e) if e.kind() == io::ErrorKind::AlreadyExists => return Ok(()),
                other => other?,
            }
            // The folder does not have the cache's group: files in it would inherit that, which no script expects.
            let made = File::options().read(true).custom_flags(OFlags::NOFOLLOW.bits().cast_signed()).open(&own)?;
            fchown(&made, None, Some(getegid().as_raw()))
        };
        make().map_err(at("create the folder", &own))?;
        let meta = fs::symlink_metadata(&own).map_err(at("look at", &own))?;
        if !meta.is_dir() || !is_mine(&meta) {
            return Err(Error::new(format!(
                "{} is the place for what user {me} alone has in this cache, but belongs to another user: have its owner, or root, type rm -r {}",
                own.display(),
                own.display()
            )));
        }
        if meta.mode() & 0o7777 != 0o700 {
            fs::set_permissions(&own, Permissions::from_mode(0o700)).map_err(at("set the mode of", &own))?;
        }
        Ok(own)
    }

    /// Makes an empty folder the group's: that which it has, or gets from the folder that it lies in.
    pub(crate) fn make_groups(root: &Path) -> Result<Self> {
        let look = || fs::metadata(root).map_err(at("look at", root));
        let meta = look()?;
        match Self::of(root, &meta, true)? {
            // chmod(2) would leave out the setgid bit, say nothing, and let that group in.
            Self::Own if !geteuid().is_root() && !is_in(meta.gid()) => Err(Error::new(format!(
                "{dir} cannot be made the cache of the group {name}, as this process is not in that group: chgrp GROUP {dir}",
                dir = root.display(),
                name = group_name(meta.gid())
            ))),
            Self::Own => {
                fs::set_permissions(root, Permissions::from_mode(SHARED_FOLDER))
                    .map_err(at("set the mode of", root))?;
                Self::of(root, &look()?, true)
            }
            group => Ok(group),
        }
    }

    /// Whether an empty folder was made for a group. One that others may look into (2775), as volumes of containers come, is for one user alone.
    pub(crate) fn is_meant(meta: &Metadata) -> bool {
        meta.mode() & GROUPS == GROUPS && meta.mode() & 0o007 == 0
    }

    /// The error of a cache that is one user's, where a group's is wanted.
    pub(crate) fn not_shared(root: &Path) -> Error {
        let dir = root.display();
        Error::new(format!(
            "{dir} is a cache of one user alone, and one of a group is asked for: mv {dir} {dir}.old (what is in it only costs time), mkdir {dir}, chgrp GROUP {dir}, and once more; or use another folder"
        ))
    }

    /// The error of a group's cache whose folder no longer says so: a process that took it for a user's own would lock the others out.
    pub(crate) fn lost(root: &Path) -> Error {
        let dir = root.display();
        Error::new(format!(
            "{dir} is the cache of a group, but its folder is no longer the group's to write: chmod 2770 {dir}"
        ))
    }
}

impl Cache {
    /// The group that shares the cache; `None` if it is its user's alone.
    pub fn group(&self) -> Option<u32> {
        match self.access() {
            Access::Own => None,
            Access::Group(gid) => Some(gid),
        }
    }

    /// Where a folder of the cache lies.
    pub(crate) fn folder(&self, folder: &str) -> PathBuf {
        let base = if OWN.contains(&folder) { self.own() } else { self.root() };
        base.join(folder)
    }

    /// Gives a file its place, where all who use the cache find it.
    pub(crate) fn put_file(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.access().give_file(from)?;
        self.rename_into(from, to)
    }

    /// Renames; makes the folder that it goes to when that is missing.
    pub(crate) fn rename_into(&self, from: &Path, to: &Path) -> io::Result<()> {
        match fs::rename(from, to) {
            Err(e) if e.kind() == io::ErrorKind::NotFound && from.symlink_metadata().is_ok() => {
                self.create_for(to)?;
                fs::rename(from, to)
            }
            other => other,
        }
    }

    /// Who may use what lies at this place: what is in a user's own folder of a group's cache is nobody else's.
    pub(crate) fn access_at(&self, path: &Path) -> Access {
        if path.starts_with(self.own()) && self.group().is_some() { Access::Own } else { self.access() }
    }

    /// Makes the folder in which something is to lie.
    pub(crate) fn create_for(&self, path: &Path) -> io::Result<()> {
        self.access_at(path).create_folder(path.parent().unwrap_or(path))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Digest, Roots};
    use std::collections::BTreeSet;
    use std::time::Duration;

    fn shared() -> (tempfile::TempDir, Cache) {
        let dir = tempfile::tempdir().unwrap();
        let cache = Cache::open_shared(&dir.path().join("above/cache")).unwrap();
        (dir, cache)
    }

    fn mode(path: &Path) -> u32 {
        path.metadata().unwrap().mode() & 0o7777
    }

    #[test]
    fn who_opens_a_groups_cache_uses_it_as_the_group_does_and_one_of_his_own_is_never_made_one() {
        let (dir, cache) = shared();
        let root = cache.root();
        assert_eq!((mode(root), mode(cache.own())), (0o2770, 0o700));
        let again = Cache::open(root).unwrap();
        assert_eq!((again.group(), again.own()), (cache.group(), cache.own()));
        assert_eq!(cache.group(), Some(root.metadata().unwrap().gid()));
        let own = dir.path().join("own");
        assert_eq!(Cache::open(&own).unwrap().own(), own);
        assert_eq!(mode(&own), 0o700);
        assert!(Cache::open_shared(&own).unwrap_err().to_string().contains("of one user alone"));
    }

    #[test]
    fn what_a_named_result_needs_others_know_and_the_result_they_do_not() {
        let (_dir, cache) = shared();
        let digest = Digest::of(b"needed");
        let slot = cache.named_slot().unwrap();
        fs::write(slot.path().join("memory"), "secret").unwrap();
        let path = slot.commit(Path::new("/a"), "x", Vec::new(), vec![digest], false).unwrap();
        assert!(path.starts_with(cache.own()) && !cache.root().join("named").exists());
        let needs = cache.needs().unwrap();
        assert_eq!(needs.iter().map(|need| need.digests.clone()).collect::<Vec<_>>(), [BTreeSet::from([digest])]);
        // Once the second one has come, what the first one needed is needed no more.
        let other = Digest::of(b"other");
        cache.named_slot().unwrap().commit(Path::new("/a"), "x", Vec::new(), vec![other], true).unwrap();
        let needs = cache.needs().unwrap();
        assert_eq!(needs.iter().map(|need| need.digests.clone()).collect::<Vec<_>>(), [BTreeSet::from([other])]);
        cache.remove_named(Path::new("/a"), "x").unwrap();
        cache.collect(Duration::ZERO, &Roots::default(), false, &|_| {}).unwrap();
        assert_eq!(cache.needs().unwrap(), []);
    }
}
