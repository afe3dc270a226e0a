//! What a command is about: the project and the cache, the stages and what they are pinned to, the machine that they make.
//!
//! Needs no command line, and shows nothing: what happens goes out as events.
//!
//! `docs/library.md` has an example; it stands on the first page of the crate, too.

pub mod capsules;
mod copying;
pub mod crashes;
pub mod debug;
pub mod drgn;
pub mod holders;
pub mod kernel_config;
pub mod machine;
pub mod memory;
pub mod named;
mod noted;
mod outside;
mod packs;
mod pinned;
pub mod pins;
pub mod program;
pub mod qemu;
pub mod running;
pub mod shares;
pub mod sharing;
mod signed;
pub mod snapshots;
pub mod sources;
pub mod ssh;
pub mod symbols;
pub mod tidy;
pub mod tree;
mod update;
mod wishes;

use crate::build::{self, Causes, Context, Depth, Needed, Records, StageState, Tools};
use crate::error::{Error, Result};
use crate::event::told::slowly;
use crate::event::{Event, Events, Unit};
use crate::graph::{Graph, NodeIndex};
use crate::load::{FlagValue, Project, Recipe, TOOLCHAIN};
use crate::source::{self, Pin};
use pinned::pinned_before;
use quiz_cache::{Cache, Fingerprint};
use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::time::Instant;
use wishes::SourceWish;

pub use wishes::{BuiltOf, SourceFolder};

/// The stage that a machine boots.
pub const IMAGE: &str = "image";

/// The architectures that quiz has recipes and a qemu for.
const ARCHES: &[&str] = &["x86_64"];

/// How often sources that change while they are read are looked at.
const LOOKS: usize = 4;

/// Source folders as they were when they were looked at.
pub type Scans = BTreeMap<PathBuf, Fingerprint>;

/// What is asked for, of which project.
#[derive(Debug, Clone, Default)]
pub struct Invocation {
    /// A folder in the project; without one the current folder.
    pub dir: Option<PathBuf>,
    /// Settings that win over those of all files.
    pub flags: Vec<FlagValue>,
    /// Nothing is fetched: what would have to be is an error.
    pub offline: bool,
}

/// The project, the cache, and where events go.
pub struct Engine<'a> {
    /// Its settings, recipes and profiles.
    pub project: Project,
    /// What was made before, here and in other worktrees.
    pub cache: Cache,
    /// Where what happens is told.
    pub events: Events<'a>,
    /// When this was opened.
    pub begun: Instant,
    source: source::Context,
}

/// Stages, and what those that are sources ask for, which is found out once.
pub struct Stages {
    /// The stages, each with what it reads.
    pub graph: Graph,
    wishes: Vec<SourceWish>,
}

impl<'a> Engine<'a> {
    /// Reads the project that a folder is in, and opens its cache.
    ///
    /// # Errors
    /// The project's files are wrong, or another user's; the cache cannot be used.
    pub fn open(asked: &Invocation, events: Events<'a>) -> Result<Self> {
        Self::open_with(asked, std::env::vars_os().collect(), events)
    }

    fn open_with(asked: &Invocation, variables: Vec<(OsString, OsString)>, events: Events<'a>) -> Result<Self> {
        let begun = Instant::now();
        let start = match &asked.dir {
            Some(dir) => std::fs::canonicalize(dir)
                .map_err(|e| Error::input(format!("-C {}: no such folder", dir.display())).because(e))?,
            None => std::env::current_dir().map_err(|e| Error::input("cannot find the current folder").because(e))?,
        };
        let project = Project::load_with(&start, &asked.flags, variables)?;
        let arch = project.settings.text("arch");
        if !ARCHES.contains(&arch) {
            return Err(project
                .settings
                .wrong("arch", arch, format!("quiz cannot build for `{arch}`"))
                .hint(format!("the architectures that it builds for: {}", ARCHES.join(", "))));
        }
        let cache = sharing::open(&project)?;
        let source = source_context(&project, cache.own(), start, asked.offline);
        Ok(Self { project, cache, events, begun, source })
    }

    /// The same project with other flags, opened where this one was.
    ///
    /// # Errors
    /// As of [`Self::open`].
    pub fn with_flags(&self, flags: Vec<FlagValue>) -> Result<Self> {
        self.asked(flags, None)
    }

    /// The same project with other flags, and with these variables (`NAME=value`) in the place of those that say what is built, if it is known which,
    /// opened where this one was.
    ///
    /// # Errors
    /// As of [`Self::open`].
    pub fn asked(&self, flags: Vec<FlagValue>, variables: Option<&[String]>) -> Result<Self> {
        let dir = Some(self.source.start.clone());
        let mut all: Vec<(OsString, OsString)> = std::env::vars_os().collect();
        if let Some(variables) = variables {
            let replaced: Vec<&str> =
                self.project.settings.shaping_variables().filter_map(|word| word.split('=').next()).collect();
            all.retain(|(name, _)| !replaced.iter().any(|other| name == *other));
            let split = |word: &String| word.split_once('=').map(|(name, value)| (name.into(), value.into()));
            all.extend(variables.iter().filter_map(split));
        }
        Self::open_with(&Invocation { dir, flags, offline: self.source.offline }, all, self.events)
    }

    /// The stages of these names, and all that they read.
    ///
    /// # Errors
    /// There is no such stage, or the options of one are wrong.
    pub fn stages<'n>(&self, names: impl IntoIterator<Item = &'n str>) -> Result<Stages> {
        let graph = Graph::bind(&self.project, names)?;
        let wishes = wishes::of(&self.project, &graph, &self.source)?;
        Ok(Stages { graph, wishes })
    }

    /// Every stage there is: of each recipe without parameter that is there by the settings, the toolchain's qemu if machines run
    /// in that, and what they read.
    ///
    /// # Errors
    /// As of [`Self::stages`].
    pub fn all_stages(&self) -> Result<Stages> {
        let qemu = if qemu::is_brought(self)? { Some(qemu::stage()) } else { None };
        self.stages(self.plain_recipes().map(|recipe| recipe.name.as_str()).chain(qemu.as_deref()))
    }

    /// The stages that are of interest here: those of the image, and of the project's own recipes.
    ///
    /// # Errors
    /// As of [`Self::stages`].
    pub fn project_stages(&self) -> Result<Stages> {
        let own = self.plain_recipes().filter(|recipe| recipe.path.starts_with(&self.project.dir));
        self.stages(std::iter::once(IMAGE).chain(own.map(|recipe| recipe.name.as_str())))
    }

    /// Every stage there is, or if `name` is one with a parameter, that and what it reads.
    ///
    /// # Errors
    /// As of [`Self::stages`].
    pub fn stages_with(&self, name: &str) -> Result<Stages> {
        let whole = self.all_stages()?;
        if whole.graph.find(name).is_ok() || !name.contains(':') {
            return Ok(whole);
        }
        self.stages([name])
    }

    /// Where a source is looked for.
    fn source_of(&self, wish: &SourceWish) -> Cow<'_, source::Context> {
        if !wish.is_outside {
            return Cow::Borrowed(&self.source);
        }
        let mirrors = outside::mirrors(&self.project, &self.source.mirrors);
        Cow::Owned(source::Context { mirrors, ..self.source.clone() })
    }

    fn plain_recipes(&self) -> impl Iterator<Item = &Recipe> {
        let settings = &self.project.settings;
        // A project's own recipe `toolchain` makes all roots: of quiz's recipes those that name the suite of their root are then left out.
        let is_own = self.project.recipes.get(TOOLCHAIN).is_some_and(|toolchain| toolchain.own.is_some());
        let recipes = self.project.recipes.values().map(AsRef::as_ref);
        let recipes =
            recipes.filter(move |recipe: &&Recipe| !(is_own && recipe.own.is_none() && recipe.suite.is_some()));
        recipes.filter(|recipe| !recipe.takes_parameter() && recipe.is_there(settings))
    }

    /// The tools that these stages need, those that bring their sources, those of the profiles, and quiz's own.
    pub fn needed(&self, stages: &Stages) -> Vec<Needed> {
        let Stages { graph, wishes } = stages;
        let stages = graph.order().into_iter().map(|id| graph.stage(id));
        let on_host: Vec<_> = stages.filter(|stage| stage.toolchain().is_none()).collect();
        let needed = build::needed(on_host.iter().map(|stage| stage.recipe.as_ref()));
        let tools: BTreeSet<_> = wishes.iter().flat_map(|w| w.wish.tools()).copied().collect();
        let new: Vec<_> = tools.into_iter().filter(|(name, _)| !needed.iter().any(|n| n.name == *name)).collect();
        // A tool that a recipe takes only on demand of a profile is needed by that recipe's stage alone: on this machine if the stage runs
        // here, else in its root.
        let in_root = |tool: &str| {
            let demands = |recipe: &Recipe| recipe.tools_on_demand.contains_key(tool);
            self.project.recipes.values().any(|recipe| demands(recipe))
                && !on_host.iter().any(|stage| demands(&stage.recipe))
        };
        let by_profiles = self.project.profiles.iter().flat_map(|profile| {
            let by = format!("the profile {}", profile.name);
            profile
                .tools
                .iter()
                .filter(|(name, _)| !in_root(name))
                .map(move |(name, package)| ((name.as_str(), package.as_str()), by.clone()))
        });
        by_profiles.fold(build::with_tools(needed, &new), |all, (tool, by)| build::with_tool_of(all, tool, &by))
    }

    /// Where it is remembered whether KVM works here.
    pub fn kvm_verdicts(&self) -> PathBuf {
        self.cache.own().join("kvm.toml")
    }

    /// What would be done: the walk without making anything, without resolving anything.
    ///
    /// # Errors
    /// A source folder, the cache or quiz.lock cannot be read.
    pub fn plan(&self, stages: &Stages) -> Result<Vec<(NodeIndex, StageState)>> {
        self.plan_with(stages, &mut BTreeMap::new())
    }

    /// As [`Self::plan`], and why each stage would be made.
    ///
    /// # Errors
    /// As of [`Self::plan`].
    pub fn explain(&self, stages: &Stages) -> Result<(Vec<(NodeIndex, StageState)>, Causes)> {
        let live = self.scan(stages, &mut BTreeMap::new())?;
        let ctx = self.context(stages, &self.needed(stages), pinned_before(stages)?, live)?;
        let states = build::plan(&ctx)?;
        let causes = build::causes(&ctx, &states)?;
        Ok((states, causes))
    }

    /// As [`Self::plan`], but a source folder that is in `scans` is not looked at again; the others are added.
    ///
    /// # Errors
    /// As of [`Self::plan`].
    pub fn plan_with(&self, stages: &Stages, scans: &mut Scans) -> Result<Vec<(NodeIndex, StageState)>> {
        let pins = pinned_before(stages)?;
        build::plan(&self.context(stages, &self.needed(stages), pins, self.scan(stages, scans)?)?)
    }

    /// Pins what moves, then makes what is missing of the wanted stages; see [`build::build`].
    ///
    /// # Errors
    /// A tool is missing, something cannot be pinned or fetched, or a stage failed.
    pub fn build(&self, stages: &Stages, wanted: &[NodeIndex], depth: Depth) -> Result<Records> {
        self.make(stages, &self.needed(stages), &BTreeSet::new(), &|ctx| build::build(ctx, wanted, depth))
    }

    /// Pins what moves, then does what `work` does, the stages `fresh` from nothing; once more when a source changes meanwhile.
    /// `needed` are the stages' tools, and others that have to be there.
    ///
    /// # Errors
    /// A tool is missing, something cannot be pinned or fetched, or that of `work`.
    pub fn make<T>(
        &self,
        stages: &Stages,
        needed: &[Needed],
        fresh: &BTreeSet<NodeIndex>,
        work: &dyn Fn(&Context<'_>) -> Result<T>,
    ) -> Result<T> {
        self.worked(stages, needed, &|ctx| ctx.fresh.clone_from(fresh), work)
    }

    fn worked<T>(
        &self,
        stages: &Stages,
        needed: &[Needed],
        set_up: &dyn Fn(&mut Context<'_>),
        work: &dyn Fn(&Context<'_>) -> Result<T>,
    ) -> Result<T> {
        // Before anything is fetched: nobody shall learn of a missing tool only after minutes.
        build::require(needed)?;
        let waiting = || (self.events)(Event::Paused { what: "`quiz gc`".to_owned() });
        let _held = self.cache.hold(&waiting).map_err(|e| Error::build("the cache cannot be locked").because(e))?;
        self.take_carried()?;
        let pins = self.pin(stages)?;
        for _ in 0..LOOKS {
            let mut ctx = self.context(stages, needed, pins.clone(), self.scan(stages, &mut BTreeMap::new())?)?;
            ctx.is_past = stages.wishes.iter().any(|w| w.pin.is_some());
            set_up(&mut ctx);
            match work(&ctx) {
                Err(error) if build::has_moved(&error) => {
                    let why = std::error::Error::source(&error).map_or_else(String::new, ToString::to_string);
                    (self.events)(Event::Note { message: format!("{why}: looking at the sources again") });
                }
                other => return other,
            }
        }
        let folders: Vec<String> =
            stages.wishes.iter().filter_map(|w| w.dir()).map(|d| d.display().to_string()).collect();
        Err(Error::build(format!("{} changed each time quiz read it", folders.join(" or ")))
            .hint("find out what writes to it: `quiz -v build` names the files that changed"))
    }

    /// As [`Self::make`], for a stage that runs on the user's terminal, of which `told` are variables.
    ///
    /// # Errors
    /// As of [`Self::make`].
    pub fn make_on_terminal<T>(
        &self,
        stages: &Stages,
        id: NodeIndex,
        told: &[(String, OsString)],
        work: &dyn Fn(&Context<'_>) -> Result<T>,
    ) -> Result<T> {
        // Its inputs are made before, as in any build: their lines must not be written over the script's screen.
        self.build(stages, &stages.graph.inputs(id), Depth::Outputs)?;
        self.worked(stages, &self.needed(stages), &|ctx| ctx.terminal = Some((id, told.to_vec())), work)
    }

    /// The source folders that people edit, as they are now.
    fn scan(&self, stages: &Stages, scans: &mut Scans) -> Result<BTreeMap<NodeIndex, Fingerprint>> {
        let mut live = BTreeMap::new();
        for (id, dir) in stages.wishes.iter().filter_map(|w| w.dir().map(|dir| (w.id, dir))) {
            if !scans.contains_key(dir) {
                let what = format!("looking at {}", dir.file_name().unwrap_or(dir.as_os_str()).display());
                let scan = slowly(&what, Unit::Files, self.events, |slow| build::scan(&self.cache, dir, slow.looked))?;
                scans.insert(dir.to_owned(), scan);
            }
            live.insert(id, scans[dir].clone());
        }
        Ok(live)
    }

    fn context<'g>(
        &'g self,
        stages: &'g Stages,
        needed: &[Needed],
        pins: BTreeMap<NodeIndex, Pin>,
        live: BTreeMap<NodeIndex, Fingerprint>,
    ) -> Result<Context<'g>> {
        let tools = Tools::identify(needed, &self.cache)?;
        Context::new(&self.project, &stages.graph, &self.cache, tools, pins, live, self.source.clone(), self.events)
    }
}

/// How a project looks for sources; `cache` is the folder in the cache that belongs to this user alone.
fn source_context(project: &Project, cache: &Path, start: PathBuf, offline: bool) -> source::Context {
    let text = |key: &str| project.settings.text(key).to_owned();
    source::Context {
        cache: cache.join("source"),
        arch: text("arch"),
        mirrors: source::Mirrors { mirror: text("packages.mirror"), snapshot: text("packages.snapshot") },
        offline,
        base: project.dir.clone(),
        start,
    }
}
