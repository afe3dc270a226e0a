//! What is chosen so far, what is still open, and what may not be chosen any more.

use super::super::depends::Relation;
use super::super::stanza::Packages;
use std::collections::{BTreeMap, VecDeque};

/// A dependency: one of these is wanted.
#[derive(Debug, Clone)]
pub(super) struct Group<'a> {
    /// The package that has it.
    pub owner: usize,
    /// As it is written.
    pub text: &'a str,
    pub relations: Vec<Relation<'a>>,
}

/// A solution in the making.
#[derive(Debug, Clone, Default)]
pub(super) struct Partial<'a> {
    /// Each with the one whose dependency brought it.
    pub chosen: BTreeMap<usize, Option<usize>>,
    pub open: VecDeque<Group<'a>>,
    /// By name: what chosen packages conflict with, which of them, and in which field it says so.
    refused: BTreeMap<&'a str, Vec<(Relation<'a>, usize, &'static str)>>,
}

impl<'a> Partial<'a> {
    pub(super) fn refuse(&mut self, relation: Relation<'a>, owner: usize, field: &'static str) {
        self.refused.entry(relation.name).or_default().push((relation, owner, field));
    }

    /// The chosen package, if any, that conflicts with one of these names, the first of which is its own. Two versions of one package
    /// conflict, too.
    pub(super) fn against(
        &self,
        index: usize,
        names: &[Relation<'a>],
        packages: &Packages<'a>,
    ) -> Option<(usize, Relation<'a>, &'static str)> {
        let own = names.first()?;
        let twin = packages.named(own.name).find(|(other, _)| *other != index && self.chosen.contains_key(other));
        if let Some((other, _)) = twin {
            return Some((other, *own, "another version of"));
        }
        let meant = |(at, name): (usize, &Relation<'a>), relation: &Relation<'a>| match (at, name.version) {
            (0, Some((_, version))) => relation.accepts(version),
            _ => relation.accepts_provided(name),
        };
        let refusing = |(at, name): (usize, &Relation<'a>)| {
            let all = self.refused.get(name.name)?;
            all.iter().find(|(relation, owner, _)| *owner != index && meant((at, name), relation)).copied()
        };
        let (relation, owner, field) = names.iter().enumerate().find_map(refusing)?;
        Some((owner, relation, field))
    }
}
