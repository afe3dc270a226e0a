//! The package lists of a suite in the cache: brought up to date from its places, checked against the signed Release file of each, and
//! read. A list lies under its checksum, so it is brought only when the Release file names another one.

use super::config::Config;
use super::inrelease::{Listed, Release, seconds};
use super::keys;
use super::places::Places;
use super::server::Server;
use super::signature::{Keyring, Refusal};
use crate::error::{Error, Result};
use crate::event::{Event, Events};
use crate::source::apt::sources::Place;
use crate::source::apt::{Host, suites};
use crate::source::download::{Patience, hex};
use crate::source::unpack::decompressed;
use sha2::{Digest as _, Sha256};
use std::fs::{self, File};
use std::io::{self, Read};
use std::path::{Path, PathBuf};

/// No list is read beyond this, in bytes. Debian's main has 50 MB.
const MOST: u64 = 1 << 30;

/// The lists of one suite. The caller holds the lock of the folder.
pub(super) struct Lists<'a> {
    pub folder: PathBuf,
    pub suite: &'a str,
    /// Which list of a component: `binary-amd64/Packages`, `source/Sources`.
    pub index: String,
    pub places: Places,
    pub host: &'a Host,
    pub config: Config,
    pub patience: Patience,
    pub events: Events<'a>,
    /// Seconds since 1970.
    pub now: u64,
}

/// One list.
pub(super) struct List {
    pub text: String,
    /// Which place it is of.
    pub place: usize,
    pub not_automatic: bool,
}

/// What became of a place.
enum Got {
    Lists,
    /// It has no such suite.
    Missing,
    /// It could not be asked, or is in the middle of an update.
    Failed(Error),
    /// What it says is not to be trusted.
    Refused(Error),
}

impl Lists<'_> {
    /// Brings all lists up to date. A place that fails is a warning while there are lists of the suite itself: no network, and
    /// lists of yesterday.
    ///
    /// # Errors
    /// There is no such suite, or no list of it; a Release file that is not signed as it should be, or is not what was asked for: that of
    /// the suite itself, unless another place has it, such as Debian beside somebody else's packages, and that of security updates.
    pub(super) fn update(&self) -> Result<()> {
        (self.events)(Event::Note { message: format!("archive: looking at the package lists of {}", self.suite) });
        let mut failed: Vec<(&Place, Error)> = Vec::new();
        let mut missing: Vec<&Place> = Vec::new();
        let mut refused: Vec<(&Place, Error)> = Vec::new();
        let mut is_there = false;
        for place in &self.places.all {
            match self.refresh(place)? {
                Got::Lists => is_there |= place.suite == self.suite,
                Got::Missing => missing.push(place),
                Got::Failed(error) => failed.push((place, error)),
                Got::Refused(error) => refused.push((place, error)),
            }
        }
        let counts = |place: &Place| !is_there || place.suite.ends_with(suites::SECURITY);
        if let Some(at) = refused.iter().position(|(place, _)| counts(place)) {
            return Err(refused.swap_remove(at).1);
        }
        failed.append(&mut refused);
        let has = |place: &&Place| self.of(place).join("Release").exists();
        let own: Vec<&Place> = self.places.all.iter().filter(|place| place.suite == self.suite).collect();
        let wanted = if own.is_empty() { self.places.all.iter().collect() } else { own };
        if !wanted.iter().any(has) {
            return Err(match failed.into_iter().next() {
                Some((_, error)) => {
                    error.hint(format!("the archive of {} could not be reached: is there network?", self.suite))
                }
                None => {
                    let asked = missing.iter().map(|place| format!("{} has no dists/{}", place.address, place.suite));
                    let asked: Vec<String> = asked.collect();
                    crate::source::apt::no_suite(self.suite, &asked.iter().map(String::as_str).collect::<Vec<_>>())
                }
            });
        }
        let mut words: Vec<String> = failed.iter().map(|(place, error)| format!("{}: {error}", place.suite)).collect();
        // A derived place need not have the suite, so only a missing suite of security updates is worth a warning.
        let counts = |place: &&&Place| !self.places.derived || place.suite.ends_with(suites::SECURITY);
        words.extend(
            missing.iter().filter(counts).map(|place| format!("{} has no suite {}", place.address, place.suite)),
        );
        if !words.is_empty() {
            let message = format!("not every package list of {} is up to date: {}", self.suite, words.join("; "));
            (self.events)(Event::Warning { message });
        }
        Ok(())
    }

    /// All lists that are here. Empty if there was no update yet.
    pub(super) fn read(&self) -> Result<Vec<List>> {
        let mut lists = Vec::new();
        for (place, at) in self.places.all.iter().enumerate() {
            let folder = self.of(at);
            let Ok(text) = fs::read_to_string(folder.join("Release")) else { continue };
            let release = Release::parse(&text);
            for (_, listed) in self.wanted(at, &release) {
                let path = folder.join(format!("{}.zst", listed.sha256));
                let bytes = match kept(&path) {
                    Ok(bytes) => bytes,
                    Err(e) if e.kind() == io::ErrorKind::NotFound => continue,
                    Err(e) if e.kind() == io::ErrorKind::PermissionDenied => {
                        return Err(Error::build(format!("cannot read {}", path.display())).because(e));
                    }
                    Err(e) => {
                        let message = format!("the package list {} is damaged, and left out: {e}", path.display());
                        (self.events)(Event::Warning { message });
                        continue;
                    }
                };
                let text =
                    String::from_utf8(bytes).unwrap_or_else(|e| String::from_utf8_lossy(e.as_bytes()).into_owned());
                lists.push(List { text, place, not_automatic: release.not_automatic });
            }
        }
        Ok(lists)
    }

    /// The server of a place.
    pub(super) fn server<'s>(&self, place: &'s Place, folder: PathBuf) -> Server<'s> {
        let mut access = self.config.access(&place.address);
        access.login = place.login.clone().or(access.login);
        Server { address: &place.address, access, folder, patience: self.patience }
    }

    fn of(&self, place: &Place) -> PathBuf {
        let name = hex(&Sha256::digest(format!("{place:?}")));
        self.folder.join(&name[..16])
    }

    /// The lists of a place, by their paths below the suite's folder.
    fn wanted<'r>(&self, place: &Place, release: &Release<'r>) -> Vec<(String, Listed<'r>)> {
        let of = |component: &String| {
            [".xz", ".gz", ""].iter().find_map(|ending| {
                let path = format!("{component}/{}{ending}", self.index);
                release.file(&path).map(|listed| (path, listed))
            })
        };
        place.components.iter().filter_map(of).collect()
    }

    fn refresh(&self, place: &Place) -> Result<Got> {
        let folder = self.of(place);
        let failed = |e: io::Error| Error::build(format!("cannot write {}", folder.display())).because(e);
        fs::create_dir_all(&folder).map_err(failed)?;
        let server = self.server(place, folder.clone());
        let at = format!("dists/{}", place.suite);
        let path = format!("{at}/InRelease");
        let message = match server.text(&path, self.events) {
            Ok(None) if place.trusted => server.text(&format!("{at}/Release"), self.events),
            got => got,
        };
        let message = match message {
            Ok(Some(message)) => message,
            Ok(None) => return Ok(Got::Missing),
            Err(error) => return Ok(Got::Failed(error)),
        };
        let text = match self.checked(place, &message, &server.url(&path)) {
            Ok(text) => text,
            Err(error) => return Ok(Got::Refused(error)),
        };
        let release = Release::parse(&text);
        let before = fs::read_to_string(folder.join("Release")).unwrap_or_default();
        if Release::parse(&before).date > release.date {
            // A mirror that lags behind, or one that wants to show yesterday's packages for today's.
            let message = format!("{} is older than the copy in the cache, which is used", server.url(&path));
            (self.events)(Event::Note { message });
            return Ok(Got::Lists);
        }
        let wanted = self.wanted(place, &release);
        if wanted.is_empty() {
            let what = place.components.join(", ");
            let message = format!("{}: there is no {} in {what}", server.url(&at), self.index);
            return Ok(Got::Failed(Error::input(message)));
        }
        for (path, listed) in &wanted {
            let dest = folder.join(format!("{}.zst", listed.sha256));
            if kept(&dest).is_err()
                && let Err(error) = self.bring(&server, &at, path, *listed, release.by_hash, &dest)
            {
                return Ok(Got::Failed(error));
            }
        }
        write(&folder.join("Release"), &mut text.as_bytes()).map_err(failed)?;
        for entry in fs::read_dir(&folder).map_err(failed)?.flatten() {
            // Older lists, and what a download leaves behind.
            let name = entry.file_name().to_string_lossy().into_owned();
            let is_new = |sum: &str| wanted.iter().any(|(_, listed)| listed.sha256 == sum);
            if name != "Release" && !name.strip_suffix(".zst").is_some_and(is_new) {
                let _ = fs::remove_file(entry.path());
            }
        }
        Ok(Got::Lists)
    }

    /// Brings a list, and keeps it compressed for quick reading.
    fn bring(&self, server: &Server, at: &str, path: &str, listed: Listed, by_hash: bool, dest: &Path) -> Result<()> {
        let folder = path.rsplit_once('/').map_or("", |(folder, _)| folder);
        // By its checksum it is there while the mirror is being updated, too.
        let hashed = format!("{at}/{folder}/by-hash/SHA256/{}", listed.sha256);
        let plain = format!("{at}/{path}");
        let part = dest.with_extension("part-of-list");
        let url = server.url(&plain);
        let wrong = |e: Error| Error::build(format!("{url} could not be downloaded: {e}")).because(e);
        let get = |path: &str| server.file(path, listed.sha256, listed.size, &part, self.events);
        if !(by_hash && get(&hashed).map_err(wrong)? || get(&plain).map_err(wrong)?) {
            return Err(Error::build(format!("{url} is not there, but its Release file names it"))
                .hint("the mirror may be being updated: try again in some minutes"));
        }
        let packed = File::open(&part)
            .and_then(decompressed)
            .and_then(|list| zstd::Encoder::new(Vec::new(), 1).map(|encoder| (list.take(MOST), encoder)))
            .and_then(|(mut list, mut encoder)| io::copy(&mut list, &mut encoder).and_then(|_| encoder.finish()))
            .and_then(|packed| write(dest, &mut &packed[..]));
        let _ = fs::remove_file(&part);
        packed.map_err(|e| Error::build(format!("cannot keep the package list {url}")).because(e))
    }

    /// The text of a Release file, if it is one to be trusted for this place today.
    fn checked(&self, place: &Place, message: &str, url: &str) -> Result<String> {
        let text = if place.trusted {
            Keyring::unchecked(message)
        } else {
            let signed = keys::of(place, self.host)?.signed(message, self.now);
            signed.map_err(|refusal| refused(url, &refusal))?
        };
        let release = Release::parse(&text);
        if ![release.suite, release.codename].contains(&place.suite.as_str()) {
            let names = [release.suite, release.codename].join(", ");
            return Err(Error::input(format!("{url} is not of the suite {}, but of {names}", place.suite))
                .hint("name the suite as the archive does"));
        }
        if !release.is_strong() {
            return Err(Error::build(format!("{url} has no SHA256 sums: weaker ones can be forged"))
                .hint("set another mirror: packages.mirror"));
        }
        let is_over = seconds(release.valid_until).is_some_and(|until| until < self.now);
        if is_over && place.checks_valid_until.unwrap_or_else(|| self.config.checks_valid_until()) {
            return Err(Error::build(format!("{url} was valid only until {}", release.valid_until))
                .hint("is this machine's clock right? else the mirror is stale, and packages.mirror sets another")
                .hint("for an old archive on purpose: Acquire::Check-Valid-Until \"false\"; in /etc/apt/apt.conf.d/"));
        }
        Ok(text)
    }
}

fn refused(url: &str, refusal: &Refusal) -> Error {
    let error = Error::build(format!("{url} {refusal}"));
    match refusal {
        Refusal::Malformed(_) => {
            error.hint("a login page of the network, or a proxy, may have answered: open the address in a browser")
        }
        Refusal::Wrong(_) => {
            error.hint("the mirror may be being updated: try again in some minutes, or set another: packages.mirror")
        }
        Refusal::Unknown(_) | Refusal::Expired(_) | Refusal::Revoked(_) => error.hint(
            "newer keys come with the package debian-archive-keyring; others are named by Signed-By of the source",
        ),
        Refusal::Forbidden(_) | Refusal::Weak(_) => error.hint("set another mirror: packages.mirror"),
    }
}

/// A list that was kept, unpacked.
fn kept(path: &Path) -> io::Result<Vec<u8>> {
    let packed = fs::read(path)?;
    // zstd unpacks an empty file without an error, but never writes one: what it packs has a header, even when there is nothing in it.
    if packed.is_empty() {
        return Err(io::Error::new(io::ErrorKind::InvalidData, "the file is empty"));
    }
    zstd::decode_all(&packed[..])
}

/// Writes a file so that it is never seen half.
fn write(path: &Path, from: &mut dyn Read) -> io::Result<()> {
    let folder = path.parent().unwrap_or(Path::new("."));
    let mut new = tempfile::NamedTempFile::new_in(folder)?;
    io::copy(from, &mut new)?;
    new.as_file().sync_all()?;
    new.persist(path)?;
    Ok(())
}
