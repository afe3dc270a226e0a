//! What is shown while quiz works: on pseudo terminals of several widths, and where there is no terminal.

use crate::project::{Project, files};
use crate::worktree;
use rustix::fs::{Mode, mkfifoat};
use rustix::process::{Pid, Signal, kill_process};
use rustix::pty::{OpenptFlags, grantpt, ioctl_tiocgptpeer, openpt, unlockpt};
use rustix::termios::{Winsize, tcsetwinsize};
use std::fs::File;
use std::io::{BufRead, BufReader, Read};
use std::os::unix::process::ExitStatusExt;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

/// What make says of a file that has a long name.
const MAKE: &str = "i=0; while [ $i -lt 30 ]; do i=$((i+1)); \
    echo \"  CC      fs/a/folder/with/a/name/that/is/longer/than/most/terminals/are/wide/file$i.o\"; sleep 0.06; done\n";

fn project(end: &str) -> Project {
    let project = Project::new();
    project.recipe("t-made", "[outputs]\nout = \"file\"\n", &format!("{MAKE}{end}echo >/quiz/out/out\n"));
    project
}

/// A terminal, and what quiz wrote to it.
struct Terminal {
    master: File,
    child: Child,
    bytes: Vec<u8>,
}

impl Terminal {
    fn start(mut command: Command, columns: u16, variables: &[(&str, &str)]) -> Self {
        let master = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY).unwrap();
        grantpt(&master).unwrap();
        unlockpt(&master).unwrap();
        let slave = ioctl_tiocgptpeer(&master, OpenptFlags::RDWR | OpenptFlags::NOCTTY).unwrap();
        command.env("TERM", "xterm-256color").envs(variables.iter().copied()).stdout(Stdio::null()).stderr(slave);
        let terminal = Self { master: master.into(), child: command.spawn().unwrap(), bytes: Vec::new() };
        // The command holds the other end, too.
        drop(command);
        terminal.resize(columns);
        terminal
    }

    fn resize(&self, columns: u16) {
        tcsetwinsize(&self.master, Winsize { ws_row: 24, ws_col: columns, ws_xpixel: 0, ws_ypixel: 0 }).unwrap();
    }

    /// Reads on until this was written.
    fn until(&mut self, words: &str) {
        let mut buffer = [0; 4096];
        while !String::from_utf8_lossy(&self.bytes).contains(words) {
            let read = self.master.read(&mut buffer).unwrap_or(0);
            assert!(read > 0, "no `{words}` in {:?}", String::from_utf8_lossy(&self.bytes));
            self.bytes.extend_from_slice(&buffer[..read]);
        }
    }

    fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.child), signal).unwrap();
    }

    /// All that it wrote, in lines as they lie on the screen one after the other, and how it ended.
    fn end(mut self) -> (Vec<String>, String, ExitStatus) {
        // The kernel says EIO when nobody has the other end any more.
        let _ = self.master.read_to_end(&mut self.bytes);
        let text = String::from_utf8_lossy(&self.bytes).into_owned();
        (plain(&text).split(['\r', '\n']).map(str::to_owned).collect(), text, self.child.wait().unwrap())
    }
}

/// Without escape sequences.
fn plain(text: &str) -> String {
    let mut plain = String::new();
    let mut rest = text.chars().peekable();
    while let Some(c) = rest.next() {
        match (c, rest.peek()) {
            ('\x1b', Some('[')) => drop(rest.by_ref().skip(1).find(|c| ('@'..='~').contains(c))),
            ('\x1b', Some(']')) => drop(rest.by_ref().find(|c| *c == '\\' || *c == '\x07')),
            ('\x1b', _) => drop(rest.next()),
            (c, _) => plain.push(c),
        }
    }
    plain
}

fn build(project: &Project) -> Command {
    project.command(&["build", "--fresh", "t-made"])
}

fn run(command: Command, columns: u16, variables: &[(&str, &str)]) -> (Vec<String>, String) {
    let (lines, text, status) = Terminal::start(command, columns, variables).end();
    assert!(status.success(), "{text}");
    (lines, text)
}

#[test]
fn a_build_shows_how_far_it_is_by_the_last_one_and_fits_in_each_terminal() {
    let project = project("");
    let (lines, text) = run(build(&project), 80, &[]);
    let moving = |line: &&String| line.trim_start().starts_with("t-made");
    let shown: Vec<&String> = lines.iter().filter(moving).collect();
    assert!(shown.iter().all(|line| !line.contains(" of ")), "nobody knows how many: {shown:?}");
    // Not each line: on a busy machine one is drawn before make has begun.
    assert!(shown.iter().any(|line| line.contains("  CC      fs/a/")), "{text}");
    for columns in [80, 200, 30] {
        let (lines, text) = run(build(&project), columns, &[]);
        let shown: Vec<&String> = lines.iter().filter(moving).collect();
        let far = if columns == 30 { "%" } else { " of 30 objects, " };
        assert!(shown.iter().any(|line| line.contains(far)), "{columns}: {text}");
        assert_eq!(shown.iter().any(|line| line.contains("% [") || line.contains("[=")), columns == 200, "{shown:?}");
        let longest = lines.iter().map(|line| line.chars().count()).max().unwrap();
        assert!(longest <= usize::from(columns), "{columns}: {lines:?}");
        let end: Vec<&str> = lines.iter().map(|line| line.trim()).filter(|line| !line.is_empty()).collect();
        assert!(end.last().unwrap().starts_with("Made t-made in"), "nothing moves below: {text}");
    }
}

#[test]
fn a_terminal_that_gets_narrower_gets_narrower_lines() {
    let project = project("");
    let mut terminal = Terminal::start(build(&project), 200, &[]);
    terminal.until(" objects");
    terminal.resize(50);
    let (lines, text, status) = terminal.end();
    assert!(status.success(), "{text}");
    let widths: Vec<usize> =
        lines.iter().filter(|line| line.contains(" objects")).map(|line| line.chars().count()).collect();
    assert!(widths[0] > 80 && *widths.last().unwrap() <= 50, "{widths:?}");
}

#[test]
fn only_a_terminal_sees_lines_move_and_colours_only_who_wants_them() {
    let project = project("");
    let ran = project.ok(&["build", "t-made"]);
    assert!(!ran.err.contains('\x1b') && !ran.err.contains(" objects"), "{ran:?}");
    let (_, text) = run(build(&project), 80, &[("NO_COLOR", "1")]);
    assert!(text.contains(" objects") && !text.contains("\x1b[1;") && !text.contains("\x1b[2m"), "{text:?}");
    let (_, text) = run(build(&project), 80, &[("TERM", "dumb")]);
    assert!(!text.contains('\x1b') && !text.contains(" objects"), "{text:?}");
    let (_, text) = run(project.command(&["-q", "build", "--fresh", "t-made"]), 80, &[]);
    assert_eq!(text, "");
    let (lines, text) = run(project.command(&["--json", "build", "--fresh", "t-made"]), 80, &[("VTE_VERSION", "8001")]);
    assert!(!text.contains('\x1b'), "{text:?}");
    let events: Vec<serde_json::Value> =
        lines.iter().filter(|line| !line.is_empty()).map(|line| serde_json::from_str(line).unwrap()).collect();
    let progress = events.iter().find(|event| event["event"] == "progress").unwrap();
    assert_eq!(
        (&progress["what"], &progress["unit"], &progress["total"]),
        (&"t-made".into(), &"objects".into(), &30.into())
    );
}

/// GNOME's terminal library, new enough.
const VTE: (&str, &str) = ("VTE_VERSION", "8001");

/// What is shown outside of the screen was undone, and nothing came after that.
fn expect_undone(text: &str) {
    assert_eq!((text.matches("\x1b[22;2t").count(), text.matches("\x1b[23;2t").count()), (1, 1), "{text:?}");
    let (title, bar) = (text.rfind("\x1b]2;quiz: t-made").unwrap(), text.rfind("\x1b]9;4;").unwrap());
    assert!(text[bar..].starts_with("\x1b]9;4;0\x1b\\") && title < text.find("\x1b[23;2t").unwrap(), "{text:?}");
}

#[test]
fn title_and_bar_of_a_terminal_that_has_them_are_undone_at_each_end() {
    let good = project("");
    let (_, text) = run(build(&good), 80, &[VTE]);
    expect_undone(&text);
    assert!(text.contains("\x1b]9;4;3\x1b\\"), "nobody knows how many: {text:?}");
    let (_, text) = run(build(&good), 80, &[VTE]);
    assert!(text.contains("\x1b]9;4;1;"), "{text:?}");

    let bad = project("echo 'error: no'; exit 1\n");
    let (_, text, status) = Terminal::start(build(&bad), 80, &[VTE]).end();
    assert_eq!(status.code(), Some(1));
    expect_undone(&text);

    for signal in [Signal::INT, Signal::TERM, Signal::HUP] {
        let mut terminal = Terminal::start(build(&good), 80, &[VTE]);
        terminal.until("\x1b]9;4;1;");
        terminal.signal(signal);
        let (_, text, status) = terminal.end();
        assert_eq!(status.signal(), Some(signal.as_raw()), "it ends as it would have: {text:?}");
        expect_undone(&text);
    }

    for other in [&[][..], &[VTE, ("TMUX", "/tmp/tmux")]] {
        let (_, text) = run(build(&good), 80, other);
        assert!(!text.contains("\x1b]") && !text.contains("\x1b[22;2t"), "{text:?}");
    }
}

#[test]
fn a_run_of_tests_that_a_signal_ends_leaves_the_terminal_as_it_was() {
    let fake = crate::suite::Fake::new();
    fake.0.write("list", "hang\n");
    let mut terminal = Terminal::start(fake.command("fake=each", &["--each", "list"]), 80, &[VTE]);
    terminal.until("\x1b]2;quiz: tests");
    terminal.signal(Signal::INT);
    let (lines, text, status) = terminal.end();
    assert_eq!(status.code(), Some(130), "it ends in its own way: {text:?}");
    assert!(
        lines.iter().any(|line| line.trim_start().starts_with("tests") && line.contains("0 of 1 tests")),
        "{text:?}"
    );
    let count = |what: &str| text.matches(what).count();
    assert!(count("\x1b]2;quiz: tests") > 0 && count("\x1b[22;2t") == count("\x1b[23;2t"), "{text:?}");
    assert!(text[text.rfind("\x1b]9;4;").unwrap()..].starts_with("\x1b]9;4;0"), "{text:?}");
}

#[test]
fn a_count_that_can_be_neither_read_nor_kept_fails_no_stage() {
    let project = Project::new();
    let script = |word: &str| format!("echo '  CC      {word}.o'\necho {word} >/quiz/out/out\n");
    project.recipe("t-made", "[outputs]\nout = \"file\"\n", &script("one"));
    project.ok(&["build", "t-made"]);
    let has_count =
        |path: &std::path::PathBuf| std::fs::read(path).unwrap().windows(16).any(|bytes| bytes == b"steps of a stage");
    let counts: Vec<_> = files(&project.cache().join("memos")).into_iter().filter(has_count).collect();
    assert_eq!(counts.len(), 2, "of this project, and of any");
    for count in counts {
        std::fs::remove_file(&count).unwrap();
        std::fs::create_dir_all(count.join("in the way")).unwrap();
    }
    project.recipe("t-made", "[outputs]\nout = \"file\"\n", &script("two"));
    assert_eq!(project.ok(&["build", "t-made"]).count("Made t-made"), 1);
}

/// The progress of these events, by what it is of, with the last number of each.
fn told(events: &str) -> Vec<(String, serde_json::Value)> {
    let events = events.lines().map(|line| serde_json::from_str::<serde_json::Value>(line).unwrap());
    let mut told: Vec<(String, serde_json::Value)> = Vec::new();
    for event in events.filter(|event| event["event"] == "progress") {
        let what = event["what"].as_str().unwrap().to_owned();
        told.retain(|(before, _)| *before != what);
        told.push((what, event));
    }
    told
}

/// Runs quiz on a cache whose disk does not answer until it has said that it goes on: a pipe stands there in the place of a result.
fn on_a_slow_disk(project: &Project, args: &[&str]) -> String {
    let pipe = project.cache().join("records/00").join("0".repeat(64));
    std::fs::create_dir_all(pipe.parent().unwrap()).unwrap();
    mkfifoat(rustix::fs::CWD, &pipe, Mode::from_raw_mode(0o600)).unwrap();
    let mut command = project.command(args);
    let mut child = command.stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
    let stderr = BufReader::new(child.stderr.take().unwrap());
    let (begun, told) = (Instant::now(), AtomicBool::new(false));
    std::thread::scope(|scope| {
        let said = scope.spawn(|| {
            let mut text = String::new();
            for line in stderr.lines().map(Result::unwrap) {
                told.fetch_or(line.contains("\"progress\""), Ordering::SeqCst);
                text += &format!("{line}\n");
            }
            text
        });
        // It may look there several times.
        while !said.is_finished() {
            if told.load(Ordering::SeqCst) || begun.elapsed() > Duration::from_secs(60) {
                let _ = File::options().read(true).write(true).open(&pipe);
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        let text = said.join().unwrap();
        // A collection has removed it.
        let _ = std::fs::remove_file(&pipe);
        assert!(child.wait().unwrap().success(), "{text}");
        text
    })
}

#[test]
fn a_look_through_a_cache_on_a_slow_disk_says_that_it_goes_on() {
    let project = project("");
    project.ok(&["build", "t-made"]);
    for args in [&["--json", "cache"][..], &["--json", "gc", "--dry-run"], &["--json", "gc"]] {
        let told = told(&on_a_slow_disk(&project, args));
        assert_eq!(
            told.iter().map(|(what, _)| what.as_str()).collect::<Vec<_>>()[0],
            "the cache",
            "{args:?}: {told:?}"
        );
        let last = &told[0].1;
        assert_eq!((&last["unit"], &last["done"]), (&"objects".into(), &last["total"]), "it is over: {last}");
        assert_eq!(last["done"].as_u64() > Some(0), args[1] == "cache", "what it counts: {last}");
    }
}

#[test]
fn a_slow_look_at_a_folder_of_source_says_that_it_goes_on_and_how_many_files_it_has() {
    let project = Project::new();
    worktree::recipes(&project, "cp tree/a /quiz/out/out\n");
    project.write("MARK", "");
    project.write("a", "");
    project.write(".quiz/.gitignore", "*\n");
    worktree::git(&project.dir(), &["init", "-q"]);
    worktree::git(&project.dir(), &["add", "-A"]);
    project.stand_in("git", "sleep 1\nexec /usr/bin/git \"$@\"\n");
    let told = told(&project.ok(&["--json", "graph"]).err);
    let (_, last) = told.iter().find(|(what, _)| what == "looking at project").unwrap();
    assert_eq!((&last["unit"], &last["done"], &last["total"]), (&"files".into(), &2.into(), &2.into()));
}
