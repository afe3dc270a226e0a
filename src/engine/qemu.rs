//! The qemu that the machines of a project run in: the host's, or that of the toolchain, which is a stage as any other.

use super::{Engine, outside};
use crate::boot;
use crate::build::{Depth, StageState};
use crate::error::{Error, Result};
use crate::load::TOOLCHAIN;
use crate::machine::accel::{self, Choice};
use crate::machine::{Accel, Arch, Qemu};
use std::path::Path;

const SETTING: &str = "machine.qemu";
const ACCEL: &str = "machine.accel";
const ARCH: Arch = Arch::X86_64;

/// Whether machines run in the toolchain's qemu.
///
/// # Errors
/// The setting is neither `host` nor `toolchain`.
pub fn is_brought(engine: &Engine<'_>) -> Result<bool> {
    match engine.project.settings.text(SETTING) {
        "" | "host" => Ok(false),
        TOOLCHAIN => Ok(true),
        // A path could be a project's, and nothing of a project runs outside of the sandbox.
        other => Err(engine
            .project
            .settings
            .wrong(SETTING, other, format!("{SETTING} = {other:?}: it can be `host` or `{TOOLCHAIN}`"))
            .hint("`host` is the first qemu in PATH, `toolchain` one that quiz brings")),
    }
}

/// The accelerator that `machine.accel` demands; `None` where KVM is taken if it works, and TCG otherwise.
///
/// # Errors
/// The setting names no accelerator.
pub fn demanded(engine: &Engine<'_>) -> Result<Option<Accel>> {
    let settings = &engine.project.settings;
    match settings.text(ACCEL) {
        "" | "auto" => Ok(None),
        "kvm" => Ok(Some(Accel::Kvm)),
        "tcg" => Ok(Some(Accel::Tcg)),
        other => {
            let what = format!("{ACCEL} = {other:?}: it can be `auto`, `kvm` or `tcg`");
            Err(settings.wrong(ACCEL, other, what).hint("`auto` is KVM where it works, else TCG"))
        }
    }
}

/// KVM or TCG, for machines in that qemu.
///
/// # Errors
/// The setting names no accelerator, or KVM, which is not there. Whether it works is not known before a machine has run.
pub fn accelerator(engine: &Engine<'_>, qemu: &Qemu) -> Result<Choice> {
    match demanded(engine)? {
        None => Ok(accel::choose(qemu.path(), Some(&engine.kvm_verdicts()))),
        Some(Accel::Tcg) => Ok(Choice { accel: Accel::Tcg, why_not_kvm: None }),
        Some(Accel::Kvm) => match accel::choose(qemu.path(), None) {
            there @ Choice { accel: Accel::Kvm, .. } => Ok(there),
            Choice { why_not_kvm, .. } => {
                let why = why_not_kvm.unwrap_or_else(|| "there is no /dev/kvm".to_owned());
                let error = Error::boot(format!("{ACCEL} = \"kvm\": {why}"));
                let error = error.at(engine.project.settings.place(ACCEL, ""));
                Err(accel::advice().map(str::to_owned).into_iter().fold(error, Error::hint))
            }
        },
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
/// No qemu is installed, or that of the toolchain cannot be made.
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
/// It is not there, or the cache cannot be read.
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
    let root = root
        .ok_or_else(|| Error::build(format!("the toolchain's qemu is not made yet: `quiz build {TOOLCHAIN}:qemu`")))?;
    Qemu::of_root(root, ARCH.qemu())
}

/// The name of the stage that it is.
pub(super) fn stage() -> String {
    format!("{TOOLCHAIN}:qemu")
}
