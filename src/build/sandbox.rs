//! The bubblewrap command in which a script runs: a pure function of what it may see.
//!
//! The paths inside never change, whatever worktree, cache or user: objects built at another absolute path would all be
//! built again, and debug info and objtool carry paths into outputs.

use crate::host;
use std::ffi::{OsStr, OsString};
use std::path::PathBuf;
use std::process::{Command, Stdio};

/// Where programs are looked for, inside and when tools are identified.
pub(super) const PATH: &str = host::SYSTEM;

/// Seconds since 1970 that stand in for "now" wherever an output would carry a time.
const SOURCE_DATE_EPOCH: &str = "1000000000";

/// The folders of programs and libraries, which are there as the host has them.
pub(super) const SYSTEM: &[&str] = &["/usr", "/bin", "/sbin", "/lib", "/lib32", "/lib64", "/libx32"];

/// What of /etc a compiler or a package tool reads; nothing else of it is visible.
pub(super) const ETC: &[&str] = &[
    "alternatives",
    "ca-certificates",
    "ca-certificates.conf",
    "group",
    "ld.so.cache",
    "ld.so.conf",
    "ld.so.conf.d",
    "nsswitch.conf",
    "passwd",
    "ssl",
];

/// What a script may see and is told.
#[derive(Debug)]
pub(super) struct Sandbox<'a> {
    /// The script's file name in the recipe's folder.
    pub script: &'a str,
    /// Host path → path inside, read-only.
    pub read: Vec<(PathBuf, String)>,
    /// Host path → path inside, writable.
    pub write: Vec<(PathBuf, String)>,
    /// Files that it would see otherwise.
    pub hidden: Vec<PathBuf>,
    /// Environment beside the fixed one.
    pub env: Vec<(String, OsString)>,
    /// It makes files of other owners: give it all capabilities over its own user namespace (or as root, over its files).
    pub uids: bool,
    /// quiz runs as root.
    pub root: bool,
}

/// The process to start: the script in its sandbox.
pub(super) fn process(sandbox: &Sandbox<'_>) -> Command {
    let args = command(sandbox);
    let mut process = Command::new(&args[0]);
    process.env("PATH", host::path());
    // The script's own language is set inside; of what keeps it from starting, `refusal` knows the English words.
    process.args(&args[1..]).env("LC_ALL", "C").stdin(Stdio::null());
    process
}

/// The whole command, program first.
fn command(sandbox: &Sandbox<'_>) -> Vec<OsString> {
    let mut args: Vec<OsString> = Vec::new();
    let mut add = |words: &[&OsStr]| args.extend(words.iter().map(|&w| w.to_owned()));
    let o = OsStr::new;
    if sandbox.uids && !sandbox.root {
        // Set-user-id programs do not work inside bubblewrap, so the range of ids has to be mapped outside of it.
        add(&[o("unshare"), o("--user"), o("--map-root-user"), o("--map-auto"), o("--")]);
    }
    add(&[o("bwrap"), o("--die-with-parent"), o("--new-session")]);
    add(&[o("--unshare-pid"), o("--unshare-ipc"), o("--unshare-uts"), o("--unshare-net"), o("--unshare-cgroup-try")]);
    add(&[o("--hostname"), o("quiz")]);
    if sandbox.uids {
        add(&[o("--cap-add"), o("ALL")]);
    } else {
        // Without this a script that runs as the real root could mount its inputs writable.
        add(&[o("--cap-drop"), o("ALL")]);
        if !sandbox.root {
            add(&[o("--unshare-user"), o("--uid"), o("0"), o("--gid"), o("0")]);
        }
    }
    add(&[o("--ro-bind"), o("/usr"), o("/usr")]);
    for &dir in &SYSTEM[1..] {
        match std::fs::read_link(dir) {
            Ok(target) => add(&[o("--symlink"), target.as_os_str(), o(dir)]),
            Err(_) => add(&[o("--ro-bind-try"), o(dir), o(dir)]),
        }
    }
    for name in ETC {
        let path = format!("/etc/{name}");
        add(&[o("--ro-bind-try"), o(&path), o(&path)]);
    }
    if sandbox.uids {
        // apt and dpkg want their folders of settings, empty ones, not the host's.
        for dir in ["/etc/apt/apt.conf.d", "/etc/apt/preferences.d", "/etc/dpkg/dpkg.cfg.d"] {
            add(&[o("--dir"), o(dir)]);
        }
    }
    add(&[o("--proc"), o("/proc"), o("--dev"), o("/dev"), o("--tmpfs"), o("/tmp"), o("--dir"), o("/quiz/in")]);
    for (host, inside) in &sandbox.read {
        add(&[o("--ro-bind"), host.as_os_str(), o(inside)]);
    }
    for (host, inside) in &sandbox.write {
        add(&[o("--bind"), host.as_os_str(), o(inside)]);
    }
    for path in sandbox.hidden.iter().filter(|path| path.starts_with("/usr")) {
        // Neither program nor text.
        add(&[o("--ro-bind"), o("/dev/null"), path.as_os_str()]);
    }
    // What is not bound above is a tmpfs of bubblewrap's; read-only, so that a stray write fails instead of being lost.
    add(&[o("--remount-ro"), o("/"), o("--chdir"), o("/quiz/scratch"), o("--clearenv")]);
    let fixed = [
        ("PATH", PATH),
        ("HOME", "/quiz/scratch"),
        ("LC_ALL", "C"),
        ("TZ", "UTC"),
        ("SOURCE_DATE_EPOCH", SOURCE_DATE_EPOCH),
    ];
    for (name, value) in fixed {
        add(&[o("--setenv"), o(name), o(value)]);
    }
    for (name, value) in &sandbox.env {
        add(&[o("--setenv"), o(name), value]);
    }
    let script = format!("/quiz/recipe/{}", sandbox.script);
    add(&[o("--"), o("sh"), o("-eu"), o(&script)]);
    args
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(uids: bool, root: bool) -> String {
        let sandbox = Sandbox {
            script: "build.sh",
            read: vec![("/cache/trees/x".into(), "/quiz/src".into())],
            write: vec![("/cache/tmp/1/out".into(), "/quiz/out".into())],
            hidden: vec!["/usr/bin/pahole".into(), "/bin/pahole".into()],
            env: vec![("QUIZ_ARCH".into(), "x86_64".into())],
            uids,
            root,
        };
        command(&sandbox).iter().map(|a| a.to_str().unwrap()).collect::<Vec<_>>().join(" ")
    }

    #[test]
    fn inputs_are_read_only_the_network_is_away_and_the_environment_is_clean() {
        for root in [true, false] {
            let line = line(false, root);
            assert!(line.contains("--ro-bind /cache/trees/x /quiz/src "), "{line}");
            assert!(line.contains("--bind /cache/tmp/1/out /quiz/out "), "{line}");
            assert!(line.contains("--ro-bind /dev/null /usr/bin/pahole --remount-ro / "), "{line}");
            assert!(line.contains("--unshare-net") && line.contains("--clearenv"), "{line}");
            assert!(line.contains("--die-with-parent") && !line.contains("--cap-add"), "{line}");
            assert!(line.ends_with("--setenv QUIZ_ARCH x86_64 -- sh -eu /quiz/recipe/build.sh"), "{line}");
            assert_eq!(line.contains("--unshare-user"), !root);
        }
    }

    #[test]
    fn a_range_of_ids_is_mapped_outside_of_bubblewrap() {
        assert!(line(true, false).starts_with("unshare --user --map-root-user --map-auto -- bwrap "));
        assert!(line(true, true).starts_with("bwrap "));
    }
}
