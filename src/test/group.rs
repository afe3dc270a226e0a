//! What one machine is asked to do, and how its tests ended, as plain data.

use std::fmt;
use std::time::Duration;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::runfile::Section;
use crate::boot::Allowed;

/// The program of the guest that runs the runfile that it gets on stdin, with the results in `/out`. The profile `ztest` brings it.
const SUITE: &str = "/usr/lib/quiz/zts-group";

/// What the suite and its judgement may take besides its tests.
const SLACK: Duration = Duration::from_secs(300);

/// What runs in one machine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Group {
    /// The name for people.
    pub name: String,
    /// Its folder's name in the run.
    pub folder: String,
    /// All tests whose end is to be told, in the order in which they run.
    pub tests: Vec<String>,
    /// The program and its arguments.
    pub program: Vec<String>,
    /// What it reads on stdin.
    pub input: String,
    /// How long it may take.
    pub limit: Option<Duration>,
    /// How the ends of its tests are read.
    pub reads: Reads,
    /// How many equal commands come before it in the list: each of them is run, and remembered, for itself.
    pub again: usize,
}

/// How the ends of tests are read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reads {
    /// There is one test: the program's exit status.
    Status,
    /// From what the ZFS Test Suite prints.
    Suite,
}

impl Group {
    /// A group of the ZFS Test Suite.
    pub fn of_suite(section: &Section) -> Self {
        let tests = section.runs();
        let seconds = section.timeout().filter(|seconds| *seconds > 0);
        let count = u32::try_from(tests.len()).unwrap_or(u32::MAX);
        Self {
            name: section.title().to_owned(),
            folder: section.title().replace('/', "."),
            program: vec![SUITE.to_owned()],
            input: section.runfile(),
            limit: seconds.map(|seconds| Duration::from_secs(seconds).saturating_mul(count).saturating_add(SLACK)),
            tests,
            reads: Reads::Suite,
            again: 0,
        }
    }

    /// Commands, one a line, each for the shell and in a machine of its own. Blank lines and those that begin with # are left out.
    pub fn of_lines(text: &str) -> Vec<Self> {
        let lines = text.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#'));
        let lines: Vec<&str> = lines.collect();
        let group = |(number, line): (usize, &&str)| Self {
            name: (*line).to_owned(),
            folder: (number + 1).to_string(),
            tests: vec![(*line).to_owned()],
            program: ["sh", "-c", line].map(str::to_owned).to_vec(),
            input: String::new(),
            limit: None,
            reads: Reads::Status,
            again: lines[..number].iter().filter(|before| *before == line).count(),
        };
        lines.iter().enumerate().map(group).collect()
    }
}

/// How a test ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "UPPERCASE")]
pub enum Verdict {
    /// It passed.
    Pass,
    /// It found something wrong.
    Fail,
    /// It says that it cannot run here.
    Skip,
    /// It took too long, and the suite ended it.
    Killed,
    /// The guest's kernel complained while it ran.
    Warn,
    /// The guest's kernel gave up while it ran.
    Panic,
    /// The machine took too long while it ran.
    Timeout,
    /// The machine went away while it ran.
    Lost,
    /// It did not get its turn, or the suite left it out.
    NotRun,
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Pass => "PASS",
            Self::Fail => "FAIL",
            Self::Skip => "SKIP",
            Self::Killed => "KILLED",
            Self::Warn => "WARN",
            Self::Panic => "PANIC",
            Self::Timeout => "TIMEOUT",
            Self::Lost => "LOST",
            Self::NotRun => "NOTRUN",
        })
    }
}

/// The end of one test.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct TestEnd {
    /// The test.
    pub name: String,
    /// How it ended.
    pub verdict: Verdict,
    /// It passed, or the suite's own lists excuse that it did not; and the kernel did not complain.
    pub expected: bool,
    /// Why it did not pass, or why that is expected.
    pub why: Option<String>,
    /// The last lines that it printed, or the kernel's, when it did not pass.
    pub output: Vec<String>,
    /// How long it took, as its runner measured it.
    pub seconds: u64,
}

/// The end of a group.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct GroupEnd {
    /// The group's name.
    pub name: String,
    /// Its folder's name in the run.
    pub folder: String,
    /// Its tests.
    pub tests: Vec<TestEnd>,
    /// How long it took, boot and all; of a remembered one, at that time.
    pub took: Duration,
    /// The program came to its own end, and told of every test.
    pub complete: bool,
    /// It was not run now: the cache remembers it.
    pub cached: bool,
    /// What the kernel complained about and may.
    pub allowed: Vec<Allowed>,
}

impl GroupEnd {
    /// All tests ended as expected.
    pub fn is_good(&self) -> bool {
        self.tests.iter().all(|test| test.expected)
    }

    /// Whether that is a command and not a test of a suite: the group is it, and has its name.
    pub fn is_command(&self, test: &TestEnd) -> bool {
        test.name == self.name
    }

    /// How many tests ended with this verdict.
    pub fn count(&self, verdict: Verdict) -> usize {
        self.tests.iter().filter(|test| test.verdict == verdict).count()
    }
}

#[cfg(test)]
mod tests {
    use super::super::runfile::tests::sections;
    use super::*;

    #[test]
    fn a_group_of_the_suite_may_take_what_its_tests_may() {
        let group = Group::of_suite(&sections()[3]);
        assert_eq!((group.name.as_str(), group.folder.as_str()), ("functional/atime:Linux", "functional.atime:Linux"));
        assert_eq!(group.tests, ["setup", "atime_003_pos", "cleanup"]);
        assert_eq!(group.limit, Some(Duration::from_secs(3 * 600 + 300)));
    }

    #[test]
    fn a_limit_may_be_more_than_there_are_seconds() {
        let text = format!("[tests/x]\ntests = ['a', 'b']\ntimeout = {}\n", u64::MAX);
        let sections = super::super::runfile::read(&[("x.run".into(), text)]).unwrap();
        assert_eq!(Group::of_suite(&sections[0]).limit, Some(Duration::MAX));
    }

    #[test]
    fn lines_are_commands_without_blank_ones_and_comments() {
        let again = Group::of_lines("true\nfalse\n true\ntrue\n").iter().map(|group| group.again).collect::<Vec<_>>();
        assert_eq!(again, [0, 0, 1, 2]);
        let groups = Group::of_lines("# a list\n\n  true \nsh -c 'exit 3' # x\n");
        let names: Vec<(&str, &str)> = groups.iter().map(|g| (g.folder.as_str(), g.name.as_str())).collect();
        assert_eq!(names, [("1", "true"), ("2", "sh -c 'exit 3' # x")]);
        assert_eq!(groups[1].program, ["sh", "-c", "sh -c 'exit 3' # x"]);
    }
}
