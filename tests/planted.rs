//! A project from anybody: what only shows, runs nothing of it on the host; and what is installed is asked for.

use crate::project::{Project, Ran};
use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::process::{Command, Stdio};

const OUT: &str = "[outputs]\nout = \"file\"\n";

/// What somebody types to see what a project is.
const LOOKS: [&[&str]; 6] =
    [&["graph"], &["why", "image"], &["config"], &["doctor"], &["profiles"], &["build", "--help"]];

/// What quiz starts on a host.
const PROGRAMS: [&str; 11] = [
    "git",
    "bwrap",
    "unshare",
    "apt-get",
    "apt-cache",
    "sudo",
    "ssh",
    "ssh-keygen",
    "dpkg-source",
    "qemu-img",
    "qemu-system-x86_64",
];

/// A project with programs that leave a mark when they run.
struct Planted(Project);

impl Planted {
    fn new() -> Self {
        Self(Project::new())
    }

    fn mark(&self) -> PathBuf {
        self.0.dir().join("mark")
    }

    /// A program of the project's; gives its path.
    fn program(&self, path: &str) -> String {
        let path = self.0.write(path, &format!("#!/bin/sh\necho \"$0 $*\" >>{}\n", self.mark().display()));
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).unwrap();
        path.display().to_string()
    }

    /// Looks at it in every way, with folders before those of PATH; gives what was said.
    fn look(&self, path: &str) -> Vec<Ran> {
        let look = |args: &&[&str]| {
            let mut command = self.0.command(args);
            let usual = command.get_envs().find(|(name, _)| *name == "PATH").unwrap().1.unwrap().to_owned();
            command.env("PATH", format!("{path}{}", usual.to_str().unwrap()));
            let ran = Ran::from(command.output().unwrap());
            let mark = std::fs::read_to_string(self.mark());
            assert!(mark.is_err(), "`quiz {}` ran {mark:?}", args.join(" "));
            assert!(ran.status.is_some_and(|status| status <= 2), "{args:?}: {ran:?}");
            ran
        };
        LOOKS.iter().map(look).collect()
    }
}

#[test]
fn a_tool_of_a_recipe_is_no_path_into_the_project() {
    for table in ["tools", "optional-tools", "tools-on-demand"] {
        let planted = Planted::new();
        let evil = planted.program("evil");
        planted.0.recipe("t-one", &format!("{OUT}[{table}]\n\"../../..{evil}\" = \"evil\"\n"), "true\n");
        let ran = planted.look("").remove(0);
        assert_eq!(ran.status, Some(2), "{ran:?}");
        ran.says(&["t-one/recipe.toml:7:", "is no name of a program", "/usr/include/stdio.h"]);
    }
}

#[test]
fn a_tool_of_a_profile_is_no_path_into_the_project() {
    let planted = Planted::new();
    let evil = planted.program("evil");
    planted.0.write("quiz.toml", "profiles = [\"mine\"]\n");
    let text = format!("about = \"x\"\n[tools]\n\"../../..{evil}\" = \"evil\"\n");
    planted.0.write(".quiz/profiles/mine/profile.toml", &text);
    planted.look("").remove(0).says(&["mine/profile.toml:3:", "is no name of a program"]);
}

#[test]
fn a_file_that_a_recipe_names_is_looked_at_and_lies_where_scripts_see_it() {
    let planted = Planted::new();
    let evil = planted.program("evil");
    planted.0.recipe("t-one", &format!("{OUT}[tools]\n\"{evil}\" = \"evil\"\n"), "true\n");
    planted.look("").remove(0).says(&["t-one/recipe.toml:7:", "is no file that a script can see"]);
    let around = format!("/usr/../{evil}");
    planted.0.recipe("t-one", &format!("{OUT}[tools]\n\"{around}\" = \"evil\"\n"), "true\n");
    planted.look("").remove(0).says(&["is no file that a script can see"]);
    // Such a program is a file: its bytes count, and nobody asks it for its version.
    planted.0.recipe("t-one", &format!("{OUT}[tools]\n\"/usr/bin/env\" = \"coreutils\"\n"), "true\n");
    let why = planted.0.ok(&["why", "t-one"]).out;
    let line = why.lines().find(|line| line.contains("tool//usr/bin/env = ")).unwrap();
    assert!(line.rsplit(' ').next().unwrap().len() >= 16 && !line.contains("coreutils"), "{line}");
}

#[test]
fn a_folder_of_path_that_is_relative_or_of_the_project_has_no_programs() {
    for (folder, path) in
        [("", ".:"), ("", ":"), ("tools", "tools:"), ("tools", "PROJECT/tools:"), ("", "PROJECT/../project:")]
    {
        let planted = Planted::new();
        for program in PROGRAMS {
            planted.program(format!("{folder}/{program}").trim_start_matches('/'));
        }
        kernel_tree(&planted.0);
        planted.look(&path.replace("PROJECT", planted.0.dir().to_str().unwrap()));
    }
}

/// Makes the project a worktree of git that passes for a kernel's, which is what is built.
fn kernel_tree(project: &Project) {
    for file in ["Kbuild", "Kconfig", "MAINTAINERS", "init/main.c"] {
        project.write(file, "x\n");
    }
    git(project, &["init", "--quiet"]);
    git(project, &["add", "Kconfig"]);
}

fn git(project: &Project, args: &[&str]) {
    let mut git = Command::new("/usr/bin/git");
    git.args(args).current_dir(project.dir()).env_clear().env("HOME", "/nonexistent");
    assert!(git.status().unwrap().success(), "{args:?}");
}

#[test]
fn the_config_of_a_repository_starts_nothing() {
    let planted = Planted::new();
    kernel_tree(&planted.0);
    let evil = planted.program("evil");
    planted.0.write(".gitattributes", "* filter=f diff=d\n");
    planted.0.write("included", &format!("[core]\n\tfsmonitor = {evil}\n"));
    for hook in ["post-index-change", "post-checkout", "fsmonitor-watchman", "reference-transaction"] {
        planted.program(&format!(".git/hooks/{hook}"));
    }
    for name in [
        "core.fsmonitor",
        "core.sshCommand",
        "core.pager",
        "core.gitProxy",
        "core.alternateRefsCommand",
        "diff.external",
        "diff.d.textconv",
        "diff.d.command",
        "filter.f.clean",
        "filter.f.smudge",
        "filter.f.process",
        "credential.helper",
        "gpg.program",
        "uploadpack.packObjectsHook",
    ] {
        git(&planted.0, &["config", name, &evil]);
    }
    git(&planted.0, &["config", "alias.ls-files", &format!("!{evil}")]);
    git(&planted.0, &["config", "include.path", "../included"]);
    let graph = planted.look("").remove(0).out;
    let source = graph.lines().find(|line| line.contains("kernel-source ")).unwrap();
    assert!(!source.contains("unresolved"), "git was not asked: {source}");
}

#[test]
fn what_settings_hand_to_other_programs_is_not_handed_over_to_be_looked_at() {
    let planted = Planted::new();
    let evil = planted.program("evil");
    let settings = format!(
        "profiles = [\"ssh\"]\n[machine]\nqemu-args = [\"-netdev\", \"tap,id=x,script={evil}\", \"-plugin\", \"./evil\"]\n\
         [kernel]\nsource = \"git\"\nrepository = \"ext::{evil}\"\n[zfs]\nconfigure = [\"CC={evil}\"]\n"
    );
    planted.0.write("quiz.toml", &settings);
    planted.0.write(".quiz/ssh_config", &format!("Host *\n  ProxyCommand {evil}\n"));
    planted.look("");
}

/// A project that needs a package, and an apt-get that only writes down what it is told.
fn wants_a_package(package: &str) -> Project {
    let project = Project::new();
    project.recipe("t-one", &format!("{OUT}[tools]\nno-such-tool = \"{package}\"\n"), "true\n");
    for program in ["apt-get", "sudo"] {
        project.stand_in(program, &format!("echo \"$0 $*\" >>{}\n", project.dir().join("told").display()));
    }
    project
}

#[test]
fn packages_are_names_and_stand_behind_two_dashes() {
    let project = wants_a_package("no-such-package");
    let ran = project.run(&["build", "t-one", "--install"]);
    ran.says(&["apt-get install -q -y --no-install-recommends -o APT::Cmd::Pattern-Only=true -- no-such-package"]);
    let told = std::fs::read_to_string(project.dir().join("told")).unwrap();
    assert!(told.lines().any(|line| line.ends_with("Pattern-Only=true -- no-such-package")), "{told}");
    for package in ["-oDPkg::Pre-Invoke::=touch /x", "./evil.deb", "bash-", "evil/sid", "a*"] {
        let project = wants_a_package(package);
        let ran = project.run(&["build", "t-one", "--install"]);
        assert_eq!(ran.status, Some(2), "{ran:?}");
        ran.says(&["t-one/recipe.toml:7:16\n", "is no name of a Debian package"]);
        assert!(!project.dir().join("told").exists());
    }
}

#[test]
fn on_a_terminal_it_is_asked_before_anything_is_installed() {
    for (answer, runs) in [("n\n", false), ("x\n", false), ("y\n", true), ("\n", true)] {
        let project = wants_a_package("no-such-package");
        let template = project.command(&[]);
        let line = format!("{} build t-one --install", env!("CARGO_BIN_EXE_quiz"));
        let mut script = Command::new("script");
        script.args(["-q", "-e", "-c", &line, "/dev/null"]).current_dir(project.dir()).env_clear();
        script.envs(template.get_envs().map(|(name, value)| (name, value.unwrap()))).env("SHELL", "/bin/sh");
        let mut child = script.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        child.stdin.take().unwrap().write_all(answer.as_bytes()).unwrap();
        let said = String::from_utf8(child.wait_with_output().unwrap().stdout).unwrap();
        assert!(said.contains("Run it? [Y/n]"), "{said}");
        assert_eq!(project.dir().join("told").exists(), runs, "{answer:?}: {said}");
        assert_eq!(said.contains("nothing was installed"), !runs, "{said}");
    }
}
