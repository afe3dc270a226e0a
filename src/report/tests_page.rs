//! The results of `quiz test` as one page for a browser: each test with its end, its time, what it printed, what the kernel said, and how it ended in
//! the last runs.
//!
//! Names, words and logs are the guest's: they go in as data, of which the page's script makes text and never markup.

use super::page::{filled, inside};
use crate::test::history::{Past, kernel_log};
use crate::test::{GroupEnd, Results, TestEnd, Verdict};
use serde_json::{Value as Json, json};
use std::path::Path;
use std::time::Duration;

const PAGE: &str = include_str!("tests.html");

/// How much of the kernel's log is shown, in bytes: of a test that passed, of one that did not, and of all in one page.
const LOG: [u64; 2] = [8 << 10, 128 << 10];
const LOGS: usize = 24 << 20;

/// As a page. `run`: the run's folder, which has the logs; `past`: the runs before it, the oldest first.
pub fn tests_html(results: &Results, run: &Path, past: Vec<Past>) -> String {
    let mut runs = past;
    runs.push(Past::of(crate::boot::folder::number(run), results));
    let mut room = LOGS;
    // First the logs of tests that did not pass: those will be looked at.
    let mut logs: Vec<Option<(String, bool)>> = Vec::new();
    let tests = || results.groups.iter().flat_map(|group| group.tests.iter().map(move |test| (group, test)));
    logs.resize(tests().count(), None);
    for of_passed in [false, true] {
        for (n, (group, test)) in tests().enumerate() {
            let is_passed = test.verdict == Verdict::Pass;
            if is_passed == of_passed && !group.cached && room > 0 {
                logs[n] = kernel_log(run, group, &test.name, LOG[usize::from(!is_passed)]);
                room = room.saturating_sub(logs[n].as_ref().map_or(0, |(text, _)| text.len()));
            }
        }
    }
    let mut logs = logs.into_iter();
    let groups = results.groups.iter().map(|group| {
        let tests: Json = group.tests.iter().map(|test| test_json(group, test, logs.next().flatten(), &runs)).collect();
        json!({
            "group": group.name, "seconds": group.took.as_secs_f64(), "cached": group.cached, "complete": group.complete, "tests": tests,
        })
    });
    let groups: Json = groups.collect();
    let data = json!({
        "runs": runs.iter().map(run_json).collect::<Json>(), "interrupted": results.interrupted, "groups": groups,
    });
    filled(PAGE, &[("\"DATA\"", &inside(&data))])
}

fn test_json(group: &GroupEnd, test: &TestEnd, log: Option<(String, bool)>, runs: &[Past]) -> Json {
    let name = (group.name.clone(), test.name.clone());
    let end =
        |run: &Past| run.ends.get(&name).map(|(verdict, expected)| json!({ "verdict": verdict, "expected": expected }));
    let no_log = match (group.cached, test.verdict) {
        (true, _) => "the result is from the cache: its kernel log lies in the run that made it, or is gone",
        (_, Verdict::NotRun) => "it did not run",
        _ => "the kernel's log of this test is not in this page: see the run's folder",
    };
    let (log, cut) = log.unzip();
    // No runner measures the time of a command, so it is that of its machine.
    let seconds =
        if group.is_command(test) { group.took.as_secs_f64() } else { Duration::from_secs(test.seconds).as_secs_f64() };
    json!({
        "test": test.name, "verdict": test.verdict, "expected": test.expected, "why": test.why, "output": test.output,
        "seconds": seconds, "log": log, "cut": cut, "no-log": no_log, "past": runs.iter().map(end).collect::<Vec<_>>(),
    })
}

fn run_json(run: &Past) -> Json {
    let count =
        |is: fn(Verdict, bool) -> bool| run.ends.values().filter(|(verdict, expected)| is(*verdict, *expected)).count();
    json!({
        "run": run.run, "seconds": run.seconds,
        "passed": count(|verdict, expected| expected && verdict == Verdict::Pass),
        "excused": count(|verdict, expected| expected && verdict != Verdict::Pass), "wrong": count(|_, expected| !expected),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Instant;

    fn test(name: &str, verdict: Verdict, why: Option<&str>) -> TestEnd {
        let expected = verdict == Verdict::Pass;
        TestEnd { name: name.into(), verdict, expected, why: why.map(Into::into), output: vec![], seconds: 1 }
    }

    fn group(name: &str, tests: Vec<TestEnd>) -> GroupEnd {
        GroupEnd {
            name: name.into(),
            folder: name.into(),
            tests,
            took: Duration::from_secs(3),
            complete: true,
            cached: false,
            allowed: vec![],
        }
    }

    fn results(groups: Vec<GroupEnd>) -> Results {
        Results { groups, interrupted: None, took: Duration::from_secs(9) }
    }

    /// What the page's script reads, and what stands behind it.
    fn data(page: &str) -> (Json, &str) {
        let (_, rest) = page.split_once("<script type=\"application/json\" id=\"data\">").unwrap();
        let (inside, after) = rest.split_once("</script>").unwrap();
        assert!(!inside.contains('<'), "nothing in it begins an element");
        (serde_json::from_str(inside).unwrap(), after)
    }

    #[test]
    fn the_page_loads_nothing_and_makes_no_markup_of_what_it_is_given() {
        super::super::page::tests::expect_closed(&filled(PAGE, &[]));
        assert_eq!(PAGE.matches("\"DATA\"").count(), 1);
    }

    #[test]
    fn names_words_and_logs_of_the_guest_stay_text() {
        let evil = "</script><script>alert(1)</script><img src=x onerror=alert(1)>\"DATA\"/*COMMON*/";
        let run = tempfile::tempdir().unwrap();
        std::fs::create_dir_all(run.path().join("out/g")).unwrap();
        std::fs::write(run.path().join("out/g/t.kernel.log"), format!("[ 1.0] {evil}\n")).unwrap();
        let mut tests = vec![test("t", Verdict::Fail, Some(evil)), test(evil, Verdict::Fail, None)];
        tests[1].output = vec![evil.to_owned()];
        let page = tests_html(&results(vec![group("g", tests), group(evil, vec![])]), run.path(), vec![]);
        let (data, after) = data(&page);
        let of = &data["groups"][0]["tests"];
        assert_eq!((&of[0]["why"], &of[1]["test"], &of[1]["output"][0]), (&json!(evil), &json!(evil), &json!(evil)));
        assert_eq!((&of[0]["log"], &of[1]["log"]), (&json!(format!("[ 1.0] {evil}\n")), &Json::Null));
        assert!(after.matches("</script>").count() == 1 && !after.contains("alert(1)"), "{after}");
        assert_eq!(page.matches("<script").count(), 2);
    }

    #[test]
    fn a_test_has_its_ends_in_the_last_runs() {
        let before = results(vec![group("g", vec![test("a", Verdict::Fail, None), test("gone", Verdict::Pass, None)])]);
        let now = results(vec![group(
            "g",
            vec![test("a", Verdict::Pass, None), test("new", Verdict::Lost, Some("qemu is gone"))],
        )]);
        let past = vec![Past::of("6".into(), &before)];
        let page = tests_html(&now, Path::new("/no/such/7"), past);
        let (data, _) = data(&page);
        let runs = json!([
            { "run": "6", "seconds": 9.0, "passed": 1, "excused": 0, "wrong": 1 },
            { "run": "7", "seconds": 9.0, "passed": 1, "excused": 0, "wrong": 1 },
        ]);
        assert_eq!(data["runs"], runs);
        let tests = &data["groups"][0]["tests"];
        assert_eq!(
            (&tests[0]["past"][0]["verdict"], &tests[0]["past"][1]["verdict"]),
            (&json!("FAIL"), &json!("PASS"))
        );
        assert_eq!((&tests[1]["past"][0], &tests[1]["verdict"]), (&Json::Null, &json!("LOST")));
    }

    #[test]
    fn two_thousand_tests_with_logs_are_a_page_of_some_megabytes_in_which_failures_have_theirs() {
        let run = tempfile::tempdir().unwrap();
        let mut groups = Vec::new();
        for g in 0..100 {
            let folder = run.path().join(format!("out/g{g}"));
            std::fs::create_dir_all(&folder).unwrap();
            let tests = (0..20).map(|t| {
                let (name, failed) = (format!("t{t}"), t == 19);
                let log = "[ 1.0] a line of a kernel\n".repeat(if failed { 3000 } else { 400 });
                std::fs::write(folder.join(format!("{name}.kernel.log")), log).unwrap();
                test(&name, if failed { Verdict::Fail } else { Verdict::Pass }, None)
            });
            groups.push(group(&format!("g{g}"), tests.collect()));
        }
        let started = Instant::now();
        let page = tests_html(&results(groups), run.path(), vec![]);
        assert!(started.elapsed() < Duration::from_secs(30), "{:?}", started.elapsed());
        assert!(page.len() < LOGS + (4 << 20), "{}", page.len());
        let (data, _) = data(&page);
        let all = data["groups"].as_array().unwrap().iter().flat_map(|group| group["tests"].as_array().unwrap());
        let length = |test: &Json| test["log"].as_str().map_or(0, str::len);
        let (passed, failed): (Vec<&Json>, Vec<&Json>) = all.partition(|test| test["verdict"] == "PASS");
        assert_eq!((passed.len(), failed.len()), (1900, 100));
        assert!(failed.iter().all(|test| length(test) == 78_000), "whole");
        assert!(passed.iter().all(|test| (1..=8192).contains(&length(test))));
    }
}
