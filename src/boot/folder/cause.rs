//! Why a guest's memory was taken: of what is told of it beside the memory, this alone matters to who makes room.

use super::CRASH;
use crate::host;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::io::Read;
use std::path::Path;

/// What is known of a crash, in its folder.
pub const ABOUT: &str = "crash.json";
/// The most bytes that are read of it: a program and some lines.
pub const MOST: u64 = 4 << 20;

/// Why the memory was taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Cause {
    /// The guest's kernel gave up.
    Panic,
    /// A time limit was over.
    Limit,
    /// The machine ended before its program without a word of its kernel, as after a triple fault, or KVM could not go on with it.
    Lost,
    /// Somebody wanted it: `quiz dump`. The machine went on.
    Asked,
}

#[derive(Deserialize)]
struct OnlyCause {
    cause: Cause,
}

impl Cause {
    /// Of the crash in the folder of a machine; nothing where that cannot be read. The folder may be one that a project brought along.
    pub(in crate::boot) fn read(place: &Path) -> Option<Self> {
        let mut text = String::new();
        host::open_plain(&place.join(CRASH).join(ABOUT)).ok()?.take(MOST).read_to_string(&mut text).ok()?;
        serde_json::from_str::<OnlyCause>(&text).ok().map(|about| about.cause)
    }
}
