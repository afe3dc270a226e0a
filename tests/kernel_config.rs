//! `quiz kernel config`: what is saved of an edit, and two configs side by side; with a source whose Makefile does in some lines what Kconfig does.

use crate::kconfig::furnish;
use crate::project::{Project, Ran};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};
use std::io::{Read, Write};
use std::process::{Child, Stdio};

const MAKEFILE: &str = "\
export O KCONFIG_ALLCONFIG
allnoconfig olddefconfig savedefconfig menuconfig:
\t@sh scripts/conf.sh $@
";

/// FRUIT selects SEED, which `savedefconfig` therefore leaves out; DEEP depends on LAKE; nobody has OTHER. The menu asks for a line.
const CONF: &str = r##"
resolved() {
    awk '
        /^CONFIG_[A-Za-z0-9_]+=/ { name = $0; sub(/=.*/, "", name); sub(/^[^=]*=/, ""); value[name] = $0 }
        /^# CONFIG_[A-Za-z0-9_]+ is not set$/ { value[$2] = "n" }
        END {
            delete value["CONFIG_SEED"]; delete value["CONFIG_OTHER"]
            if (value["CONFIG_FRUIT"] == "y") value["CONFIG_SEED"] = "y"
            if (value["CONFIG_LAKE"] != "y") delete value["CONFIG_DEEP"]
            for (name in value) if (value[name] == "n") print "# " name " is not set"; else if (value[name] != "") print name "=" value[name]
        }' "$1" | sort
}
case $1 in
allnoconfig) resolved "$KCONFIG_ALLCONFIG" >"$O/.config" ;;
olddefconfig) resolved "$O/.config" >"$O/new" && mv "$O/new" "$O/.config" ;;
savedefconfig) grep -v -e SEED -e 'is not set' "$O/.config" >"$O/defconfig" ;;
menuconfig)
    [ -t 0 ] && [ -t 1 ] || exit 1
    echo "the menu of $(tty </dev/tty >/dev/null && echo a terminal) $TERM"
    while read -r line; do [ "$line" != end ] || break; echo "$line" >>"$O/.config"; done
    ;;
esac
"##;

const KCONFIG: &str = "config FRUIT\n\tbool \"x\"\n\tselect SEED\n\nconfig SEED\n\tbool\n\nconfig LAKE\n\tbool \"x\"\n\n\
                       config DEEP\n\tbool \"x\"\n\tdepends on LAKE\n\nconfig COUNT\n\tint \"x\"\n";

const SETTINGS: &str = "# mine\n[kernel] # its\nsource = \"./linux\"\nconfig = [\n    # why\n    \"COUNT=7\", # seven\n    \"LAKE=y\",\n]\n\n\
                        [machine]\ncpus = 3 # all\n";

fn project() -> Project {
    let project = Project::new();
    furnish(&project, MAKEFILE, "");
    let kconfig = std::fs::read_to_string(project.dir().join("linux/Kconfig")).unwrap();
    project.write("linux/Kconfig", &format!("{kconfig}{KCONFIG}"));
    project.write("linux/scripts/conf.sh", CONF);
    project.write("quiz.toml", SETTINGS);
    project
}

fn settings(project: &Project) -> String {
    std::fs::read_to_string(project.dir().join("quiz.toml")).unwrap()
}

fn one(symbol: &str, old: Value, new: Value) -> Value {
    json!({ "symbol": symbol, "old": old, "new": new })
}

#[test]
fn what_was_changed_is_saved_what_follows_is_not_and_the_file_stays_as_it_was_written() {
    let project = project();
    let edit = ["--json", "kernel", "config", "--set", "FRUIT=y", "--set", "CONFIG_COUNT=8"];
    let dry: Value = serde_json::from_str(&project.ok(&[&edit[..], &["--dry-run"]].concat()).out).unwrap();
    assert_eq!((&dry["saved"], settings(&project).as_str()), (&Value::Null, SETTINGS));
    let told: Value = serde_json::from_str(&project.ok(&edit).out).unwrap();
    crate::schema::hold("kernel-config", &told);
    let changed = [
        one("COUNT", json!("7"), json!("8")),
        one("FRUIT", Value::Null, json!("y")),
        one("SEED", Value::Null, json!("y")),
    ];
    assert_eq!((&told["changed"], &dry["changed"]), (&json!(changed), &json!(changed)));
    assert_eq!(told["lines"], json!(["CONFIG_COUNT=8", "CONFIG_FRUIT=y"]));
    assert_eq!(told["saved"], json!(project.dir().join("quiz.toml")));
    let wanted = SETTINGS
        .replace("\"COUNT=7\"", "\"CONFIG_COUNT=8\"")
        .replace("    \"LAKE=y\",\n", "    \"LAKE=y\",\n    \"CONFIG_FRUIT=y\",\n");
    assert_eq!(settings(&project), wanted);
    // What is saved is what was resolved.
    let built = project.ok(&["build", "kernel-config"]);
    assert_eq!(built.count("Making"), 0, "{built:?}");
    let again = project.ok(&["kernel", "config", "--set", "FRUIT=y"]);
    assert_eq!((again.out.as_str(), settings(&project)), ("Nothing changed.\n", wanted));
}

#[test]
fn what_goes_with_what_it_depends_on_is_shown_and_not_saved() {
    let project = project();
    project.write("quiz.toml", &SETTINGS.replace("\"LAKE=y\"", "\"LAKE=y\", \"FRUIT=y\""));
    let out = project.ok(&["kernel", "config", "--set", "FRUIT=n"]).out;
    assert!(out.contains("FRUIT  y -> n\n") && out.contains("SEED   y -> -\n"), "{out}");
    assert!(out.contains("kernel.config:\n  CONFIG_FRUIT=n\nNext: "), "{out}");
    assert!(settings(&project).contains("\"LAKE=y\", \"CONFIG_FRUIT=n\""), "{}", settings(&project));
}

#[test]
fn what_cannot_be_had_is_told_and_nothing_is_saved() {
    let project = project();
    for (line, status, words) in [
        ("NO", 2, "`NO` is no line of kernel config"),
        ("A B=y", 2, "is no line of kernel config"),
        ("OTHER=y", 1, "CONFIG_OTHER is not a symbol of this kernel"),
    ] {
        let ran = project.run(&["kernel", "config", "--set", line]);
        assert_eq!(ran.status, Some(status), "{ran:?}");
        ran.says(&[words]);
    }
    let menu = project.run(&["kernel", "config"]);
    assert_eq!(menu.status, Some(2), "{menu:?}");
    menu.says(&["needs a terminal", "--set"]);
    project.run(&["build", "kernel-menuconfig"]).says(&["the menu needs a terminal: quiz kernel config"]);
    let flag = project.run(&["--config", "LAKE=n", "kernel", "config", "--set", "FRUIT=y"]);
    assert_eq!(flag.status, Some(2), "{flag:?}");
    flag.says(&["kernel.config is set by --config"]);
    let package = project.run(&["-k", "package", "kernel", "config", "--set", "FRUIT=y"]);
    assert_eq!(package.status, Some(2), "{package:?}");
    package.says(&["the distribution compiled this kernel"]);
    assert_eq!(settings(&project), SETTINGS);
}

#[test]
fn lines_of_the_users_own_file_stay_when_the_project_begins_to_have_some() {
    let project = project();
    project.write("quiz.toml", "[kernel]\nsource = \"./linux\"\n");
    project.write("../home/.config/quiz/quiz.toml", "[toolchain]\nsuite = \"host\"\n[kernel]\nconfig = [\"LAKE=y\"]\n");
    project.ok(&["kernel", "config", "--set", "DEEP=y"]);
    assert_eq!(settings(&project), "[kernel]\nsource = \"./linux\"\nconfig = [\"LAKE=y\", \"CONFIG_DEEP=y\"]\n");
}

/// What is typed comes to the menu, which has a terminal of its own, and the terminal is as it was.
#[test]
fn the_menu_is_on_the_terminal_and_what_it_leaves_is_saved() {
    let project = project();
    let mut child = menu(&project);
    let mut keyboard = child.stdin.take().unwrap();
    keyboard.write_all(b"CONFIG_DEEP=y\r\nCONFIG_FRUIT=y\r\nend\r\n").unwrap();
    let ran = Ran::from(child.wait_with_output().unwrap());
    drop(keyboard);
    assert!(ran.out.contains("the menu of a terminal vt220"), "{}", ran.out);
    assert!(ran.out.contains("DEEP   - -> y") && ran.out.contains("SEED   - -> y"), "{}", ran.out);
    let wanted =
        SETTINGS.replace("    \"LAKE=y\",\n", "    \"LAKE=y\",\n    \"CONFIG_DEEP=y\",\n    \"CONFIG_FRUIT=y\",\n");
    assert_eq!(settings(&project), wanted);
    assert_eq!(terminal_as_before(&project), "0");
}

#[test]
fn a_signal_ends_the_menu_and_gives_the_terminal_back() {
    let project = project();
    let mut child = menu(&project);
    let keyboard = child.stdin.take().unwrap();
    let (mut screen, mut shown, mut bytes) = (child.stdout.take().unwrap(), String::new(), [0; 4096]);
    while !shown.contains("the menu of a terminal") {
        let count = screen.read(&mut bytes).unwrap();
        assert!(count > 0, "{shown}");
        shown += &String::from_utf8_lossy(&bytes[..count]);
    }
    let pid = std::fs::read_to_string(project.dir().join("pid")).unwrap().trim().parse().unwrap();
    kill_process(Pid::from_raw(pid).unwrap(), Signal::TERM).unwrap();
    screen.read_to_string(&mut shown).unwrap();
    child.wait().unwrap();
    drop(keyboard);
    assert_eq!(terminal_as_before(&project), "143");
    assert!(shown.contains("\x1b[?1049l\x1b[?25h"), "the screen is still the menu's: {shown:?}");
    assert_eq!(settings(&project), SETTINGS);
}

/// The menu on a terminal whose keyboard is the child's stdin. Files say the process of quiz, its status, and how the terminal was before and
/// after.
fn menu(project: &Project) -> Child {
    project.ok(&["build", "kernel-config"]);
    let line = format!(
        "stty -a >before; sh -c 'echo $$ >pid; exec \"$0\" --color=never kernel config' '{}'; echo $? >status; stty -a >after",
        env!("CARGO_BIN_EXE_quiz")
    );
    project.on_terminal(&line).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap()
}

/// The status of quiz, once the terminal is seen to be as it was.
fn terminal_as_before(project: &Project) -> String {
    let file = |name| std::fs::read_to_string(project.dir().join(name)).unwrap();
    let [before, after, status] = ["before", "after", "status"].map(file);
    assert!(!before.is_empty() && before == after, "{before}\n{after}");
    status.trim().to_owned()
}

#[test]
fn two_configs_are_compared_by_symbol() {
    let project = project();
    project.write("a.config", "CONFIG_B=y\n# CONFIG_C is not set\nCONFIG_A=\"x\"\nCONFIG_SAME=y\n");
    project.write("b.config", "CONFIG_SAME=y\nCONFIG_B=m\nCONFIG_A=\"\u{1b}[2J\"\nCONFIG_NEW=1\n");
    let diff = ["kernel", "config", "--diff", "a.config", "b.config"];
    let text = project.ok(&diff).out;
    assert_eq!(text, "A    \"x\" -> \"␛[2J\"\nB    y   -> m\nNEW  -   -> 1\n");
    let told: Value = serde_json::from_str(&project.ok(&[&["--json"], &diff[..]].concat()).out).unwrap();
    crate::schema::hold("kernel-config-diff", &told);
    assert_eq!(told[1], one("B", json!("y"), json!("m")));
    assert_eq!(told[2], one("NEW", Value::Null, json!("1")));
    assert_eq!(project.ok(&["kernel", "config", "--diff", "a.config", "./a.config"]).out, "");
    // A kernel's is the one that is resolved for it.
    let kernel = project.ok(&["kernel", "config", "--diff", "6.1", "a.config"]).out;
    assert!(kernel.contains("COUNT "), "{kernel}");
    project.run(&["kernel", "config", "--diff", "a.config", "./no.config"]).says(&["cannot read", "no.config"]);
    project.write("empty", "int main(void);\n");
    project
        .run(&["kernel", "config", "--diff", "a.config", "empty"])
        .says(&["there is no line of kernel config in it"]);
}
