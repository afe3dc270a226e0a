//! Folders of kernel modules that the setting `modules` names: each becomes stages, its source, what Kbuild makes of it, and,
//! when a debugger asks for it, the same with debug information; and
//! the profile `module`, which loads them, is on. Compiles nothing.
//!
//! quiz's own recipes `module-source`, `module` and `module-debug` are templates for such stages, and make no stage of their own; a recipe of the
//! project's with one of these names makes a stage like any other.

use super::profile::Profile;
use super::recipe::{InputFrom, Recipe};
use super::settings::{Settings, Value};
use crate::error::Result;
use crate::host;
use crate::source;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// The setting that names the folders.
const SETTING: &str = "modules";
/// The recipe that compiles the modules of a folder; also the name of the profile that loads them.
const RECIPE: &str = "module";
/// The recipe that takes a folder as source.
const SOURCE: &str = "module-source";
/// The recipe that compiles the modules once more, with debug information.
const DEBUG: &str = "module-debug";
/// The output with the modules.
const OUTPUT: &str = "modules";

/// The recipes after which each folder's stages are made.
pub(super) struct Templates {
    module: Option<Recipe>,
    source: Option<Recipe>,
    debug: Option<Recipe>,
}

impl Templates {
    /// Takes them out of the recipes that make stages.
    pub fn take(recipes: &mut BTreeMap<String, Recipe>) -> Self {
        Self { module: recipes.remove(RECIPE), source: recipes.remove(SOURCE), debug: recipes.remove(DEBUG) }
    }

    /// Adds the stages of each folder that the setting names; gives the folders' names in the guest. Relative ones begin in `dir`.
    ///
    /// # Errors
    /// The setting names something that is no folder, or one in which Kbuild finds nothing to do.
    pub fn add(&self, settings: &Settings, dir: &Path, recipes: &mut BTreeMap<String, Recipe>) -> Result<Vec<String>> {
        let (Some(module), Some(source), Some(debug)) = (&self.module, &self.source, &self.debug) else {
            return Ok(Vec::new());
        };
        let mut folders: Vec<String> = Vec::new();
        let mut names: Vec<String> = Vec::new();
        for given in settings.list(SETTING) {
            let folder = folder(given, dir, settings)?;
            if folders.contains(&folder) {
                continue;
            }
            let mut free = (1..).filter_map(|n| {
                let name = if n == 1 { plain(&folder) } else { format!("{}-{n}", plain(&folder)) };
                let stages = [String::new(), "-source".to_owned(), "-debug".to_owned()];
                let stages = stages.map(|end| format!("{RECIPE}-{name}{end}"));
                (!stages.iter().any(|stage| recipes.contains_key(stage))).then_some((stages, name))
            });
            let Some((stages, name)) = free.next() else { continue };
            let [stage, of, symbols] = stages;
            recipes.insert(of.clone(), named(source, &of, "origin", &folder));
            for (template, own) in [(module, &stage), (debug, &symbols)] {
                let mut recipe = named(template, own, "name", &name);
                for input in recipe.inputs.values_mut() {
                    if let InputFrom::Stage { stage: from, .. } = &mut input.from {
                        match from.as_str() {
                            SOURCE => from.clone_from(&of),
                            RECIPE => from.clone_from(&stage),
                            _ => {}
                        }
                    }
                }
                recipes.insert(own.clone(), recipe);
            }
            folders.push(folder);
            names.push(name);
        }
        Ok(names)
    }
}

/// What stands for the folder in the debug information of its modules, if this is a stage that makes some (`recipes/module-debug`).
pub fn named_in_debug_information(recipe: &Recipe) -> Option<String> {
    let of = recipe.name.strip_prefix(RECIPE)?.strip_prefix('-')?.strip_suffix("-debug")?;
    match &recipe.options.get("name")?.default {
        Value::Text(name) if name == of => Some(format!("/quiz/module/{name}")),
        _ => None,
    }
}

/// Whether this profile brings modules of the user's own folders.
pub fn is_of_folders(profile: &Profile) -> bool {
    profile.name == RECIPE
}

/// What turns the profile on that loads the modules of these folders; nothing without folders.
pub(super) fn wanted(names: &[String]) -> Option<String> {
    (!names.is_empty()).then(|| format!("{RECIPE}:folders={}", names.join("+")))
}

/// Has the profile bring the modules of these folders, and debuggers find what they were compiled from.
pub(super) fn bring(names: &[String], profiles: &mut [Profile]) {
    if let Some(profile) = profiles.iter_mut().find(|profile| profile.name == RECIPE) {
        profile.modules.extend(names.iter().map(|name| format!("{RECIPE}-{name}/{OUTPUT}")));
        profile.symbols.extend(names.iter().map(|name| format!("{RECIPE}-{name}-debug")));
    }
}

/// The recipe under another name, with this option filled in.
fn named(template: &Recipe, name: &str, option: &str, value: &str) -> Recipe {
    let mut recipe = Recipe { name: name.to_owned(), ..template.clone() };
    if let Some(option) = recipe.options.get_mut(option) {
        option.default = Value::Text(value.to_owned());
    }
    recipe
}

/// The folder's whole path.
fn folder(given: &str, dir: &Path, settings: &Settings) -> Result<String> {
    let path = source::place(given, dir)?;
    let wrong = |why: &str| settings.wrong(SETTING, given, format!("{SETTING}: {} {why}", path.display()));
    let real = std::fs::canonicalize(&path).map_err(|e| wrong("cannot be looked at").because(e))?;
    if !real.is_dir() {
        return Err(wrong("is no folder"));
    }
    if !is_kbuild(&real) {
        return Err(wrong("has neither Kbuild nor Makefile: there is nothing to compile")
            .hint("a Kbuild with one line does for hello.c: obj-m := hello.o"));
    }
    real.into_os_string().into_string().map_err(|_| wrong("is not UTF-8"))
}

/// Whether Kbuild reads something in this folder.
fn is_kbuild(dir: &Path) -> bool {
    ["Kbuild", "Makefile"].iter().any(|name| dir.join(name).is_file())
}

/// Whether this folder says that kernel modules are made in it, by `obj-m`: a Makefile alone may be for anything.
pub fn makes_modules(dir: &Path) -> bool {
    let file = ["Kbuild", "Makefile"].map(|name| dir.join(name)).into_iter().find(|path| path.is_file());
    let text = file.and_then(|path| host::read_file(&path).ok()).unwrap_or_default();
    String::from_utf8_lossy(&text)
        .lines()
        .any(|line| ["obj-m", "obj-$("].iter().any(|word| line.trim_start().starts_with(word)))
}

/// A part of a stage's name that says which folder it is.
fn plain(folder: &str) -> String {
    let name = PathBuf::from(folder).file_name().unwrap_or_default().to_string_lossy().to_lowercase();
    let name: String =
        name.chars().map(|c| if c.is_ascii_lowercase() || c.is_ascii_digit() { c } else { '-' }).collect();
    match name.trim_matches('-') {
        "" => "folder".to_owned(),
        name => name.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::load::recipe::built_in;

    /// The names in the guest, all recipes with what was added, and the error's text.
    fn added(toml: &str, dir: &Path) -> Result<(Vec<String>, BTreeMap<String, Recipe>)> {
        let file = dir.join("quiz.toml");
        std::fs::write(&file, toml).unwrap();
        let mut recipes = built_in().unwrap();
        let templates = Templates::take(&mut recipes);
        let names = templates.add(&Settings::of_file(&file)?, dir, &mut recipes)?;
        Ok((names, recipes))
    }

    fn furnished() -> tempfile::TempDir {
        let dir = tempfile::tempdir().unwrap();
        for (folder, file) in
            [("Hello.World", "Kbuild"), ("a/src", "Makefile"), ("b/src", "Kbuild"), ("empty", "notes")]
        {
            std::fs::create_dir_all(dir.path().join(folder)).unwrap();
            std::fs::write(dir.path().join(folder).join(file), "").unwrap();
        }
        dir
    }

    #[test]
    fn each_folder_is_stages_with_a_name_of_its_own_and_the_recipes_are_none() {
        let dir = furnished();
        let (names, recipes) =
            added("modules = [\"b/src\", \"Hello.World\", \"a/src\", \"./b/src\"]\n", dir.path()).unwrap();
        assert_eq!(names, ["src", "hello-world", "src-2"]);
        for (name, folder) in [("src", "b/src"), ("hello-world", "Hello.World"), ("src-2", "a/src")] {
            let (module, source) = (&recipes[&format!("module-{name}")], &recipes[&format!("module-{name}-source")]);
            let InputFrom::Stage { stage, .. } = &module.inputs["source"].from else { panic!("{module:?}") };
            assert_eq!((stage, &module.options["name"].default), (&source.name, &Value::Text(name.to_owned())));
            let debug = &recipes[&format!("module-{name}-debug")];
            let from = |input: &str| match &debug.inputs[input].from {
                InputFrom::Stage { stage, .. } => stage.clone(),
                other => panic!("{other:?}"),
            };
            assert_eq!([from("source"), from("modules")], [source.name.clone(), module.name.clone()]);
            assert_eq!(debug.options["name"].default, Value::Text(name.to_owned()));
            assert_eq!(debug.inputs["source"].paths, module.inputs["source"].paths, "what one reads the other does");
            let real = std::fs::canonicalize(dir.path().join(folder)).unwrap();
            assert_eq!(source.options["origin"].default, Value::Text(real.to_str().unwrap().to_owned()));
        }
        assert!([RECIPE, SOURCE, DEBUG].iter().all(|name| !recipes.contains_key(*name)));
        assert_eq!(wanted(&names).unwrap(), "module:folders=src+hello-world+src-2");
    }

    #[test]
    fn the_stage_with_the_debug_information_of_one_folder_is_not_another_folders() {
        let dir = tempfile::tempdir().unwrap();
        for folder in ["x", "x-debug"] {
            std::fs::create_dir(dir.path().join(folder)).unwrap();
            std::fs::write(dir.path().join(folder).join("Kbuild"), "").unwrap();
        }
        for (given, names) in [(["x", "x-debug"], ["x", "x-debug-2"]), (["x-debug", "x"], ["x-debug", "x-2"])] {
            let (named, recipes) = added(&format!("modules = {given:?}\n"), dir.path()).unwrap();
            assert_eq!(named, names);
            for name in names {
                let place = |end: &str| named_in_debug_information(&recipes[&format!("module-{name}{end}")]);
                assert_eq!(place("-debug"), Some(format!("/quiz/module/{name}")), "{names:?}");
                assert_eq!([place(""), place("-source")], [None, None], "{names:?}");
            }
        }
    }

    #[test]
    fn a_makefile_makes_modules_only_if_it_says_so() {
        let dir = tempfile::tempdir().unwrap();
        let with = |name: &str, text: &str| {
            std::fs::write(dir.path().join(name), text).unwrap();
            makes_modules(dir.path())
        };
        assert!(!makes_modules(dir.path()));
        assert!(!with("Makefile", "all:\n\tcc -o x x.c # no obj-m\n"));
        assert!(with("Makefile", "ifneq ($(KERNELRELEASE),)\n  obj-m := x.o\nendif\n"));
        assert!(with("Makefile", "obj-$(CONFIG_X) += x.o\n"));
        assert!(!with("Kbuild", "# Kbuild is what counts where both are\n"));
    }

    #[test]
    fn without_the_setting_there_is_no_stage_and_no_profile() {
        let (names, recipes) = added("", furnished().path()).unwrap();
        assert!(!recipes.keys().any(|name| name.starts_with(RECIPE)));
        assert_eq!((wanted(&names), names), (None, Vec::new()));
    }

    #[test]
    fn a_folder_without_anything_for_kbuild_is_named_with_the_line_that_names_it() {
        let dir = furnished();
        for (folder, why) in [
            ("empty", "has neither Kbuild nor Makefile"),
            ("none", "cannot be looked at"),
            ("empty/notes", "is no folder"),
        ] {
            let error = added(&format!("\nmodules = [\"b/src\", \"{folder}\"]\n"), dir.path()).unwrap_err();
            let what = format!("modules: {}/{folder} {why}", dir.path().display());
            assert!(error.message().starts_with(&what), "{error}");
            assert!(error.to_string().contains(&format!("quiz.toml:2:22: {what}")), "{error}");
        }
    }
}
