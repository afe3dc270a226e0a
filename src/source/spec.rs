//! The `[source]` table of a recipe: where to look for what its options ask for. Data only; knows no names of projects.

use super::pin::{Package, PackagesPin, Pin};
use super::root::RootSpec;
use serde::Deserialize;
use std::borrow::Cow;

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
    /// A package of what a distribution compiled.
    pub binary: Option<BinarySpec>,
    /// A set of Debian packages with all that they depend on.
    pub packages: Option<PackagesSpec>,
    /// A Debian source package.
    pub dsc: Option<DscSpec>,
    /// A git repository.
    pub git: Option<GitSpec>,
    /// A Python package, as somebody has compiled it.
    pub wheel: Option<WheelSpec>,
    /// A folder that people edit.
    pub dir: Option<DirSpec>,
    /// The address of a tarball may be given. With `url` it always may.
    #[serde(default)]
    pub address: bool,
    /// The grammar of its versions; without one they are taken as they are.
    pub releases: Option<Releases>,
}

/// A grammar of versions.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Releases {
    /// [`super::Release`].
    Linux,
}

/// A Debian source package, from the suite of the toolchain; with the host's own compilers, from the host's own.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DscSpec {
    /// Its name.
    pub package: String,
    /// The archive's component that has it: looked at even if the host's package sources name only `main`.
    pub component: Option<String>,
    /// Debian's suite that has it where that one has not, or a host has none of its own, such as Arch.
    pub suite: Option<String>,
}

/// A Python package that has been compiled: the file itself, which Python unpacks.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct WheelSpec {
    /// The folder of an index that speaks the simple API in JSON (PEP 691), with a slash at its end.
    pub index: String,
    /// Its name there.
    pub project: String,
    /// The Python that loads it, as wheels name it (PEP 425): "cp311".
    pub python: String,
}

/// A git repository. The option `repository` takes the place of every address in it.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct GitSpec {
    /// Its address.
    pub repository: String,
    /// How the release `{version}` is called there, such as "v{version}".
    pub tag: String,
    /// Other repositories, for names that begin with a certain prefix.
    #[serde(default)]
    pub other: Vec<OtherSpec>,
}

/// Another repository, for names that begin with `prefix`.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct OtherSpec {
    /// How those names begin.
    pub prefix: String,
    /// Its address.
    pub repository: String,
}

/// A folder that people edit.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DirSpec {
    /// The paths by which such a folder is known: it has all of them.
    pub marks: Vec<String>,
}

/// Where a Debian package has a tarball. In all texts `{series}` stands for what the package's name says of the version: "6.1".
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DebianSpec {
    /// Package name, such as "linux-source-{series}".
    pub package: String,
    /// Metapackage that depends on the package of the distribution's own series: what version "default" means.
    pub default: Option<String>,
    /// Suites to look in for a version that the host's own does not have, one after the other; the host's own backports come
    /// first wherever they stand.
    #[serde(default)]
    pub suites: Vec<String>,
    /// Path of the tarball inside the package, without a leading slash; of several the one that is there.
    #[serde(deserialize_with = "one_or_more")]
    pub tarball: Vec<String>,
}

fn one_or_more<'de, D: serde::Deserializer<'de>>(text: D) -> Result<Vec<String>, D::Error> {
    #[derive(Deserialize)]
    #[serde(untagged)]
    enum Texts {
        One(String),
        More(Vec<String>),
    }
    let texts = match Texts::deserialize(text)? {
        Texts::One(text) => vec![text],
        Texts::More(texts) => texts,
    };
    // They enter the key as lines: two paths must not be the same bytes as one.
    match texts.iter().find(|text| text.contains('\n')) {
        Some(text) => Err(serde::de::Error::custom(format!("{text:?} is no path: it has a line feed"))),
        None => Ok(texts),
    }
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

/// What a distribution compiled. In all texts `{release}` stands for what the package's name says of it: "6.12.95+deb12-amd64".
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BinarySpec {
    /// Package name, such as "linux-image-{release}".
    pub package: String,
    /// Metapackage that depends on the package of the distribution's own version, such as "linux-image-{flavour}".
    pub default: String,
    /// Suites to look in for a version that the first does not have, as of [`DebianSpec::suites`].
    #[serde(default)]
    pub suites: Vec<String>,
    /// Packages that are pinned with it, so that they fit, where the suite has them.
    #[serde(default)]
    pub along: Vec<String>,
    /// Of the packages that these depend on those are pinned, too, whose names begin with one of these and go on with a digit.
    pub with: Vec<String>,
    /// The packages that this source brings, by beginnings of their names. Sources that differ in this and in `root` share a pin.
    pub take: Vec<String>,
    /// Of these only the ones with debug information; if false, only the others. Debian's names of such packages end with `-dbg`.
    #[serde(default)]
    pub debug: bool,
    /// What becomes of their files.
    pub root: RootSpec,
}

/// A closure of Debian packages.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PackagesSpec {
    /// Always asked for, besides what the option `packages` says.
    #[serde(default)]
    pub include: Vec<String>,
    /// Asked for if the suite has it.
    #[serde(default)]
    pub if_there: Vec<String>,
    /// The essential packages are asked for, too.
    #[serde(default)]
    pub essential: bool,
    /// If set, the packages' files are unpacked into one root, in place of the packages themselves.
    pub root: Option<RootSpec>,
}

impl Spec {
    /// Whether the address of a tarball may be given.
    pub(super) fn takes_address(&self) -> bool {
        self.address || self.url.is_some()
    }

    /// What this source brings of a pin, which it may share with others: that alone is an ingredient.
    pub fn part<'p>(&self, pin: &'p Pin) -> Cow<'p, Pin> {
        match (&self.binary, pin) {
            (Some(binary), Pin::Packages(pin)) => Cow::Owned(Pin::Packages(binary.part(pin))),
            _ => Cow::Borrowed(pin),
        }
    }
}

impl BinarySpec {
    /// Those of the packages whose files this source brings.
    pub(super) fn part(&self, pin: &PackagesPin) -> PackagesPin {
        let is_taken =
            |package: &&Package| begins(&self.take, &package.name) && package.name.ends_with("-dbg") == self.debug;
        PackagesPin { suite: pin.suite.clone(), packages: pin.packages.iter().filter(is_taken).cloned().collect() }
    }
}

/// Whether a name is one of these beginnings and goes on with a digit: "linux-modules-" is not that of the metapackages.
pub(super) fn begins(starts: &[String], name: &str) -> bool {
    let goes_on = |start: &String| {
        name.strip_prefix(start.as_str()).is_some_and(|rest| rest.starts_with(|c: char| c.is_ascii_digit()))
    };
    starts.iter().any(goes_on)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_is_one_line_of_the_key() {
        let read = |tarball: &str| toml::from_str::<DebianSpec>(&format!("package = \"l\"\ntarball = {tarball}\n"));
        assert_eq!(read("[\"a\", \"b\"]").unwrap().tarball, ["a", "b"]);
        assert!(read("\"a\\nb\"").unwrap_err().to_string().contains("it has a line feed"));
    }
}
