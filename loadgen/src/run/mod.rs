//! A run: phases, workers, clients, and what is told while it lasts.
//!
//! Each worker is a thread with a runtime of its own and a share of the clients; nothing is shared on the way of a
//! message. Once a second a worker hands over what it counted, so that memory does not grow with the run.

mod bodies;
mod cast;
mod claims;
mod client;
mod collect;
mod conductor;
mod crew;
mod desk;
mod gate;
mod gauges;
mod hand;
mod inbox;
mod integrity;
mod load;
mod outbox;
mod pacer;
mod rules;
mod share;
mod shop;
mod slice;
mod target;
mod trail;
mod unanswered;
mod worker;

pub use gate::{Gate, Keeper};

pub use crate::outcome::{MOST_MOMENTS, Moment, Outcome, heat_rows};

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Instant;

use tokio_util::sync::CancellationToken;

use crate::clock::RunClock;
use crate::plan::Plan;
use crate::progress::Progress;
use crate::scenario::{Scenario, ScenarioError};
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
    /// Which agent this is, of how many: each has its part of the rate.
    pub agent: (u32, u32),
    /// Threads that generate.
    pub workers: u32,
    /// Where clients connect from, in turn; the system decides when there are none.
    pub sources: Vec<IpAddr>,
    /// Where the run waits for others when everybody is connected.
    pub gate: Option<Gate>,
    /// Shown while the run lasts.
    pub progress: Arc<Progress>,
    /// Ends the run early: what was measured until then is the outcome.
    pub stop: CancellationToken,
}

impl<W: Wire> Stage<W> {
    /// A run that begins now, on one thread, by itself, and that nobody watches.
    #[must_use]
    pub fn alone(place: W::Place, plan: Plan, passes: Arc<dyn Passes>, run: u64) -> Self {
        Self {
            place,
            plan,
            passes,
            run,
            clock: RunClock::starting_at(Instant::now()),
            agent: (0, 1),
            workers: 1,
            sources: Vec::new(),
            gate: None,
            progress: Arc::default(),
            stop: CancellationToken::new(),
        }
    }
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
    /// The scenario cannot be used.
    #[error("the scenario cannot be used")]
    Scenario(#[from] ScenarioError),
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

/// Runs a scenario to its end and says what was counted. Blocks; not to be called from within a runtime.
///
/// # Errors
///
/// [`RunError`] when nothing could be measured.
pub fn run<W: Wire>(scenario: &Scenario, stage: Stage<W>) -> Result<Outcome, RunError> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.map_err(|error| RunError::System {
        what: "runtime",
        error,
    })?;
    runtime.block_on(conductor::perform(scenario, stage))
}
