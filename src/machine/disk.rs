//! The files of the guest's disks: made before the machine starts, gone after it unless they are persistent.
//!
//! A persistent disk is never made smaller and never emptied, and two machines never have it at the same time. Knows nothing
//! of what is on a disk.

use std::collections::BTreeSet;
use std::fs::{self, File, TryLockError};
use std::io::{ErrorKind, Write};
use std::path::{Path, PathBuf};
use std::process::Stdio;

use super::guest::{Disk, DiskFormat};
use crate::error::{Error, Result, cannot};
use crate::host::{self, distribution::Distribution};

/// What makes disks of the format qcow2: program → Debian package.
pub const QEMU_IMG: (&str, &str) = ("qemu-img", "qemu-utils");

/// The disks of a machine while it has them: persistent ones are locked, the others go when this is dropped.
#[derive(Debug)]
pub struct Disks {
    passing: Vec<PathBuf>,
    _locks: Vec<File>,
}

impl Drop for Disks {
    fn drop(&mut self) {
        // A file that cannot be removed only takes room, until the run's folder is removed.
        self.passing.iter().for_each(|path| drop(fs::remove_file(path)));
    }
}

impl Disks {
    /// Lets the files of all disks stay.
    pub fn keep(mut self) {
        self.passing.clear();
    }
}

/// Makes the files of `disks` that are not there, and takes hold of them for the run of that name.
///
/// # Errors
/// A persistent disk that another machine has; a file that cannot be made.
pub fn take(disks: &[Disk], run: &str) -> Result<Disks> {
    let mut taken = Disks { passing: Vec::new(), _locks: Vec::new() };
    for disk in disks {
        if let Some(parent) = disk.path.parent() {
            host::private_folder(parent).map_err(|e| cannot("make the folder", parent, e))?;
        }
        if disk.persistent {
            taken._locks.push(lock(&disk.path, run)?);
        } else {
            taken.passing.push(disk.path.clone());
        }
        make(disk)?;
    }
    Ok(taken)
}

/// The disks as they were before the machine was started: it is to be started once more, and has written to them. A persistent one keeps what is on it.
///
/// # Errors
/// A file that cannot be removed, or made again.
pub fn renew(disks: &[Disk]) -> Result<()> {
    for disk in disks.iter().filter(|disk| !disk.persistent) {
        fs::remove_file(&disk.path).map_err(|e| cannot("remove", &disk.path, e))?;
        make(disk)?;
    }
    Ok(())
}

/// The lock is a file of its own, which says who holds it: qemu has locks of another kind on the disk itself.
fn lock(disk: &Path, run: &str) -> Result<File> {
    let path = disk.with_extension("lock");
    let mut file = host::private_file().append(true).read(true).open(&path).map_err(|e| cannot("open", &path, e))?;
    match file.try_lock() {
        Ok(()) => {}
        Err(TryLockError::WouldBlock) => {
            let other = fs::read_to_string(&path).unwrap_or_default();
            return Err(Error::input(format!("the disk {} is in use by run {}", disk.display(), other.trim()))
                .hint("end that machine, or leave out `persistent`"));
        }
        Err(TryLockError::Error(e)) => return Err(cannot("lock", &path, e)),
    }
    file.set_len(0).and_then(|()| writeln!(file, "{run}")).map_err(|e| cannot("write", &path, e))?;
    Ok(file)
}

/// A disk that is there is only ever made larger.
fn make(disk: &Disk) -> Result<()> {
    let size = match (fs::metadata(&disk.path), disk.format) {
        (Ok(meta), DiskFormat::Raw) => Some(meta.len()),
        (Ok(_), DiskFormat::Qcow2) => Some(virtual_size(&disk.path)?),
        (Err(e), _) if e.kind() == ErrorKind::NotFound => None,
        (Err(e), _) => return Err(cannot("look at", &disk.path, e)),
    };
    let wanted = disk.size.to_string();
    if let Some((below, format)) = &disk.over {
        let below = below
            .to_str()
            .ok_or_else(|| Error::input(format!("qemu-img takes no path that is not UTF-8: {}", below.display())))?;
        let before = ["create", "-q", "-f", "qcow2", "-F", format.name(), "-b", below];
        return qemu_img(&before, &disk.path, &[&wanted]).map(drop);
    }
    match (size, disk.format) {
        (Some(size), _) if size >= disk.size => Ok(()),
        (_, DiskFormat::Raw) => {
            let file = host::private_file().append(true).open(&disk.path);
            file.and_then(|file| file.set_len(disk.size)).map_err(|e| cannot("make the disk", &disk.path, e))
        }
        (None, DiskFormat::Qcow2) => qemu_img(&["create", "-q", "-f", "qcow2"], &disk.path, &[&wanted]).map(drop),
        (Some(_), DiskFormat::Qcow2) => qemu_img(&["resize", "-q", "-f", "qcow2"], &disk.path, &[&wanted]).map(drop),
    }
}

fn virtual_size(path: &Path) -> Result<u64> {
    let text = qemu_img(&["info", "-f", "qcow2", "--output=json"], path, &[])?;
    let info: Option<serde_json::Value> = serde_json::from_slice(&text).ok();
    info.and_then(|info| info.get("virtual-size")?.as_u64())
        .ok_or_else(|| Error::boot(format!("qemu-img does not say how large {} is", path.display())))
}

fn qemu_img(before: &[&str], path: &Path, after: &[&str]) -> Result<Vec<u8>> {
    let output = host::program(QEMU_IMG.0).args(before).arg(path).args(after).stdin(Stdio::null()).output();
    let output = output.map_err(|e| {
        Error::input("cannot start qemu-img, which makes disks of the format qcow2")
            .because(e)
            .hint(Distribution::here().line(&BTreeSet::from([QEMU_IMG.1])))
    })?;
    if output.status.success() {
        return Ok(output.stdout);
    }
    let error = Error::boot(format!("qemu-img {} {} failed", before[0], path.display()));
    Err(String::from_utf8_lossy(&output.stderr).lines().fold(error, Error::detail))
}

#[cfg(test)]
mod tests {
    use super::super::guest::Bus;
    use super::*;

    fn disk(path: PathBuf, size: u64, persistent: bool) -> Disk {
        Disk { serial: "q0".into(), bus: Bus::Virtio, path, format: DiskFormat::Raw, size, persistent, over: None }
    }

    #[test]
    fn a_disk_of_one_run_is_sparse_and_gone_afterwards() {
        let base = tempfile::tempdir().unwrap();
        let path = base.path().join("disks/q0.raw");
        let taken = take(&[disk(path.clone(), 1 << 40, false)], "1").unwrap();
        assert_eq!(fs::metadata(&path).unwrap().len(), 1 << 40);
        drop(taken);
        assert!(!path.exists());
    }

    #[test]
    fn a_persistent_disk_keeps_what_is_on_it_and_never_shrinks() {
        let base = tempfile::tempdir().unwrap();
        let path = base.path().join("disks/q0.raw");
        drop(take(&[disk(path.clone(), 4096, true)], "1").unwrap());
        fs::write(&path, [7; 4096]).unwrap();
        drop(take(&[disk(path.clone(), 1 << 20, true)], "1").unwrap());
        assert_eq!(fs::metadata(&path).unwrap().len(), 1 << 20, "it grew");
        drop(take(&[disk(path.clone(), 512, true)], "1").unwrap());
        let bytes = fs::read(&path).unwrap();
        assert_eq!((bytes.len(), &bytes[..4096]), (1 << 20, &[7; 4096][..]));
    }

    #[test]
    fn a_persistent_disk_belongs_to_one_machine_at_a_time() {
        let base = tempfile::tempdir().unwrap();
        let disks = [disk(base.path().join("disks/q0.raw"), 4096, true)];
        let taken = take(&disks, "1").unwrap();
        let error = take(&disks, "2").unwrap_err();
        assert!(error.to_string().ends_with("q0.raw is in use by run 1"), "{error}");
        drop(taken);
        take(&disks, "2").unwrap();
    }
}
