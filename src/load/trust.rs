//! Whose files decide: a project's are read only when they belong to who runs quiz, or to root, or when somebody said that they may.
//!
//! The rule is git's for repositories (git-config(1), `safe.directory`). Reads no file of a project, only whose it is.
//!
//! And where quiz writes: not through a link that may have come with a clone, where whoever cloned it is its owner.

use super::PROJECT_FOLDER;
use crate::error::{Error, Result};
use crate::host::{self, many, quoted};
use std::fs;
use std::io::{ErrorKind, Write};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

/// Folders that are trusted, for one command: separated like those of PATH; `*` is each.
pub(super) const VARIABLE: &str = "QUIZ_TRUST";

/// The list of trusted folders in the user's own folder of settings, a folder a line.
const FILE: &str = "trusted";

/// The folders of `.quiz` that quiz only reads; people share them by links. In all others it makes, changes or removes files.
const ONLY_READ: [&str; 2] = ["recipes", "profiles"];

/// The folders of `.quiz` in which quiz opens or removes files by names that could be links.
const WITH_FILES: [&str; 3] = ["runs", "disks", "compile-commands"];

/// Who runs quiz.
#[derive(Debug, Clone, Copy)]
struct Me {
    uid: u32,
    /// For root: the user who became root by sudo.
    sudo: Option<u32>,
}

impl Me {
    fn new() -> Self {
        let sudo = std::env::var("SUDO_UID").ok().and_then(|uid| uid.parse().ok());
        Self { uid: rustix::process::geteuid().as_raw(), sudo }
    }

    /// Whether files of this owner may decide. Root's may: what the machine does is root's word anyway.
    fn takes_from(self, owner: u32) -> bool {
        owner == self.uid || owner == 0 || self.uid == 0 && self.sudo == Some(owner)
    }
}

/// What is wrong with a project.
#[derive(Debug, PartialEq, Eq)]
enum Doubt {
    /// This path of it belongs to this user.
    Owner(PathBuf, u32),
    /// This file of it lies above where quiz was started, where everybody can put one.
    Place(PathBuf),
    /// This file, by which a source is known, lies above where quiz was started, where everybody can put one.
    Source(PathBuf),
    /// Quiz would write through this link, to where it leads.
    Link(PathBuf, PathBuf),
}

/// Whether what the project in `dir` says may decide, for quiz that was started in `start`.
///
/// # Errors
/// It is another user's, or lies where everybody can put it; with the lines to type that trust it.
pub(super) fn check(dir: &Path, start: &Path, config_dir: &Path) -> Result<()> {
    let me = Me::new();
    let found = match doubt(dir, start, me)? {
        None => written_link(dir)?,
        found => found,
    };
    match found {
        Some(doubt) if !is_trusted(dir, config_dir)? => Err(refusal(&doubt, dir, start, me)),
        _ => Ok(()),
    }
}

/// Whether the source that was found in `dir`, by a file of this name, may be built by quiz that was started in `start`. A source may be anybody's where
/// people go to it; but one that everybody could put above them is none that they meant.
///
/// # Errors
/// It lies where everybody can put it; with the lines to type that trust it.
pub(super) fn check_source(dir: &Path, mark: &str, start: &Path, config_dir: &Path) -> Result<()> {
    let me = Me::new();
    match is_public_above(dir, start, me)? && !is_trusted(dir, config_dir)? {
        true => Err(refusal(&Doubt::Source(dir.join(mark)), dir, start, me)),
        false => Ok(()),
    }
}

/// Whether files of a project's own in this folder would count: it is the user's, or trusted.
///
/// # Errors
/// It is another user's, with the lines to type that trust it.
pub fn check_owner(dir: &Path, config_dir: &Path) -> Result<()> {
    match of_another(dir, Me::new())? {
        Some(doubt) if !is_trusted(dir, config_dir)? => Err(refusal(&doubt, dir, dir, Me::new())),
        _ => Ok(()),
    }
}

/// Whether quiz may write below this path of the project.
///
/// # Errors
/// It is a link, and nobody trusts the project.
pub(super) fn check_written(path: &Path, dir: &Path, config_dir: &Path) -> Result<()> {
    match link(path) {
        Some(doubt) if !is_trusted(dir, config_dir)? => Err(refusal(&doubt, dir, dir, Me::new())),
        _ => Ok(()),
    }
}

/// The first link through which quiz would write. That it leads into the project is no excuse: `.git/hooks` lies there, too.
fn written_link(dir: &Path) -> Result<Option<Doubt>> {
    let own = dir.join(PROJECT_FOLDER);
    if let Some(doubt) = link(&dir.join("quiz.lock")).or_else(|| link(&own)) {
        return Ok(Some(doubt));
    }
    let top = links(&own)?.into_iter().find(|path| !ONLY_READ.iter().any(|name| path.ends_with(name)));
    if let Some(path) = top {
        return Ok(link(&path));
    }
    for folder in WITH_FILES {
        if let Some(path) = links(&own.join(folder))?.first() {
            return Ok(link(path));
        }
    }
    Ok(None)
}

fn link(path: &Path) -> Option<Doubt> {
    fs::read_link(path).ok().map(|to| Doubt::Link(path.to_owned(), to))
}

/// The links in a folder, if it is one.
fn links(folder: &Path) -> Result<Vec<PathBuf>> {
    let entries = match fs::read_dir(folder) {
        Ok(entries) => entries,
        Err(e) if matches!(e.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) => return Ok(Vec::new()),
        Err(e) => return Err(unreadable(folder, e)),
    };
    let mut links = Vec::new();
    for entry in entries {
        let entry = entry.map_err(|e| unreadable(folder, e))?;
        if entry.file_type().is_ok_and(|kind| kind.is_symlink()) {
            links.push(entry.path());
        }
    }
    links.sort();
    Ok(links)
}

fn doubt(dir: &Path, start: &Path, me: Me) -> Result<Option<Doubt>> {
    let own = dir.join(PROJECT_FOLDER);
    let files = ["quiz.toml", "quiz.lock"].map(|name| dir.join(name));
    let folders = ["recipes", "profiles"].map(|name| own.join(name));
    let is_there = |path: &&PathBuf| path.symlink_metadata().is_ok();
    let Some(first) = files.iter().chain(&folders).find(is_there) else { return Ok(None) };
    for path in files.iter().filter(is_there) {
        if let Some(doubt) = of_another(path, me)? {
            return Ok(Some(doubt));
        }
    }
    for folder in folders.iter().filter(is_there) {
        if let Some(doubt) = of_another(&own, me)?.map_or_else(|| below(folder, 0, me), |doubt| Ok(Some(doubt)))? {
            return Ok(Some(doubt));
        }
    }
    // Who owns the folder can put others in their place at any time.
    let meta = fs::metadata(dir).map_err(|e| unreadable(dir, e))?;
    if !me.takes_from(meta.uid()) {
        return Ok(Some(Doubt::Owner(dir.to_owned(), meta.uid())));
    }
    Ok(is_public_above(dir, start, me)?.then(|| Doubt::Place(first.clone())))
}

/// Whether a folder lies above where quiz was started, and everybody can write to it. One's own that all may write to is one's own as long as the
/// files are (all are such on some file systems); but in one like /tmp nobody expects to be told what to build.
fn is_public_above(dir: &Path, start: &Path, me: Me) -> Result<bool> {
    let meta = fs::metadata(dir).map_err(|e| unreadable(dir, e))?;
    let is_public = meta.mode() & 0o002 != 0 && (meta.uid() != me.uid || meta.mode() & 0o1000 != 0);
    Ok(is_public && start != dir && start.starts_with(dir))
}

/// The first path in a folder of recipes or profiles, itself included, that is another user's. Links are followed where those who read
/// it follow them: to such a folder, and to one recipe or profile.
fn below(path: &Path, depth: usize, me: Me) -> Result<Option<Doubt>> {
    let meta = fs::symlink_metadata(path).map_err(|e| unreadable(path, e))?;
    let doubt = match meta.is_symlink() {
        true => of_another(path, me)?,
        false => of_owner(path, meta.uid(), me),
    };
    let is_folder = if meta.is_symlink() { depth <= 1 && path.is_dir() } else { meta.is_dir() };
    if doubt.is_some() || !is_folder {
        return Ok(doubt);
    }
    let mut paths = Vec::new();
    for entry in fs::read_dir(path).map_err(|e| unreadable(path, e))? {
        paths.push(entry.map_err(|e| unreadable(path, e))?.path());
    }
    paths.sort();
    many::first(&paths, |path| below(path, depth + 1, me).transpose()).transpose()
}

/// The doubt about a path that is another user's. Both a link and what it leads to have to be ours.
fn of_another(path: &Path, me: Me) -> Result<Option<Doubt>> {
    let link = fs::symlink_metadata(path).map_err(|e| unreadable(path, e))?.uid();
    let file = match fs::metadata(path) {
        Ok(meta) => meta.uid(),
        // A link to nothing: who reads it says so.
        Err(e) if e.kind() == ErrorKind::NotFound => link,
        Err(e) => return Err(unreadable(path, e)),
    };
    Ok([link, file].into_iter().find_map(|owner| of_owner(path, owner, me)))
}

fn of_owner(path: &Path, owner: u32, me: Me) -> Option<Doubt> {
    (!me.takes_from(owner)).then(|| Doubt::Owner(path.to_owned(), owner))
}

fn unreadable(path: &Path, error: std::io::Error) -> Error {
    Error::input(format!("cannot look at {}", path.display())).because(error)
}

fn is_trusted(dir: &Path, config_dir: &Path) -> Result<bool> {
    let real = |path: &Path| fs::canonicalize(path).unwrap_or_else(|_| path.to_owned());
    let dir = real(dir);
    let variable = std::env::var_os(VARIABLE).unwrap_or_default();
    for path in std::env::split_paths(&variable).filter(|path| !path.as_os_str().is_empty()) {
        if path == Path::new("*") || real(&path) == dir {
            return Ok(true);
        }
        if !path.is_absolute() {
            return Err(Error::input(format!("{VARIABLE}={}: a whole path is wanted", variable.display()))
                .hint(format!("{VARIABLE}={}", quoted(dir))));
        }
    }
    Ok(trusted(config_dir)?.iter().any(|path| real(path) == dir))
}

/// The folders that the user trusts.
///
/// # Errors
/// The list cannot be read, or is another user's.
pub fn trusted(config_dir: &Path) -> Result<Vec<PathBuf>> {
    let path = config_dir.join(FILE);
    let text = match fs::read_to_string(&path) {
        Ok(text) => text,
        Err(e) if e.kind() == ErrorKind::NotFound => return Ok(Vec::new()),
        Err(e) => return Err(Error::input(format!("cannot read {}", path.display())).because(e)),
    };
    if let Some(Doubt::Owner(path, owner)) = of_another(&path, Me::new())? {
        return Err(Error::input(format!("{} belongs to {}", path.display(), user(owner)))
            .hint("HOME or XDG_CONFIG_HOME names the folder of the user's own settings; is it right?"));
    }
    let mut folders = Vec::new();
    for (n, line) in text.lines().enumerate().filter(|(_, line)| !line.is_empty() && !line.starts_with('#')) {
        if !line.starts_with('/') {
            return Err(Error::input(format!("{}:{}: `{line}` is no whole path", path.display(), n + 1)));
        }
        folders.push(PathBuf::from(line));
    }
    Ok(folders)
}

/// Writes a folder into the list of those that the user trusts, for good.
///
/// # Errors
/// It is no folder; the list cannot be written.
pub fn trust(folder: &Path, config_dir: &Path) -> Result<()> {
    let wrong = |what: &str| Error::input(format!("{} {what}", folder.display()));
    let real = fs::canonicalize(folder).map_err(|e| wrong("cannot be trusted").because(e))?;
    if !real.is_dir() {
        return Err(wrong("is no folder").hint("name the one in which the project's quiz.toml or .quiz lies"));
    }
    let Some(line) = real.to_str().filter(|line| !line.contains('\n')) else {
        return Err(wrong("cannot be written as a line").hint(format!("{VARIABLE}=… in the environment can name it")));
    };
    if trusted(config_dir)?.contains(&real) {
        return Ok(());
    }
    let path = config_dir.join(FILE);
    let write = || {
        host::folder(config_dir)?;
        let whole = fs::read_to_string(&path).map_or(true, |text| text.is_empty() || text.ends_with('\n'));
        let mut file = host::private_file().append(true).open(&path)?;
        file.write_all(format!("{}{line}\n", if whole { "" } else { "\n" }).as_bytes())
    };
    write().map_err(|e| Error::input(format!("cannot write {}", path.display())).because(e))
}

fn refusal(doubt: &Doubt, dir: &Path, start: &Path, me: Me) -> Error {
    let shown = quoted(dir);
    let trust = |error: Error| {
        error
            .hint(format!("if you trust it: quiz trust {shown}"))
            .hint(format!("for one command: {VARIABLE}={shown} quiz …"))
    };
    let error = match doubt {
        Doubt::Link(path, to) => {
            let what = format!("{} is a link to {}, through which quiz would write", path.display(), to.display());
            let error = Error::input(what).hint(format!("if it came with the project: rm {}", quoted(path)));
            return trust(error);
        }
        Doubt::Owner(path, owner) => Error::input(format!(
            "{} belongs to {}, and quiz runs as {}: nothing of this project is read",
            path.display(),
            user(*owner),
            user(me.uid)
        )),
        Doubt::Place(path) => Error::input(format!(
            "{} lies above {}, in a folder that everybody can write to: nothing of this project is read",
            path.display(),
            start.display()
        ))
        .hint("to have a project of your own here: touch quiz.toml"),
        Doubt::Source(path) => Error::input(format!(
            "{} lies above {}, in a folder that everybody can write to: the source there is not built",
            path.display(),
            start.display()
        ))
        .hint("work in a folder that is not below it"),
    };
    let error = trust(error.detail("what lies there would decide which kernel is built, and what qemu runs"));
    if !matches!(doubt, Doubt::Owner(..)) || !is_container() {
        return error;
    }
    error
        .detail("this is a container: a folder of the host that is mounted into it keeps the host's owners")
        .hint(format!("in a workflow file, for all steps of a job: env: {{ {VARIABLE}: \"{}\" }}", dir.display()))
}

/// As docker, podman and systemd-nspawn mark one.
fn is_container() -> bool {
    std::env::var_os("container").is_some()
        || ["/.dockerenv", "/run/.containerenv"].iter().any(|mark| Path::new(mark).exists())
}

/// "anna (uid 1000)"; a container has no name for the host's users.
fn user(uid: u32) -> String {
    let text = fs::read_to_string("/etc/passwd").unwrap_or_default();
    let name = text.lines().find_map(|line| {
        let mut fields = line.split(':');
        let name = fields.next()?;
        (fields.nth(1)?.parse() == Ok(uid)).then_some(name)
    });
    name.map_or_else(|| format!("uid {uid}"), |name| format!("{name} (uid {uid})"))
}

#[cfg(test)]
mod tests;
