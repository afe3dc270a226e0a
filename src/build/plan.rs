//! What is known of each stage before anything is made, inputs first: its record, or what has to be made under which key, and why.

use super::{Context, Records, cache_error, key, latest, tools};
use crate::error::Result;
use crate::graph::{Bound, NodeIndex};
use crate::host::many::each;
use quiz_cache::{Built, Change, Key, Manifest, Record};
use std::collections::BTreeMap;
use std::time::Duration;

/// What is known of a stage.
#[derive(Debug)]
pub enum StageState {
    /// Its record is in the cache.
    Known(Record),
    /// It has to be made.
    Missing(Missing),
    /// Its key depends on this stage, which is not made.
    Unknown(NodeIndex),
    /// A source stage whose moving name is not pinned in quiz.lock yet.
    Unresolved,
}

/// A stage that has to be made.
#[derive(Debug)]
pub struct Missing {
    /// The key under which.
    pub key: Key,
    /// What the key is made of.
    pub manifest: Manifest,
    /// What differs from the last time it was made here.
    pub changes: Vec<Change>,
    /// What is different about each changed tool, in words, by the name of the change, as far as it is remembered.
    pub told: BTreeMap<String, Vec<String>>,
    /// It was made here before.
    pub made_before: bool,
    /// It was made here under this very key, and its record is gone: removed by hand, or by `quiz gc`.
    pub gone: bool,
}

/// What the cache has of a stage whose inputs are all known.
pub(super) enum Lookup {
    Found(Record),
    Missing(Missing),
    /// Its key cannot be told before these outputs of other stages lie in the cache: it reads a part of each, and which files they have is not
    /// known.
    Unlisted(Vec<(NodeIndex, String)>),
}

/// What `build` would do, stage by stage, inputs first.
///
/// # Errors
/// The cache cannot be read.
pub fn plan(ctx: &Context<'_>) -> Result<Vec<(NodeIndex, StageState)>> {
    let order = ctx.graph.order();
    let (mut known, mut states) = (Records::new(), BTreeMap::new());
    for level in levels(ctx, &order) {
        // No stage of a level reads another one of it, so all of them are looked at in parallel.
        for (id, state) in each(level, |id| Ok((id, state(ctx, id, &known)?)))? {
            if let StageState::Known(record) = &state {
                known.insert(id, record.clone());
            }
            states.insert(id, state);
        }
    }
    Ok(order.into_iter().filter_map(|id| states.remove(&id).map(|state| (id, state))).collect())
}

/// The stages, each behind all that it reads: first those that read nothing.
fn levels(ctx: &Context<'_>, order: &[NodeIndex]) -> Vec<Vec<NodeIndex>> {
    let (mut level_of, mut levels) = (BTreeMap::new(), Vec::<Vec<NodeIndex>>::new());
    for &id in order {
        let above = ctx.graph.inputs(id).iter().filter_map(|input| level_of.get(input)).max();
        let level = above.map_or(0, |above: &usize| above + 1);
        level_of.insert(id, level);
        levels.resize_with(levels.len().max(level + 1), Vec::new);
        levels[level].push(id);
    }
    levels
}

/// What is known of a stage, by what is `known` of those that it reads.
fn state(ctx: &Context<'_>, id: NodeIndex, known: &Records) -> Result<StageState> {
    let open = ctx.graph.inputs(id).into_iter().find(|input| !known.contains_key(input));
    let source = ctx.graph.stage(id).recipe.source().is_some();
    Ok(match open {
        Some(input) => StageState::Unknown(input),
        None if source && !ctx.pins.contains_key(&id) && !ctx.live.contains_key(&id) => StageState::Unresolved,
        None => match look(ctx, id, known)? {
            Lookup::Found(record) => StageState::Known(record),
            Lookup::Missing(missing) => StageState::Missing(missing),
            Lookup::Unlisted(inputs) => StageState::Unknown(inputs[0].0),
        },
    })
}

/// The record of a stage whose inputs are all known, or what has to be made.
pub(super) fn look(ctx: &Context<'_>, id: NodeIndex, known: &Records) -> Result<Lookup> {
    let stage = ctx.graph.stage(id);
    let (key, manifest) = match key::key(ctx, id, known) {
        Ok(key) => key,
        Err(error) => {
            let inputs = unlisted(ctx, id, known)?;
            return if inputs.is_empty() { Err(error) } else { Ok(Lookup::Unlisted(inputs)) };
        }
    };
    if let (Some(live), Some(output)) = (ctx.live.get(&id), stage.recipe.outputs.keys().next()) {
        let outputs = [(output.clone(), live.output().clone())].into();
        let (stage, built) = (stage.name.clone(), Built::FromNothing);
        return Ok(Lookup::Found(Record { key, stage, outputs, manifest, took: Duration::ZERO, made_at: 0, built }));
    }
    if stage.recipe.source().is_some() {
        ctx.pin(id)?;
    }
    if let Some(record) = ctx.cache.record(&key).map_err(cache_error)? {
        return Ok(Lookup::Found(record));
    }
    let last = latest::key(ctx, id)?;
    let latest = last.as_ref().map(|last| ctx.cache.record(last)).transpose().map_err(cache_error)?.flatten();
    let changes = latest.as_ref().map(|latest| manifest.diff(&latest.manifest)).unwrap_or_default();
    let told = changes.iter().map(|change| (change.name.clone(), tools::told(ctx.cache, change)));
    let told = told.filter(|(_, words)| !words.is_empty()).collect();
    let gone = latest.is_none() && last == Some(key);
    Ok(Lookup::Missing(Missing { key, manifest, changes, told, made_before: latest.is_some() || gone, gone }))
}

/// The outputs of other stages of which this stage reads parts, and whose files are not listed in the cache.
fn unlisted(ctx: &Context<'_>, id: NodeIndex, known: &Records) -> Result<Vec<(NodeIndex, String)>> {
    let mut inputs = Vec::new();
    for input in &ctx.graph.stage(id).inputs {
        if let Bound::Output { stage, output } = &input.from
            && !key::is_told(ctx, input, known)?
        {
            inputs.push((*stage, output.clone()));
        }
    }
    Ok(inputs)
}
