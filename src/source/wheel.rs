//! Origin `wheel`: a Python package that its authors compiled, from an index of such packages. What is fetched is the wheel itself: Python
//! unpacks it, in a stage.
//!
//! The list comes over https, and says what each file's checksum is.

use super::download::{Access, Patience, Wanted, download, text_by};
use super::index::{MOST, folder};
use super::pin::{Pin, UrlPin};
use super::spec::Spec;
use super::{Context, version};
use crate::error::{Error, Result};
use crate::event::Events;
use reqwest::Url;
use serde::Deserialize;
use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

/// The name of the wheel in the folder to which it is fetched.
pub(super) const FILE: &str = "wheel.zip";

/// The form of a list that is asked for (PEP 691).
const JSON: &str = "application/vnd.pypi.simple.v1+json";

/// What an index says of a project; its other fields are ignored.
#[derive(Deserialize)]
struct Listed {
    files: Vec<ListedFile>,
}

#[derive(Deserialize)]
#[serde(rename_all = "kebab-case")]
struct ListedFile {
    filename: String,
    url: String,
    hashes: BTreeMap<String, String>,
    size: Option<u64>,
    /// `false`, or why nobody shall take it any more (PEP 592).
    #[serde(default)]
    yanked: serde_json::Value,
}

/// The newest wheel that `wanted` means, for that Python on that machine.
pub(super) fn resolve(
    spec: &Spec,
    wanted: &str,
    (python, arch): (&str, &str),
    ctx: &Context,
    events: Events,
) -> Result<Pin> {
    let wheel = spec
        .wheel
        .as_ref()
        .ok_or_else(|| Error::input(format!("{}: this source has no origin `wheel`", spec.entry)))?;
    let url = format!("{}{}/", wheel.index, wheel.project);
    let access = Access { accept: Some(JSON), ..Access::default() };
    let list = text_by(&url, &access, &folder(ctx), events)?;
    let there = listed(&list, &url, &wheel.project, (python, arch)).map_err(|why| {
        Error::build(format!("{url}: this is not a list of files in the form of the simple API (PEP 691)")).because(why)
    })?;
    let version = |pin: &UrlPin| pin.version.clone().unwrap_or_default();
    let meant = there.iter().filter(|pin| wanted == "default" || version::belongs(wanted, &version(pin)));
    let newest = meant.max_by(|a, b| version::compare(&version(a), &version(b)));
    newest.map(|pin| Pin::Url(pin.clone())).ok_or_else(|| {
        let versions: Vec<String> = there.iter().map(version).collect();
        version::unknown(&spec.entry, wanted, &versions.iter().map(String::as_str).collect::<Vec<_>>())
            .detail(format!("looked for wheels of {python} on {arch} at {url}"))
    })
}

/// The wheels of releases in the list at an address, for that Python on that machine, against glibc.
fn listed(list: &str, address: &str, project: &str, (python, arch): (&str, &str)) -> serde_json::Result<Vec<UrlPin>> {
    let list: Listed = serde_json::from_str(list)?;
    let base = Url::parse(address).ok();
    let pin = |file: ListedFile| {
        let version = release(&file.filename, project, python, arch)?.to_owned();
        // It may be relative to the list's address, and must have the same scheme: https, if the list came over https.
        let base = base.as_ref()?;
        let url = base.join(&file.url).ok().filter(|url| url.scheme() == base.scheme())?;
        let sha256 = file.hashes.get("sha256")?.to_ascii_lowercase();
        let is_sum = sha256.len() == 64 && sha256.bytes().all(|b| b.is_ascii_hexdigit());
        let is_yanked = !matches!(file.yanked, serde_json::Value::Null | serde_json::Value::Bool(false));
        (is_sum && !is_yanked).then_some(UrlPin { url: url.into(), version: Some(version), sha256, size: file.size })
    };
    Ok(list.files.into_iter().filter_map(pin).collect())
}

/// The version in the name of a wheel (PEP 427), NAME-VERSION(-BUILD)-PYTHON-ABI-PLATFORM.whl, if it is a release for that Python on that machine.
fn release<'f>(file: &'f str, project: &str, python: &str, arch: &str) -> Option<&'f str> {
    let parts: Vec<&str> = file.strip_suffix(".whl")?.split('-').collect();
    let [name, version, .., tag, abi, platforms] = parts[..] else { return None };
    let is_here = |platform: &str| {
        platform.strip_suffix(arch).is_some_and(|rest| rest.starts_with("manylinux") && rest.ends_with('_'))
    };
    // Not "0.3.0rc1", which is only a candidate.
    let is_release = version::is_version(version) && version.bytes().all(|b| b.is_ascii_digit() || b == b'.');
    // As names of projects are compared (PEP 503), and written in those of wheels.
    let plain = |name: &str| name.to_ascii_lowercase().replace(['-', '.'], "_");
    let fits = plain(name) == plain(project) && tag == python && abi == python && platforms.split('.').any(is_here);
    (is_release && fits).then_some(version)
}

/// Downloads the pinned wheel.
pub(super) fn fetch(pin: &UrlPin, dest: &Path, ctx: &Context, events: Events) -> Result<()> {
    let wanted = Wanted { url: &pin.url, access: None, sha256: Some(&pin.sha256), size: pin.size, most: MOST };
    let got = download(&wanted, &folder(ctx), Patience::default(), events)?;
    let moved = fs::create_dir(dest).and_then(|()| fs::copy(&got.path, dest.join(FILE)));
    moved.map_err(|e| Error::build(format!("cannot write {}", dest.display())).because(e))?;
    // If it cannot be removed, the next fetch uses it.
    let _ = fs::remove_file(got.path);
    Ok(())
}

/// A list of an index, for the fuzz targets.
#[cfg(any(test, feature = "fuzz"))]
pub(super) fn fuzz(list: &str) {
    for pin in listed(list, "https://example.org/drgn/", "drgn", ("cp311", "x86_64")).unwrap_or_default() {
        assert!(pin.sha256.len() == 64 && pin.url.starts_with("https://"));
        assert!(pin.version.is_some_and(|version| version::is_version(&version)));
    }
}

#[cfg(test)]
mod tests;
