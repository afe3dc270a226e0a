//! What the state machine is told, and what it wants done.

use std::process::ExitStatus;
use std::time::Duration;

use super::Sign;
use crate::boot::outcome::{End, Saved};
use crate::boot::qmp::Said;
use crate::boot::wire::{FromGuest, ToGuest};
use crate::machine::{Level, Start};

/// Something that happened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::boot) enum Input {
    /// Time passed. Whether bytes of the program wait for whoever reads them.
    Clock { waiting: bool },
    /// The guest's kernel said something.
    Spoke,
    /// All that the program made the kernel say was said.
    Quiet,
    /// The guest's kernel gave a sign that it gave up.
    Sign(Sign),
    /// The guest wrote to a disk before it was ready: a machine that is restored would not have that.
    Wrote(String),
    /// The agent spoke.
    Guest(FromGuest),
    /// qemu spoke.
    Qemu(Said),
    /// The memory is copied.
    Copied(Result<(), String>),
    /// So many bytes came of this stream of the program by now.
    Came(usize, u64),
    /// Nobody reads this stream any more.
    Unread(usize),
    /// What came of this stream cannot be written, and why.
    Unwritten(usize, String),
    /// The user sent quiz a signal.
    Signal(i32),
    /// The user ends the machine, as if by this signal.
    Leave(i32),
    /// The machine is gone, and qemu ended so.
    Gone(Option<ExitStatus>),
    /// All bytes that came are written.
    Written,
    /// All that the guest's kernel has said is read.
    Drained,
    /// Somebody wants the guest's memory, as it is.
    Dump,
    /// The writing of the guest's memory comes forward.
    Dumping,
    /// The guest's memory is written, or cannot be.
    Dumped,
}

/// Something to do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::boot) enum Effect {
    /// Tell qemu.
    Qemu(&'static [u8]),
    /// Send this byte to the kernel's console.
    Letter(u8),
    /// Tell the agent.
    Send(ToGuest),
    /// Tell it what its root consists of.
    Mount,
    /// Tell it what makes it a machine of its own.
    Wake,
    /// The program may start.
    Start,
    /// Tell qemu where to save the state.
    Save(Level),
    /// Copy the memory.
    Copy(Level),
    /// Tell what came of saving the machine at this level.
    Settle(Level, Saved),
    /// What was written to the shares last may be lost.
    Unsynced,
    /// Say what the guest wants its user to know.
    Note(String),
    /// Say that the kernel gave up after the program had ended; this, if its console has no words of that.
    LatePanic(&'static str),
    /// What the kernel said before explains nothing any more.
    Forget,
    /// The guest is looked at: what the kernel says from now on tells what it was doing.
    Look,
    /// Read all that the guest's kernel has said: it says no more.
    Drain,
    /// Write the memory of the machine, which stands still or is about to, because of this end; without one it goes on.
    Dump(Option<End>),
    /// Say that there is no dump, and why.
    NoDump(&'static str),
    /// Say that the machine is over and stands still, for somebody at a debugger.
    Shown,
    /// A step is done.
    Step(&'static str),
    /// End qemu at once.
    Kill,
}

/// What does not change while the machine lives.
#[derive(Debug, Clone)]
pub(in crate::boot) struct Plan {
    pub(in crate::boot) start: Start,
    /// Under KVM the kernel must have spoken within this time.
    pub(in crate::boot) kvm: Option<Duration>,
    /// A failure that only KVM can have caused is tried again without KVM.
    pub(in crate::boot) tried_again: bool,
    /// Somebody looks at it with a debugger: it is neither saved nor restored then.
    pub(in crate::boot) debugged: bool,
    /// It is the only machine: the first signal is the program's.
    pub(in crate::boot) alone: bool,
    /// A machine that is restored answers within this time.
    pub(in crate::boot) restored_within: Duration,
    pub(in crate::boot) ready_within: Duration,
    /// What is left of a guest that crashed is kept.
    pub(in crate::boot) dumps: bool,
    /// One that crashed stands still until somebody has looked at it.
    pub(in crate::boot) shows: bool,
    /// The program's time limit.
    pub(in crate::boot) timeout: Option<Duration>,
}
