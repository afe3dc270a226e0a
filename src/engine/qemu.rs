//! The qemu that the machines of a project run in: the host's, or that of the toolchain, which is a stage as any other.

use super::{Engine, outside};
use crate::boot;
use crate::build::{Depth, StageState};
use crate::error::{Error, Result};
use crate::load::TOOLCHAIN;
use crate::machine::{Arch, Qemu};
use std::path::Path;

const SETTING: &str = "machine.qemu";
const ARCH: Arch = Arch::X86_64;

/// Whether it is that of the toolchain.
///
/// # Errors
/// The setting is neither.
pub fn is_brought(engine: &Engine<'_>) -> Result<bool> {
    match engine.project.settings.text(SETTING) {
        "" | "host" => Ok(false),
        TOOLCHAIN => Ok(true),
        // A path could be a project's, and nothing of a project runs outside of the sandbox.
        other => Err(engine
            .project
            .settings
            .wrong(SETTING, other, format!("{SETTING} = {other:?}: there is `host` and `{TOOLCHAIN}`"))
            .hint("`host` is the first one in PATH")),
    }
}

/// What of the host it takes to run machines.
///
/// # Errors
/// As of [`is_brought`].
pub fn tools(engine: &Engine<'_>) -> Result<&'static [(&'static str, &'static str)]> {
    Ok(if is_brought(engine)? { &[] } else { boot::TOOLS })
}

/// The qemu; that of the toolchain is made if it is not there.
///
/// # Errors
/// There is none, or it cannot be made.
pub fn made(engine: &Engine<'_>) -> Result<Qemu> {
    if !is_brought(engine)? {
        return Qemu::installed(ARCH.qemu());
    }
    let (stages, id) = outside::bound(engine, &stage())?;
    let made = engine.build(&stages, &[id], Depth::Outputs)?;
    of(made[&id].outputs.values().next().map(|output| engine.cache.path(output)).as_deref())
}

/// The qemu, if it is there.
///
/// # Errors
/// It is not, or the cache cannot be read.
pub fn there(engine: &Engine<'_>) -> Result<Qemu> {
    if !is_brought(engine)? {
        return Qemu::installed(ARCH.qemu());
    }
    let (stages, id) = outside::bound(engine, &stage())?;
    let plan = engine.plan(&stages)?;
    let record = plan.iter().find_map(|(other, state)| match state {
        StageState::Known(record) if *other == id => Some(record),
        _ => None,
    });
    of(record.and_then(|record| record.outputs.values().next()).map(|output| engine.cache.path(output)).as_deref())
}

fn of(root: Option<&Path>) -> Result<Qemu> {
    let root = root.ok_or_else(|| Error::build(format!("the toolchain's qemu is not there yet: {TOOLCHAIN}:qemu")))?;
    Qemu::of_root(root, ARCH.qemu())
}

/// The name of the stage that it is.
pub(super) fn stage() -> String {
    format!("{TOOLCHAIN}:qemu")
}
