//! Which of the host's package sources belong to a suite (sources.list(5), both forms), and what they look like for another
//! suite. Text in, text out: nothing that a source says besides its suite is touched, so keys, options and mirrors stay the user's.

use crate::error::{Error, Result};
use std::fs;
use std::io;
use std::path::Path;

/// One source with one suite.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Source {
    suite: String,
    /// The text before and after the suite.
    around: (String, String),
    /// A stanza of a .sources file, rather than a line of a .list file.
    stanza: bool,
}

impl Source {
    /// The same place, for source packages, with `component` if it has `main`.
    fn turn_to_source_packages(&mut self, component: &str) {
        let (before, after) = &mut self.around;
        let (at, end) = if self.stanza {
            *before = before.replacen("Types: deb", "Types: deb-src", 1);
            let Some(at) = after.to_ascii_lowercase().find("\ncomponents:").map(|at| at + "\ncomponents:".len()) else {
                return;
            };
            // Lines that continue the field begin with a blank.
            let more = after[at..].match_indices('\n').find(|(n, _)| !after[at + n + 1..].starts_with([' ', '\t']));
            (at, more.map_or(after.len(), |(n, _)| at + n))
        } else {
            *before = before.replacen("deb ", "deb-src ", 1);
            (0, after.len())
        };
        let has = |name: &str| after[at..end].split_whitespace().any(|word| word == name);
        if has("main") && !component.is_empty() && !has(component) {
            after.insert_str(end, &format!(" {component}"));
        }
    }
}

/// The texts of the two files that apt is given.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Chosen {
    pub lines: String,
    pub stanzas: String,
}

/// Reads the sources in apt's folder.
pub(super) fn read(etc: &Path) -> Result<Vec<Source>> {
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

/// The sources for `suite`:
/// 1. those that say so, or `suite-updates`, `suite-security` and the like;
/// 2. none, and it is the host's own suite: all with their names as they are ("stable", "sid");
/// 3. none, and it is another: those of the host's own suite, with that name replaced.
///
/// With `component` ("" for none in particular) they are those of source packages, and those that have `main` also have it.
pub(super) fn choose(sources: &[Source], suite: &str, host: Option<&str>, component: Option<&str>) -> Result<Chosen> {
    let of = |wanted: &str| sources.iter().filter(|s| tail(&s.suite, wanted).is_some()).cloned().collect::<Vec<_>>();
    let mut chosen = of(suite);
    if chosen.is_empty() && host == Some(suite) {
        // A suite that ends with a slash is a path: such sources have no suite.
        chosen = sources.iter().filter(|s| !s.suite.ends_with('/')).cloned().collect();
    }
    if chosen.is_empty() {
        let host = host.unwrap_or_default();
        chosen = of(host);
        for source in &mut chosen {
            source.suite = format!("{suite}{}", tail(&source.suite, host).unwrap_or_default());
        }
    }
    if let Some(component) = component {
        chosen.iter_mut().for_each(|source| source.turn_to_source_packages(component));
    }
    if chosen.is_empty() {
        return Err(Error::input(format!("the package sources of this machine say nothing of the suite `{suite}`"))
            .hint("add one with that suite below /etc/apt/sources.list.d/"));
    }
    let mut texts = Chosen::default();
    for Source { suite, around: (before, after), stanza } in chosen {
        let text = if stanza { &mut texts.stanzas } else { &mut texts.lines };
        *text += &format!("{before}{suite}{after}\n");
    }
    Ok(texts)
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

#[cfg(test)]
mod tests {
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

    fn all() -> Vec<Source> {
        lines(LINES).into_iter().chain(stanzas(STANZAS)).collect()
    }

    #[test]
    fn only_the_suite_and_what_belongs_to_it() {
        let chosen = choose(&all(), "bookworm", Some("bookworm"), None).unwrap();
        assert_eq!(chosen.lines, "deb http://mirror.example.org/debian bookworm main contrib\n");
        let rest = "URIs: http://mirror.example.org/debian-security\nComponents: main\nSigned-By:\n -----BEGIN-----\n .\n abc\n";
        let stanza = |suite: &str| format!("Types: deb\nSuites: {suite}\n{rest}\n");
        assert_eq!(chosen.stanzas, stanza("bookworm-security") + &stanza("bookworm-updates"));
    }

    #[test]
    fn another_suite_comes_from_the_same_mirrors() {
        let chosen = choose(&all(), "trixie", Some("bookworm"), None).unwrap();
        assert_eq!(chosen.lines, "deb http://mirror.example.org/debian trixie main contrib\n");
        assert!(
            chosen.stanzas.contains("Suites: trixie-security\n") && chosen.stanzas.contains("Suites: trixie-updates\n")
        );
    }

    #[test]
    fn a_suite_by_another_name() {
        let chosen = choose(&lines(LINES), "trixie", Some("trixie"), None).unwrap();
        assert!(chosen.lines.contains("[arch=amd64 signed-by=/k.gpg] https://other.example.org/x stable main"));
        assert!(!chosen.lines.contains("flat"));
        let stable = choose(&all(), "stable", Some("bookworm"), None).unwrap();
        assert_eq!(stable.lines, "deb [arch=amd64 signed-by=/k.gpg] https://other.example.org/x stable main\n");
    }

    #[test]
    fn source_packages_come_from_the_same_places_with_the_component_added() {
        let chosen = |component| choose(&all(), "bookworm", Some("bookworm"), Some(component)).unwrap();
        assert_eq!(chosen("contrib").lines, "deb-src http://mirror.example.org/debian bookworm main contrib\n");
        assert_eq!(
            chosen("non-free").lines,
            "deb-src http://mirror.example.org/debian bookworm main contrib non-free\n"
        );
        let rest = "Components: main contrib\nSigned-By:\n -----BEGIN-----\n .\n abc\n";
        let start = "Types: deb-src\nSuites: bookworm-security\nURIs: http://mirror.example.org/debian-security\n";
        assert!(chosen("contrib").stanzas.starts_with(&format!("{start}{rest}")), "{}", chosen("contrib").stanzas);
        assert!(chosen("").stanzas.contains("Components: main\n"));
        let folded = stanzas("Types: deb\nURIs: http://e.org/\nSuites: s\nComponents: main\n contrib\nTrusted: no\n");
        let chosen = |component| choose(&folded, "s", None, Some(component)).unwrap().stanzas;
        assert!(chosen("contrib").contains("Components: main\n contrib\nTrusted: no\n"));
        assert!(chosen("x").contains("Components: main\n contrib x\nTrusted: no\n"));
    }

    #[test]
    fn no_source_at_all_is_an_error_with_a_hint() {
        let error = choose(&stanzas("Types: deb-src\nSuites: sid\n"), "sid", None, None).unwrap_err();
        assert!(error.to_string().contains("`sid`") && error.hints()[0].contains("/etc/apt/sources.list.d/"));
    }
}
