//! Mail whose time is over: dropped in steps, and its recipients are told of the gap.

use async_trait::async_trait;

use crate::jobs::{Chore, Desk, Findings, Step};
use crate::store::Error;

/// Drops what is over.
#[derive(Debug, Default)]
pub(super) struct ExpireMail;

#[async_trait]
impl Chore for ExpireMail {
    async fn step(&mut self, desk: &Desk, findings: &mut Findings) -> Result<Step, Error> {
        // What was acked is no loss, whatever its time.
        desk.audience.before_expiry().await?;
        let expired = desk.store.expire(desk.clock.now(), BUDGET).await?;
        desk.audience.expired(&expired.removed);
        findings.work.affected += expired.removed.len() as u64;
        findings.bytes += expired.removed.iter().map(|envelope| envelope.bytes).sum::<u64>();
        Ok(match expired.done {
            true => Step::Done,
            false => Step::More,
        })
    }
}

/// Envelopes that one step may drop.
const BUDGET: usize = 500;
