//! What of needs outside of the cache a collection leaves, and what they keep.

use super::Sweep;
use crate::Digest;
use crate::error::Result;
use crate::needs::{FOLDER, Need, PATIENCE, There};
use std::collections::BTreeSet;
use std::time::SystemTime;

impl Sweep<'_> {
    /// What is needed outside of the cache; what is gone there is forgotten.
    pub(super) fn needed_outside(&mut self) -> Result<BTreeSet<Digest>> {
        let (mut kept, now) = (BTreeSet::new(), SystemTime::now());
        for path in self.entries(FOLDER) {
            let Some(need) = self.cache.need_at(&path)? else {
                self.remove(FOLDER, &path)?;
                continue;
            };
            let missing = match self.there(&path) {
                There::Yes => None,
                There::Missing => Some(need.missing.unwrap_or(now)),
                // Somebody may have made it since.
                There::No if need.look(self.cache.group().is_some()) != There::No => None,
                There::No => {
                    self.remove(FOLDER, &path)?;
                    continue;
                }
            };
            if missing.is_some_and(|since| now.duration_since(since).is_ok_and(|time| time > PATIENCE)) {
                self.remove(FOLDER, &path)?;
                continue;
            }
            kept.extend(&need.digests);
            if missing != need.missing && self.removes() {
                self.cache.store_need(&path, &Need { missing, ..need })?;
            }
        }
        Ok(kept)
    }
}
