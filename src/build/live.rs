//! Source folders that people edit: what is in them now. Does not know what is made of them.

use crate::error::{Error, Result};
use crate::source::worktree::{Worktree, is_ours};
use quiz_cache::{Cache, Fingerprint, Looked, Selection};
use std::path::Path;
use std::sync::{Mutex, PoisonError};

/// Raised when the rule for which files count as source changes.
const RULE: &str = "git 1";

/// The source files of a folder, with digests: in a git worktree those that git says are source, elsewhere all. `looked` counts them.
///
/// # Errors
/// A file that cannot be read or keeps changing, by name; git's words where it does not list the files.
pub fn scan(cache: &Cache, dir: &Path, looked: &Looked) -> Result<Fingerprint> {
    let worktree = Worktree::open(dir)?;
    let also = worktree.also();
    // The cache passes errors on as text, without hints: the error itself is kept here.
    let failed = Mutex::new(None);
    let list = || {
        worktree.list().map_err(|error| {
            let text = error.to_string();
            *failed.lock().unwrap_or_else(PoisonError::into_inner) = Some(error);
            text.into()
        })
    };
    let decides = |name: &str| name == ".gitignore";
    let selection = if worktree.is_git() {
        Selection::Asked { rule: RULE, list: &list, decides: &decides, also: &also, skip: &is_ours }
    } else {
        Selection::All { skip: &is_ours }
    };
    cache.scan(dir, selection, looked).map_err(|error| {
        let told = failed.lock().unwrap_or_else(PoisonError::into_inner).take();
        told.unwrap_or_else(|| match dir.is_dir() {
            true => Error::input(format!("the source folder {} cannot be read", dir.display())).because(error),
            false => Error::input(format!("the source folder {} is gone", dir.display())),
        })
    })
}

/// Whether this error only says that a source folder changed since it was looked at: look again, and start over.
pub fn has_moved(error: &Error) -> bool {
    let cause = std::error::Error::source(error);
    cause.and_then(|cause| cause.downcast_ref::<quiz_cache::Error>()).is_some_and(quiz_cache::Error::is_changed)
}
