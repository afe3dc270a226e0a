//! What a stage that builds modules must not say, and what the one test command installs: scripts of the tree among stand-ins.

use crate::project::Project;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;
use std::process::Command;

/// What of a kernel's Makefile has to do with pahole when modules are built, as Linux 7.3 has it; the pahole at hand is another one.
const KERNEL: &str = "\
ifneq ($(M),)
include include/config/auto.conf
PAHOLE_VERSION = $(shell echo 124)
export PAHOLE_VERSION
prepare: PAHOLE_VERSION := $(PAHOLE_VERSION)
prepare:
\t@if [ \"$(PAHOLE_VERSION)\" != \"$(CONFIG_PAHOLE_VERSION)\" ]; then \\
\t\techo >&2 \"warning: pahole version differs from the one used to build the kernel\"; \\
\tfi
modules: prepare
\techo 'int x;' | gcc -c -x c - -o $(M)/quiz-spl-seed.ko
\techo $(M)/quiz-spl-seed.o >$(M)/modules.order
endif
";

/// A project with this script for a stage, and a kernel to build against that was configured without pahole.
fn says(script: &str) -> String {
    let project = Project::new();
    let kernel = format!(
        "mkdir -p /quiz/out/devel/include/config
cd /quiz/out/devel
echo CONFIG_PAHOLE_VERSION=0 >include/config/auto.conf
echo 7.3.0 >include/config/kernel.release
cat >Makefile <<'END'
{KERNEL}END
"
    );
    project.recipe("t-devel", "[outputs]\ndevel = \"tree\"\n", &kernel);
    let tables = "[inputs]\ndevel = \"t-devel/devel\"\ncommands = \"compile-commands/script\"\nmake = \"zfs-make/script\"\n[outputs]\nmodules = \"tree\"\n\
         [needs]\ncompiler = true\n";
    project.recipe("t-modules", tables, script);
    project.write(".quiz/recipes/t-modules/quiz-spl-seed.c", "");
    project.ok(&["-v", "build", "t-modules"]).err
}

#[test]
fn modules_for_a_kernel_that_knows_another_pahole_are_built_without_a_warning() {
    // Without a script that sees to it, the stand-in for the kernel's Makefile warns.
    let careless = "make -C /quiz/in/devel M=\"$PWD\" modules\nmkdir /quiz/out/modules\n";
    assert!(says(careless).contains("pahole version differs"));
    let seed = says(include_str!("../recipes/spl-seed/build.sh"));
    assert!(!seed.contains("pahole"), "{seed}");
    // OpenZFS's Makefile calls the kernel's.
    let tree = "mkdir -p tree/module
printf 'all:\\n\\t$(MAKE) -C /quiz/in/devel M=$(CURDIR) modules\\n' >tree/module/Makefile
";
    let zfs = format!(
        "{tree}{}rm -r /quiz/out/symbols /quiz/out/compile-commands\n",
        include_str!("../recipes/zfs-modules/build.sh")
    );
    let zfs = says(&zfs);
    assert!(!zfs.contains("pahole"), "{zfs}");
}

/// What tests/run installs for a part of what takes longer, on a machine with no C++ compiler.
fn installed_for(part: &str) -> String {
    let root = tempfile::tempdir().unwrap();
    let path = |name: &str| root.path().join(name);
    let script = |name: &str, text: &str| {
        std::fs::create_dir_all(path(name).parent().unwrap()).unwrap();
        std::fs::write(path(name), format!("#!/bin/sh\n{text}")).unwrap();
        std::fs::set_permissions(path(name), std::fs::Permissions::from_mode(0o755)).unwrap();
    };
    for tool in ["cargo", "gcc", "git", "make", "ps", "python3", "qemu-img", "shellcheck", "ssh", "env"] {
        script(&format!("bin/{tool}"), "");
    }
    for name in ["target/debug/quiz", "tests/fuzz.sh"] {
        script(name, "");
    }
    script("bin/id", "echo 0\n");
    script("bin/apt-get", &format!("echo \"$*\" >>{}\n", path("log").display()));
    let dirname = ["/usr/bin/dirname", "/bin/dirname"].into_iter().find(|path| Path::new(path).exists()).unwrap();
    symlink(dirname, path("bin/dirname")).unwrap();
    std::fs::write(path("tests/run"), include_str!("run")).unwrap();
    let mut command = Command::new("/bin/sh");
    command.arg(path("tests/run")).args(["--full", part]).env_clear().env("PATH", path("bin"));
    let ran = command.output().unwrap();
    assert!(ran.status.success(), "{ran:?}");
    std::fs::read_to_string(path("log")).unwrap()
}

#[test]
fn the_test_command_installs_what_a_part_needs() {
    // strace is missing, too.
    assert!(installed_for("fuzz").contains(" strace g++\n"));
    let edits = installed_for("edits");
    assert!(edits.contains(" strace\n") && !edits.contains("g++"), "{edits}");
}

/// A build script would be linked without libFuzzer, and would call what only that has.
#[test]
fn cargo_compiles_no_build_script_for_the_fuzzer() {
    let project = Project::new();
    project.stand_in("rustc", "echo \"$@\"\n");
    let rustc = |args: &str| {
        let mut command = Command::new(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fuzz.sh"));
        let ran = command.arg(project.bin().join("rustc")).args(args.split(' ')).output().unwrap();
        assert!(ran.status.success(), "{ran:?}");
        String::from_utf8(ran.stdout).unwrap()
    };
    let script = "--crate-name build_script_build --edition=2024 build.rs";
    assert_eq!(rustc(script).trim(), script);
    let library = "--crate-name quiz --edition=2024 src/lib.rs";
    let compiled = rustc(library);
    assert!(compiled.starts_with(library) && compiled.contains("-Cpasses=sancov-module"), "{compiled}");
}

/// What editors are told of a folder of objects: the files of `listed`, with this text each.
fn commands(directory: &str, folder: &Path) -> Vec<String> {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("recipes/compile-commands/list.pl");
    // As stages call it: modules by a folder where they are.
    let (parent, name) = (folder.parent().unwrap(), folder.file_name().unwrap());
    let output = Command::new("perl").arg(script).arg(directory).arg(name).current_dir(parent).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let all: Vec<serde_json::Value> = serde_json::from_slice(&output.stdout).unwrap();
    all.iter().map(|entry| entry["file"].as_str().unwrap().rsplit('/').next().unwrap().to_owned()).collect()
}

#[test]
fn editors_are_told_of_what_is_compiled_and_not_of_what_once_was() {
    let dir = tempfile::tempdir().unwrap();
    let at = dir.path();
    let write = |path: &str, text: &str| {
        std::fs::create_dir_all(at.join(path).parent().unwrap()).unwrap();
        std::fs::write(at.join(path), text).unwrap();
    };
    let compiled = |name: &str| {
        let path = at.join(name);
        let (folder, file) = name.rsplit_once('/').unwrap();
        write(&format!("{folder}/.{file}.o.cmd"), &format!("savedcmd_x := gcc -c -o {0}.o {0}.c\n", path.display()));
        write(&format!("{name}.c"), "");
    };
    for name in ["m/zfs/arc", "m/zfs/left", "m/zfs/gone", "m/one", "m/zfs.mod", "m/old.mod"] {
        compiled(name);
    }
    std::fs::remove_file(at.join("m/zfs/gone.c")).unwrap();
    // Objects with their whole path or from the folder on, in lines or with blanks between, by the kernel's age.
    let whole = |name: &str| at.join(name).display().to_string();
    for (order, of_zfs) in [
        (
            format!("{}\n{}\n", whole("m/zfs.ko"), whole("m/one.ko")),
            format!("{} {}\n", whole("m/zfs/arc.o"), whole("m/zfs/gone.o")),
        ),
        ("zfs.o\none.o\n".to_owned(), "zfs/arc.o\nzfs/gone.o\n".to_owned()),
    ] {
        write("m/modules.order", &order);
        write("m/zfs.mod", &of_zfs);
        assert_eq!(commands("/elsewhere", &at.join("m")), ["one.c", "zfs.mod.c", "arc.c"]);
    }
    // A kernel's own folder has objects that no list names.
    let folder = at.join("m");
    assert_eq!(commands(folder.to_str().unwrap(), &folder), ["one.c", "zfs.mod.c", "arc.c", "left.c"]);
}
