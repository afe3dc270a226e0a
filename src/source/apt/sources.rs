//! Which of the host's package sources belong to a suite (sources.list(5), both forms), and what they look like for another
//! suite. Text in, text out: what a source says besides its suite is not touched, so options and mirrors stay the user's; but
//! where it names Debian's keys, those of one release are not those of another.

mod place;

pub(in crate::source) use place::{Keys, Place, split_login};

use super::{Host, suites};
use crate::error::{Error, Result};
use std::fs;
use std::io;
use std::ops::Range;
use std::path::Path;

/// One source with one suite.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::source) struct Source {
    suite: String,
    /// The text before and after the suite.
    around: (String, String),
    /// A stanza of a .sources file, rather than a line of a .list file.
    stanza: bool,
}

impl Source {
    /// Where in the text after (of a stanza) or before the suite (of a line) its keys are named.
    fn key(&self) -> Option<Range<usize>> {
        if self.stanza {
            return field(&self.around.1, "signed-by");
        }
        let options = self.around.0.split_once(']')?.0;
        let start = options.to_ascii_lowercase().find("signed-by=")? + "signed-by=".len();
        let end = options[start..].find(char::is_whitespace).map_or(options.len(), |end| start + end);
        Some(start..end)
    }

    fn keyed_text(&mut self) -> &mut String {
        if self.stanza { &mut self.around.1 } else { &mut self.around.0 }
    }

    /// Its keys are of Debian's archive, by the name of their file.
    fn is_debians(&self) -> bool {
        let text = if self.stanza { &self.around.1 } else { &self.around.0 };
        let mut files =
            self.key().map(|key| &text[key]).unwrap_or_default().split(|c: char| c == ',' || c.is_whitespace());
        files.any(|path| Path::new(path).file_name().is_some_and(|name| name.to_string_lossy().starts_with("debian")))
    }

    /// Replaces the keys that it names, if any, by all of Debian's.
    fn set_key(&mut self, keyring: &Path) {
        if let Some(key) = self.key() {
            let start = if self.stanza { " " } else { "" };
            self.keyed_text().replace_range(key, &format!("{start}{}", keyring.display()));
        }
    }
}

/// Where the value of a field is in the text of a stanza, which begins with a new line; the lines that continue it included.
fn field(text: &str, name: &str) -> Option<Range<usize>> {
    let start = text.to_ascii_lowercase().find(&format!("\n{name}:"))? + name.len() + 2;
    let mut ends = text[start..].match_indices('\n').map(|(at, _)| start + at);
    Some(start..ends.find(|end| !text[end + 1..].starts_with([' ', '\t'])).unwrap_or(text.len()))
}

/// Reads the sources in apt's folder.
pub(in crate::source) fn read(etc: &Path) -> Result<Vec<Source>> {
    let failed = |path: &Path, e: io::Error| Error::build(format!("cannot read {}", path.display())).because(e);
    let mut files = vec![etc.join("sources.list")];
    let parts = etc.join("sources.list.d");
    match fs::read_dir(&parts) {
        Ok(entries) => files.extend(entries.flatten().map(|entry| entry.path())),
        Err(e) if e.kind() == io::ErrorKind::NotFound => {}
        Err(e) => return Err(failed(&parts, e)),
    }
    files.sort();
    let mut sources = Vec::new();
    for file in files {
        let parse = match file.extension().and_then(|e| e.to_str()) {
            Some("list") => lines,
            Some("sources") => stanzas,
            _ => continue,
        };
        match fs::read_to_string(&file) {
            Ok(text) => sources.extend(parse(&text)),
            Err(e) if e.kind() == io::ErrorKind::NotFound => {}
            Err(e) => return Err(failed(&file, e)),
        }
    }
    Ok(sources)
}

/// The places that have `suite` for `arch`, and whether they are derived, so that it is not sure that all of them have it. Empty if the host's
/// sources have none.
pub(in crate::source) fn places(sources: &[Source], suite: &str, arch: &str, host: &Host) -> (Vec<Place>, bool) {
    let (chosen, derived) = chosen(sources, suite, host);
    (chosen.iter().flat_map(|source| source.places(arch)).collect(), derived)
}

/// The sources for `suite`, and whether they are derived:
/// 1. those that say so, or `suite-updates`, `suite-security` and the like;
/// 2. if there are none, and it is the host's own suite: all with their names as they are ("stable", "sid");
/// 3. if there are none, and it is another one: those of another release of the same distribution, with its name replaced ([`derived`]).
fn chosen(sources: &[Source], suite: &str, host: &Host) -> (Vec<Source>, bool) {
    // Only a release has parts: `trixie-updates` is one of `trixie`, `trixie-backports-sloppy` none of `trixie-backports`.
    let is_part = suites::split(suite).1.is_empty();
    let of = |s: &&Source| s.suite == suite || is_part && tail(&s.suite, suite).is_some();
    let mut chosen: Vec<Source> = sources.iter().filter(of).cloned().collect();
    let named = chosen.iter().any(|s| s.suite == suite);
    let is_own = host.codename.as_deref() == Some(suite);
    if !named && is_own {
        // A suite that ends with a slash is a path: such sources have no suite.
        chosen = sources.iter().filter(|s| !s.suite.ends_with('/')).cloned().collect();
    } else if !named {
        chosen = derived(sources, suite, host);
    }
    (chosen, !named && !is_own)
}

/// The sources of `suite` made of those of another release: of the host's own, by its code name or a name that moves, if that is
/// of the same distribution; else of the first that has Debian's keys. Empty if there is none, or if the host has no place for
/// what is asked for: security is a place of its own, all else lies where the release is.
fn derived(sources: &[Source], suite: &str, host: &Host) -> Vec<Source> {
    let (release, end) = suites::split(suite);
    let (on_debian, to_debian) = (host.id == "debian", suites::is_debians(release));
    let own = host.codename.as_deref().filter(|_| on_debian || !to_debian);
    let moving = suites::MOVING.iter().copied().filter(|_| on_debian);
    let by_key = sources.iter().filter(|s| to_debian && s.is_debians()).map(|s| suites::split(&s.suite).0);
    let is_there = |name: &&str| sources.iter().any(|s| s.suite == *name);
    let Some(from) = own.into_iter().chain(moving).chain(by_key).find(is_there) else { return Vec::new() };
    // Where Debian's own sources name Debian's keys, a source with other keys is a third party's.
    let debians = (on_debian || to_debian) && sources.iter().any(|s| s.suite == from && s.is_debians());
    let places = |wanted: &str| {
        let has = |s: &&Source| {
            suites::split(&s.suite) == (from, wanted) && (!debians || s.is_debians() || s.key().is_none())
        };
        sources.iter().filter(has).cloned().collect::<Vec<_>>()
    };
    let mut found = Vec::new();
    let asked = [end];
    for part in if end.is_empty() { suites::parts(release) } else { &asked } {
        let mut there = places(part);
        if there.is_empty() && *part == end && end != suites::SECURITY {
            there = places("");
        }
        for mut source in there {
            source.suite = format!("{release}{part}");
            if let Some(keyring) = host.keyring.as_ref().filter(|_| source.is_debians()) {
                source.set_key(keyring);
            }
            found.push(source);
        }
    }
    found
}

pub(in crate::source) fn no_place(suite: &str) -> Error {
    Error::input(format!("the package sources of this machine do not have the suite `{suite}`"))
        .hint("add one with that suite below /etc/apt/sources.list.d/")
}

/// What follows the name of a suite: "-security", or "".
fn tail<'a>(name: &'a str, suite: &str) -> Option<&'a str> {
    name.strip_prefix(suite)
        .filter(|tail| !suite.is_empty() && (tail.is_empty() || tail.starts_with(['-', '/']) && tail.len() > 1))
}

/// `deb [options] address suite component…`
fn lines(text: &str) -> Vec<Source> {
    text.lines().filter_map(line).collect()
}

fn line(text: &str) -> Option<Source> {
    let text = text.split('#').next().unwrap_or_default().trim();
    let rest = text.strip_prefix("deb")?.strip_prefix([' ', '\t'])?.trim_start();
    let (options, rest) = match rest.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
        Some((options, rest)) => (format!("[{options}] "), rest),
        None => (String::new(), rest),
    };
    let mut words = rest.split_whitespace();
    let (address, suite) = (words.next()?, words.next()?);
    let components: String = words.map(|word| format!(" {word}")).collect();
    Some(Source { suite: suite.to_owned(), around: (format!("deb {options}{address} "), components), stanza: false })
}

/// deb822: one source for each suite of each stanza.
fn stanzas(text: &str) -> Vec<Source> {
    let mut found = Vec::new();
    let without_comments: Vec<&str> = text.lines().filter(|line| !line.starts_with('#')).collect();
    for stanza in without_comments.split(|line| line.trim().is_empty()) {
        // Each field with the lines that continue it, such as a key.
        let mut fields: Vec<(&str, String)> = Vec::new();
        for line in stanza {
            match (line.starts_with([' ', '\t']), line.split_once(':'), fields.last_mut()) {
                (true, _, Some((_, value))) => *value += &format!("\n{line}"),
                (false, Some((name, value)), _) => fields.push((name, value.to_owned())),
                _ => {}
            }
        }
        let mut take = |name: &str| {
            let at = fields.iter().position(|(field, _)| field.eq_ignore_ascii_case(name));
            at.map(|at| fields.remove(at).1).unwrap_or_default()
        };
        let (enabled, types, suites) = (take("Enabled"), take("Types"), take("Suites"));
        let off =
            ["no", "false", "without", "off", "disable", "0"].contains(&enabled.trim().to_ascii_lowercase().as_str());
        if off || !types.split_whitespace().any(|kind| kind == "deb") {
            continue;
        }
        let rest: String = fields.iter().map(|(name, value)| format!("\n{name}:{value}")).collect();
        for suite in suites.split_whitespace() {
            let around = ("Types: deb\nSuites: ".to_owned(), format!("{rest}\n"));
            found.push(Source { suite: suite.to_owned(), around, stanza: true });
        }
    }
    found
}

/// Sources in both forms, for the fuzz targets.
#[cfg(any(test, feature = "fuzz"))]
pub(in crate::source) fn fuzz(suite: &str, text: &str) {
    let host =
        Host { keyring: Some("/k/debian-archive-keyring.gpg".into()), ..Host::of(text, Path::new("/nonexistent")) };
    for sources in [lines(text), stanzas(text)] {
        places(&sources, suite, "amd64", &host);
    }
}

#[cfg(test)]
mod tests;
