//! The memory of a guest that crashed, as debuggers read it, or packed where the setting `runs.crash-format` asks for that: then it is packed when the run is
//! over, and unpacked when somebody looks into it, and stays so.
//!
//! Knows nothing of what is in it.

use super::Engine;
use super::copying::{copy, room};
use crate::boot::crash::{FOLDER, MEMORY, PACKED};
use crate::boot::folder::run_of;
use crate::boot::staging::Staging;
use crate::error::{Error, Result, cannot};
use crate::event::Events;
use crate::event::told::Told;
use crate::host;
use crate::host::signals::noted;
use std::fs::{self, File};
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
    let [plain, packed] = [MEMORY, PACKED].map(|name| place.join(FOLDER).join(name));
    let Some((file, size)) = opened(&plain)? else { return Ok(()) };
    let staging = staging(place)?;
    let new = staging.folder(FOLDER)?.join(PACKED);
    let done = (|| {
        let mut encoder = zstd::Encoder::new(host::private_file().create_new(true).open(&new)?, LEVEL)?;
        encoder.include_checksum(true)?;
        let workers = std::thread::available_parallelism().map_or(1, |number| number.get().min(8));
        encoder.multithread(u32::try_from(workers).unwrap_or(1))?;
        let mut told = Told::new(file, "packing the guest's memory", size, events);
        while noted(came).is_none() && io::copy(&mut told.by_ref().take(PIECE), &mut encoder)? > 0 {}
        if noted(came).is_some() {
            return Err(io::Error::other("a signal came"));
        }
        encoder.finish()?.sync_all()?;
        fs::rename(&new, &packed)?;
        fs::remove_file(&plain)
    })();
    done.map_err(|e| cannot("write", &packed, e))
}

/// The memory in the folder of a machine, as debuggers read it; nothing if there is none.
///
/// # Errors
/// The packed one is damaged, or there is no room for it.
pub fn plain(place: &Path, events: Events) -> Result<Option<PathBuf>> {
    let [plain, packed] = [MEMORY, PACKED].map(|name| place.join(FOLDER).join(name));
    let is_there = || plain.symlink_metadata().is_ok_and(|meta| meta.is_file());
    if is_there() {
        return Ok(Some(plain));
    }
    // Another quiz may have unpacked it meanwhile.
    let Some((file, size)) = opened(&packed)? else { return Ok(is_there().then_some(plain)) };
    let failed = |e: quiz_cache::Error| Error::input(format!("{} cannot be unpacked", packed.display())).because(e);
    let staging = staging(place)?;
    let folder = staging.folder(FOLDER)?;
    let told = Told::new(file, "unpacking the guest's memory", size, events);
    let mut decoder = zstd::Decoder::new(told).map_err(|e| cannot("read", &packed, e))?;
    copy(&mut decoder, Some(&folder.join(MEMORY)), room(&folder).map_err(failed)?).map_err(failed)?;
    fs::rename(folder.join(MEMORY), &plain).map_err(|e| cannot("write", &plain, e))?;
    match fs::remove_file(&packed) {
        Err(e) if e.kind() != io::ErrorKind::NotFound => Err(cannot("remove", &packed, e)),
        _ => Ok(Some(plain)),
    }
}

/// The file, if it is there, and its bytes.
fn opened(path: &Path) -> Result<Option<(File, u64)>> {
    let opened = host::open_plain(path).and_then(|file| Ok((file.metadata()?.len(), file)));
    match opened {
        Ok((size, file)) => Ok(Some((file, size))),
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(e) => Err(cannot("read", path, e)),
    }
}

/// A place beside the runs, from which a file comes to be in a run whole or not at all.
fn staging(place: &Path) -> Result<Staging> {
    Staging::new(run_of(place).ancestors().nth(2).unwrap_or(place))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::boot::crash::memory_of;
    use std::os::unix::fs::{FileExt, MetadataExt, PermissionsExt};

    #[test]
    fn a_memory_that_was_packed_is_there_again_with_its_holes_when_somebody_looks_into_it() {
        let base = tempfile::tempdir().unwrap();
        let place = &base.path().join("runs/1");
        let folder = place.join(FOLDER);
        pack(place, &AtomicUsize::new(0), &|_| {}).unwrap();
        assert_eq!(plain(place, &|_| {}).unwrap(), None);
        fs::create_dir_all(&folder).unwrap();
        let path = folder.join(MEMORY);
        let file = fs::File::create(&path).unwrap();
        file.set_len(64 << 20).unwrap();
        file.write_all_at(&[7; 1 << 20], 3 << 20).unwrap();
        file.write_all_at(b"end", (64 << 20) - 3).unwrap();
        let bytes = fs::read(&path).unwrap();
        assert!(pack(place, &AtomicUsize::new(15), &|_| {}).is_err());
        assert_eq!(fs::read_dir(&folder).unwrap().count(), 1);
        pack(place, &AtomicUsize::new(0), &|_| {}).unwrap();
        let (packed, size) = memory_of(place).unwrap();
        assert!(packed.ends_with("crash/vmcore.zst") && size < 64 << 10, "{size}");
        assert_eq!(fs::metadata(&packed).unwrap().permissions().mode() & 0o777, 0o600);
        assert_eq!(plain(place, &|_| {}).unwrap().as_ref(), Some(&path));
        assert!(fs::read(&path).unwrap() == bytes);
        let meta = fs::metadata(&path).unwrap();
        assert!(meta.blocks() * 512 < 2 << 20 && meta.permissions().mode() & 0o777 == 0o600, "{meta:?}");
        assert_eq!(fs::read_dir(&folder).unwrap().count(), 1);
        // What is damaged is not taken for a memory, and stays for whoever knows better.
        pack(place, &AtomicUsize::new(0), &|_| {}).unwrap();
        let whole = fs::read(&packed).unwrap();
        let mut other = whole.clone();
        other[whole.len() - 2] ^= 1;
        for bytes in [&other[..], &whole[..whole.len() / 2]] {
            fs::write(&packed, bytes).unwrap();
            let error = plain(place, &|_| {}).unwrap_err();
            assert!(error.to_string().ends_with("crash/vmcore.zst cannot be unpacked"), "{error}");
            assert_eq!(fs::read_dir(&folder).unwrap().count(), 1);
        }
        // Two at once: the second one is as fine as the first.
        fs::write(&packed, &whole).unwrap();
        std::thread::scope(|scope| {
            let both = [(); 2].map(|()| scope.spawn(|| plain(place, &|_| {}).unwrap()));
            assert!(both.into_iter().all(|one| one.join().unwrap().as_ref() == Some(&path)));
        });
        assert_eq!(fs::read_dir(&folder).unwrap().count(), 1);
        assert_eq!(fs::read_dir(base.path().join("runs")).unwrap().count(), 2, "the run, and the lock of all");
    }
}
