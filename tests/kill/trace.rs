//! Runs a command under ptrace(2), counts its system calls that change files, take locks or start processes, and kills it at one of
//! them. The command's own process is followed with all its threads; what it starts runs free.

use nix::libc::{self, c_long};
use nix::sys::ptrace;
use nix::sys::signal::{Signal, kill};
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::Pid;
use std::fs::File;
use std::os::unix::process::CommandExt;
use std::process::Command;
use std::sync::mpsc::{RecvTimeoutError, Sender, channel};
use std::time::Duration;

/// Whatever a run waits for, it does not wait so long, on a machine with more to do, too.
const LONGEST: Duration = Duration::from_secs(300);

/// What is counted; of some only part, see [`counted`].
const CALLS: &[(c_long, &str)] = &[
    (libc::SYS_clone, "clone"),
    (libc::SYS_clone3, "clone3"),
    (libc::SYS_copy_file_range, "copy_file_range"),
    (libc::SYS_fchmod, "fchmod"),
    (libc::SYS_fchmodat, "fchmodat"),
    (libc::SYS_fchownat, "fchownat"),
    (libc::SYS_fcntl, "fcntl"),
    (libc::SYS_fdatasync, "fdatasync"),
    (libc::SYS_flock, "flock"),
    (libc::SYS_fsync, "fsync"),
    (libc::SYS_ftruncate, "ftruncate"),
    (libc::SYS_linkat, "linkat"),
    (libc::SYS_mkdirat, "mkdirat"),
    (libc::SYS_openat, "openat"),
    (libc::SYS_pwrite64, "pwrite64"),
    (libc::SYS_renameat, "renameat"),
    (libc::SYS_renameat2, "renameat2"),
    (libc::SYS_sendfile, "sendfile"),
    (libc::SYS_symlinkat, "symlinkat"),
    (libc::SYS_syncfs, "syncfs"),
    (libc::SYS_unlinkat, "unlinkat"),
    (libc::SYS_utimensat, "utimensat"),
    (libc::SYS_write, "write"),
    (libc::SYS_writev, "writev"),
    // Calls that newer architectures do not have.
    #[cfg(target_arch = "x86_64")]
    (libc::SYS_chmod, "chmod"),
    #[cfg(target_arch = "x86_64")]
    (libc::SYS_link, "link"),
    #[cfg(target_arch = "x86_64")]
    (libc::SYS_mkdir, "mkdir"),
    #[cfg(target_arch = "x86_64")]
    (libc::SYS_rename, "rename"),
    #[cfg(target_arch = "x86_64")]
    (libc::SYS_rmdir, "rmdir"),
    #[cfg(target_arch = "x86_64")]
    (libc::SYS_symlink, "symlink"),
    #[cfg(target_arch = "x86_64")]
    (libc::SYS_unlink, "unlink"),
    #[cfg(target_arch = "x86_64")]
    (libc::SYS_vfork, "vfork"),
];

/// How a traced run ended.
#[derive(Debug)]
pub struct Traced {
    /// The calls up to its end.
    pub calls: usize,
    /// The call at which it was killed.
    pub killed: Option<&'static str>,
    /// Its exit status, if it came to one.
    pub status: Option<i32>,
    /// What it said.
    pub err: String,
}

/// Where to kill.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum At {
    /// Nowhere: only count.
    Never,
    /// At the call of this number, from 1 on.
    Call(usize),
    /// At the first start of a process after so many.
    Birth(usize),
}

/// Kills a process that runs too long: a test shall fail then, and not hang.
pub struct Watch {
    _end: Sender<()>,
}

impl Watch {
    pub fn new(pid: u32) -> Self {
        let (end, ended) = channel();
        std::thread::spawn(move || {
            if ended.recv_timeout(LONGEST) == Err(RecvTimeoutError::Timeout) {
                let _ = kill(Pid::from_raw(pid.cast_signed()), Signal::SIGKILL);
            }
        });
        Self { _end: end }
    }
}

/// Runs the command. Killed before a call begins; at the start of a process, right after it: what was started is on its own then.
#[allow(clippy::zombie_processes, reason = "waitpid waits for it")]
pub fn run(mut command: Command, at: At) -> Traced {
    let said = tempfile::NamedTempFile::new().unwrap();
    command.stdout(File::create("/dev/null").unwrap()).stderr(said.reopen().unwrap());
    // SAFETY: between fork and exec it only makes a system call.
    unsafe { command.pre_exec(|| ptrace::traceme().map_err(std::io::Error::from)) };
    let child = command.spawn().unwrap();
    let _watch = Watch::new(child.id());
    let quiz = Pid::from_raw(child.id().cast_signed());
    // Not what other threads of this process have started: other tests wait for that.
    let of_this_thread = WaitPidFlag::__WALL | WaitPidFlag::__WNOTHREAD;
    assert_eq!(waitpid(quiz, Some(of_this_thread)), Ok(WaitStatus::Stopped(quiz, Signal::SIGTRAP)), "behind exec");
    let options = ptrace::Options::PTRACE_O_TRACESYSGOOD
        | ptrace::Options::PTRACE_O_TRACECLONE
        | ptrace::Options::PTRACE_O_EXITKILL;
    ptrace::setoptions(quiz, options).unwrap();
    // A thread may have been killed since it was stopped.
    let go_on = |pid: Pid, signal: Option<Signal>| {
        let _ = ptrace::syscall(pid, signal);
    };
    go_on(quiz, None);
    let (mut calls, mut births, mut killed) = (0, 0, None);
    // The thread that starts the process at which to kill.
    let mut parent = None;
    let status = loop {
        let (pid, signal) = match waitpid(None, Some(of_this_thread)).unwrap() {
            WaitStatus::Exited(pid, status) if pid == quiz => break Some(status),
            WaitStatus::Signaled(pid, ..) if pid == quiz => break None,
            WaitStatus::PtraceSyscall(pid) if killed.is_none() => {
                if parent == Some(pid) {
                    killed = Some("a start");
                } else if let Some(call) = counted(pid) {
                    calls += 1;
                    births += usize::from(call.is_birth);
                    match at {
                        At::Call(n) if n == calls && !call.is_birth => killed = Some(call.name),
                        At::Call(n) if n == calls => parent = Some(pid),
                        At::Birth(n) if n == births && call.is_birth => parent = Some(pid),
                        _ => {}
                    }
                }
                if killed.is_some() {
                    kill(quiz, Signal::SIGKILL).unwrap();
                }
                (pid, None)
            }
            // The first stop of a new thread.
            WaitStatus::Stopped(pid, Signal::SIGSTOP) | WaitStatus::PtraceEvent(pid, ..) => (pid, None),
            WaitStatus::Stopped(pid, signal) => (pid, Some(signal)),
            WaitStatus::PtraceSyscall(pid) => (pid, None),
            _ => continue,
        };
        go_on(pid, signal);
    };
    let err = std::fs::read_to_string(said.path()).unwrap();
    Traced { calls, killed: killed.filter(|_| status.is_none()), status, err }
}

struct Call {
    name: &'static str,
    /// Whether it starts a process.
    is_birth: bool,
}

/// The call that a thread begins, if it is one that is counted.
fn counted(pid: Pid) -> Option<Call> {
    let info = ptrace::syscall_info(pid).ok().filter(|info| info.op == libc::PTRACE_SYSCALL_INFO_ENTRY)?;
    // SAFETY: at the entry of a call this is what the kernel has filled in.
    let entry = unsafe { info.u.entry };
    let number = c_long::try_from(entry.nr).ok()?;
    let &(_, name) = CALLS.iter().find(|(call, _)| *call == number)?;
    let argument = |n: usize| entry.args[n];
    let has = |value: u64, flags: i32| value & u64::from(flags.cast_unsigned()) != 0;
    let is_birth = match number {
        libc::SYS_clone => !has(argument(0), libc::CLONE_THREAD),
        libc::SYS_clone3 => {
            let flags = ptrace::read(pid, argument(0) as ptrace::AddressType).ok()?;
            !has(flags.cast_unsigned(), libc::CLONE_THREAD)
        }
        _ => name == "vfork",
    };
    let counts = match number {
        // A new thread changes nothing.
        libc::SYS_clone | libc::SYS_clone3 => is_birth,
        libc::SYS_openat => has(argument(2), libc::O_CREAT | libc::O_TRUNC),
        libc::SYS_fcntl => i32::try_from(argument(1)).is_ok_and(|command| {
            [libc::F_SETLK, libc::F_SETLKW, libc::F_OFD_SETLK, libc::F_OFD_SETLKW].contains(&command)
        }),
        // Writes to the terminal do not count.
        libc::SYS_write | libc::SYS_writev => argument(0) > 2,
        _ => true,
    };
    counts.then_some(Call { name, is_birth })
}
