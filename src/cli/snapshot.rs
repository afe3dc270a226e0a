//! What `quiz graph` says of the snapshot of the project's machine.
//!
//! Makes and boots nothing.

use super::IMAGE;
use super::machine::{self, Built};
use super::session::Session;
use crate::boot::{self, Level};
use crate::build::{Known, State};
use crate::error::{Error, Result};
use crate::graph::{Graph, NodeIndex};
use crate::{report, snapshot};
use std::path::Path;

/// What is known of the snapshot of the machine that `quiz up` would run here.
///
/// # Errors
/// The cache cannot be read.
pub(super) fn state(
    session: &Session<'_>,
    graph: &Graph,
    states: &[(NodeIndex, State)],
) -> Result<Option<report::Snapshot>> {
    let Ok(of) = graph.find(IMAGE) else { return Ok(None) };
    let known = states.iter().filter_map(|(id, state)| match state {
        State::Known(record) => Some((*id, record.clone())),
        _ => None,
    });
    let known: Known = known.collect();
    let unknown = report::Snapshot { of, key: None, size: None, why_not: None };
    let failed = |e| Error::build("the cache cannot be read").because(e);
    // Of an image whose objects are gone nothing can be said without making them.
    let Some(image) = known.get(&of) else { return Ok(Some(unknown)) };
    let objects = image.outputs.values().map(|output| session.cache.is_present(output));
    if !objects.collect::<std::result::Result<Vec<_>, _>>().map_err(failed)?.iter().all(|there| *there) {
        return Ok(Some(unknown));
    }
    // Without qemu, or with a wrong setting, there is no machine, but the graph is as true.
    let terminal = boot::terminal_size().is_some();
    let machine = machine::of(session, &known, image, terminal).and_then(|Built { mut machine, .. }| {
        let nowhere = Path::new("");
        machine.shares = machine::shares(nowhere, nowhere, false);
        machine.disks = machine::disks(&session.project, nowhere)?;
        Ok(machine)
    });
    let Ok(machine) = machine else { return Ok(Some(unknown)) };
    let key = snapshot::key(&machine, Level::Full);
    let size = session.cache.passing_size(&key).map_err(failed)?;
    Ok(Some(report::Snapshot { of, key: Some(key.short()), size, why_not: snapshot::why_not(&machine) }))
}
