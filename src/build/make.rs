//! Makes one stage: opens its sandbox (or fetches its source) in a slot, and commits what came out.

use super::sandbox::{self, Sandbox};
use super::{Context, cache_error, failure};
use crate::error::{Error, Result};
use crate::event::Event;
use crate::graph::{Bound, NodeIndex, Stage};
use crate::load::{OutputKind, Value};
use crate::source;
use quiz_cache::{Built, Kind, Made, Manifest, Record, Slot};
use std::collections::BTreeMap;
use std::ffi::OsString;
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus, Stdio};
use std::time::Instant;

/// Makes the stage in its slot. Every input's objects lie in the cache.
pub(super) fn make(
    ctx: &Context<'_>,
    id: NodeIndex,
    slot: Slot,
    manifest: Manifest,
    known: &BTreeMap<NodeIndex, Record>,
) -> Result<Record> {
    let stage = ctx.graph.stage(id);
    // One of make's own tokens for a script, so that all stages together start no more than the jobs asked for. What is
    // fetched needs no processor. The clock starts when it is there.
    let token = stage.recipe.script.is_some().then(|| ctx.jobserver.acquire()).transpose();
    let _token = token.map_err(|e| Error::build("the jobserver's pipe broke").because(e))?;
    let log = slot.log().to_owned();
    let shown = log.display().to_string();
    (ctx.events)(Event::Started { stage: stage.name.clone(), log: shown.clone() });
    let start = Instant::now();
    let result = match (&stage.recipe.script, &stage.recipe.source) {
        (Some(script), _) => run_script(ctx, stage, script, &slot, known),
        (None, Some(spec)) => fetch(ctx, id, stage, spec, &slot),
        (None, None) => Ok(()),
    };
    let made = result.and_then(|()| {
        let kind = |kind: &OutputKind| match kind {
            OutputKind::File => Kind::File,
            OutputKind::Tree => Kind::Tree,
        };
        let outputs = stage.recipe.outputs.iter().map(|(name, k)| (name.clone(), kind(k))).collect();
        let name = stage.name.clone();
        let made = Made { stage: name, outputs, manifest, took: start.elapsed(), from: Built::FromNothing };
        slot.commit(made).map_err(|e| {
            Error::build(format!("the stage {} did not come out right", stage.name))
                .because(e)
                .hint(format!("its log is {shown}"))
        })
    });
    (ctx.events)(match &made {
        Ok(_) => Event::Finished { stage: stage.name.clone(), took: start.elapsed() },
        Err(_) => Event::Failed { stage: stage.name.clone(), log: shown },
    });
    made
}

/// A source stage: the one output is what its pin says.
fn fetch(ctx: &Context<'_>, id: NodeIndex, stage: &Stage, spec: &source::Spec, slot: &Slot) -> Result<()> {
    let log = |e: std::io::Error| Error::build(format!("cannot write {}", slot.log().display())).because(e);
    let pin = ctx.pin(id)?;
    std::fs::write(slot.log(), format!("fetching {pin}\n")).map_err(log)?;
    let Some(output) = stage.recipe.outputs.keys().next() else { return Ok(()) };
    source::fetch(spec, pin, &slot.out().join(output), &ctx.source, ctx.events)
}

fn run_script(
    ctx: &Context<'_>,
    stage: &Stage,
    script: &str,
    slot: &Slot,
    known: &BTreeMap<NodeIndex, Record>,
) -> Result<()> {
    let mut read = vec![(ctx.recipe_folder(&stage.recipe)?.lay_out(ctx.cache)?, "/quiz/recipe".to_owned())];
    read.extend(mounts(ctx, stage, known)?);
    let sandbox = Sandbox {
        script,
        read,
        out: slot.out(),
        scratch: slot.scratch(),
        env: environment(ctx, stage, known)?,
        uids: stage.recipe.uids,
        root: rustix::process::geteuid().is_root(),
    };
    let args = sandbox::command(&sandbox);
    let mut command = Command::new(&args[0]);
    command.args(&args[1..]).stdin(Stdio::null());
    ctx.jobserver.configure_make(&mut command);
    let status = run_logged(ctx, &mut command, &stage.name, slot.log())?;
    if status.success() {
        return Ok(());
    }
    Err(script_error(ctx, stage, slot.log(), status))
}

/// Where each input lies on the host, and where the script sees it.
fn mounts(ctx: &Context<'_>, stage: &Stage, known: &BTreeMap<NodeIndex, Record>) -> Result<Vec<(PathBuf, String)>> {
    let mut mounts = Vec::new();
    for input in &stage.inputs {
        let inside = match input.name.as_str() {
            "source" => "/quiz/src".to_owned(),
            name => format!("/quiz/in/{name}"),
        };
        let path = match &input.from {
            Bound::Profiles => ctx.profile_folder()?.lay_out(ctx.cache)?,
            Bound::Output { stage, output } if input.paths.is_empty() => ctx.cache.path(&known[stage].outputs[output]),
            Bound::Output { stage, output } => {
                ctx.cache.realise_subtree(&known[stage].outputs[output], &input.paths).map_err(cache_error)?
            }
        };
        mounts.push((path, inside));
    }
    Ok(mounts)
}

fn environment(
    ctx: &Context<'_>,
    stage: &Stage,
    known: &BTreeMap<NodeIndex, Record>,
) -> Result<Vec<(String, OsString)>> {
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
            Value::Text(text) => text.clone(),
            Value::List(items) => items.join("\n"),
            Value::Number(number) => number.to_string(),
            Value::Flag(flag) => if *flag { "1" } else { "" }.to_owned(),
        };
        env.push((format!("QUIZ_OPT_{}", upper(name)), value.into()));
    }
    for input in &stage.inputs {
        let digest = super::key::input_digest(ctx, &input.from, &input.paths, known)?;
        env.push((format!("QUIZ_DIGEST_{}", upper(&input.name)), digest.to_string().into()));
    }
    Ok(env)
}

/// Runs a command; what it prints goes to the log and, line by line, out as events.
fn run_logged(ctx: &Context<'_>, command: &mut Command, stage: &str, log: &Path) -> Result<ExitStatus> {
    let broken = |e: std::io::Error| Error::build(format!("cannot write the log {}", log.display())).because(e);
    let mut file = std::fs::File::create(log).map_err(broken)?;
    let pipe = |e: std::io::Error| Error::build("cannot make a pipe").because(e);
    let (reader, writer) = std::io::pipe().map_err(pipe)?;
    command.stdout(writer.try_clone().map_err(pipe)?).stderr(writer);
    let mut child = command.spawn().map_err(|e| {
        Error::build(format!("cannot start {}", command.get_program().display())).because(e).hint("quiz doctor")
    })?;
    // The command holds copies of the pipe's end; without letting go of them the reader would wait for itself.
    command.stdout(Stdio::null()).stderr(Stdio::null());
    let mut reader = BufReader::new(reader);
    let mut line = Vec::new();
    let copied = loop {
        line.clear();
        match reader.read_until(b'\n', &mut line) {
            Ok(0) => break Ok(()),
            Ok(_) => {
                if let Err(e) = file.write_all(&line) {
                    break Err(broken(e));
                }
                let line = String::from_utf8_lossy(&line).trim_end().to_owned();
                (ctx.events)(Event::Output { stage: stage.to_owned(), line });
            }
            Err(e) => break Err(broken(e)),
        }
    };
    drop(reader);
    if copied.is_err() {
        // With its pipe gone it would fail soon, but not surely; without a log it shall not go on. It may have ended.
        let _ = child.kill();
    }
    let status = child.wait().map_err(|e| Error::build(format!("lost the script of {stage}")).because(e))?;
    copied.map(|()| status)
}

fn script_error(ctx: &Context<'_>, stage: &Stage, log: &Path, status: ExitStatus) -> Error {
    let mut error = Error::build(format!("the stage {} failed ({status})", stage.name));
    for line in failure::excerpt(log) {
        error = error.detail(line);
    }
    let flags: String = ctx.project.settings.flags().map(|flag| format!(" {}", quoted(&flag))).collect();
    let (dir, name) = (quoted(&ctx.project.dir.display().to_string()), quoted(&stage.name));
    error
        .hint(format!("the whole log is {}", log.display()))
        .hint(format!("to run it again: quiz -C {dir}{flags} build {name}"))
}

/// A word for a shell.
fn quoted(word: &str) -> String {
    let plain = |b: u8| b.is_ascii_alphanumeric() || b"-_./:=,+".contains(&b);
    if !word.is_empty() && word.bytes().all(plain) {
        word.to_owned()
    } else {
        format!("'{}'", word.replace('\'', "'\\''"))
    }
}
