//! Plans and builds what a project boots, and runs a program in it: docs/library.md has the same. A test calls `main`, too.

#![allow(clippy::print_stdout, clippy::print_stderr, reason = "it is a program, not the library")]

use quiz::boot::Streams;
use quiz::build::StageState;
use quiz::engine::{Engine, IMAGE, Invocation, machine, program};
use quiz::error::Result;
use quiz::event::Event;

/// All of it, in order.
pub fn main() -> Result<()> {
    // From any thread, while something happens. Nothing is printed by the library itself.
    let events = |event: Event| eprintln!("{event:?}");
    // The project of the current folder; `Invocation` has folder, settings and whether the network may be used.
    let engine = Engine::open(&Invocation::default(), &events)?;
    let stages = engine.stages([IMAGE])?;
    for (id, state) in engine.plan(&stages)? {
        if !matches!(state, StageState::Known(_)) {
            println!("is not there: {}", stages.graph.stage(id).name);
        }
    }
    let prepared = machine::build(&engine, &stages, false)?;
    let words = ["uname", "-r"].map(Into::into).to_vec();
    let outcome = program::run(&engine, prepared, words, &Streams::inherit(true)?)?;
    println!("{outcome}");
    std::process::exit(outcome.status().into());
}
