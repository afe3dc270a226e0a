//! Links outside of the cache that lead to trees in it, which stay as long as those do.

use super::{Sweep, digest_of};
use crate::error::{Result, at};
use crate::files::{look, rename_into};
use crate::{Cache, Digest};
use std::collections::HashSet;
use std::fs;
use std::path::{Path, PathBuf};

/// Links to the links that keep a tree.
const LINKS: &str = "links";

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
        rename_into(&new, &place).map_err(at("store", &place))
    }

    /// The links that keep trees, and which tree each leads to.
    pub fn linked(&self) -> Vec<(PathBuf, Digest)> {
        let lead = |path: PathBuf| Some((fs::read_link(&path).ok()?, self.behind(&path)?));
        self.entries(LINKS).into_iter().filter_map(lead).collect()
    }

    fn behind(&self, path: &Path) -> Option<Digest> {
        // Not by its text: there may be several ways to the cache.
        let trees = fs::canonicalize(self.root().join("trees")).unwrap_or_default();
        let target = fs::read_link(path).and_then(fs::read_link).and_then(fs::canonicalize).ok();
        target.filter(|target| target.starts_with(&trees)).and_then(|target| digest_of(&target))
    }
}

impl Sweep<'_> {
    /// The trees that links outside of the cache lead to; what is no such link any more is forgotten.
    pub(super) fn behind_links(&mut self) -> Result<HashSet<Digest>> {
        let mut kept = HashSet::new();
        for path in self.entries(LINKS) {
            match self.cache.behind(&path) {
                Some(digest) => drop(kept.insert(digest)),
                None => self.remove(LINKS, &path)?,
            }
        }
        Ok(kept)
    }
}
