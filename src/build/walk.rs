//! The walk: inputs first, per stage key, look up, make if missing. Stages that do not need each other run side by side.
//!
//! A record is enough to go on: objects are asked for only by a stage that really runs, and by boot. What is missing or
//! damaged then is made again.

use super::plan::{Lookup, Missing, look};
use super::{Context, Records, cache_error, compare, history, latest, make};
use crate::error::{Error, Result};
use crate::event::told::slowly;
use crate::event::{Event, Unit, waiting};
use crate::graph::{Bound, NodeIndex, Role};
use quiz_cache::{Entry, Output, Record};
use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::mpsc;

/// How often a walk starts over when an input, made again, came out different. Twice in a row says that it always will.
const ATTEMPTS: usize = 3;

/// What has to lie in the cache when a build is over.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Depth {
    /// What the wanted stages make.
    Outputs,
    /// That, and what they read.
    OutputsAndInputs,
}

/// What became of results that had to be in the cache and may have been made again for that.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[must_use]
enum Restored {
    /// They are what their records say.
    Same,
    /// One came out different, so that what was built on it is out of date.
    Different,
}

/// Makes what is missing of the wanted stages and all they need, and makes sure that what `depth` names lies in the cache. Gives
/// the record of each stage.
///
/// # Errors
/// The first stage that failed; those already running are waited for, and what they make is kept.
pub fn build(ctx: &Context<'_>, wanted: &[NodeIndex], depth: Depth) -> Result<Records> {
    let built = build_all(ctx, wanted, depth);
    history::note(ctx, built.as_ref().err());
    built
}

fn build_all(ctx: &Context<'_>, wanted: &[NodeIndex], depth: Depth) -> Result<Records> {
    let order = ctx.graph.closure(wanted);
    for _ in 0..ATTEMPTS {
        if let Some(known) = attempt(ctx, &order)?
            && restore_all(ctx, wanted, depth, &known)? == Restored::Same
        {
            let is_now = |id| !ctx.is_past && !ctx.live.contains_key(id);
            for (&id, record) in known.iter().filter(|(id, _)| is_now(id)) {
                latest::note(ctx, id, record)?;
            }
            for path in ctx.cache.damaged() {
                (ctx.events)(Event::Warning {
                    message: format!("{} was damaged and counts as missing", path.display()),
                });
            }
            return Ok(known);
        }
    }
    Err(unstable())
}

/// Makes what is missing of all that a stage needs, and makes sure that what it reads lies in the cache.
///
/// # Errors
/// As [`build`].
pub(super) fn inputs_of(ctx: &Context<'_>, id: NodeIndex) -> Result<Records> {
    let order = ctx.graph.closure(&ctx.graph.inputs(id));
    for _ in 0..ATTEMPTS {
        if let Some(known) = attempt(ctx, &order)?
            && restore_inputs(ctx, id, READ, &known)? == Restored::Same
        {
            return Ok(known);
        }
    }
    Err(unstable())
}

fn unstable() -> Error {
    Error::build("a stage, made again because its result was gone, comes out different each time")
        .hint("`quiz -v build` shows which one")
        .hint("`quiz verify STAGE` names the files that differ")
}

/// Makes sure that the objects of finished stages lie in the cache.
fn restore_all(ctx: &Context<'_>, wanted: &[NodeIndex], depth: Depth, known: &Records) -> Result<Restored> {
    for &id in wanted {
        for output in known[&id].outputs.keys() {
            if restore(ctx, id, output, known)? == Restored::Different {
                return Ok(Restored::Different);
            }
        }
        // Not the root that its script ran in, which has thousands of files: who reads the inputs does not need it.
        if depth == Depth::OutputsAndInputs && restore_inputs(ctx, id, &[Role::Files], known)? == Restored::Different {
            return Ok(Restored::Different);
        }
    }
    Ok(Restored::Same)
}

/// Makes sure that one output of a stage lies in the cache, undamaged.
///
/// # Errors
/// A stage failed.
fn restore(ctx: &Context<'_>, id: NodeIndex, output: &str, known: &Records) -> Result<Restored> {
    let record = &known[&id];
    // A folder that people edit is stored only now, when a stage needs it there; of anything else, whether it is still there.
    let ensure_stored = |object: &Output| match ctx.live.get(&id) {
        Some(live) => {
            let what = format!("storing {}", ctx.graph.stage(id).name);
            slowly(&what, Unit::Files, ctx.events, |_| ctx.cache.put_tree_from_scan(live)).map(|_| true)
        }
        None => ctx.cache.is_present(object),
    };
    if let Some(object) = record.outputs.get(output)
        && ensure_stored(object).map_err(cache_error)?
    {
        return Ok(Restored::Same);
    }
    let name = &ctx.graph.stage(id).name;
    (ctx.events)(Event::Note { message: format!("{name}/{output} is gone or damaged: making {name} again") });
    if restore_inputs(ctx, id, READ, known)? == Restored::Different {
        return Ok(Restored::Different);
    }
    let waiting = waiting(ctx.events, name);
    let again = match ctx.cache.remake(&record.key, &waiting).map_err(cache_error)? {
        Entry::Hit(record) => record,
        Entry::Miss(slot) => make::make(ctx, id, slot, record.manifest.clone(), known)?,
    };
    if again.outputs != record.outputs {
        let message = format!("{name}, made again, came out different; the stages that depend on it are checked again");
        (ctx.events)(Event::Warning { message });
        return Ok(Restored::Different);
    }
    Ok(Restored::Same)
}

/// What a stage reads while it is made.
const READ: &[Role] = &[Role::Files, Role::Root];

/// Makes sure that all inputs that a stage has in these roles lie in the cache, but for folders that people edit, which are read in place.
fn restore_inputs(ctx: &Context<'_>, id: NodeIndex, roles: &[Role], known: &Records) -> Result<Restored> {
    for input in ctx.graph.stage(id).inputs.iter().filter(|input| roles.contains(&input.role)) {
        if let Bound::Output { stage, output } = &input.from
            && !ctx.live.contains_key(stage)
            && restore(ctx, *stage, output, known)? == Restored::Different
        {
            return Ok(Restored::Different);
        }
    }
    Ok(Restored::Same)
}

/// One walk; `None` if an input came out different and the keys above it are void.
fn attempt(ctx: &Context<'_>, order: &[NodeIndex]) -> Result<Option<Records>> {
    let mut known = Records::new();
    let mut waiting = order.to_vec();
    let (done, results) = mpsc::channel();
    let mut running = 0_usize;
    let mut moved = false;
    let mut failure = None;
    std::thread::scope(|scope| {
        loop {
            // After a failure nothing new is started; what runs is waited for.
            while failure.is_none() && !moved {
                let is_ready = |id: &NodeIndex| ctx.graph.inputs(*id).iter().all(|input| known.contains_key(input));
                let Some(next) = waiting.iter().position(is_ready) else { break };
                let id = waiting.remove(next);
                match wanted(ctx, id, &known) {
                    Ok(lookup @ (Lookup::Missing(_) | Lookup::Unlisted(_))) => {
                        running += 1;
                        let (done, known) = (done.clone(), known.clone());
                        scope.spawn(move || {
                            let made = catch_unwind(AssertUnwindSafe(|| obtain(ctx, id, lookup, &known)));
                            let name = &ctx.graph.stage(id).name;
                            let bug = |_| {
                                Err(Error::build(format!(
                                    "quiz itself failed while it made {name}; this is a bug in quiz"
                                )))
                            };
                            // The receiver lives until every thread has sent.
                            let _ = done.send((id, made.unwrap_or_else(bug)));
                        });
                    }
                    Ok(Lookup::Found(record)) => {
                        found(ctx, id, &record);
                        known.insert(id, record);
                    }
                    Err(error) => failure = Some(error),
                }
            }
            if running == 0 {
                break;
            }
            let Ok((id, result)) = results.recv() else { break };
            running -= 1;
            match result {
                Ok(Some(record)) => {
                    known.insert(id, record);
                }
                Ok(None) => moved = true,
                Err(error) => {
                    // The others may run for minutes: the reason is shown at once.
                    if running > 0 {
                        let reason = error.details().first().map_or(String::new(), |line| format!(": {line}"));
                        let message = format!("{error}{reason} (the stages that are running are finished first)");
                        (ctx.events)(Event::Warning { message });
                    }
                    failure = failure.take().or(Some(error));
                }
            }
        }
    });
    match failure {
        Some(error) => Err(error),
        None if moved => Ok(None),
        None => Ok(Some(known)),
    }
}

fn found(ctx: &Context<'_>, id: NodeIndex, record: &Record) {
    (ctx.events)(Event::Cached { stage: ctx.graph.stage(id).name.clone() });
    ctx.history.found(id, &ctx.graph.inputs(id), record);
}

/// Gets the artifact of a stage: what has to be there to tell its key first. `None` if an input came out different and the key is void.
fn obtain(ctx: &Context<'_>, id: NodeIndex, mut lookup: Lookup, known: &Records) -> Result<Option<Record>> {
    if let Lookup::Unlisted(inputs) = &lookup {
        for (stage, output) in inputs {
            if restore(ctx, *stage, output, known)? == Restored::Different {
                return Ok(None);
            }
        }
        lookup = wanted(ctx, id, known)?;
    }
    match lookup {
        Lookup::Missing(missing) => make_missing(ctx, id, missing, known),
        Lookup::Found(record) => {
            found(ctx, id, &record);
            Ok(Some(record))
        }
        // Another process damaged or removed it once more: the walk starts over.
        Lookup::Unlisted(_) => Ok(None),
    }
}

/// Gets the artifact of a key that has no record yet: makes it, or takes what another process made meanwhile. `None` if an input
/// came out different and the key is void.
fn make_missing(ctx: &Context<'_>, id: NodeIndex, missing: Missing, known: &Records) -> Result<Option<Record>> {
    if restore_inputs(ctx, id, READ, known)? == Restored::Different {
        return Ok(None);
    }
    let name = &ctx.graph.stage(id).name;
    let waiting = waiting(ctx.events, name);
    if ctx.fresh.contains(&id) {
        let slot = ctx.cache.anew(&missing.key, &waiting).map_err(cache_error)?;
        let before = ctx.cache.record(&missing.key).map_err(cache_error)?;
        let record = make::make(ctx, id, slot, missing.manifest, known)?;
        if let Some(before) = before {
            compare::tell(ctx, &before, &record);
        }
        return Ok(Some(record));
    }
    match ctx.cache.slot(&missing.key, &waiting).map_err(cache_error)? {
        Entry::Hit(record) => {
            (ctx.events)(Event::Cached { stage: name.clone() });
            Ok(Some(record))
        }
        Entry::Miss(slot) => make::make(ctx, id, slot, missing.manifest, known).map(Some),
    }
}

/// As [`look`], but a stage of `ctx.fresh` has to be made, whatever the cache has.
fn wanted(ctx: &Context<'_>, id: NodeIndex, known: &Records) -> Result<Lookup> {
    Ok(match look(ctx, id, known)? {
        Lookup::Found(Record { key, manifest, .. }) if ctx.fresh.contains(&id) => {
            let (changes, told) = (Vec::new(), BTreeMap::new());
            Lookup::Missing(Missing { key, manifest, changes, told, made_before: true, gone: false })
        }
        other => other,
    })
}
