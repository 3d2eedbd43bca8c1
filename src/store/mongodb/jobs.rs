//! Scheduled jobs: a document for each job, and one for each of its runs.
//!
//! Must not know what a job does or when it is due.
//!
//! # Why
//!
//! What changes a job or its runs is one transaction, and writes the job's document: two of one job collide, and one
//! of them runs again and sees the other. So a tick is answered once, and there is one lease, without a leader.
//!
//! A lease ends by the clock of the server that is the primary: it is read in the same transaction, and compared
//! there with nothing of ours. No index with a time frees a lease: the server looks at these once a minute.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use parking_lot::Mutex;

use crate::model::UnixMs;
use crate::store::mongodb::MongoDb;
use crate::store::mongodb::layout::Collection;
use crate::store::{
    Begin, Begun, Ended, Error, Grant, Held, JobState, JobStore, Run, RunQuery, TakenOver, Work,
};

mod answers;
mod grants;
mod known;
mod looks;
mod runs;

pub(super) use looks::old_runs;

pub(super) const COLLECTIONS: &[Collection] = &[known::COLLECTION, runs::COLLECTION];

#[async_trait]
impl JobStore for MongoDb {
    async fn introduce(&self, jobs: &[Arc<str>], now: UnixMs) -> Result<(), Error> {
        known::introduce(&self.db, jobs, now).await
    }

    async fn begin(&self, begin: &Begin) -> Result<Begun, Error> {
        let doubt = self.doubts.take(&begin.job);
        let begun = answers::begin(&self.db, begin, doubt.mark).await;
        if !matches!(begun, Ok(Begun::Granted(_))) {
            self.doubts.keep(doubt, begun.is_err());
        }
        begun
    }

    async fn take_over(
        &self,
        job: &str,
        holder: &Arc<str>,
        term: Duration,
        now: UnixMs,
    ) -> Result<TakenOver, Error> {
        let doubt = self.doubts.take(job);
        let taken = answers::take_over(&self.db, (job, holder), term, (now, doubt.mark)).await;
        if !matches!(&taken, Ok(taken) if taken.grant.is_some()) {
            self.doubts.keep(doubt, taken.is_err());
        }
        taken
    }

    async fn renew(&self, grant: &Grant, term: Duration, work: &Work) -> Result<bool, Error> {
        grants::renew(&self.db, grant, term, work).await
    }

    async fn end(&self, grant: &Grant, ended: &Ended) -> Result<bool, Error> {
        grants::end(&self.db, grant, ended).await
    }

    async fn miss(&self, begin: &Begin) -> Result<(), Error> {
        answers::miss(&self.db, begin).await
    }

    async fn job_states(&self, now: UnixMs) -> Result<Vec<JobState>, Error> {
        looks::states(&self.db, now).await
    }

    async fn runs(&self, query: &RunQuery) -> Result<Vec<Run>, Error> {
        looks::runs(&self.db, query).await
    }

    async fn pause(&self, job: &str, until: Option<UnixMs>) -> Result<bool, Error> {
        known::pause(&self.db, job, until).await
    }

    async fn unlock(&self, job: &str, now: UnixMs) -> Result<Option<Held>, Error> {
        grants::unlock(&self.db, job, now).await
    }

    async fn trim_runs(&self, before: UnixMs, keep: usize, limit: usize) -> Result<usize, Error> {
        looks::trim(&self.db, (before, keep), limit).await
    }
}

/// Leases that this process may have taken without knowing: the answer was lost. Who asks next is granted what was
/// taken, where it would otherwise lie until its term is over, and be taken for a crash.
#[derive(Debug, Default)]
pub(super) struct Doubts(Mutex<HashMap<Arc<str>, i64>>);

/// A mark by which a lease is known again. One caller has it at a time.
#[derive(Debug)]
struct Doubt {
    job: Arc<str>,
    mark: i64,
    /// Whether it was used before.
    is_old: bool,
}

impl Doubts {
    fn take(&self, job: &str) -> Doubt {
        let old = self.0.lock().remove_entry(job);
        let is_old = old.is_some();
        let (job, mark) = old.unwrap_or_else(|| (job.into(), rand::random()));
        Doubt { job, mark, is_old }
    }

    /// Nobody was granted a lease with this mark.
    fn keep(&self, doubt: Doubt, is_unknown: bool) {
        if is_unknown || doubt.is_old {
            self.0.lock().insert(doubt.job, doubt.mark);
        }
    }
}

#[cfg(test)]
mod tests;
