//! Copies of files that are mostly holes.
//!
//! Does not know what is in them.

use std::fs::File;

use rustix::fs::{SeekFrom, seek, sendfile};

/// Copies the parts of a file that have data, and leaves holes where it has holes.
pub(super) fn copy_sparse(from: &File, to: &File) -> std::io::Result<()> {
    let size = from.metadata()?.len();
    to.set_len(size)?;
    let mut end = 0;
    while let Ok(start) = seek(from, SeekFrom::Data(end)) {
        end = seek(from, SeekFrom::Hole(start))?;
        seek(to, SeekFrom::Start(start))?;
        let mut at = start;
        while at < end {
            let left = usize::try_from(end - at).unwrap_or(usize::MAX);
            if sendfile(to, from, Some(&mut at), left)? == 0 {
                return Err(std::io::ErrorKind::UnexpectedEof.into());
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::{FileExt, MetadataExt};

    #[test]
    fn a_sparse_file_is_copied_with_its_holes() {
        let (from, to) = (tempfile::tempfile().unwrap(), tempfile::tempfile().unwrap());
        from.set_len(64 << 20).unwrap();
        for (at, byte) in [(0, 1), (5 << 20, 2), ((64 << 20) - 3, 3)] {
            from.write_all_at(&[byte; 3], at).unwrap();
        }
        copy_sparse(&from, &to).unwrap();
        assert_eq!(to.metadata().unwrap().len(), 64 << 20);
        assert!(to.metadata().unwrap().blocks() * 512 < 1 << 20);
        for (at, byte) in [(0, 1), (5 << 20, 2), ((64 << 20) - 3, 3), (9 << 20, 0)] {
            let mut got = [9; 3];
            to.read_exact_at(&mut got, at).unwrap();
            assert_eq!(got, [byte; 3], "at {at}");
        }
    }
}
