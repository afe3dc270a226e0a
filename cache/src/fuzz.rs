//! Every kind of file of the cache as a function of bytes: for libFuzzer (the project's `tests/run --full fuzz`), and for the corpus that
//! the tests read. Not part of the crate.

use crate::codec::{What, fuzz};
use crate::memo::{Latest, Subtree};
use crate::{Record, Tree, fingerprint, memo, named, needs, passing, pins, scratch};

/// Takes the bytes for a file of each kind, and for what is in one. Whatever they are, they are none or a value.
pub fn file(bytes: &[u8]) {
    if let Some(tree) = fuzz::<Tree>(What::Tree, bytes) {
        let again = Tree::new(tree.items().iter().cloned());
        assert!(!tree.is_valid() || again.is_ok_and(|again| again == tree));
        tree.output();
    }
    if let Some(record) = fuzz::<Record>(What::Record, bytes) {
        assert!(record.manifest.diff(&record.manifest).is_empty());
    }
    fuzz::<Subtree>(What::Subtree, bytes);
    fuzz::<Latest>(What::Latest, bytes);
    memo::fuzz(bytes);
    passing::fuzz(bytes);
    named::fuzz(bytes);
    pins::fuzz(bytes);
    needs::fuzz(bytes);
    scratch::fuzz(bytes);
    fingerprint::fuzz(bytes);
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::path::Path;

    #[test]
    fn no_file_of_the_corpus_and_none_that_is_damaged_is_more_than_nothing() {
        let corpus = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/corpus/cache");
        let mut count = 0;
        for entry in std::fs::read_dir(corpus).unwrap() {
            let whole = std::fs::read(entry.unwrap().path()).unwrap();
            file(&whole);
            for at in 0..whole.len() {
                file(&whole[..at]);
                let mut other = whole.clone();
                other[at] ^= 0xff;
                file(&other);
            }
            count += 1;
        }
        assert!(count >= 4, "{count}");
    }
}
