//! Turns events, errors and results into text or JSON. The only room that writes to the terminal.
//!
//! stdout is for results, stderr is for quiz talking.

#![allow(clippy::print_stdout, clippy::print_stderr, reason = "this is the room that prints")]

mod begun;
mod causes;
mod crashes;
mod drawing;
mod layout;
mod lines;
mod packs;
mod page;
mod profiles;
mod row;
mod running;
mod snapshots;
mod style;
mod svg;
mod tables;
mod tests;
mod verified;

pub use begun::{begun, written};
pub use causes::{Explained, causes, cost};
pub use crashes::{Crashed, LOG, Looked, crash, crash_json, crashes, crashes_json};
pub use drawing::{graph_dot, graph_mermaid};
pub use lines::size;
pub use packs::{exported, imported};
pub use page::{Past, graph_html};
pub use profiles::{Cost, Listed, profiles, profiles_json};
pub use running::{Shown, running, running_json};
pub use snapshots::{own_snapshots, own_snapshots_json, why_snapshot, why_snapshot_json};
pub use style::{Color, Style};
pub use svg::graph_svg;
pub use tables::{config, config_json, doctor, doctor_json, gc, gc_json, graph, graph_json, why, why_json};
pub use tests::{groups, tests, tests_json};
pub use verified::{verified, verified_json};

use crate::error::{Error, Kind, Result};
use crate::event::Event;
use indicatif::{MultiProgress, ProgressBar, ProgressStyle};
use std::collections::BTreeMap;
use std::io::{IsTerminal, Write};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

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

/// Renders events as they come, from any thread.
pub struct Reporter {
    style: Style,
    verbosity: Verbosity,
    json: bool,
    terminal: bool,
    /// One moving line for each running stage; only on a terminal.
    progress: Option<Progress>,
}

struct Progress {
    all: MultiProgress,
    running: Mutex<BTreeMap<String, ProgressBar>>,
}

impl Reporter {
    /// A reporter for this process's stderr.
    pub fn new(color: Color, verbosity: Verbosity, json: bool) -> Self {
        let terminal = std::io::stderr().is_terminal();
        let moving = terminal && !json && verbosity == Verbosity::Normal;
        let progress = moving.then(|| Progress { all: MultiProgress::new(), running: Mutex::default() });
        Self { style: Style::new(color, terminal), verbosity, json, terminal, progress }
    }

    /// Renders one event.
    pub fn event(&self, event: &Event) {
        if self.json {
            // Does not fail: no event has a map whose keys are not texts.
            if let Ok(text) = serde_json::to_string(event) {
                self.print(&text);
            }
            return;
        }
        if let Some(progress) = &self.progress {
            progress.follow(event);
        }
        if let Some(line) = lines::line(event, self.verbosity, &self.style) {
            self.print(&line);
        }
    }

    /// Renders an error: the line, what belongs to it, its causes, and what to type next.
    pub fn error(&self, error: &Error) {
        if !self.json {
            self.print(&lines::error(error, &self.style));
            return;
        }
        let kind = match error.kind() {
            Kind::Input => "input",
            Kind::Build => "build",
            Kind::Boot => "boot",
        };
        let value = serde_json::json!({
            "event": "error", "kind": kind, "message": error.to_string(), "details": error.details(),
            "causes": lines::causes(error), "hints": error.hints(),
        });
        self.print(&value.to_string());
    }

    /// Writes a line to stderr, above the moving ones. A closed stderr is nobody who listens. On a terminal each line ends
    /// with the cursor's return, too: the terminal is raw while the guest's program has it.
    fn print(&self, text: &str) {
        let text = if self.terminal { text.replace('\n', "\r\n") + "\r\n" } else { format!("{text}\n") };
        let write = || {
            let _ = std::io::stderr().lock().write_all(text.as_bytes());
        };
        match &self.progress {
            Some(progress) => progress.all.suspend(write),
            None => write(),
        }
    }
}

impl Progress {
    fn follow(&self, event: &Event) {
        let mut running = self.running.lock().unwrap_or_else(PoisonError::into_inner);
        match event {
            Event::Started { stage, .. } => {
                running.insert(stage.clone(), self.bar(stage));
            }
            Event::GroupStarted { group, .. } => {
                running.insert(group.clone(), self.bar(group));
            }
            Event::TestEnded { group, test, verdict } => {
                if let Some(bar) = running.get(group) {
                    bar.set_message(format!("{test} {verdict}"));
                }
            }
            Event::Output { stage, line } => {
                if let Some(bar) = running.get(stage) {
                    bar.set_message(line.trim().to_owned());
                }
            }
            Event::Download { what, done, total } => {
                let bar = running.entry(what.clone()).or_insert_with(|| self.bar(what));
                bar.set_message(lines::download(*done, *total));
                if Some(*done) == *total
                    && let Some(bar) = running.remove(what)
                {
                    bar.finish_and_clear();
                }
            }
            Event::Finished { stage, .. } | Event::Failed { stage, .. } | Event::GroupEnded { group: stage, .. } => {
                if let Some(bar) = running.remove(stage) {
                    bar.finish_and_clear();
                }
            }
            Event::Booting { .. } => {
                for (_, bar) in std::mem::take(&mut *running) {
                    bar.finish_and_clear();
                }
            }
            _ => {}
        }
    }

    fn bar(&self, stage: &str) -> ProgressBar {
        let bar = self.all.add(ProgressBar::new_spinner());
        if let Ok(style) = ProgressStyle::with_template("{prefix:>12.cyan.bold} {elapsed:>4} {wide_msg:.dim}") {
            bar.set_style(style);
        }
        bar.set_prefix(stage.to_owned());
        bar.enable_steady_tick(Duration::from_millis(200));
        bar
    }
}

/// Asks on the terminal, where Enter is yes. Where there is none nobody can be asked, and it is yes.
pub fn agrees(question: &str) -> bool {
    if !std::io::stdin().is_terminal() || !std::io::stderr().is_terminal() {
        return true;
    }
    eprint!("{question} [Y/n] ");
    let mut answer = String::new();
    // The end of the input is no Enter.
    let read = std::io::stdin().read_line(&mut answer).unwrap_or(0);
    read > 0 && ["", "y", "yes"].contains(&answer.trim().to_lowercase().as_str())
}

/// Writes a result to stdout; a reader that has gone away (`| head`) is no error.
///
/// # Errors
/// stdout cannot be written: a full disk.
pub fn result(text: &str) -> Result<()> {
    let mut stdout = std::io::stdout().lock();
    match stdout.write_all(text.as_bytes()).and_then(|()| stdout.flush()) {
        Err(e) if e.kind() != std::io::ErrorKind::BrokenPipe => Err(Error::build("cannot write to stdout").because(e)),
        _ => Ok(()),
    }
}
