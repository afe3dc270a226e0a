//! Origin `debian`: a tarball inside a Debian package, such as linux-source-6.1. Distribution patches are already in it.

use super::apt::{self, Apt, parse};
use super::spec::{DebianSpec, Spec};
use super::{Context, Package, Pin, deb, version};
use crate::error::{Error, Result};
use crate::event::Events;
use std::fs;
use std::path::Path;

/// The package that has `wanted`: "default", a series, or a version.
pub(super) fn resolve(spec: &Spec, wanted: &str, ctx: &Context, events: Events) -> Result<Pin> {
    let debian = table(spec)?;
    let apt = open(ctx, events)?;
    apt.update()?;
    let (names, wanted) = if wanted == "default" {
        let (name, version) = default(debian, &apt, spec)?;
        (vec![name], version)
    } else {
        let (start, _) = halves(&debian.package);
        let names = apt.names(start)?.into_iter().filter(|name| series(&debian.package, name).is_some());
        (names.collect(), Some(wanted.to_owned()))
    };
    let packages = apt.show(&names)?;
    let versions: Vec<&str> = packages.iter().map(|p| p.version.as_str()).collect();
    let newest = match &wanted {
        Some(wanted) => version::newest(wanted, versions.iter().copied()),
        None => versions.iter().copied().max_by(|a, b| version::compare(a, b)),
    };
    match newest.and_then(|newest| packages.iter().find(|p| p.version == newest)) {
        Some(package) => Ok(Pin::Package(package.clone())),
        None => Err(version::unknown(&spec.entry, wanted.as_deref().unwrap_or("default"), &versions)),
    }
}

/// Downloads the pinned package and unpacks the tarball in it.
pub(super) fn fetch(spec: &Spec, pin: &Package, dest: &Path, ctx: &Context, events: Events) -> Result<()> {
    let debian = table(spec)?;
    let series = series(&debian.package, &pin.name).ok_or_else(|| {
        Error::input(format!(
            "quiz.lock pins {} to the package {}, which is not a {}",
            spec.entry, pin.name, debian.package
        ))
        .hint(format!("quiz update {}", spec.entry))
    })?;
    let tarballs: Vec<String> = debian.tarball.iter().map(|path| path.replace("{series}", series)).collect();
    let apt = open(ctx, events)?;
    for path in apt.download(std::slice::from_ref(pin), &spec.entry)? {
        deb::unpack_inner(&path, &tarballs, dest)?;
        // What is in it lies in `dest` now. Should it stay, it is used by the next fetch.
        let _ = fs::remove_file(path);
    }
    Ok(())
}

fn open<'a>(ctx: &Context, events: Events<'a>) -> Result<Apt<'a>> {
    Apt::open(&apt::host_suite()?, apt::arch(&ctx.arch)?, ctx, events)
}

fn table(spec: &Spec) -> Result<&DebianSpec> {
    spec.debian.as_ref().ok_or_else(|| Error::input(format!("{}: this source has no origin `debian`", spec.entry)))
}

/// The package that the metapackage stands for, and its version if that is told too.
fn default(debian: &DebianSpec, apt: &Apt, spec: &Spec) -> Result<(String, Option<String>)> {
    let name = debian.default.as_deref().ok_or_else(|| {
        Error::input(format!("{}: there is no default version", spec.entry))
            .hint("say which version is wanted, such as 6.1")
    })?;
    let shown = apt.run("apt-cache", ["show", "--no-all-versions", "--", name])?;
    let depends = parse::stanzas(&shown.stdout).map(|stanza| parse::field(&stanza, "Depends").to_owned()).next();
    let found = parse::dependency(&depends.unwrap_or_default(), |name| series(&debian.package, name).is_some());
    found.ok_or_else(|| {
        Error::input(format!(
            "{}: this machine's package archive has no package {name}, so there is no default version",
            spec.entry
        ))
        .hint("say which version is wanted, such as 6.1, or take another origin")
    })
}

/// What `name` has in the place of `{series}`, if it is made of digits and dots.
fn series<'a>(template: &str, name: &'a str) -> Option<&'a str> {
    let (start, end) = halves(template);
    let series = name.strip_prefix(start)?.strip_suffix(end)?;
    (!series.is_empty() && series.bytes().all(|b| b.is_ascii_digit() || b == b'.')).then_some(series)
}

fn halves(template: &str) -> (&str, &str) {
    template.split_once("{series}").unwrap_or((template, ""))
}

#[cfg(test)]
mod tests {
    use super::series;

    #[test]
    fn the_series_of_a_package() {
        let template = "linux-source-{series}";
        assert_eq!(series(template, "linux-source-6.12"), Some("6.12"));
        assert_eq!(series(template, "linux-source-6.8.0"), Some("6.8.0"));
        for other in ["linux-source", "linux-source-", "linux-source-6.1-rt", "linux-headers-6.1"] {
            assert_eq!(series(template, other), None, "{other}");
        }
    }
}
