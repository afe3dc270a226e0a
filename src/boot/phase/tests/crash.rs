//! Guests whose memory is kept: those that crashed, and those that go on.

use super::*;

/// The inputs, one after the other, at one moment.
fn take(play: &mut Play, inputs: &[Input]) -> Vec<Effect> {
    let now = Instant::now();
    inputs.iter().flat_map(|input| play.take(input.clone(), now)).collect()
}

/// What is told of a machine that ended without a word of its kernel.
#[test]
fn a_guest_that_is_lost_leaves_its_memory_unless_a_program_wanted_that() {
    let dumps = || running(Plan { dumps: true, ..plan(Start::Cold) });
    let dump = |end: End| [Effect::Qemu(qmp::STOP), Effect::Dump(Some(end))];
    let paused = [shutdown("guest-reset"), Input::Qemu(Said::Stopped)];
    let reset = || End::Lost("the guest reset itself before the program ended".into());
    let mut play = dumps();
    take(&mut play, &[&[Input::Sign(Sign::Restart)], &paused[..]].concat());
    assert_eq!(take(&mut play, &[Input::Drained, Input::Drained]), [Effect::Qemu(qmp::QUIT)]);
    assert_eq!(ends(play, [gone(0)]), reset());
    // A triple fault.
    let mut play = dumps();
    take(&mut play, &paused);
    assert_eq!(take(&mut play, &[Input::Drained]), dump(reset()));
    assert_eq!(take(&mut play, &[Input::Dumped]), [Effect::Qemu(qmp::QUIT)]);
    assert_eq!(ends(play, [gone(0)]), reset());
    // The agent on another processor may answer before the kernel has done what it said.
    let mut play = dumps();
    take(&mut play, &[&[Input::Sign(Sign::Restart), Input::Guest(FromGuest::Pong)], &paused[..]].concat());
    assert_eq!(take(&mut play, &[Input::Drained]), [Effect::Qemu(qmp::QUIT)]);
    // A program that only wrote the kernel's words has not ended the machine.
    let mut play = dumps();
    take(&mut play, &[Input::Sign(Sign::Restart), Input::Guest(FromGuest::Pong)]);
    assert_eq!(ends(play, [gone(9)]), host("qemu ended (signal: 9 (SIGKILL))", None));
    // Behind its end the program's status counts, also while what it wrote is on its way.
    let mut play = dumps();
    take(&mut play, &[exit(7, 5)]);
    take(&mut play, &paused);
    assert_eq!(take(&mut play, &[Input::Drained]), [Effect::Qemu(qmp::QUIT)]);
    let told_later = play.late_end();
    assert_eq!(ends(play, [Input::Came(0, 5), gone(0)]), End::Exited(7));
    assert_eq!(told_later, Some("it started again without a word"));
    // It is told, and kept, when all of that has come.
    let mut play = dumps();
    take(&mut play, &[&[exit(7, 0)], &paused[..]].concat());
    let told = take(&mut play, &[Input::Drained]);
    assert_eq!(told[..2], [Effect::LatePanic("it started again without a word"), Effect::Unsynced]);
    assert_eq!(told[2..], dump(End::Lost("the guest reset itself after the program had ended".into())));
    take(&mut play, &[Input::Dumped]);
    assert_eq!(ends(play, [gone(0)]), End::Exited(7));
    // One that powers off is wanted, too.
    let mut play = dumps();
    take(&mut play, &[shutdown("guest-shutdown"), Input::Qemu(Said::Stopped)]);
    assert_eq!(take(&mut play, &[Input::Drained]), [Effect::Qemu(qmp::QUIT)]);
    // KVM could not go on with what the guest did.
    let mut play = dumps();
    let internal = host("KVM stopped with an internal error", None);
    assert_eq!(take(&mut play, &stopped("internal-error"))[1..], dump(internal.clone()));
    assert_eq!(take(&mut play, &[Input::Dumped]), [Effect::Qemu(qmp::QUIT)]);
    assert_eq!(end(play), internal);
}

/// What is told of a guest that crashed, when its memory is kept.
#[test]
fn a_guest_that_crashed_stands_still_until_its_memory_is_written() {
    let dumps = || running(Plan { dumps: true, timeout: Some(5 * SECOND), ..plan(Start::Cold) });
    let paused = [Input::Qemu(Said::Panicked), shutdown("guest-reset"), Input::Qemu(Said::Stopped)];
    let dump = |end: End| [Effect::Qemu(qmp::STOP), Effect::Dump(Some(end))];
    let mut play = dumps();
    let status = Effect::Qemu(qmp::STATUS);
    assert_eq!(take(&mut play, &paused), [status.clone(), Effect::Drain]);
    assert_eq!(take(&mut play, &[Input::Drained]), dump(End::Panicked));
    // Whatever comes meanwhile is no other end.
    assert_eq!(take(&mut play, &[Input::Qemu(Said::Stopped), exit(0, 0), Input::Sign(Sign::Halt)]), []);
    assert_eq!(take(&mut play, &[Input::Dumped]), [Effect::Qemu(qmp::QUIT)]);
    assert_eq!(end(play), End::Panicked);
    for then in [vec![Input::Signal(15), Input::Signal(2)], vec![gone(9)], vec![Input::Qemu(Said::Endless)], vec![]] {
        let mut play = dumps();
        take(&mut play, &[&paused[..], &[Input::Drained], &then].concat());
        assert_eq!(end(play), End::Panicked, "{then:?}");
    }
    // One that only the console told of is known when that is read.
    let mut play = dumps();
    assert_eq!(take(&mut play, &paused[1..]), [status, Effect::Drain]);
    assert_eq!(take(&mut play, &[Input::Sign(Sign::Panic), Input::Drained])[1..], dump(End::Panicked));
    // Behind the program's end it is said, and kept, and the status stays the program's.
    let mut play = dumps();
    take(&mut play, &[&[exit(7, 0)], &paused[..]].concat());
    let told = take(&mut play, &[Input::Drained]);
    assert_eq!(told[..2], [Effect::LatePanic("its console has no words of that"), Effect::Unsynced]);
    assert_eq!(told[2..], dump(End::Panicked));
    let full = Input::Unwritten(0, "full".into());
    let mut unwritten = dumps();
    take(&mut unwritten, &[&[exit(7, 0)], &paused[..], &[Input::Drained, full, Input::Dumped]].concat());
    assert_eq!(end(unwritten), host("full", Some(7)));
    assert_eq!(take(&mut play, &[Input::Dumped]), [Effect::Qemu(qmp::QUIT)]);
    assert_eq!(end(play), End::Exited(7));
    let mut off = dumps();
    let words = [exit(7, 0), Input::Sign(Sign::Panic), shutdown("guest-shutdown"), Input::Drained];
    assert_eq!(take(&mut off, &words).last(), Some(&Effect::Qemu(qmp::QUIT)));
    // One that stood still already is not stopped once more.
    let mut play = dumps();
    take(&mut play, &[Input::Qemu(Said::Stopped), Input::Qemu(Said::Status("paused".into())), shutdown("guest-reset")]);
    take(&mut play, &[Input::Sign(Sign::Restart)]);
    let told = take(&mut play, &[Input::Qemu(Said::Status("paused".into())), Input::Drained]);
    assert_eq!(told, [Effect::Drain, Effect::Qemu(qmp::QUIT)]);
    let limit = played(Plan { dumps: true, ..plan(Start::Cold) }, []).0;
    assert_eq!(end(limit), End::Limit(60 * SECOND, GuestState::Booting));
    // Where nothing is kept nothing waits.
    let mut play = running(plan(Start::Cold));
    take(&mut play, &paused);
    assert_eq!(take(&mut play, &[Input::Drained]), [Effect::Qemu(qmp::QUIT)]);
}

#[test]
fn who_wants_to_see_a_guests_memory_lets_it_go_on() {
    let mut play = running(plan(Start::Cold));
    let now = Instant::now();
    assert_eq!(play.take(Input::Dump, now), [Effect::Qemu(qmp::STOP), Effect::Dump(None)]);
    assert_eq!(play.take(Input::Dumped, now), [Effect::Qemu(qmp::CONTINUE)]);
    assert_eq!(ends(play, [exit(7, 0), synced()]), End::Exited(7));
    // What its program said last was on its way: it goes on, and says the rest.
    let mut ends_meanwhile = running(plan(Start::Cold));
    ends_meanwhile.take(Input::Dump, now);
    ends_meanwhile.take(exit(7, 3), now);
    assert_eq!(ends_meanwhile.take(Input::Clock { waiting: false }, now + 60 * SECOND), []);
    assert_eq!(ends_meanwhile.take(Input::Dumped, now + 61 * SECOND), [Effect::Qemu(qmp::CONTINUE)]);
    assert_eq!(ends(ends_meanwhile, [Input::Came(0, 3), synced()]), End::Exited(7));
    // A second wish changes nothing: one dump serves both, and the machine goes on after it.
    let mut twice = running(plan(Start::Cold));
    twice.take(Input::Dump, now);
    twice.take(Input::Qemu(Said::Stopped), now);
    assert_eq!(twice.take(Input::Dump, now), []);
    assert_eq!(twice.take(Input::Dumped, now), [Effect::Qemu(qmp::CONTINUE)]);
    // Its time stands still as long, and for no more than two minutes if nothing is written.
    let mut slow = running(Plan { timeout: Some(5 * SECOND), ..plan(Start::Cold) });
    let begun = slow.next().unwrap() - 5 * SECOND;
    slow.take(Input::Dump, begun + SECOND);
    assert_eq!(slow.next(), Some(begun + 121 * SECOND));
    assert_eq!(slow.take(Input::Clock { waiting: false }, begun + 60 * SECOND), []);
    let goes_on = slow.take(Input::Clock { waiting: false }, begun + 121 * SECOND);
    assert_eq!(goes_on, [Effect::NoDump(STANDS), Effect::Qemu(qmp::CONTINUE)]);
    assert_eq!(slow.next(), Some(begun + 125 * SECOND));
    // A signal ends it at once: the guest, which stands still, cannot take it.
    let mut ended = running(plan(Start::Cold));
    ended.take(Input::Dump, now);
    assert_eq!(ended.take(Input::Signal(2), now), [Effect::Qemu(qmp::QUIT)]);
    assert_eq!(end(ended), End::Interrupted(2));
    // A memory that takes longer has the time, as long as its writing comes forward: a large one, on a busy host.
    let mut large = running(Plan { timeout: Some(5 * SECOND), ..plan(Start::Cold) });
    large.take(Input::Dump, now);
    for minutes in 1..10 {
        assert_eq!(large.take(Input::Clock { waiting: false }, now + minutes * 60 * SECOND), []);
        assert_eq!(large.take(Input::Dumping, now + minutes * 60 * SECOND), []);
    }
    assert_eq!(large.take(Input::Dumped, now + 600 * SECOND), [Effect::Qemu(qmp::CONTINUE)]);
    let mut crashed = running(Plan { dumps: true, ..plan(Start::Cold) });
    let begun = Instant::now();
    for word in [Input::Qemu(Said::Panicked), shutdown("guest-reset"), Input::Qemu(Said::Stopped), Input::Drained] {
        crashed.take(word, begun);
    }
    for minutes in 1..10 {
        assert_eq!(crashed.take(Input::Clock { waiting: false }, begun + minutes * 60 * SECOND), []);
        assert_eq!(crashed.take(Input::Dumping, begun + minutes * 60 * SECOND), []);
    }
    let given_up = crashed.take(Input::Clock { waiting: false }, begun + (9 * 60 + 121) * SECOND);
    assert_eq!((given_up, end(crashed)), (vec![Effect::Qemu(qmp::QUIT)], End::Panicked));
    // Who stopped it before, by qemu's monitor perhaps, lets it go on.
    let mut stopped = running(plan(Start::Cold));
    stopped.take(Input::Qemu(Said::Stopped), now);
    stopped.take(Input::Dump, now);
    assert_eq!(stopped.take(Input::Dumped, now), []);
    let refused = |mut play: Play| matches!(play.take(Input::Dump, now)[..], [Effect::NoDump(_)]);
    assert!(refused(running(Plan { debugged: true, ..plan(Start::Cold) })));
    assert!(refused(played(plan(Start::Restore("/f".into())), []).0));
    assert!(!refused(played(plan(Start::Cold), []).0), "what hangs in a hook, or before");
}

#[test]
fn a_machine_that_somebody_holds_has_all_the_time() {
    let begin = || {
        let play = running(Plan { timeout: Some(5 * SECOND), ..plan(Start::Cold) });
        let begun = play.next().unwrap() - 5 * SECOND;
        (play, begun)
    };
    for word in ["paused", "debug"] {
        let (mut held, begun) = begin();
        for input in stopped(word) {
            held.take(input, begun + SECOND);
        }
        assert_eq!(held.next(), None, "{word}: nothing is due");
        assert_eq!(held.take(Input::Clock { waiting: false }, begun + 3600 * SECOND), []);
        assert_eq!(held.take(Input::Qemu(Said::Resumed), begun + 3601 * SECOND), []);
        assert_eq!(held.next(), Some(begun + 3605 * SECOND), "{word}: what was left is left");
        assert_eq!(ends(held, [exit(7, 0), synced()]), End::Exited(7));
    }
    // Nobody in it hears a signal, so the first one ends it.
    let (mut held, begun) = begin();
    for input in stopped("debug") {
        held.take(input, begun);
    }
    assert_eq!(held.take(Input::Signal(2), begun), [Effect::Qemu(qmp::QUIT)]);
    assert_eq!(end(held), End::Interrupted(2));
    // Its memory can be seen, and it is held afterwards as before.
    let (mut held, begun) = begin();
    for input in stopped("debug") {
        held.take(input, begun);
    }
    assert_eq!(held.take(Input::Dump, begun + SECOND), [Effect::Qemu(qmp::STOP), Effect::Dump(None)]);
    assert_eq!(held.take(Input::Dumped, begun + 2 * SECOND), []);
    assert_eq!(held.next(), None);
    // One who lets it go on while it is written has torn it.
    held.take(Input::Dump, begun + 3 * SECOND);
    assert!(matches!(held.take(Input::Qemu(Said::Resumed), begun + 4 * SECOND)[..], [Effect::NoDump(_)]));
    held.take(Input::Dumped, begun + 5 * SECOND);
    assert_eq!(held.next(), Some(begun + 10 * SECOND), "its time goes on from there");
}

#[test]
fn a_guest_that_crashed_stands_still_for_a_debugger_and_keeps_its_end() {
    let now = Instant::now();
    let shown = |dumps: bool| {
        let mut play = running(Plan { dumps, shows: true, timeout: Some(5 * SECOND), ..plan(Start::Cold) });
        for input in [Input::Qemu(Said::Panicked), shutdown("guest-reset"), Input::Qemu(Said::Stopped)] {
            play.take(input, now);
        }
        let mut effects = play.take(Input::Drained, now);
        if dumps {
            effects = play.take(Input::Dumped, now);
        }
        assert_eq!(effects.last(), Some(&Effect::Shown));
        assert_eq!(play.next(), None, "for as long as they want");
        assert_eq!(play.take(Input::Clock { waiting: false }, now + 3600 * SECOND), []);
        play
    };
    for dumps in [false, true] {
        // It ends when somebody wants it to, or when qemu is gone: always as what it was.
        for then in [Input::Signal(2), Input::Leave(15), gone(0)] {
            assert_eq!(ends(shown(dumps), [then.clone()]), End::Panicked, "{then:?}");
        }
        // What is asked of it meanwhile is no end.
        let mut play = shown(dumps);
        assert_eq!(play.take(Input::Qemu(Said::Stopped), now), []);
        assert_eq!(play.take(Input::Dumped, now), []);
        assert_eq!(play.take(Input::Qemu(Said::Resumed), now), [Effect::Qemu(qmp::STOP)]);
        assert!(matches!(play.take(Input::Dump, now)[..], [Effect::NoDump(_)]));
        assert_eq!(*play.phase(), Phase::Still(End::Panicked));
    }
    // One that is let go on while it is written is stopped again, and what was written is of two moments.
    let mut torn = running(Plan { dumps: true, shows: true, ..plan(Start::Cold) });
    for input in [Input::Qemu(Said::Panicked), shutdown("guest-reset"), Input::Qemu(Said::Stopped), Input::Drained] {
        torn.take(input, now);
    }
    assert!(matches!(torn.take(Input::Qemu(Said::Resumed), now)[..], [Effect::Qemu(qmp::STOP), Effect::NoDump(_)]));
    // A program that ends well needs nobody to look.
    let play = running(Plan { shows: true, ..plan(Start::Cold) });
    assert_eq!(ends(play, [exit(0, 0), synced()]), End::Exited(0));
}

#[test]
fn nobody_starts_from_a_machine_that_somebody_held() {
    let now = Instant::now();
    let mut play = played(plan(save()), []).0;
    for input in stopped("debug").into_iter().chain([Input::Qemu(Said::Resumed)]) {
        play.take(input, now);
    }
    let effects = play.take(hello(), now);
    let is_refused = |effect: &Effect| matches!(effect, Effect::Settle(Level::Base, Saved::Failed(_)));
    assert!(
        effects.iter().any(is_refused) && !effects.iter().any(|effect| matches!(effect, Effect::Save(_))),
        "{effects:?}"
    );
}
