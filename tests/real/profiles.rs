//! What the shipped profiles that make block devices and pools promise, each seen to do it in a machine.

use super::{Real, kill};
use crate::project::Ran;
use std::io::Read;
use std::process::Stdio;

/// Shell functions of the guest's programs below.
const SHELL: &str = "set -eu\n\
    can_read() { dd if=$1 of=/dev/null bs=4096 count=1 skip=$2 iflag=direct 2>/dev/null; }\n\
    fail() { echo \"FAILED: $*\"; exit 1; }\n\
    now() { date +%s%3N; }\n";

impl Real {
    /// `quiz up` with these profiles, and a script with the functions of [`SHELL`].
    fn with(&self, profiles: &[&str], script: &str) -> Ran {
        self.run(&up(profiles, &format!("{SHELL}{script}")))
    }
}

fn up<'a>(profiles: &[&'a str], script: &'a str) -> Vec<&'a str> {
    let flags = profiles.iter().flat_map(|profile| ["-p", profile]);
    ["up"].into_iter().chain(flags).chain(["--", "sh", "-c", script]).collect()
}

#[test]
fn devices_of_every_kind_are_there_under_their_own_names() {
    let real = Real::new();
    let profiles = [
        "zfs",
        "blockdev:count=2,size=96M,format=qcow2",
        "memdev:count=1,size=64M",
        "nvme:count=3,size=128M",
        "scsi-debug:count=2,size=16M,sector-size=4096",
        "zoned:count=2,size=64M,zone-size=4M",
    ];
    let script = "cat /run/quiz/devices\n\
        for name in b1 m0 n2 s1 z1; do blockdev --getsize64 /dev/quiz$name; done\n\
        blockdev --getss /dev/quizs1\n\
        cat /sys/block/$(basename $(readlink -f /dev/quizz1))/queue/zoned\n\
        test $(cat /sys/block/$(basename $(readlink -f /dev/quizn2))/device/serial) = quizn2\n\
        # Whole disks, which get partitions: their numbers are not known before.\n\
        zpool create t mirror quizn0 quizn1 && zpool create u quizb0 && zpool list -Ho health t u\n";
    let ran = real.with(&profiles, script);
    assert_eq!(ran.status, Some(0), "{ran:?}");
    let lines: Vec<&str> = ran.out.lines().collect();
    let names = ["b0", "b1", "m0", "n0", "n1", "n2", "s0", "s1", "z0", "z1"].map(|name| format!("/dev/quiz{name}"));
    assert_eq!(lines[..10], names, "{ran:?}");
    let sizes = [96, 64, 128, 16, 64].map(|mib: u64| (mib << 20).to_string());
    assert_eq!(lines[10..15], sizes);
    assert_eq!(lines[15..], ["4096", "host-managed", "ONLINE", "ONLINE"]);
}

#[test]
fn what_stands_on_devices_stacks_in_the_order_of_the_names_and_does_what_it_says() {
    let real = Real::new();
    let profiles = [
        "error:offset=8M,size=1M",
        "memdev:count=3,size=32M",
        "dust",
        "crypt",
        "md:level=5",
        "delay:ms=400",
        "flakey:up=1,down=3600",
    ];
    let script = "cat /run/quiz/devices\n\
        lsblk -nso NAME /dev/quizf0 | tr -dc 'a-z0-9\\n' | paste -sd ' '\n\
        grep -q '^md0 : active raid5' /proc/mdstat\n\
        can_read /dev/quize0 2047 || fail 'before the region'\n\
        can_read /dev/quize0 2304 || fail 'behind the region'\n\
        ! can_read /dev/quize0 2048 || fail 'no error at its begin'\n\
        ! can_read /dev/quize0 2303 || fail 'no error at its end'\n\
        can_read /dev/quize1 2048 || fail 'another device has one'\n\
        from=$(now); can_read /dev/quizd0 0; test $(($(now) - from)) -ge 400 || fail 'not slow'\n\
        sleep 1; ! can_read /dev/quizf0 0 || fail 'not flakey'\n\
        magic() { dd if=$1 bs=4 skip=1024 count=1 2>/dev/null | od -An -tx4; }\n\
        test $(magic /dev/quizc0) = a92b4efc || fail 'no array on what is decrypted'\n\
        test $(magic /dev/quizu0) != a92b4efc || fail 'not encrypted'\n\
        dmsetup message quizu0 0 addbadblock 5; can_read /dev/quizu0 5 || fail 'not told yet'\n\
        dmsetup message quizu0 0 enable; ! can_read /dev/quizu0 5 || fail 'not bad'\n\
        dd if=/dev/zero of=/dev/quizu0 bs=4096 seek=5 count=1 oflag=direct 2>/dev/null\n\
        can_read /dev/quizu0 5 || fail 'still bad'\n";
    let ran = real.with(&profiles, script);
    assert_eq!(ran.status, Some(0), "{ran:?}");
    let mut lines = ran.out.lines();
    assert_eq!(lines.next(), Some("/dev/quizf0"), "{ran:?}");
    let below = lines.next().unwrap();
    assert!(below.starts_with("quizf0 quizd0 md0 quizc0 quizu0 quize0 ram0 quizc1 quizu1 quize1 ram1"), "{below}");
}

#[test]
fn a_scrub_finds_what_error_injects() {
    let real = Real::new();
    let script = "head -c 40M /dev/urandom >/tank/data; zpool sync; zpool scrub -w tank; zpool status -p tank\n\
        dmsetup resume quize0; zpool scrub -w tank; zpool status -p tank\n";
    let ran = real.with(&["memdev:count=2", "error:later,offset=8M,size=16M", "pool:layout=mirror"], script);
    assert_eq!(ran.status, Some(0), "{ran:?}");
    let errors = |name: &str| -> Vec<Vec<u64>> {
        let rows = ran.out.lines().filter(|line| line.trim_start().starts_with(name));
        rows.map(|row| row.split_whitespace().skip(2).take(3).map(|n| n.parse().unwrap()).collect()).collect()
    };
    assert_eq!(errors("quize1"), [[0, 0, 0], [0, 0, 0]], "{ran:?}");
    let [before, after] = &errors("quize0")[..] else { panic!("{ran:?}") };
    assert_eq!(*before, [0, 0, 0], "{ran:?}");
    assert!(after[0] > 0, "the scrub read no bad blocks: {ran:?}");
    assert_eq!(ran.out.matches("errors: No known data errors").count(), 2, "{ran:?}");
}

#[test]
fn a_pool_on_persistent_disks_survives_its_machines_however_they_end() {
    let real = Real::new();
    let profiles = ["blockdev:count=2,size=256M,persistent", "pool:layout=mirror"];
    let made = real.with(&profiles, "seq 1000000 >/tank/data; sha256sum </tank/data\n");
    assert_eq!(made.status, Some(0), "{made:?}");
    let script = "sha256sum </tank/data; n=0; while :; do n=$((n + 1)); cat /tank/data >/tank/more$((n % 9)); done";
    let mut child = real.command(&up(&profiles, script)).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let mut said = vec![0; made.out.len()];
    child.stdout.as_mut().unwrap().read_exact(&mut said).unwrap();
    assert_eq!(String::from_utf8(said).unwrap(), made.out, "the next run has another pool");
    // Meanwhile nobody else can have the disks.
    let other = real.with(&profiles, "true\n");
    assert_eq!(other.status, Some(125), "{other:?}");
    other.says(&["quizb0.raw is in use by run 2", "end that machine, or leave out `persistent`"]);
    std::thread::sleep(std::time::Duration::from_secs(2));
    let machines = real.machines();
    assert_eq!(machines.len(), 1);
    kill(machines[0], "-KILL");
    let killed = Ran::from(child.wait_with_output().unwrap());
    assert_eq!(killed.status, Some(125), "{killed:?}");
    let after = real.with(&profiles, "zpool scrub -w tank; zpool status tank; ls /tank; sha256sum </tank/data\n");
    assert_eq!(after.status, Some(0), "{after:?}");
    assert!(after.out.contains("repaired 0B") && after.out.contains("with 0 errors"), "{after:?}");
    assert!(after.out.contains("errors: No known data errors") && after.out.ends_with(&made.out), "{after:?}");
}

#[test]
fn with_udev_devices_keep_their_names_and_have_those_of_a_distribution() {
    let real = Real::new();
    let profiles = ["nvme:count=1,size=256M", "udev", "memdev:count=1", "blockdev:count=1", "crypt", "pool"];
    let script = "udevadm settle\n\
        zpool list -vHP tank | grep -o '/dev/quiz[a-z0-9]*'\n\
        test $(readlink -f /dev/disk/by-id/nvme-*_quizn0) = $(readlink -f /dev/quizn0)\n\
        test $(readlink -f /dev/mapper/quizc1) = $(readlink -f /dev/quizc1)\n\
        udevadm info --query=property --name=/dev/quizc1 | grep '^DM_NAME='\n\
        zpool destroy tank; udevadm settle; dmsetup remove --retry quizc0; zpool create t quizn0; udevadm settle\n\
        zpool list -vHP t | grep -o '/dev/quiz[a-z0-9]*'\n\
        test $(readlink -f /dev/disk/by-partlabel/zfs-*) = $(readlink -f /dev/quizn0p1)\n";
    let ran = real.with(&profiles, script);
    assert_eq!(ran.status, Some(0), "{ran:?}");
    let lines = ["/dev/quizc0", "/dev/quizc1", "/dev/quizc2", "DM_NAME=quizc1", "/dev/quizn0p1"];
    assert_eq!(ran.out.lines().collect::<Vec<_>>(), lines, "{ran:?}");
}

#[test]
fn a_hook_that_fails_is_125_with_its_profile_line_and_status_and_the_words_of_what_failed() {
    let real = Real::new();
    let few = real.with(&["pool:layout=raidz3", "memdev:count=2"], "true\n");
    assert_eq!(few.status, Some(125), "{few:?}");
    few.says(&["the hook of the profile pool, line ", "status 1", "raidz3 requires at least 4 devices"]);
    real.0.write(".quiz/profiles/mine/profile.toml", "about = \"x\"\n");
    real.0.write(".quiz/profiles/mine/init", "#!/bin/sh\nset -e\necho so far >&2\n(exit 7)\necho too far >&2\n");
    let mine = real.with(&["mine"], "echo ran\n");
    assert_eq!((mine.status, mine.out.as_str()), (Some(125), ""), "{mine:?}");
    mine.says(&["the hook of the profile mine, line 4: status 7", "so far"]);
    assert_eq!(mine.count("too far"), 0, "{mine:?}");
}

#[test]
fn a_symbol_that_this_kernel_lacks_is_named_with_the_profile_that_asks_for_it() {
    let real = Real::new();
    let text = "about = \"x\"\nkernel = [\"CONFIG_QUIZ_FLUX=y\", \"CONFIG_BLK_DEV_LOOP=y\"]\n";
    real.0.write(".quiz/profiles/flux/profile.toml", text);
    let ran = real.run(&["-p", "flux", "up", "--", "true"]);
    assert_eq!(ran.status, Some(125), "{ran:?}");
    ran.says(&[
        "CONFIG_QUIZ_FLUX is not a symbol of this kernel",
        "CONFIG_QUIZ_FLUX=y is asked for by the profile flux",
    ]);
    assert_eq!(ran.count("BLK_DEV_LOOP"), 0, "{ran:?}");
}
