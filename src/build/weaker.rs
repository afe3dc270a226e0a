//! The sandbox as strong as it can be had here: where a container or a hardened kernel refuses a part of it that a script can do without, it is
//! made without that part.
//!
//! Nothing is tried beforehand: what bubblewrap refuses, it says before the script runs. Does not know what the parts are good for.

use super::lacks::{Lack, Lacks};
use super::refusal::{self, Refusal};
use super::sandbox::{self, Sandbox};
use crate::error::Result;
use std::process::{Command, ExitStatus};
use std::sync::Mutex;

/// What became of a script.
pub(super) enum ScriptEnd {
    /// It ran.
    Ran(ExitStatus),
    /// The sandbox could not be made, so it never ran.
    Refused(Refusal),
}

/// Runs the script by `run`, which gives the status and the last words; a part of the sandbox that is refused, and which the script can do
/// without, is left out from then on, for all who share `lacks`. Only if `confirm` says so, as the refusal is read from output that the script itself
/// could have written.
///
/// # Errors
/// Those of `run`.
pub(super) fn run(
    sandbox: &mut Sandbox<'_>,
    lacks: &Mutex<Lacks>,
    confirm: &dyn Fn(Lack) -> bool,
    run: &mut dyn FnMut(&mut Command) -> Result<(ExitStatus, String)>,
) -> Result<ScriptEnd> {
    let lock = || lacks.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
    loop {
        sandbox.lacks = lock().clone();
        let refusal = match sandbox::process(sandbox) {
            Err(words) => refusal::told(&words),
            Ok(mut command) => {
                let (status, said) = run(&mut command)?;
                match refusal::of(&said) {
                    Some(refusal) if !status.success() => refusal,
                    _ => return Ok(ScriptEnd::Ran(status)),
                }
            }
        };
        let is_new = |lack: &Lack| sandbox.bears(*lack) && !sandbox.lacks.has(*lack) && confirm(*lack);
        match refusal.lack().filter(is_new) {
            Some(lack) => lock().add(lack),
            None => return Ok(ScriptEnd::Refused(refusal)),
        }
    }
}
