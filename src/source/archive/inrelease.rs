//! The fields of a Release file, deb-release(5) as Debian's wiki has it (RepositoryFormat): which suite it is of, until when it counts,
//! and the checksums of the lists. Text in, data out.

/// A Release file.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Release<'a> {
    pub suite: &'a str,
    pub codename: &'a str,
    /// Seconds since 1970.
    pub date: Option<u64>,
    /// As it is written; "" if it counts for ever.
    pub valid_until: &'a str,
    /// Lists can also be fetched by their checksums.
    pub by_hash: bool,
    /// Its packages are taken only where no other suite has them, as those of backports.
    pub not_automatic: bool,
    /// The lines under `SHA256`.
    sums: &'a str,
}

/// A list by its checksum.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Listed<'a> {
    pub sha256: &'a str,
    pub size: u64,
}

impl<'a> Release<'a> {
    pub(super) fn parse(text: &'a str) -> Self {
        let mut release = Self::default();
        let mut at = 0;
        for line in text.split_inclusive('\n') {
            let start = at;
            at += line.len();
            let Some((name, value)) = line.split_once(':').filter(|_| !line.starts_with([' ', '\t'])) else { continue };
            let value = value.trim();
            match name.to_ascii_lowercase().as_str() {
                "suite" => release.suite = value,
                "codename" => release.codename = value,
                "date" => release.date = seconds(value),
                "valid-until" => release.valid_until = value,
                "acquire-by-hash" => release.by_hash = value == "yes",
                "notautomatic" => release.not_automatic = value == "yes",
                "sha256" => {
                    let rest = &text[start + line.len()..];
                    let is_end = |(at, _): &(usize, &str)| !rest[at + 1..].starts_with([' ', '\t']);
                    let end = rest.match_indices('\n').find(is_end).map_or(rest.len(), |(at, _)| at);
                    release.sums = if rest.starts_with([' ', '\t']) { &rest[..end] } else { "" };
                }
                _ => {}
            }
        }
        release
    }

    /// Whether it has checksums that cannot be forged.
    pub(super) fn is_strong(&self) -> bool {
        !self.sums.is_empty()
    }

    /// The file of that path below the suite's folder.
    pub(super) fn file(&self, path: &str) -> Option<Listed<'a>> {
        self.sums.lines().find_map(|line| {
            let mut words = line.split_whitespace();
            let (sha256, size, name) = (words.next()?, words.next()?, words.next()?);
            let good = sha256.len() == 64 && sha256.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'));
            (name == path && good).then_some(Listed { sha256, size: size.parse().ok()? })
        })
    }
}

/// Seconds since 1970 of "Wed, 25 Nov 2026 02:10:59 UTC".
pub(super) fn seconds(date: &str) -> Option<u64> {
    const MONTHS: [&str; 12] = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];
    let words: Vec<&str> = date.split_whitespace().collect();
    let [_, day, month, year, time, "UTC" | "GMT" | "Z" | "+0000"] = words[..] else { return None };
    let month = u64::try_from(MONTHS.iter().position(|known| *known == month)?).ok()? + 1;
    let (day, year): (u64, u64) = (day.parse().ok()?, year.parse().ok()?);
    let parts: Vec<u64> = time.split(':').map(|part| part.parse().ok()).collect::<Option<_>>()?;
    let [hour, minute, second] = parts[..] else { return None };
    if !(1970..10_000).contains(&year) || !(1..=31).contains(&day) || hour > 23 || minute > 59 || second > 60 {
        return None;
    }
    // Days of the years before, which begin in March, so that the day that comes every four years is the last.
    let (year, month) = if month > 2 { (year, month - 3) } else { (year - 1, month + 9) };
    let days = 365 * year + year / 4 - year / 100 + year / 400 + (153 * month + 2) / 5 + day - 1;
    // 1970-01-01 is so many days behind 0000-03-01.
    Some(days.checked_sub(719_468)? * 86_400 + hour * 3600 + minute * 60 + second)
}

/// A Release file, for the fuzz targets.
#[cfg(any(test, feature = "fuzz"))]
pub(in crate::source) fn fuzz(text: &str) {
    let release = Release::parse(text);
    if let Some(listed) = release.file("main/binary-amd64/Packages.xz") {
        assert!(release.is_strong() && listed.sha256.len() == 64);
    }
    for line in text.lines() {
        seconds(line);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_and_checksums() {
        let (sum, other) = ("0a".repeat(32), "ff".repeat(32));
        let text = format!(
            "Origin: Debian\nSuite: oldstable\nCodename: bookworm\nDate: Sat, 01 Jan 2000 00:00:00 UTC\n\
             Valid-Until: Wed, 25 Nov 2026 02:10:59 UTC\nAcquire-By-Hash: yes\nNotAutomatic: yes\nMD5Sum:\n 00 1 main/x\n\
             SHA256:\n {sum}   12 main/x\n {other} 3 main/y\n bad 3 main/z\nSHA512:\n {other} 4 main/w\n"
        );
        let release = Release::parse(&text);
        assert_eq!((release.suite, release.codename), ("oldstable", "bookworm"));
        assert_eq!((release.date, seconds(release.valid_until)), (Some(946_684_800), Some(1_795_572_659)));
        assert!(release.by_hash && release.not_automatic && release.is_strong());
        assert_eq!(release.file("main/x"), Some(Listed { sha256: &sum, size: 12 }));
        assert_eq!(release.file("main/y").map(|listed| listed.size), Some(3));
        assert!(release.file("main/z").is_none() && release.file("main/w").is_none());
        assert!(!Release::parse("Suite: x\nMD5Sum:\n 00 1 main/x\nSHA256:\nSHA1:\n 00 1 x\n").is_strong());
    }

    #[test]
    fn dates() {
        assert_eq!(seconds("Thu, 01 Jan 1970 00:00:01 UTC"), Some(1));
        assert_eq!(seconds("Thu, 29 Feb 2024 12:00:00 GMT"), Some(1_709_208_000));
        for bad in [
            "",
            "tomorrow",
            "Thu, 01 Foo 1970 00:00:01 UTC",
            "Thu, 01 Jan 1970 25:00:01 UTC",
            "Thu, 01 Jan 1970 00:00:01 CET",
        ] {
            assert_eq!(seconds(bad), None, "{bad}");
        }
    }
}
