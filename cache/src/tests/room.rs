//! What takes room, and what is free when something goes.

use super::*;
use crate::{Digest, Inventory, Looked, Output, Pin, Roots, Sizes, Sort};
use std::os::unix::fs::MetadataExt;

/// A result with a file of its own and a tree with one of its own and one that all have, of so many KiB each.
fn make_large(cache: &Cache, name: &str, kib: usize) -> Record {
    let (key, manifest) = key(name);
    let slot = miss(cache.slot(&key, &nobody).unwrap());
    fs::write(slot.out().join("file"), format!("f{name}").repeat(kib << 9)).unwrap();
    fs::create_dir_all(slot.out().join("tree/sub")).unwrap();
    fs::write(slot.out().join("tree/sub/own"), format!("o{name}").repeat(kib << 9)).unwrap();
    fs::write(slot.out().join("tree/all"), "xx".repeat(64 << 9)).unwrap();
    fs::write(slot.out().join("tree/again"), format!("o{name}").repeat(kib << 9)).unwrap();
    slot.commit(made(&[("file", Kind::File), ("tree", Kind::Tree)], manifest)).unwrap()
}

fn blocks(path: &Path) -> u64 {
    fs::symlink_metadata(path).map_or(0, |meta| meta.blocks() * 512)
}

/// Of each item alone, by the name that `name` gives it.
fn sizes(inventory: &Inventory, is: impl Fn(&Sort) -> bool) -> Vec<Sizes> {
    let each: Vec<usize> = (0..inventory.items.len()).collect();
    let sizes = inventory.sizes(&each, each.len());
    inventory.items.iter().zip(sizes).filter(|(item, _)| is(&item.sort)).map(|(_, sizes)| sizes).collect()
}

fn of(inventory: &Inventory, record: &Record) -> Sizes {
    sizes(inventory, |sort| matches!(sort, Sort::Result(other) if other.key == record.key))[0]
}

/// What the disk says of all files and folders of the cache, each file once.
fn on_disk(folder: &Path, seen: &mut std::collections::HashSet<u64>) -> u64 {
    let mut bytes = 0;
    for path in fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()) {
        let meta = fs::symlink_metadata(&path).unwrap();
        if meta.is_dir() {
            bytes += meta.blocks() * 512 + on_disk(&path, seen);
        } else if seen.insert(meta.ino()) {
            bytes += meta.blocks() * 512;
        }
    }
    bytes
}

#[test]
fn what_nothing_else_has_is_what_is_free_when_it_goes() {
    let root = tempfile::tempdir().unwrap();
    let cache = Cache::open(root.path()).unwrap();
    let (a, b) = (make_large(&cache, "a", 512), make_large(&cache, "b", 256));
    let inventory = cache.inventory(&Looked::default()).unwrap();
    let object = |record: &Record, name: &str| blocks(&cache.path(&record.outputs[name]));
    let tree = cache.path(&a.outputs["tree"]);
    let (own, all) = (blocks(&tree.join("sub/own")), blocks(&tree.join("all")));
    let folders = blocks(&tree) + blocks(&tree.join("sub"));
    let notes =
        blocks(&cache.place("records", a.key.digest())) + blocks(&cache.place("manifests", &a.outputs["tree"].digest));
    let expected = object(&a, "file") + own + folders + notes;
    assert_eq!(of(&inventory, &a), Sizes { all: expected + all, alone: expected });
    // The file that both have is free with both: as one group they free it.
    let group: Vec<usize> =
        inventory.items.iter().map(|item| usize::from(!matches!(item.sort, Sort::Result(_)))).collect();
    let together = inventory.sizes(&group, 2)[0];
    assert_eq!(together.alone, together.all);
    // `b` has a shorter one of its own.
    assert!(together.alone > of(&inventory, &a).alone + of(&inventory, &b).alone, "{together:?}");
    let before = on_disk(root.path(), &mut Default::default());
    fs::remove_file(cache.place("records", a.key.digest())).unwrap();
    fs::File::open(cache.place("manifests", &a.outputs["tree"].digest))
        .unwrap()
        .set_modified(std::time::UNIX_EPOCH)
        .unwrap();
    cache.collect(Duration::ZERO, &Roots::default(), false, &|_| {}).unwrap();
    let freed = before - on_disk(root.path(), &mut Default::default());
    assert_eq!(freed, expected, "what it said is what the disk has more");
}

#[test]
fn all_of_it_is_counted_once_and_what_nothing_names_is_told() {
    let root = tempfile::tempdir().unwrap();
    let cache = Cache::open(root.path()).unwrap();
    let record = make_large(&cache, "a", 64);
    make_large(&cache, "b", 64);
    cache.realise_subtree(&record.outputs["tree"], &["sub/**".to_owned()]).unwrap();
    cache.note_latest("a", &record.key).unwrap();
    let crate::Passing::Miss(slot) = cache.passing(&key("p").0, &nobody).unwrap() else { panic!("it is there") };
    fs::write(slot.path().join("x"), vec![1; 300_000]).unwrap();
    slot.commit().unwrap();
    drop(cache.scratch(&key("family").0, root.path(), &nobody).unwrap());
    fs::create_dir(root.path().join("strange")).unwrap();
    fs::write(root.path().join("strange/x"), vec![1; 200_000]).unwrap();
    settle(root.path());
    let inventory = cache.inventory(&Looked::default()).unwrap();
    // Not counted are the folders by which files are found, of some thousand bytes each.
    let folders = |bytes: u64| bytes.div_ceil(1 << 20);
    let whole = on_disk(root.path(), &mut Default::default());
    assert!(inventory.total <= whole && folders(whole - inventory.total) <= 1, "{} of {whole}", inventory.total);
    let other = |name: &str| sizes(&inventory, |sort| *sort == Sort::Other(name.to_owned()))[0];
    assert!(other("strange/").alone >= 200_000 && other("unnamed") == Sizes::default());
    assert!(sizes(&inventory, |sort| matches!(sort, Sort::Passing(_)))[0].alone >= 300_000);
    assert_eq!(sizes(&inventory, |sort| matches!(sort, Sort::Scratch { .. })).len(), 1);
    fs::remove_file(cache.place("records", record.key.digest())).unwrap();
    fs::remove_file(cache.place("manifests", &record.outputs["tree"].digest)).unwrap();
    let left = cache.inventory(&Looked::default()).unwrap();
    let unnamed = sizes(&left, |sort| *sort == Sort::Other("unnamed".to_owned()))[0];
    assert!(unnamed.alone >= 64 << 10, "{unnamed:?}");
}

#[test]
fn what_is_pinned_stays_with_all_that_it_needs_until_the_pin_goes() {
    const MONTH: Duration = Duration::from_secs(30 * 24 * 60 * 60);
    let root = tempfile::tempdir().unwrap();
    let cache = Cache::open(root.path()).unwrap();
    let input = make_large(&cache, "input", 1);
    let part = cache.subtree(&input.outputs["tree"], &["sub/**".to_owned()]).unwrap();
    let needed = make_large(&cache, "needed", 1);
    // Its key is made of a part of the first one's tree, and it names a file of the second.
    let make_pinned = || {
        let mut encoder = KeyEncoder::new("quiz-cache test");
        let (key, manifest) = encoder.text("name", "pinned").digest("input", &part.digest).finish();
        let slot = miss(cache.slot(&key, &nobody).unwrap());
        fs::write(slot.out().join("notes"), "notes").unwrap();
        slot.commit(made(&[("notes", Kind::File)], manifest)).unwrap()
    };
    let pinned = make_pinned();
    let other = make_large(&cache, "other", 1);
    let known = cache.made_of(&pinned, &cache.results().unwrap()).unwrap();
    assert_eq!(known.into_iter().collect::<Vec<_>>(), [input.key]);
    let needs = vec![needed.outputs["file"].digest];
    let pin = Pin { key: pinned.key, stage: "stage".into(), needs, known: vec![input.key] };
    cache.pin(&pin).unwrap();
    assert_eq!(cache.pins().unwrap(), [pin]);
    let age = || {
        for folder in ["records", "manifests", "subtrees", "memos"] {
            for path in cache.entries(folder) {
                let file = fs::File::open(&path).unwrap();
                file.set_modified(std::time::SystemTime::now() - 3 * MONTH).unwrap();
            }
        }
    };
    let collect = || cache.collect(MONTH, &Roots::default(), false, &|_| {}).unwrap();
    age();
    collect();
    let is_there = |record: &Record| {
        let present = |output: &Output| cache.is_present(output).unwrap();
        (cache.record(&record.key).unwrap().is_some(), record.outputs.values().all(present))
    };
    assert_eq!((is_there(&pinned), is_there(&needed), is_there(&other)), ((true, true), (true, true), (false, false)));
    // Of what it was made of, only what its key takes: no file, but the part is the same as ever.
    assert_eq!(is_there(&input), (true, false));
    assert!(!cache.path(&input.outputs["file"]).exists());
    assert_eq!(cache.subtree(&input.outputs["tree"], &["sub/**".to_owned()]).unwrap(), part);
    assert!(cache.unpin(&pinned.key).unwrap() && !cache.unpin(&pinned.key).unwrap());
    age();
    collect();
    assert_eq!(is_there(&pinned), (false, false));
}

#[test]
fn to_fit_a_size_by_itself_waits_for_nobody_and_leaves_roots() {
    let root = tempfile::tempdir().unwrap();
    let cache = Cache::open(root.path()).unwrap();
    let names = ["oldest", "older", "old", "new"];
    let records: Vec<Record> = names.iter().map(|name| make_large(&cache, name, 512)).collect();
    let day = Duration::from_secs(24 * 60 * 60);
    for (record, days) in records.iter().zip([9, 8, 7, 0]) {
        let paths =
            [cache.place("records", record.key.digest()), cache.place("manifests", &record.outputs["tree"].digest)];
        paths.iter().for_each(|path| {
            fs::File::open(path).unwrap().set_modified(std::time::SystemTime::now() - days * day).unwrap();
        });
    }
    let all = cache.inventory(&Looked::default()).unwrap().total;
    let roots = Roots { results: [records[0].key].into(), ..Roots::default() };
    let give = || Some(roots.clone());
    // Too large by a little: one that is no root is enough.
    let most = all - (1 << 19);
    let held = Cache::open(root.path()).unwrap().hold(&|| {}).unwrap();
    assert_eq!(cache.collect_quietly(most, &give).unwrap(), None, "somebody makes something");
    drop(held);
    assert_eq!(cache.collect_quietly(most, &|| None).unwrap(), None, "nobody knows what is needed");
    // Whether one is whole is a use; this is none.
    let present = |cache: &Cache| -> Vec<bool> {
        records.iter().map(|record| record.outputs.values().all(|output| cache.path(output).exists())).collect()
    };
    assert_eq!(present(&cache), [true; 4]);
    let fitted = cache.collect_quietly(most, &give).unwrap().unwrap();
    assert_eq!(present(&cache), [true, false, true, true], "{fitted:?}");
    assert!(fitted.left <= most / 10 * 9, "{fitted:?}");
    assert!(cache.collect_quietly(most, &give).unwrap().unwrap().collected.is_empty(), "it fits");
    // What was used today stays, and so do roots, whatever is wanted.
    let least = cache.collect_quietly(0, &give).unwrap().unwrap();
    assert_eq!(present(&cache), [true, false, false, true], "{least:?}");
    let contents =
        records[0].outputs.values().map(|output| output.digest).collect::<std::collections::BTreeSet<Digest>>();
    let roots = Roots { contents, ..Roots::default() };
    cache.collect_quietly(0, &|| Some(roots.clone())).unwrap();
    assert_eq!(present(&cache), [true, false, false, true]);
    cache.collect_quietly(0, &|| Some(Roots::default())).unwrap();
    assert_eq!(present(&cache), [false, false, false, true]);
}
