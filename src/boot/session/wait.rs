//! The wait of the loop: which of the sockets, streams and signals has something to do.

use std::os::fd::{AsFd, BorrowedFd};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};

use super::super::flow::Outflow;
use super::super::phase::Phase;
use super::super::spawn::Port;
use super::Session;
use crate::error::{Error, Result};

/// qemu writes what the guest's kernel says byte by byte; to be woken by each costs the guest 30 ms of its boot. Short enough that
/// the socket does not fill up: Linux counts hundreds of bytes for each.
pub(super) const CONSOLE_PAUSE: Duration = Duration::from_millis(1);

/// Something that can be waited for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Source {
    Port(Port),
    Input,
    Output(usize),
    Signals,
    /// The guest's memory is written.
    Dump,
}

impl Session<'_> {
    /// Bytes of the program wait for whoever reads them.
    pub(super) fn is_waiting(&self) -> bool {
        self.outputs.iter().any(Outflow::is_waiting)
    }

    pub(super) fn is_running(&self) -> bool {
        matches!(self.play.phase(), Phase::Running(_))
    }

    /// What comes of the kernel now may be the program's: its last words come behind its end.
    pub(super) fn is_program_heard(&self) -> bool {
        matches!(self.play.phase(), Phase::Running(_) | Phase::Ended(..))
    }

    /// What to wait for. A source that has nothing to do is left out: poll would report its end again and again.
    fn sources(&self, now: Instant) -> Vec<(Source, BorrowedFd<'_>, PollFlags)> {
        let streams = &self.job.streams;
        let mut sources = vec![(Source::Signals, self.signals.fd(), PollFlags::IN)];
        let mut port = |port: Port, flags: PollFlags| {
            if let (Some(socket), false) = (self.wires.get(port), flags.is_empty()) {
                sources.push((Source::Port(port), socket.as_fd(), flags));
            }
        };
        let when = |condition: bool, flags: PollFlags| if condition { flags } else { PollFlags::empty() };
        // The program's bytes before the kernel's: what it printed until a panic comes first.
        port(Port::Stdout, when(self.outputs[0].has_room(), PollFlags::IN));
        port(Port::Stderr, when(self.outputs[1].has_room(), PollFlags::IN));
        port(Port::Stdin, when(self.input.is_waiting(), PollFlags::OUT));
        port(Port::Control, PollFlags::IN | when(!self.to_guest.is_empty(), PollFlags::OUT));
        port(Port::Console, when(now >= self.console_after, PollFlags::IN));
        port(Port::Qmp, PollFlags::IN);
        for (number, to) in [&streams.stdout, &streams.stderr].into_iter().enumerate() {
            if self.outputs[number].is_waiting() {
                sources.push((Source::Output(number), to.as_fd(), PollFlags::OUT));
            }
        }
        if let Some(done) = self.dump.as_ref().and_then(super::crash::Dump::written) {
            sources.push((Source::Dump, done.as_fd(), PollFlags::IN));
        }
        let reads = self.is_running() && self.wires.get(Port::Stdin).is_some();
        if reads && self.input.has_room() {
            sources.push((Source::Input, streams.stdin.as_fd(), PollFlags::IN));
        }
        sources
    }

    /// Waits for the next thing to do, or the next time limit.
    pub(super) fn wait(&self) -> Result<Vec<(Source, PollFlags)>> {
        let now = Instant::now();
        let sources = self.sources(now);
        let mut fds: Vec<PollFd> = sources.iter().map(|(_, fd, flags)| PollFd::from_borrowed_fd(*fd, *flags)).collect();
        let later = (self.console_after > now).then_some(self.console_after);
        let next = self.play.next().into_iter().chain(later).min();
        let left = next.map(|at| at.saturating_duration_since(now));
        let left = left.and_then(|left| Timespec::try_from(left).ok());
        match poll(&mut fds, left.as_ref()) {
            Ok(_) | Err(rustix::io::Errno::INTR) => {}
            Err(error) => return Err(Error::boot("cannot wait for the machine").because(error)),
        }
        let ready = sources.iter().zip(&fds).map(|((source, ..), fd)| (*source, fd.revents()));
        Ok(ready.filter(|(_, flags)| !flags.is_empty()).collect())
    }
}
