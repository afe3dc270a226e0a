//! What commands print that wrote, made, or took in something.

use schemars::JsonSchema;
use serde::Serialize;
use std::borrow::Cow;

/// `quiz crash export`.
#[derive(Debug, Serialize, JsonSchema)]
pub(in crate::report) struct CrashExported<'a> {
    /// The file that was written.
    pub file: Cow<'a, str>,
    /// How large it is.
    pub bytes: u64,
    /// The run whose crash is in it.
    pub run: &'a str,
    /// What did not come along, in words.
    pub missing: &'a [String],
}

/// `quiz crash import`.
#[derive(Debug, Serialize, JsonSchema)]
pub(in crate::report) struct CrashImported<'a> {
    /// The number of the run that it is here.
    pub run: &'a str,
    /// It was there already.
    pub known: bool,
    /// What was wrong with the guest.
    pub title: &'a str,
}

/// `quiz init`.
#[derive(Debug, Serialize, JsonSchema)]
pub(in crate::report) struct Begun<'a> {
    /// The file that was written.
    pub file: Cow<'a, str>,
    /// The kind of folder that the settings are for.
    #[serde(rename = "for")]
    pub what: &'a str,
    /// The settings in it that count.
    pub sets: &'a [&'a str],
    /// What to type next.
    pub next: &'a str,
}

/// `quiz new`.
#[derive(Debug, Serialize, JsonSchema)]
pub(in crate::report) struct Started<'a> {
    /// The folder that was made.
    pub folder: Cow<'a, str>,
    /// What to type next.
    pub next: &'a str,
}

/// `quiz kernel config`.
#[derive(Debug, Serialize, JsonSchema)]
pub(in crate::report) struct KernelEdited<'a> {
    /// The symbols whose values changed.
    pub changed: Vec<KernelChanged<'a>>,
    /// The lines that ask for it.
    pub lines: &'a [String],
    /// The quiz.toml that has them now, if they were saved.
    pub saved: Option<Cow<'a, str>>,
}

/// A symbol of a kernel's config. `quiz kernel config --diff` prints an array of these.
#[derive(Debug, Serialize, JsonSchema)]
pub(in crate::report) struct KernelChanged<'a> {
    /// Without `CONFIG_`.
    pub symbol: &'a str,
    /// Its value in the config; null when it is not there.
    pub old: Option<&'a str>,
    /// Its value in the other config.
    pub new: Option<&'a str>,
}

/// `quiz man`.
#[derive(Debug, Serialize, JsonSchema)]
pub(in crate::report) struct Written<'a> {
    /// The folder that was written to.
    pub folder: Cow<'a, str>,
}

/// `quiz cache export`.
#[derive(Debug, Serialize, JsonSchema)]
pub(in crate::report) struct Exported<'a> {
    /// The file that was written.
    pub file: Cow<'a, str>,
    /// How large it is.
    pub bytes: u64,
}

/// `quiz cache import`.
#[derive(Debug, Serialize, JsonSchema)]
pub(in crate::report) struct Imported<'a> {
    /// The stages whose results were taken in.
    pub taken: &'a [String],
    /// How many results were there already.
    pub known: usize,
}
