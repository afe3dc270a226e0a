//! The graph of stages as one page for a browser: the picture, a table, and on each stage what it is made of and what changed. And what all pages of
//! quiz have in common (`page.css`, `page.js`): they need no other file and no network.
//!
//! What stands in it comes from projects of others: it goes in as data, of which the page's script makes text and never markup.

use super::causes::{Explained, WAYS, build_json, cost_shape, items};
use super::snapshots::why_snapshot_json;
use super::svg::graph_svg;
use super::tables::stage_whole;
use crate::build::{Build, Cost, StageState};
use crate::engine::snapshots::SnapshotStates;
use crate::graph::{Graph, NodeIndex};
use quiz_cache::Key;
use serde_json::{Value as Json, json};
use std::collections::{BTreeMap, HashMap};
use std::path::Path;

const PAGE: &str = include_str!("page.html");

/// What was built before, here and in other worktrees, and what a build would cost now.
#[derive(Debug)]
pub struct Past<'a> {
    /// The project's folder.
    pub here: &'a Path,
    /// Its last builds, the oldest first.
    pub builds: Vec<Build>,
    /// The last keys of the stages of every worktree of the cache.
    pub worktrees: BTreeMap<String, BTreeMap<String, Key>>,
    /// What a build would cost now.
    pub cost: Cost,
}

/// The graph as a page.
pub fn graph_html(graph: &Graph, explained: &Explained<'_>, snapshots: &SnapshotStates, past: &Past<'_>) -> String {
    let picture = graph_svg(graph, explained.states, snapshots);
    let mut causes = json!(explained.shapes(graph, None));
    with_items(Some(&mut causes));
    let more = json!({
        "causes": causes,
        "cost": cost_shape(graph, &past.cost),
        "builds": past.builds.iter().map(build_json).collect::<Json>(),
        "worktrees": worktrees(graph, explained.states, past),
    });
    page(&picture, &data(graph, explained, snapshots), &more)
}

/// An object for each stage, in the order in which the picture has numbered them.
fn data(graph: &Graph, explained: &Explained<'_>, snapshots: &SnapshotStates) -> Json {
    let stages = explained.states.iter().map(|(id, state)| {
        let mut stage = json!(stage_whole(graph, *id, state));
        stage["about"] = json!(graph.stage(*id).recipe.about);
        stage["causes"] = arriving(graph, explained, &[*id], None);
        with_items(stage.get_mut("changes"));
        stage
    });
    let [mut lower, mut upper] = [&snapshots.base, &snapshots.full].map(|one| {
        let mut snapshot = why_snapshot_json(one, graph);
        snapshot["causes"] = arriving(graph, explained, &one.inputs, Some(one.name));
        snapshot
    });
    lower["about"] = json!("kernel and agent, saved when they lived");
    upper["about"] = json!("the machine, saved when it was ready");
    if let Json::Array(inputs) = &mut upper["inputs"] {
        inputs.push(json!(SnapshotStates::BASE));
    }
    stages.chain([lower, upper]).collect()
}

/// The causes that arrive at one of the stages, each by its place among the page's causes, which has what changed, and with the first ways on which it
/// arrives. A snapshot is no stage: its name comes behind those of the stages that it is made of.
fn arriving(graph: &Graph, explained: &Explained<'_>, ends: &[NodeIndex], last: Option<&str>) -> Json {
    let names =
        |way: &Vec<NodeIndex>| way.iter().map(|id| graph.stage(*id).name.as_str()).chain(last).collect::<Vec<_>>();
    let one = |(n, cause)| {
        let found = ends.iter().map(|end| explained.causes.paths(cause, *end, WAYS));
        let (ways, numbers): (Vec<_>, Vec<u64>) = found.unzip();
        let ways: Vec<_> = ways.iter().flatten().take(WAYS).map(names).collect();
        let number = numbers.into_iter().fold(0, u64::saturating_add);
        (number > 0).then(|| json!({ "cause": n, "paths": ways, "number-of-paths": number }))
    };
    explained.causes.all.iter().enumerate().filter_map(one).collect()
}

/// Adds to each change of a list what went and what came: in two long lists nobody finds the word that differs.
fn with_items(changes: Option<&mut Json>) {
    for change in changes.and_then(Json::as_array_mut).into_iter().flatten() {
        if let Some(items) = items(change["before"].as_str(), change["after"].as_str()) {
            change["items"] = json!(items);
        }
    }
}

/// Of each other worktree which stages have the same result as here, and which another one.
fn worktrees(graph: &Graph, states: &[(NodeIndex, StageState)], past: &Past<'_>) -> Json {
    let key = |state: &StageState| match state {
        StageState::Known(record) => Some(record.key),
        StageState::Missing(missing) => Some(missing.key),
        StageState::Unknown(_) | StageState::Unresolved => None,
    };
    // Each stage with its place in the order of the picture, in which they are listed.
    let stages = states.iter().enumerate().map(|(n, (id, state))| (graph.stage(*id).name.as_str(), (n, key(state))));
    let here: HashMap<&str, (usize, Option<Key>)> = stages.collect();
    let others = past.worktrees.iter().filter(|(folder, _)| Path::new(folder) != past.here);
    // There may be hundreds of worktrees, which know a few stages each.
    let one = |(folder, there): (&String, &BTreeMap<String, Key>)| {
        let known = there.iter().filter_map(|(name, key)| Some((here.get(name.as_str())?, name, key)));
        let mut known: Vec<_> = known.map(|((n, mine), name, key)| (*n, name, *mine == Some(*key))).collect();
        known.sort_unstable();
        let split = |same: bool| {
            known.iter().filter(|(.., is_same)| *is_same == same).map(|(_, name, _)| *name).collect::<Vec<_>>()
        };
        json!({ "folder": folder, "is-there": Path::new(folder).is_dir(), "same": split(true), "other": split(false) })
    };
    others.map(one).filter(|one| one["same"] != json!([]) || one["other"] != json!([])).collect()
}

fn page(picture: &str, data: &Json, more: &Json) -> String {
    filled(PAGE, &[("<!--PICTURE-->", picture), ("\"DATA\"", &inside(data)), ("\"MORE\"", &inside(more))])
}

/// Only what `<` begins could end the script element that the data stands in.
pub(super) fn inside(data: &Json) -> String {
    data.to_string().replace('<', "\\u003c")
}

/// The page with what all pages look like and do, and with the parts, each in its place: they stand there in this order, and what stands in a part
/// is no place.
pub(super) fn filled(page: &str, parts: &[(&str, &str)]) -> String {
    let common = [("/*STYLE*/", include_str!("page.css")), ("/*COMMON*/", include_str!("page.js"))];
    let [style, functions] = common;
    let mut text = String::new();
    let mut rest = page;
    for (place, part) in [&[style], parts, &[functions]].concat() {
        if let Some((before, after)) = rest.split_once(place) {
            text += before;
            text += part;
            rest = after;
        }
    }
    text + rest
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    #[test]
    fn nothing_in_the_data_ends_the_element_that_it_stands_in() {
        let hostile = json!([{ "stage": "</script><!--<script>alert(1)</script>", "state": "cached", "inputs": ["\"DATA\"", "\"MORE\"", "<!--PICTURE-->"] }]);
        let text = page("<svg></svg>", &hostile, &hostile);
        for (id, elements_after) in [("data", 2), ("more", 1)] {
            let begin = format!("<script type=\"application/json\" id=\"{id}\">");
            let (_, rest) = text.split_once(&begin).unwrap();
            let (inside, after) = rest.split_once("</script>").unwrap();
            assert_eq!(serde_json::from_str::<Json>(inside).unwrap(), hostile);
            assert!(!inside.contains('<') && after.matches("</script>").count() == elements_after, "{after}");
        }
    }

    #[test]
    fn the_page_loads_nothing_and_makes_no_markup_of_what_it_is_given() {
        expect_closed(&filled(PAGE, &[]));
        assert_eq!((PAGE.matches("<!--PICTURE-->").count(), PAGE.matches("\"DATA\"").count()), (1, 1));
    }

    /// A page that loads nothing, and that makes text of what it is given.
    pub(in super::super) fn expect_closed(page: &str) {
        assert!(page.contains("<meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'\">"));
        for way in
            ["http:", "https:", "src=", "url(", "@import", "innerHTML", "insertAdjacent", "document.write", "eval("]
        {
            assert!(!page.contains(way), "{way}");
        }
        assert_eq!((page.matches("<style>").count(), page.matches("function make(").count()), (1, 1));
        for place in ["<!--PICTURE-->", "\"DATA\"", "\"MORE\""] {
            assert_eq!(PAGE.matches(place).count(), 1, "{place}");
        }
    }
}
