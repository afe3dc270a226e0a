//! What may be the name, version and architecture of a package: they come from a quiz.lock or a list that others wrote, and become paths
//! and words of command lines.

use super::version;
use super::{Package, Pin};

/// Whether it can be the name of a Debian package (Policy §5.6.1). Such a name apt takes for no option, pattern, file or removal.
pub fn is_package(name: &str) -> bool {
    name.starts_with(|c: char| c.is_ascii_lowercase() || c.is_ascii_digit())
        && name.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b"+-.".contains(&b))
        && !name.ends_with('-')
}

/// Whether it can be the name of a suite. Such a name is no path and has no blank, comma or `@`.
pub fn is_suite(name: &str) -> bool {
    super::apt::suites::is_name(name)
}

/// Whether name, version and architecture of a package are valid.
pub(super) fn is_plain(package: &Package) -> bool {
    let is_arch = |text: &str| !text.is_empty() && text.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-');
    is_package(&package.name) && version::is_version(&package.version) && is_arch(&package.arch)
}

/// The first package or file of a pin whose name, version or architecture is not valid.
pub(super) fn odd(pin: &Pin) -> Option<String> {
    let of_package = |p: &Package| (!is_plain(p)).then(|| format!("{} {} {}", p.name, p.version, p.arch));
    match pin {
        Pin::Package(pin) => of_package(&pin.package()),
        Pin::Packages(pin) => pin.packages.iter().find_map(of_package),
        Pin::Dsc(pin) if !is_package(&pin.name) || !version::is_version(&pin.version) => {
            Some(format!("{} {}", pin.name, pin.version))
        }
        Pin::Dsc(pin) => {
            let is_file = |name: &str| !name.is_empty() && !name.starts_with(['.', '-']) && !name.contains('/');
            pin.files.iter().find(|file| !is_file(&file.name)).map(|file| file.name.clone())
        }
        Pin::Url(_) | Pin::Git(_) => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn package(name: &str, version: &str, arch: &str) -> Package {
        Package { name: name.into(), version: version.into(), arch: arch.into(), sha256: "0".repeat(64), size: 1 }
    }

    #[test]
    fn no_word_of_a_package_leads_anywhere() {
        for (name, version, arch) in
            [("libstdc++-12-dev", "12.2.0-14+deb12u1", "amd64"), ("x", "1:2.38.1-5~bpo12+1", "all")]
        {
            assert!(is_plain(&package(name, version, arch)));
        }
        for (name, version, arch) in [
            ("../../x", "1", "all"),
            ("/home/u/x", "1", "all"),
            ("x", "../1", "all"),
            ("x", "1/../2", "all"),
            ("x", "1", "../all"),
            ("x", "1", ""),
            ("-x", "1", "all"),
        ] {
            assert!(!is_plain(&package(name, version, arch)), "{name} {version} {arch}");
        }
    }
}
