//! Where a suite lies: at the mirror that is set, else where the host's package sources say, else at Debian's own mirror.

use crate::error::Result;
use crate::source::apt::sources::{self, Keys, Place, split_login};
use crate::source::apt::{Host, suites};
use std::fs;

/// The places of a suite.
#[derive(Debug)]
pub(super) struct Places {
    pub all: Vec<Place>,
    /// They are derived, so it is not sure that each of them has the suite.
    pub derived: bool,
}

impl Places {
    /// Adds a component to those that have `main`; "" is none.
    pub(super) fn add(&mut self, component: &str) {
        let lacks = |place: &&mut Place| {
            let has = |name: &str| place.components.iter().any(|known| known == name);
            !component.is_empty() && has("main") && !has(component)
        };
        self.all.iter_mut().filter(lacks).for_each(|place| place.components.push(component.to_owned()));
    }
}

/// Finds them. `mirror` is the setting `packages.mirror`: the folder above `dists`, beside which the security archive lies as
/// `…-security`; "" leaves it to the host.
///
/// # Errors
/// The suite is not one of Debian's, and the host's sources do not have it.
pub(super) fn find(mirror: &str, suite: &str, arch: &str, host: &Host) -> Result<Places> {
    let is_debians = suites::is_debians(suites::split(suite).0);
    if !mirror.is_empty() && (is_debians || host.id == "debian") {
        return Ok(of_mirror(mirror, suite));
    }
    let (mut all, derived) = sources::places(&sources::read(&host.etc)?, suite, arch, host);
    all.iter_mut().for_each(|place| place.address = one_of_mirrors(&place.address));
    // apt knows more protocols (cdrom, tor+http); quiz does not.
    all.retain(|place| ["http://", "https://", "file:", "copy:"].iter().any(|start| place.address.starts_with(start)));
    if !all.is_empty() {
        return Ok(Places { all, derived });
    }
    if is_debians {
        return Ok(of_mirror(&host.mirror, suite));
    }
    Err(sources::no_place(suite).hint("or set a mirror: packages.mirror = \"http://…/debian\""))
}

/// The first address in a list of mirrors on this machine (apt-transport-mirror(1)), as Ubuntu's images in clouds have one.
fn one_of_mirrors(address: &str) -> String {
    let list = address.strip_prefix("mirror+file:").and_then(|path| fs::read_to_string(path).ok()).unwrap_or_default();
    let mut lines = list.lines().filter_map(|line| line.split_whitespace().next());
    let first = lines.find(|line| line.starts_with("http://") || line.starts_with("https://"));
    first.map_or_else(|| address.to_owned(), |line| line.trim_end_matches('/').to_owned())
}

fn of_mirror(mirror: &str, suite: &str) -> Places {
    let (mirror, login) = split_login(mirror.trim_end_matches('/'));
    let (release, end) = suites::split(suite);
    let asked = [end];
    let parts = if end.is_empty() { suites::parts(release) } else { &asked };
    let place = |part: &&str| Place {
        address: if *part == suites::SECURITY { format!("{mirror}{part}") } else { mirror.clone() },
        suite: format!("{release}{part}"),
        components: vec!["main".to_owned()],
        keys: Keys::Debian,
        trusted: false,
        checks_valid_until: None,
        login: login.clone(),
    };
    Places { all: parts.iter().map(place).collect(), derived: true }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(mirror: &str, suite: &str, sources: &str) -> Result<Vec<String>> {
        let etc = tempfile::tempdir().unwrap();
        fs::write(etc.path().join("sources.list"), sources).unwrap();
        let host = Host::of("ID=debian\nVERSION_CODENAME=bookworm\n", etc.path());
        let places = find(mirror, suite, "amd64", &host)?;
        Ok(places.all.iter().map(|place| format!("{} {}", place.address, place.suite)).collect())
    }

    #[test]
    fn the_setting_then_the_host_then_debians_own_mirror() {
        let host = "deb http://h.org/debian bookworm main\ndeb http://h.org/debian-security bookworm-security main\n\
                    deb tor+http://x.onion/debian bookworm main\n";
        assert_eq!(
            found("https://m.org/debian/", "trixie", host).unwrap(),
            [
                "https://m.org/debian trixie",
                "https://m.org/debian-security trixie-security",
                "https://m.org/debian trixie-updates"
            ]
        );
        let own = ["http://h.org/debian bookworm", "http://h.org/debian-security bookworm-security"];
        assert_eq!(found("", "bookworm", host).unwrap(), own);
        let own = ["http://h.org/debian trixie", "http://h.org/debian-security trixie-security"];
        assert_eq!(found("", "trixie", host).unwrap()[..2], own);
        assert_eq!(found("", "sid", "").unwrap(), ["http://deb.debian.org/debian sid"]);
        let backports = ["http://deb.debian.org/debian trixie-backports"];
        assert_eq!(found("", "trixie-backports", "").unwrap(), backports);
        let security = ["http://deb.debian.org/debian-security trixie-security"];
        assert_eq!(found("", "trixie-security", "").unwrap(), security);
        // Debian's mirror has no suites of others.
        let of_ubuntu = "deb mirror+file:LIST noble main\n";
        let list = tempfile::NamedTempFile::new().unwrap();
        fs::write(list.path(), "# mirrors\nhttp://azure.e.org/ubuntu/\tpriority:1\nhttp://archive.e.org/ubuntu/\n")
            .unwrap();
        let of_ubuntu = of_ubuntu.replace("LIST", &list.path().display().to_string());
        let etc = tempfile::tempdir().unwrap();
        fs::write(etc.path().join("sources.list"), of_ubuntu).unwrap();
        let ubuntu = Host::of("ID=ubuntu\nVERSION_CODENAME=noble\n", etc.path());
        let places = find("http://m.org/debian", "noble", "amd64", &ubuntu).unwrap();
        assert_eq!(
            places.all.iter().map(|place| place.address.as_str()).collect::<Vec<_>>(),
            ["http://azure.e.org/ubuntu"]
        );
        let places = find("http://m.org/debian", "sid", "amd64", &ubuntu).unwrap();
        assert_eq!(places.all[0].address, "http://m.org/debian");
        let error = found("", "noble", "").unwrap_err();
        assert!(error.hints().iter().any(|hint| hint.contains("packages.mirror")), "{:?}", error.hints());
    }
}
