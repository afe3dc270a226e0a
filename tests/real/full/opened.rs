//! What stages open that take their time: nothing of the host's, as with all others (`real/opened.rs`).

use crate::real::Real;
use crate::real::opened::{TINY, nothing_of_the_hosts, output};

/// A kernel as the stage `kernel` calls make, a module by the kernel's own build, and of OpenZFS who runs autotools, and who runs configure.
const STAGES: [&str; 4] = ["tiny", "spl-seed", "zfs-autogen", "zfs-configure-user"];

#[test]
#[ignore = "compiles a small kernel and configures OpenZFS: tests/run --full"]
fn all_that_is_opened_for_a_kernel_a_module_and_openzfs_lies_in_the_cache() {
    assert!(rustix::process::geteuid().is_root(), "only root can listen: run it as root");
    let real = Real::new();
    real.0.write(".quiz/recipes/tiny/recipe.toml", TINY.0);
    real.0.write(".quiz/recipes/tiny/build.sh", TINY.1);
    let files = [
        ("toolchain:kernel/tree", "usr/bin/x86_64-linux-gnu-gcc-12"),
        ("toolchain:zfs/tree", "usr/bin/autoconf"),
        ("kernel-source/tree", "init/main.c"),
        ("kernel/devel", "include/linux/sched.h"),
    ];
    let files = files.map(|(name, file)| output(&real, name).join(file));
    nothing_of_the_hosts(&real, &STAGES, &files);
}
