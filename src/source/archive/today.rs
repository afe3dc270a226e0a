//! What a suite has today, by its lists. Asks nobody.

use super::lists::List;
use super::stanza::Packages;
use super::{Source, depends, stanza};
use crate::error::{Error, Result};
use crate::source::{Package, version};
use std::collections::BTreeSet;

/// What a suite has.
pub(in crate::source) struct Today(pub(super) Vec<List>);

impl Today {
    /// All versions of the packages whose names are accepted, sorted.
    pub(in crate::source) fn versions(&self, is_wanted: &dyn Fn(&str) -> bool) -> Result<Vec<Package>> {
        let packages = packages(&self.0);
        let wanted = packages.all().filter(|entry| is_wanted(entry.name));
        // Several places may have the same one.
        Ok(wanted.map(stanza::Entry::package).collect::<Result<BTreeSet<_>>>()?.into_iter().collect())
    }

    /// All versions of a source package.
    pub(in crate::source) fn sources(&self, name: &str) -> Result<Vec<Source>> {
        let packages = packages(&self.0);
        let source = |(_, entry): (usize, &stanza::Entry)| entry.source(self.0[entry.list].place);
        packages.named(name).map(source).collect()
    }

    /// The first package that is accepted of those that `name` depends on, in the version that would be installed; and its version, if
    /// exactly one will do.
    pub(in crate::source) fn dependency(
        &self,
        name: &str,
        accepts: &dyn Fn(&str) -> bool,
    ) -> Option<(String, Option<String>)> {
        let packages = packages(&self.0);
        // As with apt: backports count only where nothing else has the package.
        let automatic = |entry: &stanza::Entry| !self.0[entry.list].not_automatic;
        let newest = packages.named(name).max_by(|(_, a), (_, b)| {
            automatic(a).cmp(&automatic(b)).then_with(|| version::compare(a.version, b.version))
        });
        let mut all = depends::groups(newest?.1.field("Depends")).flat_map(|(_, relations)| relations);
        let relation = all.find(|relation| accepts(relation.name))?;
        let exact = relation.version.filter(|(operator, _)| *operator == depends::Operator::Equal);
        Some((relation.name.to_owned(), exact.map(|(_, version)| version.to_owned())))
    }

    /// The package, those `along` that are there, and what all of them depend on, as far as its name is accepted, sorted. What they name with
    /// a version is taken in that one, anything else in the newest.
    pub(in crate::source) fn with(
        &self,
        package: &Package,
        along: &[String],
        accepts: &dyn Fn(&str) -> bool,
    ) -> Result<Vec<Package>> {
        let packages = packages(&self.0);
        let named = |name: &str, fits: &dyn Fn(&str) -> bool| {
            let all = packages.named(name).map(|(_, entry)| *entry).filter(|entry| fits(entry.version));
            all.max_by(|a, b| version::compare(a.version, b.version))
        };
        let is_it = |version: &str| version == package.version;
        let mut todo: Vec<stanza::Entry> = named(&package.name, &is_it).into_iter().collect();
        todo.extend(along.iter().filter_map(|name| named(name, &is_it)));
        let mut found = BTreeSet::new();
        while let Some(entry) = todo.pop() {
            if !found.insert(entry.package()?) {
                continue;
            }
            for (group, relations) in depends::groups(entry.field("Depends")) {
                let mut relations = relations.iter().filter(|relation| accepts(relation.name)).peekable();
                let is_there = |name: &str| todo.iter().any(|e| e.name == name) || found.iter().any(|p| p.name == name);
                if relations.peek().is_none() || relations.clone().any(|relation| is_there(relation.name)) {
                    continue;
                }
                let next = relations.find_map(|relation| named(relation.name, &|version| relation.accepts(version)));
                todo.push(next.ok_or_else(|| {
                    let (name, version) = (entry.name, entry.version);
                    Error::input(format!("{name} {version} depends on {group}, which the suite does not have"))
                })?);
            }
        }
        Ok(found.into_iter().collect())
    }
}

pub(super) fn packages(lists: &[List]) -> Packages<'_> {
    let mut packages = Packages::default();
    for (number, list) in lists.iter().enumerate() {
        packages.add(&list.text, number);
    }
    packages
}
