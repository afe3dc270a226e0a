//! The graph: recipes bound to their options and inputs. Names no recipe but the one that makes roots for scripts;
//! computes no keys.

mod asked;
mod elsewhere;
mod roots;

use crate::error::{Error, Result};
use crate::load::{Input, InputFrom, Profile, Project, Recipe, TOOLCHAIN, Value, nearest};
use asked::Asked;
use petgraph::Direction;
use petgraph::algo::{astar, toposort};
use petgraph::graph::DiGraph;
pub use petgraph::graph::NodeIndex;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// A recipe bound to its options and inputs.
#[derive(Debug)]
pub struct Stage {
    /// The recipe's name; for one with a parameter `recipe:stage/output`.
    pub name: String,
    /// How it is made.
    pub recipe: Arc<Recipe>,
    /// Every option of the recipe with its value.
    pub options: BTreeMap<String, Value>,
    /// What it reads, sorted by name.
    pub inputs: Vec<BoundInput>,
}

impl Stage {
    /// The root that its script runs in; none where that is the host's own.
    pub fn toolchain(&self) -> Option<&BoundInput> {
        self.inputs.iter().find(|input| input.role == Role::Root)
    }

    /// Whether something of that stage is among its inputs.
    fn reads(&self, other: NodeIndex) -> bool {
        self.inputs.iter().any(|input| matches!(&input.from, Bound::Output { stage, .. } if *stage == other))
    }

    /// The suite that the name of a root says, `toolchain:kernel@bullseye`; none where it is that of `toolchain.suite`.
    pub fn suite(&self) -> Option<&str> {
        roots::suite_in(&self.name)
    }

    /// Whether what it makes runs on this machine, outside of any sandbox: quiz's own recipes say so of the toolchain's qemu and of drgn. Nothing
    /// that a project's recipe makes does.
    pub fn is_outside(&self) -> bool {
        let recipe = &self.recipe;
        let of_set = || roots::set_in(&self.name).is_some_and(|set| recipe.outside_sets.contains(set));
        recipe.own.is_none() && (recipe.outside || of_set())
    }

    /// The name under which its pins are kept in quiz.lock, if it is a source stage. What runs on this machine has an entry of its own, so that it can be
    /// updated without the compilers.
    pub fn entry(&self) -> Option<&str> {
        let entry = &self.recipe.source()?.entry;
        Some(roots::set_in(&self.name).filter(|_| self.is_outside()).unwrap_or(entry))
    }
}

/// One input of a stage.
#[derive(Debug)]
pub struct BoundInput {
    /// The name under which the script sees it.
    pub name: String,
    /// Where it comes from.
    pub from: Bound,
    /// If not empty: only these paths of the tree.
    pub paths: Vec<String>,
    /// What it is to the script.
    pub role: Role,
}

/// What an input is to a script.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// Files that it finds in the folder of inputs, under the input's name.
    Files,
    /// It is told the digest alone.
    DigestOnly,
    /// It is the root that the script runs in.
    Root,
}

/// Where an input of a stage comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Bound {
    /// An output of another stage.
    Output {
        /// The stage.
        stage: NodeIndex,
        /// The output's name.
        output: String,
    },
    /// The files of the profiles that are on.
    Profiles,
}

/// Stages and what they read, free of cycles.
#[derive(Debug)]
pub struct Graph {
    /// An edge leads from the stage that makes to the stage that reads.
    dag: DiGraph<Stage, ()>,
    by_name: BTreeMap<String, NodeIndex>,
    /// Stages that do not exist with these settings, each with what to say of it.
    not_there: BTreeMap<String, String>,
}

impl Graph {
    /// Binds the wanted stages and all that they read.
    ///
    /// # Errors
    /// A stage, output or parameter that does not exist, named with the recipe that asks for it; a cycle, named whole.
    pub fn bind<'a>(project: &Project, wanted: impl IntoIterator<Item = &'a str>) -> Result<Self> {
        let mut binder = Binder { project, dag: DiGraph::new(), by_name: BTreeMap::new() };
        for name in wanted {
            match elsewhere::all(project, name)? {
                None => drop(binder.stage(name, None)?),
                Some(all) => all.into_iter().try_for_each(|(target, by)| binder.whole(target, &by).map(drop))?,
            }
        }
        let graph = Self { dag: binder.dag, by_name: binder.by_name, not_there: elsewhere::hints(project) };
        match toposort(&graph.dag, None) {
            Ok(_) => Ok(graph),
            Err(cycle) => Err(graph.cycle_error(cycle.node_id())),
        }
    }

    /// The stage at `id`.
    pub fn stage(&self, id: NodeIndex) -> &Stage {
        &self.dag[id]
    }

    /// The stage of that name.
    ///
    /// # Errors
    /// There is none; the nearest name is in the hint.
    pub fn find(&self, name: &str) -> Result<NodeIndex> {
        self.by_name.get(name).copied().ok_or_else(|| {
            let error = Error::input(format!("there is no stage `{name}`"));
            if let Some(why) = self.not_there.get(name) {
                return error.hint(why.clone());
            }
            match nearest(name, self.by_name.keys().map(String::as_str)) {
                Some(near) => error.hint(format!("did you mean `{near}`?")),
                None => error.hint("`quiz graph` lists the stages"),
            }
        })
    }

    /// All stages, inputs before those who read them.
    pub fn order(&self) -> Vec<NodeIndex> {
        // `bind` has made sure that there is no cycle.
        toposort(&self.dag, None).unwrap_or_default()
    }

    /// The stages that `id` reads, each once, in the order of its inputs.
    pub fn inputs(&self, id: NodeIndex) -> Vec<NodeIndex> {
        let mut seen = Vec::new();
        for input in &self.dag[id].inputs {
            if let Bound::Output { stage, .. } = &input.from
                && !seen.contains(stage)
            {
                seen.push(*stage);
            }
        }
        seen
    }

    /// The stages that nothing reads: the ends of the graph.
    pub fn ends(&self) -> Vec<NodeIndex> {
        self.dag.externals(Direction::Outgoing).collect()
    }

    /// `id` and everything it needs, inputs first.
    pub fn closure(&self, ids: &[NodeIndex]) -> Vec<NodeIndex> {
        let mut needed = BTreeSet::new();
        let mut todo = ids.to_vec();
        while let Some(id) = todo.pop() {
            if needed.insert(id) {
                todo.extend(self.inputs(id));
            }
        }
        self.order().into_iter().filter(|id| needed.contains(id)).collect()
    }

    /// The recipes of a project's own that have a part in a stage: its own, and those of all that it needs, its root among them.
    pub fn projects_own(&self, id: NodeIndex) -> impl Iterator<Item = &Recipe> {
        let all = self.closure(&[id]).into_iter().map(|id| &*self.stage(id).recipe);
        all.filter(|recipe| recipe.own.is_some())
    }

    fn cycle_error(&self, start: NodeIndex) -> Error {
        let path = self
            .dag
            .neighbors(start)
            .find_map(|next| astar(&self.dag, next, |id| id == start, |_| 1, |_| 0).map(|(_, path)| path));
        let mut names: Vec<&str> = path.unwrap_or_default().iter().map(|&id| self.dag[id].name.as_str()).collect();
        names.insert(0, &self.dag[start].name);
        Error::input(format!("the recipes need each other in a circle: {}", names.join(" → ")))
            .hint(format!("remove one of these inputs; the first is in {}", self.dag[start].recipe.path.display()))
    }
}

struct Binder<'a> {
    project: &'a Project,
    dag: DiGraph<Stage, ()>,
    by_name: BTreeMap<String, NodeIndex>,
}

impl<'p> Binder<'p> {
    /// Binds the stage called `name`; `asked_by` is the key of the recipe or profile that reads it.
    fn stage(&mut self, name: &str, asked_by: Option<&Asked<'_>>) -> Result<NodeIndex> {
        if let Some(&id) = self.by_name.get(name) {
            return Ok(id);
        }
        let (recipe_name, parameter) = match name.split_once(':') {
            Some((recipe, parameter)) => (recipe, Some(parameter)),
            None => (name, None),
        };
        let Some(recipe) = self.project.recipes.get(recipe_name) else {
            let error = match asked_by {
                Some(by) => by.wrong(recipe_name, format!("there is no recipe `{recipe_name}`")),
                None => Error::input(format!("there is no stage `{name}`")),
            };
            return Err(match nearest(recipe_name, self.project.recipes.keys().map(String::as_str)) {
                Some(near) => error.hint(format!("did you mean `{near}`?")),
                None => error.hint("`quiz graph` lists the stages"),
            });
        };
        elsewhere::check(self.project, recipe)?;
        if recipe.takes_parameter() != parameter.is_some() {
            let form = match (recipe.takes_parameter(), recipe.sets.is_empty()) {
                (false, _) => recipe_name.to_owned(),
                (true, true) => format!("{recipe_name}:STAGE/OUTPUT"),
                (true, false) => format!("{recipe_name}:SET"),
            };
            let what = format!("`{name}` is no stage: the recipe is used as {form}");
            return Err(asked_by.map_or_else(|| Error::input(&what), |by| by.wrong(name, &what)));
        }
        let value = |option: &String| Ok((option.clone(), self.project.option(recipe, option)?));
        let mut options: BTreeMap<String, Value> = recipe.options.keys().map(value).collect::<Result<_>>()?;
        if let (false, Some(parameter)) = (recipe.sets.is_empty(), parameter) {
            options.extend(roots::options(self.project, recipe, parameter)?);
        }
        let stage = Stage { name: name.to_owned(), recipe: Arc::clone(recipe), options, inputs: Vec::new() };
        // Known before its inputs are bound: a circle then closes, and is found as one afterwards.
        let id = self.dag.add_node(stage);
        self.by_name.insert(name.to_owned(), id);
        for (input_name, input) in &recipe.inputs {
            for (name, from) in self.bind_input(input_name, input, recipe, parameter)? {
                let role = if input.digest_only { Role::DigestOnly } else { Role::Files };
                self.read(id, BoundInput { name, from, paths: input.paths.clone(), role });
            }
        }
        if let Some(root) = roots::of(self.project, recipe)? {
            let from = self.output(&root, None, &Asked::new(&recipe.file, &["toolchain"]))?;
            self.read(id, BoundInput { name: TOOLCHAIN.to_owned(), from, paths: Vec::new(), role: Role::Root });
        }
        Ok(id)
    }

    /// Adds an input to a stage. Two inputs from one other stage share an edge. Whether it is there is looked up among this stage's inputs, which are
    /// few, and not among the edges of the other one, of which a root that all stages read has very many.
    fn read(&mut self, id: NodeIndex, input: BoundInput) {
        if let Bound::Output { stage, .. } = &input.from
            && !self.dag[id].reads(*stage)
        {
            self.dag.add_edge(*stage, id, ());
        }
        self.dag[id].inputs.push(input);
    }

    /// What an input stands for; a list gives `name/NN-stage` for each of its items.
    fn bind_input(
        &mut self,
        name: &str,
        input: &Input,
        recipe: &Recipe,
        parameter: Option<&str>,
    ) -> Result<Vec<(String, Bound)>> {
        let profiles = &self.project.profiles;
        let by = Asked::new(&recipe.file, &["inputs", name]);
        let one = match &input.from {
            InputFrom::Profiles => Bound::Profiles,
            InputFrom::Stage { stage, output } => self.output(stage, output.as_deref(), &by)?,
            InputFrom::Of => self.whole(parameter.unwrap_or_default(), &by)?,
            InputFrom::Modules => {
                let of = |p: &'p Profile| items("modules", p, &p.modules);
                let items = profiles.iter().flat_map(of);
                return self.list(name, items, None);
            }
            // What a later profile brings lies over what an earlier one brought.
            InputFrom::Layers => {
                let of = |p: &'p Profile| items("layers", p, &p.layers);
                let items = profiles.iter().rev().flat_map(of);
                return self.list(name, items, input.through.as_deref());
            }
        };
        Ok(vec![(name.to_owned(), one)])
    }

    fn list<'b>(
        &mut self,
        name: &str,
        items: impl Iterator<Item = (Asked<'b>, &'b String)>,
        through: Option<&str>,
    ) -> Result<Vec<(String, Bound)>> {
        let bind = |(n, (by, item)): (usize, (Asked<'_>, &String))| {
            let from = match through {
                Some(recipe) => self.output(&format!("{recipe}:{item}"), None, &by)?,
                None => self.whole(item, &by)?,
            };
            Ok((format!("{name}/{n:02}-{}", item.replace([':', '/'], "-")), from))
        };
        items.enumerate().map(bind).collect()
    }

    /// "stage/output", or "stage" alone when it has just one.
    fn whole(&mut self, text: &str, asked_by: &Asked<'_>) -> Result<Bound> {
        match text.rsplit_once('/') {
            Some((stage, output)) => self.output(stage, Some(output), asked_by),
            None => self.output(text, None, asked_by),
        }
    }

    fn output(&mut self, stage: &str, output: Option<&str>, asked_by: &Asked<'_>) -> Result<Bound> {
        if let Some((target, by)) = elsewhere::target(self.project, stage, output, asked_by)? {
            return self.whole(target, &by);
        }
        let id = self.stage(stage, Some(asked_by))?;
        let outputs = &self.dag[id].recipe.outputs;
        let names = || outputs.keys().map(String::as_str);
        let output = match output {
            Some(name) if outputs.contains_key(name) => name.to_owned(),
            Some(name) => {
                let error = asked_by.wrong(name, format!("the stage `{stage}` has no output `{name}`"));
                return Err(error.hint(format!("it has: {}", names().collect::<Vec<_>>().join(", "))));
            }
            None if outputs.len() == 1 => names().next().unwrap_or_default().to_owned(),
            None => {
                let error = asked_by.wrong(stage, format!("the stage `{stage}` has several outputs"));
                return Err(error.hint(format!("name one of: {}", names().collect::<Vec<_>>().join(", "))));
            }
        };
        Ok(Bound::Output { stage: id, output })
    }
}

/// The items of a list of a profile, each with its place.
fn items<'p>(key: &'p str, profile: &'p Profile, list: &'p [String]) -> impl Iterator<Item = (Asked<'p>, &'p String)> {
    list.iter().enumerate().map(move |(n, item)| (Asked::new(&profile.file, &[key, &n.to_string()]), item))
}

#[cfg(test)]
mod tests;
