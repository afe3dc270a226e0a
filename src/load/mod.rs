//! What was asked for: settings, recipes and profiles, read and checked, as one `Project`.
//!
//! Reads files; builds nothing, resolves nothing, asks no network.

mod compiler;
mod embedded;
mod folder;
#[cfg(any(test, feature = "fuzz"))]
pub(crate) mod fuzz;
mod module;
mod profile;
mod recipe;
mod settings;
mod state;
mod tools;
mod trust;

pub use crate::document::nearest;
pub use compiler::Compiler;
pub use module::{is_of_folders, makes_modules, named_in_debug_information};
pub use profile::{Bus, Device, DiskFormat, Profile, ProfileOption, ShareMode, size};
pub use recipe::{
    Condition, Incremental, Input, InputFrom, Instead, Method, OptionSpec, OutputKind, Recipe, TOOLCHAIN,
};
pub use settings::{FlagValue, Origin, SCHEMA, Setting, Settings, Value};
pub use state::{project_of, state_dir, state_dirs};
pub use trust::{check_owner, trust, trusted};

use crate::error::{Error, Result};
use crate::host;
use crate::source::{self, worktree};
use std::collections::BTreeMap;
use std::ffi::OsString;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// The folder that holds a project's runs, shared folder, and its own recipes and profiles.
pub const PROJECT_FOLDER: &str = ".quiz";

/// The most bytes that are read of a file that a setting names. A whole .config of a distribution has 300 KiB.
const MOST_OF_A_FILE: u64 = 16 << 20;

/// The settings that [`Project::suite_setting`] knows.
const SUITE: &str = "toolchain.suite";
const KERNELS_SUITE: &str = "kernel.toolchain";

/// Everything that was asked for.
#[derive(Debug)]
pub struct Project {
    /// Where quiz.toml lies, else the root of the git worktree, else the current folder. Holds `.quiz/`.
    pub dir: PathBuf,
    /// The user's own quiz folder (`$XDG_CONFIG_HOME/quiz`).
    pub config_dir: PathBuf,
    /// Where its runs lie: [`state_dir`].
    pub state_dir: PathBuf,
    /// The cache, shared by all projects of the user.
    pub cache_dir: PathBuf,
    /// Every setting with its origin.
    pub settings: Settings,
    /// All recipes by name: the built-in ones, with the project's own added or in their place.
    pub recipes: BTreeMap<String, Arc<Recipe>>,
    /// What compiles kernels and modules. Its programs are among the tools of the recipes that ask for it.
    pub compiler: Compiler,
    /// The profiles that are on, in the order in which they are laid over the root.
    pub profiles: Vec<Profile>,
}

impl Project {
    /// Reads everything. `start` is the folder quiz was run in; `flags` are settings given as flags.
    ///
    /// # Errors
    /// Input errors that name file, line and column, the variable, or the flag; a project of another user's that nobody trusts.
    pub fn load(start: &Path, flags: &[settings::FlagValue]) -> Result<Self> {
        Self::load_with(start, flags, std::env::vars_os().collect())
    }

    /// The same with these variables in the place of the environment's, as far as they are settings.
    ///
    /// # Errors
    /// As of [`Self::load`].
    pub fn load_with(
        start: &Path,
        flags: &[settings::FlagValue],
        variables: Vec<(OsString, OsString)>,
    ) -> Result<Self> {
        let dir = project_dir(start);
        host::distrust(&dir);
        let config_dir = config_dir()?;
        let cache_dir = match absolute_var("QUIZ_CACHE_DIR")? {
            Some(dir) => dir,
            None => user_folder("XDG_CACHE_HOME", ".cache")?,
        };
        trust::check(&dir, start, &config_dir)?;
        let own = dir.join(PROJECT_FOLDER);
        let mut recipes = recipe::built_in()?;
        let templates = module::Templates::take(&mut recipes);
        recipe::add_own(&own.join("recipes"), &mut recipes)?;
        let (user, own_file) = (config_dir.join("quiz.toml"), dir.join("quiz.toml"));
        let mut settings = Settings::load(&user, &own_file, variables, flags, recipe::own_settings(&recipes))?;
        let modules = templates.add(&settings, &dir, &mut recipes)?;
        let compiler = Compiler::of(&settings)?;
        for recipe in recipes.values_mut().filter(|recipe| recipe.compiler) {
            for (program, package) in compiler.tools() {
                // What a recipe may have or do without it needs now: in two tables it would count twice.
                recipe.optional_tools.remove(&program);
                recipe.tools_on_demand.remove(&program);
                recipe.tools.insert(program, package);
            }
        }
        let is_inside = |stage: &str| {
            let found = recipes.get(stage).and_then(|recipe| around(recipe, start));
            found.is_some_and(|(found, mark)| trust::check_source(&found, mark, start, &config_dir).is_ok())
        };
        let surroundings = profile::Surroundings {
            is_inside: &is_inside,
            kernel_config: settings.list("kernel.config"),
            place: &|word| settings.place("profiles", word),
        };
        let names: Vec<String> = settings.list("profiles").iter().cloned().chain(module::wanted(&modules)).collect();
        let mut profiles = profile::load_active(&own.join("profiles"), &names, &surroundings)?;
        module::bring(&modules, &mut profiles);
        // Whoever chose a suite has chosen these compilers as well.
        let is_chosen = settings.get(SUITE).is_some_and(|suite| suite.origin != Origin::Default);
        let mut wanted = profiles.iter().filter(|profile| !profile.kernel_toolchain.is_empty());
        if let Some(profile) = wanted.next().filter(|_| !is_chosen) {
            settings.default_to(KERNELS_SUITE, &profile.kernel_toolchain, &profile.name);
        }
        let state_dir = state_dir(&dir);
        // From here on recipes do not change, and each stage shares the one that it is made by.
        let recipes = recipes.into_iter().map(|(name, recipe)| (name, Arc::new(recipe))).collect();
        let project = Self { dir, state_dir, config_dir, cache_dir, settings, recipes, compiler, profiles };
        project.check_sources(start)?;
        Ok(project)
    }

    /// Of the sources that lie around `start` those that would be built may be.
    fn check_sources(&self, start: &Path) -> Result<()> {
        for recipe in self.recipes.values() {
            let Some((found, mark)) = around(recipe, start) else { continue };
            let said = |name: &str| match recipe.options.contains_key(name).then(|| self.option(recipe, name)) {
                Some(Ok(Value::Text(text))) => text,
                _ => String::new(),
            };
            let is_meant = match said("origin").as_str() {
                "" => ["", "default"].contains(&said("version").as_str()),
                origin => origin == "dir",
            };
            if is_meant {
                let setting = recipe.options.get("origin").and_then(|option| option.setting.as_ref());
                let instead = setting.map(|setting| format!("for another source set {setting}, to a path for example"));
                trust::check_source(&found, mark, start, &self.config_dir)
                    .map_err(|error| instead.into_iter().fold(error, Error::hint))?;
            }
        }
        Ok(())
    }

    /// Every profile there is, as it is when it is named alone; sorted by name.
    ///
    /// # Errors
    /// One of the project's own cannot be read.
    pub fn all_profiles(&self) -> Result<Vec<Profile>> {
        profile::load_all(&self.profiles_dir())
    }

    /// Where the project's own recipes lie.
    pub fn recipes_dir(&self) -> PathBuf {
        self.dir.join(PROJECT_FOLDER).join("recipes")
    }

    /// Where the project's own profiles lie.
    pub fn profiles_dir(&self) -> PathBuf {
        self.dir.join(PROJECT_FOLDER).join("profiles")
    }

    /// Whether quiz may write below this path of the project. Where quiz writes unasked was looked at by [`Self::load`].
    ///
    /// # Errors
    /// It is a link, which may have come with the project, and the project is not trusted.
    pub fn check_written(&self, path: &Path) -> Result<()> {
        trust::check_written(path, &self.dir, &self.config_dir)
    }

    /// The value an option of a recipe has in this project: the setting it is bound to, else `[recipe.NAME] option`,
    /// else its default. Lists that a profile adds to come with the profiles' items first; of a file it is what is in it.
    ///
    /// # Errors
    /// A file that cannot be read, with the place where it was named.
    pub fn option(&self, recipe: &Recipe, name: &str) -> Result<Value> {
        let spec = &recipe.options[name];
        let own = recipe.own_setting(name);
        let key = spec.setting.as_deref().unwrap_or(&own);
        let value = match self.settings.get(key) {
            Some(setting) if spec.setting.is_none() || setting.origin != Origin::Default => setting.value.clone(),
            _ => spec.default.clone(),
        };
        let items = match value {
            Value::Text(path) if spec.is_file && !path.is_empty() => {
                let (path, text) = self.file(key, &path)?;
                return Ok(Value::File { path, text });
            }
            Value::List(items) => items,
            other => return Ok(other),
        };
        let mut all: Vec<String> = self.profiles.iter().flat_map(|p| p.adds_to(key)).cloned().collect();
        all.extend(items);
        // Of equal items the last one stays: of two lines about one kernel symbol the later one counts.
        let mut seen = std::collections::BTreeSet::new();
        all.reverse();
        all.retain(|item| seen.insert(item.clone()));
        all.reverse();
        Ok(Value::List(all))
    }

    /// The setting that names the suite of the programs that a script runs with; what compiles for the kernel may have a suite of its own.
    pub fn suite_setting(&self, compiles_for_kernel: bool) -> &'static str {
        match self.settings.text(KERNELS_SUITE) {
            "" => SUITE,
            _ if compiles_for_kernel => KERNELS_SUITE,
            _ => SUITE,
        }
    }

    /// The file that the setting of that name names, and what is in it; a relative path starts at the project's folder.
    ///
    /// # Errors
    /// A file that cannot be read, with the place where it was named.
    pub fn named_file(&self, key: &str) -> Result<Option<(PathBuf, String)>> {
        let named = self.settings.text(key);
        if named.is_empty() { Ok(None) } else { self.file(key, named).map(Some) }
    }

    fn file(&self, key: &str, named: &str) -> Result<(PathBuf, String)> {
        let path = source::place(named, &self.dir)?;
        let wrong = |why: &str| self.settings.wrong(key, named, format!("{key}: {} {why}", path.display()));
        match std::fs::metadata(&path) {
            Ok(meta) if !meta.is_file() => return Err(wrong("is no file")),
            Ok(meta) if meta.len() > MOST_OF_A_FILE => return Err(wrong("is larger than 16 MiB")),
            Ok(_) => {}
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Err(wrong("does not exist")),
            Err(e) => return Err(wrong("cannot be read").because(e)),
        }
        let mut bytes = Vec::new();
        let read = host::open_file(&path).and_then(|file| file.take(MOST_OF_A_FILE + 1).read_to_end(&mut bytes));
        read.map_err(|e| wrong("cannot be read").because(e))?;
        // It may have grown meanwhile, and a part of it is not what was meant.
        if bytes.len() as u64 > MOST_OF_A_FILE {
            return Err(wrong("is larger than 16 MiB"));
        }
        let text = String::from_utf8(bytes).map_err(|_| wrong("is no UTF-8 text"))?;
        Ok((path, text))
    }

    /// The quiz.lock beside the project's quiz.toml.
    pub fn own_lock(&self) -> PathBuf {
        self.dir.join("quiz.lock")
    }

    /// Whether the project's own quiz.toml says what the setting of that name is.
    pub fn is_own(&self, key: &str) -> bool {
        match self.settings.get(key).map(|s| &s.origin) {
            Some(Origin::File { path, .. }) => *path == self.dir.join("quiz.toml"),
            // It is on because of one of these.
            Some(Origin::Profile(_)) => ["profiles", "kernel.config"].iter().any(|why| self.is_own(why)),
            _ => false,
        }
    }

    /// The quiz.lock that holds what the given settings pin: beside the project's quiz.toml when that names one of them,
    /// else in the user's folder, so that worktrees share it.
    pub fn lock_path(&self, keys: impl IntoIterator<Item = String>) -> PathBuf {
        let named = keys.into_iter().any(|key| self.is_own(&key));
        if named { self.own_lock() } else { self.config_dir.join("quiz.lock") }
    }
}

/// The source of this recipe that lies around `start`, and the first of the files by which it is known.
fn around<'a>(recipe: &'a Recipe, start: &Path) -> Option<(PathBuf, &'a str)> {
    let marks = &recipe.source()?.dir.as_ref()?.marks;
    Some((worktree::find(start, marks)?, marks.first()?))
}

/// The trees around `start` that people edit and that quiz's own source stages take: each stage's name with the tree's root.
///
/// # Errors
/// None, unless quiz itself is broken: its own recipes are read.
pub fn worktrees(start: &Path) -> Result<Vec<(String, PathBuf)>> {
    let own = recipe::built_in()?;
    Ok(own.values().filter_map(|recipe| Some((recipe.name.clone(), around(recipe, start)?.0))).collect())
}

/// The user's own quiz folder.
///
/// # Errors
/// Neither the variable nor a home is set.
pub fn config_dir() -> Result<PathBuf> {
    user_folder("XDG_CONFIG_HOME", ".config")
}

/// The folder of the project that `start` is in: where quiz.toml lies, else the root of the git worktree, else `start` itself.
pub fn project_dir(start: &Path) -> PathBuf {
    let up = |name: &str| start.ancestors().find(|dir| dir.join(name).exists());
    up("quiz.toml").or_else(|| up(".git")).unwrap_or(start).to_owned()
}

/// `$variable/quiz`, or `~/<fallback>/quiz`. The XDG base directory specification ignores relative values.
fn user_folder(variable: &str, fallback: &str) -> Result<PathBuf> {
    if let Some(dir) = std::env::var_os(variable).map(PathBuf::from).filter(|dir| dir.is_absolute()) {
        return Ok(dir.join("quiz"));
    }
    match std::env::var_os("HOME").map(PathBuf::from).filter(|home| home.is_absolute()) {
        Some(home) => Ok(home.join(fallback).join("quiz")),
        None => Err(Error::input(format!("neither {variable} nor HOME is set"))
            .hint(format!("set {variable}, or HOME, to an absolute folder"))),
    }
}

fn absolute_var(name: &str) -> Result<Option<PathBuf>> {
    match std::env::var_os(name).filter(|value| !value.is_empty()) {
        Some(value) => std::path::absolute(&value)
            .map(Some)
            .map_err(|e| Error::input(format!("{name}={} is no usable path", value.display())).because(e)),
        None => Ok(None),
    }
}
