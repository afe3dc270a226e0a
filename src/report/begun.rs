//! What `quiz init`, `quiz new` and `quiz man` wrote, as text or as JSON.

use serde_json::json;
use std::path::Path;

/// The file, for whom it is, the settings in it that count, and the next command.
pub fn begun(path: &Path, what: &str, sets: &[&str], next: &str, as_json: bool) -> String {
    if as_json {
        return format!("{}\n", json!({ "file": path, "for": what, "sets": sets, "next": next }));
    }
    let counts = if sets.is_empty() { "Nothing".to_owned() } else { format!("Only {}", sets.join(", ")) };
    format!(
        "{}: settings for {what}\n{counts} is set yet: take the `#` of a line away, and it counts.\nNext: {next}\n",
        path.display()
    )
}

/// A folder with a start, and the next command.
pub fn started(folder: &Path, next: &str, as_json: bool) -> String {
    if as_json {
        return format!("{}\n", json!({ "folder": folder, "next": next }));
    }
    format!("{}\nNext: {next}\n", folder.display())
}

/// A folder, and what there is in it now.
pub fn written(folder: &Path, what: &str, as_json: bool) -> String {
    if as_json { format!("{}\n", json!({ "folder": folder })) } else { format!("{}: {what}\n", folder.display()) }
}
