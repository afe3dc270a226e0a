//! kill -9 anywhere leaves no half artifact; nothing is lost; the next run is right. Commands are killed at each of their system calls
//! that changes something, not after a while: `tests/run --full kill` does so a thousand times, the ordinary tests a few times each.

mod crowd;
mod ground;
mod load;
mod trace;
mod whole;

use ground::{COMMANDS, Ground, Kind};
use std::fmt::Write as _;
use std::io::Write as _;
use std::path::Path;
use std::sync::Mutex;
use trace::{At, run};

/// How often each command is killed in the long test: a thousand times in all.
const LONG: [(Kind, usize); COMMANDS] = [
    (Kind::First, 190),
    (Kind::Edit, 250),
    (Kind::Fresh, 120),
    (Kind::Verify, 80),
    (Kind::Collect, 150),
    (Kind::Up, 160),
    (Kind::Update, 50),
];

/// The same for the file system that TMPDIR lies on: a hundred times in all.
const ELSEWHERE: [(Kind, usize); 5] =
    [(Kind::First, 25), (Kind::Edit, 30), (Kind::Fresh, 10), (Kind::Collect, 25), (Kind::Update, 10)];

/// Prints past the capture of the test harness, as the test takes long.
pub fn say(line: &str) {
    std::io::stderr().write_all(format!("{line}\n").as_bytes()).unwrap();
}

/// How far a command's kills have come.
#[derive(Debug, Clone, Copy, Default)]
struct Count {
    /// The number of the next kill.
    turn: usize,
    kills: usize,
}

/// Kills a command so often, from where `count` is, at calls that lie evenly among all that it does; `each` is told after each.
fn kill_at_points(kind: Kind, wanted: usize, mut count: Count, each: &mut dyn FnMut(Count)) {
    let mut ground = Ground::new(kind);
    ground.prepare();
    let all = run(ground.command(), At::Never);
    assert_eq!(all.status, ground.status(), "{kind:?}: {}", all.err);
    assert!(all.calls >= 8, "{kind:?}: {} calls", all.calls);
    while count.kills < wanted {
        assert!(count.turn < 2 * wanted, "{kind:?}: {count:?} of {} calls", all.calls);
        // The second time around, those that were not reached are replaced by others.
        let call = 1 + (count.turn * all.calls / wanted + count.turn / wanted) % all.calls;
        let killed = ground.round(count.turn, call);
        count.turn += 1;
        count.kills += usize::from(killed.is_some());
        if count.turn.is_multiple_of(10) || count.kills == wanted {
            let name = killed.unwrap_or("no call, it had ended");
            let (kills, calls, alone) = (count.kills, all.calls, ground.unborn);
            say(&format!(
                "kill {kind:?}: {kills} of {wanted}, the last at call {call} of {calls} ({name}), {alone} bwrap left"
            ));
        }
        each(count);
    }
}

/// A few kills of each: the long test below shall not rot.
macro_rules! few {
    ($($name:ident $kind:ident $kills:literal)*) => {$(
        #[test]
        fn $name() {
            kill_at_points(Kind::$kind, $kills, Count::default(), &mut |_| {});
        }
    )*};
}

few! {
    a_killed_first_build_leaves_nothing_half_and_the_next_is_right First 3
    a_killed_build_of_an_edit_leaves_nothing_half_and_the_next_is_right Edit 6
    a_killed_build_from_nothing_leaves_nothing_half_and_the_next_is_right Fresh 3
    a_killed_verify_leaves_nothing_half_and_the_next_is_right Verify 2
    a_killed_gc_leaves_nothing_half_and_takes_nothing_that_is_used Collect 3
    a_killed_up_leaves_no_machine_and_the_next_is_right Up 4
    a_killed_update_leaves_the_lock_file_as_it_was_or_as_it_is_to_be Update 3
}

/// `tests/run --full kill`: goes on where it was stopped, as long as quiz is the same.
#[test]
#[ignore = "takes a quarter of an hour, and longer where there is much else to do"]
fn a_thousand_kills_leave_nothing_half_and_the_next_run_is_right() {
    let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join("kills");
    let quiz = Path::new(env!("CARGO_BIN_EXE_quiz")).metadata().unwrap();
    let head = format!("{:?} {}", quiz.modified().unwrap(), quiz.len());
    let from = load(&path, &head);
    let counts = Mutex::new(from);
    std::thread::scope(|scope| {
        for (n, (kind, wanted)) in LONG.into_iter().enumerate() {
            let (counts, path, head) = (&counts, &path, &head);
            scope.spawn(move || {
                kill_at_points(kind, wanted, from[n], &mut |count| {
                    let mut counts = counts.lock().unwrap();
                    counts[n] = count;
                    save(path, head, &counts[..]);
                });
            });
        }
    });
    let counts = counts.into_inner().unwrap();
    let kills: usize = counts.iter().map(|count| count.kills).sum();
    assert!(kills >= 1000, "{kills}");
    let each = LONG.iter().fold(String::new(), |mut line, (kind, wanted)| {
        let _ = write!(line, ", {kind:?} {wanted}");
        line
    });
    say(&format!("{kills} kills: nothing half, nothing lost, every next run right{each}"));
    std::fs::remove_file(path).unwrap();
}

/// In guests of quiz on file systems of all kinds: `tests/real/full/filesystems.rs`.
#[test]
#[ignore = "takes minutes: tests/run --full"]
fn a_hundred_kills_on_the_file_system_of_tmpdir_leave_nothing_half_and_the_next_run_is_right() {
    std::thread::scope(|scope| {
        for (kind, wanted) in ELSEWHERE {
            scope.spawn(move || kill_at_points(kind, wanted, Count::default(), &mut |_| {}));
        }
    });
}

fn load(path: &Path, head: &str) -> [Count; COMMANDS] {
    let text = std::fs::read_to_string(path).unwrap_or_default();
    let mut counts = [Count::default(); COMMANDS];
    let mut lines = text.lines();
    if lines.next() == Some(head) {
        for (count, line) in counts.iter_mut().zip(lines) {
            let (turn, kills) = line.split_once(' ').unwrap();
            *count = Count { turn: turn.parse().unwrap(), kills: kills.parse().unwrap() };
        }
    }
    counts
}

fn save(path: &Path, head: &str, counts: &[Count]) {
    let lines: Vec<String> = counts.iter().map(|count| format!("{} {}", count.turn, count.kills)).collect();
    std::fs::write(path, format!("{head}\n{}\n", lines.join("\n"))).unwrap();
}

/// The sandbox asks the kernel to end it with quiz, but only once it runs, and quiz may be dead by then. The stand-in here never asks.
#[test]
fn a_sandbox_whose_quiz_is_killed_as_it_starts_does_not_go_on_alone() {
    let project = crate::project::Project::new();
    project.recipe("t-slow", "[outputs]\nout = \"file\"\n", ":\n");
    // It runs under a name by which the test finds it.
    project.stand_in("bwrap", &format!("exec bash -c 'exec -a \"$0\" sleep 60' {}\n", project.dir().display()));
    for _ in 0..3 {
        let traced = run(project.command(&["build", "t-slow"]), At::Birth(1));
        assert!(traced.killed.is_some(), "{traced:?}");
        ground::expect_no_process(&project, "t-slow");
    }
}
