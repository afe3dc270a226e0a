//! What the ZFS Test Suite prints, line by line: the ends of tests as test-runner.py tells them, and at last what zts-report.py
//! excuses by the suite's lists of known failures.
//!
//! Knows nothing of machines.

use std::collections::BTreeMap;

use super::group::{TestEnd, Verdict};

/// The heads of zts-report.py's three lists.
const EXPECTED: &str = "Tests with results other than PASS that are expected:";
const PASSES: &str = "Tests with result of PASS that are unexpected:";
const UNEXPECTED: &str = "Tests with results other than PASS that are unexpected:";

/// What zfs-tests.sh says last when the runner broke; why it did comes before.
const BROKE: &str = " failed, test aborted.";

/// All that was printed so far.
#[derive(Debug, Default)]
pub(super) struct Transcript {
    ends: Vec<TestEnd>,
    list: Option<&'static str>,
    /// By test: what the report says about it.
    reasons: BTreeMap<String, String>,
    /// The tests that nothing excuses; `None` until the report came that far.
    unexpected: Option<Vec<String>>,
    last: String,
}

impl Transcript {
    /// Takes a line. Gives the end of a test, if it is one.
    pub(super) fn line(&mut self, line: &str) -> Option<&TestEnd> {
        if !line.trim().is_empty() && !line.trim_end().ends_with(BROKE) {
            self.last = line.trim().to_owned();
        }
        if let Some(end) = test_line(line) {
            self.ends.push(end);
            return self.ends.last();
        }
        if let Some(list) = [EXPECTED, PASSES, UNEXPECTED].into_iter().find(|head| *head == line.trim_end()) {
            self.list = Some(list);
            if list == UNEXPECTED {
                self.unexpected = Some(Vec::new());
            }
        } else if let (Some(list), Some((name, reason))) = (self.list, report_line(line)) {
            if let (UNEXPECTED, Some(unexpected)) = (list, &mut self.unexpected) {
                unexpected.push(name.to_owned());
            } else {
                self.reasons.insert(name.to_owned(), reason.to_owned());
            }
        }
        None
    }

    /// The last line that says anything of its own.
    pub(super) fn last(&self) -> &str {
        &self.last
    }

    /// The ends of all tests that were told. Without the suite's judgement nothing is excused.
    pub(super) fn finish(mut self) -> Vec<TestEnd> {
        for end in &mut self.ends {
            end.expected = end.verdict == Verdict::Pass
                || self.unexpected.as_ref().is_some_and(|unexpected| !unexpected.contains(&end.name));
            end.why = self.reasons.remove(&end.name);
        }
        self.ends
    }
}

/// `Test (Linux): /usr/share/zfs/…/atime_001_pos (run as root) [00:07] [PASS]`, since OpenZFS 2.4 behind the time of day.
fn test_line(line: &str) -> Option<TestEnd> {
    let time = |time: &str| time.chars().all(|c| c.is_ascii_digit() || "-T:.".contains(c));
    let timed = line.strip_prefix('[').and_then(|rest| rest.split_once("] ")).filter(|(at, _)| time(at));
    let rest = timed.map_or(line, |(_, rest)| rest).strip_prefix("Test")?;
    let rest = rest.strip_prefix(": ").or_else(|| rest.strip_prefix(" (")?.split_once("): ").map(|(_, rest)| rest))?;
    let (path, rest) = rest.split_once(" (run as ")?;
    let (_, rest) = rest.split_once('[')?;
    let (time, rest) = rest.split_once("] [")?;
    let (verdict, _) = rest.split_once(']')?;
    let verdict = match verdict {
        "PASS" => Verdict::Pass,
        "FAIL" => Verdict::Fail,
        "SKIP" => Verdict::Skip,
        "KILLED" => Verdict::Killed,
        _ => return None,
    };
    let (minutes, seconds) = time.split_once(':')?;
    let seconds = minutes.parse::<u64>().ok()?.checked_mul(60)?.checked_add(seconds.parse().ok()?)?;
    let end = TestEnd { name: name(path), verdict, expected: false, why: None, output: Vec::new(), seconds };
    Some(end)
}

/// `    FAIL atime/atime_001_pos (expected PASS)`.
fn report_line(line: &str) -> Option<(&str, &str)> {
    let (_, rest) = line.strip_prefix("    ")?.split_once(' ')?;
    let (path, reason) = rest.split_once(" (")?;
    Some((path.rsplit('/').next()?, reason.trim_end().strip_suffix(')')?))
}

/// The test's name in its group: the last part of its path.
pub(super) fn name(path: &str) -> String {
    path.trim().rsplit('/').next().unwrap_or_default().to_owned()
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    pub(in super::super) const WHOLE: &str = "\
Test: /usr/share/zfs/zfs-tests/tests/functional/atime/setup (run as root) [00:02] [PASS]
Test: /usr/share/zfs/zfs-tests/tests/functional/atime/atime_001_pos (run as root) [01:07] [FAIL]
Test (Linux): /usr/share/zfs/zfs-tests/tests/functional/atime/atime_002_neg (run as root)      [00:00] [SKIP]
Test: /usr/share/zfs/zfs-tests/tests/functional/atime/root_atime_off (run as root) [10:00] [KILLED] (RERAN)
Test: /usr/share/zfs/zfs-tests/tests/functional/atime/cleanup (run as root) [00:01] [PASS]

Results Summary
PASS\t   2

Tests with results other than PASS that are expected:
    SKIP atime/atime_002_neg (https://github.com/openzfs/zfs/issues/1)
    KILLED atime/root_atime_off (Known issue)

Tests with result of PASS that are unexpected:

Tests with results other than PASS that are unexpected:
    FAIL atime/atime_001_pos (expected PASS)
";

    pub(in super::super) fn read(text: &str) -> Transcript {
        let mut transcript = Transcript::default();
        text.lines().for_each(|line| drop(transcript.line(line).cloned()));
        transcript
    }

    #[test]
    fn the_suites_own_lists_excuse_and_say_why() {
        let ends = read(WHOLE).finish();
        let short: Vec<_> = ends.iter().map(|e| (e.name.as_str(), e.verdict, e.expected, e.seconds)).collect();
        let wanted = [
            ("setup", Verdict::Pass, true, 2),
            ("atime_001_pos", Verdict::Fail, false, 67),
            ("atime_002_neg", Verdict::Skip, true, 0),
            ("root_atime_off", Verdict::Killed, true, 600),
            ("cleanup", Verdict::Pass, true, 1),
        ];
        assert_eq!(short, wanted);
        assert_eq!(ends[3].why.as_deref(), Some("Known issue"));
    }

    #[test]
    fn a_report_that_did_not_come_excuses_nothing() {
        let (cut, _) = WHOLE.split_once("\nTests with results other than PASS that are unexpected").unwrap();
        let ends = read(cut).finish();
        assert_eq!(ends.iter().filter(|end| !end.expected).count(), 3);
    }

    /// As OpenZFS 2.4 and later have it.
    #[test]
    fn an_end_with_the_time_of_day_is_one() {
        let timed = |line: &str| {
            if line.contains(" (run as ") {
                format!("[2026-11-25T10:30:00.012345] {line}\n")
            } else {
                format!("{line}\n")
            }
        };
        let text: String = WHOLE.lines().map(timed).collect();
        assert_eq!(read(&text).finish(), read(WHOLE).finish());
        assert_eq!(test_line("[hello] Test: /a/b (run as root) [00:01] [PASS]"), None);
    }

    #[test]
    fn what_tests_print_is_no_end_of_one() {
        /// More seconds than there are numbers.
        const LONG: &str = "Test: /a/b (run as root) [9999999999999999999:00] [PASS]";
        for line in [
            "",
            "Test: x",
            "Test: /a/b (run as root) [00:01] [WAITING]",
            "Testing (x): y (run as z) [00:01] [PASS]",
            LONG,
        ] {
            assert_eq!(test_line(line), None, "{line}");
        }
        assert_eq!(read("a\n  b  \n\n").last(), "b");
        assert_eq!(
            read("KeyError: 'x'\nzfs-tests.sh: /a/test-runner.py failed, test aborted.\n").last(),
            "KeyError: 'x'"
        );
    }
}
