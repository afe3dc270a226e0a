//! What dpkg says of the files that it installed: the package of each, and its checksum.
//!
//! It is read from `/var/lib/dpkg/info/*.md5sums` (deb-md5sums(5)), and no program is started. On a machine without dpkg no file has a
//! package. Does not know which files matter.

use quiz_cache::Digest;
use std::collections::{BTreeSet, HashMap};
use std::path::{Path, PathBuf};

/// dpkg writes here with each package that comes, goes or is upgraded, the first of them by a rename.
const WATCHED: [&str; 2] = ["var/lib/dpkg/info", "var/lib/dpkg/status"];

/// Folders of usr/share with texts for people: they do not change what a tool does, and do not count.
const TEXTS: [&str; 7] = ["doc/", "doc-base/", "info/", "lintian/", "locale/", "man/", "bug/"];

/// All files with a checksum.
#[derive(Debug, Default)]
pub(super) struct Packages {
    /// Name of each, and its lines.
    all: Vec<(String, String)>,
    /// By path without the first `/`: the package's place in `all`, and the checksum.
    files: HashMap<String, (usize, String)>,
}

impl Packages {
    /// Reads them all, tens of milliseconds. What decides what is read is added to `passed`.
    pub(super) fn read(root: &Path, passed: &mut BTreeSet<PathBuf>) -> Self {
        passed.extend(WATCHED.map(|place| root.join(place)));
        let mut packages = Self::default();
        let Ok(entries) = root.join(WATCHED[0]).read_dir() else { return packages };
        for path in entries.flatten().map(|entry| entry.path()) {
            let Some(name) = path.file_name().and_then(|name| name.to_str()?.strip_suffix(".md5sums")) else {
                continue;
            };
            let Ok(text) = std::fs::read_to_string(&path) else { continue };
            for (sum, file) in text.lines().filter_map(|line| line.split_once("  ")) {
                packages.files.insert(on_usr(file).into_owned(), (packages.all.len(), sum.to_owned()));
            }
            packages.all.push((name.to_owned(), text));
        }
        packages
    }

    /// The package of a file, by its place, and the file's checksum.
    pub(super) fn owner(&self, file: &Path) -> Option<(usize, &str)> {
        let file = file.strip_prefix("/").unwrap_or(file).to_str()?;
        let (package, sum) = self.files.get(&*on_usr(file))?;
        Some((*package, sum))
    }

    pub(super) fn name(&self, package: usize) -> &str {
        &self.all[package].0
    }

    /// The digest of all that a package has but texts for people.
    pub(super) fn digest(&self, package: usize) -> String {
        let is_text = |line: &&str| {
            let file = line.split_once("  usr/share/").map_or("", |(_, file)| file);
            TEXTS.iter().any(|text| file.starts_with(text))
        };
        digest(self.all[package].1.lines().filter(|line| !is_text(line)).map(|line| format!("{line}\n")).collect())
    }
}

/// The digest of lines in whatever order.
pub(super) fn digest(mut lines: Vec<String>) -> String {
    lines.sort_unstable();
    Digest::of(lines.concat().as_bytes()).to_string()
}

/// Where `/lib` leads to `/usr/lib`, packages may still name files by the shorter path: the longer one.
fn on_usr(file: &str) -> std::borrow::Cow<'_, str> {
    let moved = ["bin/", "sbin/", "lib/", "lib32/", "lib64/", "libx32/"].iter().any(|dir| file.starts_with(dir));
    if moved { format!("usr/{file}").into() } else { file.into() }
}
