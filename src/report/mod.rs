//! Turns events, errors and results into text or JSON. The only room that writes to the terminal.
//!
//! stdout is for results, stderr is for quiz talking.

#![allow(clippy::print_stdout, clippy::print_stderr, reason = "this is the room that prints")]

mod begun;
mod board;
mod cache;
mod cache_json;
mod causes;
mod crashes;
mod drawing;
mod kernel;
mod layout;
mod lines;
mod outside;
mod packs;
mod page;
mod place;
mod plain;
mod profiles;
mod progress;
mod row;
mod running;
mod schema;
mod shapes;
mod snapshots;
mod style;
mod svg;
mod tables;
mod tasks;
mod tests;
mod tests_page;
mod verified;
mod version;

pub use begun::{begun, started, trusted_json, written};
pub use cache::{Shown as CacheShown, cache, checked, cleaned, pinned};
pub use cache_json::{cache_json, checked_json, cleaned_json};
pub use causes::{Explained, causes, cost};
pub use crashes::{Crashed, Decoded, LOG, crash, crash_json, crashes, crashes_json};
pub use drawing::{graph_dot, graph_mermaid};
pub use kernel::{kernel_changed, kernel_changed_json, kernel_edited, kernel_edited_json};
pub use lines::size;
pub use packs::{crash_exported, crash_imported, exported, imported};
pub use page::{Past, graph_html};
pub use profiles::{Cost, Listed, profile, profile_json, profiles, profiles_json};
pub use running::{Shown, running, running_json};
pub use schema::{names as schema_names, schema, schemas};
pub use snapshots::{own_snapshots, own_snapshots_json, why_snapshot, why_snapshot_json};
pub use style::{Color, Style};
pub use svg::graph_svg;
pub use tables::{built_json, config, config_json, doctor, doctor_json, gc, gc_json, graph, graph_json, why, why_json};
pub use tests::{groups, tests, tests_json};
pub use tests_page::tests_html;
pub use verified::{verified, verified_json};
pub use version::version;

use crate::error::{Error, Kind, Result};
use crate::event::Event;
use plain::coloured;
use progress::Progress;
use shapes::{Failure, Line};
use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fs::File;
use std::io::{IsTerminal, Write};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// How much is said.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Verbosity {
    /// Errors and warnings.
    Quiet,
    /// What takes time, and what the user should know.
    Normal,
    /// Everything, the output of scripts included.
    Verbose,
}

/// So long it is known that something is waited for, if it is said once.
const SAID: Duration = Duration::from_secs(60);

/// Renders events as they come, from any thread.
pub struct Reporter {
    style: Style,
    verbosity: Verbosity,
    json: bool,
    terminal: bool,
    /// Where lines go instead of stderr.
    events: Option<File>,
    /// What takes its time.
    progress: Option<Progress>,
    /// What was waited for, and when that was said.
    awaited: Mutex<BTreeMap<String, Instant>>,
}

impl Reporter {
    /// A reporter for this process's stderr.
    pub fn new(color: Color, verbosity: Verbosity, json: bool) -> Self {
        let terminal = std::io::stderr().is_terminal();
        let style = Style::new(color, terminal);
        // With -v the lines of scripts say how far they are.
        let shown = !json && verbosity == Verbosity::Normal;
        let progress = shown.then(|| Progress::new(terminal, style));
        Self { style, verbosity, json, terminal, events: None, progress, awaited: Mutex::default() }
    }

    /// The same with events as JSON at the end of this file, and none on stderr, where a guest's program may write, too.
    #[must_use]
    pub fn writing_to(self, file: File) -> Self {
        Self { json: true, terminal: false, events: Some(file), progress: None, ..self }
    }

    /// Renders one event.
    pub fn event(&self, event: &Event) {
        if self.json {
            // Does not fail: no event has a map whose keys are not texts.
            if let Ok(text) = serde_json::to_string(&Line::Event(event)) {
                self.print(&text);
            }
            return;
        }
        if let Some(progress) = &self.progress {
            progress.follow(event);
        }
        // Several stages may wait for the same, one after the other: that is said once.
        if let Event::Paused { what } = event {
            let mut awaited = self.awaited.lock().unwrap_or_else(PoisonError::into_inner);
            let before = awaited.insert(what.clone(), Instant::now());
            if before.is_some_and(|said| said.elapsed() < SAID) {
                return;
            }
        }
        if let Some(line) = lines::line(event, self.verbosity, &self.style) {
            self.print(&line);
        }
    }

    /// Renders an error: the line, what belongs to it, its causes, and what to type next.
    pub fn error(&self, error: &Error) {
        if let Some(progress) = &self.progress {
            progress.finish();
        }
        if !self.json {
            self.print(&lines::error(error, &self.style, self.width()));
            return;
        }
        let kind = match error.kind() {
            Kind::Input => "input",
            Kind::Build => "build",
            Kind::Boot => "boot",
        };
        let failure = Failure {
            event: "error",
            kind,
            message: error.message().to_owned(),
            place: error.place().map(place::shape),
            details: error.details().to_vec(),
            causes: lines::causes(error),
            hints: error.hints().to_vec(),
        };
        if let Ok(text) = serde_json::to_string(&Line::Failure(failure)) {
            self.print(&text);
        }
    }

    /// Columns of the terminal that stderr is.
    fn width(&self) -> Option<usize> {
        let size = self.terminal.then(|| rustix::termios::tcgetwinsize(std::io::stderr()).ok()).flatten()?;
        Some(usize::from(size.ws_col)).filter(|columns| *columns > 0)
    }

    /// Writes a line to stderr, above the moving ones. If stderr is closed, nobody reads it, which is no error. On a terminal each line ends
    /// with the cursor's return, too: the terminal is raw while the guest's program has it.
    fn print(&self, text: &str) {
        let text = if self.json { text.to_owned() } else { coloured(text) };
        let text = if self.terminal { text.replace('\n', "\r\n") + "\r\n" } else { format!("{text}\n") };
        // A line is one write, so that those of several threads and processes do not mix.
        let write = || {
            let _ = match self.events.as_ref() {
                Some(mut file) => file.write_all(text.as_bytes()),
                None => std::io::stderr().lock().write_all(text.as_bytes()),
            };
        };
        match &self.progress {
            Some(progress) => progress.suspend(write),
            None => write(),
        }
    }
}

/// Columns and rows of the terminal that stdout is; none where it is none, or knows no columns. One that knows no rows has any number of them.
pub fn screen() -> Option<(usize, usize)> {
    let size = rustix::termios::tcgetwinsize(rustix::stdio::stdout()).ok()?;
    let rows = Some(usize::from(size.ws_row)).filter(|rows| *rows > 0).unwrap_or(usize::MAX);
    Some((usize::from(size.ws_col), rows)).filter(|(columns, _)| *columns > 0)
}

/// The answer that stands for Ctrl-D, the end of the input: a character that nobody types among letters.
const END: &str = "\u{4}";

/// Asks on the terminal, where Enter is yes. Where there is no terminal nobody can be asked, and the answer is yes.
pub fn agrees(question: &str) -> bool {
    asked(&format!("{question} [Y/n]")).is_none_or(|answer| ["", "y", "yes"].contains(&answer.as_str()))
}

/// What is typed behind a question, in small letters: "" is Enter, and a control character the end of the input, which is no Enter. `None` where there is
/// no terminal, and so nobody to ask.
pub fn asked(question: &str) -> Option<String> {
    if !std::io::stdin().is_terminal() || !std::io::stderr().is_terminal() {
        return None;
    }
    eprint!("{} ", plain::plain(question));
    let mut answer = String::new();
    let read = std::io::stdin().read_line(&mut answer).unwrap_or(0);
    Some(if read > 0 { answer.trim().to_lowercase() } else { END.to_owned() })
}

/// Writes a result to stdout: to a terminal without what would be a command of it, to all else as it is. A reader that has gone away (`| head`)
/// is no error.
///
/// # Errors
/// stdout cannot be written: a full disk.
pub fn result(text: &str) -> Result<()> {
    let mut stdout = std::io::stdout().lock();
    let text = if stdout.is_terminal() { coloured(text).into() } else { Cow::Borrowed(text) };
    match stdout.write_all(text.as_bytes()).and_then(|()| stdout.flush()) {
        Err(e) if e.kind() != std::io::ErrorKind::BrokenPipe => Err(Error::build("cannot write to stdout").because(e)),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod said {
    use super::*;

    #[test]
    fn what_several_stages_wait_for_is_said_once_to_people_and_each_time_to_programs() {
        for (json, times) in [(false, 1), (true, 2)] {
            let file = tempfile::NamedTempFile::new().unwrap();
            let reporter = Reporter {
                events: Some(file.reopen().unwrap()),
                progress: None,
                ..Reporter::new(Color::Never, Verbosity::Normal, json)
            };
            for what in ["one", "other", "one"] {
                reporter.event(&Event::Paused { what: format!("what is the {what}") });
            }
            let text = std::fs::read_to_string(file.path()).unwrap();
            let lines = |what: &str| text.lines().filter(|line| line.contains(&format!("what is the {what}"))).count();
            assert_eq!((lines("one"), lines("other")), (times, 1), "{text}");
        }
    }
}
