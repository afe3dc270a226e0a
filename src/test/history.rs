//! What earlier runs of a project's tests came to, and what the kernel said while a test of a run ran, out of the folders of runs.
//!
//! What cannot be read counts as not there: a run that was killed has no results, a test from the cache no log.

use std::collections::BTreeMap;
use std::fs;
use std::io::{Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};

use super::group::{GroupEnd, Verdict};
use super::results::Results;
use crate::boot::folder::{PARTS, number};
use crate::host;

/// No more than this of a file of results is read, in bytes.
const LARGEST: u64 = 256 << 20;

/// A run of tests that is over.
#[derive(Debug)]
pub struct Past {
    /// The run's number, as `.quiz/runs` has it.
    pub run: String,
    /// How long it took, in seconds.
    pub seconds: f64,
    /// How each test of a group ended, and whether as it should: by the names of both.
    pub ends: BTreeMap<(String, String), (Verdict, bool)>,
}

impl Past {
    /// The run of this number, which came to these results.
    pub fn of(run: String, results: &Results) -> Self {
        let tests = results.groups.iter().flat_map(|group| group.tests.iter().map(move |test| (group, test)));
        let ends = tests.map(|(group, test)| ((group.name.clone(), test.name.clone()), (test.verdict, test.expected)));
        Self { run, seconds: results.took.as_secs_f64(), ends: ends.collect() }
    }
}

/// The newest `most` runs of tests before the one in this folder, the oldest first.
pub fn before(run: &Path, most: usize) -> Vec<Past> {
    let own = numbered(run).unwrap_or(u64::MAX);
    let entries = run.parent().and_then(|runs| fs::read_dir(runs).ok()).into_iter().flatten();
    let mut runs: Vec<(u64, PathBuf)> = entries
        .filter_map(|entry| {
            let path = entry.ok()?.path();
            Some((numbered(&path).filter(|number| *number < own)?, path))
        })
        .collect();
    runs.sort();
    let read = |(_, run): (u64, PathBuf)| {
        let mut text = String::new();
        let file = host::open_plain(&run.join("out/results.json")).ok()?;
        file.take(LARGEST).read_to_string(&mut text).ok()?;
        let results: Results = serde_json::from_str(&text).ok()?;
        Some(Past::of(number(&run), &results))
    };
    let mut past: Vec<Past> = runs.into_iter().rev().filter_map(read).take(most).collect();
    past.reverse();
    past
}

fn numbered(run: &Path) -> Option<u64> {
    run.file_name()?.to_str()?.parse().ok()
}

/// What the kernel said while the test ran, or in all the time of a machine that had one test: the last `most` bytes, and whether there was
/// more. A run has its machines' folders in `run`.
pub fn kernel_log(run: &Path, group: &GroupEnd, test: &str, most: u64) -> Option<(String, bool)> {
    let is_name = |name: &str| !name.is_empty() && !name.contains(['/', '\0']) && name != "." && name != "..";
    // The names were the guest's before they were results.
    if !is_name(&group.folder) {
        return None;
    }
    let own = Some(format!("{test}.kernel.log")).filter(|_| is_name(test));
    let own = own.and_then(|name| end(&run.join("out").join(&group.folder).join(name), most));
    let is_whole = group.tests.len() == 1 || test == super::judge::MACHINE;
    own.or_else(|| is_whole.then(|| end(&run.join(PARTS).join(&group.folder).join("console.log"), most)).flatten())
}

/// The last `most` bytes of a file, from the beginning of a line on, and whether something was cut off.
fn end(path: &Path, most: u64) -> Option<(String, bool)> {
    let mut file = host::open_plain(path).ok()?;
    let length = file.metadata().ok()?.len();
    let is_cut = length > most;
    file.seek(SeekFrom::Start(length.saturating_sub(most))).ok()?;
    let mut bytes = Vec::new();
    file.take(most).read_to_end(&mut bytes).ok()?;
    let text = String::from_utf8_lossy(&bytes).replace("\r\n", "\n");
    let rest = if is_cut { text.split_once('\n').map_or("", |(_, rest)| rest).to_owned() } else { text };
    Some((rest, is_cut))
}

#[cfg(test)]
mod tests {
    use super::super::group::TestEnd;
    use super::*;
    use std::time::Duration;

    fn group(name: &str, tests: &[&str]) -> GroupEnd {
        let test = |name: &&str| TestEnd {
            name: (*name).into(),
            verdict: Verdict::Pass,
            expected: true,
            why: None,
            output: vec![],
            seconds: 1,
        };
        GroupEnd {
            name: format!("functional/{name}"),
            folder: name.into(),
            tests: tests.iter().map(test).collect(),
            took: Duration::from_secs(1),
            complete: true,
            cached: false,
            allowed: vec![],
        }
    }

    #[test]
    fn the_last_runs_are_found_and_what_is_no_result_is_passed_over() {
        let runs = tempfile::tempdir().unwrap();
        for number in [1, 2, 3, 9, 10, 11, 12] {
            let out = runs.path().join(number.to_string()).join("out");
            fs::create_dir_all(&out).unwrap();
            let results =
                Results { groups: vec![group("a", &["t"])], interrupted: None, took: Duration::from_secs(number) };
            fs::write(out.join("results.json"), serde_json::to_string(&results).unwrap()).unwrap();
        }
        fs::write(runs.path().join("3/out/results.json"), "{").unwrap();
        fs::remove_file(runs.path().join("9/out/results.json")).unwrap();
        fs::write(runs.path().join("lock"), "").unwrap();
        let past = before(&runs.path().join("11"), 3);
        let of = |past: &Past| (past.run.clone(), past.seconds.to_string());
        assert_eq!(
            past.iter().map(of).collect::<Vec<_>>(),
            [("1", "1"), ("2", "2"), ("10", "10")].map(|(a, b)| (a.into(), b.into()))
        );
        assert_eq!(past[0].ends[&("functional/a".into(), "t".into())], (Verdict::Pass, true));
    }

    #[test]
    fn a_log_is_the_tests_own_or_the_machines_and_its_end() {
        let run = tempfile::tempdir().unwrap();
        let write = |path: &str, text: &str| {
            let path = run.path().join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        };
        write("out/a/one.kernel.log", "first\r\nsecond\r\n");
        write("groups/a/console.log", "all of a\n");
        write("groups/b/console.log", "all of b\n");
        write("secret.kernel.log", "secret\n");
        let log = |group: &GroupEnd, test: &str, most| kernel_log(run.path(), group, test, most);
        let a = group("a", &["one", "two"]);
        assert_eq!(log(&a, "one", 99), Some(("first\nsecond\n".into(), false)));
        assert_eq!(log(&a, "one", 10), Some(("second\n".into(), true)), "no half line");
        assert_eq!(log(&a, "two", 99), None);
        assert_eq!(log(&a, "machine", 99), Some(("all of a\n".into(), false)));
        assert_eq!(log(&group("b", &["sh -c 'x/y'"]), "sh -c 'x/y'", 99), Some(("all of b\n".into(), false)));
        for evil in ["../../secret", "..", "", "/etc/x"] {
            assert_eq!(log(&a, evil, 99), None, "{evil}");
            assert_eq!(log(&group(evil, &["one"]), "one", 99), None, "{evil}");
        }
    }
}
