//! The tools of `quiz mcp`: what each takes, and the command line of quiz that it stands for.
//!
//! Each word that a client gives is one argument's value, behind `--flag=` or behind `--`: none can be a flag. What would let a client reach more of
//! this machine than the project's folders and a guest (shares, arguments of qemu, installing packages) is no argument of any tool. Runs nothing.

use super::jobs::Asked;
use super::pages::Part;
use crate::cli::args::Global;
use crate::error::{Error, Result};
use schemars::generate::SchemaSettings;
use schemars::{JsonSchema, Schema};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value as Json, json};
use std::ffi::OsString;
use std::path::Path;

/// Which project, and what of its settings is otherwise.
#[derive(Debug, Default, Deserialize, JsonSchema)]
pub(super) struct Project {
    /// A folder in the project [default: where quiz mcp was started]
    pub directory: Option<String>,
    /// Kernel: a series (6.1), an exact version (6.1.170), a tag, branch or commit, the address of a tarball, or `package`
    pub kernel: Option<String>,
    /// Profiles to turn on, with options if they have some: zfs, memdev:count=2,size=1G
    #[serde(default)]
    pub profiles: Vec<String>,
    /// Lines of the kernel config: CONFIG_KASAN=y
    #[serde(default)]
    pub config: Vec<String>,
    /// Debian packages for the root
    #[serde(default)]
    pub packages: Vec<String>,
    /// Folders of kernel modules to compile and load
    #[serde(default)]
    pub modules: Vec<String>,
    /// Never use the network; what would need it is an error
    #[serde(default)]
    pub offline: bool,
}

/// The machine.
#[derive(Debug, Default, Deserialize, JsonSchema)]
pub(super) struct Guest {
    /// Its memory: 512M, 4G
    pub memory: Option<String>,
    /// Its processors
    pub cpus: Option<u32>,
    /// What runs its instructions: tcg emulates them, kvm is an error where KVM does not work, auto is KVM where it works
    pub accel: Option<String>,
    /// Words for its kernel's command line
    #[serde(default)]
    pub append: Vec<String>,
    /// End it after so many seconds
    #[schemars(range(min = 1))]
    pub timeout: Option<u64>,
    /// Boot instead of starting from a snapshot of an equal machine
    #[serde(default)]
    pub no_snapshot: bool,
}

/// How long a tool waits for a job before it answers with what there is.
#[derive(Debug, Default, Deserialize, JsonSchema)]
pub(super) struct Patience {
    /// Seconds to wait for the end before this tool answers: 50 at most. The job goes on in any case
    #[schemars(range(max = 50))]
    pub wait: Option<u64>,
}

#[derive(Debug, Default, Deserialize, JsonSchema)]
pub(super) struct Build {
    #[serde(flatten)]
    pub project: Project,
    #[serde(flatten)]
    pub patience: Patience,
    /// Stages, as graph names them [default: image]
    #[serde(default)]
    pub stages: Vec<String>,
    /// Make these stages from nothing
    #[serde(default)]
    pub fresh: bool,
}

#[derive(Debug, Default, Deserialize, JsonSchema)]
pub(super) struct Run {
    #[serde(flatten)]
    pub project: Project,
    #[serde(flatten)]
    pub guest: Guest,
    #[serde(flatten)]
    pub patience: Patience,
    /// The program and its arguments, each a word: ["sh", "-c", "uname -r"]. Without one the machine stays for exec until it is stopped
    #[serde(default)]
    pub program: Vec<String>,
    /// What the program reads
    #[serde(default)]
    pub input: String,
    /// The folder of the guest in which it starts [default: /root]
    pub cwd: Option<String>,
    /// Status 123 when the guest's kernel complained
    #[serde(default)]
    pub fail_on_warning: bool,
    /// Go on from this snapshot of quiz snap
    pub snapshot: Option<String>,
}

#[derive(Debug, Default, Deserialize, JsonSchema)]
pub(super) struct Exec {
    #[serde(flatten)]
    pub patience: Patience,
    /// A folder in the project [default: where quiz mcp was started]
    pub directory: Option<String>,
    /// The run's number [default: the newest machine of the project that runs]
    pub run: Option<String>,
    /// The program and its arguments, each a word
    #[schemars(length(min = 1))]
    pub program: Vec<String>,
    /// What the program reads
    #[serde(default)]
    pub input: String,
    /// The folder of the guest in which it starts [default: /root]
    pub cwd: Option<String>,
}

#[derive(Debug, Default, Deserialize, JsonSchema)]
pub(super) struct Test {
    #[serde(flatten)]
    pub project: Project,
    #[serde(flatten)]
    pub guest: Guest,
    #[serde(flatten)]
    pub patience: Patience,
    /// Only groups of the ZFS Test Suite with one of these tags
    #[serde(default)]
    pub tags: Vec<String>,
    /// Only these tests or groups of it: atime_001_pos, zpool_add*
    #[serde(default)]
    pub tests: Vec<String>,
    /// Only groups that can be affected by what changed since this commit
    pub since: Option<String>,
    /// Instead of the suite: commands for the shell, each in a machine of its own
    #[serde(default)]
    pub commands: Vec<String>,
    /// Take no result from the cache
    #[serde(default)]
    pub rerun: bool,
    /// Machines side by side
    #[schemars(range(min = 1))]
    pub jobs: Option<u32>,
}

#[derive(Debug, Default, Deserialize, JsonSchema)]
pub(super) struct Graph {
    #[serde(flatten)]
    pub project: Project,
    #[serde(flatten)]
    pub part: Part,
    /// All stages that there are, not only those of the image
    #[serde(default)]
    pub all: bool,
}

#[derive(Debug, Default, Deserialize, JsonSchema)]
pub(super) struct Why {
    #[serde(flatten)]
    pub project: Project,
    /// The stage, as graph names it
    pub stage: String,
}

/// The run for crash and logs, and the part of their answer.
#[derive(Debug, Default, Deserialize, JsonSchema)]
pub(super) struct OfRun {
    #[serde(flatten)]
    pub part: Part,
    /// A folder in the project [default: where quiz mcp was started]
    pub directory: Option<String>,
    /// The run's number, with the group behind it for one of a test: 7, 7/functional.atime
    pub run: Option<String>,
}

#[derive(Debug, Default, Deserialize, JsonSchema)]
pub(super) struct OfJob {
    #[serde(flatten)]
    pub patience: Patience,
    /// The cursor and number of events
    #[serde(flatten)]
    pub part: Part,
    /// The job's number; without one: a list of all
    pub job: Option<u32>,
    /// The byte of what the program wrote to stdout from which on it is shown
    #[serde(default)]
    pub stdout_from: u64,
    /// The byte of what the program wrote to stderr from which on it is shown
    #[serde(default)]
    pub stderr_from: u64,
    /// All events, each line that a script of a stage prints and the progress of downloads, too
    #[serde(default)]
    pub all: bool,
}

#[derive(Debug, Default, Deserialize, JsonSchema)]
pub(super) struct Stop {
    /// The job's number
    pub job: u32,
}

/// What a client can give: a JSON Schema that allows nothing else.
pub(super) fn schema<T: JsonSchema>() -> Schema {
    let mut schema = SchemaSettings::draft2020_12().into_generator().into_root_schema_for::<T>();
    schema.insert("additionalProperties".to_owned(), json!(false));
    schema
}

/// What a client gave.
///
/// # Errors
/// There is no such argument, or it is of another kind.
pub(super) fn read<T: DeserializeOwned + JsonSchema>(given: Map<String, Json>) -> Result<T> {
    let schema = schema::<T>();
    let known: Vec<&String> =
        schema.get("properties").and_then(Json::as_object).map(|all| all.keys().collect()).unwrap_or_default();
    if let Some(name) = given.keys().find(|name| !known.contains(name)) {
        let all = known.iter().map(|known| known.as_str()).collect::<Vec<_>>().join(", ");
        return Err(Error::input(format!("there is no argument `{name}`")).hint(format!("there are: {all}")));
    }
    serde_json::from_value(Json::Object(given))
        .map_err(|e| Error::input(format!("the arguments are wrong: {e}")).hint("tools/list has what each is"))
}

/// A command line of quiz, while it is put together.
struct Line(Vec<OsString>);

impl Line {
    /// A line for this command in that folder; a relative one begins in the folder that `quiz mcp` itself got.
    fn new(command: &str, global: &Global, directory: Option<&str>) -> Self {
        let mut line = Self(Vec::new());
        let base = global.directory.as_deref().unwrap_or(Path::new("."));
        line.0.push(command.into());
        let directory = directory.map_or_else(|| base.to_owned(), |directory| base.join(directory));
        line.flag_os("--directory", directory.into_os_string());
        line
    }

    fn flag_os(&mut self, flag: &str, value: OsString) {
        let mut word = OsString::from(format!("{flag}="));
        word.push(value);
        self.0.push(word);
    }

    fn flags<'v>(&mut self, flag: &str, values: impl IntoIterator<Item = &'v String>) {
        values.into_iter().for_each(|value| self.flag_os(flag, value.into()));
    }

    fn switch(&mut self, flag: &str, on: bool) {
        self.0.extend(on.then(|| flag.into()));
    }

    fn behind_dashes<'v>(mut self, words: impl IntoIterator<Item = &'v String>) -> Vec<OsString> {
        let words = words.into_iter().map(OsString::from);
        self.0.push("--".into());
        self.0.extend(words);
        self.0
    }

    fn of(command: &str, global: &Global, project: &Project) -> Result<Self> {
        let mut line = Self::new(command, global, project.directory.as_deref());
        if let Some(kernel) = &project.kernel
            && kernel.contains(',')
            && !kernel.contains("://")
        {
            return Err(Error::input("a tool takes one kernel").hint("call it once for each"));
        }
        let kernels = if project.kernel.is_some() { &[][..] } else { &global.kernel };
        line.flags("--kernel", project.kernel.iter().chain(kernels));
        line.flags("--profile", global.profile.iter().chain(&project.profiles));
        line.flags("--config", global.config.iter().chain(&project.config));
        line.flags("--config-file", &global.config_file);
        line.flags("--package", global.package.iter().chain(&project.packages));
        line.flags("--module", global.module.iter().chain(&project.modules));
        line.switch("--offline", global.offline || project.offline);
        Ok(line)
    }

    fn guest(&mut self, guest: &Guest) {
        self.flags("--memory", &guest.memory);
        self.flags("--cpus", &guest.cpus.map(|cpus| cpus.to_string()));
        self.flags("--accel", &guest.accel);
        self.flags("--append", &guest.append);
        self.flags("--timeout", &guest.timeout.map(|seconds| seconds.to_string()));
        self.switch("--no-snapshot", guest.no_snapshot);
    }

    fn jobs(&mut self, jobs: Option<u64>) {
        self.flags("--jobs", &jobs.map(|jobs| jobs.to_string()));
    }
}

/// A run's number begins with a digit, so that it cannot be a flag. Whether there is such a run the command that is started says.
fn run_number(run: Option<&String>) -> Result<Option<&String>> {
    match run {
        Some(run) if !run.starts_with(|c: char| c.is_ascii_digit()) => {
            Err(Error::input(format!("`{run}` is no run's number")).hint("7, or 7/functional.atime for one of a test"))
        }
        run => Ok(run),
    }
}

impl Build {
    pub fn asked(&self, global: &Global) -> Result<Asked> {
        let mut line = Line::of("build", global, &self.project)?;
        line.jobs(global.jobs);
        line.switch("--fresh", self.fresh);
        Ok(Asked { words: line.behind_dashes(&self.stages), ..Asked::default() })
    }
}

impl Run {
    pub fn asked(&self, global: &Global) -> Result<Asked> {
        let mut line = Line::of("up", global, &self.project)?;
        line.jobs(global.jobs);
        line.guest(&self.guest);
        line.flags("--cwd", &self.cwd);
        line.flags("--from", &self.snapshot);
        line.switch("--fail-on-warning", self.fail_on_warning);
        // Without a program it would be a shell, which ends at once where nobody types.
        let stays = ["sleep", "infinity"].map(str::to_owned);
        let words = if self.program.is_empty() { &stays[..] } else { &self.program };
        Ok(Asked { words: line.behind_dashes(words), input: self.input.clone() })
    }
}

impl Exec {
    pub fn asked(&self, global: &Global) -> Result<Asked> {
        if self.program.is_empty() {
            return Err(Error::input("there is no program to run").hint("program: [\"uname\", \"-r\"]"));
        }
        let mut line = Line::new("exec", global, self.directory.as_deref());
        line.flags("--cwd", &self.cwd);
        line.0.extend(run_number(self.run.as_ref())?.map(OsString::from));
        Ok(Asked { words: line.behind_dashes(&self.program), input: self.input.clone() })
    }
}

impl Test {
    pub fn asked(&self, global: &Global) -> Result<Asked> {
        if let Some(command) = self.commands.iter().find(|command| command.contains('\n')) {
            return Err(Error::input(format!("a command is one line: {command:?}")).hint("join its lines with ;"));
        }
        let mut line = Line::of("test", global, &self.project)?;
        line.guest(&self.guest);
        line.jobs(self.jobs.map(u64::from).or(global.jobs));
        line.flags("--tag", &self.tags);
        line.flags("--test", &self.tests);
        line.flags("--since", &self.since);
        line.switch("--rerun", self.rerun);
        line.switch("--each=-", !self.commands.is_empty());
        Ok(Asked { words: line.0, input: self.commands.join("\n") })
    }
}

impl Graph {
    pub fn asked(&self, global: &Global) -> Result<Asked> {
        let mut line = Line::of("graph", global, &self.project)?;
        line.switch("--verbose", self.all);
        Ok(Asked { words: line.0, ..Asked::default() })
    }
}

impl Why {
    pub fn asked(&self, global: &Global) -> Result<Asked> {
        let line = Line::of("why", global, &self.project)?;
        Ok(Asked { words: line.behind_dashes([&self.stage]), ..Asked::default() })
    }
}

impl OfRun {
    /// One crash, or without a run the list of all.
    pub fn crash(&self, global: &Global) -> Result<Asked> {
        let mut line = Line::new("crash", global, self.directory.as_deref());
        let run = run_number(self.run.as_ref())?;
        line.0.push(if run.is_some() { "show" } else { "ls" }.into());
        line.0.extend(run.map(OsString::from));
        Ok(Asked { words: line.0, ..Asked::default() })
    }

    pub fn logs(&self, global: &Global) -> Result<Asked> {
        let mut line = Line::new("logs", global, self.directory.as_deref());
        line.0.extend(run_number(self.run.as_ref())?.map(OsString::from));
        Ok(Asked { words: line.0, ..Asked::default() })
    }
}
