//! Version numbers: which is newer, which belong to what a user wrote. Order as in Debian policy §5.6.12, which is also right
//! for plain release numbers.

use crate::error::Error;
use std::cmp::Ordering;

/// Compares two Debian versions.
pub fn compare(a: &str, b: &str) -> Ordering {
    let (a, b) = (Parts::of(a), Parts::of(b));
    a.epoch.cmp(&b.epoch).then_with(|| part(a.upstream, b.upstream)).then_with(|| part(a.revision, b.revision))
}

/// The version without epoch and revision.
pub fn upstream(version: &str) -> &str {
    Parts::of(version).upstream
}

/// The first `count` numbers of a version: `prefix("6.1.170-3", 2)` is "6.1".
pub fn prefix(version: &str, count: usize) -> &str {
    let upstream = upstream(version);
    upstream.match_indices(['.', '-', '~', '+']).nth(count - 1).map_or(upstream, |(at, _)| &upstream[..at])
}

/// Whether it is a version at all: a digit, and then what Debian versions are made of.
pub fn is_version(text: &str) -> bool {
    text.starts_with(|c: char| c.is_ascii_digit())
        && text.bytes().all(|b| b.is_ascii_alphanumeric() || b".+~:-".contains(&b))
}

/// Whether `version` is meant by `wanted`: it is the same, a revision of it, or a member of that series.
pub fn belongs(wanted: &str, version: &str) -> bool {
    let rest = upstream(version).strip_prefix(wanted);
    version == wanted || rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
}

/// The newest of `versions` that `wanted` means. One that is literally the same wins over newer members of a series.
pub fn newest<'a>(wanted: &str, versions: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    versions.into_iter().filter(|v| belongs(wanted, v)).max_by(|a, b| compare(a, b))
}

/// The error for a version that is not among `versions`.
pub fn unknown(entry: &str, wanted: &str, versions: &[&str]) -> Error {
    nowhere(entry, wanted, &[("there are".to_owned(), versions.to_vec())])
}

/// The error for a version that no place has: what each, "trixie has", has instead. The nearest first, of places and versions.
pub fn nowhere(entry: &str, wanted: &str, there: &[(String, Vec<&str>)]) -> Error {
    let nearer = |a: &str, b: &str| distance(wanted, a).cmp(&distance(wanted, b)).then_with(|| compare(b, a));
    let mut there: Vec<(&str, Vec<&str>)> = there.iter().map(|(place, all)| (place.as_str(), all.clone())).collect();
    for (_, versions) in &mut there {
        versions.sort_by(|a, b| nearer(a, b));
        versions.dedup();
    }
    there.retain(|(_, versions)| !versions.is_empty());
    there.sort_by(|(_, a), (_, b)| nearer(a[0], b[0]));
    let error = Error::input(format!("{entry}: there is no version {wanted}"));
    let Some((_, first)) = there.first() else {
        return error.hint("no other version was found, either: another origin or another address may have this one");
    };
    let nearest = format!("the nearest is {}", first[0]);
    let most = if there.len() > 1 { SHOWN / 3 } else { SHOWN };
    let line = |(place, versions): &(&str, Vec<&str>)| {
        let more = if versions.len() > most { format!(" and {} more", versions.len() - most) } else { String::new() };
        format!("{place}: {}{more}", versions[..versions.len().min(most)].join(", "))
    };
    there.iter().map(line).fold(error, Error::detail).hint(nearest)
}

/// How far a version is from what is wanted: by its first number, then by the next; numbers beyond those of `wanted` do not count.
fn distance(wanted: &str, version: &str) -> Vec<u64> {
    let numbers = |text| upstream(text).split(|c: char| !c.is_ascii_digit()).map(|n| n.parse::<u64>().unwrap_or(0));
    numbers(wanted).zip(numbers(version).chain(std::iter::repeat(0))).map(|(a, b)| a.abs_diff(b)).collect()
}

/// Versions that an error lists.
const SHOWN: usize = 12;

struct Parts<'a> {
    epoch: u64,
    upstream: &'a str,
    revision: &'a str,
}

impl<'a> Parts<'a> {
    fn of(version: &'a str) -> Self {
        let (epoch, rest) = version.split_once(':').unwrap_or(("0", version));
        let (upstream, revision) = rest.rsplit_once('-').unwrap_or((rest, "0"));
        Self { epoch: epoch.parse().unwrap_or(0), upstream, revision }
    }
}

/// Compares runs of non-digits and runs of digits in turn, as dpkg does.
fn part(mut a: &str, mut b: &str) -> Ordering {
    loop {
        let (text_a, rest_a) = a.split_at(a.find(|c: char| c.is_ascii_digit()).unwrap_or(a.len()));
        let (text_b, rest_b) = b.split_at(b.find(|c: char| c.is_ascii_digit()).unwrap_or(b.len()));
        // The end of a part sorts before everything but '~'.
        let weights = |text: &str| text.bytes().map(weight).chain([0]).collect::<Vec<_>>();
        let (number_a, next_a) = number(rest_a);
        let (number_b, next_b) = number(rest_b);
        let order = weights(text_a).cmp(&weights(text_b));
        let order = order.then(number_a.len().cmp(&number_b.len())).then(number_a.cmp(number_b));
        if order != Ordering::Equal || (next_a.is_empty() && next_b.is_empty()) {
            return order;
        }
        (a, b) = (next_a, next_b);
    }
}

fn weight(byte: u8) -> i16 {
    match byte {
        b'~' => -1,
        b if b.is_ascii_alphabetic() => i16::from(b),
        b => i16::from(b) + 256,
    }
}

/// The digits at the start without leading zeros, and what follows them.
fn number(text: &str) -> (&str, &str) {
    let end = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    (text[..end].trim_start_matches('0'), &text[end..])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn orders_as_dpkg_does() {
        let sorted = [
            "1.0~rc1",
            "1.0~rc1-1",
            "1.0",
            "1.0-1~deb12u1",
            "1.0-1",
            "1.0-1+b1",
            "1.0+dfsg",
            "1.0.1",
            "1.2",
            "1.10",
            "1:0.1",
        ];
        for pair in sorted.windows(2) {
            assert_eq!(compare(pair[0], pair[1]), Ordering::Less, "{} < {}", pair[0], pair[1]);
            assert_eq!(compare(pair[1], pair[0]), Ordering::Greater, "{} > {}", pair[1], pair[0]);
        }
        assert_eq!(compare("1.0", "1.0-0"), Ordering::Equal);
        assert_eq!(compare("6.01", "6.1"), Ordering::Equal);
    }

    #[test]
    fn series_revision_and_exact_are_told_apart() {
        let there = ["6.1.9-1", "6.1.170-1", "6.1.170-3", "6.12.3-1", "6.1.17-1"];
        assert_eq!(newest("6.1", there), Some("6.1.170-3"));
        assert_eq!(newest("6.1.170", there), Some("6.1.170-3"));
        assert_eq!(newest("6.1.170-1", there), Some("6.1.170-1"));
        assert_eq!(newest("6.1.17", there), Some("6.1.17-1"));
        assert_eq!(newest("6", there), Some("6.12.3-1"));
        assert_eq!(newest("6.2", there), None);
        assert_eq!(newest("6.1.170-2", there), None);
    }

    #[test]
    fn a_version_that_nobody_has_is_told_with_what_there_is_nearest_first() {
        let there = ["5.10.223-1", "6.1.170-3", "6.1.192-2", "6.12.118-1", "7.3.4-1"];
        for (wanted, nearest) in [
            ("6.1.171", "6.1.170-3"),
            ("6.1.190", "6.1.192-2"),
            ("6.13", "6.12.118-1"),
            ("6.2", "6.1.192-2"),
            ("5.15", "5.10.223-1"),
            ("8.0", "7.3.4-1"),
            ("4", "5.10.223-1"),
        ] {
            assert_eq!(unknown("k", wanted, &there).hints(), [format!("the nearest is {nearest}")], "{wanted}");
        }
        let has = |suite: &str, versions: &[&'static str]| (format!("{suite} has"), versions.to_vec());
        let places = [has("old", &there[..1]), has("none", &[]), has("own", &["6.1.170-3", "6.1.192-2", "6.1.192-2"])];
        let error = nowhere("k", "6.12", &places);
        assert_eq!(error.to_string(), "k: there is no version 6.12");
        assert_eq!(error.details(), ["own has: 6.1.192-2, 6.1.170-3", "old has: 5.10.223-1"]);
        assert!(nowhere("k", "6.12", &[has("none", &[])]).hints()[0].contains("no other version was found"));
    }

    #[test]
    fn prefixes() {
        assert_eq!(
            (prefix("6.1.170-3", 1), prefix("6.1.170-3", 2), prefix("6.1", 2), prefix("6.12~rc3-1", 2)),
            ("6", "6.1", "6.1", "6.12")
        );
    }
}
