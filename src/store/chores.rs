//! What a store promises to those who clean it up, in bounded steps.
//!
//! Must not know when that is done, or how old something has to be. Mail and revocations have their own verbs
//! ([`MailStore::expire`](crate::store::MailStore::expire),
//! [`RevocationStore::prune_revocations`](crate::store::RevocationStore::prune_revocations)).
//!
//! # Promises
//!
//! - A step is atomic, and short whatever it finds: it may be the last one for a while.
//! - What a step removes is decided and removed in the same transaction: who was faster with a claim, a send or a
//!   registration, wins.
//! - Looking ([`ChoreStore::due`]) changes nothing, and may run beside everything.

use async_trait::async_trait;
use chatctl_protocol::{Address, PoolName, Suite};

use crate::model::{MailboxId, UnixMs};
use crate::store::Error;

/// What may be cleaned up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Litter {
    /// Envelopes with `expires_at <= now`. Their time: `expires_at`.
    Mail {
        /// Now.
        now: UnixMs,
    },
    /// Idempotency records with `accepted_at < before`. Their time: `accepted_at`.
    Records {
        /// The beginning of the window.
        before: UnixMs,
    },
    /// Revocations with `expires_at <= now`. Their time: `expires_at`.
    Revocations {
        /// Now.
        now: UnixMs,
    },
    /// Tombstones of one-time items that were handed out before. Their time: when that was.
    Tombstones {
        /// Since when they are needed.
        before: UnixMs,
    },
    /// Devices last seen before. Their time: when that was.
    IdleDevices {
        /// Since when a device counts as live.
        before: UnixMs,
    },
    /// What mailboxes hold whose device is gone: mailboxes are counted. Their time: since when it is gone, if known.
    Departed {
        /// Now.
        now: UnixMs,
    },
    /// Runs that [`JobStore::trim_runs`](crate::store::JobStore::trim_runs) would forget. Their time: when they began.
    Runs {
        /// Since when they are kept.
        before: UnixMs,
        /// How many of each job are.
        keep: usize,
    },
}

/// How much of it there is.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Due {
    /// How many.
    pub count: u64,
    /// Their payloads together, in bytes, where they have some.
    pub bytes: u64,
    /// The earliest of their times.
    pub oldest: Option<UnixMs>,
}

/// One step over mailboxes whose device is gone.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Swept {
    /// Mailboxes that were emptied for good.
    pub mailboxes: u64,
    /// Envelopes and one-time items that went with them, as far as they are counted.
    pub things: u64,
    /// Whether there is no more.
    pub done: bool,
}

/// A queue that runs low.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LowPool {
    /// Whose.
    pub mailbox: MailboxId,
    /// The device.
    pub address: Address,
    /// Which family.
    pub suite: Suite,
    /// Which pool.
    pub pool: PoolName,
    /// One-time items left.
    pub count: u32,
    /// Whether there is a fallback.
    pub fallback: bool,
}

/// A page of queues that run low.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct LowPools {
    /// In the order of the mailboxes.
    pub low: Vec<LowPool>,
    /// Devices with keys that were looked at.
    pub looked: u64,
    /// Go on after this mailbox; `None` at the end.
    pub next: Option<MailboxId>,
}

/// One step of giving space back.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Compacted {
    /// Bytes that were given back to the file system.
    pub freed: u64,
    /// Bytes that the store takes now; 0 where the store cannot say.
    pub size: u64,
    /// Bytes of it that hold nothing.
    pub spare: u64,
    /// Whether there is nothing more to give back.
    pub done: bool,
}

/// Cleaning up.
#[async_trait]
pub trait ChoreStore: Send + Sync {
    /// How much there is to clean up. May read much; blocks nobody.
    async fn due(&self, litter: Litter) -> Result<Due, Error>;

    /// Forgets idempotency records with `accepted_at < before`, the oldest first, at most `limit`; how many. Records
    /// that a store keeps together go together, and may be more than that. Fewer than `limit` at the end.
    async fn forget_records(&self, before: UnixMs, limit: usize) -> Result<usize, Error>;

    /// Forgets tombstones of items that were handed out before a time, at most `limit`; how many.
    async fn forget_tombstones(&self, before: UnixMs, limit: usize) -> Result<usize, Error>;

    /// These devices were seen at a time, to the day: the caller truncates it. An earlier time than the one that
    /// is stored changes nothing, and neither does a mailbox that is gone. A device that was never seen counts as
    /// seen when it was registered; one of a store that did not note it at that time, when somebody first looks for
    /// idle devices. Which of these mailboxes are gone.
    async fn seen(&self, mailboxes: &[MailboxId], day: UnixMs) -> Result<Vec<MailboxId>, Error>;

    /// Removes devices last seen before a time, as
    /// [`remove_device`](crate::store::DeviceStore::remove_device) does, at most `limit`. Fewer than `limit` at the end.
    async fn remove_idle(
        &self,
        before: UnixMs,
        now: UnixMs,
        limit: usize,
    ) -> Result<Vec<(Address, MailboxId)>, Error>;

    /// Removes what is left of mailboxes whose device is gone, at most `limit` mailboxes.
    async fn sweep_departed(&self, now: UnixMs, limit: usize) -> Result<Swept, Error>;

    /// Queues with at most `floor` items, of the devices after a mailbox, at most `limit` devices with keys.
    async fn low_pools(&self, floor: u32, after: MailboxId, limit: usize) -> Result<LowPools, Error>;

    /// Gives space back to the file system, a little of it. Where the store does that by itself, it is done.
    async fn compact(&self) -> Result<Compacted, Error>;
}
