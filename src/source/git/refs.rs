//! Which commit of a repository a version names: tags, branches, commits. Asks git for the list; the rest is text.

use super::run;
use crate::error::{Error, Result};
use crate::source::release::{Release, ReleaseKind, is_commit};
use crate::source::spec::{GitSpec, Releases, Spec};
use crate::source::version;
use std::collections::BTreeMap;

/// An error lists at most so many names.
const SHOWN: usize = 12;

/// What to look for.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Pick {
    /// The tag of one release.
    Tag(String),
    /// The tag of the newest release that the version means. The text before and after the version in tags.
    Newest(String, String),
    /// A tag, a branch, or a commit.
    Any(String),
}

impl Pick {
    /// What `version` means by the spec's grammar, and the word that tells in which of the spec's repositories it is.
    pub(super) fn of(spec: &Spec, table: &GitSpec, version: &str) -> (Self, String) {
        let tag = |version: &str| Self::Tag(table.tag.replace("{version}", version));
        let (start, end) = table.tag.split_once("{version}").unwrap_or((&table.tag, ""));
        let newest = || Self::Newest(start.to_owned(), end.to_owned());
        if version == "default" {
            return (Self::Any("HEAD".to_owned()), String::new());
        }
        if let Some(release) = spec.releases.and_then(|Releases::Linux| Release::parse(version)) {
            let source = release.source();
            return match release.kind {
                ReleaseKind::Series => (newest(), version.to_owned()),
                ReleaseKind::Release | ReleaseKind::Rc => (tag(&source), version.to_owned()),
                ReleaseKind::Next => (Self::Any(source.clone()), source),
                ReleaseKind::Master if release.rest.is_empty() => (Self::Any("master".to_owned()), "master".to_owned()),
                ReleaseKind::Master => (Self::Any(release.rest.trim_end_matches('+').to_owned()), "master".to_owned()),
            };
        }
        let pick = match version::is_version(version) && !is_commit(version) {
            true if version.contains('-') => tag(version),
            true => newest(),
            false => Self::Any(version.to_owned()),
        };
        (pick, version.to_owned())
    }
}

impl GitSpec {
    /// The repository for a name.
    pub(super) fn repository(&self, name: &str) -> &str {
        let other = self.other.iter().find(|other| name.starts_with(&other.prefix));
        other.map_or(&self.repository, |other| &other.repository)
    }
}

/// Every ref of a repository with its object, tags with what they are a tag of.
pub(super) struct Refs(BTreeMap<String, String>);

impl Refs {
    /// Asks the repository.
    pub(super) fn list(repository: &str) -> Result<Self> {
        let mut git = run::nowhere();
        git.args(run::PATIENCE).args(["ls-remote", "--quiet", "--", repository]);
        let listed = run::run(&mut git)?.or(|| {
            Error::input(format!("cannot list the tags and branches of the git repository {repository}"))
                .hint("is it there, and is there network?")
        })?;
        Ok(Self::parse(&String::from_utf8_lossy(&listed)))
    }

    fn parse(listed: &str) -> Self {
        // The line of what a tag is a tag of follows that of the tag.
        let pairs = listed.lines().filter_map(|line| line.split_once('\t'));
        Self(pairs.map(|(id, name)| (name.trim_end_matches("^{}").to_owned(), id.to_owned())).collect())
    }

    /// The name and the object of what is looked for.
    pub(super) fn find(&self, pick: &Pick, version: &str, local: bool) -> Option<(String, &str)> {
        let named = |full: &str, name: &str| self.0.get(full).map(|id| (name.to_owned(), id.as_str()));
        match pick {
            Pick::Tag(tag) => named(&format!("refs/tags/{tag}"), tag),
            Pick::Newest(start, end) => {
                let newest = version::newest(version, self.releases(start, end))?;
                let tag = format!("{start}{newest}{end}");
                named(&format!("refs/tags/{tag}"), &tag)
            }
            Pick::Any(name) => {
                let whole = name == "HEAD" || name.starts_with("refs/");
                let places = ["refs/tags/", "refs/heads/", "refs/remotes/"].iter().take(if local { 3 } else { 2 });
                let found = places.filter(|_| !whole).find_map(|place| named(&format!("{place}{name}"), name));
                let found = found.or_else(|| named(name, name).filter(|_| whole));
                found.or_else(|| self.abbreviated(name).map(|id| (name.clone(), id)))
            }
        }
    }

    /// The one object among those of the refs that begins so.
    fn abbreviated(&self, start: &str) -> Option<&str> {
        let start = start.to_ascii_lowercase();
        let mut found = self.0.values().filter(|id| is_commit(&start) && id.starts_with(&start));
        let first = found.next()?;
        found.all(|id| id == first).then_some(first)
    }

    /// The versions of release tags; those with letters, such as candidates, are left out.
    fn releases<'a>(&'a self, start: &'a str, end: &'a str) -> impl Iterator<Item = &'a str> {
        let tags = self.0.keys().filter_map(|name| name.strip_prefix("refs/tags/"));
        let versions = tags.filter_map(move |tag| tag.strip_prefix(start)?.strip_suffix(end));
        versions.filter(|version| !version.is_empty() && version.bytes().all(|b| b.is_ascii_digit() || b == b'.'))
    }

    /// The error for what is not there, with names that are near.
    pub(super) fn unknown(&self, entry: &str, repository: &str, pick: &Pick, wanted: &str) -> Error {
        let name = match pick {
            Pick::Newest(start, end) => {
                let versions: Vec<&str> = self.releases(start, end).collect();
                return version::unknown(entry, wanted, &versions).detail(format!("in {repository}"));
            }
            Pick::Tag(name) | Pick::Any(name) => name,
        };
        let error = Error::input(format!("{entry}: {repository} has no tag, branch or commit {name}"));
        if is_commit(name) && !super::is_local(repository) {
            return error.hint(
                "a server gives a commit only by all its 40 digits; a clone on this machine (repository) takes fewer",
            );
        }
        let short = |full: &String| {
            ["refs/tags/", "refs/heads/"].iter().find_map(|place| full.strip_prefix(place)).map(str::to_owned)
        };
        let mut near: Vec<(f64, String)> =
            self.0.keys().filter_map(short).map(|other| (strsim::jaro_winkler(&other, name), other)).collect();
        near.retain(|(score, _)| *score > 0.7);
        near.sort_by(|a, b| b.0.total_cmp(&a.0).then_with(|| version::compare(&b.1, &a.1)));
        let near: Vec<String> = near.into_iter().take(SHOWN).map(|(_, name)| name).collect();
        if near.is_empty() { error } else { error.detail(format!("similar names there: {}", near.join(", "))) }
    }
}

/// What `version` names in a list of refs, for the fuzz targets.
#[cfg(any(test, feature = "fuzz"))]
pub(in crate::source) fn fuzz(spec: &Spec, version: &str, listed: &str) {
    let Some(table) = &spec.git else { return };
    let (refs, (pick, word)) = (Refs::parse(listed), Pick::of(spec, table, version));
    table.repository(&word);
    match refs.find(&pick, version, true) {
        Some((_, id)) => assert!(listed.contains(id)),
        None => drop(refs.unknown(&spec.entry, "r", &pick, version)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn spec(releases: &str) -> Spec {
        let text = format!(
            "entry = \"kernel\"\n{releases}\n[git]\nrepository = \"stable\"\ntag = \"v{{version}}\"\n\
             other = [{{ prefix = \"next-\", repository = \"next\" }}, {{ prefix = \"master\", repository = \"torvalds\" }}]\n"
        );
        toml::from_str(&text).unwrap()
    }

    fn refs() -> Refs {
        let names = ["v6.1", "v6.1.2", "v6.1.10", "v6.1-rc1", "v6.12", "next-20250721"];
        let mut listed = String::from(
            "0000000aaaa\tHEAD\n1111111bbbb\trefs/heads/master\n2222222cccc\trefs/heads/zfs-2.2-release\n",
        );
        for name in names {
            listed += &format!("tagged {name}\trefs/tags/{name}\nof {name}\trefs/tags/{name}^{{}}\n");
        }
        Refs::parse(&listed)
    }

    #[test]
    fn what_each_version_means() {
        for (version, repository, name, id) in [
            ("6.1", "stable", "v6.1.10", "of v6.1.10"),
            ("6.1.0", "stable", "v6.1", "of v6.1"),
            ("6.1.2", "stable", "v6.1.2", "of v6.1.2"),
            ("6.1-rc1", "stable", "v6.1-rc1", "of v6.1-rc1"),
            ("6.1.0-rc1", "stable", "v6.1-rc1", "of v6.1-rc1"),
            ("next-20250721", "next", "next-20250721", "of next-20250721"),
            ("6.16.0-next-20250721", "next", "next-20250721", "of next-20250721"),
            ("master", "torvalds", "master", "1111111bbbb"),
            ("6.19.0-master", "torvalds", "master", "1111111bbbb"),
            ("6.19.0-master-1111111bbbb+", "torvalds", "1111111bbbb", "1111111bbbb"),
            ("default", "stable", "HEAD", "0000000aaaa"),
            ("v6.1.2", "stable", "v6.1.2", "of v6.1.2"),
            ("zfs-2.2-release", "stable", "zfs-2.2-release", "2222222cccc"),
            ("2222222", "stable", "2222222", "2222222cccc"),
            ("refs/tags/v6.12", "stable", "refs/tags/v6.12", "of v6.12"),
        ] {
            let spec = spec("releases = \"linux\"");
            let table = spec.git.as_ref().unwrap();
            let (pick, word) = Pick::of(&spec, table, version);
            assert_eq!(table.repository(&word), repository, "{version}");
            assert_eq!(refs().find(&pick, version, false), Some((name.to_owned(), id)), "{version}");
        }
    }

    #[test]
    fn without_a_grammar_an_exact_version_and_a_series_are_told_by_the_tags() {
        let spec = spec("");
        for (version, wanted) in
            [("6.1.2", Some("v6.1.2")), ("6.1", Some("v6.1.10")), ("6.1-rc1", Some("v6.1-rc1")), ("6.2", None)]
        {
            let (pick, _) = Pick::of(&spec, spec.git.as_ref().unwrap(), version);
            assert_eq!(refs().find(&pick, version, false).map(|(name, _)| name).as_deref(), wanted, "{version}");
        }
    }

    #[test]
    fn near_names_of_what_is_not_there() {
        let unknown = |version: &str| {
            let spec = spec("releases = \"linux\"");
            let (pick, _) = Pick::of(&spec, spec.git.as_ref().unwrap(), version);
            assert_eq!(refs().find(&pick, version, false), None);
            refs().unknown("kernel", "r", &pick, version)
        };
        assert!(unknown("6.1.3").details()[0].starts_with("similar names there: v6.1.2, "), "{:?}", unknown("6.1.3"));
        assert_eq!(unknown("mastre").details(), ["similar names there: master"]);
        assert!(unknown("6.2").details()[0].starts_with("there are: 6.1.10, "));
        assert!(unknown("3333333").hints()[0].contains("all its 40 digits"));
    }
}
