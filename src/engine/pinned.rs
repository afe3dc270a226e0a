//! What the sources of stages are pinned to: by quiz.lock, else by what this quiz was tested with, else by what is found today.

use super::{Engine, Stages};
use crate::build::{self, StageState};
use crate::error::Result;
use crate::graph::NodeIndex;
use crate::source::{self, Pin};
use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

impl Engine<'_> {
    /// Pins what is not pinned yet; gives all pins.
    ///
    /// # Errors
    /// quiz.lock cannot be read or written, or nobody has what is asked for.
    pub(super) fn pin(&self, stages: &Stages) -> Result<BTreeMap<NodeIndex, Pin>> {
        let mut pins = pinned_before(stages)?;
        let made = self.made_as_tested(stages, &pins)?;
        for w in stages.wishes.iter().filter(|w| w.dir().is_none()) {
            if let Entry::Vacant(place) = pins.entry(w.id) {
                let is_made = made.contains(&w.id);
                let pin = source::pinned(&w.spec, &w.wish, is_made, &w.lock, &self.source_of(w), self.events);
                place.insert(pin.map_err(|error| w.failed(error))?);
            }
        }
        Ok(pins)
    }

    /// The sources that nobody has pinned yet, and of which the cache has what this quiz was tested with: made here, brought in as a file, or carried
    /// by the program. Where only that is needed, no mirror has to have its packages any more.
    fn made_as_tested(&self, stages: &Stages, pinned: &BTreeMap<NodeIndex, Pin>) -> Result<BTreeSet<NodeIndex>> {
        let mut tested = BTreeMap::new();
        for w in stages.wishes.iter().filter(|w| w.dir().is_none() && !pinned.contains_key(&w.id)) {
            if let Some(pin) = source::tested(&w.wish)? {
                tested.insert(stages.graph.stage(w.id).name.as_str(), (w.id, pin));
            }
        }
        if tested.is_empty() {
            return Ok(BTreeSet::new());
        }
        // They read nothing, so they are all that is looked at: no folder, and no tool of another stage.
        let alone = self.stages(tested.keys().copied())?;
        let of = |id: NodeIndex| tested.get(alone.graph.stage(id).name.as_str());
        let pins = alone.graph.order().into_iter().filter_map(|id| Some((id, of(id)?.1.clone()))).collect();
        let states = build::plan(&self.context(&alone, &self.needed(&alone), pins, BTreeMap::new())?)?;
        let is_known = |state: &StageState| matches!(state, StageState::Known(_));
        Ok(states.into_iter().filter(|(_, state)| is_known(state)).filter_map(|(id, _)| Some(of(id)?.0)).collect())
    }
}

/// What quiz.lock says of the sources. Each file is read once: with its packages it may be long, and several sources are pinned in one.
pub(super) fn pinned_before(stages: &Stages) -> Result<BTreeMap<NodeIndex, Pin>> {
    let mut locks: BTreeMap<&Path, source::Lock> = BTreeMap::new();
    let mut pins = BTreeMap::new();
    for w in stages.wishes.iter().filter(|w| w.dir().is_none()) {
        if !locks.contains_key(w.lock.as_path()) {
            locks.insert(&w.lock, source::Lock::read(&w.lock)?);
        }
        if let Some(pin) = w.pin.as_ref().or_else(|| locks[w.lock.as_path()].get(&w.wish)) {
            pins.insert(w.id, pin.clone());
        }
    }
    Ok(pins)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::{sharing, source_context};
    use crate::load::{FlagValue, Project, Value};
    use quiz_cache::{Built, Entry as Place, Kind, Made};
    use std::time::{Duration, Instant};

    /// A release that brings its agent, or a file of a colleague's: the compilers behind them need not be there any more.
    #[test]
    fn what_is_made_of_the_tested_packages_needs_no_mirror_that_has_them() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("quiz.toml"), "").unwrap();
        let flags = [FlagValue { key: "toolchain.suite", value: Value::Text("bookworm".into()), flag: "--x" }];
        let mut project = Project::load(dir.path(), &flags).unwrap();
        (project.cache_dir, project.config_dir) = (dir.path().join("cache"), dir.path().join("config"));
        let cache = sharing::open(&project).unwrap();
        let source = source_context(&project, cache.own(), dir.path().to_owned(), true);
        let engine = Engine { project, cache, events: &|_| {}, begun: Instant::now(), source };
        let names = ["toolchain:kernel", "toolchain:zfs"];
        let stages = engine.stages(names).unwrap();
        let kernel = stages.graph.find(names[0]).unwrap();
        let made = |pinned| engine.made_as_tested(&stages, &pinned).unwrap();
        assert_eq!(made(BTreeMap::new()), BTreeSet::new(), "the cache has neither");

        let wish = |id| &stages.wishes.iter().find(|w| w.id == id).unwrap().wish;
        let pins = BTreeMap::from([(kernel, source::tested(wish(kernel)).unwrap().unwrap())]);
        let ctx = engine.context(&stages, &engine.needed(&stages), pins.clone(), BTreeMap::new()).unwrap();
        let states = build::plan(&ctx).unwrap();
        let Some((_, StageState::Missing(missing))) = states.into_iter().find(|(id, _)| *id == kernel) else {
            panic!("it is not missing");
        };
        let Place::Miss(slot) = engine.cache.slot(&missing.key, &|_| {}).unwrap() else { panic!("it is there") };
        std::fs::create_dir(slot.out().join("tree")).unwrap();
        let outputs = vec![("tree".to_owned(), Kind::Tree)];
        let (manifest, took, from) = (missing.manifest, Duration::ZERO, Built::FromNothing);
        let (kept, over) = Default::default();
        slot.commit(Made { stage: names[0].into(), outputs, kept, over, manifest, took, from }).unwrap();
        assert_eq!(made(BTreeMap::new()), BTreeSet::from([kernel]));
        assert_eq!(made(pins), BTreeSet::new(), "of what is pinned nobody asks");
        // Without network and without lists, as on a machine that has the agent alone.
        let alone = engine.stages(names.first().copied()).unwrap();
        assert!(engine.pin(&alone).unwrap().values().all(|pin| matches!(pin, Pin::Packages(_))));
    }
}
