//! Lists a folder: every file, folder and symlink under it, folders in parallel. Refuses what a tree cannot hold.
//!
//! Does not read files and does not know what the list is for.

use crate::Error;
use crate::error::{Result, at};
use rayon::prelude::*;
use rustix::fs::FileType;
use std::fs::{self, Metadata};
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

/// Something that was found: its path below the root, and what `lstat` says.
#[derive(Debug)]
pub(crate) struct Found {
    pub(crate) path: String,
    pub(crate) meta: Metadata,
}

/// Called for everything before it is taken, and for a folder before it is read: whether to take it.
/// The path below the root, the full path, and what `lstat` says.
pub(crate) type Choose<'a> = &'a (dyn Fn(&str, &Path, &Metadata) -> Result<bool> + Sync);

/// Everything under `root` that `choose` takes, in no order.
pub(crate) fn walk(root: &Path, choose: Choose) -> Result<Vec<Found>> {
    walk_folder(root, "", choose)
}

fn walk_folder(folder: &Path, prefix: &str, choose: Choose) -> Result<Vec<Found>> {
    let mut found = Vec::new();
    let mut folders = Vec::new();
    for entry in fs::read_dir(folder).map_err(at("read the folder", folder))? {
        let entry = entry.map_err(at("read the folder", folder))?;
        let full = entry.path();
        let name = entry.file_name();
        let name = name.to_str().ok_or_else(|| {
            Error::new(format!("{} has a name that is not UTF-8; such names are not stored", full.display()))
        })?;
        let meta = match entry.metadata() {
            // The file was deleted after the folder was listed, as compilers' temporary files are: it is not there.
            Err(e) if e.kind() == io::ErrorKind::NotFound => continue,
            other => other.map_err(at("look at", &full))?,
        };
        let path = format!("{prefix}{name}");
        if !choose(&path, &full, &meta)? {
            continue;
        }
        refuse_special(&full, meta.mode())?;
        if meta.is_dir() {
            folders.push((full, format!("{path}/")));
        }
        found.push(Found { path, meta });
    }
    let below: Vec<Vec<Found>> =
        folders.par_iter().map(|(full, prefix)| walk_folder(full, prefix, choose)).collect::<Result<_>>()?;
    found.extend(below.into_iter().flatten());
    Ok(found)
}

/// An error that names the path of what a tree cannot hold: devices, fifos, sockets, and bits that give rights.
/// The group bit of a folder is let through and dropped, because a folder inherits it from the place it is made in.
pub(crate) fn refuse_special(path: &Path, mode: u32) -> Result<()> {
    let kind = FileType::from_raw_mode(mode);
    let what = match kind {
        FileType::Symlink => return Ok(()),
        FileType::Fifo => "a fifo",
        FileType::Socket => "a socket",
        FileType::BlockDevice | FileType::CharacterDevice => "a device",
        _ if mode & 0o4000 != 0 => "setuid",
        _ if mode & 0o2000 != 0 && kind != FileType::Directory => "setgid",
        _ if mode & 0o1000 != 0 => "sticky",
        _ => return Ok(()),
    };
    Err(Error::new(format!(
        "{} is {what}: only plain files, folders and symlinks without setuid, setgid and sticky bits are stored",
        path.display()
    )))
}
