//! What `quiz up` exits with when something else than the program ends the run, and what `git bisect run` makes of it, with a script that
//! plays qemu and the guest.

use crate::project::Ran;
use crate::suite::Fake;
use crate::worktree::git;
use std::fs::File;
use std::process::{Command, Stdio};

/// A worktree of three commits, in which a file says how the machine ends: well, as `play` says, badly. Gives the last two.
fn commits(fake: &Fake, play: &str) -> [String; 2] {
    let commit = |text: &str| {
        fake.0.write("play", text);
        git(&fake.0.dir(), &["add", "play"]);
        git(&fake.0.dir(), &["commit", "-q", "--allow-empty", "-m", text]);
        git(&fake.0.dir(), &["rev-parse", "HEAD"]).trim().to_owned()
    };
    let (first, middle, last) = (commit("exit-0 first"), commit(&format!("{play} middle")), commit("exit-1 last"));
    git(&fake.0.dir(), &["bisect", "start", &last, &first]);
    [middle, last]
}

/// What `git bisect run` says of a commit with this play.
fn bisect(fake: &Fake, play: &str, args: &str) -> (String, [String; 2]) {
    let commits = commits(fake, play);
    let up = fake.up("$play", &[]);
    let script = format!(
        "read -r play _ <play; exec '{}' -q up --no-snapshot --timeout 1 {args} --append fake=$play -- true",
        up.get_program().display()
    );
    let mut command = Command::new("git");
    command.args(["bisect", "run", "sh", "-c", &script]).current_dir(fake.0.dir()).stdin(Stdio::null());
    command.env_clear().envs(up.get_envs().filter_map(|(name, value)| Some((name, value?))));
    let ran = Ran::from(command.output().unwrap());
    git(&fake.0.dir(), &["bisect", "reset"]);
    (format!("{}{}", ran.out, ran.err), commits)
}

#[test]
fn git_bisect_run_blames_no_commit_for_a_bad_day_of_the_host() {
    let fake = Fake::new();
    fake.0.write(".git/info/exclude", ".quiz/\nbin/\n");
    let blamed = |play: &str, args: &str| {
        let (said, [middle, last]) = bisect(&fake, play, args);
        if said.contains(&format!("{middle} is the first bad commit")) {
            "bad"
        } else if said.contains(&format!("{last} is the first bad commit")) {
            "good"
        } else if said.contains("only 'skip'ped commits left") {
            "skip"
        } else if said.contains("bisect run failed") {
            "stops"
        } else {
            panic!("{said}")
        }
    };
    for (play, args, wanted) in [
        ("exit-0", "", "good"),
        ("exit-7", "", "bad"),
        ("poweroff", "", "bad"),
        ("poweroff", "--lost-as 125", "skip"),
        ("panic", "", "bad"),
        ("warn-0", "", "good"),
        ("warn-0", "--fail-on-warning", "bad"),
        ("hang", "", "bad"),
        ("short", "", "skip"),
        ("killed", "", "skip"),
        ("refuse", "", "skip"),
        ("hook", "", "skip"),
        ("hangup", "", "stops"),
    ] {
        assert_eq!(blamed(play, args), wanted, "{play} {args}");
    }
}

#[test]
fn the_status_is_by_whose_fault_it_was() {
    let fake = Fake::new();
    for (play, args, status, words) in [
        ("poweroff", &[][..], 122, "the guest powered off before the program ended"),
        ("poweroff", &["--lost-as", "99"], 99, "the guest powered off before the program ended"),
        ("panic", &["--lost-as", "99"], 123, "the guest's kernel gave up"),
        ("killed", &["--lost-as", "99"], 125, "not the guest's fault: qemu ended (signal: 9 (SIGKILL))"),
        ("short", &[], 125, "the program itself ended with status 0"),
        ("unsynced", &[], 7, "what was written last to /out, /shared and other shares may be missing"),
        ("hangup", &[], 129, "ended by SIGHUP"),
        // Nothing of these would ever end by itself.
        ("host-full", &[], 125, "cannot write the file of disk0: No space left on device"),
        ("kvm-internal", &[], 125, "KVM stopped with an internal error"),
        ("halt", &[], 122, "the guest halted before the program ended"),
        ("deaf", &[], 143, "ended by SIGTERM"),
    ] {
        let ran = Ran::from(fake.up(play, args).output().unwrap());
        assert_eq!(ran.says(&[words]).status, Some(status), "{play}: {ran:?}");
    }
}

#[test]
fn a_time_limit_shows_all_that_the_guest_says_it_was_doing() {
    let ran = Ran::from(Fake::new().up("stacks", &["--timeout", "1"]).output().unwrap());
    assert_eq!(ran.status, Some(124), "{ran:?}");
    ran.says(&["stack 1 of 200", "stack 100 of 200", "stack 200 of 200", "the guest hung after 1 s"]);
}

#[test]
fn what_quiz_cannot_write_is_125_with_the_programs_own_status() {
    let fake = Fake::new();
    let mut command = fake.up("program", &[]);
    command.stdout(File::options().write(true).open("/dev/full").unwrap());
    let ran = Ran::from(command.output().unwrap());
    assert_eq!(ran.status, Some(125), "{ran:?}");
    ran.says(&["cannot write stdout: No space left on device", "the program itself ended with status 7"]);
    let record = std::fs::read_to_string(fake.0.dir().join(".quiz/runs/1/result.json")).unwrap();
    assert!(record.contains("\"program\":7"), "{record}");
}
