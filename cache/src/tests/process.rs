//! Promises that take more than one process: kill -9 at any time, a full disk.
//!
//! The test program starts itself again with [`ROLE`] set; [`child`] is what then runs.

use super::*;
use std::env;
use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};

const ROLE: &str = "QUIZ_CACHE_TEST_ROLE";
const ROOT: &str = "QUIZ_CACHE_TEST_ROOT";

/// Does nothing in an ordinary run.
#[test]
fn child() {
    let Ok(role) = env::var(ROLE) else { return };
    let root = env::var_os(ROOT).unwrap();
    let root = Path::new(&root);
    match &*role {
        "hold" => hold(root),
        "commit" => commit_forever(root),
        "full" => full_disk(root),
        other => panic!("no such role: {other}"),
    }
}

fn test_arguments(command: &mut Command, role: &str, root: &Path) {
    command.args(["--exact", "tests::process::child", "--nocapture"]).env(ROLE, role).env(ROOT, root);
}

/// Starts a child and waits until it has done its first part.
fn start(role: &str, root: &Path) -> Child {
    let mut command = Command::new(env::current_exe().unwrap());
    test_arguments(&mut command, role, root);
    let mut child = command.stdout(Stdio::piped()).spawn().unwrap();
    let lines = BufReader::new(child.stdout.as_mut().unwrap()).lines();
    assert!(lines.map_while(std::io::Result::ok).any(|line| line.contains("ready")), "the child failed");
    child
}

fn say_ready() {
    use std::io::Write;
    // Past the capture of the test harness.
    std::io::stdout().write_all(b"ready\n").unwrap();
    std::io::stdout().flush().unwrap();
}

/// Holds a slot with half a result until it is killed.
fn hold(root: &Path) {
    let cache = Cache::open(root).unwrap();
    let slot = miss(cache.slot(&key("a").0, &nobody).unwrap());
    fill(slot.out());
    fs::write(slot.scratch().join("half"), "x").unwrap();
    say_ready();
    std::thread::sleep(Duration::from_secs(600));
}

#[test]
fn a_slot_whose_process_was_killed_is_free_and_swept() {
    let root = tempfile::tempdir().unwrap();
    let mut child = start("hold", root.path());
    let cache = Cache::open(root.path()).unwrap();
    let waits = std::sync::atomic::AtomicU32::new(0);
    std::thread::scope(|scope| {
        let waiter = scope.spawn(|| {
            let told = |pid| waits.store(pid, std::sync::atomic::Ordering::SeqCst);
            drop(miss(cache.slot(&key("a").0, &told).unwrap()));
        });
        while waits.load(std::sync::atomic::Ordering::SeqCst) == 0 {
            std::thread::sleep(Duration::from_millis(1));
        }
        assert_eq!(waits.load(std::sync::atomic::Ordering::SeqCst), child.id(), "the holder is named");
        child.kill().unwrap();
        child.wait().unwrap();
        waiter.join().unwrap();
    });
    // Another one, that nobody waits for.
    let mut child = start("hold", root.path());
    child.kill().unwrap();
    child.wait().unwrap();
    assert_eq!(count(&root.path().join("locks")), 1);
    let later = Cache::open(root.path()).unwrap();
    drop(miss(later.slot(&key("b").0, &nobody).unwrap()));
    drop(miss(later.slot(&key("a").0, &nobody).unwrap()));
    drop((later, cache));
    for folder in ["objects", "trees", "manifests", "records", "locks", "tmp"] {
        assert_eq!(count(&root.path().join(folder)), 0, "{folder}");
    }
}

/// Commits results of many files, one after the other, until it is killed.
fn commit_forever(root: &Path) {
    let cache = Cache::open(root).unwrap();
    for round in 0.. {
        let (key, manifest) = key(&round.to_string());
        let Entry::Miss(slot) = cache.slot(&key, &nobody).unwrap() else { continue };
        let tree = slot.out().join("tree");
        fs::create_dir(&tree).unwrap();
        for file in 0..40 {
            fs::write(tree.join(file.to_string()), format!("{round} {file}")).unwrap();
        }
        slot.commit(made(&[("tree", Kind::Tree)], manifest)).unwrap();
        if round == 0 {
            say_ready();
        }
    }
}

#[test]
fn killed_at_any_moment_of_a_commit_nothing_is_half() {
    let root = tempfile::tempdir().unwrap();
    for pause in [0u64, 3, 7, 11, 17, 29] {
        let folder = root.path().join(pause.to_string());
        let mut child = start("commit", &folder);
        std::thread::sleep(Duration::from_millis(pause));
        child.kill().unwrap();
        child.wait().unwrap();

        let cache = Cache::open(&folder).unwrap();
        let mut records = 0;
        while let Some(record) = cache.record(&key(&records.to_string()).0).unwrap() {
            assert!(cache.is_present(&record.outputs["tree"]).unwrap(), "record {records}");
            records += 1;
        }
        assert!(records > 0);
        for shard in fs::read_dir(folder.join("objects")).unwrap() {
            for object in fs::read_dir(shard.unwrap().path()).unwrap() {
                let object = object.unwrap();
                let digest = crate::Digest::of(&fs::read(object.path()).unwrap());
                assert_eq!(*object.file_name(), *digest.to_string(), "a half object");
            }
        }
        // The one it was killed in is made without waiting, and what it left is swept.
        make(&cache, &records.to_string());
        assert!(cache.damaged().is_empty());
        drop(cache);
        assert_eq!(count(&folder.join("tmp")) + count(&folder.join("locks")), 0);
    }
}

/// In a tmpfs of 2 MB, or where no file may be larger than 300 kB.
fn full_disk(root: &Path) {
    use std::io::ErrorKind::{FileTooLarge, StorageFull};
    let cache = Cache::open(&root.join("cache")).unwrap();
    let small = make(&cache, "small");
    let big = vec![7u8; 3_000_000];
    let fail = |error: crate::Error| {
        assert!(matches!(error.io_kind(), Some(StorageFull | FileTooLarge)), "{error:?}");
        assert!(error.to_string().contains(&*root.to_string_lossy()), "the path is named: {error}");
    };
    let clean = |key: &Key| {
        assert_eq!(cache.record(key).unwrap(), None);
        assert_eq!(count(&root.join("cache/locks")), 0);
        // The folder of this handle and its lock file, nothing in it.
        assert_eq!(count(&root.join("cache/tmp")), 2);
    };
    fail(cache.put_tree_from_memory(&[("big".to_owned(), &big, false)]).unwrap_err());
    clean(&key("big").0);

    // A result that fits, with a manifest that does not: the commit itself fails.
    let encoder = || {
        let mut encoder = KeyEncoder::new("quiz-cache test");
        encoder.text("big", &String::from_utf8_lossy(&big)).clone()
    };
    let (key, manifest) = encoder().finish();
    let slot = miss(cache.slot(&key, &nobody).unwrap());
    fill(slot.out());
    fail(slot.commit(made(&OUTPUTS, manifest)).unwrap_err());
    clean(&key);
    // What was there before is untouched, and there is room again.
    assert!(small.outputs.values().all(|output| cache.is_present(output).unwrap()));
    make(&cache, "another");
    assert!(cache.damaged().is_empty());
}

/// A tmpfs in a mount namespace of its own, where that is allowed; elsewhere a limit on the size of files.
#[test]
fn a_full_disk_is_a_clear_error_and_leaves_nothing_half() {
    let root = tempfile::tempdir().unwrap();
    let mount = r#"mount -t tmpfs -o size=2m,nr_inodes=10k tmpfs "$QUIZ_CACHE_TEST_ROOT""#;
    let namespace = |script: &str| {
        let mut command = Command::new("unshare");
        command.args(["--mount", "--map-root-user", "--", "sh", "-euc", script, "sh"]);
        command.arg(env::current_exe().unwrap());
        test_arguments(&mut command, "full", root.path());
        command
    };
    let can_mount = namespace(mount).output().is_ok_and(|probe| probe.status.success());
    let mut command = if can_mount {
        namespace(&format!(r#"{mount}; exec "$@""#))
    } else {
        let mut command = Command::new("sh");
        // dash and POSIX count in blocks of 512 bytes. Ignored, the signal becomes the error EFBIG.
        command.args(["-euc", r#"trap "" XFSZ; ulimit -f 600; exec "$@""#, "sh"]).arg(env::current_exe().unwrap());
        test_arguments(&mut command, "full", root.path());
        command
    };
    let output = command.output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout) + String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && text.contains("1 passed"), "{text}");
}
