//! The user's terminal: its size, raw mode while the program has a pty, and the way out of a guest that does not listen.
//!
//! Knows nothing of the machine.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::{Duration, Instant};

use rustix::process::getpgrp;
use rustix::termios::{OptionalActions, Termios, isatty, tcgetattr, tcgetpgrp, tcgetwinsize, tcsetattr};

use super::request::Size;

/// The size of the terminal, when both stdin and stdout are one: then the program gets a pty of that size. A job in the
/// background of a shell has none: what it does to the terminal would stop it.
pub fn terminal_size() -> Option<Size> {
    let (stdin, stdout) = (std::io::stdin(), std::io::stdout());
    let both = isatty(&stdin) && isatty(&stdout);
    if both && !is_in_background(stdin.as_fd()) { size(stdout.as_fd()) } else { None }
}

/// Whether this is a terminal whose shell gave it to another job.
pub(super) fn is_in_background(terminal: BorrowedFd) -> bool {
    tcgetpgrp(terminal).is_ok_and(|foreground| foreground != getpgrp())
}

pub(super) fn size(terminal: BorrowedFd) -> Option<Size> {
    let size = tcgetwinsize(terminal).ok()?;
    Some(Size { rows: size.ws_row, columns: size.ws_col })
}

/// A terminal in raw mode; as it was before when this is dropped, also by a panic.
#[derive(Debug)]
pub(super) struct Raw {
    terminal: OwnedFd,
    before: Termios,
}

impl Raw {
    /// `None` when `terminal` is none.
    pub(super) fn enter(terminal: BorrowedFd) -> Option<Self> {
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

/// In raw mode Ctrl-C is the guest's. `Ctrl-]` three times within a second ends the machine, as in systemd-nspawn.
#[derive(Debug, Default)]
pub(super) struct Escape(Vec<Instant>);

const ESCAPE: u8 = 0x1d;

impl Escape {
    /// Looks at typed bytes; true when the user wants out.
    pub(super) fn feed(&mut self, bytes: &[u8], now: Instant) -> bool {
        for &byte in bytes {
            if byte == ESCAPE {
                self.0.retain(|&then| now.duration_since(then) < Duration::from_secs(1));
                self.0.push(now);
            } else {
                self.0.clear();
            }
            if self.0.len() == 3 {
                return true;
            }
        }
        false
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rustix::pty::{OpenptFlags, grantpt, ioctl_tiocgptpeer, openpt, unlockpt};
    use rustix::termios::LocalModes;

    #[test]
    fn raw_mode_ends_with_the_guard_even_in_a_panic() {
        let master = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY).unwrap();
        grantpt(&master).unwrap();
        unlockpt(&master).unwrap();
        let slave = ioctl_tiocgptpeer(&master, OpenptFlags::RDWR | OpenptFlags::NOCTTY).unwrap();
        let echoes = || tcgetattr(&slave).unwrap().local_modes.contains(LocalModes::ECHO);
        assert!(echoes());
        let panicked = std::panic::catch_unwind(|| {
            let _raw = Raw::enter(slave.as_fd()).unwrap();
            assert!(!echoes());
            std::panic::resume_unwind(Box::new(()));
        });
        assert!(panicked.is_err() && echoes());
    }

    #[test]
    fn three_in_a_second_end_the_machine() {
        let now = Instant::now();
        let later = now + Duration::from_secs(2);
        assert!(Escape::default().feed(&[ESCAPE; 3], now));
        let mut slow = Escape::default();
        assert!(!slow.feed(&[ESCAPE; 2], now));
        assert!(!slow.feed(&[ESCAPE], later));
        let mut typed = Escape::default();
        assert!(!typed.feed(&[ESCAPE, ESCAPE, b'a', ESCAPE], now));
    }
}
