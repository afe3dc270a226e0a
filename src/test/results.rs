//! What all groups of a run came to, as plain data, and the exit status that follows.

use std::time::Duration;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::group::GroupEnd;
use crate::status;

/// What all groups came to.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
pub struct Results {
    /// In the order in which they were asked for; those that a signal kept from starting are among them.
    pub groups: Vec<GroupEnd>,
    /// The signal that ended the run.
    pub interrupted: Option<i32>,
    /// How long it took.
    pub took: Duration,
}

impl Results {
    /// The exit status: 0 when all ended as expected, else 1, or 128 + n for a signal.
    pub fn status(&self) -> u8 {
        match self.interrupted {
            Some(signal) => status::signal(signal),
            None if self.groups.iter().all(GroupEnd::is_good) => status::FINE,
            None => status::FAILED,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::group::{TestEnd, Verdict};
    use super::*;

    fn group(expected: bool) -> GroupEnd {
        let verdict = if expected { Verdict::Pass } else { Verdict::Fail };
        let test = TestEnd { name: "one".into(), verdict, expected, why: None, output: vec![], seconds: 1 };
        GroupEnd {
            name: "group".into(),
            folder: "1".into(),
            tests: vec![test],
            took: Duration::ZERO,
            complete: true,
            cached: false,
            allowed: vec![],
        }
    }

    #[test]
    fn the_status_is_true() {
        let mut results = Results { groups: vec![group(false), group(true)], interrupted: None, took: Duration::ZERO };
        assert_eq!(results.status(), 1);
        results.groups.remove(0);
        assert_eq!(results.status(), 0);
        results.interrupted = Some(2);
        assert_eq!(results.status(), 130);
    }
}
