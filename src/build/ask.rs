//! A stage whose script asks the user something on the terminal, as the kernel's menu does. What it writes goes to the caller and is
//! not kept in the cache.
//!
//! Does not know what the script asks.

use super::{Context, cache_error, key, script, walk};
use crate::error::{Error, Result};
use crate::event::waiting;
use crate::graph::NodeIndex;
use crate::host;
use std::io::Read;

/// No more of the output is read, in bytes. A whole .config of a kernel has 300 KiB.
const MOST: u64 = 16 << 20;

/// Makes what the stage reads, runs its script on the user's terminal, and gives the text of its one output. `ctx.terminal` names the stage.
///
/// # Errors
/// One of its inputs failed, or the script, or it wrote no text.
pub fn on_terminal(ctx: &Context<'_>, id: NodeIndex) -> Result<String> {
    let stage = ctx.graph.stage(id);
    let known = walk::inputs_of(ctx, id)?;
    let (key, _) = key::key(ctx, id, &known)?;
    let slot = ctx.cache.anew(&key, &waiting(ctx.events, &stage.name)).map_err(cache_error)?;
    script::run(ctx, id, stage.recipe.script().unwrap_or_default(), &slot, &known)?;
    let output = stage.recipe.outputs.keys().next().map(String::as_str).unwrap_or_default();
    let wrong = |e: std::io::Error| Error::build(format!("the stage {} wrote no {output}", stage.name)).because(e);
    let mut text = String::new();
    // Not through a symlink: the script could make one that leads to any file of the host.
    let file = host::open_plain(&slot.out().join(output)).map_err(wrong)?;
    file.take(MOST).read_to_string(&mut text).map_err(wrong)?;
    Ok(text)
}
