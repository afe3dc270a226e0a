//! What the lines say, and that they fit.

use super::*;
use crate::report::Color;

fn seconds(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

fn started(stage: &str, last: Option<u64>) -> Event {
    Event::Started { stage: stage.into(), log: String::new(), last: last.map(seconds) }
}

fn progress(what: &str, unit: Unit, done: u64, total: Option<u64>) -> Event {
    Event::Progress { what: what.into(), unit, done, total, left: None }
}

fn download(what: &str, done: u64, total: Option<u64>) -> Event {
    Event::Download { what: what.into(), done, total }
}

/// The lines after these events, each at its second, for so many columns.
fn lines(columns: usize, events: &[(u64, Event)], at: u64) -> Vec<String> {
    let (mut board, start) = (Board::default(), Instant::now());
    events.iter().for_each(|(second, event)| board.follow(event, start + seconds(*second)));
    board.tasks().map(|task| task.line(columns, start + seconds(at), &Style::new(Color::Never, false))).collect()
}

#[test]
fn a_compile_says_how_many_of_those_of_last_time_and_how_long_it_still_takes() {
    let output = Event::Output { stage: "kernel".into(), line: "  CC      fs/ext4/inode.o".into() };
    let events = [
        (0, started("kernel", Some(300))),
        (0, progress("kernel", Unit::Objects, 100, Some(3000))),
        (10, progress("kernel", Unit::Objects, 1100, Some(3000))),
        (10, output),
        (10, Event::Output { stage: "kernel".into(), line: "make[2]: Leaving directory '/quiz/scratch/build'".into() }),
    ];
    let line = "      kernel  10s 1100 of 3000 objects, 36%, 19s left";
    assert_eq!(lines(79, &events, 10), [format!("{line}  CC      fs/ext4/inode.o")]);
    assert_eq!(lines(60, &events, 10), [line], "a word that is cut after a few letters says nothing");
    assert_eq!(lines(40, &events, 10), ["      kernel  10s 1100 of 3000 objects"]);
    assert_eq!(lines(30, &events, 10), ["      kernel  10s 36%"], "a shorter one behind it fits");
    let wide = lines(199, &events, 10).remove(0);
    assert!(wide.starts_with("      kernel  10s [=======>              ] 1100 of 3000 objects, 36%"), "{wide}");
}

#[test]
fn a_number_that_nobody_knows_is_left_out() {
    let more = [(0, started("zfs-user", Some(70))), (0, progress("zfs-user", Unit::Objects, 7, None))];
    assert_eq!(lines(79, &more, 9), ["    zfs-user   9s 7 objects"]);
    assert_eq!(lines(79, &more[..1], 9), ["    zfs-user   9s last time 1m 10s"]);
    assert_eq!(lines(79, &[(0, started("x", None))], 90), ["           x 1m 30s"]);
}

#[test]
fn a_download_says_how_fast_it_is_by_how_it_went_lately() {
    let slow_then_fast = [
        (0, download("linux.tar.xz", 0, Some(200 << 20))),
        (100, download("linux.tar.xz", 1 << 20, Some(200 << 20))),
        (110, download("linux.tar.xz", 101 << 20, Some(200 << 20))),
    ];
    let line = "linux.tar.xz 1m 50s 101.0 of 200.0 MiB, 50%, 9s left, 10.0 MiB/s";
    assert_eq!(lines(79, &slow_then_fast, 110), [line]);
    assert_eq!(lines(79, &[(0, download("a", 5, None))], 1), ["           a   1s 5 B"]);
    let over = [(0, download("a", 5, Some(9))), (1, download("a", 9, Some(9)))];
    assert!(lines(79, &over, 1).is_empty());
}

#[test]
fn packages_are_counted_beside_their_bytes_and_tests_are_left_to_who_remembers() {
    let packages = [
        (0, download("142 packages", 1 << 20, Some(4 << 20))),
        (0, progress("142 packages", Unit::Packages, 37, Some(142))),
    ];
    assert_eq!(lines(79, &packages, 1), ["142 packages   1s 37 of 142 packages, 1.0 of 4.0 MiB, 25%"]);
    let last = progress("142 packages", Unit::Packages, 142, Some(142));
    assert!(
        lines(79, &[packages[0].clone(), (1, download("142 packages", 4 << 20, Some(4 << 20))), (1, last)], 1)
            .is_empty()
    );
    let left = Some(seconds(600));
    let group = Event::GroupStarted { group: "functional/a".into(), tests: 3 };
    let tests = |left| Event::Progress { what: "tests".into(), unit: Unit::Tests, done: 17, total: Some(240), left };
    let shown = lines(79, &[(0, group.clone()), (0, tests(left))], 30);
    assert_eq!(shown, ["       tests  30s 17 of 240 tests, 7%, 9m 30s left", "functional/a  30s"]);
    assert_eq!(lines(79, &[(0, tests(None))], 30), ["       tests  30s 17 of 240 tests, 7%"]);
}

#[test]
fn while_the_guests_program_has_the_terminal_nothing_is_shown() {
    let booting = Event::Booting { run: "1".into(), accelerator: "tcg".into(), why_not_kvm: None, restored: false };
    let boot = [(0, started("a", None)), (1, booting)];
    assert_eq!(lines(79, &boot, 3), ["        boot   2s  tcg"]);
    let ready = [&boot[..], &[(4, Event::Ready { milliseconds: 3 }), (5, started("b", None))]].concat();
    assert!(lines(79, &ready, 6).is_empty());
    let ended =
        [&ready[..], &[(7, Event::Ended { how: "x".into(), run: "1".into() }), (7, started("c", None))]].concat();
    assert_eq!(lines(79, &ended, 8), ["           c   1s"]);
}

#[test]
fn no_line_is_wider_than_the_terminal_whatever_others_call_their_things() {
    let names = [
        "a",
        "zfs-configure-kernel",
        "unpacking linux-source-6.12_6.12.57-1_all.deb",
        "ein Rüst-Gerüst-日本語日本語日本語日本語",
        "x\n\x1b[2J\ty",
    ];
    for name in names {
        for columns in 0..230 {
            let says =
                Event::Output { stage: name.into(), line: format!("{name} \t\x1b]0;evil\x07 {}", "日".repeat(200)) };
            let events = [
                (0, started(name, Some(9))),
                (0, progress(name, Unit::Objects, 5, Some(99_999_999))),
                (5, download(name, 1 << 40, Some(1 << 50))),
                (5, says),
            ];
            let line = lines(columns, &events, 9).remove(0);
            assert!(!line.contains(char::is_control), "{line:?}");
            assert!(width(&line) <= columns.max(12 + 1 + 4), "{columns}: {line}");
        }
    }
}

#[test]
fn a_memory_that_is_written_says_why_and_is_over_with_it() {
    let dumping = |over| Event::Dumping { why: "the guest hung after 5 s".into(), status: Some(124), over };
    let dumped = Event::Dumped { run: "7".into(), title: String::new(), used: 1, took: seconds(3) };
    assert_eq!(lines(79, &[(0, dumping(false))], 2), ["        dump   2s  the guest hung after 5 s"]);
    assert!(lines(79, &[(0, dumping(true)), (3, dumped)], 4).is_empty());
    // While the guest's program has the terminal nothing is shown; when it is over, the memory is.
    let ready = Event::Ready { milliseconds: 3 };
    let after = |event: Event| lines(79, &[(0, ready.clone()), (1, event)], 3);
    assert_eq!(after(dumping(false)), [""; 0]);
    assert_eq!(after(dumping(true)), ["        dump   2s  the guest hung after 5 s"]);
}

#[test]
fn a_machine_that_is_saved_under_a_name_shows_that_until_it_is_kept() {
    let saving = [(0, Event::Ready { milliseconds: 3 }), (5, Event::Saving)];
    assert_eq!(lines(79, &saving, 7), ["        save   2s"]);
    let kept = Event::Kept { name: "x".into(), bytes: 1 };
    assert!(lines(79, &[&saving[..], &[(8, kept)]].concat(), 9).is_empty());
}

#[test]
fn what_is_not_counted_shows_its_time_alone() {
    assert_eq!(lines(79, &[(0, progress("x", Unit::Files, 0, None))], 2), ["           x   2s"]);
    assert_eq!(lines(79, &[(0, progress("x", Unit::Files, 3, Some(9)))], 2), ["           x   2s 3 of 9 files, 33%"]);
}
