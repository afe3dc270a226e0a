//! Package lists (`Packages`): which packages there are, by name and by what they provide. All of it is borrowed from the text: of the
//! tens of thousands of packages few are ever looked at closer.

use super::depends::{self, Relation};
use crate::error::{Error, Result};
use crate::source::name::{is_package, is_plain};
use crate::source::version::is_version;
use crate::source::{DscFile, DscPin, Package};
use std::collections::HashMap;

/// One version of a package.
#[derive(Debug, Clone, Copy)]
pub(super) struct Entry<'a> {
    pub name: &'a str,
    pub version: &'a str,
    /// Which list it is of.
    pub list: usize,
    stanza: &'a str,
}

/// All packages of some lists.
#[derive(Debug, Default)]
pub(super) struct Packages<'a> {
    entries: Vec<Entry<'a>>,
    by_name: HashMap<&'a str, Vec<usize>>,
    by_provided: HashMap<&'a str, Vec<usize>>,
    essential: Vec<usize>,
}

impl<'a> Packages<'a> {
    /// Adds a list; `list` is what [`Entry::list`] says.
    pub(super) fn add(&mut self, text: &'a str, list: usize) {
        for stanza in text.split("\n\n") {
            // Of a field that is there twice the first counts, as in `field`.
            let (mut name, mut version, mut provides, mut essential) = (None, None, None, None);
            let mut at = 0;
            for line in stanza.split_inclusive('\n') {
                // Most lines are passed over after a glance at their first byte.
                match line.as_bytes()[0].to_ascii_uppercase() {
                    b'P' | b'V' | b'E' => {
                        let of = |field: &str| value_at(stanza, at, field);
                        name = name.or_else(|| of("Package"));
                        version = version.or_else(|| of("Version"));
                        provides = provides.or_else(|| of("Provides"));
                        essential = essential.or_else(|| of("Essential"));
                    }
                    _ => {}
                }
                at += line.len();
            }
            let is_there = |value: &&str| !value.is_empty();
            let (Some(name), Some(version)) = (name.filter(is_there), version.filter(is_there)) else { continue };
            let index = self.entries.len();
            self.entries.push(Entry { name, version, list, stanza });
            self.by_name.entry(name).or_default().push(index);
            for provided in provides.unwrap_or_default().split(',').filter_map(depends::relation) {
                let there = self.by_provided.entry(provided.name).or_default();
                if there.last() != Some(&index) {
                    there.push(index);
                }
            }
            if essential == Some("yes") {
                self.essential.push(index);
            }
        }
    }

    /// Every version of every package, as the lists have them.
    pub(super) fn all(&self) -> impl Iterator<Item = &Entry<'a>> {
        self.entries.iter()
    }

    /// The versions of a package, as the lists have them.
    pub(super) fn named(&self, name: &str) -> impl Iterator<Item = (usize, &Entry<'a>)> {
        self.by_name.get(name).into_iter().flatten().map(|&index| (index, &self.entries[index]))
    }

    /// The packages that provide a name, each with its relation under `Provides`.
    pub(super) fn providing(&self, name: &str) -> impl Iterator<Item = (usize, Relation<'a>)> {
        let of = move |&index: &usize| {
            let all = self.entries[index].field("Provides").split(',').filter_map(depends::relation);
            all.filter(|provided| provided.name == name).map(|provided| (index, provided)).collect::<Vec<_>>()
        };
        self.by_provided.get(name).into_iter().flatten().flat_map(of)
    }

    /// The packages that say to be essential.
    pub(super) fn essential(&self) -> &[usize] {
        &self.essential
    }

    pub(super) fn entry(&self, index: usize) -> &Entry<'a> {
        &self.entries[index]
    }

    /// The name of a package that is most like `wrong`.
    pub(super) fn nearest(&self, wrong: &str) -> Option<&'a str> {
        let score = |name: &str| strsim::jaro_winkler(name, wrong);
        let best = self.by_name.keys().copied().max_by(|a, b| score(a).total_cmp(&score(b)).then_with(|| b.cmp(a)));
        best.filter(|name| score(name) > 0.85)
    }
}

/// The files of a source package, of lines with sum, size and name: exactly one .dsc, and no name that is a path.
fn files(sums: &str) -> Option<Vec<DscFile>> {
    let file = |line: &str| {
        let mut words = line.split_whitespace();
        let (sum, size, name) = (words.next()?, words.next()?.parse().ok()?, words.next()?);
        let good = sum.len() == 64
            && sum.bytes().all(|b| b.is_ascii_hexdigit())
            && !name.contains('/')
            && !name.starts_with(['.', '-']);
        good.then(|| DscFile { name: name.to_owned(), sha256: sum.to_ascii_lowercase(), size })
    };
    let lines = sums.lines().filter(|line| !line.trim().is_empty());
    let mut files = lines.map(file).collect::<Option<Vec<DscFile>>>()?;
    files.sort();
    (files.iter().filter(|file| file.name.ends_with(".dsc")).count() == 1).then_some(files)
}

impl<'a> Entry<'a> {
    /// The value of a field, "" if it is not there.
    pub(super) fn field(&self, name: &str) -> &'a str {
        let mut at = 0;
        for line in self.stanza.split_inclusive('\n') {
            if let Some(value) = value_at(self.stanza, at, name) {
                return value;
            }
            at += line.len();
        }
        ""
    }

    /// A source package, of the place with this number.
    ///
    /// # Errors
    /// The list has no good checksums of it, or an odd folder.
    pub(super) fn source(&self, place: usize) -> Result<super::Source> {
        let (name, version, folder) = (self.name.to_owned(), self.version.to_owned(), self.field("Directory"));
        // It becomes a line of quiz.lock, which takes no other names and versions.
        let is_plain_folder = !folder.starts_with('/') && folder.split('/').all(|part| part != "..");
        let is_plain = is_plain_folder && is_package(&name) && is_version(&version);
        match files(self.field("Checksums-Sha256")).filter(|_| is_plain) {
            Some(files) => {
                let pin = DscPin { name, version, files, suite: None };
                Ok(super::Source { pin, folder: folder.to_owned(), place })
            }
            None => Err(Error::build(format!("the package lists have no valid Checksums-Sha256 for {name} {version}"))),
        }
    }

    /// The package as it is pinned.
    ///
    /// # Errors
    /// The list has no checksum or size of it.
    pub(super) fn package(&self) -> Result<Package> {
        let sha256 = self.field("SHA256").to_ascii_lowercase();
        let good = sha256.len() == 64 && sha256.bytes().all(|b| b.is_ascii_hexdigit());
        let (name, version, arch) = (self.name.into(), self.version.into(), self.field("Architecture").into());
        let package =
            self.field("Size").parse().ok().map(|size| Package { name, version, arch, sha256, size }).filter(|_| good);
        match package {
            Some(package) if is_plain(&package) => Ok(package),
            Some(Package { name, version, arch, .. }) => Err(Error::build(format!(
                "the package lists have `{name} {version} {arch}`, which is not a valid name, version and architecture"
            ))),
            None => Err(Error::build(format!(
                "the package lists have no SHA256 and Size for {} {}",
                self.name, self.version
            ))),
        }
    }

    /// Where its file lies below the archive's address. None if the list does not say, or leads out of the archive.
    pub(super) fn path(&self) -> Option<&'a str> {
        let path = self.field("Filename");
        let path = path.strip_prefix("./").unwrap_or(path);
        let good = !path.is_empty() && path.split('/').all(|part| !part.is_empty() && part != "..");
        good.then_some(path)
    }
}

/// The value of the field that begins at `at`, if it has that name; lines that continue it are part of it.
fn value_at<'a>(stanza: &'a str, at: usize, name: &str) -> Option<&'a str> {
    let line = &stanza[at..];
    let is_name = line.get(..name.len()).is_some_and(|start| start.eq_ignore_ascii_case(name));
    let rest = line[if is_name { name.len() } else { return None }..].strip_prefix(':')?;
    let mut ends = rest.match_indices('\n').map(|(end, _)| end);
    let end = ends.find(|end| !rest[end + 1..].starts_with([' ', '\t'])).unwrap_or(rest.len());
    Some(rest[..end].trim())
}

/// A package list, for the fuzz targets.
#[cfg(any(test, feature = "fuzz"))]
pub(in crate::source) fn fuzz(text: &str) {
    let mut all = Packages::default();
    all.add(text, 0);
    for entry in &all.entries {
        assert!(all.named(entry.name).any(|(_, other)| other.version == entry.version));
        // A name may end with dots.
        assert!(entry.path().is_none_or(|path| path.split('/').all(|part| !part.is_empty() && part != "..")));
        let _ = entry.package();
        if let Ok(source) = entry.source(0) {
            assert!(source.pin.files.iter().all(|file| !file.name.contains('/')));
        }
        depends::fuzz(entry.field("Depends"));
        for provided in entry.field("Provides").split(',').filter_map(depends::relation) {
            assert!(all.providing(provided.name).count() > 0);
        }
    }
    all.nearest("gcc");
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIST: &str = "\
Package: mawk
Version: 1.3.4-1
Essential: no
Architecture: amd64
Provides: awk, posix-awk (= 1)
Depends: libc6 (>= 2.34),
 libm
Description: about: Package: of
Filename: ./pool/m/mawk.deb
Size: 12
SHA256: 00112233445566778899AABBCCDDEEFF00112233445566778899aabbccddeeff

Version: 1

Package: bash
version: 5.2
Essential: yes
Filename: pool/../../etc/passwd
Size: x";

    #[test]
    fn a_list_is_read_by_name_and_by_what_is_provided() {
        let mut all = Packages::default();
        all.add(LIST, 3);
        let (_, mawk) = all.named("mawk").next().unwrap();
        assert_eq!((mawk.version, mawk.list, mawk.path()), ("1.3.4-1", 3, Some("pool/m/mawk.deb")));
        assert_eq!(mawk.field("depends"), "libc6 (>= 2.34),\n libm");
        let package = mawk.package().unwrap();
        assert!(package.size == 12 && package.arch == "amd64" && package.sha256.contains("aabbccddeeff0011"));
        assert_eq!(all.providing("posix-awk").map(|(_, one)| one.to_string()).collect::<Vec<_>>(), ["posix-awk (= 1)"]);
        assert_eq!(all.providing("awk").count(), 1);
        let bash = all.entry(all.essential()[0]);
        assert_eq!((all.essential().len(), bash.name, bash.version), (1, "bash", "5.2"));
        assert!(bash.path().is_none(), "it leads out of the archive");
        assert_eq!(bash.package().unwrap_err().to_string(), "the package lists have no SHA256 and Size for bash 5.2");
        assert_eq!((all.named("zsh").count(), all.nearest("bsah")), (0, Some("bash")));
        assert_eq!(all.nearest("zzzz"), None);
    }

    #[test]
    fn of_a_field_that_is_there_twice_the_first_counts_wherever_it_is_read() {
        let mut all = Packages::default();
        all.add("Package: a\nVersion: 1\nProvides: x, y\nProvides: z\nVersion: 2\nPackage: b\nEssential: no\nEssential: yes\n", 0);
        let (_, entry) = all.named("a").next().unwrap();
        assert_eq!((entry.version, entry.field("Version"), entry.field("Provides")), ("1", "1", "x, y"));
        let provided = ["x", "y", "z"].map(|name| all.providing(name).count());
        assert_eq!((provided, all.essential().len(), all.named("b").count()), ([1, 1, 0], 0, 0));
    }

    #[test]
    fn a_source_package_has_its_files_and_its_folder() {
        let sum = "a".repeat(64);
        let stanza = format!(
            "Package: zfs-linux\nBinary: libnvpair3linux, zfs-dkms\nVersion: 2.1.11-1+deb12u1\nFormat: 3.0 (quilt)\n\
             Files:\n d1688215266b54f6bf8f342569edb830 3245 zfs-linux_2.1.11-1+deb12u1.dsc\n\
             Checksums-Sha256:\n {sum} 3245 zfs-linux_2.1.11-1+deb12u1.dsc\n {sum} 35100716 zfs-linux_2.1.11.orig.tar.gz\n\
             Package-List: \n zfs-dkms deb contrib/kernel optional arch=all\nDirectory: pool/contrib/z/zfs-linux\n"
        );
        let source = |text: &str| {
            let mut all = Packages::default();
            all.add(text, 0);
            all.entry(0).source(7)
        };
        let found = source(&stanza).unwrap();
        let file = |end: &str, size| DscFile { name: format!("zfs-linux_2.1.11{end}"), sha256: sum.clone(), size };
        assert_eq!(found.pin.files, [file("-1+deb12u1.dsc", 3245), file(".orig.tar.gz", 35_100_716)]);
        assert_eq!((found.folder.as_str(), found.place), ("pool/contrib/z/zfs-linux", 7));
        for wrong in [
            stanza.replace("aaaa", "xyzw"),
            stanza.replace(" zfs-linux_2", " ../2"),
            stanza.replace(".dsc", ".dcs"),
            stanza.replace("pool/", "../"),
            stanza.replace("pool/", "/"),
        ] {
            assert!(source(&wrong).unwrap_err().to_string().contains("zfs-linux 2.1.11-1+deb12u1"));
        }
    }
}
