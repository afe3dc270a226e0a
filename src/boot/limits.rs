//! What is done when: watchdogs of a machine that starts, the time limit, and the look at a guest that hangs.
//!
//! Pure: takes the time as an argument and gives actions; `session` does them.

use std::time::{Duration, Instant};

use super::outcome::State;

/// KVM shows a sign of life within this time or does not work: a kernel needs less than a second there.
const KVM_LIFE: Duration = Duration::from_secs(20);

/// The agent answers a ping within this time, or the guest hangs.
const ANSWER: Duration = Duration::from_secs(1);

/// A kernel that panicked resets within this time; with the user's `panic=0` it never does.
const PANIC: Duration = Duration::from_secs(3);

/// qemu obeys `quit` within this time, or is killed.
const QUIT: Duration = Duration::from_secs(2);

/// Something to do now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Action {
    /// Ask the agent whether it lives.
    Ping,
    /// Let the agent ask the kernel for stacks: these sysrq letters.
    AgentSysRq(&'static str),
    /// BREAK on the console: the next byte is a sysrq command.
    Break,
    /// That byte.
    Letter(u8),
    /// A non-maskable interrupt: stacks even of a kernel that takes no other.
    Nmi,
    /// Give up on KVM, or on the snapshot.
    NoLife,
    /// End the machine.
    Quit,
    /// qemu does not obey.
    Kill,
}

/// Processors' backtraces (l), blocked tasks (w): through the agent when it answers, else from outside.
const THROUGH_AGENT: &[(Action, Duration)] = &[(Action::AgentSysRq("lw"), Duration::from_millis(500))];
const FROM_OUTSIDE: &[(Action, Duration)] = &[
    (Action::Break, Duration::from_millis(60)),
    (Action::Letter(b'l'), Duration::from_millis(250)),
    (Action::Break, Duration::from_millis(60)),
    (Action::Letter(b'w'), Duration::from_millis(250)),
    (Action::Nmi, Duration::from_millis(700)),
];

/// The clock of one machine.
#[derive(Debug, Default)]
pub(super) struct Limits {
    /// Under KVM, and of a machine that is restored, until the agent speaks.
    life: Option<Instant>,
    /// Until the agent is ready.
    ready: Option<(Instant, Duration)>,
    /// Of the program.
    program: Option<(Instant, Duration)>,
    /// The agent was asked.
    asked: Option<Instant>,
    /// The kernel gave up, or a program wrote so.
    panic: Option<Instant>,
    /// What is left of the look, and when it goes on.
    look: Option<(&'static [(Action, Duration)], Instant)>,
    quit: Option<Instant>,
    /// The limit that was over, and what the guest was doing.
    pub(super) over: Option<(Duration, State)>,
}

impl Limits {
    /// The machine starts now, and must be ready within `ready`.
    pub(super) fn start(now: Instant, ready: Duration, kvm: bool) -> Self {
        let life = kvm.then(|| now + KVM_LIFE);
        Self { life, ready: Some((now + ready, ready)), ..Self::default() }
    }

    /// The machine is restored now, and must show life within `life`.
    pub(super) fn restore(now: Instant, life: Duration) -> Self {
        Self { life: Some(now + life), ..Self::default() }
    }

    /// The agent spoke.
    pub(super) fn lives(&mut self) {
        self.life = None;
    }

    /// The program starts now, and may run for so long.
    pub(super) fn program_starts(&mut self, now: Instant, limit: Option<Duration>) {
        self.ready = None;
        self.program = limit.map(|limit| (now + limit, limit));
    }

    /// The program ended: what is left is a matter of bytes.
    pub(super) fn program_ended(&mut self) {
        (self.program, self.asked, self.panic) = (None, None, None);
    }

    /// There is a sign that the kernel gave up. A program can write such a line too, so the agent is asked.
    pub(super) fn panicked(&mut self, now: Instant) {
        self.life = None;
        self.panic.get_or_insert(now + PANIC);
    }

    /// The agent answered.
    pub(super) fn answered(&mut self, now: Instant) {
        self.panic = None;
        if self.asked.take().is_some() {
            self.look_at(State::Runs, now);
        }
    }

    /// The end was asked for.
    pub(super) fn quits(&mut self, now: Instant) {
        *self = Self { quit: Some(self.quit.unwrap_or(now + QUIT)), over: self.over, ..Self::default() };
    }

    /// qemu was asked to end.
    pub(super) fn is_quitting(&self) -> bool {
        self.quit.is_some()
    }

    fn look_at(&mut self, state: State, now: Instant) {
        self.over = self.over.map(|(limit, _)| (limit, state));
        self.look = Some((if state == State::Runs { THROUGH_AGENT } else { FROM_OUTSIDE }, now));
    }

    /// When `due` has something to do next.
    pub(super) fn next(&self) -> Option<Instant> {
        let (ready, program) = (self.ready.map(|(at, _)| at), self.program.map(|(at, _)| at));
        let look = self.look.map(|(_, at)| at);
        [self.life, ready, program, self.asked, self.panic, look, self.quit].into_iter().flatten().min()
    }

    /// What is to be done now; call again until there is nothing.
    pub(super) fn due(&mut self, now: Instant) -> Option<Action> {
        if self.quit.take_if(|at| *at <= now).is_some() {
            return Some(Action::Kill);
        }
        if self.life.take_if(|at| *at <= now).is_some() {
            return Some(Action::NoLife);
        }
        if self.panic.take_if(|at| *at <= now).is_some() {
            return Some(Action::Quit);
        }
        // A kernel that gave up is not slow.
        if self.panic.is_none()
            && let Some((_, limit)) = self.ready.take_if(|(at, _)| *at <= now)
        {
            self.over = Some((limit, State::Booting));
            self.look_at(State::Booting, now);
        }
        if self.panic.is_none()
            && let Some((_, limit)) = self.program.take_if(|(at, _)| *at <= now)
        {
            self.over = Some((limit, State::Hangs));
            self.asked = Some(now + ANSWER);
            return Some(Action::Ping);
        }
        if self.asked.take_if(|at| *at <= now).is_some() {
            self.look_at(State::Hangs, now);
        }
        let (steps, _) = self.look.take_if(|(_, at)| *at <= now)?;
        let Some(((action, wait), rest)) = steps.split_first() else { return Some(Action::Quit) };
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
        let mut limits = Limits::start(now, 60 * SECOND, false);
        assert!(actions(&mut limits, now + 59 * SECOND).is_empty());
        let done = actions(&mut limits, now + 70 * SECOND);
        assert_eq!((done[0], done[4], done[5]), (Action::Break, Action::Nmi, Action::Quit));
        assert_eq!(limits.over, Some((60 * SECOND, State::Booting)));
    }

    #[test]
    fn a_program_that_runs_too_long_is_told_from_a_guest_that_hangs() {
        let now = Instant::now();
        let started = || {
            let mut limits = Limits::start(now, 60 * SECOND, false);
            limits.program_starts(now, Some(5 * SECOND));
            assert_eq!(actions(&mut limits, now + 5 * SECOND), [Action::Ping]);
            limits
        };
        let mut runs = started();
        runs.answered(now + 5 * SECOND);
        assert_eq!(actions(&mut runs, now + 9 * SECOND), [Action::AgentSysRq("lw"), Action::Quit]);
        assert_eq!(runs.over, Some((5 * SECOND, State::Runs)));
        let mut hangs = started();
        assert_eq!(actions(&mut hangs, now + 9 * SECOND)[0], Action::Break);
        assert_eq!(hangs.over, Some((5 * SECOND, State::Hangs)));
    }

    #[test]
    fn a_panic_that_does_not_end_the_machine_is_ended_unless_the_agent_answers() {
        let now = Instant::now();
        let mut limits = Limits::start(now, 60 * SECOND, false);
        limits.program_starts(now, None);
        limits.panicked(now);
        limits.answered(now + SECOND);
        assert!(actions(&mut limits, now + 9 * SECOND).is_empty());
        limits.panicked(now);
        assert_eq!(actions(&mut limits, now + 9 * SECOND), [Action::Quit]);
        assert_eq!(limits.over, None);
    }

    #[test]
    fn kvm_must_show_life() {
        let now = Instant::now();
        let mut kvm = Limits::start(now, 60 * SECOND, true);
        assert_eq!(actions(&mut kvm, now + 30 * SECOND), [Action::NoLife]);
        let mut alive = Limits::start(now, 60 * SECOND, true);
        alive.lives();
        assert!(actions(&mut alive, now + 30 * SECOND).is_empty());
    }

    #[test]
    fn a_qemu_that_does_not_quit_is_killed() {
        let now = Instant::now();
        let mut limits = Limits::start(now, 60 * SECOND, false);
        limits.quits(now);
        limits.quits(now + SECOND);
        assert_eq!(actions(&mut limits, now + 90 * SECOND), [Action::Kill]);
    }
}
