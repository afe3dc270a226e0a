//! Brings pinned packages: out of the cache, from the places of their suite, from Debian's archive of all that ever was. Every file is
//! checked against its pinned checksum before it is given out.

use super::Source;
use super::server::Server;
use crate::error::{Error, Result};
use crate::event::{Event, Events, Unit};
use crate::source::download::{self, wrong_sum};
use crate::source::{DscFile, DscPin, Package, take_lock};
use serde_json::Value as Json;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};

/// Downloads at the same time.
const AT_ONCE: usize = 4;

/// A package that is not here yet, and where it may be.
pub(super) struct Missing<'a> {
    pub package: &'a Package,
    /// Where it is to lie.
    pub dest: PathBuf,
    /// Servers, by number, with paths: the likeliest first.
    pub ways: Vec<(usize, String)>,
    /// The versions that the suite has instead, for the error.
    pub there: Vec<String>,
}

/// Where a package lies in the folder of packages. The checksum in the name keeps two archives apart that both have such a version.
pub(super) fn place(folder: &Path, package: &Package) -> PathBuf {
    let Package { name, version, arch, sha256, .. } = package;
    folder.join(format!("{name}_{}_{arch}.{}.deb", version.replace(':', "%3a"), &sha256[..12]))
}

/// Whether a file is exactly this package.
pub(super) fn is_right(path: &Path, package: &Package) -> bool {
    fs::metadata(path).is_ok_and(|meta| meta.len() == package.size)
        && download::sha256_of(path).is_ok_and(|sum| sum == package.sha256)
}

/// The same, but a file that is not this package is removed. Only who brings this package asks so: another one's may just have come.
fn is_here(path: &Path, package: &Package) -> bool {
    let right = is_right(path, package);
    if !right {
        let _ = fs::remove_file(path);
    }
    right
}

/// Its file's name in a pool, which has no epoch.
pub(super) fn file_name(package: &Package) -> String {
    let version = package.version.split_once(':').map_or(package.version.as_str(), |(_, rest)| rest);
    format!("{}_{version}_{}.deb", package.name, package.arch)
}

/// Brings all of them, some at once; what is done is told as one sum. `entry` is what `quiz update` takes.
///
/// # Errors
/// The first that cannot be had; those that have arrived stay.
pub(super) fn bring(
    missing: &[Missing],
    servers: &[Server],
    snapshot: &Server,
    entry: &str,
    events: Events,
) -> Result<()> {
    let total = missing.iter().fold(0, |sum: u64, one| sum.saturating_add(one.package.size));
    let what = if let [one] = missing { one.package.name.clone() } else { format!("{} packages", missing.len()) };
    let here = AtomicU64::new(0);
    let count = |done| {
        let total = Some(missing.len() as u64);
        events(Event::Progress { what: what.clone(), unit: Unit::Packages, done, total, left: None });
    };
    let done: Vec<AtomicU64> = missing.iter().map(|_| AtomicU64::new(0)).collect();
    let tell = |index: usize, event: Event| match event {
        Event::Download { done: bytes, .. } => {
            done[index].store(bytes.min(missing[index].package.size), Ordering::Relaxed);
            let sum = done.iter().fold(0, |sum: u64, one| sum.saturating_add(one.load(Ordering::Relaxed)));
            events(Event::Download { what: what.clone(), done: sum, total: Some(total) });
        }
        other => events(other),
    };
    let (rest, stop, failed) = (Mutex::new(0..missing.len()), AtomicBool::new(false), Mutex::new(None));
    let next = || rest.lock().ok().and_then(|mut rest| rest.next()).filter(|_| !stop.load(Ordering::Relaxed));
    let work = || {
        while let Some(index) = next() {
            let tell = |event| tell(index, event);
            match one(&missing[index], servers, snapshot, entry, &tell) {
                Ok(()) if missing.len() > 1 => count(here.fetch_add(1, Ordering::Relaxed) + 1),
                Ok(()) => {}
                Err(error) => {
                    stop.store(true, Ordering::Relaxed);
                    if let Ok(mut failed) = failed.lock() {
                        failed.get_or_insert(error);
                    }
                }
            }
        }
    };
    std::thread::scope(|scope| {
        for _ in 0..AT_ONCE.min(missing.len()) {
            scope.spawn(work);
        }
    });
    failed.into_inner().ok().flatten().map_or(Ok(()), Err)
}

fn one(missing: &Missing, servers: &[Server], snapshot: &Server, entry: &str, events: Events) -> Result<()> {
    let Missing { package, dest, ways, there } = missing;
    let lock = snapshot.folder.join(format!("{}.lock", package.sha256));
    let waits_for = || format!("another download of {}", package.name);
    let _lock = take_lock(&lock, waits_for, events)
        .map_err(|e| Error::build(format!("cannot lock {}", lock.display())).because(e))?;
    if is_here(dest, package) {
        return Ok(());
    }
    let mut first: Option<Error> = None;
    let mut get = |server: &Server, path: &str| match server.file(path, &package.sha256, package.size, dest, events) {
        Ok(got) => got,
        Err(error) => {
            first.get_or_insert(error);
            false
        }
    };
    if ways.iter().any(|(server, path)| get(&servers[*server], path)) {
        return Ok(());
    }
    let of_snapshot = of_snapshot(package, snapshot, events);
    if of_snapshot.as_ref().is_ok_and(|hashes| hashes.iter().any(|hash| get(snapshot, &format!("file/{hash}")))) {
        return Ok(());
    }
    // What went wrong at a place that should have it tells more than that it is nowhere.
    if let Some(error) = first {
        return Err(error);
    }
    let Package { name, version, .. } = package;
    Err(gone(&format!("{name} {version}"), there, (snapshot, of_snapshot.err()), entry))
}

/// The error of what is pinned, and neither in its suite nor, as far as that says, in the snapshot archive.
fn gone(what: &str, there: &[String], (snapshot, silent): (&Server, Option<Error>), entry: &str) -> Error {
    let there = if there.is_empty() {
        "there is no version of it at all".to_owned()
    } else {
        format!("there are: {}", there.join(", "))
    };
    let error = Error::build(format!("{what} is pinned in quiz.lock, but no archive has it any more")).detail(there);
    let error = match silent {
        None => error.detail(format!("{} does not have this version, either", snapshot.address)),
        Some(why) => error
            .detail(format!("{} could not be asked", snapshot.address))
            .because(why)
            .hint("try again when that answers: it has all that ever was"),
    };
    error.hint(format!("take what there is now: quiz update {entry}"))
}

/// Brings the files of a source package: from where the lists have it, else from the snapshot archive. Those that are here stay.
///
/// # Errors
/// The archive has this version with other files, or one cannot be had.
pub(super) fn bring_source(
    pin: &DscPin,
    there: &[Source],
    (servers, snapshot): (&[Server], &Server),
    folder: &Path,
    entry: &str,
    events: Events,
) -> Result<Vec<PathBuf>> {
    let what = format!("{} {}", pin.name, pin.version);
    let ways: Vec<&Source> = there.iter().filter(|source| source.pin == *pin).collect();
    if ways.is_empty() && there.iter().any(|source| source.pin.version == pin.version) {
        return Err(Error::build(format!(
            "the source package {what} has other checksums in the archive than were pinned"
        ))
        .hint(format!("if it was replaced for a good reason, take the new one: quiz update {entry}")));
    }
    let total = Some(pin.files.iter().fold(0, |sum: u64, file| sum.saturating_add(file.size)));
    let mut before: u64 = 0;
    let mut paths = Vec::new();
    for file in &pin.files {
        let dest = folder.join(format!("{:.12}-{}", file.sha256, file.name));
        let tell = |event| match event {
            Event::Download { done, .. } => {
                events(Event::Download { what: what.clone(), done: before.saturating_add(done), total });
            }
            other => events(other),
        };
        let mut first: Option<Error> = None;
        let mut get = |server: &Server, path: &str| {
            let got = server.file(path, &file.sha256, file.size, &dest, &tell);
            got.unwrap_or_else(|error| {
                first.get_or_insert(error);
                false
            })
        };
        let is_there = download::sha256_of(&dest).is_ok_and(|sum| sum == file.sha256)
            || ways.iter().any(|way| get(&servers[way.place], &format!("{}/{}", way.folder, file.name)));
        if !is_there {
            let path = format!("mr/package/{}/{}/srcfiles?fileinfo=1", pin.name, pin.version);
            let answer = snapshot.text(&path, events);
            let hashes = answer.as_ref().map(|answer| source_hashes(answer.as_deref().unwrap_or_default(), file));
            if !hashes.is_ok_and(|hashes| hashes.iter().any(|hash| get(snapshot, &format!("file/{hash}")))) {
                let versions: Vec<String> = there.iter().map(|source| source.pin.version.clone()).collect();
                let what = format!("the source package {what}");
                return Err(first.unwrap_or_else(|| gone(&what, &versions, (snapshot, answer.err()), entry)));
            }
        }
        before = before.saturating_add(file.size);
        paths.push(dest);
    }
    Ok(paths)
}

/// The files of that name and size in an answer of the snapshot archive.
fn source_hashes(answer: &str, file: &DscFile) -> Vec<String> {
    let Ok(answer) = serde_json::from_str::<Json>(answer) else { return Vec::new() };
    let infos = answer["fileinfo"].as_object().into_iter().flatten();
    let is_file = |info: &Json| info["name"].as_str() == Some(&file.name) && info["size"].as_u64() == Some(file.size);
    let found = infos.filter(|(hash, infos)| is_hash(hash) && infos.as_array().into_iter().flatten().any(is_file));
    found.map(|(hash, _)| hash.clone()).collect()
}

fn is_hash(text: &str) -> bool {
    text.len() == 40 && text.bytes().all(|b| b.is_ascii_hexdigit())
}

/// The names under which the snapshot archive has a package: SHA-1, which is no proof and need not be one.
///
/// Its interface: <https://salsa.debian.org/snapshot-team/snapshot/-/blob/master/API>
pub(super) fn of_snapshot(package: &Package, snapshot: &Server, events: Events) -> Result<Vec<String>> {
    let path = format!("mr/binary/{}/{}/binfiles?fileinfo=1", package.name, package.version);
    Ok(snapshot.text(&path, events)?.map(|answer| hashes(&answer, package)).unwrap_or_default())
}

/// Those of these packages that the snapshot archive does not have, in their order. It is asked for some at once; if it does not answer
/// once, it is not asked again for each package: all that were not found by then count as gone, and its error comes with them.
pub(super) fn not_in_snapshot<'p>(
    packages: Vec<&'p Package>,
    snapshot: &Server,
    events: Events,
) -> (Vec<&'p Package>, Option<Error>) {
    let found: Vec<AtomicBool> = packages.iter().map(|_| AtomicBool::new(false)).collect();
    let (next, silent) = (AtomicUsize::new(0), Mutex::new(None));
    let work = || {
        while let Some((package, found)) = {
            let index = next.fetch_add(1, Ordering::Relaxed);
            packages.get(index).zip(found.get(index))
        } {
            match of_snapshot(package, snapshot, events) {
                Ok(files) => found.store(!files.is_empty(), Ordering::Relaxed),
                Err(error) => {
                    next.store(packages.len(), Ordering::Relaxed);
                    if let Ok(mut silent) = silent.lock() {
                        silent.get_or_insert(error);
                    }
                }
            }
        }
    };
    std::thread::scope(|scope| {
        for _ in 0..AT_ONCE.min(packages.len()) {
            scope.spawn(work);
        }
    });
    let gone = packages.into_iter().zip(found).filter(|(_, found)| !found.load(Ordering::Relaxed));
    (gone.map(|(package, _)| package).collect(), silent.into_inner().ok().flatten())
}

/// The files of that architecture and size in an answer of the snapshot archive.
pub(super) fn hashes(answer: &str, package: &Package) -> Vec<String> {
    let Ok(answer) = serde_json::from_str::<Json>(answer) else { return Vec::new() };
    let of = |file: &Json| {
        let hash = file["hash"].as_str().filter(|hash| is_hash(hash))?;
        let infos = answer["fileinfo"][hash].as_array();
        let fits = infos.is_none_or(|infos| infos.iter().any(|info| info["size"].as_u64() == Some(package.size)));
        (file["architecture"].as_str() == Some(&package.arch) && fits).then(|| hash.to_owned())
    };
    answer["result"].as_array().into_iter().flatten().filter_map(of).collect()
}

/// An answer of the snapshot archive, for the fuzz targets.
#[cfg(any(test, feature = "fuzz"))]
pub(in crate::source) fn fuzz(answer: &str) {
    let package =
        Package { name: "a".into(), version: "1".into(), arch: "amd64".into(), sha256: String::new(), size: 7 };
    let file = DscFile { name: "a.tar".into(), size: 7, sha256: String::new() };
    let found = hashes(answer, &package).into_iter().chain(source_hashes(answer, &file));
    found.for_each(|hash| assert!(is_hash(&hash), "{hash}"));
}

/// The error for a package that the suite has with another content.
pub(super) fn replaced(package: &Package, sha256: &str) -> Error {
    wrong_sum(&format!("{} {}", package.name, package.version), &package.sha256, sha256)
}

/// The error when there is no network and some are not here.
pub(super) fn offline(missing: &[Missing], all: usize, entry: &str) -> Error {
    const SHOWN: usize = 12;
    let names: Vec<&str> = missing.iter().take(SHOWN).map(|one| one.package.name.as_str()).collect();
    let more = if missing.len() > SHOWN { format!(" and {} more", missing.len() - SHOWN) } else { String::new() };
    let message = format!(
        "{entry}: {} of {all} packages are not in the cache, and quiz was told not to use the network",
        missing.len()
    );
    Error::input(message)
        .detail(format!("missing: {}{more}", names.join(", ")))
        .hint("run once with network, without --offline")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_snapshot_archive_answers() {
        let package = |arch: &str, size| Package {
            name: "x".into(),
            version: "1:2-3".into(),
            arch: arch.into(),
            sha256: "0".repeat(64),
            size,
        };
        let [a, b, c] = ["a", "b", "c"].map(|digit| digit.repeat(40));
        let answer = format!(
            "{{\"result\": [{{\"architecture\": \"amd64\", \"hash\": \"{a}\"}}, {{\"architecture\": \"arm64\", \"hash\": \"{b}\"}}, \
             {{\"architecture\": \"amd64\", \"hash\": \"{c}\"}}, {{\"architecture\": \"amd64\", \"hash\": \"../x\"}}], \
             \"fileinfo\": {{\"{a}\": [{{\"size\": 7}}], \"{c}\": [{{\"size\": 8}}]}}}}"
        );
        assert_eq!(hashes(&answer, &package("amd64", 7)), [a]);
        assert_eq!(hashes(&answer, &package("arm64", 9)), [b]);
        assert!(hashes("<html>", &package("amd64", 7)).is_empty() && hashes("[]", &package("amd64", 7)).is_empty());
        assert_eq!(file_name(&package("all", 1)), "x_2-3_all.deb");
    }
}
