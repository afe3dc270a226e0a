//! A machine as plain data: what the guest sees. How qemu is told about it is `qemu`'s business.
//!
//! Knows nothing of runs, of the cache, or of what is in an image.

use std::ffi::OsString;
use std::ops::Range;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use super::program::Qemu;

pub use crate::load::{Bus, DiskFormat, ShareMode};

/// The processor of a guest.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Arch {
    /// 64 bit x86.
    #[serde(rename = "x86_64")]
    X86_64,
}

impl Arch {
    /// The name of the qemu program for it.
    pub fn qemu(self) -> &'static str {
        match self {
            Self::X86_64 => "qemu-system-x86_64",
        }
    }
}

/// How the guest's instructions are run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Accel {
    /// By the processor, with the host kernel's KVM.
    Kvm,
    /// By qemu's translator, which works everywhere and is slow.
    Tcg,
}

impl Accel {
    /// The name that qemu and users know.
    pub fn name(self) -> &'static str {
        match self {
            Self::Kvm => "kvm",
            Self::Tcg => "tcg",
        }
    }
}

/// A folder of the host in the guest.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Share {
    /// Its 9p tag.
    pub tag: String,
    /// The folder on the host.
    pub path: PathBuf,
    /// The guest cannot write there.
    pub read_only: bool,
    /// Not each run makes use of it: its place comes with the request, and until then the guest knows nothing of it.
    pub spare: bool,
}

/// A disk that the guest may write.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Disk {
    /// Its serial number in the guest, which finds it there whatever its bus calls it.
    pub serial: String,
    /// How the guest sees it.
    pub bus: Bus,
    /// Its file on the host.
    pub path: PathBuf,
    /// How it lies there.
    pub format: DiskFormat,
    /// In bytes.
    pub size: u64,
    /// The file stays when the machine is gone.
    pub persistent: bool,
    /// What the guest has not written it reads of this file, which stays as it is: its path, and how it lies there.
    #[serde(skip)]
    pub over: Option<(PathBuf, DiskFormat)>,
}

/// The guest's network: qemu's user-mode NAT.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Net {
    /// TCP ports of the host's loopback that lead into the guest: host's, guest's.
    pub forward: Vec<(u16, u16)>,
}

/// Where a machine's first state comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Start {
    /// Its kernel boots.
    Cold,
    /// Its kernel boots, and its state is saved on the way, in these folders; then it goes on.
    Save {
        /// When nothing but the agent's layer is mounted.
        base: Option<PathBuf>,
        /// When the guest is ready.
        full: Option<PathBuf>,
    },
    /// It goes on from a base with other layers and the same devices, and may be saved when it is ready.
    Grow {
        /// The folder that the base was saved in.
        base: PathBuf,
        /// The folder to save it in.
        full: Option<PathBuf>,
    },
    /// It goes on as it was saved in this folder when it was ready.
    Restore(PathBuf),
    /// It goes on as it was saved in this folder after a program had run in it (`quiz snap`). It cannot be booted in the place of that.
    GoOn(PathBuf),
    /// It is saved when its program has ended, and then it is over.
    Keep {
        /// The folder in which one was saved that was ready; without it, its kernel boots.
        from: Option<PathBuf>,
        /// The folder to save it in.
        to: PathBuf,
    },
}

/// When a machine is saved.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Level {
    /// Kernel and agent live.
    Base,
    /// The root is laid out and the profiles' hooks have run.
    Full,
    /// A program has run.
    Kept,
}

impl Start {
    /// The folder of the snapshot that the machine starts from.
    pub fn from(&self) -> Option<&PathBuf> {
        match self {
            Self::Cold | Self::Save { .. } => None,
            Self::Grow { base, .. } => Some(base),
            Self::Restore(full) | Self::GoOn(full) => Some(full),
            Self::Keep { from, .. } => from.as_ref(),
        }
    }

    /// The folder in which it is saved at that level.
    pub fn to(&self, level: Level) -> Option<&PathBuf> {
        match (self, level) {
            (Self::Save { base, .. }, Level::Base) => base.as_ref(),
            (Self::Save { full, .. } | Self::Grow { full, .. }, Level::Full) => full.as_ref(),
            (Self::Keep { to, .. }, Level::Kept) => Some(to),
            _ => None,
        }
    }
}

/// The guest as data.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Machine {
    /// Its processor.
    pub arch: Arch,
    /// How it runs.
    pub accel: Accel,
    /// Where its first state comes from.
    pub start: Start,
    /// The qemu that runs it.
    pub qemu: Qemu,
    /// Memory in MiB.
    pub memory: u32,
    /// Number of processors.
    pub cpus: u32,
    /// Number of NUMA nodes over which memory and processors are spread; with 1 the guest is told of no node.
    pub nodes: u32,
    /// The kernel to start; for x86_64 a vmlinux with a PVH note, or a bzImage.
    pub kernel: PathBuf,
    /// The initrd from which the kernel starts, if its drivers are modules.
    pub initrd: Option<PathBuf>,
    /// Ticks of the kernel's clock a second, when that is known.
    pub hz: Option<u32>,
    /// Read-only raw images, /dev/vda first; the first one lies on top.
    pub layers: Vec<PathBuf>,
    /// Words for the kernel's command line, after quiz's own, so that they win.
    pub append: Vec<String>,
    /// Disks that it may write, after the layers.
    pub disks: Vec<Disk>,
    /// A network card.
    pub net: Option<Net>,
    /// Virtio-serial ports `quiz.<name>` that lead to sockets of these names in the run's folder.
    pub channels: Vec<String>,
    /// Folders of the host.
    pub shares: Vec<Share>,
    /// A device by which the guest's kernel tells the host that it panicked.
    pub pvpanic: bool,
    /// A source of random numbers.
    pub rng: bool,
    /// Arguments for qemu, after quiz's own.
    pub extra: Vec<OsString>,
}

impl Machine {
    /// Memory of each NUMA node in MiB; the first has what cannot be spread.
    pub fn node_sizes(&self) -> Vec<u32> {
        let (each, rest) = (self.memory / self.nodes, self.memory % self.nodes);
        (0..self.nodes).map(|node| each + if node == 0 { rest } else { 0 }).collect()
    }

    /// Where the guest has its memory, by physical address: ranges of bytes, each in one piece in qemu, in order.
    pub fn ram(&self) -> Vec<Range<u64>> {
        let total = u64::from(self.memory) << 20;
        let low = match self.arch {
            // qemu, hw/i386/pc_q35.c: below 4 GiB there are 2 GiB, or, if that is all there is, up to 2.75 GiB.
            Arch::X86_64 if total >= 0xb000_0000 => 0x8000_0000,
            Arch::X86_64 => total,
        };
        let (mut ram, mut at) = (Vec::new(), 0);
        for size in self.node_sizes() {
            let end = at + (u64::from(size) << 20);
            for (part, shift) in [(at.min(low)..end.min(low), 0), (at.max(low)..end.max(low), (4 << 30) - low)] {
                if !part.is_empty() {
                    ram.push(part.start + shift..part.end + shift);
                }
            }
            at = end;
        }
        ram
    }

    /// Whether it is run for gdb: qemu listens for one, or does not start the guest by itself.
    pub(crate) fn is_debugged(&self) -> bool {
        self.extra.iter().any(|word| ["-s", "-S", "-gdb", "--gdb"].iter().any(|gdb| word == gdb))
    }

    /// Whether it stands before its first instruction until a debugger lets it go on.
    pub(crate) fn waits_at_its_start(&self) -> bool {
        self.extra.iter().any(|word| word == "-S")
    }
}

#[cfg(test)]
mod tests {
    use super::super::qemu::tests::machine;
    use super::*;

    #[test]
    fn memory_lies_below_and_above_the_hole_for_devices() {
        let ram = |memory: u32, nodes: u32| Machine { memory, nodes, ..machine(Accel::Tcg) }.ram();
        let (mib, gib) = (1 << 20, 1 << 30);
        let one = |end| std::iter::once(0..end).collect::<Vec<_>>();
        assert_eq!(ram(1000, 1), one(1000 * mib));
        assert_eq!(ram(2815, 1), one(2815 * mib));
        assert_eq!(ram(2816, 1), [0..2 * gib, 4 * gib..4 * gib + 768 * mib]);
        assert_eq!(ram(1000, 3), [0..334 * mib, 334 * mib..667 * mib, 667 * mib..1000 * mib]);
        assert_eq!(ram(6144, 2), [0..2 * gib, 4 * gib..5 * gib, 5 * gib..8 * gib]);
    }
}
