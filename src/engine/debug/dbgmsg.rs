//! `zfs_dbgmsg`: what OpenZFS noted for whoever looks into it, out of the memory of a guest that crashed. It is kept as a file beside that memory,
//! as the guest's /proc/spl/kstat/zfs/dbgmsg shows it, so that it stays when the memory is removed.
//!
//! The memory may hold anything, and so may the file: a project may have brought it along.

use super::file::File;
use super::guest::Guest;
use super::types::Types;
use crate::boot::crash::{Core, put};
use crate::engine::symbols::Symbols;
use crate::error::{Error, Result};
use crate::host;
use schemars::JsonSchema;
use serde::Serialize;
use std::collections::BTreeSet;
use std::io::Read;
use std::path::Path;

/// The file with the messages, which lies beside the memory.
pub const FILE: &str = "zfs_dbgmsg";
/// Its first line, as OpenZFS's own file has it.
const HEAD: &str = "timestamp    message";
/// Messages, bytes of one, and of all of them: OpenZFS itself keeps 4 MiB (`zfs_dbgmsg_maxsize`), of 1024 bytes at most.
const MESSAGES: usize = 200_000;
const LENGTH: usize = 4096;
const ALL: usize = 64 << 20;
/// Bytes from a message's beginning to what links it, at most.
const LINK: u64 = 4096;

/// A message of OpenZFS's.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
pub struct Message {
    /// When, in seconds since 1970 by the guest's clock.
    pub when: u64,
    /// What OpenZFS noted.
    pub text: String,
}

/// The messages in a guest's memory, the oldest first; `None` if the guest had no OpenZFS, or one of which there is no debug information.
///
/// # Errors
/// A file cannot be read, or the list cannot be found in the memory.
pub fn read(symbols: &Symbols, memory: &Path) -> Result<Option<Vec<Message>>> {
    let Some(zfs) = symbols.module_files().remove("zfs") else { return Ok(None) };
    let core = Core::open(memory)?;
    let guest = |at: u64, bytes: &mut [u8]| core.kernel(at, bytes);
    of(&Guest(&guest), &File::open(&symbols.vmlinux())?, &File::open(&zfs)?)
        .map_err(|why| Error::input(format!("zfs_dbgmsg cannot be read: {why}")))
}

pub(super) fn of(
    guest: &Guest<'_>,
    kernel: &File,
    zfs: &File,
) -> std::result::Result<Option<Vec<Message>>, &'static str> {
    let Some(sections) = guest.sections(kernel, "zfs")? else { return Ok(None) };
    let strange = "OpenZFS's structures are not as quiz knows them";
    let variable = zfs.variable("zfs_dbgmsgs").ok_or(strange)?;
    let section = zfs.sections.get(&variable.section).ok_or(strange)?;
    let begin = sections.get(&section.name).ok_or("the kernel does not say where OpenZFS's variables lie")?;
    let list = begin.wrapping_add(variable.address.wrapping_sub(section.place.start));
    let dwarf = zfs.dwarf();
    let types = Types::new(&dwarf, &["/zfs_debug.c"]);
    let offset = |structure, path: &[&str]| types.offset(structure, path).ok_or(strange);
    let head = list.wrapping_add(offset("procfs_list", &["pl_list", "list_head"])?);
    let before = offset("list_head", &["prev"])?;
    let (when, text) = (offset("zfs_dbgmsg", &["zdm_timestamp"])?, offset("zfs_dbgmsg", &["zdm_msg"])?);
    let damaged = "OpenZFS's list of messages is damaged";
    let link = guest.word(list.wrapping_add(offset("procfs_list", &["pl_list", "list_offset"])?)).ok_or(damaged)?;
    let mut node = guest.word(head.wrapping_add(before)).ok_or(damaged)?;
    if link > LINK {
        return Err(damaged);
    }
    // The newest first: what lies before a place that is damaged is lost.
    let (mut found, mut seen, mut bytes) = (Vec::new(), BTreeSet::new(), 0);
    while node != head && seen.insert(node) && found.len() < MESSAGES && bytes < ALL {
        let base = node.wrapping_sub(link);
        let one = guest.word(base.wrapping_add(when)).zip(guest.text(base.wrapping_add(text), LENGTH));
        let (Some((when, text)), Some(next)) = (one, guest.word(node.wrapping_add(before))) else { break };
        bytes += text.len();
        found.push(Message { when, text: plain(&String::from_utf8_lossy(&text)) });
        node = next;
    }
    found.reverse();
    Ok(Some(found))
}

/// The text of a message without what a terminal would take for a command.
fn plain(text: &str) -> String {
    text.trim_end().chars().map(|c| if c.is_control() { ' ' } else { c }).collect()
}

/// The messages that were kept in that folder.
#[must_use]
pub fn kept(folder: &Path) -> Option<Vec<Message>> {
    let mut text = String::new();
    host::open_plain(&folder.join(FILE)).ok()?.take(2 * ALL as u64).read_to_string(&mut text).ok()?;
    let lines = text.lines().skip(1).filter_map(|line| {
        let (when, text) = line.split_once(' ')?;
        Some(Message { when: when.parse().ok()?, text: plain(text.trim_start()) })
    });
    Some(lines.take(MESSAGES).collect())
}

/// Keeps messages in that folder.
///
/// # Errors
/// The file cannot be written.
pub fn keep(folder: &Path, messages: &[Message]) -> Result<()> {
    let lines = messages.iter().map(|Message { when, text }| format!("{when:<12} {text}\n"));
    let text = std::iter::once(format!("{HEAD}\n")).chain(lines).collect::<String>();
    put(folder, FILE, text.as_bytes())
}

#[cfg(test)]
mod tests;
