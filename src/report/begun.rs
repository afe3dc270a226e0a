//! What `quiz init`, `quiz new`, `quiz man` and `quiz trust` wrote, as text or as JSON.

use super::shapes::{Begun, Started, Trusted, Written};
use serde_json::{Value as Json, json};
use std::path::{Path, PathBuf};

/// The file, for whom it is, the settings in it that count, and the next command.
pub fn begun(path: &Path, what: &str, sets: &[&str], next: &str, as_json: bool) -> String {
    if as_json {
        return format!("{}\n", json!(Begun { file: path.to_string_lossy(), what, sets, next }));
    }
    let counts = if sets.is_empty() { "Nothing".to_owned() } else { format!("Only {}", sets.join(", ")) };
    format!(
        "{}: settings for {what}\n{counts} is set yet: take the `#` before a setting away to set it.\nNext: {next}\n",
        path.display()
    )
}

/// The folders of projects that are trusted, as JSON.
pub fn trusted_json(folders: &[PathBuf]) -> Json {
    json!(folders.iter().map(|folder| folder.to_string_lossy().into_owned()).collect::<Trusted>())
}

/// A folder with a start, and the next command.
pub fn started(folder: &Path, next: &str, as_json: bool) -> String {
    if as_json {
        return format!("{}\n", json!(Started { folder: folder.to_string_lossy(), next }));
    }
    format!("{}\nNext: {next}\n", folder.display())
}

/// A folder, and what was written into it.
pub fn written(folder: &Path, what: &str, as_json: bool) -> String {
    if as_json {
        format!("{}\n", json!(Written { folder: folder.to_string_lossy() }))
    } else {
        format!("{}: {what}\n", folder.display())
    }
}
