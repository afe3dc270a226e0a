//! The guest as plain data, and what the host needs to have one: its image, its disks, an accelerator, and qemu's command line.
//!
//! | file | what |
//! |---|---|
//! | [`guest`] | the guest as plain data |
//! | [`image`] | the image description, which names kernel and layers |
//! | [`qemu`] | the command line, a pure function of a machine |
//! | `program` | the qemu, installed or of a root of packages |
//! | [`accel`] | KVM or TCG |
//! | [`proof`] | whether qemu runs a guest at all |
//! | [`disk`] | the files of the guest's disks |
//!
//! Runs no machine, and knows nothing of runs, stages, recipes or the cache.

pub mod accel;
pub mod disk;
pub mod guest;
pub mod image;
mod program;
pub mod proof;
pub mod qemu;

pub use guest::{Accel, Arch, Bus, Disk, DiskFormat, Level, Machine, Net, Share, ShareMode, Start};
pub use program::Qemu;
