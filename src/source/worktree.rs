//! Folders that people edit: how one is found, and which of its files are source. In a git worktree git says that: what is
//! tracked, and what is neither tracked nor ignored. Knows nothing of digests, and not whether a file has changed.

use super::git::run;
use crate::error::{Error, Result};
use crate::host;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

/// The name of quiz.lock while it is written: a process that was killed then leaves it.
pub(super) const NEW_LOCK: &str = ".quiz.lock.new";

/// The nearest folder above `start`, itself included, that has all `marks`. Without marks there is none.
pub fn find(start: &Path, marks: &[String]) -> Option<PathBuf> {
    start.ancestors().find(|dir| !marks.is_empty() && missing(dir, marks).is_empty()).map(Path::to_owned)
}

/// The marks that a folder lacks.
pub(super) fn missing<'a>(dir: &Path, marks: &'a [String]) -> Vec<&'a str> {
    marks.iter().map(String::as_str).filter(|mark| !dir.join(mark).exists()).collect()
}

/// Whether a path below the root is one of quiz's own files or git's, and so no source.
pub fn is_ours(path: &str) -> bool {
    let top = path.split('/').next().unwrap_or_default();
    top == ".quiz" || ["quiz.toml", "quiz.lock", NEW_LOCK].contains(&path) || path.split('/').any(|name| name == ".git")
}

/// A folder that people edit.
#[derive(Debug, Clone)]
pub struct Worktree {
    root: PathBuf,
    git: Option<Git>,
}

/// Where git keeps what it knows of a worktree.
#[derive(Debug, Clone)]
struct Git {
    /// What belongs to this worktree alone.
    own: PathBuf,
    /// What all worktrees of the repository share.
    common: PathBuf,
}

impl Worktree {
    /// Looks at the folder. It is a git worktree only if it is the root of one: a folder somewhere below a repository may be
    /// ignored there as a whole.
    ///
    /// # Errors
    /// A `.git` that cannot be read.
    pub fn open(root: &Path) -> Result<Self> {
        let dot = root.join(".git");
        let unreadable = |path: &Path, e: io::Error| Error::input(format!("cannot read {}", path.display())).because(e);
        let own = match fs::metadata(&dot) {
            Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(Self { root: root.to_owned(), git: None }),
            Err(e) => return Err(unreadable(&dot, e)),
            Ok(meta) if meta.is_dir() => dot,
            Ok(_) => {
                let text = host::open_file(&dot).and_then(io::read_to_string).map_err(|e| unreadable(&dot, e))?;
                let place = text.strip_prefix("gitdir:").map(str::trim);
                let place = place.ok_or_else(|| Error::input(format!("{} has no line `gitdir:`", dot.display())))?;
                root.join(place)
            }
        };
        let common = match host::open_file(&own.join("commondir")).and_then(io::read_to_string) {
            Ok(text) => own.join(text.trim_end_matches('\n')),
            Err(e) if e.kind() == io::ErrorKind::NotFound => own.clone(),
            Err(e) => return Err(unreadable(&own.join("commondir"), e)),
        };
        Ok(Self { root: root.to_owned(), git: Some(Git { own, common }) })
    }

    /// The folder.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// Whether git says which files are source. If not, all are but those that [`is_ours`] names.
    pub fn is_git(&self) -> bool {
        self.git.is_some()
    }

    /// The files whose change may change the list, besides new and vanished names and the `.gitignore` files among the sources:
    /// the index, and what says which files are ignored. Some may not exist. Empty without git.
    pub fn also(&self) -> Vec<PathBuf> {
        let variable = |name: &str| std::env::var_os(name).map(PathBuf::from).filter(|path| path.is_absolute());
        self.also_of(variable("HOME").as_deref(), variable("XDG_CONFIG_HOME"))
    }

    fn also_of(&self, home: Option<&Path>, xdg: Option<PathBuf>) -> Vec<PathBuf> {
        let Some(Git { own, common }) = &self.git else { return Vec::new() };
        let mut files = vec![own.join("index"), common.join("info/exclude")];
        let mut configs = vec![common.join("config"), own.join("config.worktree"), "/etc/gitconfig".into()];
        configs.extend(home.map(|home| home.join(".gitconfig")));
        if let Some(xdg) = xdg.or_else(|| home.map(|home| home.join(".config"))) {
            configs.push(xdg.join("git/config"));
            files.push(xdg.join("git/ignore"));
        }
        let texts = configs.iter().filter_map(|path| fs::read_to_string(path).ok());
        files.extend(texts.filter_map(|text| excludes_file(&text, home)));
        files.extend(configs);
        files
    }

    /// The paths of all sources below the root, sorted. Tracked files that are gone from the disk are among them, and a submodule
    /// is there as one path.
    ///
    /// # Errors
    /// git's own words; a name that is not UTF-8.
    pub fn list(&self) -> Result<Vec<String>> {
        let failed = || Error::input(format!("git cannot list the files of {}", self.root.display()));
        let mut git = run::at(&self.root);
        git.args(["ls-files", "-z", "--cached", "--others", "--exclude-standard", "--deduplicate"]);
        let listed = run::run(&mut git)?.or(failed)?;
        let mut paths = Vec::new();
        for path in listed.split(|b| *b == 0).filter(|path| !path.is_empty()) {
            let path = std::str::from_utf8(path).map_err(|_| {
                Error::input(format!("{}: the name of a file is not UTF-8", self.root.display()))
                    .detail(String::from_utf8_lossy(path))
                    .hint("rename it, or add it to a .gitignore")
            })?;
            // A slash at the end: another worktree that lies in this one.
            if !is_ours(path) && !path.ends_with('/') {
                paths.push(path.to_owned());
            }
        }
        paths.sort_unstable();
        Ok(paths)
    }

    /// The paths of all files below the root that are not as in the commit `rev`, those that are gone and those that git does not
    /// track included; sorted.
    ///
    /// # Errors
    /// The folder is no git worktree; git's own words, when there is no such commit.
    pub fn changed_since(&self, rev: &str) -> Result<Vec<String>> {
        self.changed(rev, &[])
    }

    /// The same, by a git with these options.
    pub(super) fn changed(&self, rev: &str, options: &[&str]) -> Result<Vec<String>> {
        if !self.is_git() {
            return Err(Error::input(format!("{} is not a git worktree", self.root.display())));
        }
        let failed = || Error::input(format!("git cannot tell what changed since {rev}"));
        let mut diff = run::at_without_filters(&self.root)?;
        // In a submodule that is not clean git would start another git, by the config of that one.
        diff.args(options).args(["diff", "--no-ext-diff", "--no-textconv", "--ignore-submodules=dirty"]);
        diff.args(["--name-only", "--no-renames", "-z", "--end-of-options", rev, "--"]);
        let mut others = run::at(&self.root);
        others.args(["ls-files", "-z", "--others", "--exclude-standard"]);
        let listed = [run::run(&mut diff)?.or(failed)?, run::run(&mut others)?.or(failed)?].concat();
        let names = listed.split(|b| *b == 0).filter(|path| !path.is_empty());
        let mut paths: Vec<String> = names.map(|path| String::from_utf8_lossy(path).into_owned()).collect();
        paths.retain(|path| !is_ours(path));
        paths.sort_unstable();
        Ok(paths)
    }

    /// The text of a file as it is in the commit `rev`; nothing if it was not there.
    ///
    /// # Errors
    /// git cannot be run.
    pub fn file_at(&self, rev: &str, path: &str) -> Result<Option<String>> {
        let ran = run::run(run::at(&self.root).args(["cat-file", "blob"]).arg(format!("{rev}:{path}")))?;
        Ok(ran.ok.then(|| String::from_utf8_lossy(&ran.stdout).into_owned()))
    }
}

/// The value of core.excludesFile in a config, as far as it can be told without git.
fn excludes_file(config: &str, home: Option<&Path>) -> Option<PathBuf> {
    let mut pairs = config.lines().filter_map(|line| line.split_once('='));
    let (_, value) = pairs.rfind(|(name, _)| name.trim().eq_ignore_ascii_case("excludesfile"))?;
    let value = value.trim().trim_matches('"');
    match value.strip_prefix("~/") {
        Some(rest) => home.map(|home| home.join(rest)),
        None => Some(PathBuf::from(value)).filter(|path| path.is_absolute()),
    }
}

#[cfg(test)]
mod tests;
