//! Origin `dsc`: a Debian source package of the host's own suite, with the distribution's patches applied.

use super::apt::{self, Apt, parse};
use super::spec::{DscSpec, Spec};
use super::{Context, DscPin, Pin, version};
use crate::error::{Error, Result};
use crate::event::Events;
use crate::host;
use std::fs;
use std::io;
use std::path::Path;
use std::process::Stdio;

/// What brings and unpacks it, and the Debian packages.
pub(super) const TOOLS: &[(&str, &str)] = &[("apt-get", "apt"), ("dpkg-source", "dpkg-dev")];

/// The source package of the newest version that `wanted` means.
pub(super) fn resolve(spec: &Spec, wanted: &str, ctx: &Context, events: Events) -> Result<Pin> {
    let table = table(spec)?;
    let apt = open(table, ctx, events)?;
    apt.update()?;
    let there = offered(&apt, &table.package)?;
    let versions: Vec<&str> = there.iter().map(|p| p.version.as_str()).collect();
    let newest = match wanted {
        "default" => versions.iter().copied().max_by(|a, b| version::compare(a, b)),
        wanted => version::newest(wanted, versions.iter().copied()),
    };
    if let Some(package) = newest.and_then(|newest| there.iter().find(|p| p.version == newest)) {
        return Ok(Pin::Dsc(package.clone()));
    }
    let error = version::unknown(&spec.entry, wanted, &versions);
    Err(if spec.git.is_some() { error.hint("the origin `git` has every release") } else { error })
}

/// Downloads the pinned files and unpacks them.
pub(super) fn fetch(spec: &Spec, pin: &DscPin, dest: &Path, ctx: &Context, events: Events) -> Result<()> {
    let apt = open(table(spec)?, ctx, events)?;
    let mut there = offered(&apt, &pin.name)?;
    if !there.contains(pin) {
        apt.update()?;
        there = offered(&apt, &pin.name)?;
    }
    if !there.contains(pin) {
        return Err(gone(spec, pin, &there));
    }
    let paths = apt.download_source(pin)?;
    let dsc = paths.iter().find(|path| path.extension().is_some_and(|e| e == "dsc"));
    let dsc = dsc.ok_or_else(|| Error::build(format!("quiz.lock names no .dsc for {} {}", pin.name, pin.version)))?;
    unpack(dsc, dest)?;
    // What is in them lies in `dest` now. Should they stay, they are used by the next fetch.
    paths.iter().for_each(|path| drop(fs::remove_file(path)));
    Ok(())
}

fn open<'a>(table: &DscSpec, ctx: &Context, events: Events<'a>) -> Result<Apt<'a>> {
    let component = table.component.as_deref().unwrap_or_default();
    let host = apt::Host::read();
    Apt::open(&host, host.suite()?, apt::arch(&ctx.arch)?, component, ctx, events)
}

fn table(spec: &Spec) -> Result<&DscSpec> {
    spec.dsc.as_ref().ok_or_else(|| Error::input(format!("{}: this source has no origin `dsc`", spec.entry)))
}

fn offered(apt: &Apt, name: &str) -> Result<Vec<DscPin>> {
    parse::source_packages(&apt.run("apt-cache", ["showsrc", "--only-source", "--", name])?.stdout)
}

fn gone(spec: &Spec, pin: &DscPin, there: &[DscPin]) -> Error {
    let what = format!("the source package {} {}", pin.name, pin.version);
    if there.iter().any(|p| p.version == pin.version) {
        return Error::build(format!("{what} has other checksums in the archive than were pinned"))
            .hint(format!("if it was replaced for a good reason, take the new one: quiz update {}", spec.entry));
    }
    let versions: Vec<&str> = there.iter().map(|p| p.version.as_str()).collect();
    let there = if versions.is_empty() { "no version of it at all".to_owned() } else { versions.join(", ") };
    Error::build(format!("{what} is pinned in quiz.lock, but the archive does not have it"))
        .detail(format!("there is: {there}"))
        .hint(format!("take what there is now: quiz update {}", spec.entry))
}

/// Unpacks into the new folder `dest` and applies the patches. The sums were checked, so signatures are not needed.
fn unpack(dsc: &Path, dest: &Path) -> Result<()> {
    let failed = || Error::build(format!("cannot unpack {}", dsc.display()));
    let mut command = host::program("dpkg-source");
    command.args(["--no-check", "--no-copy", "-x"]).arg(dsc).arg(dest).env_clear();
    command.env("PATH", host::path()).env("LC_ALL", "C").stdin(Stdio::null());
    let output = command.output().map_err(|e| match e.kind() {
        io::ErrorKind::NotFound => Error::input("dpkg-source is not there").hint("apt-get install dpkg-dev"),
        _ => failed().because(e),
    })?;
    if !output.status.success() {
        let words = String::from_utf8_lossy(&output.stderr).into_owned();
        return Err(words.lines().fold(failed(), |error, line| error.detail(line)));
    }
    // How far the patches are applied, with times in it; no part of the source.
    match fs::remove_dir_all(dest.join(".pc")) {
        Err(e) if e.kind() != io::ErrorKind::NotFound => Err(failed().because(e)),
        _ => Ok(()),
    }
}
