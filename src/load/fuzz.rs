//! The readers of this room for the fuzz targets.

use super::folder::LoadedFolder;
use super::{profile, recipe, settings};
use std::path::Path;

fn folder(files: &[(&str, &str)]) -> LoadedFolder {
    let files = files.iter().map(|(name, text)| ((*name).to_owned(), text.as_bytes().to_vec(), false)).collect();
    LoadedFolder { name: "demo".into(), path: "/p/demo".into(), files }
}

/// A recipe.toml.
pub(crate) fn recipe(text: &str) {
    let _ = recipe::load(folder(&[("build.sh", "true\n"), ("recipe.toml", text)]));
}

/// What stands behind `-p` in the first line, and then a profile.toml.
pub(crate) fn profile(text: &str) {
    let (words, text) = text.split_once('\n').unwrap_or((text, ""));
    profile::fuzz(folder(&[("profile.toml", text)]), words);
}

/// A quiz.toml.
pub(crate) fn settings(text: &str) {
    settings::fuzz(Path::new("quiz.toml"), text);
}
