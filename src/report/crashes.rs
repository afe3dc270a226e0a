//! What is left of guests that crashed, as a table, as a page, and as JSON.

use super::lines::{duration, size};
use super::row::aligned;
use super::style::Style;
use crate::boot::crash::{Cause, Crash};
use serde_json::json;
use std::path::PathBuf;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// A crash, and where it lies.
#[derive(Debug, Clone)]
pub struct Crashed {
    /// The run's number, with the group behind it where the run has several machines.
    pub run: String,
    /// The folder of its machine.
    pub place: PathBuf,
    /// What is known of it.
    pub crash: Crash,
    /// The file of the guest's memory, and how many bytes it takes on the disk; nothing when it was removed.
    pub memory: Option<(PathBuf, u64)>,
}

impl Crashed {
    /// The memory in a few words.
    fn memory(&self) -> String {
        match (&self.memory, &self.crash.cut) {
            (None, None) => "removed".to_owned(),
            (None, Some(_)) => "none".to_owned(),
            (Some((_, bytes)), _) => size(*bytes),
        }
    }

    fn age(&self) -> Duration {
        SystemTime::now().duration_since(UNIX_EPOCH + Duration::from_secs(self.crash.when)).unwrap_or_default()
    }
}

/// A line for each, below a head; nothing where there is none.
#[must_use]
pub fn crashes(all: &[Crashed], style: &Style) -> String {
    if all.is_empty() {
        return String::new();
    }
    let head = ["RUN", "AGO", "KERNEL", "MEMORY", "SIGNATURE", "TITLE"].map(str::to_owned);
    let row = |crashed: &Crashed| {
        let crash = &crashed.crash;
        let (kernel, place) = (crash.release.clone().unwrap_or_else(|| "-".to_owned()), crash.functions.first());
        let place = place.map_or(String::new(), |function| format!(" (in {function})"));
        let title = format!("{}{place}", crash.title);
        [crashed.run.clone(), duration(crashed.age()), kernel, crashed.memory(), crash.signature.clone(), title]
    };
    aligned(std::iter::once(head).chain(all.iter().map(row)).collect(), style)
}

/// All that is known of one. `others`: the runs with the same signature.
#[must_use]
pub fn crash(crashed: &Crashed, others: &[String], style: &Style) -> String {
    let Crashed { run, crash, memory, .. } = crashed;
    let cause = match crash.cause {
        Cause::Panic => "the guest's kernel gave up",
        Cause::Limit => "a time limit was over",
        Cause::Asked => "somebody wanted to see it; the machine went on",
    };
    let program = match &crash.program[..] {
        [] => "(a shell)".to_owned(),
        words => words.iter().map(crate::host::quoted).collect::<Vec<_>>().join(" "),
    };
    let look = memory.as_ref().map_or(String::new(), |_| format!("quiz gdb {run}, quiz drgn {run}"));
    let memory = match (memory, &crash.cut) {
        (None, None) => "removed: runs.keep-crashes has how many stay".to_owned(),
        (None, Some(why)) => format!("none: {why}"),
        (Some((path, bytes)), _) => format!("{} ({} on the disk)", path.display(), size(*bytes)),
    };
    let rows = [
        ("run", format!("{run}, {} ago: {cause}", duration(crashed.age()))),
        ("signature", [&[crash.signature.clone()][..], others].concat().join(", also in run ")),
        ("kernel", format!("{} {}", crash.release.as_deref().unwrap_or("unknown"), crash.kernel)),
        ("layers", crash.layers.join(" ")),
        ("program", program),
        ("again", crash.again.clone()),
        ("memory", memory),
        ("look", look),
        ("stack", crash.functions.join(" < ")),
    ];
    let mut text = format!("{}\n", style.bad(&crash.title));
    for (name, value) in rows.into_iter().filter(|(_, value)| !value.is_empty()) {
        text += &format!("{} {}\n", style.dim(&format!("{name:<9}")), value.replace(char::is_control, " "));
    }
    text.push('\n');
    crash.lines.iter().for_each(|line| text += &format!("{line}\n"));
    text
}

/// The same for programs.
#[must_use]
pub fn crashes_json(all: &[Crashed]) -> serde_json::Value {
    let one = |crashed: &Crashed| {
        let mut value = json!(crashed.crash);
        value["run"] = json!(crashed.run);
        value["folder"] = json!(crashed.place.join(crate::boot::crash::FOLDER));
        value["memory"] = json!(crashed.memory.as_ref().map(|(path, _)| path));
        value
    };
    all.iter().map(one).collect()
}
