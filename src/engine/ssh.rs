//! What ssh, scp and rsync of the host need to reach a machine with the profile ssh: a key that it lets in, and a config.
//!
//! Knows nothing of how the guest answers (profiles/ssh).

use crate::error::{Error, Result, cannot};
use crate::host::{self, distribution::Distribution};
use crate::load::{Device, Project};
use std::collections::BTreeSet;
use std::fs;
use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Stdio;

/// The channel's name, and the profile's that has it.
pub const SSH: &str = "ssh";

/// Host names of ssh, scp and rsync are this and the run's number.
pub const HOST: &str = "quiz-";

/// The program that takes the place of `quiz ssh`.
pub const CLIENT: &str = "ssh";

/// What of the host it needs: program → Debian package.
const TOOLS: &[(&str, &str)] = &[(CLIENT, "openssh-client"), ("ssh-keygen", "openssh-client")];

/// The tools that the profile ssh needs of the host, if it is on.
pub fn tools(project: &Project) -> &'static [(&'static str, &'static str)] {
    if is_on(project) { TOOLS } else { &[] }
}

/// The words of the kernel's command line that tell the guest whom it shall let in. Makes key and config where they are
/// missing.
///
/// # Errors
/// They cannot be made.
pub fn words(project: &Project) -> Result<Option<String>> {
    if !is_on(project) {
        return Ok(None);
    }
    prepare(project)?;
    let path = key(project).with_extension("pub");
    let text = fs::read_to_string(&path).map_err(|e| {
        cannot("read", &path, e).hint(format!("`rm {}`, and quiz makes another key", key(project).display()))
    })?;
    // Of "ssh-ed25519 AAAA… comment" the key alone: a word of the command line has no blanks.
    Ok(Some(format!("quiz.ssh.key={}", text.split_whitespace().nth(1).unwrap_or_default())))
}

fn is_on(project: &Project) -> bool {
    let mut devices = project.profiles.iter().flat_map(|profile| &profile.devices);
    devices.any(|device| matches!(device, Device::Channel { name, .. } if name == SSH))
}

fn key(project: &Project) -> PathBuf {
    project.config_dir.join("ssh/id_ed25519")
}

/// Makes the user's key once, and writes the project's config for ssh; gives the path of that.
pub fn prepare(project: &Project) -> Result<PathBuf> {
    let key = key(project);
    let folder = key.parent().unwrap_or(&project.config_dir);
    private(folder).map_err(|e| cannot("make the folder", folder, e))?;
    make_key(folder, &key)?;
    let quiz =
        std::env::current_exe().map_err(|e| Error::boot("cannot find out where the program quiz lies").because(e))?;
    let path = project.state_dir.join("ssh_config");
    let text = config(&quiz, &project.dir, &key);
    if host::read_plain(&path).is_ok_and(|old| old == text.as_bytes()) {
        return Ok(path);
    }
    let folder = path.parent().unwrap_or(&project.dir);
    let write = || {
        host::folder(folder)?;
        let mut file = tempfile::NamedTempFile::new_in(folder)?;
        file.write_all(text.as_bytes())?;
        file.persist(&path)?;
        Ok(())
    };
    write().map_err(|e: std::io::Error| cannot("write", &path, e))?;
    Ok(path)
}

/// The folder of keys, which nobody else enters: not one that an older quiz or another umask left open, either.
fn private(folder: &Path) -> std::io::Result<()> {
    host::folder(folder.parent().unwrap_or(folder))?;
    host::private_folder(folder)?;
    let mode = fs::metadata(folder)?.permissions().mode();
    if mode & 0o077 == 0 { Ok(()) } else { fs::set_permissions(folder, fs::Permissions::from_mode(0o700)) }
}

/// Makes a pair of keys where there is none. The private one comes to its place last, so where it is, the public one is, too; a lock keeps several
/// processes from making several.
fn make_key(folder: &Path, key: &Path) -> Result<()> {
    if key.exists() {
        return Ok(());
    }
    let lock = folder.join("lock");
    let _lock = host::private_file()
        .append(true)
        .open(&lock)
        .and_then(|file| file.lock().map(|()| file))
        .map_err(|e| cannot("lock", &lock, e))?;
    if key.exists() {
        return Ok(());
    }
    let new = tempfile::tempdir_in(folder).map_err(|e| cannot("make a folder in", folder, e))?;
    let made = new.path().join("key");
    let output = host::program(TOOLS[1].0)
        .args(["-q", "-t", "ed25519", "-N", "", "-C", "quiz", "-f"])
        .arg(&made)
        .stdin(Stdio::null())
        .output()
        .map_err(no_client)?;
    if !output.status.success() {
        let error = Error::boot(format!("ssh-keygen cannot make {}", key.display()));
        return Err(String::from_utf8_lossy(&output.stderr).lines().fold(error, Error::detail));
    }
    let place = |from: &Path, to: &Path| fs::rename(from, to).map_err(|e| cannot("make", to, e));
    place(&made.with_extension("pub"), &key.with_extension("pub"))?;
    place(&made, key)
}

/// The config for ssh, scp and rsync; `quiz-3` is run 3.
fn config(quiz: &Path, project: &Path, key: &Path) -> String {
    // ssh takes % for a token of its own, and hands the command to a shell.
    let for_shell = |path: &Path| host::quoted(path.as_os_str()).replace('%', "%%");
    let for_ssh = key.display().to_string().replace('\\', r"\\").replace('"', "\\\"").replace('%', "%%");
    format!(
        "# Written by quiz, which overwrites changes. To be used as in: ssh -F THIS-FILE {HOST}1\n\
         Host {HOST}*\n\
         \x20   User root\n\
         \x20   ProxyCommand {} -C {} {SSH} --stdio %n\n\
         \x20   IdentityFile \"{for_ssh}\"\n\
         \x20   IdentitiesOnly yes\n\
         \x20   IdentityAgent none\n\
         \x20   StrictHostKeyChecking no\n\
         \x20   UserKnownHostsFile /dev/null\n\
         \x20   GlobalKnownHostsFile /dev/null\n\
         \x20   # The connection never leaves this machine, and post-quantum algorithms take an emulated guest a third longer.\n\
         \x20   KexAlgorithms curve25519-sha256\n\
         \x20   LogLevel ERROR\n",
        for_shell(quiz),
        for_shell(project),
    )
}

/// The error when a program of ssh does not start.
pub fn no_client(error: std::io::Error) -> Error {
    Error::input("cannot start ssh").because(error).hint(Distribution::here().line(&BTreeSet::from([TOOLS[0].1])))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    #[test]
    fn many_at_once_make_one_key_that_nobody_else_reads() {
        let folder = tempfile::tempdir().unwrap();
        let key = folder.path().join("id_ed25519");
        std::thread::scope(|scope| {
            (0..4).for_each(|_| drop(scope.spawn(|| make_key(folder.path(), &key).unwrap())));
        });
        assert_eq!(fs::metadata(&key).unwrap().permissions().mode() & 0o777, 0o600);
        let (private, public) = (fs::read(&key).unwrap(), fs::read_to_string(key.with_extension("pub")).unwrap());
        assert!(public.starts_with("ssh-ed25519 "), "{public}");
        make_key(folder.path(), &key).unwrap();
        assert_eq!(fs::read(&key).unwrap(), private);
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 3, "the key, its public half, the lock");
    }

    #[test]
    fn paths_are_quoted_for_ssh_and_for_its_shell() {
        let text = config(Path::new("/a b/quiz"), Path::new("/50%/it's"), Path::new("/a \"b\"/id"));
        assert!(text.contains("ProxyCommand '/a b/quiz' -C '/50%%/it'\\''s' ssh --stdio %n\n"), "{text}");
        assert!(text.contains("IdentityFile \"/a \\\"b\\\"/id\"\n"), "{text}");
    }
}
