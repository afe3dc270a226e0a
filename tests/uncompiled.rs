//! An edit is never left uncompiled, and nothing half is taken: whatever the clock did, however a build died, by whatever name the cache
//! is called. The times of files stand in for the clock: a folder from the future is what one looks like after a step back.

use crate::project::{Project, Ran, files};
use crate::worktree::recipes;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant, SystemTime};

/// "Compiles" as compilers do: what an object depends on is written first, the object, which has the mark of one, after it. A header
/// is made of `spec`.
const RULES: &str = "\
objects := $(patsubst %.c,%.o,$(sort $(wildcard *.c)))
all: $(objects)
\t@for o in $(objects); do tail -c +5 $$o; done >all
$(objects): gen.h
gen.h: spec
\t@echo compiling gen.h
\t@sed 's/^/gen /' spec >gen.h
%.o: %.c
\t@echo compiling $*
\t@echo $@: `sed -n 's/^#include //p' $*.c` >$*.d
\t@sh /quiz/recipe/hang $*
\t@{ printf '\\177ELF'; cat $*.c gen.h `sed -n 's/^#include //p' $*.c`; } >$@
-include $(objects:.o=.d)
";
const SCRIPT: &str = "make -s -C tree -f /quiz/recipe/rules\ncp tree/all /quiz/out/out\n";
/// Where a file `hang` in the worktree names an object: says so in the store, and never ends. Where a file `die` names it: dies when the list of what it
/// depends on is half.
const HANG: &str = "[ \"$(cat die 2>/dev/null)\" != \"$1\" ] || { : >$1.d; kill -9 $$; }\n\
                    [ \"$(cat hang 2>/dev/null)\" = \"$1\" ] || exit 0\ntouch /quiz/store/hangs\nsleep 60\n";

struct Tree(Project);

impl Tree {
    fn new(script: &str) -> Self {
        let project = Project::new();
        recipes(&project, script);
        project.write(".quiz/recipes/t-build/rules", RULES);
        project.write(".quiz/recipes/t-build/hang", HANG);
        let path = ".quiz/recipes/t-build/recipe.toml";
        let text = std::fs::read_to_string(project.dir().join(path)).unwrap();
        project.write(path, &format!("{text}[needs]\nstore = true\n"));
        for (path, text) in [("MARK", ""), ("spec", "1\n"), ("h.h", "h\n"), ("a.c", "a\n"), ("b.c", "#include h.h\n")] {
            project.write(path, text);
        }
        Self(project)
    }

    fn write(&self, path: &str, text: &str) {
        self.0.write(path, text);
    }

    /// What came out, on one line, and what was compiled.
    fn build(&self) -> (String, Vec<String>) {
        let ran = self.0.ok(&["-v", "build", "t-build"]);
        let compiled = ran.err.lines().filter_map(|line| line.split("compiling ").nth(1).map(str::to_owned)).collect();
        let text = std::fs::read_to_string(ran.out.trim().split_once(' ').unwrap().1).unwrap();
        (text.replace('\n', " ").replace("#include h.h ", ""), compiled)
    }

    fn expect(&self, text: &str, compiled: &[&str]) {
        let (is, mut by) = self.build();
        by.sort_unstable();
        assert_eq!((is.trim(), by.iter().map(String::as_str).collect::<Vec<_>>()), (text, compiled.to_vec()));
    }

    /// What the script may write to.
    fn work(&self) -> PathBuf {
        let found = files(&self.0.cache().join("scratch")).into_iter().find(|path| path.ends_with("tree/gen.h"));
        found.unwrap().parent().unwrap().to_owned()
    }

    /// Starts a build that hangs where `object` is compiled, and waits until it does.
    fn start_hanging(&self, object: &str) -> std::process::Child {
        self.write("hang", object);
        let child = self.0.start(&["build", "t-build"]);
        let hangs = || files(&self.0.cache().join("store")).into_iter().find(|path| path.ends_with("hangs"));
        std::fs::remove_file(wait(hangs)).unwrap();
        std::fs::remove_file(self.0.dir().join("hang")).unwrap();
        child
    }
}

fn wait<T>(mut found: impl FnMut() -> Option<T>) -> T {
    let start = Instant::now();
    loop {
        if let Some(found) = found() {
            return found;
        }
        assert!(start.elapsed() < Duration::from_secs(20), "the script did not come so far");
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// All that lies there gets a later time, in the order in which it is.
fn later(folder: &Path, by: Duration) {
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            later(&path, by);
        }
        let file = std::fs::File::open(&path).unwrap();
        file.set_modified(file.metadata().unwrap().modified().unwrap() + by).unwrap();
    }
}

#[test]
fn an_edit_is_compiled_though_the_clock_went_back() {
    let tree = Tree::new(SCRIPT);
    tree.expect("a gen 1 gen 1 h", &["a", "b", "gen.h"]);
    for (n, hours) in [1, 24, 24 * 365 * 20].into_iter().enumerate() {
        later(&tree.work(), Duration::from_secs(3600 * hours));
        tree.write("a.c", &format!("a{n}\n"));
        tree.expect(&format!("a{n} gen 1 gen 1 h"), &["a"]);
    }
    // What is made of an edit is newer, too, than what was built of the old one.
    later(&tree.work(), Duration::from_secs(3600));
    tree.write("spec", "2\n");
    tree.expect("a2 gen 2 gen 2 h", &["a", "b", "gen.h"]);
    later(&tree.work(), Duration::from_secs(3600));
    tree.write("h.h", "hh\n");
    tree.expect("a2 gen 2 gen 2 hh", &["b"]);
}

#[test]
fn a_tool_that_writes_times_to_come_hides_no_edit() {
    let tree = Tree::new(&format!("{SCRIPT}touch -d 2100-01-01 tree/a.o tree/b.o tree/gen.h tree/all\n"));
    tree.build();
    for n in 2..5 {
        tree.write("a.c", &format!("a{n}\n"));
        tree.write("spec", &format!("{n}\n"));
        assert_eq!(tree.build().0.trim(), format!("a{n} gen {n} gen {n} h"));
    }
}

#[test]
fn a_worktree_that_starts_from_a_folder_of_the_future_compiles_its_edits() {
    let tree = Tree::new(SCRIPT);
    tree.build();
    later(&tree.work(), Duration::from_secs(3600));
    let second = tree.0.dir().with_file_name("second");
    let copy = std::process::Command::new("cp").arg("-a").args([&tree.0.dir(), &second]).status().unwrap();
    assert!(copy.success());
    std::fs::write(second.join("h.h"), "second\n").unwrap();
    let ran = Ran::from(tree.0.command(&["-v", "build", "t-build"]).current_dir(&second).output().unwrap());
    ran.says(&["starts from what was built in", "compiling b"]);
    let text = std::fs::read_to_string(ran.out.trim().split_once(' ').unwrap().1).unwrap();
    assert_eq!((text.lines().last(), ran.count("compiling a")), (Some("second"), 0), "{ran:?}");
}

/// Only the header was edited, and that the object depends on it stood only in a list that was being written.
#[test]
fn an_edit_of_a_header_is_compiled_though_a_killed_build_lost_who_depends_on_it() {
    let tree = Tree::new(SCRIPT);
    tree.build();
    tree.write("h.h", "edited\n");
    let mut child = tree.start_hanging("b");
    std::fs::write(tree.work().join("b.d"), "").unwrap();
    child.kill().unwrap();
    child.wait().unwrap();
    tree.expect("a gen 1 gen 1 edited", &["b"]);
}

#[test]
fn an_edit_of_a_header_is_compiled_though_a_compiler_was_killed_and_make_was_not() {
    let tree = Tree::new(SCRIPT);
    tree.build();
    tree.write("h.h", "edited\n");
    tree.write("die", "b");
    let ran = tree.0.run(&["build", "t-build"]);
    assert!(ran.status == Some(1) && ran.err.contains("] Killed"), "{ran:?}");
    std::fs::remove_file(tree.0.dir().join("die")).unwrap();
    tree.expect("a gen 1 gen 1 edited", &["b"]);
}

#[test]
fn half_an_object_is_not_taken_whatever_its_time() {
    for time in [SystemTime::now() + Duration::from_secs(3600), SystemTime::UNIX_EPOCH] {
        let tree = Tree::new(SCRIPT);
        tree.build();
        tree.write("a.c", "edited\n");
        let mut child = tree.start_hanging("a");
        for half in ["a.o", "b.o", "all"] {
            std::fs::write(tree.work().join(half), "half").unwrap();
            std::fs::File::open(tree.work().join(half)).unwrap().set_modified(time).unwrap();
        }
        // The clock goes back, too.
        later(&tree.work(), Duration::from_secs(3600));
        child.kill().unwrap();
        child.wait().unwrap();
        assert_eq!(tree.build().0.trim(), "edited gen 1 gen 1 h");
        tree.write("spec", "2\n");
        tree.expect("edited gen 2 gen 2 h", &["a", "b", "gen.h"]);
    }
}

#[test]
fn all_processes_of_a_script_hold_the_mark_that_it_runs() {
    let tree = Tree::new(SCRIPT);
    tree.build();
    tree.write("a.c", "edited\n");
    let mut child = tree.start_hanging("a");
    let cache = tree.0.cache();
    let holds = |process: &Path| {
        let files = std::fs::read_dir(process.join("fd")).into_iter().flatten().flatten();
        files
            .filter_map(|fd| std::fs::read_link(fd.path()).ok())
            .any(|to| to.starts_with(&cache) && to.ends_with("running"))
    };
    let name = |process: &Path| std::fs::read_to_string(process.join("comm")).unwrap_or_default().trim().to_owned();
    let holders = || {
        let all = std::fs::read_dir("/proc").unwrap().flatten().map(|entry| entry.path());
        all.filter(|process| holds(process)).map(|process| name(&process)).collect::<Vec<_>>()
    };
    // `sleep` is the last to come.
    wait(|| {
        let holders = holders();
        ["quiz", "make", "sleep"].iter().all(|process| holders.iter().any(|holder| holder == process)).then_some(())
    });
    child.kill().unwrap();
    child.wait().unwrap();
}

#[test]
fn one_cache_by_several_names_never_has_two_builds_in_one_folder() {
    let alone = "mkdir busy || exit 1\n";
    let tree = Tree::new(&format!("{alone}sleep 0.5\n{SCRIPT}rmdir busy\n"));
    tree.build();
    let link = tree.0.dir().with_file_name("link");
    std::os::unix::fs::symlink(tree.0.cache(), &link).unwrap();
    let names = [
        link.display().to_string(),
        format!("{}/", link.display()),
        format!("{}/../link/../cache", tree.0.dir().display()),
    ];
    for (n, name) in names.iter().enumerate() {
        tree.write("a.c", &format!("first {n}\n"));
        let first = tree.0.start(&["build", "t-build"]);
        let running = || files(&tree.0.cache().join("scratch")).into_iter().find(|path| path.ends_with("running"));
        wait(running);
        tree.write("a.c", &format!("second {n}\n"));
        let second = Ran::from(tree.0.command(&["build", "t-build"]).env("QUIZ_CACHE_DIR", name).output().unwrap());
        assert_eq!(second.status, Some(0), "{name}: {second:?}");
        assert_eq!(first.wait_with_output().unwrap().status.code(), Some(0), "{name}");
        let text = std::fs::read_to_string(second.out.trim().split_once(' ').unwrap().1).unwrap();
        assert_eq!(text.lines().next(), Some(format!("second {n}").as_str()));
    }
}
