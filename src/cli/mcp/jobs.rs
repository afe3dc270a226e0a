//! Jobs of `quiz mcp`: each is a process of quiz, whose streams and events are files that can be read from anywhere on.
//!
//! The library is not called in this process: a run needs signals, the GNU jobserver and the current folder for itself, and a process has only one of
//! each; and a process can be ended as `quiz stop` does it, whatever it just does. It dies with this one. Knows nothing of the protocol.

use super::outputs::{Files, Stream};
use crate::host;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};
use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fs::File;
use std::io::{self, ErrorKind, Write};
use std::os::fd::OwnedFd;
use std::process::{Command, ExitStatus, Stdio};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};
use tokio::sync::watch;

/// Jobs that run at the same time.
const LIVE: usize = 32;
/// Ended ones whose files stay.
const ENDED: usize = 64;
/// What a job that was asked to end has until it is asked again, and until it is killed: as `quiz stop`.
const ASKED: Duration = Duration::from_secs(10);
const KILLED: Duration = Duration::from_secs(20);
/// Between two looks at how long its files are.
const LOOK_AGAIN: Timespec = Timespec { tv_sec: 0, tv_nsec: 100_000_000 };
/// Bytes that a file of a job takes on the disk, and those at its end that are kept when it takes more.
const MOST: u64 = 64 << 20;
const KEPT: u64 = 32 << 20;

/// What is to be run.
#[derive(Debug, Default)]
pub(super) struct Asked {
    /// The words behind `quiz`.
    pub words: Vec<OsString>,
    /// Its stdin.
    pub input: String,
}

/// A process of quiz, or one that was.
#[derive(Debug)]
pub(super) struct Job {
    pub number: u32,
    /// The words behind `quiz`, but for those that say how events are written.
    pub words: Vec<OsString>,
    pub begun: Instant,
    process: OwnedFd,
    ended: watch::Receiver<Option<(ExitStatus, Duration)>>,
    /// The folder with its files, which is removed when this is dropped.
    _folder: tempfile::TempDir,
    pub files: Arc<Files>,
}

/// All jobs.
#[derive(Debug, Default)]
pub(super) struct Jobs(Mutex<(u32, BTreeMap<u32, Arc<Job>>)>);

impl Jobs {
    /// Starts one. The process dies with the thread that calls this.
    ///
    /// # Errors
    /// Too many run, or it cannot be started.
    pub fn start(&self, asked: Asked) -> io::Result<Arc<Job>> {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let (last, jobs) = &mut *all;
        if jobs.values().filter(|job| job.ended().is_none()).count() >= LIVE {
            return Err(io::Error::new(ErrorKind::QuotaExceeded, format!("{LIVE} jobs run already")));
        }
        let job = Arc::new(Job::start(*last + 1, asked)?);
        *last += 1;
        jobs.insert(*last, Arc::clone(&job));
        let ended: Vec<u32> = jobs.values().filter(|job| job.ended().is_some()).map(|job| job.number).collect();
        ended.iter().take(ended.len().saturating_sub(ENDED)).for_each(|number| drop(jobs.remove(number)));
        Ok(job)
    }

    /// The job of that number, while its files are kept.
    pub fn find(&self, number: u32) -> Option<Arc<Job>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).1.get(&number).cloned()
    }

    /// Those that are known, the oldest first.
    pub fn all(&self) -> Vec<Arc<Job>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).1.values().cloned().collect()
    }
}

/// Whether the process has ended; comes back after a moment if it has not.
fn is_over(process: &OwnedFd) -> bool {
    let mut polled = [PollFd::new(process, PollFlags::IN)];
    // A signal interrupts it: then the caller looks again.
    poll(&mut polled, Some(&LOOK_AGAIN)).is_ok_and(|ready| ready > 0)
}

impl Job {
    fn start(number: u32, asked: Asked) -> io::Result<Self> {
        let Asked { words, input } = asked;
        let folder = tempfile::Builder::new().prefix("quiz-job-").tempdir()?;
        let file = |name: &str| host::private_file().read(true).open(folder.path().join(name));
        file("stdin")?.write_all(input.as_bytes())?;
        let mut events = OsString::from("--events=");
        events.push(folder.path().join(file(Stream::Events.name()).map(|_| Stream::Events.name())?));
        let mut command = Command::new("/proc/self/exe");
        command.arg("--json").arg(events).args(&words).stdin(File::open(folder.path().join("stdin"))?);
        command.stdout(Stdio::from(file("stdout")?)).stderr(Stdio::from(file("stderr")?));
        host::tie(&mut command, Vec::new());
        let begun = Instant::now();
        let mut child = command.spawn()?;
        // Nobody has waited for the child yet, so its id is still its own, even if it has ended.
        let process = pidfd_open(Pid::from_child(&child), PidfdFlags::empty());
        let (tell, ended) = watch::channel(None);
        let process = process.inspect_err(|_| drop(child.kill()))?;
        let files = Arc::new(Files::new(folder.path().to_owned()));
        let (kept, watched) = (Arc::clone(&files), process.try_clone().inspect_err(|_| drop(child.kill()))?);
        std::thread::spawn(move || {
            let mut is_bounded = true;
            while !is_over(&watched) {
                if is_bounded && kept.trim(MOST, KEPT).is_err() {
                    is_bounded = false;
                    // The file system knows no holes: the job is ended before it fills the disk. It may have ended just now.
                    let _ = pidfd_send_signal(&watched, Signal::TERM);
                }
            }
            if let Ok(status) = child.wait() {
                // If it cannot be trimmed it stays as it is: nothing more comes.
                let _ = kept.trim(MOST, KEPT);
                tell.send_replace(Some((status, begun.elapsed())));
            }
        });
        Ok(Self { number, words, begun, process, ended, _folder: folder, files })
    }

    /// How it ended, and how long it took.
    pub fn ended(&self) -> Option<(ExitStatus, Duration)> {
        *self.ended.borrow()
    }

    /// Waits until it is over, for so long at most.
    pub async fn wait(&self, most: Duration) {
        let mut ended = self.ended.clone();
        let _ = tokio::time::timeout(most, ended.wait_for(Option::is_some)).await;
    }

    /// Ends it as `quiz stop` ends a run.
    pub async fn stop(&self) {
        for (signal, patience) in [(Signal::TERM, ASKED), (Signal::TERM, KILLED - ASKED), (Signal::KILL, ASKED)] {
            if self.ended().is_some() {
                return;
            }
            // The job may have ended just now.
            let _ = pidfd_send_signal(&self.process, signal);
            self.wait(patience).await;
        }
    }
}
