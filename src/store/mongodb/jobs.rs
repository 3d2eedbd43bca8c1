//! Scheduled jobs.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;

use crate::model::UnixMs;
use crate::store::mongodb::MongoDb;
use crate::store::{
    Begin, Begun, Ended, Error, Grant, Held, JobState, JobStore, Run, RunQuery, TakenOver, Work,
};

#[async_trait]
impl JobStore for MongoDb {
    async fn introduce(&self, _jobs: &[Arc<str>], _now: UnixMs) -> Result<(), Error> {
        Err(not_yet())
    }

    async fn begin(&self, _begin: &Begin) -> Result<Begun, Error> {
        Err(not_yet())
    }

    async fn take_over(
        &self,
        _job: &str,
        _holder: &Arc<str>,
        _term: Duration,
        _now: UnixMs,
    ) -> Result<TakenOver, Error> {
        Err(not_yet())
    }

    async fn renew(&self, _grant: &Grant, _term: Duration, _work: &Work) -> Result<bool, Error> {
        Err(not_yet())
    }

    async fn end(&self, _grant: &Grant, _ended: &Ended) -> Result<bool, Error> {
        Err(not_yet())
    }

    async fn miss(&self, _begin: &Begin) -> Result<(), Error> {
        Err(not_yet())
    }

    async fn job_states(&self, _now: UnixMs) -> Result<Vec<JobState>, Error> {
        Err(not_yet())
    }

    async fn runs(&self, _query: &RunQuery) -> Result<Vec<Run>, Error> {
        Err(not_yet())
    }

    async fn pause(&self, _job: &str, _until: Option<UnixMs>) -> Result<bool, Error> {
        Err(not_yet())
    }

    async fn unlock(&self, _job: &str, _now: UnixMs) -> Result<Option<Held>, Error> {
        Err(not_yet())
    }

    async fn trim_runs(&self, _before: UnixMs, _keep: usize, _limit: usize) -> Result<usize, Error> {
        Err(not_yet())
    }
}

fn not_yet() -> Error {
    Error::Unavailable("not built yet".into())
}
