//! What is known of this machine before any package list: its own suite, where its package sources are, Debian's keys.

use crate::error::{Error, Result};
use crate::host::distribution;
use std::path::{Path, PathBuf};

/// Debian's keys of all its releases: what the package debian-archive-keyring brings, by its old and its new name.
const KEYRINGS: &[&str] =
    &["/usr/share/keyrings/debian-archive-keyring.gpg", "/usr/share/keyrings/debian-archive-keyring.pgp"];

/// The mirror of those who have set none and whose machine names none.
const MIRROR: &str = "http://deb.debian.org/debian";

/// This machine.
#[derive(Debug, Clone)]
pub(in crate::source) struct Host {
    /// apt's folder with the package sources.
    pub etc: PathBuf,
    /// Its distribution: "debian", "ubuntu".
    pub id: String,
    /// The code name of its release, if os-release(5) tells.
    pub codename: Option<String>,
    /// The keys of all releases of Debian, if they are here.
    pub keyring: Option<PathBuf>,
    /// Debian's own mirror, for suites of Debian's that the package sources have no place for.
    pub mirror: String,
}

impl Host {
    /// Reads os-release(5).
    pub(in crate::source) fn read() -> Self {
        let text = distribution::os_release();
        let keyring = KEYRINGS.iter().map(PathBuf::from).find(|path| path.exists());
        Self { keyring, ..Self::of(&text, Path::new("/etc/apt")) }
    }

    /// The machine with this os-release, whose package sources are in `etc`.
    pub(in crate::source) fn of(os_release: &str, etc: &Path) -> Self {
        let value = |name| distribution::value(os_release, name);
        let (id, codename) = (value("ID").unwrap_or_default(), value("VERSION_CODENAME"));
        Self { etc: etc.to_owned(), id, codename, keyring: None, mirror: MIRROR.to_owned() }
    }

    /// Its own suite.
    pub(in crate::source) fn suite(&self) -> Result<&str> {
        self.codename.as_deref().ok_or_else(|| {
            Error::input("/etc/os-release does not say of which suite this machine is (there is no VERSION_CODENAME)")
                .hint("name the suites in quiz.toml: rootfs.suite = \"bookworm\" for the root, kernel.suite for the kernel")
        })
    }
}
