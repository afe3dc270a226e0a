//! Profiles: add-ons to the guest. Reads `profile.toml`, `init` and `files/`.

mod options;

use super::folder::{self, Folder};
use super::{document, embedded};
use crate::error::{Error, Result};
use options::OptionField;
use serde::Deserialize;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

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
    /// Stages' outputs, "stage/output", that hold kernel modules for the work directory.
    pub modules: Vec<String>,
    /// Stages' outputs that are laid over the root, the topmost first.
    pub layers: Vec<String>,
    /// Words for the guest's kernel command line: the profile's own and its options.
    pub append: Vec<String>,
    /// Words that are added when nobody sits at a terminal.
    pub append_batch: Vec<String>,
    /// The guest needs so much memory, in MiB.
    pub memory: u32,
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
    modules: Vec<String>,
    #[serde(default)]
    layers: Vec<String>,
    #[serde(default)]
    append: Vec<String>,
    #[serde(default)]
    append_batch: Vec<String>,
    #[serde(default)]
    memory: u32,
    /// On by itself where quiz runs in a worktree that this source stage takes.
    on_in: Option<String>,
    #[serde(default)]
    options: BTreeMap<String, OptionField>,
}

impl Profile {
    /// What this profile adds to the setting `key`.
    pub(super) fn adds_to(&self, key: &str) -> &[String] {
        match key {
            "rootfs.packages" => &self.packages,
            "kernel.config" => &self.kernel,
            _ => &[],
        }
    }
}

/// The base profile, those that `is_inside` turns on, and those named (`name:option=value,…`), in that order; a profile under
/// `own` takes the place of a built-in one. `is_inside` says whether quiz runs in a worktree that a source stage takes.
pub(super) fn load_active(own: &Path, names: &[String], is_inside: &dyn Fn(&str) -> bool) -> Result<Vec<Profile>> {
    let mut all = BTreeMap::new();
    for folder in embedded::profiles().into_iter().chain(folder::on_disk(own)?) {
        all.insert(folder.name.clone(), read(folder)?);
    }
    let by_place = all.iter().filter(|(_, (file, _))| file.on_in.as_deref().is_some_and(is_inside));
    let mut wanted: Vec<String> = vec![BASE.to_owned()];
    wanted.extend(by_place.map(|(name, _)| name.clone()));
    // Named again, with other options: the last one counts.
    for text in names {
        let same = |other: &String| options::split(other).0 == options::split(text).0;
        match wanted.iter().position(same) {
            Some(at) => wanted[at].clone_from(text),
            None => wanted.push(text.clone()),
        }
    }
    let mut active = Vec::new();
    for text in &wanted {
        let (name, given) = options::split(text);
        let Some((file, folder)) = all.remove(name) else {
            let error = Error::input(format!("there is no profile `{name}`"));
            let near = document::nearest(name, all.keys().map(String::as_str));
            return Err(match near {
                Some(near) => error.hint(format!("did you mean `{near}`?")),
                None => error.hint(format!("a profile of your own goes into {}", own.join(name).display())),
            });
        };
        active.push(profile(file, folder, &given)?);
    }
    Ok(active)
}

fn read(mut folder: Folder) -> Result<(ProfileFile, Folder)> {
    let file = document::parse(&folder.path.join("profile.toml"), folder.text("profile.toml")?)?;
    folder.files.retain(|(name, ..)| name != "profile.toml");
    if let Some((name, ..)) = folder.files.iter().find(|(name, ..)| name != "init" && !name.starts_with("files/")) {
        return Err(Error::input(format!("{} is not used", folder.path.join(name).display()))
            .hint("what goes over the root lies under files/; what runs before the program is named init"));
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

fn profile(file: ProfileFile, folder: Folder, given: &[(&str, &str)]) -> Result<Profile> {
    let mut append = file.append;
    append.extend(options::words(&folder.name, &file.options, given)?);
    Ok(Profile {
        path: folder.path.join("profile.toml"),
        name: folder.name,
        about: file.about,
        packages: file.packages,
        kernel: file.kernel,
        modules: file.modules,
        layers: file.layers,
        append,
        append_batch: file.append_batch,
        memory: file.memory,
        files: folder.files,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_base_profile_is_always_on_and_own_profiles_are_found() {
        let dir = tempfile::tempdir().unwrap();
        let own = dir.path().join("mine");
        std::fs::create_dir_all(own.join("files/etc")).unwrap();
        std::fs::write(own.join("profile.toml"), "about = \"x\"\npackages = [\"gdb\"]\n").unwrap();
        std::fs::write(own.join("files/etc/motd"), "hello\n").unwrap();
        let active = load_active(dir.path(), &["mine".to_owned(), "mine".to_owned()], &|_| false).unwrap();
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
            let active = load_active(dir.path(), names, &|recipe| inside && recipe == "my-source").unwrap();
            active.into_iter().skip(1).map(|p| (p.name, p.append)).collect::<Vec<_>>()
        };
        let mine = |n: u32| [("mine".to_owned(), vec!["a=1".to_owned(), format!("QUIZ_MINE_N={n}")])];
        assert_eq!(active(&[], false), []);
        assert_eq!(active(&[], true), mine(1));
        assert_eq!(active(&["mine:n=2".to_owned()], true), mine(2));
    }

    #[test]
    fn an_unknown_profile_names_the_nearest() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::create_dir(dir.path().join("blockdev")).unwrap();
        std::fs::write(dir.path().join("blockdev/profile.toml"), "about = \"x\"\n").unwrap();
        let error = load_active(dir.path(), &["blokdev".to_owned()], &|_| false).unwrap_err();
        assert_eq!(error.hints(), ["did you mean `blockdev`?"]);
    }

    #[test]
    fn a_folder_that_would_hide_the_roots_own_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::create_dir_all(dir.path().join("mine/files/bin")).unwrap();
        std::fs::write(dir.path().join("mine/profile.toml"), "about = \"x\"\n").unwrap();
        std::fs::write(dir.path().join("mine/files/bin/tool"), "").unwrap();
        let error = load_active(dir.path(), &["mine".to_owned()], &|_| false).unwrap_err();
        assert_eq!(error.hints(), ["put it under files/usr/bin/tool"]);
    }

    #[test]
    fn a_stray_file_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let own = dir.path().join("mine");
        std::fs::create_dir_all(&own).unwrap();
        std::fs::write(own.join("profile.toml"), "about = \"x\"\n").unwrap();
        std::fs::write(own.join("init.sh"), "true\n").unwrap();
        let error = load_active(dir.path(), &["mine".to_owned()], &|_| false).unwrap_err();
        assert!(error.to_string().ends_with("mine/init.sh is not used"), "{error}");
    }
}
