//! Programs that are started in a machine that runs, and copies from it and to it: in one that booted, and in one that was restored.

use super::Real;
use super::reach::{Running, eventually};
use crate::project::Ran;
use std::io::{Read, Write};
use std::process::{Command, Stdio};
use std::time::Duration;

/// At least so many have to go at once.
const SIDE_BY_SIDE: usize = 8;

fn exec(real: &Real, words: &[&str]) -> Command {
    real.command(&[&["exec", "--"], words].concat())
}

fn sh(real: &Real, script: &str) -> Ran {
    Ran::from(exec(real, &["sh", "-c", script]).stdin(Stdio::null()).output().unwrap())
}

/// What `input` becomes by a program of the guest.
fn through(mut command: Command, input: &[u8]) -> std::process::Output {
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let mut stdin = child.stdin.take().unwrap();
    std::thread::scope(|scope| {
        scope.spawn(move || stdin.write_all(input));
        child.wait_with_output().unwrap()
    })
}

fn bytes() -> Vec<u8> {
    (0..3_000_000_u32).flat_map(|n| n.wrapping_mul(2_654_435_761).to_le_bytes()).collect()
}

#[test]
fn any_number_of_programs_run_beside_the_first_in_a_machine_that_booted_and_in_one_that_was_restored() {
    let real = Real::new();
    for how in [&["up", "--no-snapshot"][..], &["up"]] {
        let up = Running::start(&real, &[how, &["--", "sleep", "600"]].concat());
        // A program is kept waiting while the machine boots.
        eventually("machine", || (sh(&real, "echo $((6 * 7)); echo no >&2; exit 9").status == Some(9)).then_some(()));
        let ran = sh(&real, "pwd; echo no >&2; exit 9");
        assert_eq!((ran.status, ran.out.as_str(), ran.err.as_str()), (Some(9), "/root\n", "no\n"));
        assert_eq!(sh(&real, "kill -9 $$").status, Some(137));
        assert_eq!(exec(&real, &["no-such-program"]).status().unwrap().code(), Some(127));
        // Of a file a program takes what it reads.
        real.0.write("list", "one\ntwo\nthree\n");
        let quiz = env!("CARGO_BIN_EXE_quiz");
        let inner = "'read -r y; echo \"$0, $y\"'";
        let script = format!("while read -r x; do {quiz} exec -- sh -c {inner} \"$x\"; done <list");
        assert_eq!(Ran::from(real.shell(&script).output().unwrap()).out, "one, two\nthree, \n");
        let bytes = bytes();
        // Each program gets its own input and output, whole, and its own status.
        std::thread::scope(|scope| {
            for n in 1..=SIDE_BY_SIDE {
                let (real, bytes) = (&real, &bytes[n..]);
                scope.spawn(move || {
                    let output = through(exec(real, &["sh", "-c", &format!("cat; exit {n}")]), bytes);
                    assert!(output.stdout == bytes, "{n}: {} bytes of {}", output.stdout.len(), bytes.len());
                    assert_eq!(output.status.code(), i32::try_from(n).ok());
                });
            }
        });
        // A client that leaves takes its program along; a program that left a process behind has ended all the same.
        let mut left =
            exec(&real, &["sh", "-c", "echo $$ >/tmp/left; exec sleep 500"]).stdin(Stdio::null()).spawn().unwrap();
        eventually("program", || (sh(&real, "test -s /tmp/left").status == Some(0)).then_some(()));
        left.kill().unwrap();
        left.wait().unwrap();
        eventually("end", || (sh(&real, "kill -0 $(cat /tmp/left)").status != Some(0)).then_some(()));
        assert_eq!(sh(&real, "sleep 500 & echo behind").out, "behind\n");
        assert_eq!(sh(&real, "yes & exit 3").status, Some(3));
        assert_eq!(sh(&real, "pkill yes; grep -c 9p /proc/mounts").out, "2\n", "the shares are there");
        // Who does not read keeps nobody from leaving: the first signal is the program's, the second is quiz's own.
        let mut unread = exec(&real, &["sh", "-c", "trap '' TERM; yes"]).stdout(Stdio::piped()).spawn().unwrap();
        eventually("program", || (sh(&real, "pgrep -c yes").status == Some(0)).then_some(()));
        let left = eventually("end", || {
            assert!(Command::new("kill").arg(unread.id().to_string()).status().unwrap().success());
            unread.try_wait().unwrap()
        });
        assert_eq!(left.code(), Some(143));
        copies(&real, &bytes);
        programs_terminals_and_copies_at_once(&real, &bytes);
        // The machine goes, and with it what runs there.
        let sleeps = || sh(&real, "pgrep -c sleep").out.trim().parse::<usize>().unwrap();
        let before = sleeps();
        let last = exec(&real, &["sh", "-c", "echo on; exec sleep 500"])
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        eventually("last program", || (sleeps() > before).then_some(()));
        real.run(&["stop"]);
        let last = Ran::from(last.wait_with_output().unwrap());
        assert_eq!((last.status, last.out.as_str()), (Some(122), "on\n"), "{last:?}");
        last.says(&["the machine ended before the program did"]);
        drop(up);
    }
}

#[test]
fn when_the_guest_can_start_no_more_programs_nobody_waits_for_one() {
    let real = Real::new();
    let _up = Running::start(&real, &["up", "--", "sleep", "600"]);
    eventually("machine", || (sh(&real, "true").status == Some(0)).then_some(()));
    let waits = exec(&real, &["sh", "-c", "echo on; exec sleep 500"])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    eventually("program", || (sh(&real, "pgrep -c sleep").out.trim() >= "2").then_some(()));
    assert_eq!(sh(&real, "kill -9 $PPID; sleep 100").status, Some(122));
    assert_eq!(Ran::from(waits.wait_with_output().unwrap()).status, Some(122));
    let ran = sh(&real, "true");
    assert_eq!(ran.status, Some(125), "{ran:?}");
    // The machine goes on.
    let machines = real.run(&["ps"]).out;
    assert!(machines.contains(real.0.dir().canonicalize().unwrap().to_str().unwrap()), "{machines}");
}

/// Eight at once, each of which gets what is its own: programs, one of them with a slow reader, a terminal, and copies both ways of a file that is larger
/// than what is copied by way of the guest's memory, and of a folder in which something is written all the time.
fn programs_terminals_and_copies_at_once(real: &Real, bytes: &[u8]) {
    const LARGE: u64 = 70_000_000;
    let dir = real.0.dir().join("at-once");
    let _ = std::fs::remove_dir_all(&dir);
    std::fs::create_dir_all(&dir).unwrap();
    std::fs::write(dir.join("to"), bytes).unwrap();
    let name = |path: &str| dir.join(path).display().to_string();
    let grows =
        "mkdir /tmp/grows; while [ -d /tmp/grows ]; do echo more; sleep 0.01; done >/tmp/grows/log 2>/dev/null &";
    assert_eq!(sh(real, &format!("head -c {LARGE} /dev/zero >/tmp/large; {grows}")).status, Some(0));
    let copied = |from: String, to: String| {
        let ran = Ran::from(real.command(&["cp", &from, &to]).output().unwrap());
        assert_eq!(ran.status, Some(0), "{from} {to}: {ran:?}");
    };
    std::thread::scope(|scope| {
        for n in 1..=3 {
            let bytes = &bytes[n..];
            scope.spawn(move || {
                let output = through(exec(real, &["sh", "-c", &format!("cat; exit {n}")]), bytes);
                assert!(output.stdout == bytes, "{n}: {} bytes of {}", output.stdout.len(), bytes.len());
                assert_eq!(output.status.code(), i32::try_from(n).ok());
            });
        }
        scope.spawn(|| {
            let command = &["sh", "-c", "head -c 3000000 /dev/zero; exit 4"];
            let mut slow = exec(real, command).stdin(Stdio::null()).stdout(Stdio::piped()).spawn().unwrap();
            let (mut from, mut piece, mut all) = (slow.stdout.take().unwrap(), vec![0; 100_000], 0);
            while let Ok(count @ 1..) = from.read(&mut piece) {
                all += count;
                std::thread::sleep(Duration::from_millis(20));
            }
            assert_eq!((all, slow.wait().unwrap().code()), (3_000_000, Some(4)));
        });
        scope.spawn(|| {
            let typed = "for n in $(seq 600); do grep -q '# ' at-once/screen && break; sleep 0.1; done; sleep 0.3
                         printf 'stty rows 33; echo $(tty) $(stty size); exit 5\\n'; sleep 3";
            let quiz = env!("CARGO_BIN_EXE_quiz");
            let line = format!("({typed}) | timeout 100 script -q -e -c '{quiz} attach' /dev/null >at-once/screen");
            let ran = Ran::from(real.shell(&line).env("TERM", "xterm").output().unwrap());
            let screen = std::fs::read_to_string(dir.join("screen")).unwrap();
            let is_terminal = screen.lines().any(|line| line.contains("/dev/pts/") && line.contains(" 33 "));
            assert!(ran.status == Some(5) && is_terminal, "{ran:?} {screen}");
        });
        scope.spawn(|| {
            copied(name("to"), ":/tmp/to".to_owned());
            assert_eq!(sh(real, "stat -c %s /tmp/to").out.trim(), bytes.len().to_string());
        });
        scope.spawn(|| {
            copied(":/tmp/large".to_owned(), name("large"));
            assert_eq!(dir.join("large").metadata().unwrap().len(), LARGE);
        });
        scope.spawn(|| {
            copied(":/tmp/grows".to_owned(), name("grows"));
            assert!(std::fs::read_to_string(dir.join("grows/log")).unwrap().starts_with("more\n"));
        });
    });
    assert_eq!(sh(real, "rm -r /tmp/grows /tmp/large /tmp/to").status, Some(0));
}

/// A file and a folder there and back, and what is there is not lost.
fn copies(real: &Real, bytes: &[u8]) {
    let dir = real.0.dir().join("copies");
    let _ = std::fs::remove_dir_all(&dir);
    std::fs::create_dir_all(dir.join("tree/folder")).unwrap();
    std::fs::write(dir.join("tree/folder/file"), bytes).unwrap();
    std::os::unix::fs::symlink("folder", dir.join("tree/link")).unwrap();
    let cp = |from: &str, to: &str| Ran::from(real.command(&["cp", from, to]).output().unwrap());
    let name = |path: &str| dir.join(path).display().to_string();
    let done = cp(&name("tree"), ":/tmp/");
    assert_eq!(done.status, Some(0), "{done:?}");
    assert_eq!(sh(real, "stat -c %s /tmp/tree/link/file").out.trim(), bytes.len().to_string());
    assert_eq!(cp(":/tmp/tree", &name("back")).status, Some(0));
    assert!(std::fs::read(dir.join("back/link/file")).unwrap() == bytes);
    for (from, to, why) in [
        (name("tree"), ":/tmp/".to_owned(), "/tmp//tree is there already"),
        (":/tmp/tree".to_owned(), name("tree/.."), "is there already"),
        (":/no-such-file".to_owned(), name("x"), "No such file"),
        (name("no-such-file"), ":/tmp/".to_owned(), "cannot read"),
        (name("tree/folder/file"), ":/no/such/folder".to_owned(), "/no/such"),
    ] {
        let ran = cp(&from, &to);
        assert!(matches!(ran.status, Some(1 | 2)) && ran.err.contains(why), "{from} {to}: {ran:?}");
    }
    assert!(!dir.join("x").exists());
    // Of files whose size nobody knows before they are read.
    assert_eq!(cp(":/proc/version", &name("version")).status, Some(0));
    assert!(std::fs::read_to_string(dir.join("version")).unwrap().starts_with("Linux version "));
    assert_eq!(sh(real, "ls -A /tmp | grep quiz-cp").out, "");
}
