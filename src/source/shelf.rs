//! An archive of Debian packages in a folder, for tests: one suite, which the host trusts as it is.

use super::apt::Host;
use super::download::sha256_of;
use super::{Context, Mirrors, deb};
use std::fs;
use std::path::{Path, PathBuf};

/// A package: the fields of its control file without `Architecture`, and its files.
pub(super) type Shelved<'a> = (&'a str, &'a [(&'a str, &'a [u8])]);

pub(super) struct Shelf {
    dir: tempfile::TempDir,
}

impl Shelf {
    /// With these packages.
    pub(super) fn new(suite: &str, packages: &[Shelved<'_>]) -> Self {
        let shelf = Self { dir: tempfile::tempdir().unwrap() };
        fs::create_dir(shelf.path("etc")).unwrap();
        shelf.suite(suite, packages);
        shelf
    }

    /// One more suite.
    pub(super) fn suite(&self, suite: &str, packages: &[Shelved<'_>]) {
        let archive = self.path("archive");
        let folder = archive.join(format!("dists/{suite}/main/binary-amd64"));
        fs::create_dir_all(&folder).unwrap();
        let sources = self.path("etc/sources.list");
        let before = fs::read_to_string(&sources).unwrap_or_default();
        fs::write(&sources, format!("{before}deb [trusted=yes] file:{} {suite} main\n", archive.display())).unwrap();
        let mut list = String::new();
        for (number, (control, files)) in packages.iter().enumerate() {
            let control = format!("{}\nArchitecture: all\n", control.trim_end());
            let (name, deb) = (format!("{suite}{number}.deb"), deb::tests::package_of(&control, files));
            fs::write(archive.join(&name), &deb).unwrap();
            let sum = sha256_of(&archive.join(&name)).unwrap();
            list += &format!("{control}Filename: {name}\nSize: {}\nSHA256: {sum}\n\n", deb.len());
        }
        fs::write(folder.join("Packages"), &list).unwrap();
        let sum = sha256_of(&folder.join("Packages")).unwrap();
        let release = format!("Suite: {suite}\nSHA256:\n {sum} {} main/binary-amd64/Packages\n", list.len());
        fs::write(archive.join(format!("dists/{suite}/Release")), release).unwrap();
    }

    pub(super) fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// A host whose package sources these are.
    pub(super) fn host(&self) -> Host {
        Host::of("ID=x\n", &self.path("etc"))
    }

    pub(super) fn context(&self) -> Context {
        let none = || Path::new("/none").to_owned();
        let (cache, arch, mirrors) = (self.path("cache"), "x86_64".to_owned(), Mirrors::default());
        Context { cache, arch, mirrors, offline: false, start: none(), base: none() }
    }
}
