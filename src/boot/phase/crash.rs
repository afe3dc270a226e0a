//! The end of a guest of which something is to be kept: its memory, as long as qemu has it.

use std::time::Instant;

use super::{Effect, Phase, Play, Shares, Sign};
use crate::boot::limits::Limits;
use crate::boot::outcome::End;
use crate::boot::qmp;

/// Why a memory is given up whose writing does not come forward.
pub(super) const STANDS: &str = "no part of it was written for two minutes";

/// What is told of a kernel that gave up where its console has no words of that.
const SILENT: &str = "its console has no words of that";
/// The same, of one whose machine started again.
const RESET_LATE: &str = "it started again without a word";

impl Play {
    /// The kernel gave up after the program had ended, whether or not it came to a dump.
    fn panicked_late(&self) -> bool {
        self.seen.panicked_late && !self.powered_off()
    }

    /// Who writes the words of a panic to the kernel's log, and powers off, has none.
    fn powered_off(&self) -> bool {
        self.seen.shutdown.as_deref() == Some("guest-shutdown")
    }

    /// The words of a kernel that gave up after the program had ended, where its console has none; nothing if it did not, as far as is known.
    pub(in crate::boot) fn late_end(&self) -> Option<&'static str> {
        if self.panicked_late() { Some(SILENT) } else { self.reset_itself().then_some(RESET_LATE) }
    }

    /// The machine started again, and no program wanted it.
    fn reset_itself(&self) -> bool {
        // The other processors, and the agent on them, go on for a moment behind the kernel's last word: that the agent answered says nothing here.
        self.seen.shutdown.as_deref() == Some("guest-reset") && self.seen.sign.is_none()
    }

    /// Ends the machine. One whose guest crashed, or hangs, or was too slow, stands still before that until its memory is written.
    pub(super) fn crash(&mut self, end: End, now: Instant) -> Vec<Effect> {
        match matches!(end, End::Panicked | End::Limit(..)) && self.is_open() {
            true => self.stand(end.clone(), end, now),
            false => self.end(end, now),
        }
    }

    /// Ends the machine as `end`, once its memory is written because of `cause`, where it is kept.
    pub(super) fn stand(&mut self, end: End, cause: End, now: Instant) -> Vec<Effect> {
        match (self.plan.dumps, self.plan.shows) {
            (true, _) => {
                self.phase = Phase::Still(end);
                self.limits.dumps(now);
                vec![Effect::Qemu(qmp::STOP), Effect::Dump(Some(cause))]
            }
            (false, true) => {
                self.phase = Phase::Still(end);
                [vec![Effect::Qemu(qmp::STOP)], self.show()].concat()
            }
            _ => self.end(end, now),
        }
    }

    /// The kernel gave up behind the program's end, as where it writes back what that has left: the status is the program's, and the panic is not hushed up.
    fn stand_late(&mut self, end: End, cause: End, silent: &'static str, now: Instant) -> Vec<Effect> {
        let unsynced = matches!(self.phase, Phase::Ended(_, Shares::Unknown)).then_some(Effect::Unsynced);
        let told = std::iter::once(Effect::LatePanic(silent)).chain(unsynced);
        told.chain(self.stand(end, cause, now)).collect()
    }

    /// Lets a machine that is over stand still until somebody ends it.
    fn show(&mut self) -> Vec<Effect> {
        self.limits = Limits::default();
        self.seen.shown = true;
        vec![Effect::Shown]
    }

    /// No end of it is decided yet.
    pub(super) fn is_open(&self) -> bool {
        !matches!(self.phase, Phase::Still(_) | Phase::Ending(_) | Phase::Gone(_) | Phase::Over(_))
    }

    /// The guest ended by itself, and stands still. What its kernel said of that is known now.
    pub(super) fn drained(&mut self, now: Instant) -> Vec<Effect> {
        if !self.is_open() {
            return Vec::new();
        }
        match self.how_it_went(None) {
            end @ (End::Panicked | End::Limit(..)) => self.crash(end, now),
            end @ End::Exited(_) if self.seen.sign == Some(Sign::Panic) && !self.powered_off() => {
                self.stand_late(end, End::Panicked, SILENT, now)
            }
            // A processor that cannot even tell its kernel of a fault starts again without a word: a triple fault.
            end @ End::Lost(_) if self.reset_itself() && self.program_status().is_none() => {
                self.stand(end.clone(), end, now)
            }
            end @ End::Exited(_) if self.reset_itself() => {
                let cause = End::Lost("the guest reset itself after the program had ended".to_owned());
                self.stand_late(end, cause, RESET_LATE, now)
            }
            // The guest did not crash: what it ended with is known when qemu has ended.
            _ if !self.seen.told_to_go => {
                self.seen.told_to_go = true;
                self.limits.quits(now);
                vec![Effect::Qemu(qmp::QUIT)]
            }
            _ => Vec::new(),
        }
    }

    /// Somebody wants the memory of a guest that goes on.
    pub(super) fn dump(&mut self, now: Instant) -> Vec<Effect> {
        match self.phase {
            Phase::Still(_) if self.seen.shown => {
                vec![Effect::NoDump(
                    "it has crashed and stands still: `quiz gdb` looks into it, `quiz crash drgn` into its memory, if that was kept",
                )]
            }
            // A dump is under way already, and does for this wish as well.
            Phase::Still(_) => Vec::new(),
            _ if self.limits.is_paused() => Vec::new(),
            _ if self.plan.debugged => vec![Effect::NoDump("somebody looks at the machine with a debugger")],
            Phase::Booting | Phase::Mounting | Phase::Waking | Phase::Owning | Phase::Running(_) => {
                self.limits.pause(now);
                // A machine that stood still before stays so: whoever stopped it lets it go on.
                self.seen.goes_on = !self.seen.still;
                vec![Effect::Qemu(qmp::STOP), Effect::Dump(None)]
            }
            Phase::Restoring | Phase::Saving(..) => vec![Effect::NoDump("the machine is being restored or saved")],
            Phase::Ended(..) | Phase::Ending(_) | Phase::Gone(_) | Phase::Over(_) => {
                vec![Effect::NoDump("its program has ended")]
            }
        }
    }

    /// A part of the memory is written.
    pub(super) fn dump_goes_on(&mut self, now: Instant) -> Vec<Effect> {
        self.limits.dump_goes_on(now, matches!(self.phase, Phase::Still(_)) && !self.seen.shown);
        Vec::new()
    }

    /// The memory is written, or cannot be.
    pub(super) fn dumped(&mut self, now: Instant) -> Vec<Effect> {
        match &self.phase {
            Phase::Still(_) if self.seen.shown => Vec::new(),
            Phase::Still(_) if self.plan.shows => self.show(),
            Phase::Still(end) => self.end(end.clone(), now),
            _ if self.limits.resume(now) && self.seen.goes_on => vec![Effect::Qemu(qmp::CONTINUE)],
            _ => {
                // It ended meanwhile, by a signal perhaps; or somebody else wants it to stand still.
                if self.is_open() && self.seen.still {
                    self.limits.hold(now);
                }
                Vec::new()
            }
        }
    }
}
