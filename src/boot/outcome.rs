//! How a machine ended, judged from all that is known about it. Pure.

use std::fmt;
use std::process::ExitStatus;
use std::time::Duration;

use crate::error::{Error, Result};

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
    /// The machine was ended because it took too long.
    TimeLimit {
        /// The limit.
        limit: Duration,
        /// What the guest was doing.
        state: State,
        /// What the kernel says about it, or its last lines.
        excerpt: Vec<String>,
    },
    /// The machine went away before the program's exit status came. Never a success.
    Lost {
        /// What is known about it.
        reason: String,
        /// The last lines of the kernel log.
        excerpt: Vec<String>,
    },
    /// The user ended the machine by this signal.
    Interrupted(i32),
}

/// What a guest was doing when its time was over.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum State {
    /// It did not come as far as to take a request.
    Booting,
    /// The agent answers, so the program still runs.
    Runs,
    /// The agent does not answer: the guest hangs.
    Hangs,
}

impl Outcome {
    /// The exit status of `quiz up`: the program's own, or 122 lost, 123 panicked, 124 time limit, 128 + n for a signal.
    pub fn status(&self) -> u8 {
        match self {
            Self::Exited(status) => *status,
            Self::Lost { .. } => 122,
            Self::Panicked { .. } => 123,
            Self::TimeLimit { .. } => 124,
            Self::Interrupted(signal) => 128 | u8::try_from(*signal).unwrap_or(0),
        }
    }

    /// Lines of the kernel log that explain it.
    pub fn excerpt(&self) -> &[String] {
        match self {
            Self::Panicked { excerpt, .. } | Self::TimeLimit { excerpt, .. } | Self::Lost { excerpt, .. } => excerpt,
            Self::Exited(_) | Self::Interrupted(_) => &[],
        }
    }
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Exited(status) => write!(f, "the program ended with status {status}"),
            Self::Panicked { words, .. } => write!(f, "the guest's kernel gave up: {words}"),
            Self::TimeLimit { limit, state, .. } => {
                let state = match state {
                    State::Booting => "the guest was not ready",
                    State::Runs => "the program still ran",
                    State::Hangs => "the guest hung",
                };
                write!(f, "{state} after {} s", limit.as_secs_f32())
            }
            Self::Lost { reason, .. } => write!(f, "the machine was lost: {reason}"),
            Self::Interrupted(signal) => write!(f, "ended by {}", super::signals::name(*signal)),
        }
    }
}

/// All that is known about a machine that is gone.
#[derive(Debug, Default)]
pub(super) struct Facts {
    /// The agent spoke.
    pub(super) hello: bool,
    /// The agent said why it could not go on.
    pub(super) failed: Option<String>,
    /// The program's status, when all its bytes came too.
    pub(super) exited: Option<u8>,
    /// The limit that was over, and what the guest was doing.
    pub(super) limit: Option<(Duration, State)>,
    /// The signal by which the user ended the machine.
    pub(super) interrupted: Option<i32>,
    /// The guest's kernel said by pvpanic that it panicked.
    pub(super) panicked: bool,
    /// The panic's line on the console.
    pub(super) panic_line: Option<String>,
    /// What the console says about it.
    pub(super) excerpt: Vec<String>,
    /// Why qemu says that the machine stopped.
    pub(super) shutdown: Option<String>,
    /// How qemu ended.
    pub(super) qemu: Option<ExitStatus>,
    /// What qemu wrote to its log.
    pub(super) qemu_says: String,
}

/// Judges.
///
/// # Errors
/// When the guest did not get as far as the program because of the image or of qemu, not of what is tested.
pub(super) fn judge(facts: Facts) -> Result<Outcome> {
    let excerpt = facts.excerpt;
    if let Some(signal) = facts.interrupted {
        return Ok(Outcome::Interrupted(signal));
    }
    if let Some(status) = facts.exited {
        return Ok(Outcome::Exited(status));
    }
    // Before panics: the look at a guest that hangs ends in one.
    if let Some((limit, state)) = facts.limit {
        return Ok(Outcome::TimeLimit { limit, state, excerpt });
    }
    if facts.panicked || facts.panic_line.is_some() {
        let words = facts.panic_line.unwrap_or_else(|| "a panic without a word on the console".into());
        return Ok(Outcome::Panicked { words, excerpt });
    }
    if let Some(why) = facts.failed {
        let error = Error::boot(format!("the guest could not start the program: {why}"));
        return Err(excerpt.into_iter().fold(error, Error::detail));
    }
    if !facts.hello && facts.qemu.and_then(|status| status.code()).is_some_and(|code| code != 0) {
        let error = Error::boot("qemu could not start the machine");
        return Err(facts.qemu_says.lines().fold(error, Error::detail));
    }
    let reason = match (facts.shutdown.as_deref(), facts.qemu) {
        (Some("guest-shutdown"), _) => "the guest powered off before the program ended".to_owned(),
        (Some("guest-reset"), _) => "the guest reset itself before the program ended".to_owned(),
        (Some(other), _) => format!("qemu ended ({other})"),
        (None, Some(status)) => format!("qemu ended ({status})"),
        (None, None) => "qemu is gone".to_owned(),
    };
    Ok(Outcome::Lost { reason, excerpt })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::process::ExitStatusExt;

    fn status(facts: Facts) -> u8 {
        judge(facts).unwrap().status()
    }

    #[test]
    fn only_a_status_that_came_is_the_programs() {
        assert_eq!(status(Facts { exited: Some(0), hello: true, ..Facts::default() }), 0);
        assert_eq!(status(Facts { hello: true, ..Facts::default() }), 122);
        assert_eq!(status(Facts { hello: true, shutdown: Some("guest-shutdown".into()), ..Facts::default() }), 122);
        assert_eq!(status(Facts { hello: true, qemu: Some(ExitStatus::from_raw(0)), ..Facts::default() }), 122);
    }

    #[test]
    fn either_sign_of_a_panic_is_enough_and_a_panic_before_the_agent_counts() {
        assert_eq!(status(Facts { panicked: true, ..Facts::default() }), 123);
        assert_eq!(status(Facts { panic_line: Some("Kernel panic".into()), ..Facts::default() }), 123);
    }

    #[test]
    fn a_program_that_only_wrote_about_a_panic_has_its_own_status() {
        assert_eq!(status(Facts { exited: Some(3), panic_line: Some("Kernel panic".into()), ..Facts::default() }), 3);
    }

    #[test]
    fn the_look_at_a_hang_is_no_panic() {
        let limit = Some((Duration::from_secs(5), State::Hangs));
        let outcome = judge(Facts { limit, panicked: true, ..Facts::default() }).unwrap();
        assert_eq!((outcome.status(), outcome.to_string().as_str()), (124, "the guest hung after 5 s"));
    }

    #[test]
    fn a_machine_that_never_started_is_an_error_with_qemus_words() {
        let qemu = Some(ExitStatus::from_raw(1 << 8));
        let error = judge(Facts { qemu, qemu_says: "no such device\n".into(), ..Facts::default() }).unwrap_err();
        assert_eq!(error.details(), ["no such device"]);
        let failed = Some("the hook 50-zfs failed with status 1".into());
        assert!(judge(Facts { failed, hello: true, ..Facts::default() }).unwrap_err().to_string().contains("50-zfs"));
    }

    #[test]
    fn a_qemu_that_was_killed_is_a_lost_machine() {
        let qemu = Some(ExitStatus::from_raw(9));
        assert_eq!(status(Facts { qemu, ..Facts::default() }), 122);
    }
}
