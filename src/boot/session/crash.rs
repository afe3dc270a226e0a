//! What the loop does to keep a guest's memory: asks qemu where it lies, and lets a thread write it while the loop goes on.
//!
//! Decides nothing (`phase`).

use std::io::{ErrorKind, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use super::super::crash::{Cause, Circumstances, Crash, Layout, REFUSED, questions};
use super::super::flow::is_wait;
use super::super::folder::{is_asked, memories, run_of};
use super::super::outcome::{End, Outcome, Words, judge};
use super::super::phase::{Input, Phase, Sign};
use super::super::qmp;
use super::super::spawn::Port;
use super::Session;
use crate::error::Result;
use crate::event::Event;

/// Why a guest is dumped that goes on.
const ASKED: &str = "asked for";

/// How often it is said that the writing comes forward.
const FORWARD: Duration = Duration::from_secs(1);

/// A dump that is being made.
pub(super) struct Dump {
    /// The end for which it is made; `None` if somebody asked for it.
    end: Option<End>,
    /// What qemu said so far to the questions.
    answers: Vec<String>,
    begun: Instant,
    /// The machine goes on, whether it is written or not.
    goes_on: Arc<AtomicBool>,
    /// When qemu has answered: who writes it, and the socket at whose other end a byte comes now and then meanwhile, and which is closed then.
    writer: Option<(JoinHandle<Result<Crash>>, UnixStream)>,
}

impl Dump {
    /// Readable when it is written, or comes forward.
    pub(super) fn written(&self) -> Option<&UnixStream> {
        self.writer.as_ref().map(|(_, done)| done)
    }
}

impl Session<'_> {
    /// Begins a dump.
    pub(super) fn begin_dump(&mut self, end: Option<End>) {
        if let Some(dump) = &mut self.dump {
            // A dump that was asked for is under way: it does for this end as well.
            dump.end = dump.end.take().or(end);
            return;
        }
        let why = end.as_ref().map_or_else(|| ASKED.to_owned(), |end| self.told(end).0);
        if end.is_some() {
            // Whoever sits at the terminal may not want to wait: their keys are signals again.
            self.raw = None;
        }
        let status = end.as_ref().and_then(|_| self.known_status());
        (self.job.events)(Event::Dumping { why, status, over: end.is_some() });
        self.dump =
            Some(Dump { end, answers: Vec::new(), begun: Instant::now(), goes_on: Arc::default(), writer: None });
        let questions: String = questions(&self.machine).iter().map(|question| qmp::human(question)).collect();
        self.tell_qemu(questions.as_bytes());
    }

    /// Tells whoever asked for a dump that there is none, and why.
    pub(super) fn no_dump(&self, why: &str) {
        if let Some(dump) = &self.dump {
            dump.goes_on.store(true, Ordering::SeqCst);
        }
        // If this cannot be written, they wait until their own limit.
        let _ = crate::host::write_private(&self.job.folder.path().join(REFUSED), why);
    }

    /// qemu answered one of the questions.
    pub(super) fn answered(&mut self, answer: String) -> Result<()> {
        let wanted = questions(&self.machine).len();
        let Some(dump) = self.dump.as_mut().filter(|dump| dump.writer.is_none()) else { return Ok(()) };
        dump.answers.push(answer);
        if dump.answers.len() < wanted {
            return Ok(());
        }
        let begun = Layout::new(&self.machine, &dump.answers);
        let goes_on = Arc::clone(&dump.goes_on);
        let end = dump.end.clone();
        let told = self.circumstances(end.as_ref(), goes_on);
        let cause = told.cause;
        // A dump that somebody asked for is made, however many are kept.
        let own = self.job.folder.path();
        let is_other = |memory: &PathBuf| !memory.starts_with(own) && !is_asked(memory);
        let others = memories(run_of(own)).into_iter().filter(is_other).count();
        let kept = if cause == Cause::Asked { 0 } else { others };
        let full = (kept >= self.job.options.memories)
            .then(|| format!("that of {kept} other guests of this run is kept, and runs.keep-crashes allows no more"));
        let (machine, run, qemu) = (self.machine.clone(), self.job.folder.path().to_owned(), self.qemu.id());
        let started = begun.and_then(|layout| {
            let failed =
                |e: std::io::Error| crate::error::Error::boot("cannot begin to write the guest's memory").because(e);
            let (done, end) = UnixStream::pair().map_err(failed)?;
            [&done, &end].into_iter().try_for_each(|socket| socket.set_nonblocking(true)).map_err(failed)?;
            let write = move || {
                let said = Mutex::new(Instant::now());
                // Nobody waits here for the loop: that hears the rest when it is written.
                let forward = || {
                    if let Ok(mut said) = said.try_lock()
                        && said.elapsed() >= FORWARD
                    {
                        *said = Instant::now();
                        let _ = (&end).write(&[0]);
                    }
                };
                let written = layout.write(qemu, &machine, &run, told, full, &forward);
                drop(end);
                written
            };
            let writer = std::thread::Builder::new().name("dump".to_owned()).spawn(write).map_err(failed)?;
            Ok((writer, done))
        });
        match (started, self.dump.as_mut()) {
            (Ok(writer), Some(dump)) => {
                dump.writer = Some(writer);
                Ok(())
            }
            (Err(error), _) => self.dumped(Err(error)),
            (Ok(_), None) => Ok(()),
        }
    }

    fn circumstances(&self, end: Option<&End>, goes_on: Arc<AtomicBool>) -> Circumstances {
        let (words, lines) = end.map_or_else(|| (ASKED.to_owned(), self.console.excerpt()), |end| self.told(end));
        let program = &self.job.request.request.program;
        Circumstances {
            cause: match end {
                None => Cause::Asked,
                Some(End::Limit(..)) => Cause::Limit,
                Some(End::Lost(_) | End::Host { .. }) => Cause::Lost,
                Some(_) => Cause::Panic,
            },
            words,
            lines,
            program: program.iter().map(|word| word.to_string_lossy().into_owned()).collect(),
            flags: self.job.options.flags.clone(),
            variables: self.job.options.variables.clone(),
            again: self.job.options.again.clone(),
            imported: self.job.options.imported.clone(),
            goes_on,
        }
    }

    /// The memory is written, or as much of it as could be; or that goes on.
    pub(super) fn finish_dump(&mut self) -> Result<()> {
        let said = self.dump.as_ref().and_then(Dump::written).map(|mut done| done.read(&mut [0; 64]));
        match said {
            Some(Ok(1..)) => return self.feed(Input::Dumping),
            Some(Err(error)) if is_wait(&error) => return Ok(()),
            _ => {}
        }
        let Some((writer, _)) = self.dump.as_mut().and_then(|dump| dump.writer.take()) else { return Ok(()) };
        match writer.join() {
            Ok(written) => self.dumped(written),
            Err(panic) => std::panic::resume_unwind(panic),
        }
    }

    /// The machine is gone: who still writes its memory has nothing to read any more.
    pub(super) fn end_dump(&mut self) {
        let Some((writer, _)) = self.dump.take().and_then(|dump| dump.writer) else { return };
        match writer.join() {
            Ok(written) => self.tell_dumped(written, Duration::ZERO),
            Err(panic) => std::panic::resume_unwind(panic),
        }
    }

    fn dumped(&mut self, written: Result<Crash>) -> Result<()> {
        let took = self.dump.take().map(|dump| dump.begun.elapsed()).unwrap_or_default();
        self.tell_dumped(written, took);
        self.feed(Input::Dumped)
    }

    fn tell_dumped(&self, written: Result<Crash>, took: Duration) {
        let why = match written {
            Ok(Crash { cut: Some(why), .. }) => why,
            Ok(crash) => {
                let used = crash.used.unwrap_or(0);
                return (self.job.events)(Event::Dumped { run: self.job.place(), title: crash.title, used, took });
            }
            Err(error) => format!(
                "{error}{}",
                std::error::Error::source(&error).map_or(String::new(), |source| format!(": {source}"))
            ),
        };
        self.no_dump(&why);
        (self.job.events)(Event::Warning { message: format!("the guest's memory is not kept: {why}") });
    }

    /// The status of a guest that crashed. That of a program that had ended before may still become another one by what the kernel said.
    fn known_status(&self) -> Option<u8> {
        let Phase::Still(end) = self.play.phase() else { return None };
        let outcome = judge(end.clone(), Words::default()).ok()?;
        (!matches!(outcome, Outcome::Exited(_))).then(|| outcome.status_as(self.job.options.lost_as))
    }

    /// The end in words, and what the kernel said about it.
    fn told(&self, end: &End) -> (String, Vec<String>) {
        let words = Words {
            panic: self.console.panic().map(str::to_owned),
            excerpt: self.console.excerpt(),
            look: self.console.looked(),
            ..Words::default()
        };
        // A title says what was wrong, not that something was.
        let title = words.panic.clone().filter(|_| *end == End::Panicked);
        match judge(end.clone(), words) {
            Ok(outcome) => (title.unwrap_or_else(|| outcome.to_string()), outcome.excerpt().to_vec()),
            Err(error) => (error.to_string(), Vec::new()),
        }
    }

    /// Whether the guest's kernel has said that it gives up.
    pub(super) fn look_for_signs(&mut self) -> Result<()> {
        let console = &self.console;
        let signs = [
            (Sign::Restart, console.restarts()),
            (Sign::Halt, console.halted()),
            (Sign::Panic, console.panic().is_some()),
        ];
        for (sign, seen) in signs {
            if seen && self.play.sign().is_none_or(|before| before < sign) {
                self.feed(Input::Sign(sign))?;
            }
        }
        Ok(())
    }

    /// Reads what the console still holds: the machine stands still, so there is an end.
    pub(super) fn drain(&mut self) -> Result<()> {
        loop {
            let Some(mut socket) = self.wires.get(Port::Console) else { return Ok(()) };
            let mut bytes = [0; 64 << 10];
            match socket.read(&mut bytes) {
                Ok(count @ 1..) => self.take_console(&bytes[..count])?,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                // All is read; that its other end is closed is seen where that counts. A kernel that was stopped in its last line has begun it.
                _ => {
                    self.console.finish();
                    return self.look_for_signs();
                }
            }
        }
    }
}
