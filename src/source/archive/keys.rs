//! Which keys may sign a place: those that the host's package sources name, else the host's, else Debian's as they are in quiz.

use super::signature::Keyring;
use crate::error::{Error, Result};
use crate::source::apt::Host;
use crate::source::apt::sources::{Keys, Place};
use std::fs;
use std::path::{Path, PathBuf};

/// The keys of Debian's archive as the package debian-archive-keyring 2023.3+deb12u2 has them: of Debian 11 to 13. They end between 2029 and 2035.
pub(super) const DEBIAN: &[u8] = include_bytes!("debian-archive-keyring.pgp");

/// The keys of a place.
///
/// # Errors
/// A file of keys that the host's sources name is not there, or has none.
pub(super) fn of(place: &Place, host: &Host) -> Result<Keyring> {
    let mut ring = Keyring::default();
    match &place.keys {
        Keys::Text(text) => ring.add(text.as_bytes()).map_err(|why| no_keys(place, "Signed-By", &why))?,
        Keys::Files(files) => {
            for file in files {
                let missing = |why: &str| no_keys(place, &file.display().to_string(), why);
                match fs::read(file) {
                    Ok(bytes) => ring.add(&bytes).map_err(|why| missing(&why))?,
                    Err(_) if is_debians(file) => ring.add(DEBIAN).map_err(|why| missing(&why))?,
                    Err(e) => return Err(missing(&e.to_string())),
                }
            }
        }
        Keys::Debian => {
            let own = host.keyring.as_ref().and_then(|file| fs::read(file).ok());
            for bytes in own.as_deref().into_iter().chain([DEBIAN]) {
                ring.add(bytes).map_err(|why| no_keys(place, "Debian's keyring", &why))?;
            }
        }
        Keys::Host => of_host(&mut ring, host),
        Keys::Named(fingerprints) => {
            of_host(&mut ring, host);
            ring.retain(fingerprints);
        }
    }
    if ring.is_empty() { Err(no_keys(place, "the host's keyrings", "there is no such key")) } else { Ok(ring) }
}

/// Whether a file that is not there would have Debian's keys, by its name.
fn is_debians(file: &Path) -> bool {
    file.file_name().is_some_and(|name| name.to_string_lossy().starts_with("debian-archive-"))
}

/// All that apt would trust; what is no keyring is passed over, as apt does.
fn of_host(ring: &mut Keyring, host: &Host) {
    let folder = fs::read_dir(host.etc.join("trusted.gpg.d")).into_iter().flatten().flatten();
    let is_ring = |path: &PathBuf| path.extension().is_some_and(|end| ["gpg", "asc", "pgp"].iter().any(|e| end == *e));
    let mut files: Vec<PathBuf> = folder.map(|entry| entry.path()).filter(is_ring).collect();
    files.push(host.etc.join("trusted.gpg"));
    files.extend(host.keyring.clone());
    for bytes in files.iter().filter_map(|file| fs::read(file).ok()) {
        let _ = ring.add(&bytes);
    }
    // Last, so that a newer copy of the host's, which says of a key that it was revoked, is found first.
    let _ = ring.add(DEBIAN);
}

fn no_keys(place: &Place, what: &str, why: &str) -> Error {
    Error::input(format!("{}: no key can be read from {what}: {why}", place.address))
        .hint("correct the package source of this machine, or have quiz use none of them: packages.mirror = \"http://deb.debian.org/debian\"")
}

#[cfg(test)]
mod tests {
    use super::super::signature::tests::{THEN, public, signed};
    use super::*;

    fn keys(keys: Keys, etc: &Path) -> Result<Keyring> {
        let (address, suite) = ("http://e.org/debian".to_owned(), "x".to_owned());
        let place = Place {
            address,
            suite,
            components: Vec::new(),
            keys,
            trusted: false,
            checks_valid_until: None,
            login: None,
        };
        of(&place, &Host::of("ID=debian\n", etc))
    }

    #[test]
    fn the_source_says_whose_signature_counts_else_all_of_the_hosts_do() {
        let etc = tempfile::tempdir().unwrap();
        let (asc, message) = (etc.path().join("trusted.gpg.d/good.asc"), signed("x\n", "good"));
        fs::create_dir(etc.path().join("trusted.gpg.d")).unwrap();
        fs::write(&asc, public("good")).unwrap();
        fs::write(etc.path().join("trusted.gpg.d/odd.gpg"), "no keyring").unwrap();
        let takes = |keys: Result<Keyring>| keys.unwrap().signed(&message, THEN).is_ok();
        assert!(takes(keys(Keys::Host, etc.path())));
        assert!(takes(keys(Keys::Files(vec![asc.clone()]), etc.path())));
        assert!(takes(keys(Keys::Text(public("good")), etc.path())));
        assert!(!takes(keys(Keys::Text(public("other")), etc.path())));
        assert!(!takes(keys(Keys::Files(vec!["/none/debian-archive-x.gpg".into()]), etc.path())), "Debian's own");
        for wrong in [Keys::Files(vec!["/none/x.gpg".into()]), Keys::Named(vec!["00".into()]), Keys::Text("x".into())] {
            let error = keys(wrong, etc.path()).unwrap_err();
            assert!(
                error.to_string().starts_with("http://e.org/debian: no key") && error.hints().len() == 1,
                "{error}"
            );
        }
    }
}
