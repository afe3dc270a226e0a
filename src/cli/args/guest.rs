//! The commands that have to do with a machine: what can be typed behind each. Knows no other command.

use crate::boot::HOME;
use crate::load::size;
use clap::{ArgAction, Args, ValueEnum};
use std::ffi::OsString;
use std::path::PathBuf;

/// The machine, for every command that boots one.
#[derive(Debug, Clone, Args)]
pub(in crate::cli) struct Guest {
    /// Memory of the guest: 512M, 4G [default: 1G, or more where profiles need it]
    #[arg(short, long, value_name = "SIZE")]
    pub memory: Option<String>,
    /// Processors of the guest [default: 2]
    #[arg(long, value_name = "N")]
    pub cpus: Option<u64>,
    /// What runs the guest's instructions: tcg emulates them; kvm is an error where KVM does not work [default: auto, KVM where it works, else tcg]
    #[arg(long, value_name = "NAME", value_parser = ["auto", "kvm", "tcg"])]
    pub accel: Option<String>,
    /// Add words to the kernel command line (repeatable)
    #[arg(long, value_name = "WORDS", allow_hyphen_values = true)]
    pub append: Vec<String>,
    /// Add an argument to the qemu command (repeatable)
    #[arg(long, value_name = "ARG", allow_hyphen_values = true)]
    pub qemu_arg: Vec<String>,
    /// Boot, and save nothing for the next run, instead of starting from a snapshot of an equal machine
    #[arg(long)]
    pub no_snapshot: bool,
    /// End the machine after this time: 30, 30s, 5m, 1h
    #[arg(long, value_name = "TIME", value_parser = seconds)]
    pub timeout: Option<u64>,
    /// Install missing host tools first; on a terminal it asks
    #[arg(long)]
    pub install: bool,
}

/// What a program has around it, in a machine that is started for it: stdin, folders of the host, its own folder, kernel messages.
#[derive(Debug, Clone, Args)]
pub(in crate::cli) struct Around {
    /// Read nothing: the program's stdin is empty. In `while read x; do quiz up ...; done` behind a pipe the first run would take up to 64 KiB
    /// that its program does not read; of a file (`done <list`) what was not read is given back
    #[arg(short = 'n', long)]
    pub no_input: bool,
    /// A folder of this machine at the same path in the guest, up to four: DIR (the guest writes there), DIR:ro (it cannot), DIR:overlay (what it
    /// writes stays in its memory)
    #[arg(long, value_name = "DIR[:ro|:overlay]")]
    pub share: Vec<OsString>,
    /// The folder of the guest in which the program starts; a relative one begins in the current folder, and has to be in a --share
    #[arg(long, value_name = "DIR", default_value = HOME)]
    pub cwd: OsString,
    /// Show kernel messages among the program's output even when it does not go to a terminal
    #[arg(long)]
    pub kmsg: bool,
}

#[derive(Debug, Clone, Args)]
pub(in crate::cli) struct Up {
    #[command(flatten)]
    pub guest: Guest,
    /// Give a shell after the program
    #[arg(short = 'S', long)]
    pub shell: bool,
    #[command(flatten)]
    pub around: Around,
    /// The exit status when the guest goes away by itself, instead of 122
    #[arg(long, value_name = "N")]
    pub lost_as: Option<u8>,
    /// Exit with 123 when the guest's kernel complained (WARN, lockdep, KASAN, a hung task, …) and the program ended; what the file
    /// named by machine.allow-file lists does not count
    #[arg(long)]
    pub fail_on_warning: bool,
    /// Give the prompt back when the program has started, and print the run's number. What the program writes goes to the files stdout and stderr
    /// in the run's folder, what quiz says to quiz.log; without a program the machine stays until `quiz stop`
    #[arg(long, conflicts_with_all = ["shell", "dry_run", "install", "timings"])]
    pub detach: bool,
    /// Stand still for `quiz gdb`: before the guest's first instruction, or only when its kernel gives up, hangs or is too slow; quiz says when it stands
    #[arg(long, value_name = "WHEN", num_args = 0..=1, require_equals = true, default_missing_value = "start", conflicts_with = "dry_run")]
    pub gdb: Option<Gdb>,
    /// Go on from this snapshot of `quiz snap`, and build nothing: kernel, root, memory, disks and profiles are as they were saved
    #[arg(id = "snapshot", long = "from", value_name = "NAME", conflicts_with_all = ["no_snapshot", "install", "dry_run"])]
    pub from: Option<String>,
    /// Show how long each step takes
    #[arg(long)]
    pub timings: bool,
    /// Build as usual, then print the qemu command instead of running it
    #[arg(long)]
    pub dry_run: bool,
    /// The program and its arguments [default: a shell]
    #[arg(last = true, action = ArgAction::Append)]
    pub program: Vec<OsString>,
}

#[derive(Debug, Clone, Args)]
pub(in crate::cli) struct Snap {
    #[command(flatten)]
    pub guest: Guest,
    /// The snapshot's name; it stays until it is removed
    #[arg(id = "snapshot", value_name = "NAME")]
    pub name: Option<String>,
    /// Replace a snapshot of that name; the old one stays until the new one is saved
    #[arg(long, requires = "snapshot")]
    pub replace: bool,
    /// Remove the snapshot of that name; machines that were started from it go on
    #[arg(long, requires = "snapshot", conflicts_with_all = ["replace", "program"])]
    pub rm: bool,
    #[command(flatten)]
    pub around: Around,
    /// The program and its arguments [default: a shell; the machine is saved if it ends with 0]
    #[arg(last = true, action = ArgAction::Append, requires = "snapshot")]
    pub program: Vec<OsString>,
}

impl Snap {
    /// The words of `quiz up` for the run whose machine is saved.
    pub(in crate::cli) fn up(&self) -> Up {
        Up {
            guest: self.guest.clone(),
            shell: false,
            around: self.around.clone(),
            lost_as: None,
            fail_on_warning: false,
            detach: false,
            gdb: None,
            from: None,
            timings: false,
            dry_run: false,
            program: self.program.clone(),
        }
    }
}

/// The run of a machine that crashed, once more.
#[derive(Debug, Clone, Args)]
pub(in crate::cli) struct Again {
    /// The run's number, with the group behind it for one of `quiz test` [default: the newest crash]
    pub id: Option<String>,
    #[command(flatten)]
    pub around: Around,
    /// End the machine after this time: 30, 30s, 5m, 1h
    #[arg(long, value_name = "TIME", value_parser = seconds)]
    pub timeout: Option<u64>,
    /// Another program and its arguments [default: the one that ran when it crashed]
    #[arg(last = true, action = ArgAction::Append)]
    pub program: Vec<OsString>,
}

impl Again {
    /// The words of `quiz up` for the run; `program` is what ran when the machine crashed.
    pub(in crate::cli) fn up(&self, program: &[String]) -> Up {
        let own = program.iter().map(OsString::from).collect();
        let guest = Guest {
            memory: None,
            cpus: None,
            accel: None,
            append: Vec::new(),
            qemu_arg: Vec::new(),
            no_snapshot: true,
            timeout: self.timeout,
            install: false,
        };
        let snap = Snap {
            guest,
            name: None,
            replace: false,
            rm: false,
            around: self.around.clone(),
            program: if self.program.is_empty() { own } else { self.program.clone() },
        };
        snap.up()
    }
}

/// When a machine stands still for a debugger.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(in crate::cli) enum Gdb {
    /// Before the first instruction, and at the end as with `panic`
    Start,
    /// When its kernel gives up, hangs or is too slow
    Panic,
}

#[derive(Debug, Clone, Args)]
pub(in crate::cli) struct Debugger {
    /// The run's number, with the group behind it for one of `quiz test` [default: the newest machine of this project that runs, else the newest crash]
    pub id: Option<String>,
    /// Arguments for the debugger
    #[arg(last = true)]
    pub words: Vec<OsString>,
}

#[derive(Debug, Clone, Args)]
pub(in crate::cli) struct Ssh {
    /// The run's number, as `.quiz/runs` has it [default: the newest that has an sshd]
    pub id: Option<String>,
    /// Connect stdin and stdout with the guest's sshd, as ssh's ProxyCommand
    #[arg(long, hide = true)]
    pub stdio: bool,
    /// The program and its arguments [default: a shell]
    #[arg(last = true)]
    pub program: Vec<OsString>,
}

#[derive(Debug, Clone, Args)]
pub(in crate::cli) struct Exec {
    /// The run's number, as `.quiz/runs` has it, with the group behind it for one of `quiz test` [default: the newest of this project that runs]
    pub id: Option<String>,
    /// The folder of the guest in which the program starts; a relative one begins in the current folder, which the machine has to have by --share
    #[arg(long, value_name = "DIR", default_value = HOME)]
    pub cwd: OsString,
    /// Read nothing: the program's stdin is empty
    #[arg(short = 'n', long)]
    pub no_input: bool,
    /// The program and its arguments [default: a shell]
    #[arg(last = true, action = ArgAction::Append)]
    pub program: Vec<OsString>,
}

#[derive(Debug, Clone, Args)]
pub(in crate::cli) struct Monitor {
    /// The run's number, as `.quiz/runs` has it, with the group behind it for one of `quiz test` [default: the newest of this project that runs]
    pub id: Option<String>,
    /// Commands and answers as JSON, an object a line (QMP), instead of those for people (HMP)
    #[arg(long)]
    pub qmp: bool,
    /// The command [default: commands from stdin, one a line]
    #[arg(last = true)]
    pub command: Vec<String>,
}

#[derive(Debug, Clone, Args)]
pub(in crate::cli) struct Test {
    #[command(flatten)]
    pub guest: Guest,
    /// Only groups with this tag (repeatable, or with commas between)
    #[arg(short = 'T', long = "tag", value_name = "TAG", value_delimiter = ',')]
    pub tags: Vec<String>,
    /// Only this test or group: atime_001_pos, cli_root/zfs_get, 'zpool_add*', a path (repeatable, or with commas between)
    #[arg(short = 't', long = "test", value_name = "TEST", value_delimiter = ',')]
    pub tests: Vec<String>,
    /// The suite's runfile, by name or path (repeatable, or with commas between) [default: common,linux]
    #[arg(short, long = "runfile", value_name = "FILE", value_delimiter = ',')]
    pub runfiles: Vec<String>,
    /// Only groups that can be affected by what changed since this commit; needs a git worktree of OpenZFS
    #[arg(long, value_name = "REV")]
    pub since: Option<String>,
    /// Run each line of FILE by the shell in a machine of its own, instead of the ZFS Test Suite; `-` is stdin
    #[arg(long, value_name = "FILE", conflicts_with_all = ["tags", "tests", "runfiles", "since"])]
    pub each: Option<PathBuf>,
    /// A folder of this machine at the same path in the guests, up to four: DIR (no guest can write there, as several run at a time), DIR:overlay
    /// (what a guest writes stays in its memory). Results are not remembered then
    #[arg(long, value_name = "DIR[:overlay]")]
    pub share: Vec<OsString>,
    /// The folder of the guest in which the command starts; a relative one begins in the current folder, and has to be in a --share
    #[arg(long, value_name = "DIR", default_value = HOME)]
    pub cwd: OsString,
    /// Take no result from the cache
    #[arg(long)]
    pub rerun: bool,
    /// Show what would run, and run nothing
    #[arg(long)]
    pub list: bool,
}

/// "90", "90s", "5m", "1h" as seconds.
fn seconds(text: &str) -> Result<u64, String> {
    let (number, unit) = match text.char_indices().last() {
        Some((at, 's')) => (&text[..at], 1),
        Some((at, 'm')) => (&text[..at], 60),
        Some((at, 'h')) => (&text[..at], 3600),
        _ => (text, 1),
    };
    match number.parse::<u64>().ok().and_then(|n| n.checked_mul(unit)) {
        Some(seconds) if seconds > 0 => Ok(seconds),
        _ => Err("a time is a positive number, as in 30, 30s, 5m, 1h".to_owned()),
    }
}

/// "500M", "20G", "1T" as bytes. A number alone is refused: whoever means gigabytes would lose the whole cache if it were bytes.
pub(super) fn bytes(text: &str) -> Result<u64, String> {
    let has_unit = text.ends_with(|c: char| c.is_ascii_alphabetic());
    size(text).filter(|_| has_unit).ok_or_else(|| "a size is a number with K, M, G or T, as in 500M, 20G".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_have_units_and_are_never_zero() {
        assert_eq!([bytes("500M"), bytes("20G"), bytes("1T")], [Ok(500 << 20), Ok(20 << 30), Ok(1 << 40)]);
        for wrong in ["", "G", "0G", "20", "-1G", "1P", "99999999999T"] {
            assert!(bytes(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn times_have_units_and_are_never_zero() {
        assert_eq!([seconds("90"), seconds("90s"), seconds("2m"), seconds("1h")], [Ok(90), Ok(90), Ok(120), Ok(3600)]);
        for wrong in ["", "s", "0", "-1", "1d", "99999999999999999999h"] {
            assert!(seconds(wrong).is_err(), "{wrong}");
        }
    }
}
