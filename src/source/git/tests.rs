//! From a name to a tree on the disk, out of repositories made for the purpose.

use super::*;
use crate::source::{Wish, fetch, pinned, resolve};
use std::collections::BTreeMap;
use std::os::unix::fs::{MetadataExt, PermissionsExt};

/// Runs git in a folder, for nobody's account and with nobody's config; gives what it printed.
pub(in crate::source) fn git(folder: &Path, args: &[&str]) -> String {
    let mut git = run::at(folder);
    for role in ["AUTHOR", "COMMITTER"] {
        git.env(format!("GIT_{role}_NAME"), "x").env(format!("GIT_{role}_EMAIL"), "x@example.org");
        git.env(format!("GIT_{role}_DATE"), "1000000000 +0000");
    }
    let ran = run::run(run::without_config(&mut git).args(args)).unwrap();
    assert!(ran.ok, "git {args:?}: {}", ran.stderr);
    ran.line()
}

/// Commits what is in the index, and gives the commit's id.
pub(in crate::source) fn commit(folder: &Path, message: &str) -> String {
    git(folder, &["commit", "--quiet", "--allow-empty", "-m", message]);
    git(folder, &["rev-parse", "HEAD"])
}

/// An empty repository.
pub(in crate::source) fn repository() -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    git(dir.path(), &["init", "--quiet", "--initial-branch=master"]);
    dir
}

/// Two releases and a branch; the first with everything that a checkout could change.
fn sample() -> tempfile::TempDir {
    let dir = repository();
    let root = dir.path();
    let write = |path: &str, text: &str| fs::write(root.join(path), text).unwrap();
    write(".gitattributes", "a.c eol=crlf ident filter=f\nhidden export-ignore\nb.c export-subst\n");
    for path in ["a.c", "b.c", "hidden"] {
        write(path, "$Id$ $Format:%H$\n");
    }
    fs::set_permissions(root.join("b.c"), fs::Permissions::from_mode(0o755)).unwrap();
    std::os::unix::fs::symlink("a.c", root.join("link")).unwrap();
    git(root, &["add", "."]);
    git(root, &["update-index", "--add", "--cacheinfo", &format!("160000,{},module", "1".repeat(40))]);
    commit(root, "first");
    git(root, &["tag", "-a", "-m", "one", "v6.1"]);
    write("a.c", "two\n");
    git(root, &["commit", "--quiet", "--all", "-m", "second"]);
    git(root, &["tag", "v6.1.2"]);
    commit(root, "third");
    // A config that would change what is checked out, if it had a say.
    for (name, value) in
        [("core.autocrlf", "true"), ("filter.f.smudge", "sed s/Id/changed/"), ("core.symlinks", "false")]
    {
        git(root, &["config", name, value]);
    }
    dir
}

fn spec() -> Spec {
    let git = "git = { repository = \"https://example.org/\", tag = \"v{version}\" }";
    toml::from_str(&format!("entry = \"kernel\"\nreleases = \"linux\"\n{git}\n")).unwrap()
}

fn context(dir: &Path, offline: bool) -> Context {
    Context {
        cache: dir.join("cache"),
        arch: "x86_64".into(),
        mirrors: crate::source::Mirrors::default(),
        offline,
        start: dir.into(),
        base: dir.into(),
    }
}

fn wish(version: &str, repository: &str, ctx: &Context) -> Wish {
    let options = [("version", version), ("repository", repository)].map(|(k, v)| (k.to_owned(), vec![v.to_owned()]));
    Wish::new(&spec(), &BTreeMap::from(options), ctx).unwrap()
}

/// Every path of a tree with what the cache looks at: kind, content, executable.
fn contents(dir: &Path) -> Vec<(String, String)> {
    let mut all: Vec<(String, String)> = fs::read_dir(dir)
        .unwrap()
        .map(|entry| {
            let (path, name) = {
                let entry = entry.unwrap();
                (entry.path(), entry.file_name().into_string().unwrap())
            };
            let meta = fs::symlink_metadata(&path).unwrap();
            let text = match meta.is_symlink() {
                true => format!("-> {}", fs::read_link(&path).unwrap().display()),
                false => fs::read_to_string(&path).unwrap(),
            };
            (name, format!("{} {text}", if meta.mode() & 0o111 == 0 || meta.is_symlink() { "-" } else { "x" }))
        })
        .collect();
    all.sort();
    all
}

/// A file of a repository by path → when it was last changed, to see that nothing is written.
fn state(dir: &Path) -> Vec<(PathBuf, i64, i64)> {
    let mut found = Vec::new();
    for entry in fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        let meta = fs::symlink_metadata(&path).unwrap();
        if meta.is_dir() {
            found.extend(state(&path));
        }
        found.push((path, meta.ctime(), meta.ctime_nsec()));
    }
    found.sort();
    found
}

#[test]
fn a_tag_comes_out_byte_for_byte_from_here_and_from_a_server() {
    let (sample, dir) = (sample(), tempfile::tempdir().unwrap());
    let before = state(sample.path());
    let local = fs::canonicalize(sample.path()).unwrap().display().to_string();
    for (n, (repository, offline)) in
        [(local.clone(), true), (format!("file://{local}"), false)].into_iter().enumerate()
    {
        let ctx = context(dir.path(), offline);
        let lock = dir.path().join("quiz.lock");
        let pin = pinned(&spec(), &wish("6.1.0", &repository, &ctx), false, &lock, &ctx, &|_| {}).unwrap();
        let read_back = pinned(&spec(), &wish("6.1.0", &repository, &ctx), false, &lock, &ctx, &|_| {}).unwrap();
        assert_eq!(pin, read_back);
        let tree = git(sample.path(), &["rev-parse", "v6.1^{tree}"]);
        assert_eq!(pin.facts(), [("tree".to_owned(), tree)]);
        let dest = dir.path().join(format!("tree{n}"));
        let notes = std::sync::Mutex::new(Vec::new());
        fetch(&spec(), &pin, &dest, &ctx, &|event| notes.lock().unwrap().push(format!("{event:?}"))).unwrap();
        let text = "- $Id$ $Format:%H$\n".to_owned();
        let file = |name: &str, text: &str| (name.to_owned(), text.to_owned());
        let attributes = "- a.c eol=crlf ident filter=f\nhidden export-ignore\nb.c export-subst\n";
        assert_eq!(
            contents(&dest),
            [
                file(".gitattributes", attributes),
                file("a.c", &text),
                file("b.c", &text.replacen('-', "x", 1)),
                file("hidden", &text),
                file("link", "- -> a.c"),
            ]
        );
        assert!(notes.lock().unwrap().iter().any(|note| note.contains("the submodule module is left out")));
    }
    assert_eq!(state(sample.path()), before, "the repository was written to");
}

#[test]
fn tags_branches_commits_and_what_git_makes_of_names() {
    let (sample, dir) = (sample(), tempfile::tempdir().unwrap());
    let ctx = context(dir.path(), false);
    let local = fs::canonicalize(sample.path()).unwrap().display().to_string();
    let id = |name: &str| git(sample.path(), &["rev-parse", &format!("{name}^{{commit}}")]);
    let (first, second) = (id("v6.1"), id("v6.1.2"));
    let found =
        |version: &str, repository: &str| match resolve(&spec(), &wish(version, repository, &ctx), &ctx, &|_| {}) {
            Ok(Pin::Git(pin)) => (pin.name, pin.commit),
            other => panic!("{version}: {other:?}"),
        };
    let far = format!("file://{local}");
    for repository in [&local, &far] {
        assert_eq!(found("6.1", repository), ("v6.1.2".to_owned(), second.clone()));
        assert_eq!(found("master", repository), ("master".to_owned(), id("master")));
        assert_eq!(found("default", repository), ("HEAD".to_owned(), id("HEAD")));
        assert_eq!(found(&second[..9], repository).1, second);
        assert_eq!(found(&first, repository).1, first);
    }
    // Only a repository that is here can be asked for these.
    assert_eq!(found("HEAD~2", &local).1, first);
    assert_eq!(found(&format!("6.19.0-master-{}+", &first[..12]), &local).1, first);
    // Two commits with one tree are the same source.
    let tree = |version: &str| resolve(&spec(), &wish(version, &local, &ctx), &ctx, &|_| {}).unwrap().facts();
    assert_eq!(tree("master"), tree("6.1.2"));
}

#[test]
fn what_is_not_there_is_said_with_what_is() {
    let (sample, dir) = (sample(), tempfile::tempdir().unwrap());
    let ctx = context(dir.path(), false);
    let local = fs::canonicalize(sample.path()).unwrap().display().to_string();
    let error = |version: &str, repository: &str| {
        resolve(&spec(), &wish(version, repository, &ctx), &ctx, &|_| {}).unwrap_err()
    };
    let unknown = error("6.1.3", &local);
    assert!(unknown.to_string().contains("no tag, branch or commit v6.1.3"), "{unknown}");
    assert!(
        unknown.details().iter().any(|line| line == "similar names there: v6.1.2, v6.1"),
        "{:?}",
        unknown.details()
    );
    assert!(error("6.2", &local).details()[0].starts_with("there are: 6.1.2, 6.1"));
    let nowhere = error("master", "file:///nowhere");
    assert!(nowhere.details().iter().any(|line| line.contains("/nowhere")), "{:?}", nowhere.details());
    let no_such = error(&"7".repeat(40), &format!("file://{local}"));
    let fails = format!("cannot fetch the commit {} from file://", "7".repeat(40));
    assert!(no_such.to_string().contains(&fails), "{no_such}");
    let no_repository = error("master", dir.path().to_str().unwrap());
    assert_eq!(no_repository.kind(), crate::error::Kind::Input, "{no_repository}");
    let offline = context(dir.path(), true);
    let error = resolve(&spec(), &wish("master", "file:///nowhere", &offline), &offline, &|_| {}).unwrap_err();
    assert!(error.hints()[0].ends_with("quiz update kernel"));
}
