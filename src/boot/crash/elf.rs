//! The head of a memory dump: an ELF core file, as Linux's /proc/vmcore and qemu's `dump-guest-memory` have it, so that drgn and crash read
//! it. The memory lies at the same distances as in the guest, with holes in the file where it has none.
//!
//! Pure. <https://refspecs.linuxfoundation.org/elf/elf.pdf>; the notes: `struct elf_prstatus` in linux/elfcore.h of x86_64, `QEMUCPUState` in
//! qemu's target/i386/arch_dump.c.

use super::registers::{Registers, Segment};
use std::ops::Range;

/// Bytes of an ELF header, and of a program header.
const HEADER: u64 = 64;
const PROGRAM: u64 = 56;
/// The memory begins at a whole page, so that holes in it are holes of the file.
const PAGE: u64 = 4096;
/// Linux has its note VMCOREINFO on one page (`vmcoreinfo_note`).
const VMCOREINFO: u64 = 2 * PAGE;
/// An address that no processor has stands in the place of virtual addresses: readers find those by the guest's own page tables. 0 would be one.
const NOWHERE: u64 = 1 << 62;
/// `PT_LOAD`, `PT_NOTE`.
const LOAD: u32 = 1;
const NOTE: u32 = 4;
/// `NT_PRSTATUS`.
const PRSTATUS: u32 = 1;
/// The name of the note with a processor's whole state, and of the registers in the order in which that note has them.
pub(super) const SIGNATURE: &str = "QEMU";
pub(super) const ORDER: [&str; 18] = [
    "RAX", "RBX", "RCX", "RDX", "RSI", "RDI", "RSP", "RBP", "R8", "R9", "R10", "R11", "R12", "R13", "R14", "R15",
    "RIP", "RFL",
];
/// Bytes of a `struct elf_prstatus`, and where its registers begin.
const STATUS: usize = 336;
const STATUS_REGISTERS: usize = 112;

/// The ranges of the guest's memory, neighbours together, and where it begins in the file: behind the head and the notes of so many processors.
/// Readers take the notes for a part of the head.
pub(super) fn places(ram: &[Range<u64>], processors: usize) -> (Vec<Range<u64>>, u64) {
    let mut ranges: Vec<Range<u64>> = Vec::new();
    for range in ram {
        match ranges.last_mut() {
            Some(last) if last.end == range.start => last.end = range.end,
            _ => ranges.push(range.clone()),
        }
    }
    let notes = notes(&vec![Registers::default(); processors], None).len() as u64;
    let head = HEADER + PROGRAM * (ranges.len() as u64 + 1) + notes + VMCOREINFO;
    (ranges, head.next_multiple_of(PAGE))
}

/// Where the guest's memory of that address lies in a file whose memory begins there.
pub(super) fn offset(ranges: &[Range<u64>], begin: u64, guest: u64) -> u64 {
    let before = ranges.iter().map(|range| range.end.min(guest).saturating_sub(range.start));
    begin + before.sum::<u64>()
}

/// The notes: registers, and what the guest's kernel says of itself, if that was found: the text of its note VMCOREINFO.
pub(super) fn notes(processors: &[Registers], vmcoreinfo: Option<&[u8]>) -> Vec<u8> {
    let mut notes = Vec::new();
    for (number, processor) in processors.iter().enumerate() {
        note(&mut notes, b"CORE\0", PRSTATUS, &status(number, processor));
    }
    for processor in processors {
        note(&mut notes, format!("{SIGNATURE}\0").as_bytes(), 0, &state(processor));
    }
    if let Some(text) = vmcoreinfo {
        note(&mut notes, b"VMCOREINFO\0", 0, text);
    }
    notes
}

/// The first bytes of the file: head and notes.
pub(super) fn head(ranges: &[Range<u64>], begin: u64, notes: &[u8]) -> Vec<u8> {
    let count = u16::try_from(ranges.len() + 1).unwrap_or(u16::MAX);
    // 64 bit, little-endian, version 1, a core file, x86_64.
    let mut head = vec![0x7f, b'E', b'L', b'F', 2, 1, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0];
    head.extend([4_u16, 62].iter().flat_map(|n| n.to_le_bytes()));
    head.extend(1_u32.to_le_bytes());
    // No entry point, program headers, no section headers, no flags.
    head.extend([0_u64, HEADER, 0].iter().flat_map(|n| n.to_le_bytes()));
    head.extend(0_u32.to_le_bytes());
    head.extend([64_u16, 56, count, 0, 0, 0].iter().flat_map(|n| n.to_le_bytes()));
    let mut program = |kind: u32, offset: u64, [virt, physical]: [u64; 2], size: u64| {
        head.extend(kind.to_le_bytes());
        head.extend(0_u32.to_le_bytes());
        head.extend([offset, virt, physical, size, size, 0].iter().flat_map(|n| n.to_le_bytes()));
    };
    program(NOTE, HEADER + PROGRAM * u64::from(count), [0, 0], notes.len() as u64);
    for range in ranges {
        let places = [NOWHERE | range.start, range.start];
        program(LOAD, offset(ranges, begin, range.start), places, range.end - range.start);
    }
    head.extend(notes);
    head
}

fn note(notes: &mut Vec<u8>, name: &[u8], kind: u32, bytes: &[u8]) {
    for size in [name.len(), bytes.len()] {
        notes.extend(u32::try_from(size).unwrap_or(u32::MAX).to_le_bytes());
    }
    notes.extend(kind.to_le_bytes());
    for part in [name, bytes] {
        notes.extend(part);
        notes.resize(notes.len().next_multiple_of(4), 0);
    }
}

fn status(number: usize, processor: &Registers) -> Vec<u8> {
    let selector = |name| u64::from(processor.segment(name).selector);
    let mut status = vec![0; STATUS];
    // Which process it was in only the guest's kernel knows; readers of such files take the processor's number in its place, from 1 on.
    status[32..36].copy_from_slice(&u32::try_from(number + 1).unwrap_or(u32::MAX).to_le_bytes());
    let order = ["R15", "R14", "R13", "R12", "RBP", "RBX", "R11", "R10", "R9", "R8", "RAX", "RCX", "RDX", "RSI", "RDI"];
    let registers = order.iter().map(|name| processor.number(name)).chain([
        u64::MAX, // the number of the system call: none
        processor.number("RIP"),
        selector("CS"),
        processor.number("RFL"),
        processor.number("RSP"),
        selector("SS"),
        processor.segment("FS").base,
        processor.segment("GS").base,
        selector("DS"),
        selector("ES"),
        selector("FS"),
        selector("GS"),
    ]);
    let bytes: Vec<u8> = registers.flat_map(u64::to_le_bytes).collect();
    status[STATUS_REGISTERS..STATUS_REGISTERS + bytes.len()].copy_from_slice(&bytes);
    status
}

fn state(processor: &Registers) -> Vec<u8> {
    let mut body: Vec<u8> = ORDER.iter().flat_map(|name| processor.number(name).to_le_bytes()).collect();
    for name in ["CS", "DS", "ES", "FS", "GS", "SS", "LDT", "TR", "GDT", "IDT"] {
        let Segment { selector, base, limit, flags } = processor.segment(name);
        body.extend([selector, limit, flags, 0].iter().flat_map(|n| n.to_le_bytes()));
        body.extend(base.to_le_bytes());
    }
    body.extend(["CR0", "CR1", "CR2", "CR3", "CR4"].iter().flat_map(|name| processor.number(name).to_le_bytes()));
    // The GS base of the other side, which qemu does not show.
    body.extend(0_u64.to_le_bytes());
    let size = u32::try_from(8 + body.len()).unwrap_or(u32::MAX);
    [&1_u32.to_le_bytes()[..], &size.to_le_bytes(), &body].concat()
}

#[cfg(test)]
mod tests {
    use super::super::registers;
    use super::*;

    fn number(bytes: &[u8], at: usize) -> u64 {
        u64::from_le_bytes(bytes[at..at + 8].try_into().unwrap())
    }

    #[test]
    fn a_head_says_where_memory_and_notes_lie() {
        // Two nodes, the second one beyond the hole for devices, too.
        let (ranges, begin) = places(&[0..0x8000, 0x8000..0x1_0000, 0x1_0000_0000..0x1_0000_4000], 2);
        assert_eq!((&ranges[..], begin), (&[0..0x1_0000, 0x1_0000_0000..0x1_0000_4000][..], 0x3000));
        let offsets = [0, 0x8000, 0x1_0000_0000].map(|guest| offset(&ranges, begin, guest));
        assert_eq!(offsets, [0x3000, 0xb000, 0x1_3000]);
        let notes = notes(&vec![Registers::default(); 2], Some(&[b'x'; 4096]));
        let head = head(&ranges, begin, &notes);
        assert!(head.len() as u64 <= begin && head.ends_with(&notes), "{}", head.len());
        assert_eq!(u16::from_le_bytes([head[56], head[57]]), 3);
        // Kind, offset, physical address, size in the file, size in the guest.
        let program = |n: usize| {
            let at = 64 + 56 * n;
            let kind = u32::from_le_bytes(head[at..at + 4].try_into().unwrap());
            (kind, number(&head, at + 8), number(&head, at + 24), number(&head, at + 32), number(&head, at + 40))
        };
        let size = notes.len() as u64;
        assert_eq!(program(0), (4, 64 + 3 * 56, 0, size, size));
        assert_eq!(program(1), (1, 0x3000, 0, 0x1_0000, 0x1_0000));
        assert_eq!(program(2), (1, 0x1_3000, 0x1_0000_0000, 0x4000, 0x4000));
        assert_eq!(number(&head, 64 + 56 + 16), 1 << 62, "and no virtual address that anything has");
        let many: Vec<_> = (0..200).map(|n: u64| (2 * n) << 20..(2 * n + 1) << 20).collect();
        let (ranges, begin) = places(&many, 255);
        assert!(
            super::head(&ranges, begin, &super::notes(&vec![Registers::default(); 255], None)).len() as u64 <= begin
        );
    }

    #[test]
    fn notes_have_the_registers_where_readers_look_for_them() {
        let all = registers::read(
            "CPU#0\nRAX=07 RIP=ffffffff81000042 RSP=ffffc90000000008\nCR0=1 CR2=2 CR3=3 CR4=4\nCPU#1\n",
        );
        let notes = notes(&all, Some(b"OSRELEASE=6.1\n"));
        let (name, desc) = (12, 12 + 8);
        assert_eq!(&notes[name..name + 5], b"CORE\0");
        let registers = desc + STATUS_REGISTERS;
        assert_eq!(number(&notes, registers + 10 * 8), 7, "rax");
        assert_eq!(number(&notes, registers + 16 * 8), 0xffff_ffff_8100_0042, "rip");
        assert_eq!(number(&notes, registers + 19 * 8), 0xffff_c900_0000_0008, "rsp");
        let qemu = 2 * (desc + STATUS);
        assert_eq!(&notes[qemu + name..qemu + name + 5], b"QEMU\0");
        // version, size, 18 numbers, 10 segments of 24 bytes, 5 control registers, one more.
        assert_eq!(u32::from_le_bytes(notes[qemu + 4..qemu + 8].try_into().unwrap()), 8 + 18 * 8 + 10 * 24 + 6 * 8);
        assert_eq!(number(&notes, qemu + desc + 8 + 18 * 8 + 10 * 24 + 3 * 8), 3, "cr3");
        let text = b"VMCOREINFO\0\0OSRELEASE=6.1\n\0\0";
        assert!(notes.ends_with(text), "{:?}", &notes[notes.len() - 40..]);
    }
}
