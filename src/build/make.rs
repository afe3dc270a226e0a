//! Makes one stage: runs its script (or fetches its source) in a slot, and commits what came out.

use super::walk::Known;
use super::{Context, script};
use crate::error::{Error, Result};
use crate::event::Event;
use crate::graph::{NodeIndex, Stage};
use crate::load::OutputKind;
use crate::source;
use quiz_cache::{Built, Kind, Made, Manifest, Record, Slot};
use std::time::Instant;

/// Makes the stage in its slot. Every input's objects lie in the cache.
pub(super) fn make(ctx: &Context<'_>, id: NodeIndex, slot: Slot, manifest: Manifest, known: &Known) -> Result<Record> {
    let stage = ctx.graph.stage(id);
    // One of make's own tokens for a script, so that all stages together start no more than the jobs asked for. What is
    // fetched needs no processor. The clock starts when it is there.
    let token = stage.recipe.script.is_some().then(|| ctx.jobserver.acquire()).transpose();
    let _token = token.map_err(|e| Error::build("the jobserver's pipe broke").because(e))?;
    let log = slot.log().to_owned();
    let shown = log.display().to_string();
    (ctx.events)(Event::Started { stage: stage.name.clone(), log: shown.clone() });
    let start = Instant::now();
    let result = match (&stage.recipe.script, &stage.recipe.source) {
        (Some(script), _) => script::run(ctx, id, script, &slot, known),
        (None, Some(spec)) => fetch(ctx, id, stage, spec, &slot).map(|()| Built::FromNothing),
        (None, None) => Ok(Built::FromNothing),
    };
    let made = result.and_then(|from| {
        let kind = |kind: &OutputKind| match kind {
            OutputKind::File => Kind::File,
            OutputKind::Tree => Kind::Tree,
        };
        let outputs = stage.recipe.outputs.iter().map(|(name, k)| (name.clone(), kind(k))).collect();
        let name = stage.name.clone();
        let made = Made { stage: name, outputs, manifest, took: start.elapsed(), from };
        slot.commit(made).map_err(|e| {
            Error::build(format!("the stage {} did not come out right", stage.name))
                .because(e)
                .hint(format!("its log is {shown}"))
        })
    });
    (ctx.events)(match &made {
        Ok(_) => Event::Finished { stage: stage.name.clone(), took: start.elapsed() },
        Err(_) => Event::Failed { stage: stage.name.clone(), log: shown },
    });
    made
}

/// A source stage: the one output is what its pin says.
fn fetch(ctx: &Context<'_>, id: NodeIndex, stage: &Stage, spec: &source::Spec, slot: &Slot) -> Result<()> {
    let log = |e: std::io::Error| Error::build(format!("cannot write {}", slot.log().display())).because(e);
    let pin = ctx.pin(id)?;
    std::fs::write(slot.log(), format!("fetching {pin}\n")).map_err(log)?;
    let Some(output) = stage.recipe.outputs.keys().next() else { return Ok(()) };
    source::fetch(spec, pin, &slot.out().join(output), &ctx.source, ctx.events)
}
