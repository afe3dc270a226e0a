//! What of named results a collection leaves, and what they need.

use super::Sweep;
use crate::Digest;
use crate::error::Result;
use crate::named::{FILES, FOLDER};
use std::collections::{BTreeSet, HashSet};

impl Sweep<'_> {
    /// What named results need; all of these stay. Files that belong to none are removed in time: whoever made them died before giving them a name.
    pub(super) fn named(&mut self) -> Result<BTreeSet<Digest>> {
        let (mut needs, mut files) = (BTreeSet::new(), HashSet::new());
        for path in self.entries(FOLDER) {
            let Some(known) = self.cache.named_known(&path)? else { continue };
            needs.extend(known.needs);
            files.insert(known.files);
        }
        for path in self.entries(FILES) {
            if !files.contains(&path) && self.is_old(&path)? {
                self.remove(FILES, &path)?;
            }
        }
        Ok(needs)
    }
}
