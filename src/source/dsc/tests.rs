//! A source package in an archive that is a folder.

use super::*;
use crate::source::Mirrors;
use std::io::Write;

const SPEC: &str = "entry = \"zfs\"\n[dsc]\npackage = \"z\"\ncomponent = \"contrib\"\nsuite = \"sid\"\n";

/// A tarball with these files, each with its content and mode; of mode 0 a link.
fn tarball(files: &[(&str, &str, u32)]) -> Vec<u8> {
    let mut tar = tar::Builder::new(flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast()));
    for (name, content, mode) in files {
        let mut header = tar::Header::new_gnu();
        if *mode == 0 {
            header.set_entry_type(tar::EntryType::Symlink);
            header.set_size(0);
            tar.append_link(&mut header, name, content).unwrap();
            continue;
        }
        header.set_size(content.len() as u64);
        header.set_mode(*mode);
        tar.append_data(&mut header, name, content.as_bytes()).unwrap();
    }
    let mut packed = tar.into_inner().unwrap();
    packed.flush().unwrap();
    packed.finish().unwrap()
}

/// The package z 1-2, whose patches are these, in an archive of this machine's suite.
struct World {
    dir: tempfile::TempDir,
    host: Host,
    ctx: Context,
}

impl World {
    fn new(format: &str, patches: &[(&str, &str)]) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let (etc, archive) = (dir.path().join("etc"), dir.path().join("archive"));
        let pool = archive.join("pool/z");
        fs::create_dir_all(&pool).unwrap();
        fs::create_dir_all(&etc).unwrap();
        // Only `main` is named, and only for packages.
        fs::write(etc.join("sources.list"), format!("deb [trusted=yes] file:{} s main\n", archive.display())).unwrap();
        let patch = |(name, _): &&(&str, &str)| !name.ends_with("series");
        let series: String = patches.iter().filter(patch).map(|(name, _)| format!("{name} # x\n")).collect();
        let paths: Vec<String> = patches.iter().map(|(name, _)| format!("debian/patches/{name}")).collect();
        let mut debian =
            vec![("debian/control", "of debian\n", 0o644), ("debian/patches/series", series.as_str(), 0o644)];
        if format.ends_with("(quilt)") {
            debian.push(("debian/link", "../run", 0));
        }
        debian.extend(paths.iter().zip(patches).map(|(path, (_, text))| (path.as_str(), *text, 0o644)));
        let upstream = [
            ("z-1/a", "one\ntwo\nthree\n", 0o644),
            ("z-1/run", "#!/bin/sh\n", 0o755),
            ("z-1/gone", "x\n", 0o644),
            ("z-1/debian/old", "of upstream\n", 0o644),
        ];
        let dsc = format!("-----BEGIN PGP SIGNED MESSAGE-----\n\nFormat: {format}\nSource: z\n");
        let files = [
            ("z_1-2.dsc", dsc.into_bytes()),
            ("z_1-2.debian.tar.gz", tarball(&debian)),
            ("z_1.orig.tar.gz", tarball(&upstream)),
            ("z_1.orig.tar.gz.asc", b"a signature".to_vec()),
        ];
        let mut sums = String::new();
        for (name, bytes) in
            files.into_iter().filter(|(name, _)| !format.ends_with("(native)") || !name.contains("orig"))
        {
            fs::write(pool.join(name), &bytes).unwrap();
            let sum = crate::source::download::sha256_of(&pool.join(name)).unwrap();
            sums += &format!(" {sum} {} {name}\n", bytes.len());
        }
        let list = format!("Package: z\nVersion: 1-2\nDirectory: pool/z\nChecksums-Sha256:\n{sums}\n");
        let mut release = "Suite: s\nSHA256:\n".to_owned();
        for (component, list) in [("main", ""), ("contrib", list.as_str())] {
            let folder = archive.join(format!("dists/s/{component}/source"));
            fs::create_dir_all(&folder).unwrap();
            fs::write(folder.join("Sources"), list).unwrap();
            let sum = crate::source::download::sha256_of(&folder.join("Sources")).unwrap();
            release += &format!(" {sum} {} {component}/source/Sources\n", list.len());
        }
        fs::write(archive.join("dists/s/Release"), release).unwrap();
        let mut host = Host::of("ID=x\nVERSION_CODENAME=s\n", &etc);
        // The suite that others have instead is nowhere.
        host.mirror = "file:/none".into();
        let none = || "/none".into();
        let mirrors =
            Mirrors { mirror: String::new(), snapshot: format!("file:{}", dir.path().join("snapshot").display()) };
        let (cache, arch) = (dir.path().join("cache"), "x86_64".to_owned());
        let ctx = Context { cache, arch, mirrors, offline: false, start: none(), base: none() };
        Self { dir, host, ctx }
    }

    fn pin(&self, wanted: &str) -> Result<DscPin> {
        match resolve_on(&self.host, &toml::from_str(SPEC).unwrap(), wanted, None, &self.ctx, &|_| {})? {
            Pin::Dsc(pin) => Ok(pin),
            other => panic!("{other}"),
        }
    }

    fn fetch(&self, pin: &DscPin) -> Result<PathBuf> {
        let tree = self.dir.path().join("tree");
        let _ = fs::remove_dir_all(&tree);
        fetch_on(&self.host, &toml::from_str(SPEC).unwrap(), pin, &tree, &self.ctx, &|_| {})?;
        Ok(tree)
    }
}

const EDIT: &str = "Description: an edit\n\n--- z.orig/a\n+++ z/a\n@@ -1,3 +1,3 @@\n one\n-two\n+2\n three\n";

fn read(path: PathBuf) -> String {
    fs::read_to_string(path).unwrap()
}

#[test]
fn the_distributions_tree_with_its_patches() {
    let git = "From: x\n\n---\n n | 1 +\n\ndiff --git a/new/n b/new/n\nnew file mode 100755\nindex 0000000..1111111\n--- /dev/null\n\
               +++ b/new/n\n@@ -0,0 +1 @@\n+x\ndiff --git a/gone b/gone\ndeleted file mode 100644\n--- a/gone\n+++ /dev/null\n\
               @@ -1 +0,0 @@\n-x\n-- \n2.39\n";
    // Ten lines later than it says, and after the other one.
    let moved = "--- a/a\n+++ b/a\n@@ -11,2 +11,3 @@\n 2\n three\n+four\n";
    let exec = "--- a/run\n+++ b/run\n@@ -1 +1,2 @@\n #!/bin/sh\n+true\n";
    let world =
        World::new("3.0 (quilt)", &[("first", EDIT), ("second.patch", git), ("sub/third", moved), ("fourth", exec)]);
    for wanted in ["default", "1", "1-2"] {
        assert_eq!(world.pin(wanted).unwrap().version, "1-2");
    }
    let pin = world.pin("default").unwrap();
    let tree = world.fetch(&pin).unwrap();
    assert_eq!(read(tree.join("a")), "one\n2\nthree\nfour\n");
    assert_eq!((read(tree.join("new/n")).as_str(), tree.join("gone").exists()), ("x\n", false));
    assert_eq!((read(tree.join("debian/control")).as_str(), tree.join("debian/old").exists()), ("of debian\n", false));
    use std::os::unix::fs::PermissionsExt;
    let mode = |name: &str| fs::metadata(tree.join(name)).unwrap().permissions().mode() & 0o111 != 0;
    assert_eq!(["a", "run", "new/n"].map(mode), [false, true, true]);
    assert_eq!(read(tree.join("run")), "#!/bin/sh\ntrue\n");
    assert_eq!(read(tree.join("debian/link")), "#!/bin/sh\ntrue\n", "a link out of debian/ and not out of the tree");
    let left = fs::read_dir(world.ctx.cache.join("archive/sources")).unwrap().count();
    assert_eq!(left, 1, "what was downloaded is gone but for the lock");
}

#[test]
fn a_patch_that_does_not_fit_is_named_with_its_file() {
    for (patch, says) in [
        (EDIT.replace(" one", " eins"), "the patch p cannot be applied: a: "),
        (EDIT.replace("z/a", "z/../../b").replace("z.orig/a", "z.orig/../../b"), "leads out of the tree"),
        (EDIT.replace("z/a", "/etc/passwd").replace("z.orig/a", "/etc/passwd"), "cannot be applied: "),
        (EDIT.replace("z/a", "z/none").replace("z.orig/a", "z.orig/none"), "cannot be applied: none: No such file"),
        (EDIT.replace("@@ -1,3", "@@ -x"), "cannot be applied: "),
    ] {
        let world = World::new("3.0 (quilt)", &[("p", &patch)]);
        let error = world.fetch(&world.pin("default").unwrap()).unwrap_err().to_string();
        assert!(error.starts_with("z 1-2: the patch p ") && error.contains(says), "{error}");
        assert!(!world.dir.path().join("tree").exists() && !world.dir.path().join("b").exists());
    }
}

/// One patch, for a tree with this file `a`; the file then.
fn patched(before: &str, patch: &str) -> Result<String> {
    let dir = tempfile::tempdir().unwrap();
    let patches = dir.path().join("debian/patches");
    fs::create_dir_all(&patches).unwrap();
    fs::write(patches.join("series"), "# all of them\n\np-#1 -p1\n").unwrap();
    fs::write(patches.join("p-#1"), patch).unwrap();
    fs::write(dir.path().join("a"), before).unwrap();
    patches::apply(dir.path(), "z", "debian")?;
    Ok(fs::read_to_string(dir.path().join("a")).unwrap_or_else(|_| "none".to_owned()))
}

#[test]
fn a_hunk_lies_where_patch_would_put_it() {
    let head = "--- a/a\n+++ b/a\n";
    // The text of the second hunk is there twice. The first hunk lies three lines later than it says, and so does the second.
    let before = "1\n2\n3\nx\ny\nz\np\nq\nr\np\nq\nr\n-\n";
    let patch = format!("{head}@@ -1,3 +1,3 @@\n x\n-y\n+Y\n z\n@@ -7,3 +7,3 @@\n p\n-q\n+Q\n r\n");
    assert_eq!(patched(before, &patch).unwrap(), "1\n2\n3\nx\nY\nz\np\nq\nr\np\nQ\nr\n-\n");
    // A hunk is never applied before the previous one.
    let patch = format!("{head}@@ -4,3 +4,3 @@\n x\n-y\n+Y\n z\n@@ -9,3 +9,3 @@\n 1\n-2\n+II\n 3\n");
    assert!(patched(before, &patch).unwrap_err().to_string().contains("a: hunk 2 does not apply"));
    // A hunk with less context behind it than before it is applied only at the end of the file.
    let end = format!("{head}@@ -6,3 +6,3 @@\n p\n q\n-r\n+R\n");
    assert!(patched(before, &end).unwrap_err().to_string().contains("hunk 1 does not apply"));
    assert_eq!(patched("p\nq\nr\np\nq\nr\n", &end).unwrap(), "p\nq\nr\np\nq\nR\n");
    assert_eq!(
        patched("x\ny", &format!("{head}@@ -1,2 +1,2 @@\n x\n-y\n\\ No newline at end of file\n+z\n")).unwrap(),
        "x\nz\n"
    );
}

#[test]
fn nothing_of_a_patch_is_left_out_without_a_word() {
    let edit = "--- a/a\n+++ b/a\n@@ -1 +1 @@\n-1\n+2\n";
    for (patch, is) in [
        ("Description: to come\n", "1\n"),
        (edit, "2\n"),
        // Git's words in the description; a file without git's words after one that has them.
        (&format!("see diff --git a/x b/x\n\n{edit}"), "2\n"),
        (
            &format!(
                "diff --git a/n b/n\nnew file mode 100644\nIndex: n\n--- /dev/null\n+++ b/n\n@@ -0,0 +1 @@\n+x\n{edit}"
            ),
            "2\n",
        ),
        // Without /dev/null, as `diff -N` has it.
        (&format!("--- a/new\t1970-01-01\n+++ b/new\t2025-01-01\n@@ -0,0 +1 @@\n+x\n{edit}"), "2\n"),
        ("--- a/a\n+++ /dev/null\n@@ -1 +0,0 @@\n-1\n", "none"),
    ] {
        assert_eq!(patched("1\n", patch).unwrap(), is, "{patch}");
    }
    for (before, patch, says) in [
        (
            "1\n",
            "diff --git a/a b/b\nsimilarity index 100%\nrename from a\nrename to b\n",
            "it has the line `rename from a`",
        ),
        ("1\n", "diff --git a/l b/l\nnew file mode 120000\n--- /dev/null\n+++ b/l\n@@ -0,0 +1 @@\n+/etc\n", "120000"),
        ("1\n2\n", "--- a/a\n+++ /dev/null\n@@ -1 +0,0 @@\n-1\n", "but not all of its lines"),
        ("1\n", "--- /dev/null\n+++ b/a\n@@ -0,0 +1 @@\n+x\n", "exists"),
    ] {
        let error = patched(before, patch).unwrap_err().to_string();
        assert!(error.starts_with("z: the patch p-#1 cannot be applied: ") && error.contains(says), "{error}");
    }
}

#[test]
fn a_link_leads_no_patch_out_of_the_tree() {
    let dir = tempfile::tempdir().unwrap();
    let (tree, patches) = (dir.path().join("tree"), dir.path().join("tree/debian/patches"));
    fs::create_dir_all(&patches).unwrap();
    fs::write(dir.path().join("a"), "one\ntwo\nthree\n").unwrap();
    std::os::unix::fs::symlink("..", tree.join("z")).unwrap();
    fs::write(patches.join("series"), "p\n").unwrap();
    fs::write(patches.join("p"), EDIT.replace("z/a", "x/z/a").replace("z.orig/a", "x/z/a")).unwrap();
    let error = patches::apply(&tree, "z", "debian").unwrap_err().to_string();
    assert!(error.contains("`z/a` leads through a link"), "{error}");
    assert_eq!(read(dir.path().join("a")), "one\ntwo\nthree\n");
}

#[test]
fn other_formats() {
    let native = World::new("3.0 (native)", &[]);
    assert_eq!(read(native.fetch(&native.pin("default").unwrap()).unwrap().join("control")), "of debian\n");
    let old = World::new("1.0", &[]);
    let error = old.fetch(&old.pin("default").unwrap()).unwrap_err();
    assert!(error.to_string().contains("the format `1.0`"), "{error}");
}

/// Of the suite that is asked for, whatever the host's own is; and patched as Debian does it, where it is one of Debian's.
#[test]
fn hosts_of_other_suites_and_distributions_make_the_same_tree() {
    // On Ubuntu another series counts, which is empty.
    let world = World::new("3.0 (quilt)", &[("first", EDIT), ("ubuntu.series", "")]);
    let archive = world.dir.path().join("archive");
    fs::rename(archive.join("dists/s"), archive.join("dists/bookworm")).unwrap();
    let release = archive.join("dists/bookworm/Release");
    let text = fs::read_to_string(&release).unwrap().replace("Suite: s\n", "Suite: bookworm\n");
    fs::write(release, text).unwrap();
    let trees = [("debian", "bookworm"), ("debian", "trixie"), ("ubuntu", "noble")].map(|(id, codename)| {
        let etc = world.dir.path().join(codename);
        fs::create_dir_all(&etc).unwrap();
        let source = format!("deb [trusted=yes] file:{} bookworm main\n", archive.display());
        fs::write(etc.join("sources.list"), source).unwrap();
        let mut host = Host::of(&format!("ID={id}\nVERSION_CODENAME={codename}\n"), &etc);
        host.mirror = "file:/none".into();
        let spec = toml::from_str(SPEC).unwrap();
        let Pin::Dsc(pin) = resolve_on(&host, &spec, "default", Some("bookworm"), &world.ctx, &|_| {}).unwrap() else {
            panic!("another pin");
        };
        assert_eq!(pin.suite.as_deref(), Some("bookworm"));
        let tree = world.dir.path().join("tree");
        let _ = fs::remove_dir_all(&tree);
        fetch_on(&host, &spec, &pin, &tree, &world.ctx, &|_| {}).unwrap();
        read(tree.join("a"))
    });
    assert_eq!(trees, ["one\n2\nthree\n"; 3]);
}

/// A version that the first suite does not have may be in the host's own, as it was found before.
#[test]
fn a_version_that_the_first_suite_lacks_is_looked_for_in_the_hosts_own() {
    let world = World::new("3.0 (quilt)", &[("first", EDIT)]);
    let archive = world.dir.path().join("archive");
    let etc = &world.host.etc;
    let line = |suite: &str| format!("deb [trusted=yes] file:{} {suite} main\n", archive.display());
    fs::write(etc.join("sources.list"), line("s") + &line("t")).unwrap();
    for component in ["main", "contrib"] {
        fs::create_dir_all(archive.join(format!("dists/t/{component}/source"))).unwrap();
        fs::write(archive.join(format!("dists/t/{component}/source/Sources")), "").unwrap();
    }
    let empty = crate::source::download::sha256_of(&archive.join("dists/t/main/source/Sources")).unwrap();
    let release = ["main", "contrib"].map(|component| format!(" {empty} 0 {component}/source/Sources\n")).concat();
    fs::write(archive.join("dists/t/Release"), format!("Suite: t\nSHA256:\n{release}")).unwrap();
    let find = |wanted: &str| {
        let spec = toml::from_str(SPEC).unwrap();
        resolve_on(&world.host, &spec, wanted, Some("t"), &world.ctx, &|_| {}).map(|pin| pin.to_string())
    };
    assert_eq!(find("1").unwrap(), "z 1-2");
    assert!(find("2").unwrap_err().to_string().contains("there is no version 2"), "{:?}", find("2"));
}

/// Its own suite has another version, or none; the pin says where this one was.
#[test]
fn a_host_of_another_suite_brings_what_is_pinned() {
    let world = World::new("3.0 (quilt)", &[("first", EDIT)]);
    let pin = world.pin("default").unwrap();
    assert_eq!(pin.suite.as_deref(), Some("s"));
    let etc = world.dir.path().join("other");
    fs::create_dir_all(&etc).unwrap();
    let archive = world.dir.path().join("archive");
    fs::write(etc.join("sources.list"), format!("deb [trusted=yes] file:{} t main\n", archive.display())).unwrap();
    let other = World { host: Host::of("ID=x\nVERSION_CODENAME=t\n", &etc), ..world };
    assert_eq!(read(other.fetch(&pin).unwrap().join("a")), "one\n2\nthree\n");
    let error = other.fetch(&DscPin { suite: None, ..pin }).unwrap_err().to_string();
    assert_eq!(error, "the source package z 1-2 is pinned in quiz.lock, but no archive has it any more");
}

#[test]
fn what_no_archive_has_any_more_comes_from_the_snapshot_archive_or_is_said() {
    let world = World::new("3.0 (quilt)", &[("first", EDIT)]);
    let pin = world.pin("default").unwrap();
    let error = world.pin("2").unwrap_err();
    assert!(error.to_string().contains("there is no version 2"), "{error}");
    let pool = world.dir.path().join("archive/pool/z");
    let replaced = DscPin { files: pin.files.iter().take(1).cloned().collect(), ..pin.clone() };
    let error = world.fetch(&replaced).unwrap_err().to_string();
    assert_eq!(error, "the source package z 1-2 has other checksums in the archive than were pinned");
    let old = DscPin { version: "0-1".into(), ..pin.clone() };
    // The snapshot archive has the same files by names of its own.
    let snapshot = world.dir.path().join("snapshot");
    let answer = snapshot.join("mr/package/z/0-1");
    fs::create_dir_all(snapshot.join("file")).unwrap();
    let error = world.fetch(&old).unwrap_err();
    assert_eq!(error.to_string(), "the source package z 0-1 is pinned in quiz.lock, but no archive has it any more");
    assert_eq!(error.details()[0], "there are: 1-2");
    fs::create_dir_all(&answer).unwrap();
    let mut infos = Vec::new();
    for (number, file) in pin.files.iter().enumerate() {
        let hash = number.to_string().repeat(40);
        fs::copy(pool.join(&file.name), snapshot.join("file").join(&hash)).unwrap();
        infos.push(format!("\"{hash}\": [{{\"name\": \"{}\", \"size\": {}}}]", file.name, file.size));
    }
    let text = format!("{{\"result\": [], \"fileinfo\": {{{}}}}}", infos.join(", "));
    fs::write(answer.join("srcfiles?fileinfo=1"), text).unwrap();
    assert_eq!(read(world.fetch(&old).unwrap().join("a")), "one\n2\nthree\n");
}
