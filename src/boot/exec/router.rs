//! Beside a machine that runs: moves frames between its port and whoever connected to the socket in the run's folder.
//!
//! Waits for nobody: what a client does not read is at most what it said there is room for. Knows no program.

use super::frame::{Decoder, Frame, HEAD, WINDOW, kind};
use crate::boot::flow::is_wait;
use rustix::event::{PollFd, PollFlags, poll};
use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::net::{UnixListener, UnixStream};

/// How many clients are served at once; further ones wait.
const MOST: usize = 64;
/// What may wait for the guest, in bytes, before no client is read any more.
const FULL: usize = 1 << 20;
/// What may wait for a client: all of its output that is under way, in the smallest pieces, and its end. A client for which more waits has said that
/// it has room, and has none.
const MOST_WAITING: usize = WINDOW * (HEAD + 1) + (64 << 10);

struct Client {
    socket: UnixStream,
    decoder: Decoder,
    waiting: Vec<u8>,
    /// The guest has heard of it, and did not say yet that it ended.
    is_running: bool,
    /// The program has ended: what waits for the client is the last.
    is_over: bool,
}

/// Starts to move frames, until the machine is gone.
pub(in crate::boot) fn route(port: UnixStream, listener: UnixListener) -> std::io::Result<()> {
    port.set_nonblocking(true)?;
    listener.set_nonblocking(true)?;
    let router = Router {
        port,
        listener,
        to_port: Vec::new(),
        from_port: Decoder::default(),
        clients: BTreeMap::new(),
        next: 1,
    };
    std::thread::Builder::new().name("exec".to_owned()).spawn(move || router.run()).map(drop)
}

struct Router {
    port: UnixStream,
    listener: UnixListener,
    to_port: Vec<u8>,
    from_port: Decoder,
    clients: BTreeMap<u32, Client>,
    next: u32,
}

#[derive(Clone, Copy)]
enum Source {
    Port,
    Listener,
    Client(u32),
}

impl Router {
    fn run(mut self) {
        // The machine is gone, and with it everybody's program.
        while self.turn().is_some() {}
    }

    /// Waits, and does what there is to do. `None` when the machine is gone.
    fn turn(&mut self) -> Option<()> {
        let when = |condition: bool, flags: PollFlags| if condition { flags } else { PollFlags::empty() };
        let mut sources: Vec<(Source, BorrowedFd<'_>, PollFlags)> =
            vec![(Source::Port, self.port.as_fd(), PollFlags::IN | when(!self.to_port.is_empty(), PollFlags::OUT))];
        if self.clients.len() < MOST {
            sources.push((Source::Listener, self.listener.as_fd(), PollFlags::IN));
        }
        for (number, client) in &self.clients {
            let reads = self.to_port.len() < FULL && !client.is_over;
            let flags = when(reads, PollFlags::IN) | when(!client.waiting.is_empty(), PollFlags::OUT);
            sources.push((Source::Client(*number), client.socket.as_fd(), flags));
        }
        let mut fds: Vec<PollFd<'_>> =
            sources.iter().map(|(_, fd, flags)| PollFd::from_borrowed_fd(*fd, *flags)).collect();
        match poll(&mut fds, None) {
            Ok(_) | Err(rustix::io::Errno::INTR) => {}
            Err(_) => return None,
        }
        let ready: Vec<(Source, PollFlags)> = sources
            .iter()
            .zip(&fds)
            .map(|((source, ..), fd)| (*source, fd.revents()))
            .filter(|(_, flags)| !flags.is_empty())
            .collect();
        for (source, flags) in ready {
            match source {
                Source::Port => self.at_port(flags)?,
                Source::Listener => self.accept(),
                Source::Client(number) => {
                    if self.at_client(number, flags).is_none() {
                        self.drop_client(number);
                    }
                }
            }
        }
        Some(())
    }

    fn at_port(&mut self, flags: PollFlags) -> Option<()> {
        if flags.contains(PollFlags::OUT) {
            write_some(&self.port, &mut self.to_port)?;
        }
        if flags.intersects(PollFlags::IN | PollFlags::HUP | PollFlags::ERR) {
            let bytes = read_some(&self.port)?;
            self.from_port.push(&bytes);
            while let Some(frame) = self.from_port.take().ok()? {
                self.pass_on(&frame);
            }
        }
        Some(())
    }

    /// Passes what the guest says of a program on to the client that started it, if that is still there.
    fn pass_on(&mut self, frame: &Frame) {
        let number = frame.number;
        let Some(client) = self.clients.get_mut(&number) else { return };
        client.waiting.extend(Frame { number: 0, ..frame.clone() }.encode());
        if [kind::ENDED, kind::REFUSED].contains(&frame.kind) {
            (client.is_running, client.is_over) = (false, true);
        }
        let sent = write_some(&client.socket, &mut client.waiting);
        if sent.is_none() || client.waiting.len() > MOST_WAITING || (client.is_over && client.waiting.is_empty()) {
            self.drop_client(number);
        }
    }

    fn accept(&mut self) {
        let Ok((socket, _)) = self.listener.accept() else { return };
        if socket.set_nonblocking(true).is_err() {
            return;
        }
        let client =
            Client { socket, decoder: Decoder::default(), waiting: Vec::new(), is_running: false, is_over: false };
        self.clients.insert(self.next, client);
        self.next = self.next.wrapping_add(1).max(1);
    }

    /// Moves bytes from a client, and to it. `None` when it is gone, or says what it may not.
    fn at_client(&mut self, number: u32, flags: PollFlags) -> Option<()> {
        let client = self.clients.get_mut(&number)?;
        if flags.contains(PollFlags::OUT) {
            write_some(&client.socket, &mut client.waiting)?;
        }
        if client.is_over {
            return (!client.waiting.is_empty()).then_some(());
        }
        if flags.intersects(PollFlags::IN | PollFlags::HUP | PollFlags::ERR) {
            let bytes = read_some(&client.socket)?;
            client.decoder.push(&bytes);
            while let Some(frame) = client.decoder.take().ok()? {
                if !(kind::START..kind::GONE).contains(&frame.kind) || (frame.kind == kind::START) == client.is_running
                {
                    return None;
                }
                client.is_running = true;
                self.to_port.extend(Frame { number, ..frame }.encode());
            }
            write_some(&self.port, &mut self.to_port);
        }
        Some(())
    }

    fn drop_client(&mut self, number: u32) {
        if self.clients.remove(&number).is_some_and(|client| client.is_running) {
            self.to_port.extend(Frame::new(kind::GONE, number, b"").encode());
            write_some(&self.port, &mut self.to_port);
        }
    }
}

/// Reads what is there, which may be nothing. `None` at the end.
fn read_some(mut socket: &UnixStream) -> Option<Vec<u8>> {
    let mut bytes = vec![0; 64 << 10];
    match socket.read(&mut bytes) {
        Ok(0) => None,
        Ok(count) => {
            bytes.truncate(count);
            Some(bytes)
        }
        Err(e) if is_wait(&e) => Some(Vec::new()),
        Err(_) => None,
    }
}

/// Writes what it takes. `None` when nobody is there.
fn write_some(mut socket: &UnixStream, bytes: &mut Vec<u8>) -> Option<()> {
    while !bytes.is_empty() {
        match socket.write(bytes) {
            Ok(count) => drop(bytes.drain(..count)),
            Err(e) if is_wait(&e) => break,
            Err(_) => return None,
        }
    }
    Some(())
}
