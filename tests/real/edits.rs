//! Edits of OpenZFS and of Linux, one after the other, each built upon what the one before left: what comes of it is what a build
//! from nothing gives, byte for byte.
//!
//! Each step takes as long as a build from nothing. Steps that passed are noted in the cache, and not made again while what is tried
//! is the same: a run that was stopped goes on from there.

use super::{Real, cache};
use crate::edits::tree::{Kind, Tree};
use crate::edits::{each_shows, sequences, tried};
use crate::kill::say;
use crate::project::Ran;
use crate::worktree::git;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

/// A worktree in the cache that is built incrementally, and then from nothing.
struct Edited {
    real: Real,
    dir: PathBuf,
    stage: &'static str,
    passed: PathBuf,
}

impl Edited {
    fn new(name: &str, stage: &'static str, make: impl FnOnce(&Real, &Path)) -> Self {
        let real = Real::new();
        let folder = cache().join("tests/edits");
        let dir = folder.join(name);
        fs::create_dir_all(&folder).unwrap();
        if !dir.join(".git").exists() {
            let _ = fs::remove_dir_all(&dir);
            make(&real, &dir);
        }
        fs::write(dir.join("quiz.toml"), "").unwrap();
        let passed = folder.join(format!("{name}.{}", tried()));
        Self { real, dir, stage, passed }
    }

    fn run(&self, args: &[&str]) -> Ran {
        let ran = Ran::from(self.real.command(args).current_dir(&self.dir).output().unwrap());
        assert_eq!(ran.status, Some(0), "{args:?}: {ran:?}");
        ran
    }

    /// Builds what is there now, and once more from nothing.
    fn step(&self, number: usize, what: &str) {
        let line = format!("{number} {what}");
        let passed = fs::read_to_string(&self.passed).unwrap_or_default();
        if passed.lines().any(|one| one == line) {
            return;
        }
        let edited = self.run(&["-v", "build", self.stage]);
        let fresh = self.run(&["build", "--fresh", self.stage]);
        assert_eq!(edited.out, fresh.out, "{line}\n{}", fresh.err);
        fs::write(&self.passed, format!("{passed}{line}\n")).unwrap();
    }

    fn edit(&self, path: &str, change: impl FnOnce(String) -> String) {
        let path = self.dir.join(path);
        let text = fs::read_to_string(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
        fs::write(path, change(text)).unwrap();
    }

    fn checkout(&self, what: &str) {
        git(&self.dir, &["checkout", "-q", "-f", what]);
        git(&self.dir, &["clean", "-q", "-f", "-d", "-e", "quiz.toml", "-e", ".quiz"]);
    }
}

/// Makes a git worktree of what a source stage gives.
fn worktree_of(real: &Real, stage: &str, dir: &Path) {
    let ran = real.run(&["build", stage]);
    fs::create_dir_all(dir).unwrap();
    super::zfs::copy(Path::new(ran.out.trim().split_once(' ').unwrap().1), dir);
    git(dir, &["init", "-q"]);
    git(dir, &["add", "-A", "-f"]);
    git(dir, &["commit", "-q", "-m", stage]);
}

/// How many steps on OpenZFS.
const STEPS: usize = 30;
/// Between releases everything is another; it is there in a clone alone.
const TAGS: [&str; 3] = ["zfs-2.4.4", "zfs-2.3.2", "zfs-2.4.0"];

/// Every second step is a checkout, of the commits that changed the modules last, with a release now and then; what lies between is an edit
/// of that. Where QUIZ_TEST_ZFS is no clone with a history, all are edits, and the way back.
#[test]
#[ignore = "builds OpenZFS's modules sixty times: tests/run --full edits"]
fn edits_and_checkouts_of_openzfs_give_the_modules_that_a_build_from_nothing_gives() {
    let source = std::env::var_os("QUIZ_TEST_ZFS").map(PathBuf::from);
    let edited = Edited::new("openzfs", "zfs-modules", |real, dir| match &source {
        Some(clone) if clone.join(".git").exists() => {
            let (from, to) = (clone.display().to_string(), dir.display().to_string());
            git(Path::new("/"), &["-c", "safe.directory=*", "clone", "-q", "--shared", &from, &to]);
        }
        _ => worktree_of(real, "zfs-source", dir),
    });
    // Of what was cloned: what is checked out is another in each step, and a run that goes on has the commits of the first.
    let is_clone = edited.dir.join(".git/refs/remotes/origin/HEAD").exists();
    let from = if is_clone { "origin/HEAD" } else { "HEAD" };
    let log = git(&edited.dir, &["log", "-n", "12", "--format=%H", from, "--", "module", "include"]);
    let tags = git(&edited.dir, &["tag"]);
    let mut commits: Vec<&str> = log.lines().collect();
    for (n, tag) in TAGS.into_iter().enumerate().filter(|(_, tag)| tags.lines().any(|line| line == *tag)) {
        commits.insert((4 * n + 3).min(commits.len()), tag);
    }
    let missing: Vec<&str> = TAGS.into_iter().filter(|tag| !commits.contains(tag)).collect();
    if !missing.is_empty() {
        let missing = missing.join(", ");
        say(&format!("NOT TRIED: checkouts of {missing}: QUIZ_TEST_ZFS has to be a clone of OpenZFS with these tags"));
    }
    for number in 0..STEPS {
        let commit = commits[number / 2 % commits.len()];
        if number % 2 == 0 {
            edited.checkout(commit);
            edited.step(number, commit);
        } else {
            let what = change_of_openzfs(&edited, number);
            edited.step(number, what);
        }
    }
}

/// One of the kinds of edits.
fn change_of_openzfs(edited: &Edited, number: usize) -> &'static str {
    let path = |name: &str| edited.dir.join(name);
    match number / 2 % 7 {
        0 => {
            edited.edit("module/zfs/spa.c", |text| format!("{text}\nint quiz_edit = {number};\n"));
            "a line of a source file"
        }
        1 => {
            edited.edit("include/sys/arc.h", |text| format!("{text}\n#define QUIZ_EDIT {number}\n"));
            "a line of a header that nobody uses"
        }
        2 => {
            edited.edit("include/sys/zfs_context.h", |text| {
                let end = text.rfind("#endif").expect("what keeps it from being included twice");
                format!("{}static inline int quiz_edit(void) {{ return ({number}); }}\n{}", &text[..end], &text[end..])
            });
            edited.edit("module/zfs/zio.c", |text| {
                format!("{text}\nint quiz_zio(void);\nint quiz_zio(void) {{ return (quiz_edit()); }}\n")
            });
            "a function in a header, and its use"
        }
        3 => {
            fs::set_permissions(path("module/zfs/dmu.c"), fs::Permissions::from_mode(0o755)).unwrap();
            "a mode"
        }
        4 => {
            edited.edit("module/zfs/zio.c", |text| text);
            "a time, and nothing else"
        }
        5 => {
            fs::rename(path("module/zfs/zfeature.c"), path("module/zfs/zfeature_quiz.c")).unwrap();
            let list = ["module/Kbuild.in", "module/zfs/Makefile.in"]
                .into_iter()
                .find(|list| fs::read_to_string(path(list)).is_ok_and(|text| text.contains("zfeature.o")));
            edited.edit(list.expect("a list of objects"), |text| text.replace("zfeature.o", "zfeature_quiz.o"));
            "another name of a source file"
        }
        _ => {
            edited.edit("module/zfs/zfs_ioctl.c", |text| {
                let at = text.find("\nstatic ").unwrap();
                format!("{}\n#ifdef QUIZ_NEVER\n#error never\n#endif{}", &text[..at], &text[at..])
            });
            "lines that move all below them"
        }
    }
}

/// A header that much includes, a symbol of Kconfig, a file of the assembler's, a new file, and the way back.
#[test]
#[ignore = "builds Linux ten times: tests/run --full edits"]
fn edits_of_linux_give_the_kernel_that_a_build_from_nothing_gives() {
    let edited = Edited::new("linux", "kernel", |real, dir| worktree_of(real, "kernel-source", dir));
    edited.checkout("HEAD");
    edited.edit("include/linux/fs.h", |text| text.replacen("#include", "#define QUIZ_EDIT 1\n#include", 1));
    edited.step(1, "include/linux/fs.h");
    edited.edit("init/Kconfig", |text| format!("{text}\nconfig QUIZ_EDIT\n\tdef_bool y\n"));
    edited.step(2, "init/Kconfig");
    edited.edit("arch/x86/lib/memcpy_64.S", |text| format!("{text}\n\t.section .rodata\n\t.long 7\n"));
    edited.step(3, "arch/x86/lib/memcpy_64.S");
    fs::write(edited.dir.join("kernel/quiz_edit.c"), "int quiz_edit(void);\nint quiz_edit(void) { return 7; }\n")
        .unwrap();
    // The distribution's tree ignores all that it does not know.
    git(&edited.dir, &["add", "-f", "kernel/quiz_edit.c"]);
    edited.edit("kernel/Makefile", |text| format!("{text}\nobj-y += quiz_edit.o\n"));
    edited.step(4, "kernel/quiz_edit.c");
    edited.checkout("HEAD");
    edited.step(5, "the way back");
}

/// Modules of 36 files below one folder, with a header that is generated in each of its four.
#[test]
#[ignore = "takes two hours: tests/run --full edits"]
fn two_hundred_sequences_of_edits_of_modules_give_what_a_build_from_nothing_gives() {
    let real = Real::new();
    let start = |words: &[&str]| real.command(words);
    // One tree for all, which each sequence finds as it was made, with what the one before has built.
    let tree = Tree::new(&real.0, &start, Kind::Module, (4, 8));
    each_shows(&tree);
    sequences("modules", 200, 4, &mut |number, edits| {
        tree.reset();
        for (n, edit) in edits.iter().enumerate() {
            tree.apply(edit);
            assert_eq!(tree.differing(), [""; 0], "sequence {number}, after edit {} of {edits:?}", n + 1);
        }
    });
}
