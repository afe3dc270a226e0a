//! Collections to a size: what was used longest ago goes until the rest fits.
//!
//! What would go is found out while others work; only the removal itself keeps them waiting.

use super::empty::{Step, empty};
use super::outside::Seen;
use super::{Collected, DAY, Roots};
use crate::error::Result;
use crate::files::{blocks_below, look};
use crate::objects::LISTINGS;
use crate::scratch::folders;
use crate::{Cache, Held};
use std::collections::BTreeSet;
use std::path::PathBuf;
use std::time::{Duration, SystemTime};

/// What a collection to a size came to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fitted {
    /// What it removed, or would.
    pub collected: Collected,
    /// Bytes on the disk that the cache has then.
    pub left: u64,
}

/// The use of what a collection may take, and what it comes to.
struct Cut {
    /// Bytes on the disk of the cache.
    all: u64,
    /// What was used last before that goes; nothing if all of it fits.
    before: Option<SystemTime>,
}

impl Cache {
    /// Removes what was used longest ago until nine tenths of `most` bytes are left, if there are more than `most`. What was used in the
    /// last day stays whatever it takes. Else as [`Cache::collect`].
    ///
    /// # Errors
    /// As [`Cache::collect`].
    pub fn collect_to(&self, most: u64, roots: &Roots, only_look: bool, told: &dyn Fn(Step)) -> Result<Fitted> {
        let now = SystemTime::now();
        let seen = Seen::look(self)?;
        let cut = self.cut(most, roots, &seen, now)?;
        if cut.before.is_none() {
            return Ok(Fitted { collected: Collected::new(), left: cut.all });
        }
        let alone = self.lock(true, &|| told(Step::Waiting))?;
        self.fit(&cut, roots, only_look, (&seen, alone), told)
    }

    /// The same for when nobody asked: `None` when somebody holds the cache, or `roots` gives nothing, and nothing goes then. It is asked while others
    /// work, since it may look into folders on a server that does not answer. What begins to use something after that is noted as using it, too late for
    /// that to go; pins and names are read once more.
    ///
    /// # Errors
    /// As [`Cache::collect`].
    pub fn collect_quietly(&self, most: u64, roots: &dyn Fn() -> Option<Roots>) -> Result<Option<Fitted>> {
        let now = SystemTime::now();
        let seen = Seen::look(self)?;
        let Some(roots) = roots() else { return Ok(None) };
        let cut = self.cut(most, &roots, &seen, now)?;
        if cut.before.is_none() {
            return Ok(Some(Fitted { collected: Collected::new(), left: cut.all }));
        }
        let Some(alone) = self.try_alone()? else { return Ok(None) };
        self.fit(&cut, &roots, false, (&seen, alone), &|_| {}).map(Some)
    }

    fn fit(
        &self,
        cut: &Cut,
        roots: &Roots,
        only_look: bool,
        (seen, alone): (&Seen, Held),
        told: &dyn Fn(Step),
    ) -> Result<Fitted> {
        let before = cut.before.unwrap_or(SystemTime::UNIX_EPOCH);
        let (collected, bin) = self.sweep(before, roots, only_look, seen)?;
        empty(bin, alone, told)?;
        let left = cut.all.saturating_sub(freed(&collected));
        Ok(Fitted { collected, left })
    }

    /// How far back what is used has to go, of what there was `now`. Removes nothing.
    fn cut(&self, most: u64, roots: &Roots, seen: &Seen, now: SystemTime) -> Result<Cut> {
        let all = blocks_below(self.root());
        if all <= most {
            return Ok(Cut { all, before: None });
        }
        let too_many = all - most / 10 * 9;
        let times: Vec<SystemTime> = self.uses(now).into_iter().collect();
        // What was used before the time `enough` would free enough, what was used before `little` would not.
        let (mut little, mut enough) = (0, times.len());
        while enough - little > 1 {
            let middle = enough.midpoint(little);
            match freed(&self.sweep(times[middle - 1], roots, true, seen)?.0) >= too_many {
                true => enough = middle,
                false => little = middle,
            }
        }
        Ok(Cut { all, before: enough.checked_sub(1).map(|last| times[last]) })
    }

    /// Each time behind which something was not used any more, the oldest first, up to two days ago: what was used in the last day may be noted as used
    /// a day before that.
    fn uses(&self, now: SystemTime) -> BTreeSet<SystemTime> {
        let latest = now - DAY - DAY;
        let used = |path: PathBuf| look(&path).ok().flatten()?.modified().ok();
        let plain = ["records", "subtrees", LISTINGS].into_iter().flat_map(|folder| self.entries(folder));
        let scratch = self.entries("scratch").into_iter().flat_map(|family| folders(&family));
        let passing = self.entries("passing").into_iter().map(|folder| folder.join("index"));
        // The times of folders of files that are written to, and of other things, are never the only ones.
        let times = plain.chain(scratch).chain(passing).filter_map(used);
        let behind = times.map(|time| time + Duration::from_nanos(1)).filter(|time| *time < latest);
        behind.chain([latest]).collect()
    }
}

fn freed(collected: &Collected) -> u64 {
    collected.values().map(|count| count.bytes).sum()
}
