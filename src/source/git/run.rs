//! Runs git: without what the environment says of another repository, without questions, with git's own words in errors.

use crate::error::{Error, Result};
use crate::host::{self, distribution::Distribution};
use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::io::{self, BufReader, Read};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::process::{Command, Stdio};

/// The program, and its Debian package.
pub(in crate::source) const TOOLS: &[(&str, &str)] = &[("git", "git")];

/// Variables of git that say how to reach a server, and nothing of what is there.
const TRANSPORT: &[&str] = &["GIT_SSH", "GIT_SSL", "GIT_HTTP", "GIT_PROXY"];

/// Options for a command that goes to a server: git gives up after a minute without one byte.
pub(super) const PATIENCE: &[&str] = &["-c", "http.lowSpeedLimit=1", "-c", "http.lowSpeedTime=60"];

/// How git ended.
pub(in crate::source) struct GitOutput {
    pub ok: bool,
    pub stdout: Vec<u8>,
    pub stderr: String,
}

/// git for the repository that the folder is in, which may be anybody's: it is only read. The user's own config counts: `safe.directory`,
/// what is ignored. The repository's must not start anything: no hook, no monitor, and no server is asked for objects that are not there,
/// by a command that the repository names.
pub(in crate::source) fn at(folder: &Path) -> Command {
    let mut command = plain();
    command.env("GIT_NO_LAZY_FETCH", "1").env("GIT_ALLOW_PROTOCOL", "none").arg("-C").arg(folder);
    command
}

/// git for no repository: what is asked of a server by the user's own config, with proxies and passwords.
pub(in crate::source) fn nowhere() -> Command {
    let mut command = plain();
    command.args(["-C", "/"]);
    command
}

/// The same as [`at`] for commands that look into files of the worktree: the filters that the repository's own config has are off, those of
/// the user's (git-lfs) are not.
///
/// # Errors
/// git cannot be run.
pub(in crate::source) fn at_without_filters(folder: &Path) -> Result<Command> {
    let mut asked = at(folder);
    asked.args(["config", "--show-scope", "--includes", "-z", "--name-only", "--get-regexp", "^filter\\."]);
    let said = run(&mut asked)?.stdout;
    let words: Vec<&[u8]> = said.split(|b| *b == 0).collect();
    let mut names: Vec<&[u8]> = Vec::new();
    for pair in words.chunks_exact(2).filter(|pair| [&b"local"[..], b"worktree"].contains(&pair[0])) {
        let end = pair[1].iter().rposition(|b| *b == b'.').unwrap_or(pair[1].len());
        if !names.contains(&&pair[1][..end]) {
            names.push(&pair[1][..end]);
        }
    }
    let mut command = at(folder);
    let settings =
        names.iter().flat_map(|name| [(name, "clean", ""), (name, "process", ""), (name, "required", "false")]);
    let mut count = 0;
    for (name, what, value) in settings {
        let key = [name, &b"."[..], what.as_bytes()].concat();
        command.env(format!("GIT_CONFIG_KEY_{count}"), OsStr::from_bytes(&key));
        command.env(format!("GIT_CONFIG_VALUE_{count}"), value);
        count += 1;
    }
    // Not by -c, which ends a name at its first `=`.
    command.env("GIT_CONFIG_COUNT", count.to_string());
    Ok(command)
}

/// git for exactly this repository.
pub(in crate::source) fn within(repository: &Path) -> Command {
    let mut command = plain();
    command.env("GIT_DIR", repository);
    command
}

/// Nobody's config counts but the repository's.
pub(in crate::source) fn without_config(command: &mut Command) -> &mut Command {
    command.env("GIT_CONFIG_NOSYSTEM", "1").env("GIT_CONFIG_GLOBAL", "/dev/null").env("GIT_ATTR_NOSYSTEM", "1")
}

fn plain() -> Command {
    let mut command = host::program("git");
    for (name, _) in std::env::vars_os() {
        let name = name.to_string_lossy().into_owned();
        if name.starts_with("GIT_") && !TRANSPORT.iter().any(|start| name.starts_with(start)) {
            command.env_remove(name);
        }
    }
    command.env("GIT_TERMINAL_PROMPT", "0").env("GIT_OPTIONAL_LOCKS", "0").env("GIT_NO_REPLACE_OBJECTS", "1");
    command.env("LC_ALL", "C").stdin(Stdio::null());
    command.args(["-c", "core.hooksPath=/dev/null", "-c", "core.fsmonitor=false", "-c", "core.quotePath=off"]);
    command
}

/// Runs it to its end. Whether a failure is an error, the caller decides.
pub(in crate::source) fn run(command: &mut Command) -> Result<GitOutput> {
    let output = command.output().map_err(not_run)?;
    let stderr = String::from_utf8_lossy(&output.stderr).into_owned();
    Ok(GitOutput { ok: output.status.success(), stdout: output.stdout, stderr })
}

/// The same for a command that prints nothing but how far it is: `tell` gets the bytes that have arrived.
pub(in crate::source) fn run_telling(command: &mut Command, tell: &dyn Fn(u64)) -> Result<GitOutput> {
    let mut child = command.stdout(Stdio::null()).stderr(Stdio::piped()).spawn().map_err(not_run)?;
    let mut stderr = String::new();
    let mut line = Vec::new();
    // git ends a line that it will write again with a carriage return.
    for byte in child.stderr.take().into_iter().flat_map(|pipe| BufReader::new(pipe).bytes()) {
        match byte.map_err(not_run)? {
            byte @ (b'\r' | b'\n') => {
                let text = String::from_utf8_lossy(&line).into_owned();
                line.clear();
                if let Some(bytes) = received(&text) {
                    tell(bytes);
                } else if byte == b'\n' && !text.starts_with("remote: ") {
                    stderr.push_str(&text);
                    stderr.push('\n');
                }
            }
            byte => line.push(byte),
        }
    }
    let status = child.wait().map_err(not_run)?;
    Ok(GitOutput { ok: status.success(), stdout: Vec::new(), stderr })
}

fn not_run(e: io::Error) -> Error {
    match e.kind() {
        io::ErrorKind::NotFound => {
            Error::input("git is not installed").hint(Distribution::here().line(&BTreeSet::from(["git"])))
        }
        _ => Error::build("cannot run git").because(e),
    }
}

/// The bytes of "Receiving objects:  45% (1234/5678), 12.50 MiB | 1.00 MiB/s".
fn received(line: &str) -> Option<u64> {
    let (number, unit) = line.strip_prefix("Receiving objects:")?.split_once("), ")?.1.split_once(' ')?;
    let (whole, part) = number.split_once('.').unwrap_or((number, "0"));
    let part = format!("{part:0<2}").get(..2)?.parse::<u64>().ok()?;
    let hundredths = whole.parse::<u64>().ok()?.checked_mul(100)?.checked_add(part)?;
    let scale = match unit.split([' ', ',']).next()? {
        "KiB" => 1 << 10,
        "MiB" => 1 << 20,
        "GiB" => 1 << 30,
        _ => 1,
    };
    Some(hundredths.checked_mul(scale)? / 100)
}

/// What git says where it cannot write a file, an object or a pack; the system's own words do not always come along.
const FULL: &[&str] = &[
    "No space left on device",
    "Disk quota exceeded",
    "unable to write file",
    "unable to write new index file",
    "unable to write new_index file",
    "unable to write loose object file",
    "loose object file write error",
];

impl GitOutput {
    /// What git printed; if it failed, `error` with git's own words.
    pub(in crate::source) fn or(self, error: impl FnOnce() -> Error) -> Result<Vec<u8>> {
        if self.ok {
            return Ok(self.stdout);
        }
        // Whatever it was asked for, it is not that which is wrong.
        // Not what a server says of its own.
        let own = self.stderr.lines().filter(|line| !line.starts_with("remote:"));
        let is_full = own.flat_map(|line| FULL.iter().map(move |words| line.contains(words))).any(|found| found);
        let full = || {
            Error::build("git could not write what it was asked for")
                .hint("if the disk is full: quiz cache shows what takes room, and quiz gc removes what is not used")
        };
        Err(self.explain(if is_full { full() } else { error() }))
    }

    /// The error with git's words, and with the way out where git's own is lost.
    pub(in crate::source) fn explain(&self, error: Error) -> Error {
        let words = self.stderr.lines().map(str::trim_end).filter(|line| !line.is_empty());
        // git's advice is for its own users, but for the one line that is to be typed.
        let safe = words.clone().find(|line| line.trim_start().starts_with("git config --global --add safe.directory"));
        let said =
            words.take_while(|line| !line.starts_with("To add an exception")).filter(|l| !l.starts_with("hint:"));
        let error = said.fold(error, Error::detail);
        safe.into_iter().fold(error, |error, line| error.hint(line.trim_start()))
    }

    /// The first line of what it printed.
    pub(in crate::source) fn line(&self) -> String {
        String::from_utf8_lossy(&self.stdout).lines().next().unwrap_or_default().to_owned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn how_far_a_fetch_is() {
        assert_eq!(
            received("Receiving objects:  45% (1234/5678), 12.50 MiB | 1.00 MiB/s"),
            Some(12 * (1 << 20) + (1 << 19))
        );
        assert_eq!(received("Receiving objects: 100% (3/3), 240 bytes | 240.00 KiB/s, done."), Some(240));
        assert_eq!(received("Receiving objects:  45% (1234/5678)"), None);
        assert_eq!(received("Receiving objects:  45% (1/5), 99999999999999999 GiB | x"), None);
        assert_eq!(received("fatal: the remote end hung up unexpectedly"), None);
    }

    #[test]
    fn a_folder_of_another_user_gets_the_line_to_type() {
        // As git 2.47 says it.
        let stderr = "fatal: detected dubious ownership in repository at '/x/a b'\n\
                      To add an exception for this directory, call:\n\n\
                      \tgit config --global --add safe.directory '/x/a b'\n";
        let ran = GitOutput { ok: false, stdout: Vec::new(), stderr: stderr.to_owned() };
        let error = ran.or(|| Error::build("it failed")).unwrap_err();
        assert_eq!(error.details(), ["fatal: detected dubious ownership in repository at '/x/a b'"]);
        assert_eq!(error.hints(), ["git config --global --add safe.directory '/x/a b'"]);
    }
}
