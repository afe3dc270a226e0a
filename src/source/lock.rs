//! quiz.lock: what every wish was pinned to. Sorted, stable text that merges well; written whole and atomically, under a lock
//! beside it, so that two processes keep each other's entries. Knows nothing of how pins are found.

use super::pin::{DscFile, Package, Pin};
use super::wish::Wish;
use super::worktree::NEW_LOCK;
use crate::document::Document;
use crate::error::{Error, Result};
use serde::Deserialize;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::fs::{self, File};
use std::io::{self, Write as _};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

const HEAD: &str = "\
# Written by quiz: exactly which bytes the sources that quiz.toml names stand for.
# They move only by `quiz update`.
version = 1
";

/// The pins of a lock file, by entry and wish.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Lock(BTreeMap<(String, String), Pin>);

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Text {
    version: u32,
    #[serde(default)]
    pin: Vec<Entry>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Entry {
    entry: String,
    wanted: String,
    is: Pin,
}

impl Lock {
    /// Reads a lock file; one that does not exist is empty.
    ///
    /// # Errors
    /// A file that this version does not understand, with file, line and column.
    pub fn read(path: &Path) -> Result<Self> {
        Document::load(path)?.map_or_else(|| Ok(Self::default()), |file| Self::parse(&file))
    }

    /// The pin of a wish.
    pub fn get(&self, wish: &Wish) -> Option<&Pin> {
        self.0.get(&key(wish))
    }

    /// Its pin under the name that it had in an older quiz.
    pub fn former(&self, wish: &Wish) -> Option<&Pin> {
        self.0.get(&(wish.entry().to_owned(), wish.former()?))
    }

    /// All pins as (entry, wish, pin), sorted.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &str, &Pin)> {
        self.0.iter().map(|((entry, wanted), pin)| (entry.as_str(), wanted.as_str(), pin))
    }

    /// The packages that other wishes of the same entry have pinned of the same suite: a further root shall have the same compiler.
    pub(super) fn packages(&self, wish: &Wish) -> Vec<Package> {
        let Some((suite, arch)) = wish.packages() else { return Vec::new() };
        let of = |(entry, _, pin): (&str, &str, &Pin)| match pin {
            Pin::Packages(pin) if entry == wish.entry() && pin.suite == suite => pin.packages.clone(),
            _ => Vec::new(),
        };
        let all = self.iter().flat_map(of).filter(|package| package.arch == arch || package.arch == "all");
        all.collect::<std::collections::BTreeSet<_>>().into_iter().collect()
    }

    /// As of [`Self::read`], of a file that was read.
    ///
    /// # Errors
    /// As of that.
    pub fn parse(file: &Document) -> Result<Self> {
        let wrong = |error: Error| {
            error.hint(format!(
                "quiz writes this file: restore it from git, or remove it and run `quiz update`: {}",
                file.path().display()
            ))
        };
        let parsed: Text = file.parse().map_err(wrong)?;
        if parsed.version != 1 {
            let error = Error::input(format!("this quiz does not know version {} of quiz.lock", parsed.version));
            return Err(error.at(file.value(&["version"])).hint("a newer quiz wrote it: use that one"));
        }
        let mut pins = BTreeMap::new();
        for (n, Entry { entry, wanted, is }) in parsed.pin.into_iter().enumerate() {
            let what = fault(&is);
            let name = format!("`{entry}` `{wanted}`");
            let (what, word) = match what {
                Some(fault) => fault,
                None if pins.insert((entry, wanted.clone()), is).is_some() => {
                    ("this pin is there twice".to_owned(), wanted)
                }
                None => continue,
            };
            return Err(wrong(Error::input(format!("{name}: {what}")).at(file.word(&["pin", &n.to_string()], &word))));
        }
        Ok(Self(pins))
    }

    /// As a file has it.
    #[must_use]
    pub fn text(&self) -> String {
        let mut text = HEAD.to_owned();
        for ((entry, wanted), pin) in &self.0 {
            let _ = write!(text, "\n[[pin]]\nentry = {}\nwanted = {}\n", quoted(entry), quoted(wanted));
            match pin {
                Pin::Package(p) => {
                    let suite = p.suite.as_ref().map(|s| format!(", suite = {}", quoted(s))).unwrap_or_default();
                    let _ = writeln!(text, "is.package = {{ {}{suite} }}", package(&p.package()));
                }
                Pin::Url(p) => {
                    let version = p.version.as_ref().map(|v| format!("version = {}, ", quoted(v))).unwrap_or_default();
                    let size = p.size.map(|s| format!(", size = {s}")).unwrap_or_default();
                    let _ = writeln!(
                        text,
                        "is.url = {{ {version}url = {}, sha256 = {}{size} }}",
                        quoted(&p.url),
                        quoted(&p.sha256)
                    );
                }
                Pin::Packages(p) => {
                    let _ = writeln!(text, "is.packages.suite = {}\nis.packages.packages = [", quoted(&p.suite));
                    for p in &p.packages {
                        let _ = writeln!(text, "  {{ {} }},", package(p));
                    }
                    text.push_str("]\n");
                }
                Pin::Dsc(p) => {
                    let (name, version) = (quoted(&p.name), quoted(&p.version));
                    let _ = writeln!(text, "is.dsc.name = {name}\nis.dsc.version = {version}");
                    if let Some(suite) = &p.suite {
                        let _ = writeln!(text, "is.dsc.suite = {}", quoted(suite));
                    }
                    text.push_str("is.dsc.files = [\n");
                    for DscFile { name, sha256, size } in &p.files {
                        let (name, sum) = (quoted(name), quoted(sha256));
                        let _ = writeln!(text, "  {{ name = {name}, sha256 = {sum}, size = {size} }},");
                    }
                    text.push_str("]\n");
                }
                Pin::Git(p) => {
                    let [repository, name, commit, tree] =
                        [&p.repository, &p.name, &p.commit, &p.tree].map(|t| quoted(t));
                    let _ = writeln!(
                        text,
                        "is.git = {{ repository = {repository}, name = {name}, commit = {commit}, tree = {tree} }}"
                    );
                }
            }
        }
        text
    }
}

/// Adds a pin, unless another process was first: then that one stays and is returned.
pub fn add(path: &Path, wish: &Wish, pin: Pin) -> Result<Pin> {
    change(path, |lock| match lock.0.get(&key(wish)) {
        Some(first) => (first.clone(), false),
        None => {
            lock.0.insert(key(wish), pin.clone());
            (pin, true)
        }
    })
}

/// Sets a pin, and returns what it was before.
pub fn replace(path: &Path, wish: &Wish, pin: Pin) -> Result<Option<Pin>> {
    change(path, |lock| {
        let old = lock.0.insert(key(wish), pin.clone());
        let changed = old.as_ref() != Some(&pin);
        (old, changed)
    })
}

/// Reads, changes and writes the file while no other quiz does.
fn change<T>(path: &Path, change: impl FnOnce(&mut Lock) -> (T, bool)) -> Result<T> {
    // A project may keep quiz.lock as a symlink to a shared one; renaming over it would replace the link.
    let path = &fs::canonicalize(path).unwrap_or_else(|_| path.to_owned());
    let folder = path.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("."));
    crate::host::folder(folder).map_err(|e| failed("create", folder, e))?;
    // The folder itself is locked: the file is replaced by every write, and a lock file of its own would show up in git.
    let guard = File::open(folder).and_then(|f| f.lock().map(|()| f)).map_err(|e| failed("lock", folder, e))?;
    let mut lock = Lock::read(path)?;
    let (value, changed) = change(&mut lock);
    if changed {
        write(path, folder, lock.text().as_bytes()).map_err(|e| failed("write", path, e))?;
    }
    drop(guard);
    Ok(value)
}

fn write(path: &Path, folder: &Path, text: &[u8]) -> io::Result<()> {
    // One name, as the folder is locked: what a process that was killed left there is replaced, and does not pile up in the user's folder.
    let new = folder.join(NEW_LOCK);
    match fs::remove_file(&new) {
        Err(e) if e.kind() != io::ErrorKind::NotFound => return Err(e),
        _ => {}
    }
    let mut options = File::options();
    let mut file = options.write(true).create_new(true).mode(mode(path)).open(&new)?;
    let written = file.write_all(text).and_then(|()| file.sync_all()).and_then(|()| fs::rename(&new, path));
    written.inspect_err(|_| drop(fs::remove_file(&new)))?;
    File::open(folder)?.sync_all()
}

/// The mode of the file that is there, else what the umask leaves of 0666.
fn mode(path: &Path) -> u32 {
    use std::os::unix::fs::PermissionsExt;
    fs::metadata(path).map_or(0o666, |m| m.permissions().mode() & 0o777)
}

/// What is wrong with a pin that could be parsed, and which of its words is wrong.
fn fault(is: &Pin) -> Option<(String, String)> {
    let hex = |s: &str| s.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'));
    if let Some(sum) = sums(is).find(|s| s.len() != 64 || !hex(s)) {
        return Some((format!("not a sha256: `{sum}`"), sum.to_owned()));
    }
    if let Pin::Git(pin) = is
        && let Some(id) = [&pin.commit, &pin.tree].into_iter().find(|id| ![40, 64].contains(&id.len()) || !hex(id))
    {
        return Some((format!("not an object id: `{id}`"), id.clone()));
    }
    if let Some(odd) = super::name::odd(is) {
        return Some((format!("not a valid package or file: `{odd}`"), odd.to_owned()));
    }
    let named = |fact: &str| fact.split(['/', ':']).nth(1).unwrap_or_default().to_owned();
    is.twice().map(|fact| (format!("`{fact}` is there twice"), named(&fact)))
}

/// Of wishes that several lock files have under one name, with another pin in each, it has none.
impl FromIterator<(Wish, Pin)> for Lock {
    fn from_iter<T: IntoIterator<Item = (Wish, Pin)>>(pins: T) -> Self {
        let (mut all, mut doubtful) = (BTreeMap::new(), BTreeSet::new());
        for (wish, pin) in pins {
            let key = key(&wish);
            if all.get(&key).is_some_and(|other| *other != pin) {
                doubtful.insert(key.clone());
            }
            all.insert(key, pin);
        }
        all.retain(|key, _| !doubtful.contains(key));
        Self(all)
    }
}

fn key(wish: &Wish) -> (String, String) {
    (wish.entry().to_owned(), wish.to_string())
}

fn sums(pin: &Pin) -> Box<dyn Iterator<Item = &str> + '_> {
    match pin {
        Pin::Package(p) => Box::new(std::iter::once(p.sha256.as_str())),
        Pin::Url(p) => Box::new(std::iter::once(p.sha256.as_str())),
        Pin::Packages(p) => Box::new(p.packages.iter().map(|p| p.sha256.as_str())),
        Pin::Dsc(p) => Box::new(p.files.iter().map(|f| f.sha256.as_str())),
        Pin::Git(_) => Box::new(std::iter::empty()),
    }
}

fn package(p: &Package) -> String {
    let [name, version, arch, sum] = [&p.name, &p.version, &p.arch, &p.sha256].map(|t| quoted(t));
    format!("name = {name}, version = {version}, arch = {arch}, sha256 = {sum}, size = {}", p.size)
}

fn quoted(text: &str) -> String {
    toml::Value::from(text).to_string()
}

fn failed(what: &str, path: &Path, error: io::Error) -> Error {
    Error::build(format!("cannot {what} {}", path.display())).because(error)
}

#[cfg(test)]
mod tests;
