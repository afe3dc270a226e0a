//! What is wrong with a recipe.toml that can be read: words, and the key that they are about. Knows no file.

use crate::document::{Document, nearest};
use crate::error::Error;

/// What is wrong, and with which key.
#[derive(Debug)]
pub(super) struct Fault {
    what: String,
    keys: Vec<String>,
    /// The key itself is wrong, and not what it is set to.
    is_key: bool,
    label: String,
    hint: Option<String>,
}

impl Fault {
    /// A fault of the whole file, until a key is named.
    pub fn new(what: impl Into<String>) -> Self {
        Self { what: what.into(), keys: Vec::new(), is_key: false, label: String::new(), hint: None }
    }

    /// Names where it is, further in than before: tables, a key, the number of an item from 0.
    pub fn inside(mut self, keys: &[&str]) -> Self {
        self.keys.extend(keys.iter().map(|key| (*key).to_owned()));
        self
    }

    /// Says that the name of the key is wrong, and not its value.
    pub fn of_key(self) -> Self {
        Self { is_key: true, ..self }
    }

    /// The few words that stand beside the place when it is shown.
    pub fn labelled(self, label: impl Into<String>) -> Self {
        Self { label: label.into(), ..self }
    }

    /// What to do next.
    pub fn hint(self, hint: impl Into<String>) -> Self {
        Self { hint: Some(hint.into()), ..self }
    }

    /// A hint with the name among these that was likely meant, or with all of them.
    pub fn near<'a>(self, wrong: &str, names: impl Iterator<Item = &'a str> + Clone) -> Self {
        let hint = match nearest(wrong, names.clone()) {
            Some(near) => format!("did you mean `{near}`?"),
            None => format!("there are: {}", names.collect::<Vec<_>>().join(", ")),
        };
        self.hint(hint)
    }

    /// As an error about this file.
    pub fn of(self, file: &Document) -> Error {
        let keys: Vec<&str> = self.keys.iter().map(String::as_str).collect();
        let place = if self.is_key { file.key(&keys) } else { file.value(&keys) };
        let error = Error::input(self.what).at(place.labelled(self.label));
        self.hint.into_iter().fold(error, Error::hint)
    }
}
