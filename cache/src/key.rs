//! Keys: the digest of everything that can change a result, and the readable list of the same things.
//!
//! One walk feeds both, so what `why` shows is what was hashed. The encoding is written out here and is never the output of a
//! serializer. All of it goes through blake3 in key derivation mode with the encoder's domain as context.
//!
//! | value | tag | bytes after the tag | in the manifest |
//! |---|---|---|---|
//! | text | `t` | name, text | the text |
//! | number | `n` | name, 8 bytes little-endian | decimal |
//! | flag | `f` | name, 1 byte: 0 or 1 | `true` or `false` |
//! | digest | `d` | name, 32 bytes | 64 hex digits |
//! | list | `l` | name, count as 8 bytes little-endian, each text | one item a line, `\` and newline escaped; `[]` when empty |
//!
//! Names and texts are their length in bytes as 8 bytes little-endian, then the bytes. The order of calls counts.
//!
//! Does not know what the ingredients of a result are: the caller names them.

use crate::Digest;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeSet, HashSet};
use std::fmt;

/// The digest of everything that can change a result. Only a [`KeyEncoder`] makes one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Key(Digest);

impl Key {
    /// The first 12 hex digits, for people.
    pub fn short(&self) -> String {
        self.0.short()
    }

    pub(crate) fn digest(&self) -> &Digest {
        &self.0
    }
}

impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// Takes the ingredients of a key one by one. Names are path-like: `input/source`, `option/lines`, `tool/gcc`.
///
/// # Panics
/// Every method that takes a name panics when the name was used before: that is a bug of the caller.
#[derive(Debug, Clone)]
pub struct KeyEncoder {
    hasher: blake3::Hasher,
    names: BTreeSet<String>,
    entries: Vec<(String, String)>,
}

impl KeyEncoder {
    /// Starts a key. Keys of different domains never meet; name the program, the version and the purpose.
    pub fn new(domain: &'static str) -> Self {
        Self { hasher: blake3::Hasher::new_derive_key(domain), names: BTreeSet::new(), entries: Vec::new() }
    }

    /// A text of any length: an option's value, a version, a script.
    pub fn text(&mut self, name: &str, value: &str) -> &mut Self {
        self.start(b't', name, value.to_owned());
        self.sized(value.as_bytes());
        self
    }

    /// A number.
    pub fn number(&mut self, name: &str, value: u64) -> &mut Self {
        self.start(b'n', name, value.to_string());
        self.hasher.update(&value.to_le_bytes());
        self
    }

    /// Yes or no.
    pub fn flag(&mut self, name: &str, value: bool) -> &mut Self {
        self.start(b'f', name, value.to_string());
        self.hasher.update(&[u8::from(value)]);
        self
    }

    /// A digest: of an input's output, of a data file.
    pub fn digest(&mut self, name: &str, value: &Digest) -> &mut Self {
        self.start(b'd', name, value.to_string());
        self.hasher.update(value.as_bytes());
        self
    }

    /// A list of texts. The order counts; sort first when it means nothing.
    pub fn list<T: AsRef<str>>(&mut self, name: &str, values: impl IntoIterator<Item = T>) -> &mut Self {
        let values: Vec<T> = values.into_iter().collect();
        let lines: Vec<String> = values.iter().map(|v| v.as_ref().replace('\\', "\\\\").replace('\n', "\\n")).collect();
        self.start(b'l', name, if lines.is_empty() { "[]".to_owned() } else { lines.join("\n") });
        self.hasher.update(&(values.len() as u64).to_le_bytes());
        for value in &values {
            self.sized(value.as_ref().as_bytes());
        }
        self
    }

    /// The key of all that was given, and the readable list of it.
    pub fn finish(&self) -> (Key, Manifest) {
        (Key(Digest::finish(&self.hasher)), Manifest { entries: self.entries.clone() })
    }

    fn start(&mut self, tag: u8, name: &str, readable: String) {
        assert!(self.names.insert(name.to_owned()), "the key ingredient `{name}` was given twice");
        self.entries.push((name.to_owned(), readable));
        self.hasher.update(&[tag]);
        self.sized(name.as_bytes());
    }

    fn sized(&mut self, bytes: &[u8]) {
        self.hasher.update(&(bytes.len() as u64).to_le_bytes());
        self.hasher.update(bytes);
    }
}

/// What entered a key, as name and readable value, in order.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Manifest {
    /// Name and value of each ingredient.
    pub entries: Vec<(String, String)>,
}

/// A difference between two manifests.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Change {
    /// The ingredient.
    pub name: String,
    /// Its value in the older manifest; `None` when it is new.
    pub before: Option<String>,
    /// Its value now; `None` when it is gone.
    pub after: Option<String>,
}

impl Manifest {
    /// What is different since `older`: changed and new ingredients in this manifest's order, then those that are gone. Of a name that stands
    /// there twice, as in a damaged or made up file, the first counts.
    pub fn diff(&self, older: &Manifest) -> Vec<Change> {
        let change = |name: &str, before: Option<&str>, after: Option<&str>| {
            (before != after).then(|| Change {
                name: name.to_owned(),
                before: before.map(str::to_owned),
                after: after.map(str::to_owned),
            })
        };
        let now = self.first().filter_map(|(name, value)| change(name, older.get(name), Some(value)));
        let gone = older.first().filter(|(name, _)| self.get(name).is_none());
        now.chain(gone.filter_map(|(name, value)| change(name, Some(value), None))).collect()
    }

    /// Each name once, with its first value, in order.
    fn first(&self) -> impl Iterator<Item = (&str, &str)> {
        let mut seen = HashSet::new();
        self.entries
            .iter()
            .map(|(name, value)| (name.as_str(), value.as_str()))
            .filter(move |(name, _)| seen.insert(*name))
    }

    /// The value of an ingredient.
    pub fn get(&self, name: &str) -> Option<&str> {
        self.entries.iter().find(|(n, _)| n == name).map(|(_, value)| value.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(fill: impl Fn(&mut KeyEncoder) -> &mut KeyEncoder) -> Key {
        let mut encoder = KeyEncoder::new("quiz-cache test");
        fill(&mut encoder);
        encoder.finish().0
    }

    /// These may never change: a change makes every cache of every user worthless.
    #[test]
    fn golden_keys() {
        let golden = [
            (key(|k| k), "dbd1630b4f882fba39906c0dca65d80cef89dc16a58f78a2ebb6b03033cf1259"),
            (key(|k| k.text("a", "b")), "7506043796520b0c126ce7162f336ea93646409c9450a14c4b2b2bad73a31ef0"),
            (key(|k| k.number("a", 1)), "46ee760b8b9396907e7f87c539d9dc32c20a4242758e87d35dd06565e1ea20b4"),
            (key(|k| k.flag("a", true)), "2f90ee9d534fae0a306e98f6eb5b3471ed3f1c45dc594dc01f472504d6c3fce5"),
            (
                key(|k| k.digest("a", &Digest::of(b"b"))),
                "789c5f9902218dd01f92f1edd83d14e83cf45c7cdeb8cd4bf54d6f513cb28c06",
            ),
            (key(|k| k.list("a", ["b", "c"])), "beaca1cb58fd8db0aa4ad308f6b450e058cc1f4d1f693e1d5db39bc4f53c5530"),
            (
                key(|k| k.text("recipe", "x").number("n", 2).flag("f", false).list("l", [""; 0])),
                "97f7df94e1e90a353136b4a764b0b4a4c583b5667076bdf597e5b38e3d984ff9",
            ),
        ];
        for (key, hex) in golden {
            assert_eq!(key.to_string(), hex);
        }
    }

    /// The table at the head of this file, written out by hand.
    #[test]
    fn encoding_is_the_documented_one() {
        let mut hasher = blake3::Hasher::new_derive_key("quiz-cache test");
        hasher.update(b"t\x04\0\0\0\0\0\0\0name\x05\0\0\0\0\0\0\0value");
        hasher.update(b"n\x01\0\0\0\0\0\0\0n\x02\x01\0\0\0\0\0\0");
        hasher.update(b"f\x01\0\0\0\0\0\0\0f\x01");
        hasher.update(b"d\x01\0\0\0\0\0\0\0d").update(Digest::of(b"").as_bytes());
        hasher.update(b"l\x01\0\0\0\0\0\0\0l\x02\0\0\0\0\0\0\0\x01\0\0\0\0\0\0\0a\0\0\0\0\0\0\0\0");
        let encoded = key(|k| {
            k.text("name", "value").number("n", 258).flag("f", true).digest("d", &Digest::of(b"")).list("l", ["a", ""])
        });
        assert_eq!(encoded.to_string(), hasher.finalize().to_hex().as_str());
    }

    #[test]
    fn values_that_look_alike_are_different_keys() {
        let hex = Digest::of(b"b").to_string();
        let keys = [
            key(|k| k),
            key(|k| k.text("ab", "c")),
            key(|k| k.text("a", "bc")),
            key(|k| k.text("a", "").text("bc", "")),
            key(|k| k.text("bc", "").text("a", "")),
            key(|k| k.text("a", "1")),
            key(|k| k.number("a", 1)),
            key(|k| k.flag("a", true)),
            key(|k| k.text("a", "true")),
            key(|k| k.text("a", &hex)),
            key(|k| k.digest("a", &Digest::of(b"b"))),
            key(|k| k.list("a", ["1"])),
            key(|k| k.list("a", ["1", ""])),
            key(|k| k.list("a", [""; 0])),
            key(|k| k.list("a", ["b", "c"])),
            key(|k| k.list("a", ["c", "b"])),
            key(|k| k.list("a", ["bc"])),
            key(|k| k.list("a", ["b\nc"])),
            key(|k| k.list("a", ["b"]).text("c", "")),
        ];
        let distinct: BTreeSet<&Key> = keys.iter().collect();
        assert_eq!(distinct.len(), keys.len());
        assert_ne!(KeyEncoder::new("a").finish().0, KeyEncoder::new("b").finish().0);
    }

    #[test]
    #[should_panic(expected = "`tool/gcc` was given twice")]
    fn a_name_given_twice_is_a_bug() {
        KeyEncoder::new("quiz-cache test").text("tool/gcc", "14").flag("tool/gcc", true);
    }

    #[test]
    fn manifest_tells_what_changed() {
        let manifest = |fill: &dyn Fn(&mut KeyEncoder) -> &mut KeyEncoder| {
            let mut encoder = KeyEncoder::new("quiz-cache test");
            fill(&mut encoder);
            encoder.finish().1
        };
        let old = manifest(&|k| k.text("gone", "1").text("same", "2").list("changed", ["a"]));
        let new = manifest(&|k| k.number("new", 3).text("same", "2").list("changed", ["a", "b"]));
        let change = |name: &str, before: Option<&str>, after: Option<&str>| Change {
            name: name.to_owned(),
            before: before.map(str::to_owned),
            after: after.map(str::to_owned),
        };
        assert_eq!(
            new.diff(&old),
            [
                change("new", None, Some("3")),
                change("changed", Some("a"), Some("a\nb")),
                change("gone", Some("1"), None)
            ]
        );
        assert_eq!(new.diff(&new), []);
    }
}
