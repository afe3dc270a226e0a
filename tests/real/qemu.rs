//! Other qemus than the host's: everything that is real about machines, on each.

use super::snapshot::snapshots;
use super::{Real, cache, new_word};
use std::path::Path;
use std::process::Command;

/// The suites of Debian that have them.
const SUITES: [(&str, &str); 3] =
    [("bookworm", "7.2."), ("bookworm-backports", "10.0."), ("trixie-backports", "11.1.")];

/// All that depends on qemu: what runs, what is saved, ways in and out, every kind of device, and how machines end.
const TESTS: [&str; 7] =
    ["real::live", "real::snapshot", "real::reach", "real::exec", "real::profiles", "real::die", "real::qemu"];

/// The version of the qemu that the tests take.
fn version(real: &Real) -> String {
    let template = real.command(&[]);
    let path = template.get_envs().find(|(name, _)| *name == "PATH").unwrap().1.unwrap();
    let output = Command::new("sh").args(["-c", "qemu-system-x86_64 --version"]).env("PATH", path).output().unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    text.split_whitespace().nth(3).unwrap().to_owned()
}

#[test]
fn a_state_goes_to_its_file_as_the_qemu_offers_it() {
    let real = Real::new();
    let version = version(&real);
    let number: Vec<u32> = version.split('.').take(2).map(|part| part.parse().unwrap()).collect();
    let wanted = if number >= vec![8, 2] { "file" } else { "fd" };
    let word = new_word();
    for first in [true, false] {
        let ran = real.up(&word, "exit 7");
        assert_eq!((ran.status, ran.count("Restoring")), (Some(7), usize::from(!first)), "{version}: {ran:?}");
        let transports: Vec<String> =
            snapshots(&word).iter().map(|path| std::fs::read_to_string(path.join("transport")).unwrap()).collect();
        assert_eq!(transports, [wanted, wanted], "{version}");
    }
}

#[test]
#[ignore = "downloads three qemus, and runs the real tests of machines on each: tests/run --full qemu"]
fn everything_passes_on_each_and_none_has_anything_to_say() {
    for (suite, version) in SUITES {
        let folder = cache().join("tests/qemu").join(suite);
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/qemu");
        let status = Command::new(script).arg(suite).arg(&folder).status().unwrap();
        assert!(status.success(), "there is no qemu of {suite}");
        let (qemu, tests) = (folder.join("bin"), std::env::current_exe().unwrap());
        let said = Command::new(qemu.join("qemu-system-x86_64")).arg("--version").output().unwrap();
        let said = String::from_utf8(said.stdout).unwrap();
        assert!(said.starts_with(&format!("QEMU emulator version {version}")), "{suite}: {said}");
        let status = Command::new(tests).args(TESTS).env("QUIZ_TEST_QEMU", &qemu).status().unwrap();
        assert!(status.success(), "not everything passes on the qemu of {suite}: {said}");
    }
}
