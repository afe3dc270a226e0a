//! The host's end of a channel: a socket in the run's folder that leads to a program of the guest, for one client at a time.
//!
//! The guest's end is recipes/agent/serve.c. A client first sends a mark of bytes that no one else uses. It comes back when the
//! program starts, so what a client before left behind is skipped, and again when the program has ended, because the socket
//! stays open then. Knows nothing of what is spoken.

use std::fs::{self, File, TryLockError};
use std::io::{ErrorKind, Read, Write};
use std::net::Shutdown;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant, SystemTime};

use rustix::event::{PollFd, PollFlags, Timespec, poll};

use super::folder::{at_socket, is_live, number};
use crate::error::{Error, Result, cannot};

const MARK: usize = 16;

/// The guest may take this long to answer the first mark; each further try waits twice as long. A guest that has not noticed yet that
/// the client before is gone passes the mark on as bytes of that client.
const PATIENCE: Duration = Duration::from_millis(250);

/// The rest of a mark comes within this time, as the guest writes it at once. Bytes that only look like the beginning of a mark are passed
/// on after it: what follows them may itself wait for them to arrive.
const CUT: Duration = Duration::from_millis(20);

/// The pause between two tries, in which the guest notices that the client before is gone. Doubled as well, up to [`PAUSE_MAX`]: a guest
/// that has no pause to notice it in takes each mark for bytes of that client.
const PAUSE: Duration = Duration::from_millis(100);
const PAUSE_MAX: Duration = Duration::from_secs(1);

/// A client that is done with a channel still holds it for a moment: ssh does not wait for the process that carries its connection.
const LET_GO: Duration = Duration::from_secs(1);

/// The time between two looks whether a channel has become free.
const LOOK_AGAIN: Duration = Duration::from_millis(20);

/// A channel that nobody else has, while this lives.
#[derive(Debug)]
pub struct Channel<'a> {
    run: &'a Path,
    name: String,
    lock: File,
}

/// Takes one of the channels `<name>.0`, `<name>.1`, … of a run: of those that are free the one that was used the longest time
/// ago, since the guest may not be done yet with who had the others. Waits up to a second for one that becomes free.
///
/// # Errors
/// The run has no such channels, or all of them are busy.
pub fn take<'a>(run: &'a Path, name: &str) -> Result<Channel<'a>> {
    let names = (0..).map(|n| format!("{name}.{n}")).take_while(|name| run.join(name).exists());
    let names: Vec<_> = names.collect();
    if names.is_empty() {
        return Err(Error::input(format!("run {} has no channel {name}", number(run))));
    }
    let start = Instant::now();
    loop {
        if let Some(channel) = take_free(run, &names)? {
            return Ok(channel);
        }
        if start.elapsed() > LET_GO {
            let (all, run) = (names.len(), number(run));
            return Err(Error::boot(format!("all {all} channels {name} of run {run} are busy")));
        }
        std::thread::sleep(LOOK_AGAIN);
    }
}

fn take_free<'a>(run: &'a Path, names: &[String]) -> Result<Option<Channel<'a>>> {
    for name in by_last_use(run, names) {
        let path = lock_path(run, name);
        let lock = crate::host::private_file().append(true).open(&path).map_err(|e| cannot("open", &path, e))?;
        match lock.try_lock() {
            Ok(()) => return Ok(Some(Channel { run, name: name.to_owned(), lock })),
            Err(TryLockError::WouldBlock) => {}
            Err(TryLockError::Error(e)) => return Err(cannot("lock", &path, e)),
        }
    }
    Ok(None)
}

/// Sorts the channels by their last use: the one that was used last comes last.
fn by_last_use<'a>(run: &Path, names: &'a [String]) -> Vec<&'a str> {
    let used_at = |name: &String| fs::metadata(lock_path(run, name)).and_then(|meta| meta.modified()).ok();
    let mut channels: Vec<_> = names.iter().map(|name| (used_at(name), name.as_str())).collect();
    channels.sort();
    channels.into_iter().map(|(_, name)| name).collect()
}

fn lock_path(run: &Path, channel: &str) -> PathBuf {
    run.join(format!("{channel}.lock"))
}

impl Channel<'_> {
    /// Moves bytes between the program at the guest's end and `input` and `output` until the program or `input` ends. A guest
    /// that still boots is waited for.
    ///
    /// # Errors
    /// The run is over before the program starts.
    pub fn relay(&self, mut input: impl Read + Send + 'static, mut output: impl Write) -> Result<()> {
        self.note_use()?;
        let (socket, mut marked) = self.open()?;
        let mut to_guest = socket.try_clone().map_err(|e| cannot("use", &self.run.join(&self.name), e))?;
        // This thread is not joined: nothing ends it as long as there is nothing to read from `input`.
        std::thread::spawn(move || {
            let _ = std::io::copy(&mut input, &mut to_guest);
            let _ = to_guest.shutdown(Shutdown::Write);
        });
        let (mut bytes, mut count) = ([0; 64 << 10], 0);
        loop {
            let mut before = marked.feed(&bytes[..count]);
            if !marked.seen && !marked.held.is_empty() && !is_readable(&socket, CUT) {
                before.append(&mut marked.held);
            }
            if output.write_all(&before).and_then(|()| output.flush()).is_err() || marked.seen {
                break;
            }
            count = match (&socket).read(&mut bytes) {
                Err(e) if e.kind() == ErrorKind::Interrupted => 0,
                Ok(0) | Err(_) => break,
                Ok(count) => count,
            };
        }
        // Closed before the next client may take the channel, although the thread above still holds the socket.
        let _ = socket.shutdown(Shutdown::Both);
        Ok(())
    }

    /// Notes that the channel was used just now, so that the next client takes another one, if there is one.
    fn note_use(&self) -> Result<()> {
        let noted = self.lock.set_modified(SystemTime::now());
        noted.map_err(|e| cannot("write", &lock_path(self.run, &self.name), e))
    }

    /// Connects until the guest sends the mark back; what came behind it is in the [`Marked`].
    fn open(&self) -> Result<(UnixStream, Marked)> {
        let (mut patience, mut pause) = (PATIENCE, PAUSE);
        loop {
            let socket = at_socket(self.run, &self.name, |path| UnixStream::connect(path)).map_err(|e| self.over(e))?;
            let mut marked = Marked::new().map_err(|e| cannot("read", Path::new("/dev/urandom"), e))?;
            if answers(&socket, &mut marked, patience).is_ok() {
                marked.seen = false;
                return Ok((socket, marked));
            }
            drop(socket);
            if !is_live(self.run) {
                return Err(self.over(ErrorKind::ConnectionReset.into()));
            }
            std::thread::sleep(pause);
            (patience, pause) = (patience * 2, PAUSE_MAX.min(pause * 2));
        }
    }

    fn over(&self, why: std::io::Error) -> Error {
        Error::boot(format!("run {} is over", number(self.run))).because(why)
    }
}

fn is_readable(socket: &UnixStream, within: Duration) -> bool {
    let mut wanted = [PollFd::new(socket, PollFlags::IN)];
    Timespec::try_from(within).is_ok_and(|within| poll(&mut wanted, Some(&within)).is_ok_and(|ready| ready > 0))
}

/// Sends the mark and waits for it to come back.
fn answers(mut socket: &UnixStream, marked: &mut Marked, patience: Duration) -> std::io::Result<()> {
    socket.set_read_timeout(Some(patience))?;
    socket.write_all(&marked.mark)?;
    let mut bytes = [0; 64 << 10];
    while !marked.seen {
        let count = socket.read(&mut bytes)?;
        if count == 0 {
            return Err(ErrorKind::UnexpectedEof.into());
        }
        marked.feed(&bytes[..count]);
    }
    socket.set_read_timeout(None)
}

/// Finds the mark among bytes that come in pieces.
#[derive(Debug)]
struct Marked {
    mark: [u8; MARK],
    /// What may be the mark's beginning, or came behind it.
    held: Vec<u8>,
    seen: bool,
}

impl Marked {
    fn new() -> std::io::Result<Self> {
        Ok(Self { mark: crate::host::random()?, held: Vec::new(), seen: false })
    }

    /// Takes more bytes, and gives those that lie before the mark for certain.
    fn feed(&mut self, bytes: &[u8]) -> Vec<u8> {
        self.held.extend(bytes);
        let at = self.held.windows(MARK).position(|window| window == self.mark);
        self.seen = at.is_some();
        let open = || (1..MARK).rev().find(|n| self.held.ends_with(&self.mark[..*n])).unwrap_or(0);
        let end = at.unwrap_or_else(|| self.held.len() - open());
        let before = self.held.drain(..end).collect();
        if self.seen {
            self.held.drain(..MARK);
        }
        before
    }
}

#[cfg(test)]
mod tests {
    use super::super::folder::{Retention, RunFolder};
    use super::*;

    #[test]
    fn a_mark_is_found_in_pieces_and_what_looks_like_one_passes() {
        let mut marked = Marked { mark: *b"0123456789abcdef", held: Vec::new(), seen: false };
        let mut before = Vec::new();
        for byte in b"one 01234 0123456789ab 0123456789abcdef two" {
            before.extend(marked.feed(&[*byte]));
            if marked.seen {
                break;
            }
        }
        assert_eq!((before.as_slice(), marked.seen), (&b"one 01234 0123456789ab "[..], true));
        assert_eq!((marked.feed(b" two"), marked.seen), (b" two".to_vec(), false));
        assert_eq!(marked.feed(b"0123456789abcdef0123456789abcdef"), b"");
        assert_eq!((marked.feed(b""), marked.seen), (vec![], true), "what came behind a mark is kept");
    }

    #[test]
    fn each_client_has_a_channel_of_its_own_until_all_are_busy() {
        let base = tempfile::tempdir().unwrap();
        let folder = RunFolder::create(base.path(), Retention::ALL).unwrap();
        assert_eq!(take(folder.path(), "ssh").unwrap_err().to_string(), "run 1 has no channel ssh");
        let _sockets = [folder.listen("ssh.0").unwrap(), folder.listen("ssh.1").unwrap()];
        for (name, seconds) in [("ssh.0", 2), ("ssh.1", 1)] {
            let lock = File::create(lock_path(folder.path(), name)).unwrap();
            lock.set_modified(SystemTime::UNIX_EPOCH + Duration::from_secs(seconds)).unwrap();
        }
        let one = take(folder.path(), "ssh").unwrap();
        let two = take(folder.path(), "ssh").unwrap();
        assert_eq!([one.name.as_str(), two.name.as_str()], ["ssh.1", "ssh.0"], "the one that was used last comes last");
        assert_eq!(take(folder.path(), "ssh").unwrap_err().to_string(), "all 2 channels ssh of run 1 are busy");
        // A client that is over lets go of its channel a moment later.
        std::thread::scope(|scope| {
            let next = scope.spawn(|| take(folder.path(), "ssh").unwrap().name);
            std::thread::sleep(Duration::from_millis(50));
            drop(two);
            assert_eq!(next.join().unwrap(), "ssh.0");
        });
        let names = ["ssh.0".to_owned(), "ssh.1".to_owned()];
        for used in ["ssh.0", "ssh.1", "ssh.0"] {
            let lock = File::open(lock_path(folder.path(), used)).unwrap();
            Channel { run: folder.path(), name: used.to_owned(), lock }.note_use().unwrap();
            assert_eq!(by_last_use(folder.path(), &names)[1], used);
        }
    }

    /// Plays the guest: one mark is lost to a program that still runs, bytes of that one lie before the answer to the next,
    /// and what the program says looks like the beginning of a mark.
    #[test]
    fn the_programs_bytes_come_at_once_without_what_was_there_before_and_end_with_it() {
        let base = tempfile::tempdir().unwrap();
        let folder = RunFolder::create(base.path(), Retention::ALL).unwrap();
        let listener = folder.listen("x.0").unwrap();
        let (input, mut to_input) = std::io::pipe().unwrap();
        let (mut from_output, output) = std::io::pipe().unwrap();
        let guest = std::thread::spawn(move || {
            let (mut mark, mut begun, mut word) = ([0; MARK], [0; 6], [0; 4]);
            let (mut lost, _) = listener.accept().unwrap();
            lost.write_all(b"old").unwrap();
            drop(lost);
            let (mut client, _) = listener.accept().unwrap();
            client.read_exact(&mut mark).unwrap();
            client.write_all(&[b"older", &mark[..], b"hel", &mark[..3]].concat()).unwrap();
            from_output.read_exact(&mut begun).unwrap();
            assert_eq!(begun, [&b"hel"[..], &mark[..3]].concat()[..]);
            to_input.write_all(b"word").unwrap();
            client.read_exact(&mut word).unwrap();
            client.write_all(&[&word, &mark[..], b"never"].concat()).unwrap();
            let mut rest = String::new();
            from_output.read_to_string(&mut rest).unwrap();
            rest
        });
        take(folder.path(), "x").unwrap().relay(input, output).unwrap();
        assert_eq!(guest.join().unwrap(), "word");
    }
}
