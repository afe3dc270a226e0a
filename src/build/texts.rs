//! Small texts of folders that are compiled where they lie, as they were when they were built: what the next edit differs from.
//!
//! Does not know what is shown of them.

use super::cache_error;
use crate::error::Result;
use crate::host;
use crate::source::worktree::Worktree;
use quiz_cache::{Cache, Digest, Fingerprint, Key, KeyEncoder, Node};
use std::collections::HashMap;
use std::io::Read;
use std::path::Path;

/// Larger files are no texts that anybody reads the difference of, in bytes.
pub(super) const SMALL: u64 = 64 << 10;
/// Of one build no more are kept: who edits by hand edits fewer, and what a checkout brings git has.
const KEPT: usize = 20;
/// Where what git has may be what was built last: the commit that is checked out, or was before that.
const COMMITS: &[&str] = &["HEAD", "HEAD@{1}", "ORIG_HEAD"];

const TEXT: &str = "text of a source";

/// Keeps the list of a folder's files, with which the next edit can be named, and those texts that are new since it was kept last.
pub(super) fn keep(cache: &Cache, live: &Fingerprint) -> Result<()> {
    let name = format!("sources of {}", live.root().display());
    let last = KeyEncoder::new("quiz sources 1").finish().0;
    let noted = cache.memo(&name, &last).map_err(cache_error)?;
    let before = noted.and_then(|noted| String::from_utf8(noted).ok()?.parse::<Digest>().ok());
    let now = live.output().digest;
    cache.keep_listing(live).map_err(cache_error)?;
    if before == Some(now) {
        return Ok(());
    }
    let old =
        before.map(|before| cache.tree_of(&before).map_err(cache_error)).transpose()?.flatten().unwrap_or_default();
    let old: HashMap<&str, &Node> = old.items().iter().map(|(path, node)| (path.as_str(), node)).collect();
    let new = live.tree().map_err(cache_error)?.items().iter().filter_map(|(path, node)| match node {
        Node::File { digest, size, executable } if *size <= SMALL && old.get(path.as_str()) != Some(&node) => {
            Some((path, digest, *executable))
        }
        _ => None,
    });
    for (path, digest, executable) in new.take(KEPT) {
        // It may be another one by now.
        if let Some(bytes) = read(&live.root().join(path))
            && Digest::of_file(&bytes, executable) == *digest
        {
            cache.set_memo(TEXT, &key(digest), &bytes).map_err(cache_error)?;
        }
    }
    cache.set_memo(&name, &last, now.to_string().as_bytes()).map_err(cache_error)
}

/// The file of that digest, which lay in the folder at that path: as it was kept, or as git has it.
pub(super) fn kept(cache: &Cache, root: &Path, path: &str, (digest, executable): (&Digest, bool)) -> Option<Vec<u8>> {
    // What cannot be read is only not shown.
    if let Some(bytes) = cache.memo(TEXT, &key(digest)).ok().flatten() {
        return Some(bytes);
    }
    let worktree = Worktree::open(root).ok().filter(Worktree::is_git)?;
    let blobs = COMMITS.iter().filter_map(|commit| worktree.file_at(commit, path).ok().flatten());
    blobs.map(String::into_bytes).find(|bytes| Digest::of_file(bytes, executable) == *digest)
}

/// A small file. In a worktree there may be something else by now.
pub(super) fn read(path: &Path) -> Option<Vec<u8>> {
    let mut bytes = Vec::new();
    host::open_plain(path).ok()?.take(SMALL + 1).read_to_end(&mut bytes).ok()?;
    Some(bytes)
}

fn key(digest: &Digest) -> Key {
    KeyEncoder::new("quiz source text 1").digest("file", digest).finish().0
}
