//! Results as a file: written for another cache, taken in from one, and those that this program carries.

use super::{Engine, Stages, signed};
use crate::build::{Depth, Records};
use crate::error::{Error, Result};
use crate::event::told::{Teller, Told, slowly};
use crate::event::{Event, Events, Unit, waiting};
use crate::graph::NodeIndex;
use quiz_cache::{Digest, KeyEncoder, Packed, Unpacked};
use std::collections::BTreeSet;
use std::fs::{self, File, Metadata, Permissions};
use std::io::{self, BufReader, BufWriter, Read, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::time::{SystemTime, UNIX_EPOCH};

/// What a release carries, so that a first run needs no compiler: a pack, by `--features carry` and the path in QUIZ_CARRY.
#[cfg(feature = "carry")]
const CARRIED: &[u8] = include_bytes!(env!("QUIZ_CARRY", "the feature carry needs the path of a pack in QUIZ_CARRY"));
#[cfg(not(feature = "carry"))]
const CARRIED: &[u8] = &[];

/// Tells how much of these bytes was taken into a pack. What a tar has beside its files makes it a little more.
pub(super) fn packing(events: Events<'_>, bytes: u64) -> Teller<'_> {
    Teller::new("packing", Unit::Bytes, bytes, events)
}

impl Engine<'_> {
    /// Writes what these stages made to a new file, and makes it first if it is missing. Of all that they were made of the records go along,
    /// by which another cache knows their keys. With a `key`, an OpenSSH private key, a signature is written beside it. Gives the file's bytes.
    ///
    /// # Errors
    /// A stage failed; one was built incrementally, or made of one that was; the file or its signature is there, or cannot be written; the key cannot
    /// sign. Then neither is left.
    pub fn export(&self, stages: &Stages, wanted: &[NodeIndex], file: &Path, key: Option<&Path>) -> Result<u64> {
        let cannot = |e: io::Error| Error::input(format!("cannot write {}", file.display())).because(e);
        let folder = file.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
        if file.exists() {
            return Err(
                Error::input(format!("{} is there already", file.display())).hint("remove it, or name another file")
            );
        }
        if !folder.is_dir() {
            return Err(cannot(io::ErrorKind::NotFound.into()));
        }
        key.map_or(Ok(()), |key| signed::can_sign(file, key))?;
        if let Some(id) = wanted.iter().find(|id| stages.graph.stage(**id).is_outside()) {
            let name = &stages.graph.stage(*id).name;
            return Err(Error::input(format!(
                "{name} runs outside of a sandbox, so it cannot be exported: each cache has to fetch it by itself"
            )));
        }
        let known = self.build(stages, wanted, Depth::Outputs)?;
        wanted.iter().try_for_each(|id| may_leave(stages, *id, &known))?;
        let wanted: BTreeSet<NodeIndex> = wanted.iter().copied().collect();
        let results = stages.graph.order().into_iter().filter_map(|id| {
            let is_kept = stages.folder(id).is_some() || stages.graph.stage(id).is_outside();
            let record = known.get(&id).filter(|_| !is_kept)?;
            Some((record.clone(), if wanted.contains(&id) { Packed::Whole } else { Packed::Record }))
        });
        let results: Vec<_> = results.collect();
        // Only now: `folder` may belong to a source of these stages, of which a new file would be an edit. Others may read the file, as the umask
        // has it.
        let mode: Permissions = PermissionsExt::from_mode(0o666);
        let empty = || tempfile::Builder::new().permissions(mode.clone()).tempfile_in(folder).map_err(cannot);
        let mut new = empty()?;
        let mut told = packing(
            self.events,
            results.iter().filter(|(_, packed)| *packed == Packed::Whole).map(|(record, _)| record.size()).sum(),
        );
        let packed = self.cache.export(&results, BufWriter::new(&mut new), &mut |count| told.more(count));
        drop(told);
        packed.map_err(|e| Error::build("the results cannot be packed").because(e))?;
        slowly("writing", Unit::Bytes, self.events, |_| new.as_file().sync_all()).map_err(cannot)?;
        let sign = |key| {
            let text = signed::sign(new.as_file(), key)?;
            let mut sig = empty()?;
            sig.write_all(text.as_bytes()).and_then(|()| sig.as_file().sync_all()).map_err(cannot)?;
            Ok(sig)
        };
        let sig = key.map(sign).transpose()?;
        let made = new.persist_noclobber(file).map_err(|e| cannot(e.error))?;
        if let Some(sig) = sig {
            // Last: where a signature is, there is what it signs.
            let placed = sig.persist_noclobber(signed::beside(file));
            placed.inspect_err(|_| drop(fs::remove_file(file))).map_err(|e| cannot(e.error))?;
        }
        made.metadata().map(|meta| meta.len()).map_err(cannot)
    }

    /// Takes in what a file of results has and the cache has not. With `signers`, an allowed_signers file of OpenSSH's, only if one of them has
    /// signed it.
    ///
    /// # Errors
    /// It is no such file, or not what it says; it is not signed, or by nobody of those: then nothing of it is in the cache.
    pub fn import(&self, file: &Path, signers: Option<&Path>) -> Result<Unpacked> {
        let mut opened =
            File::open(file).map_err(|e| Error::input(format!("cannot read {}", file.display())).because(e))?;
        if let Some(signers) = signers {
            let size = opened.metadata().ok().filter(Metadata::is_file).map(|meta| meta.len());
            let told = Told::new(opened, "verifying", size, self.events);
            opened = signed::verified(told, file, signers, self.cache.own())?;
        }
        let waiting = || (self.events)(Event::Paused { what: "`quiz gc`".to_owned() });
        let _held = self.cache.hold(&waiting).map_err(|e| Error::build("the cache cannot be locked").because(e))?;
        let size = opened.metadata().ok().filter(Metadata::is_file).map(|meta| meta.len());
        self.unpack(Told::new(BufReader::new(opened), "unpacking", size, self.events)).map_err(|e| {
            let message = format!("{}: not imported", file.display());
            // If the system refuses something, such as room, the file is not at fault.
            let error = if e.io_kind().is_some() { Error::build(message) } else { Error::input(message) };
            error.because(e)
        })
    }

    fn unpack(&self, pack: impl Read) -> std::result::Result<Unpacked, quiz_cache::Error> {
        self.cache.import(pack, &waiting(self.events, "a result of the pack"))
    }

    /// Takes in what the program carries, once a day: it may have been collected.
    pub(super) fn take_carried(&self) -> Result<()> {
        if CARRIED.is_empty() {
            return Ok(());
        }
        let cannot = |e| Error::build("the results that come with this quiz cannot be stored in the cache").because(e);
        let day = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |time| time.as_secs() / (24 * 60 * 60));
        let key = KeyEncoder::new("quiz carried 1").digest("pack", &Digest::of(CARRIED)).number("day", day).finish().0;
        if self.cache.memo("carried", &key).map_err(cannot)?.is_none() {
            self.unpack(CARRIED).map_err(cannot)?;
            self.cache.set_memo("carried", &key, &[]).map_err(cannot)?;
        }
        Ok(())
    }
}

/// Whether another machine may have what a stage made.
///
/// # Errors
/// It is a folder that people edit; or it, or something that it is made of, was built incrementally.
fn may_leave(stages: &Stages, id: NodeIndex, known: &Records) -> Result<()> {
    let name = &stages.graph.stage(id).name;
    if stages.folder(id).is_some() {
        return Err(Error::input(format!("{name} cannot be exported: a folder, it stays on this machine")));
    }
    let all = stages.graph.closure(&[id]).into_iter();
    let found = all.filter(|id| known.get(id).is_some_and(|record| !record.may_leave()));
    let found: Vec<&str> = found.map(|id| stages.graph.stage(id).name.as_str()).collect();
    let why = match &found[..] {
        [] => return Ok(()),
        [only] if only == name => "built incrementally".to_owned(),
        all => format!("built incrementally, or made of what was: {}", all.join(", ")),
    };
    Err(Error::input(format!("{name} cannot be exported: {why}, it stays on this machine"))
        .hint(format!("quiz build --fresh {} makes it from nothing", found.join(" "))))
}
