//! Gets files of one archive: over http, or out of a folder of this machine. Knows nothing of what they are.

use crate::error::{Error, Result};
use crate::event::Events;
use crate::source::download::{self, Access, Patience, Wanted};
use std::fs::{self, File};
use std::io::{self, Read};
use std::path::{Path, PathBuf};

/// No Release file and no answer of a snapshot server is read beyond this, in bytes.
const TEXT: u64 = 16 << 20;

/// An archive, and how it is reached.
pub(super) struct Server<'a> {
    pub address: &'a str,
    pub access: Access,
    /// Where downloads grow. Others may use it, too: the caller has a lock for each file that it brings there.
    pub folder: PathBuf,
    pub patience: Patience,
}

impl Server<'_> {
    /// The address of a path.
    pub(super) fn url(&self, path: &str) -> String {
        format!("{}/{path}", self.address)
    }

    /// The text of a small file, if there is one.
    pub(super) fn text(&self, path: &str, events: Events) -> Result<Option<String>> {
        let url = self.url(path);
        let unreadable = |e: io::Error| Error::build(format!("cannot read {url}")).because(e);
        if let Some(local) = self.local(path) {
            return match File::open(local) {
                Ok(file) => {
                    let mut text = String::new();
                    file.take(TEXT).read_to_string(&mut text).map_err(unreadable)?;
                    Ok(Some(text))
                }
                Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(None),
                Err(e) => Err(unreadable(e)),
            };
        }
        let wanted = Wanted { url: &url, access: Some(&self.access), sha256: None, size: None, most: TEXT };
        let Some(got) = download::find(&wanted, &self.folder, self.patience, events)? else { return Ok(None) };
        let text = fs::read_to_string(&got.path).map_err(unreadable);
        let _ = fs::remove_file(&got.path);
        text.map(Some)
    }

    /// Brings a file of known content to `dest`, in the same file system as the folder of downloads. Returns whether the
    /// archive has it.
    pub(super) fn file(&self, path: &str, sha256: &str, size: u64, dest: &Path, events: Events) -> Result<bool> {
        let url = self.url(path);
        let failed = |e: io::Error| Error::build(format!("cannot write {}", dest.display())).because(e);
        if let Some(local) = self.local(path) {
            let part = self.folder.join(sha256);
            match fs::copy(&local, &part) {
                Ok(_) => {}
                Err(e) if e.kind() == io::ErrorKind::NotFound && !local.exists() => return Ok(false),
                Err(e) => return Err(failed(e)),
            }
            let sum = download::sha256_of(&part).map_err(failed)?;
            if sum != sha256 {
                let _ = fs::remove_file(&part);
                return Err(download::wrong_sum(&url, sha256, &sum));
            }
            return fs::rename(part, dest).map_err(failed).map(|()| true);
        }
        let wanted =
            Wanted { url: &url, access: Some(&self.access), sha256: Some(sha256), size: Some(size), most: size };
        let Some(got) = download::find(&wanted, &self.folder, self.patience, events)? else { return Ok(false) };
        fs::rename(got.path, dest).map_err(failed).map(|()| true)
    }

    /// Where a path lies on this machine, if the archive is a folder here.
    fn local(&self, path: &str) -> Option<PathBuf> {
        let folder = self.address.strip_prefix("file:").or_else(|| self.address.strip_prefix("copy:"))?;
        Some(Path::new("/").join(folder.trim_start_matches('/')).join(path))
    }
}
