//! Folders of kernel modules that `--module` and the setting `modules` name: what is compiled of them, when, and what is said. The kernel is a stand-in
//! whose make lists and compiles as Kbuild does; that a real one does, and that a machine loads them, is in `real`.

use crate::project::{Project, Ran, files};
use crate::worktree::git;
use std::path::{Path, PathBuf};

/// Compiles each object of `obj-m`, newer kernels' way of listing them.
const KBUILD: &str = "\
include $(or $(wildcard Kbuild),Makefile)
all: $(obj-m:.o=.ko)
\t@for object in $(obj-m); do echo $$object; done >modules.order
%.ko: %.c
\t@echo compiling $*
\t@gcc -I. -c -o $@ $(CURDIR)/$<
";

fn project() -> Project {
    let project = Project::new();
    let outputs = "[outputs]\nimage = \"tree\"\nmodules = \"tree\"\ndevel = \"tree\"\nsymbols = \"tree\"\n";
    let script = "cd /quiz/out\nmkdir -p image modules symbols devel/include/config\necho 1.2.3 >devel/include/config/kernel.release\n\
                  cp /quiz/recipe/kbuild devel/\n\
                  printf 'modules:\\n\\t@$(MAKE) -w -C $(M) -f /quiz/in/devel/kbuild all\\n' >devel/Makefile\n";
    project.recipe("kernel", outputs, script);
    project.write(".quiz/recipes/kernel/kbuild", KBUILD);
    project.write("hello/Kbuild", "obj-m := zero.o one.o\n");
    project.write("hello/zero.c", "int zero;\n");
    project.write("hello/one.c", "#include \"one.h\"\nint one = ONE;\n");
    project.write("hello/one.h", "#define ONE 1\n");
    project
}

fn build(project: &Project, args: &[&str]) -> Ran {
    project.run(&[&["-v"], args, &["build", "module-hello"]].concat())
}

/// The stage's output with the modules.
fn modules(ran: &Ran) -> PathBuf {
    let line = ran.out.lines().find_map(|line| line.strip_prefix("module-hello/modules "));
    Path::new(line.unwrap_or_else(|| panic!("{ran:?}"))).join("lib/modules/1.2.3/updates/hello")
}

#[test]
fn all_modules_of_a_folder_are_made_and_listed_in_their_order_and_only_what_was_edited_again() {
    let project = project();
    let ran = build(&project, &["--module", "hello"]);
    let made = modules(&ran);
    assert_eq!(std::fs::read_to_string(made.join("order")).unwrap(), "zero\none\n");
    assert_eq!(files(&made).len(), 3);
    assert_eq!(ran.count("compiling"), 2, "{ran:?}");
    // An object that somebody's own make put there is no source, and takes no module's place.
    project.write("hello/zero.o", "no object");
    project.write("hello/zero.ko", "no module");
    assert_eq!(build(&project, &["--module", "hello"]).count("Making module-hello"), 0);
    project.write("hello/zero.c", "int zero, more;\n");
    let ran = build(&project, &["--module", "hello"]);
    assert_eq!((ran.count("compiling zero"), ran.count("compiling")), (1, 1), "{ran:?}");
    assert_ne!(modules(&ran), made);
    // One that is gone from the list is gone from the guest.
    project.write("hello/Kbuild", "obj-m := one.o\n");
    let made = modules(&build(&project, &["--module", "hello"]));
    assert_eq!((std::fs::read_to_string(made.join("order")).unwrap().as_str(), files(&made).len()), ("one\n", 2));
}

#[test]
fn of_an_edit_the_lines_are_shown_though_no_copy_of_the_folder_is_kept() {
    let project = project();
    let why = || project.ok(&["--module", "hello", "why", "module-hello"]).out;
    build(&project, &["--module", "hello"]);
    project.write("hello/zero.c", "int nought;\n");
    assert!(
        why().contains("    zero.c: changed\n      @@ -1 +1 @@\n      -int zero;\n      +int nought;\n"),
        "{}",
        why()
    );
    build(&project, &["--module", "hello"]);
    project.write("hello/zero.c", "int nil;\n");
    assert!(why().contains("      -int nought;\n      +int nil;\n"), "{}", why());
    // What does not compile has been brought in as well, in its place.
    project.write("hello/zero.c", "int nil\n");
    assert_eq!(build(&project, &["--module", "hello"]).status, Some(1));
    let gone = "zero.c: changed (no difference is shown: the old version is not at hand any more";
    assert!(why().contains(gone), "{}", why());
}

#[test]
fn what_was_brought_in_and_is_gone_git_may_have() {
    let project = project();
    let hello = project.dir().join("hello");
    git(&hello, &["init", "-q"]);
    git(&hello, &["add", "-A"]);
    git(&hello, &["commit", "-q", "-m", "first"]);
    let why = || project.ok(&["--module", "hello", "why", "module-hello"]).out;
    build(&project, &["--module", "hello"]);
    std::fs::remove_dir_all(project.cache().join("scratch")).unwrap();
    project.write("hello/zero.c", "int nought;\n");
    assert!(why().contains("      -int zero;\n      +int nought;\n"), "{}", why());
    git(&hello, &["commit", "-q", "-a", "-m", "second"]);
    assert!(why().contains("      -int zero;\n      +int nought;\n"), "{}", why());
    std::fs::remove_dir_all(hello.join(".git")).unwrap();
    assert!(
        why().contains("zero.c: changed (no difference is shown: the old version is not at hand any more"),
        "{}",
        why()
    );
}

#[test]
fn the_setting_does_the_same_and_a_relative_folder_begins_where_it_was_written() {
    let project = project();
    project.write("quiz.toml", "modules = [\"hello\"]\n");
    std::fs::create_dir(project.dir().join("below")).unwrap();
    let by_setting = project.ok(&["-C", "below", "build", "module-hello"]);
    project.write("quiz.toml", "");
    let by_flag = project.ok(&["-C", "below", "--module", "../hello", "build", "module-hello"]);
    assert_eq!(by_flag.out, by_setting.out);
    let graph = project.ok(&["graph", "--module", "hello"]).out;
    assert!(graph.contains("module-hello-source"), "{graph}");
    let profiles: serde_json::Value =
        serde_json::from_str(&project.ok(&["--json", "profiles", "--module", "hello"]).out).unwrap();
    let profile = profiles.as_array().unwrap().iter().find(|one| one["profile"] == "module").unwrap();
    assert_eq!(profile["on"], true, "{profile}");
    assert_eq!(project.run(&["graph"]).out.matches("module-hello").count(), 0);
}

#[test]
fn an_error_of_the_compiler_names_the_users_file_and_line() {
    let project = project();
    project.write("hello/one.c", "int one = 1\nint two;\n");
    let ran = build(&project, &["--module", "hello"]);
    assert_eq!(ran.status, Some(1));
    let file = project.dir().canonicalize().unwrap().join("hello/one.c");
    ran.says(&["the stage module-hello failed", &format!("{}:2:1: error:", file.display()), "--module="]);
}

#[test]
fn a_folder_that_makes_no_module_is_an_error_and_never_the_programs_status() {
    let project = project();
    project.write("notes/text", "");
    let ran = project.run(&["up", "--module", "notes", "--", "true"]);
    assert_eq!(ran.status, Some(125));
    ran.says(&["notes has neither Kbuild nor Makefile", "(--module)", "obj-m := hello.o"]);
    project.write("hello/Kbuild", "# nothing\n");
    let ran = build(&project, &["--module", "hello"]);
    assert_eq!(ran.status, Some(1));
    ran.says(&["error: Kbuild made no module"]);
}

/// A project may have had a recipe of this name before quiz had one.
#[test]
fn a_recipe_of_the_projects_own_that_is_called_module_stays_a_stage() {
    let project = project();
    project.recipe("module", "[outputs]\nout = \"file\"\n", "echo mine >/quiz/out/out\n");
    let ran = project.ok(&["build", "module"]);
    let (_, path) = ran.out.trim().split_once(' ').unwrap();
    assert_eq!(std::fs::read_to_string(path).unwrap(), "mine\n");
    assert!(modules(&build(&project, &["--module", "hello"])).join("one.ko").exists());
}
