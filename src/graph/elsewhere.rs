//! Stages that do not exist with the project's settings, and those in their place: the tables `[only]` and `[instead]` of recipes. Binds nothing.

use super::asked::Asked;
use crate::error::{Error, Result};
use crate::load::{Instead, Project, Recipe};
use std::collections::{BTreeMap, BTreeSet};

/// Where an output is to be had, "stage/output", if its stage is not there by the settings; and the key that says so.
///
/// # Errors
/// Nothing is in its place, or a stage that does not exist with these settings either.
pub(super) fn target<'p>(
    project: &'p Project,
    stage: &str,
    output: Option<&str>,
    asked_by: &Asked<'_>,
) -> Result<Option<(&'p str, Asked<'p>)>> {
    let Some((recipe, instead)) = in_place(project, stage) else { return Ok(None) };
    let output =
        output.or_else(|| recipe.outputs.keys().map(String::as_str).next().filter(|_| recipe.outputs.len() == 1));
    let (output, target) = output.and_then(|output| instead.outputs.get_key_value(output)).ok_or_else(|| {
        let what = output.map_or_else(|| stage.to_owned(), |output| format!("{stage}/{output}"));
        asked_by.wrong(stage, format!("with {} there is no {what}", instead.when))
    })?;
    let by = Asked::new(&recipe.file, &["instead", "outputs", output]);
    // One step and no more: two recipes could stand for each other.
    match in_place(project, stage_of(target)) {
        None => Ok(Some((target, by))),
        Some((_, other)) => Err(by.wrong(target, format!("{target} is not there with {}", other.when))),
    }
}

/// Where all outputs of a stage are that is not there by the settings; `None` where it is.
///
/// # Errors
/// As of [`target`].
pub(super) fn all<'p>(project: &'p Project, stage: &str) -> Result<Option<Vec<(&'p str, Asked<'p>)>>> {
    let Some((recipe, instead)) = in_place(project, stage) else { return Ok(None) };
    let by = Asked::new(&recipe.file, &["instead"]);
    let target = |output: &String| target(project, stage, Some(output), &by);
    instead.outputs.keys().filter_map(|output| target(output).transpose()).collect::<Result<_>>().map(Some)
}

/// Whether a stage of this recipe can be there by the settings.
pub(super) fn check(project: &Project, recipe: &Recipe) -> Result<()> {
    match recipe.only.as_ref().filter(|only| !only.holds(&project.settings)) {
        None => Ok(()),
        Some(only) => Err(Error::input(format!("the stage `{}` is there only with {only}", recipe.name))),
    }
}

/// The stages that are not there by the settings, each with what to say of it.
pub(super) fn hints(project: &Project) -> BTreeMap<String, String> {
    let hint = |recipe: &Recipe| {
        if let Some(only) = recipe.only.as_ref().filter(|only| !only.holds(&project.settings)) {
            return Some(format!("it is there only with {only}"));
        }
        let instead = recipe.instead(&project.settings)?;
        let stages: BTreeSet<&str> = instead.outputs.values().map(|target| stage_of(target)).collect();
        let stages = stages.into_iter().collect::<Vec<_>>().join(", ");
        Some(if stages.is_empty() {
            format!("with {} it is not there", instead.when)
        } else {
            format!("with {} there is instead: {stages}", instead.when)
        })
    };
    project.recipes.values().filter_map(|recipe| Some((recipe.name.clone(), hint(recipe)?))).collect()
}

fn in_place<'p>(project: &'p Project, stage: &str) -> Option<(&'p Recipe, &'p Instead)> {
    let recipe = project.recipes.get(stage)?;
    recipe.instead(&project.settings).map(|instead| (recipe.as_ref(), instead))
}

/// The stage of "stage/output".
fn stage_of(target: &str) -> &str {
    target.rsplit_once('/').map_or(target, |(stage, _)| stage)
}
