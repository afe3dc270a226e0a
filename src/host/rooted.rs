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

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// A root that has a loader and this program.
    pub fn root(program: &str) -> tempfile::TempDir {
        let root = tempfile::tempdir().unwrap();
        for file in [LOADER, &format!("usr/bin/{program}")] {
            let file = root.path().join(file);
            std::fs::create_dir_all(file.parent().unwrap()).unwrap();
            std::fs::write(file, "").unwrap();
        }
        root
    }

    /// The words as one line, in which the root is `ROOT`.
    pub fn line(root: &Path, words: &[OsString]) -> String {
        words.join(OsStr::new(" ")).to_str().unwrap().replace(root.to_str().unwrap(), "ROOT")
    }

    #[test]
    fn a_program_is_started_by_its_roots_loader_with_its_roots_libraries() {
        let root = root("cat");
        let root = root.path();
        assert_eq!(find(root, "tac"), None);
        let program = find(root, "cat").unwrap();
        let wanted = "ROOT/usr/lib64/ld-linux-x86-64.so.2 --inhibit-cache --argv0 x --library-path \
            ROOT/usr/lib/x86_64-linux-gnu ROOT/usr/bin/cat";
        assert_eq!(line(root, &words(root, &program, &["--argv0", "x"].map(OsStr::new))), wanted);
        std::fs::remove_file(root.join(LOADER)).unwrap();
        assert_eq!(find(root, "cat"), None, "there is nothing that could start it");
    }
}
