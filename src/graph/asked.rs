//! Who asks for a stage: the key of a recipe.toml or profile.toml that names it. Binds nothing.

use crate::document::Document;
use crate::error::{Error, Place};

/// A key of a file that names a stage.
#[derive(Debug, Clone)]
pub(super) struct Asked<'a> {
    file: &'a Document,
    keys: Vec<String>,
}

impl<'a> Asked<'a> {
    /// The key that these names lead to, from the outermost table on. For an item of a list the last one is its number.
    pub fn new(file: &'a Document, keys: &[&str]) -> Self {
        Self { file, keys: keys.iter().map(|key| (*key).to_owned()).collect() }
    }

    /// An error about what the key names; `word` is the part of it that is wrong.
    pub fn wrong(&self, word: &str, what: impl Into<String>) -> Error {
        Error::input(what).at(self.place(word))
    }

    fn place(&self, word: &str) -> Place {
        let keys: Vec<&str> = self.keys.iter().map(String::as_str).collect();
        self.file.value(&keys).narrowed(word)
    }
}
