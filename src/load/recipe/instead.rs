//! Stages that depend on a setting: the tables `[only]` and `[instead]` of a recipe. Does not know whether there are the stages that they
//! name.

use super::Fault;
use crate::load::settings::{SCHEMA, Settings};
use serde::Deserialize;
use std::collections::BTreeMap;
use std::fmt;

/// The condition that a setting has a certain value.
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
    /// For the name of an output the stage and output that takes its place; under the condition an output that is not named here cannot be read.
    #[serde(default)]
    pub outputs: BTreeMap<String, String>,
}

impl Condition {
    /// Whether the setting has that value.
    pub fn holds(&self, settings: &Settings) -> bool {
        settings.text(&self.setting) == self.is
    }

    /// What is wrong with it, in the table of these names.
    pub(super) fn fault(&self, table: &[&str]) -> Option<Fault> {
        no_setting(&self.setting).map(|fault| fault.inside(table).inside(&["setting"]))
    }
}

/// What is wrong with the name of a setting, if anything is.
pub(super) fn no_setting(name: &str) -> Option<Fault> {
    let names = || SCHEMA.iter().map(|key| key.name);
    (!names().any(|known| known == name))
        .then(|| Fault::new(format!("there is no setting `{name}`")).near(name, names()))
}

impl fmt::Display for Condition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} = \"{}\"", self.setting, self.is)
    }
}

impl Instead {
    /// What is wrong with it in a recipe of these outputs.
    pub(super) fn fault<O>(&self, outputs: &BTreeMap<String, O>) -> Option<Fault> {
        let stray = || self.outputs.keys().find(|name| !outputs.contains_key(*name));
        let told = |name: &String| {
            let fault = Fault::new(format!("[instead]: this recipe has no output `{name}`"));
            fault.near(name, outputs.keys().map(String::as_str)).inside(&["instead", "outputs", name]).of_key()
        };
        self.when.fault(&["instead", "when"]).or_else(|| stray().map(told))
    }
}
