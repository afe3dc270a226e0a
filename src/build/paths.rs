//! Turns the paths in a script's words into those of the user: compilers see `/quiz/…`, editors want the worktree's own.
//!
//! Also completes what a compiler names relative to the folder it was started in, which make tells ("Entering directory")
//! when it is called with `-w` and `--output-sync`. Does not know what compilers say otherwise.

use std::path::{Component, Path, PathBuf};

/// Which of the user's paths stand for those in the sandbox.
#[derive(Debug)]
pub(super) struct PathMap {
    /// Folder inside, folder of the user.
    pairs: Vec<(String, String)>,
    /// The folder that make said last.
    folder: Option<String>,
}

impl PathMap {
    /// The first path of each pair, and all below it, is shown as the second, which is the user's.
    pub(super) fn new(pairs: Vec<(String, PathBuf)>) -> Self {
        let text = |(inside, outside): (String, PathBuf)| (inside, outside.display().to_string());
        Self { pairs: pairs.into_iter().map(text).collect(), folder: None }
    }

    /// The line with the user's paths.
    pub(super) fn outside(&mut self, line: &str) -> String {
        if let Some((_, folder)) = line.split_once(": Entering directory '") {
            self.folder = folder.strip_suffix('\'').map(str::to_owned);
        }
        let mut line = self.complete(line).unwrap_or_else(|| line.to_owned());
        for (inside, outside) in &self.pairs {
            line = replaced(&line, inside, outside);
        }
        line
    }

    /// `../../a/b.c:12: …` with the folder in front, `.` and `..` taken out.
    fn complete(&self, line: &str) -> Option<String> {
        let (path, rest) = line.split_once(':')?;
        let is_place = rest.starts_with(|c: char| c.is_ascii_digit()) && path.contains('.') && !path.starts_with('/');
        if self.pairs.is_empty() || !is_place || path.contains(char::is_whitespace) {
            return None;
        }
        let mut full = PathBuf::new();
        for part in Path::new(self.folder.as_ref()?).join(path).components() {
            match part {
                Component::ParentDir => drop(full.pop()),
                Component::CurDir => {}
                other => full.push(other),
            }
        }
        Some(format!("{}:{rest}", full.display()))
    }
}

/// The line with `outside` for each path that is `inside` or lies below it; `/x/inside` is another.
fn replaced(line: &str, inside: &str, outside: &str) -> String {
    let mut out = String::new();
    let mut rest = line;
    while let Some(at) = rest.find(inside) {
        let (before, found) = rest.split_at(at);
        let after = &found[inside.len()..];
        out += before;
        let starts = !out.ends_with(|c: char| c.is_alphanumeric() || "._-+/".contains(c));
        out += if starts && after.starts_with(['/', ':']) { outside } else { inside };
        rest = after;
    }
    out + rest
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn compilers_words_get_the_users_paths() {
        let mut map = PathMap::new(vec![("/quiz/scratch/tree".to_owned(), "/home/me/zfs".into())]);
        assert_eq!(
            map.outside("/quiz/scratch/tree/module/zfs/arc.c:7:1: error: x"),
            "/home/me/zfs/module/zfs/arc.c:7:1: error: x"
        );
        assert_eq!(map.outside("../../module/zfs/arc.c:7:1: error: x"), "../../module/zfs/arc.c:7:1: error: x");
        map.outside("make[2]: Entering directory '/quiz/scratch/tree/lib/libzpool'");
        assert_eq!(map.outside("../../module/zfs/arc.c:7:1: error: x"), "/home/me/zfs/module/zfs/arc.c:7:1: error: x");
        assert_eq!(map.outside("kernel.c:12:3: warning: y"), "/home/me/zfs/lib/libzpool/kernel.c:12:3: warning: y");
        for same in ["  CC       arc.lo", "note: see x.c", "make: *** [Makefile:12: all] Error 2", "12:30: noon"] {
            assert_eq!(map.outside(same), same);
        }
    }

    #[test]
    fn a_folder_of_the_same_name_elsewhere_is_another() {
        let tree = ("/quiz/scratch/tree".to_owned(), PathBuf::from("/home/me/linux"));
        let mut map = PathMap::new(vec![tree, ("/usr/include".to_owned(), "/root/usr/include".into())]);
        for (inside, outside) in [
            ("/quiz/scratch/tree/usr/include/linux/x.h:3: y", "/home/me/linux/usr/include/linux/x.h:3: y"),
            ("In file included from /usr/include/stdio.h:1,", "In file included from /root/usr/include/stdio.h:1,"),
            ("/usr/include/usr/include/x.h: y", "/root/usr/include/usr/include/x.h: y"),
            ("/usr/included/x.h: y", "/usr/included/x.h: y"),
        ] {
            assert_eq!(map.outside(inside), outside);
        }
    }

    #[test]
    fn without_a_users_folder_nothing_changes() {
        let mut map = PathMap::new(Vec::new());
        map.outside("make: Entering directory '/quiz/src'");
        assert_eq!(map.outside("a.c:1:2: error: x"), "a.c:1:2: error: x");
    }
}
