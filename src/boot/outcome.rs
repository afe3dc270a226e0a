//! How a machine ended, judged from all that is known about it. Pure.

use std::fmt;
use std::time::Duration;

use schemars::JsonSchema;
use serde::Serialize;

use crate::error::{Error, Result};
use crate::event::Ending;
use crate::status;

/// How a run ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// The program ended with this status (128 + n for signal n), and all its bytes came.
    Exited(u8),
    /// The guest's kernel gave up.
    Panicked {
        /// The kernel's own words.
        words: String,
        /// Lines of the kernel log about it.
        excerpt: Vec<String>,
    },
    /// The program ended, and all its bytes came, but the guest's kernel complained, and that was not to be.
    Complained {
        /// The kernel's own words.
        words: String,
        /// The program's own status.
        program: u8,
    },
    /// The machine was ended because it took too long.
    TimeLimit {
        /// The limit.
        limit: Duration,
        /// What the guest was doing.
        state: GuestState,
        /// What the kernel says about it, or its last lines.
        excerpt: Vec<String>,
    },
    /// The guest went away by itself before the program's exit status came. Never a success.
    Lost {
        /// What is known about it.
        reason: String,
        /// The last lines of the kernel log.
        excerpt: Vec<String>,
    },
    /// The host could not do its part, or quiz: nothing is known of what was to be tried.
    Host {
        /// What went wrong.
        reason: String,
        /// The program's own status, when that came.
        program: Option<u8>,
        /// The last lines of the kernel log.
        excerpt: Vec<String>,
    },
    /// The user ended the machine by this signal.
    Interrupted(i32),
}

/// What the file `result.json` of a run's machine has.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
pub struct Recorded {
    /// How it ended, in words.
    pub how: String,
    /// The exit status of `quiz up`, or what it would have been.
    pub status: u8,
    /// The program's own, when it came.
    pub program: Option<u8>,
    /// What the guest's kernel complained about.
    pub complaints: Vec<String>,
}

/// What a guest was doing when its time was over.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum GuestState {
    /// It did not come as far as to take a request.
    Booting,
    /// The agent answers, so the program still runs.
    Runs,
    /// The agent does not answer: the guest hangs.
    Hangs,
}

impl Outcome {
    /// The exit status of `quiz up`, as [`status::UP`] has them.
    pub fn status(&self) -> u8 {
        match self {
            Self::Exited(status) => *status,
            Self::Lost { .. } => status::LOST,
            Self::Panicked { .. } | Self::Complained { .. } => status::PANICKED,
            Self::TimeLimit { .. } => status::TIME_LIMIT,
            Self::Host { .. } => status::HOST,
            Self::Interrupted(signal) => status::signal(*signal),
        }
    }

    /// What kind of end that status stands for.
    pub fn ending(&self) -> Ending {
        match self {
            Self::Exited(_) => Ending::Program,
            Self::Lost { .. } => Ending::Lost,
            Self::Panicked { .. } => Ending::Panic,
            Self::Complained { .. } => Ending::Warning,
            Self::TimeLimit { .. } => Ending::TimeLimit,
            Self::Host { .. } => Ending::Host,
            Self::Interrupted(_) => Ending::Signal,
        }
    }

    /// The program's own status, when that came.
    pub fn program(&self) -> Option<u8> {
        match self {
            Self::Exited(program) | Self::Complained { program, .. } => Some(*program),
            Self::Host { program, .. } => *program,
            _ => None,
        }
    }

    /// As [`Self::status`], but with `lost`, if given, for a guest that went away by itself.
    pub fn status_as(&self, lost: Option<u8>) -> u8 {
        match (self, lost) {
            (Self::Lost { .. }, Some(other)) => other,
            _ => self.status(),
        }
    }

    /// Lines of the kernel log that explain it.
    pub fn excerpt(&self) -> &[String] {
        match self {
            Self::Panicked { excerpt, .. }
            | Self::TimeLimit { excerpt, .. }
            | Self::Lost { excerpt, .. }
            | Self::Host { excerpt, .. } => excerpt,
            Self::Exited(_) | Self::Complained { .. } | Self::Interrupted(_) => &[],
        }
    }
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Exited(status) => write!(f, "the program ended with status {status}"),
            Self::Panicked { words, .. } => write!(f, "the guest's kernel gave up: {words}"),
            Self::Complained { words, program } => {
                write!(f, "the guest's kernel complained: {words}; the program itself ended with status {program}")
            }
            Self::TimeLimit { limit, state, .. } => {
                let state = match state {
                    GuestState::Booting => "the guest was not ready",
                    GuestState::Runs => "the program still ran",
                    GuestState::Hangs => "the guest hung",
                };
                write!(f, "{state} after {} s", limit.as_secs_f32())
            }
            Self::Lost { reason, .. } => write!(f, "the machine was lost: {reason}"),
            Self::Host { reason, program: None, .. } => write!(f, "not the guest's fault: {reason}"),
            Self::Host { reason, program: Some(status), .. } => {
                write!(f, "not the guest's fault: {reason}; the program itself ended with status {status}")
            }
            Self::Interrupted(signal) => write!(f, "ended by {}", super::signals::name(*signal)),
        }
    }
}

/// What came of saving a machine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Saved {
    /// It is saved.
    Done,
    /// The guest is in no state to be restored into another run, and why. It would be the same each time.
    Never(String),
    /// It did not work this time, and why.
    Failed(String),
}

/// What the machine that runs came to, as `phase` decides it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum End {
    /// The program ended with this status, and all its bytes came.
    Exited(u8),
    /// The guest's kernel said that it gave up.
    Panicked,
    /// The limit that was over, and what the guest was doing.
    Limit(Duration, GuestState),
    /// The guest went away, and how.
    Lost(String),
    /// The host's fault, or quiz's: which, and the program's status when that came.
    Host { why: String, program: Option<u8> },
    /// The agent said why it could not go on.
    Failed(String),
    /// What the machine was started from, or its accelerator, brought nothing to life; and why, when that was said.
    NoLife(Option<String>),
    /// The signal by which the user ended the machine.
    Interrupted(i32),
}

/// What kernel, guest and qemu said of the end.
#[derive(Debug, Default)]
pub(super) struct Words {
    /// The panic's line on the console.
    pub(super) panic: Option<String>,
    /// What the console says about it.
    pub(super) excerpt: Vec<String>,
    /// What the kernel said while the guest was looked at.
    pub(super) look: Vec<String>,
    /// What qemu wrote to its log.
    pub(super) qemu: String,
    /// What the kernel complained about, if that counts as a failure.
    pub(super) complaint: Option<String>,
}

/// Makes the outcome of a run out of the machine's end and of what was said about it.
///
/// # Errors
/// When the guest did not get as far as the program because of the image or of qemu, not of what is tested.
pub(super) fn judge(end: End, words: Words) -> Result<Outcome> {
    let Words { panic, excerpt, look, qemu, complaint } = words;
    Ok(match end {
        End::Exited(program) => match complaint {
            Some(words) => Outcome::Complained { words, program },
            None => Outcome::Exited(program),
        },
        End::Interrupted(signal) => Outcome::Interrupted(signal),
        End::Limit(limit, state) => {
            Outcome::TimeLimit { limit, state, excerpt: if look.is_empty() { excerpt } else { look } }
        }
        End::Panicked => {
            let words = panic.unwrap_or_else(|| "a panic without a word on the console".into());
            Outcome::Panicked { words, excerpt }
        }
        End::Lost(reason) => Outcome::Lost { reason, excerpt },
        End::Host { why, program } => Outcome::Host { reason: why, program, excerpt },
        End::Failed(why) => {
            let error = Error::boot(format!("the guest could not start the program: {why}"));
            return Err(excerpt.into_iter().fold(error, Error::detail));
        }
        End::NoLife(why) => {
            let error = Error::boot("qemu could not start the machine");
            return Err(why.iter().map(String::as_str).chain(qemu.lines()).fold(error, Error::detail));
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn judged(end: End) -> Outcome {
        judge(end, Words { excerpt: vec!["last".into()], ..Words::default() }).unwrap()
    }

    #[test]
    fn each_end_has_a_status_and_words() {
        let host = |program| End::Host { why: "cannot write stdout: x".into(), program };
        for (end, status, words) in [
            (End::Exited(0), 0, "the program ended with status 0"),
            (End::Lost("it powered off".into()), 122, "the machine was lost: it powered off"),
            (End::Panicked, 123, "the guest's kernel gave up: a panic without a word on the console"),
            (End::Limit(Duration::from_secs(5), GuestState::Hangs), 124, "the guest hung after 5 s"),
            (host(None), 125, "not the guest's fault: cannot write stdout: x"),
            (
                host(Some(7)),
                125,
                "not the guest's fault: cannot write stdout: x; the program itself ended with status 7",
            ),
            (End::Interrupted(15), 143, "ended by SIGTERM"),
        ] {
            let outcome = judged(end);
            assert_eq!((outcome.status(), outcome.to_string().as_str()), (status, words));
        }
    }

    #[test]
    fn a_complaint_that_is_not_to_be_is_the_end_of_a_program_alone() {
        let judged = |end: End| judge(end, Words { complaint: Some("UBSAN: x".into()), ..Words::default() }).unwrap();
        let outcome = judged(End::Exited(0));
        assert_eq!(outcome.status(), status::PANICKED);
        let words = "the guest's kernel complained: UBSAN: x; the program itself ended with status 0";
        assert_eq!(outcome.to_string(), words);
        assert_eq!(judged(End::Interrupted(2)), Outcome::Interrupted(2));
        assert_eq!(judged(End::Lost("x".into())).status(), status::LOST);
    }

    #[test]
    fn a_time_limit_shows_the_look() {
        let end = End::Limit(Duration::from_secs(5), GuestState::Runs);
        let look = vec!["CPU 0".to_owned()];
        let words = Words { excerpt: vec!["old trouble".into()], look: look.clone(), ..Words::default() };
        assert_eq!(judge(end.clone(), words).unwrap().excerpt(), look);
        assert_eq!(judged(end).excerpt(), ["last"]);
    }

    #[test]
    fn a_machine_that_never_started_is_an_error_with_qemus_words() {
        let words = Words { qemu: "no such device\n".into(), ..Words::default() };
        assert_eq!(judge(End::NoLife(None), words).unwrap_err().details(), ["no such device"]);
        let failed = End::Failed("the hook 50-zfs failed with status 1".into());
        assert!(judge(failed, Words::default()).unwrap_err().to_string().contains("50-zfs"));
    }
}
