//! What a guest did when it stood still: the task of each processor, and those that wait and cannot be interrupted. drgn finds that in the memory of a
//! crash. It is kept as a file beside it, so that it stays when the memory is removed.
//!
//! The memory may hold anything, and so may the file: a project may have brought it along.

use super::lines::{INSIDE, relative, short};
use crate::boot::crash::put;
use crate::engine::symbols::Symbols;
use crate::error::Result;
use crate::host;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::io::Read;
use std::path::Path;

/// The file, which lies beside the memory.
pub const FILE: &str = "tasks.json";
/// Bytes of it, tasks, and calls of one, at most: what is asked of drgn is less.
const MOST: u64 = 16 << 20;
const TASKS: usize = 4096;
const CALLS: usize = 256;

/// Tasks of a guest.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Tasks {
    /// Those of the processors first.
    pub tasks: Vec<Task>,
    /// Why that is not all, if so.
    pub cut: Option<String>,
}

/// A task of the guest's kernel.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Task {
    /// The number of the processor that it was on; nothing of one that waited.
    pub processor: Option<u32>,
    /// Its number, 0 for one of the tasks that processors have when there is nothing to do.
    pub pid: u32,
    /// What its program is called, 15 bytes at most.
    pub name: String,
    /// A letter, as ps(1) has them: R runs, D waits and cannot be interrupted.
    pub state: String,
    /// The innermost call first; nothing where a program ran, outside of the kernel, or where the stack is damaged.
    pub stack: Vec<Call>,
}

/// A call on a stack.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Call {
    /// The function, or its address.
    pub function: String,
    /// The file, as its source tree names it, where it is in one; nothing without debug information.
    pub file: Option<String>,
    /// From 1 on.
    pub line: Option<u32>,
    /// It was inlined in the next one.
    pub inlined: bool,
}

/// What drgn printed.
#[must_use]
pub fn read(text: &str, symbols: Option<&Symbols>) -> Option<Tasks> {
    let roots: Vec<&str> = symbols
        .into_iter()
        .flat_map(|symbols| symbols.sources.iter().map(|(inside, _)| inside.as_str()))
        .chain(INSIDE)
        .collect();
    limited(text, &|file| relative(file, &roots))
}

/// What `text` has, no longer than it may be. `named` says how the source tree names a file.
pub(super) fn limited(text: &str, named: &dyn Fn(&str) -> String) -> Option<Tasks> {
    let mut found: Tasks = serde_json::from_str(text).ok()?;
    found.tasks.truncate(TASKS);
    found.cut = found.cut.as_deref().map(short);
    for task in &mut found.tasks {
        (task.name, task.state) = (short(&task.name), short(&task.state));
        task.stack.truncate(CALLS);
        for call in &mut task.stack {
            call.function = short(&call.function);
            call.file = call.file.as_ref().map(|file| short(&named(file)));
        }
    }
    Some(found)
}

/// The tasks that were kept in the folder of a crash.
#[must_use]
pub fn kept(folder: &Path) -> Option<Tasks> {
    let mut text = String::new();
    host::open_plain(&folder.join(FILE)).ok()?.take(MOST).read_to_string(&mut text).ok()?;
    limited(&text, &str::to_owned)
}

/// Keeps tasks in that folder.
///
/// # Errors
/// The file cannot be written.
pub fn keep(folder: &Path, tasks: &Tasks) -> Result<()> {
    put(folder, FILE, serde_json::json!(tasks).to_string().as_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    const SAID: &str = r#"{"cut": "x\u001b", "tasks": [
        {"processor": 1, "pid": 0, "name": "swapper/1", "state": "I", "stack": []},
        {"processor": null, "pid": 9, "name": "a\u001b[2J", "state": "D", "stack": [
            {"function": "f\n", "file": "/quiz/src/fs/../mm/x.c", "line": 7, "inlined": true},
            {"function": "0xffff", "file": null, "line": null, "inlined": false}]}]}"#;

    #[test]
    fn files_are_named_as_in_their_tree_and_nothing_is_a_command_for_a_terminal() {
        let Tasks { tasks, cut } = read(SAID, None).unwrap();
        assert_eq!(cut.as_deref(), Some("x "));
        let call = |function: &str, file: Option<&str>, line, inlined| Call {
            function: function.to_owned(),
            file: file.map(str::to_owned),
            line,
            inlined,
        };
        assert_eq!((tasks[0].processor, &tasks[0].stack[..]), (Some(1), &[][..]));
        assert_eq!((tasks[1].processor, tasks[1].name.as_str()), (None, "a [2J"));
        assert_eq!(tasks[1].stack, [call("f ", Some("mm/x.c"), Some(7), true), call("0xffff", None, None, false)]);
        assert_eq!(read(r#"{"tasks": [{}], "cut": null}"#, None), None);
    }

    #[test]
    fn what_is_kept_is_read_again_and_no_link_is_followed() {
        let folder = tempfile::tempdir().unwrap();
        assert_eq!(kept(folder.path()), None);
        let tasks = read(SAID, None).unwrap();
        let theirs = folder.path().join("theirs");
        std::fs::write(&theirs, SAID).unwrap();
        std::os::unix::fs::symlink(&theirs, folder.path().join(FILE)).unwrap();
        assert_eq!(kept(folder.path()), None);
        keep(folder.path(), &tasks).unwrap();
        assert_eq!(kept(folder.path()), Some(tasks));
        assert_eq!(std::fs::read_to_string(theirs).unwrap(), SAID);
    }
}
