//! What stages and snapshots have in common where they are shown: the line of the graph, and what they are made of.

/// What one line of the graph says.
pub(super) struct Row {
    pub(super) name: String,
    pub(super) state: &'static str,
    pub(super) took: String,
    pub(super) size: String,
    pub(super) digest: String,
    pub(super) why: String,
}

/// A manifest's value on one line, cut where it gets long.
pub(super) fn shown(value: &str) -> String {
    let line = value.replace('\n', " ⏎ ");
    match line.char_indices().nth(100) {
        Some((end, _)) => format!("{}…", &line[..end]),
        None => line,
    }
}
