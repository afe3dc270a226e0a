//! Which items a source folder has: found by reading its folders, or asked for and then remembered with what can change them.
//!
//! Everything that is watched is looked at before the list is asked for, and a folder before it is read. So a file that is made
//! in between may or may not be in the list, but its folder is no longer as it was remembered: the next scan asks again.
//!
//! Does not know what the items are.

use super::look::{Root, Stat, is_gone};
use super::{AT_A_TIME, Selection};
use crate::Error;
use crate::error::{Result, at};
use crate::tree::check_path;
use rayon::prelude::*;
use serde::{Deserialize, Serialize};
use std::collections::HashSet;
use std::ffi::OsStr;
use std::fs;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

/// What a list depends on, as it was before the list was asked for.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct Watched {
    rule: String,
    /// Path from the root, and what `stat` says: all folders and the files that decide, sorted, and then those elsewhere.
    places: Vec<(Vec<u8>, Option<Stat>)>,
}

impl Watched {
    pub(super) fn holds(&self, root: &Root, rule: &str, also: &[PathBuf]) -> bool {
        let Some(below) = self.places.len().checked_sub(also.len()) else { return false };
        self.rule == rule
            && self.places[below..].iter().map(|(path, _)| path.as_slice()).eq(also.iter().map(|path| bytes(path)))
            && self.places.par_iter().with_min_len(AT_A_TIME).all(|(path, stat)| root.stat(path.as_slice()) == *stat)
    }

    /// Whether something in it could change after `now` and look the same. `now` is in nanoseconds since 1970.
    pub(super) fn is_racy(&self, now: i128) -> bool {
        self.places.iter().any(|(_, stat)| stat.is_some_and(|stat| stat.is_racy(now)))
    }
}

fn bytes(path: &Path) -> &[u8] {
    path.as_os_str().as_bytes()
}

/// The paths of all items, in any order, and what they depend on, when that is known.
type Listed = (Vec<String>, Option<Watched>);

/// `None` when the list that is known still holds.
pub(super) fn list(root: &Root, selection: Selection, known: Option<&Watched>) -> Result<Option<Listed>> {
    match selection {
        Selection::All { skip } => {
            let found = walk(root, &Walk { skip, take: &|path, _| !skip(path), whole: true })?;
            let paths = found.folders.into_iter().map(|(path, _)| path).filter(|path| path != b".");
            let paths = paths.chain(found.files).map(|path| {
                String::from_utf8(path).map_err(|e| {
                    let path = root.path.join(OsStr::from_bytes(e.as_bytes()));
                    Error::new(format!("{} has a name that is not UTF-8; such names are not stored", path.display()))
                })
            });
            Ok(Some((paths.collect::<Result<_>>()?, None)))
        }
        Selection::Asked { rule, also, .. } if known.is_some_and(|known| known.holds(root, rule, also)) => Ok(None),
        Selection::Asked { rule, list, decides, also, skip } => {
            let found = walk(root, &Walk { skip, take: &|_, name| decides(name), whole: false })?;
            let also = also.iter().map(|path| bytes(path).to_owned());
            let files: Vec<_> =
                found.files.into_iter().chain(also).map(|path| (root.stat(path.as_slice()), path)).collect();
            let mut paths = list().map_err(|e| at("list the files of", &root.path)(io::Error::other(e)))?;
            paths.retain(|path| !path.ends_with('/'));
            paths.iter().try_for_each(|path| check_path(path))?;
            let folders: HashSet<&[u8]> = found.folders.iter().map(|(path, _)| path.as_slice()).collect();
            paths.retain(|path| folders.contains(path.rsplit_once('/').map_or(".", |(folder, _)| folder).as_bytes()));
            let mut places: Vec<_> = found.folders.into_iter().map(|(path, stat)| (path, Some(stat))).collect();
            places.extend(files.into_iter().map(|(stat, path)| (path, stat)));
            Ok(Some((paths, Some(Watched { rule: rule.to_owned(), places }))))
        }
    }
}

/// What a walk goes through and takes.
struct Walk<'a> {
    /// Folders, by path below the root, that are left out with all in them.
    skip: &'a (dyn Fn(&str) -> bool + Sync),
    /// Whether to take what is no folder, by path below the root and name.
    take: &'a (dyn Fn(&str, &str) -> bool + Sync),
    /// Whether a folder that may not be read is an error. Otherwise it is an empty one.
    whole: bool,
}

/// Paths from the root, sorted.
#[derive(Default)]
struct Walked {
    /// As they were before they were read; the root is `.`.
    folders: Vec<(Vec<u8>, Stat)>,
    files: Vec<Vec<u8>>,
}

fn walk(root: &Root, rules: &Walk) -> Result<Walked> {
    let mut all = walk_folder(root, b".".to_vec(), rules)?;
    all.folders.sort_unstable_by(|(a, _), (b, _)| a.cmp(b));
    all.files.sort_unstable();
    Ok(all)
}

fn walk_folder(root: &Root, path: Vec<u8>, rules: &Walk) -> Result<Walked> {
    let full = root.path.join(OsStr::from_bytes(&path));
    let mut found = Walked::default();
    match root.lstat(path.as_slice()) {
        Ok(stat) if stat.is_folder() => found.folders.push((path.clone(), stat)),
        // It was a folder when the one above it was read.
        Ok(_) => return Ok(found),
        Err(e) if is_gone(&e) => return Ok(found),
        Err(e) => return Err(at("look at", &full)(e)),
    }
    let entries = match fs::read_dir(&full) {
        Err(e) if is_gone(&e) || !rules.whole && e.kind() == io::ErrorKind::PermissionDenied => return Ok(found),
        other => other.map_err(at("read the folder", &full))?,
    };
    let mut below = Vec::new();
    for entry in entries {
        let entry = entry.map_err(at("read the folder", &full))?;
        let name = entry.file_name();
        let item = if path == b"." { name.as_bytes().to_owned() } else { [&path, &b"/"[..], name.as_bytes()].concat() };
        let text = String::from_utf8_lossy(&item);
        let kind = match entry.file_type() {
            Err(e) if is_gone(&e) => continue,
            other => other.map_err(at("look at", &entry.path()))?,
        };
        if kind.is_dir() {
            if !(rules.skip)(&text) {
                below.push(item);
            }
        } else if (rules.take)(&text, &name.to_string_lossy()) {
            drop(text);
            found.files.push(item);
        }
    }
    let below = below.into_par_iter().map(|path| walk_folder(root, path, rules));
    for more in below.collect::<Result<Vec<_>>>()? {
        found.folders.extend(more.folders);
        found.files.extend(more.files);
    }
    Ok(found)
}
