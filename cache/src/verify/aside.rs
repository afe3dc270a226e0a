//! Where what is wrong goes, and the records that lead to it.

use super::{FOLDER, Found, Verified};
use crate::error::{Result, at};
use crate::files::look;
use crate::{Cache, Digest, Kind, Node, Output};
use std::collections::{BTreeSet, HashSet};
use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::time::SystemTime;

impl Cache {
    /// Moves what is wrong, and the records that lead to it.
    pub(super) fn set_wrong_aside(&self, found: &Found, verified: &mut Verified) -> Result<()> {
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().as_secs();
        let aside = self.folder(FOLDER).join(format!("{now}-{}", std::process::id()));
        let moved = fs::create_dir_all(&aside).map_err(at("create the folder", &aside)).and_then(|()| {
            for wrong in &found.wrong {
                if let Some(inode) = wrong.inode {
                    self.move_aside(&wrong.path, inode, &aside)?;
                }
            }
            self.drop_records(&found.bad, &aside)
        });
        match moved {
            Ok(dropped) => {
                verified.dropped = dropped.into_iter().collect();
                verified.aside = Some(aside);
            }
            Err(error) => {
                let why = std::error::Error::source(&error).map(|why| format!(": {why}")).unwrap_or_default();
                verified.refused = Some(format!("{error}{why}"));
            }
        }
        Ok(())
    }

    /// Moves a file or folder, if it is still that one: somebody may have put a good one in its place.
    fn move_aside(&self, path: &Path, inode: (u64, u64), aside: &Path) -> Result<()> {
        let (from, to) = (self.root().join(path), aside.join(path));
        let is_it =
            |path: &Path| -> Result<bool> { Ok(look(path)?.is_some_and(|meta| (meta.dev(), meta.ino()) == inode)) };
        if !is_it(&from)? {
            return Ok(());
        }
        let folder = to.parent().unwrap_or(aside);
        fs::create_dir_all(folder).map_err(at("create the folder", folder))?;
        match fs::rename(&from, &to) {
            Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(()),
            other => other.map_err(at("move", &from))?,
        }
        // Something else may have come between the look and the move: then it is moved back.
        if !is_it(&to)? {
            let flags = rustix::fs::RenameFlags::NOREPLACE;
            // If yet another one is there by now, that is as good.
            let _ = rustix::fs::renameat_with(rustix::fs::CWD, &to, rustix::fs::CWD, &from, flags);
        }
        Ok(())
    }

    /// The records that lead to what is gone now; the names of their stages.
    fn drop_records(&self, bad: &HashSet<Digest>, aside: &Path) -> Result<BTreeSet<String>> {
        let mut dropped = BTreeSet::new();
        for (record, _) in self.results()? {
            let mut outputs = record.outputs.values().filter(|output| bad.contains(&output.digest));
            // Somebody may have made it again.
            if outputs.any(|output| !self.is_present(output).unwrap_or(false) || self.has_bad(output, bad)) {
                let path = self.place("records", record.key.digest());
                let Some(meta) = look(&path)? else { continue };
                let below = path.strip_prefix(self.root()).unwrap_or(&path).to_owned();
                self.move_aside(&below, (meta.dev(), meta.ino()), aside)?;
                dropped.insert(record.stage);
            }
        }
        Ok(dropped)
    }

    /// Whether a tree is there, but an object of it is not.
    fn has_bad(&self, output: &Output, bad: &HashSet<Digest>) -> bool {
        let gone = |digest: &Digest| bad.contains(digest) && !self.place("objects", digest).exists();
        output.kind == Kind::Tree
            && self.tree(output).is_ok_and(|tree| {
                tree.items().iter().any(|(_, node)| matches!(node, Node::File { digest, .. } if gone(digest)))
            })
    }
}
