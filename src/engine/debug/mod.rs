//! What debug information says of a guest that crashed: the lines of its trace, and what lay in its memory.
//!
//! Pure readers of files. Knows no stages: the folders come from [`super::symbols`].

pub mod dbgmsg;
mod file;
#[cfg(any(test, feature = "fuzz"))]
pub(crate) mod fuzz;
mod guest;
pub mod lines;
pub mod tasks;
mod types;
