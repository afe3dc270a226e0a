//! Origin `packages`: a set of Debian packages and all that they depend on, as .deb files with an index that apt can read.

use super::apt::{Apt, parse};
use super::spec::Spec;
use super::{Context, Package, PackagesPin, Pin, deb, root};
use crate::error::{Error, Result};
use crate::event::Events;
use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::path::Path;

/// Whether it can be the name of a Debian package (Policy §5.6.1). Such a name apt takes for no option, pattern, file or removal.
pub fn is_package(name: &str) -> bool {
    name.starts_with(|c: char| c.is_ascii_lowercase() || c.is_ascii_digit())
        && name.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b"+-.".contains(&b))
        && !name.ends_with('-')
}

/// Asks apt what would be installed into an empty root.
pub(super) fn resolve(
    spec: &Spec,
    suite: &str,
    arch: &str,
    names: &BTreeSet<String>,
    ctx: &Context,
    events: Events,
) -> Result<Pin> {
    let table = spec
        .packages
        .as_ref()
        .ok_or_else(|| Error::input(format!("{}: this source has no origin `packages`", spec.entry)))?;
    let apt = Apt::open(suite, arch, ctx, events)?;
    apt.update()?;
    let mut asked: Vec<String> = table.include.iter().chain(names).cloned().collect();
    for name in &table.if_there {
        if !apt.show(std::slice::from_ref(name))?.is_empty() {
            asked.push(name.clone());
        }
    }
    let options = ["install", "--yes", "--no-install-recommends", "--print-uris", "--"];
    let ran = apt.run("apt-get", options.into_iter().chain(asked.iter().map(String::as_str)))?;
    if !ran.ok {
        return Err(refused(&ran.stdout, &ran.stderr, spec, suite, &apt));
    }
    let wanted = parse::uris(&ran.stdout);
    let exact: Vec<String> = wanted.iter().map(|(name, version, _)| format!("{name}={version}")).collect();
    let mut packages = apt.show(&exact)?;
    packages
        .retain(|p| wanted.iter().any(|(name, version, arch)| (name, version, arch) == (&p.name, &p.version, &p.arch)));
    let chosen = |(name, version, _): &(String, String, String)| {
        packages.iter().filter(|p| p.name == *name && p.version == *version).count()
    };
    if let Some((name, version, _)) = wanted.iter().find(|wanted| chosen(wanted) != 1) {
        return Err(Error::build(format!(
            "{}: the package lists of {suite} have not exactly one {name} {version}",
            spec.entry
        )));
    }
    Ok(Pin::Packages(PackagesPin { suite: suite.to_owned(), packages }))
}

/// Downloads the pinned packages into the new folder `dest`, with an index: `deb [trusted=yes] copy:/that/folder ./` is a source.
///
/// The index is made of the packages' own descriptions, so the folder is the same whatever mirror they came from.
pub(super) fn fetch(spec: &Spec, pin: &PackagesPin, dest: &Path, ctx: &Context, events: Events) -> Result<()> {
    let failed = |e: io::Error| Error::build(format!("cannot write {}", dest.display())).because(e);
    let apt = Apt::open(&pin.suite, super::apt::arch(&ctx.arch)?, ctx, events)?;
    let paths = apt.download(&pin.packages, &spec.entry)?;
    if let Some(root) = spec.packages.as_ref().and_then(|table| table.root.as_ref()) {
        // The packages stay where they are: other roots have most of them, too.
        return root::make(root, &paths, dest);
    }
    fs::create_dir(dest).map_err(failed)?;
    let mut index = String::new();
    for (package, path) in pin.packages.iter().zip(&paths) {
        index += &stanza(&deb::control(path)?, package);
        let place = dest.join(parse::file_name(package));
        // The two folders may lie on different file systems.
        fs::rename(path, &place)
            .or_else(|_| fs::copy(path, &place).and_then(|_| fs::remove_file(path)))
            .map_err(failed)?;
    }
    fs::write(dest.join("Packages"), index).map_err(failed)
}

fn stanza(control: &str, package: &Package) -> String {
    let Package { sha256, size, .. } = package;
    format!("{control}\nFilename: ./{}\nSize: {size}\nSHA256: {sha256}\n\n", parse::file_name(package))
}

/// Why apt would not install what was asked for.
fn refused(stdout: &str, stderr: &str, spec: &Spec, suite: &str, apt: &Apt) -> Error {
    let unknown: Vec<&str> = stderr.lines().filter_map(unknown_name).collect();
    if let Some(first) = unknown.first() {
        let error = Error::input(format!("{}: {suite} has no package {}", spec.entry, unknown.join(", ")));
        let names = apt.names("").unwrap_or_default();
        let score = |name: &String| strsim::jaro_winkler(name, first);
        let near = names.iter().max_by(|a, b| score(a).total_cmp(&score(b))).filter(|name| score(name) > 0.85);
        return near.into_iter().fold(error, |error, near| error.hint(format!("did you mean {near}?")));
    }
    // apt explains dependencies on stdout, after this line.
    let reasons =
        stdout.lines().skip_while(|line| !line.starts_with("The following packages have unmet dependencies")).skip(1);
    let complaints = stderr.lines().filter(|line| line.starts_with("E: "));
    let error = Error::build(format!("{}: apt cannot install these packages of {suite} together", spec.entry));
    reasons.chain(complaints).fold(error, Error::detail)
}

/// The name in apt's two ways to say that there is no such package.
fn unknown_name(line: &str) -> Option<&str> {
    let rest = line.strip_prefix("E: ")?;
    let name = match rest.strip_prefix("Unable to locate package ") {
        Some(name) => name,
        None => rest.strip_prefix("Package '")?.strip_suffix("' has no installation candidate")?,
    };
    Some(name.trim())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_apt_says_of_unknown_packages() {
        assert_eq!(unknown_name("E: Unable to locate package bsah"), Some("bsah"));
        assert_eq!(unknown_name("E: Package 'mail' has no installation candidate"), Some("mail"));
        assert_eq!(unknown_name("E: Unable to correct problems, you have held broken packages."), None);
    }

    #[test]
    fn an_index_stanza() {
        let package =
            Package { name: "x".into(), version: "1:2-3".into(), arch: "all".into(), sha256: "ab".into(), size: 7 };
        let wanted = "Package: x\nVersion: 1:2-3\nFilename: ./x_1%3a2-3_all.deb\nSize: 7\nSHA256: ab\n\n";
        assert_eq!(stanza("Package: x\nVersion: 1:2-3", &package), wanted);
    }
}
