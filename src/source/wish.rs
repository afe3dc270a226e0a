//! Wishes: what the settings ask for, before anybody looked where it is. Knows nothing of the network.

use super::git::run;
use super::origin::{self, Asked, Origin};
use super::pin::{Package, Pin};
use super::spec::Spec;
use super::{Context, apt, binary, debian, dsc, git, index, packages, version, wheel};
use crate::error::{Error, Result};
use crate::event::Events;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::path::{Path, PathBuf};

/// What the settings ask for. Its text (`to_string`) is its name in quiz.lock.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Wish {
    entry: String,
    what: What,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum What {
    /// "default", a series, or an exact version of a Debian package, out of the first of these suites that has it; `own` is the suite that is
    /// looked at first if none are named.
    Debian { version: String, suites: Vec<String>, own: Option<String> },
    /// "default", a series, an exact version, or what `uname -r` says, of what a distribution compiled; suites as of `Debian`.
    Binary { version: String, flavour: String, suites: Vec<String>, own: Option<String> },
    /// A series or an exact version of a release tarball.
    Release { version: String },
    /// A tarball by address; the checksum is pinned on first use if the user gave none.
    Address { url: String, sha256: Option<String> },
    /// "default", a series, or an exact version of a Debian source package, out of the suite `own`.
    Dsc { version: String, own: Option<String> },
    /// "default", a release, a tag, a branch, or a commit; "" is the repository of the spec.
    Git { version: String, repository: String },
    /// "default", a series, or an exact version of a Python package, for that Python and machine (`uname -m`).
    Wheel { version: String, python: String, arch: String },
    /// A folder that people edit. It has all marks, and its path is absolute.
    Dir { path: PathBuf },
    /// Packages and their dependencies, out of a suite, for an architecture (Debian's word).
    Packages { suite: String, arch: String, names: BTreeSet<String> },
}

impl Wish {
    /// Reads the options of a source stage; every option is a list, one of type string has one element.
    ///
    /// | option | means |
    /// |---|---|
    /// | `origin` | "debian", "dsc", "url", "git", "packages", "package" or "wheel", of those that the spec has; "dir" is the worktree quiz runs in; |
    /// | | a folder (`/…`, `./…`, `../…`, `~/…`), taken as it is whatever `version` says; the address of a tarball |
    /// | | "" is by itself: an address in `version`; git for a version that only git has; the worktree quiz runs in if |
    /// | | `version` is "default"; git if there is a `repository`; else the first of those in the order above |
    /// | `version` | "default", "6.1" (newest of it), "6.1.170" (its newest revision), "6.1.170-3", an address; of git also a tag, |
    /// | | a branch, a commit; by the spec's grammar ([`super::Release`]) also what `uname -r` says |
    /// | | an address may end with `#sha256=…`; else the sum is pinned on first use |
    /// | `repository` | takes the place of the spec's git repository: an address or a path |
    /// | `packages` | package names |
    /// | `flavour` | of "package": how its name ends, "cloud-amd64"; "" is the plain one |
    /// | `own` | of "debian", "dsc" and "package": the suite that is looked at first if `suite` is ""; "" is the host's own |
    /// | `suite` | where packages come from; "" is `own`; of "debian" and "package" there may be several, the first that has the version counts; |
    /// | | "" is then `own`, and for a version that it does not have those of the spec |
    pub fn new(spec: &Spec, options: &BTreeMap<String, Vec<String>>, ctx: &Context) -> Result<Self> {
        let one = |name: &str| options.get(name).and_then(|v| v.first()).map_or("", |v| v.trim());
        let version = if one("version").is_empty() { "default" } else { one("version") };
        let repository = one("repository");
        let own = || Ok(suites(spec, one("own"))?.into_iter().next());
        let what = match origin::choose(spec, Asked { origin: one("origin"), version, repository }, ctx)? {
            Origin::Address(address) if spec.takes_address() => tarball(&address)?,
            Origin::Address(address) => {
                return Err(Error::input(format!(
                    "{}: an address was given ({address}), but this source takes none",
                    spec.entry
                )));
            }
            Origin::Debian => {
                What::Debian { version: plain(spec, version)?, suites: suites(spec, one("suite"))?, own: own()? }
            }
            Origin::Dsc => What::Dsc { version: plain(spec, version)?, own: own()? },
            Origin::Url => What::Release { version: plain(spec, version)? },
            Origin::Git => git_wish(spec, version, repository, ctx)?,
            Origin::Packages => packages_wish(spec, options, ctx)?,
            Origin::Binary => What::Binary {
                version: plain(spec, version)?,
                flavour: flavour(spec, one("flavour"))?,
                suites: suites(spec, one("suite"))?,
                own: own()?,
            },
            Origin::Wheel => What::Wheel {
                version: plain(spec, version)?,
                python: spec.wheel.as_ref().map(|wheel| wheel.python.clone()).unwrap_or_default(),
                arch: ctx.arch.clone(),
            },
            Origin::Dir(path) => What::Dir { path },
        };
        Ok(Self { entry: spec.entry.clone(), what })
    }

    /// The folder that people edit, if that is what is asked for. It is never pinned: what is in it is looked at each time.
    pub fn dir(&self) -> Option<&Path> {
        if let What::Dir { path } = &self.what { Some(path) } else { None }
    }

    /// The programs that bring it here, each with its Debian package; not those that quiz always needs.
    pub fn tools(&self) -> &'static [(&'static str, &'static str)] {
        match &self.what {
            What::Git { .. } => run::TOOLS,
            What::Dir { path } if path.join(".git").exists() => run::TOOLS,
            _ => &[],
        }
    }

    /// Whether it can be resolved without network: packages can, from lists in the cache.
    pub(super) fn is_local(&self) -> bool {
        match &self.what {
            What::Git { repository, .. } => git::is_local(repository),
            What::Dir { .. } | What::Packages { .. } => true,
            _ => false,
        }
    }

    /// The name of the source in quiz.lock: what `quiz update` takes.
    pub fn entry(&self) -> &str {
        &self.entry
    }

    /// The suite that is looked at first, if it is not the host's own and none are named.
    pub fn own(&self) -> Option<&str> {
        match &self.what {
            What::Debian { suites, own, .. } | What::Binary { suites, own, .. } if suites.is_empty() => own.as_deref(),
            What::Dsc { own, .. } => own.as_deref(),
            _ => None,
        }
    }

    /// Its name in quiz.lock as an older quiz wrote it, which looked at the host's own suite first; what it pinned still counts.
    pub(super) fn former(&self) -> Option<String> {
        let (name, own) = (self.to_string(), self.own()?);
        let is_former = matches!(self.what, What::Debian { .. } | What::Dsc { .. });
        name.strip_suffix(&Near(&[], Some(own)).to_string()).filter(|_| is_former).map(str::to_owned)
    }

    /// The suite and the architecture, if it is a set of packages.
    pub(super) fn packages(&self) -> Option<(&str, &str)> {
        if let What::Packages { suite, arch, .. } = &self.what { Some((suite, arch)) } else { None }
    }

    /// Asks the outside; see [`super::resolve`]. Of `pinned` packages these versions are taken, where that is possible.
    pub(super) fn resolve(&self, spec: &Spec, pinned: &[Package], ctx: &Context, events: Events) -> Result<Pin> {
        match &self.what {
            What::Debian { version, suites, own } => {
                debian::resolve(spec, debian::Asked { version, suites, own: own.as_deref() }, ctx, events)
            }
            What::Binary { version, flavour, suites, own } => {
                let own = own.as_deref();
                binary::resolve(spec, binary::Asked { version, flavour, suites, own }, ctx, events)
            }
            What::Release { version } => index::resolve(spec, version, ctx, events),
            What::Address { url, sha256 } => index::resolve_address(url, sha256.as_deref(), ctx, events),
            What::Packages { suite, names, .. } => {
                packages::resolve(spec, packages::Set { suite, names }, pinned, ctx, events)
            }
            What::Dsc { version, own } => dsc::resolve(spec, version, own.as_deref(), ctx, events),
            What::Git { version, repository } => git::resolve(spec, version, repository, ctx, events),
            What::Wheel { version, python, arch } => wheel::resolve(spec, version, (python, arch), ctx, events),
            What::Dir { path } => {
                Err(Error::build(format!("{}: the folder {} cannot be pinned", self.entry, path.display())))
            }
        }
    }
}

impl fmt::Display for Wish {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.what {
            What::Debian { version, suites, own } => write!(f, "debian {version}{}", Near(suites, own.as_deref())),
            What::Binary { version, flavour, suites, own } => {
                write!(f, "package {version}")?;
                [flavour].into_iter().filter(|flavour| !flavour.is_empty()).try_for_each(|one| write!(f, " {one}"))?;
                Near(suites, own.as_deref()).fmt(f)
            }
            What::Release { version } => write!(f, "url {version}"),
            What::Address { url, sha256: None } => f.write_str(url),
            What::Address { url, sha256: Some(sum) } => write!(f, "{url}#sha256={sum}"),
            What::Packages { suite, arch, names } => {
                write!(f, "{suite} {arch}:")?;
                names.iter().try_for_each(|name| write!(f, " {name}"))
            }
            What::Dsc { version, own } => write!(f, "dsc {version}{}", Near(&[], own.as_deref())),
            What::Git { version, repository } if repository.is_empty() => write!(f, "git {version}"),
            What::Git { version, repository } => write!(f, "git {version} of {repository}"),
            What::Wheel { version, python, arch } => write!(f, "wheel {version} for {python} {arch}"),
            What::Dir { path } => write!(f, "dir {}", path.display()),
        }
    }
}

/// The suites that were named, or the one that is looked at first.
struct Near<'a>(&'a [String], Option<&'a str>);

impl fmt::Display for Near<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self([], None) => Ok(()),
            Self([], Some(own)) => write!(f, " near {own}"),
            Self(suites, _) => write!(f, " of {}", suites.join(" ")),
        }
    }
}

/// A version of a package or a tarball.
fn plain(spec: &Spec, version: &str) -> Result<String> {
    if version == "default" || version::is_version(version) {
        return Ok(version.to_owned());
    }
    let hint = "write `default`, a series such as 6.1, a version such as 6.1.170 or 6.1.170-3";
    let hint =
        if spec.takes_address() { format!("{hint}, or the https:// address of a tarball") } else { hint.to_owned() };
    Err(Error::input(format!("{}: `{version}` is not a version", spec.entry)).hint(hint))
}

fn git_wish(spec: &Spec, version: &str, repository: &str, ctx: &Context) -> Result<What> {
    // gitrevisions(7), without what leads out of a commit: `:path`, ranges. A hyphen at the start would be an option.
    let good = |text: &str| {
        !text.starts_with('-') && !text.contains("..") && !text.contains(|c: char| c.is_whitespace() || c.is_control())
    };
    if !good(version) || version.contains(':') {
        return Err(Error::input(format!(
            "{}: `{version}` cannot be a version, tag, branch or commit in git",
            spec.entry
        ))
        .hint("write a version, a tag, a branch, or a commit"));
    }
    // `host:path` and `user@host:path` are addresses, too.
    let is_address = repository.split('/').next().is_some_and(|start| start.contains(':'));
    let repository = match repository {
        "" => String::new(),
        given if !is_address || origin::is_place(given) => {
            let path = origin::place(given, &ctx.base)?;
            let path = std::fs::canonicalize(&path).map_err(|e| {
                Error::input(format!("{}: there is no repository {}", spec.entry, path.display())).because(e)
            })?;
            path.into_os_string()
                .into_string()
                .map_err(|path| Error::input(format!("{}: {} is not UTF-8", spec.entry, path.display())))?
        }
        given if given.starts_with('-') || given.contains(char::is_whitespace) => {
            return Err(Error::input(format!("{}: `{given}` is not the address of a repository", spec.entry)));
        }
        given => given.to_owned(),
    };
    Ok(What::Git { version: version.to_owned(), repository })
}

fn packages_wish(spec: &Spec, options: &BTreeMap<String, Vec<String>>, ctx: &Context) -> Result<What> {
    let names: BTreeSet<String> =
        options.get("packages").into_iter().flatten().map(|n| n.trim().to_owned()).filter(|n| !n.is_empty()).collect();
    if let Some(name) = names.iter().find(|n| !super::is_package(n)) {
        return Err(Error::input(format!("{}: `{name}` is not a package name", spec.entry)));
    }
    let suite = match options.get("suite").and_then(|v| v.first()).map_or("", |v| v.trim()) {
        "" => apt::Host::read().suite()?.to_owned(),
        suite => suite.to_owned(),
    };
    Ok(What::Packages { suite: suite_name(spec, &suite)?, arch: apt::arch(&ctx.arch)?.to_owned(), names })
}

/// The suites to look in, which have commas or blanks between them; if there are none, quiz chooses.
fn suites(spec: &Spec, text: &str) -> Result<Vec<String>> {
    let mut suites: Vec<String> = Vec::new();
    for suite in text.split(|c: char| c == ',' || c.is_whitespace()).filter(|suite| !suite.is_empty()) {
        if !suites.iter().any(|other| other == suite) {
            suites.push(suite_name(spec, suite)?);
        }
    }
    Ok(suites)
}

/// The end of a package's name.
fn flavour(spec: &Spec, text: &str) -> Result<String> {
    if text.is_empty() || super::is_package(text) {
        return Ok(text.to_owned());
    }
    Err(Error::input(format!("{}: `{text}` is not a valid flavour: no package's name can end with it", spec.entry)))
}

fn suite_name(spec: &Spec, suite: &str) -> Result<String> {
    if apt::suites::is_name(suite) {
        return Ok(suite.to_owned());
    }
    Err(Error::input(format!("{}: `{suite}` is not the name of a suite", spec.entry)))
}

fn tarball(text: &str) -> Result<What> {
    let (url, sum) = match text.split_once("#sha256=") {
        Some((url, sum)) => (url, Some(sum.to_ascii_lowercase())),
        None => (text, None),
    };
    if sum.as_deref().is_some_and(|s| s.len() != 64 || !s.bytes().all(|b| b.is_ascii_hexdigit())) {
        return Err(Error::input(format!("{text}: after #sha256= there must be 64 hex digits")));
    }
    match url.split_once("://") {
        Some(("https", _)) => {}
        Some(("http", _)) if sum.is_some() => {}
        Some(("http", _)) => {
            return Err(Error::input(format!("{text}: plain http is allowed only with a checksum"))
                .hint("add #sha256=… to the address, or use https"));
        }
        _ => return Err(Error::input(format!("{text}: only https addresses are allowed"))),
    }
    Ok(What::Address { url: url.to_owned(), sha256: sum })
}

#[cfg(test)]
mod tests;
