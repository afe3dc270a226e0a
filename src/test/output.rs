//! Results as files for other programs: JUnit XML, TAP 13, JSON.
//!
//! Knows nothing of machines; decides nothing.

use std::fmt::Write;
use std::path::Path;
use std::time::Duration;

use quick_junit::{NonSuccessKind, Report, TestCase, TestCaseStatus, TestSuite};

use super::group::{GroupEnd, TestEnd, Verdict};
use super::results::Results;
use crate::error::{Error, Result};

/// Writes `junit.xml`, `results.tap` and `results.json` into the folder; each is whole at any time.
///
/// # Errors
/// When one of them cannot be written.
pub fn write(folder: &Path, results: &Results) -> Result<()> {
    let json = serde_json::to_string_pretty(results)
        .map_err(|e| Error::build("the results cannot be written as JSON").because(e))?;
    for (name, text) in [("junit.xml", junit(results)?), ("results.tap", tap(results)), ("results.json", json + "\n")] {
        let path = folder.join(name);
        crate::host::write_private(&path, &text)
            .map_err(|e| Error::build(format!("cannot write {}", path.display())).because(e))?;
    }
    Ok(())
}

/// The results as JUnit XML: a suite for each group. JUnit has no word for a failure that is expected, so that is `skipped`.
///
/// # Errors
/// When they cannot be written as XML.
pub fn junit(results: &Results) -> Result<String> {
    let mut report = Report::new("quiz test");
    report.set_time(results.took);
    for group in &results.groups {
        let mut suite = TestSuite::new(group.name.as_str());
        suite.set_time(group.took);
        suite.add_property(("cached", if group.cached { "true" } else { "false" }));
        suite.add_test_cases(group.tests.iter().map(|test| case(group, test)));
        report.add_test_suite(suite);
    }
    report.to_string().map_err(|e| Error::build("the results cannot be written as XML").because(e))
}

fn case(group: &GroupEnd, test: &TestEnd) -> TestCase {
    let kind = match (test.verdict, test.expected) {
        (Verdict::Pass, _) => None,
        (_, true) => Some(TestCaseStatus::skipped()),
        (Verdict::Fail | Verdict::Skip | Verdict::Killed | Verdict::Warn, _) => {
            Some(TestCaseStatus::non_success(NonSuccessKind::Failure))
        }
        _ => Some(TestCaseStatus::non_success(NonSuccessKind::Error)),
    };
    let status = kind.map_or_else(TestCaseStatus::success, |mut status| {
        status.set_type(test.verdict.to_string()).set_message(message(test));
        if !test.output.is_empty() {
            status.set_description(test.output.join("\n"));
        }
        status
    });
    let mut case = TestCase::new(test.name.as_str(), status);
    // The suite tells whole seconds of each test. Of a command there is only the time of its machine.
    let took = if group.is_command(test) { group.took } else { Duration::from_secs(test.seconds) };
    case.set_classname(group.name.as_str()).set_time(took);
    case
}

fn message(test: &TestEnd) -> String {
    match &test.why {
        Some(why) => format!("{}: {why}", test.verdict),
        None => test.verdict.to_string(),
    }
}

/// The results as TAP 13. An expected failure is what TAP calls a TODO. <https://testanything.org/tap-version-13-specification.html>
pub fn tap(results: &Results) -> String {
    let count: usize = results.groups.iter().map(|group| group.tests.len()).sum();
    let mut text = format!("TAP version 13\n1..{count}\n");
    let mut number = 0;
    // Writing to a String does not fail.
    for group in &results.groups {
        let from = if group.cached { " (from the cache)" } else { "" };
        let _ = writeln!(text, "# {}{from}", one_line(&group.name));
        for test in &group.tests {
            number += 1;
            let ok = if test.verdict == Verdict::Pass || (test.verdict == Verdict::Skip && test.expected) {
                "ok"
            } else {
                "not ok"
            };
            let why = one_line(test.why.as_deref().unwrap_or_default());
            let directive = match (test.verdict, test.expected) {
                (Verdict::Pass, _) | (_, false) => String::new(),
                (Verdict::Skip, true) => format!(" # SKIP {why}"),
                (_, true) => format!(" # TODO {} {why}", test.verdict),
            };
            // A `#` would begin a directive.
            let name =
                if group.is_command(test) { group.name.clone() } else { format!("{} {}", group.name, test.name) };
            let name = one_line(&name).replace('#', "\\#");
            let _ = writeln!(text, "{ok} {number} - {}", format!("{name}{directive}").trim_end());
            if !test.expected {
                // TAP wants YAML here; a string in JSON is one in YAML, too.
                let _ = writeln!(text, "  ---\n  message: {}\n  ...", serde_json::json!(message(test)));
            }
        }
    }
    text
}

fn one_line(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn results() -> Results {
        let test = |name: &str, verdict, expected, why: Option<&str>| TestEnd {
            name: name.into(),
            verdict,
            expected,
            why: why.map(Into::into),
            output: vec!["a <b> & \u{1}c".into(), "]]>".into()],
            seconds: 67,
        };
        let group = |name: &str, cached, tests| GroupEnd {
            name: name.into(),
            folder: "1".into(),
            tests,
            took: Duration::from_millis(1500),
            complete: true,
            cached,
            allowed: vec![],
        };
        let tests = vec![
            test("setup", Verdict::Pass, true, None),
            test("one", Verdict::Fail, false, Some("ERROR: \"x\" <y>")),
            test("two", Verdict::Skip, true, Some("Not\napplicable")),
            test("three", Verdict::Killed, true, Some("Known issue")),
            test("four", Verdict::Panic, false, Some("VERIFY(0)")),
            test("five", Verdict::Warn, false, Some("UBSAN: x")),
        ];
        let groups = vec![
            group("functional/a", false, tests),
            group("echo # x", true, vec![test("echo # x", Verdict::Pass, true, None)]),
        ];
        Results { groups, interrupted: None, took: Duration::from_secs(3) }
    }

    #[test]
    fn junit_reads_back_by_another_parser() {
        let text = junit(&results()).unwrap();
        let document = roxmltree::Document::parse(&text).unwrap();
        let root = document.root_element();
        let number = |name: &str| root.attribute(name).unwrap().parse::<u32>().unwrap();
        assert_eq!(["tests", "failures", "errors", "skipped"].map(number), [7, 2, 1, 2]);
        let case = |name: &str| {
            document.descendants().find(|n| n.has_tag_name("testcase") && n.attribute("name") == Some(name)).unwrap()
        };
        assert_eq!(
            (case("setup").attribute("classname"), case("setup").attribute("time")),
            (Some("functional/a"), Some("67.000"))
        );
        assert_eq!(case("echo # x").attribute("time"), Some("1.500"), "a command takes as long as its machine");
        let failure = case("one").children().find(|n| n.has_tag_name("failure")).unwrap();
        assert_eq!(
            (failure.attribute("type"), failure.attribute("message")),
            (Some("FAIL"), Some("FAIL: ERROR: \"x\" <y>"))
        );
        assert_eq!(failure.text(), Some("a <b> & c\n]]>"));
        let warn = case("five").children().find(|n| n.has_tag_name("failure")).unwrap();
        assert_eq!((warn.attribute("type"), warn.attribute("message")), (Some("WARN"), Some("WARN: UBSAN: x")));
        assert_eq!(case("three").first_element_child().unwrap().tag_name().name(), "skipped");
        assert_eq!(case("four").first_element_child().unwrap().tag_name().name(), "error");
        let cached: Vec<_> = document
            .descendants()
            .filter(|n| n.has_tag_name("property"))
            .map(|n| n.attribute("value").unwrap())
            .collect();
        assert_eq!(cached, ["false", "true"]);
    }

    #[test]
    fn tap_has_a_line_for_each_test() {
        let wanted = "\
TAP version 13
1..7
# functional/a
ok 1 - functional/a setup
not ok 2 - functional/a one
  ---
  message: \"FAIL: ERROR: \\\"x\\\" <y>\"
  ...
ok 3 - functional/a two # SKIP Not applicable
not ok 4 - functional/a three # TODO KILLED Known issue
not ok 5 - functional/a four
  ---
  message: \"PANIC: VERIFY(0)\"
  ...
not ok 6 - functional/a five
  ---
  message: \"WARN: UBSAN: x\"
  ...
# echo # x (from the cache)
ok 7 - echo \\# x
";
        assert_eq!(tap(&results()), wanted);
    }
}
