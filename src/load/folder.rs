//! A recipe's or profile's folder as bytes in memory, from the program itself or from disk.

use crate::document::Document;
use crate::error::{Error, Result};
use crate::host::{self, many::each};
use std::fs::FileType;
use std::path::{Path, PathBuf};

/// The files of one recipe or profile, and where they come from.
#[derive(Debug, Clone)]
pub(super) struct LoadedFolder {
    /// Its name: the folder's.
    pub name: String,
    /// Where messages say it lies; for built-in ones a path that shows that.
    pub path: PathBuf,
    /// Relative path, contents, executable; sorted by path.
    pub files: Vec<(String, Vec<u8>, bool)>,
}

impl LoadedFolder {
    /// One file, as TOML.
    pub fn document(&self, name: &str) -> Result<Document> {
        let path = self.path.join(name);
        let Some((_, bytes, _)) = self.files.iter().find(|(file, ..)| file == name) else {
            return Err(Error::input(format!("{} is missing", path.display())));
        };
        Document::of_bytes(&path, bytes)
    }
}

/// The folders embedded in the program under `dir`.
pub(super) fn embedded(dir: &'static include_dir::Dir<'static>, shown: &str) -> Vec<LoadedFolder> {
    fn collect(dir: &include_dir::Dir<'_>, top: &Path, files: &mut Vec<(String, Vec<u8>, bool)>) {
        for file in dir.files() {
            let path = file.path().strip_prefix(top).unwrap_or(file.path());
            // The program carries no permission bits; what starts with #! is meant to be run.
            let bytes = file.contents().to_vec();
            let executable = bytes.starts_with(b"#!");
            files.push((path.display().to_string(), bytes, executable));
        }
        for sub in dir.dirs() {
            collect(sub, top, files);
        }
    }
    let mut folders = Vec::new();
    for sub in dir.dirs() {
        let name = sub.path().display().to_string();
        let mut files = Vec::new();
        collect(sub, sub.path(), &mut files);
        files.sort();
        folders.push(LoadedFolder { path: Path::new(shown).join(&name), name, files });
    }
    folders
}

/// The folders on disk under `dir`; none if `dir` does not exist.
pub(super) fn on_disk(dir: &Path) -> Result<Vec<LoadedFolder>> {
    if !dir.exists() {
        return Ok(Vec::new());
    }
    let load = |(path, kind): (PathBuf, FileType)| {
        // A link counts as what it leads to.
        if !(kind.is_dir() || kind.is_symlink() && path.is_dir()) {
            return Ok(None);
        }
        let mut files = Vec::new();
        collect_disk(&path, &path, &mut files)?;
        files.sort();
        Ok(Some(LoadedFolder { name: utf8_name(&path)?.to_owned(), path, files }))
    };
    Ok(each(read_dir(dir)?, load)?.into_iter().flatten().collect())
}

fn collect_disk(dir: &Path, top: &Path, files: &mut Vec<(String, Vec<u8>, bool)>) -> Result<()> {
    for (path, kind) in read_dir(dir)? {
        let fail = |e| Error::input(format!("cannot read {}", path.display())).because(e);
        utf8_name(&path)?;
        if kind.is_dir() {
            collect_disk(&path, top, files)?;
        } else if kind.is_file() {
            let (bytes, mode) = host::read_plain_and_mode(&path).map_err(fail)?;
            let relative = path.strip_prefix(top).unwrap_or(&path).display().to_string();
            files.push((relative, bytes, mode & 0o111 != 0));
        } else {
            return Err(Error::input(format!("{} is neither a file nor a folder", path.display()))
                .hint("make links in the profile's init, or in the recipe's script"));
        }
    }
    Ok(())
}

fn utf8_name(path: &Path) -> Result<&str> {
    path.file_name()
        .and_then(|n| n.to_str())
        .ok_or_else(|| Error::input(format!("the name of {} is not UTF-8", path.display())))
}

/// What is in a folder, with what each is: most file systems say that in the list.
fn read_dir(dir: &Path) -> Result<Vec<(PathBuf, FileType)>> {
    let fail = |e| Error::input(format!("cannot read the folder {}", dir.display())).because(e);
    let mut entries = Vec::new();
    for entry in std::fs::read_dir(dir).map_err(fail)? {
        let entry = entry.map_err(fail)?;
        entries.push((entry.path(), entry.file_type().map_err(fail)?));
    }
    entries.sort_by(|(a, _), (b, _)| a.cmp(b));
    Ok(entries)
}
