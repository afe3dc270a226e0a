//! The user's terminal in raw mode, and a program that has it as its own.
//!
//! Knows nothing of what the program is.

use super::signals::Caught;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::pty::{OpenptFlags, grantpt, ioctl_tiocgptpeer, openpt, unlockpt};
use rustix::termios::{OptionalActions, Termios, Winsize, tcgetattr, tcgetwinsize, tcsetattr, tcsetwinsize};
use std::io::{self, Write};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::process::{Command, ExitStatus, Stdio};

/// Between two looks at the size of the user's terminal, in nanoseconds.
const LOOK: i64 = 200_000_000;
/// What a program for the whole screen does to a terminal when it ends: back from the alternate screen, the cursor, and plain letters
/// (<https://invisible-island.net/xterm/ctlseqs/ctlseqs.html>, `DECRST` 1049, `DECSET` 25, `SGR` 0).
const LEAVE: &[u8] = b"\x1b[?1049l\x1b[?25h\x1b[0m\r\n";

/// A terminal in raw mode; as it was before when this is dropped, also by a panic.
#[derive(Debug)]
pub struct Raw {
    terminal: OwnedFd,
    before: Termios,
}

impl Raw {
    /// Puts it into raw mode; `None` when `terminal` is no terminal.
    #[must_use]
    pub fn enter(terminal: BorrowedFd) -> Option<Self> {
        let before = tcgetattr(terminal).ok()?;
        let mut raw = before.clone();
        raw.make_raw();
        let terminal = terminal.try_clone_to_owned().ok()?;
        tcsetattr(&terminal, OptionalActions::Now, &raw).ok()?;
        Some(Self { terminal, before })
    }
}

impl Drop for Raw {
    fn drop(&mut self) {
        // Drain: what was written in raw mode is shown in raw mode.
        let _ = tcsetattr(&self.terminal, OptionalActions::Drain, &self.before);
    }
}

/// Runs a command on a terminal of its own that shows on the user's: what it does to its terminal, or types into it, does not reach the
/// user's shell. What it writes also goes to `log`. A signal that ends quiz ends the command first, and the terminal is the user's again.
///
/// # Errors
/// No terminal can be made, the command cannot be started, or the log cannot be written.
pub fn run(command: &mut Command, log: &mut dyn Write) -> io::Result<ExitStatus> {
    let (stdin, stdout) = (io::stdin(), io::stdout());
    let (master, own) = pair()?;
    let size = tcgetwinsize(&stdout)?;
    tcsetwinsize(&own, size)?;
    // If a signal comes, this ends quiz when it is dropped, after all else is put right.
    let caught = Caught::new()?;
    command.stdin(own.try_clone()?).stdout(own.try_clone()?).stderr(own);
    let spawned = command.spawn();
    // Its end of the terminal is its own alone: when all who have it are gone, so is the terminal.
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    let mut child = spawned?;
    let raw = Raw::enter(stdin.as_fd());
    let shown = show(&master, size, &caught, log);
    if !matches!(shown, Ok(TerminalEnd::ByItself)) {
        let _ = child.kill();
        // The program was killed, and could not put the terminal right itself.
        let _ = write_all(stdout.as_fd(), LEAVE);
    }
    drop(raw);
    let status = child.wait();
    shown.and(status)
}

/// How a program on a terminal of its own ended.
enum TerminalEnd {
    ByItself,
    /// A signal is to end it, and quiz.
    BySignal,
}

/// Shows the terminal of a program on the user's until one of them ends.
fn show(master: &OwnedFd, mut size: Winsize, caught: &Caught, log: &mut dyn Write) -> io::Result<TerminalEnd> {
    let (stdin, stdout) = (io::stdin(), io::stdout());
    let mut bytes = [0; 16 << 10];
    let mut listens = true;
    loop {
        if caught.signal().is_some() {
            return Ok(TerminalEnd::BySignal);
        }
        let mut fds = vec![PollFd::new(master, PollFlags::IN)];
        if listens {
            fds.push(PollFd::new(&stdin, PollFlags::IN));
        }
        match poll(&mut fds, Some(&Timespec { tv_sec: 0, tv_nsec: LOOK })) {
            Err(rustix::io::Errno::INTR) => continue,
            other => other?,
        };
        let is_ready: Vec<bool> = fds.iter().map(|fd| !fd.revents().is_empty()).collect();
        if is_ready[0] {
            match rustix::io::read(master, &mut bytes) {
                // Linux has this for the end of a terminal.
                Ok(0) | Err(rustix::io::Errno::IO) => return Ok(TerminalEnd::ByItself),
                Ok(count) => {
                    log.write_all(&bytes[..count])?;
                    write_all(stdout.as_fd(), &bytes[..count])?;
                }
                Err(rustix::io::Errno::INTR) => {}
                Err(e) => return Err(e.into()),
            }
        }
        if is_ready.get(1) == Some(&true) {
            match rustix::io::read(&stdin, &mut bytes) {
                Ok(count @ 1..) => write_all(master.as_fd(), &bytes[..count])?,
                _ => listens = false,
            }
        }
        let now = tcgetwinsize(&stdout)?;
        if (now.ws_row, now.ws_col) != (size.ws_row, size.ws_col) {
            size = now;
            tcsetwinsize(master, size)?;
        }
    }
}

fn write_all(to: BorrowedFd<'_>, mut bytes: &[u8]) -> io::Result<()> {
    while !bytes.is_empty() {
        match rustix::io::write(to, bytes) {
            Ok(count) => bytes = &bytes[count..],
            Err(rustix::io::Errno::INTR) => {}
            Err(e) => return Err(e.into()),
        }
    }
    Ok(())
}

/// A terminal: the end that shows it, and the end of its program.
fn pair() -> io::Result<(OwnedFd, OwnedFd)> {
    let flags = OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC;
    let master = openpt(flags)?;
    grantpt(&master)?;
    unlockpt(&master)?;
    let own = ioctl_tiocgptpeer(&master, flags)?;
    Ok((master, own))
}

#[cfg(test)]
mod tests {
    use super::*;
    use rustix::termios::LocalModes;

    #[test]
    fn raw_mode_ends_with_the_guard_even_in_a_panic() {
        let (_master, slave) = pair().unwrap();
        let echoes = || tcgetattr(&slave).unwrap().local_modes.contains(LocalModes::ECHO);
        assert!(echoes());
        let panicked = std::panic::catch_unwind(|| {
            let _raw = Raw::enter(slave.as_fd()).unwrap();
            assert!(!echoes());
            std::panic::resume_unwind(Box::new(()));
        });
        assert!(panicked.is_err() && echoes());
    }
}
