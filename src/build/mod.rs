//! Builds: walks the graph once, inputs first; per stage key, look up, make if missing.
//!
//! Names no recipe. `plan` is the same walk with "do not make".

mod ask;
mod causes;
mod changed;
mod compare;
mod cost;
mod editor;
mod failure;
mod follow;
#[cfg(any(test, feature = "fuzz"))]
pub(crate) mod fuzz;
mod history;
mod key;
mod lacks;
mod latest;
mod live;
mod logged;
mod make;
mod paths;
mod plan;
mod refusal;
mod sandbox;
mod scratch;
mod script;
mod terminal;
mod tools;
mod trial;
mod userns;
mod verify;
mod walk;
mod weaker;

pub use ask::on_terminal;
pub use causes::{Cause, CauseKind, Causes, causes};
pub use changed::FileChange;
pub use compare::Difference;
pub use cost::{Cost, cost};
pub use history::{Build, How, Ran, builds};
pub use lacks::{Lack, Lacks};
pub use latest::{Last, changed_tools, everywhere, last_took, worktrees};
pub use live::{has_moved, scan};
pub use plan::{Missing, StageState, plan};
pub use tools::{Needed, Tools, identify, install_line, needed, require, with_tool_of, with_tools};
pub use trial::{noexec, try_sandbox};
pub use verify::{Verified, require_script, verify};
pub use walk::{Depth, build};

use crate::error::{Error, Result};
use crate::event::Events;
use crate::graph::{Graph, NodeIndex};
use crate::load::{Project, Recipe};
use crate::source;
use quiz_cache::{Cache, Fingerprint, Output, Record, Tree};
use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsString;
use std::path::PathBuf;
use std::sync::Mutex;

/// The records of the stages that a walk knows so far: found in the cache, or made.
pub type Records = BTreeMap<NodeIndex, Record>;

/// All that a walk reads.
pub struct Context<'a> {
    /// What was asked for.
    pub project: &'a Project,
    /// The stages.
    pub graph: &'a Graph,
    /// Where artifacts are kept.
    pub cache: &'a Cache,
    /// The host's tools.
    pub tools: Tools,
    /// What quiz.lock says of each source stage.
    pub pins: BTreeMap<NodeIndex, source::Pin>,
    /// The source stages that are folders which people edit, as they were when they were looked at.
    pub live: BTreeMap<NodeIndex, Fingerprint>,
    /// How sources are fetched.
    pub source: source::Context,
    /// Where events go.
    pub events: Events<'a>,
    /// The stages that are made from nothing, whatever the cache and their scratch folders have.
    pub fresh: BTreeSet<NodeIndex>,
    /// The stage whose script runs on the user's terminal, and the variables that describe the terminal to it.
    pub terminal: Option<(NodeIndex, Vec<(String, OsString)>)>,
    /// What is made is of sources that were there once: nobody is told that it is what the project has now.
    pub is_past: bool,
    /// Compilers at once over all stages.
    pub jobs: usize,
    jobserver: jobserver::Client,
    /// The parts of the sandbox that no stage can have here, as far as that has turned out.
    lacks: Mutex<Lacks>,
    /// What became of each stage so far.
    history: history::History,
}

impl<'a> Context<'a> {
    /// Puts a context together; opens the jobserver.
    ///
    /// # Errors
    /// No pipe can be made.
    #[expect(clippy::too_many_arguments, reason = "one for each field; a builder would say the same twice")]
    pub fn new(
        project: &'a Project,
        graph: &'a Graph,
        cache: &'a Cache,
        tools: Tools,
        pins: BTreeMap<NodeIndex, source::Pin>,
        live: BTreeMap<NodeIndex, Fingerprint>,
        source: source::Context,
        events: Events<'a>,
    ) -> Result<Self> {
        let jobs = match usize::try_from(project.settings.number("build.jobs")) {
            Ok(0) | Err(_) => std::thread::available_parallelism().map_or(1, usize::from),
            Ok(jobs) => jobs,
        };
        let jobserver =
            jobserver::Client::new(jobs).map_err(|e| Error::build("cannot make the jobserver's pipe").because(e))?;
        let (fresh, terminal, lacks) = (BTreeSet::new(), None, Mutex::default());
        let history = history::History::new();
        Ok(Self {
            project,
            graph,
            cache,
            tools,
            pins,
            live,
            source,
            events,
            fresh,
            terminal,
            is_past: false,
            jobs,
            jobserver,
            lacks,
            history,
        })
    }

    /// The recipe's files.
    fn recipe_folder(&self, recipe: &'a Recipe) -> Result<MemoryTree<'a>> {
        MemoryTree::new(recipe.files.iter().map(|(name, bytes, x)| (name.clone(), bytes.as_slice(), *x)).collect())
    }

    /// The files of the profiles that are on: `NN-name/init`, `NN-name/files/…`.
    fn profile_folder(&self) -> Result<MemoryTree<'a>> {
        let mut files: Vec<(String, &[u8], bool)> = Vec::new();
        for (n, profile) in self.project.profiles.iter().enumerate() {
            for (name, bytes, x) in &profile.files {
                files.push((format!("{n:02}-{}/{name}", profile.name), bytes, *x));
            }
        }
        MemoryTree::new(files)
    }

    /// Whether a script may see a tool that its recipe has on demand: a profile that is on asks for it.
    fn is_asked_for(&self, tool: &str) -> bool {
        self.project.profiles.iter().any(|profile| profile.tools.contains_key(tool))
    }

    fn pin(&self, id: NodeIndex) -> Result<&source::Pin> {
        self.pins.get(&id).ok_or_else(|| {
            Error::build(format!("the source of the stage {} is not pinned in quiz.lock", self.graph.stage(id).name))
                .hint("quiz update")
        })
    }
}

/// A tree in memory. Its digest costs no disk; a stage that runs has it laid out in the cache.
struct MemoryTree<'a> {
    files: Vec<(String, &'a [u8], bool)>,
    output: Output,
}

impl<'a> MemoryTree<'a> {
    fn new(files: Vec<(String, &'a [u8], bool)>) -> Result<Self> {
        let output = Tree::from_memory(&files).map_err(cache_error)?.output();
        Ok(Self { files, output })
    }

    fn output(&self) -> &Output {
        &self.output
    }

    fn lay_out(&self, cache: &Cache) -> Result<PathBuf> {
        cache.put_tree_from_memory(&self.files).map_err(cache_error)?;
        Ok(cache.path(&self.output))
    }
}

fn cache_error(error: quiz_cache::Error) -> Error {
    Error::build("the cache cannot be used").because(error)
}
