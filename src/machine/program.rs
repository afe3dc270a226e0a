//! The qemu that runs machines: the host's own, or that of a root of packages, which needs nothing of the host.

use std::collections::BTreeSet;
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::error::{Error, Result};
use crate::host::distribution::Distribution;
use crate::host::rooted;

/// A qemu, and what it takes to start it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Qemu {
    path: PathBuf,
    root: Option<PathBuf>,
}

/// Where qemu's data lie in a root of Debian's. Of their subfolders none is of use without a screen or sound.
const DATA: [&str; 2] = ["usr/share/qemu", "usr/share/seabios"];

impl Qemu {
    /// The one of this name in `$PATH`.
    ///
    /// # Errors
    /// When it is not there.
    pub fn installed(name: &str) -> Result<Self> {
        crate::host::find(name).map(Self::from).ok_or_else(|| {
            Error::input(format!("{name} is not installed"))
                .hint(Distribution::here().line(&BTreeSet::from(["qemu-system-x86", "qemu-system-data"])))
                .hint("or take the one that quiz brings: machine.qemu = \"toolchain\"")
        })
    }

    /// The one of this name in a root of packages.
    ///
    /// # Errors
    /// When it is not there.
    pub fn of_root(root: &Path, name: &str) -> Result<Self> {
        let path = rooted::find(root, name)
            .ok_or_else(|| Error::build(format!("there is no {name} in the root {}", root.display())))?;
        Ok(Self { path, root: Some(root.to_owned()) })
    }

    /// Its file.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Whether it is of a root of packages, whose name says all that it is.
    pub fn is_of_root(&self) -> bool {
        self.root.is_some()
    }

    /// The words that start it, before its arguments. One of a root is started by that root's own loader, and looks for libraries and
    /// data there alone.
    pub fn words(&self) -> Vec<OsString> {
        let Some(root) = &self.root else { return vec![self.path.clone().into()] };
        let mut words = rooted::words(root, &self.path, &[]);
        words.extend(DATA.iter().flat_map(|folder| ["-L".into(), root.join(folder).into()]));
        words
    }

    /// What has to be in its environment: qemu loads its parts, such as TCG, from a folder that it was compiled with (util/module.c).
    pub fn variable(&self) -> Option<(&'static str, PathBuf)> {
        self.root.as_ref().map(|root| ("QEMU_MODULE_DIR", root.join(rooted::LIBRARIES).join("qemu")))
    }

    /// The process, to which arguments can be added.
    pub fn process(&self) -> Command {
        let words = self.words();
        let mut process = Command::new(&words[0]);
        process.args(&words[1..]).envs(self.variable());
        process
    }
}

impl From<PathBuf> for Qemu {
    fn from(path: PathBuf) -> Self {
        Self { path, root: None }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_qemu_of_a_root_sees_nothing_of_the_host() {
        const NAME: &str = "qemu-system-x86_64";
        assert!(Qemu::of_root(tempfile::tempdir().unwrap().path(), NAME).is_err());
        let root = rooted::tests::root(NAME);
        let root = root.path();
        let qemu = Qemu::of_root(root, NAME).unwrap();
        let wanted = "ROOT/usr/lib64/ld-linux-x86-64.so.2 --inhibit-cache --library-path ROOT/usr/lib/x86_64-linux-gnu \
            ROOT/usr/bin/qemu-system-x86_64 -L ROOT/usr/share/qemu -L ROOT/usr/share/seabios";
        assert_eq!(rooted::tests::line(root, &qemu.words()), wanted);
        assert_eq!(qemu.variable(), Some(("QEMU_MODULE_DIR", root.join("usr/lib/x86_64-linux-gnu/qemu"))));
        let own = Qemu::from(PathBuf::from("/usr/bin/qemu-system-x86_64"));
        assert_eq!((own.words(), own.variable()), (vec!["/usr/bin/qemu-system-x86_64".into()], None));
    }
}
