//! What fingerprints promise about trees that change.

mod asked;
mod holds;

use super::look::digest_stable;
use super::*;
use std::fs::{self, FileTimes};
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::time::Duration;

/// The time so many seconds from now, in nanoseconds since 1970.
fn in_seconds(later: i128) -> i128 {
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap().as_nanos();
    i128::try_from(now).unwrap() + later * 1_000_000_000
}

struct Place {
    _folder: tempfile::TempDir,
    cache: Cache,
    source: PathBuf,
}

fn place() -> Place {
    let folder = tempfile::tempdir().unwrap();
    let source = folder.path().join("source");
    fs::create_dir(&source).unwrap();
    let cache = Cache::open(&folder.path().join("cache")).unwrap();
    Place { cache, source, _folder: folder }
}

const ALL: Selection = Selection::All { skip: &|_| false };

impl Place {
    fn write(&self, path: &str, content: &str) -> PathBuf {
        let path = self.source.join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, content).unwrap();
        path
    }

    /// A scan as it would be `later` seconds from now.
    fn scan_as(&self, selection: Selection, later: i128) -> Result<Fingerprint> {
        self.cache.scan_at(&self.source, selection, in_seconds(later), &Looked::default())
    }

    fn scan_in(&self, later: i128) -> Tree {
        self.scan_as(ALL, later).unwrap().tree().unwrap().clone()
    }

    fn scan(&self) -> Result<Fingerprint> {
        self.cache.scan(&self.source, ALL, &Looked::default())
    }

    fn memory(&self) -> PathBuf {
        self.cache.place("stats", &Digest::of(self.source.as_os_str().as_bytes()))
    }

    fn stats(&self) -> Stats {
        self.cache.load(What::Stats, &self.memory()).unwrap().unwrap()
    }

    /// How many items are trusted next time.
    fn remembered(&self) -> usize {
        self.stats().items.iter().filter(|item| item.stat.is_some()).count()
    }

    /// Changes what is remembered: what was not looked at again comes out wrong.
    fn lie(&self, path: &str, node: Node) {
        let mut stats = self.stats();
        stats.items.iter_mut().find(|item| item.path == path).unwrap().node = node;
        stats.output = None;
        self.cache.store(What::Stats, &self.memory(), &stats).unwrap();
    }
}

fn paths(tree: &Tree) -> Vec<&str> {
    tree.items().iter().map(|(path, _)| path.as_str()).collect()
}

#[test]
fn time_owner_and_place_do_not_count_but_contents_and_kinds_do() {
    let (a, b) = (place(), place());
    for place in [&a, &b] {
        place.write("dir/file", "content");
        std::os::unix::fs::symlink("dir/file", place.source.join("link")).unwrap();
    }
    let old = fs::File::options().write(true).open(a.source.join("dir/file")).unwrap();
    old.set_times(FileTimes::new().set_modified(SystemTime::UNIX_EPOCH + Duration::from_secs(5))).unwrap();
    let digest = |place: &Place| place.scan().unwrap().output().digest;
    let before = digest(&a);
    assert_eq!(before, digest(&b));
    fs::set_permissions(b.source.join("dir/file"), fs::Permissions::from_mode(0o755)).unwrap();
    assert_ne!(before, digest(&b));
    b.write("dir/file", "c0ntent");
    fs::set_permissions(b.source.join("dir/file"), fs::Permissions::from_mode(0o644)).unwrap();
    assert_ne!(before, digest(&b));
    b.write("dir/file", "content");
    assert_eq!(before, digest(&b));
}

/// A change of the same length within the same tick of the clock leaves the same `lstat`: only the racy rule sees it.
#[test]
fn a_file_changed_just_now_is_not_remembered() {
    let place = place();
    place.write("file", "old");
    place.scan_in(0);
    assert_eq!(place.remembered(), 0);
    place.scan_in(1);
    assert_eq!(place.remembered(), 0);
    place.scan_in(3);
    assert_eq!(place.remembered(), 1);
    // Written in place while racy: what it was is forgotten, what it is now is seen.
    place.write("file", "new");
    let tree = place.scan_in(0);
    let Node::File { digest, .. } = tree.items()[0].1 else { panic!() };
    assert_eq!(digest, Digest::of(b"new"));
    assert_eq!(place.remembered(), 0);
}

#[test]
fn a_time_in_the_future_is_racy() {
    let place = place();
    let path = place.write("file", "x");
    let file = fs::File::options().write(true).open(path).unwrap();
    file.set_times(FileTimes::new().set_modified(SystemTime::now() + Duration::from_secs(1000))).unwrap();
    place.scan_in(10);
    assert_eq!(place.remembered(), 0);
}

#[test]
fn only_what_changed_is_read_again() {
    let place = place();
    let path = place.write("file", "abc");
    std::os::unix::fs::symlink("file", place.source.join("link")).unwrap();
    let honest = place.scan_in(3);
    place.lie("link", Node::Symlink { target: "lie".to_owned() });
    assert_ne!(place.scan_in(3), honest, "the symlink was read though nothing changed");
    place.lie("link", Node::Symlink { target: "file".to_owned() });
    place.lie("file", Node::File { digest: Digest::of(b"lie"), size: 3, executable: false });
    assert_ne!(place.scan_in(3), honest, "the file was read though nothing changed");
    // The modification time is put back; the change time tells.
    let times = fs::metadata(&path).unwrap().modified().unwrap();
    let file = fs::File::options().write(true).open(&path).unwrap();
    file.set_times(FileTimes::new().set_modified(times)).unwrap();
    assert_eq!(place.scan_in(3), honest);
    // A damaged memory costs time only.
    fs::write(place.memory(), "garbage").unwrap();
    assert_eq!(place.scan_in(3), honest);
}

#[test]
fn an_unchanged_tree_is_not_made_and_nothing_is_written() {
    let place = place();
    place.write("dir/file", "abc");
    let first = place.scan_as(ALL, 3).unwrap();
    let written = fs::metadata(place.memory()).unwrap().ino();
    let second = place.scan_as(ALL, 3).unwrap();
    assert!(second.tree.get().is_none());
    assert_eq!(second.output(), first.output());
    assert_eq!(&second.tree().unwrap().output(), first.output());
    assert_eq!(fs::metadata(place.memory()).unwrap().ino(), written);
}

#[test]
fn what_is_skipped_is_not_in_the_tree() {
    let place = place();
    for path in ["a.c", "b/c.c", ".git/HEAD", "b/.quiz/x", "b/d", "z"] {
        place.write(path, path);
    }
    let skip = |path: &str| path == ".git" || path.ends_with("/.quiz") || path == "b/d";
    let all = place.scan_as(Selection::All { skip: &skip }, 0).unwrap();
    assert_eq!(paths(all.tree().unwrap()), ["a.c", "b", "b/c.c", "z"]);
}

#[test]
fn what_a_tree_cannot_hold_is_named() {
    use std::os::unix::ffi::OsStrExt;
    let check = |make: &dyn Fn(&Path), word: &str| {
        let place = place();
        make(&place.source);
        let message = place.scan().unwrap_err().to_string();
        assert!(message.contains(word) && message.contains("bad"), "{message}");
        if word != "UTF-8" {
            let listed = place.scan_as(asked::selection(&|| Ok(vec!["bad".to_owned()])), 0);
            assert!(listed.unwrap_err().to_string().contains(word));
        }
    };
    let with_mode = |path: &Path, mode| {
        fs::write(path.join("bad"), "").unwrap();
        fs::set_permissions(path.join("bad"), fs::Permissions::from_mode(mode)).unwrap();
    };
    check(&|p| with_mode(p, 0o4755), "setuid");
    check(&|p| with_mode(p, 0o2755), "setgid");
    check(&|p| with_mode(p, 0o1644), "sticky");
    check(&|p| drop(std::os::unix::net::UnixListener::bind(p.join("bad")).unwrap()), "socket");
    let fifo = rustix::fs::FileType::Fifo;
    check(&|p| rustix::fs::mknodat(rustix::fs::CWD, p.join("bad"), fifo, 0o600.into(), 0).unwrap(), "fifo");
    check(&|p| fs::write(p.join(std::ffi::OsStr::from_bytes(b"bad\xff")), "").unwrap(), "UTF-8");
}

#[test]
fn a_file_that_keeps_changing_is_an_error_and_one_that_stops_is_read() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("file");
    let root = Root::open(folder.path().to_owned()).unwrap();
    let mut changes = 0;
    let mut read_with_changes = |most: u32| {
        fs::write(&path, "x").unwrap();
        changes = 0;
        digest_stable(&root, "file", |file, executable| {
            let result = Digest::of_reader(file, executable);
            if changes < most {
                changes += 1;
                fs::write(&path, "x".repeat(1 + changes as usize))?;
            }
            result
        })
    };
    let message = read_with_changes(u32::MAX).unwrap_err().to_string();
    assert!(message.contains("file changed while it was read"), "{message}");
    let (digest, stat) = read_with_changes(2).unwrap().unwrap();
    assert_eq!((digest, stat.size), (Digest::of(b"xxx"), 3));
    fs::remove_file(&path).unwrap();
    assert!(digest_stable(&root, "file", |f, x| Digest::of_reader(f, x)).unwrap().is_none());
}

#[test]
fn a_scan_is_stored_as_it_was_seen() {
    let place = place();
    place.write("dir/file", "content");
    let script = place.write("script", "#!/bin/sh\n");
    fs::set_permissions(&script, fs::Permissions::from_mode(0o700)).unwrap();
    fs::create_dir(place.source.join("empty")).unwrap();
    std::os::unix::fs::symlink("nowhere", place.source.join("link")).unwrap();
    let scan = place.scan().unwrap();
    let output = place.cache.put_tree_from_scan(&scan).unwrap();
    assert_eq!(&output, scan.output());
    assert!(place.cache.is_present(&output).unwrap());
    let again = place.cache.scan(&place.cache.path(&output), ALL, &Looked::default()).unwrap();
    assert_eq!(again.tree().unwrap(), scan.tree().unwrap());
}

#[test]
fn a_part_of_a_scan_is_stored_alone_and_remembered() {
    let place = place();
    for path in ["Kconfig", "fs/Kconfig", "fs/inode.c"] {
        place.write(path, path);
    }
    let patterns = ["**/Kconfig".to_owned()];
    let scan = place.scan_as(ALL, 3).unwrap();
    let part = place.cache.subtree_from_scan(&scan, &patterns).unwrap();
    assert_eq!(part, scan.tree().unwrap().filter(&patterns).unwrap().output());
    assert_eq!(&place.cache.subtree_from_scan(&scan, &[]).unwrap(), scan.output());
    let at = place.cache.realise_subtree_from_scan(&scan, &patterns).unwrap();
    assert_eq!(at, place.cache.path(&part));
    assert_eq!(fs::read_to_string(at.join("fs/Kconfig")).unwrap(), "fs/Kconfig");
    assert!(!at.join("fs/inode.c").exists() && !place.cache.is_present(scan.output()).unwrap());
    // Asked again: from the memory, without the tree.
    let again = place.scan_as(ALL, 3).unwrap();
    assert_eq!(place.cache.subtree_from_scan(&again, &patterns).unwrap(), part);
    assert_eq!(place.cache.realise_subtree_from_scan(&again, &patterns).unwrap(), at);
    assert!(again.tree.get().is_none());
    // A part that was lost or damaged is made again.
    fs::remove_file(at.join("Kconfig")).unwrap();
    place.cache.realise_subtree_from_scan(&again, &patterns).unwrap();
    assert!(place.cache.is_present(&part).unwrap());
}

#[test]
fn what_changed_since_the_scan_is_told_apart() {
    type Change = (&'static str, fn(&Path));
    let changes: [Change; 5] = [
        ("written", |path| fs::write(path, "Changed").unwrap()),
        ("gone", |path| fs::remove_file(path).unwrap()),
        ("folder gone", |path| fs::remove_dir_all(path.parent().unwrap()).unwrap()),
        ("symlink", |path| {
            fs::rename(path, path.with_extension("other")).unwrap();
            std::os::unix::fs::symlink("file.other", path).unwrap();
        }),
        ("fifo", |path| {
            fs::remove_file(path).unwrap();
            rustix::fs::mknodat(rustix::fs::CWD, path, rustix::fs::FileType::Fifo, 0o600.into(), 0).unwrap();
        }),
    ];
    for (what, change) in changes {
        let place = place();
        let path = place.write("dir/file", "changed");
        let scan = place.scan().unwrap();
        change(&path);
        for result in [
            place.cache.put_tree_from_scan(&scan).map(drop),
            place.cache.realise_subtree_from_scan(&scan, &["dir/*".to_owned()]).map(drop),
        ] {
            let error = result.expect_err(what);
            assert!(error.is_changed(), "{what}: {error}");
            assert!(error.to_string().contains("dir/file changed while it was stored"), "{what}: {error}");
        }
        assert!(!place.cache.is_present(scan.output()).unwrap(), "{what}");
    }
}
