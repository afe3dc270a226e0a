//! Names of Linux releases: what people write, what `uname -r` says, and what tags and tarballs are called. Text in, data
//! out; knows no repository and no server.

/// What kind of release a name means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ReleaseKind {
    /// "6.1": the newest release of the series.
    Series,
    /// "6.1.2", or "6.1.0" for the first of a series.
    Release,
    /// "6.1-rc1".
    Rc,
    /// "next-20250721": a day's linux-next.
    Next,
    /// "master", or a commit of it.
    Master,
}

/// A Linux release by name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Release {
    /// Its kind.
    pub kind: ReleaseKind,
    /// Major, minor, patch; zero where the name has none.
    pub numbers: [u32; 3],
    /// The number of a release candidate, the day of a linux-next, the commit of a master with the `+` that may follow it;
    /// else "".
    pub rest: String,
}

impl Release {
    /// Reads a name; `None` if it is of another form.
    pub fn parse(text: &str) -> Option<Self> {
        let (numbers, tail) = match text.split_once('-') {
            Some((numbers, tail)) if text.starts_with(|c: char| c.is_ascii_digit()) => (numbers, Some(tail)),
            None if text.starts_with(|c: char| c.is_ascii_digit()) => (text, None),
            _ => ("", Some(text)),
        };
        let given: Vec<u32> = numbers.split('.').filter(|_| !numbers.is_empty()).map(number).collect::<Option<_>>()?;
        let (kind, rest) = match (tail, given.len()) {
            (None, 2) => (ReleaseKind::Series, ""),
            (None, 3) => (ReleaseKind::Release, ""),
            (Some(tail), 0 | 2 | 3) => {
                tailed(tail).filter(|(kind, _)| !given.is_empty() || *kind != ReleaseKind::Rc)?
            }
            _ => return None,
        };
        let mut numbers = [0; 3];
        numbers[..given.len()].copy_from_slice(&given);
        Some(Self { kind, numbers, rest: rest.to_owned() })
    }

    /// What `uname -r` says, and the folder of the modules is called. For a series: of its first release.
    pub fn uname(&self) -> String {
        let [major, minor, patch] = self.numbers;
        format!("{major}.{minor}.{patch}{}", self.tail())
    }

    /// What tag (after its "v") and tarball are called. The first release of a series has two numbers: 6.1.0 is "6.1".
    pub fn source(&self) -> String {
        let tail = self.tail();
        match (self.kind, self.numbers) {
            (ReleaseKind::Next, _) | (ReleaseKind::Master, [0, 0, 0]) => tail.trim_start_matches('-').to_owned(),
            (_, [major, minor, 0]) => format!("{major}.{minor}{tail}"),
            (_, [major, minor, patch]) => format!("{major}.{minor}.{patch}{tail}"),
        }
    }

    /// The part after the numbers, with its hyphen.
    fn tail(&self) -> String {
        let rest = &self.rest;
        match self.kind {
            ReleaseKind::Series | ReleaseKind::Release => String::new(),
            ReleaseKind::Rc => format!("-rc{rest}"),
            ReleaseKind::Next => format!("-next-{rest}"),
            ReleaseKind::Master if rest.is_empty() => "-master".to_owned(),
            ReleaseKind::Master => format!("-master-{rest}"),
        }
    }
}

fn tailed(tail: &str) -> Option<(ReleaseKind, &str)> {
    let digits = |text: &str| !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
    if let Some(rest) = tail.strip_prefix("rc") {
        return digits(rest).then_some((ReleaseKind::Rc, rest));
    }
    if let Some(rest) = tail.strip_prefix("next-") {
        return (digits(rest) && rest.len() == 8).then_some((ReleaseKind::Next, rest));
    }
    let rest = tail.strip_prefix("master")?;
    let commit = rest.strip_prefix('-').map(|rest| rest.strip_suffix('+').unwrap_or(rest));
    match commit {
        None => rest.is_empty().then_some((ReleaseKind::Master, "")),
        Some(commit) => is_commit(commit).then_some((ReleaseKind::Master, &rest[1..])),
    }
}

/// Whether a text may be the id of a commit: at least seven hex digits, as git abbreviates it, and at most all 64.
pub(super) fn is_commit(text: &str) -> bool {
    (7..=64).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_hexdigit())
}

fn number(text: &str) -> Option<u32> {
    text.parse().ok().filter(|_| text.bytes().all(|b| b.is_ascii_digit()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_known_form() {
        let lines = include_str!("../../tests/data/kernel-versions.tsv").lines().filter(|line| !line.starts_with('#'));
        let mut count = 0;
        for line in lines {
            let columns: Vec<&str> = line.split('\t').collect();
            let [input, uname, source, kind, major, minor, patch, rest] = columns[..] else { panic!("{line}") };
            let release = Release::parse(input).unwrap();
            assert_eq!((release.uname().as_str(), release.source().as_str()), (uname, source), "{input}");
            assert_eq!(format!("{:?}", release.kind).to_lowercase(), kind, "{input}");
            assert_eq!(release.numbers.map(|n| n.to_string()), [major, minor, patch], "{input}");
            assert_eq!(release.rest, rest, "{input}");
            // What `uname -r` says can be asked for.
            assert_eq!(Release::parse(uname).unwrap().uname(), uname);
            count += 1;
        }
        assert_eq!(count, 13);
    }

    #[test]
    fn two_numbers_are_a_series() {
        let series = Release::parse("6.1").unwrap();
        assert_eq!((series.kind, series.source()), (ReleaseKind::Series, "6.1".to_owned()));
    }

    /// There is no such release, but there is such a text.
    #[test]
    fn zeros_are_numbers_too() {
        for (text, source) in [("0.0", "0.0"), ("0.0.0", "0.0"), ("0.0-rc1", "0.0-rc1"), ("0.0.0-master", "master")] {
            assert_eq!(Release::parse(text).unwrap().source(), source, "{text}");
        }
    }

    #[test]
    fn other_names_are_not_of_this_grammar() {
        for other in
            ["", "6", "6.1.170-3", "6.1.2.3", "6.+1", "rc1", "6.1-rc", "next-2025", "masterly", "v6.1", "default", "-"]
        {
            assert_eq!(Release::parse(other), None, "{other}");
        }
    }
}
