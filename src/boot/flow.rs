//! The program's bytes on their way: from the guest to quiz's stdout and stderr, and from quiz's stdin to the guest.
//!
//! What the program did not read of a file is given back to whoever has the file, too; of a pipe, which takes nothing back, little is read
//! ahead. Each direction holds a bounded number of bytes, so a slow reader slows the program down, as in a pipe. Never blocks:
//! quiz's own stdout may be shared with others and stays in blocking mode, so it only gets what poll says it takes.

use std::io::{self, Read, Write};
use std::os::fd::BorrowedFd;
use std::os::unix::net::UnixStream;

use rustix::fs::{FileType, SeekFrom, fstat, seek};

use super::wire::AHEAD;

/// The most bytes that a direction holds, beside those of one read.
const LIMIT: usize = 1 << 20;

const READ: usize = 256 << 10;

/// What poll promises for a pipe (PIPE_BUF on Linux).
const PIECE: usize = 4096;

/// Bytes that wait to be written.
#[derive(Debug, Default)]
struct Queue {
    bytes: Vec<u8>,
    start: usize,
}

impl Queue {
    fn waiting(&self) -> &[u8] {
        &self.bytes[self.start..]
    }

    fn written(&mut self, count: usize) {
        self.start += count;
        if self.start == self.bytes.len() {
            self.bytes.clear();
            self.start = 0;
        } else if self.start > LIMIT {
            self.bytes.drain(..self.start);
            self.start = 0;
        }
    }
}

/// Not a failure: there is nothing to read, or no room to write, right now.
pub(super) fn is_wait(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted)
}

/// One of the program's output streams.
#[derive(Debug)]
pub(super) struct Outflow {
    queue: Queue,
    piece: usize,
    received: u64,
    /// The reader takes nothing any more, so what comes is thrown away.
    broken: bool,
}

impl Outflow {
    /// A stream whose bytes are written to `to`.
    pub(super) fn new(to: BorrowedFd) -> Self {
        let is_file = fstat(to).is_ok_and(|stat| FileType::from_raw_mode(stat.st_mode) == FileType::RegularFile);
        Self { queue: Queue::default(), piece: if is_file { READ } else { PIECE }, received: 0, broken: false }
    }

    /// Whether there is room for a read.
    pub(super) fn has_room(&self) -> bool {
        self.waiting() < LIMIT
    }

    /// Whether something waits to be written.
    pub(super) fn is_waiting(&self) -> bool {
        self.waiting() > 0
    }

    /// Bytes that wait to be written.
    pub(super) fn waiting(&self) -> usize {
        self.queue.waiting().len()
    }

    /// Adds bytes to be written that came otherwise than by [`Self::pull`].
    pub(super) fn take(&mut self, bytes: &[u8]) {
        self.queue.bytes.extend_from_slice(bytes);
    }

    /// Bytes that came from the guest.
    pub(super) fn received(&self) -> u64 {
        self.received
    }

    /// Reads what the guest sent. False when the guest is gone.
    pub(super) fn pull(&mut self, mut from: &UnixStream) -> bool {
        let before = self.queue.bytes.len();
        self.queue.bytes.resize(before + READ, 0);
        let result = from.read(&mut self.queue.bytes[before..]);
        let count = *result.as_ref().unwrap_or(&0);
        self.queue.bytes.truncate(if self.broken { before } else { before + count });
        self.received += count as u64;
        match result {
            Ok(count) => count > 0,
            Err(error) => is_wait(&error),
        }
    }

    /// Writes once, after poll said that `to` takes bytes. An error, after which the rest is thrown away, once: its reader went away
    /// (EPIPE), or it cannot take them.
    pub(super) fn push(&mut self, to: BorrowedFd) -> io::Result<()> {
        let waiting = self.queue.waiting();
        match rustix::io::write(to, &waiting[..waiting.len().min(self.piece)]).map_err(io::Error::from) {
            Ok(count) => self.queue.written(count),
            Err(error) if is_wait(&error) => {}
            Err(error) => {
                self.broken = true;
                self.queue = Queue::default();
                return Err(error);
            }
        }
        Ok(())
    }
}

/// The program's input.
#[derive(Debug)]
pub(super) struct Inflow {
    queue: Queue,
    total: u64,
    /// How many bytes of its input the program is known to have read.
    taken: u64,
    bounded: bool,
    ended: bool,
}

/// Whether bytes that were read from this file can be given back to it.
pub(super) fn takes_back(from: BorrowedFd) -> bool {
    fstat(from).is_ok_and(|stat| FileType::from_raw_mode(stat.st_mode) == FileType::RegularFile)
        && seek(from, SeekFrom::Current(0)).is_ok()
}

/// Gives back so many bytes, the last that were read: they belong to whoever reads next.
pub(super) fn give_back(from: BorrowedFd, bytes: u64) {
    let left = i64::try_from(bytes).unwrap_or(0);
    if left > 0 && takes_back(from) {
        let _ = seek(from, SeekFrom::Current(-left));
    }
}

impl Inflow {
    /// An input. If it is `bounded`, no more than [`AHEAD`] bytes are read ahead of the program.
    pub(super) fn new(bounded: bool) -> Self {
        Self { queue: Queue::default(), total: 0, taken: 0, bounded, ended: false }
    }

    /// Whether more can be read.
    pub(super) fn has_room(&self) -> bool {
        !self.ended && !self.is_waiting() && self.most() > 0
    }

    fn most(&self) -> usize {
        let ahead = (self.taken + AHEAD).saturating_sub(self.total);
        if self.bounded { usize::try_from(ahead).unwrap_or(READ).min(READ) } else { READ }
    }

    /// Notes that the program has read so many bytes.
    pub(super) fn taken(&mut self, bytes: u64) {
        self.taken = bytes.clamp(self.taken, self.total);
    }

    /// Gives back what the program is not known to have read.
    pub(super) fn give_back(&self, from: BorrowedFd) {
        // A pipe takes nothing back; for that reason only little was read ahead of its program (`bounded`).
        give_back(from, self.total - self.taken);
    }

    /// Whether something waits to be sent.
    pub(super) fn is_waiting(&self) -> bool {
        !self.queue.waiting().is_empty()
    }

    /// Reads once, after poll said that something is there, and gives what came. `None` at the end, with the total.
    pub(super) fn pull(&mut self, from: BorrowedFd) -> Result<&[u8], u64> {
        let before = self.queue.bytes.len();
        self.queue.bytes.resize(before + self.most(), 0);
        let result = rustix::io::read(from, &mut self.queue.bytes[before..]);
        let count = result.unwrap_or(0);
        self.queue.bytes.truncate(before + count);
        self.total += count as u64;
        match result {
            Err(error) if is_wait(&error.into()) => Ok(&[]),
            // A terminal that hung up gives an error: that is an end too.
            Ok(0) | Err(_) => {
                self.ended = true;
                Err(self.total)
            }
            Ok(_) => Ok(&self.queue.bytes[before..]),
        }
    }

    /// Sends what waits. False when the guest is gone.
    pub(super) fn push(&mut self, mut to: &UnixStream) -> bool {
        match to.write(self.queue.waiting()) {
            Ok(count) => self.queue.written(count),
            Err(error) => return is_wait(&error),
        }
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::fd::AsFd;

    fn pair() -> (UnixStream, UnixStream) {
        let (a, b) = UnixStream::pair().unwrap();
        a.set_nonblocking(true).unwrap();
        b.set_nonblocking(true).unwrap();
        (a, b)
    }

    #[test]
    fn bytes_pass_unchanged_and_are_counted() {
        let (mut guest, quiz) = pair();
        let (reader, writer) = rustix::pipe::pipe().unwrap();
        let mut flow = Outflow::new(writer.as_fd());
        let sent: Vec<u8> = (0..100_000_u32).map(|n| n.to_le_bytes()[0]).collect();
        let mut got = Vec::new();
        guest.write_all(&sent).unwrap();
        assert!(flow.pull(&quiz));
        while flow.is_waiting() {
            flow.push(writer.as_fd()).unwrap();
            let mut piece = [0; PIECE];
            let count = rustix::io::read(&reader, &mut piece).unwrap();
            got.extend_from_slice(&piece[..count]);
        }
        assert_eq!((flow.received(), got == sent), (100_000, true));
        assert!(flow.pull(&quiz), "nothing there is no end");
        drop(guest);
        assert!(!flow.pull(&quiz));
    }

    #[test]
    fn a_reader_that_went_away_is_told_once_and_the_rest_is_dropped() {
        let (mut guest, quiz) = pair();
        let (reader, writer) = rustix::pipe::pipe().unwrap();
        let mut flow = Outflow::new(writer.as_fd());
        drop(reader);
        guest.write_all(b"hello").unwrap();
        flow.pull(&quiz);
        assert_eq!(flow.push(writer.as_fd()).unwrap_err().kind(), io::ErrorKind::BrokenPipe);
        guest.write_all(b"more").unwrap();
        flow.pull(&quiz);
        assert!(!flow.is_waiting());
        assert_eq!(flow.received(), 9);
    }

    #[test]
    fn input_ends_with_its_total() {
        let (quiz, mut guest) = pair();
        let (reader, writer) = rustix::pipe::pipe().unwrap();
        let mut flow = Inflow::new(false);
        rustix::io::write(&writer, b"abc").unwrap();
        assert_eq!(flow.pull(reader.as_fd()), Ok(&b"abc"[..]));
        assert!(flow.is_waiting() && flow.push(&quiz) && !flow.is_waiting());
        drop(writer);
        assert_eq!(flow.pull(reader.as_fd()), Err(3));
        assert!(!flow.has_room());
        let mut got = [0; 8];
        assert_eq!(guest.read(&mut got).unwrap(), 3);
    }

    #[test]
    fn of_a_file_what_was_not_taken_is_given_back() {
        let (quiz, _guest) = pair();
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(b"one\ntwo\nthree\n").unwrap();
        rustix::fs::seek(&file, SeekFrom::Start(4)).unwrap();
        let mut flow = Inflow::new(!takes_back(file.as_fd()));
        assert_eq!(flow.pull(file.as_fd()), Ok(&b"two\nthree\n"[..]));
        assert_eq!(flow.pull(file.as_fd()), Err(10));
        assert!(flow.push(&quiz));
        flow.taken(4);
        flow.give_back(file.as_fd());
        assert_eq!(rustix::fs::seek(&file, SeekFrom::Current(0)).unwrap(), 8);
        // The program read all of it: nothing is given back.
        flow.taken(10);
        flow.give_back(file.as_fd());
        assert_eq!(rustix::fs::seek(&file, SeekFrom::Current(0)).unwrap(), 8);
    }

    #[test]
    fn of_a_pipe_little_is_read_ahead() {
        let (quiz, mut guest) = pair();
        let (reader, writer) = rustix::pipe::pipe().unwrap();
        rustix::pipe::fcntl_setpipe_size(&writer, 1 << 20).unwrap();
        assert!(!takes_back(reader.as_fd()));
        let mut flow = Inflow::new(true);
        let mut written = rustix::io::write(&writer, &vec![7; 200_000]).unwrap();
        let mut read = 0;
        for taken in [0, 5, 1000] {
            flow.taken(taken);
            while flow.has_room() {
                read += u64::try_from(flow.pull(reader.as_fd()).unwrap().len()).unwrap();
                while flow.is_waiting() && flow.push(&quiz) {
                    let _ = guest.read(&mut [0; 4096]);
                }
            }
            assert_eq!(read, taken + AHEAD);
        }
        written -= usize::try_from(read).unwrap();
        assert_eq!(rustix::io::ioctl_fionread(&reader).unwrap(), u64::try_from(written).unwrap());
    }
}
