//! `quiz cache export` and `import`: what was made here is a hit elsewhere, and what is no result of this machine stays here.

use crate::project::{Project, Ran, files};
use std::path::{Path, PathBuf};

const OUT: &str = "[outputs]\nout = \"file\"\n";

/// A stage that reads another one.
fn project() -> Project {
    let project = Project::new();
    project.recipe("t-in", OUT, "echo in >/quiz/out/out\n");
    project.recipe("t-out", &format!("[inputs]\nin = \"t-in\"\n{OUT}"), "cat /quiz/in/in /quiz/in/in >/quiz/out/out\n");
    project
}

#[test]
fn what_was_exported_is_a_hit_elsewhere_and_what_it_was_made_of_is_known_there() {
    let (here, there) = (project(), project());
    let file = here.dir().join("pack");
    let name = file.to_str().unwrap();
    let exported = here.ok(&["cache", "export", name, "t-out"]);
    assert!(exported.out.starts_with(&format!("{name}: ")), "{exported:?}");
    let again = here.run(&["cache", "export", name, "t-out"]);
    assert_eq!(again.status, Some(2), "{again:?}");
    again.says(&["is there already"]);

    assert_eq!(there.ok(&["cache", "import", name]).out, "t-out\n");
    let built = there.ok(&["build", "t-out"]);
    assert_eq!((built.count("Making"), built.count("Made")), (0, 0), "{built:?}");
    assert_eq!(std::fs::read(there.built("t-out")).unwrap(), b"in\nin\n");
    // Its input is known, and made when somebody wants it.
    let input = there.ok(&["build", "t-in"]);
    assert_eq!(input.count("Made t-in"), 1, "{input:?}");
    let json: serde_json::Value = serde_json::from_str(&there.ok(&["--json", "cache", "import", name]).out).unwrap();
    assert_eq!(json, serde_json::json!({ "taken": [], "known": 2 }));
}

/// Which files a tree has is not in its record, so the key of who reads a part of it can be told when it is made again, and not before.
#[test]
fn what_reads_a_part_of_a_tree_that_did_not_come_along_is_a_hit_when_that_is_made() {
    let project = || {
        let project = Project::new();
        project.recipe(
            "t-tree",
            "[outputs]\ntree = \"tree\"\n",
            "mkdir /quiz/out/tree; cd /quiz/out/tree; echo a >a; echo b >b\n",
        );
        for (name, part) in [("t-part", "a"), ("t-other", "b")] {
            let tables = format!("[inputs]\nin = {{ from = \"t-tree/tree\", paths = [\"{part}\"] }}\n{OUT}");
            project.recipe(name, &tables, "cat /quiz/in/in/? >/quiz/out/out\n");
        }
        project
    };
    let (here, there) = (project(), project());
    let file = here.dir().join("pack");
    let name = file.to_str().unwrap();
    here.ok(&["cache", "export", name, "t-part"]);
    there.ok(&["cache", "import", name]);
    let graph = there.ok(&["graph"]).out;
    let line = |stage: &str| graph.lines().find(|line| line.contains(stage)).unwrap().to_owned();
    for stage in ["t-part", "t-other"] {
        assert!(line(stage).contains("unknown") && line(stage).contains("needs t-tree"), "{graph}");
    }
    there.ok(&["why", "t-part"]);
    let built = there.ok(&["build", "t-part", "t-other"]);
    let made = |stage: &str| built.count(&format!("Made {stage} in"));
    assert_eq!(["t-tree", "t-part", "t-other"].map(made), [1, 0, 1], "{built:?}");
    assert_eq!(std::fs::read(there.built("t-part")).unwrap(), b"a\n");
    assert_eq!(there.ok(&["build", "t-part", "t-other"]).count("Making"), 0);
}

#[test]
fn what_cannot_be_taken_in_is_named_and_what_is_edited_stays_here() {
    let project = project();
    let broken = project.write("broken", "no pack");
    let ran = project.run(&["cache", "import", broken.to_str().unwrap()]);
    assert_eq!(ran.status, Some(2), "{ran:?}");
    ran.says(&["broken: not imported", "this is no pack of results"]);
    project.run(&["cache", "import", "nowhere"]).says(&["cannot read nowhere"]);
    let to = project.dir().join("no/such/folder");
    let ran = project.run(&["cache", "export", to.to_str().unwrap(), "t-out"]);
    assert_eq!(ran.status, Some(2), "{ran:?}");
    ran.says(&["cannot write"]);

    project.source_folder();
    project.write("MARK", "");
    let tables = format!("[inputs]\nsource = \"t-source\"\n{OUT}[incremental]\nsync = [\"source\"]\ninto = \"tree\"\n");
    project.recipe("t-edited", &tables, "cat tree/MARK >/quiz/out/out\n");
    // What is made of it from nothing has its bytes all the same.
    project.recipe("t-after", &format!("[inputs]\nin = \"t-edited\"\n{OUT}"), "cp /quiz/in/in /quiz/out/out\n");
    project.ok(&["build", "t-edited"]);
    project.write("MARK", "another");
    for (stage, why) in [
        ("t-edited", "built incrementally, it stays"),
        ("t-after", "built incrementally, or made of what was: t-edited, it stays"),
        ("t-source", "a folder, it stays"),
    ] {
        let ran = project.run(&["cache", "export", "pack", stage]);
        assert_eq!(ran.status, Some(2), "{ran:?}");
        ran.says(&[why, "on this machine"]);
    }
    project.ok(&["build", "--fresh", "t-edited"]);
    project.ok(&["cache", "export", "pack", "t-after"]);
}

/// The host runs this without a sandbox: it would run whatever a pack brings.
#[test]
fn no_pack_brings_what_runs_on_this_machine() {
    let keys = || {
        let project = project();
        let sum = "a".repeat(64);
        let pin = format!(
            "version = 1\n[[pin]]\nentry = \"drgn\"\nwanted = \"wheel default for cp311 x86_64\"\n\
             is.url = {{ version = \"0.3.0\", url = \"https://example.org/x.whl\", sha256 = \"{sum}\" }}\n"
        );
        std::fs::write(project.dir().with_file_name("home").join(".config/quiz/quiz.lock"), pin).unwrap();
        // Such a result is not exported either, nor fetched only to be refused.
        let ran = project.run(&["--offline", "cache", "export", "pack", "drgn-wheel"]);
        assert_eq!(ran.status, Some(2), "{ran:?}");
        ran.says(&["drgn-wheel runs outside of a sandbox"]);
        let graph: serde_json::Value = serde_json::from_str(&project.ok(&["-v", "--json", "graph"]).out).unwrap();
        let key = |name: &str| {
            let stage = graph.as_array().unwrap().iter().find(|stage| stage["stage"] == name).unwrap();
            stage["key"].as_str().unwrap_or_else(|| panic!("{stage}")).to_owned()
        };
        (key("t-in"), key("drgn-wheel"))
    };
    let (one, other) = (keys(), keys());
    assert_eq!(one.0, other.0, "all else is the same everywhere");
    assert_ne!(one.1, other.1);
}

/// A project with two keys, `mine` and `others`, and with `signers`, who are `mine` alone.
fn with_keys() -> Project {
    let project = project();
    for name in ["mine", "others"] {
        let made = project.other("ssh-keygen").args(["-q", "-t", "ed25519", "-N", "", "-C", "", "-f", name]).status();
        assert!(made.unwrap().success());
    }
    let public = std::fs::read_to_string(project.dir().join("mine.pub")).unwrap();
    project.write("signers", &format!("me@example.org namespaces=\"quiz-pack\" {public}"));
    project
}

/// Exports t-out to `name`, signed; gives the path.
fn signed(project: &Project, name: &str, key: &str) -> PathBuf {
    project.ok(&["cache", "export", "--sign", key, name, "t-out"]);
    project.dir().join(name)
}

fn verified(project: &Project, pack: &Path, signers: &Path) -> Ran {
    project.run(&["cache", "import", "--verify", signers.to_str().unwrap(), pack.to_str().unwrap()])
}

/// Fails unless it was refused with these words and nothing of a pack is in the cache.
fn refused(project: &Project, ran: &Ran, words: &[&str]) {
    assert_eq!((ran.status, ran.out.as_str()), (Some(2), ""), "{ran:?}");
    ran.says(words);
    let within = |path: &PathBuf| {
        ["objects", "trees", "records"].iter().any(|part| path.starts_with(project.cache().join(part)))
    };
    let there: Vec<PathBuf> = files(&project.cache()).into_iter().filter(within).collect();
    assert!(there.is_empty(), "{there:?}");
}

#[test]
fn what_a_signer_has_signed_is_taken_in_and_ssh_keygen_alone_says_the_same() {
    let (here, there) = (with_keys(), project());
    let pack = signed(&here, "pack", "mine");
    let signers = here.dir().join("signers");
    let words = ["-Y", "verify", "-n", "quiz-pack", "-f", "signers", "-I", "me@example.org", "-s", "pack.sig"];
    let alone = here.other("ssh-keygen").args(words).stdin(std::fs::File::open(&pack).unwrap()).output().unwrap();
    assert!(alone.status.success(), "{alone:?}");
    let ran = verified(&there, &pack, &signers);
    assert_eq!((ran.status, ran.out.as_str()), (Some(0), "t-out\n"), "{ran:?}");
    assert_eq!(there.ok(&["build", "t-out"]).count("Making"), 0);
}

#[test]
fn nothing_is_taken_in_of_what_is_not_signed_or_by_another_key_or_was_changed() {
    let (here, there) = (with_keys(), project());
    let signers = here.dir().join("signers");
    here.ok(&["cache", "export", "plain", "t-out"]);
    let plain = here.dir().join("plain");
    refused(&there, &verified(&there, &plain, &signers), &["plain is not signed", "plain.sig", "--sign KEY"]);

    let others = signed(&here, "other", "others");
    refused(
        &there,
        &verified(&there, &others, &signers),
        &["other.sig was made by nobody in", "signers", "namespaces="],
    );
    refused(&there, &verified(&there, &others, Path::new("none")), &["cannot read the signers none", "quiz-pack"]);

    // Whole as a pack, but not what was signed.
    let pack = signed(&here, "pack", "mine");
    std::fs::OpenOptions::new()
        .append(true)
        .open(&pack)
        .and_then(|mut file| std::io::Write::write_all(&mut file, b"x"))
        .unwrap();
    refused(
        &there,
        &verified(&there, &pack, &signers),
        &["pack.sig is not a good signature of it", "incorrect signature", "again"],
    );

    // What the same key has signed for something else.
    let words = ["-q", "-Y", "sign", "-n", "file", "-f", "mine", "plain"];
    assert!(here.other("ssh-keygen").args(words).status().unwrap().success());
    refused(&there, &verified(&there, &plain, &signers), &["plain.sig is not a good signature of it"]);

    let mut bare = there.command(&["cache", "import", "--verify", signers.to_str().unwrap(), pack.to_str().unwrap()]);
    let ran = Ran::from(bare.env("PATH", there.bin()).output().unwrap());
    refused(&there, &ran, &["cannot start ssh-keygen", "openssh"]);
}

/// Somebody who may write to the file waits until it was looked at.
#[test]
fn what_is_taken_in_is_what_was_verified_whatever_becomes_of_the_file() {
    let (here, there) = (with_keys(), project());
    let (pack, signers) = (signed(&here, "pack", "mine"), here.dir().join("signers"));
    here.ok(&["cache", "export", "evil", "t-in"]);
    let evil = here.dir().join("evil");
    let path = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
    // Into the very file that quiz has open, before and after it is read by ssh-keygen.
    let script = format!("cat {0} >{1}\nPATH={path} ssh-keygen \"$@\"\n", evil.display(), pack.display());
    there.stand_in("ssh-keygen", &script);
    let ran = verified(&there, &pack, &signers);
    assert_eq!((ran.status, ran.out.as_str()), (Some(0), "t-out\n"), "{ran:?}");
    assert_eq!(std::fs::read(&pack).unwrap(), std::fs::read(&evil).unwrap(), "it was changed");
}

#[test]
fn an_export_that_cannot_be_signed_leaves_neither_file() {
    let project = with_keys();
    project.write("junk", "no key");
    let left = || ["pack", "pack.sig"].map(|name| project.dir().join(name).exists());
    let export = |key: &str, words: &[&str]| {
        let ran = project.run(&["cache", "export", "--sign", key, "pack", "t-out"]);
        assert_eq!(ran.status, Some(2), "{ran:?}");
        ran.says(words);
    };
    export("nowhere", &["cannot read the key nowhere", "ssh-keygen -t ed25519 -f nowhere"]);
    export("junk", &["cannot sign with junk", "OpenSSH private key"]);
    assert_eq!(left(), [false, false]);
    let made = project.ok(&["build", "t-out"]).count("Made");
    assert_eq!(made, 2, "nothing was made for a file that cannot be signed");
    project.write("pack.sig", "old");
    export("mine", &["pack.sig is there already", "another file"]);
    assert_eq!(left(), [false, true]);
    assert_eq!(std::fs::read(project.dir().join("pack.sig")).unwrap(), b"old");
    std::fs::remove_file(project.dir().join("pack.sig")).unwrap();
    signed(&project, "pack", "mine");
    let names = std::fs::read_dir(project.dir()).unwrap().map(|entry| entry.unwrap().file_name());
    let begun = names.filter(|name| name.to_str().unwrap().starts_with(".tmp")).count();
    assert_eq!((left(), begun), ([true, true], 0));
}
