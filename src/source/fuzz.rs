//! The readers of this room for the fuzz targets.

use super::apt::{self, suites};
use super::git::refs;
use super::lock::Lock;
use super::spec::Spec;
use super::unpack::{Limits, unpack};
use super::version::{belongs, compare, is_version, nowhere, prefix, upstream};
use super::wish::Wish;
use super::{Context, Mirrors, alternatives, archive, deb, dsc, index, release::Release, wheel};
use crate::document::Document;
use std::cmp::Ordering;
use std::collections::BTreeMap;
use std::path::Path;

const SPEC: &str = r#"entry = "kernel"
releases = "linux"
address = true
debian = { package = "l-{series}", tarball = "t", suites = ["trixie", "sid"] }
url = { index = "https://example.org/v{major}.x/", file = "linux-{version}.tar.xz", sums = "s" }
packages = {}
dsc = { package = "l", suite = "sid" }
git = { repository = "r", tag = "v{version}", other = [{ prefix = "next-", repository = "n" }] }
"#;

fn spec() -> Spec {
    toml::from_str(SPEC).expect("a spec")
}

/// What the snapshot archive says of a package or a source.
pub(crate) fn answers(text: &str) {
    archive::fuzz::answers(text);
}

/// An archive of few and small files.
pub(crate) fn archive(bytes: &[u8]) {
    let Ok(folder) = tempfile::tempdir() else { return };
    let _ = unpack(bytes, "a.tar", &folder.path().join("tree"), Limits { bytes: 1 << 16, entries: 64 });
}

/// A Debian package.
pub(crate) fn deb(bytes: &[u8]) {
    let Ok(folder) = tempfile::tempdir() else { return };
    let (package, tree) = (folder.path().join("x.deb"), folder.path().join("tree"));
    if std::fs::write(&package, bytes).is_ok() {
        let _ = deb::control(&package);
        let _ = deb::unpack_inner(&package, &["usr/src/x.tar".to_owned()], &tree, &|_| {});
    }
}

/// A patch of a source package, in a tree that has the file `a` and a link out of it.
pub(crate) fn patch(bytes: &[u8]) {
    let Ok(folder) = tempfile::tempdir() else { return };
    let (tree, patches) = (folder.path().join("tree"), folder.path().join("tree/debian/patches"));
    let made = std::fs::create_dir_all(&patches)
        .and_then(|()| std::fs::write(patches.join("series"), "p\n"))
        .and_then(|()| std::fs::write(patches.join("p"), bytes))
        .and_then(|()| std::fs::write(tree.join("a"), "one\ntwo\nthree\n"))
        .and_then(|()| std::os::unix::fs::symlink("..", tree.join("out")));
    if made.is_ok() {
        let _ = dsc::patches::apply(&tree, "x", "debian");
        let beside = std::fs::read_dir(folder.path()).into_iter().flatten().count();
        assert_eq!(beside, 1, "nothing was written beside the tree");
    }
}

/// What a Debian archive has: the text of its Release file, a package list, dependencies; and the host's apt.conf and auth.conf.
pub(crate) fn debian(text: &str) {
    archive::fuzz::release(text);
    archive::fuzz::packages(text);
    archive::fuzz::config(text);
    text.lines().for_each(archive::fuzz::depends);
    for alternative in alternatives::read(text) {
        assert!(alternative.link.starts_with('/') && alternative.path.starts_with('/'), "{alternative:?}");
    }
}

/// A text that is signed in the clear, and behind it the keys that are trusted.
pub(crate) fn signed(text: &str) {
    archive::fuzz::signed(text);
}

/// quiz.lock: what was read is written, and reads as the same again.
pub(crate) fn lock(text: &str) {
    let path = Path::new("quiz.lock");
    match Lock::parse(&Document::new(path, text)) {
        Ok(lock) => assert_eq!(Lock::parse(&Document::new(path, &lock.text())).expect("what quiz writes"), lock),
        Err(error) => assert!(error.to_string().starts_with("quiz.lock")),
    }
}

/// What `git ls-remote` prints, and in its first line what is looked for.
pub(crate) fn refs(text: &str) {
    let (version, listed) = text.split_once('\n').unwrap_or((text, ""));
    refs::fuzz(&spec(), version, listed);
}

/// Package sources of a host, and in the first line the suite that is wanted of them.
pub(crate) fn sources(text: &str) {
    let (suite, sources) = text.split_once('\n').unwrap_or((text, ""));
    apt::sources::fuzz(suite, sources);
    let _ = crate::host::distribution::value(text, "ID");
    let (release, end) = suites::split(suite);
    assert_eq!(format!("{release}{end}"), suite);
    suites::nearest(suite);
}

/// A list of checksums.
pub(crate) fn sums(text: &str) {
    index::fuzz(text, &spec());
}

/// What an index of Python packages says of one.
pub(crate) fn wheels(text: &str) {
    wheel::fuzz(text);
}

/// Versions, one a line: comparing them is a total order, and the error for a version that is not there can be made.
pub(crate) fn version(text: &str) {
    let all: Vec<&str> = text.lines().take(6).collect();
    for a in &all {
        assert_eq!(compare(a, a), Ordering::Equal, "{a:?}");
        assert!(a.contains(upstream(a)) && a.contains(prefix(a, 2)) && prefix(a, 1).len() <= prefix(a, 2).len());
        assert!(belongs(a, a));
        is_version(a);
        if let Some(release) = Release::parse(a) {
            let uname = release.uname();
            assert!(!release.source().is_empty());
            assert_eq!(Release::parse(&uname).map(|again| again.uname()), Some(uname));
        }
        for b in &all {
            assert_eq!(compare(a, b), compare(b, a).reverse(), "{a:?} {b:?}");
            for c in &all {
                let is_chain = compare(a, b) != Ordering::Greater && compare(b, c) != Ordering::Greater;
                assert!(!is_chain || compare(a, c) != Ordering::Greater, "{a:?} {b:?} {c:?}");
            }
        }
    }
    let _ = nowhere("kernel", all.first().unwrap_or(&""), &[("there are".to_owned(), all.clone())]);
}

/// Options of a source, one a line: origin, version, repository, suite, packages.
pub(crate) fn wish(text: &str) {
    let names = ["origin", "version", "repository", "suite", "packages"];
    let options: BTreeMap<String, Vec<String>> =
        names.iter().zip(text.lines()).map(|(name, line)| ((*name).to_owned(), vec![line.to_owned()])).collect();
    let none = || Path::new("/nonexistent").to_owned();
    let ctx = Context {
        cache: none(),
        arch: "x86_64".into(),
        mirrors: Mirrors::default(),
        offline: true,
        start: none(),
        base: none(),
    };
    if let Ok(wish) = Wish::new(&spec(), &options, &ctx) {
        // It is a line of quiz.lock.
        assert!(!wish.to_string().contains('\n'));
    }
}
