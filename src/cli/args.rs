//! The command line as types. Says what can be typed; does nothing.

mod global;
mod guest;
mod inner;
mod invocation;
#[cfg(test)]
mod shown;
mod wrong;

use crate::status;
use clap::{CommandFactory, FromArgMatches, Parser, Subcommand, ValueEnum};
pub(super) use global::Global;
use global::everywhere;
pub(super) use guest::{Again, Debugger, Exec, Gdb, Guest, Monitor, Snap, Ssh, Test, Up};
pub(super) use inner::{CacheCommand, CrashCommand, Init, KernelCommand, NewCommand, ProfilesCommand};
use std::ffi::OsString;
use std::path::PathBuf;

/// Build a Linux kernel and a root file system as cached stages, and boot the result in qemu.
#[derive(Debug, Clone, Parser)]
#[command(name = "quiz", version = env!("BUILT_AS"), max_term_width = 100, arg_required_else_help = true)]
pub(super) struct Cli {
    #[command(flatten)]
    pub global: Global,
    /// Given to the process that `up --detach` starts and leaves running
    #[arg(long, hide = true)]
    pub detached: bool,
    #[command(subcommand)]
    pub command: Command,
}

/// What `quiz graph` writes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(super) enum GraphFormat {
    /// A tree to read: a line for each stage, with what it needs below it
    Tree,
    /// An object for each stage, as with --json
    Json,
    /// For Graphviz: `quiz graph --format dot | dot -Tpng`
    Dot,
    /// For Markdown on GitHub, GitLab and others, which draw it
    Mermaid,
    /// A picture, light or dark as its viewer is set
    Svg,
    /// A page of that picture and of what each stage is made of, which needs no other file
    Html,
}

#[derive(Debug, Clone, Subcommand)]
pub(super) enum Command {
    /// Build what changed, boot it, run a program in it, bring its exit status back
    #[command(after_help = status::help())]
    Up(Up),
    /// Save the machine after a program has run in it: `quiz up --from NAME` goes on from there, in any number of machines at a time, as fast as a restore. Without
    /// a name: show the snapshots of this project
    #[command(
        after_help = "Exit status: the program's own; the machine is saved only if that is 0. 125 quiz or the host failed, or the machine cannot be saved."
    )]
    Snap(Snap),
    /// Open an ssh session in a machine that runs with the profile ssh; for scp and rsync see `.quiz/ssh_config`
    #[command(after_help = "Exit status: the program's own; 255 quiz or ssh itself failed.")]
    Ssh(Ssh),
    /// Run a further program in a machine that runs, of any profile; without one a shell
    #[command(
        visible_alias = "attach",
        after_help = "Exit status: the program's own; 122 the machine ended before the program; 125 quiz or the host failed; 128+n signal n ended quiz."
    )]
    Exec(Exec),
    /// Give qemu the commands of its monitor, in a machine that runs: `quiz monitor 7 -- info registers`
    Monitor(Monitor),
    /// Copy a file or a folder from a machine that runs, or to it: `7:/var/log/messages .`, `module.ko :/root/`
    Cp {
        /// What to copy: a path here, or N:PATH in run N, or :PATH in the newest run of this project
        from: OsString,
        /// Where to copy it, a path of the same kinds; into it, if it is a folder
        to: OsString,
    },
    /// Show the machines that run, of all projects: run, kernel, memory of the host, since when, profiles, project, program
    Ps,
    /// End a machine that runs: its program gets SIGTERM, after 10 s the machine is ended, after 20 s it is killed
    Stop {
        /// The run's number, as `.quiz/runs` has it [default: the newest of this project that runs]
        id: Option<String>,
        /// All machines of all projects
        #[arg(long, conflicts_with = "id")]
        all: bool,
    },
    /// Write the memory of a machine that runs into its run's `crash`, and let it go on; prints the file
    Dump {
        /// The run's number, as `.quiz/runs` has it [default: the newest of this project that runs]
        id: Option<String>,
    },
    /// Debug a machine that runs, or look into the memory of one that crashed, with gdb (which has to be installed): with the kernel's and OpenZFS's debug
    /// information, made first if need be. A machine stands still while gdb holds it, and no time limit counts
    #[command(after_help = "Exit status: gdb's own; 1 or 2 quiz could not start it.")]
    Gdb(Debugger),
    /// Look into a machine that runs, or into the memory of one that crashed, with drgn, which quiz brings. One that runs stands still while its memory is
    /// written, and goes on: drgn sees that moment
    #[command(after_help = "Exit status: drgn's own; 1 or 2 quiz could not start it.")]
    Drgn(Debugger),
    /// What is left of guests that crashed, hung, or were too slow: words, stack, memory
    Crash {
        #[command(subcommand)]
        command: CrashCommand,
    },
    /// Wait until a run of `quiz up` is over
    #[command(
        after_help = "Exit status: the one that `quiz up` had, or would have had; 125 if there is none: no such run, or quiz was killed."
    )]
    Wait {
        /// The run's number, as `.quiz/runs` has it [default: the newest of this project]
        id: Option<String>,
    },
    /// Print what the kernel of a machine said, while it runs or afterwards
    Logs {
        /// The run's number, as `.quiz/runs` has it, with the group behind it for one of `quiz test`: 7, 7/functional.atime [default: the
        /// newest of this project]
        id: Option<String>,
        /// Go on until the run is over
        #[arg(short, long)]
        follow: bool,
    },
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
        /// Make these stages from nothing, whatever the cache and their build folders have, and say what differs from what was stored;
        /// what they read is taken from the cache
        #[arg(long, requires = "stages")]
        fresh: bool,
        /// Install missing host tools first; on a terminal it asks
        #[arg(long)]
        install: bool,
    },
    /// Make a stage twice from nothing, compare the bytes, and name the files that differ; what is stored stays as it is
    #[command(
        after_help = "Exit status: 0 the same; 1 they differ (both are kept, and the output says where), or the stage failed; 2 what was asked for is wrong."
    )]
    Verify {
        /// The stage, as `quiz graph` names it
        stage: String,
    },
    /// Show the stages of the image and of the project's own recipes: cached, stale, missing, and why; with -v all there are
    Graph {
        /// The format: a tree to read, data, or a picture [default: tree; with --json: json]
        #[arg(long, value_enum, value_name = "FORMAT")]
        format: Option<GraphFormat>,
        /// Begin with what changed at the root (files with their difference, packages, options, tools), and all stages that are made for it
        #[arg(long)]
        why: bool,
    },
    /// Show what a stage is made of, or what changed at the root since it was last made, and through which stages the change reaches it
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
        /// Install what is missing; on a terminal it asks
        #[arg(long)]
        install: bool,
        /// Run machines, in a project made for it, and print a report of what only a real KVM can answer; builds their image first
        /// if there is none
        #[arg(long, conflicts_with = "install")]
        kvm: bool,
    },
    /// Remove from the cache what was not used for a while: results, snapshots, build folders
    Gc {
        /// Days without a use; what was used in the last day always stays
        #[arg(long, value_name = "DAYS", default_value_t = 30)]
        older_than: u32,
        /// Go by size, not by age: if the cache is larger than SIZE (500M, 20G), remove what was used longest ago, down to nine tenths of it
        #[arg(long, value_name = "SIZE", conflicts_with = "older_than", value_parser = guest::bytes)]
        max_size: Option<u64>,
        /// Only show what would go
        #[arg(long)]
        dry_run: bool,
        /// Started by a run at its end, for the setting `cache.max-size`; nobody reads the output
        #[arg(long, hide = true, requires = "max_size", conflicts_with = "dry_run")]
        by_itself: bool,
    },
    /// Show what takes room in the cache: how much is free once it is removed, its size, its last use, and what holds it; with -v a line for each
    /// thing, with its key
    #[command(
        after_help = "HELD BY: a project that used it last for one of its stages, a machine that runs, a guest that crashed, a snapshot, a pin. Equal files \
        are stored once: FREES counts those that nothing else uses."
    )]
    Cache {
        #[command(subcommand)]
        command: Option<CacheCommand>,
    },
    /// Remove what quiz made in this project's `.quiz`: runs that are over. Never what you wrote there, nor what guests wrote into `shared` or on persistent disks
    Clean {
        /// Only runs, and none whose guest crashed; this is the default
        #[arg(long, conflicts_with = "all")]
        runs: bool,
        /// Also what is left of crashes, and all else that quiz makes again when it is needed
        #[arg(long)]
        all: bool,
        /// Only show what would go
        #[arg(long)]
        dry_run: bool,
    },
    /// Show every setting, its value, and where that comes from
    Config,
    /// The kernel's config: edit it, compare two
    Kernel {
        #[command(subcommand)]
        command: KernelCommand,
    },
    /// Write a quiz.toml to start from, with what is worth setting in a tree of OpenZFS or Linux, a module's folder, or elsewhere. All settings
    /// in it are commented out, but a module's folder and those that flags give (quiz -k package init). A file that is there stays as it is. On
    /// a terminal quiz asks whether it is for this project or for all of yours
    Init(Init),
    /// Write a small recipe or profile of your own into the project's .quiz, to start from; it works as it is
    New {
        #[command(subcommand)]
        command: NewCommand,
    },
    /// Print what makes a shell complete quiz's command lines, with the stages, profiles, tests, runs and snapshots of the project you are in
    #[command(after_help = "bash: quiz completions bash >~/.local/share/bash-completion/completions/quiz\n\
        zsh:  echo 'source <(quiz completions zsh)' >>~/.zshrc, behind compinit\n\
        fish: quiz completions fish >~/.config/fish/completions/quiz.fish")]
    Completions {
        /// The shell
        shell: Shell,
    },
    /// Write manual pages, one for quiz and one for each command: `quiz man ~/.local/share/man/man1`, then `man quiz-up`
    Man {
        /// The folder to write to; it is made if it is missing
        folder: PathBuf,
    },
    /// Let a program drive quiz by the Model Context Protocol, over stdin and stdout: build, run, exec, test, graph, why, crash, logs. What the program
    /// started ends when it hangs up
    Mcp,
    /// Print the JSON Schema of what a command prints with --json; without a name all of them, and the format's version
    Schema {
        /// graph, why, ps, events …
        name: Option<String>,
    },
    /// Trust the project in a folder although its files are another user's; without a folder: show what is trusted
    #[command(
        after_help = "The list is the file `trusted` in your own folder of settings (~/.config/quiz), a folder a line. QUIZ_TRUST=DIR in the \
        environment trusts a folder for one command."
    )]
    Trust {
        /// The folder in which the project's quiz.toml or .quiz lies
        folders: Vec<PathBuf>,
    },
    /// Show every profile in a table: whether it is on, what it would cost now, what it touches; or all of one
    #[command(args_conflicts_with_subcommands = true)]
    Profiles {
        /// The profile of which all is shown
        #[arg(value_name = "NAME")]
        shown: Option<String>,
        #[command(subcommand)]
        command: Option<ProfilesCommand>,
    },
}

/// A shell that can complete.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(super) enum Shell {
    Bash,
    Zsh,
    Fish,
}

impl Cli {
    /// All that can be typed, with the flags of all commands behind each.
    pub fn definition() -> clap::Command {
        everywhere(Self::command())
    }

    /// Reads a command line.
    ///
    /// # Errors
    /// What clap has to say of it; also its help, where that is asked for.
    pub fn read(words: impl IntoIterator<Item = impl Into<OsString> + Clone>) -> Result<Self, clap::Error> {
        let words: Vec<OsString> = words.into_iter().map(Into::into).collect();
        let matches = Self::definition().try_get_matches_from(&words).map_err(|error| wrong::told(error, &words))?;
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

    /// The kernels that -k names, each once. An address is not split at its commas.
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
        Cli::definition().debug_assert();
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
}
