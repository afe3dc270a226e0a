//! Keeps the house: direction of imports among rooms and, in `circles`, among the files of a room; `//!` heads, length of files and
//! functions; and, in `crates`, what comes in from elsewhere.

mod circles;
mod crates;

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

/// The rooms in the order in which data walks; each may import only those before it.
const ROOMS: &[&str] = &[
    "error", "status", "event", "host", "document", "source", "load", "graph", "build", "machine", "boot", "snapshot",
    "test", "engine", "report", "cli", "fuzz",
];
const FILE_LINES: usize = 400;
const FUNCTION_LINES: usize = 70;

fn sources(dir: &str) -> Vec<PathBuf> {
    fn collect(dir: &Path, found: &mut Vec<PathBuf>) {
        let mut entries: Vec<PathBuf> = std::fs::read_dir(dir).unwrap().map(|e| e.unwrap().path()).collect();
        entries.sort();
        for path in entries {
            if path.is_dir() {
                collect(&path, found);
            } else if path.extension().is_some_and(|ext| ext == "rs") {
                found.push(path);
            }
        }
    }
    let mut found = Vec::new();
    collect(&Path::new(env!("CARGO_MANIFEST_DIR")).join(dir), &mut found);
    assert!(!found.is_empty(), "{dir} has no sources");
    found
}

fn all() -> Vec<PathBuf> {
    ["src", "cache/src", "tests"].iter().flat_map(|dir| sources(dir)).collect()
}

fn text(path: &Path) -> String {
    std::fs::read_to_string(path).unwrap()
}

/// The first parts of all paths that a file names, from src on: `use crate::{host, report}` has two.
fn first_parts(module: &[String], text: &str) -> BTreeSet<String> {
    let code: Vec<&str> = text.lines().map(|line| line.split("//").next().unwrap()).collect();
    let paths = circles::paths(&code.join("\n")).into_iter();
    paths.filter_map(|(path, _)| circles::absolute(module, &[], &path).first().cloned()).collect()
}

#[test]
fn each_way_to_name_a_room_is_found() {
    let module = ["cli", "mcp"].map(str::to_owned);
    let text = "use crate::{host::{self, File}, report};\nuse super::super::event;\n// crate::boot\nfn f() { crate::load::g() }";
    let found: Vec<String> = first_parts(&module, text).into_iter().collect();
    assert_eq!(found, ["event", "host", "load", "report"]);
}

#[test]
fn rooms_import_only_the_rooms_before_them() {
    let src = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let rank = |room: &str| ROOMS.iter().position(|r| *r == room);
    let mut wrong = Vec::new();
    for path in sources("src") {
        let relative = path.strip_prefix(&src).unwrap();
        let room =
            relative.components().next().unwrap().as_os_str().to_str().unwrap().trim_end_matches(".rs").to_owned();
        let Some(own) = rank(&room) else {
            assert!(["lib", "main"].contains(&room.as_str()), "{} is in no room", path.display());
            continue;
        };
        let parts = relative.with_extension("");
        let parts = parts.iter().map(|part| part.to_str().unwrap().to_owned());
        let module: Vec<String> = parts.filter(|part| part != "mod").collect();
        let named = first_parts(&module, &text(&path)).into_iter();
        let later = named.filter(|named| rank(named).is_some_and(|other| other > own));
        wrong.extend(later.map(|named| format!("{}: {room} imports {named}", path.display())));
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn the_cache_knows_nothing_of_kernels_and_machines() {
    for path in sources("cache/src") {
        let text = text(&path).to_lowercase();
        for word in ["qemu", "vmlinux", "bubblewrap", "zfs"] {
            assert!(!text.contains(word), "{} says {word}", path.display());
        }
        assert!(!text.contains("process::command"), "{} starts processes", path.display());
    }
}

/// Files that wait for a process, a lock, a socket, another thread's word, or a server.
const WAITS: [&str; 11] = [
    ".try_wait()",
    "child.wait()",
    "command.output()",
    ".output().map_err(",
    "(Stdio::null()).output()",
    "poll(&mut",
    ".recv()",
    "UnixStream::connect",
    "file.lock()",
    "FileExt::lock(",
    ".connect_timeout(",
];

#[test]
fn every_wait_has_its_limit_or_the_reason_why_it_has_none_in_docs_waits_md() {
    let listed = text(&Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/waits.md"));
    let mut count = 0;
    for path in sources("src").into_iter().chain(sources("cache/src")) {
        let name = path.to_str().unwrap();
        if name.contains("tests") {
            continue;
        }
        let code: String = text(&path).split("#[cfg(test)]").next().unwrap().split_whitespace().collect();
        if WAITS.iter().any(|wait| code.contains(wait)) {
            count += 1;
            let file = path.file_name().unwrap().to_str().unwrap();
            let shown = if file == "mod.rs" { name.rsplit_once("src/").unwrap().1 } else { file };
            assert!(listed.contains(shown), "{name} waits for something, and docs/waits.md does not say how long");
        }
    }
    assert!(count >= 15, "{count}");
    // A test that is named there is one.
    let tests: String = all().iter().map(|path| text(path)).collect();
    for line in listed.lines().filter(|line| line.starts_with("| ")) {
        let test = line.split('|').nth(4).unwrap().trim();
        if let Some(name) = test.strip_prefix('`').and_then(|name| name.strip_suffix('`')) {
            assert!(tests.contains(&format!("fn {name}()")), "{name} is no test");
        }
    }
}

#[test]
fn what_the_docs_call_a_file_of_the_tree_is_one() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut count = 0;
    let docs = std::fs::read_dir(root.join("docs")).unwrap().map(|entry| entry.unwrap().path());
    for doc in docs.filter(|doc| doc.extension().is_some_and(|end| end == "md")) {
        for named in text(&doc).split('`').skip(1).step_by(2) {
            let is_plain =
                !named.contains(|c: char| c.is_whitespace() || "*<>:…".contains(c)) && !named.contains("NAME");
            if is_plain && ["src/", "cache/src", "recipes/"].iter().any(|folder| named.starts_with(folder)) {
                assert!(root.join(named).exists(), "{} names {named}", doc.display());
                count += 1;
            }
        }
    }
    assert!(count >= 40, "{count}");
}

#[test]
fn every_file_says_what_it_is_for() {
    for path in all() {
        assert!(text(&path).starts_with("//! "), "{} does not open with //!", path.display());
    }
}

#[test]
fn files_and_functions_stay_short() {
    let mut long = Vec::new();
    for path in all() {
        let text = text(&path);
        let lines: Vec<&str> = text.lines().collect();
        if lines.len() >= FILE_LINES {
            long.push(format!("{} has {} lines", path.display(), lines.len()));
        }
        for (start, line) in lines.iter().enumerate() {
            let code = line.trim_start();
            let indent = line.len() - code.len();
            let is_function = code.split("fn ").next().is_some_and(|before| {
                code.contains("fn ")
                    && before.split_whitespace().all(|w| {
                        w.starts_with("pub") || ["const", "unsafe", "extern", "\"C\""].contains(&w) || w.ends_with(')')
                    })
            });
            if !is_function {
                continue;
            }
            let close = format!("{}}}", " ".repeat(indent));
            let length = lines[start..].iter().position(|l| *l == close).unwrap_or(0);
            if length >= FUNCTION_LINES {
                long.push(format!("{}:{}: {} lines: {code}", path.display(), start + 1, length));
            }
        }
    }
    assert!(long.is_empty(), "{}", long.join("\n"));
}
