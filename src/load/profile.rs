//! Profiles: add-ons to the guest. Reads `profile.toml`, `init` and `files/`.

mod active;
mod devices;
mod options;

pub use devices::{Bus, Device, DiskFormat, ShareMode};
pub use options::{ProfileOption, size};

use super::folder::{self, LoadedFolder};
use super::{embedded, tools};
use crate::document::Document;
use crate::error::{Error, Place, Result};
use crate::source::is_suite;
use active::Relations;
use devices::DeviceField;
use options::OptionField;
use serde::Deserialize;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// The file in a profile's folder that says what the profile is.
const FILE: &str = "profile.toml";

/// The profile that is always on: the base package set and the guest's own files.
const BASE: &str = "base";

/// An add-on to the guest.
#[derive(Debug, Clone)]
pub struct Profile {
    /// The folder's name.
    pub name: String,
    /// Its profile.toml.
    pub path: PathBuf,
    /// The same, for messages.
    pub file: Document,
    /// One line for people.
    pub about: String,
    /// Debian packages of the root.
    pub packages: Vec<String>,
    /// Lines of the kernel config.
    pub kernel: Vec<String>,
    /// Programs that it needs, and the Debian package that has each: those that a recipe has on demand, for its root; others the host must have.
    pub tools: BTreeMap<String, String>,
    /// Stages' outputs, "stage/output", that hold kernel modules for the work directory.
    pub modules: Vec<String>,
    /// Stages with an output `symbols`: the debug information of these modules, made when it is asked for.
    pub symbols: Vec<String>,
    /// Stages' outputs that are laid over the root, the topmost first.
    pub layers: Vec<String>,
    /// Words for the guest's kernel command line: the profile's own and its options.
    pub append: Vec<String>,
    /// Words that are added when the program has no terminal.
    pub append_batch: Vec<String>,
    /// The least memory that the guest needs, in MiB.
    pub memory: u32,
    /// The least number of processors that it needs.
    pub cpus: u32,
    /// The number of NUMA nodes over which memory and processors are spread; 0 if the profile does not say.
    pub numa: u32,
    /// The suite of what compiles kernels and modules, where nobody has set any; "" if the profile does not say.
    pub kernel_toolchain: String,
    /// Arguments for qemu.
    pub qemu_args: Vec<String>,
    /// Other profiles that have to be on, too, and come first; `a|b`: one of these.
    pub needs: Vec<String>,
    /// Other profiles that must not be on.
    pub conflicts: Vec<String>,
    /// What can be written behind its name, and what it is now.
    pub options: BTreeMap<String, ProfileOption>,
    /// What it adds to the machine.
    pub devices: Vec<Device>,
    /// On a terminal the guest's program is started by this program of the guest, which gets it as arguments.
    pub wrap: Option<String>,
    /// `init` (run in the guest before the program) and what lies under `files/`: path, contents, executable.
    pub files: Vec<(String, Vec<u8>, bool)>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
struct ProfileFile {
    about: String,
    #[serde(default)]
    packages: Vec<String>,
    #[serde(default)]
    kernel: Vec<String>,
    #[serde(default)]
    tools: tools::Field,
    #[serde(default)]
    modules: Vec<String>,
    #[serde(default)]
    symbols: Vec<String>,
    #[serde(default)]
    layers: Vec<String>,
    #[serde(default)]
    append: Vec<String>,
    #[serde(default)]
    append_batch: Vec<String>,
    #[serde(default)]
    memory: u32,
    #[serde(default)]
    cpus: u32,
    #[serde(default)]
    numa: u32,
    /// What `kernel.toolchain` is where neither that nor `toolchain.suite` is set.
    #[serde(default)]
    kernel_toolchain: String,
    #[serde(default)]
    qemu_args: Vec<String>,
    /// On by itself where quiz runs in a worktree that this source stage takes.
    on_in: Option<String>,
    /// On by itself where the user's kernel.config has this line.
    on_with: Option<String>,
    #[serde(default)]
    needs: Vec<String>,
    #[serde(default)]
    conflicts: Vec<String>,
    #[serde(default)]
    options: BTreeMap<String, OptionField>,
    #[serde(default)]
    devices: Vec<DeviceField>,
    wrap: Option<String>,
}

impl Profile {
    /// What this profile adds to the setting `key`: to lists of packages and of kernel config lines.
    pub fn adds_to(&self, key: &str) -> &[String] {
        match key {
            "rootfs.packages" => &self.packages,
            "kernel.config" => &self.kernel,
            _ => &[],
        }
    }
}

/// What turns profiles on that nobody names.
pub(super) struct Surroundings<'a> {
    /// Whether quiz runs in a worktree that this source stage takes.
    pub is_inside: &'a dyn Fn(&str) -> bool,
    /// The user's lines of kernel config.
    pub kernel_config: &'a [String],
    /// The place of a word in the setting that names profiles, if a file has it.
    pub place: &'a dyn Fn(&str) -> Option<Place>,
}

impl Surroundings<'_> {
    fn turn_on(&self, file: &ProfileFile) -> bool {
        file.on_in.as_deref().is_some_and(self.is_inside) || file.on_with.as_deref().is_some_and(|line| self.has(line))
    }

    /// The error with the place of the profile that the words name.
    fn told(&self, words: &str, error: Error) -> Error {
        error.at((self.place)(words))
    }

    /// Whether this is what the lines say of its symbol; the last one counts.
    fn has(&self, line: &str) -> bool {
        fn plain(line: &str) -> (&str, &str) {
            let line = line.trim();
            let unset = line.strip_prefix('#').and_then(|rest| rest.trim().strip_suffix(" is not set"));
            let (symbol, rest) =
                unset.map_or_else(|| line.split_once('=').unwrap_or((line, "")), |symbol| (symbol, "n"));
            (symbol.strip_prefix("CONFIG_").unwrap_or(symbol), rest.split_whitespace().next().unwrap_or_default())
        }
        let wanted = plain(line);
        let mut last_first = self.kernel_config.iter().rev().map(|line| plain(line));
        last_first.find(|(symbol, _)| *symbol == wanted.0) == Some(wanted)
    }
}

/// The base profile, those that are on by themselves, those named (`name:option=value,…`, several with commas between), and what
/// these need, in the order in which they come into the guest; a profile under `own` takes the place of a built-in one.
pub(super) fn load_active(own: &Path, names: &[String], around: &Surroundings<'_>) -> Result<Vec<Profile>> {
    let all = read_all(own)?;
    let by_itself = all.iter().filter(|(_, read)| around.turn_on(&read.file));
    let mut asked = vec![BASE];
    asked.extend(by_itself.map(|(name, _)| name.as_str()));
    let options = all.iter().map(|(name, read)| (name.as_str(), &read.file.options)).collect();
    for text in names {
        asked.extend(options::several(text, &options).map_err(|e| around.told(text, e))?);
    }
    let relations = all.iter().map(|(name, Read { file, document, .. })| {
        let relations = Relations { needs: &file.needs, conflicts: &file.conflicts, file: Some(document) };
        (name.as_str(), relations)
    });
    let on = active::choose(&relations.collect(), &asked, own, around.place)?;
    let one = |(name, text): (&str, &str)| {
        profile(&all[name], &options::split(text).1)
            .map_err(|e| if e.place().is_some() { e } else { around.told(text, e) })
    };
    on.into_iter().map(one).collect()
}

/// Every profile there is, as it is when it is named alone; sorted by name.
pub(super) fn load_all(own: &Path) -> Result<Vec<Profile>> {
    read_all(own)?.values().map(|read| profile(read, &[])).collect()
}

/// A profile as it is on disk, or in the program.
struct Read {
    file: ProfileFile,
    document: Document,
    folder: LoadedFolder,
}

fn read_all(own: &Path) -> Result<BTreeMap<String, Read>> {
    let folders = embedded::profiles().into_iter().chain(folder::on_disk(own)?);
    folders.map(|folder| Ok((folder.name.clone(), read(folder)?))).collect()
}

fn read(folder: LoadedFolder) -> Result<Read> {
    let document = folder.document(FILE)?;
    let file: ProfileFile = document.parse()?;
    for (name, option) in &file.options {
        option.check(|span, wanted| {
            Error::input(format!("{wanted} is wanted for `{name}`")).at(document.place(span).labelled("its default"))
        })?;
    }
    if !file.kernel_toolchain.is_empty() && !is_suite(&file.kernel_toolchain) {
        let error = Error::input(format!("kernel-toolchain: `{}` is not the name of a suite", file.kernel_toolchain));
        return Err(error.at(document.value(&["kernel-toolchain"])));
    }
    tools::read(&document, &file.tools)?;
    let known = |name: &str| [FILE, "init", "wake"].contains(&name) || name.starts_with("files/");
    if let Some((name, ..)) = folder.files.iter().find(|(name, ..)| !known(name)) {
        return Err(Error::input(format!("{} is not used", folder.path.join(name).display()))
            .hint("a profile has profile.toml; files/, which is laid over the root; init, which runs before the program; and wake, which runs in each machine, also in one that is restored"));
    }
    // In the root these are links into usr/; a folder of that name, laid over it, would hide the shell and the C library.
    let hides =
        |name: &str| ["bin/", "sbin/", "lib/", "lib64/"].iter().any(|dir| name.starts_with(&format!("files/{dir}")));
    if let Some((name, ..)) = folder.files.iter().find(|(name, ..)| hides(name)) {
        return Err(Error::input(format!(
            "{} would hide the root's own folder of that name",
            folder.path.join(name).display()
        ))
        .hint(format!("put it under {}", name.replacen("files/", "files/usr/", 1))));
    }
    Ok(Read { file, document, folder })
}

fn profile(Read { file, document, folder }: &Read, given: &[(&str, Option<&str>)]) -> Result<Profile> {
    let devices = file.devices.iter().enumerate();
    let place = |n: usize, key: &str| document.value(&["devices", &n.to_string(), key]);
    let options = options::read(&folder.name, &file.options, given)?;
    let mut append = file.append.clone();
    append.extend(options::words(&folder.name, &options));
    Ok(Profile {
        devices: devices.map(|(n, device)| device.read(&options, &|key| place(n, key))).collect::<Result<_>>()?,
        path: document.path().to_owned(),
        file: document.clone(),
        name: folder.name.clone(),
        about: file.about.clone(),
        packages: file.packages.clone(),
        kernel: file.kernel.clone(),
        tools: tools::read(document, &file.tools)?,
        modules: file.modules.clone(),
        symbols: file.symbols.clone(),
        layers: file.layers.clone(),
        append,
        append_batch: file.append_batch.clone(),
        memory: file.memory,
        cpus: file.cpus,
        numa: file.numa,
        kernel_toolchain: file.kernel_toolchain.clone(),
        qemu_args: file.qemu_args.clone(),
        needs: file.needs.clone(),
        conflicts: file.conflicts.clone(),
        options,
        wrap: file.wrap.clone(),
        files: folder.files.iter().filter(|(name, ..)| name != FILE).cloned().collect(),
    })
}

/// A profile.toml and what is written behind -p, for the fuzz targets.
#[cfg(any(test, feature = "fuzz"))]
pub(in crate::load) fn fuzz(folder: LoadedFolder, words: &str) {
    let Ok(read) = read(folder) else { return };
    let _ = profile(&read, &[]);
    let all = BTreeMap::from([(read.folder.name.as_str(), &read.file.options)]);
    for text in options::several(words, &all).unwrap_or_default() {
        let _ = profile(&read, &options::split(text).1);
    }
    let (needs, conflicts) = (&read.file.needs[..], &read.file.conflicts[..]);
    let relations = Relations { needs, conflicts, file: Some(&read.document) };
    let name = read.folder.name.as_str();
    let _ = active::choose(&BTreeMap::from([(name, relations)]), &[name], Path::new("/p"), &|_| None);
}

#[cfg(test)]
mod tests;
