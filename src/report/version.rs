//! What the program was built from, as text or as JSON.

use serde_json::{Map, Value};

/// The line of `quiz --version`, and a line for each thing that is known.
pub fn version(line: &str, built: &[(&str, String)], as_json: bool) -> String {
    if as_json {
        let all: Map<String, Value> =
            built.iter().map(|(name, value)| ((*name).to_owned(), value.as_str().into())).collect();
        return format!("{}\n", Value::Object(all));
    }
    let lines = built.iter().map(|(name, value)| match *name {
        "version" => format!("quiz {line}\n"),
        name => format!("{name}: {value}\n"),
    });
    lines.collect()
}
