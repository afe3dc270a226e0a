//! What a run brings back: output, exit status, files, a terminal, and every byte of a stream.

use super::Real;
use crate::project::Ran;
use std::io::Write;
use std::os::unix::ffi::OsStrExt;
use std::process::{Command, Stdio};

#[test]
fn uname_comes_back_and_the_second_run_only_boots() {
    let real = Real::new();
    let ran = real.run(&["up", "--", "uname", "-a"]);
    assert_eq!(ran.status, Some(0), "{ran:?}");
    assert!(ran.out.starts_with("Linux quiz-1 ") && ran.out.ends_with("GNU/Linux\n"), "{ran:?}");
    let again = real.run(&["up", "--", "uname", "-a"]);
    assert_eq!((again.count("Made"), again.count("Making")), (0, 0), "{again:?}");
    assert_eq!(again.out, ran.out.replace("quiz-1 ", "quiz-2 "));
}

/// The PATH has only the sandbox, as on a host where no qemu is installed. Files that quiz finds without PATH are still the host's.
#[test]
fn machines_run_in_the_toolchains_qemu_where_the_host_has_none() {
    let real = Real::new();
    let path = tempfile::tempdir().unwrap();
    let bwrap = ["/usr/bin/bwrap", "/usr/local/bin/bwrap"].into_iter().find(|path| std::path::Path::new(path).exists());
    std::os::unix::fs::symlink(bwrap.unwrap(), path.path().join("bwrap")).unwrap();
    let run = |qemu: &str, flags: &[&str]| {
        let mut command = real.command(&[&["up"], flags, &["--", "sh", "-c", "uname -s; exit 7"]].concat());
        Ran::from(command.env("PATH", path.path()).env("QUIZ_MACHINE_QEMU", qemu).output().unwrap())
    };
    let without = run("host", &[]);
    assert_eq!(without.status, Some(125), "{without:?}");
    without.says(&["qemu-system-x86_64"]);
    // The second run saves the machine, unless an earlier run of the tests has.
    for (flags, start) in [(&["--no-snapshot"][..], "Booting"), (&[], ""), (&[], "Restoring")] {
        let ran = run("toolchain", flags);
        assert_eq!((ran.status, ran.out.as_str()), (Some(7), "Linux\n"), "{ran:?}");
        ran.says(&[start]);
        let loader = std::fs::read_to_string(real.run_folder().join("command")).unwrap();
        assert!(loader.contains("ld-linux-x86-64.so.2"), "{loader}");
    }
}

#[test]
fn exit_statuses_are_the_programs_own() {
    let real = Real::new();
    for (script, status) in [("exit 0", 0), ("exit 7", 7), ("exit 255", 255), ("kill -9 $$", 137), ("kill -15 $$", 143)]
    {
        let ran = real.sh(script);
        assert_eq!(ran.status, Some(status), "{script}: {ran:?}");
    }
    assert_eq!(real.run(&["up", "--", "no-such-program"]).status, Some(127));
    assert_eq!(real.run(&["up", "--", "/etc/hostname"]).status, Some(126));
}

#[test]
fn streams_are_apart_and_binary_clean() {
    let real = Real::new();
    let output =
        real.command(&["up", "--", "sh", "-c", "printf 'a\\000\\377\\r\\nb'; printf 'c\\r\\n' >&2"]).output().unwrap();
    assert_eq!(output.stdout, b"a\0\xff\r\nb");
    assert!(output.stderr.ends_with(b"c\r\n"), "{:?}", String::from_utf8_lossy(&output.stderr));
}

#[test]
fn a_hundred_megabytes_go_through_cat_and_come_back_the_same() {
    let real = Real::new();
    // Every block differs, so that a lost, doubled or moved one shows.
    let data: Vec<u8> = (0_u32..25_000_000).flat_map(|n| n.wrapping_mul(2_654_435_761).to_le_bytes()).collect();
    let mut child = real.command(&["up", "--", "cat"]).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    let mut stdin = child.stdin.take().unwrap();
    let output = std::thread::scope(|scope| {
        let data = &data;
        scope.spawn(move || stdin.write_all(data).unwrap());
        child.wait_with_output().unwrap()
    });
    assert_eq!(output.status.code(), Some(0));
    assert_eq!(output.stdout.len(), data.len());
    assert!(output.stdout == data, "the bytes differ");
}

/// A loop of a shell as people write it. Each line of the list is one run's, and none is lost.
#[test]
fn a_loop_over_a_list_runs_once_a_line_and_what_a_program_reads_is_its_own() {
    let real = Real::new();
    real.0.write("list", "one\ntwo\nthree\nfour\n");
    let looped = |line: &str| Ran::from(real.shell(line).output().unwrap());
    let quiz = env!("CARGO_BIN_EXE_quiz");
    let ran = looped(&format!("while read x; do {quiz} -q up -- echo got $x; done <list"));
    assert_eq!((ran.status, ran.out.as_str()), (Some(0), "got one\ngot two\ngot three\ngot four\n"), "{ran:?}");
    // The program reads a line of its own, byte by byte, and the next run goes on behind it.
    let ran = looped(&format!("while read x; do {quiz} -q up -- sh -c 'read y; echo $0 $y' $x; done <list"));
    assert_eq!((ran.status, ran.out.as_str()), (Some(0), "one two\nthree four\n"), "{ran:?}");
    // A pipe takes nothing back.
    let ran = looped(&format!("cat list | while read x; do {quiz} -q up -n -- sh -c 'cat; echo $0' $x; done"));
    assert_eq!((ran.status, ran.out.as_str()), (Some(0), "one\ntwo\nthree\nfour\n"), "{ran:?}");
    // Little of it is read ahead, and nothing before there is a program: who comes next finds the rest.
    let script = format!("seq 100000 | {{ {quiz} -q up -- sh -c 'read x; echo $x'; wc -c; }}");
    let ran = looped(&script);
    let lines: Vec<&str> = ran.out.lines().collect();
    assert_eq!((ran.status, lines[0]), (Some(0), "1"), "{ran:?}");
    assert!(lines[1].trim().parse::<usize>().unwrap() >= 588_895 - 2 - (64 << 10), "{ran:?}");
    let ran = looped(&format!("seq 100000 | {{ {quiz} -q up -- no-such-program; wc -c; }}"));
    assert!(ran.out.trim().parse::<usize>().unwrap() >= 588_895 - (64 << 10), "{ran:?}");
    // All of a pipe comes, however slowly it is read.
    let slow = "head -c 100000 | wc -c; sleep 0.3; dd bs=100 count=50 iflag=fullblock 2>/dev/null | wc -c; cat | cksum";
    let ran = looped(&format!("seq 100000 | {quiz} -q up -- sh -c '{slow}'; seq 100000 | tail -c +105001 | cksum"));
    let lines: Vec<&str> = ran.out.lines().collect();
    assert_eq!((lines.len(), lines[0], lines[1]), (4, "100000", "5000"), "{ran:?}");
    assert_eq!(lines[2], lines[3], "{ran:?}");
}

/// As somebody pastes a file.
#[test]
fn on_a_terminal_any_number_of_bytes_can_be_typed() {
    let real = Real::new();
    let line = "stty raw -echo; echo ready; head -c 200000 | cksum; sleep 1";
    // Typed when the program asks for it, at most a line's worth at a time: a terminal takes no more.
    let typed = "until grep -q ready said; do sleep 0.1; done; sleep 0.5; seq 100000 | head -c 200000 | dd bs=1000 2>/dev/null; sleep 5";
    let quiz = env!("CARGO_BIN_EXE_quiz");
    let command = format!("{quiz} up -- sh -c '{line}'");
    let script = format!(
        "({typed}) | timeout 120 script -q -e -c \"{command}\" /dev/null >said; seq 100000 | head -c 200000 | cksum"
    );
    let ran = Ran::from(real.shell(&script).env("TERM", "xterm").output().unwrap());
    let said = std::fs::read_to_string(real.0.dir().join("said")).unwrap();
    assert!(said.contains(ran.out.trim()), "{ran:?}: {said}");
}

#[test]
fn shared_is_the_hosts_folder_and_out_comes_back() {
    let real = Real::new();
    real.0.write(".quiz/shared/question", "6 * 7\n");
    let ran = real.sh("echo $(( $(cat /shared/question) )) >/shared/answer; echo kept >/out/result");
    assert_eq!(ran.status, Some(0), "{ran:?}");
    let read = |path: &str| std::fs::read_to_string(real.0.dir().join(path)).unwrap();
    assert_eq!(read(".quiz/shared/answer"), "42\n");
    assert_eq!(std::fs::read_to_string(real.run_folder().join("out/result")).unwrap(), "kept\n");
    assert!(read(".quiz/.gitignore").starts_with("*\n"));
}

#[test]
fn the_root_is_fresh_and_writable_each_time() {
    let real = Real::new();
    let script = "test ! -e /usr/mark && touch /usr/mark /etc/mark /root/mark && mount | grep -q '^overlay on / '";
    assert_eq!(real.sh(script).status, Some(0));
    assert_eq!(real.sh(script).status, Some(0));
}

#[test]
fn in_the_background_of_a_terminal_it_runs_and_reads_nothing() {
    let real = Real::new();
    let quiz = env!("CARGO_BIN_EXE_quiz");
    let ran = real.on_a_terminal(&format!("set -m; {quiz} -q up -- sh -c 'cat; exit 5' & wait $!"));
    assert_eq!(ran.status, Some(5), "{ran:?}");
}

#[test]
fn a_signal_that_is_ignored_where_it_was_started_ends_nothing() {
    let real = Real::new();
    let script = "trap '' HUP; exec \"$0\" up -- sh -c 'until test -e /shared/end; do sleep 0.1; done; exit 4'";
    let template = real.command(&[]);
    let mut command = Command::new("sh");
    command.args(["-c", script, env!("CARGO_BIN_EXE_quiz")]).current_dir(real.0.dir()).env_clear();
    for (name, value) in template.get_envs() {
        command.env(name, value.unwrap());
    }
    let mut child = command.stdin(Stdio::null()).spawn().unwrap();
    let end = std::time::Instant::now() + std::time::Duration::from_secs(120);
    while !std::fs::read_to_string(real.0.dir().join(".quiz/runs/1/console.log")).is_ok_and(|log| !log.is_empty()) {
        assert!(std::time::Instant::now() < end, "no machine");
        std::thread::sleep(std::time::Duration::from_millis(50));
    }
    super::kill(child.id(), "-HUP");
    std::thread::sleep(std::time::Duration::from_millis(300));
    real.0.write(".quiz/shared/end", "");
    assert_eq!(child.wait().unwrap().code(), Some(4));
}

#[test]
fn an_argument_is_bytes() {
    let real = Real::new();
    let mut command = real.command(&["up", "--", "printf", "%s"]);
    let output = command.arg(std::ffi::OsStr::from_bytes(b"a\xff\n")).output().unwrap();
    assert_eq!((output.status.code(), output.stdout.as_slice()), (Some(0), b"a\xff\n".as_slice()), "{output:?}");
}

#[test]
fn what_the_kernel_cannot_take_is_said_before_it_boots() {
    let real = Real::new();
    let cpus = real.run(&["up", "--cpus", "65", "--", "nproc"]);
    assert_eq!((cpus.status, cpus.count("Booting")), (Some(125), 0), "{cpus:?}");
    cpus.says(&["machine.cpus = 65: this kernel takes 64 at most (CONFIG_NR_CPUS)"]);
    let long = real.run(&["up", "--append", &"x".repeat(2048), "--", "true"]);
    assert_eq!((long.status, long.count("Booting")), (Some(125), 0), "{long:?}");
    long.says(&["the kernel's command line has ", " bytes, and the kernel takes 2047 at most"]);
}

#[test]
fn an_accelerator_that_is_demanded_is_the_one() {
    let real = Real::new();
    let tcg = real.run(&["up", "--accel", "tcg", "--", "true"]);
    assert_eq!(tcg.status, Some(0), "{tcg:?}");
    tcg.says(&[" (tcg)"]);
    let kvm = real.run(&["up", "--accel", "kvm", "--no-snapshot", "--", "true"]);
    let (works, said) = (kvm.status == Some(0), kvm.err.as_str());
    assert!(said.contains(if works { " (kvm)" } else { "kvm" }) && !said.contains(" (tcg"), "{kvm:?}");
    assert!(works || kvm.status == Some(125), "{kvm:?}");
}

#[test]
fn a_terminal_that_the_root_does_not_know_is_one_there() {
    let real = Real::new();
    let quiz = env!("CARGO_BIN_EXE_quiz");
    let make = "infocmp -x xterm | sed 's/^xterm[^,]*/xterm-of-quiz/' | tic -x -o terms -";
    let line = format!("{make}; TERMINFO=$PWD/terms TERM=xterm-of-quiz {quiz} up -- tput cols");
    let ran = real.on_a_terminal(&format!("stty rows 33 cols 111; {line}"));
    assert_eq!(ran.status, Some(0), "{ran:?}");
    assert!(ran.out.contains("111"), "{ran:?}");
}

#[test]
fn on_a_terminal_the_program_has_one_of_the_right_size() {
    let real = Real::new();
    let quiz = env!("CARGO_BIN_EXE_quiz");
    let ran = real.on_a_terminal(&format!("stty rows 33 cols 111; {quiz} up -- sh -c 'tty; stty size; exit 5'"));
    assert_eq!(ran.status, Some(5), "{ran:?}");
    assert!(ran.out.contains("/dev/pts/0") && ran.out.contains("33 111"), "{ran:?}");
}

#[test]
fn kernel_messages_go_to_the_log_and_with_kmsg_among_the_output() {
    let real = Real::new();
    let log = || std::fs::read_to_string(real.run_folder().join("console.log")).unwrap();
    // However soon the program is over, and though the kernel's line is not at its end.
    let script = "printf '<4>hello from the kernel' >/dev/kmsg";
    let plain = real.sh(script);
    assert_eq!((plain.status, plain.count("hello from the kernel")), (Some(0), 0), "{plain:?}");
    assert!(log().contains("hello from the kernel"), "{}", log());
    let shown = real.run(&["up", "--kmsg", "--", "sh", "-c", script]);
    assert_eq!((shown.status, shown.count("hello from the kernel")), (Some(0), 1), "{shown:?}");
}

#[test]
fn machines_at_the_same_time_do_not_meet() {
    let real = Real::new();
    let runs: Vec<_> = (0..3)
        .map(|n| {
            let script = format!("echo {n} >/out/me; cat; sleep 1; cat /out/me");
            real.command(&["up", "--", "sh", "-c", &script])
                .stdout(Stdio::piped())
                .stderr(Stdio::piped())
                .spawn()
                .unwrap()
        })
        .collect();
    for (n, child) in runs.into_iter().enumerate() {
        let ran = Ran::from(child.wait_with_output().unwrap());
        assert_eq!((ran.status, ran.out), (Some(0), format!("{n}\n")), "{}", ran.err);
    }
    assert!(real.run_folder().ends_with("3"));
}

#[test]
fn the_machine_is_as_asked_for() {
    let real = Real::new();
    let words = ["up", "-m", "768M", "--cpus", "1", "--append", "quiz.test=1", "--", "sh", "-c"];
    let ran = real.run(&[&words[..], &["nproc; grep MemTotal /proc/meminfo; cat /proc/cmdline"]].concat());
    let mut lines = ran.out.lines();
    assert_eq!(lines.next(), Some("1"), "{ran:?}");
    let memory: u64 = lines.next().unwrap().split_whitespace().nth(1).unwrap().parse().unwrap();
    assert!((650_000..786_432).contains(&memory), "{memory} kB");
    assert!(lines.next().unwrap().split_whitespace().any(|word| word == "quiz.test=1"));
}

#[test]
fn a_dry_run_prints_the_command_and_starts_no_process() {
    let real = Real::new();
    let ran = real.run(&["up", "--dry-run", "--", "true"]);
    assert_eq!(ran.status, Some(0), "{ran:?}");
    assert!(ran.out.starts_with("qemu-system-x86_64 ") || ran.out.contains("/qemu-system-x86_64 "), "{}", ran.out);
    let template = real.command(&[]);
    let mut command = Command::new("strace");
    command.args([
        "-f",
        "-qq",
        "-e",
        "trace=execve,execveat,statx",
        env!("CARGO_BIN_EXE_quiz"),
        "up",
        "--dry-run",
        "--",
        "true",
    ]);
    command.current_dir(real.0.dir()).env_clear();
    for (name, value) in template.get_envs() {
        command.env(name, value.unwrap());
    }
    let traced = Ran::from(command.output().unwrap());
    assert_eq!(traced.status, Some(0), "{traced:?}");
    assert_eq!(traced.count("execve"), 1, "only quiz itself: {traced:?}");
    // Nor does quiz look at the thousands of files of the roots in which scripts ran.
    let of_root = |line: &&str| line.contains("/trees/") && line.contains("/usr/lib/");
    assert_eq!(traced.err.lines().filter(of_root).count(), 0);
}

#[test]
fn a_project_that_cannot_be_written_has_its_runs_in_the_users_own_folder() {
    let real = Real::new();
    let (dir, template) = (real.0.dir(), real.command(&[]));
    let state = real.0.bin().join("../state");
    let in_it = |args: &[&str]| {
        let mut command = Command::new("bwrap");
        command.args(["--dev-bind", "/", "/", "--ro-bind"]).args([&dir, &dir]).arg("--").arg(template.get_program());
        command.args(args).current_dir(&dir).env_clear();
        command
            .envs(template.get_envs().filter_map(|(name, value)| Some((name, value?))))
            .env("XDG_STATE_HOME", &state);
        Ran::from(command.output().unwrap())
    };
    let ran = in_it(&["up", "--", "sh", "-c", "echo from the guest >/out/file; exit 7"]);
    assert_eq!(ran.status, Some(7), "{ran:?}");
    let own = state.join("quiz/projects").join(dir.strip_prefix("/").unwrap()).join(".quiz");
    ran.says(&["cannot be written: runs lie in", &own.display().to_string()]);
    assert_eq!(std::fs::read_to_string(own.join("runs/1/out/file")).unwrap(), "from the guest\n");
    let again = in_it(&["up", "--detach", "--", "sleep", "600"]);
    assert_eq!((again.status, again.count("cannot be written")), (Some(0), 0), "it was said once: {again:?}");
    let ps: serde_json::Value = serde_json::from_str(&in_it(&["--json", "ps"]).out).unwrap();
    assert!(ps.to_string().contains(&format!("{:?}", dir.display().to_string())), "{ps}");
    assert_eq!(in_it(&["exec", "2", "--", "sh", "-c", "exit 9"]).status, Some(9));
    assert_eq!(in_it(&["stop", "2"]).status, Some(0));
    assert!(!dir.join(".quiz").exists());
    // Once the folder can be written again, nothing of this is forgotten.
    let again = |args: &[&str]| Ran::from(real.command(args).env("XDG_STATE_HOME", &state).output().unwrap());
    assert_eq!(again(&["up", "--", "true"]).status, Some(0));
    let logs = again(&["logs", "2"]);
    assert!(logs.status == Some(0) && logs.out.contains("Linux version"), "{logs:?}");
    assert_eq!(again(&["clean"]).status, Some(0));
    assert!(!own.join("runs/1").exists() && dir.join(".quiz/runs").exists() && !dir.join(".quiz/runs/1").exists());
}

/// Two names of one kernel: what is shown is the order, the table and the status, not another build.
#[test]
fn several_kernels_run_one_after_the_other_and_end_with_a_table() {
    let real = Real::new();
    let script = "test -e /shared/second && exit 3; touch /shared/second; exit 0";
    let ran = real.run(&["-k", "default,6.1,6.1.1", "up", "--", "sh", "-c", script]);
    // The third is not to be had: that is said, and the others run all the same.
    ran.says(&["there is no version 6.1.1"]);
    assert_eq!(ran.status, Some(3), "{ran:?}");
    let rows: Vec<Vec<&str>> = ran
        .err
        .lines()
        .skip_while(|line| !line.starts_with("kernel "))
        .skip(1)
        .map(|line| line.split_whitespace().take(2).collect())
        .collect();
    assert_eq!(rows, [["default", "0"], ["6.1", "3"], ["6.1.1", "125"]], "{}", ran.err);
}
