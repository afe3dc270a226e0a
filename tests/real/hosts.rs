//! Other machines as hosts, each a root of its own that is entered as a container is: the README's first command from nothing, and what hosts
//! have in common.

use super::{Real, cache};
use crate::project::Ran;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Mutex;

/// A host with nothing of what stages run with has their results: its keys are those of this machine, and what it makes are the same bytes.
#[test]
#[ignore = "runs in a root of busybox: tests/run --full hosts"]
fn a_host_without_apt_dpkg_perl_or_compilers_shares_all_results_and_makes_the_same() {
    let real = Real::new();
    let host = Host::bare();
    let quiz = format!("export QUIZ_CACHE_DIR={0} XDG_CONFIG_HOME={0}/tests; quiz", cache().display());
    for name in ["apt-get", "dpkg", "perl", "gcc", "make", "mmdebstrap"] {
        assert!(!host.root.join("usr/bin").join(name).exists(), "{name}");
    }
    let ran = host.run("root", &format!("{quiz} up -- uname -a"));
    assert!(ran.status == Some(0) && ran.out.starts_with("Linux quiz-1 "), "{ran:?}");
    assert_eq!(ran.count("Making"), 0, "{ran:?}");
    let doctor = host.run("root", &format!("{quiz} doctor"));
    assert_eq!(doctor.status, Some(0), "{doctor:?}");
    // Two that compile, one that packs.
    let stages = ["agent", "kernel-config", "layer:agent/tree"];
    let here = real.run(&[&["build"], &stages[..]].concat());
    let there = host.run("root", &format!("{quiz} build --fresh {}", stages.join(" ")));
    assert_eq!((there.status, there.count("Making")), (Some(0), stages.len()), "{there:?}");
    assert_eq!(there.out, here.out);
}

/// Each takes all processors and asks the same mirror.
static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());

/// A new root of Debian, on which only what Rust and a clone need was ever installed.
struct Host {
    root: PathBuf,
    /// The tests' cache is seen there, too.
    shares: bool,
}

impl Host {
    fn new(suite: &str, name: &str) -> Self {
        let root = cache().join("tests/hosts").join(format!("{suite}-{name}"));
        let status = script().args(["new", suite]).arg(&root).status().unwrap();
        assert!(status.success(), "there is no root of {suite}: {status}");
        Self { root, shares: false }
    }

    /// One with the quiz of this machine, what that needs to make stages, and an empty cache.
    fn with_quiz(suite: &str) -> Self {
        let host = Self::new(suite, "twin");
        std::fs::copy(env!("CARGO_BIN_EXE_quiz"), host.root.join("usr/local/bin/quiz")).unwrap();
        host.done("apt-get update -q && apt-get install -q -y --no-install-recommends bubblewrap");
        host
    }

    /// Runs as root, and demands success.
    fn done(&self, command: &str) -> Ran {
        let ran = self.run("root", command);
        assert_eq!(ran.status, Some(0), "{command}: {ran:?}");
        ran
    }

    /// A root with a sandbox, qemu and quiz.
    fn bare() -> Self {
        let root = cache().join("tests/hosts/bare");
        let status = script().arg("bare").arg(&root).arg(env!("CARGO_BIN_EXE_quiz")).status().unwrap();
        assert!(status.success(), "there is no bare root: {status}");
        Self { root, shares: true }
    }

    fn run(&self, user: &str, command: &str) -> Ran {
        let mut run = script();
        run.arg("run").arg(&self.root).args([user, command]);
        if self.shares {
            run.env("CACHE", cache());
        }
        let ran = Ran::from(run.output().unwrap());
        // Beside the root: what a person would have seen.
        let seen = format!("$ {command}\n{}{}", ran.err, ran.out);
        std::fs::write(self.root.with_extension(format!("{user}.log")), seen).unwrap();
        ran
    }
}

fn script() -> Command {
    let mut sh = Command::new("sh");
    sh.arg(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/hosts.sh"));
    sh
}

/// The command as the README has it, and the same with a kernel that is compiled, this host's, by that gcc.
fn first_command(host: &Host, user: &str, (suite, install): (&str, &str), gcc: &str) {
    let readme = std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("README.md")).unwrap();
    let line = readme.lines().find(|line| line.starts_with("cargo run --release -- -k package up ")).unwrap();
    let command = line.split_once('#').unwrap().0.trim().replace(" --install", install);
    let ran = host.run(user, &format!("export QUIZ_TOOLCHAIN_SUITE={suite}; {command}"));
    assert_eq!(
        (ran.status, ran.count("Making kernel-package"), ran.count("Making kernel\n")),
        (Some(0), 1, 0),
        "{ran:?}"
    );
    assert!(ran.out.starts_with("Linux quiz-") && ran.out.contains("-amd64 #"), "{ran:?}");
    let own = command.replace(" -k package", "");
    let ran = host.run(user, &format!("export QUIZ_TOOLCHAIN_SUITE={suite}; {own}"));
    assert_eq!(ran.status, Some(0), "{ran:?}");
    assert!(ran.out.starts_with("Linux quiz-") && ran.out.contains(" 6.12."), "{ran:?}");
    let version = host.run(user, &format!("QUIZ_TOOLCHAIN_SUITE={suite} target/release/quiz up -- cat /proc/version"));
    assert!(version.status == Some(0) && version.out.contains(&format!("Debian {gcc}.")), "{version:?}");
    assert_eq!(version.count("Restoring"), 1, "{version:?}");
}

#[test]
#[ignore = "compiles quiz and a kernel in a root of Debian 13: tests/run --full hosts"]
fn on_debian_13_the_readmes_first_command_works_from_nothing_for_root() {
    let _turn = ONE_AT_A_TIME.lock();
    let host = Host::new("trixie", "root");
    first_command(&host, "root", ("bookworm", " --install"), "12");
    // And with the host's own compilers.
    first_command(&host, "root", ("host", " --install"), "14");
}

/// Who may not install gets the line to type; with the packages there, all else needs no rights.
#[test]
#[ignore = "compiles quiz and a kernel in a root of Debian 13: tests/run --full hosts"]
fn on_debian_13_the_readmes_first_command_works_from_nothing_for_an_ordinary_user() {
    let _turn = ONE_AT_A_TIME.lock();
    let host = Host::new("trixie", "dev");
    let refused = host.run("dev", "cargo run --release -- -k package up -- uname -a");
    assert_eq!(refused.status, Some(125), "{refused:?}");
    // No compiler, no library, nothing that makes packages.
    assert!(refused.err.contains("3 tool(s) are missing"), "{refused:?}");
    let line = refused.err.lines().find_map(|line| line.strip_prefix("hint: apt-get install ")).expect(&refused.err);
    let line = line.split("    (").next().unwrap();
    let installed = host.run("root", &format!("apt-get update -q && apt-get install -y {line}"));
    assert_eq!(installed.status, Some(0), "{installed:?}");
    first_command(&host, "dev", ("bookworm", ""), "12");
}

/// The smallest kernel, as the stage `kernel` calls make.
const TINY: (&str, &str) = (
    "version = 1\nabout = \"a test\"\nscript = \"build.sh\"\n[needs]\ncompiler = true\n\
     [inputs]\nsource = \"kernel-source/tree\"\nmake = \"kernel-make/script\"\n[outputs]\nvmlinux = \"file\"\n",
    ". /quiz/in/make\nkernel tinyconfig\nkernel vmlinux\ncp \"$build/vmlinux\" /quiz/out/vmlinux\n",
);

/// Projects by the folder in the home, what is in their quiz.toml, and the stages that are made of them. The first has the whole image but its
/// kernel, which is the distribution's; of the other one the kernel itself is not made, as that takes an hour, but its key is looked at.
const PROJECTS: [(&str, &str, &str); 2] = [
    ("package", "profiles = [\"zfs\"]\n[kernel]\nversion = \"6.1@package\"\n", "image zfs agent"),
    ("own", "[kernel]\nversion = \"6.1\"\n", "tiny kernel-config compile-commands"),
];

/// Builds all, and says of each stage its name, key and outputs.
fn made(host: &Host, set: &str) -> (usize, Vec<String>) {
    let mut making = 0;
    let mut stages = Vec::new();
    for (folder, toml, wanted) in PROJECTS {
        let project = host.root.join("root").join(folder);
        std::fs::create_dir_all(&project).unwrap();
        std::fs::write(project.join("quiz.toml"), toml).unwrap();
        if folder == "own" {
            let recipe = project.join(".quiz/recipes/tiny");
            std::fs::create_dir_all(&recipe).unwrap();
            std::fs::write(recipe.join("recipe.toml"), TINY.0).unwrap();
            std::fs::write(recipe.join("build.sh"), TINY.1).unwrap();
        }
        let quiz = format!("cd ~/{folder} && {set} quiz");
        making += host.done(&format!("{quiz} build {wanted}")).count("Making");
        let graph: serde_json::Value =
            serde_json::from_str(&host.done(&format!("{quiz} -v --json graph")).out).unwrap();
        let line = |stage: &serde_json::Value| {
            let facts = ["stage", "key", "outputs"].map(|name| stage[name].to_string());
            (!stage["key"].is_null()).then(|| facts.join(" "))
        };
        stages.extend(graph.as_array().unwrap().iter().filter_map(line));
    }
    (making, stages)
}

/// What is pinned is all that they share.
#[test]
#[ignore = "compiles OpenZFS and a small kernel in roots of Debian 12 and 13: tests/run --full hosts"]
fn hosts_with_other_compilers_make_the_same_bytes_under_the_same_keys_and_take_each_others_cache() {
    let _turn = ONE_AT_A_TIME.lock();
    let (one, other) = (Host::with_quiz("bookworm"), Host::with_quiz("trixie"));
    assert_ne!(one.done("gcc -dumpversion").out, other.done("gcc -dumpversion").out);
    let (making, first) = made(&one, "");
    let known = |stage: &str| first.iter().any(|line| line.starts_with(&format!("\"{stage}\" ")));
    for stage in ["agent", "image", "kernel", "kernel-package", "rootfs", "tiny", "zfs-modules", "zfs-user"] {
        assert!(known(stage), "{stage}: {first:#?}");
    }
    let config = "root/.config/quiz";
    std::fs::create_dir_all(other.root.join(config)).unwrap();
    let lock = format!("{config}/quiz.lock");
    std::fs::copy(one.root.join(&lock), other.root.join(&lock)).unwrap();
    let (from, to) = (one.root.join("root/.cache/quiz"), other.root.join("root/copied"));
    assert!(Command::new("cp").arg("-a").arg(from).arg(to).status().unwrap().success());
    assert_eq!(made(&other, ""), (making, first.clone()));
    assert_eq!(made(&other, "QUIZ_CACHE_DIR=~/copied"), (0, first));
}
