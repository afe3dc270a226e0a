//! What quiz.lock promises.

use super::*;
use crate::source::{Context, DscFile, DscPin, GitPin, PackagePin, PackagesPin, Spec, UrlPin};

fn parse(text: &str) -> Result<Lock> {
    Lock::parse(&Document::new(Path::new("quiz.lock"), text))
}

fn context() -> Context {
    let none = || "/none".into();
    Context {
        cache: none(),
        arch: "x86_64".into(),
        mirrors: crate::source::Mirrors::default(),
        offline: true,
        start: none(),
        base: none(),
    }
}

fn wish(entry: &str, option: (&str, &[&str])) -> Wish {
    let text = format!(
        "entry = \"{entry}\"\ndebian = {{ package = \"l-{{series}}\", tarball = \"t\" }}\n\
         url = {{ index = \"https://example.org/\", file = \"f\", sums = \"s\" }}\npackages = {{ essential = true }}\n\
         git = {{ repository = \"r\", tag = \"v{{version}}\" }}\ndsc = {{ package = \"l\" }}\n"
    );
    let spec: Spec = toml::from_str(&text).unwrap();
    let value = |values: &[&str]| values.iter().map(|v| (*v).to_owned()).collect();
    let mut options = BTreeMap::from([(option.0.to_owned(), value(option.1))]);
    if option.0 == "packages" {
        options.insert("origin".to_owned(), value(&["packages"]));
        options.insert("suite".to_owned(), value(&["bookworm"]));
    }
    Wish::new(&spec, &options, &context()).unwrap()
}

fn package(name: &str) -> Package {
    let sha256 = "0123456789abcdef".repeat(4);
    Package { name: name.into(), version: "1:2.0-1+b1".into(), arch: "amd64".into(), sha256, size: 42 }
}

fn found(name: &str, suite: Option<&str>) -> Pin {
    let pin = PackagePin::new(package(name), "");
    Pin::Package(PackagePin { suite: suite.map(str::to_owned), ..pin })
}

fn url() -> Pin {
    let sha256 = "f".repeat(64);
    Pin::Url(UrlPin { url: "https://example.org/a\"b.tar".into(), version: Some("6.1".into()), sha256, size: None })
}

const TEXT: &str = r#"# Written by quiz: exactly which bytes the sources that quiz.toml names stand for.
# They move only by `quiz update`.
version = 1

[[pin]]
entry = "kernel"
wanted = "debian 6.1"
is.package = { name = "linux", version = "1:2.0-1+b1", arch = "amd64", sha256 = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef", size = 42, suite = "trixie-backports" }

[[pin]]
entry = "kernel"
wanted = "git master"
is.git = { repository = "https://example.org/x.git", name = "master", commit = "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa", tree = "bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb" }

[[pin]]
entry = "kernel"
wanted = "https://example.org/x.tar"
is.url = { version = "6.1", url = 'https://example.org/a"b.tar', sha256 = "ffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff" }

[[pin]]
entry = "rootfs"
wanted = "bookworm amd64: bash less"
is.packages.suite = "bookworm"
is.packages.packages = [
  { name = "bash", version = "1:2.0-1+b1", arch = "amd64", sha256 = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef", size = 42 },
  { name = "less", version = "1:2.0-1+b1", arch = "amd64", sha256 = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef", size = 42 },
]

[[pin]]
entry = "zfs"
wanted = "dsc default"
is.dsc.name = "l"
is.dsc.version = "1"
is.dsc.suite = "bookworm"
is.dsc.files = [
  { name = "l_1.dsc", sha256 = "ffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff", size = 7 },
]
"#;

#[test]
fn the_text_is_stable_sorted_and_read_back() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("quiz.lock");
    let debs =
        Pin::Packages(PackagesPin { suite: "bookworm".into(), packages: vec![package("bash"), package("less")] });
    let file = DscFile { name: "l_1.dsc".into(), sha256: "f".repeat(64), size: 7 };
    let dsc =
        Pin::Dsc(DscPin { name: "l".into(), version: "1".into(), files: vec![file], suite: Some("bookworm".into()) });
    let (repository, name) = ("https://example.org/x.git".into(), "master".into());
    let git = Pin::Git(GitPin { repository, name, commit: "a".repeat(40), tree: "b".repeat(40), kept: None });
    let pins = [
        (wish("zfs", ("origin", &["dsc"])), dsc),
        (wish("kernel", ("version", &["master"])), git),
        (wish("rootfs", ("packages", &["less", "bash", "less"])), debs),
        (wish("kernel", ("version", &["https://example.org/x.tar"])), url()),
        (wish("kernel", ("version", &["6.1"])), found("linux", Some("trixie-backports"))),
    ];
    for (wish, pin) in &pins {
        assert_eq!(add(&path, wish, pin.clone()).unwrap(), *pin);
    }
    assert_eq!(fs::read_to_string(&path).unwrap(), TEXT);
    let lock = Lock::read(&path).unwrap();
    for (wish, pin) in &pins {
        assert_eq!(lock.get(wish), Some(pin));
    }
    assert_eq!(lock.iter().count(), 5);
    assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1, "something else was left in the folder");
}

#[test]
fn the_first_pin_stays_until_it_is_replaced() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("quiz.lock");
    let (wish, first, second) = (wish("kernel", ("version", &["6.1"])), found("a", None), found("b", None));
    assert_eq!(add(&path, &wish, first.clone()).unwrap(), first);
    assert_eq!(add(&path, &wish, second.clone()).unwrap(), first);
    assert_eq!(replace(&path, &wish, second.clone()).unwrap(), Some(first));
    assert_eq!(Lock::read(&path).unwrap().get(&wish), Some(&second));
}

#[test]
fn what_a_killed_writer_left_is_replaced_and_nothing_else_is_left() {
    let dir = tempfile::tempdir().unwrap();
    let (path, wish) = (dir.path().join("quiz.lock"), wish("kernel", ("6.1", &[])));
    std::fs::write(dir.path().join(NEW_LOCK), "half").unwrap();
    replace(&path, &wish, url()).unwrap();
    assert_eq!(Lock::read(&path).unwrap().get(&wish), Some(&url()));
    assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 1);
}

/// What an older quiz wrote: the package comes from the host's own suite, and its stage has the same key.
#[test]
fn a_package_without_a_suite_is_read_as_before() {
    let old = TEXT.replace(", suite = \"trixie-backports\"", "");
    let lock = parse(&old).unwrap();
    let pin = lock.get(&wish("kernel", ("version", &["6.1"]))).unwrap();
    assert_eq!(*pin, found("linux", None));
    assert_eq!(pin.facts(), found("linux", Some("sid")).facts());
    assert_eq!(lock.text(), old);
}

/// A newer quiz says in the name which suite is looked at first: what a team has pinned does not move by that, nor for those who still have the older one.
#[test]
fn what_was_pinned_under_a_name_without_the_suite_still_counts() {
    let of = |own: &str| wish("kernel", ("own", &[own]));
    let old = parse(&TEXT.replace("debian 6.1", "debian default")).unwrap();
    assert_eq!(of("trixie").to_string(), "debian default near trixie");
    assert!(old.get(&of("trixie")).is_none() && old.former(&of("trixie")).is_some());
    let new = parse(&TEXT.replace("debian 6.1", "debian default near trixie")).unwrap();
    assert!(new.get(&of("trixie")).is_some() && new.get(&of("sid")).is_none() && new.former(&of("sid")).is_none());
}

#[test]
fn a_package_is_called_as_packages_are() {
    for odd in ["../../x", "/home/u/x"] {
        let text = TEXT.replace("name = \"linux\"", &format!("name = \"{odd}\""));
        assert_ne!(text, TEXT);
        let error = parse(&text).unwrap_err();
        assert!(error.to_string().contains(&format!("not a valid package or file: `{odd}")), "{error}");
    }
}

#[test]
fn writers_keep_each_others_entries() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("quiz.lock");
    std::thread::scope(|scope| {
        for i in 0..16 {
            let path = &path;
            scope.spawn(move || add(path, &wish(&format!("e{i}"), ("version", &["6.1"])), url()).unwrap());
        }
    });
    assert_eq!(Lock::read(&path).unwrap().iter().count(), 16);
}

#[test]
fn a_link_stays_a_link_and_a_mode_a_mode() {
    use std::os::unix::fs::PermissionsExt;
    let dir = tempfile::tempdir().unwrap();
    let (real, link) = (dir.path().join("real"), dir.path().join("quiz.lock"));
    fs::write(&real, HEAD).unwrap();
    fs::set_permissions(&real, fs::Permissions::from_mode(0o640)).unwrap();
    std::os::unix::fs::symlink(&real, &link).unwrap();
    add(&link, &wish("kernel", ("version", &["6.1"])), url()).unwrap();
    assert!(fs::symlink_metadata(&link).unwrap().is_symlink());
    assert_eq!(fs::metadata(&real).unwrap().permissions().mode() & 0o777, 0o640);
    assert_eq!(Lock::read(&real).unwrap().iter().count(), 1);
}

#[test]
fn what_is_not_understood_is_refused_with_its_place() {
    let error = |text: &str| parse(text).unwrap_err().to_string();
    assert!(error("version = 1\nnew = 2\n").starts_with("quiz.lock:2:1: unknown field `new`"));
    assert!(error(&TEXT.replace("size = 42, suite", "size = 42, odd = 1, suite")).contains("odd"));
    assert!(error(&TEXT.replace("size = 42, suite", "size = \"x\", suite")).starts_with("quiz.lock:8:"));
    assert!(error("version = 2\n").contains("does not know version 2"));
    assert!(error(&TEXT.replace("ffff", "xyzw")).contains("not a sha256"));
    assert!(error(&TEXT.replace("aaaa", "--aa")).contains("not an object id: `--aa"));
    let twice = format!("{TEXT}\n{}", &TEXT[TEXT.find("[[pin]]").unwrap()..]);
    assert!(error(&twice).contains("is there twice"));
}

/// git merges line by line: it leaves its marks, or keeps both of two lines that name one package.
#[test]
fn what_a_merge_leaves_is_told_and_nothing_is_taken_from_it() {
    let less = TEXT.lines().find(|line| line.contains("\"less\"")).unwrap();
    let marks = TEXT.replace(less, &format!("<<<<<<< HEAD\n{less}\n=======\n{less}\n>>>>>>> ü\n"));
    let error = parse(&marks).unwrap_err();
    assert!(error.to_string().starts_with("quiz.lock:"), "{error}");
    assert!(error.hints()[0].contains("restore it from git"), "{:?}", error.hints());
    let twice = TEXT.replace(less, &format!("{less}\n{}", less.replace("1:2.0-1+b1", "1:2.0-2")));
    let error = parse(&twice).unwrap_err().to_string();
    assert_eq!(error, "quiz.lock:27:12: `rootfs` `bookworm amd64: bash less`: `package/less:amd64` is there twice");
    let dsc = TEXT.lines().find(|line| line.contains("l_1.dsc")).unwrap();
    let twice = TEXT.replace(dsc, &format!("{dsc}\n{}", dsc.replace("ffff", "eeee")));
    assert!(parse(&twice).unwrap_err().to_string().ends_with("`file/l_1.dsc` is there twice"));
}

/// A further root is to have the same compiler as the roots that are pinned already.
#[test]
fn packages_of_the_same_entry_suite_and_architecture_are_known() {
    let pin = |suite: &str, packages: &[Package]| {
        Pin::Packages(PackagesPin { suite: suite.into(), packages: packages.to_vec() })
    };
    let (all, other) =
        (Package { arch: "all".into(), ..package("x") }, Package { arch: "arm64".into(), ..package("x") });
    let named = |name: &'static str| wish("rootfs", ("packages", &[name]));
    let lock = Lock(BTreeMap::from([
        (key(&named("a")), pin("bookworm", &[package("a"), all.clone(), other])),
        (key(&named("b")), pin("bookworm", &[package("a"), package("b")])),
        (key(&named("c")), pin("trixie", &[package("c")])),
        (key(&wish("toolchain", ("packages", &["d"]))), pin("bookworm", &[package("d")])),
        (key(&wish("rootfs", ("version", &["6.1"]))), found("e", Some("bookworm"))),
    ]));
    assert_eq!(lock.packages(&named("new")), [package("a"), package("b"), all]);
    assert!(lock.packages(&wish("rootfs", ("version", &["6.1"]))).is_empty());
}
