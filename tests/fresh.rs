//! What `quiz build --fresh` and `quiz verify` promise: made from nothing, whatever there is; compared byte by byte, and files named; and
//! that what was built incrementally is marked where it is shown.

use crate::project::{Project, Ran, files};
use crate::worktree::recipes;
use std::path::Path;

const OUT: &str = "[outputs]\nout = \"file\"\n";
const TREE: &str = "[outputs]\nt = \"tree\"\n";

/// A stage that goes on from its last run, and says in its result how often it ran in that folder; `more` is what its script does then.
fn incremental(more: &str) -> Project {
    let project = Project::new();
    recipes(&project, &format!("echo run >>runs\ncat tree/*.c >/quiz/out/out\n{more}"));
    project.write("MARK", "");
    project.write("a.c", "a\n");
    project
}

fn text(ran: &Ran) -> String {
    std::fs::read_to_string(ran.out.trim().split_once(' ').unwrap().1).unwrap()
}

fn json(project: &Project, args: &[&str]) -> (Option<i32>, serde_json::Value) {
    let ran = project.run(&[&["--json"], args].concat());
    (ran.status, serde_json::from_str(&ran.out).unwrap_or_else(|e| panic!("{e}: {ran:?}")))
}

#[test]
fn fresh_runs_from_nothing_although_all_is_there_and_replaces_what_was_wrong() {
    let project = incremental("cat runs >>/quiz/out/out\n");
    project.ok(&["build", "t-build"]);
    project.write("a.c", "b\n");
    assert_eq!(text(&project.ok(&["build", "t-build"])), "b\nrun\nrun\n");
    let fresh = project.ok(&["build", "--fresh", "t-build"]);
    assert_eq!((text(&fresh).as_str(), fresh.count("Making t-build")), ("b\nrun\n", 1));
    fresh.says(&[
        "t-build made from nothing differs from the stored result (built incrementally) and replaces it: out (content)",
    ]);
    // What was made is what is stored now, so nothing is made.
    let again = project.ok(&["build", "t-build"]);
    assert_eq!((text(&again).as_str(), again.err.as_str()), ("b\nrun\n", ""));
    assert!(!project.ok(&["why", "t-build"]).out.contains("incrementally"));
    // The same result is told of only with -v.
    let same = project.ok(&["build", "--fresh", "t-build"]);
    assert_eq!((same.count("Made t-build"), same.count("stored")), (1, 0), "{}", same.err);
    project
        .ok(&["-v", "build", "--fresh", "t-build"])
        .says(&["t-build made from nothing is the same as the stored result"]);
    // The folder in which the next edit is built is as it was.
    project.write("a.c", "c\n");
    assert_eq!(text(&project.ok(&["build", "t-build"])), "c\nrun\nrun\nrun\n");
}

#[test]
fn a_stage_that_keeps_something_in_a_store_is_fresh_without_it() {
    let project = Project::new();
    let script = "ls /quiz/store >/quiz/out/out\ntouch /quiz/store/kept\n";
    project.recipe("t-one", &format!("{OUT}[needs]\nstore = true\n"), script);
    project.ok(&["build", "t-one"]);
    let fresh = project.ok(&["build", "--fresh", "t-one"]);
    assert_eq!((text(&fresh).as_str(), fresh.count("stored")), ("", 0), "{}", fresh.err);
    assert!(project.ok(&["verify", "t-one"]).out.contains("the same bytes"));
}

#[test]
fn of_two_that_were_made_from_nothing_the_new_one_stays_and_the_other_is_told() {
    let project = Project::new();
    project.recipe("t-random", OUT, "cat /proc/sys/kernel/random/uuid >/quiz/out/out\n");
    let first = std::fs::read_to_string(project.built("t-random")).unwrap();
    let ran = project.ok(&["build", "--fresh", "t-random"]);
    ran.says(&[
        "t-random made from nothing differs from the stored result (made from nothing) and replaces it: out (content)",
    ]);
    assert_ne!(text(&ran), first);
    assert_eq!(text(&project.ok(&["build", "t-random"])), text(&ran));
}

#[test]
fn a_fresh_stage_that_fails_leaves_what_is_stored() {
    let project = Project::new();
    // It fails where the host has a file that is no input: the key is the same.
    project.recipe("t-one", OUT, "[ $(($(cut -d. -f1 /proc/uptime) % 4)) -lt 2 ]\necho one >/quiz/out/out\n");
    let repeat = |args: &[&str], status| {
        (0..50).any(|_| {
            std::thread::sleep(std::time::Duration::from_millis(300));
            project.run(args).status == Some(status)
        })
    };
    assert!(repeat(&["build", "t-one"], 0) && repeat(&["build", "--fresh", "t-one"], 1));
    let ran = project.ok(&["build", "t-one"]);
    assert_eq!((text(&ran).as_str(), ran.err.as_str()), ("one\n", ""));
}

#[test]
fn a_stage_that_comes_out_the_same_is_verified_and_nothing_is_left_or_stored() {
    let project = incremental("mkdir -p x; ls -a . >>/quiz/out/out\n");
    project.ok(&["build", "t-build"]);
    project.write("a.c", "b\n");
    let ran = project.ok(&["verify", "t-build"]);
    assert_eq!(ran.count("Making t-build"), 2, "{}", ran.err);
    assert!(ran.out.contains("the same bytes"), "{}", ran.out);
    assert!(files(&project.cache().join("aside")).is_empty());
    assert!(project.ok(&["graph"]).out.lines().any(|line| line.contains("t-build") && line.contains("stale")));
    assert_eq!(
        json(&project, &["verify", "t-build"]),
        (Some(0), serde_json::json!({ "stage": "t-build", "same": true, "differences": [], "kept": null }))
    );
}

#[test]
fn what_is_stored_and_is_something_else_is_told_by_a_stage_that_comes_out_the_same() {
    let project = incremental("cat runs >>/quiz/out/out\n");
    project.ok(&["build", "t-build"]);
    project.write("a.c", "b\n");
    project.ok(&["build", "t-build"]);
    let ran = project.ok(&["verify", "t-build"]);
    ran.says(&[
        "the stored result of t-build differs from the two made now (built incrementally): `quiz build --fresh t-build` replaces it",
    ]);
    assert_eq!(text(&project.ok(&["build", "t-build"])), "b\nrun\nrun\n", "it stays as it is");
}

#[test]
fn a_stage_that_comes_out_different_is_named_file_by_file_and_both_are_kept() {
    let project = Project::new();
    let script = "cd /quiz/out; mkdir -p t/sub; echo same >t/same; date +%s >t/sub/time\n\
                  n=$(cat /proc/sys/kernel/random/uuid); echo $n >t/random; ln -s $n t/link; echo x >t/$n\n";
    project.recipe("t-wild", TREE, script);
    let ran = project.run(&["verify", "t-wild"]);
    assert_eq!(ran.status, Some(1), "{ran:?}");
    let line =
        |path: &str| ran.out.lines().find(|line| line.trim().starts_with(path)).map(str::to_owned).unwrap_or_default();
    assert!(line("t/random ").ends_with("content") && line("t/sub/time ").ends_with("content"), "{}", ran.out);
    assert!(line("t/link ").ends_with("link-target") && line("t/same").is_empty(), "{}", ran.out);
    let only = |which: &str| ran.out.lines().filter(|line| line.ends_with(which)).count();
    assert_eq!((only("only-in-first"), only("only-in-second")), (1, 1), "{}", ran.out);
    let kept = |which: &str| {
        ran.out.lines().find_map(|line| line.strip_prefix(&format!("the {which} is "))).unwrap().to_owned()
    };
    let random = |which: &str| std::fs::read_to_string(Path::new(&kept(which)).join("t/random")).unwrap();
    assert_ne!(random("first"), random("second"));
    // `quiz verify` stores nothing, and the next one puts its two results in the place of these.
    assert!(project.ok(&["graph"]).out.contains("missing"));
    let (status, value) = json(&project, &["verify", "t-wild"]);
    assert_eq!((status, &value["same"]), (Some(1), &serde_json::json!(false)));
    let paths: Vec<&str> =
        value["differences"].as_array().unwrap().iter().map(|one| one["path"].as_str().unwrap()).collect();
    assert!(paths.contains(&"t/random") && paths.is_sorted(), "{value}");
    assert_eq!(value["kept"][0], kept("first"));
}

#[test]
fn modes_are_told_from_contents() {
    let project = Project::new();
    // One mode in the first second of two, another in the second: the runs lie further apart than one and less than two.
    let script = "echo x >/quiz/out/out; [ $(($(cut -d. -f1 /proc/uptime) % 2)) = 0 ] || chmod +x /quiz/out/out\n";
    project.recipe("t-mode", OUT, script);
    let told = (0..10).find_map(|_| {
        let ran = project.run(&["verify", "t-mode"]);
        (ran.status == Some(1)).then_some(ran.out)
    });
    let told = told.expect("ten times the same second of two");
    assert!(told.lines().any(|line| line.trim() == "out  mode"), "{told}");
}

#[test]
fn what_was_built_incrementally_is_marked_where_it_is_shown() {
    let project = incremental("");
    project.ok(&["build", "t-build"]);
    let built = || {
        let (_, all) = json(&project, &["graph"]);
        let stage = all.as_array().unwrap().iter().find(|stage| stage["stage"] == "t-build").unwrap().clone();
        let line =
            |words: &[&str]| project.ok(words).out.lines().find(|line| line.contains("t-build")).unwrap().to_owned();
        let (_, why) = json(&project, &["why", "t-build"]);
        assert_eq!(why["built"], stage["built"]);
        let shown = [line(&["graph"]), line(&["graph", "-v"]), line(&["why", "t-build"])];
        (stage["built"].as_str().unwrap().to_owned(), shown.map(|line| line.contains("built incrementally")))
    };
    assert_eq!(built(), ("from nothing".to_owned(), [false, false, false]));
    project.write("a.c", "b\n");
    project.ok(&["build", "t-build"]);
    assert_eq!(built(), ("incrementally".to_owned(), [true, true, true]));
    // Made from nothing it is the same, and loses the mark.
    project.ok(&["build", "--fresh", "t-build"]);
    assert_eq!(built(), ("from nothing".to_owned(), [false, false, false]));
}

#[test]
fn what_cannot_be_made_from_nothing_is_said() {
    let project = incremental("");
    project.recipe("t-fails", OUT, "echo 'x.c:1:1: error: no such thing'; exit 1\n");
    project.recipe("t-after", &format!("[inputs]\nfails = \"t-fails\"\n{OUT}"), "true\n");
    let wrong = |args: &[&str], status, says: &[&str]| {
        let ran = project.run(args);
        assert_eq!((ran.status, ran.out.as_str()), (Some(status), ""), "{args:?}: {ran:?}");
        ran.says(says);
    };
    wrong(&["build", "--fresh"], 2, &["<STAGES>"]);
    wrong(&["verify"], 2, &["<STAGE>"]);
    for command in [&["build", "--fresh"][..], &["verify"]] {
        let with = |stage| [command, &[stage]].concat();
        wrong(&with("t-biuld"), 2, &["there is no stage `t-biuld`", "did you mean `t-build`?"]);
        wrong(&with("t-source"), 2, &["the stage t-source has no script: it is fetched, and not made"]);
        wrong(&with("t-after"), 1, &["the stage t-fails failed", "error: no such thing"]);
        wrong(&with("t-fails"), 1, &["the stage t-fails failed"]);
    }
}
