//! Crashes of machines whose other sources were pinned to something else than they are now.

use super::{CODE, kernel_of, write_crash};
use crate::project::Project;
use crate::worktree::git;

#[test]
fn a_crash_has_its_lines_when_an_update_has_moved_its_sources() {
    let project = Project::new();
    let repository = project.dir().with_file_name("repository");
    std::fs::create_dir_all(repository.join("fs")).unwrap();
    let commit = |text: &str| {
        std::fs::write(repository.join("fs/x.c"), text).unwrap();
        git(&repository, &["add", "fs"]);
        git(&repository, &["commit", "-q", "-m", "x"]);
    };
    git(&repository, &["init", "-q"]);
    commit(CODE);
    let source = format!(
        "version = 1\nabout = \"a test\"\n[options]\nversion = {{ type = \"string\", default = \"HEAD\", about = \"x\" }}\n\
         [outputs]\ntree = \"tree\"\n[source]\nentry = \"t\"\n[source.git]\nrepository = \"{}\"\ntag = \"v{{version}}\"\n",
        repository.display()
    );
    project.write(".quiz/recipes/t-source/recipe.toml", &source);
    kernel_of(&project, "t-source/tree");
    write_crash(&project, &[]);
    let lock = project.dir().join("quiz.lock");
    let then = std::fs::read_to_string(&lock).unwrap();
    commit("void next(void) {}\n");
    // As `quiz update` does where all of quiz's stages are there.
    std::fs::remove_file(&lock).unwrap();
    project.built("kernel");
    let now = std::fs::read_to_string(&lock).unwrap();
    assert_ne!(then, now);
    let none = "the kernel that this project asks for now is not that of run 1";
    let show = || project.run(&["crash", "show", "--lines"]);
    // As older runs have left it, and as somebody may have damaged it.
    show().says(&[none]);
    project.write(".quiz/runs/1/sources.lock", "[[");
    show().says(&[none, "sources.lock"]);
    project.write(".quiz/runs/1/sources.lock", &then);
    let before = project.ok(&["crash", "show"]);
    assert!(before.out.contains("\nlines     `quiz crash show --lines 1` makes the debug information"), "{before:?}");
    let shown = show();
    assert!(shown.out.contains("RIP: 0010:fault+0x0/0x40  fs/x.c:2\n"), "{shown:?}");
    assert_eq!(std::fs::read_to_string(&lock).unwrap(), now, "nothing is pinned by that");
    project.ok(&["crash", "rm", "1"]);
    assert!(!project.dir().join(".quiz/runs/1/sources.lock").exists());
}
