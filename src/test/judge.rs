//! How each test of a group ended, from all that is known: what was printed, how the machine ended, what the kernel said. Pure.

use std::time::Duration;

use super::group::{Group, GroupEnd, Reads, TestEnd, Verdict};
use super::logs::running;
use super::transcript::Transcript;
use crate::boot::Outcome;
use crate::error::{Error, Result};

/// In the place of a test's name: what went wrong was no test's fault.
pub(super) const MACHINE: &str = "machine";

/// Judges. `console`: all that the kernel said.
pub(super) fn judge(
    group: &Group,
    transcript: Transcript,
    outcome: &Result<Outcome>,
    console: &str,
    took: Duration,
) -> GroupEnd {
    let last = transcript.last().to_owned();
    let mut tests = match (group.reads, outcome) {
        (Reads::Status, Ok(Outcome::Exited(status))) => vec![by_status(group, *status)],
        (Reads::Status, _) => Vec::new(),
        (Reads::Suite, _) => transcript.finish(),
    };
    let missing: Vec<&String> = group.tests.iter().filter(|name| !tests.iter().any(|t| t.name == **name)).collect();
    let (verdict, why, excerpt) = end(outcome, &last);
    let exited = matches!(outcome, Ok(Outcome::Exited(_)));
    let began = group.reads == Reads::Status || !tests.is_empty() || running(console).is_some();
    let victim = running(console).filter(|name| missing.contains(&name)).or_else(|| missing.first().cloned().cloned());
    let was_lost = began && !exited && outcome.is_ok();
    let victim = victim.filter(|_| was_lost);
    for name in &missing {
        tests.push(if victim.as_ref() == Some(*name) {
            TestEnd { why: Some(why.clone()), output: excerpt.to_vec(), ..unexpected(name, verdict) }
        } else if was_lost {
            TestEnd { why: Some("the machine was gone before its turn".into()), ..unexpected(name, Verdict::NotRun) }
        } else {
            TestEnd { why: Some(why.clone()), ..unexpected(name, Verdict::NotRun) }
        });
    }
    let place = |test: &TestEnd| group.tests.iter().position(|name| *name == test.name);
    tests.sort_by_key(|test| place(test).unwrap_or(usize::MAX));
    let failed = !matches!(outcome, Ok(Outcome::Exited(0)));
    let complete = exited && missing.is_empty() && (!failed || tests.iter().any(|test| !test.expected));
    // What went wrong must not be lost because no test tells of it.
    if failed && tests.iter().all(|test| test.expected) {
        tests.push(TestEnd { why: Some(why), output: excerpt.to_vec(), ..unexpected(MACHINE, verdict) });
    }
    GroupEnd {
        name: group.name.clone(),
        folder: group.folder.clone(),
        tests,
        took,
        complete,
        cached: false,
        allowed: Vec::new(),
    }
}

fn by_status(group: &Group, status: u8) -> TestEnd {
    let verdict = if status == 0 { Verdict::Pass } else { Verdict::Fail };
    let why = (status != 0).then(|| format!("status {status}"));
    TestEnd { expected: status == 0, why, ..unexpected(&group.name, verdict) }
}

pub(super) fn unexpected(name: &str, verdict: Verdict) -> TestEnd {
    TestEnd { name: name.to_owned(), verdict, expected: false, why: None, output: Vec::new(), seconds: 0 }
}

/// What the end of the machine is to a test that ran then, in words, and what the kernel said.
fn end<'a>(outcome: &'a Result<Outcome>, last: &str) -> (Verdict, String, &'a [String]) {
    let outcome = match outcome {
        Ok(outcome) => outcome,
        Err(error) => return (Verdict::NotRun, in_words(error), error.details()),
    };
    let (verdict, why) = match outcome {
        Outcome::Exited(0) => (Verdict::NotRun, "the suite left it out".to_owned()),
        Outcome::Exited(status) => (Verdict::Fail, format!("the suite ended with status {status}: {last}")),
        Outcome::Panicked { words, .. } => (Verdict::Panic, words.clone()),
        Outcome::Complained { words, .. } => (Verdict::Warn, words.clone()),
        Outcome::TimeLimit { .. } => (Verdict::Timeout, outcome.to_string()),
        Outcome::Lost { .. } | Outcome::Host { .. } => (Verdict::Lost, outcome.to_string()),
        Outcome::Interrupted(_) => (Verdict::NotRun, outcome.to_string()),
    };
    (verdict, why, outcome.excerpt())
}

/// An error and its first cause.
pub(super) fn in_words(error: &Error) -> String {
    match std::error::Error::source(error) {
        Some(cause) => format!("{error}: {cause}"),
        None => error.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::super::runfile::tests::sections;
    use super::super::transcript::tests::{WHOLE, read};
    use super::*;

    const CONSOLE: &str = "\
[    1.0] ZTS run /usr/share/zfs/zfs-tests/tests/functional/atime/setup
[    2.0] ZTS run /usr/share/zfs/zfs-tests/tests/functional/atime/atime_001_pos
[    3.0] ZTS run /usr/share/zfs/zfs-tests/tests/functional/atime/atime_002_neg
[    3.1] Kernel panic - not syncing: x
";

    fn ended(text: &str, outcome: Result<Outcome>, console: &str) -> GroupEnd {
        judge(&Group::of_suite(&sections()[0]), read(text), &outcome, console, Duration::ZERO)
    }

    fn short(ended: &GroupEnd) -> Vec<(&str, Verdict)> {
        ended.tests.iter().map(|test| (test.name.as_str(), test.verdict)).collect()
    }

    fn panic() -> Result<Outcome> {
        Ok(Outcome::Panicked { words: "VERIFY(0) failed".into(), excerpt: vec!["stack".into()] })
    }

    #[test]
    fn a_panic_is_the_running_tests_and_the_others_were_not_run() {
        let text: String = WHOLE.lines().take(2).flat_map(|line| [line, "\n"]).collect();
        let ended = ended(&text, panic(), CONSOLE);
        let wanted = [
            ("setup", Verdict::Pass),
            ("atime_001_pos", Verdict::Fail),
            ("atime_002_neg", Verdict::Panic),
            ("root_atime_off", Verdict::NotRun),
            ("root_atime_on", Verdict::NotRun),
            ("cleanup", Verdict::NotRun),
        ];
        assert_eq!(short(&ended), wanted);
        assert_eq!((ended.tests[2].why.as_deref(), ended.tests[2].output.len()), (Some("VERIFY(0) failed"), 1));
        assert!(!ended.complete && !ended.is_good());
    }

    #[test]
    fn a_lost_machine_and_a_time_limit_are_told_apart_and_excuse_nothing() {
        let text: String = WHOLE.lines().take(3).flat_map(|line| [line, "\n"]).collect();
        let limit = Duration::from_secs(9);
        let hangs = Outcome::TimeLimit { limit, state: crate::boot::GuestState::Hangs, excerpt: vec![] };
        let lost = Outcome::Lost { reason: "qemu is gone".into(), excerpt: vec![] };
        for (outcome, verdict) in [(hangs, Verdict::Timeout), (lost, Verdict::Lost)] {
            // The console has no mark of a running test, so the next in the order is taken for it.
            let ended = ended(&text, Ok(outcome), "");
            assert_eq!(ended.tests[3].verdict, verdict);
            assert_eq!(ended.tests.iter().filter(|test| !test.expected).count(), 5, "a skipped one too");
        }
    }

    #[test]
    fn a_panic_before_the_first_test_or_after_the_last_is_no_tests_fault() {
        let before = ended("", panic(), "[    0.5] Kernel panic - not syncing: x\n");
        assert!(before.tests.iter().all(|test| test.verdict == Verdict::NotRun && !test.expected));
        assert_eq!(before.tests[0].why.as_deref(), Some("VERIFY(0) failed"));
        let all: String =
            sections()[0].runs().iter().map(|n| format!("Test: /x/{n} (run as root) [00:01] [PASS]\n")).collect();
        let after = ended(&all, panic(), CONSOLE);
        assert_eq!(short(&after).last(), Some(&("machine", Verdict::Panic)));
        assert!(!after.is_good());
        // Behind the end of the suite itself, which had a status.
        let late = ended(&all, Ok(Outcome::Complained { words: "VERIFY(0) failed".into(), program: 0 }), CONSOLE);
        assert_eq!(short(&late).last(), Some(&("machine", Verdict::Warn)));
        assert!(!late.is_good() && !late.complete);
    }

    #[test]
    fn what_the_suite_left_out_or_did_not_start_is_not_passed_over() {
        let left_out = ended(WHOLE, Ok(Outcome::Exited(1)), "");
        assert_eq!(short(&left_out)[4], ("root_atime_on", Verdict::NotRun));
        assert!(!left_out.complete);
        let refused = ended("zfs-tests.sh: no ksh\n", Ok(Outcome::Exited(1)), "");
        assert_eq!(refused.tests[0].why.as_deref(), Some("the suite ended with status 1: zfs-tests.sh: no ksh"));
        let error = ended("", Err(Error::boot("no qemu")), "");
        assert!(error.tests.iter().all(|test| test.why.as_deref() == Some("no qemu")));
    }

    #[test]
    fn a_suite_that_fails_without_a_failed_test_fails() {
        let all: String =
            sections()[0].runs().iter().map(|n| format!("Test: /x/{n} (run as root) [00:01] [PASS]\n")).collect();
        let good = ended(&all, Ok(Outcome::Exited(0)), "");
        assert!(good.is_good() && good.complete);
        let bad = ended(&all, Ok(Outcome::Exited(3)), "");
        assert_eq!(short(&bad).last(), Some(&("machine", Verdict::Fail)));
        assert!(!bad.complete);
    }

    #[test]
    fn a_command_passes_by_its_status() {
        let group = &Group::of_lines("false\n")[0];
        let ended = |outcome, text: &str| judge(group, read(text), &outcome, "", Duration::ZERO);
        assert!(ended(Ok(Outcome::Exited(0)), "Test: /x/y (run as root) [00:01] [FAIL]\n").is_good());
        let failed = ended(Ok(Outcome::Exited(3)), "no such file\n");
        assert_eq!(short(&failed), [("false", Verdict::Fail)]);
        assert_eq!(failed.tests[0].why.as_deref(), Some("status 3"));
        assert!(failed.complete);
        let error = ended(Err(Error::boot("no room")), "");
        assert_eq!((short(&error), error.tests[0].why.as_deref()), (vec![("false", Verdict::NotRun)], Some("no room")));
        let panicked = ended(panic(), "");
        assert_eq!(short(&panicked), [("false", Verdict::Panic)]);
        assert!(!panicked.complete);
    }
}
