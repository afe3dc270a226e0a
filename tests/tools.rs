//! What the host's tools are to a project: a part of its keys, told in words. How they are found out is tested beside the code.

use crate::project::{Project, Ran};
use std::process::Command;

const OUT: &str = "[outputs]\nout = \"file\"\n";
const GCC: &str = "[tools]\ngcc = \"gcc\"\n";

/// quiz, on this machine with other headers in /usr/local/include.
fn with_headers(project: &Project, headers: &str, args: &[&str]) -> Ran {
    let headers = project.dir().with_file_name(headers);
    std::fs::create_dir_all(&headers).unwrap();
    let quiz = project.command(args);
    let mut command = Command::new("bwrap");
    command.args(["--dev-bind", "/", "/", "--bind"]).arg(&headers).args(["/usr/local/include", "--"]);
    command.arg(quiz.get_program()).args(quiz.get_args()).current_dir(project.dir()).env_clear();
    command.envs(quiz.get_envs().filter_map(|(name, value)| Some((name, value?))));
    Ran::from(command.output().unwrap())
}

#[test]
fn a_stage_with_a_compiler_is_made_from_the_hosts_headers_and_what_changed_is_told_in_words() {
    let project = Project::new();
    project.recipe("t-one", &format!("{OUT}{GCC}"), "echo one >/quiz/out/out\n");
    project.recipe("t-two", &format!("{OUT}[tools]\nmake = \"make\"\n"), "echo two >/quiz/out/out\n");
    assert_eq!(with_headers(&project, "none", &["build", "t-one", "t-two"]).count("Made "), 2);
    let header = project.dir().with_file_name("one").join("mine.h");
    std::fs::create_dir(header.parent().unwrap()).unwrap();
    std::fs::write(header, "one").unwrap();

    let why = |headers, stage| with_headers(&project, headers, &["why", stage]);
    assert!(why("none", "t-one").out.contains("t-one (a test) is cached"), "{:?}", why("none", "t-one"));
    let stale = why("one", "t-one").out;
    let words = "\n  headers: /usr/local/include/mine.h is new\n";
    assert!(stale.contains("t-one (a test) is stale") && stale.ends_with(words), "{stale}");
    let json = with_headers(&project, "one", &["--json", "why", "t-one"]).out;
    assert!(json.contains("\"in-words\":[\"headers: /usr/local/include/mine.h is new\"]"), "{json}");
    assert!(why("one", "t-two").out.contains("t-two (a test) is cached"), "nothing compiles in it");

    project.stand_in("qemu-system-x86_64", "exit 1");
    let doctor = with_headers(&project, "one", &["doctor"]).out;
    assert!(doctor.contains("\nchanged since stages were last made here:\n") && doctor.contains(words), "{doctor}");
}

#[test]
fn only_what_compiles_is_made_from_the_hosts_headers() {
    let project = Project::new();
    project.recipe("t-one", &format!("{OUT}{GCC}"), "true\n");
    project.recipe("t-two", &format!("{OUT}[tools]\nmake = \"make\"\n"), "true\n");
    let why = |stage| project.ok(&["why", stage]).out;
    assert!(why("t-one").contains("\n  headers = ") && why("t-one").contains("\n  tool/gcc = "), "{}", why("t-one"));
    assert!(!why("t-two").contains("headers") && why("t-two").contains("\n  tool/make = "), "{}", why("t-two"));
}

/// Where no stage takes it on demand nobody needs it: `RUST=y` in quiz.toml is no reason to have rustc for a root.
#[test]
fn a_tool_that_only_some_recipe_takes_on_demand_is_missed_by_its_stage_alone() {
    let project = Project::new();
    let demand = "[tools-on-demand]\nno-such-tool = \"x\"\n";
    project.recipe("t-takes", &format!("{OUT}{demand}"), "echo takes >/quiz/out/out\n");
    project.recipe("t-other", OUT, "echo other >/quiz/out/out\n");
    project.write(".quiz/profiles/mine/profile.toml", "about = \"x\"\n[tools]\nno-such-tool = \"x\"\n");
    project.write("quiz.toml", "profiles = [\"mine\"]\n");
    project.ok(&["build", "t-other"]);
    let ran = project.run(&["build", "t-takes"]);
    assert_ne!(ran.status, Some(0));
    ran.says(&["no-such-tool (package x)"]);
}
