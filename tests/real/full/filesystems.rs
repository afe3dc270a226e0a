//! The cache on file systems that a developer's machine may have: its own tests, and a hundred times kill -9, in a guest that has such a one. The guest
//! runs the very programs that were compiled here, by a share at the same paths, so this machine has to be of the guest's suite.

use super::super::Real;
use crate::project::Ran;
use std::path::{Path, PathBuf};

/// The programs run in the guest, and what its root needs for its file systems.
const PROFILE: &str = "about = \"file systems\"\nneeds = [\"memdev\"]\nmemory = 3000\npackages = [\"bubblewrap\", \"btrfs-progs\", \
    \"gcc\", \"git\", \"libc6-dev\", \"make\", \"nfs-kernel-server\", \"xfsprogs\"]\n";

/// The newest of the test programs whose names begin so.
fn program(folder: &Path, name: &str) -> PathBuf {
    let is_it = |path: &PathBuf| {
        let file = path.file_name().and_then(|file| file.to_str()).unwrap_or_default();
        file.strip_prefix(name).is_some_and(|rest| rest.len() == 17 && !rest.contains('.'))
    };
    let all = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).filter(is_it);
    all.max_by_key(|path| path.metadata().unwrap().modified().unwrap()).expect("a test program")
}

/// Runs `tests` in a guest that has been told what puts such a file system at /mnt; `$disk` is empty. They are handed the programs with quiz's own
/// tests and with the cache's as `$quiz` and `$cache`.
fn inside(name: &str, make: &str, tests: &str) -> Ran {
    let real = Real::new();
    real.0.write(".quiz/profiles/filesystems/profile.toml", PROFILE);
    let quiz = Path::new(env!("CARGO_BIN_EXE_quiz"));
    let this = std::env::current_exe().unwrap();
    let own = program(this.parent().unwrap(), "quiz_cache");
    let source = env!("CARGO_MANIFEST_DIR");
    let shares = [format!("{source}:ro"), format!("{}:ro", quiz.parent().unwrap().display())];
    // A build folder may lie within the source.
    let shares = if quiz.starts_with(source) { &shares[..1] } else { &shares[..] };
    // The programs are copied to a tmpfs: from a share, the guest would fetch their pages again and again.
    let script = format!(
        "set -e; disk=$(head -n 1 /run/quiz/devices)\n{make}\nmkdir /mnt/tmp; export TMPDIR=/mnt/tmp\n\
         stat -f -c %T /mnt; mkdir /root/p; mount -t tmpfs none /root/p\n\
         for one in {program} {quiz} {cache}; do cp $one /root/p/; mount --bind /root/p/${{one##*/}} $one; done\n\
         cd {source}; quiz={quiz}; cache={cache}\n{tests}\n",
        program = quiz.display(),
        quiz = this.display(),
        cache = own.display(),
    );
    // XFS wants more than 300 MB.
    let mut words = vec!["-k", "package", "-p", "filesystems,memdev:count=1,size=1G"];
    words.extend(["-p", "zfs"].iter().filter(|_| name == "zfs"));
    words.push("up");
    words.extend(shares.iter().flat_map(|share| ["--share", share]));
    words.extend(["--", "sh", "-c", &script]);
    real.run(&words)
}

/// The cache's own tests, and the kills, all pass there.
fn pass(name: &str, make: &str) {
    let kills = "a_hundred_kills_on_the_file_system_of_tmpdir_leave_nothing_half_and_the_next_run_is_right";
    let ran = inside(name, make, &format!("$cache -q\n$quiz --ignored --exact kill::{kills}"));
    assert_eq!(ran.status, Some(0), "{name}: {ran:?}");
    assert_eq!(ran.out.matches("test result: ok.").count(), 2, "{name}: {ran:?}");
}

#[test]
#[ignore = "boots three guests with file systems of their own: tests/run --full"]
fn copies_share_their_blocks_where_the_file_system_can() {
    let test = "worktree::what_a_second_worktree_starts_from_shares_its_blocks";
    let made = |name: &str, make: &str| inside(name, make, &format!("$quiz --ignored --exact {test}"));
    for (name, make) in
        [("btrfs", "mkfs.btrfs -q $disk; mount $disk /mnt"), ("xfs", "mkfs.xfs -q $disk; mount $disk /mnt")]
    {
        let ran = made(name, make);
        assert!(ran.status == Some(0) && ran.out.contains("test result: ok. 1 passed"), "{name}: {ran:?}");
    }
    // What it looks at is not so everywhere.
    let ran = made("ext4", "mkfs.ext4 -q -b 4096 $disk; mount $disk /mnt");
    assert!(ran.status == Some(101) && ran.out.contains("a.c: "), "ext4: {ran:?}");
}

#[test]
#[ignore = "runs hundreds of tests under emulation: tests/run --full"]
fn a_cache_on_tmpfs_passes_its_own_tests_and_a_hundred_kills() {
    pass("tmpfs", "mount -t tmpfs none /mnt");
}

#[test]
#[ignore = "runs hundreds of tests under emulation: tests/run --full"]
fn a_cache_on_ext4_passes_its_own_tests_and_a_hundred_kills() {
    pass("ext4", "mkfs.ext4 -q -b 4096 $disk; mount $disk /mnt");
}

#[test]
#[ignore = "runs hundreds of tests under emulation: tests/run --full"]
fn a_cache_on_btrfs_passes_its_own_tests_and_a_hundred_kills() {
    pass("btrfs", "mkfs.btrfs -q $disk; mount $disk /mnt");
}

#[test]
#[ignore = "runs hundreds of tests under emulation: tests/run --full"]
fn a_cache_on_xfs_passes_its_own_tests_and_a_hundred_kills() {
    pass("xfs", "mkfs.xfs -q $disk; mount $disk /mnt");
}

#[test]
#[ignore = "runs hundreds of tests under emulation: tests/run --full"]
fn a_cache_on_overlayfs_passes_its_own_tests_and_a_hundred_kills() {
    pass(
        "overlay",
        "mkfs.ext4 -q -b 4096 $disk; mount $disk /srv; mkdir /srv/lower /srv/upper /srv/work\n\
         mount -t overlay -o lowerdir=/srv/lower,upperdir=/srv/upper,workdir=/srv/work none /mnt",
    );
}

#[test]
#[ignore = "runs hundreds of tests under emulation: tests/run --full"]
fn a_cache_on_nfs_passes_its_own_tests_and_a_hundred_kills() {
    pass(
        "nfs4",
        "mkfs.ext4 -q -b 4096 $disk; mount $disk /srv; ip link set lo up; mount -t nfsd nfsd /proc/fs/nfsd\n\
         echo '/srv *(rw,no_root_squash,fsid=0,insecure)' >/etc/exports; rpc.mountd -N 2 -N 3; exportfs -a; \n\
         # Of a server that was there before clients may have locks, for which it waits so many seconds: 90 by itself.\n\
         for time in grace lease; do echo 10 >/proc/fs/nfsd/nfsv4${time}time; done; rpc.nfsd -N 3 2\n\
         mount -t nfs4 -o vers=4.2 127.0.0.1:/ /mnt",
    );
}

#[test]
#[ignore = "builds OpenZFS, and runs hundreds of tests under emulation: tests/run --full"]
fn a_cache_on_openzfs_passes_its_own_tests_and_a_hundred_kills() {
    pass("zfs", "zpool create -o ashift=12 -O compression=off -m /mnt t $disk");
}
