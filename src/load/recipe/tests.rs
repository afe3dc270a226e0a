//! What a recipe.toml may say, and what is said of one that cannot work.

use super::*;

fn folder(toml: &str) -> LoadedFolder {
    let files = vec![
        ("build.sh".to_owned(), b"true\n".to_vec(), false),
        ("recipe.toml".to_owned(), toml.as_bytes().to_vec(), false),
    ];
    LoadedFolder { name: "demo".into(), path: "/p/recipes/demo".into(), files }
}

fn fails(toml: &str) -> (String, Vec<String>) {
    let error = load(folder(toml)).unwrap_err();
    (error.to_string(), error.hints().to_vec())
}

#[test]
fn a_recipe_reads_back_as_written() {
    let recipe = load(folder(
        "version = 3\nabout = \"x\"\nscript = \"build.sh\"\n[inputs]\nsource = \"kernel-source/tree\"\n\
         image = { from = \"layer:work/tree\", output = \"image\" }\nall = \"$profiles\"\n\
         conf = { from = \"kernel-source/tree\", paths = [\"**/Kconfig*\"] }\n\
         layers = { from = \"$layers\", through = \"layer\" }\n[incremental]\nsync = [\"source\"]\n\
         [options.lines]\ntype = \"list\"\ndefault = []\nsetting = \"kernel.config\"\nabout = \"lines\"\n\
         [outputs]\nout = \"file\"\n[tools]\ngcc = \"gcc\"\n",
    ))
    .unwrap();
    let stage = |stage: &str, output: &str| InputFrom::Stage { stage: stage.into(), output: Some(output.into()) };
    assert_eq!(recipe.inputs["source"].from, stage("kernel-source", "tree"));
    assert_eq!(recipe.inputs["image"].from, stage("layer:work/tree", "image"));
    assert_eq!(recipe.inputs["all"].from, InputFrom::Profiles);
    assert_eq!(recipe.inputs["layers"].through.as_deref(), Some("layer"));
    assert_eq!(recipe.incremental.unwrap().sync, ["source"]);
    assert_eq!(recipe.inputs["conf"].paths, ["**/Kconfig*"]);
    assert_eq!(recipe.options["lines"].setting.as_deref(), Some("kernel.config"));
    assert_eq!(recipe.version, 3);
}

#[test]
fn an_unknown_field_is_placed_and_the_right_one_named() {
    let (message, hints) = fails("version = 1\nabout = \"x\"\nscrpt = \"build.sh\"\n[outputs]\nout = \"file\"\n");
    assert!(message.starts_with("/p/recipes/demo/recipe.toml:3:1: unknown field `scrpt`"), "{message}");
    assert_eq!(hints[0], "did you mean `script`?");
}

#[test]
fn a_wrong_type_is_placed() {
    let (message, _) = fails("version = \"1\"\nabout = \"x\"\nscript = \"build.sh\"\n[outputs]\nout = \"file\"\n");
    assert!(message.starts_with("/p/recipes/demo/recipe.toml:1:11: invalid type: string"), "{message}");
}

#[test]
fn what_cannot_work_is_refused() {
    let head = "version = 1\nabout = \"x\"\n";
    for (toml, wanted) in [
        ("script = \"nope.sh\"\n[outputs]\no = \"file\"\n", "the script /p/recipes/demo/nope.sh does not exist"),
        ("[outputs]\no = \"file\"\n", "needs `script`"),
        ("script = \"build.sh\"\n[outputs]\no = \"file\"\n[source]\nentry = \"x\"\n", "has both `script` and [source]"),
        (
            "script = \"build.sh\"\n[outputs]\no = \"file\"\n[tools]\ngcc = \"gcc\"\n[optional-tools]\ngcc = \"gcc\"\n",
            "the tool `gcc` is in two tables",
        ),
        (
            "script = \"build.sh\"\n[outputs]\no = \"file\"\n[tools]\ngcc = \"gcc\"\ngcc = \"g++\"\n",
            "recipe.toml:8:1: duplicate key",
        ),
        ("script = \"build.sh\"\n[outputs]\n", "without outputs"),
        ("script = \"build.sh\"\n[outputs]\nA = \"file\"\n", "`A` is no name"),
        (
            "script = \"build.sh\"\n[outputs]\no = \"file\"\n[incremental]\nsync = [\"src\"]\n",
            "sync: `src` is no input",
        ),
        (
            "script = \"build.sh\"\n[outputs]\no = \"file\"\n[inputs]\na = { from = \"b/c\", through = \"d\" }\n",
            "`through` is for $modules and $layers",
        ),
        (
            "script = \"build.sh\"\n[outputs]\no = \"file\"\n[only]\nsetting = \"kernel.sorce\"\nis = \"x\"\n",
            "did you mean `kernel.source`?",
        ),
        (
            "script = \"build.sh\"\n[outputs]\no = \"file\"\n[instead]\nwhen = { setting = \"arch\", is = \"x\" }\noutputs = { a = \"b\" }\n",
            "[instead]: this recipe has no output `a`",
        ),
        (
            "script = \"build.sh\"\n[outputs]\no = \"file\"\n[options.n]\ntype=\"int\"\ndefault=\"x\"\nabout=\"\"\n",
            "option `n`: its default is not of its type",
        ),
        (
            "script = \"build.sh\"\n[outputs]\no = \"file\"\n[options.n]\ntype=\"list\"\ndefault=[]\nabout=\"\"\n\
             setting = \"kernel.confg\"\n",
            "did you mean `kernel.config`?",
        ),
    ] {
        let (message, hints) = fails(&format!("{head}{toml}"));
        assert!(message.contains(wanted) || hints.iter().any(|hint| hint == wanted), "{message} {hints:?}");
        assert!(message.starts_with("/p/recipes/demo/recipe.toml:"), "{message}");
    }
}
