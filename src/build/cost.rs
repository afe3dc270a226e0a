//! What a build would cost now, by how long its stages took when they were last made. Makes nothing.

use super::latest::last_took;
use super::plan::StageState;
use crate::error::Result;
use crate::graph::{Graph, NodeIndex};
use quiz_cache::Cache;
use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

/// What would have to be made, at most: a stage that comes out as it was spares those that read it.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Cost {
    /// The stages, inputs first, and how long each took when it was last made; `None` where that is not known.
    pub stages: Vec<(NodeIndex, Option<Duration>)>,
    /// Those of them that have to wait for each other and take longest together.
    pub critical: Vec<NodeIndex>,
    /// How long these take: no build is faster, however many processors there are.
    pub time: Duration,
    /// All stages one after the other.
    pub work: Duration,
}

/// What it would cost to make all that a plan has to make.
///
/// # Errors
/// The cache cannot be read.
pub fn cost(cache: &Cache, project: &Path, graph: &Graph, states: &[(NodeIndex, StageState)]) -> Result<Cost> {
    let open = states.iter().filter(|(_, state)| !matches!(state, StageState::Known(_))).map(|(id, _)| *id);
    let took = |id: NodeIndex| Ok((id, last_took(cache, project, &graph.stage(id).name)?));
    Ok(sum(open.map(took).collect::<Result<_>>()?, |id| graph.inputs(id)))
}

fn sum(stages: Vec<(NodeIndex, Option<Duration>)>, inputs: impl Fn(NodeIndex) -> Vec<NodeIndex>) -> Cost {
    // When each stage would end, and behind which of its inputs it waits.
    let mut ends: BTreeMap<NodeIndex, (Duration, Option<NodeIndex>)> = BTreeMap::new();
    for (id, took) in &stages {
        let last = inputs(*id).into_iter().filter_map(|input| Some((ends.get(&input)?.0, input))).max();
        let begin = last.map_or(Duration::ZERO, |(end, _)| end);
        ends.insert(*id, (begin.saturating_add(took.unwrap_or_default()), last.map(|(_, input)| input)));
    }
    let mut next = ends.iter().max_by_key(|(id, (end, _))| (*end, **id)).map(|(id, _)| *id);
    let time = next.map_or(Duration::ZERO, |id| ends[&id].0);
    let mut critical = Vec::new();
    while let Some(id) = next {
        critical.push(id);
        next = ends[&id].1;
    }
    critical.reverse();
    let work = stages.iter().filter_map(|(_, took)| *took).fold(Duration::ZERO, Duration::saturating_add);
    Cost { stages, critical, time, work }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_longest_chain_is_the_time_and_what_is_not_known_counts_for_nothing() {
        let id = NodeIndex::new;
        let secs = |seconds| Some(Duration::from_secs(seconds));
        // 0 → 2 → 3, 1 → 3; 4 alone.
        let inputs = |of: NodeIndex| match of.index() {
            2 => vec![id(0)],
            3 => vec![id(1), id(2)],
            _ => Vec::new(),
        };
        let stages = vec![(id(0), secs(5)), (id(1), secs(7)), (id(2), secs(4)), (id(3), None), (id(4), secs(8))];
        let cost = sum(stages, inputs);
        assert_eq!(cost.critical, [id(0), id(2), id(3)]);
        assert_eq!((cost.time, cost.work), (Duration::from_secs(9), Duration::from_secs(24)));
        assert_eq!(sum(Vec::new(), |_| Vec::new()), Cost::default());
    }
}
