//! Packages that were downloaded, and that no root was made of for a while. Any of them can be downloaded again while an archive has it.

use super::PARTIAL;
use std::fs::{self, File};
use std::io;
use std::path::Path;
use std::time::{Duration, SystemTime};

/// What was removed, or would be.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Unused {
    /// Packages.
    pub number: usize,
    /// Their bytes.
    pub bytes: u64,
}

/// However short a time is asked for: a fetch that has found its packages reads them for as long as it unpacks.
const AT_LEAST: Duration = Duration::from_secs(24 * 60 * 60);

/// Removes the packages in the folder of downloads `cache` that no fetch has asked for in that time, at least a day; with `dry_run` only says which.
/// Nothing is removed while packages are downloaded.
///
/// # Errors
/// The folder cannot be read.
pub fn remove_unused(cache: &Path, unused: Duration, dry_run: bool) -> io::Result<Unused> {
    let folder = cache.join("archive/packages");
    let mut found = Unused::default();
    let entries = match fs::read_dir(&folder) {
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(found),
        other => other?,
    };
    let alone = File::create(folder.join("lock"))?;
    if alone.try_lock().is_err() {
        return Ok(found);
    }
    let Some(since) = SystemTime::now().checked_sub(unused.max(AT_LEAST)) else { return Ok(found) };
    for entry in entries {
        let entry = entry?;
        let is_package = entry.path().extension().is_some_and(|end| end == "deb");
        // Some go by themselves, when what was in them lies elsewhere.
        let Ok(meta) = entry.metadata() else { continue };
        if !is_package || meta.modified()? > since || !dry_run && fs::remove_file(entry.path()).is_err() {
            continue;
        }
        found.number += 1;
        found.bytes = found.bytes.saturating_add(meta.len());
    }
    if !dry_run && fs::metadata(folder.join(PARTIAL)).and_then(|meta| meta.modified()).is_ok_and(|at| at <= since) {
        // What nobody went on with. It does no harm where it cannot be removed.
        let _ = fs::remove_dir_all(folder.join(PARTIAL));
    }
    Ok(found)
}
