//! A user namespace of root's: whoever is in it may hold every capability, and holds none over the machine.
//!
//! An ordinary user gets one from bubblewrap, before anything is mounted. Root's is entered when all is mounted, so it is made here and
//! handed over. Of ids it has 0 alone, which anybody may map to his own (user_namespaces(7)): no /etc/subuid is read.

use crate::host;
use rustix::io::fcntl_dupfd_cloexec;
use rustix::thread::{UnshareFlags, unshare_unsafe};
use std::fs::File;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::process::CommandExt;
use std::process::Stdio;

/// The least number of its descriptor. bubblewrap leaves it open for the script, whose own are to have the low numbers: dash redirects to
/// none above 9, and mmdebstrap has it do so.
const DESCRIPTOR: i32 = 64;

/// Makes one that has the id 0 alone, which is root's outside, and as long as the file is open somebody can enter it. Of other ids' files
/// its capabilities say nothing.
///
/// # Errors
/// The kernel, or a container's filter, has none for root: the words for `refusal`.
pub(super) fn of_root() -> Result<OwnedFd, String> {
    make().map_err(|e| format!("quiz: a user namespace for root: {e}"))
}

fn make() -> io::Result<OwnedFd> {
    // A namespace is made by a process that goes into it, which quiz itself, having threads, cannot; and its map is written by one
    // that stayed outside. `cat` stays until its stdin is closed below.
    let mut command = host::program("cat");
    command.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::null());
    // SAFETY: between fork and exec it only makes a system call, and that parts it from nothing but the parent's user namespace.
    let enter = || unsafe { unshare_unsafe(UnshareFlags::NEWUSER) }.map_err(io::Error::from);
    // SAFETY: no allocation, no lock.
    unsafe { command.pre_exec(enter) };
    // `spawn` returns when the program has started, so after `enter`.
    let mut holder = command.spawn()?;
    let made = open(holder.id());
    drop(holder.stdin.take());
    holder.wait()?;
    made
}

/// Writes the maps of the namespace in which that process is, and opens it.
fn open(pid: u32) -> io::Result<OwnedFd> {
    for map in ["uid_map", "gid_map"] {
        std::fs::write(format!("/proc/{pid}/{map}"), "0 0 1\n")?;
    }
    let namespace = File::open(format!("/proc/{pid}/ns/user"))?;
    Ok(fcntl_dupfd_cloexec(&namespace, DESCRIPTOR)?)
}
