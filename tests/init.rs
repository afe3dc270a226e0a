//! What `quiz init` promises: a file for what is there, which sets nothing but what flags say, and never in the place of another.

use crate::project::{Project, Ran, files};
use std::io::Write;
use std::path::Path;
use std::process::Stdio;

const LINUX: [&str; 4] = ["Kbuild", "Kconfig", "MAINTAINERS", "init/main.c"];
const ZFS: [&str; 3] = ["META", "module/zfs/zfs_ioctl.c", "configure.ac"];

/// A project without any file of quiz's own, in which these files are.
fn tree(marks: &[&str]) -> Project {
    let project = Project::new();
    std::fs::remove_file(project.dir().join("quiz.toml")).unwrap();
    marks.iter().for_each(|mark| drop(project.write(mark, "")));
    project
}

fn init(project: &Project, words: &[&str]) -> serde_json::Value {
    let ran = project.ok(&[&["--json", "init"], words].concat());
    serde_json::from_str(&ran.out).unwrap()
}

fn config(project: &Project) -> String {
    project.ok(&["config"]).out
}

/// The file with all its settings out of their comments.
fn bare(path: &Path) -> String {
    let text = std::fs::read_to_string(path).unwrap();
    let lines = text.lines().map(|line| line.strip_prefix('#').filter(|rest| !rest.starts_with(' ')).unwrap_or(line));
    lines.collect::<Vec<_>>().join("\n")
}

#[test]
fn each_kind_of_folder_gets_its_own_file_which_changes_nothing_and_whose_profiles_there_are() {
    for (marks, what, own) in
        [(&LINUX[..], "Linux", "#compiler"), (&ZFS, "OpenZFS", "#configure"), (&["notes"], "this folder", "#version")]
    {
        let project = tree(marks);
        let before = config(&project);
        let told = init(&project, &[]);
        let path = project.dir().join("quiz.toml");
        assert_eq!(told["file"], path.to_str().unwrap());
        assert!(told["for"].as_str().unwrap().contains(what), "{told}");
        assert!(std::fs::read_to_string(&path).unwrap().contains(own), "{what}");
        let ran = project.ok(&["config"]);
        assert_eq!((ran.out.as_str(), ran.err.as_str()), (before.as_str(), ""), "{what}");
        std::fs::write(&path, bare(&path)).unwrap();
        let ran = project.ok(&["config"]);
        assert_eq!(ran.err, "");
        assert!(ran.out.contains("quiz.toml:"), "{}", ran.out);
    }
}

#[test]
fn in_a_folder_of_modules_these_are_what_the_file_sets() {
    let project = tree(&[]);
    project.write("Kbuild", "obj-m := x.o\n");
    let told = init(&project, &[]);
    assert_eq!(
        (&told["sets"], &told["next"]),
        (&serde_json::json!(["modules"]), &"quiz -k package up --install -- lsmod".into())
    );
    let before = project.ok(&["-C", "/", "config"]).out;
    let set: Vec<String> = config(&project).lines().filter(|line| !before.contains(*line)).map(str::to_owned).collect();
    assert!(matches!(&set[..], [line] if line.starts_with("modules = [\".\"]")), "{set:?}");
    let graph = project.ok(&["graph"]).out;
    assert!(graph.contains("module-project-source"), "{graph}");
}

#[test]
fn what_is_set_by_flags_counts_in_the_file_too() {
    let project = tree(&[]);
    project.write("hello/Kbuild", "obj-m := x.o\n");
    let flags = ["-k", "package", "-p", "net,memdev:count=2", "-j3", "--package=gdb", "--config", "CONFIG_A=\"b\""];
    let told = init(&project, &[&flags[..], &["--module", "hello"]].concat());
    assert_eq!(told["next"], "quiz up --install -- uname -a");
    let keys = ["kernel.version", "kernel.config", "rootfs.packages", "modules", "profiles", "build.jobs"];
    assert_eq!(told["sets"], serde_json::json!(keys));
    let config = config(&project);
    for set in [
        "kernel.source = \"package\"",
        "kernel.config = [\"CONFIG_A=\\\"b\\\"\"]",
        "rootfs.packages = [\"gdb\"]",
        "modules = [\"hello\"]",
        "profiles = [\"net,memdev:count=2\"]",
        "build.jobs = 3",
    ] {
        let line = config.lines().find(|line| line.starts_with(set)).unwrap_or_else(|| panic!("no {set} in {config}"));
        assert!(line.contains("quiz.toml:"), "{line}");
    }
    let profiles: Vec<serde_json::Value> = serde_json::from_str(&project.ok(&["--json", "profiles"]).out).unwrap();
    let on: Vec<_> =
        profiles.iter().filter(|one| one["on"] == true).map(|one| one["profile"].as_str().unwrap()).collect();
    assert_eq!(on, ["base", "memdev", "module", "net"]);
    // A wrong flag is refused, as it would be wrong in every later command.
    for wrong in [["-p", "nosuch"], ["--module", "nosuch"]] {
        let project = tree(&[]);
        assert_eq!(project.run(&[&wrong[..], &["init"]].concat()).status, Some(2), "{wrong:?}");
        assert!(!project.dir().join("quiz.toml").exists());
    }
    // A module's own folder goes on to count.
    let module = tree(&[]);
    module.write("Kbuild", "obj-m := x.o\n");
    module.write("more/Kbuild", "obj-m := y.o\n");
    assert_eq!(init(&module, &["-k", "package", "--module", "more"])["next"], "quiz up --install -- lsmod");
    let config = self::config(&module);
    assert!(config.contains("modules = [\".\", \"more\"]"), "{config}");
}

#[test]
fn in_a_folder_of_a_tree_the_file_is_the_trees_and_the_next_command_names_it_only_elsewhere() {
    let project = tree(&ZFS);
    let dir = project.dir();
    let told = init(&project, &["-C", "module/zfs"]);
    assert_eq!(told["file"], dir.join("quiz.toml").to_str().unwrap());
    assert_eq!(told["next"], "quiz up --install -- zfs version");
    let other = tree(&ZFS);
    let ran =
        Ran::from(other.command(&["init", "-C", other.dir().to_str().unwrap()]).current_dir("/").output().unwrap());
    let wanted = format!("Next: quiz -C {} up --install -- zfs version\n", other.dir().display());
    assert!(ran.out.ends_with(&wanted), "{ran:?}");
}

#[test]
fn a_file_that_is_there_stays_and_so_does_what_a_link_leads_to() {
    let project = tree(&[]);
    let path = project.write("quiz.toml", "[machine]\ncpus = 3\n");
    let ran = project.run(&["init"]);
    assert_eq!(ran.status, Some(2));
    ran.says(&[&format!("there is {} already", path.display()), "quiz config"]);
    assert_eq!(std::fs::read_to_string(&path).unwrap(), "[machine]\ncpus = 3\n");

    std::fs::create_dir(project.dir().join("below")).unwrap();
    let ran = project.run(&["init", "-C", "below"]);
    assert_eq!(ran.status, Some(2));
    ran.says(&["already", "touch "]);

    let other = tree(&[]);
    let aim = other.dir().join("aim");
    std::os::unix::fs::symlink(&aim, other.dir().join("quiz.toml")).unwrap();
    assert_eq!(other.run(&["init"]).status, Some(2));
    assert!(!aim.exists());
    assert_eq!(other.run(&["init", "-C", "no-such-folder"]).status, Some(2));
}

/// `quiz init` on a terminal, with this answer: what it said, and whether the project and the user have a file.
fn on_a_terminal(words: &str, answer: &str) -> (String, bool, bool) {
    let project = tree(&ZFS);
    let home = project.bin().join("config");
    let line = format!("'{}' {words}", env!("CARGO_BIN_EXE_quiz"));
    let mut script = project.on_terminal(&line);
    script.env("XDG_CONFIG_HOME", &home).env("SHELL", "/bin/sh");
    let mut child = script.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    child.stdin.take().unwrap().write_all(answer.as_bytes()).unwrap();
    let said = String::from_utf8(child.wait_with_output().unwrap().stdout).unwrap();
    (said, project.dir().join("quiz.toml").exists(), home.join("quiz/quiz.toml").exists())
}

#[test]
fn on_a_terminal_it_is_asked_where_the_settings_go_unless_that_is_said() {
    for (answer, here, user) in [("\n", true, false), ("h\n", true, false), ("U\n", false, true), ("x\n", false, false)]
    {
        let (said, is_here, is_user) = on_a_terminal("init", answer);
        assert!(said.contains("Where do the settings go?") && said.contains("this tree of OpenZFS"), "{said}");
        assert_eq!((is_here, is_user), (here, user), "{answer:?}: {said}");
        assert_eq!(said.contains("nothing was written"), !here && !user, "{said}");
    }
    for (words, here) in [("init --here", true), ("--json init", true), ("init --user", false)] {
        let (said, is_here, is_user) = on_a_terminal(words, "");
        assert_eq!((said.contains("[H/u]"), is_here, is_user), (false, here, !here), "{words}: {said}");
    }
    assert_eq!(tree(&ZFS).run(&["init", "--here", "--user"]).status, Some(2));
}

#[test]
fn for_the_user_it_is_written_into_the_users_folder_and_nothing_appears_in_the_project() {
    let project = tree(&LINUX);
    let before = files(&project.dir());
    let home = project.bin().join("config");
    let with = |args: &[&str]| {
        let ran = Ran::from(project.command(args).env("XDG_CONFIG_HOME", &home).output().unwrap());
        assert_eq!(ran.status, Some(0), "{ran:?}");
        ran.out
    };
    let settings = with(&["config"]);
    let said = with(&["init", "--user"]);
    let path = home.join("quiz/quiz.toml");
    assert!(said.starts_with(&format!("{}: ", path.display())), "{said}");
    assert!(said.ends_with("Next: quiz config\n"), "{said}");
    assert_eq!(with(&["config"]), settings);
    assert_eq!(files(&project.dir()), before);
    std::fs::write(&path, bare(&path)).unwrap();
    assert!(with(&["config"]).contains("toolchain.suite = \"trixie\""));
    let again = project.command(&["init", "--user"]).env("XDG_CONFIG_HOME", &home).output().unwrap();
    assert_eq!(again.status.code(), Some(2));
}
