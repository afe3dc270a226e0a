//! What quiz's own stages open: nothing of the host's.

use super::{Real, cache};
use crate::opened::{id, listen};
use crate::project::{Project, Ran};
use std::path::PathBuf;

/// Who compiles, who runs the kernel's own build, who runs maintainers' scripts in a root, who packs.
const STAGES: [&str; 4] = ["agent", "kernel-config", "rootfs", "layer:agent/tree"];

/// The smallest kernel, as the stage `kernel` calls make: a recipe, and its script.
pub(super) const TINY: (&str, &str) = (
    "version = 1\nabout = \"a test\"\nscript = \"build.sh\"\n[needs]\ncompiler = true\n\
     [inputs]\nsource = \"kernel-source/tree\"\nmake = \"kernel-make/script\"\n[outputs]\nvmlinux = \"file\"\n",
    ". /quiz/in/make\nkernel tinyconfig\nkernel vmlinux\ncp \"$build/vmlinux\" /quiz/out/vmlinux\n",
);

/// The folder of a stage's output.
pub(super) fn output(real: &Real, output: &str) -> PathBuf {
    let ran = real.run(&["build", output.split_once('/').unwrap().0]);
    let path = ran.out.lines().find_map(|line| line.strip_prefix(output)?.strip_prefix(' '));
    PathBuf::from(path.unwrap_or_else(|| panic!("{output}: {ran:?}")))
}

/// Makes stages that are in the cache once more, and fails if they open anything of the host's, or come out otherwise. The listener has
/// heard of what was there to hear of if these files are among what was opened.
pub(super) fn nothing_of_the_hosts(real: &Real, stages: &[&str], files: &[PathBuf]) {
    let before = real.run(&[&["build"], stages].concat());
    assert_eq!(before.status, Some(0), "{before:?}");
    let (fresh, opened) = listen(&cache()).output(&mut real.command(&[&["build", "--fresh"], stages].concat()));
    let fresh = Ran::from(fresh);
    assert_eq!((fresh.status, fresh.count("Making"), &fresh.out), (Some(0), stages.len(), &before.out), "{fresh:?}");
    assert_eq!(opened.host, [].into());
    for file in files {
        assert!(opened.all.contains(&id(file)), "{}", file.display());
    }
}

#[test]
fn all_that_stages_open_lies_in_the_cache() {
    if !rustix::process::geteuid().is_root() {
        return;
    }
    // None of them needs the kernel.
    let real = Real(Project::new());
    let root = output(&real, "toolchain:kernel/tree");
    let files = ["usr/bin/x86_64-linux-gnu-gcc-12", "usr/bin/flex", "usr/lib/x86_64-linux-gnu/libc.so.6"];
    nothing_of_the_hosts(&real, &STAGES, &files.map(|file| root.join(file)));
}
