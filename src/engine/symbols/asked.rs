//! The stages that have the debug information of a guest: of the sources as they are now, or as they were when its machine crashed.
//!
//! Makes nothing.

use crate::boot::crash::Imported;
use crate::boot::folder::run_of;
use crate::build::StageState;
use crate::engine::sources::{Kept, in_a_line};
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
    /// The modules that would be built of them are those of the guest.
    pub(super) is_whole: bool,
    /// The work layer is that of the guest, and so are all modules.
    has_modules: bool,
    /// The sources of now are not those of then.
    pub(super) is_edited: bool,
    /// Why those of then do not help.
    why: Option<String>,
}

impl Asked {
    /// By the sources as they are now.
    pub(super) fn now(engine: &Engine<'_>, booted: &Booted<'_>) -> Result<Self> {
        let asked = Self::of(engine, booted, Self::stages(engine)?)?;
        let is_edited =
            booted.crash.is_some_and(|crash| Kept::of(run_of(crash)).differs(&asked.stages, &asked.planned));
        Ok(Self { is_edited, is_whole: asked.is_whole && !is_edited, ..asked })
    }

    /// By the sources as they were when the machine crashed, where those of now do not do and the others were kept.
    pub(super) fn best(engine: &Engine<'_>, booted: &Booted<'_>, now: Result<Self>) -> Result<Self> {
        if now.as_ref().is_ok_and(|now| now.is_whole) {
            return now;
        }
        let Some(kept) = booted.crash.map(|crash| Kept::of(run_of(crash))) else { return now };
        let Ok(mut stages) = Self::stages(engine) else { return now };
        let then = if kept.has(&stages) {
            kept.bring(engine, &mut stages)
                .and_then(|()| Self::of(engine, booted, stages))
                .map_err(|error| format!("its sources as they were when it crashed do not help: {}", in_a_line(&error)))
        } else {
            let Some(why) = kept.why_not(&stages) else { return now };
            Err(format!("its sources were not kept: {why}"))
        };
        match (now, then) {
            (Err(_), Ok(then)) => Ok(then),
            (Ok(_), Ok(then)) if then.is_whole => Ok(then),
            (Err(now), Err(why)) => Err(now.detail(why)),
            (Ok(now), Err(why)) => Ok(Self { why: Some(why), ..now }),
            (now, _) => now,
        }
    }

    /// Whether [`Self::best`] may know of others than those of now.
    pub(super) fn may_be_better(engine: &Engine<'_>, booted: &Booted<'_>) -> bool {
        let kept = booted.crash.map(|crash| Kept::of(run_of(crash)));
        kept.is_some_and(|kept| Self::stages(engine).is_ok_and(|stages| kept.has(&stages)))
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
        let (is_whole, has_modules) = (are_same, are_same);
        Ok(Self { stages, planned, wanted, own, is_whole, has_modules, is_edited: false, why: None })
    }

    /// Whether the modules of the kernel's own debug information are those of the guest.
    pub(super) fn has_modules(&self) -> bool {
        self.has_modules
    }

    /// Says what is missing, or may be wrong.
    pub(super) fn warn(&self, engine: &Engine<'_>, booted: &Booted<'_>) {
        let run = booted.run;
        let message = match (self.has_modules, self.is_edited) {
            (true, false) => return,
            (true, true) => format!("the sources were edited since run {run}: lines may be some off"),
            (false, _) => {
                format!("the modules that would be built now are not those of run {run}: they have no symbols")
            }
        };
        let message = self.why.iter().fold(message, |message, why| format!("{message}; {why}"));
        (engine.events)(Event::Warning { message });
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
