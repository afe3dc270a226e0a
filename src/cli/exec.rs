//! `quiz exec`: a further program in a machine that runs.

use super::args::Exec;
use super::{running, terminal};
use crate::boot::exec::{Ended, exec};
use crate::boot::{self, Request, Streams};
use crate::engine::{Engine, shares};
use crate::error::Result;
use crate::event::{Ending, Event};
use crate::status;

/// Runs it, and gives its exit status.
pub(super) fn run(engine: &Engine<'_>, asked: &Exec) -> Result<u8> {
    let run = running::living(engine, "exec", asked.id.as_deref())?;
    let tty = boot::terminal_size().filter(|_| !asked.no_input);
    let request = Request {
        program: asked.program.clone(),
        env: if tty.is_some() { terminal::passed_on() } else { Vec::new() },
        dir: shares::dir(&asked.cwd, None)?.into(),
        tty,
        shell_after: false,
        shares: Vec::new(),
    };
    let (status, ending, how) = match exec(&run, request, &Streams::inherit(asked.no_input)?)? {
        Ended::Exited(status) => (status, Ending::Program, format!("the program ended with status {status}")),
        Ended::Left(signal) => (status::signal(signal), Ending::Signal, format!("quiz was ended by signal {signal}")),
        Ended::Lost => {
            let how = "the machine ended before the program did".to_owned();
            (engine.events)(Event::Ended { how: how.clone(), run: run.display().to_string() });
            (status::LOST, Ending::Lost, how)
        }
    };
    let program = Some(status).filter(|_| ending == Ending::Program);
    (engine.events)(Event::Outcome { status, ending, program, how });
    Ok(status)
}
