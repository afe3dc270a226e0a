//! Programs that are started in a machine while it runs, any number at once, over one port of it.
//!
//! | file | what |
//! |---|---|
//! | `frame` | what is said on the port, and on the socket of the run's folder |
//! | `router` | beside the machine: moves frames between its port and whoever connected to the socket |
//! | `client` | who starts one, and is as long there as it runs |
//!
//! The guest's side is recipes/agent/exec.c. Neither side waits for a reader: of each stream no more is under way than its reader has room for.

mod client;
pub(super) mod frame;
mod router;

pub use client::{Ended, exec};
pub(super) use router::route;

#[cfg(test)]
mod tests;
