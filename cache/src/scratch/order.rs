//! The times in a scratch folder. A build tool tells by them what is out of date, so they must not follow a clock that is set back.
//!
//! All that lies in the folder is older than the moment at which a sync begins; only then does a file that changed, with that
//! moment as its time, count as newer than all that was built before. Where something is not older, since the clock was set back
//! or a tool wrote a time to come, it is moved into the past: no further than needed, and order and equality stay. What lies
//! outside of the folder, say the system's headers, is compared with times that are near the true ones.
//!
//! Does not know what is brought in or built.

use super::{Item, Scratch, Stat};
use crate::error::{Result, at};
use rustix::fs::{AtFlags, CWD, Timespec, Timestamps, UTIME_OMIT, utimensat};
use std::collections::{BTreeMap, HashSet};
use std::fs::{self, File, Metadata};
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant, SystemTime};

/// Seconds since 1970 and nanoseconds.
pub(super) type Time = (i64, i64);

/// The file that is there while times are moved: half of that is no order.
pub(super) const MOVING: &str = "moving";
/// Between two times that were different, in nanoseconds: all file systems that keep more than seconds keep this.
const STEP: i64 = 1_000;
const SECOND: i64 = 1_000_000_000;
/// A clock that is only slowed down, by a tenth at most (chrony's `maxslewrate` is 8 %), is never seen to go back.
const SLOWEST: f64 = 0.9;
const UNSURE: Duration = Duration::from_millis(50);

/// When a build began, by the clock that can be set and by the one that cannot.
#[derive(Debug, Clone, Copy)]
pub(super) struct Began {
    pub(super) wall: SystemTime,
    steady: Instant,
}

impl Began {
    pub(super) fn now() -> Self {
        Self { wall: SystemTime::now(), steady: Instant::now() }
    }

    /// Whether the clock was set back since, by more than can be told from a slow one.
    pub(super) fn was_set_back(&self) -> bool {
        let least = self.steady.elapsed().mul_f64(SLOWEST).saturating_sub(UNSURE);
        SystemTime::now() < self.wall + least
    }
}

impl Scratch {
    /// Makes everything in the folder older than now, and says when that is, by the clock of the file system. A folder in which
    /// that cannot be is emptied.
    pub(super) fn settle(&mut self) -> Result<SystemTime> {
        let is_settled = match self.move_back() {
            Err(e) if e.io_kind() == Some(io::ErrorKind::PermissionDenied) => false,
            other => other?,
        };
        if !is_settled {
            self.start_empty()?;
        }
        clock(&self.folder)
    }

    /// Moves the times back. `false`: the file system did not take a time as it was given.
    fn move_back(&mut self) -> Result<bool> {
        let mut all: BTreeMap<Time, Vec<PathBuf>> = BTreeMap::new();
        let work = self.path();
        for (path, meta) in self.left_but(&HashSet::new())? {
            all.entry(time(&meta)).or_default().push(path);
        }
        let now = clock(&self.folder).map(time_of)?;
        let moves = before(now, all.keys().rev().copied());
        if moves.is_empty() {
            return Ok(true);
        }
        let mark = self.folder.join(MOVING);
        File::create(&mark).map_err(at("create", &mark))?;
        let mut items = self.items.clone().unwrap_or_default();
        for (old, new) in moves {
            for path in &all[&old] {
                let full = work.join(path);
                let there = fs::symlink_metadata(&full).map_err(at("look at", &full))?;
                set_time(&full, new)?;
                let now = fs::symlink_metadata(&full).map_err(at("look at", &full))?;
                if time(&now) != new {
                    return Ok(false);
                }
                let known = path.to_str().and_then(|path| items.binary_search_by(|(p, _)| p.as_str().cmp(path)).ok());
                if let Some(Item::File { stat, .. }) = known.map(|i| &mut items[i].1)
                    && *stat == Stat::of(&there)
                {
                    *stat = Stat::of(&now);
                }
            }
        }
        if self.items.is_some() {
            self.save(items)?;
        }
        fs::remove_file(&mark).map_err(at("remove", &mark))?;
        Ok(true)
    }

    /// What lies in the folder and was not brought in, a folder before what is in it, by path below [`Scratch::path`]. What a sync
    /// that died had not finished is removed.
    pub(super) fn left(&self) -> Result<Vec<(PathBuf, Metadata)>> {
        self.left_but(&self.items.iter().flatten().map(|(path, _)| path.as_str()).collect())
    }

    fn left_but(&self, ours: &HashSet<&str>) -> Result<Vec<(PathBuf, Metadata)>> {
        let mut left = Vec::new();
        collect(&self.path(), Path::new(""), ours, &mut left)?;
        Ok(left)
    }
}

fn collect(work: &Path, below: &Path, ours: &HashSet<&str>, left: &mut Vec<(PathBuf, Metadata)>) -> Result<()> {
    let folder = work.join(below);
    for entry in fs::read_dir(&folder).map_err(at("read the folder", &folder))? {
        let entry = entry.map_err(at("read the folder", &folder))?;
        let (path, full) = (below.join(entry.file_name()), entry.path());
        let is_folder = entry.file_type().map_err(at("look at", &full))?.is_dir();
        if !is_folder && path.to_str().is_some_and(|path| ours.contains(path)) {
            continue;
        }
        if !is_folder && entry.file_name().as_encoded_bytes().starts_with(super::UNFINISHED.as_bytes()) {
            fs::remove_file(&full).map_err(at("remove", &full))?;
            continue;
        }
        let meta = entry.metadata().map_err(at("look at", &full))?;
        left.push((path.clone(), meta));
        if is_folder {
            collect(work, &path, ours, left)?;
        }
    }
    Ok(())
}

/// Which of these times, latest first, have to move so that all are before `end`, each with its new time.
fn before(end: Time, latest_first: impl Iterator<Item = Time>) -> Vec<(Time, Time)> {
    let mut moves = Vec::new();
    let mut end = end;
    for time in latest_first {
        if time < end {
            break;
        }
        end = if end.1 < STEP { (end.0 - 1, end.1 + SECOND - STEP) } else { (end.0, end.1 - STEP) };
        moves.push((time, end));
    }
    moves
}

/// Now, by the clock with which the file system stamps what is written.
pub(super) fn clock(folder: &Path) -> Result<SystemTime> {
    let probe = folder.join("clock");
    let _ = fs::remove_file(&probe);
    let now = File::create_new(&probe).and_then(|file| file.metadata()?.modified());
    let now = now.map_err(at("create", &probe))?;
    fs::remove_file(&probe).map_err(at("remove", &probe))?;
    Ok(now)
}

pub(super) fn time(meta: &Metadata) -> Time {
    (meta.mtime(), meta.mtime_nsec())
}

pub(super) fn time_of(time: SystemTime) -> Time {
    let parts = |since: Duration| (i64::try_from(since.as_secs()).unwrap_or(i64::MAX), i64::from(since.subsec_nanos()));
    match time.duration_since(SystemTime::UNIX_EPOCH) {
        Ok(since) => parts(since),
        Err(e) => match parts(e.duration()) {
            (seconds, 0) => (-seconds, 0),
            (seconds, nanoseconds) => (-seconds - 1, SECOND - nanoseconds),
        },
    }
}

/// Sets the modification time of the path itself.
pub(super) fn set_time(path: &Path, (tv_sec, tv_nsec): Time) -> Result<()> {
    let times = Timestamps {
        last_access: Timespec { tv_sec: 0, tv_nsec: UTIME_OMIT },
        last_modification: Timespec { tv_sec, tv_nsec },
    };
    utimensat(CWD, path, &times, AtFlags::SYMLINK_NOFOLLOW).map_err(at("set the time of", path))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_to_come_move_below_now_and_only_what_is_in_their_way_moves_with_them() {
        let times = [(9, 5), (8, 0), (5, 999_999_500), (5, 0)];
        let moved = before((6, 0), times.into_iter());
        // The third is not in the future, but the second one's new place is no longer behind it.
        let new = [(5, 999_999_000), (5, 999_998_000), (5, 999_997_000)];
        assert_eq!(moved, times.into_iter().zip(new).collect::<Vec<_>>());
        assert_eq!(before((6, 0), [(5, 999_999_999)].into_iter()), []);
        assert_eq!(before((6, 0), [(6, 0)].into_iter()), [((6, 0), (5, 999_999_000))]);
    }

    #[test]
    fn a_clock_that_is_set_back_is_told_from_a_slow_one() {
        let ago = |wall: u64, steady: u64| Began {
            wall: SystemTime::now() - Duration::from_secs(wall),
            steady: Instant::now() - Duration::from_secs(steady),
        };
        assert!(
            ago(40, 60).was_set_back() && Began { wall: SystemTime::now() + UNSURE * 2, ..Began::now() }.was_set_back()
        );
        for (wall, steady) in [(60, 60), (56, 60), (4000, 60), (0, 0)] {
            assert!(!ago(wall, steady).was_set_back(), "{wall} {steady}");
        }
    }

    #[test]
    fn times_before_1970_are_times() {
        assert_eq!(time_of(SystemTime::UNIX_EPOCH - Duration::from_nanos(1)), (-1, 999_999_999));
        assert_eq!(time_of(SystemTime::UNIX_EPOCH - Duration::from_secs(2)), (-2, 0));
        assert_eq!(time_of(SystemTime::UNIX_EPOCH + Duration::from_millis(1500)), (1, 500_000_000));
    }
}
