//! TOML files with errors that name file, line, column and the nearest right word.
//!
//! Knows nothing of what the files mean.

use crate::error::{Error, Result};
use serde::de::DeserializeOwned;
use std::ops::Range;
use std::path::Path;

/// Parses a whole file into `T`. Fields that `T` does not know are errors when `T` says `deny_unknown_fields`.
pub(super) fn parse<T: DeserializeOwned>(path: &Path, text: &str) -> Result<T> {
    toml::from_str(text).map_err(|e| syntax_error(path, text, &e))
}

/// A parse error of the toml crate, placed, with the nearest right name where a field is unknown.
pub(super) fn syntax_error(path: &Path, text: &str, error: &toml::de::Error) -> Error {
    let at = place(path, text, &error.span().unwrap_or(0..0));
    let message = error.message();
    let out = Error::input(format!("{at}: {message}"));
    match unknown_field(message) {
        Some((wrong, right)) => match nearest(wrong, right.iter().copied()) {
            Some(name) => out.hint(format!("did you mean `{name}`?")),
            None => out,
        },
        None => out,
    }
}

/// `path:line:column`, both from 1, the column in characters.
pub(super) fn place(path: &Path, text: &str, span: &Range<usize>) -> String {
    let before = text.get(..span.start).unwrap_or(text);
    let line = before.matches('\n').count() + 1;
    let column = before.rsplit('\n').next().map_or(0, |l| l.chars().count()) + 1;
    format!("{}:{line}:{column}", path.display())
}

/// The line, from 1, at which a span starts.
pub(super) fn line(text: &str, span: &Range<usize>) -> usize {
    text.get(..span.start).unwrap_or(text).matches('\n').count() + 1
}

/// Takes serde's "unknown field `x`, expected one of `a`, `b`" apart.
fn unknown_field(message: &str) -> Option<(&str, Vec<&str>)> {
    let rest = message.strip_prefix("unknown field ").or_else(|| message.strip_prefix("unknown variant "))?;
    let mut quoted = rest.split('`').skip(1).step_by(2);
    let wrong = quoted.next()?;
    Some((wrong, quoted.collect()))
}

/// The name among `names` that was most likely meant by `wrong`, if one is near enough.
pub fn nearest<'a>(wrong: &str, names: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    names
        .into_iter()
        .map(|name| (strsim::jaro_winkler(wrong, name), name))
        .filter(|(score, _)| *score > 0.75)
        .max_by(|a, b| a.0.total_cmp(&b.0))
        .map(|(_, name)| name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn place_counts_lines_and_characters_from_one() {
        let text = "a = 1\nüb = 2\n";
        assert_eq!(place(Path::new("f"), text, &(0..1)), "f:1:1");
        let two = text.find('2').unwrap();
        assert_eq!(place(Path::new("f"), text, &(two..two + 1)), "f:2:6");
    }

    #[test]
    fn nearest_finds_typos_and_leaves_strangers() {
        assert_eq!(nearest("kernl", ["kernel", "rootfs"]), Some("kernel"));
        assert_eq!(nearest("xyzzy", ["kernel", "rootfs"]), None);
    }
}
