//! compile_commands.json for editors: what a stage tells of its compilers, with the paths that the user has.
//!
//! A stage that builds from a folder which people edit may have an output `compile-commands`, a list as
//! <https://clang.llvm.org/docs/JSONCompilationDatabase.html> says. Those of all stages lie together in
//! `.quiz/compile_commands.json`. An output `rust-project` of such a stage, as
//! <https://rust-analyzer.github.io/book/non_cargo_based_projects.html> says, becomes `.quiz/rust-project.json`. Does not know which
//! compilers there are.

use super::{Context, Records, scratch, script};
use crate::error::{Error, Result};
use crate::graph::{NodeIndex, Role, Stage};
use crate::host;
use crate::load::PROJECT_FOLDER;
use quiz_cache::Record;
use serde_json::Value;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

/// The names of the outputs.
const OUTPUT: &str = "compile-commands";
const RUST: &str = "rust-project";

/// Paths in the sandbox, and the folders of the host that they stand for; the first that fits counts.
pub(super) type Places = Vec<(String, PathBuf)>;

/// Adds the stage's compile commands to the project's list, if the stage has that output.
///
/// # Errors
/// The stage's output is not a JSON list; the project's folder cannot be written.
pub(super) fn note(ctx: &Context<'_>, id: NodeIndex, record: &Record, known: &Records, scratch: &Path) -> Result<()> {
    let stage = ctx.graph.stage(id);
    let Some(output) = record.outputs.get(OUTPUT) else { return Ok(()) };
    let own = ctx.project.dir.join(PROJECT_FOLDER);
    let folder = own.join("compile-commands");
    let name = stage.name.replace(['/', ':'], "-");
    let (part, digest) = (folder.join(format!("{name}.json")), folder.join(format!("{name}.digest")));
    let toolchain = stage.toolchain().map(|input| script::body(ctx, input, known)).transpose()?;
    let root = toolchain.map(|root| script::link_toolchain(ctx, id, &root));
    if let Some(output) = record.outputs.get(RUST) {
        let rust = (output.size > 0).then(|| ctx.cache.path(output));
        note_rust(rust.as_deref(), &own, &|| {
            let mut places = places(ctx, stage, known, scratch)?;
            places.extend(root.as_ref().map(|root| ("/usr".to_owned(), root.join("usr"))));
            Ok(places)
        })?;
    }
    let shown = root.as_deref().map_or_else(String::new, |root| format!(" {}", root.display()));
    let told = format!("{}{shown} {LAYOUT}", output.digest);
    // Nothing changed since the list was last written. Translating it looks for thousands of files, which takes time.
    if host::read_plain(&digest).is_ok_and(|text| text == told.as_bytes()) && part.exists() {
        return Ok(());
    }
    let places = places(ctx, stage, known, scratch)?;
    let path = ctx.cache.path(output);
    let failed = |path: &Path, e: io::Error| Error::build(format!("cannot write {}", path.display())).because(e);
    let text = std::fs::read_to_string(&path).map_err(|e| failed(&path, e))?;
    let mut list: Vec<Value> = serde_json::from_str(&text).map_err(|e| {
        Error::build(format!("the output {OUTPUT} of the stage {} is not a JSON list", stage.name)).because(e)
    })?;
    for entry in &mut list {
        outside(entry, &places);
        without_gccs_own(entry);
        if let Some(root) = &root {
            with_root(entry, root);
        }
    }
    let put = |path: &Path, content: &[u8]| put(&own, path, content);
    let write = || -> io::Result<()> {
        host::folder(&folder)?;
        // Stages that end at the same time each want all lists.
        let lock = std::fs::File::open(&folder)?;
        lock.lock()?;
        put(&part, &serde_json::to_vec(&list)?)?;
        let mut all: Vec<Value> = Vec::new();
        for part in std::fs::read_dir(&folder)? {
            let part = part?.path();
            if part.extension().is_some_and(|ext| ext == "json") {
                all.extend(
                    host::read_plain(&part)
                        .ok()
                        .and_then(|text| serde_json::from_slice::<Vec<Value>>(&text).ok())
                        .unwrap_or_default(),
                );
            }
        }
        put(&own.join("compile_commands.json"), &serde_json::to_vec_pretty(&all)?)?;
        put(&digest, told.as_bytes())
    };
    write().map_err(|e| failed(&folder, e))
}

/// Writes a file of the project's folder `own` as a whole.
fn put(own: &Path, path: &Path, content: &[u8]) -> io::Result<()> {
    let mut new = tempfile::NamedTempFile::new_in(own)?;
    new.write_all(content)?;
    new.persist(path).map(drop).map_err(|e| e.error)
}

/// Writes what rust-analyzer is to know of a kernel: its crates, and the standard library's source, which lies in the toolchain's root.
/// For a kernel without Rust the file is removed.
fn note_rust(output: Option<&Path>, own: &Path, places: &dyn Fn() -> Result<Places>) -> Result<()> {
    let path = own.join("rust-project.json");
    let failed = |e: io::Error| Error::build(format!("cannot write {}", path.display())).because(e);
    let Some(output) = output else {
        return match std::fs::remove_file(&path) {
            Err(e) if e.kind() != io::ErrorKind::NotFound => Err(failed(e)),
            _ => Ok(()),
        };
    };
    let places = places()?;
    let write = || -> io::Result<()> {
        let mut project: Value = serde_json::from_slice(&std::fs::read(output)?)?;
        outside(&mut project, &places);
        let new = serde_json::to_vec_pretty(&project)?;
        // When the file is replaced, an editor reads the whole kernel again.
        if host::read_plain(&path).is_ok_and(|old| old == new) { Ok(()) } else { put(own, &path, &new) }
    };
    write().map_err(failed)
}

/// Raised when the same list is translated differently: lists that were written before are written again.
const LAYOUT: u32 = 2;

/// How those options in Kbuild's commands begin that only gcc knows and that do not change what a file means. clangd reports them as errors.
const OF_GCC: &[&str] = &[
    "-fconserve-stack",
    "-fmin-function-alignment=",
    "-fno-allow-store-data-races",
    "-fno-ipa-",
    "-fno-partial-inlining",
    "-fzero-init-padding-bits=",
    "-mfunction-return=",
    "-mindirect-branch",
    "-mpreferred-stack-boundary=",
    "-mrecord-mcount",
];

fn without_gccs_own(entry: &mut Value) {
    let is_gccs = |word: &str| OF_GCC.iter().any(|own| word.starts_with(own));
    if let Some(Value::Array(arguments)) = entry.get_mut("arguments") {
        arguments.retain(|word| !word.as_str().is_some_and(is_gccs));
    }
    if let Some(Value::String(command)) = entry.get_mut("command") {
        *command = command.split(' ').filter(|word| !is_gccs(word)).collect::<Vec<_>>().join(" ");
    }
}

/// Tells the editor's compiler where the headers of the root are; its own headers, such as stddef.h, it brings itself.
fn with_root(entry: &mut Value, root: &Path) {
    let flag = format!("--sysroot={}", root.display());
    if let Some(Value::Array(arguments)) =
        entry.get_mut("arguments").filter(|list| list.as_array().is_some_and(|list| !list.is_empty()))
    {
        arguments.insert(1, flag.into());
    } else if let Some(Value::String(command)) = entry.get_mut("command")
        && let Some((compiler, rest)) = command.split_once(' ')
    {
        *command = format!("{compiler} {} {rest}", host::quoted(&flag));
    }
}

/// Where the user has what the script saw. A source lies in his folder; what the build made lies where it was built.
fn places(ctx: &Context<'_>, stage: &Stage, known: &Records, scratch: &Path) -> Result<Places> {
    let mut places = Places::new();
    for (inside, root) in scratch::edited(ctx, stage) {
        places.push((inside, root));
    }
    places.push(("/quiz/scratch".to_owned(), scratch.to_owned()));
    for input in stage.inputs.iter().filter(|input| input.role == Role::Files && !scratch::is_synced(stage, input)) {
        places.push((format!("/quiz/in/{}", input.name), script::body(ctx, input, known)?));
    }
    Ok(places)
}

fn outside(value: &mut Value, places: &Places) {
    match value {
        Value::String(text) => *text = translated(text, places),
        Value::Array(items) => items.iter_mut().for_each(|item| outside(item, places)),
        Value::Object(fields) => fields.values_mut().for_each(|field| outside(field, places)),
        _ => {}
    }
}

/// Translates every path below `/quiz/` in a text, which may be an argument or a whole command line; and a text that is a path elsewhere,
/// if there is a place for it.
fn translated(text: &str, places: &Places) -> String {
    let whole = places.iter().filter(|(inside, _)| !inside.starts_with("/quiz/"));
    for (inside, outside) in whole {
        if let Ok(below) = Path::new(text).strip_prefix(inside) {
            return outside.join(below).display().to_string();
        }
    }
    let mut out = String::new();
    let mut rest = text;
    while let Some(at) = rest.find("/quiz/") {
        out += &rest[..at];
        rest = &rest[at..];
        let end = rest.find(|c: char| c.is_whitespace() || "\"',:;".contains(c)).unwrap_or(rest.len());
        let (path, after) = rest.split_at(end);
        let below = |inside: &str| {
            let below = path.strip_prefix(inside)?;
            (below.is_empty() || below.starts_with('/')).then(|| below.trim_start_matches('/'))
        };
        let join =
            |outside: &PathBuf, below: &str| if below.is_empty() { outside.clone() } else { outside.join(below) };
        let fits = |(inside, outside): &(String, PathBuf)| below(inside).map(|below| join(outside, below));
        let mut all = places.iter().filter_map(fits);
        let first = all.next();
        let there = first.iter().cloned().chain(all).find(|path| path.exists());
        match there.or(first) {
            Some(place) => out += &place.display().to_string(),
            None => out += path,
        }
        rest = after;
    }
    out + rest
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sources_are_the_users_and_what_was_made_lies_where_it_was_built() {
        let dir = tempfile::tempdir().unwrap();
        let (tree, scratch) = (dir.path().join("zfs"), dir.path().join("scratch"));
        for file in [tree.join("arc.c"), scratch.join("tree/zfs_config.h")] {
            std::fs::create_dir_all(file.parent().unwrap()).unwrap();
            std::fs::write(file, "").unwrap();
        }
        let places = vec![
            ("/quiz/scratch/tree".to_owned(), tree.clone()),
            ("/quiz/scratch".to_owned(), scratch.clone()),
            ("/quiz/in/devel".to_owned(), PathBuf::from("/cache/devel")),
        ];
        let mut entry = serde_json::json!({
            "directory": "/quiz/scratch/tree", "file": "/quiz/scratch/tree/arc.c",
            "arguments": ["gcc", "-I/quiz/in/devel/include", "-include", "/quiz/scratch/tree/zfs_config.h", "/quiz/other"],
        });
        outside(&mut entry, &places);
        let (tree, scratch) = (tree.display(), scratch.display());
        assert_eq!(
            entry,
            serde_json::json!({
                "directory": tree.to_string(), "file": format!("{tree}/arc.c"),
                "arguments": ["gcc", "-I/cache/devel/include", "-include", format!("{scratch}/tree/zfs_config.h"), "/quiz/other"],
            })
        );
    }

    #[test]
    fn the_standard_librarys_source_lies_in_the_root() {
        let dir = tempfile::tempdir().unwrap();
        let project = serde_json::json!({
            "sysroot_src": "/usr/lib/rustlib/src/rust/library",
            "crates": [{ "root_module": "/quiz/src/rust/kernel/lib.rs", "env": { "OBJTREE": "/quiz/scratch/build" }, "cfg": ["CONFIG_X=\"/usr/x y\""] }],
        });
        let output = dir.path().join("output");
        std::fs::write(&output, project.to_string()).unwrap();
        let places = vec![
            ("/quiz/src".to_owned(), PathBuf::from("/home/me/linux")),
            ("/quiz/scratch".to_owned(), PathBuf::from("/cache/scratch")),
            ("/usr".to_owned(), PathBuf::from("/p/.quiz/toolchain/kernel/usr")),
        ];
        note_rust(Some(&output), dir.path(), &|| Ok(places.clone())).unwrap();
        let text = std::fs::read_to_string(dir.path().join("rust-project.json")).unwrap();
        let after: Value = serde_json::from_str(&text).unwrap();
        let one = &after["crates"][0];
        assert_eq!(after["sysroot_src"], "/p/.quiz/toolchain/kernel/usr/lib/rustlib/src/rust/library");
        assert_eq!(one["root_module"], "/home/me/linux/rust/kernel/lib.rs");
        assert_eq!(
            (&one["env"]["OBJTREE"], &one["cfg"][0]),
            (&"/cache/scratch/build".into(), &"CONFIG_X=\"/usr/x y\"".into())
        );
    }

    #[test]
    fn an_editors_compiler_is_not_told_what_gcc_alone_knows() {
        let mut entry = serde_json::json!({
            "command": "gcc -mindirect-branch=thunk-extern -O2 -mindirect-branch-register  -D'A=\"x y\"' -fconserve-stack -c -o a.o a.c",
            "arguments": ["gcc", "-mpreferred-stack-boundary=3", "-c", "-fno-ipa-sra", "a.c"],
        });
        without_gccs_own(&mut entry);
        let after = serde_json::json!({
            "command": "gcc -O2  -D'A=\"x y\"' -c -o a.o a.c", "arguments": ["gcc", "-c", "a.c"],
        });
        assert_eq!(entry, after);
    }

    #[test]
    fn an_editors_compiler_is_told_of_the_root() {
        let root = Path::new("/p/.quiz/toolchain/kernel");
        for (before, after) in [
            (
                serde_json::json!({"arguments": ["gcc", "-c"]}),
                serde_json::json!({"arguments": ["gcc", "--sysroot=/p/.quiz/toolchain/kernel", "-c"]}),
            ),
            (
                serde_json::json!({"command": "gcc -c a.c"}),
                serde_json::json!({"command": "gcc --sysroot=/p/.quiz/toolchain/kernel -c a.c"}),
            ),
            (serde_json::json!({"arguments": []}), serde_json::json!({"arguments": []})),
        ] {
            let mut entry = before;
            with_root(&mut entry, root);
            assert_eq!(entry, after);
        }
    }
}
