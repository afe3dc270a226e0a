//! A sandbox that cannot be made: what a stage says of it, in the words that bubblewrap and unshare have for it.

use crate::project::Project;

const OUT: &str = "[outputs]\nout = \"file\"\n";
const APPARMOR: &str = "bwrap: setting up uid map: Permission denied";
const LIFT: &str = "sudo sysctl -w kernel.apparmor_restrict_unprivileged_userns=0";

/// A project on a machine whose sandbox says only this.
fn refused(words: &str, status: u8) -> Project {
    let project = Project::new();
    project.recipe("t-one", OUT, "echo x >/quiz/out/out\n");
    for program in ["bwrap", "unshare"] {
        project.stand_in(program, &format!("echo \"{words}\" >&2\nexit {status}\n"));
    }
    project
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
