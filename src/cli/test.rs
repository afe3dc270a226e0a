//! `quiz test`: groups of the ZFS Test Suite, or commands of a list, each in a pristine machine; tables and files of results.

use super::args::Test;
use crate::boot::{HOME, Options};
use crate::build::Depth;
use crate::engine::{Engine, machine, running, shares};
use crate::error::{Error, Result};
use crate::event::told::slowly;
use crate::event::{Event, Unit};
use crate::host;
use crate::load::Origin;
use crate::report::{self, Style};
use crate::source::worktree::Worktree;
use crate::status;
use crate::test::runfile::{self, Section};
use crate::test::{self, Group, Plan, select, since};
use quiz_cache::{Digest, Selection};
use std::fs;
use std::io::Read;
use std::num::NonZero;
use std::path::{Path, PathBuf};

/// The stage whose tree has the suite's runfiles.
pub(super) const SOURCE: &str = "zfs-source";

/// The runfiles that the suite runs by default.
const RUNFILES: &[&str] = &["common", "linux"];

/// How many runs before this one its page shows.
const RUNS: usize = 19;

/// How results are shown.
pub(super) struct Shown<'a> {
    pub json: bool,
    pub verbose: bool,
    pub style: &'a Style,
    /// `--jobs`.
    pub jobs: Option<u64>,
}

pub(super) fn run(engine: &Engine<'_>, asked: &Test, shown: &Shown<'_>) -> Result<u8> {
    let groups = match &asked.each {
        Some(file) => lines(file)?,
        None => sections(engine, asked)?.iter().map(Group::of_suite).collect(),
    };
    if asked.list {
        report::result(&report::groups(&groups, shown.json))?;
        return Ok(status::FINE);
    }
    if groups.is_empty() {
        return Ok(status::FINE);
    }
    // Checked first, so that a mistake is told before a build of minutes.
    let folders = shares::wanted(engine, &asked.share, false)?;
    let dir = shares::dir(&asked.cwd, Some(&folders))?;
    let mut built = super::machine(engine, asked.guest.install, false)?;
    if let Some(why) = &built.why_not_kvm {
        (engine.events)(Event::Warning {
            message: format!("the tests run under emulation, which is slow; no KVM: {why}"),
        });
    }
    built.machine.disks = machine::disks(&engine.project, Path::new(""))?;
    let announced = running::announce(engine, built.built_of)?;
    let folder = &announced.folder;
    let results = test::schedule::run(&Plan {
        groups: &groups,
        machine: &built.machine,
        shares: &|folder| shares::devices(folder, &folders, false),
        mounts: shares::mounts(&folders),
        dir: &dir,
        options: Options {
            again: super::typed(None),
            ..machine::options(engine, asked.guest.timeout, built.why_not_kvm)?
        },
        shared: if folders.is_empty() { Some(digest(engine, folder.shared())?) } else { None },
        cache: &engine.cache,
        no_snapshot: asked.guest.no_snapshot,
        rerun: asked.rerun,
        jobs: jobs(shown.jobs, built.machine.memory),
        folder,
        events: engine.events,
        of_machines: &|event| announced.heard(&event),
    })?;
    if asked.each.is_some() {
        hint(engine, &results, &dir, folders.is_empty());
    }
    let out = folder.out();
    let written = test::output::write(&out, &results).and_then(|()| write_page(folder.path(), &results));
    report::result(&if shown.json {
        format!("{}\n", report::tests_json(&results, &out))
    } else {
        report::tests(&results, &out, shown.verbose, shown.style)
    })?;
    written?;
    Ok(results.status())
}

/// Warns what to look at when a command could not be started. `dir` is the guest's folder for it; `is_alone`: of the host the guest sees only `/shared`.
fn hint(engine: &Engine<'_>, results: &test::Results, dir: &Path, is_alone: bool) {
    let warn = |message: String| (engine.events)(Event::Warning { message });
    let commands = || results.groups.iter().flat_map(|group| &group.tests);
    let any = |status: &str| commands().any(|test| test.why.as_ref().is_some_and(|why| why.starts_with(status)));
    if dir != Path::new(HOME) && any("status 126") {
        let dir = dir.display();
        warn(format!(
            "status 126: the program cannot be started, or not in {dir}: is that a folder of the guest, or in a --share?"
        ));
    }
    if any("status 127") {
        let sees = "; of this folder the guest sees only .quiz/shared, as /shared: with --share . --cwd . it sees all, and starts there";
        warn(format!("status 127: the guest has no such program{}", if is_alone { sees } else { "" }));
    }
}

/// The page for a browser, beside the other files of results.
fn write_page(run: &Path, results: &test::Results) -> Result<()> {
    let path = run.join("out/report.html");
    let page = report::tests_html(results, run, test::history::before(run, RUNS));
    host::write_private(&path, &page).map_err(|e| Error::build(format!("cannot write {}", path.display())).because(e))
}

/// The digest of all that lies in the folder.
fn digest(engine: &Engine<'_>, folder: &Path) -> Result<Digest> {
    let what = format!("looking at {}", folder.file_name().unwrap_or(folder.as_os_str()).display());
    let all = Selection::All { skip: &|_| false };
    let scan = slowly(&what, Unit::Files, engine.events, |slow| engine.cache.scan(folder, all, slow.looked));
    let scan = scan.map_err(|e| Error::build(format!("cannot read {}", folder.display())).because(e))?;
    Ok(scan.output().digest)
}

/// The commands of `--each`.
fn lines(file: &Path) -> Result<Vec<Group>> {
    let text = if file == Path::new("-") {
        let mut text = String::new();
        std::io::stdin().read_to_string(&mut text).map(|_| text)
    } else {
        fs::read_to_string(file)
    };
    let text = text.map_err(|e| Error::input(format!("cannot read {}", file.display())).because(e))?;
    let groups = Group::of_lines(&text);
    if groups.is_empty() {
        return Err(Error::input(format!("{} has no command", file.display())).hint("one command a line"));
    }
    Ok(groups)
}

/// The groups of the suite that are asked for.
fn sections(engine: &Engine<'_>, asked: &Test) -> Result<Vec<Section>> {
    let is_all = asked.tests.is_empty() && asked.tags.is_empty() && asked.runfiles.is_empty() && asked.since.is_none();
    if is_all && !asked.list && !is_about_openzfs(engine)? {
        // OpenZFS would be compiled first, for somebody who may work on something else.
        return Err(Error::input(
            "this is no worktree of OpenZFS, and nothing under [zfs] is set: the whole ZFS Test Suite is not run unasked",
        )
        .hint("tests of your own: quiz test --each FILE, which has one command a line")
        .hint(
            "the ZFS Test Suite on the distribution's OpenZFS: quiz test -r common -r linux, or groups of it: -t atime",
        ));
    }
    let (source, is_edited) = source(engine)?;
    let sections = select::select(suite(&source, &asked.runfiles)?, &asked.tags, &asked.tests)?;
    let Some(rev) = &asked.since else { return Ok(sections) };
    if !is_edited {
        return Err(
            Error::input("--since needs a git worktree of OpenZFS").hint("start quiz in one, or set zfs.source")
        );
    }
    touched(engine, &source, rev, sections)
}

/// Whether quiz runs in a worktree of it, or somebody said which one is meant.
fn is_about_openzfs(engine: &Engine<'_>) -> Result<bool> {
    let stages = engine.stages([SOURCE])?;
    let is_set = |key: &str| engine.project.settings.get(key).is_some_and(|set| set.origin != Origin::Default);
    Ok(stages.folder(stages.graph.find(SOURCE)?).is_some()
        || ["zfs.repository", "zfs.source", "zfs.version"].iter().any(|key| is_set(key)))
}

/// The suite's source, and whether that is a folder that people edit.
fn source(engine: &Engine<'_>) -> Result<(PathBuf, bool)> {
    let stages = engine.stages([SOURCE])?;
    let id = stages.graph.find(SOURCE)?;
    if let Some(dir) = stages.folder(id) {
        return Ok((dir, true));
    }
    let known = engine.build(&stages, &[id], Depth::Outputs)?;
    match known[&id].outputs.values().next() {
        Some(tree) => Ok((engine.cache.path(tree), false)),
        None => Err(Error::input(format!("the recipe {SOURCE} has no output"))),
    }
}

/// The groups of these runfiles, or without a name of those that the suite runs by default.
pub(super) fn suite(source: &Path, names: &[String]) -> Result<Vec<Section>> {
    let names: Vec<&str> = match names {
        [] => RUNFILES.to_vec(),
        given => given.iter().map(String::as_str).collect(),
    };
    runfile::read(&names.iter().map(|name| runfile(source, name)).collect::<Result<Vec<_>>>()?)
}

/// Name and text of a runfile, given by its name in the suite or by a path.
fn runfile(source: &Path, name: &str) -> Result<(String, String)> {
    let folder = source.join(since::RUNFILES);
    let places = [folder.join(format!("{name}.run")), folder.join(name), PathBuf::from(name)];
    let Some(path) = places.iter().find(|path| path.is_file()) else {
        let there = fs::read_dir(&folder).into_iter().flatten().filter_map(|e| e.ok()?.file_name().into_string().ok());
        let mut there: Vec<String> = there.filter_map(|n| n.strip_suffix(".run").map(str::to_owned)).collect();
        there.sort();
        let error = Error::input(format!("there is no runfile `{name}` in {}", folder.display()));
        return Err(if there.is_empty() { error } else { error.hint(format!("there are: {}", there.join(", "))) });
    };
    let text =
        fs::read_to_string(path).map_err(|e| Error::input(format!("cannot read {}", path.display())).because(e))?;
    Ok((path.display().to_string(), text))
}

/// The groups that can be affected by what changed since `rev`.
fn touched(engine: &Engine<'_>, source: &Path, rev: &str, sections: Vec<Section>) -> Result<Vec<Section>> {
    let note = |message: String| (engine.events)(Event::Note { message });
    let worktree = Worktree::open(source)?;
    let changed = worktree.changed_since(rev)?;
    let touched = since::touched(source, &changed)?;
    if let since::Touched::All(path) = &touched {
        note(format!("{path} changed since {rev}, which can touch every group"));
        return Ok(sections);
    }
    let runfiles = changed.iter().filter(|path| path.starts_with(since::RUNFILES));
    let mut other = std::collections::BTreeSet::new();
    for path in runfiles {
        let read = |text: Option<String>| text.map_or(Ok(Vec::new()), |text| runfile::read(&[(path.clone(), text)]));
        let now = host::read_plain(&source.join(path)).ok().and_then(|now| String::from_utf8(now).ok());
        other.extend(since::changed_sections(&read(now)?, &read(worktree.file_at(rev, path)?)?));
    }
    let all = sections.len();
    let left: Vec<Section> =
        sections.into_iter().filter(|section| touched.takes(section) || other.contains(&section.name)).collect();
    let message = format!("what changed since {rev} touches {} of {all} groups", left.len());
    if left.is_empty() {
        (engine.events)(Event::Warning { message: format!("{message}: nothing to run") });
    } else {
        note(message);
    }
    Ok(left)
}

/// How many machines run at a time: as told, else one for each of the host's cores, as far as there is memory (MiB of each). Tests
/// are scripts that keep one processor busy, however many the guest has (docs/test.md has numbers).
fn jobs(told: Option<u64>, memory: u32) -> NonZero<usize> {
    let told = told.and_then(|jobs| usize::try_from(jobs).ok()).and_then(NonZero::new);
    told.unwrap_or_else(|| {
        let cores = std::thread::available_parallelism().map_or(1, NonZero::get);
        let meminfo = fs::read_to_string("/proc/meminfo").unwrap_or_default();
        NonZero::new(cores.min(free(&meminfo) / usize::try_from(memory).unwrap_or(1).max(1)))
            .unwrap_or(NonZero::<usize>::MIN)
    })
}

/// MiB that programs can still get, out of /proc/meminfo.
fn free(meminfo: &str) -> usize {
    let line = meminfo.lines().find_map(|line| line.strip_prefix("MemAvailable:"));
    let kib = line.and_then(|rest| rest.trim().strip_suffix(" kB")?.trim().parse::<usize>().ok());
    kib.map_or(usize::MAX, |kib| kib / 1024)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn machines_fit_into_cores_and_memory_and_the_flag_wins() {
        let cores = std::thread::available_parallelism().unwrap().get();
        assert_eq!(jobs(Some(7), 1024).get(), 7);
        assert_eq!(jobs(None, 1).get(), cores);
        assert_eq!(jobs(None, u32::MAX).get(), 1);
        assert_eq!(jobs(Some(0), u32::MAX).get(), 1);
        assert_eq!(free("MemTotal: 9 kB\nMemAvailable:   2097152 kB\n"), 2048);
    }
}
