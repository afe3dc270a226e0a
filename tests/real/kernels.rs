//! Linux from 5.10 to 7.3, and OpenZFS of other releases on them. What takes longer: only `tests/run --full kernels` runs these.

use super::zfs::copy;
use super::{Real, cache, die};
use crate::project::Ran;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;

const KERNELS: [&str; 5] = ["5.10", "6.1", "6.12", "7.2", "7.3"];

/// A command of apt for a suite of Debian, in a folder of the cache, where what was downloaded stays.
fn apt(suite: &str, words: &[&str]) -> PathBuf {
    let folder = cache().join("tests/apt").join(suite);
    std::fs::create_dir_all(&folder).unwrap();
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/apt");
    for words in [&["apt-get", "-qq", "update"], words] {
        let status = Command::new(&script).arg(suite).arg(&folder).args(words).current_dir(&folder).status().unwrap();
        assert!(status.success(), "{words:?} of {suite}: {status}");
    }
    folder
}

/// The file in a folder whose name begins and ends so.
fn one_file(folder: &Path, (begin, end): (&str, &str)) -> PathBuf {
    let entries = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
    let mut names: Vec<String> = entries.filter(|name| name.starts_with(begin) && name.ends_with(end)).collect();
    names.sort();
    folder.join(names.pop().unwrap_or_else(|| panic!("no {begin}…{end} in {}", folder.display())))
}

fn unpack(command: &mut Command) {
    let status = command.status().unwrap();
    assert!(status.success(), "{command:?}: {status}");
}

/// A project whose folder is that of a source tree.
fn in_tree(source: &Path) -> Real {
    let real = Real::new();
    copy(source, &real.0.dir());
    real
}

/// What a resolved .config says of each symbol that it shows.
fn symbols(config: &str) -> BTreeMap<&str, &str> {
    config.lines().filter_map(symbol).filter(|(name, _)| name.starts_with("CONFIG_")).collect()
}

fn symbol(line: &str) -> Option<(&str, &str)> {
    match line.strip_prefix("# ").and_then(|rest| rest.strip_suffix(" is not set")) {
        Some(name) => Some((name, "n")),
        None => line.split_once('='),
    }
}

#[test]
#[ignore = "builds five kernels: tests/run --full kernels"]
fn one_config_boots_linux_5_10_to_7_3() {
    let real = Real::new();
    let ran = real.run(&[
        "-k",
        &KERNELS.join(","),
        "up",
        "--",
        "sh",
        "-c",
        "uname -r; test -e /proc/sys/kernel && grep -qw ext2 /proc/filesystems",
    ]);
    assert_eq!(ran.status, Some(0), "{ran:?}");
    let rows: Vec<&str> = ran.out.lines().collect();
    assert_eq!(rows.len(), KERNELS.len(), "{ran:?}");
    for (row, kernel) in rows.iter().zip(KERNELS) {
        assert!(row.starts_with(&format!("{kernel}.")), "{kernel}: {ran:?}");
    }
}

#[test]
#[ignore = "fetches five kernels, and builds OpenZFS for two: tests/run --full kernels"]
fn the_distributions_own_kernels_boot_and_two_have_a_pool() {
    let real = Real::new();
    let packages = KERNELS.map(|kernel| format!("{kernel}@package"));
    let ran = real.run(&["-k", &packages.join(","), "up", "--", "uname", "-r"]);
    assert_eq!(ran.status, Some(0), "{ran:?}");
    for kernel in KERNELS {
        assert!(ran.out.lines().any(|row| row.starts_with(&format!("{kernel}."))), "{kernel}: {ran:?}");
    }
    let script = "zpool create t quizm0 && zpool get -H -o value health t";
    // Each with OpenZFS's modules by its own suite's compiler.
    for (kernel, suite) in [("6.1@package", "bookworm"), ("5.10@package", "bullseye")] {
        let mut up = real.command(&["-k", kernel, "-p", "zfs,memdev", "up", "--", "sh", "-c", script]);
        let pool = Ran::from(up.env("QUIZ_KERNEL_TOOLCHAIN", suite).output().unwrap());
        assert_eq!((pool.status, pool.out.as_str()), (Some(0), "ONLINE\n"), "{kernel}: {pool:?}");
    }
    // Of another suite than the compilers'.
    let other = real.run(&["-k", "7.3@package", "build", "kernel-package-devel"]);
    assert_eq!(other.status, Some(1), "{other:?}");
    other.says(&["this kernel was compiled by gcc 14, and scripts here have gcc 12", "kernel.toolchain"]);
}

#[test]
#[ignore = "fetches four kernels: tests/run --full kernels"]
fn variants_of_the_distributions_kernel_boot_and_one_without_9p_says_that_it_has_no_folders_of_the_host() {
    let real = Real::new();
    let flavour = |flavour: &str| format!("[kernel]\nsource = \"package\"\nflavour = \"{flavour}\"\n");
    // The suite says which version is its newest of each, but for what nobody has signed.
    let (newest, unsigned) = ("package", "6.1@package");
    for (name, kernel, ends) in [
        ("amd64-unsigned", unsigned, "-amd64"),
        ("rt-amd64", newest, "-rt-amd64"),
        ("cloud-amd64", newest, "-cloud-amd64"),
    ] {
        real.0.write("quiz.toml", &flavour(name));
        let ran = real.run(&["-k", kernel, "up", "--", "uname", "-r"]);
        assert!(ran.status == Some(0) && ran.out.trim_end().ends_with(ends), "{name}: {ran:?}");
    }
    // Nothing that is written there may seem to be with the host.
    let up = ["up", "--", "sh", "-c", "ls -A /shared /out; echo x >/out/x || exit 7"];
    real.0.write(".quiz/shared/in", "shared\n");
    for how in ["Booting", "Restoring"] {
        let cold = if how == "Booting" { &["--no-snapshot"][..] } else { &[] };
        let ran = real.run(&[&up[..1], cold, &up[1..]].concat());
        assert_eq!((ran.status, ran.out.as_str()), (Some(7), "/out:\n\n/shared:\n"), "{ran:?}");
        ran.says(&[how, "warning: this kernel has no 9P: ", "Read-only file system"]);
    }
    // Before quiz leaves it to itself.
    let left = real.run(&["up", "--detach", "--", "true"]);
    assert_eq!(left.status, Some(0), "{left:?}");
    left.says(&["warning: this kernel has no 9P: "]);
    real.run(&["wait"]);
    let shared = real.run(&["up", "--share", ".:ro", "--", "true"]);
    assert_eq!(shared.status, Some(125), "{shared:?}");
    shared.says(&["cannot mount the share /", "CONFIG_9P_FS"]);
}

#[test]
#[ignore = "builds a kernel, and OpenZFS for it: tests/run --full kernels"]
fn a_kernel_that_clang_compiled_boots_and_has_a_pool() {
    let real = Real::new();
    let script = "cat /proc/version; zpool create t quizm0 && zpool get -H -o value health t";
    let args = ["-p", "zfs,memdev", "up", "--", "sh", "-c", script];
    let ran = Ran::from(real.command(&args).env("QUIZ_KERNEL_COMPILER", "clang").output().unwrap());
    assert_eq!(ran.status, Some(0), "{ran:?}");
    let lines: Vec<&str> = ran.out.lines().collect();
    assert!(lines[0].contains("clang version") && lines[0].contains("LLD"), "{ran:?}");
    assert_eq!(lines[1..], ["ONLINE"]);
}

/// What makes a kernel complain, and how it says so.
const COMPLAINTS: [(&str, &str); 6] = [
    ("insmod /shared/t.ko what=warn", "WARNING: "),
    ("echo 1 >/proc/sys/kernel/watchdog_thresh; insmod /shared/t.ko what=spin", "BUG: soft lockup - CPU#"),
    ("echo 1 >/proc/sys/kernel/hung_task_timeout_secs; insmod /shared/t.ko what=sleep", "INFO: task insmod:"),
    (
        "echo 0 >/proc/sys/kernel/watchdog; echo 3 >/sys/module/rcupdate/parameters/rcu_cpu_stall_timeout; \
         insmod /shared/t.ko what=rcu",
        "INFO: rcu",
    ),
    ("tail /dev/zero", "Out of memory: Killed process "),
    (
        "mkdir /sys/fs/cgroup/t; echo 16M >/sys/fs/cgroup/t/memory.max; sh -c 'echo $$ >/sys/fs/cgroup/t/cgroup.procs; exec tail /dev/zero'",
        "Memory cgroup out of memory: Killed process ",
    ),
];

#[test]
#[ignore = "runs on five kernels: tests/run --full kernels"]
fn what_each_kernel_complains_about_is_heard() {
    let real = Real::new();
    for kernel in KERNELS {
        die::share(&real, &die::build_module(&real, &["-k", kernel]));
        for (line, words) in COMPLAINTS {
            let script = format!("echo +memory >/sys/fs/cgroup/cgroup.subtree_control; {line}; exit 7");
            let ran = real.run(&["-k", kernel, "up", "-m", "256M", "--timeout", "600", "--", "sh", "-c", &script]);
            assert_eq!(ran.status, Some(7), "{kernel}, {line}: {ran:?}");
            let said = ran.err.lines().find_map(|said| said.split_once("the guest's kernel complained: "));
            assert!(said.is_some_and(|(_, said)| said.contains(words)), "{kernel}, {line}: {ran:?}");
        }
    }
}

/// The flags for a kernel, and what the module does, with what the kernel says of it.
type Checked = (&'static [&'static str], &'static [(&'static str, &'static str)]);

/// Kernels that check themselves. KASAN and KCSAN cannot be in one kernel; the two kernels word a WARN differently.
const CHECKED: [Checked; 2] = [
    (
        &["-k", "6.12", "-p", "debug"],
        &[
            ("use-after-free", "BUG: KASAN: slab-use-after-free in quiz_test_use_after_free"),
            ("sleep-in-atomic", "BUG: sleeping function called from invalid context at "),
            ("lock-order", "WARNING: possible circular locking dependency detected"),
            ("list", "list_add double add: new="),
        ],
    ),
    (
        &[
            "-k",
            "7.2",
            "--config",
            "CONFIG_KCSAN=y",
            "--config",
            "CONFIG_UBSAN=y",
            "--config",
            "CONFIG_UBSAN_SHIFT=y",
            "--config",
            "CONFIG_PROVE_LOCKING=y",
            "--config",
            "CONFIG_DEBUG_LIST=y",
        ],
        &[
            ("race", "BUG: KCSAN: data-race in quiz_test_race"),
            ("shift", "UBSAN: shift-out-of-bounds in "),
            ("lock-order", "WARNING: possible circular locking dependency detected"),
            ("list", "list_add double add: new="),
        ],
    ),
];

#[test]
#[ignore = "builds two kernels that check themselves: tests/run --full kernels"]
fn what_a_kernel_finds_that_checks_itself_is_heard() {
    let real = Real::new();
    for (kernel, cases) in CHECKED {
        die::share(&real, &die::build_module(&real, kernel));
        for (what, words) in cases {
            let line = format!("insmod /shared/t.ko what={what}; exit 7");
            let up =
                ["up", "--cpus", "2", "--append", "kasan.fault=report", "--timeout", "300", "--", "sh", "-c", &line];
            let ran = real.run(&[kernel, &up].concat());
            assert_eq!(ran.status, Some(7), "{what}: {ran:?}");
            let record = std::fs::read_to_string(real.run_folder().join("result.json")).unwrap();
            assert!(
                record.contains(words) && ran.count("the guest's kernel complained: ") == 1,
                "{what}: {ran:?}, {record}"
            );
        }
    }
}

/// Symbols that cannot be the same: nobody is asked for them in one of the two, or they have another type there.
const NOT_ASKED: [&str; 14] = [
    // What describes the linker, in other digits.
    "LD_VERSION",
    // 6.1: selected by nothing any more.
    "COMMON_CLK",
    "STACK_VALIDATION",
    // 6.1: come with RPS.
    "RFS_ACCEL",
    "NET_FLOW_LIMIT",
    // 6.1 and 6.12: defaults that moved.
    "LSM",
    "CLOCKSOURCE_WATCHDOG_MAX_SKEW_US",
    // 6.12: asked for no more.
    "MICROCODE",
    // 6.12: no number any more.
    "BASE_SMALL",
    // 7.2: selected by cpusets.
    "CPU_ISOLATION",
    // 7.2: always on x86_64.
    "PGTABLE_LEVELS",
    "SPARSEMEM_VMEMMAP",
    // 7.2: numbers now.
    "BOOTPARAM_SOFTLOCKUP_PANIC",
    "BOOTPARAM_HUNG_TASK_PANIC",
];

#[test]
#[ignore = "downloads five kernels: tests/run --full kernels"]
fn configs_differ_only_where_the_kernels_do() {
    let real = Real::new();
    let config = |kernel| {
        let ran = real.run(&["-k", kernel, "build", "kernel-config"]);
        assert_eq!(ran.status, Some(0), "{ran:?}");
        std::fs::read_to_string(ran.out.trim().split_once(' ').unwrap().1).unwrap()
    };
    let configs = KERNELS.map(config);
    for (pair, names) in configs.windows(2).zip(KERNELS.windows(2)) {
        let (old, new) = (symbols(&pair[0]), symbols(&pair[1]));
        let differ = old.iter().filter_map(|(name, value)| Some((name, value, *new.get(name)?)));
        let asked = |name: &str| !NOT_ASKED.contains(&name.trim_start_matches("CONFIG_"));
        let differ: Vec<_> = differ.filter(|(name, old, new)| *old != new && asked(name)).collect();
        assert!(differ.is_empty(), "{names:?}: {differ:?}");
    }
}

/// A whole .config that was made for one kernel is that kernel again, and boots the next one.
#[test]
#[ignore = "builds a kernel: tests/run --full kernels"]
fn a_whole_config_of_a_colleague_is_taken_as_it_is() {
    let real = Real::new();
    let config = real.0.dir().join("config-6.12");
    let ran = real.run(&["-k", "6.12", "build", "kernel-config"]);
    std::fs::copy(ran.out.trim().split_once(' ').unwrap().1, &config).unwrap();
    let config = config.to_str().unwrap();
    assert_eq!(real.run(&["-k", "6.12", "build", "kernel"]).status, Some(0));
    let same = real.run(&["-k", "6.12", "--config-file", config, "up", "--", "uname", "-r"]);
    assert_eq!((same.status, same.count("Making kernel ")), (Some(0), 0), "{same:?}");
    let next = real.run(&["-k", "7.2", "--config-file", config, "up", "--", "uname", "-r"]);
    assert_eq!(next.status, Some(0), "{next:?}");
    assert!(next.out.starts_with("7.2."), "{next:?}");
}

#[test]
#[ignore = "builds a kernel: tests/run --full kernels"]
fn the_modules_of_openzfs_2_4_4_alone_load_on_linux_7_2() {
    let folder = apt("trixie-backports", &["apt-get", "-qq", "download", "-t", "trixie-backports", "zfs-dkms"]);
    let root = tempfile::tempdir().unwrap();
    unpack(Command::new("dpkg-deb").arg("-x").arg(one_file(&folder, ("zfs-dkms_", ".deb"))).arg(root.path()));
    let real = in_tree(&one_file(&root.path().join("usr/src"), ("zfs-", "")));
    let script = "modprobe zfs && cat /sys/module/zfs/version; command -v zpool zfs && exit 9; true";
    let ran = real.run(&["-k", "7.2", "up", "--", "sh", "-c", script]);
    assert_eq!((ran.status, ran.out.starts_with("2.4.4-")), (Some(0), true), "{ran:?}");
    let suite = real.run(&["build", "zfs-tests"]);
    assert_eq!(suite.status, Some(1), "{suite:?}");
    suite.says(&["this OpenZFS has no test suite"]);
}

#[test]
#[ignore = "builds a kernel: tests/run --full kernels"]
fn openzfs_2_3_2_runs_on_linux_6_12() {
    let folder = apt("bookworm-backports", &["apt-get", "-qq", "source", "--tar-only", "zfs-linux/bookworm-backports"]);
    let root = tempfile::tempdir().unwrap();
    unpack(Command::new("tar").arg("-xf").arg(one_file(&folder, ("zfs-linux_2.3.", ".gz"))).arg("-C").arg(root.path()));
    let tree = one_file(root.path(), ("", ""));
    let real = in_tree(if tree.join("META").exists() { &tree } else { root.path() });
    let script = "zpool create t quizm0 && zpool status && zfs version";
    let ran = real.run(&["-k", "6.12", "up", "-p", "memdev", "--", "sh", "-c", script]);
    assert_eq!(ran.status, Some(0), "{ran:?}");
    let of_2_3 =
        ran.out.lines().filter(|line| line.starts_with("zfs-2.3.") || line.starts_with("zfs-kmod-2.3.")).count();
    assert!(of_2_3 == 2 && ran.out.contains("state: ONLINE"), "{ran:?}");
}

#[test]
#[ignore = "builds a kernel: tests/run --full kernels"]
fn a_worktree_of_linux_with_rust_runs_its_module_and_editors_are_told_of_its_crates() {
    let real = Real::new();
    let source = real.run(&["-k", "7.3", "build", "kernel-source"]);
    assert_eq!(source.status, Some(0), "{source:?}");
    let real = in_tree(Path::new(source.out.trim().split_once(' ').unwrap().1));
    // The suite of the compilers is whose rustc it takes; nobody has said which.
    real.0.write(
        "quiz.toml",
        "[kernel]\nconfig = [\"RUST=y\", \"SAMPLES=y\", \"SAMPLES_RUST=y\", \"SAMPLE_RUST_MINIMAL=m\"]\n",
    );
    let mut up =
        real.command(&["up", "--", "sh", "-c", "uname -r; modprobe rust_minimal && dmesg | grep -c rust_minimal"]);
    let ran = Ran::from(up.env_remove("QUIZ_KERNEL_VERSION").output().unwrap());
    assert_eq!(ran.status, Some(0), "{ran:?}");
    assert!(ran.out.starts_with("7.3.") && !ran.out.trim_end().ends_with("\n0"), "{ran:?}");
    let text = std::fs::read_to_string(real.0.dir().join(".quiz/rust-project.json")).unwrap();
    let project: serde_json::Value = serde_json::from_str(&text).unwrap();
    let crates = project["crates"].as_array().unwrap();
    let names: Vec<&str> = crates.iter().filter_map(|one| one["display_name"].as_str()).collect();
    assert!(["core", "kernel", "rust_minimal"].iter().all(|name| names.contains(name)), "{names:?}");
    for one in crates {
        let root = one["root_module"].as_str().unwrap();
        assert!(Path::new(root).is_file(), "{root}");
    }
}
