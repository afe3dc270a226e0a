//! Applies the patches of a source package: those that `debian/patches/series` names, in its order, each without fuzz. Nothing outside of
//! the tree is read or written.

use crate::error::{Error, Result};
use diffy::patch_set::{FileMode, FileOperation, FilePatch, ParseOptions, PatchSet};
use std::fs::{self, File};
use std::io::{self, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::{Component, Path, PathBuf};

/// Applies them all to the tree, the source package `what`.
///
/// # Errors
/// The first that does not apply, with the file that it is for.
pub(in crate::source) fn apply(tree: &Path, what: &str) -> Result<()> {
    let folder = tree.join("debian/patches");
    let series = match fs::read_to_string(folder.join("series")) {
        Ok(series) => series,
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(e) => return Err(Error::build(format!("{what}: cannot read debian/patches/series")).because(e)),
    };
    // After a name there may be options of quilt's, which dpkg-source does not read, either.
    let names = series.lines().filter_map(|line| line.split('#').next()?.split_whitespace().next());
    for name in names {
        let failed = |why: String| Error::build(format!("{what}: the patch {name} cannot be applied: {why}"));
        let path = inside(&folder, name.as_bytes()).map_err(failed)?;
        let text = fs::read(&path).map_err(|e| failed("it cannot be read".into()).because(e))?;
        one(tree, &text).map_err(failed)?;
    }
    Ok(())
}

/// Applies one patch, which may be for several files.
fn one(tree: &Path, text: &[u8]) -> std::result::Result<(), String> {
    let is_gits = text.starts_with(b"diff --git ") || text.windows(12).any(|window| window == b"\ndiff --git ");
    let options = if is_gits { ParseOptions::gitdiff() } else { ParseOptions::unidiff() };
    for file in PatchSet::parse_bytes(text, options) {
        let file = file.map_err(|e| e.to_string())?;
        one_file(tree, &file)?;
    }
    Ok(())
}

fn one_file(tree: &Path, file: &FilePatch<'_, [u8]>) -> std::result::Result<(), String> {
    let operation = file.operation().strip_prefix(1);
    let (from, to): (Option<&[u8]>, Option<&[u8]>) = match &operation {
        FileOperation::Create(to) => (None, Some(to)),
        FileOperation::Delete(from) => (Some(from), None),
        // Of two names the one counts that is there, as patch(1) has it.
        FileOperation::Modify { original, modified } => {
            let there =
                [modified, original].into_iter().find(|name| inside(tree, name).is_ok_and(|path| path.exists()));
            (Some(there.unwrap_or(modified)), Some(there.unwrap_or(modified)))
        }
        FileOperation::Rename { from, to } | FileOperation::Copy { from, to } => (Some(from), Some(to)),
    };
    let shown = |name: &[u8]| String::from_utf8_lossy(name).into_owned();
    let failed = |name: &[u8], e: io::Error| format!("{}: {e}", shown(name));
    let before = match from {
        None => Vec::new(),
        Some(name) => fs::read(inside(tree, name)?).map_err(|e| failed(name, e))?,
    };
    let patch = file.patch().as_text().ok_or("it has a binary file")?;
    let name = to.or(from).unwrap_or_default();
    let after = diffy::apply_bytes(&before, patch).map_err(|e| format!("{}: {e}", shown(name)))?;
    let mut mode = None;
    if let Some(name) = from {
        let path = inside(tree, name)?;
        mode = Some(fs::metadata(&path).map_err(|e| failed(name, e))?.permissions().mode());
        if !matches!(operation, FileOperation::Copy { .. }) {
            fs::remove_file(&path).map_err(|e| failed(name, e))?;
        }
    }
    // A file that a patch leaves empty by removing all of it is removed.
    let Some(name) = to.filter(|_| !after.is_empty() || before.is_empty()) else { return Ok(()) };
    let mode = match file.new_mode() {
        Some(FileMode::Executable) => 0o755,
        Some(FileMode::Regular) => 0o644,
        Some(FileMode::Symlink | FileMode::Gitlink) => return Err(format!("{}: it is a link", shown(name))),
        None => mode.unwrap_or(0o644),
    };
    let path = inside(tree, name)?;
    let write = || {
        fs::create_dir_all(path.parent().unwrap_or(tree))?;
        let mut file = File::create_new(&path)?;
        file.write_all(&after)?;
        file.set_permissions(fs::Permissions::from_mode(mode))
    };
    write().map_err(|e| failed(name, e))
}

/// The path of a name below the folder, through no link.
fn inside(folder: &Path, name: &[u8]) -> std::result::Result<PathBuf, String> {
    let text = std::str::from_utf8(name).map_err(|_| "a name in it is not UTF-8".to_owned())?;
    let mut path = folder.to_owned();
    for part in Path::new(text).components() {
        let Component::Normal(part) = part else { return Err(format!("`{text}` leads out of the tree")) };
        path.push(part);
        if path.is_symlink() {
            return Err(format!("`{text}` leads through a link"));
        }
    }
    if path == folder { Err("a file in it has no name".to_owned()) } else { Ok(path) }
}
