//! Which groups and tests are wanted, by tag and by name. Pure.

use globset::{GlobBuilder, GlobMatcher};

use super::runfile::Section;
use crate::error::{Error, Result};
use crate::load::nearest;

/// The groups that have one of the `tags`, with those tests whose names match one of `names`. An empty list takes all.
///
/// # Errors
/// A tag or a name that matches nothing, with the nearest that would.
pub fn select(mut sections: Vec<Section>, tags: &[String], names: &[String]) -> Result<Vec<Section>> {
    if let Some(tag) = tags.iter().find(|tag| !sections.iter().any(|s| s.tags().contains(tag))) {
        let all: Vec<String> = sections.iter().flat_map(Section::tags).collect();
        return Err(no_match("tag", tag, &all));
    }
    let patterns = names.iter().map(|name| Pattern::new(name)).collect::<Result<Vec<_>>>()?;
    if let Some((name, _)) = names.iter().zip(&patterns).find(|(_, pattern)| !pattern.is_in(&sections)) {
        let all: Vec<String> =
            sections.iter().flat_map(|s| [vec![s.folder().to_owned()], s.tests.clone()].concat()).collect();
        let ends: Vec<String> = all.iter().flat_map(|name| suffixes(name)).map(str::to_owned).collect();
        return Err(no_match("test or group", name, &ends));
    }
    sections.retain(|section| tags.is_empty() || section.tags().iter().any(|tag| tags.contains(tag)));
    if !patterns.is_empty() {
        for section in &mut sections {
            let (whole, tests) = (section.clone(), std::mem::take(&mut section.tests));
            let is_wanted = |test: &String| patterns.iter().any(|p| p.takes_all(&whole) || p.takes(&whole, test));
            section.tests = tests.into_iter().filter(is_wanted).collect();
        }
        sections.retain(|section| !section.tests.is_empty());
    }
    if sections.is_empty() {
        return Err(Error::input(format!(
            "no test has both a name of `{}` and a tag of `{}`",
            names.join(","),
            tags.join(",")
        )));
    }
    Ok(sections)
}

fn no_match(what: &str, wrong: &str, all: &[String]) -> Error {
    let error = Error::input(format!("there is no {what} `{wrong}`"));
    match nearest(wrong, all.iter().map(String::as_str)) {
        Some(near) => error.hint(format!("did you mean `{near}`?")),
        None => error.hint("`quiz test --list` shows all"),
    }
}

/// A name as people write it: of a test or a group, with or without the folders above, or a path of the worktree or the guest.
struct Pattern(GlobMatcher);

impl Pattern {
    fn new(text: &str) -> Result<Self> {
        let name = text.rsplit_once("zfs-tests/tests/").map_or(text, |(_, rest)| rest);
        let name = name.strip_prefix("tests/").unwrap_or(name).trim_end_matches('/');
        let name = [".ksh", ".sh", ".py"].iter().find_map(|end| name.strip_suffix(end)).unwrap_or(name);
        let glob = GlobBuilder::new(name).literal_separator(true).build();
        let glob = glob.map_err(|e| Error::input(format!("`{text}` is no name of a test")).because(e))?;
        Ok(Self(glob.compile_matcher()))
    }

    fn is_in(&self, sections: &[Section]) -> bool {
        sections.iter().any(|s| self.takes_all(s) || s.tests.iter().any(|test| self.takes(s, test)))
    }

    fn takes_all(&self, section: &Section) -> bool {
        [section.folder(), section.title()].into_iter().flat_map(suffixes).any(|name| self.0.is_match(name))
    }

    fn takes(&self, section: &Section, test: &str) -> bool {
        suffixes(&format!("{}/{test}", section.folder())).any(|name| self.0.is_match(name))
    }
}

/// The names by which people know a path: `a/b/c`, `b/c`, `c`.
pub fn suffixes(path: &str) -> impl Iterator<Item = &str> {
    std::iter::successors(Some(path), |path| path.split_once('/').map(|(_, rest)| rest))
}

#[cfg(test)]
mod tests {
    use super::super::runfile::tests::sections;
    use super::*;

    fn chosen(tags: &[&str], names: &[&str]) -> Vec<(String, usize)> {
        let owned = |words: &[&str]| words.iter().map(|w| (*w).to_owned()).collect::<Vec<_>>();
        let chosen = select(sections(), &owned(tags), &owned(names)).unwrap();
        chosen.iter().map(|s| (s.title().to_owned(), s.tests.len())).collect()
    }

    fn group(title: &str, tests: usize) -> (String, usize) {
        (title.to_owned(), tests)
    }

    #[test]
    fn all_by_tag_and_by_name() {
        assert_eq!(chosen(&[], &[]).len(), 4);
        assert_eq!(chosen(&["atime"], &[]), [group("functional/atime", 4), group("functional/atime:Linux", 1)]);
        assert_eq!(chosen(&["btree", "zfs_get"], &[]).len(), 2);
        assert_eq!(
            chosen(&["atime"], &["*_00?_*"]),
            [group("functional/atime", 2), group("functional/atime:Linux", 1)]
        );
    }

    #[test]
    fn a_name_is_a_test_a_group_a_glob_or_a_path() {
        let get = |tests| [group("functional/cli_root/zfs_get", tests)];
        for name in ["zfs_get", "cli_root/zfs_get", "functional/cli_root/zfs_get/", "cli_root/*"] {
            assert_eq!(chosen(&[], &[name]), get(2), "{name}");
        }
        for name in [
            "zfs_get_002_pos",
            "zfs_get/zfs_get_002_pos",
            "*_get_002*",
            "/home/me/zfs/tests/zfs-tests/tests/functional/cli_root/zfs_get/zfs_get_002_pos.ksh",
            "/usr/share/zfs/zfs-tests/tests/functional/cli_root/zfs_get/zfs_get_002_pos",
            "tests/functional/cli_root/zfs_get/zfs_get_002_pos.ksh",
        ] {
            assert_eq!(chosen(&[], &[name]), get(1), "{name}");
        }
        assert_eq!(chosen(&[], &["atime:Linux"]), [group("functional/atime:Linux", 1)]);
    }

    #[test]
    fn what_matches_nothing_is_an_error_with_the_nearest() {
        let fails = |tags: &[&str], names: &[&str]| {
            let owned = |words: &[&str]| words.iter().map(|w| (*w).to_owned()).collect::<Vec<_>>();
            select(sections(), &owned(tags), &owned(names)).unwrap_err()
        };
        let error = fails(&[], &["atime", "zfs_gte_002_pos"]);
        assert_eq!(error.to_string(), "there is no test or group `zfs_gte_002_pos`");
        assert_eq!(error.hints(), ["did you mean `zfs_get_002_pos`?"]);
        assert_eq!(fails(&["atmie"], &[]).hints(), ["did you mean `atime`?"]);
        assert_eq!(fails(&[], &["qqq"]).hints(), ["`quiz test --list` shows all"]);
        assert!(fails(&["btree"], &["zfs_get"]).to_string().contains("both"));
        assert!(fails(&[], &["[x"]).to_string().contains("is no name"));
    }
}
