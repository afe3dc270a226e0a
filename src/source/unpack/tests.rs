//! What an archive may not do.

use super::*;
use std::os::unix::fs::PermissionsExt;

/// A tar whose names are written raw: the tar crate itself refuses to make the bad ones.
struct Tar(Vec<u8>);

impl Tar {
    fn new() -> Self {
        Self(Vec::new())
    }

    fn entry(mut self, name: &[u8], kind: EntryType, mode: u32, link: &[u8], content: &[u8]) -> Self {
        let mut header = tar::Header::new_ustar();
        header.as_mut_bytes()[..name.len()].copy_from_slice(name);
        header.as_mut_bytes()[157..157 + link.len()].copy_from_slice(link);
        header.set_entry_type(kind);
        header.set_mode(mode);
        header.set_size(content.len() as u64);
        header.set_cksum();
        self.0.extend_from_slice(header.as_bytes());
        self.0.extend_from_slice(content);
        self.0.resize(self.0.len().next_multiple_of(512), 0);
        self
    }

    fn file(self, name: &str, content: &str) -> Self {
        self.entry(name.as_bytes(), EntryType::Regular, 0o644, b"", content.as_bytes())
    }

    fn folder(self, name: &str) -> Self {
        self.entry(name.as_bytes(), EntryType::Directory, 0o2775, b"", b"")
    }

    fn symlink(self, name: &str, target: &str) -> Self {
        self.entry(name.as_bytes(), EntryType::Symlink, 0o777, target.as_bytes(), b"")
    }

    fn hard_link(self, name: &str, target: &str) -> Self {
        self.entry(name.as_bytes(), EntryType::Link, 0o644, target.as_bytes(), b"")
    }

    fn bytes(mut self) -> Vec<u8> {
        self.0.resize(self.0.len() + 1024, 0);
        self.0
    }
}

fn unpacked(archive: &[u8], limits: Limits) -> (tempfile::TempDir, Result<()>) {
    let dir = tempfile::tempdir().unwrap();
    let result = unpack(archive, "a.tar", &dir.path().join("tree"), limits);
    (dir, result)
}

/// The error of an archive, with nothing left of it on the disk.
fn refused(tar: Tar) -> String {
    let (dir, result) = unpacked(&tar.bytes(), Limits { bytes: 1000, entries: 10 });
    assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 0, "something is left");
    let error = result.unwrap_err();
    error.to_string()
}

#[test]
fn an_honest_archive_in_every_compression() {
    let tar = Tar::new()
        .entry(
            b"pax_global_header",
            EntryType::XGlobalHeader,
            0o644,
            b"",
            b"52 comment=0123456789012345678901234567890123456789\n",
        )
        .folder("./t-1/")
        .file("./t-1/a/b/c.txt", "hello")
        .entry(b"t-1/run", EntryType::Regular, 0o700, b"", b"#!/bin/sh")
        .symlink("t-1/a/up", "../run")
        .symlink("t-1/dangling", "not/there")
        .hard_link("t-1/again", "t-1/a/b/c.txt")
        .bytes();
    let mut gz = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    gz.write_all(&tar).unwrap();
    let mut bz2 = bzip2::write::BzEncoder::new(Vec::new(), bzip2::Compression::fast());
    bz2.write_all(&tar).unwrap();
    let mut xz = liblzma::write::XzEncoder::new(Vec::new(), 1);
    xz.write_all(&tar).unwrap();
    let zst = zstd::encode_all(&tar[..], 1).unwrap();
    for archive in [tar, gz.finish().unwrap(), bz2.finish().unwrap(), xz.finish().unwrap(), zst] {
        let (dir, result) = unpacked(&archive, Limits::default());
        result.unwrap();
        let tree = dir.path().join("tree");
        assert_eq!(fs::read_to_string(tree.join("a/b/c.txt")).unwrap(), "hello");
        assert_eq!(fs::read_to_string(tree.join("again")).unwrap(), "hello");
        assert_eq!(fs::read_to_string(tree.join("a/up")).unwrap(), "#!/bin/sh");
        let mode = |name: &str| fs::metadata(tree.join(name)).unwrap().permissions().mode() & 0o7111;
        assert_eq!((mode("run") & 0o100, mode("again") & 0o111, mode("a") & 0o7000), (0o100, 0, 0));
    }
}

#[test]
fn names_that_lead_out() {
    assert!(refused(Tar::new().file("t/../../x", "")).contains("leads out"));
    assert!(refused(Tar::new().file("../x", "")).contains("leads out"));
    assert!(refused(Tar::new().file("/etc/x", "")).contains("absolute"));
    assert_eq!(refused(Tar::new().file("t/a", "").file("u/a", "")), "a.tar: u/a: not in the archive's top folder `t`");
    assert!(refused(Tar::new().file("alone", "")).contains("no top folder"));
    assert!(refused(Tar::new().entry(b"t/\xff", EntryType::Regular, 0o644, b"", b"")).contains("not UTF-8"));
    assert!(refused(Tar::new()).contains("nothing in this archive"));
}

#[test]
fn links_that_lead_out() {
    assert!(refused(Tar::new().symlink("t/l", "/etc/passwd")).contains("absolute path /etc/passwd"));
    assert!(refused(Tar::new().symlink("t/a/l", "../../x")).contains("leads out"));
    assert!(refused(Tar::new().hard_link("t/l", "/etc/passwd")).contains("absolute"));
    assert!(
        refused(Tar::new().hard_link("t/l", "t/later").file("t/later", ""))
            .contains("not an earlier file of the archive")
    );
    assert!(refused(Tar::new().symlink("t/s", "x").hard_link("t/l", "t/s")).contains("not an earlier file"));
    assert!(refused(Tar::new().symlink("t/l", "l")).contains("circle"));
}

/// Each follows the one before it twice: 2^60 steps, if they were not counted together.
#[test]
fn links_that_multiply() {
    let tar = (1..60)
        .fold(Tar::new().symlink("t/0", "x"), |tar, i| tar.symlink(&format!("t/{i}"), &format!("{0}/../{0}", i - 1)));
    let (_dir, result) = unpacked(&tar.bytes(), Limits::default());
    assert!(result.unwrap_err().to_string().contains("too many"));
}

/// Each target stays inside when read as text: d/a/up/../.. is d. Followed, it is two folders above the tree.
#[test]
fn a_link_that_leaves_through_another_link() {
    let tar = Tar::new().symlink("t/d/a/up", "../..").symlink("t/l", "d/a/up/../..");
    assert_eq!(refused(tar), "a.tar: l: a link that leads out of the archive");
}

#[test]
fn writing_through_links_and_over_files() {
    assert!(refused(Tar::new().symlink("t/d", "e").folder("t/e").file("t/d/x", "")).contains("not a folder"));
    assert!(refused(Tar::new().symlink("t/f", "g").file("t/f", "")).contains("twice"));
    assert!(refused(Tar::new().symlink("t/f", "g").folder("t/f")).contains("twice"));
    assert!(refused(Tar::new().file("t/f", "a").file("t/f", "b")).contains("twice"));
    assert!(refused(Tar::new().file("t/f", "a").hard_link("t/f", "t/f")).contains("twice"));
}

#[test]
fn devices_and_setuid() {
    for kind in [EntryType::Char, EntryType::Block, EntryType::Fifo] {
        assert!(refused(Tar::new().entry(b"t/x", kind, 0o644, b"", b"")).contains("neither file, folder nor link"));
    }
    assert!(refused(Tar::new().entry(b"t/x", EntryType::Regular, 0o4755, b"", b"")).contains("setuid"));
}

#[test]
fn bombs() {
    let many = (0..11).fold(Tar::new(), |tar, i| tar.file(&format!("t/{i}"), ""));
    assert!(refused(many).contains("more than 10 entries"));
    assert!(refused(Tar::new().file("t/a/b/c/d/e/f/g/h/i/j/k", "")).contains("more than 10 entries"));
    assert!(refused(Tar::new().file("t/big", &"x".repeat(1001))).contains("more than 1000 bytes"));
    let copies =
        Tar::new().file("t/a", &"x".repeat(400)).hard_link("t/b", "t/a").hard_link("t/c", "t/a").file("t/d", "x");
    assert!(refused(copies).contains("more than 1000 bytes"));
    let long = Tar::new().entry(b"././@LongLink", EntryType::GNULongName, 0o644, b"", &vec![b'n'; 2 << 20]);
    let (_dir, result) = unpacked(&long.bytes(), Limits::default());
    assert!(std::error::Error::source(&result.unwrap_err()).unwrap().to_string().contains("too long"));
}

/// Of 300,000 folders one below the other the first names alone would take 90 GB, before they are counted.
#[test]
fn names_that_no_file_system_takes() {
    let long = format!("t/{}x\0", "a/".repeat(300_000));
    let named = |kind| Tar::new().entry(b"././@LongLink", kind, 0o644, b"", long.as_bytes()).file("t/a", "").bytes();
    let (_dir, result) = unpacked(&named(EntryType::GNULongName), Limits::default());
    assert!(result.unwrap_err().to_string().ends_with("its name is too long"));
    let mut tar = Tar::new().entry(b"././@LongLink", EntryType::GNULongLink, 0o644, b"", long.as_bytes());
    tar = tar.symlink("t/l", "x");
    let (_dir, result) = unpacked(&tar.bytes(), Limits::default());
    assert!(result.unwrap_err().to_string().contains("a link to a name that is too long"));
}

#[test]
fn a_truncated_archive() {
    let tar = Tar::new().file("t/a", &"x".repeat(900)).bytes();
    let (_dir, result) = unpacked(&tar[..1024], Limits::default());
    assert!(result.is_err());
    let zst = zstd::encode_all(&tar[..], 1).unwrap();
    let (_dir, result) = unpacked(&zst[..zst.len() - 4], Limits::default());
    assert!(result.is_err());
}

/// What comes of one archive in a root that has `lib` as a link into usr.
fn in_root(tar: Tar) -> (tempfile::TempDir, std::result::Result<(), String>) {
    let dir = tempfile::tempdir().unwrap();
    let dest = dir.path().join("root");
    let place = |path: &str| match path.strip_prefix("lib") {
        Some(rest) => Some(format!("usr/lib{rest}")),
        None => (!path.starts_with("var")).then(|| path.to_owned()),
    };
    let mut root = Unpacked::new(&dest, Limits { bytes: 1000, entries: 20 }, Layout::Root(&place)).unwrap();
    root.link("lib", "usr/lib").unwrap();
    let added = root.add(&tar.bytes()[..], "a.deb").map_err(|error| error.to_string());
    let result = added.and_then(|()| root.check().map_err(|(link, why)| format!("{link}: {why}")));
    (dir, result)
}

#[test]
fn links_of_a_root_stay_in_it() {
    let tar = Tar::new()
        .folder("./")
        .folder("./lib")
        .entry(b"./lib/ld.so", EntryType::Regular, 0o4755, b"", b"ld")
        .symlink("./usr/bin/absolute", "/lib/ld.so")
        .symlink("./usr/bin/relative", "../lib/ld.so")
        .hard_link("./usr/bin/hard", "./lib/ld.so")
        .file("./var/lib/large", &"x".repeat(500))
        .file("./usr/bin/last", "last");
    let (dir, result) = in_root(tar);
    result.unwrap();
    let root = dir.path().join("root");
    for name in ["absolute", "relative", "hard"] {
        assert_eq!(fs::read(root.join("usr/bin").join(name)).unwrap(), b"ld", "{name}");
    }
    let mode = root.join("usr/lib/ld.so").metadata().unwrap().permissions().mode();
    assert_eq!(mode & 0o7111, 0o111, "it runs, as nobody else");
    assert!(root.join("usr/bin/last").exists() && !root.join("var").exists());
}

#[test]
fn a_package_puts_nothing_beside_the_root() {
    for (tar, why) in [
        (Tar::new().file("./usr/../../x", "x"), "leads out"),
        (Tar::new().file("/etc/x", "x"), "absolute path"),
        (Tar::new().symlink("./usr/x", "../../../etc/passwd"), "leads out"),
        (Tar::new().symlink("./usr/x", "/tmp").file("./usr/x/y", "y"), "not a folder"),
        (Tar::new().file("./lib/x", "x").file("./usr/lib/x", "x"), "is there twice"),
        (Tar::new().hard_link("./usr/x", "../../etc/passwd"), "leads out"),
        (Tar::new().entry(b"./usr/x", EntryType::Char, 0o644, b"", b""), "neither file, folder nor link"),
        (Tar::new().file("./var/x", &"x".repeat(1001)), "more than 1000 bytes"),
    ] {
        let (dir, result) = in_root(tar);
        let error = result.unwrap_err();
        assert!(error.contains(why), "{error}, not {why}");
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1, "something is beside it");
    }
}
