//! Where state lives: the verbs, and the promises that every implementation keeps.
//!
//! Two implementations stand behind this trait (`embedded`; `mongodb` joins it), and `model`, a small
//! one in memory against which both are checked. `conformance` has a function per promise.
//!
//! Must not know sockets, sessions, tokens or limits: what is refused by policy is refused above.
//!
//! # Promises
//!
//! - A verb that changes something is atomic, and durable when it returns `Ok`.
//! - `Err(Unavailable)` means an unknown outcome: the caller may call again with the same arguments.
//! - Reads show committed state only, and never wait for a writer's fsync.
//! - An id, once used for a mailbox, is never used for another one, over restarts and removals.
//! - After an I/O error on the way to the disk the store is poisoned: every verb answers
//!   [`Error::Poisoned`] until a restart. It never tries an fsync a second time.

use std::fmt;
use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use chatctl_protocol::{AccountId, Address, ClientMsgId, DeviceId, EnvelopeId, PoolName, Suite};

use crate::model::{Device, DeviceList, Envelope, MailboxId, UnixMs};

#[cfg(test)]
pub mod conformance;
pub mod digest;
pub mod embedded;
pub mod model;

/// Why a store could not do it.
#[derive(Debug, Clone, thiserror::Error)]
pub enum Error {
    /// There is no room. Nothing was changed; the store goes on when there is room again.
    #[error("the store has no room")]
    Full,
    /// It cannot tell now; the outcome is unknown and the same call may be made again.
    #[error("the store is not available: {0}")]
    Unavailable(Arc<str>),
    /// A write failed on its way to the disk. Only a restart helps.
    #[error("the store has stopped after an I/O error: {0}")]
    Poisoned(Arc<str>),
    /// What is stored cannot be read as what it should be.
    #[error("the store holds something unreadable: {0}")]
    Corrupt(Arc<str>),
}

/// The store, as the daemon holds it.
pub trait Store: MailStore + DeviceStore + KeyStore {}
impl<T: MailStore + DeviceStore + KeyStore> Store for T {}

/// Names a send for ever: who sent, and what the sender called it.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct SendKey {
    /// The sender's mailbox, so that a new installation has names of its own.
    pub sender: MailboxId,
    /// The sender's name for the message.
    pub client_msg_id: ClientMsgId,
}

/// What is remembered of a send, so that a retry adds nothing. Kept for the idempotency window.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SendRecord {
    /// Its name.
    pub key: SendKey,
    /// Tells a retry from another message under the same name.
    pub digest: [u8; 8],
    /// What the send was answered, in the order of its devices. At least one; ascending.
    pub envelope_ids: Vec<EnvelopeId>,
    /// When it was accepted.
    pub accepted_at: UnixMs,
}

/// One send on its way to the disk: its record, and those of its envelopes that still need a place.
#[derive(Debug, Clone)]
pub struct Posting {
    /// What is remembered.
    pub record: SendRecord,
    /// Envelopes to store: no ephemeral ones, none that was acked already. May be empty.
    pub envelopes: Vec<Arc<Envelope>>,
}

/// An envelope to forget.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Deletion {
    /// Whose.
    pub mailbox: MailboxId,
    /// Which.
    pub id: EnvelopeId,
}

/// One durable write of mail.
#[derive(Debug, Clone, Default)]
pub struct Batch {
    /// Sends, in the order of their ids.
    pub postings: Vec<Posting>,
    /// Acked envelopes. An id of another mailbox, or one that is not there, is no error.
    pub deletions: Vec<Deletion>,
    /// No id at or above this one is minted before a later batch raises it. `None` leaves it as it is.
    pub id_ceiling: Option<EnvelopeId>,
}

/// What a commit did.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Committed {
    /// Indices of postings that were refused whole, because a mailbox of theirs is gone. Ascending.
    pub refused: Vec<usize>,
}

/// Which of a mailbox's envelopes are meant: `after < id <= up_to`, and `expires_at > now`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Span {
    /// The last id that is not meant.
    pub after: EnvelopeId,
    /// The last id that is.
    pub up_to: EnvelopeId,
    /// What is over by now is not meant.
    pub now: UnixMs,
}

/// How much of a mailbox a read may bring.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Room {
    /// At most so many envelopes.
    pub envelopes: usize,
    /// At most so many payload bytes; the first envelope comes whatever its size.
    pub bytes: usize,
}

/// What a mailbox holds, as committed.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Usage {
    /// Envelopes.
    pub envelopes: u64,
    /// Payload bytes.
    pub bytes: u64,
    /// Envelopes and payload bytes by sender, in the order of the senders.
    pub senders: Vec<(MailboxId, u64, u64)>,
}

/// Why mail is gone before it was acked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum GapReason {
    /// It waited longer than it was allowed to.
    Ttl,
    /// The mailbox was cut to its quota.
    Quota,
    /// The store was restored from an older copy.
    Restore,
}

/// Loss that the recipient has not been told of yet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Gap {
    /// Why.
    pub reason: GapReason,
    /// Envelopes lost.
    pub dropped: u64,
}

/// What one step of expiry did.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Expired {
    /// Envelopes that were removed, with their payload sizes and senders, for the ledgers above.
    pub removed: Vec<ExpiredEnvelope>,
    /// Whether the whole store has been looked at since the last step that said so.
    pub done: bool,
}

/// One envelope that was removed because its time was over.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ExpiredEnvelope {
    /// Whose.
    pub mailbox: MailboxId,
    /// Which.
    pub id: EnvelopeId,
    /// Who sent it.
    pub sender: MailboxId,
    /// Its payload's size.
    pub bytes: u64,
}

/// What the relay needs to know before it mints an id.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Start {
    /// Every id at or below may have been used: the ceiling, and the highest stored.
    pub id_floor: EnvelopeId,
    /// The mailbox epoch of the whole store; changes at a restore.
    pub epoch: u64,
}

/// Mail and its idempotency records.
#[async_trait]
pub trait MailStore: Send + Sync + fmt::Debug {
    /// Where ids begin.
    async fn start(&self) -> Result<Start, Error>;

    /// Writes a batch: all of it, durable on return, except refused postings.
    ///
    /// Committing a posting again (after [`Error::Unavailable`]) changes nothing. An envelope stored
    /// and deleted in one batch is gone.
    async fn commit(&self, batch: Batch) -> Result<Committed, Error>;

    /// The mailbox's envelopes of the span in ascending order, as many as there is room for. Empty for
    /// a mailbox that is gone.
    async fn read(&self, mailbox: MailboxId, span: Span, room: Room) -> Result<Vec<Arc<Envelope>>, Error>;

    /// What the mailbox holds, expired envelopes that were not removed yet included.
    async fn usage(&self, mailbox: MailboxId) -> Result<Usage, Error>;

    /// The record of a send that was committed inside the idempotency window, if there was one.
    async fn sent(&self, key: &SendKey) -> Result<Option<SendRecord>, Error>;

    /// Removes envelopes with `expires_at <= now`, at most `budget` of them, and records each as a
    /// [`Gap`] of its mailbox. Also forgets idempotency records with
    /// `accepted_at < records_before`. Resumes where the last step stopped; a step is short.
    async fn expire(&self, now: UnixMs, records_before: UnixMs, budget: usize) -> Result<Expired, Error>;

    /// Losses that the mailbox's owner has not been told of.
    async fn gaps(&self, mailbox: MailboxId) -> Result<Vec<Gap>, Error>;

    /// The owner has been told of these: takes `dropped` off each reason's count.
    async fn gaps_told(&self, mailbox: MailboxId, told: &[Gap]) -> Result<(), Error>;

    /// Writes everything down and lets go of the files. Later verbs answer [`Error::Unavailable`].
    async fn close(&self) -> Result<(), Error>;
}

/// A device that wants to be known.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Registration {
    /// What it drew when it was installed.
    pub registration_id: u32,
    /// Attributes as JSON text, opaque.
    pub attributes: Option<Arc<str>>,
    /// Most devices of an account.
    pub max_devices: u32,
    /// Now.
    pub now: UnixMs,
}

/// What a registration did.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Registered {
    /// The device is new.
    Created(Device),
    /// The same installation again: attributes are updated, nothing else.
    Updated(Device),
    /// Another installation took the device id over. Mail, pools, records and gaps of the old
    /// mailbox went in the same write.
    Replaced {
        /// The new one.
        device: Device,
        /// The mailbox that is gone.
        old: MailboxId,
    },
    /// The account has as many devices as it may have; nothing changed.
    TooMany,
}

/// Devices of accounts.
#[async_trait]
pub trait DeviceStore: Send + Sync {
    /// Registers or re-registers a device. The registration id decides which.
    async fn register(&self, address: &Address, registration: Registration) -> Result<Registered, Error>;

    /// Removes a device with its mail, keysets, pools, tombstones, records and gaps. Returns its
    /// mailbox, or `None` when there was no such device.
    async fn remove_device(&self, address: &Address, now: UnixMs) -> Result<Option<MailboxId>, Error>;

    /// The account's devices.
    async fn devices(&self, account: &AccountId) -> Result<DeviceList, Error>;
}

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
