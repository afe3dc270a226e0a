//! The drgn that looks into machines and memories: one that quiz brings, which is a stage as any other, or the host's.

use super::{Engine, outside};
use crate::build::Depth;
use crate::error::{Error, Kind, Result};
use crate::graph::Bound;
use crate::host::{self, rooted};
use crate::load::TOOLCHAIN;
use std::ffi::{OsStr, OsString};
use std::path::{Path, PathBuf};

/// What it is called, and the stage with its Python package, whose root has the Python for it.
const NAME: &str = "drgn";
const SETTING: &str = "drgn.program";
const HOST: &str = "host";
const PYTHON: &str = "python3";
/// The Python module of recipes/drgn that starts drgn.
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
/// The setting has a wrong value, or a project set it; there is no drgn; it cannot be fetched or made.
pub fn made(engine: &Engine<'_>) -> Result<Drgn> {
    let settings = &engine.project.settings;
    match settings.text(SETTING) {
        // The host's drgn looks for Python modules in the current folder first.
        HOST if engine.project.is_own(SETTING) => Err(settings
            .wrong(
                SETTING,
                HOST,
                format!(
                    "{SETTING} = {HOST:?} cannot be set by a project: that drgn loads Python files that lie in the project"
                ),
            )
            .hint("set it in ~/.config/quiz/quiz.toml, or for one command by QUIZ_DRGN_PROGRAM=host")),
        HOST => installed(),
        TOOLCHAIN => brought(engine).map_err(|error| match error.kind() {
            Kind::Build => error.hint(format!("or use the drgn that is installed on this machine: QUIZ_DRGN_PROGRAM={HOST}")),
            _ => error,
        }),
        other => Err(settings
            .wrong(SETTING, other, format!("{SETTING} = {other:?}: it can be `{TOOLCHAIN}` or `{HOST}`"))
            .hint(format!("`{HOST}` is the first drgn in PATH, `{TOOLCHAIN}` one that quiz brings"))),
    }
}

fn installed() -> Result<Drgn> {
    if host::find(NAME).is_none() {
        return Err(Error::input(format!("{NAME} is not installed"))
            .hint("pipx install drgn, or your distribution's package of that name")
            .hint(format!("or use the one that quiz brings: {SETTING} = \"{TOOLCHAIN}\"")));
    }
    Ok(Drgn { words: vec![NAME.into()], package: None })
}

fn brought(engine: &Engine<'_>) -> Result<Drgn> {
    let (stages, id) = outside::bound(engine, NAME)?;
    let root = match stages.graph.stage(id).toolchain().map(|input| &input.from) {
        Some(Bound::Output { stage, .. }) => *stage,
        _ => {
            return Err(Error::build(format!(
                "the stage {NAME} has no root of packages, in which its Python would be"
            )));
        }
    };
    let made = engine.build(&stages, &[id, root], Depth::Outputs)?;
    let place = |id| made[&id].outputs.values().next().map(|output| engine.cache.path(output));
    let (Some(package), Some(root)) = (place(id), place(root)) else {
        return Err(Error::build(format!("the stage {NAME} or its root has no output")));
    };
    started(&root, package)
}

/// What starts the drgn in `package` by the Python of `root`.
fn started(root: &Path, package: PathBuf) -> Result<Drgn> {
    let python = rooted::find(root, PYTHON)
        .ok_or_else(|| Error::build(format!("there is no {PYTHON} in the root {}", root.display())))?;
    // Python finds the rest of it by what it is called (--argv0, glibc 2.33). Neither the current folder, which may be somebody else's project, nor
    // what the user has installed for another Python is looked at.
    let mut words = rooted::words(root, &python, &[OsStr::new("--argv0"), python.as_os_str()]);
    words.extend(["-P", "-s", "-m", MODULE].map(OsString::from));
    Ok(Drgn { words, package: Some(package) })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn its_python_is_that_of_the_root_and_looks_into_no_folder_of_the_users() {
        assert!(started(tempfile::tempdir().unwrap().path(), PathBuf::new()).is_err());
        let root = rooted::tests::root("python3");
        let words = started(root.path(), "/p".into()).unwrap().words;
        let wanted = "ROOT/usr/lib64/ld-linux-x86-64.so.2 --inhibit-cache --argv0 ROOT/usr/bin/python3 --library-path \
            ROOT/usr/lib/x86_64-linux-gnu ROOT/usr/bin/python3 -P -s -m quiz_drgn";
        assert_eq!(rooted::tests::line(root.path(), &words), wanted);
    }
}
