//! Two hosts side by side, Debian 12 and 13, with other compilers and an empty cache each: the program is all that they share, and the day.

use super::{Host, ONE_AT_A_TIME};
use crate::project::Ran;
use crate::real::opened::TINY;
use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::process::Command;

/// Projects by the folder in the home, what is in their quiz.toml, and the stages that are made of them. The first has the whole image but its
/// kernel, which is the distribution's; of the other one the kernel itself is not made, as that takes an hour, but its key is looked at.
const PROJECTS: [(&str, &str, &str); 2] = [
    ("package", "profiles = [\"zfs\"]\n[kernel]\nsource = \"package\"\n", "image zfs agent"),
    ("own", "", "tiny kernel-config compile-commands"),
];

/// What must be among what is compared: made here, from nothing.
const MADE: [&str; 9] = [
    "package agent",
    "package image",
    "package kernel-package",
    "package kernel-package-devel",
    "package rootfs",
    "package zfs-modules",
    "package zfs-user",
    "own kernel-config",
    "own tiny",
];

/// Where something may be pinned.
const LOCKS: [&str; 3] = [".config/quiz/quiz.lock", "package/quiz.lock", "own/quiz.lock"];

/// Key and outputs of a stage, as JSON.
type Stages = BTreeMap<String, (String, Option<String>)>;

/// A host, and who works there.
struct Twin {
    host: Host,
    user: &'static str,
    home: &'static str,
}

impl Twin {
    /// One with the quiz of this machine, what that needs to make stages, and an empty cache.
    fn new(suite: &str, user: &'static str, home: &'static str) -> Self {
        let host = Host::new(suite, "twin");
        std::fs::copy(env!("CARGO_BIN_EXE_quiz"), host.root.join("usr/local/bin/quiz")).unwrap();
        let twin = Self { host, user, home };
        twin.done_by("root", "apt-get update -q && apt-get install -q -y --no-install-recommends bubblewrap");
        for (folder, toml, _) in PROJECTS {
            let project = twin.home().join(folder);
            std::fs::create_dir_all(&project).unwrap();
            std::fs::write(project.join("quiz.toml"), toml).unwrap();
        }
        let recipe = twin.home().join("own/.quiz/recipes/tiny");
        std::fs::create_dir_all(&recipe).unwrap();
        std::fs::write(recipe.join("recipe.toml"), TINY.0).unwrap();
        std::fs::write(recipe.join("build.sh"), TINY.1).unwrap();
        twin.owns();
        twin
    }

    /// The home of who works there, as it is seen from here.
    fn home(&self) -> PathBuf {
        self.host.root.join(self.home)
    }

    /// Everything in that home belongs to him, whoever has put it there.
    fn owns(&self) {
        self.done_by("root", &format!("chown -R {0}: /{1}", self.user, self.home));
    }

    /// Runs, and demands success.
    fn done(&self, command: &str) -> Ran {
        self.done_by(self.user, command)
    }

    fn done_by(&self, user: &str, command: &str) -> Ran {
        let ran = self.host.run(user, command);
        assert_eq!(ran.status, Some(0), "{command}: {ran:?}");
        ran
    }

    /// Builds all, with these variables: how many stages were made, and what each stage of either project is then, as far as it is known.
    fn build(&self, variables: &str) -> (usize, Stages) {
        let quiz = |folder: &str, args: &str| self.done(&format!("cd ~/{folder} && {variables} quiz {args}"));
        let making = PROJECTS.map(|(folder, _, wanted)| quiz(folder, &format!("build {wanted}")).count("Making"));
        let mut stages = Stages::new();
        for (folder, ..) in PROJECTS {
            let graph: serde_json::Value = serde_json::from_str(&quiz(folder, "-v --json graph").out).unwrap();
            for stage in graph.as_array().unwrap() {
                if let Some(key) = stage["key"].as_str() {
                    let outputs = stage.get("outputs").map(ToString::to_string);
                    stages.insert(format!("{folder} {}", stage["stage"].as_str().unwrap()), (key.to_owned(), outputs));
                }
            }
        }
        (making.iter().sum(), stages)
    }
}

/// Fails with the stages that are not the same.
fn same(one: &Stages, other: &Stages) {
    let names: BTreeSet<&String> = one.keys().chain(other.keys()).collect();
    let differ = names.into_iter().filter(|name| one.get(*name) != other.get(*name));
    let differ: Vec<_> = differ.map(|name| (name, one.get(name), other.get(name))).collect();
    assert!(differ.is_empty(), "{differ:#?}");
}

#[test]
#[ignore = "compiles OpenZFS and a small kernel in roots of Debian 12 and 13: tests/run --full hosts"]
fn hosts_with_other_compilers_make_the_same_bytes_under_the_same_keys_and_take_each_others_cache() {
    let _turn = ONE_AT_A_TIME.lock();
    // In the second an ordinary user works, so that places and users are other ones, too.
    let (one, other) = (Twin::new("bookworm", "root", "root"), Twin::new("trixie", "dev", "home/dev"));
    assert_ne!(one.done("gcc -dumpversion").out, other.done("gcc -dumpversion").out);
    let (making, first) = one.build("");
    assert!(making >= MADE.len(), "{making}");
    for stage in MADE {
        assert!(first.get(stage).is_some_and(|(_, outputs)| outputs.is_some()), "{stage}: {first:#?}");
    }
    let kernel = &first["own kernel"];
    assert_eq!(kernel.1, None, "only its key is known");
    std::fs::create_dir_all(other.home().join(".config/quiz")).unwrap();
    let locks = || LOCKS.iter().filter(|lock| one.home().join(lock).exists());
    for lock in locks() {
        std::fs::copy(one.home().join(lock), other.home().join(lock)).unwrap();
    }
    let (from, copied) = (one.home().join(".cache/quiz"), other.home().join("copied"));
    assert!(Command::new("cp").arg("-a").arg(from).arg(&copied).status().unwrap().success());
    other.owns();
    let (making_of_hits, hits) = other.build("QUIZ_CACHE_DIR=~/copied");
    same(&first, &hits);
    assert_eq!(making_of_hits, 0);
    std::fs::remove_dir_all(&copied).unwrap();
    // From here on it has nothing of the first one: no cache, and nothing that is pinned.
    for lock in locks() {
        std::fs::remove_file(other.home().join(lock)).unwrap();
    }
    let (making_there, second) = other.build("");
    same(&first, &second);
    assert!(making_there >= MADE.len(), "{making_there}");
    for twin in [one, other] {
        std::fs::remove_dir_all(twin.host.root).unwrap();
    }
}
