//! The drgn that looks into machines and memories: one that quiz brings, which is a stage as any other, or the host's.

use super::{Engine, outside};
use crate::build::Depth;
use crate::error::{Error, Result};
use crate::graph::Bound;
use crate::host::{self, rooted};
use crate::load::TOOLCHAIN;
use std::ffi::{OsStr, OsString};
use std::path::PathBuf;

const NAME: &str = "drgn";
const SETTING: &str = "drgn.program";
/// The stage with its Python package, whose root has the Python for it.
const STAGE: &str = "drgn";
const PYTHON: &str = "python3";
/// Of recipes/drgn: starts drgn.
const MODULE: &str = "quiz_drgn";

/// What starts it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Drgn {
    /// The words before its arguments.
    pub words: Vec<OsString>,
    /// Where its Python finds it, if that has to be told.
    pub package: Option<PathBuf>,
}

/// The drgn; one that quiz brings is made if it is not there.
///
/// # Errors
/// The setting is no word that it may be; there is none; it cannot be fetched or made.
pub fn made(engine: &Engine<'_>) -> Result<Drgn> {
    let settings = &engine.project.settings;
    match settings.text(SETTING) {
        "host" => installed(),
        TOOLCHAIN | "" => brought(engine).map_err(|error| {
            error.hint(format!(
                "or take the one that is installed here: {SETTING} = \"host\" in ~/.config/quiz/quiz.toml"
            ))
        }),
        other => Err(settings
            .wrong(SETTING, other, format!("{SETTING} = {other:?}: there is `{TOOLCHAIN}` and `host`"))
            .hint("`host` is the first one in PATH")),
    }
}

fn installed() -> Result<Drgn> {
    let path = host::path();
    let is_there = std::env::split_paths(&path).any(|folder| folder.join(NAME).is_file());
    if !is_there {
        return Err(Error::input(format!("{NAME} is not installed"))
            .hint("pipx install drgn, or your distribution's package of that name")
            .hint(format!("or take the one that quiz brings: {SETTING} = \"{TOOLCHAIN}\"")));
    }
    Ok(Drgn { words: vec![NAME.into()], package: None })
}

fn brought(engine: &Engine<'_>) -> Result<Drgn> {
    let stages = engine.stages([STAGE])?;
    let id = stages.graph.find(STAGE)?;
    outside::check(&stages, id)?;
    let root = match stages.graph.stage(id).toolchain().map(|input| &input.from) {
        Some(Bound::Output { stage, .. }) => *stage,
        _ => return Err(Error::build(format!("{STAGE}: it is made in no root of packages"))),
    };
    let made = engine.build(&stages, &[id, root], Depth::Outputs)?;
    let place = |id| made[&id].outputs.values().next().map(|output| engine.cache.path(output));
    let (Some(package), Some(root)) = (place(id), place(root)) else {
        return Err(Error::build(format!("{STAGE}: there is nothing of it")));
    };
    let python = rooted::find(&root, PYTHON)
        .ok_or_else(|| Error::build(format!("there is no {PYTHON} in the root {}", root.display())))?;
    // Python finds the rest of it by what it is called (--argv0, glibc 2.33). Neither the current folder, which may be somebody else's project, nor
    // what the user has installed for another Python is looked at.
    let mut words = rooted::words(&root, &python, &[OsStr::new("--argv0"), python.as_os_str()]);
    words.extend(["-P", "-s", "-m", MODULE].map(OsString::from));
    Ok(Drgn { words, package: Some(package) })
}
