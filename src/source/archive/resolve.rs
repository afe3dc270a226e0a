//! Which packages are installed into an empty root for the names asked for: what `apt-get install --no-install-recommends` would take.
//! Knows no file and no server.
//!
//! Of a package the newest version counts, of those that are not from a list like backports, unless a version was pinned before. What a
//! dependency names is taken as apt takes it: what is chosen anyway, else the first alternative; of those that provide a name the real
//! package, then the one of the highest priority, then the first by name. Where apt would give up because two packages chosen so
//! conflict, the next alternative is tried.

mod state;

use super::Asked;
use super::depends::{Relation, groups};
use super::stanza::{Entry, Packages};
use crate::error::{Error, Result};
use crate::source::{Package, version};
use state::{Group, Partial};
use std::collections::BTreeSet;

/// What is asked for, and of which suite.
pub(super) struct Request<'a> {
    pub suite: &'a str,
    /// Debian's name of the architecture.
    pub arch: &'a str,
    pub asked: &'a Asked<'a>,
}

/// So many alternatives are tried before the first failure becomes the error.
const ATTEMPTS: usize = 500;

/// The packages, sorted by name.
///
/// # Errors
/// There is no package of a name, with the nearest; a dependency that nothing satisfies, with the chain that leads there; two packages
/// that conflict.
pub(super) fn resolve<'a>(packages: &Packages<'a>, lists: &[bool], request: &Request<'a>) -> Result<Vec<Entry<'a>>> {
    let with = Resolver { packages, lists, request, pinned: request.asked.pinned };
    match with.solve() {
        Err(_) if !request.asked.pinned.is_empty() => Resolver { pinned: &[], ..with }.solve(),
        result => result,
    }
}

struct Resolver<'r, 'a> {
    packages: &'r Packages<'a>,
    /// Which lists are taken only for what no other has (`NotAutomatic`).
    lists: &'r [bool],
    request: &'r Request<'a>,
    pinned: &'r [Package],
}

impl<'a> Resolver<'_, 'a> {
    fn solve(&self) -> Result<Vec<Entry<'a>>> {
        let mut state = Partial::default();
        let mut asked = BTreeSet::new();
        for name in self.request.asked.names {
            asked.insert(self.asked(name)?);
        }
        asked.extend(self.request.asked.if_there.iter().filter_map(|name| self.candidate(name)));
        if self.request.asked.essential {
            let names: BTreeSet<&str> =
                self.packages.essential().iter().map(|&i| self.packages.entry(i).name).collect();
            let says = |index: &usize| self.packages.entry(*index).field("Essential") == "yes";
            asked.extend(names.iter().filter_map(|name| self.candidate(name)).filter(says));
        }
        // In the order of names, so that a message is the same each time.
        let mut asked: Vec<usize> = asked.into_iter().collect();
        asked.sort_by_key(|&index| self.packages.entry(index).name);
        for index in asked {
            self.take(&mut state, index, None)?;
        }
        let mut attempts = ATTEMPTS;
        let chosen = self.close(state, &mut attempts)?.chosen;
        let mut entries: Vec<Entry<'a>> = chosen.keys().map(|&index| *self.packages.entry(index)).collect();
        entries.sort_by_key(|entry| entry.name);
        Ok(entries)
    }

    /// The package that a name asked for means.
    fn asked(&self, name: &str) -> Result<usize> {
        if let Some(index) = self.candidate(name) {
            return Ok(index);
        }
        let (entry, suite) = (self.request.asked.entry, self.request.suite);
        let virtually = Relation { name, arch: None, version: None };
        match &self.options(&virtually)[..] {
            [one] => Ok(*one),
            [] => {
                let error = Error::input(format!("{entry}: {suite} has no package {name}"));
                let near = self.packages.nearest(name);
                Err(near.into_iter().fold(error, |error, near| error.hint(format!("did you mean {near}?"))))
            }
            several => {
                let names: Vec<&str> = several.iter().map(|&index| self.packages.entry(index).name).collect();
                Err(Error::input(format!("{entry}: {suite} has no package {name}, but several packages provide it"))
                    .hint(format!("name one of them: {}", names.join(", "))))
            }
        }
    }

    /// The version of a package that counts.
    fn candidate(&self, name: &str) -> Option<usize> {
        let mut all: Vec<(usize, &Entry<'a>)> = self.packages.named(name).collect();
        let pinned = |entry: &Entry<'a>| {
            let mut pins = self.pinned.iter().filter(|pin| pin.name == entry.name && pin.version == entry.version);
            pins.any(|pin| entry.package().is_ok_and(|package| package == *pin))
        };
        let automatic = |entry: &Entry<'a>| !self.lists.get(entry.list).copied().unwrap_or(false);
        let wins = |a: &Entry<'a>, b: &Entry<'a>| {
            let order = pinned(a).cmp(&pinned(b)).then_with(|| automatic(a).cmp(&automatic(b)));
            order.then_with(|| version::compare(a.version, b.version))
        };
        // Of two equal ones that of the first list is taken: `max_by` gives the last one, so the order is reversed.
        all.reverse();
        all.into_iter().max_by(|(_, a), (_, b)| wins(a, b)).map(|(index, _)| index)
    }

    /// The packages that satisfy a relation, the best first.
    fn options(&self, relation: &Relation<'a>) -> Vec<usize> {
        if !relation.is_for(self.request.arch) {
            return Vec::new();
        }
        let is_candidate = |index: usize| self.candidate(self.packages.entry(index).name) == Some(index);
        let mut providers: Vec<usize> = self
            .packages
            .providing(relation.name)
            .filter(|(index, provided)| relation.accepts_provided(provided) && is_candidate(*index))
            .map(|(index, _)| index)
            .collect();
        let rank = |index: usize| {
            let entry = self.packages.entry(index);
            let essential = entry.field("Essential") == "yes";
            (!essential, priority(entry.field("Priority")), entry.name)
        };
        providers.sort_by_key(|&index| rank(index));
        let real = self.candidate(relation.name);
        let mut options: Vec<usize> =
            real.filter(|&index| relation.accepts(self.packages.entry(index).version)).into_iter().collect();
        providers.retain(|index| !options.contains(index));
        providers.dedup();
        options.extend(providers);
        options
    }

    /// Satisfies all that is open: first what leaves no choice, then the choices, each until one leads to an end.
    fn close(&self, mut state: Partial<'a>, attempts: &mut usize) -> Result<Partial<'a>> {
        let mut choices: Vec<(Group<'a>, Vec<usize>)> = Vec::new();
        while let Some(group) = state.open.pop_front() {
            let options: Vec<usize> = group.relations.iter().flat_map(|one| self.options(one)).collect();
            match &options[..] {
                _ if options.iter().any(|option| state.chosen.contains_key(option)) => {}
                [] => return Err(self.unsatisfied(&state, &group)),
                [one] => self.take(&mut state, *one, Some(group.owner))?,
                _ => choices.push((group, options)),
            }
        }
        choices.retain(|(_, options)| !options.iter().any(|option| state.chosen.contains_key(option)));
        if choices.is_empty() {
            return Ok(state);
        }
        let (group, options) = choices.remove(0);
        let mut first = None;
        for option in options {
            let mut next = state.clone();
            next.open.extend(choices.iter().map(|(group, _)| group.clone()));
            let tried = self.take(&mut next, option, Some(group.owner)).and_then(|()| self.close(next, attempts));
            match tried {
                Ok(state) => return Ok(state),
                Err(error) => first = first.or(Some(error)),
            }
            *attempts = attempts.saturating_sub(1);
            if *attempts == 0 {
                break;
            }
        }
        Err(first.unwrap_or_else(|| self.unsatisfied(&state, &group)))
    }

    /// Chooses a package, unless it conflicts with one that is chosen.
    fn take(&self, state: &mut Partial<'a>, index: usize, owner: Option<usize>) -> Result<()> {
        if state.chosen.contains_key(&index) {
            return Ok(());
        }
        let entry = self.packages.entry(index);
        state.chosen.insert(index, owner);
        let names = self.names(index);
        if let Some((other, relation, kind)) = state.against(index, &names, self.packages) {
            return Err(self.conflict(state, (other, relation, kind), index));
        }
        for kind in ["Conflicts", "Breaks"] {
            for relation in groups(entry.field(kind)).flat_map(|(_, one)| one) {
                if let Some(other) = self.chosen_as(state, &relation, index) {
                    return Err(self.conflict(state, (index, relation, kind), other));
                }
                state.refuse(relation, index, kind);
            }
        }
        for (text, relations) in ["Pre-Depends", "Depends"].into_iter().flat_map(|field| groups(entry.field(field))) {
            state.open.push_back(Group { owner: index, text, relations });
        }
        Ok(())
    }

    /// The name and version of a package, and what it provides.
    fn names(&self, index: usize) -> Vec<Relation<'a>> {
        let entry = self.packages.entry(index);
        let own =
            Relation { name: entry.name, arch: None, version: Some((super::depends::Operator::Equal, entry.version)) };
        let provided = groups(entry.field("Provides")).flat_map(|(_, one)| one);
        std::iter::once(own).chain(provided).collect()
    }

    /// A chosen package other than `index` that a relation means.
    fn chosen_as(&self, state: &Partial<'a>, relation: &Relation<'a>, index: usize) -> Option<usize> {
        let named = self.packages.named(relation.name).filter(|(_, entry)| relation.accepts(entry.version));
        let provided = self.packages.providing(relation.name).filter(|(_, one)| relation.accepts_provided(one));
        let mut all = named.map(|(other, _)| other).chain(provided.map(|(other, _)| other));
        all.find(|other| *other != index && state.chosen.contains_key(other))
    }

    fn unsatisfied(&self, state: &Partial<'a>, group: &Group<'a>) -> Error {
        let there = group.relations.iter().flat_map(|one| self.packages.named(one.name).map(|(_, entry)| entry));
        let there: Vec<String> = there.map(|entry| format!("{} {}", entry.name, entry.version)).collect();
        let has =
            if there.is_empty() { "has nothing of that name".to_owned() } else { format!("has {}", there.join(", ")) };
        let (entry, suite) = (self.request.asked.entry, self.request.suite);
        Error::build(format!("{entry}: {} of {suite} cannot be installed", self.packages.entry(group.owner).name))
            .detail(format!("{} → {}", self.chain(state, group.owner), group.text))
            .detail(format!("{suite} {has}"))
    }

    fn conflict(&self, state: &Partial<'a>, against: (usize, Relation<'a>, &str), with: usize) -> Error {
        let (index, relation, kind) = against;
        let name = |index: usize| format!("{} {}", self.packages.entry(index).name, self.packages.entry(index).version);
        let (entry, suite) = (self.request.asked.entry, self.request.suite);
        Error::build(format!("{entry}: {} and {} of {suite} cannot be installed together", name(index), name(with)))
            .detail(format!("{}: {kind}: {relation}", self.packages.entry(index).name))
            .detail(self.chain(state, index))
            .detail(self.chain(state, with))
    }

    /// Why a package is there: the one asked for, and what leads from it to this.
    fn chain(&self, state: &Partial<'a>, index: usize) -> String {
        let mut names = vec![self.packages.entry(index).name];
        let mut at = index;
        while let Some(Some(owner)) = state.chosen.get(&at) {
            names.push(self.packages.entry(*owner).name);
            at = *owner;
        }
        names.reverse();
        names.join(" → ")
    }
}

/// The order of priorities (policy §2.5).
fn priority(name: &str) -> usize {
    const ORDER: &[&str] = &["required", "important", "standard", "optional"];
    ORDER.iter().position(|known| *known == name).unwrap_or(ORDER.len())
}

#[cfg(test)]
mod tests;
