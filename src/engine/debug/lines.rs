//! The lines of the source that the frames of a kernel's trace stand for, with what was inlined there.
//!
//! A trace has `function+0xOFFSET/0xSIZE [module]`, and no address that would have to be looked up in a memory: the function is found by its name,
//! wherever the kernel or the module lay. Of a name that several files have, and of which SIZE does not say which it is, nothing is said.

use super::file::{File, Symbol, is_prefix};
use crate::boot::crash::Frame;
use crate::engine::symbols::Symbols;
use crate::error::Result;
use addr2line::Context;
use addr2line::gimli::{EndianSlice, LittleEndian};
use schemars::JsonSchema;
use serde::Serialize;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// Where a stage's script finds the source that it compiles, or says that it does (`recipes/module-debug`).
pub(super) const INSIDE: [&str; 3] = ["/quiz/src", "/quiz/scratch/tree", "/quiz/module"];

/// Functions that are inlined in each other at one place, at most.
const DEPTH: usize = 64;
/// Bytes of a name of a function or a file, at most.
const LENGTH: usize = 1024;

/// What the name of a file of Debian's kernels begins with, followed by a folder of its own (dpkg-buildflags(1), `fixdebugpath`): where it was compiled,
/// relative to the source, or where the source was.
const DEBIANS: [&str; 2] = ["debian/build/", "/build/reproducible-path/"];

/// A place in the source.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
pub struct Place {
    /// The function there.
    pub function: String,
    /// The file, as its source tree names it, where it is in one.
    pub file: String,
    /// From 1 on.
    pub line: u32,
}

/// By the number of a trace's line the places for which it stands: the innermost function first, each of which is inlined in the next one.
pub type Lines = BTreeMap<usize, Vec<Place>>;

/// Looks frames up. A module of which there is no debug information has no lines.
///
/// # Errors
/// A file of debug information cannot be read.
pub fn of(symbols: &Symbols, frames: &[Frame]) -> Result<Lines> {
    let mut by_module: BTreeMap<Option<&str>, Vec<&Frame>> = BTreeMap::new();
    for frame in frames {
        by_module.entry(frame.module.as_deref()).or_default().push(frame);
    }
    // An imported crash comes without sources: there only the places of quiz's scripts are cut off.
    let roots: Vec<&str> = symbols.sources.iter().map(|(inside, _)| inside.as_str()).chain(INSIDE).collect();
    let files = if by_module.keys().any(Option::is_some) { symbols.module_files() } else { BTreeMap::new() };
    let mut lines = Lines::new();
    for (module, frames) in by_module {
        let path: Option<PathBuf> = match module {
            None => Some(symbols.vmlinux()),
            Some(module) => files.get(module).cloned(),
        };
        if let Some(path) = path {
            lines.extend(look_up(&path, &frames, &roots)?);
        }
    }
    Ok(lines)
}

fn look_up(path: &Path, frames: &[&Frame], roots: &[&str]) -> Result<Lines> {
    let file = File::open(path)?;
    let Ok(context) = Context::from_dwarf(file.dwarf()) else { return Ok(Lines::new()) };
    let places = |frame: &&Frame| {
        let mut places = places(&context, address(&file, frame)?, roots);
        // What was written in assembler has lines, and no functions.
        let function = places.last_mut().map(|own| &mut own.function)?;
        if function.is_empty() {
            function.clone_from(&frame.function);
        }
        Some((frame.line, places))
    };
    Ok(frames.iter().filter_map(places).collect())
}

/// Where an instruction of that frame lies: of a return address that of the call before it.
fn address(file: &File, frame: &Frame) -> Option<u64> {
    let offset = if frame.is_exact { Some(frame.offset) } else { frame.offset.checked_sub(1) }?;
    // There the kernel names the address of a function that begins behind it.
    if offset >= frame.size || is_prefix(&frame.function) {
        return None;
    }
    // A function of another kernel would have another size. Behind the last one of a section there may be anything.
    let fits = |symbol: &&Symbol| file.takes(symbol, frame.size);
    let mut fitting: Vec<u64> = file.functions(&frame.function).iter().filter(fits).map(|one| one.address).collect();
    fitting.dedup();
    let [one] = fitting[..] else { return None };
    let symbol = file.functions(&frame.function).iter().find(|symbol| symbol.address == one)?;
    one.checked_add(offset).filter(|address| file.is_beside(symbol, *address))
}

fn places(context: &Context<EndianSlice<'_, LittleEndian>>, address: u64, roots: &[&str]) -> Vec<Place> {
    let Ok(mut frames) = context.find_frames(address).skip_all_loads() else { return Vec::new() };
    let mut places = Vec::new();
    while let Ok(Some(frame)) = frames.next() {
        let function = frame.function.and_then(|name| Some(name.raw_name().ok()?.into_owned()));
        let Some((file, line)) = frame.location.and_then(|at| Some((at.file?, at.line.filter(|line| *line > 0)?)))
        else {
            continue;
        };
        let function = short(&function.unwrap_or_default());
        places.push(Place { function, file: short(&relative(file, roots)), line });
        if places.len() == DEPTH {
            break;
        }
    }
    places
}

/// A file as its source tree names it.
pub(super) fn relative(file: &str, roots: &[&str]) -> String {
    let is_debians = DEBIANS.iter().any(|start| file.starts_with(start));
    let mut name = if file.starts_with('/') && !is_debians { below(file, roots) } else { file.to_owned() };
    let inside = |name: &str| {
        let in_folder = |start: &&str| name.strip_prefix(*start)?.split_once('/').map(|(_, inside)| inside);
        DEBIANS.iter().find_map(in_folder).map(|inside| inside.trim_start_matches('/').to_owned())
    };
    // A tree of Debian's may have been compiled in a folder below one of its own.
    while let Some(inside) = inside(&name) {
        name = inside;
    }
    name
}

/// The path of a file below the root that is nearest to it; the whole path, if it lies in none of them.
fn below(file: &str, roots: &[&str]) -> String {
    let mut parts: Vec<&str> = Vec::new();
    for part in file.split('/').filter(|part| !["", "."].contains(part)) {
        if part == ".." {
            parts.pop();
        } else {
            parts.push(part);
        }
    }
    let whole = format!("/{}", parts.join("/"));
    let inside = roots.iter().filter_map(|root| whole.strip_prefix(root)?.strip_prefix('/'));
    inside.min_by_key(|inside| inside.len()).map_or(whole.clone(), str::to_owned)
}

/// Without what a terminal would take for a command.
pub(super) fn short(name: &str) -> String {
    name.chars().map(|c| if c.is_control() { ' ' } else { c }).take(LENGTH).collect()
}

/// For the fuzz target: whatever a file of debug information says.
#[cfg(any(test, feature = "fuzz"))]
pub(super) fn fuzz(file: &File) {
    let Ok(context) = Context::from_dwarf(file.dwarf()) else { return };
    for section in file.sections.values() {
        let (start, end) = (section.place.start, section.place.end);
        let all = [start, start.saturating_add(9), end.saturating_sub(1)];
        for address in all.into_iter().filter(|address| section.place.contains(address)) {
            assert!(places(&context, address, &["/quiz/src"]).len() <= DEPTH);
        }
    }
}

#[cfg(test)]
mod tests;
