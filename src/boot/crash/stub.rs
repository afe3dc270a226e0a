//! The memory of a guest that crashed, for gdb: by its remote protocol, since gdb itself looks up no page tables in a core, and of a kernel's modules
//! and stacks that is the only way. Each processor is a thread. Nothing can be changed, and nothing goes on.
//!
//! Reads what [`super::elf`] writes. Page tables: Intel's manual, volume 3, chapter 4.

use super::elf::{LENGTH, ORDER, SIGNATURE};
use crate::error::{Error, Result, cannot};
use gdbstub::common::Tid;
use gdbstub::conn::ConnectionExt;
use gdbstub::stub::GdbStub;
use gdbstub::stub::state_machine::GdbStubStateMachine;
use gdbstub::target::ext::base::BaseOps;
use gdbstub::target::ext::base::multithread::MultiThreadBase;
use gdbstub::target::{Target, TargetError, TargetResult};
use gdbstub_arch::x86::X86_64_SSE;
use gdbstub_arch::x86::reg::X86_64CoreRegs;
use goblin::elf::Elf;
use goblin::elf::program_header::PT_LOAD;
use std::fs::File;
use std::io;
use std::num::NonZero;
use std::ops::Range;
use std::os::unix::fs::FileExt;
use std::os::unix::net::UnixStream;
use std::path::Path;

/// Bytes of a head at most: 255 processors have 250 KiB of notes.
const MOST: u64 = 16 << 20;
/// A page, and an entry of a page table: it is there, it stands for a large page; where it leads.
const PAGE: u64 = 4096;
const PRESENT: u64 = 1;
const LARGE: u64 = 1 << 7;
const PLACE: u64 = 0x000f_ffff_ffff_f000;
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

/// In the order of [`ORDER`], and the control registers.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
struct Processor {
    numbers: Vec<u64>,
    /// CS, SS, DS, ES, FS, GS.
    selectors: [u32; 6],
    cr3: u64,
    cr4: u64,
}

impl Core {
    /// # Errors
    /// It cannot be read, or is none of those that quiz writes.
    pub fn open(path: &Path) -> Result<Self> {
        let file = File::open(path).map_err(|e| cannot("open", path, e))?;
        let strange = || Error::input(format!("{} is not a memory dump of quiz's", path.display()));
        let mut head = vec![0; LENGTH];
        file.read_exact_at(&mut head, 0).map_err(|_| strange())?;
        // The memory begins behind the head: the first bytes alone tell where.
        let begin = first_load(&head, &file).filter(|begin| *begin <= MOST).ok_or_else(strange)?;
        let mut head = vec![0; usize::try_from(begin).unwrap_or(0)];
        file.read_exact_at(&mut head, 0).map_err(|e| cannot("read", path, e))?;
        let (memory, processors) = read(&head).ok_or_else(strange)?;
        Ok(Self { file, memory, processors })
    }

    /// Answers gdb, until it leaves.
    ///
    /// # Errors
    /// The connection breaks.
    pub fn serve(mut self, gdb: UnixStream) -> Result<()> {
        let failed = |e: String| Error::boot("cannot talk to gdb").because(io::Error::other(e));
        let mut state = GdbStub::new(gdb).run_state_machine(&mut self).map_err(|e| failed(e.to_string()))?;
        loop {
            state = match state {
                GdbStubStateMachine::Idle(mut stub) => match stub.borrow_conn().read() {
                    Ok(byte) => stub.incoming_data(&mut self, byte).map_err(|e| failed(e.to_string()))?,
                    // Gone without a word.
                    Err(_) => return Ok(()),
                },
                GdbStubStateMachine::Disconnected(_) => return Ok(()),
                // Nothing goes on here.
                GdbStubStateMachine::CtrlCInterrupt(_) | GdbStubStateMachine::Running(_) => return Ok(()),
            };
        }
    }

    /// Bytes of the guest's physical memory. How many there are, up to the end of what lies together.
    fn physical(&self, at: u64, bytes: &mut [u8]) -> io::Result<usize> {
        let Some((range, offset)) = self.memory.iter().find(|(range, _)| range.contains(&at)) else { return Ok(0) };
        let length = bytes.len().min(usize::try_from(range.end - at).unwrap_or(usize::MAX));
        self.file.read_exact_at(&mut bytes[..length], offset + (at - range.start))?;
        Ok(length)
    }

    fn entry(&self, table: u64, number: u64) -> Option<u64> {
        let mut entry = [0; 8];
        let read = self.physical((table & PLACE) + 8 * number, &mut entry).ok()?;
        Some(u64::from_le_bytes(entry)).filter(|entry| read == 8 && entry & PRESENT != 0)
    }

    /// Where a virtual address of a processor lies.
    fn place(&self, processor: &Processor, address: u64) -> Option<u64> {
        // One that was never started has no page tables: what the others have is the same for the kernel.
        let own = if processor.cr3 == 0 { self.processors.iter().find(|one| one.cr3 != 0)? } else { processor };
        let levels = if own.cr4 & FIVE_LEVELS == 0 { 4 } else { 5 };
        let mut table = own.cr3;
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

    fn processor(&self, tid: Tid) -> &Processor {
        &self.processors[(tid.get() - 1).min(self.processors.len() - 1)]
    }
}

/// Where the memory begins: the first `PT_LOAD`.
fn first_load(start: &[u8], file: &File) -> Option<u64> {
    let header = Elf::parse_header(start).ok()?;
    let length = u64::from(header.e_phentsize) * u64::from(header.e_phnum);
    let mut table = vec![0; usize::try_from(length).ok()?];
    file.read_exact_at(&mut table, header.e_phoff).ok()?;
    let context = goblin::container::Ctx::new(goblin::container::Container::Big, goblin::container::Endian::Little);
    let headers = goblin::elf::ProgramHeader::parse(&table, 0, usize::from(header.e_phnum), context).ok()?;
    headers.iter().find(|header| header.p_type == PT_LOAD).map(|header| header.p_offset)
}

/// What a head says.
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

    /// Nothing runs here into a breakpoint.
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
        let processor = self.processor(tid);
        let mut done = 0;
        while done < bytes.len() {
            let address = start.wrapping_add(done as u64);
            let in_page = usize::try_from(PAGE - address % PAGE).unwrap_or(1).min(bytes.len() - done);
            let Some(place) = self.place(processor, address) else { break };
            match self.physical(place, &mut bytes[done..done + in_page]).map_err(TargetError::Io)? {
                0 => break,
                count => done += count,
            }
        }
        if done == 0 && !bytes.is_empty() { Err(TargetError::NonFatal) } else { Ok(done) }
    }

    fn write_addrs(&mut self, _: u64, _: &[u8], _: Tid) -> TargetResult<(), Self> {
        Err(TargetError::NonFatal)
    }

    fn list_active_threads(&mut self, report: &mut dyn FnMut(Tid)) -> std::result::Result<(), Self::Error> {
        (1..=self.processors.len()).filter_map(NonZero::new).for_each(report);
        Ok(())
    }
}

/// For the fuzz target.
#[cfg(any(test, feature = "fuzz"))]
pub(super) fn fuzz(head: &[u8]) {
    let Some((memory, processors)) = read(head) else { return };
    let file = File::open("/dev/null").expect("it is always there");
    let core = Core { file, memory, processors };
    for address in [0, 0xffff_ffff_8100_0000] {
        let _ = core.place(&core.processors[0], address);
    }
}

#[cfg(test)]
mod tests {
    use super::super::{elf, registers};
    use super::*;
    use std::io::{Read, Write};

    /// The kernel's first page, one of a module's, and a large one, in a guest of 4 MiB.
    const KERNEL: u64 = 0xffff_ffff_8100_0000;
    const MODULE: u64 = 0xffff_ffff_a000_0000;
    const DIRECT: u64 = 0xffff_8880_0020_0000;

    fn core() -> Core {
        let mut memory = vec![0_u8; 4 << 20];
        let mut put = |at: u64, bytes: &[u8]| {
            let at = usize::try_from(at).unwrap();
            memory[at..at + bytes.len()].copy_from_slice(bytes);
        };
        let entry = |table: u64, address: u64, level: u64| table + 8 * (address >> (12 + 9 * level) & 511);
        let mut link = |at: u64, to: u64| put(at, &(to | PRESENT).to_le_bytes());
        link(entry(0x1000, KERNEL, 3), 0x3000);
        link(entry(0x3000, KERNEL, 2), 0x4000);
        link(entry(0x4000, KERNEL, 1), 0x5000);
        link(entry(0x5000, KERNEL, 0), 0x10_0000);
        link(entry(0x4000, MODULE, 1), 0x8000);
        link(entry(0x8000, MODULE, 0), 0x10_1000);
        link(entry(0x1000, DIRECT, 3), 0x6000);
        link(entry(0x6000, DIRECT, 2), 0x7000);
        link(entry(0x7000, DIRECT, 1), 0x20_0000 | LARGE);
        put(0x10_0ffc, b"kernel's");
        put(0x10_1000, b"module's");
        put(0x20_1234, b"direct");
        let said = "CPU#0\nRAX=0a RSP=05 RBP=06 RIP=ffffffff81000042 RFL=82\nCS =0010 00 00 00\nSS =0018 00 00 00\nCR0=1 CR2=2 CR3=1000 CR4=20\nCPU#1\n";
        let processors = registers::read(said);
        let (ranges, begin) = elf::places(std::slice::from_ref(&(0..4 << 20)), processors.len());
        let head = elf::head(&ranges, begin, &elf::notes(&processors, None));
        let mut file = tempfile::NamedTempFile::new().unwrap();
        file.write_all(&head).unwrap();
        file.as_file().write_all_at(&memory, begin).unwrap();
        Core::open(file.path()).unwrap()
    }

    fn bytes(core: &mut Core, address: u64, length: usize, processor: usize) -> Option<String> {
        let mut bytes = vec![0; length];
        let read = core.read_addrs(address, &mut bytes, NonZero::new(processor).unwrap()).ok()?;
        Some(String::from_utf8_lossy(&bytes[..read]).into_owned())
    }

    #[test]
    fn addresses_are_looked_up_in_the_guests_page_tables() {
        let mut core = core();
        let all: [(u64, usize, Option<&str>); 6] = [
            (MODULE, 8, Some("module's")),
            (DIRECT + 0x1234, 6, Some("direct")),
            (KERNEL + 0xffc, 4, Some("kern")),
            // Where the next page is not there, what was read before it counts.
            (KERNEL + 0xffc, 8, Some("kern")),
            (KERNEL + PAGE, 1, None),
            (0, 1, None),
        ];
        for (address, length, wanted) in all {
            assert_eq!(bytes(&mut core, address, length, 1).as_deref(), wanted, "{address:#x}");
            // The second processor was never started.
            assert_eq!(bytes(&mut core, address, length, 2).as_deref(), wanted, "{address:#x}");
        }
        assert_eq!(bytes(&mut core, KERNEL + 0xff8, 4, 1).as_deref(), Some("\0\0\0\0"));
    }

    #[test]
    fn gdb_is_answered_and_can_change_nothing() {
        let (mut gdb, other) = UnixStream::pair().unwrap();
        let served = std::thread::spawn(move || core().serve(other));
        let mut ask = |packet: &str| {
            let sum: u8 = packet.bytes().fold(0, u8::wrapping_add);
            gdb.write_all(format!("${packet}#{sum:02x}").as_bytes()).unwrap();
            let (mut answer, mut byte) = (Vec::new(), [0]);
            while answer.iter().rev().nth(2) != Some(&b'#') {
                gdb.read_exact(&mut byte).unwrap();
                answer.push(byte[0]);
            }
            gdb.write_all(b"+").unwrap();
            let answer = String::from_utf8_lossy(&answer).trim_start_matches('+').to_owned();
            // `0*"` is a run: the character once more for each that the last one is above 29.
            let mut runs = answer.split('*');
            let mut whole = runs.next().unwrap().to_owned();
            for run in runs {
                let last = whole.chars().last().unwrap();
                whole.extend(std::iter::repeat_n(last, usize::from(run.as_bytes()[0]) - 29));
                whole += &run[1..];
            }
            whole
        };
        let registers = ask("g");
        let number = |n: usize| registers[1 + 16 * n..17 + 16 * n].to_owned();
        assert_eq!([number(0), number(6), number(7)], ["0a", "06", "05"].map(|low| format!("{low}{}", "0".repeat(14))));
        assert_eq!(number(16), "42000081ffffffff", "where it stands");
        assert_eq!(&registers[1 + 16 * 17..1 + 16 * 17 + 24], "820000001000000018000000", "flags, CS, SS");
        assert!(ask(&format!("m{MODULE:x},6")).starts_with("$6d6f64756c65#"));
        assert!(ask("m0,1").starts_with("$E"));
        assert!(ask(&format!("M{MODULE:x},1:00")).starts_with("$E"));
        assert!(ask("qfThreadInfo").contains("01"));
        drop(gdb);
        served.join().unwrap().unwrap();
    }

    #[test]
    fn what_is_no_dump_is_refused() {
        let mut file = tempfile::NamedTempFile::new().unwrap();
        for content in [&b""[..], b"\x7fELF", &[0x7f; 4096], &std::fs::read("/proc/self/exe").unwrap()] {
            file.as_file_mut().set_len(0).unwrap();
            file.as_file().write_all_at(content, 0).unwrap();
            let error = Core::open(file.path()).unwrap_err().to_string();
            assert!(error.ends_with("is not a memory dump of quiz's"), "{error}");
        }
    }
}
