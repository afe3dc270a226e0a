//! `quiz gc` again and again, killed at any time, while worktrees build: each build gets what its files give, nothing is half, and neither
//! waits for the other without end.

use super::crowd::{repository, worktree};
use super::say;
use super::trace::Watch;
use crate::project::{Project, Ran, files};
use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Child, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant, SystemTime};

fn start(project: &Project, dir: &Path, args: &[&str]) -> Child {
    project.command(args).current_dir(dir).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
}

/// One that waits for what does not come ends as killed.
fn end(child: Child) -> Ran {
    let _watch = Watch::new(child.id());
    Ran::from(child.wait_with_output().unwrap())
}

/// How far both sides are.
struct Load {
    /// Worktrees that still build.
    left: AtomicUsize,
    /// Collections that came to their end.
    ended: AtomicUsize,
}

impl Load {
    fn is_built(&self) -> bool {
        self.left.load(Ordering::Relaxed) == 0
    }

    /// Waits for the end of one more collection, for which nobody may build.
    fn let_collect(&self) {
        let (seen, since) = (self.ended.load(Ordering::Relaxed), Instant::now());
        // If a test fails no further collection comes.
        while self.ended.load(Ordering::Relaxed) == seen && since.elapsed() < Duration::from_secs(60) {
            std::thread::sleep(Duration::from_millis(5));
        }
    }
}

/// Builds, and reads what came of it.
fn build(project: &Project, dir: &Path, a: &str) {
    // What nobody holds may be taken between the build's end and this one's look, as nothing here was used lately.
    for _ in 0..20 {
        let ran = end(start(project, dir, &["build", "t-end"]));
        assert_eq!((ran.status, ran.count("warning")), (Some(0), 0), "{a}: {ran:?}");
        let _in_use = in_use(project);
        if let Ok(text) = std::fs::read_to_string(ran.out.trim().split_once(' ').unwrap().1) {
            assert_eq!(text, format!("base\n{a}{a}h\n"), "{ran:?}");
            return;
        }
    }
    panic!("{a}: each of twenty results was gone at once");
}

/// Builds in a worktree, with another source each time.
fn build_on(project: &Project, dir: &Path, n: usize, rounds: usize, load: &Load) {
    /// A builder, until it ends or fails.
    struct Leaves<'a>(&'a Load);
    impl Drop for Leaves<'_> {
        fn drop(&mut self) {
            self.0.left.fetch_sub(1, Ordering::Relaxed);
        }
    }
    let _leaves = Leaves(load);
    for round in 0..rounds {
        // Some results come again: what was removed is made once more.
        let a = format!("a {n} {}\n", round % 7);
        std::fs::write(dir.join("a.c"), &a).unwrap();
        build(project, dir, &a);
        load.let_collect();
    }
}

/// No collection begins until this is dropped.
fn in_use(project: &Project) -> File {
    let cache = File::open(project.cache().join("version")).unwrap();
    cache.lock_shared().unwrap();
    cache
}

/// As if nothing had been used for long, also not by the builds that run.
fn age(project: &Project) {
    let folders = ["records", "manifests", "subtrees"].map(|folder| files(&project.cache().join(folder)));
    for file in folders.iter().flatten().filter_map(|path| File::open(path).ok()) {
        file.set_modified(SystemTime::now() - Duration::from_secs(40 * 24 * 60 * 60)).unwrap();
    }
}

/// Collections until all is built and so many were killed; gives how many came to their end while there was something to build.
fn collect(project: &Project, kills: usize, load: &Load) -> usize {
    let (mut begun, mut killed, mut meanwhile, mut removed) = (0, 0, 0, 0);
    while killed < kills || !load.is_built() {
        age(project);
        let mut child = start(project, &project.dir(), &["gc", "--older-than", "0"]);
        begun += 1;
        if begun % 2 == 0 {
            // Anywhere in what it does, which takes some hundredths of a second.
            std::thread::sleep(Duration::from_millis(begun as u64 * 7 % 40));
            let _ = child.kill();
        }
        let ran = end(child);
        assert!(begun % 2 == 0 || ran.status == Some(0), "{begun}: {ran:?}");
        killed += usize::from(ran.status.is_none());
        if ran.status == Some(0) {
            meanwhile += usize::from(!load.is_built());
            load.ended.fetch_add(1, Ordering::Relaxed);
            let results = ran.out.strip_prefix("removed ").and_then(|rest| rest.split(' ').next());
            removed += results.unwrap().parse::<usize>().unwrap();
        }
    }
    assert!(removed > 0, "there was nothing to collect");
    say(&format!(
        "of {begun} collections {killed} were killed, and {meanwhile} came to their end while there was something to build"
    ));
    meanwhile
}

fn load(worktrees: usize, rounds: usize, kills: usize) {
    let project = repository();
    let dirs: Vec<PathBuf> = (0..worktrees).map(|n| worktree(&project, 3 * n)).collect();
    let load = Load { left: worktrees.into(), ended: 0.into() };
    project.ok(&["build", "t-end"]);
    let meanwhile = std::thread::scope(|scope| {
        for (n, dir) in dirs.iter().enumerate() {
            let (project, load) = (&project, &load);
            scope.spawn(move || build_on(project, dir, n, rounds, load));
        }
        collect(&project, kills, &load)
    });
    assert!(meanwhile >= rounds, "{meanwhile}");
    for (n, dir) in dirs.iter().enumerate() {
        build(&project, dir, &format!("a {n} {}\n", (rounds - 1) % 7));
    }
    assert_eq!(super::whole::wrong(&project), [""; 0]);
}

#[test]
fn collections_while_three_worktrees_build_take_nothing_that_is_needed() {
    load(3, 4, 4);
}

/// `tests/run --full kill`.
#[test]
#[ignore = "some two thousand collections, of which a thousand are killed"]
fn a_thousand_killed_collections_around_builds_in_ten_worktrees_take_nothing_that_is_needed() {
    load(10, 40, 1000);
}
