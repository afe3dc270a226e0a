//! What `quiz graph --why` and `quiz why` print of causes and of cost.

use super::Stage;
use crate::build::{CauseKind, FileChange};
use schemars::JsonSchema;
use serde::Serialize;

/// `quiz graph --why`.
#[derive(Debug, Serialize, JsonSchema)]
pub(in crate::report) struct GraphWhy<'a> {
    /// What changed at the root.
    pub causes: Vec<Cause<'a>>,
    /// What a build would cost now.
    pub cost: WouldCost<'a>,
    /// As `quiz graph` prints them.
    pub stages: Vec<Stage<'a>>,
}

/// One thing that changed, and what has to be made for it.
#[derive(Debug, Serialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub(in crate::report) struct Cause<'a> {
    /// What it is.
    pub kind: CauseKind,
    /// The ingredient, as `quiz why` names it; empty where it is none.
    pub name: &'a str,
    /// The stages that have this ingredient.
    pub at: Vec<&'a str>,
    /// Its value when they were last made.
    pub before: Option<&'a str>,
    /// Its value now.
    pub after: Option<&'a str>,
    /// What is different, in words, where its value says little.
    pub in_words: &'a [String],
    /// What is different about its files, if it consists of files.
    pub files: &'a [FileChange],
    /// What has to be made for it, inputs first.
    pub stages: Vec<&'a str>,
    /// Of `quiz why`: ways from there to the stage, stage by stage; the first few.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub paths: Option<Vec<Vec<&'a str>>>,
    /// Of `quiz why`: how many ways there are.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub number_of_paths: Option<u64>,
}

/// What a build would cost now, by how long stages took when they were last made.
#[derive(Debug, Serialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub(in crate::report) struct WouldCost<'a> {
    /// What would be made.
    pub stages: Vec<LastTook<'a>>,
    /// The stages that the others wait for, one after the other.
    pub critical_path: Vec<&'a str>,
    /// How long they take with as many at once as possible.
    pub seconds: f64,
    /// How long they take one after the other.
    pub seconds_one_after_the_other: f64,
}

/// A stage that would be made.
#[derive(Debug, Serialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub(in crate::report) struct LastTook<'a> {
    /// Its name.
    pub stage: &'a str,
    /// How long it took; null when nobody knows.
    pub last_seconds: Option<f64>,
}
