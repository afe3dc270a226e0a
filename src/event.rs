//! What happens while quiz works, as data. The library sends these; only `report` turns them into text.

pub mod told;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::time::Duration;

/// Where events go. Called from any thread.
pub type Events<'a> = &'a (dyn Fn(Event) + Sync);

/// The version of what `--json` prints and of what is in the files for programs. What may change without another one: docs/json.md.
pub const FORMAT: u32 = 1;

/// What an exit status is about: the program, its machine, or quiz.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Ending {
    /// The program's own: it ended, and all that it wrote arrived.
    Program,
    /// 122: the guest went away by itself.
    Lost,
    /// 123: the guest's kernel gave up.
    Panic,
    /// 123: the guest's kernel complained, with `--fail-on-warning`.
    Warning,
    /// 124: a time limit was over.
    TimeLimit,
    /// 125: quiz or the host failed.
    Host,
    /// 128 + n: signal n ended quiz.
    Signal,
}

/// Something that happened.
#[allow(missing_docs, reason = "the line of a variant says what its fields are")]
#[derive(Debug, Clone, PartialEq, Serialize, JsonSchema)]
#[serde(tag = "event", rename_all = "kebab-case")]
pub enum Event {
    /// The first line of `--json`: the version of the format of all that follows.
    Format { version: u32 },
    /// A moving name ("6.1") was pinned in quiz.lock.
    Resolved { entry: String, wanted: String, pinned: String },
    /// Bytes of a download so far. `total` is unknown for some servers.
    Download { what: String, done: u64, total: Option<u64> },
    /// A stage begins. `last`: how long it took when it was last made.
    Started { stage: String, log: String, last: Option<Duration> },
    /// How much is done of something that takes its time. `total` may be unknown, or what it was last time; `left`, how long it still takes, is set
    /// where that is not told by the speed so far. When `done` is `total` it is over.
    Progress { what: String, unit: Unit, done: u64, total: Option<u64>, left: Option<Duration> },
    /// A stage printed a line.
    Output { stage: String, line: String },
    /// Another process makes this stage; this one waits for it.
    Waiting { stage: String, pid: u32 },
    /// Another process has what only one can have at a time, such as the cache: waits until `what` has ended.
    Paused { what: String },
    /// A run was ended from outside.
    Stopped { run: String },
    /// A stage was made.
    Finished { stage: String, took: Duration },
    /// A stage came out of the cache.
    Cached { stage: String },
    /// A stage failed; its error comes at the end.
    Failed { stage: String, log: String },
    /// Of several kernels this one is next.
    Turn { kernel: String },
    /// How the program ended on each of several kernels: name, exit status of `quiz up`, in words.
    Compared { rows: Vec<(String, u8, String)> },
    /// The machine starts, with its kernel or from a snapshot. `why_not_kvm` is set when an accelerator was there but does not work.
    Booting { run: String, accelerator: String, why_not_kvm: Option<String>, restored: bool },
    /// The guest takes requests. Milliseconds since quiz started qemu.
    Ready { milliseconds: u64 },
    /// A step of a run is done: `quiz` (all before qemu starts), `firmware`, `kernel`, `restore`, `save`, `hooks`, `wake`, `program`,
    /// `end`. Shown when timings are asked for.
    Step { name: &'static str, took: Duration },
    /// A line of the guest's kernel log, to be shown among the program's output.
    Kernel { line: String },
    /// A group of tests starts in a machine of its own.
    GroupStarted { group: String, tests: usize },
    /// A test of a group that runs ended.
    TestEnded { group: String, test: String, verdict: String },
    /// A group of tests ended, or came out of the cache. `unexpected`: so many tests did not end as they should.
    GroupEnded { group: String, tests: usize, unexpected: usize, took: Duration, cached: bool },
    /// The guest's kernel complained of something that ended nothing: its words, and the log with the rest.
    Complained { words: String, log: String },
    /// The guest's memory is being written, and why: how the run ended, and the status of that, before anything else is said of it; none while the machine
    /// goes on, or where the program had ended. `over`: the program has ended, and does not have the terminal any more.
    Dumping { why: String, status: Option<u8>, over: bool },
    /// The guest's memory was written: the run's folder, what was wrong, how many bytes hold something, and how long it took.
    Dumped { run: String, title: String, used: u64, took: Duration },
    /// The program has ended, and its machine is being saved under a name. The program does not have the terminal any more.
    Saving,
    /// The machine was saved under that name, in so many bytes.
    Kept { name: String, bytes: u64 },
    /// The machine stands still for a debugger: before it begins, or when it is over; where its files lie.
    Stands { run: String },
    /// The machine is gone before its program ended: how, and where its files lie.
    Ended { how: String, run: String },
    /// A program's end, or its machine's: the exit status of `up` or `exec`, whose it is, the program's own where it is known, and in words.
    Outcome { status: u8, ending: Ending, program: Option<u8>, how: String },
    /// Something the user should know that stops nothing.
    Warning { message: String },
    /// Something that `-v` shows.
    Note { message: String },
}

/// What is counted of something that takes its time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Unit {
    /// Things that make says it made: objects, archives, programs; and what of a cache is looked at, or removed.
    Objects,
    /// Files that are looked at, or read.
    Files,
    /// Things that configure looked for.
    Checks,
    /// Debian packages.
    Packages,
    /// Tests that ended, or that the cache knows the end of.
    Tests,
    /// Bytes that are read or written.
    Bytes,
}

/// Gives what is to be called with the process that has to be waited for because it makes `stage`: it sends the event, unless that process is this
/// one, in which two machines may want the same snapshot.
pub fn waiting<'a>(events: Events<'a>, stage: &'a str) -> impl Fn(u32) + 'a {
    move |pid| {
        if pid != std::process::id() {
            events(Event::Waiting { stage: stage.to_owned(), pid });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_waits_for_others_not_for_oneself() {
        let own = std::process::id();
        let said = std::sync::Mutex::new(Vec::new());
        let events = |event| said.lock().unwrap().push(event);
        let waiting = waiting(&events, "a snapshot");
        waiting(own);
        waiting(own + 1);
        drop(waiting);
        assert_eq!(said.into_inner().unwrap(), [Event::Waiting { stage: "a snapshot".into(), pid: own + 1 }]);
    }
}
