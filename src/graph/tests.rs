//! What binding promises: shared stages are one, mistakes are named with the recipe that makes them.

use super::roots::SET;
use super::*;
use crate::load::FlagValue;
use std::path::Path;

/// A project whose own recipes are `recipes`: (name, lines of `[inputs]`, names of outputs).
fn project(dir: &Path, recipes: &[(&str, &str, &[&str])]) -> Project {
    for (name, inputs, outputs) in recipes {
        let folder = dir.join(".quiz/recipes").join(name);
        std::fs::create_dir_all(&folder).unwrap();
        let outputs: String = outputs.iter().map(|o| format!("{o} = \"file\"\n")).collect();
        let text =
            format!("version = 1\nabout = \"x\"\nscript = \"build.sh\"\n[inputs]\n{inputs}\n[outputs]\n{outputs}");
        std::fs::write(folder.join("recipe.toml"), text).unwrap();
        std::fs::write(folder.join("build.sh"), "true\n").unwrap();
    }
    std::fs::write(dir.join("quiz.toml"), "[toolchain]\nsuite = \"host\"\n").unwrap();
    Project::load(dir, &[]).unwrap()
}

fn bind(recipes: &[(&str, &str, &[&str])], wanted: &str) -> Result<Graph> {
    let dir = tempfile::tempdir().unwrap();
    Graph::bind(&project(dir.path(), recipes), [wanted])
}

fn names(graph: &Graph, ids: &[NodeIndex]) -> Vec<String> {
    ids.iter().map(|&id| graph.stage(id).name.clone()).collect()
}

#[test]
fn inputs_come_first_and_a_shared_stage_is_one() {
    let graph = bind(
        &[
            ("t-a", "", &["out"]),
            ("t-b", "a = \"t-a\"", &["out"]),
            ("t-c", "a = \"t-a/out\"", &["out"]),
            ("t-d", "b = \"t-b\"\nc = \"t-c\"", &["out"]),
        ],
        "t-d",
    )
    .unwrap();
    let order = names(&graph, &graph.order());
    assert_eq!(order.len(), 4);
    assert_eq!((order[0].as_str(), order[3].as_str()), ("t-a", "t-d"));
    let b = graph.find("t-b").unwrap();
    assert_eq!(names(&graph, &graph.closure(&[b])), ["t-a", "t-b"]);
    assert_eq!(names(&graph, &graph.ends()), ["t-d"]);
}

#[test]
fn a_parameter_makes_a_stage_of_its_own() {
    let graph = bind(
        &[
            ("t-a", "", &["one", "two"]),
            ("t-pack", "tree = \"$of\"", &["image"]),
            ("t-z", "x = \"t-pack:t-a/one\"\ny = { from = \"t-pack:t-a/two\", output = \"image\" }", &["out"]),
        ],
        "t-z",
    )
    .unwrap();
    let mut all = names(&graph, &graph.order());
    all.sort();
    assert_eq!(all, ["t-a", "t-pack:t-a/one", "t-pack:t-a/two", "t-z"]);
}

#[test]
fn a_circle_is_reported_whole_and_by_name() {
    let recipes: &[(&str, &str, &[&str])] =
        &[("t-a", "x = \"t-c\"", &["out"]), ("t-b", "x = \"t-a\"", &["out"]), ("t-c", "x = \"t-b\"", &["out"])];
    let message = bind(recipes, "t-a").unwrap_err().to_string();
    let circle = message.rsplit(": ").next().unwrap();
    let stages: Vec<&str> = circle.split(" → ").collect();
    assert_eq!(stages.len(), 4, "{message}");
    assert_eq!(stages.first(), stages.last());
    for pair in stages.windows(2) {
        assert!([["t-a", "t-b"], ["t-b", "t-c"], ["t-c", "t-a"]].contains(&[pair[0], pair[1]]), "{message}");
    }
}

#[test]
fn mistakes_name_the_recipe_and_the_way_out() {
    let check = |recipes: &[(&str, &str, &[&str])], wanted: &str, message: &str, hint: &str| {
        let error = bind(recipes, wanted).unwrap_err();
        assert!(error.to_string().contains(message), "{error}");
        assert!(error.hints().iter().any(|h| h.contains(hint)), "{:?}", error.hints());
    };
    // A part of a name is that name before any that is alike.
    let stages = [("module-rot13", "", &["out"][..]), ("rot12", "", &["out"])];
    check(&stages, "rot13", "there is no stage `rot13`", "did you mean `module-rot13`?");
    check(&[("t-abc", "", &["out"])], "t-abd", "there is no stage `t-abd`", "did you mean `t-abc`?");
    check(
        &[("t-abc", "x = \"t-xyz\"", &["out"]), ("t-xy", "", &["out"])],
        "t-abc",
        "t-abc/recipe.toml:5:6: there is no recipe `t-xyz`",
        "did you mean `t-xy`?",
    );
    check(
        &[("t-a", "", &["one", "two"]), ("t-b", "x = \"t-a\"", &["out"])],
        "t-b",
        "t-b/recipe.toml:5:6: the stage `t-a` has several outputs",
        "one, two",
    );
    check(
        &[("t-a", "", &["one"]), ("t-b", "x = \"t-a/six\"", &["out"])],
        "t-b",
        "the stage `t-a` has no output `six`",
        "it has: one",
    );
}

/// What a kernel is made of is its source, which no profile touches, and these options: the same options, the same key.
#[test]
fn no_shipped_profile_but_those_about_the_kernel_costs_one() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("quiz.toml"), "").unwrap();
    let options = |profile: &[&str]| {
        let names = profile.iter().map(|name| (*name).to_owned()).collect();
        let flag = FlagValue { key: "profiles", value: Value::List(names), flag: "--profile" };
        let graph = Graph::bind(&Project::load(dir.path(), &[flag]).unwrap(), ["kernel"]).unwrap();
        let of = |name: &str| graph.stage(graph.find(name).unwrap()).options.clone();
        ["kernel-source", "kernel-config", "kernel"].map(of)
    };
    let base = options(&[]);
    let all = Project::load(dir.path(), &[]).unwrap().all_profiles().unwrap();
    assert!(all.len() > 10, "{}", all.len());
    for profile in all.iter().filter(|profile| !["debug", "perf", "rust"].contains(&profile.name.as_str())) {
        assert_eq!(options(&[&profile.name]), base, "{}", profile.name);
    }
    // A profile that does add a line changes the options: the comparison above would have seen one.
    let own = dir.path().join(".quiz/profiles/mine");
    std::fs::create_dir_all(&own).unwrap();
    std::fs::write(own.join("profile.toml"), "about = \"x\"\nkernel = [\"CONFIG_KASAN=y\"]\n").unwrap();
    assert_ne!(options(&["mine"]), base);
}

/// The project of [`project`], whose stages run in roots of packages, and these lines of a recipe `t-own`.
fn with_toolchain(lines: &str) -> Result<Graph> {
    let dir = tempfile::tempdir().unwrap();
    project(dir.path(), &[("t-own", "", &["out"])]);
    let path = dir.path().join(".quiz/recipes/t-own/recipe.toml");
    let text = std::fs::read_to_string(&path).unwrap().replace("[inputs]", &format!("{lines}\n[inputs]"));
    std::fs::write(path, text).unwrap();
    let suite = FlagValue { key: "toolchain.suite", value: Value::Text("bookworm".into()), flag: "--x" };
    Graph::bind(&Project::load(dir.path(), &[suite])?, ["image", "zfs", "t-own"])
}

/// By the name of each stage the root that its script runs in.
fn roots(graph: &Graph) -> BTreeMap<String, String> {
    let root = |id: NodeIndex| match &graph.stage(id).toolchain()?.from {
        Bound::Output { stage, .. } => Some((graph.stage(id).name.clone(), graph.stage(*stage).name.clone())),
        Bound::Profiles => None,
    };
    graph.order().into_iter().filter_map(root).collect()
}

#[test]
fn few_roots_and_a_package_more_is_one_more_for_who_asks_for_it() {
    let plain = roots(&with_toolchain("").unwrap());
    let all: BTreeSet<&str> = plain.values().map(String::as_str).collect();
    assert_eq!(all, ["toolchain:kernel", "toolchain:root", "toolchain:zfs"].into());
    assert_eq!((plain["kernel"].as_str(), plain["t-own"].as_str()), ("toolchain:kernel", "toolchain:kernel"));
    assert!(!plain.contains_key("kernel-source"), "nothing runs there");
    let known = roots(&with_toolchain("[tools]\ngcc = \"gcc\"\nmake = \"make\"").unwrap());
    assert_eq!(known, plain);
    let mut more = roots(&with_toolchain("[tools]\npython3 = \"python3-minimal\"\n\"g++\" = \"g++\"").unwrap());
    assert_eq!(more.remove("t-own").unwrap(), "toolchain:kernel,g++,python3-minimal");
    assert!(plain.iter().filter(|(name, _)| *name != "t-own").eq(more.iter()), "all others keep theirs");
}

/// Which the kernel alone gets: what is compiled against it, and the agent, keep their roots.
#[test]
fn packages_that_the_users_kernel_needs() {
    let dir = tempfile::tempdir().unwrap();
    project(dir.path(), &[]);
    let flag = |key, value| FlagValue { key, value, flag: "--x" };
    let asked = |packages: &[&str]| {
        flag("kernel.packages", Value::List(packages.iter().map(|name| (*name).to_owned()).collect()))
    };
    let suite = |suite: &str| flag("toolchain.suite", Value::Text(suite.into()));
    let bind = |flags: &[FlagValue]| Graph::bind(&Project::load(dir.path(), flags)?, ["image", "zfs"]);
    let plain = roots(&bind(&[suite("bookworm")]).unwrap());
    let mut more = roots(&bind(&[suite("bookworm"), asked(&["zstd", "libssl-dev", "gcc"])]).unwrap());
    for stage in ["kernel", "kernel-config"] {
        assert_eq!(more.insert(stage.to_owned(), plain[stage].clone()).unwrap(), "toolchain:kernel,libssl-dev,zstd");
    }
    assert_eq!(more, plain);
    let error = bind(&[suite("bookworm"), asked(&["../x"])]).unwrap_err().to_string();
    assert_eq!(error, "kernel.packages: `../x` is no name of a package (--x)");
    let error = bind(&[suite("host"), asked(&["zstd"])]).unwrap_err();
    assert!(
        error.to_string().starts_with("kernel.packages is for roots of packages") && error.hints()[0].ends_with("zstd")
    );
}

/// What compiles for the kernel gets its compiler; user land, and a recipe that does not ask, keep theirs.
#[test]
fn another_compiler_is_in_the_roots_of_those_who_compile_for_the_kernel_alone() {
    let dir = tempfile::tempdir().unwrap();
    project(dir.path(), &[]);
    let flag = |key, value: &str| FlagValue { key, value: Value::Text(value.into()), flag: "--x" };
    let load = |compiler: &str, more: &[FlagValue]| {
        let flags = [&[flag("toolchain.suite", "bookworm"), flag("kernel.compiler", compiler)], more].concat();
        Project::load(dir.path(), &flags)
    };
    let bind =
        |compiler: &str| roots(&Graph::bind(&load(compiler, &[]).unwrap(), ["image", "zfs", "spl-seed"]).unwrap());
    let plain = bind("gcc");
    for (compiler, root) in [
        ("clang", "toolchain:kernel,clang,lld,llvm"),
        ("clang-19", "toolchain:kernel,clang-19,lld-19,llvm-19"),
        ("gcc-11", "toolchain:kernel,gcc-11"),
    ] {
        let mut with = bind(compiler);
        for stage in ["kernel", "kernel-config", "zfs-configure-kernel", "zfs-modules", "spl-seed"] {
            assert_eq!(with.insert(stage.to_owned(), plain[stage].clone()).unwrap(), root, "{stage}");
        }
        assert_eq!(with, plain);
    }
    let error = load("icc", &[]).unwrap_err();
    assert!(error.to_string().starts_with("kernel.compiler: `icc` is no compiler for kernels (--x)"), "{error}");
    let error = load("clang", &[flag("kernel.source", "package")]).unwrap_err();
    assert!(error.to_string().contains("modules of the distribution's compiler"), "{error}");
}

/// Bookworm's rustc is older than what today's kernels take.
#[test]
fn a_kernel_with_rust_is_compiled_by_a_suite_that_has_such_a_rustc_unless_one_was_chosen() {
    let dir = tempfile::tempdir().unwrap();
    project(dir.path(), &[]);
    let root_of = |toml: &str| {
        std::fs::write(dir.path().join("quiz.toml"), toml).unwrap();
        roots(&Graph::bind(&Project::load(dir.path(), &[]).unwrap(), ["image", "zfs"]).unwrap())
    };
    let rust = "[kernel]\nconfig = [\"RUST=y\"]\n";
    let with = root_of(rust);
    let trixies = "toolchain:kernel@trixie,bindgen,python3,rust-src,rustc";
    assert_eq!((with["kernel"].as_str(), with["zfs-modules"].as_str()), (trixies, "toolchain:kernel@trixie"));
    assert_eq!(with["agent"], "toolchain:kernel", "the rest stays as it is");
    let own = root_of(&format!("{rust}toolchain = \"sid\"\n"));
    assert_eq!(own["kernel"], trixies.replace("trixie", "sid"));
    let chosen = root_of(&format!("{rust}[toolchain]\nsuite = \"bookworm\"\n"));
    assert_eq!(chosen["kernel"], trixies.replace("@trixie", ""));
    assert_eq!(root_of("")["kernel"], "toolchain:kernel");
    // Whose wish it was is told, and pinned where the profile came from.
    std::fs::write(dir.path().join("quiz.toml"), rust).unwrap();
    let project = Project::load(dir.path(), &[]).unwrap();
    assert_eq!(project.settings.get("kernel.toolchain").unwrap().origin.to_string(), "the profile rust");
    assert!(project.is_own("kernel.toolchain"));
}

/// A kernel by the compiler of its own suite, in a guest with the root and the programs of another.
#[test]
fn what_compiles_for_the_kernel_may_be_of_another_suite_than_all_else() {
    let dir = tempfile::tempdir().unwrap();
    project(dir.path(), &[]);
    let flag = |key, value: &str| FlagValue { key, value: Value::Text(value.into()), flag: "--x" };
    let graph = |suite: &str, kernels: &str, more: &[FlagValue]| {
        let flags = [&[flag("toolchain.suite", suite), flag("kernel.toolchain", kernels)], more].concat();
        Graph::bind(&Project::load(dir.path(), &flags)?, ["image", "zfs", "spl-seed"])
    };
    let kernels = ["kernel", "kernel-config", "zfs-configure-kernel", "zfs-modules", "spl-seed"];
    let plain = roots(&graph("bookworm", "", &[]).unwrap());
    let clang = [flag("kernel.compiler", "clang")];
    for (more, root) in
        [(&[][..], "toolchain:kernel@bullseye"), (&clang[..], "toolchain:kernel@bullseye,clang,lld,llvm")]
    {
        let graph = graph("bookworm", "bullseye", more).unwrap();
        let mut with = roots(&graph);
        for stage in kernels {
            assert_eq!(with.insert(stage.to_owned(), plain[stage].clone()).unwrap(), root, "{stage}");
        }
        assert_eq!(with, plain);
        let options = |stage: &str| graph.stage(graph.find(stage).unwrap()).options.clone();
        assert_eq!(options(root)["suite"], Value::Text("bullseye".into()));
        assert_eq!(options("toolchain:kernel")["suite"], Value::Text("bookworm".into()));
        let Value::List(own) = &options(root)["packages"] else { panic!() };
        let Value::List(all) = &options("toolchain:kernel")["packages"] else { panic!() };
        assert!(own.starts_with(all), "{own:?}");
    }
    assert_eq!(roots(&graph("bookworm", "bookworm", &[]).unwrap()), plain, "the same suite is the same root");
    let alone = roots(&graph("host", "bullseye", &[]).unwrap());
    assert_eq!(alone, kernels.map(|stage| (stage.to_owned(), "toolchain:kernel@bullseye".to_owned())).into());
    let mut rest = roots(&graph("bookworm", "host", &[]).unwrap());
    rest.extend(kernels.map(|stage| (stage.to_owned(), plain[stage].clone())));
    assert_eq!(rest, plain);
    let error = graph("bookworm", "../x", &[]).unwrap_err().to_string();
    assert_eq!(error, "kernel.toolchain: `../x` is not the name of a suite (--x)");
}

/// A root may also be asked for by name.
#[test]
fn a_root_of_a_suite_that_no_setting_names() {
    let dir = tempfile::tempdir().unwrap();
    let project = project(dir.path(), &[]);
    let graph = Graph::bind(&project, ["toolchain:root@trixie,python3"]).unwrap();
    let root = graph.stage(graph.find("toolchain:root@trixie,python3").unwrap());
    assert_eq!((root.suite(), &root.options["suite"]), (Some("trixie"), &Value::Text("trixie".into())));
    let Value::List(packages) = &root.options["packages"] else { panic!() };
    assert!(packages.contains(&"mmdebstrap".to_owned()) && packages.contains(&"python3".to_owned()), "{packages:?}");
    for (name, says) in [("root@", "``"), ("root@../x", "`../x`"), ("root@a@b", "`a@b`")] {
        let error = Graph::bind(&project, [format!("toolchain:{name}").as_str()]).unwrap_err().to_string();
        assert!(error.ends_with(&format!("{says} is not the name of a suite")), "{error}");
    }
}

#[test]
fn a_set_has_all_that_its_built_in_recipes_name() {
    let dir = tempfile::tempdir().unwrap();
    let project = project(dir.path(), &[]);
    let sets = &project.recipes[TOOLCHAIN].sets;
    for recipe in project.recipes.values().filter(|recipe| recipe.script().is_some()) {
        let packages = &sets[recipe.toolchain.as_deref().unwrap_or(SET)];
        let missing: Vec<&String> = recipe.tools.values().filter(|package| !packages.contains(package)).collect();
        // A root of its own, only for who opens the menu.
        let more: &[&str] = if recipe.name == "kernel-menuconfig" { &["libncurses-dev"] } else { &[] };
        assert_eq!(missing, more, "{}", recipe.name);
    }
}

#[test]
fn a_set_that_is_none_is_said_with_those_that_are() {
    let error = with_toolchain("toolchain = \"krenel\"").unwrap_err();
    assert!(error.to_string().contains("there is no set of packages `krenel`"), "{error}");
    assert_eq!(error.hints(), ["there are: debug, drgn, kernel, qemu, root, zfs"]);
    let error = with_toolchain("toolchain = \"../../evil\"").unwrap_err();
    assert!(error.to_string().contains("`../../evil` is no name"), "{error}");
    let dir = tempfile::tempdir().unwrap();
    let error = Graph::bind(&project(dir.path(), &[]), ["toolchain"]).unwrap_err();
    assert!(error.to_string().ends_with("the recipe is used as toolchain:SET"), "{error}");
    let error = Graph::bind(&project(dir.path(), &[]), ["toolchain:kernel"]).unwrap_err();
    assert!(error.to_string().contains("this machine's own programs"), "{error}");
    let empty = FlagValue { key: "toolchain.suite", value: Value::Text(String::new()), flag: "--x" };
    let error = Graph::bind(&Project::load(dir.path(), &[empty]).unwrap(), ["image"]).unwrap_err();
    assert!(error.to_string().contains("toolchain.suite is empty"), "{error}");
}

/// What is fetched for the Python of one suite fits no other.
#[test]
fn a_recipe_that_names_its_suite_has_a_root_of_it_whatever_the_settings_say() {
    let dir = tempfile::tempdir().unwrap();
    project(dir.path(), &[]);
    for suite in ["host", "bookworm", "trixie"] {
        let flag = FlagValue { key: "toolchain.suite", value: Value::Text(suite.into()), flag: "--x" };
        let project = Project::load(dir.path(), &[flag]).unwrap();
        assert_eq!(roots(&Graph::bind(&project, ["drgn"]).unwrap())["drgn"], "toolchain:drgn@bookworm");
    }
}

#[test]
fn what_a_setting_puts_in_a_stages_place_is_bound_and_nothing_else() {
    let dir = tempfile::tempdir().unwrap();
    let instead =
        "[instead]\nwhen = { setting = \"kernel.source\", is = \"package\" }\noutputs = { one = \"t-new/out\" }\n";
    let only = "[only]\nsetting = \"kernel.source\"\nis = \"package\"\n";
    let recipes: &[(&str, &str, &[&str])] = &[
        ("t-old", "", &["one", "two"]),
        ("t-new", "", &["out"]),
        ("t-one", "x = \"t-old/one\"", &["out"]),
        ("t-two", "x = \"t-old/two\"", &["out"]),
        ("t-back", "", &["out"]),
    ];
    drop(project(dir.path(), recipes));
    let add = |name: &str, more: &str| {
        let path = dir.path().join(".quiz/recipes").join(name).join("recipe.toml");
        std::fs::write(&path, std::fs::read_to_string(&path).unwrap() + more).unwrap();
    };
    add("t-old", instead);
    add("t-new", only);
    let load = |source: &str| {
        let flag = FlagValue { key: "kernel.source", value: Value::Text(source.to_owned()), flag: "" };
        Project::load(dir.path(), &[flag]).unwrap()
    };
    let bound =
        |source: &str, wanted: &str| Graph::bind(&load(source), [wanted]).map(|graph| names(&graph, &graph.order()));
    assert_eq!(bound("", "t-one").unwrap(), ["t-old", "t-one"]);
    assert_eq!(bound("package", "t-one").unwrap(), ["t-new", "t-one"]);
    assert_eq!(bound("package", "t-old").unwrap(), ["t-new"]);
    let error = bound("package", "t-two").unwrap_err().to_string();
    assert!(
        error.ends_with("t-two/recipe.toml:5:6: with kernel.source = \"package\" there is no t-old/two"),
        "{error}"
    );
    let error = bound("", "t-new").unwrap_err().to_string();
    assert_eq!(error, "the stage `t-new` is there only with kernel.source = \"package\"");
    // Two recipes, each of which stands in the place of the other.
    add("t-back", &instead.replace("one = \"t-new/out\"", "out = \"t-old/one\""));
    let error = bound("package", "t-back").unwrap_err().to_string();
    assert!(error.ends_with("t-old/one is not there with kernel.source = \"package\""), "{error}");
}
