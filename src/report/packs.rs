//! What went into a pack of results, or came out of one, as text or as JSON.

use super::lines::size;
use super::shapes::{Exported, Imported};
use quiz_cache::Unpacked;
use serde_json::json;
use std::path::Path;

/// Of a file of so many bytes.
pub fn exported(file: &Path, bytes: u64, as_json: bool) -> String {
    if as_json {
        return format!("{}\n", json!(Exported { file: file.to_string_lossy(), bytes }));
    }
    format!("{}: {}\n", file.display(), size(bytes))
}

/// Of what was taken in.
pub fn imported(unpacked: &Unpacked, as_json: bool) -> String {
    let Unpacked { taken, known } = unpacked;
    if as_json {
        return format!("{}\n", json!(Imported { taken, known: *known }));
    }
    let was_there = if *known == 0 { String::new() } else { format!("{known} were there already\n") };
    taken.iter().map(|stage| format!("{stage}\n")).collect::<String>() + &was_there
}
