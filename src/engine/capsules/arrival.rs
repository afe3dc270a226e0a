//! A crash out of a file: what of it is looked at before it is believed, and how it becomes a run of a project.
//!
//! The crash is put together beside the runs and gets its name last, so that it is there whole or not at all; its image lies in the cache before.

use super::{About, FILES, FORMAT, HEAD, KERNEL, STAGE, layer, symbols_of};
use crate::boot::crash::{ABOUT, BROUGHT, Crash, FOLDER, Guest, Host, Imported, MEMORY, MOST, memory_of};
use crate::boot::folder::{RunFolder, all, number};
use crate::boot::staging::{Staging, is_brought};
use crate::engine::copying::{copy, full, room};
use crate::engine::machine::kept;
use crate::engine::running::say_where;
use crate::engine::{Engine, crashes};
use crate::error::{Error, Result, cannot};
use crate::event::told::Told;
use crate::event::{Event, waiting};
use crate::host;
use quiz_cache::{Digest, Guard, Kind, Output, Record};
use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io::{self, BufReader, Read};
use std::path::{Path, PathBuf};

/// A memory's file is longer than the memory by a head and by holes for devices.
const BESIDE: u64 = 4 << 30;
/// Bytes of a memory whose machine is not said: 1 TiB, the most that one of quiz's has.
const LONGEST: u64 = (1 << 40) + BESIDE;

type Refused = quiz_cache::Error;

/// A crash that is a run of the project now.
#[derive(Debug, Clone)]
pub struct Arrived {
    /// The run's number.
    pub run: String,
    /// It was imported before, and is that run.
    pub was_there: bool,
    /// What is known of it.
    pub crash: Crash,
}

impl Engine<'_> {
    /// Makes a run of this project of the crash in a file.
    ///
    /// # Errors
    /// It is no such file, or not what it says; it cannot be stored. Nothing of it is left in the project then.
    pub fn import_crash(&self, file: &Path) -> Result<Arrived> {
        let name = file.display();
        let opened = File::open(file).map_err(|e| Error::input(format!("cannot read {name}")).because(e))?;
        if !opened.metadata().is_ok_and(|meta| meta.is_file()) {
            return Err(Error::input(format!("{name} is no file")).hint("`quiz crash export FILE` writes one"));
        }
        say_where(self);
        let stop = || (self.events)(Event::Paused { what: "`quiz gc`".to_owned() });
        let held = self.cache.hold(&stop).map_err(|e| Error::build("the cache cannot be locked").because(e))?;
        let (base, cache) = (self.project.state_dir.clone(), self.cache.root().to_owned());
        let size = opened.metadata().map_or(0, |meta| meta.len());
        let mut arrival = Arrival { base, cache, ..Arrival::default() };
        let taken = self.cache.import_behind(
            Told::new(BufReader::new(opened), "unpacking", size, self.events),
            &mut arrival,
            &waiting(self.events, STAGE),
        );
        let taken = taken.and_then(|_| arrival.whole());
        taken.map_err(|e| {
            let message = format!("{name}: not imported");
            // If the system refuses something, such as room, the file is not at fault.
            if e.io_kind().is_some() {
                Error::build(message)
                    .because(e)
                    .hint("nothing of it was kept: run the command again when this is fixed")
            } else {
                Error::input(message)
                    .because(e)
                    .hint("is the file complete? `quiz crash export FILE`, where the guest crashed, writes another")
            }
        })?;
        let arrived = self.settle(arrival);
        drop(held);
        arrived
    }

    /// Gives the crash its place among the runs.
    fn settle(&self, arrival: Arrival) -> Result<Arrived> {
        let Arrival { base, about: Some((digest, about)), staging, known, .. } = arrival else {
            return Err(Error::build("the imported file describes no crash"));
        };
        if let Some((run, crash)) = known {
            crashes::keep(&self.cache, &absolute(&self.project.dir)?, &absolute(&run)?)?;
            return Ok(Arrived { run: number(&run), was_there: true, crash });
        }
        let (staging, folder) = staging.ok_or_else(|| Error::build("the imported crash has no folder"))?;
        let path = |output: &Output| self.cache.path(output);
        let kernel = path(&about.outputs[KERNEL]);
        let start = about.crash.machine.as_ref().and_then(|guest| guest.kernel_files().next().cloned());
        let link = folder.join(BROUGHT);
        std::os::unix::fs::symlink(&kernel, &link).map_err(|e| cannot("make the link", &link, e))?;
        let run = RunFolder::create(&base, kept(self))?;
        run.close_door();
        let place = absolute(run.path())?;
        let settle = || {
            let imported = Imported {
                digest: digest.to_string(),
                symbols: about.numbered(symbols_of).iter().map(|o| o.digest.to_string()).collect(),
            };
            let again = format!("cd {} && quiz crash again {}", host::quoted(&self.project.dir), run.id());
            let layers = about.numbered(layer).into_iter().map(|layer| path(layer).display().to_string()).collect();
            let kernel = kernel.join(start.unwrap_or_else(|| "vmlinux".to_owned())).display().to_string();
            // Whatever the file says of its machine, a guest of somebody else's gets nothing of this host.
            let machine = about.crash.machine.as_ref().map(Guest::without_host);
            let crash = Crash {
                kernel,
                layers,
                again,
                machine,
                imported: Some(imported),
                flags: Vec::new(),
                variables: None,
                ..plain(&about.crash)
            };
            let text = folder.join(ABOUT);
            host::write_private(&text, &format!("{}\n", serde_json::json!(crash)))
                .map_err(|e| cannot("write", &text, e))?;
            let to = place.join(FOLDER);
            // Before the crash has its name. No collection comes in between, since `import_crash` holds the cache.
            let digests = about.outputs.values().map(|output| output.digest).collect();
            self.cache.keep_for(&to, &absolute(&self.project.dir)?, digests).map_err(unstored)?;
            fs::rename(&folder, &to).map_err(|e| cannot("store", &to, e))?;
            Ok(crash)
        };
        // If it fails, there is no crash, and an empty run would be of no use.
        let crash = settle().inspect_err(|_: &Error| drop(fs::remove_dir_all(run.path())))?;
        drop(staging);
        Ok(Arrived { run: run.id(), was_there: false, crash })
    }
}

/// Without what a terminal would take for a command.
fn plain(crash: &Crash) -> Crash {
    let plain = |text: &String| text.replace(|c: char| c.is_control() && c != '\t', " ");
    Crash {
        title: plain(&crash.title),
        signature: plain(&crash.signature),
        functions: crash.functions.iter().map(plain).collect(),
        lines: crash.lines.iter().map(plain).collect(),
        release: crash.release.as_ref().map(plain),
        cut: crash.cut.as_ref().map(plain),
        host: crash.host.as_ref().map(|host| Host {
            quiz: plain(&host.quiz),
            qemu: plain(&host.qemu),
            accel: plain(&host.accel),
            restored: host.restored,
        }),
        ..crash.clone()
    }
}

fn absolute(path: &Path) -> Result<PathBuf> {
    path.canonicalize().map_err(|e| cannot("find", path, e))
}

fn unstored(error: Refused) -> Error {
    Error::build("the image of the crash cannot be kept").because(error)
}

/// What has been read of the file so far.
#[derive(Default)]
struct Arrival {
    /// The project's folder with the runs.
    base: PathBuf,
    /// The folder of the cache, where the image goes.
    cache: PathBuf,
    head: Option<Digest>,
    about: Option<(Digest, About)>,
    /// Where the crash is put together, and its folder there.
    staging: Option<(Staging, PathBuf)>,
    /// A run that has this crash.
    known: Option<(PathBuf, Crash)>,
    /// Bytes that a file may take there.
    room: u64,
    files: BTreeSet<String>,
    has_image: bool,
}

fn no(message: impl Into<String>) -> Refused {
    Refused::refused(message, None)
}

impl Guard for Arrival {
    fn front(&mut self, name: &str, size: u64, content: &mut dyn Read) -> std::result::Result<(), Refused> {
        let about = format!("{FOLDER}/{ABOUT}");
        match (name, &self.head, &self.about) {
            (HEAD, None, _) => self.head = Some(head(content)?),
            (_, None, _) => return Err(no("this is no file of `quiz crash export`")),
            (name, Some(digest), None) if name == about => {
                let digest = *digest;
                let about = read(digest, size, content)?;
                self.begin(digest, &about)?;
                self.about = Some((digest, about));
            }
            (name, Some(_), Some((_, about))) => {
                let file = name.strip_prefix(FOLDER).and_then(|name| name.strip_prefix('/'));
                let wanted = file.and_then(|file| Some((file, about.files.get(file)?)));
                let Some((file, wanted)) = wanted else {
                    return Err(no(format!("a crash cannot contain a file `{}`", name.escape_debug())));
                };
                if size != wanted.size || !self.files.insert(file.to_owned()) {
                    return Err(no(format!("{name} is there twice, or has another size than {FOLDER}/{ABOUT} says")));
                }
                let to = self.staging.as_ref().map(|(_, folder)| folder.join(file));
                if copy(content, to.as_deref(), self.room)? != (wanted.digest, size) {
                    return Err(no(format!("{name} is cut off or damaged")));
                }
            }
            (name, ..) => return Err(no(format!("it has `{}` in the place of {about}", name.escape_debug()))),
        }
        Ok(())
    }

    fn result(&mut self, record: &Record) -> std::result::Result<(), Refused> {
        let Some((_, about)) = &self.about else {
            return Err(no("this is a pack of results: `quiz cache import` takes it in"));
        };
        // Under any other key it could be taken for the result of a stage of this machine's.
        if *record != about.record() || std::mem::replace(&mut self.has_image, true) {
            return Err(no(format!(
                "it brings a result {} that is not the crash's image",
                record.stage.escape_debug()
            )));
        }
        Ok(())
    }
}

impl Arrival {
    /// Called when `crash.json` has come: finds the run that has this crash already, or else a place with room for it.
    fn begin(&mut self, digest: Digest, about: &About) -> std::result::Result<(), Refused> {
        let here = |e: Error| {
            let source = std::error::Error::source(&e).map(|source| io::Error::other(source.to_string()));
            Refused::refused(e.to_string(), Some(source.unwrap_or_else(|| io::Error::other("see above"))))
        };
        let hex = digest.to_string();
        let is_same = |run: PathBuf| {
            let crash = Crash::read(&run)?;
            // A crash that `quiz crash again` has led to here names the same digest, and is another one.
            let is_whole =
                is_brought(&run.join(FOLDER)) && memory_of(&run).is_some() == about.files.contains_key(MEMORY);
            let is_whole = is_whole && Path::new(&crash.kernel).starts_with(&self.cache);
            (is_whole && crash.imported.as_ref()?.digest == hex).then_some((run, crash))
        };
        self.known = all(&self.base).map_err(here)?.into_iter().find_map(is_same);
        if self.known.is_none() {
            let staging = Staging::new(&self.base).map_err(here)?;
            let folder = staging.folder(FOLDER).map_err(here)?;
            self.room = room(&folder)?;
            // Holes take no room. How much of the memory is holes the file only claims, so `copy` keeps to the room, too.
            let size = about.files.get(MEMORY).map_or(0, |memory| memory.size);
            let used = about.crash.used.unwrap_or(size).min(size);
            if used > self.room {
                return Err(full(&folder, used, self.room));
            }
            let (room, trees) = (room(&self.cache)?, self.cache.join("trees"));
            let image = about.record().size();
            if image > room {
                return Err(full(&trees, image, room));
            }
            self.staging = Some((staging, folder));
        }
        Ok(())
    }

    /// Checks that nothing is missing.
    fn whole(&self) -> std::result::Result<(), Refused> {
        let Some((_, about)) = &self.about else {
            return Err(no("this is a pack of results: `quiz cache import` takes it in"));
        };
        match about.files.keys().find(|file| !self.files.contains(*file)) {
            Some(file) => Err(no(format!("it lacks {FOLDER}/{file}, which its {FOLDER}/{ABOUT} names"))),
            None if !self.has_image => Err(no("it lacks the image that the guest was booted of")),
            None => Ok(()),
        }
    }
}

/// Reads the first file: the format, and the digest of `crash.json`.
fn head(content: &mut dyn Read) -> std::result::Result<Digest, Refused> {
    let mut text = String::new();
    content.take(128).read_to_string(&mut text).map_err(|e| no(format!("it is damaged: {e}")))?;
    let (format, digest) =
        text.trim_end().split_once(' ').ok_or_else(|| no("this is no file of `quiz crash export`"))?;
    if format != FORMAT {
        let format = format.escape_debug();
        return Err(no(format!(
            "it has the format {format}, and this quiz reads {FORMAT}: use the release of quiz that wrote it"
        )));
    }
    digest.parse().map_err(|e| no(format!("{HEAD}: {e}")))
}

/// Reads `crash.json`, what is said of the crash, and refuses what leads out of the crash's folder or is more than a crash can have.
fn read(digest: Digest, size: u64, content: &mut dyn Read) -> std::result::Result<About, Refused> {
    let name = format!("{FOLDER}/{ABOUT}");
    // Room for the digests beside the crash itself.
    if size > MOST {
        return Err(no(format!("{name} has {size} bytes, more than the {MOST} that are allowed")));
    }
    let mut text = Vec::new();
    content.take(MOST).read_to_end(&mut text).map_err(|e| no(format!("{name} is cut off: {e}")))?;
    if Digest::of(&text) != digest {
        return Err(no(format!("{name} is cut off or damaged")));
    }
    let about: About = serde_json::from_slice(&text).map_err(|e| no(format!("{name}: {e}")))?;
    if let Some(why) = about.crash.machine.as_ref().and_then(|guest| guest.check().err()) {
        return Err(no(format!("{name}: the machine: {why}")));
    }
    let (layers, symbols) = (about.numbered(layer), about.numbered(symbols_of));
    let is_image = about.outputs.get(KERNEL).is_some_and(|kernel| kernel.kind == Kind::Tree)
        && !layers.is_empty()
        && layers.iter().all(|layer| layer.kind == Kind::File)
        && symbols.iter().all(|symbols| symbols.kind == Kind::Tree)
        && about.outputs.len() == 1 + layers.len() + symbols.len();
    if !is_image {
        return Err(no(format!("{name} names no image")));
    }
    let memory = about.crash.machine.as_ref().map_or(LONGEST, |guest| (u64::from(guest.memory) << 20) + BESIDE);
    let odd = about.files.iter().find(|(file, output)| {
        let most = if file.as_str() == MEMORY { memory } else { 256 << 20 };
        !FILES.contains(&file.as_str()) || output.size > most
    });
    match odd {
        Some((file, output)) => Err(no(format!("{name}: a crash has no file {file:?} of {} bytes", output.size))),
        None => Ok(about),
    }
}

/// For the fuzz target: what is said of a crash, by somebody whose digest is right.
#[cfg(any(test, feature = "fuzz"))]
pub(crate) fn fuzz(bytes: &[u8]) {
    let _ = head(&mut &bytes[..]);
    if let Ok(about) = read(Digest::of(bytes), bytes.len() as u64, &mut &bytes[..]) {
        let crash = plain(&about.crash);
        assert!(crash.lines.iter().chain([&crash.title]).all(|line| !line.contains('\u{1b}')));
        let _ = (about.record(), about.crash.machine.as_ref().map(Guest::without_host));
    }
}
