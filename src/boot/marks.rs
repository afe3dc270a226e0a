//! The lines by which a guest's kernel says that something is wrong, and how wrong.
//!
//! Knows nothing of where a line comes from: a program can write "Kernel panic" to /dev/kmsg too.

/// What a line says about the kernel.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Mark {
    /// Something is wrong here, and what comes next explains it: an oops, a failed assertion.
    Trouble,
    /// The kernel has given up.
    Panic,
    /// Something waits for ever: a soft lockup, a blocked task, an RCU stall.
    Hang,
    /// Something is wrong, and the kernel goes on: WARN, lockdep, a sleep in atomic context.
    Warning,
    /// The kernel's last word before it does nothing any more.
    Halt,
    /// Its last word before it starts the machine again, because a program wants it.
    Restart,
}

/// The kernel's messages; with … between, both parts. Source of each: the format strings in Linux 5.10 to 7.3, and of OpenZFS 2.1 to
/// 2.4 module/os/linux/spl/spl-err.c and include/os/linux/spl/sys/debug.h. What is not among them is a caller's own business, such as
/// an allocation that failed ("page allocation failure"), or advice ("hogged CPU").
const MARKS: &[(&str, Mark)] = &[
    ("Kernel panic - not syncing", Mark::Panic),
    ("reboot: System halted", Mark::Halt),
    ("reboot: Power down", Mark::Halt),
    ("reboot: Restarting system", Mark::Restart),
    ("sysrq: Resetting", Mark::Restart),
    ("BUG: soft lockup", Mark::Hang),
    ("BUG: workqueue lockup", Mark::Hang),
    ("INFO: rcu…etected stall", Mark::Hang),
    ("INFO: rcu…detected expedited stall", Mark::Hang),
    ("INFO: task …for more than ", Mark::Hang),
    ("Watchdog detected hard LOCKUP", Mark::Hang),
    ("BUG: kernel NULL pointer dereference", Mark::Trouble),
    ("BUG: unable to handle", Mark::Trouble),
    ("stack guard page was hit", Mark::Trouble),
    ("BUG: KASAN: ", Mark::Trouble),
    ("kernel BUG at ", Mark::Trouble),
    ("general protection fault, probably", Mark::Trouble),
    ("general protection fault: ", Mark::Trouble),
    ("Unable to handle kernel ", Mark::Trouble),
    ("Oops: ", Mark::Trouble),
    ("PANIC at ", Mark::Trouble),
    ("PANIC: ", Mark::Trouble),
    ("VERIFY(", Mark::Trouble),
    ("VERIFY0", Mark::Trouble),
    ("VERIFY3", Mark::Trouble),
    ("ASSERT(", Mark::Trouble),
    ("ASSERT3", Mark::Trouble),
    ("VFS: Unable to mount root", Mark::Trouble),
    ("VFS: Cannot open root device", Mark::Trouble),
    // Among them KCSAN, KFENCE, KMSAN, bad pages, sleeps and schedules in atomic context.
    ("BUG: ", Mark::Warning),
    // SLUB: the name of the cache, and whether the kernel is tainted.
    ("BUG …ainted", Mark::Warning),
    ("UBSAN: ", Mark::Warning),
    ("Out of memory…: Killed process ", Mark::Warning),
    ("Memory cgroup out of memory: Killed process ", Mark::Warning),
    // Not every WARNING: OpenZFS has its own, which tests cause on purpose. The CPU comes first until 6.18, and last since 6.19.
    ("WARNING: CPU: ", Mark::Warning),
    ("WARNING: …, CPU#", Mark::Warning),
    ("WARNING: possible ", Mark::Warning),
    ("-unsafe lock order detected", Mark::Warning),
    ("WARNING: Nested lock was not taken", Mark::Warning),
    ("WARNING: bad unlock balance detected", Mark::Warning),
    ("WARNING: bad contention detected", Mark::Warning),
    ("WARNING: circular locking deadlock detected", Mark::Warning),
    ("WARNING: chain_key collision", Mark::Warning),
    ("WARNING: held lock freed", Mark::Warning),
    ("WARNING: inconsistent lock state", Mark::Warning),
    ("WARNING: lock held when returning to user space", Mark::Warning),
    (" still has locks held!", Mark::Warning),
    ("WARNING: suspicious RCU usage", Mark::Warning),
    ("INFO: trying to register non-static key", Mark::Warning),
    ("new suspected memory leaks", Mark::Warning),
];

/// The mark in a line of the kernel's, if there is one.
pub(super) fn mark(line: &str) -> Option<Mark> {
    let says = |text: &str| match text.split_once('…') {
        Some((one, other)) => behind(line, one).is_some_and(|rest| rest.contains(other)),
        None => behind(line, text).is_some(),
    };
    MARKS.iter().find(|(text, _)| says(text)).map(|(_, mark)| *mark)
}

/// What comes behind the text, where that does not begin in the middle of a word: ODEBUG is no BUG.
fn behind<'a>(line: &'a str, text: &str) -> Option<&'a str> {
    let is_inside = |at: usize| text.starts_with(char::is_alphabetic) && line[..at].ends_with(char::is_alphanumeric);
    line.match_indices(text).find(|(at, _)| !is_inside(*at)).map(|(at, _)| &line[at + text.len()..])
}

/// A kernel line without its `[   12.345678] ` and `[ T123] `.
pub(super) fn without_time(mut line: &str) -> &str {
    while let Some((_, rest)) = line.strip_prefix('[').and_then(|rest| rest.split_once("] ")) {
        line = rest;
    }
    line
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Where the format string stands, and a line of it. Those with a time of day are from a machine's console.log.
    const LINES: &[(&str, &str, Mark)] = &[
        ("kernel/panic.c", "Kernel panic - not syncing: sysrq triggered crash", Mark::Panic),
        ("5.10.262 to 6.12.117 kernel/panic.c", "WARNING: CPU: 0 PID: 1 at kernel/x.c:1 f+0x1/0x2", Mark::Warning),
        ("5.10.262 to 6.12.117 kernel/panic.c", "WARNING: CPU: 0 PID: 1 at f+0x1/0x2 [zfs]", Mark::Warning),
        ("7.2.12, 7.3.4 kernel/panic.c", "WARNING: kernel/x.c:1 at f+0x1/0x2, CPU#0: sh/1", Mark::Warning),
        ("7.2.12, 7.3.4 kernel/panic.c", "WARNING: at f+0x1/0x2, CPU#0: sh/1", Mark::Warning),
        ("kernel/locking/lockdep.c", "WARNING: possible circular locking dependency detected", Mark::Warning),
        ("kernel/locking/lockdep.c", "WARNING: possible recursive locking detected", Mark::Warning),
        ("kernel/locking/lockdep.c", "WARNING: possible irq lock inversion dependency detected", Mark::Warning),
        ("kernel/locking/lockdep.c", "WARNING: HARDIRQ-safe -> HARDIRQ-unsafe lock order detected", Mark::Warning),
        ("kernel/locking/lockdep.c", "WARNING: inconsistent lock state", Mark::Warning),
        ("kernel/locking/lockdep.c", "WARNING: Nested lock was not taken", Mark::Warning),
        ("kernel/locking/lockdep.c", "WARNING: bad unlock balance detected!", Mark::Warning),
        ("kernel/locking/lockdep.c", "WARNING: bad contention detected!", Mark::Warning),
        ("kernel/locking/lockdep.c", "WARNING: held lock freed!", Mark::Warning),
        ("kernel/locking/lockdep.c", "WARNING: sh/12 still has locks held!", Mark::Warning),
        ("kernel/locking/lockdep.c", "WARNING: lock held when returning to user space!", Mark::Warning),
        ("kernel/locking/lockdep.c", "WARNING: suspicious RCU usage", Mark::Warning),
        ("kernel/locking/lockdep.c", "[ BUG: Invalid wait context ]", Mark::Warning),
        ("kernel/locking/lockdep.c", "INFO: trying to register non-static key.", Mark::Warning),
        ("kernel/locking/spinlock_debug.c", "BUG: spinlock bad magic on CPU#0, sh/12", Mark::Warning),
        ("6.1.192 to 7.3.4 mm/kasan/report.c", "BUG: KASAN: use-after-free in f+0x1/0x2 [t]", Mark::Trouble),
        ("5.10.262 mm/kasan/report.c", "BUG: KASAN: double-free or invalid-free in f+0x1/0x2", Mark::Trouble),
        ("kernel/kcsan/report.c", "BUG: KCSAN: data-race in f / g", Mark::Warning),
        ("6.1.192 to 7.3.4 mm/kfence/report.c", "BUG: KFENCE: use-after-free read in f+0x1/0x2", Mark::Warning),
        ("6.1.192 to 7.3.4 mm/kmsan/report.c", "BUG: KMSAN: uninit-value in f+0x1/0x2", Mark::Warning),
        ("5.4 lib/ubsan.c", "UBSAN: Undefined behaviour in module/zfs/zap_micro.c:1:2", Mark::Warning),
        ("lib/ubsan.c", "UBSAN: array-index-out-of-bounds in module/zfs/zap_micro.c:1:2", Mark::Warning),
        ("kernel/hung_task.c", "[ 2216.939982] INFO: task zpool:13434 blocked for more than 245 seconds.", Mark::Hang),
        (
            "7.3.4 kernel/hung_task.c",
            "INFO: task zpool:13434 blocked in I/O wait for more than 245 seconds.",
            Mark::Hang,
        ),
        ("kernel/rcu/tree_stall.h", "rcu: INFO: rcu_preempt detected stalls on CPUs/tasks:", Mark::Hang),
        ("kernel/rcu/tree_stall.h", "rcu: INFO: rcu_sched self-detected stall on CPU", Mark::Hang),
        (
            "kernel/rcu/tree_exp.h",
            "rcu: INFO: rcu_preempt detected expedited stalls on CPUs/tasks: { 1-... }",
            Mark::Hang,
        ),
        ("kernel/rcu/tasks.h", "INFO: rcu_tasks detected stalls on tasks:", Mark::Hang),
        ("kernel/watchdog.c", "watchdog: BUG: soft lockup - CPU#0 stuck for 22s! [sh:12]", Mark::Hang),
        ("5.10.262, 6.1.192 kernel/watchdog_hld.c", "NMI watchdog: Watchdog detected hard LOCKUP on cpu 0", Mark::Hang),
        ("7.3.4 kernel/watchdog.c", "watchdog: CPU0: Watchdog detected hard LOCKUP on cpu 1", Mark::Hang),
        (
            "kernel/workqueue.c",
            "BUG: workqueue lockup - pool cpus=0 node=0 flags=0x0 nice=0 stuck for 32s!",
            Mark::Hang,
        ),
        (
            "5.10.262 kernel/workqueue.c",
            "BUG: workqueue leaked lock or atomic: kworker/0:1/0x00000001/12",
            Mark::Warning,
        ),
        ("7.3.4 kernel/workqueue.c", "BUG: workqueue leaked atomic, lock or RCU: kworker/0:1[12]", Mark::Warning),
        (
            "mm/oom_kill.c",
            "Out of memory: Killed process 12 (sh) total-vm:1kB, anon-rss:1kB, file-rss:0kB, shmem-rss:0kB, UID:0",
            Mark::Warning,
        ),
        ("mm/oom_kill.c", "Out of memory (oom_kill_allocating_task): Killed process 12 (sh)", Mark::Warning),
        ("mm/oom_kill.c", "Memory cgroup out of memory: Killed process 12 (sh) total-vm:1kB", Mark::Warning),
        ("kernel/sched/core.c", "BUG: sleeping function called from invalid context at x.c:1", Mark::Warning),
        ("kernel/sched/core.c", "BUG: scheduling while atomic: sh/12/0x00000002", Mark::Warning),
        (
            "lib/smp_processor_id.c",
            "BUG: using smp_processor_id() in preemptible [00000000] code: sh/12",
            Mark::Warning,
        ),
        ("mm/page_alloc.c", "BUG: Bad page state in process sh  pfn:00012", Mark::Warning),
        ("mm/slub.c", "BUG kmalloc-64 (Not tainted): Right Redzone overwritten", Mark::Warning),
        ("mm/slub.c", "BUG zio_cache (Tainted: P    B      OE     ): Poison overwritten", Mark::Warning),
        ("mm/kmemleak.c", "kmemleak: 3 new suspected memory leaks (see /sys/kernel/debug/kmemleak)", Mark::Warning),
        ("7.3.4 arch/x86/kernel/traps.c", "BUG: TASK stack guard page was hit at 0 (stack is 0..1)", Mark::Trouble),
        ("spl/sys/debug.h", "VERIFY3(a == b) failed (1 == 2)", Mark::Trouble),
        ("spl/sys/debug.h", "VERIFY3U(a, ==, b) failed (1 == 2)", Mark::Trouble),
        ("spl/sys/debug.h", "VERIFY0(f(x)) failed (2)", Mark::Trouble),
    ];

    /// As these kernels said it in a machine, with a module that asks for it, or with too little memory.
    const SAID: &[(&str, &str, Mark)] = &[
        ("5.10.262", "WARNING: CPU: 0 PID: 52 at /quiz/scratch/t.c:36 quiz_test_init+0x56/0x1000 [t]", Mark::Warning),
        ("6.1.192", "WARNING: CPU: 1 PID: 54 at /quiz/scratch/t.c:36 quiz_test_init+0x55/0x1000 [t]", Mark::Warning),
        ("6.12.117", "WARNING: CPU: 0 PID: 50 at /quiz/scratch/t.c:36 quiz_test_init+0xf4/0x1000 [t]", Mark::Warning),
        ("7.2.12", "WARNING: t.c:36 at quiz_test_init+0x102/0x1000 [t], CPU#1: insmod/48", Mark::Warning),
        ("7.3.4", "WARNING: t.c:36 at quiz_test_init+0x104/0x1000 [t], CPU#0: insmod/50", Mark::Warning),
        ("5.10.262 to 7.3.4", "watchdog: BUG: soft lockup - CPU#1 stuck for 3s! [insmod:48]", Mark::Hang),
        ("5.10.262 to 7.3.4", "INFO: task insmod:50 blocked for more than 1 seconds.", Mark::Hang),
        ("5.10.262 to 7.3.4", "rcu: INFO: rcu_sched self-detected stall on CPU", Mark::Hang),
        (
            "5.10.262 to 7.3.4",
            "Out of memory: Killed process 50 (tail) total-vm:230452kB, anon-rss:227552kB, file-rss:4kB",
            Mark::Warning,
        ),
        (
            "5.10.262 to 7.3.4",
            "Memory cgroup out of memory: Killed process 49 (tail) total-vm:19116kB, anon-rss:16260kB, file-rss:1504kB",
            Mark::Warning,
        ),
    ];

    #[test]
    fn each_form_of_each_kernel_has_its_mark() {
        for (file, line, wanted) in LINES.iter().chain(SAID) {
            assert_eq!(mark(line), Some(*wanted), "{file}: {line}");
        }
    }

    #[test]
    fn what_is_meant_to_be_said_has_none() {
        for line in [
            // OpenZFS, spl-err.c: tests cause them on purpose.
            "WARNING: Pool 't' has encountered an uncorrectable I/O failure and has been suspended.",
            "WARNING: pool 't': the blocks of vdev 1 are bad",
            "NOTICE: x",
            // Whoever asked for memory copes without, and says so if not.
            "sh: page allocation failure: order:4, mode:0xcc0(GFP_KERNEL), nodemask=(null)",
            "sh invoked oom-killer: gfp_mask=0xcc0(GFP_KERNEL), order=0, oom_score_adj=0",
            // Advice, and what belongs to a report.
            "workqueue: f hogged CPU for >10000us 4 times, consider switching to WQ_UNBOUND",
            "rcu: INFO: Stall ended before state dump start",
            "INFO: lockdep is turned off.",
            "INFO: task sh:12 is blocked on a mutex likely owned by task sh:13.",
            "ODEBUG: selftest passed",
            "CPU: 0 PID: 1 Comm: sh Tainted: G    B   W",
        ] {
            assert_eq!(mark(line), None, "{line}");
        }
    }
}
