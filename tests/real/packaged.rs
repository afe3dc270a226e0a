//! Kernels that the distribution compiled: nothing is built but an image, and everything else is as with those that are.

use super::Real;

#[test]
fn a_distributions_own_kernel_boots_is_restored_and_its_panic_is_one() {
    let real = Real::new();
    let script = "uname -r; modprobe dummy && ls /sys/module/dummy; echo out >/out/x; cat /shared/in; exit 7";
    real.0.write(".quiz/shared/in", "shared\n");
    let up = ["-k", "package", "up", "--", "sh", "-c", script];
    let first = real.run(&up);
    let release = first.out.lines().next().unwrap_or_default();
    assert!(release.ends_with("-amd64"), "{first:?}");
    for ran in [&first, &real.run(&up)] {
        assert_eq!(ran.status, Some(7), "{ran:?}");
        assert!(ran.out.starts_with(release) && ran.out.ends_with("shared\n"), "{ran:?}");
        assert_eq!(std::fs::read_to_string(real.run_folder().join("out/x")).unwrap(), "out\n");
    }
    let cold =
        real.run(&["-k", "package", "up", "--no-snapshot", "--", "sh", "-c", "echo c >/proc/sysrq-trigger; sleep 60"]);
    assert_eq!(cold.status, Some(123), "{cold:?}");
    let restored = real.run(&["-k", "package", "up", "--", "sh", "-c", "echo c >/proc/sysrq-trigger; sleep 60"]);
    assert_eq!(restored.status, Some(123), "{restored:?}");
    restored.says(&["Restoring"]);
}

#[test]
fn a_profile_brings_processors_numa_nodes_and_memory_and_arguments_for_qemu() {
    let real = Real::new();
    real.0.write(".quiz/profiles/mine/profile.toml", "about = \"x\"\ncpus = 3\nnuma = 2\nmemory = 1200\n");
    let script = "nproc; cat /sys/devices/system/node/online; cat /sys/devices/system/node/node?/cpulist; \
        grep -c MemTotal /sys/devices/system/node/node?/meminfo; free -m | awk '/Mem:/ { print ($2 > 1000) }'";
    let wanted =
        "3\n0-1\n0-1\n2\n/sys/devices/system/node/node0/meminfo:1\n/sys/devices/system/node/node1/meminfo:1\n1\n";
    // The cache may have this machine from a run of the tests before: only the first and the last are told how they start.
    for (flags, how) in [(&["--no-snapshot"][..], "Booting"), (&[], ""), (&[], "Restoring")] {
        let args = [&["-k", "package", "up", "-p", "mine"], flags, &["--", "sh", "-c", script]].concat();
        let ran = real.run(&args);
        assert_eq!((ran.status, ran.out.as_str()), (Some(0), wanted), "{ran:?}");
        ran.says(&[how]);
    }
    real.0.write(
        ".quiz/profiles/mine/profile.toml",
        "about = \"x\"\nqemu-args = [\"-smbios\", \"type=1,product=mine\"]\n",
    );
    let ran = real.run(&["-k", "package", "up", "-p", "mine", "--", "cat", "/sys/class/dmi/id/product_name"]);
    assert_eq!((ran.status, ran.out.as_str()), (Some(0), "mine\n"), "{ran:?}");
}
