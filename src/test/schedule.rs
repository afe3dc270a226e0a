//! Groups over machines: several at a time, each with a thread of its own, until all are done or a signal ends them.
//!
//! Knows nothing of what the groups test.

use std::fs::{self, File};
use std::io::{BufRead, BufReader, PipeReader, Write};
use std::num::NonZero;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use quiz_cache::{Cache, Digest, Key};

use super::blame::blame;
use super::estimate::{Estimate, Turn};
use super::group::{Group, GroupEnd, Reads, TestEnd, Verdict};
use super::judge::{MACHINE, in_words, judge, unexpected};
use super::logs::{last_lines, printed, reason, slices};
use super::results::Results;
use super::transcript::Transcript;
use super::{memo, output};
use crate::boot::{Mounted, Options, Outcome, Request, Run, RunFolder, Stop, Streams};
use crate::error::{Error, Result};
use crate::event::{Event, Events};
use crate::host;
use crate::machine::{Accel, Machine, Share, accel, disk};
use crate::snapshot;

/// What runs, and in what.
pub struct Plan<'a> {
    /// The groups, in the order in which they start.
    pub groups: &'a [Group],
    /// The machine that each of them gets, without shares; paths of disks are from the folder of its run on.
    pub machine: &'a Machine,
    /// The folders of the host that the machine of this folder gets.
    pub shares: &'a (dyn Fn(&RunFolder) -> Vec<Share> + Sync),
    /// Where the guest mounts those that not each run has.
    pub mounts: Vec<Mounted>,
    /// The folder of the guest in which each group's program starts.
    pub dir: &'a Path,
    /// How each machine is watched. A time limit here counts for all, in place of the groups' own.
    pub options: Options,
    /// The digest of the folder that the guests see as `/shared`; nothing where they see more of the host.
    pub shared: Option<Digest>,
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
    /// Where those of single machines go.
    pub of_machines: Events<'a>,
}

/// Runs all groups. What is known so far is written to the run's `out/` whenever one has ended.
///
/// # Errors
/// When signals cannot be caught. What goes wrong with one machine costs its group, and so does what cannot be written of it.
pub fn run(plan: &Plan<'_>) -> Result<Results> {
    let board = Board { plan, started: Instant::now(), ends: Mutex::new(vec![None; plan.groups.len()]) };
    let stop = Stop::on_signals()?;
    let next = AtomicUsize::new(0);
    let estimate = Estimate::new(plan.cache, plan.groups, plan.jobs.get(), plan.events);
    let work = || {
        while stop.signal().is_none()
            && let number = next.fetch_add(1, Ordering::Relaxed)
            && let Some(group) = plan.groups.get(number)
        {
            let ended = plan.group(group, &stop, estimate.turn(number));
            estimate.turn(number).ends(&ended);
            board.ended(number, ended);
        }
    };
    // The host's kernel ends a machine with the thread that started it, so each thread stays until its machines are gone.
    std::thread::scope(|scope| (0..plan.jobs.get().min(plan.groups.len())).for_each(|_| drop(scope.spawn(work))));
    let interrupted = stop.signal();
    let left = Ok(Outcome::Interrupted(interrupted.unwrap_or_default()));
    Ok(Results { interrupted, ..board.results(&board.lock(), &left) })
}

/// What is known so far.
struct Board<'a> {
    plan: &'a Plan<'a>,
    started: Instant,
    ends: Mutex<Vec<Option<GroupEnd>>>,
}

impl Board<'_> {
    fn lock(&self) -> MutexGuard<'_, Vec<Option<GroupEnd>>> {
        self.ends.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes the end of one more group, and writes down all results so far.
    fn ended(&self, number: usize, ended: GroupEnd) {
        let mut ends = self.lock();
        ends[number] = Some(ended);
        // Groups without an end are written as not run, so that nobody takes the file for all results.
        let results = self.results(&ends, &Err(Error::boot("it had not ended yet")));
        let written = output::write(&self.plan.folder.out(), &results);
        if let Some(ended) = &mut ends[number] {
            written.unwrap_or_else(|error| spoil(ended, &error));
            (self.plan.events)(told(ended));
        }
    }

    /// All results, in which the groups that have not ended have the end `left`.
    fn results(&self, ends: &[Option<GroupEnd>], left: &Result<Outcome>) -> Results {
        let not_run = |group| judge(group, Transcript::default(), left, "", Duration::ZERO);
        let groups = self.plan.groups.iter().zip(ends);
        let groups = groups.map(|(group, ended)| ended.clone().unwrap_or_else(|| not_run(group))).collect();
        Results { groups, interrupted: None, took: self.started.elapsed() }
    }
}

/// Adds to a group that some of its results could not be written, so that it counts as wrong.
fn spoil(ended: &mut GroupEnd, error: &Error) {
    ended.tests.push(TestEnd { why: Some(in_words(error)), ..unexpected(MACHINE, Verdict::Lost) });
    ended.complete = false;
}

impl Plan<'_> {
    /// One group: from the cache, or in a machine.
    fn group(&self, group: &Group, stop: &Stop, turn: Turn<'_>) -> GroupEnd {
        let mut machine = self.machine.clone();
        // KVM may have turned out not to work since the first group: not each of the others has to find that out, and what is remembered of
        // machines under TCG counts for them.
        if machine.accel == Accel::Kvm && !self.options.only_kvm {
            machine.accel = accel::choose(machine.qemu.path(), self.options.verdicts.as_deref()).accel;
        }
        let key = memo::key(self.cache, &machine, group, (self.shared.as_ref(), self.dir));
        if let Some(known) = key.as_ref().filter(|_| !self.rerun).and_then(|key| self.recall(key)) {
            return GroupEnd { folder: group.folder.clone(), ..known };
        }
        (self.events)(Event::GroupStarted { group: group.name.clone(), tests: group.tests.len() });
        turn.begins();
        let started = Instant::now();
        let mut transcript = Transcript::default();
        let folder = match self.folder.part(&group.folder) {
            Ok(folder) => folder,
            Err(error) => return judge(group, transcript, &Err(error), "", started.elapsed()),
        };
        let wanted = machine.accel;
        let fell_back = AtomicBool::new(false);
        let booting = |accelerator: &str| fell_back.store(accelerator != wanted.name(), Ordering::Relaxed);
        let outcome = self.boot(group, (machine, &folder), stop, (&mut transcript, turn), &booting);
        let console = fs::read(folder.console_log()).unwrap_or_default();
        let console = String::from_utf8_lossy(&console);
        let mut ended = judge(group, transcript, &outcome, &console, started.elapsed());
        explain(&mut ended, group, &folder);
        blame(&mut ended, group, &outcome, &console, &self.options.allowed);
        if group.reads == Reads::Suite {
            self.keep_slices(group, &console).unwrap_or_else(|error| spoil(&mut ended, &error));
        }
        // The key is that of a machine under KVM: what came of it under TCG is not remembered under it.
        let key = key.filter(|_| !fell_back.into_inner());
        if let Some(Err(error)) = key.map(|key| memo::remember(self.cache, &key, &ended)) {
            self.warn(&error);
        }
        ended
    }

    /// What the cache remembers. A cache that cannot be read remembers nothing.
    fn recall(&self, key: &Key) -> Option<GroupEnd> {
        let known = memo::recall(self.cache, key, &self.options.allowed);
        known.unwrap_or_else(|error| {
            self.warn(&error);
            None
        })
    }

    fn warn(&self, error: &Error) {
        (self.events)(Event::Warning { message: in_words(error) });
    }

    /// Runs the group's program in a machine and reads what it prints as it comes. `booting` is told the accelerator of each boot.
    fn boot(
        &self,
        group: &Group,
        (machine, folder): (Machine, &RunFolder),
        stop: &Stop,
        to: (&mut Transcript, Turn<'_>),
        booting: &(dyn Fn(&str) + Sync),
    ) -> Result<Outcome> {
        let mut machine = Machine { shares: (self.shares)(folder), ..machine };
        machine.disks.iter_mut().for_each(|disk| disk.path = folder.path().join(&disk.path));
        let _disks = disk::take(&machine.disks, &folder.id())?;
        let request = Request {
            program: group.program.iter().map(Into::into).collect(),
            env: Vec::new(),
            dir: self.dir.into(),
            tty: None,
            shell_after: false,
            shares: self.mounts.clone(),
        };
        let timeout = self.options.timeout.or(group.limit);
        let options = Options { timeout, stop: Some(stop.clone()), whole_log: true, ..self.options.clone() };
        let file = |name: &str| {
            let path = folder.path().join(name);
            let open = host::private_file().truncate(true).read(true).open(&path);
            open.map_err(|e| Error::boot(format!("cannot write {}", path.display())).because(e))
        };
        let failed = |e: std::io::Error| Error::boot("cannot pass on what the program reads and prints").because(e);
        host::write_private(&folder.path().join("stdin"), &group.input).map_err(failed)?;
        let stdin = File::open(folder.path().join("stdin")).map_err(failed)?;
        let (from_guest, to_quiz) = std::io::pipe().map_err(failed)?;
        let (stderr, copy) = (file("stderr")?, file("stdout")?);
        let streams = Streams { stdin: stdin.into(), stdout: to_quiz.into(), stderr: stderr.into() };
        let events = |event: Event| match event {
            // Only a table and a page tell of it; whoever keeps something for it has to know at once.
            Event::Dumped { .. } => (self.of_machines)(event),
            Event::Booting { accelerator, .. } => booting(&accelerator),
            Event::Ready { .. }
            | Event::Kernel { .. }
            | Event::Complained { .. }
            | Event::Dumping { .. }
            | Event::Ended { .. } => {}
            other => (self.events)(other),
        };
        std::thread::scope(|scope| {
            let run = Run { request: &request, folder, options: &options, streams: &streams, events: &events };
            let reader = scope.spawn(|| self.read(group, from_guest, copy, to));
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
        (transcript, turn): (&mut Transcript, Turn<'_>),
    ) -> std::io::Result<()> {
        let mut from = BufReader::new(from);
        let mut line = Vec::new();
        while from.read_until(b'\n', &mut line)? > 0 {
            copy.write_all(&line)?;
            if let Some(end) = transcript.line(String::from_utf8_lossy(&line).trim_end()) {
                let (group, test, verdict) = (group.name.clone(), end.name.clone(), end.verdict.to_string());
                (self.events)(Event::TestEnded { group, test, verdict });
                turn.test_ended();
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
            host::private_folder(&folder)
                .and_then(|()| host::private_file().append(true).open(&path))
                .and_then(|mut file| file.write_all(text.as_bytes()))
                .map_err(|e| Error::boot(format!("cannot write {}", path.display())).because(e))?;
        }
        Ok(())
    }
}

/// Adds what tests printed that did not pass.
fn explain(ended: &mut GroupEnd, group: &Group, folder: &RunFolder) {
    let explained = [Verdict::Fail, Verdict::Killed, Verdict::Skip];
    for test in ended.tests.iter_mut().filter(|test| explained.contains(&test.verdict)) {
        match group.reads {
            Reads::Suite => {
                test.output = printed(&folder.out(), &test.name);
                test.why = test.why.take().or_else(|| reason(&test.output));
            }
            Reads::Status => {
                test.output = last_lines(folder.path());
                let last = test.output.last().map_or(", and it printed nothing".to_owned(), |line| format!(": {line}"));
                test.why = test.why.take().map(|status| status + &last);
            }
        }
    }
}

fn told(ended: &GroupEnd) -> Event {
    let unexpected = ended.tests.iter().filter(|test| !test.expected).count();
    Event::GroupEnded {
        group: ended.name.clone(),
        tests: ended.tests.len(),
        unexpected,
        took: ended.took,
        cached: ended.cached,
    }
}
