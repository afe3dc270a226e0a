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
    let mut sorted: Vec<&str> = versions.to_vec();
    // Those of the same series first, the newest of them first.
    let near = |version: &str| prefix(version, 2) == prefix(wanted, 2);
    sorted.sort_by(|a, b| near(b).cmp(&near(a)).then_with(|| compare(b, a)));
    sorted.dedup();
    let error = Error::input(format!("{entry}: there is no version {wanted}"));
    if sorted.is_empty() {
        return error.hint("there is none at all: another origin or another address may have it");
    }
    let more = if sorted.len() > SHOWN { format!(" and {} more", sorted.len() - SHOWN) } else { String::new() };
    let shown = sorted[..sorted.len().min(SHOWN)].join(", ");
    let nearest = [upstream(wanted), prefix(wanted, 2), prefix(wanted, 1)];
    let nearest = nearest.into_iter().find_map(|wanted| newest(wanted, sorted.iter().copied()));
    error.detail(format!("there is: {shown}{more}")).hint(format!("the nearest is {}", nearest.unwrap_or(sorted[0])))
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
    fn prefixes() {
        assert_eq!(
            (prefix("6.1.170-3", 1), prefix("6.1.170-3", 2), prefix("6.1", 2), prefix("6.12~rc3-1", 2)),
            ("6", "6.1", "6.1", "6.12")
        );
    }
}
