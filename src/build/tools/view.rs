//! The host as the sandbox shows it: where a program is found there, and what the links on the way lead to.
//!
//! Looks at names and links only; does not know what is in the files.

use super::super::sandbox;
use std::collections::{BTreeSet, VecDeque};
use std::ffi::OsString;
use std::os::unix::fs::PermissionsExt;
use std::path::{Component, Path, PathBuf};

/// How many links the kernel follows before it says ELOOP.
const MOST_LINKS: usize = 40;

/// Where a path leads.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Way {
    /// To what lies here, without links in its path.
    Here(PathBuf),
    /// To something at this place, of which the sandbox shows nothing.
    Hidden(PathBuf),
    /// To nothing.
    Nowhere,
}

/// A host below a folder, which is `/` but in tests. All paths that it takes and gives are as the host itself names them.
#[derive(Debug)]
pub(super) struct View<'a> {
    root: &'a Path,
    /// The folders of PATH, as they are named and without links; those that the sandbox does not show have none.
    path: Vec<(PathBuf, Option<PathBuf>)>,
}

impl<'a> View<'a> {
    pub(super) fn new(root: &'a Path) -> Self {
        let mut view = Self { root, path: Vec::new() };
        let folder = |dir: &str| match view.follow(Path::new(dir), &mut BTreeSet::new()) {
            Way::Here(real) => (PathBuf::from(dir), Some(real)),
            Way::Hidden(_) | Way::Nowhere => (PathBuf::from(dir), None),
        };
        view.path = sandbox::PATH.split(':').map(folder).collect();
        view
    }

    /// Where this machine has a path of the view.
    pub(super) fn outside(&self, path: &Path) -> PathBuf {
        self.root.join(path.strip_prefix("/").unwrap_or(path))
    }

    /// Follows the links in a path, folder by folder. The links, and the last name, are added to `passed`: what they are decides
    /// where it leads. For what is not there the folder is, whose time says when something comes: one for many names.
    pub(super) fn follow(&self, path: &Path, passed: &mut BTreeSet<PathBuf>) -> Way {
        let mut rest: VecDeque<OsString> = names(path).collect();
        let (mut at, mut links, mut hidden) = (PathBuf::from("/"), 0, false);
        while let Some(name) = rest.pop_front() {
            if name == ".." {
                at.pop();
                continue;
            }
            let next = at.join(&name);
            let place = self.outside(&next);
            let meta = place.symlink_metadata();
            let target = meta.as_ref().ok().filter(|meta| meta.is_symlink()).and_then(|_| place.read_link().ok());
            if meta.is_err() {
                passed.insert(self.outside(&at));
                return Way::Nowhere;
            }
            if target.is_some() || rest.is_empty() {
                passed.insert(place);
            }
            hidden |= !is_shown(&next);
            match target {
                Some(_) if links == MOST_LINKS => return Way::Nowhere,
                Some(target) => {
                    links += 1;
                    if target.is_absolute() {
                        at = PathBuf::from("/");
                    }
                    names(&target).rev().for_each(|name| rest.push_front(name));
                }
                None => at = next,
            }
        }
        if hidden { Way::Hidden(at) } else { Way::Here(at) }
    }

    /// Every place at which a script would find a program, the first one first, and where that leads; also what is there on
    /// the host but hidden from scripts. What is in PATH and not a folder is passed over.
    pub(super) fn programs<'s>(
        &'s self,
        name: &'s str,
        passed: &'s mut BTreeSet<PathBuf>,
    ) -> impl Iterator<Item = (PathBuf, Way)> + 's {
        self.path.iter().filter_map(move |(dir, real)| {
            let folder = real.as_ref()?;
            let real = folder.join(name);
            let place = self.outside(&real);
            let Ok(meta) = place.symlink_metadata() else {
                passed.insert(self.outside(folder));
                return None;
            };
            passed.insert(place);
            let way = if meta.is_symlink() { self.follow(&real, passed) } else { Way::Here(real) };
            let end = match &way {
                Way::Here(end) | Way::Hidden(end) => self.outside(end),
                Way::Nowhere => return None,
            };
            let runs = end.metadata().is_ok_and(|meta| meta.is_file() && meta.permissions().mode() & 0o111 != 0);
            runs.then(|| (dir.join(name), way))
        })
    }
}

fn names(path: &Path) -> impl DoubleEndedIterator<Item = OsString> + '_ {
    path.components().filter_map(|component| match component {
        Component::Normal(name) => Some(name.to_owned()),
        Component::ParentDir => Some("..".into()),
        _ => None,
    })
}

/// Whether the sandbox has it, or it is a folder on the way to what it has.
fn is_shown(path: &Path) -> bool {
    let etc = || {
        let mut shown = sandbox::ETC.iter().map(|name| Path::new("/etc").join(name));
        shown.any(|shown| path.starts_with(&shown) || shown.starts_with(path))
    };
    sandbox::SYSTEM.iter().any(|dir| path.starts_with(dir)) || etc()
}
