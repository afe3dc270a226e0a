//! What `quiz graph` and `quiz why` say of the snapshots of the project's machine, as of its stages.
//!
//! Makes and boots nothing.

use super::machine::{self, Prepared};
use super::{Engine, IMAGE, Stages, shares};
use crate::boot;
use crate::build::{self, StageState};
use crate::error::{Error, Result};
use crate::graph::NodeIndex;
use crate::machine::{Level, image};
use crate::snapshot;
use quiz_cache::{Key, Manifest, Record};
use std::path::Path;

/// The snapshots of one machine.
#[derive(Debug)]
pub struct SnapshotStates {
    /// Ready for the program.
    pub full: SnapshotState,
    /// Kernel and agent.
    pub base: SnapshotState,
}

/// What is known of one snapshot.
#[derive(Debug)]
pub struct SnapshotState {
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

impl SnapshotStates {
    /// The name of the one that is ready for the program.
    pub const FULL: &str = "snapshot";
    /// The name of the one of kernel and agent.
    pub const BASE: &str = "snapshot:base";

    /// Nothing is known, for this reason: the image is not made, or there can be no machine of it.
    pub fn unknown(image: NodeIndex, why: String) -> Self {
        let unknown = |name, inputs| SnapshotState {
            name,
            inputs,
            key: None,
            manifest: Manifest::default(),
            size: None,
            why: Some(why.clone()),
        };
        Self { full: unknown(Self::FULL, vec![image]), base: unknown(Self::BASE, Vec::new()) }
    }
}

impl SnapshotState {
    /// What the cache knows of the snapshot of a machine that could run.
    pub fn known(name: &'static str, known: snapshot::KnownSnapshot) -> Self {
        let snapshot::KnownSnapshot { key, manifest, size, why_not } = known;
        Self { name, inputs: Vec::new(), key: Some(key), manifest, size, why: why_not }
    }
}

/// What is known of the snapshots of the machine that `quiz up` would run here.
///
/// # Errors
/// The graph has no image, or the cache cannot be read.
pub fn states(engine: &Engine<'_>, stages: &Stages, states: &[(NodeIndex, StageState)]) -> Result<SnapshotStates> {
    let image = stages.graph.find(IMAGE)?;
    let known = states.iter().filter_map(|(id, state)| match state {
        StageState::Known(record) => Some((*id, record.clone())),
        _ => None,
    });
    let known: build::Records = known.collect();
    // Of an image whose objects are gone nothing can be said without making them.
    let made = match known.get(&image) {
        Some(made) if is_present(engine, made)? => made,
        _ => return Ok(SnapshotStates::unknown(image, format!("needs {IMAGE}"))),
    };
    // Without qemu, or with a wrong setting, there is no machine and no snapshot of it, but the stages can be shown all the same.
    let terminal = boot::terminal_size().is_some();
    let qemu = super::qemu::there(engine);
    let looked = qemu.and_then(|qemu| machine::of(engine, qemu, &known, made, terminal)).and_then(
        |Prepared { mut machine, .. }| {
            let nowhere = Path::new("");
            machine.shares = shares::at([nowhere; 3], &[], true);
            machine.disks = machine::disks(&engine.project, nowhere)?;
            Ok([
                snapshot::look(&engine.cache, &machine, Level::Full)?,
                snapshot::look(&engine.cache, &machine, Level::Base)?,
            ])
        },
    );
    let [full, base] = match looked {
        Ok(looked) => looked,
        Err(error) => return Ok(SnapshotStates::unknown(image, error.to_string())),
    };
    let base = SnapshotState {
        inputs: made_of_base(engine, &known, made)?,
        ..SnapshotState::known(SnapshotStates::BASE, base)
    };
    let full = SnapshotState { inputs: vec![image], ..SnapshotState::known(SnapshotStates::FULL, full) };
    Ok(SnapshotStates { full, base })
}

fn is_present(engine: &Engine<'_>, image: &Record) -> Result<bool> {
    let objects = image.outputs.values().map(|output| engine.cache.is_present(output));
    let there = objects.collect::<std::result::Result<Vec<_>, _>>();
    there.map(|all| all.iter().all(|there| *there)).map_err(|e| Error::build("the cache cannot be read").because(e))
}

/// The stages that made the kernel and the layer with the agent.
fn made_of_base(engine: &Engine<'_>, known: &build::Records, image: &Record) -> Result<Vec<NodeIndex>> {
    let Some(description) = image.outputs.values().next() else { return Ok(Vec::new()) };
    let image = image::read(&engine.cache.path(description))?;
    let digests = [Some(&image.kernel), image.layers.first()];
    let made = |record: &Record| record.outputs.values().any(|output| digests.contains(&Some(&output.digest)));
    Ok(known.iter().filter(|(_, record)| made(record)).map(|(id, _)| *id).collect())
}
