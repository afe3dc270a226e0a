//! What is asked of a run, and how it is watched: what stays the same however often its machine is started.
//!
//! Starts nothing.

use std::cell::Cell;
use std::fs;
use std::os::fd::{AsFd, OwnedFd};
use std::path::PathBuf;
use std::time::Duration;

use super::complaint::Allowed;
use super::crash::Imported;
use super::folder::RunFolder;
use super::outcome::Saved;
use super::request::Request;
use super::signals::Stop;
use super::tty;
use crate::error::{Error, Result};
use crate::event::Events;
use crate::machine::Level;

/// Where the program's bytes come from and go to.
#[derive(Debug)]
pub struct Streams {
    /// Read while the program runs.
    pub stdin: OwnedFd,
    /// Gets the program's stdout, or all that it writes to its terminal.
    pub stdout: OwnedFd,
    /// Gets the program's stderr.
    pub stderr: OwnedFd,
}

impl Streams {
    /// quiz's own stdin, stdout and stderr; with `no_input` nothing is read.
    ///
    /// # Errors
    /// When they cannot be duplicated.
    pub fn inherit(no_input: bool) -> Result<Self> {
        let failed = |e: std::io::Error| Error::boot("cannot duplicate stdin, stdout and stderr").because(e);
        let stdin = std::io::stdin();
        // A job in the background that reads its terminal is stopped.
        let empty = no_input || tty::is_in_background(stdin.as_fd());
        let none = || fs::File::open("/dev/null").map(OwnedFd::from);
        Ok(Self {
            stdin: if empty { none() } else { stdin.as_fd().try_clone_to_owned() }.map_err(failed)?,
            stdout: std::io::stdout().as_fd().try_clone_to_owned().map_err(failed)?,
            stderr: std::io::stderr().as_fd().try_clone_to_owned().map_err(failed)?,
        })
    }
}

/// How a run is watched.
#[derive(Debug, Clone)]
pub struct Options {
    /// The program may take so long, from its start.
    pub timeout: Option<Duration>,
    /// Under KVM the guest's kernel must have spoken within this time, or KVM does not work: a kernel needs less than a second there.
    pub life_within: Duration,
    /// The guest must take a request within this time under KVM; TCG gets five times as much.
    pub ready_within: Duration,
    /// Send the kernel's lines while the program runs.
    pub kmsg: bool,
    /// What its kernel may complain about.
    pub allowed: Vec<Allowed>,
    /// The profiles that are on, for those who look at what runs.
    pub profiles: Vec<String>,
    /// A program whose kernel complains ends as [`super::Outcome::Complained`].
    pub fail_on_warning: bool,
    /// What the kernel said is part of the result: a log that cannot be written is the host's failure, not a warning.
    pub whole_log: bool,
    /// How many guests of a run that crash have their memory kept; with 0 nothing is kept of any. See [`super::crash`].
    pub memories: usize,
    /// A guest that crashed, hangs or is too slow stands still until somebody at a debugger has looked at it: see [`super::gdb`].
    pub shows: bool,
    /// The settings that were given as flags, as words of a command line, for whoever looks at it with a debugger.
    pub flags: Vec<String>,
    /// Those that variables gave and that say what is built, as `NAME=value`, for the same; none where that is not known.
    pub variables: Option<Vec<String>>,
    /// The command line that runs it again, for whoever finds the crash.
    pub again: String,
    /// If this machine is to run into an imported crash again: what came along with that crash, for whoever looks at it with a debugger.
    pub imported: Option<Imported>,
    /// The file in which [`crate::machine::accel`] remembers whether KVM works.
    pub verdicts: Option<PathBuf>,
    /// If KVM does not work the run fails, and no machine under TCG takes its place.
    pub only_kvm: bool,
    /// What [`crate::machine::accel::choose`] said, for [`crate::event::Event::Booting`].
    pub why_not_kvm: Option<String>,
    /// The exit status when the guest goes away by itself, in the place of [`crate::status::LOST`].
    pub lost_as: Option<u8>,
    /// The machine is one of several, which a signal ends at once. Without it the first signal is the program's.
    pub stop: Option<Stop>,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            timeout: None,
            life_within: Duration::from_secs(20),
            ready_within: Duration::from_secs(60),
            kmsg: false,
            allowed: Vec::new(),
            profiles: Vec::new(),
            fail_on_warning: false,
            whole_log: false,
            memories: 0,
            shows: false,
            flags: Vec::new(),
            variables: None,
            again: String::new(),
            imported: None,
            verdicts: None,
            only_kvm: false,
            why_not_kvm: None,
            lost_as: None,
            stop: None,
        }
    }
}

/// A request and its frame.
pub(super) struct Asked<'a> {
    pub(super) request: &'a Request,
    pub(super) bytes: Vec<u8>,
    /// No more of stdin is read than the program needs.
    pub(super) bounded: bool,
}

/// What stays the same when a machine is started again.
pub(super) struct Job<'a> {
    pub(super) request: &'a Asked<'a>,
    pub(super) folder: &'a RunFolder,
    pub(super) options: &'a Options,
    pub(super) streams: &'a Streams,
    pub(super) events: Events<'a>,
    /// The guest answered and is a machine of its own: from now on the program may have run.
    pub(super) awake: Cell<bool>,
    /// Called with what came of each snapshot that was to be made.
    pub(super) saved: &'a dyn Fn(Level, Saved),
}

impl Job<'_> {
    /// Where the guest's kernel speaks.
    pub(super) fn console_log(&self) -> PathBuf {
        self.folder.console_log()
    }

    /// The guest's host name: another one for each run of a project.
    pub(super) fn name(&self) -> String {
        format!("quiz-{}", self.folder.id())
    }

    /// The run's folder, as people read it.
    pub(super) fn place(&self) -> String {
        self.folder.path().display().to_string()
    }
}
