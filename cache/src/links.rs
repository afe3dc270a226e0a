//! Links outside of the cache that lead to trees in it, which stay as long as those do.

use crate::error::{Result, at};
use crate::files::{digest_of, look};
use crate::{Cache, Digest};
use std::fs;
use std::path::{Path, PathBuf};

/// The folder of links to the links that keep a tree.
pub(crate) const LINKS: &str = "links";

/// What a link outside of the cache leads to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Behind {
    Tree(Digest),
    /// It is no link to a tree, or not there.
    Nothing,
    /// Its folder is not there.
    Unknown,
}

impl Cache {
    /// Keeps the tree to which `link`, an absolute path outside of the cache, leads, as long as that is a link to a tree of this cache, however
    /// long nobody uses it.
    ///
    /// # Errors
    /// When the cache cannot be written.
    pub fn keep_behind(&self, link: &Path) -> Result<()> {
        let place = self.place(LINKS, &Digest::of(link.as_os_str().as_encoded_bytes()));
        if look(&place)?.is_some() {
            return Ok(());
        }
        let new = self.workspace()?.fresh();
        std::os::unix::fs::symlink(link, &new).map_err(at("create", &new))?;
        self.rename_into(&new, &place).map_err(at("store", &place))
    }

    /// The links that keep trees, and which tree each leads to.
    pub fn linked(&self) -> Vec<(PathBuf, Digest)> {
        let lead = |path: PathBuf| match self.behind(&path) {
            Behind::Tree(tree) => Some((fs::read_link(&path).ok()?, tree)),
            Behind::Nothing | Behind::Unknown => None,
        };
        self.entries(LINKS).into_iter().filter_map(lead).collect()
    }

    /// What is behind a link to a link.
    pub(crate) fn behind(&self, path: &Path) -> Behind {
        let Ok(link) = fs::read_link(path) else { return Behind::Nothing };
        // What counts is where the link leads, not its text: there may be several ways to the cache.
        let trees = fs::canonicalize(self.root().join("trees")).unwrap_or_default();
        let target = fs::read_link(&link).and_then(fs::canonicalize).ok();
        let tree = target.filter(|target| target.starts_with(&trees)).and_then(|target| digest_of(&target));
        match tree {
            Some(tree) => Behind::Tree(tree),
            // A disk that is not mounted now has its links again when it is.
            None if link.parent().is_some_and(|folder| fs::symlink_metadata(folder).is_err()) => Behind::Unknown,
            None => Behind::Nothing,
        }
    }
}
