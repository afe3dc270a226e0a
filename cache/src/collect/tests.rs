//! What is collected and what is not.

use super::*;
use crate::tests::{made, settle};
use crate::{Entry, Key, KeyEncoder, Looked, Passing, Selection};
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};

const MONTH: Duration = Duration::from_secs(30 * 24 * 60 * 60);

struct Host {
    folder: tempfile::TempDir,
    cache: Cache,
}

impl Host {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let cache = Cache::open(&folder.path().join("cache")).unwrap();
        Self { folder, cache }
    }

    /// A result of a file of its own, and a tree that has another file of its own and one that all have.
    fn make(&self, name: &str) -> Record {
        let Entry::Miss(slot) = self.cache.slot(&key(name), &|_| {}).unwrap() else { panic!("{name} is there") };
        fs::write(slot.log(), "log").unwrap();
        fs::write(slot.out().join("file"), format!("file {name}")).unwrap();
        fs::create_dir(slot.out().join("tree")).unwrap();
        fs::write(slot.out().join("tree/own"), format!("own {name}")).unwrap();
        fs::write(slot.out().join("tree/twice"), format!("own {name}")).unwrap();
        fs::write(slot.out().join("tree/shared"), "shared").unwrap();
        let manifest = KeyEncoder::new("quiz-cache test").text("name", name).finish().1;
        let record = slot.commit(made(&[("file", Kind::File), ("tree", Kind::Tree)], manifest)).unwrap();
        self.cache.note_latest(name, &record.key).unwrap();
        record
    }

    /// As if nobody had used anything for so long.
    fn pass(&self, time: Duration) {
        let age = |path: &Path| {
            let file = File::open(path).unwrap();
            let modified = file.metadata().unwrap().modified().unwrap();
            file.set_modified(modified - time).unwrap();
        };
        for folder in ["records", "subtrees", "manifests", "memos", "latest", "stats", "glances", "logs", "passing"] {
            let all = folders(&self.cache.root().join(folder));
            let entries = all.iter().flat_map(|dd| fs::read_dir(dd).unwrap()).map(|entry| entry.unwrap().path());
            entries.for_each(|path| age(&if folder == "passing" { path.join("index") } else { path }));
        }
        folders(&self.cache.root().join("scratch")).iter().flat_map(|dd| folders(dd)).for_each(|family| {
            folders(&family).iter().for_each(|path| age(path));
        });
    }

    fn collect(&self) -> Collected {
        self.cache
            .collect(MONTH, &Roots::default(), false, &|step| assert_ne!(step, Step::Waiting, "nobody holds it"))
            .unwrap()
    }

    fn is_present(&self, record: &Record) -> bool {
        record.outputs.values().all(|output| self.cache.is_present(output).unwrap())
    }
}

fn key(name: &str) -> Key {
    KeyEncoder::new("quiz-cache test").text("name", name).finish().0
}

#[test]
fn what_was_not_used_goes_and_what_was_used_stays_whole() {
    let host = Host::new();
    let (old, used) = (host.make("old"), host.make("used"));
    assert_eq!(host.collect(), Collected::new(), "all of it is new");
    host.pass(MONTH + DAY + DAY);
    assert_eq!(host.cache.record(&used.key).unwrap().as_ref(), Some(&used));
    settle(host.cache.root());
    let looked = host.cache.collect(MONTH, &Roots::default(), true, &|_| {}).unwrap();
    assert!(host.cache.path(&old.outputs["tree"]).exists(), "it was only looked at");
    let steps = RefCell::new(Vec::new());
    let collected = host.cache.collect(MONTH, &Roots::default(), false, &|step| steps.borrow_mut().push(step)).unwrap();
    assert_eq!(collected, looked);
    let all = collected.values().map(|count| count.number).sum();
    assert_eq!(steps.into_inner(), (1..=all).map(|done| Step::Removed { done, all }).collect::<Vec<_>>());
    // Two contents of its own, of which one has two names in the tree.
    let numbers = ["records", "objects", "trees", "manifests", "logs"].map(|name| collected[name].number);
    assert_eq!(numbers, [1, 2, 1, 1, 1]);
    // What was made under which key is known for a while longer.
    assert_eq!((collected.get("latest"), host.cache.latest_key("old").unwrap()), (None, Some(old.key)));
    assert!(collected["objects"].bytes + collected["trees"].bytes >= 2 * 4096, "{collected:?}");
    assert!(host.is_present(&used) && host.cache.log_path(&used.key).exists());
    assert_eq!(host.cache.latest("used").unwrap(), Some(used));
    assert!(!host.is_present(&old) && host.cache.record(&old.key).unwrap().is_none());
    assert!(!host.cache.path(&old.outputs["tree"]).exists());
    host.make("old");
}

#[test]
fn a_filtered_tree_that_was_used_keeps_its_files_when_the_whole_goes() {
    let host = Host::new();
    let record = host.make("old");
    let part = ["own".to_owned()];
    let place = host.cache.realise_subtree(&record.outputs["tree"], &part).unwrap();
    host.pass(MONTH + DAY + DAY);
    host.cache.subtree(&record.outputs["tree"], &part).unwrap();
    let collected = host.collect();
    assert_eq!((collected["records"].number, collected.get("subtrees")), (1, None));
    assert_eq!(fs::read_to_string(place.join("own")).unwrap(), "own old");
    assert!(!host.cache.path(&record.outputs["tree"]).exists());
}

#[test]
fn scratch_folders_passing_results_and_what_was_remembered_go_too() {
    let host = Host::new();
    let owners = ["kept", "unused", "gone"].map(|name| host.folder.path().join(name));
    owners.iter().for_each(|owner| fs::create_dir(owner).unwrap());
    let scratch = |owner: &Path| host.cache.scratch(&key("family"), owner, &|_| {}).unwrap();
    owners.iter().for_each(|owner| drop(scratch(owner)));
    for name in ["kept", "unused"] {
        let Passing::Miss(slot) = host.cache.passing(&key(name), &|_| {}).unwrap() else { panic!("it is there") };
        fs::write(slot.path().join("file"), name).unwrap();
        slot.commit().unwrap();
        host.cache.set_memo("memo", &key(name), b"value").unwrap();
        fs::write(host.folder.path().join(name).join("source"), name).unwrap();
        host.cache
            .scan(&host.folder.path().join(name), Selection::All { skip: &|_| false }, &Looked::default())
            .unwrap();
    }
    host.pass(MONTH + DAY + DAY);
    let kept = scratch(&owners[0]);
    fs::write(kept.path().with_file_name("state-of-a-test"), "").unwrap();
    fs::remove_dir(&owners[2]).unwrap();
    assert!(matches!(host.cache.passing(&key("kept"), &|_| {}).unwrap(), Passing::Hit(_)));
    host.cache.memo("memo", &key("kept")).unwrap().unwrap();
    host.cache.scan(&owners[0], Selection::All { skip: &|_| false }, &Looked::default()).unwrap();
    let collected = host.collect();
    let number = |name: &str| collected.get(name).map_or(0, |count| count.number);
    assert_eq!(["scratch", "passing", "memos", "stats"].map(number), [2, 1, 1, 1], "{collected:?}");
    assert!(kept.path().exists());
}

#[test]
fn what_a_named_result_needs_stays_as_long_as_that() {
    let host = Host::new();
    let needed = host.make("needed");
    let slot = host.cache.named_slot().unwrap();
    fs::write(slot.path().join("state"), "x").unwrap();
    let (owner, tree) = (Path::new("/project"), needed.outputs["tree"].digest);
    slot.commit(owner, "mine", Vec::new(), vec![tree], false).unwrap();
    host.pass(MONTH + DAY + DAY);
    host.collect();
    assert!(host.is_present(&needed));
    assert!(host.cache.named(owner, "mine").unwrap().is_some());
    host.cache.remove_named(owner, "mine").unwrap();
    host.collect();
    assert!(!host.is_present(&needed));
}

#[test]
fn what_is_held_is_waited_for_and_keeps_what_comes_waiting() {
    let host = Host::new();
    let held = host.cache.hold(&|| panic!("nothing is collected")).unwrap();
    let also = host.cache.hold(&|| panic!("two may hold it")).unwrap();
    let (waits, done) = (AtomicBool::new(false), AtomicBool::new(false));
    std::thread::scope(|scope| {
        let collection = scope.spawn(|| {
            // Another process would have a handle of its own, as this has.
            let other = Cache::open(host.cache.root()).unwrap();
            other
                .collect(MONTH, &Roots::default(), false, &|step| {
                    waits.fetch_or(step == Step::Waiting, SeqCst);
                })
                .unwrap();
            done.store(true, SeqCst);
        });
        while !waits.load(SeqCst) && !collection.is_finished() {
            std::thread::yield_now();
        }
        drop(held);
        assert!(!done.load(SeqCst));
        drop(also);
    });
    assert!(done.load(SeqCst));
}

#[test]
fn a_use_is_noted_once_a_day() {
    let host = Host::new();
    let record = host.make("a");
    let path = host.cache.place("records", record.key.digest());
    let time = || fs::metadata(&path).unwrap().modified().unwrap();
    let before = time();
    host.cache.record(&record.key).unwrap();
    assert_eq!(time(), before);
    host.pass(DAY + DAY);
    host.cache.record(&record.key).unwrap();
    assert!(time() > before - DAY);
}

#[test]
fn what_a_link_leads_to_stays_as_long_as_that_does() {
    let host = Host::new();
    let (kept, other) = (host.make("kept"), host.make("other"));
    let link = host.folder.path().join("worktree-link");
    let tree = host.cache.path(&kept.outputs["tree"]);
    std::os::unix::fs::symlink(&tree, &link).unwrap();
    for _ in 0..2 {
        host.cache.keep_behind(&link).unwrap();
    }
    host.pass(2 * MONTH);
    host.collect();
    assert!(host.is_present(&kept) && !host.is_present(&other));
    assert_eq!(host.cache.record(&kept.key).unwrap(), Some(kept.clone()), "it is a result as before");
    // Another target counts from then on, and a link that is gone no more.
    host.pass(2 * MONTH);
    fs::remove_file(&link).unwrap();
    let gone = host.collect();
    assert!(!host.is_present(&kept) && gone["links"].number == 1, "{gone:?}");
    for target in ["/elsewhere", "."] {
        let _ = fs::remove_file(&link);
        std::os::unix::fs::symlink(target, &link).unwrap();
        host.cache.keep_behind(&link).unwrap();
        assert_eq!(host.collect()["links"].number, 1, "{target} is no tree of the cache");
    }
}

#[test]
fn a_link_whose_worktree_is_not_there_now_counts_when_it_is_again() {
    let host = Host::new();
    let record = host.make("kept");
    let (worktree, away) = (host.folder.path().join("worktree"), host.folder.path().join("away"));
    fs::create_dir(&worktree).unwrap();
    let link = worktree.join("link");
    std::os::unix::fs::symlink(host.cache.path(&record.outputs["tree"]), &link).unwrap();
    host.cache.keep_behind(&link).unwrap();
    fs::rename(&worktree, &away).unwrap();
    host.collect();
    fs::rename(&away, &worktree).unwrap();
    host.pass(2 * MONTH);
    host.collect();
    assert!(host.is_present(&record));
    // Of one that is removed with its folder nothing stays for ever.
    fs::remove_dir_all(&worktree).unwrap();
    host.collect();
    let links = host.cache.entries("links");
    assert_eq!(links.len(), 1);
    let long_ago = SystemTime::now() - crate::needs::PATIENCE - DAY;
    let time = long_ago.duration_since(SystemTime::UNIX_EPOCH).unwrap();
    let time = rustix::fs::Timespec { tv_sec: time.as_secs().try_into().unwrap(), tv_nsec: 0 };
    let times = rustix::fs::Timestamps { last_access: time, last_modification: time };
    rustix::fs::utimensat(rustix::fs::CWD, &links[0], &times, rustix::fs::AtFlags::SYMLINK_NOFOLLOW).unwrap();
    assert_eq!(host.collect()["links"].number, 1);
}

#[test]
fn what_something_outside_needs_stays_until_it_is_gone_or_was_missing_for_long() {
    let host = Host::new();
    let (kept, other) = (host.make("kept"), host.make("other"));
    let (project, away) = (host.folder.path().join("project"), host.folder.path().join("away"));
    let place = project.join("runs/1");
    let keep = || {
        fs::create_dir_all(&place).unwrap();
        let digests = BTreeSet::from([kept.outputs["tree"].digest]);
        host.cache.keep_for(&place, &project, digests).unwrap();
    };
    keep();
    host.pass(2 * MONTH);
    host.collect();
    assert!(host.is_present(&kept) && !host.is_present(&other));
    fs::rename(&project, &away).unwrap();
    let roots = Roots::default();
    host.cache.collect(MONTH, &roots, true, &|_| {}).unwrap();
    let is_missed = || host.cache.needs().unwrap()[0].missing.is_some();
    assert!(!is_missed(), "it was only looked at");
    host.collect();
    assert!(host.is_present(&kept) && is_missed());
    fs::rename(&away, &project).unwrap();
    host.collect();
    assert!(host.is_present(&kept) && !is_missed(), "it is there again");
    // Missing for longer than that.
    fs::rename(&project, &away).unwrap();
    let long_ago = SystemTime::now() - crate::needs::PATIENCE - DAY;
    let need = crate::Need { missing: Some(long_ago), ..host.cache.needs().unwrap().remove(0) };
    let path = host.cache.place("needs", &Digest::of(place.as_os_str().as_encoded_bytes()));
    host.cache.store_need(&path, &need).unwrap();
    assert_eq!(host.collect()["needs"].number, 1);
    assert!(!host.is_present(&kept));
    // Removed.
    let kept = host.make("kept");
    keep();
    host.pass(2 * MONTH);
    fs::remove_dir(&place).unwrap();
    assert_eq!(host.collect()["needs"].number, 1);
    assert!(!host.is_present(&kept));
}

#[test]
fn to_fit_a_size_what_was_used_longest_ago_goes_first_and_what_was_used_today_never() {
    let host = Host::new();
    let large = |name: &str| {
        let Entry::Miss(slot) = host.cache.slot(&key(name), &|_| {}).unwrap() else { panic!("{name} is there") };
        fs::write(slot.out().join("file"), name.repeat(1 << 18)).unwrap();
        let manifest = KeyEncoder::new("quiz-cache test").text("name", name).finish().1;
        slot.commit(made(&[("file", Kind::File)], manifest)).unwrap()
    };
    let day = |days: u64| DAY * u32::try_from(days).unwrap();
    // Each is 10 days older than the next one.
    let oldest = large("aaaa");
    host.pass(day(10));
    let older = large("bbbb");
    host.pass(day(10));
    let new = large("cccc");
    let fit = |most: u64, only_look| {
        host.cache
            .collect_to(most, &Roots::default(), only_look, &|step| assert_ne!(step, Step::Waiting, "nobody holds it"))
            .unwrap()
    };
    settle(host.cache.root());
    let all = fit(u64::MAX, false);
    assert!(all.collected.is_empty() && all.left > 3 << 20, "{all:?}");
    // A MiB each: two of them and what lies around fit.
    let most = all.left - (1 << 19);
    let looked = fit(most, true);
    assert!(
        host.is_present(&oldest) && looked.collected["records"].number == 1 && looked.left <= most / 10 * 9,
        "{looked:?}"
    );
    assert_eq!(fit(most, false), looked);
    assert!(!host.is_present(&oldest) && host.is_present(&older) && host.is_present(&new));
    assert!(fit(most, false).collected.is_empty(), "it fits now");
    let least = fit(0, false);
    assert!(!host.is_present(&older) && host.is_present(&new) && least.left >= 1 << 20, "{least:?}");
}

#[test]
fn to_fit_a_size_nothing_goes_that_was_used_in_the_last_day_also_if_that_was_not_noted() {
    let host = Host::new();
    let hours = |hours: u64| Duration::from_secs(hours * 60 * 60);
    let used = host.make("used");
    host.pass(hours(23));
    // Too soon after it was made to be noted.
    host.cache.record(&used.key).unwrap().unwrap();
    host.pass(hours(23));
    host.cache.collect_to(0, &Roots::default(), false, &|_| {}).unwrap();
    assert!(host.is_present(&used));
    host.pass(hours(3));
    host.cache.collect_to(0, &Roots::default(), false, &|_| {}).unwrap();
    assert!(!host.is_present(&used));
}

#[test]
fn nobody_waits_while_a_collection_that_nobody_asked_for_looks_at_who_needs_what() {
    let host = Host::new();
    let (old, begun) = (host.make("old"), host.make("begun"));
    host.pass(MONTH);
    let asked = AtomicBool::new(false);
    let roots = || {
        assert!(!asked.swap(true, SeqCst), "once is enough");
        let other = Cache::open(host.cache.root()).unwrap();
        drop(other.hold(&|| panic!("a build waits")).unwrap());
        Some(Roots::default())
    };
    // What begins after it was looked is not among the roots.
    let fitted = host.cache.collect_quietly(0, &|| {
        let roots = roots();
        host.cache.record(&begun.key).unwrap().unwrap();
        roots
    });
    assert!(fitted.unwrap().is_some() && asked.load(SeqCst));
    assert!(!host.is_present(&old) && host.is_present(&begun));
}
