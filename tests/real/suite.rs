//! Real groups of the ZFS Test Suite: green as OpenZFS is, red where a bug was put into it, and a panic costs its group alone.

use super::zfs::Zfs;
use crate::project::Ran;

/// The quickest groups under emulation.
const GROUPS: &str = "hkdf,crtime,exec";

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
    if !ran.out.contains("10 tests: 9 passed, 0 excused, 1 wrong") {
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
    assert_eq!((passed.len(), passed.iter().all(|(_, verdict)| verdict == "PASS")), (10, true), "{passed:?}");
    // Nothing changed, so nothing is run.
    let again = test(&zfs, &[]);
    assert_eq!((again.status, again.count("Cached functional/"), again.count("Testing")), (Some(0), 3, 0), "{again:?}");

    zfs.edit("module/os/linux/zfs/zpl_inode.c", BIRTH);
    zfs.edit("module/zfs/zfs_ioctl.c", EXEC);
    let red = test(&zfs, &["--rerun", "-j2"]);
    assert_eq!(red.status, Some(1), "{red:?}");
    let ended = verdicts(&zfs);
    let of = |name: &str| &ended.iter().find(|(test, _)| test == name).unwrap().1;
    let named = ["run_hkdf_test", "crtime_001_pos", "exec_001_pos", "exec_002_neg"].map(of);
    assert_eq!(named, ["PASS", "FAIL", "PANIC", "NOTRUN"], "{ended:?}");
    assert!(red.out.contains("crtime_001_pos: Incorrect crtime ("), "{}", red.out);
    assert!(
        red.out.contains("exec_001_pos: VERIFY3(0 == nvlist_exists(nvl, \"exec\")) failed (0 == 1)"),
        "{}",
        red.out
    );
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
