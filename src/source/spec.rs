//! The `[source]` table of a recipe: where to look for what its options ask for. Data only; knows no names of projects.

use serde::Deserialize;

/// The `[source]` table.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Spec {
    /// The name under which pins are kept in quiz.lock, and which `quiz update` takes.
    pub entry: String,
    /// A Debian package that holds a source tarball.
    pub debian: Option<DebianSpec>,
    /// A tarball on a web server.
    pub url: Option<UrlSpec>,
    /// A set of Debian packages with all that they depend on.
    pub packages: Option<PackagesSpec>,
}

/// Where a Debian package has a tarball. In all texts `{series}` stands for the first two numbers of a version.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DebianSpec {
    /// Package name, such as "linux-source-{series}".
    pub package: String,
    /// Metapackage that depends on the package of the distribution's own series: what version "default" means.
    pub default: Option<String>,
    /// Path of the tarball inside the package, without a leading slash.
    pub tarball: String,
}

/// A web folder of release tarballs. `{major}` stands for the first number of a version, `{series}` for the first two,
/// `{version}` for all of it.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct UrlSpec {
    /// The folder, with a slash at its end.
    pub index: String,
    /// Name of a tarball in it, with `{version}`.
    pub file: String,
    /// Name of the file in it that lists the tarballs with their sha256, in the form of `sha256sum`.
    pub sums: String,
}

/// A closure of Debian packages.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PackagesSpec {
    /// Always asked for, besides what the option `packages` says. May be apt patterns.
    #[serde(default)]
    pub include: Vec<String>,
    /// Asked for if the suite has it.
    #[serde(default)]
    pub if_there: Vec<String>,
}
