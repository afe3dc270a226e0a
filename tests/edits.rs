//! Any sequence of edits in a folder that people build in gives what a build from nothing gives, byte for byte: in a tree as Kbuild
//! makes modules (its own `if_changed`, saved command lines, flags for each folder), and in one as programs are made (a `configure`
//! that generates a header, wildcards, an archive).

pub(crate) mod tree;

use crate::project::{Project, files};
use crate::real;
use proptest::prelude::*;
use proptest::sample::Index;
use proptest::strategy::ValueTree;
use proptest::test_runner::{Config, RngAlgorithm, TestRng, TestRunner};
use std::fs;
use std::path::Path;
use tree::{Edit, Kind, Tree, edit};

/// `cases` sequences, each of up to `most` edits with a build after each; compared at the end of each.
fn play(kind: Kind, cases: u32, most: usize, size: (u8, u8)) {
    let config = Config { cases, max_shrink_iters: 64, failure_persistence: None, ..Config::default() };
    let sequence = prop::collection::vec(edit(), 1..=most);
    let result = TestRunner::new(config).run(&sequence, |edits| {
        let project = Project::new();
        let start = |words: &[&str]| project.command(words);
        let tree = Tree::new(&project, &start, kind, size);
        tree.build();
        for (n, edit) in edits.iter().enumerate() {
            tree.apply(edit);
            if n + 1 == edits.len() {
                prop_assert_eq!(tree.differing(), Vec::<String>::new(), "after edit {} of {:?}", n + 1, kind);
            } else {
                tree.build();
            }
        }
        Ok(())
    });
    result.unwrap_or_else(|error| panic!("{error}"));
}

/// A digest of all that these tests try: what builds, quiz's recipes, and the edits themselves.
pub(crate) fn tried() -> quiz_cache::Digest {
    let folders =
        ["recipes", "cache/src", "src/build", "src/graph", "src/load", "src/source", "tests/edits", "tests/real"];
    let mut all: Vec<_> =
        folders.iter().flat_map(|folder| files(&Path::new(env!("CARGO_MANIFEST_DIR")).join(folder))).collect();
    all.sort();
    let texts: Vec<u8> = all.iter().flat_map(|path| fs::read(path).unwrap()).collect();
    quiz_cache::Digest::of(&texts)
}

/// Sequences of up to `most` edits, the same by its number each time: how far they came is noted in the cache, where a run that was stopped goes on while
/// what is tried is the same. One that came to its end begins anew.
pub(crate) fn sequences(name: &str, count: u32, most: usize, play: &mut dyn FnMut(u32, &[Edit])) {
    let folder = real::cache().join("tests/edits");
    fs::create_dir_all(&folder).unwrap();
    let passed = folder.join(format!("{name}.{}", tried()));
    let done = fs::read_to_string(&passed).map_or(0, |text| text.trim().parse().unwrap());
    for number in done..count {
        let mut seed = [0; 32];
        seed[..4].copy_from_slice(&number.to_le_bytes());
        let rng = TestRng::from_seed(RngAlgorithm::ChaCha, &seed);
        let mut runner = TestRunner::new_with_rng(Config::default(), rng);
        let edits = prop::collection::vec(edit(), 1..=most).new_tree(&mut runner).unwrap().current();
        play(number, &edits);
        let new = passed.with_extension("new");
        fs::write(&new, (number + 1).to_string()).unwrap();
        fs::rename(new, &passed).unwrap();
    }
    fs::remove_file(passed).unwrap();
}

#[test]
fn any_few_edits_of_modules_give_what_a_build_from_nothing_gives() {
    play(Kind::Kernel, 2, 4, (2, 2));
}

#[test]
fn any_few_edits_of_a_program_give_what_a_build_from_nothing_gives() {
    play(Kind::Program, 2, 4, (2, 2));
}

/// Each of the kinds of edits once, so that the test above cannot pass by never doing one.
#[test]
fn each_kind_of_edit_shows_in_what_is_built() {
    for kind in [Kind::Kernel, Kind::Program] {
        let project = Project::new();
        let start = |words: &[&str]| project.command(words);
        let tree = Tree::new(&project, &start, kind, (2, 2));
        each_shows(&tree);
    }
}

pub(crate) fn each_shows(tree: &Tree<'_>) {
    let at = any::<Index>().new_tree(&mut TestRunner::deterministic()).unwrap().current();
    let mut before = tree.build();
    for edit in [
        Edit::Add(77, 1),
        Edit::Rename(at, 78),
        Edit::Change(at, 55),
        Edit::TouchBack(at, 56),
        Edit::Chmod(at),
        Edit::Header(0, 3),
        Edit::Header(1, 3),
        Edit::Config(8),
        Edit::Checkout,
        Edit::Checkout,
        Edit::Remove(at),
    ] {
        // Kbuild runs no source.
        if let (Kind::Module, Edit::Chmod(_)) = (tree.kind, &edit) {
            continue;
        }
        tree.apply(&edit);
        let after = tree.build();
        assert_ne!(before, after, "{:?} {edit:?}", tree.kind);
        before = after;
    }
    assert_eq!(tree.differing(), [""; 0]);
}

/// `tests/run --full edits`.
#[test]
#[ignore = "takes an hour"]
fn two_hundred_sequences_of_edits_of_a_program_give_what_a_build_from_nothing_gives() {
    sequences("program", 200, 8, &mut |number, edits| {
        let project = Project::new();
        let start = |words: &[&str]| project.command(words);
        let tree = Tree::new(&project, &start, Kind::Program, (4, 8));
        tree.build();
        for (n, edit) in edits.iter().enumerate() {
            tree.apply(edit);
            assert_eq!(tree.differing(), [""; 0], "sequence {number}, after edit {} of {edits:?}", n + 1);
        }
    });
}
