//! `quiz gc`: removes from the cache what was not used for a while, or until it fits a size.

use crate::engine::holders::Holders;
use crate::engine::{Engine, named, tidy};
use crate::error::{Error, Result};
use crate::event::told::{Slow, Teller, slowly};
use crate::event::{Event, Unit};
use crate::{host, report};
use quiz_cache::{Collected, Step};
use std::cell::RefCell;
use std::time::{Duration, Instant};

/// What was asked for.
#[derive(Debug, Clone, Copy)]
pub(super) struct Asked {
    /// Days without a use.
    pub(super) days: u32,
    /// Instead: bytes that may stay.
    pub(super) most: Option<u64>,
    /// Nothing is removed.
    pub(super) dry_run: bool,
    /// A run has started it: nobody reads what it says.
    pub(super) by_itself: bool,
}

pub(super) fn run(engine: &Engine<'_>, asked: Asked, json: bool) -> Result<()> {
    let Asked { most, dry_run, by_itself, .. } = asked;
    if let (true, Some(most)) = (by_itself, most) {
        return tidy::run(engine, most).map(drop);
    }
    // First, as they cost least to have again: where a size is asked for, results go only for what is too much without these.
    let days = if most.is_some() { tidy::DAYS } else { asked.days };
    let packages = tidy::packages(engine, days, dry_run)?;
    // Where nothing is removed these bytes are still there, and count as if they were not.
    let asked =
        Asked { most: most.map(|most| if dry_run { most.saturating_add(packages.bytes) } else { most }), ..asked };
    let (mut collected, left) = slowly("the cache", Unit::Objects, engine.events, |slow| collect(engine, asked, slow))?;
    let count = collected.entry("source").or_default();
    (count.number, count.bytes) = (count.number + packages.number, count.bytes + packages.bytes);
    if asked.most.is_some_and(|most| left > most) {
        let message = format!(
            "{} are left: what was used in the last day stays, and so do the last results of projects that are still there, \
                     the downloads of the last month, pins, and snapshots of `quiz snap`; quiz gc --older-than DAYS goes by age alone",
            report::size(left)
        );
        (engine.events)(Event::Warning { message });
    }
    for named in named::deserted(&engine.cache)? {
        let (size, dir) = (report::size(named.size), host::quoted(&named.owner));
        let message = format!(
            "the snapshot {} of {dir}, a project that is gone, takes {size}; this removes it: mkdir -p {dir} && quiz -C {dir} snap {} --rm",
            named.name, named.name
        );
        (engine.events)(Event::Warning { message });
    }
    let text = if json { format!("{}\n", report::gc_json(&collected)) } else { report::gc(&collected, dry_run) };
    report::result(&text)
}

/// What is removed, and how many bytes are left where a size was asked for.
fn collect(engine: &Engine<'_>, asked: Asked, slow: &Slow<'_>) -> Result<(Collected, u64)> {
    let Asked { days, most, dry_run, .. } = asked;
    let unused = Duration::from_secs(u64::from(days) * 24 * 60 * 60);
    let removing = RefCell::new(None);
    let told = |step| match step {
        // This step comes when all has been looked at, so the line that says it is being looked at ends here.
        Step::Waiting => {
            slow.over();
            (engine.events)(Event::Paused { what: "every build".to_owned() });
        }
        Step::Removed { done, all } => {
            slow.over();
            let new = || Teller::new("removing", Unit::Objects, all as u64, engine.events);
            removing.borrow_mut().get_or_insert_with(new).tell(done as u64);
        }
    };
    let failed = |e| Error::build("the cache cannot be cleaned up").because(e);
    let began = Instant::now();
    let holders = Holders::find(&engine.cache)?;
    if !dry_run {
        holders.remember(&engine.cache)?;
    }
    // Who asks for a size, other than who asks for an age, did not say what may go: more is kept then.
    let roots = holders.roots(most.is_some());
    // Runs that began while holders were looked for used things since then: these stay.
    let unused = unused + began.elapsed();
    match most {
        None => engine.cache.collect(unused, &roots, dry_run, &told).map(|collected| (collected, 0)),
        Some(most) => {
            engine.cache.collect_to(most, &roots, dry_run, &told).map(|fitted| (fitted.collected, fitted.left))
        }
    }
    .map_err(failed)
}
