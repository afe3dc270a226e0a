//! What `--json` prints, as types: results of commands, and the errors among the events. `schema.rs` makes schemas of them.
//!
//! Paths are texts: a name that is not UTF-8 is shown as well as it can be. Events, and what other rooms write to files themselves, have their types there. A field may be added to a type at any time; what else changes
//! one is a new [`FORMAT`](crate::event::FORMAT).

mod cache;
mod causes;
mod machines;
mod written;

use crate::event::Event;
use schemars::JsonSchema;
use serde::Serialize;
use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};

pub(super) use cache::{
    CacheContents, CacheItem, Checked, Cleaned, HeldBy, Left as LeftThere, Pinned, Removed as RemovedPath, Wrong,
};
pub(super) use causes::{Cause, GraphWhy, LastTook, WouldCost};
pub(super) use machines::{Frame, Left, LeftWhole, Listed, Machine, OwnSnapshot, Tested};
pub(super) use written::{
    Begun, CrashExported, CrashImported, Exported, Imported, KernelChanged, KernelEdited, Started, Written,
};

/// `quiz build`: where each output lies in the cache, by `stage/output`.
pub(super) type Built = BTreeMap<String, String>;

/// `quiz trust`: the folders of projects that are trusted.
pub(super) type Trusted = Vec<String>;

/// A line of stderr.
#[derive(Debug, Serialize, JsonSchema)]
#[serde(untagged)]
pub(super) enum Line<'a> {
    /// Something that happened.
    Event(&'a Event),
    /// The error with which quiz ends.
    Failure(Failure),
}

/// Why quiz could not do what was asked, as one of the events: nothing follows it.
#[derive(Debug, Serialize, JsonSchema)]
pub(super) struct Failure {
    /// `error`
    #[schemars(extend("const" = "error"))]
    pub event: &'static str,
    /// `input`: what was asked for is wrong. `build`: a stage or the host failed. `boot`: the machine did.
    #[schemars(extend("enum" = ["input", "build", "boot"]))]
    pub kind: &'static str,
    /// What is wrong, in a line.
    pub message: String,
    /// The place in a file that is wrong, where it is one.
    pub place: Option<FilePlace>,
    /// Lines that belong to it: the end of a log, the kernel's words.
    pub details: Vec<String>,
    /// What led to it, the nearest first.
    pub causes: Vec<String>,
    /// What to do or to type next.
    pub hints: Vec<String>,
}

/// A place in a file.
#[derive(Debug, Serialize, JsonSchema)]
pub(super) struct FilePlace {
    /// The file.
    pub path: String,
    /// The number of the line, from 1 on.
    pub line: usize,
    /// The column in which what is wrong begins, in characters from 1 on.
    pub column: usize,
    /// How many characters of the line are wrong.
    pub width: usize,
    /// What is wrong with them, in a few words; may be empty.
    pub label: String,
}

/// A stage, or a snapshot of the machine. `quiz graph` prints an array of these, inputs first.
#[derive(Debug, Default, Serialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub(super) struct Stage<'a> {
    /// Its name.
    pub stage: String,
    /// `cached`: it is there. `missing`: it was never made here. `stale`: it was, of something else. `unknown`: it depends on a stage that is not
    /// there. `unresolved`: quiz.lock does not say what it is made of. `none`: a snapshot that is not made.
    #[schemars(extend("enum" = ["cached", "missing", "stale", "unknown", "unresolved", "none"]))]
    pub state: &'static str,
    /// The stages that it reads.
    pub inputs: Vec<String>,
    /// What names its result in the cache, where that is known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub key: Option<String>,
    /// How long it took when it was made.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub seconds: Option<f64>,
    /// `from nothing`, or `incrementally`.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(extend("enum" = ["from nothing", "incrementally", null]))]
    pub built: Option<&'static str>,
    /// What it made.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub outputs: Option<BTreeMap<String, Output>>,
    /// What is different since it was last made; empty if it never was.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub changes: Option<Vec<Changed>>,
    /// Of `quiz why`: what the key is made of.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub made_from: Option<BTreeMap<String, String>>,
    /// It was made under this very key, and its result is not there any more.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub gone: Option<bool>,
    /// Of `quiz why`: what changed at the root.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub causes: Option<Vec<Cause<'a>>>,
    /// Of what would be made: how long it took last; null when nobody knows.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last_seconds: Option<Option<f64>>,
    /// Of what would be made: it is on the critical path, for which a build waits longest.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub on_critical_path: Option<bool>,
    /// Of a snapshot that is there: bytes on the disk.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub bytes: Option<u64>,
    /// Of a snapshot that is not made or not known: why.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub why: Option<String>,
}

/// What a stage made.
#[derive(Debug, Serialize, JsonSchema)]
pub(super) struct Output {
    /// Its BLAKE3 digest.
    pub digest: String,
    /// How large it is.
    pub bytes: u64,
}

/// What is different about an ingredient of a stage.
#[derive(Debug, Serialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub(super) struct Changed {
    /// The ingredient.
    pub name: String,
    /// What it was; null when it is new.
    pub before: Option<String>,
    /// What it is; null when it is gone.
    pub after: Option<String>,
    /// The same for people, where quiz knows more of it.
    pub in_words: Option<Vec<String>>,
}

/// `quiz verify`.
#[derive(Debug, Serialize, JsonSchema)]
pub(super) struct Compared<'a> {
    /// The stage that was made twice.
    pub stage: &'a str,
    /// Whether both came to the same bytes.
    pub same: bool,
    /// What differs.
    pub differences: Vec<Differs<'a>>,
    /// The folders of both, if they differ.
    pub kept: Option<[Cow<'a, str>; 2]>,
}

/// A path that differs.
#[derive(Debug, Serialize, JsonSchema)]
pub(super) struct Differs<'a> {
    /// The output, and of a tree the path in it.
    pub path: &'a str,
    /// `content`, `mode`, `link-target`, `kind`, `only-in-first` or `only-in-second`.
    pub what: &'a [&'static str],
}

/// A setting. `quiz config` prints an object of these, by name.
#[derive(Debug, Serialize, JsonSchema)]
pub(super) struct Setting {
    /// What it is set to.
    pub value: SettingValue,
    /// Where that comes from.
    pub origin: String,
}

/// What a setting is set to.
#[derive(Debug, Serialize, JsonSchema)]
#[serde(untagged)]
pub(super) enum SettingValue {
    /// Words, or a path.
    Text(String),
    /// Several of them.
    List(Vec<String>),
    /// A number that is not below 0.
    Number(u64),
    /// Yes or no.
    Flag(bool),
}

/// What a collection removed from a folder of the cache. `quiz gc` prints an object of these, by folder.
#[derive(Debug, Serialize, JsonSchema)]
pub(super) struct Removed {
    /// How many files or folders.
    pub number: usize,
    /// Bytes on the disk.
    pub bytes: u64,
}

/// `quiz doctor`.
#[derive(Debug, Serialize, JsonSchema)]
pub(super) struct Health<'a> {
    /// The host's tools that any stage needs.
    pub tools: Vec<Tool<'a>>,
    /// What else matters.
    pub checks: Vec<Check<'a>>,
    /// What is different about tools since they were last used.
    pub changed: &'a BTreeSet<String>,
}

/// A tool of the host.
#[derive(Debug, Serialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub(super) struct Tool<'a> {
    /// Its name.
    pub tool: &'a str,
    /// The Debian package that has it.
    pub package: &'a str,
    /// Where it lies; null if it is missing.
    pub found: Option<Cow<'a, str>>,
    /// What the links there lead to.
    pub runs: Option<Cow<'a, str>>,
    /// The recipes and profiles that need it; empty for quiz itself.
    pub needed_by: &'a BTreeSet<String>,
}

/// Something else that matters.
#[derive(Debug, Serialize, JsonSchema)]
pub(super) struct Check<'a> {
    /// What was looked at.
    pub check: &'a str,
    /// Whether nothing is wrong with it.
    pub ok: bool,
    /// What was found.
    pub what: &'a str,
}

/// A profile. `quiz profiles` prints an array of these.
#[derive(Debug, Serialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub(super) struct Profile<'a> {
    /// Its name.
    pub profile: &'a str,
    /// What it is for.
    pub about: &'a str,
    /// Whether it is on.
    pub on: bool,
    /// Whether it is the project's own.
    pub own: bool,
    /// Its folder.
    pub path: Cow<'a, str>,
    /// What can be set behind its name.
    pub options: BTreeMap<&'a str, ProfileOption<'a>>,
    /// Debian packages of the root.
    pub packages: &'a [String],
    /// Lines of the kernel config.
    pub kernel: &'a [String],
    /// Outputs whose modules are loaded.
    pub modules: &'a [String],
    /// Outputs that lie over the root.
    pub layers: &'a [String],
    /// Words of the kernel's command line.
    pub append: Vec<String>,
    /// More words of it where the program has no terminal.
    pub append_batch: &'a [String],
    /// Least memory in MiB.
    pub memory: u32,
    /// Least processors.
    pub cpus: u32,
    /// NUMA nodes.
    pub numa: u32,
    /// The suite of what compiles kernels, where nobody has set any; "" if it does not say.
    pub kernel_toolchain: &'a str,
    /// Arguments of qemu.
    pub qemu_args: &'a [String],
    /// Profiles that have to be on, too.
    pub needs: &'a [String],
    /// Profiles that must not be on.
    pub conflicts: &'a [String],
    /// The program of the guest that starts the user's program on a terminal.
    pub wrap: Option<&'a str>,
    /// Devices, for people.
    pub devices: Vec<String>,
    /// What has to be made before a machine with it can start.
    pub cost: Cost<'a>,
}

/// An option of a profile.
#[derive(Debug, Serialize, JsonSchema)]
pub(super) struct ProfileOption<'a> {
    /// What it is when it is not set.
    pub default: &'a str,
    /// What it is now.
    pub value: &'a str,
    /// What it is for.
    pub about: &'a str,
}

/// What has to be made before a machine can start.
#[derive(Debug, Serialize, JsonSchema)]
#[serde(untagged)]
pub(super) enum Cost<'a> {
    /// These stages.
    Stages {
        /// Their names, inputs first; none when all is in the cache.
        stages: &'a [String],
        /// How long those took when they were last made.
        seconds: f64,
        /// How many of them were never made.
        unknown: usize,
    },
    /// The profile cannot be on now.
    No {
        /// Why it cannot.
        #[serde(rename = "not-now")]
        not_now: &'a str,
    },
}
