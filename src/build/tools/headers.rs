//! What compilers read of the host beside themselves: headers, and what is linked with.
//!
//! A file that has a checksum of dpkg's counts by that, all of one package together. Any other file counts by its content, a link by
//! where it leads in the end. What is in a folder is remembered by the time of the folder, so that no file of a package is looked at.

use super::look::{Look, PACKAGE, Parts};
use super::packages;
use super::view::Way;
use crate::error::{Error, Result};
use quiz_cache::Digest;
use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

/// Read by every compiler, with all that is in them.
const HEADERS: [&str; 2] = ["/usr/include", "/usr/local/include"];
/// Where libraries lie; those of one architecture are in folders named after it.
const LIBRARIES: [&str; 7] =
    ["/usr/lib", "/usr/lib64", "/usr/lib32", "/lib", "/lib64", "/usr/local/lib", "/usr/local/lib64"];
/// What describes libraries, beside the folder of that name in each of the above.
const DESCRIPTIONS: [&str; 2] = ["/usr/share/pkgconfig", "/usr/local/share/pkgconfig"];

/// How the names of files end that the linker reads. A library that only runs has a number behind `.so`.
const LINKED: [&str; 4] = ["a", "o", "so", "pc"];

/// A walk through folders.
#[derive(Default)]
pub(super) struct Walk {
    seen: BTreeSet<PathBuf>,
    /// By package: path and checksum of each of its files.
    packages: BTreeMap<usize, Vec<String>>,
    parts: Parts,
}

/// All headers and libraries of the host.
///
/// # Errors
/// One cannot be read.
pub(super) fn headers(look: &mut Look<'_>) -> Result<Parts> {
    let mut walk = Walk::default();
    for folder in HEADERS {
        walk.all(look, Path::new(folder))?;
    }
    for folder in LIBRARIES {
        let folder = Path::new(folder);
        walk.linked(look, folder)?;
        let entries = look.view.outside(folder).read_dir().into_iter().flatten().flatten();
        let mut names: Vec<_> = entries.map(|entry| entry.file_name()).collect();
        names.retain(|name| name == "pkgconfig" || name.to_string_lossy().contains("-linux-"));
        names.sort();
        for name in names {
            walk.linked(look, &folder.join(&name))?;
            walk.linked(look, &folder.join(&name).join("pkgconfig"))?;
        }
    }
    for folder in DESCRIPTIONS {
        walk.linked(look, Path::new(folder))?;
    }
    Ok(walk.parts(look))
}

impl Walk {
    /// One that passes over these files.
    pub(super) fn without(files: Vec<PathBuf>) -> Self {
        Self { seen: files.into_iter().collect(), ..Self::default() }
    }

    /// Takes all that is in a folder and below.
    ///
    /// # Errors
    /// A file cannot be read.
    pub(super) fn all(&mut self, look: &mut Look<'_>, folder: &Path) -> Result<()> {
        self.folder(look, folder, true)
    }

    /// Takes what is linked with, not what is below.
    fn linked(&mut self, look: &mut Look<'_>, folder: &Path) -> Result<()> {
        self.folder(look, folder, false)
    }

    /// All parts that were found.
    pub(super) fn parts(self, look: &Look<'_>) -> Parts {
        let packages = self.packages.into_iter();
        let packages = packages
            .map(|(package, lines)| (format!("{PACKAGE}{}", look.packages.name(package)), packages::digest(lines)));
        packages.chain(self.parts).collect()
    }

    fn folder(&mut self, look: &mut Look<'_>, folder: &Path, all: bool) -> Result<()> {
        let Way::Here(folder) = look.view.follow(folder, &mut look.passed) else { return Ok(()) };
        if !self.seen.insert(folder.clone()) {
            return Ok(());
        }
        let place = look.view.outside(&folder);
        let unreadable = |e: std::io::Error| Error::input(format!("cannot read {}", place.display())).because(e);
        if !place.metadata().map_err(unreadable)?.is_dir() {
            return Ok(());
        }
        look.passed.insert(place.clone());
        let mut entries: Vec<_> =
            place.read_dir().map_err(unreadable)?.collect::<std::io::Result<_>>().map_err(unreadable)?;
        entries.sort_by_key(std::fs::DirEntry::file_name);
        for entry in entries {
            let (path, kind) = (folder.join(entry.file_name()), entry.file_type().map_err(unreadable)?);
            if kind.is_dir() {
                if all {
                    self.folder(look, &path, true)?;
                }
            } else if all || path.extension().and_then(OsStr::to_str).is_some_and(|end| LINKED.contains(&end)) {
                if kind.is_symlink() {
                    self.link(look, &path, all)?;
                } else if kind.is_file() {
                    self.file(look, &path)?;
                }
            }
        }
        Ok(())
    }

    fn link(&mut self, look: &mut Look<'_>, path: &Path, all: bool) -> Result<()> {
        let mut passed = BTreeSet::new();
        // Of what is hidden from scripts only the place to which the link leads counts.
        let (real, is_seen) = match look.view.follow(path, &mut passed) {
            Way::Here(real) => (real, true),
            Way::Hidden(real) => (real, false),
            Way::Nowhere => (PathBuf::new(), false),
        };
        // A change in the link's own folder shows in the time of that folder, which is watched already.
        let folder = look.view.outside(path);
        look.passed.extend(passed.into_iter().filter(|place| place.parent() != folder.parent()));
        self.parts.insert(path.display().to_string(), Digest::of(real.as_os_str().as_bytes()).to_string());
        if !is_seen {
            return Ok(());
        }
        match look.view.outside(&real).metadata() {
            Ok(meta) if meta.is_dir() && all => self.folder(look, &real, true),
            Ok(meta) if meta.is_file() && look.packages.owner(&real).is_none() => self.file(look, &real),
            _ => Ok(()),
        }
    }

    fn file(&mut self, look: &mut Look<'_>, path: &Path) -> Result<()> {
        if let Some((package, sum)) = look.packages.owner(path) {
            let line = format!("{} {sum}\n", path.display());
            self.packages.entry(package).or_default().push(line);
        } else if self.seen.insert(path.to_owned()) {
            self.parts.insert(path.display().to_string(), look.file(path)?.digest.clone());
        }
        Ok(())
    }
}
