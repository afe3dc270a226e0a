//! The ZFS Test Suite's runfiles: INI as Python's configparser reads it, where one section is one group of tests.
//!
//! Knows the format of test-runner.py, and not which groups are wanted.

use std::collections::BTreeMap;
use std::fmt::Write;

use crate::error::{Error, Result};

/// One group: the tests of one folder.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Section {
    /// As in the runfile: `tests/functional/atime:Linux`.
    pub name: String,
    /// The tests, in the order in which they run.
    pub tests: Vec<String>,
    /// All options but `tests`, those of `[DEFAULT]` included, as they are written.
    options: BTreeMap<String, String>,
}

/// What test-runner.py takes when a runfile does not say: seconds of one test.
const TIMEOUT: u64 = 60;

/// Where test-runner.py has its log, whatever a runfile says of results.
const RESULTS: &str = "/var/tmp/test_results";

/// Reads runfiles, given as name and text, one over the other: a section that two have is one section.
///
/// # Errors
/// A line that no runfile has, by file and number; a section without tests.
pub fn read(files: &[(String, String)]) -> Result<Vec<Section>> {
    let mut sections: Vec<(String, BTreeMap<String, String>)> = Vec::new();
    for (file, text) in files {
        let mut here: Option<usize> = None;
        let mut key: Option<String> = None;
        for (number, line) in text.lines().enumerate() {
            let wrong = || Error::input(format!("{file}:{}: this is no line of a runfile: {line}", number + 1));
            let trimmed = line.trim();
            if trimmed.is_empty() || trimmed.starts_with(['#', ';']) {
                continue;
            }
            if line.starts_with(char::is_whitespace) {
                let (Some(here), Some(key)) = (here, &key) else { return Err(wrong()) };
                let value: &mut String = sections[here].1.entry(key.clone()).or_default();
                value.push('\n');
                value.push_str(trimmed);
            } else if let Some(name) = trimmed.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
                let known = sections.iter().position(|(other, _)| other == name);
                here = known.or_else(|| {
                    sections.push((name.to_owned(), BTreeMap::new()));
                    Some(sections.len() - 1)
                });
                key = None;
            } else {
                let (name, value) = trimmed.split_once(['=', ':']).ok_or_else(wrong)?;
                let name = name.trim().to_lowercase();
                if name.is_empty() {
                    return Err(wrong());
                }
                sections[here.ok_or_else(wrong)?].1.insert(name.clone(), value.trim().to_owned());
                key = Some(name);
            }
        }
    }
    let is_default = |name: &str| name == "DEFAULT";
    let defaults = sections.iter().find(|(name, _)| is_default(name)).map(|(_, d)| d.clone()).unwrap_or_default();
    let groups = sections.into_iter().filter(|(name, _)| !is_default(name));
    groups.map(|(name, own)| section(name, own, &defaults)).collect()
}

fn section(name: String, own: BTreeMap<String, String>, defaults: &BTreeMap<String, String>) -> Result<Section> {
    let wrong = |what: &str| Error::input(format!("the runfile's section [{name}] {what}"));
    let mut options = defaults.clone();
    options.extend(own);
    let tests = options.remove("tests").ok_or_else(|| wrong("has no `tests`"))?;
    let tests = list(&tests).ok_or_else(|| wrong("has `tests` that are no list"))?;
    let section = Section { name: name.clone(), tests, options };
    list(section.option("tags").unwrap_or("[]")).ok_or_else(|| wrong("has `tags` that are no list"))?;
    section.timeout().ok_or_else(|| wrong("has a `timeout` that is no number"))?;
    Ok(section)
}

/// The texts of a Python list of texts. One over two lines is none in Python, and a backslash would mean something: no file's name has
/// either.
fn list(text: &str) -> Option<Vec<String>> {
    let mut rest = text.trim().strip_prefix('[')?.strip_suffix(']')?.trim_start();
    let mut items = Vec::new();
    while let Some(quote) = rest.chars().next() {
        let (item, after) = rest.strip_prefix(['\'', '"'])?.split_once(quote)?;
        if item.contains(['\n', '\\']) {
            return None;
        }
        items.push(item.to_owned());
        let after = after.trim_start();
        rest = match after.strip_prefix(',') {
            Some(more) => more.trim_start(),
            None if after.is_empty() => after,
            None => return None,
        };
    }
    Some(items)
}

impl Section {
    /// The folder of its tests below `tests/`: `functional/cli_root/zfs_get`.
    pub fn folder(&self) -> &str {
        let path = self.name.split(':').next().unwrap_or_default();
        path.strip_prefix("tests/").unwrap_or(path)
    }

    /// The name for people: its folder, and what tells it from others of the same folder: `functional/atime:Linux`.
    pub fn title(&self) -> &str {
        self.name.strip_prefix("tests/").unwrap_or(&self.name)
    }

    /// Its tags.
    pub fn tags(&self) -> Vec<String> {
        self.option("tags").and_then(list).unwrap_or_default()
    }

    /// All that run, in order: what prepares, the tests, what cleans up.
    pub fn runs(&self) -> Vec<String> {
        let script = |name: &str| self.option(name).filter(|script| !script.is_empty()).map(str::to_owned);
        script("pre").into_iter().chain(self.tests.iter().cloned()).chain(script("post")).collect()
    }

    /// Seconds that one test may take; 0 is no limit.
    pub fn timeout(&self) -> Option<u64> {
        self.option("timeout").map_or(Some(TIMEOUT), |text| text.parse().ok())
    }

    fn option(&self, name: &str) -> Option<&str> {
        self.options.get(name).map(String::as_str)
    }

    /// A runfile of this group alone. Its one tag is `quiz`.
    pub fn runfile(&self) -> String {
        let mut text = format!("[DEFAULT]\noutputdir = {RESULTS}\nquiet = False\n\n[{}]\n", self.name);
        // A test's name that was read holds one kind of quotes at most.
        let quoted = |test: &String| if test.contains('\'') { format!("\"{test}\"") } else { format!("'{test}'") };
        let tests: Vec<String> = self.tests.iter().map(quoted).collect();
        // Writing to a String does not fail.
        let _ = writeln!(text, "tests = [{}]\ntags = ['quiz']", tests.join(", "));
        for (name, value) in
            self.options.iter().filter(|(name, _)| !["outputdir", "quiet", "tags"].contains(&name.as_str()))
        {
            let _ = writeln!(text, "{name} = {}", value.replace('\n', "\n    "));
        }
        text
    }
}

/// Fails unless what is written of the section reads as the same one, but for what is always written.
#[cfg(any(test, feature = "fuzz"))]
pub(super) fn reads_back(section: &Section) {
    let text = section.runfile();
    let again = read(&[("written".into(), text.clone())]).unwrap_or_else(|e| panic!("{e}:\n{text}"));
    let own = |section: &Section| {
        let mut options = section.options.clone();
        options.retain(|name, _| !["outputdir", "quiet", "tags"].contains(&name.as_str()));
        (section.name.clone(), section.tests.clone(), options)
    };
    assert_eq!(again.iter().map(own).collect::<Vec<_>>(), [own(section)], "{text}");
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use proptest::prelude::*;

    pub(in super::super) const COMMON: &str = "\
# A comment
[DEFAULT]
pre = setup
quiet = False
timeout = 600
post = cleanup
outputdir = /var/tmp/test_results
tags = ['functional']

[tests/functional/atime]
tests = ['atime_001_pos', 'atime_002_neg',
    'root_atime_off', \"root_atime_on\"]
tags = ['functional', 'atime']

[tests/functional/btree]
tests = ['btree_positive']
tags = ['functional', 'btree']
pre =
post =

[tests/functional/cli_root/zfs_get]
tests = ['zfs_get_001_pos', 'zfs_get_002_pos']
tags = ['functional', 'cli_root', 'zfs_get']
timeout = 1200
";

    pub(in super::super) const LINUX: &str = "\
[DEFAULT]
pre = setup
[tests/functional/atime:Linux]
tests = ['atime_003_pos']
tags = ['functional', 'atime']
";

    pub(in super::super) fn sections() -> Vec<Section> {
        read(&[("common.run".into(), COMMON.into()), ("linux.run".into(), LINUX.into())]).unwrap()
    }

    #[test]
    fn sections_are_groups_and_take_what_default_says() {
        let sections = sections();
        let titles: Vec<&str> = sections.iter().map(Section::title).collect();
        let wanted = ["functional/atime", "functional/btree", "functional/cli_root/zfs_get", "functional/atime:Linux"];
        assert_eq!(titles, wanted);
        assert_eq!(sections[0].tests, ["atime_001_pos", "atime_002_neg", "root_atime_off", "root_atime_on"]);
        assert_eq!(sections[0].runs().len(), 6);
        assert_eq!(sections[1].runs(), ["btree_positive"], "an empty value takes the default's away");
        assert_eq!((sections[2].timeout(), sections[3].timeout()), (Some(1200), Some(600)));
        assert_eq!(
            (sections[3].folder(), sections[3].tags()),
            ("functional/atime", vec!["functional".into(), "atime".into()])
        );
    }

    /// As Python's configparser has it.
    #[test]
    fn tests_of_default_are_those_of_sections_that_name_none() {
        let sections = read(&[("x".into(), "[DEFAULT]\ntests = ['d']\n[a]\n[b]\ntests = ['x']\n".into())]).unwrap();
        assert_eq!(sections.iter().map(|section| section.tests[0].as_str()).collect::<Vec<_>>(), ["d", "x"]);
        sections.iter().for_each(reads_back);
    }

    #[test]
    fn what_is_written_reads_back_as_the_same_group() {
        let section = &sections()[2];
        let text = section.runfile();
        let again = read(&[("x".into(), text.clone())]).unwrap();
        assert_eq!((again.len(), &again[0].tests, again[0].runs()), (1, &section.tests, section.runs()));
        assert!(text.contains("tags = ['quiz']\n") && text.contains("timeout = 1200\n"), "{text}");
    }

    #[test]
    fn a_name_keeps_its_quotes_and_one_that_python_would_read_otherwise_is_none() {
        let tests =
            |list: &str| read(&[("x".into(), format!("[a]\ntests = {list}\n"))]).map(|mut all| all.remove(0).runfile());
        let text = tests("[\"it's\", 'say \"x\"', 'x']").unwrap();
        assert!(text.contains("tests = [\"it's\", 'say \"x\"', 'x']\n"), "{text}");
        for wrong in ["['a\\nb']", "['a\n b']", "[\"\\x\"]"] {
            assert!(tests(wrong).unwrap_err().to_string().contains("no list"), "{wrong}");
        }
        assert!(tests("[]\n= x").unwrap_err().to_string().starts_with("x:3: "));
    }

    proptest! {
        #[test]
        fn what_reads_is_written_so_that_it_reads_as_the_same(
            lines in prop::collection::vec((
                prop::sample::select(vec!["", "[", "[DEFAULT]", "[a]", "tests = [", "tests = ['", "tests = [\"", "timeout = 7", "pre =", "x:", " ", "=", "#"]),
                r#"[ab'"\\,#;=:\[\] \tä]{0,9}"#,
                prop::sample::select(vec!["", "]", "']", "\"]", "', 'b']", " = ]"]),
            ), 0..9),
        ) {
            let lines: Vec<String> = lines.iter().map(|(start, middle, end)| format!("{start}{middle}{end}")).collect();
            let text = format!("[a]\ntests = ['x']\n{}\n", lines.join("\n"));
            for section in read(&[("x".into(), text)]).unwrap_or_default() {
                reads_back(&section);
            }
        }
    }

    #[test]
    fn what_is_no_runfile_is_named_by_line() {
        let error = |text: &str| read(&[("my.run".into(), text.into())]).unwrap_err().to_string();
        assert!(error("[a]\ntests = ['x']\nnonsense\n").starts_with("my.run:3:"));
        assert!(error("tests = ['x']\n").starts_with("my.run:1:"));
        assert!(error("[a]\ntags = ['x']\n").contains("has no `tests`"));
        for wrong in ["['x'", "x", "['x' 'y']", "[x]", "['x]", "[ä]", "['x', äxä]", "["] {
            assert!(error(&format!("[a]\ntests = {wrong}\n")).contains("no list"), "{wrong}");
        }
        assert!(error("[a]\ntests = ['x']\ntimeout = soon\n").contains("timeout"));
    }
}
