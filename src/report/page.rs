//! The graph of stages as one page for a browser: the picture, a table, and on each stage what it is made of and what changed. And what all pages of
//! quiz have in common (`page.css`, `page.js`): they need no other file and no network.
//!
//! What stands in it comes from projects of others: it goes in as data, of which the page's script makes text and never markup.

use super::snapshots::why_snapshot_json;
use super::svg::graph_svg;
use super::tables::why_json;
use crate::build::StageState;
use crate::engine::snapshots::SnapshotStates;
use crate::graph::{Graph, NodeIndex};
use serde_json::{Value as Json, json};

const PAGE: &str = include_str!("page.html");

/// As a page.
pub fn graph_html(graph: &Graph, states: &[(NodeIndex, StageState)], snapshots: &SnapshotStates) -> String {
    page(&graph_svg(graph, states, snapshots), data(graph, states, snapshots))
}

/// An object for each stage, in the order in which the picture has numbered them.
fn data(graph: &Graph, states: &[(NodeIndex, StageState)], snapshots: &SnapshotStates) -> Json {
    let stages = states.iter().map(|(id, _)| {
        let mut stage = why_json(graph, *id, states);
        stage["about"] = json!(graph.stage(*id).recipe.about);
        stage
    });
    let [mut lower, mut upper] = [&snapshots.base, &snapshots.full].map(|one| why_snapshot_json(one, graph));
    lower["about"] = json!("kernel and agent, saved when they lived");
    upper["about"] = json!("the machine, saved when it was ready");
    if let Json::Array(inputs) = &mut upper["inputs"] {
        inputs.push(json!(SnapshotStates::BASE));
    }
    stages.chain([lower, upper]).collect()
}

fn page(picture: &str, data: Json) -> String {
    filled(PAGE, &[("<!--PICTURE-->", picture), ("\"DATA\"", &inside(&data))])
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
        let hostile = json!([{ "stage": "</script><!--<script>alert(1)</script>", "state": "cached", "inputs": ["\"DATA\"", "<!--PICTURE-->"] }]);
        let text = page("<svg></svg>", hostile.clone());
        let (_, rest) = text.split_once("<script type=\"application/json\" id=\"data\">").unwrap();
        let (inside, after) = rest.split_once("</script>").unwrap();
        assert_eq!(serde_json::from_str::<Json>(inside).unwrap(), hostile);
        assert!(!inside.contains('<') && after.matches("</script>").count() == 1, "{after}");
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
    }
}
