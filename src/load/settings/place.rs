//! Where a setting that turned out to be wrong was set. Does not know what is wrong with it.

use super::{Origin, Settings, Value};
use crate::error::{Error, Place};

impl Settings {
    /// An error about what the setting `name` is set to: with its place in a quiz.toml, else with what set it. `word` is the part of it
    /// that is wrong, in a list a part of the item that is; empty for all of it.
    pub fn wrong(&self, name: &str, word: &str, what: impl Into<String>) -> Error {
        let what = what.into();
        if let Some(place) = self.place(name, word) {
            return Error::input(what).at(place);
        }
        match self.get(name).map(|setting| &setting.origin) {
            None | Some(Origin::Default) => Error::input(what),
            Some(origin) => Error::input(format!("{what} ({origin})")),
        }
    }

    /// The place of `word` in what a quiz.toml sets the setting to.
    pub fn place(&self, name: &str, word: &str) -> Option<Place> {
        let setting = self.get(name)?;
        let mut keys: Vec<&str> = name.split('.').collect();
        let file = match (&setting.origin, &setting.value) {
            (Origin::File { path, .. }, _) => self.files.iter().find(|file| file.path() == path),
            // A flag adds its items to those of the files, so the item may be one of a file's.
            (Origin::Flag(_), Value::List(_)) => self.files.iter().rev().find(|file| file.has(&keys)),
            _ => None,
        }?;
        let number;
        if let Value::List(items) = &setting.value {
            let is_word = |item: &String| item == word || item.split([',', ':', '=']).any(|part| part == word);
            let has_word = |item: &String| !word.is_empty() && item.contains(word);
            match items.iter().position(is_word).or_else(|| items.iter().position(has_word)) {
                Some(at) => {
                    number = at.to_string();
                    keys.push(&number);
                }
                None if matches!(setting.origin, Origin::Flag(_)) => return None,
                None => {}
            }
        }
        file.has(&keys).then(|| file.value(&keys).narrowed(word))
    }
}
