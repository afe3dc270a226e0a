//! What is chosen, on archives of a few lines.

use super::*;

/// Each package as "name version field: value; field: value".
fn list(packages: &[&str]) -> String {
    let stanza = |text: &&str| {
        let (head, fields) = text.split_once(" - ").unwrap_or((text, ""));
        let (name, version) = head.split_once(' ').unwrap_or((head, "1"));
        let fields: String =
            fields.split("; ").filter(|field| !field.is_empty()).map(|field| format!("{field}\n")).collect();
        let sum = format!("{:064x}", name.len() * 1000 + version.len());
        format!("Package: {name}\nVersion: {version}\nArchitecture: amd64\n{fields}Size: 1\nSHA256: {sum}\n\n")
    };
    packages.iter().map(stanza).collect()
}

struct Case<'a> {
    names: &'a [&'a str],
    if_there: &'a [&'a str],
    essential: bool,
    pinned: &'a [Package],
}

const NONE: Case = Case { names: &[], if_there: &[], essential: false, pinned: &[] };

/// Of several lists; the last one is not automatic if there are more than two.
fn chosen_of(lists: &[&[&str]], case: &Case) -> Result<Vec<String>> {
    let texts: Vec<String> = lists.iter().map(|packages| list(packages)).collect();
    let mut packages = Packages::default();
    texts.iter().enumerate().for_each(|(number, text)| packages.add(text, number));
    let names = case.names.iter().map(|name| (*name).to_owned()).collect();
    let if_there: Vec<String> = case.if_there.iter().map(|name| (*name).to_owned()).collect();
    let asked =
        Asked { entry: "e", names: &names, if_there: &if_there, essential: case.essential, pinned: case.pinned };
    let request = Request { suite: "s", arch: "amd64", asked: &asked };
    let not_automatic: Vec<bool> = (0..lists.len()).map(|number| number == 2).collect();
    let chosen = resolve(&packages, &not_automatic, &request)?;
    Ok(chosen.iter().map(|entry| format!("{} {}", entry.name, entry.version)).collect())
}

/// The names that are chosen, each of which has one version.
fn chosen(packages: &[&str], names: &[&str]) -> String {
    let all = chosen_of(&[packages], &Case { names, ..NONE }).unwrap();
    all.iter().map(|one| one.split(' ').next().unwrap()).collect::<Vec<_>>().join(" ")
}

fn refused(packages: &[&str], names: &[&str]) -> (String, Vec<String>, Vec<String>) {
    let error = chosen_of(&[packages], &Case { names, ..NONE }).unwrap_err();
    (error.to_string(), error.details().to_vec(), error.hints().to_vec())
}

#[test]
fn what_is_asked_for_and_all_it_needs_in_circles_too() {
    let all = ["a - Depends: b (>= 1), c; Recommends: e", "b - Pre-Depends: d", "c - Depends: a", "d", "e", "f"];
    assert_eq!(chosen(&all, &["a"]), "a b c d");
    assert_eq!(chosen(&all, &["d"]), "d");
    assert_eq!(chosen(&all, &[]), "");
}

#[test]
fn of_alternatives_the_one_that_is_there_anyway_else_the_first_that_can_be() {
    let all = ["a - Depends: x | y", "b - Depends: y", "x", "y", "z - Depends: gone"];
    assert_eq!(chosen(&all, &["a"]), "a x");
    assert_eq!(chosen(&all, &["a", "y"]), "a y");
    assert_eq!(chosen(&all, &["a", "b"]), "a b y", "whatever comes first");
    // Not there, too old, and one whose own dependency nothing satisfies.
    assert_eq!(chosen(&["a - Depends: gone | x (>= 2) | z | y", "x", "y", "z - Depends: gone"], &["a"]), "a y");
    assert_eq!(chosen(&["a - Depends: x | y", "b - Conflicts: x", "x", "y"], &["a", "b"]), "a b y");
    // It comes out two steps later that x will not do.
    let deep = ["a - Depends: x | y", "b - Depends: u | v", "x - Depends: w", "w - Breaks: b", "y", "u", "v"];
    assert_eq!(chosen(&deep, &["a", "b"]), "a b u y");
}

#[test]
fn a_name_that_is_provided_means_the_real_one_then_the_priority_then_the_name() {
    let real = ["a - Depends: m", "m", "l - Provides: m; Priority: required"];
    assert_eq!(chosen(&real, &["a"]), "a m");
    let virtually = [
        "a - Depends: m",
        "z - Provides: m; Priority: important",
        "y - Provides: m; Priority: optional",
        "x - Provides: m, m2; Priority: optional",
    ];
    assert_eq!(chosen(&virtually, &["a"]), "a z");
    assert_eq!(chosen(&virtually[..1].iter().chain(&virtually[2..]).copied().collect::<Vec<_>>(), &["a"]), "a x");
    assert_eq!(chosen(&virtually, &["a", "y"]), "a y", "what is there anyway");
    assert_eq!(chosen(&virtually, &["m2"]), "x", "one that nobody else provides");
    let (error, _, hints) = refused(&virtually, &["m"]);
    assert_eq!(
        (error.as_str(), &hints[0][..]),
        ("e: s has no package m, but several packages provide it", "name one of them: z, x, y")
    );
}

#[test]
fn what_is_provided_in_a_version_and_what_is_not() {
    let all = ["a - Depends: m (>= 2)", "x - Provides: m", "y - Provides: m (= 1)", "z - Provides: m (= 2)"];
    assert_eq!(chosen(&all, &["a"]), "a z");
    assert_eq!(refused(&all[..3], &["a"]).0, "e: a of s cannot be installed");
}

#[test]
fn the_newest_version_counts_but_of_backports_and_what_is_pinned() {
    let (main, updates, backports) = (["x 1", "y 2"], ["x 1.1"], ["x 3", "b 1"]);
    let lists: [&[&str]; 3] = [&main, &updates, &backports];
    let of = |names: &[&str], pinned: &[Package]| chosen_of(&lists, &Case { names, pinned, ..NONE }).unwrap();
    assert_eq!(of(&["x", "b"], &[]), ["b 1", "x 1.1"]);
    let pin = |version: &str, sha256: String| Package {
        name: "x".into(),
        version: version.into(),
        arch: "amd64".into(),
        sha256,
        size: 1,
    };
    assert_eq!(of(&["x"], &[pin("1", format!("{:064x}", 1001))]), ["x 1"]);
    assert_eq!(of(&["x"], &[pin("1", "f".repeat(64))]), ["x 1.1"], "another file of that version");
    assert_eq!(of(&["x"], &[pin("0.9", format!("{:064x}", 1003))]), ["x 1.1"], "it is gone");
    // What is pinned does not fit what is new.
    let needs = ["x 1", "n - Depends: x (>= 1.1)"];
    let lists: [&[&str]; 2] = [&needs, &updates];
    let pinned = [pin("1", format!("{:064x}", 1001))];
    assert_eq!(chosen_of(&lists, &Case { names: &["n"], pinned: &pinned, ..NONE }).unwrap(), ["n 1", "x 1.1"]);
}

#[test]
fn essential_packages_and_those_that_may_be_there() {
    let all = ["base - Essential: yes; Depends: lib", "lib", "may", "other - Essential: no"];
    let case = Case { essential: true, if_there: &["may", "not"], ..NONE };
    assert_eq!(chosen_of(&[&all], &case).unwrap(), ["base 1", "lib 1", "may 1"]);
}

#[test]
fn qualifiers_of_architectures() {
    let all = ["a - Depends: x:any, y:native, z:amd64", "x", "y", "z", "b - Depends: x:i386"];
    assert_eq!(chosen(&all, &["a"]), "a x y z");
    assert_eq!(refused(&all, &["b"]).0, "e: b of s cannot be installed");
}

#[test]
fn an_unknown_name_says_the_nearest() {
    let (error, _, hints) = refused(&["bash", "dash"], &["bsah"]);
    assert_eq!((error.as_str(), &hints[0][..]), ("e: s has no package bsah", "did you mean bash?"));
}

#[test]
fn what_cannot_be_satisfied_says_the_chain_that_leads_there() {
    let all = ["a - Depends: b", "b - Depends: c | gone", "c - Depends: d (>= 2) | e (= 9)", "d 1.5", "e 1"];
    let (error, details, _) = refused(&all, &["a"]);
    assert_eq!(error, "e: c of s cannot be installed");
    assert_eq!(details, ["a → b → c → d (>= 2) | e (= 9)", "s has d 1.5, e 1"]);
    assert_eq!(refused(&["a - Depends: gone"], &["a"]).1, ["a → gone", "s has nothing of that name"]);
    assert_eq!(refused(&["a - Depends: b (~ 1)", "b"], &["a"]).0, "e: a of s cannot be installed");
}

#[test]
fn packages_that_conflict_are_both_named() {
    let all = ["a - Depends: x", "b - Depends: y", "x - Conflicts: y (<< 2)", "y 1"];
    for names in [["a", "b"], ["b", "a"]] {
        let (error, details, _) = refused(&all, &names);
        assert_eq!(error, "e: x 1 and y 1 of s cannot be installed together");
        assert_eq!(details, ["x: Conflicts: y (<< 2)", "a → x", "b → y"]);
    }
    assert_eq!(chosen(&["x - Breaks: y (<< 1)", "y"], &["x", "y"]), "x y");
    // A package that conflicts with a name that it provides itself conflicts only with the others that provide it.
    let mta = ["x - Provides: mta; Conflicts: mta", "y - Provides: mta; Conflicts: mta"];
    assert_eq!(chosen(&mta, &["x"]), "x");
    assert_eq!(refused(&mta, &["x", "y"]).0, "e: x 1 and y 1 of s cannot be installed together");
}

/// Choices without a way out end, and soon.
#[test]
fn no_number_of_choices_takes_for_ever() {
    let mut all: Vec<String> = (0..40).map(|n| format!("a{n} - Depends: x{n} | y{n}")).collect();
    all.extend((0..40).flat_map(|n| [format!("x{n}"), format!("y{n}")]));
    all.extend(["l - Depends: u | v".into(), "u - Depends: gone".into(), "v - Depends: gone".into()]);
    let names: Vec<String> = (0..40).map(|n| format!("a{n}")).chain(["l".to_owned()]).collect();
    let (all, names): (Vec<&str>, Vec<&str>) =
        (all.iter().map(String::as_str).collect(), names.iter().map(String::as_str).collect());
    assert_eq!(refused(&all, &names).0, "e: u of s cannot be installed");
}
