//! The tick source: tokio-cron-scheduler in UTC, which does nothing here but wake the runner once a second.
//!
//! Which ticks are due is worked out from the clock and the schedules (`rounds`), so that a wake-up that comes late, twice
//! or never loses nothing.
//!
//! # Why
//!
//! The scheduler's own runs overlap, outlive its shutdown, shift with daylight saving and may cease under load. So its
//! handler only rings a bell, and where it does not ring for half a minute we go without it.

use std::sync::Arc;
use std::time::Duration;

use tokio::runtime::{Handle, RuntimeFlavor};
use tokio::sync::Notify;
use tokio_cron_scheduler::{Job, JobScheduler, JobSchedulerError};

/// What wakes the runner.
pub(super) trait Beat: Send {
    /// Waits for the next time to look at the clock. Cancel safe.
    fn next(&mut self) -> impl Future<Output = ()> + Send;

    /// No further ones are needed.
    fn end(self) -> impl Future<Output = ()> + Send;
}

/// A pulse a second.
pub(super) struct Pulse {
    bell: Arc<Notify>,
    scheduler: Option<JobScheduler>,
}

impl Pulse {
    /// Starts it.
    pub(super) async fn start() -> Self {
        let bell = Arc::new(Notify::new());
        // On one thread the scheduler waits for itself; there sleeping has to do.
        let scheduler = match Handle::current().runtime_flavor() {
            RuntimeFlavor::CurrentThread => None,
            _many => scheduler(&bell).await,
        };
        Self { bell, scheduler }
    }

    /// How long to wait for a bell at most.
    const fn patience(&self) -> Duration {
        match self.scheduler {
            Some(_) => WITHOUT_A_BELL,
            None => SECOND,
        }
    }
}

impl Beat for Pulse {
    async fn next(&mut self) {
        // Running out of patience is a pulse like any other.
        let _ = tokio::time::timeout(self.patience(), self.bell.notified()).await;
    }

    async fn end(mut self) {
        if let Some(scheduler) = &mut self.scheduler
            && let Err(error) = scheduler.shutdown().await
        {
            tracing::debug!(%error, "the tick source did not end as it should");
        }
    }
}

async fn scheduler(bell: &Arc<Notify>) -> Option<JobScheduler> {
    match tokio::time::timeout(START, every_second(Arc::clone(bell))).await {
        Ok(Ok(scheduler)) => Some(scheduler),
        Ok(Err(error)) => {
            tracing::warn!(%error, "the tick source did not start; jobs go by sleeping");
            None
        }
        Err(_elapsed) => {
            tracing::warn!("the tick source did not start in time; jobs go by sleeping");
            None
        }
    }
}

async fn every_second(bell: Arc<Notify>) -> Result<JobScheduler, JobSchedulerError> {
    let scheduler = JobScheduler::new().await?;
    // A cron expression, not a period: periods are what ceases under load.
    let ring = Job::new("* * * * * *", move |_id, _scheduler| bell.notify_one())?;
    scheduler.add(ring).await?;
    scheduler.start().await?;
    Ok(scheduler)
}

/// Time between two pulses.
const SECOND: Duration = Duration::from_secs(1);

/// Time after which the runner looks at the clock by itself.
const WITHOUT_A_BELL: Duration = Duration::from_secs(30);

/// Time in which the scheduler starts, or never.
const START: Duration = Duration::from_secs(5);

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn a_pulse_comes_from_the_scheduler_again_and_again() {
        let mut pulse = Pulse::start().await;
        assert!(pulse.scheduler.is_some());
        for _ in 0..2 {
            let rung = tokio::time::timeout(Duration::from_secs(10), pulse.bell.notified()).await;
            assert_eq!(rung, Ok(()));
        }
        pulse.next().await;
        pulse.end().await;
    }

    #[tokio::test(start_paused = true)]
    async fn on_one_thread_a_pulse_comes_by_sleeping() {
        let mut pulse = Pulse::start().await;
        let start = tokio::time::Instant::now();
        pulse.next().await;
        assert_eq!(start.elapsed(), SECOND);
        pulse.end().await;
    }

    #[tokio::test(start_paused = true)]
    async fn a_scheduler_that_ceased_is_done_without() {
        let mut pulse = Pulse {
            bell: Arc::default(),
            scheduler: None,
        };
        assert_eq!(pulse.patience(), SECOND);
        pulse.bell.notify_one();
        let start = tokio::time::Instant::now();
        pulse.next().await;
        assert_eq!(start.elapsed(), Duration::ZERO);
    }
}
