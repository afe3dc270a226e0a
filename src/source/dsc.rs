//! Origin `dsc`: a Debian source package of the suite that comes first, with the distribution's patches applied. Formats: `3.0 (quilt)`
//! and `3.0 (native)` (dpkg-source(1)).

pub(super) mod patches;

use super::apt::{Host, suites};
use super::archive::{Archive, What};
use super::spec::{DscSpec, Spec};
use super::unpack::{Layout, Limits, Unpacked, unpack};
use super::{Context, DscPin, Pin, version};
use crate::error::{Error, Kind, Result};
use crate::event::Events;
use crate::event::told::Told;
use std::fs;
use std::path::{Path, PathBuf};

/// The source package of the newest version that `wanted` means, of the suite `own`, or of the host's.
pub(super) fn resolve(spec: &Spec, wanted: &str, own: Option<&str>, ctx: &Context, events: Events) -> Result<Pin> {
    resolve_on(&Host::read(), spec, wanted, own, ctx, events)
}

fn resolve_on(host: &Host, spec: &Spec, wanted: &str, own: Option<&str>, ctx: &Context, events: Events) -> Result<Pin> {
    let table = table(spec)?;
    let hosts = host.suite().ok();
    let mut suites: Vec<&str> = Vec::new();
    for suite in [own.or(hosts), table.suite.as_deref(), hosts].into_iter().flatten() {
        if !suites.contains(&suite) {
            suites.push(suite);
        }
    }
    if suites.is_empty() {
        suites.push(host.suite()?);
    }
    let (mut all, mut unseen) = (Vec::new(), None);
    for suite in suites {
        let (suite, today) = match in_suite(host, (suite, table), ctx, events, &|archive| archive.today(&spec.entry)) {
            // That another suite cannot be asked says nothing of what the first has; that the first cannot, is an error.
            Err(error) if error.kind() == Kind::Input || !all.is_empty() => {
                unseen.get_or_insert(error);
                continue;
            }
            other => other?,
        };
        let there: Vec<DscPin> = today.sources(&table.package)?.into_iter().map(|source| source.pin).collect();
        let versions = there.iter().map(|p| p.version.as_str());
        let newest = match wanted {
            "default" => versions.max_by(|a, b| version::compare(a, b)),
            wanted => version::newest(wanted, versions),
        };
        if let Some(package) = newest.and_then(|newest| there.iter().find(|p| p.version == newest)) {
            return Ok(Pin::Dsc(DscPin { suite: Some(suite), ..package.clone() }));
        }
        all.extend(there.into_iter().map(|pin| pin.version));
    }
    if let (Some(error), true) = (unseen, all.is_empty()) {
        return Err(error);
    }
    let all: Vec<&str> = all.iter().map(String::as_str).collect();
    let error = version::unknown(&spec.entry, wanted, &all);
    Err(if spec.git.is_some() { error.hint("git has every release: set its source to \"git\"") } else { error })
}

/// Downloads the pinned files and unpacks them.
pub(super) fn fetch(spec: &Spec, pin: &DscPin, dest: &Path, ctx: &Context, events: Events) -> Result<()> {
    fetch_on(&Host::read(), spec, pin, dest, ctx, events)
}

fn fetch_on(host: &Host, spec: &Spec, pin: &DscPin, dest: &Path, ctx: &Context, events: Events) -> Result<()> {
    let table = table(spec)?;
    // Without the suite, as in the pins that are made of the lists.
    let wanted = DscPin { suite: None, ..pin.clone() };
    let bring = |archive: &Archive<'_>| archive.fetch_source(&wanted, &spec.entry);
    // The pin names the suite, as it may come from another host, whose own suite is a different one.
    let pinned = pin.suite.as_deref().map(|suite| in_suite(host, (suite, table), ctx, events, &bring));
    let (suite, paths) = match pinned {
        Some(Ok(paths)) => paths,
        // The host's own may have it, too, and be what can be reached from here.
        Some(Err(error)) => in_a_suite(host, table, ctx, events, &bring).map_err(|_| error)?,
        None => in_a_suite(host, table, ctx, events, &bring)?,
    };
    let files: Vec<(&str, &PathBuf)> = pin.files.iter().map(|file| file.name.as_str()).zip(&paths).collect();
    // Each of Debian's is patched as on Debian, so that its tree is the same on all hosts.
    let vendor = if suites::is_debians(suites::split(&suite).0) { "debian" } else { &host.id };
    assemble(&files, &format!("{} {}", pin.name, pin.version), vendor, dest, events).inspect_err(|_| {
        // An error of this would hide the one that matters.
        let _ = fs::remove_dir_all(dest);
    })?;
    // Their content lies in `dest` now. If they cannot be removed, the next fetch uses them.
    paths.iter().for_each(|path| drop(fs::remove_file(path)));
    Ok(())
}

/// Does something with the archive of a suite, whose name comes along.
fn in_suite<T>(
    host: &Host,
    (suite, table): (&str, &DscSpec),
    ctx: &Context,
    events: Events,
    work: &dyn Fn(&Archive<'_>) -> Result<T>,
) -> Result<(String, T)> {
    let what = What::Sources(table.component.as_deref().unwrap_or_default());
    let found = Archive::new(host, suite, what, ctx, events).and_then(|archive| work(&archive))?;
    Ok((suite.to_owned(), found))
}

/// Does something with the archive of the host's own suite; where there is no such suite, with that of the table's.
fn in_a_suite<T>(
    host: &Host,
    table: &DscSpec,
    ctx: &Context,
    events: Events,
    work: &dyn Fn(&Archive<'_>) -> Result<T>,
) -> Result<(String, T)> {
    let in_suite = |suite: &str| in_suite(host, (suite, table), ctx, events, work);
    let own = host.suite().and_then(in_suite);
    match (own, &table.suite) {
        (Err(error), Some(suite)) if error.kind() == Kind::Input && host.suite().ok() != Some(suite) => {
            in_suite(suite).map_err(|_| error)
        }
        (own, _) => own,
    }
}

fn table(spec: &Spec) -> Result<&DscSpec> {
    spec.dsc.as_ref().ok_or_else(|| Error::input(format!("{}: this source has no origin `dsc`", spec.entry)))
}

/// Makes the source tree in the new folder `dest` of the package's files, each with its name, as `vendor` has it (`ID` of os-release(5)).
/// Their sums were checked.
fn assemble(files: &[(&str, &PathBuf)], what: &str, vendor: &str, dest: &Path, events: Events) -> Result<()> {
    let open = |name: &str, path: &Path| {
        Told::open(path, format!("unpacking {name}"), events)
            .map_err(|e| Error::build(format!("cannot read {}", path.display())).because(e))
    };
    let missing = |part: &str| Error::build(format!("the source package {what} has no {part}"));
    let refused = |why: String| {
        Error::build(format!("the source package {what} {why}, which quiz cannot unpack"))
            .hint("use its tarball or a clone of its repository as the source instead")
    };
    let is_signature = |name: &str| name.ends_with(".asc");
    let (dscs, parts): (Vec<_>, Vec<_>) =
        files.iter().filter(|(name, _)| !is_signature(name)).partition(|(name, _)| name.ends_with(".dsc"));
    let (_, dsc) = dscs.first().ok_or_else(|| missing(".dsc"))?;
    let text =
        fs::read_to_string(dsc).map_err(|e| Error::build(format!("cannot read {}", dsc.display())).because(e))?;
    let format = text.lines().find_map(|line| line.strip_prefix("Format:")).unwrap_or_default().trim();
    match (format, &parts[..]) {
        ("3.0 (native)", [(name, path)]) => unpack(open(name, path)?, name, dest, Limits::default()),
        ("3.0 (quilt)", [_, _]) => {
            let named = |part: &str| parts.iter().find(|(name, _)| name.contains(part)).ok_or_else(|| missing(part));
            let (upstream, debian) = (named(".orig.tar.")?, named(".debian.tar.")?);
            let mut tree = Unpacked::new(dest, Limits::default(), Layout::TopFolder(None))?;
            tree.add(open(upstream.0, upstream.1)?, upstream.0)?;
            // Upstream's own folders of these names do not count. The Debian tarball is unpacked into the same tree, as its links may lead into it.
            tree.without(".pc")?;
            tree.without("debian")?;
            tree.set_layout(Layout::AsTheySay);
            tree.add(open(debian.0, debian.1)?, debian.0)?;
            tree.check().map_err(|(link, why)| Error::build(format!("the source package {what}: {link}: {why}")))?;
            patches::apply(dest, what, vendor)
        }
        ("3.0 (native)" | "3.0 (quilt)", parts) => {
            let names: Vec<&str> = parts.iter().map(|(name, _)| *name).collect();
            Err(refused(format!("has the files {}", names.join(", "))))
        }
        (other, _) => Err(refused(format!("has the format `{other}`"))),
    }
}

#[cfg(test)]
mod tests;
