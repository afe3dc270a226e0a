//! Settings: defaults ← the user's quiz.toml ← the project's quiz.toml ← `QUIZ_*` ← flags. Each value knows its origin.
//!
//! Knows names and types of settings, not what they do.

mod file;
mod flag;
mod implied;
mod place;
mod variables;

use crate::document::Document;
use crate::error::Result;
pub use flag::FlagValue;
use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};
use variables::Variables;

/// A value of a setting or of a recipe's option.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Value {
    /// Text.
    Text(String),
    /// A list of texts.
    List(Vec<String>),
    /// A number, never negative.
    Number(u64),
    /// Yes or no.
    Flag(bool),
    /// What an option of type "file" is, when its setting names one.
    File {
        /// Where it lies.
        path: PathBuf,
        /// What is in it.
        text: String,
    },
}

/// Where a value comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Origin {
    /// quiz itself.
    Default,
    /// A quiz.toml.
    File {
        /// The file.
        path: PathBuf,
        /// From 1.
        line: usize,
    },
    /// An environment variable, by name.
    Variable(String),
    /// A flag, as the user types it.
    Flag(String),
    /// A profile that is on, by name: nobody has set it.
    Profile(String),
}

/// A value and where it comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Setting {
    /// The value.
    pub value: Value,
    /// Its origin.
    pub origin: Origin,
}

/// How the settings begin that say how and by whose help something is made: whoever looks at it later has them of their own.
const HOW: &[&str] = &["build.", "cache.", "machine.accel", "packages.mirror", "packages.snapshot", "runs."];

/// What a setting is called, its type (that of the default), and what it is for.
#[derive(Debug)]
pub struct SchemaEntry {
    /// Dotted name, as in quiz.toml.
    pub name: &'static str,
    /// Default and type.
    pub default: Default,
    /// One line for people.
    pub about: &'static str,
}

/// A default as a constant.
#[derive(Debug, Clone, Copy)]
pub enum Default {
    /// Text.
    Text(&'static str),
    /// An empty list.
    List,
    /// A number.
    Number(u64),
}

const fn entry(name: &'static str, default: Default, about: &'static str) -> SchemaEntry {
    SchemaEntry { name, default, about }
}

/// Every setting.
pub const SCHEMA: &[SchemaEntry] = &[
    entry("arch", Default::Text(std::env::consts::ARCH), "architecture of the guest"),
    entry("build.jobs", Default::Number(0), "compilers at once over all stages; 0 = one per core"),
    entry(
        "cache.max-size",
        Default::Text(""),
        "the most that the cache may take, such as 20G, checked after runs; empty = no limit",
    ),
    entry(
        "cache.shared",
        Default::Text(""),
        "group = the cache is shared by its folder's group, whose members trust each other; not in a project; empty = yours alone",
    ),
    entry(
        "drgn.program",
        Default::Text("toolchain"),
        "the drgn of quiz drgn: toolchain = one that quiz brings, pinned as compilers are; host = the one in PATH",
    ),
    entry("drgn.version", Default::Text("default"), "series (0.2) or release (0.3.0) of that drgn, or default"),
    entry(
        "kernel.compiler",
        Default::Text("gcc"),
        "what compiles the kernel and modules for it: gcc, clang, or one with its number, such as gcc-11 or clang-19",
    ),
    entry("kernel.config", Default::List, "lines added to the kernel config, such as CONFIG_KASAN=y"),
    entry(
        "kernel.config-file",
        Default::Text(""),
        "a file of such lines, or a whole .config; kernel.config wins over it",
    ),
    entry(
        "kernel.flavour",
        Default::Text(""),
        "with kernel.source = package: how the package's name ends, such as rt-amd64; empty = the plain one",
    ),
    entry(
        "kernel.packages",
        Default::List,
        "Debian packages that the kernel's build needs besides, such as libssl-dev for signed modules, zstd, lz4",
    ),
    entry("kernel.repository", Default::Text(""), "git repository of the kernel, URL or path; empty = git.kernel.org"),
    entry(
        "kernel.source",
        Default::Text(""),
        "debian, url, git, dir, a folder, or a URL; package = the distribution's, not compiled here; empty = quiz chooses",
    ),
    entry(
        "kernel.suite",
        Default::Text(""),
        "Debian suites that have the kernel, such as trixie-backports; empty = the toolchain's, then others",
    ),
    entry(
        "kernel.toolchain",
        Default::Text(""),
        "Debian suite of what compiles the kernel and modules for it, such as bullseye; host; empty = toolchain.suite",
    ),
    entry(
        "kernel.version",
        Default::Text("default"),
        "series (6.1), release (6.1.170), tag, branch, commit, URL, or default; package or 6.12@package = the distribution's",
    ),
    entry(
        "machine.accel",
        Default::Text("auto"),
        "what runs the guest's instructions: kvm, tcg (emulation), or auto = KVM where it works, else TCG",
    ),
    entry(
        "machine.allow-file",
        Default::Text(""),
        "a file of what the guest's kernel may complain about, each line with its reason",
    ),
    entry("machine.append", Default::List, "words added to the kernel command line"),
    entry("machine.boot-timeout", Default::Number(60), "seconds until the guest must be ready"),
    entry("machine.cpus", Default::Number(2), "processors of the guest"),
    entry("machine.memory", Default::Text("1G"), "memory of the guest: 512M, 4G"),
    entry(
        "machine.qemu",
        Default::Text("host"),
        "what runs machines: host = the qemu in PATH; toolchain = one that quiz brings, of the toolchain's suite",
    ),
    entry("machine.qemu-args", Default::List, "arguments added to the qemu command"),
    entry(
        "modules",
        Default::List,
        "folders of kernel modules, each with a Kbuild or Makefile, that are compiled and loaded before the program, in this order",
    ),
    entry(
        "packages.mirror",
        Default::Text(""),
        "Debian mirror, the folder above dists; …-security beside it; empty = this machine's sources, else deb.debian.org",
    ),
    entry(
        "packages.snapshot",
        Default::Text(""),
        "archive of packages that no mirror has any more; empty = https://snapshot.debian.org",
    ),
    entry("profiles", Default::List, "profiles that are on"),
    entry("rootfs.packages", Default::List, "Debian packages added to the root"),
    entry("rootfs.suite", Default::Text(""), "Debian suite of the root; empty = the toolchain's, else the host's"),
    entry(
        "runs.crash-format",
        Default::Text("elf"),
        "how the memory of a guest that crashed lies there: elf, or zstd, which takes less room and is unpacked when somebody looks into it",
    ),
    entry("runs.keep", Default::Number(20), "finished runs in .quiz/runs that stay, the newest first"),
    entry(
        "runs.keep-crashes",
        Default::Number(5),
        "crashes of which the guest's memory stays, the newest first; 0 = none is written",
    ),
    entry(
        "runs.keep-results",
        Default::Number(50),
        "finished runs that have something in out/, and runs of tests, that stay; counted apart from runs.keep",
    ),
    entry(
        "toolchain.suite",
        Default::Text("bookworm"),
        "Debian suite of the compilers and libraries that stages run with, such as trixie; host = this machine's own",
    ),
    entry("zfs.configure", Default::List, "arguments for OpenZFS's configure, such as --enable-debug"),
    entry(
        "zfs.repository",
        Default::Text(""),
        "git repository of OpenZFS, URL or path; empty = github.com/openzfs/zfs",
    ),
    entry("zfs.source", Default::Text(""), "dsc, git, dir, a folder, or a URL; empty = quiz chooses"),
    entry(
        "zfs.version",
        Default::Text("default"),
        "series (2.1), release (2.1.11), tag, branch, commit, URL, or default",
    ),
];

/// All settings with their origins, those that nobody set included.
#[derive(Debug, Clone)]
pub struct Settings {
    values: BTreeMap<String, Setting>,
    variables: Vec<String>,
    flags: Vec<FlagValue>,
    /// The quiz.toml files that there are, the user's first.
    files: Vec<Document>,
}

impl Settings {
    /// Puts the layers over each other. A file that does not exist is an empty one. `options` are the settings that recipes
    /// add to those of [`SCHEMA`], each with its default.
    pub(super) fn load(
        user: &Path,
        project: &Path,
        variables: Variables,
        flags: &[FlagValue],
        options: BTreeMap<String, Value>,
    ) -> Result<Self> {
        let types = types(options);
        let mut values: BTreeMap<String, Setting> = types
            .iter()
            .map(|(name, value)| (name.clone(), Setting { value: value.clone(), origin: Origin::Default }))
            .collect();
        let mut files = Vec::new();
        for path in [user, project] {
            if let Some(document) = Document::load(path)? {
                values.extend(file::read(&document, &types)?);
                files.push(document);
            }
        }
        let words = variables::words(&variables);
        values.extend(variables::read(variables, &types)?);
        for flag in flags {
            let origin = Origin::Flag(flag.flag.to_owned());
            let value = match (&flag.value, values.get(flag.key).map(|s| &s.value)) {
                (Value::List(more), Some(Value::List(old))) => Value::List([old.clone(), more.clone()].concat()),
                (value, _) => value.clone(),
            };
            values.insert(flag.key.to_owned(), Setting { value, origin });
        }
        implied::name_source(&mut values);
        Ok(Self { values, variables: words, flags: flags.to_vec(), files })
    }

    /// The settings of one file, over the defaults.
    #[cfg(test)]
    pub(crate) fn of_file(path: &Path) -> Result<Self> {
        Self::load(path, Path::new("/none/quiz.toml"), Vec::new(), &[], BTreeMap::new())
    }

    /// The setting of that name.
    pub fn get(&self, name: &str) -> Option<&Setting> {
        self.values.get(name)
    }

    /// All settings, sorted by name.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &Setting)> {
        self.values.iter().map(|(name, setting)| (name.as_str(), setting))
    }

    /// The variables of the environment that say what is built and run, and not only how, as `NAME=value`, sorted.
    pub fn shaping_variables(&self) -> impl Iterator<Item = &String> {
        self.variables.iter().filter(|word| !variables::is_one_of(word, HOW))
    }

    /// The flags that set them, as words of a command line.
    pub fn flags(&self) -> impl Iterator<Item = String> {
        self.flags.iter().flat_map(FlagValue::words)
    }

    /// The flags that say what is built and run, and not only how.
    pub fn shaping_flags(&self) -> impl Iterator<Item = String> {
        let shapes = |flag: &&FlagValue| !HOW.iter().any(|how| flag.key.starts_with(how));
        self.flags.iter().filter(shapes).flat_map(FlagValue::words)
    }

    /// A text setting; "" if there is none of that name and type.
    pub fn text(&self, name: &str) -> &str {
        match self.get(name).map(|s| &s.value) {
            Some(Value::Text(text)) => text,
            _ => "",
        }
    }

    /// A list setting; empty if there is none of that name and type.
    pub fn list(&self, name: &str) -> &[String] {
        match self.get(name).map(|s| &s.value) {
            Some(Value::List(items)) => items,
            _ => &[],
        }
    }

    /// A number setting; 0 if there is none of that name and type.
    pub fn number(&self, name: &str) -> u64 {
        match self.get(name).map(|s| &s.value) {
            Some(Value::Number(number)) => *number,
            _ => 0,
        }
    }
}

/// Every name that may be set, with its default: the schema's, and the options of recipes.
fn types(options: BTreeMap<String, Value>) -> BTreeMap<String, Value> {
    let fixed = SCHEMA.iter().map(|entry| {
        let value = match entry.default {
            Default::Text(text) => Value::Text(text.to_owned()),
            Default::List => Value::List(Vec::new()),
            Default::Number(number) => Value::Number(number),
        };
        (entry.name.to_owned(), value)
    });
    fixed.chain(options).collect()
}

impl fmt::Display for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Text(text) => write!(f, "{text:?}"),
            Self::List(items) => f.debug_list().entries(items).finish(),
            Self::Number(number) => write!(f, "{number}"),
            Self::Flag(flag) => write!(f, "{flag}"),
            Self::File { path, .. } => write!(f, "{:?}", path.display().to_string()),
        }
    }
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Default => f.write_str("default"),
            Self::File { path, line } => write!(f, "{}:{line}", path.display()),
            Self::Variable(name) => f.write_str(name),
            Self::Flag(flag) => f.write_str(flag),
            Self::Profile(name) => write!(f, "the profile {name}"),
        }
    }
}

/// A quiz.toml, for the fuzz targets: each error says where.
#[cfg(any(test, feature = "fuzz"))]
pub(in crate::load) fn fuzz(path: &Path, text: &str) {
    match file::read(&Document::new(path, text), &types(BTreeMap::new())) {
        Ok(found) => assert!(found.iter().all(|(name, _)| SCHEMA.iter().any(|known| known.name == name))),
        Err(error) => assert!(error.to_string().starts_with(&format!("{}:", path.display()))),
    }
}

#[cfg(test)]
mod tests;
