//! Which profiles are on, and in which order: those that are asked for, those that they need, none that do not go together.
//!
//! Knows nothing of what a profile does.

use super::options;
use crate::document::{Document, nearest};
use crate::error::{Error, Place, Result};
use petgraph::algo::toposort;
use petgraph::graph::DiGraph;
use std::collections::BTreeMap;
use std::path::Path;

/// What a profile says of other profiles.
#[derive(Debug, Clone, Copy)]
pub(super) struct Relations<'a> {
    /// Profiles that have to be on, too, and come first; `a|b`: one of these, the first one when none is on.
    pub needs: &'a [String],
    /// Profiles that must not be on.
    pub conflicts: &'a [String],
    /// The file in which it says so.
    pub file: Option<&'a Document>,
}

/// The profiles that are on, each with what was written behind its name, what one needs before it; else in the order of `asked`.
///
/// # Errors
/// A name that `all` does not have, two that do not go together, or a circle. `own` is where the user's own ones lie, `place` where a
/// file asks for one.
pub(super) fn choose<'a>(
    all: &BTreeMap<&'a str, Relations<'a>>,
    asked: &[&'a str],
    own: &Path,
    place: &dyn Fn(&str) -> Option<Place>,
) -> Result<Vec<(&'a str, &'a str)>> {
    let name_of = |text: &'a str| options::split(text).0;
    let mut on: Vec<&'a str> = Vec::new();
    // Of a profile that is named twice, with other options, the last one counts.
    for text in asked {
        known(all, name_of(text), own).map_err(|e| e.at(place(name_of(text))))?;
        match on.iter().position(|other| name_of(other) == name_of(text)) {
            Some(at) => on[at] = text,
            None => on.push(text),
        }
    }
    let mut next = 0;
    while let Some(text) = on.get(next).copied() {
        next += 1;
        let relations = &all[name_of(text)];
        for (n, need) in relations.needs.iter().enumerate() {
            let first = need.split('|').next().unwrap_or_default();
            let place = || Some(relations.file?.value(&["needs", &n.to_string()]).narrowed(first));
            let told = |e: Error| e.detail(format!("the profile {} needs it", name_of(text))).at(place());
            known(all, first, own).map_err(told)?;
            if !need.split('|').any(|one| on.iter().any(|other| name_of(other) == one)) {
                on.push(first);
            }
        }
    }
    let names: Vec<&str> = on.iter().map(|text| name_of(text)).collect();
    for name in &names {
        if let Some(other) = all[name].conflicts.iter().find(|other| names.contains(&other.as_str())) {
            return Err(Error::input(format!("the profiles {name} and {other} do not go together"))
                .at(place(name))
                .hint("take one of them out: it is in -p, in QUIZ_PROFILES, or in a quiz.toml (`quiz config` tells)"));
        }
    }
    Ok(order(all, &names)?.into_iter().map(|at| (names[at], on[at])).collect())
}

fn known(all: &BTreeMap<&str, Relations<'_>>, name: &str, own: &Path) -> Result<()> {
    if all.contains_key(name) {
        return Ok(());
    }
    let error = Error::input(format!("there is no profile `{name}`"));
    Err(match nearest(name, all.keys().copied()) {
        Some(near) => error.hint(format!("did you mean `{near}`?")),
        None => error
            .hint("`quiz profiles` lists them")
            .hint(format!("a profile of your own goes into {}: `quiz new profile {name}`", own.join(name).display())),
    })
}

/// The numbers of `names`, what one needs before it, else as they are.
fn order(all: &BTreeMap<&str, Relations<'_>>, names: &[&str]) -> Result<Vec<usize>> {
    let mut graph = DiGraph::<&str, ()>::new();
    let nodes: Vec<_> = names.iter().map(|name| graph.add_node(name)).collect();
    let mut after = vec![Vec::new(); names.len()];
    for (at, name) in names.iter().enumerate() {
        let needed = |other: &str| all[name].needs.iter().any(|need| need.split('|').any(|one| one == other));
        for (before, _) in names.iter().enumerate().filter(|(_, other)| needed(other)) {
            graph.add_edge(nodes[before], nodes[at], ());
            after[at].push(before);
        }
    }
    if let Err(circle) = toposort(&graph, None) {
        return Err(Error::input(format!("the profile {} needs itself, through others", graph[circle.node_id()])));
    }
    let (mut done, mut left): (Vec<usize>, Vec<usize>) = (Vec::new(), (0..names.len()).collect());
    while let Some(next) = left.iter().position(|at| after[*at].iter().all(|before| done.contains(before))) {
        done.push(left.remove(next));
    }
    Ok(done)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn chosen(profiles: &[(&str, &[&str], &[&str])], asked: &[&str]) -> Result<String> {
        let texts = |list: &[&str]| list.iter().map(|t| (*t).to_owned()).collect::<Vec<_>>();
        let owned: Vec<_> = profiles.iter().map(|(name, needs, not)| (*name, texts(needs), texts(not))).collect();
        let all =
            owned.iter().map(|(name, needs, conflicts)| (*name, Relations { needs, conflicts, file: None })).collect();
        let on = choose(&all, asked, Path::new("/own"), &|_| None)?;
        Ok(on.iter().map(|(_, text)| *text).collect::<Vec<_>>().join(" "))
    }

    #[test]
    fn what_a_profile_needs_comes_on_before_it() {
        let all: &[(&str, &[&str], &[&str])] =
            &[("zfs", &[], &[]), ("disk", &[], &[]), ("ram", &[], &[]), ("pool", &["zfs", "disk|ram"], &[])];
        assert_eq!(chosen(all, &["pool"]).unwrap(), "zfs disk pool");
        assert_eq!(chosen(all, &["pool:a=1", "ram:count=2"]).unwrap(), "ram:count=2 zfs pool:a=1");
        assert_eq!(chosen(all, &["ram", "disk", "ram:count=3"]).unwrap(), "ram:count=3 disk");
    }

    #[test]
    fn what_does_not_go_together_or_in_a_circle_is_refused() {
        let error = chosen(&[("a", &[], &["b"]), ("b", &[], &[])], &["b", "a"]).unwrap_err();
        assert_eq!(error.to_string(), "the profiles a and b do not go together");
        let error = chosen(&[("a", &["b"], &[]), ("b", &["a"], &[])], &["b"]).unwrap_err();
        assert!(error.to_string().contains("needs itself"), "{error}");
    }

    #[test]
    fn an_unknown_profile_names_the_nearest_or_where_one_goes() {
        let error = chosen(&[("blockdev", &[], &[])], &["blokdev:count=2"]).unwrap_err();
        assert_eq!(error.to_string(), "there is no profile `blokdev`");
        assert_eq!(error.hints(), ["did you mean `blockdev`?"]);
        assert!(chosen(&[], &["mine"]).unwrap_err().hints()[1].contains("quiz new profile mine"));
    }
}
