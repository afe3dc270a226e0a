//! What scripts of stages open, as the kernel tells it (fanotify(7)): nothing of the host's, by device and inode.
//!
//! The process of an event may be gone when one asks. But each event has the mount through which the file was opened, and a sandbox has mounts
//! of its own: they are learned from any of its processes that still lives, and is below the one that is listened to. Other sandboxes come and go
//! meanwhile, of other tests, too. Where the kernel gives no mount the number of one that is gone (Linux 6.8), none of theirs is taken for ours.

use nix::sys::fanotify::{EventFFlags, Fanotify, InitFlags, MarkFlags, MaskFlags};
use rustix::fs::{AtFlags, CWD, StatxFlags};
use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File};
use std::os::fd::BorrowedFd;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI32, Ordering};
use std::time::Duration;

/// Where the host has its programs, libraries and settings.
const HOST: &[&str] = &["/usr", "/etc", "/opt", "/bin", "/sbin", "/lib", "/lib32", "/lib64", "/libx32"];

/// A file, whatever it is called.
type Id = (u64, u64);

/// What was opened in sandboxes.
#[derive(Debug)]
pub struct Opened {
    /// Files of the host, by path.
    pub host: BTreeSet<PathBuf>,
    /// Everything, by device and inode.
    pub all: BTreeSet<Id>,
}

/// Listens until it is asked what was opened.
pub struct Listener {
    end: Arc<AtomicBool>,
    of: Arc<AtomicI32>,
    thread: std::thread::JoinHandle<BTreeMap<u64, BTreeSet<Id>>>,
}

pub fn id(path: &Path) -> Id {
    let meta = fs::metadata(path).unwrap();
    (meta.dev(), meta.ino())
}

/// The file systems that hold the host's files, and `cache`. Who is not root may not listen.
pub fn listen(cache: &Path) -> Listener {
    let group = Fanotify::init(
        InitFlags::FAN_CLASS_NOTIF | InitFlags::FAN_CLOEXEC | InitFlags::FAN_NONBLOCK | InitFlags::FAN_UNLIMITED_QUEUE,
        EventFFlags::O_RDONLY | EventFFlags::O_CLOEXEC | EventFFlags::O_LARGEFILE,
    )
    .unwrap();
    for place in HOST.iter().map(Path::new).chain([cache]).filter(|place| place.exists()) {
        let what = MarkFlags::FAN_MARK_ADD | MarkFlags::FAN_MARK_FILESYSTEM;
        group.mark(what, MaskFlags::FAN_OPEN | MaskFlags::FAN_OPEN_EXEC, CWD, Some(place)).unwrap();
    }
    let end = Arc::new(AtomicBool::new(false));
    let of = Arc::new(AtomicI32::new(0));
    let (asked, quiz) = (end.clone(), of.clone());
    let thread = std::thread::spawn(move || {
        let mut by_mount: BTreeMap<u64, BTreeSet<Id>> = BTreeMap::new();
        let own = mounts("self");
        let mut its: BTreeSet<u64> = BTreeSet::new();
        loop {
            // What is there when it is asked for was opened before.
            let is_last = asked.load(Ordering::SeqCst);
            while let Ok(events) = group.read_events() {
                for event in &events {
                    assert!(!event.mask().contains(MaskFlags::FAN_Q_OVERFLOW), "events were lost");
                    let Some(fd) = event.fd() else { continue };
                    let (mount, file) = looked_at(fd);
                    by_mount.entry(mount).or_default().insert(file);
                    let process = event.pid();
                    if !own.contains(&mount) && !its.contains(&mount) && is_below(process, quiz.load(Ordering::SeqCst))
                    {
                        its.extend(mounts(&process.to_string()));
                    }
                }
            }
            if is_last {
                by_mount.retain(|mount, _| its.contains(mount) && !own.contains(mount));
                return by_mount;
            }
            std::thread::sleep(Duration::from_millis(5));
        }
    });
    Listener { end, of, thread }
}

/// The ids of all mounts that a process sees; none of one that is gone.
fn mounts(process: &str) -> BTreeSet<u64> {
    let text = fs::read_to_string(format!("/proc/{process}/mountinfo")).unwrap_or_default();
    let points = text.lines().map(|line| line.split(' ').nth(4).unwrap().replace("\\040", " "));
    points.filter_map(|point| mount(CWD, &format!("/proc/{process}/root{point}"), AtFlags::SYMLINK_NOFOLLOW)).collect()
}

/// The id of the mount in which a file is; nothing if it cannot be looked at any more.
fn mount(folder: BorrowedFd<'_>, path: &str, flags: AtFlags) -> Option<u64> {
    /// `STATX_MNT_ID_UNIQUE` of linux/stat.h. A kernel without it gives the id that mountinfo has.
    const UNIQUE: StatxFlags = StatxFlags::from_bits_retain(0x4000);
    let found = rustix::fs::statx(folder, path, flags | AtFlags::NO_AUTOMOUNT, StatxFlags::MNT_ID | UNIQUE).ok()?;
    Some(found.stx_mnt_id)
}

/// Whether a process is of this one's making, as far as its parents still live.
fn is_below(mut process: i32, top: i32) -> bool {
    while process > 1 && process != top {
        let status = fs::read_to_string(format!("/proc/{process}/status")).unwrap_or_default();
        let parent = status.lines().find_map(|line| line.strip_prefix("PPid:"));
        process = parent.map_or(0, |parent| parent.trim().parse().unwrap());
    }
    // The loop ends at 0 where a parent is gone, and `top` is 0 where there is no process to be below.
    process > 1 && process == top
}

/// The mount and the file of an open descriptor.
fn looked_at(fd: BorrowedFd<'_>) -> (u64, Id) {
    let meta = File::from(fd.try_clone_to_owned().unwrap()).metadata().unwrap();
    (mount(fd, "", AtFlags::EMPTY_PATH).unwrap(), (meta.dev(), meta.ino()))
}

impl Listener {
    /// What quiz's command gave, and what was opened in the sandboxes that it made.
    pub fn output(self, command: &mut Command) -> (Output, Opened) {
        let child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        self.of.store(child.id().cast_signed(), Ordering::SeqCst);
        let output = child.wait_with_output().unwrap();
        (output, self.opened())
    }

    /// Ends it. Bubblewrap itself is a program of the host's, opened before it makes the sandbox; so is all that is opened through the same
    /// mount.
    fn opened(self) -> Opened {
        self.end.store(true, Ordering::SeqCst);
        let mut by_mount = self.thread.join().unwrap();
        let bwrap = id(Path::new("/usr/bin/bwrap"));
        by_mount.retain(|_, files| !files.contains(&bwrap));
        let mut opened = Opened { host: BTreeSet::new(), all: by_mount.into_values().flatten().collect() };
        let mut waiting: Vec<PathBuf> = HOST.iter().map(PathBuf::from).collect();
        while let Some(path) = waiting.pop() {
            let Ok(meta) = fs::symlink_metadata(&path) else { continue };
            if meta.is_dir() {
                waiting.extend(fs::read_dir(&path).into_iter().flatten().map(|entry| entry.unwrap().path()));
            } else if opened.all.contains(&(meta.dev(), meta.ino())) {
                opened.host.insert(path);
            }
        }
        opened
    }
}
