//! What building promises, with small recipes of a project's own: nothing is made twice, nothing unseen gets in.

use crate::project::{Project, files};

const OUT: &str = "[outputs]\nout = \"file\"\n";

#[test]
fn the_second_run_makes_nothing_and_says_nothing() {
    let project = Project::new();
    project.recipe("t-one", OUT, "echo one >/quiz/out/out\n");
    let first = project.ok(&["build", "t-one"]);
    assert_eq!(first.count("Made t-one"), 1, "{first:?}");
    let second = project.ok(&["build", "t-one"]);
    assert_eq!(second.err, "");
    assert_eq!(first.out, second.out);
    assert_eq!(std::fs::read_to_string(project.built("t-one")).unwrap(), "one\n");
}

#[test]
fn a_changed_script_option_tool_or_file_makes_again_and_why_says_so() {
    let project = Project::new();
    let tables = format!("{OUT}[options.word]\ntype = \"string\"\ndefault = \"a\"\nabout = \"x\"\n");
    project.recipe("t-one", &tables, "echo \"$QUIZ_OPT_WORD\" >/quiz/out/out\n");
    assert_eq!(std::fs::read_to_string(project.built("t-one")).unwrap(), "a\n");
    project.write("quiz.toml", "[recipe.t-one]\nword = \"b\"\n");
    let why = project.ok(&["why", "t-one"]);
    assert!(why.out.contains("stale") && why.out.contains("option/word: a → b"), "{}", why.out);
    assert_eq!(std::fs::read_to_string(project.built("t-one")).unwrap(), "b\n");
    // Back to the old setting, whose result is there.
    project.write("quiz.toml", "");
    assert_eq!(project.ok(&["build", "t-one"]).err, "");
    project.write(".quiz/recipes/t-one/data", "x");
    let graph = project.ok(&["build", "t-one"]);
    assert_eq!(graph.count("Made t-one"), 1);
}

#[test]
fn an_input_rebuilt_to_the_same_bytes_stops_the_rebuild() {
    let project = Project::new();
    project.recipe("t-one", OUT, "echo same >/quiz/out/out\n");
    project.recipe("t-two", &format!("[inputs]\none = \"t-one\"\n{OUT}"), "cp /quiz/in/one /quiz/out/out\n");
    project.ok(&["build", "t-two"]);
    project.recipe("t-one", OUT, "# a comment\necho same >/quiz/out/out\n");
    let ran = project.ok(&["build", "t-two"]);
    assert_eq!((ran.count("Made t-one"), ran.count("Made t-two")), (1, 0), "{ran:?}");
}

#[test]
fn a_script_sees_only_the_paths_that_its_input_names() {
    let project = Project::new();
    let tree = "[outputs]\ntree = \"tree\"\n";
    let script = |c: &str| {
        format!("mkdir -p /quiz/out/tree/a\necho k >/quiz/out/tree/a/Kconfig\necho {c} >/quiz/out/tree/a/x.c\n")
    };
    project.recipe("t-source", tree, &script("one"));
    let tables = format!("[inputs]\nsource = {{ from = \"t-source\", paths = [\"**/Kconfig*\"] }}\n{OUT}");
    project.recipe("t-conf", &tables, "(cd /quiz/src && find . -type f) >/quiz/out/out\n");
    assert_eq!(std::fs::read_to_string(project.built("t-conf")).unwrap(), "./a/Kconfig\n");
    project.recipe("t-source", tree, &script("two"));
    let ran = project.ok(&["build", "t-conf"]);
    assert_eq!((ran.count("Made t-source"), ran.count("Made t-conf")), (1, 0), "{ran:?}");
}

#[test]
fn stages_that_do_not_need_each_other_run_at_the_same_time() {
    let project = Project::new();
    for name in ["t-a", "t-b"] {
        project.recipe(name, OUT, "sleep 1; echo x >/quiz/out/out\n");
    }
    project.recipe("t-both", &format!("[inputs]\na = \"t-a\"\nb = \"t-b\"\n{OUT}"), "echo x >/quiz/out/out\n");
    let ran = project.ok(&["-j2", "--json", "build", "t-both"]);
    let order: Vec<&str> = ran
        .err
        .lines()
        .filter(|line| !line.contains("t-both"))
        .filter_map(|line| {
            ["started", "finished"].into_iter().find(|kind| line.contains(&format!("\"event\":\"{kind}\"")))
        })
        .collect();
    assert_eq!(order, ["started", "started", "finished", "finished"], "{}", ran.err);
}

#[test]
fn all_stages_share_one_jobserver() {
    let project = Project::new();
    let make = "[tools]\nmake = \"make\"\n";
    // make warns when it is told of a jobserver that it cannot reach; with one token there is never a second job.
    let script =
        "printf 'all: a b\\na b:\\n\\t@echo start $@; sleep 0.2; echo end $@\\n' >Makefile\nmake >/quiz/out/out 2>&1\n";
    project.recipe("t-make", &format!("{OUT}{make}"), script);
    let ran = project.ok(&["-j1", "build", "t-make"]);
    let path = ran.out.trim().split_once(' ').unwrap().1;
    assert_eq!(std::fs::read_to_string(path).unwrap(), "start a\nend a\nstart b\nend b\n");
    project.recipe("t-make", &format!("{OUT}{make}"), &format!("# again\n{script}"));
    let ran = project.ok(&["-j2", "build", "t-make"]);
    let text = std::fs::read_to_string(ran.out.trim().split_once(' ').unwrap().1).unwrap();
    let mut first: Vec<&str> = text.lines().take(2).collect();
    first.sort_unstable();
    assert_eq!(first, ["start a", "start b"], "{text}");
}

#[test]
fn a_script_runs_at_fixed_paths_in_a_clean_environment() {
    let project = Project::new();
    project.recipe("t-env", OUT, "{ pwd; env; ls -a / /quiz /quiz/scratch; id -u; } >/quiz/out/out\n");
    let text = std::fs::read_to_string(project.built("t-env")).unwrap();
    let home = project.dir().display().to_string();
    assert!(!text.contains(&home) && !text.contains("QUIZ_CACHE_DIR"), "{text}");
    assert!(text.starts_with("/quiz/scratch\n") && text.contains("SOURCE_DATE_EPOCH=1000000000"), "{text}");
    // For make alone: rustc in one of its rules would look for a pipe that it does not have.
    assert!(text.contains("\nMAKEFLAGS=") && !text.contains("CARGO_MAKEFLAGS"), "{text}");
    assert!(!text.lines().any(|line| ["home", "root", "srv", "work"].contains(&line)), "{text}");
    assert!(text.ends_with("\n0\n"), "{text}");
}

#[test]
fn the_graph_tells_cached_stale_missing_and_unknown_apart() {
    let project = Project::new();
    project.recipe("t-one", OUT, "echo one >/quiz/out/out\n");
    project.recipe("t-two", &format!("[inputs]\none = \"t-one\"\n{OUT}"), "cp /quiz/in/one /quiz/out/out\n");
    let state = |stage: &str| {
        let ran = project.ok(&["--json", "graph"]);
        let all: serde_json::Value = serde_json::from_str(&ran.out).unwrap();
        let found = all.as_array().unwrap().iter().find(|s| s["stage"] == stage).unwrap()["state"].clone();
        found.as_str().unwrap().to_owned()
    };
    assert_eq!((state("t-one").as_str(), state("t-two").as_str()), ("missing", "unknown"));
    project.ok(&["build", "t-two"]);
    assert_eq!((state("t-one").as_str(), state("t-two").as_str()), ("cached", "cached"));
    project.recipe("t-one", OUT, "echo two >/quiz/out/out\n");
    assert_eq!((state("t-one").as_str(), state("t-two").as_str()), ("stale", "unknown"));
}

#[test]
fn another_script_of_the_same_folder_is_another_key() {
    let project = Project::new();
    project.recipe("t-one", OUT, "echo one >/quiz/out/out\n");
    project.write(".quiz/recipes/t-one/other.sh", "echo other >/quiz/out/out\n");
    assert_eq!(std::fs::read_to_string(project.built("t-one")).unwrap(), "one\n");
    let toml = format!("version = 1\nabout = \"a test\"\nscript = \"other.sh\"\n{OUT}");
    project.write(".quiz/recipes/t-one/recipe.toml", &toml);
    assert_eq!(std::fs::read_to_string(project.built("t-one")).unwrap(), "other\n");
}

#[test]
fn the_last_word_about_a_kernel_symbol_counts() {
    let project = Project::new();
    let lines = "[options.lines]\ntype = \"list\"\ndefault = []\nsetting = \"kernel.config\"\nabout = \"x\"\n";
    project.recipe("t-lines", &format!("{OUT}{lines}"), "echo \"$QUIZ_OPT_LINES\" >/quiz/out/out\n");
    project.write(".quiz/profiles/kasan/profile.toml", "about = \"x\"\nkernel = [\"CONFIG_KASAN=y\"]\n");
    project.write("quiz.toml", "profiles = [\"kasan\"]\n[kernel]\nconfig = [\"CONFIG_KASAN=n\"]\n");
    let ran = project.ok(&["--config", "CONFIG_KASAN=y", "build", "t-lines"]);
    let text = std::fs::read_to_string(ran.out.trim().split_once(' ').unwrap().1).unwrap();
    assert_eq!(text, "CONFIG_KASAN=n\nCONFIG_KASAN=y\n");
}

#[test]
fn a_remade_output_that_differs_is_said_and_what_is_printed_is_there() {
    let project = Project::new();
    project.recipe("t-random", OUT, "head -c 16 /dev/urandom | od >/quiz/out/out\n");
    let first = project.built("t-random");
    std::fs::remove_file(&first).unwrap();
    let ran = project.ok(&["build", "t-random"]);
    ran.says(&["t-random, made again, came out different"]);
    let second = std::path::Path::new(ran.out.trim().split_once(' ').unwrap().1);
    assert!(second.exists() && second != first);
}

#[test]
fn the_graph_is_shown_even_when_a_tool_is_missing() {
    let project = Project::new();
    project.recipe("t-one", &format!("{OUT}[tools]\nno-such-flex = \"flex\"\n"), "true\n");
    assert!(project.ok(&["why", "t-one"]).out.contains("tool/no-such-flex = missing"));
}

#[test]
fn an_optional_tool_may_be_missing_and_the_key_says_so() {
    let project = Project::new();
    let tool = "[optional-tools]\n\"/usr/include/no-such.h\" = \"x\"\n";
    project.recipe("t-one", &format!("{OUT}{tool}"), "echo x >/quiz/out/out\n");
    project.ok(&["build", "t-one"]);
    assert!(project.ok(&["why", "t-one"]).out.contains("tool//usr/include/no-such.h = missing"));
}

#[test]
fn a_tool_on_demand_is_seen_only_when_a_profile_asks_for_it_and_then_it_has_to_be_there() {
    let project = Project::new();
    let tools = "[tools-on-demand]\nperl = \"perl-base\"\nno-such-tool = \"none\"\n";
    project.recipe("t-one", &format!("{OUT}{tools}"), "{ command -v perl || echo nothing; } >/quiz/out/out\n");
    let seen = || std::fs::read_to_string(project.built("t-one")).unwrap();
    assert_eq!(seen(), "nothing\n");
    let profile = |tool: &str| {
        let text = format!("about = \"x\"\n[tools]\n{tool}\n");
        project.write(".quiz/profiles/mine/profile.toml", &text);
    };
    project.write("quiz.toml", "profiles = [\"mine\"]\n");
    profile("perl = \"perl-base\"");
    assert_eq!(seen(), "/usr/bin/perl\n");
    profile("no-such-tool = \"none\"");
    let ran = project.run(&["build", "t-one"]);
    assert_eq!((ran.status, ran.count("Making")), (Some(2), 0), "{ran:?}");
    ran.says(&["no-such-tool (package none), needed by t-one, the profile mine"]);
}

#[test]
fn a_scripts_warning_is_shown_and_its_other_words_are_not() {
    let project = Project::new();
    project.recipe("t-one", OUT, "echo 'warning: mind the gap'; echo 'x.c:1:2: warning: unused' | tee /quiz/out/out\n");
    let ran = project.ok(&["build", "t-one"]);
    ran.says(&["warning: t-one: mind the gap"]);
    assert_eq!(ran.count("unused"), 0, "{}", ran.err);
}

#[test]
fn an_option_of_any_length_reaches_the_script_as_a_file() {
    let project = Project::new();
    let tables = format!("{OUT}[options.lines]\ntype = \"list\"\ndefault = []\nabout = \"x\"\n");
    let script =
        "cp /quiz/options/lines /quiz/out/out\n[ -n \"${QUIZ_OPT_LINES-}\" ] || echo no variable >>/quiz/out/out\n";
    project.recipe("t-one", &tables, script);
    project.write("quiz.toml", "[recipe.t-one]\nlines = [\"a\", \"b\"]\n");
    assert_eq!(std::fs::read_to_string(project.built("t-one")).unwrap(), "a\nb\n");
    // More than the system takes as one word of a command line or of the environment.
    let line = "x".repeat(99);
    let many: String = (0..4000).map(|n| format!("\"{n}{line}\",")).collect();
    project.write("quiz.toml", &format!("[recipe.t-one]\nlines = [{many}]\n"));
    let text = std::fs::read_to_string(project.built("t-one")).unwrap();
    assert_eq!((text.lines().count(), text.lines().last()), (4001, Some("no variable")));
}

#[test]
fn an_option_that_is_a_file_enters_the_key_by_what_is_in_it() {
    let project = Project::new();
    let tables = format!("{OUT}[options.list]\ntype = \"file\"\ndefault = \"\"\nabout = \"x\"\n");
    let script = "[ -z \"$QUIZ_OPT_LIST\" ] || cp \"$QUIZ_OPT_LIST\" /quiz/out/out\n\
                  [ -n \"$QUIZ_OPT_LIST\" ] || echo none >/quiz/out/out\n! grep -n bad /quiz/out/out || \
                  { echo \"error: $QUIZ_OPT_LIST:1: bad\"; exit 1; }\n";
    project.recipe("t-one", &tables, script);
    assert_eq!(std::fs::read_to_string(project.built("t-one")).unwrap(), "none\n");
    project.write("sub/mine.txt", "one\n");
    project.write("quiz.toml", "[recipe.t-one]\nlist = \"sub/mine.txt\"\n");
    assert_eq!(std::fs::read_to_string(project.built("t-one")).unwrap(), "one\n");
    project.write("other", "one\n");
    project.write("quiz.toml", "[recipe.t-one]\nlist = \"./other\"\n");
    assert_eq!(project.ok(&["build", "t-one"]).err, "", "the same text at another place is the same");
    project.write("other", "bad\n");
    let ran = project.run(&["build", "t-one"]);
    ran.says(&[&format!("error: {}:1: bad", project.dir().join("./other").display())]);
    project.write("quiz.toml", "[recipe.t-one]\nlist = \"gone\"\n");
    let ran = project.run(&["build", "t-one"]);
    assert_eq!(ran.status, Some(2));
    ran.says(&["recipe.t-one.list: ", "/gone does not exist\n", "quiz.toml:2:"]);
    project.write("quiz.toml", "[recipe.t-one]\nlist = \".\"\n");
    project.run(&["build", "t-one"]).says(&["is no file\n"]);
    std::fs::write(project.dir().join("other"), [0xff, 0xfe]).unwrap();
    project.write("quiz.toml", "[recipe.t-one]\nlist = \"other\"\n");
    project.run(&["build", "t-one"]).says(&["other is no UTF-8 text\n"]);
}

#[test]
fn a_built_in_recipe_that_runs_what_a_projects_recipe_made_keeps_nothing_for_others() {
    let project = Project::new();
    let trees = |names: &[&str]| names.iter().map(|name| format!("{name} = \"tree\"\n")).collect::<String>();
    let make = |trees: &[&str]| trees.iter().map(|tree| format!("mkdir /quiz/out/{tree}\n")).collect::<String>();
    for (name, outputs) in [("zfs-source", &["tree"][..]), ("kernel", &["image", "modules", "devel", "symbols"])] {
        project.recipe(name, &format!("[outputs]\n{}", trees(outputs)), &make(outputs));
    }
    project.recipe("zfs-compat", "[outputs]\nok = \"file\"\n", ": >/quiz/out/ok\n");
    // The built-in recipe reads this file as a part of its own script.
    let lib = "mkdir /quiz/out/tree\necho 'touch /quiz/store/planted; exit 7' >/quiz/out/lib\n";
    project.recipe("zfs-autogen", "[outputs]\ntree = \"tree\"\nlib = \"file\"\n", lib);
    let ran = project.run(&["build", "zfs-configure-kernel"]);
    ran.says(&["exit status: 7"]);
    let store = project.cache().join("store");
    let planted: Vec<_> = files(&store).into_iter().filter(|path| path.ends_with("planted")).collect();
    assert_eq!(planted.len(), 1, "{planted:?}");
    assert!(planted[0].starts_with(store.join(".own")), "{planted:?}");
}

#[test]
fn a_tool_of_the_compiler_that_a_recipe_may_do_without_counts_once() {
    let project = Project::new();
    let tables = format!(
        "{OUT}[needs]\ncompiler = true\n[optional-tools]\nclang = \"clang\"\n[tools-on-demand]\n\"ld.lld\" = \"lld\"\n"
    );
    project.recipe("t-one", &tables, "echo x >/quiz/out/out\n");
    project.write("quiz.toml", "[kernel]\ncompiler = \"clang\"\n[toolchain]\nsuite = \"host\"\n");
    let ran = project.run(&["why", "t-one"]);
    assert_eq!(ran.status, Some(0), "{ran:?}");
}

#[test]
fn a_projects_recipe_shares_no_store_with_a_built_in_one_or_with_another_of_its_name() {
    let project = Project::new();
    let name = "zfs-configure-kernel";
    let planted = project.cache().join("store").join(name).join("kept");
    let recipe = |line: &str| {
        let script = format!("{line}\nls /quiz/store >/quiz/out/out\ntouch /quiz/store/kept\n");
        project.recipe(name, &format!("{OUT}[needs]\nstore = true\n"), &script);
        std::fs::read_to_string(project.built(name)).unwrap()
    };
    // The cache is there once something was built.
    project.recipe("t-one", OUT, "echo x >/quiz/out/out\n");
    project.built("t-one");
    std::fs::create_dir_all(planted.parent().unwrap()).unwrap();
    std::fs::write(&planted, "of the built-in one").unwrap();
    assert_eq!(recipe("# one"), "", "what the built-in one keeps is not seen");
    assert_eq!(recipe("# two"), "", "nor what another kept");
    assert_eq!(std::fs::read_to_string(&planted).unwrap(), "of the built-in one");
    let beside = project.cache().join("store/.own");
    let count = || std::fs::read_dir(&beside).unwrap().count();
    assert_eq!(count(), 2);
    // The same recipe has its own folder again, also when its result has to be made anew.
    std::fs::remove_file(project.built(name)).unwrap();
    assert_eq!((std::fs::read_to_string(project.built(name)).unwrap().as_str(), count()), ("kept\n", 2));
}
