//! Starts qemu: sockets to inherit, the process, and its end.
//!
//! Knows nothing of what goes over the sockets.

use std::env;
use std::fs::{self, File};
use std::os::fd::AsRawFd;
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use rustix::fs::{MemfdFlags, memfd_create};
use rustix::net::sockopt::set_socket_send_buffer_size;

use super::folder::{MONITOR, RunFolder};
use super::qmp::Transport;
use super::sparse::copy_sparse;
use crate::error::{Error, Result, cannot};
use crate::host;
use crate::machine::qemu::{Fds, command, shown};
use crate::machine::{Machine, Start};

/// What the sockets between quiz and qemu are for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Port {
    /// qemu's own control channel.
    Qmp,
    /// The guest's ttyS0.
    Console,
    /// Frames to and from the agent.
    Control,
    /// Bytes to the program.
    Stdin,
    /// Bytes of the program.
    Stdout,
    /// Bytes of the program.
    Stderr,
    /// Frames of the programs that are started later. Not read here: see [`Wires::take`].
    Exec,
}

/// quiz's ends of the sockets, by [`Port`]; none of them blocks. `None` when the other end is gone.
#[derive(Debug)]
pub(super) struct Wires([Option<UnixStream>; 7]);

impl Wires {
    /// The socket, while it is open.
    pub(super) fn get(&self, port: Port) -> Option<&UnixStream> {
        self.0[port as usize].as_ref()
    }

    /// Takes the socket out, for somebody else to use.
    pub(super) fn take(&mut self, port: Port) -> Option<UnixStream> {
        self.0[port as usize].take()
    }

    /// Whether all sockets are closed that say anything of the machine.
    pub(super) fn are_closed(&self) -> bool {
        let speaking = [Port::Qmp, Port::Console, Port::Control, Port::Stdout, Port::Stderr];
        speaking.iter().all(|port| self.get(*port).is_none())
    }

    /// The other end is gone.
    pub(super) fn close(&mut self, port: Port) {
        self.0[port as usize] = None;
    }
}

/// The open files of a machine that is saved or restored.
#[derive(Debug)]
pub(super) struct SnapshotFiles {
    /// What it has as memory, of each NUMA node.
    pub(super) memory: Vec<File>,
    /// Everything else that it consists of, when it is restored, and how it came there.
    pub(super) from: Option<(File, Transport)>,
}

/// The names of the files in a snapshot's folder.
pub(super) const STATE: &str = "state";
pub(super) const CONSOLE: &str = "console.log";
pub(super) const TRANSPORT: &str = "transport";

/// The name of the file with the memory of a NUMA node.
pub(super) fn memory_name(node: usize) -> String {
    if node == 0 { "memory".to_owned() } else { format!("memory{node}") }
}

/// Opens what the machine starts from, and makes the memory of one that is saved.
fn open(machine: &Machine) -> Result<Option<SnapshotFiles>> {
    if machine.start == Start::Cold {
        return Ok(None);
    }
    let read = |path: &Path| File::open(path).map_err(|e| cannot("open", path, e));
    let from = match machine.start.from() {
        Some(folder) => Some((read(&folder.join(STATE))?, transport(folder)?)),
        None => None,
    };
    let nodes = machine.node_sizes().into_iter().enumerate();
    let of_node = |(node, size): (usize, u32)| match &machine.start {
        Start::Cold | Start::Save { .. } | Start::Keep { from: None, .. } => new_memory(size),
        Start::Grow { base: from, full: Some(_) } | Start::Keep { from: Some(from), .. } => {
            let memory = new_memory(size)?;
            let path = from.join(memory_name(node));
            copy_sparse(&read(&path)?, &memory).map_err(|e| cannot("copy", &path, e))?;
            Ok(memory)
        }
        Start::Grow { base: from, full: None } | Start::Restore(from) | Start::GoOn(from) => {
            let path = from.join(memory_name(node));
            // qemu opens it for writing although it writes nothing there.
            File::options().read(true).write(true).open(&path).map_err(|e| cannot("open", &path, e))
        }
    };
    let memory = nodes.map(of_node).collect::<Result<_>>()?;
    Ok(Some(SnapshotFiles { memory, from }))
}

/// How the state was written to that folder; it is read back in the same way.
fn transport(folder: &Path) -> Result<Transport> {
    let path = folder.join(TRANSPORT);
    let name = fs::read_to_string(&path).map_err(|e| cannot("read", &path, e))?;
    Transport::named(&name)
        .ok_or_else(|| Error::boot(format!("{} names {name:?}, a format that quiz does not know", path.display())))
}

/// Memory for a machine that will be saved. It is no file of the snapshot's folder: the guest would write each page to a disk.
fn new_memory(size: u32) -> Result<File> {
    let failed = |e: std::io::Error| Error::boot("cannot make the guest's memory").because(e);
    let memory = File::from(memfd_create("memory", MemfdFlags::CLOEXEC).map_err(|e| failed(e.into()))?);
    memory.set_len(u64::from(size) << 20).map_err(failed)?;
    Ok(memory)
}

/// A qemu that has closed its sockets is gone within this time, or is killed.
const LAST_MOMENT: Duration = Duration::from_secs(5);

/// A running qemu. It is killed when this is dropped, and by the host's kernel when the thread that called [`spawn`] ends.
#[derive(Debug)]
pub(super) struct Qemu(Child);

impl Qemu {
    /// Its process.
    pub(super) fn id(&self) -> u32 {
        self.0.id()
    }

    /// Ends it at once.
    pub(super) fn kill(&mut self) {
        // Only fails when it is gone already.
        let _ = self.0.kill();
    }

    /// Waits until it is gone, for which it has a moment.
    pub(super) fn wait(&mut self) -> Option<ExitStatus> {
        let begun = Instant::now();
        while begun.elapsed() < LAST_MOMENT {
            match self.0.try_wait() {
                Ok(Some(status)) => return Some(status),
                Ok(None) => thread::sleep(Duration::from_millis(1)),
                Err(_) => return None,
            }
        }
        self.kill();
        self.0.wait().ok()
    }
}

impl Drop for Qemu {
    fn drop(&mut self) {
        self.kill();
        self.wait();
    }
}

/// Has glibc (2.35 and later; before that only the threshold counts) ask for huge pages for qemu's heap, and put there what it would map by itself.
/// Each device of 9P fills two hash tables of 1 MiB when it is made (hw/9pfs/9p.c), each device of virtio a thousand queues: 7,000 of the 13,500
/// page faults of a run. A user who has such a variable keeps it.
const MALLOC: (&str, &str) = ("GLIBC_TUNABLES", "glibc.malloc.hugetlb=1:glibc.malloc.mmap_threshold=4194304");

/// Starts `machine`. Its command and what it says go to the run folder.
pub(super) fn spawn(machine: &Machine, folder: &RunFolder) -> Result<(Qemu, Wires, Option<SnapshotFiles>)> {
    let snapshot = open(machine)?;
    let failed = |e: std::io::Error| Error::boot("cannot make sockets for qemu").because(e);
    let pairs = (0..7).map(|_| UnixStream::pair()).collect::<std::io::Result<Vec<_>>>().map_err(failed)?;
    let (ours, theirs): (Vec<_>, Vec<_>) = pairs.into_iter().unzip();
    ours.iter().try_for_each(|socket| socket.set_nonblocking(true)).map_err(failed)?;
    // As many of the console's single bytes wait in the socket as Linux allows; with fewer the guest's kernel would have to wait.
    set_socket_send_buffer_size(&theirs[Port::Console as usize], 1 << 20).map_err(|e| failed(e.into()))?;
    let number = |port: Port| theirs[port as usize].as_raw_fd();
    let channels = machine.channels.iter().map(|name| folder.listen(name)).collect::<Result<Vec<_>>>()?;
    // Not every file system has sockets: then there is none, and `quiz monitor` says so.
    let monitor = folder.listen(MONITOR).ok();
    let fds = Fds {
        qmp: number(Port::Qmp),
        monitor: monitor.as_ref().map(AsRawFd::as_raw_fd),
        console: number(Port::Console),
        control: number(Port::Control),
        stdin: number(Port::Stdin),
        stdout: number(Port::Stdout),
        stderr: number(Port::Stderr),
        exec: number(Port::Exec),
        channels: channels.iter().map(AsRawFd::as_raw_fd).collect(),
        memory: snapshot.iter().flat_map(|snapshot| &snapshot.memory).map(AsRawFd::as_raw_fd).collect(),
    };
    let words = command(machine, &fds);
    host::write_private(&folder.command(), &(shown(machine, &fds) + "\n"))
        .map_err(|e| cannot("write", &folder.command(), e))?;
    let log = host::private_file()
        .truncate(true)
        .open(folder.qemu_log())
        .map_err(|e| cannot("write", &folder.qemu_log(), e))?;
    let again = log.try_clone().map_err(failed)?;

    let mut process = Command::new(&words[0]);
    // A group of its own: Ctrl-C on the terminal is for quiz to decide about.
    process
        .args(&words[1..])
        .envs(machine.qemu.variable())
        .envs(env::var_os(MALLOC.0).is_none().then_some(MALLOC))
        .stdin(Stdio::null())
        .stdout(log)
        .stderr(again)
        .process_group(0);
    host::tie(
        &mut process,
        theirs.iter().map(AsRawFd::as_raw_fd).chain(fds.monitor).chain(fds.channels).chain(fds.memory).collect(),
    );
    let child = process.spawn().map_err(|e| cannot("start", machine.qemu.path(), e))?;
    let mut ours = ours.into_iter();
    Ok((Qemu(child), Wires(std::array::from_fn(|_| ours.next())), snapshot))
}
