//! What tables and lines have in common: the line of the graph, what a stage or a snapshot is made of, columns, and what fits into them.

use super::plain::one_line;
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
    let line = one_line(&value.replace('\n', " ⏎ "));
    match line.char_indices().nth(100) {
        Some((end, _)) => format!("{}…", &line[..end]),
        None => line,
    }
}

/// Columns that it takes, at most: what is not ASCII may be wide.
pub(super) fn width(text: &str) -> usize {
    text.chars().map(|c| if c.is_ascii() { 1 } else { 2 }).sum()
}

/// On one line, and of so many columns at most.
pub(super) fn cut(text: &str, columns: usize) -> String {
    let text = one_line(text);
    if width(&text) <= columns {
        return text;
    }
    let mut used = 2;
    let kept = text.chars().take_while(|c| {
        used += if c.is_ascii() { 1 } else { 2 };
        used <= columns
    });
    kept.collect::<String>() + ".."
}

/// Rows below a head, a line each whatever their words are, in columns as wide as the widest of their cells.
pub(super) fn aligned<const N: usize>(rows: Vec<[String; N]>, style: &Style) -> String {
    let rows: Vec<[String; N]> = rows.into_iter().map(|row| row.map(|cell| one_line(&cell))).collect();
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
