//! Which sources are chosen, in both forms.

use super::*;

const LINES: &str = "\
# a comment
deb http://mirror.example.org/debian bookworm main contrib # why not
deb-src http://mirror.example.org/debian bookworm main
deb [arch=amd64 signed-by=/k.gpg] https://other.example.org/x stable main
deb https://flat.example.org/ ./
";
const STANZAS: &str = "\
Types: deb deb-src
# another comment
URIs: http://mirror.example.org/debian-security
Suites: bookworm-security
 bookworm-updates
Components: main
Signed-By:
 -----BEGIN-----
 .
 abc

Types: deb
Enabled: no
URIs: http://off.example.org/
Suites: bookworm
";

fn debian(codename: &str) -> Host {
    Host::of(&format!("ID=debian\nVERSION_CODENAME={codename}\n"), Path::new("/etc/apt"))
}

/// What is chosen, as texts of the two forms.
struct Texts {
    lines: String,
    stanzas: String,
}

fn texts(sources: &[Source], suite: &str, host: &Host) -> Texts {
    let mut texts = Texts { lines: String::new(), stanzas: String::new() };
    for Source { suite, around: (before, after), stanza } in chosen(sources, suite, host).0 {
        let text = if stanza { &mut texts.stanzas } else { &mut texts.lines };
        *text += &format!("{before}{suite}{after}\n");
    }
    texts
}

fn all() -> Vec<Source> {
    lines(LINES).into_iter().chain(stanzas(STANZAS)).collect()
}

#[test]
fn only_the_suite_and_what_belongs_to_it() {
    let chosen = texts(&all(), "bookworm", &debian("bookworm"));
    assert_eq!(chosen.lines, "deb http://mirror.example.org/debian bookworm main contrib\n");
    let rest =
        "URIs: http://mirror.example.org/debian-security\nComponents: main\nSigned-By:\n -----BEGIN-----\n .\n abc\n";
    let stanza = |suite: &str| format!("Types: deb\nSuites: {suite}\n{rest}\n");
    assert_eq!(chosen.stanzas, stanza("bookworm-security") + &stanza("bookworm-updates"));
}

#[test]
fn another_suite_comes_from_the_same_mirrors() {
    let chosen = texts(&all(), "trixie", &debian("bookworm"));
    assert_eq!(chosen.lines, "deb http://mirror.example.org/debian trixie main contrib\n");
    assert!(
        chosen.stanzas.contains("Suites: trixie-security\n") && chosen.stanzas.contains("Suites: trixie-updates\n")
    );
}

const KEYRING: &str = "/usr/share/keyrings/debian-archive-keyring.gpg";

/// What a fresh Debian 12 has.
const BOOKWORM: &str = "\
Types: deb
URIs: http://mirror.example.org/debian
Suites: bookworm bookworm-updates
Components: main
Signed-By: /usr/share/keyrings/debian-archive-keyring.gpg

Types: deb
URIs: http://mirror.example.org/debian-security
Suites: bookworm-security
Components: main
Signed-By: /usr/share/keyrings/debian-archive-keyring.gpg
";

/// What a fresh Ubuntu 24.04 has.
const NOBLE: &str = "\
# See http://help.ubuntu.com/community/UpgradeNotes for how to upgrade to
# newer versions of the distribution.

## Ubuntu distribution repository
Types: deb
URIs: http://archive.example.org/ubuntu/
Suites: noble noble-updates noble-backports
Components: main universe restricted multiverse
Signed-By: /usr/share/keyrings/ubuntu-archive-keyring.gpg

## Ubuntu security updates. Aside from URIs and Suites,
## this should mirror your choices in the previous section.
Types: deb
URIs: http://security.example.org/ubuntu/
Suites: noble-security
Components: main universe restricted multiverse
Signed-By: /usr/share/keyrings/ubuntu-archive-keyring.gpg
";

fn ubuntu() -> Host {
    let text = "PRETTY_NAME=\"Ubuntu 24.04.3 LTS\"\nNAME=\"Ubuntu\"\nVERSION_ID=\"24.04\"\nVERSION_CODENAME=noble\nID=ubuntu\n\
                ID_LIKE=debian\nUBUNTU_CODENAME=noble\n";
    Host::of(text, Path::new("/etc/apt"))
}

/// Each place that is chosen, with its suite and its key.
fn places(sources: &[Source], suite: &str, host: &Host) -> Vec<String> {
    let chosen = texts(sources, suite, host);
    let of_stanza = |stanza: &str| {
        let value = |name: &str| {
            let line = stanza.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(": "));
            line.unwrap_or("?").to_owned()
        };
        let place = value("URIs").trim_end_matches('/').rsplit('/').next().unwrap().to_owned();
        format!("{} {place} {}", value("Suites"), value("Signed-By"))
    };
    let stanzas = chosen.stanzas.split("\n\n").filter(|stanza| !stanza.trim().is_empty()).map(of_stanza);
    stanzas.chain(chosen.lines.lines().map(str::to_owned)).collect()
}

#[test]
fn any_suite_of_debian_from_the_mirrors_of_another() {
    let places = |suite| places(&stanzas(BOOKWORM), suite, &debian("bookworm"));
    let at = |all: &[&str]| all.iter().map(|place| format!("{place} {KEYRING}")).collect::<Vec<_>>();
    for release in ["trixie", "bullseye", "forky"] {
        let [security, updates] = ["security", "updates"].map(|end| format!("{release}-{end} debian"));
        assert_eq!(places(release), at(&[&format!("{release} debian"), &format!("{security}-security"), &updates]));
    }
    assert_eq!(places("sid"), at(&["sid debian"]));
    assert_eq!(places("trixie-backports"), at(&["trixie-backports debian"]));
    assert_eq!(places("bookworm-backports"), at(&["bookworm-backports debian"]));
    assert_eq!(places("trixie-security"), at(&["trixie-security debian-security"]));
    assert_eq!(places("trixie-proposed-updates"), at(&["trixie-proposed-updates debian"]));
    // The host has no place for security: none is made up.
    let main = stanzas(BOOKWORM.split("\n\n").next().unwrap());
    assert!(chosen(&main, "trixie-security", &debian("bookworm")).0.is_empty());
}

#[test]
fn a_suite_that_is_named_in_part_or_beside_longer_names() {
    let text = "deb http://e.org/debian bookworm main\ndeb http://e.org/debian trixie-backports main\n\
                deb http://e.org/debian trixie-backports-sloppy main\n";
    let places = |suite| places(&lines(text), suite, &debian("bookworm"));
    assert_eq!(places("trixie"), ["deb http://e.org/debian trixie main"]);
    assert_eq!(places("trixie-backports"), ["deb http://e.org/debian trixie-backports main"]);
    assert!(!chosen(&lines(text), "trixie-backports", &debian("bookworm")).1);
    assert!(chosen(&lines(text), "trixie", &debian("bookworm")).1);
}

#[test]
fn a_host_whose_sources_say_stable() {
    let sources = stanzas(&BOOKWORM.replace("bookworm", "stable"));
    let suites = |suite, host: &str| -> Vec<String> {
        let places = places(&sources, suite, &debian(host));
        places.iter().map(|place| place.rsplit_once(' ').unwrap().0.to_owned()).collect()
    };
    let own = ["stable debian", "stable-updates debian", "stable-security debian-security"];
    assert_eq!(suites("trixie", "trixie"), own);
    let other = ["bullseye debian", "bullseye-security debian-security", "bullseye-updates debian"];
    assert_eq!(suites("bullseye", "trixie"), other);
    assert_eq!(suites("trixie-backports", "trixie"), ["trixie-backports debian"]);
}

#[test]
fn another_release_is_signed_by_other_keys() {
    let one = "/usr/share/keyrings/debian-archive-bookworm-stable.gpg";
    let host = Host { keyring: Some(KEYRING.into()), ..debian("bookworm") };
    let stanza = stanzas(&BOOKWORM.replace(KEYRING, one));
    assert!(places(&stanza, "trixie", &host).iter().all(|place| place.ends_with(KEYRING)));
    assert!(places(&stanza, "bookworm", &host).iter().all(|place| place.ends_with(one)), "its own stays");
    assert!(
        places(&stanza, "trixie", &debian("bookworm")).iter().all(|place| place.ends_with(one)),
        "no other is here"
    );
    let line = |key: &str| lines(&format!("deb [arch=amd64 signed-by={key}] http://e.org/debian bookworm main\n"));
    let derived = |key| places(&line(key), "trixie", &host);
    assert_eq!(derived(one), [format!("deb [arch=amd64 signed-by={KEYRING}] http://e.org/debian trixie main")]);
    // A mirror that signs with its own key, and one for which all keys of the host count.
    assert_eq!(derived("/k/mirror.gpg"), ["deb [arch=amd64 signed-by=/k/mirror.gpg] http://e.org/debian trixie main"]);
    let plain = lines("deb http://e.org/debian bookworm main\n");
    assert_eq!(places(&plain, "sid", &host), ["deb http://e.org/debian sid main"]);
    let third = [stanza, lines("deb [signed-by=/k/docker.asc] http://docker.example.org/debian bookworm stable\n")];
    assert!(places(&third.concat(), "sid", &host).iter().all(|place| !place.contains("docker")), "a third party's");
}

#[test]
fn debians_suites_are_not_looked_for_on_ubuntus_mirrors() {
    let noble = stanzas(NOBLE);
    for suite in ["trixie-backports", "bullseye", "sid", "stable"] {
        assert!(chosen(&noble, suite, &ubuntu()).0.is_empty());
    }
    let own = places(&noble, "noble", &ubuntu());
    let suites: Vec<&str> = own.iter().map(|place| place.split(' ').next().unwrap()).collect();
    assert_eq!(suites, ["noble", "noble-updates", "noble-backports", "noble-security"]);
    assert!(own.iter().all(|place| place.ends_with("/usr/share/keyrings/ubuntu-archive-keyring.gpg")));
    // For another release of Ubuntu the keys of Debian are not used.
    let jammy = places(&noble, "jammy", &Host { keyring: Some(KEYRING.into()), ..ubuntu() });
    assert!(
        jammy.len() == 3 && jammy.iter().all(|place| place.starts_with("jammy") && place.contains("ubuntu-archive"))
    );
    // With one place for Debian all its suites are there.
    let with = [noble, stanzas(BOOKWORM)].concat();
    assert_eq!(places(&with, "trixie-backports", &ubuntu()), [format!("trixie-backports debian {KEYRING}")]);
    assert_eq!(places(&with, "bookworm", &ubuntu()).len(), 3);
}

#[test]
fn a_suite_by_another_name() {
    let chosen = texts(&lines(LINES), "trixie", &debian("trixie"));
    assert!(chosen.lines.contains("[arch=amd64 signed-by=/k.gpg] https://other.example.org/x stable main"));
    assert!(!chosen.lines.contains("flat"));
    let stable = texts(&all(), "stable", &debian("bookworm"));
    assert_eq!(stable.lines, "deb [arch=amd64 signed-by=/k.gpg] https://other.example.org/x stable main\n");
}

#[test]
fn no_source_at_all_is_an_error_with_a_hint() {
    assert!(chosen(&stanzas("Types: deb-src\nSuites: sid\n"), "sid", &debian("bookworm")).0.is_empty());
    let error = no_place("sid");
    assert!(error.to_string().contains("`sid`") && error.hints()[0].contains("/etc/apt/sources.list.d/"));
}
