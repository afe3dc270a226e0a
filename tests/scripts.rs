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
        "mkdir -p /quiz/out/devel/include/config /quiz/out/devel/scripts
cd /quiz/out/devel
echo CONFIG_PAHOLE_VERSION=0 >include/config/auto.conf
echo 7.3.0 >include/config/kernel.release
echo 'print qq([]\\n);' >scripts/quiz-compile-commands.pl
cat >Makefile <<'END'
{KERNEL}END
"
    );
    project.recipe("t-devel", "[outputs]\ndevel = \"tree\"\n", &kernel);
    let tables = "[inputs]\ndevel = \"t-devel/devel\"\n[outputs]\nmodules = \"tree\"\n";
    project.recipe("t-modules", tables, script);
    project.write(".quiz/recipes/t-modules/quiz-spl-seed.c", "");
    project.ok(&["-v", "build", "t-modules"]).err
}

#[test]
fn modules_for_a_kernel_that_knows_another_pahole_are_built_without_a_warning() {
    // The fixture warns if nobody sees to it.
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
    for tool in ["cargo", "gcc", "git", "make", "ps", "qemu-img", "shellcheck", "ssh", "env"] {
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
