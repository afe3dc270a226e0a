//! The folders that a machine was built of, as they were when it crashed, and what its other sources were pinned to: beside the run, until that is removed.
//! Who edits a folder, or updates what is pinned, before anybody has looked at the crash does not take its debug information away.
//!
//! The files may be of a project's making: they say what of git's a folder was then, and nothing of where that folder lies.

use super::{BuiltOf, Engine, SourceFolder, Stages, crashes};
use crate::boot::crash::put;
use crate::boot::folder::is_live;
use crate::build::{Depth, Records, StageState, scan};
use crate::document::Document;
use crate::error::{Error, Result, cannot};
use crate::graph::NodeIndex;
use crate::host;
use crate::source::{Lock, kept};
use quiz_cache::{Cache, Looked};
use serde::{Deserialize, Serialize};
use std::fs::{self, DirBuilder};
use std::io::{self, Read};
use std::os::unix::fs::DirBuilderExt;
use std::path::Path;

/// The file, and the folder with what git needs for it, in the folder of a run.
const FILE: &str = "sources.json";
const OBJECTS: &str = "sources";
/// The most bytes that are read of the file: some paths.
const MOST: u64 = 1 << 20;
/// What its other sources were pinned to, as a quiz.lock.
const LOCK: &str = "sources.lock";
/// The most bytes that are read of it: thousands of packages.
const LONGEST: u64 = 16 << 20;

/// A folder as it was.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Then {
    stage: String,
    folder: String,
    /// The digest of what was in it, as a stage has it.
    source: String,
    /// The id of git's tree, or why there is none.
    kept: std::result::Result<String, String>,
}

/// A folder in which something else is now.
#[derive(Debug)]
pub(super) struct Edited {
    now: SourceFolder,
    then: Then,
    /// Which of the folders with git's objects is its own.
    number: usize,
}

/// Keeps what is in the folders of it now, and what its other sources were pinned to, unless `is_over` says that nobody waits for it any more. What cannot be
/// kept says so to whoever asks for it.
///
/// # Errors
/// It is over, or the run's folder cannot be written.
pub(super) fn keep(cache: &Cache, run: &Path, built_of: &BuiltOf, is_over: &dyn Fn() -> bool) -> Result<()> {
    let BuiltOf { folders, pinned } = built_of;
    if !pinned.is_empty() && run.join(LOCK).symlink_metadata().is_err() {
        put(run, LOCK, pinned.iter().cloned().collect::<Lock>().text().as_bytes())?;
    }
    if folders.is_empty() || run.join(FILE).symlink_metadata().is_ok() {
        return Ok(());
    }
    let objects = run.join(OBJECTS);
    DirBuilder::new().mode(0o700).create(&objects).map_err(|e| cannot("make the folder", &objects, e))?;
    let keep = |(number, one): (usize, &SourceFolder)| {
        keep_one(cache, one, &objects.join(number.to_string())).map_err(|error| in_a_line(&error))
    };
    let kept: Vec<_> = folders.iter().enumerate().map(keep).collect();
    // Whatever git said by then, it may have been ended, too.
    if is_over() { Err(Error::boot("quiz was to end")) } else { note(run, folders, kept) }
}

/// Notes why these folders are not kept.
///
/// # Errors
/// The run's folder cannot be written.
pub(super) fn give_up(run: &Path, folders: &[SourceFolder], why: &str) -> Result<()> {
    note(run, folders, vec![Err(why.to_owned()); folders.len()])
}

/// Has these stages be made of what the sources of the run's machine were pinned to. Says whether they are pinned to something else now.
///
/// # Errors
/// What was kept, or quiz.lock, cannot be read.
pub(super) fn repin(run: &Path, stages: &mut Stages) -> Result<bool> {
    let path = run.join(LOCK);
    let mut bytes = Vec::new();
    match host::open_plain(&path) {
        Ok(file) => file.take(LONGEST).read_to_end(&mut bytes).map_err(|e| cannot("read", &path, e))?,
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(false),
        Err(e) => return Err(cannot("read", &path, e)),
    };
    stages.repin(&Lock::parse(&Document::of_bytes(&path, &bytes)?)?)
}

fn note(run: &Path, folders: &[SourceFolder], kept: Vec<std::result::Result<String, String>>) -> Result<()> {
    let then = folders.iter().zip(kept).map(|(one, kept)| Then {
        stage: one.stage.clone(),
        folder: one.folder.display().to_string(),
        source: one.source.to_string(),
        kept,
    });
    put(run, FILE, serde_json::json!(then.collect::<Vec<_>>()).to_string().as_bytes())
}

fn keep_one(cache: &Cache, one: &SourceFolder, objects: &Path) -> Result<String> {
    if scan(cache, &one.folder, &Looked::default())?.output().digest != one.source {
        return Err(Error::input(format!("{} was edited while the machine ran", one.folder.display())));
    }
    kept::keep(&one.folder, objects)
}

/// The error with what stands below it.
pub(super) fn in_a_line(error: &Error) -> String {
    [&[error.to_string()], error.details()].concat().join(": ")
}

/// Removes what was kept, when no crash of the run is left.
///
/// # Errors
/// It cannot be removed.
pub fn forget(run: &Path) -> Result<()> {
    // Another machine of a run that goes on may crash, and what was kept is of that, too.
    if is_live(run) || !crashes::needs(run).is_empty() {
        return Ok(());
    }
    let [file, lock, objects] = [FILE, LOCK, OBJECTS].map(|name| run.join(name));
    let removed =
        [(fs::remove_file(&file), &file), (fs::remove_file(&lock), &lock), (fs::remove_dir_all(&objects), &objects)];
    let failed = removed.into_iter().find_map(|(removed, path)| match removed {
        Err(e) if e.kind() != io::ErrorKind::NotFound => Some(cannot("remove", path, e)),
        _ => None,
    });
    failed.map_or(Ok(()), Err)
}

/// What was kept of a run; nothing where nothing was.
fn read(run: &Path) -> Vec<Then> {
    let mut text = String::new();
    let read = host::open_plain(&run.join(FILE)).and_then(|file| file.take(MOST).read_to_string(&mut text));
    read.ok().and_then(|_| serde_json::from_str(&text).ok()).unwrap_or_default()
}

/// Which of them was that folder; it may lie elsewhere now.
fn find<'t>(all: &'t [Then], folder: &SourceFolder) -> Option<(usize, &'t Then)> {
    let of_stage = || all.iter().enumerate().filter(|(_, then)| then.stage == folder.stage);
    let is_there = |then: &Then| folder.folder.to_str() == Some(&then.folder);
    of_stage().find(|(_, then)| is_there(then)).or_else(|| of_stage().next().filter(|_| of_stage().count() == 1))
}

/// The folders of these stages in which something else was when a machine of the run crashed.
pub(super) fn edited(run: &Path, stages: &Stages, planned: &[(NodeIndex, StageState)]) -> Vec<Edited> {
    let all = read(run);
    let is_other = |now: SourceFolder| {
        let (number, then) = find(&all, &now).filter(|(_, then)| then.source != now.source.to_string())?;
        Some(Edited { then: then.clone(), number, now })
    };
    stages.folders(&known(planned)).into_iter().filter_map(is_other).collect()
}

/// Whether all of them can be had as they were, as far as can be told without looking for them.
pub(super) fn are_kept(edited: &[Edited]) -> bool {
    edited.iter().all(|one| one.then.kept.is_ok())
}

/// Has these stages be made of the folders as they were, and has those sources lie in the cache.
///
/// # Errors
/// One was not kept, cannot be had any more, or is not what it was.
pub(super) fn bring(engine: &Engine<'_>, run: &Path, stages: &mut Stages, edited: &[Edited]) -> Result<()> {
    if let Some((folder, why)) = edited.iter().find_map(|one| Some((&one.now.folder, one.then.kept.as_ref().err()?))) {
        return Err(Error::input(format!("{} was not kept: {why}", folder.display())));
    }
    if edited.is_empty() {
        return Ok(());
    }
    // git is told of it where it is.
    let objects = run.canonicalize().map_err(|e| cannot("find", run, e))?.join(OBJECTS);
    if !objects.symlink_metadata().is_ok_and(|meta| meta.is_dir()) {
        return Err(Error::input(format!("{} is not there any more", objects.display())));
    }
    for Edited { now, then, number } in edited {
        let tree = then.kept.as_deref().unwrap_or_default();
        let pin = kept::pin(&now.folder, objects.join(number.to_string()), tree, &then.source)?;
        let Some(id) = stages.pin(&now.stage, pin) else { continue };
        let made = engine.build(stages, &[id], Depth::Outputs)?;
        if made[&id].outputs.values().any(|output| output.digest.to_string() != then.source) {
            let folder = now.folder.display();
            return Err(Error::input(format!("git's tree of {folder} is not what was in it"))
                .detail("git converts its files (line ends, LFS, encodings), or it was edited at that moment"));
        }
    }
    Ok(())
}

/// The records of the stages that are known.
pub(super) fn known(planned: &[(NodeIndex, StageState)]) -> Records {
    let known = planned.iter().filter_map(|(id, state)| match state {
        StageState::Known(record) => Some((*id, record.clone())),
        _ => None,
    });
    known.collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::pinned::pinned_before;
    use crate::engine::pinned::tests::of_bookworm;
    use crate::source::{Pin, tested};
    use quiz_cache::Digest;
    use std::collections::BTreeMap;

    #[test]
    fn what_cannot_be_kept_is_told_to_whoever_asks() {
        let [run, folder, cache] = [(); 3].map(|()| tempfile::tempdir().unwrap());
        let cache = Cache::open(cache.path()).unwrap();
        let run = run.path();
        fs::write(folder.path().join("a.c"), "1\n").unwrap();
        let now = scan(&cache, folder.path(), &Looked::default()).unwrap().output().digest;
        let of = |source| SourceFolder { stage: "x".to_owned(), folder: folder.path().to_owned(), source };
        let keep = |cache: &Cache, run: &Path, folders: &[SourceFolder], is_over: &dyn Fn() -> bool| {
            super::keep(cache, run, &BuiltOf { folders: folders.to_vec(), pinned: Vec::new() }, is_over)
        };
        let go_on = &|| false;
        let why = |source| {
            keep(&cache, run, &[of(source)], go_on).unwrap();
            let all = read(run);
            let (_, then) = find(&all, &of(now)).unwrap();
            assert_eq!(then.source, source.to_string());
            then.kept.clone().unwrap_err()
        };
        let count = || fs::read_dir(run).unwrap().count();
        keep(&cache, run, &[], go_on).unwrap();
        assert_eq!(count(), 0);
        let none = format!("{} is not a git worktree", folder.path().display());
        assert_eq!(why(now), none);
        assert_eq!(count(), 2);
        // What was kept first is nearest to the crash.
        keep(&cache, run, &[of(Digest::of(b"other"))], go_on).unwrap();
        assert_eq!((read(run)[0].source.clone(), read(run)[0].kept.clone()), (now.to_string(), Err(none)));
        for text in ["", "[1]", "[{\"stage\":\"x\"}]"] {
            fs::write(run.join(FILE), text).unwrap();
            assert_eq!(read(run), [], "{text}");
        }
        for _ in 0..2 {
            forget(run).unwrap();
            assert_eq!(count(), 0);
        }
        assert!(why(Digest::of(b"other")).ends_with(" was edited while the machine ran"));
        // Who was given up does not write over what was noted instead.
        forget(run).unwrap();
        assert!(keep(&cache, run, &[of(now)], &|| true).is_err());
        give_up(run, &[of(now)], "a signal came").unwrap();
        assert_eq!(read(run)[0].kept, Err("a signal came".to_owned()));
    }

    #[test]
    fn stages_are_made_again_of_what_a_machine_was_built_of() {
        let dir = tempfile::tempdir().unwrap();
        let engine = of_bookworm(dir.path());
        let stages = || engine.stages(["toolchain:kernel"]).unwrap();
        let (then, mut now) = (stages(), stages());
        let id = then.graph.find("toolchain:kernel").unwrap();
        let wish = &then.wishes.iter().find(|w| w.id == id).unwrap().wish;
        let pins = BTreeMap::from([(id, tested(wish).unwrap().unwrap())]);
        let keep = |pins: &BTreeMap<NodeIndex, Pin>| {
            keep(&engine.cache, dir.path(), &then.built_of(&Records::new(), pins), &|| false).unwrap();
        };
        keep(&BTreeMap::new());
        assert!(!repin(dir.path(), &mut now).unwrap(), "nothing was kept");
        keep(&pins);
        assert!(repin(dir.path(), &mut now).unwrap());
        assert_eq!(pinned_before(&now).unwrap(), pins);
        assert!(!repin(dir.path(), &mut now).unwrap(), "it is the same now");
        let lock = dir.path().join(LOCK);
        fs::rename(&lock, dir.path().join("elsewhere")).unwrap();
        std::os::unix::fs::symlink("elsewhere", &lock).unwrap();
        assert!(repin(dir.path(), &mut stages()).is_err(), "a project may have brought it along");
    }

    #[test]
    fn a_folder_that_was_moved_is_known_by_its_stage_if_there_is_no_other() {
        let then = |stage: &str, folder: &str| Then {
            stage: stage.to_owned(),
            folder: folder.to_owned(),
            source: String::new(),
            kept: Err(String::new()),
        };
        let all = [then("a", "/1"), then("a", "/2"), then("b", "/3")];
        let find = |stage: &str, folder: &str| {
            let now = SourceFolder { stage: stage.to_owned(), folder: folder.into(), source: Digest::of(b"") };
            find(&all, &now).map(|(number, _)| number)
        };
        let found = [find("a", "/2"), find("a", "/4"), find("b", "/4"), find("c", "/3")];
        assert_eq!(found, [Some(1), None, Some(2), None]);
    }
}
