//! A file with debug information: the kernel's, which is linked, or a module's, which is not. Of the latter every section begins at 0, and its
//! debug information says nothing of places before it is relocated. Here its sections get places of their own, one behind the other.
//!
//! The System V ABI's AMD64 supplement, chapter 4.4, has the relocations.

use crate::error::{Error, Result, cannot};
use addr2line::gimli::{Dwarf, EndianSlice, LittleEndian, SectionId};
use goblin::elf::header::ET_REL;
use goblin::elf::section_header::{SHF_ALLOC, SHF_EXECINSTR, SHT_NOBITS};
use goblin::elf::sym::{STT_FUNC, STT_NOTYPE, STT_OBJECT};
use goblin::elf::{Elf, SectionHeader, Sym};
use std::collections::BTreeMap;
use std::io::Read;
use std::ops::Range;
use std::path::Path;

/// Bytes of such a file at most; a kernel with KASAN has some hundred million.
const MOST: u64 = 4 << 30;
/// The first section of a module is put there, so that nothing lies at 0, which stands for functions that were left out.
const FIRST: u64 = 1 << 20;
/// Between two sections, so that the end of one is not the beginning of another.
const GAP: u64 = 4096;
/// `R_X86_64_64`, `R_X86_64_32`, `R_X86_64_32S`: symbol and addend.
const WORD: u32 = 1;
const HALVES: [u32; 2] = [10, 11];

/// What of a symbol is needed to find it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Symbol {
    /// In this file; of a module where its section was put.
    pub(super) address: u64,
    /// Bytes, as the compiler has them.
    pub(super) size: u64,
    /// Number of its section.
    pub(super) section: usize,
}

/// A section that comes into memory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Section {
    pub(super) name: String,
    pub(super) place: Range<u64>,
}

/// The file, read as a whole.
pub(super) struct File {
    bytes: Vec<u8>,
    /// Where each section of debug information lies in it.
    debug: BTreeMap<String, Range<usize>>,
    /// By their numbers those that come into memory.
    pub(super) sections: BTreeMap<usize, Section>,
    functions: BTreeMap<String, Vec<Symbol>>,
    variables: BTreeMap<String, Vec<Symbol>>,
    /// Where functions begin, by section: a kernel takes whatever lies between two for a part of the first.
    begins: BTreeMap<usize, Vec<u64>>,
    /// The same of the bytes that lie before functions and have a name of their own.
    prefixes: BTreeMap<usize, Vec<u64>>,
}

impl File {
    /// # Errors
    /// It cannot be read, or is no ELF file.
    pub(super) fn open(path: &Path) -> Result<Self> {
        let mut bytes = Vec::new();
        let file = std::fs::File::open(path).map_err(|e| cannot("open", path, e))?;
        file.take(MOST).read_to_end(&mut bytes).map_err(|e| cannot("read", path, e))?;
        Self::read(bytes).ok_or_else(|| Error::build(format!("{} is no file with debug information", path.display())))
    }

    pub(super) fn read(mut bytes: Vec<u8>) -> Option<Self> {
        let elf = Elf::parse(&bytes).ok().filter(|elf| elf.is_64 && elf.little_endian)?;
        let is_module = elf.header.e_type == ET_REL;
        let mut this = Self {
            bytes: Vec::new(),
            debug: debug(&elf),
            sections: sections(&elf, is_module),
            functions: BTreeMap::new(),
            variables: BTreeMap::new(),
            begins: BTreeMap::new(),
            prefixes: BTreeMap::new(),
        };
        for symbol in &elf.syms {
            this.take(&elf, &symbol, is_module);
        }
        for begins in this.begins.values_mut().chain(this.prefixes.values_mut()) {
            begins.sort_unstable();
            begins.dedup();
        }
        let changes = if is_module { this.relocations(&elf) } else { Vec::new() };
        for (at, length, value) in changes {
            bytes.get_mut(at..at + length)?.copy_from_slice(&value.to_le_bytes()[..length]);
        }
        this.bytes = bytes;
        Some(this)
    }

    fn take(&mut self, elf: &Elf<'_>, symbol: &Sym, is_module: bool) {
        let Some(section) = self.sections.get(&symbol.st_shndx) else { return };
        let name = elf.strtab.get_at(symbol.st_name).filter(|name| !name.is_empty() && !name.starts_with(".L"));
        let Some(name) = name else { return };
        let base = if is_module { section.place.start } else { 0 };
        let Some(address) = symbol.st_value.checked_add(base) else { return };
        let found = Symbol { address, size: symbol.st_size, section: symbol.st_shndx };
        let is_code =
            elf.section_headers.get(symbol.st_shndx).is_some_and(|s| s.sh_flags & u64::from(SHF_EXECINSTR) != 0);
        match symbol.st_type() {
            STT_FUNC | STT_NOTYPE if is_code => {
                let begins = if is_prefix(name) { &mut self.prefixes } else { &mut self.begins };
                begins.entry(found.section).or_default().push(address);
                self.functions.entry(name.to_owned()).or_default().push(found);
            }
            STT_OBJECT | STT_NOTYPE => self.variables.entry(name.to_owned()).or_default().push(found),
            _ => {}
        }
    }

    /// What has to be written where into the debug information: place, length, value.
    fn relocations(&self, elf: &Elf<'_>) -> Vec<(usize, usize, u64)> {
        let mut changes = Vec::new();
        for (number, relocations) in &elf.shdr_relocs {
            let target = elf.section_headers.get(*number).and_then(|s| elf.section_headers.get(s.sh_info as usize));
            let range = target.and_then(|s| self.debug.get(elf.shdr_strtab.get_at(s.sh_name)?));
            let Some(range) = range else { continue };
            for relocation in relocations {
                let length = match relocation.r_type {
                    WORD => 8,
                    kind if HALVES.contains(&kind) => 4,
                    _ => continue,
                };
                let Some(symbol) = elf.syms.get(relocation.r_sym) else { continue };
                let base = self.sections.get(&symbol.st_shndx).map_or(0, |section| section.place.start);
                let value = base.wrapping_add(symbol.st_value).wrapping_add_signed(relocation.r_addend.unwrap_or(0));
                let at = usize::try_from(relocation.r_offset).ok().and_then(|offset| range.start.checked_add(offset));
                if let Some(at) = at.filter(|at| at.checked_add(length).is_some_and(|end| end <= range.end)) {
                    changes.push((at, length, value));
                }
            }
        }
        changes
    }

    /// The debug information.
    pub(super) fn dwarf(&self) -> Dwarf<EndianSlice<'_, LittleEndian>> {
        let section = |id: SectionId| {
            let bytes = self.debug.get(id.name()).and_then(|range| self.bytes.get(range.clone())).unwrap_or_default();
            Ok::<_, std::convert::Infallible>(EndianSlice::new(bytes, LittleEndian))
        };
        match Dwarf::load(section) {
            Ok(dwarf) => dwarf,
            Err(never) => match never {},
        }
    }

    /// The functions of that name: several files may each have one.
    pub(super) fn functions(&self, name: &str) -> &[Symbol] {
        self.functions.get(name).map_or(&[], Vec::as_slice)
    }

    /// The variable of that name, if it is the only one.
    pub(super) fn variable(&self, name: &str) -> Option<&Symbol> {
        self.variables.get(name).and_then(|all| <&[Symbol; 1]>::try_from(&all[..]).ok()).map(|[one]| one)
    }

    /// Whether a function takes so many bytes, as the kernel counts: up to the next one, or to the bytes before it that have a name of their own, which
    /// scripts/kallsyms leaves out on some kernels and not on others. What follows the last one of a section of a module, the kernel alone knows.
    pub(super) fn takes(&self, symbol: &Symbol, size: u64) -> bool {
        let next = |begins: &BTreeMap<usize, Vec<u64>>| {
            let begins = begins.get(&symbol.section)?;
            Some(begins.get(begins.partition_point(|begin| *begin <= symbol.address))? - symbol.address)
        };
        let function = next(&self.begins);
        let prefix = next(&self.prefixes).filter(|prefix| function.is_none_or(|function| *prefix < function));
        if function.or(prefix).is_none() { symbol.size <= size } else { [function, prefix].contains(&Some(size)) }
    }

    /// Whether that address lies in the section of a symbol.
    pub(super) fn is_beside(&self, symbol: &Symbol, address: u64) -> bool {
        self.sections.get(&symbol.section).is_some_and(|section| section.place.contains(&address))
    }
}

/// Whether a name is that of the bytes which lie before a function, for what is patched in there.
pub(super) fn is_prefix(name: &str) -> bool {
    ["__pfx_", "__cfi_"].iter().any(|prefix| name.starts_with(prefix))
}

/// By their names where the sections of debug information lie that lines and types need.
fn debug(elf: &Elf<'_>) -> BTreeMap<String, Range<usize>> {
    let wanted = |name: &str| name.starts_with(".debug_") && ![".debug_frame", ".debug_loclists"].contains(&name);
    let headers = elf.section_headers.iter().filter(|section| section.sh_type != SHT_NOBITS);
    headers
        .filter_map(|section| {
            let name = elf.shdr_strtab.get_at(section.sh_name).filter(|name| wanted(name))?;
            Some((name.to_owned(), section.file_range()?))
        })
        .collect()
}

fn sections(elf: &Elf<'_>, is_module: bool) -> BTreeMap<usize, Section> {
    let mut next = FIRST;
    let in_memory = |section: &SectionHeader| section.sh_flags & u64::from(SHF_ALLOC) != 0;
    let all = elf.section_headers.iter().enumerate().filter(|(_, section)| in_memory(section));
    all.map_while(|(number, section)| {
        let name = elf.shdr_strtab.get_at(section.sh_name).unwrap_or_default().to_owned();
        let start = if is_module { next } else { section.sh_addr };
        let end = start.checked_add(section.sh_size)?;
        next = end.checked_next_multiple_of(GAP)?.checked_add(GAP)?;
        Some((number, Section { name, place: start..end }))
    })
    .collect()
}
