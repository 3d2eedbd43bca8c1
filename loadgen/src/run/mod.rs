//! A run: phases, workers, clients, and what is told while it lasts.
//!
//! Each worker is a thread with a runtime of its own and a share of the clients; nothing is shared on the way of a
//! message. Once a second a worker hands over what it counted, so that memory does not grow with the run.

pub use crate::outcome::{MOST_MOMENTS, Moment, Outcome, heat_rows};

use std::net::IpAddr;
use std::sync::Arc;

use tokio_util::sync::CancellationToken;

use crate::clock::RunClock;
use crate::plan::Plan;
use crate::progress::Progress;
use crate::scenario::Scenario;
use crate::wire::{Passes, Trouble, Wire};

/// What a run needs besides its scenario.
pub struct Stage<W: Wire> {
    /// Where the server is.
    pub place: W::Place,
    /// Who takes part.
    pub plan: Plan,
    /// Their tokens.
    pub passes: Arc<dyn Passes>,
    /// Names the run in every label.
    pub run: u64,
    /// The run's clock. Workers begin when it passes zero.
    pub clock: RunClock,
    /// Threads that generate.
    pub workers: u32,
    /// Where clients connect from, in turn; the system decides when there are none.
    pub sources: Vec<IpAddr>,
    /// Shown while the run lasts.
    pub progress: Arc<Progress>,
    /// Ends the run early: what was measured until then is the outcome.
    pub stop: CancellationToken,
}

impl<W: Wire> std::fmt::Debug for Stage<W> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Stage({} clients)", self.plan.clients.len())
    }
}

/// Why there is no outcome.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// Nobody could connect, or not everybody in time.
    #[error("{connected} of {clients} clients are connected")]
    NotConnected {
        /// Sessions that began.
        connected: u64,
        /// Sessions that there should be.
        clients: u64,
        /// What went wrong with one of the others.
        #[source]
        trouble: Trouble,
    },
    /// The devices could not be set up.
    #[error("the devices cannot be set up")]
    Setup(#[source] Trouble),
    /// The system has no thread, timer or file for it.
    #[error("the system gives no {what}")]
    System {
        /// What is wanted.
        what: &'static str,
        /// Why not.
        #[source]
        error: std::io::Error,
    },
}

/// Runs a scenario to its end and says what was counted.
///
/// # Errors
///
/// [`RunError`] when nothing could be measured.
pub fn run<W: Wire>(scenario: &Scenario, stage: Stage<W>) -> Result<Outcome, RunError> {
    let _ = (scenario, stage);
    Err(RunError::System {
        what: "engine yet",
        error: std::io::ErrorKind::Unsupported.into(),
    })
}
