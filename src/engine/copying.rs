//! How a file of a crash comes to lie on the disk: with holes where nothing is, and never so much of it that the disk is full. A small file may unpack to
//! as much as there is.
//!
//! Does not know what the file is.

use crate::host;
use quiz_cache::Digest;
use std::fs::File;
use std::io::{self, Read};
use std::os::unix::fs::FileExt;
use std::path::Path;

type Refused = quiz_cache::Error;

/// Bytes that are written at once, or left as a hole.
const PIECE: usize = 64 << 10;
/// One part in so many of the free space stays free.
const KEPT: u64 = 20;

/// Bytes that may be written to the disk of that folder.
///
/// # Errors
/// The system does not say.
pub(super) fn room(folder: &Path) -> std::result::Result<u64, Refused> {
    let asked = rustix::fs::statvfs(folder);
    let disk = asked.map_err(|e| Refused::refused(format!("cannot look at {}", folder.display()), Some(e.into())))?;
    let free = disk.f_bavail.saturating_mul(disk.f_frsize);
    Ok(free - free / KEPT)
}

/// The refusal of what does not fit on the disk.
pub(super) fn full(folder: &Path, wanted: u64, room: u64) -> Refused {
    let (wanted, room) = (wanted.div_ceil(1 << 20), room >> 20);
    let message = format!("it takes {wanted} MiB in {}, where there is room for {room} MiB", folder.display());
    Refused::refused(message, Some(io::ErrorKind::StorageFull.into()))
}

fn cut(error: &io::Error) -> Refused {
    Refused::refused(format!("it is cut off: {error}"), None)
}

/// Copies to the file `to`, with holes where nothing is, or without one only reads; gives the digest and how many bytes came. It takes `room` bytes
/// of the disk at most.
pub(super) fn copy(
    content: &mut dyn Read,
    to: Option<&Path>,
    room: u64,
) -> std::result::Result<(Digest, u64), Refused> {
    let failed = |path: &Path, e| Refused::refused(format!("cannot write {}", path.display()), Some(e));
    let Some(path) = to else {
        return Digest::of_reader(content, false).map_err(|e| cut(&e));
    };
    let file = host::private_file().create_new(true).open(path).map_err(|e| failed(path, e))?;
    let mut copying = Copying { content, file, at: 0, left: room, broken: None };
    let looked = Digest::of_reader(&mut copying, false);
    if let Some(e) = copying.broken {
        return Err(failed(path, e));
    }
    let (digest, size) = looked.map_err(|e| cut(&e))?;
    copying.file.set_len(size).and_then(|()| copying.file.sync_all()).map_err(|e| failed(path, e))?;
    Ok((digest, size))
}

/// A reader that writes all that is read of it to a file, but for pages of zeros.
struct Copying<'a> {
    content: &'a mut dyn Read,
    file: File,
    at: u64,
    /// Bytes that it may still take.
    left: u64,
    /// Why the file could not be written.
    broken: Option<io::Error>,
}

impl Read for Copying<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        // In whole pieces, so that pages of zeros are seen.
        let most = buffer.len().min(PIECE);
        let mut filled = 0;
        while filled < most {
            match self.content.read(&mut buffer[filled..most]) {
                Ok(0) => break,
                Ok(more) => filled += more,
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                Err(e) => return Err(e),
            }
        }
        for page in buffer[..filled].chunks(4096) {
            if page.iter().any(|byte| *byte != 0) {
                let left = self.left.checked_sub(page.len() as u64).ok_or_else(|| io::ErrorKind::StorageFull.into());
                let written = left.and_then(|left| self.file.write_all_at(page, self.at).map(|()| left));
                match written {
                    Ok(left) => self.left = left,
                    Err(e) => {
                        self.broken = Some(e);
                        return Err(io::Error::other("it cannot be written"));
                    }
                }
            }
            self.at += page.len() as u64;
        }
        Ok(filled)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_more_is_written_than_there_is_room_for_and_holes_take_none() {
        let folder = tempfile::tempdir().unwrap();
        let content = [vec![1; 4096], vec![0; 1 << 20], vec![2; 4096]].concat();
        let copied = |name: &str, room| copy(&mut &content[..], Some(&folder.path().join(name)), room);
        assert_eq!(copied("a", 8192).unwrap().1, content.len() as u64);
        assert_eq!(std::fs::read(folder.path().join("a")).unwrap(), content);
        let error = copied("b", 8191).unwrap_err();
        assert_eq!(error.io_kind(), Some(io::ErrorKind::StorageFull));
        assert_eq!(std::fs::metadata(folder.path().join("b")).unwrap().len(), 4096);
    }

    #[test]
    fn a_part_of_the_disk_stays_free() {
        let folder = tempfile::tempdir().unwrap();
        let disk = rustix::fs::statvfs(folder.path()).unwrap();
        let room = room(folder.path()).unwrap();
        assert!(room > 0 && room < disk.f_blocks * disk.f_frsize, "{room}");
    }
}
