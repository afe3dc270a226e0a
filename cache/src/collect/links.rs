//! Links outside of the cache that lead to trees in it, which stay as long as those do.

use super::outside::Behind;
use super::{Sweep, digest_of};
use crate::error::{Result, at};
use crate::files::look;
use crate::needs::PATIENCE;
use crate::{Cache, Digest};
use std::collections::HashSet;
use std::fs;
use std::path::{Path, PathBuf};

/// The folder of links to the links that keep a tree.
pub(super) const LINKS: &str = "links";

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
    pub(super) fn behind(&self, path: &Path) -> Behind {
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

/// Whether that link was made so long ago that what is missing behind it is waited for no longer.
fn is_old(link: &Path) -> Result<bool> {
    let made = look(link)?.and_then(|meta| meta.modified().ok());
    Ok(made.is_some_and(|made| made.elapsed().is_ok_and(|age| age > PATIENCE)))
}

impl Sweep<'_> {
    /// The trees that links outside of the cache lead to; what is no such link any more is forgotten.
    pub(super) fn behind_links(&mut self) -> Result<HashSet<Digest>> {
        let mut kept = HashSet::new();
        for path in self.entries(LINKS) {
            match self.seen.behind(&path) {
                Behind::Tree(digest) => drop(kept.insert(digest)),
                // Somebody may have made it since: what is there now was used just now.
                Behind::Nothing if matches!(self.cache.behind(&path), Behind::Nothing) => self.remove(LINKS, &path)?,
                // Nobody has built there for so long: whoever does makes it again.
                Behind::Unknown if is_old(&path)? => self.remove(LINKS, &path)?,
                Behind::Nothing | Behind::Unknown => {}
            }
        }
        Ok(kept)
    }
}
