//! What stages and snapshots have in common where they are shown: the line of the graph, and what they are made of.

use super::style::Style;

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

/// Rows below a head, a line each whatever their words are, in columns as wide as the widest of their cells.
pub(super) fn aligned<const N: usize>(rows: Vec<[String; N]>, style: &Style) -> String {
    let rows: Vec<[String; N]> =
        rows.into_iter().map(|row| row.map(|cell| cell.replace(char::is_control, " "))).collect();
    let width = |column: usize| rows.iter().map(|row| row[column].chars().count()).max().unwrap_or(0);
    let widths: [usize; N] = std::array::from_fn(width);
    let mut text = String::new();
    for (number, row) in rows.iter().enumerate() {
        let cells = row.iter().zip(widths).map(|(cell, width)| format!("{cell:<width$}"));
        let line = cells.collect::<Vec<_>>().join("  ");
        let line = line.trim_end();
        text += &if number == 0 { style.dim(line) } else { line.to_owned() };
        text.push('\n');
    }
    text
}
