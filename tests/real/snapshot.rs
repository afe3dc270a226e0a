//! A machine that booted once is restored: each one is a machine of its own, and a snapshot that is no good is never an error.

use super::{Real, new_word};
use crate::project::Ran;
use serde_json::Value;
use std::collections::BTreeSet;
use std::fs::File;
use std::io::Write;
use std::os::unix::fs::FileExt;
use std::path::PathBuf;
use std::process::{Child, Stdio};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

impl Real {
    /// Runs a script in a machine that no other test has.
    pub(super) fn up(&self, word: &str, script: &str) -> Ran {
        self.run(&["up", "--append", &format!("quiz-test={word}"), "--", "sh", "-c", script])
    }
}

/// The folders of the snapshots of machines whose kernel was given this word.
pub(super) fn snapshots(word: &str) -> Vec<PathBuf> {
    let list = |path: PathBuf| std::fs::read_dir(path).into_iter().flatten().map(|entry| entry.unwrap().path());
    let is_ours =
        |path: &PathBuf| std::fs::read_to_string(path.join("console.log")).is_ok_and(|log| log.contains(word));
    list(super::cache().join("passing")).flat_map(list).filter(is_ours).collect()
}

fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs()
}

#[test]
fn restored_machines_share_nothing_that_has_to_be_ones_own() {
    let real = Real::new();
    let word = new_word();
    let script = "uname -n; cat /etc/machine-id /proc/sys/kernel/random/boot_id; head -c 16 /dev/urandom | od -An -tx8; \
                  date +%s; ls -d /out /shared; getent hosts $(uname -n); echo $$ >/out/pid";
    let mut seen = BTreeSet::new();
    for n in 1..=4 {
        let ran = real.up(&word, script);
        assert_eq!((ran.status, ran.count("Restoring")), (Some(0), usize::from(n > 1)), "run {n}: {ran:?}");
        let lines: Vec<&str> = ran.out.lines().collect();
        assert_eq!((lines[0], lines[5], lines[6]), (format!("quiz-{n}").as_str(), "/out", "/shared"));
        assert_eq!(lines[7].split_whitespace().collect::<Vec<_>>(), ["127.0.1.1", lines[0]]);
        assert!(lines[1..4].iter().all(|line| line.len() > 30 && seen.insert((*line).to_owned())), "{ran:?}");
        assert!(now().abs_diff(lines[4].parse().unwrap()) <= 2, "the clock of run {n}: {ran:?}");
        assert!(real.run_folder().join("out/pid").exists());
        let log = std::fs::read_to_string(real.run_folder().join("console.log")).unwrap();
        assert!(log.contains("Linux version"), "what the kernel said when it booted: {log}");
    }
    assert_eq!(real.machines(), Vec::<u32>::new());
}

#[test]
fn no_two_restored_machines_give_a_pool_the_same_guid() {
    let real = Real::new();
    let run = || {
        let script = "zpool create -O mountpoint=none t quizm0 && zpool create -O mountpoint=none u quizm1 && \
                      zdb -C t u | grep guid; zpool get -Hp -o value guid,load_guid t u";
        let ran = real.run(&["-p", "zfs", "-p", "memdev", "up", "--", "sh", "-c", script]);
        assert_eq!(ran.status, Some(0), "{ran:?}");
        ran
    };
    run();
    let mut seen = BTreeSet::new();
    for n in 0..20 {
        let ran = run();
        assert_eq!(ran.count("Restoring"), 1, "{ran:?}");
        let numbers: BTreeSet<&str> = ran.out.lines().filter(|l| !l.contains("guid")).collect();
        assert_eq!(numbers.len(), 4, "{ran:?}");
        assert!(numbers.iter().all(|number| seen.insert((*number).to_owned())), "machine {n}: {ran:?}");
    }
}

/// Pools that a hook made in two machines from one base are two pools, to a third machine as well.
#[test]
fn pools_of_two_clones_are_imported_side_by_side() {
    let real = Real::new();
    let made = |disk: &str| {
        // The pool is on a disk that is copied to a file of the host's.
        let script = format!("zpool export tank && dd if=/dev/quizm0 of=/shared/{disk} bs=1M conv=sparse 2>/dev/null");
        let ran = real.run(&["-p", "memdev:count=1,size=64M", "-p", "pool", "up", "--", "sh", "-c", &script]);
        assert_eq!(ran.status, Some(0), "{ran:?}");
        ran
    };
    made("a");
    assert_eq!(made("b").count("Restoring"), 1);
    assert_eq!(made("c").count("Restoring"), 1);
    let script = "modprobe loop; for n in b c; do cp /shared/$n /tmp/$n && losetup -f /tmp/$n || exit 1; done; \
                  set -- -d /dev/loop0 -d /dev/loop1; \
                  for id in $(zpool import $@ | sed -n 's/^ *id: //p'); do zpool import $@ $id p$id || exit 1; done; \
                  zpool list -Ho health";
    let ran = real.run(&["-p", "zfs", "up", "--", "sh", "-c", script]);
    assert_eq!((ran.status, ran.out.as_str()), (Some(0), "ONLINE\nONLINE\n"), "{ran:?}");
}

#[test]
fn a_snapshot_that_is_damaged_is_noticed_and_replaced() {
    let real = Real::new();
    let damages: [fn(&PathBuf); 4] = [
        |path| File::options().write(true).open(path.join("memory")).unwrap().set_len(4096).unwrap(),
        |path| File::options().write(true).open(path.join("memory")).unwrap().write_all_at(b"x", 1 << 20).unwrap(),
        |path| File::options().write(true).open(path.join("state")).unwrap().write_all_at(b"x", 9999).unwrap(),
        |path| std::fs::remove_file(path.join("state")).unwrap(),
    ];
    let word = new_word();
    let first = real.up(&word, "exit 7");
    assert_eq!((first.status, first.count("Booting")), (Some(7), 1), "{first:?}");
    let ours = snapshots(&word);
    assert_eq!(ours.len(), 2, "one of the kernel and one of the whole: {ours:?}");
    for (n, damage) in damages.iter().enumerate() {
        ours.iter().for_each(damage);
        let ran = real.up(&word, "exit 7");
        assert_eq!((ran.status, ran.count("Booting")), (Some(7), 1), "damage {n}: {ran:?}");
        let ran = real.up(&word, "exit 7");
        assert_eq!((ran.status, ran.count("Restoring")), (Some(7), 1), "damage {n}: {ran:?}");
    }
}

#[test]
fn an_edited_image_goes_on_from_the_kernel_of_the_one_before() {
    let real = Real::new();
    let profile = |word: &str| {
        real.0.write(".quiz/profiles/t/profile.toml", "about = \"a test\"\n");
        // The layer has another size each time, which the kernel has to notice.
        real.0.write(".quiz/profiles/t/files/etc/large", &word.repeat(100_000));
        real.0.write(".quiz/profiles/t/init", &format!("#!/bin/sh\necho {word} >/etc/word\n"));
    };
    real.0.write("quiz.toml", &format!("[machine]\nappend = [\"quiz-test={}\"]\n", new_word()));
    let run = || {
        let ran = real.run(&["-v", "-p", "t", "up", "--", "sh", "-c", "cat /etc/word; wc -c </etc/large; uname -n"]);
        assert_eq!(ran.status, Some(0), "{ran:?}");
        ran
    };
    // What `quiz graph` says of the full one and of the base.
    let states = || {
        let graph: Value = serde_json::from_str(&real.run(&["--json", "-p", "t", "graph"]).out).unwrap();
        let stage = |name: &str| graph.as_array().unwrap().iter().find(|stage| stage["stage"] == name).unwrap().clone();
        ["snapshot", "snapshot:base"].map(|name| stage(name)["state"].as_str().unwrap().to_owned())
    };
    for n in 1..=3 {
        let word = "x".repeat(n) + &new_word();
        profile(&word);
        if n > 1 {
            assert_eq!(real.run(&["-p", "t", "build"]).status, Some(0));
            assert_eq!(states(), ["missing", "cached"]);
        }
        let wanted = |run: usize| format!("{word}\n{}\nquiz-{run}\n", word.len() * 100_000);
        let ran = run();
        assert_eq!(
            (ran.out.as_str(), ran.count("Booting")),
            (wanted(2 * n - 1).as_str(), usize::from(n == 1)),
            "{ran:?}"
        );
        assert_eq!(ran.count("for the next run"), 1, "{ran:?}");
        assert_eq!(states(), ["cached", "cached"]);
        let ran = run();
        assert_eq!((ran.out.as_str(), ran.count("Restoring")), (wanted(2 * n).as_str(), 1), "{ran:?}");
        assert_eq!(ran.count("saved"), 0, "{ran:?}");
    }
}

/// What a hook or a program can say of its machine: random numbers, boot_id, time, name.
const OWN: &str = "{ od -An -N16 -tx8 /dev/urandom; cat /proc/sys/kernel/random/boot_id; date +%s; uname -n; }";

#[test]
fn hooks_know_the_time_and_have_numbers_of_their_own_whatever_the_machine_goes_on_from() {
    let real = Real::new();
    let append = format!("quiz-test={}", new_word());
    let hook = |name: &str, comment: &str| {
        real.0.write(
            &format!(".quiz/profiles/t/{name}"),
            &format!("#!/bin/sh\nset -e\n{OWN} >>/run/seen # {name} {comment}\n"),
        );
    };
    real.0.write(".quiz/profiles/t/profile.toml", "about = \"a test\"\n");
    hook("wake", "");
    // The hooks before the machine is saved, those after it, and the program.
    let run = |comment: &str, started: &str| -> Vec<[String; 4]> {
        hook("init", comment);
        let before = now();
        let script = format!("{OWN} >>/run/seen; cat /run/seen");
        let ran = real.run(&["-p", "t", "up", "--append", &append, "--", "sh", "-c", &script]);
        assert_eq!((ran.status, ran.count(started)), (Some(0), 1), "{ran:?}");
        let lines: Vec<String> = ran.out.lines().map(str::to_owned).collect();
        let seen: Vec<[String; 4]> = lines.chunks(4).map(|lines| lines.to_vec().try_into().unwrap()).collect();
        assert_eq!(seen.len(), 3, "{ran:?}");
        assert_eq!(seen[1][1], seen[2][1], "one boot_id in one machine: {ran:?}");
        assert_eq!(seen[1][3], seen[2][3], "one name in one machine: {ran:?}");
        assert!(seen[1][2].parse::<u64>().unwrap() >= before, "the clock of a hook: {ran:?}");
        seen
    };
    let booted = run("one", "Booting");
    let restored = run("one", "Restoring");
    let grown = ["two", "three"].map(|comment| run(comment, "Restoring"));
    for machine in [&booted, &grown[0], &grown[1]] {
        assert_eq!(machine[0][1], machine[1][1], "one boot_id in one machine: {machine:?}");
        let apart = machine[1][2].parse::<u64>().unwrap() - machine[0][2].parse::<u64>().unwrap();
        assert!(apart <= 60, "the clock of a hook: {machine:?}");
    }
    assert_eq!(booted[0], restored[0], "that hook ran once for both");
    // All random numbers, and the boot_id of each.
    let all = [&booted[..], &restored[1..], &grown[0], &grown[1]].concat();
    let numbers: BTreeSet<&str> = all.iter().map(|seen| seen[0].as_str()).collect();
    assert_eq!(numbers.len(), 11, "{all:?}");
    let boots: BTreeSet<&str> = all.iter().map(|seen| seen[1].as_str()).collect();
    assert_eq!(boots.len(), 4, "{all:?}");
}

#[test]
fn a_hook_that_fails_after_the_restore_is_told_as_in_a_machine_that_boots() {
    let real = Real::new();
    let append = format!("quiz-test={}", new_word());
    real.0.write(".quiz/profiles/t/profile.toml", "about = \"a test\"\n");
    // Well the first time, so that there is something to restore.
    real.0.write(".quiz/profiles/t/wake", "#!/bin/sh\nset -e\n[ \"$(uname -n)\" = quiz-1 ]\n");
    let run = || real.run(&["-p", "t", "up", "--append", &append, "--", "true"]);
    assert_eq!(run().status, Some(0));
    let failed = run();
    assert_eq!((failed.status, failed.count("Restoring"), failed.count("Booting")), (Some(125), 1, 0), "{failed:?}");
    failed.says(&["the hook of the profile t, line 3: status 1: [ \"$(uname -n)\" = quiz-1 ]"]);
}

#[test]
fn a_hook_that_fails_leaves_the_kernels_snapshot_to_the_next_machine() {
    let real = Real::new();
    let append = format!("quiz-test={}", new_word());
    real.0.write(".quiz/profiles/t/profile.toml", "about = \"a test\"\n");
    let run = |hook: &str| {
        real.0.write(".quiz/profiles/t/init", &format!("#!/bin/sh\nset -e\n{hook}\n"));
        real.run(&["-p", "t", "up", "--append", &append, "--", "true"])
    };
    let word = new_word();
    let first = run(&format!("echo {word}"));
    assert_eq!((first.status, first.count("Booting")), (Some(0), 1), "{first:?}");
    let failed = run("false # second");
    assert_eq!(failed.status, Some(125), "{failed:?}");
    failed.says(&["the hook of the profile t, line 3: status 1: false"]);
    let mended = run(&format!("echo {word} mended"));
    assert_eq!((mended.status, mended.count("Restoring"), mended.count("Booting")), (Some(0), 1, 0), "{mended:?}");
}

#[test]
fn what_goes_into_a_restored_machine_comes_back_the_same() {
    let real = Real::new();
    real.sh("true");
    let data: Vec<u8> = (0_u32..25_000_000).flat_map(|n| n.wrapping_mul(2_654_435_761).to_le_bytes()).collect();
    let mut command = real.command(&["up", "--", "cat"]);
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let mut stdin = child.stdin.take().unwrap();
    let output = std::thread::scope(|scope| {
        let data = &data;
        scope.spawn(move || stdin.write_all(data).unwrap());
        child.wait_with_output().unwrap()
    });
    assert!(String::from_utf8_lossy(&output.stderr).contains("Restoring"));
    assert!(output.stdout == data, "{} bytes came back", output.stdout.len());
}

#[test]
fn many_that_want_the_same_machine_at_once_boot_it_once() {
    let real = Real::new();
    let word = new_word();
    let rans: Vec<Ran> = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..6)
            .map(|n| {
                scope.spawn({
                    let (real, word) = (&real, &word);
                    move || real.up(word, &format!("echo {n}"))
                })
            })
            .collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).collect()
    });
    for (n, ran) in rans.iter().enumerate() {
        assert_eq!((ran.status, ran.out.as_str()), (Some(0), format!("{n}\n").as_str()), "{ran:?}");
    }
    assert_eq!(rans.iter().map(|ran| ran.count("Booting")).sum::<usize>(), 1, "{rans:?}");
}

#[test]
fn a_kill_while_a_machine_is_saved_leaves_nothing_half_and_no_machine() {
    let real = Real::new();
    let word = new_word();
    let start = || -> Child {
        let word = format!("quiz-test={word}");
        let mut command = real.command(&["up", "--append", &word, "--", "true"]);
        command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap()
    };
    // Later each time, until one lives long enough to save its machine.
    for wait in (1..).map(|n| Duration::from_millis(150 * n)) {
        let mut child = start();
        let began = Instant::now();
        while began.elapsed() < wait && child.try_wait().unwrap().is_none() {
            std::thread::sleep(Duration::from_millis(5));
        }
        child.kill().unwrap();
        let finished = child.wait().unwrap().success();
        let gone = Instant::now();
        while !real.machines().is_empty() {
            assert!(gone.elapsed() < Duration::from_secs(5), "a machine stays");
            std::thread::sleep(Duration::from_millis(20));
        }
        if finished {
            break;
        }
    }
    let ran = real.up(&word, "exit 7");
    assert_eq!((ran.status, ran.count("Restoring")), (Some(7), 1), "{ran:?}");
}

#[test]
fn what_cannot_be_saved_boots_and_says_why() {
    let real = Real::new();
    for (args, why) in [
        (&["--qemu-arg=-device", "--qemu-arg=pvpanic"][..], "--qemu-arg"),
        (&["-p", "blockdev:count=1,size=64M,persistent"], "may change between two runs"),
    ] {
        for _ in 0..2 {
            let ran = real.run(&[&["-v", "up"], args, &["--", "true"]].concat());
            assert_eq!((ran.status, ran.count("Restoring")), (Some(0), 0), "{ran:?}");
            ran.says(&[why]);
        }
    }
    // A hook made something of its own, in memory or on a disk: the kernel need not boot again, but the hook runs each time.
    for (args, script, why) in [
        (["-p", "memdev", "-p", "pool"], "zpool get -Ho value guid", "makes a pool"),
        (["-p", "blockdev:count=2,size=64M", "-p", "md"], "mdadm --detail /dev/md0 | grep UUID", "was written"),
    ] {
        let ids: BTreeSet<String> = (0..3)
            .map(|_| {
                let ran = real.run(&[&["-v", "up"], &args[..], &["--", "sh", "-c", script]].concat());
                assert_eq!(ran.status, Some(0), "{ran:?}");
                ran.says(&["no snapshot", why]);
                ran.out
            })
            .collect();
        assert_eq!(ids.len(), 3, "{ids:?}");
    }
    for _ in 0..2 {
        let ran = real.run(&["up", "--no-snapshot", "--", "true"]);
        assert_eq!((ran.status, ran.count("Restoring")), (Some(0), 0), "{ran:?}");
    }
}
