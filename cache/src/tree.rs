//! Trees as data: names, kinds and content digests; their digest; the part of them that patterns select.
//!
//! The digest is blake3 in key derivation mode over the number of items and then each item in the order of the bytes of its
//! path: path (length as 8 bytes little-endian, bytes), then `d` for a folder, `f` and the 32 bytes of the digest for a file,
//! `l` and the target (length, bytes) for a symlink. The digest of a file covers its executable bit. Nothing of time, owner,
//! place or the order in which the items were found enters it.
//!
//! Does not know where trees or files lie.

use crate::{Digest, Error, Kind, Output, Result};
use globset::{GlobBuilder, GlobSet, GlobSetBuilder};
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;

const DOMAIN: &str = "quiz-cache 1 tree";

/// What an item of a tree is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Node {
    /// A folder.
    Folder,
    /// A regular file.
    File {
        /// Covers the content and the executable bit.
        digest: Digest,
        /// Bytes.
        size: u64,
        /// Mode 0555 instead of 0444.
        executable: bool,
    },
    /// A symlink.
    Symlink {
        /// What it points at, as it is written.
        target: String,
    },
}

/// A folder with all that is in it. Every folder that an item lies in is an item too; the root is not.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Tree {
    items: Vec<(String, Node)>,
}

impl Tree {
    /// A tree of these items in any order. Folders that are not listed but lie above an item are added.
    ///
    /// # Errors
    /// A path that is given twice, is absolute or empty or has `.` or `..` in it, or that lies below something that is no folder.
    pub fn new(items: impl IntoIterator<Item = (String, Node)>) -> Result<Self> {
        let mut all: Vec<(String, Node)> = items.into_iter().collect();
        all.iter().try_for_each(|(path, _)| check_path(path))?;
        all.sort_by(|(a, _), (b, _)| a.cmp(b));
        if let Some(twice) = all.windows(2).find(|pair| pair[0].0 == pair[1].0) {
            return Err(Error::new(format!("`{}` is in the tree twice", twice[0].0)));
        }
        let mut above = BTreeSet::new();
        let mut last = "";
        for (path, _) in &all {
            // Neighbours mostly lie in the same folder.
            let folder = path.rsplit_once('/').map_or("", |(folder, _)| folder);
            if folder == last {
                continue;
            }
            last = folder;
            for folder in folders_above(path) {
                match find(&all, folder) {
                    Some(Node::Folder) => {}
                    Some(_) => return Err(Error::new(format!("`{folder}` has items below it but is no folder"))),
                    None => drop(above.insert(folder.to_owned())),
                }
            }
        }
        all.extend(above.into_iter().map(|folder| (folder, Node::Folder)));
        all.sort_by(|(a, _), (b, _)| a.cmp(b));
        Ok(Self { items: all })
    }

    /// A tree of files given as path, content, executable. Touches no disk.
    ///
    /// # Errors
    /// As [`Tree::new`].
    pub fn from_memory(files: &[(String, &[u8], bool)]) -> Result<Self> {
        Self::new(files.iter().map(|(path, content, executable)| {
            let digest = Digest::of_file(content, *executable);
            (path.clone(), Node::File { digest, size: content.len() as u64, executable: *executable })
        }))
    }

    /// Path and kind of every item, sorted by the bytes of the path: a folder comes before what lies in it.
    pub fn items(&self) -> &[(String, Node)] {
        &self.items
    }

    /// Digest, size and number of the files of this tree.
    pub fn output(&self) -> Output {
        let mut hasher = blake3::Hasher::new_derive_key(DOMAIN);
        let (mut size, mut files) = (0, 0);
        hasher.update(&(self.items.len() as u64).to_le_bytes());
        for (path, node) in &self.items {
            sized(&mut hasher, path);
            match node {
                Node::Folder => drop(hasher.update(b"d")),
                Node::File { digest, size: bytes, .. } => {
                    hasher.update(b"f").update(digest.as_bytes());
                    size = bytes.saturating_add(size);
                    files += 1;
                }
                Node::Symlink { target } => {
                    hasher.update(b"l");
                    sized(&mut hasher, target);
                }
            }
        }
        Output { kind: Kind::Tree, digest: Digest::finish(&hasher), size, files }
    }

    /// The items that one of the patterns matches, and the folders above them. No patterns: the whole tree. Patterns are
    /// those of [globset](https://docs.rs/globset) with `*` and `?` not crossing a `/`; one that matches a folder selects
    /// the folder itself, and `folder/**` all that is in it.
    ///
    /// # Errors
    /// An invalid pattern.
    pub fn filter(&self, patterns: &[String]) -> Result<Self> {
        if patterns.is_empty() {
            return Ok(self.clone());
        }
        let globs = globs(patterns)?;
        Self::new(self.items.iter().filter(|(path, _)| globs.is_match(path)).cloned())
    }

    /// All of this tree, and what `under` has besides.
    ///
    /// # Errors
    /// Where one has a folder with something in it and the other has none.
    pub(crate) fn laid_over(&self, under: &Self) -> Result<Self> {
        let rest = under.items.iter().filter(|(path, _)| !self.has(path));
        Self::new(self.items.iter().chain(rest).cloned())
    }

    /// Whether the tree has something at this path.
    pub(crate) fn has(&self, path: &str) -> bool {
        find(&self.items, path).is_some()
    }

    /// Whether what came from a disk is a tree as [`Tree::new`] makes it.
    pub(crate) fn is_valid(&self) -> bool {
        let folder = |path: &str| find(&self.items, path) == Some(&Node::Folder);
        self.items.is_sorted_by(|(a, _), (b, _)| a < b)
            && self
                .items
                .iter()
                .all(|(path, _)| path_is_plain(path) && path.rsplit_once('/').is_none_or(|(parent, _)| folder(parent)))
    }
}

/// Finds an item by its path; the items are sorted.
fn find<'a>(items: &'a [(String, Node)], path: &str) -> Option<&'a Node> {
    items.binary_search_by(|(other, _)| other.as_str().cmp(path)).ok().map(|i| &items[i].1)
}

/// Checks that a path lies below the folder that it is from.
pub(crate) fn check_path(path: &str) -> Result<()> {
    if path_is_plain(path) {
        return Ok(());
    }
    Err(Error::new(format!("`{}` is not a path below a folder", path.escape_debug())))
}

fn sized(hasher: &mut blake3::Hasher, text: &str) {
    hasher.update(&(text.len() as u64).to_le_bytes());
    hasher.update(text.as_bytes());
}

fn path_is_plain(path: &str) -> bool {
    path.split('/').all(|name| !matches!(name, "" | "." | "..")) && !path.contains('\0')
}

fn folders_above(path: &str) -> impl Iterator<Item = &str> {
    path.match_indices('/').map(|(i, _)| &path[..i])
}

fn globs(patterns: &[String]) -> Result<GlobSet> {
    let wrong =
        |pattern: &str, e: &globset::Error| Error::new(format!("`{pattern}` is not a path pattern: {}", e.kind()));
    let mut set = GlobSetBuilder::new();
    for pattern in patterns {
        set.add(GlobBuilder::new(pattern).literal_separator(true).build().map_err(|e| wrong(pattern, &e))?);
    }
    set.build().map_err(|e| wrong(e.glob().unwrap_or("?"), &e))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(content: &str, executable: bool) -> Node {
        let digest = Digest::of_file(content.as_bytes(), executable);
        Node::File { digest, size: content.len() as u64, executable }
    }

    fn tree(items: &[(&str, Node)]) -> Tree {
        Tree::new(items.iter().map(|(path, node)| ((*path).to_owned(), node.clone()))).unwrap()
    }

    fn symlink(target: &str) -> Node {
        Node::Symlink { target: target.to_owned() }
    }

    #[test]
    fn golden_digests() {
        let empty = tree(&[]);
        assert_eq!(
            empty.output().digest.to_string(),
            "8b216382671daea2135aae58f85e4accc2a85d99a5f84387adc2ba312c5e6d99"
        );
        let all = tree(&[("bin/sh", file("#!", true)), ("etc/a", file("x", false)), ("lib", symlink("usr/lib"))]);
        let output = all.output();
        assert_eq!(output.digest.to_string(), "44a31eb0a8f4e4a6569cbbeaf569883ff6703e57d5bd36727e7c5866592f24a0");
        assert_eq!((output.size, output.files, all.items().len()), (3, 2, 5));
    }

    #[test]
    fn digest_covers_names_kinds_bits_targets_and_contents_but_not_order() {
        let base = tree(&[("a/b", file("x", false)), ("c", symlink("a"))]);
        assert_eq!(base, tree(&[("c", symlink("a")), ("a/b", file("x", false)), ("a", Node::Folder)]));
        let others = [
            base.clone(),
            tree(&[("a/c", file("x", false)), ("c", symlink("a"))]),
            tree(&[("a/b", file("y", false)), ("c", symlink("a"))]),
            tree(&[("a/b", file("x", true)), ("c", symlink("a"))]),
            tree(&[("a/b", file("x", false)), ("c", symlink("b"))]),
            tree(&[("a/b", file("x", false)), ("c", file("a", false))]),
            tree(&[("a/b", file("x", false)), ("c", Node::Folder)]),
            tree(&[("a/b", Node::Folder), ("c", symlink("a"))]),
            tree(&[("a/b", file("x", false))]),
            tree(&[("ab", file("x", false)), ("c", symlink("a"))]),
            tree(&[("a/b", file("x", false)), ("c", symlink("a")), ("d", Node::Folder)]),
        ];
        let digests: std::collections::BTreeSet<Digest> = others.iter().map(|t| t.output().digest).collect();
        assert_eq!(digests.len(), others.len());
    }

    #[test]
    fn patterns_select_and_keep_the_folders_above() {
        let all = tree(&[
            ("Kconfig", file("1", false)),
            ("fs/Kconfig", file("2", false)),
            ("fs/Kconfig.debug", file("3", false)),
            ("fs/ext4/inode.c", file("4", false)),
            ("scripts/kconfig/conf.c", file("5", false)),
            ("scripts/empty", Node::Folder),
        ]);
        let paths = |patterns: &[&str]| -> Vec<String> {
            let patterns: Vec<String> = patterns.iter().map(|p| (*p).to_owned()).collect();
            all.filter(&patterns).unwrap().items().iter().map(|(path, _)| path.clone()).collect()
        };
        assert_eq!(paths(&["**/Kconfig*"]), ["Kconfig", "fs", "fs/Kconfig", "fs/Kconfig.debug"]);
        assert_eq!(paths(&["*"]), ["Kconfig", "fs", "scripts"]);
        assert_eq!(paths(&["scripts/**"]), ["scripts", "scripts/empty", "scripts/kconfig", "scripts/kconfig/conf.c"]);
        assert_eq!(paths(&["nothing"]), [""; 0]);
        assert_eq!(all.filter(&[]).unwrap(), all);
        assert!(all.filter(&["a[".to_owned()]).unwrap_err().to_string().contains("`a[`"));
    }

    #[test]
    fn what_is_laid_over_a_tree_wins_and_the_rest_stays() {
        let under =
            tree(&[("a/b", file("1", false)), ("a/c", file("2", false)), ("l", symlink("a")), ("e", Node::Folder)]);
        let over = tree(&[("a/b", file("3", true)), ("a/d/e", file("4", false)), ("l", file("5", false))]);
        let both = tree(&[
            ("a/b", file("3", true)),
            ("a/c", file("2", false)),
            ("a/d/e", file("4", false)),
            ("l", file("5", false)),
            ("e", Node::Folder),
        ]);
        assert_eq!(over.laid_over(&under).unwrap(), both);
        assert_eq!(tree(&[]).laid_over(&under).unwrap(), under);
        let error = tree(&[("a", file("", false))]).laid_over(&under).unwrap_err().to_string();
        assert!(error.contains("`a` has items below it"), "{error}");
        assert!(tree(&[("l/x", file("", false))]).laid_over(&under).unwrap().has("l/x"));
    }

    #[test]
    fn paths_that_lead_elsewhere_are_refused() {
        for path in ["", "/a", "a/", "a//b", ".", "../a", "a/../b", "a\0b"] {
            let items = vec![(path.to_owned(), Node::Folder)];
            assert!(Tree::new(items.clone()).is_err(), "{path}");
            assert!(!Tree { items }.is_valid(), "{path}");
        }
        let twice = [("a".to_owned(), Node::Folder), ("a".to_owned(), Node::Folder)];
        assert!(Tree::new(twice.clone()).unwrap_err().to_string().contains("twice"));
        assert!(!Tree { items: twice.to_vec() }.is_valid());
        let below = vec![("a".to_owned(), symlink("/etc")), ("a/b".to_owned(), Node::Folder)];
        assert!(Tree::new(below.clone()).unwrap_err().to_string().contains("no folder"));
        assert!(!Tree { items: below }.is_valid());
        assert!(!Tree { items: vec![("a/b".to_owned(), Node::Folder)] }.is_valid());
        assert!(tree(&[("a-b", Node::Folder), ("a/b", Node::Folder), ("a", Node::Folder)]).is_valid());
    }
}
