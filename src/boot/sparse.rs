//! Copies of files that are mostly holes.
//!
//! Does not know what is in them.

use std::fs::File;
use std::ops::Range;
use std::os::unix::fs::FileExt;
use std::sync::{Mutex, PoisonError};

use rustix::fs::{SeekFrom, seek};
use rustix::io::Errno;

/// Fits into a processor's own cache, where it is read from and written to.
const PIECE: usize = 256 << 10;

/// Copies the parts of a file that have data to an empty one, and leaves holes where it has holes. Someone waits for it: two
/// threads take a third less time than one, or than `sendfile`. More would not help, as a file takes one writer at a time.
pub(super) fn copy_sparse(from: &File, to: &File) -> std::io::Result<()> {
    to.set_len(from.metadata()?.len())?;
    let pieces = parts(from)?.into_iter().flat_map(|part| {
        let end = part.end;
        part.step_by(PIECE).map(move |at| (at, usize::try_from(end - at).unwrap_or(PIECE).min(PIECE)))
    });
    let pieces = Mutex::new(pieces);
    let copy = || {
        let mut buffer = vec![0; PIECE];
        loop {
            let next = pieces.lock().unwrap_or_else(PoisonError::into_inner).next();
            let Some((at, length)) = next else { return Ok(()) };
            from.read_exact_at(&mut buffer[..length], at)?;
            to.write_all_at(&buffer[..length], at)?;
        }
    };
    std::thread::scope(|scope| {
        let other = scope.spawn(copy);
        copy().and(other.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)))
    })
}

/// The parts of a file that have data, in order: ranges of bytes.
pub(super) fn parts(file: &File) -> std::io::Result<Vec<Range<u64>>> {
    let (mut parts, mut end) = (Vec::new(), 0);
    loop {
        let start = match seek(file, SeekFrom::Data(end)) {
            // lseek(2): there are no data behind this offset, only a hole up to the end of the file.
            Err(Errno::NXIO) => return Ok(parts),
            start => start?,
        };
        end = seek(file, SeekFrom::Hole(start))?;
        parts.push(start..end);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::fd::OwnedFd;
    use std::os::unix::fs::MetadataExt;

    #[test]
    fn a_sparse_file_is_copied_with_its_holes() {
        let (from, to) = (tempfile::tempfile().unwrap(), tempfile::tempfile().unwrap());
        from.set_len(64 << 20).unwrap();
        // Many pieces, the last one short.
        let long: Vec<u8> = (0..1_000_001_u32).flat_map(u32::to_le_bytes).collect();
        let parts: [(u64, &[u8]); 4] = [(0, b"one"), (5 << 20, b"two"), (20 << 20, &long), ((64 << 20) - 3, b"end")];
        for (at, bytes) in parts {
            from.write_all_at(bytes, at).unwrap();
        }
        copy_sparse(&from, &to).unwrap();
        assert_eq!(to.metadata().unwrap().len(), 64 << 20);
        assert!(to.metadata().unwrap().blocks() * 512 < 6 << 20);
        for (at, bytes) in parts.into_iter().chain([(9 << 20, &[0; 3][..])]) {
            let mut got = vec![9; bytes.len()];
            to.read_exact_at(&mut got, at).unwrap();
            assert!(got == bytes, "at {at}");
        }
    }

    #[test]
    fn a_copy_that_fails_says_so() {
        let (from, to) = (tempfile::NamedTempFile::new().unwrap(), tempfile::tempfile().unwrap());
        from.as_file().write_all_at(&[1; 3 * PIECE], 0).unwrap();
        let unreadable = File::options().write(true).open(from.path()).unwrap();
        assert!(copy_sparse(&unreadable, &to).is_err());
        // A pipe: of such a file cannot be told where it has data.
        let (pipe, _end) = std::io::pipe().unwrap();
        assert!(copy_sparse(&File::from(OwnedFd::from(pipe)), &to).is_err());
    }
}
