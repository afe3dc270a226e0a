//! A run that goes on when whoever typed it has the prompt back: quiz starts itself once more, in a session of its own, and waits until the
//! program runs there.
//!
//! The process that stays tells the run's number on its stdout, a pipe. Until then either process ends when the other one does. Knows
//! nothing of machines.

use super::folder::RunFolder;
use super::job::Streams;
use super::signals::Signals;
use crate::error::{Error, Result, cannot};
use crate::host;
use crate::status;
use rustix::event::{PollFd, PollFlags, poll};
use rustix::process::{Pid, Signal, getpid, kill_process, set_parent_process_death_signal};
use signal_hook::consts::SIGWINCH;
use std::ffi::OsString;
use std::fs::{File, OpenOptions};
use std::io::{Read, Write};
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};

/// What became of the process that was started.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Started {
    /// The program runs in the run of that number.
    Runs(String),
    /// The program did not start: quiz ended before that, with this status.
    Ended(u8),
}

/// Starts this program again with these arguments, and waits until it has [left](leave), or ended. Signals are passed on to it.
///
/// # Errors
/// It cannot be started or waited for.
pub fn start(arguments: impl IntoIterator<Item = OsString>) -> Result<Started> {
    let failed = |e: std::io::Error| Error::boot("cannot start quiz in the background").because(e);
    let mut signals = Signals::catch()?;
    let mut command = Command::new("/proc/self/exe");
    command.args(arguments).stdin(Stdio::null()).stdout(Stdio::piped());
    host::lead_session(&mut command);
    host::keep_nothing_open(&mut command);
    host::tie(&mut command, Vec::new());
    let mut child = command.spawn().map_err(failed)?;
    let mut said = child.stdout.take().ok_or_else(|| Error::boot("cannot start quiz in the background"))?;
    let mut number = Vec::new();
    loop {
        let mut fds = [PollFd::new(&said, PollFlags::IN), PollFd::from_borrowed_fd(signals.fd(), PollFlags::IN)];
        match poll(&mut fds, None) {
            Ok(_) | Err(rustix::io::Errno::INTR) => {}
            Err(e) => return Err(failed(e.into())),
        }
        let (speaks, signalled) = (!fds[0].revents().is_empty(), !fds[1].revents().is_empty());
        if signalled {
            pass_on(&mut signals, &child);
        }
        if !speaks {
            continue;
        }
        let mut bytes = [0; 64];
        let count = said.read(&mut bytes).map_err(failed)?;
        number.extend(&bytes[..count]);
        if number.ends_with(b"\n") {
            return Ok(Started::Runs(String::from_utf8_lossy(&number).trim().to_owned()));
        }
        if count == 0 {
            let ended = child.wait().map_err(failed)?;
            let by_signal = status::signal(ended.signal().unwrap_or_default());
            return Ok(Started::Ended(ended.code().and_then(|code| u8::try_from(code).ok()).unwrap_or(by_signal)));
        }
    }
}

/// Passes the signals on to the process: it is in a session of its own, where no key of the terminal reaches it.
fn pass_on(signals: &mut Signals, child: &Child) {
    for signal in signals.take().into_iter().filter(|signal| *signal != SIGWINCH) {
        let process = Pid::from_raw(child.id().cast_signed());
        if let (Some(process), Some(signal)) = (process, Signal::from_named_raw(signal)) {
            // Fails if the process has ended just now.
            let _ = kill_process(process, signal);
        }
    }
}

/// Where the program's bytes go: files in the run's folder.
///
/// # Errors
/// One cannot be made.
pub fn streams(folder: &RunFolder) -> Result<Streams> {
    let file = |name: &str| open(&folder.path().join(name), host::private_file().truncate(true));
    let stdin = open(Path::new("/dev/null"), File::options().read(true))?;
    Ok(Streams { stdin: stdin.into(), stdout: file("stdout")?.into(), stderr: file("stderr")?.into() })
}

/// Called in the process that stays, when the program runs. From now on it does not end with the process that started it, and says what it has
/// to say to a file in the run's folder.
///
/// # Errors
/// The file cannot be made, or whoever waits is gone.
pub fn leave(folder: &RunFolder) -> Result<()> {
    let path = folder.path().join("quiz.log");
    let log = open(&path, host::private_file().truncate(true))?;
    // Done before the other process ends, which it does as soon as it has the number.
    set_parent_process_death_signal(None).map_err(|e| Error::boot("cannot go on in the background").because(e))?;
    let mut stdout = std::io::stdout().lock();
    let told = writeln!(stdout, "{}", folder.id()).and_then(|()| stdout.flush());
    if let Err(error) = told {
        // Nobody has learnt the run's number, so nobody would ever end it.
        let _ = kill_process(getpid(), Signal::TERM);
        return Err(Error::boot("nobody waits for this run any more").because(error));
    }
    let moved = rustix::stdio::dup2_stdout(&log).and_then(|()| rustix::stdio::dup2_stderr(&log));
    moved.map_err(|e| cannot("write", &path, e.into()))
}

fn open(path: &Path, options: &OpenOptions) -> Result<File> {
    options.open(path).map_err(|e| cannot("open", path, e))
}
