//! What quiz's own stages open: nothing of the host's.

use super::{Real, cache};
use crate::opened::{id, listen};
use crate::project::{Project, Ran};
use std::path::Path;

/// Who compiles, who runs the kernel's own build, who runs maintainers' scripts in a root, who packs.
const STAGES: [&str; 4] = ["agent", "kernel-config", "rootfs", "layer:agent/tree"];

#[test]
fn all_that_stages_open_lies_in_the_cache() {
    if !rustix::process::geteuid().is_root() {
        return;
    }
    // None of them needs the kernel.
    let real = Real(Project::new());
    let before = real.run(&[&["build"], &STAGES[..]].concat());
    let (fresh, opened) = listen(&cache()).output(&mut real.command(&[&["build", "--fresh"], &STAGES[..]].concat()));
    let fresh = Ran::from(fresh);
    assert_eq!((fresh.status, fresh.count("Making"), &fresh.out), (Some(0), STAGES.len(), &before.out), "{fresh:?}");
    assert_eq!(opened.host, [].into());
    // The listener heard of what was there to hear of.
    let root = real.run(&["build", "toolchain:kernel"]).out;
    let root = Path::new(root.trim().split_once(' ').unwrap().1);
    for name in ["usr/bin/x86_64-linux-gnu-gcc-12", "usr/bin/flex", "usr/lib/x86_64-linux-gnu/libc.so.6"] {
        assert!(opened.all.contains(&id(&root.join(name))), "{name}");
    }
}
