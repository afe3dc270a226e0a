//! The graph of stages as one SVG picture, which needs no other file, light or dark as its reader has it.

use super::drawing::{Drawing, drawing, facts};
use super::layout::{HEIGHT, layout};
use crate::build::StageState;
use crate::engine::snapshots::SnapshotStates;
use crate::graph::{Graph, NodeIndex};
use petgraph::visit::EdgeRef;
use std::fmt::Write as _;

/// Around it all, in pixels.
const MARGIN: f64 = 16.0;
/// What a character of the widest line takes; the font is monospace at 12 px.
const CHARACTER: f64 = 7.3;
/// Longer names are cut in the box; the box's title has the whole.
const LONGEST: usize = 44;

/// Colours by state, of letters and boxes. The state stands in words in each box, too.
const STYLE: &str = "svg{background:#fff;font:12px monospace}text{fill:#16191d}.f{fill:#4b535c}path{fill:none;stroke:#8b949e}\
rect{fill:#e6e8eb;stroke:#68707a}.cached rect{fill:#d9f2e0;stroke:#2a7d46}\
.stale rect,.missing rect,.unresolved rect{fill:#ffe9b8;stroke:#96690a}\
@media(prefers-color-scheme:dark){svg{background:#14171a}text{fill:#eceff2}.f{fill:#b4bcc5}path{stroke:#68707a}\
rect{fill:#2a2f35;stroke:#8b949e}.cached rect{fill:#143521;stroke:#4cab6d}\
.stale rect,.missing rect,.unresolved rect{fill:#46340a;stroke:#d9a32b}}";

/// As a picture.
pub fn graph_svg(graph: &Graph, states: &[(NodeIndex, StageState)], snapshots: &SnapshotStates) -> String {
    svg(&drawing(graph, states, snapshots))
}

fn svg(drawing: &Drawing) -> String {
    let rows = || drawing.node_weights();
    let lengths = rows().flat_map(|row| [cut(&row.name).chars().count(), facts(row).chars().count()]);
    let longest = u32::try_from(lengths.max().unwrap_or(0)).unwrap_or(u32::MAX);
    let box_width = (f64::from(longest) * CHARACTER + 20.0).ceil();
    let laid = layout(drawing, box_width);
    let [width, height] = [laid.width, laid.height].map(|side| (side + 2.0 * MARGIN).ceil());
    let count = |states: &[&str]| rows().filter(|row| states.contains(&row.state)).count();
    let described = format!(
        "{} stages, inputs on the left: {} cached, {} stale, {} missing, {} others.",
        drawing.node_count(),
        count(&["cached"]),
        count(&["stale"]),
        count(&["missing"]),
        count(&["unresolved", "unknown", "none"])
    );
    let mut text = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{width}\" height=\"{height}\" viewBox=\"0 0 {width} {height}\" \
         role=\"img\" aria-labelledby=\"title desc\">\n<title id=\"title\">The stages of quiz</title>\n\
         <desc id=\"desc\">{described}</desc>\n<style>{STYLE}</style>\n"
    );
    // Lines first: boxes lie over them.
    for edge in drawing.edge_references() {
        let [(x, y), (to_x, to_y)] = [edge.source(), edge.target()].map(|id| laid.places[id.index()]);
        let [x, to_x] = [x + box_width + MARGIN, to_x + MARGIN];
        let [y, to_y] = [y, to_y].map(|y| y + HEIGHT / 2.0 + MARGIN);
        let bend = 28.0;
        let (left, right) = (x + bend, to_x - bend);
        _ = writeln!(text, "<path d=\"M{x:.1} {y:.1}C{left:.1} {y:.1} {right:.1} {to_y:.1} {to_x:.1} {to_y:.1}\"/>");
    }
    for id in drawing.node_indices() {
        let row = &drawing[id];
        let (x, y) = laid.places[id.index()];
        let (x, y) = (x + MARGIN, y + MARGIN);
        let [whole, name, facts, why] =
            [row.name.clone(), cut(&row.name), facts(row), row.why.clone()].map(|text| escaped(&text));
        let (left, first, second) = (x + 10.0, y + 18.0, y + 35.0);
        _ = writeln!(
            text,
            "<g class=\"{}\" data-stage=\"{}\"><title>{whole}: {facts} {why}</title><rect x=\"{x:.1}\" y=\"{y:.1}\" width=\"{box_width}\" \
             height=\"{HEIGHT}\" rx=\"5\"/><text x=\"{left:.1}\" y=\"{first:.1}\">{name}</text>\
             <text class=\"f\" x=\"{left:.1}\" y=\"{second:.1}\">{facts}</text></g>",
            row.state,
            id.index()
        );
    }
    text + "</svg>\n"
}

fn cut(name: &str) -> String {
    match name.char_indices().nth(LONGEST) {
        Some((end, _)) => format!("{}…", &name[..end]),
        None => name.to_owned(),
    }
}

/// As text of XML, which may not have all characters.
fn escaped(text: &str) -> String {
    let text = text.replace(|c: char| c.is_control() || matches!(c, '\u{fffe}' | '\u{ffff}'), " ");
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::row::Row;

    #[test]
    fn a_picture_is_xml_with_each_stage_and_its_state_whatever_the_names_are() {
        let names = ["</text></svg><script>", "\"];&amp;", "line\nbreak\u{0}\u{ffff}", "]]>", &"long".repeat(40)];
        let states = ["cached", "stale", "missing", "unknown", "unresolved"];
        let mut drawing = Drawing::new();
        let ids: Vec<_> = names
            .iter()
            .zip(states)
            .map(|(name, state)| {
                let none = String::new;
                let why = "changed: <a>".to_owned();
                drawing.add_node(Row {
                    name: (*name).to_owned(),
                    state,
                    took: none(),
                    size: none(),
                    digest: none(),
                    why,
                })
            })
            .collect();
        drawing.add_edge(ids[0], ids[1], ());
        drawing.add_edge(ids[0], ids[4], ());
        let text = svg(&drawing);
        let read = roxmltree::Document::parse(&text).unwrap();
        let all = |name: &'static str| read.descendants().filter(move |node| node.has_tag_name(name));
        assert_eq!((all("rect").count(), all("path").count(), all("script").count()), (5, 2, 0));
        for (group, (name, state)) in all("g").zip(names.iter().zip(states)) {
            let title = group.children().next().unwrap().text().unwrap();
            let name = name.replace(['\n', '\u{0}', '\u{ffff}'], " ");
            assert_eq!(title, format!("{name}: {state} changed: <a>"));
            assert_eq!(group.attribute("class"), Some(state));
        }
        assert!(
            read.descendants().all(|node| node.attributes().all(|a| a.name() != "href" && !a.name().starts_with("on")))
        );
        assert!(!text.contains("url(") && !text.contains("@import"));
    }
}
