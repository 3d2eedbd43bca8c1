//! The chores, a file each: what a step does, and what a look finds.

mod mail;

use async_trait::async_trait;

use crate::config::jobs::JobName;
use crate::jobs::{Chore, Desk, Findings, Step};
use crate::store::Error;

/// The chore of a job.
#[must_use]
pub fn of(job: JobName) -> Box<dyn Chore> {
    match job {
        JobName::ExpireMail => Box::new(mail::ExpireMail),
        JobName::PruneRecords
        | JobName::PruneRevocations
        | JobName::PruneTombstones
        | JobName::RemoveIdleDevices
        | JobName::SweepDeparted
        | JobName::ReportLowKeys
        | JobName::RemindKeyRotation
        | JobName::CompactStore
        | JobName::TrimHistory => Box::new(Idle),
    }
}

/// What a run would do now. Changes nothing.
///
/// # Errors
///
/// [`Error`].
#[expect(clippy::unused_async, reason = "the chores are not built yet")]
pub async fn look(_job: JobName, _desk: &Desk) -> Result<Findings, Error> {
    Ok(Findings::default())
}

struct Idle;

#[async_trait]
impl Chore for Idle {
    async fn step(&mut self, _desk: &Desk, _findings: &mut Findings) -> Result<Step, Error> {
        Ok(Step::Done)
    }
}
