//! The folder of one run: `.quiz/runs/<number>`, which holds `console.log`, `qemu.log`, `command`, `result.json` and `out/`. A run of several
//! machines has a folder of the same kind for each of them in it.
//!
//! Any number of runs may be made at once, by any number of processes. A run's folder is locked while its process lives,
//! so what is old can be removed without asking anyone. Knows nothing of machines.

mod cause;

use std::collections::BTreeSet;
use std::fs::{self, DirBuilder, File, Permissions, TryLockError};
use std::os::fd::AsRawFd;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt};
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};

pub use cause::{ABOUT, Cause, MOST};

use super::staging::{is_brought, lock_runs, locked, sweep};
use crate::error::{Result, cannot};
use crate::host;

/// Git sees nothing of the folder but what people write there themselves.
pub(super) const IGNORE: &str = "*\n!/recipes/\n!/recipes/**\n!/profiles/\n!/profiles/**\n";

/// Where the machines of a run of several have their folders.
pub const PARTS: &str = "groups";

/// What [`RunFolder::nothing`] is called.
const NOTHING: &str = "nothing";

/// What is left of a guest that crashed, in the folder of its machine.
pub const CRASH: &str = "crash";
/// The same, while it is put together.
pub(super) const NEW: &str = "crash.new";
/// The guest's memory in that folder.
pub const MEMORY: &str = "vmcore";
/// The same, packed.
pub const PACKED: &str = "vmcore.zst";

/// How many finished runs stay when a new one is made, the newest first.
#[derive(Debug, Clone, Copy)]
pub struct Retention {
    /// Of those that brought nothing back, and have no memory that stays.
    pub plain: usize,
    /// Of those with something in `out/`, and of runs of several machines.
    pub with_results: usize,
    /// Memories of guests that crashed, with the runs that they are of.
    pub memories: usize,
}

#[cfg(test)]
impl Retention {
    /// Every run stays.
    pub(crate) const ALL: Self = Self { plain: usize::MAX, with_results: usize::MAX, memories: usize::MAX };
}

/// A run's folder, locked until this value is dropped.
#[derive(Debug)]
pub struct RunFolder {
    number: u64,
    path: PathBuf,
    shared: PathBuf,
    lock: File,
    /// The socket at which clients wait that want to start a program in the run's machine. Made with the folder, as clients may come before the
    /// machine, and wait also for one that is started in the place of another. Not every file system has sockets.
    door: std::io::Result<UnixListener>,
}

impl RunFolder {
    /// Makes the folder of a new run in `base`, usually a work tree's `.quiz`, and removes the finished ones but those that are `kept`.
    ///
    /// # Errors
    /// When a folder or file cannot be made; the message names it.
    pub fn create(base: &Path, kept: Retention) -> Result<Self> {
        let (runs, shared) = (base.join("runs"), base.join("shared"));
        // Others may look into the project's folder, but not into a run's, where its machine can be reached.
        host::folder(&shared).map_err(|e| cannot("make the folder", &shared, e))?;
        let _all = lock_runs(&runs)?;
        sweep(&runs);
        let ignore = base.join(".gitignore");
        if !ignore.exists() {
            // Written whole or not at all: half of it would stay, and git would see all that is in the folder.
            host::write_whole(&ignore, IGNORE, File::options().write(true).create(true).mode(0o644))
                .map_err(|e| cannot("write", &ignore, e))?;
        }
        let numbers = numbers(&runs)?;
        let number = numbers.last().map_or(1, |last| last + 1);
        let path = runs.join(number.to_string());
        // Fails if something is there already: a run of the largest number may be a link to anywhere, which a project brought along.
        DirBuilder::new().mode(0o700).create(&path).map_err(|e| cannot("make the folder", &path, e))?;
        make_folder(&path.join("out"))?;
        make_folder(&path.join(NOTHING))?;
        let lock = locked(&path.join("lock"))?;
        make_room(&runs, &numbers, kept);
        Ok(Self { number, door: listen(&path, DOOR), path, shared, lock })
    }

    /// The folder of one of several machines of this run: `groups/<name>` in it. Locked with it.
    ///
    /// # Errors
    /// When it cannot be made.
    pub fn part(&self, name: &str) -> Result<Self> {
        let path = self.path.join(PARTS).join(name);
        make_folder(&path.join("out"))?;
        make_folder(&path.join(NOTHING))?;
        let lock = self.lock.try_clone().map_err(|e| cannot("lock", &path, e))?;
        let door = listen(&path, DOOR);
        Ok(Self { number: self.number, path, shared: self.shared.clone(), lock, door })
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

    /// An empty folder, for a share that the machine has but does not use.
    pub fn nothing(&self) -> PathBuf {
        self.path.join(NOTHING)
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
        listen(&self.path, name).map_err(|e| cannot("listen at", &self.path.join(name), e))
    }

    /// The listening socket [`DOOR`], for one more machine of this run.
    pub(super) fn door(&self) -> std::io::Result<UnixListener> {
        match &self.door {
            Ok(door) => door.try_clone(),
            Err(error) => Err(std::io::Error::new(error.kind(), error.to_string())),
        }
    }

    /// Removes the socket `DOOR`: nobody can connect to it any more.
    pub fn close_door(&self) {
        // It may be missing, where the file system has no sockets.
        let _ = fs::remove_file(self.path.join(DOOR));
    }

    /// Closes `DOOR`, and sends away who waits there: the machine is gone, and no other one comes.
    pub(super) fn send_away(&self) {
        self.close_door();
        if let Ok(door) = &self.door
            && rustix::net::shutdown(door, rustix::net::Shutdown::Both).is_ok()
            && door.set_nonblocking(true).is_ok()
        {
            while door.accept().is_ok() {}
        }
    }

    /// How the run ended, as JSON.
    pub fn result(&self) -> PathBuf {
        self.path.join(RESULT)
    }

    /// The qemu command, as a line for a shell.
    pub fn command(&self) -> PathBuf {
        self.path.join("command")
    }
}

/// How a machine ended; there once it has.
pub(super) const RESULT: &str = "result.json";
/// The socket to which those connect who want to start a program in the machine.
pub(super) const DOOR: &str = "exec";
/// The socket at which its qemu listens for commands.
pub(super) const MONITOR: &str = "monitor";
/// The socket of its gdb stub, once somebody wanted one.
pub(super) const GDB: &str = "gdb";

/// A socket in a run's folder, in the place of an earlier one.
pub(super) fn listen(run: &Path, name: &str) -> std::io::Result<UnixListener> {
    at_socket(run, name, |path| {
        // Removes the socket of a machine that was started in this run before.
        let _ = fs::remove_file(path);
        let socket = UnixListener::bind(path)?;
        fs::set_permissions(path, Permissions::from_mode(0o600)).map(|()| socket)
    })
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
    Ok(all(base)?.into_iter().filter(|run| is_live(run)).collect())
}

/// The folders of all runs in `base`, the newest first.
///
/// # Errors
/// When they cannot be listed.
pub fn all(base: &Path) -> Result<Vec<PathBuf>> {
    let runs = base.join("runs");
    let numbers = if runs.exists() { numbers(&runs)? } else { Vec::new() };
    Ok(numbers.iter().rev().map(|number| runs.join(number.to_string())).collect())
}

/// The folders of the machines of a run of several, by their names; none of a run of one.
pub fn parts(run: &Path) -> Vec<PathBuf> {
    let parts = run.join(PARTS);
    // A link is not followed: a project may have brought it along.
    let entries = fs::symlink_metadata(&parts).is_ok_and(|meta| meta.is_dir()).then(|| fs::read_dir(&parts));
    let entries = entries.into_iter().flatten().flatten();
    let mut parts: Vec<PathBuf> = entries.filter_map(|entry| Some(entry.ok()?.path())).collect();
    parts.sort();
    parts
}

/// The folder of the run to which a machine belongs: its own, or that of the run of several, which has the lock.
pub fn run_of(place: &Path) -> &Path {
    match place.parent().filter(|parent| parent.ends_with(PARTS)).and_then(Path::parent) {
        Some(run) => run,
        None => place,
    }
}

/// What people call a machine: `7`, `7/functional.atime`.
pub fn name(place: &Path) -> String {
    match run_of(place) {
        run if run == place => number(run),
        run => format!("{}/{}", number(run), number(place)),
    }
}

/// What the run of that folder is called in its project.
pub fn number(run: &Path) -> String {
    run.file_name().unwrap_or_default().to_string_lossy().into_owned()
}

/// Whether the run of that folder has not ended: its process holds the lock.
pub fn is_live(run: &Path) -> bool {
    // Opened with care: a project may have brought it along, as a link or a pipe.
    let lock = host::open_plain(&run.join("lock"));
    // A shared lock: two processes that only look must not take each other for a living run.
    matches!(lock.as_ref().map(File::try_lock_shared), Ok(Err(TryLockError::WouldBlock)))
}

fn make_folder(path: &Path) -> Result<()> {
    host::private_folder(path).map_err(|e| cannot("make the folder", path, e))
}

fn numbers(runs: &Path) -> Result<Vec<u64>> {
    let entries = fs::read_dir(runs).map_err(|e| cannot("list", runs, e))?;
    let numbers = entries.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok());
    // A folder of the largest number is left out: it would leave no number for the next run.
    let mut numbers: Vec<u64> = numbers.filter(|number| *number < u64::MAX).collect();
    numbers.sort_unstable();
    Ok(numbers)
}

/// Removes finished runs but those that are `kept`. Imported crashes stay until somebody removes them.
fn make_room(runs: &Path, numbers: &[u64], kept: Retention) {
    let finished: Vec<PathBuf> = numbers.iter().rev().map(|number| runs.join(number.to_string())).collect();
    let finished: Vec<&PathBuf> = finished.iter().filter(|run| !is_brought(&run.join(CRASH))).collect();
    // A memory that stays is nothing without the run's other files.
    let (mut with_memory, mut left) = (BTreeSet::new(), [kept.memories; 2]);
    for run in &finished {
        let found = memories(run);
        // One that lives may be over before the last line here.
        if !found.is_empty() && is_live(run) {
            with_memory.insert(*run);
            continue;
        }
        for memory in found {
            // So that no `quiz dump` of a machine that went on takes the place of a crash, each kind has a number of its own.
            let left = &mut left[usize::from(is_asked(&memory))];
            if let Some(fewer) = left.checked_sub(1) {
                *left = fewer;
                with_memory.insert(*run);
            } else {
                // A memory alone: what was said of a crash takes hardly any room. One that cannot be removed is left.
                drop(fs::remove_file(memory));
            }
        }
    }
    let old = finished.iter().copied().filter(|run| !with_memory.contains(run));
    let (rich, plain): (Vec<_>, Vec<_>) = old.partition(|run| has_results(run));
    let old = rich.iter().skip(kept.with_results).chain(plain.iter().skip(kept.plain));
    old.for_each(|run| remove_finished(run));
}

/// Whether a memory is that of a guest that went on.
pub(super) fn is_asked(memory: &Path) -> bool {
    let place = memory.parent().and_then(Path::parent);
    place.and_then(Cause::read) == Some(Cause::Asked)
}

/// Whether something came back from the guest, or it was a run of several machines.
fn has_results(run: &Path) -> bool {
    let has_files = fs::read_dir(run.join("out")).is_ok_and(|mut entries| entries.next().is_some());
    has_files || run.join(PARTS).exists()
}

/// The guests' memories in the folder of a run, and in those of its machines.
pub(super) fn memories(run: &Path) -> Vec<PathBuf> {
    let places = std::iter::once(run.to_owned()).chain(parts(run));
    // A project may have brought the folder along, with links to anywhere in it.
    let is_own = |path: &Path| path.symlink_metadata().is_ok_and(|meta| meta.is_dir());
    let own = places.filter(|place| [run, place, &place.join(CRASH)].iter().all(|folder| is_own(folder)));
    let files = own.flat_map(|place| [MEMORY, PACKED].map(|name| place.join(CRASH).join(name)));
    files.filter(|file| file.exists()).collect()
}

/// A run that lives is left alone. What cannot be removed (a guest's file of another owner) only takes room.
fn remove_finished(path: &Path) {
    if !is_live(path) {
        let _ = fs::remove_dir_all(path);
    }
}

#[cfg(test)]
mod tests;
