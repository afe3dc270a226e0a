//! A sandbox that cannot be made: what a stage and `quiz doctor` say of it, in the words that bubblewrap and unshare have for it.

use crate::project::Project;
use serde_json::Value;
use std::process::Command;
use std::time::{Duration, Instant};

const OUT: &str = "[outputs]\nout = \"file\"\n";
const APPARMOR: &str = "bwrap: setting up uid map: Permission denied";
const LIFT: &str = "sudo sysctl -w kernel.apparmor_restrict_unprivileged_userns=0";

/// A project on a machine whose sandbox says only this.
fn refused(words: &str, status: u8) -> Project {
    let project = Project::new();
    project.recipe("t-one", OUT, "echo x >/quiz/out/out\n");
    for program in ["bwrap", "unshare"] {
        project.stand_in(program, &format!("echo \"{words}\" >&2\nexit {status}\n"));
    }
    project
}

fn is_of_the_sandbox(check: &Value) -> bool {
    check["check"].as_str().unwrap().starts_with("sandbox")
}

fn checks(project: &Project) -> (Option<i32>, Vec<Value>) {
    let ran = project.run(&["--json", "doctor"]);
    let all: Value = serde_json::from_str(&ran.out).unwrap();
    (ran.status, all["checks"].as_array().unwrap().iter().filter(|c| is_of_the_sandbox(c)).cloned().collect())
}

#[test]
fn a_stage_says_in_one_line_why_there_is_no_sandbox_and_what_to_type() {
    let ran = refused(APPARMOR, 1).run(&["build", "t-one"]);
    assert_eq!(ran.status, Some(1));
    ran.says(&[
        "the stage t-one: the sandbox could not be made: AppArmor ",
        APPARMOR,
        LIFT,
        "the whole log is ",
        "to run it again: ",
    ]);
    // What nobody foresaw, with whatever status.
    let ran = refused("bwrap: execvp sh: No such file or directory", 127).run(&["build", "t-one"]);
    ran.says(&[
        "the stage t-one: the sandbox could not be made: bwrap: execvp sh: No such file or directory",
        "hint: quiz doctor",
        "the whole log is ",
    ]);
}

#[test]
fn a_script_that_ran_has_failed_itself_whatever_it_says() {
    let project = Project::new();
    project.recipe("t-one", OUT, &format!("echo '{APPARMOR}'\necho other words\nexit 1\n"));
    let ran = project.run(&["build", "t-one"]);
    ran.says(&["the stage t-one failed (exit status: 1)", APPARMOR]);
    assert_eq!(ran.count(LIFT), 0, "{}", ran.err);
}

#[test]
fn doctor_tries_the_sandbox_of_a_stage() {
    let project = Project::new();
    let (_, found) = checks(&project);
    assert_eq!((&found[0]["check"], &found[0]["ok"]), (&"sandbox".into(), &true.into()), "{found:?}");
    // It is a stage's own command, with each of the two kinds of rights.
    project.stand_in("bwrap", "echo \"bwrap: $*\"\nexit 1\n");
    project.stand_in("unshare", "echo \"unshare: $*\"\nexit 1\n");
    let (status, found) = checks(&project);
    assert_eq!((status, found.len()), (Some(1), 2), "{found:?}");
    for (check, rights) in found.iter().zip(["--cap-drop", "--cap-add"]) {
        let what = check["what"].as_str().unwrap();
        assert!(what.contains(rights) && what.contains("--unshare-net") && what.contains("/quiz/recipe/"), "{what}");
        assert_eq!(check["ok"], false);
    }
    let left: Vec<_> = crate::project::files(&project.cache()).into_iter().filter(|p| p.ends_with("try.sh")).collect();
    assert!(left.is_empty(), "{left:?}");
}

#[test]
fn doctor_explains_a_refusal_as_a_stage_does() {
    let project = refused(APPARMOR, 1);
    let ran = project.run(&["doctor"]);
    assert_eq!(ran.status, Some(1));
    let line = ran.out.lines().find(|line| line.contains(" sandbox ")).unwrap();
    assert!(line.contains("AppArmor") && line.contains(LIFT), "{line}");
    let (status, found) = checks(&project);
    assert_eq!((status, found.len()), (Some(1), 2));
    assert!(
        found.iter().all(|check| check["ok"] == false && check["what"].as_str().unwrap().contains(LIFT)),
        "{found:?}"
    );
}

#[test]
fn doctor_does_not_wait_for_what_the_sandbox_left_behind() {
    let project = Project::new();
    let pids = project.dir().join("pids");
    for program in ["bwrap", "unshare"] {
        project.stand_in(program, &format!("sleep 60 &\necho $! >>{}\n", pids.display()));
    }
    let start = Instant::now();
    let (_, found) = checks(&project);
    let took = start.elapsed();
    let _ = Command::new("kill").args(std::fs::read_to_string(pids).unwrap().lines()).status();
    assert!(took < Duration::from_secs(30), "{took:?}");
    assert!(found.len() == 2 && found.iter().all(|check| check["ok"] == true), "{found:?}");
}
