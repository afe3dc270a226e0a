//! The sources of a worktree as they are now, kept so that they can be had when they are others: as a tree of git's, of which only those objects are
//! written that the repository does not have. To the repository nothing is added.

use super::git::{Bare, run};
use super::worktree::{NEW_LOCK, Worktree, is_ours};
use super::{GitPin, KeptTree, Pin};
use crate::error::{Error, Result};
use std::fs::{self, File};
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

/// The most bytes of files that were not committed, and how many there may be: whoever has more has something else than sources there.
const MOST: u64 = 64 << 20;
const MANY: usize = 20_000;
/// What git calls the mode of a file that is gone, and of a repository in another one.
const GONE: &str = "0";
const MODULE: &str = "160000";

/// Keeps what is source in the worktree `folder` now: makes the folder `objects`, and gives the id of the tree.
///
/// # Errors
/// The folder is no git worktree, nothing is committed there, too much is not; a name has a line break; git's own words.
pub fn keep(folder: &Path, objects: &Path) -> Result<String> {
    let worktree = Worktree::open(folder)?;
    if !worktree.is_git() {
        return Err(Error::input(format!("{} is not a git worktree", folder.display())));
    }
    let mut head = run::at(folder);
    let head = run::run(head.args(["rev-parse", "--verify", "--end-of-options", "HEAD^{commit}"]))?;
    let commit = head.line();
    head.or(|| Error::input(format!("git finds no commit in {}", folder.display())))?;
    let failed = || Error::build(format!("git cannot keep what is in {}", folder.display()));
    let beside = objects.parent().unwrap_or(Path::new("."));
    let scratch = tempfile::Builder::new().prefix(".git.").tempdir_in(beside).map_err(|e| failed().because(e))?;
    let repository = scratch.path().join("repository");
    let name = folder.to_str().ok_or_else(|| Error::input(format!("{} is not UTF-8", folder.display())))?;
    let bare = Bare::borrow(name, &commit, &repository)?;
    // In the worktree, whose files are named from there.
    let git = |args: &[&str]| {
        let mut git = bare.git();
        git.env("GIT_INDEX_FILE", scratch.path().join("index")).current_dir(folder).args(args);
        git
    };
    let given = |args: &[&str], text: &str| {
        let path = scratch.path().join("input");
        let input = fs::write(&path, text).and_then(|()| File::open(&path)).map_err(|e| failed().because(e))?;
        run_alone(git(args).stdin(input))?.or(failed)
    };
    run_alone(&mut git(&["read-tree", &commit]))?.or(failed)?;
    let changed = changed(&worktree, &commit, scratch.path())?;
    let paths: String = changed.iter().filter_map(|one| Some(format!("{}\n", one.content.as_ref()?))).collect();
    let said = given(&["hash-object", "-w", "--no-filters", "--stdin-paths"], &paths)?;
    let (said, mut entries) = (String::from_utf8_lossy(&said), String::new());
    let mut ids = said.lines();
    for Changed { path, mode, content } in &changed {
        let id = match content {
            Some(_) => ids.next().ok_or_else(failed)?,
            // Of what is gone, and of a repository in this one, no object is looked at.
            None => &commit,
        };
        entries += &format!("{mode} {id}\t{path}\0");
    }
    given(&["update-index", "-z", "--index-info"], &entries)?;
    let tree = run_alone(&mut git(&["write-tree"]))?;
    let id = tree.line();
    tree.or(failed)?;
    // Where the repository's own objects lie, it is asked again when they are wanted.
    let made = repository.join("objects");
    let rest = ["info", "pack"].map(|name| fs::remove_dir_all(made.join(name)));
    let moved = rest.into_iter().collect::<io::Result<()>>().and_then(|()| fs::rename(&made, objects));
    moved.map(|()| id).map_err(|e| failed().because(e))
}

/// What [`keep`] has kept of the worktree `folder`, as something that can be fetched; `source` is the digest of what was there.
///
/// # Errors
/// It is not what [`keep`] leaves: somebody else may have put it there.
pub fn pin(folder: &Path, objects: PathBuf, tree: &str, source: &str) -> Result<Pin> {
    let odd = || Error::input(format!("{} is not what quiz has kept of {}", objects.display(), folder.display()));
    let is_hex = |text: &str, lengths: &[usize]| {
        lengths.contains(&text.len()) && text.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'))
    };
    let repository = folder.to_str().filter(|_| is_hex(tree, &[40, 64])).ok_or_else(odd)?.to_owned();
    // git would follow a link, and a list of further folders with objects, wherever they lead, and wait at a pipe.
    let entries = |folder: &Path| {
        let is_folder = folder.symlink_metadata().is_ok_and(|meta| meta.is_dir());
        let entries = fs::read_dir(folder).ok().filter(|_| is_folder).ok_or_else(odd)?;
        entries.map(|entry| entry.map(|entry| entry.path()).map_err(|_| odd())).collect::<Result<Vec<_>>>()
    };
    let named = |path: &Path, lengths: &[usize]| {
        path.file_name().and_then(|name| name.to_str()).is_some_and(|name| is_hex(name, lengths))
    };
    for below in entries(&objects)? {
        let is_file = |path: &Path| path.symlink_metadata().is_ok_and(|meta| meta.is_file());
        let is_odd = |path: &PathBuf| !named(path, &[38, 62]) || !is_file(path);
        if !named(&below, &[2]) || entries(&below)?.iter().any(is_odd) {
            return Err(odd());
        }
    }
    let (name, tree) = ("as it was when the machine crashed".to_owned(), tree.to_owned());
    Ok(Pin::Git(GitPin {
        repository,
        name,
        commit: tree.clone(),
        tree,
        kept: Some(KeptTree { objects, source: source.to_owned() }),
    }))
}

/// A file that is not as it was committed.
struct Changed {
    path: String,
    mode: &'static str,
    /// The file with what git is to have of it: itself, or one with what a link says.
    content: Option<String>,
}

/// All such files of a worktree. `scratch` is a folder for what links say.
fn changed(worktree: &Worktree, commit: &str, scratch: &Path) -> Result<Vec<Changed>> {
    let folder = worktree.root();
    let mut paths = worktree.changed(commit, &["-c", "core.fileMode=true"])?;
    // Of those git itself takes the user's word that they are as they were, or not there on purpose.
    let mut hidden = run::at(folder);
    hidden.args(["ls-files", "-v", "-z"]);
    let failed = || Error::input(format!("git cannot list the files of {}", folder.display()));
    let hidden = run::run(&mut hidden)?.or(failed)?;
    let is_hidden = |entry: &&[u8]| entry.first().is_some_and(|tag| *tag == b'S' || tag.is_ascii_lowercase());
    let hidden =
        hidden.split(|b| *b == 0).filter(is_hidden).map(|entry| String::from_utf8_lossy(&entry[2..]).into_owned());
    paths.extend(hidden);
    // Quiz's own files are no source, committed or not.
    let mut ours = run::at(folder);
    ours.args(["ls-tree", "-r", "-z", "--name-only", commit, "--", ".quiz", "quiz.toml", "quiz.lock", NEW_LOCK]);
    let ours = run::run(&mut ours)?.or(failed)?;
    let ours = ours.split(|b| *b == 0).filter(|path| !path.is_empty());
    paths.extend(ours.map(|path| String::from_utf8_lossy(path).into_owned()));
    // Of another repository that lies in this one, and is none of its submodules, nothing is source.
    paths.retain(|path| !path.ends_with('/'));
    let (mut all, mut bytes, mut files) = (Vec::new(), 0, 0);
    for (number, path) in paths.iter().cloned().enumerate() {
        if path.contains(['\n', '\r']) {
            return Err(Error::input(format!("{}: the name of a file has a line break", folder.display())));
        }
        let at = folder.join(&path);
        let unreadable = |e: io::Error| Error::input(format!("cannot read {}", at.display())).because(e);
        let (mode, content) = match fs::symlink_metadata(&at) {
            // A folder on the way to it may be a file now, or a link to another one.
            Err(e) if [io::ErrorKind::NotFound, io::ErrorKind::NotADirectory].contains(&e.kind()) => (GONE, None),
            Err(e) => return Err(unreadable(e)),
            Ok(_) if is_ours(&path) || has_link_above(folder, &path) => (GONE, None),
            Ok(meta) if meta.is_symlink() => {
                let file = scratch.join(format!("link.{number}"));
                let to = fs::read_link(&at).and_then(|to| fs::write(&file, to.as_os_str().as_bytes()));
                to.map_err(unreadable)?;
                ("120000", Some(file.display().to_string()))
            }
            Ok(meta) if meta.is_file() => {
                bytes += meta.len();
                let is_program = meta.permissions().mode() & 0o100 != 0;
                (if is_program { "100755" } else { "100644" }, Some(format!("./{path}")))
            }
            // A submodule, or what was a file: for who looks at the worktree a folder, by itself or for what lies in it.
            Ok(meta) if meta.is_dir() && !paths.iter().any(|other| is_below(other, &path)) => (MODULE, None),
            Ok(_) => (GONE, None),
        };
        files += usize::from(content.is_some());
        if files > MANY {
            return Err(Error::input(format!("more than {MANY} files of {} are not committed", folder.display())));
        }
        all.push(Changed { path, mode, content });
    }
    if bytes > MOST {
        let most = MOST >> 20;
        return Err(Error::input(format!("more than {most} MiB of {} are not committed", folder.display())));
    }
    Ok(all)
}

fn is_below(path: &str, folder: &str) -> bool {
    path.strip_prefix(folder).is_some_and(|rest| rest.starts_with('/'))
}

fn has_link_above(folder: &Path, path: &str) -> bool {
    let above = Path::new(path).ancestors().skip(1);
    above.filter(|above| !above.as_os_str().is_empty()).any(|above| folder.join(above).is_symlink())
}

/// Runs git by the config of its own repository alone.
fn run_alone(git: &mut Command) -> Result<run::GitOutput> {
    run::run(run::without_config(git))
}

#[cfg(test)]
mod tests;
