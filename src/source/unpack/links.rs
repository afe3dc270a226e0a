//! The tree that an archive describes, in memory: what is where, and where its links lead. Never looks at the disk, so nothing
//! that an archive has put there can deceive it.

use std::collections::HashMap;

/// What lies at a path.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum EntryKind {
    Folder,
    File,
    /// Target.
    Symlink(String),
}

/// All paths of an archive so far.
pub(super) struct Tree {
    kinds: HashMap<String, EntryKind>,
    most: usize,
}

/// As many links as Linux follows in one path.
const FOLLOWED: u32 = 40;

impl Tree {
    pub(super) fn new(most: usize) -> Self {
        Self { kinds: HashMap::from([(String::new(), EntryKind::Folder)]), most }
    }

    /// Adds an entry; gives the folders to be made for it, outermost first.
    pub(super) fn add(&mut self, path: &str, kind: EntryKind) -> Result<Vec<String>, String> {
        let mut missing = Vec::new();
        for (slash, _) in path.match_indices('/') {
            let parent = &path[..slash];
            match self.kinds.get(parent) {
                Some(EntryKind::Folder) => {}
                Some(_) => return Err(format!("`{parent}` is not a folder, so nothing can lie below it")),
                None => missing.push(parent.to_owned()),
            }
        }
        match self.kinds.get(path) {
            Some(EntryKind::Folder) if kind == EntryKind::Folder => {}
            Some(_) => return Err("is there twice".to_owned()),
            None if kind == EntryKind::Folder => missing.push(path.to_owned()),
            None => {
                self.kinds.insert(path.to_owned(), kind);
            }
        }
        self.kinds.extend(missing.iter().map(|folder| (folder.clone(), EntryKind::Folder)));
        if self.kinds.len() > self.most {
            return Err(format!("the archive holds more than {} entries", self.most));
        }
        Ok(missing)
    }

    /// Takes away a folder, and all that lies below it.
    pub(super) fn remove(&mut self, folder: &str) {
        let below = format!("{folder}/");
        self.kinds.retain(|path, _| path != folder && !path.starts_with(&below));
    }

    pub(super) fn has(&self, path: &str) -> bool {
        self.kinds.contains_key(path)
    }

    /// Whether nothing but folders lies above a path.
    pub(super) fn has_room(&self, path: &str) -> bool {
        let above = path.match_indices('/').filter_map(|(slash, _)| self.kinds.get(&path[..slash]));
        above.into_iter().all(|kind| *kind == EntryKind::Folder)
    }

    pub(super) fn is_file(&self, path: &str) -> bool {
        self.kinds.get(path) == Some(&EntryKind::File)
    }

    /// Follows every symlink. One may lead to nothing, but not out of the tree; the error has its path.
    pub(super) fn check(&self) -> Result<(), (String, String)> {
        let links = self.kinds.iter().filter_map(|(path, kind)| match kind {
            EntryKind::Symlink(target) => Some((path, target)),
            _ => None,
        });
        for (path, target) in links {
            let mut folder: Vec<&str> = path.split('/').collect();
            folder.pop();
            let mut left = FOLLOWED;
            self.follow(folder, target, &mut left).map_err(|why| (path.clone(), why))?;
        }
        Ok(())
    }

    /// Where `target` leads from `at`. A link on the way must be followed before a `..` after it counts: a target that looks as if
    /// it stayed inside may leave through a link that leads upwards.
    fn follow<'a>(&'a self, mut at: Vec<&'a str>, target: &'a str, left: &mut u32) -> Result<Vec<&'a str>, String> {
        for part in target.split('/') {
            match part {
                "" | "." => {}
                ".." => {
                    at.pop().ok_or("a link that leads out of the archive")?;
                }
                part => {
                    at.push(part);
                    if let Some(EntryKind::Symlink(target)) = self.kinds.get(&at.join("/")) {
                        at.pop();
                        *left = left.checked_sub(1).ok_or("a link that leads in a circle, or over too many others")?;
                        at = self.follow(at, target, left)?;
                    }
                }
            }
        }
        Ok(at)
    }
}
