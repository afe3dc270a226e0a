//! The monitor of a machine that runs: qemu's own control protocol (QMP) on the socket `monitor` in the run's folder, and by it the commands that
//! qemu has for people (HMP).
//!
//! It is not the channel by which quiz itself controls the machine: qemu has one more. Decides nothing.
//! <https://qemu.readthedocs.io/en/v7.2.0/interop/qemu-qmp-ref.html>

use super::folder::{MONITOR, at_socket, name};
use super::passed::send_with;
use super::qmp;
use super::running::{is_up, not_live};
use crate::error::{Error, Result, cannot};
use serde_json::Value;
use std::io::{BufRead, BufReader, ErrorKind, Write};
use std::os::fd::BorrowedFd;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Duration;

/// qemu greets whoever comes within this time, or somebody else is there: it listens to one at a time.
pub const GREETING: Duration = Duration::from_secs(10);

/// What qemu says to a command.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Answer {
    /// It was done: what it returns.
    Returned(Value),
    /// It was not, and why.
    Refused(String),
    /// The machine ended meanwhile.
    Ended,
}

/// A connection to a machine's monitor. Commands have no time limit.
#[derive(Debug)]
pub struct Monitor(BufReader<UnixStream>);

impl Monitor {
    /// Connects to the monitor of the machine in that folder, which has `patience` to answer: [`GREETING`].
    ///
    /// # Errors
    /// The machine is gone, or has no monitor; somebody else is there.
    pub fn open(place: &Path, patience: Duration) -> Result<Self> {
        let over = |e: std::io::Error| match is_up(place) {
            true => cannot("connect to", &place.join(MONITOR), e),
            false => not_live(place),
        };
        let socket = at_socket(place, MONITOR, |path| UnixStream::connect(path)).map_err(over)?;
        socket.set_read_timeout(Some(patience)).map_err(over)?;
        let mut monitor = Self(BufReader::new(socket));
        let greeted = monitor.line().and_then(|_| monitor.send(qmp::HELLO)).and_then(|()| monitor.line());
        greeted.map_err(|e| {
            Error::boot(format!("the monitor of run {} does not answer", name(place)))
                .because(e)
                .hint("only one at a time can use it: is a `quiz monitor` open elsewhere?")
        })?;
        monitor.0.get_ref().set_read_timeout(None).map_err(over)?;
        Ok(monitor)
    }

    /// Sends one of qemu's commands for people, and gives what it says.
    ///
    /// # Errors
    /// The socket cannot be used.
    pub fn human(&mut self, command: &str) -> Result<Answer> {
        self.ask(qmp::human(command).trim_end(), &mut |_| Ok(()))
    }

    /// Sends a command of the protocol, a JSON object in one line, and gives its answer. `events`: what qemu says before that, as it comes.
    ///
    /// # Errors
    /// The socket cannot be used; `events` fails.
    pub fn ask(&mut self, command: &str, events: &mut dyn FnMut(&str) -> Result<()>) -> Result<Answer> {
        if let Err(error) = self.send(command.as_bytes()).and_then(|()| self.send(b"\n")) {
            return over(error);
        }
        self.answer(events)
    }

    /// As [`Self::ask`]; an open file comes along, for a command that takes one.
    ///
    /// # Errors
    /// The socket cannot be used.
    pub(super) fn ask_with(&mut self, command: &str, file: BorrowedFd<'_>) -> Result<Answer> {
        match send_with(self.0.get_ref(), format!("{command}\n").as_bytes(), file) {
            Ok(()) => self.answer(&mut |_| Ok(())),
            Err(error) => over(error),
        }
    }

    fn answer(&mut self, events: &mut dyn FnMut(&str) -> Result<()>) -> Result<Answer> {
        loop {
            let line = match self.line() {
                Ok(line) => line,
                Err(error) => return over(error),
            };
            // A line that is no JSON goes on to `events` as it is: whoever gets it decides what it is.
            let said: Value = serde_json::from_str(&line).unwrap_or_default();
            if let Some(why) = said["error"]["desc"].as_str() {
                return Ok(Answer::Refused(why.to_owned()));
            }
            if let Some(returned) = said.get("return") {
                return Ok(Answer::Returned(returned.clone()));
            }
            events(&line)?;
        }
    }

    fn send(&mut self, bytes: &[u8]) -> std::io::Result<()> {
        self.0.get_mut().write_all(bytes)
    }

    /// The next line, without its end.
    fn line(&mut self) -> std::io::Result<String> {
        let mut line = String::new();
        match self.0.read_line(&mut line)? {
            0 => Err(ErrorKind::UnexpectedEof.into()),
            _ => Ok(line.trim_end().to_owned()),
        }
    }
}

/// The answer for a socket that fails: when qemu is gone, nobody is at the other end.
fn over(error: std::io::Error) -> Result<Answer> {
    match error.kind() {
        ErrorKind::UnexpectedEof | ErrorKind::BrokenPipe | ErrorKind::ConnectionReset => Ok(Answer::Ended),
        _ => Err(Error::boot("cannot talk to qemu").because(error)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs::File;
    use std::os::unix::net::UnixListener;

    /// A run that lives, and the socket of its monitor.
    fn run() -> (tempfile::TempDir, File, UnixListener) {
        let run = tempfile::tempdir().unwrap();
        let lock = File::create(run.path().join("lock")).unwrap();
        lock.lock().unwrap();
        let listener = UnixListener::bind(run.path().join(MONITOR)).unwrap();
        (run, lock, listener)
    }

    #[test]
    fn answers_are_told_from_events_and_refusals() {
        let (run, _lock, listener) = run();
        std::thread::scope(|scope| {
            scope.spawn(move || {
                let (mut socket, _) = listener.accept().unwrap();
                socket.write_all(b"{\"QMP\": {}}\r\n").unwrap();
                let mut lines = BufReader::new(socket.try_clone().unwrap()).lines();
                assert!(lines.next().unwrap().unwrap().contains("qmp_capabilities"));
                socket.write_all(b"{\"return\": {}}\r\n").unwrap();
                assert_eq!(lines.next().unwrap().unwrap(), "{\"execute\":\"stop\"}");
                socket.write_all(b"{\"event\": \"STOP\"}\r\n{\"return\": 5}\r\n").unwrap();
                assert!(lines.next().unwrap().unwrap().contains("\"command-line\":\"info x\""));
                socket.write_all(b"{\"error\": {\"desc\": \"no\"}}\r\n").unwrap();
            });
            let mut monitor = Monitor::open(run.path(), GREETING).unwrap();
            let mut events = Vec::new();
            let event = &mut |line: &str| {
                events.push(line.to_owned());
                Ok(())
            };
            let answer = monitor.ask("{\"execute\":\"stop\"}", event).unwrap();
            assert_eq!((answer, &events[..]), (Answer::Returned(5.into()), &["{\"event\": \"STOP\"}".to_owned()][..]));
            assert_eq!(monitor.human("info x").unwrap(), Answer::Refused("no".to_owned()));
            assert_eq!(monitor.human("info x").unwrap(), Answer::Ended);
        });
    }

    #[test]
    fn a_monitor_at_which_somebody_else_is_and_one_that_is_gone_are_told_apart() {
        let (run, lock, listener) = run();
        let open = || Monitor::open(run.path(), Duration::from_millis(50)).unwrap_err();
        let busy = open();
        assert!(busy.to_string().contains("does not answer"), "{busy}");
        assert!(busy.hints()[0].contains("one at a time"), "{:?}", busy.hints());
        drop(listener);
        let error = open().to_string();
        assert!(error.starts_with("cannot connect to "), "{error}");
        drop(lock);
        assert!(open().to_string().ends_with(" is over"));
    }
}
