//! Small things that are remembered: values by name and key, the last key of a name, filtered trees; trees put in directly.
//!
//! Does not know what the values mean.

use crate::codec::What;
use crate::error::{Result, at};
use crate::files::{copy_plain, seal_and_digest, write_new, write_sealed};
use crate::objects::{FileNode, LISTINGS, files, make_folders};
use crate::{Cache, Digest, Error, Fingerprint, Key, Kind, Output, Record, Tree};
use rayon::prelude::*;
use serde::{Deserialize, Serialize};
use std::borrow::Cow;
use std::path::{Path, PathBuf};

/// Every file says for whom it was written, so that no renamed or copied file is taken for another.
#[derive(Serialize, Deserialize)]
struct Memo {
    name: String,
    key: Key,
    value: Vec<u8>,
}

#[derive(Serialize, Deserialize)]
pub(crate) struct Latest {
    pub(crate) name: String,
    pub(crate) key: Key,
}

#[derive(Serialize, Deserialize)]
pub(crate) struct Subtree {
    pub(crate) of: Digest,
    patterns: Vec<String>,
    pub(crate) output: Output,
}

impl Cache {
    /// A value that [`Cache::set_memo`] stored; `None` also when it is damaged.
    ///
    /// # Errors
    /// When the cache cannot be read.
    pub fn memo(&self, name: &str, key: &Key) -> Result<Option<Vec<u8>>> {
        let memo = self.load::<Memo>(What::Memo, &self.memo_path(name, key))?;
        Ok(memo.filter(|m| m.name == name && m.key == *key).map(|m| m.value))
    }

    /// Stores a small value under a name and a key; replaces the last one.
    ///
    /// # Errors
    /// When the cache cannot be written.
    pub fn set_memo(&self, name: &str, key: &Key, value: &[u8]) -> Result<()> {
        let memo = Memo { name: name.to_owned(), key: *key, value: value.to_vec() };
        self.store(What::Memo, &self.memo_path(name, key), &memo)
    }

    /// The record of the key that was noted last under this name.
    ///
    /// # Errors
    /// When the cache cannot be read.
    pub fn latest(&self, name: &str) -> Result<Option<Record>> {
        match self.latest_key(name)? {
            Some(key) => self.record(&key),
            None => Ok(None),
        }
    }

    /// All names under which a key was noted, sorted, each with that key. That does not count as a use.
    ///
    /// # Errors
    /// When the cache cannot be read.
    pub fn all_latest(&self) -> Result<Vec<(String, Key)>> {
        let read = |path: PathBuf| self.peek::<Latest>(What::Latest, &path).transpose();
        let mut all: Vec<Latest> = self.entries("latest").into_par_iter().filter_map(read).collect::<Result<_>>()?;
        all.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(all.into_iter().map(|latest| (latest.name, latest.key)).collect())
    }

    /// Notes the key under the name. Writes only when it is another than last time.
    ///
    /// # Errors
    /// When the cache cannot be written.
    pub fn note_latest(&self, name: &str, key: &Key) -> Result<()> {
        if self.latest_key(name)? == Some(*key) {
            return Ok(());
        }
        let latest = Latest { name: name.to_owned(), key: *key };
        self.store(What::Latest, &self.latest_path(name), &latest)
    }

    /// The key that was noted last under this name, also when its record is gone.
    ///
    /// # Errors
    /// When the cache cannot be read.
    pub fn latest_key(&self, name: &str) -> Result<Option<Key>> {
        let latest = self.load::<Latest>(What::Latest, &self.latest_path(name))?;
        Ok(latest.filter(|l| l.name == name).map(|l| l.key))
    }

    /// The items of the tree of this digest; `None` when the cache has no list of them (any more).
    ///
    /// # Errors
    /// When the cache cannot be read.
    pub fn tree_of(&self, digest: &Digest) -> Result<Option<Tree>> {
        self.listing(digest)
    }

    /// Keeps the list of a source folder's items, though not its files: so a later look can say which of them changed.
    ///
    /// # Errors
    /// When the cache cannot be written; a folder whose items are no longer known ([`Error::is_changed`]).
    pub fn keep_listing(&self, scan: &Fingerprint) -> Result<()> {
        let place = self.place(LISTINGS, &scan.output().digest);
        match crate::files::look(&place)? {
            Some(_) => Ok(()),
            None => self.store(What::Tree, &place, scan.tree()?),
        }
    }

    /// The part of a tree that the patterns select (see [`Tree::filter`]). Remembered on disk, and answered without the
    /// objects of the tree.
    ///
    /// # Errors
    /// An invalid pattern; a tree whose listing is gone.
    pub fn subtree(&self, tree: &Output, patterns: &[String]) -> Result<Output> {
        if tree.kind != Kind::Tree {
            return Err(Error::new(format!("{} is a file: no part of it can be selected", tree.digest)));
        }
        self.part(tree, patterns, || Ok(Cow::Owned(self.tree(tree)?)))
    }

    /// Whether [`Cache::subtree`] has an answer: it is remembered, or the files of the tree are listed here. Of a result that came with its record
    /// alone they are not.
    ///
    /// # Errors
    /// When the cache cannot be read.
    pub fn has_subtree(&self, tree: &Output, patterns: &[String]) -> Result<bool> {
        let (path, patterns) = self.subtree_path(tree, patterns);
        // For a file, too: the answer is then an error.
        Ok(patterns.is_empty()
            || tree.kind != Kind::Tree
            || self.known_part(tree, &path, &patterns)?.is_some()
            || self.listing(&tree.digest)?.is_some())
    }

    /// As [`Cache::subtree`], of a source folder as it was when it was fingerprinted. Its files need not be in the cache.
    ///
    /// # Errors
    /// An invalid pattern.
    pub fn subtree_from_scan(&self, scan: &Fingerprint, patterns: &[String]) -> Result<Output> {
        self.part(scan.output(), patterns, || scan.tree().map(Cow::Borrowed))
    }

    /// Makes sure that the selected part of a tree is there as a folder, and gives its place.
    ///
    /// # Errors
    /// As [`Cache::subtree`], and when an object is missing: make the tree again then.
    pub fn realise_subtree(&self, tree: &Output, patterns: &[String]) -> Result<PathBuf> {
        let output = self.subtree(tree, patterns)?;
        let (part, output) = match self.listing(&output.digest)? {
            Some(part) => (part, output),
            None if patterns.is_empty() => (self.tree(tree)?, output),
            None => {
                let (path, patterns) = self.subtree_path(tree, patterns);
                self.make_subtree(tree, &self.tree(tree)?, &path, patterns)?
            }
        };
        self.realise(&part, &output, Some(&self.path(tree)))
    }

    /// Stores the selected part of a source folder as it was when it was fingerprinted, and gives its place.
    ///
    /// # Errors
    /// As [`Cache::subtree_from_scan`] and [`Cache::put_tree_from_scan`].
    pub fn realise_subtree_from_scan(&self, scan: &Fingerprint, patterns: &[String]) -> Result<PathBuf> {
        let output = self.subtree_from_scan(scan, patterns)?;
        if !self.is_present(&output)? {
            self.put_from_scan(scan, &scan.tree()?.filter(patterns)?)?;
        }
        Ok(self.path(&output))
    }

    /// Stores files that are in memory as a tree, given as path, content, executable. Does nothing when the tree is there.
    ///
    /// # Errors
    /// As [`Tree::new`], and when the cache cannot be written.
    pub fn put_tree_from_memory(&self, contents: &[(String, &[u8], bool)]) -> Result<Output> {
        let tree = Tree::from_memory(contents)?;
        self.put(&tree, &|path, node, to| {
            let content = contents.iter().find(|(p, ..)| p == path).map_or(&b""[..], |(_, content, _)| content);
            write_sealed(to, content, node.executable)
        })
    }

    /// Stores the files of a source folder as they were when they were fingerprinted.
    ///
    /// # Errors
    /// A file that changed since, by name ([`Error::is_changed`]); when the cache cannot be written.
    pub fn put_tree_from_scan(&self, scan: &Fingerprint) -> Result<Output> {
        self.put_from_scan(scan, scan.tree()?)
    }

    fn put_from_scan(&self, scan: &Fingerprint, part: &Tree) -> Result<Output> {
        self.put(part, &|path, node, to| {
            let from = scan.root().join(path);
            if copy_plain(&from, to)? && seal_and_digest(to, node.executable)?.0 == node.digest {
                return Ok(());
            }
            Err(Error::changed(&from))
        })
    }

    /// Stores a tree whose files `write` writes, sealed, to where it is told.
    fn put(&self, tree: &Tree, write: &(dyn Fn(&str, &FileNode, &Path) -> Result<()> + Sync)) -> Result<Output> {
        let output = tree.output();
        if self.is_present(&output)? {
            return Ok(output);
        }
        let work = self.workspace()?.folder()?;
        let new = work.path().join("new");
        make_folders(&new, tree)?;
        let missing: Vec<(&str, FileNode)> = files(tree)
            .map(|(path, node)| Ok((!self.has_object(&node)?).then_some((path, node))))
            .filter_map(Result::transpose)
            .collect::<Result<_>>()?;
        missing.par_iter().try_for_each(|(path, node)| write(path, node, &new.join(path)))?;
        let place = self.place(LISTINGS, &output.digest);
        let written = work.spare();
        write_new(&written, &self.encoded(What::Tree, tree, &place)?)?;
        self.sync()?;
        missing.par_iter().try_for_each(|(path, node)| self.publish(&new.join(path), node, &work))?;
        self.put_file(&written, &place).map_err(at("store", &place))?;
        self.realise(tree, &output, None)?;
        Ok(output)
    }

    /// The part of a tree that the patterns select, remembered; `whole` gives the items of the tree when it must be made.
    fn part<'a>(
        &self,
        tree: &Output,
        patterns: &[String],
        whole: impl FnOnce() -> Result<Cow<'a, Tree>>,
    ) -> Result<Output> {
        if patterns.is_empty() {
            return Ok(tree.clone());
        }
        let (path, patterns) = self.subtree_path(tree, patterns);
        match self.known_part(tree, &path, &patterns)? {
            Some(known) => Ok(known),
            None => self.make_subtree(tree, &*whole()?, &path, patterns).map(|(_, output)| output),
        }
    }

    /// The part that is remembered at `path`, if it is that of this tree by these patterns.
    fn known_part(&self, tree: &Output, path: &Path, patterns: &[String]) -> Result<Option<Output>> {
        let known = self.load::<Subtree>(What::Subtree, path)?;
        Ok(known.filter(|known| known.of == tree.digest && known.patterns == patterns).map(|known| known.output))
    }

    fn make_subtree(&self, of: &Output, whole: &Tree, at: &Path, patterns: Vec<String>) -> Result<(Tree, Output)> {
        let part = whole.filter(&patterns)?;
        let output = part.output();
        self.store(What::Tree, &self.place(LISTINGS, &output.digest), &part)?;
        self.store(What::Subtree, at, &Subtree { of: of.digest, patterns, output: output.clone() })?;
        Ok((part, output))
    }

    /// Where the answer is remembered, and the patterns sorted: their order means nothing.
    fn subtree_path(&self, tree: &Output, patterns: &[String]) -> (PathBuf, Vec<String>) {
        let mut patterns = patterns.to_vec();
        patterns.sort();
        patterns.dedup();
        let mut name = tree.digest.to_string();
        for pattern in &patterns {
            name.push('\0');
            name.push_str(pattern);
        }
        (self.place("subtrees", &Digest::of(name.as_bytes())), patterns)
    }

    fn memo_path(&self, name: &str, key: &Key) -> PathBuf {
        self.place("memos", &Digest::of(format!("{key}{name}").as_bytes()))
    }

    fn latest_path(&self, name: &str) -> PathBuf {
        self.place("latest", &Digest::of(name.as_bytes()))
    }
}

/// What is remembered here, for [`crate::fuzz`].
#[cfg(any(test, feature = "fuzz"))]
pub(crate) fn fuzz(bytes: &[u8]) {
    crate::codec::fuzz::<Memo>(What::Memo, bytes);
}
