//! Worktrees in all states, kept and had again.

use super::super::git::tests::{commit, git, repository};
use super::*;
use crate::source::{Context, Mirrors, Spec, fetch};
use std::collections::BTreeMap;
use std::os::unix::fs::symlink;

fn write(root: &Path, path: &str, text: &str) {
    fs::create_dir_all(root.join(path).parent().unwrap()).unwrap();
    fs::write(root.join(path), text).unwrap();
}

/// What is in each source, or where a link leads to, and whether it can be run; of a folder that is a source nothing.
fn sources(root: &Path) -> BTreeMap<String, (Vec<u8>, bool)> {
    let worktree = Worktree::open(root).unwrap();
    let below = |dir: &Path| {
        let found =
            run::run(Command::new("find").args([".", "(", "!", "-type", "d", "-o", "-empty", ")"]).current_dir(dir));
        String::from_utf8(found.unwrap().stdout).unwrap().lines().map(|path| path[2..].to_owned()).collect()
    };
    let paths: Vec<String> = if worktree.is_git() { worktree.list().unwrap() } else { below(root) };
    let there = paths.iter().filter(|path| !has_link_above(root, path) && root.join(path).symlink_metadata().is_ok());
    let there: Vec<String> = there.cloned().collect();
    let holds = |path: &str| there.iter().any(|other| is_below(other, path));
    let there = there.iter().filter(|path| !holds(path)).cloned();
    let read = |path: String| {
        let at = root.join(&path);
        let meta = at.symlink_metadata().ok()?;
        let to = || fs::read_link(&at).unwrap().as_os_str().as_bytes().to_vec();
        let bytes = if meta.is_symlink() { to() } else { fs::read(&at).unwrap_or_default() };
        Some((path, (bytes, meta.is_file() && meta.permissions().mode() & 0o100 != 0)))
    };
    there.filter_map(read).collect()
}

fn had(pin: &Pin, dest: &Path) -> Result<()> {
    let spec: Spec = toml::from_str("entry = \"kernel\"\nreleases = \"linux\"\n").unwrap();
    let ctx = Context {
        cache: dest.parent().unwrap().join("cache"),
        arch: "x86_64".to_owned(),
        mirrors: Mirrors::default(),
        offline: true,
        start: PathBuf::new(),
        base: PathBuf::new(),
    };
    fetch(&spec, pin, dest, &ctx, &|_| {})
}

/// A worktree in which something of every kind was done since the last commit. A filter of its own writes to the second path.
fn edited() -> (tempfile::TempDir, PathBuf) {
    let dir = repository();
    let root = dir.path();
    write(root, ".gitattributes", "*.c filter=f\n");
    write(root, ".gitignore", "*.o\n");
    write(root, "quiz.toml", "");
    write(root, ".quiz/profiles/mine/profile.toml", "");
    for path in [
        "same.c",
        "edited.c",
        "gone.c",
        "mode.sh",
        "becomes/a.c",
        "moves/a.c",
        "grows",
        "grown",
        "hidden.c",
        "sparse.c",
    ] {
        write(root, path, "1\n");
    }
    git(root, &["add", "."]);
    git(root, &["init", "--quiet", "sub"]);
    let inner = commit(&root.join("sub"), "inner");
    git(root, &["update-index", "--add", "--cacheinfo", &format!("160000,{inner},sub")]);
    git(root, &["update-index", "--add", "--cacheinfo", &format!("160000,{inner},lost")]);
    commit(root, "first");
    write(root, "edited.c", "2\r\n");
    write(root, "new/a b\".c", "3\n");
    write(root, "staged.c", "4\n");
    git(root, &["add", "staged.c"]);
    git(root, &["init", "--quiet", "added"]);
    git(root, &["update-index", "--add", "--cacheinfo", &format!("160000,{inner},added")]);
    git(root, &["init", "--quiet", "other"]);
    write(root, "other/x.c", "");
    write(root, "a.o", "made");
    fs::remove_file(root.join("gone.c")).unwrap();
    fs::remove_dir_all(root.join("becomes")).unwrap();
    write(root, "becomes", "a file\n");
    fs::remove_file(root.join("grows")).unwrap();
    write(root, "grows/a.o", "made");
    fs::remove_file(root.join("grown")).unwrap();
    write(root, "grown/a.c", "7\n");
    fs::set_permissions(root.join("mode.sh"), fs::Permissions::from_mode(0o755)).unwrap();
    git(root, &["config", "core.fileMode", "false"]);
    symlink("same.c", root.join("link")).unwrap();
    fs::rename(root.join("moves"), root.join("new/moved")).unwrap();
    symlink("new/moved", root.join("moves")).unwrap();
    git(root, &["update-index", "--assume-unchanged", "hidden.c"]);
    git(root, &["update-index", "--skip-worktree", "sparse.c"]);
    write(root, "hidden.c", "6\n");
    fs::remove_file(root.join("sparse.c")).unwrap();
    let mark = root.join(".git/mark");
    git(root, &["config", "filter.f.clean", &format!("echo >>{}; cat", mark.display())]);
    (dir, mark)
}

#[test]
fn what_is_source_is_there_again_when_it_was_edited_and_nothing_is_added_to_the_repository() {
    let (dir, mark) = edited();
    let root = dir.path();
    let place = tempfile::tempdir().unwrap();
    let (before, objects) = (sources(root), place.path().join("objects"));
    let known = || git(root, &["count-objects", "-v"]);
    let count = known();
    let tree = keep(root, &objects).unwrap();
    assert_eq!(known(), count);
    assert!(!mark.exists(), "a filter of the repository's ran");
    write(root, "edited.c", "5\n");
    fs::remove_file(root.join("staged.c")).unwrap();
    git(root, &["add", "-u"]);
    commit(root, "second");
    assert_ne!(sources(root), before);
    let dest = place.path().join("then");
    had(&pin(root, objects.clone(), &tree, "1").unwrap(), &dest).unwrap();
    let then = sources(&dest);
    assert_eq!(then, before);
    assert_eq!(then["edited.c"], (b"2\r\n".to_vec(), false));
    assert!(then["mode.sh"].1 && then.contains_key("sub") && then.contains_key("added"), "{then:?}");
    assert!(["gone.c", "a.o", "other/x.c", "sparse.c"].iter().all(|path| !then.contains_key(*path)), "{then:?}");
    assert_eq!(fs::read_dir(place.path()).unwrap().count(), 2);
    // Nobody has these any more.
    let gone = pin(root, objects, &"1".repeat(40), "1").unwrap();
    assert!(
        had(&gone, &place.path().join("none"))
            .unwrap_err()
            .to_string()
            .ends_with(" does not have what had been committed then any more")
    );
}

#[test]
fn what_quiz_has_not_left_like_that_is_not_shown_to_git() {
    let dir = repository();
    let place = tempfile::tempdir().unwrap();
    commit(dir.path(), "first");
    write(dir.path(), "a", "1\n");
    let objects = place.path().join("objects");
    let tree = keep(dir.path(), &objects).unwrap();
    let is_taken = |tree: &str| pin(dir.path(), objects.clone(), tree, "1").is_ok();
    assert!(is_taken(&tree));
    for odd in ["", "HEAD", &tree[..12], &format!("{tree}:a"), &"g".repeat(40)] {
        assert!(!is_taken(odd), "{odd}");
    }
    let below = fs::read_dir(&objects).unwrap().next().unwrap().unwrap().path();
    for name in ["info", "pack", "zz", "aa/alternates"] {
        let path = objects.join(name);
        fs::create_dir_all(&path).unwrap();
        assert!(!is_taken(&tree), "{name}");
        fs::remove_dir_all(objects.join(name.split('/').next().unwrap())).unwrap();
    }
    let link = below.join("0".repeat(38));
    symlink("/dev/zero", &link).unwrap();
    assert!(!is_taken(&tree));
    fs::remove_file(&link).unwrap();
    // An object that is not what its name says: git would check it out.
    write(dir.path(), "a", "2\n");
    let other = place.path().join("other");
    keep(dir.path(), &other).unwrap();
    let blobs = |objects: &Path| -> Vec<PathBuf> {
        let below = |folder: PathBuf| fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
        let mut all: Vec<PathBuf> = below(objects.to_owned()).flat_map(below).collect();
        all.sort_by_key(|path| path.metadata().unwrap().len());
        all
    };
    let (mine, false_one) = (blobs(&objects).remove(0), blobs(&other).remove(0));
    fs::remove_file(&mine).unwrap();
    fs::copy(false_one, &mine).unwrap();
    let forged = pin(dir.path(), objects.clone(), &tree, "1").unwrap();
    let error = had(&forged, &place.path().join("dest")).unwrap_err();
    assert!(error.to_string().ends_with(" are damaged"), "{error}");
    let moved = place.path().join("moved");
    fs::rename(&objects, &moved).unwrap();
    symlink(&moved, &objects).unwrap();
    assert!(!is_taken(&tree));
}

#[test]
fn what_cannot_be_kept_says_why() {
    let dir = repository();
    let root = dir.path();
    let place = tempfile::tempdir().unwrap();
    let why = || keep(root, &place.path().join("objects")).unwrap_err().to_string();
    assert!(why().starts_with("git finds no commit in "));
    commit(root, "first");
    for name in ["a\nb", "a\r"] {
        write(root, name, "");
        assert!(why().ends_with("the name of a file has a line break"));
        fs::remove_file(root.join(name)).unwrap();
    }
    File::create(root.join("image")).unwrap().set_len(MOST + 1).unwrap();
    assert!(why().starts_with("more than 64 MiB of "));
    fs::remove_file(root.join("image")).unwrap();
    (0..=MANY).for_each(|number| drop(File::create(root.join(number.to_string())).unwrap()));
    assert!(why().starts_with("more than 20000 files of "));
    fs::remove_dir_all(root.join(".git")).unwrap();
    assert!(why().ends_with(" is not a git worktree"));
    assert_eq!(fs::read_dir(place.path()).unwrap().count(), 0);
}
