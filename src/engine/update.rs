//! Looks up anew what the sources of stages stand for, and pins that.

use super::pinned::of_locks;
use super::wishes::SourceWish;
use super::{Engine, Stages};
use crate::error::{Error, Result};
use crate::event::Event;
use crate::load::TOOLCHAIN;
use crate::source;
use std::collections::{BTreeMap, BTreeSet};

impl Engine<'_> {
    /// Pins anew the entries of quiz.lock with these names, or when none is named all of these stages but those of the toolchain. What is
    /// found is told, moved or not.
    ///
    /// # Errors
    /// No source of these stages has such an entry, or it cannot be looked up.
    pub fn update(&self, stages: &Stages, entries: &[String]) -> Result<()> {
        let wishes = &stages.wishes;
        if let Some(wrong) = entries.iter().find(|entry| !wishes.iter().any(|w| w.wish.entry() == *entry)) {
            let known: BTreeSet<&str> = wishes.iter().map(|w| w.wish.entry()).collect();
            return Err(Error::input(format!("nothing that this project fetches is called `{wrong}`"))
                .hint(format!("the entries are: {}", known.into_iter().collect::<Vec<_>>().join(", "))));
        }
        // Other compilers make everything again, so they move only when they are named.
        let is_asked_for = |w: &&SourceWish| match entries {
            [] => w.wish.entry() != TOOLCHAIN,
            named => named.iter().any(|entry| entry == w.wish.entry()),
        };
        let mut seen = BTreeSet::new();
        for w in wishes.iter().filter(is_asked_for) {
            // Two stages may bring parts of what is pinned as one.
            if !seen.insert((&w.lock, w.wish.entry(), w.wish.to_string())) {
                continue;
            }
            if let Some(dir) = w.wish.dir() {
                let message = format!("{} is the folder {}: there is nothing to pin", w.wish.entry(), dir.display());
                (self.events)(if entries.is_empty() { Event::Note { message } } else { Event::Warning { message } });
                continue;
            }
            let before = of_locks(w, &mut BTreeMap::new())?;
            let pin = source::resolve(&w.spec, &w.wish, &self.source_of(w), self.events).map_err(|e| w.failed(e))?;
            // Only facts are compared, since an older quiz did not write where a pin was found.
            let moved = before.map(|(before, _)| before.facts()) != Some(pin.facts());
            let (entry, wanted) = (w.wish.entry().to_owned(), w.wish.to_string());
            let pinned = if moved { pin.to_string() } else { format!("{pin} (as before)") };
            source::replace(&w.lock, &w.wish, pin)?;
            (self.events)(Event::Resolved { entry, wanted, pinned });
        }
        Ok(())
    }
}
