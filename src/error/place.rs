//! A place in a file that somebody wrote. Keeps the file's text as it was read, so that what is shown is what was wrong.
//!
//! Knows nothing of what the file means, nor how a place is drawn.

use std::fmt;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Where in a file something is wrong.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    path: PathBuf,
    text: Arc<str>,
    /// In bytes of `text`, on the borders of characters, in one line.
    span: Range<usize>,
    label: String,
}

impl Place {
    /// The place of these bytes. Of several lines it is the first; behind all that is written it is where that ends.
    pub fn new(path: &Path, text: &Arc<str>, span: Range<usize>) -> Self {
        let border = |mut at: usize| {
            at = at.min(text.len());
            while !text.is_char_boundary(at) {
                at -= 1;
            }
            at
        };
        let start = border(span.start).min(text.trim_end().len());
        let rest = &text[start..border(span.end).max(start)];
        let first = rest.find(['\n', '\r']).map_or(rest, |at| &rest[..at]).trim_end();
        Self { path: path.to_owned(), text: text.clone(), span: start..start + first.len(), label: String::new() }
    }

    /// Sets the few words that stand beside the place.
    #[must_use]
    pub fn labelled(mut self, label: impl Into<String>) -> Self {
        self.label = label.into();
        self
    }

    /// The word in it as a place of its own, where it stands alone if it does; it stays as it is without that word.
    #[must_use]
    pub fn narrowed(mut self, word: &str) -> Self {
        let whole = &self.text[self.span.clone()];
        let is_end = |c: Option<char>| !c.is_some_and(|c| c.is_alphanumeric() || "-_".contains(c));
        let alone =
            |at: &usize| is_end(whole[..*at].chars().next_back()) && is_end(whole[at + word.len()..].chars().next());
        let found = whole.match_indices(word).map(|(at, _)| at);
        if let Some(at) = found.clone().find(alone).or(found.clone().next()).filter(|_| !word.is_empty()) {
            let start = self.span.start + at;
            self.span = start..start + word.len();
        }
        self
    }

    /// The file.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The line, from 1.
    pub fn line(&self) -> usize {
        self.text[..self.span.start].matches('\n').count() + 1
    }

    /// The column in characters, from 1.
    pub fn column(&self) -> usize {
        self.parts()[0].chars().count() + 1
    }

    /// How many characters are wrong; 0 where something is missing.
    pub fn width(&self) -> usize {
        self.parts()[1].chars().count()
    }

    /// The few words that stand beside it.
    pub fn label(&self) -> &str {
        &self.label
    }

    /// Its line: what is before it, itself, and what is behind it.
    pub fn parts(&self) -> [&str; 3] {
        let (before, after) = (&self.text[..self.span.start], &self.text[self.span.end..]);
        let after = after.split('\n').next().unwrap_or_default();
        [before.rsplit('\n').next().unwrap_or_default(), &self.text[self.span.clone()], after.trim_end_matches('\r')]
    }
}

/// `path:line:column`.
impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}:{}", self.path.display(), self.line(), self.column())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn place(text: &str, span: Range<usize>) -> (String, usize, [String; 3]) {
        let place = Place::new(Path::new("f"), &text.into(), span);
        (place.to_string(), place.width(), place.parts().map(str::to_owned))
    }

    fn parts(before: &str, itself: &str, after: &str) -> [String; 3] {
        [before, itself, after].map(str::to_owned)
    }

    #[test]
    fn lines_and_columns_count_characters_from_one() {
        let text = "a = 1\n\tüb = 22 # x\n";
        assert_eq!(place(text, 0..1), ("f:1:1".to_owned(), 1, parts("", "a", " = 1")));
        let two = text.find("22").unwrap();
        assert_eq!(place(text, two..two + 2), ("f:2:7".to_owned(), 2, parts("\tüb = ", "22", " # x")));
    }

    #[test]
    fn of_several_lines_it_is_the_first_and_the_end_of_a_line_is_none_of_it() {
        let text = "a = [\r\n1,\r\n]\r\nb = 1\r\n";
        assert_eq!(place(text, 4..13), ("f:1:5".to_owned(), 1, parts("a = ", "[", "")));
        assert_eq!(place(text, 14..20), ("f:4:1".to_owned(), 5, parts("", "b = 1", "")));
    }

    #[test]
    fn behind_all_that_is_written_it_is_where_that_ends() {
        assert_eq!(place("", 0..0), ("f:1:1".to_owned(), 0, parts("", "", "")));
        assert_eq!(place("a = [\n\n\n", 8..8), ("f:1:6".to_owned(), 0, parts("a = [", "", "")));
        assert_eq!(place("a = [", 500..900), ("f:1:6".to_owned(), 0, parts("a = [", "", "")));
        // In the midst of a character, which no reader says but a damaged file could.
        assert_eq!(place("ä", 1..2), ("f:1:1".to_owned(), 1, parts("", "ä", "")));
    }

    #[test]
    fn a_word_of_it_is_a_place_too() {
        let whole = Place::new(Path::new("f"), &"p = [\"zfs,memdv:count=2\"]".into(), 5..24);
        assert_eq!(whole.clone().narrowed("memdv").to_string(), "f:1:11");
        let twice = Place::new(Path::new("f"), &"\"netdev,net:x\"".into(), 0..14);
        assert_eq!(twice.narrowed("net").to_string(), "f:1:9");
        assert_eq!(whole.clone().narrowed("gone"), whole);
        assert_eq!(whole.clone().narrowed(""), whole);
    }
}
