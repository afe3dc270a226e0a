//! Machines that run, looked at and ended from elsewhere, with a script that plays qemu and the guest.

use crate::collect::age;
use crate::project::Ran;
use crate::suite::Fake;
use serde_json::Value;
use std::fs::Permissions;
use std::io::{BufRead, BufReader};
use std::os::unix::fs::{PermissionsExt, chown};
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// A machine in the background, once the others see it.
fn started(fake: &Fake, play: &str) -> Child {
    let before = ps(fake).len();
    let mut command = fake.up(play, &["-p", "ztest"]);
    let child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let begun = Instant::now();
    while ps(fake).len() <= before {
        assert!(begun.elapsed() < Duration::from_secs(60), "it is not seen");
        std::thread::sleep(Duration::from_millis(20));
    }
    child
}

fn ps(fake: &Fake) -> Vec<Value> {
    let ran = fake.0.ok(&["--json", "ps"]);
    serde_json::from_str::<Value>(&ran.out).unwrap().as_array().unwrap().clone()
}

fn ended(child: Child) -> Ran {
    Ran::from(child.wait_with_output().unwrap())
}

/// Until the kernel has said that.
fn said(fake: &Fake, run: &str, words: &str) {
    let begun = Instant::now();
    while !fake.0.ok(&["logs", run]).out.contains(words) {
        assert!(begun.elapsed() < Duration::from_secs(60), "{words}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

#[test]
fn who_looks_from_elsewhere_sees_what_runs_and_ends_it() {
    let fake = Fake::new();
    assert_eq!(fake.0.ok(&["ps"]).out, "");
    let child = started(&fake, "lives");
    said(&fake, "1", "Linux version");
    let machines = ps(&fake);
    assert_eq!(machines.len(), 1, "{machines:?}");
    let machine = &machines[0];
    assert_eq!(
        (&machine["run"], &machine["kernel"], &machine["restored"]),
        (&"1".into(), &"7.3.4".into(), &false.into())
    );
    assert_eq!(machine["program"], serde_json::json!(["true"]));
    assert!(machine["profiles"].as_array().unwrap().contains(&"ztest".into()), "{machine}");
    assert_eq!(machine["project"], fake.0.dir().canonicalize().unwrap().to_str().unwrap());
    assert!(machine["memory"].as_u64().unwrap() > 0 && machine["since"].as_u64().unwrap() > 1_000_000_000, "{machine}");
    let table = fake.0.ok(&["ps"]).out;
    assert!(
        table.starts_with("RUN  KERNEL  MEMORY") && table.lines().count() == 2 && table.contains("7.3.4"),
        "{table}"
    );
    // From another project of the same user.
    let elsewhere = fake.0.dir().with_file_name("elsewhere");
    std::fs::create_dir(&elsewhere).unwrap();
    let other = Ran::from(fake.0.command(&["ps"]).current_dir(&elsewhere).output().unwrap());
    assert_eq!(other.out.lines().count(), 2, "{other:?}");
    let other = Ran::from(fake.0.command(&["stop"]).current_dir(&elsewhere).output().unwrap());
    assert_eq!(other.status, Some(2), "{other:?}");
    other.says(&["no machine of this project runs", "quiz ps"]);
    // What follows sees the last word, and ends with the run.
    let follower = fake.0.command(&["logs", "-f"]).stdout(Stdio::piped()).spawn().unwrap();
    fake.0.ok(&["stop"]).says(&["Stopped", "/.quiz/runs/1"]);
    let ran = ended(child);
    assert_eq!((ran.status, ran.out.as_str()), (Some(143), "bye\n"), "its program got the signal: {ran:?}");
    let followed = ended(follower).out;
    assert!(followed.contains("Linux version") && followed.ends_with("the last word\n"), "{followed}");
    assert_eq!(ps(&fake).len(), 0);
    let ran = fake.0.run(&["stop", "1"]);
    assert_eq!(ran.status, Some(2), "{ran:?}");
    ran.says(&["run 1 is over"]);
    for id in ["2", "x", "../1", "1/../1"] {
        let ran = fake.0.run(&["logs", id]);
        assert_eq!(ran.status, Some(2), "{id}: {ran:?}");
        ran.says(&[&format!("there is no run {id}")]);
    }
}

#[test]
fn all_are_ended_together_and_one_that_was_killed_is_no_longer_seen() {
    let fake = Fake::new();
    let mut killed = started(&fake, "lives");
    let children = [started(&fake, "lives"), started(&fake, "lives")];
    killed.kill().unwrap();
    killed.wait().unwrap();
    assert_eq!(ps(&fake).len(), 2);
    let links = fake.0.cache().join("running");
    assert_eq!(std::fs::read_dir(&links).unwrap().count(), 2);
    fake.0.ok(&["stop", "--all"]).says(&["/.quiz/runs/2", "/.quiz/runs/3"]);
    for child in children {
        let status = ended(child).status;
        // It may have been asked before its program was started.
        assert!([Some(143), Some(125)].contains(&status), "{status:?}");
    }
    assert_eq!((ps(&fake).len(), std::fs::read_dir(&links).unwrap().count()), (0, 0));
}

#[test]
fn a_run_whose_machine_is_over_is_ended_while_it_waits_for_who_reads_it() {
    let fake = Fake::new();
    let word = fake.0.dir().join("word");
    let child = started(&fake, &format!("loud:{}", word.display()));
    std::fs::write(word, "").unwrap();
    let begun = Instant::now();
    while !ps(&fake).is_empty() {
        assert!(begun.elapsed() < Duration::from_secs(60), "its machine goes on");
        std::thread::sleep(Duration::from_millis(20));
    }
    // Nobody waits in it for a machine that does not come. Who was there before the run had seen its end is sent away.
    let words = ["-k", "5", "20", env!("CARGO_BIN_EXE_quiz"), "exec", "1", "--", "true"];
    let asked = Ran::from(fake.0.other("timeout").args(words).output().unwrap());
    let is_told = asked.err.contains("the machine of run 1 is over") || asked.err.contains("the machine ended");
    assert!(is_told && matches!(asked.status, Some(122 | 125)), "{asked:?}");
    fake.0.ok(&["stop", "1"]).says(&["Stopped", "/.quiz/runs/1"]);
    assert!(ended(child).status != Some(0));
}

#[test]
fn what_a_machine_that_runs_consists_of_no_collection_takes() {
    let fake = Fake::new();
    let (kernel, root) = (fake.0.built("kernel"), fake.0.built("t-root"));
    let child = started(&fake, "lives");
    // The stages of the project make another kernel and another root from now on.
    fake.0.recipe(
        "kernel",
        "[outputs]\nimage = \"tree\"\n",
        "mkdir /quiz/out/image\necho new >/quiz/out/image/vmlinux\n",
    );
    fake.0.recipe("t-root", "[outputs]\nlayer = \"file\"\n", "echo new >/quiz/out/layer\n");
    fake.0.ok(&["build", "kernel", "t-root"]);
    age(&fake.0, 60);
    let list: Value = serde_json::from_str(&fake.0.ok(&["--json", "cache"]).out).unwrap();
    let by_run = |item: &&Value| item["held-by"].as_array().unwrap().iter().any(|holder| holder["by"] == "run");
    let held: Vec<_> = list["items"].as_array().unwrap().iter().filter(by_run).map(|item| &item["name"]).collect();
    assert!(held.contains(&&"kernel".into()) && held.contains(&&"t-root".into()), "{list}");
    for words in [&["gc", "--max-size", "1K"][..], &["gc"]] {
        fake.0.ok(words);
        assert!(kernel.exists() && root.exists(), "{words:?}");
    }
    fake.0.ok(&["stop", "1"]);
    ended(child);
    age(&fake.0, 60);
    fake.0.ok(&["gc"]);
    assert!(!kernel.exists() && !root.exists());
}

/// Files of several users need root, as which CI runs.
#[test]
fn a_machine_of_another_user_is_neither_seen_nor_entered_nor_ended() {
    const OTHER: u32 = 54_322;
    if !rustix::process::geteuid().is_root() {
        return;
    }
    let fake = Fake::new();
    let dir = fake.0.dir();
    let place = dir.parent().unwrap();
    let home = place.join("others");
    std::fs::create_dir(&home).unwrap();
    chown(&home, Some(OTHER), Some(OTHER)).unwrap();
    let copied = Command::new("cp").arg(env!("CARGO_BIN_EXE_quiz")).arg(place.join("quiz")).status().unwrap();
    assert!(copied.success());
    for folder in [place, &dir] {
        std::fs::set_permissions(folder, Permissions::from_mode(0o755)).unwrap();
    }
    let child = started(&fake, "lives");
    let other = |words: &[&str]| {
        let mut command = Command::new(place.join("quiz"));
        command.env_clear().env("PATH", std::env::var_os("PATH").unwrap()).env("HOME", &home).env("QUIZ_TRUST", &dir);
        command.args(words).current_dir(&dir).uid(OTHER).gid(OTHER).stdin(Stdio::null());
        Ran::from(command.output().unwrap())
    };
    let seen = other(&["ps"]);
    assert_eq!((seen.status, seen.out.as_str()), (Some(0), ""), "{seen:?}");
    let commands: [&[&str]; 14] = [
        &["dump", "1/functional.atime"],
        &["wait", "1"],
        &["wait"],
        &["gdb", "1"],
        &["drgn", "1"],
        &["crash", "show", "1"],
        &["crash", "rm", "1"],
        &["exec", "1", "--", "true"],
        &["attach", "1"],
        &["stop", "1"],
        &["dump", "1"],
        &["logs", "1"],
        &["monitor", "1", "--", "info", "status"],
        &["cp", "1:/etc/hostname", "there"],
    ];
    for words in commands {
        let ran = other(words);
        // 2 could be the program's own status.
        let wanted = if ["exec", "attach", "wait"].contains(&words[0]) { 125 } else { 2 };
        assert_eq!((ran.status, ran.out.as_str()), (Some(wanted), ""), "{words:?}: {ran:?}");
        ran.says(&["run 1 is another user's"]);
    }
    assert_eq!(ps(&fake).len(), 1);
    fake.0.ok(&["stop", "1"]);
    assert_eq!(ended(child).status, Some(143));
}

#[test]
fn what_a_machine_of_several_said_is_shown_by_its_group() {
    let fake = Fake::new();
    let ran = Ran::from(fake.command("fake=suite", &["-t", "panics"]).output().unwrap());
    assert_eq!(ran.status, Some(1), "{ran:?}");
    let ran = fake.0.run(&["logs"]);
    assert_eq!(ran.status, Some(2), "{ran:?}");
    ran.says(&["run 1 has a machine for each of its groups", "quiz logs 1/functional.panics"]);
    assert!(fake.0.ok(&["logs", "1/functional.panics"]).out.contains("Kernel panic - not syncing"));
}

#[test]
fn a_run_that_is_detached_gives_its_number_and_leaves_what_it_said_and_its_status() {
    let fake = Fake::new();
    let up = |play: &str| Ran::from(fake.up(play, &["-p", "ztest", "--detach"]).output().unwrap());
    let ran = up("lives");
    assert_eq!((ran.status, ran.out.as_str()), (Some(0), "1\n"), "{ran:?}");
    assert_eq!(ps(&fake).len(), 1);
    let waits = fake.0.start(&["wait"]);
    fake.0.ok(&["stop", "1"]);
    for ran in [ended(waits), fake.0.run(&["wait", "1"])] {
        assert_eq!(ran.status, Some(143), "{ran:?}");
    }
    let file = |name: &str| std::fs::read_to_string(fake.0.dir().join(".quiz/runs").join(name)).unwrap();
    assert_eq!((file("1/stdout").as_str(), file("1/stderr").as_str()), ("bye\n", ""));
    // It may be over before anybody looks.
    let ran = up("program");
    assert_eq!((ran.status, ran.out.as_str()), (Some(0), "2\n"), "{ran:?}");
    assert_eq!(fake.0.run(&["wait", "2"]).status, Some(7));
    assert_eq!((file("2/stdout").as_str(), file("2/stderr").as_str()), ("out", "error"));
    let ran = up("panic");
    assert_eq!(fake.0.run(&["wait"]).status, Some(123), "{ran:?}");
    assert!(file("3/quiz.log").contains("Kernel panic"), "{}", file("3/quiz.log"));
}

/// Who reads to the end what a script writes, as ssh and CI do, would wait for the machine.
#[test]
fn a_run_that_is_detached_keeps_nothing_open_of_who_started_it() {
    let fake = Fake::new();
    let up = fake.up("lives", &["-p", "ztest", "--detach"]);
    let mut script = fake.0.other("sh");
    script.args(["-c", "exec 9>&1 >/dev/null; exec \"$@\"", "sh"]).arg(up.get_program()).args(up.get_args());
    script.envs(up.get_envs().filter_map(|(name, value)| Some((name, value?))));
    let child = script.stdout(Stdio::piped()).spawn().unwrap();
    let (said, ended) = std::sync::mpsc::channel();
    std::thread::spawn(move || said.send(child.wait_with_output().unwrap().status.code()));
    let status = ended.recv_timeout(Duration::from_secs(60));
    let lives = ps(&fake).len();
    fake.0.ok(&["stop"]);
    assert_eq!((status, lives), (Ok(Some(0)), 1));
}

#[test]
fn a_guest_that_crashed_stands_still_for_a_debugger_until_it_is_stopped() {
    let fake = Fake::new();
    let mut up = fake.up("panic-and-stays", &["-p", "ztest", "--gdb=panic"]);
    let mut child = up.env("QUIZ_RUNS_KEEP_CRASHES", "0").stderr(Stdio::piped()).spawn().unwrap();
    let mut said = BufReader::new(child.stderr.take().unwrap()).lines().map(Result::unwrap);
    assert!(said.any(|line| line.contains("Standing still for a debugger: quiz gdb 1; quiz stop 1 ends it")));
    assert_eq!(ps(&fake).len(), 1);
    assert!(child.try_wait().unwrap().is_none());
    fake.0.ok(&["stop"]);
    // Its end is what it was stopped for.
    assert_eq!(child.wait().unwrap().code(), Some(123));
    assert!(said.any(|line| line.contains("Ended")));
    let ran = fake.0.run(&["-k", "6.1,6.12", "up", "--gdb"]);
    assert_eq!(ran.status, Some(125), "{ran:?}");
    ran.says(&["`quiz up --gdb` takes one kernel"]);
    // Without a machine and without a crash there is nothing to look at; and of a run that is over its crash is meant.
    fake.0.stand_in("gdb", "exit 9");
    let ran = fake.0.run(&["gdb", "7"]);
    assert_eq!(ran.status, Some(2), "{ran:?}");
    ran.says(&["there is no run 7"]);
    let ran = fake.0.run(&["drgn", "1"]);
    assert_eq!(ran.status, Some(2), "{ran:?}");
    ran.says(&["run 1 has left no crash"]);
}

#[test]
fn a_run_that_does_not_come_as_far_as_its_program_is_not_detached() {
    let fake = Fake::new();
    let ran = Ran::from(fake.up("hook-panics", &["-p", "ztest", "--detach"]).output().unwrap());
    assert_eq!((ran.status, ran.out.as_str()), (Some(123), ""), "{ran:?}");
    ran.says(&["Ended"]);
    let ran = fake.0.run(&["up", "--detach", "-p", "no-such-profile"]);
    assert_eq!((ran.status, ran.out.as_str()), (Some(125), ""), "{ran:?}");
    let ran = fake.0.run(&["-k", "6.1,6.12", "up", "--detach"]);
    assert_eq!(ran.status, Some(125), "{ran:?}");
    ran.says(&["`quiz up --detach` takes one kernel"]);
    // Whoever waits is signalled, or killed, and nothing is left behind.
    for signal in ["TERM", "KILL"] {
        let mut up = fake.up("mute", &["-p", "ztest", "--detach"]);
        let waiting = up.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let begun = Instant::now();
        while ps(&fake).is_empty() {
            assert!(begun.elapsed() < Duration::from_secs(60), "it is not seen");
            std::thread::sleep(Duration::from_millis(20));
        }
        kill(&waiting, signal);
        let ran = ended(waiting);
        assert_eq!(ran.status, (signal == "TERM").then_some(143), "{ran:?}");
        while !ps(&fake).is_empty() {
            assert!(begun.elapsed() < Duration::from_secs(60), "it is left");
            std::thread::sleep(Duration::from_millis(20));
        }
    }
    assert_eq!(fake.0.run(&["wait"]).status, Some(125), "it was killed, and has left no status");
    assert_eq!(fake.0.run(&["wait", "77"]).status, Some(125), "there is none");
    // As whoever started it wanted it told.
    let lost = Ran::from(fake.up("reset", &["-p", "ztest", "--detach", "--lost-as", "9"]).output().unwrap());
    assert_eq!((lost.status, fake.0.run(&["wait"]).status), (Some(0), Some(9)), "{lost:?}");
}

fn kill(child: &Child, signal: &str) {
    let name = format!("-{signal}");
    let status = std::process::Command::new("kill").args([name, child.id().to_string()]).status().unwrap();
    assert!(status.success());
}
