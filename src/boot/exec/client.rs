//! Who starts a program in a machine that runs, and is there as long as it runs: moves its bytes, its signals and the size of its terminal.

use super::frame::{Decoder, Frame, WINDOW, kind};
use crate::boot::flow::{Outflow, give_back, is_wait};
use crate::boot::folder::{DOOR, at_socket};
use crate::boot::job::Streams;
use crate::boot::request::Request;
use crate::boot::running::{is_up, not_live};
use crate::boot::signals::Signals;
use crate::boot::tty::{self, Escape, Raw};
use crate::boot::wire::ToGuest;
use crate::error::{Error, Result, cannot};
use rustix::event::{PollFd, PollFlags, poll};
use signal_hook::consts::{SIGHUP, SIGPIPE, SIGWINCH};
use std::io::{ErrorKind, Read, Write};
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Instant;

/// Bytes of stdin in one frame.
const PIECE: usize = 32 << 10;
/// How many bytes of the control port's frame lie before the request.
const BEFORE: usize = 5;

/// What became of the program.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ended {
    /// It ended so: its exit status, or 128 + n for signal n.
    Exited(u8),
    /// The machine ended before it did.
    Lost,
    /// quiz was told to leave, by that signal. The program gets SIGHUP.
    Left(i32),
}

struct Client<'a> {
    socket: UnixStream,
    decoder: Decoder,
    streams: &'a Streams,
    /// What of stdout and stderr is not written yet.
    outputs: [Outflow; 2],
    /// How it ended, as the guest said; counts when all of its bytes are written. It is the guest's last word.
    status: Option<u8>,
    signals: Signals,
    raw: Option<Raw>,
    escape: Escape,
    /// Bytes of stdin for which there is room.
    room: usize,
    /// Bytes that were read of stdin, and those that the program is known to have read of them.
    read: u64,
    taken: u64,
    has_input: bool,
    /// What is to be sent.
    waiting: Vec<u8>,
    /// Signals that were passed on.
    passed_on: usize,
}

/// Runs a program in the machine of a run that lives; waits for one that still boots.
///
/// # Errors
/// The run is over, or has no such socket; the guest refuses; stdout or stderr cannot be written.
pub fn exec(run: &Path, request: Request, streams: &Streams) -> Result<Ended> {
    let over = |e: std::io::Error| match is_up(run) {
        true => cannot("connect to", &run.join(DOOR), e),
        false => not_live(run),
    };
    let socket = at_socket(run, DOOR, |path| UnixStream::connect(path)).map_err(over)?;
    let (tty, signals) = (request.tty.is_some(), Signals::catch()?);
    let mut client = Client {
        socket,
        decoder: Decoder::default(),
        streams,
        outputs: [Outflow::new(streams.stdout.as_fd()), Outflow::new(streams.stderr.as_fd())],
        status: None,
        signals,
        raw: tty.then(|| Raw::enter(streams.stdin.as_fd())).flatten(),
        escape: Escape::default(),
        room: WINDOW,
        read: 0,
        taken: 0,
        has_input: true,
        waiting: Vec::new(),
        passed_on: 0,
    };
    client.socket.set_nonblocking(true).map_err(|e| cannot("use", &run.join(DOOR), e))?;
    let bytes = ToGuest::Request { request, bounded: false, kept: false }.encode()?;
    client.send(kind::START, &bytes[BEFORE..]);
    let ended = loop {
        if let Some(ended) = client.turn().transpose() {
            break ended;
        }
    };
    give_back(streams.stdin.as_fd(), client.read.saturating_sub(client.taken));
    ended
}

/// Something that can be waited for.
#[derive(Debug, Clone, Copy)]
enum Source {
    Guest,
    Signals,
    Input,
    Output(usize),
}

impl Client<'_> {
    /// Sends a frame, or keeps it until there is room. That the machine is gone is noticed when its answers end, not here.
    fn send(&mut self, kind: u8, payload: &[u8]) {
        self.waiting.extend(Frame::new(kind, 0, payload).encode());
        self.send_waiting();
    }

    fn send_waiting(&mut self) {
        while let Ok(count @ 1..) = (&self.socket).write(&self.waiting) {
            self.waiting.drain(..count);
        }
    }

    /// Waits for the next thing to do, and does it. Whoever does not read what the program writes keeps nobody from hearing a signal.
    fn turn(&mut self) -> Result<Option<Ended>> {
        let sends = if self.waiting.is_empty() { PollFlags::empty() } else { PollFlags::OUT };
        let mut sources = vec![(Source::Signals, PollFd::from_borrowed_fd(self.signals.fd(), PollFlags::IN))];
        // Once it is closed it is ready for ever, and whoever writes slowly would do nothing but look at it.
        if self.status.is_none() {
            sources.push((Source::Guest, PollFd::new(&self.socket, PollFlags::IN | sends)));
        }
        if self.has_input && self.room > 0 && self.waiting.is_empty() {
            sources.push((Source::Input, PollFd::new(&self.streams.stdin, PollFlags::IN)));
        }
        for (number, to) in [&self.streams.stdout, &self.streams.stderr].into_iter().enumerate() {
            if self.outputs[number].is_waiting() {
                sources.push((Source::Output(number), PollFd::new(to, PollFlags::OUT)));
            }
        }
        let (sources, mut fds): (Vec<Source>, Vec<PollFd<'_>>) = sources.into_iter().unzip();
        match poll(&mut fds, None) {
            Ok(_) | Err(rustix::io::Errno::INTR) => {}
            Err(e) => return Err(Error::boot("cannot wait for the machine").because(e)),
        }
        let is_ready = |(_, fd): &(Source, &PollFd<'_>)| !fd.revents().is_empty();
        let ready: Vec<Source> = sources.into_iter().zip(&fds).filter(is_ready).map(|(source, _)| source).collect();
        self.send_waiting();
        for source in ready {
            let ended = match source {
                Source::Guest => self.hear()?,
                Source::Signals => self.take_signals(),
                Source::Input => self.read_input(),
                Source::Output(number) => self.write_output(number)?,
            };
            if ended.is_some() {
                return Ok(ended);
            }
        }
        let is_written = !self.outputs.iter().any(Outflow::is_waiting);
        Ok(self.status.filter(|_| is_written).map(Ended::Exited))
    }

    fn write_output(&mut self, number: usize) -> Result<Option<Ended>> {
        let to = [&self.streams.stdout, &self.streams.stderr][number];
        let before = self.outputs[number].waiting();
        match self.outputs[number].push(to.as_fd()) {
            Err(e) if e.kind() == ErrorKind::BrokenPipe => return Ok(Some(Ended::Left(SIGPIPE))),
            Err(e) => return Err(Error::boot("cannot write the program's output").because(e)),
            Ok(()) => {}
        }
        let written = u32::try_from(before - self.outputs[number].waiting()).unwrap_or(u32::MAX);
        if written > 0 && self.status.is_none() {
            self.send(kind::ROOM, &written.to_le_bytes());
        }
        Ok(None)
    }

    /// Passes the first signal on to the program; the second one ends this process's part, and with it the program.
    fn take_signals(&mut self) -> Option<Ended> {
        for signal in self.signals.take() {
            if signal == SIGWINCH {
                if let Some(size) = self.raw.as_ref().and_then(|_| tty::size(self.streams.stdout.as_fd())) {
                    let payload = [size.rows.to_le_bytes(), size.columns.to_le_bytes()].concat();
                    self.send(kind::RESIZE, &payload);
                }
                continue;
            }
            self.passed_on += 1;
            if self.passed_on > 1 || signal == SIGHUP {
                return Some(Ended::Left(signal));
            }
            self.send(kind::SIGNAL, &signal.cast_unsigned().to_le_bytes());
        }
        None
    }

    fn hear(&mut self) -> Result<Option<Ended>> {
        let mut bytes = [0; 64 << 10];
        match self.socket.read(&mut bytes) {
            Err(e) if is_wait(&e) => return Ok(None),
            Ok(0) | Err(_) => return Ok(Some(Ended::Lost)),
            Ok(count) => self.decoder.push(&bytes[..count]),
        }
        while let Some(frame) = self.decoder.take()? {
            match frame.kind {
                kind::OUTPUT | kind::ERRORS => {
                    self.outputs[usize::from(frame.kind == kind::ERRORS)].take(&frame.payload);
                }
                kind::TAKEN => {
                    let bytes = frame.count().unwrap_or(0);
                    self.room = WINDOW.min(self.room + bytes);
                    self.taken = self.read.min(self.taken + bytes as u64);
                }
                kind::ENDED => {
                    self.status = Some(frame.payload.first().copied().unwrap_or(u8::MAX));
                    // An agent of before says no more.
                    let taken = frame.payload.get(1..).and_then(|bytes| bytes.try_into().ok()).map(u64::from_le_bytes);
                    self.taken = taken.map_or(self.taken, |taken| taken.min(self.read));
                }
                kind::REFUSED => {
                    let why = String::from_utf8_lossy(&frame.payload).into_owned();
                    return Err(Error::boot(format!("the guest did not start the program: {why}")));
                }
                _ => return Err(Error::boot("the guest sent a message that quiz does not know")),
            }
        }
        Ok(None)
    }

    fn read_input(&mut self) -> Option<Ended> {
        let mut bytes = [0; PIECE];
        let most = self.room.min(PIECE);
        match rustix::io::read(&self.streams.stdin, &mut bytes[..most]) {
            Ok(0) | Err(rustix::io::Errno::IO) if self.raw.is_some() => Some(Ended::Left(SIGHUP)),
            Ok(0) => {
                self.has_input = false;
                self.send(kind::INPUT_END, b"");
                None
            }
            Ok(count) if self.raw.is_some() && self.escape.feed(&bytes[..count], Instant::now()) => {
                Some(Ended::Left(SIGHUP))
            }
            Ok(count) => {
                self.room -= count;
                self.read += count as u64;
                self.send(kind::INPUT, &bytes[..count]);
                None
            }
            Err(rustix::io::Errno::INTR | rustix::io::Errno::AGAIN) => None,
            // An input that cannot be read counts as ended.
            Err(_) => {
                self.has_input = false;
                self.send(kind::INPUT_END, b"");
                None
            }
        }
    }
}
