//! The flags that every command takes, and how those before its name and those behind it come together. Knows no command.

use crate::report::Color;
use clap::Args;
use std::path::PathBuf;

// Not a doc comment, which clap would take for what the command is about.
#[derive(Debug, Clone, Args)]
pub(in crate::cli) struct Global {
    /// Work as if quiz had been started in DIR
    #[arg(short = 'C', long = "directory", value_name = "DIR")]
    pub directory: Option<PathBuf>,
    /// Kernel: a series (6.1), an exact version (6.1.170), a tag, branch or commit, or the address of a tarball; `package` or
    /// 6.12@package is a kernel that the distribution compiled; `up` takes several (repeatable, or
    /// with commas between), and runs the program on each
    #[arg(short, long, value_name = "VERSION")]
    pub kernel: Vec<String>,
    /// Add a line to the kernel config, such as CONFIG_KASAN=y (repeatable)
    #[arg(long, value_name = "LINE")]
    pub config: Vec<String>,
    /// A file of such lines, or a whole .config; a relative path starts at the project's folder
    #[arg(long, value_name = "FILE")]
    pub config_file: Option<String>,
    /// Add a Debian package to the root (repeatable)
    #[arg(long, value_name = "NAME")]
    pub package: Vec<String>,
    /// Compile the kernel modules of a folder that has a Kbuild or Makefile, and load them before the program (repeatable; in this order)
    #[arg(long, value_name = "DIR")]
    pub module: Vec<String>,
    /// Turn a profile on, with options if it has some: memdev, memdev:count=2,size=1G (repeatable, or with commas between:
    /// zfs,memdev:count=2,net; a word that is an option of the profile before it is that option)
    #[arg(short, long, value_name = "NAME[:OPTION=VALUE,…]")]
    pub profile: Vec<String>,
    /// Compilers at once over all stages [default: one per core]; of `test` also machines side by side [default: the same, as memory allows]
    #[arg(short, long, value_name = "N")]
    pub jobs: Option<u64>,
    /// Never use the network; what would need it is an error
    #[arg(long)]
    pub offline: bool,
    /// Colours on stdout and stderr [default: auto]
    #[arg(long, value_name = "WHEN", value_enum)]
    pub color: Option<Color>,
    /// Say only errors and warnings
    #[arg(short, long, conflicts_with = "verbose")]
    pub quiet: bool,
    /// Say everything, the output of scripts included
    #[arg(short, long)]
    pub verbose: bool,
    /// Events on stderr and results on stdout as JSON, as `quiz schema` describes them
    #[arg(long)]
    pub json: bool,
    /// Append events as JSON to FILE instead of writing them to stderr, where the guest's program writes, too
    #[arg(long, value_name = "FILE")]
    pub events: Option<PathBuf>,
}

/// Lets every command, and every command of a command, take these flags. With clap's own `global = true` a flag behind the command's name
/// would replace the same flag before it; here both count (`Global::add`).
pub(super) fn everywhere(command: clap::Command) -> clap::Command {
    command.mut_subcommands(|command| everywhere(Global::augment_args(command)))
}

impl Global {
    /// Adds the flags behind a command's name to those before it: lists grow; of other flags the last one counts.
    pub(super) fn add(&mut self, behind: Self) {
        let lists = [&mut self.kernel, &mut self.config, &mut self.package, &mut self.module, &mut self.profile];
        lists
            .into_iter()
            .zip([behind.kernel, behind.config, behind.package, behind.module, behind.profile])
            .for_each(|(to, more)| to.extend(more));
        self.directory = behind.directory.or(self.directory.take());
        self.config_file = behind.config_file.or(self.config_file.take());
        self.jobs = behind.jobs.or(self.jobs);
        self.events = behind.events.or(self.events.take());
        self.color = behind.color.or(self.color);
        let switches = [&mut self.offline, &mut self.quiet, &mut self.verbose, &mut self.json];
        switches
            .into_iter()
            .zip([behind.offline, behind.quiet, behind.verbose, behind.json])
            .for_each(|(to, more)| *to |= more);
    }
}
