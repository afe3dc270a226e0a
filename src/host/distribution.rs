//! Which distribution this machine is, and the command there that installs what is missing. Packages are named as Debian names them,
//! since recipes do; of the few that quiz itself needs the other names are known.

use std::collections::BTreeSet;
use std::fs;

/// What installs packages; the table of names below has its columns in this order.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Installer {
    /// Debian and Ubuntu.
    Apt,
    /// Fedora and its kin.
    Dnf,
    /// Arch.
    Pacman,
    /// openSUSE.
    Zypper,
}

/// This machine's distribution.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Distribution {
    installer: Option<Installer>,
}

/// How a set of packages is installed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Installation {
    /// What installs them, and their names there; `None` if not one of them is known.
    pub known: Option<(Installer, BTreeSet<String>)>,
    /// The packages whose names on this distribution are not known.
    pub unknown: Vec<String>,
}

/// What quiz itself needs: Debian's name, Fedora's, Arch's, openSUSE's. In qemu-system-data the firmware is meant. Source: the file lists of
/// the distributions' qemu packages.
const NAMES: &[[&str; 4]] = &[
    ["bubblewrap", "bubblewrap", "bubblewrap", "bubblewrap"],
    ["dash", "dash", "dash", "dash"],
    ["git", "git-core", "git", "git-core"],
    ["openssh-client", "openssh-clients", "openssh", "openssh-clients"],
    ["qemu-system-data", "qemu-system-x86-core", "qemu-system-x86-firmware", "qemu-microvm"],
    ["qemu-system-x86", "qemu-system-x86-core", "qemu-system-x86", "qemu-x86"],
    ["qemu-utils", "qemu-img", "qemu-img", "qemu-tools"],
];

impl Distribution {
    /// Reads os-release(5).
    pub fn here() -> Self {
        Self::of(&os_release())
    }

    fn of(os_release: &str) -> Self {
        // Derivatives name what they are like, the nearest first.
        let like = value(os_release, "ID_LIKE").unwrap_or_default();
        let id = value(os_release, "ID").unwrap_or_default();
        let known = |id: &str| match id {
            "debian" | "ubuntu" => Some(Installer::Apt),
            "fedora" | "rhel" | "centos" => Some(Installer::Dnf),
            "arch" => Some(Installer::Pacman),
            "suse" | "opensuse" => Some(Installer::Zypper),
            _ => None,
        };
        Self { installer: std::iter::once(id.as_str()).chain(like.split_whitespace()).find_map(known) }
    }

    /// How these packages are installed, by Debian's names.
    pub fn install(&self, packages: &BTreeSet<&str>) -> Installation {
        let mut names = BTreeSet::new();
        let mut unknown = Vec::new();
        for package in packages {
            let row = NAMES.iter().find(|row| row[0] == *package);
            match (self.installer, row) {
                (Some(Installer::Apt), _) => names.insert(*package),
                (Some(installer), Some(row)) => names.insert(row[installer as usize]),
                _ => {
                    unknown.push((*package).to_owned());
                    false
                }
            };
        }
        let known = self.installer.filter(|_| !names.is_empty());
        let known = known.map(|installer| (installer, names.into_iter().map(str::to_owned).collect()));
        Installation { known, unknown }
    }

    /// The line to type, for a hint; packages whose name is not known here are listed behind it.
    pub fn line(&self, packages: &BTreeSet<&str>) -> String {
        let Installation { known, unknown } = self.install(packages);
        let line = known.map(|(installer, names)| {
            let words = installer.words().iter().copied().chain(names.iter().map(String::as_str));
            words.collect::<Vec<_>>().join(" ")
        });
        let rest = (!unknown.is_empty()).then(|| format!("install what Debian calls {}", unknown.join(", ")));
        line.into_iter().chain(rest).collect::<Vec<_>>().join(", and ")
    }
}

impl Installer {
    /// The program and its arguments before the packages. Only apt is given names that are not in [`NAMES`].
    fn words(self) -> &'static [&'static str] {
        match self {
            Self::Apt => &["apt-get", "install", "--no-install-recommends", "--"],
            Self::Dnf => &["dnf", "install"],
            Self::Pacman => &["pacman", "-S", "--needed"],
            Self::Zypper => &["zypper", "install"],
        }
    }

    /// The same, where the installer asks nothing. By its option apt takes a name that is no package's for an error; without it the name is a
    /// pattern, and all packages that fit are installed.
    pub fn unasked(self) -> &'static [&'static str] {
        match self {
            Self::Apt => &[
                "apt-get",
                "install",
                "-q",
                "-y",
                "--no-install-recommends",
                "-o",
                "APT::Cmd::Pattern-Only=true",
                "--",
            ],
            Self::Dnf => &["dnf", "install", "-y"],
            Self::Pacman => &["pacman", "-S", "--needed", "--noconfirm"],
            Self::Zypper => &["zypper", "--non-interactive", "install"],
        }
    }

    /// What brings its lists of packages up to date first, where it does not do so by itself. On Arch that would need a whole upgrade.
    pub fn refresh(self) -> Option<&'static [&'static str]> {
        (self == Self::Apt).then_some(&["apt-get", "update", "-q"])
    }
}

/// The text of os-release(5), "" if there is none.
pub fn os_release() -> String {
    let text = ["/etc/os-release", "/usr/lib/os-release"].iter().find_map(|path| fs::read_to_string(path).ok());
    text.unwrap_or_default()
}

/// A value of os-release(5), such as VERSION_CODENAME.
pub fn value(os_release: &str, name: &str) -> Option<String> {
    let value = os_release.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix('='))?;
    let value = value.trim().trim_matches(['"', '\'']);
    (!value.is_empty()).then(|| value.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values() {
        let debian = "VERSION_ID=\"12\"\nVERSION_CODENAME='bookworm'\nID=debian\n";
        assert_eq!(["VERSION_CODENAME", "ID"].map(|name| value(debian, name).unwrap()), ["bookworm", "debian"]);
        assert_eq!(value("ID=arch\nVERSION_CODENAME=\n", "VERSION_CODENAME"), None);
    }

    /// The texts are those of the distributions, without what nobody reads here.
    #[test]
    fn each_distribution_has_its_line() {
        let own = BTreeSet::from(["bubblewrap", "qemu-system-x86", "qemu-system-data"]);
        for (text, line) in [
            ("ID=debian\n", "apt-get install --no-install-recommends -- bubblewrap qemu-system-data qemu-system-x86"),
            (
                "NAME=\"Ubuntu\"\nID=ubuntu\nID_LIKE=debian\n",
                "apt-get install --no-install-recommends -- bubblewrap qemu-system-data qemu-system-x86",
            ),
            (
                "ID=linuxmint\nID_LIKE=\"ubuntu debian\"\n",
                "apt-get install --no-install-recommends -- bubblewrap qemu-system-data qemu-system-x86",
            ),
            ("ID=fedora\nVERSION_ID=43\n", "dnf install bubblewrap qemu-system-x86-core"),
            ("ID=\"almalinux\"\nID_LIKE=\"rhel centos fedora\"\n", "dnf install bubblewrap qemu-system-x86-core"),
            ("ID=arch\nBUILD_ID=rolling\n", "pacman -S --needed bubblewrap qemu-system-x86 qemu-system-x86-firmware"),
            (
                "ID=\"opensuse-tumbleweed\"\nID_LIKE=\"opensuse suse\"\n",
                "zypper install bubblewrap qemu-microvm qemu-x86",
            ),
            ("ID=gentoo\n", "install what Debian calls bubblewrap, qemu-system-data, qemu-system-x86"),
            ("", "install what Debian calls bubblewrap, qemu-system-data, qemu-system-x86"),
        ] {
            assert_eq!(Distribution::of(text).line(&own), line, "{text}");
        }
        let with_others = BTreeSet::from(["bubblewrap", "flex", "libelf-dev"]);
        let line = Distribution::of("ID=fedora\n").line(&with_others);
        assert_eq!(line, "dnf install bubblewrap, and install what Debian calls flex, libelf-dev");
        assert_eq!(Distribution::of("ID=fedora\n").install(&BTreeSet::from(["flex"])).known, None);
    }
}
