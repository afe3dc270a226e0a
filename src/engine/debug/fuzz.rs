//! The readers of this room for the fuzz targets.

use super::file::File;
use super::guest::Guest;
use super::types::Types;
use super::{dbgmsg, lines, tasks};
use goblin::elf::Elf;
use goblin::elf::program_header::PT_LOAD;

/// From the addresses of a kernel's file to others where it lies once more, as one that chose them itself.
pub(super) const FAR: u64 = 0x16a0_0000;
/// A place in a memory, and the word that lies there: 8 bytes each, little end first.
const CHANGE: usize = 16;
/// So many are looked at: each byte of the memory is compared with all of them.
const CHANGES: usize = 64;

/// A file of debug information.
pub(crate) fn debug(bytes: &[u8]) {
    let Some(file) = File::read(bytes.to_vec()) else { return };
    lines::fuzz(&file);
    let dwarf = file.dwarf();
    let types = Types::new(&dwarf, &[".c"]);
    let _ = (types.offset("outer", &["inner", "last"]), types.offset("outer", &["unnamed"]), types.size("outer"));
}

/// The memory of a guest: how long the files of its kernel and of OpenZFS's module are (two bytes each, the small end first), these, and what lies
/// in it that is not as in the kernel's file.
pub(crate) fn memory(bytes: &[u8]) {
    let take = |from: &mut &[u8], length: usize| {
        let (part, rest) = from.split_at_checked(length)?;
        *from = rest;
        Some(part.to_vec())
    };
    let length = |from: &mut &[u8]| take(from, 2).map(|two| usize::from(u16::from_le_bytes([two[0], two[1]])));
    let mut rest = bytes;
    let Some((kernel, module)) = length(&mut rest).zip(length(&mut rest)) else { return };
    let Some((kernel, module)) = take(&mut rest, kernel).zip(take(&mut rest, module)) else { return };
    let word = |from: &[u8]| from.iter().rev().fold(0, |word, byte| word << 8 | u64::from(*byte));
    let changed: Vec<(u64, u64)> = rest
        .chunks_exact(CHANGE)
        .take(CHANGES)
        .map(|one| (word(&one[..CHANGE / 2]), word(&one[CHANGE / 2..])))
        .collect();
    let Some(memory) = laid_out(&kernel, &changed) else { return };
    if let Some((kernel, zfs)) = File::read(kernel.clone()).zip(File::read(module))
        && let Ok(Some(messages)) = dbgmsg::of(&Guest(&memory), &kernel, &zfs)
    {
        assert!(messages.iter().all(|message| !message.text.contains(char::is_control)));
    }
}

/// What drgn says of the tasks of a guest.
pub(crate) fn found_tasks(text: &str) {
    let Some(found) = tasks::read(text, None) else { return };
    let again = serde_json::to_string(&found).expect("tasks are written as they were read");
    let again = tasks::limited(&again, &str::to_owned);
    assert_eq!(again.as_ref(), Some(&found), "what was read reads the same when it was kept");
    let names = found.tasks.iter().flat_map(|task| [&task.name, &task.state]);
    let calls = found.tasks.iter().flat_map(|task| &task.stack).map(|call| &call.function);
    assert!(names.chain(calls).all(|name| !name.contains(char::is_control)));
}

/// A guest's memory as the kernel's file lays it out, with other words at some places; nothing if that is no file of a kernel.
pub(super) fn laid_out(kernel: &[u8], changed: &[(u64, u64)]) -> Option<impl Fn(u64, &mut [u8]) -> bool> {
    let loads: Vec<_> = Elf::parse(kernel).ok()?.program_headers.into_iter().filter(|p| p.p_type == PT_LOAD).collect();
    let byte = move |at: u64| {
        if let Some((place, word)) = changed.iter().find(|(place, _)| at.wrapping_sub(*place) < 8) {
            return Some(word.to_le_bytes()[usize::try_from(at.wrapping_sub(*place)).ok()?]);
        }
        let at = if at >= FAR { at - FAR } else { at };
        let load = loads.iter().find(|p| at.checked_sub(p.p_vaddr).is_some_and(|within| within < p.p_memsz))?;
        // What is not in the file is zero.
        let within = load.p_offset.checked_add(at - load.p_vaddr).and_then(|within| usize::try_from(within).ok())?;
        Some(kernel.get(within).copied().unwrap_or(0))
    };
    // A page that is there is there as a whole.
    Some(move |at: u64, bytes: &mut [u8]| {
        bytes.iter_mut().enumerate().all(|(n, to)| match byte(at.wrapping_add(n as u64)) {
            Some(byte) => {
                *to = byte;
                true
            }
            None => n > 0,
        })
    })
}
