//! What a shell gets that asks quiz for candidates, by the very scripts that `quiz completions` prints; and the manual pages.

use crate::project::{Project, Ran, files};
use crate::worktree::git;

/// What bash would offer for the last of these words.
fn offered(project: &Project, words: &[&str]) -> (Vec<String>, Ran) {
    let mut command = project.command(&["--"]);
    command.args(words).env("_QUIZ_COMPLETE", "bash").env("_CLAP_IFS", "\n");
    command.env("_CLAP_COMPLETE_INDEX", (words.len() - 1).to_string()).env("_CLAP_COMPLETE_COMP_TYPE", "9");
    let ran = Ran::from(command.output().unwrap());
    (ran.out.lines().map(str::to_owned).collect(), ran)
}

#[test]
fn stages_profiles_and_runs_of_the_project_are_offered_and_nothing_is_made() {
    let project = Project::new();
    project.recipe("t-mine", "[outputs]\nout = \"file\"\n", "exit 1\n");
    project.write(".quiz/profiles/mine-too/profile.toml", "about = \"x\"\n");
    project.write(".quiz/recipes/t-$(reboot)/recipe.toml", "");
    for run in ["7", "12", "other"] {
        std::fs::create_dir_all(project.dir().join(".quiz/runs").join(run)).unwrap();
    }
    // A recipe with such a name is an error, so nothing is offered, and nothing said.
    let (words, ran) = offered(&project, &["quiz", "build", "t-"]);
    assert_eq!((words.as_slice(), ran.err.as_str(), ran.status), (&[][..], "", Some(0)));
    std::fs::remove_dir_all(project.dir().join(".quiz/recipes/t-$(reboot)")).unwrap();
    let before = files(&project.dir());
    assert_eq!(offered(&project, &["quiz", "build", "t-"]).0, ["t-mine"]);
    assert_eq!(offered(&project, &["quiz", "build", "zfs-mod"]).0, ["zfs-modules"]);
    assert_eq!(offered(&project, &["quiz", "up", "-p", "mine"]).0, ["mine-too"]);
    assert_eq!(offered(&project, &["quiz", "logs", ""]).0[..2], ["12", "7"]);
    assert!(offered(&project, &["quiz", "gra"]).0.contains(&"graph".to_owned()));
    assert_eq!(files(&project.dir()), before);
    assert!(!project.cache().exists(), "no cache is made to answer");
}

const COMMON: &str = "[DEFAULT]\ntags = ['functional']\n[tests/functional/atime]\ntests = ['atime_001_pos', 'atime_002_neg']\n\
    tags = ['functional', 'atime']\n[tests/functional/cli_root/zfs_get]\ntests = ['zfs_get_001_pos', 'a$(reboot)']\n";
const LINUX: &str = "[tests/functional/atime:Linux]\ntests = ['atime_003_pos']\ntags = ['functional', 'atime']\n";

/// The files by which a tree is taken for OpenZFS, and the runfiles of its suite.
fn openzfs(project: &Project) {
    ["META", "module/zfs/zfs_ioctl.c", "configure.ac"].iter().for_each(|mark| drop(project.write(mark, "")));
    project.write("tests/runfiles/common.run", COMMON);
    project.write("tests/runfiles/linux.run", LINUX);
}

#[test]
fn groups_tests_and_tags_of_the_suite_are_offered_in_a_tree_of_openzfs_and_no_cache_is_made() {
    let project = Project::new();
    assert_eq!(offered(&project, &["quiz", "test", "-t", "a"]).0, [""; 0], "no source of OpenZFS is there");
    openzfs(&project);
    let before = files(&project.dir());
    let of = |words: &[&str]| {
        let (mut words, ran) = offered(&project, &[&["quiz", "test"], words].concat());
        assert_eq!((ran.err.as_str(), ran.status), ("", Some(0)), "{ran:?}");
        words.sort();
        words
    };
    assert_eq!(of(&["-t", "a"]), ["atime", "atime_001_pos", "atime_002_neg", "atime_003_pos"]);
    assert_eq!(of(&["--test", "cli_root/"]), ["cli_root/zfs_get"]);
    assert_eq!(of(&["-t", "atime_001_pos,zfs"]), ["atime_001_pos,zfs_get", "atime_001_pos,zfs_get_001_pos"]);
    assert_eq!(of(&["-T", ""]), ["atime", "functional"]);
    let all = of(&["-t", ""]);
    assert!(all.contains(&"functional/atime".into()) && all.contains(&"zfs_get_001_pos".into()), "{all:?}");
    // Each is one that `quiz test` takes.
    all.iter().for_each(|name| drop(project.ok(&["test", "--list", "-t", name])));
    std::fs::remove_dir_all(project.cache()).unwrap();
    project.write("tests/runfiles/linux.run", "nonsense");
    assert_eq!(of(&["-t", "a"]), [""; 0]);
    assert_eq!((files(&project.dir()), project.cache().exists()), (before, false));
}

#[test]
fn tests_of_a_source_that_is_fetched_are_offered_once_it_is_in_the_cache() {
    let source = Project::new();
    openzfs(&source);
    git(&source.dir(), &["init", "-q", "-b", "main"]);
    git(&source.dir(), &["add", "-A"]);
    git(&source.dir(), &["commit", "-q", "-m", "first"]);
    let project = Project::new();
    let repository = source.dir();
    project.write("quiz.toml", &format!("[zfs]\nversion = \"main\"\nrepository = \"{}\"\n", repository.display()));
    let tags = || offered(&project, &["quiz", "test", "-T", ""]).0;
    assert_eq!(tags(), [""; 0]);
    assert!(!project.cache().exists() && !project.dir().join("quiz.lock").exists(), "nothing is looked up to answer");
    project.ok(&["build", "zfs-source"]);
    // The repository from which it was fetched is not asked again.
    std::fs::remove_dir_all(&repository).unwrap();
    std::fs::create_dir(repository).unwrap();
    assert_eq!(tags(), ["atime", "functional"]);
    std::fs::rename(project.cache().join("trees"), project.cache().join("gone")).unwrap();
    assert_eq!(tags(), [""; 0]);
}

#[test]
fn a_project_that_cannot_be_read_is_no_word_among_what_somebody_types() {
    let project = Project::new();
    project.write("quiz.toml", "[kernel\n");
    let (words, ran) = offered(&project, &["quiz", "build", "kernel-"]);
    assert_eq!((words.as_slice(), ran.err.as_str(), ran.status), (&[][..], "", Some(0)));
}

#[test]
fn the_scripts_ask_the_quiz_in_path_and_bash_takes_its_own() {
    let project = Project::new();
    for shell in ["bash", "zsh", "fish"] {
        let script = project.ok(&["completions", shell]).out;
        let asks = [format!("_QUIZ_COMPLETE={shell}"), format!("_QUIZ_COMPLETE=\"{shell}\"")];
        assert!(asks.iter().any(|word| script.contains(word)), "{script}");
        assert!(!script.contains(env!("CARGO_BIN_EXE_quiz")), "{script}");
        if shell == "bash" {
            let path = project.write("script", &script);
            assert!(std::process::Command::new("bash").arg("-n").arg(path).status().unwrap().success());
        }
    }
    assert_eq!(project.run(&["completions", "tcsh"]).status, Some(2));
}

#[test]
fn manual_pages_are_written_one_for_each_command() {
    let project = Project::new();
    let ran = project.ok(&["man", "pages/man1"]);
    let page = |name: &str| std::fs::read_to_string(project.dir().join("pages/man1").join(name)).unwrap();
    assert!(ran.out.starts_with("pages/man1: "), "{ran:?}");
    assert!(page("quiz.1").contains("quiz\\-up(1)"));
    for (name, word) in [("quiz-up.1", "lost\\-as"), ("quiz-crash-show.1", "group"), ("quiz-init.1", "quiz.toml")] {
        assert!(page(name).contains(word), "{name}: {}", page(name));
    }
    project.write("file", "");
    let ran = project.run(&["man", "file"]);
    assert_eq!(ran.status, Some(2));
    ran.says(&["cannot write manual pages into file"]);
}
