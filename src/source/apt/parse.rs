//! Reads what apt's programs print, and writes what they take. Text in, data out.

use crate::error::{Error, Result};
use crate::source::{DscFile, DscPin, Package};

/// The stanzas of deb-control(5) text, each as its fields; lines that continue a field are joined to it.
pub(in crate::source) fn stanzas(text: &str) -> impl Iterator<Item = Vec<(&str, String)>> {
    text.split("\n\n").map(|stanza| {
        let mut fields: Vec<(&str, String)> = Vec::new();
        for line in stanza.lines().filter(|line| !line.is_empty() && !line.starts_with('#')) {
            match (line.strip_prefix([' ', '\t']), line.split_once(':'), fields.last_mut()) {
                (Some(more), _, Some((_, value))) => {
                    value.push('\n');
                    value.push_str(more);
                }
                (None, Some((name, value)), _) => fields.push((name, value.trim().to_owned())),
                _ => {}
            }
        }
        fields
    })
}

/// The value of a field, "" if it is not there.
pub(in crate::source) fn field<'a>(stanza: &'a [(&str, String)], name: &str) -> &'a str {
    stanza.iter().find(|(field, _)| field.eq_ignore_ascii_case(name)).map_or("", |(_, value)| value)
}

/// The packages of `apt-cache showsrc`.
pub(in crate::source) fn source_packages(shown: &str) -> Result<Vec<DscPin>> {
    let with_name = stanzas(shown).filter(|s| !field(s, "Package").is_empty());
    let mut packages: Vec<DscPin> = with_name.map(|s| source_package(&s)).collect::<Result<_>>()?;
    packages.sort();
    // apt shows a package once for each source that has it.
    packages.dedup();
    Ok(packages)
}

fn source_package(stanza: &[(&str, String)]) -> Result<DscPin> {
    let [name, version] = ["Package", "Version"].map(|name| field(stanza, name).to_owned());
    let file = |line: &str| {
        let mut words = line.split_whitespace();
        let (sum, size, name) = (words.next()?, words.next()?.parse().ok()?, words.next()?);
        let good = sum.len() == 64 && sum.bytes().all(|b| b.is_ascii_hexdigit()) && !name.contains('/');
        good.then(|| DscFile { name: name.to_owned(), sha256: sum.to_ascii_lowercase(), size })
    };
    let lines = field(stanza, "Checksums-Sha256").lines().filter(|line| !line.trim().is_empty());
    let files = lines.map(file).collect::<Option<Vec<DscFile>>>();
    match files {
        Some(mut files) if files.iter().filter(|f| f.name.ends_with(".dsc")).count() == 1 => {
            files.sort();
            Ok(DscPin { name, version, files })
        }
        _ => Err(Error::build(format!("the package lists have no good Checksums-Sha256 for {name} {version}"))),
    }
}

/// The name of a .deb as apt stores it.
pub(in crate::source) fn file_name(package: &Package) -> String {
    format!("{}_{}_{}.deb", package.name, package.version.replace(':', "%3a"), package.arch)
}

/// The bytes that have arrived, from a line of `APT::Status-Fd`: `dlstatus:item:percent:text`.
pub(in crate::source) fn progress(line: &str, total: u64) -> Option<u64> {
    let percent = line.strip_prefix("dlstatus:")?.split(':').nth(1)?;
    let (whole, part) = percent.split_once('.').unwrap_or((percent, ""));
    let hundredths = whole.parse::<u64>().ok()?.min(100) * 100 + format!("{part:0<2}").get(..2)?.parse::<u64>().ok()?;
    u64::try_from(u128::from(total) * u128::from(hundredths.min(10_000)) / 10_000).ok()
}

/// Whether apt complains in this line that a server has no such suite: it was asked, and had none. Where the host trusts a place
/// whatever signs it, apt goes on without the suite's Release file and misses the lists.
pub(in crate::source) fn says_not_there(line: &str) -> bool {
    let missing = ["  404  Not Found", "(2: No such file or directory)"].iter().any(|why| line.contains(why));
    line.starts_with("E: The repository '") && line.ends_with(" Release' does not have a Release file.")
        || line.starts_with("E: Failed to fetch ") && missing
}

/// The first dependency on a package whose name is accepted: its name, and the version if exactly one will do.
pub(in crate::source) fn dependency(
    depends: &str,
    accepted: impl Fn(&str) -> bool,
) -> Option<(String, Option<String>)> {
    depends.split([',', '|']).find_map(|one| {
        let (name, rest) = one.trim().split_once([' ', '(']).unwrap_or((one.trim(), ""));
        let name = name.split(':').next().unwrap_or(name);
        let version = rest.trim_matches([' ', '(', ')']).strip_prefix('=').map(|v| v.trim().to_owned());
        accepted(name).then(|| (name.to_owned(), version))
    })
}

#[cfg(test)]
mod tests;
