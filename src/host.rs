//! Programs of this machine: where they are looked for, and how they are made to end with quiz. A project may come from anybody, so none of its
//! files is such a program: a folder of PATH that is relative, or lies in a project that quiz reads, does not count. And files that only
//! their user can read, whatever the umask is.
//!
//! Knows nothing of what the programs and files are for.

pub mod distribution;
pub mod many;
pub mod rooted;
pub mod signals;
pub mod terminal;

use rustix::fs::OFlags;
use rustix::io::{FdFlags, fcntl_setfd};
use rustix::process::{Signal, getpid, getppid, set_parent_process_death_signal, setsid};
use std::collections::BTreeSet;
use std::ffi::{OsStr, OsString};
use std::fs::{DirBuilder, File, Metadata, OpenOptions};
use std::io::{Read, Write};
use std::os::fd::{BorrowedFd, RawFd};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{PoisonError, RwLock};

/// Where the machine's own programs lie, whatever PATH says.
pub const SYSTEM: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// The projects that were read so far, without links in their paths.
static PROJECTS: RwLock<BTreeSet<PathBuf>> = RwLock::new(BTreeSet::new());

/// From now on nothing below this folder is a program of the machine. The folders of the system, and a project that is the
/// user's whole home, or holds it, are not meant.
pub fn distrust(project: &Path) {
    let project = std::fs::canonicalize(project).unwrap_or_else(|_| project.to_owned());
    let home = std::env::var_os("HOME").map(PathBuf::from);
    if !home.is_some_and(|home| home.starts_with(&project)) {
        PROJECTS.write().unwrap_or_else(PoisonError::into_inner).insert(project);
    }
}

/// PATH without the folders that do not count; never empty, which would stand for the current folder.
pub fn path() -> OsString {
    let projects = PROJECTS.read().unwrap_or_else(PoisonError::into_inner);
    cleaned(&std::env::var_os("PATH").unwrap_or_default(), &projects)
}

fn cleaned(path: &OsString, projects: &BTreeSet<PathBuf>) -> OsString {
    let is_system = |dir: &Path| SYSTEM.split(':').any(|system| dir == Path::new(system));
    let is_projects = |dir: &Path| {
        let real = std::fs::canonicalize(dir).unwrap_or_else(|_| dir.to_owned());
        // By its name, too: a link in a project may lead anywhere tomorrow.
        projects.iter().any(|project| real.starts_with(project) || dir.starts_with(project))
    };
    let good = std::env::split_paths(path).filter(|dir| dir.is_absolute() && (is_system(dir) || !is_projects(dir)));
    let joined = std::env::join_paths(good).unwrap_or_default();
    if joined.is_empty() { SYSTEM.into() } else { joined }
}

/// The command that starts a program of this machine, which finds its own helpers in the same folders.
pub fn program(name: impl AsRef<OsStr>) -> Command {
    let mut command = Command::new(name);
    // A PATH that is set for a command is also where std looks for its program.
    command.env("PATH", path());
    command
}

/// The program of that name in those folders, if it is there.
#[must_use]
pub fn find(name: &str) -> Option<PathBuf> {
    std::env::split_paths(&path()).map(|folder| folder.join(name)).find(|file| file.is_file())
}

/// Lets a process that is to be started die with the thread that starts it, and keep these open, which are open here until it runs.
pub fn tie(process: &mut Command, fds: Vec<RawFd>) {
    let quiz = getpid();
    let prepare = move || {
        set_parent_process_death_signal(Some(Signal::KILL))?;
        // quiz may have died before the line above, and then nobody would ever send the signal.
        if getppid() != Some(quiz) {
            return Err(std::io::ErrorKind::Interrupted.into());
        }
        for &fd in &fds {
            // SAFETY: the caller holds what has this number open until the process runs its program.
            fcntl_setfd(unsafe { BorrowedFd::borrow_raw(fd) }, FdFlags::empty())?;
        }
        Ok(())
    };
    // SAFETY: between fork and exec it only makes system calls: no allocation, no lock.
    unsafe { process.pre_exec(prepare) };
}

/// Lets a process that is to be started lead a session of its own: no key of a terminal reaches it.
pub fn lead_session(process: &mut Command) {
    // SAFETY: between fork and exec it only makes a system call.
    unsafe { process.pre_exec(|| Ok(setsid().map(drop)?)) };
}

/// Lets a process that is to be started have nothing open but its stdin, stdout and stderr: it outlives this one, and whoever started this one may wait
/// for the end of a pipe, or for a lock, that it has given to it.
pub fn keep_nothing_open(process: &mut Command) {
    let entries = std::fs::read_dir("/proc/self/fd").into_iter().flatten().flatten();
    let numbers = entries.filter_map(|entry| entry.file_name().to_str()?.parse::<RawFd>().ok());
    let open: Vec<RawFd> = numbers.filter(|number| *number > 2).collect();
    let prepare = move || {
        for &fd in &open {
            // SAFETY: nothing is done with it but to mark it. By now it may be closed, which is what is wanted.
            let _ = fcntl_setfd(unsafe { BorrowedFd::borrow_raw(fd) }, FdFlags::CLOEXEC);
        }
        Ok(())
    };
    // SAFETY: between fork and exec it only makes system calls: no allocation, no lock.
    unsafe { process.pre_exec(prepare) };
}

/// How a file is opened or made that only its user can read and write: it has what a guest says, and others may be able to enter its folder.
pub fn private_file() -> OpenOptions {
    let mut options = File::options();
    options.write(true).create(true).mode(0o600);
    options
}

/// Writes such a file with this text in it, whole or not at all. A file that was there is replaced.
///
/// # Errors
/// It cannot be written.
pub fn write_private(path: &Path, text: &str) -> std::io::Result<()> {
    write_whole(path, text, &mut private_file())
}

/// Writes a file by way of one beside it, which a process that dies meanwhile leaves to the next one: only one writes at a time.
///
/// # Errors
/// It cannot be written.
pub fn write_whole(path: &Path, text: &str, options: &mut OpenOptions) -> std::io::Result<()> {
    let mut new = path.as_os_str().to_owned();
    new.push(".new");
    let written = options.truncate(true).open(&new).and_then(|mut file| file.write_all(text.as_bytes()));
    written.and_then(|()| std::fs::rename(&new, path)).inspect_err(|_| drop(std::fs::remove_file(&new)))
}

/// Opens a file to read that others may have put there: a plain one. No link is followed, and no FIFO waited for.
///
/// # Errors
/// There is no plain file, or it cannot be read.
pub fn open_plain(path: &Path) -> std::io::Result<File> {
    plain(path).map(|(file, _)| file)
}

fn plain(path: &Path) -> std::io::Result<(File, Metadata)> {
    let flags = OFlags::NOFOLLOW | OFlags::NONBLOCK;
    let file = File::options().read(true).custom_flags(flags.bits().cast_signed()).open(path)?;
    let meta = file.metadata()?;
    if meta.is_file() { Ok((file, meta)) } else { Err(std::io::Error::other("it is not a regular file")) }
}

/// Makes a file, or empties the one that is there, where others may have put a link: none is followed.
///
/// # Errors
/// It cannot be written, or is a link.
pub fn rewrite_plain(path: &Path) -> std::io::Result<File> {
    let mut options = File::options();
    options.write(true).create(true).truncate(true).custom_flags(OFlags::NOFOLLOW.bits().cast_signed()).open(path)
}

/// The same as [`open_plain`], and links are followed.
///
/// # Errors
/// As [`open_plain`].
pub fn open_file(path: &Path) -> std::io::Result<File> {
    let file = File::options().read(true).custom_flags(OFlags::NONBLOCK.bits().cast_signed()).open(path)?;
    if file.metadata()?.is_file() { Ok(file) } else { Err(std::io::Error::other("it is not a regular file")) }
}

/// Reads a file that others may have put there, as [`open_plain`] opens it.
///
/// # Errors
/// There is no plain file, or it cannot be read.
pub fn read_plain(path: &Path) -> std::io::Result<Vec<u8>> {
    content(open_plain(path)?)
}

/// Reads a file as [`open_file`] opens it.
///
/// # Errors
/// As [`read_plain`].
pub fn read_file(path: &Path) -> std::io::Result<Vec<u8>> {
    content(open_file(path)?)
}

/// Reads such a file as [`read_plain`] does, and gives its mode, too. Makes as few system calls as it can: there may be thousands of small files.
///
/// # Errors
/// As [`read_plain`].
pub fn read_plain_and_mode(path: &Path) -> std::io::Result<(Vec<u8>, u32)> {
    const LARGE: u64 = 1 << 20;
    let (file, meta) = plain(path)?;
    // Room for one byte more, so that the end is found without growing. Not for all of a large file: it may be shorter than it says.
    let mut content = Vec::with_capacity(usize::try_from(meta.len().min(LARGE)).unwrap_or_default() + 1);
    // By `take`, since File's own read_to_end would ask for the length once more.
    file.take(u64::MAX).read_to_end(&mut content)?;
    Ok((content, meta.mode()))
}

fn content(mut file: File) -> std::io::Result<Vec<u8>> {
    let mut content = Vec::new();
    file.read_to_end(&mut content).map(|_| content)
}

/// Makes a folder, and those above it that are missing, that its user alone enters.
///
/// # Errors
/// It cannot be made.
pub fn private_folder(path: &Path) -> std::io::Result<()> {
    DirBuilder::new().recursive(true).mode(0o700).create(path)
}

/// The same for a folder that others may look into, and not write to.
///
/// # Errors
/// It cannot be made.
pub fn folder(path: &Path) -> std::io::Result<()> {
    DirBuilder::new().recursive(true).mode(0o755).create(path)
}

/// A word quoted for a shell, where that is needed.
pub fn quoted(word: impl AsRef<OsStr>) -> String {
    let word = word.as_ref().to_string_lossy();
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_=/.,:+@%".contains(c);
    if !word.is_empty() && word.chars().all(plain) {
        word.into_owned()
    } else {
        format!("'{}'", word.replace('\'', r"'\''"))
    }
}

/// Random bytes of the machine's kernel.
///
/// # Errors
/// /dev/urandom cannot be read.
pub fn random<const N: usize>() -> std::io::Result<[u8; N]> {
    let mut bytes = [0; N];
    File::open("/dev/urandom")?.read_exact(&mut bytes)?;
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_that_is_relative_or_of_a_project_does_not_count() {
        let dir = tempfile::tempdir().unwrap();
        let (project, other) = (dir.path().join("project"), dir.path().join("other"));
        std::fs::create_dir_all(project.join("bin")).unwrap();
        std::fs::create_dir(&other).unwrap();
        std::os::unix::fs::symlink(project.join("bin"), other.join("link")).unwrap();
        std::os::unix::fs::symlink(&other, project.join("out")).unwrap();
        let real = std::fs::canonicalize(&project).unwrap();
        let (bin, link, out) = (real.join("bin"), other.join("link"), real.join("out"));
        let given = ["", ".", "bin", "../x", bin.to_str().unwrap(), link.to_str().unwrap(), out.to_str().unwrap()];
        let projects = [real].into();
        let cleaned = |path: &str| cleaned(&path.into(), &projects).into_string().unwrap();
        assert_eq!(cleaned(&given.join(":")), SYSTEM, "nothing is left");
        let other = other.to_str().unwrap();
        assert_eq!(cleaned(&format!("{}:{other}:/usr/bin", given.join(":"))), format!("{other}:/usr/bin"));
        assert_eq!(cleaned(""), SYSTEM);
        let everything = [PathBuf::from("/")].into();
        assert_eq!(super::cleaned(&"/usr/bin:/opt/x".into(), &everything), "/usr/bin");
    }

    #[test]
    fn a_link_or_a_fifo_is_no_plain_file_and_not_waited_for() {
        let dir = tempfile::tempdir().unwrap();
        let at = |name: &str| dir.path().join(name);
        std::fs::write(at("file"), "text").unwrap();
        std::os::unix::fs::symlink("file", at("link")).unwrap();
        rustix::fs::mknodat(rustix::fs::CWD, at("fifo"), rustix::fs::FileType::Fifo, 0o600.into(), 0).unwrap();
        assert_eq!(std::io::read_to_string(open_plain(&at("file")).unwrap()).unwrap(), "text");
        for name in ["link", "fifo", ".", "none"] {
            assert!(open_plain(&at(name)).is_err(), "{name}");
        }
    }

    #[test]
    fn all_of_a_file_is_read_however_long_it_is() {
        use std::os::unix::fs::PermissionsExt;
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("file");
        for length in [0, 1, 31, 32, 33, 8192, (1 << 20) - 1, (1 << 20) + 7] {
            let text: Vec<u8> = (0..=255).cycle().take(length).collect();
            std::fs::write(&path, &text).unwrap();
            std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o640)).unwrap();
            let (read, mode) = read_plain_and_mode(&path).unwrap();
            assert!(read == text && mode & 0o7777 == 0o640, "{length}");
        }
        std::os::unix::fs::symlink("file", dir.path().join("link")).unwrap();
        assert!(read_plain_and_mode(&dir.path().join("link")).is_err());
    }

    #[test]
    fn a_file_that_cannot_be_written_stays_what_it_was() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("file");
        write_private(&path, "old").unwrap();
        std::fs::create_dir(dir.path().join("file.new")).unwrap();
        assert!(write_private(&path, "new").is_err());
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "old");
        std::fs::remove_dir(dir.path().join("file.new")).unwrap();
        write_private(&path, "new").unwrap();
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "new");
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 1);
    }

    #[test]
    fn a_program_is_looked_for_in_that_path() {
        let dir = tempfile::tempdir().unwrap();
        let mut command = program("true");
        assert!(command.current_dir(dir.path()).status().unwrap().success());
        assert_eq!(command.get_envs().find(|(name, _)| *name == "PATH").unwrap().1, Some(path().as_os_str()));
    }

    #[test]
    fn a_process_that_stays_has_nothing_open_of_what_this_one_was_given() {
        use std::os::fd::AsRawFd;
        let given = File::open("/dev/null").unwrap();
        fcntl_setfd(&given, FdFlags::empty()).unwrap();
        let has_it = |prepare: fn(&mut Command)| {
            let mut command = Command::new("test");
            command.arg("-e").arg(format!("/proc/self/fd/{}", given.as_raw_fd()));
            prepare(&mut command);
            command.status().unwrap().success()
        };
        assert!(has_it(lead_session), "or nothing is tried here");
        assert!(!has_it(keep_nothing_open));
    }
}
