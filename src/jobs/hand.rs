//! Jobs by hand: what a run would do, and a run for somebody who waits for it.

use std::sync::Arc;
use std::time::Duration;

use tokio_util::sync::CancellationToken;

use crate::config::jobs::JobName;
use crate::jobs::{Desk, Findings};
use crate::store::{Error, Held, Outcome, RunId};

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
    let _ = (wish, desk, progress, stop);
    Err(Error::Unavailable("not built yet".into()).into())
}
