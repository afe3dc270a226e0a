//! What takes its time at the moment and how far it is, out of the events, and the line that says so. Knows no terminal: the time and the width
//! are given.

use super::lines::{download, duration, size};
use super::row::{cut, width};
use super::style::Style;
use crate::event::{Event, Unit};
use std::collections::VecDeque;
use std::time::{Duration, Instant};

/// Columns of a name, at most.
const WIDEST: usize = 24;
/// Columns from which on there is a bar, and how many it has.
const BAR: (usize, usize) = (100, 24);
/// How fast it goes is measured over the last so many seconds.
const WINDOW: Duration = Duration::from_secs(20);
/// Before so much time has passed, no speed is told.
const SOON: Duration = Duration::from_secs(3);
/// The boot of a machine, by a name that no stage can have, and so are the next two.
const BOOT: &str = "(boot)";
/// The writing of a guest's memory.
const DUMP: &str = "(dump)";
/// The saving of a machine.
const SAVE: &str = "(save)";

/// What kind of thing takes the time: those of one kind share a line where there is no terminal.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Kind {
    /// A stage of which nothing is counted.
    Stage,
    /// Something of which this is counted.
    Counted(Unit),
    /// A machine that is not ready yet.
    Boot,
    /// One group of tests.
    Group,
}

/// All that takes its time at the moment.
#[derive(Debug, Default)]
pub(super) struct Board {
    tasks: Vec<Task>,
    /// The guest's program has the terminal: nothing is shown.
    held: bool,
}

/// One thing that takes its time.
#[derive(Debug)]
pub(super) struct Task {
    pub(super) name: String,
    pub(super) kind: Kind,
    pub(super) began: Instant,
    count: Option<(Unit, Measure)>,
    bytes: Option<Measure>,
    /// How long it still takes, where the event said so, which knows better than how fast it went; and when that was said.
    left: Option<(Duration, Instant)>,
    /// How long it took last time.
    last: Option<Duration>,
    says: String,
}

/// How much of something is done, and was at some moments before.
#[derive(Debug, Default)]
struct Measure {
    done: u64,
    total: Option<u64>,
    was: VecDeque<(Instant, u64)>,
}

impl Measure {
    fn set(&mut self, done: u64, total: Option<u64>, now: Instant) {
        // A download has begun again.
        if done < self.done {
            self.was.clear();
        }
        (self.done, self.total) = (done, total);
        if self.was.back().is_none_or(|(then, _)| now.duration_since(*then) >= Duration::from_secs(1)) {
            self.was.push_back((now, done));
        }
        let age = |n: usize, was: &VecDeque<(Instant, u64)>| was.get(n).map(|(then, _)| now.duration_since(*then));
        while age(0, &self.was) > Some(WINDOW) && age(1, &self.was) >= Some(SOON) {
            self.was.pop_front();
        }
    }

    /// Parts per second by how it went lately; nothing so soon after the begin.
    fn rate(&self, now: Instant) -> Option<u64> {
        let (then, was) = self.was.front()?;
        let time = now.duration_since(*then);
        let milliseconds = u64::try_from(time.as_millis()).ok().filter(|_| time >= SOON)?;
        Some(self.done.saturating_sub(*was).saturating_mul(1000) / milliseconds)
    }

    fn left(&self, now: Instant) -> Option<Duration> {
        let (then, was) = self.was.front()?;
        let (time, done) = (now.duration_since(*then), self.done.saturating_sub(*was));
        let rest = self.total?.saturating_sub(self.done);
        let milliseconds =
            u128::from(rest) * time.as_millis() / u128::from(Some(done).filter(|_| time >= SOON && done > 0)?);
        Some(Duration::from_millis(u64::try_from(milliseconds).ok()?))
    }

    fn percent(&self) -> Option<u64> {
        let total = self.total.filter(|total| *total > 0)?;
        Some(u64::try_from(u128::from(self.done.min(total)) * 100 / u128::from(total)).unwrap_or(0))
    }
}

impl Board {
    /// Takes note of an event.
    pub(super) fn follow(&mut self, event: &Event, now: Instant) {
        match event {
            Event::Started { stage, last, .. } => self.begin(stage, Kind::Stage, now).last = *last,
            Event::GroupStarted { group, .. } => {
                self.begin(group, Kind::Group, now);
            }
            Event::TestEnded { group, test, verdict } => self.say(group, &format!("{test} {verdict}")),
            // With -w make says of each folder that it enters and leaves it.
            Event::Output { stage, line } if !line.trim().is_empty() && !line.starts_with("make[") => {
                self.say(stage, line.trim());
            }
            Event::Progress { what, done, total, .. } if Some(*done) == *total => self.end(what),
            Event::Progress { what, unit, done, total, left } => {
                let task = self.part(what, *unit, now);
                match unit {
                    Unit::Bytes => task.bytes.get_or_insert_default().set(*done, *total, now),
                    _ => {
                        if task.count.as_ref().is_none_or(|(counted, _)| counted != unit) {
                            task.count = Some((*unit, Measure::default()));
                        }
                        task.count.iter_mut().for_each(|(_, measure)| measure.set(*done, *total, now));
                    }
                }
                if !matches!(task.kind, Kind::Group) {
                    task.kind = Kind::Counted(*unit);
                }
                task.left = left.map(|left| (left, now));
            }
            Event::Download { what, done, total } if Some(*done) == *total => self.end(what),
            Event::Download { what, done, total } => {
                let task = self.part(what, Unit::Bytes, now);
                task.bytes.get_or_insert_default().set(*done, *total, now);
            }
            Event::Finished { stage: name, .. } | Event::Failed { stage: name, .. } => self.end(name),
            Event::GroupEnded { group, .. } => self.end(group),
            Event::Booting { accelerator, .. } => {
                (self.tasks, self.held) = (Vec::new(), false);
                self.begin(BOOT, Kind::Boot, now).says.clone_from(accelerator);
            }
            Event::Dumping { why, over, .. } => {
                self.held &= !over;
                self.begin(DUMP, Kind::Stage, now).says.clone_from(why);
            }
            Event::Saving => {
                self.held = false;
                self.begin(SAVE, Kind::Stage, now);
            }
            Event::Dumped { .. } => self.end(DUMP),
            Event::Kept { .. } => self.end(SAVE),
            Event::Ready { .. } | Event::Stands { .. } => (self.tasks, self.held) = (Vec::new(), true),
            Event::Ended { .. } => (self.tasks, self.held) = (Vec::new(), false),
            Event::Turn { .. } => self.held = false,
            _ => {}
        }
    }

    /// What is to be shown, in the order in which it began; the run of all tests first.
    pub(super) fn tasks(&self) -> impl Iterator<Item = &Task> {
        let shown = self.tasks.iter().filter(|_| !self.held);
        let (first, rest): (Vec<&Task>, Vec<&Task>) = shown.partition(|task| task.kind == Kind::Counted(Unit::Tests));
        first.into_iter().chain(rest)
    }

    /// Nothing takes time any more.
    pub(super) fn clear(&mut self) {
        self.tasks.clear();
    }

    fn begin(&mut self, name: &str, kind: Kind, now: Instant) -> &mut Task {
        self.end(name);
        let name = name.to_owned();
        let (count, bytes, left, last) = (None, None, None, None);
        self.tasks.push(Task { name, kind, began: now, count, bytes, left, last, says: String::new() });
        let place = self.tasks.len() - 1;
        &mut self.tasks[place]
    }

    /// The one of that name, or a new one that is over with its last part.
    fn part(&mut self, name: &str, unit: Unit, now: Instant) -> &mut Task {
        match self.tasks.iter().position(|task| task.name == name) {
            Some(place) => &mut self.tasks[place],
            None => self.begin(name, Kind::Counted(unit), now),
        }
    }

    fn end(&mut self, name: &str) {
        self.tasks.retain(|task| task.name != name);
    }

    fn say(&mut self, name: &str, what: &str) {
        if let Some(task) = self.tasks.iter_mut().find(|task| task.name == name) {
            what.clone_into(&mut task.says);
        }
    }
}

impl Task {
    /// The name for people.
    pub(super) fn title(&self) -> &str {
        match self.name.as_str() {
            BOOT => "boot",
            DUMP => "dump",
            SAVE => "save",
            // Of an address the end says most.
            name if name.contains("://") => name.trim_end_matches('/').rsplit('/').next().unwrap_or(name),
            name => name,
        }
    }

    /// How much of it is done, in percent.
    pub(super) fn percent(&self) -> Option<u64> {
        let counted = self.count.as_ref().and_then(|(_, measure)| measure.percent());
        self.bytes.as_ref().and_then(Measure::percent).or(counted)
    }

    /// What is known of how far it is, the most telling first.
    pub(super) fn parts(&self, now: Instant) -> Vec<String> {
        let mut parts = Vec::new();
        // Of what is not counted, or not yet, the time alone is shown.
        let counted = self.count.as_ref().filter(|(_, measure)| measure.done > 0 || measure.total.is_some());
        if let Some((unit, measure)) = counted {
            let unit = match unit {
                Unit::Objects => "objects",
                Unit::Files => "files",
                Unit::Checks => "checks",
                Unit::Packages => "packages",
                Unit::Tests => "tests",
                Unit::Bytes => "bytes",
            };
            let done = measure.done;
            parts.push(measure.total.map_or(format!("{done} {unit}"), |total| format!("{done} of {total} {unit}")));
        }
        parts.extend(self.bytes.as_ref().map(|measure| download(measure.done, measure.total)));
        parts.extend(self.percent().map(|percent| format!("{percent}%")));
        let by_rate = || match (&self.bytes, &self.count) {
            (Some(measure), _) => measure.left(now),
            // Tests are of all lengths: only what is remembered of them tells.
            (None, Some((Unit::Tests, _)) | None) => None,
            (None, Some((_, measure))) => measure.left(now),
        };
        let known = self.left.map(|(left, since)| left.saturating_sub(now.duration_since(since)));
        parts.extend(known.or_else(by_rate).map(|left| format!("{} left", clock(left))));
        if let Some(rate) = self.bytes.as_ref().and_then(|measure| measure.rate(now)) {
            parts.push(format!("{}/s", size(rate)));
        }
        if let (true, Some(last)) = (parts.is_empty(), self.last) {
            parts.push(format!("last time {}", clock(last)));
        }
        parts
    }

    /// For where there is no terminal.
    pub(super) fn plain(&self, now: Instant) -> String {
        let elapsed = clock(now.duration_since(self.began));
        let parts = self.parts(now).join(", ");
        let title = cut(self.title(), WIDEST * 2);
        format!("{title} {elapsed}{}{parts}", if parts.is_empty() { "" } else { ": " })
    }

    /// The line on a terminal of so many columns: what of it fits, and never more.
    pub(super) fn line(&self, columns: usize, now: Instant, style: &Style) -> String {
        let name = cut(self.title(), WIDEST.min(columns / 3));
        let elapsed = clock(now.duration_since(self.began));
        let mut used = width(&name).max(12) + 1 + elapsed.len().max(4);
        let fill = " ".repeat(12_usize.saturating_sub(width(&name)));
        let mut text = format!("{fill}{} {elapsed:>4}", style.hint(&name));
        if let (true, Some(percent)) = (columns >= BAR.0, self.percent()) {
            let full = usize::try_from(percent).unwrap_or(0) * (BAR.1 - 2) / 100;
            let tip = if full < BAR.1 - 2 { ">" } else { "" };
            text += &format!(" [{:<width$}]", "=".repeat(full) + tip, width = BAR.1 - 2);
            used += 1 + BAR.1;
        }
        let mut comma = "";
        for part in self.parts(now) {
            // One that does not fit is left out, and the next one is tried: it may be shorter.
            if used + comma.len() + 1 + part.len() <= columns {
                used += comma.len() + 1 + part.len();
                text += &format!("{comma} {part}");
                comma = ",";
            }
        }
        // A word that is cut after a few letters says nothing.
        let room = columns.saturating_sub(used + 2);
        if !self.says.is_empty() && room >= 12 {
            text += &format!("  {}", style.dim(&cut(&self.says, room)));
        }
        text
    }
}

/// A time that goes on: "7s", "6m 02s", "1h 02m".
fn clock(time: Duration) -> String {
    if time < Duration::from_secs(60) { format!("{}s", time.as_secs()) } else { duration(time) }
}

#[cfg(test)]
mod tests;
