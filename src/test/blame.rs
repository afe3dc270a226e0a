//! What the guest's kernel complained about, told by the tests that ran then. Pure.
//!
//! When the kernel says that something is wrong while a test runs, the test counts as wrong, even if it passed or its failure is excused.

use super::group::{Group, GroupEnd, Reads, TestEnd, Verdict};
use super::judge::{MACHINE, unexpected};
use super::logs::{before, slices};
use crate::boot::{Allowed, Complaint, Heard, Outcome, complaint};
use crate::error::Result;

/// Puts the complaints in `console`, all that the kernel said, to the tests; what is `allowed` is only noted.
pub(super) fn blame(
    ended: &mut GroupEnd,
    group: &Group,
    outcome: &Result<Outcome>,
    console: &str,
    allowed: &[Allowed],
) {
    let parts = match group.reads {
        Reads::Status => vec![(group.name.clone(), console.to_owned())],
        // What came before the first test is no test's fault.
        Reads::Suite => [(MACHINE.to_owned(), before(console))].into_iter().chain(slices(console)).collect(),
    };
    for (test, text) in parts {
        let mut heard = complaint::read(&text, allowed);
        // The complaint with which the machine ended is told as its end, and not once more.
        if let Ok(Outcome::Panicked { words, .. } | Outcome::Complained { words, .. }) = outcome {
            heard.complaints.retain(|complaint| complaint.words != *words);
        }
        if let (Some(words), Some(first)) = (heard.words(), heard.complaints.first()) {
            complain(at(&mut ended.tests, &test), words, first);
        }
        let Heard { allowed, .. } = heard;
        ended.allowed.extend(allowed);
    }
    ended.allowed.sort_by(|a, b| a.text.cmp(&b.text));
    ended.allowed.dedup();
}

/// The test of that name, or a new one that stands for what is no test's fault.
fn at<'a>(tests: &'a mut Vec<TestEnd>, name: &str) -> &'a mut TestEnd {
    let place = tests.iter().position(|test| test.name == name);
    let place = place.or_else(|| tests.iter().position(|test| test.name == MACHINE)).unwrap_or_else(|| {
        tests.push(TestEnd { expected: true, ..unexpected(MACHINE, Verdict::Pass) });
        tests.len() - 1
    });
    &mut tests[place]
}

fn complain(test: &mut TestEnd, words: String, first: &Complaint) {
    match (test.expected, test.verdict) {
        (true, own) => {
            let own = if own == Verdict::Pass { String::new() } else { format!("; the test itself: {own}") };
            test.why = Some(words + &own);
            test.output = first.lines.clone();
            test.verdict = Verdict::Warn;
            test.expected = false;
        }
        (false, Verdict::Fail | Verdict::Skip | Verdict::Killed) => test.output.extend(first.lines.iter().cloned()),
        // The machine ended in this test: its output already is what the kernel said last.
        (false, _) => {}
    }
}

#[cfg(test)]
mod tests {
    use super::super::judge::judge;
    use super::super::runfile::tests::sections;
    use super::super::transcript::tests::{WHOLE, read};
    use super::*;
    use std::time::Duration;

    const CONSOLE: &str = "\
[    0.5] BUG: Bad page state in process modprobe  pfn:00012
[    1.0] ZTS run /usr/share/zfs/zfs-tests/tests/functional/atime/setup
[    1.1] WARNING: CPU: 0 PID: 1 at x.c:1 f+0x1/0x2
[    1.2] WARNING: Pool 't' has encountered an uncorrectable I/O failure
[    2.0] ZTS run /usr/share/zfs/zfs-tests/tests/functional/atime/atime_001_pos
[    2.1] UBSAN: shift-out-of-bounds in y.c:1:2
[    3.0] ZTS run /usr/share/zfs/zfs-tests/tests/functional/atime/atime_002_neg
[    3.1] INFO: task txg_sync:12 blocked for more than 240 seconds.
[    3.2] INFO: task zpool:13 blocked for more than 240 seconds.
[    4.0] ZTS run /usr/share/zfs/zfs-tests/tests/functional/atime/cleanup
[    4.1] Memory cgroup out of memory: Killed process 12 (sh) total-vm:1kB
";

    fn blamed(group: &Group, text: &str, outcome: Result<Outcome>, console: &str, allow: &[&str]) -> GroupEnd {
        let allow: Vec<Allowed> =
            allow.iter().map(|text| Allowed { text: (*text).to_owned(), reason: "known".to_owned() }).collect();
        let mut ended = judge(group, read(text), &outcome, console, Duration::ZERO);
        blame(&mut ended, group, &outcome, console, &allow);
        ended
    }

    fn told(ended: &GroupEnd) -> Vec<(&str, Verdict, Option<&str>)> {
        let bad = ended.tests.iter().filter(|test| !test.expected);
        bad.map(|test| (test.name.as_str(), test.verdict, test.why.as_deref())).collect()
    }

    #[test]
    fn a_complaint_is_the_end_of_the_test_that_ran_then_and_of_none_before_the_first() {
        let group = &Group::of_suite(&sections()[0]);
        let ended = blamed(group, WHOLE, Ok(Outcome::Exited(1)), CONSOLE, &["Memory cgroup"]);
        let hung = "INFO: task txg_sync:12 blocked for more than 240 seconds. (and 1 more); the test itself: SKIP";
        let wanted = [
            ("setup", Verdict::Warn, Some("WARNING: CPU: 0 PID: 1 at x.c:1 f+0x1/0x2")),
            ("atime_001_pos", Verdict::Fail, None),
            ("atime_002_neg", Verdict::Warn, Some(hung)),
            (
                "root_atime_on",
                Verdict::NotRun,
                Some("the suite ended with status 1: FAIL atime/atime_001_pos (expected PASS)"),
            ),
            ("machine", Verdict::Warn, Some("BUG: Bad page state in process modprobe  pfn:00012")),
        ];
        assert_eq!(told(&ended), wanted);
        assert_eq!(ended.tests[1].output, ["[    2.1] UBSAN: shift-out-of-bounds in y.c:1:2"]);
        assert_eq!(ended.tests[0].output.len(), 2, "the report's lines");
        assert_eq!(ended.allowed.len(), 1);
    }

    #[test]
    fn a_command_that_passes_fails_by_what_the_kernel_says_and_a_panic_is_told_once() {
        let group = &Group::of_lines("true\n")[0];
        let warn = "[ 1.0] WARNING: x.c:1 at f+0x1/0x2, CPU#0: sh/1\n";
        let ended = blamed(group, "", Ok(Outcome::Exited(0)), warn, &[]);
        assert_eq!(told(&ended), [("true", Verdict::Warn, Some("WARNING: x.c:1 at f+0x1/0x2, CPU#0: sh/1"))]);
        let good = blamed(group, "", Ok(Outcome::Exited(0)), warn, &["at f+0x1"]);
        assert!(good.is_good() && good.allowed.len() == 1);
        let all: String =
            sections()[0].runs().iter().map(|n| format!("Test: /x/{n} (run as root) [00:01] [PASS]\n")).collect();
        let panic = Outcome::Panicked { words: "VERIFY(0) failed".into(), excerpt: vec![] };
        let console = "[ 1.0] ZTS run /x/setup\n[ 2.0] VERIFY(0) failed\n[ 2.1] Kernel panic - not syncing: x\n";
        let ended = blamed(&Group::of_suite(&sections()[0]), &all, Ok(panic), console, &[]);
        assert_eq!(told(&ended), [("machine", Verdict::Panic, Some("VERIFY(0) failed"))]);
    }
}
