//! What something outside of the cache needs of it, as long as that is there: no collection takes it.
//!
//! Where the folder that it is in is not there, or empty, it may be on a disk that is not mounted. Then it is missing, and what it needs stays for
//! [`PATIENCE`].
//!
//! Does not know what it is.

use crate::codec::What;
use crate::error::Result;
use crate::{Cache, Digest};
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;
use std::ffi::OsString;
use std::fs;
use std::io::ErrorKind::{NotADirectory, NotFound, PermissionDenied};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

pub(crate) const FOLDER: &str = "needs";

/// How long something is missing before it counts as gone.
pub(crate) const PATIENCE: Duration = Duration::from_secs(90 * 24 * 60 * 60);

/// Something outside of the cache, and what it needs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Need {
    /// A file or folder.
    pub place: PathBuf,
    /// A folder above it: while that is there and `place` is not, it is gone.
    pub within: PathBuf,
    /// Files and trees. The results that led to them stay with them.
    pub digests: BTreeSet<Digest>,
    /// The first collection since when it is missing.
    pub(crate) missing: Option<SystemTime>,
}

/// The same as it lies on the disk.
#[derive(Serialize, Deserialize)]
struct Stored {
    place: Vec<u8>,
    within: Vec<u8>,
    digests: BTreeSet<Digest>,
    missing: Option<SystemTime>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum There {
    Yes,
    Missing,
    No,
}

impl Cache {
    /// Keeps files and trees as long as something is at `place`, an absolute path in the folder `within`. Of a place that has something kept already, this
    /// is kept instead.
    ///
    /// # Errors
    /// When the cache cannot be read or written.
    pub fn keep_for(&self, place: &Path, within: &Path, digests: BTreeSet<Digest>) -> Result<()> {
        let path = self.place(FOLDER, &Digest::of(place.as_os_str().as_bytes()));
        let need = Need { place: place.to_owned(), within: within.to_owned(), digests, missing: None };
        if self.need_at(&path)?.as_ref() == Some(&need) { Ok(()) } else { self.store_need(&path, &need) }
    }

    /// All that is kept so, by place, whether the place is there or not.
    ///
    /// # Errors
    /// When the cache cannot be read.
    pub fn needs(&self) -> Result<Vec<Need>> {
        let all = self.entries(FOLDER).into_iter().map(|path| self.need_at(&path));
        let mut all: Vec<Need> = all.filter_map(Result::transpose).collect::<Result<_>>()?;
        all.sort_by(|a, b| a.place.cmp(&b.place));
        Ok(all)
    }

    pub(crate) fn need_at(&self, path: &Path) -> Result<Option<Need>> {
        let path_of = |bytes| PathBuf::from(OsString::from_vec(bytes));
        let stored = self.peek::<Stored>(What::Need, path)?;
        Ok(stored.map(|Stored { place, within, digests, missing }| Need {
            place: path_of(place),
            within: path_of(within),
            digests,
            missing,
        }))
    }

    pub(crate) fn store_need(&self, path: &Path, need: &Need) -> Result<()> {
        let bytes = |path: &Path| path.as_os_str().as_bytes().to_vec();
        let (place, within) = (bytes(&need.place), bytes(&need.within));
        let stored = Stored { place, within, digests: need.digests.clone(), missing: need.missing };
        self.store(What::Need, path, &stored)
    }
}

impl Need {
    /// Whether the folder around it is there without it, so that the next collection forgets it.
    #[must_use]
    pub fn is_gone(&self) -> bool {
        self.look(false) == There::No
    }

    /// Looks whether the place is there. In a group's cache it may be another user's.
    pub(crate) fn look(&self, is_shared: bool) -> There {
        match fs::symlink_metadata(&self.place) {
            Ok(_) => There::Yes,
            // A folder where a disk is mounted at other times is empty.
            Err(e) if matches!(e.kind(), NotFound | NotADirectory) => {
                let mut around = fs::read_dir(&self.within).into_iter().flatten().flatten();
                if around.next().is_some() { There::No } else { There::Missing }
            }
            // Where another user's folder cannot be looked into, nobody knows better than he.
            Err(e) if is_shared && e.kind() == PermissionDenied => There::Yes,
            Err(_) => There::Missing,
        }
    }
}

/// What is remembered here, for [`crate::fuzz`].
#[cfg(any(test, feature = "fuzz"))]
pub(crate) fn fuzz(bytes: &[u8]) {
    crate::codec::fuzz::<Stored>(What::Need, bytes);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_there_is_gone_or_missing_by_the_folder_that_it_was_in() {
        let dir = tempfile::tempdir().unwrap();
        let within = dir.path().join("project");
        let place = within.join("runs/1");
        let look = || {
            Need { place: place.clone(), within: within.clone(), digests: BTreeSet::new(), missing: None }.look(false)
        };
        assert_eq!(look(), There::Missing, "no folder");
        fs::create_dir(&within).unwrap();
        assert_eq!(look(), There::Missing, "nothing is mounted");
        fs::create_dir_all(&place).unwrap();
        assert_eq!(look(), There::Yes);
        fs::remove_dir(&place).unwrap();
        assert_eq!(look(), There::No);
        fs::write(within.join("file"), "").unwrap();
        fs::remove_dir(within.join("runs")).unwrap();
        assert_eq!(look(), There::No);
    }

    #[test]
    fn what_a_place_needs_is_what_was_said_last_whatever_its_bytes_are() {
        let dir = tempfile::tempdir().unwrap();
        let cache = Cache::open(&dir.path().join("cache")).unwrap();
        let place = PathBuf::from(OsString::from_vec(b"/p/\xff".to_vec()));
        let (one, two) = (Digest::of(b"1"), Digest::of(b"2"));
        for digest in [one, one, two] {
            cache.keep_for(&place, Path::new("/p"), BTreeSet::from([digest])).unwrap();
        }
        let digests = BTreeSet::from([two]);
        assert_eq!(cache.needs().unwrap(), [Need { place, within: "/p".into(), digests, missing: None }]);
    }
}
