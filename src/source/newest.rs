//! Which package is meant by a version, and which suite has it: that of the first one, and what no suite has is an error that says what each
//! has instead. Downloads nothing but lists.

use super::apt::{Host, suites};
use super::archive::{Archive, Today, What};
use super::{Context, Package, version};
use crate::error::{Error, Kind, Result};
use crate::event::{Event, Events};

/// A package that is asked for by its version.
pub(super) struct Wanted<'a> {
    /// The entry of quiz.lock.
    pub entry: &'a str,
    /// As it was asked for, for messages: "default", a series, a version, a part of a name.
    pub version: &'a str,
    /// How that is to be read.
    pub means: Means<'a>,
    /// The suite that is looked at first.
    pub own: Option<&'a str>,
    /// The suites that the user named; then no others are looked at.
    pub asked: &'a [String],
    /// Those that have it when the first has not.
    pub suites: &'a [String],
    /// Whether a package of this name may be meant.
    pub is: &'a dyn Fn(&str) -> bool,
}

/// How the version chooses among the packages that may be meant.
#[derive(Debug, Clone, Copy)]
pub(super) enum Means<'a> {
    /// That on which this metapackage depends.
    Default(Option<&'a str>),
    /// The newest of that version or series.
    Version,
    /// The newest that there is: the name says which one.
    Name,
}

/// The package, out of the first of the suites that has it, and what that suite has besides.
pub(super) fn find_on(
    host: &Host,
    wanted: &Wanted<'_>,
    ctx: &Context,
    events: Events,
) -> Result<(String, Package, Today)> {
    let (mut there, mut unseen) = (Vec::new(), Vec::new());
    for suite in order(wanted) {
        let (version, packages, today) = match look(host, wanted, &suite, ctx, events) {
            // The user did not name this suite, so it is only passed over: it may be gone from the mirrors, or no package source has it.
            Err(error) if wanted.asked.is_empty() && error.kind() == Kind::Input => {
                events(Event::Note { message: format!("{suite} is not looked at: {error}") });
                unseen.push((suite, error));
                continue;
            }
            other => other?,
        };
        let versions: Vec<&str> = packages.iter().map(|p| p.version.as_str()).collect();
        let newest = match &version {
            Some(version) => version::newest(version, versions.iter().copied()),
            None => versions.iter().copied().max_by(|a, b| version::compare(a, b)),
        };
        if let Some(package) = newest.and_then(|newest| packages.iter().find(|p| p.version == newest)) {
            return Ok((suite, package.clone(), today));
        }
        there.push((suite, packages));
    }
    // Where none could be looked at, the reason of the first is what there is to say.
    if there.is_empty() && !unseen.is_empty() {
        return Err(unseen.swap_remove(0).1);
    }
    Err(nowhere(wanted, &there, &unseen))
}

/// The suites to look in, one after the other: those that the user named; if he named none, the first (`own`), if there is one, its
/// backports, and the others.
fn order(wanted: &Wanted<'_>) -> Vec<String> {
    if !wanted.asked.is_empty() {
        return wanted.asked.to_vec();
    }
    let own = wanted.own;
    let others = wanted.suites.iter().map(String::as_str).filter(|suite| Some(*suite) != own);
    let (near, far): (Vec<&str>, Vec<&str>) = others.partition(|suite| Some(suites::split(suite).0) == own);
    own.into_iter().chain(near).chain(far).map(str::to_owned).collect()
}

/// All packages of a suite that may be meant, and which version of them is, if not the newest.
fn look(
    host: &Host,
    wanted: &Wanted<'_>,
    suite: &str,
    ctx: &Context,
    events: Events,
) -> Result<(Option<String>, Vec<Package>, Today)> {
    let today = Archive::new(host, suite, What::Packages, ctx, events)?.today(wanted.entry)?;
    let (version, all) = match wanted.means {
        Means::Default(metapackage) => {
            let (name, version) = default(wanted, metapackage, &today, suite)?;
            (version, today.versions(&|other| other == name)?)
        }
        Means::Version => (Some(wanted.version.to_owned()), today.versions(wanted.is)?),
        Means::Name => (None, today.versions(wanted.is)?),
    };
    Ok((version, all, today))
}

/// The error for a version that no suite has, with what each has instead.
fn nowhere(wanted: &Wanted<'_>, there: &[(String, Vec<Package>)], unseen: &[(String, Error)]) -> Error {
    let has = |(suite, packages): &'_ (String, Vec<Package>)| {
        (format!("{suite} has"), packages.iter().map(|p| p.version.clone()).collect::<Vec<_>>())
    };
    let has: Vec<(String, Vec<String>)> = there.iter().map(has).collect();
    let has: Vec<(String, Vec<&str>)> =
        has.iter().map(|(place, all)| (place.clone(), all.iter().map(String::as_str).collect())).collect();
    let error = version::nowhere(wanted.entry, wanted.version, &has);
    // The error of a suite that is gone has a detail for each place that lacks it. Without details the suite could not be asked.
    let (silent, gone): (Vec<_>, Vec<_>) = unseen.iter().partition(|(_, why)| why.details().is_empty());
    let names = |all: &[&(String, Error)]| all.iter().map(|(suite, _)| suite.as_str()).collect::<Vec<_>>().join(", ");
    let error = if gone.is_empty() { error } else { error.hint(format!("there is no suite {}", names(&gone))) };
    let Some((_, why)) = silent.first() else { return error };
    let error = error.hint(format!("not looked at: {}: {why}", names(&silent)));
    why.hints().iter().fold(error, |error, hint| error.hint(hint.clone()))
}

/// The package that the metapackage stands for, and its version if that is told too.
fn default(
    wanted: &Wanted<'_>,
    metapackage: Option<&str>,
    today: &Today,
    suite: &str,
) -> Result<(String, Option<String>)> {
    let entry = wanted.entry;
    let name = metapackage.ok_or_else(|| {
        Error::input(format!("{entry}: there is no default version")).hint("say which version is wanted, such as 6.1")
    })?;
    today.dependency(name, wanted.is).ok_or_else(|| {
        Error::input(format!("{entry}: {suite} has no package {name}, so there is no default version"))
            .hint("say which version is wanted, such as 6.1, or take another origin")
    })
}
