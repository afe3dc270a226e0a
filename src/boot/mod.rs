//! Boots a machine, runs one program in it, and says how that ended. Writes nothing but the run folder.
//!
//! | file | what |
//! |---|---|
//! | [`folder`] | `.quiz/runs/<number>` |
//! | [`channel`] | the host's end of a channel into the guest |
//! | `net` | whether the ports that lead into the guest are free |
//! | [`staging`] | where what comes from elsewhere becomes a part of a run |
//! | `sparse` | copies of files with holes |
//! | `spawn` | sockets and the process |
//! | `tsc` | how fast the host's time stamp counter counts |
//! | [`request`] | what the guest is asked to run |
//! | [`wire`] | frames on the control port |
//! | [`complaint`] | the reports in what the guest's kernel says, and those that are allowed |
//! | `marks` | the lines by which a kernel says that something is wrong |
//! | `console`, `qmp` | what the guest's kernel says, what qemu says |
//! | [`exec`] | programs that are started while it runs |
//! | `flow`, `tty`, `signals` | the program's bytes, the user's terminal, Ctrl-C |
//! | [`monitor`] | qemu's own commands, for whoever wants to give some |
//! | [`detach`] | a run that goes on when its user has the prompt back |
//! | [`crash`] | what is left of a guest that crashed |
//! | `limits` | what is done when: watchdogs, time limit, the look at a guest that hangs |
//! | `phase` | the machine that runs, as a pure state machine |
//! | `job` | what is asked of a run, and how it is watched |
//! | `session` | the loop that waits, tells it, and does what it wants done |
//! | [`outcome`] | the judgement |
//! | [`running`] | what a run's folder tells of its machine while that runs |
//! | `run` | all of it in order; KVM that does not work is tried again with TCG |
//!
//! Knows nothing of stages, recipes or the cache.

pub mod channel;
pub mod clean;
pub mod complaint;
mod console;
pub mod crash;
pub mod detach;
pub mod exec;
mod flow;
pub mod folder;
#[cfg(any(test, feature = "fuzz"))]
pub(crate) mod fuzz;
pub mod gdb;
mod job;
mod limits;
mod marks;
pub mod monitor;
mod net;
pub mod outcome;
mod passed;
mod phase;
mod qmp;
pub mod request;
mod run;
pub mod running;
mod session;
mod signals;
mod sparse;
mod spawn;
pub mod staging;
mod tsc;
mod tty;
pub mod wire;

/// What of the host a boot needs: program or file → Debian package.
pub const TOOLS: &[(&str, &str)] =
    &[("qemu-system-x86_64", "qemu-system-x86"), ("/usr/share/qemu/qboot.rom", "qemu-system-data")];

pub use complaint::{Allowed, Complaint, Heard};
pub use folder::{Retention, RunFolder};
pub use job::{Options, Streams};
pub use outcome::{GuestState, Outcome, Recorded, Saved};
pub use request::{HOME, Mounted, Request, Size};
pub use run::{Ran, Run, run};
pub use signals::Stop;
pub use tty::terminal_size;
