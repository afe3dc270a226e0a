//! Programs of a root of packages, which run on this machine as they are: by the root's own loader, with its libraries. They see this
//! machine's files, and need none of its libraries.

use std::ffi::{OsStr, OsString};
use std::path::{Path, PathBuf};

/// Where libraries lie in a root of Debian's, for x86_64.
pub const LIBRARIES: &str = "usr/lib/x86_64-linux-gnu";
const LOADER: &str = "usr/lib64/ld-linux-x86-64.so.2";

/// The program of that name, if the root has it, and a loader.
#[must_use]
pub fn find(root: &Path, name: &str) -> Option<PathBuf> {
    let path = root.join("usr/bin").join(name);
    (path.is_file() && root.join(LOADER).exists()).then_some(path)
}

/// The words that start a program of a root, before its arguments; `options` are more of the loader's (ld.so(8)). Its children are told nothing of
/// these libraries.
#[must_use]
pub fn words(root: &Path, program: &Path, options: &[&OsStr]) -> Vec<OsString> {
    let mut words: Vec<OsString> = vec![root.join(LOADER).into(), "--inhibit-cache".into()];
    words.extend(options.iter().map(OsString::from));
    words.extend(["--library-path".into(), root.join(LIBRARIES).into(), program.into()]);
    words
}
