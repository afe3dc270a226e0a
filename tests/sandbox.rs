//! A sandbox that cannot be made: what a stage and `quiz doctor` say of it, in the words that bubblewrap and unshare have for it.

use crate::project::{Project, Ran};
use serde_json::Value;
use std::process::Command;
use std::time::{Duration, Instant};

const OUT: &str = "[outputs]\nout = \"file\"\n";
const APPARMOR: &str = "bwrap: setting up uid map: Permission denied";
const LIFT: &str = "profile bwrap /usr/bin/bwrap flags=(unconfined) { userns, }' | sudo tee /etc/apparmor.d/bwrap && sudo apparmor_parser -r /etc";

/// A project on a machine whose sandbox says only this.
fn refused(words: &str, status: u8) -> Project {
    let project = Project::new();
    project.recipe("t-one", OUT, "echo x >/quiz/out/out\n");
    for program in ["bwrap", "unshare"] {
        project.stand_in(program, &format!("echo \"{words}\" >&2\nexit {status}\n"));
    }
    project
}

fn is_of_the_sandbox(check: &Value) -> bool {
    check["check"].as_str().unwrap().starts_with("sandbox")
}

fn checks(project: &Project) -> (Option<i32>, Vec<Value>) {
    let ran = project.run(&["--json", "doctor"]);
    let all: Value = serde_json::from_str(&ran.out).unwrap();
    (ran.status, all["checks"].as_array().unwrap().iter().filter(|c| is_of_the_sandbox(c)).cloned().collect())
}

#[test]
fn a_stage_says_in_one_line_why_there_is_no_sandbox_and_what_to_type() {
    let ran = refused(APPARMOR, 1).run(&["build", "t-one"]);
    assert_eq!(ran.status, Some(1));
    ran.says(&[
        "the stage t-one: the sandbox could not be made: AppArmor ",
        APPARMOR,
        LIFT,
        "the whole log is ",
        "to run it again: ",
    ]);
    // What nobody foresaw, with whatever status.
    let ran = refused("bwrap: execvp sh: No such file or directory", 127).run(&["build", "t-one"]);
    ran.says(&[
        "the stage t-one: the sandbox could not be made: bwrap: execvp sh: No such file or directory",
        "hint: quiz doctor",
        "the whole log is ",
    ]);
}

#[test]
fn a_script_that_ran_has_failed_itself_whatever_it_says() {
    let project = Project::new();
    project.recipe("t-one", OUT, &format!("echo '{APPARMOR}'\necho other words\nexit 1\n"));
    let ran = project.run(&["build", "t-one"]);
    ran.says(&["the stage t-one failed (exit status: 1)", APPARMOR]);
    assert_eq!(ran.count(LIFT), 0, "{}", ran.err);
}

#[test]
fn doctor_tries_the_sandbox_of_a_stage() {
    let project = Project::new();
    let (_, found) = checks(&project);
    assert_eq!((&found[0]["check"], &found[0]["ok"]), (&"sandbox".into(), &true.into()), "{found:?}");
    // It is a stage's own command, with each of the two kinds of rights.
    project.stand_in("bwrap", "echo \"bwrap: $*\"\nexit 1\n");
    project.stand_in("unshare", "echo \"unshare: $*\"\nexit 1\n");
    let (status, found) = checks(&project);
    assert_eq!((status, found.len()), (Some(1), 2), "{found:?}");
    for (check, rights) in found.iter().zip(["--cap-drop", "--cap-add"]) {
        let what = check["what"].as_str().unwrap();
        assert!(what.contains(rights) && what.contains("--unshare-net") && what.contains("/quiz/recipe/"), "{what}");
        assert_eq!(check["ok"], false);
    }
    let left: Vec<_> = crate::project::files(&project.cache()).into_iter().filter(|p| p.ends_with("try.sh")).collect();
    assert!(left.is_empty(), "{left:?}");
}

#[test]
fn doctor_explains_a_refusal_as_a_stage_does() {
    let project = refused(APPARMOR, 1);
    let ran = project.run(&["doctor"]);
    assert_eq!(ran.status, Some(1));
    let line = ran.out.lines().find(|line| line.contains(" sandbox ")).unwrap();
    assert!(line.contains("AppArmor") && line.contains(LIFT), "{line}");
    let (status, found) = checks(&project);
    assert_eq!((status, found.len()), (Some(1), 2));
    assert!(
        found.iter().all(|check| check["ok"] == false && check["what"].as_str().unwrap().contains(LIFT)),
        "{found:?}"
    );
}

#[test]
fn doctor_does_not_wait_for_what_the_sandbox_left_behind() {
    let project = Project::new();
    let pids = project.dir().join("pids");
    for program in ["bwrap", "unshare"] {
        project.stand_in(program, &format!("sleep 60 &\necho $! >>{}\n", pids.display()));
    }
    let start = Instant::now();
    let (_, found) = checks(&project);
    let took = start.elapsed();
    let _ = Command::new("kill").args(std::fs::read_to_string(pids).unwrap().lines()).status();
    assert!(took < Duration::from_secs(30), "{took:?}");
    assert!(found.len() == 2 && found.iter().all(|check| check["ok"] == true), "{found:?}");
}

/// What only who has capabilities over the machine may do, or who can undo what the sandbox made read-only; each line must fail.
const REACH: &str = "
no() { ! sh -c \"$1\" 2>/dev/null || { echo \"it can: $1\"; exit 1; }; }
no 'mknod /quiz/scratch/disk b 8 0'
no 'mount -o remount,bind,rw /usr'
no 'mount -o remount,bind,rw /quiz/recipe'
no 'umount /usr'
no ': >>/quiz/recipe/build.sh'
no 'mount -t proc proc /tmp'
no 'unshare --pid --fork --mount --net sh -c \"mount -t proc proc /tmp || mount -t sysfs sysfs /tmp\"'
no 'mount -o remount,bind,rw /proc/sys'
no 'umount /proc/sys'
no 'date -s @'$(date +%s)
no 'ls /etc/ssl/private'
# Root's own, which would name a program for the kernel to run: what it is now, in case it can.
pattern=$(cat /proc/sys/kernel/core_pattern)
no \"echo '$pattern' >/proc/sys/kernel/core_pattern\"
";

fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

#[test]
fn all_capabilities_of_a_script_of_roots_are_over_a_user_namespace() {
    if !is_root() {
        return;
    }
    let project = Project::new();
    let script = "grep CapEff /proc/self/status >/quiz/out/out
readlink /proc/self/ns/user >>/quiz/out/out
cat /proc/self/uid_map >>/quiz/out/out
: >file
! chown 4 file 2>/dev/null
# The low numbers are free for its own files: dash writes to no other.
for number in 3 4 5 6 7 8 9; do
    ! readlink /proc/self/fd/$number | grep user:
done
# Of a namespace of its own it may mount.
mount -t tmpfs none /tmp
mkdir tree
: >tree/file
chmod 000 tree
";
    project.recipe("t-one", &format!("{OUT}[needs]\nchroot = true\n"), &format!("{script}{REACH}"));
    let made = std::fs::read_to_string(project.built("t-one")).unwrap();
    let lines: Vec<&str> = made.lines().collect();
    let held = u64::from_str_radix(lines[0].split_whitespace().last().unwrap(), 16).unwrap();
    // CAP_CHOWN to CAP_SETFCAP at least: they are all there, and elsewhere.
    assert_eq!(held & 0xffff_ffff, 0xffff_ffff, "{made}");
    let own = std::fs::read_link("/proc/self/ns/user").unwrap();
    assert!(lines[1].starts_with("user:[") && lines[1] != own.to_str().unwrap(), "{made}");
    // Of other owners' files it can do nothing.
    assert_eq!(lines[2].split_whitespace().collect::<Vec<_>>(), ["0", "0", "1"]);
    // What it left behind is gone with its slot, whoever owned it.
    let left: Vec<_> =
        crate::project::files(&project.cache()).into_iter().filter(|p| p.ends_with("tree/file")).collect();
    assert!(left.is_empty(), "{left:?}");
}

#[test]
fn a_script_of_roots_without_capabilities_does_not_write_what_the_kernel_obeys_root_in() {
    if !is_root() {
        return;
    }
    let project = Project::new();
    project.recipe("t-one", OUT, &format!("{REACH}\necho x >/quiz/out/out\n"));
    project.built("t-one");
}

/// A command behind a shell's line, in a user namespace in which that shell is root.
fn within(before: &str, unshare: &[&str], project: &Project, args: &[&str]) -> Ran {
    let quiz = project.command(args);
    let line = format!("{before} && exec \"$@\"");
    let mut command = Command::new("unshare");
    command.args(["--user", "--map-root-user"]).args(unshare).args(["--", "sh", "-c", &line, "sh"]);
    command.arg(quiz.get_program()).args(args).current_dir(project.dir()).env_clear();
    command.envs(quiz.get_envs().filter_map(|(name, value)| Some((name, value?))));
    Ran::from(command.output().unwrap())
}

/// The limit is one of each user namespace: that of the machine stays.
const NO_USERS: &str = "echo 0 >/proc/sys/user/max_user_namespaces";

fn line_of_doctor(ran: &Ran, check: &str) -> String {
    let is_it = |line: &&str| line.contains(&format!(" {check} "));
    ran.out.lines().find(is_it).unwrap_or_else(|| panic!("{ran:?}")).to_owned()
}

#[test]
fn where_root_may_make_no_user_namespace_a_projects_stage_gets_no_capabilities_and_says_what_to_type() {
    if !is_root() {
        return;
    }
    let project = Project::new();
    project.recipe("t-one", &format!("{OUT}[needs]\nchroot = true\n"), "echo x >/quiz/out/out\n");
    let ran = within(NO_USERS, &[], &project, &["build", "t-one"]);
    assert_eq!(ran.status, Some(1), "{ran:?}");
    ran.says(&[
        "the stage t-one: the sandbox could not be made: the limit for user namespaces is reached",
        "sudo sysctl -w user.max_user_namespaces=15000",
        "run it again",
    ]);
    // What quiz itself has of that kind is tried with fewer rights than root's, and more than none.
    let line = line_of_doctor(&within(NO_USERS, &[], &project, &["doctor"]), "sandbox with a root of its own");
    assert!(line.contains("bubblewrap works, with some of root's own capabilities"), "{line}");
}

#[test]
fn a_cache_from_which_nothing_may_be_started_is_found_by_doctor() {
    let project = Project::new();
    std::fs::create_dir(project.cache()).unwrap();
    let mount = |options: &str| format!("mount -t tmpfs{options} none \"$QUIZ_CACHE_DIR\"");
    let ran = within(&mount(" -o noexec"), &["--mount"], &project, &["doctor"]);
    let line = line_of_doctor(&ran, "sandbox");
    assert!(line.contains("is mounted noexec") && line.contains("QUIZ_CACHE_DIR"), "{line}");
    let line = line_of_doctor(&within(&mount(""), &["--mount"], &project, &["doctor"]), "sandbox");
    assert!(line.contains("bubblewrap works"), "{line}");
}

/// Whether it was refused is read where the script writes, so its word alone does not count.
#[test]
fn a_script_cannot_choose_a_weaker_sandbox() {
    let project = Project::new();
    let script = "if grep -q '^Name:.*sh' /proc/$$/status; then
    echo \"bwrap: Can't mount proc on /newroot/proc: Operation not permitted\"
    exit 1
fi
echo 'that is not its own /proc' >/quiz/out/out\n";
    project.recipe("t-one", OUT, script);
    let ran = project.run(&["build", "t-one"]);
    assert_eq!(ran.status, Some(1), "{ran:?}");
}

/// The filters of Podman and Docker let nobody set a host name who may not administrate the host.
#[test]
fn in_a_container_whose_filter_lets_nobody_set_a_host_name_stages_run_with_the_one_that_is_there() {
    let project = Project::new();
    project.recipe("t-one", OUT, "cat /proc/sys/kernel/hostname >/quiz/out/out\n");
    let text = |ran: &Ran| {
        assert_eq!(ran.status, Some(0), "{ran:?}");
        std::fs::read_to_string(ran.out.split_whitespace().next_back().unwrap()).unwrap()
    };
    assert_eq!(text(&project.run(&["build", "t-one"])), "quiz\n");
    // Loads the number of the system call; sethostname is an error, EPERM; all others are allowed.
    let number = if cfg!(target_arch = "aarch64") { 161 } else { 170 };
    let filter = format!(
        "import ctypes, os, struct, sys
code = struct.pack('HBBI' * 4, 0x20, 0, 0, 0, 0x15, 0, 1, {number}, 0x06, 0, 0, 0x00050001, 0x06, 0, 0, 0x7fff0000)
code = ctypes.create_string_buffer(code)
prog = ctypes.create_string_buffer(struct.pack('HL', 4, ctypes.addressof(code)))
libc = ctypes.CDLL(None, use_errno=True)
assert libc.prctl(38, 1, 0, 0, 0) == 0 and libc.prctl(22, 2, prog) == 0, ctypes.get_errno()
os.execvp(sys.argv[1], sys.argv[1:])"
    );
    let before = format!("set -- python3 -c \"{filter}\" \"$@\"");
    let container = |args: &[&str]| within(&before, &[], &project, args);
    let line = line_of_doctor(&container(&["doctor"]), "sandbox");
    assert!(line.ends_with("bubblewrap works, with this machine's host name, as no other may be set here"), "{line}");
    let own = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap();
    assert_eq!(text(&container(&["build", "--fresh", "t-one"])), own);
}

/// A container as Podman makes one: root of a namespace of users, without the right to mount, and parts of /proc cannot be written.
#[test]
fn in_a_container_that_hides_parts_of_proc_stages_run_with_the_one_that_is_there() {
    let project = Project::new();
    let script = "grep CapEff /proc/self/status >/quiz/out/out
readlink /proc/self/exe >>/quiz/out/out
grep -q ' /proc/sys .*ro,' /proc/self/mountinfo
! sh -c ': >/proc/sys/kernel/hostname' 2>/dev/null
for process in /proc/[0-9]*; do
    grep -q '^PPid:.0$' $process/status 2>/dev/null || continue
    ! readlink $process/root && ! cat $process/environ 2>/dev/null
done\n";
    project.recipe("t-one", OUT, script);
    project.recipe(
        "t-two",
        &format!("{OUT}[needs]\nchroot = true\n"),
        "mkdir root
mount --rbind / root
mount -t tmpfs none root/tmp
chroot root true
echo x >/quiz/out/out\n",
    );
    let hidden = "mount --bind /proc/sys /proc/sys && mount -o remount,bind,ro /proc/sys && \
                  set -- setpriv --bounding-set=-sys_admin --inh-caps=-all -- \"$@\"";
    let container = |args: &[&str]| within(hidden, &["--mount", "--pid", "--fork", "--mount-proc"], &project, args);
    let ran = container(&["build", "t-one", "t-two"]);
    assert_eq!(ran.status, Some(0), "{ran:?}");
    let made = std::fs::read_to_string(ran.out.lines().next().unwrap().split(' ').next_back().unwrap()).unwrap();
    assert!(made.starts_with("CapEff:\t0000000000000000\n") && made.lines().count() == 2, "{made}");
    let ran = container(&["doctor"]);
    for check in ["sandbox", "sandbox with a root of its own"] {
        let line = line_of_doctor(&ran, check);
        assert!(line.contains("bubblewrap works, with this machine's own /proc"), "{line}");
    }
    // Nothing of that where nothing is hidden.
    let line = line_of_doctor(&project.run(&["doctor"]), "sandbox");
    assert!(line.ends_with("bubblewrap works"), "{line}");
}

/// Not even what comes while the script runs: a mount on the machine is not seen, as one that is there before it is read-only.
#[test]
fn what_is_mounted_on_the_machine_meanwhile_does_not_come_into_the_sandbox_of_roots() {
    if !is_root() {
        return;
    }
    let project = Project::new();
    // The mount is made when both run, whose logs say so, and each looks for three seconds.
    let script = "echo it runs
        for n in 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15; do
            sleep 0.2
            ! grep ' /usr/local/src ' /proc/self/mountinfo || { echo 'it came'; exit 1; }
        done
        echo x >/quiz/out/out\n";
    project.recipe("t-one", OUT, script);
    project.recipe("t-two", &format!("{OUT}[needs]\nchroot = true\n"), script);
    // A machine of its own, whose mounts are shared as systemd has them.
    let quiz = project.command(&["build", "t-one", "t-two"]);
    let machine = "mount --make-rshared / && { \"$@\" & } && for n in $(seq 600); do
            [ $(grep -rl 'it runs' \"$QUIZ_CACHE_DIR/logs\" 2>/dev/null | wc -l) = 2 ] && break
            sleep 0.1
        done && mount -t tmpfs none /usr/local/src && wait $!";
    let mut command = Command::new("unshare");
    command.args(["--mount", "--propagation", "private", "--", "sh", "-c", machine, "sh"]).arg(quiz.get_program());
    command.args(quiz.get_args()).current_dir(project.dir()).env_clear();
    command.envs(quiz.get_envs().filter_map(|(name, value)| Some((name, value?))));
    let ran = Ran::from(command.output().unwrap());
    assert_eq!(ran.status, Some(0), "{ran:?}");
}
