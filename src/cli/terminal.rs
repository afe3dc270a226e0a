//! What the guest is told of the user's terminal: a name that it knows, or the whole description of it.

use std::ffi::{OsStr, OsString};
use std::fmt::Write;
use std::path::PathBuf;

/// Terminals that the guest's root knows: those of Debian's package ncurses-base.
const KNOWN: &[&str] = &[
    "ansi",
    "cygwin",
    "dumb",
    "linux",
    "rxvt",
    "rxvt-unicode",
    "rxvt-unicode-256color",
    "screen",
    "screen-256color",
    "screen.xterm-256color",
    "tmux",
    "tmux-256color",
    "vt100",
    "vt102",
    "vt220",
    "xterm",
    "xterm-256color",
    "xterm-color",
    "xterm-mono",
];

/// What most terminals that are not in that list come close to.
const NEAREST: &str = "xterm-256color";

/// The largest compiled description that is taken along, in bytes; ncurses itself takes no more (term.h: MAX_ENTRY_SIZE2).
const LARGEST: usize = 32_768;

/// What a program on a terminal of the guest is told of this one: `NAME=value`.
pub(super) fn passed_on() -> Vec<OsString> {
    let own = |name: &str| std::env::var_os(name);
    let others = ["COLORTERM", "LANG"].into_iter().filter_map(|name| Some((name, own(name)?)));
    let all = environment(own).into_iter().chain(others);
    all.map(|(name, value)| [OsString::from(name), value].join(OsStr::new("="))).collect()
}

/// Variables of the guest's programs, out of the host's. Nothing without TERM.
fn environment(variable: impl Fn(&str) -> Option<OsString>) -> Vec<(&'static str, OsString)> {
    let Some(term) = variable("TERM").and_then(|term| term.into_string().ok()).filter(|term| !term.is_empty()) else {
        return Vec::new();
    };
    if KNOWN.contains(&term.as_str()) {
        return vec![("TERM", term.into())];
    }
    match described(&term, &folders(variable)) {
        // In the form of tic and infocmp's -Q, which ncurses takes for a folder's name (ncurses(3X), TERMINFO).
        Some(entry) => {
            let hex = entry.iter().fold("hex:".to_owned(), |mut hex, byte| {
                let _ = write!(hex, "{byte:02x}");
                hex
            });
            vec![("TERM", term.into()), ("TERMINFO", hex.into())]
        }
        None => vec![("TERM", NEAREST.into())],
    }
}

/// Where ncurses looks on Debian, Fedora and Arch (terminfo(5), Fetching Compiled Descriptions).
fn folders(variable: impl Fn(&str) -> Option<OsString>) -> Vec<PathBuf> {
    let own = variable("TERMINFO").map(PathBuf::from);
    let home = variable("HOME").map(|home| PathBuf::from(home).join(".terminfo"));
    let dirs = variable("TERMINFO_DIRS").unwrap_or_default();
    let dirs = std::env::split_paths(&dirs).filter(|dir| !dir.as_os_str().is_empty()).collect::<Vec<_>>();
    let usual = ["/etc/terminfo", "/lib/terminfo", "/usr/share/terminfo"].map(PathBuf::from);
    own.into_iter().chain(home).chain(dirs).chain(usual).collect()
}

/// The compiled description of a terminal, from the first folder that has one.
fn described(term: &str, folders: &[PathBuf]) -> Option<Vec<u8>> {
    let first = term.chars().next().filter(|_| !term.contains('/') && !term.starts_with('.'))?;
    let read = |folder: &PathBuf| std::fs::read(folder.join(first.to_string()).join(term)).ok();
    folders.iter().find_map(read).filter(|entry| entry.len() <= LARGEST)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn given(term: &str, terminfo: &std::path::Path) -> Vec<(&'static str, OsString)> {
        environment(|name| match name {
            "TERM" => Some(term.into()),
            "TERMINFO" => Some(terminfo.into()),
            _ => None,
        })
    }

    #[test]
    fn a_terminal_that_the_root_does_not_know_brings_its_description_along() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::create_dir(dir.path().join("x")).unwrap();
        std::fs::write(dir.path().join("x/xterm-odd"), b"\x1a\x01\xff").unwrap();
        let odd = given("xterm-odd", dir.path());
        assert_eq!(odd, [("TERM", "xterm-odd".into()), ("TERMINFO", "hex:1a01ff".into())]);
        assert_eq!(given("xterm", dir.path()), [("TERM", "xterm".into())]);
        for unknown in ["no-such-terminal-x", "../x/xterm-odd", "/etc/passwd"] {
            assert_eq!(given(unknown, dir.path()), [("TERM", NEAREST.into())], "{unknown}");
        }
        std::fs::write(dir.path().join("x/xterm-odd"), vec![0; LARGEST + 1]).unwrap();
        assert_eq!(given("xterm-odd", dir.path()), [("TERM", NEAREST.into())]);
        assert_eq!(environment(|_| None), []);
    }
}
