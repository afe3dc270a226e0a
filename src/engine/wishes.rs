//! What the source stages of a graph ask for, by their options, and where that is pinned.

use crate::error::{Error, Result};
use crate::graph::{Graph, NodeIndex};
use crate::load::{OptionSpec, Origin, Project, Value};
use crate::source::{self, Spec, Wish};
use std::collections::BTreeMap;
use std::path::PathBuf;

/// A source stage's wish, and the lock file it is pinned in.
pub(super) struct SourceWish {
    pub id: NodeIndex,
    pub wish: Wish,
    pub lock: PathBuf,
    /// Its recipe's `[source]`.
    pub spec: Spec,
}

/// What each source stage of the graph asks for.
pub(super) fn of(project: &Project, graph: &Graph, source: &source::Context) -> Result<Vec<SourceWish>> {
    let mut wishes = Vec::new();
    for id in graph.order() {
        let stage = graph.stage(id);
        let Some(spec) = stage.recipe.source() else { continue };
        let options = stage.options.iter().map(|(name, value)| (name.clone(), words(value)));
        let setting = |(name, option): (&String, &OptionSpec)| {
            option.setting.clone().unwrap_or_else(|| stage.recipe.own_setting(name))
        };
        let mut keys: Vec<String> = stage.recipe.options.iter().map(setting).collect();
        let mut options: BTreeMap<String, Vec<String>> = options.collect();
        // What is compiled runs in a root of the same suite.
        let suite = project.settings.text("toolchain.suite");
        if suite != "host" && spec.packages.is_some() && options.get("suite").is_some_and(|words| words == &[""]) {
            options.insert("suite".to_owned(), vec![suite.to_owned()]);
            keys.push("toolchain.suite".to_owned());
        }
        // Modules for what a distribution compiled are compiled by the same suite's compiler, if that has it.
        if suite != "host" && spec.binary.is_some() {
            options.insert("own".to_owned(), vec![suite.to_owned()]);
            keys.push("toolchain.suite".to_owned());
        }
        let wish = Wish::new(spec, &options, source);
        let wish = wish.map_err(|error| keys.iter().fold(error, |error, key| asked_by(project, error, key)))?;
        wishes.push(SourceWish { id, wish, lock: project.lock_path(keys), spec: spec.clone() });
    }
    Ok(wishes)
}

fn words(value: &Value) -> Vec<String> {
    match value {
        Value::List(items) => items.clone(),
        Value::Text(text) => vec![text.clone()],
        Value::Number(number) => vec![number.to_string()],
        Value::Flag(flag) => vec![flag.to_string()],
        Value::File { path, .. } => vec![path.display().to_string()],
    }
}

/// The error with the place where a setting was set, if anybody did.
fn asked_by(project: &Project, error: Error, key: &str) -> Error {
    match project.settings.get(key) {
        Some(set) if set.origin != Origin::Default => {
            error.hint(format!("asked for by {key} = {} ({})", set.value, set.origin))
        }
        _ => error,
    }
}
