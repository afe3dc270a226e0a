//! What is different about a tool, in words: keys have one digest of it, and what that was made from is kept beside.

use super::super::cache_error;
use super::identity::Tools;
use super::look::{PACKAGE, Parts};
use crate::error::Result;
use quiz_cache::{Cache, Change, Key, KeyEncoder, Manifest};
use std::collections::BTreeSet;

/// How many differences of one tool are told. A new distribution changes everything.
const TOLD: usize = 6;

/// How a tool is called in a key's manifest; headers and libraries have this name.
pub(in crate::build) const TOOL: &str = "tool/";
pub(in crate::build) const HEADERS: &str = "headers";

/// The identity that stands for these parts, which are remembered for it.
pub(super) fn note(cache: &Cache, parts: &Parts) -> Result<String> {
    let lines: String = parts.iter().map(|(name, digest)| format!("{digest}\t{}\n", name.replace('\n', " "))).collect();
    let identity = quiz_cache::Digest::of(lines.as_bytes()).to_string();
    if cache.memo(PARTS, &place(&identity)).map_err(cache_error)?.is_none() {
        cache.set_memo(PARTS, &place(&identity), lines.as_bytes()).map_err(cache_error)?;
    }
    Ok(identity)
}

const PARTS: &str = "tool parts";

fn place(identity: &str) -> Key {
    KeyEncoder::new("quiz tool parts 1").text("identity", identity).finish().0
}

/// The parts of an identity, as far as they are remembered.
fn parts(cache: &Cache, identity: &str) -> Option<Parts> {
    let known = cache.memo(PARTS, &place(identity)).ok()??;
    let text = String::from_utf8(known).ok()?;
    Some(text.lines().filter_map(|line| line.split_once('\t')).map(|(d, n)| (n.to_owned(), d.to_owned())).collect())
}

/// What a change of an ingredient says of a tool: `gcc: cc1 has changed`. Empty for other ingredients, and when it is not
/// remembered what the tool was.
pub(in crate::build) fn told(cache: &Cache, change: &Change) -> Vec<String> {
    let (Some(before), Some(after)) = (&change.before, &change.after) else { return Vec::new() };
    let name = match change.name.strip_prefix(TOOL) {
        Some(tool) => tool,
        None if change.name == HEADERS => HEADERS,
        None => return Vec::new(),
    };
    match (parts(cache, before), parts(cache, after)) {
        (Some(before), Some(after)) => differences(name, &before, &after),
        _ => Vec::new(),
    }
}

fn differences(name: &str, before: &Parts, after: &Parts) -> Vec<String> {
    let all: BTreeSet<&String> = before.keys().chain(after.keys()).collect();
    // First what runs, then the packages around it.
    let (packages, files): (Vec<&String>, Vec<&String>) = all.into_iter().partition(|part| part.starts_with(PACKAGE));
    let mut told: Vec<String> = files
        .into_iter()
        .chain(packages)
        .filter_map(|part| {
            let what = match (before.get(part), after.get(part)) {
                (None, _) => "is new",
                (_, None) => "is gone",
                (before, after) if before == after => return None,
                _ if part.starts_with(PACKAGE) => "changed",
                _ => "has changed",
            };
            // `libc6:amd64` is the package of the host's own architecture or of another one; people call it libc6.
            let part = part.strip_prefix(PACKAGE).map_or(part.as_str(), |p| p.split(':').next().unwrap_or(p));
            Some(format!("{name}: {part} {what}"))
        })
        .collect();
    if told.len() > TOLD {
        let more = told.len() - TOLD;
        told.truncate(TOLD);
        told.push(format!("{name}: and {more} more"));
    }
    told
}

/// What is different about the tools in these manifests, in words, each once.
pub(in crate::build) fn changed(cache: &Cache, tools: &Tools, manifests: &[Manifest]) -> BTreeSet<String> {
    let mut all = BTreeSet::new();
    for manifest in manifests {
        for (name, before) in &manifest.entries {
            let after = match name.strip_prefix(TOOL) {
                Some(tool) => tools.get(tool),
                None if name == HEADERS => tools.headers(),
                None => continue,
            };
            // `missing` says that no profile asked for the tool, which is on demand: it was hidden from the script and did not change.
            if before != after && before != super::MISSING {
                let change = Change { name: name.clone(), before: Some(before.clone()), after: Some(after.to_owned()) };
                all.extend(told(cache, &change));
            }
        }
    }
    all
}
