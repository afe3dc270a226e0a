//! Linux as its developers have it: a worktree, edited, built and booted; and what of it OpenZFS does not notice.

use super::Real;
use crate::worktree::git;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// A worktree of Linux with the distribution's source, in one place of the cache: its folder of objects serves every run.
fn linux(real: &Real) -> PathBuf {
    let ran = real.run(&["build", "kernel-source"]);
    assert_eq!(ran.status, Some(0), "{ran:?}");
    let source = PathBuf::from(ran.out.trim().split_once(' ').unwrap().1);
    let dir = super::cache().join("tests/linux");
    if dir.exists() {
        git(&dir, &["checkout", "-q", "-f", "."]);
    } else {
        let new = dir.with_extension("new");
        let _ = std::fs::remove_dir_all(&new);
        std::fs::create_dir_all(dir.parent().unwrap()).unwrap();
        let copy = Command::new("cp").arg("-R").arg(&source).arg(&new).status().unwrap();
        let chmod = Command::new("chmod").args(["-R", "u+w"]).arg(&new).status().unwrap();
        assert!(copy.success() && chmod.success());
        git(&new, &["init", "-q"]);
        git(&new, &["add", "-A", "-f"]);
        git(&new, &["commit", "-q", "-m", "Linux"]);
        std::fs::rename(&new, &dir).unwrap();
    }
    dir
}

/// The kernel of all tests, in that worktree: what has the same files has the same key, so the package's need not be compiled as well,
/// and the objects are there for edits.
pub(super) fn build(real: &Real) {
    if !cached(real) {
        compile(real, &linux(real));
    }
}

fn compile(real: &Real, dir: &Path) {
    std::fs::write(dir.join("quiz.toml"), "").unwrap();
    let status = real.command(&["build", "kernel"]).current_dir(dir).stdout(Stdio::null()).status().unwrap();
    assert!(status.success(), "the kernel was not built: {status}");
}

/// That worktree with a new line in a file of it, and its kernel compiled there.
pub(super) fn edited(real: &Real, file: &str) -> PathBuf {
    let dir = linux(real);
    let path = dir.join(file);
    let text = std::fs::read_to_string(&path).unwrap();
    std::fs::write(&path, format!("{text}/* {} */\n", super::new_word())).unwrap();
    compile(real, &dir);
    dir
}

fn cached(real: &Real) -> bool {
    let ran = real.run(&["--json", "graph"]);
    let graph: serde_json::Value = serde_json::from_str(&ran.out).unwrap();
    graph.as_array().unwrap().iter().any(|stage| stage["stage"] == "kernel" && stage["state"] == "cached")
}

#[test]
fn an_edit_that_exports_nothing_new_compiles_one_object_and_no_stage_of_openzfs_runs() {
    let real = Real::new();
    let dir = linux(&real);
    std::fs::write(dir.join("quiz.toml"), "").unwrap();
    let run = |args: &[&str]| crate::project::Ran::from(real.command(args).current_dir(&dir).output().unwrap());
    let digest = |output: &str| {
        let ran = run(&["build", "kernel"]);
        assert_eq!(ran.status, Some(0), "{ran:?}");
        let line = ran.out.lines().find(|line| line.starts_with(&format!("kernel/{output} "))).unwrap().to_owned();
        line.rsplit('/').next().unwrap().to_owned()
    };
    // The same files as the package has, so all of it is there already.
    let first = run(&["-p", "zfs", "up", "--", "uname", "-r"]);
    assert_eq!((first.status, first.count("Making kernel")), (Some(0), 0), "{first:?}");
    let edit = |word: &str| {
        let path = dir.join("init/main.c");
        git(&dir, &["checkout", "-q", "-f", "init/main.c"]);
        let text = std::fs::read_to_string(&path).unwrap();
        let start = "static int __ref kernel_init(void *unused)\n{\n\tint ret;\n";
        assert!(text.contains(start));
        std::fs::write(&path, text.replace(start, &format!("{start}\n\tpr_info(\"{word}\\n\");\n"))).unwrap();
    };
    // Makes the objects, if no earlier run has left them.
    let word = super::new_word();
    edit(&format!("quiz test one {word}"));
    let devel = digest("devel");
    edit(&format!("quiz test two {word}"));
    let ran = run(&["-v", "-p", "zfs", "up", "--", "sh", "-c", "dmesg | grep 'quiz test'; zfs version"]);
    assert_eq!(ran.status, Some(0), "{ran:?}");
    assert!(ran.out.contains("quiz test two") && !ran.out.contains("quiz test one"), "{}", ran.out);
    let compiled: Vec<&str> =
        ran.err.lines().filter_map(|line| line.split_once("  CC      ")).map(|(_, o)| o).collect();
    // The second one holds the size of vmlinux: it is compiled for each link.
    assert_eq!(compiled, ["init/main.o", "arch/x86/boot/compressed/misc.o"], "{}", ran.err);
    assert_eq!(digest("devel"), devel);
    assert_eq!(ran.count("Making zfs"), 0, "{}", ran.err);
    assert_eq!(git(&dir, &["status", "--porcelain", "--", ".", ":!quiz.toml"]), " M init/main.c\n");
    // All cached: nothing but qemu is started, not even git.
    let mut command = Command::new("strace");
    command.args(["-f", "-qq", "-e", "trace=execve,execveat", env!("CARGO_BIN_EXE_quiz")]);
    command.args(["-p", "zfs", "up", "--dry-run", "--", "true"]).current_dir(&dir).env_clear();
    for (name, value) in real.command(&[]).get_envs() {
        command.env(name, value.unwrap());
    }
    // What changed just now is asked for once more.
    std::thread::sleep(std::time::Duration::from_secs(3));
    run(&["build"]);
    let traced = crate::project::Ran::from(command.output().unwrap());
    assert_eq!((traced.status, traced.count("exec")), (Some(0), 1), "{traced:?}");
}
