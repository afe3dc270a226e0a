//! The folders of the host that a machine sees: those of its run, and any others, each at its own path in the guest.
//!
//! Knows nothing of how a guest mounts them.

use super::Engine;
use crate::boot::{Mounted, RunFolder};
use crate::error::{Error, Result};
use crate::load::{Device, ShareMode};
use crate::machine::Share;
use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt;
use std::path::{Component, Path, PathBuf};

/// Those of each run, by tag: the guest mounts each at `/<tag>`.
const SHARED: &str = "shared";
const OUT: &str = "out";

/// A machine has devices for so many others, whether it uses them or not: one that is restored cannot get more.
pub const MOST: usize = 4;

/// What a guest cannot do without, and would not find any more below a share.
const NEEDED: &[&str] = &["/usr/bin", "/usr/sbin", "/usr/lib", "/usr/lib64", "/usr/share", "/var", "/tmp", "/run"];
/// Where nothing of the host's can lie: links into /usr, and what the guest's kernel and quiz have there.
const TAKEN: &[&str] =
    &["/bin", "/sbin", "/lib", "/lib64", "/etc", "/proc", "/sys", "/dev", "/run/quiz", "/shared", "/out", "/.quiz"];

/// A folder of the host that somebody wants in the guest, at the same path.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Folder {
    /// Without links in it.
    pub path: PathBuf,
    /// What happens to what the guest writes there.
    pub mode: ShareMode,
}

/// Those that the profiles that are on bring, and those that were asked for in words: `DIR`, `DIR:ro`, `DIR:overlay`. Of several machines
/// none may write what another one reads: `alone` says that there is only one.
///
/// # Errors
/// One is no folder, or no guest can have it there; there are too many; one is for writing by several machines.
pub fn wanted(engine: &Engine<'_>, words: &[OsString], alone: bool) -> Result<Vec<Folder>> {
    let mut folders = Vec::new();
    for profile in &engine.project.profiles {
        for device in &profile.devices {
            let Device::Share { path, mode } = device else { continue };
            let says = format!("the profile {} shares {path:?}", profile.name);
            // A guest that writes into the project can make the host run something: git runs what lies in `.git/hooks`, quiz what `.quiz` says.
            if *mode == ShareMode::ReadWrite {
                return Err(Error::input(format!("{says} for writing, which no profile may"))
                    .hint("mode = \"ro\" or \"overlay\"; `quiz up --share DIR` lets the guest write"));
            }
            // A profile comes with a clone; who wrote it does not choose among the other folders of whoever turns it on.
            if Path::new(path).components().any(|part| !matches!(part, Component::Normal(_) | Component::CurDir)) {
                return Err(Error::input(format!("{says}, which is not below the project's folder"))
                    .hint("quiz up --share DIR takes any folder"));
            }
            let folder = folder(&engine.project.dir.join(path), *mode, &says)?;
            if !folder.path.starts_with(engine.project.dir.canonicalize().unwrap_or_default()) {
                return Err(Error::input(format!("{says}, which leads out of the project's folder"))
                    .hint("quiz up --share DIR takes any folder"));
            }
            folders.push(folder);
        }
    }
    for word in words {
        let (path, mode) = asked(word, alone)?;
        folders.push(folder(Path::new(path), mode, &format!("--share {}", word.display()))?);
    }
    together(folders)
}

/// `DIR:ro` as a folder and what is done with it.
fn split(word: &OsStr) -> (&OsStr, ShareMode) {
    let endings = [(":ro", ShareMode::ReadOnly), (":overlay", ShareMode::Overlay), (":rw", ShareMode::ReadWrite)];
    let found = endings.iter().find_map(|(end, mode)| Some((word.as_bytes().strip_suffix(end.as_bytes())?, *mode)));
    found.map_or((word, ShareMode::ReadWrite), |(path, mode)| (OsStr::from_bytes(path), mode))
}

/// As [`split`], for one machine (`alone`) or several: those get a folder for reading, and one that was asked for with `:rw` is refused.
fn asked(word: &OsStr, alone: bool) -> Result<(&OsStr, ShareMode)> {
    match split(word) {
        (path, ShareMode::ReadWrite) if !alone && path == word => Ok((path, ShareMode::ReadOnly)),
        (_, ShareMode::ReadWrite) if !alone => {
            let says = format!("--share {}: no test may write what another one reads", word.display());
            Err(Error::input(says)
                .hint("DIR:overlay keeps what a test writes in its guest's memory; what shall stay has to go to /out"))
        }
        found => Ok(found),
    }
}

fn folder(path: &Path, mode: ShareMode, says: &str) -> Result<Folder> {
    let real = path.canonicalize().map_err(|e| Error::input(format!("{says}: no such folder")).because(e))?;
    if !real.is_dir() {
        let parent = real.parent().unwrap_or(&real).display().to_string();
        return Err(Error::input(format!("{says}: {} is no folder", real.display()))
            .hint(format!("--share {parent}:ro shares the folder that it is in; `quiz cp` copies a file")));
    }
    let hides = NEEDED.iter().chain(TAKEN).find(|needed| Path::new(needed).starts_with(&real));
    if let Some(own) = hides.or_else(|| TAKEN.iter().find(|taken| real.starts_with(taken))) {
        return Err(Error::input(format!("{says}: the guest has its own {own} there")).hint(
            "a share lies at the same path in the guest; share a folder further down, or put it into .quiz/shared",
        ));
    }
    Ok(Folder { path: real, mode })
}

/// None lies under another: which of the two is mounted first would decide what the guest sees.
fn together(folders: Vec<Folder>) -> Result<Vec<Folder>> {
    let mut all: Vec<Folder> = Vec::new();
    for folder in folders {
        if all.contains(&folder) {
            continue;
        }
        let is_over = |other: &&Folder| folder.path.starts_with(&other.path) || other.path.starts_with(&folder.path);
        if let Some(other) = all.iter().find(is_over) {
            let (path, other) = (folder.path.display(), other.path.display());
            return Err(Error::input(format!(
                "one share cannot lie in another, or be shared in two ways: {path} and {other}"
            ))
            .hint("share the upper one alone"));
        }
        all.push(folder);
    }
    if all.len() > MOST {
        return Err(Error::input(format!("{} shares are too many: a machine has room for {MOST}", all.len()))
            .hint("share a folder that holds several of them"));
    }
    Ok(all)
}

/// The devices of the machine that runs in that folder; `alone` as of [`wanted`], of which the folders are: `/shared` is for reading then, too.
pub fn devices(folder: &RunFolder, folders: &[Folder], alone: bool) -> Vec<Share> {
    at([folder.shared(), &folder.out(), &folder.nothing()], folders, alone)
}

/// As [`devices`], with any folders: what all runs share, what comes back of the run, and an empty one.
pub fn at([shared, out, nothing]: [&Path; 3], folders: &[Folder], alone: bool) -> Vec<Share> {
    let own = |tag: &str, path: &Path, read_only| Share {
        tag: tag.to_owned(),
        path: path.to_owned(),
        read_only,
        spare: false,
    };
    let spare = (0..MOST).map(|number| {
        let (path, read_only) = match folders.get(number) {
            Some(Folder { path, mode }) => (path.as_path(), *mode != ShareMode::ReadWrite),
            None => (nothing, true),
        };
        Share { tag: tag(number), path: path.to_owned(), read_only, spare: true }
    });
    [own(SHARED, shared, !alone), own(OUT, out, false)].into_iter().chain(spare).collect()
}

/// Where the guest finds them.
pub fn mounts(folders: &[Folder]) -> Vec<Mounted> {
    let mount =
        |(number, Folder { path, mode }): (usize, &Folder)| Mounted { tag: tag(number), at: path.clone(), mode: *mode };
    folders.iter().enumerate().map(mount).collect()
}

/// The folder of the guest in which a program starts: as it was asked for, or, if that is relative, the one of that name here, which has to be
/// one of `folders`, if these are known, or in one.
///
/// # Errors
/// There is no such folder, or the guest does not see it.
pub fn dir(asked: &OsStr, folders: Option<&[Folder]>) -> Result<PathBuf> {
    if Path::new(asked).is_absolute() {
        return Ok(asked.into());
    }
    let says = format!("--cwd {}", asked.display());
    let here =
        Path::new(asked).canonicalize().map_err(|e| Error::input(format!("{says}: no such folder")).because(e))?;
    if folders.is_some_and(|folders| !folders.iter().any(|folder| here.starts_with(&folder.path))) {
        return Err(Error::input(format!("{says}: the guest does not see {}", here.display()))
            .hint("--share . shares the current folder"));
    }
    Ok(here)
}

fn tag(number: usize) -> String {
    format!("share{number}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn how_a_folder_is_shared_stands_behind_it() {
        let words = ["/a", "/a:ro", "/a:overlay", "/a:ro:rw", "/a:x"].map(OsStr::new);
        let found = words.map(|word| (split(word).0.to_str().unwrap(), split(word).1));
        let (rw, ro, overlay) = (ShareMode::ReadWrite, ShareMode::ReadOnly, ShareMode::Overlay);
        assert_eq!(found, [("/a", rw), ("/a", ro), ("/a", overlay), ("/a:ro", rw), ("/a:x", rw)]);
    }

    #[test]
    fn what_hides_the_guests_own_is_refused() {
        for path in ["/", "/usr", "/etc", "/tmp", "/proc", "/proc/self", "/bin", "/dev/shm", "/var"] {
            let error = folder(Path::new(path), ShareMode::ReadOnly, "--share").unwrap_err().to_string();
            assert!(error.contains("the guest has its own /"), "{path}: {error}");
        }
        for path in ["/usr/local", "/var/cache", "/home"] {
            assert!(folder(Path::new(path), ShareMode::ReadOnly, "--share").is_ok(), "{path}");
        }
    }

    #[test]
    fn shares_lie_beside_each_other_and_there_is_room_for_them() {
        let folder = |path: &str, mode| Folder { path: path.into(), mode };
        let rw = |path: &str| folder(path, ShareMode::ReadWrite);
        assert_eq!(together(vec![rw("/a"), rw("/b"), rw("/a")]).unwrap(), [rw("/a"), rw("/b")]);
        for wrong in
            [vec![rw("/a"), rw("/a/b")], vec![rw("/a/b"), rw("/a")], vec![rw("/a"), folder("/a", ShareMode::ReadOnly)]]
        {
            let error = together(wrong).unwrap_err().to_string();
            assert!(error.starts_with("one share cannot lie in another"), "{error}");
        }
        assert!(together(vec![rw("/a"), rw("/ab"), rw("/b"), rw("/c")]).is_ok());
        let error = together(["/a", "/b", "/c", "/d", "/e"].map(rw).to_vec()).unwrap_err().to_string();
        assert_eq!(error, "5 shares are too many: a machine has room for 4");
    }

    #[test]
    fn every_machine_has_the_same_devices_and_several_cannot_write_for_each_other() {
        let folders = [Folder { path: "/a".into(), mode: ShareMode::ReadWrite }];
        let places = [Path::new("/s"), Path::new("/o"), Path::new("/n")];
        let devices = |folders: &[Folder], alone| {
            let devices = at(places, folders, alone).into_iter();
            devices.map(|s| (s.tag, s.path.display().to_string(), s.read_only)).collect::<Vec<_>>()
        };
        let spare = |number: usize, path: &str, read_only| (format!("share{number}"), path.to_owned(), read_only);
        let own =
            |read_only| [("shared".to_owned(), "/s".to_owned(), read_only), ("out".to_owned(), "/o".to_owned(), false)];
        let rest = [1, 2, 3].map(|number| spare(number, "/n", true));
        assert_eq!(devices(&folders, true), [&own(false)[..], &[spare(0, "/a", false)], &rest].concat());
        let several = asked(OsStr::new("/a"), false).unwrap();
        let folders = [Folder { path: several.0.into(), mode: several.1 }];
        assert_eq!(devices(&folders, false), [&own(true)[..], &[spare(0, "/a", true)], &rest].concat());
        assert_eq!(devices(&[], true), [&own(false)[..], &[spare(0, "/n", true)], &rest].concat());
        assert_eq!(mounts(&folders)[0].mode, ShareMode::ReadOnly);
        assert!(asked(OsStr::new("/a:rw"), false).is_err());
        for word in ["/a", "/a:rw", "/a:overlay"].map(OsStr::new) {
            assert_eq!(asked(word, true).unwrap(), split(word));
        }
    }
}
