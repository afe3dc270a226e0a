//! A cache that a group shares, with its members as users of their own: who does what to whose files. Several users need root, as which CI runs.

mod links;
mod refused;

use crate::project::{Ran, files};
use quiz_cache::Cache;
use std::fs::{self, Permissions};
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

/// Two members of the group and a stranger, whose numbers have no names on any machine.
const ANNA: u32 = 54_101;
const BEN: u32 = 54_102;
const STRANGER: u32 = 54_103;
const GROUP: u32 = 2_101;

const SHARED: &str = "[cache]\nshared = \"group\"\n";
/// Folders of the cache that all share.
const COMMON: &[&str] = &["latest", "locks", "logs", "manifests", "memos", "objects", "records", "subtrees", "trees"];

/// A folder for all, with a project and a home for each, and one in which what is made is the group's.
struct Place {
    dir: tempfile::TempDir,
    umask: &'static str,
}

impl Place {
    fn new(umask: &'static str) -> Option<Self> {
        if !rustix::process::geteuid().is_root() {
            return None;
        }
        let place = Self { dir: tempfile::tempdir().unwrap(), umask };
        fs::set_permissions(place.dir.path(), Permissions::from_mode(0o755)).unwrap();
        for user in [ANNA, BEN, STRANGER] {
            place.folder(&format!("{user}"), user, user, 0o700);
            place.write(user, "home/.config/quiz/quiz.toml", "[toolchain]\nsuite = \"host\"\n");
            place.write(user, "project/quiz.toml", "");
        }
        place.folder("srv", 0, GROUP, 0o2775);
        let copied = Command::new("cp").arg(env!("CARGO_BIN_EXE_quiz")).arg(place.path("quiz")).status().unwrap();
        assert!(copied.success());
        Some(place)
    }

    fn path(&self, path: &str) -> PathBuf {
        self.dir.path().join(path)
    }

    fn cache(&self) -> PathBuf {
        self.path("srv/cache")
    }

    fn folder(&self, path: &str, owner: u32, group: u32, mode: u32) -> PathBuf {
        let path = self.path(path);
        fs::create_dir_all(&path).unwrap();
        chown(&path, Some(owner), Some(group)).unwrap();
        fs::set_permissions(&path, Permissions::from_mode(mode)).unwrap();
        path
    }

    /// A file of this user's, in folders of his.
    fn write(&self, user: u32, path: &str, text: &str) {
        let home = self.path(&format!("{user}"));
        let mut folder = home.clone();
        for name in Path::new(path).parent().unwrap() {
            folder.push(name);
            fs::create_dir_all(&folder).unwrap();
            chown(&folder, Some(user), Some(user)).unwrap();
        }
        fs::write(home.join(path), text).unwrap();
        chown(home.join(path), Some(user), Some(user)).unwrap();
    }

    fn shares(&self, user: u32) {
        self.write(user, "home/.config/quiz/quiz.toml", &format!("{SHARED}[toolchain]\nsuite = \"host\"\n"));
    }

    fn recipe(&self, user: u32, name: &str, tables: &str, script: &str) {
        let head = format!("version = 1\nabout = \"a test\"\nscript = \"build.sh\"\n{tables}");
        self.write(user, &format!("project/.quiz/recipes/{name}/recipe.toml"), &head);
        self.write(user, &format!("project/.quiz/recipes/{name}/build.sh"), script);
    }

    fn command(&self, user: u32, args: &[&str]) -> Command {
        let mut command = Command::new("sh");
        let groups = if user == STRANGER { format!("{user}") } else { format!("{user},{GROUP}") };
        command.args(["-c", "umask $0; exec \"$@\"", self.umask, "setpriv"]);
        command.args([format!("--reuid={user}"), format!("--regid={user}"), format!("--groups={groups}")]);
        command.arg(self.path("quiz")).args(args).env_clear().stdin(Stdio::null());
        command.current_dir(self.path(&format!("{user}/project"))).env("HOME", self.path(&format!("{user}/home")));
        command.env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin").env("QUIZ_CACHE_DIR", self.cache());
        command
    }

    fn run(&self, user: u32, args: &[&str]) -> Ran {
        Ran::from(self.command(user, args).output().unwrap())
    }

    fn ok(&self, user: u32, args: &[&str]) -> Ran {
        let ran = self.run(user, args);
        assert_eq!(ran.status, Some(0), "umask {}: {user} {args:?}: {ran:?}", self.umask);
        ran
    }

    /// Builds a stage with one output and gives the path of that.
    fn built(&self, user: u32, stage: &str) -> PathBuf {
        let ran = self.ok(user, &["build", stage]);
        PathBuf::from(ran.out.lines().last().unwrap().split_once(' ').unwrap().1)
    }

    /// Every folder that all share is the group's, and every file of it.
    fn is_the_groups(&self) {
        let cache = self.cache();
        let mut all = vec![(cache.clone(), 0o2770), (cache.join("version"), 0o660), (cache.join("own"), 0o3770)];
        for folder in COMMON.iter().map(|name| cache.join(name)).filter(|folder| folder.exists()) {
            all.push((folder.clone(), 0o2770));
            for entry in fs::read_dir(&folder).unwrap().map(|entry| entry.unwrap().path()) {
                let is_tree = folder.ends_with("trees");
                all.push((entry.clone(), if entry.is_dir() { 0o2770 } else { 0o660 }));
                let inside: Vec<PathBuf> =
                    fs::read_dir(&entry).into_iter().flatten().map(|e| e.unwrap().path()).collect();
                for path in inside {
                    let executable = path.metadata().unwrap().mode() & 0o100 != 0;
                    let sealed = if executable { 0o575 } else { 0o464 };
                    let mode = if folder.ends_with("objects") { sealed } else { 0o660 };
                    all.push((path, if is_tree { 0o775 } else { mode }));
                }
            }
        }
        assert!(all.len() > 20, "{all:?}");
        for (path, mode) in all {
            let meta = path.symlink_metadata().unwrap();
            let (is, gid) = (meta.mode() & 0o7777, meta.gid());
            assert_eq!((is, gid), (mode, GROUP), "umask {}: {is:o} {}", self.umask, path.display());
        }
        for entry in fs::read_dir(cache.join("own")).unwrap().map(|entry| entry.unwrap()) {
            let meta = entry.metadata().unwrap();
            assert_eq!((meta.mode() & 0o7777, meta.gid()), (0o700, meta.uid()), "{}", entry.path().display());
            assert_eq!(entry.file_name().to_str().unwrap(), meta.uid().to_string());
        }
    }

    fn age(&self, days: u64) {
        for folder in ["records", "manifests", "subtrees"] {
            for path in files(&self.cache().join(folder)) {
                let file = fs::File::open(path).unwrap();
                let modified = file.metadata().unwrap().modified().unwrap();
                file.set_modified(modified - Duration::from_secs(days * 24 * 60 * 60)).unwrap();
            }
        }
    }
}

const TREE: &str = "mkdir -p /quiz/out/out/sub/deep; echo one >/quiz/out/out/one; echo two >/quiz/out/out/sub/deep/two\n\
                    echo exit >/quiz/out/out/run; chmod 700 /quiz/out/out/run; ln -s one /quiz/out/out/link\n";
/// A script whose stage has all files of its input again, and a new one.
const MORE: &str = "cp -R /quiz/in/tree/. /quiz/out/out; tar -C /quiz/in/tree -cf tar .; tar -C /quiz/out/out -xf tar\n\
                    echo new >/quiz/out/out/new\n";

impl Place {
    /// A place of which both members have the setting and the recipes.
    fn shared(umask: &'static str) -> Option<Self> {
        let place = Self::new(umask)?;
        for user in [ANNA, BEN] {
            place.shares(user);
            place.recipes(user);
        }
        Some(place)
    }

    fn recipes(&self, user: u32) {
        self.recipe(user, "t-tree", "[outputs]\nout = \"tree\"\n", TREE);
        self.recipe(
            user,
            "t-more",
            "[inputs]\ntree = \"t-tree/out\"\n[outputs]\nout = \"tree\"\n",
            &format!("mkdir /quiz/out/out\n{MORE}"),
        );
    }
}

fn inode(path: PathBuf) -> (u64, u32) {
    let meta = path.metadata().unwrap();
    (meta.ino(), meta.uid())
}

#[test]
fn what_one_member_has_made_another_one_finds_builds_on_and_removes_whatever_their_umask_is() {
    for umask in ["002", "022", "077"] {
        let Some(place) = Place::shared(umask) else { return };
        let tree = place.built(ANNA, "t-tree");
        place.is_the_groups();
        let hit = place.ok(BEN, &["build", "t-tree"]);
        assert_eq!(hit.err, "", "umask {umask}");
        // Ben's tree has what Anna's has by the same files, although links to files of others may be refused to him.
        let more = place.built(BEN, "t-more");
        for name in ["one", "sub/deep/two", "run"] {
            assert_eq!(inode(more.join(name)), inode(tree.join(name)), "umask {umask}: {name}");
            assert_eq!(inode(more.join(name)).1, ANNA);
        }
        assert_eq!(inode(more.join("new")).1, BEN);
        place.is_the_groups();
        assert_eq!(place.ok(ANNA, &["build", "t-more"]).err, "", "umask {umask}");
        place.ok(BEN, &["cache", "verify"]);
        // A use by one keeps what is another's.
        place.age(40);
        assert_eq!(place.ok(BEN, &["build", "t-more"]).err, "");
        let gone = place.ok(BEN, &["gc"]);
        assert!(gone.out.starts_with("removed 0 results, "), "umask {umask}: {gone:?}");
        place.age(40);
        let gone = place.ok(BEN, &["gc"]);
        assert!(gone.out.starts_with("removed 2 results, ") && !tree.exists(), "umask {umask}: {gone:?}");
        assert!(files(&place.cache().join("objects")).is_empty() && files(&place.cache().join("trees")).is_empty());
        // The log of the last time is Anna's.
        assert_eq!(place.ok(BEN, &["build", "t-tree"]).count("Made t-tree"), 1);
        place.is_the_groups();
    }
}

#[test]
fn what_a_member_has_damaged_or_another_group_left_is_made_again_by_any() {
    let Some(place) = Place::shared("077") else { return };
    let tree = place.built(ANNA, "t-tree");
    // As a cache that somebody has copied has it: to link to it is refused to Ben.
    for path in files(&place.cache().join("objects")) {
        let executable = path.metadata().unwrap().mode() & 0o100 != 0;
        fs::set_permissions(&path, Permissions::from_mode(if executable { 0o555 } else { 0o444 })).unwrap();
    }
    let more = place.built(BEN, "t-more");
    let is_refused = fs::read_to_string("/proc/sys/fs/protected_hardlinks").is_ok_and(|text| text.trim() == "1");
    assert_eq!(inode(more.join("one")) != inode(tree.join("one")), is_refused);
    assert_eq!(fs::read_to_string(more.join("one")).unwrap(), "one\n");
    fs::write(tree.join("sub/deep/two"), "owt\n").unwrap();
    let verified = place.run(BEN, &["cache", "verify"]);
    assert_eq!(verified.status, Some(1), "{verified:?}");
    assert_eq!(place.ok(BEN, &["build", "t-tree"]).count("Made t-tree"), 1);
    assert_eq!(fs::read_to_string(place.built(ANNA, "t-tree").join("sub/deep/two")).unwrap(), "two\n");
    assert_eq!(place.ok(ANNA, &["cache", "verify"]).status, Some(0));
}

#[test]
fn a_member_without_the_setting_spoils_nothing_and_is_told_whose_it_is() {
    let Some(place) = Place::new("077") else { return };
    place.shares(ANNA);
    [ANNA, BEN].iter().for_each(|user| place.recipes(*user));
    place.built(ANNA, "t-tree");
    place.built(BEN, "t-more");
    place.is_the_groups();
    assert_eq!(place.ok(ANNA, &["build", "t-more"]).err, "");
    let words = format!("shared by the group {GROUP}, whose members decide what is built and run here");
    for args in [&["cache"][..], &["doctor"]] {
        let ran = place.run(BEN, args);
        assert!(ran.out.contains(&words), "{ran:?}");
    }
    let told: serde_json::Value = serde_json::from_str(&place.ok(BEN, &["--json", "cache"]).out).unwrap();
    assert_eq!(told["group"], GROUP.to_string());
    // An empty folder that somebody has prepared is enough.
    let prepared = place.folder("srv/prepared", 0, GROUP, 0o2770);
    let ran = Ran::from(place.command(BEN, &["build", "t-tree"]).env("QUIZ_CACHE_DIR", &prepared).output().unwrap());
    assert_eq!((ran.status, prepared.join("own").is_dir()), (Some(0), true), "{ran:?}");
}

#[test]
fn two_members_in_one_worktree_have_a_build_folder_each_and_one_result() {
    let Some(place) = Place::new("077") else { return };
    place.shares(ANNA);
    fs::set_permissions(place.path(&format!("{ANNA}")), Permissions::from_mode(0o711)).unwrap();
    let source = "[outputs]\ntree = \"tree\"\n[source]\nentry = \"t\"\n[source.dir]\nmarks = [\"MARK\"]\n\
                  [options.origin]\ntype = \"string\"\ndefault = \"\"\nabout = \"x\"\n";
    place.write(ANNA, "project/.quiz/recipes/t-source/recipe.toml", &format!("version = 1\nabout = \"x\"\n{source}"));
    let tables = "[inputs]\nsource = \"t-source\"\n[outputs]\nout = \"file\"\n[incremental]\nsync = [\"source\"]\ninto = \"tree\"\n";
    place.recipe(ANNA, "t-build", tables, "echo run >>/quiz/scratch/runs\ncat tree/*.c >/quiz/out/out\n");
    place.write(ANNA, "project/MARK", "");
    let project = place.path(&format!("{ANNA}/project"));
    let build = |user: u32| {
        let mut command = place.command(user, &["build", "t-build"]);
        Ran::from(command.current_dir(&project).env("QUIZ_TRUST", "*").output().unwrap())
    };
    for (text, maker, other) in [("one", ANNA, BEN), ("two", BEN, ANNA), ("three", ANNA, BEN), ("four", BEN, ANNA)] {
        place.write(ANNA, "project/a.c", text);
        let made = build(maker);
        assert_eq!((made.status, made.count("Made t-build")), (Some(0), 1), "{text}: {made:?}");
        let found = build(other);
        assert_eq!((found.status, found.count("Made t-build"), &found.out), (Some(0), 0, &made.out), "{found:?}");
        let out = made.out.lines().last().unwrap().split_once(' ').unwrap().1;
        assert_eq!(fs::read_to_string(out).unwrap(), text);
    }
    for user in [ANNA, BEN] {
        let all = files(&place.cache().join(format!("own/{user}/scratch")));
        let runs: Vec<&PathBuf> = all.iter().filter(|path| path.ends_with("runs")).collect();
        assert_eq!(runs.len(), 1, "{all:?}");
        assert_eq!(fs::read_to_string(runs[0]).unwrap(), "run\nrun\n", "each went on in his own");
        assert_eq!(runs[0].metadata().unwrap().uid(), user);
    }
    place.is_the_groups();
    // It lists what there is, and stops at nothing that is another's.
    for user in [ANNA, BEN] {
        assert!(place.ok(user, &["cache", "ls", "-v"]).out.contains("build folder: t-build"));
    }
}

#[test]
fn what_another_member_needs_in_a_place_that_cannot_be_looked_into_stays() {
    let Some(place) = Place::shared("022") else { return };
    let tree = place.built(ANNA, "t-tree");
    let digest = tree.file_name().unwrap().to_str().unwrap().parse().unwrap();
    let within = place.path(&format!("{ANNA}/project"));
    // As root, who says that it is meant.
    assert!(Cache::open(&place.cache()).unwrap_err().to_string().contains("decide what runs as root"));
    let cache = Cache::open_shared(&place.cache()).unwrap();
    cache.keep_for(&within.join(".quiz/runs/1/crash"), &within, [digest].into()).unwrap();
    place.age(40);
    let ran = place.ok(BEN, &["gc"]);
    assert!(ran.out.starts_with("removed 0 results, ") && tree.exists(), "{ran:?}");
    // Its owner sees that nothing is there any more.
    place.age(40);
    let ran = place.ok(ANNA, &["gc"]);
    assert!(ran.out.starts_with("removed 1 results, ") && !tree.exists(), "{ran:?}");
}

/// What packs a tree writes down the modes of its files, and those are others in a group's cache.
#[test]
fn an_image_has_the_same_bytes_in_a_cache_of_either_kind() {
    let Some(place) = Place::new("077") else { return };
    place.shares(ANNA);
    let own = place.folder("own", STRANGER, STRANGER, 0o755).join("cache");
    let of = |user: u32, cache: &Path| {
        place.recipes(user);
        let mut command = place.command(user, &["build", "layer:t-tree/out"]);
        let ran = Ran::from(command.env("QUIZ_CACHE_DIR", cache).output().unwrap());
        assert_eq!(ran.status, Some(0), "{ran:?}");
        Path::new(ran.out.lines().last().unwrap()).file_name().unwrap().to_owned()
    };
    assert_eq!(of(ANNA, &place.cache()), of(STRANGER, &own));
    assert_eq!(own.metadata().unwrap().mode() & 0o7777, 0o700);
}
