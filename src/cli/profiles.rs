//! `quiz profiles`: all of them, what each touches and would cost now.
//!
//! Makes nothing of what a profile asks for.

use super::args::Cli;
use crate::build::{StageState, last_took};
use crate::engine::{Engine, IMAGE, Scans};
use crate::error::{Error, Result};
use crate::load::{Profile, nearest};
use crate::report::{self, Cost, Listed, Style};
use std::time::Duration;

/// Shows every profile in a table.
///
/// # Errors
/// One of the project's own is broken.
pub(super) fn list(engine: &Engine<'_>, cli: &Cli, style: &Style) -> Result<()> {
    let mut scans = Scans::new();
    let all = engine.project.all_profiles()?.into_iter();
    let listed: Vec<Listed> = all.map(|alone| listed(engine, cli, alone, &mut scans)).collect();
    report::result(&if cli.global.json {
        format!("{}\n", report::profiles_json(&listed))
    } else {
        report::profiles(&listed, report::screen(), style)
    })
}

/// Shows all of one profile.
///
/// # Errors
/// There is none of that name, or one of the project's own is broken.
pub(super) fn show(engine: &Engine<'_>, name: &str, cli: &Cli, style: &Style) -> Result<()> {
    let all = engine.project.all_profiles()?;
    let Some(alone) = all.iter().find(|profile| profile.name == name) else {
        let error = Error::input(format!("there is no profile `{name}`"));
        return Err(match nearest(name, all.iter().map(|profile| profile.name.as_str())) {
            Some(near) => error.hint(format!("did you mean `{near}`? quiz profiles {near}")),
            None => error.hint("quiz profiles lists all"),
        });
    };
    let listed = listed(engine, cli, alone.clone(), &mut Scans::new());
    report::result(&if cli.global.json {
        format!("{}\n", report::profile_json(&listed))
    } else {
        report::profile(&listed, style)
    })
}

fn listed(engine: &Engine<'_>, cli: &Cli, alone: Profile, scans: &mut Scans) -> Listed {
    let active = engine.project.profiles.iter().find(|profile| profile.name == alone.name);
    let cost = match cost(engine, cli, active.is_some(), &alone, scans) {
        Ok(cost) => cost,
        Err(error) => Cost::No(error.to_string()),
    };
    let own = alone.path.starts_with(engine.project.profiles_dir());
    Listed { on: active.is_some(), own, cost, profile: active.cloned().unwrap_or(alone) }
}

/// What has to be made when this profile is on as well.
fn cost(engine: &Engine<'_>, cli: &Cli, on: bool, profile: &Profile, scans: &mut Scans) -> Result<Cost> {
    let mut cli = cli.clone();
    // A profile that is on already keeps its options.
    cli.global.profile.extend((!on).then(|| profile.name.clone()));
    let with = Engine::open(&cli.invocation(), engine.events)?;
    let wanted = with.stages([IMAGE])?;
    let (mut stages, mut took, mut unknown) = (Vec::new(), Duration::ZERO, 0);
    for (id, state) in with.plan_with(&wanted, scans)? {
        if matches!(state, StageState::Known(_)) {
            continue;
        }
        let stage = &wanted.graph.stage(id).name;
        match last_took(&with.cache, &with.project.dir, stage)? {
            Some(last) => took = took.saturating_add(last),
            None => unknown += 1,
        }
        stages.push(stage.clone());
    }
    Ok(Cost::Stages { stages, took, unknown })
}
