//! What `quiz why` and `quiz graph` say of what would be made: the root of a change first, its ways, what it costs; and of what was made.

use crate::project::{Project, files};
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::time::SystemTime;

const OUT: &str = "[outputs]\nout = \"file\"\n";

/// one → two, three → four, of which the image is made.
fn diamond(one: &str) -> Project {
    let project = Project::new();
    recipe_one(&project, one);
    for (name, inputs) in
        [("t-two", "a = \"t-one\""), ("t-three", "a = \"t-one\""), ("t-four", "a = \"t-two\"\nb = \"t-three\"")]
    {
        project.recipe(name, &format!("[inputs]\n{inputs}\n{OUT}"), "cat /quiz/in/* >/quiz/out/out\n");
    }
    project.recipe("image", &format!("[inputs]\na = \"t-four\"\n{OUT}"), "cp /quiz/in/a /quiz/out/out\n");
    project
}

fn recipe_one(project: &Project, word: &str) {
    project.recipe("t-one", OUT, &format!("# first\necho {word} >/quiz/out/out\n# last\n"));
}

fn json(project: &Project, args: &[&str]) -> Value {
    serde_json::from_str(&project.ok(&[&["--json"], args].concat()).out).unwrap()
}

fn data(page: &str, id: &str) -> Value {
    let (_, rest) = page.split_once(&format!("<script type=\"application/json\" id=\"{id}\">")).unwrap();
    serde_json::from_str(rest.split_once("</script>").unwrap().0).unwrap()
}

fn digests_off(value: &mut Value) {
    ["before", "after"].iter().for_each(|name| value[name] = json!("a digest"));
}

#[test]
fn the_root_of_a_change_is_told_once_with_its_difference_and_every_way_to_a_stage() {
    let project = diamond("one");
    project.ok(&["build"]);
    recipe_one(&project, "two");
    let why = project.ok(&["why", "t-four"]).out;
    let mut lines: Vec<&str> = why.lines().map(str::trim).collect();
    let difference = [
        "build.sh: changed",
        "@@ -1,3 +1,3 @@",
        "# first",
        "-echo one >/quiz/out/out",
        "+echo two >/quiz/out/out",
        "# last",
    ];
    assert!(lines[1].starts_with("the recipe's files of t-one: files: "), "{why}");
    assert_eq!(lines[2..8], difference, "{why}");
    lines[8..].sort_unstable();
    assert_eq!(lines[8..], ["t-one → t-three → t-four", "t-one → t-two → t-four"], "{why}");

    let mut causes = json(&project, &["why", "t-four"])["causes"].clone();
    digests_off(&mut causes[0]);
    let expected = json!({
        "kind": "recipe", "name": "files", "at": ["t-one"], "before": "a digest", "after": "a digest", "in-words": [],
        "files": [{ "path": "build.sh", "what": "changed", "diff": [difference[1], " # first", difference[3], difference[4], " # last"] }],
        "stages": ["t-one", "t-two", "t-three", "t-four", "image"], "number-of-paths": 2,
        "paths": [["t-one", "t-two", "t-four"], ["t-one", "t-three", "t-four"]],
    });
    let sorted = |value: &Value| value.as_array().unwrap().iter().map(Value::to_string).collect::<BTreeSet<_>>();
    assert_eq!(sorted(&causes[0]["stages"]), sorted(&expected["stages"]));
    assert_eq!(sorted(&causes[0]["paths"]), sorted(&expected["paths"]));
    for name in ["kind", "name", "at", "in-words", "files", "number-of-paths"] {
        assert_eq!(causes[0][name], expected[name], "{causes}");
    }

    // Of the whole graph it is said once, before the graph, and with all that is made for it.
    let graph = project.ok(&["graph", "--why"]).out;
    assert_eq!(graph.matches("the recipe's files of").count(), 1, "{graph}");
    let also = graph.lines().position(|line| line.trim_start().starts_with("so also: ")).unwrap();
    assert!(["t-two", "t-three", "t-four", "image"].iter().all(|name| graph.lines().nth(also).unwrap().contains(name)));
    assert!(also < graph.lines().position(|line| line.contains("─ image ")).unwrap(), "{graph}");
    let whole = json(&project, &["graph", "--why"]);
    assert_eq!((whole["causes"].as_array().unwrap().len(), whole["cost"]["stages"].as_array().unwrap().len()), (1, 5));
    assert_eq!(whole["stages"], json(&project, &["graph"]));

    let ran = project.run(&["graph", "--why", "--format", "svg"]);
    assert_eq!(ran.status, Some(2));
    ran.says(&["a picture does not say why", "quiz graph --format html"]);
    project.run(&["why", "t-fore"]).says(&["there is no stage `t-fore`", "did you mean `t-four`?"]);
}

#[test]
fn an_option_of_two_stages_and_a_change_above_a_change_are_told_apart() {
    let project = diamond("one");
    let option = "[options.word]\ntype = \"list\"\ndefault = []\nsetting = \"rootfs.packages\"\nabout = \"x\"\n";
    for name in ["t-one", "t-four"] {
        let inputs = if name == "t-four" { "[inputs]\na = \"t-two\"\n" } else { "" };
        project.recipe(name, &format!("{inputs}{OUT}{option}"), "echo $QUIZ_OPT_WORD >/quiz/out/out\n");
    }
    project.write("quiz.toml", "[rootfs]\npackages = [\"bash\", \"fio\"]\n");
    project.ok(&["build"]);
    project.write("quiz.toml", "[rootfs]\npackages = [\"bash\", \"perl\"]\n");
    let why = project.ok(&["why", "image"]).out;
    let once = why.matches("option/word of t-one, t-four:\n    - fio\n    + perl\n").count();
    assert_eq!(once, 1, "{why}");
    assert!(why.contains("t-one → t-two → t-four → image") && why.contains("    t-four → image\n"), "{why}");
}

#[test]
fn a_file_of_a_source_folder_is_named_with_its_difference_where_the_old_one_is_at_hand() {
    let project = Project::new();
    project.source_folder();
    let reads = "[inputs]\nsource = { from = \"t-source\", paths = [\"*.c\", \"bin\"] }\n";
    project.recipe("t-reads", &format!("{reads}{OUT}"), "cat /quiz/src/* >/quiz/out/out\n");
    project.recipe("t-above", &format!("[inputs]\na = \"t-reads\"\n{OUT}"), "cp /quiz/in/a /quiz/out/out\n");
    let write = |all: &[(&str, &str)]| all.iter().for_each(|(name, text)| drop(project.write(name, text)));
    write(&[("MARK", ""), ("a.c", "one\ntwo\n"), ("b.c", "\u{1b}[2J\n"), ("bin", "a\0b")]);
    project.ok(&["build", "t-above"]);
    write(&[("a.c", "one\n2\n"), ("b.c", "x\n"), ("bin", "a\0c")]);
    let why = project.ok(&["why", "t-above"]).out;
    assert!(why.contains("files of t-source: input/source: "), "{why}");
    assert!(why.contains("    a.c: changed\n      @@ -1,2 +1,2 @@\n       one\n      -two\n      +2\n"), "{why}");
    assert!(why.contains("bin: changed (no difference is shown: ") && !why.contains('\u{1b}'), "{why}");
    assert!(why.contains("t-source → t-reads → t-above"), "{why}");
    // Without the old files they are only named, and without the list not even that.
    project.ok(&["build", "t-above"]);
    project.write("a.c", "3\n");
    let gone =
        |folder: &str| std::fs::rename(project.cache().join(folder), project.dir().with_file_name(folder)).unwrap();
    gone("objects");
    let why = project.ok(&["why", "t-above"]).out;
    assert!(why.contains("a.c: changed (no difference is shown: the old version is not at hand any more"), "{why}");
    gone("manifests");
    assert!(project.ok(&["why", "t-above"]).out.contains("which files changed is not known any more"));
}

#[test]
fn a_result_that_is_gone_is_told_from_one_that_was_never_made_or_changed() {
    let project = diamond("one");
    project.ok(&["build"]);
    project.recipe("t-new", OUT, "echo x >/quiz/out/out\n");
    let gone = "same key, but the result is gone: gc or deleted";
    std::fs::remove_dir_all(project.cache().join("objects")).unwrap();
    let why = project.ok(&["why", "t-one"]).out;
    assert!(why.contains("t-one (a test) is cached") && why.contains(gone), "{why}");
    std::fs::remove_dir_all(project.cache().join("records")).unwrap();
    assert!(project.ok(&["why", "t-one"]).out.contains(&format!("t-one (a test) is missing: {gone}")));
    assert!(project.ok(&["why", "t-new"]).out.contains("is missing: it was never made here; it would be made from:"));
    let graph = project.ok(&["graph", "--why"]).out;
    assert!(graph.contains("never made here: ") && graph.contains(&format!("{gone}: ")), "{graph}");
    let stages = json(&project, &["graph"]);
    let of = |name: &str| stages.as_array().unwrap().iter().find(|stage| stage["stage"] == name).unwrap();
    assert_eq!((&of("t-one")["gone"], &of("t-new")["gone"]), (&json!(true), &json!(false)));
}

#[test]
fn the_graph_says_what_a_build_would_cost_by_the_last_times() {
    let project = diamond("one");
    project.recipe("t-three", &format!("[inputs]\na = \"t-one\"\n{OUT}"), "sleep 0.6\ncat /quiz/in/* >/quiz/out/out\n");
    let before = project.ok(&["graph"]).out;
    let last = before.lines().last().unwrap();
    assert!(last.starts_with("5 stages to make; no last time: ") && last.contains("t-three"), "{before}");
    project.ok(&["build"]);
    assert!(!project.ok(&["graph"]).out.contains("to make"));
    recipe_one(&project, "two");
    let after = project.ok(&["graph"]).out;
    let last = after.lines().last().unwrap();
    assert!(last.starts_with("5 stages to make, about ") && last.contains(" by the last times"), "{after}");
    assert!(last.ends_with("; critical path t-one → t-three → t-four → image"), "{after}");
    let stages = json(&project, &["graph"]);
    for stage in stages
        .as_array()
        .unwrap()
        .iter()
        .filter(|stage| stage["stage"] != "snapshot" && stage["stage"] != "snapshot:base")
    {
        assert!(stage["last-seconds"].as_f64().unwrap() > 0.0, "{stage}");
        assert_eq!(stage["on-critical-path"], json!(stage["stage"] != "t-two"), "{stage}");
    }
    // What nobody knows of comes on top of that.
    project.recipe("t-new", OUT, "echo >/quiz/out/out\n");
    let over = project.ok(&["-v", "graph"]).out;
    let last = over.lines().last().unwrap();
    assert!(last.contains(" stages to make, over ") && last.contains("; no last time: "), "{over}");
}

#[test]
fn the_page_has_the_last_builds_and_what_other_worktrees_share_and_a_run_with_nothing_to_do_writes_nothing() {
    let project = diamond("one");
    project.ok(&["build"]);
    let written = || -> Vec<(String, SystemTime)> {
        let time = |path: &std::path::Path| path.metadata().unwrap().modified().unwrap();
        files(&project.cache()).iter().map(|path| (path.display().to_string(), time(path))).collect()
    };
    let before = written();
    project.ok(&["build"]);
    assert_eq!(before, written());
    // t-one is made to the same bytes: all else is spared.
    project.recipe("t-one", OUT, "echo one >/quiz/out/out\n");
    project.ok(&["build"]);
    project.recipe("t-two", &format!("[inputs]\na = \"t-one\"\n{OUT}"), "exit 1\n");
    assert_eq!(project.run(&["build"]).status, Some(1));

    let other = project.dir().with_file_name("other");
    for path in files(&project.dir().join(".quiz/recipes")) {
        let to = other.join(path.strip_prefix(project.dir()).unwrap());
        std::fs::create_dir_all(to.parent().unwrap()).unwrap();
        std::fs::copy(path, to).unwrap();
    }
    std::fs::write(other.join("quiz.toml"), "").unwrap();
    std::fs::write(other.join(".quiz/recipes/t-three/build.sh"), "echo other >/quiz/out/out\n").unwrap();
    let there = project.command(&["build", "t-three"]).current_dir(&other).output().unwrap();
    assert!(there.status.success(), "{there:?}");

    let more = data(&project.ok(&["graph", "--format", "html"]).out, "more");
    let builds = more["builds"].as_array().unwrap();
    let hows = |build: &Value| {
        let all = build["stages"].as_array().unwrap().iter();
        all.map(|ran| format!("{} {}", ran["stage"].as_str().unwrap(), ran["how"].as_str().unwrap()))
            .collect::<BTreeSet<_>>()
    };
    let set = |all: &[&str]| all.iter().map(|one| (*one).to_owned()).collect::<BTreeSet<_>>();
    assert_eq!(builds.len(), 3, "{more}");
    assert_eq!(hows(&builds[0]), set(&["t-one made", "t-two made", "t-three made", "t-four made", "image made"]));
    assert_eq!(
        hows(&builds[1]),
        set(&["t-one made", "t-two spared", "t-three spared", "t-four spared", "image spared"])
    );
    assert_eq!((&builds[1]["spared"]["stages"], &builds[1]["critical-path"]), (&json!(4), &json!(["t-one"])));
    assert_eq!((&builds[2]["succeeded"], &builds[0]["succeeded"]), (&json!(false), &json!(true)));
    assert!(hows(&builds[2]).is_superset(&set(&["t-one cached", "t-two failed"])), "{builds:?}");
    let path: Vec<&str> = builds[0]["critical-path"].as_array().unwrap().iter().filter_map(Value::as_str).collect();
    assert_eq!((path[0], path[2], path[3], path.len()), ("t-one", "t-four", "image", 4));

    let worktrees = more["worktrees"].as_array().unwrap();
    assert_eq!(worktrees.len(), 1, "{worktrees:?}");
    assert_eq!((&worktrees[0]["same"], &worktrees[0]["other"]), (&json!(["t-one"]), &json!(["t-three"])));
    assert_eq!(worktrees[0]["folder"], json!(other));
}

#[test]
fn the_page_has_for_each_stage_what_changed_at_the_root_on_which_ways_and_of_a_list_only_what_differs() {
    let project = diamond("one");
    let option = "[options.word]\ntype = \"list\"\ndefault = []\nsetting = \"rootfs.packages\"\nabout = \"x\"\n";
    project.recipe("t-two", &format!("[inputs]\na = \"t-one\"\n{OUT}{option}"), "echo $QUIZ_OPT_WORD >/quiz/out/out\n");
    let long = "\"a-package-of-a-long-list\", ".repeat(20);
    project.write("quiz.toml", &format!("[rootfs]\npackages = [{long}\"fio\"]\n"));
    project.ok(&["build"]);
    recipe_one(&project, "two");
    project.write("quiz.toml", &format!("[rootfs]\npackages = [{long}\"<b>perl</b>\"]\n"));

    let page = project.ok(&["graph", "--format", "html"]).out;
    let (stages, more) = (data(&page, "data"), data(&page, "more"));
    // Of a stage: which causes, by their files or what went and came, and on which ways.
    let of = |name: &str| -> BTreeSet<String> {
        let stage = stages.as_array().unwrap().iter().find(|stage| stage["stage"] == name).unwrap();
        let told = |arrives: &Value| {
            let cause = &more["causes"][usize::try_from(arrives["cause"].as_u64().unwrap()).unwrap()];
            let what = cause["items"].as_array().map_or(&cause["files"][0]["path"], |_| &cause["items"]);
            let paths: BTreeSet<String> = arrives["paths"].as_array().unwrap().iter().map(Value::to_string).collect();
            assert_eq!(arrives["number-of-paths"], json!(paths.len()));
            format!("{} {what} by {}", cause["name"].as_str().unwrap(), paths.into_iter().collect::<Vec<_>>().join(" "))
        };
        stage["causes"].as_array().unwrap().iter().map(told).collect()
    };
    let file = "files \"build.sh\" by ";
    let package = "option/word [\"- fio\",\"+ <b>perl</b>\"] by ";
    let is = |stage: &str, by_file: &str, by_package: &str| {
        let all = [(file, by_file), (package, by_package)].into_iter().filter(|(_, by)| !by.is_empty());
        assert_eq!(of(stage), all.map(|(what, by)| format!("{what}{by}")).collect(), "{stage}");
    };
    is("t-one", r#"["t-one"]"#, "");
    is("t-two", r#"["t-one","t-two"]"#, r#"["t-two"]"#);
    is("t-three", r#"["t-one","t-three"]"#, "");
    let [two, three] = [r#"["t-one","t-two","t-four"]"#, r#"["t-one","t-three","t-four"]"#];
    is("t-four", &format!("{three} {two}"), r#"["t-two","t-four"]"#);
    // A snapshot is behind the stages that it is made of.
    is(
        "snapshot",
        r#"["t-one","t-three","t-four","image","snapshot"] ["t-one","t-two","t-four","image","snapshot"]"#,
        r#"["t-two","t-four","image","snapshot"]"#,
    );
    // The panel shows that before all else, and no text is cut there.
    let panel = page.split_once("function show(").unwrap().1;
    assert!(panel.find("changed(stage)").unwrap() < panel.find("list(\"Reads\"").unwrap());
    assert!(!page.contains("slice(0, 100)") && !page.contains("<b>perl"));
}
