//! What the user wants by a signal: the first one is for the program, if there is one to hear it; then the machine ends.

use std::time::{Duration, Instant};

use signal_hook::consts::SIGHUP;

use super::{Effect, Phase, Play, Run};
use crate::boot::outcome::End;
use crate::boot::wire::ToGuest;

/// timeout(1) sends its signal twice, to the process and to its group: within this time it is one.
const SAME: Duration = Duration::from_millis(100);

impl Play {
    /// The first SIGINT, SIGTERM or SIGQUIT is the program's, if anyone can pass it on. The next one, or SIGHUP, ends the machine. One
    /// of several ends at once.
    pub(super) fn signal(&mut self, signal: i32, now: Instant) -> Vec<Effect> {
        if let Phase::Running(Run::Signalled(before, at)) = self.phase
            && (before, now < at + SAME) == (signal, true)
        {
            return Vec::new();
        }
        // A machine that stands still passes nothing on.
        let stands = self.limits.is_held() || self.limits.is_paused();
        if self.phase != Phase::Running(Run::Free) || !self.plan.alone || signal == SIGHUP || stands {
            return self.interrupt(signal, now);
        }
        self.phase = Phase::Running(Run::Signalled(signal, now));
        self.limits.signalled(now);
        let number = u32::try_from(signal).unwrap_or_default();
        vec![Effect::Send(ToGuest::Signal(number)), Effect::Send(ToGuest::Ping)]
    }

    pub(super) fn interrupt(&mut self, signal: i32, now: Instant) -> Vec<Effect> {
        match &self.phase {
            // The program is over, but its output may not be written to the end: that counts as interrupted.
            Phase::Ending(End::Exited(_)) => self.phase = Phase::Ending(End::Interrupted(signal)),
            Phase::Gone(End::Exited(_)) => self.phase = Phase::Over(End::Interrupted(signal)),
            Phase::Gone(end) => self.phase = Phase::Over(end.clone()),
            _ => return self.end(End::Interrupted(signal), now),
        }
        Vec::new()
    }
}
