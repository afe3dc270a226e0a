//! What `--json` prints of machines: those that run or ran, what is left of them, what was tested in them.

use crate::boot::crash::Crash;
use crate::engine::debug::dbgmsg::Message;
use crate::engine::debug::lines::Place;
use crate::engine::debug::tasks::Task;
use crate::test::Results;
use schemars::JsonSchema;
use serde::Serialize;
use std::borrow::Cow;

/// `quiz test`.
#[derive(Debug, Serialize, JsonSchema)]
pub(in crate::report) struct Tested<'a> {
    /// The exit status.
    pub status: u8,
    /// The folder of junit.xml, results.tap and results.json.
    pub out: Cow<'a, str>,
    /// How all groups ended.
    pub results: &'a Results,
}

/// A group that would run. `quiz test --list` prints an array of these.
#[derive(Debug, Serialize, JsonSchema)]
pub(in crate::report) struct Listed<'a> {
    /// Its name.
    pub group: &'a str,
    /// Its tests.
    pub tests: &'a [String],
}

/// A machine that runs. `quiz ps` prints an array of these.
#[derive(Debug, Serialize, JsonSchema)]
pub(in crate::report) struct Machine<'a> {
    /// The run's number, with the group behind it where a run has several machines.
    pub run: &'a str,
    /// The project's folder.
    pub project: Cow<'a, str>,
    /// The release of its kernel, when that has spoken.
    pub kernel: Option<&'a str>,
    /// Bytes of this machine's memory that it takes.
    pub memory: Option<u64>,
    /// The process of quiz that has it.
    pub quiz: i32,
    /// Its qemu.
    pub qemu: i32,
    /// When qemu was started, in seconds since 1970.
    pub since: u64,
    /// The program and its arguments; empty for a shell.
    pub program: &'a [String],
    /// The profiles that are on.
    pub profiles: &'a [String],
    /// `kvm` or `tcg`.
    pub accelerator: &'a str,
    /// It did not boot: it went on from a snapshot.
    pub restored: bool,
    /// The kernel that was started, in the cache.
    pub image: &'a str,
    /// The layers of the root, in the cache, the topmost first.
    pub layers: &'a [String],
    /// The settings that were given as flags.
    pub flags: &'a [String],
    /// The line that runs it again.
    pub again: &'a str,
}

/// A snapshot of the project's own. `quiz snap` prints an array of these.
#[derive(Debug, Serialize, JsonSchema)]
pub(in crate::report) struct OwnSnapshot<'a> {
    /// Its name.
    pub name: &'a str,
    /// Where it lies.
    pub folder: Cow<'a, str>,
    /// Bytes on the disk.
    pub bytes: u64,
    /// When it was made, in seconds since 1970.
    pub made: u64,
    /// The file of it that is damaged.
    pub damaged: Option<&'a str>,
    /// Memory of the machine in MiB.
    pub memory: u32,
    /// Processors of the machine.
    pub cpus: u32,
    /// The profiles that were on.
    pub profiles: &'a [String],
    /// The settings that were given as flags.
    pub flags: &'a [String],
    /// The program that ran; empty for a shell.
    pub program: &'a [String],
    /// The line that makes it again.
    pub again: &'a str,
}

/// What is left of a guest. `quiz crash ls` prints an array of these.
#[derive(Debug, Serialize, JsonSchema)]
pub(in crate::report) struct Left<'a> {
    /// What is known of it.
    #[serde(flatten)]
    pub crash: &'a Crash,
    /// The run's number, with the group behind it where a run has several machines.
    pub run: &'a str,
    /// Where it lies.
    pub folder: String,
    /// The file of its memory, if that is there.
    pub memory: Option<Cow<'a, str>>,
}

/// `quiz crash show`: what is left of a guest, with places in the source.
#[derive(Debug, Serialize, JsonSchema)]
pub(in crate::report) struct LeftWhole<'a> {
    /// As `quiz crash ls` has it.
    #[serde(flatten)]
    pub left: Left<'a>,
    /// The places in the code that its lines name.
    pub frames: Vec<Frame>,
    /// Why it is not known where those are in the source.
    pub no_places: Option<&'a str>,
    /// What OpenZFS noted, the oldest first; null if that could not be read.
    pub zfs_dbgmsg: Option<&'a [Message]>,
    /// What its processors and waiting tasks did; null if that was not looked at (`--tasks`).
    pub tasks: Option<&'a [Task]>,
    /// Why those are not all, if so.
    pub tasks_cut: Option<&'a str>,
}

/// A place in the code that a trace names.
#[derive(Debug, Serialize, JsonSchema)]
pub(in crate::report) struct Frame {
    /// Which of `lines` names it, from 0 on.
    pub line: usize,
    /// The function.
    pub function: String,
    /// Bytes behind its beginning.
    pub offset: u64,
    /// Bytes up to the next function.
    pub size: u64,
    /// The module that has it.
    pub module: Option<String>,
    /// Where that is in the source, what is inlined first; null without debug information.
    pub places: Option<Vec<Place>>,
}
