//! Applies the patches of a source package: those that `debian/patches/series` names, in its order, each without fuzz, as dpkg-source has
//! patch(1) do it. Nothing outside of the tree is read or written.
//!
//! Not applied, and an error: renames, copies and binary files of git's, which dpkg-source does not take, either.

use crate::error::{Error, Result};
use diffy::patch_set::{FileOperation, FilePatch, ParseOptions, PatchSet};
use diffy::{Hunk, Line};
use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{self, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::{Component, Path, PathBuf};

/// What went wrong with a patch, in words.
type Outcome<T> = std::result::Result<T, String>;

/// Applies them all to the tree, the source package `what`. A vendor may have a series of its own.
///
/// # Errors
/// The first that does not apply, with the file that it is for.
pub(in crate::source) fn apply(tree: &Path, what: &str, vendor: &str) -> Result<()> {
    let folder = tree.join("debian/patches");
    let series = [format!("{vendor}.series"), "series".to_owned()].into_iter().find_map(|name| {
        let path = inside(&folder, name.as_bytes()).ok()?;
        path.exists().then(|| fs::read_to_string(&path).map_err(|e| (name, e)))
    });
    let series = match series {
        None => return Ok(()),
        Some(Ok(series)) => series,
        Some(Err((name, e))) => {
            return Err(Error::build(format!("{what}: cannot read debian/patches/{name}")).because(e));
        }
    };
    // After a name there may be options of quilt's, which dpkg-source does not read, either.
    let lines = series.lines().map(str::trim_start).filter(|line| !line.starts_with('#'));
    for name in lines.filter_map(|line| line.split_whitespace().next()) {
        let failed = |why: String| Error::build(format!("{what}: the patch {name} cannot be applied: {why}"));
        let path = inside(&folder, name.as_bytes()).map_err(failed)?;
        let text = fs::read(&path).map_err(|e| failed("it cannot be read".into()).because(e))?;
        one(tree, &text).map_err(failed)?;
    }
    Ok(())
}

/// Applies one patch, which may be for several files.
fn one(tree: &Path, text: &[u8]) -> Outcome<()> {
    let lines: Vec<&[u8]> = text.split(|byte| *byte == b'\n').collect();
    let refused: [&[u8]; 5] =
        [b"rename from ", b"copy from ", b"GIT binary patch", b"Binary files ", b"new file mode 120000"];
    if let Some(line) = lines.iter().find(|line| refused.iter().any(|start| line.starts_with(start))) {
        return Err(format!("it has the line `{}`, which is not supported", String::from_utf8_lossy(line)));
    }
    let headers = lines.windows(2).filter(|pair| pair[0].starts_with(b"--- ") && pair[1].starts_with(b"+++ ")).count();
    if headers == 0 {
        return Ok(());
    }
    let modes = modes(&lines);
    let mut applied = 0;
    for file in PatchSet::parse_bytes(text, ParseOptions::unidiff()) {
        one_file(tree, &file.map_err(|e| e.to_string())?, &modes)?;
        applied += 1;
    }
    // A part that is left out silently may be the one that closes a security hole.
    if applied == headers {
        Ok(())
    } else {
        Err(format!("it changes {headers} files, and only {applied} of these changes can be parsed"))
    }
}

/// Which files git says are to be executable, or no longer.
fn modes<'t>(lines: &[&'t [u8]]) -> BTreeMap<&'t [u8], u32> {
    let mut modes = BTreeMap::new();
    let mut name: &[u8] = b"";
    for line in lines {
        if let Some(rest) = line.strip_prefix(b"diff --git ") {
            let at = rest.windows(3).rposition(|window| window == b" b/");
            name = at.map_or(b"", |at| &rest[at + 3..]);
        }
        let mode = line.strip_prefix(b"new file mode ").or_else(|| line.strip_prefix(b"new mode "));
        match mode {
            Some(b"100755") => drop(modes.insert(name, 0o755)),
            Some(b"100644") => drop(modes.insert(name, 0o644)),
            _ => {}
        }
    }
    modes
}

fn one_file(tree: &Path, file: &FilePatch<'_, [u8]>, modes: &BTreeMap<&[u8], u32>) -> Outcome<()> {
    let hunks = file.patch().as_text().map(diffy::Patch::hunks).unwrap_or_default();
    let operation = file.operation().strip_prefix(1);
    let makes = hunks.first().is_some_and(|hunk| hunk.old_range().is_empty() && hunk.old_range().start() == 0);
    let exists = |name: &[u8]| inside(tree, name).is_ok_and(|path| path.exists());
    let (from, to): (Option<&[u8]>, Option<&[u8]>) = match &operation {
        FileOperation::Create(to) => (None, Some(to)),
        FileOperation::Delete(from) => (Some(from), None),
        FileOperation::Modify { modified, .. } if makes && !exists(modified) => (None, Some(modified)),
        // Of two names the one counts that is there, as patch(1) has it.
        FileOperation::Modify { original, modified } => {
            let name = if exists(modified) || !exists(original) { modified } else { original };
            (Some(name), Some(name))
        }
        FileOperation::Rename { .. } | FileOperation::Copy { .. } => {
            return Err("it renames or copies a file, which is not supported".to_owned());
        }
    };
    let name = to.or(from).unwrap_or_default();
    let shown = String::from_utf8_lossy(name).into_owned();
    let failed = |e: io::Error| format!("{shown}: {e}");
    let path = inside(tree, name)?;
    let (before, mode) = match from {
        None => (Vec::new(), 0o644),
        Some(_) => {
            let before = fs::read(&path).map_err(failed)?;
            (before, fs::metadata(&path).map_err(failed)?.permissions().mode())
        }
    };
    let after = applied(&before, hunks).map_err(|number| format!("{shown}: hunk {number} does not apply"))?;
    if to.is_none() && !after.is_empty() {
        return Err(format!("{shown}: the patch removes this file, but not all of its lines"));
    }
    if from.is_some() {
        fs::remove_file(&path).map_err(failed)?;
    }
    // A file that a patch leaves empty by removing all of it is removed.
    if to.is_none() || after.is_empty() && !before.is_empty() {
        return Ok(());
    }
    let write = || {
        fs::create_dir_all(path.parent().unwrap_or(tree))?;
        let mut file = File::create_new(&path)?;
        file.write_all(&after)?;
        file.set_permissions(fs::Permissions::from_mode(modes.get(name).copied().unwrap_or(mode)))
    };
    write().map_err(failed)
}

/// The text with all hunks applied; the error is the number of the first that does not apply. Where a hunk may lie is as patch(1) has it
/// without fuzz: as near as can be to where it says, moved by as much as the one before it was moved and never before that; with less
/// context at one end than at the other only at that end of the file.
fn applied(before: &[u8], hunks: &[Hunk<'_, [u8]>]) -> std::result::Result<Vec<u8>, usize> {
    let lines: Vec<&[u8]> = before.split_inclusive(|byte| *byte == b'\n').collect();
    let mut after = Vec::new();
    let (mut done, mut moved): (usize, isize) = (0, 0);
    for (number, hunk) in hunks.iter().enumerate() {
        let old: Vec<&[u8]> = hunk.lines().iter().filter_map(|line| kept(line, true)).collect();
        let context = |line: &&Line<'_, [u8]>| matches!(line, Line::Context(_));
        let head = hunk.lines().iter().take_while(context).count();
        let tail = hunk.lines().iter().rev().take_while(context).count();
        // A hunk without old lines names the line before it.
        let said = if old.is_empty() { hunk.old_range().start() } else { hunk.old_range().start().saturating_sub(1) };
        let guess = said.saturating_add_signed(moved);
        let last = lines.len().checked_sub(old.len()).filter(|last| *last >= done).ok_or(number + 1)?;
        let fits = |at: &usize| lines[*at..*at + old.len()] == old[..];
        let at = if head < tail && said == 0 {
            Some(0).filter(|at| *at >= done && fits(at))
        } else if tail < head {
            Some(last).filter(fits)
        } else {
            let mut near: Vec<usize> = (done..=last).filter(fits).collect();
            // Of two places that are equally near the later one counts.
            near.sort_by_key(|at| (at.abs_diff(guess), *at < guess));
            near.first().copied()
        };
        let at = at.ok_or(number + 1)?;
        after.extend(lines[done..at].concat());
        hunk.lines().iter().filter_map(|line| kept(line, false)).for_each(|line| after.extend_from_slice(line));
        done = at + old.len();
        moved = at.cast_signed() - said.cast_signed();
    }
    after.extend(lines[done..].concat());
    Ok(after)
}

/// A hunk's line if it is one of the old or of the new text.
fn kept<'l>(line: &Line<'l, [u8]>, old: bool) -> Option<&'l [u8]> {
    match line {
        Line::Context(text) => Some(text),
        Line::Delete(text) => old.then_some(*text),
        Line::Insert(text) => (!old).then_some(*text),
    }
}

/// The path of a name below the folder, through no link.
fn inside(folder: &Path, name: &[u8]) -> Outcome<PathBuf> {
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
