//! The words of `init`, and the commands of commands: of `cache`, `crash`, `kernel`, `new` and `profiles`.

use super::{Again, Debugger};
use clap::{Args, Subcommand};
use std::path::PathBuf;

#[derive(Debug, Clone, Args)]
pub(in crate::cli) struct Init {
    /// Into this project, and ask nothing
    #[arg(long, conflicts_with = "user")]
    pub here: bool,
    /// Into your own folder of settings (~/.config/quiz), for all projects, instead of this one
    #[arg(long)]
    pub user: bool,
}

#[derive(Debug, Clone, Subcommand)]
pub(in crate::cli) enum CacheCommand {
    /// Show what takes room, as `quiz cache` alone does
    Ls,
    /// Read every byte of the cache, on all processors, and compare it with its digest. What is damaged is moved to the cache's folder `wrong`, and
    /// is made again when it is needed
    #[command(
        after_help = "Exit status: 0 nothing is damaged; 1 something is, or the cache cannot be read. Builds may run meanwhile. \
        A damaged snapshot of `quiz snap` is reported and stays where it is: only you can make it again."
    )]
    Verify,
    /// Keep a result, and what it needs to be used, whatever `quiz gc` and cache.max-size remove; `quiz cache` shows what is pinned
    Pin {
        /// A stage, as it is now, or the first eight digits or more of a result's key or digest
        #[arg(value_name = "STAGE|DIGEST")]
        stage: String,
        /// Take the pin away; nothing is removed by that
        #[arg(long)]
        rm: bool,
    },
    /// Write what these stages made to a new file; what is missing is made first. What was built incrementally is refused
    Export {
        /// The file to write: a tar, compressed by zstd
        file: PathBuf,
        /// Stages, as `quiz graph` names them
        #[arg(required = true)]
        stages: Vec<String>,
        /// Sign the file with this OpenSSH private key, by ssh-keygen: the signature is FILE.sig
        #[arg(long, value_name = "KEY")]
        sign: Option<PathBuf>,
    },
    /// Add the results in a file that the cache does not have. Each content is checked against its digest; that a result belongs to its key
    /// is the word of whoever made the file
    Import {
        /// The file
        file: PathBuf,
        /// Add nothing unless FILE.sig is a signature of it by one of these: an OpenSSH allowed_signers file, in which a line is
        /// NAME namespaces="quiz-pack" KEY
        #[arg(long, value_name = "SIGNERS")]
        verify: Option<PathBuf>,
    },
}

#[derive(Debug, Clone, Subcommand)]
pub(in crate::cli) enum CrashCommand {
    /// List the crashes of this project; equal ones have the same signature
    Ls,
    /// Show what is known of a crash; if its debug information is in the cache, the trace with the source's lines and with what was inlined there
    Show {
        /// The run's number, with the group behind it for one of `quiz test`: 7, 7/functional.atime [default: the newest]
        id: Option<String>,
        /// Make that debug information first, if it is missing: it takes minutes, once for each kernel
        #[arg(long)]
        lines: bool,
        /// Look up in the memory what each processor did, and each task that waits and cannot be interrupted, by drgn, which quiz brings: makes the
        /// debug information first, too. From then on it is shown always
        #[arg(long)]
        tasks: bool,
        /// Show all of zfs_dbgmsg, which is read out of the memory, and of those tasks: otherwise the last 50 lines, and 16 stacks each of processors and of tasks that wait
        #[arg(long)]
        all: bool,
    },
    /// Look into the memory of a crash with drgn, which quiz brings, with the kernel's types, functions and lines: makes its debug information
    /// first, if that is missing
    #[command(after_help = "Exit status: drgn's own; 1 or 2 quiz could not start it.")]
    Drgn(Debugger),
    /// Look into the memory of a crash with gdb (which has to be installed)
    #[command(after_help = "Exit status: gdb's own; 1 or 2 quiz could not start it.")]
    Gdb(Debugger),
    /// Run the program again in the very machine that crashed: its kernel, layers, memory and command line, with empty disks; takes no snapshot, and builds nothing but the toolchain's qemu
    #[command(
        after_help = "Exit status: that of `quiz up`: the program's own; 123 the guest's kernel gave up; 125 quiz or the host failed."
    )]
    Again(Again),
    /// Write a crash to a new file, for a colleague: what is known of it, its memory, its image, and the image's debug information if it is there. The memory may
    /// hold anything that was in the guest
    Export {
        /// The file to write: a tar, compressed by zstd
        file: PathBuf,
        /// The run's number, as for `show` [default: the newest]
        id: Option<String>,
    },
    /// Add the crash in a file to this project as a run, which every command here then takes. Each content is checked against its digest. `again` runs what is in
    /// the file: import only from people you trust
    Import {
        /// The file
        file: PathBuf,
    },
    /// Remove a crash, and its memory
    Rm {
        /// The run's number, as for `show`
        #[arg(required_unless_present = "all")]
        id: Option<String>,
        /// All crashes of this project
        #[arg(long, conflicts_with = "id")]
        all: bool,
    },
}

#[derive(Debug, Clone, Subcommand)]
pub(in crate::cli) enum KernelCommand {
    /// Open the kernel's own menu (menuconfig) over its resolved config, show what changed, and save it as lines of kernel.config in the project's
    /// quiz.toml, whose comments and order stay. Symbols that follow from others are not saved
    Config {
        /// Without the menu: change this symbol, as in KASAN=y (repeatable)
        #[arg(long, value_name = "SYMBOL=VALUE")]
        set: Vec<String>,
        /// Show the change, and save nothing
        #[arg(long)]
        dry_run: bool,
        /// Change nothing, and compare the configs of two kernels, each as for -k, or two files
        #[arg(long, num_args = 2, value_names = ["A", "B"], conflicts_with_all = ["set", "dry_run"])]
        diff: Option<Vec<String>>,
    },
}

#[derive(Debug, Clone, Subcommand)]
pub(in crate::cli) enum NewCommand {
    /// A stage: a recipe.toml and a script, in .quiz/recipes/NAME; `quiz build NAME` makes it
    Recipe {
        /// Its name: small letters, digits and dashes
        name: String,
    },
    /// An add-on to the guest: a profile.toml and a hook, in .quiz/profiles/NAME; `quiz up -p NAME` turns it on
    Profile {
        /// Its name: small letters, digits and dashes
        name: String,
    },
}

#[derive(Debug, Clone, Subcommand)]
pub(in crate::cli) enum ProfilesCommand {
    /// As `quiz new profile`
    #[command(hide = true)]
    New {
        /// Its name: small letters, digits and dashes
        name: String,
    },
}
