//! What the run folder has to say about one test: the kernel log cut by test, and what the test printed.
//!
//! With -K the suite's runner writes a line to the kernel log before each test. Its results folder has a folder for each test.

use std::fs;
use std::path::{Path, PathBuf};

use super::transcript::name;

/// What test-runner.py writes to /dev/kmsg before a test.
const MARK: &str = "ZTS run ";

/// After this line the suite prints the state of the pool and the kernel, which is no output of the test.
const CALLBACK: &str = "NOTE: Performing test-fail callback";

/// How many of a test's last lines are kept.
const KEPT: usize = 60;

/// The kernel log of each test, in the order in which they ran. What came before the first is left out.
pub(super) fn slices(console: &str) -> Vec<(String, String)> {
    let mut slices: Vec<(String, String)> = Vec::new();
    for line in console.lines() {
        if let Some((_, path)) = line.split_once(MARK) {
            slices.push((name(path), String::new()));
        }
        if let Some((_, text)) = slices.last_mut() {
            text.push_str(line);
            text.push('\n');
        }
    }
    slices
}

/// What came before the first test.
pub(super) fn before(console: &str) -> String {
    console.lines().take_while(|line| !line.contains(MARK)).flat_map(|line| [line, "\n"]).collect()
}

/// The test that ran last, or runs.
pub(super) fn running(console: &str) -> Option<String> {
    console.lines().rev().find_map(|line| line.split_once(MARK)).map(|(_, path)| name(path))
}

/// The last lines that a test printed, out of the suite's results folder: `<when>/<group>/<test>/`, since OpenZFS 2.4
/// `<when>/output/<group>/<test>/`.
pub(super) fn printed(results: &Path, test: &str) -> Vec<String> {
    let below = |folder: &Path| fs::read_dir(folder).into_iter().flatten().filter_map(|entry| Some(entry.ok()?.path()));
    let whens = below(results).flat_map(|when| [when.join("output"), when]);
    let folders = whens.flat_map(|when| below(&when).collect::<Vec<_>>()).map(|group| group.join(test));
    first_text(folders.flat_map(|folder| ["merged", "stdout", "stderr"].map(|file| folder.join(file))))
}

/// The last lines that a command printed, out of the folder of its run: what it complained of, if it did.
pub(super) fn last_lines(run: &Path) -> Vec<String> {
    first_text(["stderr", "stdout"].map(|file| run.join(file)))
}

/// The last lines of the first of the files that says anything.
fn first_text(files: impl IntoIterator<Item = PathBuf>) -> Vec<String> {
    let texts = files.into_iter().filter_map(|file| fs::read(file).ok());
    let text = texts.into_iter().find(|text| !text.is_empty()).unwrap_or_default();
    let text = String::from_utf8_lossy(&text);
    let lines: Vec<String> = text.lines().take_while(|line| !line.starts_with(CALLBACK)).map(str::to_owned).collect();
    lines[lines.len().saturating_sub(KEPT)..].to_vec()
}

/// The line that says why: the suite's own word for it, or the last one.
pub(super) fn reason(printed: &[String]) -> Option<String> {
    printed.iter().rfind(|line| line.starts_with("ERROR: ")).or(printed.last()).cloned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kernel_log_is_cut_at_the_marks() {
        let console = "booting\r\n[ 1.0] ZTS run /x/atime/setup\r\n[ 1.5] a\r\n[ 2.0] ZTS run /x/atime/atime_001_pos\r\n[ 2.5] b\r\n";
        let slices = slices(console);
        let names: Vec<&str> = slices.iter().map(|(name, _)| name.as_str()).collect();
        assert_eq!(names, ["setup", "atime_001_pos"]);
        assert_eq!(slices[0].1, "[ 1.0] ZTS run /x/atime/setup\n[ 1.5] a\n");
        assert_eq!((before(console).as_str(), before("a\r\nb").as_str()), ("booting\n", "a\nb\n"));
        assert_eq!(running(console).as_deref(), Some("atime_001_pos"));
        assert_eq!(running("nothing"), None);
    }

    #[test]
    fn what_a_test_printed_is_found_and_the_reason_in_it() {
        let out = tempfile::tempdir().unwrap();
        let folder = out.path().join("20261124T120000/atime/atime_001_pos");
        fs::create_dir_all(&folder).unwrap();
        let text: String = (0..100).map(|n| format!("SUCCESS: {n}\n")).collect();
        let end = format!("ERROR: false exited 1\nNOTE: more\n{CALLBACK} (x)\nERROR: in the log of ZFS\n");
        fs::write(folder.join("stdout"), text + &end).unwrap();
        let lines = printed(out.path(), "atime_001_pos");
        assert_eq!((lines.len(), lines[0].as_str()), (KEPT, "SUCCESS: 42"));
        assert_eq!(reason(&lines).as_deref(), Some("ERROR: false exited 1"));
        assert_eq!(reason(&printed(out.path(), "other")), None);
        let folder = out.path().join("20261124T120000/output/atime/other");
        fs::create_dir_all(&folder).unwrap();
        fs::write(folder.join("stdout"), "ERROR: x\n").unwrap();
        assert_eq!(printed(out.path(), "other"), ["ERROR: x"]);
        fs::write(out.path().join("stdout"), "result\n").unwrap();
        fs::write(out.path().join("stderr"), "").unwrap();
        assert_eq!(last_lines(out.path()), ["result"]);
        fs::write(out.path().join("stderr"), "complaint\n").unwrap();
        assert_eq!(last_lines(out.path()), ["complaint"]);
    }
}
