//! `quiz --version`, and with `--verbose` what the program was built from. Reads nothing of a project.

use crate::{report, source, status};
use std::ffi::OsString;

/// What build.rs found out. A commit and a day are empty where it found none, and then the line is the version's number alone.
const LINE: &str = env!("BUILT_AS");
const COMMIT: &str = env!("BUILT_FROM_COMMIT");
const MODIFIED: &str = env!("BUILT_FROM_MODIFIED");
const DAY: &str = env!("BUILT_FROM_DAY");
const TARGET: &str = env!("BUILT_FOR");
const COMPILER: &str = env!("BUILT_BY");

/// Prints it all, if this is what the command line asks for: `--version`, and `--verbose` or `--json`, in whichever order.
///
/// Clap ends at the first of them that it meets, and so cannot know of the other.
pub(super) fn answer(args: &[OsString]) -> Option<u8> {
    let words = args.iter().skip(1).map(|word| word.to_str().unwrap_or_default());
    let asked: Vec<&str> = words.take_while(|word| word.starts_with('-') && *word != "--").collect();
    let short = |letter: char| move |word: &&str| !word.starts_with("--") && word.contains(letter);
    let has = |long: &str, letter| asked.contains(&long) || asked.iter().any(short(letter));
    let (whole, as_json) = (has("--verbose", 'v'), asked.contains(&"--json"));
    if !has("--version", 'V') || !(whole || as_json) || !asked.iter().all(is_about_this) {
        return None;
    }
    let text = report::version(LINE, &built(), as_json);
    Some(report::result(&text).map_or(status::FAILED, |()| status::FINE))
}

/// Whether a word has no other meaning than to ask for this.
fn is_about_this(word: &&str) -> bool {
    ["--version", "--verbose", "--json", "--color=never", "--color=auto", "--color=always"].contains(word)
        || (!word.starts_with("--") && word.len() > 1 && word[1..].chars().all(|c| c == 'v' || c == 'V'))
}

/// Name and value of each thing that is known.
fn built() -> Vec<(&'static str, String)> {
    let commit = match (COMMIT, MODIFIED) {
        ("", _) => "unknown: not built in a git repository".to_owned(),
        (id, "true") => format!("{id}, modified"),
        (id, _) => id.to_owned(),
    };
    let mut all = vec![("version", env!("CARGO_PKG_VERSION").to_owned()), ("commit", commit)];
    all.extend((!DAY.is_empty()).then(|| ("commit-date", DAY.to_owned())));
    all.push(("rustc", COMPILER.to_owned()));
    all.push(("target", TARGET.to_owned()));
    all.push(("toolchain", source::tested_toolchain()));
    all
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_known_is_said_and_nothing_else() {
        let built = built();
        let of = |name: &str| built.iter().find(|(known, _)| *known == name).map_or("", |(_, value)| value);
        assert_eq!(of("version"), env!("CARGO_PKG_VERSION"));
        assert!(of("rustc").starts_with("rustc 1."), "{built:?}");
        assert!(of("target").starts_with(std::env::consts::ARCH), "{built:?}");
        assert!(of("toolchain").starts_with("bookworm, "), "{built:?}");
        assert!(LINE.starts_with(of("version")));
        let commit = of("commit").strip_suffix(", modified").unwrap_or(of("commit"));
        let is_id = commit.len() == 40 && commit.bytes().all(|b| b.is_ascii_hexdigit());
        assert!(is_id || commit.starts_with("unknown: "), "{built:?}");
        assert!(built.iter().all(|(_, value)| !value.is_empty() && !value.contains(env!("CARGO_MANIFEST_DIR"))));
    }
}
