//! gdb in machines that boot, were restored, crashed and stand still, or have not begun; and in the memory of one that is gone.

use super::super::Real;
use super::super::reach::eventually;
use crate::project::Ran;
use crate::worktree::git;

const PROFILES: [&str; 2] = ["-p", "zfs,memdev"];

/// gdb with these commands; the profiles are those of the run.
fn gdb(real: &Real, commands: &[&str]) -> Ran {
    let commands = commands.iter().flat_map(|command| ["-ex", command]);
    let words: Vec<&str> = ["gdb", "--", "-nx", "-batch"].into_iter().chain(commands).collect();
    let ran = real.run(&words);
    assert_eq!(ran.status, Some(0), "{ran:?}");
    ran
}

fn start(real: &Real, words: &[&str], script: &str) {
    let ran = real.run(&[&PROFILES, &["up", "--detach"], words, &["--", "sh", "-c", script]].concat());
    assert_eq!(ran.status, Some(0), "{ran:?}");
}

/// The status of the newest run, when it has ended: one that a debugger holds never would.
fn ended(real: &Real) -> Option<i32> {
    eventually("end", || real.run_folder().join("result.json").exists().then_some(()));
    real.run(&["wait"]).status
}

/// What stands there of kernel and modules, by name, file and type.
const LOOK: [&str; 3] = ["info line panic", "info line spa_sync", "print sizeof(struct spa)"];

fn sees_kernel_and_modules(ran: &Ran) {
    assert!(ran.out.contains("/kernel/panic.c\"") && ran.out.contains("/module/zfs/spa.c\""), "{ran:?}");
    assert!(ran.out.contains("\n$1 = "), "{ran:?}");
}

#[test]
#[ignore = "compiles kernel and modules once more: tests/run --full"]
fn gdb_sees_lines_and_types_of_kernel_and_modules_wherever_a_machine_is() {
    let real = Real::new();
    for words in [&["--no-snapshot"][..], &[], &[]] {
        start(&real, words, "sleep infinity");
        // A debugger comes twice to the same machine.
        for _ in 0..2 {
            sees_kernel_and_modules(&gdb(&real, &LOOK));
            assert_eq!(real.run(&["exec", "--", "true"]).status, Some(0), "it goes on");
        }
        real.run(&["stop"]);
    }
    // A crash stands still; afterwards its memory is the same to look at.
    start(&real, &["--gdb=panic"], "zpool create t quizm0; echo c >/proc/sysrq-trigger; sleep 60");
    let log = || std::fs::read_to_string(real.run_folder().join("quiz.log")).unwrap_or_default();
    eventually("crash that stands still", || log().contains("Standing still").then_some(()));
    let stack = [&LOOK[..], &["thread apply all backtrace"]].concat();
    for is_live in [true, false] {
        let ran = gdb(&real, &stack);
        sees_kernel_and_modules(&ran);
        assert!(ran.out.contains("sysrq_handle_crash (key=") && ran.out.contains("/drivers/tty/sysrq.c:"), "{ran:?}");
        if is_live {
            sees_kernel_and_modules(&gdb(&real, &LOOK));
            real.run(&["stop"]);
            assert_eq!(ended(&real), Some(123));
        }
    }
    // Now that the debug information is there, the words of the crash have lines, too; and OpenZFS's notes are read out of the memory.
    let shown = real.run(&["crash", "show"]).out;
    let line = |function: &str| shown.lines().find(|line| line.contains(&format!(" {function}+0x")));
    assert!(line("sysrq_handle_crash").is_some_and(|line| line.contains("  drivers/tty/sysrq.c:")), "{shown}");
    assert!(line("vfs_write").is_some_and(|line| line.contains("  fs/read_write.c:")), "{shown}");
    // The command itself is only noted by a later transaction group than the kernel may live to see.
    assert!(shown.contains("spa_history_log_sync(): txg "), "{shown}");
    assert!(real.run_folder().join("crash/zfs_dbgmsg").exists());
}

/// VMCOREINFO comes with /proc/kcore in quiz's kernels.
#[test]
#[ignore = "compiles two kernels: tests/run --full"]
fn where_a_kernel_does_not_say_how_it_lies_drgn_is_not_started_and_gdb_sees_it() {
    let real = Real::new();
    real.0.write("quiz.toml", "[kernel]\nconfig = [\"PROC_KCORE=n\"]\n");
    let refused = || {
        let ran = real.run(&["drgn", "--", "-e", "1"]);
        assert_eq!((ran.status, ran.count("Making kernel-debug"), ran.out.as_str()), (Some(2), 0, ""), "{ran:?}");
        ran.says(&[" has no VMCOREINFO, by which drgn finds the kernel in it", "CONFIG_VMCORE_INFO=y"]);
    };
    let ran = real.run(&["up", "--detach", "--", "sleep", "infinity"]);
    assert_eq!(ran.status, Some(0), "{ran:?}");
    refused();
    assert_eq!(real.run(&["exec", "--", "true"]).status, Some(0), "it goes on");
    real.run(&["exec", "--", "sh", "-c", "echo c >/proc/sysrq-trigger"]);
    assert_eq!(ended(&real), Some(123));
    refused();
    assert!(real.run(&["crash", "show"]).out.contains("it has no VMCOREINFO, which drgn needs"));
    let ran = gdb(&real, &["thread apply all backtrace"]);
    assert!(ran.out.contains("sysrq_handle_crash (key=") && ran.out.contains("/drivers/tty/sysrq.c:"), "{ran:?}");
}

/// The five functions of quiz_zfs, and the commands that Linux brings for gdb, in machines that booted and were restored, and in the memory of a crash.
#[test]
#[ignore = "compiles kernel and modules once more, and fetches drgn: tests/run --full"]
fn what_openzfs_and_the_kernel_know_of_themselves_is_read() {
    let real = Real::new();
    let functions = "from quiz_zfs import *; pools(); arc(); dbgmsg(); stuck(); holds()";
    let reads = || {
        let ran = real.run(&["drgn", "--", "-e", functions]);
        let last = ["t: ACTIVE  (spa_t *)0x", "    txg: open ", "    dirty: ", "\nc_max ", "t: spa_refcount "];
        for words in last.into_iter().chain([" txg_sync ", "    spa_sync\n", "spa_history_log_sync(): "]) {
            assert!(ran.status == Some(0) && ran.out.contains(words), "{words}: {ran:?}");
        }
    };
    // The first write of the pool's second transaction group takes a minute, and who syncs it waits so long.
    let script = "zpool create t quizm0; zpool sync t; zinject -d quizm0 -D 60000:1 t >/dev/null
        dd if=/dev/urandom of=/t/f bs=1M count=4 2>/dev/null; sync & sleep infinity";
    // Not for a moment, as in each sync.
    let stays = "for n in 1 2 3; do grep -q '(txg_sync) D' /proc/[0-9]*/stat || exit 1; sleep 1; done";
    for words in [&["--no-snapshot"][..], &[], &[]] {
        start(&real, words, script);
        let waits = ["exec", "--", "sh", "-c", stays];
        eventually("thread that waits for the disk", || (real.run(&waits).status == Some(0)).then_some(()));
        reads();
        let ran = gdb(&real, &["quiz-lx", "lx-version", "lx-ps"]);
        assert!(ran.out.contains("Linux version ") && ran.out.contains("txg_sync"), "{ran:?}");
        real.run(&["exec", "--", "sh", "-c", "echo c >/proc/sysrq-trigger"]);
        assert_eq!(ended(&real), Some(123));
        reads();
    }
}

#[test]
#[ignore = "compiles a kernel once more: tests/run --full"]
fn a_machine_waits_for_gdb_before_its_first_instruction() {
    let real = Real::new();
    let ran = real.run(&["up", "--detach", "--gdb", "--", "sh", "-c", "exit 7"]);
    assert_eq!((ran.status, ran.out.as_str()), (Some(0), "1\n"), "{ran:?}");
    let ran = gdb(&real, &["hbreak start_kernel", "continue", "backtrace", "delete"]);
    assert!(ran.out.contains("start_kernel () at ") && ran.out.contains("/init/main.c:"), "{ran:?}");
    // Left alone it boots.
    assert_eq!(ended(&real), Some(7));
}

#[test]
#[ignore = "fetches a gigabyte: tests/run --full"]
fn a_kernel_of_the_distributions_has_lines_and_types_wherever_it_chose_to_lie() {
    let real = Real::new();
    // A lock that an older quiz wrote names no debug information.
    assert_eq!(real.run(&["-k", "package", "update", "kernel"]).status, Some(0));
    for how in [&["--no-snapshot"][..], &[], &[]] {
        let ran = real.run(&[&["-k", "package", "up", "--detach"], how, &["--", "sleep", "infinity"]].concat());
        assert_eq!(ran.status, Some(0), "{ran:?}");
        let ran = gdb(&real, &["info line panic", "info line virtqueue_add_split", "print sizeof(struct page)"]);
        assert!(ran.out.contains("\"kernel/panic.c\"") && ran.out.contains("virtio_ring.c\""), "{ran:?}");
        assert!(ran.out.contains("(KASLR)\n") && ran.out.contains("$1 = 64"), "{ran:?}");
        real.run(&["stop"]);
    }
    let crash = real.run(&["-k", "package", "up", "--", "sh", "-c", "echo c >/proc/sysrq-trigger; sleep 60"]);
    assert_eq!(crash.status, Some(123), "{crash:?}");
    let shown = real.run(&["crash", "show", "--lines"]).out;
    let line = shown.lines().find(|line| line.contains(" sysrq_handle_crash+0x"));
    assert!(line.is_some_and(|line| line.contains("  drivers/tty/sysrq.c:")), "{shown}");
    let stack = gdb(&real, &["thread apply all backtrace"]);
    assert!(stack.out.contains("sysrq_handle_crash (key=") && stack.out.contains("kernel/panic.c:"), "{stack:?}");
    // drgn is brought, and runs nothing that lies here: neither in the place of a module of quiz's own nor by another name.
    let says = "import sys\nsys.exit(\"this is a project's\")\n";
    for name in ["quiz_zfs.py", "quiz_drgn.py", "mine.py"] {
        real.0.write(name, says);
    }
    let drgn = |script: &str| real.run(&["crash", "drgn", "--", "-e", script]);
    let ran = drgn("import quiz_zfs; print(prog.crashed_thread().stack_trace())");
    assert!(ran.status == Some(0) && ran.out.contains("sysrq_handle_crash"), "{ran:?}");
    let ran = drgn("import mine");
    assert!(ran.status == Some(1) && ran.err.contains("No module named 'mine'"), "{ran:?}");
}

/// A module that crashes in a function of its own when its parameter is written.
const BOOM: &str = "\
#include <linux/module.h>
#include <linux/moduleparam.h>
static noinline void quiz_test_boom(int *where)
{
\tWRITE_ONCE(*where, 1);
}
static int boom_set(const char *value, const struct kernel_param *param) { quiz_test_boom((int *)8); return 0; }
static const struct kernel_param_ops boom_ops = { .set = boom_set };
module_param_cb(boom, &boom_ops, NULL, 0200);
MODULE_LICENSE(\"GPL\");
MODULE_DESCRIPTION(\"of a test\");
";

#[test]
#[ignore = "fetches a gigabyte: tests/run --full"]
fn a_crash_in_a_module_of_ones_own_has_the_line_of_its_source() {
    let real = Real::new();
    assert_eq!(real.run(&["-k", "package", "update", "kernel"]).status, Some(0));
    real.0.write("mine/Kbuild", "obj-m := quiz_test_boom.o\n");
    // What is edited there is not committed.
    real.0.write("mine/quiz_test_boom.c", "");
    let mine = real.0.dir().join("mine");
    git(&mine, &["init", "-q"]);
    git(&mine, &["add", "."]);
    git(&mine, &["commit", "-q", "-m", "x"]);
    real.0.write("mine/quiz_test_boom.c", BOOM);
    let script = "echo 1 >/sys/module/quiz_test_boom/parameters/boom";
    // Another folder, whose sources lie elsewhere.
    real.0.write("other/Kbuild", "obj-m := quiz_test_other.o\n");
    real.0.write(
        "other/quiz_test_other.c",
        &BOOM.replace("quiz_test_boom", "quiz_test_other").replace("*where, 1", "*where, 2"),
    );
    let words = ["-k", "package", "--module", "mine", "--module", "other", "up", "--", "sh", "-c", script];
    let ran = real.run(&words);
    assert_eq!(ran.status, Some(123), "{ran:?}");
    // Somebody goes on with the work before anybody has looked.
    real.0.write("mine/quiz_test_boom.c", &format!("\n\n{BOOM}"));
    git(&mine, &["commit", "-q", "-a", "-m", "y"]);
    let shown = real.run(&["crash", "show", "--lines"]);
    let line = shown.out.lines().find(|line| line.contains("RIP: 0010:quiz_test_boom"));
    assert!(line.is_some_and(|line| line.ends_with("  quiz_test_boom.c:5")), "{shown:?}");
    assert!(!shown.err.contains("they have no symbols"), "{shown:?}");
    real.0.write("mine/quiz_test_boom.c", BOOM);
    // One processor is where the kernel gave up, and the other one was stopped by that.
    let tasks = real.run(&["crash", "show", "--tasks"]).out;
    let (_, processors) = tasks.split_once("\nprocessors:\n").expect(&tasks);
    assert!(["0: ", "1: ", ": sh ", ": swapper/"].iter().all(|words| processors.contains(words)), "{tasks}");
    let functions = ["    panic  ", "    stop_this_cpu  ", "  quiz_test_boom.c:5\n"];
    assert!(functions.iter().all(|words| processors.contains(words)), "{tasks}");
    // The source of each is found where it lies.
    let ran = gdb(&real, &["info line quiz_test_boom", "list quiz_test_boom", "list quiz_test_other"]);
    let has = |words: &str| ran.out.contains(words);
    assert!(has("quiz_test_boom.c\"") && has("WRITE_ONCE(*where, 1);") && has("WRITE_ONCE(*where, 2);"), "{ran:?}");
}

/// Two threads that each have the other's lock.
const LOCKED: &str = "\
#include <linux/module.h>
#include <linux/kthread.h>
#include <linux/mutex.h>
#include <linux/delay.h>
static DEFINE_MUTEX(a);
static DEFINE_MUTEX(b);
static int one(void *x) { mutex_lock(&a); msleep(200); mutex_lock(&b); return 0; }
static int other(void *x) { mutex_lock(&b); msleep(200); mutex_lock(&a); return 0; }
static int __init start(void) { kthread_run(one, NULL, \"one\"); kthread_run(other, NULL, \"other\"); return 0; }
module_init(start);
MODULE_LICENSE(\"GPL\");
MODULE_DESCRIPTION(\"of a test\");
";

#[test]
#[ignore = "fetches a gigabyte: tests/run --full"]
fn tasks_that_wait_for_each_others_locks_are_told_with_their_lines() {
    let real = Real::new();
    assert_eq!(real.run(&["-k", "package", "update", "kernel"]).status, Some(0));
    real.0.write("locked/Kbuild", "obj-m := quiz_test_locked.o\n");
    real.0.write("locked/quiz_test_locked.c", LOCKED);
    let ran = real.run(&["-k", "package", "--module", "locked", "up", "--timeout", "8", "--", "sleep", "600"]);
    assert_eq!(ran.status, Some(124), "{ran:?}");
    let shown = real.run(&["crash", "show", "--tasks"]);
    assert_eq!(shown.status, Some(0), "{shown:?}");
    assert!(shown.out.contains("\n0: swapper/0 0 ") && shown.out.contains("default_idle"), "{shown:?}");
    for (task, line) in [("\none ", 7), ("\nother ", 8)] {
        let (_, stack) = shown.out.split_once(task).expect(&shown.out);
        let lock = stack.lines().position(|line| line.trim_start().starts_with("__mutex_lock "));
        let own = stack.lines().position(|own| own.ends_with(&format!("  quiz_test_locked.c:{line}")));
        assert!(lock.is_some() && lock < own && own < Some(20), "{stack}");
    }
}
