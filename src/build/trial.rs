//! Tries the sandbox as a stage meets it, in a place in the cache like a stage's, with a script that does next to nothing.

use super::lacks::Lacks;
use super::sandbox::{Sandbox, User};
use super::weaker::{self, ScriptEnd};
use super::{cache_error, follow, refusal};
use crate::error::{Error, Result};
use quiz_cache::{Cache, Entry, KeyEncoder};
use rustix::fs::StatVfsMountFlags;
use std::sync::Mutex;
use std::time::Duration;

/// A sandbox that takes longer does not work.
const LIMIT: Duration = Duration::from_secs(10);
const SCRIPT: &str = "try.sh";

/// Why nothing that lies in the cache can be started, if so, and what to do. A stage's shell lies there, and what make compiles for itself; the script of
/// [`try_sandbox`] is run by the machine's own shell.
pub fn noexec(cache: &Cache) -> Option<String> {
    let mount = rustix::fs::statvfs(cache.root()).ok()?;
    mount.f_flag.contains(StatVfsMountFlags::NOEXEC).then(|| refusal::noexec().line())
}

/// Whether a script of quiz's own runs in the sandbox, with `chroot` one that mounts and changes into a root of its own; and what of the
/// sandbox cannot be had.
///
/// # Errors
/// The script does not run; the message says why, and what to do.
pub fn try_sandbox(cache: &Cache, chroot: bool) -> Result<Lacks> {
    let mut key = KeyEncoder::new("quiz sandbox trial 1");
    // A key of this process alone, so that it waits for no other process.
    key.flag("chroot", chroot).number("pid", std::process::id().into());
    // Nothing is ever committed under this key. When the slot is dropped, all that is in it is removed.
    let Entry::Miss(slot) = cache.slot(&key.finish().0, &|_| {}).map_err(cache_error)? else {
        return Ok(Lacks::default());
    };
    let recipe = slot.out().with_file_name("recipe");
    let script = match chroot {
        true => "mkdir root\nmount --rbind / root\nmount -t tmpfs none root/tmp\nchroot root sh -c ':'\n",
        false => ":\n",
    };
    std::fs::create_dir(&recipe)
        .and_then(|()| std::fs::write(recipe.join(SCRIPT), script))
        .map_err(|e| Error::build(format!("cannot write in {}", recipe.display())).because(e))?;
    let mut sandbox = Sandbox {
        toolchain: None,
        script: SCRIPT,
        read: vec![(recipe, "/quiz/recipe".to_owned())],
        write: vec![
            (slot.out().to_owned(), "/quiz/out".to_owned()),
            (slot.scratch().to_owned(), "/quiz/scratch".to_owned()),
        ],
        hidden: Vec::new(),
        env: Vec::new(),
        chroot,
        user: User::me(),
        own: true,
        lacks: Lacks::default(),
    };
    let lacks = Mutex::new(Lacks::default());
    let mut said = String::new();
    let ended = weaker::run(&mut sandbox, &lacks, &|_| true, &mut |command| {
        said.clear();
        let status = follow::follow(command, Some(LIMIT), &mut |line| {
            said += &String::from_utf8_lossy(line);
            Ok(())
        })?;
        Ok((status, said.clone()))
    })?;
    match ended {
        ScriptEnd::Ran(status) if status.success() => Ok(sandbox.lacks),
        ScriptEnd::Ran(status) => Err(Error::build(format!(
            "a small test script fails in the sandbox ({status}): {}",
            said.lines().collect::<Vec<_>>().join("; ")
        ))),
        ScriptEnd::Refused(refusal) => Err(Error::build(refusal.line())),
    }
}
