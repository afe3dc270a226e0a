//! Which files of an ingredient changed, and what in them, as far as both versions are still at hand.
//!
//! Does not know why that is asked.

use super::{Context, cache_error, scratch};
use crate::error::Result;
use crate::graph::NodeIndex;
use crate::host;
use crate::source::worktree::Worktree;
use diffy::DiffOptions;
use quiz_cache::{Change, Digest, Kind, Node, Output, Tree};
use std::collections::{BTreeMap, BTreeSet};
use std::io::Read;
use std::path::{Path, PathBuf};

/// At most this many files are named.
const NAMED: usize = 20;
/// Of at most this many files the difference is shown.
const SHOWN: usize = 5;
/// Files with more bytes are only named.
const SMALL: u64 = 64 << 10;
/// Where git may have what was built last: the commit that is checked out, and those that were before.
const COMMITS: &[&str] = &["HEAD", "HEAD@{1}", "ORIG_HEAD"];
/// At most this many lines of one difference are shown.
const LINES: usize = 40;

/// A file that is not what it was.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, schemars::JsonSchema)]
pub struct FileChange {
    /// Its path in the folder; empty if the ingredient is one file, or which files it was is not known any more.
    pub path: String,
    /// `changed`, `new`, `gone`, or what else there is to say.
    pub what: String,
    /// The difference as lines of a unified diff, of a small text of which both versions are at hand.
    pub diff: Vec<String>,
}

impl FileChange {
    fn new(path: &str, what: impl Into<String>) -> Self {
        Self { path: path.to_owned(), what: what.into(), diff: Vec::new() }
    }
}

/// Where the files are as they are now.
enum Now<'a> {
    Folder(&'a Path),
    Memory(Vec<(String, &'a [u8])>),
    Cache,
}

/// The files that changed in an ingredient of the stage `at`: in the recipe's or the profiles' own files or, if `of` is given, in the
/// result of that stage.
pub(super) fn files(
    ctx: &Context<'_>,
    change: &Change,
    at: NodeIndex,
    of: Option<NodeIndex>,
) -> Result<Vec<FileChange>> {
    let digest = |value: &Option<String>| value.as_deref().and_then(|value| value.parse::<Digest>().ok());
    let (Some(before), Some(after)) = (digest(&change.before), digest(&change.after)) else { return Ok(Vec::new()) };
    let live = of.and_then(|of| ctx.live.get(&of));
    let recipe = &ctx.graph.stage(at).recipe;
    let (now, new) = match live {
        Some(live) => (Now::Folder(live.root()), ctx.cache.tree_of(&after).map_err(cache_error)?),
        None if of.is_none() && change.name == "files" => {
            let folder = ctx.recipe_folder(recipe)?;
            let files: Vec<_> = folder.files.iter().map(|(path, bytes, _)| (path.clone(), *bytes)).collect();
            let tree = Tree::from_memory(&folder.files).map_err(cache_error)?;
            (Now::Memory(files), Some(tree))
        }
        None if of.is_none() => {
            let folder = ctx.profile_folder()?;
            let files: Vec<_> = folder.files.iter().map(|(path, bytes, _)| (path.clone(), *bytes)).collect();
            let tree = Tree::from_memory(&folder.files).map_err(cache_error)?;
            (Now::Memory(files), Some(tree))
        }
        None => (Now::Cache, ctx.cache.tree_of(&after).map_err(cache_error)?),
    };
    // The list of a whole folder that people edit is in its scan, not in the cache.
    let new = match (new, live) {
        (None, Some(live)) if live.output().digest == after => Some(live.tree().map_err(cache_error)?.clone()),
        (new, _) => new,
    };
    match (ctx.cache.tree_of(&before).map_err(cache_error)?, new) {
        (Some(old), Some(new)) => Ok(of_trees(ctx, &old, &new, &now)),
        (None, None) if object(ctx, &before).is_file() || object(ctx, &after).is_file() => {
            let mut one = FileChange::new("", "changed");
            fill(&mut one, text(&object(ctx, &before)), text(&object(ctx, &after)));
            Ok(vec![one])
        }
        _ => Ok(vec![FileChange::new(
            "",
            "which files changed is not known any more: the list of the last build's files is gone",
        )]),
    }
}

fn of_trees(ctx: &Context<'_>, old: &Tree, new: &Tree, now: &Now<'_>) -> Vec<FileChange> {
    let items = |tree: &Tree| tree.items().iter().cloned().collect::<BTreeMap<String, Node>>();
    let (old, new) = (items(old), items(new));
    let paths: BTreeSet<&String> = old.keys().chain(new.keys()).collect();
    let mut all = Vec::new();
    let mut more = 0_usize;
    for path in paths {
        let (before, after) = (old.get(path), new.get(path));
        let is_folder = |node: Option<&Node>| matches!(node, None | Some(Node::Folder));
        if before == after || is_folder(before) && is_folder(after) {
            continue;
        }
        if all.len() >= NAMED {
            more += 1;
            continue;
        }
        let mut one = FileChange::new(
            path,
            match (before, after) {
                (None, _) => "new",
                (_, None) => "gone",
                (Some(Node::File { executable: a, .. }), Some(Node::File { executable: b, .. })) if a != b => {
                    "changed, including the executable bit"
                }
                _ => "changed",
            },
        );
        if let (Some(Node::File { digest: a, size, executable }), Some(Node::File { digest: b, .. })) = (before, after)
            && all.len() < SHOWN
        {
            let before = match (object(ctx, a), now) {
                (object, _) if object.exists() => text(&object),
                (_, Now::Folder(root)) if *size <= SMALL => brought_in(ctx, root, path, (a, *executable)),
                _ => None,
            };
            let after = match now {
                Now::Folder(root) => text(&root.join(path)),
                Now::Memory(files) => files.iter().find(|(p, _)| p == path).and_then(|(_, bytes)| checked(bytes)),
                Now::Cache => text(&object(ctx, b)),
            };
            fill(&mut one, before, after);
        }
        all.push(one);
    }
    if more > 0 {
        all.push(FileChange::new("", format!("and {more} more files")));
    }
    all
}

/// Where the content of a file with that digest lies, if it does.
fn object(ctx: &Context<'_>, digest: &Digest) -> PathBuf {
    ctx.cache.path(&Output { kind: Kind::File, digest: *digest, size: 0, files: 1 })
}

fn fill(one: &mut FileChange, before: Option<String>, after: Option<String>) {
    match (before, after) {
        (Some(before), Some(after)) => one.diff = difference(&before, &after),
        _ => {
            one.what += " (no difference is shown: the old version is not at hand any more, or one of them is not a small text file)"
        }
    }
}

/// The old text of a file in a folder that people edit: the copy that an incremental stage brought in for its last build, or the file in
/// one of git's last commits.
fn brought_in(ctx: &Context<'_>, root: &Path, path: &str, (digest, executable): (&Digest, bool)) -> Option<String> {
    let is_it = |bytes: &Vec<u8>| Digest::of_file(bytes, executable) == *digest;
    let places: BTreeSet<String> =
        ctx.graph.order().into_iter().map(|id| scratch::place(ctx.graph.stage(id))).collect();
    let folders = ctx.cache.scratch_folders(root);
    let copies = folders.iter().flat_map(|folder| places.iter().map(|place| folder.join(place).join(path)));
    // If git fails, the difference is not shown; that is all.
    let worktree = Worktree::open(root).ok().filter(Worktree::is_git);
    let of_commit = |commit| Some(worktree.as_ref()?.file_at(commit, path).ok()??.into_bytes());
    let mut copies = copies.filter_map(|copy| read(&copy)).chain(COMMITS.iter().filter_map(|commit| of_commit(commit)));
    copies.find(is_it).and_then(|bytes| checked(&bytes))
}

/// The text of a small file.
fn text(path: &Path) -> Option<String> {
    checked(&read(path)?)
}

/// The bytes of a file, up to one more than a small file has. By now something else may lie there, such as a FIFO.
fn read(path: &Path) -> Option<Vec<u8>> {
    let mut bytes = Vec::new();
    host::open_plain(path).ok()?.take(SMALL + 1).read_to_end(&mut bytes).ok()?;
    Some(bytes)
}

fn checked(bytes: &[u8]) -> Option<String> {
    let is_small = u64::try_from(bytes.len()).is_ok_and(|length| length <= SMALL);
    let text = std::str::from_utf8(bytes).ok().filter(|_| is_small)?;
    (!text.contains('\0')).then(|| text.to_owned())
}

/// A short unified diff, without its head.
fn difference(before: &str, after: &str) -> Vec<String> {
    let mut options = DiffOptions::new();
    options.set_context_len(2);
    let patch = options.create_patch(before, after).to_string();
    let mut lines: Vec<String> = patch.lines().skip(2).take(LINES + 1).map(str::to_owned).collect();
    if lines.len() > LINES {
        lines.truncate(LINES);
        lines.push("…".to_owned());
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_difference_is_short_and_has_no_head() {
        let before: String = (0..100).map(|n| format!("line {n}\n")).collect();
        let after = before.replace("line 50\n", "another\n");
        let wanted = ["@@ -49,5 +49,5 @@", " line 48", " line 49", "-line 50", "+another", " line 51", " line 52"];
        assert_eq!(difference(&before, &after), wanted);
        assert_eq!(difference("", &before).len(), LINES + 1);
    }

    #[test]
    fn what_has_come_in_the_place_of_a_file_is_neither_waited_for_nor_followed() {
        let dir = tempfile::tempdir().unwrap();
        let at = |name: &str| dir.path().join(name);
        std::fs::write(at("file"), "text").unwrap();
        std::os::unix::fs::symlink(at("file"), at("link")).unwrap();
        let mode = rustix::fs::Mode::from_raw_mode(0o600);
        rustix::fs::mknodat(rustix::fs::CWD, at("fifo"), rustix::fs::FileType::Fifo, mode, 0).unwrap();
        assert_eq!(["file", "link", "fifo"].map(|name| text(&at(name))), [Some("text".to_owned()), None, None]);
    }

    #[test]
    fn what_is_no_small_text_has_no_difference() {
        assert_eq!(checked(b"\xff\xfe"), None);
        assert_eq!(checked(b"a\0b"), None);
        assert_eq!(checked(&vec![b'x'; 65_537]), None);
        assert_eq!(checked(b"text").as_deref(), Some("text"));
        let mut one = FileChange::new("x", "changed");
        fill(&mut one, None, Some("x".into()));
        assert!(one.diff.is_empty() && one.what.contains("no difference is shown"), "{one:?}");
    }
}
