//! All machines of a user, whatever the project: links to the folders of runs, in the cache. A link to a run that does not live any more counts
//! for nothing.

use super::{Engine, SourceFolder, crashes, memory, sources};
use crate::boot::crash::{Cause, Crash};
use crate::boot::{RunFolder, folder};
use crate::error::{Error, Result, cannot};
use crate::event::told::slowly;
use crate::event::{Event, Events, Unit};
use crate::host;
use crate::load::state_dirs;
use quiz_cache::{Cache, Digest};
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

const FOLDER: &str = "running";

/// How long a link that leads to nothing stays.
const A_WHILE: Duration = Duration::from_secs(24 * 60 * 60);

/// A run that others can see, until this is dropped.
pub struct Announced<'a> {
    /// The run's folder.
    pub folder: RunFolder,
    link: PathBuf,
    project: PathBuf,
    cache: Cache,
    folders: Vec<SourceFolder>,
    packs: bool,
    events: Events<'a>,
}

/// The runs of a project that can be listed: where they lie now, the newest first, and then those that lie where they did before.
#[must_use]
pub fn of(project: &Path) -> Vec<PathBuf> {
    state_dirs(project).iter().flat_map(|dir| folder::all(dir).unwrap_or_default()).collect()
}

/// Says where runs lie, if that is not in the project.
pub(super) fn say_where(engine: &Engine<'_>) {
    let state = &engine.project.state_dir;
    if !state.starts_with(&engine.project.dir) {
        let message = format!("{} cannot be written: runs lie in {}", engine.project.dir.display(), state.display());
        (engine.events)(if state.exists() { Event::Note { message } } else { Event::Warning { message } });
    }
}

/// Makes the folder of a new run of the project. If its machine crashes, what is in these `folders` then is kept.
///
/// # Errors
/// Something cannot be written.
pub fn announce<'a>(engine: &Engine<'a>, folders: Vec<SourceFolder>) -> Result<Announced<'a>> {
    say_where(engine);
    let folder = RunFolder::create(&engine.project.state_dir, super::machine::kept(engine))?;
    let links = engine.cache.own().join(FOLDER);
    let put = |path: &Path| {
        host::folder(&links)?;
        let run = fs::canonicalize(folder.path())?;
        // A run that was killed has left its link there, and its number is this run's now.
        let _ = fs::remove_file(path);
        std::os::unix::fs::symlink(run, path)
    };
    let name = Digest::of(folder.path().as_os_str().as_encoded_bytes()).to_string();
    let link = links.join(name);
    if let Err(error) = put(&link) {
        let message = format!("`quiz ps` will not see this run: cannot make {}: {error}", link.display());
        (engine.events)(Event::Warning { message });
    }
    let packs = memory::is_packed(engine)?;
    let (project, cache) = (engine.project.dir.clone(), engine.cache.clone());
    Ok(Announced { folder, link, project, cache, folders, packs, events: engine.events })
}

impl Drop for Announced<'_> {
    fn drop(&mut self) {
        // If a crash cannot be noted here, the next collection finds it all the same, as long as it knows the project.
        let paths = self.project.canonicalize().and_then(|project| Ok((project, self.folder.path().canonicalize()?)));
        let _ = paths.map(|(project, run)| crashes::keep(&self.cache, &project, &run));
        let crashed = crashes::needs(self.folder.path());
        let warn = |error: Error| (self.events)(Event::Warning { message: error.to_string() });
        if !crashed.is_empty() {
            let keep = |run: PathBuf| {
                slowly("keeping the sources", Unit::Files, self.events, |_| sources::keep(&run, &self.folders))
            };
            let _ = self.folder.path().canonicalize().map(|run| keep(run).unwrap_or_else(warn));
        }
        // A dump that somebody asked for stays as they were told of it.
        let is_packed = |place: &Path| Crash::read(place).is_some_and(|crash| crash.cause != Cause::Asked);
        for (place, _) in crashed.iter().filter(|(place, _)| self.packs && is_packed(place)) {
            memory::pack(place, self.events).unwrap_or_else(warn);
        }
        // The run is over, so the link is of no use.
        let _ = fs::remove_file(&self.link);
    }
}

fn is_old(link: &Path) -> bool {
    let age = fs::symlink_metadata(link).and_then(|meta| meta.modified()).map(|at| at.elapsed().unwrap_or_default());
    age.is_ok_and(|age| age > A_WHILE)
}

/// The folders of all runs that live, by their paths. Links to others are removed.
///
/// # Errors
/// The folder of links cannot be read.
pub fn all(engine: &Engine<'_>) -> Result<Vec<PathBuf>> {
    let mut runs = Vec::new();
    for (link, run) in links(&engine.cache)? {
        match (folder::is_live(&run), run.try_exists()) {
            (true, _) => runs.push(run),
            (false, Ok(true)) => drop(fs::remove_file(&link)),
            // The run may be there all the same, for others who share the cache: a container, or a user into whose folders nobody else sees. So
            // its link stays for a while.
            (false, _) if is_old(&link) => drop(fs::remove_file(&link)),
            (false, _) => {}
        }
    }
    runs.sort();
    Ok(runs)
}

/// As [`all`], but no link is removed.
///
/// # Errors
/// The folder of links cannot be read.
pub fn living(cache: &Cache) -> Result<Vec<PathBuf>> {
    Ok(links(cache)?.into_iter().map(|(_, run)| run).filter(|run| folder::is_live(run)).collect())
}

fn links(cache: &Cache) -> Result<Vec<(PathBuf, PathBuf)>> {
    let links = cache.own().join(FOLDER);
    let entries = match fs::read_dir(&links) {
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        entries => entries.map_err(|e| cannot("list", &links, e))?,
    };
    let links = entries.filter_map(|entry| Some(entry.ok()?.path()));
    Ok(links.filter_map(|link| Some((link.clone(), fs::read_link(&link).ok()?))).collect())
}
