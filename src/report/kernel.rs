//! What of a kernel's config changed, as text or as JSON.

use super::Style;
use super::plain::plain;
use super::shapes::{KernelChanged, KernelEdited};
use crate::engine::kernel_config::Changed;
use serde_json::json;
use std::path::Path;

/// A line for each symbol: its name, the old value, the new one.
pub fn kernel_changed(changed: &[Changed], style: &Style) -> String {
    let width = changed.iter().map(|one| one.symbol.len()).max().unwrap_or(0);
    let value = |value: &Option<String>| plain(value.as_deref().unwrap_or("-"));
    let olds: Vec<String> = changed.iter().map(|one| value(&one.old)).collect();
    // A long text does not push all others away.
    let old_width = olds.iter().map(|old| old.chars().count()).filter(|width| *width <= 24).max().unwrap_or(0);
    let line = |(one, old): (&Changed, &String)| {
        format!("{:<width$}  {} -> {}\n", one.symbol, style.dim(&format!("{old:<old_width$}")), value(&one.new))
    };
    changed.iter().zip(&olds).map(line).collect()
}

/// The same as data.
pub fn kernel_changed_json(changed: &[Changed]) -> String {
    format!("{}\n", json!(symbols(changed)))
}

/// What an edit changed, the lines that ask for it, and the file in which they are now.
pub fn kernel_edited(changed: &[Changed], lines: &[String], saved: Option<&Path>, style: &Style) -> String {
    if changed.is_empty() {
        return "Nothing changed.\n".to_owned();
    }
    let asked: String = lines.iter().map(|line| format!("  {}\n", plain(line))).collect();
    let end = match saved {
        Some(file) => format!("Saved in {}, kernel.config:\n{asked}Next: quiz build kernel\n", file.display()),
        None => format!("Not saved. As lines of kernel.config:\n{asked}"),
    };
    kernel_changed(changed, style) + &end
}

/// The same as data.
pub fn kernel_edited_json(changed: &[Changed], lines: &[String], saved: Option<&Path>) -> String {
    let saved = saved.map(|path| path.to_string_lossy());
    format!("{}\n", json!(KernelEdited { changed: symbols(changed), lines, saved }))
}

fn symbols(changed: &[Changed]) -> Vec<KernelChanged<'_>> {
    changed.iter().map(symbol).collect()
}

fn symbol(Changed { symbol, old, new }: &Changed) -> KernelChanged<'_> {
    KernelChanged { symbol, old: old.as_deref(), new: new.as_deref() }
}
