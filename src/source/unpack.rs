//! Unpacks source archives: .tar, .tar.gz, .tar.bz2, .tar.xz, .tar.zst, in one pass and in this process.
//!
//! Trusts no archive: nothing is written outside of the folder, through a link, or beyond the [`Limits`]. Only files, folders and
//! links come out; owner, time and all permission bits but "executable" are dropped. Knows nothing of where archives come from.

mod ahead;
mod links;
mod names;

use crate::error::{Error, Result};
use links::EntryKind;
use std::cell::Cell;
use std::fs::{self, OpenOptions};
use std::io::{self, BufRead, BufReader, Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::rc::Rc;
use tar::EntryType;

/// Bounds of what an archive may become.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// Sum of the sizes of all files, in bytes.
    pub bytes: u64,
    /// Files, folders and links.
    pub entries: usize,
}

impl Default for Limits {
    /// Five times what Linux 6.12 has.
    fn default() -> Self {
        Self { bytes: 8 << 30, entries: 500_000 }
    }
}

/// Bytes that may lie between the contents of one file and the next: headers with long names. `tar` reads them into memory.
const HEADERS: u64 = 1 << 20;
/// Memory that one xz stream may ask for. `xz -9` needs 65 MiB.
const XZ_MEMORY: u64 = 512 << 20;

/// Unpacks a tar archive, compressed or not, into the new folder `dest`, without the archive's one top folder.
///
/// `name` is what errors call the archive.
///
/// # Errors
/// Everything that is not a file, a folder, or a link inside of the folder; a name that is there twice; more than `limits`.
/// What was unpacked so far is removed.
pub fn unpack(archive: impl Read, name: &str, dest: &Path, limits: Limits) -> Result<()> {
    let failed = |e: Failure| match e {
        Failure::Archive(why) => Error::build(format!("{name}: {why}")),
        Failure::Entry(entry, why) => Error::build(format!("{name}: {entry}: {why}")),
        Failure::Io(entry, e) if entry.is_empty() => {
            Error::build(format!("cannot unpack {name} to {}", dest.display())).because(e)
        }
        Failure::Io(entry, e) => {
            Error::build(format!("cannot unpack {name} to {}: {entry}", dest.display())).because(e)
        }
    };
    fs::create_dir(dest).map_err(|e| failed(Failure::Io(String::new(), e)))?;
    let done = decompressed(archive)
        .map_err(|e| Failure::Io(String::new(), e))
        .and_then(|tar| ahead::read_ahead(tar, |tar| entries(tar, dest, limits)));
    done.map_err(|e| {
        // The error that matters is the one at hand.
        let _ = fs::remove_dir_all(dest);
        failed(e)
    })
}

/// Why an archive was not unpacked.
enum Failure {
    Archive(String),
    Entry(String, String),
    Io(String, io::Error),
}

/// Reads through the compression, which is told by the first bytes.
pub(super) fn decompressed<'a>(archive: impl Read + 'a) -> io::Result<Box<dyn Read + 'a>> {
    let mut archive = BufReader::with_capacity(1 << 18, archive);
    let start = archive.fill_buf()?;
    Ok(if start.starts_with(b"\xfd7zXZ\0") {
        let stream = liblzma::stream::Stream::new_stream_decoder(XZ_MEMORY, liblzma::stream::CONCATENATED)
            .map_err(io::Error::other)?;
        Box::new(liblzma::bufread::XzDecoder::new_stream(archive, stream))
    } else if start.starts_with(b"\x1f\x8b") {
        Box::new(flate2::bufread::MultiGzDecoder::new(archive))
    } else if start.starts_with(b"BZh") {
        Box::new(bzip2::bufread::MultiBzDecoder::new(archive))
    } else if start.starts_with(b"\x28\xb5\x2f\xfd") {
        Box::new(zstd::Decoder::with_buffer(archive)?)
    } else {
        Box::new(archive)
    })
}

/// Passes on only as many bytes as are allowed at the moment.
struct Allowed<R> {
    inner: R,
    left: Rc<Cell<u64>>,
}

impl<R: Read> Read for Allowed<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let left = self.left.get();
        let most = usize::try_from(left).unwrap_or(usize::MAX).min(buffer.len());
        if most == 0 && !buffer.is_empty() {
            return Err(io::Error::new(io::ErrorKind::InvalidData, "the header of an entry is too long"));
        }
        let read = self.inner.read(&mut buffer[..most])?;
        self.left.set(left - read as u64);
        Ok(read)
    }
}

fn entries(tar: impl Read, dest: &Path, limits: Limits) -> std::result::Result<(), Failure> {
    let archive_failed = |e| Failure::Io(String::new(), e);
    let left = Rc::new(Cell::new(HEADERS));
    let mut archive = tar::Archive::new(Allowed { inner: tar, left: Rc::clone(&left) });
    let mut tree = links::Tree::new(limits.entries);
    let mut top = None;
    let mut bytes = 0;
    for entry in archive.entries().map_err(archive_failed)? {
        let mut entry = entry.map_err(archive_failed)?;
        let shown = String::from_utf8_lossy(&entry.path_bytes()).into_owned();
        let refused = |why: String| Failure::Entry(shown.clone(), why);
        let write_failed = |e| Failure::Io(shown.clone(), e);
        let kind = entry.header().entry_type();
        if kind == EntryType::XGlobalHeader {
            io::copy(&mut entry, &mut io::sink()).map_err(write_failed)?;
            left.set(HEADERS);
            continue;
        }
        // A header can say any number of bytes.
        bytes = entry.size().saturating_add(bytes);
        if bytes > limits.bytes {
            return Err(refused(format!("the archive holds more than {} bytes", limits.bytes)));
        }
        let path = names::inside(&entry.path_bytes(), &mut top).map_err(refused)?;
        left.set(entry.size().saturating_add(HEADERS));
        let what = match kind {
            EntryType::Directory => EntryKind::Folder,
            EntryType::Symlink => {
                EntryKind::Symlink(names::target(entry.link_name_bytes().as_deref()).map_err(refused)?)
            }
            EntryType::Regular | EntryType::Continuous | EntryType::GNUSparse | EntryType::Link => EntryKind::File,
            other => {
                return Err(refused(format!("neither file, folder nor link (type {:?})", char::from(other.as_byte()))));
            }
        };
        if path.is_empty() && what != EntryKind::Folder {
            return Err(refused("the archive has no top folder".to_owned()));
        }
        for folder in tree.add(&path, what.clone()).map_err(refused)? {
            fs::create_dir(dest.join(folder)).map_err(write_failed)?;
        }
        let place = dest.join(&path);
        match what {
            EntryKind::Folder => {}
            EntryKind::Symlink(target) => std::os::unix::fs::symlink(target, place).map_err(write_failed)?,
            EntryKind::File if kind == EntryType::Link => {
                let from = names::inside(&entry.link_name_bytes().unwrap_or_default(), &mut top).map_err(refused)?;
                if from == path || !tree.is_file(&from) {
                    return Err(refused(format!(
                        "a hard link to `{from}`, which is not a file of the archive before it"
                    )));
                }
                bytes += fs::copy(dest.join(from), place).map_err(write_failed)?;
            }
            EntryKind::File => {
                let mode = entry.header().mode().map_err(write_failed)?;
                if mode & 0o6000 != 0 {
                    return Err(refused(format!("setuid or setgid (mode {mode:o})")));
                }
                write_file(&mut entry, &place, mode & 0o111 != 0).map_err(write_failed)?;
            }
        }
        left.set(HEADERS);
    }
    tree.check().map_err(|(link, why)| Failure::Entry(link, why))?;
    if top.is_none() { Err(Failure::Archive("there is nothing in this archive".to_owned())) } else { Ok(()) }
}

/// `create_new` never follows a link and never overwrites.
fn write_file(content: &mut impl Read, place: &Path, executable: bool) -> io::Result<()> {
    let mode = if executable { 0o755 } else { 0o644 };
    let mut file = OpenOptions::new().write(true).create_new(true).mode(mode).open(place)?;
    io::copy(content, &mut file)?;
    file.flush()
}

#[cfg(test)]
mod tests;
