//! A whole archive on a server of this machine: what is taken from it, and what is refused.

mod beside;
mod lacks;
mod many;
mod served;

use super::signature::tests::{THEN, public, signed};
use super::*;
use crate::event::Event;
use crate::source::deb::tests::package_of;
use crate::source::download::hex;
use served::Files;
use sha2::{Digest as _, Sha256};
use std::io::Write;
use std::path::Path;
use std::sync::Mutex;
use std::time::Duration;

/// A mirror, a snapshot archive, and a machine that knows the mirror and its key.
struct World {
    dir: tempfile::TempDir,
    mirror: Files,
    snapshot: Files,
    ctx: Context,
    host: Host,
    address: String,
    now: u64,
}

fn sum(bytes: &[u8]) -> String {
    hex(&Sha256::digest(bytes))
}

fn deb(name: &str, version: &str) -> Vec<u8> {
    package_of(&format!("Package: {name}\nVersion: {version}\nArchitecture: all\n"), &[("./usr/x", version.as_bytes())])
}

/// A stanza of a list, and the package's path.
fn stanza(name: &str, version: &str, more: &str) -> (String, String) {
    let (deb, path) = (deb(name, version), format!("pool/main/{name}/{name}_{version}_all.deb"));
    let (size, sum) = (deb.len(), sum(&deb));
    let text = format!(
        "Package: {name}\nVersion: {version}\nArchitecture: all\n{more}Filename: {path}\nSize: {size}\nSHA256: {sum}\n\n"
    );
    (text, path)
}

const HEAD: &str = "Suite: oldstable\nCodename: bookworm\nDate: Wed, 01 Jan 2025 00:00:00 UTC\nAcquire-By-Hash: yes\n";

impl World {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let (mirror, snapshot) = (Files::default(), Files::default());
        let (address, archive) = (mirror.serve(), snapshot.serve());
        let etc = dir.path().join("etc");
        fs::create_dir_all(&etc).unwrap();
        fs::write(etc.join("key.asc"), public("good")).unwrap();
        let source = format!("deb [signed-by={}] {address}/debian bookworm main\n", etc.join("key.asc").display());
        fs::write(etc.join("sources.list"), source).unwrap();
        let host = Host::of("ID=debian\nVERSION_CODENAME=bookworm\n", &etc);
        let none = || "/none".into();
        let mirrors = Mirrors { mirror: String::new(), snapshot: archive };
        let (cache, arch) = (dir.path().join("cache"), "x86_64".to_owned());
        let ctx = Context { cache, arch, mirrors, offline: false, start: none(), base: none() };
        let world = Self { dir, mirror, snapshot, ctx, host, address, now: THEN + 60 };
        world.publish(HEAD, &[("a", "1", "Depends: b\n"), ("b", "1", ""), ("c", "1", "")], "good");
        world
    }

    /// Makes the suite anew, of a Release file that begins so. What was in the pool stays there.
    fn publish(&self, head: &str, packages: &[(&str, &str, &str)], key: &str) {
        self.publish_suite("bookworm", head, packages, key);
    }

    fn publish_suite(&self, suite: &str, head: &str, packages: &[(&str, &str, &str)], key: &str) {
        let mut list = String::new();
        for (name, version, more) in packages {
            let (text, path) = stanza(name, version, more);
            list += &text;
            self.mirror.put(format!("debian/{path}"), deb(name, version));
        }
        let mut encoder = liblzma::write::XzEncoder::new(Vec::new(), 1);
        encoder.write_all(list.as_bytes()).unwrap();
        let packed = encoder.finish().unwrap();
        let (hash, size) = (sum(&packed), packed.len());
        let folder = format!("debian/dists/{suite}/main/binary-amd64");
        self.mirror.remove("by-hash");
        self.mirror.put(format!("{folder}/by-hash/SHA256/{hash}"), packed.clone());
        self.mirror.put(format!("{folder}/Packages.xz"), packed);
        let release = format!("{head}SHA256:\n {hash} {size} main/binary-amd64/Packages.xz\n");
        self.mirror.put(format!("debian/dists/{suite}/InRelease"), signed(&release, key));
    }

    fn archive<'a>(&'a self, suite: &'a str, events: Events<'a>) -> Archive<'a> {
        let mut archive = Archive::new(&self.host, suite, What::Packages, &self.ctx, events).unwrap();
        archive.patience = Patience { idle: Duration::from_secs(5), attempts: 2, pause: Duration::from_millis(1) };
        archive.now = self.now;
        archive
    }

    fn resolve_of(&self, suite: &str, events: Events) -> Result<Vec<Package>> {
        let names = BTreeSet::from(["a".to_owned()]);
        let asked = Asked { entry: "e", names: &names, if_there: &[], essential: false, pinned: &[] };
        // The lifetime of the names is that of the archive.
        self.archive(suite, events).resolve(&asked)
    }

    fn resolve(&self) -> Result<Vec<Package>> {
        self.resolve_of("bookworm", &|_| {})
    }

    fn refused(&self) -> (String, String) {
        let error = self.resolve().unwrap_err();
        let said = error.to_string().replace(&self.address, "M");
        (said, error.hints().join("; "))
    }

    fn fetch(&self, packages: &[Package]) -> Result<Vec<String>> {
        let pin = PackagesPin { suite: "bookworm".into(), packages: packages.to_vec() };
        let paths = self.archive("bookworm", &|_| {}).fetch(&pin, "e")?;
        Ok(paths.iter().map(|path| sum(&fs::read(path).unwrap())).collect())
    }
}

fn pinned(name: &str, version: &str) -> Package {
    let bytes = deb(name, version);
    let (name, version, arch) = (name.to_owned(), version.to_owned(), "all".to_owned());
    Package { name, version, arch, sha256: sum(&bytes), size: bytes.len() as u64 }
}

#[test]
fn nothing_is_pinned_without_a_word_where_security_updates_are_not_there() {
    let world = World::new();
    let (address, key) = (&world.address, world.host.etc.join("key.asc"));
    let line = |suite: &str| format!("deb [signed-by={}] {address}/debian {suite} main\n", key.display());
    fs::write(world.host.etc.join("sources.list"), line("bookworm") + &line("bookworm-security")).unwrap();
    world.publish_suite("trixie", &HEAD.replace("bookworm", "trixie"), &[("a", "1", "")], "good");
    let said = Mutex::new(Vec::new());
    let note = |event| {
        if let Event::Warning { message } = event {
            said.lock().unwrap().push(message);
        }
    };
    assert_eq!(world.resolve_of("trixie", &note).unwrap(), [pinned("a", "1")]);
    let said = said.into_inner().unwrap();
    assert!(said.len() == 1 && said[0].contains("has no suite trixie-security"), "{said:?}");
}

#[test]
fn a_damaged_list_is_brought_again() {
    let world = World::new();
    world.resolve().unwrap();
    let lists = walk(&world.dir.path().join("cache"));
    let list = lists.iter().find(|path| path.extension().is_some_and(|end| end == "zst")).unwrap();
    for damage in [&b"no list"[..], b""] {
        fs::write(list, damage).unwrap();
        assert_eq!(world.resolve().unwrap(), [pinned("a", "1"), pinned("b", "1")]);
    }
}

/// All files below a folder.
fn walk(folder: &Path) -> Vec<std::path::PathBuf> {
    let entries = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    entries.flat_map(|path| if path.is_dir() { walk(&path) } else { vec![path] }).collect()
}

#[test]
fn packages_are_found_and_brought_and_lists_only_when_there_are_new_ones() {
    let world = World::new();
    let packages = world.resolve().unwrap();
    assert_eq!(packages, [pinned("a", "1"), pinned("b", "1")]);
    let asked = world.mirror.asked();
    assert!(asked.len() == 2 && asked[1].contains("by-hash/SHA256/"), "{asked:?}");
    world.resolve().unwrap();
    assert_eq!(world.mirror.asked(), ["debian/dists/bookworm/InRelease"]);
    world.publish(HEAD, &[("a", "2", ""), ("b", "1", "")], "good");
    assert_eq!(world.resolve().unwrap(), [pinned("a", "2")]);
    assert_eq!(world.mirror.asked().len(), 2);
    let lists = fs::read_dir(world.ctx.cache.join("archive/bookworm-amd64")).unwrap().flatten().map(|f| f.path());
    let lists = lists.filter(|path| path.is_dir()).flat_map(|path| fs::read_dir(path).unwrap().flatten());
    assert_eq!(lists.filter(|file| file.file_name() != "Release").count(), 1, "the old list is gone");

    let told = Mutex::new(Vec::new());
    let events = |event: Event| {
        if let Event::Download { what, done, total } = event {
            told.lock().unwrap().push((what, done, total));
        }
    };
    let pin = PackagesPin { suite: "bookworm".into(), packages: vec![pinned("a", "2"), pinned("b", "1")] };
    let paths = world.archive("bookworm", &events).fetch(&pin, "e").unwrap();
    assert_eq!(fs::read(&paths[1]).unwrap(), deb("b", "1"));
    let told = told.into_inner().unwrap();
    let total = pin.packages.iter().map(|package| package.size).sum::<u64>();
    assert!(told.iter().all(|(what, _, all)| what == "2 packages" && *all == Some(total)), "{told:?}");
    assert_eq!(told.iter().map(|(_, done, _)| *done).max(), Some(total));
    world.mirror.asked();
    world.archive("bookworm", &|_| {}).fetch(&pin, "e").unwrap();
    assert!(world.mirror.asked().is_empty(), "all is in the cache");
    fs::write(&paths[0], "damaged").unwrap();
    assert_eq!(world.fetch(&pin.packages).unwrap()[0], pin.packages[0].sha256);
}

#[test]
fn a_release_file_that_is_not_to_be_trusted() {
    let world = World::new();
    let packages = [("a", "1", "")];
    let url = "M/debian/dists/bookworm/InRelease";
    world.publish(HEAD, &packages, "other");
    let (error, hint) = world.refused();
    assert!(error.starts_with(&format!("{url} is signed by a key that is not trusted: 7CE35D72")), "{error}");
    assert!(hint.contains("debian-archive-keyring"), "{hint}");

    world.publish(HEAD, &packages, "good");
    let path = "debian/dists/bookworm/InRelease";
    let good = String::from_utf8(world.mirror.0.lock().unwrap()[path].clone()).unwrap();
    world.mirror.put(path, good.replace("oldstable", "oldstablE"));
    assert!(world.refused().0.starts_with(&format!("{url} is not what the key DB26B4C7")), "{:?}", world.refused());
    world.mirror.put(path, format!("Suite: x\n{good}"));
    assert!(world.refused().0.starts_with(&format!("{url} is not a signed text")), "{:?}", world.refused());
    world.mirror.put(path, "<html>log in</html>");
    assert!(world.refused().1.contains("open the address in a browser"));

    fs::write(world.host.etc.join("key.asc"), public("good") + &public("expired")).unwrap();
    world.publish(HEAD, &packages, "expired");
    let later = World { now: THEN + 86_400 * 3, ..world };
    assert!(later.refused().0.ends_with(", which has expired"), "{:?}", later.refused());
    // None of this left anything that would be read.
    let offline = World { ctx: Context { offline: true, ..later.ctx.clone() }, ..later };
    assert!(offline.refused().0.starts_with("e: the package lists of bookworm are not in the cache"));
}

#[test]
fn a_release_file_of_another_day_or_suite_or_without_good_sums() {
    let world = World::new();
    let packages = [("a", "1", "")];
    let url = "M/debian/dists/bookworm/InRelease";
    world.publish(&HEAD.replace("bookworm", "trixie"), &packages, "good");
    assert_eq!(world.refused().0, format!("{url} is not of the suite bookworm, but of oldstable, trixie"));

    let until = format!("{HEAD}Valid-Until: Wed, 01 Jan 2025 12:00:00 UTC\n");
    world.publish(&until, &packages, "good");
    let (error, hint) = world.refused();
    assert_eq!(error, format!("{url} was valid only until Wed, 01 Jan 2025 12:00:00 UTC"));
    assert!(hint.contains("Acquire::Check-Valid-Until"), "{hint}");
    fs::write(world.host.etc.join("apt.conf"), "Acquire::Check-Valid-Until \"false\";\n").unwrap();
    world.resolve().unwrap();

    let weak = format!("{HEAD}MD5Sum:\n 00 1 main/binary-amd64/Packages.xz\n");
    world.mirror.put("debian/dists/bookworm/InRelease", signed(&weak, "good"));
    assert_eq!(world.refused().0, format!("{url} has no SHA256 sums: weaker ones can be forged"));

    // A mirror that has yesterday's lists again: today's, which are in the cache, stay.
    let world = World::new();
    world.resolve().unwrap();
    world.publish(&HEAD.replace("01 Jan 2025", "31 Dec 2024"), &[("a", "0.9", "")], "good");
    assert_eq!(world.resolve().unwrap()[0].version, "1");
}

#[test]
fn a_list_that_is_not_what_the_release_file_says() {
    let world = World::new();
    world.mirror.remove("by-hash");
    world.mirror.put("debian/dists/bookworm/main/binary-amd64/Packages.xz", "an older or newer one");
    let (error, _) = world.refused();
    assert!(
        error.starts_with("M/debian/dists/bookworm/main/binary-amd64/Packages.xz could not be downloaded: "),
        "{error}"
    );
    world.mirror.remove("Packages.xz");
    assert!(world.refused().0.ends_with("is not there, but its Release file names it"));
}

#[test]
fn a_suite_that_is_not_there_and_a_server_that_is_not() {
    let world = World::new();
    let error = world.resolve_of("bookwrom", &|_| {}).unwrap_err();
    assert!(error.to_string().contains("`bookwrom`"), "{error}");
    world.mirror.remove("InRelease");
    let error = world.resolve().unwrap_err();
    assert_eq!(error.to_string(), "there is no suite `bookworm`");
    assert!(error.details()[0].ends_with("/debian has no dists/bookworm"), "{:?}", error.details());
    // Nobody listens there.
    let source = format!(
        "deb [signed-by={}] http://127.0.0.1:9/debian bookworm main\n",
        world.host.etc.join("key.asc").display()
    );
    fs::write(world.host.etc.join("sources.list"), source).unwrap();
    let error = world.resolve().unwrap_err();
    assert!(error.hints().iter().any(|hint| hint.contains("is there network?")), "{:?}", error.hints());
}

#[test]
fn without_network_the_lists_of_yesterday_count_with_a_warning() {
    let world = World::new();
    let packages = world.resolve().unwrap();
    let offline = World { ctx: Context { offline: true, ..world.ctx.clone() }, ..world };
    assert_eq!(offline.resolve().unwrap(), packages);
    offline.mirror.asked();
    let error = offline.fetch(&packages).unwrap_err();
    assert_eq!(error.to_string(), "e: 2 of 2 packages are not in the cache, and quiz was told not to use the network");
    assert!(offline.mirror.asked().is_empty());
    let online = World { ctx: Context { offline: false, ..offline.ctx.clone() }, ..offline };
    online.fetch(&packages[..1]).unwrap();
    let offline = World { ctx: Context { offline: true, ..online.ctx.clone() }, ..online };
    let error = offline.fetch(&packages).unwrap_err();
    assert!(error.to_string().starts_with("e: 1 of 2 packages") && error.details() == ["missing: b"], "{error}");
    offline.fetch(&packages[..1]).unwrap();

    // A place that is not reached is a warning while the suite itself is there.
    let online = World { ctx: Context { offline: false, ..offline.ctx.clone() }, ..offline };
    let list = fs::read_to_string(online.host.etc.join("sources.list")).unwrap();
    let other = list.replace(&online.address, "http://127.0.0.1:9").replace("bookworm", "bookworm-updates");
    fs::write(online.host.etc.join("sources.list"), list + &other).unwrap();
    let warned = Mutex::new(Vec::new());
    let events = |event: Event| {
        if let Event::Warning { message } = event {
            warned.lock().unwrap().push(message);
        }
    };
    assert_eq!(online.resolve_of("bookworm", &events).unwrap(), packages);
    let warned = warned.into_inner().unwrap();
    assert!(warned.len() == 1 && warned[0].contains("bookworm-updates: cannot download"), "{warned:?}");
}

#[test]
fn a_version_that_the_lists_do_not_have_any_more() {
    let world = World::new();
    let old = [pinned("a", "1")];
    world.publish(HEAD, &[("a", "2", "")], "good");
    // The mirror still has it, beside the new one.
    assert_eq!(world.fetch(&old).unwrap(), [old[0].sha256.clone()]);
    fs::remove_dir_all(world.ctx.cache.join("archive/packages")).unwrap();
    world.mirror.remove("a_1_all.deb");
    let error = world.fetch(&old).unwrap_err();
    assert_eq!(error.to_string(), "a 1 is pinned in quiz.lock, but no archive has it any more");
    assert_eq!(
        (&error.details()[0][..], &error.hints()[0][..]),
        ("there are: 2", "take what there is now: quiz update e")
    );
    // So it is where the snapshot archive cannot be asked, which is said.
    let mirrors = Mirrors { snapshot: "http://127.0.0.1:9".into(), ..world.ctx.mirrors.clone() };
    let silent = Context { mirrors, ..world.ctx.clone() };
    let mut archive = Archive::new(&world.host, "bookworm", What::Packages, &silent, &|_| {}).unwrap();
    archive.patience = Patience { idle: Duration::from_secs(5), attempts: 1, pause: Duration::from_millis(1) };
    archive.now = world.now;
    let pin = PackagesPin { suite: "bookworm".into(), packages: old.to_vec() };
    let error = archive.fetch(&pin, "e").unwrap_err();
    assert_eq!(error.to_string(), "a 1 is pinned in quiz.lock, but no archive has it any more");
    assert_eq!(error.details(), ["there are: 2", "http://127.0.0.1:9 could not be asked"]);
    assert!(error.hints()[0].starts_with("try again") && error.hints()[1] == "take what there is now: quiz update e");

    let hash = "5".repeat(40);
    let answer = format!("{{\"result\": [{{\"architecture\": \"all\", \"hash\": \"{hash}\"}}]}}");
    world.snapshot.put("mr/binary/a/1/binfiles?fileinfo=1", answer);
    world.snapshot.put(format!("file/{hash}"), vec![b'x'; deb("a", "1").len()]);
    let error = world.fetch(&old).unwrap_err();
    assert!(error.to_string().ends_with(&format!("/file/{hash} is not the file that was pinned")), "{error}");
    world.snapshot.put(format!("file/{hash}"), deb("a", "1"));
    assert_eq!(world.fetch(&old).unwrap(), [old[0].sha256.clone()]);
}

#[test]
fn a_package_that_was_replaced_is_refused() {
    let world = World::new();
    let mut other = pinned("a", "1");
    other.sha256 = "0".repeat(64);
    let error = world.fetch(&[other]).unwrap_err();
    assert_eq!(error.to_string(), "a 1 is not the file that was pinned");
    // The list has the right sum, the pool another file of that size.
    let right = pinned("b", "1");
    world.mirror.put("debian/pool/main/b/b_1_all.deb", vec![b'x'; deb("b", "1").len()]);
    let error = world.fetch(&[right]).unwrap_err();
    assert!(error.to_string().ends_with("b_1_all.deb is not the file that was pinned"), "{error}");
    let left = fs::read_dir(world.ctx.cache.join("archive/packages")).unwrap().flatten().map(|file| file.path());
    assert_eq!(left.filter(|path| path.extension().is_some_and(|end| end == "deb")).count(), 0);
}

#[test]
fn an_archive_in_a_folder_that_the_host_trusts_unsigned() {
    let world = World::new();
    let folder = world.dir.path().join("local");
    for (path, body) in world.mirror.0.lock().unwrap().iter() {
        let path = folder.join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, body).unwrap();
    }
    let sources = |options: &str| {
        let text = format!("deb {options} file:{} bookworm main\n", folder.join("debian").display());
        fs::write(world.host.etc.join("sources.list"), text).unwrap();
    };
    sources("");
    assert!(world.refused().0.contains("is signed by a key that is not trusted"), "{:?}", world.refused());
    sources("[trusted=yes]");
    let packages = world.resolve().unwrap();
    assert_eq!(world.fetch(&packages).unwrap(), [packages[0].sha256.clone(), packages[1].sha256.clone()]);
    assert!(world.mirror.asked().is_empty());
    assert!(Path::new(&folder).join("debian/pool").exists(), "it is only read");
}
