//! Snapshots of a project's own: machines that were saved when a program had run in them, under a name, until they are removed.
//!
//! They lie in the cache, where nothing that comes along with a project can be. Such a machine is as it was, whatever the project has become: its
//! kernel and its layers stay as long as it does. Runs nothing.

use super::{Engine, shares};
use crate::boot::Options;
use crate::error::{Error, Result};
use crate::event::Event;
use crate::machine::{Accel, Arch, Disk, DiskFormat, Level, Machine, Net, Start};
use crate::snapshot;
use quiz_cache::{Cache, Digest, Manifest, Named, NamedSlot};
use serde::{Deserialize, Serialize};
use std::ffi::OsString;
use std::path::{Path, PathBuf};

/// A machine that was saved.
#[derive(Debug, Clone)]
pub struct OwnSnapshot {
    /// Where it lies, and under which name.
    pub named: Named,
    /// What it is.
    pub saved: SavedMachine,
}

/// What is known of one: the machine, and how it came to be.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SavedMachine {
    arch: Arch,
    accel: Accel,
    /// Memory in MiB.
    pub memory: u32,
    /// Processors.
    pub cpus: u32,
    nodes: u32,
    kernel: PathBuf,
    initrd: Option<PathBuf>,
    hz: Option<u32>,
    layers: Vec<PathBuf>,
    append: Vec<String>,
    disks: Vec<Disk>,
    net: Option<Net>,
    channels: Vec<String>,
    pvpanic: bool,
    rng: bool,
    /// All that has to be the same where it goes on.
    manifest: Manifest,
    /// The program that ran, and its arguments; empty for a shell.
    pub program: Vec<String>,
    /// The profiles that were on.
    pub profiles: Vec<String>,
    /// The settings that were given as flags, as words of a command line.
    pub flags: Vec<String>,
    /// Those that variables gave and that say what is built, as `NAME=value`. Older records do not say.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub variables: Option<Vec<String>>,
    /// The programs of the guest that start its program on a terminal.
    pub wraps: Vec<String>,
    /// The line that makes it again, in its own place.
    pub again: String,
}

/// Whether that can be the name of one: small and large letters, digits, dots, dashes and underscores, the first a letter or digit.
///
/// # Errors
/// It cannot be a name.
pub fn check(name: &str) -> Result<()> {
    let fits = |c: char| c.is_ascii_alphanumeric() || ".-_".contains(c);
    if name.starts_with(|c: char| c.is_ascii_alphanumeric()) && name.len() <= 64 && name.chars().all(fits) {
        return Ok(());
    }
    Err(Error::input(format!("{name:?} is no name for a snapshot"))
        .hint("a name has at most 64 letters, digits, dots, dashes and underscores, and begins with a letter or digit"))
}

/// All snapshots of the project, sorted by name.
///
/// # Errors
/// The cache cannot be read.
pub fn all(engine: &Engine<'_>) -> Result<Vec<OwnSnapshot>> {
    let found = of(&engine.cache, &engine.project.dir)?;
    let readable = |named| match read(named) {
        Ok(own) => Some(own),
        Err(error) => {
            let message = std::iter::once(error.to_string()).chain(error.hints().iter().map(ToString::to_string));
            (engine.events)(Event::Warning { message: message.collect::<Vec<_>>().join("; ") });
            None
        }
    };
    Ok(found.into_iter().filter_map(readable).collect())
}

/// As [`all`], of the project in `dir`, with those that another release of quiz has made.
///
/// # Errors
/// The cache cannot be read.
pub fn of(cache: &Cache, dir: &Path) -> Result<Vec<Named>> {
    let (all, own) = (cache.all_named().map_err(unreadable)?, owner(dir));
    Ok(all.into_iter().filter(|named| named.owner == own).collect())
}

/// Those whose project's folder is not there, whoever's it was.
///
/// # Errors
/// The cache cannot be read.
pub fn deserted(cache: &Cache) -> Result<Vec<Named>> {
    let all = cache.all_named().map_err(unreadable)?;
    Ok(all.into_iter().filter(|named| !named.owner.exists()).collect())
}

/// The project's snapshot of that name.
///
/// # Errors
/// There is no such snapshot, or it cannot be read.
pub fn find(engine: &Engine<'_>, name: &str) -> Result<OwnSnapshot> {
    check(name)?;
    match engine.cache.named(&owner(&engine.project.dir), name).map_err(unreadable)? {
        Some(named) => read(named),
        None => Err(missing(engine, name)),
    }
}

/// Whether the project has a snapshot of that name.
///
/// # Errors
/// The cache cannot be read.
pub fn exists(engine: &Engine<'_>, name: &str) -> Result<bool> {
    engine.cache.named(&owner(&engine.project.dir), name).map(|named| named.is_some()).map_err(unreadable)
}

/// Removes the snapshot of that name. Machines that were started from it go on.
///
/// # Errors
/// There is no such snapshot, or it cannot be removed.
pub fn remove(engine: &Engine<'_>, name: &str) -> Result<()> {
    check(name)?;
    let removed = engine.cache.remove_named(&owner(&engine.project.dir), name);
    match removed.map_err(|e| Error::build(format!("the snapshot {name} cannot be removed")).because(e))? {
        true => Ok(()),
        false => Err(missing(engine, name)),
    }
}

fn missing(engine: &Engine<'_>, name: &str) -> Error {
    let names: Vec<String> = all(engine).unwrap_or_default().into_iter().map(|found| found.named.name).collect();
    let error = Error::input(format!("this project has no snapshot {name}"));
    match names.is_empty() {
        true => error.hint(format!("quiz snap {name} -- PROGRAM makes one")),
        false => error.hint(format!("it has {}", names.join(", "))),
    }
}

/// The project's folder without links in its path, as which the cache knows it.
fn owner(dir: &Path) -> PathBuf {
    dir.canonicalize().unwrap_or_else(|_| dir.to_owned())
}

fn unreadable(error: quiz_cache::Error) -> Error {
    Error::build("the cache cannot be read").because(error)
}

fn read(named: Named) -> Result<OwnSnapshot> {
    let saved = serde_json::from_slice(&named.about).map_err(|e| {
        Error::input(format!("the snapshot {} was made by another release of quiz", named.name))
            .because(e)
            .hint(format!("quiz snap {} --rm removes it", named.name))
    })?;
    Ok(OwnSnapshot { named, saved })
}

/// Gives the machine that was saved in `slot` its name. It is described as it was before it was started: with its disks, and without a state.
///
/// # Errors
/// It cannot be stored, or the name is taken, unless that is to be replaced.
pub fn store(
    engine: &Engine<'_>,
    slot: NamedSlot,
    name: &str,
    replace: bool,
    machine: &Machine,
    (program, options): (&[OsString], &Options),
) -> Result<OwnSnapshot> {
    let machine = Machine { start: Start::Cold, ..machine.clone() };
    let (_, manifest) = snapshot::key(&engine.cache, &machine, Level::Full)?;
    let saved = SavedMachine {
        manifest,
        program: program.iter().map(|word| word.to_string_lossy().into_owned()).collect(),
        profiles: options.profiles.clone(),
        flags: options.flags.clone(),
        variables: options.variables.clone(),
        wraps: wraps(engine).cloned().collect(),
        again: options.again.clone(),
        arch: machine.arch,
        accel: machine.accel,
        memory: machine.memory,
        cpus: machine.cpus,
        nodes: machine.nodes,
        kernel: machine.kernel,
        initrd: machine.initrd,
        hz: machine.hz,
        layers: machine.layers,
        append: machine.append,
        disks: machine.disks,
        net: machine.net,
        channels: machine.channels,
        pvpanic: machine.pvpanic,
        rng: machine.rng,
    };
    let about = serde_json::to_vec(&saved)
        .map_err(|e| Error::build("a path of the machine's kernel, layers or disks is not UTF-8").because(e))?;
    let parts = saved.layers.iter().chain([&saved.kernel]).map(PathBuf::as_path).chain([machine.qemu.path()]);
    let needs = parts.filter_map(digest).collect();
    slot.commit(&owner(&engine.project.dir), name, about, needs, replace)
        .map_err(|e| Error::boot(format!("the snapshot {name} cannot be stored")).because(e))?;
    find(engine, name)
}

/// The programs of the guest that start its program on a terminal: what a later profile brings stands around what an earlier
/// one brought.
pub fn wraps<'a>(engine: &'a Engine<'_>) -> impl Iterator<Item = &'a String> {
    engine.project.profiles.iter().rev().filter_map(|profile| profile.wrap.as_ref())
}

/// The object or tree of the cache that the path leads to, or into.
pub(super) fn digest(path: &Path) -> Option<Digest> {
    path.iter().find_map(|part| part.to_str()?.parse().ok())
}

/// Whether a machine that was saved under one accelerator goes on where another is taken, unless that alone is demanded: emulation is there where
/// KVM is, too.
fn goes_on(saved: Accel, taken: Accel, demanded: Option<Accel>) -> bool {
    saved == taken || (saved == Accel::Tcg && demanded.is_none())
}

impl OwnSnapshot {
    /// What to type where it cannot be used.
    pub fn again(&self) -> String {
        format!("to make it again: {}", self.saved.again)
    }

    /// The machine as it was saved, without what belongs to one run.
    ///
    /// # Errors
    /// It cannot go on here, or not any more.
    pub fn machine(&self, engine: &Engine<'_>) -> Result<Machine> {
        let name = &self.named.name;
        let cannot = |why: String| Error::boot(format!("the snapshot {name} cannot go on: {why}")).hint(self.again());
        if let Some(file) = &self.named.damaged {
            return Err(cannot(format!("{} is damaged", self.named.path.join(file).display())));
        }
        let saved = self.saved.clone();
        if let Some(gone) = saved.layers.iter().chain([&saved.kernel]).find(|path| !path.exists()) {
            return Err(cannot(format!("{} is gone", gone.display())));
        }
        let qemu = super::qemu::made(engine)?;
        let choice = super::qemu::accelerator(engine, &qemu)?;
        let demanded = super::qemu::demanded(engine)?;
        if !goes_on(saved.accel, choice.accel, demanded) {
            let by = demanded.map(|_| ", as machine.accel says".to_owned());
            let why = choice.why_not_kvm.map(|why| format!(": {why}")).or(by).unwrap_or_default();
            let (was, is) = (saved.accel.name(), choice.accel.name());
            return Err(cannot(format!("it was saved under {was}, and machines run under {is} here{why}")));
        }
        let nowhere = Path::new("");
        let mut machine = Machine {
            arch: saved.arch,
            accel: saved.accel,
            start: Start::Cold,
            qemu,
            memory: saved.memory,
            cpus: saved.cpus,
            nodes: saved.nodes,
            kernel: saved.kernel,
            initrd: saved.initrd,
            hz: saved.hz,
            layers: saved.layers,
            append: saved.append,
            disks: saved.disks,
            net: saved.net,
            channels: saved.channels,
            shares: shares::at([nowhere; 3], &[], true),
            pvpanic: saved.pvpanic,
            rng: saved.rng,
            extra: Vec::new(),
        };
        let (_, manifest) = snapshot::key(&engine.cache, &machine, Level::Full)?;
        let changes = manifest.diff(&saved.manifest);
        if !changes.is_empty() {
            let changed: Vec<&str> = changes.iter().map(|change| change.name.as_str()).collect();
            return Err(cannot(format!("these have changed since it was saved: {}", changed.join(", "))));
        }
        machine.start = Start::GoOn(self.named.path.clone());
        Ok(machine)
    }

    /// Its disks in a run's folder, over those that were saved.
    pub fn disks(&self, run: &Path) -> Vec<Disk> {
        let over = |disk: &Disk| Disk {
            over: Some((self.named.path.join(disk.path.file_name().unwrap_or_default()), disk.format)),
            path: run.join("disks").join(&disk.serial).with_extension("qcow2"),
            format: DiskFormat::Qcow2,
            ..disk.clone()
        };
        self.saved.disks.iter().map(over).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_a_word_that_is_no_flag_and_no_path() {
        for good in ["a", "pool-10G", "v2.2_x"] {
            check(good).unwrap();
        }
        for wrong in ["", "-a", ".", "..", ".a", "a/b", "a b", "ä", &"x".repeat(65)] {
            check(wrong).unwrap_err();
        }
    }

    #[test]
    fn what_was_saved_under_emulation_goes_on_where_kvm_is() {
        use Accel::{Kvm, Tcg};
        assert!(goes_on(Tcg, Tcg, None) && goes_on(Kvm, Kvm, Some(Kvm)) && goes_on(Tcg, Kvm, None));
        assert!(!goes_on(Tcg, Kvm, Some(Kvm)) && !goes_on(Kvm, Tcg, None) && !goes_on(Kvm, Tcg, Some(Tcg)));
    }

    #[test]
    fn what_lies_in_the_cache_is_known_by_its_digest() {
        let of = Digest::of(b"x");
        assert_eq!(digest(Path::new(&format!("/c/trees/{}/{of}/vmlinux", &of.to_string()[..2]))), Some(of));
        assert_eq!(digest(Path::new("/usr/bin/qemu-system-x86_64")), None);
    }
}
