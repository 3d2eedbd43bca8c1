//! What is counted and said of jobs: their metrics, and a line in the log for a run that is worth one.

use std::time::Duration;

use crate::config::jobs::JobName;
use crate::jobs::hand::Ran;
use crate::jobs::plan::Plan;
use crate::metrics::{JobOutcome, Metrics, OfJob};
use crate::model::UnixMs;
use crate::store::{JobState, Outcome};

const fn of(job: JobName) -> OfJob {
    OfJob {
        job_name: job.as_str(),
    }
}

/// A run has begun here.
pub(super) fn began(metrics: &Metrics, job: JobName) {
    metrics.job_running.get_or_create(&of(job)).inc();
}

/// A run has left this relay, in whatever way.
pub(super) fn ended(metrics: &Metrics, job: JobName) {
    metrics.job_running.get_or_create(&of(job)).dec();
}

/// One more with this outcome.
pub(super) fn count(metrics: &Metrics, job: JobName, outcome: Outcome) {
    let labels = JobOutcome {
        job_name: job.as_str(),
        outcome: outcome.as_str(),
    };
    metrics.job_runs.get_or_create(&labels).inc();
}

/// A run has come to its end.
pub(super) fn ran(metrics: &Metrics, job: JobName, ran: &Ran) {
    count(metrics, job, ran.outcome);
    let work = &ran.findings.work;
    metrics
        .job_duration
        .get_or_create(&of(job))
        .observe(ran.took.as_secs_f64());
    metrics.job_affected.get_or_create(&of(job)).inc_by(work.affected);
    let (outcome, affected, retries) = (ran.outcome.as_str(), work.affected, work.retries);
    let (job, took, attempt) = (job.as_str(), ran.took, ran.run.attempt);
    match ran.outcome {
        Outcome::Done | Outcome::Stopped if affected > 0 || took > WORTH_A_LINE => {
            tracing::info!(job, outcome, affected, retries, attempt, ?took, "a job has run");
        }
        Outcome::Failed | Outcome::TimedOut | Outcome::Panicked | Outcome::LeaseLost => {
            let error = ran.error.as_deref().unwrap_or_default();
            tracing::warn!(
                job,
                outcome,
                affected,
                retries,
                attempt,
                ?took,
                error,
                "a job did not do all it should"
            );
        }
        Outcome::Done
        | Outcome::Stopped
        | Outcome::Crashed
        | Outcome::Running
        | Outcome::Queued
        | Outcome::Skipped
        | Outcome::Paused
        | Outcome::Missed => tracing::debug!(job, outcome, retries, attempt, ?took, "a job has run"),
    }
}

/// What the store knows of a job, and what its plan says.
pub(super) fn refresh(metrics: &Metrics, plan: &Plan, state: Option<&JobState>, now: UnixMs) {
    let job = of(plan.job);
    let next = plan
        .schedule
        .as_ref()
        .and_then(|schedule| schedule.next_after(now));
    match (next, plan.interval(now)) {
        (Some(next), Some(interval)) => {
            metrics.job_next_run.get_or_create(&job).set(seconds(next));
            let interval = i64::try_from(interval.as_secs()).unwrap_or(i64::MAX);
            metrics.job_interval.get_or_create(&job).set(interval);
        }
        // A job that is off has no next run, and nobody should wait for its success.
        (None, _) | (_, None) => {
            metrics.job_next_run.remove(&job);
            metrics.job_interval.remove(&job);
        }
    }
    if let Some(state) = state {
        let success = state.last_success.unwrap_or(state.since);
        metrics.job_last_success.get_or_create(&job).set(seconds(success));
        let paused = i64::from(state.paused_until.is_some());
        metrics.job_paused.get_or_create(&job).set(paused);
        metrics
            .job_failures
            .get_or_create(&job)
            .set(i64::from(state.failures));
    }
}

fn seconds(at: UnixMs) -> i64 {
    i64::try_from(at.0 / 1000).unwrap_or(i64::MAX)
}

/// A run that takes longer than this is told of, even when it found nothing.
const WORTH_A_LINE: Duration = Duration::from_secs(1);
