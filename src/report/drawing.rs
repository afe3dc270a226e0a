//! The graph of stages as text for programs that draw: Graphviz's dot and Mermaid.
//!
//! Names come from projects of others, so each format escapes all that could end a label. Knows nothing of places and colours of a
//! picture; `svg.rs` does.

use super::plain::one_line;
use super::row::Row;
use super::tables::row;
use crate::build::StageState;
use crate::engine::snapshots::SnapshotStates;
use crate::graph::{Graph, NodeIndex};
use petgraph::graph::DiGraph;
use petgraph::visit::EdgeRef;
use std::collections::BTreeMap;

/// The stages, with an edge from each input to the stage that needs it.
pub(super) type Drawing = DiGraph<Row, ()>;

/// The stages and, if an image is among them, its machine's snapshots.
pub(super) fn drawing(graph: &Graph, states: &[(NodeIndex, StageState)], snapshots: &SnapshotStates) -> Drawing {
    let mut drawing = Drawing::new();
    let mut ids = BTreeMap::new();
    for (id, state) in states {
        let name = graph.stage(*id).name.clone();
        ids.insert(*id, drawing.add_node(Row { name, ..row(graph, state) }));
    }
    for (id, to) in &ids {
        // `inputs` gives each input once, so edges are added without a look at those that are there, of which a common input has very many.
        for input in graph.inputs(*id) {
            drawing.add_edge(ids[&input], *to, ());
        }
    }
    let SnapshotStates { full, base } = snapshots;
    if graph.ends().iter().any(|end| full.inputs.contains(end)) {
        let [lower, upper] = [base, full].map(|snapshot| {
            let to = drawing.add_node(snapshot.row(""));
            for input in snapshot.inputs.iter().filter_map(|input| ids.get(input)) {
                drawing.update_edge(*input, to, ());
            }
            to
        });
        drawing.update_edge(lower, upper, ());
    }
    drawing
}

/// State, time, size and digest, as far as they are known.
pub(super) fn facts(row: &Row) -> String {
    let all = [row.state, &row.took, &row.size, &row.digest];
    all.into_iter().filter(|fact| !fact.is_empty()).collect::<Vec<_>>().join(" · ")
}

/// The graph for Graphviz.
pub fn graph_dot(graph: &Graph, states: &[(NodeIndex, StageState)], snapshots: &SnapshotStates) -> String {
    dot(&drawing(graph, states, snapshots))
}

/// The graph for Mermaid, which many forges draw in their pages.
pub fn graph_mermaid(graph: &Graph, states: &[(NodeIndex, StageState)], snapshots: &SnapshotStates) -> String {
    mermaid(&drawing(graph, states, snapshots))
}

fn dot(drawing: &Drawing) -> String {
    let mut text = "digraph quiz {\n  rankdir=LR;\n  node [shape=box, style=filled, fontname=monospace];\n".to_owned();
    for id in drawing.node_indices() {
        let row = &drawing[id];
        let colour = match row.state {
            "cached" => "#d9f2e0",
            "stale" | "missing" | "unresolved" => "#ffe9b8",
            _ => "#e6e8eb",
        };
        let label = format!("{}\\n{}", dot_text(&row.name), dot_text(&facts(row)));
        text += &format!("  n{} [label=\"{label}\", fillcolor=\"{colour}\"];\n", id.index());
    }
    for edge in drawing.edge_references() {
        text += &format!("  n{} -> n{};\n", edge.source().index(), edge.target().index());
    }
    text + "}\n"
}

/// Between quotes of dot, where a backslash begins an escape and `&` an entity.
fn dot_text(text: &str) -> String {
    let text = one_line(text).replace('\\', "\\\\");
    text.replace('"', "\\\"").replace('&', "&amp;")
}

fn mermaid(drawing: &Drawing) -> String {
    let mut text = "flowchart LR\n".to_owned();
    for id in drawing.node_indices() {
        let row = &drawing[id];
        let label = format!("{}<br/>{}", mermaid_text(&row.name), mermaid_text(&facts(row)));
        text += &format!("  n{}[\"{label}\"]:::{}\n", id.index(), row.state);
    }
    for edge in drawing.edge_references() {
        text += &format!("  n{} --> n{}\n", edge.source().index(), edge.target().index());
    }
    text += "  classDef cached fill:#d9f2e0,stroke:#2a7d46,color:#10331c\n";
    for state in ["stale", "missing", "unresolved"] {
        text += &format!("  classDef {state} fill:#ffe9b8,stroke:#96690a,color:#3d2b04\n");
    }
    for state in ["unknown", "none"] {
        text += &format!("  classDef {state} fill:#e6e8eb,stroke:#68707a,color:#23272c\n");
    }
    text
}

/// Text in a label of Mermaid: a character that is neither a letter nor a digit nor harmless goes in as its number.
fn mermaid_text(text: &str) -> String {
    let escaped = |c: char| match c {
        c if c.is_control() => " ".to_owned(),
        c if c.is_alphanumeric() || " ._-·".contains(c) => c.to_string(),
        c => format!("#{};", u32::from(c)),
    };
    text.chars().map(escaped).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOSTILE: [&str; 4] = ["</script><!--", "a\"];b[\"c", "line\nn9 -> n0;", "back\\"];

    fn hostile() -> Drawing {
        let mut drawing = Drawing::new();
        let ids = HOSTILE.map(|name| {
            let [took, size, digest] = ["2 s", "3 MB", "0123456789ab"].map(str::to_owned);
            drawing.add_node(Row { name: name.to_owned(), state: "cached", took, size, digest, why: String::new() })
        });
        ids.windows(2).for_each(|pair| {
            drawing.update_edge(pair[0], pair[1], ());
        });
        drawing
    }

    /// What stands between the quotes of a line of dot, unescaped; and whether nothing else of the line is quoted by mistake.
    fn unquoted(line: &str) -> (String, String) {
        let mut chars = line.split_once("label=\"").unwrap().1.chars();
        let mut label = String::new();
        while let Some(c) = chars.next() {
            match c {
                '"' => break,
                '\\' => match chars.next().unwrap() {
                    'n' => label.push('\n'),
                    other => label.push(other),
                },
                c => label.push(c),
            }
        }
        (label.replace("&amp;", "&"), chars.collect())
    }

    #[test]
    fn dot_has_each_stage_and_edge_on_one_line_whatever_the_names_are() {
        let text = dot(&hostile());
        let lines: Vec<&str> = text.lines().collect();
        let nodes: Vec<_> = lines.iter().filter(|line| line.contains("label=")).collect();
        assert_eq!(nodes.len(), HOSTILE.len(), "{text}");
        for (line, name) in nodes.iter().zip(HOSTILE) {
            let (label, rest) = unquoted(line);
            assert_eq!(label, format!("{}\ncached · 2 s · 3 MB · 0123456789ab", name.replace('\n', " ")));
            assert_eq!(rest, ", fillcolor=\"#d9f2e0\"];");
        }
        let edges: Vec<_> = lines.iter().filter(|line| line.starts_with("  n") && !line.contains('[')).collect();
        assert_eq!(edges, [&"  n0 -> n1;", &"  n1 -> n2;", &"  n2 -> n3;"]);
    }

    #[test]
    fn mermaid_has_nothing_in_a_label_that_could_end_it() {
        let text = mermaid(&hostile());
        let labels: Vec<&str> = text.lines().filter(|line| line.contains("[\"")).collect();
        assert_eq!(labels.len(), HOSTILE.len(), "{text}");
        for (n, line) in labels.iter().enumerate() {
            let inner = line.strip_prefix(&format!("  n{n}[\"")).unwrap().strip_suffix("\"]:::cached").unwrap();
            let inner = inner.replacen("<br/>", "", 1);
            assert!(!inner.contains(['"', '[', ']', '<', '>', '\\', '`']), "{line}");
        }
        assert!(labels[0].contains("#60;#47;script#62;"), "{text}");
        let edges: Vec<_> = text.lines().filter(|line| line.contains("-->")).collect();
        assert_eq!(edges, ["  n0 --> n1", "  n1 --> n2", "  n2 --> n3"]);
    }
}
