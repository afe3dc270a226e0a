//! What wrong input gets: the place, the right word, and exit status 2 (125 of `up`, which bisect takes as "skip").

use crate::project::{Project, Ran};

#[test]
fn a_wrong_key_is_shown_with_its_place_and_the_nearest_right_one() {
    let project = Project::new();
    let file = project.write("quiz.toml", "[kernel]\nversoin = \"6.1\"\n");
    let ran = project.run(&["config"]);
    assert_eq!(ran.status, Some(2));
    ran.says(&[
        "error: there is no setting `kernel.versoin`",
        &format!("--> {}:2:1\n", file.display()),
        "2 | versoin = \"6.1\"\n",
        "  | ^^^^^^^ not known here\n",
        "did you mean `kernel.version`?",
    ]);
    assert_eq!(project.run(&["up", "--", "true"]).status, Some(125));
}

#[test]
fn config_shows_each_value_and_where_it_comes_from() {
    let project = Project::new();
    let file = project.write("quiz.toml", "[machine]\nmemory = \"2G\"\n");
    let mut command = project.command(&["--kernel", "6.1.170", "config"]);
    let output = command.env("QUIZ_MACHINE_CPUS", "3").output().unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    let line = |name: &str| text.lines().find(|line| line.starts_with(name)).unwrap().to_owned();
    assert!(line("machine.memory = \"2G\"").ends_with(&format!("# {}:2", file.display())), "{text}");
    assert!(line("machine.cpus = 3").ends_with("# QUIZ_MACHINE_CPUS"));
    assert!(line("kernel.version = \"6.1.170\"").ends_with("# --kernel"));
    assert!(line("rootfs.suite = \"\"").ends_with("# default"));
}

#[test]
fn a_recipe_with_an_unknown_field_names_file_line_and_column() {
    let project = Project::new();
    project.recipe("t-one", "[outputs]\nout = \"file\"\n[needz]\nuids = true\n", "true\n");
    let ran = project.run(&["build", "t-one"]);
    assert_eq!(ran.status, Some(2));
    ran.says(&["error: unknown field `needz`\n", "t-one/recipe.toml:6:2\n", "did you mean `needs`?"]);
}

#[test]
fn a_missing_tool_is_found_before_anything_is_built() {
    let project = Project::new();
    let out = "[outputs]\nout = \"file\"\n";
    project.recipe("t-one", out, "echo one >/quiz/out/out\n");
    let tables = format!(
        "[inputs]\none = \"t-one\"\n{out}[tools]\nno-such-flex = \"flex\"\n\"/usr/include/no-such/libelf.h\" = \"libelf-dev\"\n"
    );
    project.recipe("t-two", &tables, "true\n");
    let ran = project.run(&["build", "t-two"]);
    assert_eq!(ran.status, Some(2));
    ran.says(&[
        "no-such-flex (package flex), needed by t-two",
        "apt-get install --no-install-recommends -- flex libelf-dev",
    ]);
    assert_eq!(ran.count("Making"), 0, "{ran:?}");
}

#[test]
fn an_unknown_stage_flag_or_architecture_is_wrong_input() {
    let project = Project::new();
    project.run(&["build", "kernle"]).says(&["there is no stage `kernle`", "did you mean `kernel`?"]);
    assert_eq!(project.run(&["build", "kernle"]).status, Some(2));
    assert_eq!(project.run(&["--no-such-flag", "graph"]).status, Some(2));
    assert_eq!(project.run(&["up", "--no-such-flag"]).status, Some(125));
    project.write("quiz.toml", "arch = \"vax\"\n");
    project.run(&["graph"]).says(&["quiz cannot build for `vax`", "x86_64"]);
}

#[test]
fn without_network_and_without_a_lock_the_way_out_is_said() {
    let project = Project::new();
    let ran = project.run(&["--offline", "build", "kernel-source"]);
    assert_eq!(ran.status, Some(2), "{ran:?}");
    ran.says(&["quiz.lock", "quiz update"]);
    // A word for a way to get a kernel could be a name of git's, too.
    let ran = project.run(&["--offline", "-k", "packag", "build", "kernel-source"]);
    assert_eq!(ran.status, Some(2), "{ran:?}");
    ran.says(&["did you mean `package`?"]);
}

#[test]
fn a_folder_that_is_no_source_is_named_with_what_it_lacks_and_who_asked_for_it() {
    let project = Project::new();
    let file = project.write("quiz.toml", "[kernel]\nsource = \"./linux\"\n");
    project.write("linux/Kbuild", "");
    let ran = project.run(&["build", "kernel-source"]);
    assert_eq!(ran.status, Some(2));
    ran.says(&[
        "/linux is not a folder with this source",
        "it has no Kconfig, MAINTAINERS, init/main.c",
        &format!("asked for by kernel.source = \"./linux\" ({}:2)", file.display()),
    ]);
}

#[test]
fn a_qemu_is_the_hosts_or_the_toolchains_and_never_a_path() {
    let project = Project::new();
    project.write("quiz.toml", "[machine]\nqemu = \"./qemu\"\n");
    for args in [&["up", "--", "true"][..], &["doctor"]] {
        let ran = project.run(args);
        assert_eq!(ran.count("machine.qemu = \"./qemu\": it can be `host` or `toolchain`"), 1, "{ran:?}");
    }
}

#[test]
fn a_folder_of_modules_that_none_of_them_is_loaded_of_says_so_before_anything_is_made() {
    let project = Project::new();
    // A wrong setting, which ends the command before anything is built.
    project.write("quiz.toml", "[machine]\naccel = \"xen\"\n");
    let warned = || project.run(&["up", "--", "true"]).count("this folder makes kernel modules (obj-m), and none");
    assert_eq!(warned(), 0);
    project.write("Makefile", "obj-m := hello.o\n");
    assert_eq!(warned(), 1);
    project.write("quiz.toml", "modules = []\n[machine]\naccel = \"xen\"\n");
    assert_eq!(warned(), 0);
    project.write("quiz.toml", "modules = [\".\"]\n[machine]\naccel = \"xen\"\n");
    assert_eq!(warned(), 0);
}

#[test]
fn an_accelerator_is_one_that_there_is() {
    let project = Project::new();
    project.write("quiz.toml", "[machine]\naccel = \"xen\"\n");
    for args in [&["up", "--", "true"][..], &["doctor"]] {
        let ran = project.run(args);
        assert_eq!(ran.count("machine.accel = \"xen\": it can be `auto`, `kvm` or `tcg`"), 1, "{ran:?}");
    }
}

#[test]
fn a_home_is_needed_by_nothing_that_another_variable_says() {
    let project = Project::new();
    project.recipe("t-one", "[outputs]\nout = \"file\"\n", "echo one >/quiz/out/out\n");
    let home = project.dir().join("../home");
    let without = |args: &[&str], set: &[(&str, &str)]| {
        let mut command = project.command(args);
        command.env_remove("HOME").env_remove("QUIZ_CACHE_DIR");
        command.envs(set.iter().map(|(name, folder)| (name, home.join(folder))));
        Ran::from(command.output().unwrap())
    };
    let all = [("XDG_CONFIG_HOME", ".config"), ("XDG_CACHE_HOME", "cached")];
    let built = without(&["build", "t-one"], &all);
    assert_eq!(built.status, Some(0), "{built:?}");
    assert!(home.join("cached/quiz").is_dir() && built.out.contains("/cached/quiz/"), "{built:?}");
    for (set, missing) in [(&all[..1], "XDG_CACHE_HOME"), (&all[1..], "XDG_CONFIG_HOME")] {
        let ran = without(&["config"], set);
        assert_eq!(ran.status, Some(2), "{ran:?}");
        ran.says(&[&format!("neither {missing} nor HOME is set"), &format!("hint: set {missing}, or HOME,")]);
    }
}

#[test]
fn settings_that_are_no_file_are_said_to_be_none_and_nobody_waits_for_them() {
    let project = Project::new();
    let path = project.dir().join("quiz.toml");
    std::fs::remove_file(&path).unwrap();
    assert!(std::process::Command::new("mkfifo").arg(&path).status().unwrap().success());
    let ran = project.run(&["config"]);
    assert_eq!(ran.status, Some(2), "{ran:?}");
    ran.says(&["cannot read", "quiz.toml", "it is not a regular file"]);
}
