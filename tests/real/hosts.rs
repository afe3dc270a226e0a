//! Another Debian as the host: the README's first command from nothing, in a root of its own that is entered as a container is.

use super::cache;
use crate::project::Ran;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Mutex;

/// Each takes all processors and asks the same mirror.
static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());

/// A new root of Debian 13, on which only what Rust and a clone need was ever installed.
struct Host(PathBuf);

impl Host {
    fn new(name: &str) -> Self {
        let root = cache().join("tests/hosts").join(name);
        let status = script().args(["new", "trixie"]).arg(&root).status().unwrap();
        assert!(status.success(), "there is no root of Debian 13: {status}");
        Self(root)
    }

    fn run(&self, user: &str, command: &str) -> Ran {
        let ran = Ran::from(script().arg("run").arg(&self.0).args([user, command]).output().unwrap());
        // Beside the root: what a person would have seen.
        let seen = format!("$ {command}\n{}{}", ran.err, ran.out);
        std::fs::write(self.0.with_extension(format!("{user}.log")), seen).unwrap();
        ran
    }
}

fn script() -> Command {
    let mut sh = Command::new("sh");
    sh.arg(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/hosts.sh"));
    sh
}

/// The command as the README has it, and what came of it.
fn first_command(host: &Host, user: &str, install: &str) {
    let readme = std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("README.md")).unwrap();
    let line = readme.lines().find(|line| line.starts_with("cargo run --release -- up ")).unwrap();
    let command = line.split_once('#').unwrap().0.trim().replace(" --install", install);
    let ran = host.run(user, &command);
    assert_eq!(ran.status, Some(0), "{ran:?}");
    assert!(ran.out.starts_with("Linux quiz-1 6.12."), "{ran:?}");
    let gcc = host.run(user, "target/release/quiz up -- cat /proc/version");
    assert!(gcc.status == Some(0) && gcc.out.contains("Debian 14."), "{gcc:?}");
    assert_eq!(gcc.count("Restoring"), 1, "{gcc:?}");
}

#[test]
#[ignore = "compiles quiz and a kernel in a root of Debian 13: tests/run --full hosts"]
fn on_debian_13_the_readmes_first_command_works_from_nothing_for_root() {
    let _turn = ONE_AT_A_TIME.lock();
    first_command(&Host::new("trixie-root"), "root", " --install");
}

/// Who may not install gets the line to type; with the packages there, all else needs no rights.
#[test]
#[ignore = "compiles quiz and a kernel in a root of Debian 13: tests/run --full hosts"]
fn on_debian_13_the_readmes_first_command_works_from_nothing_for_an_ordinary_user() {
    let _turn = ONE_AT_A_TIME.lock();
    let host = Host::new("trixie-dev");
    let refused = host.run("dev", "cargo run --release -- up -- uname -a");
    assert_eq!(refused.status, Some(125), "{refused:?}");
    let line = refused.err.lines().find_map(|line| line.strip_prefix("hint: apt-get install ")).expect(&refused.err);
    let line = line.split("    (").next().unwrap();
    let installed = host.run("root", &format!("apt-get update -q && apt-get install -y {line}"));
    assert_eq!(installed.status, Some(0), "{installed:?}");
    first_command(&host, "dev", "");
}
