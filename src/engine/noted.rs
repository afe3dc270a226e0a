//! With which debug information a crash was looked at: a file beside its memory. It stays right when the sources are edited, since the crash itself does
//! not change, and the cache keeps what is named here as long as the crash is there.
//!
//! The file may be of a project's making: it is asked only where the project itself cannot say, and names trees of the cache alone.

use crate::boot::crash::{FOLDER, put};
use crate::error::Result;
use crate::host;
use quiz_cache::Digest;
use serde::{Deserialize, Serialize};
use std::io::Read;
use std::path::Path;

/// The file, in the folder of a crash.
const FILE: &str = "symbols.json";
/// The most bytes that are read of it: paths and digests of some folders.
const MOST: u64 = 1 << 20;

/// What the file says.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Noted {
    /// The digests of trees of debug information, that of the kernel first.
    pub(super) trees: Vec<String>,
    /// Folders as the debug information names them, and where they lay.
    pub(super) sources: Vec<(String, String)>,
}

impl Noted {
    /// Of the crash in the folder of a machine; nothing if it was not looked at.
    pub(super) fn read(place: &Path) -> Option<Self> {
        let mut text = String::new();
        host::open_plain(&place.join(FOLDER).join(FILE)).ok()?.take(MOST).read_to_string(&mut text).ok()?;
        serde_json::from_str(&text).ok()
    }

    /// Writes it, if it is not there already.
    ///
    /// # Errors
    /// The file cannot be written.
    pub(super) fn write(&self, place: &Path) -> Result<()> {
        if Self::read(place).as_ref() == Some(self) {
            return Ok(());
        }
        put(&place.join(FOLDER), FILE, serde_json::json!(self).to_string().as_bytes())
    }

    /// The trees of the cache that are named.
    pub(super) fn digests(&self) -> impl Iterator<Item = Digest> {
        self.trees.iter().filter_map(|hex| hex.parse().ok())
    }
}
