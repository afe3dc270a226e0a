//! Any sequence of edits in a folder that people build in gives what a build from nothing gives, byte for byte: in a tree as Kbuild
//! makes modules (its own `if_changed`, saved command lines, flags for each folder), and in one as programs are made (a `configure`
//! that generates a header, wildcards, an archive).

use crate::project::{Project, Ran, files};
use crate::worktree::git;
use proptest::prelude::*;
use proptest::sample::Index;
use proptest::test_runner::{Config, TestRunner};
use std::collections::BTreeMap;
use std::fs::{self, File, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

/// What may differ though the sources are the same. There is nothing.
const DIFFER: &[&str] = &[];

const SCRIPT: &str = "cd tree\nmake -s\nmkdir /quiz/out/out\nfor made in lib.a modules; do\n\
                      [ ! -e $made ] || cp -r $made /quiz/out/out\ndone\n\
                      find . -name '*.c' -perm -100 | sort >/quiz/out/out/executable\n";

const PROGRAM: &str = "\
objects := $(patsubst %.c,%.o,$(sort $(wildcard */*.c)))
lib.a: $(objects) FORCE
\t@rm -f $@; ar rcsD $@ $(objects)
config.h: config.in configure FORCE
\t@sh ./configure <config.in >$@.new; cmp -s $@.new $@ || mv $@.new $@; rm -f $@.new
%.o: %.c Makefile | config.h
\t@gcc -O1 -I. -c -MMD -MP -o $@ $<
-include $(wildcard */*.d)
FORCE:
";

const KERNEL: &str = "\
all: config.h
\t@rm -rf modules; mkdir modules; for dir in */Kbuild; do $(MAKE) -s -f Build dir=$${dir%/Kbuild} || exit 1; done
config.h: config.in configure FORCE
\t@sh ./configure <config.in >$@.new; cmp -s $@.new $@ || mv $@.new $@; rm -f $@.new
FORCE:
";

/// Of one folder. A command is what it was when no word of it is another: `if_changed_dep` of Kbuild, with spaces made visible.
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

#[derive(Debug, Clone, Copy)]
enum Kind {
    Kernel,
    Program,
}

/// What somebody does to the tree. Names of files are numbers; which of those that are there, an [`Index`] says.
#[derive(Debug, Clone)]
enum Edit {
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
    /// Of the whole tree or of one folder, what compilers are called with.
    Flags(u8, u8),
    /// To the other branch, with a commit of all that was edited.
    Checkout,
}

fn edit() -> impl Strategy<Value = Edit> {
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

struct Tree {
    project: Project,
    kind: Kind,
    folders: u8,
}

impl Tree {
    /// With so many folders of so many sources each, and as many headers as folders.
    fn new(kind: Kind, folders: u8, sources: u8) -> Self {
        let tree = Self { project: Project::new(), kind, folders };
        let source = "version = 1\nabout = \"a test\"\n[options.origin]\ntype = \"string\"\ndefault = \"\"\nabout = \"x\"\n\
                      [outputs]\ntree = \"tree\"\n[source]\nentry = \"t\"\n[source.dir]\nmarks = [\"MARK\"]\n";
        tree.project.write(".quiz/recipes/t-source/recipe.toml", source);
        let tables = "[inputs]\nsource = \"t-source\"\n[outputs]\nout = \"tree\"\n\
                      [incremental]\nsync = [\"source\"]\ninto = \"tree\"\n\
                      [tools]\nar = \"binutils\"\ngcc = \"gcc\"\nld = \"binutils\"\nmake = \"make\"\n";
        tree.project.recipe("t-build", tables, SCRIPT);
        tree.project.write(".quiz/.gitignore", "*\n");
        tree.project.write("MARK", "");
        tree.project.write(".gitignore", "*.o\n");
        tree.project.write("configure", "while read name value; do echo \"#define $name $value\"; done\n");
        tree.write_config(1);
        match kind {
            Kind::Program => drop(tree.project.write("Makefile", PROGRAM)),
            Kind::Kernel => {
                tree.project.write("Makefile", KERNEL);
                tree.project.write("Build", BUILD);
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
        tree
    }

    fn dir(&self) -> PathBuf {
        self.project.dir()
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
        self.project.write(path, &text);
    }

    fn write_header(&self, n: u8, text: u8) {
        let n = n % self.folders;
        self.project.write(&format!("h{n}.h"), &format!("#define H{n} 1{text:03}\n"));
    }

    fn write_config(&self, text: u8) {
        self.project.write("config.in", &format!("WIDTH {text}\nUNUSED {}\n", text / 2));
    }

    /// All sources, sorted.
    fn sources(&self) -> Vec<String> {
        let dir = self.dir();
        let below = files(&dir).into_iter().filter(|path| path.extension().is_some_and(|e| e == "c"));
        let mut all: Vec<String> = below.map(|p| p.strip_prefix(&dir).unwrap().to_str().unwrap().to_owned()).collect();
        all.sort();
        all
    }

    /// What each folder's Kbuild names; those that say the same stay as they are.
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
            let text = format!("{flags}\nobj-y := {}\n", objects.collect::<Vec<_>>().join(" "));
            if text != before {
                fs::write(path, text).unwrap();
            }
        }
    }

    fn apply(&self, edit: &Edit) {
        let sources = self.sources();
        let chosen = |at: &Index| at.get(&sources).clone();
        // A folder keeps one.
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
                Kind::Kernel => {
                    let path = self.dir().join(format!("d{}/Kbuild", n % self.folders));
                    let before = fs::read_to_string(&path).unwrap();
                    let objects = before.lines().find(|line| line.starts_with("obj-y")).unwrap();
                    fs::write(path, format!("ccflags-y := -DWIDE={text} -fno-inline\n{objects}\n")).unwrap();
                }
                Kind::Program => {
                    let flags = PROGRAM.replace("-O1", ["-O1", "-O2"][usize::from(text % 2)]);
                    self.project.write("Makefile", &flags);
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

    /// Builds with this cache; gives every file of the result: path, bytes, and whether it is executable.
    fn build(&self, cache: &Path) -> BTreeMap<String, (Vec<u8>, bool)> {
        let output = self.project.command(&["build", "t-build"]).env("QUIZ_CACHE_DIR", cache).output().unwrap();
        let ran = Ran::from(output);
        assert_eq!(ran.status, Some(0), "{ran:?}");
        let made = PathBuf::from(ran.out.trim().split_once(' ').unwrap().1);
        let read = |path: PathBuf| {
            let is_executable = fs::metadata(&path).unwrap().permissions().mode() & 0o111 != 0;
            let name = path.strip_prefix(&made).unwrap().to_str().unwrap().to_owned();
            (name, (fs::read(path).unwrap(), is_executable))
        };
        files(&made).into_iter().map(read).collect()
    }

    /// The files in which what is there now, built on what was there before, is not what a build from nothing gives.
    fn differing(&self) -> Vec<String> {
        let nothing = tempfile::tempdir().unwrap();
        let (before, fresh) = (self.build(&self.project.cache()), self.build(&nothing.path().join("cache")));
        let names = before.keys().chain(fresh.keys()).collect::<std::collections::BTreeSet<_>>();
        assert!(names.len() >= 2, "{names:?}");
        let differ = names.into_iter().filter(|name| before.get(*name) != fresh.get(*name));
        differ.filter(|name| !DIFFER.contains(&name.as_str())).cloned().collect()
    }
}

/// `cases` sequences, each of up to `most` edits with a build after each; compared at the end of each, or after each edit.
fn play(kind: Kind, cases: u32, most: usize, size: (u8, u8), always: bool) {
    let config = Config { cases, max_shrink_iters: 64, failure_persistence: None, ..Config::default() };
    let sequence = prop::collection::vec(edit(), 1..=most);
    let result = TestRunner::new(config).run(&sequence, |edits| {
        let tree = Tree::new(kind, size.0, size.1);
        tree.build(&tree.project.cache());
        for (n, edit) in edits.iter().enumerate() {
            tree.apply(edit);
            if always || n + 1 == edits.len() {
                prop_assert_eq!(tree.differing(), Vec::<String>::new(), "after edit {} of {:?}", n + 1, kind);
            } else {
                tree.build(&tree.project.cache());
            }
        }
        Ok(())
    });
    result.unwrap_or_else(|error| panic!("{error}"));
}

#[test]
fn any_few_edits_of_modules_give_what_a_build_from_nothing_gives() {
    play(Kind::Kernel, 2, 4, (2, 2), false);
}

#[test]
fn any_few_edits_of_a_program_give_what_a_build_from_nothing_gives() {
    play(Kind::Program, 2, 4, (2, 2), false);
}

/// Each of the kinds of edits once, so that the test above cannot pass by never doing one.
#[test]
fn each_kind_of_edit_shows_in_what_is_built() {
    for kind in [Kind::Kernel, Kind::Program] {
        let tree = Tree::new(kind, 2, 2);
        let at = || proptest::strategy::Strategy::new_tree(&any::<Index>(), &mut TestRunner::deterministic()).unwrap();
        let at = proptest::strategy::ValueTree::current(&at());
        let mut before = tree.build(&tree.project.cache());
        for edit in [
            Edit::Add(77, 1),
            Edit::Rename(at, 78),
            Edit::Change(at, 55),
            Edit::TouchBack(at, 56),
            Edit::Chmod(at),
            Edit::Header(0, 3),
            Edit::Header(1, 3),
            Edit::Config(8),
            Edit::Checkout,
            Edit::Checkout,
            Edit::Remove(at),
        ] {
            tree.apply(&edit);
            let after = tree.build(&tree.project.cache());
            assert_ne!(before, after, "{kind:?} {edit:?}");
            before = after;
        }
        assert_eq!(tree.differing(), [""; 0]);
    }
}

/// `tests/run --full edits`: 200 sequences on trees of more than 30 files, compared after every edit.
#[test]
#[ignore = "takes an hour"]
fn long_edits_of_large_trees_give_what_a_build_from_nothing_gives() {
    for kind in [Kind::Kernel, Kind::Program] {
        play(kind, 100, 8, (4, 8), true);
    }
}
