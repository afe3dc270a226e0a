//! Which of a source's origins is meant: what was said, else what the version and the folder quiz runs in suggest. Looks at
//! folders for their marks and at nothing else.

use super::release::{Release, ReleaseKind, is_commit};
use super::spec::{Releases, Spec};
use super::{Context, version, worktree};
use crate::error::{Error, Result};
use std::fs;
use std::path::{Path, PathBuf};

/// An origin: where a source comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Origin {
    Debian,
    Dsc,
    Url,
    Git,
    Packages,
    Binary,
    Wheel,
    /// A folder that has all marks, the files by which such a source is known.
    Dir(PathBuf),
    /// The address of a tarball.
    Address(String),
}

/// What the options say; "" where they say nothing, and `version` is "default" then.
#[derive(Debug, Clone, Copy)]
pub(super) struct Asked<'a> {
    pub origin: &'a str,
    pub version: &'a str,
    pub repository: &'a str,
}

/// The origin that is meant.
pub(super) fn choose(spec: &Spec, asked: Asked, ctx: &Context) -> Result<Origin> {
    let Asked { origin, version, repository } = asked;
    if is_place(origin) {
        return folder(spec, &place(origin, &ctx.base)?);
    }
    if let Some(address) = [origin, version].into_iter().find(|text| text.contains("://")) {
        return Ok(Origin::Address(address.to_owned()));
    }
    let marks = spec.dir.as_ref().map(|dir| &dir.marks[..]);
    let around = marks.and_then(|marks| worktree::find(&ctx.start, marks));
    if !origin.is_empty() {
        return named(spec, origin, around, ctx);
    }
    let first = || there(spec).into_iter().next().map(|(_, origin)| origin);
    let chosen = match around {
        _ if spec.git.is_some() && only_git(spec, version) => Some(Origin::Git),
        Some(dir) if version == "default" => Some(Origin::Dir(dir)),
        _ if spec.git.is_some() && !repository.is_empty() => Some(Origin::Git),
        _ => first(),
    };
    chosen.ok_or_else(|| Error::input(format!("{}: this source needs a folder or an address", spec.entry)))
}

/// The path that an option gives: `~/…`, or relative to `base`.
///
/// # Errors
/// `~` without a HOME.
pub fn place(text: &str, base: &Path) -> Result<PathBuf> {
    let Some(rest) = text.strip_prefix('~') else { return Ok(base.join(text)) };
    let home = std::env::var_os("HOME").map(PathBuf::from).filter(|home| home.is_absolute());
    home.map(|home| home.join(rest.trim_start_matches('/')))
        .ok_or_else(|| Error::input(format!("{text}: HOME is not set")).hint("write the whole path"))
}

/// Whether an option gives a path.
pub(super) fn is_place(text: &str) -> bool {
    ["/", "./", "../", "~/"].iter().any(|start| text.starts_with(start)) || [".", "..", "~"].contains(&text)
}

/// The origins that a spec has beside folders and addresses, the preferred first.
fn there(spec: &Spec) -> Vec<(&'static str, Origin)> {
    let all = [
        ("debian", Origin::Debian, spec.debian.is_some()),
        ("dsc", Origin::Dsc, spec.dsc.is_some()),
        ("url", Origin::Url, spec.url.is_some()),
        ("git", Origin::Git, spec.git.is_some()),
        ("packages", Origin::Packages, spec.packages.is_some()),
        ("package", Origin::Binary, spec.binary.is_some()),
        ("wheel", Origin::Wheel, spec.wheel.is_some()),
    ];
    all.into_iter().filter(|(_, _, there)| *there).map(|(name, origin, _)| (name, origin)).collect()
}

fn named(spec: &Spec, name: &str, around: Option<PathBuf>, ctx: &Context) -> Result<Origin> {
    if name == "dir"
        && let Some(dir) = &spec.dir
    {
        return around.map(Origin::Dir).ok_or_else(|| {
            Error::input(format!("{}: {} is not in a worktree of this source", spec.entry, ctx.start.display()))
                .detail(format!("such a worktree has {}", dir.marks.join(", ")))
                .hint("run quiz in the worktree, or give its path instead of `dir`")
        });
    }
    let there = there(spec);
    if let Some((_, origin)) = there.iter().find(|(known, _)| *known == name) {
        return Ok(origin.clone());
    }
    let dir = spec.dir.iter().map(|_| "dir, or the path of a folder");
    let known = there.iter().map(|(known, _)| *known).chain(dir).collect::<Vec<_>>().join(", ");
    Err(Error::input(format!("{}: there is no origin `{name}`", spec.entry)).hint(format!("there are: {known}")))
}

/// The folder as an origin, if it has all marks.
fn folder(spec: &Spec, path: &Path) -> Result<Origin> {
    let Some(table) = &spec.dir else {
        return Err(Error::input(format!(
            "{}: {} was given, but this source cannot be a folder",
            spec.entry,
            path.display()
        )));
    };
    let path = fs::canonicalize(path)
        .map_err(|e| Error::input(format!("{}: there is no folder {}", spec.entry, path.display())).because(e))?;
    if !path.is_dir() {
        return Err(Error::input(format!("{}: {} is not a folder", spec.entry, path.display())));
    }
    let missing = worktree::missing(&path, &table.marks);
    if missing.is_empty() {
        return Ok(Origin::Dir(path));
    }
    Err(Error::input(format!("{}: {} is not a folder with this source", spec.entry, path.display()))
        .detail(format!("it has no {}", missing.join(", "))))
}

/// Whether no package and no tarball has this version.
fn only_git(spec: &Spec, version: &str) -> bool {
    if let Some(release) = spec.releases.and_then(|Releases::Linux| Release::parse(version)) {
        return !matches!(release.kind, ReleaseKind::Series | ReleaseKind::Release);
    }
    let candidate =
        version.rsplit_once("-rc").is_some_and(|(_, n)| !n.is_empty() && n.bytes().all(|b| b.is_ascii_digit()));
    version != "default" && (!version::is_version(version) || is_commit(version) || candidate)
}

#[cfg(test)]
mod tests;
