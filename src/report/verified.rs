//! What came of making a stage twice, as text or as JSON.

use super::shapes::{Compared, Differs};
use super::style::Style;
use crate::build::{Difference, Verified};
use serde_json::{Value as Json, json};

/// The files that differ, and where both results lie.
pub fn verified(stage: &str, verified: &Verified, style: &Style) -> String {
    let Some([first, second]) = &verified.kept else {
        return format!("{stage} was made twice from nothing: {}\n", style.good("the same bytes"));
    };
    let files = &verified.differences;
    let number = if files.len() == 1 { "1 path differs".to_owned() } else { format!("{} paths differ", files.len()) };
    let mut text = format!("{stage} was made twice from nothing: {}\n", style.bad(&number));
    let width = files.iter().map(|file| file.path.chars().count()).max().unwrap_or(0).min(60);
    for Difference { path, what } in files {
        text += &format!("  {path:<width$}  {}\n", what.join(", "));
    }
    text + &format!("the first is {}\nthe second is {}\n", first.display(), second.display())
}

/// The same as JSON.
pub fn verified_json(stage: &str, verified: &Verified) -> Json {
    let differences = verified.differences.iter().map(|one| Differs { path: &one.path, what: &one.what });
    json!(Compared {
        stage,
        same: verified.differences.is_empty(),
        differences: differences.collect(),
        kept: verified.kept.as_ref().map(|both| both.each_ref().map(|folder| folder.to_string_lossy())),
    })
}
