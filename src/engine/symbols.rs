//! The debug information of a guest that runs, or ran: of exactly its kernel and modules, and where their sources lie. Made when it is first asked
//! for, by the stages that compile the same once more with `-g`.
//!
//! Starts no debugger.

mod asked;

use super::noted::Noted;
use super::{Engine, Stages, crashes, named, sources as past};
use crate::boot::folder::run_of;
use crate::build::{Depth, Records, StageState};
use crate::error::Result;
use crate::event::Event;
use crate::graph::{Bound, NodeIndex, Role};
use crate::load::named_in_debug_information;
use asked::{Asked, SYMBOLS, other};
use quiz_cache::{Kind, Output};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

pub use asked::Booted;

/// Debug information, and what it speaks of.
#[derive(Debug, Clone)]
pub struct Symbols {
    /// A folder with `vmlinux`, and the kernel's modules below `lib/modules`.
    pub kernel: PathBuf,
    /// Folders with modules that others brought.
    pub modules: Vec<PathBuf>,
    /// Folders as the debug information names them, and where they lie.
    pub sources: Vec<(String, PathBuf)>,
    /// A file beside the crash named it, which anybody may have written.
    pub is_noted: bool,
    /// The kernel's own modules are those of the guest, too.
    pub knows_modules: bool,
}

impl Symbols {
    /// The file of the kernel.
    #[must_use]
    pub fn vmlinux(&self) -> PathBuf {
        self.kernel.join("vmlinux")
    }

    /// By their names the files of the modules. Of two with one name that counts which comes first: what others brought before the kernel's own.
    #[must_use]
    pub fn module_files(&self) -> BTreeMap<String, PathBuf> {
        let mut files = BTreeMap::new();
        let kernel = Some(&self.kernel).filter(|_| self.knows_modules);
        let mut folders: Vec<PathBuf> = kernel.into_iter().chain(self.modules.iter().rev()).cloned().collect();
        folders.reverse();
        while let Some(folder) = folders.pop() {
            for entry in std::fs::read_dir(&folder).into_iter().flatten().flatten() {
                let (path, is_folder) = (entry.path(), entry.file_type().is_ok_and(|kind| kind.is_dir()));
                if is_folder {
                    folders.push(path);
                } else if path.extension().is_some_and(|ext| ext == "ko")
                    && let Some(name) = path.file_stem().and_then(|name| name.to_str())
                {
                    files.insert(name.replace('-', "_"), path);
                }
            }
        }
        files
    }

    /// Makes what is missing of it.
    ///
    /// # Errors
    /// The project asks for another kernel now, and nothing is noted beside the crash; there is no such information of this one; a stage failed. That of a
    /// module of the user's own is a warning: the kernel's information is worth having without it.
    pub fn of(engine: &Engine<'_>, booted: &Booted<'_>) -> Result<Self> {
        let now = match found(engine, booted) {
            Ok(Found::Whole(symbols)) => return Ok(symbols),
            Ok(Found::Lacking(asked)) => Ok(asked),
            Err(error) => Err(error),
        };
        let asked = Asked::best(engine, booted, now)?;
        asked.warn(engine, booted);
        let mut is_whole = asked.is_whole();
        let Asked { stages, planned, mut wanted, own, has_modules: knows_modules, .. } = asked;
        let mut made = engine.build(&stages, &wanted, Depth::Outputs)?;
        for id in own {
            match engine.build(&stages, &[id], Depth::Outputs) {
                Ok(more) => {
                    made.extend(more);
                    wanted.push(id);
                }
                Err(error) => {
                    let name = &stages.graph.stage(id).name;
                    let message =
                        format!("the modules of one folder have no lines: {error}; quiz build {name} shows why");
                    (engine.events)(Event::Warning { message });
                    is_whole = false;
                }
            }
        }
        // The sources were looked at once more; somebody may have edited one meanwhile.
        for (id, state) in &planned {
            if let (StageState::Known(before), Some(now)) = (state, made.get(id))
                && before.outputs != now.outputs
            {
                return Err(other(booted).detail(format!("{} was edited meanwhile", stages.graph.stage(*id).name)));
            }
        }
        let symbols = Self { knows_modules, ..Self::new(engine, &stages, &made, &wanted) };
        // What lacks a part is not noted: another time all of it may be there.
        if is_whole {
            symbols.note(engine, booted);
        }
        Ok(symbols)
    }

    /// What lies in the cache; nothing if a part of it would have to be made, other than that of the user's own modules.
    ///
    /// # Errors
    /// As of [`Self::of`], but that nothing is made.
    pub fn cached(engine: &Engine<'_>, booted: &Booted<'_>) -> Result<Option<Self>> {
        match found(engine, booted) {
            Ok(Found::Whole(symbols)) => Ok(Some(symbols)),
            // It would have to be made of the sources as they were.
            Ok(Found::Lacking(asked)) if !asked.is_whole() && Asked::may_be_better(engine, booted) => Ok(None),
            Ok(Found::Lacking(asked)) => {
                asked.warn(engine, booted);
                Ok(there(engine, &asked).map(|(symbols, _)| symbols))
            }
            Err(_) if Asked::may_be_better(engine, booted) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// What a crash was looked at with before, if all of it is in the cache.
    #[must_use]
    pub fn noted(engine: &Engine<'_>, booted: &Booted<'_>) -> Option<Self> {
        let Noted { trees, sources } = Noted::read(booted.crash?)?;
        let (kernel, modules) = folders(engine, &trees)?;
        let sources = sources.into_iter().map(|(inside, folder)| (inside, folder.into())).collect();
        Some(Self { kernel, modules, sources, is_noted: true, knows_modules: true })
    }

    /// Notes it beside the crash that it is of, and has the cache keep it as long as that.
    fn note(&self, engine: &Engine<'_>, booted: &Booted<'_>) {
        let Some(place) = booted.crash else { return };
        let trees = std::iter::once(&self.kernel).chain(&self.modules).filter_map(|folder| named::digest(folder));
        let sources = self.sources.iter().filter_map(|(inside, at)| Some((inside.clone(), at.to_str()?.to_owned())));
        let noted = Noted { trees: trees.map(|digest| digest.to_string()).collect(), sources: sources.collect() };
        let absolute = |path: &Path| path.canonicalize().ok();
        let done = noted.write(place).and_then(|()| match (absolute(&engine.project.dir), absolute(run_of(place))) {
            (Some(project), Some(run)) => crashes::keep(&engine.cache, &project, &run),
            // One of the two went away meanwhile, and with it what would be kept.
            _ => Ok(()),
        });
        done.unwrap_or_else(|error| (engine.events)(Event::Warning { message: error.to_string() }));
    }

    fn new(engine: &Engine<'_>, stages: &Stages, made: &Records, wanted: &[NodeIndex]) -> Self {
        let mut folders = wanted.iter().map(|id| engine.cache.path(&made[id].outputs[SYMBOLS]));
        Self {
            kernel: folders.next().unwrap_or_default(),
            modules: folders.collect(),
            sources: wanted.iter().flat_map(|id| sources(engine, stages, made, *id)).collect(),
            is_noted: false,
            knows_modules: true,
        }
    }
}

/// What of it lies in the cache, and whether that is all; nothing if more than modules of the user's own is missing.
fn there(engine: &Engine<'_>, asked: &Asked) -> Option<(Symbols, bool)> {
    let known = past::known(&asked.planned);
    let is_there = |id: &&NodeIndex| {
        known.get(*id).and_then(|record| record.outputs.get(SYMBOLS)).is_some_and(|o| engine.cache.path(o).is_dir())
    };
    let own: Vec<NodeIndex> = asked.own.iter().filter(is_there).copied().collect();
    let wanted = [&asked.wanted[..], &own[..]].concat();
    let is_all = own.len() == asked.own.len();
    let is_enough = asked.wanted.iter().all(|id| is_there(&id));
    let knows_modules = asked.has_modules;
    is_enough.then(|| (Symbols { knows_modules, ..Symbols::new(engine, &asked.stages, &known, &wanted) }, is_all))
}

/// What there is without making anything.
enum Found {
    /// All of it.
    Whole(Symbols),
    /// Less, and what would have to be made.
    Lacking(Asked),
}

/// What came along with the crash; else what the project has of it in the cache; else, where that is not all, what was noted beside the crash.
fn found(engine: &Engine<'_>, booted: &Booted<'_>) -> Result<Found> {
    if let Some(brought) = brought(engine, booted) {
        return Ok(Found::Whole(brought));
    }
    let asked = Asked::now(engine, booted);
    if let Ok(asked) = &asked
        && asked.is_whole()
        && let Some((symbols, true)) = there(engine, asked)
    {
        symbols.note(engine, booted);
        return Ok(Found::Whole(symbols));
    }
    if let Some(noted) = Symbols::noted(engine, booted) {
        return Ok(Found::Whole(noted));
    }
    asked.map(Found::Lacking)
}

/// Where trees of debug information lie in the cache, if all are there: that of the kernel, and those of modules.
fn folders(engine: &Engine<'_>, trees: &[String]) -> Option<(PathBuf, Vec<PathBuf>)> {
    let tree = |hex: &String| engine.cache.stored(Kind::Tree, &hex.parse().ok()?).ok()?;
    let trees = trees.iter().map(tree).collect::<Option<Vec<Output>>>()?;
    let mut folders = trees.iter().map(|output| engine.cache.path(output));
    Some((folders.next()?, folders.collect()))
}

/// The debug information that came along with a crash from elsewhere, for that crash and where it is run into again: of a machine of one's own
/// with the same image it would be the word of somebody else, without its sources, in the place of what is made here.
fn brought(engine: &Engine<'_>, booted: &Booted<'_>) -> Option<Symbols> {
    let (kernel, modules) = folders(engine, &booted.imported?.symbols)?;
    Some(Symbols { kernel, modules, sources: Vec::new(), is_noted: false, knows_modules: true })
}

/// Where the user has what the script of a stage compiled.
fn sources(engine: &Engine<'_>, stages: &Stages, made: &Records, id: NodeIndex) -> Vec<(String, PathBuf)> {
    let stage = stages.graph.stage(id);
    let into = stage.recipe.incremental.as_ref().and_then(|incremental| incremental.into.as_deref());
    let named = named_in_debug_information(&stage.recipe);
    let place = |name: &str| match (name, into) {
        ("source", _) if named.is_some() => named.clone().unwrap_or_default(),
        ("source", Some(into)) => format!("/quiz/scratch/{into}"),
        ("source", None) => "/quiz/src".to_owned(),
        _ => format!("/quiz/in/{name}"),
    };
    let input = |input: &crate::graph::BoundInput| {
        let Bound::Output { stage: from, output } = &input.from else { return None };
        let folder = stages.folder(*from);
        let stored = || Some(engine.cache.path(made.get(from)?.outputs.get(output)?));
        Some((place(&input.name), folder.or_else(stored)?))
    };
    stage.inputs.iter().filter(|input| input.role == Role::Files).filter_map(input).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn modules_are_found_by_the_names_that_a_kernel_has_and_those_of_others_first() {
        let folder = tempfile::tempdir().unwrap();
        let write = |path: &str| {
            let path = folder.path().join(path);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(&path, "").unwrap();
        };
        let own = ["kernel/lib/modules/6.1/drivers/brd.ko", "kernel/lib/modules/6.1/zfs.ko", "kernel/vmlinux"];
        own.into_iter().chain(["one/extra/zfs.ko", "one/quiz-spl-seed.ko", "two/zfs.ko", "two/a.txt"]).for_each(write);
        std::os::unix::fs::symlink(folder.path(), folder.path().join("two/circle")).unwrap();
        let at = |name: &str| folder.path().join(name);
        let symbols = Symbols {
            kernel: at("kernel"),
            modules: vec![at("one"), at("two"), at("none")],
            sources: vec![],
            is_noted: false,
            knows_modules: true,
        };
        let found: Vec<_> = symbols.module_files().into_iter().collect();
        let wanted = [("brd", own[0]), ("quiz_spl_seed", "one/quiz-spl-seed.ko"), ("zfs", "one/extra/zfs.ko")];
        assert_eq!(found, wanted.map(|(name, path)| (name.to_owned(), at(path))));
    }
}
