//! `quiz profiles`: all of them, what each touches and would cost now; and a start for one of the user's own.
//!
//! Makes nothing of what a profile asks for.

use super::args::Cli;
use crate::build::{StageState, last_took};
use crate::engine::{Engine, IMAGE, Scans};
use crate::error::{Error, Result};
use crate::load::{Profile, nearest};
use crate::report::{self, Cost, Listed, Style};
use std::fs;
use std::io::{ErrorKind, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::time::Duration;

/// What a profile of one's own starts from. NAME and VARIABLE stand for its name, as users write it and as hooks see it.
const START: [(&str, &str, u32); 2] =
    [("profile.toml", include_str!("start/profile.toml"), 0o666), ("init", include_str!("start/init"), 0o777)];

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
        report::profiles(&listed, report::columns(), style)
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
            None => error.hint("all that there are: quiz profiles"),
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

/// Writes a start for a profile of the project's own, which is one already.
///
/// # Errors
/// No name for one, or one that is there.
pub(super) fn new(engine: &Engine<'_>, name: &str) -> Result<()> {
    if !is_name(name) {
        return Err(Error::input(format!("`{name}` is no name for a profile"))
            .hint("small letters, digits and dashes, a letter first: quiz profiles new my-test"));
    }
    let folder = engine.project.profiles_dir().join(name);
    if let Some(there) = engine.project.all_profiles()?.iter().find(|profile| profile.name == name) {
        return Err(Error::input(format!("there is a profile {name}: {}", there.path.display()))
            .hint(format!("take another name, or edit {}", folder.join("profile.toml").display())));
    }
    engine.project.check_written(&engine.project.profiles_dir())?;
    let write = || {
        fs::create_dir_all(engine.project.profiles_dir())?;
        // Not the folder of somebody else, who is not done with it yet.
        fs::create_dir(&folder)?;
        let variable = name.to_uppercase().replace('-', "_");
        for (file, text, mode) in START {
            let text = text.replace("VARIABLE", &variable).replace("NAME", name);
            let file = fs::File::options().write(true).create_new(true).mode(mode).open(folder.join(file));
            file?.write_all(text.as_bytes())?;
        }
        Ok(())
    };
    write().map_err(|e: std::io::Error| match e.kind() {
        ErrorKind::AlreadyExists => Error::input(format!("{} is there already", folder.display())),
        _ => Error::input(format!("cannot write {}", folder.display())).because(e),
    })?;
    report::result(&format!("{}\n", folder.display()))
}

/// It is a folder, a part of variables' names, and what stands before `:` behind -p.
fn is_name(name: &str) -> bool {
    name.starts_with(|c: char| c.is_ascii_lowercase())
        && name.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_small_letters_digits_and_dashes() {
        assert!(["a", "my-test", "raid5"].into_iter().all(is_name));
        for wrong in ["", "-a", "5a", "A", "a b", "a/b", "..", "a.b", "a_b", "ä", "a:b"] {
            assert!(!is_name(wrong), "{wrong}");
        }
    }
}
