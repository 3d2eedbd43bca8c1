//! What a store promises about published keys.

use std::fmt;
use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use chatctl_protocol::{AccountId, DeviceId, PoolName, Suite};

use crate::model::{MailboxId, UnixMs};
use crate::store::Error;

/// One key to hand out: opaque bytes under an id.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct Item {
    /// Unique within its pool; 1–32 bytes of text.
    pub id: Arc<str>,
    /// The key. At most 24 KiB.
    pub data: Bytes,
    /// Its signature, if it has one. At most 8 KiB.
    pub signature: Option<Bytes>,
}

impl fmt::Debug for Item {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Item({} bytes)", self.data.len())
    }
}

/// What an upload does to one pool. `replace` and `add` exclude each other at the door.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct PoolUpload {
    /// Items to append, in order.
    pub add: Vec<Item>,
    /// Items that take the place of the whole queue; `None` keeps it.
    pub replace: Option<Vec<Item>>,
    /// Takes the place of the fallback; `None` keeps it.
    pub fallback: Option<Item>,
}

/// What a device publishes for a suite: one transaction.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Upload {
    /// Whose.
    pub mailbox: MailboxId,
    /// Which family.
    pub suite: Suite,
    /// The identity, opaque; `None` keeps it.
    pub identity: Option<Bytes>,
    /// The signed statement, opaque; `None` keeps it.
    pub statement: Option<Bytes>,
    /// Pools that change.
    pub pools: Vec<(PoolName, PoolUpload)>,
    /// Most items in one queue.
    pub max_items: u32,
    /// Now.
    pub now: UnixMs,
}

/// What an upload did.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Uploaded {
    /// Done.
    Done {
        /// Every pool of the keyset, zeros included.
        counts: Vec<PoolCount>,
        /// Items that were ignored because they were handed out before: pool and item id.
        ignored: Vec<(PoolName, Arc<str>)>,
        /// One more at each change of the identity.
        identity_version: u32,
        /// Whether this upload changed the identity (the first one included).
        identity_changed: bool,
    },
    /// An item id is taken by other bytes; nothing changed.
    Conflict {
        /// Where.
        pool: PoolName,
        /// Which.
        item: Arc<str>,
    },
    /// A queue would hold more than `max_items`; nothing changed.
    TooMany {
        /// Where.
        pool: PoolName,
    },
    /// The first upload of a keyset has no identity; nothing changed.
    NoIdentity,
    /// The device is gone; nothing changed.
    NoDevice,
}

/// How much a pool holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PoolCount {
    /// Its name.
    pub pool: PoolName,
    /// One-time items in the queue.
    pub count: u32,
    /// Whether there is a fallback.
    pub fallback: bool,
    /// Whether the fallback was handed out since it was set.
    pub fallback_used: bool,
}

/// A keyset without its items.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Keyset {
    /// Opaque.
    pub identity: Bytes,
    /// Opaque.
    pub statement: Option<Bytes>,
    /// One more at each change of the identity, 1 at first.
    pub identity_version: u32,
    /// Every pool, in the order of the names.
    pub counts: Vec<PoolCount>,
    /// SHA-256 over identity and fallbacks: a client that computes another one is out of step.
    pub digest: [u8; 32],
}

/// A wish for one item out of each of some pools of one device.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClaimTarget {
    /// Whose keys.
    pub mailbox: MailboxId,
    /// Serve the fallback where there is one, else nothing: the queue is left alone.
    pub spare_queue: bool,
}

/// A claim, all of it in one transaction.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Claim {
    /// Which family.
    pub suite: Suite,
    /// Pools to take from, in the caller's order.
    pub pools: Vec<PoolName>,
    /// Devices to take from.
    pub targets: Vec<ClaimTarget>,
    /// Now.
    pub now: UnixMs,
}

/// What one device's part of a claim brought.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Claimed {
    /// Whose keys.
    pub mailbox: MailboxId,
    /// Opaque.
    pub identity: Bytes,
    /// Opaque.
    pub statement: Option<Bytes>,
    /// One for each pool of the claim, in its order; `None` where there was nothing.
    pub items: Vec<Option<Item>>,
    /// Pools that were touched, as they are now. Only the owner may be told.
    pub touched: Vec<PoolCount>,
}

/// One entry of an account's key log: `hash = SHA-256(previous || seq || at || device || suite || SHA-256(identity))`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeyLogEntry {
    /// 1 at first.
    pub seq: u64,
    /// When.
    pub at: UnixMs,
    /// Which device.
    pub device_id: DeviceId,
    /// Which family.
    pub suite: Suite,
    /// SHA-256 of the new identity.
    pub identity_hash: [u8; 32],
    /// The chain's value after this entry.
    pub hash: [u8; 32],
}

/// Published keys.
#[async_trait]
pub trait KeyStore: Send + Sync {
    /// Publishes. Idempotent: the same upload again changes nothing.
    ///
    /// Items leave a queue in upload order. An item whose bytes left it in the last 90 days is
    /// ignored. A changed identity appends to the account's key log.
    async fn upload(&self, upload: Upload) -> Result<Uploaded, Error>;

    /// A device's keyset, or `None` when it has published none.
    async fn keyset(&self, mailbox: MailboxId, suite: &Suite) -> Result<Option<Keyset>, Error>;

    /// The suites for which a device has published.
    async fn suites(&self, mailbox: MailboxId) -> Result<Vec<Suite>, Error>;

    /// Drops a pool's queue; the fallback stays. `false` when there is no such pool.
    async fn drop_queue(&self, mailbox: MailboxId, suite: &Suite, pool: &PoolName) -> Result<bool, Error>;

    /// Takes the head of each queue, else the fallback, else nothing. Durable before it returns: a
    /// crash may waste an item, and never hands it out twice. Devices without a keyset are left out.
    async fn claim(&self, claim: Claim) -> Result<Vec<Claimed>, Error>;

    /// Entries of the account's key log with `seq > after`, ascending, at most `limit`.
    async fn key_log(&self, account: &AccountId, after: u64, limit: usize)
    -> Result<Vec<KeyLogEntry>, Error>;
}
