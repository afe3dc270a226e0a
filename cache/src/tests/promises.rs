//! What a slot, a commit, a hit and a filtered tree promise.

use super::*;
use crate::{Output, Tree};
use std::os::unix::fs::PermissionsExt;
use std::sync::atomic::{AtomicU32, Ordering::SeqCst};

fn patterns(patterns: &[&str]) -> Vec<String> {
    patterns.iter().map(|p| (*p).to_owned()).collect()
}

#[test]
fn a_commit_is_found_sealed_shared_and_nothing_else_is_left() {
    let root = tempfile::tempdir().unwrap();
    let cache = Cache::open(root.path()).unwrap();
    let record = make(&cache, "a");
    let (key, manifest) = key("a");
    assert_eq!(hit(cache.slot(&key, &nobody).unwrap()), record);
    assert_eq!(hit(cache.remake(&key, &nobody).unwrap()), record);
    assert_eq!(cache.record(&key).unwrap(), Some(record.clone()));
    assert_eq!((&record.key, &record.manifest, &*record.stage), (&key, &manifest, "stage"));
    let sizes: Vec<_> = record.outputs.values().map(|o| (o.size, o.files)).collect();
    assert_eq!(sizes, [(5, 1), (10, 1), (8, 2)]);

    let at = |name: &str| fs::symlink_metadata(cache.path(&record.outputs[name])).unwrap();
    assert_eq!((at("notes").mode() & 0o7777, at("notes").mtime()), (0o444, 1_000_000_000));
    assert_eq!((at("tool").mode() & 0o7777, at("tool").mtime()), (0o555, 1_000_000_000));
    let tree = cache.path(&record.outputs["tree"]);
    for path in ["", "sub", "sub/empty", "a", "sub/b", "link"] {
        let meta = fs::symlink_metadata(tree.join(path)).unwrap();
        assert_eq!((meta.mtime(), meta.mtime_nsec()), (1_000_000_000, 0), "{path}");
        assert_eq!(
            meta.mode() & 0o7777,
            if meta.is_dir() {
                0o755
            } else if meta.is_symlink() {
                0o777
            } else {
                0o444
            }
        );
    }
    let (a, b) = (fs::metadata(tree.join("a")).unwrap(), fs::metadata(tree.join("sub/b")).unwrap());
    assert_eq!((a.ino(), a.nlink()), (b.ino(), 3), "equal content is stored once");

    assert_eq!(count(&root.path().join("locks")), 0);
    drop(cache);
    assert_eq!(count(&root.path().join("tmp")), 0);
    assert_eq!(hit(Cache::open(root.path()).unwrap().slot(&key, &nobody).unwrap()), record);
}

#[test]
fn a_dropped_slot_leaves_the_log_only() {
    let root = tempfile::tempdir().unwrap();
    let cache = Cache::open(root.path()).unwrap();
    let (key, _) = key("a");
    let slot = miss(cache.slot(&key, &nobody).unwrap());
    assert_eq!((count(slot.out()), count(slot.scratch())), (0, 0));
    fill(slot.out());
    fs::create_dir(slot.scratch().join("locked")).unwrap();
    fs::set_permissions(slot.scratch().join("locked"), fs::Permissions::from_mode(0o000)).unwrap();
    fs::write(slot.log(), "it failed").unwrap();
    drop(slot);
    assert_eq!(fs::read_to_string(cache.log_path(&key)).unwrap(), "it failed");
    for folder in ["objects", "trees", "manifests", "records", "locks"] {
        assert_eq!(count(&root.path().join(folder)), 0, "{folder}");
    }
    drop(miss(cache.slot(&key, &nobody).unwrap()));
    drop(cache);
    assert_eq!(count(&root.path().join("tmp")), 0);
}

#[test]
fn what_is_wrong_with_an_output_is_said_by_name() {
    let root = tempfile::tempdir().unwrap();
    let cache = Cache::open(root.path()).unwrap();
    let (key, manifest) = key("a");
    let check = |outputs: &[(&str, Kind)], words: &[&str], make: &dyn Fn(&Path)| {
        let slot = miss(cache.slot(&key, &nobody).unwrap());
        make(slot.out());
        let message = slot.commit(made(outputs, manifest.clone())).unwrap_err().to_string();
        assert!(words.iter().all(|word| message.contains(word)), "{message}");
        assert_eq!(cache.record(&key).unwrap(), None);
        assert_eq!(count(&root.path().join("trees")) + count(&root.path().join("locks")), 0);
    };
    check(&[("image", Kind::File)], &["`image` was not made"], &|_| {});
    check(&[("image", Kind::File)], &["`image` is not a plain file"], &|out| {
        fs::create_dir(out.join("image")).unwrap()
    });
    check(&[("t", Kind::Tree)], &["`t` is not a folder"], &|out| fs::write(out.join("t"), "").unwrap());
    let to_etc = |out: &Path| std::os::unix::fs::symlink("/etc", out.join("t")).unwrap();
    check(&[("t", Kind::Tree)], &["`t` is not a folder"], &to_etc);
    check(&[("../t", Kind::Tree)], &["`../t` is not a name"], &|_| {});
    check(&[("t", Kind::Tree)], &["t/sub/bad", "setuid"], &|out| {
        fs::create_dir_all(out.join("t/sub")).unwrap();
        fs::write(out.join("t/sub/bad"), "").unwrap();
        fs::set_permissions(out.join("t/sub/bad"), fs::Permissions::from_mode(0o4755)).unwrap();
    });
    check(&[("t", Kind::Tree)], &["t/bad", "sticky"], &|out| {
        fs::create_dir_all(out.join("t/bad")).unwrap();
        fs::set_permissions(out.join("t/bad"), fs::Permissions::from_mode(0o1777)).unwrap();
    });
}

#[test]
fn equal_results_of_other_keys_share_everything() {
    let root = tempfile::tempdir().unwrap();
    let cache = Cache::open(root.path()).unwrap();
    let first = make(&cache, "a");
    let files = || ["objects", "trees", "manifests"].map(|folder| count(&root.path().join(folder)));
    let (before, inode) = (files(), fs::metadata(cache.path(&first.outputs["notes"])).unwrap().ino());
    let second = make(&cache, "b");
    assert_eq!(first.outputs, second.outputs);
    assert_eq!(files(), before);
    assert_eq!(fs::metadata(cache.path(&first.outputs["notes"])).unwrap().ino(), inode);
}

#[test]
fn one_key_is_made_once_however_many_want_it() {
    let root = tempfile::tempdir().unwrap();
    let (makers, waits) = (AtomicU32::new(0), AtomicU32::new(0));
    std::thread::scope(|scope| {
        for _ in 0..6 {
            scope.spawn(|| {
                let cache = Cache::open(root.path()).unwrap();
                let (key, manifest) = key("a");
                let waiting = |pid| {
                    assert_eq!(pid, std::process::id());
                    waits.fetch_add(1, SeqCst);
                };
                if let Entry::Miss(slot) = cache.slot(&key, &waiting).unwrap() {
                    makers.fetch_add(1, SeqCst);
                    // Until somebody waits, as far as that can be awaited.
                    while waits.load(SeqCst) == 0 {
                        std::thread::sleep(Duration::from_millis(1));
                    }
                    fill(slot.out());
                    slot.commit(made(&OUTPUTS, manifest)).unwrap();
                }
            });
        }
    });
    assert_eq!(makers.into_inner(), 1);
    assert!((1..=5).contains(&waits.into_inner()));
}

#[test]
fn a_filtered_tree_is_answered_and_realised() {
    let root = tempfile::tempdir().unwrap();
    let cache = Cache::open(root.path()).unwrap();
    let record = make(&cache, "a");
    let tree = &record.outputs["tree"];
    let part = cache.subtree(tree, &patterns(&["sub/**", "link"])).unwrap();
    assert_eq!((part.kind, part.size, part.files), (Kind::Tree, 4, 1));
    assert_eq!(cache.subtree(tree, &patterns(&["link", "sub/**", "link"])).unwrap(), part);
    assert_eq!(cache.subtree(tree, &[]).unwrap(), *tree);
    assert!(cache.subtree(&record.outputs["notes"], &patterns(&["*"])).is_err());

    let path = cache.realise_subtree(tree, &patterns(&["sub/**", "link"])).unwrap();
    assert_eq!(path, cache.path(&part));
    assert!(cache.is_present(&part).unwrap());
    assert_eq!(fs::read_to_string(path.join("sub/b")).unwrap(), "same");
    assert_eq!(fs::read_to_string(path.join("link")).unwrap(), "same");
    assert!(path.join("sub/empty").is_dir() && !path.join("a").exists());
    let inode = |path: &Path| fs::metadata(path).unwrap().ino();
    assert_eq!(inode(&path.join("sub/b")), inode(&cache.path(tree).join("a")), "hard links");

    // What gc drops is not needed for the answer, and what is left of the tree is enough for the folder.
    fs::remove_dir_all(&path).unwrap();
    fs::remove_dir_all(root.path().join("objects")).unwrap();
    assert_eq!(cache.realise_subtree(tree, &patterns(&["sub/**", "link"])).unwrap(), path);
    fs::remove_dir_all(root.path().join("trees")).unwrap();
    assert_eq!(cache.subtree(tree, &patterns(&["sub/**", "link"])).unwrap(), part);
    assert_eq!(cache.subtree(tree, &patterns(&["a"])).unwrap().files, 1);
    fs::remove_dir_all(root.path().join("manifests")).unwrap();
    assert_eq!(cache.subtree(tree, &patterns(&["a"])).unwrap().files, 1);
    assert!(cache.subtree(tree, &patterns(&["b"])).unwrap_err().to_string().contains(&tree.digest.to_string()));
    // Made again, everything is as before.
    assert_eq!(make(&cache, "a").outputs, record.outputs);
    assert_eq!(cache.realise_subtree(tree, &patterns(&["sub/**", "link"])).unwrap(), path);
}

#[test]
fn trees_from_memory() {
    let root = tempfile::tempdir().unwrap();
    let cache = Cache::open(root.path()).unwrap();
    let files: Vec<(String, &[u8], bool)> =
        vec![("build.sh".to_owned(), b"make\n", true), ("data/x".to_owned(), b"", false)];
    let output = cache.put_tree_from_memory(&files).unwrap();
    assert_eq!(output, Tree::from_memory(&files).unwrap().output());
    let path = cache.path(&output);
    assert_eq!(fs::read(path.join("build.sh")).unwrap(), b"make\n");
    assert_eq!(fs::metadata(path.join("build.sh")).unwrap().mode() & 0o7777, 0o555);
    let inode = fs::metadata(&path).unwrap().ino();
    assert_eq!(cache.put_tree_from_memory(&files).unwrap(), output);
    assert_eq!(fs::metadata(&path).unwrap().ino(), inode);
    assert!(cache.put_tree_from_memory(&[("../x".to_owned(), b"", false)]).is_err());
    drop(cache);
    assert_eq!(count(&root.path().join("tmp")), 0);
}

#[test]
fn memos_and_latest() {
    let root = tempfile::tempdir().unwrap();
    let cache = Cache::open(root.path()).unwrap();
    let ((a, _), (b, _)) = (key("a"), key("b"));
    assert_eq!(cache.memo("gcc", &a).unwrap(), None);
    cache.set_memo("gcc", &a, b"14.2").unwrap();
    cache.set_memo("gcc", &b, b"").unwrap();
    cache.set_memo("gcc", &a, b"14.3").unwrap();
    assert_eq!(cache.memo("gcc", &a).unwrap().unwrap(), b"14.3");
    assert_eq!(cache.memo("gcc", &b).unwrap().unwrap(), b"");
    assert_eq!(cache.memo("ld", &a).unwrap(), None);

    assert_eq!(cache.latest("/home/me\0kernel").unwrap(), None);
    cache.note_latest("/home/me\0kernel", &a).unwrap();
    assert_eq!(cache.latest("/home/me\0kernel").unwrap(), None, "no record yet");
    let record = make(&cache, "a");
    assert_eq!(cache.latest("/home/me\0kernel").unwrap(), Some(record));
    let other = make(&cache, "b");
    cache.note_latest("/home/me\0kernel", &b).unwrap();
    assert_eq!(cache.latest("/home/me\0kernel").unwrap(), Some(other));
    assert_eq!(cache.latest("/home/me").unwrap(), None);
}

#[test]
fn only_a_cache_of_this_format_is_opened() {
    let root = tempfile::tempdir().unwrap();
    let cache = root.path().join("deep/cache");
    std::thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| Cache::open(&cache).unwrap());
        }
    });
    assert!(
        fs::read_to_string(cache.join("CACHEDIR.TAG"))
            .unwrap()
            .starts_with("Signature: 8a477f597d28d172789f06886806bc55")
    );
    assert_eq!(count(&cache), 2);
    fs::write(cache.join("version"), "quiz-cache 2\n").unwrap();
    let message = Cache::open(&cache).unwrap_err().to_string();
    for words in ["deep/cache/version", "quiz-cache 2", "quiz-cache 1", "delete"] {
        assert!(message.contains(words), "{message}");
    }
    let message = Cache::open(root.path()).unwrap_err().to_string();
    assert!(message.contains("not a cache") && message.contains("deep"), "{message}");
    let file = root.path().join("file");
    fs::write(&file, "").unwrap();
    assert!(Cache::open(&file).unwrap_err().to_string().contains("file"));
}

/// A run with nothing to do: no write, and far below 5 ms.
#[test]
fn hits_write_nothing() {
    let root = tempfile::tempdir().unwrap();
    let record = make(&Cache::open(root.path()).unwrap(), "a");
    let tmp = root.path().join("tmp");
    // NFS removes what was still open under another name, a moment later.
    let is_later = |_: &usize| fs::read_dir(&tmp).unwrap().count() > 0;
    (0..1000).take_while(is_later).for_each(|_| std::thread::sleep(Duration::from_millis(10)));
    let changed = || fs::metadata(&tmp).unwrap().mtime_nsec();
    let before = changed();
    let cache = Cache::open(root.path()).unwrap();
    assert_eq!(hit(cache.slot(&record.key, &nobody).unwrap()), record);
    let tree: &Output = &record.outputs["tree"];
    assert!(cache.is_present(tree).unwrap());
    cache.realise_subtree(tree, &[]).unwrap();
    drop(cache);
    assert_eq!(changed(), before);
}

#[test]
fn an_output_may_be_laid_over_an_earlier_tree() {
    let root = tempfile::tempdir().unwrap();
    let cache = Cache::open(root.path()).unwrap();
    let base = make(&cache, "base").outputs["tree"].clone();
    let over = |name: &str, kind: Kind, fill: &dyn Fn(&Path)| {
        let (key, manifest) = key(name);
        let slot = miss(cache.slot(&key, &nobody).unwrap());
        fill(&slot.out().join("tree"));
        let over = [("tree".to_owned(), base.clone())].into();
        slot.commit(Made { over, ..made(&[("tree", kind)], manifest) })
    };
    let some = |tree: &Path| {
        fs::create_dir_all(tree.join("sub/new")).unwrap();
        fs::write(tree.join("sub/b"), "other").unwrap();
        fs::write(tree.join("sub/new/c"), "same").unwrap();
    };
    let laid = over("laid over", Kind::Tree, &some).unwrap().outputs["tree"].clone();
    // The same as one that is made whole.
    let (whole, manifest) = key("whole");
    let slot = miss(cache.slot(&whole, &nobody).unwrap());
    fill(slot.out());
    fs::remove_file(slot.out().join("tree/sub/b")).unwrap();
    some(&slot.out().join("tree"));
    assert_eq!(slot.commit(made(&[("tree", Kind::Tree)], manifest)).unwrap().outputs["tree"], laid);
    assert!(cache.is_present(&laid).unwrap() && cache.is_present(&base).unwrap());
    let inode = |output: &Output, path: &str| fs::metadata(cache.path(output).join(path)).unwrap().ino();
    assert_eq!(inode(&laid, "a"), inode(&base, "a"), "what stays is no copy");
    assert_eq!(inode(&laid, "sub/new/c"), inode(&base, "a"));
    assert_eq!(fs::read_link(cache.path(&laid).join("link")).unwrap(), Path::new("sub/b"));

    // What cannot be, and an earlier tree that somebody wrote to.
    let file = |tree: &Path| fs::write(tree, "").unwrap();
    assert!(over("a file", Kind::File, &file).unwrap_err().to_string().contains("`tree` is a file"));
    let clash = |tree: &Path| {
        fs::create_dir(tree).unwrap();
        fs::write(tree.join("sub"), "").unwrap();
    };
    assert!(
        over("a file for a folder", Kind::Tree, &clash).unwrap_err().to_string().contains("`sub` has items below it")
    );
    let a = cache.path(&base).join("a");
    fs::set_permissions(&a, fs::Permissions::from_mode(0o644)).unwrap();
    fs::write(&a, "SAME").unwrap();
    let error = over("damaged", Kind::Tree, &|tree| fs::create_dir(tree).unwrap()).unwrap_err().to_string();
    assert!(error.contains("missing or damaged"), "{error}");
    for name in ["a file", "a file for a folder", "damaged"] {
        assert_eq!(cache.record(&key(name).0).unwrap(), None);
    }
}
