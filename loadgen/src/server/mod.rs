//! What the server uses meanwhile: its `/metrics`, and `/proc` where it is on this host.
//!
//! Looks once a second, from a thread of its own, and knows nothing of messages.

mod exposition;
mod introduction;
mod process;
mod watch;

pub use exposition::Exposition;
pub use introduction::{Introduction, IntroductionError};
pub use process::{Process, listener_on};
pub use watch::{Pid, Target, Watch};

/// What was seen at a moment. What was counted so far goes on where a server was that came back after a crash.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Glance {
    /// Seconds on the run's clock.
    pub at: f64,
    /// Processor time so far, in seconds.
    pub cpu: Option<f64>,
    /// Resident memory, in bytes.
    pub rss: Option<u64>,
    /// Bytes given to the disk so far.
    pub written: Option<u64>,
    /// Commits so far.
    pub commits: Option<u64>,
    /// Envelopes accepted so far.
    pub accepted: Option<u64>,
    /// Envelopes that were acked before they had to be stored, so far.
    pub elided: Option<u64>,
}
