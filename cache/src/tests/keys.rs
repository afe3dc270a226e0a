//! Keys and trees of any ingredients: what is hashed can be read back as what was given, so two that differ never hash the same bytes.

use crate::{Digest, Key, KeyEncoder, Node, Tree};
use proptest::collection::{btree_map, vec};
use proptest::prelude::*;
use std::collections::BTreeSet;

/// What a key is made of.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Value {
    Text(String),
    Number(u64),
    Flag(bool),
    Digest(Digest),
    List(Vec<String>),
}

type Ingredients = Vec<(String, Value)>;

/// Few letters, among them those of the encoding itself, so that texts often are each other's beginning.
fn text() -> impl Strategy<Value = String> {
    vec(prop::sample::select(vec!["a", "b", "/", "\n", "\\", "\0", "\x01", "t", "l", "ü"]), 0..5)
        .prop_map(|t| t.concat())
}

fn value() -> impl Strategy<Value = Value> {
    prop_oneof![
        text().prop_map(Value::Text),
        prop_oneof![0..3u64, any::<u64>()].prop_map(Value::Number),
        any::<bool>().prop_map(Value::Flag),
        text().prop_map(|text| Value::Digest(Digest::of(text.as_bytes()))),
        vec(text(), 0..4).prop_map(Value::List),
    ]
}

fn ingredients() -> impl Strategy<Value = Ingredients> {
    vec((text(), value()), 0..5).prop_map(|mut all| {
        let mut seen = BTreeSet::new();
        all.retain(|(name, _)| seen.insert(name.clone()));
        all
    })
}

fn key(ingredients: &Ingredients) -> Key {
    let mut encoder = KeyEncoder::new("quiz-cache test");
    for (name, value) in ingredients {
        match value {
            Value::Text(text) => encoder.text(name, text),
            Value::Number(number) => encoder.number(name, *number),
            Value::Flag(flag) => encoder.flag(name, *flag),
            Value::Digest(digest) => encoder.digest(name, digest),
            Value::List(items) => encoder.list(name, items),
        };
    }
    encoder.finish().0
}

/// The bytes by the table at the head of key.rs, written apart from the encoder.
fn bytes(ingredients: &Ingredients) -> Vec<u8> {
    let sized = |text: &str| [&(text.len() as u64).to_le_bytes(), text.as_bytes()].concat();
    let one = |(name, value): &(String, Value)| {
        let (tag, value) = match value {
            Value::Text(text) => (b't', sized(text)),
            Value::Number(number) => (b'n', number.to_le_bytes().to_vec()),
            Value::Flag(flag) => (b'f', vec![u8::from(*flag)]),
            Value::Digest(digest) => (b'd', digest.as_bytes().to_vec()),
            Value::List(items) => {
                let count = (items.len() as u64).to_le_bytes().to_vec();
                (b'l', items.iter().fold(count, |all, item| [all, sized(item)].concat()))
            }
        };
        [vec![tag], sized(name), value].concat()
    };
    ingredients.iter().flat_map(one).collect()
}

/// Reads the bytes back: there is one way to.
struct Reader<'a>(&'a [u8]);

impl Reader<'_> {
    fn take(&mut self, count: usize) -> Vec<u8> {
        let (taken, rest) = self.0.split_at(count);
        self.0 = rest;
        taken.to_vec()
    }

    fn number(&mut self) -> u64 {
        u64::from_le_bytes(self.take(8).try_into().unwrap())
    }

    fn text(&mut self) -> String {
        let length = usize::try_from(self.number()).unwrap();
        String::from_utf8(self.take(length)).unwrap()
    }

    fn ingredients(mut self) -> Ingredients {
        let mut all = Vec::new();
        while !self.0.is_empty() {
            let (tag, name) = (self.take(1)[0], self.text());
            let value = match tag {
                b't' => Value::Text(self.text()),
                b'n' => Value::Number(self.number()),
                b'f' => Value::Flag(self.take(1) == [1]),
                b'd' => {
                    let hex: String = self.take(32).iter().map(|byte| format!("{byte:02x}")).collect();
                    Value::Digest(hex.parse().unwrap())
                }
                b'l' => Value::List((0..self.number()).map(|_| self.text()).collect()),
                other => panic!("{other}"),
            };
            all.push((name, value));
        }
        all
    }
}

/// The same text cut at other places: what an encoding without lengths takes for the same.
fn neighbours(all: &Ingredients) -> Vec<Ingredients> {
    let mut found = vec![all.iter().rev().cloned().collect(), all.iter().skip(1).cloned().collect()];
    for (n, (name, value)) in all.iter().enumerate() {
        let mut with = |pair: (String, Value)| {
            let mut other = all.clone();
            other[n] = pair;
            found.push(other);
        };
        match value {
            Value::Text(text) => {
                with((format!("{name}{text}"), Value::Text(String::new())));
                with((name.clone(), Value::List(vec![text.clone()])));
            }
            Value::Number(number) => with((name.clone(), Value::Text(number.to_string()))),
            Value::Flag(flag) => with((name.clone(), Value::Number(u64::from(*flag)))),
            Value::Digest(digest) => with((name.clone(), Value::Text(digest.to_string()))),
            Value::List(items) => {
                with((name.clone(), Value::Text(items.concat())));
                with((name.clone(), Value::List(vec![items.concat()])));
                with((name.clone(), Value::List(vec![items.join("\n")])));
                with((name.clone(), Value::List([items.clone(), vec![String::new()]].concat())));
            }
        }
    }
    found
}

fn node() -> impl Strategy<Value = Node> {
    prop_oneof![
        Just(Node::Folder),
        (text(), any::<bool>()).prop_map(|(content, executable)| {
            let (digest, size) = (Digest::of_file(content.as_bytes(), executable), content.len() as u64);
            Node::File { digest, size, executable }
        }),
        text().prop_map(|target| Node::Symlink { target }),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 256, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn two_different_ingredients_never_give_the_same_bytes(all in ingredients()) {
        let encoded = bytes(&all);
        let hashed = blake3::Hasher::new_derive_key("quiz-cache test").update(&encoded).finalize();
        prop_assert_eq!(key(&all).to_string(), hashed.to_hex().to_string(), "the encoder is as it is documented");
        prop_assert_eq!(Reader(&encoded).ingredients(), all, "and can be read in one way only");
    }

    #[test]
    fn what_looks_like_the_same_is_another_key(all in ingredients()) {
        for other in neighbours(&all) {
            let mut names = BTreeSet::new();
            if other.iter().all(|(name, _)| names.insert(name)) {
                prop_assert_eq!(key(&other) == key(&all), other == all, "{:?}", other);
            }
        }
    }

    #[test]
    fn the_order_in_which_a_tree_was_found_does_not_matter(
        (items, found) in btree_map("[ab]{1,2}(/[ab]{1,2}){0,2}", node(), 0..8)
            .prop_flat_map(|items| {
                let items: Vec<(String, Node)> = items.into_iter().collect();
                (Just(items.clone()), Just(items).prop_shuffle())
            })
    ) {
        match (Tree::new(items), Tree::new(found)) {
            (Ok(sorted), Ok(shuffled)) => {
                prop_assert_eq!(sorted.output(), shuffled.output());
                for (path, node) in sorted.items() {
                    let other = match node {
                        Node::Symlink { target } => Node::Symlink { target: format!("{target}x") },
                        _ => Node::Symlink { target: String::new() },
                    };
                    let change = |(at, was): &(String, Node)| (at.clone(), if at == path { other.clone() } else { was.clone() });
                    if let Ok(changed) = Tree::new(sorted.items().iter().map(change)) {
                        prop_assert_ne!(changed.output().digest, sorted.output().digest);
                    }
                }
            }
            (sorted, shuffled) => prop_assert!(sorted.is_err() && shuffled.is_err()),
        }
    }
}
