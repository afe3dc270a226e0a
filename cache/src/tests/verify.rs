//! A medium that changes bits is noticed, what is wrong is set aside, and what led to it is made again.

use super::*;
use crate::files::{file_is_sealed, is_executable, look};
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;

/// What a medium does: one bit is another one, and nothing that the file system says of the file.
pub(crate) fn flip(path: &Path, bit: usize) {
    let meta = fs::metadata(path).unwrap();
    let mut content = fs::read(path).unwrap();
    let at = bit % (content.len() * 8);
    content[at / 8] ^= 1 << (at % 8);
    fs::set_permissions(path, fs::Permissions::from_mode(0o644)).unwrap();
    fs::write(path, content).unwrap();
    crate::files::seal(path, is_executable(&meta)).unwrap();
    assert!(file_is_sealed(&fs::metadata(path).unwrap(), meta.len(), is_executable(&meta)));
}

/// A result with a file, an executable and a tree of its own.
fn make_own(cache: &Cache, name: &str) -> Record {
    let (key, manifest) = key(name);
    let slot = miss(cache.remake(&key, &nobody).unwrap());
    fs::write(slot.out().join("notes"), format!("notes {name}")).unwrap();
    fs::write(slot.out().join("tool"), format!("#!/bin/sh\n: {name}\n")).unwrap();
    fs::set_permissions(slot.out().join("tool"), fs::Permissions::from_mode(0o755)).unwrap();
    fs::create_dir_all(slot.out().join("tree/sub")).unwrap();
    fs::write(slot.out().join("tree/sub/own"), format!("own {name}").repeat(1000)).unwrap();
    fs::write(slot.out().join("tree/all"), "all have this one").unwrap();
    slot.commit(made(&OUTPUTS, manifest)).unwrap()
}

fn verify(cache: &Cache) -> crate::Verified {
    cache.verify(&|_, _| {}, &|| panic!("nothing is collected")).unwrap()
}

fn contents(cache: &Cache, record: &Record) -> Vec<Vec<u8>> {
    let path = |name: &str| cache.path(&record.outputs[name]);
    [path("notes"), path("tool"), path("tree").join("sub/own"), path("tree").join("all")]
        .iter()
        .map(|path| fs::read(path).unwrap())
        .collect()
}

#[test]
fn a_hundred_bits_in_a_hundred_files_are_found_and_all_is_made_again_with_the_right_bytes() {
    let root = tempfile::tempdir().unwrap();
    let cache = Cache::open(root.path()).unwrap();
    let names: Vec<String> = (0..40).map(|n| format!("result {n}")).collect();
    let records: Vec<Record> = names.iter().map(|name| make_own(&cache, name)).collect();
    let before: Vec<_> = records.iter().map(|record| contents(&cache, record)).collect();
    let clean = verify(&cache);
    assert_eq!((&clean.wrong[..], clean.aside), (&[][..], None));
    assert!(clean.files > 40 * 3 && clean.bytes > 40 * 9000, "{} {}", clean.files, clean.bytes);
    // All objects but those of the last results, which stay as they are.
    let kept: Vec<PathBuf> = records[34..].iter().flat_map(|r| r.outputs.values().map(|o| cache.path(o))).collect();
    let is_kept = |path: &PathBuf| {
        let inode = |path: &Path| std::os::unix::fs::MetadataExt::ino(&fs::metadata(path).unwrap());
        let of_tree = |top: &PathBuf| {
            top.is_dir() && [top.join("sub/own"), top.join("all")].iter().any(|p| inode(p) == inode(path))
        };
        kept.contains(path) || kept.iter().any(of_tree)
    };
    let objects: Vec<PathBuf> = cache.entries("objects").into_iter().filter(|path| !is_kept(path)).take(100).collect();
    assert_eq!(objects.len(), 100);
    objects.iter().enumerate().for_each(|(n, path)| flip(path, n * 7919));
    let found = verify(&cache);
    let wrong: Vec<PathBuf> = found.wrong.iter().map(|wrong| root.path().join(&wrong.path)).collect();
    assert!(objects.iter().all(|path| wrong.contains(path) && !path.exists()), "{found:?}");
    let aside = found.aside.clone().unwrap();
    assert!(aside.starts_with(root.path().join("wrong")), "{aside:?}");
    for path in &objects {
        assert!(aside.join(path.strip_prefix(root.path()).unwrap()).exists(), "nothing is deleted");
    }
    for (name, (record, before)) in names.iter().zip(records.iter().zip(&before)) {
        let is_whole = cache.record(&record.key).unwrap().is_some();
        if !is_whole {
            make_own(&cache, name);
        }
        assert_eq!(contents(&cache, record), *before, "{name}");
    }
    assert!(records[34..].iter().all(|record| cache.record(&record.key).unwrap().is_some()), "these were good");
    assert_eq!(verify(&cache).wrong, []);
}

#[test]
fn what_lies_in_a_tree_but_is_no_link_is_read_too() {
    let root = tempfile::tempdir().unwrap();
    let cache = Cache::open(root.path()).unwrap();
    let record = make_own(&cache, "a");
    let top = cache.path(&record.outputs["tree"]);
    let own = top.join("sub/own");
    // As where a file has no links left to give.
    fs::copy(&own, top.join("copy")).unwrap();
    fs::rename(top.join("copy"), &own).unwrap();
    crate::files::seal(&own, false).unwrap();
    [top.join("sub"), top.clone()].iter().for_each(|folder| crate::files::seal_time(folder).unwrap());
    assert_eq!(verify(&cache).wrong, []);
    flip(&own, 4711);
    let found = verify(&cache);
    let [wrong] = &found.wrong[..] else { panic!("{found:?}") };
    assert!(wrong.path.starts_with("trees") && wrong.what.starts_with("sub/own: "), "{wrong:?}");
    assert_eq!(found.dropped, ["stage"]);
    let object = look(&cache.path(&record.outputs["notes"])).unwrap();
    assert!(object.is_some() && !top.exists());
    make_own(&cache, "a");
    assert_eq!(verify(&cache).wrong, []);
}

#[test]
fn listings_records_notes_and_passing_results_are_looked_at_and_a_name_is_only_told() {
    let root = tempfile::tempdir().unwrap();
    let cache = Cache::open(root.path()).unwrap();
    let record = make_own(&cache, "a");
    cache.note_latest("a", &record.key).unwrap();
    let crate::Passing::Miss(slot) = cache.passing(&key("p").0, &nobody).unwrap() else { panic!("it is there") };
    fs::write(slot.path().join("small"), "small").unwrap();
    let passing = slot.commit().unwrap();
    let slot = cache.named_slot().unwrap();
    fs::write(slot.path().join("state"), "state").unwrap();
    let named = slot.commit(Path::new("/p"), "mine", Vec::new(), Vec::new(), false).unwrap();
    assert_eq!(verify(&cache).wrong, []);
    let damage = |path: &Path| {
        let time = fs::metadata(path).unwrap().modified().unwrap();
        let mut content = fs::read(path).unwrap();
        *content.last_mut().unwrap() ^= 1;
        fs::write(path, content).unwrap();
        fs::File::options().append(true).open(path).unwrap().set_modified(time).unwrap();
    };
    for folder in ["records", "manifests", "latest"] {
        damage(&cache.entries(folder)[0]);
    }
    damage(&passing.join("small"));
    damage(&named.join("state"));
    let found = verify(&cache);
    let tops: Vec<_> = found.wrong.iter().map(|wrong| wrong.path.iter().next().unwrap().to_str().unwrap()).collect();
    assert_eq!(tops, ["latest", "manifests", "named-files", "passing", "records"], "{found:?}");
    assert!(!passing.exists() && named.exists());
    // The next look finds what only its owner can make good.
    let again = verify(&cache);
    assert_eq!((again.wrong.len(), again.aside), (1, None));
}

#[test]
fn what_cannot_be_set_aside_is_told_and_stays() {
    let root = tempfile::tempdir().unwrap();
    let cache = Cache::open(root.path()).unwrap();
    let record = make_own(&cache, "a");
    flip(&cache.path(&record.outputs["notes"]), 3);
    // Whoever may not write here, and root, who may everything, but not this.
    fs::write(root.path().join("wrong"), "").unwrap();
    let found = verify(&cache);
    assert!(found.aside.is_none() && found.refused.as_ref().is_some_and(|why| why.contains("wrong")), "{found:?}");
    assert_eq!(found.wrong.len(), 1);
    assert!(cache.record(&record.key).unwrap().is_some() && cache.path(&record.outputs["notes"]).exists());
}

#[test]
fn builds_beside_it_come_to_what_they_come_to_alone() {
    let root = tempfile::tempdir().unwrap();
    let cache = Cache::open(root.path()).unwrap();
    let first = make_own(&cache, "first");
    flip(&cache.path(&first.outputs["notes"]), 1);
    std::thread::scope(|scope| {
        let builder = scope.spawn(|| {
            let own = Cache::open(root.path()).unwrap();
            let _held = own.hold(&|| panic!("it keeps no build waiting")).unwrap();
            (0..60).map(|n| make_own(&own, &format!("result {n}"))).collect::<Vec<_>>()
        });
        while !builder.is_finished() {
            let found = verify(&cache);
            // Only what was wrong, whatever comes meanwhile.
            assert!(
                found
                    .wrong
                    .iter()
                    .all(|wrong| wrong.path.to_string_lossy().contains(&first.outputs["notes"].digest.to_string())),
                "{found:?}"
            );
        }
        let made = builder.join().unwrap();
        assert!(made.iter().flat_map(|record| record.outputs.values()).all(|output| cache.is_present(output).unwrap()));
    });
    assert_eq!(verify(&cache).wrong, []);
    assert!(cache.record(&first.key).unwrap().is_none());
}
