//! The end of a collection: what it took leaves the disk.

use super::Held;
use crate::error::{Result, at};
use crate::files::remove_closed;
use crate::workspace::WorkFolder;
use std::{fs, io};

/// How far a collection is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    /// Somebody holds the cache, and is waited for.
    Waiting,
    /// So many of all files and folders that go are gone from the disk. Nobody is kept waiting meanwhile.
    Removed {
        /// So many.
        done: usize,
        /// Of so many.
        all: usize,
    },
}

/// Lets others go on, and then removes what was collected.
pub(super) fn empty(bin: WorkFolder, alone: Held, told: &dyn Fn(Step)) -> Result<()> {
    drop(alone);
    let gone = fs::read_dir(bin.path()).map_err(at("read", bin.path()))?.collect::<io::Result<Vec<_>>>();
    let gone = gone.map_err(at("read", bin.path()))?;
    let mut first_error = Ok(());
    for (done, entry) in gone.iter().enumerate() {
        let path = entry.path();
        let is_folder = entry.file_type().is_ok_and(|kind| kind.is_dir());
        // If one cannot be removed, all others are removed all the same.
        let removed =
            if is_folder { remove_closed(&path) } else { fs::remove_file(&path).map_err(at("remove", &path)) };
        first_error = first_error.and(removed);
        told(Step::Removed { done: done + 1, all: gone.len() });
    }
    first_error
}
