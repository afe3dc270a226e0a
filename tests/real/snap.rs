//! Machines that are saved under a name when a program has run in them, and go on from there.

use super::{Real, new_word};
use crate::project::Ran;
use std::collections::BTreeSet;
use std::path::Path;
use std::process::Stdio;

impl Real {
    /// A machine with a disk, which is saved when that script has run.
    fn snap(&self, name: &str, more: &[&str], script: &str) -> Ran {
        let machine = ["-p", "blockdev:count=1,size=64M", "snap", name];
        self.run(&[&machine, more, &["--", "sh", "-euc", script]].concat())
    }

    /// `quiz cache` names the snapshot of the project in `dir` as who holds it and what it was booted of.
    fn is_held(&self, name: &str, dir: &Path) {
        let by_it = serde_json::json!({ "by": "own-snapshot", "project": dir, "name": name });
        let cache: serde_json::Value = serde_json::from_str(&self.run(&["--json", "cache"]).out).unwrap();
        let items = cache["items"].as_array().unwrap().iter();
        let held = items.filter(|item| item["held-by"].as_array().unwrap().contains(&by_it));
        let held: BTreeSet<&str> = held.filter_map(|item| item["name"].as_str()).collect();
        assert!(held.contains("kernel") && held.contains(format!("snapshot {name}").as_str()), "{held:?}");
    }

    fn from(&self, name: &str, more: &[&str], script: &str) -> Ran {
        self.run(&[&["up", "--from", name], more, &["--", "sh", "-euc", script]].concat())
    }
}

#[test]
fn a_machine_goes_on_from_what_its_program_has_left_and_each_for_itself() {
    let real = Real::new();
    let word = new_word();
    let dir = real.0.dir().canonicalize().unwrap();
    real.0.write("given/file", "of the host");
    let script = "cat file; echo in memory >/run/left; echo on the disk | dd of=/dev/quizb0 conv=fsync,notrunc 2>/dev/null\n\
        cd /; setsid sh -c 'n=0; while :; do n=$((n+1)); echo $n >/run/count; sleep 0.1; done' >/dev/null 2>&1 </dev/null &\n\
        until test -s /run/count; do sleep 0.1; done\n";
    let append = ["--append", &format!("quiz-test={word}")];
    for how in ["--no-input", "--replace"] {
        // The first one boots, and so does the second: of such a machine no other was there.
        let ran = real.snap("kept", &[&append[..], &["--share", "given", "--cwd", "given", how]].concat(), script);
        assert_eq!((ran.status, ran.out.as_str()), (Some(0), "of the host"), "{ran:?}");
        ran.says(&["Saved kept", "quiz up --from kept"]);
    }
    let list = real.run(&["--json", "snap"]);
    let list: serde_json::Value = serde_json::from_str(&list.out).unwrap();
    assert_eq!((list[0]["name"].as_str(), list.as_array().map(Vec::len)), (Some("kept"), Some(1)));
    assert!(list[0]["profiles"].as_array().unwrap().contains(&"blockdev".into()), "{list}");

    real.is_held("kept", &dir);

    let script = "uname -n; cat /etc/machine-id /proc/sys/kernel/random/boot_id /run/left; head -c 12 /dev/quizb0\n\
        before=$(cat /run/count); until test $(cat /run/count) -gt $before; do sleep 0.1; done\n\
        echo other >/run/left; echo other | dd of=/dev/quizb0 conv=fsync,notrunc 2>/dev/null; cat /out/nothing 2>/dev/null || echo fine\n\
        getent hosts $(uname -n) | cut -d' ' -f1; test ! -e given/file || exit 9\n";
    let mut seen = BTreeSet::new();
    // Side by side.
    let start = |_| {
        let mut command = real.command(&["up", "--from", "kept", "--", "sh", "-euc", script]);
        command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
    };
    let started: Vec<_> = (3..=5).map(start).collect();
    let mut names = BTreeSet::new();
    for child in started {
        let ran = Ran::from(child.wait_with_output().unwrap());
        assert_eq!((ran.status, ran.count("Restoring"), ran.count("Making")), (Some(0), 1, 0), "{ran:?}");
        let lines: Vec<&str> = ran.out.lines().collect();
        names.insert(lines[0].to_owned());
        assert!(lines[1..3].iter().all(|line| line.len() > 30 && seen.insert((*line).to_owned())), "{ran:?}");
        assert_eq!(lines[3..], ["in memory", "on the disk", "fine", "127.0.1.1"], "{ran:?}");
    }
    assert_eq!(names, (3..=5).map(|n| format!("quiz-{n}")).collect());
    // A share, a status, and a crash are what they are in any machine.
    let ran = real.from("kept", &["--share", "given:ro", "--cwd", "given"], "cat file; exit 7");
    assert_eq!((ran.status, ran.out.as_str()), (Some(7), "of the host"), "{ran:?}");
    let ran = real.from("kept", &[], "echo c >/proc/sysrq-trigger");
    assert_eq!(ran.status, Some(123), "{ran:?}");

    // Further programs find their way into one that goes on, as into any.
    let ran = real.run(&["up", "--from", "kept", "--detach", "--", "sleep", "1000"]);
    let number = ran.out.trim().to_owned();
    let ran = real.run(&["exec", &number, "--", "cat", "/run/left"]);
    assert_eq!((ran.status, ran.out.as_str()), (Some(0), "in memory\n"), "{ran:?}");
    assert_eq!(real.run(&["stop", &number]).status, Some(0));

    let again = list[0]["again"].as_str().unwrap();
    assert!(again.contains("snap kept") && again.contains(" --replace -- sh -euc "), "{again}");
    let ran = real.from("kept", &["-m", "2G"], "true");
    assert_eq!(ran.status, Some(125), "{ran:?}");
    ran.says(&["--from kept goes on with the machine as it was saved: --memory=2G would change nothing", "quiz"]);
    let ran = real.from("kapt", &[], "true");
    ran.says(&["this project has no snapshot kapt", "it has kept"]);
    assert_eq!(ran.status, Some(125));
    assert_eq!(real.run(&["snap", "kept", "--rm"]).status, Some(0));
    let ran = real.from("kept", &[], "true");
    ran.says(&["this project has no snapshot kept", "quiz snap kept -- PROGRAM makes one"]);
    assert!(dir.join(".quiz/runs").exists() && real.machines().is_empty());
}

#[test]
fn what_cannot_be_kept_is_told_and_the_programs_status_is_its_own() {
    let real = Real::new();
    real.0.write("given/file", "");
    let ran = real.snap("failed", &[], "exit 7");
    assert_eq!(ran.status, Some(7), "{ran:?}");
    ran.says(&["the snapshot failed was not saved: only a machine whose program ends with 0 is"]);
    // It is gone, or its kernel is, before the program has ended.
    for (letter, status) in [("o", 122), ("c", 123)] {
        let ran = real.snap("gone", &[], &format!("echo {letter} >/proc/sysrq-trigger; sleep 100"));
        assert_eq!((ran.status, ran.count("Saved")), (Some(status), 0), "{ran:?}");
    }
    // Somebody in the guest has a file of the host's open.
    let holds = "cd /; sleep 1000 <given/file >/dev/null 2>&1 & holder=$!\n\
        until grep -q sleep /proc/$holder/comm; do :; done; echo $holder";
    let holds = holds.replace("given", &real.0.dir().canonicalize().unwrap().join("given").display().to_string());
    let ran = real.snap("holds", &["--share", "given"], &holds);
    assert_eq!(ran.status, Some(125), "{ran:?}");
    let process = format!("process {} (sleep) has something open in ", ran.out.trim());
    ran.says(&["the program ended with 0, but the machine was not saved", &process]);
    let ran = real.run(&["snap"]);
    assert_eq!((ran.status, ran.out.as_str()), (Some(0), ""), "{ran:?}");
    let ran = real.run(&["-p", "nvme", "snap", "disk", "--", "true"]);
    assert_eq!(ran.status, Some(125), "{ran:?}");
    ran.says(&["the machine cannot be saved", "NVMe"]);
    let ran = real.run(&["snap", "a/b", "--", "true"]);
    assert_eq!(ran.status, Some(125), "{ran:?}");
    ran.says(&["\"a/b\" is no name for a snapshot"]);
}
