//! Which groups what changed can touch. Reads the suite's scripts, to see which name each other; asks no git.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use super::runfile::Section;
use crate::error::{Error, Result};
use crate::host;

/// Where the groups' own files lie in a worktree of OpenZFS.
const GROUPS: &str = "tests/zfs-tests/tests/";

/// Where the lists of groups lie.
pub const RUNFILES: &str = "tests/runfiles/";

/// Unit tests of OpenZFS's own, which are no part of the suite.
const UNIT: &str = "tests/unit/";

/// What a change touches.
#[derive(Debug, PartialEq, Eq)]
pub enum Touched {
    /// Every group, because of this file.
    All(String),
    /// The groups in these folders and below, as [`Section::folder`] has them.
    Folders(BTreeSet<String>),
}

/// Of the worktree `root`: what the files that changed, by path below it, can touch. A group's own file touches the group, those
/// below it, and those whose files name it; a file that is not of a group's own touches all. Runfiles touch what
/// [`changed_sections`] says.
///
/// # Errors
/// A script that cannot be read.
pub fn touched(root: &Path, changed: &[String]) -> Result<Touched> {
    // A Makefile.am only lists files, which are looked at themselves. Runfiles are compared elsewhere, and unit tests are in no group.
    let says_nothing =
        |path: &str| [RUNFILES, UNIT].iter().any(|f| path.starts_with(f)) || path.ends_with("/Makefile.am");
    let changed: Vec<&str> =
        changed.iter().map(String::as_str).filter(|p| !(p.starts_with("tests/") && says_nothing(p))).collect();
    if let Some(outside) = changed.iter().find(|path| !path.starts_with(GROUPS)) {
        return Ok(Touched::All((*outside).to_owned()));
    }
    let mut dirty: BTreeSet<String> = changed.iter().map(|path| path[GROUPS.len()..].to_owned()).collect();
    let scripts = if dirty.is_empty() { Vec::new() } else { scripts(&root.join(GROUPS))? };
    // Scripts name what they read as $STF_SUITE/tests/<path>, and what they read may name more.
    loop {
        let names_one = |text: &str| dirty.iter().any(|path| text.contains(&format!("/tests/{path}")));
        let more: Vec<String> = scripts
            .iter()
            .filter(|(path, text)| !dirty.contains(path) && names_one(text))
            .map(|(path, _)| path.clone())
            .collect();
        if more.is_empty() {
            break;
        }
        dirty.extend(more);
    }
    let folder = |path: &String| path.rsplit_once('/').map_or(String::new(), |(folder, _)| folder.to_owned());
    Ok(Touched::Folders(dirty.iter().map(folder).collect()))
}

impl Touched {
    /// Whether it touches this group.
    pub fn takes(&self, section: &Section) -> bool {
        let Self::Folders(folders) = self else { return true };
        Path::new(section.folder()).ancestors().any(|above| folders.contains(&above.display().to_string()))
    }
}

/// The names of the sections that are new or other than they were.
pub fn changed_sections(now: &[Section], before: &[Section]) -> BTreeSet<String> {
    now.iter().filter(|section| !before.contains(section)).map(|section| section.name.clone()).collect()
}

/// Every text below the folder: path below it, text.
fn scripts(folder: &Path) -> Result<Vec<(String, String)>> {
    let unreadable = |path: &Path, e| Error::input(format!("cannot read {}", path.display())).because(e);
    let mut found = Vec::new();
    let mut folders = vec![PathBuf::new()];
    while let Some(below) = folders.pop() {
        let here = folder.join(&below);
        for entry in fs::read_dir(&here).map_err(|e| unreadable(&here, e))? {
            let entry = entry.map_err(|e| unreadable(&here, e))?;
            let below = below.join(entry.file_name());
            let kind = entry.file_type().map_err(|e| unreadable(&entry.path(), e))?;
            if kind.is_dir() {
                folders.push(below);
            } else if kind.is_file() {
                let bytes = host::read_plain(&entry.path()).map_err(|e| unreadable(&entry.path(), e))?;
                // Files that are no text (images of pools and the like) name nothing that is looked for.
                found.extend(String::from_utf8(bytes).ok().map(|text| (below.display().to_string(), text)));
            }
        }
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::super::runfile::tests::sections;
    use super::*;

    fn worktree() -> tempfile::TempDir {
        let dir = tempfile::tempdir().unwrap();
        for (path, text) in [
            ("atime/atime_001_pos.ksh", ". $STF_SUITE/tests/functional/atime/atime.kshlib"),
            ("atime/atime.kshlib", ""),
            ("btree/btree_positive.ksh", ". $STF_SUITE/tests/functional/btree/btree.kshlib"),
            ("btree/btree.kshlib", ". $STF_SUITE/tests/functional/atime/atime.kshlib"),
            ("cli_root/cli_common.kshlib", ""),
            ("cli_root/zfs_get/zfs_get_001_pos.ksh", ""),
        ] {
            let path = dir.path().join(GROUPS).join("functional").join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        }
        dir
    }

    fn taken(changed: &[&str]) -> Vec<String> {
        let changed: Vec<String> = changed.iter().map(|path| (*path).to_owned()).collect();
        let touched = touched(worktree().path(), &changed).unwrap();
        sections().iter().filter(|s| touched.takes(s)).map(|s| s.title().to_owned()).collect()
    }

    #[test]
    fn a_groups_own_file_touches_it_those_below_and_those_that_name_it() {
        let own = |path: &str| format!("{GROUPS}functional/{path}");
        assert_eq!(taken(&[&own("atime/atime_001_pos.ksh")]), ["functional/atime", "functional/atime:Linux"]);
        assert_eq!(taken(&[&own("cli_root/cli_common.kshlib")]), ["functional/cli_root/zfs_get"]);
        let through_another = ["functional/atime", "functional/btree", "functional/atime:Linux"];
        assert_eq!(taken(&[&own("atime/atime.kshlib")]), through_another);
        assert_eq!(taken(&[&own("atime/Makefile.am"), "tests/runfiles/common.run", "tests/unit/test_x.c"]), [""; 0]);
        assert_eq!(taken(&[]), [""; 0]);
    }

    #[test]
    fn anything_else_touches_all_and_is_named() {
        for path in ["module/zfs/arc.c", "tests/zfs-tests/include/libtest.shlib", "module/Makefile.am"] {
            let changed = [format!("{GROUPS}functional/atime/setup.ksh"), path.to_owned()];
            assert_eq!(touched(worktree().path(), &changed).unwrap(), Touched::All(path.to_owned()));
        }
    }

    #[test]
    fn a_section_that_is_other_than_it_was_is_touched() {
        let (now, mut before) = (sections(), sections());
        before[1].tests.push("more".into());
        before.remove(0);
        let wanted = ["tests/functional/atime", "tests/functional/btree"].map(str::to_owned);
        assert_eq!(changed_sections(&now, &before), BTreeSet::from(wanted));
    }
}
