//! A root of the files of packages, in which scripts run: what dpkg would unpack, less what no script reads, and the links that
//! maintainers' scripts would make. Runs nothing of the packages.

use super::alternatives::{self, Alternative};
use super::deb;
use super::unpack::{Layout, Limits, Unpacked};
use crate::error::{Error, Result};
use crate::event::told::Teller;
use globset::{GlobBuilder, GlobSet, GlobSetBuilder};
use serde::Deserialize;
use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// What becomes of the packages' files. All paths are those in the root, without the first slash, as they are when /bin is a link into
/// /usr.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RootSpec {
    /// Paths that are kept, as globs; `*` does not pass a slash.
    pub keep: Vec<String>,
    /// Of these the ones that are left out after all.
    #[serde(default)]
    pub drop: Vec<String>,
    /// The links that the packages' own scripts would make by update-alternatives(1), as far as these say so plainly.
    #[serde(default)]
    pub alternatives: bool,
    /// Further links, each with paths relative to the folder that it lies in: it leads to the first that exists. Where the packages have something
    /// else, no link is made.
    #[serde(default)]
    pub links: BTreeMap<String, Vec<String>>,
    /// Small files that no package has, or of which another one is dropped.
    #[serde(default)]
    pub files: BTreeMap<String, String>,
}

/// The folders of the file system's top that lie in /usr, as in every Debian since 12, whatever the packages say.
const MERGED: &[&str] = &["bin", "sbin", "lib", "lib32", "lib64", "libx32"];

/// Where a path of a package lies in the root; nowhere if it is left out.
type WhereTo<'a> = &'a dyn Fn(&str) -> Option<String>;

/// Makes the new folder `dest` of these packages, and tells how many of them lie there.
///
/// # Errors
/// Two packages have the same file, an entry leads out of the root, or the disk is full; what there is by then is removed.
pub(super) fn make(spec: &RootSpec, debs: &[PathBuf], dest: &Path, packages: &mut Teller<'_>) -> Result<()> {
    let (keep, drop) = (globs(&spec.keep)?, globs(&spec.drop)?);
    let place = |path: &str| {
        // From Debian 13 on a package brings these links; they are made below.
        if MERGED.contains(&path) {
            return None;
        }
        let path = merged(path);
        (keep.is_match(&path) && !drop.is_match(&path)).then_some(path)
    };
    let mut root = Unpacked::new(dest, Limits::default(), Layout::Root(&place))?;
    let made = fill(spec, (debs, &place), &mut root, packages);
    made.inspect_err(|_| {
        // An error of this would hide the one that matters.
        let _ = std::fs::remove_dir_all(dest);
    })
}

fn fill(
    spec: &RootSpec,
    (debs, place): (&[PathBuf], WhereTo<'_>),
    root: &mut Unpacked<'_>,
    packages: &mut Teller<'_>,
) -> Result<()> {
    for name in MERGED {
        root.link(name, &format!("usr/{name}"))?;
    }
    for (done, deb) in (0..).zip(debs) {
        packages.tell(done);
        root.add(deb::data(deb)?, &deb.display().to_string())?;
    }
    packages.tell(debs.len() as u64);
    if spec.alternatives {
        choose(debs, place, root)?;
    }
    for (path, targets) in &spec.links {
        let folder = path.rsplit_once('/').map_or("", |(folder, _)| folder);
        let there = targets.iter().find(|target| root.has(&format!("{folder}/{target}")));
        if let Some(target) = there.filter(|_| !root.has(path)) {
            root.link(path, target)?;
        }
    }
    for (path, text) in &spec.files {
        if !root.has(path) {
            root.file(path, text)?;
        }
    }
    root.check().map_err(|(link, why)| Error::build(format!("the packages have a link {link}: {why}")))
}

/// Makes the links of the alternatives that are there: of several the one with the highest priority, of equal ones the first.
fn choose(debs: &[PathBuf], place: WhereTo<'_>, root: &mut Unpacked<'_>) -> Result<()> {
    let scripts = debs.iter().map(|deb| deb::script(deb, "postinst")).collect::<Result<Vec<_>>>()?;
    let mut all: Vec<Alternative> = scripts.iter().flatten().flat_map(|script| alternatives::read(script)).collect();
    all.sort_by_key(|one| Reverse(one.priority));
    for Alternative { link, path, slaves, .. } in all {
        // Its slaves belong to the one that is chosen.
        if !leads(root, place, &link, &path)? {
            continue;
        }
        for (link, path) in slaves {
            leads(root, place, &link, &path)?;
        }
    }
    Ok(())
}

/// Makes a link, if it may be there, nothing else is, and there is what it leads to.
fn leads(root: &mut Unpacked<'_>, place: WhereTo<'_>, link: &str, path: &str) -> Result<bool> {
    let (link, path) = (place(link.trim_start_matches('/')), merged(path.trim_start_matches('/')));
    let Some(link) = link.filter(|link| !root.has(link) && root.has(&path)) else { return Ok(false) };
    // Relative, so that it leads there for who looks at the root from outside, too.
    let up = "../".repeat(link.matches('/').count());
    let beside = link.rsplit_once('/').zip(path.rsplit_once('/'));
    let target = match beside {
        Some(((folder, _), (same, name))) if folder == same => name.to_owned(),
        _ => up + &path,
    };
    root.link_if_it_can_be(&link, &target)
}

/// Where a path lies when the folders of the top are links into /usr.
fn merged(path: &str) -> String {
    let first = path.split('/').next().unwrap_or_default();
    if MERGED.contains(&first) { format!("usr/{path}") } else { path.to_owned() }
}

fn globs(texts: &[String]) -> Result<GlobSet> {
    let mut set = GlobSetBuilder::new();
    for text in texts {
        let glob = GlobBuilder::new(text).literal_separator(true).build();
        set.add(glob.map_err(|e| Error::input(format!("`{text}` is not a valid pattern of paths")).because(e))?);
    }
    set.build().map_err(|e| Error::input("these patterns of paths are too many").because(e))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::Unit;
    use crate::source::deb::tests::{package_of, package_with};

    fn spec() -> RootSpec {
        let text = "keep = [\"usr/**\", \"etc/**\"]\ndrop = [\"usr/share/{doc,man}/**\"]\n\
                    [links]\n\"usr/bin/awk\" = [\"gawk\", \"mawk\"]\n\"usr/bin/cc\" = [\"gcc\"]\n\"usr/bin/sh\" = [\"mawk\"]\n\
                    [files]\n\"etc/passwd\" = \"root\\n\"\n\"etc/group\" = \"of quiz\\n\"\n";
        toml::from_str(text).unwrap()
    }

    fn made(packages: &[&[(&str, &[u8])]]) -> (tempfile::TempDir, Result<()>) {
        let dir = tempfile::tempdir().unwrap();
        let mut debs = Vec::new();
        for (n, files) in packages.iter().enumerate() {
            debs.push(dir.path().join(format!("{n}.deb")));
            std::fs::write(&debs[n], package_of("Package: x\nVersion: 1\n", files)).unwrap();
        }
        let mut teller = Teller::new(String::new(), Unit::Packages, debs.len() as u64, &|_| {});
        let result = make(&spec(), &debs, &dir.path().join("root"), &mut teller);
        (dir, result)
    }

    #[test]
    fn packages_lie_over_each_other_without_what_nobody_reads() {
        let (dir, result) = made(&[
            &[
                ("./bin/sh", b"sh"),
                ("./usr/bin/mawk", b"mawk"),
                ("./usr/share/doc/x/copyright", b"c"),
                ("./var/lib/x", b"x"),
            ],
            &[("./lib/libc.so", b"libc"), ("./usr/lib/libm.so", b"libm"), ("./etc/group", b"of the package")],
        ]);
        result.unwrap();
        let root = dir.path().join("root");
        let read = |path: &str| std::fs::read_to_string(root.join(path)).unwrap_or_else(|e| e.kind().to_string());
        for (path, text) in [
            // Whether a package says /bin or /usr/bin, and by whichever it is asked for.
            ("usr/bin/sh", "sh"),
            ("bin/mawk", "mawk"),
            ("lib/libc.so", "libc"),
            ("lib/libm.so", "libm"),
            // The first that is there; not where something is; not to what is not there.
            ("bin/awk", "mawk"),
            ("usr/bin/cc", "entity not found"),
            ("etc/group", "of the package"),
            ("etc/passwd", "root\n"),
            ("usr/share/doc/x/copyright", "entity not found"),
            ("var/lib/x", "entity not found"),
        ] {
            assert_eq!(read(path), text, "{path}");
        }
        assert!(!root.join("usr/share").exists() && !root.join("var").exists(), "folders of nothing");
    }

    #[test]
    fn the_links_that_the_packages_scripts_would_make() {
        let dir = tempfile::tempdir().unwrap();
        let package = |name: &str, script: &str, files: &[(&str, &[u8])]| {
            let deb = dir.path().join(name);
            std::fs::write(&deb, package_with("Package: x\nVersion: 1\n", script, files)).unwrap();
            deb
        };
        let install = |words: &str| format!("#!/bin/sh\nupdate-alternatives --install {words}\n");
        let debs = [
            package(
                "a",
                &install("/usr/bin/pager pager /bin/more 50 --slave /usr/bin/page page /bin/more"),
                &[("./bin/more", b"more"), ("./usr/bin/which", b"which")],
            ),
            package("b", &install("/usr/bin/pager pager /usr/bin/less 77"), &[("./usr/bin/less", b"less")]),
            package("c", &install("/usr/bin/which which /bin/more 1"), &[]),
            package("d", &install("/usr/lib/cpp cpp /usr/bin/less 1"), &[]),
            package("e", &install("/usr/bin/gone gone /usr/bin/not-there 1"), &[]),
            package("f", &install("/usr/share/man/x x /usr/bin/less 1 --slave /usr/bin/slave x /usr/bin/less"), &[]),
            package("g", "", &[]),
            // Where it would lie is a file.
            package("h", &install("/usr/bin/less/x x /usr/bin/which 1"), &[]),
        ];
        let made = |name: &str, alternatives| {
            let root = dir.path().join(name);
            let spec = RootSpec { alternatives, ..spec() };
            make(&spec, &debs, &root, &mut Teller::new(String::new(), Unit::Packages, 7, &|_| {})).unwrap();
            move |path: &str| match std::fs::read_link(root.join(path)) {
                Ok(target) => target.display().to_string(),
                Err(_) => std::fs::read_to_string(root.join(path)).unwrap_or_default(),
            }
        };
        let read = made("root", true);
        for (path, is) in [
            ("usr/bin/pager", "less"),
            ("usr/bin/page", ""),
            ("usr/bin/which", "which"),
            ("usr/lib/cpp", "../../usr/bin/less"),
            ("usr/bin/gone", ""),
            ("usr/share/man/x", ""),
            ("usr/bin/slave", ""),
        ] {
            assert_eq!(read(path), is, "{path}");
        }
        assert_eq!(made("plain", false)("usr/bin/pager"), "");
    }

    #[test]
    fn one_file_of_two_packages_is_an_error_and_nothing_is_left() {
        let (dir, result) = made(&[&[("./bin/sh", b"one")], &[("./usr/bin/sh", b"two")]]);
        let error = result.unwrap_err().to_string();
        assert!(error.ends_with("1.deb: usr/bin/sh: is there twice"), "{error}");
        assert!(!dir.path().join("root").exists());
    }
}
