//! Kernels as packages of an archive in a folder: which ones are pinned, and what of a pin a source brings.

use super::*;
use crate::error::Kind;
use crate::source::Package;
use crate::source::shelf::Shelf;

const SPEC: &str = "entry = \"kernel\"\n[binary]\npackage = \"linux-image-{release}\"\ndefault = \"linux-image-{flavour}\"\n\
    suites = [\"old\", \"new\"]\nalong = [\"linux-headers-{release}\", \"linux-image-{release}-dbg\"]\n\
    with = [\"linux-headers-\", \"linux-image-\", \"linux-kbuild-\", \"linux-modules-\"]\ntake = [\"linux-image-\", \"linux-modules-\"]\n\
    root = { keep = [\"boot/**\", \"usr/lib/modules/**\"] }\n";

fn spec() -> Spec {
    toml::from_str(SPEC).unwrap()
}

/// A suite as Debian has it: a metapackage, what is no flavour of it, headers that name their parts, and an image that has no file of
/// its own.
fn shelf() -> Shelf {
    let shelf = Shelf::new(
        "old",
        &[
            ("Package: linux-image-amd64\nVersion: 6.1.9-1\nDepends: linux-image-6.1.0-9-amd64 (= 6.1.9-1)", &[]),
            (
                "Package: linux-image-6.1.0-9-amd64\nVersion: 6.1.9-1\nDepends: kmod, linux-base (>= 4)",
                &[("./boot/vmlinuz-6.1.0-9-amd64", b"k")],
            ),
            ("Package: linux-image-6.1.0-9-rt-amd64\nVersion: 6.1.9-1", &[]),
            (
                "Package: linux-image-6.1.0-9-amd64-dbg\nVersion: 6.1.9-1",
                &[("./usr/lib/debug/boot/vmlinux-6.1.0-9-amd64", b"d")],
            ),
            (
                "Package: linux-headers-6.1.0-9-amd64\nVersion: 6.1.9-1\nDepends: linux-headers-6.1.0-9-common (= 6.1.9-1), \
              linux-kbuild-6.1 (>= 6.1.9-1), linux-image-6.1.0-9-amd64 | linux-image-6.1.0-9-amd64-unsigned, gcc-12",
                &[],
            ),
            ("Package: linux-headers-6.1.0-9-common\nVersion: 6.1.9-1", &[]),
            ("Package: linux-kbuild-6.1\nVersion: 6.1.9-1", &[]),
        ],
    );
    shelf.suite(
        "new",
        &[
            ("Package: linux-image-7.3.4+deb13-amd64\nVersion: 7.3.4-1\nDepends: linux-modules-7.3.4+deb13-amd64 (= 7.3.4-1)", &[]),
            ("Package: linux-modules-7.3.4+deb13-amd64\nVersion: 7.3.4-1", &[("./usr/lib/modules/7.3.4+deb13-amd64/x.ko", b"m")]),
            ("Package: linux-image-7.3.3+deb13-amd64\nVersion: 7.3.3-1\nDepends: linux-modules-7.3.3+deb13-amd64 (= 7.3.3-1)", &[]),
            ("Package: linux-image-7.3.4+deb13-amd64-unsigned\nVersion: 7.3.4-1", &[]),
            (
                "Package: linux-headers-7.3.4+deb13-amd64\nVersion: 7.3.4-1\n\
                 Depends: linux-image-7.3.4+deb13-amd64 | linux-image-7.3.4+deb13-amd64-unsigned",
                &[],
            ),
            ("Package: linux-image-7.2-amd64\nVersion: 7.2.9-1\nDepends: linux-image-7.2.9+deb13-amd64", &[]),
            ("Package: linux-image-7.2.9+deb13-amd64\nVersion: 7.2.9-1", &[]),
        ],
    );
    shelf
}

fn found(version: &str, flavour: &str) -> Result<PackagesPin> {
    let shelf = shelf();
    let asked = Asked { version, flavour, suites: &[], own: Some("old") };
    match resolve_on(&shelf.host(), &spec(), asked, &shelf.context(), &|_| {})? {
        Pin::Packages(pin) => Ok(pin),
        other => panic!("{other}"),
    }
}

fn names(pin: &PackagesPin) -> Vec<&str> {
    pin.packages.iter().map(|package| package.name.as_str()).collect()
}

#[test]
fn a_kernel_is_pinned_with_its_parts_and_headers_whatever_form_its_version_has() {
    let all = [
        "linux-headers-6.1.0-9-amd64",
        "linux-headers-6.1.0-9-common",
        "linux-image-6.1.0-9-amd64",
        "linux-image-6.1.0-9-amd64-dbg",
        "linux-kbuild-6.1",
    ];
    for version in ["default", "6.1", "6.1.9", "6.1.9-1", "6.1.0-9-amd64"] {
        let pin = found(version, "").unwrap();
        assert_eq!((pin.suite.as_str(), &names(&pin)[..]), ("old", &all[..]), "{version}");
    }
    assert_eq!(names(&found("6.1", "rt-amd64").unwrap()), ["linux-image-6.1.0-9-rt-amd64"]);
    let new = ["linux-headers-7.3.4+deb13-amd64", "linux-image-7.3.4+deb13-amd64", "linux-modules-7.3.4+deb13-amd64"];
    for version in ["7.3", "7.3.4+deb13-amd64"] {
        let pin = found(version, "").unwrap();
        assert_eq!((pin.suite.as_str(), &names(&pin)[..]), ("new", &new[..]), "the first suite does not have it");
    }
    let unsigned = ["linux-headers-7.3.4+deb13-amd64", "linux-image-7.3.4+deb13-amd64-unsigned"];
    assert_eq!(names(&found("7.3", "amd64-unsigned").unwrap()), unsigned);
    let by_series = ["linux-image-7.2-amd64", "linux-image-7.2.9+deb13-amd64"];
    assert_eq!(names(&found("7.2", "").unwrap()), by_series, "a metapackage brings what it stands for");
}

#[test]
fn what_no_suite_has_is_said_with_what_there_is() {
    let error = found("6.12", "").unwrap_err();
    assert_eq!(error.kind(), Kind::Input);
    assert_eq!(error.details(), ["old has: 6.1.9-1", "new has: 7.3.4-1, 7.3.3-1, 7.2.9-1"]);
    let error = found("7.3.3", "").unwrap_err().to_string();
    assert!(
        error.contains("depends on linux-modules-7.3.3+deb13-amd64 (= 7.3.3-1), which the suite does not have"),
        "{error}"
    );
}

#[test]
fn a_source_brings_its_part_of_the_pin_and_only_that_is_an_ingredient() {
    let (shelf, spec) = (shelf(), spec());
    let pin = found("6.1", "").unwrap();
    let dest = shelf.path("tree");
    fetch_on(&shelf.host(), &spec, &pin, &dest, &shelf.context(), &|_| {}).unwrap();
    assert_eq!(fs::read(dest.join("boot/vmlinuz-6.1.0-9-amd64")).unwrap(), b"k");
    let facts = |pin: &PackagesPin| spec.part(&Pin::Packages(pin.clone())).facts();
    let with_other_headers = |name: &str| {
        let other = |p: &Package| if p.name == name { Package { version: "9".into(), ..p.clone() } } else { p.clone() };
        PackagesPin { packages: pin.packages.iter().map(other).collect(), ..pin.clone() }
    };
    assert_eq!(facts(&with_other_headers("linux-kbuild-6.1")), facts(&pin));
    assert_ne!(facts(&with_other_headers("linux-image-6.1.0-9-amd64")), facts(&pin));

    let headers: Spec =
        toml::from_str(&SPEC.replace("\"linux-image-\", \"linux-modules-\"]\nroot", "\"linux-headers-\"]\nroot"))
            .unwrap();
    let of_rt = found("6.1", "rt-amd64").unwrap();
    let error = fetch_on(&shelf.host(), &headers, &of_rt, &shelf.path("none"), &shelf.context(), &|_| {}).unwrap_err();
    assert_eq!(error.to_string(), "kernel: old has no linux-headers-…");
}

#[test]
fn debug_information_is_pinned_with_a_kernel_and_comes_only_to_the_source_that_asks_for_it() {
    let shelf = shelf();
    let debug = SPEC
        .replace("\"linux-modules-\"]\nroot", "\"linux-modules-\"]\ndebug = true\nroot")
        .replace("boot/**", "usr/lib/debug/**");
    let debug: Spec = toml::from_str(&debug).unwrap();
    let pin = found("6.1", "").unwrap();
    let fetch = |spec: &Spec, pin: &PackagesPin, dest: &str| {
        fetch_on(&shelf.host(), spec, pin, &shelf.path(dest), &shelf.context(), &|_| {})
    };
    fetch(&debug, &pin, "debug").unwrap();
    fetch(&spec(), &pin, "plain").unwrap();
    let vmlinux = "usr/lib/debug/boot/vmlinux-6.1.0-9-amd64";
    assert_eq!(fs::read(shelf.path("debug").join(vmlinux)).unwrap(), b"d");
    assert!(!shelf.path("debug/boot").exists() && !shelf.path("plain").join(vmlinux).exists());

    let error = fetch(&debug, &found("6.1", "rt-amd64").unwrap(), "none").unwrap_err();
    assert!(error.to_string().contains("no package of debug information was pinned"), "{error}");
    assert!(error.hints()[0].contains("quiz update kernel"), "{error:?}");
}
