//! What differs between two results of one stage: which files, and what of them.
//!
//! Does not know why they were made twice.

use super::Context;
use crate::event::Event;
use quiz_cache::{Built, Kind, Node, Output, Record, Tree};
use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io::{self, Read};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

/// At most this many files are named in a warning.
const NAMED: usize = 20;
/// Bytes that are compared at once.
const CHUNK: usize = 64 << 10;

/// A path that is not the same in two results.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Difference {
    /// The output, and of a tree the path in it.
    pub path: String,
    /// `content`, `mode`, `link-target`, `kind`, `only-in-first` or `only-in-second`.
    pub what: Vec<&'static str>,
}

/// One output of a result, the items of it if it is a tree, and where it lies.
pub(super) struct Side<'a> {
    pub output: &'a Output,
    pub tree: &'a Tree,
    pub root: &'a Path,
}

/// What differs of one output, sorted by path.
pub(super) fn compare(name: &str, first: &Side<'_>, second: &Side<'_>) -> Vec<Difference> {
    let one = |what| vec![Difference { path: name.to_owned(), what }];
    if first.output == second.output {
        return Vec::new();
    }
    match (first.output.kind, second.output.kind) {
        (Kind::File, Kind::File) => one(of_files(first.root, second.root)),
        (Kind::Tree, Kind::Tree) => of_trees(name, first, second),
        _ => one(vec!["kind"]),
    }
}

fn of_trees(name: &str, first: &Side<'_>, second: &Side<'_>) -> Vec<Difference> {
    let items = |tree: &'_ Tree| tree.items().iter().cloned().collect::<BTreeMap<String, Node>>();
    let (a, b) = (items(first.tree), items(second.tree));
    let paths: BTreeSet<&String> = a.keys().chain(b.keys()).collect();
    let differs = paths.into_iter().filter(|path| a.get(*path) != b.get(*path));
    let what = |path: &String| match (a.get(path), b.get(path)) {
        (_, None) => vec!["only-in-first"],
        (None, _) => vec!["only-in-second"],
        (Some(Node::File { .. }), Some(Node::File { .. })) => of_files(&first.root.join(path), &second.root.join(path)),
        (Some(Node::Symlink { .. }), Some(Node::Symlink { .. })) => vec!["link-target"],
        _ => vec!["kind"],
    };
    differs.map(|path| Difference { path: format!("{name}/{path}"), what: what(path) }).collect()
}

/// What differs between two files with different digests. If one is gone from the cache, its content counts as different.
fn of_files(first: &Path, second: &Path) -> Vec<&'static str> {
    let mode = |path: &Path| path.symlink_metadata().map(|meta| meta.permissions().mode() & 0o111);
    let mut what = Vec::new();
    if !is_same(first, second).unwrap_or(false) {
        what.push("content");
    }
    if let (Ok(a), Ok(b)) = (mode(first), mode(second))
        && a != b
    {
        what.push("mode");
    }
    what
}

fn is_same(first: &Path, second: &Path) -> io::Result<bool> {
    let (mut first, mut second) = (File::open(first)?, File::open(second)?);
    if first.metadata()?.len() != second.metadata()?.len() {
        return Ok(false);
    }
    let (mut a, mut b) = (vec![0; CHUNK], vec![0; CHUNK]);
    loop {
        let read = first.read(&mut a)?;
        if read == 0 {
            return Ok(true);
        }
        second.read_exact(&mut b[..read])?;
        if a[..read] != b[..read] {
            return Ok(false);
        }
    }
}

/// How the record's result was made, in words.
pub(super) fn built(record: &Record) -> &'static str {
    match record.built {
        Built::FromNothing => "made from nothing",
        Built::Incremental => "built incrementally",
    }
}

/// Says whether what was made from nothing is what was stored under its key, and if not, what differs.
pub(super) fn tell(ctx: &Context<'_>, before: &Record, after: &Record) {
    let (stage, built) = (&after.stage, built(before));
    if before.outputs == after.outputs {
        let message = format!("{stage} made from nothing is the same as the stored result ({built})");
        return (ctx.events)(Event::Note { message });
    }
    let mut differences = Vec::new();
    for (name, new) in &after.outputs {
        let Some(old) = before.outputs.get(name) else { continue };
        differences.extend(of_stored(ctx, name, old, new));
    }
    let named = differences.iter().take(NAMED).map(|one| format!("{} ({})", one.path, one.what.join(", ")));
    let mut list = named.collect::<Vec<_>>().join(", ");
    if let Some(more) = differences.len().checked_sub(NAMED).filter(|more| *more > 0) {
        list += &format!(" and {more} more");
    }
    let message = format!("{stage} made from nothing differs from the stored result ({built}) and replaces it: {list}");
    (ctx.events)(Event::Warning { message });
}

fn of_stored(ctx: &Context<'_>, name: &str, old: &Output, new: &Output) -> Vec<Difference> {
    let (empty, roots) = (Tree::default(), [ctx.cache.path(old), ctx.cache.path(new)]);
    let tree = |output: &Output| match output.kind {
        Kind::File => Some(empty.clone()),
        // If `quiz gc` removed the tree, its list of files is gone as well.
        Kind::Tree => ctx.cache.tree(output).ok(),
    };
    let (Some(a), Some(b)) = (tree(old), tree(new)) else {
        return vec![Difference { path: name.to_owned(), what: vec!["content"] }];
    };
    let side = |output, tree, root| Side { output, tree, root };
    compare(name, &side(old, &a, &roots[0]), &side(new, &b, &roots[1]))
}
