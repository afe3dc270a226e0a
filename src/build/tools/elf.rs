//! What a program needs to run, as its own first bytes or its dynamic section name it: an interpreter and libraries.
//!
//! Does not know where libraries lie.

use goblin::elf::Elf;
use serde::{Deserialize, Serialize};

/// The names that are in the file.
#[derive(Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(in crate::build) struct Names {
    /// `#!`, with its one argument, or the dynamic loader.
    pub interpreter: Option<String>,
    /// DT_NEEDED.
    pub libraries: Vec<String>,
    /// DT_RUNPATH, else DT_RPATH: folders, `$ORIGIN` not replaced.
    pub folders: Vec<String>,
}

/// What is named in the file; nothing in one that is damaged or of another kind.
pub(in crate::build) fn names(file: &[u8]) -> Names {
    if let Some(script) = file.strip_prefix(b"#!") {
        let line = script.split(|byte| *byte == b'\n').next().unwrap_or_default();
        let line = String::from_utf8_lossy(line).trim().to_owned();
        return Names { interpreter: (!line.is_empty()).then_some(line), ..Names::default() };
    }
    of_elf(file).unwrap_or_default()
}

fn of_elf(file: &[u8]) -> Option<Names> {
    let elf = Elf::parse(file).ok()?;
    let owned = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect();
    let folders = if elf.runpaths.is_empty() { elf.rpaths } else { elf.runpaths };
    let folders = folders.into_iter().flat_map(|all| all.split(':')).filter(|folder| !folder.is_empty());
    Some(Names {
        interpreter: elf.interpreter.map(str::to_owned),
        libraries: owned(&elf.libraries),
        folders: folders.map(str::to_owned).collect(),
    })
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
