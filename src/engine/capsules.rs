//! Crashes as a file: what is known of one, its memory, the image that it was booted of and the debug information of that.
//!
//! | in the file, a pack behind these | |
//! |---|---|
//! | `quiz-crash` | the number of this format, and the digest of the next |
//! | `crash/crash.json` | the crash, and the digest of all that follows |
//! | `crash/vmcore`, `crash/zfs_dbgmsg`, `crash/tasks.json` | where they are there |
//! | `quiz-pack`, `0/record`, `0/out/…` | one result: kernel, layers, debug information |
//!
//! That result has a key of its own that no stage has: whatever somebody puts into such a file, it is never taken for what a stage here would have made.

mod arrival;

use super::crashes::{Image, image, stored, unreadable};
use super::packs::packing;
use super::symbols::Symbols;
use super::{Engine, memory};
use crate::boot::crash::{ABOUT, Crash, FOLDER, MEMORY};
use crate::engine::debug::{dbgmsg, tasks};
use crate::error::{Error, Result, cannot};
use crate::event::told::{Told, slowly};
use crate::event::{Event, Unit};
use crate::host;
use quiz_cache::{Built, Digest, Front, Key, KeyEncoder, Kind, Manifest, Output, Packed, Record};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, BufWriter, Seek};
use std::path::Path;
use std::time::Duration;

pub use arrival::Arrived;
#[cfg(any(test, feature = "fuzz"))]
pub(crate) use arrival::fuzz;

const HEAD: &str = "quiz-crash";
const FORMAT: &str = "1";
/// What the one result is called.
const STAGE: &str = "crash";
const KERNEL: &str = "kernel";

/// The files of a crash that travel, beside what is known of it.
const FILES: [&str; 3] = [MEMORY, dbgmsg::FILE, tasks::FILE];

/// What `crash/crash.json` in the file says of a crash.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct About {
    /// Without what is of one host.
    crash: Crash,
    /// By their names in the folder of the crash.
    files: BTreeMap<String, Output>,
    /// By their names in the result.
    outputs: BTreeMap<String, Output>,
}

/// What an export has written.
#[derive(Debug, Clone)]
pub struct Exported {
    /// Its bytes.
    pub bytes: u64,
    /// What could not come along, and why.
    pub missing: Vec<String>,
}

fn layer(number: usize) -> String {
    format!("layer{number:03}")
}

fn symbols_of(number: usize) -> String {
    format!("symbols{number:03}")
}

/// The key under which these lie in a cache, and nothing else.
fn key(outputs: &BTreeMap<String, Output>) -> (Key, Manifest) {
    let mut encoder = KeyEncoder::new("quiz crash 1");
    for (name, output) in outputs {
        encoder.digest(name, &output.digest);
    }
    encoder.finish()
}

impl About {
    /// The result of it, as any cache has it.
    fn record(&self) -> Record {
        let (key, manifest) = key(&self.outputs);
        Record {
            key,
            stage: STAGE.to_owned(),
            outputs: self.outputs.clone(),
            manifest,
            took: Duration::ZERO,
            made_at: self.crash.when,
            built: Built::FromNothing,
        }
    }

    /// The layers, or the debug information, by `name` of a number.
    fn numbered(&self, name: fn(usize) -> String) -> Vec<&Output> {
        (0..).map_while(|number| self.outputs.get(&name(number))).collect()
    }
}

/// Writes the crash in the folder `place` to a new file. `symbols`: the debug information of its kernel and modules, if it is there.
///
/// # Errors
/// Its image is gone; the file is there, or cannot be written.
pub fn export(
    engine: &Engine<'_>,
    (place, crash, run): (&Path, &Crash, &str),
    symbols: Option<&Symbols>,
    file: &Path,
) -> Result<Exported> {
    let cannot_write = |e: io::Error| Error::input(format!("cannot write {}", file.display())).because(e);
    let folder = file.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    if file.symlink_metadata().is_ok() {
        return Err(
            Error::input(format!("{} is there already", file.display())).hint("name another file, or remove it")
        );
    }
    let waiting = || (engine.events)(Event::Paused { what: "`quiz gc`".to_owned() });
    let _held = engine.cache.hold(&waiting).map_err(unreadable)?;
    let image = image(engine, crash, run)?;
    memory::plain(place, engine.events)?;
    // Of modules that may be others it would show what is not so.
    let symbols = symbols.filter(|symbols| symbols.knows_modules);
    let (mut files, mut missing) = (Vec::new(), lacks(crash, run, symbols));
    for name in FILES {
        let path = place.join(FOLDER).join(name);
        if let (MEMORY, Some(why)) = (name, &crash.cut) {
            missing.push(format!("the guest's memory: {why}"));
            continue;
        }
        match host::open_plain(&path) {
            Ok(mut opened) => {
                let size = opened.metadata().map_or(0, |meta| meta.len());
                let told = Told::new(&opened, format!("reading {name}"), size, engine.events);
                let looked = Digest::of_reader(told, false).and_then(|looked| opened.rewind().map(|()| looked));
                let (digest, size) = looked.map_err(|e| cannot("read", &path, e))?;
                files.push((name, opened, Output { kind: Kind::File, digest, size, files: 1 }));
            }
            Err(e) if e.kind() == io::ErrorKind::NotFound && name == MEMORY => {
                missing.push("the guest's memory: it was removed, as runs.keep-crashes demands".to_owned());
            }
            Err(e) if e.kind() == io::ErrorKind::NotFound => {}
            Err(e) => return Err(cannot("read", &path, e)),
        }
    }
    let about = About {
        crash: without_host(crash),
        files: files.iter().map(|(name, _, output)| ((*name).to_owned(), output.clone())).collect(),
        outputs: outputs(engine, &image, symbols)?,
    };
    missing.iter().for_each(|what| (engine.events)(Event::Warning { message: format!("not in the file: {what}") }));
    // Its user's alone: a guest's memory may hold anything.
    let mut new = tempfile::Builder::new().tempfile_in(folder).map_err(cannot_write)?;
    pack(engine, &about, &mut files, new.as_file_mut())
        .map_err(|e| Error::build(format!("the crash of run {run} cannot be packed")).because(e))?;
    slowly("writing", Unit::Bytes, engine.events, |_| new.as_file().sync_all()).map_err(cannot_write)?;
    let file = new.persist_noclobber(file).map_err(|e| cannot_write(e.error))?;
    Ok(Exported { bytes: file.metadata().map_err(cannot_write)?.len(), missing })
}

fn pack(
    engine: &Engine<'_>,
    about: &About,
    files: &mut [(&str, File, Output)],
    to: &mut File,
) -> std::result::Result<(), quiz_cache::Error> {
    let text = serde_json::json!(about).to_string();
    let head = format!("{FORMAT} {}\n", Digest::of(text.as_bytes()));
    let (mut head, mut text) = (head.as_bytes(), text.as_bytes());
    let mut front = vec![
        Front { name: HEAD.to_owned(), size: head.len() as u64, content: &mut head },
        Front { name: format!("{FOLDER}/{ABOUT}"), size: text.len() as u64, content: &mut text },
    ];
    front.extend(files.iter_mut().map(|(name, file, output)| Front {
        name: format!("{FOLDER}/{name}"),
        size: output.size,
        content: file,
    }));
    let record = about.record();
    let mut told = packing(engine.events, record.size() + front.iter().map(|file| file.size).sum::<u64>());
    engine.cache.export_behind(&mut front, &[(record.clone(), Packed::Whole)], BufWriter::new(to), &mut |count| {
        told.more(count)
    })
}

/// What cannot come along although nothing is wrong.
fn lacks(crash: &Crash, run: &str, symbols: Option<&Symbols>) -> Vec<String> {
    let mut lacks = Vec::new();
    if symbols.is_none() {
        lacks.push(format!(
            "debug information, which is not in the cache: `quiz crash show --lines {run}` makes it first"
        ));
    }
    match &crash.machine {
        None => lacks.push("how to run it again, which the older quiz that kept this crash did not note".to_owned()),
        Some(guest) => {
            if !guest.extra.is_empty() {
                lacks.push(format!("the arguments that were added to qemu's command: {}", guest.extra.join(" ")));
            }
            if guest.has_net() {
                lacks.push("the network card: an imported guest gets none".to_owned());
            }
            if guest.lasting_disks() > 0 {
                lacks.push(format!(
                    "what lies on {} persistent disks: it starts with empty ones",
                    guest.lasting_disks()
                ));
            }
        }
    }
    lacks
}

/// Without paths, flags and variables of this host.
fn without_host(crash: &Crash) -> Crash {
    Crash {
        kernel: String::new(),
        layers: Vec::new(),
        flags: Vec::new(),
        variables: None,
        again: String::new(),
        machine: crash.machine.as_ref().map(crate::boot::crash::Guest::without_host),
        imported: None,
        ..crash.clone()
    }
}

fn outputs(engine: &Engine<'_>, image: &Image, symbols: Option<&Symbols>) -> Result<BTreeMap<String, Output>> {
    let folders = symbols.into_iter().flat_map(|symbols| std::iter::once(&symbols.kernel).chain(&symbols.modules));
    let trees = folders.map(|folder| stored(engine, Kind::Tree, folder)).collect::<Result<Vec<_>>>()?;
    // All of it or none: with a part of the debug information a debugger would show what is not so.
    let trees = trees.into_iter().collect::<Option<Vec<_>>>().unwrap_or_default();
    let layers = image.layers.iter().cloned().enumerate().map(|(number, output)| (layer(number), output));
    let symbols = trees.into_iter().enumerate().map(|(number, output)| (symbols_of(number), output));
    Ok(std::iter::once((KERNEL.to_owned(), image.kernel.clone())).chain(layers).chain(symbols).collect())
}
