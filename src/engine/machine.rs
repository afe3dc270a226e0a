//! The machine that a project asks for: its image, built, with the devices of the profiles that are on.
//!
//! Runs nothing in it.

use super::{BuiltOf, Engine, IMAGE, Stages, memory, ssh};
use crate::boot::{Allowed, Options, Retention, complaint};
use crate::build::{self, Depth, Needed, Records};
use crate::error::{Error, Result};
use crate::load::{Device, DiskFormat, Origin, Profile, Project, state_dirs};
use crate::machine::{Accel, Disk, Machine, Net, Qemu, Start, disk, image, qemu};
use quiz_cache::{Cache, Digest, Record};
use std::collections::BTreeSet;
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Disks of a machine, at most: its PCI bus has room for so many beside its other devices.
const MOST_DISKS: usize = 64;

/// MiB of a NUMA node. Linux leaves out smaller ones, and what is on them (NODE_MIN_SIZE in arch/x86/include/asm/numa.h is 4).
const LEAST_NODE: u32 = 64;

/// A virtio-serial bus has 31 ports (qemu: hw/char/virtio-serial-bus.c), and the agent's own are among them.
const MOST_CHANNELS: usize = 24;

/// A machine that can be booted.
pub struct Prepared {
    /// Without what belongs to one run: shares and disks.
    pub machine: Machine,
    /// Why it has no KVM, when there is a reason.
    pub why_not_kvm: Option<String>,
    /// What its image was made of.
    pub built_of: BuiltOf,
}

/// The tools of the host that it takes to make the image of these stages, and to run it.
///
/// # Errors
/// A setting is wrong.
pub fn needed(engine: &Engine<'_>, stages: &Stages) -> Result<Vec<Needed>> {
    let project = &engine.project;
    let own = super::qemu::tools(engine)?;
    let tools: Vec<_> = own.iter().chain(ssh::tools(project)).copied().chain(disk_tool(project)).collect();
    Ok(build::with_tools(engine.needed(stages), &tools))
}

/// Builds the image of these stages and makes a machine of it. `terminal`: somebody sits there and looks.
///
/// # Errors
/// What was asked for is wrong, a tool is missing, or a stage failed.
pub fn build(engine: &Engine<'_>, stages: &Stages, terminal: bool) -> Result<Prepared> {
    let needed = needed(engine, stages)?;
    build::require(&needed)?;
    size(engine)?;
    allowed(engine)?;
    memory::is_packed(engine)?;
    let id = stages.graph.find(IMAGE)?;
    let demanded = super::qemu::demanded(engine)?;
    let qemu = super::qemu::made(engine)?;
    if demanded == Some(Accel::Kvm) {
        super::qemu::accelerator(engine, &qemu)?;
    }
    // qemu opens what the image is made of, so that has to lie there, too.
    let (known, built_of) = engine.make(stages, &needed, &BTreeSet::new(), &|ctx| {
        let known = build::build(ctx, &[id], Depth::OutputsAndInputs)?;
        let built_of = stages.built_of(&known, &ctx.pins);
        Ok((known, built_of))
    })?;
    Ok(Prepared { built_of, ..of(engine, qemu, &known, &known[&id], terminal)? })
}

/// What of the guest its profiles have a say in.
struct Sized {
    /// In MiB.
    memory: u32,
    cpus: u32,
    nodes: u32,
}

/// The error with the place of the setting, if a file has it.
fn at(engine: &Engine<'_>, setting: &str, error: Error) -> Error {
    error.at(engine.project.settings.place(setting, ""))
}

/// Memory, processors and NUMA nodes as they were asked for. A default grows with what the profiles need; what somebody asked for is refused
/// when it is too little.
fn size(engine: &Engine<'_>) -> Result<Sized> {
    let (settings, profiles) = (&engine.project.settings, &engine.project.profiles);
    let enough = |name: &str, asked: u32, least: fn(&Profile) -> u32, unit: &str, flag: &str| {
        let most = profiles.iter().max_by_key(|profile| least(profile));
        let Some(most) = most.filter(|profile| least(profile) > asked) else { return Ok(asked) };
        if settings.get(name).is_some_and(|setting| setting.origin == Origin::Default) {
            return Ok(least(most));
        }
        let least = least(most);
        Err(Error::input(format!("{name} = {asked}{unit}: the profile {} needs {least}{unit}", most.name))
            .at(settings.place(name, ""))
            .hint(format!("{flag} {least}{unit}, or {name} in quiz.toml")))
    };
    let memory = memory(settings.text("machine.memory")).map_err(|e| at(engine, "machine.memory", e))?;
    let memory = enough("machine.memory", memory, |profile| profile.memory, "M", "-m")?;
    let cpus = count("machine.cpus", settings.number("machine.cpus")).map_err(|e| at(engine, "machine.cpus", e))?;
    let cpus = count("cpus", enough("machine.cpus", cpus, |profile| profile.cpus, "", "--cpus")?.into())?;
    let nodes = profiles.iter().map(|profile| profile.numa).max().unwrap_or(0).max(1);
    if nodes > memory / LEAST_NODE {
        return Err(Error::input(format!("a profile asks for {nodes} NUMA nodes: {memory}M are too little for that"))
            .hint(format!("each node needs at least {LEAST_NODE}M: give the machine more memory with -m")));
    }
    Ok(Sized { memory, cpus, nodes })
}

/// The machine of an image that is built.
///
/// # Errors
/// What was asked for is wrong, or the image has no description that can be read.
pub fn of(engine: &Engine<'_>, qemu: Qemu, known: &Records, image: &Record, terminal: bool) -> Result<Prepared> {
    let (settings, profiles) = (&engine.project.settings, &engine.project.profiles);
    let Sized { memory, cpus, nodes } = size(engine)?;
    let [description] = &image.outputs.values().collect::<Vec<_>>()[..] else {
        return Err(Error::input(format!("the recipe {IMAGE} must have one output, the image description")));
    };
    let image = image::read(&engine.cache.path(description))?;
    if let Some(most) = image.cpus.filter(|most| *most < cpus) {
        return Err(Error::input(format!("machine.cpus = {cpus}: this kernel takes {most} at most (CONFIG_NR_CPUS)"))
            .at(settings.place("machine.cpus", ""))
            .hint(format!("--config CONFIG_NR_CPUS={cpus} builds one that takes more")));
    }
    let choice = super::qemu::accelerator(engine, &qemu)?;
    let object = |digest: &Digest| object(&engine.cache, known, digest);
    // One `--append` may hold several words, as people paste them. The user's come last, and win.
    let words = settings.list("machine.append").iter().flat_map(|words| words.split_whitespace().map(str::to_owned));
    let batch = |profile: &Profile| if terminal { Vec::new() } else { profile.append_batch.clone() };
    let by_profiles = profiles.iter().flat_map(|profile| [profile.append.clone(), batch(profile)].concat());
    let by_profile = profiles.iter().flat_map(|profile| &profile.qemu_args);
    let kernel = object(&image.kernel)?;
    // No link is followed: one in the kernel's tree could lead to any file of the user's.
    let is_file = |name: &&String| kernel.join(name).symlink_metadata().is_ok_and(|meta| meta.is_file());
    if let Some(name) = image.initrd.iter().chain([&image.start]).find(|name| !is_file(name)) {
        return Err(Error::boot(format!("the kernel {} has no file {name}", kernel.display())));
    }
    let machine = Machine {
        arch: image.arch,
        accel: choice.accel,
        start: Start::Cold,
        qemu,
        memory,
        cpus,
        nodes,
        initrd: image.initrd.map(|name| kernel.join(name)),
        kernel: kernel.join(&image.start),
        hz: image.hz,
        layers: image.layers.iter().map(object).collect::<Result<_>>()?,
        append: image.append.into_iter().chain(by_profiles).chain(ssh::words(&engine.project)?).chain(words).collect(),
        disks: Vec::new(),
        net: net(profiles)?,
        channels: channels(profiles)?,
        shares: Vec::new(),
        pvpanic: true,
        rng: true,
        extra: by_profile.chain(settings.list("machine.qemu-args")).map(OsString::from).collect(),
    };
    qemu::fits(&machine)?;
    Ok(Prepared { machine, why_not_kvm: choice.why_not_kvm, built_of: BuiltOf::default() })
}

/// What its kernel may complain about, by the file that a setting names.
fn allowed(engine: &Engine<'_>) -> Result<Vec<Allowed>> {
    let file = engine.project.named_file("machine.allow-file")?;
    file.map_or(Ok(Vec::new()), |(path, text)| complaint::allowed(&path, &text))
}

/// How many runs stay when a new one is made, by the settings.
pub fn kept(engine: &Engine<'_>) -> Retention {
    let number = |name| usize::try_from(engine.project.settings.number(name)).unwrap_or(usize::MAX);
    Retention {
        plain: number("runs.keep"),
        with_results: number("runs.keep-results"),
        memories: number("runs.keep-crashes"),
    }
}

/// How a run of it is watched, by the settings.
///
/// # Errors
/// The list of what its kernel may complain about is wrong.
pub fn options(engine: &Engine<'_>, timeout: Option<u64>, why_not_kvm: Option<String>) -> Result<Options> {
    let settings = &engine.project.settings;
    Ok(Options {
        allowed: allowed(engine)?,
        profiles: engine.project.profiles.iter().map(|profile| profile.name.clone()).collect(),
        timeout: timeout.map(Duration::from_secs),
        ready_within: Duration::from_secs(ready_within(engine)?),
        memories: kept(engine).memories,
        verdicts: Some(engine.kvm_verdicts()),
        flags: settings.flags().collect(),
        variables: Some(settings.shaping_variables().cloned().collect()),
        why_not_kvm,
        only_kvm: super::qemu::demanded(engine)? == Some(Accel::Kvm),
        ..Options::default()
    })
}

/// The disks of the machine that runs in the folder `run`: those that are gone afterwards lie there, the others in `.quiz/disks`.
///
/// # Errors
/// There are more than a machine can have.
pub fn disks(project: &Project, run: &Path) -> Result<Vec<Disk>> {
    let mut disks = Vec::new();
    for profile in &project.profiles {
        for device in &profile.devices {
            let Device::Disk { bus, name, count, size, persistent, format } = device else { continue };
            let count = usize::try_from(*count).unwrap_or(usize::MAX);
            if count.saturating_add(disks.len()) > MOST_DISKS {
                return Err(Error::input(format!("the profile {} asks for {count} disks", profile.name))
                    .hint(format!("a machine has at most {MOST_DISKS} disks")));
            }
            let (bus, format) = (*bus, *format);
            // A disk consists of whole sectors of 512 bytes; qemu would leave out the rest.
            let Some(size) = size.checked_next_multiple_of(512) else {
                let what = format!("the profile {} asks for a disk of {size} bytes, which is too large", profile.name);
                return Err(Error::input(what));
            };
            disks.extend((0..count).map(|n| {
                let serial = format!("{name}{n}");
                let file = format!("disks/{serial}.{}", format.name());
                let path = if *persistent { kept_disk(project, &file) } else { run.join(file) };
                Disk { serial, bus, path, format, size, persistent: *persistent, over: None }
            }));
        }
    }
    Ok(disks)
}

/// Where a persistent disk lies. One that exists is used even if it lies elsewhere, since the project could not be written when it was made.
fn kept_disk(project: &Project, file: &str) -> PathBuf {
    let mut there = state_dirs(&project.dir).into_iter().map(|dir| dir.join(file)).filter(|path| path.exists());
    there.next().unwrap_or_else(|| project.state_dir.join(file))
}

/// The tool of the host that makes disks in the format qcow2, if there is such a disk.
fn disk_tool(project: &Project) -> Option<(&'static str, &'static str)> {
    let mut devices = project.profiles.iter().flat_map(|profile| &profile.devices);
    let is_qcow2 = |device: &Device| matches!(device, Device::Disk { format: DiskFormat::Qcow2, .. });
    devices.any(is_qcow2).then_some(disk::QEMU_IMG)
}

fn net(profiles: &[Profile]) -> Result<Option<Net>> {
    let mut net = None;
    for profile in profiles {
        for device in &profile.devices {
            let Device::Net { forward } = device else { continue };
            let net = net.get_or_insert(Net { forward: Vec::new() });
            for pair in forward.split('+').filter(|pair| !pair.is_empty()) {
                net.forward.push(ports(pair).ok_or_else(|| {
                    Error::input(format!("the profile {}: {pair:?} is not a pair of ports", profile.name))
                        .hint("write it as HOST:GUEST, several with + between: forward=2222:22+8080:80")
                })?);
            }
        }
    }
    Ok(net)
}

/// "2222:22" as a port of the host and one of the guest.
fn ports(pair: &str) -> Option<(u16, u16)> {
    let (host, guest) = pair.split_once(':')?;
    Some((host.parse().ok()?, guest.parse().ok()?)).filter(|(host, guest)| *host > 0 && *guest > 0)
}

fn channels(profiles: &[Profile]) -> Result<Vec<String>> {
    let mut channels = Vec::new();
    for profile in profiles {
        for device in &profile.devices {
            let Device::Channel { name, count } = device else { continue };
            let named = (0..*count).map(|n| format!("{name}.{n}"));
            channels.extend(named.take(MOST_CHANNELS + 1));
            if channels.len() > MOST_CHANNELS {
                return Err(Error::input(format!("the profile {} asks for {count} channels", profile.name))
                    .hint(format!("a machine has at most {MOST_CHANNELS} channels")));
            }
        }
    }
    Ok(channels)
}

/// Where the object of that digest lies: one of the outputs that were built.
fn object(cache: &Cache, known: &Records, digest: &Digest) -> Result<PathBuf> {
    let outputs = known.values().flat_map(|record| record.outputs.values());
    let found = outputs.into_iter().find(|output| output.digest == *digest);
    found.map(|output| cache.path(output)).ok_or_else(|| {
        Error::build(format!("the image names {digest}, which none of its stages made"))
            .hint("the script of the recipe `image` must write the digests it is given")
    })
}

/// "512M", "4G" or a number of MiB, as MiB.
fn memory(text: &str) -> Result<u32> {
    let (number, factor) = match text.char_indices().last() {
        Some((at, 'M' | 'm')) => (&text[..at], 1),
        Some((at, 'G' | 'g')) => (&text[..at], 1024),
        _ => (text, 1),
    };
    match number.parse::<u32>().ok().and_then(|number| number.checked_mul(factor)) {
        Some(mib) if mib >= 64 => Ok(mib),
        _ => Err(Error::input(format!("machine.memory = {text:?}: a size of 64M or more is wanted"))
            .hint("write it as 512M or 4G")),
    }
}

/// Seconds until the guest must be ready.
fn ready_within(engine: &Engine<'_>) -> Result<u64> {
    const SETTING: &str = "machine.boot-timeout";
    match engine.project.settings.number(SETTING) {
        0 => Err(at(engine, SETTING, Error::input(format!("{SETTING} = 0: a number of seconds from 1 on is wanted")))),
        seconds => Ok(seconds),
    }
}

fn count(name: &str, number: u64) -> Result<u32> {
    u32::try_from(number)
        .ok()
        .filter(|number| (1..=255).contains(number))
        .ok_or_else(|| Error::input(format!("{name} = {number}: a number from 1 to 255 is wanted")))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::load::PROJECT_FOLDER;

    #[test]
    fn memory_has_units_and_a_least_size() {
        assert_eq!([memory("512M").unwrap(), memory("4G").unwrap(), memory("256").unwrap()], [512, 4096, 256]);
        for wrong in ["", "G", "0", "63M", "-1G", "1T", "99999999G"] {
            assert!(memory(wrong).is_err(), "{wrong}");
        }
    }

    fn devices(table: &str) -> Project {
        let dir = tempfile::tempdir().unwrap();
        let own = dir.path().join(PROJECT_FOLDER).join("profiles/mine");
        std::fs::create_dir_all(&own).unwrap();
        std::fs::write(dir.path().join("quiz.toml"), "profiles = [\"mine\"]\n").unwrap();
        std::fs::write(own.join("profile.toml"), format!("about = \"x\"\n[[devices]]\n{table}")).unwrap();
        Project::load(dir.path(), &[]).unwrap()
    }

    #[test]
    fn more_devices_than_any_machine_has_are_refused_before_they_are_counted() {
        let all = i64::MAX;
        let project = devices(&format!("type = \"channel\"\nname = \"c\"\ncount = {all}\n"));
        let error = channels(&project.profiles).unwrap_err();
        assert_eq!(error.to_string(), format!("the profile mine asks for {all} channels"));
        let project = devices("type = \"channel\"\nname = \"c\"\ncount = 2\n");
        assert_eq!(channels(&project.profiles).unwrap(), ["c.0", "c.1"]);
        let disk = |count: i64, size: &str| {
            let table = format!("type = \"disk\"\nbus = \"virtio\"\nname = \"d\"\ncount = {count}\nsize = {size}\n");
            let project = devices(&format!("{table}persistent = false\nformat = \"raw\"\n"));
            disks(&project, Path::new("/run")).map(|disks| disks.iter().map(|disk| disk.size).sum::<u64>())
        };
        assert!(disk(all, "512").unwrap_err().to_string().contains("disks"));
        let error = disk(1, &format!("\"{}\"", u64::MAX)).unwrap_err().to_string();
        assert_eq!(error, format!("the profile mine asks for a disk of {} bytes, which is too large", u64::MAX));
        assert_eq!(disk(2, "513").unwrap(), 2048);
    }

    #[test]
    fn a_forward_is_two_ports() {
        assert_eq!(ports("2222:22"), Some((2222, 22)));
        for wrong in ["", "22", "22:", ":22", "0:22", "22:0", "65536:22", "a:22", "1:2:3"] {
            assert_eq!(ports(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn a_guest_has_a_processor() {
        assert_eq!(count("machine.cpus", 1).unwrap(), 1);
        assert!(count("machine.cpus", 0).is_err() && count("machine.cpus", 256).is_err());
    }
}
