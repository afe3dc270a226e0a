//! A throw-away project with its own cache and home, and the `quiz` program run in it.

use std::ffi::OsStr;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};

const PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// A project folder, a home and a cache, all gone at the end.
pub struct Project {
    root: tempfile::TempDir,
}

/// What a run of quiz came to.
#[derive(Debug)]
pub struct Ran {
    pub status: Option<i32>,
    pub out: String,
    pub err: String,
}

impl Project {
    pub fn new() -> Self {
        let root = tempfile::tempdir().unwrap();
        for dir in ["project", "home", "bin"] {
            std::fs::create_dir(root.path().join(dir)).unwrap();
        }
        std::fs::write(root.path().join("project/quiz.toml"), "").unwrap();
        // Scripts run with this machine's programs: a root with compilers would have to be downloaded.
        let config = root.path().join("home/.config/quiz");
        std::fs::create_dir_all(&config).unwrap();
        std::fs::write(config.join("quiz.toml"), "[toolchain]\nsuite = \"host\"\n").unwrap();
        Self { root }
    }

    pub fn dir(&self) -> PathBuf {
        self.root.path().join("project")
    }

    /// The first folder of PATH. It lies beside the project, whose own programs quiz does not start.
    pub fn bin(&self) -> PathBuf {
        self.root.path().join("bin")
    }

    pub fn cache(&self) -> PathBuf {
        self.root.path().join("cache")
    }

    pub fn write(&self, path: &str, text: &str) -> PathBuf {
        let path = self.dir().join(path);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(&path, text).unwrap();
        path
    }

    /// Adds a recipe: the tables of its recipe.toml after `about`, and its script.
    pub fn recipe(&self, name: &str, tables: &str, script: &str) {
        let head = format!("version = 1\nabout = \"a test\"\nscript = \"build.sh\"\n{tables}");
        self.write(&format!(".quiz/recipes/{name}/recipe.toml"), &head);
        self.write(&format!(".quiz/recipes/{name}/build.sh"), script);
    }

    /// Adds the recipe `t-source`: the folder around that has a file MARK.
    pub fn source_folder(&self) {
        let text = "version = 1\nabout = \"a test\"\n[options.origin]\ntype = \"string\"\ndefault = \"\"\nabout = \"x\"\n\
                    [outputs]\ntree = \"tree\"\n[source]\nentry = \"t\"\n[source.dir]\nmarks = [\"MARK\"]\n";
        self.write(".quiz/recipes/t-source/recipe.toml", text);
    }

    /// A shell script that quiz starts instead of a program of the machine.
    pub fn stand_in(&self, program: &str, script: &str) {
        let path = self.bin().join(program);
        std::fs::write(&path, format!("#!/bin/sh\n{script}")).unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).unwrap();
    }

    /// The command, with an environment that the host's cannot disturb.
    pub fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_quiz"));
        command
            .args(args)
            .current_dir(self.dir())
            .env_clear()
            .env("PATH", format!("{}:{PATH}", self.bin().display()))
            .env("HOME", self.root.path().join("home"))
            .env("QUIZ_CACHE_DIR", self.cache())
            .stdin(Stdio::null());
        command
    }

    /// Another program in the place of quiz, in its folder and with its environment.
    pub fn other(&self, program: impl AsRef<OsStr>) -> Command {
        let (quiz, mut command) = (self.command(&[]), Command::new(program));
        command.current_dir(self.dir()).env_clear().stdin(Stdio::null());
        command.envs(quiz.get_envs().filter_map(|(name, value)| Some((name, value?))));
        command
    }

    /// A line for a shell, on a terminal of its own, whose keyboard is stdin and whose screen stdout.
    pub fn on_terminal(&self, line: &str) -> Command {
        let mut script = self.other("script");
        script.args(["-qec", line, "/dev/null"]).env("TERM", "vt220");
        script
    }

    pub fn run(&self, args: &[&str]) -> Ran {
        Ran::from(self.command(args).output().unwrap())
    }

    /// Runs, and demands success.
    pub fn ok(&self, args: &[&str]) -> Ran {
        let ran = self.run(args);
        assert_eq!(ran.status, Some(0), "{args:?}: {ran:?}");
        ran
    }

    /// Starts without waiting.
    pub fn start(&self, args: &[&str]) -> Child {
        self.command(args).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
    }

    /// Builds a stage with one output and gives the path of that.
    pub fn built(&self, stage: &str) -> PathBuf {
        let ran = self.ok(&["build", stage]);
        PathBuf::from(ran.out.lines().last().unwrap().split_once(' ').unwrap().1)
    }
}

impl From<Output> for Ran {
    fn from(output: Output) -> Self {
        let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
        Self { status: output.status.code(), out: text(output.stdout), err: text(output.stderr) }
    }
}

impl Ran {
    /// How many lines of stderr contain this.
    pub fn count(&self, words: &str) -> usize {
        self.err.lines().filter(|line| line.contains(words)).count()
    }

    /// Fails unless stderr contains each of these.
    pub fn says(&self, all: &[&str]) -> &Self {
        for words in all {
            assert!(self.err.contains(words), "no `{words}` in:\n{}", self.err);
        }
        self
    }
}

/// Every regular file under a folder.
pub fn files(dir: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let Ok(entries) = std::fs::read_dir(dir) else { return found };
    for entry in entries {
        let path = entry.unwrap().path();
        match path.symlink_metadata() {
            Ok(meta) if meta.is_dir() => found.extend(files(&path)),
            Ok(meta) if meta.is_file() => found.push(path),
            _ => {}
        }
    }
    found
}
