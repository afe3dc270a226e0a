//! What a job has come to, as answers of tools. Starts nothing.

use super::jobs::Job;
use super::outputs::{JobSoFar, Piece, Stream};
use super::pages::{self, Part, Text};
use crate::event::Ending;
use crate::status;
use schemars::JsonSchema;
use serde::Serialize;
use serde_json::{Value as Json, json};
use std::io;
use std::os::unix::process::ExitStatusExt;
use std::process::ExitStatus;

/// Events that are many and say little.
const FINE_GRAINED: [&str; 4] = ["output", "download", "format", "cached"];
/// Bytes of a result that goes along as it is.
const RESULT: u64 = 64 << 10;

/// A job, as every tool that starts one answers, and `job`.
#[derive(Debug, Serialize, JsonSchema)]
pub(super) struct Answer {
    /// Its number, for the tools job and stop.
    pub job: u32,
    /// What it runs: words behind quiz.
    pub command: Vec<String>,
    pub state: State,
    /// How long it has taken.
    pub seconds: f64,
    /// The number of its run, when it has one: for exec, logs and crash.
    pub run: Option<String>,
    /// The machine takes further programs, by exec.
    pub ready: bool,
    /// Once it has ended: how.
    pub exit: Option<Exit>,
    /// Why quiz could not do what was asked, and what to do next.
    pub error: Option<Json>,
    /// What happened, from the cursor on: each as `quiz schema events` has it.
    pub events: Vec<Json>,
    /// Bytes of events at the beginning that are no longer kept; 0 if all are there.
    pub events_cut: u64,
    /// The cursor for those that follow.
    pub next: u64,
    /// What the command says in the end, as `quiz schema` has it for that; null where it is no JSON, or is longer than 64 KiB: then stdout is its text.
    pub result: Option<Json>,
    /// What the program wrote to stdout.
    pub stdout: Text,
    /// What the program wrote to stderr.
    pub stderr: Text,
}

/// Whether a job goes on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub(super) enum State {
    Running,
    Ended,
}

/// How a job has ended.
#[derive(Debug, PartialEq, Eq, Serialize, JsonSchema)]
pub(super) struct Exit {
    /// The exit status of quiz.
    pub status: u8,
    /// Whose it is: of run and exec `program` (its own, whatever the number is), `lost` (122), `panic` and `warning` (123), `time-limit` (124), `host`
    /// (125) or `signal`; of everything else `quiz`, where 0 is fine.
    pub of: Whose,
    /// The same in words.
    pub words: String,
}

/// Whose a status is.
#[derive(Debug, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(untagged)]
pub(super) enum Whose {
    Machine(Ending),
    Quiz(Quiz),
}

#[derive(Debug, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub(super) enum Quiz {
    Quiz,
}

/// A line of the list of jobs.
#[derive(Debug, Serialize, JsonSchema)]
struct Short {
    job: u32,
    command: Vec<String>,
    state: State,
    exit: Option<Exit>,
}

/// What of a job is shown.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Wanted {
    pub events: Part,
    pub stdout_from: u64,
    pub stderr_from: u64,
    pub all: bool,
}

/// The command behind `quiz`.
fn command(job: &Job) -> String {
    job.words.first().map(|word| word.to_string_lossy().into_owned()).unwrap_or_default()
}

fn words(job: &Job) -> Vec<String> {
    job.words.iter().map(|word| word.to_string_lossy().into_owned()).collect()
}

/// How a job ended: its status, and what that is about.
fn exit(command: &str, ended: ExitStatus, told: &JobSoFar) -> Exit {
    let signal = ended.signal().map(status::signal);
    let number = ended.code().and_then(|code| u8::try_from(code).ok());
    let status = number.or(signal).unwrap_or(status::HOST);
    let has_machine = ["up", "exec"].contains(&command);
    let (of, words) = match &told.outcome {
        _ if signal.is_some() => (Whose::Machine(Ending::Signal), format!("quiz was ended by signal {}", status - 128)),
        Some((ending, words)) if has_machine => (Whose::Machine(*ending), words.clone()),
        _ if has_machine && status >= 128 => {
            (Whose::Machine(Ending::Signal), format!("ended by signal {}, before the program began", status - 128))
        }
        _ if has_machine => {
            (Whose::Machine(Ending::Host), "quiz or the host failed, before the program began".to_owned())
        }
        _ => (Whose::Quiz(Quiz::Quiz), of_quiz(command, status)),
    };
    Exit { status, of, words }
}

fn of_quiz(command: &str, status: u8) -> String {
    match (command, status) {
        (_, status::FINE) => "all went well".to_owned(),
        ("test", status::FAILED) => "a test did not come out as expected, or something could not be built".to_owned(),
        (_, status::FAILED) => "a stage or the host failed".to_owned(),
        (_, status::WRONG) => "what was asked for is wrong".to_owned(),
        (_, status) if status > 128 => format!("ended by signal {}", status - 128),
        (_, status) => format!("status {status}"),
    }
}

/// Why quiz could not do a job: the event `error`, or, where there is none, what quiz wrote to stderr: there it complains of a wrong command line.
fn error(job: &Job, exit: &Exit, told: &JobSoFar) -> io::Result<Option<Json>> {
    if told.error.is_some() || exit.of != Whose::Quiz(Quiz::Quiz) && exit.of != Whose::Machine(Ending::Host) {
        return Ok(told.error.clone().filter(|_| exit.status != status::FINE));
    }
    let said = job.files.read(Stream::Stderr, 0, pages::BYTES)?.bytes;
    let said = String::from_utf8_lossy(&said).trim().to_owned();
    let is_told = exit.status == status::FINE || said.is_empty() || told.outcome.is_some();
    Ok((!is_told).then(|| json!({ "event": "error", "kind": "input", "message": said, "hints": [] })))
}

/// The answer about a job, with what is wanted of it.
///
/// # Errors
/// Its files cannot be read.
pub(super) fn whole(job: &Job, wanted: Wanted) -> io::Result<Answer> {
    // Asked before anything is read: if the job has ended by now, what is found is all.
    let ended = job.ended();
    let told = job.files.told()?;
    let is_shown = |event: &Json| wanted.all || !FINE_GRAINED.iter().any(|name| event["event"] == *name);
    let (events, next) = job.files.events(wanted.events.cursor.unwrap_or(0), wanted.events.items(), is_shown)?;
    let result = if ended.is_some() { result(job)? } else { None };
    let text = |stream, from| {
        let most = if result.is_some() { 0 } else { pages::BYTES };
        let piece = job.files.read(stream, from, most)?;
        let is_whole = ended.is_some() && piece.from + piece.bytes.len() as u64 >= piece.total;
        let Piece { bytes, from, total, cut } = piece;
        io::Result::Ok(Text { cut, ..pages::text(&bytes, from, total, is_whole) })
    };
    let exit = ended.map(|(status, _)| exit(&command(job), status, &told));
    Ok(Answer {
        job: job.number,
        command: words(job),
        state: if ended.is_some() { State::Ended } else { State::Running },
        seconds: ended.map_or_else(|| job.begun.elapsed(), |(_, took)| took).as_secs_f64(),
        error: exit.as_ref().map_or(Ok(None), |exit| error(job, exit, &told))?,
        exit,
        events,
        events_cut: job.files.cut(Stream::Events),
        next,
        stdout: text(Stream::Stdout, wanted.stdout_from)?,
        stderr: text(Stream::Stderr, wanted.stderr_from)?,
        result,
        run: told.run,
        ready: told.ready && ended.is_none(),
    })
}

/// What a command prints in the end, other than a program's words.
fn result(job: &Job) -> io::Result<Option<Json>> {
    if ["up", "exec", "logs"].contains(&command(job).as_str()) {
        return Ok(None);
    }
    let Piece { bytes, total, .. } =
        job.files.read(Stream::Stdout, 0, usize::try_from(RESULT).unwrap_or(usize::MAX))?;
    Ok(if total > RESULT { None } else { serde_json::from_slice(&bytes).ok() })
}

/// The list of jobs, with a short entry for each.
///
/// # Errors
/// Their files cannot be read.
pub(super) fn list(jobs: &[std::sync::Arc<Job>]) -> io::Result<Vec<Json>> {
    let one = |job: &std::sync::Arc<Job>| {
        let (ended, told) = (job.ended(), job.files.told()?);
        let state = if ended.is_some() { State::Ended } else { State::Running };
        let exit = ended.map(|(status, _)| exit(&command(job), status, &told));
        io::Result::Ok(json!(Short { job: job.number, command: words(job), state, exit }))
    };
    jobs.iter().map(one).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(ending: Ending) -> JobSoFar {
        JobSoFar { outcome: Some((ending, "words".to_owned())), ..JobSoFar::default() }
    }

    #[test]
    fn a_programs_own_122_is_not_a_lost_machine() {
        let of = |command, raw, told: &JobSoFar| exit(command, ExitStatus::from_raw(raw), told);
        let program = of("up", 122 << 8, &told(Ending::Program));
        assert_eq!((program.status, program.of), (122, Whose::Machine(Ending::Program)));
        assert_eq!(of("up", 122 << 8, &told(Ending::Lost)).of, Whose::Machine(Ending::Lost));
        assert_eq!(of("exec", 124 << 8, &told(Ending::Program)).of, Whose::Machine(Ending::Program));
        // Without an event `outcome` quiz never began the program.
        assert_eq!(of("up", 125 << 8, &JobSoFar::default()).of, Whose::Machine(Ending::Host));
        assert_eq!(of("up", 143 << 8, &JobSoFar::default()).of, Whose::Machine(Ending::Signal));
        let killed = of("build", 9, &JobSoFar::default());
        assert_eq!((killed.status, killed.of), (137, Whose::Machine(Ending::Signal)));
        let failed = of("build", 1 << 8, &JobSoFar::default());
        assert_eq!((failed.of, failed.words.as_str()), (Whose::Quiz(Quiz::Quiz), "a stage or the host failed"));
    }
}
