//! The results of `quiz test` as a table for stdout, or as JSON.

use super::lines::{count, duration};
use super::row::cut;
use super::shapes::{Listed, Tested};
use super::style::Style;
use crate::test::{Group, GroupEnd, Results, TestEnd, Verdict};
use serde_json::{Value as Json, json};
use std::path::Path;

/// Longer names of groups are cut in the table; what is not as it should be is said below with its whole name.
const WIDEST: usize = 60;

/// A line for each group, then one for each test that did not pass (with `all`, for every test), then the sum.
pub fn tests(results: &Results, out: &Path, all: bool, style: &Style) -> String {
    let width = results.groups.iter().map(|group| group.name.chars().count()).max().unwrap_or(0).clamp(5, WIDEST);
    let mut text = style.dim(&format!("{:<width$}  passed  excused  wrong    time", "group")) + "\n";
    for group in &results.groups {
        let [passed, excused, wrong] = counts(group);
        let name = cut(&group.name, width);
        let fill = " ".repeat(width.saturating_sub(name.chars().count()));
        let wrong_text = format!("{wrong:>5}");
        let wrong_text = if wrong == 0 { wrong_text } else { style.bad(&wrong_text) };
        let cached = if group.cached { style.dim("  cached") } else { String::new() };
        let took = duration(group.took);
        text += &format!("{name}{fill}  {passed:>6}  {excused:>7}  {wrong_text}  {took:>6}{cached}\n");
    }
    for group in &results.groups {
        let told: Vec<&TestEnd> = group.tests.iter().filter(|test| all || test.verdict != Verdict::Pass).collect();
        // Tests that did not run for the same reason share a line.
        for same in
            told.chunk_by(|a, b| !all && a.verdict == Verdict::NotRun && (b.verdict, &b.why) == (a.verdict, &a.why))
        {
            text += &line(group, same, out, style);
        }
    }
    let sum = results.groups.iter().map(counts).fold([0; 3], |a, b| std::array::from_fn(|n| a[n] + b[n]));
    let took = duration(results.took);
    let [passed, excused, wrong] = sum;
    text + &verdicts(results)
        + &format!(
            "{}: {passed} passed, {excused} excused, {wrong} wrong, in {took} ({})\n",
            count(sum.iter().sum()),
            out.display()
        )
}

/// What would run: a line for each group with its tests, or JSON.
pub fn groups(groups: &[Group], as_json: bool) -> String {
    if as_json {
        let groups = groups.iter().map(|group| Listed { group: &group.name, tests: &group.tests });
        return format!("{}\n", json!(groups.collect::<Vec<_>>()));
    }
    let line = |group: &Group| match &group.tests[..] {
        [only] if *only == group.name => format!("{only}\n"),
        tests => format!("{} {}\n", group.name, tests.join(" ")),
    };
    groups.iter().map(line).collect()
}

/// Passed, ended otherwise as the suite's lists have it, and what is wrong.
fn counts(group: &GroupEnd) -> [usize; 3] {
    let passed = group.count(Verdict::Pass);
    let wrong = group.tests.iter().filter(|test| !test.expected).count();
    [passed, group.tests.len() - passed - wrong, wrong]
}

/// How many tests ended in which way, excused or not.
fn verdicts(results: &Results) -> String {
    let always = [Verdict::Pass, Verdict::Fail, Verdict::Skip];
    let others = [Verdict::Killed, Verdict::Warn, Verdict::Panic, Verdict::Timeout, Verdict::Lost, Verdict::NotRun];
    let counted = |verdict| (verdict, results.groups.iter().map(|group| group.count(verdict)).sum::<usize>());
    let counts = always.map(counted).into_iter().chain(others.map(counted).into_iter().filter(|(_, count)| *count > 0));
    counts.map(|(verdict, count)| format!("{verdict} {count}")).collect::<Vec<_>>().join("  ") + "\n"
}

/// The line of tests that ended in the same way.
fn line(group: &GroupEnd, tests: &[&TestEnd], out: &Path, style: &Style) -> String {
    let [test, more @ ..] = tests else { return String::new() };
    let verdict = format!("{:<7}", test.verdict.to_string());
    let verdict = match (test.verdict, test.expected) {
        (Verdict::Pass, _) => style.good(&verdict),
        (_, true) => style.dim(&verdict),
        (_, false) => style.bad(&verdict),
    };
    let name = match more.len() {
        _ if group.is_command(test) => test.name.clone(),
        0 => format!("{}/{}", group.name, test.name),
        more => format!("{}/{} and {more} more", group.name, test.name),
    };
    let mut why = test.why.as_ref().map_or(String::new(), |why| format!(": {why}"));
    // Its run is that of the folder; each group is one of its machines.
    if let (Verdict::Panic, Some(run)) = (test.verdict, out.parent().and_then(Path::file_name)) {
        why += &format!(" (quiz crash show {}/{})", run.display(), group.folder);
    }
    format!("{verdict} {name}{}\n", if test.expected { style.dim(&why) } else { why })
}

/// The results as JSON, and the folder with the files.
pub fn tests_json(results: &Results, out: &Path) -> Json {
    json!(Tested { status: results.status(), out: out.to_string_lossy(), results })
}

#[cfg(test)]
mod shown {
    use super::*;
    use crate::report::Color;
    use std::time::Duration;

    #[test]
    fn what_is_wrong_stands_out_and_what_is_excused_is_told() {
        let test = |name: &str, verdict, expected, why: Option<&str>| TestEnd {
            name: name.into(),
            verdict,
            expected,
            why: why.map(Into::into),
            output: vec![],
            seconds: 1,
        };
        let tests_of = vec![
            test("setup", Verdict::Pass, true, None),
            test("one", Verdict::Panic, false, Some("VERIFY(0)")),
            test("two", Verdict::Skip, true, Some("no fio")),
            test("three", Verdict::NotRun, false, Some("gone")),
            test("four", Verdict::NotRun, false, Some("gone")),
            test("five", Verdict::NotRun, false, Some("left out")),
        ];
        let group = |name: &str, cached, tests| GroupEnd {
            name: name.into(),
            folder: "1".into(),
            tests,
            took: Duration::from_secs(61),
            complete: true,
            cached,
            allowed: vec![],
        };
        let groups = vec![
            group("functional/a", false, tests_of),
            group("true", true, vec![test("true", Verdict::Pass, true, None)]),
        ];
        let results = Results { groups, interrupted: None, took: Duration::from_secs(62) };
        let wanted = "\
group         passed  excused  wrong    time
functional/a       1        1      4  1m 01s
true               1        0      0  1m 01s  cached
PANIC   functional/a/one: VERIFY(0)
SKIP    functional/a/two: no fio
NOTRUN  functional/a/three and 1 more: gone
NOTRUN  functional/a/five: left out
PASS 2  FAIL 0  SKIP 1  PANIC 1  NOTRUN 3
7 tests: 2 passed, 1 excused, 4 wrong, in 1m 02s (/o)
";
        assert_eq!(tests(&results, Path::new("/o"), false, &Style::new(Color::Never, false)), wanted);
    }
}
