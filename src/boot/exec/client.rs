//! Who starts a program in a machine that runs, and is there as long as it runs: moves its bytes, its signals and the size of its terminal.

use super::frame::{Decoder, Frame, WINDOW, kind};
use crate::boot::folder::{DOOR, at_socket, is_live, number};
use crate::boot::job::Streams;
use crate::boot::signals::Signals;
use crate::boot::tty::{self, Escape, Raw};
use crate::boot::wire::{Request, ToGuest};
use crate::error::{Error, Result, cannot};
use rustix::event::{PollFd, PollFlags, poll};
use signal_hook::consts::{SIGHUP, SIGPIPE, SIGWINCH};
use std::io::{ErrorKind, Read, Write};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Instant;

/// Bytes of stdin in one frame.
const PIECE: usize = 32 << 10;
/// What of the control port's frame comes before the request.
const BEFORE: usize = 5;

/// What became of it.
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
    signals: Signals,
    raw: Option<Raw>,
    escape: Escape,
    /// Bytes of stdin for which there is room.
    room: usize,
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
    let over = |e: std::io::Error| match is_live(run) {
        true => cannot("connect to", &run.join(DOOR), e),
        false => Error::input(format!("run {} is over", number(run))).hint("`quiz ps` shows what runs"),
    };
    let socket = at_socket(run, DOOR, |path| UnixStream::connect(path)).map_err(over)?;
    let (tty, signals) = (request.tty.is_some(), Signals::catch()?);
    let mut client = Client {
        socket,
        decoder: Decoder::default(),
        streams,
        signals,
        raw: tty.then(|| Raw::enter(streams.stdin.as_fd())).flatten(),
        escape: Escape::default(),
        room: WINDOW,
        has_input: true,
        waiting: Vec::new(),
        passed_on: 0,
    };
    client.socket.set_nonblocking(true).map_err(|e| cannot("use", &run.join(DOOR), e))?;
    let bytes = ToGuest::Request { request, bounded: false }.encode()?;
    client.send(kind::START, &bytes[BEFORE..]);
    loop {
        if let Some(ended) = client.turn()? {
            return Ok(ended);
        }
    }
}

impl Client<'_> {
    /// A machine that is gone is noticed by what does not come from it.
    fn send(&mut self, kind: u8, payload: &[u8]) {
        self.waiting.extend(Frame::new(kind, 0, payload).encode());
        self.send_waiting();
    }

    fn send_waiting(&mut self) {
        while let Ok(count @ 1..) = (&self.socket).write(&self.waiting) {
            self.waiting.drain(..count);
        }
    }

    fn turn(&mut self) -> Result<Option<Ended>> {
        let wants_input = self.has_input && self.room > 0 && self.waiting.is_empty();
        let sends = if self.waiting.is_empty() { PollFlags::empty() } else { PollFlags::OUT };
        let mut fds = vec![
            PollFd::new(&self.socket, PollFlags::IN | sends),
            PollFd::from_borrowed_fd(self.signals.fd(), PollFlags::IN),
        ];
        if wants_input {
            fds.push(PollFd::new(&self.streams.stdin, PollFlags::IN));
        }
        match poll(&mut fds, None) {
            Ok(_) | Err(rustix::io::Errno::INTR) => {}
            Err(e) => return Err(Error::boot("cannot wait for the machine").because(e)),
        }
        let is_ready = |at: usize| fds.get(at).is_some_and(|fd| !fd.revents().is_empty());
        let (from_guest, signals, input) = (is_ready(0), is_ready(1), is_ready(2));
        self.send_waiting();
        if signals && let Some(ended) = self.take_signals() {
            return Ok(Some(ended));
        }
        if from_guest && let Some(ended) = self.hear()? {
            return Ok(Some(ended));
        }
        Ok(if input { self.read_input() } else { None })
    }

    /// The first is the program's; the second ends this.
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
            Ok(0) => return Ok(Some(Ended::Lost)),
            Ok(count) => self.decoder.push(&bytes[..count]),
            Err(e) if matches!(e.kind(), ErrorKind::Interrupted | ErrorKind::WouldBlock) => {}
            Err(_) => return Ok(Some(Ended::Lost)),
        }
        while let Some(frame) = self.decoder.take()? {
            match frame.kind {
                kind::OUTPUT | kind::ERRORS => {
                    let stream = if frame.kind == kind::OUTPUT { &self.streams.stdout } else { &self.streams.stderr };
                    match write_all(stream.as_fd(), &frame.payload) {
                        Err(e) if e.kind() == ErrorKind::BrokenPipe => return Ok(Some(Ended::Left(SIGPIPE))),
                        Err(e) => return Err(Error::boot("cannot write what the program wrote").because(e)),
                        Ok(()) => {}
                    }
                    let count = u32::try_from(frame.payload.len()).unwrap_or(u32::MAX);
                    self.send(kind::ROOM, &count.to_le_bytes());
                }
                kind::TAKEN => self.room = WINDOW.min(self.room + frame.count().unwrap_or(0)),
                kind::ENDED => return Ok(Some(Ended::Exited(frame.payload.first().copied().unwrap_or(u8::MAX)))),
                kind::REFUSED => {
                    let why = String::from_utf8_lossy(&frame.payload).into_owned();
                    return Err(Error::boot(format!("the guest did not start the program: {why}")));
                }
                _ => return Err(Error::boot("the guest said something that quiz does not know")),
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
                self.send(kind::INPUT, &bytes[..count]);
                None
            }
            Err(rustix::io::Errno::INTR | rustix::io::Errno::AGAIN) => None,
            // What cannot be read has nothing to say.
            Err(_) => {
                self.has_input = false;
                self.send(kind::INPUT_END, b"");
                None
            }
        }
    }
}

/// All of it; a stream that somebody made one that does not wait is waited for.
fn write_all(to: BorrowedFd<'_>, mut bytes: &[u8]) -> std::io::Result<()> {
    while !bytes.is_empty() {
        match rustix::io::write(to, bytes) {
            Ok(count) => bytes = &bytes[count..],
            Err(rustix::io::Errno::INTR) => {}
            Err(rustix::io::Errno::AGAIN) => {
                let _ = poll(&mut [PollFd::from_borrowed_fd(to, PollFlags::OUT)], None);
            }
            Err(e) => return Err(e.into()),
        }
    }
    Ok(())
}
