//! The memory of a guest, read from its qemu, which stands still: a page of the guest after the other, without those that it never used and
//! those that hold nothing but zeros.
//!
//! Where a guest's memory lies in qemu differs: a file of quiz's that is shared, one of which only what was written is its own, or no file at all.
//! The host's kernel tells all of them apart (proc(5): maps, pagemap). Knows nothing of files that a dump consists of.

use std::fs::{self, File};
use std::io::{Error, Result};
use std::ops::Range;
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::Path;
use std::sync::{Mutex, PoisonError};
use std::time::SystemTime;

use super::super::folder::{MEMORY, NEW};
use super::super::sparse::parts;

/// Bytes of a page, of the guest's and of the host's: quiz has only machines for which that holds.
const PAGE: usize = 4096;
/// How many bytes are looked at together.
const CHUNK: usize = 1 << 20;

/// Of an entry of pagemap: the page is there, or in the swap.
const THERE: u64 = 0b11 << 62;

/// A range of the guest's memory that lies in one piece in qemu's.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Piece {
    /// The guest's physical address of its first byte.
    pub(super) guest: u64,
    /// The address of that byte in qemu.
    pub(super) host: u64,
    /// In bytes.
    pub(super) length: u64,
    /// Where it goes in the file.
    pub(super) offset: u64,
}

/// What was copied.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Copied {
    /// Bytes that hold something.
    pub(super) used: u64,
    /// The text of the note VMCOREINFO, by which the guest's kernel says where it has what.
    pub(super) vmcoreinfo: Option<Vec<u8>>,
}

/// How far a memory is that is being written there: blocks, and when the last came.
#[must_use]
pub fn being_written(place: &Path) -> Option<(u64, SystemTime)> {
    let meta = fs::symlink_metadata(place.join(NEW).join(MEMORY)).ok()?;
    Some((meta.blocks(), meta.modified().ok()?))
}

/// Copies what of `pieces` holds something from the process `qemu` to `to`, and leaves holes where it holds nothing. `forward` is called now and then while
/// that comes forward.
pub(super) fn copy(qemu: u32, pieces: &[Piece], to: &File, forward: &(dyn Fn() + Sync)) -> Result<Copied> {
    let open = |name: &str| {
        let path = format!("/proc/{qemu}/{name}");
        File::open(&path)
            .map_err(|e| Error::other(format!("cannot read {path}: {e} (kernel.yama.ptrace_scope, a container?)")))
    };
    let (memory, pages) = (open("mem")?, open("pagemap")?);
    let maps = fs::read_to_string(format!("/proc/{qemu}/maps"))?;
    let mut chunks = Vec::new();
    for piece in pieces {
        let data = backed(qemu, &maps, piece)?;
        for at in (0..piece.length).step_by(CHUNK) {
            let length = usize::try_from(piece.length - at).unwrap_or(CHUNK).min(CHUNK);
            chunks.push((piece, at, length, data.iter().any(|data| at < data.end && data.start < at + length as u64)));
        }
    }
    let (chunks, copied) = (Mutex::new(chunks.into_iter()), Mutex::new(Copied::default()));
    let work = || -> Result<()> {
        let (mut bytes, mut entries) = (vec![0; CHUNK], vec![0; CHUNK / PAGE * 8]);
        loop {
            let next = chunks.lock().unwrap_or_else(PoisonError::into_inner).next();
            let Some((piece, at, length, has_data)) = next else { return Ok(()) };
            forward();
            let entries = &mut entries[..length / PAGE * 8];
            pages.read_exact_at(entries, (piece.host + at) / PAGE as u64 * 8)?;
            let is_there = |entry: &[u8]| u64::from_le_bytes(entry.try_into().unwrap_or_default()) & THERE != 0;
            if !has_data && !entries.chunks_exact(8).any(is_there) {
                continue;
            }
            let bytes = &mut bytes[..length];
            memory.read_exact_at(bytes, piece.host + at)?;
            let (mut used, mut text) = (0, None);
            for (range, page) in runs(bytes) {
                to.write_all_at(page, piece.offset + at + range.start as u64)?;
                used += page.len() as u64;
                text = text.or_else(|| page.chunks(PAGE).find_map(vmcoreinfo));
            }
            let mut copied = copied.lock().unwrap_or_else(PoisonError::into_inner);
            copied.used += used;
            copied.vmcoreinfo = copied.vmcoreinfo.take().or(text);
        }
    };
    std::thread::scope(|scope| {
        let other = scope.spawn(work);
        work().and(other.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)))
    })?;
    Ok(copied.into_inner().unwrap_or_else(PoisonError::into_inner))
}

/// Ranges of pages that hold something, and what.
fn runs(bytes: &[u8]) -> impl Iterator<Item = (Range<usize>, &[u8])> {
    let is_used = |page: &[u8]| page.iter().any(|&byte| byte != 0);
    let mut at = 0;
    std::iter::from_fn(move || {
        while at < bytes.len() && !is_used(&bytes[at..bytes.len().min(at + PAGE)]) {
            at += PAGE;
        }
        let start = at;
        while at < bytes.len() && is_used(&bytes[at..bytes.len().min(at + PAGE)]) {
            at += PAGE;
        }
        let end = at.min(bytes.len());
        (start < end).then(|| (start..end, &bytes[start..end]))
    })
}

/// The text of that note, if the page begins with it. Linux has it on pages of its own (`crash_save_vmcoreinfo_init`).
fn vmcoreinfo(page: &[u8]) -> Option<Vec<u8>> {
    const HEAD: &[u8] = b"\x0b\0\0\0";
    const NAME: &[u8] = b"VMCOREINFO\0\0";
    let length = usize::try_from(u32::from_le_bytes(page.get(4..8)?.try_into().ok()?)).ok()?;
    let is_note = page.starts_with(HEAD) && page.get(8..12)? == [0; 4] && page.get(12..24)? == NAME;
    let text = page.get(24..24 + length).filter(|_| is_note)?;
    text.starts_with(b"OSRELEASE=").then(|| text.to_vec())
}

/// Where the file has data that qemu has at that piece as its memory, from the piece's beginning on; none where there is no file.
fn backed(qemu: u32, maps: &str, piece: &Piece) -> Result<Vec<Range<u64>>> {
    let missing = || Error::other(format!("qemu has no memory at {:#x}", piece.host));
    // 7f5717fff000-7f5757fff000 rw-s 00000000 00:01 1095   /memfd:memory-backend-memfd (deleted)
    let (start, mut words) = maps
        .lines()
        .filter_map(|line| {
            let (range, rest) = line.split_once(' ')?;
            let (start, end) = range.split_once('-')?;
            let range = u64::from_str_radix(start, 16).ok()?..u64::from_str_radix(end, 16).ok()?;
            range.contains(&piece.host).then_some((range.start, rest.split_whitespace()))
        })
        .next()
        .ok_or_else(missing)?;
    let offset = words.nth(1).and_then(|offset| u64::from_str_radix(offset, 16).ok()).ok_or_else(missing)?;
    let inode = words.nth(1).and_then(|inode| inode.parse::<u64>().ok()).ok_or_else(missing)?;
    if inode == 0 {
        return Ok(Vec::new());
    }
    // By a descriptor of qemu's: the file need not have a name any more.
    for fd in fs::read_dir(format!("/proc/{qemu}/fd"))? {
        let path = fd?.path();
        let begin = offset + (piece.host - start);
        // A file of another file system may have that number, too; it is not as large as a machine's memory.
        let is_it = |meta: fs::Metadata| meta.ino() == inode && meta.is_file() && meta.len() >= begin + piece.length;
        if fs::metadata(&path).is_ok_and(is_it) {
            let parts = parts(&File::open(&path)?)?.into_iter();
            let within =
                parts.filter(|part| part.end > begin).map(|part| part.start.saturating_sub(begin)..part.end - begin);
            return Ok(within.collect());
        }
    }
    // No descriptor of that file was found: all of the piece may be used.
    Ok(std::iter::once(0..piece.length).collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use rustix::mm::{MapFlags, ProtFlags, mmap, mmap_anonymous, munmap};
    use std::os::fd::AsFd;

    const SIZE: usize = 8 << 20;

    /// A page at that place of memory which this process has itself.
    fn put(memory: *mut u8, at: usize, byte: u8) {
        assert!(at + PAGE <= SIZE);
        // SAFETY: the mapping has SIZE bytes.
        unsafe { memory.add(at).write_bytes(byte, PAGE) };
    }

    fn copied(memory: *mut u8) -> (Vec<u8>, Copied, u64) {
        let to = tempfile::tempfile().unwrap();
        to.set_len(PAGE as u64 + SIZE as u64).unwrap();
        let host = memory.addr() as u64;
        let piece = Piece { guest: 0, host, length: SIZE as u64, offset: PAGE as u64 };
        let copied = copy(std::process::id(), &[piece], &to, &|| {}).unwrap();
        let mut bytes = vec![0; SIZE];
        to.read_exact_at(&mut bytes, PAGE as u64).unwrap();
        (bytes, copied, to.metadata().unwrap().blocks() * 512)
    }

    /// Memory of each kind, and what is known to be in it: by page.
    #[test]
    fn what_was_written_is_copied_whatever_the_memory_lies_in() {
        let file = tempfile::tempfile().unwrap();
        file.set_len(SIZE as u64).unwrap();
        file.write_all_at(&[7; PAGE], 3 << 20).unwrap();
        let (all, none) = (ProtFlags::READ | ProtFlags::WRITE, std::ptr::null_mut());
        // SAFETY: new mappings, at addresses that are free.
        let maps = unsafe {
            [
                mmap_anonymous(none, SIZE, all, MapFlags::PRIVATE).unwrap(),
                mmap(none, SIZE, all, MapFlags::PRIVATE, file.as_fd(), 0).unwrap(),
                mmap(none, SIZE, all, MapFlags::SHARED, file.as_fd(), 0).unwrap(),
            ]
        };
        for (number, map) in maps.into_iter().enumerate() {
            let map = map.cast::<u8>();
            put(map, 0, 1);
            put(map, SIZE - PAGE, 2);
            put(map, 5 << 20, 0);
            let (bytes, copied, blocks) = copied(map);
            let mut wanted = vec![0; SIZE];
            wanted[..PAGE].fill(1);
            wanted[SIZE - PAGE..].fill(2);
            if number > 0 {
                wanted[3 << 20..][..PAGE].fill(7);
            }
            assert!(bytes == wanted, "{number}");
            assert_eq!(copied.used, PAGE as u64 * if number > 0 { 3 } else { 2 }, "{number}");
            assert!(blocks < 64 << 10, "{number}: {blocks}");
            // SAFETY: nothing points there any more.
            unsafe { munmap(map.cast(), SIZE).unwrap() };
        }
    }

    #[test]
    fn a_qemu_that_ends_before_its_memory_is_written_is_no_memory_of_zeros() {
        let qemu = std::process::Command::new("sleep").arg("60").spawn().unwrap();
        let id = qemu.id();
        let maps = || fs::read_to_string(format!("/proc/{id}/maps")).unwrap();
        // It is still this process before it has become the other one.
        let is_other = || fs::read_to_string(format!("/proc/{id}/comm")).unwrap().starts_with("sleep");
        let begun = std::time::Instant::now();
        while !(is_other() && maps().contains("[heap]")) && begun.elapsed().as_secs() < 60 {
            std::thread::yield_now();
        }
        let maps = maps();
        let heap = maps.lines().find(|line| line.ends_with("[heap]")).unwrap();
        let host = u64::from_str_radix(heap.split_once('-').unwrap().0, 16).unwrap();
        let piece = Piece { guest: 0, host, length: PAGE as u64, offset: 0 };
        let to = tempfile::tempfile().unwrap();
        copy(id, &[piece], &to, &|| {}).unwrap();
        let qemu = Mutex::new(qemu);
        let ends = || {
            let mut qemu = qemu.lock().unwrap();
            qemu.kill().unwrap();
            qemu.wait().unwrap();
        };
        assert_eq!(copy(id, &[piece], &to, &ends).unwrap_err().kind(), std::io::ErrorKind::UnexpectedEof);
    }

    #[test]
    fn the_kernels_own_note_is_found_and_nothing_else_is_taken_for_it() {
        let mut page = vec![0; PAGE];
        page[..24].copy_from_slice(b"\x0b\0\0\0\x0e\0\0\0\0\0\0\0VMCOREINFO\0\0");
        page[24..38].copy_from_slice(b"OSRELEASE=7.3\n");
        assert_eq!(vmcoreinfo(&page).unwrap(), b"OSRELEASE=7.3\n");
        for (at, byte) in [(0, 1), (4, 255), (5, 255), (8, 1), (13, b'X'), (24, b'X')] {
            let mut wrong = page.clone();
            wrong[at] = byte;
            if at == 4 {
                // Longer, but still on the page: the rest is as empty as it says.
                assert_eq!(vmcoreinfo(&wrong).unwrap().len(), 255);
            } else {
                assert_eq!(vmcoreinfo(&wrong), None, "{at}");
            }
        }
        assert_eq!(vmcoreinfo(b"short"), None);
    }
}
