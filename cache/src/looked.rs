//! How far a look at many files is, for another thread that wants to know it meanwhile. Tells nobody by itself, and costs the looking one a number in
//! memory for each file.

use std::sync::atomic::{AtomicU64, Ordering};

/// How many files were looked at.
#[derive(Debug, Default)]
pub struct Looked {
    done: AtomicU64,
    all: AtomicU64,
}

impl Looked {
    /// So many files were looked at so far, and of how many, as long as it is known that there are more.
    #[must_use]
    pub fn so_far(&self) -> (u64, Option<u64>) {
        let [done, all] = [&self.done, &self.all].map(|number| number.load(Ordering::Relaxed));
        (done, Some(all).filter(|all| done < *all))
    }

    /// From now on so many files are looked at, or looked at once more in another way.
    pub(crate) fn begin(&self, all: usize) {
        self.done.store(0, Ordering::Relaxed);
        self.all.store(all as u64, Ordering::Relaxed);
    }

    /// So many more of them were.
    pub(crate) fn more(&self, count: usize) {
        self.done.fetch_add(count as u64, Ordering::Relaxed);
    }
}
