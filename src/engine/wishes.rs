//! What the source stages of a graph ask for, by their options, and where that is pinned.

use super::Stages;
use crate::build::Records;
use crate::error::{Error, Result};
use crate::graph::{Graph, NodeIndex};
use crate::load::{OptionSpec, Origin, Project, Value, nearest};
use crate::source::{self, Pin, Spec, Wish};
use quiz_cache::Digest;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// A source stage's wish, and the lock file it is pinned in.
pub(super) struct SourceWish {
    pub id: NodeIndex,
    pub wish: Wish,
    pub lock: PathBuf,
    /// The lock file in which an older quiz has pinned it, if that had another name for it.
    pub former: PathBuf,
    /// Its recipe's `[source]`.
    pub spec: Spec,
    /// What it brings runs outside of the sandbox.
    pub is_outside: bool,
    /// What is taken whatever the wish and the lock file say.
    pub pin: Option<Pin>,
    /// Where somebody set `toolchain.suite`, by which these packages are looked for: a hint at the narrower setting, for when that suite lacks them.
    suite: Option<String>,
}

impl SourceWish {
    /// The folder that people edit of which it is made.
    pub fn dir(&self) -> Option<&Path> {
        self.wish.dir().filter(|_| self.pin.is_none())
    }

    /// The error of what could not be had, with what to type.
    pub fn failed(&self, error: Error) -> Error {
        // Whatever is no version is looked for as a name in git. It may as well be one of these words, misspelt.
        let git = self.wish.to_string();
        let is_near = git.strip_prefix("git ").and_then(|name| nearest(name, ["package", "default"]));
        let error = match is_near {
            Some(near) => error.first_hint(format!("did you mean `{near}`?")),
            None => error,
        };
        match &self.suite {
            Some(hint) => error.hint(hint.clone()),
            None => error,
        }
    }
}

/// A folder that people edit, of which a source stage is made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SourceFolder {
    /// The stage.
    pub stage: String,
    /// The folder.
    pub folder: PathBuf,
    /// The digest of what was in it, as a stage has it.
    pub source: Digest,
}

/// What a machine was built of, so that it can be built of that again.
#[derive(Debug, Clone, Default)]
pub struct BuiltOf {
    /// The folders that people edit.
    pub folders: Vec<SourceFolder>,
    /// What its other sources were asked for by, and pinned to.
    pub pinned: Vec<(Wish, Pin)>,
}

impl BuiltOf {
    /// Whether nothing is known of it.
    pub fn is_empty(&self) -> bool {
        self.folders.is_empty() && self.pinned.is_empty()
    }
}

impl Stages {
    /// What stages that are `known` were built of, with these pins.
    pub fn built_of(&self, known: &Records, pins: &BTreeMap<NodeIndex, Pin>) -> BuiltOf {
        let pinned = self.wishes.iter().filter(|w| w.dir().is_none() && !w.is_outside);
        let pinned = pinned.filter_map(|w| Some((w.wish.clone(), pins.get(&w.id)?.clone()))).collect();
        BuiltOf { folders: self.folders(known), pinned }
    }

    /// The folder that people edit of which a source stage is made; `None` where it is fetched.
    pub fn folder(&self, id: NodeIndex) -> Option<PathBuf> {
        self.wishes.iter().find(|w| w.id == id).and_then(SourceWish::dir).map(ToOwned::to_owned)
    }

    /// All such folders, of the stages that are `known`.
    pub fn folders(&self, known: &Records) -> Vec<SourceFolder> {
        let folder = |w: &SourceWish| {
            let source = known.get(&w.id)?.outputs.values().next()?.digest;
            let (stage, folder) = (self.graph.stage(w.id).name.clone(), w.wish.dir()?.to_owned());
            Some(SourceFolder { stage, folder, source })
        };
        self.wishes.iter().filter_map(folder).collect()
    }

    /// Has a stage that is made of a folder be made of what this pin says, which is in no quiz.lock; gives the stage.
    pub(super) fn pin(&mut self, stage: &str, pin: Pin) -> Option<NodeIndex> {
        let w = self.wishes.iter_mut().find(|w| self.graph.stage(w.id).name == stage && w.wish.dir().is_some())?;
        w.pin = Some(pin);
        Some(w.id)
    }
}

/// What each source stage of the graph asks for.
pub(super) fn of(project: &Project, graph: &Graph, source: &source::Context) -> Result<Vec<SourceWish>> {
    let mut wishes = Vec::new();
    for id in graph.order() {
        let stage = graph.stage(id);
        let Some(spec) = stage.recipe.source() else { continue };
        let options = stage.options.iter().map(|(name, value)| (name.clone(), words(value)));
        let setting = |(name, option): (&String, &OptionSpec)| {
            option.setting.clone().unwrap_or_else(|| stage.recipe.own_setting(name))
        };
        let mut keys: Vec<String> = stage.recipe.options.iter().map(setting).collect();
        let mut options: BTreeMap<String, Vec<String>> = options.collect();
        // What is compiled runs in a root of the same suite.
        let suite = project.settings.text("toolchain.suite");
        let mut chosen = None;
        if suite != "host" && spec.packages.is_some() && options.get("suite").is_some_and(|words| words == &[""]) {
            options.insert("suite".to_owned(), vec![suite.to_owned()]);
            keys.push("toolchain.suite".to_owned());
            chosen = project.settings.get("toolchain.suite").filter(|set| set.origin != Origin::Default).map(|set| {
                let by = format!("toolchain.suite = {suite} ({}) is the suite of everything", set.origin);
                format!("{by}; for the kernel and its modules alone set kernel.toolchain = \"{suite}\" instead")
            });
        }
        // What a distribution has is looked for in the suite whose compilers it meets, so that it is the same on all hosts, and modules for
        // what was compiled there are compiled by the same compiler.
        let setting = project.suite_setting(true);
        let compilers = project.settings.text(setting);
        if compilers != "host" && (spec.binary.is_some() || spec.debian.is_some() || spec.dsc.is_some()) {
            options.insert("own".to_owned(), vec![compilers.to_owned()]);
        }
        if compilers != "host" && spec.binary.is_some() {
            keys.push(setting.to_owned());
        }
        if stage.suite() == Some(compilers) {
            keys.push(setting.to_owned());
        }
        let spec = Spec { entry: stage.entry().unwrap_or_default().to_owned(), ..spec.clone() };
        let wish = Wish::new(&spec, &options, source);
        let wish = wish.map_err(|error| {
            let error = placed(project, error, &keys);
            keys.iter().fold(error, |error, key| asked_by(project, error, key))
        })?;
        // Whose pin it was before the suite was a part of what is asked for.
        let former = wish.own().map(|_| project.lock_path(keys.clone()));
        keys.extend(wish.own().map(|_| setting.to_owned()));
        let lock = match &stage.recipe.own {
            // Another project's recipe may ask by the same words for something else, so the pin is this project's alone.
            Some(_) => project.own_lock(),
            // What runs on this machine itself is pinned by its user, whatever the project's quiz.lock says.
            None if stage.is_outside() => project.lock_path([]),
            None => project.lock_path(keys),
        };
        let former = former.filter(|_| stage.recipe.own.is_none()).unwrap_or_else(|| lock.clone());
        wishes.push(SourceWish {
            id,
            wish,
            lock,
            former,
            spec,
            suite: chosen,
            is_outside: stage.is_outside(),
            pin: None,
        });
    }
    Ok(wishes)
}

fn words(value: &Value) -> Vec<String> {
    match value {
        Value::List(items) => items.clone(),
        Value::Text(text) => vec![text.clone()],
        Value::Number(number) => vec![number.to_string()],
        Value::Flag(flag) => vec![flag.to_string()],
        Value::File { path, .. } => vec![path.display().to_string()],
    }
}

/// The error with its place in a file, where only one of the settings can be wrong, as nobody set the others.
fn placed(project: &Project, error: Error, keys: &[String]) -> Error {
    let is_set = |key: &&String| project.settings.get(key).is_some_and(|set| set.origin != Origin::Default);
    match &keys.iter().filter(is_set).collect::<Vec<_>>()[..] {
        [key] => error.at(project.settings.place(key, "")),
        _ => error,
    }
}

/// The error with the place where a setting was set, if anybody did.
fn asked_by(project: &Project, error: Error, key: &str) -> Error {
    match project.settings.get(key) {
        Some(set) if set.origin != Origin::Default => {
            error.hint(format!("asked for by {key} = {} ({})", set.value, set.origin))
        }
        _ => error,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::load::FlagValue;
    use crate::source::{Context, Mirrors};

    /// What each source stage asks for, by its name, in a project with these settings.
    fn wishes(dir: &std::path::Path, toml: &str, source: &str) -> BTreeMap<String, SourceWish> {
        let flag = |key, value: &str| FlagValue { key, value: Value::Text(value.into()), flag: "--x" };
        let flags = [flag("toolchain.suite", "bookworm"), flag("kernel.source", source)];
        wishes_of(dir, toml, &flags, &["image", "zfs"])
    }

    fn wishes_of(
        dir: &std::path::Path,
        toml: &str,
        flags: &[FlagValue],
        stages: &[&str],
    ) -> BTreeMap<String, SourceWish> {
        std::fs::write(dir.join("quiz.toml"), toml).unwrap();
        let project = Project::load(dir, flags).unwrap();
        let graph = Graph::bind(&project, stages.iter().copied()).unwrap();
        let place = || dir.to_owned();
        let context = Context {
            cache: place(),
            arch: "x86_64".into(),
            mirrors: Mirrors::default(),
            offline: true,
            start: place(),
            base: place(),
        };
        let wishes = of(&project, &graph, &context).unwrap();
        wishes.into_iter().map(|w| (graph.stage(w.id).name.clone(), w)).collect()
    }

    /// What each source stage asks for, and whether it is pinned beside the project's quiz.toml.
    fn asked(toml: &str, source: &str) -> BTreeMap<String, (String, bool)> {
        let dir = tempfile::tempdir().unwrap();
        let own = dir.path().join("quiz.lock");
        let wishes = wishes(dir.path(), toml, source);
        wishes.into_iter().map(|(name, w)| (name, (w.wish.to_string(), w.lock == own))).collect()
    }

    #[test]
    fn what_a_chosen_suite_lacks_is_said_with_the_setting_that_is_for_kernels_alone() {
        let dir = tempfile::tempdir().unwrap();
        let wishes = wishes(dir.path(), "", "");
        let lacks = |stage: &str| wishes[stage].failed(Error::input("x has no package libssl3")).hints().to_vec();
        let hint = "toolchain.suite = bookworm (--x) is the suite of everything; for the kernel and its modules alone set \
            kernel.toolchain = \"bookworm\" instead";
        assert_eq!(lacks("rootfs-packages"), [hint]);
        assert!(lacks("kernel-source").is_empty(), "toolchain.suite is not the suite of the kernel's source");
    }

    #[test]
    fn a_misspelt_word_is_told_before_what_else_may_be_wrong_with_a_name_in_git() {
        let dir = tempfile::tempdir().unwrap();
        let flags = [FlagValue { key: "kernel.version", value: Value::Text("packge".into()), flag: "--x" }];
        let wishes = wishes_of(dir.path(), "", &flags, &["kernel-source"]);
        let error = wishes["kernel-source"].failed(Error::input("cannot list").hint("is there network?"));
        assert_eq!(error.hints(), ["did you mean `package`?", "is there network?"]);
    }

    #[test]
    fn a_suite_of_the_kernels_is_pinned_where_it_is_named_and_moves_no_other_root() {
        let mut plain = asked("", "");
        let mut with = asked("[kernel]\ntoolchain = \"bullseye\"\n", "");
        let (root, is_own) = with.remove("toolchain:kernel@bullseye").unwrap();
        assert!(is_own && root.starts_with("bullseye amd64: bc binutils "), "{root}");
        // The root in which the agent is compiled.
        assert!(with["toolchain:kernel"].0.starts_with("bookworm amd64: bc binutils "), "{with:?}");
        // The default kernel and OpenZFS are those of the compilers' suite.
        for (stage, origin) in [("kernel-source", "debian"), ("zfs-source", "dsc")] {
            assert_eq!(with.remove(stage).unwrap(), (format!("{origin} default near bullseye"), true));
            plain.remove(stage).unwrap();
        }
        assert_eq!(with, plain);
    }

    /// What a clone's quiz.lock names would run outside of the sandbox.
    #[test]
    fn what_runs_outside_of_a_sandbox_is_pinned_by_the_user_alone() {
        let toml = "[toolchain]\nsuite = \"trixie\"\n[machine]\nqemu = \"toolchain\"\n[drgn]\nversion = \"0.2\"\n";
        let dir = tempfile::tempdir().unwrap();
        let own = dir.path().join("quiz.lock");
        let is_own = |stages: &[&str]| -> BTreeMap<String, bool> {
            let wishes = wishes_of(dir.path(), toml, &[], stages);
            wishes.into_iter().map(|(name, wish)| (name, wish.lock == own)).collect()
        };
        let locks = is_own(&["toolchain:qemu", "toolchain:kernel", "drgn"]);
        let wanted = [
            ("drgn-wheel", false),
            ("toolchain:drgn@bookworm", false),
            ("toolchain:kernel", true),
            ("toolchain:qemu", false),
        ];
        assert_eq!(locks, wanted.map(|(name, is_own)| (name.to_owned(), is_own)).into());
        // Each has an entry of its own: an update of qemu or drgn must not bring other compilers, by which everything would be made again.
        let wishes = wishes_of(dir.path(), toml, &[], &["toolchain:qemu", "toolchain:kernel", "drgn"]);
        let entries: Vec<&str> = wishes.values().map(|wish| wish.wish.entry()).collect();
        assert_eq!(entries, ["drgn", "drgn", "toolchain", "qemu"]);
    }

    /// A project's own recipe would put its bytes behind the wish of one of quiz's own, for all projects of the user.
    #[test]
    fn what_a_projects_recipe_fetches_is_pinned_beside_it() {
        let dir = tempfile::tempdir().unwrap();
        let recipe = dir.path().join(".quiz/recipes/theirs");
        std::fs::create_dir_all(&recipe).unwrap();
        let text = "version = 1\nabout = \"x\"\noutside = true\n[options]\nversion = { type = \"string\", default = \"0.2\", about = \"x\" }\n\
            [outputs]\ntree = \"tree\"\n[source]\nentry = \"drgn\"\n[source.wheel]\nindex = \"https://example.org/\"\n\
            project = \"drgn\"\npython = \"cp311\"\n";
        std::fs::write(recipe.join("recipe.toml"), text).unwrap();
        let flags = [FlagValue { key: "drgn.version", value: Value::Text("0.2".into()), flag: "--x" }];
        let wishes = wishes_of(dir.path(), "", &flags, &["theirs", "drgn"]);
        let lock = |stage: &str| (wishes[stage].wish.to_string(), wishes[stage].lock == dir.path().join("quiz.lock"));
        let wish = "wheel 0.2 for cp311 x86_64".to_owned();
        assert_eq!((lock("theirs"), lock("drgn-wheel")), ((wish.clone(), true), (wish, false)));
        assert!(!wishes["theirs"].is_outside && wishes["drgn-wheel"].is_outside);
    }

    /// Without a quiz.lock two hosts would otherwise get another kernel and another OpenZFS.
    #[test]
    fn sources_of_a_distribution_come_from_the_suite_of_the_compilers_whatever_the_host_is() {
        let plain = asked("", "debian");
        let wish = |all: &BTreeMap<String, (String, bool)>, stage: &str| all[stage].clone();
        assert_eq!(wish(&plain, "kernel-source"), ("debian default near bookworm".to_owned(), false));
        assert_eq!(wish(&plain, "zfs-source"), ("dsc default near bookworm".to_owned(), false));
        let kernels = asked("[kernel]\ntoolchain = \"trixie\"\n", "debian");
        assert_eq!(wish(&kernels, "kernel-source"), ("debian default near trixie".to_owned(), true));
        // An OpenZFS of the same suite: an older one does not know that kernel.
        assert_eq!(wish(&kernels, "zfs-source"), ("dsc default near trixie".to_owned(), true));
        // What is not looked for there is pinned where it was.
        let git = asked("[kernel]\ntoolchain = \"trixie\"\n", "git");
        assert_eq!(wish(&git, "kernel-source"), ("git default".to_owned(), false));
        let dir = tempfile::tempdir().unwrap();
        let host = [FlagValue { key: "toolchain.suite", value: Value::Text("host".into()), flag: "--x" }];
        assert_eq!(wishes_of(dir.path(), "", &host, &["zfs"])["zfs-source"].wish.to_string(), "dsc default");
    }

    /// What a team has pinned does not move because quiz asks for it by another name, in another file.
    #[test]
    fn what_an_older_quiz_has_pinned_counts_until_an_update() {
        let dir = tempfile::tempdir().unwrap();
        let pin = |wanted: &str, version: &str| {
            let sum = "0".repeat(64);
            format!(
                "[[pin]]\nentry = \"kernel\"\nwanted = \"{wanted}\"\nis.package = {{ name = \"linux-source-6.1\", version = \"{version}\", \
                 arch = \"all\", sha256 = \"{sum}\", size = 1, suite = \"bookworm\" }}\n"
            )
        };
        let toml = "[kernel]\ntoolchain = \"trixie\"\n";
        let mut w = wishes(dir.path(), toml, "debian").remove("kernel-source").unwrap();
        assert_ne!(w.lock, w.former, "the user's, and now the project's, as that names the suite");
        // Not the file of who runs the tests.
        w.former = dir.path().join("former.lock");
        let version = |ours: &str, theirs: &str| {
            std::fs::write(&w.lock, format!("version = 1\n{ours}")).unwrap();
            std::fs::write(&w.former, format!("version = 1\n{theirs}")).unwrap();
            let pin = super::super::pinned::of_locks(&w, &mut BTreeMap::new()).unwrap();
            pin.map(|(pin, _)| pin.to_string().rsplit(' ').nth(2).unwrap().to_owned())
        };
        let (old, new) = (pin("debian default", "6.1.1"), pin("debian default near trixie", "6.1.2"));
        assert_eq!(version("", ""), None);
        assert_eq!(version("", &old).as_deref(), Some("6.1.1"));
        assert_eq!(version(&new, &old).as_deref(), Some("6.1.2"));
        // That another suite's is pinned is somebody else's matter.
        assert_eq!(version(&pin("debian default near sid", "6.1.3"), &old).as_deref(), Some("6.1.1"));
    }

    #[test]
    fn a_distributions_kernel_is_looked_for_where_its_modules_compiler_is_from() {
        assert_eq!(asked("", "package")["linux-image"].0, "package default near bookworm");
        let with = asked("[kernel]\ntoolchain = \"trixie\"\n", "package");
        assert_eq!(with["linux-image"], ("package default near trixie".to_owned(), true));
        assert_eq!(with["linux-headers"], with["linux-image"]);
    }
}
