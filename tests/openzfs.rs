//! What the stages of OpenZFS say of trees that are not as they should be, or are not all of OpenZFS: the built-in recipes on small trees.

use crate::project::{Project, Ran};

/// A tree that is OpenZFS by what lies in it, in which autogen makes nothing.
fn tree(meta: &str) -> Project {
    let project = Project::new();
    for (path, text) in [("META", meta), ("module/zfs/zfs_ioctl.c", ""), ("configure.ac", "")] {
        project.write(path, text);
    }
    let lib = include_str!("../recipes/zfs-autogen/lib.sh");
    project.recipe(
        "zfs-autogen",
        "[outputs]\ntree = \"tree\"\nlib = \"file\"\n",
        "mkdir /quiz/out/tree\ncp /quiz/recipe/lib.sh /quiz/out/lib\n",
    );
    project.write(".quiz/recipes/zfs-autogen/lib.sh", lib);
    project
}

/// A kernel of which no more is there than its config, in whose head Kconfig writes the version.
fn kernel(project: &Project, (version, patchlevel): (u32, u32)) {
    let config = format!(
        "echo '# Linux/x86 {version}.{patchlevel}.9 Kernel Configuration' >/quiz/out/config\n\
         for name in MODULES BLOCK ZLIB_INFLATE ZLIB_DEFLATE; do echo \"CONFIG_$name=y\"; done >>/quiz/out/config\n"
    );
    project.recipe("kernel-config", "[outputs]\nconfig = \"file\"\n", &config);
}

fn configured(project: &Project, argument: &str) -> Ran {
    let toml = format!("[zfs]\nconfigure = [\"{argument}\"]\n");
    project.write("quiz.toml", &toml);
    project.run(&["build", "zfs-compat"])
}

#[test]
fn a_kernel_that_meta_does_not_name_is_refused_in_one_line_unless_openzfs_is_told_to_try() {
    let project = tree("Name: zfs\nVersion: 2.4.99\nLinux-Maximum: 7.2\nLinux-Minimum: 4.18\n");
    project.write("config/kernel.m4", "AC_ARG_ENABLE([linux-experimental])\n");
    kernel(&project, (7, 2));
    assert_eq!(project.run(&["build", "zfs-compat"]).status, Some(0));
    kernel(&project, (7, 3));
    let line = "META of zfs 2.4.99 says Linux-Maximum 7.2, and this is Linux 7.3: take quiz -k 7.2, a newer OpenZFS, \
                or [zfs] configure = [\"--enable-linux-experimental\"]";
    for ran in [project.run(&["build", "zfs-compat"]), configured(&project, "--disable-linux-experimental")] {
        assert_eq!((ran.status, ran.count(line)), (Some(1), 1), "{ran:?}");
    }
    assert_eq!(configured(&project, "--enable-linux-experimental").status, Some(0));
    kernel(&project, (4, 4));
    let old = configured(&project, "--enable-linux-experimental");
    assert_eq!(old.status, Some(1), "{old:?}");
    old.says(&["zfs 2.4.99 supports Linux from 4.18 on (META: Linux-Minimum), and this is Linux 4.4"]);
}

#[test]
fn before_there_was_such_a_switch_none_is_named() {
    let project = tree("Name: zfs\nVersion: 2.1.11\nLinux-Maximum: 6.2\nLinux-Minimum: 3.10\n");
    kernel(&project, (6, 12));
    let ran = project.run(&["build", "zfs-compat"]);
    assert_eq!((ran.status, ran.count("linux-experimental")), (Some(1), 0), "{ran:?}");
    ran.says(&["and this is Linux 6.12: take quiz -k 6.2, a newer OpenZFS"]);
}

#[test]
fn of_a_layout_that_quiz_does_not_know_the_file_is_named_that_the_stage_did_not_see() {
    let project = tree("Name: zfs\nVersion: 9.9.9\n");
    project.write("lib/libzfs/libzfs.c", "");
    project.write("include/libzfs.h", "");
    project.write("perf/regression/random_reads.ksh", "");
    let makefile = "all: zpool\nzpool: perf/regression/random_reads.ksh\n";
    let script = format!(
        "mkdir /quiz/out/tree\ncd /quiz/out/tree\nprintf '{}' >Makefile\ntouch configure\n",
        makefile.replace('\n', "\\n")
    );
    project.recipe("zfs-configure-user", "[outputs]\ntree = \"tree\"\n", &script);
    let ran = project.run(&["build", "zfs-user"]);
    assert_eq!(ran.status, Some(1), "{ran:?}");
    ran.says(&[
        "OpenZFS's Makefile makes zpool out of perf/regression/random_reads.ksh, which is not in the source, or not among the paths",
        "quiz knows the layouts of OpenZFS 2.1 to 2.4.99, and this is 9.9.9",
    ]);
}

#[test]
fn a_tree_of_modules_alone_has_no_user_land_and_no_suite() {
    let project = tree("Name: zfs\nVersion: 2.4.4\n");
    let user = project.ok(&["build", "zfs-user"]);
    user.says(&["zfs-user: this OpenZFS is modules alone: the guest gets no zpool and no zfs"]);
    let install = user.out.lines().find_map(|line| line.strip_prefix("zfs-user/install ")).unwrap();
    assert_eq!(std::fs::read_dir(install).unwrap().count(), 0);
    for (stage, words) in [("zfs-tests", "this OpenZFS has no test suite"), ("zfs-unit", "has no unit tests")] {
        let ran = project.run(&["build", stage]);
        assert_eq!(ran.status, Some(1), "{ran:?}");
        ran.says(&[words]);
    }
}
