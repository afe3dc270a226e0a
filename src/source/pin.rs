//! Pins: exactly which bytes a wish stands for. No host names where a package archive is meant: any mirror has the same bytes.

use serde::Deserialize;
use std::fmt;

/// Exactly which bytes a wish stands for.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub enum Pin {
    /// One Debian package that holds a source tarball.
    Package(PackagePin),
    /// One tarball on a web server.
    Url(UrlPin),
    /// A closed set of Debian packages.
    Packages(PackagesPin),
}

/// One Debian package, as quiz.lock has it.
pub type PackagePin = Package;

/// One Debian package: name and version say where to find it, the checksum what it is.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Package {
    /// Name.
    pub name: String,
    /// Version with epoch and revision.
    pub version: String,
    /// Debian's word for the architecture, or "all".
    pub arch: String,
    /// sha256 of the .deb, 64 hex digits.
    pub sha256: String,
    /// Bytes of the .deb.
    pub size: u64,
}

/// One tarball on a web server.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct UrlPin {
    /// Where it was found.
    pub url: String,
    /// The version, when it was found by version.
    pub version: Option<String>,
    /// sha256 of the tarball, 64 hex digits.
    pub sha256: String,
    /// Bytes of the tarball, when the server told.
    pub size: Option<u64>,
}

/// A closed set of Debian packages.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PackagesPin {
    /// The suite they were chosen from.
    pub suite: String,
    /// All of them, sorted.
    pub packages: Vec<Package>,
}

impl Pin {
    /// What identifies the content, as pairs of name and value in a fixed order: the same pairs, the same bytes.
    /// Not in it: addresses, sizes, the suite.
    pub fn facts(&self) -> Vec<(String, String)> {
        let package =
            |p: &Package| (format!("package/{}:{}", p.name, p.arch), format!("{} sha256:{}", p.version, p.sha256));
        match self {
            Self::Package(p) => vec![package(p)],
            Self::Url(p) => {
                let version = p.version.iter().map(|v| ("version".to_owned(), v.clone()));
                version.chain([("sha256".to_owned(), p.sha256.clone())]).collect()
            }
            Self::Packages(p) => p.packages.iter().map(package).collect(),
        }
    }
}

impl fmt::Display for Pin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Package(p) => write!(f, "{} {}", p.name, p.version),
            Self::Url(UrlPin { version: Some(version), .. }) => f.write_str(version),
            Self::Url(p) => f.write_str(&p.url),
            Self::Packages(p) => write!(f, "{} packages of {}", p.packages.len(), p.suite),
        }
    }
}
