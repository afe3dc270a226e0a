//! How a machine can end otherwise: each is told apart, none passes for success, and no qemu stays behind.

use super::{Real, kill};
use crate::project::Ran;
use std::process::{Child, Stdio};
use std::sync::OnceLock;
use std::time::{Duration, Instant};

// A machine that ends at once takes along what is still on its way through a pipe in the guest: hence the second's sleep.

#[test]
fn a_panic_is_123_and_shows_the_kernels_words() {
    let real = Real::new();
    let ran = real.sh("echo before; sleep 1; echo c >/proc/sysrq-trigger; echo after");
    assert_eq!(ran.status, Some(123), "{ran:?}");
    assert_eq!(ran.out, "before\n");
    ran.says(&["Kernel panic"]);
    let log = std::fs::read_to_string(real.run_folder().join("console.log")).unwrap();
    assert!(log.contains("sysrq") && log.contains("Call Trace"), "{log}");
    assert_eq!(real.machines(), Vec::<u32>::new());
}

/// A module that does what its parameter says, as `/shared/t.ko`.
fn module(real: &Real) {
    static MODULE: OnceLock<Vec<u8>> = OnceLock::new();
    share(real, MODULE.get_or_init(|| build_module(real, &[])));
}

/// The same, built against `kernel/devel` alone, with no kernel source in sight, of the kernel that these flags ask for.
pub(super) fn build_module(real: &Real, flags: &[&str]) -> Vec<u8> {
    let tables =
        "[inputs]\ndevel = \"kernel/devel\"\n[outputs]\nmodule = \"file\"\n[tools]\nmake = \"make\"\ngcc = \"gcc\"\n";
    real.0.recipe(
        "t-module",
        tables,
        "cp /quiz/recipe/t.c .\necho 'obj-m := t.o' >Makefile\n\
        make -C /quiz/in/devel M=\"$PWD\" modules\ncp t.ko /quiz/out/module\n",
    );
    real.0.write(".quiz/recipes/t-module/t.c", include_str!("module.c"));
    let ran = real.run(&[flags, &["build", "t-module"]].concat());
    assert_eq!(ran.status, Some(0), "{ran:?}");
    std::fs::read(ran.out.trim().split_once(' ').unwrap().1).unwrap()
}

pub(super) fn share(real: &Real, module: &[u8]) {
    let shared = real.0.dir().join(".quiz/shared");
    std::fs::create_dir_all(&shared).unwrap();
    std::fs::write(shared.join("t.ko"), module).unwrap();
}

#[test]
fn a_module_built_from_devel_alone_loads() {
    let real = Real::new();
    module(&real);
    let ran = real.sh("insmod /shared/t.ko what=greet && grep -q '^t ' /proc/modules && dmesg | tail -n1 && rmmod t");
    assert_eq!(ran.status, Some(0), "{ran:?}");
    assert!(ran.out.contains("t: hello"), "{ran:?}");
}

#[test]
fn an_oops_is_123_with_the_functions_name() {
    let real = Real::new();
    module(&real);
    let ran = real.sh("insmod /shared/t.ko what=oops");
    assert_eq!(ran.status, Some(123), "{ran:?}");
    ran.says(&["NULL pointer dereference"]);
    let log = std::fs::read_to_string(real.run_folder().join("console.log")).unwrap();
    assert!(log.contains("quiz_test_oops"), "{log}");
}

#[test]
fn a_warn_is_said_with_its_message_and_is_123_where_that_is_wanted() {
    let real = Real::new();
    module(&real);
    let warn = |args: &[&str]| real.run(&[args, &["--", "insmod", "/shared/t.ko", "what=warn"]].concat());
    let said = warn(&["up"]);
    assert_eq!(said.says(&["the guest's kernel complained: WARNING: ", ": quiz_test_warn: 7 ("]).status, Some(0));
    let strict = warn(&["up", "--fail-on-warning"]);
    let words = [": quiz_test_warn: 7;", "the program itself ended with status 0"];
    assert_eq!(strict.says(&words).status, Some(123), "{strict:?}");
}

#[test]
fn a_program_over_its_time_and_a_guest_that_hangs_are_124_and_told_apart() {
    let real = Real::new();
    module(&real);
    let slow = real.run(&["up", "--timeout", "4", "--", "sleep", "1000"]);
    assert_eq!(slow.status, Some(124), "{slow:?}");
    slow.says(&["the program still ran", "Show backtrace of all active CPUs", "Show Blocked State"]);
    let hung = real.run(&["up", "--cpus", "1", "--timeout", "6", "--", "insmod", "/shared/t.ko", "what=hang"]);
    assert_eq!(hung.status, Some(124), "{hung:?}");
    hung.says(&["the guest hung"]);
    assert_eq!(real.machines(), Vec::<u32>::new());
}

#[test]
fn a_stuck_file_system_of_the_guest_does_not_hold_the_status_back() {
    let real = Real::new();
    let script = "truncate -s 64M /tmp/f && disk=$(losetup -f --show /tmp/f) && \
                  dmsetup create --noudevsync stuck --table \"0 131072 linear $disk 0\" && dmsetup mknodes && \
                  mkfs.ext4 -q /dev/mapper/stuck && mount /dev/mapper/stuck /mnt && echo x >/mnt/x && sync && \
                  dmsetup suspend --nolockfs --noudevsync stuck && echo y >>/mnt/x && echo stuck && echo out >/out/x; exit 7";
    let ran = real.run(&["up", "--timeout", "60", "--", "sh", "-c", script]);
    assert_eq!((ran.status, ran.out.as_str()), (Some(7), "stuck\n"), "{ran:?}");
    assert_eq!(std::fs::read_to_string(real.run_folder().join("out/x")).unwrap(), "out\n");
}

#[test]
fn an_early_power_off_is_122() {
    let real = Real::new();
    let ran = real.sh("echo before; sleep 1; echo o >/proc/sysrq-trigger; sleep 60");
    assert_eq!((ran.status, ran.out.as_str()), (Some(122), "before\n"), "{ran:?}");
}

/// Starts a machine whose program says "up" and sleeps, and waits until it has said so.
fn sleeper(real: &Real) -> Child {
    sleeper_with(real, &[])
}

fn sleeper_with(real: &Real, args: &[&str]) -> Child {
    use std::io::Read;
    // exec: dash swallows a SIGINT that comes while it starts a child.
    let script = "echo up; exec sleep 1000";
    let mut command = real.command(&[&["up"], args, &["--", "sh", "-c", script]].concat());
    let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let mut said = [0; 3];
    child.stdout.as_mut().unwrap().read_exact(&mut said).unwrap();
    assert_eq!(&said, b"up\n");
    child
}

#[test]
fn a_signal_ends_the_runs_on_all_kernels() {
    let real = Real::new();
    let child = sleeper_with(&real, &["-k", "6.1,6.1.192-2"]);
    kill(child.id(), "-INT");
    let ran = Ran::from(child.wait_with_output().unwrap());
    assert_eq!((ran.status, ran.out.as_str()), (Some(130), ""), "{ran:?}");
    assert_eq!((ran.count("Running on kernel"), ran.count("not run: ")), (1, 1), "{ran:?}");
    assert_eq!(real.machines(), Vec::<u32>::new());
}

#[test]
fn a_killed_qemu_is_125() {
    let real = Real::new();
    let child = sleeper(&real);
    let machines = real.machines();
    assert_eq!(machines.len(), 1);
    kill(machines[0], "-KILL");
    let ran = Ran::from(child.wait_with_output().unwrap());
    assert_eq!(ran.status, Some(125), "{ran:?}");
}

#[test]
fn when_quiz_is_killed_its_machine_dies_too() {
    let real = Real::new();
    let mut child = sleeper(&real);
    assert_eq!(real.machines().len(), 1);
    child.kill().unwrap();
    child.wait().unwrap();
    let start = Instant::now();
    while !real.machines().is_empty() {
        assert!(start.elapsed() < Duration::from_secs(10), "qemu is left behind");
        std::thread::sleep(Duration::from_millis(50));
    }
}

#[test]
fn the_first_interrupt_goes_to_the_program_and_the_second_ends_the_machine() {
    let real = Real::new();
    let child = sleeper(&real);
    kill(child.id(), "-INT");
    let ran = Ran::from(child.wait_with_output().unwrap());
    assert_eq!(ran.status, Some(130), "{ran:?}");
    let script = "trap '' INT; echo up; sleep 1000";
    let mut child = real.command(&["up", "--", "sh", "-c", script]).stdout(Stdio::piped()).spawn().unwrap();
    let mut said = [0; 3];
    std::io::Read::read_exact(child.stdout.as_mut().unwrap(), &mut said).unwrap();
    kill(child.id(), "-INT");
    std::thread::sleep(Duration::from_millis(300));
    kill(child.id(), "-INT");
    assert_eq!(child.wait().unwrap().code(), Some(130));
    assert_eq!(real.machines(), Vec::<u32>::new());
}
