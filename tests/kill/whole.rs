//! What a cache has to be whatever was killed: nothing half, and nothing gone that was there.

use crate::project::{Project, files};
use quiz_cache::{Cache, Digest, Key, Kind, Node, Output, Tree};
use std::collections::{BTreeMap, BTreeSet};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

/// Folders of structured files (cache/README.md): a header of 56 bytes, of which the last 32 are the digest of what follows.
const STRUCTURED: &[&str] = &["glances", "latest", "manifests", "memos", "records", "stats", "subtrees"];

/// Reads every result. Each has to be complete; gives what is wrong.
pub fn wrong(project: &Project) -> Vec<String> {
    let root = project.cache();
    let mut wrong = Vec::new();
    if !root.join("version").exists() {
        return wrong;
    }
    for folder in STRUCTURED {
        for path in files(&root.join(folder)) {
            let bytes = std::fs::read(&path).unwrap();
            if bytes.len() < 56 || Digest::of(&bytes[56..]).as_bytes()[..] != bytes[24..56] {
                wrong.push(format!("{} is half", path.display()));
            }
        }
    }
    for path in files(&root.join("objects")) {
        if Some(of_file(&path)) != name(&path) {
            wrong.push(format!("{} is another one", path.display()));
        }
    }
    let cache = Cache::open(&root).unwrap();
    for path in entries(&root.join("trees")) {
        let output = Output { kind: Kind::Tree, digest: name(&path).unwrap(), size: 0, files: 0 };
        // One without its list is not taken for a result: a collection that was killed had begun to remove it.
        let Ok(tree) = cache.tree(&output) else { continue };
        if !cache.is_present(&output).unwrap() || !has_contents(&tree, &path) {
            wrong.push(format!("{} is not its tree", path.display()));
        }
    }
    // The record is written last.
    for path in entries(&root.join("records")) {
        // Read from text, as any other reader would: only the cache makes new keys.
        let key = serde_json::json!(name(&path).unwrap().as_bytes().to_vec());
        let key: Key = serde_json::from_value(key).unwrap();
        let Some(record) = cache.record(&key).unwrap() else {
            wrong.push(format!("{} cannot be read", path.display()));
            continue;
        };
        for (name, output) in record.outputs.iter().filter(|(_, output)| !cache.is_present(output).unwrap()) {
            wrong.push(format!("{}/{name} is not there: {}", record.stage, cache.path(output).display()));
        }
    }
    let ignore = project.dir().join(".quiz/.gitignore");
    if std::fs::read_to_string(&ignore).is_ok_and(|text| !text.starts_with("*\n")) {
        wrong.push(format!("{} is half: git sees all runs", ignore.display()));
    }
    // A run that was killed has no result, and another one a whole one.
    for path in files(&project.dir().join(".quiz/runs")).iter().filter(|path| path.ends_with("result.json")) {
        if serde_json::from_slice::<serde_json::Value>(&std::fs::read(path).unwrap()).is_err() {
            wrong.push(format!("{} is half", path.display()));
        }
    }
    wrong
}

fn has_contents(tree: &Tree, folder: &Path) -> bool {
    tree.items().iter().all(|(path, node)| match node {
        Node::File { digest, .. } => of_file(&folder.join(path)) == *digest,
        _ => true,
    })
}

fn of_file(path: &Path) -> Digest {
    let is_executable = path.metadata().unwrap().permissions().mode() & 0o100 != 0;
    Digest::of_file(&std::fs::read(path).unwrap(), is_executable)
}

fn name(path: &Path) -> Option<Digest> {
    path.file_name()?.to_str()?.parse().ok()
}

/// What lies in the folders of two digits.
fn entries(folder: &Path) -> Vec<PathBuf> {
    let list = |path: &Path| std::fs::read_dir(path).into_iter().flatten().map(|entry| entry.unwrap().path());
    list(folder).flat_map(|digits| list(&digits).collect::<Vec<_>>()).collect()
}

/// The names of all results.
pub fn results(project: &Project) -> BTreeSet<PathBuf> {
    ["manifests", "objects", "records", "trees"].iter().flat_map(|name| entries(&project.cache().join(name))).collect()
}

/// What nobody has cleaned up: temporary folders and locks.
pub fn left(project: &Project) -> Vec<PathBuf> {
    let list = |name: &str| std::fs::read_dir(project.cache().join(name)).into_iter().flatten();
    ["tmp", "locks"].iter().flat_map(|name| list(name)).map(|entry| entry.unwrap().path()).collect()
}

/// Files by path: content and mode.
pub type Sources = BTreeMap<PathBuf, (Vec<u8>, u32)>;

/// All files of the user's.
pub fn sources(project: &Project) -> Sources {
    let dir = project.dir();
    let is_ours =
        |path: &Path| [".quiz/runs", ".quiz/shared", ".git"].iter().any(|own| path.starts_with(dir.join(own)));
    let all = files(&dir).into_iter().filter(|path| !is_ours(path) && !path.ends_with(".quiz/.gitignore"));
    all.map(|path| {
        let (content, mode) = (std::fs::read(&path).unwrap(), path.metadata().unwrap().permissions().mode());
        (path, (content, mode))
    })
    .collect()
}

/// A process that sees something of the project: in its mounts, as a sandbox does, or in its arguments, as qemu.
#[derive(Debug)]
pub struct Process {
    pub pid: i32,
    /// Its program's name, without folders.
    pub name: String,
    /// For people.
    pub words: String,
}

/// Those there are, but for this one.
pub fn processes(project: &Project) -> Vec<Process> {
    let root = project.dir().parent().unwrap().file_name().unwrap().to_str().unwrap().to_owned();
    let read = |path: PathBuf| String::from_utf8_lossy(&std::fs::read(path).unwrap_or_default()).replace('\0', " ");
    let all = std::fs::read_dir("/proc").unwrap().flatten().map(|entry| entry.path());
    all.filter_map(|path| {
        let pid = path.file_name()?.to_str()?.parse().ok()?;
        let sees = ["mountinfo", "cmdline"].iter().any(|file| read(path.join(file)).contains(&root));
        let (name, words) = (read(path.join("comm")).trim().to_owned(), read(path.join("cmdline")));
        sees.then_some(Process { pid, name, words })
    })
    .collect()
}
