//! The loop of one machine: waits for whatever comes next and moves bytes, frames, signals and time limits.
//!
//! Judges nothing (`outcome`) and decides no times (`limits`). One thread, nothing blocks but the wait itself.

mod ends;
mod snapshot;
mod wait;

use std::io::{Read, Write};
use std::os::fd::AsFd;
use std::path::PathBuf;
use std::time::{Duration, Instant, SystemTime};

use rustix::event::PollFlags;
use signal_hook::consts::{SIGHUP, SIGTERM};

use super::console::Console;
use super::flow::{Inflow, Outflow, is_wait};
use super::limits::Limits;
use super::machine::{Accel, Level, Machine, Start};
use super::outcome::Facts;
use super::qmp::{self, Qmp};
use super::run::Job;
use super::signals::{Signals, Stop};
use super::spawn::{Port, Qemu, Snapshot, Wires};
use super::tty::{Escape, Raw};
use super::wire::{Decoder, FromGuest, Mount, PROTOCOL, ToGuest};
use crate::error::{Error, Result};
use crate::event::Event;
use wait::Source;

/// A machine that is restored answers within this time.
const RESTORED: Duration = Duration::from_secs(3);

/// TCG is so much slower than KVM, on a busy host.
const TCG_PATIENCE: u32 = 5;

/// A machine that is gone.
pub(super) struct Ended {
    pub(super) facts: Facts,
    /// The kernel's trouble was shown while it happened.
    pub(super) kernel_shown: bool,
    /// What the kernel complained about first.
    pub(super) complaint: Option<String>,
    gave_up: bool,
    console_bytes: u64,
}

impl Ended {
    /// Neither kernel nor agent gave a sign of life, and nobody ended the machine: the accelerator does not work.
    pub(super) fn no_life(&self) -> bool {
        let Facts { hello, interrupted, limit, .. } = &self.facts;
        !hello && interrupted.is_none() && limit.is_none() && (self.gave_up || self.console_bytes == 0)
    }
}

/// The program's status and the bytes that it wrote.
#[derive(Debug, Clone, Copy)]
struct Exit {
    status: u8,
    bytes: [u64; 2],
}

const STREAMS: [Port; 2] = [Port::Stdout, Port::Stderr];

/// One machine while it lives.
pub(super) struct Session<'a> {
    job: &'a Job<'a>,
    started: Instant,
    step: Instant,
    wires: Wires,
    start: Start,
    mount: Mount,
    snapshot: Option<Snapshot>,
    disks: Vec<(PathBuf, Option<SystemTime>)>,
    restoring: bool,
    saving: Option<Level>,
    /// qemu was told to.
    begun: bool,
    /// What came of copying the memory, while qemu still writes the rest.
    copied: Option<Result<()>>,
    signals: Signals,
    limits: Limits,
    console: Console,
    /// Not looked at before.
    console_after: Instant,
    qmp: Qmp,
    decoder: Decoder,
    to_guest: Vec<u8>,
    input: Inflow,
    outputs: [Outflow; 2],
    raw: Option<Raw>,
    escape: Escape,
    hello: bool,
    running: bool,
    exit: Option<Exit>,
    failed: Option<String>,
    signalled: bool,
    interrupted: Option<i32>,
    gave_up: bool,
    kernel_shown: bool,
}

impl<'a> Session<'a> {
    pub(super) fn new(
        job: &'a Job<'a>,
        machine: &Machine,
        started: Instant,
        console: Console,
        wires: Wires,
        snapshot: Option<Snapshot>,
    ) -> Result<Self> {
        let kvm = machine.accel == Accel::Kvm;
        let patience = if kvm { 1 } else { TCG_PATIENCE };
        let limits = match machine.start {
            Start::Restore(_) => Limits::restore(started, RESTORED * patience),
            // It still has to mount and to run hooks.
            Start::Grow { .. } => Limits::restore(started, job.options.ready_within * patience),
            _ => Limits::start(started, job.options.ready_within * patience, kvm),
        };
        let mut session = Self {
            job,
            started,
            step: started,
            wires,
            start: machine.start.clone(),
            mount: Mount {
                others: machine.start.from().is_some(),
                saved: machine.start.to(Level::Full).is_some(),
                // No machine has so many disks.
                layers: u8::try_from(machine.layers.len()).unwrap_or(u8::MAX),
                shares: machine.shares.iter().map(|share| share.tag.clone()).collect(),
            },
            snapshot,
            disks: machine.disks.iter().map(|disk| (disk.path.clone(), snapshot::written(&disk.path))).collect(),
            restoring: false,
            saving: None,
            begun: false,
            copied: None,
            signals: Signals::catch()?,
            limits,
            console,
            console_after: started,
            qmp: Qmp::default(),
            decoder: Decoder::default(),
            to_guest: Vec::new(),
            input: Inflow::default(),
            outputs: [Outflow::new(job.streams.stdout.as_fd()), Outflow::new(job.streams.stderr.as_fd())],
            raw: None,
            escape: Escape::default(),
            hello: false,
            running: false,
            exit: None,
            failed: None,
            signalled: false,
            interrupted: None,
            gave_up: false,
            kernel_shown: false,
        };
        session.tell_qemu(qmp::HELLO);
        session.prepare_snapshot();
        // One that came before signals were caught here.
        if let Some(signal) = job.options.stop.as_ref().and_then(Stop::signal) {
            session.interrupt(signal);
        }
        Ok(session)
    }

    /// Plays until the machine is gone and all of the program's bytes are written.
    pub(super) fn play(mut self, mut qemu: Qemu) -> Result<Ended> {
        while !self.is_over() {
            for (source, flags) in self.wait()? {
                self.handle(source, flags)?;
            }
            let now = Instant::now();
            while let Some(action) = self.limits.due(now) {
                self.act(action, &mut qemu)?;
            }
            if self.is_complete() {
                self.quit();
            }
        }
        self.raw = None;
        self.step("end");
        self.console.finish();
        let facts = Facts {
            hello: self.hello,
            failed: self.failed.clone(),
            exited: self.exit.filter(|_| self.is_complete()).map(|exit| exit.status),
            limit: self.limits.over,
            interrupted: self.interrupted,
            panicked: self.qmp.panicked,
            panic_line: self.console.panic().map(str::to_owned),
            excerpt: self.console.excerpt(),
            shutdown: self.qmp.shutdown.clone(),
            qemu: qemu.wait(),
            qemu_says: String::new(),
        };
        let (gave_up, console_bytes) = (self.gave_up, self.console.bytes());
        let complaint = self.console.complaint().map(str::to_owned);
        Ok(Ended { facts, kernel_shown: self.kernel_shown, complaint, gave_up, console_bytes })
    }

    /// A step is done.
    fn step(&mut self, name: &'static str) {
        let now = Instant::now();
        (self.job.events)(Event::Step { name, took: now - self.step });
        self.step = now;
    }

    /// The program ended and every byte that it wrote has come.
    fn is_complete(&self) -> bool {
        let came = |exit: &Exit, n: usize| self.outputs[n].is_broken() || self.outputs[n].received() >= exit.bytes[n];
        self.exit.as_ref().is_some_and(|exit| came(exit, 0) && came(exit, 1))
    }

    fn is_over(&self) -> bool {
        let gone = [Port::Qmp, Port::Console, Port::Control, Port::Stdout, Port::Stderr];
        gone.iter().all(|port| self.wires.get(*port).is_none())
            && (self.interrupted.is_some() || !self.outputs.iter().any(Outflow::is_waiting))
    }

    fn handle(&mut self, source: Source, flags: PollFlags) -> Result<()> {
        match source {
            Source::Signals => self.take_signals()?,
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
                self.qmp.feed(bytes);
                if self.qmp.panicked {
                    self.limits.panicked(Instant::now());
                }
                self.follow_snapshot()?;
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
        if self.console.bytes() == 0 && !self.is_restored() {
            self.step("firmware");
        }
        let before = self.console.panic().is_some();
        let lines = self.console.feed(bytes);
        if self.job.options.kmsg && self.running {
            self.kernel_shown = true;
            lines.into_iter().for_each(|line| (self.job.events)(Event::Kernel { line }));
        }
        if !before && self.console.panic().is_some() && self.exit.is_none() {
            self.limits.panicked(Instant::now());
            self.send(&ToGuest::Ping)?;
        }
        Ok(())
    }

    fn take_message(&mut self, message: FromGuest) -> Result<()> {
        let now = Instant::now();
        match message {
            FromGuest::Hello(version) if version != PROTOCOL => {
                return Err(Error::boot(format!("the guest's agent speaks version {version}, quiz {PROTOCOL}")));
            }
            FromGuest::Hello(_) => {
                self.step("kernel");
                self.hello = true;
                self.console.forget_tail();
                self.limits.lives();
                self.reached(Level::Base, None)?;
            }
            FromGuest::Ready(reason) => {
                self.step("hooks");
                self.reached(Level::Full, reason)?;
            }
            FromGuest::Awake => {
                self.step("wake");
                self.job.awake.set(true);
                self.hello = true;
                self.limits.lives();
                let milliseconds = u64::try_from((now - self.started).as_millis()).unwrap_or(u64::MAX);
                (self.job.events)(Event::Ready { milliseconds });
                self.limits.program_starts(now, self.job.options.timeout);
                if self.job.request.request.tty.is_some() {
                    self.raw = Raw::enter(self.job.streams.stdin.as_fd());
                }
                self.running = true;
                self.console.forget_tail();
                self.to_guest.extend(&self.job.request.bytes);
                self.send_frames();
            }
            FromGuest::Failed(why) => {
                self.failed = Some(why);
                self.quit();
            }
            FromGuest::Exit { status, stdout, stderr } => {
                self.step("program");
                self.exit = Some(Exit { status, bytes: [stdout, stderr] });
                self.limits.program_ended();
            }
            FromGuest::Pong => self.limits.answered(now),
        }
        Ok(())
    }

    fn read_input(&mut self) -> Result<()> {
        let tty = self.raw.is_some();
        match self.input.pull(self.job.streams.stdin.as_fd()) {
            Ok(bytes) if tty && self.escape.feed(bytes, Instant::now()) => self.interrupt(SIGTERM),
            Ok(_) => {}
            Err(_) if tty => self.interrupt(SIGHUP),
            Err(total) => self.send(&ToGuest::StdinEnd(total))?,
        }
        Ok(())
    }

    fn write_output(&mut self, number: usize) -> Result<()> {
        let to = [&self.job.streams.stdout, &self.job.streams.stderr][number];
        if self.outputs[number].push(to.as_fd()) && self.wires.get(STREAMS[number]).is_some() {
            self.send(&ToGuest::Close(if number == 0 { 1 } else { 2 }))?;
        }
        Ok(())
    }

    fn tell_qemu(&mut self, command: &[u8]) {
        self.write_now(Port::Qmp, command);
    }

    /// For a few bytes, which an empty socket always takes. A machine that is gone needs none.
    fn write_now(&mut self, port: Port, bytes: &[u8]) {
        if let Some(mut socket) = self.wires.get(port) {
            let _ = socket.write(bytes);
        }
    }

    fn send(&mut self, message: &ToGuest) -> Result<()> {
        self.to_guest.extend(message.encode()?);
        self.send_frames();
        Ok(())
    }

    fn send_frames(&mut self) {
        let Some(mut socket) = self.wires.get(Port::Control) else { return self.to_guest.clear() };
        if let Ok(count) = socket.write(&self.to_guest) {
            self.to_guest.drain(..count);
        }
    }
}
