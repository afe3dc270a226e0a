//! Profiles: add-ons to the guest. Reads `profile.toml`, `init` and `files/`.

mod active;
mod devices;
mod options;

pub use devices::{Bus, Device, DiskFormat, ShareMode};
pub use options::{ProfileOption, size};

use super::folder::{self, LoadedFolder};
use super::{document, embedded, tools};
use crate::error::{Error, Result};
use active::Relations;
use devices::DeviceField;
use options::OptionField;
use serde::Deserialize;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use toml::Spanned;

/// Its own file in a profile's folder.
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
    /// Words that are added when nobody sits at a terminal.
    pub append_batch: Vec<String>,
    /// The guest needs so much memory, in MiB.
    pub memory: u32,
    /// And so many processors.
    pub cpus: u32,
    /// Its memory and processors are spread over so many NUMA nodes; 0 for one without such a thing.
    pub numa: u32,
    /// Arguments for qemu.
    pub qemu_args: Vec<String>,
    /// Others that have to be on, too, and come first; `a|b`: one of these.
    pub needs: Vec<String>,
    /// Others that must not be on.
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
    devices: Vec<Spanned<DeviceField>>,
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
}

impl Surroundings<'_> {
    fn turn_on(&self, file: &ProfileFile) -> bool {
        file.on_in.as_deref().is_some_and(self.is_inside) || file.on_with.as_deref().is_some_and(|line| self.has(line))
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
    let by_itself = all.iter().filter(|(_, (file, _))| around.turn_on(file));
    let mut asked = vec![BASE];
    asked.extend(by_itself.map(|(name, _)| name.as_str()));
    let options = all.iter().map(|(name, (file, _))| (name.as_str(), &file.options)).collect();
    for text in names {
        asked.extend(options::several(text, &options)?);
    }
    let relations = all.iter().map(|(name, (file, _))| {
        let relations = Relations { needs: &file.needs, conflicts: &file.conflicts };
        (name.as_str(), relations)
    });
    let on = active::choose(&relations.collect(), &asked, own)?;
    on.into_iter().map(|(name, text)| profile(&all[name], &options::split(text).1)).collect()
}

/// Every profile there is, as it is when it is named alone; sorted by name.
pub(super) fn load_all(own: &Path) -> Result<Vec<Profile>> {
    read_all(own)?.values().map(|read| profile(read, &[])).collect()
}

fn read_all(own: &Path) -> Result<BTreeMap<String, (ProfileFile, LoadedFolder)>> {
    let folders = embedded::profiles().into_iter().chain(folder::on_disk(own)?);
    folders.map(|folder| Ok((folder.name.clone(), read(folder)?))).collect()
}

fn read(folder: LoadedFolder) -> Result<(ProfileFile, LoadedFolder)> {
    let (path, text) = (folder.path.join(FILE), folder.text(FILE)?);
    let file: ProfileFile = document::parse(&path, text)?;
    for (name, option) in &file.options {
        option.check(|span, wanted| {
            Error::input(format!("{}: {wanted} is wanted for `{name}`", document::place(&path, text, span)))
        })?;
    }
    tools::read(&path, text, &file.tools)?;
    let known = |name: &str| [FILE, "init", "wake"].contains(&name) || name.starts_with("files/");
    if let Some((name, ..)) = folder.files.iter().find(|(name, ..)| !known(name)) {
        return Err(Error::input(format!("{} is not used", folder.path.join(name).display()))
            .hint("what goes over the root lies under files/; what runs before the program is named init, and what runs in each machine, also one that is restored, wake"));
    }
    // In the root these are links into usr/; a folder of that name, laid over it, would hide the shell and the C library.
    let hides =
        |name: &str| ["bin/", "sbin/", "lib/", "lib64/"].iter().any(|dir| name.starts_with(&format!("files/{dir}")));
    if let Some((name, ..)) = folder.files.iter().find(|(name, ..)| hides(name)) {
        return Err(Error::input(format!("{} would hide the root's own", folder.path.join(name).display()))
            .hint(format!("put it under {}", name.replacen("files/", "files/usr/", 1))));
    }
    Ok((file, folder))
}

fn profile((file, folder): &(ProfileFile, LoadedFolder), given: &[(&str, Option<&str>)]) -> Result<Profile> {
    let (path, text) = (folder.path.join(FILE), folder.text(FILE)?);
    let devices = file.devices.iter().map(|device| (document::place(&path, text, &device.span()), device.get_ref()));
    let options = options::read(&folder.name, &file.options, given)?;
    let mut append = file.append.clone();
    append.extend(options::words(&folder.name, &options));
    Ok(Profile {
        devices: devices.map(|(at, device)| device.read(&options, &at)).collect::<Result<_>>()?,
        path: path.clone(),
        name: folder.name.clone(),
        about: file.about.clone(),
        packages: file.packages.clone(),
        kernel: file.kernel.clone(),
        tools: tools::read(&path, text, &file.tools)?,
        modules: file.modules.clone(),
        symbols: file.symbols.clone(),
        layers: file.layers.clone(),
        append,
        append_batch: file.append_batch.clone(),
        memory: file.memory,
        cpus: file.cpus,
        numa: file.numa,
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
    let all = BTreeMap::from([(read.1.name.as_str(), &read.0.options)]);
    for text in options::several(words, &all).unwrap_or_default() {
        let _ = profile(&read, &options::split(text).1);
    }
    let relations = Relations { needs: &read.0.needs, conflicts: &read.0.conflicts };
    let _ = active::choose(&BTreeMap::from([(read.1.name.as_str(), relations)]), &[&read.1.name], Path::new("/p"));
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOWHERE: Surroundings<'_> = Surroundings { is_inside: &|_| false, kernel_config: &[] };

    #[test]
    fn the_base_profile_is_always_on_and_own_profiles_are_found() {
        let dir = tempfile::tempdir().unwrap();
        let own = dir.path().join("mine");
        std::fs::create_dir_all(own.join("files/etc")).unwrap();
        std::fs::write(own.join("profile.toml"), "about = \"x\"\npackages = [\"gdb\"]\n").unwrap();
        std::fs::write(own.join("files/etc/motd"), "hello\n").unwrap();
        let active = load_active(dir.path(), &["mine".to_owned(), "mine".to_owned()], &NOWHERE).unwrap();
        let names: Vec<&str> = active.iter().map(|p| p.name.as_str()).collect();
        assert_eq!(names, ["base", "mine"]);
        assert_eq!(active[1].adds_to("rootfs.packages"), ["gdb"]);
        assert_eq!(active[1].files, [("files/etc/motd".to_owned(), b"hello\n".to_vec(), false)]);
    }

    #[test]
    fn a_profile_is_on_in_the_worktree_it_is_for_and_takes_options_there() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::create_dir(dir.path().join("mine")).unwrap();
        let text = "about = \"x\"\non-in = \"my-source\"\nappend = [\"a=1\"]\n[options]\n\
                    n = { type = \"int\", default = 1, about = \"x\" }\n";
        std::fs::write(dir.path().join("mine/profile.toml"), text).unwrap();
        let active = |names: &[String], inside: bool| {
            let is_inside = |recipe: &str| inside && recipe == "my-source";
            let active = load_active(dir.path(), names, &Surroundings { is_inside: &is_inside, ..NOWHERE }).unwrap();
            active.into_iter().skip(1).map(|p| (p.name, p.append)).collect::<Vec<_>>()
        };
        let mine = |n: u32| [("mine".to_owned(), vec!["a=1".to_owned(), format!("quiz.mine.n={n}")])];
        assert_eq!(active(&[], false), []);
        assert_eq!(active(&[], true), mine(1));
        assert_eq!(active(&["mine:n=2".to_owned()], true), mine(2));
        assert_eq!(active(&["base,mine:n=2".to_owned()], true), mine(2));
    }

    #[test]
    fn a_line_of_kernel_config_turns_on_what_it_needs() {
        let dir = tempfile::tempdir().unwrap();
        let with_rust = |lines: &[&str]| {
            let lines: Vec<String> = lines.iter().map(|line| (*line).to_owned()).collect();
            let active = load_active(dir.path(), &[], &Surroundings { kernel_config: &lines, ..NOWHERE }).unwrap();
            active.iter().any(|profile| profile.name == "rust" && profile.tools.contains_key("bindgen"))
        };
        for lines in [&["CONFIG_RUST=y"][..], &["RUST=n", " RUST=y # if present"], &["RUST=y", "CONFIG_RUSTY=n"]] {
            assert!(with_rust(lines), "{lines:?}");
        }
        for lines in [
            &[][..],
            &["CONFIG_RUST=y", "RUST=n"],
            &["TRUST=y", "RUST_DEBUG=y", "RUST=m"],
            &["RUST=y", "# CONFIG_RUST is not set"],
        ] {
            assert!(!with_rust(lines), "{lines:?}");
        }
    }

    #[test]
    fn devices_are_what_the_options_say() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::create_dir(dir.path().join("mine")).unwrap();
        let text = |size: &str| {
            format!(
                "about = \"x\"\n[options]\nn = {{ type = \"int\", default = 1, about = \"x\" }}\n[[devices]]\n\
                 type = \"disk\"\nbus = \"nvme\"\nname = \"d\"\ncount = \"$n\"\nsize = {size}\npersistent = false\n\
                 format = \"raw\"\n"
            )
        };
        let file = dir.path().join("mine/profile.toml");
        let devices = |name: &str| {
            load_active(dir.path(), &[name.to_owned()], &NOWHERE).map(|mut active| active.remove(1).devices)
        };
        std::fs::write(&file, text("1048576")).unwrap();
        let disks = Device::Disk {
            bus: Bus::Nvme,
            name: "d".to_owned(),
            count: 3,
            size: 1 << 20,
            persistent: false,
            format: DiskFormat::Raw,
        };
        assert_eq!(devices("mine:n=3").unwrap(), [disks]);
        std::fs::write(&file, text("\"$m\"")).unwrap();
        let error = devices("mine").unwrap_err().to_string();
        assert!(error.ends_with("mine/profile.toml:4:1: a device names the option `m`, which is not there"), "{error}");
    }

    /// By what their hooks call: whoever takes devices runs after all who make them, and the pool after all.
    #[test]
    fn shipped_profiles_that_stand_on_devices_come_after_those_that_make_them() {
        let dir = tempfile::tempdir().unwrap();
        let all = load_all(dir.path()).unwrap();
        let calls = |profile: &Profile, words: &[&str]| {
            let init = profile.files.iter().find(|(name, ..)| name == "init");
            let text = init.map(|(_, bytes, _)| String::from_utf8(bytes.clone()).unwrap()).unwrap_or_default();
            words.iter().any(|word| text.contains(word))
        };
        let names =
            |of: &dyn Fn(&Profile) -> bool| all.iter().filter(|p| of(p)).map(|p| p.name.clone()).collect::<Vec<_>>();
        let stand = names(&|p| calls(p, &["take_devices", "map_devices"]) && p.name != "pool");
        let make = names(&|p| calls(p, &["add_devices", "link_disks"]) && !stand.contains(&p.name));
        assert!(stand.len() >= 6 && make.len() >= 5, "{stand:?} {make:?}");
        let active = |names: &[&String]| {
            let names: Vec<String> = names.iter().map(|name| (*name).clone()).collect();
            let active = load_active(dir.path(), &names, &NOWHERE);
            active.map(|active| active.into_iter().map(|p| p.name).filter(|name| name != "zfs").collect::<Vec<_>>())
        };
        let pool = "pool".to_owned();
        for (late, early) in stand.iter().flat_map(|late| make.iter().map(move |early| (late, early))) {
            let order = active(&[late, early]).unwrap();
            assert_eq!(order, ["base", early, late]);
            // Some make what no pool can stand on.
            let Ok(order) = active(&[&pool, late, early]) else { continue };
            assert_eq!(order, ["base", early, late, "pool"]);
        }
        let order = active(&[&pool, &"md".to_owned(), &"error".to_owned(), &"memdev".to_owned()]).unwrap();
        assert_eq!(order, ["base", "memdev", "md", "error", "pool"], "as they were named");
    }

    #[test]
    fn a_folder_that_would_hide_the_roots_own_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::create_dir_all(dir.path().join("mine/files/bin")).unwrap();
        std::fs::write(dir.path().join("mine/profile.toml"), "about = \"x\"\n").unwrap();
        std::fs::write(dir.path().join("mine/files/bin/tool"), "").unwrap();
        let error = load_active(dir.path(), &["mine".to_owned()], &NOWHERE).unwrap_err();
        assert_eq!(error.hints(), ["put it under files/usr/bin/tool"]);
    }

    #[test]
    fn a_stray_file_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let own = dir.path().join("mine");
        std::fs::create_dir_all(&own).unwrap();
        std::fs::write(own.join("profile.toml"), "about = \"x\"\n").unwrap();
        std::fs::write(own.join("init.sh"), "true\n").unwrap();
        let error = load_active(dir.path(), &["mine".to_owned()], &NOWHERE).unwrap_err();
        assert!(error.to_string().ends_with("mine/init.sh is not used"), "{error}");
    }
}
