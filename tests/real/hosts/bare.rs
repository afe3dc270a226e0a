//! A host with a sandbox, qemu and quiz, and nothing else, not even packages: busybox is all that it has.

use super::{Host, ONE_AT_A_TIME, digests, script};
use crate::project::Project;
use crate::real::{Real, cache};

impl Host {
    /// `shares`: the tests' cache is seen there, too.
    fn bare(name: &str, shares: bool) -> Self {
        let root = cache().join("tests/hosts").join(format!("bare-{name}"));
        let status = script().arg("bare").arg(&root).arg(env!("CARGO_BIN_EXE_quiz")).status().unwrap();
        assert!(status.success(), "there is no bare root: {status}");
        Self { root, shares }
    }
}

/// A host with nothing of what stages run with has their results: its keys are those of this machine, and what it makes are the same bytes.
#[test]
#[ignore = "runs in a root of busybox: tests/run --full hosts"]
fn a_host_without_apt_dpkg_perl_or_compilers_shares_all_results_and_makes_the_same() {
    let real = Real::new();
    let host = Host::bare("root", true);
    let quiz = format!("export QUIZ_CACHE_DIR={0} XDG_CONFIG_HOME={0}/tests; quiz", cache().display());
    for name in ["apt-get", "dpkg", "perl", "gcc", "make", "mmdebstrap"] {
        assert!(!host.root.join("usr/bin").join(name).exists(), "{name}");
    }
    let ran = host.run("root", &format!("{quiz} up -- uname -a"));
    assert!(ran.status == Some(0) && ran.out.starts_with("Linux quiz-1 "), "{ran:?}");
    assert_eq!(ran.count("Making"), 0, "{ran:?}");
    let doctor = host.run("root", &format!("{quiz} doctor"));
    assert_eq!(doctor.status, Some(0), "{doctor:?}");
    // Two that compile, one that packs.
    let stages = ["agent", "kernel-config", "layer:agent/tree"];
    let here = real.run(&[&["build"], &stages[..]].concat());
    let there = host.run("root", &format!("{quiz} build --fresh {}", stages.join(" ")));
    assert_eq!((there.status, there.count("Making")), (Some(0), stages.len()), "{there:?}");
    assert_eq!(there.out, here.out);
}

/// What compiles for longer than a minute, and its source, is brought to that host as a file, into a cache of its own.
const BROUGHT: [&str; 5] = ["kernel-package", "spl-seed", "zfs", "zfs-source", "zfs-user"];

/// What that host makes itself, with no more rights than any other host gives: it changes into a root that it makes, whose files are of several
/// users, compiles and packs.
const HIS: [&str; 7] =
    ["agent", "image", "layer:agent/tree", "layer:work/tree", "layer:zfs-user/install", "rootfs", "work"];

#[test]
#[ignore = "runs in a root of busybox: tests/run --full hosts"]
fn an_ordinary_user_without_sudo_or_further_ids_makes_the_same_image_there_and_has_a_pool_in_it() {
    let _turn = ONE_AT_A_TIME.lock();
    let real = Real(Project::new());
    let options = ["-k", "package", "-p", "zfs"];
    let host = Host::bare("user", false);
    let home = host.root.join("home/dev");
    let pack = home.join("pack");
    let exported = real.run(&[&options[..], &["cache", "export", pack.to_str().unwrap()], &BROUGHT].concat());
    assert_eq!(exported.status, Some(0), "{exported:?}");
    std::fs::create_dir_all(home.join(".config/quiz")).unwrap();
    std::fs::copy(cache().join("tests/quiz/quiz.lock"), home.join(".config/quiz/quiz.lock")).unwrap();
    assert_eq!(host.run("root", "chown -R dev: /home/dev").status, Some(0));
    let rights = host.run("dev", "id -u && grep CapEff /proc/self/status && ! command -v sudo && ! ls /etc/subuid");
    assert_eq!((rights.status, rights.out.as_str()), (Some(0), "1000\nCapEff:\t0000000000000000\n"), "{rights:?}");
    let taken = host.run("dev", "quiz cache import ~/pack");
    assert_eq!(taken.status, Some(0), "{taken:?}");
    let quiz = format!("quiz {}", options.join(" "));
    let pool = "truncate -s 128M /tmp/disk && zpool create t /tmp/disk && echo in the pool >/t/file && zpool status t && uname -a";
    let ran = host.run("dev", &format!("{quiz} up -- sh -c '{pool}'"));
    assert_eq!(ran.status, Some(0), "{ran:?}");
    assert!(ran.out.contains("state: ONLINE") && ran.out.contains("errors: No known data errors"), "{ran:?}");
    assert!(ran.out.lines().last().unwrap().starts_with("Linux quiz-1 "), "{ran:?}");
    let count = |stage: &str| ran.count(&format!("Made {stage} in "));
    assert_eq!((HIS.map(count), BROUGHT.map(count)), ([1; 7], [0; 5]), "{ran:?}");
    let here = real.run(&[&options[..], &["build"], &HIS].concat());
    assert_eq!(digests(&host.run("dev", &format!("{quiz} build {}", HIS.join(" ")))), digests(&here));
    std::fs::remove_dir_all(host.root).unwrap();
}
