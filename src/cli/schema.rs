//! `quiz schema`: what programs can expect of `--json`. Reads no project.

use crate::error::{Error, Result};
use crate::report;

/// Prints the schema of that name, or all.
///
/// # Errors
/// There is none of that name.
pub(super) fn run(name: Option<&str>) -> Result<()> {
    let schema = match name {
        None => report::schemas(),
        Some(name) => report::schema(name).ok_or_else(|| {
            let names: Vec<&str> = report::schema_names().collect();
            Error::input(format!("there is no schema `{name}`")).hint(format!("there are: {}", names.join(", ")))
        })?,
    };
    report::result(&format!("{schema:#}\n"))
}
