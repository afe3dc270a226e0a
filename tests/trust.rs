//! Whose project is read. Files of several users need root, as which CI runs; the rules themselves are tested in src/load/trust for
//! everybody.

use crate::project::{Project, Ran, files};
use std::fs::{self, Permissions};
use std::os::unix::fs::{PermissionsExt, chown};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// A user, one of the same group, whose number has no name on any machine, and nobody.
const USER: u32 = 54_000;
const COLLEAGUE: u32 = 54_321;
const NOBODY: u32 = 65_534;
const GROUP: u32 = 2000;

const OUT: &str = "version = 1\nabout = \"x\"\nscript = \"build.sh\"\n[outputs]\nout = \"file\"\n";

/// A folder that everybody may enter, with a home for each user and a copy of quiz that each may start.
struct Place(tempfile::TempDir);

impl Place {
    /// Only where there are several users to play.
    fn new() -> Option<Self> {
        if !rustix::process::geteuid().is_root() {
            return None;
        }
        let place = Self(tempfile::tempdir().unwrap());
        fs::set_permissions(place.0.path(), Permissions::from_mode(0o755)).unwrap();
        for user in [0, USER, COLLEAGUE] {
            place.folder(&format!("home/{user}"), user, 0o700);
        }
        // By another process: a file that this one has open to be written cannot be started by a test that forks meanwhile.
        let copied = Command::new("cp").arg(env!("CARGO_BIN_EXE_quiz")).arg(place.path("quiz")).status().unwrap();
        assert!(copied.success());
        Some(place)
    }

    fn path(&self, path: &str) -> PathBuf {
        self.0.path().join(path)
    }

    fn folder(&self, path: &str, owner: u32, mode: u32) -> PathBuf {
        let path = self.path(path);
        fs::create_dir_all(&path).unwrap();
        chown(&path, Some(owner), Some(if owner == 0 { 0 } else { GROUP })).unwrap();
        fs::set_permissions(&path, Permissions::from_mode(mode)).unwrap();
        path
    }

    fn file(&self, path: &str, owner: u32, text: &str) -> PathBuf {
        let path = self.path(path);
        fs::write(&path, text).unwrap();
        chown(&path, Some(owner), None).unwrap();
        path
    }

    /// A project of this user's, with a quiz.toml and a recipe.
    fn project(&self, owner: u32) -> PathBuf {
        let project = self.folder("project", owner, 0o2775);
        self.file("project/quiz.toml", owner, "[machine]\nmemory = \"77M\"\n");
        for folder in ["", "/recipes", "/recipes/t-one"] {
            self.folder(&format!("project/.quiz{folder}"), owner, 0o2775);
        }
        self.file("project/.quiz/recipes/t-one/recipe.toml", owner, OUT);
        self.file("project/.quiz/recipes/t-one/build.sh", owner, "true\n");
        project
    }

    /// A command of this user's, started in a folder.
    fn command(&self, user: u32, start: &Path, args: &[&str]) -> Command {
        let mut command = Command::new("setpriv");
        command.args([format!("--reuid={user}"), format!("--regid={user}"), format!("--groups={user},{GROUP}")]);
        command.arg(self.path("quiz")).args(args).current_dir(start).env_clear().stdin(Stdio::null());
        command.env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin").env("HOME", self.path(&format!("home/{user}")));
        command
    }

    fn run(&self, user: u32, start: &Path, args: &[&str]) -> Ran {
        Ran::from(self.command(user, start, args).output().unwrap())
    }

    fn with(&self, user: u32, start: &Path, (name, value): (&str, &str)) -> Ran {
        Ran::from(self.command(user, start, &["config"]).env(name, value).output().unwrap())
    }
}

/// The project was read.
fn is_read(ran: &Ran) {
    assert!(ran.status == Some(0) && ran.out.contains("machine.memory = \"77M\""), "{ran:?}");
}

/// It was not, and what to type is said.
fn is_refused(ran: &Ran, project: &Path, path: &str, owner: &str) {
    assert_eq!((ran.status, ran.out.as_str()), (Some(2), ""), "{ran:?}");
    let project = project.display();
    ran.says(&[
        &format!("{project}{path} belongs to {owner}"),
        "nothing of this project is read",
        &format!("quiz trust {project}"),
        &format!("QUIZ_TRUST={project} quiz"),
    ]);
}

#[test]
fn root_in_a_checkout_of_a_user() {
    let Some(place) = Place::new() else { return };
    let project = place.project(USER);
    let deep = place.folder("project/sub/deep", USER, 0o755);
    for args in
        [&["config"][..], &["graph"], &["why", "image"], &["doctor"], &["profiles"], &["build", "t-one"], &["gc"]]
    {
        is_refused(&place.run(0, &deep, args), &project, "/quiz.toml", "");
    }
    place.run(0, &deep, &["config"]).says(&["(uid 0)", "uid 54000"]);
    assert_eq!(place.run(0, &deep, &["up", "--", "true"]).status, Some(125));
    assert_eq!(place.run(0, &deep, &["ssh"]).status, Some(255));
    // As sudo says it, and only to root.
    is_read(&place.with(0, &deep, ("SUDO_UID", "54000")));
    is_refused(&place.with(0, &deep, ("SUDO_UID", "54321")), &project, "/quiz.toml", "");
    is_refused(&place.with(COLLEAGUE, &deep, ("SUDO_UID", "54000")), &project, "/quiz.toml", "");
    // What is no project of quiz decides nothing, whoever has it.
    for path in ["quiz.toml", ".quiz/recipes/t-one/recipe.toml", ".quiz/recipes/t-one/build.sh"] {
        fs::remove_file(project.join(path)).unwrap();
    }
    fs::remove_dir_all(project.join(".quiz/recipes")).unwrap();
    assert_eq!(place.run(0, &project, &["config"]).status, Some(0));
}

#[test]
fn a_checkout_that_is_mounted_into_a_container_gets_the_line_for_a_workflow_file() {
    let Some(place) = Place::new() else { return };
    let project = place.project(USER);
    let ran = place.with(0, &project, ("container", "podman"));
    is_refused(&ran, &project, "/quiz.toml", "");
    ran.says(&[
        "this is a container: a folder of the host",
        &format!("env: {{ QUIZ_TRUST: \"{}\" }}", project.display()),
    ]);
}

#[test]
fn the_environment_trusts_for_one_command_and_quiz_trust_for_good() {
    let Some(place) = Place::new() else { return };
    let project = place.project(COLLEAGUE);
    let name = project.to_str().unwrap();
    for trusted in [name.to_owned(), format!("/x:{name}/"), "*".to_owned(), format!("{name}/.quiz/..")] {
        is_read(&place.with(USER, &project, ("QUIZ_TRUST", &trusted)));
    }
    for trusted in ["", "/x", "/x:/y", &format!("{name}/.quiz")] {
        is_refused(&place.with(USER, &project, ("QUIZ_TRUST", trusted)), &project, "/quiz.toml", "");
    }
    place.with(USER, &project, ("QUIZ_TRUST", "project")).says(&["QUIZ_TRUST=project: a whole path is wanted"]);
    let before = files(&project);
    let ran = place.run(USER, &project, &["trust", "."]);
    assert_eq!((ran.status, ran.out), (Some(0), format!("{name}\n")));
    is_read(&place.run(USER, &project, &["config"]));
    assert_eq!(files(&project), before, "nothing of it is in the project");
    let list = place.path("home/54000/.config/quiz/trusted");
    assert_eq!(fs::metadata(&list).unwrap().permissions().mode() & 0o777, 0o600);
    // For this user alone, and nothing below or above.
    is_refused(&place.run(0, &project, &["config"]), &project, "/quiz.toml", "");
    assert_eq!(place.run(USER, &place.path(""), &["-C", name, "trust", "gone"]).status, Some(2));
    // A list that belongs to somebody else does not count.
    chown(&list, Some(NOBODY), None).unwrap();
    fs::set_permissions(&list, Permissions::from_mode(0o644)).unwrap();
    place.run(USER, &project, &["config"]).says(&["quiz/trusted belongs to ", "HOME or XDG_CONFIG_HOME"]);
}

#[test]
fn a_user_takes_what_root_wrote() {
    let Some(place) = Place::new() else { return };
    let project = place.project(0);
    is_read(&place.run(USER, &project, &["config"]));
    // Files of both users may lie in it.
    fs::remove_file(project.join(".quiz/recipes/t-one/build.sh")).unwrap();
    place.file("project/.quiz/recipes/t-one/build.sh", USER, "true\n");
    is_read(&place.run(USER, &project, &["config"]));
    is_refused(&place.run(0, &project, &["config"]), &project, "/.quiz/recipes/t-one/build.sh", "");
}

#[test]
fn a_checkout_shared_by_a_group() {
    let Some(place) = Place::new() else { return };
    let project = place.project(COLLEAGUE);
    is_refused(&place.run(USER, &project, &["config"]), &project, "/quiz.toml", "uid 54321");
    is_read(&place.run(COLLEAGUE, &project, &["config"]));
    // With a quiz.toml of one's own the recipe is still the colleague's, and then the folder.
    place.file("project/quiz.toml", USER, "");
    is_refused(&place.run(USER, &project, &["config"]), &project, "/.quiz", "uid 54321");
    for path in [".quiz", ".quiz/recipes", ".quiz/recipes/t-one", ".quiz/recipes/t-one/recipe.toml"] {
        chown(project.join(path), Some(USER), None).unwrap();
    }
    is_refused(&place.run(USER, &project, &["config"]), &project, "/.quiz/recipes/t-one/build.sh", "uid 54321");
    chown(project.join(".quiz/recipes/t-one/build.sh"), Some(USER), None).unwrap();
    is_refused(&place.run(USER, &project, &["config"]), &project, "", "uid 54321");
    assert_eq!(place.run(USER, &project, &["trust", "."]).status, Some(0));
    assert_eq!(place.run(USER, &project, &["config"]).status, Some(0));
}

#[test]
fn a_file_above_in_a_folder_for_everybody_decides_nothing() {
    let Some(place) = Place::new() else { return };
    let public = place.folder("public", 0, 0o1777);
    for user in [0, USER] {
        let mine = place.folder(&format!("public/{user}"), user, 0o755);
        let file = place.file("public/quiz.toml", NOBODY, "[kernel]\nversion = \"6.6.6\"\n");
        is_refused(&place.run(user, &mine, &["config"]), &public, "/quiz.toml", "nobody (uid 65534)");
        // Nor does a file of root's, or one of the user's own that somebody else could have linked there.
        for owner in [0, user] {
            chown(&file, Some(owner), None).unwrap();
            let ran = place.run(user, &mine, &["config"]);
            assert_eq!((ran.status, ran.out.as_str()), (Some(2), ""), "{ran:?}");
            ran.says(&[
                "quiz.toml lies above ",
                "in a folder that everybody can write to",
                "touch quiz.toml",
                "quiz trust ",
            ]);
        }
        place.file(&format!("public/{user}/quiz.toml"), user, "[machine]\nmemory = \"77M\"\n");
        is_read(&place.run(user, &mine, &["config"]));
        // A repository of the user nobody is found in the same way.
        fs::remove_file(&file).unwrap();
    }
    place.folder("public/.git", NOBODY, 0o755);
    place.folder("public/.quiz", NOBODY, 0o755);
    place.folder("public/.quiz/profiles", NOBODY, 0o755);
    let below = place.folder("public/below", USER, 0o755);
    is_refused(&place.run(USER, &below, &["config"]), &public, "/.quiz", "nobody");
}

#[test]
fn a_source_above_in_a_folder_for_everybody_is_not_built() {
    let Some(place) = Place::new() else { return };
    let public = place.folder("public", 0, 0o1777);
    for mark in ["Kbuild", "Kconfig", "MAINTAINERS", "init/main.c"] {
        if let Some((folder, _)) = mark.split_once('/') {
            place.folder(&format!("public/{folder}"), NOBODY, 0o755);
        }
        place.file(&format!("public/{mark}"), NOBODY, "");
    }
    for user in [0, USER] {
        let mine = place.folder(&format!("public/{user}"), user, 0o755);
        // Also where the project is the user's own, since sources are looked for above it, too.
        for _ in 0..2 {
            let ran = place.run(user, &mine, &["config"]);
            assert_eq!((ran.status, ran.out.as_str()), (Some(2), ""), "{ran:?}");
            ran.says(&[
                "public/Kbuild lies above ",
                "in a folder that everybody can write to",
                "is not built",
                "quiz trust ",
            ]);
            place.file(&format!("public/{user}/quiz.toml"), user, "[machine]\nmemory = \"77M\"\n");
        }
        // Another source may be named, and who goes there himself means that one.
        is_read(&place.with(user, &mine, ("QUIZ_KERNEL_SOURCE", "url")));
        assert_eq!(place.run(user, &public, &["config"]).status, Some(0));
        let trusting = place.run(user, &mine, &["trust", public.to_str().unwrap()]);
        assert_eq!(trusting.status, Some(0), "{trusting:?}");
        is_read(&place.run(user, &mine, &["config"]));
    }
}

/// A project with a link where quiz writes, and where that leads.
fn linked(place: &str) -> (Project, PathBuf) {
    let project = Project::new();
    let (link, outside) = (project.dir().join(place), project.bin().with_file_name("outside"));
    fs::create_dir_all(link.parent().unwrap()).unwrap();
    fs::create_dir(&outside).unwrap();
    fs::set_permissions(&outside, Permissions::from_mode(0o755)).unwrap();
    std::os::unix::fs::symlink(&outside, link).unwrap();
    (project, outside)
}

#[test]
fn a_clone_does_not_make_quiz_write_through_a_link_that_came_with_it() {
    for place in [".quiz", ".quiz/runs", ".quiz/shared", ".quiz/disks", ".quiz/compile-commands", ".quiz/.gitignore"] {
        let (project, outside) = linked(place);
        let (dir, link) = (project.dir(), project.dir().join(place));
        for (args, status) in
            [(&["graph"][..], 2), (&["build", "agent"], 2), (&["up", "--", "true"], 125), (&["ssh"], 255)]
        {
            let ran = project.run(args);
            assert_eq!((ran.status, ran.out.as_str()), (Some(status), ""), "{place} {args:?}: {ran:?}");
            let line = format!("{} is a link to {}, through which quiz would write", link.display(), outside.display());
            ran.says(&[&line, &format!("rm {}", link.display()), &format!("quiz trust {}", dir.display())]);
        }
        assert_eq!(fs::read_dir(&outside).unwrap().count(), 0, "{place}");
        assert_eq!(fs::metadata(&outside).unwrap().permissions().mode() & 0o777, 0o755, "{place}");
    }
}

#[test]
fn a_link_of_ones_own_is_one_that_is_trusted() {
    let (project, _) = linked(".quiz/shared");
    assert_eq!(project.run(&["graph"]).status, Some(2));
    project.ok(&["trust", "."]);
    project.ok(&["graph"]);
    // Profiles and recipes are only read, but by the one command that writes one.
    let (project, outside) = linked(".quiz/profiles");
    project.ok(&["graph"]);
    project.run(&["profiles", "new", "mine"]).says(&["is a link to", "quiz trust"]);
    assert_eq!(fs::read_dir(&outside).unwrap().count(), 0);
    project.ok(&["trust", "."]);
    project.ok(&["profiles", "new", "mine"]);
    assert!(outside.join("mine/profile.toml").exists());
}
