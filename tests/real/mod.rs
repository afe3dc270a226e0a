//! The real thing: a kernel, a root and machines. Uses quiz's own cache, so that only the first run takes minutes.
//!
//! Where a machine cannot be booted these fail; they never skip.
//!
//! | variable | what the tests take |
//! |---|---|
//! | QUIZ_TEST_ZFS | the OpenZFS in this folder, which stays as it is, where they edit one; without it the distribution's |
//! | QUIZ_TEST_KERNEL | this kernel, as `-k` names it; without it the default |
//! | QUIZ_TEST_QEMU | the qemu in this folder; without it the host's |
//!
//! Of whatever they run qemu has nothing to say, neither in its log nor through quiz.

mod crash;
mod die;
pub(crate) mod edits;
mod exec;
mod full;
mod hosts;
mod kernels;
mod linux;
mod live;
mod modules;
mod opened;
mod packaged;
mod profiles;
mod qemu;
mod reach;
mod shares;
mod snap;
mod snapshot;
mod suite;
mod zfs;

use crate::project::{Project, Ran, files};
use std::path::PathBuf;
use std::process::Command;
use std::sync::OnceLock;

/// The cache that quiz itself would use. The locks of the test projects lie in one folder of it, so that all tests agree on
/// the exact versions without each asking the network.
pub(crate) fn cache() -> PathBuf {
    let var = |name: &str| std::env::var_os(name).map(PathBuf::from);
    var("QUIZ_CACHE_DIR")
        .or_else(|| var("XDG_CACHE_HOME").map(|dir| dir.join("quiz")))
        .or_else(|| var("HOME").map(|home| home.join(".cache/quiz")))
        .expect("HOME is set")
}

/// A project that uses the real cache.
struct Real(Project);

impl Real {
    fn new() -> Self {
        static BUILT: OnceLock<()> = OnceLock::new();
        let real = Self(Project::new());
        // The first one builds; the others wait here instead of each drawing its own progress.
        BUILT.get_or_init(|| {
            if std::env::var_os("QUIZ_TEST_KERNEL").is_none() {
                linux::build(&real);
            }
            let status = real.command(&["build"]).stdout(std::process::Stdio::null()).status().unwrap();
            assert!(status.success(), "the image was not built: {status}");
        });
        real
    }

    fn command(&self, args: &[&str]) -> Command {
        let mut command = self.0.command(args);
        command.env("QUIZ_CACHE_DIR", cache()).env("XDG_CONFIG_HOME", cache().join("tests"));
        if let Some(version) = std::env::var_os("QUIZ_TEST_KERNEL") {
            command.env("QUIZ_KERNEL_VERSION", version);
        }
        if let Some(folder) = std::env::var_os("QUIZ_TEST_QEMU") {
            let path = command.get_envs().find(|(name, _)| *name == "PATH").unwrap().1.unwrap().to_owned();
            let path = std::env::split_paths(&path);
            command.env("PATH", std::env::join_paths([PathBuf::from(folder)].into_iter().chain(path)).unwrap());
        }
        for name in ["http_proxy", "https_proxy", "no_proxy"] {
            if let Some(value) = std::env::var_os(name) {
                command.env(name, value);
            }
        }
        command
    }

    fn run(&self, args: &[&str]) -> Ran {
        let ran = Ran::from(self.command(args).output().unwrap());
        assert_eq!(ran.count("qemu-system-x86_64: "), 0, "what qemu says is shown: {ran:?}");
        ran
    }

    /// `quiz up -- sh -c SCRIPT`.
    fn sh(&self, script: &str) -> Ran {
        self.run(&["up", "--", "sh", "-c", script])
    }

    /// A line of bash in the project, with nothing to read.
    fn shell(&self, line: &str) -> Command {
        let template = self.command(&[]);
        let mut command = Command::new("bash");
        command.args(["-c", line]).current_dir(self.0.dir()).env_clear().stdin(std::process::Stdio::null());
        for (name, value) in template.get_envs() {
            command.env(name, value.unwrap());
        }
        command
    }

    /// A line of bash in the project, on a terminal that `script` makes.
    fn on_a_terminal(&self, line: &str) -> Ran {
        let template = self.command(&[]);
        let mut command = Command::new("script");
        command.args(["-q", "-e", "-c", line, "/dev/null"]).current_dir(self.0.dir()).env_clear();
        for (name, value) in template.get_envs() {
            command.env(name, value.unwrap());
        }
        let stdin = std::process::Stdio::null();
        Ran::from(command.env("SHELL", "/bin/bash").env("TERM", "xterm").stdin(stdin).output().unwrap())
    }

    /// The folder of the newest run.
    fn run_folder(&self) -> PathBuf {
        let runs = self.0.dir().join(".quiz/runs");
        let entries = std::fs::read_dir(&runs).unwrap().map(|e| e.unwrap().file_name().into_string().unwrap());
        let newest = entries.filter_map(|name| name.parse::<u64>().ok()).max().unwrap();
        runs.join(newest.to_string())
    }

    /// The process ids of the machines that belong to this project.
    fn machines(&self) -> Vec<u32> {
        let dir = self.0.dir().display().to_string();
        let output = Command::new("ps").args(["-eo", "pid,args", "-ww"]).output().unwrap();
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        let ours = text.lines().filter(|line| line.contains("qemu-system") && line.contains(&dir));
        ours.map(|line| line.split_whitespace().next().unwrap().parse().unwrap()).collect()
    }
}

impl Drop for Real {
    fn drop(&mut self) {
        if !std::thread::panicking() {
            let logs = files(&self.0.dir().join(".quiz/runs")).into_iter().filter(|path| path.ends_with("qemu.log"));
            for log in logs {
                let said = std::fs::read_to_string(&log).unwrap();
                assert_eq!(said, "", "{}", log.display());
            }
        }
    }
}

fn kill(pid: u32, signal: &str) {
    let status = Command::new("kill").args([signal, &pid.to_string()]).status().unwrap();
    assert!(status.success());
}

/// A word that no earlier run used: the cache of these tests stays, and what was built before is a hit.
fn new_word() -> String {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap();
    format!("{}", now.as_nanos())
}
