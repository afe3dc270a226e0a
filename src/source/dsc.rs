//! Origin `dsc`: a Debian source package of the host's own suite, with the distribution's patches applied. Formats: `3.0 (quilt)`
//! and `3.0 (native)` (dpkg-source(1)).

pub(super) mod patches;

use super::apt::Host;
use super::archive::{Archive, What};
use super::spec::{DscSpec, Spec};
use super::unpack::{Layout, Limits, Unpacked, unpack};
use super::{Context, DscPin, Pin, version};
use crate::error::{Error, Result};
use crate::event::Events;
use std::fs::{self, File};
use std::path::{Path, PathBuf};

/// The source package of the newest version that `wanted` means.
pub(super) fn resolve(spec: &Spec, wanted: &str, ctx: &Context, events: Events) -> Result<Pin> {
    resolve_on(&Host::read(), spec, wanted, ctx, events)
}

fn resolve_on(host: &Host, spec: &Spec, wanted: &str, ctx: &Context, events: Events) -> Result<Pin> {
    let table = table(spec)?;
    let today = archive(host, table, ctx, events)?.today(&spec.entry)?;
    let there: Vec<DscPin> = today.sources(&table.package)?.into_iter().map(|source| source.pin).collect();
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
    fetch_on(&Host::read(), spec, pin, dest, ctx, events)
}

fn fetch_on(host: &Host, spec: &Spec, pin: &DscPin, dest: &Path, ctx: &Context, events: Events) -> Result<()> {
    let paths = archive(host, table(spec)?, ctx, events)?.fetch_source(pin, &spec.entry)?;
    let files: Vec<(&str, &PathBuf)> = pin.files.iter().map(|file| file.name.as_str()).zip(&paths).collect();
    assemble(&files, &format!("{} {}", pin.name, pin.version), dest).inspect_err(|_| {
        // The error that matters is the one at hand.
        let _ = fs::remove_dir_all(dest);
    })?;
    // What is in them lies in `dest` now. Should they stay, they are used by the next fetch.
    paths.iter().for_each(|path| drop(fs::remove_file(path)));
    Ok(())
}

fn archive<'a>(host: &'a Host, table: &'a DscSpec, ctx: &'a Context, events: Events<'a>) -> Result<Archive<'a>> {
    let suite = host.suite().unwrap_or(&table.suite);
    Archive::new(host, suite, What::Sources(table.component.as_deref().unwrap_or_default()), ctx, events)
}

fn table(spec: &Spec) -> Result<&DscSpec> {
    spec.dsc.as_ref().ok_or_else(|| Error::input(format!("{}: this source has no origin `dsc`", spec.entry)))
}

/// Makes the source tree in the new folder `dest` of the package's files, each with its name. Their sums were checked.
fn assemble(files: &[(&str, &PathBuf)], what: &str, dest: &Path) -> Result<()> {
    let named = |accepts: &dyn Fn(&str) -> bool| files.iter().find(|(name, _)| accepts(name));
    let open =
        |path: &Path| File::open(path).map_err(|e| Error::build(format!("cannot read {}", path.display())).because(e));
    let missing = |part: &str| Error::build(format!("the source package {what} has no {part}"));
    let (_, dsc) = named(&|name| name.ends_with(".dsc")).ok_or_else(|| missing(".dsc"))?;
    let text =
        fs::read_to_string(dsc).map_err(|e| Error::build(format!("cannot read {}", dsc.display())).because(e))?;
    let format = text.lines().find_map(|line| line.strip_prefix("Format:")).unwrap_or_default().trim();
    match format {
        "3.0 (native)" => {
            let all =
                named(&|name| name.contains(".tar.") && !name.ends_with(".asc")).ok_or_else(|| missing("tarball"))?;
            unpack(open(all.1)?, all.0, dest, Limits::default())
        }
        "3.0 (quilt)" => {
            let is_part = |name: &str, part: &str| name.contains(part) && !name.ends_with(".asc");
            let upstream = named(&|name| is_part(name, ".orig.tar.")).ok_or_else(|| missing(".orig.tar"))?;
            let debian = named(&|name| is_part(name, ".debian.tar.")).ok_or_else(|| missing(".debian.tar"))?;
            let mut tree = Unpacked::new(dest, Limits::default(), Layout::TopFolder(None))?;
            tree.add(open(upstream.1)?, upstream.0)?;
            // What upstream has there counts for nothing. Links of the new one may lead to the rest.
            tree.without("debian", Layout::AsTheySay)?;
            tree.add(open(debian.1)?, debian.0)?;
            tree.check().map_err(|(link, why)| Error::build(format!("the source package {what}: {link}: {why}")))?;
            patches::apply(dest, what)
        }
        other => {
            Err(Error::build(format!("the source package {what} has the format `{other}`, which quiz cannot unpack"))
                .hint("its tarball, or a clone, can be the source instead"))
        }
    }
}

#[cfg(test)]
mod tests;
