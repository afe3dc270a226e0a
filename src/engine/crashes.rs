//! What a guest that crashed was booted of: where that lies in the cache, and the machine that is made of it again.
//!
//! What a run's folder says may be of a project's making. Runs nothing.

use super::machine::Prepared;
use super::noted::Noted;
use super::{BuiltOf, Engine, named};
use crate::boot::crash::{Crash, FOLDER, Guest};
use crate::boot::folder::parts;
use crate::error::{Error, Result};
use crate::event::Event;
use crate::machine::qemu;
use quiz_cache::{Cache, Digest, Kind, Output};
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

/// What a guest was booted of, as contents of the cache.
#[derive(Debug, Clone)]
pub struct Image {
    /// The folder of the kernel.
    pub kernel: Output,
    /// Files, the topmost first.
    pub layers: Vec<Output>,
}

/// The machines of a run whose guests crashed: the folder of each, and the files and trees of the cache that it consists of.
#[must_use]
pub fn needs(run: &Path) -> Vec<(PathBuf, BTreeSet<Digest>)> {
    let places = parts(run).into_iter().chain([run.to_owned()]);
    let need = |place: PathBuf| {
        let crash = Crash::read(&place)?;
        let named = crash.layers.iter().chain([&crash.kernel]).filter_map(|path| named::digest(Path::new(path)));
        let symbols = crash.imported.iter().flat_map(|imported| &imported.symbols).filter_map(|hex| hex.parse().ok());
        let noted = Noted::read(&place);
        let noted = noted.iter().flat_map(Noted::digests);
        let digests = named.chain(symbols).chain(noted).collect();
        Some((place, digests))
    };
    places.filter_map(need).collect()
}

/// Has the cache keep the images of a run's crashes as long as the crashes are there, whether their project is used or not.
///
/// # Errors
/// The cache cannot be read or written.
pub fn keep(cache: &Cache, project: &Path, run: &Path) -> Result<()> {
    for (place, digests) in needs(run) {
        let kept = cache.keep_for(&place.join(FOLDER), project, digests);
        kept.map_err(|e| Error::build(format!("the image of {} cannot be kept", place.display())).because(e))?;
    }
    Ok(())
}

/// What of the cache a crash names.
///
/// # Errors
/// A part is gone, damaged, or of another cache: all such are named.
pub fn image(engine: &Engine<'_>, crash: &Crash, run: &str) -> Result<Image> {
    let kernel = Path::new(&crash.kernel).parent().unwrap_or(Path::new(""));
    let mut gone = Vec::new();
    let mut find = |kind, path: &Path| {
        let found = stored(engine, kind, path)?;
        if found.is_none() {
            gone.push(path.display().to_string());
        }
        Ok::<_, Error>(found)
    };
    let kernel = find(Kind::Tree, kernel)?;
    let layers = crash.layers.iter().map(|layer| find(Kind::File, Path::new(layer))).collect::<Result<Vec<_>>>()?;
    match (kernel, layers.into_iter().collect::<Option<Vec<_>>>()) {
        (Some(kernel), Some(layers)) if !layers.is_empty() => Ok(Image { kernel, layers }),
        _ => {
            let error = Error::input(format!("the image of run {run} is not in the cache any more"));
            let error = gone.into_iter().fold(error, |error, path| error.detail(format!("gone or damaged: {path}")));
            Err(match &crash.imported {
                Some(_) => error.hint("import the file once more: quiz crash import FILE"),
                None => {
                    error.hint(format!("if its sources have not changed since, this makes it again: {}", crash.again))
                }
            })
        }
    }
}

/// What lies at that place of the cache, if it is what it was.
pub(super) fn stored(engine: &Engine<'_>, kind: Kind, path: &Path) -> Result<Option<Output>> {
    let digest = path.file_name().and_then(|name| name.to_str()?.parse::<Digest>().ok());
    let Some(digest) = digest else { return Ok(None) };
    let found = engine.cache.stored(kind, &digest).map_err(unreadable)?;
    Ok(found.filter(|output| engine.cache.path(output) == path))
}

pub(super) fn unreadable(error: quiz_cache::Error) -> Error {
    Error::build("the cache cannot be read").because(error)
}

/// The machine of a crash as it was, without what belongs to one run, and what is known of it.
///
/// # Errors
/// Nothing is known of it, quiz cannot start such a machine, or its image is gone.
pub fn again(engine: &Engine<'_>, crash: &Crash, run: &str) -> Result<(Prepared, Guest)> {
    let guest = known(crash, run)?;
    let Image { kernel, layers } = image(engine, crash, run)?;
    let kernel = engine.cache.path(&kernel);
    let is_file = |name: &&String| kernel.join(name).symlink_metadata().is_ok_and(|meta| meta.is_file());
    if let Some(name) = guest.kernel_files().find(|name| !is_file(name)) {
        return Err(Error::input(format!("the kernel of run {run} has no file {name}: {}", kernel.display())));
    }
    let guest = if crash.imported.is_some() { guest.without_host() } else { guest };
    let warn = |message: String| (engine.events)(Event::Warning { message });
    if let Some(extra) = Some(guest.extra.join(" ")).filter(|extra| !extra.is_empty()) {
        warn(format!("left out, since they could do anything on this machine: qemu's arguments of run {run}: {extra}"));
    }
    let qemu = super::qemu::made(engine)?;
    let choice = super::qemu::accelerator(engine, &qemu)?;
    let layers: Vec<PathBuf> = layers.iter().map(|layer| engine.cache.path(layer)).collect();
    let machine = guest.machine(&kernel, layers, qemu, choice.accel);
    qemu::fits(&machine)?;
    Ok((Prepared { machine, why_not_kvm: choice.why_not_kvm, built_of: BuiltOf::default() }, guest))
}

/// What a crash says of its machine.
pub(super) fn known(crash: &Crash, run: &str) -> Result<Guest> {
    let guest = crash.machine.clone().ok_or_else(|| {
        Error::input(format!("nothing is known of the machine of run {run}: an older quiz kept its crash"))
            .hint(format!("it was started by: {}", crash.again))
    })?;
    guest
        .check()
        .map_err(|why| Error::input(format!("the machine of run {run} is not one that quiz can start: {why}")))?;
    Ok(guest)
}
