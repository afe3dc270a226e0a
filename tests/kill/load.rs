//! `quiz gc` again and again, killed at any time, while worktrees build: each build gets what its files give, nothing is half, and neither
//! waits for the other without end.

use super::crowd::{repository, worktree};
use super::say;
use super::trace::Watch;
use crate::project::{Project, Ran, files};
use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, SystemTime};

fn start(project: &Project, dir: &Path, args: &[&str]) -> Child {
    let quiz = project.command(args);
    let mut command = Command::new(quiz.get_program());
    command.args(quiz.get_args()).current_dir(dir).env_clear();
    command.envs(quiz.get_envs().filter_map(|(name, value)| Some((name, value?)))).stdin(Stdio::null());
    command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
}

/// One that waits for what does not come ends as killed.
fn end(child: Child) -> Ran {
    let _watch = Watch::new(child.id());
    Ran::from(child.wait_with_output().unwrap())
}

/// Builds with another source each time, and reads what came of it.
fn build(project: &Project, dir: &Path, n: usize, rounds: usize) {
    for round in 0..rounds {
        // Some results come again: what was removed is made once more.
        let a = format!("a {n} {}\n", round % 7);
        std::fs::write(dir.join("a.c"), &a).unwrap();
        // Until it was read, as whoever uses a result does.
        let cache = in_use(project);
        let ran = end(start(project, dir, &["build", "t-end"]));
        assert_eq!((ran.status, ran.count("warning")), (Some(0), 0), "{n} {round}: {ran:?}");
        let path = PathBuf::from(ran.out.trim().split_once(' ').unwrap().1);
        let wanted = format!("base\n{a}{a}h\n");
        assert_eq!(std::fs::read_to_string(&path).unwrap(), wanted, "{n} {round}: {ran:?}");
        drop(cache);
    }
}

/// No collection begins until this is dropped.
fn in_use(project: &Project) -> File {
    let cache = File::open(project.cache().join("version")).unwrap();
    cache.lock_shared().unwrap();
    cache
}

/// As if nothing had been used for long. No build runs meanwhile, as its own results are not old.
fn age(project: &Project) {
    let cache = File::open(project.cache().join("version")).unwrap();
    cache.lock().unwrap();
    let folders = ["records", "manifests", "subtrees"].map(|folder| files(&project.cache().join(folder)));
    for file in folders.iter().flatten().filter_map(|path| File::open(path).ok()) {
        file.set_modified(SystemTime::now() - Duration::from_secs(40 * 24 * 60 * 60)).unwrap();
    }
}

/// Collections until all is built and so many were begun, of which every second one is killed; gives how many came to their end.
fn collect(project: &Project, at_least: usize, is_built: &AtomicBool) -> usize {
    let (mut begun, mut ended, mut removed) = (0, 0, 0);
    while begun < at_least || !is_built.load(Ordering::Relaxed) {
        age(project);
        let mut child = start(project, &project.dir(), &["gc", "--older-than", "0"]);
        begun += 1;
        if begun % 2 == 0 {
            // Anywhere in what it does, which takes some hundredths of a second.
            std::thread::sleep(Duration::from_millis(begun as u64 * 7 % 60));
            let _ = child.kill();
        }
        let ran = end(child);
        assert!(begun % 2 == 0 || ran.status == Some(0), "{begun}: {ran:?}");
        ended += usize::from(ran.status == Some(0));
        let results = ran.out.strip_prefix("removed ").and_then(|rest| rest.split(' ').next());
        removed += results.map_or(0, |results| results.parse::<usize>().unwrap());
    }
    assert!(removed > 0, "there was nothing to collect");
    ended
}

/// A builder, until it ends or fails.
struct Leaves<'a> {
    left: &'a AtomicUsize,
    is_built: &'a AtomicBool,
}

impl Drop for Leaves<'_> {
    fn drop(&mut self) {
        if self.left.fetch_sub(1, Ordering::Relaxed) == 1 {
            self.is_built.store(true, Ordering::Relaxed);
        }
    }
}

fn load(worktrees: usize, rounds: usize, collections: usize) {
    let project = repository();
    let dirs: Vec<PathBuf> = (0..worktrees).map(|n| worktree(&project, 3 * n)).collect();
    let (is_built, left) = (AtomicBool::new(false), AtomicUsize::new(worktrees));
    project.ok(&["build", "t-end"]);
    let ended = std::thread::scope(|scope| {
        for (n, dir) in dirs.iter().enumerate() {
            let (project, is_built, left) = (&project, &is_built, &left);
            scope.spawn(move || {
                let _leaves = Leaves { left, is_built };
                build(project, dir, n, rounds);
            });
        }
        collect(&project, collections, &is_built)
    });
    say(&format!("{worktrees} worktrees built {rounds} times; {ended} collections ended, and others were killed"));
    assert!(ended >= collections / 2, "{ended}");
    assert_eq!(super::whole::wrong(&project), [""; 0]);
}

#[test]
fn a_collection_while_three_worktrees_build_takes_nothing_that_is_needed() {
    load(3, 4, 10);
}

/// `tests/run --full kill`.
#[test]
#[ignore = "two thousand collections, half of them killed"]
fn a_thousand_killed_collections_while_ten_worktrees_build_take_nothing_that_is_needed() {
    load(10, 40, 2000);
}
