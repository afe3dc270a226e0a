//! Host tools: which are missing, with the package that has them. What each of them is, and so its key, is found out in `identity`.
//!
//! A tool is where the sandbox finds it. One that a script would not see is refused, with what to type.

mod compiler;
pub(super) mod elf;
mod headers;
mod identity;
mod look;
mod packages;
#[cfg(test)]
mod tests;
mod view;
mod words;

pub(super) use identity::{MISSING, needs_headers};
pub use identity::{Tools, identify};
pub(super) use words::{HEADERS, TOOL, changed, told};

use crate::error::{Error, Result};
use crate::graph::Stage;
use crate::host::{self, distribution::Distribution};
use crate::load::Recipe;
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use view::{View, Way};

/// What quiz itself runs, whatever the recipes: program → Debian package.
pub const OWN: &[(&str, &str)] = &[("bwrap", "bubblewrap"), ("sh", "dash")];

/// A tool that recipes or quiz itself need.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Needed {
    /// A program's name, or the absolute path of a file.
    pub name: String,
    /// The Debian package that has it.
    pub package: String,
    /// The recipes, and the profiles, that need it; empty for quiz itself.
    pub needed_by: BTreeSet<String>,
    /// The tool may be missing, but if it is there it changes results.
    pub optional: bool,
    /// Where scripts find it; `None` if it is missing.
    pub found: Option<PathBuf>,
    /// The file to which the links at `found` lead.
    pub real: Option<PathBuf>,
    /// A program of this name earlier in PATH that is hidden from scripts, and the file to which it leads.
    pub hidden: Option<(PathBuf, PathBuf)>,
}

/// Every tool that these recipes need, and quiz's own, each once, sorted by name.
pub fn needed<'a>(recipes: impl IntoIterator<Item = &'a Recipe>) -> Vec<Needed> {
    let view = View::new(Path::new("/"));
    let mut all: BTreeMap<String, Needed> = BTreeMap::new();
    for (name, package) in OWN {
        all.insert((*name).to_owned(), Needed::new(name, package, false, &view));
    }
    for recipe in recipes {
        let tools = recipe.tools.iter().map(|tool| (tool, false));
        let optional = recipe.optional_tools.iter().chain(&recipe.tools_on_demand).map(|tool| (tool, true));
        for ((name, package), optional) in tools.chain(optional) {
            let tool = all.entry(name.clone()).or_insert_with(|| Needed::new(name, package, optional, &view));
            tool.needed_by.insert(recipe.name.clone());
            tool.optional &= optional;
        }
    }
    all.into_values().collect()
}

impl Needed {
    fn new(name: &str, package: &str, optional: bool, view: &View<'_>) -> Self {
        let (found, real, hidden) = find(view, name);
        let needed_by = BTreeSet::new();
        Self { name: name.to_owned(), package: package.to_owned(), needed_by, optional, found, real, hidden }
    }

    /// Whether the tool is not there though something needs it.
    pub fn is_missing(&self) -> bool {
        self.found.is_none() && self.hidden.is_none() && !self.optional
    }

    /// The error for a tool that this machine has but scripts do not see, so that they would miss it or take another one; and the hints.
    pub fn refusal(&self) -> Option<(String, Vec<String>)> {
        let (at, real) = self.hidden.as_ref().filter(|_| !self.optional)?;
        let (name, shown, leads) = (&self.name, at.display(), real.display());
        let text = format!(
            "{name} is {shown}, which leads to {leads}, and scripts do not see that: of this machine's programs they see only those in /usr"
        );
        let mut hints = Vec::new();
        let mut parts = real.iter();
        if let (Some(_), Some(top), Some(folder)) = (parts.next(), parts.next(), parts.next()) {
            let from = Path::new("/").join(top).join(folder);
            let to = Path::new("/usr/local/lib").join(folder);
            let link = to.join(parts.as_path());
            hints.push(format!(
                "to use it: sudo cp -a {} /usr/local/lib/ && sudo ln -sfn {} {shown}",
                host::quoted(&from),
                host::quoted(&link)
            ));
        }
        hints.push(match &self.found {
            Some(found) => format!("to use {} instead: sudo rm {shown}", found.display()),
            None => format!("to do without it: sudo rm {shown}, and install the package {}", self.package),
        });
        Some((text, hints))
    }
}

/// `needed`, and these tools (name, package) that quiz needs beside those of recipes.
pub fn with_tools(mut needed: Vec<Needed>, tools: &[(&str, &str)]) -> Vec<Needed> {
    let view = View::new(Path::new("/"));
    needed.extend(tools.iter().map(|(name, package)| Needed::new(name, package, false, &view)));
    needed
}

/// `needed`, and a tool that `by` needs; if it was optional, it is so no longer.
pub fn with_tool_of(mut needed: Vec<Needed>, (name, package): (&str, &str), by: &str) -> Vec<Needed> {
    let at = needed.iter().position(|tool| tool.name == name).unwrap_or_else(|| {
        needed.push(Needed::new(name, package, false, &View::new(Path::new("/"))));
        needed.len() - 1
    });
    needed[at].optional = false;
    needed[at].needed_by.insert(by.to_owned());
    needed
}

/// One error that names every missing tool, its package, and the one command that installs them all; or the first that is hidden
/// from scripts.
///
/// # Errors
/// Something is missing or hidden.
pub fn require(needed: &[Needed]) -> Result<()> {
    if let Some((text, hints)) = needed.iter().find_map(Needed::refusal) {
        return Err(hints.iter().fold(Error::input(text), |error, hint| error.hint(hint)));
    }
    let missing: Vec<&Needed> = needed.iter().filter(|tool| tool.is_missing()).collect();
    if missing.is_empty() {
        return Ok(());
    }
    let mut error = Error::input(format!("{} tool(s) are missing on this machine", missing.len()));
    for tool in &missing {
        let by = tool.needed_by.iter().cloned().collect::<Vec<_>>().join(", ");
        let by = if by.is_empty() { "quiz".to_owned() } else { by };
        let elsewhere = elsewhere(&tool.name, &host::path()).map_or(String::new(), |path| {
            format!("; scripts do not see {}: of this machine's programs they see only those in /usr", path.display())
        });
        error = error.detail(format!("{} (package {}), needed by {by}{elsewhere}", tool.name, tool.package));
    }
    Err(error.hint(format!("{}    (or, with the same flags: quiz doctor --install)", install_line(&missing))))
}

/// Whether the root that a stage runs in has every tool of its recipe.
///
/// # Errors
/// One is not there, though the package that the recipe names is.
pub(super) fn require_in(root: &Path, stage: &Stage, is_asked_for: impl Fn(&str) -> bool) -> Result<()> {
    let view = View::new(root);
    let on_demand = stage.recipe.tools_on_demand.iter().filter(|(tool, _)| is_asked_for(tool));
    let mut tools = stage.recipe.tools.iter().chain(on_demand);
    let Some((tool, package)) = tools.find(|(tool, _)| find(&view, tool).0.is_none()) else {
        return Ok(());
    };
    let (stage, recipe) = (&stage.name, stage.recipe.path.display());
    Err(Error::input(format!("{stage}: the package {package} has no {tool}, which {recipe} says it has"))
        .hint("in a toolchain no package's install script runs: a link that it would make has to be in [source.packages.root.links] of the toolchain's recipe"))
}

/// Where the user's own PATH has a program that scripts do not find.
fn elsewhere(name: &str, path: &std::ffi::OsStr) -> Option<PathBuf> {
    let is_program = !name.contains('/');
    let places = std::env::split_paths(path).filter(|_| is_program).map(|dir| dir.join(name));
    places.into_iter().find(|place| place.is_file())
}

/// The command that installs the packages of these tools.
pub fn install_line(missing: &[&Needed]) -> String {
    Distribution::here().line(&missing.iter().map(|tool| tool.package.as_str()).collect())
}

/// A program where scripts find it, or a file by its absolute path; what that leads to; and what is hidden before it.
fn find(view: &View<'_>, name: &str) -> (Option<PathBuf>, Option<PathBuf>, Option<(PathBuf, PathBuf)>) {
    let mut hidden = None;
    let mut passed = BTreeSet::new();
    let places: Box<dyn Iterator<Item = (PathBuf, Way)> + '_> = if name.starts_with('/') {
        let way = view.follow(Path::new(name), &mut passed);
        let is_file = |way: &Way| match way {
            Way::Here(real) | Way::Hidden(real) => view.outside(real).is_file(),
            Way::Nowhere => false,
        };
        Box::new(std::iter::once((PathBuf::from(name), way)).filter(move |(_, way)| is_file(way)))
    } else if name.contains('/') {
        Box::new(std::iter::empty())
    } else {
        Box::new(view.programs(name, &mut passed))
    };
    for (at, way) in places {
        match way {
            Way::Here(real) => return (Some(at), Some(real), hidden),
            Way::Hidden(real) => hidden = hidden.or(Some((at, real))),
            Way::Nowhere => {}
        }
    }
    (None, None, hidden)
}

/// Every file that a script would find by that name, without links in its path: bubblewrap mounts nothing on a link (from 0.12 on).
pub(super) fn everywhere(name: &str) -> BTreeSet<PathBuf> {
    everywhere_in(&View::new(Path::new("/")), name)
}

fn everywhere_in(view: &View<'_>, name: &str) -> BTreeSet<PathBuf> {
    let mut passed = BTreeSet::new();
    if name.contains('/') {
        return find(view, name).1.into_iter().collect();
    }
    let real = |(_, way)| if let Way::Here(real) = way { Some(real) } else { None };
    view.programs(name, &mut passed).filter_map(real).collect()
}
