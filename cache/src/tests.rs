//! The promises of the cache as a whole: all or nothing, once, never wrong.

mod damage;
mod keys;
mod packs;
mod process;
mod promises;
mod room;
mod verify;

use crate::{Built, Cache, Entry, Key, KeyEncoder, Kind, Made, Manifest, Record, Slot};
use std::fs;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::time::Duration;

fn key(name: &str) -> (Key, Manifest) {
    KeyEncoder::new("quiz-cache test").text("name", name).finish()
}

pub(crate) fn made(outputs: &[(&str, Kind)], manifest: Manifest) -> Made {
    Made {
        stage: "stage".to_owned(),
        outputs: outputs.iter().map(|(name, kind)| ((*name).to_owned(), *kind)).collect(),
        kept: std::collections::BTreeMap::new(),
        over: std::collections::BTreeMap::new(),
        manifest,
        took: Duration::from_millis(1500),
        from: Built::FromNothing,
    }
}

fn miss(entry: Entry) -> Slot {
    match entry {
        Entry::Miss(slot) => slot,
        Entry::Hit(record) => panic!("a hit: {record:?}"),
    }
}

fn hit(entry: Entry) -> Record {
    match entry {
        Entry::Hit(record) => record,
        Entry::Miss(_) => panic!("a miss"),
    }
}

fn nobody(pid: u32) {
    panic!("waits for {pid}");
}

/// A file `tool` (executable), a file `notes`, and a tree `tree` of two files of equal content, a folder and a symlink.
fn fill(out: &Path) {
    use std::os::unix::fs::PermissionsExt;
    fs::write(out.join("notes"), "notes").unwrap();
    fs::write(out.join("tool"), "#!/bin/sh\n").unwrap();
    fs::set_permissions(out.join("tool"), fs::Permissions::from_mode(0o750)).unwrap();
    fs::create_dir_all(out.join("tree/sub/empty")).unwrap();
    fs::write(out.join("tree/a"), "same").unwrap();
    fs::write(out.join("tree/sub/b"), "same").unwrap();
    std::os::unix::fs::symlink("sub/b", out.join("tree/link")).unwrap();
}

const OUTPUTS: [(&str, Kind); 3] = [("notes", Kind::File), ("tool", Kind::File), ("tree", Kind::Tree)];

fn make(cache: &Cache, name: &str) -> Record {
    let (key, manifest) = key(name);
    let slot = miss(cache.remake(&key, &nobody).unwrap());
    fill(slot.out());
    slot.commit(made(&OUTPUTS, manifest)).unwrap()
}

/// Waits until each file under `folder` takes as much of the disk as it holds, and no less than the smallest block has: some file systems know that
/// seconds after it was written, and until then tell one sector.
pub(crate) fn settle(folder: &Path) {
    fn is_settled(folder: &Path) -> bool {
        fs::read_dir(folder).into_iter().flatten().flatten().all(|entry| {
            let meta = entry.metadata().unwrap();
            match meta.is_dir() {
                true => is_settled(&entry.path()),
                false => !meta.is_file() || meta.len() == 0 || meta.blocks() * 512 >= meta.len().max(1024),
            }
        })
    }
    (0..2000).take_while(|_| !is_settled(folder)).for_each(|_| std::thread::sleep(Duration::from_millis(10)));
}

/// All files and folders under `folder`, for "nothing is left" checks. What NFS keeps under another name for who had it open is gone a moment later.
fn count(folder: &Path) -> usize {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    let entries = entries.filter(|entry| !entry.file_name().as_bytes().starts_with(b".nfs"));
    entries.map(|e| 1 + if e.file_type().unwrap().is_dir() { count(&e.path()) } else { 0 }).sum()
}
