//! What is left of a guest that crashed, in the folder `crash` of its run: the memory, and what is known of how it came to that.
//!
//! | file | what |
//! |---|---|
//! | `vmcore` | the guest's memory and the registers of its processors: an ELF core, for drgn and crash |
//! | `vmcore.cut` | the same, but not all of it: the disk was full, or qemu went away |
//! | `crash.json` | [`Crash`] |
//!
//! Decides nothing: `phase` says when. Knows nothing of stages.

mod elf;
mod memory;
mod registers;
mod trace;

use std::fs::{self, DirBuilder, File};
use std::io::Read;
use std::os::unix::fs::{DirBuilderExt, FileExt};
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use serde::{Deserialize, Serialize};

use super::folder::{CUT, MEMORY};
use crate::error::{Error, Result, cannot};
use crate::host;
use crate::machine::Machine;
use memory::{Copied, Piece};

pub use super::folder::CRASH as FOLDER;
/// A file of this name in a machine's folder, and then the signal SIGURG to its quiz, are the wish to see its memory. The signal is one that by
/// itself does nothing.
pub const WISH: &str = "dump";
const ABOUT: &str = "crash.json";
/// Bytes of that at most.
const MOST: u64 = 4 << 20;

/// Why the memory was taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Cause {
    /// The guest's kernel gave up.
    Panic,
    /// A time limit was over.
    Limit,
    /// Somebody wanted it: `quiz dump`. The machine went on.
    Asked,
}

/// What is known of a crash.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
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
    pub kernel: PathBuf,
    /// The layers of the root, in the cache, the topmost first.
    pub layers: Vec<PathBuf>,
    /// The line that runs it again.
    pub again: String,
}

/// How it came to that, in words that the run has.
#[derive(Debug, Clone)]
pub(super) struct Told {
    pub(super) cause: Cause,
    pub(super) words: String,
    pub(super) lines: Vec<String>,
    pub(super) program: Vec<String>,
    pub(super) again: String,
}

/// The guest's memory in pieces: from the answers of qemu to [`questions`].
pub(super) struct Plan {
    pieces: Vec<Piece>,
    registers: String,
}

/// What qemu has to be asked, commands for people: registers, and where each piece of the guest's memory lies.
pub(super) fn questions(machine: &Machine) -> Vec<String> {
    let places = machine.ram().into_iter().map(|range| format!("gpa2hva {:#x}", range.start));
    std::iter::once("info registers -a".to_owned()).chain(places).collect()
}

impl Plan {
    /// # Errors
    /// An answer is none.
    pub(super) fn new(machine: &Machine, answers: &[String]) -> Result<Self> {
        let ram = machine.ram();
        let offsets = elf::offsets(&ram);
        let (registers, places) = answers.split_first().ok_or_else(|| Error::boot("qemu did not answer"))?;
        // Host virtual address for 0x0 (memory) is 0x7f00effff000
        let host = |answer: &String| {
            let address = answer.trim().rsplit_once(" is 0x").map(|(_, address)| u64::from_str_radix(address, 16));
            address
                .and_then(std::result::Result::ok)
                .ok_or_else(|| Error::boot(format!("qemu said `{}`", answer.trim())))
        };
        let pieces = ram.iter().zip(offsets).zip(places).map(|((range, offset), answer)| {
            Ok(Piece { guest: range.start, host: host(answer)?, length: range.end - range.start, offset })
        });
        Ok(Self { pieces: pieces.collect::<Result<_>>()?, registers: registers.clone() })
    }

    /// Writes the memory of that qemu, which stands still, into a folder beside the run's files, and what is known of the crash. What goes wrong
    /// with the memory is written there; and why it is `not` kept, if so.
    ///
    /// # Errors
    /// Nothing can be written.
    pub(super) fn write(
        self,
        qemu: u32,
        machine: &Machine,
        run: &Path,
        told: Told,
        not: Option<String>,
    ) -> Result<Crash> {
        let (folder, new) = (run.join(FOLDER), run.join("crash.new"));
        let _ = fs::remove_dir_all(&new);
        DirBuilder::new().mode(0o700).create(&new).map_err(|e| cannot("make the folder", &new, e))?;
        let path = new.join(MEMORY);
        let copied = not.map_or_else(
            || {
                let file = host::private_file().create_new(true).open(&path);
                file.and_then(|file| self.copy(qemu, &file)).map_err(|error| {
                    // That it is not whole shall be seen by whoever finds it.
                    let _ = fs::rename(&path, new.join(CUT));
                    error.to_string()
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
            kernel: machine.kernel.clone(),
            layers: machine.layers.clone(),
            again: told.again,
        };
        let about = new.join(ABOUT);
        host::write_private(&about, &format!("{}\n", serde_json::json!(crash)))
            .map_err(|e| cannot("write", &about, e))?;
        // That of an earlier `quiz dump`.
        let _ = fs::remove_dir_all(&folder);
        fs::rename(&new, &folder).map_err(|e| cannot("rename", &new, e))?;
        Ok(crash)
    }

    fn copy(&self, qemu: u32, file: &File) -> std::io::Result<Copied> {
        let ranges: Vec<_> = self.pieces.iter().map(|piece| piece.guest..piece.guest + piece.length).collect();
        let end = self.pieces.iter().map(|piece| piece.offset + piece.length).max().unwrap_or(elf::BEGIN);
        file.set_len(end)?;
        let copied = memory::copy(qemu, &self.pieces, file)?;
        let notes = elf::notes(&registers::read(&self.registers), copied.vmcoreinfo.as_deref());
        file.write_all_at(&notes, end)?;
        file.write_all_at(&elf::head(&ranges, notes.len() as u64), 0)?;
        Ok(copied)
    }
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

/// The guest's memory in the folder of a machine, and how many bytes it takes on the disk; nothing when it was removed.
#[must_use]
pub fn memory_of(place: &Path) -> Option<(PathBuf, u64)> {
    use std::os::unix::fs::MetadataExt;
    let found = [MEMORY, CUT].map(|name| place.join(FOLDER).join(name)).into_iter().find(|path| path.exists())?;
    let size = fs::symlink_metadata(&found).ok()?.blocks() * 512;
    Some((found, size))
}

/// For the fuzz target.
#[cfg(any(test, feature = "fuzz"))]
pub(super) fn fuzz(text: &str) {
    let lines: Vec<String> = text.lines().map(str::to_owned).collect();
    let trace = trace::read(lines.first().map_or("", String::as_str), &lines);
    assert!(trace.functions.iter().all(|function| !function.contains('\n')));
    let processors = registers::read(text);
    assert_eq!(elf::notes(&processors, Some(text.as_bytes())).len() % 4, 0);
    let _ = release(text.as_bytes());
    let _ = serde_json::from_str::<Crash>(text);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::machine::qemu::tests::machine;
    use crate::machine::{Accel, Machine};

    /// What this process has as memory, for which it passes as a qemu.
    fn dump(answer: &str, run: &Path, not: Option<String>) -> Crash {
        let machine = Machine { memory: 8, ..machine(Accel::Tcg) };
        assert_eq!(questions(&machine), ["info registers -a", "gpa2hva 0x0"]);
        let plan = Plan::new(&machine, &["CPU#0\nRIP=01\n".to_owned(), answer.to_owned()]).unwrap();
        let told = Told {
            cause: Cause::Panic,
            words: "BUG: x at 0xffff888003a1c000".to_owned(),
            lines: vec!["Call Trace:".to_owned(), " f+0x1/0x2".to_owned()],
            program: vec!["true".to_owned()],
            again: "quiz up".to_owned(),
        };
        plan.write(std::process::id(), &machine, run, told, not).unwrap()
    }

    #[test]
    fn what_is_known_of_a_crash_lies_beside_its_memory_and_what_is_not_whole_is_called_so() {
        let run = tempfile::tempdir().unwrap();
        let memory = vec![7_u8; (8 << 20) + 8192];
        let at = |address: usize| format!("Host virtual address for 0x0 (memory) is {address:#x}\r\n");
        // Of whole pages.
        let whole = dump(&at(memory.as_ptr().addr().next_multiple_of(4096)), run.path(), None);
        assert_eq!(
            (whole.title.as_str(), &whole.functions[..], &whole.cut),
            ("BUG: x at …", &["f".to_owned()][..], &None)
        );
        assert!(whole.used.unwrap() >= 8 << 20 >> 1, "{whole:?}");
        assert_eq!(Crash::read(run.path()), Some(whole));
        let (path, bytes) = memory_of(run.path()).unwrap();
        assert!(path.ends_with("crash/vmcore") && bytes >= 7 << 20, "{bytes}");
        assert!(fs::read(&path).unwrap().starts_with(b"\x7fELF"));
        // Nothing lies there.
        let cut = dump(&at(4096), run.path(), None);
        assert_eq!((cut.used, cut.cut.as_deref()), (None, Some("qemu has nothing at 0x1000")));
        assert!(memory_of(run.path()).unwrap().0.ends_with("crash/vmcore.cut"));
        assert_eq!(Crash::read(run.path()), Some(cut));
        assert!(!run.path().join("crash.new").exists());
        // There are enough.
        let words = dump(&at(4096), run.path(), Some("enough".to_owned()));
        assert_eq!((words.cut.as_deref(), memory_of(run.path())), (Some("enough"), None));
        let machine = Machine { memory: 8, ..machine(Accel::Tcg) };
        for answers in [&[][..], &[""], &["", "no such command"], &["", "… is 0x"]] {
            let answers: Vec<String> = answers.iter().map(|&answer| answer.to_owned()).collect();
            // One answer too few is never asked for.
            assert!(answers.len() == 1 || Plan::new(&machine, &answers).is_err(), "{answers:?}");
        }
    }
}
