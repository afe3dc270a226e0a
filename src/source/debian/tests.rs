//! Package archives in folders: no network, and nothing of a host's but its sources.

use super::*;
use crate::error::Kind;
use crate::event::Event;

#[test]
fn the_series_of_a_package() {
    let template = "linux-source-{series}";
    for name in ["6.12", "6.8.0"] {
        assert_eq!(series(template, &format!("linux-source-{name}")), Some(name));
    }
    for other in ["linux-source", "linux-source-", "linux-source-6.1-rt", "linux-headers-6.1"] {
        assert_eq!(series(template, other), None, "{other}");
    }
}

const SPEC: &str = "entry = \"kernel\"\n[debian]\npackage = \"linux-source-{series}\"\ndefault = \"linux-source\"\n\
    suites = [\"trixie\", \"trixie-backports\", \"bookworm\", \"gone\", \"sid\"]\n\
    tarball = [\"usr/src/linux-source-{series}.tar.xz\", \"usr/src/linux-source-{series}/linux-source-{series}.tar.bz2\"]\n";

/// A mirror, and a machine whose suite is bookworm, or noble for `id` "ubuntu".
struct Archive {
    dir: tempfile::TempDir,
    host: Host,
    ctx: Context,
}

impl Archive {
    fn new(id: &str, own: &str) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let (etc, cache) = (dir.path().join("etc"), dir.path().join("cache"));
        fs::create_dir_all(&etc).unwrap();
        let source = format!("deb [trusted=yes] copy:{} {own} main\n", dir.path().join("mirror").display());
        fs::write(etc.join("sources.list"), source).unwrap();
        let mut host = Host::of(&format!("ID={id}\nVERSION_CODENAME={own}\n"), &etc);
        host.mirror = format!("file:{}", dir.path().join("debian").display());
        let none = || "/none".into();
        let ctx = Context {
            cache,
            arch: "x86_64".into(),
            mirrors: crate::source::Mirrors::default(),
            offline: false,
            start: none(),
            base: none(),
        };
        let archive = Self { dir, host, ctx };
        archive.suite(own, &[]);
        archive
    }

    /// Makes a suite of these kernels, and the metapackage of the last one.
    fn suite(&self, suite: &str, kernels: &[(&str, &str)]) {
        self.suite_at("mirror", suite, kernels);
    }

    fn suite_at(&self, mirror: &str, suite: &str, kernels: &[(&str, &str)]) {
        let mirror = self.dir.path().join(mirror);
        let folder = mirror.join(format!("dists/{suite}/main/binary-amd64"));
        fs::create_dir_all(&folder).unwrap();
        let mut index = String::new();
        for (series, version) in kernels {
            let (xz, bz2) = deb::tests::tarballs();
            let inner = match self.host.id.as_str() {
                "ubuntu" => (format!("./usr/src/linux-source-{series}/linux-source-{series}.tar.bz2"), bz2),
                _ => (format!("./usr/src/linux-source-{series}.tar.xz"), xz),
            };
            let control = format!("Package: linux-source-{series}\nVersion: {version}\nArchitecture: all\n");
            let package = deb::tests::package_of(&control, &[(&inner.0, &inner.1)]);
            let file = format!("pool/linux-source-{series}_{version}_all.deb");
            fs::create_dir_all(mirror.join("pool")).unwrap();
            fs::write(mirror.join(&file), &package).unwrap();
            let sum = crate::source::download::sha256_of(&mirror.join(&file)).unwrap();
            index += &format!("{control}Filename: {file}\nSize: {}\nSHA256: {sum}\n\n", package.len());
        }
        if let Some((series, version)) = kernels.last() {
            index += &format!(
                "Package: linux-source\nVersion: {version}\nArchitecture: all\nDepends: linux-source-{series} (= {version})\n\
                 Filename: pool/x\nSize: 1\nSHA256: {}\n\n",
                "0".repeat(64)
            );
        }
        fs::write(folder.join("Packages"), &index).unwrap();
        let sum = crate::source::download::sha256_of(&folder.join("Packages")).unwrap();
        let not_automatic = if suite.ends_with("-backports") { "NotAutomatic: yes\n" } else { "" };
        let release = format!(
            "Suite: {suite}\nCodename: {suite}\n{not_automatic}Architectures: amd64\nComponents: main\nDate: Sat, 01 Jan 2000 00:00:00 UTC\n\
             SHA256:\n {sum} {} main/binary-amd64/Packages\n",
            index.len()
        );
        // Signed it would be an InRelease file; a place that is not trusted is asked for no other.
        for name in ["Release", "InRelease"] {
            fs::write(mirror.join(format!("dists/{suite}/{name}")), &release).unwrap();
        }
    }

    /// What is found, and the suites whose lists were asked for.
    fn find(&self, wanted: &str, asked: &[&str]) -> (Result<PackagePin>, Vec<String>) {
        let looked = std::sync::Mutex::new(Vec::new());
        let events = |event| match event {
            Event::Note { message } => {
                let suite = message.strip_prefix("archive: looking at the package lists of ");
                looked.lock().unwrap().extend(suite.map(str::to_owned));
            }
            Event::Warning { message } => panic!("{message}"),
            _ => {}
        };
        let asked: Vec<String> = asked.iter().map(|suite| (*suite).to_owned()).collect();
        let asked = Asked { version: wanted, suites: &asked, own: None };
        let found = resolve_on(&self.host, &toml::from_str(SPEC).unwrap(), asked, &self.ctx, &events);
        let found = found.map(|pin| match pin {
            Pin::Package(pin) => pin,
            other => panic!("{other}"),
        });
        (found, looked.into_inner().unwrap())
    }

    fn found(&self, wanted: &str, asked: &[&str]) -> String {
        let pin = self.find(wanted, asked).0.unwrap();
        let dest = self.dir.path().join("tree");
        fetch_on(&self.host, &toml::from_str(SPEC).unwrap(), &pin, &dest, &self.ctx, &|_| {}).unwrap();
        assert_eq!(fs::read(dest.join("file")).unwrap(), b"content");
        fs::remove_dir_all(dest).unwrap();
        Pin::Package(pin).to_string()
    }
}

fn debian() -> Archive {
    let archive = Archive::new("debian", "bookworm");
    archive.suite("bookworm", &[("6.12", "6.12.117-1~deb12u1"), ("6.1", "6.1.192-2")]);
    archive.suite("trixie", &[("6.12", "6.12.118-1")]);
    archive.suite("trixie-backports", &[("7.2", "7.2.12-1~bpo13+1"), ("7.3", "7.3.4-1~bpo13+1")]);
    archive.suite("sid", &[("7.2", "7.2.13-1")]);
    archive
}

#[test]
fn the_first_suite_that_has_it_and_no_list_of_a_later_one() {
    let archive = debian();
    for (wanted, asked, is, looked) in [
        ("default", &[][..], "6.1 6.1.192-2 of bookworm", &["bookworm"][..]),
        ("6.1", &[], "6.1 6.1.192-2 of bookworm", &["bookworm"]),
        ("6.12", &[], "6.12 6.12.117-1~deb12u1 of bookworm", &["bookworm"]),
        ("6.12.118", &[], "6.12 6.12.118-1 of trixie", &["bookworm", "trixie"]),
        ("7.3", &[], "7.3 7.3.4-1~bpo13+1 of trixie-backports", &["bookworm", "trixie", "trixie-backports"]),
        // The spec's suite `gone` is gone from the mirror.
        ("7.2.13", &[], "7.2 7.2.13-1 of sid", &["bookworm", "trixie", "trixie-backports", "gone", "sid"]),
        ("6.12", &["trixie"], "6.12 6.12.118-1 of trixie", &["trixie"]),
        ("7.2", &["sid", "trixie-backports"], "7.2 7.2.13-1 of sid", &["sid"]),
        ("7.3", &["sid", "trixie-backports"], "7.3 7.3.4-1~bpo13+1 of trixie-backports", &["sid", "trixie-backports"]),
        ("default", &["trixie-backports"], "7.3 7.3.4-1~bpo13+1 of trixie-backports", &["trixie-backports"]),
    ] {
        assert_eq!(archive.found(wanted, asked), format!("linux-source-{is}"), "{wanted} of {asked:?}");
        assert_eq!(archive.find(wanted, asked).1, looked, "{wanted} of {asked:?}");
    }
}

/// Whatever the host's own suite is, the one that is asked for comes first, with its backports: who shares that has the same kernel.
#[test]
fn hosts_of_several_suites_find_the_same_kernel() {
    for own in ["bookworm", "trixie"] {
        let archive = Archive::new("debian", own);
        archive.suite("bookworm", &[("6.1", "6.1.192-2")]);
        archive.suite("trixie", &[("6.12", "6.12.118-1")]);
        archive.suite("trixie-backports", &[("7.3", "7.3.4-1~bpo13+1")]);
        let find = |version, own| {
            let asked = Asked { version, suites: &[], own: Some(own) };
            resolve_on(&archive.host, &toml::from_str(SPEC).unwrap(), asked, &archive.ctx, &|_| {}).unwrap().to_string()
        };
        assert_eq!(find("default", "bookworm"), "linux-source-6.1 6.1.192-2 of bookworm", "{own}");
        assert_eq!(find("default", "trixie"), "linux-source-6.12 6.12.118-1 of trixie", "{own}");
        assert_eq!(find("7.3", "bookworm"), "linux-source-7.3 7.3.4-1~bpo13+1 of trixie-backports", "{own}");
    }
}

/// With backports among the host's sources they belong to its suite, and are not its default.
#[test]
fn the_default_kernel_is_not_that_of_backports() {
    let archive = debian();
    archive.suite("bookworm-backports", &[("6.12", "6.12.118-1~bpo12+1")]);
    let mirror = archive.dir.path().join("mirror").display().to_string();
    let line = |suite: &str| format!("deb [trusted=yes] copy:{mirror} {suite} main\n");
    fs::write(archive.host.etc.join("sources.list"), line("bookworm") + &line("bookworm-backports")).unwrap();
    assert_eq!(archive.found("default", &[]), "linux-source-6.1 6.1.192-2 of bookworm");
}

#[test]
fn a_pin_without_a_suite_comes_from_the_hosts_own() {
    let archive = debian();
    let mut pin = archive.find("6.1", &[]).0.unwrap();
    pin.suite = None;
    let dest = archive.dir.path().join("tree");
    fetch_on(&archive.host, &toml::from_str(SPEC).unwrap(), &pin, &dest, &archive.ctx, &|_| {}).unwrap();
    assert!(dest.join("file").exists());
}

#[test]
fn a_kernel_that_no_suite_has() {
    let archive = debian();
    let error = archive.find("6.13", &[]).0.unwrap_err();
    assert_eq!((error.to_string().as_str(), error.kind()), ("kernel: there is no version 6.13", Kind::Input));
    assert_eq!(
        error.details(),
        [
            "trixie has: 6.12.118-1",
            "bookworm has: 6.12.117-1~deb12u1, 6.1.192-2",
            "trixie-backports has: 7.3.4-1~bpo13+1, 7.2.12-1~bpo13+1",
            "sid has: 7.2.13-1",
        ]
    );
    assert_eq!(error.hints(), ["the nearest is 6.12.118-1", "there is no suite gone"]);
    let error = archive.find("6.1", &["sid"]).0.unwrap_err();
    assert_eq!(error.details(), ["sid has: 7.2.13-1"]);
}

#[test]
fn a_suite_that_does_not_exist() {
    let (error, _) = debian().find("7.3", &["trixy"]);
    let error = error.unwrap_err();
    assert_eq!((error.to_string().as_str(), error.kind()), ("there is no suite `trixy`", Kind::Input));
    assert_eq!(error.hints(), ["similar names: trixie"]);
}

/// A server that cannot be reached says nothing of what it has.
#[test]
fn a_network_that_fails_is_no_missing_suite() {
    let archive = debian();
    let nowhere = "deb [trusted=yes] http://127.0.0.1:9/debian bookworm main\n";
    fs::write(archive.host.etc.join("sources.list"), nowhere).unwrap();
    let error = archive.find("7.3", &["trixie"]).0.unwrap_err();
    assert_eq!(error.kind(), Kind::Build);
    assert!(error.to_string().contains("cannot download http://127.0.0.1:9/debian/dists/trixie/InRelease"), "{error}");
    assert!(error.hints().iter().any(|hint| hint.contains("the archive of trixie could not be reached")), "{error:?}");
}

#[test]
fn ubuntus_own_kernel_and_no_other() {
    let archive = Archive::new("ubuntu", "noble");
    archive.suite("noble", &[("6.8.0", "6.8.0-45.45")]);
    for wanted in ["default", "6.8", "6.8.0"] {
        assert_eq!(archive.found(wanted, &[]), "linux-source-6.8.0 6.8.0-45.45 of noble", "{wanted}");
    }
    let error = archive.find("6.1", &[]).0.unwrap_err();
    assert_eq!(error.details(), ["noble has: 6.8.0-45.45"]);
    let hints = error.hints();
    // Debian's own mirror was asked for its suites; what stands for it here has none.
    assert_eq!(hints[1..], ["there is no suite trixie, trixie-backports, bookworm, gone, sid"]);
}

/// Such kernels come from Debian's own mirror, which has to be signed by Debian's keys; this one is not.
#[test]
fn debians_kernels_on_a_machine_that_is_not_debians() {
    let archive = Archive::new("ubuntu", "noble");
    archive.suite("noble", &[("6.8.0", "6.8.0-45.45")]);
    archive.suite_at("debian", "trixie", &[("6.12", "6.12.118-1")]);
    for wanted in ["6.12", "7.3"] {
        let error = archive.find(wanted, &[]).0.unwrap_err().to_string();
        assert!(error.contains("/debian/dists/trixie/InRelease"), "{error}");
    }
    // The same on a machine that has suites of its own, but no kernel's source in them.
    let mint = Archive::new("linuxmint", "wilma");
    mint.suite_at("debian", "trixie", &[("6.12", "6.12.118-1")]);
    let error = mint.find("default", &[]).0.unwrap_err().to_string();
    assert!(error.contains("/debian/dists/trixie/InRelease"), "{error}");
    let mut arch = archive;
    arch.host.codename = None;
    fs::remove_file(arch.host.etc.join("sources.list")).unwrap();
    for wanted in ["default", "6.12"] {
        let error = arch.find(wanted, &[]).0.unwrap_err().to_string();
        assert!(error.contains("/debian/dists/trixie/InRelease"), "{error}");
    }
}
