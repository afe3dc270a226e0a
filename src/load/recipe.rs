//! Recipes: how one kind of thing is made. Reads `recipe.toml` and checks what can be checked without other recipes.

mod fault;
mod input;
mod instead;
mod option;

pub use input::{Input, InputFrom};
pub use instead::{Condition, Instead};
pub use option::OptionSpec;

use super::embedded;
use super::folder::{self, LoadedFolder};
use super::settings::{Settings, Value};
use super::tools;
use crate::document::Document;
use crate::error::Result;
use crate::host::many::each;
use crate::source;
use fault::Fault;
use input::InputField;
use option::OptionField;
use quiz_cache::{Digest, Key, KeyEncoder};
use serde::Deserialize;
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

/// How one kind of thing is made: inputs, options, tools, script, outputs.
#[derive(Debug, Clone)]
pub struct Recipe {
    /// The folder's name.
    pub name: String,
    /// Where its recipe.toml lies; built-in ones have a path that says so.
    pub path: PathBuf,
    /// The recipe.toml, for messages.
    pub file: Document,
    /// Raised when the meaning changes and no file does.
    pub version: u64,
    /// One line for people.
    pub about: String,
    /// How its outputs are made.
    pub method: Method,
    /// What it reads, by the name under which the script sees it.
    pub inputs: BTreeMap<String, Input>,
    /// What can be set.
    pub options: BTreeMap<String, OptionSpec>,
    /// What it makes.
    pub outputs: BTreeMap<String, OutputKind>,
    /// Programs (in PATH) and files (absolute) it needs of the host, each with the Debian package that has it.
    pub tools: BTreeMap<String, String>,
    /// The same for programs and files that may be missing, and change the result when they are there.
    pub optional_tools: BTreeMap<String, String>,
    /// The same for those that the script sees only when a profile that is on asks for them: that they are installed alone changes nothing.
    pub tools_on_demand: BTreeMap<String, String>,
    /// The set of packages, one of those of the recipe [`TOOLCHAIN`], of which the root is made that its script runs in.
    pub toolchain: Option<String>,
    /// The suite of those packages, if it does not depend on the settings.
    pub suite: Option<String>,
    /// The setting that names further packages for its root.
    pub more_packages: Option<String>,
    /// Named sets of packages, one of which is its parameter.
    pub sets: BTreeMap<String, Vec<String>>,
    /// It runs the compiler of the kernel, whichever that is.
    pub compiler: bool,
    /// Its script changes into a root that it makes: it holds all capabilities, over a user namespace of its own.
    pub chroot: bool,
    /// What it makes runs on this machine, outside of any sandbox.
    pub outside: bool,
    /// The sets of packages whose roots do so, if it makes roots of sets.
    pub outside_sets: BTreeSet<String>,
    /// Its script is given a folder that all runs of this recipe share, for what it names by content.
    pub store: bool,
    /// It builds on what an earlier run left, when what it reads is a folder that people edit.
    pub incremental: Option<Incremental>,
    /// Its stage is there only under this condition.
    pub only: Option<Condition>,
    /// When other stages make what it makes.
    pub instead: Option<Instead>,
    /// All files of its folder but recipe.toml: path, contents, executable.
    pub files: Vec<(String, Vec<u8>, bool)>,
    /// What tells a project's own one from others of its name: the digest of its whole folder. A built-in one has none.
    pub own: Option<Key>,
}

/// The file in a recipe's folder that says what the recipe is.
const FILE: &str = "recipe.toml";

/// The recipe of the roots that scripts run in, when it is not the host's own /usr.
pub const TOOLCHAIN: &str = "toolchain";

/// How the outputs of a recipe are made.
#[derive(Debug, Clone)]
pub enum Method {
    /// A script runs: the name of its file in the recipe's folder.
    Script(String),
    /// They are brought from outside: a source stage. It has no inputs and one output.
    Fetch(Box<source::Spec>),
}

/// How a recipe builds on what an earlier run left.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Incremental {
    /// The inputs that are brought into its folder, only what changed of them; later ones lie over earlier ones.
    pub sync: Vec<String>,
    /// The folder in `/quiz/scratch` where they lie, writable. Without one there is one input, and it lies read-only at its
    /// usual place.
    pub into: Option<String>,
}

/// What an output is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum OutputKind {
    /// One file.
    File,
    /// A folder.
    Tree,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RecipeFile {
    version: u64,
    about: String,
    script: Option<String>,
    #[serde(default)]
    inputs: BTreeMap<String, InputField>,
    #[serde(default)]
    options: BTreeMap<String, OptionField>,
    outputs: BTreeMap<String, OutputKind>,
    #[serde(default)]
    tools: tools::Field,
    #[serde(default, rename = "optional-tools")]
    optional_tools: tools::Field,
    #[serde(default, rename = "tools-on-demand")]
    tools_on_demand: tools::Field,
    toolchain: Option<String>,
    suite: Option<String>,
    #[serde(default)]
    sets: BTreeMap<String, Vec<String>>,
    #[serde(default)]
    outside: bool,
    #[serde(default, rename = "outside-sets")]
    outside_sets: BTreeSet<String>,
    #[serde(default)]
    needs: NeedsField,
    incremental: Option<Incremental>,
    only: Option<Condition>,
    instead: Option<Instead>,
    source: Option<source::Spec>,
}

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct NeedsField {
    #[serde(default)]
    compiler: bool,
    #[serde(default)]
    chroot: bool,
    #[serde(default)]
    store: bool,
    packages: Option<String>,
}

/// Adds the recipes under `own`; one that has the name of another takes its place.
pub(super) fn add_own(own: &Path, recipes: &mut BTreeMap<String, Recipe>) -> Result<()> {
    let read = |folder: LoadedFolder| {
        let own = Some(digest(&folder));
        Ok(Recipe { own, ..load(folder)? })
    };
    recipes.extend(each(folder::on_disk(own)?, read)?.into_iter().map(|recipe| (recipe.name.clone(), recipe)));
    Ok(())
}

/// The recipes inside the program.
pub(super) fn built_in() -> Result<BTreeMap<String, Recipe>> {
    embedded::recipes().into_iter().map(|folder| Ok((folder.name.clone(), load(folder)?))).collect()
}

/// The settings that recipes add to the schema, each with its default: the options that no other setting fills.
pub(super) fn own_settings(recipes: &BTreeMap<String, Recipe>) -> BTreeMap<String, Value> {
    let of = |recipe: &Recipe| {
        let own = recipe.options.iter().filter(|(_, option)| option.setting.is_none());
        own.map(|(name, option)| (recipe.own_setting(name), option.default.clone())).collect::<Vec<_>>()
    };
    recipes.values().flat_map(of).collect()
}

impl Recipe {
    /// The file name of its script; a source stage has none.
    pub fn script(&self) -> Option<&str> {
        if let Method::Script(script) = &self.method { Some(script) } else { None }
    }

    /// Where its files come from, if it is a source stage.
    pub fn source(&self) -> Option<&source::Spec> {
        if let Method::Fetch(spec) = &self.method { Some(spec) } else { None }
    }

    /// The name of the setting that fills an option when the recipe names none.
    pub fn own_setting(&self, option: &str) -> String {
        format!("recipe.{}.{option}", self.name)
    }

    /// Whether its stage is there by these settings, and not another in its place.
    pub fn is_there(&self, settings: &Settings) -> bool {
        self.only.as_ref().is_none_or(|only| only.holds(settings)) && self.instead(settings).is_none()
    }

    /// What is in its place by these settings.
    pub fn instead(&self, settings: &Settings) -> Option<&Instead> {
        self.instead.as_ref().filter(|instead| instead.when.holds(settings))
    }

    /// Whether its stages are named with something behind a `:`, another for each.
    pub fn takes_parameter(&self) -> bool {
        !self.sets.is_empty() || self.inputs.values().any(|input| input.from == InputFrom::Of)
    }
}

impl RecipeFile {
    /// What is wrong with its tables.
    fn fault(&self) -> Option<Fault> {
        let of_incremental = self.incremental.as_ref().and_then(|incremental| incremental.fault(&self.inputs));
        let of_instead = || self.instead.as_ref().and_then(|instead| instead.fault(&self.outputs));
        let of_only = || self.only.as_ref().and_then(|only| only.fault(&["only"]));
        of_incremental.or_else(of_instead).or_else(of_only).or_else(|| self.misnamed())
    }

    /// What is wrong with a name in it.
    fn misnamed(&self) -> Option<Fault> {
        let mut seen = BTreeSet::new();
        let tables = [
            ("tools", &self.tools),
            ("optional-tools", &self.optional_tools),
            ("tools-on-demand", &self.tools_on_demand),
        ];
        let all = tables.iter().flat_map(|(table, tools)| tools.keys().map(move |name| (*table, name)));
        if let Some((table, name)) = all.into_iter().find(|(_, name)| !seen.insert(*name)) {
            let what = format!(
                "the tool `{name}` is in two tables: name it in one of tools, optional-tools and tools-on-demand"
            );
            return Some(Fault::new(what).inside(&[table, name]).of_key());
        }
        let no_name = |name: &String| Fault::new(format!("`{name}` is no name: use a-z, 0-9 and -"));
        let in_table = |table: &'static str| move |name: &String| no_name(name).inside(&[table, name]).of_key();
        let odd = |name: &&String| !is_name(name);
        // A set is a part of the name of a link.
        let odd = self
            .options
            .keys()
            .find(odd)
            .map(in_table("options"))
            .or_else(|| self.inputs.keys().find(odd).map(in_table("inputs")))
            .or_else(|| self.outputs.keys().find(odd).map(in_table("outputs")))
            .or_else(|| self.sets.keys().find(odd).map(in_table("sets")))
            .or_else(|| self.toolchain.iter().find(odd).map(|name| no_name(name).inside(&["toolchain"])));
        if odd.is_some() {
            return odd;
        }
        let of_suite = |what: String| Some(Fault::new(what).inside(&["suite"]));
        match &self.suite {
            Some(wrong) if !source::is_suite(wrong) => {
                return of_suite(format!("`{wrong}` is not the name of a suite"));
            }
            Some(_) if self.script.is_none() => {
                let what = "`suite` is that of the root in which a script runs, and this recipe has no script";
                return of_suite(what.to_owned());
            }
            _ => {}
        }
        if self.inputs.contains_key(TOOLCHAIN) {
            let what = format!("`{TOOLCHAIN}` is no name for an input: it is the root that the script runs in");
            return Some(Fault::new(what).inside(&["inputs", TOOLCHAIN]).of_key());
        }
        let nothing = "a recipe without outputs makes nothing; name them under [outputs]";
        self.outputs.is_empty().then(|| Fault::new(nothing).inside(&["outputs"]))
    }
}

/// How its outputs are made.
fn method(
    script: Option<String>,
    source: Option<source::Spec>,
    folder: &LoadedFolder,
) -> std::result::Result<Method, Fault> {
    let of_script = |what: &str| Fault::new(what).inside(&["script"]);
    match (script, source) {
        (None, None) => Err(Fault::new("the recipe needs `script`, or [source] if it fetches something")),
        (Some(_), Some(_)) => {
            Err(of_script("the recipe has both `script` and [source]; a source stage runs no script"))
        }
        (Some(script), None) if !folder.files.iter().any(|(name, ..)| *name == script) => {
            let what = format!("the script {} does not exist", folder.path.join(&script).display());
            let names = folder.files.iter().map(|(name, ..)| name.as_str()).filter(|name| *name != FILE);
            Err(of_script(&what).near(&script, names))
        }
        (Some(script), None) => Ok(Method::Script(script)),
        (None, Some(spec)) => match spec.wheel.as_ref().filter(|wheel| !wheel.index.starts_with("https://")) {
            Some(_) => {
                let what = "the index of [source.wheel] says what a file's checksum is: it must be an https address";
                Err(Fault::new(what).inside(&["source", "wheel", "index"]))
            }
            None => Ok(Method::Fetch(Box::new(spec))),
        },
    }
}

fn digest(folder: &LoadedFolder) -> Key {
    let mut encoder = KeyEncoder::new("quiz recipe folder 1");
    for (name, bytes, executable) in &folder.files {
        encoder.digest(&format!("file/{name}"), &Digest::of(bytes));
        encoder.flag(&format!("executable/{name}"), *executable);
    }
    encoder.finish().0
}

pub(super) fn load(mut folder: LoadedFolder) -> Result<Recipe> {
    let document = folder.document(FILE)?;
    let wrong = |fault: Fault| fault.of(&document);
    if !is_name(&folder.name) {
        return Err(wrong(Fault::new(format!("`{}` is no recipe name: use a-z, 0-9 and -", folder.name))));
    }
    let file: RecipeFile = document.parse()?;
    if let Some(fault) = file.fault() {
        return Err(wrong(fault));
    }
    let tools = |field| tools::read(&document, field);
    let (optional_tools, tools_on_demand) = (tools(&file.optional_tools)?, tools(&file.tools_on_demand)?);
    let tools = tools(&file.tools)?;
    folder.files.retain(|(name, ..)| name != FILE);
    let option = |(name, field): (String, _)| Ok((name.clone(), option::read(&name, field).map_err(wrong)?));
    let options: BTreeMap<String, OptionSpec> = file.options.into_iter().map(option).collect::<Result<_>>()?;
    let method = method(file.script, file.source, &folder).map_err(wrong)?;
    if matches!(method, Method::Fetch(_)) && (!file.inputs.is_empty() || file.outputs.len() != 1) {
        return Err(wrong(Fault::new("a source stage has no inputs and one output").inside(&["source"])));
    }
    Ok(Recipe {
        name: folder.name,
        path: document.path().to_owned(),
        file: document,
        version: file.version,
        about: file.about,
        method,
        inputs: file.inputs.into_iter().map(|(name, field)| (name, field.0)).collect(),
        options,
        outputs: file.outputs,
        tools,
        optional_tools,
        tools_on_demand,
        toolchain: file.toolchain,
        suite: file.suite,
        more_packages: file.needs.packages,
        sets: file.sets,
        compiler: file.needs.compiler,
        chroot: file.needs.chroot,
        outside: file.outside,
        outside_sets: file.outside_sets,
        store: file.needs.store,
        incremental: file.incremental,
        only: file.only,
        instead: file.instead,
        files: folder.files,
        own: None,
    })
}

impl Incremental {
    /// What is wrong with it in a recipe of these inputs.
    fn fault(&self, inputs: &BTreeMap<String, InputField>) -> Option<Fault> {
        let table = |what: String| Fault::new(format!("[incremental] {what}")).inside(&["incremental"]);
        let stray = self.sync.iter().enumerate().find(|(_, name)| {
            inputs
                .get(*name)
                .is_none_or(|field| !matches!(field.0.from, InputFrom::Stage { .. }) || field.0.digest_only)
        });
        match (&stray, &self.into) {
            (Some((n, name)), _) => {
                let fault = table(format!("sync: `{name}` is no input that comes from a stage"));
                let of_stages = inputs.iter().filter(|(_, field)| matches!(field.0.from, InputFrom::Stage { .. }));
                Some(fault.inside(&["sync", &n.to_string()]).near(name, of_stages.map(|(name, _)| name.as_str())))
            }
            (None, None) if self.sync.len() != 1 => {
                Some(table("without `into` takes exactly one input to `sync`".to_owned()).inside(&["sync"]))
            }
            (None, Some(into)) if !is_name(into) => Some(table(format!("into: `{into}` is no name")).inside(&["into"])),
            _ => None,
        }
    }
}

fn is_name(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-')
}

#[cfg(test)]
mod tests;
