//! Origin `packages`: a set of Debian packages and all that they depend on, as .deb files with an index that apt can read.

use super::apt::Host;
use super::archive::{Archive, Asked, What};
use super::spec::{PackagesSpec, Spec};
use super::{Context, Package, PackagesPin, Pin, deb, root};
use crate::error::{Error, Result};
use crate::event::told::Teller;
use crate::event::{Events, Unit};
use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::path::Path;

/// What is asked for of it.
#[derive(Debug, Clone, Copy)]
pub(super) struct Set<'a> {
    pub suite: &'a str,
    pub names: &'a BTreeSet<String>,
}

/// Finds what would be installed into an empty root. Of packages that are `pinned` already these versions are taken, where the suite
/// still has them and they fit.
pub(super) fn resolve(spec: &Spec, set: Set, pinned: &[Package], ctx: &Context, events: Events) -> Result<Pin> {
    resolve_on(&Host::read(), spec, set, pinned, ctx, events)
}

pub(super) fn resolve_on(
    host: &Host,
    spec: &Spec,
    set: Set,
    pinned: &[Package],
    ctx: &Context,
    events: Events,
) -> Result<Pin> {
    let PackagesSpec { include, if_there, essential, .. } = spec
        .packages
        .as_ref()
        .ok_or_else(|| Error::input(format!("{}: this source has no origin `packages`", spec.entry)))?;
    if let Some(pattern) = include.iter().find(|name| !super::is_package(name)) {
        return Err(Error::input(format!("{}: `{pattern}` in [source.packages] is not a package name", spec.entry))
            .hint("instead of the pattern ?essential write `essential = true`"));
    }
    let names: BTreeSet<String> = include.iter().chain(set.names).cloned().collect();
    let asked = Asked { entry: &spec.entry, names: &names, if_there, essential: *essential, pinned };
    let packages = Archive::new(host, set.suite, What::Packages, ctx, events)?.resolve(&asked)?;
    Ok(Pin::Packages(PackagesPin { suite: set.suite.to_owned(), packages }))
}

/// Brings the pinned packages into the new folder `dest`, with an index: `deb [trusted=yes] copy:/that/folder ./` is a source.
///
/// The index is made of the packages' own descriptions, so the folder is the same whatever mirror they came from.
pub(super) fn fetch(spec: &Spec, pin: &PackagesPin, dest: &Path, ctx: &Context, events: Events) -> Result<()> {
    fetch_on(&Host::read(), spec, pin, dest, ctx, events)
}

pub(super) fn fetch_on(
    host: &Host,
    spec: &Spec,
    pin: &PackagesPin,
    dest: &Path,
    ctx: &Context,
    events: Events,
) -> Result<()> {
    let failed = |e: io::Error| Error::build(format!("cannot write {}", dest.display())).because(e);
    let archive = Archive::new(host, &pin.suite, What::Packages, ctx, events)?;
    let paths = archive.fetch(pin, &spec.entry)?;
    let mut teller = Teller::new(format!("unpacking {}", spec.entry), Unit::Packages, paths.len() as u64, events);
    if let Some(root) = spec.packages.as_ref().and_then(|table| table.root.as_ref()) {
        return root::make(root, &paths, dest, &mut teller);
    }
    fs::create_dir(dest).map_err(failed)?;
    let mut index = String::new();
    for (done, (package, path)) in (0..).zip(pin.packages.iter().zip(&paths)) {
        teller.tell(done);
        index += &stanza(&deb::control(path)?, package);
        // Copied, not moved: other roots use most of the same packages.
        fs::copy(path, dest.join(file_name(package))).map_err(failed)?;
    }
    teller.tell(paths.len() as u64);
    fs::write(dest.join("Packages"), index).map_err(failed)
}

/// The name of a .deb as apt stores it.
fn file_name(package: &Package) -> String {
    format!("{}_{}_{}.deb", package.name, package.version.replace(':', "%3a"), package.arch)
}

fn stanza(control: &str, package: &Package) -> String {
    let Package { sha256, size, .. } = package;
    format!("{control}\nFilename: ./{}\nSize: {size}\nSHA256: {sha256}\n\n", file_name(package))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::source::shelf::Shelf;

    #[test]
    fn an_index_stanza() {
        let package =
            Package { name: "x".into(), version: "1:2-3".into(), arch: "all".into(), sha256: "ab".into(), size: 7 };
        let wanted = "Package: x\nVersion: 1:2-3\nFilename: ./x_1%3a2-3_all.deb\nSize: 7\nSHA256: ab\n\n";
        assert_eq!(stanza("Package: x\nVersion: 1:2-3", &package), wanted);
    }

    /// Of an archive in a folder, which the host trusts as it is.
    #[test]
    fn packages_and_what_they_need_with_an_index() {
        let files: &[(&str, &[u8])] = &[("./usr/x", b"x")];
        let stanzas = [("a", "Depends: b (>= 1:1)\n"), ("b", ""), ("base", "Essential: yes\n"), ("c", "")];
        let stanzas = stanzas.map(|(name, more)| format!("Package: {name}\nVersion: 1:2\n{more}"));
        let shelf = Shelf::new("s", &stanzas.each_ref().map(|control| (control.as_str(), files)));
        let (host, ctx) = (shelf.host(), shelf.context());
        let spec = |more: &str| toml::from_str::<Spec>(&format!("entry = \"e\"\n[packages]\n{more}\n")).unwrap();
        let names = BTreeSet::from(["a".to_owned()]);
        let set = Set { suite: "s", names: &names };
        let good = spec("essential = true\nif_there = [\"d\"]");
        let pin = match resolve_on(&host, &good, set, &[], &ctx, &|_| {}).unwrap() {
            Pin::Packages(pin) => pin,
            other => panic!("{other}"),
        };
        assert_eq!(pin.packages.iter().map(|p| p.name.as_str()).collect::<Vec<_>>(), ["a", "b", "base"]);
        let dest = shelf.path("debs");
        fetch_on(&host, &good, &pin, &dest, &ctx, &|_| {}).unwrap();
        let index = fs::read_to_string(dest.join("Packages")).unwrap();
        assert!(index.contains("Filename: ./a_1%3a2_all.deb\n") && dest.join("base_1%3a2_all.deb").exists(), "{index}");
        let root = spec("root = { keep = [\"usr/**\"] }");
        let one = PackagesPin { packages: pin.packages[..1].to_vec(), ..pin };
        fetch_on(&host, &root, &one, &shelf.path("root"), &ctx, &|_| {}).unwrap();
        assert_eq!(fs::read(shelf.path("root/usr/x")).unwrap(), b"x");

        let error = resolve_on(&host, &spec("include = [\"?essential\"]"), set, &[], &ctx, &|_| {}).unwrap_err();
        assert!(error.to_string().contains("`?essential`") && error.hints()[0].contains("essential = true"), "{error}");
    }
}
