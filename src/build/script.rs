//! Runs a stage's script: what it sees of its inputs, where it writes, what it is told, and where its words go.
//!
//! Does not know what the script does.

use super::paths::PathMap;
use super::sandbox::{self, Sandbox};
use super::{Context, cache_error, failure, follow, key, refusal, tools};
use crate::error::{Error, Result};
use crate::event::Event;
use crate::graph::{Bound, BoundInput, NodeIndex, Stage};
use crate::host::quoted;
use crate::load::{Profile, Value};
use quiz_cache::{Built, Node, Output, Scratch, Slot, Source, Tree};
use std::collections::BTreeMap;
use std::ffi::OsString;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus};

use super::walk::Known;

/// Where a persistent folder has what the script may write, and what is brought in read-only.
pub(super) const SCRATCH: &str = "scratch";
const SOURCE: &str = "src";

/// Where the script finds its options as files.
const OPTIONS: &str = "/quiz/options";
/// Bytes from which on an option is no environment variable.
const LONGEST_VARIABLE: usize = 96 << 10;

/// A line of the script's that begins so is for the user, whatever becomes of the script.
const WARNING: &str = "warning: ";

/// What came of a script that ended well.
pub(super) struct Ran {
    /// Whether it built on what an earlier run left.
    pub built: Built,
    /// The folder that stays, if there is one.
    pub scratch: Option<Scratch>,
    /// Outputs that it says are those of the last result that was made in that folder.
    pub kept: BTreeMap<String, Output>,
}

/// Runs the script of a stage in its slot.
pub(super) fn run(ctx: &Context<'_>, id: NodeIndex, script: &str, slot: &Slot, known: &Known) -> Result<Ran> {
    let stage = ctx.graph.stage(id);
    let mut read = vec![(ctx.recipe_folder(&stage.recipe)?.lay_out(ctx.cache)?, "/quiz/recipe".to_owned())];
    let mut scratch = persistent(ctx, id, known)?;
    let (mut built, mut keepable) = (Built::FromNothing, BTreeMap::new());
    match &mut scratch {
        Some(scratch) => {
            built = bring(ctx, stage, scratch, known)?;
            std::fs::create_dir_all(scratch.path().join(SCRATCH))
                .map_err(|e| Error::build(format!("cannot write in {}", scratch.path().display())).because(e))?;
            keepable = last_outputs(ctx, scratch)?;
        }
        None => lay_out(ctx, stage, slot, known)?,
    }
    for input in stage.inputs.iter().filter(|input| !input.digest_only) {
        let inside = match input.name.as_str() {
            "source" => "/quiz/src".to_owned(),
            name => format!("/quiz/in/{name}"),
        };
        match (is_synced(stage, input), &scratch, into(stage)) {
            (true, _, Some(_)) => {}
            (true, Some(scratch), None) => read.push((scratch.path().join(SOURCE), inside)),
            _ => read.push((body(ctx, input, known)?, inside)),
        }
    }
    let mut write = vec![(slot.out().to_owned(), "/quiz/out".to_owned())];
    let scratch_folder = scratch.as_ref().map_or_else(|| slot.scratch().to_owned(), |s| s.path().join(SCRATCH));
    write.push((scratch_folder, "/quiz/scratch".to_owned()));
    if stage.recipe.store {
        write.push((store(ctx, stage)?, "/quiz/store".to_owned()));
    }
    read.push((lay_out_options(stage, slot)?, OPTIONS.to_owned()));
    let mut env = environment(ctx, stage, known)?;
    let names: Vec<&str> = keepable.keys().map(String::as_str).collect();
    env.push(("QUIZ_KEPT".to_owned(), names.join(" ").into()));
    let (uids, root) = (stage.recipe.uids, rustix::process::geteuid().is_root());
    let unasked = stage.recipe.tools_on_demand.keys().filter(|tool| !ctx.is_asked_for(tool));
    let hidden = unasked.flat_map(|tool| tools::everywhere(tool)).collect();
    let mut command = sandbox::process(&Sandbox { script, read, write, hidden, env, uids, root });
    ctx.jobserver.configure_make(&mut command);
    if let Some(scratch) = &mut scratch {
        scratch.begin().map_err(cache_error)?;
    }
    let status = run_logged(ctx, &mut command, stage, slot.log())?;
    // Killed, by a signal or with 128 and more from a shell: what it wrote may be half, and is removed when the folder is opened next.
    if let Some(scratch) = scratch.as_mut().filter(|_| status.code().is_some_and(|code| code < 128)) {
        scratch.finish().map_err(cache_error)?;
    }
    if !status.success() {
        return Err(script_error(ctx, stage, slot.log(), status));
    }
    let said = std::fs::read_to_string(slot.out().join(".kept")).unwrap_or_default();
    let kept = said.lines().map(|name| match keepable.remove_entry(name) {
        Some(kept) => Ok(kept),
        None => Err(Error::build(format!("the script of {} keeps `{name}`, which it was not offered", stage.name))),
    });
    let kept = kept.collect::<Result<_>>()?;
    Ok(Ran { built, scratch, kept })
}

/// The outputs of the last result that was made in a persistent folder, as far as the cache still has them.
fn last_outputs(ctx: &Context<'_>, scratch: &Scratch) -> Result<BTreeMap<String, Output>> {
    let mut outputs = scratch.made().map_err(cache_error)?.map(|record| record.outputs).unwrap_or_default();
    let mut gone = Vec::new();
    for (name, output) in &outputs {
        if !ctx.cache.is_present(output).map_err(cache_error)? {
            gone.push(name.clone());
        }
    }
    outputs.retain(|name, _| !gone.contains(name));
    Ok(outputs)
}

/// The folder in which an incremental stage goes on, when something that it builds on is a folder that people edit.
fn persistent(ctx: &Context<'_>, id: NodeIndex, known: &Known) -> Result<Option<Scratch>> {
    let stage = ctx.graph.stage(id);
    let live = |input: &BoundInput| match &input.from {
        Bound::Output { stage: from, .. } if is_synced(stage, input) => ctx.live.get(from),
        _ => None,
    };
    let Some(live) = stage.inputs.iter().find_map(live) else { return Ok(None) };
    let family = key::family(ctx, id, known)?;
    let waiting = |pid| (ctx.events)(Event::Waiting { stage: stage.name.clone(), pid });
    ctx.cache.scratch(&family, live.root(), &waiting).map(Some).map_err(cache_error)
}

fn into(stage: &Stage) -> Option<&str> {
    stage.recipe.incremental.as_ref().and_then(|incremental| incremental.into.as_deref())
}

pub(super) fn is_synced(stage: &Stage, input: &BoundInput) -> bool {
    stage.recipe.incremental.as_ref().is_some_and(|incremental| incremental.sync.contains(&input.name))
}

/// What one input that is brought in consists of: its tree and where its files lie.
fn parts(ctx: &Context<'_>, stage: &Stage, known: &Known) -> Result<Vec<(Tree, PathBuf)>> {
    let sync = stage.recipe.incremental.as_ref().map_or(&[][..], |incremental| &incremental.sync);
    let mut parts = Vec::new();
    for name in sync {
        let Some(input) = stage.inputs.iter().find(|input| input.name == *name) else { continue };
        let Bound::Output { stage: from, output } = &input.from else { continue };
        let (tree, root) = match ctx.live.get(from) {
            Some(live) => (live.tree().map_err(cache_error)?.filter(&input.paths), live.root().to_owned()),
            None => {
                let object = &known[from].outputs[output];
                let tree = ctx.cache.tree(object).map_err(cache_error)?;
                (tree.filter(&input.paths), ctx.cache.path(object))
            }
        };
        parts.push((tree.map_err(cache_error)?, root));
    }
    Ok(parts)
}

/// Brings what changed into the persistent folder.
fn bring(ctx: &Context<'_>, stage: &Stage, scratch: &mut Scratch, known: &Known) -> Result<Built> {
    let parts = parts(ctx, stage, known)?;
    let place = into(stage).map_or_else(|| SOURCE.to_owned(), |into| format!("{SCRATCH}/{into}"));
    let sources: Vec<Source<'_>> = parts.iter().map(|(tree, root)| Source { tree, root, into: &place }).collect();
    let waiting = |pid| (ctx.events)(Event::Waiting { stage: stage.name.clone(), pid });
    let synced = scratch.sync(&sources, &waiting).map_err(cache_error)?;
    if let Some(sibling) = &synced.seeded_from {
        let message = format!("{} starts from what was built in {}", stage.name, sibling.display());
        (ctx.events)(Event::Note { message });
    }
    let message = format!("{}: {} files brought in, {} removed", stage.name, synced.written, synced.removed);
    (ctx.events)(Event::Note { message });
    Ok(if synced.fresh { Built::FromNothing } else { Built::Incremental })
}

/// The same for a stage that builds from nothing: plain copies that its script may write to.
fn lay_out(ctx: &Context<'_>, stage: &Stage, slot: &Slot, known: &Known) -> Result<()> {
    let Some(into) = into(stage) else { return Ok(()) };
    let top = slot.scratch().join(into);
    let failed = |path: &Path, e: std::io::Error| Error::build(format!("cannot write {}", path.display())).because(e);
    std::fs::create_dir_all(&top).map_err(|e| failed(&top, e))?;
    for (tree, root) in parts(ctx, stage, known)? {
        for (path, node) in tree.items() {
            let (from, to) = (root.join(path), top.join(path));
            let done = match node {
                Node::Folder => std::fs::create_dir_all(&to),
                _ if to.symlink_metadata().is_ok() => std::fs::remove_file(&to).and_then(|()| copy(&from, &to, node)),
                _ => copy(&from, &to, node),
            };
            done.map_err(|e| failed(&to, e))?;
        }
    }
    Ok(())
}

fn copy(from: &Path, to: &Path, node: &Node) -> std::io::Result<()> {
    use std::os::unix::fs::PermissionsExt;
    match node {
        Node::Symlink { target } => std::os::unix::fs::symlink(target, to),
        Node::File { executable, .. } => {
            std::fs::copy(from, to)?;
            let mode = if *executable { 0o755 } else { 0o644 };
            std::fs::set_permissions(to, std::fs::Permissions::from_mode(mode))
        }
        Node::Folder => Ok(()),
    }
}

/// Where an input lies on the host.
pub(super) fn body(ctx: &Context<'_>, input: &BoundInput, known: &Known) -> Result<PathBuf> {
    match &input.from {
        Bound::Profiles => ctx.profile_folder()?.lay_out(ctx.cache),
        Bound::Output { stage, output } => {
            let object = &known[stage].outputs[output];
            let whole = input.paths.is_empty();
            match ctx.live.get(stage) {
                Some(live) if whole => ctx.cache.put_tree_from_scan(live).map(|_| ctx.cache.path(object)),
                Some(live) => ctx.cache.realise_subtree_from_scan(live, &input.paths),
                None if whole => Ok(ctx.cache.path(object)),
                None => ctx.cache.realise_subtree(object, &input.paths),
            }
            .map_err(cache_error)
        }
    }
}

/// The folder that all runs of this recipe share. A project's own recipe, whatever it calls itself, has one for each content: what is
/// in a store is part of no key, so nobody else may write to that of a built-in one.
fn store(ctx: &Context<'_>, stage: &Stage) -> Result<PathBuf> {
    let recipe = &stage.recipe;
    let name = match &recipe.own {
        // No name of a recipe begins so.
        Some(digest) => format!(".own/{}-{digest}", recipe.name),
        None => recipe.name.clone(),
    };
    let path = ctx.cache.root().join("store").join(name);
    std::fs::create_dir_all(&path)
        .map_err(|e| Error::build(format!("cannot create the folder {}", path.display())).because(e))?;
    Ok(path)
}

fn environment(ctx: &Context<'_>, stage: &Stage, known: &Known) -> Result<Vec<(String, OsString)>> {
    let upper = |name: &str| name.to_uppercase().replace('-', "_");
    let mut env: Vec<(String, OsString)> = vec![
        ("QUIZ_ARCH".into(), ctx.project.settings.text("arch").into()),
        ("QUIZ_JOBS".into(), ctx.jobs.to_string().into()),
    ];
    let mut make = Command::new("make");
    ctx.jobserver.configure_make(&mut make);
    for (name, value) in make.get_envs() {
        if let (Some(name), Some(value)) = (name.to_str(), value) {
            env.push((name.to_owned(), value.to_owned()));
        }
    }
    for (name, value) in &stage.options {
        let value = match value {
            Value::File { .. } => format!("{OPTIONS}/{name}"),
            other => option_text(other),
        };
        // The script has it as a file; what the system takes for one variable ends at 128 KiB, its name included.
        if value.len() < LONGEST_VARIABLE {
            env.push((format!("QUIZ_OPT_{}", upper(name)), value.into()));
        }
    }
    // The items of a list come one after the other, and make one variable of a line each.
    let mut lists: Vec<(String, String)> = Vec::new();
    for input in &stage.inputs {
        let digest = key::input_digest(ctx, &input.from, &input.paths, known)?.to_string();
        let name = format!("QUIZ_DIGEST_{}", upper(input.name.split('/').next().unwrap_or_default()));
        match lists.last_mut() {
            Some((last, digests)) if *last == name => *digests += &format!("\n{digest}"),
            _ => lists.push((name, digest)),
        }
    }
    env.extend(lists.into_iter().map(|(name, digests)| (name, digests.into())));
    Ok(env)
}

fn option_text(value: &Value) -> String {
    match value {
        Value::Text(text) | Value::File { text, .. } => text.clone(),
        Value::List(items) => items.join("\n"),
        Value::Number(number) => number.to_string(),
        Value::Flag(flag) => if *flag { "1" } else { "" }.to_owned(),
    }
}

/// A folder with a file for each option: what the script reads of any length.
fn lay_out_options(stage: &Stage, slot: &Slot) -> Result<PathBuf> {
    let folder = slot.out().with_file_name("options");
    let write = |path: &Path, text: &str| {
        std::fs::write(path, text).map_err(|e| Error::build(format!("cannot write {}", path.display())).because(e))
    };
    std::fs::create_dir_all(&folder)
        .map_err(|e| Error::build(format!("cannot create the folder {}", folder.display())).because(e))?;
    for (name, value) in &stage.options {
        let text = option_text(value);
        let end = if text.is_empty() || text.ends_with('\n') { "" } else { "\n" };
        write(&folder.join(name), &format!("{text}{end}"))?;
    }
    Ok(folder)
}

/// What of a stage's inputs the user has under another name: what scripts say of it is said with that name.
fn users_own(ctx: &Context<'_>, stage: &Stage) -> Vec<(String, PathBuf)> {
    let files = stage.options.iter().filter_map(|(name, value)| match value {
        Value::File { path, .. } => Some((format!("{OPTIONS}/{name}"), path.clone())),
        _ => None,
    });
    files.chain(edited(ctx, stage)).collect()
}

/// The folders that people edit, by the place where the script sees what was brought in of them.
pub(super) fn edited(ctx: &Context<'_>, stage: &Stage) -> Vec<(String, PathBuf)> {
    let inside = into(stage).map_or_else(|| "/quiz/src".to_owned(), |into| format!("/quiz/scratch/{into}"));
    let live = stage.inputs.iter().filter(|input| is_synced(stage, input)).filter_map(|input| match &input.from {
        Bound::Output { stage: from, .. } => ctx.live.get(from),
        _ => None,
    });
    live.map(|live| (inside.clone(), live.root().to_owned())).collect()
}

/// Runs a command; what it prints goes to the log and, line by line, out as events.
fn run_logged(ctx: &Context<'_>, command: &mut Command, stage: &Stage, log: &Path) -> Result<ExitStatus> {
    let broken = |e: std::io::Error| Error::build(format!("cannot write the log {}", log.display())).because(e);
    let mut file = std::fs::File::create(log).map_err(broken)?;
    let mut paths = PathMap::new(users_own(ctx, stage));
    follow::follow(command, None, &mut |line| {
        let text = paths.outside(String::from_utf8_lossy(line).trim_end());
        // Without a log it shall not go on.
        writeln!(file, "{text}").map_err(broken)?;
        (ctx.events)(match text.strip_prefix(WARNING) {
            Some(message) => Event::Warning { message: format!("{}: {message}", stage.name) },
            None => Event::Output { stage: stage.name.clone(), line: text },
        });
        Ok(())
    })
}

fn script_error(ctx: &Context<'_>, stage: &Stage, log: &Path, status: ExitStatus) -> Error {
    let said = failure::end(log);
    let error = match refusal::of(&said) {
        Some(refusal) => refusal.error(&format!("the stage {}: ", stage.name)),
        None => failed(ctx, stage, &said, status),
    };
    let flags: String = ctx.project.settings.flags().map(|flag| format!(" {}", quoted(&flag))).collect();
    let (dir, name) = (quoted(&ctx.project.dir), quoted(&stage.name));
    error
        .hint(format!("the whole log is {}", log.display()))
        .hint(format!("to run it again: quiz -C {dir}{flags} build {name}"))
}

/// The error of a script that ran, with what it said.
fn failed(ctx: &Context<'_>, stage: &Stage, said: &str, status: ExitStatus) -> Error {
    let mut error = Error::build(format!("the stage {} failed ({status})", stage.name));
    let excerpt = failure::excerpt(said);
    for line in &excerpt {
        error = error.detail(line);
    }
    for (item, profile) in added_by_profiles(ctx, stage) {
        if failure::names(&excerpt, item) {
            error =
                error.hint(format!("{item} is asked for by the profile {} ({})", profile.name, profile.path.display()));
        }
    }
    error
}

/// What the profiles that are on add to the stage's options.
fn added_by_profiles<'a>(ctx: &Context<'a>, stage: &Stage) -> Vec<(&'a String, &'a Profile)> {
    let settings = stage.recipe.options.values().filter_map(|option| option.setting.as_deref());
    let of =
        |setting| ctx.project.profiles.iter().flat_map(move |p| p.adds_to(setting).iter().map(move |item| (item, p)));
    settings.flat_map(of).collect()
}
