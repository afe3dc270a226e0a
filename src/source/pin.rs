//! Pins: exactly which bytes a wish stands for. No host names where a package archive is meant: any mirror has the same bytes.

use serde::Deserialize;
use std::collections::BTreeSet;
use std::fmt;
use std::path::PathBuf;

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
    /// One Debian source package.
    Dsc(DscPin),
    /// One tree of a git repository.
    Git(GitPin),
}

/// One Debian package and where it was found.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PackagePin {
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
    /// The suite it was found in; those of an older quiz come from the host's own.
    pub suite: Option<String>,
}

impl PackagePin {
    /// The pin of a package of a suite.
    pub(super) fn new(package: Package, suite: &str) -> Self {
        let Package { name, version, arch, sha256, size } = package;
        Self { name, version, arch, sha256, size, suite: Some(suite.to_owned()) }
    }

    /// The package.
    pub(super) fn package(&self) -> Package {
        let Self { name, version, arch, sha256, size, suite: _ } = self.clone();
        Package { name, version, arch, sha256, size }
    }
}

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

/// One Debian source package: name and version say where to find it, the checksums what it is.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DscPin {
    /// Name.
    pub name: String,
    /// Version with epoch and revision.
    pub version: String,
    /// The .dsc, the tarballs and what else belongs to it, sorted.
    pub files: Vec<DscFile>,
    /// The suite that had it, where another host looks for it; older pins do not say.
    pub suite: Option<String>,
}

/// One file of a Debian source package.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DscFile {
    /// Name, without a folder.
    pub name: String,
    /// sha256, 64 hex digits.
    pub sha256: String,
    /// Bytes.
    pub size: u64,
}

/// One tree of a git repository.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct GitPin {
    /// Address, or absolute path of a local one.
    pub repository: String,
    /// How it is called there: a tag, a branch, or a commit.
    pub name: String,
    /// The commit's full object id.
    pub commit: String,
    /// The full object id of the commit's tree.
    pub tree: String,
    /// What else is known of a tree that was in a worktree. Its submodules are empty folders, as they are for who looks at the worktree. Never in a
    /// quiz.lock.
    #[serde(skip)]
    pub kept: Option<KeptTree>,
}

/// A tree that was in a worktree.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeptTree {
    /// The folder of those objects that the repository does not have.
    pub objects: PathBuf,
    /// The digest of what was in the worktree: somebody else's tree has another, whatever it says of itself.
    pub source: String,
}

impl Pin {
    /// What it names twice, and so does not say which bytes are meant: git may have merged two lists of packages.
    pub(super) fn twice(&self) -> Option<String> {
        let mut seen = BTreeSet::new();
        self.facts().into_iter().map(|(name, _)| name).find(|name| !seen.insert(name.clone()))
    }

    /// What identifies the content, as pairs of name and value in a fixed order: the same pairs, the same bytes.
    /// Not in it: addresses, sizes, the suite, and of a git repository all but the tree: two commits may have the same.
    pub fn facts(&self) -> Vec<(String, String)> {
        let package =
            |p: &Package| (format!("package/{}:{}", p.name, p.arch), format!("{} sha256:{}", p.version, p.sha256));
        match self {
            Self::Package(p) => vec![package(&p.package())],
            Self::Url(p) => {
                let version = p.version.iter().map(|v| ("version".to_owned(), v.clone()));
                version.chain([("sha256".to_owned(), p.sha256.clone())]).collect()
            }
            Self::Packages(p) => p.packages.iter().map(package).collect(),
            Self::Dsc(p) => {
                let files = p.files.iter().map(|f| (format!("file/{}", f.name), format!("sha256:{}", f.sha256)));
                [("name".to_owned(), p.name.clone()), ("version".to_owned(), p.version.clone())]
                    .into_iter()
                    .chain(files)
                    .collect()
            }
            Self::Git(GitPin { tree, kept: Some(kept), .. }) => {
                vec![("worktree".to_owned(), format!("{tree} {}", kept.source))]
            }
            Self::Git(p) => vec![("tree".to_owned(), p.tree.clone())],
        }
    }
}

impl fmt::Display for Pin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Package(PackagePin { name, version, suite: Some(suite), .. }) => {
                write!(f, "{name} {version} of {suite}")
            }
            Self::Package(p) => write!(f, "{} {}", p.name, p.version),
            Self::Url(UrlPin { version: Some(version), .. }) => f.write_str(version),
            Self::Url(p) => f.write_str(&p.url),
            Self::Packages(p) => write!(f, "{} packages of {}", p.packages.len(), p.suite),
            Self::Dsc(p) => write!(f, "{} {}", p.name, p.version),
            Self::Git(p) if p.commit.starts_with(&p.name) => write!(f, "{:.12}", p.commit),
            Self::Git(p) => write!(f, "{} ({:.12})", p.name, p.commit),
        }
    }
}
