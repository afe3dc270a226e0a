//! How far a run of groups is: how many tests ended, and how long the rest will take, by how long each group took when it was last run, whatever
//! it tested then. A group of which nothing is known takes as long as the others do for so many tests.
//!
//! Decides nothing: if the cache cannot remember a time, it is only not told.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use quiz_cache::{Cache, Key, KeyEncoder};

use super::group::{Group, GroupEnd};
use crate::event::{Event, Events, Unit};

/// The name under which the cache remembers how long groups took.
const MEMO: &str = "time of a group";

/// All groups of a run.
pub(super) struct Estimate<'a> {
    cache: &'a Cache,
    events: Events<'a>,
    jobs: usize,
    groups: Mutex<Vec<GroupTime>>,
}

/// One group.
#[derive(Debug, Clone, Copy)]
struct GroupTime {
    tests: usize,
    /// How many of them have ended.
    done: usize,
    /// How long it took when it was last run, or now, if it is over.
    took: Option<Duration>,
    began: Option<Instant>,
    is_over: bool,
}

/// One group of the run, to tell of.
#[derive(Clone, Copy)]
pub(super) struct Turn<'a> {
    all: &'a Estimate<'a>,
    number: usize,
}

impl<'a> Estimate<'a> {
    /// `jobs` of them run at a time.
    pub(super) fn new(cache: &'a Cache, groups: &[Group], jobs: usize, events: Events<'a>) -> Self {
        let state = |group: &Group| GroupTime {
            tests: group.tests.len(),
            done: 0,
            took: remembered(cache, &group.name),
            began: None,
            is_over: false,
        };
        Self { cache, events, jobs, groups: Mutex::new(groups.iter().map(state).collect()) }
    }

    pub(super) fn turn(&'a self, number: usize) -> Turn<'a> {
        Turn { all: self, number }
    }

    fn lock(&self) -> MutexGuard<'_, Vec<GroupTime>> {
        self.groups.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Changes one of them, and tells how far all are.
    fn change(&self, number: usize, how: impl FnOnce(&mut GroupTime)) {
        let mut groups = self.lock();
        if let Some(group) = groups.get_mut(number) {
            how(group);
        }
        let count = |of: fn(&GroupTime) -> usize| groups.iter().map(of).sum::<usize>() as u64;
        let (done, total) =
            (count(|group| if group.is_over { group.tests } else { group.done }), count(|group| group.tests));
        let left = left(&groups, self.jobs, Instant::now());
        (self.events)(Event::Progress { what: "tests".to_owned(), unit: Unit::Tests, done, total: Some(total), left });
    }
}

impl Turn<'_> {
    /// Its machine starts.
    pub(super) fn begins(self) {
        self.all.change(self.number, |group| group.began = Some(Instant::now()));
    }

    /// One of its tests ended.
    pub(super) fn test_ended(self) {
        // Never all of them: only the group's own end says that it is over.
        self.all.change(self.number, |group| group.done = (group.done + 1).min(group.tests.saturating_sub(1)));
    }

    /// The group has ended.
    pub(super) fn ends(self, end: &GroupEnd) {
        let took = Some(end.took).filter(|_| end.complete && !end.cached);
        if let Some(took) = took {
            let milliseconds = u64::try_from(took.as_millis()).unwrap_or(u64::MAX);
            let _ = self.all.cache.set_memo(MEMO, &key(&end.name), &milliseconds.to_le_bytes());
        }
        self.all.change(self.number, |group| {
            (group.took, group.is_over) = (took.or(group.took), true);
        });
    }
}

fn key(group: &str) -> Key {
    KeyEncoder::new("quiz time of a group 1").text("group", group).finish().0
}

fn remembered(cache: &Cache, group: &str) -> Option<Duration> {
    let bytes = cache.memo(MEMO, &key(group)).ok().flatten()?;
    Some(Duration::from_millis(u64::from_le_bytes(bytes.try_into().ok()?)))
}

/// How long it takes until all are over: as long as the longest one that is left, and as all of them side by side. One that takes longer than the last
/// time goes on as it went so far. Nothing while nothing is known of any.
fn left(groups: &[GroupTime], jobs: usize, now: Instant) -> Option<Duration> {
    let known = groups.iter().filter_map(|group| Some((group.took?, group.tests)));
    let (took, tests) =
        known.fold((Duration::ZERO, 0), |(took, tests), one| (took.saturating_add(one.0), tests + one.1));
    let each = took.checked_div(u32::try_from(tests).ok()?)?;
    let rest = |group: &GroupTime| {
        let all = group.took.unwrap_or_else(|| each.saturating_mul(u32::try_from(group.tests).unwrap_or(u32::MAX)));
        let spent = group.began.map_or(Duration::ZERO, |began| now.saturating_duration_since(began));
        if spent <= all {
            return all - spent;
        }
        let count = |tests: usize| u32::try_from(tests).unwrap_or(u32::MAX);
        spent.saturating_mul(count(group.tests.saturating_sub(group.done))) / count(group.done.max(1))
    };
    let rests = || groups.iter().filter(|group| !group.is_over).map(rest);
    let sum = rests().fold(Duration::ZERO, Duration::saturating_add);
    let shared = sum.checked_div(u32::try_from(jobs).unwrap_or(u32::MAX)).unwrap_or(sum);
    Some(rests().max().unwrap_or_default().max(shared))
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn seconds(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    fn state(tests: usize, took: Option<u64>) -> GroupTime {
        GroupTime { tests, done: 0, took: took.map(seconds), began: None, is_over: false }
    }

    #[test]
    fn what_is_left_is_what_they_took_last_time_side_by_side_and_no_less_than_the_longest() {
        let now = Instant::now();
        assert_eq!(left(&[state(3, None)], 2, now), None, "nothing is known");
        let groups = [state(1, Some(10)), state(1, Some(20)), state(2, None)];
        // Of the third nothing is known but its two tests, of 15 seconds each.
        assert_eq!(left(&groups, 1, now), Some(seconds(60)));
        assert_eq!(left(&groups, 2, now), Some(seconds(30)));
        assert_eq!(left(&groups, 9, now), Some(seconds(30)), "as long as the longest");
        let running =
            [GroupTime { began: Some(now), ..groups[0] }, GroupTime { is_over: true, ..groups[1] }, groups[2]];
        assert_eq!(left(&running, 1, now + seconds(4)), Some(seconds(36)));
        // Late: three of its four tests are left, and one took eight seconds.
        let late = [GroupTime { began: Some(now), done: 1, ..state(4, Some(4)) }];
        assert_eq!(left(&late, 1, now + seconds(4)), Some(seconds(0)));
        assert_eq!(left(&late, 1, now + seconds(8)), Some(seconds(24)));
        let late = [GroupTime { began: Some(now), ..state(4, Some(4)) }];
        assert_eq!(left(&late, 1, now + seconds(8)), Some(seconds(32)), "as if the first ended now");
    }

    #[test]
    fn a_run_tells_of_each_test_and_remembers_how_long_groups_took_that_ran_to_their_end() {
        let dir = tempfile::tempdir().unwrap();
        let cache = Cache::open(&dir.path().join("cache")).unwrap();
        let groups = Group::of_lines("one\ntwo\n");
        let said = Mutex::new(Vec::new());
        let events = |event| match event {
            Event::Progress { what, unit: Unit::Tests, done, total: Some(2), left } if what == "tests" => {
                said.lock().unwrap().push((done, left));
            }
            other => panic!("{other:?}"),
        };
        let end = |name: &str, complete| GroupEnd {
            name: name.into(),
            folder: "1".into(),
            tests: vec![],
            took: seconds(7),
            complete,
            cached: false,
            allowed: vec![],
        };
        let estimate = Estimate::new(&cache, &groups, 1, &events);
        estimate.turn(0).begins();
        estimate.turn(0).test_ended();
        estimate.turn(0).ends(&end("one", true));
        estimate.turn(1).ends(&end("two", false));
        let zero = Some(Duration::ZERO);
        assert_eq!(*said.lock().unwrap(), [(0, None), (0, None), (1, Some(seconds(7))), (2, zero)]);
        assert_eq!(["one", "two", "three"].map(|name| remembered(&cache, name)), [Some(seconds(7)), None, None]);
    }
}
