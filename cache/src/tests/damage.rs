//! Whatever happens to the files of the cache, it is noticed, never believed, and made good again.

use super::*;
use crate::Output;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;

fn record_path(cache: &Cache, name: &str) -> PathBuf {
    cache.place("records", key(name).0.digest())
}

#[test]
fn a_damaged_record_is_none_and_is_reported() {
    let root = tempfile::tempdir().unwrap();
    let cache = Cache::open(root.path()).unwrap();
    let record = make(&cache, "a");
    let path = record_path(&cache, "a");
    let good = fs::read(&path).unwrap();
    let check = |bytes: &[u8], what: &str| {
        fs::write(&path, bytes).unwrap();
        assert_eq!(cache.record(&record.key).unwrap(), None, "{what}");
        assert_eq!(cache.damaged(), std::slice::from_ref(&path), "{what}");
    };
    for at in 0..good.len() {
        check(&good[..at], "cut");
        let mut bad = good.clone();
        bad[at] ^= 0xff;
        check(&bad, "flipped");
    }
    check(&[&good[..], b"\n"].concat(), "longer");
    // A whole record, but of another key.
    make(&cache, "b");
    check(&fs::read(record_path(&cache, "b")).unwrap(), "another's");
    assert_eq!(make(&cache, "a").outputs, record.outputs);
    assert!(cache.damaged().contains(&path));
    assert!(cache.record(&record.key).unwrap().is_some());
    assert!(cache.damaged().is_empty());
}

/// A file of another program's, or one that a full disk left: longer than any memory.
#[test]
fn a_file_of_terabytes_is_none_and_nothing_of_it_is_read() {
    let root = tempfile::tempdir().unwrap();
    let cache = Cache::open(root.path()).unwrap();
    let record = make(&cache, "a");
    let path = record_path(&cache, "a");
    let started = std::time::Instant::now();
    // A hole takes no room; 8 TiB is what ext4 can have with blocks of 2 KiB and more.
    fs::File::options().write(true).open(&path).unwrap().set_len(8 << 40).unwrap();
    assert_eq!(cache.record(&record.key).unwrap(), None);
    assert_eq!(cache.damaged(), std::slice::from_ref(&path));
    assert!(started.elapsed().as_secs() < 5);
    assert_eq!(make(&cache, "a").outputs, record.outputs);
    // What is no file at all is an error that names it.
    fs::remove_file(&path).unwrap();
    fs::create_dir(&path).unwrap();
    let error = cache.record(&record.key).unwrap_err().to_string();
    assert!(error.contains(path.to_str().unwrap()), "{error}");
}

#[test]
fn damaged_memos_and_filtered_trees_are_asked_again() {
    let root = tempfile::tempdir().unwrap();
    let cache = Cache::open(root.path()).unwrap();
    let record = make(&cache, "a");
    let tree = &record.outputs["tree"];
    let patterns = ["a".to_owned()];
    let part = cache.subtree(tree, &patterns).unwrap();
    cache.set_memo("x", &record.key, b"value").unwrap();
    cache.note_latest("x", &record.key).unwrap();
    for folder in ["memos", "latest", "subtrees"] {
        for shard in fs::read_dir(root.path().join(folder)).unwrap() {
            for file in fs::read_dir(shard.unwrap().path()).unwrap() {
                fs::write(file.unwrap().path(), "garbage").unwrap();
            }
        }
    }
    assert_eq!(cache.memo("x", &record.key).unwrap(), None);
    assert_eq!(cache.latest("x").unwrap(), None);
    assert_eq!(cache.subtree(tree, &patterns).unwrap(), part);
    cache.note_latest("x", &record.key).unwrap();
    assert_eq!(cache.latest("x").unwrap(), Some(record));
}

/// Each way to damage what lies on disk: not present, a miss for `remake`, a hit for `slot`; good again after the next commit.
#[test]
fn damaged_objects_are_noticed_and_replaced() {
    let write = |path: &Path, content: &str| {
        let mode = fs::metadata(path).unwrap().permissions();
        fs::set_permissions(path, fs::Permissions::from_mode(0o644)).unwrap();
        fs::write(path, content).unwrap();
        fs::set_permissions(path, mode).unwrap();
    };
    type Damage<'a> = (&'a str, &'a str, &'a dyn Fn(&Path));
    let damages: [Damage; 13] = [
        ("same length", "notes", &|p| write(p, "n0tes")),
        ("shorter", "notes", &|p| write(p, "")),
        ("writable", "notes", &|p| fs::set_permissions(p, fs::Permissions::from_mode(0o644)).unwrap()),
        ("gone", "notes", &|p| fs::remove_file(p).unwrap()),
        ("replaced by a symlink", "notes", &|p| {
            fs::rename(p, p.with_extension("moved")).unwrap();
            std::os::unix::fs::symlink(p.with_extension("moved"), p).unwrap();
        }),
        ("tool written", "tool", &|p| write(p, "#!/bin/no\n")),
        ("file in a tree written", "tree", &|p| write(&p.join("sub/b"), "same")),
        ("file in a tree gone", "tree", &|p| fs::remove_file(p.join("sub/b")).unwrap()),
        ("empty folder gone", "tree", &|p| fs::remove_dir(p.join("sub/empty")).unwrap()),
        ("file added", "tree", &|p| fs::write(p.join("sub/new"), "").unwrap()),
        ("symlink changed", "tree", &|p| {
            fs::remove_file(p.join("link")).unwrap();
            std::os::unix::fs::symlink("a", p.join("link")).unwrap();
        }),
        ("a file instead of the tree", "tree", &|p| {
            fs::remove_dir_all(p).unwrap();
            fs::write(p, "").unwrap();
        }),
        ("tree gone", "tree", &|p| fs::remove_dir_all(p).unwrap()),
    ];
    for (what, output, damage) in damages {
        let root = tempfile::tempdir().unwrap();
        let cache = Cache::open(root.path()).unwrap();
        let record = make(&cache, "a");
        let whole = |output: &Output| cache.is_present(output).unwrap();
        assert!(record.outputs.values().all(whole));
        damage(&cache.path(&record.outputs[output]));
        assert!(!whole(&record.outputs[output]), "{what}");
        assert_eq!(hit(cache.slot(&record.key, &nobody).unwrap()), record, "{what}");
        assert_eq!(make(&cache, "a").outputs, record.outputs, "{what}");
        assert!(record.outputs.values().all(whole), "{what}");
        let path = |name: &str| cache.path(&record.outputs[name]);
        assert_eq!(fs::read_to_string(path("notes")).unwrap(), "notes", "{what}");
        assert_eq!(fs::read_to_string(path("tool")).unwrap(), "#!/bin/sh\n", "{what}");
        assert_eq!(fs::read_to_string(path("tree").join("link")).unwrap(), "same", "{what}");
    }
}

#[test]
fn a_damaged_manifest_is_a_missing_tree() {
    let root = tempfile::tempdir().unwrap();
    let cache = Cache::open(root.path()).unwrap();
    let record = make(&cache, "a");
    let tree = &record.outputs["tree"];
    let part = cache.subtree(tree, &["a".to_owned()]).unwrap();
    let path = cache.place("manifests", &tree.digest);
    // A whole listing, but of another tree.
    fs::copy(cache.place("manifests", &part.digest), &path).unwrap();
    assert!(!cache.is_present(tree).unwrap());
    assert_eq!(cache.damaged(), std::slice::from_ref(&path));
    fs::write(&path, "garbage").unwrap();
    assert!(!cache.is_present(tree).unwrap());
    assert_eq!(make(&cache, "a").outputs, record.outputs);
    assert!(cache.is_present(tree).unwrap());
}

/// A damaged object does not get into a filtered tree.
#[test]
fn a_folder_is_not_made_of_damaged_objects() {
    let root = tempfile::tempdir().unwrap();
    let cache = Cache::open(root.path()).unwrap();
    let tree = make(&cache, "a").outputs["tree"].clone();
    let file = cache.path(&tree).join("a");
    fs::set_permissions(&file, fs::Permissions::from_mode(0o644)).unwrap();
    let message = cache.realise_subtree(&tree, &["a".to_owned()]).unwrap_err().to_string();
    assert!(message.contains("(a) is missing or damaged"), "{message}");
    make(&cache, "a");
    cache.realise_subtree(&tree, &["a".to_owned()]).unwrap();
}
