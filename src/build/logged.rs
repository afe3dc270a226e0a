//! Runs the command of a stage's script: what it prints goes to the log and out as events, and so does how far it is.
//!
//! make, configure and dpkg say a line for each thing they do. How many those were when the stage was last made from nothing is remembered, for
//! each project and for all together. Does not know what the script does, nor in what it runs.

use super::paths::PathMap;
use super::{Context, follow};
use crate::error::{Error, Result};
use crate::event::{Event, Unit};
use crate::graph::Stage;
use crate::host;
use quiz_cache::{Built, Key, KeyEncoder};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus};
use std::time::{Duration, Instant};

/// A line of the script's that begins so is for the user, whatever becomes of the script.
const WARNING: &str = "warning: ";
/// The least time between two progress events of a unit.
const PAUSE: Duration = Duration::from_millis(100);
/// What is counted, in the order in which it is remembered.
const UNITS: [Unit; 3] = [Unit::Objects, Unit::Checks, Unit::Packages];
/// One for each of them.
type Each<T> = [T; UNITS.len()];
/// The name under which the cache remembers the counts.
const MEMO: &str = "steps of a stage";

/// A script that is to be run.
pub(super) struct Logged<'a> {
    pub ctx: &'a Context<'a>,
    pub stage: &'a Stage,
    pub log: &'a Path,
    /// Whether the script starts from nothing. If it goes on from an earlier build, nobody knows beforehand how much there is to do.
    pub built: Built,
}

impl Logged<'_> {
    /// Runs the script. `paths`: paths in its output that the user knows by another name.
    pub(super) fn run(&self, command: &mut Command, paths: Vec<(String, PathBuf)>) -> Result<ExitStatus> {
        let Self { ctx, stage, log, built } = *self;
        let broken = |e: std::io::Error| Error::build(format!("cannot write the log {}", log.display())).because(e);
        let mut file = host::rewrite_plain(log).map_err(broken)?;
        let mut paths = PathMap::new(paths);
        let is_whole = built == Built::FromNothing;
        let mut steps = Steps::new(if is_whole { self.remembered() } else { Each::default() });
        let status = follow::follow(command, None, &mut |line| {
            let text = paths.outside(String::from_utf8_lossy(line).trim_end());
            // A script whose log cannot be written is ended: nobody could tell afterwards why it failed.
            writeln!(file, "{text}").map_err(broken)?;
            if let Some((unit, done, total)) = steps.line(&text, Instant::now()) {
                (ctx.events)(Event::Progress { what: stage.name.clone(), unit, done, total, left: None });
            }
            (ctx.events)(match text.strip_prefix(WARNING) {
                Some(message) => Event::Warning { message: format!("{}: {message}", stage.name) },
                None => Event::Output { stage: stage.name.clone(), line: text },
            });
            Ok(())
        })?;
        if status.success() && is_whole {
            self.remember(&steps);
        }
        Ok(status)
    }

    /// How many steps the stage had last time in this project, else in any. If that cannot be read, it is unknown: only the display of
    /// progress needs it.
    fn remembered(&self) -> Each<Option<u64>> {
        let Some(bytes) = self.keys().iter().find_map(|key| self.ctx.cache.memo(MEMO, key).ok().flatten()) else {
            return Each::default();
        };
        let text = String::from_utf8_lossy(&bytes).into_owned();
        let mut numbers = text.split(' ').map(|number| number.parse().ok().filter(|number| *number > 0));
        UNITS.map(|_| numbers.next().flatten())
    }

    fn remember(&self, steps: &Steps) {
        // Most scripts have no such lines; and the same numbers need not be written again.
        if self.ctx.is_past
            || steps.done.iter().all(|done| *done == 0)
            || steps.done == steps.last.map(Option::unwrap_or_default)
        {
            return;
        }
        let value = steps.done.map(|done| done.to_string()).join(" ");
        for key in self.keys() {
            // Without effect on the stage, which has succeeded: an error is ignored.
            let _ = self.ctx.cache.set_memo(MEMO, &key, value.as_bytes());
        }
    }

    fn keys(&self) -> [Key; 2] {
        // No project's folder is the empty path.
        [self.ctx.project.dir.as_path(), Path::new("")].map(|project| {
            let mut encoder = KeyEncoder::new("quiz steps of a stage 1");
            encoder.text("project", &project.to_string_lossy()).text("stage", &self.stage.name);
            encoder.finish().0
        })
    }
}

/// What was counted so far, in the order of [`UNITS`].
struct Steps {
    done: Each<u64>,
    last: Each<Option<u64>>,
    told: Each<Option<Instant>>,
}

impl Steps {
    fn new(last: Each<Option<u64>>) -> Self {
        Self { done: Each::default(), last, told: Each::default() }
    }

    /// Counts a line. When an event is due: the unit, how many are done, and how many are expected, if that is known.
    fn line(&mut self, line: &str, now: Instant) -> Option<(Unit, u64, Option<u64>)> {
        let unit = unit(line)?;
        let n = UNITS.iter().position(|other| *other == unit)?;
        self.done[n] += 1;
        let is_due = self.told[n].is_none_or(|told| now.duration_since(told) >= PAUSE);
        // Once as many are done as last time, nobody knows how many more will come.
        let total = self.last[n].filter(|last| self.done[n] < *last);
        is_due.then(|| {
            self.told[n] = Some(now);
            // Each package has two lines: it is unpacked, and set up.
            let lines = if unit == Unit::Packages { 2 } else { 1 };
            (unit, self.done[n] / lines, total.map(|total| total / lines))
        })
    }
}

/// Whether a line says that something is being made, as Kbuild and automake do when they are not verbose (`  CC [M]  fs/zfs.o`,
/// `  CCLD     zfs`), or looked for, as configure does (`checking for gcc... gcc`), or installed, as dpkg does (`Setting up zlib1g:amd64 (1:1.2.13) ...`).
fn unit(line: &str) -> Option<Unit> {
    if line.starts_with("checking ") {
        return Some(Unit::Checks);
    }
    if line.ends_with(") ...") && (line.starts_with("Unpacking ") || line.starts_with("Setting up ")) {
        return Some(Unit::Packages);
    }
    let (word, target) = line.strip_prefix("  ")?.split_once(' ')?;
    let is_word = word.starts_with(|c: char| c.is_ascii_uppercase())
        && word.bytes().all(|b| b.is_ascii_uppercase() || b.is_ascii_digit() || b"_-+".contains(&b));
    let target = target.trim_start();
    let target = target.strip_prefix("[M]").unwrap_or(target).trim_start();
    (is_word && word.len() > 1 && !target.is_empty()).then_some(Unit::Objects)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_of_make_and_configure_are_steps_and_others_are_not() {
        for line in
            ["  CC      fs/a.o", "  CC [M]  fs/zfs.o", "  CCLD     zfs", "  HOSTCC  scripts/x", "  AR      lib.a"]
        {
            assert_eq!(unit(line), Some(Unit::Objects), "{line}");
        }
        assert_eq!(unit("checking for gcc... gcc"), Some(Unit::Checks));
        for line in ["Unpacking libc6:amd64 (2.36-9+deb12u14) ...", "Setting up mawk (1.3.4.20200120-3.1) ..."] {
            assert_eq!(unit(line), Some(Unit::Packages), "{line}");
        }
        for line in
            ["", "  ", "make[1]: Entering directory 'x'", "  CC", "  OK", "   12 |   foo();", "  Cc x", "CC x", "  A b"]
        {
            assert_eq!(unit(line), None, "{line}");
        }
    }

    #[test]
    fn steps_are_told_ten_times_a_second_against_what_there_was_last_time() {
        let (mut steps, start) = (Steps::new([Some(3), None, Some(234)]), Instant::now());
        let mut line = |milliseconds| steps.line("  CC      a.o", start + Duration::from_millis(milliseconds));
        assert_eq!(line(0), Some((Unit::Objects, 1, Some(3))));
        assert_eq!(line(99), None);
        assert_eq!(line(100), Some((Unit::Objects, 3, None)), "more than last time may come");
        assert_eq!(steps.line("checking x", start), Some((Unit::Checks, 1, None)));
        // Unpacked, and set up.
        let mut line = |milliseconds| steps.line("Setting up x (1) ...", start + Duration::from_millis(milliseconds));
        assert_eq!([line(0), line(500)], [0, 1].map(|done| Some((Unit::Packages, done, Some(117)))));
        assert_eq!(steps.done, [3, 1, 2]);
    }
}
