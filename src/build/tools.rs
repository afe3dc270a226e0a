//! Host tools: which are missing, with the package that has them, and the identity by which each enters the key.
//!
//! A program's identity is its version line, a file's the digest of its content. Both are remembered by the file's stat,
//! so that a run with nothing to do starts no process.

use super::{cache_error, sandbox};
use crate::error::{Error, Result};
use crate::load::Recipe;
use quiz_cache::{Cache, Digest, Key, KeyEncoder};
use std::collections::{BTreeMap, BTreeSet};
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// What quiz itself runs, whatever the recipes: program → Debian package.
pub const OWN: &[(&str, &str)] = &[("apt-get", "apt"), ("bwrap", "bubblewrap"), ("sh", "dash")];

/// The identity of a tool that is not there.
pub(super) const MISSING: &str = "missing";

/// The identity of every tool, by the name that recipes use.
#[derive(Debug, Default)]
pub struct Tools(BTreeMap<String, String>);

/// A tool that recipes or quiz itself need.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Needed {
    /// A program's name, or the absolute path of a file.
    pub name: String,
    /// The Debian package that has it.
    pub package: String,
    /// The recipes, and the profiles, that need it; empty for quiz itself.
    pub needed_by: BTreeSet<String>,
    /// It changes results when it is there, and may be missing.
    pub optional: bool,
    /// Where it lies; `None` if it is missing.
    pub found: Option<PathBuf>,
}

/// Every tool that these recipes need, and quiz's own, each once, sorted by name.
pub fn needed<'a>(recipes: impl IntoIterator<Item = &'a Recipe>) -> Vec<Needed> {
    let mut all: BTreeMap<String, Needed> = BTreeMap::new();
    for (name, package) in OWN {
        all.insert((*name).to_owned(), Needed::new(name, package, false));
    }
    for recipe in recipes {
        let tools = recipe.tools.iter().map(|tool| (tool, false));
        let optional = recipe.optional_tools.iter().chain(&recipe.tools_on_demand).map(|tool| (tool, true));
        for ((name, package), optional) in tools.chain(optional) {
            let tool = all.entry(name.clone()).or_insert_with(|| Needed::new(name, package, optional));
            tool.needed_by.insert(recipe.name.clone());
            tool.optional &= optional;
        }
    }
    all.into_values().collect()
}

impl Needed {
    fn new(name: &str, package: &str, optional: bool) -> Self {
        let needed_by = BTreeSet::new();
        Self { name: name.to_owned(), package: package.to_owned(), needed_by, optional, found: find(name) }
    }

    /// It is not there, and something needs it.
    pub fn is_missing(&self) -> bool {
        self.found.is_none() && !self.optional
    }
}

/// The same, and these tools (name, package) that quiz needs beside those of recipes.
pub fn with_tools(mut needed: Vec<Needed>, tools: &[(&str, &str)]) -> Vec<Needed> {
    needed.extend(tools.iter().map(|(name, package)| Needed::new(name, package, false)));
    needed
}

/// The same, and a tool that `by` needs: one that recipes can do without is optional no more.
pub fn with_tool_of(mut needed: Vec<Needed>, (name, package): (&str, &str), by: &str) -> Vec<Needed> {
    let at = needed.iter().position(|tool| tool.name == name).unwrap_or_else(|| {
        needed.push(Needed::new(name, package, false));
        needed.len() - 1
    });
    needed[at].optional = false;
    needed[at].needed_by.insert(by.to_owned());
    needed
}

/// One error that names every missing tool, its package, and the one command that installs them all.
///
/// # Errors
/// Something is missing.
pub fn require(needed: &[Needed]) -> Result<()> {
    let missing: Vec<&Needed> = needed.iter().filter(|tool| tool.is_missing()).collect();
    if missing.is_empty() {
        return Ok(());
    }
    let mut error = Error::input(format!("{} tool(s) are missing on this machine", missing.len()));
    for tool in &missing {
        let by = tool.needed_by.iter().cloned().collect::<Vec<_>>().join(", ");
        let by = if by.is_empty() { "quiz".to_owned() } else { by };
        error = error.detail(format!("{} (package {}), needed by {by}", tool.name, tool.package));
    }
    Err(error.hint(format!("{}    (or, with the same flags: quiz doctor --install)", apt_line(&missing))))
}

/// The command that installs the packages of these tools.
pub fn apt_line(missing: &[&Needed]) -> String {
    let packages: BTreeSet<&str> = missing.iter().map(|tool| tool.package.as_str()).collect();
    format!("apt-get install --no-install-recommends -- {}", packages.into_iter().collect::<Vec<_>>().join(" "))
}

/// A program in the scripts' own PATH, or a file by its absolute path.
fn find(name: &str) -> Option<PathBuf> {
    everywhere(name).next()
}

/// A program has a name; what has a path is a file, which is looked at and never run.
fn is_program(name: &str) -> bool {
    !name.contains('/')
}

/// Every place at which a script would find it, the first one first.
pub(super) fn everywhere(name: &str) -> impl Iterator<Item = PathBuf> {
    let is_program = is_program(name);
    let dirs = sandbox::PATH.split(':').filter(move |_| is_program);
    let file = name.starts_with('/').then(|| PathBuf::from(name));
    dirs.map(move |dir| Path::new(dir).join(name)).chain(file).filter(move |path| {
        let runs = |meta: &std::fs::Metadata| meta.is_file() && meta.permissions().mode() & 0o111 != 0;
        std::fs::metadata(path).is_ok_and(|meta| if is_program { runs(&meta) } else { meta.is_file() })
    })
}

impl Tools {
    /// Identifies the tools; one that is missing (see [`require`]) has the identity [`MISSING`].
    ///
    /// # Errors
    /// A tool cannot be read.
    pub fn identify(needed: &[Needed], cache: &Cache) -> Result<Self> {
        let mut tools = BTreeMap::new();
        for tool in needed {
            let identity = match &tool.found {
                Some(path) => identity(&tool.name, path, cache)?,
                None => MISSING.to_owned(),
            };
            tools.insert(tool.name.clone(), identity);
        }
        Ok(Self(tools))
    }

    /// The identity of one tool.
    pub(super) fn get(&self, name: &str) -> &str {
        self.0.get(name).map_or("", String::as_str)
    }
}

/// What a program calls itself: the first line of its `--version`, or the digest of its file. Remembered by the file's stat.
///
/// # Errors
/// It cannot be read.
pub fn identify(program: &Path, cache: &Cache) -> Result<String> {
    identity(&program.file_name().unwrap_or_default().to_string_lossy(), program, cache)
}

fn identity(name: &str, path: &Path, cache: &Cache) -> Result<String> {
    let unreadable = |e: std::io::Error| Error::input(format!("cannot read the tool {}", path.display())).because(e);
    let meta = std::fs::metadata(path).map_err(unreadable)?;
    let key = stat_key(path, &meta);
    if let Some(known) = cache.memo("tool", &key).map_err(cache_error)?
        && let Ok(text) = String::from_utf8(known)
    {
        return Ok(text);
    }
    let version = if is_program(name) { version_line(path) } else { None };
    let identity = match version {
        Some(line) => line,
        None => Digest::of(&std::fs::read(path).map_err(unreadable)?).to_string(),
    };
    cache.set_memo("tool", &key, identity.as_bytes()).map_err(cache_error)?;
    Ok(identity)
}

fn stat_key(path: &Path, meta: &std::fs::Metadata) -> Key {
    let mut encoder = KeyEncoder::new("quiz tool stat 1");
    encoder.text("path", &path.to_string_lossy());
    encoder.number("dev", meta.dev());
    encoder.number("ino", meta.ino());
    encoder.number("size", meta.size());
    encoder.number("mtime", meta.mtime().unsigned_abs());
    encoder.number("mtime-ns", meta.mtime_nsec().unsigned_abs());
    encoder.number("ctime", meta.ctime().unsigned_abs());
    encoder.number("ctime-ns", meta.ctime_nsec().unsigned_abs());
    encoder.finish().0
}

/// The first line that `program --version` prints, if it knows the flag.
fn version_line(program: &Path) -> Option<String> {
    let output = Command::new(program)
        .arg("--version")
        // Not in the project: a program may read what lies there, and run what that names, as cargo does.
        .current_dir("/")
        .env_clear()
        .env("PATH", sandbox::PATH)
        .env("LC_ALL", "C")
        .stdin(Stdio::null())
        .output()
        .ok()
        .filter(|output| output.status.success())?;
    let text = String::from_utf8(output.stdout).ok()?;
    text.lines().map(str::trim).find(|line| !line.is_empty()).map(str::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tool(name: &str, package: &str) -> Needed {
        let needed_by = ["kernel".to_owned()].into();
        Needed { needed_by, ..Needed::new(name, package, false) }
    }

    #[test]
    fn all_that_is_missing_is_said_at_once_with_one_command() {
        let tools = [tool("no-such-flex", "flex"), tool("/no/such/libelf.h", "libelf-dev"), tool("sh", "dash")];
        let error = require(&tools).unwrap_err();
        assert_eq!(error.details().len(), 2);
        assert_eq!(error.details()[1], "/no/such/libelf.h (package libelf-dev), needed by kernel");
        assert!(error.hints()[0].starts_with("apt-get install --no-install-recommends -- flex libelf-dev "));
        assert!(require(&tools[2..]).is_ok());
    }

    #[test]
    fn what_a_profile_needs_is_optional_no_more() {
        let mut optional = tool("no-such-pahole", "dwarves");
        optional.optional = true;
        assert!(require(std::slice::from_ref(&optional)).is_ok());
        let needed = with_tool_of(vec![optional], ("no-such-pahole", "dwarves"), "the profile perf");
        let error = require(&with_tool_of(needed, ("no-such-tool", "x"), "the profile perf")).unwrap_err();
        assert_eq!(error.details()[0], "no-such-pahole (package dwarves), needed by kernel, the profile perf");
        assert_eq!(error.details()[1], "no-such-tool (package x), needed by the profile perf");
    }

    #[test]
    fn a_changed_file_has_another_identity_and_an_unchanged_one_is_remembered() {
        let dir = tempfile::tempdir().unwrap();
        let cache = Cache::open(&dir.path().join("cache")).unwrap();
        let header = dir.path().join("libelf.h");
        std::fs::write(&header, "one").unwrap();
        let name = header.to_str().unwrap();
        let first = identity(name, &header, &cache).unwrap();
        assert_eq!(identity(name, &header, &cache).unwrap(), first);
        std::fs::write(&header, "other").unwrap();
        assert_ne!(identity(name, &header, &cache).unwrap(), first);
    }

    #[test]
    fn an_optional_tool_that_comes_has_another_identity_than_one_that_is_missing() {
        let dir = tempfile::tempdir().unwrap();
        let cache = Cache::open(&dir.path().join("cache")).unwrap();
        let header = Needed { optional: true, ..tool("/usr/include/no-such.h", "x") };
        let identity = |found: Option<PathBuf>| {
            let tools = Tools::identify(&[Needed { found, ..header.clone() }], &cache).unwrap();
            tools.get("/usr/include/no-such.h").to_owned()
        };
        std::fs::write(dir.path().join("no-such.h"), "1").unwrap();
        assert_eq!(identity(None), MISSING);
        assert_eq!(identity(Some(dir.path().join("no-such.h"))), Digest::of(b"1").to_string());
    }

    #[test]
    fn what_has_a_path_is_never_run_and_what_is_run_is_not_in_the_project() {
        use std::os::unix::fs::PermissionsExt;
        let dir = tempfile::tempdir().unwrap();
        let cache = Cache::open(&dir.path().join("cache")).unwrap();
        let program = dir.path().join("program");
        std::fs::write(&program, "#!/bin/sh\necho runs at $PWD\n").unwrap();
        std::fs::set_permissions(&program, std::fs::Permissions::from_mode(0o755)).unwrap();
        let digest = Digest::of(&std::fs::read(&program).unwrap()).to_string();
        assert_eq!(identity(program.to_str().unwrap(), &program, &cache).unwrap(), digest);
        assert_eq!(version_line(&program).unwrap(), "runs at /");
        assert!(find("../../usr/bin/env").is_none() && find("/usr").is_none(), "a file, by its name or its whole path");
    }

    #[test]
    fn a_program_is_identified_by_its_version_line() {
        assert!(version_line(&find("ls").unwrap()).unwrap().contains("coreutils"));
    }
}
