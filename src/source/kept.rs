//! The sources of a worktree as they are now, kept so that they can be had when they are others: as a tree of git's, of which only those objects are
//! written that the repository does not have. The repository itself is only read.

use super::git::{Bare, failed_to_write, run};
use super::release::is_commit;
use super::worktree::Worktree;
use crate::error::{Error, Result};
use std::fs::{self, File};
use std::io::{self, Write};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;

/// The most bytes of files that were not committed: whoever has more has something else than sources there.
const MOST: u64 = 256 << 20;
/// What git calls the mode of a file that is gone.
const GONE: &str = "0";

/// Keeps what is source in the worktree `folder` now: makes the folder `objects`, and gives the id of the tree.
///
/// # Errors
/// The folder is no git worktree, nothing is committed there, too much is not; a name has a line break; git's own words.
pub fn keep(folder: &Path, objects: &Path) -> Result<String> {
    let worktree = Worktree::open(folder)?;
    if !worktree.is_git() {
        return Err(Error::input(format!("{} is no git worktree", folder.display())));
    }
    let none = || Error::input(format!("{} has no commit", folder.display()));
    let mut head = run::at(folder);
    head.args(["rev-parse", "--verify", "--quiet", "--end-of-options", "HEAD^{commit}"]);
    let head = run::run(&mut head)?;
    let commit = head.line();
    head.or(none)?;
    let scratch = beside(objects)?;
    let bare = Bare::borrow(named(folder)?, &commit, &scratch.path().join("repository"))?;
    let index = scratch.path().join("index");
    // In the worktree, whose files are named from there.
    let git = |args: &[&str]| {
        let mut git = bare.git();
        git.env("GIT_INDEX_FILE", &index).current_dir(folder).args(args);
        git
    };
    let failed = || Error::build(format!("git cannot keep what is in {}", folder.display()));
    read(&mut git(&["read-tree", &commit]))?.or(failed)?;
    let input = |text: &[u8]| {
        let mut file = tempfile::tempfile_in(scratch.path())?;
        file.write_all(text)?;
        io::Seek::rewind(&mut file).map(|()| file)
    };
    let given = |args: &[&str], text: &[u8]| {
        let input = input(text).map_err(|e| failed().because(e))?;
        read(git(args).stdin(input))?.or(failed)
    };
    let paths = worktree.changed_since(&commit)?;
    let Changed { mut entries, files } = changed(folder, &paths)?;
    let paths: String = files.iter().map(|path| format!("./{path}\n")).collect();
    let said = given(&["hash-object", "-w", "--no-filters", "--stdin-paths"], paths.as_bytes())?;
    let mut ids: Vec<String> = String::from_utf8_lossy(&said).lines().map(str::to_owned).collect();
    ids.reverse();
    for entry in &mut entries {
        entry.id = match &entry.link {
            Some(to) => String::from_utf8_lossy(&given(&["hash-object", "-w", "--stdin"], to)?).trim().to_owned(),
            None if entry.mode == GONE => "0".repeat(commit.len()),
            None => ids.pop().ok_or_else(failed)?,
        };
    }
    let text: String = entries.iter().map(|Entry { mode, id, path, .. }| format!("{mode} {id}\t{path}\0")).collect();
    given(&["update-index", "-z", "--index-info"], text.as_bytes())?;
    let tree = read(&mut git(&["write-tree"]))?;
    let id = tree.line();
    tree.or(failed)?;
    let made = scratch.path().join("repository/objects");
    // Where the repository's own objects lie, it is asked again when they are wanted.
    fs::remove_dir_all(made.join("info")).and_then(|()| fs::rename(&made, objects)).map_err(|e| failed().because(e))?;
    Ok(id)
}

/// Makes the folder `dest` of a tree that [`keep`] has kept.
///
/// # Errors
/// The repository does not have what had been committed then any more; git's own words.
pub fn restore(folder: &Path, objects: &Path, tree: &str, dest: &Path) -> Result<()> {
    let lost = || Error::input(format!("{} does not have its sources of then any more", folder.display()));
    if !is_commit(tree) || ![40, 64].contains(&tree.len()) {
        return Err(lost());
    }
    let scratch = beside(dest)?;
    let place = scratch.path().join("repository");
    let bare = Bare::borrow(named(folder)?, tree, &place)?;
    let alternates = place.join("objects/info/alternates");
    let mut file = File::options().append(true).open(&alternates).map_err(|e| failed_to_write(&alternates, e))?;
    writeln!(file, "{}", named(objects)?).map_err(|e| failed_to_write(&alternates, e))?;
    bare.check_out(tree, dest, scratch.path(), &lost).map(drop)
}

/// What is to be in the index for a file that is not as it was committed.
struct Entry<'a> {
    path: &'a str,
    mode: &'static str,
    /// Where a link leads to.
    link: Option<Vec<u8>>,
    id: String,
}

struct Changed<'a> {
    entries: Vec<Entry<'a>>,
    /// Those of them that are plain files.
    files: Vec<&'a str>,
}

fn changed<'a>(folder: &Path, paths: &'a [String]) -> Result<Changed<'a>> {
    let mut all = Changed { entries: Vec::new(), files: Vec::new() };
    let mut bytes = 0;
    for path in paths {
        if path.contains('\n') {
            return Err(Error::input(format!("{}: the name of a file has a line break", folder.display())));
        }
        let at = folder.join(path);
        let unreadable = |e| Error::input(format!("cannot read {}", at.display())).because(e);
        let (mode, link) = match fs::symlink_metadata(&at) {
            // A folder on the way to it may be a file now, or a link to another one.
            Err(e) if [io::ErrorKind::NotFound, io::ErrorKind::NotADirectory].contains(&e.kind()) => (GONE, None),
            Err(e) => return Err(unreadable(e)),
            Ok(_) if has_link_above(folder, path) => (GONE, None),
            // A submodule, or another worktree that lies in this one.
            Ok(meta) if meta.is_dir() => continue,
            Ok(meta) if meta.is_symlink() => {
                let to = fs::read_link(&at).map_err(unreadable)?;
                ("120000", Some(to.as_os_str().as_bytes().to_vec()))
            }
            Ok(meta) if meta.is_file() => {
                bytes += meta.len();
                all.files.push(path);
                (if meta.permissions().mode() & 0o100 == 0 { "100644" } else { "100755" }, None)
            }
            Ok(_) => continue,
        };
        all.entries.push(Entry { path, mode, link, id: String::new() });
    }
    if bytes > MOST {
        let most = MOST >> 20;
        return Err(Error::input(format!("more than {most} MiB of {} are not committed", folder.display())));
    }
    Ok(all)
}

fn has_link_above(folder: &Path, path: &str) -> bool {
    let above = Path::new(path).ancestors().skip(1);
    above.filter(|above| !above.as_os_str().is_empty()).any(|above| folder.join(above).is_symlink())
}

/// A folder beside `path`, which is gone afterwards.
fn beside(path: &Path) -> Result<tempfile::TempDir> {
    let folder = path.parent().unwrap_or(Path::new("."));
    tempfile::Builder::new().prefix(".git.").tempdir_in(folder).map_err(|e| failed_to_write(folder, e))
}

/// The path as git takes it in a file of its own.
fn named(path: &Path) -> Result<&str> {
    let name = path.to_str().filter(|name| name.starts_with('/') && !name.contains('\n'));
    name.ok_or_else(|| Error::input(format!("git cannot be told of the folder {}", path.display())))
}

fn read(git: &mut Command) -> Result<run::GitOutput> {
    run::run(run::without_config(git))
}

#[cfg(test)]
mod tests {
    use super::super::git::tests::{commit, git, repository};
    use super::*;
    use std::collections::BTreeMap;
    use std::os::unix::fs::symlink;

    fn write(root: &Path, path: &str, text: &str) {
        fs::create_dir_all(root.join(path).parent().unwrap()).unwrap();
        fs::write(root.join(path), text).unwrap();
    }

    /// What is in each source, or where a link leads to, and whether it can be run.
    fn files(root: &Path) -> BTreeMap<String, (Vec<u8>, bool)> {
        let worktree = Worktree::open(root).unwrap();
        let below = |dir: &Path| {
            let found = run::run(Command::new("find").args([".", "!", "-type", "d"]).current_dir(dir)).unwrap();
            String::from_utf8(found.stdout).unwrap().lines().map(|path| path[2..].to_owned()).collect()
        };
        let paths: Vec<String> = if worktree.is_git() { worktree.list().unwrap() } else { below(root) };
        let there = paths.into_iter().filter(|path| !has_link_above(root, path));
        let read = |path: String| {
            let at = root.join(&path);
            let meta = at.symlink_metadata().ok()?;
            let to = || fs::read_link(&at).unwrap().as_os_str().as_bytes().to_vec();
            let bytes = if meta.is_symlink() { to() } else { fs::read(&at).unwrap() };
            Some((path, (bytes, meta.is_file() && meta.permissions().mode() & 0o100 != 0)))
        };
        there.filter_map(read).collect()
    }

    #[test]
    fn what_is_source_is_there_again_when_it_was_edited_and_nothing_is_written_into_the_repository() {
        let dir = repository();
        let root = dir.path();
        write(root, ".gitattributes", "*.c filter=f eol=crlf\n");
        write(root, ".gitignore", "*.o\n");
        ["same.c", "edited.c", "gone.c", "mode.sh", "becomes/a.c", "moves/a.c"]
            .iter()
            .for_each(|path| write(root, path, "1\n"));
        git(root, &["add", "."]);
        commit(root, "first");
        write(root, "edited.c", "2\r\n");
        write(root, "new/a b\".c", "3\n");
        write(root, "staged.c", "4\n");
        git(root, &["add", "staged.c"]);
        write(root, "a.o", "made");
        fs::remove_file(root.join("gone.c")).unwrap();
        fs::remove_dir_all(root.join("becomes")).unwrap();
        write(root, "becomes", "a file\n");
        fs::set_permissions(root.join("mode.sh"), fs::Permissions::from_mode(0o755)).unwrap();
        symlink("same.c", root.join("link")).unwrap();
        fs::rename(root.join("moves"), root.join("new/moved")).unwrap();
        symlink("new/moved", root.join("moves")).unwrap();
        let mark = root.join(".git/mark");
        git(root, &["config", "filter.f.clean", &format!("echo >>{}; cat", mark.display())]);
        let place = tempfile::tempdir().unwrap();
        let (before, objects) = (files(root), place.path().join("objects"));
        let known = || git(root, &["count-objects", "-v"]);
        let count = known();
        let tree = keep(root, &objects).unwrap();
        assert_eq!(known(), count);
        assert!(!mark.exists(), "a filter of the repository's ran");
        write(root, "edited.c", "5\n");
        fs::remove_file(root.join("staged.c")).unwrap();
        git(root, &["add", "."]);
        commit(root, "second");
        assert_ne!(files(root), before);
        let dest = place.path().join("then");
        restore(root, &objects, &tree, &dest).unwrap();
        let then = files(&dest);
        assert_eq!(then, before);
        assert_eq!(then["edited.c"], (b"2\r\n".to_vec(), false));
        assert!(then["mode.sh"].1 && !then.contains_key("gone.c") && !then.contains_key("a.o"), "{then:?}");
        let left: Vec<_> = fs::read_dir(place.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        assert_eq!(left.len(), 2, "{left:?}");
        // Nobody has these any more.
        let error = restore(root, &objects, &"1".repeat(40), &place.path().join("other")).unwrap_err();
        assert!(error.to_string().ends_with("does not have its sources of then any more"), "{error}");
        for tree in ["", "HEAD", "--all", &"g".repeat(40)] {
            assert!(restore(root, &objects, tree, &place.path().join("other")).is_err(), "{tree}");
        }
    }

    #[test]
    fn what_cannot_be_kept_says_why() {
        let dir = repository();
        let root = dir.path();
        let place = tempfile::tempdir().unwrap();
        let why = || keep(root, &place.path().join("objects")).unwrap_err().to_string();
        assert!(why().ends_with(" has no commit"));
        commit(root, "first");
        write(root, "a\nb", "");
        assert!(why().ends_with("the name of a file has a line break"));
        fs::remove_file(root.join("a\nb")).unwrap();
        File::create(root.join("image")).unwrap().set_len(MOST + 1).unwrap();
        assert!(why().starts_with("more than 256 MiB of "));
        fs::remove_dir_all(root.join(".git")).unwrap();
        assert!(why().ends_with(" is no git worktree"));
        assert_eq!(fs::read_dir(place.path()).unwrap().count(), 0);
    }
}
