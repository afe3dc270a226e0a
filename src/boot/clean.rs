//! Removes of a project's `.quiz` what quiz itself made there: runs that are over, or all of it.
//!
//! What people write there stays (recipes, profiles, a quiz.toml, and what has any other name), and so does what guests wrote: `shared`, and disks that
//! outlive their machines. No link is followed: the folder may have come along with a project.

use super::folder::{CRASH, IGNORE, all, is_live, number, parts};
use super::staging::{lock_runs, sweep};
use crate::error::Result;
use crate::host;
use std::fs::{self, Metadata};
use std::io::{self, Read};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

/// What is removed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scope {
    /// Runs that are over, and left no crash.
    Runs,
    /// Also what is left of crashes, and all else that is made again when it is wanted.
    All,
}

/// What was removed, or would be, and what stays.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Cleaned {
    /// Paths below `.quiz`, with their bytes on the disk.
    pub removed: Vec<(PathBuf, u64)>,
    /// What the user may have expected to go as well, and why it stays.
    pub left: Vec<(PathBuf, &'static str)>,
    /// The first of what could not be removed, and what the system says of that. A part of it may be gone.
    pub failed: Option<String>,
}

/// Files and folders of a project's `.quiz` that are made again when they are wanted.
const MADE: &[&str] = &["compile-commands", "compile_commands.json", "rust-project.json", "ssh_config", "toolchain"];
/// Folders with what guests wrote.
const WRITTEN: &[&str] = &["disks", "shared"];

/// Removes what `scope` says from `base`, a project's `.quiz`; with `only_look` it is only counted.
///
/// # Errors
/// Something cannot be listed or locked. What cannot be removed stays, and all else goes.
pub fn clean(base: &Path, scope: Scope, only_look: bool) -> Result<Cleaned> {
    let mut erase = |path: &Path, is_folder| if is_folder { fs::remove_dir_all(path) } else { fs::remove_file(path) };
    clean_by(base, scope, (!only_look).then_some(&mut erase))
}

/// Removes a file, or, when the flag is set, a folder with all below it; `None` removes nothing.
type Erase<'a> = Option<&'a mut dyn FnMut(&Path, bool) -> io::Result<()>>;

/// As [`clean`]; what goes is removed by calling `erase`, and only counted without one.
fn clean_by(base: &Path, scope: Scope, mut erase: Erase<'_>) -> Result<Cleaned> {
    let only_look = erase.is_none();
    let mut cleaned = Cleaned::default();
    let is_folder = |path: &Path| fs::symlink_metadata(path).is_ok_and(|meta| meta.is_dir());
    if !is_folder(base) {
        return Ok(cleaned);
    }
    let runs = base.join("runs");
    if is_folder(&runs) {
        // The lock keeps others from beginning a run meanwhile. Where nothing is removed nobody has to be kept waiting.
        let _alone = if only_look { None } else { Some(lock_runs(&runs)?) };
        if !only_look {
            sweep(&runs);
        }
        for run in all(base)? {
            let below = Path::new("runs").join(number(&run));
            match stays(&run, scope) {
                Some(why) => cleaned.left.push((below, why)),
                None => remove(base, below, &mut erase, &mut cleaned),
            }
        }
        if scope == Scope::All && !only_look && cleaned.left.is_empty() {
            drop(fs::remove_file(runs.join("lock")).and_then(|()| fs::remove_dir(&runs)));
            if is_folder(&runs) {
                cleaned.left.push((
                    PathBuf::from("runs"),
                    "it has something in it that is no run, or a crash that is being imported",
                ));
            }
        }
    }
    if scope == Scope::Runs {
        return Ok(cleaned);
    }
    for name in MADE.iter().filter(|name| fs::symlink_metadata(base.join(name)).is_ok()) {
        remove(base, PathBuf::from(name), &mut erase, &mut cleaned);
    }
    for name in WRITTEN {
        let path = base.join(name);
        match fs::read_dir(&path).map(|mut entries| entries.next().is_none()) {
            Ok(true) if is_folder(&path) => remove(base, PathBuf::from(name), &mut erase, &mut cleaned),
            Ok(_) => cleaned.left.push((PathBuf::from(name), "guests wrote to it")),
            Err(_) => {}
        }
    }
    // Stays as long as something is left that git shall not see: this file hides it.
    let ignore = base.join(".gitignore");
    if cleaned.left.is_empty() && is_ours(&ignore) {
        remove(base, PathBuf::from(".gitignore"), &mut erase, &mut cleaned);
    }
    if !only_look {
        // Fails, and the folder stays, if something of the user's is in it.
        let _ = fs::remove_dir(base);
    }
    Ok(cleaned)
}

/// Why a run is not removed.
fn stays(run: &Path, scope: Scope) -> Option<&'static str> {
    let has_crash = |place: &PathBuf| fs::symlink_metadata(place.join(CRASH)).is_ok();
    if is_live(run) {
        Some("it still runs")
    } else if scope == Scope::Runs && (has_crash(&run.to_owned()) || parts(run).iter().any(has_crash)) {
        Some("its guest crashed; `quiz clean --all` or `quiz crash rm` removes it")
    } else {
        None
    }
}

/// Whether that file is the one which quiz writes. A project may have brought another.
fn is_ours(ignore: &Path) -> bool {
    let mut text = String::new();
    let read = host::open_plain(ignore).and_then(|file| file.take(IGNORE.len() as u64 + 1).read_to_string(&mut text));
    read.is_ok() && text == IGNORE
}

/// Removes one file or folder. If that fails it is noted as left, and the next one is removed all the same.
fn remove(base: &Path, below: PathBuf, erase: &mut Erase<'_>, cleaned: &mut Cleaned) {
    let path = base.join(&below);
    let Ok(meta) = fs::symlink_metadata(&path) else { return };
    let bytes = bytes(&path, &meta);
    match erase.as_mut().map_or(Ok(()), |erase| erase(&path, meta.is_dir())) {
        Ok(()) => cleaned.removed.push((below, bytes)),
        Err(e) => {
            cleaned.failed.get_or_insert_with(|| format!("{}: {e}", path.display()));
            cleaned.left.push((below, "it cannot be removed, or only in part"));
        }
    }
}

/// Bytes on the disk of something and all below it.
fn bytes(path: &Path, meta: &Metadata) -> u64 {
    let entries = meta.is_dir().then(|| fs::read_dir(path)).into_iter().flatten().flatten().flatten();
    let below = entries.filter_map(|entry| Some(bytes(&entry.path(), &entry.metadata().ok()?)));
    meta.blocks() * 512 + below.sum::<u64>()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::boot::{Retention, RunFolder};

    fn names(base: &Path) -> Vec<String> {
        let entries = fs::read_dir(base).into_iter().flatten().flatten();
        let mut names: Vec<String> = entries.map(|e| e.file_name().into_string().unwrap()).collect();
        names.sort();
        names
    }

    fn below(paths: &[(PathBuf, u64)]) -> Vec<&str> {
        paths.iter().map(|(path, _)| path.to_str().unwrap()).collect()
    }

    /// A run that lives, one that crashed, one that is over, of four; and all that quiz and its user have in the folder.
    fn project(base: &Path) -> RunFolder {
        let run = || RunFolder::create(base, Retention::ALL).unwrap();
        let lives = run();
        let (over, crashed, part) = (run(), run(), run());
        fs::write(over.out().join("x"), vec![1; 100_000]).unwrap();
        fs::create_dir(crashed.path().join(CRASH)).unwrap();
        fs::create_dir(part.part("a").unwrap().path().join(CRASH)).unwrap();
        for (name, text) in [
            ("recipes/mine/recipe.toml", "x"),
            ("profiles/mine/init", "x"),
            ("quiz.toml", "x"),
            ("notes.txt", "x"),
            ("toolchain/kernel", "x"),
            ("compile_commands.json", "[]"),
            ("ssh_config", "x"),
        ] {
            let path = base.join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        }
        lives
    }

    #[test]
    fn runs_that_are_over_go_and_no_crash_and_none_that_lives() {
        let dir = tempfile::tempdir().unwrap();
        let base = dir.path().join(".quiz");
        let lives = project(&base);
        let looked = clean(&base, Scope::Runs, true).unwrap();
        assert!(base.join("runs/2").exists(), "it was only looked at");
        let cleaned = clean(&base, Scope::Runs, false).unwrap();
        assert_eq!(cleaned, looked);
        assert_eq!(below(&cleaned.removed), ["runs/2"]);
        assert!(cleaned.removed[0].1 >= 100_000, "{cleaned:?}");
        assert_eq!(cleaned.left.len(), 3);
        assert_eq!(names(&base.join("runs")), ["1", "3", "4", "lock"]);
        assert!(lives.path().join("out").exists() && base.join("toolchain/kernel").exists());
        assert_eq!(clean(&base, Scope::Runs, false).unwrap().removed, []);
    }

    #[test]
    fn all_that_quiz_made_goes_and_nothing_of_its_user_or_of_guests() {
        let dir = tempfile::tempdir().unwrap();
        let base = dir.path().join(".quiz");
        let lives = project(&base);
        fs::write(base.join("shared/kept"), "x").unwrap();
        let cleaned = clean(&base, Scope::All, false).unwrap();
        assert_eq!(names(&base), [".gitignore", "notes.txt", "profiles", "quiz.toml", "recipes", "runs", "shared"]);
        assert_eq!(names(&base.join("runs")), ["1", "lock"]);
        assert_eq!(cleaned.left.len(), 2);
        drop(lives);
        fs::remove_file(base.join("shared/kept")).unwrap();
        let looked = clean(&base, Scope::All, true).unwrap();
        assert_eq!(clean(&base, Scope::All, false).unwrap(), looked);
        assert_eq!(names(&base), ["notes.txt", "profiles", "quiz.toml", "recipes"]);
        assert!(base.join("recipes/mine/recipe.toml").exists() && base.join("profiles/mine/init").exists());
        // A run begins anew.
        RunFolder::create(&base, Retention::ALL).unwrap();
    }

    #[test]
    fn nothing_is_left_of_a_folder_in_which_quiz_alone_wrote_and_a_link_leads_nowhere() {
        let dir = tempfile::tempdir().unwrap();
        let base = dir.path().join(".quiz");
        drop(RunFolder::create(&base, Retention::ALL).unwrap());
        clean(&base, Scope::All, false).unwrap();
        assert!(!base.exists());
        // What a project may have brought along.
        let outside = dir.path().join("outside");
        fs::create_dir_all(outside.join("runs/1")).unwrap();
        fs::write(outside.join("toolchain"), "x").unwrap();
        std::os::unix::fs::symlink(&outside, &base).unwrap();
        assert_eq!(clean(&base, Scope::All, false).unwrap(), Cleaned::default());
        fs::remove_file(&base).unwrap();
        fs::create_dir(&base).unwrap();
        std::os::unix::fs::symlink(outside.join("runs"), base.join("runs")).unwrap();
        std::os::unix::fs::symlink(&outside, base.join("toolchain")).unwrap();
        assert_eq!(below(&clean(&base, Scope::All, false).unwrap().removed), ["toolchain"]);
        assert!(outside.join("runs/1").exists() && outside.join("toolchain").exists());
    }

    #[test]
    fn what_a_killed_import_left_goes_and_one_that_goes_on_stays_hidden_from_git() {
        let dir = tempfile::tempdir().unwrap();
        let base = dir.path().join(".quiz");
        drop(RunFolder::create(&base, Retention::ALL).unwrap());
        fs::create_dir_all(base.join("runs/.import-dead/crash")).unwrap();
        let goes_on = crate::boot::staging::Staging::new(&base).unwrap();
        fs::create_dir_all(base.join("runs/.import-killed/crash")).unwrap();
        let cleaned = clean(&base, Scope::All, false).unwrap();
        assert_eq!(cleaned.left.iter().map(|(path, _)| path.to_str().unwrap()).collect::<Vec<_>>(), ["runs"]);
        assert_eq!(names(&base), [".gitignore", "runs"]);
        assert_eq!(names(&base.join("runs")).len(), 1, "that which goes on");
        drop(goes_on);
        fs::create_dir_all(base.join("runs/.import-killed/crash")).unwrap();
        clean(&base, Scope::All, false).unwrap();
        assert!(!base.exists());
    }

    #[test]
    fn a_run_that_cannot_be_removed_is_left_and_the_others_go() {
        let dir = tempfile::tempdir().unwrap();
        let base = dir.path().join(".quiz");
        for _ in 0..3 {
            drop(RunFolder::create(&base, Retention::ALL).unwrap());
        }
        let mut erase = |path: &Path, _| match path.ends_with("2") {
            true => Err(io::Error::from(io::ErrorKind::PermissionDenied)),
            false => fs::remove_dir_all(path),
        };
        let cleaned = clean_by(&base, Scope::All, Some(&mut erase)).unwrap();
        assert_eq!(cleaned.left, [(PathBuf::from("runs/2"), "it cannot be removed, or only in part")]);
        assert!(cleaned.failed.is_some_and(|why| why.contains("runs/2: ")));
        assert_eq!(names(&base.join("runs")), ["2", "lock"]);
        assert!(base.join(".gitignore").exists(), "or git would see it");
    }
}
