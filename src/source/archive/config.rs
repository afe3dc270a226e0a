//! What the host's apt is told of servers: a proxy and whether old lists will do (apt.conf(5)), and passwords (apt_auth.conf(5)).
//! Reads these few settings and no other.

use crate::source::download::Access;
use std::fs;
use std::path::{Path, PathBuf};

/// The settings that are read.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Config {
    /// Names in small letters with their values, in order: the last one counts.
    settings: Vec<(String, String)>,
    logins: Vec<Login>,
}

#[derive(Debug, Clone, Default, PartialEq, Eq)]
struct Login {
    /// With its protocol, if it is for that one alone.
    machine: String,
    user: String,
    password: String,
}

impl Config {
    /// Reads apt's folder. A file that cannot be read, such as one with root's passwords, counts as empty.
    pub(super) fn read(etc: &Path) -> Self {
        let text = |path: PathBuf| fs::read_to_string(path).unwrap_or_default();
        let parts = |folder: &str| {
            let entries = fs::read_dir(etc.join(folder)).into_iter().flatten().flatten();
            // As apt does: only names without an ending, or with `.conf`.
            let good = |path: &PathBuf| path.extension().is_none_or(|end| end == "conf");
            let mut paths: Vec<PathBuf> = entries.map(|entry| entry.path()).filter(good).collect();
            paths.sort();
            paths
        };
        let mut config = Self::default();
        for path in parts("apt.conf.d").into_iter().chain([etc.join("apt.conf")]) {
            config.settings.extend(settings(&text(path)));
        }
        for path in [etc.join("auth.conf")].into_iter().chain(parts("auth.conf.d")) {
            config.logins.extend(logins(&text(path)));
        }
        config
    }

    fn value(&self, name: &str) -> Option<&str> {
        self.settings.iter().rev().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
    }

    /// Whether a list counts only until the day that it says.
    pub(super) fn checks_valid_until(&self) -> bool {
        let value = self.value("acquire::check-valid-until").unwrap_or_default().to_ascii_lowercase();
        !["false", "no", "without", "off", "disable", "0"].contains(&value.as_str())
    }

    /// How a server is reached. Without a word here on proxies the environment's count (`http_proxy`).
    pub(super) fn access(&self, address: &str) -> Access {
        let (protocol, rest) = address.split_once("://").unwrap_or(("", address));
        let host = rest.split(['/', ':']).next().unwrap_or_default();
        // What is not said of https is as for http (apt-transport-https(1)).
        let protocols: &[&str] = if protocol == "https" { &["https", "http"] } else { &[protocol] };
        let mut names = protocols.iter().flat_map(|protocol| {
            [format!("acquire::{protocol}::proxy::{host}"), format!("acquire::{protocol}::proxy")]
        });
        let proxy = names.find_map(|name| self.value(&name)).filter(|value| !value.is_empty());
        let meant = |login: &&Login| {
            // Passwords go over plain http only where that is said.
            let (only, machine) = login.machine.split_once("://").unwrap_or(("https", &login.machine));
            only == protocol && (rest == machine || rest.starts_with(&format!("{}/", machine.trim_end_matches('/'))))
        };
        let login = self.logins.iter().find(meant).map(|login| (login.user.clone(), login.password.clone()));
        Access { proxy: proxy.map(str::to_owned), login, accept: None }
    }
}

/// The settings in a text, with whole names: `A { B "c"; };` and `A::B "c";` are the same.
fn settings(text: &str) -> Vec<(String, String)> {
    let mut found = Vec::new();
    let (mut scopes, mut words): (Vec<String>, Vec<String>) = (Vec::new(), Vec::new());
    for token in tokens(text) {
        match token {
            Token::Word(word) => words.push(word),
            Token::Open => scopes.push(words.drain(..).next().unwrap_or_default()),
            Token::Close => {
                scopes.pop();
                words.clear();
            }
            Token::End => {
                let mut words = words.drain(..);
                if let (Some(name), Some(value)) = (words.next(), words.next()) {
                    let whole = scopes.iter().map(String::as_str).chain([name.as_str()]).collect::<Vec<_>>().join("::");
                    found.push((whole.to_ascii_lowercase(), value));
                }
            }
        }
    }
    found
}

enum Token {
    Word(String),
    Open,
    Close,
    End,
}

fn tokens(text: &str) -> Vec<Token> {
    let mut tokens = Vec::new();
    let mut rest = text;
    while let Some(first) = rest.trim_start().chars().next() {
        rest = rest.trim_start();
        let (token, length) = match first {
            '{' => (Some(Token::Open), 1),
            '}' => (Some(Token::Close), 1),
            ';' => (Some(Token::End), 1),
            '"' => {
                let end = rest[1..].find('"').unwrap_or(rest.len() - 1);
                (Some(Token::Word(rest[1..=end].to_owned())), (end + 2).min(rest.len()))
            }
            // Comments, and `#clear`, which is for lists.
            '#' => (None, rest.find('\n').unwrap_or(rest.len())),
            _ if rest.starts_with("//") => (None, rest.find('\n').unwrap_or(rest.len())),
            _ if rest.starts_with("/*") => (None, rest.find("*/").map_or(rest.len(), |end| end + 2)),
            _ => {
                let end = rest.find(|c: char| c.is_whitespace() || "{};\"".contains(c)).unwrap_or(rest.len());
                (Some(Token::Word(rest[..end].to_owned())), end)
            }
        };
        tokens.extend(token);
        rest = &rest[length..];
    }
    tokens
}

/// netrc: `machine M login L password P`, in any number of lines.
fn logins(text: &str) -> Vec<Login> {
    let mut found: Vec<Login> = Vec::new();
    let lines = text.lines().filter(|line| !line.trim_start().starts_with('#'));
    let mut words = lines.flat_map(str::split_whitespace);
    while let Some(word) = words.next() {
        match (word, found.last_mut()) {
            ("machine", _) => {
                found.push(Login { machine: words.next().unwrap_or_default().to_owned(), ..Login::default() });
            }
            ("login", Some(last)) => last.user = words.next().unwrap_or_default().to_owned(),
            ("password", Some(last)) => last.password = words.next().unwrap_or_default().to_owned(),
            _ => {}
        }
    }
    found
}

/// apt.conf and auth.conf, for the fuzz targets.
#[cfg(any(test, feature = "fuzz"))]
pub(in crate::source) fn fuzz(text: &str) {
    let config = Config { settings: settings(text), logins: logins(text) };
    config.checks_valid_until();
    config.access("https://deb.example.org/debian");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn proxies_and_dates_in_both_forms() {
        let config = |text: &str| Config { settings: settings(text), logins: Vec::new() };
        let text = "// a comment\n#clear X;\nAcquire::http::Proxy \"http://one:8080\"; /* Acquire::Check-Valid-Until \"false\"; */\n\
                    Acquire { http { Proxy \"http://two:8080\"; Proxy::local.example.org \"DIRECT\"; }; Retries 3; };\n\
                    DPkg::Post-Invoke { \"a; b\"; };\n";
        let proxy = |address| config(text).access(address).proxy;
        assert_eq!(proxy("http://e.org/debian").as_deref(), Some("http://two:8080"));
        assert_eq!(proxy("http://local.example.org:80/debian").as_deref(), Some("DIRECT"));
        assert_eq!(proxy("https://e.org/debian").as_deref(), Some("http://two:8080"));
        assert_eq!(proxy("ftp://e.org/debian"), None);
        assert!(
            config(text).checks_valid_until() && !config("Acquire::Check-Valid-Until \"false\";").checks_valid_until()
        );
    }

    #[test]
    fn passwords_are_for_their_machine_and_for_https() {
        let text = "machine e.org/private\n login me\npassword secret # no comment\nmachine http://plain.org login a password b\n";
        let config = Config { settings: Vec::new(), logins: logins(text) };
        let login = |address| config.access(address).login.map(|(user, password)| format!("{user}:{password}"));
        assert_eq!(login("https://e.org/private/debian").as_deref(), Some("me:secret"));
        assert_eq!(login("http://plain.org/debian").as_deref(), Some("a:b"));
        for other in [
            "http://e.org/private/debian",
            "https://e.org/privateer",
            "https://e.org.evil/private",
            "https://plain.org/x",
        ] {
            assert_eq!(login(other), None, "{other}");
        }
    }
}
