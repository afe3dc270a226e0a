//! What a program consists of: its file, its interpreter, its libraries, by content, and the package that has it.
//!
//! While it looks it writes down every place that decided what it found, so that the answer can be remembered by their `lstat`.

use super::super::cache_error;
use super::elf;
use super::packages::Packages;
use super::view::{View, Way};
use crate::error::{Error, Result};
use quiz_cache::{Cache, Digest, KeyEncoder};
use serde::{Deserialize, Serialize};
use serde_json::json;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::time::SystemTime;

/// What something consists of: the name of each part, and its digest.
pub(super) type Parts = BTreeMap<String, String>;

/// How the name of a part begins that is a package.
pub(super) const PACKAGE: &str = "package ";

/// A file, and what its first bytes say that it needs.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct File {
    pub digest: String,
    pub is_script: bool,
    names: elf::Names,
}

/// One look at the host.
pub(super) struct Look<'a> {
    pub view: View<'a>,
    /// Every place that decides what is found.
    pub passed: BTreeSet<PathBuf>,
    pub packages: Packages,
    cache: &'a Cache,
    since: SystemTime,
    files: HashMap<PathBuf, Rc<File>>,
    library_folders: Vec<PathBuf>,
}

impl<'a> Look<'a> {
    pub(super) fn new(root: &'a Path, cache: &'a Cache, since: SystemTime) -> Self {
        let mut passed = BTreeSet::new();
        let view = View::new(root);
        let packages = Packages::read(root, &mut passed);
        let library_folders = library_folders(&view, &mut passed);
        Self { view, passed, packages, cache, since, files: HashMap::new(), library_folders }
    }

    /// Where a path leads that is part of `whose`; `None` if nothing is there.
    ///
    /// # Errors
    /// Scripts do not see it.
    pub(super) fn part(&mut self, whose: &str, path: &Path) -> Result<Option<PathBuf>> {
        match self.view.follow(path, &mut self.passed) {
            Way::Here(real) => Ok(Some(real)),
            Way::Nowhere => Ok(None),
            Way::Hidden(real) => Err(Error::input(format!(
                "{whose} uses {}, which scripts do not see: of this machine's programs they see only those in /usr",
                real.display()
            ))
            .hint("install it below /usr/local, or use the one of a package, which `quiz doctor` names")),
        }
    }

    /// The file at a path without links; remembered by its `lstat`.
    ///
    /// # Errors
    /// The file cannot be read.
    pub(super) fn file(&mut self, real: &Path) -> Result<Rc<File>> {
        if let Some(file) = self.files.get(real) {
            return Ok(Rc::clone(file));
        }
        let place = self.view.outside(real);
        let key = KeyEncoder::new("quiz tool file 2").text("path", &place.to_string_lossy()).finish().0;
        let known = self.cache.memo_while("tool file", &key).map_err(cache_error)?;
        let file = match known.and_then(|known| serde_json::from_slice(&known).ok()) {
            Some(file) => file,
            None => {
                let unreadable =
                    |e: std::io::Error| Error::input(format!("cannot read {}", place.display())).because(e);
                let bytes = std::fs::read(&place).map_err(unreadable)?;
                let (names, is_script) = (elf::names(&bytes), bytes.starts_with(b"#!"));
                let file = File { digest: Digest::of(&bytes).to_string(), is_script, names };
                let alone = [place.clone()].into();
                self.cache
                    .set_memo_while("tool file", &key, &alone, self.since, json!(file).to_string().as_bytes())
                    .map_err(cache_error)?;
                file
            }
        };
        self.passed.insert(place);
        let file = Rc::new(file);
        self.files.insert(real.to_owned(), Rc::clone(&file));
        Ok(file)
    }

    /// Adds a program or library, what it needs to run, and the package that has it.
    ///
    /// # Errors
    /// A file cannot be read.
    pub(super) fn program(&mut self, name: &str, real: &Path, parts: &mut Parts) -> Result<()> {
        if parts.contains_key(name) {
            return Ok(());
        }
        self.add(name, real, parts)?;
        if let Some((package, _)) = self.packages.owner(real) {
            let name = format!("{PACKAGE}{}", self.packages.name(package));
            parts.entry(name).or_insert_with(|| self.packages.digest(package));
        }
        Ok(())
    }

    /// The same without the package: for a library its content is enough.
    fn add(&mut self, name: &str, real: &Path, parts: &mut Parts) -> Result<()> {
        let file = self.file(real)?;
        parts.insert(name.to_owned(), file.digest.clone());
        if let Some(line) = &file.names.interpreter {
            self.interpreter(line, file.is_script, parts)?;
        }
        for library in &file.names.libraries {
            if !parts.contains_key(library)
                && let Some(at) = self.library(library, &file.names.folders, real)
            {
                self.add(library, &at, parts)?;
            }
        }
        Ok(())
    }

    /// A loader, or what a script names behind `#!`; of `env` also the program that it starts.
    fn interpreter(&mut self, line: &str, of_script: bool, parts: &mut Parts) -> Result<()> {
        let mut words = line.split_whitespace();
        let Some(first) = words.next() else { return Ok(()) };
        let Way::Here(real) = self.view.follow(Path::new(first), &mut self.passed) else { return Ok(()) };
        if !of_script {
            return if parts.contains_key(first) { Ok(()) } else { self.add(first, &real, parts) };
        }
        self.program(first, &real, parts)?;
        let started = words.find(|word| !word.starts_with('-') && !word.contains('='));
        if let (true, Some(name)) = (first.ends_with("/env"), started)
            && let Some((_, real)) = self.find(name)
        {
            self.program(name, &real, parts)?;
        }
        Ok(())
    }

    /// A program as a script finds it: where, and what is there.
    pub(super) fn find(&mut self, name: &str) -> Option<(PathBuf, PathBuf)> {
        self.view.programs(name, &mut self.passed).find_map(|(at, way)| match way {
            Way::Here(real) => Some((at, real)),
            _ => None,
        })
    }

    /// Where the loader finds a library: in the folders that the program names, then in the system's (ld.so(8)).
    fn library(&mut self, name: &str, folders: &[String], of: &Path) -> Option<PathBuf> {
        let origin = of.parent().unwrap_or(Path::new("/")).to_string_lossy();
        let own = folders
            .iter()
            .map(|folder| PathBuf::from(folder.replace("$ORIGIN", &origin).replace("${ORIGIN}", &origin)));
        let all: Vec<PathBuf> = own.chain(self.library_folders.iter().cloned()).collect();
        all.iter().find_map(|folder| match self.view.follow(&folder.join(name), &mut self.passed) {
            Way::Here(real) => Some(real),
            _ => None,
        })
    }
}

/// The folders of ld.so.conf(5), of which ldconfig makes the loader's list, and those that it always has.
fn library_folders(view: &View<'_>, passed: &mut BTreeSet<PathBuf>) -> Vec<PathBuf> {
    let main = view.outside(Path::new("/etc/ld.so.conf"));
    let more = view.outside(Path::new("/etc/ld.so.conf.d"));
    passed.extend([main.clone(), more.clone()]);
    let mut files: Vec<PathBuf> = more.read_dir().into_iter().flatten().flatten().map(|entry| entry.path()).collect();
    files.retain(|path| path.extension().is_some_and(|extension| extension == "conf"));
    files.sort();
    files.insert(0, main);
    let mut folders = Vec::new();
    for file in files {
        let text = std::fs::read_to_string(&file).unwrap_or_default();
        folders.extend(text.lines().map(str::trim).filter(|line| line.starts_with('/')).map(PathBuf::from));
        passed.insert(file);
    }
    folders.extend(["/lib64", "/usr/lib64", "/lib", "/usr/lib"].map(PathBuf::from));
    folders
}
