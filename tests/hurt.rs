//! What must survive: scripts that misbehave, killed builds, full disks, damaged caches, two builds at once.

use crate::project::{Project, Ran, files};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

const OUT: &str = "[outputs]\nout = \"file\"\n";

#[test]
fn a_failed_script_shows_the_compilers_words_its_log_and_the_way_to_repeat_it() {
    let project = Project::new();
    let noise = "for n in $(seq 100); do echo \"  CC x$n.o\"; done\n";
    project.recipe("t-bad", OUT, &format!("{noise}echo \"x.c:3:1: error: no such thing\"\n{noise}exit 7\n"));
    let ran = project.run(&["build", "t-bad"]);
    assert_eq!(ran.status, Some(1));
    ran.says(&[
        "the stage t-bad failed (exit status: 7)",
        "x.c:3:1: error: no such thing",
        "the whole log is ",
        "build t-bad",
    ]);
    let log = ran.err.lines().find_map(|line| line.split("the whole log is ").nth(1)).unwrap();
    assert_eq!(std::fs::read_to_string(log).unwrap().lines().count(), 201);
}

#[test]
fn an_output_left_out_or_of_the_wrong_kind_is_named() {
    let project = Project::new();
    project.recipe("t-none", "[outputs]\nfirst = \"file\"\nsecond = \"tree\"\n", "echo x >/quiz/out/first\n");
    let ran = project.run(&["build", "t-none"]);
    assert_eq!(ran.status, Some(1));
    ran.says(&["t-none", "second"]);
    project.recipe("t-kind", "[outputs]\nfirst = \"tree\"\n", "echo x >/quiz/out/first\n");
    project.run(&["build", "t-kind"]).says(&["t-kind", "first"]);
}

#[test]
fn a_script_cannot_write_to_its_inputs_or_elsewhere_nor_reach_the_network() {
    let project = Project::new();
    project.recipe("t-one", OUT, "echo one >/quiz/out/out\n");
    let attempts = [
        ("t-input", "echo x >/quiz/in/one"),
        ("t-chmod", "chmod 0777 /quiz/in/one"),
        ("t-usr", "touch /usr/evil"),
        ("t-root", "touch /evil"),
        ("t-recipe", "touch /quiz/recipe/evil"),
        ("t-remount", "mount -o remount,rw,bind /quiz/in/one"),
    ];
    for (name, attempt) in attempts {
        let tables = format!("[inputs]\none = \"t-one\"\n{OUT}");
        project.recipe(name, &tables, &format!("echo x >/quiz/out/out\n{attempt}\n"));
        let ran = project.run(&["build", name]);
        assert_eq!(ran.status, Some(1), "{name} went through: {ran:?}");
    }
    // Only the loopback is there.
    project.recipe("t-links", OUT, "tail -n +3 /proc/net/dev | cut -d: -f1 >/quiz/out/out\n");
    assert_eq!(std::fs::read_to_string(project.built("t-links")).unwrap().trim(), "lo");
    assert_eq!(std::fs::read_to_string(project.built("t-one")).unwrap(), "one\n");
}

#[test]
fn two_at_once_make_each_stage_once_and_the_second_says_whom_it_waits_for() {
    let project = Project::new();
    project.recipe("t-slow", OUT, "sleep 1.5; echo x >/quiz/out/out\n");
    let first = project.start(&["build", "t-slow"]);
    std::thread::sleep(Duration::from_millis(500));
    let pid = first.id();
    let second = Ran::from(project.start(&["build", "t-slow"]).wait_with_output().unwrap());
    let first = Ran::from(first.wait_with_output().unwrap());
    assert_eq!((first.status, second.status), (Some(0), Some(0)), "{first:?} {second:?}");
    assert_eq!(first.count("Made t-slow") + second.count("Made t-slow"), 1, "{first:?} {second:?}");
    second.says(&[&format!("Waiting for t-slow, which process {pid} is making")]);
    assert_eq!(first.out, second.out);
}

#[test]
fn after_kill_9_in_the_middle_there_is_no_half_artifact_no_lock_and_no_script_left() {
    let project = Project::new();
    let marker = format!("{}.{}", 86400, std::process::id());
    project.recipe("t-slow", OUT, &format!("echo half >/quiz/out/out\nsleep {marker}\n"));
    let mut child = project.start(&["build", "t-slow"]);
    let running = || {
        let ps = Command::new("ps").args(["-eo", "args"]).output().unwrap();
        String::from_utf8_lossy(&ps.stdout).lines().any(|line| line == format!("sleep {marker}"))
    };
    wait_until("the script runs", running);
    child.kill().unwrap();
    child.wait().unwrap();
    wait_until("the script is gone", || !running());
    project.recipe("t-slow", OUT, "echo whole >/quiz/out/out\n");
    assert_eq!(std::fs::read_to_string(project.built("t-slow")).unwrap(), "whole\n");
    let left: Vec<_> = files(&project.cache().join("tmp")).into_iter().filter(|p| p.ends_with("out")).collect();
    assert!(left.is_empty(), "{left:?}");
}

#[test]
fn a_process_that_outlives_the_sandbox_and_holds_its_pipe_is_not_waited_for() {
    let project = Project::new();
    project.recipe("t-one", OUT, ":\n");
    // Silent, or with something to say for ever: longer than this test bears, not so long that it stays.
    for (n, left) in ["sleep 60", "for n in $(seq 600); do echo more; sleep 0.1; done"].iter().enumerate() {
        let pid = project.dir().join("pid");
        project.stand_in("bwrap", &format!("seq 9999\n({left}) &\necho $! >{}\nexit {}\n", pid.display(), n + 3));
        let start = Instant::now();
        let ran = project.run(&["build", "t-one"]);
        let took = start.elapsed();
        let _ = Command::new("kill").arg(std::fs::read_to_string(pid).unwrap().trim()).status();
        assert!(took < Duration::from_secs(30), "{left}: {took:?}");
        ran.says(&[&format!("the stage t-one failed (exit status: {})", n + 3)]);
        let log = ran.err.lines().find_map(|line| line.split("the whole log is ").nth(1)).unwrap();
        let log = std::fs::read_to_string(log).unwrap();
        let numbers: Vec<&str> = log.lines().filter(|line| *line != "more").collect();
        assert_eq!((numbers.len(), numbers.last()), (9999, Some(&"9999")), "{left}");
    }
}

fn wait_until(what: &str, happens: impl Fn() -> bool) {
    let start = Instant::now();
    while !happens() {
        assert!(start.elapsed() < Duration::from_secs(20), "waited in vain: {what}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

#[test]
fn a_full_disk_is_said_and_leaves_nothing_half() {
    let project = Project::new();
    project.recipe("t-big", OUT, "head -c 8000000 /dev/zero >/quiz/out/out\n");
    std::fs::create_dir(project.cache()).unwrap();
    let quiz = env!("CARGO_BIN_EXE_quiz");
    // A file system of 4 MB, in a mount namespace of its own.
    let script =
        "mount -t tmpfs -o size=4m none \"$1\"; shift; \"$@\"; s=$?; find \"$QUIZ_CACHE_DIR/records\" -type f; exit $s";
    let cache = project.cache();
    let run = |stage: &str| {
        let template = project.command(&[]);
        let mut command = Command::new("unshare");
        command.args(["--map-root-user", "--mount", "sh", "-c", script, "sh"]);
        command.arg(&cache).args([quiz, "build", stage]).current_dir(project.dir()).env_clear();
        for (name, value) in template.get_envs() {
            command.env(name, value.unwrap());
        }
        Ran::from(command.output().unwrap())
    };
    let ran = run("t-big");
    assert_eq!(ran.status, Some(1), "{ran:?}");
    ran.says(&["No space left on device"]);
    assert_eq!(ran.out, "", "a record was written");
    project.recipe("t-small", OUT, "echo x >/quiz/out/out\n");
    assert_eq!(run("t-small").status, Some(0));
    // A source that does not fit where it is unpacked.
    let repository = project.dir().with_file_name("repository");
    std::fs::create_dir(&repository).unwrap();
    let make = "git init -q . && head -c 3000000 /dev/urandom >a && cp a b && git add . && \
                git -c user.name=t -c user.email=t@example.org commit -q -m x";
    assert!(project.other("sh").args(["-ec", make]).current_dir(&repository).status().unwrap().success());
    let recipe = format!(
        "version = 1\nabout = \"a test\"\n[options]\nversion = {{ type = \"string\", default = \"HEAD\", about = \"x\" }}\n[outputs]\ntree = \"tree\"\n\
         [source]\nentry = \"t\"\n[source.git]\nrepository = \"{}\"\ntag = \"v{{version}}\"\n",
        repository.display()
    );
    project.write(".quiz/recipes/t-source/recipe.toml", &recipe);
    let ran = run("t-source");
    assert_eq!((ran.status, ran.out.as_str()), (Some(1), ""), "{ran:?}");
    ran.says(&["git could not write what it was asked for", "if the disk is full: quiz cache shows what takes room"]);
    project.built("t-source");
}

#[test]
fn a_limit_for_the_size_of_files_is_an_error_and_no_end_of_quiz() {
    let project = Project::new();
    project.recipe("t-loud", OUT, "seq 100000\necho x >/quiz/out/out\n");
    let template = project.command(&[]);
    let mut command = Command::new("sh");
    command.args(["-c", "ulimit -f 64; exec \"$0\" build t-loud", env!("CARGO_BIN_EXE_quiz")]);
    command.current_dir(project.dir()).env_clear();
    command.envs(template.get_envs().filter_map(|(name, value)| Some((name, value?))));
    let ran = Ran::from(command.output().unwrap());
    assert_eq!(ran.status, Some(1), "{ran:?}");
    ran.says(&["File too large"]);
}

/// Changes one byte in the middle of a file, read-only or not.
fn damage(path: &Path) {
    let mut bytes = std::fs::read(path).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 0x40;
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o644)).unwrap();
    std::fs::write(path, bytes).unwrap();
}

#[test]
fn a_damaged_record_or_object_is_noticed_and_made_again() {
    let project = Project::new();
    project.recipe("t-one", OUT, "echo the right words >/quiz/out/out\n");
    let path = project.built("t-one");
    let records = files(&project.cache().join("records"));
    assert!(!records.is_empty());
    records.iter().for_each(|record| damage(record));
    let ran = project.ok(&["build", "t-one"]);
    assert_eq!(ran.count("Made t-one"), 1);
    ran.says(&[&format!("warning: {} was damaged", records[0].display())]);
    damage(&path);
    let ran = project.ok(&["build", "t-one"]);
    assert_eq!(ran.count("Made t-one"), 1, "{ran:?}");
    assert_eq!(std::fs::read_to_string(&path).unwrap(), "the right words\n");
    std::fs::remove_file(&path).unwrap();
    assert_eq!(std::fs::read_to_string(project.built("t-one")).unwrap(), "the right words\n");
}

#[test]
fn an_object_that_is_gone_is_made_again_only_when_something_reads_it() {
    let project = Project::new();
    project.recipe("t-one", OUT, "echo one >/quiz/out/out\n");
    let two = |comment: &str| {
        let script = format!("# {comment}\ntr a-z A-Z </quiz/in/one >/quiz/out/out\n");
        project.recipe("t-two", &format!("[inputs]\none = \"t-one\"\n{OUT}"), &script);
    };
    two("a");
    let path = project.built("t-one");
    project.ok(&["build", "t-two"]);
    std::fs::remove_file(&path).unwrap();
    assert_eq!(project.ok(&["build", "t-two"]).count("Made"), 0);
    assert!(!path.exists());
    two("b");
    let ran = project.ok(&["build", "t-two"]);
    assert_eq!((ran.count("Made t-one"), ran.count("Made t-two")), (1, 1), "{ran:?}");
}

#[test]
fn a_cache_of_another_format_is_refused_with_the_way_out() {
    let project = Project::new();
    project.recipe("t-one", OUT, "echo one >/quiz/out/out\n");
    project.ok(&["build", "t-one"]);
    std::fs::write(project.cache().join("version"), "99\n").unwrap();
    let ran = project.run(&["build", "t-one"]);
    assert_eq!(ran.status, Some(1));
    ran.says(&[&project.cache().display().to_string(), "QUIZ_CACHE_DIR"]);
}

#[test]
fn what_a_script_puts_in_the_place_of_its_word_on_kept_outputs_is_not_followed() {
    let project = Project::new();
    let secret = project.write("secret", "the first line of a file of mine\n");
    project.recipe("t-link", OUT, &format!("echo x >/quiz/out/out\nln -s {} /quiz/out/.kept\n", secret.display()));
    project.recipe("t-pipe", OUT, "echo x >/quiz/out/out\nmkfifo /quiz/out/.kept\n");
    for stage in ["t-link", "t-pipe"] {
        let ran = project.ok(&["build", stage]);
        assert!(!ran.err.contains("of mine"), "{ran:?}");
    }
}
