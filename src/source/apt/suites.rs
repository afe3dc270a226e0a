//! Names of suites: what those of Debian are called, and how one belongs to another ("bookworm-security"). Text in, data out.

/// Debian's, by code name.
const RELEASES: &[&str] = &["bullseye", "bookworm", "trixie", "forky", "sid"];

/// Debian's other names for them, which move from release to release.
pub(super) const MOVING: &[&str] = &["stable", "oldstable", "oldoldstable", "testing", "unstable", "experimental"];

/// Those that have no -security, -updates or -backports.
const ALONE: &[&str] = &["sid", "unstable", "experimental"];

/// What is added to a release. The security archive is a place of its own, the others lie beside the release.
pub(in crate::source) const SECURITY: &str = "-security";
const UPDATES: &str = "-updates";
const BESIDE: &[&str] = &["-proposed-updates", UPDATES, "-backports-sloppy", "-backports"];

/// A suite's release and what is added to it: ("trixie", "-backports").
pub(in crate::source) fn split(suite: &str) -> (&str, &str) {
    let ends = BESIDE.iter().chain([&SECURITY]);
    let base = ends.filter_map(|end| suite.strip_suffix(end)).find(|base| !base.is_empty());
    suite.split_at(base.map_or(suite.len(), str::len))
}

/// Whether a release is one of Debian's.
pub(in crate::source) fn is_debians(release: &str) -> bool {
    RELEASES.contains(&release) || MOVING.contains(&release)
}

/// What is taken together with a release, itself included.
pub(in crate::source) fn parts(release: &str) -> &'static [&'static str] {
    if ALONE.contains(&release) { &[""] } else { &["", SECURITY, UPDATES] }
}

/// Whether it can be the name of a suite; such a name is one word of a sources.list and no path.
pub(in crate::source) fn is_name(text: &str) -> bool {
    text.starts_with(|c: char| c.is_ascii_alphanumeric())
        && text.bytes().all(|b| b.is_ascii_alphanumeric() || b"-.".contains(&b))
}

/// The known names that are most like `wrong`, the nearest first.
pub(in crate::source) fn nearest(wrong: &str) -> Vec<String> {
    let added = |release: &&'static str| {
        let ends: &[&str] = if ALONE.contains(release) { &[] } else { &["-backports", SECURITY, UPDATES] };
        [""].iter().chain(ends).map(move |end| format!("{release}{end}")).collect::<Vec<_>>()
    };
    let mut near: Vec<(f64, String)> = RELEASES.iter().chain(MOVING).flat_map(added).map(|name| (0.0, name)).collect();
    near.iter_mut().for_each(|(score, name)| *score = strsim::normalized_damerau_levenshtein(name, wrong));
    near.sort_by(|a, b| b.0.total_cmp(&a.0));
    near.into_iter().take_while(|(score, _)| *score > 0.5).take(3).map(|(_, name)| name).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn releases_and_what_is_added_to_them() {
        for (suite, parts) in [
            ("trixie", ("trixie", "")),
            ("trixie-backports", ("trixie", "-backports")),
            ("bookworm-proposed-updates", ("bookworm", "-proposed-updates")),
            ("bullseye-backports-sloppy", ("bullseye", "-backports-sloppy")),
            ("kali-rolling", ("kali-rolling", "")),
            ("-security", ("-security", "")),
        ] {
            assert_eq!(split(suite), parts);
        }
    }

    #[test]
    fn near_names() {
        assert_eq!(nearest("trixy")[0], "trixie");
        assert_eq!(nearest("trixie-backport")[0], "trixie-backports");
        assert_eq!(nearest("bookwrom-security")[0], "bookworm-security");
        assert!(nearest("xyzzy-9").is_empty());
    }

    #[test]
    fn no_name_leads_out_of_a_folder_or_a_line() {
        assert!(["trixie-backports", "stable", "12.4"].iter().all(|name| is_name(name)));
        assert!(["", "..", "../x", "a b", "a/b", "-x", "a\nb"].iter().all(|name| !is_name(name)));
    }
}
