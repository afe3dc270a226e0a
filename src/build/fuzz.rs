//! The readers of this room for the fuzz targets.

use super::{failure, refusal, tools};

/// A program, which may be a tool.
pub(crate) fn elf(bytes: &[u8]) {
    tools::elf::names(bytes);
}

/// The log of a failed script; its first line also stands in for the item that is looked for in the excerpt.
pub(crate) fn log(text: &str) {
    let lines = failure::excerpt(text);
    assert!(lines.iter().all(|line| text.contains(line.as_str())));
    failure::names(&lines, text.lines().next().unwrap_or_default());
    if let Some(refusal) = refusal::of(text) {
        assert!(!refusal.line().contains('\n') && refusal.error("x: ").to_string().starts_with("x: "));
    }
}
