//! The machines that run, as a table and as JSON.

use super::lines::{duration, size};
use super::row::aligned;
use super::shapes::Machine;
use super::style::Style;
use crate::boot::running::Running;
use serde_json::json;
use std::path::PathBuf;

/// A machine, and where it is at home.
#[derive(Debug, Clone)]
pub struct Shown {
    /// The run's number, with the group behind it where the run has several machines.
    pub run: String,
    /// The project's folder.
    pub project: PathBuf,
    /// The release of its kernel, when that has spoken.
    pub kernel: Option<String>,
    /// Bytes.
    pub memory: Option<u64>,
    /// What its run tells.
    pub running: Running,
}

/// A line for each, below a head; nothing where there is none.
#[must_use]
pub fn running(machines: &[Shown], style: &Style) -> String {
    let head = ["RUN", "KERNEL", "MEMORY", "SINCE", "PROFILES", "PROJECT", "PROGRAM"].map(str::to_owned);
    let row = |machine: &Shown| {
        let program = match &machine.running.program[..] {
            [] => "(a shell)".to_owned(),
            words => words.iter().map(crate::host::quoted).collect::<Vec<_>>().join(" "),
        };
        let or_dash = |text: String| if text.is_empty() { "-".to_owned() } else { text };
        [
            machine.run.clone(),
            or_dash(machine.kernel.clone().unwrap_or_default()),
            or_dash(machine.memory.map(size).unwrap_or_default()),
            duration(machine.running.age()),
            or_dash(machine.running.profiles.join(",")),
            machine.project.display().to_string(),
            program,
        ]
    };
    if machines.is_empty() {
        return String::new();
    }
    aligned(std::iter::once(head).chain(machines.iter().map(row)).collect(), style)
}

/// The same for programs.
#[must_use]
pub fn running_json(machines: &[Shown]) -> serde_json::Value {
    fn one(machine: &Shown) -> Machine<'_> {
        let Running {
            quiz,
            qemu,
            since,
            program,
            profiles,
            accelerator,
            restored,
            layers,
            flags,
            again,
            kernel: image,
            // Where a crash came from is for debuggers alone, which must run nothing that it brought.
            imported: _,
            variables: _,
        } = &machine.running;
        Machine {
            run: &machine.run,
            project: machine.project.to_string_lossy(),
            kernel: machine.kernel.as_deref(),
            memory: machine.memory,
            quiz: *quiz,
            qemu: *qemu,
            since: *since,
            program,
            profiles,
            accelerator,
            restored: *restored,
            image,
            layers,
            flags,
            again,
        }
    }
    json!(machines.iter().map(one).collect::<Vec<_>>())
}
