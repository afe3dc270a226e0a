//! The wait of the loop: which of the sockets, streams and signals has something to do.

use std::os::fd::{AsFd, BorrowedFd};
use std::time::Instant;

use rustix::event::{PollFd, PollFlags, Timespec, poll};

use super::super::spawn::Port;
use super::Session;
use crate::error::{Error, Result};

/// Something that can be waited for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Source {
    Port(Port),
    Input,
    Output(usize),
    Signals,
}

impl Session<'_> {
    /// What to wait for. A source that has nothing to do is left out: poll would report its end again and again.
    fn sources(&self) -> Vec<(Source, BorrowedFd<'_>, PollFlags)> {
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
        port(Port::Console, PollFlags::IN);
        port(Port::Qmp, PollFlags::IN);
        for (number, to) in [&streams.stdout, &streams.stderr].into_iter().enumerate() {
            if self.outputs[number].is_waiting() {
                sources.push((Source::Output(number), to.as_fd(), PollFlags::OUT));
            }
        }
        let reads = self.running && self.exit.is_none() && self.wires.get(Port::Stdin).is_some();
        if reads && self.input.has_room() {
            sources.push((Source::Input, streams.stdin.as_fd(), PollFlags::IN));
        }
        sources
    }

    /// Waits for the next thing to do, or the next time limit.
    pub(super) fn wait(&self) -> Result<Vec<(Source, PollFlags)>> {
        let sources = self.sources();
        let mut fds: Vec<PollFd> = sources.iter().map(|(_, fd, flags)| PollFd::from_borrowed_fd(*fd, *flags)).collect();
        let left = self.limits.next().map(|at| at.saturating_duration_since(Instant::now()));
        let left = left.and_then(|left| Timespec::try_from(left).ok());
        match poll(&mut fds, left.as_ref()) {
            Ok(_) | Err(rustix::io::Errno::INTR) => {}
            Err(error) => return Err(Error::boot("cannot wait for the machine").because(error)),
        }
        let ready = sources.iter().zip(&fds).map(|((source, ..), fd)| (*source, fd.revents()));
        Ok(ready.filter(|(_, flags)| !flags.is_empty()).collect())
    }
}
