//! A recipe's or profile's folder as bytes in memory, from the program itself or from disk.

use crate::document::Document;
use crate::error::{Error, Result};
use crate::host;
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
    let mut folders = Vec::new();
    if !dir.exists() {
        return Ok(folders);
    }
    for entry in read_dir(dir)? {
        if entry.is_dir() {
            let mut files = Vec::new();
            collect_disk(&entry, &entry, &mut files)?;
            files.sort();
            folders.push(LoadedFolder { name: utf8_name(&entry)?.to_owned(), path: entry, files });
        }
    }
    Ok(folders)
}

fn collect_disk(dir: &Path, top: &Path, files: &mut Vec<(String, Vec<u8>, bool)>) -> Result<()> {
    use std::os::unix::fs::PermissionsExt;
    for path in read_dir(dir)? {
        let fail = |e| Error::input(format!("cannot read {}", path.display())).because(e);
        utf8_name(&path)?;
        let meta = std::fs::symlink_metadata(&path).map_err(fail)?;
        if meta.is_dir() {
            collect_disk(&path, top, files)?;
        } else if meta.is_file() {
            let bytes = host::read_plain(&path).map_err(fail)?;
            let relative = path.strip_prefix(top).unwrap_or(&path).display().to_string();
            files.push((relative, bytes, meta.permissions().mode() & 0o111 != 0));
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

fn read_dir(dir: &Path) -> Result<Vec<PathBuf>> {
    let fail = |e| Error::input(format!("cannot read the folder {}", dir.display())).because(e);
    let mut paths = Vec::new();
    for entry in std::fs::read_dir(dir).map_err(fail)? {
        paths.push(entry.map_err(fail)?.path());
    }
    paths.sort();
    Ok(paths)
}
