//! `quiz gc`: what was not used goes, and nothing that is in use.

use crate::project::{Project, files};
use std::fs::File;
use std::io::{BufRead, BufReader, Read};
use std::time::Duration;

const OUT: &str = "[outputs]\nout = \"file\"\n";

/// As if the records had been used last so many days ago.
pub fn age(project: &Project, days: u64) {
    for folder in ["records", "manifests", "subtrees"] {
        for path in files(&project.cache().join(folder)) {
            let file = File::open(path).unwrap();
            let modified = file.metadata().unwrap().modified().unwrap();
            file.set_modified(modified - Duration::from_secs(days * 24 * 60 * 60)).unwrap();
        }
    }
}

#[test]
fn what_was_not_used_for_a_month_goes_and_is_made_again() {
    let project = Project::new();
    project.recipe("t-old", OUT, "echo old >/quiz/out/out\n");
    project.recipe("t-used", OUT, "echo used >/quiz/out/out\n");
    let (old, used) = (project.built("t-old"), project.built("t-used"));
    assert!(project.ok(&["gc"]).out.starts_with("removed 0 results, "));
    age(&project, 32);
    // A build that finds its result uses it.
    project.ok(&["build", "t-used"]);
    assert!(project.ok(&["gc", "--older-than", "40"]).out.starts_with("removed 0 results, "));
    assert!(project.ok(&["gc", "--dry-run"]).out.starts_with("would remove 1 results, "));
    assert!(old.exists());
    let collected: serde_json::Value = serde_json::from_str(&project.ok(&["--json", "gc"]).out).unwrap();
    assert_eq!(collected["records"]["number"], 1);
    assert!(collected["objects"]["bytes"].as_u64() >= Some(4096), "{collected}");
    assert!(!old.exists() && used.exists());
    assert_eq!(project.ok(&["build", "t-used"]).err, "");
    // The script of this one is gone from the cache, too, as are its files.
    project.recipe("t-used", OUT, "echo used again >/quiz/out/out\n");
    for stage in ["t-old", "t-used"] {
        assert_eq!(project.ok(&["build", stage]).count(&format!("Made {stage}")), 1);
    }
}

#[test]
fn a_cache_is_brought_to_a_size_and_what_was_used_today_stays() {
    let project = Project::new();
    project.recipe("t-old", OUT, "head -c 3000000 /dev/urandom >/quiz/out/out\n");
    project.recipe("t-new", OUT, "head -c 3000000 /dev/urandom >/quiz/out/out\n");
    let old = project.built("t-old");
    age(&project, 5);
    let new = project.built("t-new");
    // It is what a stage of a project was last, however old.
    assert!(project.ok(&["gc", "--max-size", "5M"]).out.starts_with("removed 0 results, ") && old.exists());
    project.recipe("t-old", OUT, "echo small >/quiz/out/out\n");
    project.ok(&["build", "t-old"]);
    age(&project, 5);
    project.ok(&["build", "t-new"]);
    assert!(project.ok(&["gc", "--max-size", "1G"]).out.starts_with("removed 0 results, "));
    let ran = project.ok(&["gc", "--max-size", "5M"]);
    assert!(ran.out.starts_with("removed 1 results, ") && !old.exists() && new.exists(), "{ran:?}");
    let least = project.ok(&["gc", "--max-size", "1M"]);
    assert!(new.exists(), "{least:?}");
    least.says(&["are left: what was used in the last day stays"]);
    project.run(&["gc", "--max-size", "5"]).says(&["a size is a number with K, M, G or T"]);
}

#[test]
fn downloaded_packages_that_nobody_used_for_a_month_go_too() {
    let project = Project::new();
    project.ok(&["gc"]);
    let folder = project.cache().join("source/archive/packages");
    std::fs::create_dir_all(&folder).unwrap();
    let path = folder.join("a_1_all.0123456789ab.deb");
    std::fs::write(&path, "x".repeat(5000)).unwrap();
    let aged = |days: u64| {
        let then = std::time::SystemTime::now() - Duration::from_secs(days * 24 * 60 * 60);
        File::open(&path).unwrap().set_modified(then).unwrap();
    };
    aged(29);
    let gone = "0 results, 0 snapshots, 0 build folders, 1 downloads, ";
    assert!(project.ok(&["gc", "--max-size", "20G"]).out.contains(", 0 downloads, "));
    aged(31);
    assert!(project.ok(&["gc", "--dry-run"]).out.starts_with(&format!("would remove {gone}")));
    assert!(project.ok(&["gc", "--older-than", "40"]).out.contains(", 0 downloads, "));
    assert!(path.exists());
    let ran = project.ok(&["gc", "--max-size", "20G"]);
    assert!(ran.out.starts_with(&format!("removed {gone}")), "{ran:?}");
    assert!(!path.exists());
}

#[test]
fn a_build_is_waited_for() {
    let project = Project::new();
    project.recipe("t-old", OUT, "echo old >/quiz/out/out\n");
    let tables = format!("[inputs]\nold = \"t-old\"\n{OUT}");
    project.recipe("t-slow", &tables, "sleep 1\ncp /quiz/in/old /quiz/out/out\n");
    project.ok(&["build", "t-old"]);
    age(&project, 100);
    let mut slow = project.start(&["build", "t-slow"]);
    let mut said = BufReader::new(slow.stderr.take().unwrap());
    let mut line = String::new();
    while !line.contains("Making t-slow") {
        line.clear();
        assert!(said.read_line(&mut line).unwrap() > 0, "it ended");
    }
    let ran = project.ok(&["gc"]);
    ran.says(&["Waiting until every build has ended"]);
    assert!(ran.out.starts_with("removed 0 results, "), "the build used it: {ran:?}");
    said.read_to_string(&mut line).unwrap();
    assert!(slow.wait().unwrap().success() && line.contains("Made t-slow"), "{line}");
}
