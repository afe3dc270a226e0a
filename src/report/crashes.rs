//! What is left of guests that crashed, as a table, as a page, and as JSON.

use super::lines::{duration, size};
use super::plain::one_line;
use super::row::aligned;
use super::shapes::{self, Left, LeftWhole};
use super::style::Style;
use super::tasks::tasks;
use crate::boot::crash::{Cause, Crash, Frame};
use crate::engine::debug::dbgmsg::{FILE, Message};
use crate::engine::debug::lines::{Lines, Place};
use crate::engine::debug::tasks::Tasks;
use serde_json::json;
use std::path::PathBuf;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// How many lines of OpenZFS's are shown where not all of them are asked for.
pub const LOG: usize = 50;

/// Places stand in a column behind lines of at most so many characters, and directly behind longer ones.
const WIDE: usize = 100;

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

/// What debug information says of a crash.
#[derive(Debug, Clone, Default)]
pub struct Decoded {
    /// The places that the kernel's lines name.
    pub frames: Vec<Frame>,
    /// Where those are in the source; nothing if there is no debug information.
    pub lines: Option<Lines>,
    /// Why there are no places in the source.
    pub missing: Option<String>,
    /// What OpenZFS noted, the oldest first; nothing if that could not be read.
    pub log: Option<Vec<Message>>,
    /// What its processors and waiting tasks did; nothing if nobody has looked.
    pub tasks: Option<Tasks>,
}

impl Crashed {
    /// The memory in a few words.
    fn memory(&self) -> String {
        match (&self.memory, &self.crash.cut) {
            (None, None) => "removed".to_owned(),
            (None, Some(_)) => "none".to_owned(),
            (Some(_), Some(_)) => "cut short".to_owned(),
            (Some((_, bytes)), None) => size(*bytes),
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

/// All that is known of one, with so many lines of OpenZFS's at `most`. `others`: the runs with the same signature.
#[must_use]
pub fn crash(crashed: &Crashed, looked: &Decoded, most: usize, others: &[String], style: &Style) -> String {
    let Crashed { run, crash, memory, .. } = crashed;
    let cause = match crash.cause {
        Cause::Panic => "the guest's kernel gave up",
        Cause::Limit => "a time limit was over",
        Cause::Lost => "the machine ended by itself, or KVM could not go on with it",
        Cause::Asked => "`quiz dump` was asked for; the machine went on",
    };
    let program = match &crash.program[..] {
        [] => "(a shell)".to_owned(),
        words => words.iter().map(crate::host::quoted).collect::<Vec<_>>().join(" "),
    };
    let host = crash.host.as_ref().map_or(String::new(), |host| {
        let start = if host.restored { "restored" } else { "booted" };
        format!("{start}; {}, qemu {}, quiz {}", host.accel, host.qemu, host.quiz)
    });
    let is_whole = memory.is_some() && crash.cut.is_none();
    let look = if is_whole { format!("quiz gdb {run}, quiz drgn {run}") } else { String::new() };
    let memory = match (memory, &crash.cut) {
        (None, None) => "removed: runs.keep-crashes says how many stay".to_owned(),
        (None, Some(why)) => format!("none: {why}"),
        (Some((path, _)), Some(why)) => format!("{}: {why}", path.display()),
        (Some((path, bytes)), None) => {
            let lacks = if crash.release.is_none() { "; it has no VMCOREINFO, which drgn needs" } else { "" };
            format!("{} ({} on the disk){lacks}", path.display(), size(*bytes))
        }
    };
    let rows = [
        ("run", format!("{run}, {} ago: {cause}", duration(crashed.age()))),
        ("signature", [&[crash.signature.clone()][..], others].concat().join(", also in run ")),
        ("kernel", format!("{} {}", crash.release.as_deref().unwrap_or("unknown"), crash.kernel)),
        ("layers", crash.layers.join(" ")),
        ("host", host),
        ("program", program),
        ("again", crash.again.clone()),
        ("memory", memory),
        ("look", look),
        ("stack", crash.functions.join(" < ")),
        ("lines", looked.missing.clone().unwrap_or_default()),
    ];
    let mut text = format!("{}\n", style.bad(&crash.title));
    for (name, value) in rows.into_iter().filter(|(_, value)| !value.is_empty()) {
        text += &format!("{} {}\n", style.dim(&format!("{name:<9}")), one_line(&value));
    }
    text.push('\n');
    text += &trace(&crash.lines, looked.lines.as_ref().unwrap_or(&Lines::new()), style);
    text += &looked.tasks.as_ref().map_or_else(String::new, |all| tasks(all, most == usize::MAX, style));
    text + &log(looked.log.as_deref().unwrap_or_default(), most, style)
}

/// The last of what OpenZFS noted.
fn log(all: &[Message], most: usize, style: &Style) -> String {
    let shown = newest(all, most);
    if shown.is_empty() {
        return String::new();
    }
    let part = if shown.len() < all.len() {
        format!("the last {} of {} lines (--all)", shown.len(), all.len())
    } else {
        format!("{} lines", all.len())
    };
    let line = |Message { when, text }: &Message| {
        let day = when % (24 * 60 * 60);
        format!("{:02}:{:02}:{:02}  {text}\n", day / 3600, day / 60 % 60, day % 60)
    };
    let head = style.dim(&format!("{FILE}, {part}, times in UTC:"));
    format!("\n{head}\n{}", shown.iter().map(line).collect::<String>())
}

fn newest(all: &[Message], most: usize) -> &[Message] {
    &all[all.len().saturating_sub(most)..]
}

/// The kernel's lines, and behind those that name a place in the code where that is in the source. Above it what was inlined there, since the
/// innermost function comes first.
fn trace(said: &[String], lines: &Lines, style: &Style) -> String {
    let name = |place: &Place| format!("{} (inlined)", place.function);
    let known = |number: usize| lines.get(&number).and_then(|places| places.split_last());
    let length = |line: &str| line.chars().count();
    let widths = said.iter().enumerate().filter_map(|(number, line)| {
        let (_, inlined) = known(number)?;
        let lead = length(lead(line));
        Some(inlined.iter().map(|place| lead + length(&name(place))).fold(length(line), usize::max))
    });
    let width = widths.filter(|width| *width <= WIDE).max().unwrap_or(0);
    let row = |words: &str, place: &Place| {
        format!("{words:<width$}  {}\n", style.hint(&format!("{}:{}", place.file, place.line)))
    };
    let mut text = String::new();
    for (number, line) in said.iter().enumerate() {
        let Some((own, inlined)) = known(number) else {
            text += &format!("{line}\n");
            continue;
        };
        let lead = " ".repeat(length(lead(line)));
        inlined.iter().for_each(|place| text += &row(&format!("{lead}{}", name(place)), place));
        text += &row(line, own);
    }
    text
}

/// The time before a kernel's words, and blanks.
fn lead(line: &str) -> &str {
    let words = line.split_once("] ").filter(|_| line.starts_with('[')).map_or(line, |(_, words)| words).trim_start();
    &line[..line.len() - words.len()]
}

/// All that is known of one, for programs. `frames`: the places that `lines` name, each with the number of its line, and where they are in the source.
#[must_use]
pub fn crash_json(crashed: &Crashed, looked: &Decoded, most: usize) -> serde_json::Value {
    let frame = |frame: &'_ Frame| shapes::Frame {
        line: frame.line,
        function: frame.function.clone(),
        offset: frame.offset,
        size: frame.size,
        module: frame.module.clone(),
        places: looked.lines.as_ref().map(|lines| lines.get(&frame.line).cloned().unwrap_or_default()),
    };
    json!(LeftWhole {
        left: left(crashed),
        frames: looked.frames.iter().map(frame).collect(),
        no_places: looked.missing.as_deref(),
        zfs_dbgmsg: looked.log.as_ref().map(|log| newest(log, most)),
        tasks: looked.tasks.as_ref().map(|all| &all.tasks[..]),
        tasks_cut: looked.tasks.as_ref().and_then(|all| all.cut.as_deref()),
    })
}

/// What is known of several, without the places, for programs.
#[must_use]
pub fn crashes_json(all: &[Crashed]) -> serde_json::Value {
    json!(all.iter().map(left).collect::<Vec<_>>())
}

fn left(crashed: &Crashed) -> Left<'_> {
    Left {
        crash: &crashed.crash,
        run: &crashed.run,
        folder: crashed.place.join(crate::boot::crash::FOLDER).to_string_lossy().into_owned(),
        memory: crashed.memory.as_ref().map(|(path, _)| path.to_string_lossy()),
    }
}

#[cfg(test)]
mod tests {
    use super::super::Color;
    use super::*;

    fn place(function: &str, file: &str, line: u32) -> Place {
        Place { function: function.to_owned(), file: file.to_owned(), line }
    }

    #[test]
    fn places_stand_behind_the_kernels_lines_and_what_was_inlined_above_them() {
        let said =
            ["[    3.1]  vfs_write+0xad/0x360", "[    3.1]  ? f+0x1/0x2", "[    3.1] RIP: 0010:g+0x0/0x10 [zfs]"];
        let lines: Lines = [
            (0, vec![place("new_sync_write", "fs/read_write.c", 491), place("vfs_write", "fs/read_write.c", 584)]),
            (2, vec![place("g", "module/zfs/arc.c", 99)]),
        ]
        .into();
        let plain = Style::new(Color::Never, false);
        let wanted = [
            "           new_sync_write (inlined)   fs/read_write.c:491",
            "[    3.1]  vfs_write+0xad/0x360       fs/read_write.c:584",
            "[    3.1]  ? f+0x1/0x2",
            "[    3.1] RIP: 0010:g+0x0/0x10 [zfs]  module/zfs/arc.c:99",
            "",
        ];
        let said = said.map(str::to_owned);
        assert_eq!(trace(&said, &lines, &plain), wanted.join("\n"));
        assert_eq!(super::trace(&said, &Lines::new(), &plain), format!("{}\n", said.join("\n")));
    }

    #[test]
    fn of_openzfs_notes_the_last_are_shown_and_it_is_said_how_many_there_are() {
        let all: Vec<_> = (0..3).map(|n| Message { when: 86_399 + n, text: format!("line {n}") }).collect();
        let plain = Style::new(Color::Never, false);
        let last = "\nzfs_dbgmsg, the last 2 of 3 lines (--all), times in UTC:\n00:00:00  line 1\n00:00:01  line 2\n";
        assert_eq!(log(&all, 2, &plain), last);
        let whole = log(&all, usize::MAX, &plain);
        assert!(whole.starts_with("\nzfs_dbgmsg, 3 lines, times in UTC:\n23:59:59  line 0\n"), "{whole}");
        assert_eq!(log(&[], LOG, &plain), "");
    }
}
