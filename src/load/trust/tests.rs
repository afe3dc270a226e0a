//! Whose files may decide for whom. The files here belong to the user who runs the tests, so the tests vary who asks.

use super::*;
use std::os::unix::fs::{PermissionsExt, symlink};

/// A user who is neither the caller nor root.
const OTHER: u32 = 54_321;

fn own() -> u32 {
    rustix::process::geteuid().as_raw()
}

fn project(files: &[&str]) -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    for file in files {
        let path = dir.path().join(file);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, "").unwrap();
    }
    dir
}

#[test]
fn one_takes_from_oneself_from_root_and_root_from_who_called_sudo() {
    let me = |uid, sudo| Me { uid, sudo };
    assert!(me(1000, None).takes_from(1000) && me(1000, None).takes_from(0));
    assert!(
        !me(1000, None).takes_from(1001) && !me(1000, Some(1001)).takes_from(1001),
        "only root can have called sudo"
    );
    assert!(me(0, Some(1000)).takes_from(1000) && !me(0, Some(1000)).takes_from(1001));
    assert!(!me(0, None).takes_from(1000));
}

#[test]
fn each_file_that_decides_is_looked_at() {
    let stranger = Me { uid: OTHER, sudo: None };
    for file in ["quiz.toml", "quiz.lock", ".quiz/recipes/a/b/c", ".quiz/profiles/a/init"] {
        let dir = project(&[file]);
        assert_eq!(doubt(dir.path(), dir.path(), Me { uid: own(), sudo: None }).unwrap(), None);
        if own() != 0 {
            let found = doubt(dir.path(), dir.path(), stranger).unwrap();
            assert!(
                matches!(found, Some(Doubt::Owner(path, uid)) if path.starts_with(dir.path()) && uid == own()),
                "{file}"
            );
        }
    }
    // What decides nothing may be anybody's: a source tree, the folder of its runs.
    let dir = project(&["Kbuild", ".quiz/runs/1/console.log"]);
    assert_eq!(doubt(dir.path(), dir.path(), stranger).unwrap(), None);
}

#[test]
fn a_link_leads_to_whose_file_it_is() {
    let dir = project(&["there/quiz.toml"]);
    symlink("there/quiz.toml", dir.path().join("quiz.toml")).unwrap();
    assert_eq!(doubt(dir.path(), dir.path(), Me { uid: own(), sudo: None }).unwrap(), None);
    fs::create_dir_all(dir.path().join(".quiz/recipes")).unwrap();
    for (link, to) in [("self", "."), ("gone", "no-such-file")] {
        symlink(to, dir.path().join(".quiz/recipes").join(link)).unwrap();
    }
    assert_eq!(doubt(dir.path(), dir.path(), Me { uid: own(), sudo: None }).unwrap(), None, "and it ends");
}

#[test]
fn what_lies_above_in_a_public_folder_does_not_decide() {
    let dir = project(&["quiz.toml", "sub/x"]);
    let me = Me { uid: own(), sudo: None };
    let found = |mode: u32, start: &str| {
        fs::set_permissions(dir.path(), fs::Permissions::from_mode(mode)).unwrap();
        doubt(dir.path(), &dir.path().join(start), me).unwrap()
    };
    assert_eq!(found(0o1777, "sub"), Some(Doubt::Place(dir.path().join("quiz.toml"))));
    assert_eq!(found(0o755, "sub"), None);
    assert_eq!(found(0o777, "sub"), None, "as all folders of some file systems are");
    fs::set_permissions(dir.path(), fs::Permissions::from_mode(0o1777)).unwrap();
    assert_eq!(doubt(dir.path(), dir.path(), me).unwrap(), None, "who is there sees it");
}

#[test]
fn the_list_of_trusted_folders_grows_by_lines_and_says_what_is_wrong() {
    let dir = project(&["a b/x", "c/x"]);
    let config = dir.path().join("config/quiz");
    assert_eq!(trusted(&config).unwrap(), Vec::<PathBuf>::new());
    trust(&dir.path().join("a b"), &config).unwrap();
    trust(&dir.path().join("c/../a b"), &config).unwrap();
    let real = fs::canonicalize(dir.path()).unwrap();
    assert_eq!(trusted(&config).unwrap(), [real.join("a b")]);
    assert!(is_trusted(&dir.path().join("a b"), &config).unwrap() && !is_trusted(dir.path(), &config).unwrap());
    // The list as an editor may leave it: with a comment, an empty line, and no line feed at its end.
    let list = config.join("trusted");
    fs::write(&list, format!("# mine\n\n{}", real.join("a b").display())).unwrap();
    trust(&dir.path().join("c"), &config).unwrap();
    assert_eq!(trusted(&config).unwrap(), [real.join("a b"), real.join("c")]);
    for (folder, wanted) in [("c/x", "is no folder"), ("gone", "cannot be trusted")] {
        let error = trust(&dir.path().join(folder), &config).unwrap_err();
        assert!(error.to_string().contains(wanted), "{error}");
    }
    fs::write(&list, "/x\nrelative\n").unwrap();
    let error = trusted(&config).unwrap_err();
    assert!(error.to_string().ends_with("config/quiz/trusted:2: `relative` is no whole path"), "{error}");
}

#[test]
fn the_error_names_who_and_what_to_type() {
    let me = Me { uid: OTHER, sudo: None };
    let owner = Doubt::Owner("/x y/quiz.toml".into(), 0);
    let error = refusal(&owner, Path::new("/x y"), Path::new("/x y"), me);
    let wanted = format!(
        "/x y/quiz.toml belongs to root (uid 0), and quiz runs as uid {OTHER}: nothing of this project is read"
    );
    assert_eq!(error.to_string(), wanted);
    assert_eq!(error.hints()[..2], ["if you trust it: quiz trust '/x y'", "for one command: QUIZ_TRUST='/x y' quiz …"]);
    let error = refusal(&Doubt::Place("/tmp/quiz.toml".into()), Path::new("/tmp"), Path::new("/tmp/a"), me);
    assert!(error.to_string().starts_with("/tmp/quiz.toml lies above /tmp/a, in a folder that everybody"), "{error}");
}

#[test]
fn quiz_writes_through_no_link_wherever_it_lies_and_leads() {
    for place in [
        "quiz.lock",
        ".quiz",
        ".quiz/runs",
        ".quiz/shared",
        ".quiz/disks",
        ".quiz/.gitignore",
        ".quiz/compile_commands.json",
        ".quiz/runs/lock",
        ".quiz/runs/7",
        ".quiz/disks/q0.raw",
        ".quiz/compile-commands/kernel.digest",
    ] {
        for to in ["/etc", "no-such-file", "../src"] {
            let dir = project(&["src/x"]);
            let link = dir.path().join(place);
            fs::create_dir_all(link.parent().unwrap()).unwrap();
            symlink(to, &link).unwrap();
            assert_eq!(written_link(dir.path()).unwrap(), Some(Doubt::Link(link, to.into())), "{place}");
        }
    }
    // What is only read may be shared by links, and what a guest put into a folder that it shares is not followed by quiz.
    let dir = project(&[".quiz/runs/1/out/x", ".quiz/shared/x", "recipes/a/b"]);
    for place in [".quiz/recipes", ".quiz/profiles", ".quiz/shared/link", ".quiz/runs/1/out/link", "quiz.toml"] {
        symlink("/etc", dir.path().join(place)).unwrap();
    }
    assert_eq!(written_link(dir.path()).unwrap(), None);
    assert_eq!(written_link(&dir.path().join("quiz.lock")).unwrap(), None, "nothing is there");
}
