//! No circles: of two files of a room at most one knows the other, by whatever detour.
//!
//! What counts, of a room in src:
//!
//! - A file `x.rs` and its folder `x/` are one unit: the parent declares its children, and they may use what it has. For the same
//!   reason the room's own `mod.rs` is no unit: it declares all of them.
//! - A unit knows another one when its code names it by a path, in a `use` or elsewhere: `super::y`, `super::super::y` of a child,
//!   `crate::room::y`; or when it names what `mod.rs` passes on from there (`pub use y::Name`) as `super::Name` or
//!   `crate::room::Name`. `super::*` of the room is refused, as nobody can tell what it names.
//! - Comments and tests do not count: what a test needs is not what its file needs.
//!
//! The crate in cache/ is a room, too; `lib.rs` is its `mod.rs`. Only its `Cache` does not count: it is the handle by which all of it is used, and each
//! of its methods stands in the file of what it does.
//!
//! Of the agent: `y.h` and `y.c` are one unit, and another one knows it when it includes `y.h` or calls a function that `y.c` defines.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use super::{ROOMS, sources, text};

/// Which units each unit knows.
type Known = BTreeMap<String, BTreeSet<String>>;

#[test]
fn the_files_of_a_room_know_each_other_in_one_direction() {
    let circles: Vec<String> = ROOMS.iter().flat_map(|room| circles(room, knows(room))).collect();
    assert!(circles.is_empty(), "{}", circles.join("\n"));
    // A test that finds nothing where something is known would find nothing anywhere.
    assert!(knows("boot")["session"].contains("job") && knows("machine")["qemu"].contains("guest"));
}

#[test]
fn the_files_of_the_cache_know_each_other_in_one_direction() {
    let known = knows("cache");
    assert!(known["collect"].contains("lock") && !known["lock"].contains("store"));
    let circles = circles("cache", known);
    assert!(circles.is_empty(), "{}", circles.join("\n"));
}

#[test]
fn the_files_of_the_agent_know_each_other_in_one_direction() {
    assert!(agent()["wake"].contains("serve"));
    let circles = circles("agent", agent());
    assert!(circles.is_empty(), "{}", circles.join("\n"));
}

#[test]
fn circles_are_found_and_nothing_else() {
    let known = |pairs: &[[&str; 2]]| {
        let mut known = Known::new();
        for [unit, other] in pairs {
            known.entry((*unit).to_owned()).or_default().insert((*other).to_owned());
            known.entry((*other).to_owned()).or_default();
        }
        known
    };
    assert!(circles("r", known(&[["a", "b"], ["b", "c"], ["a", "c"]])).is_empty());
    let found = circles("r", known(&[["a", "b"], ["b", "c"], ["c", "b"], ["c", "d"]]));
    assert_eq!(found, ["r: b knows c", "r: c knows b"]);
}

#[test]
fn paths_are_found_in_uses_and_elsewhere() {
    let code =
        "use super::{a, b::{self, C as D}};\nuse crate::boot::Run;\npub(super) fn f() { super::e::g(x::super_y) }";
    let found: Vec<String> = paths(code).iter().map(|(path, _)| path.join("::")).collect();
    assert_eq!(found, ["super::a", "super::b::self", "super::b::C", "crate::boot::Run", "super", "super::e::g"]);
}

/// The pairs that are left when all are taken away, again and again, who know nobody or whom nobody knows.
fn circles(room: &str, mut known: Known) -> Vec<String> {
    loop {
        let all: BTreeSet<String> = known.values().flatten().cloned().collect();
        let before = known.len();
        known.retain(|unit, others| !others.is_empty() && all.contains(unit));
        let left: BTreeSet<String> = known.keys().cloned().collect();
        known.values_mut().for_each(|others| others.retain(|other| left.contains(other)));
        if known.len() == before {
            break;
        }
    }
    let pairs = known.iter().flat_map(|(unit, others)| others.iter().map(move |other| (unit, other)));
    pairs.map(|(unit, other)| format!("{room}: {unit} knows {other}")).collect()
}

/// The code of a file without comments and tests, which stand last.
fn code(path: &Path) -> String {
    let text = text(path);
    let mut lines: Vec<&str> = text.lines().map(|line| line.split("//").next().unwrap()).collect();
    let tests = lines.windows(2).position(|two| {
        two[0] == "#[cfg(test)]" && two[1].split_once("mod ").is_some_and(|(_, name)| name.ends_with('{'))
    });
    lines.truncate(tests.unwrap_or(lines.len()));
    lines.join("\n")
}

/// A folder's tests, when the parent declares them as such, for itself or for others' tests.
fn is_test(path: &Path) -> bool {
    let folder = path.parent().unwrap();
    let parents = [folder.with_extension("rs"), folder.join("mod.rs")];
    let declares = |parent: &Path| {
        let text = text(parent);
        text.split("#[cfg(test)]\n").skip(1).any(|rest| rest.lines().next().unwrap().ends_with("mod tests;"))
    };
    path.ends_with("tests.rs") && parents.iter().any(|parent| parent.exists() && declares(parent))
}

/// Which units of a room in src, or of the crate in cache/, know which others.
fn knows(room: &str) -> Known {
    let (folder, above) = if room == "cache" { ("cache/src", vec![room.to_owned()]) } else { ("src", Vec::new()) };
    let src = Path::new(env!("CARGO_MANIFEST_DIR")).join(folder);
    let mut files: Vec<(Vec<String>, String)> = Vec::new();
    for path in sources(folder).iter().filter(|path| !is_test(path)) {
        let relative = path.strip_prefix(&src).unwrap().with_extension("");
        let parts = relative.iter().map(|part| part.to_str().unwrap().to_owned());
        let module: Vec<String> =
            above.iter().cloned().chain(parts.filter(|part| part != "mod" && part != "lib")).collect();
        if module.first().is_some_and(|first| first == room) {
            files.push((module, code(path)));
        }
    }
    let mut known: Known =
        files.iter().filter_map(|(module, _)| Some((module.get(1)?.clone(), BTreeSet::new()))).collect();
    let root = files.iter().find(|(module, _)| module.len() == 1);
    let mut passed_on = root.map(|(_, code)| passed_on(code, &known)).unwrap_or_default();
    passed_on.retain(|name, _| room != "cache" || name != "Cache");
    for (module, code) in files.iter().filter(|(module, _)| module.len() > 1) {
        for (path, _) in paths(code) {
            let path = absolute(module, &above, &path);
            let Some(name) = path.get(1).filter(|_| path[0] == room) else { continue };
            assert!(name != "*", "{} names all that its room has", module.join("::"));
            let unit = if known.contains_key(name) { Some(name) } else { passed_on.get(name) };
            if let Some(unit) = unit.filter(|unit| **unit != module[1]) {
                known.get_mut(&module[1]).unwrap().insert(unit.clone());
            }
        }
    }
    known
}

/// By their names, the units from which a `mod.rs` passes something on.
fn passed_on(code: &str, units: &Known) -> BTreeMap<String, String> {
    let words = words(code);
    let mut found = Vec::new();
    for (at, _) in words.iter().enumerate().filter(|(_, word)| **word == "use") {
        tree(&words, at + 1, Vec::new(), &mut found);
    }
    let names = found.into_iter().filter(|(path, _)| units.contains_key(&path[0]));
    names.map(|(path, name)| (name, path[0].clone())).collect()
}

/// The path from src, or from cache/, of a path that stands in that module of the crate that begins at `above`.
pub(super) fn absolute(module: &[String], above: &[String], path: &[String]) -> Vec<String> {
    let mut at = if path[0] == "crate" { above } else { module }.to_vec();
    for part in path {
        match part.as_str() {
            "super" => drop(at.pop()),
            "crate" | "self" => {}
            part => at.push(part.to_owned()),
        }
    }
    at
}

fn words(code: &str) -> Vec<&str> {
    let is_word = |c: char| c.is_alphanumeric() || c == '_';
    let mut words = Vec::new();
    let mut rest = code.trim_start();
    while let Some(first) = rest.chars().next() {
        let length = match first {
            _ if rest.starts_with("::") => 2,
            first if is_word(first) => rest.find(|c| !is_word(c)).unwrap_or(rest.len()),
            first => first.len_utf8(),
        };
        words.push(&rest[..length]);
        rest = rest[length..].trim_start();
    }
    words
}

/// The paths in a piece of code that begin with `super`, `crate` or `self`, and what each is called there; those of a `use` with
/// braces one by one.
pub(super) fn paths(code: &str) -> Vec<(Vec<String>, String)> {
    let words = words(code);
    let mut found = Vec::new();
    let mut at = 0;
    while at < words.len() {
        let begins = ["super", "crate", "self"].contains(&words[at]) && (at == 0 || words[at - 1] != "::");
        at = if begins { tree(&words, at, Vec::new(), &mut found) } else { at + 1 };
    }
    found
}

/// Reads one tree of a `use`, or one path, and gives what follows it.
fn tree(words: &[&str], mut at: usize, mut path: Vec<String>, found: &mut Vec<(Vec<String>, String)>) -> usize {
    loop {
        if words.get(at) == Some(&"{") {
            at += 1;
            while words.get(at).is_some_and(|word| *word != "}") {
                at = if words[at] == "," { at + 1 } else { tree(words, at, path.clone(), found) };
            }
            return at + 1;
        }
        let Some(word) = words.get(at) else { return at };
        path.push((*word).to_owned());
        at += 1;
        if words.get(at) == Some(&"::") {
            at += 1;
            continue;
        }
        let renamed = (words.get(at) == Some(&"as")).then(|| words[at + 1]);
        found.push((path.clone(), renamed.unwrap_or(word).to_owned()));
        return at + if renamed.is_some() { 2 } else { 0 };
    }
}

fn agent() -> Known {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("recipes/agent");
    let mut files: Vec<(String, String)> = Vec::new();
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_some_and(|ext| ext == "c" || ext == "h") {
            files.push((path.file_stem().unwrap().to_str().unwrap().to_owned(), code(&path)));
        }
    }
    let mut known: Known = files.iter().map(|(unit, _)| (unit.clone(), BTreeSet::new())).collect();
    let functions: Vec<(&String, &str)> =
        files.iter().flat_map(|(unit, code)| defined(code).map(move |name| (unit, name))).collect();
    for (unit, code) in &files {
        let includes = code.split("#include \"").skip(1).map(|rest| rest.split(".h\"").next().unwrap().to_owned());
        let words = words(code);
        let calls = functions.iter().filter(|(_, name)| words.windows(2).any(|two| two == [*name, "("]));
        // A header declares what it does not call, and only of its own unit.
        let others = includes.chain(calls.map(|(other, _)| (*other).clone())).filter(|other| other != unit);
        known.get_mut(unit).unwrap().extend(others);
    }
    known
}

/// The functions that other files can call: their first line begins at the left, and the next one is `{`.
fn defined(code: &str) -> impl Iterator<Item = &str> {
    let pairs = code.lines().zip(code.lines().skip(1));
    let heads = pairs.filter(|(head, next)| *next == "{" && !head.starts_with("static ")).map(|(head, _)| head);
    heads.filter_map(|head| head.split('(').next()?.split([' ', '*']).next_back())
}
