//! What the stage kernel-config says of what was asked of Kconfig and of what came out: its script check.pl on small trees.

use crate::project::Project;
use std::fs;
use std::path::Path;
use std::process::Command;

const KCONFIG: &str = "\
config NET
	bool \"net\"

config LAZY
	bool \"lazy\"

config DEEP
	bool \"deep\"
	depends on NET

config COUNT
	int \"count\"

config DERIVED
	bool
";

/// How a check ended, and all that it said.
struct Checked {
    ok: bool,
    text: String,
}

impl Checked {
    #[track_caller]
    fn says(&self, words: &str) -> &Self {
        assert!(self.text.contains(words), "{words:?} in {}", self.text);
        self
    }
}

/// Checks a `.config` that came of quiz's own lines, a user's file (its kind and text) and a user's lines.
fn check(config: &str, base: &str, file: Option<(&str, &str)>, lines: &str) -> Checked {
    let dir = tempfile::tempdir().unwrap();
    let write = |name: &str, text: &str| {
        fs::write(dir.path().join(name), text).unwrap();
        dir.path().join(name)
    };
    let (config, base, lines) = (write(".config", config), write("base.config", base), write("lines", lines));
    write("Kconfig", KCONFIG);
    let left_out = write("left-out", "CONFIG_LAZY=n\n");
    let (kind, file) = match file {
        Some((kind, text)) => (kind, write("mine.config", text)),
        None => ("lines", "-".into()),
    };
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("recipes/kernel-config/check.pl");
    let mut command = Command::new("perl");
    command.arg(script).arg(dir.path()).arg(config).arg(kind).args([file, left_out, lines, base]);
    let output = command.env("ARCH", "x86_64").output().unwrap();
    let text = [output.stdout, output.stderr].concat();
    let text = String::from_utf8(text).unwrap().replace(&format!("{}/", dir.path().display()), "");
    assert!(!text.contains(".pl line"), "{text}");
    Checked { ok: output.status.success(), text }
}

#[test]
fn what_a_kernel_does_not_have_is_left_out_unless_the_guest_needs_it() {
    let base = "CONFIG_GONE=y   # speed\nCONFIG_OFF=n # speed\nCONFIG_DEEP=y # speed\nCONFIG_NET=y # needed: sockets\n";
    let checked = check("CONFIG_NET=y\n", base, None, "");
    assert!(checked.ok && !checked.text.contains("warning") && !checked.text.contains("OFF"), "{}", checked.text);
    let needed = check("", "CONFIG_GONE=y # needed: programs\n", None, "");
    assert!(!needed.ok);
    needed.says("base.config:1: CONFIG_GONE is not a symbol of this kernel").says("the guest needs it: programs");
}

#[test]
fn one_of_the_alternatives_is_enough() {
    let base =
        "CONFIG_GONE=y or CONFIG_LAZY=y # needed: speed\nCONFIG_COUNT=n or CONFIG_COUNT=0 # needed: a number now\n";
    assert!(check("CONFIG_LAZY=y\nCONFIG_COUNT=0\n", base, None, "").ok);
    assert!(!check("CONFIG_COUNT=0\n", base, None, "").ok);
    assert!(check("CONFIG_NET=y\n", "", None, "CONFIG_GONE=y or CONFIG_NET=y\n").ok);
}

#[test]
fn a_line_of_the_user_wins_and_what_the_guest_then_cannot_do_is_a_warning() {
    let base = "CONFIG_NET=y # needed: sockets\nCONFIG_DEEP=y # needed: shares\n";
    let checked = check("# CONFIG_NET is not set\n", base, None, "CONFIG_NET=n\n");
    assert!(checked.ok, "{}", checked.text);
    checked.says("warning: CONFIG_NET=y was taken out, and without it the guest will not start: sockets");
    checked.says("warning: CONFIG_DEEP=y was taken out, and without it the guest will not start: shares");
    let dropped = check("", "", None, "CONFIG_DEEP=y\n");
    assert!(!dropped.ok);
    dropped.says("kernel.config: CONFIG_DEEP=y was asked for and came out not set: needs NET (n)");
}

#[test]
fn a_symbol_of_another_release_is_named_with_that_release() {
    let checked = check("", "", None, "CONFIG_SLAB=y\nCONFIG_BLK_DEV_WRITE_MOUNTED=y\nCONFIG_NOBODY_HAS_IT=y\n");
    assert!(!checked.ok);
    checked.says("CONFIG_SLAB is not a symbol of this kernel; Linux 5.10 to 6.1 have it");
    checked.says("CONFIG_BLK_DEV_WRITE_MOUNTED is not a symbol of this kernel; Linux 6.12 to 7.3 have it");
    checked.says("CONFIG_NOBODY_HAS_IT is not a symbol of this kernel\n");
}

#[test]
fn what_describes_tools_is_no_wish() {
    let tools = "CONFIG_CC_VERSION_TEXT=\"gcc 9\"\nCONFIG_GCC_VERSION=90000\nCONFIG_PAHOLE_VERSION=125\n\
                 CONFIG_RUSTC_VERSION=0\nCONFIG_CC_HAS_ASM_GOTO=y\n# a comment\n\nCONFIG_NET=y\n";
    for file in [None, Some(("lines", tools))] {
        let checked = check("CONFIG_NET=y\n", "", file, tools);
        assert!(checked.ok && checked.text.is_empty(), "{}", checked.text);
    }
}

#[test]
fn a_file_that_is_no_config_is_named_with_its_line() {
    let checked = check("", "", Some(("lines", "CONFIG_NET=y\n\nint main(void)\n{\n")), "");
    assert!(!checked.ok);
    checked.says("mine.config:3: 'int main(void)' is not a line of kernel config").says("came out not set");
    check("", "", Some(("lines", "# nothing\n")), "").says("mine.config: there is no line of kernel config in it");
    check("", "", Some(("lines", "CONFIG_DEEP=y\n")), "").says("mine.config:1: CONFIG_DEEP=y was asked for");
}

#[test]
fn of_a_whole_config_the_differences_are_counted_and_named() {
    let whole = "CONFIG_NET=y\nCONFIG_LAZY=y\nCONFIG_GONE=m\nCONFIG_DERIVED=y\nCONFIG_COUNT=7\nCONFIG_DEEP=y\n";
    let base = "CONFIG_DEEP=n # needed: for this test\nCONFIG_ALSO_GONE=y # speed\n";
    let checked = check("CONFIG_NET=y\nCONFIG_COUNT=8\n", base, Some(("whole", whole)), "");
    assert!(checked.ok, "{}", checked.text);
    checked.says("mine.config: not in this kernel: CONFIG_GONE=m\n");
    checked.says("mine.config: came out different: CONFIG_COUNT=7 (is 8)\n");
    checked.says("warning: mine.config: 1 lines are not known to this kernel, and 1 came out different");
    checked.says("warning: LAZY left out: they need what only the distribution's own build has");
    assert!(!checked.text.contains("DEEP") && !checked.text.contains("ALSO_GONE"), "{}", checked.text);
    // A line that the user gives beside the file is demanded as ever.
    assert!(!check("", base, Some(("whole", whole)), "CONFIG_NET=y\n").ok);
}

/// Each line says what it is for, and is in the form that script and people read.
#[test]
fn every_line_of_the_base_says_what_it_is_for() {
    for name in ["base.config", "x86_64.config"] {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("recipes/kernel-config").join(name);
        let text = fs::read_to_string(path).unwrap();
        let lines: Vec<&str> = text.lines().filter(|line| !line.is_empty() && !line.starts_with("# ")).collect();
        assert!(lines.len() > 20, "{name}");
        for line in lines.iter().filter(|line| **line != "#") {
            let (wishes, what) = line.split_once(" # ").unwrap_or_else(|| panic!("{name}: {line}"));
            assert!(wishes.trim_end().split(" or ").all(|w| w.starts_with("CONFIG_") && w.contains('=')), "{line}");
            assert!(what.trim_start_matches("needed: ").trim_start_matches("menu: ").len() > 1, "{name}: {line}");
        }
        assert!(lines.iter().any(|line| line.contains("# needed: ")), "{name}");
    }
}

/// A source whose Makefile writes into the config what Kconfig would: what it finds of the host by itself.
const PROBES: &str = "\
allnoconfig:
\t@grep -v '=n$$' $(KCONFIG_ALLCONFIG) >$(O)/.config
olddefconfig:
\t@for tool in bindgen pahole rustc; do echo \"CONFIG_FOUND=\\\"$$tool $$(command -v $$tool)\\\"\"; done >>$(O)/.config
\t@plugin=$$(gcc -print-file-name=plugin); for file in $$plugin/*; do [ ! -e $$file ] || echo CONFIG_PLUGIN=y; done >>$(O)/.config
";

/// A tree that looks like Linux: what quiz's own lines name, and this Makefile.
pub fn furnish(project: &Project, makefile: &str, more: &str) {
    let base = Path::new(env!("CARGO_MANIFEST_DIR")).join("recipes/kernel-config");
    let lines = ["base.config", "x86_64.config"].map(|name| fs::read_to_string(base.join(name)).unwrap()).concat();
    let symbols = lines.split_whitespace().filter_map(|word| word.strip_prefix("CONFIG_")?.split('=').next());
    let kconfig: String = symbols.map(|name| format!("config {name}\n\tbool \"x\"\n\n")).collect();
    for (name, text) in [
        ("Kbuild", ""),
        ("MAINTAINERS", ""),
        ("init/main.c", ""),
        ("init/Kconfig", more),
        ("Kconfig", &kconfig),
        ("Makefile", makefile),
    ] {
        project.write(&format!("linux/{name}"), text);
    }
}

/// The kernel says why it does not take a Rust only when it is asked.
#[test]
fn a_rust_that_the_kernel_does_not_take_is_told_in_its_words() {
    let project = Project::new();
    let rust = "rustavailable:\n\t@printf '***\\n*** Rust compiler is too old.\\n***   Your version: 1.63.0\\n***\\n' >&2; false\n";
    let kconfig =
        "config RUST_IS_AVAILABLE\n\tdef_bool n\n\nconfig RUST\n\tbool \"x\"\n\tdepends on RUST_IS_AVAILABLE\n";
    furnish(&project, &format!("{PROBES}{rust}"), kconfig);
    // Without the tools that the real one asks for, which this machine need not have.
    project.write(".quiz/profiles/rust/profile.toml", "about = \"x\"\n");
    project.write("quiz.toml", "[kernel]\nsource = \"./linux\"\nconfig = [\"RUST=y\"]\n");
    let ran = project.run(&["build", "kernel-config"]);
    assert_eq!(ran.status, Some(1), "{ran:?}");
    ran.says(&["error: Rust compiler is too old.", "  error: Your version: 1.63.0\n"]);
    // What to type depends on whether this machine has a rustc.
    assert!(
        ["turn on the profile rust", "QUIZ_KERNEL_TOOLCHAIN="].iter().any(|hint| ran.err.contains(hint)),
        "{ran:?}"
    );
    assert!(!ran.err.contains("***"), "{ran:?}");
}

/// With rustc, pahole or headers for gcc's plugins on the host, and without, the config is the same; or a profile asks for them,
/// and then they are in the key.
#[test]
fn what_kconfig_looks_for_by_itself_is_in_the_key_or_not_seen() {
    let project = Project::new();
    let base = Path::new(env!("CARGO_MANIFEST_DIR")).join("recipes/kernel-config");
    furnish(&project, PROBES, "");
    let settings = "[kernel]\nsource = \"./linux\"\n";
    project.write("quiz.toml", settings);
    let config = fs::read_to_string(project.built("kernel-config")).unwrap();
    for tool in ["bindgen", "pahole", "rustc"] {
        assert!(config.contains(&format!("CONFIG_FOUND=\"{tool} \"\n")), "{config}");
        assert!(project.ok(&["why", "kernel-config"]).out.contains(&format!("tool/{tool} = missing\n")));
    }
    // gcc itself brings a library there, on every host.
    assert!(!config.contains("PLUGIN"), "{config}");
    if Path::new("/usr/bin/pahole").exists() {
        project.write(".quiz/profiles/mine/profile.toml", "about = \"x\"\n[tools]\npahole = \"dwarves\"\n");
        project.write("quiz.toml", &format!("profiles = [\"mine\"]\n{settings}"));
        let why = project.ok(&["why", "kernel-config"]).out;
        assert!(why.contains("missing") && !why.contains("tool/pahole = missing"), "{why}");
    }
    // The kernel is built with what the config was resolved with.
    let demanded = |recipe: &str| {
        let text = fs::read_to_string(base.join(format!("../{recipe}/recipe.toml"))).unwrap();
        text.split("[tools-on-demand]\n").nth(1).unwrap().split("\n\n").next().unwrap().to_owned()
    };
    assert_eq!(demanded("kernel"), demanded("kernel-config"));
    for recipe in ["kernel-debug", "kernel-config-lines", "kernel-menuconfig"] {
        assert_eq!(demanded("kernel"), demanded(recipe));
    }
    for script in
        ["kernel-config/resolve.sh", "kernel-config-lines/lines.sh", "kernel-menuconfig/menu.sh", "kernel-make/make.sh"]
    {
        let text = fs::read_to_string(base.join("..").join(script)).unwrap();
        assert!(text.contains("export LIBRARY_PATH=/quiz/scratch/no-plugins\n"), "{script}");
    }
}
