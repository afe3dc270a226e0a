//! Which runs stay when a new one is made, and who sees their folders.

use super::*;

const FEW: Retention = Retention { plain: 2, with_results: 1, memories: 1 };

fn make(base: &Path) -> PathBuf {
    RunFolder::create(base, FEW).unwrap().path().to_owned()
}

#[test]
fn a_folder_of_the_largest_number_is_no_run() {
    let base = tempfile::tempdir().unwrap();
    fs::create_dir_all(base.path().join(format!("runs/{}", u64::MAX))).unwrap();
    assert_eq!(make(base.path()), base.path().join("runs/1"));
    assert_eq!(make(base.path()), base.path().join("runs/2"));
}

#[test]
fn a_run_begins_in_no_folder_that_is_there_and_waits_for_no_lock_that_is_none() {
    let base = tempfile::tempdir().unwrap();
    let outside = tempfile::tempdir().unwrap();
    let runs = base.path().join("runs");
    fs::create_dir_all(runs.join((u64::MAX - 1).to_string())).unwrap();
    let last = runs.join(u64::MAX.to_string());
    std::os::unix::fs::symlink(outside.path(), &last).unwrap();
    let error = RunFolder::create(base.path(), FEW).unwrap_err().to_string();
    assert!(error.contains(&last.display().to_string()), "{error}");
    assert_eq!(fs::read_dir(outside.path()).unwrap().count(), 0);
    let run = runs.join("1");
    fs::create_dir(&run).unwrap();
    let mode = rustix::fs::Mode::from_raw_mode(0o600);
    rustix::fs::mknodat(rustix::fs::CWD, run.join("lock"), rustix::fs::FileType::Fifo, mode, 0).unwrap();
    assert!(!is_live(&run));
}

#[test]
fn what_has_results_outlives_what_has_none() {
    let base = tempfile::tempdir().unwrap();
    let (test, results) = (make(base.path()), make(base.path()));
    fs::create_dir(test.join("groups")).unwrap();
    fs::write(results.join("out/x"), "").unwrap();
    let plain: Vec<PathBuf> = (0..4).map(|_| make(base.path())).collect();
    assert!(results.exists() && plain[1].exists() && plain[3].exists());
    assert!(!test.exists() && !plain[0].exists(), "there are newer ones");
}

#[test]
fn a_crash_whose_memory_stays_outlives_all_that_went_well_since() {
    let base = tempfile::tempdir().unwrap();
    let crashed = || {
        let run = make(base.path());
        fs::create_dir(run.join(CRASH)).unwrap();
        fs::write(run.join(CRASH).join(MEMORY), "").unwrap();
        run
    };
    let (old, new) = (crashed(), crashed());
    let plain: Vec<PathBuf> = (0..4).map(|_| make(base.path())).collect();
    assert!(new.join(CRASH).join(MEMORY).exists() && plain[1].exists() && plain[3].exists());
    assert!(!old.exists() && !plain[0].exists(), "one memory stays, and two of the others");
}

/// Who looks into machines that go on, again and again, loses no crash by that.
#[test]
fn memories_that_were_asked_for_take_the_place_of_no_crash() {
    let base = tempfile::tempdir().unwrap();
    let kept = |cause: &str| {
        let run = make(base.path());
        fs::create_dir(run.join(CRASH)).unwrap();
        fs::write(run.join(CRASH).join(MEMORY), "").unwrap();
        fs::write(run.join(CRASH).join(ABOUT), format!("{{\"cause\": \"{cause}\", \"title\": \"x\"}}")).unwrap();
        run.join(CRASH).join(MEMORY)
    };
    let (crash, first, second) = (kept("panic"), kept("asked"), kept("asked"));
    make(base.path());
    assert_eq!([crash.exists(), first.exists(), second.exists()], [true, false, true]);
    let lost = kept("lost");
    make(base.path());
    assert_eq!([crash.exists(), lost.exists(), second.exists()], [false, true, true]);
}

#[test]
fn runs_have_folders_of_their_own_that_git_does_not_see() {
    let base = tempfile::tempdir().unwrap();
    let (a, b) = (RunFolder::create(base.path(), FEW).unwrap(), RunFolder::create(base.path(), FEW).unwrap());
    assert_ne!(a.path(), b.path());
    assert!(a.out().is_dir() && b.shared().is_dir());
    assert_eq!(fs::read_to_string(base.path().join(".gitignore")).unwrap(), IGNORE);
}

#[test]
fn the_oldest_finished_runs_are_removed_and_those_that_live_are_not() {
    let base = tempfile::tempdir().unwrap();
    let first = RunFolder::create(base.path(), FEW).unwrap();
    let second = RunFolder::create(base.path(), FEW).unwrap().path().to_owned();
    let rest: Vec<_> = (0..FEW.plain).map(|_| RunFolder::create(base.path(), FEW).unwrap().path().to_owned()).collect();
    RunFolder::create(base.path(), FEW).unwrap();
    assert!(first.path().exists(), "it lives");
    assert_eq!(live(base.path()).unwrap(), [first.path()]);
    assert!(!second.exists(), "it is finished and the oldest");
    assert!(rest[1..].iter().all(|run| run.exists()));
}

#[test]
fn a_part_keeps_its_run_locked() {
    const NONE: Retention = Retention { plain: 0, with_results: 0, memories: 0 };
    let base = tempfile::tempdir().unwrap();
    let part = RunFolder::create(base.path(), NONE).unwrap().part("1").unwrap();
    assert!(part.path().ends_with("runs/1/groups/1") && part.out().is_dir());
    drop(RunFolder::create(base.path(), NONE).unwrap());
    assert!(part.path().exists());
    drop(part);
    RunFolder::create(base.path(), NONE).unwrap();
    assert!(!base.path().join("runs/1").exists());
}

#[test]
fn many_at_once_get_different_numbers() {
    let base = tempfile::tempdir().unwrap();
    let folders: Vec<_> = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..8).map(|_| scope.spawn(|| RunFolder::create(base.path(), FEW).unwrap())).collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).collect()
    });
    let mut ids: Vec<_> = folders.iter().map(RunFolder::id).collect();
    ids.sort();
    ids.dedup();
    assert_eq!(ids.len(), 8);
}
