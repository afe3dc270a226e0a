//! One run: starts the machine, waits for its end, judges it; when KVM shows no life, the same again with TCG.
//!
//! Must be called on a thread that lives as long as the machine, best the main thread: the host's kernel ends qemu with it.

use std::cell::Cell;
use std::fs;
use std::os::fd::{AsFd, OwnedFd};
use std::path::PathBuf;
use std::time::{Duration, Instant};

use super::accel::remember;
use super::console::Console;
use super::folder::RunFolder;
use super::machine::{Accel, Level, Machine, Saved, Start};
use super::net;
use super::outcome::{Facts, Outcome, judge};
use super::session::{Ended, Session};
use super::signals::Stop;
use super::spawn::{CONSOLE, spawn};
use super::wire::{Request, ToGuest};
use crate::error::{Error, Result};
use crate::event::{Event, Events};

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
    /// quiz's own.
    ///
    /// # Errors
    /// When they cannot be duplicated.
    pub fn inherit() -> Result<Self> {
        let failed = |e: std::io::Error| Error::boot("cannot duplicate stdin, stdout and stderr").because(e);
        Ok(Self {
            stdin: std::io::stdin().as_fd().try_clone_to_owned().map_err(failed)?,
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
    /// The guest must take a request within this time under KVM; TCG gets five times as much.
    pub ready_within: Duration,
    /// Send the kernel's lines while the program runs.
    pub kmsg: bool,
    /// The file in which [`super::accel`] remembers whether KVM works.
    pub verdicts: Option<PathBuf>,
    /// What [`super::accel::choose`] said, for [`Event::Booting`].
    pub why_not_kvm: Option<String>,
    /// The machine is one of several, which a signal ends at once. Without it the first signal is the program's.
    pub stop: Option<Stop>,
}

impl Default for Options {
    fn default() -> Self {
        let ready_within = Duration::from_secs(60);
        Self { timeout: None, ready_within, kmsg: false, verdicts: None, why_not_kvm: None, stop: None }
    }
}

/// Runs `request` in `machine` and says how it ended. Sends `Booting`, `Ready`, `Kernel`, `Warning` and `Ended`.
///
/// # Errors
/// When the machine cannot be started, or the guest could not get as far as the program.
pub fn run(
    machine: &Machine,
    request: &Request,
    folder: &RunFolder,
    options: &Options,
    streams: &Streams,
    events: Events,
) -> Result<Outcome> {
    let request = Asked::new(request)?;
    run_job(&Job::new(&request, folder, options, streams, events), machine)
}

fn run_job(job: &Job<'_>, machine: &Machine) -> Result<Outcome> {
    net::check(machine.net.as_ref())?;
    let Job { options, events, .. } = job;
    let (mut ended, mut broken) = (job.once(machine, options.why_not_kvm.clone())?, None);
    if machine.accel == Accel::Kvm && ended.no_life() {
        let why = format!("KVM does not work: {}", why_no_life(&ended));
        events(Event::Warning { message: why.clone() });
        // The snapshot's place belongs to a machine under KVM.
        let tcg = Machine { accel: Accel::Tcg, start: Start::Cold, ..machine.clone() };
        ended = job.once(&tcg, Some(why.clone()))?;
        broken = Some(why);
    }
    // Only a machine that lived proves that it was KVM's fault.
    if let (Accel::Kvm, Some(memory), true) = (machine.accel, &options.verdicts, ended.facts.hello)
        && let Err(error) = remember(memory, &machine.qemu, broken)
    {
        events(Event::Warning { message: error.to_string() });
    }
    job.close(ended)
}

/// Like [`run`], for a machine of [`Start::Save`]. Calls `saved` once for each level when it is saved, before the program runs, or
/// with why it is not; not at all when the machine never came so far.
///
/// # Errors
/// As [`run`].
pub fn save(
    machine: &Machine,
    request: &Request,
    folder: &RunFolder,
    options: &Options,
    streams: &Streams,
    events: Events,
    saved: &dyn Fn(Level, Saved),
) -> Result<Outcome> {
    let request = Asked::new(request)?;
    run_job(&Job { saved: Some(saved), ..Job::new(&request, folder, options, streams, events) }, machine)
}

/// What came of a machine of [`Start::Restore`] or [`Start::Grow`].
#[derive(Debug)]
pub enum Restored {
    /// The program ran.
    Ran(Outcome),
    /// The snapshot is of no use, and why. The program did not start.
    Failed(String),
}

/// Like [`save`], for a machine that is restored.
///
/// # Errors
/// As [`run`], once the restored guest has answered.
pub fn restore(
    machine: &Machine,
    request: &Request,
    folder: &RunFolder,
    options: &Options,
    streams: &Streams,
    events: Events,
    saved: &dyn Fn(Level, Saved),
) -> Result<Restored> {
    net::check(machine.net.as_ref())?;
    let request = Asked::new(request)?;
    let job = Job { saved: Some(saved), ..Job::new(&request, folder, options, streams, events) };
    match job.once(machine, options.why_not_kvm.clone()) {
        Ok(ended) if job.awake.get() || ended.facts.interrupted.is_some() => job.close(ended).map(Restored::Ran),
        Ok(ended) => Ok(Restored::Failed(why_no_life(&ended))),
        Err(error) if job.awake.get() => Err(error),
        Err(error) => Ok(Restored::Failed(error.to_string())),
    }
}

/// A request and its frame.
pub(super) struct Asked<'a> {
    pub(super) request: &'a Request,
    pub(super) bytes: Vec<u8>,
}

impl<'a> Asked<'a> {
    fn new(request: &'a Request) -> Result<Self> {
        Ok(Self { request, bytes: ToGuest::Request(request.clone()).encode()? })
    }
}

/// What stays the same when a machine is started again.
pub(super) struct Job<'a> {
    pub(super) request: &'a Asked<'a>,
    folder: &'a RunFolder,
    pub(super) options: &'a Options,
    pub(super) streams: &'a Streams,
    pub(super) events: Events<'a>,
    /// The guest answered and is a machine of its own: from now on the program may have run.
    pub(super) awake: Cell<bool>,
    /// Is told what came of the snapshot.
    pub(super) saved: Option<&'a dyn Fn(Level, Saved)>,
}

impl<'a> Job<'a> {
    fn new(
        request: &'a Asked<'a>,
        folder: &'a RunFolder,
        options: &'a Options,
        streams: &'a Streams,
        events: Events<'a>,
    ) -> Self {
        Self { request, folder, options, streams, events, awake: Cell::new(false), saved: None }
    }

    fn once(&self, machine: &Machine, why_not_kvm: Option<String>) -> Result<Ended> {
        let accelerator = machine.accel.name().to_owned();
        let snapshot = machine.start.from().map(|folder| folder.join(CONSOLE));
        let restored = snapshot.is_some();
        (self.events)(Event::Booting { run: self.place(), accelerator, why_not_kvm, restored });
        let console = Console::create(&self.folder.console_log(), snapshot.as_deref())?;
        let started = Instant::now();
        let (qemu, wires, snapshot) = spawn(machine, self.folder)?;
        let mut ended = Session::new(self, machine, started, console, wires, snapshot)?.play(qemu)?;
        ended.facts.qemu_says = fs::read_to_string(self.folder.qemu_log()).unwrap_or_default();
        Ok(ended)
    }

    /// Shows the kernel's last words, or its first complaint, when nobody saw them yet, and judges.
    fn close(&self, ended: Ended) -> Result<Outcome> {
        let shown = ended.kernel_shown;
        let judged = judge(ended.facts);
        if let (Ok(Outcome::Exited(_)), Some(line), false) = (&judged, ended.complaint, shown) {
            let log = self.folder.console_log().display().to_string();
            (self.events)(Event::Warning { message: format!("the guest's kernel says: {line} (more in {log})") });
        }
        if let Ok(Outcome::Panicked { excerpt, .. } | Outcome::Lost { excerpt, .. }) = &judged
            && !shown
        {
            excerpt.iter().for_each(|line| (self.events)(Event::Kernel { line: line.clone() }));
        }
        if let Ok(outcome) = &judged
            && !matches!(outcome, Outcome::Exited(_))
        {
            (self.events)(Event::Ended { how: outcome.to_string(), run: self.place() });
        }
        judged.map_err(|e| e.hint(format!("the run's files are in {}", self.place())))
    }

    /// Where the guest's kernel speaks.
    pub(super) fn console_log(&self) -> PathBuf {
        self.folder.console_log()
    }

    /// The guest's host name: another one for each run of a project.
    pub(super) fn name(&self) -> String {
        format!("quiz-{}", self.folder.id())
    }

    fn place(&self) -> String {
        self.folder.path().display().to_string()
    }
}

fn why_no_life(ended: &Ended) -> String {
    let Facts { qemu, qemu_says, .. } = &ended.facts;
    match (qemu_says.lines().last(), qemu) {
        (Some(line), _) => line.to_owned(),
        (None, Some(status)) if !status.success() => format!("qemu ended ({status})"),
        _ => "the machine showed no sign of life".to_owned(),
    }
}

#[cfg(test)]
#[path = "run_tests.rs"]
mod tests;
