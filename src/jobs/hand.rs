//! Jobs by hand: what a run would do, and a run for somebody who waits for it.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::config::jobs::JobName;
use crate::jobs::run::{Granted, Shift, TERM};
use crate::jobs::{Desk, Findings};
use crate::model::Clock;
use crate::store::{Begin, Begun, Error, Held, Outcome, Overlap, RunId, Store, Trigger};

/// What somebody asked for.
#[derive(Debug, Clone)]
pub struct Wish {
    /// Which job.
    pub job: JobName,
    /// Longest run.
    pub timeout: Duration,
    /// Who asks: host and process.
    pub holder: Arc<str>,
}

/// A run by hand that has ended.
#[derive(Debug, Clone)]
pub struct Ran {
    /// Its name in the history.
    pub run: RunId,
    /// What became of it.
    pub outcome: Outcome,
    /// What it did.
    pub findings: Findings,
    /// How long it took.
    pub took: Duration,
    /// Why it failed.
    pub error: Option<Arc<str>>,
}

/// Why there was no run.
#[derive(Debug, thiserror::Error)]
pub enum Refusal {
    /// Somebody else runs it.
    #[error("the job is running already")]
    Held(Held),
    /// The store cannot be used.
    #[error(transparent)]
    Store(#[from] Error),
}

/// Hears how far a run has come: after each step, with what was done so far.
pub type Progress<'a> = &'a (dyn Fn(&Findings) + Send + Sync);

/// What a run would do now. Changes nothing.
///
/// # Errors
///
/// [`Error`].
pub async fn look(job: JobName, desk: &Desk) -> Result<Findings, Error> {
    super::chores::look(job, desk).await
}

/// Runs a job now and waits for it, under its lease and with an entry in the history. `stop` ends it after the step
/// that it is at.
///
/// # Errors
///
/// [`Refusal`].
pub async fn run(
    wish: Wish,
    desk: Desk,
    progress: Progress<'_>,
    stop: CancellationToken,
) -> Result<Ran, Refusal> {
    let granted = begin(wish.job, &wish.holder, &*desk.store, &desk.clock).await?;
    let shift = Shift {
        desk: &desk,
        timeout: wish.timeout,
        stop: &stop,
        progress,
    };
    Ok(shift.work(&granted, super::chore(wish.job)).await)
}

/// Takes the lease for a run by hand.
pub(super) async fn begin(
    job: JobName,
    holder: &Arc<str>,
    store: &dyn Store,
    clock: &Clock,
) -> Result<Granted, Refusal> {
    let now = clock.now();
    let mut tick = now;
    for _ in 0..TRIES {
        // Schedules tick at whole seconds; a run by hand must not take the place of one.
        if tick.0.is_multiple_of(1000) {
            tick.0 += 1;
        }
        let begin = Begin {
            job: job.as_str().into(),
            tick,
            after: tick,
            trigger: Trigger::Hand,
            holder: Arc::clone(holder),
            term: TERM,
            overlap: Overlap::Skip,
            now,
        };
        let asked = Instant::now();
        match store.begin(&begin).await? {
            Begun::Granted(grant) => return Ok(Granted { grant, asked }),
            Begun::Held(held) => return Err(Refusal::Held(held)),
            Begun::Answered | Begun::Queued | Begun::Paused => tick.0 += 1,
        }
    }
    Err(Error::Unavailable("too many runs by hand at once".into()).into())
}

/// Milliseconds that are tried for a name that nobody has.
const TRIES: u32 = 100;
