//! Devices that nobody uses any more, and what removed ones have left.

use std::collections::HashSet;

use async_trait::async_trait;

use super::{absence, add};
use crate::jobs::{Chore, Desk, Findings, Step};
use crate::model::{MailboxId, NumberHasher, UnixMs};
use crate::store::{Error, Litter};

/// Removes devices that were not seen for long, with everything they have.
#[derive(Debug, Default)]
pub(super) struct RemoveIdleDevices {
    /// Whom this run has stamped as seen: they are here, whatever the store says.
    stamped: HashSet<MailboxId, NumberHasher>,
    idle_before: Option<UnixMs>,
}

#[async_trait]
impl Chore for RemoveIdleDevices {
    async fn step(&mut self, desk: &Desk, findings: &mut Findings) -> Result<Step, Error> {
        if self.idle_before.is_none() {
            self.idle_before = absence::idle_before(desk).await?;
        }
        let Some(idle_before) = self.idle_before else {
            return Ok(Step::Done);
        };
        if !self.stamp_present(desk).await? {
            return Ok(Step::More);
        }
        let now = desk.clock.now();
        let removed = desk.store.remove_idle(idle_before, now, DEVICES).await?;
        for (address, mailbox) in &removed {
            desk.audience.removed(address, *mailbox).await;
        }
        findings.work.affected += removed.len() as u64;
        add(findings, "devices", removed.len() as u64);
        Ok(match removed.len() < DEVICES {
            true => Step::Done,
            false => Step::More,
        })
    }
}

impl RemoveIdleDevices {
    /// Stamps those who are here and were not stamped by this run, some at a time; whether that was all.
    async fn stamp_present(&mut self, desk: &Desk) -> Result<bool, Error> {
        let mut missing = desk.audience.present();
        missing.retain(|mailbox| !self.stamped.contains(mailbox));
        let some = missing.get(..STAMPS).unwrap_or(&missing);
        if !some.is_empty() {
            desk.store.seen(some, desk.clock.now().day()).await?;
            self.stamped.extend(some);
        }
        Ok(some.len() == missing.len())
    }
}

/// Which devices a run would remove now, if it may remove any.
pub(super) async fn idle(desk: &Desk) -> Result<Option<Litter>, Error> {
    let before = absence::idle_before(desk).await?;
    Ok(before.map(|before| Litter::IdleDevices { before }))
}

/// Removes what is left of mailboxes whose device is gone.
#[derive(Debug, Default)]
pub(super) struct SweepDeparted;

#[async_trait]
impl Chore for SweepDeparted {
    async fn step(&mut self, desk: &Desk, findings: &mut Findings) -> Result<Step, Error> {
        let swept = desk.store.sweep_departed(desk.clock.now(), MAILBOXES).await?;
        findings.work.affected += swept.mailboxes;
        add(findings, "mailboxes", swept.mailboxes);
        add(findings, "things", swept.things);
        Ok(match swept.done {
            true => Step::Done,
            false => Step::More,
        })
    }
}

/// Devices that one step may remove: each with all of its mail and keys.
const DEVICES: usize = 10;

/// Devices that one step may stamp.
const STAMPS: usize = 1_000;

/// Mailboxes that one step may sweep.
const MAILBOXES: usize = 16;
