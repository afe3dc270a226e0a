//! Another Debian as the host: the README's first command from nothing, in a root of its own that is entered as a container is.

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

/// A new root of Debian 13, on which only what Rust and a clone need was ever installed.
struct Host {
    root: PathBuf,
    /// The tests' cache is seen there, too.
    shares: bool,
}

impl Host {
    fn new(name: &str) -> Self {
        let root = cache().join("tests/hosts").join(name);
        let status = script().args(["new", "trixie"]).arg(&root).status().unwrap();
        assert!(status.success(), "there is no root of Debian 13: {status}");
        Self { root, shares: false }
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
    let host = Host::new("trixie-root");
    first_command(&host, "root", ("bookworm", " --install"), "12");
    // And with the host's own compilers.
    first_command(&host, "root", ("host", " --install"), "14");
}

/// Who may not install gets the line to type; with the packages there, all else needs no rights.
#[test]
#[ignore = "compiles quiz and a kernel in a root of Debian 13: tests/run --full hosts"]
fn on_debian_13_the_readmes_first_command_works_from_nothing_for_an_ordinary_user() {
    let _turn = ONE_AT_A_TIME.lock();
    let host = Host::new("trixie-dev");
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
