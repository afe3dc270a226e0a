//! How apt's files describe where packages are: sources, keys, the names of suites. Text in, data out; no program of apt is run.

mod host;
pub(super) mod sources;
pub(super) mod suites;

pub(super) use host::Host;

use crate::error::{Error, Result};

/// The error for a suite that no package source has.
pub(super) fn no_suite(suite: &str, details: &[&str]) -> Error {
    let error = Error::input(format!("there is no suite `{suite}`"));
    let error = details.iter().fold(error, |error, line| error.detail(*line));
    match &suites::nearest(suite)[..] {
        [] => error.hint("names of Debian's suites are, for example, bookworm, trixie-backports and sid"),
        near => error.hint(format!("similar names: {}", near.join(", "))),
    }
}

/// Debian's word for what `uname -m` calls `machine`.
pub(super) fn arch(machine: &str) -> Result<&'static str> {
    Ok(match machine {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        "riscv64" => "riscv64",
        "ppc64le" => "ppc64el",
        "s390x" => "s390x",
        "armv7l" => "armhf",
        "i686" => "i386",
        _ => return Err(Error::input(format!("no Debian architecture is known for `{machine}`"))),
    })
}
