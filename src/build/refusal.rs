//! What bubblewrap, unshare(1) and `userns` say when there is no sandbox, turned into one line and what to do about it.
//!
//! A pure function of their words. Does not know who wanted the sandbox.

use super::lacks::Lack;
use crate::error::Error;

/// How the lines begin that bubblewrap and unshare(1) print when they make the sandbox. A script prints others.
const SPEAKERS: &[&str] = &["bwrap: ", "unshare: "];

/// What a container has to allow: the filter of Docker's default forbids namespaces, its AppArmor profile mounts, SELinux' container label as
/// well; Podman's default allows namespaces.
const CONTAINER: &str = "start the container with --security-opt seccomp=unconfined --security-opt apparmor=unconfined --security-opt \
                         label=disable, or with --privileged    (in Kubernetes: securityContext.privileged, or both profiles Unconfined)";

/// Lets bubblewrap make user namespaces, which Ubuntu's kernel from 23.10 on allows only to programs that have a profile. In one line, as it is to be
/// typed. `abi` is needed, since before 4.0 there was no such rule: <https://gitlab.com/apparmor/apparmor/-/wikis/unprivileged_userns_restriction>
const APPARMOR: &str = "echo 'abi <abi/4.0>, profile bwrap /usr/bin/bwrap flags=(unconfined) { userns, }' | sudo tee /etc/apparmor.d/bwrap && \
                        sudo apparmor_parser -r /etc/apparmor.d/bwrap    (or for every program, until the next boot: sudo sysctl -w \
                        kernel.apparmor_restrict_unprivileged_userns=0; in a container: on its host)";

/// In the error of `userns` where root gets no user namespace.
const NO_USERS: &str = "for root: ";
/// In bubblewrap's error where a host name may not be set, not even in a namespace of one's own.
const NO_HOSTNAME: &str = "Can't set hostname to ";
/// In bubblewrap's error where a new /proc would show what is hidden in the existing one.
const NO_PROC: &str = "Can't mount proc on /newroot/proc: ";

/// In bubblewrap's error where the shell of a root in the cache may not be started.
const NO_EXEC: &str = "execvp sh: Permission denied";

/// Words in an error, what they mean, and what to do about it.
const KNOWN: &[(&[&str], &str, &str)] = &[
    (
        &["setting up uid map: Permission denied", "loopback: Failed RTM_NEWADDR: Operation not permitted"],
        "AppArmor keeps bubblewrap of an ordinary user from making a user namespace",
        APPARMOR,
    ),
    (
        &["No permissions to creat"],
        "namespaces may not be made here: ordinary users are not allowed to, or this is in a container",
        "sudo sysctl -w kernel.unprivileged_userns_clone=1; a container is started with --security-opt seccomp=unconfined \
         --security-opt apparmor=unconfined, or with --privileged",
    ),
    (
        &[
            "Creating new namespace failed: Operation not permitted",
            "unshare failed: Operation not permitted",
            // Some seccomp filters answer so to every system call that they do not know.
            "Creating new namespace failed: Function not implemented",
            "unshare failed: Function not implemented",
        ],
        "namespaces may not be made here, as is usual in a container",
        CONTAINER,
    ),
    (
        &["Failed to make / slave: Permission denied", "Failed to mount tmpfs: Permission denied"],
        "the container's AppArmor or SELinux profile forbids mounts",
        CONTAINER,
    ),
    (
        &["for root: Operation not permitted"],
        "root may not make a user namespace here, as is usual in a container or a chroot",
        CONTAINER,
    ),
    (
        &["for root: Invalid argument", "for root: Function not implemented"],
        "this kernel has no user namespaces",
        "a kernel with CONFIG_USER_NS=y is needed",
    ),
    (
        // bubblewrap's words for EINVAL.
        &["Creating new namespace failed, likely because the kernel does not support user namespaces"],
        "this kernel has no user namespaces, or none for ordinary users",
        "a kernel with CONFIG_USER_NS=y is needed; where /proc/sys/kernel/unprivileged_userns_clone is there: sudo sysctl -w kernel.unprivileged_userns_clone=1",
    ),
    (
        &[NO_EXEC],
        "the cache lies on a file system that is mounted noexec, and what runs in a sandbox lies in the cache",
        "set QUIZ_CACHE_DIR to a folder on another one, or mount it with exec: sudo mount -o remount,exec MOUNTPOINT",
    ),
    (
        &["failed: No space left on device", "for root: No space left on device", "exceeded (ENOSPC)"],
        "the limit for user namespaces is reached",
        "sudo sysctl -w user.max_user_namespaces=15000",
    ),
    (
        &["Failed to make / slave: Invalid argument"],
        "/ is not a mount point, as in a plain chroot",
        "enter the chroot as a container instead, for example by systemd-nspawn -D DIR",
    ),
    (
        &["Can't read /proc/sys/kernel/overflowuid: No such file or directory"],
        "/proc is not mounted",
        "mount -t proc proc /proc",
    ),
    (
        &["Can't set hostname to quiz: Operation not permitted"],
        "no host name may be set here, as is usual in a container",
        CONTAINER,
    ),
    (
        &["Can't mount proc on /newroot/proc: Operation not permitted"],
        "parts of /proc are hidden, as is usual in a container",
        "start the container with --security-opt systempaths=unconfined, or with --privileged",
    ),
];

/// Why a script never ran.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Refusal {
    /// One line: what the words mean, or if they are not known the words themselves.
    meaning: String,
    /// What to do, and the words, if they are known.
    known: Option<(String, String)>,
    /// The refused part of the sandbox, if a sandbox can be made without it.
    lack: Option<Lack>,
}

/// Why the sandbox could not be made, if the log has nothing but lines about that: then the script never ran.
pub(super) fn of(log: &str) -> Option<Refusal> {
    let is_alone = log.lines().all(|line| SPEAKERS.iter().any(|speaker| line.starts_with(speaker)));
    if log.is_empty() || !is_alone {
        return None;
    }
    Some(told(log))
}

/// The same where nobody has tried it.
pub(super) fn noexec() -> Refusal {
    told(NO_EXEC)
}

/// What these words mean, all of which are about the sandbox.
pub(super) fn told(log: &str) -> Refusal {
    let lack = [(NO_HOSTNAME, Lack::Hostname), (NO_PROC, Lack::Proc), (NO_USERS, Lack::Users)];
    let lack = lack.into_iter().find(|(words, _)| log.contains(words)).map(|(_, lack)| lack);
    let explained = log.lines().find_map(|line| {
        let is_it = |(words, ..): &&(&[&str], _, _)| words.iter().any(|words| line.contains(words));
        KNOWN.iter().find(is_it).map(|(_, meaning, remedy)| Refusal {
            meaning: (*meaning).to_owned(),
            known: Some(((*remedy).to_owned(), line.to_owned())),
            lack,
        })
    });
    let unknown = || Refusal { meaning: log.lines().collect::<Vec<_>>().join("; "), known: None, lack };
    explained.unwrap_or_else(unknown)
}

impl Refusal {
    /// The part of the sandbox that was refused, if it can be made without.
    pub(super) fn lack(&self) -> Option<Lack> {
        self.lack
    }

    /// The error of whoever wanted the sandbox.
    pub(super) fn error(&self, whose: &str) -> Error {
        let error = Error::build(format!("{whose}the sandbox could not be made: {}", self.meaning));
        match &self.known {
            Some((remedy, words)) => error.detail(words).hint(remedy),
            None => error.hint("quiz doctor"),
        }
    }

    /// All of it in one line.
    pub(super) fn line(&self) -> String {
        match &self.known {
            Some((remedy, words)) => format!("{} ({words}): {remedy}", self.meaning),
            None => self.meaning.clone(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Words, and what of the meaning and the remedy must be there.
    const TABLE: &[(&str, &str, &str)] = &[
        ("bwrap: Creating new namespace failed: Operation not permitted", "usual in a container", "--privileged"),
        ("unshare: unshare failed: Operation not permitted", "usual in a container", "seccomp=unconfined"),
        (
            "bwrap: Creating new namespace failed: Function not implemented",
            "usual in a container",
            "seccomp=unconfined",
        ),
        ("unshare: unshare failed: Function not implemented", "usual in a container", "seccomp=unconfined"),
        ("bwrap: Failed to make / slave: Permission denied", "AppArmor or SELinux", "apparmor=unconfined"),
        ("bwrap: Failed to mount tmpfs: Permission denied", "AppArmor or SELinux", "label=disable"),
        ("unshare: unshare failed: No space left on device", "limit for user namespaces", "user.max_user_namespaces="),
        (
            "bwrap: Creating new namespace failed: No space left on device",
            "limit for user namespaces",
            "user.max_user_namespaces=",
        ),
        (
            "bwrap: Creating new namespace failed: nesting depth or /proc/sys/user/max_*_namespaces exceeded (ENOSPC)",
            "limit for user namespaces",
            "user.max_user_namespaces=",
        ),
        (
            "quiz: a user namespace for root: No space left on device (os error 28)",
            "limit for user namespaces",
            "user.max_user_namespaces=",
        ),
        (
            "quiz: a user namespace for root: Operation not permitted (os error 1)",
            "root may not make a user namespace",
            "seccomp=unconfined",
        ),
        ("quiz: a user namespace for root: Invalid argument (os error 22)", "no user namespaces", "CONFIG_USER_NS=y"),
        (
            "bwrap: No permissions to create new namespace, likely because the kernel does not allow non-privileged user \
             namespaces. See <https://deb.li/bubblewrap> or <file:///usr/share/doc/bubblewrap/README.Debian.gz>.",
            "in a container",
            "kernel.unprivileged_userns_clone=1; a container is started with --security-opt seccomp=unconfined",
        ),
        (
            "bwrap: No permissions to creating new namespace, likely because the kernel does not allow non-privileged user \
             namespaces. On e.g. debian this can be enabled with 'sysctl kernel.unprivileged_userns_clone=1'.",
            "in a container",
            "kernel.unprivileged_userns_clone=1; a container is started with --security-opt seccomp=unconfined",
        ),
        (
            "bwrap: Creating new namespace failed, likely because the kernel does not support user namespaces.  bwrap must be installed setuid on such systems.",
            "no user namespaces",
            "CONFIG_USER_NS=y",
        ),
        ("bwrap: execvp sh: Permission denied", "noexec", "QUIZ_CACHE_DIR"),
        ("bwrap: Failed to make / slave: Invalid argument", "plain chroot", "systemd-nspawn -D DIR"),
        (
            "bwrap: Can't read /proc/sys/kernel/overflowuid: No such file or directory",
            "/proc is not mounted",
            "mount -t proc proc /proc",
        ),
        ("bwrap: Can't set hostname to quiz: Operation not permitted", "no host name", "seccomp=unconfined"),
        (
            "bwrap: Can't mount proc on /newroot/proc: Operation not permitted",
            "parts of /proc are hidden",
            "--security-opt systempaths=unconfined",
        ),
        (
            "bwrap: setting up uid map: Permission denied",
            "AppArmor",
            "profile bwrap /usr/bin/bwrap flags=(unconfined) { userns, }' | sudo tee /etc/apparmor.d/bwrap",
        ),
        (
            "bwrap: loopback: Failed RTM_NEWADDR: Operation not permitted",
            "AppArmor",
            "sudo sysctl -w kernel.apparmor_restrict_unprivileged_userns=0",
        ),
    ];

    #[test]
    fn each_known_text_is_told_in_one_line_with_what_to_do() {
        for (words, meaning, remedy) in TABLE {
            let refusal = told(words);
            let spoken = of(&format!("{words}\n"));
            assert!(words.starts_with("quiz: ") || spoken.as_ref() == Some(&refusal), "{words}: {spoken:?}");
            let error = refusal.error("the stage x: ");
            let message = error.to_string();
            assert!(message.starts_with("the stage x: the sandbox could not be made: "), "{message}");
            assert!(message.contains(meaning) && !message.contains('\n'), "{words}: {message}");
            assert!(error.hints().len() == 1 && error.hints()[0].contains(remedy), "{words}: {error:?}");
            let line = refusal.line();
            assert!(line.contains(meaning) && line.contains(remedy) && !line.contains('\n'), "{line}");
        }
    }

    #[test]
    fn words_that_nobody_foresaw_are_told_as_they_are() {
        let error = of("bwrap: execvp sh: No such file or directory\n").unwrap().error("");
        assert_eq!(error.to_string(), "the sandbox could not be made: bwrap: execvp sh: No such file or directory");
        assert_eq!((error.hints(), error.details().len()), (&["quiz doctor".to_owned()][..], 0));
        assert_eq!(of("bwrap: one\nbwrap: two").unwrap().line(), "bwrap: one; bwrap: two");
    }

    #[test]
    fn a_script_that_spoke_has_run() {
        let words = "bwrap: setting up uid map: Permission denied";
        for log in ["", "\n", "error: x\n", &format!("x\n{words}\n"), &format!("{words}\n\n"), &format!(" {words}")] {
            assert_eq!(of(log), None, "{log:?}");
        }
    }

    #[test]
    fn what_a_sandbox_can_do_without_is_known_by_its_words() {
        for (words, lack) in [
            ("bwrap: Can't set hostname to quiz: Operation not permitted", Some(Lack::Hostname)),
            ("bwrap: Can't mount proc on /newroot/proc: Operation not permitted", Some(Lack::Proc)),
            ("bwrap: Can't mount proc on /newroot/proc: Permission denied", Some(Lack::Proc)),
            ("quiz: a user namespace for root: No space left on device (os error 28)", Some(Lack::Users)),
            ("bwrap: Creating new namespace failed: Operation not permitted", None),
        ] {
            assert_eq!(told(words).lack(), lack, "{words}");
        }
    }
}
