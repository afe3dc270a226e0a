//! The integration tests, one binary. What needs a real boot is in `real`, the rest is hermetic and quick.

mod collect;
mod complaints;
mod devices;
mod edits;
mod ends;
mod engine;
mod fresh;
mod hurt;
mod kconfig;
mod kill;
mod listing;
mod openzfs;
mod planted;
mod project;
mod real;
mod results;
mod sandbox;
mod settings;
mod suite;
mod tidy;
mod tools;
mod trust;
mod umask;
mod uncompiled;
mod worktree;
