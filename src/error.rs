//! The one error of quiz: who must act, what went wrong, why, and what to type next.
//!
//! Knows nothing of how it is shown; `report` renders it.

mod place;

pub use place::Place;

use std::fmt;
use std::path::Path;

/// What every function of this crate returns.
pub type Result<T> = std::result::Result<T, Error>;

/// Who must act on an [`Error`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// What was asked for is wrong: a setting, a recipe, a flag, a missing tool. Exit status 2.
    Input,
    /// A stage failed, or the cache could not be read or written. Exit status 1.
    Build,
    /// The machine could not be started. Exit status 1.
    Boot,
}

/// An error: one line, the lines that explain it, what to do next, and the chain of causes.
#[derive(Debug)]
pub struct Error(Box<Inner>);

#[derive(Debug)]
struct Inner {
    kind: Kind,
    message: String,
    place: Option<Place>,
    details: Vec<String>,
    hints: Vec<String>,
    source: Option<Box<dyn std::error::Error + Send + Sync>>,
}

impl Error {
    fn new(kind: Kind, message: impl Into<String>) -> Self {
        let (message, place, source) = (message.into(), None, None);
        Self(Box::new(Inner { kind, message, place, details: Vec::new(), hints: Vec::new(), source }))
    }

    /// What was asked for is wrong. The message names the flag or the variable; of a file [`Self::at`] names the place.
    pub fn input(message: impl Into<String>) -> Self {
        Self::new(Kind::Input, message)
    }

    /// A stage or the cache failed. The message names the stage or the path.
    pub fn build(message: impl Into<String>) -> Self {
        Self::new(Kind::Build, message)
    }

    /// The machine could not be started.
    pub fn boot(message: impl Into<String>) -> Self {
        Self::new(Kind::Boot, message)
    }

    /// Sets where in a file it is. The message then names no file.
    #[must_use]
    pub fn at(mut self, place: impl Into<Option<Place>>) -> Self {
        self.0.place = place.into().or(self.0.place.take());
        self
    }

    /// Adds a line that belongs to the message: a compiler's own error, the last lines of a log.
    #[must_use]
    pub fn detail(mut self, line: impl Into<String>) -> Self {
        self.0.details.push(line.into());
        self
    }

    /// Adds what to do next, best as a command to type.
    #[must_use]
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.0.hints.push(hint.into());
        self
    }

    /// Adds what to do next before all that was added so far: it is likelier what helps.
    #[must_use]
    pub fn first_hint(mut self, hint: impl Into<String>) -> Self {
        self.0.hints.insert(0, hint.into());
        self
    }

    /// Sets the cause.
    #[must_use]
    pub fn because(mut self, source: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Self {
        self.0.source = Some(source.into());
        self
    }

    /// Who must act.
    pub fn kind(&self) -> Kind {
        self.0.kind
    }

    /// What is wrong, without the place.
    pub fn message(&self) -> &str {
        &self.0.message
    }

    /// Where in a file it is.
    pub fn place(&self) -> Option<&Place> {
        self.0.place.as_ref()
    }

    /// Lines that belong to the message, in order.
    pub fn details(&self) -> &[String] {
        &self.0.details
    }

    /// What to do next, in order.
    pub fn hints(&self) -> &[String] {
        &self.0.hints
    }
}

/// An error for what the host could not do with a file or folder of a machine or of its run: "cannot", `what` and the path.
pub(crate) fn cannot(what: &str, path: &Path, error: std::io::Error) -> Error {
    Error::boot(format!("cannot {what} {}", path.display())).because(error)
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0.place {
            Some(place) => write!(f, "{place}: {}", self.0.message),
            None => f.write_str(&self.0.message),
        }
    }
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        self.0.source.as_deref().map(|e| e as _)
    }
}
