//! The memory of a guest that crashed, for gdb: by its remote protocol, since gdb itself looks up no page tables in a core, and of a kernel's modules
//! and stacks that is the only way. Each processor is a thread. Nothing can be changed, and nothing goes on.
//!
//! Reads what [`super::elf`] writes. Page tables: Intel's manual, volume 3, chapter 4.

use super::elf::{ORDER, SIGNATURE};
use crate::error::{Error, Result, cannot};
use crate::host;
use gdbstub::common::{Signal, Tid};
use gdbstub::conn::ConnectionExt;
use gdbstub::stub::state_machine::GdbStubStateMachine;
use gdbstub::stub::{GdbStub, GdbStubError, MultiThreadStopReason};
use gdbstub::target::ext::base::BaseOps;
use gdbstub::target::ext::base::multithread::{MultiThreadBase, MultiThreadResume, MultiThreadResumeOps};
use gdbstub::target::{Target, TargetError, TargetResult};
use gdbstub_arch::x86::X86_64_SSE;
use gdbstub_arch::x86::reg::X86_64CoreRegs;
use goblin::container::{Container, Ctx, Endian};
use goblin::elf::program_header::PT_LOAD;
use goblin::elf::{Elf, ProgramHeader};
use std::fs::File;
use std::io;
use std::num::NonZero;
use std::ops::Range;
use std::os::unix::fs::FileExt;
use std::os::unix::net::UnixStream;
use std::path::Path;

/// Bytes in which a head lies: 255 processors have 250 KiB of notes.
const MOST: u64 = 1 << 20;
/// A page, and an entry of a page table: it is there, it stands for a large page; where it leads.
const PAGE: u64 = 4096;
const PRESENT: u64 = 1;
const LARGE: u64 = 1 << 7;
const PLACE: u64 = 0x000f_ffff_ffff_f000;
/// CR3: the tables of a program, without the kernel. Linux: `PTI_USER_PGTABLE_BIT` in arch/x86/entry/calling.h.
const ISOLATED: u64 = 1 << 12;
/// CR4: page tables have five levels.
const FIVE_LEVELS: u64 = 1 << 12;

/// The guest's physical memory, and where each range lies in the file.
type Memory = Vec<(Range<u64>, u64)>;

/// A memory dump, and who stood where in it.
#[derive(Debug)]
pub struct Core {
    file: File,
    memory: Memory,
    processors: Vec<Processor>,
}

/// A processor's registers: numbers in the order of [`ORDER`], selectors, and control registers.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
struct Processor {
    numbers: Vec<u64>,
    /// CS, SS, DS, ES, FS, GS.
    selectors: [u32; 6],
    cr3: u64,
    cr4: u64,
}

/// Why the memory in that file is not whole, by what its head says of it; nothing if it is, or if that is no head of quiz's.
#[must_use]
pub fn cut_short(path: &Path) -> Option<String> {
    // What quiz writes has all of them in the first page.
    const HEADERS: u64 = 64 << 10;
    let file = host::open_plain(path).ok()?;
    let mut head = Vec::new();
    io::Read::read_to_end(&mut io::Read::take(&file, HEADERS), &mut head).ok()?;
    let header = Elf::parse_header(&head).ok()?;
    let context = Ctx::new(Container::Big, Endian::Little);
    let (at, count) = (usize::try_from(header.e_phoff).ok()?, usize::from(header.e_phnum));
    let headers = ProgramHeader::parse(&head, at, count, context).ok()?;
    let whole = headers.iter().map(|header| header.p_offset.saturating_add(header.p_filesz)).max()?;
    let length = file.metadata().ok()?.len();
    (length < whole).then(|| format!("its file is cut short: {length} of {whole} bytes"))
}

impl Core {
    /// # Errors
    /// It cannot be read, or is none of those that quiz writes.
    pub fn open(path: &Path) -> Result<Self> {
        let file = host::open_plain(path).map_err(|e| cannot("open", path, e))?;
        let strange = || Error::input(format!("{} is not a memory dump of quiz's", path.display()));
        let mut head = Vec::new();
        io::Read::read_to_end(&mut io::Read::take(&file, MOST), &mut head).map_err(|e| cannot("read", path, e))?;
        let (memory, processors) = read(&head).ok_or_else(strange)?;
        Ok(Self { file, memory, processors })
    }

    /// Answers gdb, until it leaves.
    ///
    /// # Errors
    /// The connection breaks.
    pub fn serve(&mut self, gdb: UnixStream) -> Result<()> {
        let failed = |e: GdbStubError<io::Error, io::Error>| Error::boot(format!("cannot talk to gdb: {e}"));
        let mut state = GdbStub::new(gdb).run_state_machine(self).map_err(failed)?;
        // Nothing goes on here: whoever wants that is told at once that it stands where it stood.
        let stop = MultiThreadStopReason::Signal(Signal::SIGTRAP);
        loop {
            state = match state {
                GdbStubStateMachine::Idle(mut stub) => match stub.borrow_conn().read() {
                    Ok(byte) => stub.incoming_data(self, byte).map_err(failed)?,
                    // gdb is gone without a word, which is no error.
                    Err(_) => return Ok(()),
                },
                GdbStubStateMachine::Disconnected(_) => return Ok(()),
                GdbStubStateMachine::CtrlCInterrupt(stub) => {
                    stub.interrupt_handled(self, Some(stop)).map_err(failed)?
                }
                GdbStubStateMachine::Running(stub) => stub.report_stop(self, stop).map_err(failed)?,
            };
        }
    }

    /// Reads the guest's physical memory, up to the end of the range that lies together. Says how many bytes that were.
    fn physical(&self, at: u64, bytes: &mut [u8]) -> io::Result<usize> {
        let Some((range, offset)) = self.memory.iter().find(|(range, _)| range.contains(&at)) else { return Ok(0) };
        let length = bytes.len().min(usize::try_from(range.end - at).unwrap_or(usize::MAX));
        let place = offset.checked_add(at - range.start).ok_or(io::ErrorKind::UnexpectedEof)?;
        self.file.read_exact_at(&mut bytes[..length], place)?;
        Ok(length)
    }

    fn entry(&self, table: u64, number: u64) -> Option<u64> {
        let mut entry = [0; 8];
        let read = self.physical((table & PLACE) + 8 * number, &mut entry).ok()?;
        Some(u64::from_le_bytes(entry)).filter(|entry| read == 8 && entry & PRESENT != 0)
    }

    /// Where a virtual address of a processor lies.
    fn place(&self, processor: &Processor, address: u64) -> Option<u64> {
        let is_kernels = address >> 63 == 1;
        // A processor in a program may have tables without the kernel (page table isolation: they lie behind the kernel's own, which differ in this
        // bit); one that was never started has none. What the others have is the same for the kernel.
        let both = |one: &Processor| [one.cr3, one.cr3 & !ISOLATED];
        let own = both(processor).into_iter().take(if is_kernels { 2 } else { 1 });
        let others = self.processors.iter().flat_map(both).filter(|_| is_kernels || processor.cr3 == 0);
        let five = self.processors.iter().any(|one| one.cr4 & FIVE_LEVELS != 0);
        own.chain(others).filter(|tables| *tables != 0).find_map(|tables| self.look_up(tables, address, five))
    }

    fn look_up(&self, tables: u64, address: u64, five: bool) -> Option<u64> {
        let levels = if five { 5 } else { 4 };
        // All bits above those that page tables use repeat the uppermost one of these.
        let unused = 64 - (12 + 9 * levels);
        if (address << unused).cast_signed() >> unused != address.cast_signed() {
            return None;
        }
        let mut table = tables;
        for level in (0..levels).rev() {
            let shift = 12 + 9 * level;
            let entry = self.entry(table, address >> shift & 511)?;
            if level == 0 || (level < 3 && entry & LARGE != 0) {
                let within = (1 << shift) - 1;
                return Some((entry & PLACE & !within) | address & within);
            }
            table = entry;
        }
        None
    }

    /// Reads what lies at a virtual address of a processor, up to the first page that is not there. Says how many bytes that were.
    fn at(&self, processor: &Processor, start: u64, bytes: &mut [u8]) -> io::Result<usize> {
        let mut done = 0;
        while done < bytes.len() {
            let address = start.wrapping_add(done as u64);
            let in_page = usize::try_from(PAGE - address % PAGE).unwrap_or(1).min(bytes.len() - done);
            let Some(place) = self.place(processor, address) else { break };
            match self.physical(place, &mut bytes[done..done + in_page])? {
                0 => break,
                count => done += count,
            }
        }
        Ok(done)
    }

    /// Fills `bytes` with what lies at an address of the kernel; `false` if not all of it is there.
    #[must_use]
    pub fn kernel(&self, address: u64, bytes: &mut [u8]) -> bool {
        address >> 63 == 1 && self.at(&self.processors[0], address, bytes).is_ok_and(|done| done == bytes.len())
    }

    fn processor(&self, tid: Tid) -> &Processor {
        &self.processors[(tid.get() - 1).min(self.processors.len() - 1)]
    }
}

/// What the first bytes of a dump say, of which the head is a part.
fn read(head: &[u8]) -> Option<(Memory, Vec<Processor>)> {
    let elf = Elf::parse(head).ok()?;
    let loads = elf.program_headers.iter().filter(|header| header.p_type == PT_LOAD);
    let range = |header: &goblin::elf::ProgramHeader| {
        Some((header.p_paddr..header.p_paddr.checked_add(header.p_filesz)?, header.p_offset))
    };
    let memory = loads.map(range).collect::<Option<Memory>>()?;
    let notes = elf.iter_note_headers(head)?;
    let processors = notes.filter_map(|note| {
        let note = note.ok()?;
        (note.name == SIGNATURE).then(|| processor(note.desc))
    });
    let processors = processors.collect::<Option<Vec<_>>>()?;
    (!processors.is_empty() && !memory.is_empty()).then_some((memory, processors))
}

/// Out of the note that qemu's own dumps have of a processor: version, size, the numbers of [`ORDER`], ten segments of 24 bytes each, CR0 to CR4.
fn processor(note: &[u8]) -> Option<Processor> {
    let number = |at: usize| Some(u64::from_le_bytes(note.get(at..at + 8)?.try_into().ok()?));
    let numbers = (0..ORDER.len()).map(|n| number(8 + 8 * n)).collect::<Option<Vec<_>>>()?;
    let segments = 8 + 8 * ORDER.len();
    // There they are CS, DS, ES, FS, GS, SS.
    let mut selectors = [0; 6];
    for (selector, place) in selectors.iter_mut().zip([0, 5, 1, 2, 3, 4]) {
        let at = segments + 24 * place;
        *selector = u32::from_le_bytes(note.get(at..at + 4)?.try_into().ok()?);
    }
    let control = |n: usize| number(segments + 24 * 10 + 8 * n);
    Some(Processor { numbers, selectors, cr3: control(3)?, cr4: control(4)? })
}

impl Target for Core {
    type Arch = X86_64_SSE;
    type Error = io::Error;

    fn base_ops(&mut self) -> BaseOps<'_, Self::Arch, Self::Error> {
        BaseOps::MultiThread(self)
    }

    /// Nothing is executed here, so no breakpoint is ever reached.
    fn guard_rail_implicit_sw_breakpoints(&self) -> bool {
        true
    }
}

impl MultiThreadBase for Core {
    fn read_registers(&mut self, registers: &mut X86_64CoreRegs, tid: Tid) -> TargetResult<(), Self> {
        let processor = self.processor(tid);
        // gdb's order is RAX, RBX, RCX, RDX, RSI, RDI, RBP, RSP, R8 …: the two pointers the other way round.
        registers.regs.copy_from_slice(&processor.numbers[..16]);
        registers.regs.swap(6, 7);
        registers.rip = processor.numbers[16];
        // The upper half is reserved.
        registers.eflags = u32::try_from(processor.numbers[17] & 0xffff_ffff).unwrap_or_default();
        let [cs, ss, ds, es, fs, gs] = processor.selectors;
        registers.segments = gdbstub_arch::x86::reg::X86SegmentRegs { cs, ss, ds, es, fs, gs };
        Ok(())
    }

    fn write_registers(&mut self, _: &X86_64CoreRegs, _: Tid) -> TargetResult<(), Self> {
        Err(TargetError::NonFatal)
    }

    fn read_addrs(&mut self, start: u64, bytes: &mut [u8], tid: Tid) -> TargetResult<usize, Self> {
        let done = self.at(self.processor(tid), start, bytes).map_err(TargetError::Io)?;
        if done == 0 && !bytes.is_empty() { Err(TargetError::NonFatal) } else { Ok(done) }
    }

    fn write_addrs(&mut self, _: u64, _: &[u8], _: Tid) -> TargetResult<(), Self> {
        Err(TargetError::NonFatal)
    }

    fn list_active_threads(&mut self, report: &mut dyn FnMut(Tid)) -> std::result::Result<(), Self::Error> {
        (1..=self.processors.len()).filter_map(NonZero::new).for_each(report);
        Ok(())
    }

    fn support_resume(&mut self) -> Option<MultiThreadResumeOps<'_, Self>> {
        Some(self)
    }
}

/// Answers a gdb that wants the machine to go on: see [`Core::serve`].
impl MultiThreadResume for Core {
    fn resume(&mut self) -> std::result::Result<(), Self::Error> {
        Ok(())
    }

    fn clear_resume_actions(&mut self) -> std::result::Result<(), Self::Error> {
        Ok(())
    }

    fn set_resume_action_continue(&mut self, _: Tid, _: Option<Signal>) -> std::result::Result<(), Self::Error> {
        Ok(())
    }
}

/// For the fuzz target.
#[cfg(any(test, feature = "fuzz"))]
pub(super) fn fuzz(head: &[u8]) {
    /// Every word of it leads to its second page.
    static PAGES: std::sync::OnceLock<File> = std::sync::OnceLock::new();
    let Some((memory, processors)) = read(head) else { return };
    let pages = PAGES.get_or_init(|| {
        let file = tempfile::tempfile().expect("there is room for a file");
        file.write_all_at(&(PAGE | PRESENT).to_le_bytes().repeat(1 << 15), 0).expect("and for its pages");
        file
    });
    let mut core = Core { file: pages.try_clone().expect("it is open"), memory, processors };
    for address in [0, 0xffff_ffff_8100_0000, 1 << 60] {
        let _ = core.read_addrs(address, &mut [0; 8192], NonZero::<usize>::MIN);
    }
}

#[cfg(test)]
mod tests;
