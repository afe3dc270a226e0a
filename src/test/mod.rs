//! Runs groups of tests, each in a machine of its own, side by side, and says how each test ended.
//!
//! | file | what |
//! |---|---|
//! | [`runfile`] | the ZFS Test Suite's lists of groups, read and written |
//! | [`select`] | which of them are wanted: by tag, by name |
//! | [`since`] | which of them what changed can touch |
//! | [`group`] | what one machine is asked to do, and how its tests ended |
//! | `transcript` | what the suite's runner prints, read as it comes |
//! | `judge` | how each test of a group ended, also when the machine did not live to tell |
//! | `blame` | which test the kernel complained in |
//! | `logs` | the kernel log cut by test, what a test printed |
//! | [`memo`] | results that the cache remembers |
//! | `estimate` | how far they are, and how long the rest takes |
//! | [`history`] | what earlier runs came to, and the kernel's log of a test |
//! | `results` | what all groups came to |
//! | [`schedule`] | groups over machines |
//! | [`output`] | junit.xml, results.tap, results.json |
//!
//! Knows nothing of stages and recipes, and not how an image is made.

mod blame;
mod estimate;
#[cfg(any(test, feature = "fuzz"))]
pub(crate) mod fuzz;
pub mod group;
pub mod history;
mod judge;
mod logs;
pub mod memo;
pub mod output;
mod results;
pub mod runfile;
pub mod schedule;
pub mod select;
pub mod since;
mod transcript;

pub use group::{Group, GroupEnd, Reads, TestEnd, Verdict};
pub use results::Results;
pub use schedule::Plan;
