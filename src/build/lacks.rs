//! Which parts of the sandbox cannot be had here. Does not know how one finds out, nor how it is made without them.

use std::collections::BTreeSet;

/// A part of the sandbox that cannot be had.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Lack {
    /// A host name of the sandbox's own, the same everywhere. The filters of containers forbid setting one, even in a namespace of its own.
    Hostname,
    /// A /proc of the sandbox's own. Where parts of the existing one are hidden, the kernel allows no new one, which would show them; the
    /// existing one is used.
    Proc,
    /// A user namespace made by root, over which a script that changes into a root of its own holds its capabilities. Without it the script
    /// holds some of root's own.
    Users,
}

impl Lack {
    /// What is taken in its place.
    #[must_use]
    pub fn words(self) -> &'static str {
        match self {
            Self::Hostname => "with this machine's host name, as no other may be set here",
            Self::Proc => "with this machine's own /proc, as parts of it are hidden here",
            Self::Users => "with some of root's own capabilities, as root may not make a user namespace here",
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

    /// The parts, each once.
    pub fn iter(&self) -> impl Iterator<Item = Lack> + '_ {
        self.0.iter().copied()
    }
}
