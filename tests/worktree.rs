//! What building from folders that people edit promises: each sees exactly its own files, and only what changed is compiled.

use crate::project::{Project, Ran, files};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

/// "Compiles" each .c file by copying it, as make decides; a file that says ERROR does not compile. The result has all objects.
const MAKEFILE: &str = "\
objects := $(patsubst %.c,%.o,$(sort $(wildcard *.c)))
all: $(objects) FORCE
\t@cat $(objects) >all
FORCE:
%.o: %.c
\t@if grep -q ERROR $*.c; then echo \"$*.c:1:1: error: no such thing\"; exit 1; fi
\t@echo compiling $*
\t@cat $*.c >$@
";

struct Tree {
    project: Project,
}

/// Runs git without anybody's settings.
pub fn git(dir: &Path, args: &[&str]) -> String {
    let mut command = Command::new("git");
    command.arg("-C").arg(dir).args(["-c", "user.name=t", "-c", "user.email=t@example.org"]);
    // To pack the objects of a kernel's source again takes minutes.
    command.args(["-c", "gc.auto=0", "-c", "maintenance.auto=false"]).args(args);
    command.env_clear().env("PATH", "/usr/bin:/bin").env("GIT_CONFIG_GLOBAL", "/dev/null");
    let output = command.output().unwrap();
    assert!(output.status.success(), "git {args:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

/// The recipes of every worktree: a source folder known by the file MARK, and what is built of it.
pub fn recipes(project: &Project, script: &str) {
    project.source_folder();
    let tables = "[inputs]\nsource = \"t-source\"\n[outputs]\nout = \"file\"\n[incremental]\nsync = [\"source\"]\ninto = \"tree\"\n\
                  [tools]\nmake = \"make\"\n";
    project.recipe("t-build", tables, script);
}

const SCRIPT: &str = "make -s -w --output-sync -C tree -f /quiz/recipe/rules\ncp tree/all /quiz/out/out\n";

impl Tree {
    fn new() -> Self {
        let project = Project::new();
        let tree = Self { project };
        tree.furnish(SCRIPT);
        tree.write("MARK", "").write("a.c", "a\n").write("b.c", "b\n").write(".gitignore", "*.o\n");
        git(&tree.dir(), &["init", "-q"]);
        tree.commit();
        tree
    }

    fn furnish(&self, script: &str) {
        recipes(&self.project, script);
        self.project.write(".quiz/recipes/t-build/rules", MAKEFILE);
        self.project.write(".quiz/.gitignore", "*\n");
    }

    fn dir(&self) -> PathBuf {
        self.project.dir()
    }

    fn write(&self, path: &str, text: &str) -> &Self {
        self.project.write(path, text);
        self
    }

    fn commit(&self) {
        git(&self.dir(), &["add", "-A"]);
        git(&self.dir(), &["commit", "-q", "-m", "x"]);
    }

    /// Builds in a worktree of this cache; gives what the guest would see, and what was compiled.
    fn build_in(&self, dir: &Path) -> (String, Vec<String>, Ran) {
        let output = self.project.command(&["-v", "build", "t-build"]).current_dir(dir).output().unwrap();
        let ran = Ran::from(output);
        assert_eq!(ran.status, Some(0), "{ran:?}");
        let path = ran.out.trim().split_once(' ').unwrap().1;
        let compiled = ran.err.lines().filter_map(|line| line.split("compiling ").nth(1).map(str::to_owned));
        // Two at once may be told in either order.
        let compiled = compiled.collect::<std::collections::BTreeSet<String>>().into_iter().collect();
        (std::fs::read_to_string(path).unwrap(), compiled, ran)
    }

    fn build(&self) -> (String, Vec<String>) {
        let (text, compiled, _) = self.build_in(&self.dir());
        (text, compiled)
    }

    /// Another worktree of the same repository.
    fn second(&self, name: &str) -> PathBuf {
        let dir = self.dir().parent().unwrap().join(name);
        git(&self.dir(), &["worktree", "add", "-q", "--detach", dir.to_str().unwrap()]);
        let copy = Command::new("cp").arg("-a").arg(self.dir().join(".quiz")).arg(&dir).status().unwrap();
        assert!(copy.success());
        std::fs::write(dir.join("quiz.toml"), "").unwrap();
        dir
    }
}

fn built(text: &str, compiled: &[&str]) -> (String, Vec<String>) {
    (text.to_owned(), compiled.iter().map(|name| (*name).to_owned()).collect())
}

#[test]
fn only_what_changed_is_compiled_and_the_worktree_stays_clean() {
    let tree = Tree::new();
    assert_eq!(tree.build(), built("a\nb\n", &["a", "b"]));
    assert_eq!(tree.build(), built("a\nb\n", &[]));
    tree.write("b.c", "bb\n");
    assert_eq!(tree.build(), built("a\nbb\n", &["b"]));
    // Back to the old text, whose result is there; the edit after it still compiles.
    tree.write("b.c", "b\n");
    assert_eq!(tree.build(), built("a\nb\n", &[]));
    tree.write("b.c", "bbb\n");
    assert_eq!(tree.build(), built("a\nbbb\n", &["b"]));
    assert_eq!(git(&tree.dir(), &["status", "--porcelain"]), " M b.c\n");
}

#[test]
fn what_git_calls_source_gets_in_and_nothing_else() {
    let tree = Tree::new();
    tree.build();
    // Built by hand, and ignored: newer than its source, and wrong.
    tree.write("a.o", "by hand\n").write("new.c", "new\n");
    assert_eq!(tree.build(), built("a\nb\nnew\n", &["new"]));
    std::fs::remove_file(tree.dir().join("new.c")).unwrap();
    std::fs::remove_file(tree.dir().join("b.c")).unwrap();
    assert_eq!(tree.build().0, "a\n");
    tree.write("a.c", "aa\n");
    assert_eq!(tree.build(), built("aa\n", &["a"]));
}

#[test]
fn a_second_worktree_takes_what_the_first_has_made() {
    let tree = Tree::new();
    tree.build();
    let second = tree.second("second");
    let (text, compiled, ran) = tree.build_in(&second);
    assert_eq!((text.as_str(), compiled.len(), ran.count("Making")), ("a\nb\n", 0, 0), "{ran:?}");
    std::fs::write(second.join("b.c"), "second\n").unwrap();
    let (text, compiled, ran) = tree.build_in(&second);
    assert_eq!((text, compiled), built("a\nsecond\n", &["b"]), "{ran:?}");
    // Neither worktree sees the other's edits.
    tree.write("a.c", "first\n");
    assert_eq!(tree.build(), built("first\nb\n", &["a"]));
    assert_eq!(tree.build_in(&second).0, "a\nsecond\n");
}

#[test]
#[ignore = "only some file systems share blocks: tests/run --full, in a guest"]
fn what_a_second_worktree_starts_from_shares_its_blocks() {
    let tree = Tree::new();
    tree.write("a.c", &"sixteen letters\n".repeat(1 << 16)).commit();
    tree.build();
    let second = tree.second("second");
    // What is not on the disk yet has no blocks.
    rustix::fs::sync();
    std::fs::write(second.join("b.c"), "second\n").unwrap();
    assert_eq!(tree.build_in(&second).1, ["b"]);
    let all = files(&tree.project.cache().join("scratch"));
    for name in ["a.c", "a.o"] {
        let both: Vec<_> = all.iter().filter(|path| path.file_name().is_some_and(|n| n == name)).collect();
        assert_eq!(both.len(), 2, "{name} in {all:?}");
        for path in both {
            let asked = Command::new("filefrag").arg("-v").arg(path).output().unwrap();
            let text = String::from_utf8_lossy(&asked.stdout);
            let is_extent = |line: &&str| line.trim_start().starts_with(|c: char| c.is_ascii_digit());
            let extents: Vec<_> = text.lines().filter(is_extent).collect();
            assert!(!extents.is_empty() && extents.iter().all(|line| line.contains("shared")), "{name}: {text}");
        }
    }
}

#[test]
fn branches_back_and_forth_are_hits() {
    let tree = Tree::new();
    tree.build();
    git(&tree.dir(), &["checkout", "-q", "-b", "other"]);
    tree.write("a.c", "other\n").commit();
    assert_eq!(tree.build(), built("other\nb\n", &["a"]));
    for (branch, text) in [("-", "a\nb\n"), ("other", "other\nb\n"), ("-", "a\nb\n")] {
        git(&tree.dir(), &["checkout", "-q", branch]);
        assert_eq!(tree.build(), built(text, &[]), "{branch}");
    }
}

#[test]
fn a_compilers_error_names_the_worktrees_own_file() {
    let tree = Tree::new();
    tree.build();
    tree.write("b.c", "ERROR\n");
    let ran = tree.project.run(&["build", "t-build"]);
    assert_eq!(ran.status, Some(1));
    let place = format!("{}/b.c:1:1: error: no such thing", tree.dir().canonicalize().unwrap().display());
    assert_eq!(ran.err.lines().find(|line| line.contains("error: no such")).unwrap().trim(), place, "{}", ran.err);
    tree.write("b.c", "mended\n");
    assert_eq!(tree.build(), built("a\nmended\n", &["b"]));
}

#[test]
fn what_a_killed_build_left_half_is_made_again() {
    let tree = Tree::new();
    tree.build();
    // Writes half an object, newer than its source, says so, and hangs.
    let hang =
        "if [ -e tree/hang ]; then echo half >tree/b.o; echo half >tree/all; touch /quiz/store/half; sleep 60; fi\n";
    tree.furnish(&format!("{hang}{SCRIPT}"));
    let path = ".quiz/recipes/t-build/recipe.toml";
    let text = std::fs::read_to_string(tree.dir().join(path)).unwrap();
    tree.write(path, &format!("{text}[needs]\nstore = true\n"));
    tree.build();
    tree.write("hang", "").write("b.c", "bb\n");
    let mut child = tree.project.start(&["build", "t-build"]);
    let marked = || files(&tree.project.cache().join("store")).iter().any(|path| path.ends_with("half"));
    let start = Instant::now();
    while !marked() {
        assert!(start.elapsed() < Duration::from_secs(20), "the script did not come so far");
        std::thread::sleep(Duration::from_millis(10));
    }
    child.kill().unwrap();
    child.wait().unwrap();
    std::fs::remove_file(tree.dir().join("hang")).unwrap();
    assert_eq!(tree.build(), built("a\nbb\n", &["b"]));
}

#[test]
fn a_script_may_keep_an_output_only_of_the_last_result_in_its_folder() {
    let tree = Tree::new();
    let keep =
        "case \" $QUIZ_KEPT \" in *' big '*) echo big >>/quiz/out/.kept ;; *) cat tree/a.c >/quiz/out/big ;; esac\n";
    tree.furnish(&format!("{keep}{SCRIPT}"));
    let path = ".quiz/recipes/t-build/recipe.toml";
    let text = std::fs::read_to_string(tree.dir().join(path))
        .unwrap()
        .replace("out = \"file\"", "big = \"file\"\nout = \"file\"");
    tree.write(path, &text);
    let outputs = || {
        let ran = tree.project.ok(&["build", "t-build"]);
        let read = |line: &str| std::fs::read_to_string(line.split_once(' ').unwrap().1).unwrap();
        ran.out.lines().map(read).collect::<Vec<_>>()
    };
    assert_eq!(outputs(), ["a\n", "a\nb\n"]);
    // An output that the script says it kept stays, although it would be another one: the script is believed.
    tree.write("a.c", "aa\n");
    assert_eq!(outputs(), ["a\n", "aa\nb\n"]);
    // After a build that failed there is no last result.
    tree.write("a.c", "ERROR\n");
    assert_eq!(tree.project.run(&["build", "t-build"]).status, Some(1));
    tree.write("a.c", "aaa\n");
    assert_eq!(outputs(), ["aaa\n", "aaa\nb\n"]);
    tree.furnish(&format!("echo other >>/quiz/out/.kept\n{SCRIPT}"));
    let ran = tree.project.run(&["build", "t-build"]);
    assert_eq!(ran.status, Some(1));
    ran.says(&["t-build", "`other`"]);
}

#[test]
fn a_script_may_make_only_what_is_new_of_a_tree() {
    let tree = Tree::new();
    // Every file goes out when nothing is offered, those that are newer than the last time else.
    let part = "mkdir /quiz/out/all; cd tree\n\
        case \" $QUIZ_KEPT \" in *' all '*) echo all >>/quiz/out/.over; find . -name '*.c' -newer ../last ;; *) ls *.c ;; esac | xargs -r cp -t /quiz/out/all\n\
        cd ..; : >last\n";
    tree.furnish(&format!("{part}{SCRIPT}"));
    let path = ".quiz/recipes/t-build/recipe.toml";
    let text = std::fs::read_to_string(tree.dir().join(path)).unwrap();
    tree.write(path, &text.replace("out = \"file\"", "all = \"tree\"\nout = \"file\""));
    let all = || {
        let ran = tree.project.ok(&["build", "t-build"]);
        let top = ran.out.lines().next().unwrap().split_once(' ').unwrap().1.to_owned();
        let mut all = files(Path::new(&top));
        all.sort();
        all.iter().map(|path| std::fs::read_to_string(path).unwrap()).collect::<String>()
    };
    assert_eq!(all(), "a\nb\n");
    tree.write("a.c", "aa\n");
    assert_eq!(all(), "aa\nb\n");
    tree.write("b.c", "bb\n");
    assert_eq!(all(), "aa\nbb\n");
    // After a build that failed there is no last result, and all outputs go out.
    tree.write("a.c", "ERROR\n");
    assert_eq!(tree.project.run(&["build", "t-build"]).status, Some(1));
    tree.write("a.c", "aaa\n");
    assert_eq!(all(), "aaa\nbb\n");
    // What was not offered is refused: of another script there is no last result.
    tree.furnish(&format!("echo out >>/quiz/out/.over\n{SCRIPT}"));
    let ran = tree.project.run(&["build", "t-build"]);
    assert_eq!(ran.status, Some(1));
    ran.says(&["t-build", "`out`"]);
}

#[test]
fn a_worktree_that_is_removed_meanwhile_is_named() {
    let tree = Tree::new();
    tree.project.recipe("t-slow", "[outputs]\nout = \"file\"\n", "sleep 1; echo slow >/quiz/out/out\n");
    let tables =
        "[inputs]\nslow = \"t-slow\"\nsource = { from = \"t-source\", paths = [\"*.c\"] }\n[outputs]\nout = \"file\"\n";
    tree.project.recipe("t-late", tables, "cat /quiz/src/*.c >/quiz/out/out\n");
    let second = tree.second("second");
    let mut command = tree.project.command(&["build", "t-late"]);
    let child = command.current_dir(&second).stderr(std::process::Stdio::piped()).spawn().unwrap();
    std::thread::sleep(Duration::from_millis(500));
    std::fs::remove_dir_all(&second).unwrap();
    let ran = Ran::from(child.wait_with_output().unwrap());
    assert_ne!(ran.status, Some(0));
    ran.says(&[&second.canonicalize().unwrap_or(second.clone()).display().to_string()]);
}

#[test]
fn a_folder_that_is_not_what_is_asked_for_is_named_with_what_it_lacks() {
    let project = Project::new();
    let empty = project.dir().join("empty");
    std::fs::create_dir(&empty).unwrap();
    for (key, mark) in [("kernel", "Kconfig"), ("zfs", "META")] {
        project.write("quiz.toml", &format!("[{key}]\nsource = \"./empty\"\n"));
        let ran = project.run(&["build", &format!("{key}-source")]);
        assert_eq!(ran.status, Some(2), "{ran:?}");
        ran.says(&[&empty.display().to_string(), mark, &format!("{key}.source")]);
    }
}

/// Root may read every file, so as root quiz is started without that right.
#[test]
fn a_file_that_cannot_be_read_is_named() {
    use std::os::unix::fs::PermissionsExt;
    let tree = Tree::new();
    let secret = tree.dir().join("b.c");
    std::fs::set_permissions(&secret, std::fs::Permissions::from_mode(0o000)).unwrap();
    let mut command = tree.project.command(&["build", "t-build"]);
    let is_root = Command::new("id").arg("-u").output().unwrap().stdout == b"0\n";
    if is_root {
        let top = tree.dir().parent().unwrap().to_owned();
        let quiz = top.join("quiz");
        std::fs::copy(env!("CARGO_BIN_EXE_quiz"), &quiz).unwrap();
        assert!(Command::new("chown").args(["-R", "65534:65534"]).arg(&top).status().unwrap().success());
        let mut other = Command::new("setpriv");
        other.args(["--reuid=65534", "--regid=65534", "--clear-groups", "--"]).arg(quiz).args(command.get_args());
        other.current_dir(tree.dir()).env_clear();
        for (name, value) in command.get_envs() {
            other.env(name, value.unwrap());
        }
        command = other;
    }
    let ran = Ran::from(command.output().unwrap());
    assert_eq!(ran.status, Some(2), "{ran:?}");
    ran.says(&["b.c", "Permission denied"]);
}

#[test]
fn a_file_that_keeps_changing_is_one_state_of_it_or_an_error_with_its_name() {
    let tree = Tree::new();
    let path = tree.dir().join("a.c");
    let stop = std::sync::atomic::AtomicBool::new(false);
    let state = |n: u64| format!("{n:08}\n").repeat(200_000);
    std::fs::write(&path, state(0)).unwrap();
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let mut n = 1_u64;
            while !stop.load(std::sync::atomic::Ordering::Relaxed) {
                std::fs::write(&path, state(n)).unwrap();
                n += 1;
            }
        });
        for _ in 0..5 {
            let ran = tree.project.run(&["build", "t-build"]);
            if ran.status == Some(0) {
                let text = std::fs::read_to_string(ran.out.trim().split_once(' ').unwrap().1).unwrap();
                // The writer empties the file before it fills it.
                let a = text.strip_suffix("b\n").unwrap();
                assert!(a.lines().all(|line| Some(line) == a.lines().next()), "a mixture");
            } else {
                ran.says(&["chang"]);
                assert!(ran.err.contains("a.c") || ran.err.contains(tree.dir().to_str().unwrap()), "{}", ran.err);
            }
        }
        stop.store(true, std::sync::atomic::Ordering::Relaxed);
    });
    tree.write("a.c", "quiet\n");
    assert_eq!(tree.build().0, "quiet\nb\n");
}
