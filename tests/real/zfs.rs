//! OpenZFS as its developers have it: a git worktree, edited, built and booted. A copy of the distribution's source, or of the tree that
//! QUIZ_TEST_ZFS names: what is edited here has to be there in all of OpenZFS 2.1 to 2.4.

use super::Real;
use crate::project::Ran;
use crate::worktree::git;
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

/// A worktree of OpenZFS with the machine of [`Real`].
pub(super) struct Zfs(pub(super) Real);

/// Lets the module do what the name of a pool says that is asked for: fail an assertion, or hang.
const TRAP: (&str, &str) = (
    "zfs_ioc_pool_stats(zfs_cmd_t *zc)\n{\n",
    "zfs_ioc_pool_stats(zfs_cmd_t *zc)\n{\n\tif (strcmp(zc->zc_name, \"quiz-verify\") == 0)\n\t\tVERIFY3U(strlen(zc->zc_name), ==, 0);\n\
     \tif (strcmp(zc->zc_name, \"quiz-hang\") == 0) {\n\t\tpreempt_disable();\n\t\tfor (;;)\n\t\t\tcpu_relax();\n\t}\n",
);

impl Zfs {
    pub(super) fn new() -> Self {
        static SOURCE: OnceLock<PathBuf> = OnceLock::new();
        static BUILT: OnceLock<()> = OnceLock::new();
        let real = Real::new();
        let source = SOURCE.get_or_init(|| {
            if let Some(folder) = std::env::var_os("QUIZ_TEST_ZFS") {
                return PathBuf::from(folder).canonicalize().expect("QUIZ_TEST_ZFS is a folder");
            }
            let ran = real.run(&["build", "zfs-source"]);
            assert_eq!(ran.status, Some(0), "{ran:?}");
            PathBuf::from(ran.out.trim().split_once(' ').unwrap().1)
        });
        let dir = real.0.dir();
        copy(source, &dir);
        git(&dir, &["init", "-q"]);
        git(&dir, &["add", "-A", "-f"]);
        git(&dir, &["commit", "-q", "-m", "OpenZFS"]);
        let zfs = Self(real);
        // The first one builds; the others wait here, and start from what it has.
        BUILT.get_or_init(|| {
            let ran = zfs.0.run(&["build"]);
            assert_eq!(ran.status, Some(0), "{ran:?}");
        });
        zfs
    }

    pub(super) fn dir(&self) -> PathBuf {
        self.0.0.dir()
    }

    pub(super) fn edit(&self, path: &str, (from, to): (&str, &str)) {
        let path = self.dir().join(path);
        let text = std::fs::read_to_string(&path).unwrap();
        assert!(text.contains(from), "{}: there is no `{from}`", path.display());
        std::fs::write(path, text.replacen(from, to, 1)).unwrap();
    }

    /// Puts a word where the guest can read it in the module: the description of the parameter zfs_arc_min.
    pub(super) fn mark(&self, word: &str) {
        let path = self.dir().join("module/zfs/arc.c");
        let text = std::fs::read_to_string(&path).unwrap();
        let at = text.find("zfs_arc_, min, param_set_arc_min,").expect("arc.c has the parameter");
        let (before, rest) = text.split_at(at);
        let (start, rest) = rest.split_once('"').unwrap();
        let (_, after) = rest.split_once('"').unwrap();
        std::fs::write(&path, format!("{before}{start}\"{word}\"{after}")).unwrap();
    }
}

/// Copies what is source of a folder: in a git worktree what git says, elsewhere all.
pub(super) fn copy(from: &Path, to: &Path) {
    const SCRIPT: &str = "
        cd \"$1\"
        if [ -e .git ]; then
            git -c safe.directory='*' ls-files -z --cached --others --exclude-standard --deduplicate
        else
            find . ! -type d -print0
        fi | grep -zvE '^(\\./)?(\\.quiz/|quiz\\.(toml|lock)$)' | xargs -0 cp -RP --parents -t \"$2\"
        # -R: a submodule is one entry. Not tar, to which a file of the cache that is linked once more meanwhile has changed.
        chmod -R u+w \"$2\"";
    let mut bash = Command::new("bash");
    let copied = bash.args(["-o", "pipefail", "-ec", SCRIPT, "copy"]).arg(from).arg(to).status().unwrap();
    assert!(copied.success(), "{} was not copied", from.display());
}

/// What was compiled, by the words that kbuild and libtool say; not what was linked.
fn compiled(ran: &Ran) -> BTreeSet<String> {
    let lines = ran.err.lines().filter_map(|line| line.split_once("  CC "));
    let objects = lines.map(|(_, rest)| rest.split_whitespace().last().unwrap().rsplit('/').next().unwrap());
    // Where one Makefile builds all, an object has the name of what it is for before its own.
    objects.map(|object| object.rsplit_once("_la-").map_or(object, |(_, own)| own).to_owned()).collect()
}

fn names(names: &[&str]) -> BTreeSet<String> {
    names.iter().map(|name| (*name).to_owned()).collect()
}

fn output(root: &Path, args: &[&str]) -> String {
    let output = Command::new(args[0]).args(&args[1..]).current_dir(root).output().unwrap();
    String::from_utf8(output.stdout).unwrap()
}

#[test]
fn a_pool_in_memory_and_a_version_that_tells_the_tree() {
    let zfs = Zfs::new();
    let script = "zpool create t quizm0 && zpool status && zfs version";
    let ran = zfs.0.run(&["up", "-p", "memdev", "--", "sh", "-c", script]);
    assert_eq!(ran.status, Some(0), "{ran:?}");
    assert!(ran.out.contains("pool: t") && ran.out.contains("quizm0") && ran.out.contains("ONLINE"), "{ran:?}");
    let graph = zfs.0.run(&["graph"]).out;
    let digest = graph.lines().find(|line| line.contains("zfs-source ")).unwrap().split_whitespace().last().unwrap();
    let versions: Vec<&str> = ran.out.lines().filter(|line| line.starts_with("zfs-")).collect();
    assert_eq!(versions.len(), 2, "{ran:?}");
    assert!(versions.iter().all(|version| version.ends_with(digest)), "{versions:?}, not {digest}");
    let fails = zfs.0.run(&["up", "-p", "memdev:count=1,size=128M", "--", "zpool", "create", "t", "quizm1"]);
    assert_eq!(fails.status, Some(1), "{fails:?}");
    // Nothing of what was built lies in the worktree.
    assert_eq!(git(&zfs.dir(), &["status", "--porcelain", "--ignored"]), "!! .quiz/\n");
}

#[test]
fn an_edit_compiles_what_make_would_and_runs() {
    let zfs = Zfs::new();
    // So that what this worktree starts from is its own: what another one left may differ in more than this test's edit.
    zfs.mark(&super::new_word());
    assert_eq!(zfs.0.run(&["build"]).status, Some(0));
    let word = super::new_word();
    zfs.mark(&word);
    let ran = zfs.0.run(&["-v", "up", "--", "modinfo", "-p", "zfs"]);
    assert_eq!(ran.status, Some(0), "{ran:?}");
    assert!(ran.out.contains(&format!("zfs_arc_min:{word}")), "{}", ran.out);
    // For the module, which has a digest of its sources in zfs.mod.c, and for libzpool.
    assert_eq!(compiled(&ran), names(&["arc.o", "arc.lo", "zfs.mod.o"]), "{}", ran.err);
    for stage in ["kernel", "zfs-autogen", "zfs-configure-user", "zfs-configure-kernel", "rootfs"] {
        assert_eq!(ran.count(&format!("Making {stage},")), 0, "{stage}: {}", ran.err);
    }
    // An editor finds the command that compiles it, and the file is the worktree's own.
    let list = std::fs::read_to_string(zfs.dir().join(".quiz/compile_commands.json")).unwrap();
    let list: Vec<serde_json::Value> = serde_json::from_str(&list).unwrap();
    let arc = zfs.dir().canonicalize().unwrap().join("module/zfs/arc.c");
    let of_arc = |entry: &&serde_json::Value| {
        let at = PathBuf::from(entry["directory"].as_str().unwrap()).join(entry["file"].as_str().unwrap());
        at.canonicalize().is_ok_and(|path| path == arc)
    };
    assert_eq!(list.iter().filter(of_arc).count(), 2, "of the module and of libzpool");
}

#[test]
fn two_worktrees_each_see_their_own_code() {
    let (one, two) = (Zfs::new(), Zfs::new());
    // More for whoever wants to look longer.
    let rounds = std::env::var("ROUNDS").ok().and_then(|text| text.parse().ok()).unwrap_or(2);
    std::thread::scope(|scope| {
        for (zfs, name) in [(&one, "one"), (&two, "two")] {
            scope.spawn(move || {
                for round in 0..rounds {
                    let word = format!("{name} {round} {}", super::new_word());
                    zfs.mark(&word);
                    let script = "modinfo -p zfs | grep ^zfs_arc_min:; zpool list";
                    let ran = zfs.0.sh(script);
                    assert_eq!(ran.status, Some(0), "{ran:?}");
                    assert_eq!(ran.out.lines().next().unwrap(), format!("zfs_arc_min:{word}"));
                }
            });
        }
    });
}

#[test]
fn a_failed_assertion_is_123_with_names_a_hang_124_and_the_pools_disk_is_whole() {
    let zfs = Zfs::new();
    zfs.edit("module/zfs/zfs_ioctl.c", TRAP);
    let disk = zfs.0.0.dir().join(".quiz/disk.raw");
    std::fs::create_dir_all(disk.parent().unwrap()).unwrap();
    std::fs::File::create(&disk).unwrap().set_len(512 << 20).unwrap();
    let drive = format!("file={},format=raw,if=virtio", disk.display());
    let up = |more: &[&str], script: &str| {
        let args = [&["up", "--qemu-arg=-drive", "--qemu-arg", &drive][..], more, &["--", "sh", "-c", script]].concat();
        zfs.0.run(&args)
    };
    let device = "disk=/dev/$(lsblk -dnbo NAME,SIZE | awk '$2 == 536870912 { print $1 }'); mkdir -p /mnt; ";
    let create = format!(
        "{device} mkfs.ext4 -q $disk && mount $disk /mnt && truncate -s 300M /mnt/pool && zpool create t /mnt/pool && \
         seq 1000000 >/t/data && zpool sync && sha256sum </t/data && zpool export t && umount /mnt"
    );
    let made = up(&[], &create);
    assert_eq!(made.status, Some(0), "{made:?}");
    let verify = up(
        &[],
        &format!("{device} mount $disk /mnt && zpool import -d /mnt t && touch /t/more && zpool status quiz-verify"),
    );
    assert_eq!(verify.status, Some(123), "{verify:?}");
    verify.says(&["VERIFY3"]);
    let log = std::fs::read_to_string(zfs.0.run_folder().join("console.log")).unwrap();
    assert!(log.contains("zfs_ioc_pool_stats") && log.contains("zfsdev_ioctl"), "{log}");
    let hang = up(&["--timeout", "15", "--cpus", "1"], "zpool status quiz-hang");
    assert_eq!(hang.status, Some(124), "{hang:?}");
    let check = "zpool import -f -d /mnt t && zpool scrub -w t && zpool status t && sha256sum </t/data";
    let after = up(&[], &format!("{device} mount $disk /mnt && {check}"));
    assert_eq!(after.status, Some(0), "{after:?}");
    assert!(after.out.contains("errors: No known data errors"), "{after:?}");
    assert_eq!(after.out.lines().last(), made.out.lines().last());
}

#[test]
fn what_cannot_work_is_said_before_anything_is_compiled() {
    let zfs = Zfs::new();
    let lacks = zfs.0.run(&["--config", "CONFIG_TRIM_UNUSED_KSYMS=y", "build", "zfs-compat"]);
    assert_eq!(lacks.status, Some(1), "{lacks:?}");
    lacks.says(&["CONFIG_TRIM_UNUSED_KSYMS"]);
    let meta = std::fs::read_to_string(zfs.dir().join("META")).unwrap();
    let most = meta.lines().find_map(|line| line.strip_prefix("Linux-Maximum:")).unwrap().trim().to_owned();
    zfs.edit("META", (&format!("Linux-Maximum: {most}"), "Linux-Maximum: 5.19"));
    let newer = zfs.0.run(&["build", "zfs-configure-kernel"]);
    assert_eq!(newer.status, Some(1), "{newer:?}");
    newer.says(&["says Linux-Maximum 5.19, and this is Linux ", "take quiz -k 5.19, a newer OpenZFS"]);
    assert_eq!(newer.count("Making zfs-configure-kernel"), 0, "{newer:?}");
    let small = zfs.0.run(&["up", "-m", "128M", "--", "true"]);
    assert_eq!(small.status, Some(125), "{small:?}");
    small.says(&["the profile zfs needs 256M", "-m 256M, or machine.memory"]);
}

#[test]
fn an_error_of_the_compiler_or_of_configure_is_shown_with_its_reason() {
    let zfs = Zfs::new();
    zfs.edit("module/zfs/arc.c", ("#include <sys/spa.h>\n", "#include <sys/spa.h>\nint quiz_test = no_such_thing;\n"));
    let ran = zfs.0.run(&["build"]);
    assert_eq!(ran.status, Some(1), "{ran:?}");
    let place = format!("{}/module/zfs/arc.c:", zfs.dir().canonicalize().unwrap().display());
    let first = ran.err.lines().find(|line| line.contains("no_such_thing") && line.contains("error:")).unwrap();
    assert!(first.contains(&place), "{first}");
    git(&zfs.dir(), &["checkout", "-q", "module/zfs/arc.c"]);
    zfs.edit(
        "config/user.m4",
        (
            "AC_DEFUN([ZFS_AC_CONFIG_USER], [\n",
            "AC_DEFUN([ZFS_AC_CONFIG_USER], [\n\tAC_MSG_ERROR([no flux capacitor])\n",
        ),
    );
    let ran = zfs.0.run(&["build", "zfs-configure-user"]);
    assert_eq!(ran.status, Some(1), "{ran:?}");
    ran.says(&["configure: error: no flux capacitor"]);
    assert!(ran.err.lines().count() < 60, "{}", ran.err);
}

/// The kernel's checks come from the store, whatever else of configure changes.
#[test]
fn configure_runs_again_only_for_what_it_reads_and_its_kernel_checks_are_remembered() {
    let zfs = Zfs::new();
    std::fs::write(zfs.dir().join("module/zfs/quiz_note.txt"), "nothing that configure reads\n").unwrap();
    let ran = zfs.0.run(&["-v", "build", "zfs-configure-kernel"]);
    assert_eq!((ran.status, ran.count("Making")), (Some(0), 0), "{}", ran.err);
    let check = format!("AC_DEFUN([ZFS_AC_CONFIG_USER], [\n\tAC_MSG_CHECKING([{}])\n", super::new_word());
    zfs.edit("config/user.m4", ("AC_DEFUN([ZFS_AC_CONFIG_USER], [\n", &check));
    let store = super::cache().join("store/zfs-configure-kernel");
    let remembered = || output(&store, &["ls"]).lines().count();
    let before = remembered();
    assert!(before > 100, "{before}");
    let ran = zfs.0.run(&["build", "zfs-configure-kernel"]);
    assert_eq!((ran.status, ran.count("Made zfs-configure-kernel")), (Some(0), 1), "{}", ran.err);
    assert_eq!(remembered(), before, "a check was compiled again");
}
