//! The graph of stages as one SVG picture, which needs no other file, light or dark as its reader has it.

use super::drawing::{Drawing, drawing, facts};
use super::layout::{HEIGHT, layout};
use crate::build::StageState;
use crate::engine::snapshots::SnapshotStates;
use crate::graph::{Graph, NodeIndex};
use petgraph::visit::EdgeRef;
use std::fmt::Write as _;

/// The margin around the picture, in pixels.
const MARGIN: f64 = 16.0;
/// What a character of the widest line takes; the font is monospace at 12 px.
const CHARACTER: f64 = 7.3;
/// How far a line runs level beside a box before it turns.
const BEND: f64 = 28.0;
/// Longer names are cut in the box; the box's title has the whole.
const LONGEST: usize = 44;

/// Colours by state, of letters and boxes. The state stands in words in each box, too.
const STYLE: &str = "svg{background:#fff;font:12px monospace}text{fill:#16191d}.f{fill:#4b535c}path{fill:none;stroke:#8b949e}\
rect{fill:#e6e8eb;stroke:#68707a}.cached rect{fill:#d9f2e0;stroke:#2a7d46}\
.stale rect,.missing rect,.unresolved rect{fill:#ffe9b8;stroke:#96690a}\
@media(prefers-color-scheme:dark){svg{background:#14171a}text{fill:#eceff2}.f{fill:#b4bcc5}path{stroke:#68707a}\
rect{fill:#2a2f35;stroke:#8b949e}.cached rect{fill:#143521;stroke:#4cab6d}\
.stale rect,.missing rect,.unresolved rect{fill:#46340a;stroke:#d9a32b}}";

/// The graph as a picture.
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
        let [(from_x, from_y), (to_x, to_y)] = [edge.source(), edge.target()].map(|id| {
            let (x, y) = laid.places[id.index()];
            (x + MARGIN, y + HEIGHT / 2.0 + MARGIN)
        });
        let (mut x, mut y) = (from_x + box_width, from_y);
        _ = write!(text, "<path d=\"M{x:.1} {y:.1}");
        for (next_x, next_y) in laid.crossings(edge.source(), edge.target()) {
            let (next_x, next_y) = (next_x + MARGIN, next_y + MARGIN);
            curve(&mut text, (x, y), (next_x, next_y));
            (x, y) = (next_x + box_width, next_y);
            _ = write!(text, "H{x:.1}");
        }
        curve(&mut text, (x, y), (to_x, to_y));
        text += "\"/>\n";
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

/// From one column to the next, level where it begins and ends.
fn curve(text: &mut String, (x, y): (f64, f64), (to_x, to_y): (f64, f64)) {
    let (left, right) = (x + BEND, to_x - BEND);
    _ = write!(text, "C{left:.1} {y:.1} {right:.1} {to_y:.1} {to_x:.1} {to_y:.1}");
}

fn cut(name: &str) -> String {
    match name.char_indices().nth(LONGEST) {
        Some((end, _)) => format!("{}…", &name[..end]),
        None => name.to_owned(),
    }
}

/// A text as XML has it, where not all characters are allowed.
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
            .map(|(name, state)| drawing.add_node(Row { state, why: "changed: <a>".to_owned(), ..row(name) }))
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

    fn row(name: &str) -> Row {
        let [took, size, digest, why] = [(); 4].map(|()| String::new());
        Row { name: name.to_owned(), state: "cached", took, size, digest, why }
    }

    /// Points on a path of the commands M, H and C, in pixels.
    fn points(path: &str) -> Vec<(f64, f64)> {
        let mut all: Vec<(f64, f64)> = Vec::new();
        for part in path.replace('M', ";M ").replace('H', ";H ").replace('C', ";C ").split(';').skip(1) {
            let numbers: Vec<f64> = part[1..].split_whitespace().map(|number| number.parse().unwrap()).collect();
            match (&part[..1], &numbers[..]) {
                ("M", [x, y]) => all.push((*x, *y)),
                ("H", [x]) => {
                    let (from, y) = *all.last().unwrap();
                    all.extend((1..=20).map(|n| (from + (x - from) * f64::from(n) / 20.0, y)));
                }
                ("C", [a, b, c, d, x, y]) => {
                    let from = *all.last().unwrap();
                    all.extend((1..=20).map(|n| {
                        let t = f64::from(n) / 20.0;
                        let u = 1.0 - t;
                        let at = |p, q, r, s| u * u * u * p + 3.0 * t * u * u * q + 3.0 * t * t * u * r + t * t * t * s;
                        (at(from.0, *a, *c, *x), at(from.1, *b, *d, *y))
                    }));
                }
                _ => panic!("{part} in {path}"),
            }
        }
        all
    }

    #[test]
    fn a_line_over_several_columns_runs_behind_no_box() {
        let mut drawing = Drawing::new();
        let stages: Vec<_> = (0..30).map(|n| drawing.add_node(row(&format!("stage {n}")))).collect();
        // Six columns of five; each reads one of the column before, and one of an earlier column.
        for n in 5..30 {
            drawing.update_edge(stages[n - 5], stages[n], ());
            drawing.update_edge(stages[n * 7 % (n - 4)], stages[n], ());
        }
        let text = svg(&drawing);
        let read = roxmltree::Document::parse(&text).unwrap();
        let all = |name: &'static str| read.descendants().filter(move |node| node.has_tag_name(name));
        let boxes: Vec<[f64; 4]> = all("rect")
            .map(|rect| ["x", "y", "width", "height"].map(|name| rect.attribute(name).unwrap().parse().unwrap()))
            .collect();
        assert_eq!(all("path").count(), drawing.edge_count());
        for (line, edge) in all("path").zip(drawing.raw_edges()) {
            let points = points(line.attribute("d").unwrap());
            let [from, to] = [edge.source(), edge.target()].map(|id| boxes[id.index()]);
            assert_eq!(points[0], (from[0] + from[2], from[1] + HEIGHT / 2.0));
            let (x, y) = *points.last().unwrap();
            assert!((x - to[0]).abs() < 0.2 && (y - to[1] - HEIGHT / 2.0).abs() < 0.2, "{x} {y} of {to:?}");
            for (x, y) in points {
                let within = |[left, top, width, height]: &[f64; 4]| {
                    left + 1.0 < x && x < left + width - 1.0 && top + 1.0 < y && y < top + height - 1.0
                };
                assert!(!boxes.iter().any(within), "{x} {y} lies in a box");
            }
        }
    }
}
