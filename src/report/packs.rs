//! What went into a pack of results or a file of a crash, or came out of one, as text or as JSON.

use super::lines::size;
use super::plain::one_line;
use super::shapes;
use crate::engine::capsules::{Arrived, Exported};
use quiz_cache::Unpacked;
use serde_json::json;
use std::path::Path;

/// That a pack was written, of so many bytes.
pub fn exported(file: &Path, bytes: u64, as_json: bool) -> String {
    if as_json {
        return format!("{}\n", json!(shapes::Exported { file: file.to_string_lossy(), bytes }));
    }
    format!("{}: {}\n", file.display(), size(bytes))
}

/// What was taken in from a pack.
pub fn imported(unpacked: &Unpacked, as_json: bool) -> String {
    let Unpacked { taken, known } = unpacked;
    if as_json {
        return format!("{}\n", json!(shapes::Imported { taken, known: *known }));
    }
    let was_there = if *known == 0 { String::new() } else { format!("{known} were there already\n") };
    taken.iter().map(|stage| format!("{stage}\n")).collect::<String>() + &was_there
}

/// That the crash of a run was written to a file.
pub fn crash_exported(file: &Path, run: &str, exported: &Exported, as_json: bool) -> String {
    let Exported { bytes, missing } = exported;
    if as_json {
        return format!(
            "{}\n",
            json!(shapes::CrashExported { file: file.to_string_lossy(), bytes: *bytes, run, missing })
        );
    }
    format!("{}: run {run}, {}\n", file.display(), size(*bytes))
}

/// That a crash is a run here now.
pub fn crash_imported(arrived: &Arrived, as_json: bool) -> String {
    let Arrived { run, was_there, crash } = arrived;
    if as_json {
        return format!("{}\n", json!(shapes::CrashImported { run, known: *was_there, title: &crash.title }));
    }
    let before = if *was_there { ", which was there already" } else { "" };
    let title = one_line(&crash.title);
    format!("run {run}{before}: {title}\nNext: quiz crash show {run}, or quiz crash again {run}\n")
}
