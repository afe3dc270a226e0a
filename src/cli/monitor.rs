//! `quiz monitor`: qemu's own commands, in a machine that runs.

use super::args::Monitor as Asked;
use super::running;
use crate::boot::monitor::{Answer, GREETING, Monitor};
use crate::engine::Engine;
use crate::error::{Error, Result};
use crate::report;
use std::io::{BufRead, IsTerminal, Write};

/// Gives qemu one command, or each line of stdin.
pub(super) fn run(engine: &Engine<'_>, asked: &Asked) -> Result<()> {
    let mut monitor = Monitor::open(&running::living(engine, "monitor", asked.id.as_deref())?, GREETING)?;
    let must = |line: &str, refused: Option<String>| match refused {
        Some(why) => Err(Error::boot(format!("qemu refuses `{line}`: {why}"))),
        None => Ok(()),
    };
    if !asked.command.is_empty() {
        let line = asked.command.join(" ");
        return must(&line, one(&mut monitor, &line, asked.qmp)?);
    }
    let stdin = std::io::stdin().lock();
    let is_person = stdin.is_terminal();
    let prompt = || {
        // On stderr, since it is no result; without a prompt if that is closed.
        let _ = is_person.then(|| write!(std::io::stderr(), "(qemu) ").and_then(|()| std::io::stderr().flush()));
    };
    prompt();
    for line in stdin.lines() {
        let line = line.map_err(|e| Error::input("cannot read stdin").because(e))?;
        match one(&mut monitor, &line, asked.qmp)? {
            // A person types it once more; for a file the error ends it.
            Some(why) if is_person => report::result(&format!("{why}\n"))?,
            refused => must(&line, refused)?,
        }
        prompt();
    }
    Ok(())
}

/// Gives qemu one command, and shows what that returns. Gives qemu's reason if it was refused.
fn one(monitor: &mut Monitor, command: &str, qmp: bool) -> Result<Option<String>> {
    let answer = match command.trim() {
        "" => return Ok(None),
        command if qmp => monitor.ask(command, &mut |event| report::result(&format!("{event}\n")))?,
        command => monitor.human(command)?,
    };
    match answer {
        Answer::Refused(why) => return Ok(Some(why)),
        // qemu may be gone before it has answered `quit`.
        Answer::Ended if command.contains("quit") => {}
        Answer::Ended => {
            return Err(Error::boot("the machine ended before qemu answered")
                .hint("`quiz wait` tells its status, `quiz logs` its kernel's last words"));
        }
        Answer::Returned(value) if qmp => report::result(&format!("{value}\n"))?,
        Answer::Returned(text) => report::result(&text.as_str().unwrap_or_default().replace('\r', ""))?,
    }
    Ok(None)
}
