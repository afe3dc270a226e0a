//! Profiles: add-ons to the guest. Reads `profile.toml`, `init` and `files/`.

use super::folder::{self, Folder};
use super::{document, embedded};
use crate::error::{Error, Result};
use serde::Deserialize;
use std::collections::BTreeMap;
use std::path::Path;

/// The profile that is always on: the base package set and the guest's own files.
const BASE: &str = "base";

/// An add-on to the guest.
#[derive(Debug, Clone)]
pub struct Profile {
    /// The folder's name.
    pub name: String,
    /// One line for people.
    pub about: String,
    /// Debian packages of the root.
    pub packages: Vec<String>,
    /// Lines of the kernel config.
    pub kernel: Vec<String>,
    /// `init` (run in the guest before the program) and what lies under `files/`: path, contents, executable.
    pub files: Vec<(String, Vec<u8>, bool)>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ProfileFile {
    about: String,
    #[serde(default)]
    packages: Vec<String>,
    #[serde(default)]
    kernel: Vec<String>,
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

/// The base profile and those named, in that order; a profile under `own` takes the place of a built-in one.
pub(super) fn load_active(own: &Path, names: &[String]) -> Result<Vec<Profile>> {
    let mut all = BTreeMap::new();
    for folder in embedded::profiles().into_iter().chain(folder::on_disk(own)?) {
        all.insert(folder.name.clone(), folder);
    }
    let mut active: Vec<Profile> = Vec::new();
    for name in std::iter::once(BASE).chain(names.iter().map(String::as_str)) {
        if active.iter().any(|profile| profile.name == name) {
            continue;
        }
        let Some(folder) = all.remove(name) else {
            let error = Error::input(format!("there is no profile `{name}`"));
            let near = document::nearest(name, all.keys().map(String::as_str));
            return Err(match near {
                Some(near) => error.hint(format!("did you mean `{near}`?")),
                None => error.hint(format!("a profile of your own goes into {}", own.join(name).display())),
            });
        };
        active.push(load(folder)?);
    }
    Ok(active)
}

fn load(folder: Folder) -> Result<Profile> {
    let path = folder.path.join("profile.toml");
    let file: ProfileFile = document::parse(&path, folder.text("profile.toml")?)?;
    let mut files = folder.files;
    files.retain(|(name, ..)| name != "profile.toml");
    if let Some((name, ..)) = files.iter().find(|(name, ..)| name != "init" && !name.starts_with("files/")) {
        return Err(Error::input(format!("{} is not used", folder.path.join(name).display()))
            .hint("what goes over the root lies under files/; what runs before the program is named init"));
    }
    // In the root these are links into usr/; a folder of that name, laid over it, would hide the shell and the C library.
    let hides =
        |name: &str| ["bin/", "sbin/", "lib/", "lib64/"].iter().any(|dir| name.starts_with(&format!("files/{dir}")));
    if let Some((name, ..)) = files.iter().find(|(name, ..)| hides(name)) {
        return Err(Error::input(format!("{} would hide the root's own", folder.path.join(name).display()))
            .hint(format!("put it under {}", name.replacen("files/", "files/usr/", 1))));
    }
    Ok(Profile { name: folder.name, about: file.about, packages: file.packages, kernel: file.kernel, files })
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
        let active = load_active(dir.path(), &["mine".to_owned(), "mine".to_owned()]).unwrap();
        let names: Vec<&str> = active.iter().map(|p| p.name.as_str()).collect();
        assert_eq!(names, ["base", "mine"]);
        assert_eq!(active[1].adds_to("rootfs.packages"), ["gdb"]);
        assert_eq!(active[1].files, [("files/etc/motd".to_owned(), b"hello\n".to_vec(), false)]);
    }

    #[test]
    fn an_unknown_profile_names_the_nearest() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::create_dir(dir.path().join("blockdev")).unwrap();
        let error = load_active(dir.path(), &["blokdev".to_owned()]).unwrap_err();
        assert_eq!(error.hints(), ["did you mean `blockdev`?"]);
    }

    #[test]
    fn a_folder_that_would_hide_the_roots_own_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::create_dir_all(dir.path().join("mine/files/bin")).unwrap();
        std::fs::write(dir.path().join("mine/profile.toml"), "about = \"x\"\n").unwrap();
        std::fs::write(dir.path().join("mine/files/bin/tool"), "").unwrap();
        let error = load_active(dir.path(), &["mine".to_owned()]).unwrap_err();
        assert_eq!(error.hints(), ["put it under files/usr/bin/tool"]);
    }

    #[test]
    fn a_stray_file_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let own = dir.path().join("mine");
        std::fs::create_dir_all(&own).unwrap();
        std::fs::write(own.join("profile.toml"), "about = \"x\"\n").unwrap();
        std::fs::write(own.join("init.sh"), "true\n").unwrap();
        let error = load_active(dir.path(), &["mine".to_owned()]).unwrap_err();
        assert!(error.to_string().ends_with("mine/init.sh is not used"), "{error}");
    }
}
