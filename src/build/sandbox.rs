//! The bubblewrap command in which a script runs: a pure function of what it may see.
//!
//! The paths inside never change, whatever worktree, cache or user: objects built at another absolute path would all be
//! built again, and debug info and objtool carry paths into outputs.
//!
//! A recipe with `chroot` holds all capabilities, over a user namespace of its own that has one id, 0: the user outside. For an ordinary user
//! bubblewrap makes it. Root in it is the machine's root, with no capability outside: what he owns he could write. So the mounts are made
//! before, outside, where he cannot undo them: for a mount namespace that is copied into another user namespace the kernel keeps what is
//! read-only as it is (mount_namespaces(7), "Restrictions on mount namespaces").

use super::lacks::{Lack, Lacks};
use super::userns;
use crate::host;
use rustix::io::{FdFlags, fcntl_setfd};
use rustix::thread::{CapabilitySet, capabilities};
use std::ffi::{OsStr, OsString};
use std::os::fd::{AsRawFd, RawFd};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
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
    "ssl/certs",
    "ssl/openssl.cnf",
];

/// What in /proc the machine's root may write even without capabilities: among it /proc/sys/kernel/core_pattern, which names a program
/// for the kernel to run. bubblewrap 0.8 covers a folder only if access(2) says that it can be written, which it never says of /proc/sys.
const PROC: &[&str] = &["acpi", "bus", "dynamic_debug", "fs", "irq", "mtrr", "scsi", "sys", "sysrq-trigger"];

/// What root's script holds where root has no user namespace: to mount, to change into a root, and to write that root's files whatever their mode.
const CHROOT: &[&str] = &["CAP_SYS_ADMIN", "CAP_SYS_CHROOT", "CAP_DAC_OVERRIDE", "CAP_FOWNER", "CAP_FSETID"];

/// Who runs quiz.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum User {
    /// Not root: bubblewrap makes a user namespace first.
    Ordinary,
    /// Root who may not mount, as in a container: bubblewrap makes a user namespace for him, too.
    Confined,
    /// Root who may mount.
    Root,
}

impl User {
    /// Who runs this process.
    pub(super) fn me() -> Self {
        let may_mount = || capabilities(None).is_ok_and(|sets| sets.effective.contains(CapabilitySet::SYS_ADMIN));
        match rustix::process::geteuid().is_root() {
            false => Self::Ordinary,
            true if may_mount() => Self::Root,
            true => Self::Confined,
        }
    }
}

/// What a script may see and is told.
#[derive(Debug)]
pub(super) struct Sandbox<'a> {
    /// The script's file name in the recipe's folder.
    pub script: &'a str,
    /// The folder that is its root, but for what is named below; without one the host's programs and libraries are there.
    pub toolchain: Option<PathBuf>,
    /// Host path → path inside, read-only.
    pub read: Vec<(PathBuf, String)>,
    /// Host path → path inside, writable.
    pub write: Vec<(PathBuf, String)>,
    /// Files that are hidden from the script, which would see them otherwise.
    pub hidden: Vec<PathBuf>,
    /// Environment beside the fixed one.
    pub env: Vec<(String, OsString)>,
    /// It changes into a root that it makes: give it all capabilities over a user namespace of its own.
    pub chroot: bool,
    /// Who runs quiz.
    pub user: User,
    /// The script, and the recipes of all that it reads, its root among them, are quiz's own, not a project's.
    pub own: bool,
    /// The parts of the sandbox that cannot be had here.
    pub lacks: Lacks,
}

impl Sandbox<'_> {
    /// Whether it is made by root without a user namespace. Not where all scripts see the machine's own /proc: as root of the machine's own
    /// user namespace one could look into the others through it.
    fn is_roots(&self) -> bool {
        self.user == User::Root && !self.lacks.has(Lack::Proc)
    }

    /// Whether root's own capabilities stand in for those over a user namespace.
    pub(super) fn has_roots_own(&self) -> bool {
        self.chroot && self.is_roots() && self.lacks.has(Lack::Users)
    }

    /// Whether a user namespace is made for it here, and not by bubblewrap.
    fn wants_users(&self) -> bool {
        self.chroot && self.is_roots() && !self.has_roots_own()
    }

    /// Whether the script may run without this part. With root's own capabilities a script could undo the sandbox, so none of a project
    /// gets them.
    pub(super) fn bears(&self, lack: Lack) -> bool {
        match lack {
            Lack::Hostname | Lack::Proc => true,
            Lack::Users => self.chroot && self.is_roots() && self.own,
        }
    }
}

/// The process to start: the script in its sandbox.
///
/// # Errors
/// There is no user namespace for root: the words for `refusal`.
pub(super) fn process(sandbox: &Sandbox<'_>) -> Result<Command, String> {
    let userns = sandbox.wants_users().then(userns::of_root).transpose()?;
    let args = command(sandbox, userns.as_ref().map(AsRawFd::as_raw_fd));
    let mut process = Command::new(&args[0]);
    process.env("PATH", host::path());
    // The script's own language is set inside; of what keeps it from starting, `refusal` knows the English words.
    process.args(&args[1..]).env("LC_ALL", "C").stdin(Stdio::null());
    if let Some(userns) = userns {
        // The closure owns the descriptor, which so stays open as long as the process may be started.
        let keep = move || Ok(fcntl_setfd(&userns, FdFlags::empty())?);
        // SAFETY: between fork and exec it only makes a system call: no allocation, no lock.
        unsafe { process.pre_exec(keep) };
    }
    Ok(process)
}

/// The whole command, program first. `userns` is the descriptor of a user namespace for a script of root's.
fn command(sandbox: &Sandbox<'_>, userns: Option<RawFd>) -> Vec<OsString> {
    let mut args: Vec<OsString> = Vec::new();
    let mut add = |words: &[&OsStr]| args.extend(words.iter().map(|&w| w.to_owned()));
    let o = OsStr::new;
    if sandbox.is_roots() {
        // Else what is mounted on the machine meanwhile would appear in the sandbox, and writable: /proc/sys/fs/binfmt_misc, which obeys root.
        add(&[o("unshare"), o("--mount"), o("--propagation"), o("private"), o("--")]);
    }
    add(&[o("bwrap"), o("--die-with-parent"), o("--new-session")]);
    add(&[o("--unshare-pid"), o("--unshare-ipc"), o("--unshare-uts"), o("--unshare-net"), o("--unshare-cgroup-try")]);
    if !sandbox.lacks.has(Lack::Hostname) {
        add(&[o("--hostname"), o("quiz")]);
    }
    // Without capabilities a script that runs as the real root cannot mount its inputs writable.
    let has_all = sandbox.chroot && !sandbox.has_roots_own();
    add(&[o(if has_all { "--cap-add" } else { "--cap-drop" }), o("ALL")]);
    for name in CHROOT.iter().filter(|_| sandbox.has_roots_own()) {
        add(&[o("--cap-add"), o(name)]);
    }
    if !sandbox.is_roots() {
        add(&[o("--unshare-user"), o("--uid"), o("0"), o("--gid"), o("0")]);
    }
    if let Some(userns) = userns {
        // Entered last, when all is mounted.
        add(&[o("--userns2"), o(&userns.to_string())]);
    }
    args.extend(machine(sandbox));
    let mut add = |words: &[&OsStr]| args.extend(words.iter().map(|&w| w.to_owned()));
    add(&[o("--dev"), o("/dev"), o("--tmpfs"), o("/tmp"), o("--dir"), o("/quiz/in")]);
    for (host, inside) in &sandbox.read {
        add(&[o("--ro-bind"), host.as_os_str(), o(inside)]);
    }
    for (host, inside) in &sandbox.write {
        add(&[o("--bind"), host.as_os_str(), o(inside)]);
    }
    for path in sandbox.hidden.iter().filter(|path| path.starts_with("/usr")) {
        // A file cannot be hidden from a folder that is bound as a whole; /dev/null over it can neither be run nor read.
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
    if !sandbox.chroot {
        // Without capabilities tar can set no owners, and the users of a group that shares the cache do not exist in there.
        add(&[o("--setenv"), o("TAR_OPTIONS"), o("--no-same-owner")]);
    }
    for (name, value) in &sandbox.env {
        add(&[o("--setenv"), o(name), value]);
    }
    let script = format!("/quiz/recipe/{}", sandbox.script);
    add(&[o("--")]);
    match (sandbox.chroot, sandbox.is_roots()) {
        (false, _) => {}
        // The script may mount in a namespace of its own: that of bubblewrap stays root's, and what is mounted there cannot be undone.
        (true, true) => add(&[o("unshare"), o("--mount"), o("--")]),
        // Whoever has capabilities over the user namespace that bubblewrap made could undo its mounts. The script gets a user namespace below it.
        (true, false) => add(&[o("unshare"), o("--user"), o("--map-root-user"), o("--mount"), o("--")]),
    }
    add(&[o("sh"), o("-eu"), o(&script)]);
    args
}

/// What the script sees of the machine, read-only, and its /proc.
fn machine(sandbox: &Sandbox<'_>) -> Vec<OsString> {
    let mut args: Vec<OsString> = Vec::new();
    let mut add = |words: &[&OsStr]| args.extend(words.iter().map(|&w| w.to_owned()));
    let o = OsStr::new;
    let base = sandbox.toolchain.as_deref().unwrap_or(Path::new("/"));
    add(&[o("--ro-bind"), base.join("usr").as_os_str(), o("/usr")]);
    for &dir in &SYSTEM[1..] {
        let place = base.join(&dir[1..]);
        match std::fs::read_link(&place) {
            Ok(target) => add(&[o("--symlink"), target.as_os_str(), o(dir)]),
            Err(_) => add(&[o("--ro-bind-try"), place.as_os_str(), o(dir)]),
        }
    }
    if let Some(toolchain) = &sandbox.toolchain {
        add(&[o("--ro-bind-try"), toolchain.join("etc").as_os_str(), o("/etc")]);
    } else {
        for path in ETC.iter().map(|name| format!("/etc/{name}")) {
            add(&[o("--ro-bind-try"), o(&path), o(&path)]);
        }
        // apt and dpkg want their folders of settings, empty ones, not the host's.
        for dir in
            ["/etc/apt/apt.conf.d", "/etc/apt/preferences.d", "/etc/dpkg/dpkg.cfg.d"].iter().filter(|_| sandbox.chroot)
        {
            add(&[o("--dir"), o(dir)]);
        }
    }
    match sandbox.lacks.has(Lack::Proc) {
        false => add(&[o("--proc"), o("/proc")]),
        // The existing one, with its hidden parts. Processes outside can be seen in it, but not be looked into.
        true => add(&[o("--bind"), o("/proc"), o("/proc")]),
    }
    for name in PROC.iter().filter(|_| sandbox.user != User::Ordinary || sandbox.lacks.has(Lack::Proc)) {
        let path = format!("/proc/{name}");
        add(&[o("--ro-bind-try"), o(&path), o(&path)]);
    }
    args
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(chroot: bool, user: User) -> String {
        line_of(&sandbox(None, chroot, user))
    }

    fn sandbox(toolchain: Option<PathBuf>, chroot: bool, user: User) -> Sandbox<'static> {
        Sandbox {
            script: "build.sh",
            read: vec![("/cache/trees/x".into(), "/quiz/src".into())],
            write: vec![("/cache/tmp/1/out".into(), "/quiz/out".into())],
            hidden: vec!["/usr/bin/pahole".into(), "/bin/pahole".into()],
            env: vec![("QUIZ_ARCH".into(), "x86_64".into())],
            chroot,
            user,
            own: true,
            lacks: Lacks::default(),
            toolchain,
        }
    }

    fn line_of(sandbox: &Sandbox<'_>) -> String {
        let words = command(sandbox, sandbox.wants_users().then_some(7));
        words.iter().map(|a| a.to_str().unwrap()).collect::<Vec<_>>().join(" ")
    }

    #[test]
    fn inputs_are_read_only_the_network_is_away_and_the_environment_is_clean() {
        for user in [User::Root, User::Confined, User::Ordinary] {
            let line = line(false, user);
            assert!(line.contains("--ro-bind /cache/trees/x /quiz/src "), "{line}");
            assert!(line.contains("--bind /cache/tmp/1/out /quiz/out "), "{line}");
            assert!(line.contains("--ro-bind /dev/null /usr/bin/pahole --remount-ro / "), "{line}");
            assert!(line.contains("--unshare-net") && line.contains("--clearenv"), "{line}");
            assert!(line.contains("--die-with-parent") && line.contains("--cap-drop ALL"), "{line}");
            assert!(line.ends_with("--setenv QUIZ_ARCH x86_64 -- sh -eu /quiz/recipe/build.sh"), "{line}");
            assert_eq!(line.contains("--unshare-user"), user != User::Root);
            assert_eq!(line.starts_with("unshare --mount --propagation private -- bwrap "), user == User::Root);
            // What obeys the machine's root is read-only for him; nobody else can write it.
            assert_eq!(line.contains("--proc /proc --ro-bind-try /proc/acpi "), user != User::Ordinary);
            assert_eq!(line.contains("--ro-bind-try /proc/sys /proc/sys "), user != User::Ordinary);
        }
    }

    #[test]
    fn with_a_root_of_its_own_nothing_of_the_hosts_is_there() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::create_dir_all(dir.path().join("usr/bin")).unwrap();
        std::os::unix::fs::symlink("usr/bin", dir.path().join("bin")).unwrap();
        for chroot in [false, true] {
            let line = line_of(&sandbox(Some(dir.path().to_owned()), chroot, User::Root));
            let root = dir.path().display();
            assert!(line.contains(&format!("--ro-bind {root}/usr /usr --symlink usr/bin /bin ")), "{line}");
            assert!(line.contains(&format!("--ro-bind-try {root}/etc /etc ")), "{line}");
            let words: Vec<&str> = line.split(' ').collect();
            let bound = words.windows(2).filter(|pair| pair[0].contains("bind")).map(|pair| pair[1]);
            let own =
                |path: &str| [&root.to_string(), "/cache/", "/proc/"].iter().any(|start| path.starts_with(*start));
            let stray: Vec<&str> = bound.filter(|path| !own(path)).collect();
            assert_eq!(stray, ["/dev/null"], "{line}");
        }
    }

    #[test]
    fn tar_gives_files_to_others_only_where_there_are_others() {
        for user in [User::Root, User::Confined, User::Ordinary] {
            assert!(line(false, user).contains("--setenv TAR_OPTIONS --no-same-owner "));
            assert!(!line(true, user).contains("TAR_OPTIONS"));
        }
    }

    #[test]
    fn capabilities_are_held_over_a_namespace_of_its_own_alone() {
        let user = line(true, User::Ordinary);
        assert!(
            user.contains("--cap-add ALL --unshare-user --uid 0 --gid 0 ") && !user.contains("--userns2"),
            "{user}"
        );
        assert!(user.ends_with(" -- unshare --user --map-root-user --mount -- sh -eu /quiz/recipe/build.sh"), "{user}");
        let root = line(true, User::Root);
        assert!(root.contains("--cap-add ALL --userns2 7 ") && !root.contains("--unshare-user"), "{root}");
        assert!(root.ends_with(" -- unshare --mount -- sh -eu /quiz/recipe/build.sh"), "{root}");
    }

    /// Root gets a user namespace of each script's own then.
    #[test]
    fn without_a_proc_of_its_own_it_sees_that_which_is_there_and_all_else_is_as_for_who_may_not_mount() {
        for chroot in [true, false] {
            let full = line(chroot, User::Confined);
            for user in [User::Root, User::Confined, User::Ordinary] {
                let mut weaker = sandbox(None, chroot, user);
                assert!(weaker.bears(Lack::Proc));
                weaker.lacks.add(Lack::Proc);
                assert_eq!(line_of(&weaker), full.replace("--proc /proc ", "--bind /proc /proc "), "{user:?}");
            }
        }
    }

    #[test]
    fn without_a_host_name_of_its_own_all_else_stays() {
        for (chroot, user) in [(true, User::Root), (false, User::Confined), (true, User::Ordinary)] {
            let mut weaker = sandbox(None, chroot, user);
            assert!(weaker.bears(Lack::Hostname));
            weaker.lacks.add(Lack::Hostname);
            assert_eq!(line_of(&weaker), line(chroot, user).replace("--hostname quiz ", ""), "{user:?}");
        }
    }

    #[test]
    fn root_without_user_namespaces_keeps_what_a_root_of_its_own_takes_for_a_script_of_quizs_own_alone() {
        let mut weaker = sandbox(None, true, User::Root);
        assert!(weaker.bears(Lack::Users));
        weaker.lacks.add(Lack::Users);
        let line = line_of(&weaker);
        assert!(line.contains(" --cap-drop ALL --cap-add CAP_SYS_ADMIN --cap-add CAP_SYS_CHROOT "), "{line}");
        assert!(!line.contains("--userns2") && !line.contains("--cap-add ALL"), "{line}");
        assert!(line.ends_with(" -- unshare --mount -- sh -eu /quiz/recipe/build.sh"), "{line}");
        weaker.own = false;
        assert!(!weaker.bears(Lack::Users));
        for (chroot, user) in [(false, User::Root), (true, User::Confined), (true, User::Ordinary)] {
            assert!(!sandbox(None, chroot, user).bears(Lack::Users), "{user:?}");
        }
    }
}
