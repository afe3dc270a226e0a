//! Scripts in a root of their own. Here it is a folder with a shell and some programs; that packages make such a root is promised in
//! src/source/root.rs, and which recipe runs in which in src/graph.

use crate::opened::{id, listen};
use crate::project::Project;
use std::path::{Path, PathBuf};
use std::process::Command;

/// A root with a shell, these programs of the machine, and the libraries that they need.
fn root(project: &Project, programs: &[&str]) -> PathBuf {
    let root = project.dir().with_file_name("root");
    for program in ["sh", "cat", "ls"].iter().chain(programs) {
        let script =
            "file=$(readlink -f \"$(command -v \"$1\")\"); mkdir -p \"$2/usr/bin\" && cp \"$file\" \"$2/usr/bin/$1\"
            ldd \"$file\" | grep -o '/[^ ]*' | while read -r lib; do
                mkdir -p \"$2/usr$(dirname \"${lib#/usr}\")\" && cp -L \"$lib\" \"$2/usr${lib#/usr}\"
            done";
        let done = Command::new("sh").args(["-ec", script, "root", program]).arg(&root).status().unwrap();
        assert!(done.success(), "{program}");
    }
    for name in ["bin", "lib", "lib64"] {
        let _ = std::os::unix::fs::symlink(format!("usr/{name}"), root.join(name));
    }
    std::fs::create_dir_all(root.join("etc")).unwrap();
    std::fs::write(root.join("etc/motd"), "of the root\n").unwrap();
    root
}

/// A project whose scripts run in that root.
fn project(programs: &[&str]) -> (Project, PathBuf) {
    let project = Project::new();
    let root = root(&project, programs);
    let toolchain = format!(
        "version = 1\nabout = \"a root\"\n[sets]\nkernel = [\"shell\"]\nqemu = []\nroot = []\nzfs = []\n[outputs]\ntree = \"tree\"\n\
         [options]\norigin = {{ type = \"string\", default = \"{}\", about = \"its folder\" }}\n\
         [source]\nentry = \"toolchain\"\n[source.dir]\nmarks = [\"usr/bin/sh\"]\n",
        root.display()
    );
    project.write(".quiz/recipes/toolchain/recipe.toml", &toolchain);
    project.write("quiz.toml", "[toolchain]\nsuite = \"bookworm\"\n");
    (project, root)
}

fn text(path: &Path) -> String {
    std::fs::read_to_string(path).unwrap()
}

#[test]
fn a_script_sees_its_root_and_nothing_of_the_hosts() {
    let (project, root) = project(&[]);
    project.recipe(
        "t",
        "[outputs]\nout = \"file\"\n",
        "ls /usr/bin /etc >/quiz/out/out\ncat /etc/motd >>/quiz/out/out\n",
    );
    let expected = |programs: &str| format!("/etc:\nmotd\n\n/usr/bin:\n{programs}\nof the root\n");
    assert_eq!(text(&project.built("t")), expected("cat\nls\nsh"));
    assert_eq!(project.ok(&["build", "t"]).count("Making"), 0);
    // What is in it is in the key.
    std::fs::copy(root.join("usr/bin/cat"), root.join("usr/bin/tac")).unwrap();
    assert_eq!(text(&project.built("t")), expected("cat\nls\nsh\ntac"));
    std::fs::remove_file(root.join("usr/bin/tac")).unwrap();
    assert_eq!(project.ok(&["build", "t"]).count("Making"), 0, "as it was before");
    let graph = project.ok(&["graph"]).out;
    assert!(graph.contains("toolchain:kernel"), "{graph}");
    // What quiz would make in a root of its own, drgn, is not there; and what runs outside of the sandbox is none of the project's.
    assert!(!project.ok(&["-v", "graph"]).out.contains("toolchain:drgn"));
    project.write("quiz.toml", "[toolchain]\nsuite = \"bookworm\"\n[machine]\nqemu = \"toolchain\"\n");
    project.run(&["up", "--dry-run"]).says(&["toolchain:qemu runs on this machine outside of a sandbox"]);
}

/// That this test can fail is shown by the same script in a root that is the host's own.
#[test]
fn all_that_a_script_opens_is_its_own_roots_by_device_and_inode() {
    if !rustix::process::geteuid().is_root() {
        return;
    }
    let (project, root) = project(&[]);
    // It lives long enough to be looked at, also by a host that is busy.
    let numbers = "1 2 3 4 5 6 7 8 9";
    let script = &format!(
        "ls /usr/bin >/quiz/out/out\ncat /etc/motd || :\nfor m in {numbers}; do for n in {numbers}; do ls / >/dev/null; done; done\n"
    );
    project.recipe("t", "[outputs]\nout = \"file\"\n", script);
    let build = |suite| {
        let mut command = project.command(&["build", "--fresh", "t"]);
        let (ran, opened) = listen(&project.cache()).output(command.env("QUIZ_TOOLCHAIN_SUITE", suite));
        assert!(ran.status.success(), "{ran:?}");
        opened
    };
    let opened = build("bookworm");
    assert_eq!(opened.host, [].into());
    let tree = project.ok(&["build", "toolchain:kernel"]).out;
    let tree = Path::new(tree.trim().split_once(' ').unwrap().1);
    for name in ["usr/bin/sh", "usr/bin/ls", "etc/motd"] {
        assert!(root.join(name).exists() && opened.all.contains(&id(&tree.join(name))), "{name}");
    }
    let opened = build("host");
    for name in ["/usr/bin/ls", "/usr/bin/cat"] {
        assert!(opened.host.contains(Path::new(name)), "{name}: {opened:?}");
    }
}

#[test]
fn the_hosts_tools_are_neither_in_the_key_nor_needed() {
    let (project, root) = project(&[]);
    let tables = "[tools]\n\"/usr/bin/sh\" = \"shell\"\ncat = \"shell\"\n[outputs]\nout = \"file\"\n";
    project.recipe("t", tables, "cat /etc/motd >/quiz/out/out\n");
    project.built("t");
    std::fs::write(root.join("etc/motd"), "another\n").unwrap();
    let why = |suite| {
        let output = project.command(&["why", "t"]).env("QUIZ_TOOLCHAIN_SUITE", suite).output().unwrap();
        String::from_utf8(output.stdout).unwrap()
    };
    assert!(why("bookworm").contains("toolchain") && !why("bookworm").contains("cat"), "{}", why("bookworm"));
    assert!(why("host").contains("cat"), "{}", why("host"));
    let missing = "[tools]\n\"no-such-program\" = \"shell\"\n[outputs]\nout = \"file\"\n";
    project.recipe("t", missing, "no-such-program >/quiz/out/out\n");
    let ran = project.run(&["build", "t"]);
    assert_eq!(ran.status, Some(2), "{ran:?}");
    ran.says(&["t: the package shell has no no-such-program, which", ".quiz/recipes/t/recipe.toml says it has"]);
    let host = project.command(&["build", "t"]).env("QUIZ_TOOLCHAIN_SUITE", "host").output().unwrap();
    let said = String::from_utf8_lossy(&host.stderr);
    assert!(said.contains("1 tool(s) are missing on this machine"), "{said}");
}

#[test]
fn who_compiles_for_the_kernel_is_told_its_compiler_which_is_in_the_key() {
    let (project, _) = project(&[]);
    let tables = "[outputs]\nout = \"file\"\n[needs]\ncompiler = true\n";
    project.recipe("t", tables, "echo \"make $QUIZ_KBUILD modules\" >/quiz/out/out\n");
    project.recipe("u", "[outputs]\nout = \"file\"\n", "echo \"${QUIZ_KBUILD-none}\" >/quiz/out/out\n");
    assert_eq!((text(&project.built("t")), text(&project.built("u"))), ("make  modules\n".into(), "none\n".into()));
    // Its programs are looked for where the script runs.
    project.write("quiz.toml", "[toolchain]\nsuite = \"host\"\n[kernel]\ncompiler = \"gcc-0\"\n");
    let ran = project.run(&["build", "t"]);
    ran.says(&["1 tool(s) are missing on this machine", "gcc-0"]);
    let stand_in = project.dir().join(".quiz/recipes/toolchain/recipe.toml");
    let suite = format!("{}\n", text(&stand_in).replace("[\"shell\"]", "[\"shell\", \"gcc-0\"]"));
    std::fs::write(stand_in, suite).unwrap();
    project.write("quiz.toml", "[toolchain]\nsuite = \"bookworm\"\n[kernel]\ncompiler = \"gcc-0\"\n");
    let ran = project.run(&["build", "t"]);
    ran.says(&["the package gcc-0 has no gcc-0"]);
    let root = project.dir().with_file_name("root");
    std::fs::copy(root.join("usr/bin/cat"), root.join("usr/bin/gcc-0")).unwrap();
    assert_eq!(text(&project.built("t")), "make CC=gcc-0 modules\n");
    // The root is the same, but is called otherwise.
    project.write("quiz.toml", "[toolchain]\nsuite = \"bookworm\"\n");
    assert_eq!(text(&project.built("t")), "make  modules\n");
    assert_eq!(text(&project.built("u")), "none\n");
}

#[test]
fn editors_find_the_headers_of_the_root() {
    let (project, root) = project(&[]);
    std::fs::create_dir_all(root.join("usr/include")).unwrap();
    std::fs::write(root.join("usr/include/stdio.h"), "").unwrap();
    project.write("src/mark", "");
    let source = format!(
        "version = 1\nabout = \"a source\"\n[outputs]\ntree = \"tree\"\n[options]\norigin = {{ type = \"string\", default = \"{}\", about = \"x\" }}\n\
         [source]\nentry = \"s\"\n[source.dir]\nmarks = [\"mark\"]\n",
        project.dir().join("src").display()
    );
    project.write(".quiz/recipes/s/recipe.toml", &source);
    let tables = "[inputs]\nsource = \"s/tree\"\n[incremental]\nsync = [\"source\"]\ninto = \"tree\"\n[outputs]\ncompile-commands = \"file\"\n";
    let script = "echo '[{\"directory\": \"/quiz/scratch/tree\", \"file\": \"a.c\", \"arguments\": [\"gcc\", \"a.c\"]}]' >/quiz/out/compile-commands\n\
                  echo 'warning: /usr/include/stdio.h:1: odd'\n";
    project.recipe("t", tables, script);
    let ran = project.ok(&["build", "t"]);
    let link = project.dir().join(".quiz/toolchain/kernel");
    let header = link.join("usr/include/stdio.h");
    assert!(header.exists() && link.is_symlink());
    ran.says(&[&format!("{}:1: odd", header.display())]);
    let list = text(&project.dir().join(".quiz/compile_commands.json"));
    assert!(list.contains(&format!("\"--sysroot={}\"", link.display())), "{list}");
}

/// A wrapper in the host's /usr/local/bin, or another compiler there, is nothing to a stage with a root of its own.
#[test]
fn a_wrapper_on_the_host_changes_no_key() {
    let (project, _) = project(&[]);
    let tables = "[tools]\n\"/usr/bin/sh\" = \"shell\"\ncat = \"shell\"\n[outputs]\nout = \"file\"\n";
    project.recipe("t", tables, "cat /etc/motd >/quiz/out/out\n");
    let path = project.built("t");
    for program in ["cat", "sh", "gcc", "cc", "ld"] {
        project.stand_in(program, "echo 'of the host' >&2\nexit 1\n");
    }
    let ran = project.ok(&["-v", "build", "t"]);
    assert_eq!((ran.count("Cached"), ran.count("Making")), (2, 0), "{ran:?}");
    assert_eq!(text(&project.built("t")), text(&path));
    // With the host's own programs it is another one.
    let host = project.command(&["-v", "build", "t"]).env("QUIZ_TOOLCHAIN_SUITE", "host").output().unwrap();
    assert!(String::from_utf8_lossy(&host.stderr).contains("Making t,"), "another key: {host:?}");
}

/// Other compilers make everything again, so they move only by their name.
#[test]
fn an_update_leaves_toolchains_alone_unless_they_are_named() {
    let project = Project::new();
    let repository = project.dir().with_file_name("repository");
    std::fs::create_dir(&repository).unwrap();
    let git = |args: &[&str]| {
        let author = ["-c", "user.name=t", "-c", "user.email=t@example.org", "-c", "init.defaultBranch=main"];
        let mut command = project.other("git");
        assert!(
            command.args(author).args(args).current_dir(&repository).output().unwrap().status.success(),
            "{args:?}"
        );
    };
    git(&["init", "-q"]);
    git(&["commit", "-q", "--allow-empty", "-m", "one"]);
    for entry in ["toolchain", "other"] {
        let text = format!(
            "version = 1\nabout = \"a test\"\n[options]\nversion = {{ type = \"string\", default = \"main\", about = \"x\" }}\n\
             [outputs]\ntree = \"tree\"\n[source]\nentry = \"{entry}\"\n[source.git]\nrepository = \"{}\"\ntag = \"v{{version}}\"\n",
            repository.display()
        );
        project.write(&format!(".quiz/recipes/of-{entry}/recipe.toml"), &text);
    }
    let pins = || {
        let lock = text(&project.dir().join("quiz.lock"));
        let of = |entry: &str| {
            let entry = lock.split("[[pin]]").find(|pin| pin.contains(&format!("entry = \"{entry}\""))).unwrap();
            entry.split("commit = \"").nth(1).unwrap()[..40].to_owned()
        };
        ["toolchain", "other"].map(of)
    };
    project.ok(&["build", "of-toolchain", "of-other"]);
    let [toolchain, other] = pins();
    assert_eq!(toolchain, other);
    git(&["commit", "-q", "--allow-empty", "-m", "two"]);
    project.ok(&["update"]);
    let [still, moved] = pins();
    assert!(still == toolchain && moved != other, "{still} {moved}");
    project.ok(&["update", "toolchain"]);
    assert_eq!(pins(), [moved.clone(), moved]);
    project.run(&["update", "toolchian"]).says(&["nothing that this project fetches is called `toolchian`"]);
}
