//! What is done when: watchdogs of a machine that starts, the time limit, and the look at a guest that hangs.
//!
//! Pure: takes the time as an argument and gives actions; `session` does them.

use std::time::{Duration, Instant};

use super::outcome::GuestState;

/// The agent answers a ping within this time, or the guest hangs.
const ANSWER: Duration = Duration::from_secs(1);

/// A kernel that panicked resets within this time; with the user's `panic=0` it never does.
const PANIC: Duration = Duration::from_secs(3);

/// Whoever asked for the end waits this long for a guest that may be dead.
const SIGNAL: Duration = Duration::from_secs(5);

/// How long nothing may come of what is left: the program's last bytes, or the end of a program that cannot be heard any more.
const REST: Duration = Duration::from_secs(10);

/// How long the console may take to show what stands in the kernel's log. A kernel may say things for ever, so no further line makes this
/// longer; and a console that the user has chosen may never show it.
const HUSH: Duration = Duration::from_secs(3);

/// qemu says within this time why it stopped the machine; a host whose disk does not answer may take a while.
const STATUS: Duration = Duration::from_secs(30);

/// The guest's memory is given up when no part of it was written for so long.
const DUMP: Duration = Duration::from_secs(120);

/// qemu obeys `quit` within this time, or is killed.
const QUIT: Duration = Duration::from_secs(2);

/// No limit is longer: what a user may write as seconds is more than a clock can hold.
const AGES: Duration = Duration::from_secs(100 * 365 * 24 * 60 * 60);

fn after(now: Instant, wait: Duration) -> Instant {
    now + wait.min(AGES)
}

/// Something to do now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Action {
    /// Ask the agent whether it lives.
    Ping,
    /// Let the agent ask the kernel for stacks: these sysrq letters.
    AgentSysRq(&'static str),
    /// BREAK on the console: the next byte is a sysrq command.
    Break,
    /// That next byte, the sysrq command.
    Letter(u8),
    /// A non-maskable interrupt: stacks even of a kernel that takes no other.
    Nmi,
    /// What the kernel says from now on belongs to the look at a guest that hangs.
    Look,
    /// Nothing lives: give up on KVM, or on the snapshot.
    NoLife,
    /// The kernel said that it gave up, and nobody answers.
    GaveUp,
    /// Nobody answers who could have heard the user's signal.
    Unanswered,
    /// qemu stopped the machine and does not say why.
    Stopped,
    /// The machine stands still for its memory to be written, and that takes too long.
    Paused,
    /// Nothing came of what was left, for too long.
    Rest,
    /// This limit was over, and the look at the guest is done.
    Over(Duration, GuestState),
    /// qemu does not obey.
    Kill,
}

/// Processors' backtraces (l), blocked tasks (w): through the agent when it answers, else from outside.
const THROUGH_AGENT: &[(Action, Duration)] =
    &[(Action::Look, Duration::ZERO), (Action::AgentSysRq("lw"), Duration::from_millis(1000))];
const FROM_OUTSIDE: &[(Action, Duration)] = &[
    (Action::Look, Duration::ZERO),
    (Action::Break, Duration::from_millis(60)),
    (Action::Letter(b'l'), Duration::from_millis(250)),
    (Action::Break, Duration::from_millis(60)),
    (Action::Letter(b'w'), Duration::from_millis(250)),
    (Action::Nmi, Duration::from_millis(700)),
];

/// The clock of one machine.
#[derive(Debug, Default)]
pub(super) struct Limits {
    /// When the machine must have shown life: under KVM the kernel, in a machine that is restored the agent.
    life: Option<Instant>,
    /// When the agent must be ready, and the limit that this is.
    ready: Option<(Instant, Duration)>,
    /// When the program must have ended, and the limit that this is.
    program: Option<(Instant, Duration)>,
    /// When the agent must have answered.
    asked: Option<Instant>,
    /// When the agent must have answered after the user's signal was passed on.
    signal: Option<Instant>,
    /// When a kernel that gave up must have reset; `false` if a program may have written that line, too.
    panic: Option<(Instant, bool)>,
    /// When qemu must have said why the machine does not go on.
    stopped: Option<Instant>,
    /// When something must have come of what is left.
    rest: Option<Instant>,
    /// What is left of the look, and when it goes on.
    look: Option<(&'static [(Action, Duration)], Instant)>,
    quit: Option<Instant>,
    /// The machine stands still: since when, and by quiz's own doing until when that may last. Nothing else counts meanwhile.
    paused: Option<(Instant, Option<Instant>)>,
    /// Somebody at a debugger decides what takes too long.
    debugged: bool,
    /// The limit that was over, and what the guest was doing, while it is looked at.
    pub(super) over: Option<(Duration, GuestState)>,
}

impl Limits {
    /// The machine starts now, must show life within `life`, if there is a reason to doubt that, and be ready within `ready`.
    pub(super) fn start(now: Instant, ready: Duration, life: Option<Duration>) -> Self {
        Self { life: life.map(|life| after(now, life)), ready: Some((after(now, ready), ready)), ..Self::default() }
    }

    /// The machine is restored now, and must show life within `life`.
    pub(super) fn restore(now: Instant, life: Duration) -> Self {
        Self { life: Some(after(now, life)), ..Self::default() }
    }

    /// Somebody looks at the machine with a debugger: it may stand still for as long as they want.
    pub(super) fn debugged() -> Self {
        Self { debugged: true, ..Self::default() }
    }

    /// The machine lives: its kernel or its agent spoke.
    pub(super) fn lives(&mut self) {
        self.life = None;
    }

    /// A machine that was restored has to be ready within `ready`, too.
    pub(super) fn must_be_ready(&mut self, now: Instant, ready: Duration) {
        (self.life, self.ready) = (None, (!self.debugged).then_some((after(now, ready), ready)));
    }

    /// The program starts now, and may run for so long.
    pub(super) fn program_starts(&mut self, now: Instant, limit: Option<Duration>) {
        self.ready = None;
        self.program = limit.map(|limit| (after(now, limit), limit));
    }

    /// Nothing counts any more but what is left to come, some of which came just now. A machine that stands still goes on doing so.
    pub(super) fn rest(&mut self, now: Instant) {
        *self = Self { rest: Some(now + REST), paused: self.paused, ..Self::default() };
    }

    /// As [`Self::rest`], with this limit.
    pub(super) fn rest_for(&mut self, now: Instant, wait: Duration) {
        self.rest(now);
        self.rest = Some(after(now, wait));
    }

    /// The machine stands still until its memory is written.
    pub(super) fn pause(&mut self, now: Instant) {
        let since = self.paused.map_or(now, |(since, _)| since);
        self.paused = Some((since, Some(now + DUMP)));
    }

    /// Whether the machine stands still for its memory to be written.
    pub(super) fn is_paused(&self) -> bool {
        matches!(self.paused, Some((_, Some(_))))
    }

    /// Somebody else, at a debugger or qemu's monitor, lets it stand still for as long as they want.
    pub(super) fn hold(&mut self, now: Instant) {
        self.paused.get_or_insert((now, None));
    }

    /// Whether somebody else lets the machine stand still: nobody in it can answer.
    pub(super) fn is_held(&self) -> bool {
        matches!(self.paused, Some((_, None)))
    }

    /// The machine goes on: what was left of each limit is left now. Says whether it stood still.
    pub(super) fn resume(&mut self, now: Instant) -> bool {
        let Some((since, _)) = self.paused.take() else { return false };
        let stood = now.saturating_duration_since(since);
        for at in
            [&mut self.life, &mut self.asked, &mut self.signal, &mut self.stopped, &mut self.rest].into_iter().flatten()
        {
            *at += stood;
        }
        for (at, _) in [&mut self.ready, &mut self.program].into_iter().flatten() {
            *at += stood;
        }
        self.panic.iter_mut().for_each(|(at, _)| *at += stood);
        self.look.iter_mut().for_each(|(_, at)| *at += stood);
        true
    }

    /// Nothing counts any more but that the guest's memory is written.
    pub(super) fn dumps(&mut self, now: Instant) {
        *self = Self { rest: Some(now + DUMP), over: self.over, ..Self::default() };
    }

    /// A part of the memory is written: of a machine that is over (`still`), or of one that goes on then.
    pub(super) fn dump_goes_on(&mut self, now: Instant, still: bool) {
        let until = self.paused.as_mut().map_or(self.rest.as_mut().filter(|_| still), |(_, until)| until.as_mut());
        until.into_iter().for_each(|until| *until = now + DUMP);
    }

    /// Nothing is left to come but what the kernel has to say.
    pub(super) fn hush(&mut self, now: Instant) {
        *self = Self { rest: Some(now + HUSH), paused: self.paused, ..Self::default() };
    }

    /// There is a sign that the kernel gave up. A program can write such a line too: then it is not sure, and the agent is asked.
    pub(super) fn panicked(&mut self, now: Instant, sure: bool) {
        if self.debugged {
            return;
        }
        let (at, was_sure) = self.panic.unwrap_or((now + PANIC, false));
        self.panic = Some((at, sure || was_sure));
    }

    /// qemu stopped the machine and was asked why; or it said so, or goes on.
    pub(super) fn stopped(&mut self, asked: Option<Instant>) {
        self.stopped = asked.map(|now| now + STATUS);
    }

    /// The user's signal was passed on.
    pub(super) fn signalled(&mut self, now: Instant) {
        self.signal = Some(now + SIGNAL);
    }

    /// The agent answered.
    pub(super) fn answered(&mut self, now: Instant) {
        self.signal = None;
        self.panic.take_if(|(_, sure)| !*sure);
        if self.asked.take().is_some() {
            self.look_at(GuestState::Runs, now);
        }
    }

    /// qemu was told to end.
    pub(super) fn quits(&mut self, now: Instant) {
        *self = Self { quit: Some(now + QUIT), ..Self::default() };
    }

    fn look_at(&mut self, state: GuestState, now: Instant) {
        self.over = self.over.map(|(limit, _)| (limit, state));
        self.look = Some((if state == GuestState::Runs { THROUGH_AGENT } else { FROM_OUTSIDE }, now));
    }

    /// When `due` has something to do next.
    pub(super) fn next(&self) -> Option<Instant> {
        if let Some((_, until)) = self.paused {
            return [until, self.quit].into_iter().flatten().min();
        }
        // As in `due`: a kernel that gave up is not slow.
        let slow = |limit: Option<(Instant, Duration)>| limit.filter(|_| self.panic.is_none()).map(|(at, _)| at);
        let (ready, program) = (slow(self.ready), slow(self.program));
        let (look, panic) = (self.look.map(|(_, at)| at), self.panic.map(|(at, _)| at));
        let all = [self.life, ready, program, self.asked, self.signal, panic, self.stopped, self.rest, look, self.quit];
        all.into_iter().flatten().min()
    }

    /// What is to be done now; call again until there is nothing.
    pub(super) fn due(&mut self, now: Instant) -> Option<Action> {
        if self.quit.take_if(|at| *at <= now).is_some() {
            return Some(Action::Kill);
        }
        if let Some((_, until)) = self.paused {
            return until.filter(|until| *until <= now).map(|_| Action::Paused);
        }
        if self.life.take_if(|at| *at <= now).is_some() {
            return Some(Action::NoLife);
        }
        if self.panic.take_if(|(at, _)| *at <= now).is_some() {
            return Some(Action::GaveUp);
        }
        if self.signal.take_if(|at| *at <= now).is_some() {
            return Some(Action::Unanswered);
        }
        if self.stopped.take_if(|at| *at <= now).is_some() {
            return Some(Action::Stopped);
        }
        if self.rest.take_if(|at| *at <= now).is_some() {
            return Some(Action::Rest);
        }
        // A kernel that gave up is not slow.
        let panics = self.panic.is_some();
        if !panics && let Some((_, limit)) = self.ready.take_if(|(at, _)| *at <= now) {
            self.over = Some((limit, GuestState::Booting));
            self.look_at(GuestState::Booting, now);
        }
        if !panics && let Some((_, limit)) = self.program.take_if(|(at, _)| *at <= now) {
            self.over = Some((limit, GuestState::Hangs));
            self.asked = Some(now + ANSWER);
            return Some(Action::Ping);
        }
        if self.asked.take_if(|at| *at <= now).is_some() {
            self.look_at(GuestState::Hangs, now);
        }
        let (steps, _) = self.look.take_if(|(_, at)| *at <= now)?;
        let Some(((action, wait), rest)) = steps.split_first() else {
            return self.over.map(|(limit, state)| Action::Over(limit, state));
        };
        self.look = Some((rest, now + *wait));
        Some(*action)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    /// Lets time pass up to `until` and gives all that was to be done.
    fn actions(limits: &mut Limits, until: Instant) -> Vec<Action> {
        let mut actions = Vec::new();
        while let Some(at) = limits.next().filter(|at| *at <= until) {
            while let Some(action) = limits.due(at) {
                actions.push(action);
            }
        }
        actions
    }

    #[test]
    fn a_machine_that_is_never_ready_is_looked_at_and_ended() {
        let now = Instant::now();
        let mut limits = Limits::start(now, 60 * SECOND, None);
        assert!(actions(&mut limits, now + 59 * SECOND).is_empty());
        let done = actions(&mut limits, now + 70 * SECOND);
        assert_eq!((done[0], done[1], done[5]), (Action::Look, Action::Break, Action::Nmi));
        assert_eq!(done[6..], [Action::Over(60 * SECOND, GuestState::Booting)]);
    }

    #[test]
    fn a_program_that_runs_too_long_is_told_from_a_guest_that_hangs() {
        let now = Instant::now();
        let started = || {
            let mut limits = Limits::start(now, 60 * SECOND, None);
            limits.program_starts(now, Some(5 * SECOND));
            assert_eq!(actions(&mut limits, now + 5 * SECOND), [Action::Ping]);
            limits
        };
        let mut runs = started();
        runs.answered(now + 5 * SECOND);
        let look = [Action::Look, Action::AgentSysRq("lw"), Action::Over(5 * SECOND, GuestState::Runs)];
        assert_eq!(actions(&mut runs, now + 9 * SECOND), look);
        let mut hangs = started();
        let done = actions(&mut hangs, now + 9 * SECOND);
        assert_eq!((done[1], done.last()), (Action::Break, Some(&Action::Over(5 * SECOND, GuestState::Hangs))));
    }

    #[test]
    fn a_panic_that_does_not_end_the_machine_is_ended_unless_the_agent_answers() {
        let now = Instant::now();
        let mut limits = Limits::start(now, 60 * SECOND, None);
        limits.program_starts(now, None);
        limits.panicked(now, false);
        limits.answered(now + SECOND);
        assert!(actions(&mut limits, now + 9 * SECOND).is_empty());
        limits.panicked(now, false);
        assert_eq!(actions(&mut limits, now + 9 * SECOND), [Action::GaveUp]);
        limits.panicked(now, true);
        limits.answered(now + SECOND);
        assert_eq!(actions(&mut limits, now + 9 * SECOND), [Action::GaveUp], "qemu's word is sure");
        assert_eq!(limits.over, None);
    }

    #[test]
    fn kvm_must_show_life() {
        let now = Instant::now();
        let mut kvm = Limits::start(now, 60 * SECOND, Some(20 * SECOND));
        assert_eq!(actions(&mut kvm, now + 30 * SECOND), [Action::NoLife]);
        let mut alive = Limits::start(now, 60 * SECOND, Some(20 * SECOND));
        alive.lives();
        assert!(actions(&mut alive, now + 30 * SECOND).is_empty());
    }

    #[test]
    fn a_limit_that_no_clock_can_hold_is_none() {
        let now = Instant::now();
        let mut limits = Limits::start(now, Duration::MAX, Some(Duration::MAX));
        limits.program_starts(now, Some(Duration::MAX));
        limits.must_be_ready(now, Duration::MAX);
        assert!(limits.next().is_some_and(|next| next > now + 1_000_000 * SECOND));
        assert_eq!(limits.due(now + 1_000_000 * SECOND), None);
    }

    #[test]
    fn a_qemu_that_does_not_quit_is_killed() {
        let now = Instant::now();
        let mut limits = Limits::start(now, 60 * SECOND, None);
        limits.quits(now);
        assert_eq!(actions(&mut limits, now + 90 * SECOND), [Action::Kill]);
    }
}
