//! `quiz cache`: what takes room in the cache, whether its bytes are what they were, what is pinned; results as a file, out of it and into it.

use super::args::CacheCommand;
use crate::engine::holders::Holders;
use crate::engine::{Engine, pins, sharing};
use crate::error::{Error, Result};
use crate::event::told::slowly;
use crate::event::{Event, Unit};
use crate::report::{self, Style};
use crate::status;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};

/// How it is shown.
pub(super) struct Shown<'a> {
    pub(super) json: bool,
    pub(super) verbose: bool,
    pub(super) style: &'a Style,
}

pub(super) fn run(engine: &Engine<'_>, command: Option<&CacheCommand>, shown: &Shown<'_>) -> Result<u8> {
    match command {
        None | Some(CacheCommand::Ls) => list(engine, shown)?,
        Some(CacheCommand::Verify) => return verify(engine, shown),
        Some(CacheCommand::Pin { stage, rm }) => {
            let pin = if *rm { pins::unpin(engine, stage)? } else { pins::pin(engine, stage)? };
            report::result(&report::pinned(&pin, *rm, shown.json))?;
        }
        Some(CacheCommand::Export { file, stages, sign }) => {
            export(engine, file, stages, sign.as_deref(), shown.json)?;
        }
        Some(CacheCommand::Import { file, verify }) => import(engine, file, verify.as_deref(), shown.json)?,
    }
    Ok(status::FINE)
}

fn list(engine: &Engine<'_>, shown: &Shown<'_>) -> Result<()> {
    let (inventory, holders) = slowly("the cache", Unit::Objects, engine.events, |slow| {
        let inventory = engine.cache.inventory(slow.looked);
        let inventory = inventory.map_err(|e| Error::build("the cache cannot be read").because(e))?;
        Ok((inventory, Holders::find(&engine.cache)?))
    })?;
    let root = engine.cache.root();
    report::result(&if shown.json {
        format!(
            "{}\n",
            report::cache_json(root, engine.cache.group().map(quiz_cache::group_name), &inventory, &holders)
        )
    } else {
        // Without a width, nothing is cut: stdout is no terminal.
        let columns = rustix::termios::tcgetwinsize(std::io::stdout()).map(|size| size.ws_col);
        let width = columns.ok().filter(|columns| *columns > 0).map(usize::from);
        report::cache(
            root,
            &inventory,
            &holders,
            &report::CacheShown {
                verbose: shown.verbose,
                width,
                style: shown.style,
                shared: sharing::told(engine).as_deref(),
            },
        )
    })
}

/// Reads every byte; the exit status says whether all is as it was.
fn verify(engine: &Engine<'_>, shown: &Shown<'_>) -> Result<u8> {
    let all = AtomicU64::new(0);
    let tell = |done, total| {
        all.store(total, Ordering::Relaxed);
        (engine.events)(Event::Download { what: "the cache".to_owned(), done, total: Some(total) });
    };
    let waiting = || (engine.events)(Event::Paused { what: "`quiz gc`".to_owned() });
    let verified = engine.cache.verify(&tell, &waiting);
    // The line of the progress goes, if there was one.
    let all = all.load(Ordering::Relaxed);
    if all > 0 {
        tell(all, all);
    }
    let verified = verified.map_err(|e| {
        let refused = e.io_kind() == Some(std::io::ErrorKind::PermissionDenied);
        let error = Error::build("the cache cannot be verified").because(e);
        if refused { error.hint("the cache is another user's: run this as that user") } else { error }
    })?;
    report::result(&if shown.json {
        format!("{}\n", report::checked_json(&verified))
    } else {
        report::checked(&verified, shown.style)
    })?;
    if let Some(why) = &verified.refused {
        return Err(Error::build(format!("what is damaged was not moved away: {why}"))
            .hint("run this as the user whose cache it is; until then stages may use what is damaged"));
    }
    Ok(if verified.wrong.is_empty() { status::FINE } else { status::FAILED })
}

/// Writes what these stages made to a file, and with a key its signature.
fn export(engine: &Engine<'_>, file: &Path, names: &[String], key: Option<&Path>, json: bool) -> Result<()> {
    let stages = engine.stages(names.iter().map(String::as_str))?;
    let wanted = names.iter().map(|name| stages.graph.find(name)).collect::<Result<Vec<_>>>()?;
    let bytes = engine.export(&stages, &wanted, file, key)?;
    report::result(&report::exported(file, bytes, json))
}

/// Adds the results in a file to the cache; with `signers` only if one of them has signed the file.
fn import(engine: &Engine<'_>, file: &Path, signers: Option<&Path>, json: bool) -> Result<()> {
    report::result(&report::imported(&engine.import(file, signers)?, json))
}
