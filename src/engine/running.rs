//! All machines of a user, whatever the project: links to the folders of runs, in the cache. A link to a run that does not live any more counts
//! for nothing.

use super::{BuiltOf, Engine, crashes, memory, sources};
use crate::boot::crash::{Cause, Crash};
use crate::boot::{RunFolder, folder};
use crate::error::{Result, cannot};
use crate::event::told::slowly;
use crate::event::{Event, Events, Unit};
use crate::host;
use crate::host::signals::{note, noted};
use crate::load::state_dirs;
use quiz_cache::{Cache, Digest};
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

const FOLDER: &str = "running";

/// How long a link that leads to nothing stays.
const A_WHILE: Duration = Duration::from_secs(24 * 60 * 60);

/// How long git may take to keep the sources of a run that crashed, on a slow file system.
const KEEPING: Duration = Duration::from_secs(30);
/// Between two looks whether it has, or a signal came.
const LOOK_AGAIN: Duration = Duration::from_millis(50);

/// A run that others can see, until this is dropped.
pub struct Announced<'a> {
    /// The run's folder.
    pub folder: RunFolder,
    link: PathBuf,
    project: PathBuf,
    cache: Cache,
    /// What its machine was built of.
    built_of: BuiltOf,
    /// Who keeps that, once a machine has crashed.
    keeping: Mutex<Option<Keeping>>,
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

/// Makes the folder of a new run of the project, whose machine was built of that: if it crashes, that is kept as it is then.
///
/// # Errors
/// Something cannot be written.
pub fn announce<'a>(engine: &Engine<'a>, built_of: BuiltOf) -> Result<Announced<'a>> {
    let packs = memory::is_packed(engine)?;
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
    let (project, cache) = (engine.project.dir.clone(), engine.cache.clone());
    Ok(Announced { folder, link, project, cache, built_of, keeping: Mutex::default(), packs, events: engine.events })
}

/// Somebody keeps the sources of a run.
struct Keeping {
    run: PathBuf,
    done: Receiver<Result<()>>,
    /// The signal that came since.
    came: Arc<AtomicUsize>,
    /// Nobody waits for it any more.
    is_over: Arc<AtomicBool>,
}

impl Announced<'_> {
    /// What happens in the run has to be told here, too: the sources are kept as soon as a machine has crashed, before anybody edits them.
    pub fn heard(&self, event: &Event) {
        if let Event::Dumped { .. } = event {
            self.keep();
        }
    }

    /// Begins to keep the sources, if nobody has.
    fn keep(&self) {
        let mut keeping = self.keeping.lock().unwrap_or_else(PoisonError::into_inner);
        let Ok(run) = self.folder.path().canonicalize() else { return };
        if keeping.is_some() || self.built_of.is_empty() {
            return;
        }
        let (ended, done) = channel();
        let (came, is_over) = (Arc::default(), Arc::<AtomicBool>::default());
        // If it cannot be told that one came, git has its time.
        let _ = note(&came);
        let (cache, built_of) = (self.cache.clone(), self.built_of.clone());
        // Ctrl-C is for git, too, whose end is no reason then.
        let stops = {
            let (came, is_over) = (Arc::clone(&came), Arc::clone(&is_over));
            move || noted(&came).is_some() || is_over.load(Ordering::SeqCst)
        };
        let keep = {
            let run = run.clone();
            move || drop(ended.send(sources::keep(&cache, &run, &built_of, &stops)))
        };
        // Where no thread can be started its sender is dropped with it, so that who waits at `done` goes on without sources.
        let _ = std::thread::Builder::new().name("sources".to_owned()).spawn(keep);
        *keeping = Some(Keeping { run, done, came, is_over });
    }

    /// Waits until the sources are kept: not for ever, and not for somebody who wants quiz to end.
    fn wait(&self) {
        let keeping = self.keeping.lock().unwrap_or_else(PoisonError::into_inner).take();
        let Some(Keeping { run, done, came, is_over }) = keeping else { return };
        let begun = Instant::now();
        let why = slowly("keeping the sources", Unit::Files, self.events, |_| {
            loop {
                match done.recv_timeout(LOOK_AGAIN) {
                    Ok(kept) => break kept.err().map(|error| error.to_string()),
                    Err(RecvTimeoutError::Disconnected) => break Some("no thread could be started".to_owned()),
                    Err(RecvTimeoutError::Timeout) if noted(&came).is_some() => {
                        break Some("a signal came".to_owned());
                    }
                    Err(RecvTimeoutError::Timeout) if begun.elapsed() > KEEPING => {
                        break Some(format!("git took more than {} s", KEEPING.as_secs()));
                    }
                    Err(RecvTimeoutError::Timeout) => {}
                }
            }
        });
        if let Some(why) = why {
            is_over.store(true, Ordering::SeqCst);
            // Where this cannot be written there is a reason less later.
            let _ = sources::give_up(&run, &self.built_of.folders, &why);
            let what = "the sources are not kept for the crash, which has no lines once they are edited";
            (self.events)(Event::Warning { message: format!("{what}: {why}") });
        }
    }
}

impl Drop for Announced<'_> {
    fn drop(&mut self) {
        // The run is over, so the link is of no use.
        let _ = fs::remove_file(&self.link);
        // If a crash cannot be noted here, the next collection finds it all the same, as long as it knows the project.
        let paths = self.project.canonicalize().and_then(|project| Ok((project, self.folder.path().canonicalize()?)));
        let _ = paths.map(|(project, run)| crashes::keep(&self.cache, &project, &run));
        let crashed = crashes::needs(self.folder.path());
        if crashed.is_empty() {
            return;
        }
        // What ended the machine is over; a signal from now on ends what is left to do.
        let came = Arc::default();
        let _ = note(&came);
        self.keep();
        self.wait();
        // A dump that somebody asked for stays as they were told of it.
        let is_packed = |place: &Path| Crash::read(place).is_some_and(|crash| crash.cause != Cause::Asked);
        for (place, _) in crashed.iter().filter(|(place, _)| self.packs && is_packed(place)) {
            if let Err(error) = memory::pack(place, &came, self.events) {
                (self.events)(Event::Warning { message: error.to_string() });
            }
        }
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
