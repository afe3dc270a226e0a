//! Why stages have to be made: the ingredients that changed first (the causes), and the ways from stage to stage by which a change
//! reaches another one.
//!
//! Makes nothing. What is different in a changed file, `changed.rs` finds out.

use super::changed::{self, FileChange};
use super::plan::{Missing, StageState};
use super::{Context, Records, key, latest, tools};
use crate::error::Result;
use crate::graph::{Bound, Graph, NodeIndex};
use quiz_cache::{Change, Manifest};
use std::collections::{BTreeMap, BTreeSet};

/// What an ingredient is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, serde::Serialize, schemars::JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum CauseKind {
    /// Files of a source folder, or of another stage's result.
    Files,
    /// A recipe's own files: its script, and what lies beside it.
    Recipe,
    /// The version or the checksum that quiz.lock pins, of a package or of a source.
    Pin,
    /// Lines of a kernel's config.
    Config,
    /// An option of the recipe.
    Option,
    /// A tool or the headers of this machine.
    Tool,
    /// Anything else that is in a key.
    Other,
    /// The stage was made here under the same key, and the result is gone.
    Gone,
    /// The stage was never made here.
    NeverMade,
    /// The source is not pinned in quiz.lock.
    Unpinned,
}

/// One change from which others follow.
#[derive(Debug)]
pub struct Cause {
    /// Which kind of ingredient changed.
    pub kind: CauseKind,
    /// The ingredient, as `quiz why` names it; empty if the cause is not an ingredient (`Gone`, `NeverMade`, `Unpinned`).
    pub name: String,
    /// The stages that have this ingredient.
    pub at: Vec<NodeIndex>,
    /// Its value when those stages were last made.
    pub before: Option<String>,
    /// Its value now.
    pub after: Option<String>,
    /// What is different, in words, where the value is a digest, which says little.
    pub told: Vec<String>,
    /// What is different about its files, if it consists of files.
    pub files: Vec<FileChange>,
    /// The stages that have to be made because of it, inputs first.
    pub stages: Vec<NodeIndex>,
}

/// All causes, and how they go on from stage to stage.
#[derive(Debug, Default)]
pub struct Causes {
    /// The causes, by the order of the stages in which they come in.
    pub all: Vec<Cause>,
    /// From a stage to the stages that read what changed in it.
    onward: BTreeMap<NodeIndex, Vec<NodeIndex>>,
}

impl Causes {
    /// Ways from the stages of a cause to the stage `to`: at most `most` of them, and how many there are in all.
    pub fn paths(&self, cause: &Cause, to: NodeIndex, most: usize) -> (Vec<Vec<NodeIndex>>, u64) {
        let mut counts = BTreeMap::new();
        let all = cause.at.iter().map(|from| self.count(*from, to, &mut counts)).fold(0, u64::saturating_add);
        let mut found = Vec::new();
        for from in &cause.at {
            self.walk(*from, to, most, &counts, &mut found);
        }
        (found, all)
    }

    /// How many ways lead from one stage to another; there may be more than can be listed.
    fn count(&self, from: NodeIndex, to: NodeIndex, known: &mut BTreeMap<NodeIndex, u64>) -> u64 {
        // Depth first without recursion: a chain of stages may be longer than the stack bears.
        let mut todo = vec![from];
        while let Some(&id) = todo.last() {
            let next = self.onward.get(&id).map_or(&[][..], Vec::as_slice);
            let open: Vec<_> = next.iter().filter(|next| !known.contains_key(next)).copied().collect();
            if id == to || open.is_empty() || known.contains_key(&id) {
                let sum = next.iter().map(|next| known.get(next).copied().unwrap_or(0)).fold(0, u64::saturating_add);
                known.insert(id, if id == to { 1 } else { sum });
                todo.pop();
            } else {
                todo.extend(open);
            }
        }
        known.get(&from).copied().unwrap_or(0)
    }

    fn walk(
        &self,
        start: NodeIndex,
        to: NodeIndex,
        most: usize,
        counts: &BTreeMap<NodeIndex, u64>,
        found: &mut Vec<Vec<NodeIndex>>,
    ) {
        let mut open = vec![vec![start]];
        while let Some(path) = open.pop().filter(|_| found.len() < most) {
            let Some(&last) = path.last() else { continue };
            if last == to {
                found.push(path);
                continue;
            }
            let next = self.onward.get(&last).map_or(&[][..], Vec::as_slice);
            for next in next.iter().rev().filter(|next| counts.get(next).is_some_and(|count| *count > 0)) {
                open.push(path.iter().copied().chain([*next]).collect());
            }
        }
    }

    fn reached(&self, order: &[NodeIndex], at: &[NodeIndex]) -> BTreeSet<NodeIndex> {
        let mut reached: BTreeSet<NodeIndex> = at.iter().copied().collect();
        for id in order {
            if reached.contains(id) {
                reached.extend(self.onward.get(id).into_iter().flatten());
            }
        }
        reached
    }
}

/// What differs of a stage since it was last made here, as far as that can be told before its inputs are made.
fn changes(ctx: &Context<'_>, id: NodeIndex, state: &StageState, known: &Records) -> Result<Vec<Change>> {
    let since = |now: &Manifest, last: &Manifest| now.diff(last);
    Ok(match state {
        StageState::Missing(missing) => missing.changes.clone(),
        StageState::Known(_) if ctx.live.contains_key(&id) => Vec::new(),
        StageState::Known(record) => match latest::of(ctx, id)? {
            Some(last) if last.key != record.key => since(&record.manifest, &last.manifest),
            _ => Vec::new(),
        },
        StageState::Unknown(_) => {
            let Some(last) = latest::of(ctx, id)? else { return Ok(Vec::new()) };
            let mut open = Vec::new();
            for input in &ctx.graph.stage(id).inputs {
                if !key::is_told(ctx, input, known)? {
                    open.push(input.name.clone());
                }
            }
            let is_open = |name: &str| name.strip_prefix("input/").is_some_and(|name| open.iter().any(|o| o == name));
            let now = key::partly(ctx, id, known, &open)?;
            now.diff(&last.manifest).into_iter().filter(|change| !is_open(&change.name)).collect()
        }
        StageState::Unresolved => Vec::new(),
    })
}

/// The causes for which the stages of a plan have to be made, or are others than when they were last made here.
///
/// # Errors
/// The cache cannot be read.
pub fn causes(ctx: &Context<'_>, states: &[(NodeIndex, StageState)]) -> Result<Causes> {
    let known: Records = states
        .iter()
        .filter_map(|(id, state)| match state {
            StageState::Known(record) => Some((*id, record.clone())),
            _ => None,
        })
        .collect();
    let mut finder = Finder { ctx, causes: Causes::default(), dirty: BTreeSet::new(), found: BTreeMap::new() };
    for (id, state) in states {
        let changes = changes(ctx, *id, state, &known)?;
        finder.look(*id, state, &changes)?;
    }
    let order: Vec<NodeIndex> = states.iter().map(|(id, _)| *id).collect();
    let Finder { mut causes, .. } = finder;
    let mut all = std::mem::take(&mut causes.all);
    for cause in &mut all {
        let reached = causes.reached(&order, &cause.at);
        let is_to_make = |id: &NodeIndex| !known.contains_key(id) || cause.kind == CauseKind::Gone;
        cause.stages = order.iter().copied().filter(|id| reached.contains(id) && is_to_make(id)).collect();
    }
    causes.all = all;
    Ok(causes)
}

/// What makes two changes one cause: the same name with the same value before and after, or the same stage whose result changed.
type Same = (String, Option<String>, Option<String>, Option<NodeIndex>);

struct Finder<'a> {
    ctx: &'a Context<'a>,
    causes: Causes,
    /// The stages so far that have to be made, or that have another key than last time.
    dirty: BTreeSet<NodeIndex>,
    /// Where a cause stands in `causes`: the same change in several stages is one cause.
    found: BTreeMap<Same, usize>,
}

impl Finder<'_> {
    fn look(&mut self, id: NodeIndex, state: &StageState, changes: &[Change]) -> Result<()> {
        let graph: &Graph = self.ctx.graph;
        let mut below = BTreeSet::new();
        for input in &graph.stage(id).inputs {
            let name = format!("input/{}", input.name);
            let change = changes.iter().find(|change| change.name == name);
            match &input.from {
                Bound::Output { stage, .. } => {
                    let is_open = matches!(state, StageState::Unknown(_)) && self.dirty.contains(stage);
                    if change.is_none() && !is_open {
                        continue;
                    }
                    below.insert(*stage);
                    if let Some(change) = change.filter(|_| !self.dirty.contains(stage)) {
                        self.add(CauseKind::Files, change, *stage, Some(*stage))?;
                    }
                }
                Bound::Profiles => {
                    if let Some(change) = change {
                        self.add(CauseKind::Files, change, id, None)?;
                    }
                }
            }
        }
        below.into_iter().for_each(|from| self.causes.onward.entry(from).or_default().push(id));
        let is_input = |name: &str| graph.stage(id).inputs.iter().any(|i| name.strip_prefix("input/") == Some(&i.name));
        for change in changes.iter().filter(|change| !is_input(&change.name)) {
            // The `files` of two recipes have different digests, so they do not become one cause.
            self.add(kind(change), change, id, None)?;
        }
        match state {
            StageState::Missing(Missing { gone: true, .. }) => self.plain(CauseKind::Gone, id),
            StageState::Missing(Missing { made_before: false, .. }) => self.plain(CauseKind::NeverMade, id),
            StageState::Unresolved => self.plain(CauseKind::Unpinned, id),
            StageState::Unknown(_) if latest::of(self.ctx, id)?.is_none() => self.plain(CauseKind::NeverMade, id),
            // Only whether the outputs exist; whether they are undamaged is checked when they are read.
            StageState::Known(record)
                if !self.ctx.live.contains_key(&id)
                    && record.outputs.values().any(|output| !self.ctx.cache.path(output).exists()) =>
            {
                self.plain(CauseKind::Gone, id);
            }
            _ => {}
        }
        if !matches!(state, StageState::Known(_)) || !changes.is_empty() {
            self.dirty.insert(id);
        }
        Ok(())
    }

    /// A cause without a value.
    fn plain(&mut self, kind: CauseKind, id: NodeIndex) {
        let key = (format!("{kind:?}"), None, None, None);
        self.place(key, id, || Self::cause(kind, String::new(), None, None));
    }

    fn add(&mut self, kind: CauseKind, change: &Change, at: NodeIndex, of: Option<NodeIndex>) -> Result<()> {
        let ctx = self.ctx;
        let key = match of {
            // Each filtered part of a folder has a digest of its own, but only one folder changed: the values do not count here.
            Some(_) => (String::new(), None, None, of),
            None => (change.name.clone(), change.before.clone(), change.after.clone(), None),
        };
        let Change { name, before, after } = change.clone();
        self.place(key.clone(), at, || Self::cause(kind, name, before, after));
        let Some(cause) = self.found.get(&key).and_then(|n| self.causes.all.get_mut(*n)) else { return Ok(()) };
        if matches!(kind, CauseKind::Files | CauseKind::Recipe) {
            for file in changed::files(ctx, change, at, of)? {
                if !cause.files.iter().any(|other| other.path == file.path) {
                    cause.files.push(file);
                }
            }
        } else if cause.told.is_empty() {
            cause.told = tools::told(ctx.cache, change);
        }
        Ok(())
    }

    fn cause(kind: CauseKind, name: String, before: Option<String>, after: Option<String>) -> Cause {
        let (at, told, files, stages) = Default::default();
        Cause { kind, name, at, before, after, told, files, stages }
    }

    /// Adds the stage to the cause with this key, which `new` makes if there is none yet.
    fn place(&mut self, key: Same, at: NodeIndex, new: impl FnOnce() -> Cause) {
        let number = match self.found.get(&key) {
            Some(number) => *number,
            None => {
                self.causes.all.push(new());
                self.found.insert(key, self.causes.all.len() - 1);
                self.causes.all.len() - 1
            }
        };
        let cause = &mut self.causes.all[number];
        if !cause.at.contains(&at) {
            cause.at.push(at);
        }
    }
}

fn kind(change: &Change) -> CauseKind {
    let is_config = |value: &Option<String>| {
        let lines = value.as_deref().unwrap_or("[]").lines();
        lines.filter(|line| *line != "[]").all(|line| line.trim_start_matches("# ").starts_with("CONFIG_"))
    };
    match change.name.split('/').next().unwrap_or_default() {
        "files" => CauseKind::Recipe,
        "pin" | "tree" => CauseKind::Pin,
        "option" if is_config(&change.before) && is_config(&change.after) => CauseKind::Config,
        "option" => CauseKind::Option,
        "tool" | "headers" => CauseKind::Tool,
        "input" => CauseKind::Files,
        _ => CauseKind::Other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cause(at: &[usize]) -> Cause {
        let at = at.iter().map(|n| NodeIndex::new(*n)).collect();
        Cause { at, ..Finder::cause(CauseKind::Option, "option/x".into(), None, None) }
    }

    fn onward(edges: &[(usize, usize)]) -> Causes {
        let mut causes = Causes::default();
        for (from, to) in edges {
            causes.onward.entry(NodeIndex::new(*from)).or_default().push(NodeIndex::new(*to));
        }
        causes
    }

    #[test]
    fn every_way_to_a_stage_is_told_and_none_that_leads_elsewhere() {
        let causes = onward(&[(0, 1), (0, 2), (1, 3), (2, 3), (2, 4)]);
        let ways = |to| {
            let (paths, all) = causes.paths(&cause(&[0]), NodeIndex::new(to), 9);
            (paths.into_iter().map(|p| p.iter().map(|id| id.index()).collect()).collect::<Vec<Vec<_>>>(), all)
        };
        assert_eq!(ways(3), (vec![vec![0, 1, 3], vec![0, 2, 3]], 2));
        assert_eq!(ways(4), (vec![vec![0, 2, 4]], 1));
        assert_eq!(ways(0), (vec![vec![0]], 1));
        assert_eq!(ways(9), (vec![], 0));
    }

    #[test]
    fn more_ways_than_can_be_listed_are_counted() {
        // Two ways at each of 40 places, and a chain of 20,000 stages behind them.
        let mut edges = Vec::new();
        for n in 0..40 {
            edges.extend([(3 * n, 3 * n + 1), (3 * n, 3 * n + 2), (3 * n + 1, 3 * n + 3), (3 * n + 2, 3 * n + 3)]);
        }
        edges.extend((120..20_120).map(|n| (n, n + 1)));
        let (paths, all) = onward(&edges).paths(&cause(&[0]), NodeIndex::new(20_120), 3);
        assert_eq!((paths.len(), all), (3, 1 << 40));
        assert!(paths.iter().all(|path| path.len() == 1 + 80 + 20_000));
    }

    #[test]
    fn lines_of_a_config_are_told_from_other_options() {
        let change = |name: &str, after: &str| Change { name: name.into(), before: None, after: Some(after.into()) };
        assert_eq!(kind(&change("option/lines", "CONFIG_KASAN=y\n# CONFIG_X is not set")), CauseKind::Config);
        assert_eq!(kind(&change("option/lines", "CONFIG_KASAN=y\nfoo")), CauseKind::Option);
        assert_eq!(kind(&change("pin/package/bash:amd64", "5")), CauseKind::Pin);
    }
}
