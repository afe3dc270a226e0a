//! The memory of a guest that crashed, as debuggers read it, or packed where the setting `runs.crash-format` asks for that: then it is packed when the run is
//! over, and unpacked when somebody looks into it, and stays so.
//!
//! Knows nothing of what is in it.

use super::Engine;
use super::copying::{copy, room};
use crate::boot::crash::{FOLDER, MEMORY, PACKED};
use crate::error::{Error, Result, cannot};
use crate::event::Events;
use crate::event::told::Told;
use crate::host;
use crate::host::signals::noted;
use std::fs;
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicUsize;

const SETTING: &str = "runs.crash-format";
/// Packs at half a gigabyte a second on one core, to a third; the next ones take twice as long for some percent.
const LEVEL: i32 = 1;
/// Bytes between two looks whether a signal came.
const PIECE: u64 = 64 << 20;

/// Whether memories are packed.
///
/// # Errors
/// The setting is neither `elf` nor `zstd`.
pub fn is_packed(engine: &Engine<'_>) -> Result<bool> {
    let settings = &engine.project.settings;
    match settings.text(SETTING) {
        "" | "elf" => Ok(false),
        "zstd" => Ok(true),
        other => Err(settings
            .wrong(SETTING, other, format!("{SETTING} = {other:?}: it can be `elf` or `zstd`"))
            .hint("`elf` is read by debuggers as it is, `zstd` takes less room until somebody looks into it")),
    }
}

/// Packs the memory in the folder of a machine, if there is one that is not.
///
/// # Errors
/// It cannot be read, the packed one cannot be written, or a signal `came`; then it stays as it is.
pub(super) fn pack(place: &Path, came: &AtomicUsize, events: Events) -> Result<()> {
    let (folder, plain) = (place.join(FOLDER), place.join(FOLDER).join(MEMORY));
    let file = match host::open_plain(&plain) {
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(()),
        file => file.map_err(|e| cannot("read", &plain, e))?,
    };
    let size = file.metadata().map_err(|e| cannot("read", &plain, e))?.len();
    let packed = folder.join(PACKED);
    let done = (|| {
        let mut to = tempfile::NamedTempFile::new_in(&folder)?;
        let mut encoder = zstd::Encoder::new(to.as_file_mut(), LEVEL)?;
        encoder.include_checksum(true)?;
        let workers = std::thread::available_parallelism().map_or(1, |number| number.get().min(8));
        encoder.multithread(u32::try_from(workers).unwrap_or(1))?;
        let mut told = Told::new(file, "packing the guest's memory", size, events);
        while noted(came).is_none() && io::copy(&mut told.by_ref().take(PIECE), &mut encoder)? > 0 {}
        if noted(came).is_some() {
            return Err(io::Error::other("a signal came"));
        }
        encoder.finish()?.sync_all()?;
        to.persist(&packed).map_err(|e| e.error)?;
        fs::remove_file(&plain)
    })();
    done.map_err(|e| cannot("write", &packed, e))
}

/// The memory in the folder of a machine, as debuggers read it; nothing if there is none.
///
/// # Errors
/// The packed one is damaged, or there is no room for it.
pub fn plain(place: &Path, events: Events) -> Result<Option<PathBuf>> {
    let (folder, plain, packed) =
        (place.join(FOLDER), place.join(FOLDER).join(MEMORY), place.join(FOLDER).join(PACKED));
    if plain.symlink_metadata().is_ok_and(|meta| meta.is_file()) {
        return Ok(Some(plain));
    }
    let file = match host::open_plain(&packed) {
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(None),
        file => file.map_err(|e| cannot("read", &packed, e))?,
    };
    let failed = |e: quiz_cache::Error| Error::input(format!("{} cannot be unpacked", packed.display())).because(e);
    let new =
        tempfile::Builder::new().prefix(".vmcore.").tempdir_in(&folder).map_err(|e| cannot("write", &plain, e))?;
    let size = file.metadata().map_err(|e| cannot("read", &packed, e))?.len();
    let told = Told::new(file, "unpacking the guest's memory", size, events);
    let mut decoder = zstd::Decoder::new(told).map_err(|e| cannot("read", &packed, e))?;
    copy(&mut decoder, Some(&new.path().join(MEMORY)), room(&folder).map_err(failed)?).map_err(failed)?;
    fs::rename(new.path().join(MEMORY), &plain).map_err(|e| cannot("write", &plain, e))?;
    fs::remove_file(&packed).map_err(|e| cannot("remove", &packed, e))?;
    Ok(Some(plain))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::boot::crash::memory_of;
    use std::os::unix::fs::{FileExt, MetadataExt, PermissionsExt};

    #[test]
    fn a_memory_that_was_packed_is_there_again_with_its_holes_when_somebody_looks_into_it() {
        let place = tempfile::tempdir().unwrap();
        let folder = place.path().join(FOLDER);
        pack(place.path(), &AtomicUsize::new(0), &|_| {}).unwrap();
        assert_eq!(plain(place.path(), &|_| {}).unwrap(), None);
        fs::create_dir(&folder).unwrap();
        let path = folder.join(MEMORY);
        let file = fs::File::create(&path).unwrap();
        file.set_len(64 << 20).unwrap();
        file.write_all_at(&[7; 1 << 20], 3 << 20).unwrap();
        file.write_all_at(b"end", (64 << 20) - 3).unwrap();
        let bytes = fs::read(&path).unwrap();
        assert!(pack(place.path(), &AtomicUsize::new(15), &|_| {}).is_err());
        assert_eq!(fs::read_dir(&folder).unwrap().count(), 1);
        pack(place.path(), &AtomicUsize::new(0), &|_| {}).unwrap();
        let (packed, size) = memory_of(place.path()).unwrap();
        assert!(packed.ends_with("crash/vmcore.zst") && size < 64 << 10, "{size}");
        assert_eq!(fs::metadata(&packed).unwrap().permissions().mode() & 0o777, 0o600);
        assert_eq!(plain(place.path(), &|_| {}).unwrap().as_ref(), Some(&path));
        assert!(fs::read(&path).unwrap() == bytes);
        let meta = fs::metadata(&path).unwrap();
        assert!(meta.blocks() * 512 < 2 << 20 && meta.permissions().mode() & 0o777 == 0o600, "{meta:?}");
        assert_eq!(fs::read_dir(&folder).unwrap().count(), 1);
        // What is damaged is not taken for a memory, and stays for whoever knows better.
        pack(place.path(), &AtomicUsize::new(0), &|_| {}).unwrap();
        let mut bytes = fs::read(&packed).unwrap();
        let at = bytes.len() - 2;
        bytes[at] ^= 1;
        fs::write(&packed, &bytes).unwrap();
        let error = plain(place.path(), &|_| {}).unwrap_err();
        assert!(error.to_string().ends_with("crash/vmcore.zst cannot be unpacked"), "{error}");
        assert_eq!(fs::read_dir(&folder).unwrap().count(), 1);
    }
}
