//! Snapshots of machines as rows of the graph, as JSON, and with what they are made of.

use super::lines::size;
use super::row::{Row, shown};
use super::style::Style;
use crate::graph::{Graph, NodeIndex};
use crate::snapshot::Known;
use quiz_cache::{Key, Manifest};
use serde_json::{Value as Json, json};

/// The snapshots of one machine.
#[derive(Debug)]
pub struct Snapshots {
    /// Ready for the program.
    pub full: Snapshot,
    /// Kernel and agent.
    pub base: Snapshot,
}

/// One of them.
#[derive(Debug)]
pub struct Snapshot {
    /// As `quiz graph` shows it and `quiz why` takes it.
    pub name: &'static str,
    /// The stages that it is made of.
    pub inputs: Vec<NodeIndex>,
    /// Its key; `None` while that cannot be told.
    pub key: Option<Key>,
    /// What entered the key.
    pub manifest: Manifest,
    /// Its bytes on the disk, when it is there.
    pub size: Option<u64>,
    /// Why there can be none, or why its key cannot be told.
    pub why: Option<String>,
}

impl Snapshots {
    /// The name of the one that is ready for the program.
    pub const FULL: &str = "snapshot";
    /// The name of the one of kernel and agent.
    pub const BASE: &str = "snapshot:base";

    /// Of an image that is not made, or of a machine that there is not.
    pub fn unknown(image: NodeIndex, why: String) -> Self {
        let unknown = |name, inputs| Snapshot {
            name,
            inputs,
            key: None,
            manifest: Manifest::default(),
            size: None,
            why: Some(why.clone()),
        };
        Self { full: unknown(Self::FULL, vec![image]), base: unknown(Self::BASE, Vec::new()) }
    }

    pub(super) fn json(&self, graph: &Graph) -> [Json; 2] {
        let mut full = self.full.json(graph);
        if let Json::Array(inputs) = &mut full["inputs"] {
            inputs.push(json!(Self::BASE));
        }
        [self.base.json(graph), full]
    }
}

impl Snapshot {
    /// Of a machine that could run.
    pub fn known(name: &'static str, known: Known) -> Self {
        let Known { key, manifest, size, why_not } = known;
        Self { name, inputs: Vec::new(), key: Some(key), manifest, size, why: why_not }
    }

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

    fn json(&self, graph: &Graph) -> Json {
        let inputs: Vec<&str> = self.inputs.iter().map(|input| graph.stage(*input).name.as_str()).collect();
        let key = self.key.map(|key| key.to_string());
        json!({
            "stage": self.name, "state": self.state(), "inputs": inputs, "key": key, "bytes": self.size, "why": self.why
        })
    }
}

/// What a snapshot is made of, and whether it is there.
pub fn why_snapshot(snapshot: &Snapshot, style: &Style) -> String {
    let Snapshot { name, key, manifest, why, .. } = snapshot;
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
pub fn why_snapshot_json(snapshot: &Snapshot, graph: &Graph) -> Json {
    let mut value = snapshot.json(graph);
    let entries = snapshot.manifest.entries.iter().map(|(name, value)| (name.clone(), json!(value)));
    value["made-from"] = Json::Object(entries.collect());
    value
}
