//! The folders that a machine was built of, as they were when it crashed: beside the run, until that is removed. Who edits one before anybody has
//! looked at the crash does not take its debug information away.
//!
//! The file may be of a project's making: it says what of git's a folder was then, and nothing of where that folder lies.

use super::{Engine, SourceFolder, Stages, crashes};
use crate::boot::crash::put;
use crate::build::{Depth, Records, StageState, scan};
use crate::error::{Error, Result, cannot};
use crate::graph::NodeIndex;
use crate::host;
use crate::source::kept;
use quiz_cache::{Cache, Digest, Looked, Record};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fs::{self, DirBuilder};
use std::io::{self, Read};
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

/// The file, and the folder with what git needs for it, in the folder of a run.
const FILE: &str = "sources.json";
const OBJECTS: &str = "sources";
/// The most bytes that are read of the file: some paths.
const MOST: u64 = 1 << 20;

/// A folder as it was.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Then {
    stage: String,
    folder: String,
    /// The digest of what was in it, as a stage has it.
    source: Option<String>,
    /// The id of git's tree, or why there is none.
    kept: std::result::Result<String, String>,
}

/// All that was kept of a run.
#[derive(Debug, Default)]
pub(super) struct Kept {
    run: PathBuf,
    folders: Vec<Then>,
}

/// Keeps what is in these folders now. What cannot be kept says so to whoever asks for it.
///
/// # Errors
/// The run's folder cannot be written.
pub(super) fn keep(cache: &Cache, run: &Path, folders: &[SourceFolder]) -> Result<()> {
    if folders.is_empty() || run.join(FILE).symlink_metadata().is_ok() {
        return Ok(());
    }
    let objects = run.join(OBJECTS);
    DirBuilder::new().mode(0o700).create(&objects).map_err(|e| cannot("make the folder", &objects, e))?;
    let then = folders.iter().enumerate().map(|(number, one)| Then {
        stage: one.stage.clone(),
        folder: one.folder.display().to_string(),
        source: one.source.map(|digest| digest.to_string()),
        kept: keep_one(cache, one, &objects.join(number.to_string())).map_err(|error| in_a_line(&error)),
    });
    put(run, FILE, serde_json::json!(then.collect::<Vec<_>>()).to_string().as_bytes())
}

fn keep_one(cache: &Cache, one: &SourceFolder, objects: &Path) -> Result<String> {
    let now = scan(cache, &one.folder, &Looked::default())?.output().digest;
    if one.source.is_some_and(|then| then != now) {
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
    if !crashes::needs(run).is_empty() {
        return Ok(());
    }
    let (file, objects) = (run.join(FILE), run.join(OBJECTS));
    let removed = [(fs::remove_file(&file), &file), (fs::remove_dir_all(&objects), &objects)];
    let failed = removed.into_iter().find_map(|(removed, path)| match removed {
        Err(e) if e.kind() != io::ErrorKind::NotFound => Some(cannot("remove", path, e)),
        _ => None,
    });
    failed.map_or(Ok(()), Err)
}

impl Kept {
    /// Of that run.
    pub(super) fn of(run: &Path) -> Self {
        let mut text = String::new();
        let read = host::open_plain(&run.join(FILE)).and_then(|file| file.take(MOST).read_to_string(&mut text));
        let folders = read.ok().and_then(|_| serde_json::from_str(&text).ok()).unwrap_or_default();
        Self { run: run.to_owned(), folders }
    }

    /// Which one was that folder; it may lie elsewhere now.
    fn find(&self, folder: &SourceFolder) -> Option<(usize, &Then)> {
        let of_stage = || self.folders.iter().enumerate().filter(|(_, then)| then.stage == folder.stage);
        let is_there = |then: &Then| folder.folder.to_str() == Some(&then.folder);
        of_stage().find(|(_, then)| is_there(then)).or_else(|| of_stage().next().filter(|_| of_stage().count() == 1))
    }

    /// Whether something else was in a folder then than these stages have.
    pub(super) fn differs(&self, stages: &Stages, planned: &[(NodeIndex, StageState)]) -> bool {
        stages.folders(&known(planned)).iter().any(|now| {
            let then = self.find(now).and_then(|(_, then)| then.source.as_ref()?.parse::<Digest>().ok());
            now.source.zip(then).is_some_and(|(now, then)| now != then)
        })
    }

    /// Whether one of these folders was kept.
    pub(super) fn has(&self, stages: &Stages) -> bool {
        let folders = stages.folders(&BTreeMap::new());
        folders.iter().any(|now| self.find(now).is_some_and(|(_, then)| then.kept.is_ok()))
    }

    /// Why what these stages were made of then was not kept, if that is so.
    pub(super) fn why_not(&self, stages: &Stages) -> Option<&str> {
        let folders = stages.folders(&BTreeMap::new());
        folders.iter().find_map(|now| self.find(now)?.1.kept.as_ref().err().map(String::as_str))
    }

    /// Has these stages be made of the folders as they were, and those sources lie in the cache.
    ///
    /// # Errors
    /// One cannot be had any more, or is not what it was.
    pub(super) fn bring(&self, engine: &Engine<'_>, stages: &mut Stages) -> Result<()> {
        // git is told of it where it is.
        let objects = self.run.canonicalize().map_err(|e| cannot("find", &self.run, e))?.join(OBJECTS);
        if !objects.symlink_metadata().is_ok_and(|meta| meta.is_dir()) {
            return Err(Error::input(format!("{} is not there any more", objects.display())));
        }
        for now in stages.folders(&BTreeMap::new()) {
            let Some((number, Then { kept: Ok(tree), source, .. })) = self.find(&now) else { continue };
            let pin = kept::pin(&now.folder, objects.join(number.to_string()), tree)?;
            let Some(id) = stages.pin(&now.stage, pin) else { continue };
            let made = engine.build(stages, &[id], Depth::Outputs)?;
            let is_same = |record: &Record| {
                let digest = record.outputs.values().next().map(|output| output.digest.to_string());
                source.is_none() || digest == *source
            };
            if !is_same(&made[&id]) {
                let folder = now.folder.display();
                return Err(Error::input(format!("git's tree of {folder} is not what was in it"))
                    .detail("git converts its files (line ends, LFS, encodings), or it was edited at that moment"));
            }
        }
        Ok(())
    }
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

    #[test]
    fn what_cannot_be_kept_is_told_to_whoever_asks() {
        let [run, folder, cache] = [(); 3].map(|()| tempfile::tempdir().unwrap());
        let cache = Cache::open(cache.path()).unwrap();
        let run = run.path();
        fs::write(folder.path().join("a.c"), "1\n").unwrap();
        let now = scan(&cache, folder.path(), &Looked::default()).unwrap().output().digest;
        let of =
            |source| SourceFolder { stage: "x".to_owned(), folder: folder.path().to_owned(), source: Some(source) };
        let why = |source| {
            keep(&cache, run, &[of(source)]).unwrap();
            let kept = Kept::of(run);
            let (_, then) = kept.find(&of(now)).unwrap();
            assert_eq!(then.source, Some(source.to_string()));
            then.kept.clone().unwrap_err()
        };
        keep(&cache, run, &[]).unwrap();
        assert_eq!(fs::read_dir(run).unwrap().count(), 0);
        let none = format!("{} is not a git worktree", folder.path().display());
        assert_eq!(why(now), none);
        assert_eq!(fs::read_dir(run).unwrap().count(), 2);
        // What was kept first is nearest to the crash.
        keep(&cache, run, &[of(Digest::of(b"other"))]).unwrap();
        assert_eq!(Kept::of(run).folders[0].kept, Err(none));
        for text in ["", "[1]", "[{\"stage\":\"x\"}]"] {
            fs::write(run.join(FILE), text).unwrap();
            assert_eq!(Kept::of(run).folders, [], "{text}");
        }
        for _ in 0..2 {
            forget(run).unwrap();
            assert_eq!(fs::read_dir(run).unwrap().count(), 0);
        }
        assert!(why(Digest::of(b"other")).ends_with(" was edited while the machine ran"));
    }

    #[test]
    fn a_folder_that_was_moved_is_known_by_its_stage_if_there_is_no_other() {
        let then = |stage: &str, folder: &str| Then {
            stage: stage.to_owned(),
            folder: folder.to_owned(),
            source: None,
            kept: Err(String::new()),
        };
        let folders = vec![then("a", "/1"), then("a", "/2"), then("b", "/3")];
        let kept = Kept { run: PathBuf::new(), folders };
        let find = |stage: &str, folder: &str| {
            let now = SourceFolder { stage: stage.to_owned(), folder: folder.into(), source: None };
            kept.find(&now).map(|(number, _)| number)
        };
        assert_eq!(
            [find("a", "/2"), find("a", "/4"), find("b", "/4"), find("c", "/3")],
            [Some(1), None, Some(2), None]
        );
    }
}
