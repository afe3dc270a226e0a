//! What the sources of stages are pinned to: by quiz.lock, else by what this quiz was tested with, else by what is found today.

use super::wishes::SourceWish;
use super::{Engine, Stages};
use crate::build::{self, StageState};
use crate::error::Result;
use crate::event::Event;
use crate::graph::NodeIndex;
use crate::source::{self, Pin};
use quiz_cache::Record;
use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

impl Engine<'_> {
    /// Pins what is not pinned yet; gives all pins.
    ///
    /// # Errors
    /// quiz.lock cannot be read or written, or nobody has what is asked for.
    pub(super) fn pin(&self, stages: &Stages) -> Result<BTreeMap<NodeIndex, Pin>> {
        let before = Before::read(stages)?;
        // From now on these stand under the name that the wish has, and move by an update of that alone.
        for (w, pin) in before.by_an_older_quiz {
            let pin = source::add(&w.lock, &w.wish, pin)?;
            let (entry, wanted) = (w.wish.entry().to_owned(), w.wish.to_string());
            let pinned = format!("{pin} (as an older quiz pinned it; quiz update {entry} takes today's)");
            (self.events)(Event::Resolved { entry, wanted, pinned });
        }
        let mut pins = before.pins;
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
    /// by the program. Of some only the record came along: that does where all that would be made of them is known as well. No mirror has to have
    /// their packages any more.
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
        let (mut here, mut named) = (BTreeSet::new(), Vec::new());
        for (id, state) in states {
            let (StageState::Known(record), Some((id, _))) = (state, of(id)) else { continue };
            if self.is_here(&record) {
                here.insert(*id);
            } else {
                named.push(*id);
            }
        }
        if !named.is_empty() {
            let mut pins = pinned.clone();
            pins.extend(tested.into_values());
            let live = self.scan(stages, &mut BTreeMap::new())?;
            let states = build::plan(&self.context(stages, &self.needed(stages), pins, live)?)?;
            let needed = self.needed_to_make(stages, &states);
            here.extend(named.into_iter().filter(|id| !needed.contains(id)));
        }
        Ok(here)
    }

    fn is_here(&self, record: &Record) -> bool {
        record.outputs.values().all(|output| self.cache.is_present(output).unwrap_or(false))
    }

    /// The stages whose outputs have to be here: those that nothing reads, as these are asked for, and what is read by one that has to be made.
    fn needed_to_make(&self, stages: &Stages, states: &[(NodeIndex, StageState)]) -> BTreeSet<NodeIndex> {
        let read: BTreeSet<_> = states.iter().flat_map(|(id, _)| stages.graph.inputs(*id)).collect();
        let mut needed: BTreeSet<_> = states.iter().map(|(id, _)| *id).filter(|id| !read.contains(id)).collect();
        // Readers come behind what they read.
        for (id, state) in states.iter().rev() {
            let is_made = match state {
                StageState::Known(record) => !needed.contains(id) || self.is_here(record),
                _ => false,
            };
            if !is_made {
                needed.extend(stages.graph.inputs(*id));
            }
        }
        needed
    }
}

/// What the lock files say of the sources.
struct Before<'w> {
    pins: BTreeMap<NodeIndex, Pin>,
    /// Of these the ones that stand there under a name of before.
    by_an_older_quiz: Vec<(&'w SourceWish, Pin)>,
}

impl<'w> Before<'w> {
    /// Each file is read once: with its packages it may be long, and several sources are pinned in one.
    fn read(stages: &'w Stages) -> Result<Self> {
        let (mut locks, mut pins, mut by_an_older_quiz) = (BTreeMap::new(), BTreeMap::new(), Vec::new());
        for w in stages.wishes.iter().filter(|w| w.dir().is_none()) {
            let found = match &w.pin {
                Some(pin) => Some((pin.clone(), PinName::Present)),
                None => of_locks(w, &mut locks)?,
            };
            let Some((pin, named)) = found else { continue };
            if named == PinName::Former {
                by_an_older_quiz.push((w, pin.clone()));
            }
            pins.insert(w.id, pin);
        }
        Ok(Self { pins, by_an_older_quiz })
    }
}

/// Under which name a pin stands in a lock file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum PinName {
    /// That which the wish has.
    Present,
    /// That which it had in an older quiz.
    Former,
}

impl Stages {
    /// Has what is not made of a folder be made of what this lock file pins, whatever quiz.lock says. Says whether that is something else.
    ///
    /// # Errors
    /// quiz.lock cannot be read.
    pub(super) fn repin(&mut self, lock: &source::Lock) -> Result<bool> {
        let now = pinned_before(self)?;
        let mut is_other = false;
        for w in self.wishes.iter_mut().filter(|w| w.dir().is_none() && !w.is_outside) {
            if let Some(pin) = lock.get(&w.wish).filter(|pin| now.get(&w.id) != Some(pin)) {
                w.pin = Some(pin.clone());
                is_other = true;
            }
        }
        Ok(is_other)
    }
}

/// What quiz.lock says of the sources.
pub(super) fn pinned_before(stages: &Stages) -> Result<BTreeMap<NodeIndex, Pin>> {
    Before::read(stages).map(|before| before.pins)
}

/// What the lock files say of a source, under the name that it has now, or had in an older quiz. Those that were read are in `locks`.
pub(super) fn of_locks<'w>(
    w: &'w SourceWish,
    locks: &mut BTreeMap<&'w Path, source::Lock>,
) -> Result<Option<(Pin, PinName)>> {
    for path in [&w.lock, &w.former] {
        if !locks.contains_key(path.as_path()) {
            locks.insert(path, source::Lock::read(path)?);
        }
    }
    let (now, before) = (&locks[w.lock.as_path()], &locks[w.former.as_path()]);
    let now = now.get(&w.wish).map(|pin| (pin.clone(), PinName::Present));
    Ok(now.or_else(|| before.former(&w.wish).map(|pin| (pin.clone(), PinName::Former))))
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::engine::{sharing, source_context};
    use crate::load::{FlagValue, Project, Value};
    use quiz_cache::{Built, Entry as Place, Kind, Made};
    use std::time::{Duration, Instant};

    /// An engine without network in an empty project in that folder, whose stages run in bookworm's roots; it has a cache and a configuration of its own.
    pub(in crate::engine) fn of_bookworm(dir: &Path) -> Engine<'static> {
        std::fs::write(dir.join("quiz.toml"), "").unwrap();
        let flags = [FlagValue { key: "toolchain.suite", value: Value::Text("bookworm".into()), flag: "--x" }];
        let mut project = Project::load(dir, &flags).unwrap();
        (project.cache_dir, project.config_dir) = (dir.join("cache"), dir.join("config"));
        let cache = sharing::open(&project).unwrap();
        let source = source_context(&project, cache.own(), dir.to_owned(), true);
        Engine { project, cache, events: &|_| {}, begun: Instant::now(), source }
    }

    /// Puts a result into the cache that a stage would have with what is tested: empty, whatever it is.
    fn known(engine: &Engine<'_>, stages: &Stages, name: &str, outputs: &[&str]) -> Record {
        let id = stages.graph.find(name).unwrap();
        let tested = |w: &SourceWish| Some((w.id, source::tested(&w.wish).unwrap()?));
        let pins = stages.wishes.iter().filter_map(tested).collect();
        let states =
            build::plan(&engine.context(stages, &engine.needed(stages), pins, BTreeMap::new()).unwrap()).unwrap();
        let Some((_, StageState::Missing(missing))) = states.into_iter().find(|(other, _)| *other == id) else {
            panic!("{name} is not missing");
        };
        let Place::Miss(slot) = engine.cache.slot(&missing.key, &|_| {}).unwrap() else { panic!("it is there") };
        let is_tree = |output: &str| output == "tree";
        for output in outputs {
            let path = slot.out().join(output);
            if is_tree(output) { std::fs::create_dir(path).unwrap() } else { std::fs::write(path, "").unwrap() }
        }
        let kind = |output: &&str| if is_tree(output) { Kind::Tree } else { Kind::File };
        let outputs = outputs.iter().map(|output| ((*output).to_owned(), kind(output))).collect();
        let (manifest, took, from) = (missing.manifest, Duration::ZERO, Built::FromNothing);
        let (kept, over) = Default::default();
        slot.commit(Made { stage: name.into(), outputs, kept, over, manifest, took, from }).unwrap()
    }

    /// A release that brings its agent, or a file of a colleague's: the compilers behind them need not be there any more.
    #[test]
    fn what_is_made_of_the_tested_packages_needs_no_mirror_that_has_them() {
        let dir = tempfile::tempdir().unwrap();
        let engine = of_bookworm(dir.path());
        let names = ["toolchain:kernel", "toolchain:zfs"];
        let stages = engine.stages(names).unwrap();
        let kernel = stages.graph.find(names[0]).unwrap();
        let made = |pinned| engine.made_as_tested(&stages, &pinned).unwrap();
        assert_eq!(made(BTreeMap::new()), BTreeSet::new(), "the cache has neither");

        let wish = |id| &stages.wishes.iter().find(|w| w.id == id).unwrap().wish;
        let pins = BTreeMap::from([(kernel, source::tested(wish(kernel)).unwrap().unwrap())]);
        let record = known(&engine, &stages, names[0], &["tree"]);
        assert_eq!(made(BTreeMap::new()), BTreeSet::from([kernel]));
        assert_eq!(made(pins), BTreeSet::new(), "of what is pinned nobody asks");
        // Without network and without lists, as on a machine that has the agent alone.
        let alone = engine.stages(names.first().copied()).unwrap();
        assert!(engine.pin(&alone).unwrap().values().all(|pin| matches!(pin, Pin::Packages(_))));
        // Of a record alone nothing can be made.
        std::fs::remove_dir_all(engine.cache.path(&record.outputs["tree"])).unwrap();
        assert_eq!(made(BTreeMap::new()), BTreeSet::new());
        let agents = engine.stages(["agent"]).unwrap();
        assert_eq!(
            engine.made_as_tested(&agents, &BTreeMap::new()).unwrap(),
            BTreeSet::new(),
            "the agent is to be made"
        );
        let agent = known(&engine, &agents, "agent", &["tree"]);
        let root = agents.graph.find(names[0]).unwrap();
        assert_eq!(engine.made_as_tested(&agents, &BTreeMap::new()).unwrap(), BTreeSet::from([root]));
        std::fs::remove_dir_all(engine.cache.path(&agent.outputs["tree"])).unwrap();
        assert_eq!(
            engine.made_as_tested(&agents, &BTreeMap::new()).unwrap(),
            BTreeSet::new(),
            "it is to be made again"
        );
    }
}
