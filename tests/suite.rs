//! What `quiz test` promises, with a script that plays qemu and the guest: which groups run, what a lost machine costs, where
//! results go, what the cache remembers.

use crate::project::{Project, Ran};
use crate::worktree::git;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

const RUNFILE: &str = "\
[DEFAULT]
pre = setup
post =
timeout = 600
[tests/functional/good]
tests = ['one', 'two']
tags = ['functional', 'good']
[tests/functional/bad]
tests = ['one', 'two']
tags = ['functional', 'bad']
[tests/functional/panics]
tests = ['one', 'two']
tags = ['functional', 'crash']
";

const LINUX: &str = "\
[DEFAULT]
pre = setup
post =
[tests/functional/lost]
tests = ['one']
tags = ['functional', 'crash']
";

/// A worktree of "OpenZFS" whose image and qemu are fakes.
pub struct Fake(pub Project);

impl Fake {
    pub fn new() -> Self {
        let project = Project::new();
        project.recipe(
            "kernel",
            "[outputs]\nimage = \"tree\"\n",
            "mkdir /quiz/out/image\ntouch /quiz/out/image/vmlinux\n",
        );
        project.recipe("t-root", "[outputs]\nlayer = \"file\"\n", "echo root >/quiz/out/layer\n");
        let script = "printf 'arch = \"x86_64\"\\nkernel = \"%s\"\\nlayers = [\"%s\"]\\n' \
                        \"$QUIZ_DIGEST_KERNEL\" \"$QUIZ_DIGEST_ROOT\" >/quiz/out/description\n";
        let inputs =
            "[inputs]\nkernel = \"kernel/image\"\nroot = \"t-root/layer\"\n[outputs]\ndescription = \"file\"\n";
        project.recipe("image", inputs, script);
        for profile in ["base", "zfs", "ztest"] {
            let text = "about = \"a test\"\nmemory = 1536\n";
            project.write(&format!(".quiz/profiles/{profile}/profile.toml"), text);
        }
        project.write("META", "");
        project.write("configure.ac", "");
        project.write("module/zfs/zfs_ioctl.c", "");
        project.write("tests/runfiles/common.run", RUNFILE);
        project.write("tests/runfiles/linux.run", LINUX);
        for group in ["good", "bad", "panics", "lost"] {
            project.write(&format!("tests/zfs-tests/tests/functional/{group}/one.ksh"), "");
        }
        let fake = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("src/boot/fake-qemu.sh");
        std::os::unix::fs::symlink(fake, project.bin().join("qemu-system-x86_64")).unwrap();
        git(&project.dir(), &["init", "-q"]);
        git(&project.dir(), &["add", "-A"]);
        git(&project.dir(), &["commit", "-q", "-m", "first"]);
        Self(project)
    }

    pub fn command(&self, play: &str, args: &[&str]) -> Command {
        self.0.command(&[&["test", "--append", play], args].concat())
    }

    /// `quiz up` with this play.
    pub fn up(&self, play: &str, args: &[&str]) -> Command {
        let play = format!("fake={play}");
        self.0.command(&[&["up", "--no-snapshot", "--append", &play], args, &["--", "true"]].concat())
    }

    fn suite(&self, args: &[&str]) -> Ran {
        Ran::from(self.command("fake=suite", args).output().unwrap())
    }

    fn each(&self, lines: &str, args: &[&str]) -> Ran {
        self.0.write("list", lines);
        Ran::from(self.command("fake=each", &[&["--each", "list"], args].concat()).output().unwrap())
    }

    pub fn run(&self, number: u32) -> PathBuf {
        self.0.dir().join(format!(".quiz/runs/{number}"))
    }
}

#[test]
fn a_panic_and_a_lost_machine_cost_their_group_and_the_status_is_true() {
    let fake = Fake::new();
    let ran = fake.suite(&["-j2"]);
    assert_eq!(ran.status, Some(1), "{ran:?}");
    for line in [
        "FAIL    functional/bad/one\n",
        "PANIC   functional/panics/one: VERIFY3(a == b) failed",
        "NOTRUN  functional/panics/two: the machine was gone before its turn",
        "LOST    functional/lost/one: the machine was lost: the guest reset itself before the program ended",
        "FAIL    functional/good/two: Known issue",
        "PASS 6  FAIL 2  SKIP 0  PANIC 1  LOST 1  NOTRUN 1\n11 tests: 6 passed, 1 excused, 4 wrong, in ",
    ] {
        assert!(ran.out.contains(line), "no `{line}` in {}", ran.out);
    }
    ran.says(&["Passed functional/good 3 tests in", "Failed functional/panics 2 of 3 tests in"]);
    let out = fake.run(1).join("out");
    let kernel = std::fs::read_to_string(out.join("functional.panics/one.kernel.log")).unwrap();
    assert!(kernel.starts_with("[ 1.0] ZTS run ") && kernel.contains("Kernel panic"), "{kernel}");
    let setup = std::fs::read_to_string(out.join("functional.panics/setup.kernel.log")).unwrap();
    assert!(setup.ends_with("of setup\n"), "{setup}");
    let junit = std::fs::read_to_string(out.join("junit.xml")).unwrap();
    let junit = roxmltree::Document::parse(&junit).unwrap();
    let count = |name: &str| junit.root_element().attribute(name).unwrap().parse::<u32>().unwrap();
    assert_eq!(["tests", "failures", "errors", "skipped"].map(count), [11, 1, 3, 1]);
    let tap = std::fs::read_to_string(out.join("results.tap")).unwrap();
    assert!(
        tap.starts_with("TAP version 13\n1..11\n") && tap.contains("not ok 3 - functional/good two # TODO FAIL"),
        "{tap}"
    );
    assert!(fake.run(1).join("groups/functional.panics/console.log").exists());
    // The group that is good passes by itself.
    assert_eq!(fake.suite(&["-t", "good"]).status, Some(0));
    // The guest has the memory that profiles need, unless somebody says that it has less.
    let command = std::fs::read_to_string(fake.run(1).join("groups/functional.good/command")).unwrap();
    assert!(command.contains("-m 1536 "), "{command}");
    assert_eq!(fake.suite(&["-t", "good", "-m", "1G"]).says(&["needs 1536M"]).status, Some(2));
}

#[test]
fn an_unchanged_group_comes_from_the_cache_and_what_changes_it_runs_it_again() {
    let fake = Fake::new();
    let good = |args: &[&str]| {
        let ran = fake.suite(&[&["-T", "good,bad,crash"], args].concat());
        assert_eq!(ran.status, Some(1), "{ran:?}");
        (ran.count("Testing"), ran.count("Cached functional/good"), ran.out.matches("  cached").count())
    };
    assert_eq!(good(&[]), (4, 0, 0));
    // The machines of the other groups were lost, so nothing of them is remembered.
    assert_eq!(good(&[]), (2, 1, 2));
    assert_eq!(good(&["--rerun"]), (4, 0, 0));
    assert_eq!(good(&["-m", "2G"]), (4, 0, 0));
    fake.0.write(".quiz/shared/new", "x");
    assert_eq!(good(&[]), (4, 0, 0));
    fake.0.recipe("t-root", "[outputs]\nlayer = \"file\"\n", "echo other >/quiz/out/layer\n");
    assert_eq!(good(&[]), (4, 0, 0));
    let json = fake.suite(&["--json", "-T", "bad"]);
    let value: serde_json::Value = serde_json::from_str(&json.out).unwrap();
    assert_eq!((&value["status"], &value["results"]["groups"][0]["cached"]), (&1.into(), &true.into()));
    let junit = std::fs::read_to_string(PathBuf::from(value["out"].as_str().unwrap()).join("junit.xml")).unwrap();
    assert!(junit.contains("<property name=\"cached\" value=\"true\"/>"), "{junit}");
}

#[test]
fn since_a_commit_only_what_the_change_can_touch_is_run() {
    let fake = Fake::new();
    let listed = |args: &[&str]| {
        let ran = fake.suite(&[&["--list", "-v"], args].concat());
        assert_eq!(ran.status, Some(0), "{ran:?}");
        let groups = ran.out.lines().map(|line| line.split(' ').next().unwrap().to_owned()).collect::<Vec<_>>();
        (groups, ran.err)
    };
    assert_eq!(listed(&["--since", "HEAD"]).0, [""; 0]);
    assert_eq!(fake.suite(&["--since", "HEAD"]).says(&["nothing to run"]).status, Some(0));
    fake.0.write("tests/zfs-tests/tests/functional/bad/two.ksh", "");
    assert_eq!(listed(&["--since", "HEAD"]).0, ["functional/bad"]);
    fake.0.write("tests/runfiles/linux.run", &LINUX.replace("['one']", "['one', 'two']"));
    assert_eq!(listed(&["--since", "HEAD"]).0, ["functional/bad", "functional/lost"]);
    assert_eq!(listed(&["--since", "HEAD", "-T", "crash"]).0, ["functional/lost"]);
    fake.0.write("module/zfs/zfs_ioctl.c", "x");
    let (groups, said) = listed(&["--since", "HEAD"]);
    assert_eq!(groups.len(), 4);
    assert!(said.contains("module/zfs/zfs_ioctl.c changed since HEAD, which can touch every group"), "{said}");
    let wrong = fake.suite(&["--since", "no-such"]);
    assert_eq!(wrong.status, Some(2));
    wrong.says(&["git cannot tell what changed since no-such", "no-such"]);
}

#[test]
fn a_name_that_matches_nothing_is_wrong_input_before_anything_is_built() {
    let fake = Fake::new();
    for (args, words) in [
        (["-t", "godo"], ["no test or group `godo`", "did you mean `good`?"]),
        (["-T", "carsh"], ["no tag `carsh`", "did you mean `crash`?"]),
        (["-r", "comon"], ["no runfile `comon`", "there are: common, linux"]),
    ] {
        let ran = fake.suite(&args);
        assert_eq!((ran.status, ran.count("Making")), (Some(2), 0), "{ran:?}");
        ran.says(&words);
    }
    let ran = fake.each("# nothing\n", &[]);
    assert_eq!(ran.status, Some(2));
    ran.says(&["list has no command"]);
}

#[test]
fn any_commands_run_each_in_a_machine_of_its_own() {
    let fake = Fake::new();
    let ran = fake.each("# two\npass 1\n\nfail 2\n", &["-j2"]);
    assert_eq!(ran.status, Some(1), "{ran:?}");
    assert!(ran.out.contains("FAIL    fail 2: status 3: fail 2\n"), "{}", ran.out);
    let text = |group: &str| std::fs::read_to_string(fake.run(1).join(format!("groups/{group}/stdout"))).unwrap();
    assert_eq!((text("1").as_str(), text("2").as_str()), ("pass 1\n", "fail 2\n"));
    // In another order, with more: what is known is not run again.
    let ran = fake.each("panic\nfail 2\npass 1\nlost\n", &[]);
    assert_eq!((ran.status, ran.count("Testing")), (Some(1), 2), "{ran:?}");
    for line in ["PANIC   panic: VERIFY3(a == b) failed (quiz crash show 2/1)\n", "LOST    lost: the machine was lost"]
    {
        assert!(ran.out.contains(line), "{}", ran.out);
    }
    assert_eq!(fake.each("pass 1\n", &[]).status, Some(0));
}

#[test]
fn a_program_that_the_guest_has_not_is_told_with_what_it_sees_of_the_folder() {
    let fake = Fake::new();
    let words = "status 127: the guest has no such program";
    let ran = fake.each("missing\n", &[]);
    assert_eq!((ran.status, ran.count(words)), (Some(1), 1), "{ran:?}");
    ran.says(&["/shared", "--share . --cwd ."]);
    assert_eq!(fake.each("fail\n", &[]).count(words), 0);
}

#[test]
fn folders_of_the_host_are_for_reading_and_nothing_is_remembered_of_what_lies_there() {
    let fake = Fake::new();
    let ran = fake.each("pass\n", &["--share", ".:rw"]);
    assert_eq!((ran.status, ran.count("Testing")), (Some(2), 0), "{ran:?}");
    ran.says(&["--share .:rw: no test may write what another one reads", "DIR:overlay"]);
    let ran = fake.each("pass\n", &["--cwd", "tests"]);
    assert_eq!((ran.status, ran.count("Testing")), (Some(2), 0), "{ran:?}");
    ran.says(&["--cwd tests: the guest does not see ", "--share . shares the current folder"]);
    let ran = fake.each("elsewhere\n", &["--cwd", "/nowhere"]);
    ran.says(&["status 126: the program cannot be started, or not in /nowhere"]);
    // As a profile may have it, once more in other words.
    let shared = ["--share", ".", "--share", ".:ro", "--cwd", "."];
    for _ in 0..2 {
        let ran = fake.each("pass\nmissing\n", &shared);
        assert_eq!((ran.status, ran.count("Testing pass"), ran.count("/shared")), (Some(1), 1, 0), "{ran:?}");
    }
    let command = std::fs::read_to_string(fake.run(2).join("groups/1/command")).unwrap();
    let dir = fake.0.dir().canonicalize().unwrap();
    let share = format!(",path={},security_model=none,multidevs=remap,readonly=on", dir.display());
    assert!(command.contains(&share), "{command}");
}

#[test]
fn the_whole_suite_is_not_run_unasked_where_nobody_works_on_openzfs() {
    let project = Project::new();
    let ran = project.run(&["test"]);
    assert_eq!((ran.status, ran.count("Making")), (Some(2), 0), "{ran:?}");
    ran.says(&["this is no worktree of OpenZFS", "quiz test --each FILE", "-r common -r linux"]);
    assert!(!project.dir().join(".quiz/runs").exists());
}

#[test]
fn a_run_is_a_page_too_with_the_kernels_words_and_the_runs_before() {
    let fake = Fake::new();
    let evil = "pass </script><script>alert(1)</script>";
    fake.each(&format!("lost\n{evil}\n"), &[]);
    assert_eq!(fake.each(&format!("lost\n{evil}\npanic\n"), &[]).status, Some(1));
    let page = std::fs::read_to_string(fake.run(2).join("out/report.html")).unwrap();
    assert!(page.starts_with("<!doctype html>") && !page.contains("<script>alert"), "{page}");
    let (_, rest) = page.split_once("<script type=\"application/json\" id=\"data\">").unwrap();
    let data: serde_json::Value = serde_json::from_str(rest.split_once("</script>").unwrap().0).unwrap();
    let test = |group: usize| &data["groups"][group]["tests"][0];
    assert_eq!([&test(0)["verdict"], &test(1)["verdict"], &test(2)["verdict"]], ["LOST", "PASS", "PANIC"]);
    assert_eq!((&test(1)["test"], &data["groups"][1]["cached"]), (&evil.into(), &true.into()));
    let runs: Vec<_> = data["runs"].as_array().unwrap().iter().map(|run| (&run["run"], &run["wrong"])).collect();
    assert_eq!(runs, [(&"1".into(), &1.into()), (&"2".into(), &2.into())]);
    assert_eq!((&test(0)["past"][0]["verdict"], &test(2)["past"][0]), (&"LOST".into(), &serde_json::Value::Null));
    assert!(test(2)["log"].as_str().unwrap().contains("Kernel panic"), "{}", test(2));
}

#[test]
fn a_group_that_never_ends_is_ended_by_its_time_limit() {
    let fake = Fake::new();
    let ran = fake.each("hang\npass\n", &["--timeout", "1", "-j2"]);
    assert_eq!(ran.status, Some(1), "{ran:?}");
    assert!(ran.out.contains("TIMEOUT hang: the guest hung after 1 s\n"), "{}", ran.out);
    assert!(ran.out.contains("2 tests: 1 passed, 0 excused, 1 wrong"), "{}", ran.out);
}

#[test]
fn one_signal_ends_all_machines_and_starts_no_more() {
    let fake = Fake::new();
    // All stages are built first, so that the wait below is for the tests alone.
    fake.each("pass\n", &[]);
    fake.0.write("list", "hang 1\nhang 2\npass 3\n");
    let mut command = fake.command("fake=each", &["--each", "list", "-j2"]);
    let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let deadline = Instant::now() + Duration::from_secs(20);
    let started = |group: &str| fake.run(2).join(format!("groups/{group}/console.log")).exists();
    while !(started("1") && started("2")) {
        assert!(Instant::now() < deadline && child.try_wait().unwrap().is_none());
        std::thread::sleep(Duration::from_millis(10));
    }
    let asked = Instant::now();
    let pid = rustix::process::Pid::from_child(&child);
    rustix::process::kill_process(pid, rustix::process::Signal::INT).unwrap();
    let ran = Ran::from(child.wait_with_output().unwrap());
    assert_eq!(ran.status, Some(130), "{ran:?}");
    assert!(asked.elapsed() < Duration::from_secs(5));
    assert!(ran.out.contains("NOTRUN  pass 3: ended by SIGINT"), "{}", ran.out);
    let left = Command::new("ps").args(["-eo", "args", "-ww"]).output().unwrap();
    let dir = fake.0.dir().display().to_string();
    assert!(
        !String::from_utf8_lossy(&left.stdout).lines().any(|line| line.contains("qemu-system") && line.contains(&dir))
    );
}
