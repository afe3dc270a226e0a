//! What `quiz crash show` knows of a crash that lies in a run's folder, with a kernel that is compiled in a moment.

mod pinned;

use crate::collect::age;
use crate::project::{Project, Ran};
use crate::worktree::git;
use serde_json::{Value, json};

const SOURCE: &str = r"mkdir -p /quiz/out/tree/fs
cat >/quiz/out/tree/fs/x.c <<C
volatile int count;
__attribute__((aligned(64))) void fault(void) { count = 1; }
__attribute__((aligned(64))) void next(void) { count = 2; }
C
";
const DEBUG: &str = r"mkdir -p /quiz/out/symbols
gcc -g -O2 -fno-pic -no-pie -nostdlib -Wl,-efault -o /quiz/out/symbols/vmlinux /quiz/src/fs/x.c
";

/// A project whose run 1 has crashed.
fn crashed() -> Project {
    crashed_with(&[])
}

/// The same, of a run with these flags.
fn crashed_with(flags: &[&str]) -> Project {
    let project = Project::new();
    project.recipe("t-source", "[outputs]\ntree = \"tree\"\n", SOURCE);
    kernel_of(&project, "t-source/tree");
    write_crash(&project, flags);
    project
}

/// Writes what is known of a crash of the kernel that the project asks for now, in run 1.
fn write_crash(project: &Project, flags: &[&str]) {
    let kernel = project.built("kernel").join("vmlinux");
    let lines = ["[    1.0] Oops", "[    1.0] RIP: 0010:fault+0x0/0x40", "[    1.0]  fault+0x0/0x40 [mine]"];
    let crash = json!({
        "cause": "panic", "title": "Oops", "signature": "0123", "functions": ["fault"], "lines": lines, "when": 1, "release": "6.1",
        "used": null, "cut": "enough", "program": ["true"], "kernel": kernel, "layers": [], "flags": flags, "again": "quiz up",
    });
    project.write(".quiz/runs/1/crash/crash.json", &crash.to_string());
}

/// A group of a test crashed, and the others still run; or a run still packs what its machine has left.
#[test]
fn the_crash_of_a_machine_that_is_over_is_meant_while_its_run_goes_on() {
    let project = crashed();
    let run = project.dir().join(".quiz/runs/1");
    project.write(
        ".quiz/runs/1/groups/a/crash/crash.json",
        &std::fs::read_to_string(run.join("crash/crash.json")).unwrap(),
    );
    for place in ["", "groups/a/"] {
        project.write(&format!(".quiz/runs/1/{place}result.json"), "{}");
    }
    let lock = std::fs::File::create(run.join("lock")).unwrap();
    lock.lock().unwrap();
    project.stand_in("gdb", "exit 9");
    for (words, name) in
        [(&["gdb", "1/a"][..], "1/a"), (&["gdb", "1"], "1"), (&["gdb"], "1"), (&["drgn", "1/a"], "1/a")]
    {
        let ran = project.run(words);
        assert_eq!(ran.status, Some(2), "{ran:?}");
        ran.says(&[&format!("the memory of run {name} is not there")]);
    }
    let commands: [&[&str]; 6] = [
        &["exec", "1/a", "--", "true"],
        &["attach", "1/a"],
        &["cp", "1/a:/etc/hostname", "there"],
        &["cp", "quiz.toml", "1/a:/root/"],
        &["monitor", "1/a"],
        &["dump", "1/a"],
    ];
    project.write("quiz.toml", "");
    for words in commands {
        let ran = project.run(words);
        assert!(matches!(ran.status, Some(2 | 125)) && !project.dir().join("there").exists(), "{ran:?}");
        ran.says(&["the machine of run 1/a is over\n"]);
    }
}

/// Has the project ask for another kernel.
fn edit(project: &Project) {
    let script = "mkdir /quiz/out/image\necho 2 >/quiz/out/image/vmlinux\n";
    project.recipe("kernel", "[outputs]\nimage = \"tree\"\n", script);
    project.built("kernel");
}

fn json(ran: &Ran) -> Value {
    serde_json::from_str(&ran.out).unwrap()
}

#[test]
fn a_crash_is_shown_with_lines_as_soon_as_its_debug_information_is_there() {
    let project = crashed();
    let before = project.ok(&["crash", "show"]);
    assert!(before.out.contains("\nlines     `quiz crash show --lines 1` "), "{before:?}");
    assert!(before.out.ends_with("fault+0x0/0x40\n[    1.0]  fault+0x0/0x40 [mine]\n"), "{before:?}");
    assert_eq!(before.count("kernel-debug"), 0, "nothing is made for a look");
    let known = json(&project.ok(&["--json", "crash", "show"]));
    assert_eq!((&known["frames"][0]["places"], &known["zfs_dbgmsg"]), (&Value::Null, &Value::Null), "{known}");
    let made = project.ok(&["crash", "show", "--lines", "1"]);
    assert_eq!(made.count("Made kernel-debug"), 1, "{made:?}");
    let after = project.ok(&["crash", "show"]);
    assert_eq!((&after.out, after.err.as_str()), (&made.out, ""));
    assert!(after.out.contains("RIP: 0010:fault+0x0/0x40  fs/x.c:2\n[    1.0]  fault+0x0/0x40 [mine]\n"), "{after:?}");
    assert!(!after.out.contains("\nlines "), "{after:?}");
    let known = json(&project.ok(&["--json", "crash", "show"]));
    let frame = json!({"line": 1, "function": "fault", "offset": 0, "size": 64, "module": null,
        "places": [{"function": "fault", "file": "fs/x.c", "line": 2}]});
    assert_eq!((&known["frames"][0], &known["no_places"]), (&frame, &Value::Null));
    assert_eq!(known["frames"][1]["places"], json!([]), "of that module nothing is known");
}

#[test]
fn of_another_kernel_than_that_which_crashed_no_line_is_said() {
    let project = crashed();
    project.built("kernel-debug");
    edit(&project);
    let other = "the kernel that this project asks for now is not that of run 1";
    let ran = project.ok(&["crash", "show"]);
    assert!(ran.out.contains(&format!("\nlines     none: {other}\n")) && !ran.out.contains("x.c"), "{ran:?}");
    let ran = project.run(&["crash", "show", "--lines"]);
    assert_eq!(ran.status, Some(2));
    ran.says(&[other, "which was started by: quiz up"]);
    // No debugger is started that would show what is not so.
    project.write(".quiz/runs/1/crash/vmcore", "x");
    ["gdb", "drgn"].iter().for_each(|name| project.stand_in(name, "touch started\n"));
    for words in [&["gdb", "1"][..], &["drgn", "1"], &["crash", "gdb"], &["crash", "drgn"]] {
        let ran = Ran::from(project.command(words).env("QUIZ_DRGN_PROGRAM", "host").output().unwrap());
        assert!(ran.status == Some(2) && !project.dir().join("started").exists(), "{ran:?}");
        ran.says(&[other, "which was started by: quiz up"]);
    }
}

/// Of the sources as they are now no debugger could say anything of that crash.
#[test]
fn a_crash_that_was_looked_at_has_its_lines_when_the_sources_are_others() {
    let project = crashed();
    let shown = project.ok(&["crash", "show", "--lines"]).out;
    let kept = project.dir().join(".quiz/runs/1/crash/symbols.json");
    let debug = project.built("kernel-debug");
    let about: Value = serde_json::from_str(&std::fs::read_to_string(&kept).unwrap()).unwrap();
    assert_eq!(about["trees"], json!([debug.file_name().unwrap().to_str().unwrap()]), "{about}");
    edit(&project);
    let source = "mkdir -p /quiz/out/tree/fs\necho 'void next(void) {}' >/quiz/out/tree/fs/x.c\n";
    project.recipe("t-source", "[outputs]\ntree = \"tree\"\n", source);
    assert_eq!(project.ok(&["crash", "show"]).out, shown);
    // Nothing else needs it once there is a newer one.
    assert_ne!(project.built("kernel-debug"), debug);
    age(&project, 70);
    let ran = project.ok(&["gc"]);
    assert!(debug.join("vmlinux").is_file(), "{ran:?}");
    assert_eq!(project.ok(&["crash", "show", "--lines"]).out, shown);
    // Whoever names what is built asks for that, not for what was there before.
    let ran = project.run(&["-k", "default", "crash", "show", "--lines"]);
    assert_eq!(ran.status, Some(2), "{ran:?}");
    ran.says(&["the kernel that this project asks for now is not that of run 1"]);
    // What the file says may be anything, and names trees of the cache alone.
    for text in ["", "{}", "{\"trees\":[],\"sources\":[]}", "{\"trees\":[\"/etc\"],\"sources\":[]}"] {
        std::fs::write(&kept, text).unwrap();
        let ran = project.ok(&["crash", "show"]);
        assert!(ran.out.contains("\nlines     none: the kernel that this project asks for now"), "{text}: {ran:?}");
    }
    project.ok(&["crash", "rm", "1"]);
    age(&project, 70);
    let ran = project.ok(&["gc"]);
    assert!(!debug.exists(), "{ran:?}");
}

/// A folder of modules that was renamed, a profile that is gone: the crash is the same.
#[test]
fn a_crash_that_was_looked_at_has_its_lines_when_its_run_cannot_be_asked_for_any_more() {
    let project = crashed_with(&["-p", "mine"]);
    project.write(".quiz/profiles/mine/profile.toml", "about = \"x\"\n");
    let shown = project.ok(&["crash", "show", "--lines"]).out;
    std::fs::remove_dir_all(project.dir().join(".quiz/profiles/mine")).unwrap();
    assert_eq!(project.ok(&["crash", "show"]).out, shown);
    std::fs::remove_file(project.dir().join(".quiz/runs/1/crash/symbols.json")).unwrap();
    assert!(project.ok(&["crash", "show"]).out.contains("\nlines     none: "));
}

/// In whatever shell somebody looks: what was set where the run was started counts, and what was not does not.
#[test]
fn a_crash_has_the_lines_of_the_variables_that_its_run_was_started_with() {
    const WORD: &str = "QUIZ_RECIPE_KERNEL_WORD";
    let project = crashed();
    let tables =
        "[options]\nword = { type = \"string\", default = \"\", about = \"x\" }\n[outputs]\nimage = \"tree\"\n";
    project.recipe("kernel", tables, "mkdir /quiz/out/image\necho \"$QUIZ_OPT_WORD\" >/quiz/out/image/vmlinux\n");
    let run = |word: &str, words: &[&str]| {
        let mut command = project.command(words);
        if !word.is_empty() {
            command.env(WORD, word);
        }
        Ran::from(command.output().unwrap())
    };
    let at = project.dir().join(".quiz/runs/1/crash/crash.json");
    let mut crash: Value = serde_json::from_str(&std::fs::read_to_string(&at).unwrap()).unwrap();
    // How it was started, what its record says of that, the shell, and whether there are lines. An old record says nothing.
    for (started, known, here, there) in [
        ("x", json!(null), "", false),
        ("x", json!(null), "x", true),
        ("x", json!([format!("{WORD}=x")]), "", true),
        ("x", json!([format!("{WORD}=x")]), "y", true),
        ("", json!([]), "x", true),
    ] {
        let built = run(started, &["build", "kernel"]);
        let kernel = built.out.trim_end().rsplit(' ').next().unwrap();
        (crash["kernel"], crash["variables"]) = (json!(format!("{kernel}/vmlinux")), known);
        std::fs::write(&at, crash.to_string()).unwrap();
        let _ = std::fs::remove_file(project.dir().join(".quiz/runs/1/crash/symbols.json"));
        let shown = run(here, &["crash", "show", "--lines"]);
        assert_eq!((shown.status == Some(0), shown.out.contains("fs/x.c:2")), (there, there), "{crash}: {shown:?}");
    }
}

/// Adds a kernel of this source, its debug information, and an image. Lines of comments alone make no other kernel.
fn kernel_of(project: &Project, source: &str) {
    let script = "mkdir /quiz/out/image\ngrep -v '^//' /quiz/src/fs/x.c >/quiz/out/image/vmlinux\n";
    let inputs = format!("[inputs]\nsource = \"{source}\"\n[outputs]\n");
    project.recipe("kernel", &format!("{inputs}image = \"tree\"\n"), script);
    let tools = "[tools]\ngcc = \"gcc\"\nld = \"binutils\"\n";
    project.recipe("kernel-debug", &format!("{inputs}symbols = \"tree\"\n{tools}"), DEBUG);
    let image = "[inputs]\nkernel = \"kernel/image\"\n[outputs]\ndescription = \"file\"\n";
    project.recipe("image", image, "echo >/quiz/out/description\n");
}

/// A project whose sources are the git worktree that it lies in, and what git calls them; its run 1 has crashed.
fn crashed_worktree() -> (Project, Value) {
    let project = Project::new();
    project.source_folder();
    kernel_of(&project, "t-source");
    project.write("MARK", "");
    project.write(".quiz/.gitignore", "*\n");
    project.write("fs/x.c", CODE);
    let dir = project.dir();
    git(&dir, &["init", "-q"]);
    git(&dir, &["add", "MARK", "fs"]);
    git(&dir, &["commit", "-q", "-m", "x"]);
    write_crash(&project, &[]);
    let source = project.built("t-source").file_name().unwrap().to_str().unwrap().to_owned();
    let tree = git(&dir, &["rev-parse", "HEAD^{tree}"]).trim().to_owned();
    let then = json!({"stage": "t-source", "folder": "/moved", "source": source, "kept": {"Ok": tree}});
    std::fs::create_dir_all(dir.join(".quiz/runs/1/sources/0")).unwrap();
    (project, then)
}

const CODE: &str = "volatile int count;
__attribute__((aligned(64))) void fault(void) { count = 1; }
__attribute__((aligned(64))) void next(void) { count = 2; }
";

/// Changes its source, in a commit, and builds it.
fn edit_worktree(project: &Project, text: &str) {
    project.write("fs/x.c", text);
    git(&project.dir(), &["commit", "-q", "-a", "-m", "y"]);
    project.built("kernel");
}

/// What a run has kept of its sources, as such a run leaves it.
fn kept(project: &Project, then: &Value, kept: Value) {
    let mut then = then.clone();
    then["kept"] = kept;
    project.write(".quiz/runs/1/sources.json", &json!([then]).to_string());
}

/// Real runs keep what is needed for it (`real::full::debugger`); here it lies there.
#[test]
fn a_crash_has_its_lines_when_its_sources_were_edited_before_anybody_looked() {
    let (project, then) = crashed_worktree();
    let (dir, run) = (project.dir(), project.dir().join(".quiz/runs/1"));
    edit_worktree(&project, "// a line more\n\nvoid next(void) {}\n");
    let none = "the kernel that this project asks for now is not that of run 1";
    assert!(project.ok(&["crash", "show"]).out.contains(&format!("\nlines     none: {none}\n")));
    let show = || project.run(&["crash", "show", "--lines"]);
    kept(&project, &then, json!({"Err": "it was full"}));
    show().says(&[none, "do not help: ", " was not kept: it was full"]);
    kept(&project, &then, json!({"Ok": "0123456789012345678901234567890123456789"}));
    show().says(&[none, "do not help: ", "does not have what had been committed then any more"]);
    // They were edited while the machine ran: it is the kernel of neither.
    kept(&project, &then, json!({"Ok": git(&dir, &["rev-parse", "HEAD^{tree}"]).trim()}));
    show().says(&[none, "do not help: git's tree of ", "is not what was in it"]);
    kept(&project, &then, then["kept"].clone());
    let before = project.ok(&["crash", "show"]);
    assert!(
        before.out.contains("\nlines     `quiz crash show --lines 1` makes the debug information first"),
        "{before:?}"
    );
    assert_eq!(before.count("kernel-debug"), 0, "nothing is made for a look");
    let graph = project.ok(&["graph"]).out;
    let lock = std::fs::read_to_string(dir.join("quiz.lock")).ok();
    let shown = project.ok(&["crash", "show", "--lines"]);
    assert!(shown.out.contains("RIP: 0010:fault+0x0/0x40  fs/x.c:2\n"), "{shown:?}");
    assert!(std::fs::read_to_string(dir.join("fs/x.c")).unwrap().starts_with("// a line more"));
    // It is not taken for what the project has now, in no list.
    assert_eq!(project.ok(&["graph"]).out, graph);
    assert_eq!(std::fs::read_to_string(dir.join("quiz.lock")).ok(), lock);
    // What was found is there from now on, without those sources.
    std::fs::remove_file(run.join("sources.json")).unwrap();
    assert_eq!(project.ok(&["crash", "show"]).out, shown.out);
}

#[test]
fn lines_of_an_edit_that_makes_the_same_kernel_are_not_said_to_be_those_of_the_crash() {
    let (project, then) = crashed_worktree();
    edit_worktree(&project, &format!("// a line more\n{CODE}"));
    let off = "the sources were edited since run 1: lines may be some off";
    kept(&project, &then, json!({"Err": "it was full"}));
    for _ in 0..2 {
        let ran = project.ok(&["crash", "show", "--lines"]);
        assert!(ran.out.contains("fs/x.c:3\n"), "{ran:?}");
        ran.says(&[off, " was not kept: it was full"]);
    }
    // As soon as they can be had, those of then count.
    kept(&project, &then, then["kept"].clone());
    assert!(!project.ok(&["crash", "show"]).out.contains("fs/x.c:"));
    let ran = project.ok(&["crash", "show", "--lines"]);
    assert!(ran.out.contains("fs/x.c:2\n") && ran.count(off) == 0, "{ran:?}");
}

#[test]
fn a_format_of_memories_that_is_none_is_told_before_anything_is_built() {
    let project = crashed();
    project.write("quiz.toml", "[runs]\n\ncrash-format = \"gz\"\n");
    let ran = project.run(&["up", "--", "true"]);
    assert_eq!((ran.status, ran.count("Making")), (Some(125), 0), "{ran:?}");
    ran.says(&["quiz.toml:3", "runs.crash-format = \"gz\": it can be `elf` or `zstd`"]);
}

#[test]
fn openzfs_notes_that_were_kept_are_shown_without_the_memory() {
    let project = crashed();
    let lines: String = (0..60).map(|n| format!("{n:<12} line {n}\n")).collect();
    project.write(".quiz/runs/1/crash/zfs_dbgmsg", &format!("timestamp    message\n{lines}"));
    let ran = project.ok(&["crash", "show"]);
    assert!(ran.out.contains("zfs_dbgmsg, the last 50 of 60 lines (--all)"), "{ran:?}");
    assert!(ran.out.contains("00:00:10  line 10\n") && !ran.out.contains("line 9\n"), "{ran:?}");
    assert!(project.ok(&["crash", "show", "--all"]).out.contains("00:00:00  line 0\n"));
    let known = json(&project.ok(&["--json", "crash", "show"]));
    assert_eq!(known["zfs_dbgmsg"].as_array().map(Vec::len), Some(50));
    assert_eq!(known["zfs_dbgmsg"][49], json!({"when": 59, "text": "line 59"}));
}

/// drgn itself is tried in real machines (`real::full::debugger`); here another program prints what it would.
#[test]
fn what_processors_and_waiting_tasks_did_is_looked_up_once_and_shown_from_then_on() {
    let project = crashed();
    let show = |words: &[&str]| {
        let mut command = project.command(&[&["crash", "show"], words].concat());
        Ran::from(command.env("QUIZ_DRGN_PROGRAM", "host").output().unwrap())
    };
    let refused = show(&["--tasks"]);
    assert_eq!(refused.status, Some(2), "{refused:?}");
    refused.says(&["the memory of run 1 is not there"]);
    project.write(".quiz/runs/1/crash/vmcore", "a memory");
    let said = r#"{"cut":"2 tasks are damaged","tasks":[{"processor":0,"pid":0,"name":"swapper/0","state":"R","stack":[]},{"processor":null,"pid":7,"name":"a\u001b[2J","state":"D",
        "stack":[{"function":"wait","file":"/quiz/src/fs/x.c","line":3,"inlined":false}]}]}"#;
    let drgn = |ends: &str| project.stand_in("drgn", &format!("cat <<'J'\n{said}\nJ\necho \"$*\" >&2\n{ends}"));
    // Half an answer is none.
    drgn("echo damaged >&2; exit 1");
    let failed = show(&["--tasks"]);
    assert_eq!(failed.status, Some(2), "{failed:?}");
    failed.says(&[
        "drgn cannot say what the tasks of run 1 did: exit status: 1",
        "/vmcore --kernel-directory ",
        "damaged",
    ]);
    assert!(!show(&[]).out.contains("swapper/0"));
    let crash = project.dir().join(".quiz/runs/1/crash");
    let tasks = "\nprocessors:\n0: swapper/0 0 R\n    outside of the kernel, or its stack is damaged\n\n\
        tasks that waited and could not be interrupted:\na [2J 7 D\n    wait  fs/x.c:3\n\nnot all tasks: 2 tasks are damaged\n";
    // `quiz dump` puts another folder there while drgn reads the old one: it is not that one's answer.
    let moved = "mv DIR DIR.old; cp -r DIR.old DIR".replace("DIR", crash.to_str().unwrap());
    drgn(&moved);
    assert!(show(&["--tasks"]).out.ends_with(tasks));
    assert!(!show(&[]).out.contains("swapper/0"));
    drgn("");
    std::fs::remove_file(crash.join("symbols.json")).unwrap();
    let shown = show(&["--tasks"]);
    assert_eq!(shown.status, Some(0), "{shown:?}");
    assert!(shown.out.ends_with(tasks), "{shown:?}");
    // What it has made for that shows the lines of the trace, too.
    assert!(shown.out.contains("RIP: 0010:fault+0x0/0x40  fs/x.c:2\n") && !shown.out.contains("\nlines "), "{shown:?}");
    // The memory goes, and this stays.
    std::fs::remove_file(project.dir().join(".quiz/runs/1/crash/vmcore")).unwrap();
    assert!(show(&[]).out.ends_with(tasks) && show(&["--tasks"]).out.ends_with(tasks));
    let known = json(&show(&["--json"]));
    assert_eq!(
        known["tasks"][1]["stack"][0],
        json!({"function": "wait", "file": "fs/x.c", "line": 3, "inlined": false})
    );
    crate::schema::hold("crash-show", &known);
}
