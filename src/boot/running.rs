//! What a run's folder tells of its machine while that runs: the file `machine.json`; and which process runs it.
//!
//! Knows nothing of other runs.

use super::crash::Imported;
use super::folder::{DOOR, RESULT, RunFolder, is_live, name, number, parts, run_of};
use super::job::Options;
use crate::error::{Error, Result, cannot};
use crate::host;
use crate::machine::Machine;
use rustix::process::{Pid, PidfdFlags, pidfd_open};
use serde::{Deserialize, Serialize};
use std::fs;
use std::io::{ErrorKind, Read};
use std::os::fd::OwnedFd;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

const FILE: &str = "machine.json";
/// The most bytes that the file may have: arguments of a program are 2 MiB at most.
const MOST: u64 = 4 << 20;

/// A machine that runs, or ran.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Running {
    /// The process of quiz that has it.
    pub quiz: i32,
    /// Its qemu.
    pub qemu: i32,
    /// When qemu was started, in seconds since 1970.
    pub since: u64,
    /// The program and its arguments; empty for a shell.
    pub program: Vec<String>,
    /// The profiles that are on.
    pub profiles: Vec<String>,
    /// `kvm` or `tcg`.
    pub accelerator: String,
    /// It did not boot: it went on from a snapshot.
    pub restored: bool,
    /// The kernel that was started, in the cache.
    #[serde(default)]
    pub kernel: String,
    /// The layers of the root, in the cache, the topmost first.
    #[serde(default)]
    pub layers: Vec<String>,
    /// The settings that were given as flags, as words of a command line.
    #[serde(default)]
    pub flags: Vec<String>,
    /// Those that variables gave and that say what is built, as `NAME=value`. Older records do not say.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub variables: Option<Vec<String>>,
    /// The line that runs it again.
    #[serde(default)]
    pub again: String,
    /// What came along with the crash from elsewhere that it runs into again.
    #[serde(default)]
    pub imported: Option<Imported>,
}

impl Running {
    /// A machine that was started just now.
    pub(super) fn now(machine: &Machine, qemu: u32, program: &[std::ffi::OsString], options: &Options) -> Self {
        Self {
            quiz: std::process::id().cast_signed(),
            qemu: qemu.cast_signed(),
            since: SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs(),
            program: program.iter().map(|word| word.to_string_lossy().into_owned()).collect(),
            profiles: options.profiles.clone(),
            accelerator: machine.accel.name().to_owned(),
            restored: machine.start.from().is_some(),
            kernel: machine.kernel.display().to_string(),
            layers: machine.layers.iter().map(|layer| layer.display().to_string()).collect(),
            flags: options.flags.clone(),
            variables: options.variables.clone(),
            again: options.again.clone(),
            imported: options.imported.clone(),
        }
    }

    /// # Errors
    /// The run's folder cannot be written.
    pub(super) fn write(&self, folder: &RunFolder) -> Result<()> {
        let path = folder.path().join(FILE);
        host::write_private(&path, &format!("{}\n", serde_json::json!(self))).map_err(|e| cannot("write", &path, e))
    }

    /// Its qemu is there; or a later process that has its number.
    fn has_qemu(&self) -> bool {
        Path::new(&format!("/proc/{}", self.qemu)).exists()
    }

    /// How long it has been running.
    #[must_use]
    pub fn age(&self) -> Duration {
        let since = UNIX_EPOCH + Duration::from_secs(self.since);
        SystemTime::now().duration_since(since).unwrap_or_default()
    }

    /// Bytes of the host's memory that its qemu takes, those that it shares with others counted by their share (proc(5): PSS).
    #[must_use]
    pub fn memory(&self) -> Option<u64> {
        let text = fs::read_to_string(format!("/proc/{}/smaps_rollup", self.qemu)).ok()?;
        let line = text.lines().find_map(|line| line.strip_prefix("Pss:"))?;
        line.trim().strip_suffix(" kB")?.parse::<u64>().ok().map(|kib| kib << 10)
    }
}

/// The machines of a run that lives, each with its folder; none before the first has been started. A run may be one that a project brought along, and so may the file.
#[must_use]
pub fn machines(run: &Path) -> Vec<(PathBuf, Running)> {
    if !is_live(run) {
        return Vec::new();
    }
    let machine = |place: PathBuf| {
        let running = read(&place).filter(|running| running.has_qemu() && is_up(&place))?;
        Some((place, running))
    };
    places(run).into_iter().filter_map(machine).collect()
}

/// Whether the machine of that folder is there, or comes: its run lives, and it is not over.
#[must_use]
pub fn is_up(place: &Path) -> bool {
    if !is_live(run_of(place)) || place.join(RESULT).exists() {
        return false;
    }
    // The door is open until no machine comes any more. It may be closed before that, and not be there where the file system has no sockets.
    place.join(DOOR).exists() || read(place).is_none_or(|machine| machine.has_qemu())
}

/// The process of quiz that has a run which lives, also when its machines are over: it may still write what they said, or keep what is left of them.
#[must_use]
pub fn process(run: &Path) -> Option<OwnedFd> {
    places(run).iter().find_map(|place| holder(run, read(place)?.quiz))
}

/// The folders of a run's machines.
fn places(run: &Path) -> Vec<PathBuf> {
    let parts = parts(run);
    if parts.is_empty() { vec![run.to_owned()] } else { parts }
}

fn read(place: &Path) -> Option<Running> {
    let mut text = String::new();
    host::open_plain(&place.join(FILE)).ok()?.take(MOST).read_to_string(&mut text).ok()?;
    serde_json::from_str(&text).ok()
}

/// The error for the folder of a run, or of a machine of one, that another user has started.
#[must_use]
pub fn others(place: &Path) -> Option<Error> {
    let lock = host::open_plain(&run_of(place).join("lock"));
    lock.is_err_and(|e| e.kind() == ErrorKind::PermissionDenied).then(|| {
        Error::input(format!("run {} is another user's", name(place)))
            .hint("only they, and root, reach its machine and what it has left")
    })
}

/// The error for a machine's folder whose run does not live, or whose machine is over, as far as this user can see.
#[must_use]
pub fn not_live(place: &Path) -> Error {
    if let Some(error) = others(place) {
        return error;
    }
    let (name, run) = (name(place), run_of(place));
    if is_live(run) {
        // Of several machines others may run.
        let left = if run == place { "; what it has left is still being kept" } else { "" };
        return Error::input(format!("the machine of run {name} is over{left}"))
            .hint(format!("quiz wait {}", number(run)));
    }
    Error::input(format!("run {name} is over")).hint("`quiz ps` shows what runs")
}

/// The process of quiz that has a run: of that number, and with the run's lock open. Its number alone could be another one's by now.
#[must_use]
pub fn holder(run: &Path, quiz: i32) -> Option<OwnedFd> {
    let process = pidfd_open(Pid::from_raw(quiz)?, PidfdFlags::empty()).ok()?;
    let lock = host::open_plain(&run.join("lock")).and_then(|lock| lock.metadata()).ok()?;
    let has_it = |entry: std::io::Result<fs::DirEntry>| {
        entry
            .and_then(|entry| fs::metadata(entry.path()))
            .is_ok_and(|meta| (meta.dev(), meta.ino()) == (lock.dev(), lock.ino()))
    };
    let mut fds = fs::read_dir(format!("/proc/{quiz}/fd")).ok()?;
    (fds.any(has_it) && is_live(run)).then_some(process)
}
