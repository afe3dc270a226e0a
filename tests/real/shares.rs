//! Folders of the host in the guest, in machines that booted and in those that were restored; qemu's monitor; runs that are detached.

use super::Real;
use super::reach::eventually;
use crate::project::Ran;

#[test]
fn four_folders_are_shared_at_their_own_paths_each_as_it_was_asked_for() {
    let real = Real::new();
    let dir = real.0.dir().canonicalize().unwrap();
    for name in ["written", "read", "over", "by, profile"] {
        real.0.write(&format!("{name}/folder/file"), name);
    }
    let profile = "about = \"x\"\n[[devices]]\ntype = \"share\"\npath = \"by, profile\"\nmode = \"ro\"\n";
    real.0.write(".quiz/profiles/mine/profile.toml", profile);
    let script = "pwd; cat file ../../read/folder/file ../../over/folder/file '../../by, profile/folder/file'; echo\n\
        ! touch ../../read/no 2>/dev/null && ! touch '../../by, profile/no' 2>/dev/null\n\
        echo guest >new; rm ../../over/folder/file; echo guest >../../over/folder/new\n\
        test ! -e ../../over/folder/file && cat ../../over/folder/new\n\
        mv new renamed; chmod 755 renamed; echo '#!/bin/sh\necho ran' >renamed; ./renamed\n";
    let written = dir.join("written/folder");
    for how in ["--no-snapshot", "--no-input", "--no-input"] {
        let _ = std::fs::remove_file(written.join("renamed"));
        let shares = ["--share", "written", "--share", "read:ro", "--share", "over:overlay", "--cwd", "written/folder"];
        let ran = real.run(&[&["up", "-p", "mine", how], &shares[..], &["--", "sh", "-euc", script]].concat());
        let out = format!("{}\nwrittenreadoverby, profile\nguest\nran\n", written.display());
        assert_eq!((ran.status, ran.out.as_str()), (Some(0), out.as_str()), "{ran:?}");
        // What was written is in the host's folder, and nothing was written to the one that is an overlay.
        assert_eq!(std::fs::read_to_string(written.join("renamed")).unwrap(), "#!/bin/sh\necho ran\n");
        assert_eq!(std::fs::read_to_string(dir.join("over/folder/file")).unwrap(), "over");
        assert_eq!(std::fs::read_dir(dir.join("over/folder")).unwrap().count(), 1);
    }
    // A machine without shares goes on from the same snapshot.
    let ran = real.run(&["up", "-p", "mine", "--", "true"]);
    assert_eq!(ran.status, Some(0), "{ran:?}");
    ran.says(&["Restoring"]);
    // What is tested side by side cannot write where another one reads; and its result is not remembered, since files there may change.
    real.0.write("lines", "cat '../by, profile/folder/file'\n");
    let each = || real.run(&["test", "-p", "mine", "--each", "lines"]);
    real.0.write("lines", &format!("cat '{}/by, profile/folder/file'\n", dir.display()));
    assert_eq!(each().status, Some(0));
    std::fs::remove_file(dir.join("by, profile/folder/file")).unwrap();
    assert_eq!(each().status, Some(1));
    // A script is tested where it lies, and what it writes beside itself is its own machine's.
    real.0.write(
        "lines",
        "./renamed && ! test -e kept && touch kept\n! touch ../../read/no 2>/dev/null && ! test -e kept\n",
    );
    let shares = ["--share", "written:overlay", "--share", "read", "--cwd", "written/folder"];
    let ran = real.run(&[&["test", "--each", "lines"], &shares[..]].concat());
    assert_eq!(ran.status, Some(0), "{ran:?}");
    assert!(!written.join("kept").exists());
}

#[test]
fn a_detached_machine_is_entered_by_exec_and_monitor_stopped_for_a_while_and_ended() {
    let real = Real::new();
    let up = real.run(&["up", "--detach"]);
    assert_eq!((up.status, up.out.as_str()), (Some(0), "1\n"), "{up:?}");
    let says = |words: &[&str]| real.run(&[&["monitor", "--"], words].concat()).out;
    assert_eq!(says(&["info", "status"]), "VM status: running\n");
    // As long as somebody wants it to stand still it does, and is as it was then.
    says(&["stop"]);
    assert_eq!(says(&["info status"]), "VM status: paused\n");
    says(&["cont"]);
    let ran = real.run(&["exec", "--", "uname", "-n"]);
    assert_eq!((ran.status, ran.out.as_str()), (Some(0), "quiz-1\n"), "{ran:?}");
    let ran = real.run(&["monitor", "1", "--qmp", "--", "{\"execute\":\"query-status\"}"]);
    let status: serde_json::Value = serde_json::from_str(&ran.out).unwrap();
    assert_eq!((ran.status, &status["status"]), (Some(0), &"running".into()), "{ran:?}");
    let ran = real.run(&["monitor", "--qmp", "--", "{\"execute\":\"no-such\"}"]);
    assert_eq!(ran.status, Some(1), "{ran:?}");
    ran.says(&["qemu refuses", "no-such"]);
    real.run(&["stop"]);
    assert_eq!(real.run(&["wait"]).status, Some(143));
    let ran = real.run(&["monitor"]);
    assert_eq!(ran.status, Some(2), "{ran:?}");
    // Who ends qemu has ended the run, which says so.
    let up = real.run(&["up", "--detach", "--", "sh", "-c", "echo on; sleep 600"]);
    assert_eq!((up.status, up.out.as_str()), (Some(0), "2\n"), "{up:?}");
    let stdout = real.0.dir().join(".quiz/runs/2/stdout");
    eventually("output", || (std::fs::read_to_string(&stdout).unwrap() == "on\n").then_some(()));
    let ran: Ran = real.run(&["monitor", "--", "quit"]);
    assert_eq!(ran.status, Some(0), "{ran:?}");
    assert_eq!(real.run(&["wait"]).status, Some(125));
    assert_eq!(real.machines(), [0_u32; 0]);
}
