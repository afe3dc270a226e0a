//! A Debian archive, read by quiz itself: no apt, dpkg, perl or gpg. One suite for one architecture; its lists and packages are kept in
//! the cache, where several processes share them. Knows nothing of kernels or roots.
//!
//! What is read is signed: a Release file by a key of Debian's, or of whom the host's package sources name; in it the checksums of the
//! lists, in these those of the packages.

mod config;
mod depends;
mod inrelease;
mod keys;
mod lists;
mod places;
mod pool;
mod resolve;
mod server;
mod signature;
mod stanza;
mod today;
mod unused;

use super::apt::{Host, suites};
use super::download::Patience;
use super::{Context, DscPin, Package, PackagesPin};
use crate::error::{Error, Result};
use crate::event::Events;
use config::Config;
use lists::{List, Lists};
use pool::Missing;
use server::Server;
use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};
pub(super) use today::Today;
use today::packages;
pub use unused::{Unused, remove_unused};

/// The archive of all packages that ever were. It is asked for what no mirror has any more, unless another one is set.
const SNAPSHOT: &str = "https://snapshot.debian.org";

/// Where an archive is looked for.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Mirrors {
    /// A mirror of Debian, the folder above `dists`; "" is the host's package sources, or Debian's own mirror.
    pub mirror: String,
    /// The archive of all packages that ever were; "" is Debian's own.
    pub snapshot: String,
}

/// What is to be installed into an empty root.
pub(super) struct Asked<'a> {
    /// Who asks: the entry of quiz.lock.
    pub entry: &'a str,
    pub names: &'a BTreeSet<String>,
    /// Asked for if the suite has it.
    pub if_there: &'a [String],
    /// The essential packages are asked for, too.
    pub essential: bool,
    /// Versions that are taken before newer ones, where they are still there.
    pub pinned: &'a [Package],
}

/// Which packages of a suite are looked at.
#[derive(Debug, Clone, Copy)]
pub(super) enum What<'a> {
    /// Those that are installed.
    Packages,
    /// Source packages. Of the places that have `main` also this component is looked at, if it is not "".
    Sources(&'a str),
}

/// An archive's suite.
pub(super) struct Archive<'a> {
    host: &'a Host,
    suite: &'a str,
    what: What<'a>,
    ctx: &'a Context,
    events: Events<'a>,
    patience: Patience,
    now: u64,
}

impl<'a> Archive<'a> {
    /// The archive as this machine sees it.
    ///
    /// # Errors
    /// `suite` is not the name of a suite.
    pub(super) fn new(
        host: &'a Host,
        suite: &'a str,
        what: What<'a>,
        ctx: &'a Context,
        events: Events<'a>,
    ) -> Result<Self> {
        // The name may come from a quiz.lock, and becomes part of paths and addresses.
        if !suites::is_name(suite) {
            return Err(Error::input(format!("`{suite}` is not the name of a suite")));
        }
        let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |time| time.as_secs());
        Ok(Self { host, suite, what, ctx, events, patience: Patience::default(), now })
    }

    /// Today's lists; offline, those that are here. `entry` is what `quiz update` takes.
    ///
    /// # Errors
    /// That there is no such suite is an input error; that it cannot be asked is of another kind.
    pub(super) fn today(&self, entry: &str) -> Result<Today> {
        let (lists, _lock) = self.lists()?;
        if !self.ctx.offline {
            lists.update()?;
        }
        let there = lists.read()?;
        if there.is_empty() {
            let message = format!("{entry}: the package lists of {} are not in the cache", self.suite);
            return Err(Error::input(format!("{message}, and quiz was told not to use the network"))
                .hint(format!("run once with network, without --offline: quiz update {entry}")));
        }
        Ok(Today(there))
    }

    /// The packages that would be installed for what is asked, of [`Self::today`].
    pub(super) fn resolve(&self, asked: &Asked<'a>) -> Result<Vec<Package>> {
        let Today(there) = self.today(asked.entry)?;
        let request = resolve::Request { suite: self.suite, arch: super::apt::arch(&self.ctx.arch)?, asked };
        let not_automatic: Vec<bool> = there.iter().map(|list| list.not_automatic).collect();
        let packages = packages(&there);
        let chosen = resolve::resolve(&packages, &not_automatic, &request)?;
        let mut chosen: Vec<Package> = chosen.iter().map(stanza::Entry::package).collect::<Result<_>>()?;
        chosen.sort();
        Ok(chosen)
    }

    /// Those of these packages that cannot be found anywhere: not in the cache, the suite, or the snapshot archive. If the snapshot archive
    /// does not answer, they count as gone, and its error comes with them. Offline no package counts as gone.
    pub(super) fn lacks<'p>(&self, packages: &'p [Package], entry: &str) -> Result<(Vec<&'p Package>, Option<Error>)> {
        if self.ctx.offline {
            return Ok((Vec::new(), None));
        }
        let folder = self.ctx.cache.join("archive/packages");
        let is_here = |package: &Package| pool::is_right(&pool::place(&folder, package), package);
        let mut gone: Vec<&Package> = packages.iter().filter(|package| !is_here(package)).collect();
        if gone.is_empty() {
            return Ok((gone, None));
        }
        let today = self.today(entry)?;
        let there = self::packages(&today.0);
        gone.retain(|package| {
            !there.named(&package.name).any(|(_, entry)| entry.package().is_ok_and(|p| p == **package))
        });
        // What is downloaded here is not kept.
        let scratch = tempfile::tempdir().map_err(|e| Error::build("cannot make a temporary folder").because(e))?;
        let config = Config::read(&self.host.etc);
        let snapshot = self.snapshot(&config, scratch.path());
        Ok(pool::not_in_snapshot(gone, &snapshot, self.events))
    }

    /// The archive of all packages that ever were.
    fn snapshot(&self, config: &Config, folder: &Path) -> Server<'_> {
        let address = if self.ctx.mirrors.snapshot.is_empty() { SNAPSHOT } else { &self.ctx.mirrors.snapshot };
        let address = address.trim_end_matches('/');
        Server { address, access: config.access(address), folder: folder.to_owned(), patience: self.patience }
    }

    /// Brings exactly these packages, and gives their paths in the same order. They stay in the cache; nobody changes them.
    pub(super) fn fetch(&self, pin: &PackagesPin, entry: &str) -> Result<Vec<PathBuf>> {
        let folder = self.ctx.cache.join("archive/packages");
        let broken = |e: io::Error| Error::build(format!("cannot prepare {}", folder.display())).because(e);
        fs::create_dir_all(&folder).map_err(broken)?;
        let downloads = Downloads::share(&folder, self.events).map_err(broken)?;
        let paths: Vec<PathBuf> = pin.packages.iter().map(|package| pool::place(&folder, package)).collect();
        // Their times say when they were used last, before anything else: a collection that comes next leaves them. If one cannot be set, it goes
        // sooner than it could stay.
        paths.iter().for_each(|path| drop(File::open(path).and_then(|file| file.set_modified(SystemTime::now()))));
        let missing = pin.packages.iter().zip(&paths).filter(|(package, path)| !pool::is_right(path, package));
        let new =
            |package, path: &PathBuf| Missing { package, dest: path.clone(), ways: Vec::new(), there: Vec::new() };
        let mut missing: Vec<Missing> = missing.map(|(package, path)| new(package, path)).collect();
        if missing.is_empty() {
            return Ok(paths);
        }
        if self.ctx.offline {
            return Err(pool::offline(&missing, pin.packages.len(), entry));
        }
        let partial = folder.join(PARTIAL);
        fs::create_dir_all(&partial).map_err(broken)?;
        let (lists, lists_lock) = self.lists()?;
        let mut there = lists.read()?;
        // Old lists may have another file for this version. That is an error only if today's lists have it, too.
        if !find(&mut missing, &there).unwrap_or(false) {
            // Today's lists may have what the old ones lack. If they cannot be downloaded, that is only a warning: the snapshot archive
            // is asked without lists.
            if let Err(error) = lists.update() {
                (self.events)(crate::event::Event::Warning { message: error.to_string() });
            }
            there = lists.read()?;
            find(&mut missing, &there)?;
        }
        // Another set of the same suite is looked up meanwhile, and downloaded beside this one.
        drop(lists_lock);
        let servers: Vec<Server> = lists.places.all.iter().map(|place| lists.server(place, partial.clone())).collect();
        let snapshot = self.snapshot(&lists.config, &partial);
        pool::bring(&missing, &servers, &snapshot, entry, self.events)?;
        downloads.over();
        Ok(paths)
    }

    /// Brings exactly these files of a source package, and gives their paths in the same order.
    pub(super) fn fetch_source(&self, pin: &DscPin, entry: &str) -> Result<Vec<PathBuf>> {
        let folder = self.ctx.cache.join("archive/sources");
        let broken = |e: io::Error| Error::build(format!("cannot prepare {}", folder.display())).because(e);
        fs::create_dir_all(&folder).map_err(broken)?;
        let waits_for = || "another download of a source package".to_owned();
        let _lock = super::take_lock(&folder.join("lock"), waits_for, self.events).map_err(broken)?;
        let (lists, _lists_lock) = self.lists()?;
        let mut there = Today(lists.read()?).sources(&pin.name)?;
        if !there.iter().any(|source| source.pin == *pin) {
            if let Err(error) = lists.update() {
                (self.events)(crate::event::Event::Warning { message: error.to_string() });
            }
            there = Today(lists.read()?).sources(&pin.name)?;
        }
        let partial = folder.join("partial");
        fs::create_dir_all(&partial).map_err(broken)?;
        let servers: Vec<Server> = lists.places.all.iter().map(|place| lists.server(place, partial.clone())).collect();
        let snapshot = self.snapshot(&lists.config, &partial);
        let paths = pool::bring_source(pin, &there, (&servers, &snapshot), &folder, entry, self.events)?;
        // Only unfinished downloads are in it, and they do no harm if they cannot be removed.
        let _ = fs::remove_dir_all(partial);
        Ok(paths)
    }

    /// The lists, and the lock under which they are used.
    fn lists(&self) -> Result<(Lists<'a>, File)> {
        let arch = super::apt::arch(&self.ctx.arch)?;
        let mut places = places::find(&self.ctx.mirrors.mirror, self.suite, arch, self.host)?;
        let (name, index) = match self.what {
            What::Packages => (arch, format!("binary-{arch}/Packages")),
            What::Sources(component) => {
                places.add(component);
                ("source", "source/Sources".to_owned())
            }
        };
        let folder = self.ctx.cache.join(format!("archive/{}-{name}", self.suite));
        let broken = |e: io::Error| Error::build(format!("cannot prepare {}", folder.display())).because(e);
        fs::create_dir_all(&folder).map_err(broken)?;
        let waits_for = || format!("another reading of the package lists of {}", self.suite);
        let lock = super::take_lock(&folder.join("lock"), waits_for, self.events).map_err(broken)?;
        let (suite, host, config) = (self.suite, self.host, Config::read(&self.host.etc));
        let (patience, events, now) = (self.patience, self.events, self.now);
        Ok((Lists { folder, suite, index, places, host, config, patience, events, now }, lock))
    }
}

/// Unfinished downloads, in the folder of packages.
const PARTIAL: &str = "partial";

/// The folder of packages while somebody downloads into it. Several do at once; each package is brought by one of them.
struct Downloads {
    folder: PathBuf,
    lock: File,
}

impl Downloads {
    fn share(folder: &Path, events: Events) -> io::Result<Self> {
        let lock = File::create(folder.join("lock"))?;
        if lock.try_lock_shared().is_err() {
            // An older quiz has it for as long as it downloads.
            let what = "the download of packages by another quiz, or `quiz gc`,".to_owned();
            events(crate::event::Event::Paused { what });
            lock.lock_shared()?;
        }
        Ok(Self { folder: folder.to_owned(), lock })
    }

    /// All that was asked for is here: the last one removes what is left of downloads. After an error they stay, and are gone on with.
    fn over(self) {
        drop(self.lock);
        let Ok(alone) = File::create(self.folder.join("lock")) else { return };
        if alone.try_lock().is_ok() {
            // They do no harm where they cannot be removed.
            let _ = fs::remove_dir_all(self.folder.join(PARTIAL));
        }
    }
}

/// A source package, and where its files are: below the folder of a place, by the place's number.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Source {
    pub pin: DscPin,
    folder: String,
    place: usize,
}

/// Finds out where the packages are, and returns whether the lists have all of them.
///
/// # Errors
/// One of them is there with another content.
fn find(missing: &mut [Missing], lists: &[List]) -> Result<bool> {
    let packages = packages(lists);
    let mut all = true;
    for one in missing {
        let (mut exact, mut beside, mut other) = (Vec::new(), Vec::new(), None);
        one.there.clear();
        for (_, entry) in packages.named(&one.package.name) {
            let Some(path) = entry.path() else { continue };
            let place = lists[entry.list].place;
            let there = entry.package().ok();
            if there.as_ref() == Some(one.package) {
                exact.push((place, path.to_owned()));
            } else if let Some(there) =
                there.filter(|p| (&p.version, &p.arch) == (&one.package.version, &one.package.arch))
            {
                other = Some(there.sha256);
            } else if let Some((folder, _)) = path.rsplit_once('/') {
                // A mirror keeps a version for some days after the lists have another one.
                beside.push((place, format!("{folder}/{}", pool::file_name(one.package))));
            }
            one.there.push(entry.version.to_owned());
        }
        if let Some(other) = other.filter(|_| exact.is_empty()) {
            return Err(pool::replaced(one.package, &other));
        }
        all &= !exact.is_empty();
        exact.append(&mut beside);
        one.ways = exact;
    }
    Ok(all)
}

/// The readers of this folder for the fuzz targets.
#[cfg(any(test, feature = "fuzz"))]
pub(super) mod fuzz {
    pub(in crate::source) use super::config::fuzz as config;
    pub(in crate::source) use super::depends::fuzz as depends;
    pub(in crate::source) use super::inrelease::fuzz as release;
    pub(in crate::source) use super::pool::fuzz as answers;
    pub(in crate::source) use super::signature::fuzz as signed;
    pub(in crate::source) use super::stanza::fuzz as packages;
}

#[cfg(test)]
mod tests;
