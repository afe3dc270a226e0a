//! The folder in which a script works, and what is brought into it: one that stays between the runs of an incremental stage, where
//! only what changed is touched, or an empty one.
//!
//! Does not know what the script does.

use super::{Context, Records, cache_error, key};
use crate::error::{Error, Result};
use crate::event::{Event, waiting};
use crate::graph::{Bound, BoundInput, NodeIndex, Stage};
use quiz_cache::{Built, Node, Output, Scratch, Slot, Source, Tree};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// Where a persistent folder has what the script may write, and what is brought in read-only.
pub(super) const SCRATCH: &str = "scratch";
pub(super) const SOURCE: &str = "src";

/// The outputs of the last result that was made in a persistent folder, as far as the cache still has them.
pub(super) fn last_outputs(ctx: &Context<'_>, scratch: &Scratch) -> Result<BTreeMap<String, Output>> {
    let mut outputs = scratch.made().map_err(cache_error)?.map(|record| record.outputs).unwrap_or_default();
    let mut gone = Vec::new();
    for (name, output) in &outputs {
        if !ctx.cache.is_present(output).map_err(cache_error)? {
            gone.push(name.clone());
        }
    }
    outputs.retain(|name, _| !gone.contains(name));
    Ok(outputs)
}

/// The folder in which an incremental stage goes on, when something that it builds on is a folder that people edit, and it is not to
/// be made from nothing.
pub(super) fn persistent(ctx: &Context<'_>, id: NodeIndex, known: &Records) -> Result<Option<Scratch>> {
    if ctx.fresh.contains(&id) {
        return Ok(None);
    }
    let stage = ctx.graph.stage(id);
    let live = |input: &BoundInput| match &input.from {
        Bound::Output { stage: from, .. } if is_synced(stage, input) => ctx.live.get(from),
        _ => None,
    };
    let Some(live) = stage.inputs.iter().find_map(live) else { return Ok(None) };
    let family = key::family(ctx, id, known)?;
    let waiting = waiting(ctx.events, &stage.name);
    ctx.cache.scratch(&family, live.root(), &waiting).map(Some).map_err(cache_error)
}

/// The place in a persistent folder to which the inputs are brought.
pub(super) fn place(stage: &Stage) -> String {
    into(stage).map_or_else(|| SOURCE.to_owned(), |into| format!("{SCRATCH}/{into}"))
}

pub(super) fn into(stage: &Stage) -> Option<&str> {
    stage.recipe.incremental.as_ref().and_then(|incremental| incremental.into.as_deref())
}

pub(super) fn is_synced(stage: &Stage, input: &BoundInput) -> bool {
    stage.recipe.incremental.as_ref().is_some_and(|incremental| incremental.sync.contains(&input.name))
}

/// What each input that is brought in consists of: its tree and where its files lie. Of a folder that people edit these are the
/// folder's own, or with `stored` copies that are surely what the tree says.
fn parts(ctx: &Context<'_>, stage: &Stage, known: &Records, stored: bool) -> Result<Vec<(Tree, PathBuf)>> {
    let sync = stage.recipe.incremental.as_ref().map_or(&[][..], |incremental| &incremental.sync);
    let mut parts = Vec::new();
    for name in sync {
        let Some(input) = stage.inputs.iter().find(|input| input.name == *name) else { continue };
        let Bound::Output { stage: from, output } = &input.from else { continue };
        let (tree, root) = match ctx.live.get(from) {
            Some(live) => {
                let root = match stored {
                    true => ctx.cache.realise_subtree_from_scan(live, &input.paths).map_err(cache_error)?,
                    false => live.root().to_owned(),
                };
                (live.tree().map_err(cache_error)?.filter(&input.paths), root)
            }
            None => {
                let object = &known[from].outputs[output];
                let tree = ctx.cache.tree(object).map_err(cache_error)?;
                (tree.filter(&input.paths), ctx.cache.path(object))
            }
        };
        parts.push((tree.map_err(cache_error)?, root));
    }
    Ok(parts)
}

/// Brings what changed into the persistent folder.
pub(super) fn bring(ctx: &Context<'_>, stage: &Stage, scratch: &mut Scratch, known: &Records) -> Result<Built> {
    let parts = parts(ctx, stage, known, false)?;
    let place = place(stage);
    let sources: Vec<Source<'_>> = parts.iter().map(|(tree, root)| Source { tree, root, into: &place }).collect();
    let waiting = waiting(ctx.events, &stage.name);
    let synced = scratch.sync(&sources, &waiting).map_err(cache_error)?;
    if let Some(sibling) = &synced.seeded_from {
        let message = format!("{} starts from what was built in {}", stage.name, sibling.display());
        (ctx.events)(Event::Note { message });
    }
    let message = format!("{}: {} files brought in, {} removed", stage.name, synced.written, synced.removed);
    (ctx.events)(Event::Note { message });
    Ok(if synced.fresh { Built::FromNothing } else { Built::Incremental })
}

/// Brings the inputs to a stage that builds from nothing: plain copies that its script may write to.
pub(super) fn lay_out(ctx: &Context<'_>, stage: &Stage, slot: &Slot, known: &Records) -> Result<()> {
    let Some(into) = into(stage) else { return Ok(()) };
    let top = slot.scratch().join(into);
    let failed = |path: &Path, e: std::io::Error| Error::build(format!("cannot write {}", path.display())).because(e);
    std::fs::create_dir_all(&top).map_err(|e| failed(&top, e))?;
    for (tree, root) in parts(ctx, stage, known, true)? {
        for (path, node) in tree.items() {
            let (from, to) = (root.join(path), top.join(path));
            let done = match node {
                Node::Folder => std::fs::create_dir_all(&to),
                _ if to.symlink_metadata().is_ok() => std::fs::remove_file(&to).and_then(|()| copy(&from, &to, node)),
                _ => copy(&from, &to, node),
            };
            done.map_err(|e| failed(&to, e))?;
        }
    }
    Ok(())
}

fn copy(from: &Path, to: &Path, node: &Node) -> std::io::Result<()> {
    use std::os::unix::fs::PermissionsExt;
    match node {
        Node::Symlink { target } => std::os::unix::fs::symlink(target, to),
        Node::File { executable, .. } => {
            std::fs::copy(from, to)?;
            let mode = if *executable { 0o755 } else { 0o644 };
            std::fs::set_permissions(to, std::fs::Permissions::from_mode(mode))
        }
        Node::Folder => Ok(()),
    }
}

/// The folders that people edit, by the place where the script sees what was brought in of them.
pub(super) fn edited(ctx: &Context<'_>, stage: &Stage) -> Vec<(String, PathBuf)> {
    let inside = into(stage).map_or_else(|| "/quiz/src".to_owned(), |into| format!("/quiz/scratch/{into}"));
    let live = stage.inputs.iter().filter(|input| is_synced(stage, input)).filter_map(|input| match &input.from {
        Bound::Output { stage: from, .. } => ctx.live.get(from),
        _ => None,
    });
    live.map(|live| (inside.clone(), live.root().to_owned())).collect()
}
