//! TOML files: read whole, with errors that say where, and which right word is nearest.
//!
//! Knows nothing of what the files mean.

mod edit;

pub use edit::add_to_list;

use crate::error::{Error, Place, Result};
use crate::host;
use rustix::fs::makedev;
use serde::de::DeserializeOwned;
use std::io;
use std::ops::Range;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use toml::Spanned;
use toml::de::{DeTable, DeValue};

/// A TOML file, as it was read.
#[derive(Debug, Clone)]
pub struct Document {
    path: PathBuf,
    text: Arc<str>,
}

impl Document {
    /// A file of this text.
    pub fn new(path: &Path, text: &str) -> Self {
        Self { path: path.to_owned(), text: text.into() }
    }

    /// A file of these bytes.
    ///
    /// # Errors
    /// They are no UTF-8, as TOML has to be; with the place of the first that is none.
    pub fn of_bytes(path: &Path, bytes: &[u8]) -> Result<Self> {
        match std::str::from_utf8(bytes) {
            Ok(text) => Ok(Self::new(path, text)),
            Err(error) => {
                let (start, lossy) = (error.valid_up_to(), Self::new(path, &String::from_utf8_lossy(bytes)));
                let place = lossy.place(&(start..start + '\u{fffd}'.len_utf8())).labelled("no UTF-8");
                Err(Error::input("the file is no UTF-8 text").at(place))
            }
        }
    }

    /// Reads the file; none if there is none.
    ///
    /// # Errors
    /// It cannot be read, or is no UTF-8.
    pub fn load(path: &Path) -> Result<Option<Self>> {
        match host::read_file(path) {
            Ok(bytes) => Self::of_bytes(path, &bytes).map(Some),
            Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(None),
            // A file that is masked by a link to /dev/null, as systemd does it, counts as empty.
            Err(_) if is_null(path) => Ok(Some(Self::new(path, ""))),
            Err(e) => Err(Error::input(format!("cannot read {}", path.display())).because(e)),
        }
    }

    /// The whole file as a `T`. Keys that `T` does not know are errors when `T` says `deny_unknown_fields`.
    ///
    /// # Errors
    /// It is no TOML, or no `T`.
    pub fn parse<T: DeserializeOwned>(&self) -> Result<T> {
        toml::from_str(&self.text).map_err(|e| self.wrong(&e))
    }

    /// Its tables and values, each with its place.
    ///
    /// # Errors
    /// It is no TOML.
    pub fn tables(&self) -> Result<Spanned<DeTable<'_>>> {
        DeTable::parse(&self.text).map_err(|e| self.wrong(&e))
    }

    /// Where it lies.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Its text.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// The place of these bytes.
    pub fn place(&self, span: &Range<usize>) -> Place {
        Place::new(&self.path, &self.text, span.clone())
    }

    /// The place of a key: the names of the tables it is in, and its own; an item of a list by its number, from 0. Of one that is not
    /// there it is the place of the last table that is.
    pub fn key(&self, keys: &[&str]) -> Place {
        self.place(&self.find(keys).1)
    }

    /// The place of what a key is set to, as of [`Self::key`].
    pub fn value(&self, keys: &[&str]) -> Place {
        self.place(&self.find(keys).2)
    }

    /// The place of the last text inside of what a key is set to that is this word; without one as of [`Self::value`].
    pub fn word(&self, keys: &[&str], word: &str) -> Place {
        fn last(value: &Spanned<DeValue<'_>>, word: &str) -> Option<Range<usize>> {
            match value.get_ref() {
                DeValue::String(text) => (text == word).then(|| value.span()),
                DeValue::Array(items) => items.iter().rev().find_map(|item| last(item, word)),
                DeValue::Table(table) => {
                    let found = table.iter().filter_map(|(_, value)| last(value, word));
                    found.max_by_key(|span| span.start)
                }
                _ => None,
            }
        }
        self.value_at(keys).and_then(|value| Some(self.place(&last(&value, word)?))).unwrap_or_else(|| self.value(keys))
    }

    /// Whether there is such a key.
    pub fn has(&self, keys: &[&str]) -> bool {
        self.find(keys).0 == keys.len()
    }

    /// How many of these keys are there, each inside the one before, and the spans of the last one and of its value.
    fn find(&self, keys: &[&str]) -> (usize, Range<usize>, Range<usize>) {
        let (mut depth, mut key) = (0, 0..0);
        let value = self.walk(keys, |span| {
            depth += 1;
            key = span;
        });
        (depth, key, value.map_or(0..0, |value| value.span()))
    }

    fn value_at(&self, keys: &[&str]) -> Option<Spanned<DeValue<'_>>> {
        let mut depth = 0;
        self.walk(keys, |_| depth += 1).filter(|_| depth == keys.len())
    }

    /// Goes in as far as there are such keys, with the span of each; gives what the last one is set to.
    fn walk(&self, keys: &[&str], mut step: impl FnMut(Range<usize>)) -> Option<Spanned<DeValue<'_>>> {
        let tables = DeTable::parse(&self.text).ok()?;
        let mut inside = Spanned::new(0..0, DeValue::Table(tables.into_inner()));
        for key in keys {
            let span = inside.span();
            let next = match inside.into_inner() {
                DeValue::Table(table) => table.into_iter().find(|(name, _)| name.get_ref() == key),
                DeValue::Array(items) => {
                    let item = key.parse().ok().and_then(|at: usize| items.into_iter().nth(at));
                    item.map(|item| (Spanned::new(item.span(), "".into()), item))
                }
                _ => None,
            };
            let Some((name, value)) = next else { return Some(Spanned::new(span, DeValue::Boolean(false))) };
            step(name.span());
            inside = value;
        }
        Some(inside)
    }

    /// The first key of that name from `start` on.
    fn key_behind(&self, start: usize, name: &str) -> Option<Range<usize>> {
        fn keys(value: &DeValue<'_>, name: &str, found: &mut Vec<Range<usize>>) {
            match value {
                DeValue::Table(table) => table.iter().for_each(|(key, value)| {
                    found.extend((key.get_ref() == name).then(|| key.span()));
                    keys(value.get_ref(), name, found);
                }),
                DeValue::Array(items) => items.iter().for_each(|item| keys(item.get_ref(), name, found)),
                _ => {}
            }
        }
        let mut found = Vec::new();
        keys(&DeValue::Table(DeTable::parse(&self.text).ok()?.into_inner()), name, &mut found);
        found.into_iter().filter(|span| span.start >= start).min_by_key(|span| span.start)
    }

    /// An error of the toml crate with its place, with the nearest right name where one is unknown.
    fn wrong(&self, error: &toml::de::Error) -> Error {
        let (message, place) = (error.message(), self.place(&error.span().unwrap_or(0..0)));
        if let Some(unknown) = Unknown::of(message) {
            // For a table that says by a key of its own what it is (`type = …`), serde tells only the place of the table.
            let start = error.span().map_or(0, |span| span.start);
            let key = self.key_behind(start, unknown.wrong).filter(|_| unknown.what == "field");
            let place = key.map_or(place, |span| self.place(&span));
            return unknown.told().at(place.labelled("not known here"));
        }
        if let Some(name) = message.strip_prefix("missing field ") {
            let start = error.span().map_or(0, |span| span.start);
            return Error::input(message).at(self.place(&(start..start)).labelled(format!("{name} is missing")));
        }
        let error = Error::input(message);
        if message.starts_with("duplicate key") {
            return error.at(place.labelled("already set above"));
        }
        match bare(&place.parts().concat()) {
            Some(word) => error.hint(format!("write text in quotes: \"{word}\"")),
            None => error,
        }
        .at(place)
    }
}

/// A name that a file has and quiz does not know, as serde tells of it: "unknown field `x`, expected one of `a`, `b`".
struct Unknown<'a> {
    what: &'a str,
    wrong: &'a str,
    right: Vec<&'a str>,
}

impl<'a> Unknown<'a> {
    fn of(message: &'a str) -> Option<Self> {
        let (what, rest) = message.strip_prefix("unknown ")?.split_once(" `")?;
        // Split at the last one: the wrong name may itself have such words in it.
        let (wrong, right) = rest.rsplit_once("`, expected ").or_else(|| rest.rsplit_once("`, there are "))?;
        let what = if what == "variant" { "value" } else { what };
        Some(Self { what, wrong, right: right.split('`').skip(1).step_by(2).collect() })
    }

    fn told(self) -> Error {
        let error = Error::input(format!("unknown {} `{}`", self.what, self.wrong));
        let error = match nearest(self.wrong, self.right.iter().copied()) {
            Some(name) => error.hint(format!("did you mean `{name}`?")),
            None => error,
        };
        if self.right.is_empty() { error } else { error.hint(format!("there are: {}", self.right.join(", "))) }
    }
}

/// The text that a line sets something to without quotes, as people write versions and sizes: `memory = 2G`.
fn bare(line: &str) -> Option<&str> {
    let word = line.split_once('=')?.1;
    let word = word.split('#').next().unwrap_or_default().trim();
    let is_plain = |c: char| c.is_alphanumeric() || "._-+/:@~".contains(c);
    let is_number = || word.bytes().all(|b| b.is_ascii_digit());
    (!word.is_empty() && word.chars().all(is_plain) && !["true", "false"].contains(&word) && !is_number())
        .then_some(word)
}

/// Whether it is /dev/null, or a link to it: null(4) has its number.
fn is_null(path: &Path) -> bool {
    std::fs::metadata(path).is_ok_and(|meta| meta.file_type().is_char_device() && meta.rdev() == makedev(1, 3))
}

/// The name among `names` that was most likely meant by `wrong`, if one is near enough.
pub fn nearest<'a>(wrong: &str, names: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let names: Vec<&str> = names.into_iter().collect();
    // First names that contain the wrong one: somebody left out a part.
    let whole = names.iter().filter(|name| wrong.len() > 3 && name.contains(wrong)).min_by_key(|name| name.len());
    whole.copied().or_else(|| alike(wrong, &names))
}

fn alike<'a>(wrong: &str, names: &[&'a str]) -> Option<&'a str> {
    names
        .iter()
        .copied()
        .map(|name| (strsim::jaro_winkler(wrong, name), name))
        .filter(|(score, _)| *score > 0.75)
        .max_by(|a, b| a.0.total_cmp(&b.0))
        .map(|(_, name)| name)
}

#[cfg(test)]
mod tests;
