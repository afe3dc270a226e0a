//! Where the files lie that quiz keeps for a project without being asked: runs, persistent disks, and what ssh reads.
//!
//! Knows no run.

use super::{PROJECT_FOLDER, user_folder};
use rustix::fs::{Access, AtFlags, CWD, accessat};
use rustix::io::Errno;
use std::fs;
use std::path::{Path, PathBuf};

/// The project's own folder `.quiz`. Where that cannot be written, as on a file system that is mounted read-only, a folder of the user's state,
/// `$XDG_STATE_HOME/quiz/projects`, with the project's path below it.
#[must_use]
pub fn state_dir(project: &Path) -> PathBuf {
    let own = project.join(PROJECT_FOLDER);
    let refuses = |path: &Path| match accessat(CWD, path, Access::WRITE_OK | Access::EXEC_OK, AtFlags::EACCESS) {
        Err(Errno::ROFS | Errno::ACCESS | Errno::PERM) => true,
        // Not refused, but not there, or no folder: the error of whoever writes into it says that better.
        Ok(()) | Err(_) => false,
    };
    if !refuses(if own.is_dir() { &own } else { project }) {
        return own;
    }
    // Without a folder of the user's, whoever writes into the project's gets the error.
    of_user(project).unwrap_or(own)
}

/// The folder that is used now, then the other one if it is there: the project may have been writable at another time, or not have been.
#[must_use]
pub fn state_dirs(project: &Path) -> Vec<PathBuf> {
    let first = state_dir(project);
    let others = [Some(project.join(PROJECT_FOLDER)), of_user(project)].into_iter().flatten();
    let others: Vec<PathBuf> = others.filter(|other| *other != first && other.is_dir()).collect();
    std::iter::once(first).chain(others).collect()
}

/// The folder of the user's state for this project. Links in the path are followed, so that a project has one, however it is named.
fn of_user(project: &Path) -> Option<PathBuf> {
    let project = fs::canonicalize(project).unwrap_or_else(|_| project.to_owned());
    below_state().map(|state| state.join(project.strip_prefix("/").unwrap_or(&project)).join(PROJECT_FOLDER))
}

/// The project to which the folder of a run belongs.
#[must_use]
pub fn project_of(run: &Path) -> Option<PathBuf> {
    let project = run.ancestors().nth(3)?;
    // The path that is remembered of a run has its links followed, so it may be below either.
    let states = below_state().into_iter().flat_map(|state| [fs::canonicalize(&state).ok(), Some(state)]).flatten();
    let below = states.filter_map(|state| project.strip_prefix(state).ok().map(Path::to_owned)).next();
    Some(below.map_or_else(|| project.to_owned(), |below| Path::new("/").join(below)))
}

fn below_state() -> Option<PathBuf> {
    user_folder("XDG_STATE_HOME", ".local/state").ok().map(|state| state.join("projects"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_run_is_of_the_project_around_it() {
        let project = Path::new("/src/zfs");
        assert_eq!(project_of(&project.join(".quiz/runs/7")).as_deref(), Some(project));
        assert_eq!(state_dir(project), project.join(".quiz"), "what is not there is no reason to go elsewhere");
        let state = below_state().unwrap().join("src/zfs/.quiz/runs/7");
        assert_eq!(project_of(&state).as_deref(), Some(project));
    }
}
