//! The error of this crate: what was tried, on which path, and the cause.
//!
//! Does not know who must act on it or how it is shown.

use std::fmt;
use std::io;
use std::path::Path;

/// What every fallible function of this crate returns.
pub type Result<T> = std::result::Result<T, Error>;

/// What was tried, on which path. The cause, when the system gave one, is [`std::error::Error::source`].
#[derive(Debug)]
pub struct Error {
    message: String,
    source: Option<io::Error>,
    is_changed: bool,
}

impl Error {
    pub(crate) fn new(message: impl Into<String>) -> Self {
        Self { message: message.into(), source: None, is_changed: false }
    }

    /// Somebody who is asked on the way ([`crate::Guard`]) does not want it, or cannot, for that reason of the system's.
    pub fn refused(message: impl Into<String>, source: Option<io::Error>) -> Self {
        Self { source, ..Self::new(message) }
    }

    /// A source file is no longer what its fingerprint says.
    pub(crate) fn changed(path: &Path) -> Self {
        Self { is_changed: true, ..Self::new(format!("{} changed while it was stored", path.display())) }
    }

    /// What was made came to nothing, through no fault of its own.
    pub(crate) fn void(message: impl Into<String>) -> Self {
        Self { is_changed: true, ..Self::new(message) }
    }

    /// Whether something changed under what was done, such as a source file since its fingerprint was taken, or the clock: scan
    /// again and start over.
    pub fn is_changed(&self) -> bool {
        self.is_changed
    }

    /// The kind of the system's error, when there is one: [`io::ErrorKind::StorageFull`] on a full disk.
    pub fn io_kind(&self) -> Option<io::ErrorKind> {
        self.source.as_ref().map(io::Error::kind)
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        self.source.as_ref().map(|e| e as _)
    }
}

/// For `map_err`: `cannot WHAT PATH`, with the system's error as cause.
pub(crate) fn at<E: Into<io::Error>>(what: &str, path: &Path) -> impl FnOnce(E) -> Error {
    move |cause| Error { source: Some(cause.into()), ..Error::new(format!("cannot {what} {}", path.display())) }
}
