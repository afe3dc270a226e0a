//! Tables of what a machine does next, and a model that plays random orders of all that can happen.

use super::*;
use crate::boot::outcome::{GuestState, Saved};
use crate::boot::qmp::Said;
use crate::machine::Start;
use signal_hook::consts::SIGHUP;
use std::os::unix::process::ExitStatusExt;
use std::process::ExitStatus;
use std::time::Duration;

const SECOND: Duration = Duration::from_secs(1);

fn plan(start: Start) -> Plan {
    Plan {
        start,
        kvm: None,
        tried_again: false,
        debugged: false,
        shows: false,
        dumps: false,
        alone: true,
        restored_within: 15 * SECOND,
        ready_within: 60 * SECOND,
        timeout: None,
    }
}

fn save() -> Start {
    Start::Save { base: Some("/b".into()), full: Some("/f".into()) }
}

fn grow() -> Start {
    Start::Grow { base: "/b".into(), full: None }
}

fn exit(status: u8, stdout: u64) -> Input {
    Input::Guest(FromGuest::Exit { status, stdout, stderr: 0 })
}

fn hello() -> Input {
    Input::Guest(FromGuest::Hello(1))
}

fn ready() -> Input {
    Input::Guest(FromGuest::Ready(None))
}

fn awake() -> Input {
    Input::Guest(FromGuest::Awake { hooks: false })
}

fn synced() -> Input {
    Input::Guest(FromGuest::Synced { shares: true, marked: false })
}

fn shutdown(reason: &str) -> Input {
    Input::Qemu(Said::Shutdown(reason.to_owned()))
}

fn stopped(status: &str) -> [Input; 2] {
    [Input::Qemu(Said::Stopped), Input::Qemu(Said::Status(status.to_owned()))]
}

fn gone(raw: i32) -> Input {
    Input::Gone(Some(ExitStatus::from_raw(raw)))
}

/// A machine to which this happens at once.
fn played(plan: Plan, inputs: impl IntoIterator<Item = Input>) -> (Play, Vec<Effect>) {
    let now = Instant::now();
    let mut play = Play::new(plan, now);
    let effects = inputs.into_iter().flat_map(|input| play.take(input, now)).collect();
    (play, effects)
}

/// One whose program runs.
fn running(plan: Plan) -> Play {
    let before = match plan.start {
        Start::Restore(_) => vec![Input::Qemu(Said::Resumed)],
        Start::Grow { .. } => vec![Input::Qemu(Said::Resumed), ready()],
        _ => vec![Input::Spoke, hello(), ready()],
    };
    let (play, _) = played(plan, before.into_iter().chain([awake()]));
    assert_eq!(play.phase, Phase::Running(Run::Free));
    play
}

/// Lets time pass, and qemu obey, until the end.
fn end(mut play: Play) -> End {
    let mut quit = matches!(play.phase, Phase::Ending(_));
    for _ in 0..100 {
        if let Phase::Over(end) = play.phase {
            return end;
        }
        let now = play.next().unwrap_or_else(Instant::now);
        let told = if quit { gone(0) } else { Input::Clock { waiting: false } };
        let effects = play.take(told, now);
        quit = effects.contains(&Effect::Qemu(qmp::QUIT));
        if let Phase::Gone(_) = play.phase {
            play.take(Input::Written, now);
        }
    }
    panic!("no end in {play:?}")
}

fn ends(mut play: Play, inputs: impl IntoIterator<Item = Input>) -> End {
    let now = Instant::now();
    inputs.into_iter().for_each(|input| drop(play.take(input, now)));
    end(play)
}

fn host(why: &str, program: Option<u8>) -> End {
    End::Host { why: why.to_owned(), program }
}

#[test]
fn a_machine_goes_its_way_step_by_step() {
    let (_, effects) = played(plan(Start::Cold), [hello(), ready(), awake(), exit(0, 0), synced()]);
    let plain = effects.into_iter().filter(|effect| !matches!(effect, Effect::Step(_) | Effect::Forget));
    assert_eq!(plain.collect::<Vec<_>>(), [Effect::Mount, Effect::Wake, Effect::Start, Effect::Qemu(qmp::QUIT)]);
    let (_, effects) = played(plan(Start::Restore("/f".into())), [Input::Qemu(Said::Resumed)]);
    assert_eq!(effects, [Effect::Step("restore"), Effect::Wake]);
    let (_, effects) = played(plan(grow()), [Input::Qemu(Said::Resumed)]);
    assert_eq!(effects, [Effect::Step("restore"), Effect::Mount]);
}

#[test]
fn a_machine_is_saved_on_its_way() {
    let able = Input::Qemu(Said::Able(Ok(qmp::Transport::Fd)));
    let moved = || Input::Qemu(Said::Moved(Ok(())));
    let copied = || Input::Copied(Ok(()));
    let ways = [vec![Input::Qemu(Said::Still), copied(), moved()], vec![moved(), copied()]];
    for way in ways.into_iter().chain([vec![Input::Qemu(Said::Still), moved(), copied()]]) {
        let (play, effects) = played(plan(save()), [hello(), able.clone()].into_iter().chain(way));
        let wanted = [
            Effect::Save(Level::Base),
            Effect::Copy(Level::Base),
            Effect::Qemu(qmp::CONTINUE),
            Effect::Step("save"),
            Effect::Mount,
            Effect::Settle(Level::Base, Saved::Done),
        ];
        assert_eq!((&effects[2..], play.phase), (&wanted[..], Phase::Mounting));
    }
    let never = Input::Guest(FromGuest::Ready(Some("hook".into())));
    let failed = Input::Qemu(Said::Moved(Err("a device".into())));
    let (play, effects) = played(plan(save()), [hello(), able, failed, never]);
    assert!(effects.contains(&Effect::Settle(Level::Base, Saved::Failed("a device".into()))));
    assert!(effects.contains(&Effect::Settle(Level::Full, Saved::Never("hook".into()))));
    assert!(!effects.contains(&Effect::Qemu(qmp::CONTINUE)) && play.phase == Phase::Waking);
}

/// One that is kept, whose program has ended and wrote nothing.
fn kept(status: u8) -> Play {
    let start = Start::Keep { from: Some("/f".into()), to: "/k".into() };
    let (mut play, _) = played(
        plan(start),
        [Input::Qemu(Said::Able(Ok(qmp::Transport::Fd))), Input::Qemu(Said::Resumed), awake(), exit(status, 0)],
    );
    play.take(Input::Quiet, Instant::now());
    play
}

#[test]
fn a_machine_is_kept_when_its_program_ended_well_and_it_is_at_rest() {
    let now = Instant::now();
    let mut play = kept(0);
    assert!(play.take(synced(), now).is_empty(), "it may not be at rest yet");
    assert_eq!(play.take(ready(), now), [Effect::Save(Level::Kept)]);
    play.take(Input::Qemu(Said::Still), now);
    play.take(Input::Qemu(Said::Moved(Ok(()))), now);
    let done = play.take(Input::Copied(Ok(())), now);
    assert_eq!(
        done,
        [Effect::Step("save"), Effect::Qemu(qmp::QUIT), Effect::Settle(Level::Kept, Saved::Done)],
        "it does not go on"
    );
    assert_eq!(end(play), End::Exited(0));
    // If a share is held, that is told; so is a guest that says nothing, and a qemu that cannot save.
    let busy = Input::Guest(FromGuest::Ready(Some("process 7".into())));
    let settled = |mut play: Play, inputs: Vec<Input>| {
        let effects: Vec<Effect> = inputs.into_iter().flat_map(|input| play.take(input, now)).collect();
        let next = play.next();
        let late = next.map_or(Vec::new(), |at| play.take(Input::Clock { waiting: false }, at));
        let told = [effects, late].concat().into_iter().find(|effect| matches!(effect, Effect::Settle(..)));
        (told, end(play))
    };
    let failed = |why: &str| Some(Effect::Settle(Level::Kept, Saved::Failed(why.to_owned())));
    let never = Some(Effect::Settle(Level::Kept, Saved::Never("process 7".into())));
    assert_eq!(settled(kept(0), vec![synced(), busy]), (never, End::Exited(0)));
    let silent = failed("the guest did not say in time that it can be saved");
    assert_eq!(settled(kept(0), vec![synced()]), (silent, End::Exited(0)));
    let unable = Input::Qemu(Said::Moved(Err("a device".into())));
    assert_eq!(settled(kept(0), vec![synced(), ready(), unable]), (failed("a device"), End::Exited(0)));
    assert_eq!(
        settled(kept(0), vec![synced(), ready()]),
        (failed("saving takes longer than two minutes"), End::Exited(0))
    );
    // After a program that failed nothing is kept.
    let mut failing = kept(7);
    assert_eq!(failing.take(synced(), now), [Effect::Qemu(qmp::QUIT)]);
    assert_eq!(end(failing), End::Exited(7));
}

#[test]
fn a_status_counts_when_all_bytes_came() {
    let cold = || running(plan(Start::Cold));
    assert_eq!(ends(cold(), [exit(7, 3), Input::Came(0, 3), synced()]), End::Exited(7));
    assert_eq!(ends(cold(), [Input::Unread(0), exit(7, 3), synced()]), End::Exited(7));
    assert_eq!(ends(cold(), [exit(7, 0)]), End::Exited(7), "the shares could not be synced");
    assert_eq!(ends(cold(), [exit(7, 0), gone(9)]), End::Exited(7));
    assert_eq!(ends(cold(), [exit(0, 3), Input::Came(0, 2), gone(0)]), host("qemu ended (exit status: 0)", Some(0)));
    let nothing = "not all that the program wrote came out of the machine";
    assert_eq!(ends(cold(), [exit(0, 3)]), host(nothing, Some(0)));
    let mut slow = cold();
    let now = Instant::now();
    slow.take(exit(0, 3), now);
    slow.take(Input::Clock { waiting: true }, now + 11 * SECOND);
    assert!(matches!(slow.phase, Phase::Ended(..)), "whoever reads it is slow");
}

#[test]
fn a_note_is_told_before_the_program_and_what_the_program_forges_is_none() {
    let note = || Input::Guest(FromGuest::Note("x".to_owned()));
    let (mut play, told) = played(plan(Start::Cold), [hello(), ready(), note(), awake()]);
    assert!(told.contains(&Effect::Note("x".to_owned())), "{told:?}");
    assert_eq!(play.take(note(), Instant::now()), []);
}

#[test]
fn what_the_program_made_the_kernel_say_is_waited_for_and_not_for_ever() {
    let marked = || Input::Guest(FromGuest::Synced { shares: true, marked: true });
    let now = Instant::now();
    let after = |inputs: Vec<Input>| {
        let mut play = running(plan(Start::Cold));
        inputs.into_iter().for_each(|input| drop(play.take(input, now)));
        play
    };
    assert!(matches!(after(vec![exit(7, 0), marked()]).phase, Phase::Ended(..)));
    for order in [vec![exit(7, 0), marked(), Input::Quiet], vec![exit(7, 0), Input::Quiet, marked()]] {
        assert_eq!(after(order).phase, Phase::Ending(End::Exited(7)));
    }
    let mut silent = after(vec![exit(7, 0), marked()]);
    silent.take(Input::Spoke, now + 2 * SECOND);
    silent.take(Input::Clock { waiting: false }, now + 4 * SECOND);
    assert_eq!(silent.phase, Phase::Ending(End::Exited(7)), "a kernel may say things for ever");
    // Also behind its last word, while a sync does not come to its end.
    let mut stuck = after(vec![exit(7, 0)]);
    for second in 1..20 {
        stuck.take(Input::Quiet, now + second * SECOND);
        stuck.take(Input::Clock { waiting: false }, now + second * SECOND);
    }
    assert_eq!(stuck.phase, Phase::Ending(End::Exited(7)));
}

#[test]
fn an_end_is_told_by_whose_fault_it_was() {
    let cold = || running(plan(Start::Cold));
    let lost = |how: &str| End::Lost(format!("{how} before the program ended"));
    assert_eq!(ends(cold(), [shutdown("guest-reset"), gone(0)]), lost("the guest reset itself"));
    assert_eq!(ends(cold(), [shutdown("guest-shutdown"), gone(0)]), lost("the guest powered off"));
    assert_eq!(ends(cold(), [Input::Sign(Sign::Halt)]), lost("the guest halted"));
    assert_eq!(ends(cold(), [Input::Sign(Sign::Panic), shutdown("guest-reset"), gone(0)]), End::Panicked);
    assert_eq!(ends(cold(), [Input::Qemu(Said::Panicked), Input::Guest(FromGuest::Pong)]), End::Panicked);
    assert_eq!(ends(cold(), [gone(9)]), host("qemu ended (signal: 9 (SIGKILL))", None));
    assert_eq!(ends(cold(), [gone(256)]), host("qemu ended (exit status: 1)", None));
    assert_eq!(ends(cold(), [shutdown("host-signal"), gone(0)]), host("qemu ended (host-signal)", None));
    assert_eq!(ends(cold(), stopped("internal-error")), host("KVM stopped with an internal error", None));
    let endless = "qemu sent a line without end on its control channel";
    assert_eq!(ends(cold(), [Input::Qemu(Said::Endless)]), host(endless, None));
    let full = Input::Qemu(Said::DiskFailed("disk0: full".into()));
    assert_eq!(ends(cold(), [full].into_iter().chain(stopped("io-error"))), host("disk0: full", None));
    let mut debugged = cold();
    for input in stopped("debug") {
        debugged.take(input, Instant::now());
    }
    assert_eq!(debugged.phase, Phase::Running(Run::Free), "somebody looks at it");
}

#[test]
fn kvm_is_condemned_by_a_machine_alone_that_said_nothing() {
    let kvm = || Plan { kvm: Some(20 * SECOND), ..plan(Start::Cold) };
    assert_eq!(end(Play::new(kvm(), Instant::now())), End::NoLife(None));
    // Failures that only KVM can cause are tried again, though the kernel has spoken.
    let again = || Plan { tried_again: true, ..kvm() };
    let (spoke, mounts) = (|plan| played(plan, [Input::Spoke]).0, |plan| played(plan, [Input::Spoke, hello()]).0);
    let internal = "KVM stopped with an internal error";
    assert_eq!(ends(spoke(again()), stopped("internal-error")), End::NoLife(Some(internal.into())));
    assert_eq!(ends(spoke(again()), [gone(6)]), End::NoLife(None));
    // Not so with the user's own arguments, after hooks (they may have written to disks), or in a program; a killed qemu says nothing of KVM.
    let aborted = || host("qemu ended (signal: 6 (SIGABRT))", None);
    for play in [spoke(kvm()), mounts(again()), running(again())] {
        assert_eq!(ends(play, [gone(6)]), aborted());
    }
    for play in [spoke(kvm()), mounts(again()), running(again())] {
        assert_eq!(ends(play, stopped("internal-error")), host(internal, None));
    }
    assert_eq!(ends(spoke(again()), [gone(9)]), host("qemu ended (signal: 9 (SIGKILL))", None));
    let slow = played(kvm(), [Input::Spoke]).0;
    assert_eq!(end(slow), End::Limit(60 * SECOND, GuestState::Booting), "as under TCG");
}

#[test]
fn a_qemu_that_stops_a_machine_has_to_say_why() {
    let stop = || Input::Qemu(Said::Stopped);
    let why = "qemu stopped the machine and does not say why";
    assert_eq!(ends(running(plan(Start::Cold)), [stop()]), host(why, None));
    for answer in [Input::Qemu(Said::Status("paused".into())), Input::Qemu(Said::Resumed)] {
        let mut play = running(plan(Start::Cold));
        let now = Instant::now();
        play.take(stop(), now);
        play.take(answer, now);
        assert_eq!(play.next(), None, "whoever stopped it lets it go on");
    }
}

#[test]
fn a_machine_at_a_debugger_has_no_watchdog() {
    let debugged = || Plan { debugged: true, kvm: Some(20 * SECOND), ..plan(Start::Cold) };
    let play = |inputs: Vec<Input>| played(debugged(), inputs).0;
    assert_eq!(play(vec![]).next(), None, "it waits to be started");
    let breakpoint = [Input::Qemu(Said::Stopped), Input::Qemu(Said::Status("debug".into()))];
    let before = [Input::Spoke, hello(), ready()];
    assert_eq!(play([&before[..], &breakpoint].concat()).next(), None, "at a breakpoint in a hook");
    assert_eq!(play(vec![Input::Spoke, Input::Sign(Sign::Panic), Input::Qemu(Said::Panicked)]).next(), None);
    let own = || Input::Guest(FromGuest::Awake { hooks: true });
    assert_eq!(play([&before[..], &[own()]].concat()).next(), None, "in a hook");
    assert_eq!(ends(running(debugged()), [exit(7, 0), synced()]), End::Exited(7));
    assert_eq!(ends(running(debugged()), [Input::Signal(2), Input::Signal(15)]), End::Interrupted(15));
}

#[test]
fn what_cannot_be_written_is_quizs_own_fault_and_has_the_programs_status() {
    let cold = || running(plan(Start::Cold));
    let unwritten = || Input::Unwritten(0, "full".into());
    assert_eq!(ends(cold(), [unwritten(), exit(7, 9)]), host("full", Some(7)));
    assert_eq!(ends(cold(), [exit(0, 9), unwritten()]), host("full", Some(0)));
    assert_eq!(ends(cold(), [exit(0, 0), synced(), unwritten()]), host("full", Some(0)), "while the machine ends");
    assert_eq!(ends(cold(), [exit(0, 0), synced(), gone(0), unwritten()]), host("full", Some(0)), "when it is gone");
    assert_eq!(ends(cold(), [unwritten()]), host("full", None), "a program that goes on");
}

#[test]
fn a_signal_is_passed_on_and_the_machine_ended_when_nobody_is_there() {
    let mut play = running(plan(Start::Cold));
    let now = Instant::now();
    let told = play.take(Input::Signal(15), now);
    assert_eq!(told, [Effect::Send(ToGuest::Signal(15)), Effect::Send(ToGuest::Ping)]);
    assert_eq!(end(play), End::Interrupted(15));
    let mut alive = running(plan(Start::Cold));
    alive.take(Input::Signal(15), now);
    assert_eq!(alive.take(Input::Signal(15), now), [], "as timeout(1) sends it");
    alive.take(Input::Guest(FromGuest::Pong), now);
    assert_eq!(alive.next(), None, "it may end as it likes");
    assert_eq!(ends(alive, [exit(0, 0)]), End::Exited(0));
    assert_eq!(ends(running(plan(Start::Cold)), [Input::Signal(2), Input::Signal(15)]), End::Interrupted(15));
    assert_eq!(ends(running(plan(Start::Cold)), [Input::Signal(SIGHUP)]), End::Interrupted(SIGHUP));
    let several = Plan { alone: false, ..plan(Start::Cold) };
    assert_eq!(ends(running(several), [Input::Signal(2)]), End::Interrupted(2));
    assert_eq!(ends(Play::new(plan(Start::Cold), now), [Input::Signal(2)]), End::Interrupted(2));
}

#[test]
fn what_the_guest_says_is_the_result_whatever_it_started_from() {
    let grown = |inputs: Vec<Input>| end(played(plan(grow()), inputs).0);
    let resumed = || Input::Qemu(Said::Resumed);
    assert_eq!(
        grown(vec![resumed(), Input::Spoke, Input::Sign(Sign::Panic), shutdown("guest-reset"), gone(0)]),
        End::Panicked
    );
    assert_eq!(grown(vec![resumed()]), End::Limit(60 * SECOND, GuestState::Booting));
    assert_eq!(grown(vec![resumed(), Input::Guest(FromGuest::Failed("hook".into()))]), End::Failed("hook".into()));
    assert!(matches!(grown(vec![resumed(), Input::Spoke, shutdown("guest-shutdown"), gone(0)]), End::Lost(_)));
    // These are the snapshot's fault, or qemu's.
    assert_eq!(grown(vec![]), End::NoLife(None));
    assert_eq!(grown(vec![gone(256)]), End::NoLife(None));
    assert_eq!(grown(vec![resumed(), gone(256)]), End::NoLife(None));
    assert_eq!(grown(vec![resumed(), shutdown("guest-reset"), gone(0)]), End::NoLife(None), "without a word");
    assert_eq!(grown(vec![Input::Qemu(Said::Moved(Err("x".into())))]), End::NoLife(Some("x".into())));
    let restored = |inputs: Vec<Input>| {
        let inputs = [vec![resumed()], inputs].concat();
        end(played(plan(Start::Restore("/f".into())), inputs).0)
    };
    assert_eq!(restored(vec![]), End::NoLife(None));
    // Once it is a machine of its own, its hooks are the guest's business, as in one that boots.
    let own = || Input::Guest(FromGuest::Awake { hooks: true });
    assert_eq!(restored(vec![own()]), End::Limit(60 * SECOND, GuestState::Booting));
    assert_eq!(restored(vec![own(), Input::Guest(FromGuest::Failed("hook".into()))]), End::Failed("hook".into()));
    assert!(matches!(restored(vec![own(), shutdown("guest-reset"), gone(0)]), End::Lost(_)));
    assert_eq!(restored(vec![own(), awake(), exit(7, 0), synced()]), End::Exited(7));
}

mod crash;
mod model;
