//! Wishes: what the settings ask for, before anybody looked where it is. Knows nothing of the network.

use super::pin::Pin;
use super::spec::Spec;
use super::{Context, apt, debian, index, packages};
use crate::error::{Error, Result};
use crate::event::Events;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

/// What the settings ask for. Its text (`to_string`) is its name in quiz.lock.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Wish {
    entry: String,
    what: What,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum What {
    /// "default", a series, or an exact version of a Debian source package.
    Debian { version: String },
    /// A series or an exact version of a release tarball.
    Release { version: String },
    /// A tarball by address; the checksum is pinned on first use if the user gave none.
    Address { url: String, sha256: Option<String> },
    /// Packages and their dependencies, out of a suite, for an architecture (Debian's word).
    Packages { suite: String, arch: String, names: BTreeSet<String> },
}

impl Wish {
    /// Reads the options of a source stage; every option is a list, one of type string has one element.
    ///
    /// | option | means |
    /// |---|---|
    /// | `origin` | "debian", "url" or "packages"; by default the first of them that the spec has |
    /// | `version` | "default", "6.1" (newest of it), "6.1.170" (its newest revision), "6.1.170-3", or an address |
    /// | | an address may end with `#sha256=…`; else the sum is pinned on first use |
    /// | `packages` | package names |
    /// | `suite` | where packages come from; "" is the host's own suite |
    pub fn new(spec: &Spec, options: &BTreeMap<String, Vec<String>>, ctx: &Context) -> Result<Self> {
        let one = |name: &str| options.get(name).and_then(|v| v.first()).map_or("", |v| v.trim());
        let version = one("version");
        let what = if version.contains("://") {
            address(version)?
        } else {
            named(spec, one("origin"), version, options, ctx)?
        };
        if matches!(what, What::Address { .. }) && spec.url.is_none() {
            return Err(Error::input(format!(
                "{}: an address was given ({version}), but this source has no origin `url`",
                spec.entry
            )));
        }
        Ok(Self { entry: spec.entry.clone(), what })
    }

    /// The name of the source in quiz.lock: what `quiz update` takes.
    pub fn entry(&self) -> &str {
        &self.entry
    }

    /// Asks the outside; see [`super::resolve`].
    pub(super) fn resolve(&self, spec: &Spec, ctx: &Context, events: Events) -> Result<Pin> {
        match &self.what {
            What::Debian { version } => debian::resolve(spec, version, ctx, events),
            What::Release { version } => index::resolve(spec, version, ctx, events),
            What::Address { url, sha256 } => index::resolve_address(url, sha256.as_deref(), ctx, events),
            What::Packages { suite, arch, names } => packages::resolve(spec, suite, arch, names, ctx, events),
        }
    }
}

impl fmt::Display for Wish {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.what {
            What::Debian { version } => write!(f, "debian {version}"),
            What::Release { version } => write!(f, "url {version}"),
            What::Address { url, sha256: None } => f.write_str(url),
            What::Address { url, sha256: Some(sum) } => write!(f, "{url}#sha256={sum}"),
            What::Packages { suite, arch, names } => {
                write!(f, "{suite} {arch}:")?;
                names.iter().try_for_each(|name| write!(f, " {name}"))
            }
        }
    }
}

fn named(
    spec: &Spec,
    origin: &str,
    version: &str,
    options: &BTreeMap<String, Vec<String>>,
    ctx: &Context,
) -> Result<What> {
    let there = [("debian", spec.debian.is_some()), ("url", spec.url.is_some()), ("packages", spec.packages.is_some())];
    let there: Vec<&str> = there.into_iter().filter(|(_, there)| *there).map(|(name, _)| name).collect();
    let origin = if origin.is_empty() { there.first().copied().unwrap_or_default() } else { origin };
    if !there.contains(&origin) {
        return Err(Error::input(format!("{}: there is no origin `{origin}`", spec.entry))
            .hint(format!("there is: {}", there.join(", "))));
    }
    if origin == "packages" {
        return packages_wish(spec, options, ctx);
    }
    let version = if version.is_empty() { "default" } else { version };
    let plain = version.bytes().all(|b| b.is_ascii_alphanumeric() || b".+~:-".contains(&b));
    if version != "default" && !(plain && version.starts_with(|c: char| c.is_ascii_digit())) {
        return Err(Error::input(format!("{}: `{version}` is not a version", spec.entry))
            .hint("write `default`, a series such as 6.1, a version such as 6.1.170 or 6.1.170-3, or the https:// address of a tarball"));
    }
    let version = version.to_owned();
    Ok(if origin == "debian" { What::Debian { version } } else { What::Release { version } })
}

fn packages_wish(spec: &Spec, options: &BTreeMap<String, Vec<String>>, ctx: &Context) -> Result<What> {
    let names: BTreeSet<String> =
        options.get("packages").into_iter().flatten().map(|n| n.trim().to_owned()).filter(|n| !n.is_empty()).collect();
    // Policy §5.6.1. It also keeps apt from taking a name for an option, a pattern, a file or a removal.
    let good = |n: &str| {
        n.starts_with(|c: char| c.is_ascii_alphanumeric())
            && n.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b"+-.".contains(&b))
    };
    if let Some(name) = names.iter().find(|n| !good(n)) {
        return Err(Error::input(format!("{}: `{name}` is not a package name", spec.entry)));
    }
    let suite = match options.get("suite").and_then(|v| v.first()).map_or("", |v| v.trim()) {
        "" => apt::host_suite()?,
        suite => suite.to_owned(),
    };
    if !suite.bytes().all(|b| b.is_ascii_alphanumeric() || b"-.".contains(&b)) {
        return Err(Error::input(format!("{}: `{suite}` is not the name of a suite", spec.entry)));
    }
    Ok(What::Packages { suite, arch: apt::arch(&ctx.arch)?.to_owned(), names })
}

fn address(text: &str) -> Result<What> {
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
            return Err(Error::input(format!("{text}: plain http is taken only with a checksum"))
                .hint("add #sha256=… to the address, or use https"));
        }
        _ => return Err(Error::input(format!("{text}: only https addresses are taken"))),
    }
    Ok(What::Address { url: url.to_owned(), sha256: sum })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wish(options: &[(&str, &[&str])]) -> Result<Wish> {
        let text = "entry = \"kernel\"\ndebian = { package = \"l-{series}\", tarball = \"t\" }\n\
                    url = { index = \"https://example.org/\", file = \"f\", sums = \"s\" }\npackages = {}\n";
        let spec: Spec = toml::from_str(text).unwrap();
        let list = |values: &[&str]| values.iter().map(|v| (*v).to_owned()).collect();
        let options = options.iter().map(|(name, values)| ((*name).to_owned(), list(values))).collect();
        let ctx = Context { cache: "/none".into(), arch: "aarch64".into(), offline: true };
        Wish::new(&spec, &options, &ctx)
    }

    #[test]
    fn the_name_in_the_lock() {
        let sum = "A".repeat(64);
        let with_sum = format!("http://example.org/x.tar#sha256={sum}");
        for (options, name) in [
            (&[][..], "debian default"),
            (&[("version", &[" 6.1 "][..])], "debian 6.1"),
            (&[("origin", &["url"]), ("version", &["6.1.170"])], "url 6.1.170"),
            (&[("version", &["https://example.org/x.tar"])], "https://example.org/x.tar"),
            (&[("version", &[&with_sum])], &with_sum.replace('A', "a")),
            (
                &[("origin", &["packages"]), ("suite", &["trixie"]), ("packages", &["less", "bash", "", "less"])],
                "trixie arm64: bash less",
            ),
        ] {
            assert_eq!(wish(options).unwrap().to_string(), name);
        }
    }

    #[test]
    fn what_cannot_be_meant() {
        let packages = |name| wish(&[("origin", &["packages"]), ("suite", &["x"]), ("packages", &[name])]);
        for (wrong, says) in [
            (wish(&[("origin", &["git"])]), "no origin `git`"),
            (wish(&[("version", &["six"])]), "`six` is not a version"),
            (wish(&[("version", &["6.1/../x"])]), "is not a version"),
            (wish(&[("version", &["http://example.org/x.tar"])]), "only with a checksum"),
            (wish(&[("version", &["ftp://example.org/x.tar"])]), "only https"),
            (wish(&[("version", &["https://example.org/x#sha256=12"])]), "64 hex digits"),
            (packages("-oDir::Etc=/x"), "is not a package name"),
            (packages("./x.deb"), "is not a package name"),
            (packages("?essential"), "is not a package name"),
            (wish(&[("origin", &["packages"]), ("suite", &["../x"])]), "not the name of a suite"),
        ] {
            let error = wrong.unwrap_err();
            assert!(error.to_string().contains(says), "{error}");
            assert_eq!(error.kind(), crate::error::Kind::Input);
        }
    }
}
