//! The commands of commands: of `cache`, `crash` and `profiles`.

use super::{Again, Debugger};
use clap::Subcommand;
use std::path::PathBuf;

#[derive(Debug, Clone, Subcommand)]
pub(in crate::cli) enum CacheCommand {
    /// Write what these stages made to a new file; what is missing is made first. What was built incrementally stays here
    Export {
        /// The file: a tar in zstd
        file: PathBuf,
        /// Stages, as `quiz graph` names them
        #[arg(required = true)]
        stages: Vec<String>,
    },
    /// Take in what a file of results has and the cache has not. Each content is checked; that it belongs to its key is the word of who made the
    /// file
    Import {
        /// The file
        file: PathBuf,
    },
}

#[derive(Debug, Clone, Subcommand)]
pub(in crate::cli) enum CrashCommand {
    /// Show those of this project; equal ones have one signature
    Ls,
    /// Show what is known of one; if its debug information is in the cache, the trace with the source's lines and with what was inlined there
    Show {
        /// The run's number, with the group behind it for one of `quiz test`: 7, 7/functional.atime [default: the newest]
        id: Option<String>,
        /// Make that debug information first, if it is missing: it takes minutes, once for each kernel
        #[arg(long)]
        lines: bool,
        /// Show all of zfs_dbgmsg, which is read out of the memory: otherwise the last 50 lines
        #[arg(long)]
        all: bool,
    },
    /// Look into the memory of one with drgn (which has to be installed), with the kernel's types, functions and lines: makes its debug information
    /// first, if that is missing
    #[command(after_help = "Exit status: drgn's own; 1 or 2 quiz could not do its part.")]
    Drgn(Debugger),
    /// The same with gdb (which has to be installed)
    #[command(after_help = "Exit status: gdb's own; 1 or 2 quiz could not do its part.")]
    Gdb(Debugger),
    /// Run the program again in the very machine that crashed: its kernel, layers, memory and command line, with empty disks; builds nothing and takes no snapshot
    #[command(
        after_help = "Exit status: that of `quiz up`: the program's own; 123 the guest's kernel gave up; 125 quiz could not do its part."
    )]
    Again(Again),
    /// Write one to a new file, for a colleague: what is known of it, its memory, its image, and the debug information of that if it is there. The memory may hold
    /// anything that was in the guest
    Export {
        /// The file: a tar in zstd
        file: PathBuf,
        /// The run's number, as for `show` [default: the newest]
        id: Option<String>,
    },
    /// Make a run of this project of the crash in a file, which every command here then takes. Each content is checked. `again` runs what is in it: take files only
    /// of whom you trust
    Import {
        /// The file
        file: PathBuf,
    },
    /// Remove one, the memory with it
    Rm {
        /// The run's number, as for `show`
        #[arg(required_unless_present = "all")]
        id: Option<String>,
        /// All of this project
        #[arg(long, conflicts_with = "id")]
        all: bool,
    },
}

#[derive(Debug, Clone, Subcommand)]
pub(in crate::cli) enum ProfilesCommand {
    /// Write a start for a profile of your own into .quiz/profiles
    New {
        /// Its name: small letters, digits and dashes
        name: String,
    },
}
