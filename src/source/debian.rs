//! Origin `debian`: a tarball inside a Debian package, such as linux-source-6.1. Distribution patches are already in it.

use super::apt::Host;
use super::archive::{Archive, What};
use super::newest::{Means, Wanted, find_on};
use super::spec::{DebianSpec, Spec};
use super::{Context, PackagePin, PackagesPin, Pin, deb};
use crate::error::{Error, Result};
use crate::event::Events;
use std::fs;
use std::path::Path;

/// What is asked for of it.
#[derive(Debug, Clone, Copy)]
pub(super) struct Asked<'a> {
    /// "default", a series, or a version.
    pub version: &'a str,
    /// The suites to look in; then no others are looked at.
    pub suites: &'a [String],
    /// The suite that is looked at first when none are named; without one, the host's own.
    pub own: Option<&'a str>,
}

/// The package that has the version, out of the first of the suites that has it.
pub(super) fn resolve(spec: &Spec, asked: Asked, ctx: &Context, events: Events) -> Result<Pin> {
    resolve_on(&Host::read(), spec, asked, ctx, events)
}

fn resolve_on(host: &Host, spec: &Spec, asked: Asked, ctx: &Context, events: Events) -> Result<Pin> {
    let debian = table(spec)?;
    let is = |name: &str| series(&debian.package, name).is_some();
    let Asked { version, suites: asked, own } = asked;
    let means = if version == "default" { Means::Default(debian.default.as_deref()) } else { Means::Version };
    let (entry, own, suites) = (&*spec.entry, own.or_else(|| host.suite().ok()), &*debian.suites);
    let wanted = Wanted { entry, version, means, own, asked, suites, is: &is };
    let (suite, package, _) = find_on(host, &wanted, ctx, events)?;
    Ok(Pin::Package(PackagePin::new(package, &suite)))
}

/// Downloads the pinned package and unpacks the tarball in it.
pub(super) fn fetch(spec: &Spec, pin: &PackagePin, dest: &Path, ctx: &Context, events: Events) -> Result<()> {
    fetch_on(&Host::read(), spec, pin, dest, ctx, events)
}

fn fetch_on(host: &Host, spec: &Spec, pin: &PackagePin, dest: &Path, ctx: &Context, events: Events) -> Result<()> {
    let debian = table(spec)?;
    let series = series(&debian.package, &pin.name).ok_or_else(|| {
        Error::input(format!(
            "quiz.lock pins {} to the package {}, which is not a {}",
            spec.entry, pin.name, debian.package
        ))
        .hint(format!("quiz update {}", spec.entry))
    })?;
    let tarballs: Vec<String> = debian.tarball.iter().map(|path| path.replace("{series}", series)).collect();
    let suite = pin.suite.as_deref().map_or_else(|| host.suite(), Ok)?;
    let archive = Archive::new(host, suite, What::Packages, ctx, events)?;
    let packages = PackagesPin { suite: suite.to_owned(), packages: vec![pin.package()] };
    for path in archive.fetch(&packages, &spec.entry)? {
        deb::unpack_inner(&path, &tarballs, dest, events)?;
        // Its tarball lies in `dest` now, and unlike a compiler's no root has this package. If it cannot be removed, the next fetch uses it.
        let _ = fs::remove_file(path);
    }
    Ok(())
}

fn table(spec: &Spec) -> Result<&DebianSpec> {
    spec.debian.as_ref().ok_or_else(|| Error::input(format!("{}: this source has no origin `debian`", spec.entry)))
}

/// What `name` has in the place of `{series}`, if it is made of digits and dots.
fn series<'a>(template: &str, name: &'a str) -> Option<&'a str> {
    let (start, end) = template.split_once("{series}").unwrap_or((template, ""));
    let series = name.strip_prefix(start)?.strip_suffix(end)?;
    (!series.is_empty() && series.bytes().all(|b| b.is_ascii_digit() || b == b'.')).then_some(series)
}

#[cfg(test)]
mod tests;
