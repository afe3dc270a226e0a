//! Other machines as hosts, each a root of its own that is entered as a container is: the README's first command from nothing, and what hosts
//! have in common.

mod bare;
mod headers;
mod twins;

use super::{Real, cache};
use crate::project::Ran;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Mutex;

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

/// The digest of each output, by its name.
fn digests(ran: &Ran) -> Vec<String> {
    assert_eq!(ran.status, Some(0), "{ran:?}");
    let line = |line: &str| {
        let (output, path) = line.split_once(' ').unwrap();
        format!("{output} {}", path.rsplit_once('/').unwrap().1)
    };
    ran.out.lines().map(line).collect()
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
    // That of the suite whose compilers are taken, whatever the host is.
    let series = if suite == "host" { " 6.12." } else { " 6.1." };
    assert!(ran.out.starts_with("Linux quiz-") && ran.out.contains(series), "{ran:?}");
    let version = host.run(user, &format!("QUIZ_TOOLCHAIN_SUITE={suite} target/release/quiz up -- cat /proc/version"));
    assert!(version.status == Some(0) && version.out.contains(&format!("Debian {gcc}.")), "{version:?}");
    assert_eq!(version.count("Restoring"), 1, "{version:?}");
    if suite != "host" {
        // Whoever compiled it, and in whatever folder: with the same pins this machine has the same bytes.
        let there = host.run(user, &format!("QUIZ_TOOLCHAIN_SUITE={suite} target/release/quiz build kernel"));
        let home = host.root.join(if user == "root" { "root" } else { "home/dev" });
        let real = Real::new();
        let config = real.0.dir().join("config");
        std::fs::create_dir_all(config.join("quiz")).unwrap();
        for (lock, own) in [(".config/quiz/quiz.lock", "config/quiz/quiz.lock"), ("quiz/quiz.lock", "quiz.lock")] {
            if home.join(lock).exists() {
                std::fs::copy(home.join(lock), real.0.dir().join(own)).unwrap();
            }
        }
        let here = real.command(&["build", "kernel"]).env("XDG_CONFIG_HOME", config).output().unwrap();
        assert_eq!(digests(&there), digests(&Ran::from(here)));
    }
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
