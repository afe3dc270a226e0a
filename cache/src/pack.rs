//! Packs: results as one file that another cache takes in.
//!
//! A pack is a tar in zstd: the file `quiz-pack` with the line "1"; then for each result `N/record`, a record as it lies in a cache, and where its
//! outputs come along `N/out/NAME`, a file or folder each, with the modes of the cache. The same results give the same bytes.
//!
//! What comes in is believed as far as its content goes: an output that has another digest than its record says is an error. That its key leads to it
//! is the word of who made the pack. No name in it has control characters: what is made of names elsewhere, such as the commands of a debugger, may
//! be read by lines. A stage may make such names; its result stays on this machine.
//!
//! In front of `quiz-pack` there may be plain files of somebody else's, who tells what they are, and which results may come behind them ([`Guard`]).

mod workers;

use crate::access::Access;
use crate::codec::{self, What};
use crate::error::{Result, at};
use crate::files::is_executable;
use crate::slot::check_name;
use crate::workspace::WorkFolder;
use crate::{Cache, Entry, Error, Kind, Node, Record};
use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::path::{Component, Path, PathBuf};
use tar::{Builder, EntryType, Header};

const HEAD: &str = "quiz-pack";
const FORMAT: &[u8] = b"1\n";

/// What of a result goes into a pack.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Packed {
    /// Its outputs, too.
    Whole,
    /// Its record alone: what keys of others are made of.
    Record,
}

/// What came out of a pack.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Unpacked {
    /// The stages whose outputs were taken in, in the order of the pack.
    pub taken: Vec<String>,
    /// Results that the cache had.
    pub known: usize,
}

/// A plain file in front of the results.
pub struct Front<'a> {
    /// Its path in the pack.
    pub name: String,
    /// Bytes.
    pub size: u64,
    /// So many of them.
    pub content: &'a mut dyn Read,
}

/// Whoever looks at what a pack has before it is taken in. What it refuses ends the import.
pub trait Guard {
    /// A plain file in front of the results, of `size` bytes as it says; it may be cut off.
    ///
    /// # Errors
    /// It has no place there.
    fn front(&mut self, name: &str, size: u64, content: &mut dyn Read) -> Result<()>;

    /// A result, before anything of it is taken in.
    ///
    /// # Errors
    /// It has no place there.
    fn result(&mut self, record: &Record) -> Result<()>;
}

/// Results alone, whichever they are.
struct Any;

impl Guard for Any {
    fn front(&mut self, name: &str, _: u64, _: &mut dyn Read) -> Result<()> {
        Err(Error::new(match name {
            "quiz-crash" => "this is a crash: `quiz crash import` takes it in",
            _ => "this is no pack of results, or one of another version of quiz",
        }))
    }

    fn result(&mut self, _: &Record) -> Result<()> {
        Ok(())
    }
}

/// Tells how much goes through.
struct Counted<'a, W> {
    inner: W,
    tell: &'a mut dyn FnMut(usize),
}

impl<W: Write> Write for Counted<'_, W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let written = self.inner.write(bytes)?;
        (self.tell)(written);
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.inner.flush()
    }
}

impl Cache {
    /// Writes results, whose outputs have to be present where they go along. `tell` hears of each piece how many bytes it has before it is
    /// compressed.
    ///
    /// # Errors
    /// A result that was built incrementally; an output that is gone or damaged; what cannot be read or written.
    pub fn export(&self, results: &[(Record, Packed)], to: impl Write, tell: &mut dyn FnMut(usize)) -> Result<()> {
        self.export_behind(&mut [], results, to, tell)
    }

    /// The same, behind these files.
    ///
    /// # Errors
    /// As of [`Cache::export`]; a file has not as many bytes as it says.
    pub fn export_behind(
        &self,
        front: &mut [Front<'_>],
        results: &[(Record, Packed)],
        to: impl Write,
        tell: &mut dyn FnMut(usize),
    ) -> Result<()> {
        let failed = |e: io::Error| Error::refused("cannot write the pack", Some(e));
        let encoder = workers::encoder(to, workers::here()).map_err(failed)?;
        let mut tar = Builder::new(Counted { inner: encoder, tell });
        for file in front {
            let mut content = (&mut file.content).take(file.size);
            put(&mut tar, &file.name, &mut content, file.size, 0o600).map_err(failed)?;
            if content.limit() > 0 {
                return Err(Error::new(format!("{} became shorter while it was packed", file.name)));
            }
        }
        put(&mut tar, HEAD, FORMAT, FORMAT.len() as u64, 0o444).map_err(failed)?;
        for (number, (record, packed)) in results.iter().enumerate() {
            if !record.may_leave() {
                return Err(Error::new(format!("{} was built incrementally, and stays on this machine", record.stage)));
            }
            let bytes = codec::encode(What::Record, record).map_err(Error::new)?;
            put(&mut tar, &format!("{number}/record"), &bytes[..], bytes.len() as u64, 0o444).map_err(failed)?;
            if *packed == Packed::Whole {
                self.export_outputs(&mut tar, number, record)?;
            }
        }
        tar.into_inner().and_then(|counted| counted.inner.finish()).and_then(|mut to| to.flush()).map_err(failed)
    }

    fn export_outputs(&self, tar: &mut Builder<impl Write>, number: usize, record: &Record) -> Result<()> {
        for (name, output) in &record.outputs {
            if !self.is_present(output)? {
                return Err(Error::new(format!("{}/{name} is gone or damaged", record.stage)));
            }
            let (path, place) = (self.path(output), format!("{number}/out/{name}"));
            if output.kind == Kind::File {
                put_file(tar, &place, &path)?;
                continue;
            }
            put_other(tar, &place, EntryType::Directory, None).map_err(at("pack", &path))?;
            for (inside, node) in self.tree(output)?.items() {
                if let Some(odd) = odd_name(inside).or_else(|| odd_target(node)) {
                    let stage = &record.stage;
                    return Err(Error::new(format!("{stage}/{name} has {odd}: it stays on this machine")));
                }
                let (path, place) = (path.join(inside), format!("{place}/{inside}"));
                match node {
                    Node::File { .. } => put_file(tar, &place, &path)?,
                    Node::Folder => put_other(tar, &place, EntryType::Directory, None).map_err(at("pack", &path))?,
                    Node::Symlink { target } => {
                        put_other(tar, &place, EntryType::Symlink, Some(target)).map_err(at("pack", &path))?;
                    }
                }
            }
        }
        Ok(())
    }

    /// Takes in what a pack has and this cache has not. `waiting` as of [`Cache::slot`].
    ///
    /// # Errors
    /// It is no pack, or cut off; an output is not what its record says; what cannot be written. Results before that one are taken in.
    pub fn import(&self, from: impl Read, waiting: &dyn Fn(u32)) -> Result<Unpacked> {
        self.import_behind(from, &mut Any, waiting)
    }

    /// The same, as `guard` lets it in.
    ///
    /// # Errors
    /// As of [`Cache::import`], and what the guard refuses.
    pub fn import_behind(&self, from: impl Read, guard: &mut dyn Guard, waiting: &dyn Fn(u32)) -> Result<Unpacked> {
        let broken = |e: io::Error| Error::new(format!("this is no pack of results, or it is cut off: {e}"));
        let mut archive = tar::Archive::new(zstd::Decoder::new(from).map_err(broken)?);
        let mut entries = archive.entries().map_err(broken)?;
        loop {
            let mut entry =
                entries.next().ok_or_else(|| broken(io::ErrorKind::UnexpectedEof.into()))?.map_err(broken)?;
            let name = String::from_utf8_lossy(&entry.path_bytes()).into_owned();
            if entry.header().entry_type() != EntryType::Regular {
                return Err(Error::new(format!("`{}` does not belong in a pack", name.escape_debug())));
            }
            if name != HEAD {
                guard.front(&name, entry.size(), &mut entry)?;
                continue;
            }
            let mut format = Vec::new();
            (&mut entry).take(16).read_to_end(&mut format).map_err(broken)?;
            if format != FORMAT {
                return Err(Error::new("this is no pack of results, or one of another version of quiz"));
            }
            break;
        }
        let mut unpacked = Unpacked::default();
        let mut current: Option<Current> = None;
        for entry in entries {
            let mut entry = entry.map_err(broken)?;
            let path = entry.path().map_err(broken)?.into_owned();
            match place(&path)? {
                Place::Record => {
                    self.take_in(current.take(), &mut unpacked, waiting)?;
                    let mut bytes = Vec::new();
                    (&mut entry).take(codec::LONGEST).read_to_end(&mut bytes).map_err(broken)?;
                    let record = codec::decode(What::Record, &bytes);
                    let record: Record = record.ok_or_else(|| Error::new(format!("{} is damaged", path.display())))?;
                    if let Some(odd) = odd_name(&record.stage) {
                        return Err(Error::new(format!("the pack is refused, as it has a stage with {odd}")));
                    }
                    guard.result(&record)?;
                    let left = record.size();
                    current = Some(Current { record, folder: self.workspace()?.folder()?, whole: false, left });
                }
                Place::Out(inside) => {
                    let current =
                        current.as_mut().ok_or_else(|| Error::new("the pack has outputs before their record"))?;
                    current.whole = true;
                    // Checked before the entry fills the disk.
                    current.left = current.left.checked_sub(entry.size()).ok_or_else(|| {
                        let stage = &current.record.stage;
                        Error::new(format!("{stage} is larger than its record says, at `{}`", path.display()))
                    })?;
                    unpack(&mut entry, current.folder.path(), &inside)?;
                }
            }
        }
        // Read to its end, so that a pack that is cut off behind the last file is noticed, too.
        io::copy(&mut archive.into_inner(), &mut io::sink()).map_err(broken)?;
        self.take_in(current, &mut unpacked, waiting)?;
        Ok(unpacked)
    }

    fn take_in(&self, result: Option<Current>, unpacked: &mut Unpacked, waiting: &dyn Fn(u32)) -> Result<()> {
        let Some(Current { record, folder, whole, .. }) = result else { return Ok(()) };
        let entry = if whole { self.remake(&record.key, waiting)? } else { self.slot(&record.key, waiting)? };
        match entry {
            Entry::Hit(_) => unpacked.known += 1,
            Entry::Miss(slot) if whole => {
                for name in record.outputs.keys() {
                    check_name(name)?;
                    let (from, to) = (folder.path().join(name), slot.out().join(name));
                    fs::rename(&from, &to)
                        .map_err(|e| Error::new(format!("the pack has no {}/{name}: {e}", record.stage)))?;
                }
                unpacked.taken.push(record.stage.clone());
                slot.commit_as(record)?;
            }
            Entry::Miss(slot) => slot.note(&record)?,
        }
        Ok(())
    }
}

/// A result of which the outputs come.
struct Current {
    record: Record,
    folder: WorkFolder,
    whole: bool,
    /// Bytes that may still come.
    left: u64,
}

enum Place {
    Record,
    /// Below the folder of outputs.
    Out(PathBuf),
}

/// What an entry of this name is.
fn place(path: &Path) -> Result<Place> {
    let odd = || Error::new(format!("`{}` does not belong in a pack", path.to_string_lossy().escape_debug()));
    if let Some(name) = odd_name(&path.to_string_lossy()) {
        return Err(Error::new(format!("the pack is refused, as it has {name}")));
    }
    let parts: Vec<&str> = path
        .components()
        .map(|part| match part {
            Component::Normal(name) => name.to_str().ok_or_else(odd),
            _ => Err(odd()),
        })
        .collect::<Result<_>>()?;
    match &parts[..] {
        [number, "record"] if number.parse::<usize>().is_ok() => Ok(Place::Record),
        [number, "out", inside @ ..] if !inside.is_empty() && number.parse::<usize>().is_ok() => {
            Ok(Place::Out(inside.iter().collect()))
        }
        _ => Err(odd()),
    }
}

/// A name with control characters, in words: with a line feed it would become two lines to whoever reads lines.
fn odd_name(name: &str) -> Option<String> {
    name.contains(char::is_control).then(|| format!("`{}`, a name with control characters", name.escape_debug()))
}

fn odd_target(node: &Node) -> Option<String> {
    match node {
        Node::Symlink { target } => odd_name(target),
        Node::File { .. } | Node::Folder => None,
    }
}

/// Makes the entry at `inside` of the folder. Links are made as they are written; nothing goes through them.
fn unpack(entry: &mut tar::Entry<'_, impl Read>, folder: &Path, inside: &Path) -> Result<()> {
    let path = folder.join(inside);
    let mut above = folder.to_owned();
    for part in inside.parent().into_iter().flat_map(Path::components) {
        above.push(part);
        if !above.symlink_metadata().is_ok_and(|meta| meta.is_dir()) {
            return Err(Error::new(format!("the pack has `{}` below something that is no folder", inside.display())));
        }
    }
    match entry.header().entry_type() {
        EntryType::Directory => fs::create_dir(&path).map_err(at("create", &path)),
        EntryType::Regular => {
            let mut options = File::options();
            let executable = entry.header().mode().is_ok_and(|mode| mode & 0o100 != 0);
            std::os::unix::fs::OpenOptionsExt::mode(&mut options, if executable { 0o755 } else { 0o644 });
            let mut file = options.write(true).create_new(true).open(&path).map_err(at("create", &path))?;
            copy(entry, &mut file, &path)
        }
        EntryType::Symlink => {
            let target = entry.link_name_bytes().map(|bytes| String::from_utf8(bytes.into_owned()));
            let Some(Ok(target)) = target else { return Err(Error::new("the pack has a link without a target")) };
            if let Some(odd) = odd_name(&target) {
                return Err(Error::new(format!("the pack is refused, as it has a link to {odd}")));
            }
            std::os::unix::fs::symlink(target, &path).map_err(at("create", &path))
        }
        other => Err(Error::new(format!("`{}` ({other:?}) does not belong in a pack", inside.display()))),
    }
}

/// Errors in reading are the pack's fault, errors in writing are not.
fn copy(from: &mut impl Read, to: &mut File, path: &Path) -> Result<()> {
    let mut buffer = vec![0; 64 << 10];
    loop {
        match from.read(&mut buffer) {
            Ok(0) => return Ok(()),
            Ok(n) => to.write_all(&buffer[..n]).map_err(at("write", path))?,
            Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
            Err(e) => return Err(Error::new(format!("the pack is damaged or cut off: {e}"))),
        }
    }
}

fn put(tar: &mut Builder<impl Write>, place: &str, content: impl Read, size: u64, mode: u32) -> io::Result<()> {
    let mut header = Header::new_gnu();
    header.set_size(size);
    header.set_mode(mode);
    tar.append_data(&mut header, place, content)
}

fn put_file(tar: &mut Builder<impl Write>, place: &str, path: &Path) -> Result<()> {
    let file = File::open(path).map_err(at("read", path))?;
    let meta = file.metadata().map_err(at("read", path))?;
    // With the mode that it has in one user's cache, also when it comes out of a group's.
    let mode = Access::Own.sealed_mode(is_executable(&meta));
    put(tar, place, file, meta.len(), mode).map_err(at("pack", path))
}

fn put_other(tar: &mut Builder<impl Write>, place: &str, kind: EntryType, target: Option<&str>) -> io::Result<()> {
    let mut header = Header::new_gnu();
    header.set_entry_type(kind);
    header.set_size(0);
    header.set_mode(0o755);
    match target {
        // As it is written: what `append_link` takes for a path it makes shorter, `a//b` to `a/b`.
        Some(target) => match header.set_link_name_literal(target) {
            Ok(()) => tar.append_data(&mut header, place, io::empty()),
            Err(_) => tar.append_link(&mut header, place, target),
        },
        None => tar.append_data(&mut header, place, io::empty()),
    }
}
