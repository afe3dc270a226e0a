//! Makes a stage twice from nothing and compares what came out: whether it depends on anything that its key does not have.
//!
//! Does not touch what is stored.

use super::compare::{self, Difference, Side};
use super::{Context, cache_error, key, make, walk};
use crate::error::{Error, Result};
use crate::event::told::slowly;
use crate::event::{Event, Unit};
use crate::graph::{NodeIndex, Stage};
use quiz_cache::{Output, Tree};
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

/// The pause between the two runs: a result that has the time in it, in seconds, is then different.
const APART: Duration = Duration::from_millis(1100);

/// What a comparison came to.
#[derive(Debug)]
pub struct Verified {
    /// By path; none if the two are the same.
    pub differences: Vec<Difference>,
    /// Where the two lie, if they differ: a folder each with the outputs in it.
    pub kept: Option<[PathBuf; 2]>,
}

/// An error for a stage that is not made by a script.
///
/// # Errors
/// The stage is a source stage.
pub fn require_script(stage: &Stage) -> Result<()> {
    if stage.recipe.script().is_some() {
        return Ok(());
    }
    let error = Error::input(format!("the stage {} has no script: it is fetched, and not made", stage.name));
    Err(error.hint("`quiz graph` shows the stages that are made of it"))
}

/// Makes the stage twice, which has to be one of `ctx.fresh`. What it reads is made or taken from the cache as for a build.
///
/// # Errors
/// The stage failed, or one of its inputs.
pub fn verify(ctx: &Context<'_>, id: NodeIndex) -> Result<Verified> {
    let known = walk::inputs_of(ctx, id)?;
    let (key, _) = key::key(ctx, id, &known)?;
    let place = ctx.cache.aside(&key).map_err(cache_error)?;
    let roots = ["first", "second"].map(|name| place.join(name));
    let twice = || {
        let first = make::aside(ctx, id, &key, &known, &roots[0])?;
        std::thread::sleep(APART);
        let second = make::aside(ctx, id, &key, &known, &roots[1])?;
        let what = format!("comparing {}", ctx.graph.stage(id).name);
        let compare = || differences(&first, &second, &roots);
        Ok((slowly(&what, Unit::Files, ctx.events, |_| compare()), first))
    };
    let result = twice();
    if let Ok((differences, _)) = &result
        && !differences.is_empty()
    {
        return Ok(Verified { differences: differences.clone(), kept: Some(roots) });
    }
    ctx.cache.aside(&key).map_err(cache_error)?;
    let (differences, made) = result?;
    if let Some(record) = ctx.cache.record(&key).map_err(cache_error)?
        && record.outputs.iter().any(|(name, output)| made.get(name).is_none_or(|(made, _)| made != output))
    {
        let (name, built) = (&record.stage, compare::built(&record));
        let message = format!(
            "the stored result of {name} differs from the two made now ({built}): `quiz build --fresh {name}` replaces it"
        );
        (ctx.events)(Event::Warning { message });
    }
    Ok(Verified { differences, kept: None })
}

type Outputs = BTreeMap<String, (Output, Tree)>;

fn differences(first: &Outputs, second: &Outputs, roots: &[PathBuf; 2]) -> Vec<Difference> {
    let of = |name: &String| {
        let roots = [roots[0].join(name), roots[1].join(name)];
        let side = |outputs: &'_ Outputs| outputs.get(name).cloned();
        let (Some((a, tree_a)), Some((b, tree_b))) = (side(first), side(second)) else { return Vec::new() };
        let (a, b) =
            (Side { output: &a, tree: &tree_a, root: &roots[0] }, Side { output: &b, tree: &tree_b, root: &roots[1] });
        compare::compare(name, &a, &b)
    };
    first.keys().flat_map(of).collect()
}
