//! What takes longer: only `tests/run --full` runs these.

mod crowd;
mod debugger;
mod filesystems;
mod opened;

use super::{Real, die};
use crate::project::Ran;
use std::collections::BTreeSet;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{SystemTime, UNIX_EPOCH};

/// The digests of a stage's outputs, made from nothing in this cache.
fn digests(real: &Real, stage: &str, cache: &Path) -> serde_json::Value {
    let status = real.command(&["build", stage]).env("QUIZ_CACHE_DIR", cache).status().unwrap();
    assert!(status.success(), "{status}");
    let output = real.command(&["--json", "graph"]).env("QUIZ_CACHE_DIR", cache).output().unwrap();
    let all: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    let found = all.as_array().unwrap().iter().find(|s| s["stage"] == stage).unwrap().clone();
    assert_eq!(found["state"], "cached");
    found["outputs"].clone()
}

#[test]
#[ignore = "takes 20 minutes: tests/run --full"]
fn a_kernel_and_a_root_from_nothing_are_the_same_bytes_in_two_caches() {
    let real = Real::new();
    let [one, two] = [tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap()];
    for stage in ["rootfs", "kernel"] {
        assert_eq!(digests(&real, stage, one.path()), digests(&real, stage, two.path()), "{stage}");
    }
}

#[test]
#[ignore = "starts thirty machines: tests/run --full"]
fn the_report_on_kvm_finds_nothing_else_wrong_with_a_host_that_has_none() {
    let ran = Real::new().run(&["doctor", "--kvm"]);
    let (mut failed, mut well) = (Vec::new(), 0);
    for line in ran.out.lines() {
        if let Some(what) = line.strip_prefix("FAIL  ") {
            failed.push(what);
        }
        well += usize::from(line.starts_with("ok    "));
    }
    let kvm = failed.is_empty();
    assert!(kvm || (failed.len() == 1 && failed[0].starts_with("KVM is there: ")), "{ran:?}");
    assert_eq!((well + failed.len(), ran.status), (10, Some(i32::from(!kvm))), "{ran:?}");
}

#[test]
#[ignore = "makes a root from nothing: tests/run --full"]
fn two_at_once_on_an_empty_cache_make_each_stage_once() {
    let real = Real::new();
    let cache = tempfile::tempdir().unwrap();
    let start = || {
        let mut command = real.command(&["build", "rootfs"]);
        command.env("QUIZ_CACHE_DIR", cache.path()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
    };
    let runs: Vec<Ran> = [start(), start()].map(|child| Ran::from(child.wait_with_output().unwrap())).into();
    for ran in &runs {
        assert_eq!(ran.status, Some(0), "{ran:?}");
    }
    for stage in ["rootfs-packages", "rootfs"] {
        let made: usize = runs.iter().map(|ran| ran.count(&format!("Made {stage} in"))).sum();
        assert_eq!(made, 1, "{stage}: {runs:?}");
    }
    assert_eq!(runs[0].out, runs[1].out);
}

/// With users, a capability and setuid programs that the packages' own scripts make.
const OWNED: &str = "dbus iputils-ping libcap2-bin openssh-server";

/// Files of the root belong to several users. An ordinary user, who may have one user id only, can make it all the same.
#[test]
#[ignore = "makes a root from nothing as other users, whom tests/run --full adds"]
fn ordinary_users_with_and_without_further_ids_make_the_same_root_as_root() {
    let real = Real::new();
    let users = ["ROOTLESS_USER", "SUBUID_USER"]
        .map(|name| std::env::var(name).unwrap_or_else(|_| panic!("{name} names a user, whom root has added")));
    let ids = std::fs::read_to_string("/etc/subuid").unwrap_or_default();
    assert_eq!(users.each_ref().map(|user| ids.contains(&format!("{user}:"))), [false, true], "{ids}");
    let digest = |command: &mut Command| {
        let ran = Ran::from(command.env("QUIZ_ROOTFS_PACKAGES", OWNED).output().unwrap());
        assert_eq!(ran.status, Some(0), "{ran:?}");
        ran.out.trim().rsplit("objects/").next().unwrap().replace('/', "")
    };
    let root = tempfile::tempdir().unwrap();
    let mine = digest(real.command(&["build", "rootfs"]).env("QUIZ_CACHE_DIR", root.path()));
    for user in users {
        let home = tempfile::tempdir().unwrap();
        let config = home.path().join("config/quiz");
        std::fs::create_dir_all(&config).unwrap();
        std::fs::copy(super::cache().join("tests/quiz/quiz.lock"), config.join("quiz.lock")).unwrap();
        let quiz = home.path().join("quiz");
        std::fs::copy(env!("CARGO_BIN_EXE_quiz"), &quiz).unwrap();
        let status = Command::new("chown").args(["-R", &user]).arg(home.path()).status().unwrap();
        assert!(status.success());
        let mut as_user = Command::new("runuser");
        as_user.args(["-u", &user, "--", "env", "-i", "PATH=/usr/bin:/bin:/usr/sbin:/sbin"]);
        as_user.arg(format!("QUIZ_ROOTFS_PACKAGES={OWNED}"));
        as_user.arg(format!("HOME={}", home.path().display()));
        as_user.arg(format!("XDG_CONFIG_HOME={}", home.path().join("config").display()));
        as_user.arg(quiz).args(["build", "rootfs"]).current_dir(home.path());
        assert_eq!(digest(&mut as_user), mine, "{user}");
    }
    // What is equal is right, too.
    let script = "getcap /usr/bin/ping; getent passwd _apt messagebus sshd | cut -d: -f1
        stat -c '%U:%G %a' /usr/bin/su /usr/lib/dbus-1.0/dbus-daemon-launch-helper /var/mail";
    let mut up = real.command(&["-k", "package", "up", "--", "sh", "-c", script]);
    let ran = Ran::from(up.env("QUIZ_ROOTFS_PACKAGES", OWNED).output().unwrap());
    let found: Vec<&str> = ran.out.lines().collect();
    let helper = "root:messagebus 4754";
    let wanted =
        ["/usr/bin/ping cap_net_raw=ep", "_apt", "messagebus", "sshd", "root:root 4755", helper, "root:mail 2775"];
    assert_eq!((ran.status, &found[..]), (Some(0), &wanted[..]), "{ran:?}");
}

/// Another line of the kernel's config is another kernel, and nothing to the user land of OpenZFS.
#[test]
#[ignore = "builds a second kernel: tests/run --full"]
fn for_another_kernel_only_the_modules_of_openzfs_are_built() {
    let real = Real::new();
    assert_eq!(real.run(&["-p", "zfs", "build"]).status, Some(0));
    let line = "CONFIG_LOCALVERSION=\"-other\"";
    let script = "uname -r; cat /sys/module/zfs/version";
    let ran = real.run(&["-v", "-p", "zfs", "--config", line, "up", "--", "sh", "-c", script]);
    assert_eq!(ran.status, Some(0), "{ran:?}");
    assert!(ran.out.lines().next().unwrap().ends_with("-other"), "{ran:?}");
    for stage in ["zfs-autogen", "zfs-configure-user", "zfs-user", "rootfs"] {
        assert_eq!((ran.count(&format!("Cached {stage}")), ran.count(&format!("Making {stage},"))), (1, 0), "{stage}");
    }
    assert_eq!(ran.count("Made zfs-modules in"), 1, "{}", ran.err);
}

#[test]
#[ignore = "builds a kernel that checks itself, and OpenZFS for it: tests/run --full"]
fn on_the_debug_kernel_a_use_after_free_is_123_with_its_function_and_openzfs_runs_under_lockdep() {
    let real = Real::new();
    die::share(&real, &die::build_module(&real, &["-p", "debug"]));
    let ran = real.run(&["-p", "debug", "up", "--", "insmod", "/shared/t.ko", "what=use-after-free"]);
    assert_eq!(ran.status, Some(123), "{ran:?}");
    ran.says(&["BUG: KASAN: ", "use-after-free in quiz_test_use_after_free", "Freed by task"]);
    assert_eq!(real.run(&["-p", "debug", "up", "--", "insmod", "/shared/t.ko"]).status, Some(0));
    // The modules are loaded; with the first pool lockdep has something to say about OpenZFS, and is silent from then on.
    let script = "modinfo -F license zfs && cat /proc/lockdep_stats && zpool create t quizm0 && zpool status t";
    let mut up = real.command(&["-p", "debug", "-p", "zfs", "-p", "memdev", "up", "--", "sh", "-c", script]);
    // It edits nothing, so it needs no copy.
    let tree = std::env::var_os("QUIZ_TEST_ZFS").map(|folder| ("QUIZ_ZFS_SOURCE", folder));
    let ran = Ran::from(up.envs(tree).output().unwrap());
    assert_eq!(ran.status, Some(0), "{ran:?}");
    let debug_locks = ran.out.lines().find_map(|line| line.trim().strip_prefix("debug_locks:")).unwrap().trim();
    assert!(ran.out.contains("state: ONLINE") && ran.out.starts_with("GPL\n") && debug_locks == "1", "{ran:?}");
}

#[test]
#[ignore = "builds a kernel with BTF, and a root with LLVM: tests/run --full"]
fn with_the_profile_perf_perf_counts_bpftrace_runs_and_a_kprobe_fires() {
    let real = Real::new();
    let up = |script: &str| real.run(&["-p", "perf", "up", "--", "sh", "-ec", script]);
    let ran = up("perf stat true");
    assert_eq!(ran.status, Some(0), "{ran:?}");
    ran.says(&["Performance counter stats for 'true'", "task-clock"]);
    // The kernel's own types without its headers: out of BTF.
    let comm = "kprobe:do_nanosleep { printf(\"%s\\n\", ((struct task_struct *)curtask)->comm); exit(); }";
    let ran = up(&format!("bpftrace -e 'BEGIN {{ exit(); }}'; bpftrace -c '/bin/sleep 0.1' -e '{comm}'"));
    assert_eq!(ran.status, Some(0), "{ran:?}");
    assert!(ran.out.lines().any(|line| line == "sleep"), "{ran:?}");
    let script = "cd /sys/kernel/tracing; echo 'p:quiz do_sys_openat2' >kprobe_events
        echo 1 >events/kprobes/quiz/enable; cat /etc/hostname; grep 'quiz: (do_sys_openat2' trace";
    let ran = up(script);
    assert_eq!(ran.status, Some(0), "{ran:?}");
}

#[test]
#[ignore = "500 machines: tests/run --full"]
fn five_hundred_restores_in_a_row_are_all_right_and_each_one_its_own() {
    let real = Real::new();
    let id = "uname -n; cat /etc/machine-id; head -c 16 /dev/urandom | od -An -tx8; date +%s";
    let programs: [(&[&str], &str, i32); 4] = [
        (&["-p", "zfs"], "zpool status; exit 3", 3),
        (&[], "echo restored; exit 7", 7),
        (&["-p", "zfs"], "truncate -s 64M /tmp/f && zpool create t /tmp/f && zpool get -Hpo value guid t", 0),
        (&[], "cat /proc/uptime >/out/uptime", 0),
    ];
    let mut seen = BTreeSet::new();
    let mut restored = 0;
    for n in 0..500 {
        let (profiles, program, status) = programs[n % programs.len()];
        let script = format!("{id}; {program}");
        let ran = real.run(&[profiles, &["up", "--", "sh", "-c", &script]].concat());
        assert_eq!(ran.status, Some(status), "run {n}: {ran:?}");
        let lines: Vec<&str> = ran.out.lines().collect();
        // Host name, machine-id and random numbers; of a pool its GUID, too.
        let own = lines[..3].iter().chain(lines.get(4).filter(|_| program.contains("guid")));
        assert!(own.clone().all(|line| seen.insert((*line).to_owned())), "run {n}: {ran:?}");
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs();
        assert!(now.abs_diff(lines[3].parse().unwrap()) <= 2, "the clock of run {n}: {ran:?}");
        match n % programs.len() {
            0 => assert_eq!(ran.count("no pools available"), 1, "run {n}: {ran:?}"),
            1 => assert_eq!(lines[4], "restored", "run {n}: {ran:?}"),
            2 => assert_eq!(lines.len(), 5, "run {n}: {ran:?}"),
            _ => assert!(real.run_folder().join("out/uptime").exists(), "run {n}: {ran:?}"),
        }
        restored += ran.count("Restoring");
        assert_eq!(real.machines(), Vec::<u32>::new(), "after run {n}");
    }
    // Each of the two machines booted at most once, in the first round.
    assert!(restored >= 498, "only {restored} were restored");
}

/// What a hook does, and the status when it comes to that; a program that is reached ends with 7.
const HOOKS: [(&str, i32); 7] = [
    ("true", 7),
    ("head -c 100000 /dev/urandom >/var/tmp/hook", 7),
    ("sleep 0.3", 7),
    ("ls /no/such/file", 125),
    ("echo c >/proc/sysrq-trigger; sleep 60", 123),
    ("echo b >/proc/sysrq-trigger; sleep 60", 122),
    ("poweroff -f || echo o >/proc/sysrq-trigger; sleep 60", 122),
];

/// Machines that go on from a base and from a full snapshot, in any order, each with a hook before it is saved and one after it.
#[test]
#[ignore = "500 machines: tests/run --full"]
fn five_hundred_restores_with_random_hooks_are_each_told_as_they_went() {
    let real = Real::new();
    let append = format!("quiz-test={}", super::new_word());
    // xorshift64*; each run of this test has the same order.
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let mut roll = |sides: usize| {
        state ^= state >> 12;
        state ^= state << 25;
        state ^= state >> 27;
        usize::try_from(state.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 33).unwrap() % sides
    };
    real.0.write(".quiz/profiles/t/profile.toml", "about = \"a test\"\n");
    let mut restored = 0;
    for n in 0..500 {
        // Most are well, so that there is something to restore.
        let mut pick = |well: usize| if roll(3) == 0 { roll(HOOKS.len()) } else { roll(well) };
        let (init, wake) = (HOOKS[pick(3)], HOOKS[pick(2)]);
        let image = roll(3);
        for (name, hook) in [("init", init), ("wake", wake)] {
            let text = format!("#!/bin/sh\nset -e # {image}\n{}\n", hook.0);
            real.0.write(&format!(".quiz/profiles/t/{name}"), &text);
        }
        let wanted = if init.1 == 7 { wake.1 } else { init.1 };
        let script = "cat /proc/sys/kernel/random/boot_id; uname -n; exit 7";
        let ran = real.run(&["-p", "t", "up", "--append", &append, "--", "sh", "-c", script]);
        assert_eq!(ran.status, Some(wanted), "run {n}, {init:?}, {wake:?}: {ran:?}");
        match wanted {
            7 => assert!(ran.out.ends_with(&format!("quiz-{}\n", n + 1)) && ran.out.len() > 37, "run {n}: {ran:?}"),
            125 => drop(ran.says(&["the hook of the profile t, line 3: status 2: ls /no/such/file"])),
            _ => assert_eq!(ran.out, "", "run {n}, {init:?}, {wake:?}: {ran:?}"),
        }
        restored += ran.count("Restoring");
        // It is never tried twice.
        assert_eq!(ran.count("Restoring") + ran.count("Booting"), 1, "run {n}: {ran:?}");
        assert_eq!(real.machines(), Vec::<u32>::new(), "after run {n}");
    }
    assert!(restored >= 490, "only {restored} were restored");
}

#[test]
#[ignore = "builds the kernels of debug and perf: tests/run --full"]
fn exec_attach_and_a_share_work_in_a_machine_of_each_shipped_profile() {
    let real = Real::new();
    real.0.write("tree/file", "shared\n");
    let folders = std::fs::read_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join("profiles")).unwrap();
    let mut names: Vec<String> = folders.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    // These are for trees of OpenZFS that have unit tests, and for kernels that take the suite's Rust: those here do not.
    names.retain(|name| !["zunit", "rust"].contains(&name.as_str()));
    assert!(names.len() >= 22, "{names:?}");
    let quiz = env!("CARGO_BIN_EXE_quiz");
    for name in &names {
        let up = real.run(&["-p", name, "up", "--share", "tree", "--detach"]);
        assert_eq!(up.status, Some(0), "{name}: {up:?}");
        let ran = real.run(&["exec", "--cwd", "tree", "--", "sh", "-c", "cat file; echo from the guest >back; exit 9"]);
        assert_eq!((ran.status, ran.out.as_str()), (Some(9), "shared\n"), "{name}: {ran:?}");
        assert_eq!(std::fs::read_to_string(real.0.dir().join("tree/back")).unwrap(), "from the guest\n", "{name}");
        let ran = real.on_a_terminal(&format!("{quiz} attach -- sh -c 'tty; exit 7'"));
        assert_eq!(ran.status, Some(7), "{name}: {ran:?}");
        assert!(ran.out.contains("/dev/pts/"), "{name}: {ran:?}");
        real.run(&["stop"]);
        assert_eq!(real.run(&["wait"]).status, Some(143), "{name}");
    }
}

#[test]
#[ignore = "compiles a kernel once more: tests/run --full"]
fn a_kernels_debug_information_is_of_that_kernel_and_has_its_id() {
    let real = Real::new();
    let ran = real.run(&["build", "kernel", "kernel-debug"]);
    assert_eq!(ran.status, Some(0), "{ran:?}");
    let output = |name: &str| {
        let line = ran.out.lines().find(|line| line.starts_with(&format!("{name} "))).unwrap();
        Path::new(line.split_once(' ').unwrap().1).to_owned()
    };
    let read = |words: &[&str], file: &Path| {
        let output = Command::new("readelf").args(words).arg(file).output().unwrap();
        String::from_utf8(output.stdout).unwrap()
    };
    let id = |file: &Path| {
        let notes = read(&["-n"], file);
        notes.split_once("Build ID: ").unwrap().1.lines().next().unwrap().to_owned()
    };
    let (image, symbols) = (output("kernel/image").join("vmlinux"), output("kernel-debug/symbols"));
    let debug = symbols.join("vmlinux");
    assert!(read(&["-SW"], &debug).contains(".debug_info") && !read(&["-SW"], &image).contains(".debug_info"));
    assert_eq!(id(&debug), id(&image));
    let lines = Command::new("addr2line").arg("-fe").arg(&debug).arg(entry(&read(&["-sW"], &debug))).output().unwrap();
    let lines = String::from_utf8(lines.stdout).unwrap();
    assert!(lines.starts_with("sysrq_handle_crash\n") && lines.contains("/drivers/tty/sysrq.c:"), "{lines}");
}

/// The address of a function that each kernel of quiz has.
fn entry(symbols: &str) -> String {
    let line = symbols.lines().find(|line| line.ends_with(" sysrq_handle_crash")).unwrap();
    line.split_whitespace().nth(1).unwrap().to_owned()
}
