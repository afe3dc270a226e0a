//! What a user does for the cache: looks what takes room, whether its bytes are right, pins, lets it keep a size; and cleans a worktree.

use crate::collect::age;
use crate::project::{Project, Ran, files};
use std::fs::{self, File, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::time::{Duration, Instant};

const OUT: &str = "[outputs]\nout = \"file\"\n";

/// A stage with an output of so many KiB, for each text another one.
fn stage(project: &Project, name: &str, kib: usize, text: &str) {
    let script = format!("yes {text} | head -c {} >/quiz/out/out || :\n", kib << 10);
    project.recipe(name, OUT, &script);
}

fn json(ran: &Ran) -> serde_json::Value {
    serde_json::from_str(&ran.out).unwrap()
}

/// One bit of the file is another one, and its time and mode are what they were.
fn flip(path: &Path) {
    let meta = fs::metadata(path).unwrap();
    let mut content = fs::read(path).unwrap();
    content[0] ^= 1;
    fs::set_permissions(path, Permissions::from_mode(0o644)).unwrap();
    fs::write(path, content).unwrap();
    File::open(path).unwrap().set_modified(meta.modified().unwrap()).unwrap();
    fs::set_permissions(path, meta.permissions()).unwrap();
}

#[test]
fn the_list_says_what_frees_what_and_who_holds_it() {
    let project = Project::new();
    stage(&project, "t-large", 800, "old");
    project.ok(&["build", "t-large"]);
    stage(&project, "t-large", 400, "new");
    stage(&project, "t-small", 4, "small");
    project.ok(&["build", "t-large", "t-small"]);
    let list = json(&project.ok(&["--json", "cache"]));
    let items = list["items"].as_array().unwrap();
    let of = |name: &str| items.iter().filter(|item| item["name"] == name).collect::<Vec<_>>();
    let [old, new] = of("t-large")[..] else { panic!("{list}") };
    assert!(old["frees"].as_u64() >= Some(800 << 10) && old["held-by"].as_array().unwrap().is_empty(), "{old}");
    assert!(new["frees"].as_u64() < Some(500 << 10) && new["held-by"][0]["by"] == "project", "{new}");
    assert_eq!(new["held-by"][0]["project"], project.dir().to_str().unwrap());
    assert!(list["bytes"].as_u64() >= Some(1200 << 10));
    let frees: Vec<u64> = items.iter().map(|item| item["frees"].as_u64().unwrap()).collect();
    assert!(frees.is_sorted_by(|a, b| a >= b), "{frees:?}");
    // The same for people; one that frees little has a row with -v.
    let text = project.ok(&["cache", "ls"]).out;
    assert!(text.starts_with("FREES") || text.trim_start().starts_with("FREES"), "{text}");
    assert!(text.lines().last().unwrap().ends_with(&format!("all of {}", project.cache().display())), "{text}");
    let verbose = project.ok(&["-v", "cache"]).out;
    let key = &new["key"].as_str().unwrap()[..12];
    let line = verbose.lines().find(|line| line.contains(key)).unwrap();
    assert!(line.contains("t-large") && line.ends_with("project"), "{line}");
    // A look does not count as a use, and leaves nothing behind.
    let before = files(&project.cache()).len();
    project.ok(&["cache"]);
    assert_eq!(files(&project.cache()).len(), before);
}

#[test]
fn bytes_that_changed_by_themselves_are_found_set_aside_and_made_again() {
    let project = Project::new();
    stage(&project, "t-input", 64, "input");
    project.recipe(
        "t-result",
        "[inputs]\nfrom = \"t-input/out\"\n[outputs]\ntree = \"tree\"\n",
        "mkdir -p /quiz/out/tree/sub\ncat /quiz/in/from /quiz/in/from >/quiz/out/tree/sub/x\n",
    );
    let (input, result) = (project.built("t-input"), project.built("t-result"));
    let good = project.ok(&["cache", "verify"]).out;
    assert!(good.contains("all intact") && good.contains(" MB/s"), "{good}");
    let right = [fs::read(&input).unwrap(), fs::read(result.join("sub/x")).unwrap()];
    [&input, &result.join("sub/x")].iter().for_each(|path| flip(path));
    // No other command notices it.
    assert_eq!(project.ok(&["build", "t-result"]).err, "");
    let found = project.run(&["--json", "cache", "verify"]);
    assert_eq!(found.status, Some(1), "{found:?}");
    let told = json(&found);
    assert_eq!(told["made-again"], serde_json::json!(["t-input", "t-result"]), "{told}");
    let aside = Path::new(told["aside"].as_str().unwrap());
    let object = input.strip_prefix(project.cache()).unwrap();
    assert!(aside.starts_with(project.cache().join("wrong")) && aside.join(object).exists(), "{told}");
    assert!(told["wrong"].as_array().unwrap().iter().any(|wrong| wrong["path"] == object.to_str().unwrap()), "{told}");
    let again = project.ok(&["build", "t-input", "t-result"]);
    assert_eq!(again.count("Made"), 2, "{again:?}");
    assert_eq!([fs::read(&input).unwrap(), fs::read(result.join("sub/x")).unwrap()], right);
    project.ok(&["cache", "verify"]);
}

#[test]
fn what_cannot_be_set_aside_is_an_error_that_says_who_can() {
    let project = Project::new();
    stage(&project, "t-one", 4, "one");
    flip(&project.built("t-one"));
    fs::write(project.cache().join("wrong"), "").unwrap();
    let ran = project.run(&["cache", "verify"]);
    assert_eq!(ran.status, Some(1));
    assert!(ran.out.contains("1 wrong"), "{ran:?}");
    ran.says(&["what is damaged was not moved away", "run this as the user whose cache it is"]);
}

#[test]
fn verify_waits_for_no_build_and_no_build_for_it() {
    let project = Project::new();
    stage(&project, "t-one", 4, "one");
    project.ok(&["build", "t-one"]);
    project.recipe("t-slow", OUT, "sleep 3; echo slow >/quiz/out/out\n");
    let mut build = project.start(&["build", "t-slow"]);
    let mut looks = 0;
    while build.try_wait().unwrap().is_none() {
        project.ok(&["cache", "verify"]);
        looks += 1;
    }
    assert!(looks >= 2 && build.wait().unwrap().success(), "{looks}");
    project.ok(&["cache", "verify"]);
}

#[test]
fn what_is_pinned_no_collection_takes() {
    let project = Project::new();
    stage(&project, "t-one", 1200, "one");
    stage(&project, "t-two", 1200, "two");
    project.run(&["cache", "pin", "t-one"]).says(&["t-one is not built in its current state", "quiz build t-one"]);
    let (one, two) = (project.built("t-one"), project.built("t-two"));
    let pinned = json(&project.ok(&["--json", "cache", "pin", "t-one"]));
    let key = pinned["key"].as_str().unwrap();
    assert_eq!((&pinned["stage"], &pinned["pinned"]), (&serde_json::json!("t-one"), &serde_json::json!(true)));
    // The result is named by the digest of an output.
    let digest = two.file_name().unwrap().to_str().unwrap();
    assert!(project.ok(&["cache", "pin", &digest[..10]]).out.starts_with("t-two "));
    let list = json(&project.ok(&["--json", "cache"]));
    let items = list["items"].as_array().unwrap();
    let held = &items.iter().find(|item| item["key"] == key).unwrap()["held-by"];
    assert_eq!(held[0]["by"], "pin");
    age(&project, 60);
    project.ok(&["gc"]);
    assert!(project.ok(&["gc", "--max-size", "1M"]).out.starts_with("removed 0 results"));
    assert!(one.exists() && two.exists());
    assert_eq!(project.ok(&["build", "t-one"]).count("Made"), 0);
    age(&project, 60);
    assert!(project.ok(&["cache", "pin", &key[..12], "--rm"]).out.contains("no longer pinned"));
    assert!(project.ok(&["gc"]).out.starts_with("removed 1 results"));
    assert!(!one.exists() && two.exists());
    let wrong = project.run(&["cache", "pin", "t-one", "--rm"]);
    assert_eq!(wrong.status, Some(2));
    wrong.says(&["\"t-one\" is not pinned", "pinned are: t-two"]);
    let nothing = project.run(&["cache", "pin", "0123456789abcdef"]);
    assert_eq!(nothing.status, Some(2));
    nothing.says(&["no result in the cache has a digest that begins with 0123456789abcdef"]);
    project.run(&["cache", "pin", "t-none"]).says(&["t-none"]);
}

/// What became of a file within a while.
fn goes(path: &Path) -> bool {
    let until = Instant::now() + Duration::from_secs(60);
    while path.exists() && Instant::now() < until {
        std::thread::sleep(Duration::from_millis(50));
    }
    !path.exists()
}

#[test]
fn above_the_size_of_the_setting_what_was_used_longest_ago_goes_after_a_run() {
    let project = Project::new();
    stage(&project, "t-one", 2000, "old");
    stage(&project, "t-last", 2000, "last");
    let (old, last) = (project.built("t-one"), project.built("t-last"));
    stage(&project, "t-one", 2000, "new");
    let new = project.built("t-one");
    age(&project, 9);
    // No size was asked for yet.
    assert!(!project.cache().join("tidied").exists() && old.exists());
    project.write("quiz.toml", "[cache]\nmax-size = \"5M\"\n");
    let ran = project.ok(&["build", "t-one"]);
    assert_eq!(ran.err, "", "it says nothing");
    assert!(goes(&old));
    assert!(new.exists() && last.exists(), "what stages of this project were last stays");
    let measured = || fs::metadata(project.cache().join("tidied")).unwrap().modified().unwrap();
    let before = measured();
    stage(&project, "t-one", 2000, "newer");
    project.ok(&["build", "t-one"]);
    assert_eq!(measured(), before, "once an hour is enough");
    // One that is wrong is told before anything is done.
    project.write("quiz.toml", "[cache]\nmax-size = \"much\"\n");
    stage(&project, "t-one", 4, "newest");
    let wrong = project.run(&["build", "t-one"]);
    assert_eq!((wrong.status, wrong.count("Making")), (Some(2), 0));
    wrong.says(&["cache.max-size = \"much\"", "quiz.toml:2", "as in 500M, 20G"]);
}

#[test]
fn a_run_that_nobody_waits_for_keeps_its_status_and_what_a_worktree_that_is_gone_had_goes() {
    let project = Project::new();
    stage(&project, "t-one", 2000, "one");
    let one = project.built("t-one");
    project.recipe("t-fails", OUT, "exit 1\n");
    age(&project, 9);
    project.write("quiz.toml", "[cache]\nmax-size = \"1M\"\n");
    let failed = project.run(&["build", "t-fails"]);
    assert_eq!(failed.status, Some(1));
    let until = Instant::now() + Duration::from_secs(60);
    let is_done = || {
        let file = File::open(project.cache().join("tidied"));
        file.is_ok_and(|file| file.metadata().unwrap().len() > 0 && file.try_lock().is_ok())
    };
    while !is_done() && Instant::now() < until {
        std::thread::sleep(Duration::from_millis(50));
    }
    assert!(one.exists(), "it is what a stage of this project was last");
    // Once the project has moved, nothing is kept for its old place, and the next build tidies it away.
    let elsewhere = project.dir().with_file_name("elsewhere");
    fs::rename(project.dir(), &elsewhere).unwrap();
    let old = File::open(project.cache().join("tidied")).unwrap();
    old.set_modified(old.metadata().unwrap().modified().unwrap() - Duration::from_secs(2 * 60 * 60)).unwrap();
    let mut command = project.command(&["build", "t-fails"]);
    assert_eq!(command.current_dir(&elsewhere).output().unwrap().status.code(), Some(1));
    assert!(goes(&one));
}

#[test]
fn a_worktree_is_cleaned_of_runs_and_of_all_that_quiz_made_and_of_nothing_else() {
    let project = Project::new();
    stage(&project, "t-one", 4, "one");
    project.write(".quiz/profiles/mine/profile.toml", "about = \"mine\"\n");
    project.write(".quiz/runs/1/out/x", &"x".repeat(50_000));
    project.write(".quiz/runs/2/crash/crash.json", "{}");
    project.write(".quiz/ssh_config", "x");
    let looked = project.ok(&["clean", "--dry-run"]).out;
    assert!(
        looked.starts_with("would remove runs/1: ") && looked.contains("left runs/2: its guest crashed"),
        "{looked}"
    );
    assert!(project.dir().join(".quiz/runs/1").exists());
    let cleaned = json(&project.ok(&["--json", "clean", "--runs"]));
    assert!(cleaned["removed"][0]["bytes"].as_u64() >= Some(50_000), "{cleaned}");
    assert!(!project.dir().join(".quiz/runs/1").exists() && project.dir().join(".quiz/runs/2").exists());
    project.ok(&["clean", "--all"]);
    let left: Vec<_> =
        files(&project.dir()).iter().map(|f| f.strip_prefix(project.dir()).unwrap().to_owned()).collect();
    let mut left: Vec<&str> = left.iter().map(|path| path.to_str().unwrap()).collect();
    left.sort_unstable();
    let own = [".quiz/profiles/mine/profile.toml", ".quiz/recipes/t-one/build.sh", ".quiz/recipes/t-one/recipe.toml"];
    assert_eq!(left, [&own[..], &["quiz.toml"]].concat());
    assert_eq!(project.run(&["clean", "--all", "--runs"]).status, Some(2));
    assert_eq!(project.ok(&["clean", "--all"]).out, "removed 0 B in all\n");
}
