//! `quiz profiles`: what it says of each profile, and what `quiz new` writes; the formats of `quiz graph`. No boot.

use crate::project::Project;
use serde_json::{Value, json};

/// A project whose image is made of nothing but the list of packages.
fn project() -> Project {
    let project = Project::new();
    let tables = "[outputs]\nout = \"file\"\n[options.packages]\ntype = \"list\"\ndefault = []\n\
                  setting = \"rootfs.packages\"\nabout = \"x\"\n";
    project.recipe("image", tables, "echo \"$QUIZ_OPT_PACKAGES\" >/quiz/out/out\n");
    project
}

fn listed(project: &Project, args: &[&str]) -> Vec<Value> {
    let ran = project.ok(&[&["--json"], args, &["profiles"]].concat());
    serde_json::from_str(&ran.out).unwrap()
}

fn one<'a>(all: &'a [Value], name: &str) -> &'a Value {
    all.iter().find(|profile| profile["profile"] == name).unwrap_or_else(|| panic!("no {name} in {all:?}"))
}

#[test]
fn the_cost_of_a_profile_is_what_is_not_in_the_cache_yet() {
    let project = project();
    project.write(".quiz/profiles/mine/profile.toml", "about = \"x\"\npackages = [\"gdb\"]\n");
    let all = listed(&project, &[]);
    let nothing_is_known = json!({ "stages": ["image"], "seconds": 0.0, "unknown": 1 });
    assert_eq!(one(&all, "net")["cost"], nothing_is_known);
    project.ok(&["build"]);
    let all = listed(&project, &[]);
    assert_eq!(one(&all, "net")["cost"]["stages"], json!([]));
    assert_eq!(one(&all, "base")["on"], true);
    let mine = one(&all, "mine");
    assert_eq!((&mine["cost"]["stages"], &mine["cost"]["unknown"]), (&json!(["image"]), &json!(0)), "{mine}");
    assert!(mine["cost"]["seconds"].as_f64().unwrap() > 0.0, "it took some time when it was made without: {mine}");
    assert_eq!((&mine["on"], &mine["own"], &mine["packages"]), (&json!(false), &json!(true), &json!(["gdb"])));
    project.ok(&["-p", "mine", "build"]);
    let mine = one(&listed(&project, &[]), "mine").clone();
    assert_eq!(mine["cost"]["stages"], json!([]));
    assert!(!project.dir().join(".quiz/runs").exists());
}

#[test]
fn the_time_a_stage_took_elsewhere_counts_where_it_was_never_made() {
    let project = project();
    project.ok(&["build"]);
    project.write("other/quiz.toml", "[rootfs]\npackages = [\"other\"]\n");
    for file in ["recipe.toml", "build.sh"] {
        let text = std::fs::read_to_string(project.dir().join(".quiz/recipes/image").join(file)).unwrap();
        project.write(&format!("other/.quiz/recipes/image/{file}"), &text);
    }
    let all = listed(&project, &["-C", "other"]);
    assert_eq!(one(&all, "net")["cost"]["unknown"], 0);
}

#[test]
fn the_list_is_for_people_too() {
    let project = project();
    project.ok(&["build"]);
    project.write(
        ".quiz/profiles/mine/profile.toml",
        "about = \"my own\"\nkernel = [\"CONFIG_KASAN=y\"]\nconflicts = [\"net\"]\n",
    );
    let text = project.ok(&["-p", "net:forward=1:2", "profiles"]).out;
    let line = |begin: &str| text.lines().find(|line| line.starts_with(begin)).unwrap_or_else(|| panic!("{text}"));
    let words = |begin: &str| line(begin).split_whitespace().take(2).collect::<Vec<_>>().join(" ");
    assert_eq!([words("profile "), words("net "), words("ssh ")], ["profile cost", "net on", "ssh cached"]);
    assert!(line("mine (own) ").contains("not now") && line("mine (own) ").ends_with("my own"), "{text}");
    assert!(line("ssh ").contains("channels"), "{text}");
}

#[test]
fn one_profile_is_shown_with_all_that_it_touches_and_a_wrong_name_with_the_nearest() {
    let project = project();
    project.ok(&["build"]);
    let tables = "about = \"my own\"\nkernel = [\"CONFIG_KASAN=y\"]\nconflicts = [\"net\"]\n";
    project.write(".quiz/profiles/mine/profile.toml", tables);
    let text = project.ok(&["-p", "net:forward=1:2", "profiles", "mine"]).out;
    assert!(text.starts_with("  mine  not now  my own\n    file "), "{text}");
    assert!(text.contains("    not now   the profiles mine and net do not go together"), "{text}");
    assert!(text.contains("    kernel    CONFIG_KASAN=y"), "{text}");
    let text = project.ok(&["profiles", "ssh"]).out;
    assert!(text.contains("    devices   4 channels ssh.0…"), "{text}");
    assert!(text.contains("options   count=4 (how many sessions at a time)"), "{text}");
    let json: Value = serde_json::from_str(&project.ok(&["--json", "profiles", "ssh"]).out).unwrap();
    assert_eq!((&json["profile"], &json["cost"]["stages"]), (&json!("ssh"), &json!([])));
    let ran = project.run(&["profiles", "blokdev"]);
    assert_eq!(
        ran.says(&["there is no profile `blokdev`", "did you mean `blockdev`? quiz profiles blockdev"]).status,
        Some(2)
    );
    project.run(&["profiles", "xyzzy"]).says(&["there is no profile `xyzzy`", "quiz profiles lists all"]);
}

#[test]
fn a_broken_profile_of_the_projects_own_is_named_with_its_line() {
    let project = project();
    project.write(".quiz/profiles/mine/profile.toml", "about = \"x\"\npakages = [\"gdb\"]\n");
    let ran = project.run(&["profiles"]);
    assert_eq!(ran.status, Some(2));
    ran.says(&[".quiz/profiles/mine/profile.toml:2:1\n", "unknown field", "did you mean `packages`?"]);
    let options = "about = \"x\"\n[options]\nn = { type = \"int\", default = \"many\", about = \"x\" }\n";
    project.write(".quiz/profiles/mine/profile.toml", options);
    project.run(&["profiles"]).says(&["mine/profile.toml:3:31\n", "a number from 1 on is wanted for `n`"]);
}

#[test]
fn a_new_profile_loads_and_nothing_is_overwritten() {
    let project = project();
    let ran = project.ok(&["new", "profile", "my-test"]);
    let folder = project.dir().join(".quiz/profiles/my-test");
    assert_eq!(ran.out, format!("{}\nNext: quiz up -p my-test -- uname -a\n", folder.display()));
    project.ok(&["build"]);
    let all = listed(&project, &["-p", "my-test"]);
    assert_eq!((&one(&all, "my-test")["on"], &one(&all, "my-test")["cost"]["stages"]), (&json!(true), &json!([])));
    let written = std::fs::read_to_string(folder.join("profile.toml")).unwrap();
    // What is commented out is right, too.
    let plain: String = written
        .lines()
        .skip(1)
        .filter_map(|line| {
            let line = line.strip_prefix("# ").unwrap_or(line);
            (line.contains('=') || line.starts_with('[')).then(|| format!("{line}\n"))
        })
        .filter(|line| !line.contains("`"))
        .collect();
    project.write(".quiz/profiles/whole/profile.toml", &plain);
    let whole = one(&listed(&project, &[]), "whole").clone();
    assert_eq!((&whole["devices"], &whole["packages"]), (&json!(["a network card"]), &json!(["gdb"])), "{plain}");
    for (name, why) in [
        ("my-test", "there is already a profile my-test"),
        ("ssh", "there is already a profile ssh"),
        ("My", "is no name"),
    ] {
        for words in [["new", "profile"], ["profiles", "new"]] {
            let ran = project.run(&[words[0], words[1], name]);
            assert_eq!(ran.status, Some(2), "{name}");
            ran.says(&[why]);
        }
    }
    assert_eq!(std::fs::read_to_string(folder.join("profile.toml")).unwrap(), written);
}

#[test]
fn a_new_recipe_builds_as_it_is_and_nothing_is_overwritten() {
    let project = project();
    let ran = project.ok(&["--json", "new", "recipe", "my-stage"]);
    let folder = project.dir().join(".quiz/recipes/my-stage");
    let said: Value = serde_json::from_str(&ran.out).unwrap();
    assert_eq!(said, json!({ "folder": folder, "next": "quiz build my-stage" }));
    assert_eq!(std::fs::read_to_string(project.built("my-stage")).unwrap(), "hello\n");
    let mut set = project.command(&["build", "my-stage"]);
    let output = set.env("QUIZ_RECIPE_MY_STAGE_GREETING", "good day").output().unwrap();
    let path = String::from_utf8(output.stdout).unwrap().split_once(' ').unwrap().1.trim().to_owned();
    assert_eq!(std::fs::read_to_string(path).unwrap(), "good day\n");
    // What is commented out is right, too.
    let written = std::fs::read_to_string(folder.join("recipe.toml")).unwrap();
    let is_code = |line: &str| line.starts_with('[') || line.split(' ').nth(1) == Some("=");
    let bare = |line: &str| line.strip_prefix("# ").filter(|line| is_code(line)).unwrap_or(line).to_owned();
    let whole: Vec<String> = written.lines().map(bare).collect();
    assert!(whole.iter().filter(|line| line.starts_with('[')).count() == 4, "{whole:?}");
    project.write(".quiz/recipes/whole/recipe.toml", &whole.join("\n"));
    project.write(".quiz/recipes/whole/build.sh", "true\n");
    project.ok(&["-v", "graph"]);
    for (name, why) in [
        ("my-stage", "there is already a recipe my-stage"),
        ("kernel", "there is already a recipe kernel"),
        ("../x", "is no name"),
    ] {
        let ran = project.run(&["new", "recipe", name]);
        assert_eq!(ran.status, Some(2), "{name}");
        ran.says(&[why]);
    }
    assert_eq!(std::fs::read_to_string(folder.join("recipe.toml")).unwrap(), written);
    project.write(".quiz/recipes/notes", "a file");
    std::fs::create_dir(project.dir().join(".quiz/recipes/half")).unwrap();
    assert_eq!(project.run(&["new", "recipe", "half"]).status, Some(2));
}

#[test]
fn what_quiz_ssh_cannot_reach_is_said() {
    let project = Project::new();
    let says = |args: &[&str], all: &[&str]| {
        let ran = project.run(args);
        assert_eq!(ran.status, Some(255), "{ran:?}");
        ran.says(all);
    };
    says(&["ssh"], &["no machine with the profile ssh runs here", "quiz up -p ssh"]);
    says(&["ssh", "7", "--", "true"], &["there is no run 7", "no machine runs here"]);
    project.write(".quiz/runs/7/lock", "");
    says(&["ssh", "quiz-7"], &["run 7 is over"]);
    let lock = std::fs::File::open(project.dir().join(".quiz/runs/7/lock")).unwrap();
    lock.lock().unwrap();
    says(&["ssh", "7"], &["run 7 was started without the profile ssh"]);
    says(&["ssh", "8"], &["there is no run 8", "these run: 7"]);
}

#[test]
fn the_graph_is_written_in_each_format_with_all_stages() {
    let project = project();
    let tables = "[inputs]\nimage = \"image\"\n[outputs]\nout = \"file\"\n";
    project.recipe("above", tables, "echo x >/quiz/out/out\n");
    project.ok(&["build"]);
    let written = |format: &str| project.ok(&["graph", "--format", format]).out;
    assert_eq!(written("tree"), project.ok(&["graph"]).out);
    assert_eq!(written("json"), project.ok(&["graph", "--json"]).out);
    let stages: Vec<Value> = serde_json::from_str(&written("json")).unwrap();
    let state = |name: &str| stages.iter().find(|stage| stage["stage"] == name).unwrap()["state"].as_str().unwrap();
    assert_eq!((state("image"), state("above")), ("cached", "missing"));
    for (format, above) in [("dot", "\"above\\nmissing\""), ("mermaid", "[\"above<br/>missing\"]:::missing")] {
        let text = written(format);
        let node = |words: &str| {
            let lines: Vec<&str> = text.lines().filter(|line| line.contains(words)).collect();
            assert_eq!(lines.len(), 1, "{words} once in {text}");
            lines[0].trim_start().split([' ', '[']).next().unwrap().to_owned()
        };
        let arrow = if format == "dot" { "->" } else { "-->" };
        let edge = format!("  {} {arrow} {}", node("\"image"), node(above));
        assert!(text.lines().any(|line| line.trim_end_matches(';') == edge), "{edge} in {text}");
    }
    let picture = written("svg");
    let read = roxmltree::Document::parse(&picture).unwrap();
    let group = |state: &str| read.descendants().filter(|node| node.attribute("class") == Some(state)).count();
    assert!(group("cached") >= 1 && group("missing") >= 1, "{picture}");
    let page = written("html");
    let (_, data) = page.split_once("<script type=\"application/json\" id=\"data\">").unwrap();
    let data: Vec<Value> = serde_json::from_str(data.split_once("</script>").unwrap().0).unwrap();
    let of = |name: &str| data.iter().find(|stage| stage["stage"] == name).unwrap();
    assert_eq!((&of("image")["state"], &of("above")["inputs"]), (&json!("cached"), &json!(["image"])));
    assert!(of("image")["made-from"].is_object() && page.contains("<svg "), "{page}");
    // The numbers of the boxes are those of the data, behind which stand the snapshots of a machine that is no end of this graph.
    assert_eq!((data.len(), of("snapshot")["inputs"].as_array().map(Vec::len)), (4, Some(2)));
    for (number, stage) in data.iter().take(2).enumerate() {
        let title = format!("data-stage=\"{number}\"><title>{}: ", stage["stage"].as_str().unwrap());
        assert!(page.contains(&title), "{title} in {page}");
    }
    let ran = project.run(&["--json", "graph", "--format", "svg"]);
    assert_eq!(ran.status, Some(2));
    ran.says(&["writes one format", "leave out --json or --format"]);
}
