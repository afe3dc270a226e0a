//! Where each stage of a drawing stands: in columns from the inputs to the ends, near what it is made of.
//!
//! Knows boxes of one height, in pixels; not what stands in them. The work grows with stages and edges, not with their square.

use petgraph::Direction::{Incoming, Outgoing};
use petgraph::algo::toposort;
use petgraph::graph::{DiGraph, NodeIndex};

/// How high a box is.
pub(super) const HEIGHT: f64 = 44.0;
/// Between two boxes of a column.
const GAP: f64 = 14.0;
/// Between two columns.
const BETWEEN: f64 = 56.0;
/// If all lines together cross more columns than that, they run straight: the picture would have as many pieces of line.
const CROSSINGS: usize = 20_000;
/// How often the columns are put in order again; more changes little.
const SWEEPS: usize = 4;

/// Where all boxes are, and how large the picture is.
#[derive(Debug)]
pub(super) struct Layout {
    /// The upper left corner of each node, in the order of the nodes.
    pub(super) places: Vec<(f64, f64)>,
    pub(super) width: f64,
    pub(super) height: f64,
    /// Which column each node stands in.
    column: Vec<usize>,
    /// The left and the upper edges of each column's boxes, those from above.
    columns: Vec<(f64, Vec<f64>)>,
    /// Whether there are too many lines to lead each around the boxes.
    straight: bool,
}

impl Layout {
    /// Where a line between two nodes begins to cross each column that is between them: in the gap between boxes that is nearest to its way, so
    /// that it runs behind none.
    pub(super) fn crossings(&self, from: NodeIndex, to: NodeIndex) -> Vec<(f64, f64)> {
        let [(x, y), (to_x, to_y)] = [from, to].map(|id| self.places[id.index()]);
        // Lines of several nodes share a gap; a little apart, each can be followed.
        let apart = [0.0, -2.0, 2.0, -4.0, 4.0][from.index() % 5];
        let between = self.column[from.index()] + 1..self.column[to.index()];
        let between = if self.straight { &[] } else { &self.columns[between] };
        let crossing = |(at, tops): &(f64, Vec<f64>)| {
            let straight = y + (to_y - y) * (at - x) / (to_x - x) + HEIGHT / 2.0;
            let below = tops.partition_point(|top| top + HEIGHT / 2.0 < straight);
            let least = below.checked_sub(1).map_or(f64::NEG_INFINITY, |above| tops[above] + HEIGHT + GAP / 2.0);
            let most = tops.get(below).map_or(f64::INFINITY, |top| top - GAP / 2.0);
            (*at, straight.max(least).min(most) + apart)
        };
        between.iter().map(crossing).collect()
    }
}

/// Lays a graph without circles out, whose boxes are all `width` wide.
pub(super) fn layout<N>(graph: &DiGraph<N, ()>, width: f64) -> Layout {
    let mut columns = columns(graph);
    let mut slot = vec![0.0; graph.node_count()];
    columns.iter().for_each(|column| number(column, &mut slot));
    for sweep in 0..SWEEPS {
        let forward = sweep % 2 == 0;
        let towards = if forward { Incoming } else { Outgoing };
        for n in 0..columns.len() {
            let n = if forward { n } else { columns.len() - 1 - n };
            let mean = |id: &NodeIndex| mean(graph, *id, towards, &slot).unwrap_or(slot[id.index()]);
            columns[n].sort_by_cached_key(|id| Ordered(mean(id)));
            number(&columns[n], &mut slot);
        }
    }
    let mut y = vec![0.0; graph.node_count()];
    for column in &columns {
        stack(graph, column, &mut y);
    }
    let top = y.iter().copied().fold(f64::INFINITY, f64::min);
    let mut places = vec![(0.0, 0.0); graph.node_count()];
    let mut column = vec![0; graph.node_count()];
    let mut x = 0.0;
    let mut edges = Vec::new();
    for (number, ids) in columns.iter().enumerate() {
        for id in ids {
            (places[id.index()], column[id.index()]) = ((x, y[id.index()] - top), number);
        }
        edges.push((x, ids.iter().map(|id| places[id.index()].1).collect()));
        x += width + BETWEEN;
    }
    let crossed =
        graph.raw_edges().iter().map(|edge| column[edge.target().index()] - column[edge.source().index()] - 1);
    Layout {
        width: (x - BETWEEN).max(0.0),
        height: places.iter().map(|(_, y)| y + HEIGHT).fold(0.0, f64::max),
        straight: crossed.sum::<usize>() > CROSSINGS,
        columns: edges,
        places,
        column,
    }
}

/// Each node in the column after the last of its inputs.
fn columns<N>(graph: &DiGraph<N, ()>) -> Vec<Vec<NodeIndex>> {
    let mut rank = vec![0; graph.node_count()];
    let mut columns: Vec<Vec<NodeIndex>> = Vec::new();
    // A graph of stages has no circle: binding it refuses one.
    for id in toposort(graph, None).unwrap_or_else(|_| graph.node_indices().collect()) {
        let inputs = graph.neighbors_directed(id, Incoming);
        let own = inputs.map(|input| rank[input.index()] + 1).max().unwrap_or(0);
        rank[id.index()] = own;
        columns.resize_with(columns.len().max(own + 1), Vec::new);
        columns[own].push(id);
    }
    columns
}

/// Writes down which of its column each node is, as a part of the whole column, so that long and short columns compare.
fn number(column: &[NodeIndex], slot: &mut [f64]) {
    let mut at = 0.5;
    let all = f64::from(u32::try_from(column.len()).unwrap_or(u32::MAX));
    for id in column {
        slot[id.index()] = at / all;
        at += 1.0;
    }
}

fn mean<N>(graph: &DiGraph<N, ()>, id: NodeIndex, towards: petgraph::Direction, of: &[f64]) -> Option<f64> {
    let (sum, count) = graph
        .neighbors_directed(id, towards)
        .fold((0.0, 0.0), |(sum, count), other| (sum + of[other.index()], count + 1.0));
    (count > 0.0).then(|| sum / count)
}

/// Puts a column's boxes below each other, together as near to the middle of their inputs as that goes.
fn stack<N>(graph: &DiGraph<N, ()>, column: &[NodeIndex], y: &mut [f64]) {
    let mut free = f64::NEG_INFINITY;
    let (mut off, mut count) = (0.0, 0.0);
    for id in column {
        let wish = mean(graph, *id, Incoming, y).unwrap_or(if free.is_finite() { free } else { 0.0 });
        let place = wish.max(free);
        (off, count) = (off + wish - place, count + 1.0);
        y[id.index()] = place;
        free = place + HEIGHT + GAP;
    }
    column.iter().for_each(|id| y[id.index()] += off / count);
}

/// A number as a key to sort by.
#[derive(PartialEq)]
struct Ordered(f64);

impl Eq for Ordered {}

impl PartialOrd for Ordered {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Ordered {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        self.0.total_cmp(&other.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(graph: &DiGraph<(), ()>) -> Layout {
        let laid = layout(graph, 200.0);
        assert_eq!(laid.places.len(), graph.node_count());
        let mut places = laid.places.clone();
        places.sort_by(|a, b| a.0.total_cmp(&b.0).then(a.1.total_cmp(&b.1)));
        for pair in places.windows(2) {
            let [(x, y), (next_x, next_y)] = pair else { unreachable!() };
            assert!(next_x - x >= 200.0 || next_y - y >= HEIGHT, "{pair:?} overlap");
        }
        for (x, y) in &laid.places {
            assert!(*x >= 0.0 && *y >= 0.0 && x + 200.0 <= laid.width && y + HEIGHT <= laid.height, "{x} {y}");
        }
        for edge in graph.raw_edges() {
            let [from, to] = [edge.source(), edge.target()].map(|id| laid.places[id.index()].0);
            assert!(from + 200.0 < to, "an input stands left of what needs it");
        }
        laid
    }

    #[test]
    fn ten_thousand_stages_have_a_place_each_and_none_overlap() {
        let mut graph = DiGraph::new();
        let chain: Vec<_> = (0..2000).map(|_| graph.add_node(())).collect();
        chain.windows(2).for_each(|pair| _ = graph.add_edge(pair[0], pair[1], ()));
        for n in 0..8000 {
            let leaf = graph.add_node(());
            graph.add_edge(chain[n % 5], leaf, ());
            graph.add_edge(chain[0], leaf, ());
        }
        check(&graph);
    }

    #[test]
    fn lines_that_need_not_cross_do_not() {
        let mut graph = DiGraph::new();
        let [a, b, below_b, below_a] = [(); 4].map(|()| graph.add_node(()));
        graph.add_edge(a, below_a, ());
        graph.add_edge(b, below_b, ());
        let laid = check(&graph);
        let y = |id: NodeIndex| laid.places[id.index()].1;
        assert_eq!(y(a) < y(b), y(below_a) < y(below_b));
    }

    #[test]
    fn nothing_and_one_stage_are_drawn_too() {
        let mut graph = DiGraph::new();
        assert_eq!(check(&graph).width, 0.0);
        graph.add_node(());
        assert_eq!(check(&graph).places, [(0.0, 0.0)]);
    }
}
