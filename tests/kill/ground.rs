//! The projects in which commands are killed, and one round of it: something to do, the kill, what has to be true then, and the next run.

use super::trace::{At, Watch, run};
use super::whole::{self, Sources};
use crate::collect::age;
use crate::project::{Project, Ran, files};
use crate::suite::Fake;
use crate::worktree::{git, recipes};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::{Child, Command};
use std::time::{Duration, Instant};
use tempfile::NamedTempFile;

/// The commands that are killed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// `quiz build` without a cache.
    First,
    /// `quiz build` after an edit: an incremental stage goes on in its scratch folder.
    Edit,
    /// `quiz build --fresh`.
    Fresh,
    /// `quiz verify`.
    Verify,
    /// `quiz gc`, with something to remove, and something that is used.
    Collect,
    /// `quiz up`, which makes an image, boots it and saves the machine.
    Up,
    /// `quiz update`, with something new.
    Update,
}

pub const COMMANDS: usize = 7;

/// "Compiles" by copying; an object depends on the header that its source names.
const RULES: &str = "\
objects := $(patsubst %.c,%.o,$(sort $(wildcard *.c)))
all: $(objects) FORCE
\t@cat $(objects) >all
%.o: %.c
\t@echo $@: `sed -n 's/^#include //p' $*.c` >$*.d
\t@cat $*.c `sed -n 's/^#include //p' $*.c` >$@
-include $(objects:.o=.d)
FORCE:
";
const SCRIPT: &str = "make -s -C tree -f /quiz/recipe/rules\ncp tree/all /quiz/out/out\n";
const TREE: &str = "cd /quiz/out; mkdir -p tree/sub/empty; cp /quiz/src/*.c tree/sub; cat /quiz/src/*.c >tree/run\n\
                    chmod +x tree/run; ln -s sub/a.c tree/link\n";
const END: &str = "mkdir /quiz/out/end; cp -r /quiz/in/tree /quiz/out/end; cp /quiz/in/built /quiz/out/end\n";
const UP: &[&str] = &["up", "--append", "fake=snapshot", "--", "true"];

/// A project, and how often it was edited.
pub struct Ground {
    kind: Kind,
    project: Project,
    edits: usize,
    /// Rounds that had a process of bubblewrap's in the way.
    pub unborn: usize,
}

impl Ground {
    pub fn new(kind: Kind) -> Self {
        let project = match kind {
            Kind::Up => Fake::new().0,
            Kind::Update => moving(),
            _ => stages(),
        };
        let ground = Self { kind, project, edits: 0, unborn: 0 };
        match kind {
            Kind::Update => drop(ground.ok(&["build", "t-moving"])),
            Kind::Up => drop(ground.ok(UP)),
            _ => drop(ground.ok(&["build", "t-end"])),
        }
        ground
    }

    fn args(&self) -> &'static [&'static str] {
        match self.kind {
            Kind::First | Kind::Edit => &["build", "t-end"],
            Kind::Fresh => &["build", "--fresh", "t-build"],
            Kind::Verify => &["verify", "t-tree"],
            Kind::Collect => &["gc"],
            Kind::Up => UP,
            Kind::Update => &["update", "moving"],
        }
    }

    /// How a run ends that is not killed. The fake guest's program does not do well.
    pub fn status(&self) -> Option<i32> {
        Some(if self.kind == Kind::Up { 7 } else { 0 })
    }

    /// What is killed.
    pub fn command(&self) -> Command {
        self.project.command(self.args())
    }

    /// Something new that the user wrote.
    fn edit(&mut self) {
        self.edits += 1;
        let n = self.edits;
        match self.kind {
            Kind::Up => self.project.recipe("t-root", "[outputs]\nlayer = \"file\"\n", &layer(n)),
            Kind::Update => {
                std::fs::write(origin(&self.project).join("file"), format!("{n}\n")).unwrap();
                git(&origin(&self.project), &["commit", "-q", "-a", "-m", "x"]);
            }
            _ => {
                self.project.write("a.c", &format!("a {n}\n"));
                match n % 4 {
                    0 => drop(self.project.write("h.h", &format!("h {n}\n"))),
                    1 => drop(self.project.write("more.c", &format!("#include h.h\nmore {n}\n"))),
                    2 => std::fs::remove_file(self.project.dir().join("more.c")).unwrap_or_default(),
                    _ => {}
                }
            }
        }
    }

    /// Gives the command something to do.
    pub fn prepare(&mut self) {
        self.edit();
        match self.kind {
            Kind::First if self.project.cache().exists() => std::fs::remove_dir_all(self.project.cache()).unwrap(),
            // What a killed one set aside under the key of another edit is removed by `quiz gc` alone.
            Kind::Verify => std::fs::remove_dir_all(self.project.cache().join("aside")).unwrap_or_default(),
            // As in a project's first run.
            Kind::Up => std::fs::remove_file(self.project.dir().join(".quiz/.gitignore")).unwrap(),
            // To take the place of what was built incrementally, or without that.
            Kind::Fresh if self.edits.is_multiple_of(2) => drop(self.ok(&["build", "t-build"])),
            Kind::Collect => {
                self.ok(&["build", "t-end"]);
                self.edit();
                self.ok(&["build", "t-end"]);
                age(&self.project, 40);
                // A build that finds its result uses it.
                self.ok(&["build", "t-end"]);
            }
            _ => {}
        }
    }

    /// Kills the command at that call, or sees it end before; tells at which call that was.
    pub fn round(&mut self, turn: usize, call: usize) -> Option<&'static str> {
        self.prepare();
        let (results, sources) = (whole::results(&self.project), whole::sources(&self.project));
        let traced = run(self.command(), At::Call(call));
        let what = format!("{:?}, round {turn}, killed at call {call} ({:?})", self.kind, traced.killed);
        assert!(traced.killed.is_some() || traced.status == self.status(), "{what}: {}", traced.err);
        let unborn = expect_no_process(&self.project, &what);
        assert_eq!(whole::wrong(&self.project), [""; 0], "{what}");
        let new_lock = self.project.dir().join(".quiz.lock.new");
        // A file that a killed update left half written stays until the next update writes it.
        let was_writing = self.kind == Kind::Update && new_lock.exists();
        self.expect_sources(&sources, was_writing.then_some(&new_lock), &what);
        if self.kind != Kind::Collect {
            let lost: Vec<_> = results.difference(&whole::results(&self.project)).cloned().collect();
            assert!(lost.is_empty(), "{what}: {lost:?}");
        }
        let edited = turn % 3 == 2;
        if edited {
            self.edit();
        }
        let mut sources = whole::sources(&self.project);
        sources.remove(&new_lock);
        self.go_on(&what, turn, edited);
        self.expect_sources(&sources, None, &what);
        assert_eq!(whole::wrong(&self.project), [""; 0], "{what}: the next run");
        if !unborn.0.is_empty() {
            self.unborn += 1;
        }
        traced.killed
    }

    /// Only `quiz update` writes to the user's files, and only to quiz.lock.
    fn expect_sources(&self, before: &Sources, but: Option<&PathBuf>, what: &str) {
        let mut after = whole::sources(&self.project);
        after.retain(|path, _| Some(path) != but);
        let lock = self.project.dir().join("quiz.lock");
        if let (Kind::Update, Some(before)) = (self.kind, before.get(&lock)) {
            after.insert(lock, before.clone());
        }
        let names = |all: &Sources| all.keys().cloned().collect::<Vec<_>>();
        assert_eq!(names(&after), names(before), "{what}: the user's files");
        assert!(after == *before, "{what}: the user's files have changed");
    }

    /// The next run is right, whatever was left.
    fn go_on(&self, what: &str, turn: usize, edited: bool) {
        match self.kind {
            Kind::Up => {
                let ran = self.ok(UP);
                let run = newest_run(&self.project);
                let command = std::fs::read_to_string(run.join("command")).unwrap();
                let layers = files(&self.project.cache().join("objects"));
                let wanted = format!("root {}\n", self.edits);
                let layer = layers.iter().find(|path| std::fs::read_to_string(path).is_ok_and(|text| text == wanted));
                let layer = layer.unwrap_or_else(|| panic!("{what}: no layer of the edit: {ran:?}"));
                assert!(command.contains(layer.to_str().unwrap()), "{what}: {command}");
            }
            Kind::Update => {
                self.ok(self.args());
                let ran = self.ok(&["build", "t-moving"]);
                let text = std::fs::read_to_string(Path::new(path(&ran)).join("file")).unwrap();
                assert_eq!(text, format!("{}\n", self.edits), "{what}");
            }
            Kind::Collect => {
                // Before another collection, or after it: what is used is there.
                if turn.is_multiple_of(2) && !edited {
                    assert_eq!(self.ok(&["build", "t-end"]).count("Making"), 0, "{what}");
                }
                self.ok(&["gc"]);
                let ran = self.expect_right(&["build", "t-end"], what);
                assert!(edited || ran.count("Making") == 0, "{what}: {ran:?}");
                let again = self.ok(&["gc", "--dry-run"]);
                assert!(again.out.starts_with("would remove 0 results, "), "{what}: {again:?}");
            }
            Kind::Verify => {
                let ran = self.ok(self.args());
                assert!(ran.out.contains("the same bytes"), "{what}: {ran:?}");
                assert!(edited || files(&self.project.cache().join("aside")).is_empty(), "{what}");
            }
            Kind::First | Kind::Edit | Kind::Fresh => {
                let ran = self.expect_right(self.args(), what);
                if ran.count("Making") > 0 {
                    assert_eq!(whole::left(&self.project), [""; 0].map(PathBuf::from), "{what}: {ran:?}");
                }
            }
        }
    }

    /// What the command builds is what comes out in a cache of its own.
    fn expect_right(&self, args: &[&str], what: &str) -> Ran {
        let ran = self.ok(args);
        assert_eq!(ran.count("warning"), 0, "{what}: {ran:?}");
        let nothing = tempfile::tempdir().unwrap();
        let mut command = self.project.command(&["build", args[args.len() - 1]]);
        command.env("QUIZ_CACHE_DIR", nothing.path().join("cache"));
        let fresh = finish(command);
        assert_eq!(fresh.status, Some(0), "{what}: {fresh:?}");
        let (is, wanted) = (Path::new(path(&ran)), Path::new(path(&fresh)));
        // A name of the cache is a digest of what is there, and both are whole; the bytes have the last word.
        assert_eq!(is.file_name(), wanted.file_name(), "{what}");
        assert_eq!(contents(is), contents(wanted), "{what}");
        ran
    }

    fn ok(&self, args: &[&str]) -> Ran {
        let ran = finish(self.project.command(args));
        assert_eq!(ran.status, self.status(), "{args:?}: {ran:?}");
        ran
    }
}

/// Runs to its end, which comes in time.
fn finish(command: Command) -> Ran {
    finish_all(vec![command], || {}).remove(0)
}

/// Starts them all, does something, and waits for them all.
pub fn finish_all(commands: Vec<Command>, then: impl FnOnce()) -> Vec<Ran> {
    let start = |mut command: Command| {
        let [out, err] = [(); 2].map(|()| tempfile::NamedTempFile::new().unwrap());
        command.stdout(out.reopen().unwrap()).stderr(err.reopen().unwrap());
        let child = command.spawn().unwrap();
        (Watch::new(child.id()), child, out, err)
    };
    let started: Vec<_> = commands.into_iter().map(start).collect();
    then();
    let end = |(_watch, mut child, out, err): (Watch, Child, NamedTempFile, NamedTempFile)| {
        let text = |file: NamedTempFile| std::fs::read_to_string(file.path()).unwrap();
        Ran { status: child.wait().unwrap().code(), out: text(out), err: text(err) }
    };
    started.into_iter().map(end).collect()
}

/// Of a command that builds one output.
fn path(ran: &Ran) -> &str {
    ran.out.trim().split_once(' ').unwrap().1
}

fn contents(path: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let all = if path.is_dir() { files(path) } else { vec![path.to_owned()] };
    all.into_iter().map(|file| (file.strip_prefix(path).unwrap().to_owned(), std::fs::read(file).unwrap())).collect()
}

/// Processes of bubblewrap that wait for another one of it for ever: version 0.8 leaves its child so when it is killed in the millisecond
/// between the child's start and its first word to it. Ended when this is dropped: until then they are in the next run's way.
#[derive(Debug, Default)]
pub struct Unborn(Vec<i32>);

impl Drop for Unborn {
    fn drop(&mut self) {
        for &pid in &self.0 {
            let _ = kill(Pid::from_raw(pid), Signal::SIGKILL);
        }
    }
}

/// What quiz has started ends with it, in some seconds; a script in any case.
pub fn expect_no_process(project: &Project, what: &str) -> Unborn {
    let start = Instant::now();
    loop {
        let alive = whole::processes(project);
        let is_unborn = alive.iter().all(|process| process.name == "bwrap");
        if alive.is_empty() || (is_unborn && start.elapsed() > Duration::from_secs(5)) {
            return Unborn(alive.iter().map(|process| process.pid).collect());
        }
        let words: Vec<&String> = alive.iter().map(|process| &process.words).collect();
        assert!(start.elapsed() < Duration::from_secs(20), "{what}: {words:?}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

fn newest_run(project: &Project) -> PathBuf {
    let runs = std::fs::read_dir(project.dir().join(".quiz/runs")).unwrap().map(|entry| entry.unwrap().path());
    let number = |path: &PathBuf| path.file_name().unwrap().to_str().unwrap().parse::<u64>().ok();
    runs.filter(|path| number(path).is_some()).max_by_key(number).unwrap()
}

fn layer(n: usize) -> String {
    format!("echo root {n} >/quiz/out/layer\n")
}

/// An incremental stage, one of a part of the source, and one that reads both.
fn stages() -> Project {
    let project = Project::new();
    recipes(&project, SCRIPT);
    project.write(".quiz/recipes/t-build/rules", RULES);
    let part = "[inputs]\nsource = { from = \"t-source\", paths = [\"*.c\"] }\n[outputs]\ntree = \"tree\"\n";
    project.recipe("t-tree", part, TREE);
    let both = "[inputs]\ntree = { from = \"t-tree/tree\", paths = [\"sub/*\"] }\nbuilt = \"t-build\"\n[outputs]\nend = \"tree\"\n";
    project.recipe("t-end", both, END);
    for (path, text) in [("MARK", ""), ("h.h", "h\n"), ("a.c", "a\n"), ("b.c", "#include h.h\n")] {
        project.write(path, text);
    }
    project
}

fn origin(project: &Project) -> PathBuf {
    project.dir().with_file_name("origin")
}

/// A source that is pinned in quiz.lock: the newest commit of a repository.
fn moving() -> Project {
    let project = Project::new();
    let origin = origin(&project);
    std::fs::create_dir(&origin).unwrap();
    git(&origin, &["init", "-q", "-b", "main"]);
    std::fs::write(origin.join("file"), "0\n").unwrap();
    git(&origin, &["add", "file"]);
    git(&origin, &["commit", "-q", "-m", "x"]);
    let recipe = format!(
        "version = 1\nabout = \"a test\"\n[options]\n\
         version = {{ type = \"string\", default = \"main\", about = \"x\" }}\n\
         origin = {{ type = \"string\", default = \"git\", about = \"x\" }}\n\
         repository = {{ type = \"string\", default = \"{}\", about = \"x\" }}\n\
         [outputs]\ntree = \"tree\"\n[source]\nentry = \"moving\"\n[source.git]\nrepository = \"/nowhere\"\ntag = \"v{{version}}\"\n",
        origin.display()
    );
    project.write(".quiz/recipes/t-moving/recipe.toml", &recipe);
    project
}
