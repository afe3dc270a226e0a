//! Plays random orders of all that can happen: each has one end, and no status that came is lost or made up.

use super::*;

/// As good as needed, and the same each time.
struct Dice(u64);

impl Dice {
    fn roll(&mut self, sides: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % sides
    }

    fn small(&mut self) -> u64 {
        self.roll(4)
    }

    fn flip(&mut self) -> bool {
        self.roll(2) == 0
    }
}

fn any_plan(dice: &mut Dice) -> Plan {
    let start = match dice.roll(5) {
        0 => Start::Cold,
        1 => save(),
        2 => Start::Grow { base: "/b".into(), full: dice.flip().then(|| "/f".into()) },
        3 => Start::Keep { from: dice.flip().then(|| "/f".into()), to: "/k".into() },
        _ => Start::Restore("/f".into()),
    };
    let kvm = dice.flip().then_some(20 * SECOND);
    let (alone, timeout) = (dice.flip(), dice.flip().then_some(5 * SECOND));
    let tried_again = kvm.is_some() && dice.flip();
    Plan { kvm, tried_again, alone, timeout, dumps: dice.flip(), shows: dice.flip(), ..plan(start) }
}

/// What would come next if all went well.
fn natural(play: &Play, dice: &mut Dice) -> Input {
    match play.phase {
        Phase::Restoring => Input::Qemu(Said::Resumed),
        Phase::Booting => hello(),
        Phase::Saving(_, Save::Wanted) => Input::Qemu(Said::Able(Ok(qmp::Transport::Fd))),
        Phase::Saving(_, Save::Moving) if dice.flip() => Input::Qemu(Said::Still),
        Phase::Saving(_, Save::Moving | Save::Copied(_)) => Input::Qemu(Said::Moved(Ok(()))),
        Phase::Saving(..) => Input::Copied(Ok(())),
        Phase::Mounting => ready(),
        Phase::Waking => Input::Guest(FromGuest::Awake { hooks: dice.flip() }),
        Phase::Owning => awake(),
        Phase::Running(_) => any_exit(dice),
        Phase::Ended(..) if dice.flip() => Input::Came(usize::from(dice.flip()), 3),
        Phase::Ended(_, Shares::Known) if dice.flip() => ready(),
        Phase::Ended(_, Shares::Known) => Input::Quiet,
        Phase::Ended(..) => Input::Guest(FromGuest::Synced { shares: dice.flip(), marked: dice.flip() }),
        Phase::Still(_) if play.seen.shown => Input::Signal(15),
        Phase::Still(_) => Input::Dumped,
        Phase::Ending(_) => gone(0),
        Phase::Gone(_) | Phase::Over(_) => Input::Written,
    }
}

fn any_exit(dice: &mut Dice) -> Input {
    let status = u8::from(dice.flip()) * 7;
    Input::Guest(FromGuest::Exit { status, stdout: dice.small(), stderr: dice.small() })
}

fn any(dice: &mut Dice) -> Input {
    let stream = usize::from(dice.flip());
    match dice.roll(37) {
        0..=3 => Input::Clock { waiting: dice.flip() },
        4 => Input::Spoke,
        5 => Input::Sign(Sign::Panic),
        6 => Input::Sign(if dice.flip() { Sign::Halt } else { Sign::Restart }),
        7 => Input::Wrote("disk".into()),
        8 => hello(),
        9 => Input::Guest(FromGuest::Ready(dice.flip().then(|| "hook".into()))),
        10 => awake(),
        11 => any_exit(dice),
        12 => Input::Guest(FromGuest::Failed("hook".into())),
        13..=14 => Input::Guest(FromGuest::Pong),
        15 => Input::Qemu(Said::Panicked),
        16 => shutdown(["guest-reset", "guest-shutdown", "host-signal"][usize::try_from(dice.roll(3)).unwrap()]),
        17 => Input::Qemu(Said::Stopped),
        18 => Input::Qemu(Said::Status(
            ["io-error", "internal-error", "debug", "paused"][usize::try_from(dice.roll(4)).unwrap()].into(),
        )),
        19 => Input::Qemu(Said::Moved(if dice.flip() { Ok(()) } else { Err("device".into()) })),
        20 => Input::Qemu(Said::Able(if dice.flip() { Ok(qmp::Transport::Fd) } else { Err("able".into()) })),
        21 => Input::Qemu(Said::NotYet),
        22 => Input::Qemu(Said::Resumed),
        23 => Input::Qemu(Said::Still),
        24 => Input::Copied(if dice.flip() { Ok(()) } else { Err("full".into()) }),
        25 => Input::Came(stream, dice.small()),
        26 => Input::Unread(stream),
        27 => Input::Unwritten(stream, "full".into()),
        28 => Input::Signal([2, 15, SIGHUP][usize::try_from(dice.roll(3)).unwrap()]),
        30 => Input::Guest(FromGuest::Synced { shares: dice.flip(), marked: dice.flip() }),
        31 => Input::Quiet,
        32 => Input::Drained,
        33 => Input::Dump,
        34 => Input::Dumped,
        35 => Input::Dumping,
        29 => Input::Qemu(if dice.flip() { Said::DiskFailed("disk".into()) } else { Said::Endless }),
        _ => gone([0, 9, 256][usize::try_from(dice.roll(3)).unwrap()]),
    }
}

/// What an order was, as somebody sees it who knows nothing of phases.
#[derive(Debug, Default)]
struct Witness {
    exit: Option<Exit>,
    came: [u64; 2],
    unread: [bool; 2],
    quits: usize,
    starts: usize,
    settled: [usize; 3],
    end: Option<End>,
}

impl Witness {
    fn step(&mut self, play: &mut Play, input: Input, now: Instant) {
        let before = play.phase.clone();
        match (&input, &before) {
            // Too late to matter.
            (_, Phase::Still(_) | Phase::Ending(_) | Phase::Gone(_) | Phase::Over(_)) => {}
            (Input::Guest(FromGuest::Exit { status, stdout, stderr }), Phase::Running(_)) => {
                self.exit = Some(Exit { status: *status, bytes: [*stdout, *stderr] });
            }
            (Input::Came(stream, total), _) => self.came[*stream] = self.came[*stream].max(*total),
            (Input::Unread(stream), _) => self.unread[*stream] = true,
            _ => {}
        }
        let effects = play.take(input, now);
        self.quits += effects.iter().filter(|effect| **effect == Effect::Qemu(qmp::QUIT)).count();
        self.starts += effects.iter().filter(|effect| **effect == Effect::Start).count();
        for effect in &effects {
            if let Effect::Settle(level, _) = effect {
                self.settled[*level as usize] += 1;
            }
        }
        // An end stays: but what came of the program may still be lost on its way, by quiz's fault or the user's wish.
        match (&before, &play.phase) {
            (Phase::Over(_), after) => assert!(*after == before && effects.is_empty()),
            (
                Phase::Still(was) | Phase::Ending(was) | Phase::Gone(was),
                Phase::Still(is) | Phase::Ending(is) | Phase::Gone(is) | Phase::Over(is),
            ) => {
                let lost = matches!(was, End::Exited(_)) && matches!(is, End::Host { .. } | End::Interrupted(_));
                assert!(was == is || lost, "{was:?} became {is:?}");
                assert!(!matches!(play.phase, Phase::Still(_)) || matches!(before, Phase::Still(_)), "{before:?}");
            }
            (Phase::Still(_) | Phase::Ending(_) | Phase::Gone(_), after) => panic!("{before:?} became {after:?}"),
            _ => {}
        }
        if let Phase::Over(end) = &play.phase {
            self.end.get_or_insert_with(|| end.clone());
        }
        assert!(self.quits <= 1 && self.starts <= 1 && self.settled.iter().all(|count| *count <= 1), "{self:?}");
    }

    fn judge(&self) {
        let end = self.end.as_ref().unwrap();
        let whole = self.exit.is_some_and(|exit| (0..2).all(|n| self.came[n] >= exit.bytes[n] || self.unread[n]));
        if let End::Exited(status) = end {
            assert_eq!(Some(*status), self.exit.map(|exit| exit.status), "made up");
            let exit = self.exit.unwrap();
            assert!((0..2).all(|n| self.came[n] >= exit.bytes[n] || self.unread[n]), "not all of it came");
        }
        match (self.exit, end) {
            (Some(exit), End::Exited(status) | End::Host { program: Some(status), .. }) => {
                assert_eq!(exit.status, *status)
            }
            (Some(_), End::Interrupted(_)) => {}
            (Some(_), end) => assert!(!whole && matches!(end, End::Panicked | End::Lost(_)), "lost: {self:?}"),
            (None, end) => assert!(!matches!(end, End::Exited(_) | End::Host { program: Some(_), .. }), "{self:?}"),
        }
    }
}

fn play_one(seed: u64) {
    let dice = &mut Dice(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1);
    let mut now = Instant::now();
    let mut play = Play::new(any_plan(dice), now);
    let mut witness = Witness::default();
    let wild = 2 + dice.roll(9);
    for _ in 0..dice.roll(40) {
        now += Duration::from_millis(dice.roll(1500));
        let input = if dice.roll(10) < wild { natural(&play, dice) } else { any(dice) };
        witness.step(&mut play, input, now);
    }
    // From here on nothing comes by itself: time passes, qemu is killed when that is wanted, and the user ends a program that runs.
    for _ in 0..60 {
        match (&play.phase, play.next()) {
            (Phase::Over(_), _) => break,
            (Phase::Gone(End::Exited(_)), _) => witness.step(&mut play, Input::Written, now),
            (Phase::Ending(_), None) => witness.step(&mut play, gone(9), now),
            (_, None) if play.seen.told_to_go => witness.step(&mut play, gone(9), now),
            (_, Some(at)) => {
                now = now.max(at);
                witness.step(&mut play, Input::Clock { waiting: false }, now);
            }
            // Nor one that somebody lets stand still.
            (Phase::Running(_), None) => witness.step(&mut play, Input::Signal(15), now),
            (_, None) if play.limits.is_held() || play.seen.shown => witness.step(&mut play, Input::Signal(15), now),
            (phase, None) => panic!("order {seed}: {phase:?} waits for ever"),
        }
    }
    assert!(witness.end.is_some(), "order {seed} has no end: {play:?}");
    (0..3).for_each(|_| witness.step(&mut play, any(dice), now));
    witness.judge();
}

#[test]
fn every_order_has_one_end_and_no_status_is_lost_or_made_up() {
    (1..=100_000).for_each(play_one);
}

#[test]
#[ignore = "the same at length"]
fn a_million_orders_have_one_end_each() {
    (1..=1_000_000).for_each(play_one);
}
