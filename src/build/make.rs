//! Makes one stage: runs its script (or fetches its source) in a slot, and commits what came out.

use super::script::ScriptOutput;
use super::{Context, Records, cache_error, editor, latest, scratch, script};
use crate::error::{Error, Result};
use crate::event::{Event, waiting};
use crate::graph::{NodeIndex, Stage};
use crate::host;
use crate::load::{Method, OutputKind};
use crate::source;
use quiz_cache::{Built, Key, Kind, Made, Manifest, Output, Record, Slot, Tree};
use std::collections::BTreeMap;
use std::io::Write;
use std::path::Path;
use std::time::Instant;

/// Makes the stage in its slot. Every input's objects lie in the cache.
pub(super) fn make(
    ctx: &Context<'_>,
    id: NodeIndex,
    slot: Slot,
    manifest: Manifest,
    known: &Records,
) -> Result<Record> {
    let stage = ctx.graph.stage(id);
    let log = slot.log().to_owned();
    let made = announced(ctx, stage, &log, |start| {
        ctx.history.begins(id, &ctx.graph.inputs(id), &stage.name);
        let ran = match &stage.recipe.method {
            Method::Script(script) => script::run(ctx, id, script, &slot, known)?,
            Method::Fetch(spec) => {
                fetch(ctx, id, stage, spec, &slot)?;
                ScriptOutput { built: Built::FromNothing, scratch: None, kept: BTreeMap::new(), over: BTreeMap::new() }
            }
        };
        let outputs = outputs(stage).into_iter().filter(|(name, _)| !ran.kept.contains_key(name)).collect();
        let (name, took) = (stage.name.clone(), start.elapsed());
        let (kept, over) = (ran.kept, ran.over);
        let made = Made { stage: name, outputs, kept, over, manifest, took, from: ran.built };
        let record = slot.commit(made).map_err(|e| not_right(stage, &log, e))?;
        if !ctx.is_past {
            latest::note_made(ctx, &record)?;
        }
        if let Some(mut scratch) = ran.scratch {
            scratch.set_made(&record.key).map_err(cache_error)?;
            // A stage does not fail because a list for editors cannot be written.
            if !ctx.is_past
                && let Err(error) = editor::note(ctx, id, &record, known, &scratch.path().join(scratch::SCRATCH))
            {
                (ctx.events)(Event::Warning {
                    message: format!(
                        "the lists for editors in .quiz (compile_commands.json) were not updated: {error}"
                    ),
                });
            }
        }
        Ok(record)
    });
    ctx.history.ends(id, made.is_ok());
    made
}

/// Makes the stage from nothing and puts what came out to `to`, and not into the cache.
pub(super) fn aside(
    ctx: &Context<'_>,
    id: NodeIndex,
    key: &Key,
    known: &Records,
    to: &Path,
) -> Result<BTreeMap<String, (Output, Tree)>> {
    let stage = ctx.graph.stage(id);
    let waiting = waiting(ctx.events, &stage.name);
    let slot = ctx.cache.anew(key, &waiting).map_err(cache_error)?;
    let log = slot.log().to_owned();
    announced(ctx, stage, &log, |_| {
        if let Some(script) = stage.recipe.script() {
            script::run(ctx, id, script, &slot, known)?;
        }
        slot.set_aside(&outputs(stage), to).map_err(|e| not_right(stage, &log, e))
    })
}

/// Says that the stage begins, and how it ended.
fn announced<T>(ctx: &Context<'_>, stage: &Stage, log: &Path, work: impl FnOnce(Instant) -> Result<T>) -> Result<T> {
    // One of make's own tokens for a script, so that all stages together start no more than the jobs asked for. What is
    // fetched needs no processor. The clock starts when the token is there.
    let token = stage.recipe.script().is_some().then(|| ctx.jobserver.acquire()).transpose();
    let _token = token.map_err(|e| Error::build("the jobserver's pipe broke").because(e))?;
    let log = log.display().to_string();
    let last = latest::last_took(ctx.cache, &ctx.project.dir, &stage.name)?;
    (ctx.events)(Event::Started { stage: stage.name.clone(), log: log.clone(), last });
    let start = Instant::now();
    let made = work(start);
    (ctx.events)(match &made {
        Ok(_) => Event::Finished { stage: stage.name.clone(), took: start.elapsed() },
        Err(_) => Event::Failed { stage: stage.name.clone(), log },
    });
    made
}

/// Names and kinds of what the stage promises.
fn outputs(stage: &Stage) -> Vec<(String, Kind)> {
    let kind = |kind: &OutputKind| match kind {
        OutputKind::File => Kind::File,
        OutputKind::Tree => Kind::Tree,
    };
    stage.recipe.outputs.iter().map(|(name, k)| (name.clone(), kind(k))).collect()
}

fn not_right(stage: &Stage, log: &Path, error: quiz_cache::Error) -> Error {
    Error::build(format!("the results of the stage {} cannot be stored", stage.name))
        .because(error)
        .hint(format!("its log is {}", log.display()))
}

/// A source stage: the one output is what its pin says.
fn fetch(ctx: &Context<'_>, id: NodeIndex, stage: &Stage, spec: &source::Spec, slot: &Slot) -> Result<()> {
    let log = |e: std::io::Error| Error::build(format!("cannot write {}", slot.log().display())).because(e);
    let pin = ctx.pin(id)?;
    host::rewrite_plain(slot.log()).and_then(|mut file| writeln!(file, "fetching {pin}")).map_err(log)?;
    let Some(output) = stage.recipe.outputs.keys().next() else { return Ok(()) };
    source::fetch(spec, pin, &slot.out().join(output), &ctx.source, ctx.events)
}
