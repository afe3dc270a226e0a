//! Roots of packages: in which one the script of a recipe runs, and what the name of one, `toolchain:SET@SUITE,PACKAGE`, stands for. Binds
//! nothing.

use crate::error::{Error, Result};
use crate::load::{Project, Recipe, TOOLCHAIN, Value};
use crate::source::{is_package, is_suite};
use std::collections::BTreeSet;

/// The set of packages of a recipe that names none: with it a project's own module is compiled as the kernel is.
pub(super) const SET: &str = "kernel";

/// Before the suite of a set's packages, where that is another than `toolchain.suite`.
const OF_SUITE: char = '@';

/// The stage that makes the root in which the recipe's script runs; none where that is the host's own.
///
/// # Errors
/// The settings name a suite or a package that cannot be one, or packages where scripts run in no root.
pub(super) fn of(project: &Project, recipe: &Recipe) -> Result<Option<String>> {
    if recipe.script().is_none() {
        return Ok(None);
    }
    let setting = recipe.more_packages.as_deref().unwrap_or_default();
    let asked = project.settings.list(setting);
    let suite = match &recipe.suite {
        Some(suite) => Some(suite.as_str()),
        None => suite(project, recipe.compiler)?,
    };
    let Some(suite) = suite else {
        return match asked {
            [] => Ok(None),
            asked => Err(Error::input(format!(
                "{setting} is for roots of packages, and scripts run with this machine's own programs"
            ))
            .hint(format!("install the packages on this machine: {}", asked.join(" ")))
            .hint("or run scripts in roots of a suite of Debian's: toolchain.suite = \"bookworm\"")),
        };
    };
    if let Some(wrong) = asked.iter().find(|package| !is_package(package)) {
        return Err(project.settings.wrong(setting, wrong, format!("{setting}: `{wrong}` is no name of a package")));
    }
    let set = recipe.toolchain.as_deref().unwrap_or(SET);
    let known = project.recipes.get(TOOLCHAIN).and_then(|toolchain| toolchain.sets.get(set));
    let is_asked_for = |tool: &str| project.profiles.iter().any(|profile| profile.tools.contains_key(tool));
    let on_demand = recipe.tools_on_demand.iter().filter(|(tool, _)| is_asked_for(tool));
    let packages: BTreeSet<&String> =
        recipe.tools.iter().chain(on_demand).map(|(_, package)| package).chain(asked).collect();
    let more = packages.into_iter().filter(|package| known.is_none_or(|known| !known.contains(package)));
    let is_common = recipe.suite.is_none() && (!recipe.compiler || self::suite(project, false)? == Some(suite));
    let root = if is_common { format!("{TOOLCHAIN}:{set}") } else { format!("{TOOLCHAIN}:{set}{OF_SUITE}{suite}") };
    Ok(Some(more.fold(root, |name, package| format!("{name},{package}"))))
}

/// The suite of whose packages roots are made: that of what compiles for the kernel, or that of all else. `None` where scripts run with the host's own
/// programs.
fn suite(project: &Project, compiles_for_kernel: bool) -> Result<Option<&str>> {
    let setting = project.suite_setting(compiles_for_kernel);
    match project.settings.text(setting) {
        "host" => Ok(None),
        "" => {
            let what = format!("{setting} is empty: name a suite of Debian's, such as bookworm, or host");
            Err(project.settings.wrong(setting, "", what))
        }
        suite if is_suite(suite) => Ok(Some(suite)),
        wrong => {
            Err(project.settings.wrong(setting, wrong, format!("{setting}: `{wrong}` is not the name of a suite")))
        }
    }
}

/// The suite that the name of a root says.
pub(super) fn suite_in(stage: &str) -> Option<&str> {
    stage.split_once(OF_SUITE)?.1.split(',').next()
}

/// The set of packages that the name of a root says.
pub(super) fn set_in(stage: &str) -> Option<&str> {
    stage.split_once(':')?.1.split([OF_SUITE, ',']).next()
}

/// The options of the root that the recipe makes with this parameter: a set, `@` and a suite if it is not that of the settings, and
/// further packages, with commas between.
///
/// # Errors
/// There is no such set, the suite is none, or none is named anywhere.
pub(super) fn options(project: &Project, recipe: &Recipe, parameter: &str) -> Result<Vec<(String, Value)>> {
    let mut parts = parameter.split(',');
    let first = parts.next().unwrap_or_default();
    let (set, named) = first.split_once(OF_SUITE).map_or((first, None), |(set, suite)| (set, Some(suite)));
    let wrong = |what: String| Error::input(format!("{}: {what}", recipe.path.display()));
    if let Some(suite) = named.filter(|suite| !is_suite(suite)) {
        return Err(wrong(format!("`{suite}` is not the name of a suite")));
    }
    if named.is_none() && suite(project, false)?.is_none() {
        let name = format!("{}:{parameter}", recipe.name);
        return Err(Error::input(format!(
            "{name} is a root of packages, and scripts run with this machine's own programs"
        ))
        .hint("name the suite of the packages: toolchain.suite = \"bookworm\", or QUIZ_TOOLCHAIN_SUITE=bookworm"));
    }
    let Some(packages) = recipe.sets.get(set) else {
        let known = recipe.sets.keys().map(String::as_str).collect::<Vec<_>>().join(", ");
        return Err(wrong(format!("there is no set of packages `{set}`")).hint(format!("there are: {known}")));
    };
    let packages = packages.iter().cloned().chain(parts.map(str::to_owned)).collect();
    let suite = named.map(|suite| ("suite".to_owned(), Value::Text(suite.to_owned())));
    Ok([("packages".to_owned(), Value::List(packages))].into_iter().chain(suite).collect())
}
