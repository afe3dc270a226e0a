//! What a machine ended with that did not end as it was meant to, and by whose fault: the guest's, the host's, or that of what it was
//! started from.

use std::os::unix::process::ExitStatusExt;
use std::process::ExitStatus;
use std::time::Instant;

use signal_hook::consts::SIGABRT;

use super::saves::KEPT;
use super::{Effect, Phase, Play, Run, Sign, Stream};
use crate::boot::limits::Limits;
use crate::boot::outcome::End;
use crate::boot::qmp::{self, Said};
use crate::boot::wire::ToGuest;
use crate::machine::{Level, Start};

/// Somebody at a debugger let a machine go on while its memory was written.
const TORN: &str = "somebody let the machine go on while its memory was written";

/// How a guest went away that started the machine again, or whose processor did so after a triple fault.
const RESET: &str = "the guest reset itself";

impl Play {
    /// The machine is gone, as qemu's status says, or goes on no more. What the guest's kernel said of itself comes first, whatever the
    /// machine started from; but the look at a guest that hangs ends in a panic, too.
    pub(super) fn how_it_went(&self, gone: Option<Option<ExitStatus>>) -> End {
        let program = self.program_status();
        if let Phase::Ended(exit, _) = self.phase
            && self.came(exit)
        {
            return End::Exited(exit.status);
        }
        if let Phase::Saving(Level::Kept, _) = self.phase {
            return KEPT;
        }
        if let Phase::Running(Run::Unheard(why)) = &self.phase {
            return End::Host { why: why.clone(), program };
        }
        if let Some((limit, state)) = self.limits.over {
            return End::Limit(limit, state);
        }
        if self.seen.sign == Some(Sign::Panic) {
            return End::Panicked;
        }
        let vanished = self.vanished();
        let halted = match self.seen.sign {
            Some(Sign::Halt) => Some("the guest halted".to_owned()),
            Some(Sign::Restart) if !self.seen.answered => Some(RESET.to_owned()),
            Some(Sign::Restart | Sign::Panic) | None => None,
        };
        if self.is_doubtful() && (vanished.is_none() || !self.seen.spoke) && halted.is_none() {
            return End::NoLife(None);
        }
        if let Some(how) = vanished.or(halted) {
            return End::Lost(format!("{how} before the program ended"));
        }
        let why = match (gone, &self.seen.shutdown) {
            (None, _) => "not all that the program wrote came out of the machine".to_owned(),
            (_, Some(reason)) => format!("qemu ended ({reason})"),
            (Some(Some(status)), None) => format!("qemu ended ({status})"),
            (Some(None), None) => "qemu is gone".to_owned(),
        };
        match self.phase {
            Phase::Booting if !self.seen.spoke => End::NoLife(None),
            // qemu aborts where KVM does what it should not.
            _ if self.is_tried_again() && gone.flatten().and_then(|status| status.signal()) == Some(SIGABRT) => {
                End::NoLife(None)
            }
            _ => End::Host { why, program },
        }
    }

    /// Of a program that has ended.
    pub(super) fn program_status(&self) -> Option<u8> {
        match &self.phase {
            Phase::Ended(exit, _) => Some(exit.status),
            Phase::Saving(Level::Kept, _) => Some(0),
            _ => None,
        }
    }

    /// How the guest went away by its own doing, if it did.
    fn vanished(&self) -> Option<String> {
        Some(match self.seen.shutdown.as_deref()? {
            "guest-shutdown" => "the guest powered off".to_owned(),
            "guest-reset" => RESET.to_owned(),
            other => format!("the guest ended ({})", other.strip_prefix("guest-")?),
        })
    }

    /// Whether no program runs yet, and what the machine was started from, or KVM, may be of no use.
    fn is_doubtful(&self) -> bool {
        match self.phase {
            Phase::Restoring => true,
            Phase::Booting => self.plan.kvm.is_some() && !self.seen.spoke,
            Phase::Saving(Level::Kept, _) => false,
            Phase::Saving(..) | Phase::Mounting | Phase::Waking => self.plan.start.from().is_some(),
            _ => false,
        }
    }

    /// What only KVM can be guilty of is tried again without it. Not once hooks run: those may have written to disks.
    fn is_tried_again(&self) -> bool {
        self.plan.tried_again && matches!(self.phase, Phase::Booting | Phase::Saving(Level::Base, _))
    }

    pub(super) fn qemu(&mut self, said: Said, now: Instant) -> Vec<Effect> {
        self.seen.still = matches!(said, Said::Stopped) || (self.seen.still && !matches!(said, Said::Resumed));
        match said {
            Said::Panicked => {
                self.seen.sign = Some(Sign::Panic);
                self.note_late_panic();
                if !matches!(
                    self.phase,
                    Phase::Ended(..) | Phase::Still(_) | Phase::Ending(_) | Phase::Gone(_) | Phase::Over(_)
                ) {
                    self.limits.panicked(now, true);
                }
                Vec::new()
            }
            Said::Shutdown(reason) => {
                self.seen.shutdown.get_or_insert(reason);
                if !self.is_open() || self.seen.told_to_go {
                    return Vec::new();
                }
                // qemu says that it stopped the machine only if that ran.
                self.limits.stopped(Some(now));
                vec![Effect::Qemu(qmp::STATUS)]
            }
            Said::DiskFailed(why) => {
                self.seen.disk.get_or_insert(why);
                Vec::new()
            }
            // Somebody at a debugger may have stopped it.
            Said::Stopped if self.seen.shutdown.is_some() && self.is_open() => vec![Effect::Drain],
            Said::Stopped => match self.phase {
                Phase::Restoring
                | Phase::Saving(..)
                | Phase::Still(_)
                | Phase::Ending(_)
                | Phase::Gone(_)
                | Phase::Over(_) => Vec::new(),
                _ => {
                    self.limits.stopped(Some(now));
                    vec![Effect::Qemu(qmp::STATUS)]
                }
            },
            Said::Status(_) if self.seen.shutdown.is_some() && self.is_open() => {
                self.limits.stopped(None);
                vec![Effect::Drain]
            }
            Said::Status(status) => {
                self.limits.stopped(None);
                self.paused(&status, now)
            }
            Said::Resumed => {
                self.limits.stopped(None);
                if self.limits.is_held() {
                    self.limits.resume(now);
                }
                self.resumed(now)
            }
            Said::Endless => {
                let why = "qemu sent a line without end on its control channel".to_owned();
                let program = self.program_status();
                let end = if self.is_doubtful() { End::NoLife(Some(why)) } else { End::Host { why, program } };
                self.end(end, now)
            }
            // What qemu answers to a command for people changes nothing here: the loop that reads the socket hands it to who asked.
            Said::Answered(_) => Vec::new(),
            Said::NotYet => vec![Effect::Qemu(qmp::CONTINUE)],
            Said::Able(able) => self.able(able.map(drop), now),
            Said::Still => self.still(),
            Said::Moved(moved) => self.moved(moved, now),
        }
    }

    /// The machine stands still: qemu stopped it, and nothing would ever let it go on; or somebody did.
    fn paused(&mut self, status: &str, now: Instant) -> Vec<Effect> {
        let program = self.program_status();
        let end = match status {
            "io-error" => {
                let why =
                    self.seen.disk.clone().unwrap_or_else(|| "a disk's file cannot be read or written".to_owned());
                End::Host { why, program }
            }
            "internal-error" if self.is_doubtful() || self.is_tried_again() => {
                End::NoLife(Some("KVM stopped with an internal error".to_owned()))
            }
            // What the guest was doing is worth a look: KVM could not go on with that.
            "internal-error" => {
                let end = End::Host { why: "KVM stopped with an internal error".to_owned(), program };
                return if self.is_open() { self.stand(end.clone(), end, now) } else { Vec::new() };
            }
            "paused" | "debug" => {
                self.limits.hold(now);
                self.seen.held = true;
                return Vec::new();
            }
            _ => return Vec::new(),
        };
        self.end(end, now)
    }

    fn resumed(&mut self, now: Instant) -> Vec<Effect> {
        match &self.phase {
            Phase::Restoring => {}
            // A debugger that leaves lets it go on; the next one shall see the same.
            Phase::Still(_) if self.seen.shown => return vec![Effect::Qemu(qmp::STOP)],
            Phase::Still(_) => return vec![Effect::Qemu(qmp::STOP), Effect::NoDump(TORN)],
            _ if self.limits.is_paused() => return vec![Effect::NoDump(TORN)],
            _ => return Vec::new(),
        }
        let go_on = if let Start::Grow { .. } = self.plan.start {
            // The machine still has to mount its layers and to run hooks.
            self.limits.must_be_ready(now, self.plan.ready_within);
            self.go_on(Level::Base, now)
        } else {
            self.go_on(Level::Full, now)
        };
        [vec![Effect::Step("restore")], go_on].concat()
    }

    fn note_late_panic(&mut self) {
        self.seen.panicked_late |=
            matches!(self.phase, Phase::Ended(..) | Phase::Saving(Level::Kept, _) | Phase::Ending(End::Exited(_)));
    }

    pub(super) fn gave_up(&mut self, sign: Sign, now: Instant) -> Vec<Effect> {
        self.seen.answered &= self.seen.sign >= Some(sign);
        self.seen.sign = self.seen.sign.max(Some(sign));
        if sign == Sign::Panic {
            self.note_late_panic();
        }
        match self.phase {
            Phase::Running(_) => {
                self.limits.panicked(now, false);
                vec![Effect::Send(ToGuest::Ping)]
            }
            // Before the program runs the agent does not answer a ping: it mounts, or is not there yet.
            Phase::Restoring | Phase::Booting | Phase::Saving(..) | Phase::Mounting | Phase::Waking | Phase::Owning => {
                self.limits.panicked(now, false);
                Vec::new()
            }
            Phase::Ended(..) | Phase::Still(_) | Phase::Ending(_) | Phase::Gone(_) | Phase::Over(_) => Vec::new(),
        }
    }

    /// Output that cannot be written is quiz's own fault, whatever the program comes to; the program's status is worth a moment's wait.
    pub(super) fn unwritten(&mut self, stream: usize, why: String, now: Instant) -> Vec<Effect> {
        self.streams[stream] = Stream::Closed;
        let host = |status: u8| End::Host { why: why.clone(), program: Some(status) };
        match &self.phase {
            Phase::Running(Run::Free | Run::Signalled(..)) => {
                self.phase = Phase::Running(Run::Unheard(why));
                self.limits.rest(now);
            }
            Phase::Ended(exit, _) => return self.end(host(exit.status), now),
            Phase::Saving(Level::Kept, _) => return self.end(host(0), now),
            Phase::Ending(End::Exited(status)) => self.phase = Phase::Ending(host(*status)),
            Phase::Still(End::Exited(status)) => self.phase = Phase::Still(host(*status)),
            Phase::Gone(End::Exited(status)) => self.phase = Phase::Over(host(*status)),
            Phase::Running(Run::Unheard(_)) | Phase::Still(_) | Phase::Ending(_) | Phase::Gone(_) | Phase::Over(_) => {}
            // In all earlier phases there is no program yet, whose status could be told.
            _ => return self.end(End::Host { why, program: None }, now),
        }
        Vec::new()
    }

    pub(super) fn gone(&mut self, status: Option<ExitStatus>, now: Instant) -> Vec<Effect> {
        self.phase = match &self.phase {
            Phase::Gone(end) | Phase::Ending(end @ End::Interrupted(_)) => Phase::Over(end.clone()),
            Phase::Still(end) | Phase::Ending(end) => Phase::Gone(end.clone()),
            _ => Phase::Gone(self.how_it_went(Some(status))),
        };
        self.limits = Limits::default();
        // A program's own output is waited for as long as somebody reads it. After any other end only what comes soon counts.
        if !matches!(self.phase, Phase::Gone(End::Exited(_))) {
            self.limits.rest(now);
        }
        Vec::new()
    }
}
