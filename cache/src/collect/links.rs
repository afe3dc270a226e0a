//! What of links to its trees a collection leaves, and which trees they keep.

use super::Sweep;
use crate::Digest;
use crate::error::Result;
use crate::files::look;
use crate::links::{Behind, LINKS};
use crate::needs::PATIENCE;
use std::collections::HashSet;
use std::path::Path;

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
