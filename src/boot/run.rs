//! One run: starts the machine, waits for its end, judges it; when KVM shows no life, the same again with TCG.
//!
//! Must be called on a thread that lives as long as the machine, best the main thread: the host's kernel ends qemu with it.

use std::cell::{Cell, RefCell};
use std::fs;
use std::os::fd::AsFd;
use std::time::{Duration, Instant};

use super::complaint::Allowed;
use super::console::Console;
use super::flow::takes_back;
use super::folder::RunFolder;
use super::job::{Asked, Job, Options, Streams};
use super::net;
use super::outcome::{End, Outcome, Recorded, Saved, judge};
use super::request::Request;
use super::running::Running;
use super::session::{Session, SessionEnd};
use super::spawn::{CONSOLE, spawn};
use super::tsc;
use super::wire::ToGuest;
use crate::error::Result;
use crate::event::{Event, Events};
use crate::machine::accel::{broken, gives_no_machine, is_of_kvm, is_passing, remember};
use crate::machine::{Accel, Level, Machine, Start};
use crate::status;

/// When the host was too busy to give a machine, it is asked once more after this time.
const BUSY: Duration = Duration::from_millis(300);

/// What a run needs beside its machine.
#[derive(Clone, Copy)]
pub struct Run<'a> {
    /// What the guest is asked to run.
    pub request: &'a Request,
    /// Where its files go.
    pub folder: &'a RunFolder,
    /// How it is watched.
    pub options: &'a Options,
    /// The program's bytes.
    pub streams: &'a Streams,
    /// Where `Booting`, `Ready`, `Kernel`, `Step`, `Warning`, `Complained` and `Ended` go.
    pub events: Events<'a>,
}

/// What came of a run.
#[derive(Debug)]
pub enum Ran {
    /// It ended so.
    Ended(Outcome),
    /// The machine could not start from its snapshot. The program did not start.
    NotRestored {
        /// Why.
        why: String,
        /// KVM gives no machine at all, whatever it is to start from: nothing was said against the snapshot.
        no_kvm: bool,
    },
}

/// Runs a program in `machine` and says how that ended. Calls `saved` once for each level at which the machine is to be saved, before
/// the program starts: it is, or why it is not; not at all when the machine never came so far.
///
/// # Errors
/// When the machine cannot be started, or the guest could not get as far as the program.
pub fn run(machine: &Machine, run: &Run<'_>, saved: &dyn Fn(Level, Saved)) -> Result<Ran> {
    let ran = played(machine, run, saved);
    if !matches!(ran, Ok(Ran::NotRestored { .. })) {
        // The run may go on for long: its memory is packed, its sources are kept.
        run.folder.send_away();
    }
    ran
}

fn played(machine: &Machine, run: &Run<'_>, saved: &dyn Fn(Level, Saved)) -> Result<Ran> {
    net::check(machine.net.as_ref())?;
    let Run { request, folder, options, streams, events } = *run;
    let bounded = !takes_back(streams.stdin.as_fd());
    let kept = machine.start.to(Level::Kept).is_some();
    let bytes = ToGuest::Request { request: request.clone(), bounded, kept }.encode()?;
    let request = Asked { request, bytes, bounded };
    let told = RefCell::new(Vec::new());
    let saved = |level, what| {
        told.borrow_mut().push(level);
        saved(level, what);
    };
    let job = Job { request: &request, folder, options, streams, events, awake: Cell::new(false), saved: &saved };
    // With arguments of the user's own for qemu, a failure may be their fault as well as KVM's.
    let is_suspect = machine.accel == Accel::Kvm && machine.extra.is_empty();
    let is_kvms = |ended: &SessionEnd| is_suspect && matches!(ended.end, End::NoLife(_));
    let may_be_emulated = is_suspect && !options.only_kvm;
    let is_alone = machine.start.from().is_none();
    let untold = || {
        let levels = [Level::Base, Level::Full].into_iter().filter(|level| machine.start.to(*level).is_some());
        levels.filter(|level| !told.borrow().contains(level)).collect::<Vec<_>>()
    };
    // Another run may have found out that KVM does not work, while this one waited for the snapshot which that was to save.
    if may_be_emulated
        && is_alone
        && let Some(why) = options.verdicts.as_ref().and_then(|memory| broken(memory, machine.qemu.path()))
    {
        return job.emulated(machine, why, false, &untold()).and_then(|ended| job.close(ended)).map(Ran::Ended);
    }
    let mut started = Instant::now();
    let mut first = job.once(machine, options.why_not_kvm.clone());
    // A machine that goes on from a snapshot may have written to its disks: it is tried again only if there never was a machine.
    let is_passed = |ended: &SessionEnd| {
        let why = why_no_life(ended);
        is_kvms(ended) && is_passing(&why) && (is_alone || gives_no_machine(&why))
    };
    if first.as_ref().is_ok_and(is_passed) {
        std::thread::sleep(BUSY);
        started = Instant::now();
        first = job.once(machine, None);
    }
    if !is_alone {
        return job.gone_on(first, machine.accel);
    }
    let mut ended = first?;
    if may_be_emulated && is_kvms(&ended) {
        let words = why_no_life(&ended);
        let is_silent = !ended.spoke && started.elapsed() >= options.life_within;
        // A qemu that somebody killed is no sign that KVM does not work.
        let is_verdict = (is_silent || is_of_kvm(&words)) && !is_passing(&words);
        ended = job.emulated(machine, format!("KVM does not work: {words}"), is_verdict, &untold())?;
    } else if is_kvms(&ended) {
        let why = why_no_life(&ended);
        ended.end = End::NoLife(Some(why).filter(|why| !ended.words.qemu.contains(why)));
        let hint = "machine.accel = \"kvm\" forbids emulation in its place; `--accel auto` allows it";
        return job.close(ended).map(Ran::Ended).map_err(|e| e.hint(hint));
    } else if machine.accel == Accel::Kvm && ended.lived && !matches!(ended.end, End::NoLife(_)) {
        verdict(machine, options, events, None);
    }
    job.close(ended).map(Ran::Ended)
}

/// Remembers that KVM works, or why it does not.
fn verdict(machine: &Machine, options: &Options, events: Events<'_>, broken: Option<String>) {
    if let Some(memory) = &options.verdicts
        && let Err(error) = remember(memory, machine.qemu.path(), broken)
    {
        events(Event::Warning { message: error.to_string() });
    }
}

impl Job<'_> {
    fn once(&self, machine: &Machine, why_not_kvm: Option<String>) -> Result<SessionEnd> {
        let accelerator = machine.accel.name().to_owned();
        let snapshot = machine.start.from().map(|folder| folder.join(CONSOLE));
        let restored = snapshot.is_some();
        (self.events)(Event::Booting { run: self.place(), accelerator, why_not_kvm, restored });
        let console = Console::create(&self.folder.console_log(), snapshot.as_deref(), &self.options.allowed)?;
        let started = Instant::now();
        let spawned = spawn(&timed(machine), self.folder)?;
        let program = &self.request.request.program;
        Running::now(machine, spawned.0.id(), program, self.options).write(self.folder)?;
        if machine.waits_at_its_start() {
            (self.events)(Event::Stands { run: self.place() });
        }
        let mut ended = Session::new(self, machine, started, console, spawned)?.play()?;
        ended.words.qemu = fs::read_to_string(self.folder.qemu_log()).unwrap_or_default();
        Ok(ended)
    }

    /// What came of a machine that was to go on from a snapshot.
    fn gone_on(&self, ended: Result<SessionEnd>, accel: Accel) -> Result<Ran> {
        match ended {
            Ok(ended) if matches!(ended.end, End::NoLife(_)) => {
                let why = why_no_life(&ended);
                let no_kvm = accel == Accel::Kvm && (is_passing(&why) || gives_no_machine(&why));
                Ok(Ran::NotRestored { why, no_kvm })
            }
            Ok(ended) => self.close(ended).map(Ran::Ended),
            Err(error) if self.awake.get() => Err(error),
            Err(error) => Ok(Ran::NotRestored { why: error.to_string(), no_kvm: false }),
        }
    }

    /// Runs the same machine under TCG; `why` says why not under KVM, which is remembered if it `is_verdict`.
    fn emulated(&self, machine: &Machine, why: String, is_verdict: bool, untold: &[Level]) -> Result<SessionEnd> {
        (self.events)(Event::Warning { message: why.clone() });
        // This machine saves nothing: who waits for a snapshot of it is told now, and need not wait for its end.
        untold.iter().for_each(|level| (self.saved)(*level, Saved::Failed(why.clone())));
        let start = match &machine.start {
            Start::Keep { to, .. } => Start::Keep { from: None, to: to.clone() },
            // The snapshot's place belongs to a machine under KVM.
            _ => Start::Cold,
        };
        let tcg = Machine { accel: Accel::Tcg, start, ..machine.clone() };
        let &Job { request, folder, options, streams, events, saved, .. } = self;
        let condemn = || {
            if is_verdict {
                verdict(machine, options, events, Some(why.clone()));
            }
        };
        // Only a machine that lives under TCG proves that it was KVM's fault. Told at once, so that others which start meanwhile know.
        let told = |event: Event| {
            if matches!(event, Event::Ready { .. }) {
                condemn();
            }
            events(event);
        };
        let job = Job { request, folder, options, streams, events: &told, awake: Cell::new(false), saved };
        let ended = job.once(&tcg, Some(why.clone()))?;
        // Counts also for a machine that did not come as far as the program.
        if ended.lived {
            condemn();
        }
        Ok(ended)
    }

    /// Judges the end, and tells what the kernel complained about, and its last words if nobody saw them yet.
    fn close(&self, ended: SessionEnd) -> Result<Outcome> {
        let SessionEnd { mut end, mut words, kernel_shown: shown, mut heard, panicked_late, unlogged, .. } = ended;
        // It is told as that, and not once more.
        heard.complaints.retain(|complaint| Some(&complaint.words) != panicked_late.as_ref());
        if let Some(why) = unlogged {
            let why = format!("cannot write {}: {why}", self.folder.console_log().display());
            match end {
                End::Exited(status) if self.options.whole_log => end = End::Host { why, program: Some(status) },
                _ => (self.events)(Event::Warning { message: why }),
            }
        }
        let Options { fail_on_warning, whole_log, .. } = *self.options;
        let late = panicked_late.clone().filter(|_| fail_on_warning || whole_log);
        words.complaint = late.or_else(|| heard.words().filter(|_| fail_on_warning));
        let judged = judge(end, words);
        let complaints = heard.complaints.iter().map(|complaint| complaint.words.clone());
        self.record(&judged, panicked_late.into_iter().chain(complaints).collect());
        for Allowed { text, reason } in &heard.allowed {
            let message = format!("the guest's kernel complained of `{text}`, which is allowed: {reason}");
            (self.events)(Event::Note { message });
        }
        if let (Some(words), false) = (heard.words(), tells_of_the_kernel(&judged)) {
            let log = self.folder.console_log().display().to_string();
            (self.events)(Event::Complained { words, log });
        }
        if let Ok(Outcome::Panicked { excerpt, .. } | Outcome::Lost { excerpt, .. } | Outcome::Host { excerpt, .. }) =
            &judged
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

    /// Writes `result.json`, for whoever asks later: the end in words, the status of `quiz up`, the program's own, and the kernel's complaints.
    fn record(&self, judged: &Result<Outcome>, complaints: Vec<String>) {
        let how = judged.as_ref().map_or_else(ToString::to_string, ToString::to_string);
        let program = judged.as_ref().ok().and_then(Outcome::program);
        let status = judged.as_ref().map_or(status::HOST, |outcome| outcome.status_as(self.options.lost_as));
        let record = serde_json::json!(Recorded { how, status, program, complaints });
        let path = self.folder.result();
        if let Err(error) = crate::host::write_private(&path, &format!("{record}\n")) {
            (self.events)(Event::Warning { message: format!("cannot write {}: {error}", path.display()) });
        }
    }
}

/// Whether nothing is to be said of the kernel's complaints: the end itself says it, or the user ended the machine.
fn tells_of_the_kernel(judged: &Result<Outcome>) -> bool {
    matches!(judged, Ok(Outcome::Panicked { .. } | Outcome::Complained { .. } | Outcome::Interrupted(_)))
}

/// An emulated guest's kernel measures how fast each processor but the first one is, for 90 ms; it can be told instead.
fn timed(machine: &Machine) -> Machine {
    let mut machine = machine.clone();
    let measures = machine.accel == Accel::Tcg && machine.start.from().is_none() && machine.cpus > 1;
    if let Some(hz) = machine.hz.filter(|_| measures && !machine.append.iter().any(|word| word == "notsc")) {
        machine.append.splice(0..0, tsc::loops_per_jiffy(hz).map(|loops| format!("lpj={loops}")));
    }
    machine
}

fn why_no_life(ended: &SessionEnd) -> String {
    if let End::NoLife(Some(why)) = &ended.end {
        // What the host answered stands before the processor's registers: it may only be busy.
        let answer = ended.words.qemu.lines().rfind(|line| line.contains("kvm run failed"));
        return answer.unwrap_or(why).to_owned();
    }
    // A warning is not why qemu ended: it goes on after one.
    match (ended.words.qemu.lines().rfind(|line| !line.contains(": warning: ")), ended.qemu) {
        (Some(line), _) => line.to_owned(),
        (None, Some(status)) if !status.success() => format!("qemu ended ({status})"),
        _ => "the machine showed no sign of life".to_owned(),
    }
}

#[cfg(test)]
mod tests;
