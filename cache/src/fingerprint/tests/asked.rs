//! When a list that comes from outside is asked for again, and what of it counts.

use super::*;
use std::cell::Cell;
use std::sync::atomic::{AtomicU32, Ordering};

type List<'a> = &'a (dyn Fn() -> std::result::Result<Vec<String>, ListError> + Sync);

/// A worktree whose files named `.ignore` decide, with `.git` skipped.
pub(super) fn selection(list: List) -> Selection {
    Selection::Asked { rule: "1", list, decides: &|name| name == ".ignore", also: &[], skip: &|path| path == ".git" }
}

/// A worktree: `link`, `a.c`, `dir/b.c`, ignored `out/o` by `.ignore`, and the list's own `index` in `.git`.
struct Worktree {
    place: Place,
    also: Vec<PathBuf>,
    rule: Cell<&'static str>,
}

impl Worktree {
    fn new() -> Self {
        let place = place();
        for path in ["a.c", "dir/b.c", "dir/.ignore", "out/o", ".git/HEAD"] {
            place.write(path, path);
        }
        place.write(".ignore", "out");
        std::os::unix::fs::symlink("a.c", place.source.join("link")).unwrap();
        let also = vec![PathBuf::from(".git/index"), place.source.with_file_name("excludes")];
        Self { place, also, rule: Cell::new("1") }
    }

    /// All that is not below what the `.ignore` names.
    fn list(&self) -> Vec<String> {
        let ignored = fs::read_to_string(self.place.source.join(".ignore")).unwrap_or_default();
        let skip = |path: &str| path == ".git" || ignored.lines().any(|line| line == path);
        let all = Place::fresh_scan(&self.place.source, Selection::All { skip: &skip });
        let items = all.items().iter().filter(|(_, node)| *node != Node::Folder);
        items.map(|(path, _)| path.clone()).collect()
    }

    /// The scan, and how often the list was asked for.
    fn scan_in(&self, later: i128) -> (Fingerprint, u32) {
        self.scan_at(in_seconds(later))
    }

    /// As it would be at that time, in nanoseconds since 1970.
    fn scan_at(&self, now: i128) -> (Fingerprint, u32) {
        let asked = AtomicU32::new(0);
        let listed = self.list();
        let list = || {
            asked.fetch_add(1, Ordering::Relaxed);
            Ok(listed.clone())
        };
        let Selection::Asked { list, decides, skip, .. } = selection(&list) else { unreachable!() };
        let selection = Selection::Asked { rule: self.rule.get(), list, decides, also: &self.also, skip };
        let scan = self.place.cache.scan_at(&self.place.source, selection, now, &Looked::default()).unwrap();
        // Whatever was remembered, it is what one who remembers nothing sees.
        assert_eq!(*scan.tree().unwrap(), Place::fresh_scan(&self.place.source, selection));
        assert_eq!(*scan.output(), scan.tree().unwrap().output());
        (scan, asked.load(Ordering::Relaxed) - 1)
    }

    fn path(&self, path: &str) -> PathBuf {
        self.place.source.join(path)
    }
}

impl Place {
    /// What one who remembers nothing sees.
    fn fresh_scan(source: &Path, selection: Selection) -> Tree {
        let folder = tempfile::tempdir().unwrap();
        let cache = Cache::open(&folder.path().join("cache")).unwrap();
        cache.scan(source, selection, &Looked::default()).unwrap().tree().unwrap().clone()
    }
}

/// Gives all that is there an old time, so that the next change shows even within one tick of the clock.
fn age(path: &Path) {
    if path.is_dir() {
        fs::read_dir(path).unwrap().for_each(|entry| age(&entry.unwrap().path()));
    }
    if !path.is_symlink() {
        let old = FileTimes::new().set_modified(SystemTime::UNIX_EPOCH + Duration::from_secs(5));
        fs::File::open(path).unwrap().set_times(old).unwrap();
    }
}

type Step = (&'static str, fn(&Worktree), u32, bool);

/// What happens, how often the list is asked for then, and whether the tree is another.
const STEPS: &[Step] = &[
    ("nothing", |_| {}, 0, false),
    ("edited", |w| fs::write(w.path("a.c"), "edited").unwrap(), 0, true),
    ("edited to equal content", |w| fs::write(w.path("a.c"), "a.c").unwrap(), 0, false),
    ("executable", |w| fs::set_permissions(w.path("a.c"), fs::Permissions::from_mode(0o755)).unwrap(), 0, true),
    ("other permissions", |w| fs::set_permissions(w.path("a.c"), fs::Permissions::from_mode(0o640)).unwrap(), 0, false),
    ("added to a known folder", |w| drop(w.place.write("dir/new", "x")), 1, true),
    ("added to the root", |w| drop(w.place.write("new", "x")), 1, true),
    ("added with a folder", |w| drop(w.place.write("deep/er/new", "x")), 1, true),
    ("added to an ignored folder", |w| drop(w.place.write("out/new", "x")), 1, false),
    ("changed in an ignored folder", |w| drop(w.place.write("out/o", "longer than before")), 0, false),
    ("added to a skipped folder", |w| drop(w.place.write(".git/new", "x")), 0, false),
    ("ignored in place", |w| drop(w.place.write(".ignore", "out\na.c")), 1, true),
    ("no longer ignored", |w| drop(w.place.write(".ignore", "")), 1, true),
    ("an unlisted file that decides", |w| drop(w.place.write("dir/.ignore", "changed in place")), 1, true),
    ("deleted", |w| fs::remove_file(w.path("a.c")).unwrap(), 1, true),
    ("folder deleted", |w| fs::remove_dir_all(w.path("dir")).unwrap(), 1, true),
    ("renamed", |w| fs::rename(w.path("a.c"), w.path("c.c")).unwrap(), 1, true),
    (
        "symlink to elsewhere",
        |w| {
            fs::remove_file(w.path("link")).unwrap();
            std::os::unix::fs::symlink("dir", w.path("link")).unwrap();
        },
        1,
        true,
    ),
    (
        "folder replaced by a symlink to it",
        |w| {
            fs::rename(w.path("dir"), w.path("out/dir")).unwrap();
            std::os::unix::fs::symlink("out/dir", w.path("dir")).unwrap();
        },
        1,
        true,
    ),
    ("index appears", |w| drop(w.place.write(".git/index", "x")), 1, false),
    ("excludes appear", |w| drop(w.place.write("../excludes", "x")), 1, false),
    ("another rule", |w| w.rule.set("2"), 1, false),
];

#[test]
fn the_list_is_asked_for_again_only_when_it_could_have_changed() {
    for (what, change, times, differs) in STEPS {
        let worktree = Worktree::new();
        age(&worktree.place.source);
        let (before, asked) = worktree.scan_in(3);
        assert_eq!(asked, 1, "{what}: the first time");
        change(&worktree);
        let (after, asked) = worktree.scan_in(3);
        assert_eq!(asked, *times, "{what}");
        assert_eq!(before.output() != after.output(), *differs, "{what}");
        assert_eq!(worktree.scan_in(3).1, 0, "{what}: after that");
    }
}

#[test]
fn files_elsewhere_count_when_they_change_or_vanish_and_as_what_they_lead_to() {
    let mut worktree = Worktree::new();
    let real = worktree.place.write("../real", "x");
    let excludes = worktree.also[1].clone();
    std::os::unix::fs::symlink(&real, &excludes).unwrap();
    assert_eq!((worktree.scan_in(3).1, worktree.scan_in(3).1), (1, 0));
    fs::write(&real, "longer").unwrap();
    assert_eq!((worktree.scan_in(3).1, worktree.scan_in(3).1), (1, 0));
    fs::remove_file(&real).unwrap();
    assert_eq!((worktree.scan_in(3).1, worktree.scan_in(3).1), (1, 0));
    worktree.also.pop();
    assert_eq!((worktree.scan_in(3).1, worktree.scan_in(3).1), (1, 0));
}

#[test]
fn what_was_changed_just_now_is_asked_for_again() {
    let worktree = Worktree::new();
    // Made last; from there, and not from now, since a slow machine takes its time to look.
    let made = fs::symlink_metadata(worktree.path("link")).unwrap();
    let made = i128::from(made.ctime()) * 1_000_000_000 + i128::from(made.ctime_nsec());
    let times = [0, 1, 3, 3].map(|later| worktree.scan_at(made + later * 1_000_000_000).1);
    assert_eq!(times, [1, 1, 1, 0]);
}

/// The worst moment: the folders were looked at, the list is made, the scan is not over.
#[test]
fn a_file_made_during_a_scan_is_in_the_next() {
    let place = place();
    place.write("a.c", "x");
    age(&place.source);
    let list = || {
        place.write("late.c", "x");
        Ok(vec!["a.c".to_owned()])
    };
    assert_eq!(paths(place.scan_as(selection(&list), 3).unwrap().tree().unwrap()), ["a.c"]);
    let all = || Ok(["a.c", "late.c"].map(str::to_owned).to_vec());
    assert_eq!(paths(place.scan_as(selection(&all), 3).unwrap().tree().unwrap()), ["a.c", "late.c"]);
}

#[test]
fn what_is_listed_but_is_no_source_is_left_out() {
    let place = place();
    for path in ["b/c.c", "submodule/x", "nested/x", ".git/HEAD", "z"] {
        place.write(path, path);
    }
    std::os::unix::fs::symlink("b", place.source.join("link")).unwrap();
    let listed = [
        "z",
        "b/c.c",
        "z",
        "deleted",
        "deleted/too",
        "submodule",
        "nested/",
        "z/below",
        ".git/HEAD",
        "link",
        "link/c.c",
    ];
    let list = || Ok(listed.map(str::to_owned).to_vec());
    let expected = ["b", "b/c.c", "link", "submodule", "z"];
    for _ in 0..2 {
        let scan = place.scan_as(selection(&list), 3).unwrap();
        assert_eq!(paths(scan.tree().unwrap()), expected);
    }
}

#[test]
fn a_list_of_what_is_no_path_below_the_root_is_refused() {
    for path in ["../x", "/etc/passwd", "./z", ""] {
        let message = place().scan_as(selection(&|| Ok(vec![path.to_owned()])), 3).unwrap_err().to_string();
        assert!(message.contains(&format!("`{path}` is not a path below a folder")), "{message}");
    }
}

#[test]
fn a_list_that_fails_is_an_error_with_its_cause_and_is_asked_for_again() {
    let place = place();
    place.write("a.c", "x");
    let error = place.scan_as(selection(&|| Err("no such program".into())), 3).unwrap_err();
    assert!(error.to_string().contains("cannot list the files of"), "{error}");
    assert_eq!(std::error::Error::source(&error).unwrap().to_string(), "no such program");
    let scan = place.scan_as(selection(&|| Ok(vec!["a.c".to_owned()])), 3).unwrap();
    assert_eq!(paths(scan.tree().unwrap()), ["a.c"]);
}

#[test]
fn a_listed_file_that_became_a_fifo_is_refused_by_name() {
    let place = place();
    let path = place.write("a.c", "x");
    let list = || Ok(vec!["a.c".to_owned()]);
    place.scan_as(selection(&list), 3).unwrap();
    fs::remove_file(&path).unwrap();
    rustix::fs::mknodat(rustix::fs::CWD, &path, rustix::fs::FileType::Fifo, 0o600.into(), 0).unwrap();
    let message = place.scan_as(selection(&list), 3).unwrap_err().to_string();
    assert!(message.contains("a.c is a fifo"), "{message}");
}

#[test]
fn an_edited_file_is_the_only_one_that_is_read() {
    let worktree = Worktree::new();
    let (before, _) = worktree.scan_in(3);
    worktree.place.lie("dir/b.c", Node::File { digest: Digest::of(b"lie"), size: 7, executable: false });
    fs::write(worktree.path("a.c"), "edited").unwrap();
    let list = || panic!("asked");
    let Selection::Asked { decides, skip, .. } = selection(&list) else { unreachable!() };
    let selection = Selection::Asked { rule: "1", list: &list, decides, also: &worktree.also, skip };
    let after = worktree.place.scan_as(selection, 3).unwrap();
    let node = |scan: &Fingerprint, path: &str| {
        let items = scan.tree().unwrap().items();
        items.iter().find(|(item, _)| item == path).unwrap().1.clone()
    };
    assert!(matches!(node(&after, "dir/b.c"), Node::File { digest, .. } if digest == Digest::of(b"lie")));
    assert!(matches!(node(&after, "a.c"), Node::File { digest, .. } if digest == Digest::of(b"edited")));
    assert_ne!(node(&before, "a.c"), node(&after, "a.c"));
}

/// The quick look finds nothing changed, and then the list that belongs to it is another one: another process was faster.
#[test]
fn what_is_remembered_no_more_is_told_as_a_change_and_the_next_scan_looks_for_itself() {
    let worktree = Worktree::new();
    let (before, _) = worktree.scan_in(3);
    let (again, asked) = worktree.scan_in(3);
    assert_eq!((again.output(), asked), (before.output(), 0));
    let (stats, glance) = worktree.place.cache.scan_places(again.root());
    assert!(glance.exists());
    fs::remove_file(stats).unwrap();
    let unseen = Fingerprint { tree: OnceLock::new(), ..again };
    assert!(unseen.tree().unwrap_err().is_changed());
    let (after, _) = worktree.scan_in(3);
    assert_eq!(after.tree().unwrap(), before.tree().unwrap());
}
