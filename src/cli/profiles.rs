//! `quiz profiles`: all of them, what each touches and would cost now.
//!
//! Makes nothing of what a profile asks for.

use super::args::Cli;
use crate::build::{StageState, last_took};
use crate::engine::{Engine, IMAGE, Scans};
use crate::error::Result;
use crate::load::Profile;
use crate::report::{self, Cost, Listed, Style};
use std::time::Duration;

/// Shows every profile.
///
/// # Errors
/// One of the project's own is broken.
pub(super) fn list(engine: &Engine<'_>, cli: &Cli, style: &Style) -> Result<()> {
    let mut scans = Scans::new();
    let on = &engine.project.profiles;
    let listed = engine.project.all_profiles()?.into_iter().map(|alone| {
        let active = on.iter().find(|profile| profile.name == alone.name);
        let cost = match cost(engine, cli, active.is_some(), &alone, &mut scans) {
            Ok(cost) => cost,
            Err(error) => Cost::No(error.to_string()),
        };
        let own = alone.path.starts_with(engine.project.profiles_dir());
        Listed { on: active.is_some(), own, cost, profile: active.cloned().unwrap_or(alone) }
    });
    let listed: Vec<Listed> = listed.collect();
    report::result(&if cli.global.json {
        format!("{}\n", report::profiles_json(&listed))
    } else {
        report::profiles(&listed, style)
    })
}

/// What is missing when this profile is on, too.
fn cost(engine: &Engine<'_>, cli: &Cli, on: bool, profile: &Profile, scans: &mut Scans) -> Result<Cost> {
    let mut cli = cli.clone();
    // One that is on keeps its options.
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
