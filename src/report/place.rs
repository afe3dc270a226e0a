//! Errors with a place: the line of the file, what is wrong underlined, as rustc has it. Knows nothing of what is wrong.

use super::plain::plain;
use super::shapes::FilePlace;
use crate::error::{Error, Place};
use annotate_snippets::{AnnotationKind, Level, Renderer, Snippet};

/// Columns that are taken where it is not known how many there are.
const WIDTH: usize = 140;

/// The message, the place and its line; `width` is how many columns there are.
pub(super) fn drawn(error: &Error, place: &Place, colour: bool, width: Option<usize>) -> String {
    let [before, wrong, after] = place.parts().map(plain);
    let (start, end) = (before.len(), before.len() + wrong.len());
    let label = plain(place.label());
    let mark = AnnotationKind::Primary.span(start..end);
    let mark = if label.is_empty() { mark } else { mark.label(&label) };
    let line = Snippet::source(format!("{before}{wrong}{after}")).line_start(place.line()).annotation(mark);
    let path = plain(&place.path().display().to_string()).replace('\n', "\u{240a}");
    let report = [Level::ERROR.primary_title(plain(error.message())).element(line.path(path))];
    let renderer = if colour { Renderer::styled().hyperlink(false) } else { Renderer::plain() };
    renderer.term_width(width.unwrap_or(WIDTH)).render(&report)
}

/// The same as data.
pub(super) fn shape(place: &Place) -> FilePlace {
    FilePlace {
        path: place.path().to_string_lossy().into_owned(),
        line: place.line(),
        column: place.column(),
        width: place.width(),
        label: place.label().to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::ops::Range;
    use std::path::Path;

    fn shown(text: &str, span: Range<usize>, width: usize) -> String {
        let place = Place::new(Path::new("quiz.toml"), &text.into(), span).labelled("not known here");
        drawn(&Error::input("no").at(place.clone()), &place, false, Some(width))
    }

    fn lines(text: &str, word: &str) -> Vec<String> {
        let start = text.find(word).unwrap();
        shown(text, start..start + word.len(), 100).lines().map(|line| line.trim_end().to_owned()).collect()
    }

    #[test]
    fn the_line_is_shown_and_what_is_wrong_in_it_underlined() {
        let wanted = ["error: no", " --> quiz.toml:2:1", "  |", "2 | versoin = \"6.1\"", "  | ^^^^^^^ not known here"];
        assert_eq!(lines("[kernel]\nversoin = \"6.1\"\n", "versoin"), wanted);
        assert_eq!(lines("[kernel]\r\nversoin = \"6.1\"\r\n", "versoin"), wanted);
    }

    #[test]
    fn tabs_wide_characters_and_the_end_of_the_file_do_not_shift_it() {
        assert_eq!(lines("a = 1\n\tx = 2", "x")[3..], ["2 |     x = 2", "  |     ^ not known here"]);
        assert_eq!(lines("ü漢 = 5", "5")[3..], ["1 | ü漢 = 5", "  |       ^ not known here"]);
        assert_eq!(shown("", 0..0, 80).lines().nth(1), Some(" --> quiz.toml:1:1"));
        let end: Vec<_> = shown("a = [\n\n", 7..7, 80).lines().map(str::to_owned).collect();
        assert_eq!(end[1], " --> quiz.toml:1:6");
        assert_eq!(end[4], "  |      ^ not known here");
    }

    #[test]
    fn of_a_long_line_the_part_around_it_is_shown() {
        let text = format!("a = \"{}\" xyz \"{}\"", "b".repeat(5000), "c".repeat(5000));
        let all = lines(&text, "xyz");
        assert!(all.iter().all(|line| line.chars().count() <= 120), "{all:?}");
        assert!(all[3].contains(" xyz ") && all[4].ends_with("^^^ not known here"), "{all:?}");
        assert_eq!(all[3].find("xyz"), all[4].find("^^^"), "{all:?}");
    }

    #[test]
    fn no_command_for_a_terminal_comes_through() {
        let evil = "a\u{1b}[2J\u{9b}31m\u{202e}\u{7}\u{7f}\r";
        let place = Place::new(Path::new(evil), &format!("{evil} = 1").into(), 1..4).labelled(evil);
        let text = drawn(&Error::input(evil).at(place.clone()), &place, false, None);
        assert!(!text.chars().any(|c| c != '\n' && (c.is_control() || c == '\u{202e}')), "{text:?}");
        assert!(text.contains("a␛[2J\u{fffd}31m"), "{text}");
    }
}
