//! What scratch folders promise: exactly the wanted sources, untouched where they did not change, whatever happened before.

mod hurt;

use super::*;
use crate::{KeyEncoder, Looked, Selection};
use std::os::unix::fs::PermissionsExt;
use std::time::{Duration, SystemTime};

struct Place {
    folder: tempfile::TempDir,
    cache: Cache,
}

const NOBODY: &dyn Fn(u32) = &|_| panic!("nobody has it");

fn place() -> Place {
    let folder = tempfile::tempdir().unwrap();
    let cache = Cache::open(&folder.path().join("cache")).unwrap();
    Place { folder, cache }
}

fn family(name: &str) -> Key {
    KeyEncoder::new("test family").text("name", name).finish().0
}

impl Place {
    /// A worktree with these files; one that was there keeps what is not named.
    fn worktree(&self, name: &str, files: &[(&str, &str)]) -> PathBuf {
        let root = self.folder.path().join(name);
        fs::create_dir_all(&root).unwrap();
        for (path, content) in files {
            let path = root.join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, content).unwrap();
        }
        root
    }

    fn tree(&self, root: &Path) -> Tree {
        self.cache.scan(root, Selection::All { skip: &|_| false }, &Looked::default()).unwrap().tree().unwrap().clone()
    }

    fn open(&self, owner: &Path) -> Scratch {
        self.cache.scratch(&family("a"), owner, NOBODY).unwrap()
    }

    /// Opens and syncs all of a worktree into `tree`.
    fn sync(&self, root: &Path) -> (Scratch, Synced) {
        let mut scratch = self.open(root);
        let tree = self.tree(root);
        let synced = scratch.sync(&[Source { tree: &tree, root, into: "tree" }], NOBODY).unwrap();
        (scratch, synced)
    }
}

fn read(scratch: &Scratch, path: &str) -> String {
    fs::read_to_string(scratch.path().join("tree").join(path)).unwrap()
}

fn time(scratch: &Scratch, path: &str) -> SystemTime {
    fs::metadata(scratch.path().join("tree").join(path)).unwrap().modified().unwrap()
}

fn counts(synced: &Synced) -> (usize, usize, bool) {
    (synced.written, synced.removed, synced.fresh)
}

#[test]
fn only_what_changed_is_touched_and_time_moves_forward() {
    let place = place();
    let root = place.worktree("w", &[("a.c", "1"), ("dir/b.c", "2")]);
    let (scratch, synced) = place.sync(&root);
    assert_eq!(counts(&synced), (2, 0, true));
    let (a, b) = (time(&scratch, "a.c"), time(&scratch, "dir/b.c"));
    assert_eq!(a, b, "one time for all of a sync");
    drop(scratch);
    assert_eq!(counts(&place.sync(&root).1), (0, 0, false));
    place.worktree("w", &[("a.c", "11")]);
    let (scratch, synced) = place.sync(&root);
    assert_eq!((counts(&synced), read(&scratch, "a.c").as_str()), ((1, 0, false), "11"));
    assert!(time(&scratch, "a.c") > a && time(&scratch, "dir/b.c") == b);
    let second = time(&scratch, "a.c");
    drop(scratch);
    // Back to what it was: older in the worktree, newer for make.
    place.worktree("w", &[("a.c", "1")]);
    let old = fs::File::options().append(true).open(root.join("a.c")).unwrap();
    old.set_modified(SystemTime::UNIX_EPOCH).unwrap();
    let (scratch, _) = place.sync(&root);
    assert!(time(&scratch, "a.c") > second && read(&scratch, "a.c") == "1");
}

#[test]
fn what_is_deleted_is_gone_and_what_a_build_left_stays() {
    let place = place();
    let root = place.worktree("w", &[("a.c", "1"), ("gone/b.c", "2"), ("kept/c.c", "3")]);
    let (scratch, _) = place.sync(&root);
    fs::write(scratch.path().join("tree/a.o"), "object").unwrap();
    fs::write(scratch.path().join("tree/kept/c.o"), "object").unwrap();
    drop(scratch);
    fs::remove_dir_all(root.join("gone")).unwrap();
    fs::remove_dir_all(root.join("kept")).unwrap();
    let (scratch, synced) = place.sync(&root);
    assert_eq!(synced.removed, 2);
    let tree = scratch.path().join("tree");
    assert!(!tree.join("gone").exists() && !tree.join("kept/c.c").exists());
    assert_eq!((read(&scratch, "a.o"), read(&scratch, "kept/c.o")), ("object".to_owned(), "object".to_owned()));
}

#[test]
fn a_copy_that_somebody_wrote_to_is_repaired_and_one_that_was_only_touched_stays() {
    let place = place();
    let root = place.worktree("w", &[("a.c", "right"), ("b.c", "same")]);
    let (scratch, _) = place.sync(&root);
    let b = scratch.path().join("tree/b.c");
    fs::write(scratch.path().join("tree/a.c"), "wrong").unwrap();
    let past = SystemTime::now() - Duration::from_secs(1000);
    fs::File::options().append(true).open(&b).unwrap().set_modified(past).unwrap();
    drop(scratch);
    let (scratch, synced) = place.sync(&root);
    assert_eq!((synced.written, read(&scratch, "a.c").as_str()), (1, "right"));
    assert_eq!(time(&scratch, "b.c"), past);
    drop(scratch);
    assert_eq!(place.sync(&root).1.written, 0);
}

#[test]
fn files_folders_and_symlinks_take_each_others_places() {
    let place = place();
    let root = place.worktree("w", &[("x", "file"), ("y/in", "1"), ("run", "#!")]);
    std::os::unix::fs::symlink("x", root.join("z")).unwrap();
    let (scratch, _) = place.sync(&root);
    // A build puts a folder where a file will be wanted.
    fs::create_dir_all(scratch.path().join("tree/later/deep")).unwrap();
    drop(scratch);
    for path in ["x", "z"] {
        fs::remove_file(root.join(path)).unwrap();
    }
    fs::remove_dir_all(root.join("y")).unwrap();
    place.worktree("w", &[("x/in", "2"), ("y", "file"), ("z", "plain"), ("later", "file")]);
    fs::set_permissions(root.join("run"), fs::Permissions::from_mode(0o755)).unwrap();
    let (scratch, _) = place.sync(&root);
    let texts = ["x/in", "y", "z", "later", "run"].map(|path| read(&scratch, path));
    assert_eq!(texts, ["2", "file", "plain", "file", "#!"]);
    let mode = fs::metadata(scratch.path().join("tree/run")).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o755);
    assert!(scratch.path().join("tree/z").symlink_metadata().unwrap().is_file());
}

#[test]
fn what_a_symlink_of_a_build_leads_to_is_left_alone() {
    let place = place();
    let elsewhere = place.worktree("elsewhere", &[("a.c", "not ours"), ("b.c", "not ours")]);
    let root = place.worktree("w", &[("gone/a.c", "1"), ("kept/b.c", "2")]);
    let (scratch, _) = place.sync(&root);
    for folder in ["gone", "kept"] {
        let folder = scratch.path().join("tree").join(folder);
        fs::remove_dir_all(&folder).unwrap();
        std::os::unix::fs::symlink(&elsewhere, folder).unwrap();
    }
    drop(scratch);
    fs::remove_dir_all(root.join("gone")).unwrap();
    let (scratch, _) = place.sync(&root);
    assert_eq!(read(&scratch, "kept/b.c"), "2");
    let theirs = ["a.c", "b.c"].map(|name| fs::read_to_string(elsewhere.join(name)).unwrap());
    assert_eq!(theirs, ["not ours", "not ours"]);
}

#[test]
fn later_sources_lie_over_earlier_ones() {
    let place = place();
    let one = place.worktree("one", &[("same", "1"), ("only", "1"), ("folder/in", "1")]);
    let two = place.worktree("two", &[("same", "2"), ("more", "2"), ("folder", "now a file")]);
    let (a, b) = (place.tree(&one), place.tree(&two));
    let mut scratch = place.open(&one);
    let sources = [Source { tree: &a, root: &one, into: "tree" }, Source { tree: &b, root: &two, into: "tree" }];
    scratch.sync(&sources, NOBODY).unwrap();
    assert_eq!(["same", "only", "more", "folder"].map(|p| read(&scratch, p)), ["2", "1", "2", "now a file"]);
    assert_eq!(scratch.sync(&sources, NOBODY).unwrap().written, 0);
    // Without the later one the earlier one shows again.
    scratch.sync(&sources[..1], NOBODY).unwrap();
    assert_eq!(["same", "folder/in"].map(|p| read(&scratch, p)), ["1", "1"]);
    assert!(!scratch.path().join("tree/more").exists());
}

#[test]
fn a_source_that_changes_meanwhile_is_told_and_leaves_nothing_stale() {
    let place = place();
    let root = place.worktree("w", &[("a.c", "1"), ("new.c", "1")]);
    let tree = place.tree(&root);
    let mut scratch = place.open(&root);
    fs::write(root.join("a.c"), "2").unwrap();
    let error = scratch.sync(&[Source { tree: &tree, root: &root, into: "tree" }], NOBODY).unwrap_err();
    assert!(error.is_changed() && error.to_string().contains("a.c"), "{error}");
    drop(scratch);
    // What the failed sync may have brought is not wanted any more.
    fs::remove_file(root.join("new.c")).unwrap();
    let (scratch, _) = place.sync(&root);
    assert_eq!(read(&scratch, "a.c"), "2");
    assert!(!scratch.path().join("tree/new.c").exists());
}

#[test]
fn what_a_build_wrote_that_died_is_removed_and_nothing_else() {
    let place = place();
    let root = place.worktree("w", &[("a.c", "1")]);
    let (mut scratch, _) = place.sync(&root);
    let tree = scratch.path().join("tree");
    fs::write(tree.join("old.o"), "whole").unwrap();
    scratch.begin().unwrap();
    scratch.finish().unwrap();
    std::thread::sleep(Duration::from_millis(20));
    scratch.begin().unwrap();
    fs::write(tree.join("half.o"), "ha").unwrap();
    // Its time says nothing: tools set it.
    fs::File::options().append(true).open(tree.join("half.o")).unwrap().set_modified(SystemTime::UNIX_EPOCH).unwrap();
    fs::write(tree.join("a.c"), "scribbled").unwrap();
    drop(scratch);
    let (scratch, _) = place.sync(&root);
    assert!(tree.join("old.o").exists() && !tree.join("half.o").exists());
    assert_eq!(read(&scratch, "a.c"), "1");
    drop(scratch);
    fs::write(tree.join("later.o"), "whole").unwrap();
    place.open(&root);
    assert!(tree.join("later.o").exists(), "the mark is gone with the clean-up");
}

#[test]
fn the_last_result_is_told_until_something_begins_again() {
    let place = place();
    let root = place.worktree("w", &[("a.c", "1")]);
    let (mut scratch, _) = place.sync(&root);
    let (key, manifest) = KeyEncoder::new("test key").text("x", "y").finish();
    let crate::Entry::Miss(slot) = place.cache.slot(&key, NOBODY).unwrap() else { panic!("a hit") };
    fs::write(slot.out().join("out"), "result").unwrap();
    let record = slot.commit(crate::tests::made(&[("out", crate::Kind::File)], manifest)).unwrap();
    assert_eq!(scratch.made().unwrap(), None);
    scratch.set_made(&key).unwrap();
    drop(scratch);
    let mut scratch = place.open(&root);
    assert_eq!(scratch.made().unwrap(), Some(record));
    scratch.begin().unwrap();
    scratch.finish().unwrap();
    assert_eq!(scratch.made().unwrap(), None, "what the folder has may be of a build that was not committed");
}

#[test]
fn a_new_owner_starts_from_the_nearest_sibling() {
    let place = place();
    let near = place.worktree("near", &[("a.c", "1"), ("b.c", "2"), ("c.c", "3")]);
    let far = place.worktree("far", &[("a.c", "x"), ("b.c", "x"), ("c.c", "3")]);
    for root in [&near, &far] {
        let (scratch, _) = place.sync(root);
        let object = scratch.path().join("tree/a.o");
        fs::write(&object, root.file_name().unwrap().as_bytes()).unwrap();
        fs::set_permissions(&object, fs::Permissions::from_mode(0o444)).unwrap();
    }
    let new = place.worktree("new", &[("a.c", "1"), ("b.c", "2"), ("c.c", "33")]);
    let (scratch, synced) = place.sync(&new);
    assert_eq!(synced, Synced { written: 1, removed: 0, seeded_from: Some(near.clone()), fresh: false });
    assert_eq!((read(&scratch, "a.o").as_str(), read(&scratch, "c.c").as_str()), ("near", "33"));
    let sibling = place.open(&near);
    for path in ["a.c", "b.c", "a.o"] {
        assert_eq!(time(&scratch, path), time(&sibling, path), "{path}");
    }
    assert_eq!(read(&sibling, "c.c"), "3", "the sibling is not touched");
}

#[test]
fn another_family_or_a_sibling_that_died_is_no_start() {
    let place = place();
    let root = place.worktree("w", &[("a.c", "1")]);
    let (mut scratch, _) = place.sync(&root);
    scratch.begin().unwrap();
    drop(scratch);
    let new = place.worktree("new", &[("a.c", "1")]);
    assert_eq!(counts(&place.sync(&new).1), (1, 0, true));
    let mut other = place.cache.scratch(&family("b"), &root, NOBODY).unwrap();
    let tree = place.tree(&root);
    assert!(other.sync(&[Source { tree: &tree, root: &root, into: "tree" }], NOBODY).unwrap().fresh);
}

#[test]
fn folders_of_gone_owners_and_the_oldest_of_one_owner_are_removed() {
    let place = place();
    let gone = place.worktree("gone", &[("a.c", "1")]);
    let lost = place.sync(&gone).0.path();
    fs::remove_dir_all(&gone).unwrap();
    let root = place.worktree("w", &[("a.c", "1")]);
    let tree = place.tree(&root);
    let paths: Vec<PathBuf> = (0..8)
        .map(|n| {
            let mut scratch = place.cache.scratch(&family(&n.to_string()), &root, NOBODY).unwrap();
            scratch.sync(&[Source { tree: &tree, root: &root, into: "tree" }], NOBODY).unwrap();
            std::thread::sleep(Duration::from_millis(10));
            scratch.path()
        })
        .collect();
    assert!(!lost.exists());
    let there: Vec<bool> = paths.iter().map(|path| path.exists()).collect();
    assert_eq!(there, [false, false, true, true, true, true, true, true]);
}

#[test]
fn one_at_a_time_and_the_second_is_told_who_has_it() {
    let place = place();
    let root = place.worktree("w", &[("a.c", "1")]);
    let (scratch, _) = place.sync(&root);
    let told = std::sync::atomic::AtomicU32::new(0);
    std::thread::scope(|scope| {
        let second = scope.spawn(|| {
            let wait = |pid| told.store(pid, std::sync::atomic::Ordering::SeqCst);
            place.cache.scratch(&family("a"), &root, &wait).map(drop).unwrap();
        });
        while told.load(std::sync::atomic::Ordering::SeqCst) == 0 {
            std::thread::sleep(Duration::from_millis(1));
        }
        drop(scratch);
        second.join().unwrap();
    });
    assert_eq!(told.into_inner(), std::process::id());
}
