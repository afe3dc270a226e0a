//! The user's terminal: its size, and the way out of a guest that does not listen.
//!
//! Knows nothing of the machine.

use std::os::fd::{AsFd, BorrowedFd};
use std::time::{Duration, Instant};

use rustix::process::getpgrp;
use rustix::termios::{isatty, tcgetpgrp, tcgetwinsize};

use super::request::Size;
pub(super) use crate::host::terminal::Raw;

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
