//! What every command needs first: the project, the cache, and how sources are pinned.

use super::args::Cli;
use crate::build::{self, Context, Known, Needed, State, Tools};
use crate::error::{Error, Result};
use crate::event::{Event, Events};
use crate::graph::{Graph, NodeIndex};
use crate::load::{InputFrom, Origin, Project, Recipe, Value};
use crate::source::{self, Pin, Spec, Wish};
use quiz_cache::{Cache, Fingerprint};
use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::time::Instant;

/// The architectures that quiz has recipes and a qemu for.
const ARCHES: &[&str] = &["x86_64"];

/// How often sources that change while they are read are looked at.
const LOOKS: usize = 4;

/// Source folders as they were when they were looked at.
pub(super) type Scans = BTreeMap<PathBuf, Fingerprint>;

/// The project, the cache, and where events go.
pub(super) struct Session<'a> {
    pub project: Project,
    pub cache: Cache,
    pub source: source::Context,
    pub events: Events<'a>,
    /// When this command was begun.
    pub begun: Instant,
}

/// A source stage's wish, its recipe's `[source]`, and the lock file it is pinned in.
pub(super) struct SourceWish<'g> {
    pub id: NodeIndex,
    pub spec: &'g Spec,
    pub wish: Wish,
    pub lock: PathBuf,
}

impl<'a> Session<'a> {
    pub fn open(cli: &Cli, events: Events<'a>) -> Result<Self> {
        let begun = Instant::now();
        let start = match &cli.global.directory {
            Some(dir) => std::fs::canonicalize(dir)
                .map_err(|e| Error::input(format!("-C {}: no such folder", dir.display())).because(e))?,
            None => std::env::current_dir().map_err(|e| Error::input("the current folder is gone").because(e))?,
        };
        let project = Project::load(&start, &cli.settings())?;
        let arch = project.settings.text("arch");
        if !ARCHES.contains(&arch) {
            return Err(Error::input(format!("quiz cannot build for `{arch}`"))
                .hint(format!("it can for: {}", ARCHES.join(", "))));
        }
        let cache = Cache::open(&project.cache_dir).map_err(|e| {
            Error::build(format!("the cache {} cannot be used", project.cache_dir.display()))
                .because(e)
                .hint("QUIZ_CACHE_DIR sets another place")
        })?;
        let source = source::Context {
            cache: cache.root().join("source"),
            arch: arch.to_owned(),
            offline: cli.global.offline,
            base: project.dir.clone(),
            start,
        };
        Ok(Self { project, cache, source, events, begun })
    }

    /// Every stage there is: of each recipe without parameter, and what they read.
    pub fn whole_graph(&self) -> Result<Graph> {
        Graph::bind(&self.project, self.plain_recipes().map(|recipe| recipe.name.as_str()))
    }

    /// The stages that are of interest here: those of the image, and of the project's own recipes.
    pub fn project_graph(&self) -> Result<Graph> {
        let own = self.plain_recipes().filter(|recipe| recipe.path.starts_with(&self.project.dir));
        Graph::bind(&self.project, std::iter::once(super::IMAGE).chain(own.map(|recipe| recipe.name.as_str())))
    }

    fn plain_recipes(&self) -> impl Iterator<Item = &Recipe> {
        let is_plain = |recipe: &&Recipe| !recipe.inputs.values().any(|input| input.from == InputFrom::Of);
        self.project.recipes.values().filter(is_plain)
    }

    /// Every stage there is, and `name` if it is one with a parameter.
    pub fn graph_with(&self, name: &str) -> Result<Graph> {
        let whole = self.whole_graph()?;
        if whole.find(name).is_ok() || !name.contains(':') {
            return Ok(whole);
        }
        Graph::bind(&self.project, [name])
    }

    /// The tools that the stages of this graph need, those that bring their sources, those of the profiles, and quiz's own.
    pub fn needed(&self, graph: &Graph) -> Result<Vec<Needed>> {
        let needed = build::needed(graph.order().into_iter().map(|id| &graph.stage(id).recipe));
        let wishes = self.wishes(graph)?;
        let tools: BTreeSet<_> = wishes.iter().flat_map(|w| w.wish.tools()).copied().collect();
        let new: Vec<_> = tools.into_iter().filter(|(name, _)| !needed.iter().any(|n| n.name == *name)).collect();
        let by_profiles = self.project.profiles.iter().flat_map(|profile| {
            let by = format!("the profile {}", profile.name);
            profile.tools.iter().map(move |(name, package)| ((name.as_str(), package.as_str()), by.clone()))
        });
        Ok(by_profiles.fold(build::with_tools(needed, &new), |all, (tool, by)| build::with_tool_of(all, tool, &by)))
    }

    /// Where it is remembered whether KVM works here.
    pub fn kvm_verdicts(&self) -> PathBuf {
        self.cache.root().join("kvm.toml")
    }

    /// What each source stage of the graph asks for, and where that is pinned.
    pub fn wishes<'g>(&self, graph: &'g Graph) -> Result<Vec<SourceWish<'g>>> {
        let mut wishes = Vec::new();
        for id in graph.order() {
            let stage = graph.stage(id);
            let Some(spec) = &stage.recipe.source else { continue };
            let options = stage.options.iter().map(|(name, value)| {
                let list = match value {
                    Value::List(items) => items.clone(),
                    Value::Text(text) => vec![text.clone()],
                    Value::Number(number) => vec![number.to_string()],
                    Value::Flag(flag) => vec![flag.to_string()],
                    Value::File { path, .. } => vec![path.display().to_string()],
                };
                (name.clone(), list)
            });
            let own = |name: &String| format!("recipe.{}.{name}", stage.recipe.name);
            let keys = stage.recipe.options.iter().map(|(name, o)| o.setting.clone().unwrap_or_else(|| own(name)));
            let wish = Wish::new(spec, &options.collect(), &self.source);
            let wish = wish.map_err(|error| keys.clone().fold(error, |error, key| self.asked_by(error, &key)))?;
            wishes.push(SourceWish { id, spec, wish, lock: self.project.lock_path(keys) });
        }
        Ok(wishes)
    }

    /// The error with the place where a setting was set, if anybody did.
    fn asked_by(&self, error: Error, key: &str) -> Error {
        match self.project.settings.get(key) {
            Some(set) if set.origin != Origin::Default => {
                error.hint(format!("asked for by {key} = {} ({})", set.value, set.origin))
            }
            _ => error,
        }
    }

    /// What would be done: the walk without making anything, without resolving anything.
    pub fn plan(&self, graph: &Graph) -> Result<Vec<(NodeIndex, State)>> {
        self.plan_with(graph, &mut BTreeMap::new())
    }

    /// The same. A source folder that is in `scans` is not looked at again; the others are added.
    pub fn plan_with(&self, graph: &Graph, scans: &mut Scans) -> Result<Vec<(NodeIndex, State)>> {
        let wishes = self.wishes(graph)?;
        let mut pins = BTreeMap::new();
        for w in wishes.iter().filter(|w| w.wish.dir().is_none()) {
            if let Some(pin) = source::Lock::read(&w.lock)?.get(&w.wish) {
                pins.insert(w.id, pin.clone());
            }
        }
        build::plan(&self.context(graph, pins, self.scan(&wishes, scans)?)?)
    }

    /// Pins what moves, then makes what is missing of the wanted stages; see [`build::build`].
    pub fn build(&self, graph: &Graph, wanted: &[NodeIndex], inputs: bool) -> Result<Known> {
        self.make(graph, &BTreeSet::new(), &|ctx| build::build(ctx, wanted, inputs))
    }

    /// Pins what moves, then does what `work` does, the stages `fresh` from nothing; once more when a source changes meanwhile.
    pub fn make<T>(
        &self,
        graph: &Graph,
        fresh: &BTreeSet<NodeIndex>,
        work: &dyn Fn(&Context<'_>) -> Result<T>,
    ) -> Result<T> {
        // Before anything is fetched: a missing tool found after minutes is the worst time to find it.
        build::require(&self.needed(graph)?)?;
        let waiting = || (self.events)(Event::Paused { what: "`quiz gc`".to_owned() });
        let _held = self.cache.hold(&waiting).map_err(|e| Error::build("the cache cannot be locked").because(e))?;
        let wishes = self.wishes(graph)?;
        let mut pins = BTreeMap::new();
        for w in wishes.iter().filter(|w| w.wish.dir().is_none()) {
            pins.insert(w.id, source::pinned(w.spec, &w.wish, &w.lock, &self.source, self.events)?);
        }
        for _ in 0..LOOKS {
            let mut ctx = self.context(graph, pins.clone(), self.scan(&wishes, &mut BTreeMap::new())?)?;
            ctx.fresh.clone_from(fresh);
            match work(&ctx) {
                Err(error) if build::has_moved(&error) => {
                    let why = std::error::Error::source(&error).map_or_else(String::new, ToString::to_string);
                    (self.events)(Event::Note { message: format!("{why}: looking at the sources again") });
                }
                other => return other,
            }
        }
        let folders: Vec<String> =
            wishes.iter().filter_map(|w| w.wish.dir()).map(|d| d.display().to_string()).collect();
        Err(Error::build(format!("{} changed each time it was looked at", folders.join(" or ")))
            .hint("what writes to it? `quiz -v build` names the files"))
    }

    /// The source folders that people edit, as they are now.
    fn scan(&self, wishes: &[SourceWish<'_>], scans: &mut Scans) -> Result<BTreeMap<NodeIndex, Fingerprint>> {
        let mut live = BTreeMap::new();
        for (id, dir) in wishes.iter().filter_map(|w| w.wish.dir().map(|dir| (w.id, dir))) {
            if !scans.contains_key(dir) {
                scans.insert(dir.to_owned(), build::scan(&self.cache, dir)?);
            }
            live.insert(id, scans[dir].clone());
        }
        Ok(live)
    }

    fn context<'g>(
        &'g self,
        graph: &'g Graph,
        pins: BTreeMap<NodeIndex, Pin>,
        live: BTreeMap<NodeIndex, Fingerprint>,
    ) -> Result<Context<'g>> {
        let tools = Tools::identify(&self.needed(graph)?, &self.cache)?;
        Context::new(&self.project, graph, &self.cache, tools, pins, live, self.source.clone(), self.events)
    }
}
