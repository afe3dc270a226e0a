//! The folders that a machine was built of, as they were when it crashed: beside the run, until that is removed. Who edits one before anybody has
//! looked at the crash does not take its debug information away.
//!
//! The file may be of a project's making: it says which of git's trees a folder was then, and nothing of where that folder lies.

use super::{Engine, SourceFolder, Stages, crashes};
use crate::boot::crash::put;
use crate::error::{Error, Result, cannot};
use crate::host;
use crate::source::kept;
use serde::{Deserialize, Serialize};
use std::fs::{self, DirBuilder};
use std::io::{self, Read};
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use tempfile::TempDir;

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
    /// The id of git's tree, or why there is none.
    tree: Option<String>,
    why: Option<String>,
}

impl Then {
    fn is(&self, one: &SourceFolder) -> bool {
        self.stage == one.stage && one.folder.to_str() == Some(&self.folder)
    }

    /// Of all folders of a run; none where nothing was kept.
    fn read(run: &Path) -> Vec<Self> {
        let mut text = String::new();
        let read = host::open_plain(&run.join(FILE)).and_then(|file| file.take(MOST).read_to_string(&mut text));
        read.ok().and_then(|_| serde_json::from_str(&text).ok()).unwrap_or_default()
    }
}

/// Keeps what is in these folders now. What cannot be kept says so to whoever asks for it.
///
/// # Errors
/// The run's folder cannot be written.
pub(super) fn keep(run: &Path, folders: &[SourceFolder]) -> Result<()> {
    if folders.is_empty() || run.join(FILE).exists() {
        return Ok(());
    }
    let objects = run.join(OBJECTS);
    DirBuilder::new().mode(0o700).create(&objects).map_err(|e| cannot("make the folder", &objects, e))?;
    let then = folders.iter().enumerate().map(|(number, SourceFolder { stage, folder })| {
        let kept = kept::keep(folder, &objects.join(number.to_string()));
        let (tree, why) = kept.map_or_else(|error| (None, Some(error.to_string())), |tree| (Some(tree), None));
        Then { stage: stage.clone(), folder: folder.display().to_string(), tree, why }
    });
    let then: Vec<Then> = then.collect();
    put(run, FILE, serde_json::json!(then).to_string().as_bytes())
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
    for (path, removed) in [(&file, fs::remove_file(&file)), (&objects, fs::remove_dir_all(&objects))] {
        removed
            .or_else(|e| if e.kind() == io::ErrorKind::NotFound { Ok(()) } else { Err(cannot("remove", path, e)) })?;
    }
    Ok(())
}

/// Whether a folder was kept that these stages are made of.
pub(super) fn are_kept(run: &Path, stages: &Stages) -> bool {
    let folders = stages.folders();
    Then::read(run).iter().any(|then| then.tree.is_some() && folders.iter().any(|one| then.is(one)))
}

/// Why one was not, if so.
pub(super) fn why_not(run: &Path) -> Option<String> {
    Then::read(run).into_iter().find_map(|then| then.why)
}

/// Folders as they were, which are there until this is dropped.
pub(super) struct Restored {
    _place: TempDir,
    /// Where each lies, and which it is.
    folders: Vec<(PathBuf, PathBuf)>,
}

impl Restored {
    /// Lays the folders of these stages out as they were when the run crashed, and has the stages be made of those.
    ///
    /// # Errors
    /// None was kept, or it cannot be had any more.
    pub(super) fn of(engine: &Engine<'_>, run: &Path, stages: &mut Stages) -> Result<Self> {
        // git is told of it where it is.
        let run = run.canonicalize().map_err(|e| cannot("find", run, e))?;
        let objects = run.join(OBJECTS);
        let place = tempfile::Builder::new().prefix("then.").tempdir_in(&objects);
        let place = place.map_err(|e| cannot("make a folder in", &objects, e))?;
        let mut folders = Vec::new();
        for (number, then) in Then::read(&run).iter().enumerate() {
            let Some(is) = stages.folders().into_iter().find(|one| then.is(one)) else { continue };
            let Some(tree) = &then.tree else { continue };
            let dest = place.path().join(number.to_string());
            let what = format!("laying out {} as it was", is.folder.display());
            (engine.events)(crate::event::Event::Note { message: what });
            kept::restore(&is.folder, &objects.join(number.to_string()), tree, &dest)?;
            stages.be_made_of(&is.stage, &dest);
            folders.push((dest, is.folder));
        }
        match folders.is_empty() {
            true => Err(Error::input("its sources were not kept")),
            false => Ok(Self { _place: place, folders }),
        }
    }

    /// The folder that people edit, of one that lies here.
    pub(super) fn now(&self, folder: PathBuf) -> PathBuf {
        self.folders.iter().find(|(then, _)| *then == folder).map_or(folder, |(_, now)| now.clone())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_cannot_be_kept_is_told_to_whoever_asks() {
        let run = tempfile::tempdir().unwrap();
        let folder = tempfile::tempdir().unwrap();
        assert_eq!(why_not(run.path()), None);
        let folders = [SourceFolder { stage: "x".to_owned(), folder: folder.path().to_owned() }];
        keep(run.path(), &[]).unwrap();
        assert_eq!(fs::read_dir(run.path()).unwrap().count(), 0);
        keep(run.path(), &folders).unwrap();
        let why = format!("{} is no git worktree", folder.path().display());
        assert_eq!(why_not(run.path()), Some(why));
        // What was kept first is nearest to the crash.
        keep(run.path(), &folders).unwrap();
        assert_eq!(fs::read_dir(run.path()).unwrap().count(), 2);
        for text in ["", "[1]", "[{\"stage\":\"x\"}]"] {
            fs::write(run.path().join(FILE), text).unwrap();
            assert_eq!(Then::read(run.path()), [], "{text}");
        }
        forget(run.path()).unwrap();
        forget(run.path()).unwrap();
        assert_eq!(fs::read_dir(run.path()).unwrap().count(), 0);
    }
}
