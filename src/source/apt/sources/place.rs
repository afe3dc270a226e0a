//! A package source as data: where a suite lies, and by whose keys it is signed.

use super::{Source, field};
use percent_encoding::percent_decode_str;
use std::path::PathBuf;

/// One suite at one address.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::source) struct Place {
    /// The folder above `dists`, without a slash at its end.
    pub address: String,
    pub suite: String,
    pub components: Vec<String>,
    pub keys: Keys,
    /// The host takes it unsigned (`trusted=yes`).
    pub trusted: bool,
    /// Whether its lists count only until the day that they name (`check-valid-until`), if the source says yes or no.
    pub checks_valid_until: Option<bool>,
    /// Name and password, which the address had.
    pub login: Option<(String, String)>,
}

/// Takes the name and password out of an address, as they are to be shown to nobody.
pub(in crate::source) fn split_login(address: &str) -> (String, Option<(String, String)>) {
    let Some((protocol, rest)) = address.split_once("://") else { return (address.to_owned(), None) };
    let (server, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
    let Some((login, server)) = server.rsplit_once('@') else { return (address.to_owned(), None) };
    let (user, password) = login.split_once(':').unwrap_or((login, ""));
    let plain = |text: &str| percent_decode_str(text).decode_utf8_lossy().into_owned();
    (format!("{protocol}://{server}{path}"), Some((plain(user), plain(password))))
}

/// Whose signature counts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::source) enum Keys {
    /// Any that the host trusts for all its sources, Debian's among them.
    Host,
    /// Debian's.
    Debian,
    /// Those in these files.
    Files(Vec<PathBuf>),
    /// This one, in ASCII armour.
    Text(String),
    /// Those of the host with these fingerprints.
    Named(Vec<String>),
}

impl Source {
    /// The places it names. None if it is not for `arch`, or a folder without suites.
    pub(super) fn places(&self, arch: &str) -> Vec<Place> {
        let value = |name: &str| self.value(name);
        let archs = value(if self.stanza { "architectures" } else { "arch" });
        if self.suite.ends_with('/') || !archs.is_empty() && !words(&archs).any(|word| word == arch) {
            return Vec::new();
        }
        let (addresses, components) = if self.stanza {
            (value("uris"), value("components"))
        } else {
            let before = self.around.0.trim_end();
            (before.rsplit([' ', ']']).next().unwrap_or_default().to_owned(), self.around.1.clone())
        };
        let says = |name: &str| {
            let value = value(name).to_lowercase();
            let is = |words: [&str; 6]| words.contains(&value.as_str());
            let yes = is(["yes", "true", "with", "on", "enable", "1"]);
            (yes || is(["no", "false", "without", "off", "disable", "0"])).then_some(yes)
        };
        let place = |address: &str| {
            let (address, login) = split_login(address.trim_end_matches('/'));
            Place {
                address,
                suite: self.suite.clone(),
                components: components.split_whitespace().map(str::to_owned).collect(),
                keys: keys(&value("signed-by")),
                trusted: says("trusted") == Some(true),
                checks_valid_until: says("check-valid-until"),
                login,
            }
        };
        addresses.split_whitespace().map(place).collect()
    }

    /// The value of a field, or of an option in brackets; "" if it is not there.
    fn value(&self, name: &str) -> String {
        if self.stanza {
            return field(&self.around.1, name).map_or(String::new(), |at| self.around.1[at].trim().to_owned());
        }
        let options = self.around.0.split_once('[').and_then(|(_, rest)| rest.split_once(']')).map_or("", |(o, _)| o);
        let option = |word: &str| {
            let (known, value) = word.split_once('=')?;
            known.eq_ignore_ascii_case(name).then(|| value.to_owned())
        };
        options.split_whitespace().find_map(option).unwrap_or_default()
    }
}

fn words(list: &str) -> impl Iterator<Item = &str> {
    list.split(|c: char| c == ',' || c.is_whitespace()).filter(|word| !word.is_empty())
}

fn keys(signed_by: &str) -> Keys {
    if signed_by.contains("-----BEGIN") {
        // deb822 writes an empty line as a dot, and begins each line with a blank.
        let line = |line: &str| if line.trim() == "." { String::new() } else { line.trim().to_owned() };
        return Keys::Text(signed_by.lines().map(line).collect::<Vec<_>>().join("\n") + "\n");
    }
    let all: Vec<&str> = words(signed_by).collect();
    match all.first() {
        None => Keys::Host,
        Some(first) if first.starts_with('/') => Keys::Files(all.iter().map(PathBuf::from).collect()),
        Some(_) => Keys::Named(all.iter().map(|name| name.trim_end_matches('!').to_uppercase()).collect()),
    }
}

#[cfg(test)]
mod tests {
    use super::super::{lines, stanzas};
    use super::*;

    fn of(sources: &[Source]) -> Vec<Place> {
        sources.iter().flat_map(|source| source.places("amd64")).collect()
    }

    #[test]
    fn both_forms_say_where_and_by_whose_keys() {
        let text = "deb [arch=arm64,amd64 signed-by=/a.gpg,/b.asc] https://e.org/debian/ bookworm main contrib\n\
                    deb [arch=arm64] http://e.org/ports bookworm main\ndeb http://e.org/flat ./\n\
                    deb [trusted=yes]file:/srv/x bookworm main\n";
        let stanza = "Types: deb\nURIs: http://e.org/debian http://f.org/debian\nSuites: bookworm bookworm-updates\n\
                      Components: main\nSigned-By:\n -----BEGIN PGP PUBLIC KEY BLOCK-----\n .\n abc=\n";
        let place = |address: &str, suite: &str, components: &[&str], keys: Keys| Place {
            address: address.into(),
            suite: suite.into(),
            components: components.iter().map(|c| (*c).to_owned()).collect(),
            keys,
            trusted: address.starts_with("file"),
            checks_valid_until: None,
            login: None,
        };
        let files = Keys::Files(vec!["/a.gpg".into(), "/b.asc".into()]);
        assert_eq!(
            of(&lines(text)),
            [
                place("https://e.org/debian", "bookworm", &["main", "contrib"], files),
                place("file:/srv/x", "bookworm", &["main"], Keys::Host),
            ]
        );
        let key = || Keys::Text("-----BEGIN PGP PUBLIC KEY BLOCK-----\n\nabc=\n".to_owned());
        let at =
            |n: usize, suite: &str| place(["http://e.org/debian", "http://f.org/debian"][n], suite, &["main"], key());
        let wanted = [at(0, "bookworm"), at(1, "bookworm"), at(0, "bookworm-updates"), at(1, "bookworm-updates")];
        assert_eq!(of(&stanzas(stanza)), wanted);
        let text = "deb [check-valid-until=no] https://me:s%40y@e.org:8080/debian bookworm main\n";
        let place = &of(&lines(text))[0];
        assert_eq!(place.address, "https://e.org:8080/debian");
        assert_eq!(place.login, Some(("me".to_owned(), "s@y".to_owned())));
        assert_eq!(place.checks_valid_until, Some(false));
        assert_eq!(keys("abcd1234! 99FF"), Keys::Named(vec!["ABCD1234".into(), "99FF".into()]));
    }
}
