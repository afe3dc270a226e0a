//! What is said of files that are wrong: the place, the line, what to type; on a terminal, for programs, and whatever is in the file.

use crate::project::{Project, Ran};
use serde_json::{Value, json};

fn error(project: &Project, args: &[&str]) -> Value {
    let ran = project.run(&[&["--json"], args].concat());
    assert_eq!(ran.status, Some(2), "{ran:?}");
    let lines: Vec<Value> = ran.err.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    lines.into_iter().find(|line| line["event"] == "error").unwrap()
}

#[test]
fn programs_are_told_the_place_as_data() {
    let project = Project::new();
    let file = project.write("quiz.toml", "[kernel]\n\tversoin = \"6.1\"\n");
    let told = error(&project, &["config"]);
    assert_eq!(told["message"], "there is no setting `kernel.versoin`");
    let place = json!({ "path": file, "line": 2, "column": 2, "width": 7, "label": "not known here" });
    assert_eq!((&told["place"], &told["hints"]), (&place, &json!(["did you mean `kernel.version`?"])));
    project.write("quiz.toml", "");
    assert_eq!(error(&project, &["build", "no-such"])["place"], Value::Null);
}

#[test]
fn each_kind_of_mistake_in_a_quiz_toml_has_its_place() {
    let project = Project::new();
    for (text, place, message, hint) in [
        ("[kernal]\nversion = \"6\"", [1, 2], "there is no setting `kernal`", "did you mean `kernel`?"),
        ("cpus = 2", [1, 1], "there is no setting `cpus`", "did you mean `machine.cpus`?"),
        ("[kernel]\nversion = 6.1", [2, 11], "`kernel.version` has to be a text in quotes, not float", "write \"6.1\""),
        ("[kernel]\nversion = 6.1.170", [2, 0], "", "write text in quotes: \"6.1.170\""),
        ("[machine]\ncpus = 99999999999999999999", [2, 8], "`machine.cpus` is too large", ""),
        (
            "profiles = [\n  \"zfs\",\n  7,\n]",
            [3, 3],
            "`profiles` has to be a list of texts: [\"a\", \"b\"], not integer",
            "",
        ),
        ("[kernel]\nversion = \"6\"\nversion = \"7\"", [3, 1], "duplicate key", ""),
        ("profiles = [\"zfs,memdv:count=2\"]", [1, 18], "there is no profile `memdv`", "did you mean `memdev`?"),
        (
            "profiles = [\"memdev:cuont=2\"]",
            [1, 14],
            "the profile memdev has no option `cuont`",
            "did you mean `count`?",
        ),
        ("[kernel]\ncompiler = \"tcc\"", [2, 13], "kernel.compiler: `tcc` is no compiler for kernels", ""),
        ("arch = \"vax\"", [1, 9], "quiz cannot build for `vax`", ""),
        ("modules = [\"./gone\"]", [1, 13], "", ""),
        ("[kernel]\nsource = \"svn\"", [2, 10], "", ""),
    ] {
        project.write("quiz.toml", text);
        let told = error(&project, &["graph"]);
        assert_eq!(told["place"]["line"], place[0], "{told}");
        assert!(place[1] == 0 || told["place"]["column"] == place[1], "{told}");
        assert!(message.is_empty() || told["message"] == message, "{told}");
        let hints = told["hints"].as_array().unwrap();
        assert!(hint.is_empty() || hints.iter().any(|known| known == hint), "{told}");
    }
}

#[test]
fn what_a_flag_said_has_no_place_in_a_file_that_is_right() {
    let project = Project::new();
    project.write("quiz.toml", "profiles = [\"net\"]\n");
    assert_eq!(error(&project, &["-p", "memdv", "graph"])["place"], Value::Null);
    project.write("quiz.toml", "profiles = [\"memdv\"]\n");
    assert_eq!(error(&project, &["-p", "net", "graph"])["place"]["column"], 14);
}

#[test]
fn a_name_that_a_recipe_or_a_profile_refers_to_is_shown_where_it_does() {
    let project = Project::new();
    project.recipe("t-one", "[inputs]\nsource = \"t-tow/out\"\n[outputs]\nout = \"file\"\n", "true\n");
    project.recipe("t-two", "[outputs]\nout = \"file\"\n", "true\n");
    let told = error(&project, &["build", "t-one"]);
    assert_eq!((&told["place"]["line"], &told["place"]["column"]), (&json!(5), &json!(11)), "{told}");
    assert_eq!(told["hints"], json!(["did you mean `t-two`?"]));
    project.write(".quiz/profiles/mine/profile.toml", "about = \"x\"\nneeds = [\"net\", \"blokdev|net\"]\n");
    let told = error(&project, &["-p", "mine", "graph"]);
    assert_eq!((&told["place"]["line"], &told["place"]["column"]), (&json!(2), &json!(18)), "{told}");
    assert_eq!(told["hints"], json!(["did you mean `blockdev`?"]));
}

#[test]
fn a_key_of_a_device_is_shown_itself_and_not_the_table() {
    let project = Project::new();
    let device = "[[devices]]\ntype = \"net\"\nforward = \"\"\n";
    let wrong = device.replace("forward", "forwrd");
    project.write(".quiz/profiles/mine/profile.toml", &format!("about = \"x\"\n{device}{wrong}"));
    let told = error(&project, &["graph"]);
    assert_eq!((&told["place"]["line"], &told["place"]["width"]), (&json!(7), &json!(6)), "{told}");
    assert_eq!(told["hints"][0], "did you mean `forward`?");
}

#[test]
fn colours_are_for_terminals_and_for_those_who_ask() {
    let project = Project::new();
    project.write("quiz.toml", "versoin = 1\n");
    assert!(!project.run(&["config"]).err.contains('\u{1b}'));
    assert!(project.run(&["--color=always", "config"]).err.contains("\u{1b}["));
}

#[test]
fn nothing_in_a_file_gives_commands_to_the_terminal() {
    let project = Project::new();
    for text in [
        "\"a\\u001b[2J\" = 1\n",
        "\"a\u{9b}2J\" = 1\n",
        "a = 1 \u{1b}[2J\n",
        "[kernel]\ncompiler = \"\\u001b[2J\"\n",
        "profiles = [\"\\u001b]0;x\\u0007\"]\n",
        "[machine]\nqemu = \"\\u001b[2J\"\n",
    ] {
        project.write("quiz.toml", text);
        for args in [&["graph"][..], &["doctor"], &["profiles"]] {
            let ran = project.run(args);
            let is_command = |c: char| c.is_control() && c != '\n';
            assert!(!ran.err.contains(is_command), "{text:?}: {:?}", ran.err);
        }
    }
}

/// Of what a table has in it nobody knows all; a program that reads it gets it as it is.
#[test]
fn no_table_gives_commands_to_the_terminal() {
    let project = Project::new();
    let recipe = "version = 1\nabout = \"a\\u001b[2Jtest\"\nscript = \"build.sh\"\n[outputs]\nout = \"file\"\n";
    project.write(".quiz/recipes/t-evil/recipe.toml", recipe);
    project.write(".quiz/recipes/t-evil/build.sh", "echo >/quiz/out/out\n");
    for args in ["why t-evil", "graph", "config", "--color=always why t-evil"] {
        let line = format!("'{}' {args}", env!("CARGO_BIN_EXE_quiz"));
        let ran = Ran::from(project.on_terminal(&line).output().unwrap());
        assert_eq!(ran.status, Some(0), "{args}: {ran:?}");
        assert!(!ran.out.contains("\u{1b}[2J"), "{args}: {:?}", ran.out);
        assert_eq!(ran.out.contains("t-evil (a␛[2Jtest)"), args.contains("why"), "{args}: {:?}", ran.out);
    }
    assert!(project.ok(&["why", "t-evil"]).out.contains("t-evil (a\u{1b}[2Jtest)"));
}

#[test]
fn a_lock_file_that_is_damaged_is_shown_where_it_is() {
    let project = Project::new();
    let pin =
        "[[pin]]\nentry = \"kernel\"\nwanted = \"x\"\nis.url = { url = \"https://example.org/x\", sha256 = \"no\" }\n";
    project.write("quiz.lock", &format!("version = 1\n{pin}"));
    project.write("quiz.toml", "[kernel]\nversion = \"6.1\"\n");
    let told = error(&project, &["--offline", "build", "kernel-source"]);
    assert!(told["message"].as_str().unwrap().contains("not a sha256: `no`"), "{told}");
    assert_eq!((&told["place"]["line"], &told["place"]["column"]), (&json!(5), &json!(52)), "{told}");
}

#[test]
fn the_version_is_a_line_and_all_that_is_known_when_that_is_asked_for() {
    let project = Project::new();
    let known: Value = serde_json::from_str(&project.ok(&["--json", "--version"]).out).unwrap();
    assert_eq!(known["version"], env!("CARGO_PKG_VERSION"));
    // As rustc has it: the commit's first twelve digits and its day, where they are known.
    let (commit, day) = (known["commit"].as_str().unwrap(), known["commit-date"].as_str().unwrap_or_default());
    let modified = if commit.ends_with(", modified") { "-modified" } else { "" };
    let built = format!(" ({})", format!("{}{modified} {day}", &commit[..12]).trim_end());
    let built = if commit.starts_with("unknown: ") { "" } else { &built };
    let line = format!("quiz {}{built}\n", env!("CARGO_PKG_VERSION"));
    for args in [&["--version"][..], &["-V"]] {
        assert_eq!(project.ok(args).out, line);
    }
    for args in [&["--version", "--verbose"][..], &["-v", "--version"], &["-vV"], &["-Vv"]] {
        let out = project.ok(args).out;
        assert!(out.starts_with(&line) && out.contains("\nrustc: ") && out.contains("\ncommit: "), "{out}");
    }
}
