//! Origin `debian`: a tarball inside a Debian package, such as linux-source-6.1. Distribution patches are already in it.

use super::apt::{Host, suites};
use super::archive::{Archive, Today, What};
use super::spec::{DebianSpec, Spec};
use super::{Context, Package, PackagePin, PackagesPin, Pin, deb, version};
use crate::error::{Error, Kind, Result};
use crate::event::{Event, Events};
use std::fs;
use std::path::Path;

/// The package that has `wanted`, "default", a series, or a version, out of the first of the suites that has it.
pub(super) fn resolve(spec: &Spec, wanted: &str, asked: &[String], ctx: &Context, events: Events) -> Result<Pin> {
    resolve_on(&Host::read(), spec, wanted, asked, ctx, events)
}

fn resolve_on(host: &Host, spec: &Spec, wanted: &str, asked: &[String], ctx: &Context, events: Events) -> Result<Pin> {
    let debian = table(spec)?;
    let (mut there, mut unseen) = (Vec::new(), Vec::new());
    for suite in order(debian, asked, host) {
        let (version, packages) = match look(host, spec, wanted, &suite, ctx, events) {
            // Nobody asked for this one: it may be gone from the mirrors, or there is no place to ask, or that refuses, or it is no Debian's.
            Err(error) if asked.is_empty() && error.kind() == Kind::Input => {
                events(Event::Note { message: format!("{suite} is not looked at: {error}") });
                unseen.push((suite, error));
                continue;
            }
            other => other?,
        };
        let versions: Vec<&str> = packages.iter().map(|p| p.version.as_str()).collect();
        let newest = match &version {
            Some(version) => version::newest(version, versions.iter().copied()),
            None => versions.iter().copied().max_by(|a, b| version::compare(a, b)),
        };
        if let Some(package) = newest.and_then(|newest| packages.iter().find(|p| p.version == newest)) {
            return Ok(Pin::Package(PackagePin::new(package.clone(), &suite)));
        }
        there.push((suite, packages));
    }
    // Where none could be looked at, the reason of the first is what there is to say.
    if there.is_empty() && !unseen.is_empty() {
        return Err(unseen.swap_remove(0).1);
    }
    Err(nowhere(spec, wanted, &there, &unseen))
}

/// The suites to look in, one after the other. By itself what the host's own suite does not have, if it has one, is looked for in the
/// others of the spec, its own backports first.
fn order(debian: &DebianSpec, asked: &[String], host: &Host) -> Vec<String> {
    if !asked.is_empty() {
        return asked.to_vec();
    }
    let own = host.suite().ok();
    let others = debian.suites.iter().map(String::as_str).filter(|suite| Some(*suite) != own);
    let (near, far): (Vec<&str>, Vec<&str>) = others.partition(|suite| Some(suites::split(suite).0) == own);
    own.into_iter().chain(near).chain(far).map(str::to_owned).collect()
}

/// All packages of a suite that may be meant, and which version of them is, if not the newest.
fn look(
    host: &Host,
    spec: &Spec,
    wanted: &str,
    suite: &str,
    ctx: &Context,
    events: Events,
) -> Result<(Option<String>, Vec<Package>)> {
    let debian = table(spec)?;
    let today = Archive::new(host, suite, What::Packages, ctx, events)?.today(&spec.entry)?;
    if wanted == "default" {
        let (name, version) = default(debian, &today, suite, spec)?;
        return Ok((version, today.versions(&|other| other == name)?));
    }
    let all = today.versions(&|name| series(&debian.package, name).is_some())?;
    Ok((Some(wanted.to_owned()), all))
}

/// The error for a version that no suite has, with what each has instead.
fn nowhere(spec: &Spec, wanted: &str, there: &[(String, Vec<Package>)], unseen: &[(String, Error)]) -> Error {
    let has = |(suite, packages): &'_ (String, Vec<Package>)| {
        (format!("{suite} has"), packages.iter().map(|p| p.version.clone()).collect::<Vec<_>>())
    };
    let has: Vec<(String, Vec<String>)> = there.iter().map(has).collect();
    let has: Vec<(String, Vec<&str>)> =
        has.iter().map(|(place, all)| (place.clone(), all.iter().map(String::as_str).collect())).collect();
    let error = version::nowhere(&spec.entry, wanted, &has);
    // Of a suite that is gone each place is told that does not have it; any other could not be asked.
    let (silent, gone): (Vec<_>, Vec<_>) = unseen.iter().partition(|(_, why)| why.details().is_empty());
    let names = |all: &[&(String, Error)]| all.iter().map(|(suite, _)| suite.as_str()).collect::<Vec<_>>().join(", ");
    let error = if gone.is_empty() { error } else { error.hint(format!("there is no suite {}", names(&gone))) };
    let Some((_, why)) = silent.first() else { return error };
    let error = error.hint(format!("not looked at: {}: {why}", names(&silent)));
    why.hints().iter().fold(error, |error, hint| error.hint(hint.clone()))
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
        deb::unpack_inner(&path, &tarballs, dest)?;
        // What is in it lies in `dest` now, and unlike compilers no other root has it. Should it stay, the next fetch takes it.
        let _ = fs::remove_file(path);
    }
    Ok(())
}

fn table(spec: &Spec) -> Result<&DebianSpec> {
    spec.debian.as_ref().ok_or_else(|| Error::input(format!("{}: this source has no origin `debian`", spec.entry)))
}

/// The package that the metapackage stands for, and its version if that is told too.
fn default(debian: &DebianSpec, today: &Today, suite: &str, spec: &Spec) -> Result<(String, Option<String>)> {
    let name = debian.default.as_deref().ok_or_else(|| {
        Error::input(format!("{}: there is no default version", spec.entry))
            .hint("say which version is wanted, such as 6.1")
    })?;
    let found = today.dependency(name, &|name| series(&debian.package, name).is_some());
    found.ok_or_else(|| {
        Error::input(format!("{}: {suite} has no package {name}, so there is no default version", spec.entry))
            .hint("say which version is wanted, such as 6.1, or take another origin")
    })
}

/// What `name` has in the place of `{series}`, if it is made of digits and dots.
fn series<'a>(template: &str, name: &'a str) -> Option<&'a str> {
    let (start, end) = template.split_once("{series}").unwrap_or((template, ""));
    let series = name.strip_prefix(start)?.strip_suffix(end)?;
    (!series.is_empty() && series.bytes().all(|b| b.is_ascii_digit() || b == b'.')).then_some(series)
}

#[cfg(test)]
mod tests;
