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
    let mut into = Unpacked::new(dest, limits, Layout::TopFolder(None))?;
    let done = into.add(archive, name).and_then(|()| {
        into.check().map_err(|(link, why)| Error::build(format!("{name}: {link}: {why}")))?;
        if let Layout::TopFolder(None) = into.layout {
            return Err(Error::build(format!("{name}: there is nothing in this archive")));
        }
        Ok(())
    });
    done.inspect_err(|_| {
        // An error of this would hide the one that matters.
        let _ = fs::remove_dir_all(dest);
    })
}

/// A folder into which archives are unpacked, one over the other.
pub(super) struct Unpacked<'a> {
    dest: &'a Path,
    limits: Limits,
    layout: Layout<'a>,
    tree: links::Tree,
    /// Sum of the sizes of all files so far.
    bytes: u64,
}

/// Where the entries of an archive come to lie.
pub(super) enum Layout<'a> {
    /// Below the archive's one top folder, whose name is known from its first entry on.
    TopFolder(Option<String>),
    /// Where they say.
    AsTheySay,
    /// Where this says, of a path in a root without its first slash; `None` leaves the entry out. Links may lead to absolute paths of
    /// that root, and permissions to run as somebody else are dropped.
    Root(&'a (dyn Fn(&str) -> Option<String> + Sync)),
}

/// Why an archive was not unpacked.
enum Failure {
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

impl<'a> Unpacked<'a> {
    /// Makes the folder.
    pub(super) fn new(dest: &'a Path, limits: Limits, layout: Layout<'a>) -> Result<Self> {
        fs::create_dir(dest).map_err(|e| Error::build(format!("cannot create {}", dest.display())).because(e))?;
        Ok(Self { dest, limits, layout, tree: links::Tree::new(limits.entries), bytes: 0 })
    }

    /// Unpacks one more archive, which errors call `name`.
    pub(super) fn add(&mut self, archive: impl Read, name: &str) -> Result<()> {
        let dest = self.dest.display();
        let done = decompressed(archive)
            .map_err(|e| Failure::Io(String::new(), e))
            .and_then(|tar| ahead::read_ahead(tar, |tar| self.entries(tar)));
        done.map_err(|e| match e {
            Failure::Entry(entry, why) => Error::build(format!("{name}: {entry}: {why}")),
            Failure::Io(entry, e) if entry.is_empty() => {
                Error::build(format!("cannot unpack {name} to {dest}")).because(e)
            }
            Failure::Io(entry, e) => Error::build(format!("cannot unpack {name} to {dest}: {entry}")).because(e),
        })
    }

    /// Sets where the entries of the next archives come to lie.
    pub(super) fn set_layout(&mut self, layout: Layout<'a>) {
        self.layout = layout;
    }

    /// Removes a folder, if it is there.
    pub(super) fn without(&mut self, folder: &str) -> Result<()> {
        self.tree.remove(folder);
        match fs::remove_dir_all(self.dest.join(folder)) {
            Err(e) if e.kind() != io::ErrorKind::NotFound => {
                Err(Error::build(format!("cannot remove {folder} in {}", self.dest.display())).because(e))
            }
            _ => Ok(()),
        }
    }

    /// Adds a link, and the folders above it.
    pub(super) fn link(&mut self, path: &str, target: &str) -> Result<()> {
        self.extra(path, EntryKind::Symlink(target.to_owned()), |place| std::os::unix::fs::symlink(target, place))
    }

    /// The same; nothing where what would lie around it is no folder.
    pub(super) fn link_if_it_can_be(&mut self, path: &str, target: &str) -> Result<bool> {
        if self.tree.has_room(path) { self.link(path, target).map(|()| true) } else { Ok(false) }
    }

    /// Adds a file, and the folders above it.
    pub(super) fn file(&mut self, path: &str, text: &str) -> Result<()> {
        self.extra(path, EntryKind::File, |place| write_file(&mut text.as_bytes(), place, false))
    }

    fn extra(&mut self, path: &str, kind: EntryKind, write: impl FnOnce(&Path) -> io::Result<()>) -> Result<()> {
        let failed = |e: io::Error| Error::build(format!("cannot write {path} in {}", self.dest.display())).because(e);
        for folder in self.tree.add(path, kind).map_err(|why| Error::build(format!("{path}: {why}")))? {
            fs::create_dir(self.dest.join(folder)).map_err(failed)?;
        }
        write(&self.dest.join(path)).map_err(failed)
    }

    /// Whether there is something at a path, whatever it is.
    pub(super) fn has(&self, path: &str) -> bool {
        self.tree.has(path)
    }

    /// Whether all links stay inside; the error has the link.
    pub(super) fn check(&self) -> std::result::Result<(), (String, String)> {
        self.tree.check()
    }

    fn entries(&mut self, tar: impl Read) -> std::result::Result<(), Failure> {
        let archive_failed = |e| Failure::Io(String::new(), e);
        let left = Rc::new(Cell::new(HEADERS));
        let mut archive = tar::Archive::new(Allowed { inner: tar, left: Rc::clone(&left) });
        for entry in archive.entries().map_err(archive_failed)? {
            let mut entry = entry.map_err(archive_failed)?;
            left.set(entry.size().saturating_add(HEADERS));
            self.entry(&mut entry)?;
            left.set(HEADERS);
        }
        Ok(())
    }

    fn entry(&mut self, entry: &mut tar::Entry<'_, impl Read>) -> std::result::Result<(), Failure> {
        let shown = String::from_utf8_lossy(&entry.path_bytes()).into_owned();
        let refused = |why: String| Failure::Entry(shown.clone(), why);
        let write_failed = |e| Failure::Io(shown.clone(), e);
        let kind = entry.header().entry_type();
        let pass_over = |entry| io::copy(entry, &mut io::sink()).map(|_| ()).map_err(write_failed);
        if kind == EntryType::XGlobalHeader {
            return pass_over(entry);
        }
        // A header can say any number of bytes.
        self.bytes = entry.size().saturating_add(self.bytes);
        if self.bytes > self.limits.bytes {
            return Err(refused(format!("the archive holds more than {} bytes", self.limits.bytes)));
        }
        let Some(path) = self.layout.of(&entry.path_bytes()).map_err(refused)? else { return pass_over(entry) };
        let what = match kind {
            EntryType::Directory => EntryKind::Folder,
            EntryType::Symlink => {
                let target = names::target(entry.link_name_bytes().as_deref()).map_err(refused)?;
                EntryKind::Symlink(self.layout.target(&path, target).map_err(refused)?)
            }
            EntryType::Regular | EntryType::Continuous | EntryType::GNUSparse | EntryType::Link => EntryKind::File,
            other => {
                return Err(refused(format!("neither file, folder nor link (type {:?})", char::from(other.as_byte()))));
            }
        };
        if path.is_empty() && what != EntryKind::Folder {
            return Err(refused("the archive has no top folder".to_owned()));
        }
        for folder in self.tree.add(&path, what.clone()).map_err(refused)? {
            fs::create_dir(self.dest.join(folder)).map_err(write_failed)?;
        }
        let place = self.dest.join(&path);
        match what {
            EntryKind::Folder => {}
            EntryKind::Symlink(target) => std::os::unix::fs::symlink(target, place).map_err(write_failed)?,
            EntryKind::File if kind == EntryType::Link => {
                let from = self.layout.of(&entry.link_name_bytes().unwrap_or_default()).map_err(refused)?;
                let from = from.filter(|from| *from != path && self.tree.is_file(from)).ok_or_else(|| {
                    let from = String::from_utf8_lossy(&entry.link_name_bytes().unwrap_or_default()).into_owned();
                    refused(format!("a hard link to `{from}`, which is not an earlier file of the archive"))
                })?;
                self.bytes += fs::copy(self.dest.join(from), place).map_err(write_failed)?;
            }
            EntryKind::File => {
                let mode = entry.header().mode().map_err(write_failed)?;
                if mode & 0o6000 != 0 && !matches!(self.layout, Layout::Root(_)) {
                    return Err(refused(format!("setuid or setgid (mode {mode:o})")));
                }
                write_file(entry, &place, mode & 0o111 != 0).map_err(write_failed)?;
            }
        }
        Ok(())
    }
}

impl Layout<'_> {
    /// Where the entry of that name comes to lie, if anywhere.
    fn of(&mut self, name: &[u8]) -> std::result::Result<Option<String>, String> {
        match self {
            Self::TopFolder(top) => names::inside(name, top).map(Some),
            Self::AsTheySay => names::plain(name).map(Some),
            Self::Root(place) => names::plain(name).map(|path| place(&path)),
        }
    }

    /// What a link at `path` says: in a root an absolute path becomes one from where the link lies.
    fn target(&self, path: &str, target: names::Target) -> std::result::Result<String, String> {
        match (self, target) {
            (_, names::Target::Relative(target)) => Ok(target),
            (Self::TopFolder(_) | Self::AsTheySay, names::Target::Absolute(target)) => {
                Err(format!("a link to the absolute path {target}"))
            }
            (Self::Root(_), names::Target::Absolute(target)) => {
                Ok(format!("{}{}", "../".repeat(path.matches('/').count()), target.trim_start_matches('/')))
            }
        }
    }
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
