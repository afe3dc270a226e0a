//! Digests: 32 bytes of blake3, and how the content of a file becomes one.
//!
//! Does not know what is digested, where it lies, or what a tree is.

use serde::{Deserialize, Serialize};
use std::fmt;
use std::io::{self, Read};
use std::str::FromStr;

/// Sets executable files apart: two files of equal content, one of them executable, are two objects.
const EXECUTABLE: &str = "quiz-cache 1 executable file";

/// A blake3 digest.
///
/// A file that is not executable has the plain blake3 of its content (what `b3sum` prints). An executable one has the blake3
/// of its content in key derivation mode with the context `quiz-cache 1 executable file`.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Digest([u8; 32]);

impl Digest {
    /// The digest of these bytes.
    pub fn of(bytes: &[u8]) -> Self {
        Self::finish(blake3::Hasher::new().update(bytes))
    }

    /// The digest of a file with this content.
    pub fn of_file(content: &[u8], executable: bool) -> Self {
        Self::finish(file_hasher(executable).update(content))
    }

    /// The 32 bytes.
    pub fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }

    /// The first 12 hex digits, for people.
    pub fn short(&self) -> String {
        self.to_string()[..12].to_owned()
    }

    pub(crate) fn finish(hasher: &blake3::Hasher) -> Self {
        Self(*hasher.finalize().as_bytes())
    }

    /// Reads to the end; gives the digest of a file with this content, and the number of bytes.
    ///
    /// # Errors
    /// It cannot be read.
    pub fn of_reader(mut content: impl Read, executable: bool) -> io::Result<(Self, u64)> {
        let mut hasher = file_hasher(executable);
        let mut buffer = [0u8; 64 * 1024];
        loop {
            match content.read(&mut buffer) {
                Ok(0) => return Ok((Self::finish(&hasher), hasher.count())),
                Ok(n) => hasher.update(&buffer[..n]),
                Err(e) if e.kind() == io::ErrorKind::Interrupted => continue,
                Err(e) => return Err(e),
            };
        }
    }
}

fn file_hasher(executable: bool) -> blake3::Hasher {
    if executable { blake3::Hasher::new_derive_key(EXECUTABLE) } else { blake3::Hasher::new() }
}

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&blake3::Hash::from_bytes(self.0).to_hex())
    }
}

impl fmt::Debug for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// Not 64 hex digits.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ParseDigestError(String);

impl fmt::Display for ParseDigestError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "`{}` is not a digest: 64 hex digits are wanted", self.0.escape_debug())
    }
}

impl std::error::Error for ParseDigestError {}

impl FromStr for Digest {
    type Err = ParseDigestError;

    fn from_str(hex: &str) -> Result<Self, ParseDigestError> {
        let hash = blake3::Hash::from_hex(hex).map_err(|_| ParseDigestError(hex.to_owned()))?;
        Ok(Self(*hash.as_bytes()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn plain_digest_is_what_b3sum_prints() {
        // From the blake3 repository: the digest of nothing.
        let nothing = "af1349b9f5f9a1a6a0404dea36dcc9499bcb25c9adc112b7cc9a93cae41f3262";
        assert_eq!(Digest::of(b"").to_string(), nothing);
        assert_eq!(Digest::of_file(b"", false).to_string(), nothing);
        assert_eq!(Digest::of(b"").short(), "af1349b9f5f9");
    }

    #[test]
    fn executable_is_another_digest_and_never_changes() {
        assert_ne!(Digest::of_file(b"a", true), Digest::of_file(b"a", false));
        assert_eq!(
            Digest::of_file(b"#!/bin/sh\n", true).to_string(),
            "4f8e6646f8dec2aa0dcc1355d593372eba5168f60caa42f505ebd87c5b196df5"
        );
    }

    #[test]
    fn reader_and_slice_agree() {
        let content = vec![7u8; 200_000];
        for executable in [false, true] {
            let (digest, size) = Digest::of_reader(&content[..], executable).unwrap();
            assert_eq!((digest, size), (Digest::of_file(&content, executable), 200_000));
        }
    }

    #[test]
    fn parse_is_the_inverse_of_display() {
        let digest = Digest::of(b"x");
        assert_eq!(digest.to_string().parse(), Ok(digest));
        for wrong in ["", "ab", &"g".repeat(64), &digest.to_string()[1..], &format!("{digest}0")] {
            assert!(wrong.parse::<Digest>().is_err(), "{wrong}");
        }
    }
}
