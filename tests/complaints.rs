//! What `quiz test` and `quiz up` make of what the guest's kernel complains about, with a script that plays qemu and the guest.

use crate::project::Ran;
use crate::suite::Fake;
use std::process::Command;

const RUNFILE: &str = "\
[DEFAULT]
pre = setup
post =
[tests/functional/warns]
tests = ['one', 'two']
tags = ['functional']
[tests/functional/hooks]
tests = ['one', 'two']
tags = ['functional']
";

/// What the fake's kernel complains about.
const OLD: &str = "WARNING: CPU: 0 PID: 12 at lib/refcount.c:28 refcount_warn_saturate+0xba/0x110: refcount_t: underflow; \
                   use-after-free.";
const NEW: &str = "WARNING: module/zfs/dbuf.c:12 at dbuf_find+0x1/0x2, CPU#0: txg_sync/12";

fn ran(mut command: Command) -> Ran {
    Ran::from(command.output().unwrap())
}

/// `quiz test` of the two groups of that runfile.
fn suite(fake: &Fake) -> Ran {
    fake.0.write("warns.run", RUNFILE);
    ran(fake.command("fake=suite", &["-r", "warns.run"]))
}

#[test]
fn a_test_in_which_the_kernel_complained_did_not_pass() {
    let fake = Fake::new();
    let first = suite(&fake);
    assert_eq!(first.status, Some(1), "{first:?}");
    for line in [
        &format!("WARN    functional/warns/one: {OLD}\n"),
        &format!("WARN    functional/hooks/machine: {NEW}\n"),
        "PASS 5  FAIL 0  SKIP 0  WARN 2\n7 tests: 5 passed, 0 excused, 2 wrong, in ",
    ] {
        assert!(first.out.contains(line), "no `{line}` in {}", first.out);
    }
    assert_eq!(first.count("complained"), 0, "the table says it: {first:?}");
    let out = fake.run(1).join("out");
    let junit = std::fs::read_to_string(out.join("junit.xml")).unwrap();
    let junit = roxmltree::Document::parse(&junit).unwrap();
    let failure = junit.descendants().find(|node| node.has_tag_name("failure")).unwrap();
    assert_eq!(
        (failure.attribute("type"), failure.attribute("message")),
        (Some("WARN"), Some(format!("WARN: {OLD}").as_str()))
    );
    assert!(failure.text().unwrap().contains("zpl_put+0x1/0x2 [zfs]"), "{failure:?}");
    let tap = std::fs::read_to_string(out.join("results.tap")).unwrap();
    assert!(tap.contains("\nnot ok 2 - functional/warns one\n"), "{tap}");
    let json = std::fs::read_to_string(out.join("results.json")).unwrap();
    let json: serde_json::Value = serde_json::from_str(&json).unwrap();
    assert_eq!(json["groups"][0]["tests"][1]["verdict"], "WARN");
    // A group whose kernel complained is run again: nothing is known of the next time.
    assert_eq!(suite(&fake).count("Testing"), 2);
}

#[test]
fn what_is_allowed_passes_as_long_as_it_is_allowed() {
    let fake = Fake::new();
    fake.0.write("quiz.toml", "[machine]\nallow-file = \"allow\"\n");
    fake.0.write("allow", "# of this tree\nzpl_put+ # known, and harmless\nat dbuf_find # so is this\n");
    let good = suite(&fake);
    assert_eq!(good.status, Some(0), "{good:?}");
    let json = std::fs::read_to_string(fake.run(1).join("out/results.json")).unwrap();
    assert!(json.contains("\"reason\": \"known, and harmless\""), "{json}");
    assert_eq!((suite(&fake).status, suite(&fake).count("Testing")), (Some(0), 0), "it is remembered");
    fake.0.write("allow", "zpl_put+ # known, and harmless\n");
    let bad = suite(&fake);
    assert_eq!((bad.status, bad.count("Testing")), (Some(1), 1), "{bad:?}");
    assert!(bad.out.contains(NEW) && !bad.out.contains(OLD), "{}", bad.out);
    let each = |lines: &str| {
        fake.0.write("list", lines);
        ran(fake.command("fake=each", &["--each", "list"]))
    };
    assert_eq!(each("warn\n").status, Some(0));
    fake.0.write("allow", "");
    let bad = each("warn\n");
    assert_eq!(bad.status, Some(1), "{bad:?}");
    assert!(bad.out.contains(&format!("WARN    warn: {OLD}\n")), "{}", bad.out);
}

#[test]
fn a_list_without_a_reason_or_that_is_not_there_is_wrong_before_anything_is_built() {
    let fake = Fake::new();
    fake.0.write("quiz.toml", "[machine]\nallow-file = \"allow\"\n");
    let file = fake.0.write("allow", "ok # x\nWARNING\n");
    let place = format!("{}:2: no reason for `WARNING`", file.display());
    let missing = fake.0.dir().join("other").display().to_string();
    for words in [place, format!("machine.allow-file: {missing} does not exist\n")] {
        let test = suite(&fake);
        assert_eq!((test.says(&[&words]).status, test.count("Making")), (Some(2), 0), "{test:?}");
        assert_eq!(ran(fake.up("exit-0", &[])).says(&[&words]).status, Some(125));
        fake.0.write("quiz.toml", "[machine]\nallow-file = \"other\"\n");
    }
}

#[test]
fn up_says_what_the_kernel_complained_about_and_fails_if_that_is_wanted() {
    let fake = Fake::new();
    let log = fake.run(1).join("console.log").display().to_string();
    let words = format!("warning: the guest's kernel complained: {OLD} ({log})");
    let up = ran(fake.up("warn-7", &[]));
    assert_eq!((up.says(&[&words]).status, up.count("complained")), (Some(7), 1), "{up:?}");
    let late = ran(fake.up("late-warn", &[]));
    assert_eq!(
        (late.says(&[OLD]).status, late.count("complained")),
        (Some(7), 1),
        "a console can be far behind: {late:?}"
    );
    let record = |run| std::fs::read_to_string(fake.run(run).join("result.json")).unwrap();
    assert!(record(1).contains("refcount_t: underflow") && record(1).contains("\"program\":7"), "{}", record(1));
    let strict = |play: &str| ran(fake.up(play, &["--fail-on-warning"]));
    let words = format!("the guest's kernel complained: {OLD}; the program itself ended with status 0");
    let up = strict("warn-0");
    assert_eq!((up.says(&[&words]).status, up.count("complained")), (Some(123), 1), "{up:?}");
    assert!(record(3).contains("\"program\":0"), "{}", record(3));
    assert_eq!(strict("exit-7").status, Some(7));
    assert_eq!(strict("poweroff").status, Some(122));
    for (number, play) in [(6, "late-panic"), (8, "late-panic-reset")] {
        let words = "the guest's kernel gave up after the program had ended: VERIFY3(a == b) failed";
        let up = ran(fake.up(play, &[]));
        assert_eq!((up.says(&[words]).status, up.count("gave up"), up.count("complained")), (Some(0), 1, 0), "{up:?}");
        assert_eq!(record(number).matches("VERIFY3(a == b) failed").count(), 1, "{}", record(number));
        let up = strict(play);
        let end = "the guest's kernel complained: VERIFY3(a == b) failed; the program itself ended with status 0";
        assert_eq!((up.says(&[words, end]).status, up.count("gave up")), (Some(123), 1), "{up:?}");
    }
    fake.0.write("quiz.toml", "[machine]\nallow-file = \"allow\"\n");
    fake.0.write("allow", "refcount_t # known\n");
    let up = strict("warn-7");
    assert_eq!((up.status, up.count("complained")), (Some(7), 0), "{up:?}");
}

#[test]
fn what_was_said_while_the_hooks_ran_counts_in_a_restored_machine_too() {
    let fake = Fake::new();
    let up = |args: &[&str]| {
        let args = [&["up", "--append", "fake=snapshot-with-complaint"], args, &["--", "true"]].concat();
        ran(fake.0.command(&args))
    };
    let words = "the guest's kernel complained: BUG: Bad page state in process modprobe  pfn:00012";
    assert_eq!((up(&[]).says(&["Booting", words]).status), Some(7));
    assert_eq!((up(&[]).says(&["Restoring", words]).status), Some(7));
    assert_eq!(up(&["--fail-on-warning"]).says(&["Restoring", words]).status, Some(123));
}

/// What kernels that checked themselves really said, each beginning with its release, as whole lines with some of the middle left out: made by
/// `what_a_kernel_finds_that_checks_itself_is_heard` and `what_each_kernel_complains_about_is_heard`.
const REPORTS: [(&str, &str); 19] = [
    (
        include_str!("data/complaints/6.12.117-kasan"),
        "BUG: KASAN: slab-use-after-free in quiz_test_use_after_free+0x77/0x90 [t]",
    ),
    (
        include_str!("data/complaints/6.12.117-sleep"),
        "BUG: sleeping function called from invalid context at /quiz/scratch/t.c:105",
    ),
    (include_str!("data/complaints/6.12.117-lockdep"), "WARNING: possible circular locking dependency detected"),
    (
        include_str!("data/complaints/6.12.117-list"),
        "WARNING: CPU: 0 PID: 54 at lib/list_debug.c:35 __list_add_valid_or_report+0xe4/0x120: list_add double add: \
         new=ffffffffa00022a0, prev=ffffffffa0002260, next=ffffffffa00022a0.",
    ),
    (include_str!("data/complaints/7.2.12-kcsan"), "BUG: KCSAN: data-race in quiz_test_race [t] / quiz_test_race [t]"),
    (include_str!("data/complaints/7.2.12-ubsan"), "UBSAN: shift-out-of-bounds in t.c:34:2"),
    (include_str!("data/complaints/7.2.12-lockdep"), "WARNING: possible circular locking dependency detected"),
    (
        include_str!("data/complaints/7.2.12-list"),
        "WARNING: lib/list_debug.c:35 at __list_add_valid_or_report+0xd9/0xf0, CPU#1: insmod/53: list_add double add: \
         new=ffffffffa02011e0, prev=ffffffffa02011d0, next=ffffffffa02011e0.",
    ),
    (
        include_str!("data/complaints/6.12.117-warn"),
        "WARNING: CPU: 1 PID: 50 at /quiz/scratch/t.c:92 quiz_test_init+0x229/0x1000 [t]: quiz_test_warn: 7",
    ),
    (include_str!("data/complaints/6.12.117-soft"), "watchdog: BUG: soft lockup - CPU#1 stuck for 3s! [insmod:50]"),
    (include_str!("data/complaints/6.12.117-hung"), "INFO: task insmod:50 blocked for more than 1 seconds."),
    (include_str!("data/complaints/6.12.117-rcu"), "rcu: INFO: rcu_sched self-detected stall on CPU"),
    (
        include_str!("data/complaints/6.12.117-oom"),
        "Out of memory: Killed process 50 (tail) total-vm:228820kB, anon-rss:225792kB, file-rss:268kB, shmem-rss:0kB, UID:0 pgtables:476kB oom_score_adj:0",
    ),
    (
        include_str!("data/complaints/6.12.117-memcg"),
        "Memory cgroup out of memory: Killed process 51 (tail) total-vm:19108kB, anon-rss:16256kB, file-rss:1436kB, shmem-rss:0kB, UID:0 pgtables:64kB oom_score_adj:0",
    ),
    (
        include_str!("data/complaints/7.3.4-warn"),
        "WARNING: t.c:92 at quiz_test_init+0x1d8/0x1000 [t], CPU#1: insmod/50: quiz_test_warn: 7",
    ),
    (include_str!("data/complaints/7.3.4-soft"), "watchdog: BUG: soft lockup - CPU#0 stuck for 3s! [insmod:50]"),
    (include_str!("data/complaints/7.3.4-hung"), "INFO: task insmod:50 blocked for more than 1 seconds."),
    (include_str!("data/complaints/7.3.4-rcu"), "rcu: INFO: rcu_sched self-detected stall on CPU"),
    (
        include_str!("data/complaints/7.3.4-oom"),
        "Out of memory: Killed process 50 (tail) total-vm:232492kB, anon-rss:229712kB, file-rss:4kB, shmem-rss:0kB, UID:0 pgtables:480kB oom_score_adj:0",
    ),
];

#[test]
fn a_report_of_a_real_kernel_is_one_complaint_to_its_last_line() {
    for (text, words) in REPORTS {
        let heard = quiz::boot::complaint::read(text, &[]);
        let complaints: Vec<&str> = heard.complaints.iter().map(|complaint| complaint.words.as_str()).collect();
        assert_eq!(complaints, [words]);
        assert_eq!(heard.complaints[0].lines.last().map(String::as_str), text.lines().last().map(str::trim_end));
    }
}
