//! What the layers, the names and the messages promise.

use super::*;

fn load(user: &str, project: &str, flags: &[FlagValue]) -> Result<Settings> {
    let dir = tempfile::tempdir().unwrap();
    let (u, p) = (dir.path().join("user.toml"), dir.path().join("quiz.toml"));
    std::fs::write(&u, user).unwrap();
    std::fs::write(&p, project).unwrap();
    Settings::load(&u, &p, Vec::new(), flags, BTreeMap::new())
}

fn text(value: &str) -> Value {
    Value::Text(value.to_owned())
}

#[test]
fn the_project_beats_the_user_and_the_flag_beats_both() {
    let user = "[kernel]\nversion = \"6.1\"\n[machine]\nmemory = \"2G\"\n";
    let project = "\n[kernel]\nversion = \"6.12\"\n";
    let settings = load(user, project, &[]).unwrap();
    assert_eq!(settings.text("kernel.version"), "6.12");
    assert!(
        matches!(&settings.get("kernel.version").unwrap().origin, Origin::File { line: 3, path } if path.ends_with("quiz.toml"))
    );
    assert_eq!(settings.text("machine.memory"), "2G");
    let flag = FlagValue { key: "kernel.version", value: text("6.1.170"), flag: "--kernel" };
    let settings = load(user, project, &[flag]).unwrap();
    assert_eq!(settings.get("kernel.version").unwrap().value, text("6.1.170"));
    assert_eq!(settings.get("kernel.version").unwrap().origin, Origin::Flag("--kernel".into()));
}

#[test]
fn a_kernel_may_be_the_distributions_own_and_the_command_to_run_again_says_so() {
    let of = |typed: &str| {
        let flag = FlagValue { key: "kernel.version", value: text(typed), flag: "--kernel" };
        let settings = load("[kernel]\nsource = \"git\"\n", "", &[flag]).unwrap();
        assert_eq!(settings.flags().collect::<Vec<_>>(), [format!("--kernel={typed}")]);
        (settings.text("kernel.version").to_owned(), settings.text("kernel.source").to_owned())
    };
    assert_eq!(of("package"), ("default".to_owned(), "package".to_owned()));
    assert_eq!(of("6.12@package"), ("6.12".to_owned(), "package".to_owned()));
    for other in ["6.12", "@package", "mypackage", "v6.12@{1}"] {
        assert_eq!(of(other), (other.to_owned(), "git".to_owned()));
    }
}

#[test]
fn files_replace_lists_and_flags_add_to_them() {
    let list = |items: &[&str]| Value::List(items.iter().map(|&i| i.to_owned()).collect());
    let user = "[rootfs]\npackages = [\"vim\"]\n";
    let project = "[rootfs]\npackages = [\"gdb\"]\n";
    let flag = FlagValue { key: "rootfs.packages", value: list(&["fio"]), flag: "--package" };
    let settings = load(user, project, &[flag]).unwrap();
    assert_eq!(settings.get("rootfs.packages").unwrap().value, list(&["gdb", "fio"]));
}

#[test]
fn a_wrong_name_is_placed_and_the_right_one_named() {
    let error = load("", "[kernel]\nversoin = \"6.1\"\n", &[]).unwrap_err();
    assert!(error.to_string().ends_with("quiz.toml:2:1: there is no setting `kernel.versoin`"), "{error}");
    assert_eq!(error.hints(), ["did you mean `kernel.version`?"]);
    let error = load("", "[kernal]\nversion = \"6.1\"\n", &[]).unwrap_err();
    assert_eq!(error.hints(), ["did you mean `kernel`?"]);
}

#[test]
fn a_wrong_type_is_placed_and_both_types_named() {
    for (project, wanted) in [
        ("[kernel]\nversion = 6.1\n", "quiz.toml:2:11: `kernel.version` has to be a text in quotes, not float"),
        ("[machine]\ncpus = -1\n", "quiz.toml:2:8: `machine.cpus` has to be a number that is not negative, not -1"),
        ("kernel = \"6.1\"\n", "quiz.toml:1:10: `kernel` is a table: write [kernel]"),
        ("[rootfs]\npackages = [1]\n", "quiz.toml:2:13: `rootfs.packages` has to be a list of texts"),
    ] {
        let error = load("", project, &[]).unwrap_err();
        assert!(error.to_string().contains(wanted), "{error}");
    }
    let quoted = load("", "[machine]\ncpus = \"4\"\n", &[]).unwrap_err();
    assert_eq!(quoted.hints(), ["without quotes: 4"]);
    let error = load("", "[kernel\n", &[]).unwrap_err();
    assert!(error.to_string().contains("quiz.toml:1:"), "{error}");
}

#[test]
fn variables_are_read_by_name_and_type() {
    let types = types(BTreeMap::new());
    let set = |name: &str, value: &str| variables::read(vec![(name.into(), value.into())], &types);
    assert_eq!(set("QUIZ_KERNEL_VERSION", "6.1").unwrap()[0].1.value, text("6.1"));
    assert_eq!(set("QUIZ_MACHINE_CPUS", "4").unwrap()[0].1.value, Value::Number(4));
    let lines = Value::List(vec!["CONFIG_LSM=\"a b\"".into(), "CONFIG_B=y".into()]);
    assert_eq!(set("QUIZ_KERNEL_CONFIG", "CONFIG_LSM=\"a b\"\nCONFIG_B=y\n").unwrap()[0].1.value, lines);
    assert!(set("QUIZ_MACHINE_CPUS", "many").unwrap_err().to_string().contains("QUIZ_MACHINE_CPUS=many"));
    let error = set("QUIZ_KERNEL_VERSON", "6.1").unwrap_err();
    assert_eq!(error.hints(), ["did you mean QUIZ_KERNEL_VERSION?"]);
    assert!(set("QUIZ_CACHE_DIR", "/x").unwrap().is_empty());
    assert!(set("OTHER", "x").unwrap().is_empty());
}
