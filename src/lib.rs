//! quiz: builds a kernel and a root file system as cached stages, and boots the result in qemu.
//!
//! One straight line, each room importing only those above it:
//!
//! | room | takes | gives |
//! |---|---|---|
//! | [`host`] | a program's name | where this machine has it |
//! | [`document`] | a TOML file | what is in it, and where |
//! | [`source`] | a wish ("6.1") | a pin in quiz.lock; the pinned files, fetched and unpacked |
//! | [`load`] | argv, settings, recipes, profiles | a `Project`: what was asked for |
//! | [`graph`] | recipes, options | a `Graph` of stages |
//! | [`build`] | a `Graph`, the cache | artifacts |
//! | [`machine`] | an image, devices | a `Machine`, and qemu's command for it |
//! | [`boot`] | a `Machine`, a request | an exit status |
//! | [`snapshot`] | the same, the cache | an exit status, of a machine that need not boot |
//! | [`mod@test`] | groups of tests, a `Machine` | how each test ended |
//! | [`engine`] | what is asked for of a project | its stages, planned and built; its machine |
//! | [`report`] | events, errors, results | text; the only room that prints |
//! | [`cli`] | the command line | what to call, in which order |

#![doc = include_str!("../docs/library.md")]

pub mod boot;
pub mod build;
pub mod cli;
pub mod document;
pub mod engine;
pub mod error;
pub mod event;
#[cfg(any(test, feature = "fuzz"))]
#[doc(hidden)]
pub mod fuzz;
pub mod graph;
pub mod host;
pub mod load;
pub mod machine;
pub mod report;
pub mod snapshot;
pub mod source;
pub mod status;
pub mod test;
