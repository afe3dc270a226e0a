//! A debugger at a machine that runs: qemu's gdb stub, started when somebody wants it, at the socket `gdb` in the run's folder.
//!
//! Any machine can have one, restored ones too, since qemu is asked for it by its monitor. While a debugger holds the machine, it stands
//! still, and none of its time limits counts (`limits`). Starts no debugger. <https://qemu.readthedocs.io/en/v7.2.0/system/gdb.html>

use super::folder::{GDB, at_socket, listen, name};
use super::monitor::{Answer, GREETING, Monitor};
use super::running::is_up;
use crate::error::{Error, Result, cannot};
use serde_json::{Value, json};
use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::{AsFd, AsRawFd};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// What qemu calls the stub's end of the socket; `gdb` is its own name for that of an argument `-gdb`.
const NAME: &str = "quiz-gdb";
/// Two packets of gdb's: `?` asks why the machine stopped, and makes qemu forget all breakpoints; `D` detaches, so that the machine goes on. A
/// debugger that was killed has sent neither. The machine is process 1; without that number a stub that spoke of processes before refuses.
const FORGET: &[u8] = b"$?#3f";
const DETACH: &[u8] = b"$D;1#b0";
/// The stub answers within this time.
const ANSWER: Duration = Duration::from_secs(5);

/// A machine to which a debugger can connect.
#[derive(Debug)]
pub struct Stub {
    place: PathBuf,
    /// Held open for the socket's path: see [`Self::socket`].
    folder: File,
    /// What qemu said of the machine's state before anybody held it.
    state: String,
}

impl Stub {
    /// Has the qemu of the machine in that folder listen for a debugger.
    ///
    /// # Errors
    /// The machine is gone, or somebody else is at its monitor, or at its stub; qemu refuses.
    pub fn listen(place: &Path) -> Result<Self> {
        let mut monitor = Monitor::open(place, GREETING)?;
        let state = state(&mut monitor)?;
        let chardevs = must(monitor.ask(r#"{"execute":"query-chardev"}"#, &mut |_| Ok(()))?)?;
        let own = chardevs.as_array().into_iter().flatten().find(|one| one["label"] == NAME);
        match own.map(|own| own["filename"].as_str().is_some_and(|name| name.starts_with("disconnected"))) {
            Some(true) => {}
            Some(false) => {
                return Err(Error::input(format!("somebody looks at run {} with a debugger already", name(place)))
                    .hint("a machine has room for one debugger; `quit` in the other gdb makes way"));
            }
            None => start(&mut monitor, place)?,
        }
        let folder = File::open(place).map_err(|e| cannot("open", place, e))?;
        Ok(Self { place: place.to_owned(), folder, state })
    }

    /// Where it listens, for a process that is started by this one and while this lives: the path of a run may be longer than what a
    /// socket's address holds (unix(7)).
    #[must_use]
    pub fn socket(&self) -> PathBuf {
        PathBuf::from(format!("/proc/{}/fd/{}/{GDB}", std::process::id(), self.folder.as_raw_fd()))
    }

    /// Nothing of the guest has run yet: its kernel has no addresses.
    #[must_use]
    pub fn is_before_the_first_instruction(&self) -> bool {
        self.state == "prelaunch"
    }

    /// Tidies up after a debugger that is gone: forgets its breakpoints, and lets the machine go on. Says whether the machine stood still.
    ///
    /// # Errors
    /// The machine does not answer.
    pub fn leave(self) -> Result<bool> {
        let mut monitor = match Monitor::open(&self.place, GREETING) {
            Ok(monitor) => monitor,
            // The machine has ended meanwhile.
            Err(_) if !is_up(&self.place) => return Ok(false),
            Err(error) => {
                return Err(error.hint("the machine may still be stopped: `cont` in `quiz monitor` lets it go on"));
            }
        };
        let is_left = self.state == "running" && ["paused", "debug"].contains(&state(&mut monitor)?.as_str());
        match self.forget() {
            Err(_) if !is_up(&self.place) => Ok(false),
            done => done.map(|()| is_left).map_err(|e| cannot("talk to qemu at", &self.place.join(GDB), e)),
        }
    }

    fn forget(&self) -> std::io::Result<()> {
        let mut stub = at_socket(&self.place, GDB, |path| UnixStream::connect(path))?;
        stub.set_read_timeout(Some(ANSWER))?;
        // The stub may also tell, before or between its answers, that the machine stopped because somebody came.
        for (packet, is_answer) in [(FORGET, b"$T"), (DETACH, b"$O")] {
            stub.write_all(packet)?;
            while !answer(&mut stub)?.starts_with(is_answer) {}
        }
        Ok(())
    }
}

/// The stub's next packet: `$`, what it says, `#` and two digits. No acknowledgement is sent: any byte that is not expected stops a machine that
/// goes on, and the next packet is acknowledgement enough.
fn answer(stub: &mut UnixStream) -> std::io::Result<Vec<u8>> {
    let (mut answer, mut byte) = (Vec::new(), [0]);
    while answer.iter().rev().nth(2) != Some(&b'#') {
        stub.read_exact(&mut byte)?;
        if byte != *b"+" || !answer.is_empty() {
            answer.push(byte[0]);
        }
    }
    match answer.starts_with(b"$E") {
        true => Err(std::io::Error::other(format!("unexpected answer: {}", String::from_utf8_lossy(&answer)))),
        false => Ok(answer),
    }
}

fn state(monitor: &mut Monitor) -> Result<String> {
    let status = must(monitor.ask(r#"{"execute":"query-status"}"#, &mut |_| Ok(()))?)?;
    Ok(status["status"].as_str().unwrap_or_default().to_owned())
}

/// Gives qemu a socket that listens, and starts its stub on it.
fn start(monitor: &mut Monitor, place: &Path) -> Result<()> {
    let socket = listen(place, GDB).map_err(|e| cannot("listen at", &place.join(GDB), e))?;
    let named = json!({"execute": "getfd", "arguments": {"fdname": NAME}}).to_string();
    must(monitor.ask_with(&named, socket.as_fd())?)?;
    let address = json!({"type": "fd", "data": {"str": NAME}});
    let backend = json!({"type": "socket", "data": {"addr": address, "server": true, "wait": false}});
    let add = json!({"execute": "chardev-add", "arguments": {"id": NAME, "backend": backend}}).to_string();
    must(monitor.ask(&add, &mut |_| Ok(()))?)?;
    // qemu says that it waits for gdb, or in words of its own that it cannot.
    let said = must(monitor.human(&format!("gdbserver chardev:{NAME}"))?)?;
    match said.as_str() {
        Some(said) if said.contains("Could not") => {
            let remove = json!({"execute": "chardev-remove", "arguments": {"id": NAME}}).to_string();
            let _ = monitor.ask(&remove, &mut |_| Ok(()));
            Err(Error::boot(format!("qemu cannot start its gdb stub: {}", said.trim())))
        }
        _ => Ok(()),
    }
}

fn must(answer: Answer) -> Result<Value> {
    match answer {
        Answer::Returned(value) => Ok(value),
        Answer::Refused(why) => Err(Error::boot(format!("qemu has no gdb stub for this machine: {why}"))),
        Answer::Ended => {
            Err(Error::boot("the machine ended")
                .hint("`quiz wait` says how it ended, `quiz logs` what its kernel said"))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::folder::MONITOR;
    use super::*;
    use std::io::{BufRead, BufReader};
    use std::os::unix::net::UnixListener;
    use std::thread::JoinHandle;

    /// A run whose qemu gives these answers, one connection after the other; what it was asked comes in the end.
    fn run(connections: Vec<Vec<&'static str>>) -> (tempfile::TempDir, File, JoinHandle<Vec<String>>) {
        let run = tempfile::tempdir().unwrap();
        let lock = File::create(run.path().join("lock")).unwrap();
        lock.lock().unwrap();
        let listener = UnixListener::bind(run.path().join(MONITOR)).unwrap();
        let qemu = std::thread::spawn(move || {
            let mut asked = Vec::new();
            for answers in connections {
                let (mut socket, _) = listener.accept().unwrap();
                socket.write_all(b"{\"QMP\": {}}\r\n").unwrap();
                let mut lines = BufReader::new(socket.try_clone().unwrap()).lines();
                lines.next().unwrap().unwrap();
                socket.write_all(b"{\"return\": {}}\r\n").unwrap();
                for answer in answers {
                    asked.push(lines.next().unwrap().unwrap());
                    socket.write_all(answer.as_bytes()).unwrap();
                    socket.write_all(b"\r\n").unwrap();
                }
            }
            asked
        });
        (run, lock, qemu)
    }

    const RUNS: &str = r#"{"return": {"status": "running"}}"#;
    const DONE: &str = r#"{"return": {}}"#;
    const NONE: &str = r#"{"return": [{"label": "console", "filename": "unix"}]}"#;

    #[test]
    fn qemu_is_asked_for_a_stub_once_and_a_machine_that_was_left_goes_on() {
        let held = r#"{"return": {"status": "debug"}}"#;
        let waits = r#"{"return": "Waiting for gdb connection on device 'chardev:quiz-gdb'\r\n"}"#;
        let (run, _lock, qemu) = run(vec![vec![RUNS, NONE, DONE, DONE, waits], vec![held]]);
        let stub = Stub::listen(run.path()).unwrap();
        assert!(stub.socket().exists() && !stub.is_before_the_first_instruction());
        // The stub, as qemu has it.
        std::fs::remove_file(run.path().join(GDB)).unwrap();
        let listener = UnixListener::bind(run.path().join(GDB)).unwrap();
        let asked = std::thread::spawn(move || {
            let (mut gdb, mut asked) = (listener.accept().unwrap().0, Vec::new());
            for (length, answers) in [(5, &[&b"+$T05thread:01;#07"[..]][..]), (7, &[b"$T05thread:01;#07", b"+$OK#9a"])]
            {
                let mut packet = vec![0; length];
                gdb.read_exact(&mut packet).unwrap();
                answers.iter().for_each(|answer| gdb.write_all(answer).unwrap());
                asked.push(String::from_utf8(packet).unwrap());
            }
            assert_eq!(gdb.read(&mut [0]).unwrap(), 0, "a byte more would stop it");
            asked
        });
        assert!(stub.leave().unwrap());
        assert_eq!(asked.join().unwrap(), ["$?#3f", "$D;1#b0"]);
        let asked = qemu.join().unwrap();
        for (line, word) in asked.iter().zip([
            "query-status",
            "query-chardev",
            "getfd",
            "\"server\":true",
            "gdbserver chardev:quiz-gdb",
            "query-status",
        ]) {
            assert!(line.contains(word), "{word} in {line}");
        }
    }

    #[test]
    fn one_debugger_at_a_time() {
        let free = r#"{"return": [{"label": "quiz-gdb", "filename": "disconnected:fd:gdb,server=on"}]}"#;
        let taken = r#"{"return": [{"label": "quiz-gdb", "filename": "unix:/run/gdb,server=on"}]}"#;
        let before = r#"{"return": {"status": "prelaunch"}}"#;
        let (run, _lock, qemu) = run(vec![vec![before, free], vec![RUNS, taken]]);
        let stub = Stub::listen(run.path()).unwrap();
        assert!(stub.is_before_the_first_instruction());
        let error = Stub::listen(run.path()).unwrap_err();
        assert!(error.to_string().contains("with a debugger already"), "{error}");
        qemu.join().unwrap();
    }

    #[test]
    fn what_qemu_refuses_is_told_in_its_words() {
        let no = r#"{"error": {"desc": "File descriptor named 'quiz-gdb' not found"}}"#;
        let (run, _lock, qemu) = run(vec![vec![RUNS, NONE, DONE, no]]);
        let error = Stub::listen(run.path()).unwrap_err().to_string();
        assert!(error.ends_with("File descriptor named 'quiz-gdb' not found"), "{error}");
        qemu.join().unwrap();
    }
}
