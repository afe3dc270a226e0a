//! The last builds of each worktree: which stages they made, when, and what they were spared.
//!
//! Kept in the cache as one small value for each worktree, which is replaced as a whole: a build that is killed leaves no entry, and never a
//! half one. Only a build that made something is noted, so that a run with nothing to do writes nothing. Does not know how stages are made.

use super::live::has_moved;
use super::{Context, cache_error};
use crate::error::{Error, Result};
use crate::event::Event;
use crate::graph::NodeIndex;
use quiz_cache::{Cache, Key, KeyEncoder, Record};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Instant, SystemTime, UNIX_EPOCH};

/// How many builds of a worktree are kept.
const KEPT: usize = 20;

/// What became of a stage.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum How {
    /// It was made.
    Made,
    /// It failed, or was not done when the build ended.
    Failed,
    /// It was in the cache, and nothing that it reads was made.
    Cached,
    /// Something below it was made, came out as it was, and so this did not have to be: early cutoff.
    Spared,
}

/// A stage in a build.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Ran {
    /// Its name.
    pub stage: String,
    /// What became of it.
    pub how: How,
    /// When it began, in seconds since the build did.
    pub start: f64,
    /// How long it took, in seconds; of what was not made, how long it took when it was.
    pub took: f64,
    /// The stages that it reads and that were made in this build.
    pub behind: Vec<String>,
}

/// A build.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Build {
    /// When it began, in seconds since 1970.
    pub began: u64,
    /// How long it took, in seconds.
    pub took: f64,
    /// Whether all was made that was wanted.
    pub succeeded: bool,
    /// Its stages, in the order in which they began or were found.
    pub stages: Vec<Ran>,
}

impl Build {
    /// The stages that waited for each other until the last one was done, the first one first: what the build could not have been faster than.
    pub fn critical(&self) -> Vec<&str> {
        let ran = || self.stages.iter().filter(|ran| matches!(ran.how, How::Made | How::Failed));
        let last = |ran: &&Ran, other: &&Ran| (ran.start + ran.took).total_cmp(&(other.start + other.took));
        let by_name: BTreeMap<&str, &Ran> = ran().map(|ran| (ran.stage.as_str(), ran)).collect();
        let mut next = ran().max_by(last);
        let mut path = Vec::new();
        while let Some(ran) = next.filter(|ran| !path.contains(&ran.stage.as_str())) {
            path.push(ran.stage.as_str());
            next = ran.behind.iter().filter_map(|name| by_name.get(name.as_str()).copied()).max_by(last);
        }
        path.reverse();
        path
    }

    /// How many stages ended like this, and how many seconds they take together.
    pub fn sum(&self, how: How) -> (usize, f64) {
        let all = self.stages.iter().filter(|ran| ran.how == how);
        all.fold((0, 0.0), |(count, seconds), ran| (count + 1, seconds + ran.took))
    }
}

/// What happened so far in one build.
pub(super) struct History {
    begun: Instant,
    so_far: Mutex<SoFar>,
}

#[derive(Default)]
struct SoFar {
    stages: Vec<Ran>,
    /// Where a stage stands in `stages`.
    places: BTreeMap<NodeIndex, usize>,
    /// The stages that were made in this build, and all that read one of them, directly or not.
    touched: BTreeSet<NodeIndex>,
}

impl SoFar {
    fn put(&mut self, id: NodeIndex, ran: Ran) {
        match self.places.get(&id) {
            Some(place) => self.stages[*place] = ran,
            None => {
                self.places.insert(id, self.stages.len());
                self.stages.push(ran);
            }
        }
    }
}

impl History {
    pub(super) fn new() -> Self {
        Self { begun: Instant::now(), so_far: Mutex::default() }
    }

    pub(super) fn begins(&self, id: NodeIndex, inputs: &[NodeIndex], name: &str) {
        let mut so_far = self.locked();
        let made = inputs.iter().filter_map(|input| so_far.places.get(input)).map(|place| &so_far.stages[*place]);
        let behind = made.filter(|ran| ran.how == How::Made).map(|ran| ran.stage.clone()).collect();
        let start = self.begun.elapsed().as_secs_f64();
        so_far.touched.insert(id);
        so_far.put(id, Ran { stage: name.to_owned(), how: How::Failed, start, took: 0.0, behind });
    }

    pub(super) fn ends(&self, id: NodeIndex, well: bool) {
        let mut so_far = self.locked();
        let now = self.begun.elapsed().as_secs_f64();
        if let Some(place) = so_far.places.get(&id).copied() {
            let ran = &mut so_far.stages[place];
            ran.took = now - ran.start;
            ran.how = if well { How::Made } else { How::Failed };
        }
    }

    pub(super) fn found(&self, id: NodeIndex, inputs: &[NodeIndex], record: &Record) {
        let mut so_far = self.locked();
        let is_touched = inputs.iter().any(|input| so_far.touched.contains(input));
        if so_far.places.contains_key(&id) {
            return;
        }
        if is_touched {
            so_far.touched.insert(id);
        }
        let how = if is_touched { How::Spared } else { How::Cached };
        let (start, took) = (self.begun.elapsed().as_secs_f64(), record.took.as_secs_f64());
        so_far.put(id, Ran { stage: record.stage.clone(), how, start, took, behind: Vec::new() });
    }

    fn locked(&self) -> MutexGuard<'_, SoFar> {
        // The data is usable even if a thread panicked while it held the lock.
        self.so_far.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Notes the build that ended, if it made anything. Of two of one worktree that end at the same moment one may be lost.
pub(super) fn note(ctx: &Context<'_>, error: Option<&Error>) {
    let stages = std::mem::take(&mut *ctx.history.locked()).stages;
    // If a source folder changed while it was read, the walk starts over, and only the last walk is noted.
    let is_over = !error.is_some_and(has_moved);
    if ctx.is_past || !is_over || !stages.iter().any(|ran| matches!(ran.how, How::Made | How::Failed)) {
        return;
    }
    let took = ctx.history.begun.elapsed();
    let began = SystemTime::now().checked_sub(took).and_then(|began| began.duration_since(UNIX_EPOCH).ok());
    let (began, took) = (began.unwrap_or_default().as_secs(), took.as_secs_f64());
    let build = Build { began, took, succeeded: error.is_none(), stages };
    let noted = add(ctx.cache, &ctx.project.dir, build).and_then(|()| {
        // Kept so that `quiz why` can name the files of the next edit.
        ctx.live.values().try_for_each(|live| ctx.cache.keep_listing(live).map_err(cache_error))
    });
    // The history is only shown later: a build does not fail because it cannot be written.
    if let Err(error) = noted {
        (ctx.events)(Event::Note { message: format!("this build is missing from the history of builds: {error}") });
    }
}

fn add(cache: &Cache, project: &Path, build: Build) -> Result<()> {
    let mut all = builds(cache, project)?;
    all.push(build);
    let kept = &all[all.len().saturating_sub(KEPT)..];
    let bytes = serde_json::to_vec(kept).map_err(|e| Error::build("cannot write the history of builds").because(e))?;
    cache.set_memo(&name(project), &key(), &bytes).map_err(cache_error)
}

/// The last builds of the project in this folder, the oldest first.
///
/// # Errors
/// The cache cannot be read.
pub fn builds(cache: &Cache, project: &Path) -> Result<Vec<Build>> {
    let noted = cache.memo(&name(project), &key()).map_err(cache_error)?;
    // What another version of quiz wrote counts as nothing.
    Ok(noted.and_then(|bytes| serde_json::from_slice(&bytes).ok()).unwrap_or_default())
}

fn name(project: &Path) -> String {
    format!("builds of {}", project.display())
}

fn key() -> Key {
    KeyEncoder::new("quiz builds 1").finish().0
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ran(stage: &str, how: How, start: f64, took: f64, behind: &[&str]) -> Ran {
        let behind = behind.iter().map(|name| (*name).to_owned()).collect();
        Ran { stage: stage.into(), how, start, took, behind }
    }

    fn build(began: u64) -> Build {
        let stages = vec![
            ran("old", How::Cached, 0.0, 50.0, &[]),
            ran("kernel", How::Made, 0.0, 5.0, &[]),
            ran("root", How::Made, 0.0, 7.0, &[]),
            ran("modules", How::Made, 5.0, 4.0, &["kernel"]),
            ran("kept", How::Spared, 5.0, 3.0, &[]),
            ran("image", How::Failed, 9.0, 1.0, &["modules", "root"]),
        ];
        Build { began, took: 10.0, succeeded: false, stages }
    }

    #[test]
    fn the_critical_path_is_what_the_last_stage_waited_for() {
        assert_eq!(build(0).critical(), ["kernel", "modules", "image"]);
        assert_eq!((build(0).sum(How::Spared), build(0).sum(How::Cached)), ((1, 3.0), (1, 50.0)));
        let none = Build { stages: Vec::new(), ..build(0) };
        assert!(none.critical().is_empty());
        // A damaged file may say that two stages waited for each other.
        let circle = vec![ran("a", How::Made, 0.0, 1.0, &["b"]), ran("b", How::Made, 0.0, 2.0, &["a"])];
        assert_eq!(Build { stages: circle, ..none }.critical(), ["a", "b"]);
    }

    #[test]
    fn the_last_twenty_builds_of_each_worktree_are_kept() {
        let folder = tempfile::tempdir().unwrap();
        let cache = Cache::open(&folder.path().join("cache")).unwrap();
        let [here, there] = ["/here", "/there"].map(Path::new);
        (0..25).for_each(|began| add(&cache, here, build(began)).unwrap());
        add(&cache, there, build(7)).unwrap();
        let began = |project| builds(&cache, project).unwrap().iter().map(|b| b.began).collect::<Vec<_>>();
        assert_eq!(began(here), (5..25).collect::<Vec<_>>());
        assert_eq!((began(there), began(Path::new("/nowhere"))), (vec![7], vec![]));
        cache.set_memo(&name(there), &key(), b"[{").unwrap();
        assert!(began(there).is_empty());
    }

    #[test]
    fn what_reads_something_made_and_is_found_was_spared() {
        let id = NodeIndex::new;
        let record = |stage: &str| Record {
            key: key(),
            stage: stage.into(),
            outputs: BTreeMap::new(),
            manifest: quiz_cache::Manifest::default(),
            took: std::time::Duration::from_secs(3),
            made_at: 0,
            built: quiz_cache::Built::FromNothing,
        };
        let history = History::new();
        history.found(id(0), &[], &record("source"));
        history.begins(id(1), &[id(0)], "made");
        history.ends(id(1), true);
        history.found(id(2), &[id(1)], &record("spared"));
        history.found(id(3), &[id(2)], &record("above"));
        history.begins(id(4), &[id(1), id(0)], "dies");
        let stages = std::mem::take(&mut *history.locked()).stages;
        let hows: Vec<How> = stages.iter().map(|ran| ran.how).collect();
        assert_eq!(hows, [How::Cached, How::Made, How::Spared, How::Spared, How::Failed]);
        assert_eq!(stages[4].behind, ["made"]);
    }
}
