//! What is left of a guest that crashed, in the folder `crash` of its run: the memory, and what is known of how it came to that.
//!
//! | file | what |
//! |---|---|
//! | `vmcore` | the guest's memory and the registers of its processors: an ELF core, for drgn and crash |
//! | `vmcore.zst` | the same, packed, where `runs.crash-format` asks for that |
//! | `crash.json` | [`Crash`] |
//! | `zfs_dbgmsg` | what OpenZFS noted; who looks at a crash reads it out of the memory |
//! | `tasks.json` | what processors and waiting tasks did; `quiz crash show --tasks` reads it out of the memory |
//! | `symbols.json` | the debug information that it was looked at with |
//!
//! Decides nothing: `phase` says when. Knows nothing of stages.

mod elf;
mod guest;
mod memory;
mod registers;
mod stub;
mod trace;

use std::fs::{self, DirBuilder, File};
use std::io::{self, Read, Write};
use std::ops::Range;
use std::os::unix::fs::{DirBuilderExt, FileExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{SystemTime, UNIX_EPOCH};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::error::{Error, Result, cannot};
use crate::host;
use crate::machine::Machine;
use memory::{Copied, Piece};
use registers::Registers;

use super::folder::NEW;
pub use super::folder::{ABOUT, CRASH as FOLDER, Cause, MEMORY, MOST, PACKED};
pub use super::staging::BROUGHT;
pub use guest::{Guest, Host};
pub use memory::being_written;
pub use stub::{Core, cut_short};
pub use trace::{Frame, frames};
/// A file of this name in a machine's folder, and then the signal SIGURG to its quiz, are the wish to see its memory. The signal is one that by
/// itself does nothing.
pub const WISH: &str = "dump";
/// A file there: why there is no dump, for whoever had that wish.
pub const REFUSED: &str = "dump.refused";

/// What is known of a crash.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Crash {
    /// Why the memory was taken.
    pub cause: Cause,
    /// What was wrong, in a line, without addresses.
    pub title: String,
    /// Equal for equal crashes: of one kind, in one function.
    pub signature: String,
    /// The functions on the stack of whoever crashed, the innermost first.
    pub functions: Vec<String>,
    /// What the kernel said about it.
    pub lines: Vec<String>,
    /// When, in seconds since 1970.
    pub when: u64,
    /// What the guest's kernel calls itself (`uname -r`), if it says so in its memory.
    pub release: Option<String>,
    /// Bytes of memory that hold something; nothing when they could not be taken.
    pub used: Option<u64>,
    /// Why the memory is not whole, or not there.
    pub cut: Option<String>,
    /// The program, and its arguments; empty for a shell.
    pub program: Vec<String>,
    /// The kernel that was started, in the cache.
    pub kernel: String,
    /// The layers of the root, in the cache, the topmost first.
    pub layers: Vec<String>,
    /// The settings that were given as flags, as words of a command line.
    #[serde(default)]
    pub flags: Vec<String>,
    /// Those that variables gave and that say what is built, as `NAME=value`. Older records do not say.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub variables: Option<Vec<String>>,
    /// The line that runs it again.
    pub again: String,
    /// Its machine, in a form of quiz's own that may change; nothing if an older quiz kept it.
    #[serde(default)]
    #[schemars(with = "Option<std::collections::BTreeMap<String, serde_json::Value>>")]
    pub machine: Option<Guest>,
    /// What it ran on; nothing if an older quiz kept it.
    #[serde(default)]
    pub host: Option<Host>,
    /// Where it comes from, if not from here.
    #[serde(default)]
    pub imported: Option<Imported>,
}

/// What came along with a crash from elsewhere.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Imported {
    /// The digest of what was said of it.
    pub digest: String,
    /// The digests of the trees of debug information in the cache, that of the kernel first.
    pub symbols: Vec<String>,
}

/// How it came to the crash, in words that the run has.
#[derive(Debug, Clone)]
pub(super) struct Circumstances {
    pub(super) cause: Cause,
    pub(super) words: String,
    pub(super) lines: Vec<String>,
    pub(super) program: Vec<String>,
    pub(super) flags: Vec<String>,
    pub(super) variables: Option<Vec<String>>,
    pub(super) again: String,
    pub(super) imported: Option<Imported>,
    /// The machine goes on: what is read from now on is of another moment.
    pub(super) goes_on: Arc<AtomicBool>,
}

/// The guest's memory in pieces: from the answers of qemu to [`questions`].
pub(super) struct Layout {
    pieces: Vec<Piece>,
    /// The guest's ranges of memory, neighbours together.
    ranges: Vec<Range<u64>>,
    /// Where the memory begins in the file.
    begin: u64,
    processors: Vec<Registers>,
    /// qemu's version.
    version: String,
}

/// What qemu has to be asked, commands for people: registers, how much memory there is, and where each piece of it lies.
pub(super) fn questions(machine: &Machine) -> Vec<String> {
    let places = machine.ram().into_iter().map(|range| format!("gpa2hva {:#x}", range.start));
    ["info registers -a", "info memory_size_summary", "info version"]
        .map(str::to_owned)
        .into_iter()
        .chain(places)
        .collect()
}

impl Layout {
    /// # Errors
    /// An answer is none, or it is another machine.
    pub(super) fn new(machine: &Machine, answers: &[String]) -> Result<Self> {
        let ram = machine.ram();
        let [registers, size, version, places @ ..] = answers else { return Err(Error::boot("qemu did not answer")) };
        let strange = |answer: &str| Error::boot(format!("qemu gave a strange answer: `{}`", answer.trim()));
        // base memory: 1073741824
        let size = size.lines().find_map(|line| line.strip_prefix("base memory: ")?.trim().parse::<u64>().ok());
        let size = size.ok_or_else(|| strange(&answers[1]))?;
        if size != u64::from(machine.memory) << 20 || places.len() != ram.len() {
            return Err(Error::boot(format!(
                "qemu has {size} bytes of memory, by an argument that was added to its command"
            )));
        }
        // Host virtual address for 0x0 (memory) is 0x7f00effff000
        let host = |answer: &String| {
            let address = answer.trim().rsplit_once(" is 0x").map(|(_, address)| u64::from_str_radix(address, 16));
            address.and_then(std::result::Result::ok).ok_or_else(|| strange(answer))
        };
        let processors = registers::read(registers);
        let (ranges, begin) = elf::places(&ram, processors.len());
        let pieces = ram.iter().zip(places).map(|(range, answer)| {
            let offset = elf::offset(&ranges, begin, range.start);
            Ok(Piece { guest: range.start, host: host(answer)?, length: range.end - range.start, offset })
        });
        let pieces = pieces.collect::<Result<_>>()?;
        Ok(Self { pieces, ranges, begin, processors, version: version.clone() })
    }

    /// Writes the memory of that qemu, which stands still, into a folder beside the run's files, and what is known of the crash. What goes wrong
    /// with the memory is written there; and why it is `not` kept, if so. `forward` is called now and then while it comes forward.
    ///
    /// # Errors
    /// Nothing can be written.
    pub(super) fn write(
        self,
        qemu: u32,
        machine: &Machine,
        run: &Path,
        told: Circumstances,
        not: Option<String>,
        forward: &(dyn Fn() + Sync),
    ) -> Result<Crash> {
        let new = run.join(NEW);
        let _ = fs::remove_dir_all(&new);
        DirBuilder::new().mode(0o700).create(&new).map_err(|e| cannot("make the folder", &new, e))?;
        let path = new.join(MEMORY);
        let copied = not.map_or_else(
            || {
                let file = host::private_file().create_new(true).open(&path);
                let copied = file.and_then(|file| self.copy(qemu, &file, forward));
                let is_torn = told.goes_on.load(Ordering::SeqCst);
                let copied = copied.and_then(|copied| match is_torn {
                    true => Err(std::io::Error::other("the machine went on before its memory was written")),
                    false => Ok(copied),
                });
                copied.map_err(|error| {
                    // A part of it is of no use to anybody, and the disk may be full.
                    let _ = fs::remove_file(&path);
                    match error.kind() {
                        // So it reads where there is no such process any more.
                        io::ErrorKind::UnexpectedEof => "qemu ended before its memory was written".to_owned(),
                        _ => error.to_string(),
                    }
                })
            },
            Err,
        );
        let (copied, cut) = copied.map_or_else(|why| (None, Some(why)), |copied| (Some(copied), None));
        let trace = trace::read(&told.words, &told.lines);
        let release = copied.as_ref().and_then(|copied| release(copied.vmcoreinfo.as_deref()?));
        let crash = Crash {
            cause: told.cause,
            title: trace.title,
            signature: trace.signature,
            functions: trace.functions,
            lines: told.lines,
            when: SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs(),
            release,
            used: copied.map(|copied| copied.used),
            cut,
            program: told.program,
            kernel: machine.kernel.display().to_string(),
            layers: machine.layers.iter().map(|layer| layer.display().to_string()).collect(),
            flags: told.flags,
            variables: told.variables,
            again: told.again,
            machine: Some(Guest::of(machine)),
            host: Some(Host::of(machine, &self.version)),
            imported: told.imported,
        };
        // A dump that somebody asked for, and that came to nothing, takes no place of one that has a memory.
        if crash.cause == Cause::Asked && crash.cut.is_some() && memory_of(run).is_some() {
            let _ = fs::remove_dir_all(&new);
            return Ok(crash);
        }
        let about = new.join(ABOUT);
        host::write_private(&about, &format!("{}\n", serde_json::json!(crash)))
            .map_err(|e| cannot("write", &about, e))?;
        put_in_place(run).map(|()| crash)
    }

    fn copy(&self, qemu: u32, file: &File, forward: &(dyn Fn() + Sync)) -> std::io::Result<Copied> {
        let end = self.pieces.iter().map(|piece| piece.offset + piece.length).max().unwrap_or(self.begin);
        file.set_len(end)?;
        let copied = memory::copy(qemu, &self.pieces, file, forward)?;
        let notes = elf::notes(&self.processors, copied.vmcoreinfo.as_deref());
        file.write_all_at(&elf::head(&self.ranges, self.begin, &notes), 0)?;
        Ok(copied)
    }
}

/// Gives the folder that is whole now its name.
fn put_in_place(run: &Path) -> Result<()> {
    let (folder, new, old) = (run.join(FOLDER), run.join(NEW), run.join("crash.old"));
    // That of an earlier `quiz dump`, away at once, since to remove it takes a while.
    let _ = fs::rename(&folder, &old);
    let renamed = fs::rename(&new, &folder).map_err(|e| cannot("rename", &new, e));
    let _ = fs::remove_dir_all(&old);
    renamed
}

fn release(vmcoreinfo: &[u8]) -> Option<String> {
    let text = String::from_utf8_lossy(vmcoreinfo);
    text.lines().find_map(|line| line.strip_prefix("OSRELEASE=")).map(str::to_owned)
}

impl Crash {
    /// What is left of a crash in the folder of a machine; nothing if there was none, or it cannot be read. The folder may be one that a project
    /// brought along.
    #[must_use]
    pub fn read(place: &Path) -> Option<Self> {
        let mut text = String::new();
        host::open_plain(&place.join(FOLDER).join(ABOUT)).ok()?.take(MOST).read_to_string(&mut text).ok()?;
        serde_json::from_str(&text).ok()
    }
}

/// Writes a file beside the memory, in the folder of a crash. What lies there is replaced, never followed: it may be a link that a project brought along.
///
/// # Errors
/// The folder is gone or none, or the file cannot be written.
pub fn put(folder: &Path, name: &str, bytes: &[u8]) -> Result<()> {
    let path = folder.join(name);
    let is_folder = fs::symlink_metadata(folder).is_ok_and(|meta| meta.is_dir());
    let place = if is_folder { Ok(folder) } else { Err(io::ErrorKind::NotADirectory.into()) };
    let written = place.and_then(tempfile::NamedTempFile::new_in).and_then(|mut file| {
        file.write_all(bytes)?;
        file.persist(&path).map_err(|e| e.error)
    });
    written.map(drop).map_err(|e| cannot("write", &path, e))
}

/// The guest's memory in the folder of a machine, and how many bytes it takes on the disk; nothing when there is none, or it was removed.
#[must_use]
pub fn memory_of(place: &Path) -> Option<(PathBuf, u64)> {
    [MEMORY, PACKED].into_iter().find_map(|name| {
        let path = place.join(FOLDER).join(name);
        let meta = fs::symlink_metadata(&path).ok().filter(fs::Metadata::is_file)?;
        Some((path, meta.blocks() * 512))
    })
}

/// For the fuzz target.
#[cfg(any(test, feature = "fuzz"))]
pub(super) fn fuzz(text: &str) {
    let lines: Vec<String> = text.lines().map(str::to_owned).collect();
    let trace = trace::read(lines.first().map_or("", String::as_str), &lines);
    assert!(trace.functions.iter().all(|function| !function.contains('\n')));
    assert!(frames(&lines).iter().all(|frame| frame.line < lines.len()));
    let processors = registers::read(text);
    assert_eq!(elf::notes(&processors, Some(text.as_bytes())).len() % 4, 0);
    let _ = release(text.as_bytes());
    stub::fuzz(text.as_bytes());
    let _ = serde_json::from_str::<Crash>(text);
}

#[cfg(test)]
mod tests;
