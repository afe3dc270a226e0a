//! Objects and trees on disk: how files enter the store, how a tree becomes a folder of hard links, how damage is seen.
//!
//! Does not know keys or records.

use crate::access::{Access, is_tree_mode};
use crate::codec::What;
use crate::error::{Result, at};
use crate::files::{
    adopt, copy_sealed, file_is_sealed, is_executable, link_or_copy, look, no_link, seal_time, time_is_sealed,
};
use crate::workspace::WorkFolder;
use crate::{Cache, Digest, Error, Kind, Node, Output, Tree, walk};
use rayon::prelude::*;
use std::fs::{self, Metadata, Permissions};
use std::io;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

/// The folder of the trees' listings. Its name is part of the disk format, and older than the word.
pub(crate) const LISTINGS: &str = "manifests";

impl Cache {
    /// Where an output lies: a file, or a folder. It need not be there: see [`Cache::is_present`].
    pub fn path(&self, output: &Output) -> PathBuf {
        match output.kind {
            Kind::File => self.place("objects", &output.digest),
            Kind::Tree => self.place("trees", &output.digest),
        }
    }

    /// Whether an output is there and nothing wrote to it since it was stored. Looks at kind, size, mode and time of every
    /// file, and reads none.
    ///
    /// # Errors
    /// When the file system refuses to tell.
    pub fn is_present(&self, output: &Output) -> Result<bool> {
        match output.kind {
            Kind::File => {
                let meta = look(&self.path(output))?;
                Ok(meta.is_some_and(|m| file_is_sealed(&m, output.size, is_executable(&m))))
            }
            Kind::Tree => match self.listing(&output.digest)? {
                Some(tree) => folder_is_sealed(&self.path(output), &tree),
                None => Ok(false),
            },
        }
    }

    /// The output of that digest; nothing if it is not there, or damaged.
    ///
    /// # Errors
    /// When the file system refuses to tell.
    pub fn stored(&self, kind: Kind, digest: &Digest) -> Result<Option<Output>> {
        let output = match kind {
            Kind::Tree => self.listing(digest)?.map(|tree| tree.output()),
            Kind::File => look(&self.place("objects", digest))?.map(|meta| Output {
                kind,
                digest: *digest,
                size: meta.size(),
                files: 1,
            }),
        };
        match output {
            Some(output) if self.is_present(&output)? => Ok(Some(output)),
            _ => Ok(None),
        }
    }

    /// The items of a tree. Needs its listing only, not its files.
    ///
    /// # Errors
    /// When the cache does not know the tree (any more).
    pub fn tree(&self, output: &Output) -> Result<Tree> {
        self.listing(&output.digest)?
            .ok_or_else(|| Error::new(format!("the list of the files of tree {} is not in the cache", output.digest)))
    }

    pub(crate) fn listing(&self, digest: &Digest) -> Result<Option<Tree>> {
        let path = self.place(LISTINGS, digest);
        let Some(tree) = self.load::<Tree>(What::Tree, &path)? else { return Ok(None) };
        if tree.is_valid() && tree.output().digest == *digest {
            return Ok(Some(tree));
        }
        self.note_damage(path);
        Ok(None)
    }

    /// Whether the object of a file is there and undamaged.
    pub(crate) fn has_object(&self, node: &FileNode) -> Result<bool> {
        let meta = look(&self.place("objects", &node.digest))?;
        Ok(meta.is_some_and(|m| file_is_sealed(&m, node.size, node.executable)))
    }

    /// Puts a sealed file under its digest. Afterwards `from` is a link to the object, or a good copy of it.
    pub(crate) fn publish(&self, from: &Path, node: &FileNode, work: &WorkFolder) -> Result<()> {
        let object = self.place("objects", &node.digest);
        self.access().give_sealed(from, node.executable)?;
        for _ in 0..16 {
            match fs::hard_link(from, &object) {
                Ok(()) => return Ok(()),
                Err(e) if e.kind() == io::ErrorKind::NotFound => {
                    self.create_for(&object).map_err(at("create the folder of", &object))?;
                }
                Err(e) if no_link(&e, from) => {
                    let spare = work.spare();
                    copy_sealed(from, &spare, node.executable)?;
                    self.access().give_sealed(&spare, node.executable)?;
                    return fs::rename(&spare, &object).map_err(at("store", &object));
                }
                Err(e) if e.kind() == io::ErrorKind::AlreadyExists => {
                    // It is gone again, as another process cleans up: another try.
                    let Some(meta) = look(&object)? else { continue };
                    return if file_is_sealed(&meta, node.size, node.executable) {
                        share(from, &object, &meta, work)
                    } else {
                        replace_object(from, &object, node.executable, work)
                    };
                }
                Err(e) => return Err(at("store", &object)(e)),
            }
        }
        Err(Error::new(format!("cannot store {}: other processes keep making and removing it", object.display())))
    }

    /// Makes the folder of a tree out of its objects, unless it is there. `also` is a folder that may have the files when the
    /// objects are gone.
    pub(crate) fn realise(&self, tree: &Tree, output: &Output, also: Option<&Path>) -> Result<PathBuf> {
        let path = self.path(output);
        if folder_is_sealed(&path, tree)? {
            return Ok(path);
        }
        let work = self.workspace()?.folder()?;
        let top = work.path().join("tree");
        make_folders(&top, tree)?;
        tree.items().par_iter().try_for_each(|(item, node)| {
            let to = top.join(item);
            match node {
                Node::Folder => Ok(()),
                Node::Symlink { target } => std::os::unix::fs::symlink(target, &to).map_err(at("create", &to)),
                Node::File { digest, size, executable } => {
                    let object = self.place("objects", digest);
                    let elsewhere = also.map(|folder| folder.join(item));
                    for from in [Some(&object), elsewhere.as_ref()].into_iter().flatten() {
                        if look(from)?.is_some_and(|meta| file_is_sealed(&meta, *size, *executable)) {
                            return link_or_copy(from, &to, *executable);
                        }
                    }
                    Err(Error::new(format!("{} ({item}) is missing or damaged", object.display())))
                }
            }
        })?;
        self.install_tree(&top, tree, output, &work)?;
        Ok(path)
    }

    /// Seals the folders of a finished tree and renames it into its place. A good one that is there stays, a damaged one goes.
    pub(crate) fn install_tree(&self, top: &Path, tree: &Tree, output: &Output, work: &WorkFolder) -> Result<()> {
        seal_folders(top, tree, self.access())?;
        let path = self.path(output);
        for _ in 0..16 {
            match self.rename_into(top, &path) {
                Ok(()) => return Ok(()),
                Err(e) if matches!(e.kind(), io::ErrorKind::DirectoryNotEmpty | io::ErrorKind::AlreadyExists) => {}
                Err(e) if e.kind() == io::ErrorKind::NotADirectory => {}
                Err(e) => return Err(at("store", &path)(e)),
            }
            if folder_is_sealed(&path, tree)? {
                return Ok(());
            }
            match fs::rename(&path, work.spare()) {
                Err(e) if e.kind() != io::ErrorKind::NotFound => return Err(at("replace", &path)(e)),
                _ => {}
            }
        }
        Err(Error::new(format!("cannot store {}: other processes keep making and removing it", path.display())))
    }

    /// Brings everything that was written so far to the disk, so that no name ever stands for content that is not there.
    pub(crate) fn sync(&self) -> Result<()> {
        let root = fs::File::open(self.root()).map_err(at("open", self.root()))?;
        rustix::fs::syncfs(&root).map_err(at("write to disk all of", self.root()))
    }
}

/// A file of a tree, or an output that is a file.
#[derive(Debug, Clone, Copy)]
pub(crate) struct FileNode {
    pub(crate) digest: Digest,
    pub(crate) size: u64,
    pub(crate) executable: bool,
}

/// Makes everything in a finished folder read-only, seals and digests it. The folder stays where it is.
pub(crate) fn digest_folder(top: &Path, work: &WorkFolder) -> Result<Tree> {
    open_folder(top)?;
    let found = walk::walk(top, &|_, path, meta| {
        if meta.is_dir() {
            open_folder(path)?;
        }
        Ok(true)
    })?;
    let items = found.into_par_iter().map(|found| {
        let path = top.join(&found.path);
        let node = if found.meta.is_dir() {
            Node::Folder
        } else if found.meta.is_symlink() {
            Node::Symlink { target: symlink_target(&path)? }
        } else {
            let (digest, size) = adopt(&path, &found.meta, &work.spare())?;
            Node::File { digest, size, executable: is_executable(&found.meta) }
        };
        Ok((found.path, node))
    });
    Tree::new(items.collect::<Result<Vec<_>>>()?)
}

/// Where a symlink points, as it is written.
pub(crate) fn symlink_target(path: &Path) -> Result<String> {
    let target = fs::read_link(path).map_err(at("read", path))?;
    target.into_os_string().into_string().map_err(|_| {
        Error::new(format!("{} points at a name that is not UTF-8; such names are not stored", path.display()))
    })
}

/// The files of a tree with their paths in it.
pub(crate) fn files(tree: &Tree) -> impl ParallelIterator<Item = (&str, FileNode)> {
    tree.items().par_iter().filter_map(|(path, node)| match node {
        Node::File { digest, size, executable } => {
            Some((path.as_str(), FileNode { digest: *digest, size: *size, executable: *executable }))
        }
        _ => None,
    })
}

/// Makes `top` and the folders of a tree in it.
pub(crate) fn make_folders(top: &Path, tree: &Tree) -> Result<()> {
    fs::create_dir(top).map_err(at("create the folder", top))?;
    for (path, node) in tree.items() {
        if *node == Node::Folder {
            let path = top.join(path);
            fs::create_dir(&path).map_err(at("create the folder", &path))?;
        }
    }
    Ok(())
}

/// Adds to the folder of the tree `there` what `tree` has besides, from the folder of another tree that has it.
pub(crate) fn add_links(top: &Path, there: &Tree, tree: &Tree, from: &Path) -> Result<()> {
    let missing = |(path, _): &&(String, Node)| !there.has(path);
    for (path, _) in tree.items().iter().filter(missing).filter(|(_, node)| *node == Node::Folder) {
        let path = top.join(path);
        fs::create_dir(&path).map_err(at("create the folder", &path))?;
    }
    tree.items().par_iter().filter(missing).try_for_each(|(path, node)| {
        let (old, new) = (from.join(path), top.join(path));
        match node {
            Node::Folder => Ok(()),
            Node::Symlink { target } => std::os::unix::fs::symlink(target, &new).map_err(at("create", &new)),
            Node::File { size, executable, .. } => {
                if look(&old)?.is_some_and(|meta| file_is_sealed(&meta, *size, *executable)) {
                    return link_or_copy(&old, &new, *executable);
                }
                Err(Error::new(format!("{} is missing or damaged", old.display())))
            }
        }
    })
}

/// Replaces a file by a link to the object that is there already.
fn share(from: &Path, object: &Path, meta: &Metadata, work: &WorkFolder) -> Result<()> {
    if look(from)?.is_some_and(|m| (m.dev(), m.ino()) == (meta.dev(), meta.ino())) {
        return Ok(());
    }
    let spare = work.spare();
    match fs::hard_link(object, &spare) {
        Ok(()) => fs::rename(&spare, from).map_err(at("replace", from)),
        // `from` is as good as the object, which has no links to give or has just been removed.
        Err(e) if no_link(&e, object) || e.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(e) => Err(at("link", object)(e)),
    }
}

fn replace_object(from: &Path, object: &Path, executable: bool, work: &WorkFolder) -> Result<()> {
    let spare = work.spare();
    link_or_copy(from, &spare, executable)?;
    fs::rename(&spare, object).map_err(at("replace the damaged", object))
}

fn open_folder(path: &Path) -> Result<()> {
    fs::set_permissions(path, Permissions::from_mode(0o755)).map_err(at("set the mode of", path))
}

/// Gives symlinks and folders the sealed time, and folders their mode, deepest first: a folder's time shows later changes.
fn seal_folders(top: &Path, tree: &Tree, access: Access) -> Result<()> {
    let seal_folder = |path: &Path| {
        open_folder(path)?;
        access.give_tree_folder(path)?;
        seal_time(path)
    };
    for (path, node) in tree.items().iter().rev() {
        let path = top.join(path);
        match node {
            // A copy, where the file could not be a link to its object.
            Node::File { executable, .. } => access.give_sealed(&path, *executable)?,
            Node::Symlink { .. } => seal_time(&path)?,
            Node::Folder => seal_folder(&path)?,
        }
    }
    seal_folder(top)
}

/// Whether a folder holds exactly this tree and nothing was written to, added to or removed from it.
pub(crate) fn folder_is_sealed(top: &Path, tree: &Tree) -> Result<bool> {
    let sealed = |path: &Path, node: &Node| -> Result<bool> {
        let Some(meta) = look(path)? else { return Ok(false) };
        Ok(match node {
            Node::File { size, executable, .. } => file_is_sealed(&meta, *size, *executable),
            Node::Folder => meta.is_dir() && is_tree_mode(meta.mode()) && time_is_sealed(&meta),
            Node::Symlink { target } => {
                meta.is_symlink() && fs::read_link(path).is_ok_and(|t| t.as_os_str() == target.as_str())
            }
        })
    };
    if !sealed(top, &Node::Folder)? {
        return Ok(false);
    }
    let broken = tree.items().par_iter().find_map_any(|(path, node)| match sealed(&top.join(path), node) {
        Ok(true) => None,
        other => Some(other),
    });
    broken.unwrap_or(Ok(true))
}
