//! Origin `package`: what a distribution compiled, such as its linux-image, as the files of its packages. Knows nothing of what is in them.

use super::apt::Host;
use super::archive::{Archive, What};
use super::newest::{Means, Wanted, find_on};
use super::spec::{BinarySpec, Spec, begins};
use super::{Context, PackagesPin, Pin, apt, root};
use crate::error::{Error, Result};
use crate::event::told::Teller;
use crate::event::{Events, Unit};
use std::fs;
use std::path::Path;

/// What is asked for of it.
#[derive(Debug, Clone, Copy)]
pub(super) struct Asked<'a> {
    /// "default", a series, a version, or what `uname -r` says.
    pub version: &'a str,
    /// How the names of such packages end; "" is the plain one.
    pub flavour: &'a str,
    /// The suites to look in; then no others are looked at.
    pub suites: &'a [String],
    /// The suite that is looked at first when none are named.
    pub own: Option<&'a str>,
}

/// Finds the package, what belongs to it, and of both what they need of that kind.
pub(super) fn resolve(spec: &Spec, asked: Asked, ctx: &Context, events: Events) -> Result<Pin> {
    resolve_on(&Host::read(), spec, asked, ctx, events)
}

fn resolve_on(host: &Host, spec: &Spec, asked: Asked, ctx: &Context, events: Events) -> Result<Pin> {
    let binary = table(spec)?;
    let flavours = match asked.flavour {
        "" => vec![apt::arch(&ctx.arch)?, GENERIC],
        flavour => vec![flavour],
    };
    let is_release = |name: &str| release(&binary.package, &flavours, name).is_some();
    let is_it = |name: &str| release(&binary.package, &flavours, name) == Some(asked.version);
    let whole = flavours.iter().any(|flavour| asked.version.strip_suffix(flavour).is_some_and(|v| v.ends_with('-')));
    let default = binary.default.replace("{flavour}", flavours[0]);
    let (means, is): (_, &dyn Fn(&str) -> bool) = match asked.version {
        "default" => (Means::Default(Some(&default)), &is_release),
        _ if whole => (Means::Name, &is_it),
        _ => (Means::Version, &is_release),
    };
    let wanted = Wanted {
        entry: &spec.entry,
        version: asked.version,
        means,
        own: asked.own.or_else(|| host.suite().ok()),
        asked: asked.suites,
        suites: &binary.suites,
        is,
    };
    let (suite, package, today) = find_on(host, &wanted, ctx, events)?;
    let release = release(&binary.package, &flavours, &package.name).unwrap_or_default();
    let plain = release.strip_suffix(UNSIGNED).unwrap_or(release);
    let along: Vec<String> = binary.along.iter().map(|name| name.replace("{release}", plain)).collect();
    let packages = today.with(&package, &along, &|name| begins(&binary.with, name))?;
    Ok(Pin::Packages(PackagesPin { suite, packages }))
}

/// Ubuntu's name of the plain flavour.
const GENERIC: &str = "generic";

/// The end of a name whose package is not signed for Secure Boot: what belongs to it has no such end.
const UNSIGNED: &str = "-unsigned";

/// Brings those of the pinned packages that this source takes, and makes the new folder `dest` of their files.
pub(super) fn fetch(spec: &Spec, pin: &PackagesPin, dest: &Path, ctx: &Context, events: Events) -> Result<()> {
    fetch_on(&Host::read(), spec, pin, dest, ctx, events)
}

fn fetch_on(host: &Host, spec: &Spec, pin: &PackagesPin, dest: &Path, ctx: &Context, events: Events) -> Result<()> {
    let binary = table(spec)?;
    let pin = binary.part(pin);
    if pin.packages.is_empty() && binary.debug {
        let message = format!("{}: no package of debug information was pinned with this kernel", spec.entry);
        let hint =
            "if the suite has one (linux-image-…-dbg), `quiz update kernel` pins it together with today's kernel";
        return Err(Error::input(message).hint(hint));
    }
    if pin.packages.is_empty() {
        return Err(Error::input(format!("{}: {} has no {}…", spec.entry, pin.suite, binary.take.join("…, ")))
            .hint("take another kernel, or one that is compiled here: kernel.source = \"\""));
    }
    let archive = Archive::new(host, &pin.suite, What::Packages, ctx, events)?;
    let paths = archive.fetch(&pin, &spec.entry)?;
    let mut teller = Teller::new(format!("unpacking {}", spec.entry), Unit::Packages, paths.len() as u64, events);
    root::make(&binary.root, &paths, dest, &mut teller)?;
    for path in paths {
        // Its files lie in `dest` now, and no other root has this package. If it cannot be removed, the next fetch uses it.
        let _ = fs::remove_file(path);
    }
    Ok(())
}

fn table(spec: &Spec) -> Result<&BinarySpec> {
    spec.binary.as_ref().ok_or_else(|| Error::input(format!("{}: this source has no origin `package`", spec.entry)))
}

/// What `name` has in the place of `{release}`, if that ends with one of the flavours and has no other before it: of the flavour amd64
/// "6.12.95+deb12-amd64", and neither "6.12.95+deb12-rt-amd64" nor the metapackage's "amd64".
fn release<'a>(template: &str, flavours: &[&str], name: &'a str) -> Option<&'a str> {
    let (start, end) = template.split_once("{release}").unwrap_or((template, ""));
    let release = name.strip_prefix(start)?.strip_suffix(end)?;
    let is_flavour = |flavour: &&str| {
        let version = release.strip_suffix(*flavour).and_then(|rest| rest.strip_suffix('-'));
        version.is_some_and(|version| version.split('-').all(|part| part.starts_with(|c: char| c.is_ascii_digit())))
    };
    flavours.iter().any(is_flavour).then_some(release)
}

#[cfg(test)]
mod tests;
