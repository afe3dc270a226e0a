//! Stages that depend on a setting: the tables `[only]` and `[instead]` of a recipe. Does not know whether there are the stages that they
//! name.

use crate::load::document::nearest;
use crate::load::settings::{SCHEMA, Settings};
use serde::Deserialize;
use std::collections::BTreeMap;
use std::fmt;

/// That a setting has a value.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Condition {
    /// The setting, a text.
    pub setting: String,
    /// Its value.
    pub is: String,
}

/// Where the outputs of a recipe come from under a condition: its own stage is not there then.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Instead {
    /// The condition.
    pub when: Condition,
    /// By the name of an output the stage and output that it is then; what is not named nobody can read then.
    #[serde(default)]
    pub outputs: BTreeMap<String, String>,
}

impl Condition {
    /// Whether it is true.
    pub fn holds(&self, settings: &Settings) -> bool {
        settings.text(&self.setting) == self.is
    }

    /// What is wrong with it, for people.
    pub(super) fn fault(&self) -> Option<String> {
        if SCHEMA.iter().any(|key| key.name == self.setting) {
            return None;
        }
        let near = nearest(&self.setting, SCHEMA.iter().map(|key| key.name));
        let near = near.map_or(String::new(), |name| format!("; did you mean `{name}`?"));
        Some(format!("there is no setting `{}`{near}", self.setting))
    }
}

impl fmt::Display for Condition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} = \"{}\"", self.setting, self.is)
    }
}

impl Instead {
    /// What is wrong with it in a recipe of these outputs, for people.
    pub(super) fn fault<O>(&self, outputs: &BTreeMap<String, O>) -> Option<String> {
        let stray = || self.outputs.keys().find(|name| !outputs.contains_key(*name));
        self.when.fault().or_else(|| stray().map(|name| format!("[instead]: this recipe has no output `{name}`")))
    }
}
