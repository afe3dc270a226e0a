//! The registers of a machine's processors, out of what qemu says to `info registers -a`.
//!
//! Pure. Knows x86_64 alone. A processor that never started is in a 16 bit mode, and has the names of that (EAX): of it only what has the same
//! name in both is known, and the rest is 0.

use std::collections::BTreeMap;

/// A segment register, or the register of a descriptor table.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Segment {
    pub(super) selector: u32,
    pub(super) base: u64,
    pub(super) limit: u32,
    pub(super) flags: u32,
}

/// The registers of one processor, by the names that qemu has for them.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Registers {
    numbers: BTreeMap<String, u64>,
    segments: BTreeMap<String, Segment>,
}

impl Registers {
    /// `RAX`, `RIP`, `RFL`, `CR3`; 0 when it was not said.
    pub(super) fn number(&self, name: &str) -> u64 {
        self.numbers.get(name).copied().unwrap_or(0)
    }

    /// `CS`, `TR`, `GDT`.
    pub(super) fn segment(&self, name: &str) -> Segment {
        self.segments.get(name).copied().unwrap_or_default()
    }
}

/// Reads the registers of each processor, in qemu's order.
pub(super) fn read(text: &str) -> Vec<Registers> {
    let mut all: Vec<Registers> = Vec::new();
    for line in text.lines() {
        if line.starts_with("CPU#") {
            all.push(Registers::default());
            continue;
        }
        let Some(processor) = all.last_mut() else { continue };
        match line.split_once('=').map(|(name, rest)| (name.trim(), rest)) {
            Some((name @ ("CS" | "DS" | "ES" | "FS" | "GS" | "SS" | "LDT" | "TR"), rest)) => {
                let mut words = rest.split_whitespace();
                let mut next = || hex(words.next().unwrap_or_default());
                let (selector, base, limit, flags) = (low(next()), next(), low(next()), low(next()));
                processor.segments.insert(name.to_owned(), Segment { selector, base, limit, flags });
            }
            Some((name @ ("GDT" | "IDT"), rest)) => {
                let mut words = rest.split_whitespace();
                let mut next = || hex(words.next().unwrap_or_default());
                let segment = Segment { base: next(), limit: low(next()), ..Segment::default() };
                processor.segments.insert(name.to_owned(), segment);
            }
            Some(_) => numbers(line, &mut processor.numbers),
            None => {}
        }
    }
    all
}

/// `RAX=… RBX=…`, `R8 =… R9 =…`: the first word behind each sign.
fn numbers(line: &str, into: &mut BTreeMap<String, u64>) {
    let parts: Vec<&str> = line.split('=').collect();
    for pair in parts.windows(2) {
        let name = pair[0].split_whitespace().next_back().unwrap_or_default();
        let value = pair[1].split_whitespace().next().unwrap_or_default();
        if let Ok(value) = u64::from_str_radix(value, 16) {
            into.insert(name.to_owned(), value);
        }
    }
}

fn hex(word: &str) -> u64 {
    u64::from_str_radix(word, 16).unwrap_or(0)
}

fn low(number: u64) -> u32 {
    u32::try_from(number & u64::from(u32::MAX)).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "\nCPU#0\n\
        RAX=00000000000005b0 RBX=00007fffffffe9b4 RCX=00007ffff7ffb9e0 RDX=00007ffff7e63aa0\n\
        R8 =0000000000000000 R9 =000000000000000c R10=00007ffff7fca7d0 R11=00007ffff7fde060\n\
        RIP=ffffffff81000000 RFL=00000246 [---Z-P-] CPL=3 II=0 A20=1 SMM=0 HLT=0\n\
        ES =0000 0000000000000000 00000000 00000000\n\
        CS =0033 0000000000000000 ffffffff 00affb00 DPL=3 CS64 [-RA]\n\
        FS =0000 00007ffff7ddb740 00000000 00000000\n\
        TR =0040 fffffe0000003000 00004087 00008900 DPL=0 TSS64-avl\n\
        GDT=     fffffe0000001000 0000007f\n\
        CR0=80050033 CR2=00007ffff7e042c0 CR3=00000000028b6000 CR4=00751ef0\n\
        DR0=0000000000000000 DR1=0000000000000000\n\
        CPU#1\n\
        EAX=00000000 EBX=00000001\nEIP=0000fff0 EFL=00000002 [-------] CPL=0 II=0 A20=1 SMM=0 HLT=1\n\
        CS =f000 ffff0000 0000ffff 00009b00\n";

    #[test]
    fn each_processors_registers_have_their_names() {
        let all = read(TEXT);
        assert_eq!(all.len(), 2);
        let numbers = ["RAX", "R8", "R9", "R11", "RIP", "RFL", "CR3", "CPL"].map(|name| all[0].number(name));
        assert_eq!(numbers, [0x5b0, 0, 12, 0x7fff_f7fd_e060, 0xffff_ffff_8100_0000, 0x246, 0x28b_6000, 3]);
        let code = Segment { selector: 0x33, base: 0, limit: u32::MAX, flags: 0xaf_fb00 };
        assert_eq!((all[0].segment("CS"), all[0].segment("FS").base), (code, 0x7fff_f7dd_b740));
        let table = Segment { base: 0xffff_fe00_0000_1000, limit: 0x7f, ..Segment::default() };
        assert_eq!((all[0].segment("GDT"), all[0].segment("TR").selector), (table, 0x40));
        assert_eq!((all[1].number("RAX"), all[1].segment("CS").selector), (0, 0xf000));
    }

    #[test]
    fn what_is_no_register_is_none() {
        for text in ["", "CPU#", "RAX=1", "CPU#0\nCS =", "CPU#0\n=\n==x", "CPU#0\nGDT="] {
            assert!(read(text).iter().all(|processor| processor.number("RAX") == 0), "{text}");
        }
    }
}
