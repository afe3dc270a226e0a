//! `quiz cache export` and `import`: what was made here is a hit elsewhere, and what is no result of this machine stays here.

use crate::project::Project;

const OUT: &str = "[outputs]\nout = \"file\"\n";

/// A stage that reads another one.
fn project() -> Project {
    let project = Project::new();
    project.recipe("t-in", OUT, "echo in >/quiz/out/out\n");
    project.recipe("t-out", &format!("[inputs]\nin = \"t-in\"\n{OUT}"), "cat /quiz/in/in /quiz/in/in >/quiz/out/out\n");
    project
}

#[test]
fn what_was_exported_is_a_hit_elsewhere_and_what_it_was_made_of_is_known_there() {
    let (here, there) = (project(), project());
    let file = here.dir().join("pack");
    let name = file.to_str().unwrap();
    let exported = here.ok(&["cache", "export", name, "t-out"]);
    assert!(exported.out.starts_with(&format!("{name}: ")), "{exported:?}");
    let again = here.run(&["cache", "export", name, "t-out"]);
    assert_eq!(again.status, Some(2), "{again:?}");
    again.says(&["is there already"]);

    assert_eq!(there.ok(&["cache", "import", name]).out, "t-out\n");
    let built = there.ok(&["build", "t-out"]);
    assert_eq!((built.count("Making"), built.count("Made")), (0, 0), "{built:?}");
    assert_eq!(std::fs::read(there.built("t-out")).unwrap(), b"in\nin\n");
    // Its input is known, and made when somebody wants it.
    let input = there.ok(&["build", "t-in"]);
    assert_eq!(input.count("Made t-in"), 1, "{input:?}");
    let json: serde_json::Value = serde_json::from_str(&there.ok(&["--json", "cache", "import", name]).out).unwrap();
    assert_eq!(json, serde_json::json!({ "taken": [], "known": 2 }));
}

/// Which files a tree has is not in its record, so the key of who reads a part of it can be told when it is made again, and not before.
#[test]
fn what_reads_a_part_of_a_tree_that_did_not_come_along_is_a_hit_when_that_is_made() {
    let project = || {
        let project = Project::new();
        project.recipe(
            "t-tree",
            "[outputs]\ntree = \"tree\"\n",
            "mkdir /quiz/out/tree; cd /quiz/out/tree; echo a >a; echo b >b\n",
        );
        for (name, part) in [("t-part", "a"), ("t-other", "b")] {
            let tables = format!("[inputs]\nin = {{ from = \"t-tree/tree\", paths = [\"{part}\"] }}\n{OUT}");
            project.recipe(name, &tables, "cat /quiz/in/in/? >/quiz/out/out\n");
        }
        project
    };
    let (here, there) = (project(), project());
    let file = here.dir().join("pack");
    let name = file.to_str().unwrap();
    here.ok(&["cache", "export", name, "t-part"]);
    there.ok(&["cache", "import", name]);
    let graph = there.ok(&["graph"]).out;
    let line = |stage: &str| graph.lines().find(|line| line.contains(stage)).unwrap().to_owned();
    for stage in ["t-part", "t-other"] {
        assert!(line(stage).contains("unknown") && line(stage).contains("needs t-tree"), "{graph}");
    }
    there.ok(&["why", "t-part"]);
    let built = there.ok(&["build", "t-part", "t-other"]);
    let made = |stage: &str| built.count(&format!("Made {stage} in"));
    assert_eq!(["t-tree", "t-part", "t-other"].map(made), [1, 0, 1], "{built:?}");
    assert_eq!(std::fs::read(there.built("t-part")).unwrap(), b"a\n");
    assert_eq!(there.ok(&["build", "t-part", "t-other"]).count("Making"), 0);
}

#[test]
fn what_cannot_be_taken_in_is_named_and_what_is_edited_stays_here() {
    let project = project();
    let broken = project.write("broken", "no pack");
    let ran = project.run(&["cache", "import", broken.to_str().unwrap()]);
    assert_eq!(ran.status, Some(2), "{ran:?}");
    ran.says(&["broken: not taken in", "this is no pack of results"]);
    project.run(&["cache", "import", "nowhere"]).says(&["cannot read nowhere"]);
    let to = project.dir().join("no/such/folder");
    let ran = project.run(&["cache", "export", to.to_str().unwrap(), "t-out"]);
    assert_eq!(ran.status, Some(2), "{ran:?}");
    ran.says(&["cannot write"]);

    let source = "version = 1\nabout = \"a test\"\n[options.origin]\ntype = \"string\"\ndefault = \"\"\nabout = \"x\"\n\
                  [outputs]\ntree = \"tree\"\n[source]\nentry = \"t\"\n[source.dir]\nmarks = [\"MARK\"]\n";
    project.write(".quiz/recipes/t-source/recipe.toml", source);
    project.write("MARK", "");
    let tables = format!("[inputs]\nsource = \"t-source\"\n{OUT}[incremental]\nsync = [\"source\"]\ninto = \"tree\"\n");
    project.recipe("t-edited", &tables, "cat tree/MARK >/quiz/out/out\n");
    project.ok(&["build", "t-edited"]);
    project.write("MARK", "another");
    for stage in ["t-edited", "t-source"] {
        let ran = project.run(&["cache", "export", "pack", stage]);
        assert_eq!(ran.status, Some(2), "{ran:?}");
        ran.says(&["it stays on this machine"]);
    }
    project.ok(&["build", "--fresh", "t-edited"]);
    project.ok(&["cache", "export", "pack", "t-edited"]);
}

/// What runs outside of a sandbox would be whatever a pack says that it is.
#[test]
fn no_pack_brings_what_runs_on_this_machine() {
    let keys = || {
        let project = project();
        let sum = "a".repeat(64);
        let pin = format!(
            "version = 1\n[[pin]]\nentry = \"drgn\"\nwanted = \"wheel default for cp311 x86_64\"\n\
             is.url = {{ version = \"0.3.0\", url = \"https://example.org/x.whl\", sha256 = \"{sum}\" }}\n"
        );
        std::fs::write(project.dir().with_file_name("home").join(".config/quiz/quiz.lock"), pin).unwrap();
        // Nor is it written, or fetched to be refused.
        let ran = project.run(&["--offline", "cache", "export", "pack", "drgn-wheel"]);
        assert_eq!(ran.status, Some(2), "{ran:?}");
        ran.says(&["drgn-wheel runs outside of a sandbox"]);
        let graph: serde_json::Value = serde_json::from_str(&project.ok(&["-v", "--json", "graph"]).out).unwrap();
        let key = |name: &str| {
            let stage = graph.as_array().unwrap().iter().find(|stage| stage["stage"] == name).unwrap();
            stage["key"].as_str().unwrap_or_else(|| panic!("{stage}")).to_owned()
        };
        (key("t-in"), key("drgn-wheel"))
    };
    let (one, other) = (keys(), keys());
    assert_eq!(one.0, other.0, "all else is the same everywhere");
    assert_ne!(one.1, other.1);
}
