//! One run under a grant: the steps of a chore one after another, while the lease holds and time is left.
//!
//! Owns the renewals, the pauses, the retries and the verdict. Must not know why the run was begun, or who watches.
//!
//! # Why
//!
//! A step is never cut off: what it does is one transaction, and nobody could say what came of it. Between steps there is
//! a pause three times as long as the step, so that mail has the store, and the processors of a small machine, for most
//! of the time; a log that has to be copied into a database is copied between times.

use std::any::Any;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt as _;
use parking_lot::Mutex;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::jobs::hand::{Progress, Ran};
use crate::jobs::plan::part;
use crate::jobs::{Chore, Desk, Findings, Step};
use crate::store::{Ended, Error, Grant, Outcome, Work};

/// A right to run, and when it was asked for: the lease is good for a [`TERM`] from then at least.
#[derive(Debug, Clone)]
pub(super) struct Granted {
    /// The right.
    pub grant: Grant,
    /// A moment before it was given.
    pub asked: Instant,
}

/// What a run works with.
pub(super) struct Shift<'a> {
    /// Its tools.
    pub desk: &'a Desk,
    /// Longest run.
    pub timeout: Duration,
    /// Ends it after the step that it is at.
    pub stop: &'a CancellationToken,
    /// Hears of each step.
    pub progress: Progress<'a>,
}

/// What becomes of a run, and why.
type Verdict = (Outcome, Option<Arc<str>>);

/// What the steps and the renewals of a run tell each other.
struct Tenure {
    /// Until when the lease is good, if nobody breaks it.
    good_until: Mutex<Instant>,
    lost: CancellationToken,
    so_far: Mutex<Work>,
}

impl Shift<'_> {
    /// Works until there is nothing left to do, or no right to do it, and writes down what came of it.
    pub(super) async fn work(&self, granted: &Granted, mut chore: Box<dyn Chore>) -> Ran {
        let began = Instant::now();
        let tenure = Tenure {
            good_until: Mutex::new(granted.asked + TERM),
            lost: CancellationToken::new(),
            so_far: Mutex::default(),
        };
        let mut findings = Findings::default();
        let deadline = began + self.timeout;
        let verdict = tokio::select! {
            biased;
            verdict = self.steps(&mut *chore, &mut findings, &tenure, deadline) => verdict,
            () = self.keep(&granted.grant, &tenure) => (Outcome::LeaseLost, None),
            // The one case in which a step is cut off: it does not come back, and nobody else could ever run the job.
            () = tokio::time::sleep_until(deadline + TERM) => (Outcome::TimedOut, Some("a step did not end".into())),
        };
        let (outcome, error) = self.write_down(granted, &tenure, verdict, &findings).await;
        Ran {
            run: granted.grant.run.clone(),
            outcome,
            findings,
            took: began.elapsed(),
            error,
        }
    }

    async fn steps(
        &self,
        chore: &mut dyn Chore,
        findings: &mut Findings,
        tenure: &Tenure,
        deadline: Instant,
    ) -> Verdict {
        let mut failed = 0;
        let mut last_error = None;
        let mut pause = Duration::ZERO;
        loop {
            if let Some(outcome) = self.pause(pause, tenure, deadline).await {
                return (outcome, last_error.filter(|_| outcome == Outcome::TimedOut));
            }
            let begun = Instant::now();
            let step = AssertUnwindSafe(chore.step(self.desk, findings))
                .catch_unwind()
                .await;
            match step {
                Ok(Ok(step)) => {
                    (failed, last_error) = (0, None);
                    *tenure.so_far.lock() = bounded(&findings.work);
                    (self.progress)(findings);
                    if step == Step::Done {
                        return (Outcome::Done, None);
                    }
                    pause = begun.elapsed() * PAUSE;
                }
                Ok(Err(error @ (Error::Unavailable(_) | Error::Full))) => {
                    findings.work.retries += 1;
                    *tenure.so_far.lock() = bounded(&findings.work);
                    pause = backoff(failed, findings.work.retries);
                    failed += 1;
                    last_error = Some(clipped(&error.to_string()));
                }
                Ok(Err(error @ (Error::Poisoned(_) | Error::Corrupt(_)))) => {
                    return (Outcome::Failed, Some(clipped(&error.to_string())));
                }
                Err(panic) => return (Outcome::Panicked, Some(clipped(message(&*panic)))),
            }
        }
    }

    /// Lets others go first for a while. Why the run has to end, if it has to.
    async fn pause(&self, pause: Duration, tenure: &Tenure, deadline: Instant) -> Option<Outcome> {
        tokio::task::yield_now().await;
        tokio::select! {
            biased;
            () = tenure.lost.cancelled() => {}
            () = self.stop.cancelled() => {}
            () = tokio::time::sleep_until(deadline) => {}
            () = tokio::time::sleep(pause), if !pause.is_zero() => {}
            () = std::future::ready(()), if pause.is_zero() => {}
        }
        // By the clock, not by which timer was heard of first: after a suspend nothing may be begun on an old lease.
        let now = Instant::now();
        if tenure.lost.is_cancelled() || now >= *tenure.good_until.lock() {
            return Some(Outcome::LeaseLost);
        }
        if self.stop.is_cancelled() {
            return Some(Outcome::Stopped);
        }
        (now >= deadline).then_some(Outcome::TimedOut)
    }

    /// Renews the lease. Never returns: who loses it says so and waits for the step under way to end.
    async fn keep(&self, grant: &Grant, tenure: &Tenure) {
        let mut next = *tenure.good_until.lock() - TERM + TERM / 3;
        loop {
            tokio::time::sleep_until(next).await;
            let (asked, good_until) = (Instant::now(), *tenure.good_until.lock());
            let work = tenure.so_far.lock().clone();
            let renewed =
                tokio::time::timeout_at(good_until, self.desk.store.renew(grant, TERM, &work)).await;
            match renewed {
                Ok(Ok(true)) => {
                    *tenure.good_until.lock() = asked + TERM;
                    next = asked + TERM / 3;
                }
                Ok(Err(error)) if Instant::now() < good_until => {
                    tracing::debug!(job = &*grant.run.job, %error, "a lease was not renewed");
                    next = Instant::now() + TERM / 30;
                }
                Ok(Ok(false) | Err(_)) | Err(_) => {
                    tenure.lost.cancel();
                    std::future::pending::<()>().await;
                }
            }
        }
    }

    /// Ends the run in the store, as long as the lease holds.
    async fn write_down(
        &self,
        granted: &Granted,
        tenure: &Tenure,
        (outcome, error): Verdict,
        findings: &Findings,
    ) -> Verdict {
        let good_until = *tenure.good_until.lock();
        if outcome == Outcome::LeaseLost || tenure.lost.is_cancelled() || Instant::now() >= good_until {
            return (Outcome::LeaseLost, error);
        }
        let ended = Ended {
            outcome,
            at: self.desk.clock.now(),
            work: bounded(&findings.work),
            error: error.clone(),
        };
        let mut why = Error::Unavailable("no answer".into());
        for failed in 0..ENDINGS {
            let end = self.desk.store.end(&granted.grant, &ended);
            match tokio::time::timeout_at(good_until, end).await {
                Ok(Ok(true)) => return (outcome, error),
                Ok(Ok(false)) => return (Outcome::LeaseLost, error),
                Ok(Err(error)) => why = error,
                Err(_elapsed) => break,
            }
            let again = Instant::now() + backoff(failed, failed);
            if again >= good_until {
                break;
            }
            tokio::time::sleep_until(again).await;
        }
        // The store counts it as crashed in a while, and somebody makes up for it.
        tracing::warn!(job = &*granted.grant.run.job, error = %why, "the end of a run could not be written down");
        (outcome, error)
    }
}

/// Time before the next try: from half a second, doubling, up to half a minute; then a little less, by chance.
pub(super) fn backoff(failed: u32, seed: u32) -> Duration {
    let full = FIRST_RETRY.saturating_mul(1 << failed.min(10)).min(LAST_RETRY);
    full - part(full / 4, &seed)
}

/// What the store has room for.
fn bounded(work: &Work) -> Work {
    let mut work = work.clone();
    work.counts.truncate(16);
    work
}

fn message(panic: &(dyn Any + Send)) -> &str {
    let literal = panic.downcast_ref::<&'static str>().copied();
    let made = || panic.downcast_ref::<String>().map(String::as_str);
    literal.or_else(made).unwrap_or("a panic without a message")
}

/// At most 512 bytes of it.
fn clipped(text: &str) -> Arc<str> {
    text[..text.floor_char_boundary(512)].into()
}

/// How long a lease is good without a renewal.
pub(super) const TERM: Duration = Duration::from_secs(30);

/// How often the end of a run is written down before it is left to the lease.
const ENDINGS: u32 = 4;

/// Time before the first retry of a step.
const FIRST_RETRY: Duration = Duration::from_millis(500);

/// Longest time before a retry.
const LAST_RETRY: Duration = Duration::from_secs(30);

/// How much longer than a step the pause after it is.
const PAUSE: u32 = 3;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn retries_wait_longer_and_longer_up_to_half_a_minute() {
        let waits: Vec<_> = (0..9).map(|failed| backoff(failed, failed)).collect();
        for (failed, wait) in waits.iter().enumerate() {
            let full = Duration::from_millis((500 << failed).min(30_000));
            assert!(*wait <= full && *wait >= full * 3 / 4, "{failed}: {wait:?}");
        }
    }

    #[test]
    fn an_error_is_clipped_between_two_characters() {
        assert_eq!(&*clipped("short"), "short");
        assert_eq!(clipped(&"é".repeat(300)).len(), 512);
        assert_eq!(clipped(&format!("x{}", "é".repeat(300))).len(), 511);
    }
}
