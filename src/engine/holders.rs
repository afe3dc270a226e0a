//! Who needs what is in the cache: worktrees, machines that run, guests that crashed, snapshots with a name, pins, and links for editors.
//!
//! Changes nothing, and takes no lock: what begins while it looks is found by the next look.

use super::{crashes, named, running};
use crate::boot::crash::FOLDER;
use crate::boot::running::machines;
use crate::build;
use crate::error::{Error, Result};
use crate::load::project_of;
use quiz_cache::{Cache, Digest, Item, Key, Record, Roots, Sort};
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

/// Somebody who needs something.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Holder {
    /// `quiz cache pin`.
    Pin,
    /// A machine that runs: its folder.
    Run(PathBuf),
    /// A guest that crashed: the folder of its machine.
    Crash(PathBuf),
    /// A snapshot of a project, by its name.
    Snapshot(PathBuf, String),
    /// A link outside of the cache.
    Link(PathBuf),
    /// A project whose folder is there, and one of whose stages this result was last.
    Last(PathBuf),
}

/// Whether a project's folder is there. In a group's cache another user's folder that cannot be looked into counts as there.
fn is_there(cache: &Cache, project: &Path) -> bool {
    match fs::metadata(project) {
        Ok(meta) => meta.is_dir(),
        Err(e) => cache.group().is_some() && e.kind() == std::io::ErrorKind::PermissionDenied,
    }
}

type Holdings<T> = BTreeMap<T, BTreeSet<Holder>>;

/// All holders, by what they hold.
#[derive(Debug, Default)]
pub struct Holders {
    results: Holdings<Key>,
    contents: Holdings<Digest>,
    passing: Holdings<Digest>,
    /// The projects whose crashes are known, by their folders without links.
    crashed: BTreeSet<PathBuf>,
}

impl Holders {
    /// Looks for all that there are.
    ///
    /// # Errors
    /// The cache cannot be read.
    pub fn find(cache: &Cache) -> Result<Self> {
        let unreadable = |e| Error::build("the cache cannot be read").because(e);
        let mut holders = Self::default();
        let mut projects = holders.add_last(cache)?;
        for pin in cache.pins().map_err(unreadable)? {
            holders.results.entry(pin.key).or_default().insert(Holder::Pin);
            pin.needs.into_iter().for_each(|digest| holders.holds(digest, &Holder::Pin));
        }
        for named in cache.all_named().map_err(unreadable)? {
            let holder = Holder::Snapshot(named.owner.clone(), named.name.clone());
            let needs = cache.named_needs(&named).map_err(unreadable)?;
            needs.into_iter().for_each(|digest| holders.holds(digest, &holder));
            projects.insert(named.owner);
        }
        for (link, tree) in cache.linked() {
            holders.holds(tree, &Holder::Link(link));
        }
        for run in running::living(cache)? {
            projects.extend(project_of(&run));
            holders.add_run(cache, &run);
        }
        for need in cache.needs().map_err(unreadable)? {
            // This holds a crash of a project that is not there now, too.
            if need.place.ends_with(FOLDER) && !need.is_gone() {
                let holder = Holder::Crash(need.place.parent().unwrap_or(&need.place).to_owned());
                need.digests.into_iter().for_each(|digest| holders.holds(digest, &holder));
            }
            projects.insert(need.within);
        }
        for project in projects.iter().filter_map(|project| project.canonicalize().ok()) {
            holders.add_crashes(project);
        }
        Ok(holders)
    }

    fn holds(&mut self, digest: Digest, holder: &Holder) {
        self.contents.entry(digest).or_default().insert(holder.clone());
    }

    /// Adds the results that stages of projects were last. Gives the projects whose folders are there.
    fn add_last(&mut self, cache: &Cache) -> Result<BTreeSet<PathBuf>> {
        let mut there: BTreeMap<PathBuf, bool> = BTreeMap::new();
        for last in build::everywhere(cache)? {
            let is_there = *there.entry(last.project.clone()).or_insert_with(|| is_there(cache, &last.project));
            if is_there {
                self.results.entry(last.key).or_default().insert(Holder::Last(last.project));
            }
        }
        Ok(there.into_iter().filter(|(_, is_there)| *is_there).map(|(project, _)| project).collect())
    }

    /// What a run says that its machines consist of, and what their qemu has open.
    fn add_run(&mut self, cache: &Cache, run: &Path) {
        for (place, running) in machines(run) {
            let holder = Holder::Run(place);
            let told = running.layers.iter().chain([&running.kernel]).map(PathBuf::from);
            let open = fs::read_dir(format!("/proc/{}/fd", running.qemu)).into_iter().flatten().flatten();
            let open = open.filter_map(|entry| fs::read_link(entry.path()).ok());
            for path in told.chain(open) {
                let Some(digest) = named::digest(&path) else { continue };
                if path.starts_with(cache.own().join("passing")) {
                    self.passing.entry(digest).or_default().insert(holder.clone());
                } else {
                    self.holds(digest, &holder);
                }
            }
        }
    }

    fn add_crashes(&mut self, project: PathBuf) {
        for run in running::of(&project) {
            for (place, digests) in crashes::needs(&run) {
                let holder = Holder::Crash(place);
                digests.into_iter().for_each(|digest| self.holds(digest, &holder));
            }
        }
        self.crashed.insert(project);
    }

    /// Has the cache remember what crashes need, so that it is known when nothing else is known of their projects any more, or these are not there.
    ///
    /// # Errors
    /// The cache cannot be read or written.
    pub fn remember(&self, cache: &Cache) -> Result<()> {
        for project in &self.crashed {
            for run in running::of(project) {
                crashes::keep(cache, project, &run)?;
            }
        }
        Ok(())
    }

    /// Who needs this.
    #[must_use]
    pub fn of(&self, item: &Item) -> BTreeSet<Holder> {
        match &item.sort {
            Sort::Result(record) => self.of_result(record),
            Sort::Named(named) => BTreeSet::from([Holder::Snapshot(named.owner.clone(), named.name.clone())]),
            Sort::Passing(key) => self.passing.get(key).cloned().unwrap_or_default(),
            Sort::Scratch { .. } | Sort::Other(_) => BTreeSet::new(),
        }
    }

    fn of_result(&self, record: &Record) -> BTreeSet<Holder> {
        let outputs = record.outputs.values().filter_map(|output| self.contents.get(&output.digest));
        self.results.get(&record.key).into_iter().chain(outputs).flatten().cloned().collect()
    }

    /// What a collection leaves: what machines use that run or crashed; with `last` also what stages of projects were last.
    #[must_use]
    pub fn roots(&self, last: bool) -> Roots {
        let is_used = |holder: &Holder| matches!(holder, Holder::Run(_) | Holder::Crash(_));
        let used = |held: &Holdings<Digest>| {
            held.iter().filter(|(_, holders)| holders.iter().any(is_used)).map(|(digest, _)| *digest).collect()
        };
        Roots {
            results: if last { self.results.keys().copied().collect() } else { BTreeSet::new() },
            contents: used(&self.contents),
            passing: used(&self.passing),
        }
    }
}
