//! What a guest is asked to run, and its bytes, which `recipes/agent/request.c` reads.
//!
//! Pure. Does not know how it gets there.

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;

use crate::error::{Error, Result};
use crate::machine::ShareMode;

/// Columns and rows of a terminal.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Size {
    /// Rows.
    pub rows: u16,
    /// Columns.
    pub columns: u16,
}

impl Size {
    pub(super) fn encode(self) -> [u8; 4] {
        let (rows, columns) = (self.rows.to_le_bytes(), self.columns.to_le_bytes());
        [rows[0], rows[1], columns[0], columns[1]]
    }
}

/// Where a program starts unless somebody says otherwise: the home of the guest's root.
pub const HOME: &str = "/root";

/// A share of the machine that has its place only now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mounted {
    /// Its 9p tag.
    pub tag: String,
    /// Where the guest mounts it. What is missing of the path is made.
    pub at: PathBuf,
    /// What happens to what the guest writes there.
    pub mode: ShareMode,
}

/// What the guest is asked to run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Request {
    /// The program and its arguments; nothing means an interactive shell.
    pub program: Vec<OsString>,
    /// `NAME=value`, over the agent's own default environment.
    pub env: Vec<OsString>,
    /// The directory in the guest in which the program starts.
    pub dir: OsString,
    /// Run it on a pty of this size. `None`: three separate binary streams.
    pub tty: Option<Size>,
    /// An interactive shell follows when the program has ended. The exit status stays the program's.
    pub shell_after: bool,
    /// Mounted before the program starts; none for a program that is started later.
    pub shares: Vec<Mounted>,
}

#[cfg(test)]
impl Request {
    /// That program alone, at the root, on three streams.
    pub(crate) fn of(program: &str) -> Self {
        Self {
            program: vec![program.into()],
            env: vec![],
            dir: "/".into(),
            tty: None,
            shell_after: false,
            shares: vec![],
        }
    }
}

impl Request {
    /// Its bytes.
    ///
    /// # Errors
    /// A string has a NUL byte.
    pub(super) fn encode(&self, bounded: bool, kept: bool) -> Result<Vec<u8>> {
        let flags = [self.tty.is_some(), self.shell_after, bounded, kept].into_iter().enumerate();
        let mut bytes = vec![flags.fold(0, |all, (bit, on)| all | u8::from(on) << bit)];
        bytes.extend(self.tty.unwrap_or(Size { rows: 0, columns: 0 }).encode());
        for count in [self.program.len(), self.env.len(), self.shares.len()] {
            // A count too large for u32 has more bytes than a frame may have.
            bytes.extend(u32::try_from(count).unwrap_or(u32::MAX).to_le_bytes());
        }
        let words = self.program.iter().chain(&self.env).map(OsString::as_os_str);
        let shares = self.shares.iter().flat_map(|share| {
            let mode = match share.mode {
                ShareMode::ReadWrite => "w",
                ShareMode::ReadOnly => "r",
                ShareMode::Overlay => "o",
            };
            [OsStr::new(mode), OsStr::new(&share.tag), share.at.as_os_str()]
        });
        for string in std::iter::once(self.dir.as_os_str()).chain(words).chain(shares) {
            if string.as_bytes().contains(&0) {
                return Err(Error::input(format!("an argument or environment entry has a NUL byte: {string:?}")));
            }
            bytes.extend(string.as_bytes());
            bytes.push(0);
        }
        Ok(bytes)
    }
}
