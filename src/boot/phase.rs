//! The machine that runs, as one state machine: where it is, what happens, and what is to be done then.
//!
//! Pure: takes the time as an argument, what happens as an [`Input`], and gives [`Effect`]s; `session` waits and does them. What a
//! machine ended with is decided once, here. Knows nothing of sockets, files or processes.

use std::time::Instant;

use self::crash::STANDS;
use super::limits::{Action, Limits};
use super::outcome::End;
use super::qmp;
use super::wire::{FromGuest, ToGuest};
use crate::machine::Level;

mod crash;
mod ends;
mod saves;
mod signals;
mod words;

pub(super) use words::{Effect, Input, Plan};

/// Where a machine is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Phase {
    /// qemu takes the state of a machine that was saved.
    Restoring,
    /// The kernel boots, until the agent speaks.
    Booting,
    /// It stands still to be saved.
    Saving(Level, Save),
    /// The layers are mounted and the hooks run.
    Mounting,
    /// It is told what makes it a machine of its own.
    Waking,
    /// It is one, and the hooks of that moment run.
    Owning,
    /// The program runs.
    Running(Run),
    /// The program ended, and what it wrote is on its way, also to the shares.
    Ended(Exit, Shares),
    /// It is over, and stands still: its memory is being written, or somebody looks at it.
    Still(End),
    /// It was told to end.
    Ending(End),
    /// It is gone, and its last bytes are being written.
    Gone(End),
    /// Nothing more comes.
    Over(End),
}

/// How far it is saved.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Save {
    /// It is to be saved; how qemu can do that is not known yet.
    Wanted,
    /// qemu writes the devices' state.
    Moving,
    /// qemu writes the devices' state, and the memory is being copied, too.
    Copying,
    /// The memory is copied, or cannot be; qemu still writes.
    Copied(Result<(), String>),
    /// qemu is done, and the memory is not copied yet.
    Moved,
}

/// How a program runs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Run {
    /// Undisturbed: it has got no signal, and what it writes is heard.
    Free,
    /// It got the user's signal at that time; the next one is for the machine.
    Signalled(i32, Instant),
    /// What it writes can go nowhere, and why. Only its status is waited for.
    Unheard(String),
}

/// The program's status and the bytes that it wrote.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Exit {
    pub(super) status: u8,
    pub(super) bytes: [u64; 2],
}

/// Whether what was written to the shares is with the host.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Shares {
    Unknown,
    Known,
}

/// A sign that the guest's kernel gave up, or that a program had it end the machine.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Sign {
    /// It starts the machine again, by its console because a program wants it: that is no crash.
    Restart,
    /// It halted, or wanted to power off, on its console.
    Halt,
    /// It panicked, on its console.
    Panic,
}

/// One stream of the program: the bytes that were read of it so far, or that it is not read any more.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stream {
    Read(u64),
    Closed,
}

/// Whether the guest is at rest, and could take another program.
#[derive(Debug, Default)]
enum Rest {
    /// It has not said so.
    #[default]
    No,
    Yes,
    /// It may not be saved, at rest or not, for this reason.
    NotToSave(String),
}

/// What was said and may matter later.
#[derive(Debug, Default)]
struct Seen {
    /// The kernel spoke since this machine was started or restored.
    spoke: bool,
    /// The agent spoke.
    lived: bool,
    sign: Option<Sign>,
    /// The agent has answered behind that sign: a program wrote those words, not the kernel.
    answered: bool,
    /// The sign of a panic came after the program's end.
    panicked_late: bool,
    /// All that the program made the kernel say has come.
    quiet: bool,
    wrote: Option<String>,
    able: Option<Result<(), String>>,
    disk: Option<String>,
    shutdown: Option<String>,
    /// qemu was told to end, because the guest did.
    told_to_go: bool,
    /// The machine stands still, whoever wanted that.
    still: bool,
    /// It has to go on when its memory is written.
    goes_on: bool,
    /// It is over, and stands still for somebody at a debugger.
    shown: bool,
    /// Somebody held it, and may have changed it: breakpoints are in its memory under KVM.
    held: bool,
    rest: Rest,
    /// All that is still waited for is that the guest says so.
    nearly: bool,
}

/// One machine while it lives.
#[derive(Debug)]
pub(super) struct Play {
    plan: Plan,
    phase: Phase,
    limits: Limits,
    seen: Seen,
    streams: [Stream; 2],
}

impl Play {
    pub(super) fn new(plan: Plan, now: Instant) -> Self {
        let restored = plan.start.from().is_some();
        let (phase, limits) = if plan.debugged {
            (Phase::Booting, Limits::debugged())
        } else if restored {
            (Phase::Restoring, Limits::restore(now, plan.restored_within))
        } else {
            (Phase::Booting, Limits::start(now, plan.ready_within, plan.kvm))
        };
        Self { plan, phase, limits, seen: Seen::default(), streams: [Stream::Read(0); 2] }
    }

    pub(super) fn phase(&self) -> &Phase {
        &self.phase
    }

    /// The kernel spoke, since the machine began here.
    pub(super) fn spoke(&self) -> bool {
        self.seen.spoke
    }

    /// The agent spoke when the kernel had booted.
    pub(super) fn lived(&self) -> bool {
        self.seen.lived
    }

    /// The worst sign so far that the kernel gave up.
    pub(super) fn sign(&self) -> Option<Sign> {
        self.seen.sign
    }

    /// When it has to be told of the time next.
    pub(super) fn next(&self) -> Option<Instant> {
        self.limits.next()
    }

    /// What is to be done because this happened now.
    pub(super) fn take(&mut self, input: Input, now: Instant) -> Vec<Effect> {
        match input {
            _ if matches!(self.phase, Phase::Over(_)) => Vec::new(),
            Input::Clock { waiting } => self.clock(waiting, now),
            Input::Spoke => {
                self.seen.spoke |= self.phase != Phase::Restoring;
                if self.phase == Phase::Booting {
                    self.limits.lives();
                }
                Vec::new()
            }
            // The console says so again with each line behind the last word; only the first time counts.
            Input::Quiet if self.seen.quiet => Vec::new(),
            Input::Quiet => {
                self.seen.quiet = true;
                self.moved_on(now)
            }
            Input::Sign(sign) => self.gave_up(sign, now),
            Input::Wrote(what) => {
                self.seen.wrote = Some(what);
                Vec::new()
            }
            Input::Guest(message) => self.guest(message, now),
            Input::Qemu(said) => self.qemu(said, now),
            Input::Copied(result) => self.copied(result, now),
            Input::Came(stream, total) => {
                if let Stream::Read(bytes) = &mut self.streams[stream] {
                    *bytes = total.max(*bytes);
                }
                self.moved_on(now)
            }
            Input::Unread(stream) => {
                self.streams[stream] = Stream::Closed;
                let close = Effect::Send(ToGuest::Close(if stream == 0 { 1 } else { 2 }));
                [vec![close], self.moved_on(now)].concat()
            }
            Input::Unwritten(stream, why) => self.unwritten(stream, why, now),
            Input::Signal(signal) => self.signal(signal, now),
            Input::Leave(signal) => self.interrupt(signal, now),
            Input::Gone(status) => self.gone(status, now),
            Input::Drained => self.drained(now),
            Input::Dump => self.dump(now),
            Input::Dumping => self.dump_goes_on(now),
            Input::Dumped => self.dumped(now),
            Input::Written => {
                if let Phase::Gone(end) = &self.phase {
                    self.phase = Phase::Over(end.clone());
                }
                Vec::new()
            }
        }
    }

    /// The one way to an end of a machine that is not gone by itself. Only the first counts.
    fn end(&mut self, end: End, now: Instant) -> Vec<Effect> {
        if matches!(self.phase, Phase::Ending(_) | Phase::Gone(_) | Phase::Over(_)) {
            return Vec::new();
        }
        // A machine that stands still for a dump ends as what it was dumped for, whatever ends the dump.
        let end = if let Phase::Still(first) = &self.phase { first.clone() } else { end };
        self.phase = Phase::Ending(end);
        self.limits.quits(now);
        if self.seen.told_to_go { Vec::new() } else { vec![Effect::Qemu(qmp::QUIT)] }
    }

    fn clock(&mut self, waiting: bool, now: Instant) -> Vec<Effect> {
        let mut effects = Vec::new();
        while let Some(action) = self.limits.due(now) {
            effects.extend(match action {
                Action::Ping => vec![Effect::Send(ToGuest::Ping)],
                Action::AgentSysRq(letters) => vec![Effect::Send(ToGuest::SysRq(letters.to_owned()))],
                Action::Break => vec![Effect::Qemu(qmp::BREAK)],
                Action::Letter(letter) => vec![Effect::Letter(letter)],
                Action::Nmi => vec![Effect::Qemu(qmp::NMI)],
                Action::Look => vec![Effect::Look],
                Action::NoLife if self.seen.sign.is_none() => self.end(End::NoLife(None), now),
                Action::NoLife | Action::GaveUp => self.crash(self.how_it_went(None), now),
                Action::Unanswered => match self.phase {
                    Phase::Running(Run::Signalled(signal, _)) => self.end(End::Interrupted(signal), now),
                    _ => Vec::new(),
                },
                Action::Stopped => {
                    let why = "qemu stopped the machine and does not say why".to_owned();
                    self.end(End::Host { why, program: self.program_status() }, now)
                }
                Action::Paused => [vec![Effect::NoDump(STANDS)], self.dumped(now)].concat(),
                Action::Rest => self.stands_still(waiting, now),
                Action::Over(limit, state) => self.crash(End::Limit(limit, state), now),
                Action::Kill => vec![Effect::Kill],
            });
        }
        effects
    }

    /// The time is over within which something should have come of what is left.
    fn stands_still(&mut self, waiting: bool, now: Instant) -> Vec<Effect> {
        match &self.phase {
            // The guest sent all; its output waits for a slow reader on the host, for whom there is no limit.
            Phase::Ended(..) if waiting => {
                self.limits.rest(now);
                Vec::new()
            }
            // The line that ends the kernel's log did not come: its console is another one, or it was told to say nothing.
            Phase::Ended(exit, Shares::Known) if self.came(*exit) => self.program_over(*exit, true, now),
            Phase::Ended(exit, Shares::Unknown) if self.came(*exit) => {
                [vec![Effect::Unsynced], self.program_over(*exit, true, now)].concat()
            }
            Phase::Saving(Level::Kept, _) => self.never_saved(now),
            Phase::Running(Run::Unheard(_)) | Phase::Ended(..) => self.end(self.how_it_went(None), now),
            Phase::Still(end) => self.end(end.clone(), now),
            Phase::Gone(end) => {
                self.phase = Phase::Over(end.clone());
                Vec::new()
            }
            _ => Vec::new(),
        }
    }

    fn guest(&mut self, message: FromGuest, now: Instant) -> Vec<Effect> {
        match (message, &self.phase) {
            (FromGuest::Hello(_), Phase::Booting) => {
                self.seen.lived = true;
                self.limits.lives();
                [vec![Effect::Step("kernel"), Effect::Forget], self.reached(Level::Base, None, now)].concat()
            }
            (FromGuest::Ready(reason), Phase::Mounting) => {
                [vec![Effect::Step("hooks")], self.reached(Level::Full, reason, now)].concat()
            }
            (message @ (FromGuest::Ready(_) | FromGuest::Failed(_)), Phase::Ended(..)) => self.at_rest(message, now),
            (FromGuest::Awake { hooks: true }, Phase::Waking) => {
                self.phase = Phase::Owning;
                self.limits.must_be_ready(now, self.plan.ready_within);
                Vec::new()
            }
            (FromGuest::Awake { hooks: false }, Phase::Waking | Phase::Owning) => {
                self.limits.lives();
                self.limits.program_starts(now, self.plan.timeout);
                self.phase = Phase::Running(Run::Free);
                vec![Effect::Step("wake"), Effect::Forget, Effect::Start]
            }
            (FromGuest::Note(text), Phase::Waking | Phase::Owning) => vec![Effect::Note(text)],
            (
                FromGuest::Failed(why),
                Phase::Booting
                | Phase::Saving(Level::Base | Level::Full, _)
                | Phase::Mounting
                | Phase::Waking
                | Phase::Owning
                | Phase::Running(Run::Free | Run::Signalled(..)),
            ) => self.end(End::Failed(why), now),
            (FromGuest::Exit { status, .. }, Phase::Running(Run::Unheard(why))) => {
                let end = End::Host { why: why.clone(), program: Some(status) };
                [vec![Effect::Step("program")], self.end(end, now)].concat()
            }
            (FromGuest::Exit { status, stdout, stderr }, Phase::Running(_)) => {
                self.phase = Phase::Ended(Exit { status, bytes: [stdout, stderr] }, Shares::Unknown);
                [vec![Effect::Step("program")], self.moved_on(now)].concat()
            }
            (FromGuest::Synced { shares, marked }, Phase::Ended(exit, _)) => {
                self.phase = Phase::Ended(*exit, Shares::Known);
                self.seen.quiet |= !marked;
                let warn = if shares { Vec::new() } else { vec![Effect::Unsynced] };
                [warn, self.moved_on(now)].concat()
            }
            (FromGuest::Pong, _) => {
                self.limits.answered(now);
                self.seen.answered = self.seen.sign.is_some();
                Vec::new()
            }
            // A word that means nothing in this phase: a guest can say anything at any time, and must not move the machine on.
            _ => Vec::new(),
        }
    }

    /// Something of what is left came.
    fn moved_on(&mut self, now: Instant) -> Vec<Effect> {
        if let Phase::Ended(exit, shares) = self.phase {
            match shares == Shares::Known && self.came(exit) {
                true if self.seen.quiet => return self.program_over(exit, false, now),
                true => self.limits.hush(now),
                false => self.limits.rest(now),
            }
        }
        Vec::new()
    }

    /// Whether every byte came that the program wrote.
    fn came(&self, exit: Exit) -> bool {
        (0..2).all(|n| match self.streams[n] {
            Stream::Read(bytes) => bytes >= exit.bytes[n],
            Stream::Closed => true,
        })
    }
}

#[cfg(test)]
mod tests;
