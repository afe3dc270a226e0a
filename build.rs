//! Tells the compiler what the program is built from, for `quiz --version`: the commit, its day, the target, the compiler. No clock and
//! no path of this machine, so that the same source gives the same program. Outside of a git repository the commit is unknown, and that is all.

use std::path::Path;
use std::process::Command;

/// What the program is made of: a change of it runs this again.
const MADE_OF: &[&str] = &["build.rs", "Cargo.toml", "Cargo.lock", "src", "cache", "recipes", "profiles"];

fn main() {
    let variable = |name: &str| std::env::var(name).unwrap_or_default();
    let root = variable("CARGO_MANIFEST_DIR");
    let root = Path::new(&root);
    for path in MADE_OF.iter().filter(|path| root.join(path).exists()) {
        println!("cargo::rerun-if-changed={path}");
    }
    let commit = of_git(root).or_else(|| of_package(root)).unwrap_or_default();
    println!("cargo::rustc-env=BUILT_AS={}{}", variable("CARGO_PKG_VERSION"), commit.in_short());
    println!("cargo::rustc-env=BUILT_FROM_COMMIT={}", commit.id);
    println!("cargo::rustc-env=BUILT_FROM_MODIFIED={}", commit.is_modified);
    println!("cargo::rustc-env=BUILT_FROM_DAY={}", commit.day);
    println!("cargo::rustc-env=BUILT_FOR={}", variable("TARGET"));
    let compiler = Command::new(variable("RUSTC")).arg("--version").output();
    let compiler = compiler.map(|output| String::from_utf8_lossy(&output.stdout).trim().to_owned());
    println!("cargo::rustc-env=BUILT_BY={}", compiler.unwrap_or_default());
    // What is built for others says the commit of this moment. Else a commit would compile everything again, whose files are those that it was
    // compiled from: then it stays "that commit, modified".
    if variable("PROFILE") == "release" {
        let watched = ["HEAD", "logs/HEAD"].map(|name| git(root, &["rev-parse", "--git-path", name]));
        for path in watched.into_iter().flatten().filter(|path| root.join(path).exists()) {
            println!("cargo::rerun-if-changed={path}");
        }
    }
}

#[derive(Default)]
struct Commit {
    id: String,
    /// A file that git knows is another one than in that commit.
    is_modified: bool,
    /// Of the commit, in UTC.
    day: String,
}

impl Commit {
    /// What stands behind the version's number, as rustc has it; nothing of a commit that is not known.
    fn in_short(&self) -> String {
        let Some(id) = self.id.get(..12) else { return String::new() };
        let modified = if self.is_modified { "-modified" } else { "" };
        format!(" ({})", format!("{id}{modified} {}", self.day).trim_end())
    }
}

/// The commit that is checked out, if this folder is the top of a repository that has its files: a source tarball may lie in one of somebody's own.
fn of_git(root: &Path) -> Option<Commit> {
    if !git(root, &["rev-parse", "--show-prefix"])?.is_empty() {
        return None;
    }
    git(root, &["ls-files", "--error-unmatch", "Cargo.toml"])?;
    let id = git(root, &["rev-parse", "HEAD"])?;
    let day = git(root, &["show", "-s", "--format=%cd", "--date=format-local:%Y-%m-%d", "HEAD"])?;
    let is_modified = !git(root, &["status", "--porcelain", "--untracked-files=no"])?.is_empty();
    Some(Commit { id, is_modified, day })
}

/// The commit that `cargo package` wrote down.
fn of_package(root: &Path) -> Option<Commit> {
    let text = std::fs::read_to_string(root.join(".cargo_vcs_info.json")).ok()?;
    let id = text.split_once("\"sha1\"")?.1.split('"').nth(1)?.to_owned();
    let is_modified =
        text.split_once("\"dirty\"").is_some_and(|(_, rest)| rest.trim_start_matches([':', ' ']).starts_with("true"));
    id.bytes().all(|b| b.is_ascii_hexdigit()).then_some(Commit { id, is_modified, day: String::new() })
}

/// What git says; nothing where there is none, or it fails.
fn git(root: &Path, words: &[&str]) -> Option<String> {
    let mut git = Command::new("git");
    // A hook of git's sets these, for another repository.
    for name in ["GIT_DIR", "GIT_WORK_TREE", "GIT_INDEX_FILE", "GIT_PREFIX", "GIT_OBJECT_DIRECTORY"] {
        git.env_remove(name);
    }
    let output = git.arg("--no-optional-locks").args(words).current_dir(root).env("TZ", "UTC").output().ok()?;
    output.status.success().then(|| String::from_utf8_lossy(&output.stdout).trim().to_owned())
}
