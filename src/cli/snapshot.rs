//! What `quiz graph` and `quiz why` say of the snapshots of the project's machine, as of its stages.
//!
//! Makes and boots nothing.

use super::IMAGE;
use super::machine::{self, Built};
use super::session::Session;
use crate::boot;
use crate::build::{Known, State};
use crate::error::{Error, Result};
use crate::graph::{Graph, NodeIndex};
use crate::machine::{Level, image};
use crate::report::{Snapshot, Snapshots};
use crate::snapshot;
use quiz_cache::Record;
use std::path::Path;

/// What is known of the snapshots of the machine that `quiz up` would run here.
///
/// # Errors
/// The graph has no image, or the cache cannot be read.
pub(super) fn states(session: &Session<'_>, graph: &Graph, states: &[(NodeIndex, State)]) -> Result<Snapshots> {
    let image = graph.find(IMAGE)?;
    let known = states.iter().filter_map(|(id, state)| match state {
        State::Known(record) => Some((*id, record.clone())),
        _ => None,
    });
    let known: Known = known.collect();
    // Of an image whose objects are gone nothing can be said without making them.
    let made = match known.get(&image) {
        Some(made) if is_present(session, made)? => made,
        _ => return Ok(Snapshots::unknown(image, format!("needs {IMAGE}"))),
    };
    // Without qemu, or with a wrong setting, there is no machine, but the graph is as true.
    let terminal = boot::terminal_size().is_some();
    let looked = machine::of(session, &known, made, terminal).and_then(|Built { mut machine, .. }| {
        let nowhere = Path::new("");
        machine.shares = machine::shares(nowhere, nowhere, false);
        machine.disks = machine::disks(&session.project, nowhere)?;
        Ok([
            snapshot::look(&session.cache, &machine, Level::Full)?,
            snapshot::look(&session.cache, &machine, Level::Base)?,
        ])
    });
    let [full, base] = match looked {
        Ok(looked) => looked,
        Err(error) => return Ok(Snapshots::unknown(image, error.to_string())),
    };
    let base = Snapshot { inputs: made_of_base(session, &known, made)?, ..Snapshot::known(Snapshots::BASE, base) };
    let full = Snapshot { inputs: vec![image], ..Snapshot::known(Snapshots::FULL, full) };
    Ok(Snapshots { full, base })
}

fn is_present(session: &Session<'_>, image: &Record) -> Result<bool> {
    let objects = image.outputs.values().map(|output| session.cache.is_present(output));
    let there = objects.collect::<std::result::Result<Vec<_>, _>>();
    there.map(|all| all.iter().all(|there| *there)).map_err(|e| Error::build("the cache cannot be read").because(e))
}

/// The stages that made the kernel and the layer with the agent.
fn made_of_base(session: &Session<'_>, known: &Known, image: &Record) -> Result<Vec<NodeIndex>> {
    let Some(manifest) = image.outputs.values().next() else { return Ok(Vec::new()) };
    let image = image::read(&session.cache.path(manifest))?;
    let digests = [Some(&image.kernel), image.layers.first()];
    let made = |record: &Record| record.outputs.values().any(|output| digests.contains(&Some(&output.digest)));
    Ok(known.iter().filter(|(_, record)| made(record)).map(|(id, _)| *id).collect())
}
