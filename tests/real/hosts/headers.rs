//! A host without a header of its own: an editor there finds all that a file includes, in the root that it was compiled in.

use super::ONE_AT_A_TIME;
use crate::real::zfs::Zfs;
use crate::real::{linux, new_word};
use std::path::Path;
use std::process::Command;

/// Where a host has its headers, and what compilers and kernels bring.
const OF_HOST: [&str; 4] = ["/usr/include", "/usr/local/include", "/usr/lib/gcc", "/usr/src"];

/// Of OpenZFS's user land, which includes the C library's.
const USER: &str = "lib/libzfs/libzfs_pool.c";

/// Looks at a file as an editor does, with the list in that folder: all that clangd says.
fn look(file: &Path, list: &Path) -> String {
    assert!(file.exists(), "{}", file.display());
    let mut clangd = Command::new("bwrap");
    clangd.args(["--dev-bind", "/", "/"]);
    for folder in OF_HOST.iter().filter(|folder| Path::new(folder).exists()) {
        clangd.args(["--tmpfs", folder]);
    }
    clangd.args(["clangd", "--check-lines=1-1"]).arg(format!("--check={}", file.display()));
    clangd.arg(format!("--compile-commands-dir={}", list.display()));
    String::from_utf8(clangd.output().unwrap().stderr).unwrap()
}

#[test]
#[ignore = "runs clangd on what is compiled in OpenZFS and Linux: tests/run --full hosts"]
fn clangd_finds_all_headers_of_openzfs_and_linux_on_a_host_that_has_none() {
    let _turn = ONE_AT_A_TIME.lock();
    let zfs = Zfs::new();
    zfs.mark(&new_word());
    assert_eq!(zfs.0.run(&["build"]).status, Some(0));
    let linux = linux::edited(&zfs.0, "fs/ext4/inode.c");
    for (tree, file) in [(&zfs.dir(), "module/zfs/arc.c"), (&zfs.dir(), USER), (&linux, "fs/ext4/inode.c")] {
        let said = look(&tree.join(file), &tree.join(".quiz"));
        assert!(said.contains("All checks completed, 0 errors"), "{file}: {said}");
    }
    // It is the root that brings them.
    let list = zfs.dir().join(".quiz/compile_commands.json");
    let text = std::fs::read_to_string(&list).unwrap();
    let root = format!("--sysroot={}", zfs.dir().canonicalize().unwrap().join(".quiz/toolchain/zfs").display());
    assert!(text.contains(&root), "{root}");
    let elsewhere = zfs.dir().join(".quiz/without");
    std::fs::create_dir(&elsewhere).unwrap();
    std::fs::write(elsewhere.join("compile_commands.json"), text.replace(&root, "")).unwrap();
    let said = look(&zfs.dir().join(USER), &elsewhere);
    assert!(said.contains("All checks completed, ") && !said.contains(", 0 errors"), "{said}");
}
