//! Real groups of the ZFS Test Suite: green as OpenZFS is, red where a bug was put into it, and a panic costs its group alone.

use super::zfs::Zfs;
use crate::project::Ran;
use serde_json::Value;
use std::collections::BTreeSet;

/// The quickest groups under emulation.
const GROUPS: &str = "hkdf,crtime,exec";

/// Groups that take longer: by name, and what their tags are.
const LARGE: [&str; 2] = ["atime,cli_root/zpool_create,raidz,snapshot", "atime,zpool_create,raidz,snapshot"];

/// A file is born a second later than it is: only what looks at birth times finds out.
const BIRTH: (&str, &str) = ("stat->btime = zp->z_btime;", "stat->btime = zp->z_btime;\n\t\tstat->btime.tv_sec++;");

/// `zfs set exec=…` panics.
const EXEC: (&str, &str) = (
    "\tif (received) {\n\t\tnvlist_t *origprops;\n",
    "\tVERIFY0(nvlist_exists(nvl, \"exec\"));\n\tif (received) {\n\t\tnvlist_t *origprops;\n",
);

/// The test's verdicts by name, as another parser finds them in the run's junit.xml.
fn verdicts(zfs: &Zfs) -> Vec<(String, String)> {
    let text = std::fs::read_to_string(zfs.0.run_folder().join("out/junit.xml")).unwrap();
    let junit = roxmltree::Document::parse(&text).unwrap();
    let cases = junit.descendants().filter(|node| node.has_tag_name("testcase"));
    let verdict = |case: roxmltree::Node<'_, '_>| {
        let ended = case.children().find(|child| child.attribute("type").is_some());
        let kind = ended.and_then(|ended| ended.attribute("type")).unwrap_or("PASS");
        (case.attribute("name").unwrap().to_owned(), kind.to_owned())
    };
    cases.map(verdict).collect()
}

fn test(zfs: &Zfs, args: &[&str]) -> Ran {
    zfs.0.run(&[&["test", "-t", GROUPS], args].concat())
}

/// `crtime_001_pos` compares whole seconds: a file that is made in the last moment of one, and given its times in the next, is born too
/// early, by one. The planted bug makes it too late.
fn met_the_turn_of_a_second(ran: &Ran) -> bool {
    // Whatever else is wrong is looked at.
    if !ran.out.contains(" passed, 0 excused, 1 wrong") {
        return false;
    }
    let numbers = ran.out.split_once("crtime_001_pos: Incorrect crtime (").and_then(|(_, rest)| rest.split_once(')'));
    let Some((born, changed)) = numbers.and_then(|(numbers, _)| numbers.split_once(" != ")) else { return false };
    born.parse::<u64>().unwrap() + 1 == changed.parse::<u64>().unwrap()
}

#[test]
fn three_groups_are_green_and_with_bugs_one_is_red_and_one_panics() {
    let zfs = Zfs::new();
    let mut runs = (0..5).map(|_| test(&zfs, &["--rerun", "-j2"]));
    let green = runs.find(|ran| !met_the_turn_of_a_second(ran)).unwrap();
    assert_eq!(green.status, Some(0), "{green:?}");
    let passed = verdicts(&zfs);
    // With a test of hkdf, which from OpenZFS 2.2 on has no setup and cleanup, and three of crtime and four of exec.
    assert!(passed.len() >= 8 && passed.iter().all(|(_, verdict)| verdict == "PASS"), "{passed:?}");
    // Nothing changed, so nothing is run.
    let again = test(&zfs, &[]);
    assert_eq!((again.status, again.count("Cached functional/"), again.count("Testing")), (Some(0), 3, 0), "{again:?}");

    zfs.edit("module/os/linux/zfs/zpl_inode.c", BIRTH);
    zfs.edit("module/zfs/zfs_ioctl.c", EXEC);
    let red = test(&zfs, &["--rerun", "-j2"]);
    assert_eq!(red.status, Some(1), "{red:?}");
    let ended = verdicts(&zfs);
    let of = |name: &str| &ended.iter().find(|(test, _)| test == name).unwrap().1;
    let named = ["crtime_001_pos", "exec_001_pos", "exec_002_neg"].map(of);
    assert_eq!(named, ["FAIL", "PANIC", "NOTRUN"], "{ended:?}");
    assert!(ended.iter().any(|(test, verdict)| test.ends_with("hkdf_test") && verdict == "PASS"), "{ended:?}");
    assert!(red.out.contains("crtime_001_pos: Incorrect crtime ("), "{}", red.out);
    // VERIFY3(0 == …) failed (0 == 1), or VERIFY0(…) failed (1).
    let words = red.out.lines().find(|line| line.contains("exec_001_pos: VERIFY")).unwrap();
    assert!(words.contains("nvlist_exists(nvl, \"exec\")) failed (") && words.contains("1)"), "{}", red.out);
    assert!(red.out.contains("  PANIC 1  NOTRUN "), "{}", red.out);
    let slice = zfs.0.run_folder().join("out/functional.exec/exec_001_pos.kernel.log");
    let slice = std::fs::read_to_string(slice).unwrap();
    assert!(slice.contains("ZTS run") && slice.contains("zfs_ioc_set_prop"), "{slice}");
    // A panic is not remembered, a failure is.
    let again = test(&zfs, &["-j2"]);
    assert_eq!(
        (again.status, again.count("Testing functional/exec"), again.count("Testing")),
        (Some(1), 1, 1),
        "{again:?}"
    );
}

/// OpenZFS's tests outside of the suite, as docs/test.md shows them; unit tests only of a tree that has some.
const OWN: &str = include_str!("../data/openzfs-tests");

#[test]
#[ignore = "takes ten minutes under emulation: tests/run --full suite"]
fn unit_tests_ztest_and_zloop_pass_and_a_unit_test_finds_a_bug() {
    let zfs = Zfs::new();
    let has_units = zfs.0.0.dir().join("tests/unit").exists();
    let lines: Vec<&str> = OWN.lines().filter(|line| has_units || !line.contains("/unit/")).collect();
    zfs.0.0.write("../list", &lines.join("\n"));
    let each = |args: &[&str]| {
        let profiles = if has_units { "ztest,zunit" } else { "ztest" };
        zfs.0.run(&[&["test", "-p", profiles, "--timeout", "900", "--each", "../list", "--rerun"], args].concat())
    };
    let ran = each(&[]);
    assert_eq!(ran.status, Some(0), "{ran:?}");
    let count = lines.iter().filter(|line| !line.starts_with('#')).count();
    assert!(ran.out.contains(&format!("PASS {count}  FAIL 0  SKIP 0\n")), "{}", ran.out);
    if has_units {
        zfs.edit("module/zcommon/cityhash.c", ("0xb492b66fbe98f273ULL", "0xb492b66fbe98f274ULL"));
        zfs.0.0.write("../list", "/usr/share/zfs/unit/test_cityhash\n/usr/share/zfs/unit/test_btree\n");
        let ran = each(&[]);
        assert_eq!(ran.status, Some(1), "{ran:?}");
        assert!(ran.out.contains("FAIL    /usr/share/zfs/unit/test_cityhash: status 1"), "{}", ran.out);
        assert!(ran.out.contains("PASS 1  FAIL 1  SKIP 0\n"), "{}", ran.out);
    }
}

/// How the tests of a run by hand ended, as the suite's runner prints it: `functional/atime/atime_001_pos`, and the word.
fn by_hand(text: &str) -> Vec<(String, String)> {
    let lines = text.lines().filter_map(|line| line.split_once("/zfs-tests/tests/")?.1.split_once(" (run as "));
    let word = |rest: &str| Some(rest.split_once("] [")?.1.split_once(']')?.0.to_owned());
    lines.filter_map(|(test, rest)| Some((test.to_owned(), word(rest)?))).collect()
}

#[test]
#[ignore = "takes hours under emulation: tests/run --full suite"]
fn larger_groups_are_as_the_suites_own_lists_say_and_skip_no_more_than_by_hand() {
    let zfs = Zfs::new();
    let ran = zfs.0.run(&["test", "-t", LARGE[0], "--rerun", "--json"]);
    let json: Value = serde_json::from_str(&ran.out).unwrap();
    let groups = json["results"]["groups"].as_array().unwrap();
    let mut skipped = BTreeSet::new();
    let mut wrong = Vec::new();
    for group in groups {
        let folder = group["name"].as_str().unwrap().split(':').next().unwrap().to_owned();
        for test in group["tests"].as_array().unwrap() {
            let name = format!("{folder}/{}", test["name"].as_str().unwrap());
            if test["expected"] != true {
                wrong.push(format!("{name}: {test}"));
            }
            if test["verdict"] == "SKIP" {
                skipped.insert(name);
            }
        }
    }
    // With the same profiles, and so in the same guest.
    let script = "cd /var/tmp && exec setpriv --reuid zfs-tests --regid zfs-tests --init-groups env HOME=/home/zfs-tests \
                  DISKS=\"$(xargs readlink -f </run/quiz/devices | sed s,^/dev/,, | paste -s -d ' ')\" \
                  /usr/share/zfs/zfs-tests.sh -v -T \"$1\"";
    let profiles = ["-p", "zfs", "-p", "blockdev:count=3,size=4G", "-p", "ztest"];
    let hand = zfs.0.run(&[&["up"], &profiles[..], &["--", "sh", "-c", script, "sh", LARGE[1]]].concat());
    let by_hand = by_hand(&hand.out);
    let skipped_by_hand: BTreeSet<String> =
        by_hand.iter().filter(|(_, word)| word == "SKIP").map(|(test, _)| test.clone()).collect();
    assert!(by_hand.len() > 50, "{hand:?}");
    assert_eq!(skipped.difference(&skipped_by_hand).collect::<Vec<_>>(), [""; 0], "skipped by quiz alone");
    assert!(wrong.is_empty(), "{}\nby hand:\n{}", wrong.join("\n"), hand.out);
    assert_eq!(ran.status, Some(0), "{}", ran.err);
}
