//! `quiz snap`: saves the project's machine under a name when a program has run in it, shows those that there are, and removes them.

use super::args::Snap;
use super::up;
use crate::boot::Outcome;
use crate::engine::{Engine, named};
use crate::error::{Error, Result};
use crate::report::{self, Style};
use crate::status;

pub(super) fn run(engine: &Engine<'_>, snap: &Snap, json: bool, style: &Style) -> Result<u8> {
    let Some(name) = &snap.name else {
        let all = named::all(engine)?;
        report::result(&if json {
            format!("{}\n", report::own_snapshots_json(&all))
        } else {
            report::own_snapshots(&all, style)
        })?;
        return Ok(status::FINE);
    };
    if snap.rm {
        named::remove(engine, name)?;
        return Ok(status::FINE);
    }
    named::check(name)?;
    if snap.guest.no_snapshot {
        return Err(Error::input("quiz snap saves a snapshot: it cannot be used with --no-snapshot"));
    }
    // Checked first, so that a mistake is told before a build of minutes.
    if !snap.replace && named::exists(engine, name)? {
        return Err(Error::input(format!("there is a snapshot {name} already"))
            .hint(format!("quiz snap {name} --replace makes it anew, quiz snap {name} --rm removes it")));
    }
    let outcome = up::keep(engine, &snap.up(), name, snap.replace)?;
    Ok(outcome.as_ref().map_or(status::FINE, Outcome::status))
}
