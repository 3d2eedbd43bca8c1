//! The runner: which ticks are due, and one run for each of them.

use std::sync::Arc;
use std::time::Duration;

use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::config::jobs::JobName;
use crate::config::live::Current;
use crate::jobs::hand::Refusal;
use crate::jobs::plan::Plan;
use crate::jobs::{Audience, Desk, Findings, Keys, Terms};
use crate::metrics::Metrics;
use crate::model::{Clock, UnixMs};
use crate::store::{Error, RunId, Store};

/// What a runner is made of.
#[derive(Clone)]
pub struct Parts {
    /// Where state lives.
    pub store: Arc<dyn Store>,
    /// Who hears of what a chore does.
    pub audience: Arc<dyn Audience>,
    /// Wall clock.
    pub clock: Clock,
    /// The keys for tokens.
    pub keys: Keys,
    /// The settings as they are now.
    pub live: Current,
    /// Counters.
    pub metrics: Arc<Metrics>,
    /// Host and process.
    pub holder: Arc<str>,
    /// The window in which a retried send is recognised.
    pub idempotency: Duration,
}

impl std::fmt::Debug for Parts {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Parts").finish_non_exhaustive()
    }
}

/// A run that is under way on this relay.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UnderWay {
    /// The run.
    pub run: RunId,
    /// When it began.
    pub since: UnixMs,
    /// What it has done so far.
    pub findings: Findings,
}

/// Runs jobs.
#[derive(Debug)]
pub struct Runner(Parts);

impl Runner {
    /// A runner that does nothing before [`Self::run`].
    #[must_use]
    pub fn new(parts: Parts) -> Arc<Self> {
        Arc::new(Self(parts))
    }

    /// Runs jobs by schedule until `stop`; returns when no run is left.
    pub async fn run(self: Arc<Self>, _tasks: TaskTracker, stop: CancellationToken) {
        stop.cancelled().await;
    }

    /// What jobs work with, by the settings as they are now.
    #[must_use]
    pub fn desk(&self) -> Desk {
        let config = self.0.live.now();
        Desk {
            store: Arc::clone(&self.0.store),
            audience: Arc::clone(&self.0.audience),
            clock: self.0.clock.clone(),
            terms: Terms {
                idempotency: self.0.idempotency,
                idle_devices: config.jobs.idle_devices,
                keep_history: config.jobs.keep_history,
                key_age: config.jobs.key_age,
                keys_low: config.directory.keys_low,
            },
            keys: Arc::clone(&self.0.keys),
        }
    }

    /// The plans of all jobs, by the settings as they are now.
    #[must_use]
    pub fn plans(&self) -> Vec<Plan> {
        Plan::all(&self.0.live.now().jobs)
    }

    /// Begins a job by hand, in the background.
    ///
    /// # Errors
    ///
    /// [`Refusal`].
    #[expect(clippy::unused_async, reason = "not built yet")]
    pub async fn start(
        self: &Arc<Self>,
        _job: JobName,
        _timeout: Option<Duration>,
    ) -> Result<RunId, Refusal> {
        Err(Error::Unavailable("not built yet".into()).into())
    }

    /// The run of a job that is under way on this relay.
    #[must_use]
    pub fn progress(&self, _job: JobName) -> Option<UnderWay> {
        None
    }

    /// Ends the run of a job on this relay after the step that it is at. `false` when there is none.
    #[must_use]
    pub fn stop(&self, _job: JobName) -> bool {
        false
    }
}
