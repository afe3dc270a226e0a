//! Keeps the cache at the size that the setting `cache.max-size` allows: by a process of its own, which begins when a run is over and waits for nobody.
//!
//! It measures once an hour at most, and the file `tidied` of the cache says when that was. What it may not take is in `holders`; how a collection works
//! only the cache knows.

use super::Engine;
use super::holders::Holders;
use crate::error::{Error, Result, cannot};
use crate::host;
use crate::load::size;
use crate::source;
use quiz_cache::Fitted;
use rustix::process::setpriority_process;
use std::cell::RefCell;
use std::fs::{self, File};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, SystemTime};

/// The setting of the cache's size.
pub const SETTING: &str = "cache.max-size";
/// The flag of `quiz gc` by which that process knows what it is.
pub const FLAG: &str = "--by-itself";

/// For so many days a downloaded package stays, in a cache that goes by size: whatever room is left, most of them are older than what is made of them.
pub const DAYS: u32 = 30;

/// Its time is that of the last measuring; locked while that goes on.
const FILE: &str = "tidied";
/// Between two measurings.
const PAUSE: Duration = Duration::from_secs(60 * 60);
/// Until the next measuring, after one that found the cache in use.
const SHORT: Duration = Duration::from_secs(10 * 60);

/// What the cache may take, in bytes; nothing where that is not limited.
///
/// # Errors
/// The setting is no size.
pub fn most(engine: &Engine<'_>) -> Result<Option<u64>> {
    let text = engine.project.settings.text(SETTING);
    if text.is_empty() {
        return Ok(None);
    }
    let has_unit = text.ends_with(|c: char| c.is_ascii_alphabetic());
    size(text).filter(|_| has_unit).map(Some).ok_or_else(|| {
        let origin = engine.project.settings.get(SETTING).map_or_else(String::new, |set| format!(" ({})", set.origin));
        Error::input(format!("{SETTING} = {text:?}{origin}: a size with a unit is wanted")).hint("as in 500M, 20G")
    })
}

/// Starts that process if it is time for one. Nothing waits for it, and nothing depends on it.
pub fn start(engine: &Engine<'_>) {
    // A wrong setting was an error before anything ran.
    let Ok(Some(most)) = most(engine) else { return };
    if !is_due(&engine.cache.own().join(FILE)) {
        return;
    }
    let mut command = Command::new("/proc/self/exe");
    command.arg("-C").arg(&engine.project.dir).args(["gc", "--max-size", &format!("{}K", most.div_ceil(1024)), FLAG]);
    // It keeps no terminal, pipe or folder of the user's.
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).current_dir("/");
    host::lead_session(&mut command);
    host::keep_nothing_open(&mut command);
    // If it cannot be started, the cache only stays larger.
    let _ = command.spawn();
}

fn is_due(file: &Path) -> bool {
    let age = fs::metadata(file).and_then(|meta| meta.modified()).map(|at| SystemTime::now().duration_since(at));
    // A time in the future says nothing of how long ago that was.
    !matches!(age, Ok(Ok(age)) if age < PAUSE)
}

/// What that process does. Nothing is done while another one does it, and nothing is taken while a stage is made.
///
/// # Errors
/// The cache cannot be read or written.
pub fn run(engine: &Engine<'_>, most: u64) -> Result<Option<Fitted>> {
    let path = engine.cache.own().join(FILE);
    let file = open(&path)?;
    if file.try_lock().is_err() || !is_due(&path) && file.metadata().is_ok_and(|meta| meta.len() > 0) {
        return Ok(None);
    }
    // Written before the work, so that one that fails is not tried again at once.
    fs::write(&path, "1\n").map_err(|e| cannot("write", &path, e))?;
    // With the lowest priority, behind all that other processes do.
    let _ = setpriority_process(None, 19);
    let removed = packages(engine, DAYS, false);
    // As long as it cannot be told who needs what, nothing may be removed.
    let failed = RefCell::new(None);
    let find = || {
        let holders = Holders::find(&engine.cache)?;
        holders.remember(&engine.cache)?;
        Ok(holders.roots(true))
    };
    let roots = || match find() {
        Ok(roots) => Some(roots),
        Err(error) => {
            failed.replace(Some(error));
            None
        }
    };
    let fitted = engine.cache.collect_quietly(most, &roots);
    let fitted = fitted.map_err(|e| Error::build("the cache cannot be cleaned up").because(e))?;
    if let Some(error) = failed.into_inner() {
        return Err(error);
    }
    removed?;
    if fitted.is_none() {
        let _ = file.set_modified(SystemTime::now() - (PAUSE - SHORT));
    }
    Ok(fitted)
}

/// Removes the downloaded packages that no root was made of for so many days, or with `dry_run` says which.
///
/// # Errors
/// Their folder cannot be read.
pub fn packages(engine: &Engine<'_>, days: u32, dry_run: bool) -> Result<source::Unused> {
    let folder = engine.cache.own().join("source");
    let unused = Duration::from_secs(u64::from(days) * 24 * 60 * 60);
    source::remove_unused(&folder, unused, dry_run).map_err(|e| cannot("read", &folder, e))
}

fn open(path: &Path) -> Result<File> {
    host::private_file().truncate(false).open(path).map_err(|e| cannot("open", path, e))
}
