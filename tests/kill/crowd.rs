//! Many processes in several worktrees of one repository, with one cache, all at once: each key is made once, and each worktree gets
//! what its own files give.

use super::ground::finish_all;
use crate::project::{Project, Ran};
use crate::worktree::{git, recipes};
use std::collections::BTreeMap;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::Command;

const OUT: &str = "[outputs]\nout = \"file\"\n";

/// What is edited in the worktree of this number: nothing, a source, or a file that only the incremental stage reads.
fn edit(n: usize) -> Option<(&'static str, String)> {
    match n % 3 {
        0 => None,
        1 => Some(("a.c", format!("a of {n}\n"))),
        _ => Some(("h.h", format!("h of {n}\n"))),
    }
}

/// A repository with a stage that reads no source, one of a part of it, an incremental one, and one that reads all of these.
pub fn repository() -> Project {
    let project = Project::new();
    recipes(&project, "cat tree/a.c tree/h.h >/quiz/out/out\n");
    project.recipe("t-base", OUT, "sleep 0.3\necho base >/quiz/out/out\n");
    let part = format!("[inputs]\nsource = {{ from = \"t-source\", paths = [\"*.c\"] }}\nbase = \"t-base\"\n{OUT}");
    project.recipe("t-part", &part, "cat /quiz/in/base /quiz/src/a.c >/quiz/out/out\n");
    let end = format!("[inputs]\npart = \"t-part\"\nbuilt = \"t-build\"\n{OUT}");
    project.recipe("t-end", &end, "cat /quiz/in/part /quiz/in/built >/quiz/out/out\n");
    project.write(".quiz/.gitignore", "*\n");
    for (path, text) in [("MARK", ""), ("a.c", "a\n"), ("h.h", "h\n")] {
        project.write(path, text);
    }
    git(&project.dir(), &["init", "-q"]);
    git(&project.dir(), &["add", "-A"]);
    git(&project.dir(), &["commit", "-q", "-m", "x"]);
    project
}

pub fn worktree(project: &Project, n: usize) -> PathBuf {
    let dir = project.dir().with_file_name(format!("worktree-{n}"));
    git(&project.dir(), &["worktree", "add", "-q", "--detach", dir.to_str().unwrap()]);
    let copy = Command::new("cp").arg("-a").arg(project.dir().join(".quiz")).arg(&dir).status().unwrap();
    assert!(copy.success());
    std::fs::write(dir.join("quiz.toml"), "").unwrap();
    if let Some((path, text)) = edit(n) {
        std::fs::write(dir.join(path), text).unwrap();
    }
    dir
}

/// `quiz build` in that folder, as soon as nobody holds the gate.
fn waiting(project: &Project, dir: &Path, gate: &Path) -> Command {
    let quiz = project.command(&["build", "t-end"]);
    let mut command = project.other("flock");
    command.arg("--shared").arg(gate).arg(quiz.get_program()).args(quiz.get_args()).current_dir(dir);
    command
}

fn crowd(worktrees: usize, each: usize) {
    let project = repository();
    let dirs: Vec<PathBuf> = (0..worktrees).map(|n| worktree(&project, n)).collect();
    let path = project.dir().with_file_name("gate");
    let gate = File::create(&path).unwrap();
    gate.lock().unwrap();
    let commands = (0..worktrees * each).map(|n| waiting(&project, &dirs[n % worktrees], &path)).collect();
    let all: Vec<Ran> = finish_all(commands, || gate.unlock().unwrap());

    let mut made: BTreeMap<&str, usize> = BTreeMap::new();
    for (n, ran) in all.iter().enumerate() {
        assert_eq!((ran.status, ran.count("warning")), (Some(0), 0), "{n}: {ran:?}");
        let edited = edit(n % worktrees);
        let file = |name: &str| match &edited {
            Some((path, text)) if *path == name => text.clone(),
            _ => format!("{}\n", name.split('.').next().unwrap()),
        };
        let (a, h) = (file("a.c"), file("h.h"));
        let text = std::fs::read_to_string(ran.out.trim().split_once(' ').unwrap().1).unwrap();
        assert_eq!(text, format!("base\n{a}{a}{h}"), "{n}: {ran:?}");
        for stage in ["t-base", "t-part", "t-build", "t-end"] {
            *made.entry(stage).or_default() += ran.count(&format!("Making {stage}"));
        }
    }
    // Those without an edit share all, those with another header share the part.
    let edits: Vec<_> = (0..worktrees).filter_map(edit).collect();
    let sources = edits.iter().filter(|(path, _)| *path == "a.c").count();
    let keys = [("t-base", 1), ("t-build", 1 + edits.len()), ("t-end", 1 + edits.len()), ("t-part", 1 + sources)];
    assert_eq!(made, keys.into());
    assert_eq!(super::whole::wrong(&project), [""; 0]);
    let records = crate::project::files(&project.cache().join("records")).len();
    assert_eq!(records, keys.iter().map(|(_, count)| count).sum::<usize>());
}

#[test]
fn ten_processes_in_three_worktrees_make_each_key_once() {
    crowd(3, 4);
}

/// `tests/run --full kill`.
#[test]
#[ignore = "fifty processes at once"]
fn fifty_processes_in_ten_worktrees_make_each_key_once() {
    crowd(10, 5);
}
