//! JSON Schemas of what `--json` prints, made of the very types that are printed.

use super::shapes::{
    Begun, Built, CacheContents, Checked, Cleaned, Compared, CrashExported, CrashImported, Exported, GraphWhy, Health,
    Imported, KernelChanged, KernelEdited, Left, LeftWhole, Line, Listed, Machine, OwnSnapshot, Pinned, Profile,
    Removed, Setting, Stage, Started, Tested, Trusted, Written,
};
use crate::boot::Recorded;
use crate::event::FORMAT;
use crate::test::Results;
use schemars::generate::SchemaSettings;
use schemars::{JsonSchema, Schema};
use serde_json::{Value as Json, json};
use std::collections::BTreeMap;

/// Name, what has it, and how it is made.
type Entry = (&'static str, &'static str, fn() -> Schema);

const ALL: &[Entry] = &[
    ("events", "a line on stderr with --json, or of the file of --events", of::<Line<'static>>),
    ("build", "quiz build", of::<Built>),
    ("cache", "quiz cache", of::<CacheContents<'static>>),
    ("cache-export", "quiz cache export", of::<Exported<'static>>),
    ("cache-import", "quiz cache import", of::<Imported<'static>>),
    ("cache-pin", "quiz cache pin", of::<Pinned<'static>>),
    ("cache-verify", "quiz cache verify", of::<Checked<'static>>),
    ("clean", "quiz clean", of::<Cleaned<'static>>),
    ("config", "quiz config", of::<BTreeMap<String, Setting>>),
    ("crash-export", "quiz crash export", of::<CrashExported<'static>>),
    ("crash-import", "quiz crash import", of::<CrashImported<'static>>),
    ("crash-ls", "quiz crash ls", of::<Vec<Left<'static>>>),
    ("crash-show", "quiz crash show", of::<LeftWhole<'static>>),
    ("doctor", "quiz doctor", of::<Health<'static>>),
    ("gc", "quiz gc", of::<BTreeMap<String, Removed>>),
    ("graph", "quiz graph", of::<Vec<Stage<'static>>>),
    ("graph-why", "quiz graph --why", of::<GraphWhy<'static>>),
    ("init", "quiz init", of::<Begun<'static>>),
    ("kernel-config", "quiz kernel config", of::<KernelEdited<'static>>),
    ("kernel-config-diff", "quiz kernel config --diff", of::<Vec<KernelChanged<'static>>>),
    ("man", "quiz man", of::<Written<'static>>),
    ("new", "quiz new", of::<Started<'static>>),
    ("profile", "quiz profiles NAME", of::<Profile<'static>>),
    ("profiles", "quiz profiles", of::<Vec<Profile<'static>>>),
    ("ps", "quiz ps", of::<Vec<Machine<'static>>>),
    ("results.json", "results.json in out/ of a run of quiz test", of::<Results>),
    ("result.json", "result.json of a machine's folder, when it has ended", of::<Recorded>),
    ("snap", "quiz snap without a name", of::<Vec<OwnSnapshot<'static>>>),
    ("test", "quiz test", of::<Tested<'static>>),
    ("test-list", "quiz test --list", of::<Vec<Listed<'static>>>),
    ("trust", "quiz trust", of::<Trusted>),
    ("verify", "quiz verify", of::<Compared<'static>>),
    ("why", "quiz why", of::<Stage<'static>>),
];

fn of<T: JsonSchema>() -> Schema {
    SchemaSettings::draft2020_12().for_serialize().into_generator().into_root_schema_for::<T>()
}

fn whole((name, what, make): &Entry) -> Json {
    let mut schema = make();
    schema.insert("$id".to_owned(), json!(format!("urn:quiz:format:{FORMAT}:{name}")));
    schema.insert("title".to_owned(), json!(what));
    json!(schema)
}

/// All names that there are.
pub fn names() -> impl Iterator<Item = &'static str> {
    ALL.iter().map(|(name, ..)| *name)
}

/// The schema of that name.
pub fn schema(name: &str) -> Option<Json> {
    ALL.iter().find(|(other, ..)| *other == name).map(whole)
}

/// All of them, and the version of the format that they are of.
pub fn schemas() -> Json {
    json!({ "format": FORMAT, "schemas": ALL.iter().map(|entry| (entry.0, whole(entry))).collect::<BTreeMap<_, _>>() })
}
