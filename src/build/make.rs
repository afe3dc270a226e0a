//! Makes one stage: runs its script (or fetches its source) in a slot, and commits what came out.

use super::script::Ran;
use super::walk::{Known, made_last};
use super::{Context, cache_error, editor, scratch, script};
use crate::error::{Error, Result};
use crate::event::Event;
use crate::graph::{NodeIndex, Stage};
use crate::load::OutputKind;
use crate::source;
use quiz_cache::{Built, Kind, Made, Manifest, Record, Slot};
use std::collections::BTreeMap;
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
    let nothing = || Ran { built: Built::FromNothing, scratch: None, kept: BTreeMap::new() };
    let result = match (&stage.recipe.script, &stage.recipe.source) {
        (Some(script), _) => script::run(ctx, id, script, &slot, known),
        (None, Some(spec)) => fetch(ctx, id, stage, spec, &slot).map(|()| nothing()),
        (None, None) => Ok(nothing()),
    };
    let made = result.and_then(|ran| {
        let kind = |kind: &OutputKind| match kind {
            OutputKind::File => Kind::File,
            OutputKind::Tree => Kind::Tree,
        };
        let new = stage.recipe.outputs.iter().filter(|(name, _)| !ran.kept.contains_key(*name));
        let outputs = new.map(|(name, k)| (name.clone(), kind(k))).collect();
        let (name, took) = (stage.name.clone(), start.elapsed());
        let made = Made { stage: name, outputs, kept: ran.kept, manifest, took, from: ran.built };
        let record = slot.commit(made).map_err(|e| {
            Error::build(format!("the stage {} did not come out right", stage.name))
                .because(e)
                .hint(format!("its log is {shown}"))
        })?;
        ctx.cache.note_latest(&made_last(&stage.name), &record.key).map_err(cache_error)?;
        if let Some(mut scratch) = ran.scratch {
            scratch.set_made(&record.key).map_err(cache_error)?;
            // A list for editors is no reason to fail.
            if let Err(error) = editor::note(ctx, id, &record, known, &scratch.path().join(scratch::SCRATCH)) {
                (ctx.events)(Event::Warning { message: format!("no compile_commands.json: {error}") });
            }
        }
        Ok(record)
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
