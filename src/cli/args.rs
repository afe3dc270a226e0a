//! The command line as types. Says what can be typed; does nothing.

mod global;
mod invocation;

use crate::status;
use clap::{ArgAction, Args, CommandFactory, FromArgMatches, Parser, Subcommand};
use global::{Global, everywhere};
use std::ffi::OsString;
use std::path::PathBuf;

/// Build a Linux kernel and a root file system as cached stages, and boot the result in qemu.
#[derive(Debug, Clone, Parser)]
#[command(name = "quiz", version, max_term_width = 100, arg_required_else_help = true)]
pub(super) struct Cli {
    #[command(flatten)]
    pub global: Global,
    #[command(subcommand)]
    pub command: Command,
}

#[derive(Debug, Clone, Subcommand)]
pub(super) enum Command {
    /// Build what changed, boot it, run a program in it, bring its exit status back
    #[command(after_help = status::help())]
    Up(Up),
    /// Open an ssh session in a machine that runs with the profile ssh; for scp and rsync see `.quiz/ssh_config`
    #[command(after_help = "Exit status: the program's own; 255 quiz or ssh could not get that far.")]
    Ssh(Ssh),
    /// Run the ZFS Test Suite, or a list of commands, in pristine machines side by side
    #[command(
        after_help = "Exit status: 0 all came out as expected; 1 something did not, a machine was lost, or a kernel \
        complained (WARN) of what the file named by machine.allow-file does not list; 2 what was asked for is wrong. \
        Results lie in the run's out/: junit.xml, results.tap, results.json."
    )]
    Test(Test),
    /// Build stages without booting
    Build {
        /// Stages, as `quiz graph` names them [default: image]
        stages: Vec<String>,
        /// Install missing host tools first, by apt; on a terminal it asks
        #[arg(long)]
        install: bool,
    },
    /// Show the stages of the image and of the project's own recipes: cached, stale, missing, and why; with -v all there are
    Graph,
    /// Show what a stage is made of, or what changed since it was last made
    Why {
        /// The stage, as `quiz graph` names it
        stage: String,
    },
    /// Look up what moving versions stand for today, and write it to quiz.lock
    Update {
        /// Only these entries of quiz.lock [default: all that the image needs]
        entries: Vec<String>,
    },
    /// Show every host tool that any stage needs, and whether it is there
    Doctor {
        /// Install what is missing, by apt; on a terminal it asks
        #[arg(long)]
        install: bool,
        /// Run machines of a project of its own and print a report of what only a real KVM can answer; builds their image first if
        /// there is none
        #[arg(long, conflicts_with = "install")]
        kvm: bool,
    },
    /// Remove from the cache what was not used for a while: results, snapshots, build folders
    Gc {
        /// Days without a use; what was used in the last day always stays
        #[arg(long, value_name = "DAYS", default_value_t = 30)]
        older_than: u32,
        /// Only show what would go
        #[arg(long)]
        dry_run: bool,
    },
    /// Show every setting, its value, and where that comes from
    Config,
    /// Trust the project in a folder although its files are another user's; without a folder: show what is trusted
    #[command(
        after_help = "The list is the file `trusted` in your own folder of settings (~/.config/quiz), a folder a line. QUIZ_TRUST=DIR in the \
        environment trusts a folder for one command."
    )]
    Trust {
        /// The folder in which the project's quiz.toml or .quiz lies
        folders: Vec<PathBuf>,
    },
    /// Show every profile: whether it is on, what it touches, and what it would cost now
    Profiles {
        #[command(subcommand)]
        command: Option<ProfilesCommand>,
    },
}

/// The machine, for every command that boots one.
#[derive(Debug, Clone, Args)]
pub(super) struct Guest {
    /// Memory of the guest: 512M, 4G [default: 1G, or more where profiles need it]
    #[arg(short, long, value_name = "SIZE")]
    pub memory: Option<String>,
    /// Processors of the guest [default: 2]
    #[arg(long, value_name = "N")]
    pub cpus: Option<u64>,
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
    /// Install missing host tools first, by apt; on a terminal it asks
    #[arg(long)]
    pub install: bool,
}

#[derive(Debug, Clone, Args)]
pub(super) struct Up {
    #[command(flatten)]
    pub guest: Guest,
    /// Give a shell after the program
    #[arg(short = 'S', long)]
    pub shell: bool,
    /// Read nothing: the program's stdin is empty. In `while read x; do quiz up ...; done` behind a pipe the first run would take up to 64 KiB
    /// that its program does not read; of a file (`done <list`) what was not read is given back
    #[arg(short = 'n', long)]
    pub no_input: bool,
    /// Show kernel messages among the program's output even when it does not go to a terminal
    #[arg(long)]
    pub kmsg: bool,
    /// The exit status when the guest goes away by itself, instead of 122
    #[arg(long, value_name = "N")]
    pub lost_as: Option<u8>,
    /// Exit with 123 when the guest's kernel complained (WARN, lockdep, KASAN, a hung task, …) and the program ended; what the file
    /// named by machine.allow-file lists does not count
    #[arg(long)]
    pub fail_on_warning: bool,
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

#[derive(Debug, Clone, Subcommand)]
pub(super) enum ProfilesCommand {
    /// Write a start for a profile of your own into .quiz/profiles
    New {
        /// Its name: small letters, digits and dashes
        name: String,
    },
}

#[derive(Debug, Clone, Args)]
pub(super) struct Ssh {
    /// The run's number, as `.quiz/runs` has it [default: the newest that has an sshd]
    pub id: Option<String>,
    /// Be the connection: what ssh's ProxyCommand is
    #[arg(long, hide = true)]
    pub stdio: bool,
    /// The program and its arguments [default: a shell]
    #[arg(last = true)]
    pub program: Vec<OsString>,
}

#[derive(Debug, Clone, Args)]
pub(super) struct Test {
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
    /// Only groups that what changed since this commit can touch; needs a git worktree of OpenZFS
    #[arg(long, value_name = "REV")]
    pub since: Option<String>,
    /// Run each line of FILE by the shell in a machine of its own, instead of the ZFS Test Suite; `-` is stdin
    #[arg(long, value_name = "FILE", conflicts_with_all = ["tags", "tests", "runfiles", "since"])]
    pub each: Option<PathBuf>,
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

impl Cli {
    /// Reads a command line.
    ///
    /// # Errors
    /// What clap says of it, or its help.
    pub fn read(words: impl IntoIterator<Item = impl Into<OsString> + Clone>) -> Result<Self, clap::Error> {
        let matches = everywhere(Self::command()).try_get_matches_from(words)?;
        let mut cli = Self::from_arg_matches(&matches)?;
        let mut inner = &matches;
        while let Some((_, behind)) = inner.subcommand() {
            cli.global.add(Global::from_arg_matches(behind)?);
            inner = behind;
        }
        Ok(cli)
    }

    /// The command line for each of several kernels, `-k 6.1.170,6.1.192` or `-k 6.1.170 -k 6.1.192`; none where there is at
    /// most one.
    pub fn kernels(&self) -> Vec<(String, Self)> {
        let one = |version: &String| {
            let mut cli = self.clone();
            cli.global.kernel = vec![version.clone()];
            (version.clone(), cli)
        };
        let versions = self.versions();
        if versions.len() > 1 { versions.iter().map(one).collect() } else { Vec::new() }
    }

    /// Each kernel once. An address may have commas in it.
    fn versions(&self) -> Vec<String> {
        let mut versions: Vec<String> = Vec::new();
        for given in &self.global.kernel {
            let all = if given.contains("://") { vec![given.as_str()] } else { given.split(',').collect() };
            for version in all.into_iter().map(str::trim).filter(|version| !version.is_empty()) {
                if !versions.iter().any(|other| other == version) {
                    versions.push(version.to_owned());
                }
            }
        }
        versions
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_definition_is_consistent() {
        everywhere(Cli::command()).debug_assert();
    }

    #[test]
    fn what_follows_the_dashes_is_the_guests() {
        let cli = Cli::read(["quiz", "up", "-m", "2G", "--", "ls", "-l", "--timeout", "x"]).unwrap();
        let Command::Up(up) = &cli.command else { panic!("{cli:?}") };
        assert_eq!(up.program, ["ls", "-l", "--timeout", "x"]);
        assert_eq!(up.guest.memory.as_deref(), Some("2G"));
    }

    #[test]
    fn what_stands_before_the_command_holds_beside_what_stands_behind_it() {
        let words = [
            "quiz",
            "-p",
            "zfs",
            "-k",
            "6.1",
            "-j2",
            "--color=never",
            "up",
            "-p",
            "net",
            "-k",
            "7.3",
            "-j",
            "4",
            "--",
            "true",
        ];
        let global = Cli::read(words).unwrap().global;
        assert_eq!(
            (global.profile, global.kernel),
            (vec!["zfs".into(), "net".into()], vec!["6.1".into(), "7.3".into()])
        );
        assert_eq!((global.jobs, global.color), (Some(4), Some(crate::report::Color::Never)));
        let nested = Cli::read(["quiz", "-q", "profiles", "new", "x", "-C", "there"]).unwrap().global;
        assert_eq!((nested.directory, nested.quiet), (Some("there".into()), true));
    }

    #[test]
    fn several_kernels_are_a_command_line_each() {
        let kernels = |words: &[&str]| {
            let cli = Cli::read([&["quiz"], words, &["up"]].concat()).unwrap();
            cli.kernels().into_iter().map(|(name, cli)| (name, cli.global.kernel.concat())).collect::<Vec<_>>()
        };
        let same = |names: &[&str]| names.iter().map(|n| ((*n).to_owned(), (*n).to_owned())).collect::<Vec<_>>();
        assert_eq!(kernels(&["-k", "6.1.170,6.1.192"]), same(&["6.1.170", "6.1.192"]));
        assert_eq!(kernels(&["-k", "6.1.170", "-k", "6.1.192"]), same(&["6.1.170", "6.1.192"]));
        assert_eq!(kernels(&["-k", "5.10, 6.1,", "--kernel=7.3,6.1"]), same(&["5.10", "6.1", "7.3"]));
        let (url, tag) = ("https://example.org/a,b.tar.xz", "v7.3");
        assert_eq!(kernels(&["-k", url, "-k", tag]), same(&[url, tag]));
        assert_eq!(kernels(&["-k", "6.1.170"]), []);
        assert_eq!(kernels(&["-k", "6.1,6.1,"]), []);
        assert_eq!(kernels(&["-k", "https://example.org/a,b.tar.xz"]), []);
        assert_eq!(kernels(&[]), []);
    }

    #[test]
    fn times_have_units_and_are_never_zero() {
        assert_eq!([seconds("90"), seconds("90s"), seconds("2m"), seconds("1h")], [Ok(90), Ok(90), Ok(120), Ok(3600)]);
        for wrong in ["", "s", "0", "-1", "1d", "99999999999999999999h"] {
            assert!(seconds(wrong).is_err(), "{wrong}");
        }
    }
}
