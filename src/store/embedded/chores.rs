//! Cleaning up.

use async_trait::async_trait;
use chatctl_protocol::Address;

use crate::model::{MailboxId, UnixMs};
use crate::store::embedded::Embedded;
use crate::store::{ChoreStore, Compacted, Due, Error, Litter, LowPools, Swept};

#[async_trait]
impl ChoreStore for Embedded {
    async fn due(&self, _litter: Litter) -> Result<Due, Error> {
        Err(not_yet())
    }

    async fn forget_records(&self, _before: UnixMs, _limit: usize) -> Result<usize, Error> {
        Err(not_yet())
    }

    async fn forget_tombstones(&self, _before: UnixMs, _limit: usize) -> Result<usize, Error> {
        Err(not_yet())
    }

    async fn seen(&self, _mailboxes: &[MailboxId], _day: UnixMs) -> Result<Vec<MailboxId>, Error> {
        Ok(Vec::new())
    }

    async fn remove_idle(
        &self,
        _before: UnixMs,
        _now: UnixMs,
        _limit: usize,
    ) -> Result<Vec<(Address, MailboxId)>, Error> {
        Err(not_yet())
    }

    async fn sweep_departed(&self, _now: UnixMs, _limit: usize) -> Result<Swept, Error> {
        Err(not_yet())
    }

    async fn low_pools(&self, _floor: u32, _after: MailboxId, _limit: usize) -> Result<LowPools, Error> {
        Err(not_yet())
    }

    async fn compact(&self) -> Result<Compacted, Error> {
        Err(not_yet())
    }
}

fn not_yet() -> Error {
    Error::Unavailable("not built yet".into())
}
