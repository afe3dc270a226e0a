//! What ends a machine before its program does: the user's signals, and what is due when its time is over.
//!
//! Decides no times (`limits`).

use std::time::Instant;

use signal_hook::consts::{SIGHUP, SIGWINCH};
use std::os::fd::AsFd;

use super::super::limits::Action;
use super::super::spawn::{Port, Qemu};
use super::super::wire::ToGuest;
use super::super::{qmp, tty};
use super::Session;
use crate::error::Result;

impl Session<'_> {
    /// The first SIGINT, SIGTERM or SIGQUIT is the program's; the next one, or SIGHUP, ends the machine. One of several ends at
    /// once.
    pub(super) fn take_signals(&mut self) -> Result<()> {
        for signal in self.signals.take() {
            if signal == SIGWINCH {
                if let Some(size) = self.raw.as_ref().and_then(|_| tty::size(self.job.streams.stdout.as_fd())) {
                    self.send(&ToGuest::Resize(size))?;
                }
            } else if self.is_the_programs(signal) {
                self.signalled = true;
                self.send(&ToGuest::Signal(u32::try_from(signal).unwrap_or_default()))?;
            } else {
                self.interrupt(signal);
            }
        }
        Ok(())
    }

    fn is_the_programs(&self, signal: i32) -> bool {
        let alone = self.job.options.stop.is_none();
        alone && self.running && self.exit.is_none() && !self.signalled && signal != SIGHUP
    }

    pub(super) fn interrupt(&mut self, signal: i32) {
        self.interrupted.get_or_insert(signal);
        self.quit();
    }

    pub(super) fn act(&mut self, action: Action, qemu: &mut Qemu) -> Result<()> {
        match action {
            Action::Ping => self.send(&ToGuest::Ping)?,
            Action::AgentSysRq(letters) => self.send(&ToGuest::SysRq(letters.to_owned()))?,
            Action::Break => self.tell_qemu(qmp::BREAK),
            Action::Letter(letter) => self.write_now(Port::Console, &[letter]),
            Action::Nmi => self.tell_qemu(qmp::NMI),
            Action::NoLife => {
                self.gave_up = true;
                self.quit();
            }
            Action::Quit => self.quit(),
            Action::Kill => qemu.kill(),
        }
        Ok(())
    }

    pub(super) fn quit(&mut self) {
        if !self.limits.is_quitting() {
            self.tell_qemu(qmp::QUIT);
            self.limits.quits(Instant::now());
        }
    }
}
