//! What is refused of a file that says it is a crash: that which is cut, flipped, leads out, or is not what it says; and what is left then.

use super::{crashed, exported, json, runs};
use crate::project::{Project, Ran};
use serde_json::Value;
use std::io::{Read, Write};
use std::path::{Path, PathBuf};

/// Changes an entry of that name: its header, its content, and, if it gives one, its name.
type Change<'a> = &'a dyn Fn(&str, &mut tar::Header, &mut Vec<u8>) -> Option<String>;

/// A file that has the same entries, with one change.
fn changed(file: &Path, change: Change<'_>) -> Vec<u8> {
    let plain = zstd::decode_all(std::fs::File::open(file).unwrap()).unwrap();
    let mut to = tar::Builder::new(Vec::new());
    for entry in tar::Archive::new(&plain[..]).entries().unwrap() {
        let mut entry = entry.unwrap();
        let (path, mut content) = (entry.path().unwrap().display().to_string(), Vec::new());
        entry.read_to_end(&mut content).unwrap();
        let mut header = entry.header().clone();
        let path = change(&path, &mut header, &mut content).unwrap_or(path);
        header.set_size(content.len() as u64);
        header.as_old_mut().name[..path.len()].copy_from_slice(path.as_bytes());
        header.as_old_mut().name[path.len()..].fill(0);
        header.set_cksum();
        to.append(&header, &content[..]).unwrap();
    }
    zstd::encode_all(&to.into_inner().unwrap()[..], 1).unwrap()
}

/// As [`changed`], with other words in what is said of the crash, and the digest of that.
fn said(file: &Path, change: &dyn Fn(&mut Value)) -> Vec<u8> {
    let about = std::cell::RefCell::new(Vec::new());
    changed(file, &|path, _, content| {
        if path == "crash/crash.json" {
            let mut value: Value = serde_json::from_slice(content).unwrap();
            change(&mut value);
            *about.borrow_mut() = value.to_string().into_bytes();
        }
        None
    });
    let about = about.into_inner();
    let digest = quiz_cache::Digest::of(&about);
    changed(file, &|path, _, content| {
        match path {
            "quiz-crash" => *content = format!("1 {digest}\n").into_bytes(),
            "crash/crash.json" => content.clone_from(&about),
            _ => {}
        }
        None
    })
}

/// Fails unless the file is refused with these words, and nothing of it is there afterwards.
fn refuse(project: &Project, bytes: &[u8], words: &[&str]) {
    let file = project.dir().join("given");
    std::fs::write(&file, bytes).unwrap();
    let ran = project.run(&["crash", "import", "given"]);
    assert_eq!(ran.status, Some(2), "{words:?}: {ran:?}");
    ran.says(&["given: not imported", "`quiz crash export FILE`, where the guest crashed, writes another"]).says(words);
    assert_eq!(runs(project), [] as [PathBuf; 0], "{words:?}");
    let folders = std::fs::read_dir(project.dir().join(".quiz/runs")).into_iter().flatten().flatten();
    assert_eq!(folders.filter(|entry| entry.file_name() != "lock").count(), 0, "{words:?}");
}

#[test]
fn what_is_no_whole_export_is_refused_and_nothing_of_it_stays() {
    let (here, there) = (crashed(), Project::new());
    let file = exported(&here);
    let whole = std::fs::read(&file).unwrap();
    refuse(&there, b"", &["cut off"]);
    refuse(&there, b"no export", &["cut off"]);
    for cut in [30, whole.len() / 3, whole.len() - 5] {
        refuse(&there, &whole[..cut], &["cut off"]);
    }
    for at in [20, whole.len() / 5, whole.len() / 2, whole.len() - 200] {
        let mut flipped = whole.clone();
        flipped[at] ^= 4;
        refuse(&there, &flipped, &[]);
    }
    let format = changed(&file, &|path, _, content| {
        if path == "quiz-crash" {
            content[0] = b'2';
        }
        None
    });
    refuse(&there, &format, &["it has the format 2, and this quiz reads 1", "use the release of quiz that wrote it"]);
    here.ok(&["cache", "export", "pack", "t-layer"]);
    refuse(&there, &std::fs::read(here.dir().join("pack")).unwrap(), &["`quiz cache import` takes it in"]);
    let ran = there.run(&["cache", "import", file.to_str().unwrap()]);
    assert_eq!(ran.status, Some(2), "{ran:?}");
    ran.says(&["this is a crash: `quiz crash import` takes it in"]);
    for name in ["nowhere", "."] {
        assert_eq!(there.run(&["crash", "import", name]).status, Some(2));
    }
    // The unchanged file is taken in.
    there.ok(&["crash", "import", file.to_str().unwrap()]);
}

#[test]
fn what_leads_out_or_is_no_file_or_more_than_it_says_is_refused() {
    let (here, there) = (crashed(), Project::new());
    let file = exported(&here);
    let named =
        |from: &'static str, to: &'static str| changed(&file, &|path, _, _| (path == from).then(|| to.to_owned()));
    for name in ["../vmcore", "crash/../../x", "/etc/x", "crash/crash.json", "crash/"] {
        refuse(&there, &named("crash/vmcore", name), &[]);
    }
    for name in ["0/out/../../x", "/0/out/kernel/x", "0/out/kernel/vmlinux/x"] {
        refuse(&there, &named("0/out/kernel/vmlinux", name), &[]);
    }
    let lines = named("0/out/kernel/vmlinux", "0/out/kernel/a\nshell touch mark\n.ko");
    refuse(
        &there,
        &lines,
        &["the pack is refused, as it has `0/out/kernel/a\\nshell touch mark\\n.ko`, a name with control characters"],
    );
    for kind in [tar::EntryType::Symlink, tar::EntryType::Link, tar::EntryType::Char, tar::EntryType::Fifo] {
        for which in ["crash/vmcore", "0/out/layer000"] {
            let odd = changed(&file, &|path, header, content| {
                if path == which {
                    header.set_entry_type(kind);
                    header.set_link_name("/etc/passwd").unwrap();
                    content.clear();
                }
                None
            });
            refuse(&there, &odd, &[]);
        }
    }
    let more = |which: &'static str| {
        changed(&file, &|path, _, content| {
            if path == which {
                content.push(b'x');
            }
            None
        })
    };
    refuse(
        &there,
        &more("crash/vmcore"),
        &["crash/vmcore is there twice, or has another size than crash/crash.json says"],
    );
    refuse(&there, &more("crash/crash.json"), &["crash/crash.json is cut off or damaged"]);
    refuse(&there, &more("0/out/layer000"), &["crash is larger than its record says, at `0/out/layer000`"]);
    let other = changed(&file, &|path, _, content| {
        if path == "0/out/layer000" {
            content[0] ^= 1;
        }
        None
    });
    refuse(&there, &other, &["crash/layer000 is not what its record says"]);
}

#[test]
fn what_is_said_of_a_crash_is_not_believed() {
    let (here, there) = (crashed(), Project::new());
    let file = exported(&here);
    let refused = |change: &dyn Fn(&mut Value), words: &[&str]| refuse(&there, &said(&file, change), words);
    refused(&|about| about["crash"]["machine"]["start"] = json!("../../x"), &["its kernel's file"]);
    refused(
        &|about| about["crash"]["machine"]["disks"][0]["serial"] = json!("a,file=/x"),
        &["is no valid name of a disk"],
    );
    refused(&|about| about["crash"]["machine"]["memory"] = json!(1), &["its memory"]);
    refused(&|about| about["files"]["x"] = about["files"]["vmcore"].clone(), &["a crash has no file \"x\""]);
    refused(&|about| about["files"]["vmcore"]["size"] = json!(1_u64 << 60), &["a crash has no file \"vmcore\""]);
    let without_machine = |about: &mut Value| {
        about["crash"]["machine"] = Value::Null;
        about["files"]["vmcore"]["size"] = json!(1_u64 << 50);
    };
    refused(&without_machine, &["a crash has no file \"vmcore\" of 1125899906842624 bytes"]);
    refused(&|about| about["more"] = json!(1), &["unknown field"]);
    refused(&|about| drop(about["outputs"].as_object_mut().unwrap().remove("layer000")), &["names no image"]);
    // A result under another key could be taken for what a stage makes.
    refused(
        &|about| about["outputs"]["layer000"]["size"] = json!(1),
        &["brings a result crash that is not the crash's image"],
    );
    // What no disk has room for, before a byte of it comes.
    let large = said(&file, &|about| about["outputs"]["layer000"]["size"] = json!(1_u64 << 60));
    std::fs::write(there.dir().join("given"), &large).unwrap();
    let ran = there.run(&["crash", "import", "given"]);
    assert_eq!(ran.status, Some(1), "{ran:?}");
    ran.says(&["not imported", "it takes 109951162777", "MiB in", "again when this is fixed"]);
    // Arguments for qemu are not taken from an imported crash, whatever it says.
    let extra = said(&file, &|about| {
        about["crash"]["machine"]["extra"] = json!(["-drive", "file=/etc/shadow"]);
        about["crash"]["title"] = json!("Oops\u{1b}[2J");
        about["crash"]["lines"] = json!(["\u{1b}]0;x\u{7} f+0x1/0x2"]);
    });
    let given = there.dir().join("given");
    std::fs::File::create(&given).unwrap().write_all(&extra).unwrap();
    let ran = there.ok(&["crash", "import", "given"]);
    let shown = there.ok(&["crash", "show"]);
    assert!(!(ran.out + &shown.out).contains('\u{1b}'), "no command for a terminal comes in: {shown:?}");
    let ran = there.ok(&["--json", "crash", "show"]);
    assert_eq!(json(&ran)["machine"]["extra"], json!([]), "{ran:?}");
}

#[test]
fn on_a_full_disk_and_after_a_kill_nothing_half_is_left() {
    let (here, there) = (crashed(), Project::new());
    let file = exported(&here);
    // Files of 512 KiB at most: the memory ends behind that.
    let template = there.command(&[]);
    let mut limited = std::process::Command::new("sh");
    let line = "ulimit -f 1024; exec \"$0\" crash import \"$1\"";
    limited.args(["-c", line]).arg(env!("CARGO_BIN_EXE_quiz")).arg(&file).current_dir(there.dir()).env_clear();
    limited.envs(template.get_envs().filter_map(|(name, value)| Some((name, value?))));
    let ran = Ran::from(limited.output().unwrap());
    assert_eq!(ran.status, Some(1), "{ran:?}");
    ran.says(&["not imported", "cannot write", "again when this is fixed"]);
    let left = || {
        let entries = std::fs::read_dir(there.dir().join(".quiz/runs")).unwrap().flatten();
        entries.filter(|entry| entry.file_name() != "lock").count()
    };
    assert_eq!(left(), 0);
    let import = ["crash", "import", file.to_str().unwrap()];
    // Killed as soon as it has begun; one that was quicker is tried again.
    let half = (0..100).any(|_| {
        let mut child = there.start(&import);
        while left() == 0 && child.try_wait().unwrap().is_none() {}
        child.kill().unwrap();
        let is_killed = child.wait().unwrap().code().is_none();
        let is_whole = !there.ok(&["crash", "ls"]).out.is_empty();
        if is_whole {
            there.ok(&["crash", "rm", "1"]);
        }
        is_killed && !is_whole
    });
    assert!(half && left() == 1, "what a killed one leaves");
    assert_eq!(there.ok(&["crash", "ls"]).out, "");
    there.ok(&import);
    assert_eq!(left(), 1, "the next one removes it");
    assert!(there.dir().join(".quiz/runs/1/crash/vmcore").exists());
}
