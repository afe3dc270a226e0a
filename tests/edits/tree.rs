//! The trees that are edited, the edits, and what a build of what is there now differs in from one that begins with nothing.

use crate::project::{Project, Ran, files};
use crate::worktree::git;
use proptest::prelude::*;
use proptest::sample::Index;
use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, SystemTime};

/// Files that may differ although the sources are the same: none.
const DIFFER: &[&str] = &[];

const SCRIPT: &str = "cd tree\nmake -s\nmkdir /quiz/out/out\nfor made in lib.a modules; do\n\
                      [ ! -e $made ] || cp -r $made /quiz/out/out\ndone\n\
                      find . -name '*.c' -perm -100 | sort >/quiz/out/out/executable\n";

const PROGRAM: &str = "\
objects := $(patsubst %.c,%.o,$(sort $(wildcard */*.c)))
lib.a: $(objects) FORCE
\t@rm -f $@; ar rcsD $@ $(objects)
config.h: config.in configure.sh FORCE
\t@sh ./configure.sh <config.in >$@.new; cmp -s $@.new $@ || mv $@.new $@; rm -f $@.new
%.o: %.c Makefile | config.h
\t@gcc -O1 -I. -c -MMD -MP -o $@ $<
-include $(wildcard */*.d)
FORCE:
";

const KERNEL: &str = "\
all: config.h
\t@rm -rf modules; mkdir modules; for dir in */Kbuild; do $(MAKE) -s -f Build dir=$${dir%/Kbuild} || exit 1; done
config.h: config.in configure.sh FORCE
\t@sh ./configure.sh <config.in >$@.new; cmp -s $@.new $@ || mv $@.new $@; rm -f $@.new
FORCE:
";

/// The build of one folder. A command has changed if any word of it has: Kbuild's `if_changed_dep`, with spaces made visible.
const BUILD: &str = "\
.DEFAULT_GOAL := modules/$(dir).o
include $(dir)/Kbuild
-include $(wildcard $(dir)/.*.cmd)
objects := $(addprefix $(dir)/,$(obj-y))
space := $(subst ,, )
flat = $(subst $(space),~,gcc -O1 -I. $(ccflags-y))
changed = $(filter-out FORCE,$?)$(filter-out $(flat),$(saved_$@))$(filter-out $(saved_$@),$(flat))
modules/$(dir).o: $(objects) FORCE
\t@ld -r -o $@ $(objects)
$(objects): %.o: %.c FORCE
\t@$(if $(changed),gcc -O1 -I. $(ccflags-y) -MMD -MP -MF $@.d -c -o $@ $< && (echo 'saved_$@ := $(flat)'; cat $@.d) >$(@D)/.$(@F).cmd)
FORCE:
";

/// Of a folder that the kernel's own Kbuild makes a module of, with a header that is generated.
const MODULE: &str = "\
ccflags-y += -I$(src)/.. -I$(obj)
$(addprefix $(obj)/,$(DIR-y)): $(obj)/config.h
quiet_cmd_config = GEN     $@
      cmd_config = sh $(src)/../configure.sh <$(src)/../config.in >$@
$(obj)/config.h: $(src)/../config.in $(src)/../configure.sh FORCE
\t$(call if_changed,config)
targets += config.h
";

/// What a folder of a module has besides its sources.
const MAIN: &str = "#include <linux/module.h>\nMODULE_LICENSE(\"GPL\");\nMODULE_DESCRIPTION(\"of a test\");\n";

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// Built as Kbuild builds, by few lines of make.
    Kernel,
    Program,
    /// Built by Kbuild itself, against the kernel of a project that has one.
    Module,
}

/// What somebody does to the tree. Names of files are numbers; which of those that are there, an [`Index`] says.
#[derive(Debug, Clone)]
pub(crate) enum Edit {
    Add(u8, u8),
    Remove(Index),
    Rename(Index, u8),
    Change(Index, u8),
    /// Another text with a time of years ago, as `tar x` or `cp -p` leaves it.
    TouchBack(Index, u8),
    Touch(Index),
    Chmod(Index),
    Header(u8, u8),
    /// What the generated header is made of.
    Config(u8),
    /// What compilers are called with, of the whole tree or of one folder.
    Flags(u8, u8),
    /// A commit of all that was edited, and a checkout of the other branch.
    Checkout,
}

pub(crate) fn edit() -> impl Strategy<Value = Edit> {
    let (index, byte) = (any::<Index>, any::<u8>);
    prop_oneof![
        2 => (byte(), byte()).prop_map(|(n, text)| Edit::Add(n, text)),
        2 => index().prop_map(Edit::Remove),
        2 => (index(), byte()).prop_map(|(at, n)| Edit::Rename(at, n)),
        3 => (index(), byte()).prop_map(|(at, text)| Edit::Change(at, text)),
        3 => (index(), byte()).prop_map(|(at, text)| Edit::TouchBack(at, text)),
        1 => index().prop_map(Edit::Touch),
        1 => index().prop_map(Edit::Chmod),
        3 => (byte(), byte()).prop_map(|(n, text)| Edit::Header(n, text)),
        2 => byte().prop_map(Edit::Config),
        1 => (byte(), byte()).prop_map(|(n, text)| Edit::Flags(n, text)),
        3 => Just(Edit::Checkout),
    ]
}

/// Runs quiz where the tree's project is.
pub(crate) type Start<'a> = &'a dyn Fn(&[&str]) -> Command;

pub(crate) struct Tree<'a> {
    project: &'a Project,
    start: Start<'a>,
    pub(crate) kind: Kind,
    folders: u8,
}

impl<'a> Tree<'a> {
    /// With so many folders of so many sources each, and as many headers as folders.
    pub(crate) fn new(project: &'a Project, start: Start<'a>, kind: Kind, (folders, sources): (u8, u8)) -> Self {
        let tree = Self { project, start, kind, folders };
        fs::create_dir_all(tree.dir()).unwrap();
        if kind != Kind::Module {
            tree.write_recipes();
        }
        tree.write(".gitignore", "*.o\n");
        tree.write("configure.sh", "while read name value; do echo \"#define $name $value\"; done\n");
        tree.write_config(1);
        match kind {
            Kind::Program => tree.write("Makefile", PROGRAM),
            Kind::Kernel => {
                tree.write("Makefile", KERNEL);
                tree.write("Build", BUILD);
            }
            Kind::Module => {
                let all: Vec<String> = (0..folders).map(|folder| format!("d{folder}/")).collect();
                tree.write("Kbuild", &format!("obj-m := {}\n", all.join(" ")));
                (0..folders).for_each(|folder| tree.write(&format!("d{folder}/main.c"), MAIN));
            }
        }
        for folder in 0..folders {
            tree.write_header(folder, 0);
            for n in 0..sources {
                tree.write_source(&format!("d{folder}/f{n}.c"), n);
            }
        }
        tree.write_lists();
        git(&tree.dir(), &["init", "-q", "-b", "one"]);
        tree.commit();
        // The other branch has other texts of half of all files, and one file more.
        git(&tree.dir(), &["checkout", "-q", "-b", "two"]);
        for folder in 0..folders {
            (0..sources).step_by(2).for_each(|n| tree.write_source(&format!("d{folder}/f{n}.c"), n + 100));
        }
        tree.write_header(0, 9);
        tree.write_source("d0/f200.c", 200);
        tree.write_lists();
        tree.commit();
        git(&tree.dir(), &["checkout", "-q", "one"]);
        for branch in ["one", "two"] {
            git(&tree.dir(), &["tag", &format!("first-{branch}"), branch]);
        }
        tree
    }

    fn write_recipes(&self) {
        self.project.source_folder();
        let tables = "[inputs]\nsource = \"t-source\"\n[outputs]\nout = \"tree\"\n\
                      [incremental]\nsync = [\"source\"]\ninto = \"tree\"\n\
                      [tools]\nar = \"binutils\"\ngcc = \"gcc\"\nld = \"binutils\"\nmake = \"make\"\n";
        self.project.recipe("t-build", tables, SCRIPT);
        self.project.write(".quiz/.gitignore", "*\n");
        self.project.write("MARK", "");
    }

    fn dir(&self) -> PathBuf {
        match self.kind {
            Kind::Module => self.project.dir().join("kbuild"),
            _ => self.project.dir(),
        }
    }

    fn write(&self, path: &str, text: &str) {
        let path = self.dir().join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }

    /// As it was made, whatever became of it since.
    pub(crate) fn reset(&self) {
        git(&self.dir(), &["reset", "-q", "--hard"]);
        git(&self.dir(), &["clean", "-q", "-f", "-d", "-x", "-e", ".quiz", "-e", "quiz.toml"]);
        for branch in ["two", "one"] {
            git(&self.dir(), &["checkout", "-q", "-B", branch, &format!("first-{branch}")]);
        }
    }

    fn commit(&self) {
        git(&self.dir(), &["add", "-A"]);
        git(&self.dir(), &["commit", "-q", "--allow-empty", "-m", "x"]);
    }

    fn write_source(&self, path: &str, text: u8) {
        let name = path.replace(['/', '.'], "_");
        let header = text % self.folders;
        let text = format!(
            "#include \"h{header}.h\"\n#include \"config.h\"\n__attribute__((weak)) int {name}(void) {{ return 1{text:03} + H{header} + WIDTH; }}\n"
        );
        self.write(path, &text);
    }

    fn write_header(&self, n: u8, text: u8) {
        let n = n % self.folders;
        self.write(&format!("h{n}.h"), &format!("#define H{n} 1{text:03}\n"));
    }

    fn write_config(&self, text: u8) {
        self.write("config.in", &format!("WIDTH {text}\nUNUSED {}\n", text / 2));
    }

    /// All sources that edits are made in, sorted.
    fn sources(&self) -> Vec<String> {
        let dir = self.dir();
        let is_edited = |path: &PathBuf| path.extension().is_some_and(|e| e == "c") && !path.ends_with("main.c");
        let below = files(&dir).into_iter().filter(is_edited);
        let mut all: Vec<String> = below.map(|p| p.strip_prefix(&dir).unwrap().to_str().unwrap().to_owned()).collect();
        all.sort();
        all
    }

    /// Writes what each folder's Kbuild names; those that say the same stay as they are.
    fn write_lists(&self) {
        if let Kind::Program = self.kind {
            return;
        }
        for folder in 0..self.folders {
            let path = self.dir().join(format!("d{folder}/Kbuild"));
            let before = fs::read_to_string(&path).unwrap_or_default();
            let flags = before.lines().find(|line| line.starts_with("ccflags-y")).unwrap_or("ccflags-y :=");
            let start = format!("d{folder}/");
            let sources = self.sources();
            let objects = sources.iter().filter_map(|path| Some(path.strip_prefix(&start)?.replace(".c", ".o")));
            let objects = objects.collect::<Vec<_>>().join(" ");
            let text = match self.kind {
                Kind::Module => {
                    let rules = MODULE.replace("DIR", &format!("d{folder}"));
                    format!("{flags}\nobj-m := d{folder}.o\nd{folder}-y := main.o {objects}\n{rules}")
                }
                _ => format!("{flags}\nobj-y := {objects}\n"),
            };
            if text != before {
                fs::write(path, text).unwrap();
            }
        }
    }

    pub(crate) fn apply(&self, edit: &Edit) {
        let sources = self.sources();
        let chosen = |at: &Index| at.get(&sources).clone();
        // The last source of a folder is not removed.
        let folder = |path: &str| path.split_once('/').unwrap().0.to_owned();
        let is_last = |path: &str| sources.iter().filter(|other| folder(other) == folder(path)).count() == 1;
        match edit {
            Edit::Add(n, text) => self.write_source(&format!("d{}/f{n}.c", n % self.folders), *text),
            Edit::Remove(at) if is_last(&chosen(at)) => {}
            Edit::Remove(at) => fs::remove_file(self.dir().join(chosen(at))).unwrap(),
            Edit::Rename(at, _) if is_last(&chosen(at)) => {}
            Edit::Rename(at, n) => {
                let to = self.dir().join(format!("d{}/f{n}.c", n % self.folders));
                // A function of the same name in two files of one folder is no error of the tool.
                if !to.exists() {
                    fs::rename(self.dir().join(chosen(at)), to).unwrap();
                }
            }
            Edit::Change(at, text) => self.write_source(&chosen(at), *text),
            Edit::TouchBack(at, text) => {
                self.write_source(&chosen(at), *text);
                self.touch(&chosen(at), SystemTime::UNIX_EPOCH + Duration::from_secs(1_000_000_000));
            }
            Edit::Touch(at) => self.touch(&chosen(at), SystemTime::now()),
            Edit::Chmod(at) => {
                let path = self.dir().join(chosen(at));
                let mode = fs::metadata(&path).unwrap().permissions().mode() ^ 0o111;
                fs::set_permissions(path, Permissions::from_mode(mode)).unwrap();
            }
            Edit::Header(n, text) => self.write_header(*n, *text),
            Edit::Config(text) => self.write_config(*text),
            Edit::Flags(n, text) => match self.kind {
                Kind::Kernel | Kind::Module => {
                    let path = self.dir().join(format!("d{}/Kbuild", n % self.folders));
                    let before = fs::read_to_string(&path).unwrap();
                    let (_, rest) = before.split_once('\n').unwrap();
                    fs::write(path, format!("ccflags-y := -DWIDE={text} -fno-inline\n{rest}")).unwrap();
                }
                Kind::Program => {
                    let flags = PROGRAM.replace("-O1", ["-O1", "-O2"][usize::from(text % 2)]);
                    self.write("Makefile", &flags);
                }
            },
            Edit::Checkout => {
                self.write_lists();
                self.commit();
                let on = git(&self.dir(), &["branch", "--show-current"]);
                git(&self.dir(), &["checkout", "-q", if on.trim() == "one" { "two" } else { "one" }]);
            }
        }
        self.write_lists();
    }

    fn touch(&self, path: &str, time: SystemTime) {
        File::options().write(true).open(self.dir().join(path)).unwrap().set_modified(time).unwrap();
    }

    /// Every file of what is built with these words: path, bytes, and whether it is executable.
    fn made(&self, words: &[&str], cache: Option<&Path>) -> BTreeMap<String, (Vec<u8>, bool)> {
        let mut command = (self.start)(words);
        if let Some(cache) = cache {
            command.env("QUIZ_CACHE_DIR", cache);
        }
        let ran = Ran::from(command.output().unwrap());
        assert_eq!(ran.status, Some(0), "{ran:?}");
        let is_it = |name: &str| name.starts_with("t-build") || name == "module-kbuild/modules";
        let mut outputs = ran.out.lines().filter_map(|line| line.split_once(' '));
        let made = PathBuf::from(outputs.find(|(name, _)| is_it(name)).unwrap().1);
        let read = |path: PathBuf| {
            let is_executable = fs::metadata(&path).unwrap().permissions().mode() & 0o111 != 0;
            let name = path.strip_prefix(&made).unwrap().to_str().unwrap().to_owned();
            (name, (fs::read(path).unwrap(), is_executable))
        };
        files(&made).into_iter().map(read).collect()
    }

    /// What is there now, built on what was there before.
    pub(crate) fn build(&self) -> BTreeMap<String, (Vec<u8>, bool)> {
        match self.kind {
            Kind::Module => self.made(&["--module", "kbuild", "build", "module-kbuild"], None),
            _ => self.made(&["build", "t-build"], Some(&self.project.cache())),
        }
    }

    /// The same, built from nothing.
    fn build_fresh(&self) -> BTreeMap<String, (Vec<u8>, bool)> {
        if self.kind == Kind::Module {
            return self.made(&["--module", "kbuild", "build", "--fresh", "module-kbuild"], None);
        }
        let nothing = tempfile::tempdir().unwrap();
        self.made(&["build", "t-build"], Some(&nothing.path().join("cache")))
    }

    /// The files in which what is there now, built on what was there before, is not what a build from nothing gives.
    pub(crate) fn differing(&self) -> Vec<String> {
        let (before, fresh) = (self.build(), self.build_fresh());
        let names = before.keys().chain(fresh.keys()).collect::<BTreeSet<_>>();
        assert!(names.len() >= 2, "{names:?}");
        let differ = names.into_iter().filter(|name| before.get(*name) != fresh.get(*name));
        differ.filter(|name| !DIFFER.contains(&name.as_str())).cloned().collect()
    }
}
