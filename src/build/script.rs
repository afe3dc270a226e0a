//! Runs a stage's script: what it sees of its inputs, where it writes, what it is told, and where its words go.
//!
//! Does not know what the script does.

use super::lacks::{Lack, Lacks};
use super::logged::Logged;
use super::refusal::Refusal;
use super::sandbox::{Sandbox, User};
use super::scratch::{SCRATCH, SOURCE, bring, edited, into, is_synced, last_outputs, lay_out, persistent};
use super::trial::try_sandbox;
use super::weaker::{self, ScriptEnd};
use super::{Context, Records, cache_error, failure, key, refusal, terminal, tools};
use crate::error::{Error, Result};
use crate::event::Event;
use crate::graph::{Bound, BoundInput, NodeIndex, Role, Stage};
use crate::host::{self, quoted};
use crate::load::{PROJECT_FOLDER, Profile, Value};
use quiz_cache::{Built, Digest, Output, Scratch, Slot};
use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsString;
use std::io::Read;
use std::os::fd::AsRawFd;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus};

/// Where the script finds its options as files.
const OPTIONS: &str = "/quiz/options";
/// An option of so many bytes or more is not passed as an environment variable.
const LONGEST_VARIABLE: usize = 96 << 10;

/// What came of a script that ended well.
pub(super) struct ScriptOutput {
    /// Whether it built on what an earlier run left.
    pub built: Built,
    /// The folder that stays, if there is one.
    pub scratch: Option<Scratch>,
    /// Outputs that the script says it left as they were (`.kept`), with those of the last result that was made in that folder.
    pub kept: BTreeMap<String, Output>,
    /// Outputs of which it made only what is new (`.over`), with the output of that last result over which it is laid.
    pub over: BTreeMap<String, Output>,
}

/// Runs the script of a stage in its slot.
pub(super) fn run(
    ctx: &Context<'_>,
    id: NodeIndex,
    script: &str,
    slot: &Slot,
    known: &Records,
) -> Result<ScriptOutput> {
    let stage = ctx.graph.stage(id);
    let mut read = vec![(ctx.recipe_folder(&stage.recipe)?.lay_out(ctx.cache)?, "/quiz/recipe".to_owned())];
    let mut scratch = persistent(ctx, id, known)?;
    let (built, mut keepable) = match &mut scratch {
        Some(scratch) => go_on(ctx, stage, scratch, known)?,
        None => {
            lay_out(ctx, stage, slot, known)?;
            (Built::FromNothing, BTreeMap::new())
        }
    };
    read.extend(inputs(ctx, stage, scratch.as_ref(), known)?);
    let mut write = vec![(slot.out().to_owned(), "/quiz/out".to_owned())];
    let scratch_folder = scratch.as_ref().map_or_else(|| slot.scratch().to_owned(), |s| s.path().join(SCRATCH));
    write.push((scratch_folder, "/quiz/scratch".to_owned()));
    if stage.recipe.store {
        let store = if ctx.fresh.contains(&id) { empty_store(slot)? } else { store(ctx, id)? };
        write.push((store, "/quiz/store".to_owned()));
    }
    read.push((lay_out_options(stage, slot)?, OPTIONS.to_owned()));
    let mut env = environment(ctx, stage, known)?;
    env.push(kept(&keepable));
    env.extend(terminal::told(ctx, id));
    let toolchain = stage.toolchain().map(|input| body(ctx, input, known)).transpose()?;
    // Whoever edits what is built wants to open the headers, too.
    let headers = toolchain.as_deref().map(|root| match &scratch {
        Some(_) => link_toolchain(ctx, id, root),
        None => root.to_owned(),
    });
    let unasked = stage.recipe.tools_on_demand.keys().filter(|tool| !ctx.is_asked_for(tool));
    let hidden = match &toolchain {
        Some(toolchain) => tools::require_in(toolchain, stage, |tool| ctx.is_asked_for(tool)).map(|()| Vec::new())?,
        None => unasked.flat_map(|tool| tools::everywhere(tool)).collect::<BTreeSet<_>>().into_iter().collect(),
    };
    let (chroot, own, lacks) = (stage.recipe.chroot, ctx.graph.projects_own(id).next().is_none(), Lacks::default());
    let mut sandbox = Sandbox { script, toolchain, read, write, hidden, env, chroot, user: User::me(), own, lacks };
    let confirm = |lack| try_sandbox(ctx.cache, chroot).is_ok_and(|lacks| lacks.has(lack));
    let ended = weaker::run(&mut sandbox, &ctx.lacks, &confirm, &mut |command| {
        ctx.jobserver.configure_make(command);
        // All processes of the script inherit this locked file, so that the next build sees when the last of them is gone.
        let running = scratch.as_mut().map(|scratch| scratch.begin().map(AsRawFd::as_raw_fd)).transpose();
        let running = running.map_err(cache_error)?.into_iter().collect();
        // bubblewrap asks to die with quiz by itself, but only when it runs, and quiz may be dead by then.
        host::tie(command, running);
        let logged = Logged { ctx, stage, log: slot.log(), built };
        let status = match terminal::has(ctx, id) {
            true => terminal::run(command, slot.log())?,
            false => logged.run(command, users_own(ctx, stage, headers.as_deref()))?,
        };
        let said = failure::end(slot.log());
        if let Some(scratch) = scratch.as_mut().filter(|_| is_over(status, &said)) {
            scratch.finish().map_err(cache_error)?;
        }
        Ok((status, said))
    })?;
    if sandbox.has_roots_own() {
        let message = format!("the stage {} ran in a sandbox {}", stage.name, Lack::Users.words());
        (ctx.events)(Event::Warning { message });
    }
    succeeded(ctx, stage, slot.log(), ended)?;
    let mut named = |file| named(stage, slot, file, &mut keepable);
    let (kept, over) = (named(".kept")?, named(".over")?);
    Ok(ScriptOutput { built, scratch, kept, over })
}

/// Whether a script, and all that it started, ended by itself, well or not. If something was killed (by a signal, or with 128 and more from a shell) what
/// it wrote may be half, and is removed at the next build.
fn is_over(status: ExitStatus, said: &str) -> bool {
    status.success() || status.code().is_some_and(|code| code < 128) && !failure::names_a_kill(said)
}

/// The variable by which the script knows what it may keep.
fn kept(keepable: &BTreeMap<String, Output>) -> (String, OsString) {
    let names: Vec<&str> = keepable.keys().map(String::as_str).collect();
    ("QUIZ_KEPT".to_owned(), names.join(" ").into())
}

/// Brings what changed into the folder in which the last build was; gives whether this build goes on from that one, and which of
/// its outputs the script may keep.
fn go_on(
    ctx: &Context<'_>,
    stage: &Stage,
    scratch: &mut Scratch,
    known: &Records,
) -> Result<(Built, BTreeMap<String, Output>)> {
    let built = bring(ctx, stage, scratch, known)?;
    std::fs::create_dir_all(scratch.path().join(SCRATCH))
        .map_err(|e| Error::build(format!("cannot write in {}", scratch.path().display())).because(e))?;
    Ok((built, last_outputs(ctx, scratch)?))
}

/// The outputs of the last result that the script names in one of its files.
fn named(
    stage: &Stage,
    slot: &Slot,
    file: &str,
    keepable: &mut BTreeMap<String, Output>,
) -> Result<BTreeMap<String, Output>> {
    let said = words(&slot.out().join(file));
    let named = said.lines().map(|name| match keepable.remove_entry(name) {
        Some(named) => Ok(named),
        None => Err(Error::build(format!(
            "the script of {} names `{name}` in {file}, which is not in QUIZ_KEPT",
            stage.name
        ))),
    });
    named.collect()
}

/// What a script wrote into a small file. A link or a FIFO counts as empty: it would lead out of the sandbox, or
/// block.
fn words(path: &Path) -> String {
    let mut text = String::new();
    if let Ok(file) = host::open_plain(path) {
        let _ = file.take(LONGEST_VARIABLE as u64).read_to_string(&mut text);
    }
    text
}

/// The inputs that lie read-only where scripts find them: place on the host, path inside.
fn inputs(
    ctx: &Context<'_>,
    stage: &Stage,
    scratch: Option<&Scratch>,
    known: &Records,
) -> Result<Vec<(PathBuf, String)>> {
    let mut read = Vec::new();
    for input in stage.inputs.iter().filter(|input| input.role == Role::Files) {
        let inside = match input.name.as_str() {
            "source" => "/quiz/src".to_owned(),
            name => format!("/quiz/in/{name}"),
        };
        match (is_synced(stage, input), scratch, into(stage)) {
            (true, _, Some(_)) => {}
            (true, Some(scratch), None) => read.push((scratch.path().join(SOURCE), inside)),
            _ => read.push((body(ctx, input, known)?, inside)),
        }
    }
    Ok(read)
}

/// Where an input lies on the host.
pub(super) fn body(ctx: &Context<'_>, input: &BoundInput, known: &Records) -> Result<PathBuf> {
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

/// A link in the project's folder to the root that a stage's script runs in, so that editors find its headers at one place whatever
/// the packages are; the root itself where no link can be made.
pub(super) fn link_toolchain(ctx: &Context<'_>, id: NodeIndex, root: &Path) -> PathBuf {
    let Some(Bound::Output { stage, .. }) = ctx.graph.stage(id).toolchain().map(|input| &input.from) else {
        return root.to_owned();
    };
    let name = ctx.graph.stage(*stage).name.rsplit(':').next().unwrap_or_default();
    let link = ctx.project.dir.join(PROJECT_FOLDER).join("toolchain").join(name);
    // So that `quiz gc` keeps the root: an editor needs its headers even if no stage has run for a month.
    if ctx.cache.keep_behind(&link).is_err() {
        return root.to_owned();
    }
    if std::fs::read_link(&link).is_ok_and(|target| target == root) {
        return link;
    }
    let put = || -> std::io::Result<()> {
        let folder = link.with_file_name("");
        host::folder(&folder)?;
        // Renamed to its place, as stages that start together all make it.
        let new = tempfile::Builder::new().make_in(&folder, |path| std::os::unix::fs::symlink(root, path))?;
        new.persist(&link).map(drop).map_err(|e| e.error)
    };
    if put().is_ok() { link } else { root.to_owned() }
}

/// The folder that all runs of this recipe by this user share. Where something of a project's own has a part in the stage, there is one for each content
/// of that: what is in a store is part of no key, so nobody else may write to that of a built-in one.
fn store(ctx: &Context<'_>, id: NodeIndex) -> Result<PathBuf> {
    // Each once, and in an order that does not depend on what else is in the graph.
    let own: BTreeSet<String> =
        ctx.graph.projects_own(id).flat_map(|recipe| &recipe.own).map(ToString::to_string).collect();
    let recipe = &ctx.graph.stage(id).recipe;
    let name = if own.is_empty() {
        recipe.name.clone()
    } else {
        // No name of a recipe begins with a dot, so no built-in one has this folder.
        let own: String = own.into_iter().collect();
        format!(".own/{}-{}", recipe.name, Digest::of(own.as_bytes()))
    };
    let path = ctx.cache.own().join("store").join(name);
    create(&path)?;
    Ok(path)
}

/// An empty store, for a stage that is made from nothing and so must not see what earlier runs stored.
fn empty_store(slot: &Slot) -> Result<PathBuf> {
    let path = slot.out().with_file_name("store");
    create(&path)?;
    Ok(path)
}

fn create(folder: &Path) -> Result<()> {
    std::fs::create_dir_all(folder)
        .map_err(|e| Error::build(format!("cannot create the folder {}", folder.display())).because(e))
}

fn environment(ctx: &Context<'_>, stage: &Stage, known: &Records) -> Result<Vec<(String, OsString)>> {
    let upper = |name: &str| name.to_uppercase().replace('-', "_");
    let mut env: Vec<(String, OsString)> = vec![
        ("QUIZ_ARCH".into(), ctx.project.settings.text("arch").into()),
        ("QUIZ_JOBS".into(), ctx.jobs.to_string().into()),
    ];
    if stage.recipe.compiler {
        env.push(("QUIZ_KBUILD".into(), ctx.project.compiler.kbuild().into()));
    }
    let mut make = Command::new("make");
    ctx.jobserver.configure_make(&mut make);
    // Cargo's own variable stays out: rustc in a rule of make's looks for the pipe that it names, which make keeps from such rules.
    for (name, value) in make.get_envs().filter(|(name, _)| *name != "CARGO_MAKEFLAGS") {
        if let (Some(name), Some(value)) = (name.to_str(), value) {
            env.push((name.to_owned(), value.to_owned()));
        }
    }
    for (name, value) in &stage.options {
        let value = match value {
            Value::File { .. } => format!("{OPTIONS}/{name}"),
            other => option_text(other),
        };
        // A longer one is only in its file: Linux takes no variable of more than 128 KiB, its name included.
        if value.len() < LONGEST_VARIABLE {
            env.push((format!("QUIZ_OPT_{}", upper(name)), value.into()));
        }
    }
    // Inputs that are items of one list follow each other; they become one variable with a line for each.
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
    create(&folder)?;
    for (name, value) in &stage.options {
        let text = option_text(value);
        let end = if text.is_empty() || text.ends_with('\n') { "" } else { "\n" };
        write(&folder.join(name), &format!("{text}{end}"))?;
    }
    Ok(folder)
}

/// Paths of the sandbox that the user has under another name, which takes their place in what scripts print.
fn users_own(ctx: &Context<'_>, stage: &Stage, headers: Option<&Path>) -> Vec<(String, PathBuf)> {
    // Where compilers find headers; what else they say of /usr is about programs, and nobody opens those.
    let headers = headers
        .into_iter()
        .flat_map(|root| ["/usr/include", "/usr/lib/gcc"].map(|inside| (inside.to_owned(), root.join(&inside[1..]))));
    let files = stage.options.iter().filter_map(|(name, value)| match value {
        Value::File { path, .. } => Some((format!("{OPTIONS}/{name}"), path.clone())),
        _ => None,
    });
    files.chain(edited(ctx, stage)).chain(headers).collect()
}

/// The error of a script that did not run to a good end.
fn succeeded(ctx: &Context<'_>, stage: &Stage, log: &Path, ended: ScriptEnd) -> Result<()> {
    match ended {
        ScriptEnd::Ran(status) if status.success() => Ok(()),
        ScriptEnd::Ran(status) => Err(again(ctx, stage, log, failed(ctx, stage, &failure::end(log), status))),
        ScriptEnd::Refused(refusal) => {
            // The error names this log, so the reason has to be in it, unless bubblewrap's own words are there already.
            if refusal::of(&failure::end(log)).as_ref() != Some(&refusal) {
                let _ = std::fs::write(log, format!("{}\n", refusal.line()));
            }
            Err(no_sandbox(ctx, stage, log, &refusal))
        }
    }
}

/// The error of a script that never ran.
fn no_sandbox(ctx: &Context<'_>, stage: &Stage, log: &Path, refusal: &Refusal) -> Error {
    again(ctx, stage, log, refusal.error(&format!("the stage {}: ", stage.name)))
}

/// The error with where to read more, and what to type.
fn again(ctx: &Context<'_>, stage: &Stage, log: &Path, error: Error) -> Error {
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
