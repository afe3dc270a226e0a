//! Snapshots of machines as rows of the graph, as JSON, and with what they are made of.

use super::lines::{duration, size};
use super::row::{Row, aligned, shown};
use super::shapes::{OwnSnapshot as OwnShape, Stage};
use super::style::Style;
use crate::engine::named::OwnSnapshot;
use crate::engine::snapshots::{SnapshotState, SnapshotStates};
use crate::graph::Graph;
use serde_json::{Value as Json, json};
use std::time::UNIX_EPOCH;

impl SnapshotStates {
    pub(super) fn shapes(&self, graph: &Graph) -> [Stage<'_>; 2] {
        let mut full = self.full.shape(graph);
        full.inputs.push(Self::BASE.to_owned());
        [self.base.shape(graph), full]
    }
}

impl SnapshotState {
    fn state(&self) -> &'static str {
        match self {
            Self { key: None, .. } => "unknown",
            Self { why: Some(_), .. } => "none",
            Self { size: Some(_), .. } => "cached",
            _ => "missing",
        }
    }

    pub(super) fn row(&self, branch: &str) -> Row {
        Row {
            name: format!("{branch}{}", self.name),
            state: self.state(),
            took: String::new(),
            size: self.size.map_or_else(String::new, size),
            digest: self.key.map_or_else(String::new, |key| key.short()),
            why: self.why.clone().unwrap_or_default(),
        }
    }

    fn shape(&self, graph: &Graph) -> Stage<'_> {
        Stage {
            stage: self.name.to_string(),
            state: self.state(),
            inputs: self.inputs.iter().map(|input| graph.stage(*input).name.clone()).collect(),
            key: self.key.map(|key| key.to_string()),
            bytes: self.size,
            why: self.why.clone(),
            ..Stage::default()
        }
    }
}

/// What a snapshot is made of, and whether it is there.
pub fn why_snapshot(snapshot: &SnapshotState, style: &Style) -> String {
    let SnapshotState { name, key, manifest, why, .. } = snapshot;
    let about = format!("{name} (a machine that has booted)");
    let why = why.as_ref().map_or_else(String::new, |why| format!(": {why}"));
    let mut text = match (snapshot.state(), key) {
        ("unknown", _) | (_, None) => return format!("{about} is {}{why}\n", style.warn("unknown")),
        ("none", _) => return format!("{about} is not made{why}\n"),
        ("cached", _) => format!("{about} is {}, made from:\n", style.good("cached")),
        _ => format!("{about} is {}: the next run of the machine makes it, from:\n", style.warn("missing")),
    };
    for (name, value) in &manifest.entries {
        text += &format!("  {name} = {}\n", shown(value));
    }
    text
}

/// The same as JSON.
pub fn why_snapshot_json(snapshot: &SnapshotState, graph: &Graph) -> Json {
    let made_from = Some(snapshot.manifest.entries.iter().cloned().collect());
    json!(Stage { made_from, ..snapshot.shape(graph) })
}

/// The project's own, a line for each below a head; nothing where there is none.
#[must_use]
pub fn own_snapshots(all: &[OwnSnapshot], style: &Style) -> String {
    let head = ["NAME", "SIZE", "AGE", "MEMORY", "PROFILES", "PROGRAM"].map(str::to_owned);
    let row = |own: &OwnSnapshot| {
        let program = match &own.saved.program[..] {
            [] => "(a shell)".to_owned(),
            words => words.iter().map(crate::host::quoted).collect::<Vec<_>>().join(" "),
        };
        let damaged = own.named.damaged.as_ref().map(|file| format!(" ({file} is damaged)"));
        let profiles = own.saved.profiles.join(",");
        [
            own.named.name.clone() + &damaged.unwrap_or_default(),
            size(own.named.size),
            duration(own.named.made.elapsed().unwrap_or_default()),
            format!("{} MiB", own.saved.memory),
            if profiles.is_empty() { "-".to_owned() } else { profiles },
            program,
        ]
    };
    if all.is_empty() {
        return String::new();
    }
    aligned(std::iter::once(head).chain(all.iter().map(row)).collect(), style)
}

/// The same for programs.
#[must_use]
pub fn own_snapshots_json(all: &[OwnSnapshot]) -> Json {
    fn one(own: &OwnSnapshot) -> OwnShape<'_> {
        let made = own.named.made.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
        OwnShape {
            name: &own.named.name,
            folder: own.named.path.to_string_lossy(),
            bytes: own.named.size,
            made,
            damaged: own.named.damaged.as_deref(),
            memory: own.saved.memory,
            cpus: own.saved.cpus,
            profiles: &own.saved.profiles,
            flags: &own.saved.flags,
            program: &own.saved.program,
            again: &own.saved.again,
        }
    }
    json!(all.iter().map(one).collect::<Vec<_>>())
}
