//! Which files of a folder are source, in repositories made for the purpose.

use super::*;
use crate::source::git::tests::{commit, git, repository};
use std::os::unix::ffi::OsStrExt;

fn write(root: &Path, path: &str, text: &str) {
    fs::create_dir_all(root.join(path).parent().unwrap()).unwrap();
    fs::write(root.join(path), text).unwrap();
}

#[test]
fn the_nearest_folder_with_all_marks() {
    let dir = tempfile::tempdir().unwrap();
    let marks = ["META".to_owned(), "module/a.c".to_owned()];
    for path in ["out/META", "out/module/a.c", "out/in/META", "out/in/deep/x"] {
        write(dir.path(), path, "");
    }
    let out = dir.path().join("out");
    assert_eq!(find(&out.join("in/deep"), &marks).as_deref(), Some(out.as_path()));
    assert_eq!(find(&out, &marks).as_deref(), Some(out.as_path()));
    assert_eq!(find(dir.path(), &marks), None);
    assert_eq!(find(&out, &[]), None);
    assert_eq!(missing(&out.join("in"), &marks), ["module/a.c"]);
}

#[test]
fn tracked_and_new_files_are_source_and_ignored_ones_are_not() {
    let dir = repository();
    let root = dir.path();
    for path in [".gitignore", "a b.c", "gone.c", "kept.o", "line\nbreak", "sub/ü.c", "quiz.toml", "sub/quiz.toml"] {
        write(root, path, "*.o\n");
    }
    git(root, &["add", "--force", "."]);
    commit(root, "first");
    for path in ["new.c", "new.o", "quiz.lock", ".quiz/runs/1/console.log", "nested/x.c"] {
        write(root, path, "");
    }
    fs::remove_file(root.join("gone.c")).unwrap();
    git(&root.join("nested"), &["init", "--quiet"]);
    write(root, ".git/info/exclude", "excluded\n");
    write(root, "excluded", "");
    let worktree = Worktree::open(root).unwrap();
    let wanted = [".gitignore", "a b.c", "gone.c", "kept.o", "line\nbreak", "new.c", "sub/quiz.toml", "sub/ü.c"];
    assert!(worktree.is_git());
    assert_eq!(worktree.list().unwrap(), wanted);
}

#[test]
fn a_name_that_is_no_text_is_an_error_by_name() {
    let dir = repository();
    fs::write(dir.path().join(std::ffi::OsStr::from_bytes(b"caf\xe9.c")), "").unwrap();
    let error = Worktree::open(dir.path()).unwrap().list().unwrap_err();
    assert!(error.to_string().contains("not UTF-8") && error.details()[0].starts_with("caf"), "{error:?}");
}

#[test]
fn a_linked_worktree_has_its_own_index_and_shares_the_rest() {
    let dir = repository();
    let (main, linked) = (dir.path().join("main"), dir.path().join("linked"));
    git(dir.path(), &["init", "--quiet", "main"]);
    write(&main, "a.c", "");
    git(&main, &["add", "."]);
    commit(&main, "first");
    git(&main, &["worktree", "add", "--quiet", "../linked"]);
    write(&linked, "b.c", "");
    let worktree = Worktree::open(&linked).unwrap();
    assert_eq!(worktree.list().unwrap(), ["a.c", "b.c"]);
    let real = |path: &Path| fs::canonicalize(path).unwrap();
    let also: Vec<PathBuf> = worktree.also_of(None, None).iter().filter_map(|p| fs::canonicalize(p).ok()).collect();
    for path in [".git/worktrees/linked/index", ".git/info/exclude", ".git/config"] {
        assert!(also.contains(&real(&main.join(path))), "{path} is not among {also:?}");
    }
    assert!(!also.contains(&real(&main.join(".git/index"))));
}

#[test]
fn the_users_own_ignored_files_change_the_list() {
    let dir = repository();
    let home = tempfile::tempdir().unwrap();
    write(home.path(), ".gitconfig", "[core]\n\tautocrlf = true\n\texcludesFile = ~/my-ignores\n");
    let also = Worktree::open(dir.path()).unwrap().also_of(Some(home.path()), None);
    for path in [".gitconfig", "my-ignores", ".config/git/config", ".config/git/ignore"] {
        assert!(also.contains(&home.path().join(path)), "{path} is not among {also:?}");
    }
}

#[test]
fn a_folder_without_git_has_all_but_ours() {
    let dir = repository();
    write(dir.path(), "below/a.c", "");
    let worktree = Worktree::open(&dir.path().join("below")).unwrap();
    assert!(!worktree.is_git() && worktree.also().is_empty());
    for ours in
        [".git", ".git/HEAD", "x/.git/HEAD", ".quiz", ".quiz/shared/a", "quiz.toml", "quiz.lock", ".quiz.lock.new"]
    {
        assert!(is_ours(ours), "{ours}");
    }
    for source in ["a.c", ".gitignore", "x/quiz.toml", "x/.quiz/a", "quiz.toml.in", ".github/x"] {
        assert!(!is_ours(source), "{source}");
    }
}

#[test]
fn what_is_no_worktree_is_said_in_gits_words() {
    let dir = tempfile::tempdir().unwrap();
    write(dir.path(), ".git", "gitdir: /nowhere\n");
    let error = Worktree::open(dir.path()).unwrap().list().unwrap_err();
    assert!(error.details()[0].contains("not a git repository: /nowhere"), "{:?}", error.details());
    write(dir.path(), ".git", "what\n");
    assert!(Worktree::open(dir.path()).unwrap_err().to_string().ends_with("/.git has no line `gitdir:`"));
}

#[test]
fn what_changed_is_told_without_the_commands_that_the_repository_names() {
    let dir = repository();
    let root = dir.path();
    write(root, "a.c", "1\n");
    write(root, ".gitattributes", "*.c filter=a.b=c diff=d\n");
    git(root, &["add", "."]);
    let first = commit(root, "first");
    // A repository in it, with a config of its own.
    git(root, &["init", "--quiet", "sub"]);
    write(&root.join("sub"), "x", "");
    git(&root.join("sub"), &["add", "x"]);
    let inner = commit(&root.join("sub"), "inner");
    git(root, &["update-index", "--add", "--cacheinfo", &format!("160000,{inner},sub")]);
    let mark = root.join(".git/mark");
    let evil = format!("echo $0 >>{}; cat", mark.display());
    write(root, ".git/included", &format!("[filter \"a.b=c\"]\n\tclean = \"{evil}\"\n\trequired = true\n"));
    git(root, &["config", "include.path", "included"]);
    for name in ["filter.a.b=c.process", "filter.a.b=c.smudge", "diff.d.textconv", "diff.d.command", "diff.external"] {
        git(root, &["config", name, &evil]);
    }
    git(root, &["config", "core.fsmonitor", &evil]);
    git(&root.join("sub"), &["config", "core.fsmonitor", &evil]);
    // Of the same length, and touched: git has to look into it.
    write(root, "a.c", "2\n");
    let worktree = Worktree::open(root).unwrap();
    assert_eq!(worktree.changed_since(&first).unwrap(), ["a.c", "sub"]);
    assert_eq!(worktree.file_at(&first, "a.c").unwrap().as_deref(), Some("1\n"));
    assert!(worktree.list().unwrap().contains(&"a.c".to_owned()));
    assert!(!mark.exists(), "{:?}", fs::read_to_string(&mark));
}

#[test]
fn objects_that_are_not_there_are_not_asked_for_by_a_command_of_the_repository() {
    let dir = repository();
    let root = dir.path();
    let mark = root.join(".git/mark");
    for (name, value) in [
        ("core.repositoryFormatVersion", "1"),
        ("extensions.partialClone", "origin"),
        ("remote.origin.url", "ssh://example.org/x"),
        ("remote.origin.promisor", "true"),
        ("core.sshCommand", &format!("echo $0 >>{}; false", mark.display())),
    ] {
        git(root, &["config", name, value]);
    }
    let worktree = Worktree::open(root).unwrap();
    assert_eq!(worktree.file_at(&"1".repeat(40), "a.c").unwrap(), None);
    assert!(worktree.changed_since(&"1".repeat(40)).is_err());
    assert!(!mark.exists(), "{:?}", fs::read_to_string(&mark));
}
