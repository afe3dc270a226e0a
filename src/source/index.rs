//! Origin `url`: a tarball on a web server, found by version in the server's list of checksums, or by its address.
//!
//! The list comes over https; that it may be signed as well is not looked at.

use super::download::{Patience, Wanted, download, text};
use super::release::{Release, ReleaseKind};
use super::spec::{Releases, Spec, UrlSpec};
use super::unpack::{Limits, unpack};
use super::{Context, Pin, UrlPin, version};
use crate::error::{Error, Result};
use crate::event::Events;
use crate::event::told::Told;
use std::fs;
use std::path::{Path, PathBuf};

/// No larger source tarball is downloaded, in bytes.
pub(super) const MOST: u64 = 4 << 30;

/// The tarball of the newest version that `wanted` means.
pub(super) fn resolve(spec: &Spec, wanted: &str, ctx: &Context, events: Events) -> Result<Pin> {
    let urls =
        spec.url.as_ref().ok_or_else(|| Error::input(format!("{}: this source has no origin `url`", spec.entry)))?;
    if wanted == "default" {
        return Err(Error::input(format!("{}: the origin `url` has no default version", spec.entry))
            .hint("say which version is wanted: a series such as 6.12, or a version such as 6.12.3"));
    }
    let index = filled(&urls.index, wanted);
    let list = text(&format!("{index}{}", urls.sums), &folder(ctx), events)?;
    let there = listed(&list, urls);
    let versions: Vec<&str> = there.iter().map(|(version, _)| *version).collect();
    // By the grammar of Linux 6.1.0 is the tarball 6.1, while 6.1 is the newest of the series.
    let exact = spec.releases.and_then(|Releases::Linux| Release::parse(wanted));
    let newest = match exact.filter(|release| release.kind != ReleaseKind::Series).map(|release| release.source()) {
        Some(source) => versions.iter().copied().find(|version| *version == source),
        None => version::newest(wanted, versions.iter().copied()),
    };
    let Some((version, sha256)) = newest.and_then(|newest| there.iter().find(|(version, _)| *version == newest)) else {
        return Err(version::unknown(&spec.entry, wanted, &versions));
    };
    let url = format!("{index}{}", filled(&urls.file, version));
    Ok(Pin::Url(UrlPin { url, version: Some((*version).to_owned()), sha256: sha256.clone(), size: None }))
}

/// The tarball at an address. It is downloaded, because only its bytes tell its sum; [`fetch`] finds it where this leaves it.
pub(super) fn resolve_address(url: &str, sha256: Option<&str>, ctx: &Context, events: Events) -> Result<Pin> {
    let (sha256, size) = match sha256 {
        Some(sum) => (sum.to_owned(), None),
        None => {
            let got = download(
                &Wanted { url, access: None, sha256: None, size: None, most: MOST },
                &folder(ctx),
                Patience::default(),
                events,
            )?;
            (got.sha256, Some(got.size))
        }
    };
    Ok(Pin::Url(UrlPin { url: url.to_owned(), version: None, sha256, size }))
}

/// Downloads and unpacks the pinned tarball.
pub(super) fn fetch(pin: &UrlPin, dest: &Path, ctx: &Context, events: Events) -> Result<()> {
    let wanted = Wanted { url: &pin.url, access: None, sha256: Some(&pin.sha256), size: pin.size, most: MOST };
    let got = download(&wanted, &folder(ctx), Patience::default(), events)?;
    let name = pin.url.rsplit('/').next().unwrap_or(&pin.url);
    let file = Told::open(&got.path, format!("unpacking {name}"), events)
        .map_err(|e| Error::build(format!("cannot read {}", got.path.display())).because(e))?;
    unpack(file, &pin.url, dest, Limits::default())?;
    // Its content lies in `dest` now. If it cannot be removed, the next fetch uses it.
    let _ = fs::remove_file(got.path);
    Ok(())
}

/// Where downloads are kept until they are unpacked.
pub(super) fn folder(ctx: &Context) -> PathBuf {
    ctx.cache.join("download")
}

fn filled(template: &str, of: &str) -> String {
    template
        .replace("{major}", version::prefix(of, 1))
        .replace("{series}", version::prefix(of, 2))
        .replace("{version}", of)
}

/// The versions and sums in a list of the form of `sha256sum`; what else is in it, such as a signature, is passed over.
fn listed<'a>(list: &'a str, urls: &UrlSpec) -> Vec<(&'a str, String)> {
    let (start, end) = urls.file.split_once("{version}").unwrap_or((&urls.file, ""));
    let line = |line: &'a str| {
        let (sum, name) = line.split_once(char::is_whitespace)?;
        let version = name.trim_start().trim_start_matches('*').strip_prefix(start)?.strip_suffix(end)?;
        let good = sum.len() == 64
            && sum.bytes().all(|b| b.is_ascii_hexdigit())
            && version.starts_with(|c: char| c.is_ascii_digit());
        good.then(|| (version, sum.to_ascii_lowercase()))
    };
    list.lines().filter_map(line).collect()
}

/// A list of checksums, for the fuzz targets.
#[cfg(any(test, feature = "fuzz"))]
pub(super) fn fuzz(list: &str, spec: &Spec) {
    let Some(urls) = &spec.url else { return };
    for (version, sum) in listed(list, urls) {
        assert!(sum.len() == 64 && filled(&urls.index, version).starts_with("https://"));
    }
}

#[cfg(test)]
pub(super) mod tests;
