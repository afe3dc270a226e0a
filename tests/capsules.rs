//! `quiz crash export` and `import`: a crash as a file, which another project with an empty cache makes a run of; and what is refused on the way in.

mod kept;
mod refused;

use crate::project::{Project, Ran, files};
use serde_json::{Value, json};
use std::os::unix::fs::{FileExt, MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

const SOURCE: &str = "mkdir -p /quiz/out/tree\ncat >/quiz/out/tree/x.c <<C\n\
    __attribute__((aligned(64))) void fault(void) { *(volatile int *)0 = 1; }\nC\n";
const DEBUG: &str = "mkdir -p /quiz/out/symbols\n\
    gcc -g -O2 -fno-pic -no-pie -nostdlib -Wl,-efault -o /quiz/out/symbols/vmlinux /quiz/src/x.c\n";

/// Bytes of the memory, most of which is a hole.
const MEMORY: u64 = 8 << 20;
/// The key that the guest's sshd lets in.
const KEY: &str = "quiz.ssh.key=AAAAsecret";

/// A project whose run 1 has crashed.
fn crashed() -> Project {
    let project = Project::new();
    let outputs = |output: &str, kind: &str| format!("[outputs]\n{output} = \"{kind}\"\n");
    project.recipe("t-source", &outputs("tree", "tree"), SOURCE);
    project.recipe("t-layer", &outputs("out", "file"), "echo layer >/quiz/out/out\n");
    project.recipe(
        "kernel",
        &outputs("image", "tree"),
        "mkdir /quiz/out/image\necho kernel >/quiz/out/image/vmlinux\n",
    );
    let debug = format!(
        "[inputs]\nsource = \"t-source/tree\"\n{}[tools]\ngcc = \"gcc\"\nld = \"binutils\"\n",
        outputs("symbols", "tree")
    );
    project.recipe("kernel-debug", &debug, DEBUG);
    let image = "[inputs]\nkernel = \"kernel/image\"\n[outputs]\ndescription = \"file\"\n";
    project.recipe("image", image, "echo >/quiz/out/description\n");
    let (kernel, layer) = (project.built("kernel").join("vmlinux"), project.built("t-layer"));
    let disk =
        json!({"serial": "quizm0", "bus": "virtio", "path": "", "format": "raw", "size": 1 << 20, "persistent": false});
    let machine = json!({
        "arch": "x86_64", "memory": 256, "cpus": 2, "nodes": 1, "start": "vmlinux", "initrd": null, "hz": null,
        "append": ["quiet", KEY], "disks": [disk], "net": {"forward": [[2222, 22]]}, "channels": [], "pvpanic": true,
        "rng": true, "extra": ["-device", "odd"],
    });
    let crash = json!({
        "cause": "panic", "title": "Oops", "signature": "0123", "functions": ["fault"], "when": 1, "release": "6.1",
        "lines": ["[    1.0] RIP: 0010:fault+0x0/0x40"], "used": 4096, "cut": null, "program": ["true", "x y"], "kernel": kernel,
        "layers": [layer], "flags": [], "again": format!("cd {} && QUIZ_X=hidden quiz up", project.dir().display()),
        "machine": machine,
    });
    project.write(".quiz/runs/1/crash/crash.json", &crash.to_string());
    project.write(".quiz/runs/1/crash/zfs_dbgmsg", "timestamp    message\n1  noted\n");
    let task = r#"{"processor":null,"pid":7,"name":"txg_sync","state":"D","stack":[]}"#;
    project.write(".quiz/runs/1/crash/tasks.json", &format!(r#"{{"tasks":[{task}],"cut":null}}"#));
    let memory = std::fs::File::create(project.dir().join(".quiz/runs/1/crash/vmcore")).unwrap();
    memory.set_len(MEMORY).unwrap();
    memory.write_all_at(&noise(64 << 10), 1 << 20).unwrap();
    project
}

/// Bytes that do not compress.
fn noise(bytes: usize) -> Vec<u8> {
    let mut state = 1_u64;
    let next = || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        u8::try_from(state >> 56).unwrap()
    };
    std::iter::repeat_with(next).take(bytes).collect()
}

fn exported(project: &Project) -> PathBuf {
    let file = project.dir().join("crash.tar.zst");
    project.ok(&["crash", "export", file.to_str().unwrap()]);
    file
}

fn json(ran: &Ran) -> Value {
    serde_json::from_str(&ran.out).unwrap()
}

/// What lies in the runs of a project, but for locks.
fn runs(project: &Project) -> Vec<PathBuf> {
    let all = files(&project.dir().join(".quiz/runs"));
    all.into_iter().filter(|path| path.file_name().is_none_or(|name| name != "lock")).collect()
}

#[test]
fn a_crash_from_elsewhere_is_a_run_with_its_memory_its_lines_and_its_image() {
    let (here, there) = (crashed(), Project::new());
    here.ok(&["crash", "show", "--lines"]);
    let file = exported(&here);
    assert_eq!(file.metadata().unwrap().permissions().mode() & 0o777, 0o600);
    let name = file.to_str().unwrap();
    let ran = there.ok(&["crash", "import", name]);
    assert_eq!(ran.out, "run 1: Oops\nNext: quiz crash show 1, or quiz crash again 1\n", "{ran:?}");
    let known = json(&there.ok(&["--json", "crash", "show"]));
    assert_eq!((&known["title"], &known["program"]), (&json!("Oops"), &json!(["true", "x y"])));
    assert_eq!(known["frames"][0]["places"][0]["file"], "x.c", "its debug information came along: {known}");
    assert_eq!(known["zfs_dbgmsg"][0]["text"], "noted");
    assert_eq!(known["tasks"][0]["name"], "txg_sync");
    let again = format!("cd {} && quiz crash again 1", there.dir().display());
    assert_eq!(known["again"], again);
    for place in [&known["kernel"], &known["layers"][0]] {
        let path = Path::new(place.as_str().unwrap());
        assert!(path.starts_with(there.cache()) && path.is_file(), "{place}");
    }
    let (memory, own) = (there.dir().join(".quiz/runs/1/crash/vmcore"), here.dir().join(".quiz/runs/1/crash/vmcore"));
    assert_eq!(std::fs::read(&memory).unwrap(), std::fs::read(own).unwrap());
    assert!(memory.metadata().unwrap().blocks() * 512 < MEMORY / 4, "holes are holes");
    let folder = memory.parent().unwrap().metadata().unwrap();
    assert_eq!(
        (folder.permissions().mode() & 0o777, memory.metadata().unwrap().permissions().mode() & 0o777),
        (0o700, 0o600)
    );

    // Imported once more, it is known: nothing is added.
    let before = runs(&there);
    let ran = json(&there.ok(&["--json", "crash", "import", name]));
    assert_eq!(ran, json!({"run": "1", "known": true, "title": "Oops"}));
    crate::schema::hold("crash-import", &ran);
    let json_file = here.dir().join("again.tar.zst");
    let ran = json(&here.ok(&["--json", "crash", "export", json_file.to_str().unwrap()]));
    crate::schema::hold("crash-export", &ran);
    assert_eq!(runs(&there), before);
    // And from there on to a third project.
    let third = Project::new();
    let further = exported(&there);
    third.ok(&["crash", "import", further.to_str().unwrap()]);
    let known = json(&third.ok(&["--json", "crash", "show"]));
    assert_eq!(known["frames"][0]["places"][0]["file"], "x.c");
}

#[test]
fn a_debugger_gets_what_came_along() {
    let (here, there) = (crashed(), Project::new());
    here.ok(&["crash", "show", "--lines"]);
    there.ok(&["crash", "import", exported(&here).to_str().unwrap()]);
    there.stand_in("drgn", "echo \"$@\"\n");
    // The host's drgn would load what lies in the project.
    there.write("quiz.toml", "[drgn]\nprogram = \"host\"\n");
    let theirs = there.run(&["crash", "drgn"]);
    assert_eq!((theirs.status, theirs.count("vmcore")), (Some(2), 0), "{theirs:?}");
    theirs.says(&["quiz.toml:2", "cannot be set by a project", "QUIZ_DRGN_PROGRAM=host"]);
    there.write("quiz.toml", "");
    let host = there.command(&["crash", "drgn"]).env("QUIZ_DRGN_PROGRAM", "host").output().unwrap();
    let ran = Ran::from(host);
    assert_eq!(ran.status, Some(0), "{ran:?}");
    let words: Vec<&str> = ran.out.split_whitespace().collect();
    let core = there.dir().join(".quiz/runs/1/crash/vmcore");
    assert_eq!(words[..3], ["-c", core.to_str().unwrap(), "--kernel-directory"]);
    assert!(Path::new(words[3]).starts_with(there.cache()) && Path::new(words[3]).join("vmlinux").is_file(), "{ran:?}");
}

#[test]
fn a_kernel_that_says_nothing_of_its_layout_is_told_before_anything_is_compiled() {
    let project = crashed();
    let about = project.dir().join(".quiz/runs/1/crash/crash.json");
    let text = std::fs::read_to_string(&about).unwrap().replace("\"release\":\"6.1\"", "\"release\":null");
    std::fs::write(&about, text).unwrap();
    project.stand_in("drgn", "echo \"$@\"\n");
    let ran = Ran::from(project.command(&["crash", "drgn"]).env("QUIZ_DRGN_PROGRAM", "host").output().unwrap());
    assert_eq!((ran.status, ran.count("Making"), ran.out.as_str()), (Some(2), 0, ""), "{ran:?}");
    ran.says(&["the memory of run 1 has no VMCOREINFO", "CONFIG_VMCORE_INFO=y", "quiz gdb 1"]);
    assert!(project.ok(&["crash", "show"]).out.contains("it has no VMCOREINFO, which drgn needs"));
}

#[test]
fn debug_information_of_somebody_elses_is_for_their_crash_alone() {
    let (here, there) = (crashed(), crashed());
    here.ok(&["crash", "show", "--lines"]);
    there.ok(&["crash", "import", exported(&here).to_str().unwrap()]);
    let shows = |run: &str| json(&there.ok(&["--json", "crash", "show", run]));
    assert_eq!(shows("1")["kernel"], shows("2")["kernel"], "the same image");
    assert_eq!(shows("2")["frames"][0]["places"][0]["file"], "x.c");
    let own = shows("1");
    assert_eq!(own["frames"][0]["places"], Value::Null, "its own is not made yet: {own}");
    let ran = there.ok(&["crash", "show", "--lines", "1"]);
    assert_eq!(ran.count("Made kernel-debug"), 1, "{ran:?}");
}

#[test]
fn nothing_of_the_host_travels() {
    let project = crashed();
    let file = exported(&project);
    let plain = zstd::decode_all(std::fs::File::open(file).unwrap()).unwrap();
    let has = |words: &str| plain.windows(words.len()).any(|part| part == words.as_bytes());
    assert!(has("quiet") && has("x y"), "what is looked for is found");
    let home = project.dir().parent().unwrap().display().to_string();
    for words in [home.as_str(), "QUIZ_X", "AAAAsecret", "2222", "odd"] {
        assert!(!has(words), "{words}");
    }
}

#[test]
fn what_cannot_come_along_is_told_and_the_rest_does() {
    let project = crashed();
    let crash = project.dir().join(".quiz/runs/1/crash");
    let ran = project.ok(&["--json", "crash", "export", "one", "1"]);
    let missing = json(&ran)["missing"].to_string();
    for what in ["`quiz crash show --lines 1` makes it first", "-device odd", "the network card"] {
        assert!(missing.contains(what), "{what}: {missing}");
        ran.says(&["not in the file: ", what]);
    }
    assert!(!missing.contains("memory"), "{missing}");
    std::fs::remove_file(crash.join("vmcore")).unwrap();
    project.ok(&["crash", "export", "two"]).says(&["the guest's memory: it was removed, as runs.keep-crashes demands"]);
    let text = std::fs::read_to_string(crash.join("crash.json")).unwrap();
    std::fs::write(crash.join("crash.json"), text.replace("\"cut\":null", "\"cut\":\"the disk was full\"")).unwrap();
    project.ok(&["crash", "export", "three"]).says(&["the guest's memory: the disk was full"]);
    let there = Project::new();
    there.ok(&["crash", "import", project.dir().join("three").to_str().unwrap()]);
    let shown = there.ok(&["crash", "show"]);
    assert!(shown.out.contains("\nmemory    none: the disk was full\n"), "{shown:?}");
}

#[test]
fn what_cannot_be_exported_says_what_to_type() {
    let project = crashed();
    let refused = |args: &[&str], words: &[&str]| {
        let ran = project.run(args);
        assert_eq!(ran.status, Some(2), "{ran:?}");
        ran.says(words);
    };
    project.write("there", "mine");
    refused(&["crash", "export", "there"], &["there is there already", "name another file"]);
    assert_eq!(std::fs::read_to_string(project.dir().join("there")).unwrap(), "mine");
    refused(&["crash", "export", "x", "7"], &["run 7 has left no crash", "`quiz crash ls`"]);
    refused(&["crash", "export", "no/such/folder/x"], &["cannot write no/such/folder/x"]);
    std::fs::remove_dir_all(project.cache().join("trees")).unwrap();
    let kernel = project.cache().join("trees").display().to_string();
    let words =
        ["the image of run 1 is not in the cache", &format!("gone or damaged: {kernel}"), "QUIZ_X=hidden quiz up"];
    refused(&["crash", "export", "x"], &words);
    assert!(!project.dir().join("x").exists());
    let ran = project.run(&["crash", "again"]);
    assert_eq!(ran.status, Some(125), "{ran:?}");
    ran.says(&words);
    project.ok(&["crash", "rm", "1"]);
    refused(&["crash", "export", "x"], &["no run of this project has left a crash"]);
}

/// Makes all in the cache look as if nobody had used it for long.
fn age(project: &Project) {
    let old = SystemTime::now() - Duration::from_secs(100 * 24 * 60 * 60);
    for folder in ["records", "manifests"] {
        for path in files(&project.cache().join(folder)) {
            std::fs::File::open(path).unwrap().set_modified(old).unwrap();
        }
    }
}

#[test]
fn the_image_stays_as_long_as_the_crash_and_no_longer() {
    let (here, there) = (crashed(), Project::new());
    there.ok(&["crash", "import", exported(&here).to_str().unwrap()]);
    let known = json(&there.ok(&["--json", "crash", "show"]));
    let (kernel, layer) = (known["kernel"].as_str().unwrap(), known["layers"][0].as_str().unwrap());
    let are_there = || (Path::new(kernel).exists(), Path::new(layer).exists());
    age(&there);
    there.ok(&["gc"]);
    assert_eq!(are_there(), (true, true));
    // Who looks what holds it finds the crash.
    let list = json(&there.ok(&["--json", "cache"]));
    let run = there.dir().canonicalize().unwrap().join(".quiz/runs/1");
    let by_crash = serde_json::json!({ "by": "crash", "run": run });
    let held = |item: &&serde_json::Value| item["held-by"].as_array().unwrap().contains(&by_crash);
    assert!(list["items"].as_array().unwrap().iter().any(|item| held(&item)), "{list}");
    there.ok(&["crash", "rm", "1"]);
    age(&there);
    there.ok(&["gc"]);
    assert_eq!(are_there(), (false, false));
}
