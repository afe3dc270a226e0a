//! The folder of one run: `.quiz/runs/<number>`, which holds `console.log`, `qemu.log`, `command`, `result.json` and `out/`. A run of several
//! machines has a folder of the same kind for each of them in it.
//!
//! Any number of runs may be made at once, by any number of processes. A run's folder is locked while its process lives,
//! so what is old can be removed without asking anyone. Knows nothing of machines.

use std::fs::{self, File, TryLockError};
use std::os::fd::AsRawFd;
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};

use crate::error::{Error, Result};

/// Git sees nothing of the folder but what people write there themselves.
const IGNORE: &str = "*\n!/recipes/\n!/recipes/**\n!/profiles/\n!/profiles/**\n";

/// So many finished runs are kept.
const KEPT: usize = 20;

/// A run's folder, locked until this value is dropped.
#[derive(Debug)]
pub struct RunFolder {
    number: u64,
    path: PathBuf,
    shared: PathBuf,
    lock: File,
}

impl RunFolder {
    /// Makes the folder of a new run in `base`, usually a work tree's `.quiz`, and removes the oldest finished ones.
    ///
    /// # Errors
    /// When a folder or file cannot be made; the message names it.
    pub fn create(base: &Path) -> Result<Self> {
        let (runs, shared) = (base.join("runs"), base.join("shared"));
        make_folder(&runs)?;
        make_folder(&shared)?;
        let ignore = base.join(".gitignore");
        if !ignore.exists() {
            fs::write(&ignore, IGNORE).map_err(|e| cannot("write", &ignore, e))?;
        }
        // Only one process at a time makes or removes runs.
        let _all = locked(&runs.join("lock"))?;
        let mut numbers = numbers(&runs)?;
        let number = numbers.last().map_or(1, |last| last + 1);
        let path = runs.join(number.to_string());
        make_folder(&path.join("out"))?;
        let lock = locked(&path.join("lock"))?;
        numbers.truncate(numbers.len().saturating_sub(KEPT));
        numbers.into_iter().for_each(|old| remove_finished(&runs.join(old.to_string())));
        Ok(Self { number, path, shared, lock })
    }

    /// The folder of one of several machines of this run: `groups/<name>` in it. Locked with it.
    ///
    /// # Errors
    /// When it cannot be made.
    pub fn part(&self, name: &str) -> Result<Self> {
        let path = self.path.join("groups").join(name);
        make_folder(&path.join("out"))?;
        let lock = self.lock.try_clone().map_err(|e| cannot("lock", &path, e))?;
        Ok(Self { number: self.number, path, shared: self.shared.clone(), lock })
    }

    /// The name by which people know the run.
    pub fn id(&self) -> String {
        self.number.to_string()
    }

    /// The run's folder.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// What the guest writes to `/out`.
    pub fn out(&self) -> PathBuf {
        self.path.join("out")
    }

    /// The guest's `/shared`, the same one for all runs.
    pub fn shared(&self) -> &Path {
        &self.shared
    }

    /// All that the guest's kernel said.
    pub fn console_log(&self) -> PathBuf {
        self.path.join("console.log")
    }

    /// What qemu said.
    pub fn qemu_log(&self) -> PathBuf {
        self.path.join("qemu.log")
    }

    /// A socket of that name in the folder that listens.
    pub(super) fn listen(&self, name: &str) -> Result<UnixListener> {
        at_socket(&self.path, name, |path| UnixListener::bind(path))
            .map_err(|e| cannot("listen at", &self.path.join(name), e))
    }

    /// How the run ended, as JSON.
    pub fn result(&self) -> PathBuf {
        self.path.join("result.json")
    }

    /// The qemu command, as a line for a shell.
    pub fn command(&self) -> PathBuf {
        self.path.join("command")
    }
}

/// Does something with the path of a socket in `run`, by the open folder: a path may be longer than the 107 bytes that a
/// socket's address holds (unix(7)).
pub(super) fn at_socket<T>(run: &Path, name: &str, act: impl Fn(&Path) -> std::io::Result<T>) -> std::io::Result<T> {
    let folder = File::open(run)?;
    act(&PathBuf::from(format!("/proc/self/fd/{}/{name}", folder.as_raw_fd())))
}

/// The folders of the runs in `base` that live, the newest first.
///
/// # Errors
/// When they cannot be listed.
pub fn live(base: &Path) -> Result<Vec<PathBuf>> {
    let runs = base.join("runs");
    let numbers = if runs.exists() { numbers(&runs)? } else { Vec::new() };
    Ok(numbers.iter().rev().map(|number| runs.join(number.to_string())).filter(|run| is_live(run)).collect())
}

/// What the run of that folder is called in its project.
pub fn number(run: &Path) -> String {
    run.file_name().unwrap_or_default().to_string_lossy().into_owned()
}

/// Whether the run of that folder has not ended: its process holds the lock.
pub fn is_live(run: &Path) -> bool {
    // Shared: who only looks must not pass for a run to somebody else who does.
    let lock = File::open(run.join("lock"));
    matches!(lock.as_ref().map(File::try_lock_shared), Ok(Err(TryLockError::WouldBlock)))
}

pub(super) fn cannot(what: &str, path: &Path, error: std::io::Error) -> Error {
    Error::boot(format!("cannot {what} {}", path.display())).because(error)
}

fn make_folder(path: &Path) -> Result<()> {
    fs::create_dir_all(path).map_err(|e| cannot("make the folder", path, e))
}

fn locked(path: &Path) -> Result<File> {
    let file = File::options().create(true).append(true).open(path).map_err(|e| cannot("open", path, e))?;
    file.lock().map_err(|e| cannot("lock", path, e))?;
    Ok(file)
}

fn numbers(runs: &Path) -> Result<Vec<u64>> {
    let entries = fs::read_dir(runs).map_err(|e| cannot("list", runs, e))?;
    let mut numbers: Vec<u64> = entries.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok()).collect();
    numbers.sort_unstable();
    Ok(numbers)
}

/// A run that lives is left alone. What cannot be removed (a guest's file of another owner) only takes room.
fn remove_finished(path: &Path) {
    if !is_live(path) {
        let _ = fs::remove_dir_all(path);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn runs_have_folders_of_their_own_that_git_does_not_see() {
        let base = tempfile::tempdir().unwrap();
        let (a, b) = (RunFolder::create(base.path()).unwrap(), RunFolder::create(base.path()).unwrap());
        assert_ne!(a.path(), b.path());
        assert!(a.out().is_dir() && b.shared().is_dir());
        assert_eq!(fs::read_to_string(base.path().join(".gitignore")).unwrap(), IGNORE);
    }

    #[test]
    fn the_oldest_finished_runs_are_removed_and_those_that_live_are_not() {
        let base = tempfile::tempdir().unwrap();
        let first = RunFolder::create(base.path()).unwrap();
        let second = RunFolder::create(base.path()).unwrap().path().to_owned();
        let rest: Vec<_> = (0..KEPT).map(|_| RunFolder::create(base.path()).unwrap().path().to_owned()).collect();
        RunFolder::create(base.path()).unwrap();
        assert!(first.path().exists(), "it lives");
        assert_eq!(live(base.path()).unwrap(), [first.path()]);
        assert!(!second.exists(), "it is finished and the oldest");
        assert!(rest[1..].iter().all(|run| run.exists()));
    }

    #[test]
    fn a_part_keeps_its_run_locked() {
        let base = tempfile::tempdir().unwrap();
        let part = RunFolder::create(base.path()).unwrap().part("1").unwrap();
        assert!(part.path().ends_with("runs/1/groups/1") && part.out().is_dir());
        (0..=KEPT).for_each(|_| drop(RunFolder::create(base.path()).unwrap()));
        assert!(part.path().exists());
        drop(part);
        RunFolder::create(base.path()).unwrap();
        assert!(!base.path().join("runs/1").exists());
    }

    #[test]
    fn many_at_once_get_different_numbers() {
        let base = tempfile::tempdir().unwrap();
        let folders: Vec<_> = std::thread::scope(|scope| {
            let threads: Vec<_> = (0..8).map(|_| scope.spawn(|| RunFolder::create(base.path()).unwrap())).collect();
            threads.into_iter().map(|thread| thread.join().unwrap()).collect()
        });
        let mut ids: Vec<_> = folders.iter().map(RunFolder::id).collect();
        ids.sort();
        ids.dedup();
        assert_eq!(ids.len(), 8);
    }
}
