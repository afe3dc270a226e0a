//! Where in a guest's memory the sections of a module lie: the kernel's list of modules has them, for the folder `sections` of /sys.
//!
//! The memory is that of a guest which crashed, and may hold anything: whatever is followed there has its limit.

use super::file::File;
use super::types::Types;
use std::collections::BTreeMap;

/// Modules of a guest, sections of a module, bytes of their names, at most.
const MODULES: usize = 4096;
const SECTIONS: u64 = 4096;
const NAME: usize = 256;
const PAGE: u64 = 4096;
/// Between two addresses that a kernel may choose for itself (KASLR), and how far the last is from those in its file: Linux has these as
/// `PHYSICAL_ALIGN` (at least) in arch/x86/Kconfig, and `KERNEL_IMAGE_SIZE` in arch/x86/include/asm/page_64_types.h.
const STEP: usize = 2 << 20;
const FARTHEST: u64 = 1 << 30;

/// The guest's memory, by the kernel's addresses: fills all of the bytes, or says that they are not there.
pub(super) struct Guest<'a>(pub(super) &'a dyn Fn(u64, &mut [u8]) -> bool);

impl Guest<'_> {
    pub(super) fn word(&self, at: u64) -> Option<u64> {
        let mut bytes = [0; 8];
        (self.0)(at, &mut bytes).then(|| u64::from_le_bytes(bytes))
    }

    /// Up to a zero; `most` bytes if there is none before.
    pub(super) fn text(&self, at: u64, most: usize) -> Option<Vec<u8>> {
        let mut text = Vec::new();
        while text.len() < most {
            let at = at.checked_add(text.len() as u64)?;
            let in_page = usize::try_from(PAGE - at % PAGE).ok()?.min(most - text.len());
            let mut bytes = vec![0; in_page];
            if !(self.0)(at, &mut bytes) {
                return None;
            }
            if let Some(end) = bytes.iter().position(|byte| *byte == 0) {
                text.extend(&bytes[..end]);
                return Some(text);
            }
            text.extend(bytes);
        }
        Some(text)
    }

    /// How far from the addresses of its file the kernel lies: one that decompresses itself may choose others (KASLR).
    fn shift(&self, kernel: &File) -> Option<u64> {
        let banner = kernel.variable("linux_banner")?.address;
        let is_it = |shift: &u64| self.text(banner.wrapping_add(*shift), 13).as_deref() == Some(b"Linux version");
        (0..FARTHEST).step_by(STEP).find(is_it)
    }

    /// By their names the places of a module's sections; nothing if it is not loaded.
    ///
    /// # Errors
    /// In words, why they cannot be found.
    pub(super) fn sections(&self, kernel: &File, module: &str) -> Result<Option<BTreeMap<String, u64>>, &'static str> {
        let shift = self.shift(kernel).ok_or("the kernel is not found in the memory")?;
        let dwarf = kernel.dwarf();
        let types = Types::new(&dwarf, &["/kernel/module/sysfs.c", "/kernel/module.c"]);
        let strange = "the kernel's structures are not as quiz knows them";
        let of_module = |member: &str| types.offset("module", &[member]).ok_or(strange);
        let (list, name, attributes) = (of_module("list")?, of_module("name")?, of_module("sect_attrs")?);
        let head = kernel.variable("modules").ok_or(strange)?.address.wrapping_add(shift);
        let damaged = "the guest's list of modules is damaged";
        let mut node = self.word(head).ok_or(damaged)?;
        for _ in 0..MODULES {
            if node == head {
                return Ok(None);
            }
            let base = node.wrapping_sub(list);
            if self.text(base.wrapping_add(name), NAME).ok_or(damaged)? == module.as_bytes() {
                let at = self.word(base.wrapping_add(attributes)).filter(|at| *at != 0);
                let at = at.ok_or("the kernel does not say where the module's sections lie")?;
                return self.each_section(&types, at).map(Some).ok_or(strange);
            }
            node = self.word(node).ok_or(damaged)?;
        }
        Err(damaged)
    }

    fn each_section(&self, types: &Types<'_>, at: u64) -> Option<BTreeMap<String, u64>> {
        let mut found = BTreeMap::new();
        let mut note = |name: u64, place: Option<u64>| {
            let name = self.text(self.word(name)?, NAME)?;
            found.insert(String::from_utf8_lossy(&name).into_owned(), place?);
            Some(())
        };
        if let Some(count) = types.offset("module_sect_attrs", &["nsections"]) {
            let one = |path: &[&str]| types.offset("module_sect_attr", path);
            let (name, place) = (one(&["battr", "attr", "name"]).or_else(|| one(&["name"]))?, one(&["address"])?);
            let first = at.wrapping_add(types.offset("module_sect_attrs", &["attrs"])?);
            let size = types.size("module_sect_attr")?;
            // `nsections` has 32 bits, and a word 64.
            let count = self.word(at.wrapping_add(count))? & 0xffff_ffff;
            for number in 0..count.min(SECTIONS) {
                let one = first.wrapping_add(number.wrapping_mul(size));
                note(one.wrapping_add(name), self.word(one.wrapping_add(place)))?;
            }
            return Some(found);
        }
        // From Linux 6.14 on they are the files alone, a list that ends with 0.
        let first = self.word(at.wrapping_add(types.offset("module_sect_attrs", &["grp", "bin_attrs"])?))?;
        let name = types.offset("bin_attribute", &["attr", "name"])?;
        let place = types.offset("bin_attribute", &["private"])?;
        for number in 0..SECTIONS {
            let one = self.word(first.wrapping_add(8 * number))?;
            if one == 0 {
                break;
            }
            note(one.wrapping_add(name), self.word(one.wrapping_add(place)))?;
        }
        Some(found)
    }
}
