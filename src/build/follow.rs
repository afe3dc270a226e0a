//! Follows a command to its end, and passes on what it prints, line by line.
//!
//! The end is the command's own. A process that it left behind may hold the pipe open for ever, or write to it for ever.

use crate::error::{Error, Result};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Pid, PidfdFlags, pidfd_open};
use std::io::{PipeReader, Read};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

/// How long after the command's end the output of processes that it left behind is still read.
const GRACE: Duration = Duration::from_secs(1);
/// Bytes that are read at once: as many as a pipe holds.
const CHUNK: usize = 64 << 10;

/// What is called with each line, the line feed included.
pub(super) type Each<'a> = dyn FnMut(&[u8]) -> Result<()> + 'a;

/// Runs a command; what it prints, on stdout and stderr, goes to `each`. When that fails, or after `limit`, it is killed.
pub(super) fn follow(command: &mut Command, limit: Option<Duration>, each: &mut Each<'_>) -> Result<ExitStatus> {
    let pipe = |e: std::io::Error| Error::build("cannot make a pipe").because(e);
    let (reader, writer) = std::io::pipe().map_err(pipe)?;
    command.stdout(writer.try_clone().map_err(pipe)?).stderr(writer);
    let name = command.get_program().display().to_string();
    let mut child =
        command.spawn().map_err(|e| Error::build(format!("cannot start {name}")).because(e).hint("quiz doctor"))?;
    // `command` still holds the pipe's writing ends; if it kept them, the reader would never see the end of the pipe.
    command.stdout(Stdio::null()).stderr(Stdio::null());
    let passed = pass_on(&child, reader, limit, each);
    if passed.is_err() {
        // The next write to the pipe would end the command, but it may never write. An error here means that it has ended.
        let _ = child.kill();
    }
    let status = child.wait().map_err(|e| Error::build(format!("cannot wait for the end of {name}")).because(e))?;
    passed.map(|()| status)
}

fn pass_on(child: &Child, mut reader: PipeReader, limit: Option<Duration>, each: &mut Each<'_>) -> Result<()> {
    let broken = |e: std::io::Error| Error::build("cannot read what a script prints").because(e);
    // Linux before 5.3 has no pidfd: there the command counts as over when the pipe is closed.
    let mut running = pidfd_open(Pid::from_child(child), PidfdFlags::empty()).ok();
    let mut is_open = true;
    let mut deadline = limit.map(|limit| Instant::now() + limit);
    // Bytes that lay in the pipe when the command ended. They may be its last output, so they are read however late it is.
    let mut owed = 0;
    let (mut bytes, mut line) = (vec![0; CHUNK], Vec::new());
    while is_open || running.is_some() {
        let left = deadline.map(|deadline| deadline.saturating_duration_since(Instant::now()));
        if left.is_some_and(|left| left.is_zero()) && owed == 0 {
            if running.is_some() {
                return Err(Error::build(format!(
                    "the command did not end within {} s",
                    limit.unwrap_or_default().as_secs()
                )));
            }
            break;
        }
        let (readable, ended) = wait(is_open.then_some(&reader), running.as_ref(), left).map_err(broken)?;
        if ended {
            running = None;
            deadline = Some(Instant::now() + GRACE);
            owed = rustix::io::ioctl_fionread(&reader).map_err(|e| broken(e.into()))?;
        }
        if readable {
            match reader.read(&mut bytes) {
                Ok(read) => {
                    is_open = read > 0;
                    owed = owed.saturating_sub(read as u64);
                    pass_lines(&mut line, &bytes[..read], each)?;
                }
                Err(e) if e.kind() == std::io::ErrorKind::Interrupted => {}
                Err(e) => return Err(broken(e)),
            }
        }
    }
    if line.is_empty() { Ok(()) } else { each(&line) }
}

/// Whether there is something to read, or the pipe's end, and whether the process has ended.
fn wait(
    reader: Option<&PipeReader>,
    process: Option<&std::os::fd::OwnedFd>,
    left: Option<Duration>,
) -> std::io::Result<(bool, bool)> {
    let mut fds: Vec<PollFd<'_>> = reader.iter().map(|fd| PollFd::new(*fd, PollFlags::IN)).collect();
    fds.extend(process.iter().map(|fd| PollFd::new(*fd, PollFlags::IN)));
    let left = left.and_then(|left| Timespec::try_from(left).ok());
    match poll(&mut fds, left.as_ref()) {
        Ok(_) => {}
        Err(rustix::io::Errno::INTR) => return Ok((false, false)),
        Err(e) => return Err(e.into()),
    }
    let is_ready = |fd: Option<&PollFd<'_>>| fd.is_some_and(|fd| !fd.revents().is_empty());
    Ok((reader.is_some() && is_ready(fds.first()), process.is_some() && is_ready(fds.last())))
}

/// Passes on the lines that are whole, and keeps the rest.
fn pass_lines(line: &mut Vec<u8>, bytes: &[u8], each: &mut Each<'_>) -> Result<()> {
    for piece in bytes.split_inclusive(|byte| *byte == b'\n') {
        line.extend_from_slice(piece);
        if piece.ends_with(b"\n") {
            each(line)?;
            line.clear();
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    const CHATTER: &str = "while echo more; do sleep 0.05; done";

    /// What a shell's script prints, and how it ends; longer than this no test shall last.
    fn followed(script: &str, limit: Option<Duration>) -> (Vec<String>, Result<ExitStatus>) {
        let start = Instant::now();
        let mut lines = Vec::new();
        let status = follow(Command::new("sh").args(["-c", script]).stdin(Stdio::null()), limit, &mut |line| {
            lines.push(String::from_utf8_lossy(line).into_owned());
            Ok(())
        });
        assert!(start.elapsed() < Duration::from_secs(15), "{script}: {:?}", start.elapsed());
        (lines, status)
    }

    #[test]
    fn every_line_arrives_the_unfinished_last_one_too_and_stderr_in_its_place() {
        let (lines, status) = followed("seq 50000; echo word >&2; printf end; exit 7", None);
        assert_eq!(status.unwrap().code(), Some(7));
        assert_eq!((lines.len(), lines[49_999].as_str()), (50_002, "50000\n"));
        assert_eq!(lines[50_000..], ["word\n", "end"]);
    }

    #[test]
    fn the_commands_end_counts_not_the_pipes() {
        // Closed long before the end, and held after it, by a silent process and by a chatty one.
        let (lines, status) = followed("echo x; exec >&- 2>&-; sleep 0.3; exit 4", None);
        assert_eq!((lines.len(), status.unwrap().code()), (1, Some(4)));
        let (lines, status) = followed("seq 9999; sleep 20 & exit 3", None);
        assert_eq!((lines.len(), status.unwrap().code()), (9999, Some(3)));
        let (lines, status) = followed(&format!("({CHATTER}) & echo last; kill -9 $$"), None);
        assert!(lines.iter().any(|line| line == "last\n"));
        assert_eq!(status.unwrap().code(), None);
    }

    #[test]
    fn a_time_limit_and_a_listener_that_fails_end_the_command() {
        let limit = Some(Duration::from_secs(1));
        for script in ["exec sleep 20", "exec >&- 2>&-; exec sleep 20", CHATTER] {
            assert!(followed(script, limit).1.unwrap_err().to_string().contains("within 1 s"), "{script}");
        }
        let failed = follow(Command::new("yes").stdin(Stdio::null()), None, &mut |_| Err(Error::build("full")));
        assert_eq!(failed.unwrap_err().to_string(), "full");
    }
}
