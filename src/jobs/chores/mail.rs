//! Mail whose time is over: dropped in steps, and its recipients are told of the gap.

use std::collections::HashSet;

use async_trait::async_trait;
use tokio::time::Instant;

use super::{add, budget::Budget};
use crate::jobs::{Chore, Desk, Findings, Step};
use crate::model::{MailboxId, NumberHasher};
use crate::store::Error;

/// Drops what is over.
#[derive(Debug, Default)]
pub(super) struct ExpireMail {
    budget: Budget,
    /// Whose mail this run has dropped, for the count of them.
    mailboxes: HashSet<MailboxId, NumberHasher>,
}

#[async_trait]
impl Chore for ExpireMail {
    async fn step(&mut self, desk: &Desk, findings: &mut Findings) -> Result<Step, Error> {
        // What was acked is no loss, whatever its time.
        desk.audience.before_expiry().await?;
        let began = Instant::now();
        let expired = desk.store.expire(desk.clock.now(), self.budget.things()).await?;
        self.budget.learn(&*desk.store, began, expired.removed.len());
        desk.audience.expired(&expired.removed);
        let envelopes = expired.removed.len() as u64;
        let bytes = expired.removed.iter().map(|envelope| envelope.bytes).sum();
        let before = self.mailboxes.len();
        for envelope in &expired.removed {
            if self.mailboxes.len() < MAILBOXES_COUNTED {
                self.mailboxes.insert(envelope.mailbox);
            }
        }
        findings.work.affected += envelopes;
        findings.bytes += bytes;
        add(findings, "envelopes", envelopes);
        add(findings, "mailboxes", (self.mailboxes.len() - before) as u64);
        add(findings, "bytes", bytes);
        Ok(match expired.done {
            true => Step::Done,
            false => Step::More,
        })
    }
}

/// Mailboxes that are told apart in one run; further ones are not counted.
const MAILBOXES_COUNTED: usize = 250_000;
