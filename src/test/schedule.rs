//! Groups over machines: several at a time, each with a thread of its own, until all are done or a signal ends them.
//!
//! Knows nothing of what the groups test.

use std::fs::{self, File};
use std::io::{BufRead, BufReader, PipeReader, Write};
use std::num::NonZero;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use quiz_cache::{Cache, Digest};
use serde::Serialize;

use super::blame::blame;
use super::group::{Ended, Group, Reads, Verdict};
use super::judge::judge;
use super::logs::{last_lines, printed, reason, slices};
use super::memo;
use super::transcript::Transcript;
use crate::boot::{self, Machine, Options, Outcome, Request, Run, RunFolder, Share, Stop, Streams};
use crate::error::{Error, Result};
use crate::event::{Event, Events};
use crate::snapshot;
use crate::status;

/// What runs, and in what.
pub struct Plan<'a> {
    /// The groups, in the order in which they start.
    pub groups: &'a [Group],
    /// The machine that each of them gets, without shares; paths of disks are from the folder of its run on.
    pub machine: &'a Machine,
    /// The folders of the host that the machine of this folder gets.
    pub shares: fn(&RunFolder) -> Vec<Share>,
    /// How each machine is watched. A time limit here counts for all, in place of the groups' own.
    pub options: Options,
    /// The digest of the folder that the guests see as `/shared`.
    pub shared: Digest,
    /// Remembers results.
    pub cache: &'a Cache,
    /// Each machine boots, and none is saved.
    pub no_snapshot: bool,
    /// Takes no result from the cache.
    pub rerun: bool,
    /// So many machines at a time.
    pub jobs: NonZero<usize>,
    /// The run's folder.
    pub folder: &'a RunFolder,
    /// Where events go; those of single machines do not.
    pub events: Events<'a>,
}

/// What all groups came to.
#[derive(Debug, Serialize)]
pub struct Results {
    /// In the order in which they were asked for; those that a signal kept from starting are among them.
    pub groups: Vec<Ended>,
    /// The signal that ended the run.
    pub interrupted: Option<i32>,
    /// How long it took.
    pub took: Duration,
}

impl Results {
    /// The exit status: 0 when all ended as expected, else 1, or 128 + n for a signal.
    pub fn status(&self) -> u8 {
        match self.interrupted {
            Some(signal) => status::signal(signal),
            None if self.groups.iter().all(Ended::is_good) => status::FINE,
            None => status::FAILED,
        }
    }
}

/// Runs all groups.
///
/// # Errors
/// When signals cannot be caught, or the cache cannot be read or written. What goes wrong with one machine costs its group.
pub fn run(plan: &Plan<'_>) -> Result<Results> {
    let started = Instant::now();
    let stop = Stop::on_signals()?;
    let next = AtomicUsize::new(0);
    let ends: Mutex<Vec<Option<Ended>>> = Mutex::new(vec![None; plan.groups.len()]);
    let work = || -> Result<()> {
        while stop.signal().is_none()
            && let number = next.fetch_add(1, Ordering::Relaxed)
            && let Some(group) = plan.groups.get(number)
        {
            let ended = plan.group(group, &stop)?;
            ends.lock().unwrap_or_else(PoisonError::into_inner)[number] = Some(ended);
        }
        Ok(())
    };
    // The host's kernel ends a machine with the thread that started it, so each thread stays until its machines are gone.
    std::thread::scope(|scope| {
        let workers: Vec<_> = (0..plan.jobs.get().min(plan.groups.len())).map(|_| scope.spawn(work)).collect();
        workers
            .into_iter()
            .try_for_each(|worker| worker.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)))
    })?;
    let interrupted = stop.signal();
    let not_run = |group: &Group| {
        let outcome = Ok(Outcome::Interrupted(interrupted.unwrap_or_default()));
        judge(group, Transcript::default(), &outcome, "", Duration::ZERO)
    };
    let ends = ends.into_inner().unwrap_or_else(PoisonError::into_inner);
    let groups = plan.groups.iter().zip(ends).map(|(group, ended)| ended.unwrap_or_else(|| not_run(group))).collect();
    Ok(Results { groups, interrupted, took: started.elapsed() })
}

impl Plan<'_> {
    /// One group: from the cache, or in a machine.
    fn group(&self, group: &Group, stop: &Stop) -> Result<Ended> {
        let key = memo::key(self.cache, self.machine, group, &self.shared);
        let known = match &key {
            Some(key) if !self.rerun => memo::recall(self.cache, key, &self.options.allowed)?,
            _ => None,
        };
        if let Some(known) = known {
            let ended = Ended { folder: group.folder.clone(), ..known };
            (self.events)(told(&ended));
            return Ok(ended);
        }
        (self.events)(Event::GroupStarted { group: group.name.clone(), tests: group.tests.len() });
        let started = Instant::now();
        let folder = self.folder.part(&group.folder)?;
        let mut transcript = Transcript::default();
        let outcome = self.boot(group, &folder, stop, &mut transcript);
        let console = fs::read(folder.console_log()).unwrap_or_default();
        let console = String::from_utf8_lossy(&console);
        let mut ended = judge(group, transcript, &outcome, &console, started.elapsed());
        explain(&mut ended, group, &folder);
        blame(&mut ended, group, &outcome, &console, &self.options.allowed);
        if group.reads == Reads::Suite {
            self.keep_slices(group, &console)?;
        }
        if let Some(key) = &key {
            memo::remember(self.cache, key, &ended)?;
        }
        (self.events)(told(&ended));
        Ok(ended)
    }

    /// Runs the group's program in a machine and reads what it prints as it comes.
    fn boot(&self, group: &Group, folder: &RunFolder, stop: &Stop, transcript: &mut Transcript) -> Result<Outcome> {
        let mut machine = Machine { shares: (self.shares)(folder), ..self.machine.clone() };
        machine.disks.iter_mut().for_each(|disk| disk.path = folder.path().join(&disk.path));
        let _disks = boot::disk::take(&machine.disks, folder)?;
        let request = Request {
            program: group.program.iter().map(Into::into).collect(),
            env: Vec::new(),
            dir: "/root".into(),
            tty: None,
            shell_after: false,
        };
        let timeout = self.options.timeout.or(group.limit);
        let options = Options { timeout, stop: Some(stop.clone()), ..self.options.clone() };
        let file = |name: &str| {
            let path = folder.path().join(name);
            let open = File::options().create(true).truncate(true).read(true).write(true).open(&path);
            open.map_err(|e| Error::boot(format!("cannot write {}", path.display())).because(e))
        };
        let failed = |e: std::io::Error| Error::boot("cannot pass what the program prints").because(e);
        fs::write(folder.path().join("stdin"), &group.input).map_err(failed)?;
        let stdin = File::open(folder.path().join("stdin")).map_err(failed)?;
        let (from_guest, to_quiz) = std::io::pipe().map_err(failed)?;
        let (stderr, copy) = (file("stderr")?, file("stdout")?);
        let streams = Streams { stdin: stdin.into(), stdout: to_quiz.into(), stderr: stderr.into() };
        let events = |event: Event| match event {
            Event::Booting { .. }
            | Event::Ready { .. }
            | Event::Kernel { .. }
            | Event::Complained { .. }
            | Event::Ended { .. } => {}
            other => (self.events)(other),
        };
        std::thread::scope(|scope| {
            let run = Run { request: &request, folder, options: &options, streams: &streams, events: &events };
            let reader = scope.spawn(|| self.read(group, from_guest, copy, transcript));
            let outcome = if self.no_snapshot {
                snapshot::boot(&machine, &run)
            } else {
                snapshot::run(self.cache, &machine, &run)
            };
            drop(streams);
            match reader.join() {
                Ok(read) => read.map_err(failed).and(outcome),
                Err(panic) => std::panic::resume_unwind(panic),
            }
        })
    }

    fn read(
        &self,
        group: &Group,
        from: PipeReader,
        mut copy: File,
        transcript: &mut Transcript,
    ) -> std::io::Result<()> {
        let mut from = BufReader::new(from);
        let mut line = Vec::new();
        while from.read_until(b'\n', &mut line)? > 0 {
            copy.write_all(&line)?;
            if let Some(end) = transcript.line(String::from_utf8_lossy(&line).trim_end()) {
                let (group, test, verdict) = (group.name.clone(), end.name.clone(), end.verdict.to_string());
                (self.events)(Event::TestEnded { group, test, verdict });
            }
            line.clear();
        }
        Ok(())
    }

    /// The kernel log of each test, into the run's `out/`.
    fn keep_slices(&self, group: &Group, console: &str) -> Result<()> {
        let folder = self.folder.out().join(&group.folder);
        for (test, text) in slices(console) {
            let path = folder.join(format!("{test}.kernel.log"));
            fs::create_dir_all(&folder)
                .and_then(|()| File::options().create(true).append(true).open(&path))
                .and_then(|mut file| file.write_all(text.as_bytes()))
                .map_err(|e| Error::boot(format!("cannot write {}", path.display())).because(e))?;
        }
        Ok(())
    }
}

/// Adds what tests printed that did not pass.
fn explain(ended: &mut Ended, group: &Group, folder: &RunFolder) {
    let explained = [Verdict::Fail, Verdict::Killed, Verdict::Skip];
    for test in ended.tests.iter_mut().filter(|test| explained.contains(&test.verdict)) {
        match group.reads {
            Reads::Suite => {
                test.output = printed(&folder.out(), &test.name);
                test.why = test.why.take().or_else(|| reason(&test.output));
            }
            Reads::Status => {
                test.output = last_lines(folder.path());
                let last = test.output.last().map_or(String::new(), |line| format!(": {line}"));
                test.why = test.why.take().map(|status| status + &last);
            }
        }
    }
}

fn told(ended: &Ended) -> Event {
    let unexpected = ended.tests.iter().filter(|test| !test.expected).count();
    Event::GroupEnded {
        group: ended.name.clone(),
        tests: ended.tests.len(),
        unexpected,
        took: ended.took,
        cached: ended.cached,
    }
}
