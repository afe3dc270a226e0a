//! That what `quiz test` found out is on the disk when it is known, outlives what comes later, and what cannot be written costs no more
//! than its group; with a script that plays qemu and the guest.

use crate::project::Ran;
use crate::suite::Fake;
use std::process::Stdio;
use std::time::{Duration, Instant};

const RUNFILE: &str = "\
[DEFAULT]
pre = setup
post =
[tests/functional/spoils]
tests = ['one']
tags = ['functional']
[tests/functional/good]
tests = ['one', 'two']
tags = ['functional']
";

fn each(fake: &Fake, lines: &str, args: &[&str]) -> Ran {
    fake.0.write("list", lines);
    Ran::from(fake.command("fake=each", &[&["--each", "list"], args].concat()).output().unwrap())
}

fn json(fake: &Fake, run: u32) -> serde_json::Value {
    serde_json::from_str(&std::fs::read_to_string(fake.run(run).join("out/results.json")).unwrap()).unwrap()
}

#[test]
fn results_are_there_as_soon_as_a_group_has_ended_and_outlive_quiz() {
    let fake = Fake::new();
    // All stages are built first, so that the wait below is for the tests alone.
    each(&fake, "pass 0\n", &[]);
    fake.0.write("list", "pass 1\nhang\npass 2\n");
    let mut command = fake.command("fake=each", &["--each", "list", "-j1"]);
    let mut child = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    let deadline = Instant::now() + Duration::from_secs(20);
    while !fake.run(2).join("groups/2/console.log").exists() {
        assert!(Instant::now() < deadline && child.try_wait().unwrap().is_none());
        std::thread::sleep(Duration::from_millis(10));
    }
    child.kill().unwrap();
    child.wait().unwrap();
    let verdict = |group: usize| json(&fake, 2)["groups"][group]["tests"][0].clone();
    assert_eq!(verdict(0)["verdict"], "PASS");
    // Whoever reads it must not think that this is all.
    for group in [1, 2] {
        assert_eq!(
            (&verdict(group)["verdict"], &verdict(group)["why"]),
            (&"NOTRUN".into(), &"it had not ended yet".into())
        );
    }
    let out = fake.run(2).join("out");
    let tap = std::fs::read_to_string(out.join("results.tap")).unwrap();
    assert!(tap.starts_with("TAP version 13\n1..3\n"), "{tap}");
    let junit = std::fs::read_to_string(out.join("junit.xml")).unwrap();
    let junit = roxmltree::Document::parse(&junit).unwrap();
    assert_eq!(junit.root_element().attribute("errors"), Some("2"));
}

#[test]
fn what_cannot_be_written_costs_its_group() {
    let fake = Fake::new();
    fake.0.write("spoils.run", RUNFILE);
    let ran = Ran::from(fake.command("fake=suite", &["-r", "spoils.run", "-j1"]).output().unwrap());
    assert_eq!(ran.status, Some(1), "{ran:?}");
    for line in
        ["LOST    functional/spoils/machine: cannot write ", "PASS 4  ", "6 tests: 4 passed, 1 excused, 1 wrong"]
    {
        assert!(ran.out.contains(line), "no `{line}` in {}", ran.out);
    }
    // It is not remembered as if it were all there.
    let again = Ran::from(fake.command("fake=suite", &["-r", "spoils.run"]).output().unwrap());
    assert_eq!((again.count("Testing"), again.count("Cached functional/good")), (1, 1), "{again:?}");
}

#[test]
fn results_that_can_go_nowhere_are_shown_and_are_no_success() {
    let fake = Fake::new();
    let ran = each(&fake, "wall junit.xml\npass 1\n", &["-j1"]);
    assert_eq!(ran.says(&["cannot write", "out/junit.xml"]).status, Some(1), "{ran:?}");
    assert!(ran.out.contains("LOST    wall junit.xml/machine: cannot write"), "{}", ran.out);
    assert!(ran.out.contains("4 tests: 2 passed, 0 excused, 2 wrong"), "{}", ran.out);
}

#[test]
fn the_same_line_twice_runs_twice() {
    let fake = Fake::new();
    let ran = each(&fake, "pass 1\nfail\npass 1\n", &["-j1"]);
    assert_eq!((ran.count("Testing"), ran.count("Cached")), (3, 0), "{ran:?}");
    assert_eq!(each(&fake, "pass 1\npass 1\n", &[]).count("Testing"), 0, "both are known");
    let ran = each(&fake, "pass 1\npass 1\npass 1\n", &["-j1"]);
    assert_eq!((ran.count("Testing"), ran.count("Cached")), (1, 2), "the third is not: {ran:?}");
}

#[test]
fn results_outlive_many_quick_runs_and_how_many_stay_is_a_setting() {
    let fake = Fake::new();
    let up = |play: &str| assert_eq!(Ran::from(fake.up(play, &[]).output().unwrap()).status, Some(0));
    up("exit-0");
    up("writes");
    each(&fake, "pass 1\n", &[]);
    fake.0.write("quiz.toml", "[runs]\nkeep = 2\n");
    (0..4).for_each(|_| up("exit-0"));
    let there = |runs: &[u32]| (1..=20).filter(|run| fake.run(*run).exists()).collect::<Vec<_>>() == runs;
    assert!(there(&[2, 3, 5, 6, 7]), "the newest two before the last one, and those with results");
    assert_eq!(std::fs::read_to_string(fake.run(2).join("out/result")).unwrap(), "result\n");
    fake.0.write("quiz.toml", "[runs]\nkeep = 0\nkeep-results = 1\n");
    up("exit-0");
    assert!(there(&[3, 8]), "of those with results the newest");
    fake.0.write("quiz.toml", "[runs]\nkeep = -1\n");
    let wrong = Ran::from(fake.up("exit-0", &[]).output().unwrap());
    assert_eq!(
        wrong.says(&["quiz.toml:2:8\n", "`runs.keep` has to be a number that is not negative"]).status,
        Some(125)
    );
}
