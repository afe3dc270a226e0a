//! Which parts of the sandbox cannot be had here. Does not know how one finds out, nor how it is made without them.

use std::collections::BTreeSet;

/// A part of the sandbox that cannot be had.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Lack {
    /// A host name of its own, the same everywhere: filters of containers let nobody set one who may not set the container's.
    Hostname,
    /// A /proc of its own: of the one that is there parts are hidden, which a new one would show. So that one is bound.
    Proc,
    /// A user namespace of root's, so that a script which changes into a root of its own has capabilities of root's own.
    Users,
}

impl Lack {
    /// What is taken in its place.
    #[must_use]
    pub fn words(self) -> &'static str {
        match self {
            Self::Hostname => "with this machine's host name, as none may be set here",
            Self::Proc => "with the /proc that is there, as parts of it are hidden here",
            Self::Users => "with capabilities of root's own, as root may make no user namespace here",
        }
    }
}

/// All that cannot be had.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Lacks(BTreeSet<Lack>);

impl Lacks {
    /// Whether this is one of them.
    #[must_use]
    pub fn has(&self, lack: Lack) -> bool {
        self.0.contains(&lack)
    }

    pub(super) fn add(&mut self, lack: Lack) {
        self.0.insert(lack);
    }

    /// Each.
    pub fn iter(&self) -> impl Iterator<Item = Lack> + '_ {
        self.0.iter().copied()
    }
}
