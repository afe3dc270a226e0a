//! Folders of the host that a guest cannot have: told before anything is built.

use crate::project::{Project, Ran};

fn refused(project: &Project, args: &[&str]) -> Ran {
    let ran = project.run(&[&["up"], args, &["--", "true"]].concat());
    assert_eq!(ran.status, Some(125), "{ran:?}");
    assert_eq!(ran.count("Making"), 0, "{ran:?}");
    ran
}

#[test]
fn what_cannot_be_shared_is_named_with_what_to_type() {
    let project = Project::new();
    let dir = project.dir().canonicalize().unwrap();
    project.write("tree/file", "");
    for name in ["a", "b", "c", "d", "e", "tree/sub"] {
        std::fs::create_dir_all(dir.join(name)).unwrap();
    }
    refused(&project, &["--share", "gone:ro"]).says(&["--share gone:ro: no such folder"]);
    let file = refused(&project, &["--share", "tree/file"]);
    file.says(&[&format!("{}/tree/file is no folder", dir.display()), &format!("--share {}/tree:ro", dir.display())]);
    refused(&project, &["--share", "tree", "--share", "tree/sub:ro"]).says(&["one share cannot lie in another"]);
    refused(&project, &["--share", "/usr"]).says(&["the guest has its own /usr/bin there"]);
    let five = ["a", "b", "c", "d", "e"].map(|name| ["--share", name]).concat();
    refused(&project, &five).says(&["5 shares are too many: a machine has room for 4"]);
    refused(&project, &["--cwd", "tree"]).says(&["--cwd tree: the guest does not see", "--share ."]);
    refused(&project, &["--cwd", "gone"]).says(&["--cwd gone: no such folder"]);
}

#[test]
fn a_profile_shares_nothing_but_what_is_in_the_project() {
    let project = Project::new();
    std::os::unix::fs::symlink("/usr/local", project.dir().join("link")).unwrap();
    for (path, says) in [
        ("/usr/local", "the profile mine shares \"/usr/local\", which is not below the project's folder"),
        ("a/../..", "which is not below the project's folder"),
        ("link", "the profile mine shares \"link\", which leads out of the project's folder"),
        ("gone", "the profile mine shares \"gone\": no such folder"),
    ] {
        let device = format!("[[devices]]\ntype = \"share\"\npath = \"{path}\"\nmode = \"ro\"\n");
        project.write(".quiz/profiles/mine/profile.toml", &format!("about = \"x\"\n{device}"));
        refused(&project, &["-p", "mine"]).says(&[says]);
    }
    let text = "about = \"x\"\n[[devices]]\ntype = \"share\"\npath = \".git/hooks\"\nmode = \"rw\"\n";
    project.write(".quiz/profiles/mine/profile.toml", text);
    refused(&project, &["-p", "mine"]).says(&["the profile mine shares \".git/hooks\" for writing", "--share DIR"]);
    let text = "about = \"x\"\n[[devices]]\ntype = \"share\"\npath = \"x\"\nmode = \"sometimes\"\n";
    project.write(".quiz/profiles/mine/profile.toml", text);
    refused(&project, &["-p", "mine"]).says(&["profile.toml:", "sometimes"]);
}

#[test]
fn a_guest_has_the_processors_that_its_profiles_need() {
    let project = Project::new();
    project.write(".quiz/profiles/mine/profile.toml", "about = \"x\"\ncpus = 4\nnuma = 2\nmemory = 100\n");
    let ran = refused(&project, &["-p", "mine", "--cpus", "2"]);
    ran.says(&["machine.cpus = 2: the profile mine needs 4", "--cpus 4"]);
    let ran = refused(&project, &["-p", "mine", "-m", "100M"]);
    ran.says(&["a profile asks for 2 NUMA nodes: 100M are too little for that"]);
}
