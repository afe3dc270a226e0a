//! The stages that have the debug information of a guest: of the sources as they are now, or as they were when its machine crashed.
//!
//! Makes nothing.

use crate::boot::crash::Imported;
use crate::boot::folder::run_of;
use crate::build::StageState;
use crate::engine::sources::{self, Edited};
use crate::engine::{Engine, IMAGE, Stages};
use crate::error::{Error, Result};
use crate::event::Event;
use crate::graph::NodeIndex;
use crate::load::{Project, is_of_folders};
use quiz_cache::Record;
use std::path::Path;

/// The stages with the kernel that runs, with its debug information, and with the modules that others brought.
const KERNEL: &str = "kernel";
const DEBUG: &str = "kernel-debug";
const WORK: &str = "layer:work/tree";
/// The output of a stage that is debug information.
pub(super) const SYMBOLS: &str = "symbols";

/// What a guest was booted of.
#[derive(Debug, Clone, Copy)]
pub struct Booted<'a> {
    /// The kernel's file, in the cache.
    pub kernel: &'a Path,
    /// The layers of its root, in the cache.
    pub layers: &'a [String],
    /// What its run is called.
    pub run: &'a str,
    /// The line that runs it again.
    pub again: &'a str,
    /// What came along, if it is a crash from elsewhere.
    pub imported: Option<&'a Imported>,
    /// The folder of the machine, if it has crashed.
    pub crash: Option<&'a Path>,
}

/// The stages that have the debug information of a guest, that of the kernel first.
pub(super) struct Asked {
    pub(super) stages: Stages,
    pub(super) planned: Vec<(NodeIndex, StageState)>,
    pub(super) wanted: Vec<NodeIndex>,
    /// Those of the modules of the user's own folders.
    pub(super) own: Vec<NodeIndex>,
    /// The work layer is that of the guest, and so are all modules.
    pub(super) has_modules: bool,
    /// The sources of now are not those of then.
    pub(super) is_edited: bool,
    /// Why those of then do not help.
    why: Option<String>,
}

impl Asked {
    /// By the sources as they are now.
    pub(super) fn now(engine: &Engine<'_>, booted: &Booted<'_>) -> Result<Self> {
        Self::of(engine, booted, Self::stages(engine)?)
    }

    /// By the sources as they were when the machine crashed, where those are others now and were kept.
    pub(super) fn best(engine: &Engine<'_>, booted: &Booted<'_>, now: Result<Self>) -> Result<Self> {
        if now.as_ref().is_ok_and(Self::is_whole) {
            return now;
        }
        let Some((run, mut stages, edited)) = Self::edited(engine, booted) else { return now };
        let then = sources::bring(engine, run, &mut stages, &edited).and_then(|()| Self::of(engine, booted, stages));
        let why = |error: &Error| format!("its sources as they were do not help: {}", sources::in_a_line(error));
        match (now, then) {
            (_, Ok(then)) => Ok(then),
            (Err(now), Err(error)) => Err(now.detail(why(&error))),
            (Ok(now), Err(error)) => Ok(Self { why: Some(why(&error)), ..now }),
        }
    }

    /// Whether [`Self::best`] may have others than those of now.
    pub(super) fn may_be_better(engine: &Engine<'_>, booted: &Booted<'_>) -> bool {
        Self::edited(engine, booted).is_some_and(|(_, _, edited)| sources::are_kept(&edited))
    }

    /// The run, the stages with what their sources were pinned to then, and which of the folders that these are made of were edited since; nothing if none
    /// was, and they are pinned to the same now.
    fn edited<'b>(engine: &Engine<'_>, booted: &Booted<'b>) -> Option<(&'b Path, Stages, Vec<Edited>)> {
        let run = run_of(booted.crash?);
        let mut stages = Self::stages(engine).ok()?;
        let is_other = sources::repin(run, &mut stages).unwrap_or_else(|error| {
            (engine.events)(Event::Warning { message: sources::in_a_line(&error) });
            false
        });
        let edited = sources::edited(run, &stages, &engine.plan(&stages).ok()?);
        (is_other || !edited.is_empty()).then_some((run, stages, edited))
    }

    fn stages(engine: &Engine<'_>) -> Result<Stages> {
        let project = &engine.project;
        let needed = [IMAGE, place(project, KERNEL, "image")?, place(project, DEBUG, SYMBOLS)?];
        let names = project.profiles.iter().flat_map(|profile| &profile.symbols).map(String::as_str);
        engine.stages(needed.into_iter().chain(names))
    }

    fn of(engine: &Engine<'_>, booted: &Booted<'_>, stages: Stages) -> Result<Self> {
        let project = &engine.project;
        let (kernel, debug) = (place(project, KERNEL, "image")?, place(project, DEBUG, SYMBOLS)?);
        let names: Vec<&str> =
            project.profiles.iter().flat_map(|profile| &profile.symbols).map(String::as_str).collect();
        let planned = engine.plan(&stages)?;
        let known = |name: &str| -> Option<&Record> {
            let id = stages.graph.find(name).ok()?;
            planned.iter().find(|(other, _)| *other == id).and_then(|(_, state)| match state {
                StageState::Known(record) => Some(record),
                _ => None,
            })
        };
        let is_same = |record: &Record| booted.kernel.starts_with(engine.cache.path(&record.outputs["image"]));
        if !known(kernel).is_some_and(is_same) {
            return Err(other(booted));
        }
        // A project's own image may have no such layer.
        let are_same = match known(WORK) {
            Some(record) => {
                let path = |output| engine.cache.path(output).display().to_string();
                record.outputs.values().any(|output| booted.layers.contains(&path(output)))
            }
            None => names.is_empty() && stages.graph.find(WORK).is_err(),
        };
        let of_folders = project.profiles.iter().filter(|profile| is_of_folders(profile));
        let of_folders: Vec<&String> = of_folders.flat_map(|profile| &profile.symbols).collect();
        let (own, names): (Vec<&str>, Vec<&str>) =
            names.into_iter().filter(|_| are_same).partition(|name| of_folders.iter().any(|own| own == name));
        let find = |names: Vec<&str>| names.into_iter().map(|name| stages.graph.find(name)).collect::<Result<Vec<_>>>();
        let (wanted, own) = (find([&[debug], &names[..]].concat())?, find(own)?);
        let is_edited = booted.crash.is_some_and(|crash| !sources::edited(run_of(crash), &stages, &planned).is_empty());
        Ok(Self { stages, planned, wanted, own, has_modules: are_same, is_edited, why: None })
    }

    /// Whether what would be built is all that the guest has, of the same sources.
    pub(super) fn is_whole(&self) -> bool {
        self.has_modules && !self.is_edited
    }

    /// Says what is missing, or may be wrong.
    pub(super) fn warn(&self, engine: &Engine<'_>, booted: &Booted<'_>) {
        let run = booted.run;
        let modules = format!("the modules that would be built now are not those of run {run}: they have no symbols");
        let lines = format!("the sources were edited since run {run}: lines may be some off");
        let words = [(!self.has_modules, modules), (self.is_edited, lines)];
        let words = words.into_iter().filter_map(|(is_so, words)| is_so.then_some(words)).chain(self.why.clone());
        let message = words.collect::<Vec<_>>().join("; ");
        if !message.is_empty() {
            (engine.events)(Event::Warning { message });
        }
    }
}

/// The stage that makes an output of `stage`, or of what is there in its place.
fn place<'p>(project: &'p Project, stage: &'p str, output: &str) -> Result<&'p str> {
    let none = || Error::input(format!("there is no stage with {stage}/{output}"));
    let recipe = project.recipes.get(stage).ok_or_else(none)?;
    let Some(instead) = recipe.instead(&project.settings) else { return Ok(stage) };
    let target = instead.outputs.get(output).ok_or_else(none)?;
    Ok(target.split_once('/').map_or(target.as_str(), |(stage, _)| stage))
}

/// The error where the project, with these sources, would boot another kernel than the run did.
pub(super) fn other(booted: &Booted<'_>) -> Error {
    Error::input(format!("the kernel that this project asks for now is not that of run {}", booted.run))
        .hint(format!("use the same source, config and flags as the run, which was started by: {}", booted.again))
}
