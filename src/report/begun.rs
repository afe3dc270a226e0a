//! What `quiz init` wrote, as text or as JSON.

use serde_json::json;
use std::path::Path;

/// The file, for whom it is, and the next command.
pub fn begun(path: &Path, what: &str, next: &str, as_json: bool) -> String {
    if as_json {
        return format!("{}\n", json!({ "file": path, "for": what, "next": next }));
    }
    format!(
        "{}: settings for {what}\nNothing is set yet: take the `#` of a line away, and it counts.\nNext: {next}\n",
        path.display()
    )
}
