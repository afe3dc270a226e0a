//! Jobs of `quiz mcp`: each is a process of quiz, whose streams and events are files that can be read from anywhere on.
//!
//! Not the library in this process: what a run needs to itself (signals, the GNU jobserver, the current folder) is one process's, and a process can
//! be ended as `quiz stop` does it, whatever it is at. It dies with this one. Knows nothing of the protocol.

use crate::event::Ending;
use crate::host;
use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};
use serde_json::Value as Json;
use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fs::File;
use std::io::{self, ErrorKind, Write};
use std::os::fd::OwnedFd;
use std::os::unix::fs::FileExt;
use std::path::PathBuf;
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
/// Bytes that are read at once; a longer line of events is left out.
const CHUNK: usize = 1 << 20;

/// What is to be run.
#[derive(Debug, Default)]
pub(super) struct Asked {
    /// The words behind `quiz`.
    pub words: Vec<OsString>,
    /// What it reads.
    pub input: String,
}

/// A process of quiz, or one that was.
#[derive(Debug)]
pub(super) struct Job {
    pub number: u32,
    /// What was typed, but for where events go.
    pub words: Vec<OsString>,
    pub begun: Instant,
    process: OwnedFd,
    ended: watch::Receiver<Option<(ExitStatus, Duration)>>,
    folder: tempfile::TempDir,
    told: Mutex<Told>,
}

/// What its events have told, however often they were read.
#[derive(Debug, Default, Clone)]
pub(super) struct Told {
    /// Bytes of events that were read.
    pub read: u64,
    /// The number of its run.
    pub run: Option<String>,
    /// The guest takes requests.
    pub ready: bool,
    /// The last `outcome`: of which ending, and in words.
    pub outcome: Option<(Ending, String)>,
    /// The last `error`.
    pub error: Option<Json>,
}

/// A file of a job.
#[derive(Debug, Clone, Copy)]
pub(super) enum Stream {
    Stdout,
    Stderr,
    Events,
}

impl Stream {
    fn name(self) -> &'static str {
        match self {
            Self::Stdout => "stdout",
            Self::Stderr => "stderr",
            Self::Events => "events",
        }
    }
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

    /// That one, while its files are there.
    pub fn find(&self, number: u32) -> Option<Arc<Job>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).1.get(&number).cloned()
    }

    /// Those that are known, the oldest first.
    pub fn all(&self) -> Vec<Arc<Job>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).1.values().cloned().collect()
    }
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
        // It is not waited for before the line below, so it is still that process, even if it has ended.
        let process = pidfd_open(Pid::from_child(&child), PidfdFlags::empty());
        let (tell, ended) = watch::channel(None);
        let process = process.inspect_err(|_| drop(child.kill()))?;
        std::thread::spawn(move || {
            if let Ok(status) = child.wait() {
                tell.send_replace(Some((status, begun.elapsed())));
            }
        });
        Ok(Self { number, words, begun, process, ended, folder, told: Mutex::default() })
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
            // It may have ended just now.
            let _ = pidfd_send_signal(&self.process, signal);
            self.wait(patience).await;
        }
    }

    fn path(&self, stream: Stream) -> PathBuf {
        self.folder.path().join(stream.name())
    }

    /// So many bytes of a file from there on, and how many it has.
    ///
    /// # Errors
    /// It cannot be read.
    pub fn read(&self, stream: Stream, from: u64, most: usize) -> io::Result<(Vec<u8>, u64)> {
        let file = File::open(self.path(stream))?;
        let total = file.metadata()?.len();
        let mut bytes = vec![0; most.min(usize::try_from(total.saturating_sub(from)).unwrap_or(most))];
        let mut length = 0;
        while length < bytes.len() {
            match file.read_at(&mut bytes[length..], from + length as u64)? {
                0 => break,
                count => length += count,
            }
        }
        bytes.truncate(length);
        Ok((bytes, total))
    }

    /// The events from that byte on, for which `takes` them, at most so many; and where the next one begins.
    ///
    /// # Errors
    /// The file cannot be read.
    pub fn events(&self, from: u64, most: usize, takes: impl Fn(&Json) -> bool) -> io::Result<(Vec<Json>, u64)> {
        let (mut events, mut next) = (Vec::new(), from);
        while events.len() < most {
            let (bytes, _) = self.read(Stream::Events, next, CHUNK)?;
            let Some(whole) = bytes.iter().rposition(|byte| *byte == b'\n') else {
                if bytes.len() < CHUNK {
                    break;
                }
                next += bytes.len() as u64;
                continue;
            };
            for line in bytes[..=whole].split_inclusive(|byte| *byte == b'\n') {
                if events.len() == most {
                    break;
                }
                next += line.len() as u64;
                events.extend(serde_json::from_slice(line).ok().filter(&takes));
            }
        }
        Ok((events, next))
    }

    /// What all events so far have told.
    ///
    /// # Errors
    /// They cannot be read.
    pub fn told(&self) -> io::Result<Told> {
        let mut told = self.told.lock().unwrap_or_else(PoisonError::into_inner);
        let (events, next) = self.events(told.read, usize::MAX, |event| {
            ["booting", "ready", "outcome", "error"].iter().any(|name| event["event"] == *name)
        })?;
        told.read = next;
        events.into_iter().for_each(|event| told.hears(event));
        Ok(told.clone())
    }
}

impl Told {
    fn hears(&mut self, event: Json) {
        let text = |name: &str| event[name].as_str().unwrap_or_default().to_owned();
        match event["event"].as_str() {
            // PROJECT/.quiz/runs/7/groups/x
            Some("booting") => {
                let run = text("run");
                let inside = run.rsplit_once("/runs/").map(|(_, run)| run);
                self.run = inside.and_then(|run| run.split('/').next()).map(str::to_owned);
            }
            Some("ready") => self.ready = true,
            Some("outcome") => {
                let ending = serde_json::from_value(event["ending"].clone()).ok();
                self.outcome = ending.map(|ending| (ending, text("how")));
            }
            _ => self.error = Some(event),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_run_is_known_by_its_folder_and_the_last_word_counts() {
        let mut told = Told::default();
        told.hears(json!({ "event": "booting", "run": "/p/runs/x/.quiz/runs/7/groups/functional.atime" }));
        assert_eq!(told.run.as_deref(), Some("7"));
        told.hears(json!({ "event": "outcome", "ending": "time-limit", "how": "late" }));
        assert_eq!(told.outcome, Some((Ending::TimeLimit, "late".to_owned())));
        told.hears(json!({ "event": "outcome", "ending": "unheard-of" }));
        assert_eq!(told.outcome, None);
    }
}
