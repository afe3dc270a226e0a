//! What scratch folders promise when clocks go back, builds die and locks go away: an edit is newer than all that was built, and
//! nothing half is taken.

use super::*;
use std::fs::FileTimes;
use std::sync::mpsc;

const HOUR: Duration = Duration::from_secs(3600);

impl Place {
    fn edited(&self, root: &Path) -> Scratch {
        self.worktree("w", &[("a.c", "edited")]);
        self.sync(root).0
    }
}

/// The folder as it looks after the clock was set back by an hour.
fn set_clock_back(scratch: &Scratch) {
    visit(&scratch.path(), &mut |path, meta| {
        let times = FileTimes::new().set_modified(meta.modified()? + HOUR);
        fs::File::open(path)?.set_times(times)
    })
    .unwrap();
}

fn write(scratch: &Scratch, path: &str, content: impl AsRef<[u8]>) {
    let path = scratch.path().join("tree").join(path);
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(path, content).unwrap();
    std::thread::sleep(Duration::from_millis(10));
}

fn has(scratch: &Scratch, path: &str) -> bool {
    scratch.path().join("tree").join(path).symlink_metadata().is_ok()
}

#[test]
fn an_edit_is_newer_than_what_was_built_though_the_clock_went_back() {
    let place = place();
    let root = place.worktree("w", &[("a.c", "1"), ("b.c", "2")]);
    let (scratch, _) = place.sync(&root);
    // Built one after the other; the folder is a target, too.
    for path in ["gen.h", "a.o", "done/b.o", "same"] {
        write(&scratch, path, path);
    }
    let twin = scratch.path().join("tree/same-too");
    fs::write(&twin, "").unwrap();
    fs::File::open(&twin).unwrap().set_modified(time(&scratch, "same")).unwrap();
    set_clock_back(&scratch);
    drop(scratch);
    let scratch = place.edited(&root);
    let edit = time(&scratch, "a.c");
    let old = ["b.c", "gen.h", "a.o", "done/b.o", "done", "same"].map(|path| time(&scratch, path));
    // Moved to now, and no further: to bring in the edit takes a slow file system seconds.
    assert!(old.iter().all(|time| *time < edit && *time > edit - HOUR), "{edit:?} {old:?}");
    assert!(old[..4].is_sorted_by(|a, b| a < b) && old[4] > old[2] && old[5] == time(&scratch, "same-too"), "{old:?}");
    drop(scratch);
    // What was moved is known, and neither read nor moved again.
    let state = || fs::metadata(place.open(&root).folder.join("state")).unwrap().ino();
    let before = state();
    let (scratch, synced) = place.sync(&root);
    assert_eq!((counts(&synced), time(&scratch, "gen.h")), ((0, 0, false), old[1]));
    drop(scratch);
    assert_eq!(state(), before);
}

#[test]
fn a_move_of_times_that_died_leaves_nothing_that_is_taken() {
    let place = place();
    let root = place.worktree("w", &[("a.c", "1")]);
    let (scratch, _) = place.sync(&root);
    write(&scratch, "a.o", "object");
    fs::write(scratch.folder.join(order::MOVING), "").unwrap();
    drop(scratch);
    let other = place.worktree("other", &[("a.c", "1")]);
    assert!(place.sync(&other).1.fresh, "nobody starts from it");
    let (scratch, synced) = place.sync(&root);
    assert!(!has(&scratch, "a.o") || synced.seeded_from.is_some());
    assert_eq!(synced.seeded_from, Some(other), "{synced:?}");
}

/// All that a build can do to what was there, and then it dies.
#[test]
fn what_a_build_did_that_died_is_undone() {
    let place = place();
    let root = place.worktree("w", &[("a.c", "1"), ("sub/b.c", "2")]);
    let (mut scratch, _) = place.sync(&root);
    for (path, content) in [("a.d", "a.o: a.h"), ("gone", "x"), ("sub/kept", "x"), ("folder/in", "x"), ("file", "x")] {
        write(&scratch, path, content);
    }
    write(&scratch, "a.o", b"\x7fELF a");
    write(&scratch, "old.o", b"\x7fELF old");
    let tree = scratch.path().join("tree");
    std::os::unix::fs::symlink("a.d", tree.join("link")).unwrap();
    fs::set_permissions(tree.join("a.d"), fs::Permissions::from_mode(0o555)).unwrap();
    let look = |path: &str| {
        let meta = fs::symlink_metadata(tree.join(path)).unwrap();
        (meta.modified().unwrap(), meta.mode())
    };
    let paths = ["a.d", "gone", "sub/kept", "folder", "folder/in", "file", "old.o"];
    let before = paths.map(look);

    scratch.begin().unwrap();
    fs::remove_file(tree.join("a.d")).unwrap();
    let with_old_time = [("a.d", "half"), ("new", "x"), ("made/in", "x")];
    for (path, content) in with_old_time {
        write(&scratch, path, content);
        fs::File::open(tree.join(path)).unwrap().set_modified(SystemTime::UNIX_EPOCH).unwrap();
    }
    write(&scratch, "a.o", b"\x7fELF half");
    fs::File::open(tree.join("a.o")).unwrap().set_modified(SystemTime::now() + HOUR).unwrap();
    fs::remove_file(tree.join("gone")).unwrap();
    fs::remove_file(tree.join("link")).unwrap();
    fs::remove_file(tree.join("file")).unwrap();
    fs::create_dir(tree.join("file")).unwrap();
    fs::write(tree.join("file/in"), "x").unwrap();
    fs::remove_dir_all(tree.join("folder")).unwrap();
    fs::write(tree.join("folder"), "now a file").unwrap();
    drop(scratch);

    let (scratch, synced) = place.sync(&root);
    assert_eq!(counts(&synced), (0, 0, false));
    assert_eq!(paths.map(look), before);
    assert_eq!(read(&scratch, "a.d"), "a.o: a.h");
    assert_eq!(fs::read_link(tree.join("link")).unwrap(), Path::new("a.d"));
    for path in ["a.o", "new", "made"] {
        assert!(!has(&scratch, path), "{path}");
    }
    // Nothing is left to be undone.
    write(&scratch, "later.o", "whole");
    drop(scratch);
    assert!(has(&place.open(&root), "later.o"));
}

#[test]
fn what_cannot_be_undone_is_thrown_away() {
    type Hurt = fn(&Scratch);
    let hurts: [Hurt; 3] = [
        |scratch| fs::remove_file(scratch.folder.join("whole")).unwrap(),
        |scratch| fs::write(scratch.folder.join("whole"), "garbage").unwrap(),
        |scratch| {
            for copy in fs::read_dir(scratch.folder.join("copies")).unwrap() {
                fs::write(copy.unwrap().path(), "").unwrap();
            }
        },
    ];
    for hurt in hurts {
        let place = place();
        let root = place.worktree("w", &[("a.c", "1")]);
        let (mut scratch, _) = place.sync(&root);
        write(&scratch, "a.d", "a.o: a.h");
        write(&scratch, "a.o", b"\x7fELF");
        scratch.begin().unwrap();
        write(&scratch, "a.d", "half");
        hurt(&scratch);
        drop(scratch);
        let (scratch, synced) = place.sync(&root);
        assert!(synced.fresh && !has(&scratch, "a.o"), "{synced:?}");
    }
}

#[test]
fn a_build_during_which_the_clock_was_set_back_is_undone_and_has_to_be_made_again() {
    let place = place();
    let root = place.worktree("w", &[("a.c", "1")]);
    let (mut scratch, _) = place.sync(&root);
    scratch.begin().unwrap();
    write(&scratch, "a.o", "object");
    scratch.running.as_mut().unwrap().1.wall += HOUR;
    let error = scratch.finish().unwrap_err();
    assert!(error.is_changed() && error.to_string().contains("clock"), "{error}");
    drop(scratch);
    assert!(!has(&place.sync(&root).0, "a.o"));
}

/// A process that was killed may write as long as it is not gone.
#[test]
fn the_last_process_of_a_build_that_died_is_waited_for() {
    let place = place();
    let root = place.worktree("w", &[("a.c", "1")]);
    let (mut scratch, _) = place.sync(&root);
    let (tree, held) = (scratch.path().join("tree"), scratch.begin().unwrap().try_clone().unwrap());
    drop(scratch);
    let (send, opened) = mpsc::channel();
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let scratch = place.open(&root);
            send.send(()).unwrap();
            assert!(!has(&scratch, "late.o"));
        });
        assert!(opened.recv_timeout(Duration::from_millis(50)).is_err(), "it was not waited for");
        fs::write(tree.join("late.o"), "half").unwrap();
        drop(held);
    });
}

#[test]
fn who_loses_his_lock_loses_the_folder_and_is_told() {
    let place = place();
    let root = place.worktree("w", &[("a.c", "1")]);
    let (mut first, _) = place.sync(&root);
    write(&first, "a.o", "object");
    first.begin().unwrap();
    // One by one: on NFS a folder stays as long as somebody has open what was in it.
    for lock in fs::read_dir(place.cache.root().join("locks")).unwrap() {
        fs::remove_file(lock.unwrap().path()).unwrap();
    }
    // The first one's processes write on, to a folder that nobody has any more.
    let (second, synced) = place.sync(&root);
    assert!(synced.fresh && !has(&second, "a.o"));
    let error = first.finish().unwrap_err();
    assert!(error.is_changed() && error.to_string().contains("another process"), "{error}");
}

#[test]
fn one_cache_by_several_names_has_one_lock() {
    let place = place();
    let root = place.worktree("w", &[("a.c", "1")]);
    let (scratch, _) = place.sync(&root);
    let link = place.folder.path().join("link");
    std::os::unix::fs::symlink(place.cache.root(), &link).unwrap();
    for name in [link.clone(), link.join(""), place.cache.root().join("locks/.."), link.join("locks/../")] {
        let cache = Cache::open(&name).unwrap();
        let (send, told) = mpsc::channel();
        let wait = move |pid| send.send(pid).unwrap();
        let owner = root.clone();
        let second = std::thread::spawn(move || cache.scratch(&family("a"), &owner, &wait).map(drop).unwrap());
        let told = told.recv_timeout(Duration::from_secs(5));
        assert_eq!(told, Ok(std::process::id()), "{}", name.display());
        // It waits until the end of the test.
        drop(second);
    }
    drop(scratch);
}
