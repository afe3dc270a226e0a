//! Many machines at once, in one worktree.

use super::super::Real;
use crate::project::Ran;
use std::io::{BufRead, BufReader, Read, Write};
use std::process::{Child, Stdio};

/// How many machines crash, and how many others run beside them.
const CRASHES: u8 = 100;
const OTHERS: u8 = 10;

/// What the machine of this number does, and the status that has to come of it.
fn deed(number: u8) -> (String, i32) {
    if number < CRASHES {
        return (format!("echo {number}; read -r go; echo c >/proc/sysrq-trigger; sleep 600"), 123);
    }
    (format!("echo {number}; read -r go; exit {number}"), i32::from(number))
}

/// Lets it go on when its word has come, since what a guest has only just written may go with its kernel. All that it wrote, and its end.
fn ended(mut child: Child) -> (String, Ran) {
    let (mut stdin, stdout) = (child.stdin.take().unwrap(), child.stdout.take().unwrap());
    let (mut out, mut words) = (String::new(), BufReader::new(stdout));
    words.read_line(&mut out).unwrap();
    // One that has ended already has closed it, and its status says why.
    let _ = stdin.write_all(b"\n");
    words.read_to_string(&mut out).unwrap();
    (out, Ran::from(child.wait_with_output().unwrap()))
}

#[test]
#[ignore = "starts 110 machines at once: tests/run --full"]
fn a_hundred_crashes_side_by_side_are_all_kept_and_each_run_has_its_own_status() {
    let real = Real::new();
    // With room for all memories, which are read when all have ended.
    real.0.write(
        "quiz.toml",
        "[machine]\nmemory = \"256M\"\nboot-timeout = 900\n[runs]\nkeep = 200\nkeep-crashes = 200\n",
    );
    assert_eq!(real.run(&["up", "--", "true"]).status, Some(0));
    let start = |number: u8| -> Child {
        let mut up = real.command(&["up", "--", "sh", "-c", &deed(number).0]);
        up.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
    };
    let runs: Vec<(u8, Child)> = (0..CRASHES + OTHERS).map(|number| (number, start(number))).collect();
    let waits = runs.into_iter().map(|(number, child)| (number, std::thread::spawn(move || ended(child))));
    for (number, wait) in waits.collect::<Vec<_>>() {
        let (out, ran) = wait.join().unwrap();
        assert_eq!((ran.status, out.trim()), (Some(deed(number).1), &*number.to_string()), "{ran:?}");
    }
    let crashes: serde_json::Value = serde_json::from_str(&real.run(&["--json", "crash", "ls"]).out).unwrap();
    let crashes = crashes.as_array().unwrap();
    assert_eq!(crashes.len(), usize::from(CRASHES));
    let signature = &crashes[0]["signature"];
    for crash in crashes {
        assert_eq!(&crash["signature"], signature, "{crash}");
        let size = std::fs::metadata(crash["memory"].as_str().expect("a memory")).unwrap().len();
        assert!(size > crash["used"].as_u64().unwrap() && crash["cut"].is_null(), "{size}: {crash}");
    }
}
