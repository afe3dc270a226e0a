//! Relations between packages (Debian policy §7.1): what a field such as `Depends` asks for, and which version does. Text in, data out.

use crate::source::version;
use std::cmp::Ordering;
use std::fmt;

/// A package by name, and which versions of it count.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Relation<'a> {
    pub name: &'a str,
    /// What follows a colon: "any", "native", or an architecture.
    pub arch: Option<&'a str>,
    pub version: Option<(Operator, &'a str)>,
}

/// How a version is compared with the one that is named.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Operator {
    Earlier,
    NotLater,
    Equal,
    NotEarlier,
    Later,
}

/// By the text in the field; `<` and `>` are old and mean "or equal".
const OPERATORS: &[(&str, Operator)] = &[
    ("<<", Operator::Earlier),
    ("<=", Operator::NotLater),
    (">=", Operator::NotEarlier),
    (">>", Operator::Later),
    ("=", Operator::Equal),
    ("<", Operator::NotLater),
    (">", Operator::NotEarlier),
];

/// The groups of a field, each with its alternatives in order. A relation that cannot be read is left out: no package satisfies it.
pub(super) fn groups(field: &str) -> impl Iterator<Item = (&str, Vec<Relation<'_>>)> {
    let groups = field.split(',').map(str::trim).filter(|group| !group.is_empty());
    groups.map(|group| (group, group.split('|').filter_map(relation).collect()))
}

/// `name[:arch] [(operator version)]`; what follows (architectures, build profiles) is for source packages alone.
pub(super) fn relation(text: &str) -> Option<Relation<'_>> {
    let text = text.trim();
    let end = text.find(|c: char| c.is_whitespace() || "([<".contains(c)).unwrap_or(text.len());
    let (name, rest) = text.split_at(end);
    let (name, arch) = name.split_once(':').map_or((name, None), |(name, arch)| (name, Some(arch)));
    if name.is_empty() {
        return None;
    }
    let rest = rest.trim_start();
    let version = match rest.strip_prefix('(') {
        None => None,
        Some(inner) => {
            let inner = inner.split_once(')')?.0.trim();
            let (start, operator) = OPERATORS.iter().find(|(start, _)| inner.starts_with(start))?;
            let version = inner[start.len()..].trim();
            if version.is_empty() {
                return None;
            }
            Some((*operator, version))
        }
    };
    Some(Relation { name, arch, version })
}

impl Relation<'_> {
    /// Whether it means packages of `native`, the one architecture there is. Whether a package allows `any` is not looked at: with one
    /// architecture it is the same package.
    pub(super) fn is_for(&self, native: &str) -> bool {
        self.arch.is_none_or(|arch| ["any", "native", "all", native].contains(&arch))
    }

    /// Whether a package of its name and this version will do.
    pub(super) fn accepts(&self, version: &str) -> bool {
        self.version.is_none_or(|(operator, wanted)| {
            let order = version::compare(version, wanted);
            match operator {
                Operator::Earlier => order == Ordering::Less,
                Operator::NotLater => order != Ordering::Greater,
                Operator::Equal => order == Ordering::Equal,
                Operator::NotEarlier => order != Ordering::Less,
                Operator::Later => order == Ordering::Greater,
            }
        })
    }

    /// Whether what provides its name will do: with a version if `provided` has one (policy §7.5), else only if none is asked for.
    pub(super) fn accepts_provided(&self, provided: &Relation<'_>) -> bool {
        match provided.version {
            Some((Operator::Equal, version)) => self.accepts(version),
            _ => self.version.is_none(),
        }
    }
}

impl fmt::Display for Relation<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name)?;
        let Some((operator, version)) = self.version else { return Ok(()) };
        let text = OPERATORS.iter().find(|(_, known)| *known == operator).map_or("", |(text, _)| *text);
        write!(f, " ({text} {version})")
    }
}

/// A field, for the fuzz targets: what was read reads the same when it is written.
#[cfg(any(test, feature = "fuzz"))]
pub(in crate::source) fn fuzz(field: &str) {
    for (group, relations) in groups(field) {
        for one in &relations {
            assert!(group.contains(one.name));
            let text = one.to_string();
            let again = relation(&text).expect("what was written");
            assert_eq!((again.name, again.version), (one.name, one.version), "{text:?}");
            one.accepts(group);
            one.is_for("amd64");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn one(text: &str) -> Relation<'_> {
        relation(text).unwrap()
    }

    #[test]
    fn a_field_is_groups_of_alternatives() {
        let field = "libc6 (>= 2.36), python3:any,\n perl-base | perl (<< 5.40~), awk";
        let names: Vec<Vec<&str>> =
            groups(field).map(|(_, group)| group.iter().map(|one| one.name).collect()).collect();
        assert_eq!(names, [vec!["libc6"], vec!["python3"], vec!["perl-base", "perl"], vec!["awk"]]);
        assert_eq!(one("python3:any").arch, Some("any"));
        assert_eq!(one("x(>>1:2-3)").version, Some((Operator::Later, "1:2-3")));
        assert_eq!(one("gcc [amd64] <!nocheck>").name, "gcc");
        for bad in ["", " ", "(>= 1)", "x (1)", "x (>= )", "x (>= 1", "x (~ 1)"] {
            assert_eq!(relation(bad), None, "{bad:?}");
        }
        assert!(groups("a, x (~ 1)").nth(1).unwrap().1.is_empty());
    }

    #[test]
    fn which_versions_will_do() {
        for (text, yes, no) in [
            ("x (<< 2)", "1.9", "2"),
            ("x (<= 2)", "2", "2-1"),
            ("x (< 2)", "2", "2.1"),
            ("x (= 2-1)", "2-1", "2-1+b1"),
            ("x (>= 2~)", "2~rc1", "1.9"),
            ("x (>> 2)", "2-1", "2"),
        ] {
            assert!(one(text).accepts(yes) && !one(text).accepts(no), "{text}");
        }
        assert!(one("x").accepts("0"));
        assert!(one("x:any").is_for("amd64") && one("x:amd64").is_for("amd64") && !one("x:i386").is_for("amd64"));
    }

    #[test]
    fn what_is_provided_has_a_version_or_none() {
        let provided = |asked: &str, provided: &str| one(asked).accepts_provided(&one(provided));
        assert!(provided("awk", "awk") && provided("awk", "awk (= 1)") && provided("awk (>= 1)", "awk (= 1)"));
        assert!(!provided("awk (>= 1)", "awk") && !provided("awk (>> 1)", "awk (= 1)"));
    }
}
