//! What a program needs to run, as its own first bytes or its dynamic section name it: an interpreter and libraries.
//!
//! Reads 64-bit little-endian ELF, which all architectures of quiz are but s390x; of anything else it says nothing. The numbers are
//! those of the System V ABI, elf(5). Does not know where libraries lie.

/// The names that are in the file.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Names {
    /// `#!`, with its one argument, or the dynamic loader.
    pub interpreter: Option<String>,
    /// DT_NEEDED.
    pub libraries: Vec<String>,
    /// DT_RUNPATH, else DT_RPATH: folders, `$ORIGIN` not replaced.
    pub folders: Vec<String>,
}

const LOAD: u64 = 1;
const DYNAMIC: u64 = 2;
const INTERP: u64 = 3;

const NEEDED: u64 = 1;
const STRTAB: u64 = 5;
const RPATH: u64 = 15;
const RUNPATH: u64 = 29;

/// One entry of the table of segments.
struct Segment {
    kind: u64,
    offset: u64,
    address: u64,
    size: u64,
}

/// What is named in the file; nothing in one that is damaged or of another kind.
pub(super) fn names(file: &[u8]) -> Names {
    if let Some(script) = file.strip_prefix(b"#!") {
        let line = script.split(|byte| *byte == b'\n').next().unwrap_or_default();
        let line = String::from_utf8_lossy(line).trim().to_owned();
        return Names { interpreter: (!line.is_empty()).then_some(line), ..Names::default() };
    }
    if !file.starts_with(b"\x7fELF\x02\x01") {
        return Names::default();
    }
    of_elf(file).unwrap_or_default()
}

fn of_elf(file: &[u8]) -> Option<Names> {
    let (start, size, count) = (number(file, 32, 8)?, number(file, 54, 2)?, number(file, 56, 2)?);
    let segment = |n: u64| {
        let at = start.checked_add(n.checked_mul(size)?)?;
        let field = |offset: u64, bytes| number(file, at.checked_add(offset)?, bytes);
        Some(Segment { kind: field(0, 4)?, offset: field(8, 8)?, address: field(16, 8)?, size: field(32, 8)? })
    };
    let segments: Vec<Segment> = (0..count).map(segment).collect::<Option<_>>()?;
    let find = |kind| segments.iter().find(|segment| segment.kind == kind);
    let mut names = Names::default();
    if let Some(interp) = find(INTERP) {
        names.interpreter = text(file, interp.offset);
    }
    let Some(dynamic) = find(DYNAMIC) else { return Some(names) };
    let entry = |n: u64| {
        let at = dynamic.offset.checked_add(n * 16)?;
        Some((number(file, at, 8)?, number(file, at.checked_add(8)?, 8)?))
    };
    let entries: Vec<(u64, u64)> = (0..dynamic.size / 16).map_while(entry).take_while(|(tag, _)| *tag != 0).collect();
    let values = |wanted| entries.iter().filter(move |(tag, _)| *tag == wanted).map(|(_, value)| *value);
    // Where the strings lie in memory; the segment says where that is in the file.
    let strings = values(STRTAB).next()?;
    let is_in = |s: &&Segment| s.kind == LOAD && strings.checked_sub(s.address).is_some_and(|offset| offset < s.size);
    let load = segments.iter().find(is_in)?;
    let strings = load.offset.checked_add(strings - load.address)?;
    let string = |value| text(file, strings.checked_add(value)?);
    names.libraries = values(NEEDED).filter_map(string).collect();
    let folders = values(RUNPATH).next().or_else(|| values(RPATH).next()).and_then(string).unwrap_or_default();
    names.folders = folders.split(':').filter(|folder| !folder.is_empty()).map(str::to_owned).collect();
    Some(names)
}

fn number(file: &[u8], at: u64, bytes: usize) -> Option<u64> {
    let at = usize::try_from(at).ok()?;
    let found = file.get(at..at.checked_add(bytes)?)?;
    Some(found.iter().rev().fold(0, |number, byte| number << 8 | u64::from(*byte)))
}

/// The string that begins there and ends with a zero byte.
fn text(file: &[u8], at: u64) -> Option<String> {
    let rest = file.get(usize::try_from(at).ok()?..)?;
    let end = rest.iter().position(|byte| *byte == 0)?;
    String::from_utf8(rest[..end].to_vec()).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_program_names_its_loader_and_its_libraries() {
        // This test is a program of the host's own kind.
        let file = std::fs::read(std::env::current_exe().unwrap()).unwrap();
        let names = names(&file);
        assert!(names.interpreter.as_ref().unwrap().contains("ld-linux"), "{names:?}");
        assert!(names.libraries.iter().any(|name| name.starts_with("libc.so.")), "{names:?}");
    }

    #[test]
    fn a_script_names_its_interpreter() {
        let interpreter = |file: &str| names(file.as_bytes()).interpreter;
        assert_eq!(interpreter("#!/bin/sh\nexec x").as_deref(), Some("/bin/sh"));
        assert_eq!(interpreter("#! /usr/bin/env perl -w\n").as_deref(), Some("/usr/bin/env perl -w"));
        assert_eq!((interpreter("#!\n"), interpreter("plain"), interpreter("")), (None, None, None));
    }

    #[test]
    fn a_damaged_file_names_nothing_and_hurts_nobody() {
        let file = std::fs::read("/proc/self/exe").unwrap();
        for cut in [6, 40, 64, 100, 500, 4096] {
            assert_eq!(names(&file[..cut.min(file.len())]).libraries, [""; 0], "cut at {cut}");
        }
        let mut wild = file[..4096].to_vec();
        wild[32..40].fill(0xff);
        assert_eq!(names(&wild), Names::default());
    }
}
