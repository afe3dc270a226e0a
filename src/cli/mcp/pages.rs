//! Long answers in parts: texts by bytes, lists by items. Knows nothing of what is in them.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Items of a list, if nobody says how many.
pub(super) const ITEMS: usize = 50;
/// Bytes of a text, if nobody says how many; and how many there can be.
pub(super) const BYTES: usize = 16 << 10;
const MOST: usize = 64 << 10;

/// Which part of an answer.
#[derive(Debug, Clone, Copy, Default, Deserialize, JsonSchema)]
pub(super) struct Part {
    /// Where to go on: `next` of the part before.
    pub cursor: Option<u64>,
    /// At most so many: items of a list, or bytes of a text (65536 at most).
    #[schemars(range(min = 1))]
    pub limit: Option<usize>,
}

impl Part {
    pub fn items(self) -> usize {
        self.limit.unwrap_or(ITEMS).clamp(1, 1000)
    }

    pub fn bytes(self) -> usize {
        // A character has four bytes at most, and one has to fit.
        self.limit.unwrap_or(BYTES).clamp(4, MOST)
    }
}

/// A part of a text.
#[derive(Debug, PartialEq, Eq, Serialize, JsonSchema)]
pub(super) struct Text {
    /// The part.
    pub text: String,
    /// The byte at which it begins.
    pub from: u64,
    /// The byte at which the next one does: the cursor for it.
    pub next: u64,
    /// Bytes of the whole, so far.
    pub total: u64,
    /// Bytes at its beginning that are no longer kept; 0 if all are there.
    pub cut: u64,
}

/// A part of a list.
#[derive(Debug, PartialEq, Eq, Serialize, JsonSchema)]
pub(super) struct List {
    /// The items.
    pub items: Vec<serde_json::Value>,
    /// The cursor for the next part; null behind the last.
    pub next: Option<u64>,
    /// Items of the whole.
    pub total: usize,
}

/// The text that these bytes are, from byte `from` on of `total`. A character that is cut at the end comes with the next part; `is_whole`: there is
/// no more.
pub(super) fn text(bytes: &[u8], from: u64, total: u64, is_whole: bool) -> Text {
    let cut = match bytes.utf8_chunks().last() {
        // The bytes at the end are the beginning of a character, whose rest may still come.
        Some(last) if !is_whole && std::str::from_utf8(last.invalid()).is_err_and(|e| e.error_len().is_none()) => {
            last.invalid().len()
        }
        _ => 0,
    };
    let bytes = &bytes[..bytes.len() - cut];
    Text { text: String::from_utf8_lossy(bytes).into_owned(), from, next: from + bytes.len() as u64, total, cut: 0 }
}

/// Which bytes are meant of a text of `total`, from where on and how many; without a cursor its end.
pub(super) fn of_text(total: u64, part: Part) -> (u64, usize) {
    let bytes = part.bytes();
    (part.cursor.unwrap_or(total.saturating_sub(bytes as u64)).min(total), bytes)
}

/// The part of a list.
pub(super) fn list(all: Vec<serde_json::Value>, part: Part) -> List {
    let total = all.len();
    let from = part.cursor.map_or(0, |cursor| usize::try_from(cursor).unwrap_or(usize::MAX).min(total));
    let items: Vec<_> = all.into_iter().skip(from).take(part.items()).collect();
    let next = from + items.len();
    List { items, next: (next < total).then_some(next as u64), total }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_parts_of_a_text_are_the_whole_and_no_character_is_cut() {
        let end_of = |whole: &[u8], part| {
            let (from, bytes) = of_text(whole.len() as u64, part);
            let rest = &whole[usize::try_from(from).unwrap()..];
            let part = &rest[..bytes.min(rest.len())];
            text(part, from, whole.len() as u64, part.len() == rest.len())
        };
        let whole = "aäöü€𝄞 end".as_bytes();
        for limit in 4..=20 {
            let (mut found, mut cursor) = (String::new(), 0);
            while cursor < whole.len() as u64 {
                let part = end_of(whole, Part { cursor: Some(cursor), limit: Some(limit) });
                assert!(part.next > cursor && part.total == whole.len() as u64, "{part:?}");
                found += &part.text;
                cursor = part.next;
            }
            assert_eq!(found.as_bytes(), whole);
        }
        assert_eq!(end_of(whole, Part { cursor: None, limit: Some(4) }).text, " end");
        assert_eq!(end_of(whole, Part { cursor: Some(u64::MAX), limit: None }).text, "");
        assert_eq!(text(b"a\xe2\x82", 7, 10, false), Text { text: "a".into(), from: 7, next: 8, total: 10, cut: 0 });
        assert_eq!(
            text(b"a\xe2\x82", 7, 10, true),
            Text { text: "a\u{fffd}".into(), from: 7, next: 10, total: 10, cut: 0 }
        );
        assert_eq!(text(b"\xffa", 0, 2, false).text, "\u{fffd}a");
    }

    #[test]
    fn the_last_part_of_a_list_has_no_next() {
        let all = || (0..5).map(serde_json::Value::from).collect::<Vec<_>>();
        let part = |cursor, limit| list(all(), Part { cursor, limit: Some(limit) });
        assert_eq!(part(None, 2), List { items: all()[..2].to_vec(), next: Some(2), total: 5 });
        assert_eq!(part(Some(4), 2), List { items: all()[4..].to_vec(), next: None, total: 5 });
        assert_eq!(part(Some(9), 2), List { items: vec![], next: None, total: 5 });
        assert_eq!(part(None, 0).items.len(), 1);
    }
}
