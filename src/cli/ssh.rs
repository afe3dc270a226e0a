//! `quiz ssh`: the host's ssh over a channel of a machine that runs.
//!
//! No network, no port, no known_hosts: who reaches the socket in the run's folder owns the machine.

use super::args::Ssh;
use super::running;
use crate::boot;
use crate::boot::running::is_up;
use crate::engine::Engine;
use crate::engine::ssh::{CLIENT, HOST, SSH, no_client, prepare};
use crate::error::{Error, Result};
use crate::host;
use crate::status;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};

/// Takes the place of quiz with ssh; with `--stdio` is the connection that ssh runs over.
///
/// # Errors
/// There is no such machine, it has no sshd, or no channel to it is free.
pub(super) fn run(engine: &Engine<'_>, ssh: &Ssh) -> Result<u8> {
    let run = find(engine, ssh.id.as_deref())?;
    let channel = boot::channel::take(&run, SSH)
        .map_err(|e| e.hint("quiz up -p ssh makes machines with sshd, and -p ssh:count=8 some with more channels"))?;
    if ssh.stdio {
        channel.relay(std::io::stdin(), std::io::stdout())?;
        return Ok(status::FINE);
    }
    drop(channel);
    let config = prepare(&engine.project)?;
    let mut command = host::program(CLIENT);
    command.arg("-F").arg(config).arg(if boot::terminal_size().is_some() { "-t" } else { "-T" });
    command.arg(format!("{HOST}{}", boot::folder::number(&run))).arg("--");
    // ssh joins its words to one line for the guest's shell; quoted, each word arrives as it is, as with `quiz up`.
    command.args(ssh.program.iter().map(host::quoted));
    Err(no_client(command.exec()))
}

/// The folder of the run that is meant: of that number, else the newest with a machine that has an sshd.
fn find(engine: &Engine<'_>, id: Option<&str>) -> Result<PathBuf> {
    let has = |run: &Path| run.join(format!("{SSH}.0")).exists();
    let Some(id) = id else {
        return running::every(engine, boot::folder::live)?.into_iter().find(|run| has(run) && is_up(run)).ok_or_else(
            || Error::input("no machine with the profile ssh runs here").hint("start one: quiz up -p ssh"),
        );
    };
    let number = id.strip_prefix(HOST).unwrap_or(id);
    let run = running::living(engine, "ssh", Some(number))?;
    if !has(&run) {
        return Err(Error::input(format!("run {number} was started without the profile ssh")).hint("quiz up -p ssh"));
    }
    Ok(run)
}
