//! The loop of one machine: waits for whatever comes next, tells the state machine (`phase`) of it, and does what that wants done.
//!
//! Decides nothing. Bytes stay here: streams, frames, the console's lines, qemu's messages. One thread, nothing blocks but the wait
//! itself.

mod crash;
mod effects;
mod snapshot;
mod wait;

use std::collections::VecDeque;
use std::io::{self, Read};
use std::net::Shutdown;
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::process::ExitStatus;
use std::time::{Duration, Instant, SystemTime};

use rustix::event::PollFlags;
use signal_hook::consts::{SIGHUP, SIGTERM, SIGURG, SIGWINCH};

use super::complaint::Heard;
use super::console::Console;
use super::crash::WISH;
use super::flow::{Inflow, Outflow, is_wait};
use super::job::Job;
use super::outcome::{End, Words};
use super::phase::{Effect, Input, Phase, Plan, Play};
use super::qmp::{self, Qmp, Said, Transport};
use super::signals::{Signals, Stop};
use super::spawn::{Port, Qemu, SnapshotFiles, Wires};
use super::tty::{self, Escape, Raw};
use super::wire::{Decoder, FromGuest, Mount, PROTOCOL, ToGuest};
use crate::error::{Error, Result};
use crate::event::Event;
use crate::machine::{Accel, Level, Machine, Start};
use wait::Source;

/// A machine that is restored answers within this time: that is the host's disk and its other work, which KVM makes no faster.
const RESTORED: Duration = Duration::from_secs(15);

/// TCG is so much slower than KVM, on a busy host.
const TCG_PATIENCE: u32 = 5;

/// A machine that is gone.
pub(super) struct SessionEnd {
    pub(super) end: End,
    pub(super) words: Words,
    /// The kernel spoke.
    pub(super) spoke: bool,
    /// The agent spoke.
    pub(super) lived: bool,
    /// How qemu ended.
    pub(super) qemu: Option<ExitStatus>,
    /// The kernel's trouble was shown while it happened.
    pub(super) kernel_shown: bool,
    /// What the kernel complained about.
    pub(super) heard: Heard,
    /// In words, that it gave up after the program had ended.
    pub(super) panicked_late: Option<String>,
    /// Why not all that it said is in the log.
    pub(super) unlogged: Option<String>,
}

/// One machine while it lives.
pub(super) struct Session<'a> {
    job: &'a Job<'a>,
    play: Play,
    qemu: Qemu,
    wires: Wires,
    signals: Signals,
    started: Instant,
    step: Instant,

    start: Start,
    mount: Mount,
    machine: Machine,
    /// The guest's memory, while it is being written.
    dump: Option<crash::Dump>,
    /// The boot's id.
    boot: [u8; 16],
    snapshot: Option<SnapshotFiles>,
    disks: Vec<(PathBuf, Option<SystemTime>)>,
    /// How a machine's state goes to a file, when that is known.
    transport: Option<Transport>,

    console: Console,
    /// The console is not read before this moment: each reading costs, and its lines come in bursts.
    console_after: Instant,
    kernel_shown: bool,
    panicked_late: Option<String>,
    qmp: Qmp,
    decoder: Decoder,
    to_guest: Vec<u8>,
    input: Inflow,
    outputs: [Outflow; 2],
    raw: Option<Raw>,
    escape: Escape,
    /// The port by which further programs are started, once clients may use it.
    exec: Option<UnixStream>,
}

impl<'a> Session<'a> {
    pub(super) fn new(
        job: &'a Job<'a>,
        machine: &Machine,
        started: Instant,
        console: Console,
        (qemu, wires, snapshot): (Qemu, Wires, Option<SnapshotFiles>),
    ) -> Result<Self> {
        let kvm = machine.accel == Accel::Kvm;
        let patience = if kvm { 1 } else { TCG_PATIENCE };
        let ready_within = job.options.ready_within.saturating_mul(patience);
        let plan = Plan {
            start: machine.start.clone(),
            kvm: kvm.then_some(job.options.life_within),
            tried_again: kvm && machine.extra.is_empty() && !job.options.only_kvm,
            debugged: machine.is_debugged(),
            dumps: job.options.memories > 0 && !machine.is_debugged(),
            shows: job.options.shows,
            alone: job.options.stop.is_none(),
            restored_within: match machine.start {
                // Its memory may not be in the host's memory yet, and if it is late no boot takes its place: it gets as much time as a boot.
                Start::Grow { .. } | Start::GoOn(_) => ready_within,
                _ => RESTORED,
            },
            ready_within,
            timeout: job.options.timeout,
        };
        let mut session = Self {
            job,
            play: Play::new(plan, Instant::now()),
            qemu,
            wires,
            signals: Signals::catch()?,
            started,
            step: started,
            start: machine.start.clone(),
            mount: Mount {
                others: machine.start.from().is_some(),
                saved: machine.start.to(Level::Full).is_some(),
                disks: machine.disks.iter().any(|disk| disk.persistent),
                // No machine has 255 disks, so nothing is lost.
                layers: u8::try_from(machine.layers.len()).unwrap_or(u8::MAX),
                shares: machine.shares.iter().filter(|share| !share.spare).map(|share| share.tag.clone()).collect(),
            },
            machine: machine.clone(),
            dump: None,
            boot: effects::random()?,
            snapshot,
            disks: machine.disks.iter().map(|disk| (disk.path.clone(), snapshot::written(&disk.path))).collect(),
            transport: None,
            console,
            console_after: started,
            kernel_shown: false,
            panicked_late: None,
            qmp: Qmp::default(),
            decoder: Decoder::default(),
            to_guest: Vec::new(),
            input: Inflow::new(job.request.bounded),
            outputs: [Outflow::new(job.streams.stdout.as_fd()), Outflow::new(job.streams.stderr.as_fd())],
            raw: None,
            escape: Escape::default(),
            exec: None,
        };
        session.tell_qemu(qmp::HELLO);
        session.prepare_snapshot()?;
        // A signal that came before signals were caught here wakes nobody, and is looked for once.
        if let Some(signal) = job.options.stop.as_ref().and_then(Stop::signal) {
            session.feed(Input::Leave(signal))?;
        }
        Ok(session)
    }

    /// Plays until the machine is gone and all of the program's bytes are written.
    pub(super) fn play(mut self) -> Result<SessionEnd> {
        let mut status = None;
        let end = loop {
            if let Phase::Over(end) = self.play.phase() {
                break end.clone();
            }
            for (source, flags) in self.wait()? {
                self.handle(source, flags)?;
            }
            self.feed(Input::Clock { waiting: self.is_waiting() })?;
            if self.wires.are_closed() && !matches!(self.play.phase(), Phase::Gone(_) | Phase::Over(_)) {
                self.console.finish();
                self.look_for_signs()?;
                status = self.qemu.wait();
                self.feed(Input::Gone(status))?;
                if self.job.awake.get() {
                    // No other machine comes, and who reads what the program wrote may take as long as they want.
                    self.job.folder.send_away();
                }
            }
            if !self.is_waiting() {
                self.feed(Input::Written)?;
            }
        };
        let late = self.play.late_end().filter(|_| !self.console.lived_on());
        if let (End::Exited(_), None, Some(silent)) = (&end, &self.panicked_late, late) {
            self.act(Effect::LatePanic(silent))?;
        }
        self.raw = None;
        self.end_dump();
        self.input.give_back(self.job.streams.stdin.as_fd());
        self.step("end");
        let words = Words {
            panic: self.console.panic().map(str::to_owned),
            excerpt: self.console.excerpt(),
            look: self.console.looked(),
            qemu: String::new(),
            complaint: None,
        };
        let heard = self.console.complaints();
        let unlogged = self.console.unlogged().map(str::to_owned);
        let (spoke, lived) = (self.play.spoke(), self.play.lived());
        let (kernel_shown, panicked_late) = (self.kernel_shown, self.panicked_late);
        Ok(SessionEnd { end, words, spoke, lived, qemu: status, kernel_shown, heard, panicked_late, unlogged })
    }

    /// A step is done.
    fn step(&mut self, name: &'static str) {
        let now = Instant::now();
        (self.job.events)(Event::Step { name, took: now - self.step });
        self.step = now;
    }

    /// Tells the state machine, and does what it wants done, until that has no more consequences.
    fn feed(&mut self, input: Input) -> Result<()> {
        let mut inputs = VecDeque::from([input]);
        while let Some(input) = inputs.pop_front() {
            for effect in self.play.take(input, Instant::now()) {
                inputs.extend(self.act(effect)?);
            }
        }
        Ok(())
    }

    fn handle(&mut self, source: Source, flags: PollFlags) -> Result<()> {
        match source {
            Source::Signals => self.take_signals()?,
            Source::Dump => self.finish_dump()?,
            Source::Input => self.read_input()?,
            Source::Output(number) => self.write_output(number)?,
            Source::Port(Port::Stdin) => {
                if self.wires.get(Port::Stdin).is_some_and(|socket| !self.input.push(socket)) {
                    self.wires.close(Port::Stdin);
                }
            }
            Source::Port(port @ (Port::Stdout | Port::Stderr)) => {
                let number = usize::from(port == Port::Stderr);
                if self.wires.get(port).is_some_and(|socket| !self.outputs[number].pull(socket)) {
                    self.wires.close(port);
                }
                self.feed(Input::Came(number, self.outputs[number].received()))?;
            }
            Source::Port(port) => {
                if port == Port::Control && flags.contains(PollFlags::OUT) {
                    self.send_frames();
                }
                if flags.intersects(PollFlags::IN | PollFlags::HUP | PollFlags::ERR) {
                    self.read_port(port)?;
                }
            }
        }
        Ok(())
    }

    fn read_port(&mut self, port: Port) -> Result<()> {
        let Some(mut socket) = self.wires.get(port) else { return Ok(()) };
        let mut bytes = [0; 64 << 10];
        let count = match socket.read(&mut bytes) {
            Err(error) if is_wait(&error) => return Ok(()),
            Ok(0) | Err(_) => {
                self.wires.close(port);
                return Ok(());
            }
            Ok(count) => count,
        };
        let bytes = &bytes[..count];
        match port {
            Port::Console => {
                self.console_after = Instant::now() + wait::CONSOLE_PAUSE;
                self.take_console(bytes)?;
            }
            Port::Qmp => {
                for said in self.qmp.feed(bytes) {
                    match said {
                        Said::Answered(answer) => self.answered(answer)?,
                        said => {
                            if let Said::Able(Ok(transport)) = said {
                                self.transport = Some(transport);
                            }
                            self.feed(Input::Qemu(said))?;
                        }
                    }
                }
            }
            _ => {
                self.decoder.push(bytes);
                while let Some(message) = self.decoder.take()? {
                    self.take_message(message)?;
                }
            }
        }
        Ok(())
    }

    fn take_console(&mut self, bytes: &[u8]) -> Result<()> {
        if self.console.bytes() == 0 && self.start.from().is_none() {
            self.step("firmware");
        }
        let lines = self.console.feed(bytes);
        if self.job.options.kmsg && self.is_program_heard() {
            self.kernel_shown = true;
            lines.into_iter().for_each(|line| (self.job.events)(Event::Kernel { line }));
        }
        self.feed(Input::Spoke)?;
        if self.console.over() {
            self.feed(Input::Quiet)?;
        }
        self.look_for_signs()
    }

    fn take_message(&mut self, message: FromGuest) -> Result<()> {
        match &message {
            FromGuest::Hello(version) if *version != PROTOCOL => {
                return Err(Error::boot(format!(
                    "the guest's agent speaks version {version} of the protocol, this quiz version {PROTOCOL}"
                )));
            }
            FromGuest::Taken(bytes) => self.input.taken(*bytes),
            FromGuest::Deserted => {
                if let Some(port) = self.exec.take() {
                    // Tells clients that wait there that nobody starts programs any more. The port may be closed already.
                    let _ = port.shutdown(Shutdown::Both);
                }
                self.job.folder.close_door();
                return Ok(());
            }
            FromGuest::Hello(_) | FromGuest::Ready(_) => {
                if let Some(what) = self.written_disk() {
                    self.feed(Input::Wrote(what))?;
                }
            }
            _ => {}
        }
        self.feed(Input::Guest(message))
    }

    fn take_signals(&mut self) -> Result<()> {
        for signal in self.signals.take() {
            if signal == SIGURG {
                // If this process has several machines, the one is meant in whose folder the file lies.
                if std::fs::remove_file(self.job.folder.path().join(WISH)).is_ok() {
                    self.feed(Input::Dump)?;
                }
            } else if signal == SIGWINCH {
                if let Some(size) = self.raw.as_ref().and_then(|_| tty::size(self.job.streams.stdout.as_fd())) {
                    self.send(&ToGuest::Resize(size))?;
                }
            } else {
                self.feed(Input::Signal(signal))?;
            }
        }
        Ok(())
    }

    fn read_input(&mut self) -> Result<()> {
        let tty = self.raw.is_some();
        match self.input.pull(self.job.streams.stdin.as_fd()) {
            Ok(bytes) if tty && self.escape.feed(bytes, Instant::now()) => self.feed(Input::Leave(SIGTERM))?,
            Ok(_) => {}
            Err(_) if tty => self.feed(Input::Leave(SIGHUP))?,
            Err(total) => self.send(&ToGuest::StdinEnd(total))?,
        }
        Ok(())
    }

    fn write_output(&mut self, number: usize) -> Result<()> {
        let (to, name) = [(&self.job.streams.stdout, "stdout"), (&self.job.streams.stderr, "stderr")][number];
        match self.outputs[number].push(to.as_fd()) {
            Ok(()) => Ok(()),
            Err(error) if error.kind() == io::ErrorKind::BrokenPipe => self.feed(Input::Unread(number)),
            Err(error) => self.feed(Input::Unwritten(number, format!("cannot write {name}: {error}"))),
        }
    }
}
